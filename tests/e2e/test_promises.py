"""What is promised about delivery, each promise with a real receiver; docs/notifications.md has them in words.

Where hours pass, the test moves the clock of the engine and the dispatcher; receivers and time-outs are real.
"""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from e2e.lab import Exporter, Postfix, Snmptrapd, Zcs, free_port, need_mibs, wait_for
from e2e.product import MIB, USER, USER_SECRET, settings
from e2e.station import AT_ONCE, Station, snmp_target, until
from fakes import FakeHost, ManualClock

from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.config import load_config
from zcs_exporter.contract import Clock
from zcs_exporter.daemon import Daemon
from zcs_exporter.notify import target_queue
from zcs_exporter.notify.message import MessageKind
from zcs_exporter.registry import collector_classes
from zcs_exporter.state_reader import read_meta

Receivers = Callable[..., Snmptrapd]
Told = list[dict[str, str]]


@pytest.fixture
def receiver(snmptrapd: Receivers) -> Receivers:
    """Make receivers that know our MIB and the user of informs."""
    need_mibs()
    return lambda **options: snmptrapd(**{"mib_dirs": [MIB], "mibs": ["ZCS-EXPORTER-MIB"], "users": [USER]} | options)


@pytest.fixture
def station(tmp_path: Path, manual: ManualClock) -> Callable[[Callable[[Station], Awaitable[None]]], None]:
    """Run a story on a station and end it."""

    def play(story: Callable[[Station], Awaitable[None]]) -> None:
        async def whole() -> None:
            one = Station(tmp_path, manual)
            try:
                await story(one)
            finally:
                await one.stop()

        asyncio.run(whole())

    return play


Play = Callable[[Callable[[Station], Awaitable[None]]], None]


def number(told: dict[str, str]) -> int:
    return int(told["zcsNotifySequence"].split()[0])


def about(received: Told, thing: str = "") -> list[str]:
    """Return what was told of alarms, such as ``Raised warning``; whatever came twice, once."""
    alarms = [each for each in received if "ZcsLevel" in each["zcsNotifyRule"]]
    named = [each for each in alarms if not thing or each["zcsNotifyObject"] == thing]
    once = {each["zcsNotifyEventId"]: each for each in named}.values()
    return [f"{each['trap'].removeprefix('zcsFilesystem')} {each['zcsNotifySeverity']}" for each in once]


def without_gap(received: Told) -> bool:
    """Whether the numbers are 1 to n, and one number is one message."""
    told = {(number(each), each["zcsNotifyEventId"]) for each in received}
    return sorted(found for found, _ in told) == list(range(1, len(told) + 1))


def test_2_fifty_raises_while_the_receiver_is_down_arrive_once_it_is_up(
    receiver: Receivers, station: Play, manual: ManualClock
) -> None:
    nms = receiver()

    async def story(one: Station) -> None:
        await one.start((snmp_target(nms, one.identity, timeout=0.5), AT_ONCE))
        nms.stop()
        await one.round(**{f"thing{each}": 1.0 for each in range(50)})
        await until(lambda: one.status().retried, "an attempt to fail")
        manual.advance(60)
        assert one.status().up is False
        assert one.status().waiting == 50
        nms.start()
        await one.delivered()

        assert len(about(nms.received())) == 50
        assert without_gap(nms.received())

    station(story)


def test_2_what_is_older_than_it_may_be_is_given_up_and_that_is_told_but_no_clear(
    receiver: Receivers, station: Play
) -> None:
    nms = receiver()

    async def story(one: Station) -> None:
        await one.start((snmp_target(nms, one.identity, timeout=0.3), AT_ONCE))
        await one.round(b=1)
        await one.delivered()
        nms.stop()
        await one.round(a=1)
        await until(lambda: one.status().retried, "an attempt to fail")
        await one.round(b=0, c=1)
        await one.round(c=0)
        one.manual.advance(86_401)
        await until(lambda: one.status().dropped, "it to be given up")
        nms.start()
        await one.round()
        await one.delivered()

        told = nms.received()
        texts = [each["zcsNotifyText"] for each in told]
        assert "Notifications for nms were given up: 3 too old" in texts
        assert about(told, "a") == ["Raised warning"]  # the repetition of today, as it still stands
        assert about(told, "b") == ["Raised warning", "Cleared ok"]  # or it would stand at the receiver for ever
        assert about(told, "c") == []
        assert sorted(map(number, told))[:2] == [1, 3]  # number 2 was tried and got lost

    station(story)


