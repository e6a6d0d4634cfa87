"""What the parts of the ``logs`` collector that look for faults have in common: counting, telling, a window."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import ClassVar

from collectors.logs.part import EVENTS, Rows, Signals, Window
from zcs_exporter.contract import Clock, EvidenceItem, EvidenceKind, Grade, Metric, Record, Sample
from zcs_exporter.record_queue import RecordQueue

HOUR = 3600
_GRAIN = 10  # seconds: a window's row is written with each turn of a storm
_MOST_SHOWN = 10


class FaultPart:
    """A part that looks for faults in certain logs: each is counted, told as a record, and some move a gauge.

    Attributes:
        name: Begins the names of its rows.
        metrics: Families it may publish.
        gauges: How often faults of some kinds happened in the last hour, by kind; kinds may share one.
        grades: How much a kind of fault matters; a warning unless named.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    gauges: ClassVar[Mapping[str, Metric]] = {}
    grades: ClassVar[Mapping[str, Grade]] = {}

    def __init__(self, clock: Clock, kinds: Mapping[str, Sequence[str]]) -> None:
        """Prepare to look for ``kinds`` of faults, by the path of the log that tells them."""
        self._clock = clock
        self._kinds = kinds
        self._signals = Signals()
        self._events: Counter[tuple[str, str, str]] = Counter()
        self._told = RecordQueue(merging=True)
        self._windows: dict[Metric, Window] = {}
        self._rows = Rows()

    @property
    def record_kinds(self) -> Collection[str]:
        """Every kind of record that it may tell."""
        return frozenset(chain.from_iterable(self._kinds.values()))

    def begin(self, logs: Collection[str]) -> None:
        """Take the paths of the logs that exist: counters of what they would tell start at 0."""
        for log, kinds in self._kinds.items():
            if log in logs:
                self._signals.begin(kinds)
                for kind in kinds:
                    if kind in self.gauges:
                        self._window(kind)

    def samples(self, now: float) -> Iterator[Sample]:
        """Yield counters, and the gauges of the last hour with what is behind them."""
        yield from self._signals.samples()
        for (log, level, component), count in self._events.items():
            yield EVENTS.sample(count, log=log, level=level, component=component)
        for metric, window in self._windows.items():
            totals = window.totals(now)
            evidence = tuple(
                EvidenceItem(EvidenceKind.TEXT, name, count) for name, count in totals.most_common(_MOST_SHOWN) if name
            )
            yield metric.sample(totals.total(), evidence=evidence)

    def findings(self) -> Iterator[Record]:
        """Yield what happened since the last call."""
        yield from self._told.take()

    def restore(self, rows: Mapping[str, str]) -> None:
        """Take over what an earlier process saved; called once, before anything else."""
        self._rows.restore(rows)
        if "signals" in rows:
            self._signals.restore(rows["signals"])
        if "events" in rows:
            self._events.update({(log, level, part): count for log, level, part, count in json.loads(rows["events"])})
        if "told" in rows:
            self._told.restore(rows["told"])
        for kind, metric in self.gauges.items():
            if metric.name in rows and metric not in self._windows:
                self._window(kind).restore(rows[metric.name])

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows that changed since the last call."""
        return self._rows.changes(self.rows())

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield all rows as they are now."""
        yield "signals", self._signals.save()
        yield "events", json.dumps([[*key, count] for key, count in self._events.items()])
        yield "told", self._told.save()
        for metric, window in self._windows.items():
            yield metric.name, window.save()

    def note(
        self,
        kind: str,
        at: float | None,
        log: str,
        offset: Callable[[], int | None],
        *,
        live: bool,
        fields: Mapping[str, str],
        who: str = "",
    ) -> None:
        """Count and tell one fault.

        Args:
            kind: Of the kinds given at the start.
            at: When, by the line's own time; None if it has none.
            log: Path of the log.
            offset: Tells the position of the line; asked only where that is told.
            live: Whether it is read as it is written. One read later moves the gauge of the last hour as well if its
                own time lies there: the fault may have ended the process that would have told of it.
            fields: Of the record.
            who: Shown as evidence of the gauge.
        """
        now = self._clock.wall()
        self._signals.count(kind)
        if not self._told.again(kind, fields):
            grade = self.grades.get(kind, Grade.WARNING)
            self._told.add(Record(kind, now if at is None else at, grade, fields, log, offset()))
        if kind in self.gauges and (live or at is not None):
            self._window(kind).add(int(now if at is None else at), now, who)

    def note_level(self, log: str, level: str, component: str, times: int = 1) -> None:
        """Count lines of a log at a level."""
        self._events[log.rpartition("/")[2], level, component] += times

    def _window(self, kind: str) -> Window:
        return self._windows.setdefault(self.gauges[kind], Window(HOUR, _GRAIN))
