"""Writes everything in the repository that is rendered: rules and their tests, the MIB, reference pages.

Run by ``make generate``; continuous integration fails when the result differs from what is committed.
"""

import inspect
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from zcs_exporter.alerting.model import AlertRule, Catalogue, load_catalogue
from zcs_exporter.alerting.prometheus_rules import RULES_FILE, TESTS_FILE, render_rules, render_tests
from zcs_exporter.alerting.wording import format_value
from zcs_exporter.assets import asset
from zcs_exporter.contract import Collector, Metric
from zcs_exporter.durations import format_duration
from zcs_exporter.own_metrics import OWN_METRICS
from zcs_exporter.registry import collector_classes
from zcs_exporter.snmp.mib import render_mib

_METRICS_HEAD = """# Metrics

Rendered by `make generate` from the code. Every `zcs_` name is stable. Labels are bounded and never hold an
address, an account or a domain.
"""

_ALERTS_HEAD = """# Alerts

Rendered by `make generate` from `alerts/*.yaml`. Severity says how bad, urgency what to do: `now` pages,
`today` is for working hours, `info` is only shown. Thresholds are the defaults; ZCS's own keys and
`alerts.overrides` replace them, and `zcs_alert_threshold` shows what is in force.

| alert | id | warning | critical | holds | urgency |
|---|---|---|---|---|---|
"""


def render_metrics_page(collectors: Sequence[type[Collector]]) -> str:
    """Return the reference of all metrics."""
    parts = [_METRICS_HEAD]
    for collector in collectors:
        module = inspect.getmodule(collector)
        parts.append(
            f"\n## {collector.name}\n\n{_first_paragraphs(inspect.getdoc(module) or '')}\n\n{_table(collector.metrics)}"
        )
    parts.append(f"\n## The daemon itself\n\n{_table(OWN_METRICS)}")
    return "".join(parts)


def render_alerts_page(catalogue: Catalogue) -> str:
    """Return the reference of all alerts and events, which is also their runbook."""
    parts = [_ALERTS_HEAD]
    for rule in catalogue.alerts:
        cells = [_threshold(rule, name) for name in ("WARNING", "CRITICAL")]
        link = f"[{rule.name}](#{rule.name.lower()})"
        parts.append(f"| {link} | {rule.id} | {cells[0]} | {cells[1]} | {_hold(rule)} | {_urgency(rule)} |\n")
    for rule in catalogue.alerts:
        parts.append(
            f"\n## {rule.name}\n\n{rule.summary}\n\n{rule.meaning}\n\n**Do first:** {rule.action}\n\n{_facts(rule)}"
        )
    parts.append("\n# Events\n\n| event | id | severity | says |\n|---|---|---|---|\n")
    parts += [
        f"| {event.name} | {event.id} | {event.severity} | {event.summary}. {event.meaning} |\n"
        for event in catalogue.events
    ]
    return "".join(parts)


def _threshold(rule: AlertRule, severity: str) -> str:
    found = {level.name: value for level, value in rule.defaults.items()}.get(severity)
    return "" if found is None else f"{rule.conditions[0].operator} {format_value(found, rule.unit)}"


def _hold(rule: AlertRule) -> str:
    return ", ".join(dict.fromkeys(format_duration(rule.hold_for(severity)) for severity in rule.defaults))


def _urgency(rule: AlertRule) -> str:
    return ", ".join(dict.fromkeys(rule.urgency_of(severity).value for severity in rule.defaults))


def _facts(rule: AlertRule) -> str:
    facts = [f"- Measured by: {', '.join(f'`{name}`' for name in rule.metrics)}"]
    if rule.localconfig is not None:
        keys = [key for key in (rule.localconfig.warning, rule.localconfig.critical) if key]
        facts.append(f"- ZCS settings that change it: {', '.join(f'`{key}`' for key in keys)}")
    facts.append(
        f"- Stays {format_duration(rule.keep)} after it ended, so that a flapping value is one alarm"
        if rule.keep
        else "- Ends at once"
    )
    if rule.held_by:
        facts.append("- Held during a maintenance")
    return "\n".join(facts) + "\n"


def _table(metrics: Iterable[Metric]) -> str:
    rows = ["| metric | type | labels | |\n|---|---|---|---|\n"]
    for metric in metrics:
        name = f"{metric.name}*" if metric.prefix_only and metric.name.endswith("_") else metric.name
        rows.append(
            f"| `{name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |\n"
        )
    return "".join(rows)


def _first_paragraphs(text: str) -> str:
    lines = text.splitlines()
    facts = [f"- {line}" if line.startswith(("Source:", "Privileges:", "Cost:")) else line for line in lines]
    return "\n".join(facts)


def main(root: Path) -> int:
    """Write every rendered file below ``root``; exit status 0."""
    catalogue = load_catalogue(asset("alerts"))
    files = {
        f"alerts/prometheus/{RULES_FILE}": render_rules(catalogue.alerts),
        f"alerts/prometheus/{TESTS_FILE}": render_tests(catalogue.alerts),
        "docs/alerts.md": render_alerts_page(catalogue),
        "docs/metrics.md": render_metrics_page(collector_classes()),
        "packaging/mib/ZCS-EXPORTER-MIB.txt": render_mib(),
    }
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
