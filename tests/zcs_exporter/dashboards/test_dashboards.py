"""Each dashboard keeps the rules of Grafana's dashboard linter, and ours: nothing unknown looks like zero."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.contract import Kind
from zcs_exporter.dashboards.dashboard import COLUMNS, FIRST_SCREEN, SCHEMA_VERSION, Row
from zcs_exporter.dashboards.files import dashboard_files, render_dashboard
from zcs_exporter.dashboards.kinds import Graph, Tiles
from zcs_exporter.dashboards.terms import TARGET, Limit, Query, Unit
from zcs_exporter.own_metrics import OWN_METRICS
from zcs_exporter.reference import render_alerts_page
from zcs_exporter.registry import collector_classes

CATALOGUE = load_catalogue(asset("alerts"))
FILES = dashboard_files(CATALOGUE)
DASHBOARDS = {
    "host.json": json.loads(FILES["host.json"]),
    "host.json with runbooks": json.loads(render_dashboard(CATALOGUE, "https://wiki.example.com/zcs/alerts.md")),
}
METRICS = [*OWN_METRICS, *(metric for cls in collector_classes() for metric in cls.metrics)]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
BUILT_IN = {"__range", "__range_s", "__interval", "__rate_interval", "__value.text", "__all"}
SELECTOR = re.compile(r"\b([a-zA-Z_][\w:]*)\{([^}]*)\}(\[[^\]]*\])?")

each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def expressions(dashboard: dict[str, Any]) -> Iterator[str]:
    yield from (target["expr"] for panel in panels(dashboard) for target in panel["targets"])
    yield from (mark["expr"] for mark in dashboard["annotations"]["list"])


def strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def declared(name: str) -> bool:
    """Whether the exporter, or Prometheus itself, has a series of this name."""
    if name == "up":
        return True
    for metric in METRICS:
        suffixes = {Kind.SUMMARY: ("_sum", "_count"), Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}.get(
            metric.kind, ()
        )
        if name == metric.name or name in {metric.name + suffix for suffix in suffixes}:
            return True
        if metric.prefix_only and metric.name.endswith("_") and name.startswith(metric.name):
            return True
    return False


@each_dashboard
def test_a_dashboard_has_a_lasting_name_and_cannot_be_edited_in_place(dashboard: dict[str, Any]) -> None:
    assert re.fullmatch(r"zcs-[a-z-]{1,36}", dashboard["uid"])
    assert dashboard["schemaVersion"] == SCHEMA_VERSION
    assert dashboard["editable"] is False
    assert "id" not in dashboard


@each_dashboard
def test_there_is_one_data_source_and_everything_asks_it(dashboard: dict[str, Any]) -> None:
    variables = dashboard["templating"]["list"]
    [source] = [each for each in variables if each["type"] == "datasource"]
    asked = [each["datasource"] for each in variables if each["type"] == "query"]
    asked += [mark["datasource"] for mark in dashboard["annotations"]["list"]]
    for panel in panels(dashboard):
        asked += [panel["datasource"], *(target["datasource"] for target in panel["targets"])]

    assert (source["name"], source["label"], source["query"]) == ("datasource", "Data source", "prometheus")
    assert all(each == DATASOURCE for each in asked)


@each_dashboard
def test_variables_follow_the_time_shown_and_all_means_all(dashboard: dict[str, Any]) -> None:
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    queried = [each for each in variables.values() if each["type"] == "query"]

    assert {"job", "cluster", "role", "host"} <= set(variables)
    for each in queried:
        assert re.fullmatch(r"label_values\(.+, \w+\)", each["query"]["query"])
        assert each["refresh"] == 2
        assert each["multi"] == each["includeAll"] == ("allValue" in each)
    assert [each["name"] for each in queried if not each["multi"]] == ["host"]
    # A series need not have a label cluster, but every one has a job.
    assert variables["job"]["allValue"] == ".+"
    assert variables["cluster"]["allValue"] == variables["role"]["allValue"] == ".*"


@each_dashboard
def test_every_variable_that_is_used_is_there(dashboard: dict[str, Any]) -> None:
    known = {each["name"] for each in dashboard["templating"]["list"]} | BUILT_IN
    used = {
        braced or bare
        for text in strings(dashboard)
        for braced, bare in re.findall(r"\$\{([\w.]+)\}|\$([a-z_]\w*)", text)
    }

    assert used <= known
    assert known - BUILT_IN <= used | {"job"}


@each_dashboard
def test_every_panel_has_a_title_of_its_own_a_description_queries_and_a_unit(dashboard: dict[str, Any]) -> None:
    titles = [panel["title"] for panel in dashboard["panels"]]

    assert len(set(titles)) == len(titles)
    for panel in panels(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith(".")
        assert defaults["unit"] in set(Unit)
        assert defaults["noValue"]
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(set(references)) == len(references)


@each_dashboard
def test_panels_fill_the_grid_without_overlapping(dashboard: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in dashboard["panels"]]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(set(numbers)) == len(numbers)
    assert len(set(cells)) == len(cells)
    assert set(cells) == set(itertools.product(range(COLUMNS), range(max(y for _, y in cells) + 1)))


@each_dashboard
def test_what_matters_is_seen_without_scrolling(dashboard: dict[str, Any]) -> None:
    first = list(itertools.takewhile(lambda panel: panel["type"] != "row", dashboard["panels"]))

    assert max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in first) <= FIRST_SCREEN


@each_dashboard
def test_every_selector_names_the_chosen_host(dashboard: dict[str, Any]) -> None:
    for expression in expressions(dashboard):
        selectors = SELECTOR.findall(expression)
        assert selectors
        assert all(matchers.startswith(",".join(TARGET)) for _, matchers, _ in selectors)


@each_dashboard
def test_every_metric_is_one_that_the_exporter_has(dashboard: dict[str, Any]) -> None:
    for expression in expressions(dashboard):
        bare = re.sub(r'"[^"]*"|\{[^}]*\}|\b(?:by|on|group_left) \([^)]*\)', "", expression)
        assert all(declared(name) for name, _, _ in SELECTOR.findall(expression))
        assert all(
            declared(name) or name in ("time", "timestamp")
            for name in re.findall(r"\b(?:zcs|mysql|jvm|up)\w*|time\w*", bare)
        )


@each_dashboard
def test_counters_are_only_shown_as_rates_over_an_interval_that_fits_every_scrape(dashboard: dict[str, Any]) -> None:
    for expression in expressions(dashboard):
        for match in SELECTOR.finditer(expression):
            name, _, interval = match.groups()
            before = expression[: match.start()]
            if before.endswith(("rate(", "increase(")):
                # A quarter of an hour, in which nothing happened before a burst, and the time shown hold many scrapes.
                assert interval in ("[$__rate_interval]", "[15m]", "[$__range]")
            else:
                assert not re.search(r"_(?:total|sum|count|bucket)$", name)
                assert not interval


@each_dashboard
def test_nothing_that_is_unknown_is_shown_as_zero(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        custom = panel["fieldConfig"]["defaults"].get("custom", {})
        assert custom.get("spanNulls", False) is False
    for expression in expressions(dashboard):
        assert "vector(" not in expression
        assert "absent" not in expression


@each_dashboard
def test_every_alert_that_is_named_exists_and_its_runbook_too(dashboard: dict[str, Any]) -> None:
    names = {rule.name for rule in CATALOGUE.alerts}
    page = render_alerts_page(CATALOGUE)
    anchors = set(re.findall(r'^## (\w+)$|<a id="(\w+)"', page, re.MULTILINE))
    anchors = {heading.lower() or anchor for heading, anchor in anchors}
    found = {name for expression in expressions(dashboard) for name in re.findall(r'alert="(\w+)"', expression)}
    links = [link["url"] for panel in panels(dashboard) for link in panel["links"]]
    known = any(each["name"] == "runbooks" for each in dashboard["templating"]["list"])

    assert found <= names
    assert found
    assert bool(links) is known  # without the address of the page, links would lead nowhere
    assert known or not any("runbooks" in text for text in strings(dashboard))
    assert all(re.fullmatch(r"\$\{runbooks\}#\w+", link) for link in links)
    assert {link.partition("#")[2] for link in links} <= anchors
    # The name of an alarm in a table leads to its runbook as it is written.
    assert names <= anchors


@each_dashboard
def test_links_between_dashboards_resolve(dashboard: dict[str, Any]) -> None:
    known = {each["uid"] for each in DASHBOARDS.values()}

    assert {uid for text in strings(dashboard) for uid in re.findall(r"/d/([\w-]+)", text)} <= known


def test_a_table_shows_its_columns_only() -> None:
    for dashboard in DASHBOARDS.values():
        for panel in panels(dashboard):
            if panel["type"] != "table":
                continue
            [include] = [each for each in panel["transformations"] if each["id"] == "filterFieldsByName"]
            [organize] = [each for each in panel["transformations"] if each["id"] == "organize"]
            many = len(panel["targets"]) > 1
            values = {f"Value #{each['refId']}" for each in panel["targets"]} if many else {"Value"}
            labels = {label for each in panel["targets"] for label in re.findall(r"by \(([\w, ]+)\) ", each["expr"])}
            shown = set(include["options"]["include"]["names"])
            assert set(organize["options"]["renameByName"]) == shown
            assert shown <= values | {each for label in labels for each in label.split(", ")}
            titles = set(organize["options"]["renameByName"].values())
            assert {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]} <= titles


def test_a_row_that_does_not_fill_the_grid_is_refused() -> None:
    tiles = Tiles(title="T", description="D.", width=23, queries=(Query(expr="up"),))

    with pytest.raises(ValueError, match="a row of 'T' is 23 wide"):
        Row(height=1, panels=(tiles,))


def test_a_limit_is_a_dashed_series_of_the_threshold_in_force() -> None:
    graph = Graph(
        title="T", description="D.", width=24, queries=(Query(expr="up"),), limits=(Limit(alert="ZcsX", of="y"),)
    ).json(1, 0, 0, 8)
    limit = graph["targets"][1]

    assert limit["expr"] == f'zcs_alert_threshold{{{",".join(TARGET)},alert="ZcsX"}}'
    for severity, color in (("warning", "orange"), ("critical", "red")):
        name = limit["legendFormat"].replace("{{severity}}", severity)
        [override] = [
            {item["id"]: item["value"] for item in each["properties"]}
            for each in graph["fieldConfig"]["overrides"]
            if re.search(each["matcher"]["options"].strip("/"), name)
        ]
        assert override["custom.lineStyle"]["fill"] == "dash"
        assert override["color"] == {"mode": "fixed", "fixedColor": color}


def test_provisioning_names_a_place_for_the_dashboards() -> None:
    settings = yaml.safe_load(FILES["provisioning.yaml"])

    assert settings["apiVersion"] == 1
    assert Path(settings["providers"][0]["options"]["path"]).is_absolute()
