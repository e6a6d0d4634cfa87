"""The pauses of mailboxd's garbage collector, from its log."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from operator import add
from typing import ClassVar

from collectors.formats.gc_log import FULL, PAUSES, TROUBLES, parse_gc
from collectors.logs.faults import FaultPart
from collectors.logs.part import SIGNALS
from zcs_exporter.contract import (
    Clock,
    Histogram,
    Kind,
    LogBlock,
    LogSubscription,
    Metric,
    Sample,
    Subscription,
)
from zcs_exporter.hostio import Host
from zcs_exporter.log_time import LogTime

PAUSE = Metric(
    "zcs_gc_pause_seconds",
    Kind.HISTOGRAM,
    "How long a garbage collection stopped mailboxd, by the kind of collection.",
    labels=("kind",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

GC_LOGS = ("log/gc.log", "log/zmmailboxd.out")
"""ZCS 8.0 has no log of its own for it, and writes to mailboxd's output."""

FULL_COLLECTION = "gc_full_collection"
_FIELDS = {"component": "mailboxd"}


class GcPart(FaultPart):
    """Reads the log of mailboxd's garbage collector."""

    name: ClassVar[str] = "gc"
    metrics: ClassVar[tuple[Metric, ...]] = (SIGNALS, PAUSE)

    def __init__(self, host: Host, clock: Clock) -> None:
        self._logs = tuple(host.zcs.path(log) for log in GC_LOGS)
        super().__init__(clock, {self._logs[0]: (FULL_COLLECTION, *TROUBLES)})
        self._pauses = Histogram(PAUSE)
        self._time = LogTime()

    def subscriptions(self) -> Sequence[Subscription]:
        """Return the logs that have the collections of one release or another."""
        return [LogSubscription(log, self._feed) for log in self._logs]

    def begin(self, logs: Collection[str]) -> None:
        """Take the paths of the logs that exist."""
        super().begin(logs)
        if self._logs[0] in logs:
            for kind in PAUSES:
                self._pauses.begin(kind)

    def samples(self, now: float) -> Iterator[Sample]:
        """Yield the pauses and the counters."""
        yield from super().samples(now)
        yield from self._pauses.samples()

    def restore(self, rows: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        super().restore(rows)
        if "pauses" in rows:
            self._pauses.restore(json.loads(rows["pauses"]))

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield all rows as they are now."""
        yield from super().rows()
        yield "pauses", json.dumps(self._pauses.save())

    def _feed(self, block: LogBlock) -> None:
        now = self._clock.wall()
        for event in parse_gc(block.data):
            kind = event.kind
            if event.seconds is not None:
                self._pauses.observe(event.seconds, kind)
                kind = FULL_COLLECTION if kind == FULL else ""
            if kind:
                at = self._time.offset(event.stamp, event.offset, now) if event.stamp else None
                where = partial(add, block.offset, event.start)
                self.note(kind, at, block.path, where, live=block.live, fields=_FIELDS)
