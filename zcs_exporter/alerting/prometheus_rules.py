"""Renders the alerts as Prometheus rules, and their examples as ``promtool`` tests of those rules.

Thresholds are not in the rules: each compares with ``zcs_alert_threshold`` of the same target, so a host
with settings of its own has one verdict in the daemon and in Prometheus.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from zcs_exporter.alerting.evaluate import MAINTENANCE
from zcs_exporter.alerting.model import AlertRule, Condition, Example, Policy, Severity
from zcs_exporter.alerting.policy import THRESHOLD
from zcs_exporter.alerting.wording import TEMPLATES, fill, format_value
from zcs_exporter.durations import format_duration

RULES_FILE = "zcs-exporter.rules.yaml"
TESTS_FILE = "zcs-exporter.test.yaml"
SLOW_TESTS_FILE = "zcs-exporter.slow.test.yaml"

TARGET = {"instance": "mail.example.com", "job": "zcs"}
"""Labels that Prometheus puts on every series of a target, as used in the tests."""

_STEP = 60
_SLOW_STEP = 1800
_SLOW = 6 * 3600.0  # hold or keep from which on a test by the minute would take Prometheus long

_HEADER = "# Rendered from alerts/*.yaml by 'make generate'; change those.\n"
_STALE = 300
"""Seconds after which Prometheus takes a series that ended for gone."""


def render_rules(
    rules: Sequence[AlertRule], policies: Mapping[str, Policy] | None = None, runbooks: str | None = None
) -> str:
    """Return a rule file with one group per family and one rule per alert and severity.

    Args:
        rules: What to render.
        policies: A site's own hold and keep times; None for the defaults.
        runbooks: Address of the page that has the alerts; None where it is not known.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for rule in rules:
        policy = None if policies is None else policies[rule.name]
        group = groups.setdefault(f"zcs-exporter-{rule.family}", [])
        group += [_rule(rule, severity, policy, runbooks) for severity in sorted(rule.defaults)]
    return _HEADER + _dump({"groups": [{"name": name, "rules": members} for name, members in groups.items()]})


def render_tests(rules: Sequence[AlertRule]) -> dict[str, str]:
    """Return the ``promtool test rules`` files, by name, that prove every example of every alert."""
    return {
        name: _tests([rule for rule in rules if step(rule) == interval], interval)
        for name, interval in ((TESTS_FILE, _STEP), (SLOW_TESTS_FILE, _SLOW_STEP))
    }


def _tests(rules: Sequence[AlertRule], interval: int) -> str:
    tests = [_test(rule, example) for rule in rules for example in rule.examples]
    return _HEADER + _dump(
        {"rule_files": [RULES_FILE], "evaluation_interval": _prometheus_duration(interval), "tests": tests}
    )


def step(rule: AlertRule) -> int:
    """Return the seconds between two evaluations in the tests of an alert."""
    return _SLOW_STEP if max(_holds(rule)[1], rule.keep) >= _SLOW else _STEP


