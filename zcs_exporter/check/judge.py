"""Judges the daemon's answers by the conventions of the Monitoring Plugins project.

Source: https://www.monitoring-plugins.org/doc/guidelines.html, "Plugin Output for Nagios".
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zcs_exporter.alerting.model import AlertRule, Condition, Severity, Unit
from zcs_exporter.durations import format_duration, format_wait
from zcs_exporter.text import one_line

STALE_AFTER = 60.0
"""Seconds without a new snapshot after which the daemon is taken to hang: it makes one every few seconds."""

MOST_PERFDATA = 4000
MOST_DETAILS = 3000
"""Octets of performance data, and of lines below the first: Nagios reads 8 KiB in all and says nothing of the rest."""

_SHOWN = 3
_RANK = (Severity.OK, Severity.UNKNOWN, Severity.WARNING, Severity.CRITICAL)
_UNITS = {Unit.RATIO: "%", Unit.SECONDS: "s", Unit.BYTES: "B", Unit.COUNT: ""}


@dataclass(frozen=True, slots=True)
class Result:
    """What a plugin prints.

    Attributes:
        status: The exit status.
        line: One sentence.
        details: Lines for who looks closer.
        perfdata: Such as ``'ZcsFilesystemFull /opt'=86.5%;85;95;0``.
    """

    status: Severity
    line: str
    details: tuple[str, ...] = ()
    perfdata: tuple[str, ...] = ()

    def __str__(self) -> str:
        data = f" | {' '.join(self.perfdata)}" if self.perfdata else ""
        return "\n".join([f"ZCS {self.status.name}: {_plain(self.line)}{data}", *map(_plain, self.details)])


def judge(
    alerts: Mapping[str, Any], snapshot: Mapping[str, Any], rules: Sequence[AlertRule], *, all_rules: bool
) -> Result:
    """Return the verdict on some rules.

    Args:
        alerts: Answer of ``/api/v1/alerts``, with the time by the daemon's clock: ours may differ.
        snapshot: Answer of ``/api/v1/snapshot``.
        rules: Those that are asked for.
        all_rules: Whether nothing was left out.
    """
    host, now = str(snapshot["host"]), float(alerts["now"])
    age = now - float(snapshot["at"])
    if not snapshot["ready"]:
        return Result(Severity.UNKNOWN, f"{host}: the daemon is starting, not everything was looked at yet")
    if age > STALE_AFTER:
        return Result(Severity.UNKNOWN, f"{host}: the daemon has measured nothing for {format_duration(age)}")
    names = {rule.name for rule in rules}
    alarms = [alarm for alarm in alerts["alerts"] if all_rules or alarm["alert"] in names]
    alarms.sort(key=lambda alarm: -_RANK.index(_severity(alarm)))  # only the first ones are in the line
    pending = [each for each in alerts.get("pending", ()) if all_rules or each["alert"] in names]
    series = _series(snapshot)
    # All that is known would be more than any manager draws.
    entries = list(_counts(alarms) if all_rules else _perfdata(rules, series))
    # What is shortened may look the same, and managers would mix it up.
    distinct = {entry.rpartition("'")[0]: entry for entry in entries}
    perfdata, _ = _fitting(distinct.values(), MOST_PERFDATA)
    failing = [each for each in snapshot["collectors"] if each["outcome"] == "failed"]
    if not all_rules:
        unknown = {name for rule in rules for name in rule.metrics} - series.keys()
        failing = [each for each in failing if not unknown.isdisjoint(each["metrics"])]
    blind = [f"{each['name']}: {each['failure']['message']}" for each in failing]
    lines = [f"{alarm['severity']}: {alarm['summary']}: {alarm['action']}" for alarm in alarms]
    details = _details([*lines, *(f"collector {text}" for text in blind)], len(entries) - len(perfdata))
    status = _severity(alarms[0]) if alarms else Severity.OK
    # Where nothing is judged, no alarm says nothing.
    if status is Severity.OK and not any(_is_on(rule, series) for rule in rules):
        return Result(Severity.UNKNOWN, f"{host}: {_off(rules, all_rules=all_rules)}", details, tuple(perfdata))
    # A collector that fails may hide what is asked for.
    if status is Severity.OK and blind:
        return Result(Severity.UNKNOWN, f"{host}: cannot see: {blind[0]}", details, tuple(perfdata))
    return Result(
        status, f"{host}: {_sentence(alarms)}{_soon(pending)}{_maintenance(series, now)}", details, tuple(perfdata)
    )


def _is_on(rule: AlertRule, series: "_Series") -> bool:
    """Return whether the daemon judges by a rule: one that is switched off has no threshold."""
    return any(("alert", rule.name) in labels for labels in series.get("zcs_alert_threshold", {}))


def _off(rules: Sequence[AlertRule], *, all_rules: bool) -> str:
    if all_rules:
        return "every alert is switched off in the configuration of the daemon"
    names = ", ".join(rule.name for rule in rules[:_SHOWN])
    more = f" and {len(rules) - _SHOWN} more are" if len(rules) > _SHOWN else " are" if len(rules) > 1 else " is"
    return f"{names}{more} switched off in the configuration of the daemon, or not known to its version"


def _severity(alarm: Mapping[str, Any]) -> Severity:
    return Severity[alarm["severity"].upper()]


def _sentence(alarms: Sequence[Mapping[str, Any]]) -> str:
    if not alarms:
        return "no alarm stands"
    counts = [(name, sum(alarm["severity"] == name for alarm in alarms)) for name in ("critical", "warning", "unknown")]
    found = ", ".join(f"{count} {name}" for name, count in counts if count)
    more = f"; and {len(alarms) - _SHOWN} more" if len(alarms) > _SHOWN else ""
    return f"{found}: {'; '.join(str(alarm['summary']) for alarm in alarms[:_SHOWN])}{more}"


def _soon(pending: Sequence[Mapping[str, Any]]) -> str:
    """Return what to add while something may become an alarm: the status is what it is until then."""
    if not pending:
        return ""
    first = pending[0]
    return f"; {len(pending)} pending: {first['summary']}, {first['severity']} {format_wait(first['seconds'])}"


def _maintenance(series: "_Series", now: float) -> str:
    """Return what to add while a maintenance holds alarms: that none stands does not mean then that all is well."""
    rest = max(series.get("zcs_maintenance_until_timestamp_seconds", {}).values(), default=0.0) - now
    return f"; in maintenance for {format_duration(rest)}, alarms about services are held" if rest > 0 else ""


_Series = Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]


def _series(snapshot: Mapping[str, Any]) -> _Series:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    parts = [*(each["samples"] for each in snapshot["collectors"]), snapshot["own"]]
    for sample in (sample for part in parts for sample in part):
        if isinstance(sample["value"], int | float):
            found.setdefault(sample["name"], {})[tuple(sorted(sample["labels"].items()))] = sample["value"]
    return found


def _counts(alarms: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for name in ("critical", "warning", "unknown"):
        yield f"'{name}'={sum(alarm['severity'] == name for alarm in alarms)};;;0"


def _perfdata(rules: Sequence[AlertRule], series: _Series) -> Iterator[str]:
    """Yield what each rule looks at, once, beside the thresholds in force."""
    thresholds = series.get("zcs_alert_threshold", {})
    seen = set()
    for rule in rules:
        condition = rule.conditions[0]
        limits = [
            thresholds.get((("alert", rule.name), ("severity", severity))) for severity in ("warning", "critical")
        ]
        for labels, value in series.get(condition.metrics[0], {}).items():
            if (condition.metrics, labels) in seen or not math.isfinite(value):
                continue
            seen.add((condition.metrics, labels))
            if condition.ratio is not None:
                whole = series.get(condition.ratio[1], {}).get(labels)
                if not whole:
                    continue
                value /= whole
            yield _entry(rule, condition, labels, value, limits)


def _entry(
    rule: AlertRule,
    condition: Condition,
    labels: tuple[tuple[str, str], ...],
    value: float,
    limits: Sequence[float | None],
) -> str:
    factor = 100 if rule.unit is Unit.RATIO else 1
    about = " ".join(text for name, text in labels if name not in ("device", "fstype"))
    name = one_line(f"{rule.name} {about}".strip(), 80).replace("'", "").replace("=", "").replace("|", "")
    ranges = ["" if limit is None else _range(rule.unit, condition, _number(limit * factor)) for limit in limits]
    return f"'{name}'={_number(round(value * factor, 2))}{_UNITS[rule.unit]};{';'.join(ranges)};0"


def _range(unit: Unit, condition: Condition, limit: str) -> str:
    """Return the range of the values that are alarmed for, as plugins write it."""
    if unit is Unit.COUNT:
        # What is counted often stands right on its limit, such as 1 of 1, and only ranges with @ take in their ends.
        return f"@{limit}:" if condition.operator == ">=" else f"@~:{limit}"
    # Others hardly ever do, and these simple forms are the ones that every manager draws a line for.
    return limit if condition.operator == ">=" else f"{limit}:"


def _number(value: float) -> str:
    """Return it without an exponent: performance data has digits, a sign and a point only."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _fitting(texts: Iterable[str], octets: int) -> tuple[list[str], int]:
    """Return the first ones for which there is room, and how many others there are."""
    fitting, others = [], 0
    for text in texts:
        octets -= len(text.encode()) + 1
        if octets < 0:
            others += 1
        else:
            fitting.append(text)
    return fitting, others


def _details(lines: Iterable[str], untold: int) -> tuple[str, ...]:
    """Return the lines for which there is room, and what had to be left out."""
    details, more = _fitting(map(_plain, lines), MOST_DETAILS)
    if more:
        details.append(f"{more} more lines have no room here; zcs-exporter alerts and the daemon's page show all")
    if untold:
        details.append(
            f"{untold} more values are not in the performance data, for want of room or of names that differ; "
            "ask for fewer alerts at once, or see /metrics"
        )
    return tuple(details)


def _plain(text: str) -> str:
    """Return a line that cannot be taken for performance data."""
    return one_line(text, 1000).replace("|", "/")
