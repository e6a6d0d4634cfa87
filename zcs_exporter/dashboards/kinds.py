"""The kinds of panels, and the JSON that Grafana has of each.

Only what our dashboards use is here. Limits are drawn from ``zcs_alert_threshold``, so that a host with thresholds of
its own sees its own. Source of the format: the types of Grafana's own ``@grafana/schema``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from zcs_exporter.alerting.policy import THRESHOLD
from zcs_exporter.dashboards.terms import DATASOURCE, RUNBOOKS, Color, Json, Limit, Look, Query, Unit, link, series

_REFS: Sequence[str] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LIMIT_LEGEND = "{{severity}} limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel(ABC):
    """One panel.

    Attributes:
        title: The question that it answers.
        description: What is shown and where it comes from, and what its absence means.
        width: Columns of the 24.
        queries: What it shows.
        unit: Of all values.
        empty: What is shown where nothing is known.
        runbooks: Alerts whose runbooks are linked.
    """

    kind: ClassVar[str]

    title: str
    description: str
    width: int
    queries: tuple[Query, ...]
    unit: Unit = Unit.NUMBER
    empty: str = "no data"
    runbooks: tuple[str, ...] = ()

    def targets(self) -> list[Json]:
        """Return the queries as Grafana has them."""
        return [self._target(query, ref) for query, ref in zip(self.queries, _REFS, strict=False)]

    def _target(self, query: Query, ref: str) -> Json:
        target: Json = {"datasource": DATASOURCE, "refId": ref, "expr": query.expr, "editorMode": "code"}
        target |= {"instant": True, "range": False} if query.now else {"instant": False, "range": True}
        return target | {"format": "time_series", "legendFormat": query.legend or "__auto"}

    @abstractmethod
    def defaults(self) -> Json:
        """Return the properties of every field."""

    @abstractmethod
    def options(self) -> Json:
        """Return the options of the panel's kind."""

    def overrides(self) -> list[Json]:
        """Return the properties of certain fields."""
        return []

    def transformations(self) -> list[Json]:
        """Return what is done to the answers before they are shown."""
        return []

    def json(self, number: int, x: int, y: int, height: int) -> Json:
        """Return the panel as Grafana has it, at a place."""
        links = [link(f"Runbook of {alert}", f"{RUNBOOKS}#{alert.lower()}") for alert in self.runbooks]
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": height},
            "links": links,
            "targets": self.targets(),
            "transformations": self.transformations(),
            "fieldConfig": {
                "defaults": {"unit": self.unit, "noValue": self.empty, **self.defaults()},
                "overrides": self.overrides(),
            },
            "options": self.options(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph(Panel):
    """Values over time; where nothing was known there is a gap.

    Attributes:
        limits: Alerts whose thresholds are drawn.
        log: A logarithmic axis.
        top: The axis reaches at least so far.
        fill: Opacity of the area below a line, in per cent.
        stacked: Series are piled up.
        colors: Fixed colours by the name of a series.
    """

    kind: ClassVar[str] = "timeseries"

    limits: tuple[Limit, ...] = ()
    log: bool = False
    top: float | None = None
    fill: int = 8
    stacked: bool = False
    colors: Mapping[str, Color] = field(default_factory=dict)

    def targets(self) -> list[Json]:
        """Return the queries, and after them one for each limit."""
        limits = [
            Query(
                expr=series(THRESHOLD.name, f'alert="{limit.alert}"'),
                legend=_LIMIT_LEGEND + (f": {limit.of}" if limit.of else ""),
            )
            for limit in self.limits
        ]
        return [self._target(query, ref) for query, ref in zip((*self.queries, *limits), _REFS, strict=False)]

    def defaults(self) -> Json:
        """Return lines without points, broken where nothing was known."""
        custom: Json = {
            "drawStyle": "line",
            "lineInterpolation": "linear",
            "lineWidth": 1,
            "fillOpacity": self.fill,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            "scaleDistribution": {"type": "log", "log": 10} if self.log else {"type": "linear"},
        }
        if self.top is not None:
            custom["axisSoftMax"] = self.top
        return {"custom": custom, "color": {"mode": "palette-classic"}, **({} if self.log else {"min": 0})}

    def options(self) -> Json:
        """Return a legend below, and a tooltip for all series at once."""
        return {
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }

    def overrides(self) -> list[Json]:
        """Return fixed colours, and thin dashes for limits, which stay out of the legend."""
        found = [
            _override("byName", name, {"color": {"mode": "fixed", "fixedColor": color}})
            for name, color in self.colors.items()
        ]
        for severity, color in (("warning", Color.WARNING), ("critical", Color.CRITICAL)):
            properties = {
                "color": {"mode": "fixed", "fixedColor": color},
                "custom.lineStyle": {"fill": "dash", "dash": [8, 6]},
                "custom.fillOpacity": 0,
                "custom.stacking": {"mode": "none", "group": "limits"},
                "custom.hideFrom": {"legend": True, "tooltip": False, "viz": False},
            }
            if self.limits:
                found.append(_override("byRegexp", f"/^{severity} limit/", properties))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles(Panel):
    """A coloured tile for each series, with its newest value.

    Attributes:
        look: Colours and words.
        looks: The same for certain series, by their names.
        sizes: Of names and values, in pixels; None for as large as fits.
    """

    kind: ClassVar[str] = "stat"

    look: Look = field(default_factory=Look)
    looks: Mapping[str, Look] = field(default_factory=dict)
    sizes: tuple[int, int] | None = None

    def defaults(self) -> Json:
        """Return colours and words."""
        return self.look.json()

    def overrides(self) -> list[Json]:
        """Return colours and words of certain series."""
        return [_override("byName", name, look.json()) for name, look in self.looks.items()]

    def options(self) -> Json:
        """Return tiles with a background that tells the state."""
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background",
            "graphMode": "none",
            "justifyMode": "center",
            "orientation": "vertical",
            "textMode": "value_and_name",
            "wideLayout": False,
            "showPercentChange": False,
            "percentChangeColorMode": "standard",
            **({"text": {"titleSize": self.sizes[0], "valueSize": self.sizes[1]}} if self.sizes else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes:
        of: The label it shows, or for a value the number of the query, beginning with 0.
        title: Its heading.
        width: Pixels; what is left goes to columns without one.
        unit: Of a value.
        look: Colours and words.
        filled: The cell has its colour as background.
        bar: The cell is a bar from 0 to 1.
        runbook: The cell, which has the name of an alert, leads to its runbook.
        empty: What a cell without a value shows.
    """

    of: str | int
    title: str
    width: int | None = None
    unit: Unit | None = None
    look: Look | None = None
    filled: bool = False
    bar: bool = False
    runbook: bool = False
    empty: str | None = None

    def json(self) -> Json:
        """Return the properties of the column."""
        custom: Json = {}
        if self.width is not None:
            custom["custom.width"] = self.width
        if self.unit is not None:
            custom["unit"] = self.unit
        if self.look is not None:
            custom |= self.look.json()
            custom["custom.cellOptions"] = {"type": "color-text"}
        if self.filled:
            custom["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
        if self.bar:
            custom |= {"custom.cellOptions": {"type": "gauge", "mode": "basic"}, "min": 0, "max": 1}
        if self.runbook:
            link = {"title": "Runbook", "url": f"{RUNBOOKS}#${{__value.text}}", "targetBlank": True}
            custom["links"] = [link]
        if self.empty is not None:
            custom["noValue"] = self.empty
        return custom


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Panel):
    """A table of what is so now; queries with equal labels share a line.

    Attributes:
        columns: In their order; everything else is left out.
        sorted_by: Title of the column whose values give the order; lines with equal ones stay as they came.
    """

    kind: ClassVar[str] = "table"

    columns: tuple[Column, ...]
    sorted_by: str | None = None

    def _target(self, query: Query, ref: str) -> Json:
        # Not super(): a dataclass with slots is another class than the one that the name meant when it was compiled.
        return Panel._target(self, query, ref) | {"format": "table", "instant": True, "range": False}

    def defaults(self) -> Json:
        """Return plain cells."""
        custom = {"align": "left", "cellOptions": {"type": "auto"}, "filterable": False, "inspect": False}
        return {"custom": custom, **Look().json()}

    def options(self) -> Json:
        """Return narrow lines."""
        return {"frameIndex": 0, "showHeader": True, "cellHeight": "sm"}

    def overrides(self) -> list[Json]:
        """Return what is peculiar to columns."""
        return [_override("byName", column.title, found) for column in self.columns if (found := column.json())]

    def transformations(self) -> list[Json]:
        """Return what makes one table of all answers, with these columns only."""
        names = [self._field(column) for column in self.columns]
        order = {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": self.sorted_by, "desc": False}]}}
        return [
            {"id": "merge", "options": {}},
            {"id": "filterFieldsByName", "options": {"include": {"names": names}}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {},
                    "indexByName": {name: index for index, name in enumerate(names)},
                    "renameByName": {name: column.title for name, column in zip(names, self.columns, strict=True)},
                },
            },
            *([order] if self.sorted_by is not None else []),
        ]

    def _field(self, column: Column) -> str:
        if isinstance(column.of, str):
            return column.of
        return f"Value #{_REFS[column.of]}" if len(self.queries) > 1 else "Value"


def _override(matcher: Literal["byName", "byRegexp"], value: str, properties: Json) -> Json:
    return {
        "matcher": {"id": matcher, "options": value},
        "properties": [{"id": name, "value": content} for name, content in properties.items()],
    }
