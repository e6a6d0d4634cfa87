"""A dashboard: variables, annotations, and rows of panels that find their places by themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from zcs_exporter.dashboards.kinds import Panel
from zcs_exporter.dashboards.terms import DATASOURCE, RUNBOOKS, Color, Json, link

SCHEMA_VERSION = 39
"""That of Grafana 11; newer releases migrate it when they load it."""

COLUMNS = 24
"""Width of Grafana's grid."""

FIRST_SCREEN = 26
"""Rows of the grid that 1080 pixels show in kiosk mode below the variables, at 38 pixels each."""

_DATASOURCE_CHOICE: Json = {
    "name": "datasource",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "regex": "",
    "refresh": 1,
    "hide": 0,
    "multi": False,
    "includeAll": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels beside each other.

    Attributes:
        height: Rows of the grid; a panel on the first screen has to do with few.
        panels: From left to right; their widths fill the grid.
        title: A heading above.
    """

    height: int
    panels: tuple[Panel, ...]
    title: str = ""

    def __post_init__(self) -> None:
        width = sum(panel.width for panel in self.panels)
        if width != COLUMNS:
            raise ValueError(f"a row of {self.panels[0].title!r} is {width} wide and not {COLUMNS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A variable whose values Prometheus knows.

    Attributes:
        name: How queries call it.
        label: How people do.
        query: ``label_values(...)``.
        many: Several values may be chosen, and all.
        nothing: All includes series without the label.
        hidden: Nobody needs to choose.
    """

    name: str
    label: str
    query: str
    many: bool = True
    nothing: bool = False
    hidden: bool = False

    def json(self) -> Json:
        """Return the variable as Grafana has it."""
        found: Json = {
            "name": self.name,
            "label": self.label,
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": self.query, "refId": self.name},
            "refresh": 2,
            "sort": 1,
            "hide": 2 if self.hidden else 0,
            "multi": self.many,
            "includeAll": self.many,
        }
        if self.many:
            found |= {"allValue": ".*" if self.nothing else ".+", "current": {"text": ["All"], "value": ["$__all"]}}
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What is marked in every graph.

    Attributes:
        name: What the switch above the dashboard is called.
        expr: PromQL; marked is the time for which there are series.
        title: Of a mark, with ``{{label}}``.
        text: Below the title.
        color: Of the mark.
        value_is_time: The value is the moment, in milliseconds.
    """

    name: str
    expr: str
    title: str
    text: str
    color: Color
    value_is_time: bool = False

    def json(self) -> Json:
        """Return the annotation as Grafana has it."""
        return {
            "name": self.name,
            "datasource": DATASOURCE,
            "enable": True,
            "hide": False,
            "expr": self.expr,
            "iconColor": self.color,
            "step": "60s",
            "titleFormat": self.title,
            "textFormat": self.text,
            "tagKeys": "",
            "useValueForTime": self.value_is_time,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A dashboard.

    Attributes:
        uid: Its permanent name in addresses, at most 40 characters.
        title: Its name.
        description: The questions that it answers.
        choices: Variables beside the data source and the place of the runbooks.
        marks: Annotations.
        rows: Panels from top to bottom.
        since: The time that it shows at first.
        refresh: How often it is asked anew.
        tags: Words to find it by; dashboards that share the first are linked to each other.
    """

    uid: str
    title: str
    description: str
    choices: tuple[Choice, ...]
    marks: tuple[Mark, ...]
    rows: tuple[Row, ...]
    since: str = "now-3h"
    refresh: str = "30s"
    tags: tuple[str, ...] = ("zcs-exporter",)

    def json(self, runbooks: str | None = None) -> Json:
        """Return the dashboard as Grafana reads it.

        Args:
            runbooks: Address of the page that has the alerts; None for no links to it, as it is not known.
        """
        place = {"name": "runbooks", "label": "Runbooks", "type": "constant", "query": runbooks, "hide": 2}
        choices = [_DATASOURCE_CHOICE, *(choice.json() for choice in self.choices)]
        found = self._json([*choices, *([] if runbooks is None else [place])])
        return _without_runbooks(found) if runbooks is None else found

    def _json(self, choices: Sequence[Json]) -> Json:
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": list(self.tags),
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "timezone": "browser",
            "time": {"from": self.since, "to": "now"},
            "refresh": self.refresh,
            "fiscalYearStartMonth": 0,
            "links": [link("Runbooks", RUNBOOKS, "What each alarm means and what to do first")],
            "annotations": {"list": [mark.json() for mark in self.marks]},
            "templating": {"list": list(choices)},
            "panels": list(_placed(self.rows)),
        }


def _without_runbooks(found: Any) -> Any:
    """Return a part of a dashboard without links to runbooks."""
    if isinstance(found, dict):
        return {name: _without_runbooks(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_without_runbooks(each) for each in found if not _leads_to_runbook(each)]
    return found


def _leads_to_runbook(found: Any) -> bool:
    return isinstance(found, dict) and str(found.get("url", "")).startswith(RUNBOOKS)


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    number, y = 0, 0
    for row in rows:
        if row.title:
            number += 1
            place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
            yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
            y += 1
        x = 0
        for panel in row.panels:
            number += 1
            yield panel.json(number, x, y, row.height)
            x += panel.width
        y += row.height
