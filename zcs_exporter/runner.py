"""Runs one collector on its own clock: interval, deadline, isolation."""

import asyncio
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from zcs_exporter.contract import (
    Clock,
    CollectError,
    Collector,
    CollectorConfig,
    Event,
    Finding,
    Gradual,
    LogFed,
    NotOnThisHost,
    Reason,
    Record,
    Sample,
    Shortfall,
    os_error,
)
from zcs_exporter.snapshot import Failure, Reading, Vetting

log = logging.getLogger(__name__)

ABSENT_INTERVAL = 300.0
"""Seconds until a collector without a subject is asked again."""

SPACING = 1.0
"""Least seconds between two rounds, of which new log lines or what is left to do caused the second."""

KEPT_INTERVALS = 4
"""Last good samples are published for so many intervals of failure."""

TICKS = 3
"""Moments within an interval at which collectors begin their rounds."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one round of one collector came to: findings, an error, or nothing to watch.

    Attributes:
        at: When it ended, in seconds since the epoch.
        duration: Seconds it took.
        ended: Monotonic time when it ended.
    """

    at: float = 0.0
    duration: float = 0.0
    samples: tuple[Sample, ...] = ()
    events: tuple[Event, ...] = ()
    records: tuple[Record, ...] = ()
    shortfalls: tuple[Shortfall, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    error: CollectError | None = None
    absent_because: str | None = None
    ended: float = 0.0


def new_reading(collector: Collector) -> Reading:
    """Return what is known of a collector before its first round."""
    return Reading(collector.name, collector.metrics, log_fed=isinstance(collector, LogFed))


def next_reading(previous: Reading, outcome: Outcome, max_age: float) -> Reading:
    """Return what is known after a round; a failure keeps the last good samples until ``max_age`` seconds."""
    rounds = previous.rounds + 1
    if outcome.absent_because is not None:
        return replace(
            previous,
            rounds=rounds,
            duration=outcome.duration,
            present=False,
            absent_because=outcome.absent_because,
            samples=(),
            collected_at=None,
            failure=None,
            shortfalls=(),
        )
    if outcome.error is not None:
        error, former = outcome.error, previous.failure
        since = former.since if former is not None and former.reason is error.reason else outcome.at
        expired = outcome.ended - previous.good_at > max_age
        return replace(
            previous,
            rounds=rounds,
            duration=outcome.duration,
            present=True,
            absent_because="",
            samples=() if expired else previous.samples,
            failure=Failure(error.reason, str(error), error.remedy, since),
            errors={**previous.errors, error.reason: previous.errors.get(error.reason, 0) + 1},
        )
    return replace(
        previous,
        rounds=rounds,
        duration=outcome.duration,
        present=True,
        absent_because="",
        samples=outcome.samples,
        collected_at=outcome.at,
        good_at=outcome.ended,
        failure=None,
        shortfalls=outcome.shortfalls,
        dropped={
            name: previous.dropped.get(name, 0) + outcome.dropped.get(name, 0)
            for name in (*previous.dropped, *outcome.dropped)
        },
    )


class Runner:
    """The life of one collector.

    Attributes:
        collector: What it runs.
        interval: Seconds between two rounds.
        max_age: Seconds that last good samples outlive their collector's failure.
    """

    def __init__(
        self,
        collector: Collector,
        interval: float,
        *,
        required: bool,
        clock: Clock,
        deliver: Callable[[str, Outcome], None],
    ) -> None:
        """Prepare; ``deliver`` gets every outcome, and ``required`` makes a missing subject a failure."""
        self.collector = collector
        self.interval = interval
        self.max_age = KEPT_INTERVALS * interval
        self._required = required
        self._clock = clock
        self._deliver = deliver
        self._lines = asyncio.Event()
        self._vetting = Vetting(collector.metrics)
        self._bug: str | None = None

    @classmethod
    def configured(
        cls, collector: Collector, section: CollectorConfig, clock: Clock, deliver: Callable[[str, Outcome], None]
    ) -> "Runner":
        """Return the runner of a collector as its section of the configuration wants it."""
        interval = section.interval or collector.interval
        return cls(collector, interval, required=section.enabled is True, clock=clock, deliver=deliver)

    def wake(self) -> None:
        """Say that one of its logs had lines."""
        self._lines.set()

    async def run(self) -> None:
        """Collect for ever; runs never overlap and a missed tick is skipped."""
        begun = self._clock.monotonic()
        # All begin at once, then keep to one of a few ticks: what comes together is judged and saved together.
        offset = self.interval * (zlib.crc32(self.collector.name.encode()) % TICKS + 1) / TICKS
        while True:
            started = self._clock.monotonic()
            self._lines.clear()
            outcome = await self.attempt()
            self._deliver(self.collector.name, outcome)
            if outcome.absent_because is not None:
                await self._idle(started, started + max(ABSENT_INTERVAL, self.interval))
            elif isinstance(self.collector, Gradual) and self.collector.unfinished:
                await self._idle(started, started + SPACING)
            else:
                passed = self._clock.monotonic() - begun
                ticks = max(0, -(-(passed - offset) // self.interval))
                await self._idle(started, begun + offset + ticks * self.interval)

    async def attempt(self) -> Outcome:
        """Run one round; whatever happens inside, this returns."""
        started = self._clock.monotonic()
        outcome = await self._round()
        ended = self._clock.monotonic()
        return replace(outcome, at=self._clock.wall(), duration=ended - started, ended=ended)

    async def _round(self) -> Outcome:
        deadline = self.interval / 2
        limit = asyncio.timeout(deadline)
        try:
            async with limit:
                findings = await self.collector.collect()
            return self._sort(findings)
        except NotOnThisHost as exc:
            if not self._required:
                return Outcome(absent_because=str(exc))
            error = CollectError(Reason.UNAVAILABLE, f"{exc}, but enabled: true expects it")
        except CollectError as exc:
            error = exc
        except OSError as exc:  # TimeoutError is one
            if limit.expired():
                error = CollectError(Reason.TIMEOUT, f"no result within {deadline:g} s")
            else:
                error = os_error(exc, f"reading {exc.filename}" if exc.filename else "collecting")
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            error = self._contain(exc)  # something that the collector waited for was cancelled, not we
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - a bug in one collector must not reach the others
            error = self._contain(exc)
        return Outcome(error=error)

    async def _idle(self, started: float, until: float) -> None:
        """Wait for the next tick, or for log lines, though not so soon after the last round."""
        wait = until - self._clock.monotonic()
        if wait > 0:
            try:
                async with asyncio.timeout(wait):
                    await self._lines.wait()
            except TimeoutError:
                return
        await asyncio.sleep(max(0.0, started + SPACING - self._clock.monotonic()))

    def _contain(self, exc: BaseException) -> CollectError:
        text = f"{type(exc).__name__}: {exc}"
        if text != self._bug:
            self._bug = text
            log.error("%s: bug in the collector, please report it", self.collector.name, exc_info=exc)
        return CollectError(Reason.INTERNAL, f"bug in the collector: {text}", "report it with the daemon's log")

    def _sort(self, findings: Sequence[Finding]) -> Outcome:
        """Return what was found, fit for publishing.

        Raises:
            TypeError: It holds what no collector may return.
        """
        samples, others = [], []
        for finding in findings:
            if isinstance(finding, Sample):
                samples.append(finding)
            else:
                others.append(finding)
        if strange := {type(each).__name__ for each in others if not isinstance(each, Finding)}:
            raise TypeError(f"not a finding: {', '.join(sorted(strange))}")
        vetted = self._vetting.vet(samples)
        shortfalls = [finding for finding in others if isinstance(finding, Shortfall)]
        for name in sorted(vetted.doubled):
            shortfalls.append(Shortfall(Reason.INTERNAL, f"{name}: one series came twice, the first is kept"))
        if vetted.left_out:
            shortfalls.append(_no_room(vetted.left_out))
        events = tuple(finding for finding in others if isinstance(finding, Event))
        records = tuple(finding for finding in others if isinstance(finding, Record))
        return Outcome(
            samples=vetted.samples,
            events=events,
            records=records,
            shortfalls=tuple(shortfalls),
            dropped={name: len(lost) for name, lost in vetted.left_out.items()},
        )


def _no_room(left_out: Mapping[str, Sequence[Sample]]) -> Shortfall:
    """Return what is said of families with more series than they may have."""
    texts = []
    for name, lost in sorted(left_out.items()):
        labels = ", ".join(f'{label}="{value}"' for label, value in lost[0].label_pairs())
        texts.append(f"{name}{{{labels}}}" + (f" and {len(lost) - 1} more" if len(lost) > 1 else ""))
    more = f"; and of {len(texts) - _SHOWN} more families" if len(texts) > _SHOWN else ""
    message = f"series left out, since their families have too many: {'; '.join(texts[:_SHOWN])}{more}"
    return Shortfall(Reason.UNAVAILABLE, message, "zcs_exporter_series_dropped_total counts them")
