"""A turn of the engine: one transaction, then one snapshot, then messages."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from fakes import ManualClock
from snapshots import sample

from zcs_exporter import engine as engine_module
from zcs_exporter.alerting.alarm import Change
from zcs_exporter.alerting.evaluate import Policy
from zcs_exporter.alerting.model import AlertRule, Catalogue, EventRule, Severity
from zcs_exporter.contract import (
    CollectError,
    CollectorConfig,
    Event,
    Finding,
    Kind,
    LogSubscription,
    Metric,
    NotOnThisHost,
    Reason,
    Record,
    Sample,
)
from zcs_exporter.engine import Engine, Links
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.runner import Outcome, Runner
from zcs_exporter.snapshot import Snapshot
from zcs_exporter.state import Commit, Delivery, StateStore, read_saved

FULL = Metric("zcs_full", Kind.GAUGE, "Full.", labels=("mountpoint",))
CATALOGUE = Catalogue(
    alerts=(
        AlertRule.of(
            {
                "alert": "ZcsFull",
                "id": 201,
                "family": "filesystem",
                "value": "zcs_full",
                "above": {"warning": 1},
                "unit": "count",
                "urgency": "today",
                "for": "0s",
                "keep": "0s",
                "summary": "{mountpoint} is full",
                "meaning": "m",
                "action": "a",
                "examples": [{"values": {"zcs_full": 1}, "fires": "warning"}] * 2,
            }
        ),
    ),
    events=tuple(
        EventRule.of(
            {"event": name, "id": number, "family": "service", "severity": "warning", "summary": text, "meaning": "m"}
        )
        for name, number, text in (("ZcsStopped", 351, "{name} stopped"), ("ZcsBaseline", 151, "{count} were true"))
    ),
)
POLICIES = {"ZcsFull": Policy(CATALOGUE.alerts[0].defaults)}


class Counting:
    """A collector with a durable count, as if it read a log."""

    name: ClassVar[str] = "counting"
    metrics: ClassVar[tuple[Metric, ...]] = (FULL,)
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = CollectorConfig

    def __init__(self) -> None:
        self.count = 0

    async def collect(self) -> Sequence[Finding]:
        return ()

    def restore(self, saved: Mapping[str, str]) -> None:
        self.count = json.loads(saved.get("count", "0"))

    def changes(self) -> Mapping[str, str | None]:
        return {"count": json.dumps(self.count)}


class LogCounting(Counting):
    def subscriptions(self) -> Sequence[LogSubscription]:
        return ()

    def counted(self) -> Sequence[Finding]:
        return ()


class Desk:
    """An engine with everything around it within reach."""

    def __init__(self, directory: Path, manual: ManualClock) -> None:
        self.store = StateStore(str(directory), "machine:mail")
        self.manual = manual
        self.sent: list[Delivery] = []
        self.records: list[Record | Message] = []
        self.positions: dict[str, str] = {}
        self.targets: tuple[str, ...] = ("nms",)

    async def start(self, collector: Counting | None = None) -> Engine:
        saved = await self.store.run(read_saved)
        links = Links(
            lambda _message: self.targets, self.sent.extend, self._take_positions, self.records.extend, (self._own,)
        )
        self.engine = Engine(self.store, saved, CATALOGUE, self.manual.clock, links)
        self.collector = collector or Counting()
        self.collector.restore(saved.rows.get("counting", {}))
        clock = self.manual.clock
        runner = Runner(self.collector, 15.0, required=False, clock=clock, deliver=self.engine.deliver)
        self.engine.adopt([runner], POLICIES, "mail.example.com")
        return self.engine

    def _own(self) -> Iterator[Sample]:
        yield sample("zcs_exporter_made_up", {}, 1)

    def _take_positions(self) -> Mapping[str, str]:
        taken, self.positions = self.positions, {}
        return taken

    async def round(self, *findings: Finding, **outcome: object) -> list[str]:
        """Deliver one outcome, take a turn, and return the texts that were sent."""
        samples = tuple(each for each in findings if isinstance(each, Sample))
        events = tuple(each for each in findings if isinstance(each, Event))
        self.manual.advance(15)
        before = len(self.sent)
        self.engine.deliver("counting", Outcome(self.manual.now, 0.1, samples, events, **outcome))  # type: ignore[arg-type]
        await self.engine.turn()
        return [each.message.text for each in self.sent[before:]]


Tell = Callable[[Callable[[Desk], Awaitable[None]]], None]


@pytest.fixture
def tell(tmp_path: Path, manual: ManualClock) -> Tell:
    def run(story: Callable[[Desk], Awaitable[None]]) -> None:
        async def whole() -> None:
            desk = Desk(tmp_path, manual)
            try:
                await story(desk)
            finally:
                desk.store.close()

        asyncio.run(whole())

    return run


def full(mountpoint: str = "/opt/zimbra", value: float = 1) -> Sample:
    return FULL.sample(value, mountpoint=mountpoint)


def test_a_transition_is_on_disk_before_it_is_handed_to_the_dispatcher(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.start()
        await desk.round(full(value=0))
        handed: list[tuple[int, ...]] = []

        def enqueue(deliveries: Sequence[Delivery]) -> None:
            with sqlite3.connect(f"{desk.store.directory}/state.sqlite3") as database:
                handed.append(tuple(row[0] for row in database.execute("SELECT number FROM delivery")))
            database.close()
            desk.sent.extend(deliveries)

        desk.engine._links = Links(lambda _message: ("nms",), enqueue, dict, list, ())
        assert await desk.round(full()) == ["/opt/zimbra is full"]

        assert handed == [(desk.sent[-1].number,)]

    tell(story)


def test_rows_of_other_parts_are_saved_with_those_of_collectors(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        keeper = Counting()
        keeper.count = 3
        engine._links = replace(engine._links, keepers={"other": keeper})
        await desk.round(full(value=0))

        saved = await desk.store.run(read_saved)
        assert saved.rows["other"] == {"count": "3"}
        assert "counting" in saved.rows

    tell(story)


def test_what_a_snapshot_needs_is_saved_before_anybody_sees_it(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        keeper = Counting()
        seen: list[tuple[int, int]] = []

        def foresee(snapshot: Snapshot) -> None:
            keeper.count = snapshot.generation
            seen.append((snapshot.generation, engine.latest.generation))

        engine._links = replace(engine._links, keepers={"other": keeper}, foresee=foresee)
        await desk.round(full(value=0))
        saved = await desk.store.run(read_saved)

        assert seen == [(1, 0)]
        assert saved.rows["other"] == {"count": "1"}
        assert engine.latest.generation == 1

    tell(story)


def test_a_bug_in_what_is_foreseen_keeps_no_snapshot_back(tell: Tell, caplog: pytest.LogCaptureFixture) -> None:
    def foresee(_: Snapshot) -> None:
        raise KeyError("mountpoint")

    async def story(desk: Desk) -> None:
        engine = await desk.start()
        engine._links = replace(engine._links, foresee=foresee)
        for _ in range(3):
            await desk.round(full(value=0))

        assert engine.latest.generation == 3
        assert sum("bug, please report it" in each.message for each in caplog.records) == 1

    tell(story)


def test_what_happened_is_recorded_once_it_is_on_disk_records_of_logs_first(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        await desk.round(full(value=0))
        order: list[str] = []
        commit = desk.store.commit

        async def watched(batch: Commit) -> None:
            await commit(batch)
            order.append("committed")

        desk.store.commit = watched  # type: ignore[method-assign]
        links = replace(engine._links, record=lambda news: order.extend(type(each).__name__ for each in news))
        engine._links = links
        seen = Record("login_failed", 1.0)
        await desk.round(full(), Event("ZcsStopped", 1.0, {"name": "mta"}), records=(seen,))

        assert order == ["committed", "Record", "Message", "Message"]

    tell(story)


def test_what_a_disk_that_refuses_does_not_keep_is_recorded_all_the_same(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.start()

        async def refuse(_batch: Commit) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        desk.store.commit = refuse  # type: ignore[method-assign]
        desk.positions = {"/var/log/zimbra.log": "later"}
        await desk.round(full(value=0), records=(Record("login_failed", 1.0),))
        await desk.round(full(value=0))

        assert desk.records == [Record("login_failed", 1.0)]

    tell(story)


def test_a_turn_that_nobody_waits_for_any_more_is_ended_and_told(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        await desk.round(full(value=0))
        held, commit = asyncio.Event(), desk.store.commit

        async def slow(batch: Commit) -> None:
            await commit(batch)
            await held.wait()

        desk.store.commit = slow  # type: ignore[method-assign]
        engine.deliver("counting", Outcome(records=(Record("login_failed", 1.0),), samples=(full(value=1),)))
        turn = asyncio.create_task(engine.turn())
        while engine._save is None:
            await asyncio.sleep(0)
        turn.cancel()
        held.set()
        await engine.turn()

        assert turn.cancelled()
        assert [type(each).__name__ for each in desk.records] == ["Record", "Message"]
        assert [each.message.text for each in desk.sent] == ["/opt/zimbra is full"]

    tell(story)


class JudgingCounting(Counting):
    """A collector that tells by itself what was an attack."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Mapping[str, Mapping[str, float]]] = []

    def take_thresholds(self, thresholds: Mapping[str, Mapping[str, float]]) -> None:
        self.taken.append(thresholds)


