"""Nothing is lost when the daemon or a receiver dies, and what comes twice shows it by its number."""

from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.lab import Exporter, Postfix, Snmptrapd, Zcs, need_mibs, wait_for
from e2e.product import MIB, USER, USER_SECRET, failure, now, settings


def inform_daemon(exporter: Callable[..., Exporter], port: int) -> Exporter:
    daemon = exporter(settings("ZcsQueueCorrupt"))
    target = {"name": "nms", "host": "127.0.0.1", "port": port, "secrets": daemon.secrets("nms.secret", USER_SECRET)}
    daemon.config["notify"] = {"heartbeat": "0s", "snmp": [target]}
    daemon.configure()
    return daemon


def outbox(daemon: Exporter) -> float | None:
    return daemon.value("zcs_exporter_outbox_messages", target="nms")


def raise_alarm(postfix: Postfix, daemon: Exporter) -> Path:
    corrupt = postfix.spool / "corrupt" / "3F2A81C0E5D"
    corrupt.write_bytes(b"C")
    corrupt.chmod(0o700)
    wait_for(
        lambda: daemon.value("zcs_alert_active", alert="ZcsQueueCorrupt", severity="warning") == 1,
        20,
        "the alarm to be raised",
    )
    return corrupt


def no_alarm(daemon: Exporter) -> bool:
    return daemon.value("zcs_alert_active", alert="ZcsQueueCorrupt", severity="warning") is None


def about_the_queue(receiver: Snmptrapd) -> list[tuple[str, str]]:
    return [
        (each["trap"].rpartition("::")[2], each["zcsNotifySequence"])
        for each in receiver.received()
        if "ZcsQueueCorrupt" in each["zcsNotifyRule"]
    ]


@pytest.fixture
def cut_off(
    zcs: Zcs, exporter: Callable[..., Exporter], snmptrapd: Callable[..., Snmptrapd]
) -> tuple[Exporter, Snmptrapd]:
    """A daemon that has delivered everything so far, and its receiver, which has just died."""
    need_mibs()
    zcs.set_services("mta")
    receiver = snmptrapd(mib_dirs=[MIB], mibs=["ZCS-EXPORTER-MIB"], users=[USER])
    daemon = inform_daemon(exporter, receiver.port)
    daemon.start()
    wait_for(lambda: outbox(daemon) == 0, 20, "the first notifications to be delivered")
    receiver.stop()
    return daemon, receiver


def test_kill_9_between_raise_and_delivery_loses_nothing(postfix: Postfix, cut_off: tuple[Exporter, Snmptrapd]) -> None:
    daemon, receiver = cut_off
    corrupt = raise_alarm(postfix, daemon)
    assert outbox(daemon) == 1
    daemon.kill9()
    receiver.start()
    daemon.start()
    wait_for(lambda: outbox(daemon) == 0, 30, "the raise to be delivered by the next process")
    corrupt.unlink()
    wait_for(lambda: outbox(daemon) == 0 and no_alarm(daemon), 30, "the alarm to be cleared")
    wait_for(lambda: len(about_the_queue(receiver)) >= 2, 20, "the clear to arrive")

    told = about_the_queue(receiver)
    assert [name for name, _ in dict.fromkeys(told)] == ["zcsQueueRaised", "zcsQueueCleared"]


def test_a_receiver_that_is_down_gets_everything_later_in_order(
    postfix: Postfix, cut_off: tuple[Exporter, Snmptrapd]
) -> None:
    daemon, receiver = cut_off
    for _ in range(3):
        corrupt = raise_alarm(postfix, daemon)
        corrupt.unlink()
        wait_for(lambda: no_alarm(daemon), 20, "the alarm to be cleared")
    assert outbox(daemon) == 6
    receiver.start()
    wait_for(lambda: outbox(daemon) == 0, 60, "everything to be delivered")

    told = dict.fromkeys(about_the_queue(receiver))
    assert [name for name, _ in told] == ["zcsQueueRaised", "zcsQueueCleared"] * 3
    arrived = {(int(each["zcsNotifySequence"].split()[0]), each["zcsNotifyEventId"]) for each in receiver.received()}
    assert sorted(number for number, _ in arrived) == list(range(1, len(arrived) + 1))
    assert len({event for _, event in arrived}) == len(arrived)


def test_a_line_is_counted_once_however_often_the_daemon_is_killed(zcs: Zcs, exporter: Callable[..., Exporter]) -> None:
    zcs.set_services("mailbox")
    daemon = exporter(settings())
    daemon.start()

    def counted() -> float:
        metrics = daemon.metrics()
        return sum(value for (name, _), value in metrics.items() if name == "zcs_auth_failures_total")

    before = counted()
    written = 0
    for round_number in range(5):
        for _ in range(40):
            written += 1
            zcs.append_audit(failure(now(), "203.0.113.9", f"user{written}@example.com"))
        if round_number % 2:
            wait_for(lambda: counted() > before, 20, "some lines to be counted")  # a kill after a commit, too
        daemon.kill9()
        daemon.start()
    wait_for(lambda: counted() - before >= written, 20, f"{written} lines to be counted, now {counted() - before}")

    assert counted() - before == written
