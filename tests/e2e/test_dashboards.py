"""Each query of each dashboard, as Grafana fills it in, on a real Prometheus that scrapes the true daemon."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from e2e.lab import Exporter, Prometheus, absent, free_port, http_get, kill, scratch, spawn, wait_for

from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.dashboards.files import dashboard_files

FILES = dashboard_files(load_catalogue(asset("alerts")))
DASHBOARDS = {name: json.loads(text) for name, text in FILES.items() if name.endswith(".json")}
PATIENCE = 60
"""Seconds in which each query must have had an answer; the demo's host has an incident every few seconds."""

SELDOM = {
    ("What is wrong now, and since when", "B"): "only where nothing is wrong",
    ("What is wrong now, and since when", "C"): "only where the daemon does not answer",
    ("Services, and for how long they have been running", "B"): "only where a service is down",
    ("Services, and for how long they have been running", "D"): "only where mysqld is down",
    ("What cannot be seen", "A"): "only where a collector fails",
    ("What cannot be seen", "C"): "only where the daemon does not answer",
}
"""Queries that need not answer, by their panel; another one of the panel has to."""

SELDOM_MARKED = {"Maintenance"}


class Grafana:
    """What Grafana does with the queries of a dashboard, for a scrape each second."""

    def __init__(self, server: Prometheus, dashboard: dict[str, Any], begun: float) -> None:
        self._server = server
        self.dashboard = dashboard
        self.begun = begun
        self.values: dict[str, str] = {}
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                choices = self.choices(variable)
                self.values[variable["name"]] = variable.get("allValue") or choices[0]

    def ask(self, path: str, **parameters: object) -> Any:
        url = f"http://127.0.0.1:{self._server.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        status, body = http_get(url)
        assert status == 200, f"{body}\n{parameters}"
        return json.loads(body)["data"]

    def choices(self, variable: dict[str, Any]) -> list[str]:
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert match
        parameters = {"match[]": self.filled(match[1]), "start": self.begun, "end": time.time()}
        return list(self.ask(f"label/{match[2]}/values", **parameters))

    def filled(self, text: str) -> str:
        span = max(1, round(time.time() - self.begun))
        built_in = {"__interval": "1s", "__rate_interval": "4s", "__range": f"{span}s", "__range_s": str(span)}
        known = self.values | built_in
        # What no variable is called, as $1, Grafana leaves alone.
        return re.sub(r"\$(\w+)", lambda found: known.get(found[1], found[0]), text)

    def answer(self, target: dict[str, Any]) -> list[dict[str, Any]]:
        query = self.filled(target["expr"])
        if target.get("instant"):
            return list(self.ask("query", query=query)["result"])
        return list(self.ask("query_range", query=query, start=self.begun, end=time.time(), step=1)["result"])

    def panel(self, title: str) -> dict[str, Any]:
        return next(panel for panel in self.dashboard["panels"] if panel["title"] == title)


class Demo:
    """The demo in a process of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        program = Exporter.program
        if not program.exists():
            absent(f"no {program} here; run: pip install --editable .")
        self._process = spawn(
            [program, "demo", "--port", self.port, "--seconds", 100], scratch("demo") / "log", {"TMPDIR": "/tmp"}
        )
        address = f"http://127.0.0.1:{self.port}/-/ready"
        wait_for(lambda: http_get(address)[0] == 200, 30, "the demo")

    def end(self) -> None:
        kill(self._process.pid)
        self._process.wait(10)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    stage = Demo()
    yield stage
    stage.end()


@pytest.fixture(scope="module")
def watched(prometheus: Callable[..., Prometheus], demo: Demo) -> tuple[Prometheus, float]:
    """A Prometheus that watches the demo, and since when."""
    server = prometheus(f"127.0.0.1:{demo.port}")
    server.wait_scraped()
    return server, time.time() - 5


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_has_something_to_show(name: str, watched: tuple[Prometheus, float]) -> None:
    server, begun = watched
    grafana = Grafana(server, DASHBOARDS[name], begun)
    panels = [panel for panel in grafana.dashboard["panels"] if panel["type"] != "row"]
    targets = {(panel["title"], target["refId"]): target for panel in panels for target in panel["targets"]}
    answered: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def ask() -> bool:
        for query in targets.keys() - answered.keys():
            if result := grafana.answer(targets[query]):
                answered[query] = result
        return targets.keys() - answered.keys() <= SELDOM.keys()

    wait_for(ask, PATIENCE, lambda: f"answers to {targets.keys() - answered.keys() - SELDOM.keys()}", pause=0.5)

    shown = {title for title, _ in answered}
    nameless = {
        query
        for query, result in answered.items()
        for label in re.findall(r"\{\{(\w+)\}\}", targets[query].get("legendFormat", ""))
        for one in result
        if label not in one["metric"]
    }
    assert shown == {panel["title"] for panel in panels}
    assert not nameless


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_has_a_choice_and_every_mark_can_be_asked_for(
    name: str, watched: tuple[Prometheus, float]
) -> None:
    server, begun = watched
    grafana = Grafana(server, DASHBOARDS[name], begun)
    variables = [each for each in grafana.dashboard["templating"]["list"] if each["type"] == "query"]
    marks = {mark["name"]: grafana.answer(mark) for mark in grafana.dashboard["annotations"]["list"]}

    # Nobody has put the target into a cluster; all clusters then include it.
    assert [each["name"] for each in variables if not grafana.choices(each)] == ["cluster"]
    assert {mark for mark, found in marks.items() if not found} <= SELDOM_MARKED


def test_a_daemon_that_does_not_answer_is_unknown_and_not_well(watched: tuple[Prometheus, float], demo: Demo) -> None:
    server, begun = watched
    grafana = Grafana(server, DASHBOARDS["host.json"], begun)
    before = [each["metric"].get("alert") for each in grafana.answer(_query(grafana, _WRONG, "C"))]

    demo.end()
    wait_for(lambda: server.query("up == 0"), 10, "Prometheus to miss the daemon")

    [row] = grafana.answer(_query(grafana, _WRONG, "C"))
    others = [grafana.answer(_query(grafana, _WRONG, reference)) for reference in "AB"]
    counts = [grafana.answer(target) for target in grafana.panel("Alarms")["targets"]]
    assert before == []
    assert row["metric"] == {"severity": "unknown", "alert": "no answer: nothing is known"}
    assert float(row["value"][1]) < 20
    assert others == [[], []]
    assert counts == [[], []]


_WRONG = "What is wrong now, and since when"


def _query(grafana: Grafana, title: str, reference: str) -> dict[str, Any]:
    return next(target for target in grafana.panel(title)["targets"] if target["refId"] == reference)
