"""What the objects of the MIB are read from: one snapshot, the alarms that stand, and the targets."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from zcs_exporter.alerting.alarm import Alarm, Labels
from zcs_exporter.alerting.model import AlertRule, Severity
from zcs_exporter.notify.target import TargetStatus
from zcs_exporter.snapshot import Snapshot

_RANK = (Severity.OK, Severity.UNKNOWN, Severity.WARNING, Severity.CRITICAL)
"""What matters more, later."""

StandingAlarm = tuple[AlertRule, Alarm]


def worst(severities: Iterable[Severity]) -> Severity:
    """Return the severity that matters most; OK where there is none."""
    return max(severities, key=_RANK.index, default=Severity.OK)


class Facts:
    """Everything that is known at one moment, ready to be looked up.

    Attributes:
        snapshot: The samples and the state of the collectors.
        alarms: Those that stand, worst first.
        targets: How each receiver of notifications fares.
        host: Name of the ZCS server.
    """

    def __init__(
        self, snapshot: Snapshot, alarms: Sequence[StandingAlarm], targets: Sequence[TargetStatus], host: str
    ) -> None:
        self.snapshot = snapshot
        self.alarms = alarms
        self.targets = targets
        self.host = host
        self._values: dict[str, dict[Labels, float]] = {}
        self._series: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        self._sums: dict[tuple[str, tuple[str, ...]], dict[tuple[str, ...], float]] = {}
        for sample in snapshot.samples():
            if not sample.bound:
                series = self._values.setdefault(sample.metric.name + sample.suffix, {})
                series[tuple(sorted(sample.label_pairs()))] = sample.value

    def value(self, metric: str, /, **labels: str) -> float | None:
        """Return the value of one series, named with its suffix; None where there is none."""
        return self._values.get(metric, {}).get(tuple(sorted(labels.items())))

    def series(self, metric: str) -> Sequence[tuple[Mapping[str, str], float]]:
        """Return the labels and values of a family."""
        found = self._series.get(metric)
        if found is None:
            found = [(dict(labels), value) for labels, value in self._values.get(metric, {}).items()]
            self._series[metric] = found
        return found

    def names(self, metric: str, label: str) -> list[str]:
        """Return the different values that a label has in a family, in order."""
        return list(dict.fromkeys(labels[label] for labels, _ in self.series(metric)))

    def total(self, metric: str, /, **labels: str) -> float | None:
        """Return the sum of all series that have these labels and maybe others; None where there is none."""
        names = tuple(sorted(labels))
        sums = self._sums.get((metric, names))
        if sums is None:
            # Made once for all rows of a table: a host may have a hundred of them.
            sums = self._sums[metric, names] = {}
            for each, value in self.series(metric):
                if each.keys() >= labels.keys():
                    key = tuple(each[name] for name in names)
                    sums[key] = sums.get(key, 0.0) + value
        return sums.get(tuple(labels[name] for name in names))

    def severity(self, about: Callable[[AlertRule, Mapping[str, str]], bool]) -> int:
        """Return the severity of the worst alarm that is about something."""
        return worst(alarm.severity for rule, alarm in self.alarms if about(rule, dict(alarm.labels)))
