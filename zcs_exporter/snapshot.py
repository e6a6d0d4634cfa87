"""The latest state of everything, immutable: what all outputs render."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def vet(samples: Iterable[Sample]) -> Vetted:
    """Sort out what must never be published, whatever the reader of the page would make of it.

    Of a family that has too many series the first are kept: what matters comes first.
    """
    kept: dict[tuple[str, str, tuple[str, ...], str], Sample] = {}
    sizes: dict[str, int] = {}
    left_out: dict[str, list[Sample]] = {}
    doubled = set()
    for sample in samples:
        name = sample.metric.name
        identity = (name, sample.suffix, sample.labels, sample.bound)
        if sample.value != sample.value:
            continue  # not a number: unknown, so absent
        if identity in kept:
            doubled.add(name)
        elif sizes.get(name, 0) >= sample.metric.max_series:
            left_out.setdefault(name, []).append(sample)
        else:
            sizes[name] = sizes.get(name, 0) + 1
            kept[identity] = sample
    return Vetted(tuple(kept.values()), left_out, frozenset(doubled))
