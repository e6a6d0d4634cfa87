import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcs_exporter.alerting.model import AlertRule, Severity, Unit, load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.check.judge import MOST_DETAILS, MOST_PERFDATA, STALE_AFTER, judge
from zcs_exporter.text import one_line

NOW = 1_709_371_233.0
RULES = load_catalogue(asset("alerts")).alerts
FULL = [rule for rule in RULES if rule.name == "ZcsFilesystemFull"]


def alerts(*alarms: Mapping[str, Any], now: float = NOW) -> dict[str, Any]:
    return {"host": "mail.example.com", "at": NOW, "now": now, "alerts": list(alarms)}


def alarm(severity: str, alert: str = "ZcsFilesystemFull", summary: str = "/opt is 97% full") -> dict[str, Any]:
    return {"alert": alert, "severity": severity, "summary": summary, "action": "look at /opt"}


def sample(name: str, value: float | str, **labels: str) -> dict[str, Any]:
    return {"name": name, "labels": labels, "value": value}


def collector(
    *samples: Mapping[str, Any], failure: str = "", name: str = "filesystem", metrics: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        "name": name,
        "outcome": "failed" if failure else "good",
        "metrics": [*metrics, *(each["name"] for each in samples)],
        "failure": {"message": failure} if failure else None,
        "samples": list(samples),
    }


def snapshot(*collectors: Mapping[str, Any], at: float = NOW, ready: bool = True) -> dict[str, Any]:
    own = [
        sample("zcs_alert_threshold", 0.85, alert="ZcsFilesystemFull", severity="warning"),
        sample("zcs_alert_threshold", 0.95, alert="ZcsFilesystemFull", severity="critical"),
        sample("zcs_alert_threshold", 43200, alert="ZcsQueueNearExpiry", severity="warning"),
        sample("zcs_alert_threshold", 1, alert="ZcsMysqldDown", severity="critical"),
    ]
    return {"host": "mail.example.com", "at": at, "ready": ready, "collectors": list(collectors), "own": own}


USED = collector(sample("zcs_filesystem_used_ratio", 0.4711, mountpoint="/opt/zimbra"))


@pytest.mark.parametrize(
    ("severities", "status"),
    [
        ((), Severity.OK),
        (("warning",), Severity.WARNING),
        (("critical", "warning"), Severity.CRITICAL),
        (("unknown",), Severity.UNKNOWN),
        (("warning", "unknown"), Severity.WARNING),
    ],
)
def test_the_status_is_that_of_the_worst_alarm(severities: Sequence[str], status: Severity) -> None:
    found = judge(alerts(*map(alarm, severities)), snapshot(USED), RULES, all_rules=True)
    assert found.status is status


def test_one_line_says_how_many_and_which_and_details_say_what_to_do() -> None:
    several = [alarm("critical"), *(alarm("warning", summary=f"queue {number}") for number in range(4))]
    lines = str(judge(alerts(*several), snapshot(USED), RULES, all_rules=True)).split("\n")
    assert lines[0] == (
        "ZCS CRITICAL: mail.example.com: 1 critical, 4 warning: /opt is 97% full; queue 0; queue 1; and 2 more"
        " | 'critical'=1;;;0 'warning'=4;;;0 'unknown'=0;;;0"
    )
    assert lines[1] == "critical: /opt is 97% full: look at /opt"
    assert len(lines) == 6


def test_only_alarms_of_the_rules_that_are_asked_for_count() -> None:
    found = judge(alerts(alarm("critical", alert="ZcsMysqldDown")), snapshot(USED), FULL, all_rules=False)
    assert (found.status, found.line) == (Severity.OK, "mail.example.com: no alarm stands")


def test_what_is_pending_is_said_and_changes_no_status() -> None:
    soon = {"alert": "ZcsFilesystemFull", "summary": "/opt is 97% full", "severity": "warning", "seconds": 240}
    asked = alerts() | {"pending": [soon]}
    found = judge(asked, snapshot(USED), FULL, all_rules=False)
    assert found.status is Severity.OK
    assert found.line == "mail.example.com: no alarm stands; 1 pending: /opt is 97% full, warning in 4m"
    others = [rule for rule in RULES if rule.name == "ZcsFilesystemReadOnly"]
    assert "pending" not in judge(asked, snapshot(USED), others, all_rules=False).line


