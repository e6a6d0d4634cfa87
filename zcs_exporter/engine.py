"""Turns rounds of collectors into snapshots, alarms, commits and messages: the one writer of all state.

Each turn takes every outcome that waits, makes the next snapshot, judges it, commits what changed in one
transaction, and only then publishes the snapshot and hands messages to the dispatcher.
"""

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from zcs_exporter.alerting.alarm import Alarm, Change, Pending, Transition
from zcs_exporter.alerting.evaluate import Evaluator, SteadyClock
from zcs_exporter.alerting.model import Catalogue, Policy
from zcs_exporter.alerting.policy import plain_thresholds, threshold_samples
from zcs_exporter.contract import Clock, Durable, Event, EvidenceItem, EvidenceKind, Judging, Record, Sample
from zcs_exporter.notify.heartbeat import heartbeat
from zcs_exporter.notify.message import Message, MessageKind, alarm_message, alarm_text, event_message
from zcs_exporter.notify.missed import TARGETS, introduced, missed_clears
from zcs_exporter.runner import Outcome, Runner, new_reading, next_reading
from zcs_exporter.selfmetrics import STATE_WRITABLE, CollectorSamples, alarm_samples
from zcs_exporter.snapshot import Reading, Snapshot, Vetting, vet
from zcs_exporter.state import Commit, Delivery, Saved, StateStore

log = logging.getLogger(__name__)

TICK = 5.0
"""Most seconds between two turns, so that hold times end even while no collector reports."""

GATHER = 0.05
"""Seconds that a turn waits for collectors that began together with the one that is done."""

COMMIT_PATIENCE = 5.0
"""Seconds a turn waits for the state directory before it goes on in memory."""

MOST_UNSAVED = 10_000
"""Messages that wait for a state directory that cannot be written; beyond it the oldest will not be in its history."""

RECENT = 50
"""Messages that outputs can show."""

BASELINE_EVENT = "ZcsBaseline"

_EPOCH_2024 = 1_704_067_200


@dataclass(frozen=True, slots=True)
class Links:
    """What the engine needs of the daemon's other parts.

    Attributes:
        targets: Names the targets that must get a message.
        enqueue: Takes deliveries once they are on disk.
        positions: Gives the log positions that changed since the last call.
        record: Takes what happened, once it is on disk or the disk refused it.
        sources: Each gives samples about one part of the daemon.
        keepers: Other parts that have rows to be saved, by the name under which they are.
        foresee: Takes each snapshot before what the keepers have is saved, and the snapshot published.
    """

    targets: Callable[[Message], tuple[str, ...]]
    enqueue: Callable[[Sequence[Delivery]], None]
    positions: Callable[[], Mapping[str, str]]
    record: Callable[[Sequence[Record | Message]], None]
    sources: Sequence[Callable[[], Iterable[Sample]]] = ()
    keepers: Mapping[str, Durable] = field(default_factory=dict)
    foresee: Callable[[Snapshot], None] | None = None


