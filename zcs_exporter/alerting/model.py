"""The description of alerts and events in ``alerts/*.yaml``, from which everything about them is made.

A condition compares one metric, or the ratio of two, with a threshold per severity (at or above, at or
below), or holds for up to three such at once. It never looks back: what is windowed is measured by a collector.
"""

import json
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property
from pathlib import Path as Directory
from typing import Annotated, Any, Literal

from zcs_exporter.contract import Duration
from zcs_exporter.schema import Before, Key, Limits, Path, Section, check
from zcs_exporter.strict_yaml import YamlError, load_yaml


class Severity(IntEnum):
    """How bad, on every output: the numbers are Nagios's exit codes."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Urgency(StrEnum):
    """What to do with an alert: page someone, tell them today, or only show it."""

    NOW = "now"
    TODAY = "today"
    INFO = "info"


class Family(StrEnum):
    """What an alert is about; each has its own pair of SNMP notifications."""

    GENERAL = "general"
    SERVICE = "service"
    FILESYSTEM = "filesystem"
    QUEUE = "queue"
    DATABASE = "database"
    JVM = "jvm"
    AUTH = "auth"
    CERTIFICATE = "certificate"
    COLLECTOR = "collector"


class Unit(StrEnum):
    """The unit of an alert's value, which decides how people read it."""

    RATIO = "ratio"
    SECONDS = "seconds"
    BYTES = "bytes"
    COUNT = "count"


REPEAT: Mapping[Urgency, float] = {Urgency.NOW: 4 * 3600.0, Urgency.TODAY: 86400.0, Urgency.INFO: 86400.0}
"""Seconds after which an alarm that still stands is told again, unless the alert says otherwise."""

_SEVERITIES = {"warning": Severity.WARNING, "critical": Severity.CRITICAL}
MetricName = Annotated[str, Limits(pattern=r"[a-z][a-z0-9_]*")]
AlertName = Annotated[str, Limits(pattern=r"Zcs[A-Z][A-Za-z0-9]+")]
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _per_severity(value: object) -> object:
    return (
        {_SEVERITIES.get(str(name), name): part for name, part in value.items()} if isinstance(value, dict) else value
    )


Thresholds = Annotated[dict[Severity, float], Before(_per_severity), Limits(min_length=1, max_length=2)]


class Condition(Section):
    """One comparison of an ``all:``; the first one's thresholds may be a mapping, the others are numbers."""

    value: MetricName | None = None
    ratio: tuple[str, str] | None = None
    above: Thresholds | float | None = None
    below: Thresholds | float | None = None

    def _consistent(self) -> None:
        if (self.value is None) == (self.ratio is None):
            raise ValueError("give either value or ratio")
        if (self.above is None) == (self.below is None):
            raise ValueError("give either above or below")

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics it reads."""
        return self.ratio or ((self.value,) if self.value else ())

    @property
    def operator(self) -> Literal[">=", "<="]:
        """The comparison that makes it true."""
        return ">=" if self.above is not None else "<="

    @property
    def thresholds(self) -> Mapping[Severity, float] | float:
        """What it compares with, per severity or the same for all."""
        found = self.above if self.above is not None else self.below
        assert found is not None  # noqa: S101 - the validator saw to it
        return found

    def holds(self, value: float, threshold: float) -> bool:
        """Whether ``value`` meets ``threshold``; never for NaN."""
        return value >= threshold if self.operator == ">=" else value <= threshold


class LocalconfigKeys(Section):
    """The ZCS settings that replace an alert's own thresholds."""

    warning: str | None = None
    critical: str | None = None
    scale: float = 1.0


class Example(Section):
    """A constant input and the verdict that both engines must give."""

    labels: dict[str, str] = {}  # noqa: RUF012 - a section is frozen
    values: dict[str, float]
    fires: Literal["nothing", "warning", "critical"]


