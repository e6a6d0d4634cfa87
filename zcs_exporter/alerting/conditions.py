"""Which labels of a snapshot meet an alert's conditions, and how badly."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from zcs_exporter.alerting.alarm import Labels
from zcs_exporter.alerting.model import AlertRule, Condition, Severity
from zcs_exporter.contract import Evidence, Sample
from zcs_exporter.snapshot import Reading, Snapshot, series_and_values

OWN_PREFIX = "zcs_exporter_"
"""How the names of the daemon's metrics about itself begin."""


@dataclass(frozen=True, slots=True)
class Match:
    """One set of labels for which an alert's conditions hold now.

    Attributes:
        severities: Those whose threshold is met.
        threshold: Of the worst of them.
    """

    severities: Sequence[Severity]
    value: float
    threshold: float
    evidence: Evidence


class Part:
    """The samples of one collector, or of the daemon itself, by metric name; most are the same for several turns.

    Attributes:
        samples: All of them.
    """

    def __init__(self, samples: tuple[Sample, ...], former: "Part | None" = None) -> None:
        """Index samples, like the ``former`` ones where they are of the same series."""
        self.samples = samples
        self._series, _ = series_and_values(samples)
        self._places: Mapping[str, list[int]]
        if former is not None and former._series == self._series:
            self._places = former._places
        else:
            places: dict[str, list[int]] = {}
            metrics, _, suffixes, _ = self._series
            for place, (metric, suffix) in enumerate(zip(metrics, suffixes, strict=True)):
                places.setdefault(metric.name + suffix, []).append(place)
            self._places = places

    @property
    def metrics(self) -> Collection[str]:
        """Names of the metrics that it has samples of, with their suffixes."""
        return self._places.keys()

    def of(self, metric: str) -> list[Sample]:
        """Return the samples of one metric."""
        return [self.samples[place] for place in self._places.get(metric, ())]


class SampleIndex:
    """A snapshot's samples by metric name, and each metric's collector.

    Attributes:
        fresh: What has other samples than in the former index: collectors, and metrics of the daemon's own.
        layout: Who measures what; the same as long as no other configuration is loaded.
    """

    def __init__(self, snapshot: Snapshot, former: "SampleIndex | None" = None) -> None:
        """Index a snapshot, with what of the ``former`` index still holds."""
        self._readings = snapshot.readings
        known = {} if former is None else former._parts
        self._parts: dict[str, Part] = {}
        self.fresh: set[str] = set()
        for name, reading in snapshot.readings.items():
            part = known.get(name)
            if part is None or part.samples is not reading.samples:
                part = Part(reading.samples, part)
                self.fresh.add(name)
            self._parts[name] = part
        self._own: Part = Part(snapshot.own, None if former is None else former._own)
        before = Part(()) if former is None else former._own
        own = {*self._own.metrics, *before.metrics}
        self.fresh.update(name for name in own if self._own.of(name) != before.of(name))
        self.layout = [(name, reading.metrics) for name, reading in snapshot.readings.items()]
        self._collector: Mapping[str, str]
        if former is not None and former.layout == self.layout:
            self._collector = former._collector
        else:
            self._collector = {metric.name: name for name, metrics in self.layout for metric in metrics}
        self._complete = bool(snapshot.own) and all(reading.rounds for reading in snapshot.readings.values())

    def samples(self, metric: str) -> Sequence[Sample]:
        """Return a metric's samples; none where it is unknown now."""
        return [sample for part in (*self._parts.values(), self._own) for sample in part.of(metric)]

    def looked_at(self, rule: AlertRule) -> bool:
        """Whether this process has looked at what a rule is about; the daemon's own metrics count on all collectors."""
        owners = self.owners(rule)
        return all(reading.rounds > 0 for reading in owners) and (len(owners) == len(rule.metrics) or self._complete)

    def watched(self, rule: AlertRule) -> bool:
        """Whether somebody measures what a rule is about; False once its collector is switched off."""
        return all(name in self._collector or name.startswith(OWN_PREFIX) for name in rule.metrics)

    def owners(self, rule: AlertRule) -> list[Reading]:
        """Return the readings that a rule's metrics come from; the daemon's own metrics have none."""
        return [self._readings[self._collector[name]] for name in rule.metrics if name in self._collector]

    def sources(self, rule: AlertRule) -> frozenset[str]:
        """Return what of ``fresh`` makes a rule worth looking at again."""
        return frozenset(self._collector.get(name, name) for name in rule.metrics)

    def matches(self, rule: AlertRule, thresholds: Mapping[Severity, float]) -> dict[Labels, Match]:
        """Return what meets all conditions of ``rule`` with these thresholds for the first of them."""
        first, *guards = rule.conditions
        found: dict[Labels, Match] = {}
        if first.ratio is None and not any(
            first.holds(sample.value, threshold)
            for sample in self.samples(first.metrics[0])
            for threshold in thresholds.values()
        ):
            return found  # as mostly: to see that takes a tenth of the time of putting labels in order
        allowed = [self._values(guard) for guard in guards]
        for labels, (value, evidence) in self._values(first).items():
            severities = [level for level, threshold in thresholds.items() if first.holds(value, threshold)]
            if severities and all(
                _guard_holds(guard, values.get(labels)) for guard, values in zip(guards, allowed, strict=True)
            ):
                found[labels] = Match(severities, value, thresholds[max(severities)], evidence)
        return found

    def value(self, rule: AlertRule, labels: Labels) -> float | None:
        """Return what ``rule`` compares with its thresholds, for these labels; None where it is unknown now."""
        found = self._values(rule.conditions[0]).get(labels)
        return None if found is None else found[0]

    def _values(self, condition: Condition) -> dict[Labels, tuple[float, Evidence]]:
        if condition.ratio is None:
            return {_labels(sample): (sample.value, sample.evidence) for sample in self.samples(condition.metrics[0])}
        above, below = condition.ratio
        divisors = {_labels(sample): sample.value for sample in self.samples(below)}
        return {
            labels: (sample.value / divisor, sample.evidence)
            for sample in self.samples(above)
            if (divisor := divisors.get(labels := _labels(sample)))
        }


def _labels(sample: Sample) -> Labels:
    return tuple(sorted(sample.label_pairs()))


def _guard_holds(guard: Condition, found: tuple[float, Evidence] | None) -> bool:
    return found is not None and isinstance(guard.thresholds, float) and guard.holds(found[0], guard.thresholds)