class Engine:
    """The single owner of the snapshot, the alarms and what is to be committed.

    Attributes:
        latest: The published snapshot.
        evaluator: Every alarm's state.
        commit_failure: Why the last commit failed; None when it did not.
        complete: Set once every collector has ended its first attempt.
        last_turn: Monotonic time at which the last turn began.
        recent: The last messages of this process, newest first.
        positions: Every log's position by path, as committed or about to be.
        rows: Every collector's rows, likewise.
    """

    def __init__(self, store: StateStore, saved: Saved, catalogue: Catalogue, clock: Clock, links: Links) -> None:
        """Go on from what an earlier process ``saved`` in ``store``."""
        self._store = store
        self._catalogue = catalogue
        self._clock = clock
        self._links = links
        # The time tells this process from one that an older copy of the state is restored for: numbers then repeat.
        self._origin = f"{saved.meta['install_id']}-{int(clock.wall()):x}"
        self._baseline_taken = "baseline" in saved.meta
        self._next_number = saved.next_message
        self.positions = dict(saved.positions)
        self.rows = {name: dict(rows) for name, rows in saved.rows.items()}
        # So that ids do not repeat either when an older copy of the state is restored.
        next_alarm = max(saved.next_alarm, int(clock.wall()) - _EPOCH_2024)
        self.evaluator = Evaluator(catalogue.alerts, saved.alarms, SteadyClock(clock), next_alarm)
        self.latest = Snapshot(at=clock.wall())
        self.last_turn = clock.monotonic()
        self.commit_failure: str | None = None
        self.complete = asyncio.Event()
        self._hostname = ""
        self._turning = asyncio.Lock()
        self._bugs: set[tuple[str, str]] = set()
        self._runners: dict[str, Runner] = {}
        self._policies: Mapping[str, Policy] = {}
        self._threshold_samples: tuple[Sample, ...] = ()
        self._collector_samples = CollectorSamples()
        self._vetting = Vetting()
        self._durable: dict[str, Durable] = {}
        self._waiting: list[tuple[str, Outcome]] = []
        self._said: dict[int, Message] = {}
        self._own_events: list[Event] = []
        self._introduced = introduced(saved)
        self._newcomers: dict[str, Sequence[Message]] = {}
        self._addressed: dict[int, tuple[str, ...]] = {}
        self._copies: set[int] = set()
        self._news = asyncio.Event()
        self._unsaved = Commit()
        self._save: asyncio.Task[None] | None = None
        self.recent: deque[Message] = deque(maxlen=RECENT)

    def adopt(self, runners: Sequence[Runner], policies: Mapping[str, Policy], hostname: str) -> None:
        """Take over a configuration: its collectors, thresholds and the host's name in messages."""
        self._runners = {runner.collector.name: runner for runner in runners}
        # Asking for a protocol takes a while, and there is a turn each second.
        collectors = [runner.collector for runner in runners]
        self._durable = {each.name: each for each in collectors if isinstance(each, Durable)}
        self.set_policies(policies)
        self._hostname = hostname
        former = self.latest.readings
        readings = {name: former.get(name) or new_reading(runner.collector) for name, runner in self._runners.items()}
        self.latest = replace(self.latest, readings=readings)
        self._news.set()

    def set_policies(self, policies: Mapping[str, Policy]) -> None:
        """Replace the effective thresholds."""
        self._policies = policies
        self._threshold_samples = vet(threshold_samples(policies)).samples
        thresholds = plain_thresholds(policies)
        for runner in self._runners.values():
            if isinstance(runner.collector, Judging):
                runner.collector.take_thresholds(thresholds)

    async def welcome(self, targets: Iterable[str]) -> None:
        """Use these targets; have those that are new told what stands, and what ended while they were none.

        What was raised is told as if it were time to repeat it. What was true at the very first start is told in one
        notice, as others were told it.
        """
        in_use = frozenset(targets)
        self._introduced &= in_use
        self._unsaved.meta[TARGETS] = json.dumps(sorted(self._introduced))
        self._newcomers = {name: await self._missed(name) for name in sorted(in_use - self._introduced)}

    async def _missed(self, target: str) -> Sequence[Message]:
        """Return the clears that a target has missed; none where the state directory does not answer."""
        with contextlib.suppress(sqlite3.Error, TimeoutError):
            async with asyncio.timeout(COMMIT_PATIENCE):
                return await self._store.run(partial(missed_clears, target=target))
        log.warning("state: cannot read what %s was told; it may not be told what ended", target)
        return ()

    def heartbeat(self, at: float, event_id: str) -> Message:
        """Return the heartbeat of a time, with what stands now."""
        alarms = [(alarm, self._text(alarm)) for alarm in self.evaluator.active()]
        hidden = len(self.evaluator.hidden) if self._baseline_taken else None
        return heartbeat(at, event_id, self._hostname, alarms, hidden)

    def pending(self) -> list[Pending]:
        """Return what becomes an alarm, or a worse one, if it goes on, the next one first."""
        return self.evaluator.pending(self._policies)

    def _text(self, alarm: Alarm) -> str:
        return alarm_text(self.evaluator.rule(alarm), alarm, self._hostname)

    def deliver(self, collector: str, outcome: Outcome) -> None:
        """Take the outcome of a collector's round; the next turn works on it."""
        self._waiting.append((collector, outcome))
        self._news.set()

    def say(self, kind: MessageKind, name: str, text: str, targets: tuple[str, ...] = ()) -> None:
        """Have the next turn send a message of the daemon's own, to these targets or to all."""
        number = self._number()
        self._said[number] = Message(kind, self._event_id(number), self._hostname, name, self._clock.wall(), text)
        if targets:
            self._addressed[number] = targets
        self._news.set()

    def tell(self, event: Event) -> None:
        """Have the next turn tell of an event that the daemon itself saw."""
        self._own_events.append(event)
        self._news.set()

    async def run(self) -> None:
        """Take turns for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):  # not wait_for, which may lose a cancellation before Python 3.12
                    await self._news.wait()
                    if self.complete.is_set():
                        await asyncio.sleep(GATHER)
            self._news.clear()
            await self.turn()

    async def turn(self) -> None:
        """Work on everything that waits."""
        # A turn that has begun is ended, whoever gives up waiting: what it commits must also be told.
        await asyncio.shield(asyncio.create_task(self._turn(), name="turn"))

    async def _turn(self) -> None:
        async with self._turning:  # a reload and the end take turns of their own
            await self._work()

    async def _work(self) -> None:
        self.last_turn = self._clock.monotonic()
        outcomes, self._waiting = self._waiting, []
        readings = dict(self.latest.readings)
        events, self._own_events = self._own_events, []
        records: list[Record] = []
        for name, outcome in outcomes:
            if name in self._runners:  # else switched off by a reload while its last round was under way
                _log_change(readings[name], outcome)
                readings[name] = next_reading(readings[name], outcome, self._runners[name].max_age)
                events += outcome.events
                records += outcome.records
        complete = bool(readings) and all(reading.rounds for reading in readings.values())
        # Alerts about the daemon itself judge by what it last published; what they cause is not in it yet.
        seen = Snapshot(self.latest.generation + 1, self._clock.wall(), readings, self.latest.own)
        self._judge(seen, events, complete=complete)
        self._foresee(seen)
        messages, self._said = self._said, {}
        commit = self._changes(messages)
        await self._commit(commit)
        news = [message for number, message in messages.items() if number not in self._copies]
        self._copies.clear()
        self.recent.extendleft(news)
        self._links.enqueue(
            [
                Delivery(number, target, message, None)
                for number, (message, targets) in commit.messages.items()
                for target in targets
            ]
        )
        self._links.record([*records, *news])
        own = self._vetting.vet(list(self._own_samples(readings))).samples
        self.latest = replace(seen, own=own + self._threshold_samples)
        if complete:
            self.complete.set()

    def _own_samples(self, readings: Mapping[str, Reading]) -> Iterable[Sample]:
        yield from self._collector_samples.of(readings)
        yield STATE_WRITABLE.sample(self.commit_failure is None)
        yield from alarm_samples(self.evaluator.active())
        for source in self._links.sources:
            yield from source()

    def _judge(self, snapshot: Snapshot, events: Sequence[Event], *, complete: bool) -> None:
        """Bring the alarms up to date and say what people must be told."""
        for told in self.evaluator.evaluate(snapshot, self._policies):
            number = self._number()
            self._said[number] = self._alarm_message(number, told, snapshot.at)
        if self._baseline_taken and complete:
            self._introduce(snapshot.at)
        if not self._baseline_taken:
            events = [*events, *self._baseline(snapshot, complete=complete)]
        for event in events:
            self._say_event(event)

    def _baseline(self, snapshot: Snapshot, *, complete: bool) -> list[Event]:
        """Until the first complete round of a first start, gather what is already true; then tell it in one event."""
        readings = snapshot.readings.values()
        log_fed = frozenset(metric.name for reading in readings if reading.log_fed for metric in reading.metrics)
        found = self.evaluator.take_baseline(log_fed)
        if not complete:
            return []
        self._baseline_taken = True
        self._unsaved.meta["baseline"] = str(snapshot.at)
        self._note_introduced()
        return [self._notice(found, snapshot.at)] if found else []

    def _introduce(self, now: float) -> None:
        """Tell targets that are new what others were told before."""
        targets = tuple(self._newcomers)
        if not targets:
            return
        news = {message.alarm_id for message in self._said.values()}
        for target, clears in self._newcomers.items():
            for clear in clears:
                self._say_again(self._number(), clear, (target,))
        standing = self.evaluator.active()
        for alarm in standing:
            if not alarm.baseline and alarm.alarm_id not in news:
                told = Transition(Change.REPEATED, self.evaluator.rule(alarm), alarm, alarm.severity)
                number = self._number()
                self._say_again(number, self._alarm_message(number, told, now), targets)
        if first := [*(alarm for alarm in standing if alarm.baseline), *self.evaluator.hidden]:
            self._say_event(self._notice(first, now), targets)
        self._note_introduced()

    def _note_introduced(self) -> None:
        """Note, to be saved with what is told now, that nobody is new any more."""
        self._introduced |= self._newcomers.keys()
        self._newcomers = {}
        self._unsaved.meta[TARGETS] = json.dumps(sorted(self._introduced))

    def _say_again(self, number: int, message: Message, targets: tuple[str, ...]) -> None:
        """Have these targets told what is no news elsewhere."""
        self._said[number] = message
        self._addressed[number] = targets
        self._copies.add(number)

    def _alarm_message(self, number: int, told: Transition, now: float) -> Message:
        return alarm_message(told, self._event_id(number), self._hostname, now)

    def _say_event(self, event: Event, targets: tuple[str, ...] = ()) -> None:
        """Have an event sent to these targets, or to all."""
        try:
            rule = self._catalogue.event(event.name)
        except KeyError:
            self._bug(event.name, "a collector told of an event that no file in alerts/ declares")
            return
        number = self._number()
        self._said[number] = event_message(rule, event, self._event_id(number), self._hostname)
        if targets:
            self._addressed[number] = targets

    def _notice(self, alarms: Sequence[Alarm], now: float) -> Event:
        evidence = tuple(EvidenceItem(EvidenceKind.TEXT, self._text(alarm)) for alarm in alarms[:10])
        return Event(BASELINE_EVENT, now, {"count": str(len(alarms))}, evidence)

    def _foresee(self, snapshot: Snapshot) -> None:
        if self._links.foresee is not None:
            try:
                self._links.foresee(snapshot)
            except Exception as exc:  # noqa: BLE001 - nobody else is to suffer from it
                self._bug("snmp", f"rows cannot be numbered: {type(exc).__name__}: {exc}")

    def _changes(self, messages: Mapping[int, Message]) -> Commit:
        """Gather what changed, all of the same moment: nothing here waits."""
        commit = Commit(positions=dict(self._links.positions()), alarms=self.evaluator.changes())
        for name, keeper in (*self._durable.items(), *self._links.keepers.items()):
            commit.rows |= self._rows(name, keeper)
        commit.messages = {
            number: (message, self._addressed.pop(number, ()) or self._links.targets(message))
            for number, message in messages.items()
        }
        self.positions |= commit.positions
        for (name, key), value in commit.rows.items():
            rows = self.rows.setdefault(name, {})
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
        if commit.alarms:
            commit.meta["next_alarm"] = str(self.evaluator.next_id)
        return commit

    def _rows(self, name: str, collector: Durable) -> dict[tuple[str, str], str | None]:
        """Return a collector's changed rows; none where a bug made them unfit: the others' must not wait for them."""
        try:
            rows = {(name, key): value for key, value in collector.changes().items()}
            "".join(f"{key}{value or ''}" for (_, key), value in rows.items()).encode()  # as SQLite will
        except Exception as exc:  # noqa: BLE001 - whatever a collector raises
            self._bug(name, f"its state cannot be saved: {type(exc).__name__}: {exc}")
            return {}
        return rows

    def _bug(self, whose: str, what: str) -> None:
        """Log a bug once."""
        if (whose, what) not in self._bugs:
            self._bugs.add((whose, what))
            log.error("%s: bug, please report it: %s", whose, what)

    async def _commit(self, commit: Commit) -> None:
        """Put a turn's changes on disk; after a failure they wait for the next turn's attempt."""
        self._unsaved.absorb(commit)
        for number in sorted(self._unsaved.messages)[:-MOST_UNSAVED]:
            del self._unsaved.messages[number]
        # A write that hung in an earlier turn is not waited for again.
        if self._save is not None and not await self._saved(0.0 if self.commit_failure else COMMIT_PATIENCE):
            return
        if self._unsaved:
            self._save = asyncio.create_task(self._write())
            await self._saved(COMMIT_PATIENCE)

    async def _saved(self, patience: float) -> bool:
        """Wait for the write under way and return whether it has ended."""
        assert self._save is not None  # noqa: S101 - the callers saw to it
        done, _ = await asyncio.wait({self._save}, timeout=patience)
        if done:
            self._save = None
        else:
            self._failed(f"{self._store.directory} has not answered for {COMMIT_PATIENCE:g} s")
        return bool(done)

    async def _write(self) -> None:
        batch, self._unsaved = self._unsaved, Commit()
        try:
            await self._store.commit(batch)
        except Exception as exc:  # noqa: BLE001 - whatever it is, nothing of the batch may be lost
            batch.absorb(self._unsaved)
            self._unsaved = batch
            self._failed(f"{self._store.directory}: {exc}")
        else:
            if self.commit_failure is not None:
                log.info("state: writable again")
            self.commit_failure = None

    def _failed(self, why: str) -> None:
        if self.commit_failure is None:
            log.error(
                "state: cannot save, going on in memory; until this is mended, a crash or restart loses alarms, counts "
                "and notifications that are not delivered yet: %s",
                why,
            )
        self.commit_failure = why

    def _number(self) -> int:
        number, self._next_number = self._next_number, self._next_number + 1
        return number

    def _event_id(self, number: int) -> str:
        return f"{self._origin}-{number}"


def _log_change(previous: Reading, outcome: Outcome) -> None:
    """Log a collector's change of state, never a state that goes on."""
    name, error = previous.collector, outcome.error
    if error is not None:
        if previous.failure is None or previous.failure.reason is not error.reason:
            log.warning("%s: %s: %s%s", name, error.reason, error, f"; {error.remedy}" if error.remedy else "")
    elif outcome.absent_because is not None:
        if previous.present is not False:
            log.info("%s: not on this host: %s", name, outcome.absent_because)
    elif previous.failure is not None:
        log.info("%s: works again", name)
