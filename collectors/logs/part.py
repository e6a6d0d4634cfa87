"""What the parts of the ``logs`` collector have in common: their shape, two metrics, and a window of minutes."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable

from zcs_exporter.contract import Clock, Evidence, Finding, Kind, Metric, Record, Sample, Subscription
from zcs_exporter.hostio import Host

EVENTS = Metric(
    "zcs_log_events_total",
    Kind.COUNTER,
    "Lines of a log at level warn, error or fatal, by the component that wrote them.",
    labels=("log", "level", "component"),
    max_series=400,
)
SIGNALS = Metric(
    "zcs_log_signals_total", Kind.COUNTER, "Lines that tell of one certain fault or change.", labels=("signal",)
)


OTHERS = "others"
"""What is in a window besides the first hundred names."""

_MOST_NAMED = 100


class LogPart(Protocol):
    """What one kind of log tells. All of it happens on the event loop.

    Attributes:
        name: Begins the names of its rows.
        metrics: Families it may publish; two parts may share one, with different labels.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]

    @property
    def record_kinds(self) -> Collection[str]:
        """Every kind of record that it may tell."""
        ...

    def __init__(self, host: Host, clock: Clock) -> None:
        """Start empty."""
        ...

    def subscriptions(self) -> Sequence[Subscription]:
        """Return the logs to follow; asked once at start."""
        ...

    def begin(self, logs: Collection[str]) -> None:
        """Take the paths of the logs that exist: counters of what they would tell start at 0."""
        ...

    def samples(self, now: float) -> Iterator[Sample]:
        """Yield what the lines so far come to."""
        ...

    def findings(self) -> Iterator[Record]:
        """Yield what happened since the last call."""
        ...

    def restore(self, rows: Mapping[str, str]) -> None:
        """Take over what an earlier process saved; called once, before anything else."""
        ...

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows that changed since the last call, None for a row to delete."""
        ...


@runtime_checkable
class LookingPart(Protocol):
    """A part that also looks at the host."""

    async def look(self, now: float) -> Sequence[Finding]:
        """Return what is seen on the host besides what lines tell.

        Raises:
            CollectError: The host does not answer; told as a shortfall, so that the other parts go on.
        """
        ...


def runs(host: Host, pid_file: str, name: str) -> bool:
    """Whether the program that a pid file below ZCS's home names runs, and is the one called ``name``; blocks."""
    try:
        pid = int(host.read_text(host.zcs.path(pid_file), 64).strip())
    except (OSError, ValueError):
        return False
    process = host.process(pid)
    # After a crash the file stays, and its number may be another's by now.
    return process is not None and process.alive and any(name in word for word in (process.comm, *process.argv))


class Window:
    """How often each of a few things happened in the last seconds, by the time that lines name.

    Whole seconds, or steps of ``grain`` seconds where that is exact enough: what happened in the step that begins
    at ``s`` is inside while the time is below ``s + seconds``. What lies as far ahead, since the clock was set back,
    is not believed. However many things happen, a hundred keep their names.
    """

    def __init__(self, seconds: int, grain: int = 1) -> None:
        self._seconds = seconds
        self._grain = grain
        self._slots: dict[int, Counter[str]] = {}
        self._totals: Counter[str] = Counter()

    def add(self, at: int, now: float, key: str, times: int = 1) -> None:
        """Count what is not over yet; a stamp that is ahead counts as now."""
        at = min(at, int(now))
        at -= at % self._grain
        if at > now - self._seconds:
            if key not in self._totals and len(self._totals) >= _MOST_NAMED:
                key = OTHERS
            self._slots.setdefault(at, Counter())[key] += times
            self._totals[key] += times

    def totals(self, now: float) -> Counter[str]:
        """Forget what is over and return how often each thing happened in the time left."""
        for at in [at for at in self._slots if not now - self._seconds < at < now + self._seconds]:
            self._totals -= self._slots.pop(at)
        return self._totals.copy()

    def save(self) -> str:
        """Return the window as one row."""
        return json.dumps(sorted(self._slots.items()))

    def restore(self, row: str) -> None:
        """Take over what ``save`` gave."""
        self._slots = {at: Counter(counts) for at, counts in json.loads(row)}
        self._totals = sum(self._slots.values(), Counter())


class Rows:
    """Remembers what was saved, so that only rows that changed are given again."""

    def __init__(self) -> None:
        self._saved: dict[str, str] = {}

    def restore(self, rows: Mapping[str, str]) -> None:
        """Take what an earlier process saved."""
        self._saved = dict(rows)

    def changes(self, rows: Iterable[tuple[str, str]]) -> dict[str, str | None]:
        """Return those of all ``rows`` that differ from the last time, None for those that are gone."""
        now = dict(rows)
        changed: dict[str, str | None] = {key: value for key, value in now.items() if self._saved.get(key) != value}
        changed |= dict.fromkeys(self._saved.keys() - now.keys())
        self._saved = now
        return changed


class Signals:
    """Counts the signals of one part, each from 0 once its log is known to exist."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def begin(self, signals: Iterable[str]) -> None:
        """Publish these from now on."""
        for signal in signals:
            self._counts.setdefault(signal, 0)

    def count(self, signal: str, times: int = 1) -> None:
        """Count a signal."""
        self._counts[signal] = self._counts.get(signal, 0) + times

    def samples(self, evidence: Mapping[str, Evidence] = {}) -> Iterator[Sample]:
        """Yield the counter of every signal, with what is behind it."""
        for signal, count in self._counts.items():
            yield SIGNALS.sample(count, signal=signal, evidence=evidence.get(signal, ()))

    def save(self) -> str:
        """Return the counters as one row."""
        return json.dumps(self._counts)

    def restore(self, row: str) -> None:
        """Take over what ``save`` gave."""
        self._counts = dict(json.loads(row))
