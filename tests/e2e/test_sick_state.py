"""What becomes of notifications when the state directory is full, read-only, gone, copied or rolled back.

And when a receiver has an IPv6 address, or its name another one. The promise is kept, or the log has the line that
says which one is suspended.
"""

import contextlib
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e.lab import Exporter, Postfix, Snmptrapd, Zcs, free_port, mount_memory, need_mibs, run, scratch, wait_for
from e2e.product import MIB, USER, USER_SECRET, settings

SUSPENDED = "until this is mended, a crash or restart loses alarms, counts and notifications that are not delivered yet"
CORRUPT = "3F2A81C0E5D"


@pytest.fixture
def receiver(snmptrapd: Callable[..., Snmptrapd]) -> Callable[..., Snmptrapd]:
    need_mibs()
    return lambda **options: snmptrapd(mib_dirs=[MIB], mibs=["ZCS-EXPORTER-MIB"], users=[USER], **options)


@pytest.fixture
def mta(zcs: Zcs, postfix: Postfix) -> Iterator[Postfix]:
    zcs.set_services("mta")
    yield postfix
    (postfix.spool / "corrupt" / CORRUPT).unlink(missing_ok=True)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 16 MiB for the state."""
    place = scratch("small-disk")
    mount_memory(place, "16m", user="root")
    yield place
    run("umount", "--lazy", place)


def daemon_of(
    exporter: Callable[..., Exporter], port: int, host: str = "127.0.0.1", state: Path | None = None
) -> Exporter:
    daemon = exporter(settings("ZcsQueueCorrupt", "ZcsStateNotWritable"))
    target = {"name": "nms", "host": host, "port": port, "secrets": daemon.secrets("nms.secret", USER_SECRET)}
    daemon.config["notify"] = {"heartbeat": "0s", "snmp": [target]}
    if state is not None:
        daemon.config["state"]["directory"] = str(state)
    daemon.configure()
    return daemon


def corrupt(postfix: Postfix) -> Path:
    place = postfix.spool / "corrupt" / CORRUPT
    place.write_bytes(b"C")
    place.chmod(0o700)
    return place


def told(receiver: Snmptrapd, alert: str) -> list[str]:
    """Return what was told of an alert, whatever came twice, once."""
    about = [each for each in receiver.received() if alert in each["zcsNotifyRule"]]
    once = {each["zcsNotifyEventId"]: each for each in about}.values()
    return ["Raised" if each["trap"].endswith("Raised") else "Cleared" for each in once]


def wait_told(receiver: Snmptrapd, alert: str, *wanted: str) -> None:
    wait_for(lambda: told(receiver, alert) == list(wanted), 40, lambda: f"{wanted} of {alert}: {receiver.received()}")


def delivered(daemon: Exporter) -> bool:
    return daemon.value("zcs_exporter_outbox_messages", target="nms") == 0


def numbers(receiver: Snmptrapd) -> list[tuple[int, str]]:
    pairs = {(int(each["zcsNotifySequence"].split()[0]), each["zcsNotifyEventId"]) for each in receiver.received()}
    return sorted(pairs)


def fill(disk: Path) -> Path:
    """Use up every block that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


def test_a_full_state_disk_suspends_safety_says_so_and_loses_nothing(
    mta: Postfix, receiver: Callable[..., Snmptrapd], exporter: Callable[..., Exporter], small_disk: Path
) -> None:
    nms = receiver()
    daemon = daemon_of(exporter, nms.port, state=small_disk / "state")
    daemon.start()
    wait_for(lambda: delivered(daemon), 20, "the first notifications")
    fill(small_disk)
    # What was reserved takes the next notifications, even over a restart.
    corrupt(mta)
    wait_told(nms, "ZcsQueueCorrupt", "Raised")
    daemon.kill9()
    daemon.start()
    (mta.spool / "corrupt" / CORRUPT).unlink()
    wait_told(nms, "ZcsQueueCorrupt", "Raised", "Cleared")
    wait_for(lambda: delivered(daemon), 20, "everything")
    known = numbers(nms)
    assert [number for number, _ in known] == list(range(1, len(known) + 1))


