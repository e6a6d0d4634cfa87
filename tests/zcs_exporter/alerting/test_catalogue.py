"""The shipped alerts: whole, consistent, and judged alike by the daemon and by Prometheus."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from fakes import ManualClock, unchecked
from snapshots import reading, sample, snapshot

from zcs_exporter.alerting.evaluate import Evaluator, Policy, SteadyClock
from zcs_exporter.alerting.model import (
    PARSED_FILE,
    AlertRule,
    Example,
    Family,
    Severity,
    load_catalogue,
    placeholders,
    render_parsed,
)
from zcs_exporter.alerting.prometheus_rules import (
    RULES_FILE,
    TESTS_FILE,
    checkpoints,
    render_rules,
    render_tests,
    series_end,
    step,
)
from zcs_exporter.assets import asset
from zcs_exporter.own_metrics import OWN_METRICS
from zcs_exporter.registry import collector_classes

CATALOGUE = load_catalogue(asset("alerts"))
DECLARED = {
    metric.name: metric
    for metric in (*OWN_METRICS, *(metric for collector in collector_classes() for metric in collector.metrics))
}
EXAMPLES = [(rule, example) for rule in CATALOGUE.alerts for example in rule.examples]
FAMILY_NUMBERS = {
    "general": 1,
    "filesystem": 2,
    "service": 3,
    "queue": 4,
    "database": 5,
    "jvm": 6,
    "auth": 7,
    "certificate": 8,
    "collector": 9,
}


@pytest.mark.parametrize("rule", CATALOGUE.alerts, ids=lambda rule: rule.name)
def test_an_alert_reads_declared_metrics_and_names_only_their_labels(rule: AlertRule) -> None:
    assert set(rule.metrics) <= DECLARED.keys()

    labels = {label for name in rule.metrics for label in DECLARED[name].labels}
    named = {name for text in (rule.summary, rule.subject or "") for name in placeholders(text)}
    assert named <= labels | {"value", "host"}
    for condition in rule.conditions:
        assert len({DECLARED[name].labels for name in condition.metrics}) == 1
    for example in rule.examples:
        assert set(example.labels) == labels


@pytest.mark.parametrize("rule", [*CATALOGUE.alerts, *CATALOGUE.events], ids=lambda rule: rule.name)
def test_a_number_is_in_its_familys_range(rule: AlertRule) -> None:
    assert rule.id // 100 == FAMILY_NUMBERS[rule.family]


@pytest.mark.parametrize("rule", CATALOGUE.alerts, ids=lambda rule: rule.name)
def test_an_alert_has_an_example_that_fires_and_one_that_does_not(rule: AlertRule) -> None:
    verdicts = {example.fires for example in rule.examples}

    assert "nothing" in verdicts
    assert {severity.name.lower() for severity in rule.defaults} <= verdicts


@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=lambda part: getattr(part, "name", ""))
def test_the_daemon_judges_an_example_as_prometheus_must(rule: AlertRule, example: Example) -> None:
    manual = ManualClock()
    evaluator = Evaluator([rule], (), SteadyClock(manual.clock))
    begin = manual.now
    series = [sample(name, example.labels, value) for name, value in example.values.items()]
    verdicts = dict(checkpoints(rule, example))

    for moment in range(0, max(verdicts) + 1, step(rule)):
        manual.advance(begin + moment - manual.now)
        there = series if moment <= series_end(rule) else []
        seen = snapshot(manual.now, reading("made up", there, declares=rule.metrics))
        evaluator.evaluate(seen, {rule.name: Policy(rule.defaults)})
        if moment in verdicts:
            firing = {
                severity
                for alarm in evaluator.alarms.values()
                for severity, state in alarm.states.items()
                if state.firing
            }
            assert firing == verdicts[moment], f"after {moment} s"


def test_prometheus_judges_every_example_as_written(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("ZCS_E2E") == "required":
            pytest.fail("promtool is missing; install the package prometheus")
        pytest.skip("promtool is missing; install the package prometheus")
    (tmp_path / RULES_FILE).write_text(render_rules(CATALOGUE.alerts))
    tests = render_tests(CATALOGUE.alerts)
    for name, content in tests.items():
        (tmp_path / name).write_text(content)

    for command in (["check", "rules", "--lint=all", "--lint-fatal", RULES_FILE], ["test", "rules", *tests]):
        done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_a_rendered_threshold_that_moved_fails_the_promtool_tests(tmp_path: Path) -> None:
    """The tests above could pass for another reason; this is the proof that they would notice."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing; install the package prometheus")
    (tmp_path / RULES_FILE).write_text(render_rules(CATALOGUE.alerts).replace(">= on (job", "> on (job"))
    rules = [rule for rule in CATALOGUE.alerts if rule.name == "ZcsFilesystemFull"]
    at_the_edge = [
        unchecked(
            rule,
            examples=(
                Example(labels={"mountpoint": "/"}, values={"zcs_filesystem_used_ratio": 0.85}, fires="warning"),
            ),
        )
        for rule in rules
    ]
    (tmp_path / TESTS_FILE).write_text(render_tests(at_the_edge)[TESTS_FILE])

    done = subprocess.run([promtool, "test", "rules", TESTS_FILE], cwd=tmp_path, capture_output=True, check=False)

    assert done.returncode != 0


def test_every_rule_of_the_rendered_file_compares_with_the_published_threshold() -> None:
    groups = yaml.safe_load(render_rules(CATALOGUE.alerts))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert len(rules) == sum(len(rule.defaults) for rule in CATALOGUE.alerts)
    for rule in rules:
        marks = f'zcs_alert_threshold{{alert="{rule["alert"]}",severity="{rule["labels"]["severity"]}"}}'
        assert marks in rule["expr"]


def test_rules_link_to_runbooks_only_where_their_address_is_known() -> None:
    def annotations(runbooks: str | None) -> list[dict[str, str]]:
        groups = yaml.safe_load(render_rules(CATALOGUE.alerts, runbooks=runbooks))["groups"]
        return [rule["annotations"] for group in groups for rule in group["rules"]]

    assert all(set(each) == {"summary", "description"} for each in annotations(None))
    links = {each["runbook_url"] for each in annotations("https://wiki.example.com/zcs/alerts.md")}
    assert links == {f"https://wiki.example.com/zcs/alerts.md#{rule.name.lower()}" for rule in CATALOGUE.alerts}


def test_severities_are_nagios_exit_codes() -> None:
    assert [severity.value for severity in Severity] == [0, 1, 2, 3]


def test_what_was_parsed_before_counts_only_where_a_file_is_still_the_same(tmp_path: Path) -> None:
    for file in asset("alerts").glob("*.yaml"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / PARSED_FILE).write_text(render_parsed(tmp_path).replace("Disk", "Plate"))
    first, *_ = load_catalogue(tmp_path, [Family.FILESYSTEM]).alerts
    assert "Plate" in str(first.subject)

    (tmp_path / PARSED_FILE).write_text(render_parsed(tmp_path))
    assert load_catalogue(tmp_path) == CATALOGUE

    changed = tmp_path / "filesystem.yaml"
    changed.write_text(changed.read_text().replace("Disk", "Plate"))
    first, *_ = load_catalogue(tmp_path, [Family.FILESYSTEM]).alerts
    assert "Plate" in str(first.subject)

    for unusable in ("", "[[]]", "{"):
        (tmp_path / PARSED_FILE).write_text(unusable)
        assert load_catalogue(tmp_path).events == CATALOGUE.events