def test_2_a_target_that_was_away_gets_the_clears_that_it_missed_and_what_stands(
    receiver: Receivers, station: Play
) -> None:
    nms, other = receiver(), receiver()

    async def story(one: Station) -> None:
        away = (snmp_target(nms, one.identity, timeout=0.3), AT_ONCE)
        stays = (snmp_target(other, one.identity, "other"), AT_ONCE)
        await one.start(away, stays)
        await one.round(a=1, b=1)
        await one.delivered()
        nms.stop()
        await one.round(c=1)
        await until(lambda: one.status("nms").retried, "an attempt to fail")

        await one.use(stays)
        await one.round(a=0)
        await one.delivered()
        texts = [each["zcsNotifyText"] for each in other.received()]
        assert "Notifications for nms were given up: 1 that wait" in " ".join(texts)
        before = len(texts)
        nms.start()
        await one.use(stays, away)
        await one.round()
        await one.delivered()

        assert about(nms.received(), "a") == ["Raised warning", "Cleared ok"]
        assert about(nms.received(), "b") == ["Raised warning"] * 2
        assert "Raised warning" in about(nms.received(), "c")
        assert without_gap(nms.received())
        [cleared] = [each for each in nms.received() if each["trap"] == "zcsFilesystemCleared"]
        assert cleared["zcsNotifyEventId"] in {each["zcsNotifyEventId"] for each in other.received()}
        assert len(other.received()) == before

    station(story)


def test_3_a_clear_never_overtakes_its_raise(receiver: Receivers, station: Play) -> None:
    nms = receiver()

    async def story(one: Station) -> None:
        await one.start((snmp_target(nms, one.identity, timeout=0.3), AT_ONCE))
        nms.stop()
        for level in (1, 0, 2, 1, 0, 1):
            await one.round(a=level, b=level)
        nms.start()
        await one.delivered()

        wanted = ["Raised warning", "Cleared ok", "Raised critical", "Raised warning", "Cleared ok", "Raised warning"]
        assert about(nms.received(), "a") == wanted
        assert about(nms.received(), "b") == wanted

    station(story)


