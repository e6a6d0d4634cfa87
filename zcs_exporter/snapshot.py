"""The latest state of everything, immutable: what all outputs render."""

import operator
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from zcs_exporter.contract import Metric, Reason, Sample, Shortfall


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a collector's last round gave nothing.

    Attributes:
        since: When it began to fail for this reason, in seconds since the epoch.
    """

    reason: Reason
    message: str
    remedy: str
    since: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of one collector.

    Attributes:
        collector: Its name.
        metrics: What it declares.
        log_fed: Whether it reads logs.
        rounds: Attempts since start, whatever their outcome.
        present: Whether its subject exists here; None before the first round.
        absent_because: What was looked for where the subject does not exist.
        samples: The last good ones; empty when too old or the subject is absent.
        collected_at: When ``samples`` were taken, in seconds since the epoch.
        good_at: The same in monotonic time, from which their age is told.
        duration: Seconds the last attempt took.
        failure: None while its last round was good.
        errors: Failed rounds since start, by reason.
        shortfalls: What the last good round could not see.
        dropped: Series left out since start because their family had too many, by family.
    """

    collector: str
    metrics: tuple[Metric, ...]
    log_fed: bool = False
    rounds: int = 0
    present: bool | None = None
    absent_because: str = ""
    samples: tuple[Sample, ...] = ()
    collected_at: float | None = None
    good_at: float = float("-inf")
    duration: float = 0.0
    failure: Failure | None = None
    errors: Mapping[Reason, int] = field(default_factory=dict)
    shortfalls: tuple[Shortfall, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def stale(self) -> bool:
        """Whether what it watches is unknown now: it failed, and its last good samples have expired."""
        return self.failure is not None and not self.samples


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything known at one moment; a writer replaces it whole, a reader keeps the one it took.

    Attributes:
        generation: Rises by one with each snapshot of a process.
        at: When it was made, in seconds since the epoch.
        readings: By collector name, in the registry's order.
        own: The daemon's samples about itself and the alerts.
    """

    generation: int = 0
    at: float = 0.0
    readings: Mapping[str, Reading] = field(default_factory=dict)
    own: tuple[Sample, ...] = ()

    def with_reading(self, reading: Reading) -> "Snapshot":
        """Return a copy with one reading replaced."""
        return replace(self, readings={**self.readings, reading.collector: reading})

    def samples(self) -> Iterator[Sample]:
        """Iterate over all samples, the daemon's own last."""
        for reading in self.readings.values():
            yield from reading.samples
        yield from self.own


@dataclass(frozen=True, slots=True)
class Vetted:
    """Samples fit for publishing, and what was wrong with the others.

    Attributes:
        samples: No series twice, no value that is not a number, no family over its ``max_series``.
        left_out: Those over that limit, by family.
        doubled: Families in which one series came twice; the first is kept.
    """

    samples: tuple[Sample, ...]
    left_out: Mapping[str, Sequence[Sample]]
    doubled: frozenset[str]


Series = tuple[tuple[Metric, ...], tuple[tuple[str, ...], ...], tuple[str, ...], tuple[str, ...]]
"""Which series some samples are of, in order: metrics, labels, suffixes, bounds."""


def series_and_values(samples: Sequence[Sample]) -> tuple[Series, tuple[float, ...]]:
    """Return which series samples are of, and their values."""
    if not samples:
        return ((), (), (), ()), ()
    metrics, labels, values, suffixes, _evidence, bounds = zip(*samples, strict=True)
    return (metrics, labels, suffixes, bounds), values


class Vetting:
    """Sorts out, round after round, what must never be published, whatever the reader of the page would make of it.

    Which series a collector has rarely changes, and comparing them takes a fifth of the time of looking at each.
    """

    def __init__(self, declared: Collection[Metric] | None = None) -> None:
        """Let only the metrics pass that are ``declared``; None for any."""
        self._declared = None if declared is None else frozenset(declared)
        self._fit: Series | None = None

    def vet(self, samples: Sequence[Sample]) -> Vetted:
        """Return what is fit.

        Raises:
            TypeError: A sample is of no declared metric.
        """
        series, values = series_and_values(samples)
        if series == self._fit and not any(map(operator.ne, values, values)):
            return Vetted(tuple(samples), {}, frozenset())
        metrics = set(series[0])
        if self._declared is not None and (
            foreign := {metric.name for metric in metrics if metric.declaration not in self._declared}
        ):
            raise TypeError(f"not declared: {', '.join(sorted(foreign))}")
        vetted = vet(samples)
        self._fit = series if len(vetted.samples) == len(samples) else None
        return vetted


def waiting_for(snapshot: Snapshot) -> list[str]:
    """Return the collectors that have not ended their first attempt."""
    return [name for name, reading in snapshot.readings.items() if reading.rounds == 0]


def vet(samples: Iterable[Sample]) -> Vetted:
    """Sort out what must never be published.

    Of a family that has too many series the first are kept: what matters comes first.
    """
    kept: dict[tuple[str, str, tuple[str, ...], str], Sample] = {}
    sizes: dict[str, int] = {}
    left_out: dict[str, list[Sample]] = {}
    doubled = set()
    for sample in samples:
        metric, labels, value, suffix, _evidence, bound = sample
        name = metric.name
        identity = (name, suffix, labels, bound)
        if value != value:
            continue  # not a number: unknown, so absent
        if identity in kept:
            doubled.add(name)
        elif sizes.get(name, 0) >= metric.max_series:
            left_out.setdefault(name, []).append(sample)
        else:
            sizes[name] = sizes.get(name, 0) + 1
            kept[identity] = sample
    return Vetted(tuple(kept.values()), left_out, frozenset(doubled))
