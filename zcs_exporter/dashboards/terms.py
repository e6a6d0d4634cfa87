"""The words of panels: units, colours, queries and limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = dict[str, Any]

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

RUNBOOKS = "${runbooks}"
"""Variable with the address of the page that has the alerts; where it is not known, links to it are left out."""

TARGET = ('job=~"$job"', 'cluster=~"$cluster"', 'instance=~"$host"')
"""Matchers of the series of the chosen host."""


class Unit(StrEnum):
    """Grafana's name of a unit."""

    NUMBER = "short"
    RATIO = "percentunit"
    BYTES = "bytes"
    BYTES_PER_SECOND = "binBps"
    PER_SECOND = "cps"
    SECONDS = "s"
    SPAN = "dtdurations"


class Color(StrEnum):
    """What a colour says, in Grafana's palette: it fits the dark theme and the light one."""

    GOOD = "green"
    NOTE = "blue"
    WARNING = "orange"
    CRITICAL = "red"
    UNKNOWN = "purple"
    PLAIN = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a panel asks Prometheus.

    Attributes:
        expr: PromQL.
        legend: Name of a series, with ``{{label}}``.
        now: Asks for this moment instead of the time shown.
    """

    expr: str
    legend: str = ""
    now: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The thresholds of an alert that are in force on the host, as dashed lines.

    Attributes:
        alert: Its name.
        of: Which series it is about, where a panel has several.
    """

    alert: str
    of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How values are shown.

    Attributes:
        text: Shown instead of certain values, with its colour; keys are values as Grafana writes them.
        steps: Colours from a value on, the lowest first; the first holds for everything below the second.
    """

    text: Mapping[str, tuple[str, Color]] = field(default_factory=dict)
    steps: tuple[tuple[float | None, Color], ...] = ((None, Color.PLAIN),)

    def json(self) -> Json:
        """Return the properties of a field."""
        found: Json = {
            "thresholds": {"mode": "absolute", "steps": [{"value": at, "color": color} for at, color in self.steps]},
            "color": {"mode": "thresholds"},
        }
        if self.text:
            options = {
                value: {"text": text, "color": color, "index": index}
                for index, (value, (text, color)) in enumerate(self.text.items())
            }
            found["mappings"] = [{"type": "value", "options": options}]
        return found


def link(title: str, url: str, tooltip: str = "") -> Json:
    """Return a link of a dashboard or panel, as Grafana has it."""
    flags = dict.fromkeys(("asDropdown", "includeVars", "keepTime"), False)
    return {
        "type": "link",
        "icon": "doc",
        "title": title,
        "tooltip": tooltip,
        "url": url,
        "targetBlank": True,
        "tags": [],
        **flags,
    }


def series(name: str, *matchers: str) -> str:
    """Return a selector of the metric on the chosen host."""
    return f"{name}{{{','.join((*TARGET, *matchers))}}}"


def named(word: str, label: str, expression: str) -> str:
    """Return the expression with a label ``what``; ``$1`` in the word is the value of ``label``."""
    return f'label_replace({expression}, "what", "{word}", "{label or "job"}", "(.*)")'


def told(expression: str, **labels: str) -> str:
    """Return the expression with labels of its own."""
    for name, value in labels.items():
        expression = f'label_replace({expression}, "{name}", "{value}", "", "")'
    return expression