def test_a_collector_that_judges_is_given_the_thresholds_when_it_is_adopted_and_whenever_they_change(
    tell: Tell,
) -> None:
    async def story(desk: Desk) -> None:
        judge = JudgingCounting()
        engine = await desk.start(judge)
        assert judge.taken == [{"ZcsFull": {"warning": 1.0}}]
        engine.set_policies({"ZcsFull": Policy({Severity.WARNING: 2.0, Severity.CRITICAL: 3.0})})
        assert judge.taken[1:] == [{"ZcsFull": {"warning": 2.0, "critical": 3.0}}]
        engine.set_policies({"ZcsFull": Policy({})})
        assert judge.taken[2:] == [{"ZcsFull": {}}]

    tell(story)


def test_a_snapshot_is_published_only_after_its_commit(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        published: list[int] = []
        commit = desk.store.commit

        async def watched(batch: Commit) -> None:
            published.append(len(engine.latest.readings["counting"].samples))
            await commit(batch)

        desk.store.commit = watched  # type: ignore[method-assign]
        await desk.round(full(value=0))

        assert published == [0]
        assert len(engine.latest.readings["counting"].samples) == 1

    tell(story)


def test_counters_and_log_positions_are_committed_together(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.start()
        desk.collector.count = 41
        desk.positions = {"/var/log/zimbra.log": "after line 41"}
        await desk.round()

        saved = await desk.store.run(read_saved)
        assert saved.rows["counting"]["count"] == "41"
        assert saved.positions == {"/var/log/zimbra.log": "after line 41"}

    tell(story)


def test_when_the_disk_refuses_the_daemon_goes_on_says_so_and_catches_up_later(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        await desk.round(full(value=0))
        commit = desk.store.commit

        async def refuse(_batch: Commit) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        desk.store.commit = refuse  # type: ignore[method-assign]
        desk.positions = {"/var/log/zimbra.log": "later"}
        assert await desk.round(full()) == ["/opt/zimbra is full"]
        assert engine.commit_failure is not None
        assert "disk is full" in engine.commit_failure
        await desk.round(full())
        own = {each.metric.name: each.value for each in engine.latest.own if not each.labels}
        assert own["zcs_exporter_state_writable"] == 0

        desk.store.commit = commit  # type: ignore[method-assign]
        await desk.round(full())
        saved = await desk.store.run(read_saved)
        assert engine.commit_failure is None
        assert saved.positions == {"/var/log/zimbra.log": "later"}
        assert [each.message.text for each in saved.deliveries] == ["/opt/zimbra is full"]

    tell(story)


def test_what_is_true_at_the_first_start_is_told_in_one_notice(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.start()
        assert await desk.round(full("/a"), full("/b")) == ["2 were true"]
        assert await desk.round(full("/a"), full("/b")) == []
        assert await desk.round(full("/a"), full("/b"), full("/c")) == ["/c is full"]
        assert await desk.round(full("/b"), full("/c")) == ["Cleared, was: /a is full"]

    tell(story)


def test_the_baseline_is_told_once_in_the_life_of_a_state_directory(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.start()
        await desk.round(full("/a", 0))
        await desk.start()
        assert await desk.round(full("/a")) == []
        assert await desk.round(full("/a")) == ["/a is full"]

    tell(story)


def test_a_new_target_is_told_too_of_what_was_there_before_and_was_no_alarm_yet(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        engine.set_policies({"ZcsFull": replace(POLICIES["ZcsFull"], hold=60.0)})
        desk.targets = ()
        await engine.welcome([])
        await desk.round(full("/a"))
        desk.targets = ("nms",)
        await engine.welcome(["nms"])
        assert await desk.round(full("/a")) == ["1 were true"]

    tell(story)


def test_a_new_target_is_reminded_of_what_was_raised_and_gets_one_notice_of_what_was_there_before(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        await engine.welcome(["nms"])
        await desk.round(full("/old"), full("/a", 0))
        await desk.round(full("/old"), full("/a"), full("/b"))
        raised = desk.sent[-1].message
        recorded = len(desk.records)
        await engine.welcome(["nms", "spare"])
        texts = await desk.round(full("/old"), full("/a"), full("/b"))
        assert texts == ["/a is full", "/b is full", "1 were true"]
        assert {each.target for each in desk.sent[-3:]} == {"spare"}
        again = desk.sent[-2].message
        assert (again.change, again.alarm_id, again.count) == (Change.REPEATED, raised.alarm_id, raised.count)
        # To everybody else it is no news.
        assert [each.text for each in desk.records[recorded:]] == ["1 were true"]  # type: ignore[union-attr]
        assert await desk.round(full("/old"), full("/a"), full("/b")) == []

        # What is news to all is told to it once.
        desk.targets = ("nms", "spare", "third")
        await engine.welcome(desk.targets)
        await desk.round(full("/old"), full("/a"), full("/c"))
        told = [each.message.text for each in desk.sent if each.target == "third"]
        assert told == ["Cleared, was: /b is full", "/c is full", "/a is full", "1 were true"]

        # It is known, whatever happens to the process.
        await desk.start()
        await desk.engine.welcome(desk.targets)
        assert await desk.round(full("/old"), full("/a"), full("/c")) == []

    tell(story)


def test_a_target_that_comes_back_is_told_what_ended_meanwhile_and_what_stands(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        await engine.welcome(["nms"])
        await desk.round(full("/a", 0))
        await desk.round(full("/a"), full("/b"))
        await desk.store.settle([replace(each, sequence=1 + n) for n, each in enumerate(desk.sent)])
        await engine.welcome(["other"])
        desk.targets = ("other",)
        assert await desk.round(full("/a", 0), full("/b")) == ["Cleared, was: /a is full", "/b is full"]
        cleared, reminder = desk.sent[-2].message, desk.sent[-1]
        assert (cleared.change, reminder.target) == (Change.CLEARED, "other")

        # Even when a restart lies between.
        await desk.start()
        await desk.engine.welcome(["nms", "other"])
        desk.targets = ("nms", "other")
        assert await desk.round(full("/a", 0), full("/b")) == ["Cleared, was: /a is full", "/b is full"]
        assert {each.target for each in desk.sent[-2:]} == {"nms"}
        assert desk.sent[-2].message == cleared

    tell(story)


def test_one_that_is_not_new_before_the_first_round_is_not_forgotten_by_a_restart(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        await desk.round(full("/a", 0))
        await desk.round(full("/a"))
        await engine.welcome(["spare"])
        await desk.start()
        await desk.engine.welcome(["spare"])
        assert await desk.round(full("/a")) == ["/a is full"]
        assert desk.sent[-1].target == "spare"

    tell(story)


def test_a_state_that_cannot_be_read_delays_no_reload_and_is_logged(
    tell: Tell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine_module, "COMMIT_PATIENCE", 0.01)

    async def story(desk: Desk) -> None:
        engine = await desk.start()
        await desk.round(full("/a", 0))
        hung = threading.Event()
        waiting = asyncio.create_task(desk.store.run(lambda _: hung.wait(10)))
        await asyncio.sleep(0)
        await engine.welcome(["spare"])
        assert "cannot read what spare was told" in caplog.text
        hung.set()
        await waiting

    tell(story)


def test_a_new_target_on_a_healthy_host_is_told_nothing(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        await desk.round(full("/a", 0))
        await engine.welcome(["spare"])
        assert await desk.round(full("/a", 0)) == []

    tell(story)


def test_targets_of_the_very_first_start_get_the_notice_once(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        await engine.welcome(["nms"])
        assert await desk.round(full("/a")) == ["1 were true"]
        assert await desk.round(full("/a")) == []

    tell(story)


def test_a_heartbeat_names_what_stands_once_that_is_known(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        assert engine.heartbeat(1.0, "beat").object == ""
        await desk.round(full("/a"))
        beat = engine.heartbeat(1.0, "beat")
        # True at the first start, and about to become an alarm without a raise.
        assert (beat.object, beat.count) == ("0 4294967295", 1)
        await desk.round(full("/a"), full("/b"))
        beat = engine.heartbeat(1.0, "beat")
        first, second = (alarm.alarm_id for alarm in engine.evaluator.active())
        assert (beat.object, beat.count) == (f"0 {first} +{second} 4294967295", 2)
        assert [each.value for each in beat.evidence] == ["/a is full"]
        assert beat.host == "mail.example.com"
        await desk.round(full("/a", 0), full("/b", 0))
        assert (engine.heartbeat(1.0, "beat").object, engine.heartbeat(1.0, "beat").count) == ("0 4294967295", 0)

    tell(story)


def test_alarms_fed_by_logs_are_raised_even_at_the_first_start(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.start(LogCounting())
        assert await desk.round(full("/a")) == ["/a is full"]

    tell(story)


def test_an_alarm_keeps_its_id_across_a_restart_and_clears_once(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.start()
        await desk.round(full("/a", 0))
        await desk.round(full("/a"))
        raised = desk.sent[-1].message

        await desk.start()
        assert await desk.round(full("/a")) == []
        assert await desk.round(full("/a", 0)) == ["Cleared, was: /a is full"]
        cleared = desk.sent[-1].message
        assert cleared.alarm_id == raised.alarm_id
        assert cleared.event_id != raised.event_id

    tell(story)


def test_an_event_is_told_at_once_with_its_own_words(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.start()
        assert await desk.round(Event("ZcsStopped", 1.0, {"name": "mta"})) == ["mta stopped"]
        assert desk.sent[-1].message.kind is MessageKind.EVENT

    tell(story)


def test_event_ids_never_repeat_even_after_a_restart(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        for _ in range(3):
            await desk.start()
            await desk.round(Event("ZcsStopped", 1.0, {"name": "mta"}))
            desk.engine.say(MessageKind.STARTED, "", "started")
            await desk.engine.turn()

        ids = [each.message.event_id for each in desk.sent]
        assert len(ids) == 6
        assert len(set(ids)) == 6

    tell(story)


def test_event_ids_do_not_repeat_after_an_older_copy_of_the_state_is_restored(
    tell: Tell, tmp_path: Path, manual: ManualClock
) -> None:
    copy = tmp_path.with_name("copy")

    async def story(desk: Desk) -> None:
        await desk.start()
        shutil.copytree(desk.store.directory, copy)
        await desk.round(Event("ZcsStopped", 1.0, {"name": "mta"}))
        restored = Desk(copy, manual)
        await restored.start()
        await restored.round(Event("ZcsStopped", 1.0, {"name": "proxy"}))
        restored.store.close()

        (before,), (after,) = desk.sent, restored.sent
        assert before.number == after.number
        assert before.message.event_id != after.message.event_id

    tell(story)


def test_three_outcomes_are_told_apart_in_the_daemons_own_metrics(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()

        def own() -> dict[str, float]:
            return {each.metric.name: each.value for each in engine.latest.own if each.labels == ("counting",)}

        await desk.round(full(value=0))
        assert own()["zcs_exporter_collector_success"] == 1
        await desk.round(error=CollectError(Reason.TIMEOUT, "slow"))
        assert own()["zcs_exporter_collector_success"] == 0
        await desk.round(absent_because=str(NotOnThisHost("no spool")))
        assert own()["zcs_exporter_collector_present"] == 0
        assert "zcs_exporter_collector_success" not in own()

    tell(story)


def test_ready_means_every_collector_has_ended_once_whatever_came_of_it(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        await engine.turn()
        assert not engine.complete.is_set()
        await desk.round(error=CollectError(Reason.PERMISSION, "no"))
        assert engine.complete.is_set()

    tell(story)


def test_messages_survive_being_stored(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.start()
        await desk.round(full("/a", 0))
        await desk.round(full("/a"))
        message = desk.sent[-1].message

        assert Message.from_json(json.loads(json.dumps(message.to_json()))) == message

    tell(story)


def test_a_commit_that_hung_is_followed_by_one_that_is_on_disk_before_its_messages_leave(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "COMMIT_PATIENCE", 0.05)

    async def story(desk: Desk) -> None:
        engine = await desk.start()
        await desk.round(full(value=0))
        release = threading.Event()
        hung = asyncio.create_task(desk.store.run(lambda _: release.wait(20)))
        await asyncio.sleep(0)
        await desk.round(full(value=0))
        assert engine.commit_failure is not None
        release.set()
        await hung
        await desk.store.run(read_saved)  # what was handed over before it is done
        handed: list[list[int]] = []
        desk.engine._links = replace(desk.engine._links, enqueue=lambda _: handed.append(numbers(desk)) if _ else None)
        await desk.round(Event("ZcsStopped", 1.0, {"name": "mta"}))

        assert engine.commit_failure is None
        assert len(handed[0]) == 1

    tell(story)


def numbers(desk: Desk) -> list[int]:
    """Return what waits for delivery, as another process sees it."""
    with contextlib.closing(sqlite3.connect(f"{desk.store.directory}/state.sqlite3")) as database:
        return [row[0] for row in database.execute("SELECT number FROM delivery")]


def test_two_turns_at_once_lose_no_outcome(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        await desk.round(full(value=0))
        engine.deliver("counting", Outcome(samples=(full("/a", 0),)))
        first = asyncio.create_task(engine.turn())
        await asyncio.sleep(0)
        engine.deliver("counting", Outcome(samples=(full("/a", 1),), events=(Event("ZcsStopped", 1.0),)))
        await asyncio.gather(first, engine.turn())

        assert [each.value for each in engine.latest.readings["counting"].samples] == [1]
        assert engine.latest.readings["counting"].rounds == 3

    tell(story)


@pytest.mark.parametrize("rows", [{"count": "\udcff"}, {"count": 7}, {"\udcff": "1"}, None, {"count": b"1"}])
def test_state_that_cannot_be_stored_costs_the_others_nothing(tell: Tell, rows: object) -> None:
    class Bad(Counting):
        def changes(self) -> Mapping[str, str | None]:
            return rows  # type: ignore[return-value]

    async def story(desk: Desk) -> None:
        engine = await desk.start(Bad())
        desk.positions = {"/var/log/zimbra.log": "here"}
        await desk.round(Event("ZcsStopped", 1.0, {"name": "mta"}))

        assert engine.commit_failure is None
        saved = await desk.store.run(read_saved)
        assert saved.positions == {"/var/log/zimbra.log": "here"}
        assert [each.message.text for each in saved.deliveries] == ["mta stopped"]

    tell(story)


def test_an_event_that_nobody_declared_is_logged_and_the_next_one_told(
    tell: Tell, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(desk: Desk) -> None:
        await desk.start()
        events = Event("ZcsUnheardOf", 1.0), Event("ZcsStopped", 1.0, {"name": "mta"})
        assert await desk.round(*events) == ["mta stopped"]

    tell(story)

    assert "ZcsUnheardOf" in caplog.text


def test_an_events_text_is_one_safe_line_whatever_its_labels_hold(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.start()
        (text,) = await desk.round(Event("ZcsStopped", 1.0, {"name": "mta\n{host}\u202e\x1b[31m"}))
        assert text == "mta?{host}??[31m stopped"
        assert desk.sent[-1].message.object == "mta?{host}??[31m"

    tell(story)


def test_what_collectors_and_logs_saved_is_known_without_asking_the_disk(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        desk.collector.count = 41
        desk.positions = {"/var/log/zimbra.log": "after line 41"}
        await desk.round()
        again = await desk.start()

        for each in (engine, again):
            assert each.rows == {"counting": {"count": "41"}}
            assert each.positions == {"/var/log/zimbra.log": "after line 41"}

    tell(story)


def test_what_is_said_to_one_target_goes_to_no_other(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        engine.say(MessageKind.SUPPRESSED, "", "too much", ("spare",))
        await engine.turn()

        assert [(each.target, each.message.kind) for each in desk.sent] == [("spare", MessageKind.SUPPRESSED)]
        assert [each.target for each in (await desk.store.run(read_saved)).deliveries] == ["spare"]

    tell(story)


def test_what_the_daemon_itself_saw_is_told_as_any_event(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        engine = await desk.start()
        engine.tell(Event("ZcsStopped", 1.0, {"name": "mta"}))
        await engine.turn()
        await engine.turn()

        assert [each.message.text for each in desk.sent] == ["mta stopped"]

    tell(story)


def test_ids_of_alarms_do_not_repeat_after_an_older_copy_of_the_state_is_restored(
    tell: Tell, tmp_path: Path, manual: ManualClock
) -> None:
    copy = tmp_path.with_name("older")

    async def story(desk: Desk) -> None:
        await desk.start()
        await desk.round(full("/a", 0))
        shutil.copytree(desk.store.directory, copy)
        await desk.round(full("/a"))
        manual.advance(60)
        restored = Desk(copy, manual)
        await restored.start()
        await restored.round(full("/b", 0))
        await restored.round(full("/b"))
        restored.store.close()

        assert desk.sent[-1].message.alarm_id < restored.sent[-1].message.alarm_id < 2**32

    tell(story)


def test_ids_of_alarms_go_on_when_the_clock_is_set_back(tell: Tell, manual: ManualClock) -> None:
    async def story(desk: Desk) -> None:
        await desk.start()
        await desk.round(full("/a", 0))
        await desk.round(full("/a"))
        manual.now -= 365 * 86400
        await desk.start()
        await desk.round(full("/a"), full("/b"))
        await desk.round(full("/a"), full("/b"))

        assert desk.sent[-1].message.alarm_id == desk.sent[0].message.alarm_id + 1

    tell(story)