def test_a_state_disk_that_refuses_writes_as_a_read_only_one_is_told_of_and_heals(
    mta: Postfix, receiver: Callable[..., Snmptrapd], exporter: Callable[..., Exporter]
) -> None:
    nms = receiver()
    daemon = daemon_of(exporter, nms.port)
    daemon.start()
    wait_for(lambda: delivered(daemon), 20, "the first notifications")
    daemon.refuse_writes(True)
    place = corrupt(mta)
    wait_told(nms, "ZcsQueueCorrupt", "Raised")
    wait_told(nms, "ZcsStateNotWritable", "Raised")
    assert daemon.value("zcs_exporter_state_writable") == 0
    daemon.refuse_writes(False)
    wait_told(nms, "ZcsStateNotWritable", "Raised", "Cleared")
    place.unlink()
    wait_told(nms, "ZcsQueueCorrupt", "Raised", "Cleared")
    daemon.kill9()
    daemon.start()
    wait_for(lambda: delivered(daemon), 20, "everything")

    known = numbers(nms)
    assert [number for number, _ in known] == list(range(1, len(known) + 1))
    assert told(nms, "ZcsQueueCorrupt") == ["Raised", "Cleared"]


def test_a_disk_that_is_read_only_at_start_is_refused_with_the_remedy(
    zcs: Zcs, exporter: Callable[..., Exporter], small_disk: Path
) -> None:
    daemon = daemon_of(exporter, free_port(), state=small_disk / "state")
    run("mount", "-o", "remount,ro", small_disk)

    done = daemon.command("run", check=False)

    assert done.returncode == 2
    assert "state directory" in done.stderr
    assert "Read-only file system" in done.stderr


def test_a_state_directory_that_is_deleted_suspends_safety_says_so_and_the_next_start_begins_anew(
    mta: Postfix, receiver: Callable[..., Snmptrapd], exporter: Callable[..., Exporter]
) -> None:
    nms = receiver()
    daemon = daemon_of(exporter, nms.port)
    daemon.start()
    wait_for(lambda: delivered(daemon), 20, "the first notifications")
    before = daemon.command("snmp", "engine-id").stdout
    shutil.rmtree(daemon.config["state"]["directory"])
    corrupt(mta)
    wait_told(nms, "ZcsQueueCorrupt", "Raised")
    wait_told(nms, "ZcsStateNotWritable", "Raised")
    assert SUSPENDED in daemon.log()
    assert "was removed or replaced under the daemon; restart it" in daemon.log()
    daemon.stop()
    daemon.start()
    assert daemon.command("snmp", "engine-id").stdout != before
    (mta.spool / "corrupt" / CORRUPT).unlink()
    wait_for(lambda: delivered(daemon), 20, "everything")
    assert len({event for _, event in numbers(nms)}) == len(numbers(nms))


def test_a_copy_on_another_machine_tells_nothing_that_the_original_owed(
    mta: Postfix, receiver: Callable[..., Snmptrapd], exporter: Callable[..., Exporter]
) -> None:
    nms = receiver()
    daemon = daemon_of(exporter, nms.port)
    daemon.start()
    wait_for(lambda: delivered(daemon), 20, "the first notifications")
    before = daemon.command("snmp", "engine-id").stdout
    nms.stop()
    place = corrupt(mta)
    wait_for(lambda: not delivered(daemon), 20, "the raise to be owed")
    daemon.kill9()
    place.unlink()
    _carry_to_another_machine(Path(daemon.config["state"]["directory"]))
    nms.start()
    came = len(nms.received())
    daemon.start()
    wait_for(lambda: delivered(daemon), 20, "what the copy has to tell")

    fresh = nms.received()[came:]
    assert "1 notifications that it still owed are kept back for good" in daemon.log()
    # On the copy's host the alarm is over, which it may tell.
    about = [each["trap"] for each in fresh if "ZcsQueueCorrupt" in each["zcsNotifyRule"]]
    assert about in ([], ["zcsQueueCleared"])
    assert int(fresh[0]["zcsNotifySequence"].split()[0]) == 1
    assert daemon.command("snmp", "engine-id").stdout != before


