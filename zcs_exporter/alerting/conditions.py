"""Which labels of a snapshot meet an alert's conditions, and how badly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zcs_exporter.alerting.alarm import Labels
from zcs_exporter.alerting.model import AlertRule, Condition, Severity
from zcs_exporter.contract import Evidence, Sample
from zcs_exporter.snapshot import Reading, Snapshot

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


Parts = dict[str, tuple[tuple[Sample, ...], dict[str, list[Sample]]]]
"""Samples by metric name, by the collector they come from; most are the same from one snapshot to the next."""


class SampleIndex:
    """A snapshot's samples by metric name, and each metric's collector."""

    def __init__(self, snapshot: Snapshot, former: Parts | None = None) -> None:
        """Index a snapshot, with what of the ``former`` one's parts still holds."""
        self.parts: Parts = {}
        for name, samples in (*((name, each.samples) for name, each in snapshot.readings.items()), ("", snapshot.own)):
            known = None if former is None else former.get(name)
            self.parts[name] = known if known is not None and known[0] is samples else (samples, _by_metric(samples))
        self._owner = {metric.name: reading for reading in snapshot.readings.values() for metric in reading.metrics}
        self._complete = bool(snapshot.own) and all(reading.rounds for reading in snapshot.readings.values())

    def samples(self, metric: str) -> Sequence[Sample]:
        """Return a metric's samples; none where it is unknown now."""
        return [sample for _, samples in self.parts.values() for sample in samples.get(metric, ())]

    def looked_at(self, rule: AlertRule) -> bool:
        """Whether this process has looked at what a rule is about; the daemon's own metrics count on all collectors."""
        return all(self._owner[name].rounds > 0 if name in self._owner else self._complete for name in rule.metrics)

    def watched(self, rule: AlertRule) -> bool:
        """Whether somebody measures what a rule is about; False once its collector is switched off."""
        return all(name in self._owner or name.startswith(OWN_PREFIX) for name in rule.metrics)

    def owners(self, rule: AlertRule) -> list[Reading]:
        """Return the readings that a rule's metrics come from; the daemon's own metrics have none."""
        return [reading for name in rule.metrics if (reading := self._owner.get(name)) is not None]

    def matches(self, rule: AlertRule, thresholds: Mapping[Severity, float]) -> dict[Labels, Match]:
        """Return what meets all conditions of ``rule`` with these thresholds for the first of them."""
        first, *guards = rule.conditions
        allowed = [self._values(guard) for guard in guards]
        found = {}
        for labels, (value, evidence) in self._values(first).items():
            severities = [level for level, threshold in thresholds.items() if first.holds(value, threshold)]
            if severities and all(
                _guard_holds(guard, values.get(labels)) for guard, values in zip(guards, allowed, strict=True)
            ):
                found[labels] = Match(severities, value, thresholds[max(severities)], evidence)
        return found

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


def _by_metric(samples: tuple[Sample, ...]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.metric.name + sample.suffix, []).append(sample)
    return found


def _labels(sample: Sample) -> Labels:
    return tuple(sorted(sample.label_pairs()))


def _guard_holds(guard: Condition, found: tuple[float, Evidence] | None) -> bool:
    return found is not None and isinstance(guard.thresholds, float) and guard.holds(found[0], guard.thresholds)