class AlertRule(Section):
    """One alert.

    Attributes:
        id: Permanent number, never moved or reused.
        hold: Seconds the condition must hold, per severity (``for`` in the file).
        keep: Seconds the alarm stays after the condition ended.
        held_by: A maintenance keeps it from being raised or cleared.
        resource: What is used up, for the profiles that tighten or leave out resource alerts.
        names_offenders: Someone new in the evidence of a standing alarm is worth an update.
    """

    name: Annotated[AlertName, Key("alert")]
    id: int
    family: Family
    value: MetricName | None = None
    ratio: tuple[str, str] | None = None
    above: Thresholds | None = None
    below: Thresholds | None = None
    all_of: Annotated[tuple[Condition, ...] | None, Limits(min_length=2, max_length=3), Key("all")] = None
    unit: Unit
    localconfig: LocalconfigKeys | None = None
    urgency: Annotated[dict[Severity, Urgency] | Urgency, Before(_per_severity)]
    scope: Literal["host", "cluster"] = "host"
    hold: Annotated[dict[Severity, Duration] | Duration, Before(_per_severity), Key("for")]
    keep: Duration
    repeat: Duration | None = None
    held_by: Literal["maintenance"] | None = None
    names_offenders: bool = False
    resource: Literal["disk", "cpu", "memory", "other"] | None = None
    subject: str | None = None
    summary: str
    meaning: str
    action: str
    examples: Annotated[tuple[Example, ...], Limits(min_length=2)]

    def _consistent(self) -> None:
        conditions = self.conditions
        if not isinstance(conditions[0].thresholds, dict):
            raise ValueError("the first condition needs a threshold per severity")  # noqa: TRY004 - told as a fault
        if any(isinstance(guard.thresholds, dict) for guard in conditions[1:]):
            raise ValueError("only the first condition of all: has a threshold per severity")
        thresholds = self.defaults
        if len(thresholds) == 2 and not conditions[0].holds(
            thresholds[Severity.CRITICAL], thresholds[Severity.WARNING]
        ):
            raise ValueError("critical must be the stricter threshold")
        for example in self.examples:
            if set(example.values) != set(self.metrics):
                raise ValueError(f"an example must give exactly {', '.join(self.metrics)}")
            if example.fires != "nothing" and _SEVERITIES[example.fires] not in thresholds:
                raise ValueError(f"an example fires {example.fires}, which has no threshold")

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """All conditions; the first carries the thresholds that a site may change."""
        if self.all_of is not None:
            return self.all_of
        return (Condition(value=self.value, ratio=self.ratio, above=self.above, below=self.below),)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics it reads, each once."""
        return tuple(dict.fromkeys(name for condition in self.conditions for name in condition.metrics))

    @property
    def defaults(self) -> Mapping[Severity, float]:
        """The thresholds before the host's and the site's settings."""
        found = self.conditions[0].thresholds
        return found if isinstance(found, dict) else {}

    def hold_for(self, severity: Severity) -> float:
        """Seconds the condition must hold before an alarm of this severity is raised."""
        return self.hold.get(severity, 0.0) if isinstance(self.hold, dict) else self.hold

    def urgency_of(self, severity: Severity) -> Urgency:
        """What to do at this severity."""
        if isinstance(self.urgency, dict):
            return self.urgency.get(severity) or next(iter(self.urgency.values()))
        return self.urgency

    def repeat_after(self, severity: Severity) -> float:
        """Seconds after which a standing alarm is told again."""
        return self.repeat if self.repeat is not None else REPEAT[self.urgency_of(severity)]


class EventRule(Section):
    """Something that happens once and has no state."""

    name: Annotated[AlertName, Key("event")]
    id: int
    family: Family
    severity: Literal["ok", "warning", "critical"]
    subject: str | None = None
    summary: str
    meaning: str
    action: str | None = None


class Catalogue(Section):
    """Every alert and event, in the order of their numbers."""

    alerts: tuple[AlertRule, ...]
    events: tuple[EventRule, ...]

    def _consistent(self) -> None:
        seen: set[str | int] = set()
        rules: tuple[AlertRule | EventRule, ...] = (*self.alerts, *self.events)
        for rule in rules:
            for mark in (rule.name, rule.id):
                if mark in seen:
                    raise ValueError(f"{rule.name}: {mark} is used twice")
                seen.add(mark)

    def event(self, name: str) -> EventRule:
        """Return the event of this name.

        Raises:
            KeyError: No file declares it.
        """
        for rule in self.events:
            if rule.name == name:
                return rule
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Policy:
    """An alert as this host and site want it.

    Attributes:
        thresholds: Effective ones; empty when the alert is switched off.
        hold: Seconds that replace the rule's own; None to keep them.
        keep: The same for the keep time.
    """

    thresholds: Mapping[Severity, float]
    hold: float | None = None
    keep: float | None = None


def placeholders(text: str) -> Iterator[str]:
    """Iterate over the names in braces."""
    return (match[1] for match in _PLACEHOLDER.finditer(text))


PARSED_FILE = "parsed.json"
"""In the directory of alerts: what its files hold, as JSON, which is read twenty times as fast as YAML."""


def render_parsed(directory: Directory) -> str:
    """Return the content of ``PARSED_FILE``."""
    texts = {file.stem: file.read_text(encoding="utf-8") for file in sorted(directory.glob("*.yaml"))}
    rows = [[name, _mark(text), load_yaml(text)[0]] for name, text in texts.items()]
    return json.dumps(rows, indent=0, ensure_ascii=False) + "\n"


def _parsed_before(directory: Directory) -> dict[tuple[str, int], tuple[Any, dict[Path, int]]]:
    """Return what ``PARSED_FILE`` has, by the name of a file and the mark of its text; nothing without one."""
    try:
        rows = json.loads((directory / PARSED_FILE).read_text(encoding="utf-8"))
        return {(name, mark): (data, {}) for name, mark, data in rows}
    except (OSError, ValueError):
        return {}


def _mark(text: str) -> int:
    """Return a number that tells whether a file is still as it was."""
    return zlib.crc32(text.encode())


def load_catalogue(directory: Directory, families: Collection[Family] | None = None) -> Catalogue:
    """Read every ``*.yaml`` of a directory, or what was parsed of it before where that is the same.

    Args:
        directory: Where each family has a file of its name.
        families: Only these; None for all.

    Raises:
        ValueError: All faults, one a line, each with its file and line.
    """
    alerts: list[AlertRule] = []
    events: list[EventRule] = []
    faults: list[str] = []
    parsed = _parsed_before(directory)
    kinds: tuple[tuple[str, type[AlertRule | EventRule]], ...] = (("alerts", AlertRule), ("events", EventRule))
    for file in sorted(directory.glob("*.yaml")):
        if families is not None and file.stem not in families:
            continue
        try:
            text = file.read_text(encoding="utf-8")
            data, lines = parsed.get((file.stem, _mark(text))) or load_yaml(text)
        except YamlError as exc:
            faults.append(f"{file.name}, {exc}")
            continue
        inner: dict[Path, dict[Path, int]] = {}
        for path, line in lines.items():
            inner.setdefault(path[:2], {})[path[2:]] = line
        for key, model in kinds:
            for number, entry in enumerate(data.get(key, ())):
                described = {"family": data.get("family"), **entry}
                place = f"{file.name}: {key}[{number}]"
                rule, problems = check(model, described, inner.get((key, number), {}), place)
                faults += problems
                if isinstance(rule, AlertRule):
                    alerts.append(rule)
                elif isinstance(rule, EventRule):
                    events.append(rule)
    if faults:
        raise ValueError("\n".join(faults))
    return Catalogue(
        alerts=tuple(sorted(alerts, key=lambda rule: rule.id)), events=tuple(sorted(events, key=lambda rule: rule.id))
    )
