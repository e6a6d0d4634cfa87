"""What the daemon says about its own collectors and alarms."""

import sys
from collections.abc import Iterable, Iterator, Mapping

from zcs_exporter import __version__
from zcs_exporter.alerting.alarm import Alarm
from zcs_exporter.contract import Kind, Metric, Reason, Sample
from zcs_exporter.snapshot import Reading

BUILD = Metric("zcs_exporter_build_info", Kind.GAUGE, "The daemon's version; always 1.", labels=("version", "python"))
SUCCESS = Metric(
    "zcs_exporter_collector_success",
    Kind.GAUGE,
    "Whether a collector's last round was good; none while its subject is not on this host.",
    labels=("collector",),
)
PRESENT = Metric(
    "zcs_exporter_collector_present",
    Kind.GAUGE,
    "Whether a collector's subject is on this host.",
    labels=("collector",),
)
DURATION = Metric(
    "zcs_exporter_collector_duration_seconds",
    Kind.GAUGE,
    "How long a collector's last round took.",
    labels=("collector",),
)
LAST_SUCCESS = Metric(
    "zcs_exporter_collector_last_success_timestamp_seconds",
    Kind.GAUGE,
    "When a collector's published samples were taken.",
    labels=("collector",),
)
ERRORS = Metric(
    "zcs_exporter_collector_errors_total",
    Kind.COUNTER,
    "Failed rounds of a collector since start.",
    labels=("collector", "reason"),
)
DROPPED = Metric(
    "zcs_exporter_series_dropped_total",
    Kind.COUNTER,
    "Series left out since start because their family had more than it may have.",
    labels=("family",),
)
STATE_WRITABLE = Metric(
    "zcs_exporter_state_writable",
    Kind.GAUGE,
    "Whether the last commit to the state directory succeeded; at 0 a restart loses what happened since.",
)
ALERT_ACTIVE = Metric(
    "zcs_alert_active",
    Kind.GAUGE,
    "Alarms that stand now; always 1. The alert's own labels come beside these.",
    labels=("alert", "severity"),
    max_series=1000,
    prefix_only=True,
)
ALERT_SINCE = Metric(
    "zcs_alert_since_timestamp_seconds",
    Kind.GAUGE,
    "When an alarm that stands now was raised. The alert's own labels come beside these.",
    labels=("alert", "severity"),
    max_series=1000,
    prefix_only=True,
)
OWN_METRICS = (
    *(BUILD, SUCCESS, PRESENT, DURATION, LAST_SUCCESS, ERRORS, DROPPED, STATE_WRITABLE),
    *(ALERT_ACTIVE, ALERT_SINCE),
)


class CollectorSamples:
    """How each collector fares, put into samples anew only where there was a round since."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Reading, tuple[Sample, ...], tuple[Sample, ...]]] = {}
        self._build = BUILD.sample(1, version=__version__, python=sys.version.split()[0])

    def of(self, readings: Mapping[str, Reading]) -> Iterator[Sample]:
        """Yield the samples about these readings."""
        yield self._build
        for name, reading in readings.items():
            kept = self._kept.get(name)
            if kept is None or kept[0] is not reading:
                same = kept is not None and (kept[0].errors, kept[0].dropped) == (reading.errors, reading.dropped)
                counters = kept[1] if kept is not None and same else tuple(_counters(name, reading))
                kept = self._kept[name] = (reading, counters, tuple(_gauges(name, reading)))
            yield from kept[1]
            yield from kept[2]


def collector_samples(readings: Mapping[str, Reading]) -> Iterator[Sample]:
    """Yield how each collector fares, for who asks once."""
    return CollectorSamples().of(readings)


def _counters(name: str, reading: Reading) -> Iterator[Sample]:
    for reason in Reason:
        yield ERRORS.sample(reading.errors.get(reason, 0), collector=name, reason=reason)
    for family, count in reading.dropped.items():
        yield DROPPED.sample(count, family=family)


def _gauges(name: str, reading: Reading) -> Iterator[Sample]:
    if reading.present is None:
        return
    yield PRESENT.sample(reading.present, collector=name)
    if reading.present:
        yield SUCCESS.sample(reading.failure is None, collector=name)
        yield DURATION.sample(reading.duration, collector=name)
    if reading.collected_at is not None:
        yield LAST_SUCCESS.sample(reading.collected_at, collector=name)


def alarm_samples(alarms: Iterable[Alarm]) -> Iterator[Sample]:
    """Yield for each alarm that stands that it does, and since when."""
    for alarm in alarms:
        labels = dict(alarm.labels) | {"alert": alarm.alert, "severity": alarm.severity.name.lower()}
        for metric, value in ((ALERT_ACTIVE, 1.0), (ALERT_SINCE, alarm.since)):
            yield Sample(metric.named("", labels=tuple(labels)), tuple(labels.values()), value)
