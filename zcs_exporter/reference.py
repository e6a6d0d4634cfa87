"""Renders the reference pages of the documentation from the code and the alerts."""

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from zcs_exporter.alerting.model import AlertRule, Catalogue
from zcs_exporter.alerting.wording import format_value
from zcs_exporter.contract import RECORD_FIELDS, Collector, CollectorConfig, EvidenceKind, Metric
from zcs_exporter.durations import format_duration
from zcs_exporter.events.entry import FIELDS
from zcs_exporter.own_metrics import OWN_METRICS
from zcs_exporter.schema import MISSING, Section

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
        # The anchor of a heading is all small letters; dashboards link by the name as it is.
        parts.append(f'\n<a id="{rule.name}"></a>\n\n## {rule.name}\n\n{rule.summary}\n\n{rule.meaning}\n\n')
        parts.append(f"**Do first:** {rule.action}\n\n{_facts(rule)}")
    parts.append("\n# Events\n\n| event | id | severity | says |\n|---|---|---|---|\n")
    parts += [
        f"| {event.name} | {event.id} | {event.severity} | {event.summary}. {event.meaning} |\n"
        for event in catalogue.events
    ]
    return "".join(parts)


_CONFIGURATION_HEAD = """# Configuration

Rendered by `make generate` from the code. No file is needed. `/etc/zcs-exporter/config.yaml` is read if it exists,
or the file given with `--config`, then `conf.d/*.yaml` beside it in name order. Durations are written `15s`, `10m`,
`24h`, `7d`. `zcs-exporter check-config` reports every fault with its line; `SIGHUP` or `POST /-/reload` takes a new
configuration over whole, or keeps the old one and says why. `host`, `state` and `web` need a restart.
"""


def render_configuration_page(model: type[Section]) -> str:
    """Return the reference of all options."""
    parts = [_CONFIGURATION_HEAD]
    for name, field in model.options.items():
        section = _section_of(field.annotation)
        if name == "collectors":
            parts.append(f"\n## collectors\n\n{_lead(CollectorConfig)}\n\n{_options(CollectorConfig)}")
            for collector, inner in section.options.items():
                own = _options(_section_of(inner.annotation), known=frozenset(CollectorConfig.options))
                parts.append(f"\n### collectors.{collector}\n\n{own}" if own else "")
        else:
            parts.append(f"\n## {name}\n\n{_lead(section)}\n\n{_options(section)}")
    return "".join(parts)


_EVENTS_HEAD = """# Structured events

Rendered by `make generate` from the code. Whatever changes an alarm, every event of `alerts/*.yaml`, the daemon's own
start and end, and what collectors find in the logs is one JSON object: one line of ASCII, flat, keys only ever added.
A reminder of an alarm that goes on and a heartbeat are no events.

## Where they go

- **A file**, `events.jsonl` in the state directory unless `events.file` says otherwise. It has mode 0600, is rotated
  each day and by size (`events.jsonl.20240302T225959Z`, the time of its last line) and kept for `events.keep`; all
  together take no more than `events.max_mib`. A site's own rotation, by renaming or by truncating, does no harm.
- **The journal**, with `events.journal: true`: `journalctl -t zcs-exporter -o json`, every key as `ZCS_KIND`,
  `ZCS_SEVERITY` and so on, so `journalctl ZCS_KIND=alarm_raised` works.
- **A stream** of server-sent events, for who is logged in, at `/api/v1/events`. `?kind=` and `?severity=` choose, each
  any number of times. A client that comes back with `Last-Event-ID` gets what it missed, as far as it is among the last
  1000 (`event: gap` says how many are not, `null` where nobody knows); `Last-Event-ID: 0` gives all that is kept.

```
curl -N -H "Authorization: Bearer $(sudo cat /var/lib/zcs-exporter/token)" http://127.0.0.1:10741/api/v1/events
```

## What is promised

An event is told after the transaction that counted what caused it, so it is never told for something that a `kill -9`
takes back, and never twice; one that was counted in the last moment before a `kill -9` may be missing. While the state
directory cannot be written events are told all the same, and a restart then tells those from logs again, with the same
`log` and `offset`. The file is not forced to disk: a power cut may take its last seconds. An output that refuses or
hangs is said in the log, on the page and in `zcs_exporter_events_waiting`; 10,000 events wait for it in memory, what is
beyond is lost and counted in `zcs_exporter_events_lost_total`.

Accounts (domains too) and addresses are named as `privacy` has it. The file and a stream that is logged in over TLS or
on the host itself count as encrypted; the journal, which others may read, does not. What is left out is named in
`hidden`.

## Keys

| key | |
|---|---|
"""


def render_events_page() -> str:
    """Return the reference of structured events."""
    rows = [f"| `{name}` | {about} |\n" for name, about in FIELDS.items()]
    rows.append("\nAnd what a collector knows of what it found; each a word or a line, `count` a number:\n\n")
    rows.append("| key | counts as |\n|---|---|\n")
    for kind in EvidenceKind:
        names = ", ".join(f"`{name}`" for name, own in RECORD_FIELDS.items() if own is kind)
        rows.append(f"| {names} | {kind} |\n")
    return _EVENTS_HEAD + "".join(rows)


def _section_of(annotation: Any) -> type[Section]:
    """Return the model in an annotation such as ``tuple[Model, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for argument in get_args(annotation):
        found = _section_of(argument)
        if found is not Section:
            return found
    return Section


def _options(section: type[Section], prefix: str = "", known: frozenset[str] = frozenset()) -> str:
    """Return a table of a section's options, those of lists of sections included; empty without any but ``known``."""
    names = [name for name in section.options if name not in known]
    rows = ["| option | default | |\n|---|---|---|\n"] if names and not prefix else []
    about = _attributes(section)
    for name in names:
        field = section.options[name]
        default = "" if field.default is MISSING else f"`{_written(field.default)}`"
        rows.append(f"| `{prefix}{field.key}` | {default} | {about.get(name, '')} |\n")
        inner = _section_of(field.annotation)
        if inner is not Section:
            rows.append(_options(inner, f"{prefix}{field.key}[]."))
    return "".join(rows)


def _written(default: object) -> str:
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return format_duration(default) if default >= 30 else f"{default:g}"
    return str(default).replace("()", "[]") if not isinstance(default, dict) else "{}"


def _lead(section: type[Section]) -> str:
    return (inspect.getdoc(section) or "").split("\n")[0]


def _attributes(section: type[Section]) -> dict[str, str]:
    """Return what the docstrings of a section and its bases say of each attribute."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__):
        text = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2]
        for name, words in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE):
            found[name] = " ".join(words.split()).replace("``", "`")
    return found


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