def _up(seconds: float, rule: AlertRule) -> int:
    """Return a duration in whole steps, at least as long."""
    return int(-(-seconds // step(rule)) * step(rule))


def checkpoints(rule: AlertRule, example: Example) -> Iterator[tuple[int, frozenset[Severity]]]:
    """Yield moments, in seconds after the example's constant series began, and the severities that fire then.

    The series end after ``series_end``; both engines are held to the same moments.
    """
    firing = _met(rule, example)
    shortest, longest = _holds(rule)
    if shortest > step(rule):
        yield int(shortest // step(rule) - 1) * step(rule), frozenset()
    yield _up(longest, rule) + step(rule), firing
    yield series_end(rule) + _up(rule.keep, rule) + _up(_STALE, rule) + 2 * step(rule), frozenset()


def series_end(rule: AlertRule) -> int:
    """Return for how many seconds the example's series last."""
    return _up(_holds(rule)[1], rule) + 2 * step(rule)


def _holds(rule: AlertRule) -> tuple[float, float]:
    holds = [rule.hold_for(severity) for severity in rule.defaults]
    return min(holds), max(holds)


def _met(rule: AlertRule, example: Example) -> frozenset[Severity]:
    if example.fires == "nothing":
        return frozenset()
    worst = Severity[example.fires.upper()]
    return frozenset(severity for severity in rule.defaults if severity <= worst)


def _rule(rule: AlertRule, severity: Severity, policy: Policy | None, runbooks: str | None) -> dict[str, Any]:
    hold = rule.hold_for(severity) if policy is None or policy.hold is None else policy.hold
    keep = rule.keep if policy is None or policy.keep is None else policy.keep
    rendered: dict[str, Any] = {"alert": rule.name, "expr": _expression(rule, severity)}
    if hold:
        rendered["for"] = _prometheus_duration(hold)
    if keep:
        rendered["keep_firing_for"] = _prometheus_duration(keep)
    rendered["labels"] = _labels(rule, severity)
    rendered["annotations"] = {name: _template(rule, text) for name, text in _annotations(rule).items()}
    if runbooks is not None:
        rendered["annotations"]["runbook_url"] = f"{runbooks}#{rule.name.lower()}"
    return rendered


def _expression(rule: AlertRule, severity: Severity) -> str:
    first, *guards = rule.conditions
    selector = f'{THRESHOLD.name}{{alert="{rule.name}",severity="{severity.name.lower()}"}}'
    expression = f"{_operand(first)} {first.operator} on (job, instance) group_left () {selector}"
    for guard in guards:
        expression += f" and ({_operand(guard)} {guard.operator} {guard.thresholds})"
    if rule.held_by is not None:
        expression = f"({expression}) unless on (job, instance) ({MAINTENANCE} == 1)"
    return expression


def _operand(condition: Condition) -> str:
    if condition.ratio is None:
        return condition.metrics[0]
    return f"({condition.ratio[0]} / ({condition.ratio[1]} != 0))"


def _labels(rule: AlertRule, severity: Severity) -> dict[str, str]:
    return {
        "severity": severity.name.lower(),
        "urgency": rule.urgency_of(severity).value,
        "family": rule.family.value,
        "scope": rule.scope,
        "alert_id": str(rule.id),
    }


def _annotations(rule: AlertRule) -> dict[str, str]:
    return {
        "summary": rule.summary,
        "description": f"{rule.meaning} {rule.action}",
    }


def _template(rule: AlertRule, text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        if match[1] == "value":
            return TEMPLATES[rule.unit]
        return "{{ $labels.instance }}" if match[1] == "host" else f"{{{{ $labels.{match[1]} }}}}"

    return re.sub(r"\{(\w+)\}", replace, text)


def _test(rule: AlertRule, example: Example) -> dict[str, Any]:
    inputs = {name: (value, example.labels) for name, value in example.values.items()}
    steps = series_end(rule) // step(rule)
    all_steps = max(moment for moment, _ in checkpoints(rule, example)) // step(rule)
    series = [
        {"series": _selector(name, labels | TARGET), "values": f"{value}+0x{steps}"}
        for name, (value, labels) in inputs.items()
    ]
    for severity, threshold in rule.defaults.items():
        labels = {"alert": rule.name, "severity": severity.name.lower()} | TARGET
        series.append({"series": _selector(THRESHOLD.name, labels), "values": f"{threshold}+0x{all_steps}"})
    return {
        "name": f"{rule.name} {example.fires} at {', '.join(f'{value:g}' for value in example.values.values())}",
        "interval": _prometheus_duration(step(rule)),
        "input_series": series,
        "alert_rule_test": [
            {
                "eval_time": _prometheus_duration(moment),
                "alertname": rule.name,
                "exp_alerts": [_expected(rule, example, severity) for severity in sorted(firing)],
            }
            for moment, firing in checkpoints(rule, example)
        ],
    }


def _expected(rule: AlertRule, example: Example, severity: Severity) -> dict[str, Any]:
    first = rule.conditions[0]
    values = [example.values[name] for name in first.metrics]
    value = format_value(values[0] / values[1] if first.ratio else values[0], rule.unit)
    return {
        "exp_labels": example.labels | TARGET | _labels(rule, severity),
        "exp_annotations": {
            name: fill(text, example.labels, value, TARGET["instance"]) for name, text in _annotations(rule).items()
        },
    }


def _selector(name: str, labels: Mapping[str, str]) -> str:
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "}"


def _prometheus_duration(seconds: float) -> str:
    return format_duration(seconds) if seconds else "0s"


def _dump(data: object) -> str:
    return yaml.safe_dump(data, sort_keys=False, width=1000, allow_unicode=True)