def test_performance_data_has_values_beside_the_thresholds_in_force() -> None:
    found = judge(alerts(), snapshot(USED), FULL, all_rules=False)
    assert found.perfdata == ("'ZcsFilesystemFull /opt/zimbra'=47.11%;85;95;0",)


def test_a_lower_limit_is_a_range_and_a_series_comes_once() -> None:
    queue = collector(sample("zcs_postfix_deferred_expiry_seconds", 1000.0), sample("zcs_x", "+Inf"))
    rules = [rule for rule in RULES if rule.name == "ZcsQueueNearExpiry"]
    assert judge(alerts(), snapshot(queue), rules, all_rules=False).perfdata == (
        "'ZcsQueueNearExpiry'=1000s;43200:;;0",
    )
    twice = [rule for rule in RULES if rule.name in ("ZcsFilesystemFull", "ZcsFilesystemFillingNow")]
    assert len(judge(alerts(), snapshot(USED), twice, all_rules=False).perfdata) == 1


def in_range(text: str, value: float) -> bool:
    """Whether a plugin alarms for a value, by the guidelines: outside the range, with @ inside, ends included."""
    start, separator, end = text.removeprefix("@").rpartition(":")
    low = -math.inf if start == "~" else float(start or 0) if separator else 0.0
    inside = low <= value <= (float(end) if end else math.inf)
    return inside if text.startswith("@") else not inside


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if rule.conditions[0].ratio is None], ids=lambda rule: rule.name
)
def test_the_ranges_of_the_performance_data_say_what_the_daemon_judges(rule: AlertRule) -> None:
    condition = rule.conditions[0]
    for severity, limit in rule.defaults.items():
        around = [limit * 0.9 - 0.1, limit * 1.1 + 0.1, *([limit] if rule.unit is Unit.COUNT else [])]
        for value in (each for each in around if each >= 0):
            seen = snapshot(collector(sample(condition.metrics[0], value)))
            seen["own"] = [
                sample("zcs_alert_threshold", limit, alert=rule.name, severity=level.name.lower())
                for level, limit in rule.defaults.items()
            ]
            (entry,) = judge(alerts(), seen, [rule], all_rules=False).perfdata
            shown, *ranges = entry.partition("=")[2].split(";")
            assert in_range(ranges[severity - 1], float(shown.rstrip("%sB"))) == condition.holds(value, limit), entry


def test_performance_data_is_cut_between_entries_and_it_is_said() -> None:
    many = collector(
        *(sample("zcs_filesystem_used_ratio", 0.5, mountpoint=f"/srv/{number:050}") for number in range(99))
    )
    found = judge(alerts(), snapshot(many), FULL, all_rules=False)
    assert MOST_PERFDATA - 100 < len(" ".join(found.perfdata)) <= MOST_PERFDATA
    assert all(entry.endswith(";0") for entry in found.perfdata)
    left_out = 99 - len(found.perfdata)
    assert left_out > 0
    assert found.details[-1].startswith(f"{left_out} more values are not in the performance data")


def test_values_whose_names_cannot_be_told_apart_come_once_and_it_is_said() -> None:
    alike = collector(
        *(sample("zcs_filesystem_used_ratio", 0.5, mountpoint=f"/{'long/' * 20}{number}") for number in range(3))
    )
    found = judge(alerts(), snapshot(alike), FULL, all_rules=False)
    assert len(found.perfdata) == 1
    assert found.details[-1].startswith("2 more values are not in the performance data")


def test_lines_beyond_what_a_manager_reads_are_counted() -> None:
    many = [alarm("critical", summary=f"{number}: {'x' * 80}") for number in range(100)]
    found = judge(alerts(*many), snapshot(USED), RULES, all_rules=True)
    *shown, last = found.details
    assert MOST_DETAILS - 200 < len("\n".join(shown)) <= MOST_DETAILS
    assert last.startswith(f"{100 - len(shown)} more lines have no room here; zcs-exporter alerts")
    assert len(str(found).encode()) < 8192


@pytest.mark.parametrize(
    "given", [snapshot(USED, ready=False), snapshot(USED, at=NOW - STALE_AFTER - 1), snapshot(collector(failure="EIO"))]
)
def test_what_cannot_be_seen_is_unknown_and_never_ok(given: Mapping[str, Any]) -> None:
    assert judge(alerts(), given, RULES, all_rules=True).status is Severity.UNKNOWN