class Relay:
    """Stands before a receiver, and eats as many of its answers as it is told."""

    def __init__(self, port: int, eats: int) -> None:
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self.port: int = self._front.getsockname()[1]
        self._receiver = ("127.0.0.1", port)
        self.eats = eats
        self._backs: dict[tuple[str, int], socket.socket] = {}
        threading.Thread(target=self._forward, daemon=True).start()

    def _forward(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                datagram, sender = self._front.recvfrom(65_536)
                if sender not in self._backs:
                    back = self._backs[sender] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    back.connect(self._receiver)
                    threading.Thread(target=self._answer, args=(back, sender), daemon=True).start()
                self._backs[sender].send(datagram)

    def _answer(self, back: socket.socket, sender: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):
            while True:
                answer = back.recv(65_536)
                if self.eats:
                    self.eats -= 1
                else:
                    self._front.sendto(answer, sender)

    def close(self) -> None:
        for each in (self._front, *self._backs.values()):
            each.close()


@pytest.fixture
def relay() -> Iterator[Callable[..., Relay]]:
    with contextlib.ExitStack() as stack:

        def make(port: int, eats: int) -> Relay:
            return stack.enter_context(contextlib.closing(Relay(port, eats)))

        yield make


def test_4_an_event_has_one_id_in_every_repetition_and_at_every_destination(
    receiver: Receivers, station: Play, relay: Callable[..., Relay]
) -> None:
    nms, spare = receiver(), receiver(community="lab-community")
    between = relay(nms.port, 1)

    async def story(one: Station) -> None:
        await one.start(
            (snmp_target(nms, one.identity, version="2c", port=between.port, timeout=0.5), AT_ONCE),
            (snmp_target(spare, one.identity, "spare", version="2c", kind="trap"), AT_ONCE),
        )
        await one.round(a=1)
        await one.delivered()
        await until(spare.received, "the trap")

        twice, [once] = nms.received(), spare.received()
        assert len(twice) == 2
        assert {each["zcsNotifyEventId"] for each in twice} == {once["zcsNotifyEventId"]}
        assert {number(each) for each in twice} == {1}
        assert one.status().delivered == 1

    station(story)


def test_5_numbers_rise_by_one_over_restarts_and_kills(
    receiver: Receivers, tmp_path: Path, manual: ManualClock
) -> None:
    nms = receiver()

    async def life(ends_well: bool, level: float) -> None:
        one = Station(tmp_path / "state", manual)
        pace = replace(AT_ONCE, heartbeat=0.2)
        await one.start((snmp_target(nms, one.identity, timeout=0.5), pace))
        await one.round(a=level, b=level, c=level)
        await one.round(a=0.0)
        if ends_well:
            await one.delivered()
            await asyncio.sleep(0.5)
        await one.stop()

    for each in range(6):
        asyncio.run(life(bool(each % 2), float(each % 2)))

    received = nms.received()
    assert len(about(received)) >= 12
    assert without_gap(received)


def test_6_neither_a_dead_nor_a_slow_nor_a_wrong_target_delays_a_good_one(receiver: Receivers, station: Play) -> None:
    good, slow, dead, other = receiver(), receiver(handler="/bin/sleep 2"), receiver(), receiver(community="like")
    dead.stop()
    other.community = "unlike"

    async def story(one: Station) -> None:
        await one.start(
            (snmp_target(dead, one.identity, "dead"), AT_ONCE),
            (snmp_target(slow, one.identity, "slow"), AT_ONCE),
            (snmp_target(other, one.identity, "stranger", version="2c"), AT_ONCE),
            (snmp_target(good, one.identity, "good"), AT_ONCE),
        )
        await one.round(first=1.0)
        await until(lambda: one.status("good").delivered, "the first")  # with pysnmp loaded and keys made
        for each in range(1, 6):
            begun = time.monotonic()
            await one.round(**{f"thing{each}": 1.0})
            await until(lambda each=each: one.status("good").delivered > each, "the good one", 1)  # type: ignore[misc]
            assert time.monotonic() - begun < 1
        assert one.status("dead").delivered == one.status("stranger").delivered == 0
        assert other.received() == []

    station(story)


@pytest.mark.parametrize("forgets", [False, True])
def test_8_informs_go_on_soon_after_the_receiver_restarts(receiver: Receivers, station: Play, forgets: bool) -> None:
    nms = receiver()

    async def story(one: Station) -> None:
        await one.start((snmp_target(nms, one.identity), replace(AT_ONCE, backoff=5.0)))
        await one.round(a=1)
        await one.delivered()
        nms.stop()
        if forgets:
            nms.forget()
        nms.start()
        begun = time.monotonic()
        await one.round(a=0)
        await one.delivered()

        assert time.monotonic() - begun < 10
        assert about(nms.received()) == ["Raised warning", "Cleared ok"]

    station(story)


def test_9_an_alarm_that_stands_is_told_again_and_after_an_outage_its_state_once(
    receiver: Receivers, station: Play, manual: ManualClock
) -> None:
    nms = receiver()

    async def story(one: Station) -> None:
        await one.start((snmp_target(nms, one.identity, timeout=0.3), AT_ONCE))
        await one.round(a=1, b=1)
        await one.delivered()
        manual.advance(4 * 3600)
        await one.round()
        await one.delivered()
        assert about(nms.received(), "a") == ["Raised warning"] * 2
        assert {each["zcsNotifyCount"].split()[0] for each in nms.received()} == {"1"}

        nms.stop()
        await one.round(x=1)
        await until(lambda: one.status().retried, "an attempt to fail")
        for level in (0, 1, 0, 2):
            await one.round(a=level)
        await one.round(b=0)
        manual.advance(400)
        nms.start()
        await one.delivered()

        (cleared, raised) = [each for each in nms.received() if each["zcsNotifyObject"] == "a"][2:]
        first = nms.received()[0]["zcsNotifyAlarmIndex"]
        assert (cleared["trap"], cleared["zcsNotifyAlarmIndex"]) == ("zcsFilesystemCleared", first)
        assert (raised["trap"], raised["zcsNotifySeverity"]) == ("zcsFilesystemRaised", "critical")
        assert raised["zcsNotifyText"] == "a is at 2 (with 2 notifications before it)"
        assert raised["zcsNotifyCount"].split()[0] == "3"
        assert about(nms.received(), "b")[2:] == ["Cleared ok"]
        assert one.status().suppressed == 2
        assert without_gap(nms.received())

    station(story)


def test_10_five_hundred_alarms_in_a_second_lose_nothing_on_the_way(receiver: Receivers, station: Play) -> None:
    nms = receiver()

    async def story(one: Station) -> None:
        await one.start((snmp_target(nms, one.identity), AT_ONCE))
        await one.round(**{f"thing{each}": 1.0 for each in range(500)})
        await one.delivered(60)

        assert len(about(nms.received())) == 500
        assert without_gap(nms.received())
        assert nms.lost() == 0
        assert one.status().retried == 0

    station(story)


def test_10_what_comes_too_fast_for_a_receiver_of_traps_is_one_notice_with_a_count(
    receiver: Receivers, tmp_path: Path, manual: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_queue, "STORM_PATIENCE", 4.0)
    nms = receiver(community="lab-community")

    async def story() -> None:
        one = Station(tmp_path, manual, Clock())
        begun = time.monotonic()
        pace = replace(AT_ONCE, rate=20, burst=20)
        await one.start((snmp_target(nms, one.identity, version="2c", kind="trap"), pace))
        grave = {f"thing{each}" for each in range(0, 500, 50)}
        await one.round(**{f"thing{each}": 2.0 if f"thing{each}" in grave else 1.0 for each in range(500)})
        await one.delivered(30)
        took = time.monotonic() - begun

        await until(lambda: len(nms.received()) > 100, "the last of them")
        told = nms.received()
        [notice] = [each for each in told if each["trap"] == "zcsSuppressed"]
        assert len(about(told)) + int(notice["zcsNotifyCount"].split()[0]) == 500
        assert grave <= {each["zcsNotifyObject"] for each in told}
        assert len(told) <= 20 + 20 * took
        assert nms.lost() == 0
        assert without_gap(told)
        await one.stop()

    asyncio.run(story())


def test_11_a_spool_that_is_full_stays_so_large_and_says_what_it_dropped(receiver: Receivers, station: Play) -> None:
    nms = receiver()

    async def story(one: Station) -> None:
        await one.start((snmp_target(nms, one.identity, timeout=0.3), AT_ONCE))
        nms.stop()
        await one.round(a=1)
        await until(lambda: one.status().retried, "an attempt to fail")
        for _ in range(22):
            for each in range(500):
                one.engine.say(MessageKind.TEST, "", f"test {each} {'x' * 100}")
            await one.engine.turn()
        assert one.status().waiting <= 10_000
        dropped = one.status().dropped
        assert dropped + one.status().waiting >= 11_001
        await one.store.run(lambda _: None)
        assert os.stat(f"{one.store.directory}/state.sqlite3").st_size < 40 << 20
        saved = await one.store.load()
        assert len(saved.deliveries) <= 10_000
        said = [each.message.text for each in saved.deliveries if each.message.name == "ZcsNotificationsGivenUp"]
        assert len(said) == 1
        assert said[0].endswith("for want of room")

    station(story)


def test_12_heartbeats_have_their_pace_and_what_waits_is_the_heartbeat(receiver: Receivers, station: Play) -> None:
    nms = receiver()

    async def story(one: Station) -> None:
        await one.start((snmp_target(nms, one.identity, timeout=0.5), replace(AT_ONCE, heartbeat=0.5)))
        await until(lambda: len(nms.received()) >= 3, "three heartbeats")
        assert {each["trap"] for each in nms.received()} == {"zcsHeartbeat"}
        assert nms.received()[-1]["zcsNotifyObject"] == "0 4294967295"
        nms.stop()
        await one.round(a=1)
        await until(lambda: one.status().retried, "an attempt to fail")
        before = one.status().sequence
        await asyncio.sleep(1.5)
        assert one.status().sequence == before  # none was made while the alarm waits
        nms.start()
        await until(lambda: nms.received()[-1]["trap"] == "zcsHeartbeat" and about(nms.received()), "the next one")

        assert about(nms.received()) == ["Raised warning"]
        [raised] = [each for each in nms.received() if "ZcsLevel" in each["zcsNotifyRule"]]
        beat = nms.received()[-1]
        assert beat["zcsNotifyObject"] == f"0 +{raised['zcsNotifyAlarmIndex']} 4294967295"
        assert beat["zcsNotifyCount"].split()[0] == "1"

    station(story)


# -- The whole daemon -------------------------------------------------------------------------------------------------


def told_to(daemon: Exporter, **target: object) -> dict[str, object]:
    """Return a target's configuration, with its secrets on disk."""
    community = target.pop("community", None)
    secret = USER_SECRET if community is None else {"community": community}
    name = str(target.setdefault("name", "nms"))
    return {"host": "127.0.0.1", **target, "secrets": daemon.secrets(f"{name}.secret", secret)}


def notifying(exporter: Callable[..., Exporter], *alerts: str, heartbeat: str = "0s", **options: object) -> Exporter:
    """Make a daemon whose targets come with `tell`."""
    daemon = exporter(settings(*alerts), **options)
    daemon.config["notify"] = {"heartbeat": heartbeat, "snmp": []}
    return daemon


def tell(daemon: Exporter, *targets: dict[str, object]) -> None:
    daemon.config["notify"]["snmp"] = list(targets)
    daemon.configure()


def corrupt(postfix: Postfix) -> Path:
    """Put a message into the corrupt queue, which is an alarm."""
    place = postfix.spool / "corrupt" / "3F2A81C0E5D"
    place.write_bytes(b"C")
    place.chmod(0o700)
    return place


def queue_alarms(received: Told) -> list[dict[str, str]]:
    return [each for each in received if "ZcsQueueCorrupt" in each["zcsNotifyRule"]]


@pytest.fixture
def mta(zcs: Zcs, postfix: Postfix) -> Iterator[Postfix]:
    """A mail server whose corrupt queue is empty, then and now."""
    zcs.set_services("mta")
    yield postfix
    (postfix.spool / "corrupt" / "3F2A81C0E5D").unlink(missing_ok=True)


def traps_of(receiver: Snmptrapd) -> list[str]:
    return [each["trap"] for each in receiver.received()]


def test_7_whatever_happens_to_state_or_clock_version_3_traps_are_logged(
    mta: Postfix, receiver: Receivers, exporter: Callable[..., Exporter]
) -> None:
    daemon = notifying(exporter)
    first = receiver()
    tell(daemon, told_to(daemon, port=first.port))
    daemon.start()
    engine_id = daemon.command("snmp", "engine-id").stdout.strip().removeprefix("0x")
    nms = receiver(users=[replace(USER, engine_id=engine_id)])
    tell(daemon, told_to(daemon, port=nms.port, kind="trap"))
    daemon.stop()
    for end in (daemon.kill9, daemon.stop, daemon.kill9):
        daemon.start()
        end()
    wait_for(lambda: traps_of(nms).count("zcsStarted") == 3, 10, f"each start: {traps_of(nms)}")

    shutil.rmtree(daemon.config["state"]["directory"])
    daemon.start()
    other = daemon.command("snmp", "engine-id").stdout.strip().removeprefix("0x")
    assert other != engine_id
    daemon.stop()
    nms.stop()
    nms.add_user(replace(USER, engine_id=other))
    nms.start()
    daemon.start()
    wait_for(lambda: traps_of(nms).count("zcsStarted") == 4, 10, f"the start under the new identity: {traps_of(nms)}")


def test_7_a_clock_that_is_set_back_an_hour_silences_no_version_3_trap(
    receiver: Receivers, tmp_path: Path, host: FakeHost
) -> None:
    """The daemon runs in this process, under a clock of the test."""
    secret = tmp_path / "nms.secret"
    secret.write_text(json.dumps(USER_SECRET))
    secret.chmod(0o600)
    catalogue = load_catalogue(asset("alerts"))

    def live(offset: list[float], port: int, story: Callable[[], Awaitable[None]]) -> None:
        target = {"name": "nms", "host": "127.0.0.1", "port": port, "kind": "trap", "secrets": str(secret)}
        data = {
            "host": {"root": host.root},
            "state": {"directory": str(tmp_path / "state")},
            "web": {"listen": f"127.0.0.1:{free_port()}"},
            "collectors": {each.name: {"enabled": False} for each in collector_classes() if each.name != "zimbra"},
            "notify": {"heartbeat": "1s", "snmp": [target]},
        }
        file = tmp_path / "config.yaml"
        file.write_text(json.dumps(data))
        clock = Clock(wall=lambda: time.time() + offset[0], monotonic=time.monotonic)

        async def whole() -> None:
            daemon = Daemon(str(file), catalogue, load_config(str(file), catalogue), clock, lambda _: host)
            running = asyncio.create_task(daemon.run())
            await story()
            daemon.stop()
            await running
            daemon._store.close()  # the end of a process lets go of it

        asyncio.run(whole())

    async def soon() -> None:
        await asyncio.sleep(3)

    live([0.0], free_port(), soon)
    engine_id = read_meta(str(tmp_path / "state"), "snmp_engine_id")
    nms = receiver(users=[replace(USER, engine_id=engine_id)])

    def heard(beats: int, starts: int) -> Callable[[], bool]:
        return lambda: traps_of(nms).count("zcsHeartbeat") >= beats and traps_of(nms).count("zcsStarted") == starts

    now = [0.0]

    async def set_back() -> None:
        await until(heard(1, 1), "a heartbeat")
        now[0] = -3600.0
        await until(heard(3, 1), "heartbeats after the step")

    async def go_on() -> None:
        await until(heard(5, 2), "the next process")

    live(now, nms.port, set_back)
    live(now, nms.port, go_on)


def test_13_start_and_stop_are_told_and_an_alarm_only_after_the_start(
    mta: Postfix, receiver: Receivers, exporter: Callable[..., Exporter]
) -> None:
    nms = receiver()
    daemon = notifying(exporter, "ZcsQueueCorrupt")
    tell(daemon, told_to(daemon, port=nms.port))
    daemon.start()
    daemon.stop()
    corrupt(mta)
    daemon.start()
    wait_for(lambda: queue_alarms(nms.received()), 20, "the raise")
    daemon.stop()

    told = traps_of(nms)
    assert told.index("zcsQueueRaised") > told.index("zcsStopping") + 1
    assert told[0] == "zcsStarted"
    assert told[-1] == "zcsStopping"
    assert told.count("zcsStarted") == told.count("zcsStopping") == 2
    assert without_gap(nms.received())


def test_14_an_alarm_that_comes_and_goes_is_flapping(
    mta: Postfix, receiver: Receivers, exporter: Callable[..., Exporter]
) -> None:
    nms = receiver()
    daemon = notifying(exporter)
    daemon.config["alerts"]["overrides"] = {"ZcsQueueCorrupt": {"for": "0s", "keep": "0s"}}
    tell(daemon, told_to(daemon, port=nms.port))
    daemon.start()
    active = ("zcs_alert_active", frozenset({("alert", "ZcsQueueCorrupt"), ("severity", "warning")}))
    messages = ("zcs_postfix_queue_messages", frozenset({("queue", "corrupt")}))
    for each in range(6):
        place = corrupt(mta)
        wait_for(lambda: active in daemon.metrics(), 10, "the raise")
        place.unlink()
        wait_for(lambda: daemon.metrics()[messages] == 0, 10, "the end of the condition")
        if each < 3:
            wait_for(lambda: active not in daemon.metrics(), 10, "the clear")

    wait_for(lambda: len(queue_alarms(nms.received())) >= 7, 10, "the seventh change")
    told = queue_alarms(nms.received())
    assert [each["trap"] for each in told] == ["zcsQueueRaised", "zcsQueueCleared"] * 3 + ["zcsQueueRaised"]
    assert told[-1]["zcsNotifyText"].startswith("Flapping: ")
    (alarm,) = [each for each in daemon.alerts() if each["alert"] == "ZcsQueueCorrupt"]
    assert alarm["summary"].startswith("Flapping: ")


def test_15_records_that_cannot_be_sent_or_read_are_set_aside_and_told(
    mta: Postfix, receiver: Receivers, exporter: Callable[..., Exporter]
) -> None:
    nms = receiver()
    daemon = notifying(exporter)
    tell(daemon, told_to(daemon, port=nms.port))
    daemon.start()
    daemon.stop()
    with contextlib.closing(sqlite3.connect(Path(daemon.config["state"]["directory"], "state.sqlite3"))) as database:
        (text,) = database.execute("SELECT message FROM message LIMIT 1").fetchone()
        bad_time = json.dumps(json.loads(text) | {"at": 1e30, "event_id": "by-hand"})
        last = int(database.execute("SELECT value FROM meta WHERE key = 'last_message'").fetchone()[0])
        rows = [(last + 1, bad_time), (last + 2, "no JSON"), (last + 3, "{}")]
        database.executemany("INSERT INTO message (number, message) VALUES (?, ?)", rows)
        database.executemany("INSERT INTO delivery (number, target) VALUES (?, 'nms')", [(row[0],) for row in rows])
        database.commit()
    daemon.start()
    wait_for(lambda: "ZcsNotificationsGivenUp" in str(nms.received()), 20, "the event about it")
    wait_for(lambda: daemon.value("zcs_exporter_outbox_messages", target="nms") == 0, 20, "everything else")

    assert traps_of(nms).count("zcsStarted") == 2
    assert "by-hand" not in str(nms.received())
    assert daemon.value("zcs_exporter_notifications_total", target="nms", outcome="set_aside") == 3
    assert "set aside" in daemon.log()


def test_16_no_program_is_started_and_no_secret_leaves(
    mta: Postfix, receiver: Receivers, exporter: Callable[..., Exporter]
) -> None:
    secrets = (USER.auth_password, USER.priv_password, "lab-community-of-ours", "never-known-to-anybody")
    nms, old = receiver(), receiver(community=secrets[2])
    daemon = notifying(exporter, "ZcsQueueCorrupt", heartbeat="1s", strace=True)
    daemon.config["log"] = {"level": "debug"}
    tell(
        daemon,
        told_to(daemon, port=nms.port),
        told_to(daemon, name="old", port=old.port, version="2c", kind="trap", community=secrets[2]),
        told_to(daemon, name="refused", port=old.port, version="2c", community=secrets[3]),
        told_to(daemon, name="first", port=old.port, version=1, kind="trap", community=secrets[2]),
    )
    daemon.start()
    corrupt(mta)
    wait_for(lambda: queue_alarms(nms.received()) and queue_alarms(old.received()), 30, "the alarm everywhere")
    wait_for(lambda: "refused: no acknowledgement" in daemon.log(), 30, "the failure in the log")
    token = Path(daemon.config["state"]["directory"], "token").read_text().strip()
    api = {path: daemon.get(path, {"Authorization": f"Bearer {token}"})[1] for path in ("/", "/api/v1/snapshot")}
    processes = b"".join(
        place.read_bytes() for each in ("cmdline", "environ") for place in [Path("/proc", str(daemon.pid), each)]
    )
    state = Path(daemon.config["state"]["directory"])
    said = {
        "ps": processes.decode(errors="replace"),
        "log": daemon.log(),
        "metrics": daemon.get("/metrics")[1],
        # What snmptrapd says of a message's envelope has the community, which version 2c sends in clear.
        "varbinds": str([each | {"pdu": ""} for each in (*nms.received(), *old.received())]),
        "state": "".join(each.read_bytes().decode("latin-1") for each in state.iterdir() if each.is_file()),
        **api,
    }
    daemon.stop()

    assert daemon.executed() == []
    assert [(where, secret) for where, text in said.items() for secret in secrets if secret in text] == []


def test_17_a_replay_keeps_number_event_id_and_time(
    mta: Postfix, receiver: Receivers, exporter: Callable[..., Exporter]
) -> None:
    nms = receiver()
    daemon = notifying(exporter, "ZcsQueueCorrupt")
    tell(daemon, told_to(daemon, port=nms.port))
    daemon.start()
    place = corrupt(mta)
    wait_for(lambda: len(queue_alarms(nms.received())) == 1, 20, "the raise")
    place.unlink()
    wait_for(lambda: len(queue_alarms(nms.received())) == 2, 20, "the clear")
    wait_for(lambda: daemon.value("zcs_exporter_outbox_messages", target="nms") == 0, 10, "what is acknowledged")
    before = queue_alarms(nms.received())
    first = number(before[0])

    done = daemon.command("trap", "replay", "--to", "nms", "--from", str(first))

    assert [line.split()[0] for line in done.stdout.splitlines()] == [f"#{first}:", f"#{first + 1}:"]
    again = queue_alarms(nms.received())[2:]
    kept = ("trap", "zcsNotifySequence", "zcsNotifyEventId", "zcsNotifyTime", "zcsNotifyText", "zcsNotifyAlarmIndex")
    assert [[each[name] for name in kept] for each in again] == [[each[name] for name in kept] for each in before]
    one = daemon.command("trap", "replay", "--to", "nms", "--from", str(first), "--until", str(first))
    assert len(one.stdout.splitlines()) == 1
    nothing = daemon.command("trap", "replay", "--to", "nms", "--from", "1000", check=False)
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "nothing is kept" in nothing.stderr
    stranger = daemon.command("trap", "replay", "--to", "nobody", "--from", "1", check=False)
    assert stranger.returncode == 2
    assert "no target nobody" in stranger.stderr


def test_18_what_metrics_say_of_each_target_is_what_its_receiver_logged(
    mta: Postfix, receiver: Receivers, exporter: Callable[..., Exporter]
) -> None:
    nms, old, down = receiver(), receiver(community="lab-community"), receiver()
    down.stop()
    daemon = notifying(exporter, "ZcsQueueCorrupt", heartbeat="1s")
    stranger = daemon.secrets("stranger.secret", USER_SECRET | {"user": "nobody-knows"})
    tell(
        daemon,
        told_to(daemon, port=nms.port),
        told_to(daemon, name="old", port=old.port, version="2c", kind="trap", community="lab-community"),
        told_to(daemon, name="down", port=down.port),
        {"name": "stranger", "host": "127.0.0.1", "port": nms.port, "secrets": stranger},
    )
    daemon.start()
    corrupt(mta)

    def of(name: str, target: str) -> float | None:
        return daemon.value(f"zcs_exporter_{name}", target=target)

    def fate(outcome: str, target: str) -> float | None:
        return daemon.value("zcs_exporter_notifications_total", target=target, outcome=outcome)

    wait_for(lambda: of("target_up", "down") == 0, 30, "the failure of the one that is down")
    wait_for(lambda: queue_alarms(nms.received()) and queue_alarms(old.received()), 20, "the alarm")
    for target, receives in (("nms", nms), ("old", old)):
        assert of("target_up", target) == 1
        assert of("outbox_messages", target) == 0
        assert of("outbox_oldest_age_seconds", target) == 0
        before = len(receives.received())
        delivered = fate("delivered", target)
        assert delivered is not None
        wait_for(lambda r=receives, d=delivered: len(r.received()) >= d, 10, "what was counted")  # type: ignore[misc]
        assert delivered >= before - 1  # one may be between the receiver's log and our count
    assert fate("retried", "down") >= 1
    assert of("outbox_messages", "down") >= 2
    assert of("outbox_oldest_age_seconds", "down") > 1
    assert fate("refused", "stranger") >= 1
    assert of("target_up", "stranger") == 0
    assert {fate(each, "nms") for each in ("retried", "refused", "dropped", "suppressed", "superseded")} == {0}