def _carry_to_another_machine(state: Path) -> None:
    """Make the state believe that it was made on another host."""
    with contextlib.closing(sqlite3.connect(state / "state.sqlite3")) as database:
        database.execute("UPDATE meta SET value = 'another-machine:mail2' WHERE key = 'identity'")
        database.commit()


def test_a_state_rolled_back_to_an_older_copy_repeats_no_event_id_and_is_heard(
    mta: Postfix, receiver: Callable[..., Snmptrapd], exporter: Callable[..., Exporter]
) -> None:
    nms = receiver()
    daemon = daemon_of(exporter, nms.port)
    daemon.start()
    wait_for(lambda: delivered(daemon), 20, "the first notifications")
    daemon.stop()
    state = Path(daemon.config["state"]["directory"])
    yesterday = scratch("yesterday")
    shutil.copytree(state, yesterday / "state")
    daemon.start()
    place = corrupt(mta)
    wait_told(nms, "ZcsQueueCorrupt", "Raised")
    wait_for(lambda: delivered(daemon), 20, "everything")
    daemon.stop()
    shutil.rmtree(state)
    shutil.copytree(yesterday / "state", state)
    daemon.start()
    wait_told(nms, "ZcsQueueCorrupt", "Raised", "Raised")
    place.unlink()
    wait_told(nms, "ZcsQueueCorrupt", "Raised", "Raised", "Cleared")

    received = {each["zcsNotifyEventId"]: each for each in nms.received()}
    about = [each for each in received.values() if "ZcsQueueCorrupt" in each["zcsNotifyRule"]]
    first, second, cleared = (each["zcsNotifyAlarmIndex"] for each in about)
    assert int(first) < int(second)
    assert second == cleared
    assert len({each["zcsNotifySequence"] for each in about[:2]}) <= 2
    assert all(number > 0 for number, _ in numbers(nms))


def test_a_receiver_on_ipv6_is_one_like_any_other(
    mta: Postfix, receiver: Callable[..., Snmptrapd], exporter: Callable[..., Exporter]
) -> None:
    nms = receiver(host="::1")
    daemon = daemon_of(exporter, nms.port, host="::1")
    daemon.start()
    corrupt(mta)
    wait_told(nms, "ZcsQueueCorrupt", "Raised")
    wait_for(lambda: delivered(daemon), 20, "everything")


def test_a_receiver_whose_name_has_another_address_is_followed(
    mta: Postfix, receiver: Callable[..., Snmptrapd], exporter: Callable[..., Exporter]
) -> None:
    hosts = Path("/etc/hosts")
    before = hosts.read_text()
    port = free_port(socket.SOCK_DGRAM)
    try:
        hosts.write_text(f"{before}127.0.0.2 nms.example.com\n")
        first = receiver(host="127.0.0.2", port=port)
        daemon = daemon_of(exporter, port, host="nms.example.com")
        daemon.start()
        wait_for(lambda: delivered(daemon) and first.received(), 20, "the first notifications")
        first.stop()
        hosts.write_text(f"{before}127.0.0.3 nms.example.com\n")
        second = receiver(host="127.0.0.3", port=port)
        corrupt(mta)
        wait_told(second, "ZcsQueueCorrupt", "Raised")
        known = {number for each in (first, second) for number, _ in numbers(each)}
        assert known == set(range(1, len(known) + 1))
    finally:
        hosts.write_text(before)