@pytest.mark.parametrize("ours", [3600.0, -3600.0])
def test_the_age_is_told_by_the_daemon_s_clock(ours: float) -> None:
    elsewhere = NOW + ours
    fresh, old = (
        judge(alerts(now=elsewhere), snapshot(USED, at=elsewhere - age), FULL, all_rules=False)
        for age in (STALE_AFTER - 1, STALE_AFTER + 1)
    )
    assert fresh.status is Severity.OK
    assert (old.status, old.line) == (
        Severity.UNKNOWN,
        "mail.example.com: the daemon has measured nothing for 1m1s",
    )


def test_a_failing_collector_matters_only_to_who_asks_for_what_it_watches() -> None:
    broken = collector(failure="no permission", name="mysqld", metrics=["mysql_up", "zcs_mysqld_instances"])
    both = snapshot(USED, broken)
    # Most metrics of the alerts about file systems are rightly absent: nothing is filling up, vanished or hung.
    disks = [rule for rule in RULES if rule.family == "filesystem"]
    found = judge(alerts(), both, disks, all_rules=False)
    assert (found.status, found.details) == (Severity.OK, ())
    database = [rule for rule in RULES if rule.name == "ZcsMysqldDown"]
    found = judge(alerts(), both, database, all_rules=False)
    assert (found.status, found.line) == (Severity.UNKNOWN, "mail.example.com: cannot see: mysqld: no permission")
    alarmed = judge(alerts(alarm("warning")), both, RULES, all_rules=True)
    assert alarmed.status is Severity.WARNING
    assert "collector mysqld: no permission" in alarmed.details


def test_a_daemon_that_judges_nothing_is_never_good() -> None:
    nothing = snapshot(USED) | {"own": []}
    found = judge(alerts(), nothing, RULES, all_rules=True)
    assert found.status is Severity.UNKNOWN
    assert found.line == "mail.example.com: every alert is switched off in the configuration of the daemon"
    found = judge(alerts(), nothing, RULES[:5], all_rules=False)
    assert f"{RULES[2].name} and 2 more are switched off" in found.line


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_the_form(summary: str, mount: str) -> None:
    watched = collector(sample("zcs_filesystem_used_ratio", 0.5, mountpoint=mount))
    found = judge(alerts(alarm("warning", summary=summary)), snapshot(watched), FULL, all_rules=False)
    first, *rest = str(found).split("\n")
    assert one_line(first, 10_000) == first
    assert first.count("|") == 1
    assert len(rest) == 1
    assert "|" not in rest[0]
    assert first.split(" | ")[1].count("'") == 2


def test_performance_data_has_no_exponents() -> None:
    rules = [rule for rule in RULES if rule.name == "ZcsLogLagging"]
    seen = snapshot(collector(sample(rules[0].conditions[0].metrics[0], 1.5e13, log="mailbox.log")))
    seen["own"].append(sample("zcs_alert_threshold", 67108864.0, alert="ZcsLogLagging", severity="warning"))
    found = judge(alerts(), seen, rules, all_rules=False)
    assert found.perfdata == ("'ZcsLogLagging mailbox.log'=15000000000000B;67108864;;0",)


def test_the_line_begins_with_what_is_worst() -> None:
    several = [alarm("unknown", summary=f"unknown {n}") for n in range(4)]
    found = judge(alerts(*several, alarm("critical", summary="full")), snapshot(USED), RULES, all_rules=True)
    assert "1 critical, 4 unknown: full; unknown 0; unknown 1; and 2 more" in found.line
    assert found.details[0].startswith("critical: full")


@pytest.mark.parametrize(("until", "said"), [(NOW + 5400, True), (NOW - 1, False)])
def test_that_a_maintenance_holds_alarms_is_said(until: float, said: bool) -> None:
    services = collector(sample("zcs_maintenance_until_timestamp_seconds", until, cause="file"))
    found = judge(alerts(), snapshot(USED, services), RULES, all_rules=True)
    held = "; in maintenance for 1h30m, alarms about services are held"
    assert found.line == f"mail.example.com: no alarm stands{held if said else ''}"
