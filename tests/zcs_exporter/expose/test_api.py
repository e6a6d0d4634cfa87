import json

from hypothesis import given
from hypothesis import strategies as st
from web_parts import EVIDENCE, FAILURES, reading

from zcs_exporter.alerting.alarm import Alarm, Pending
from zcs_exporter.alerting.model import Severity, load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.contract import CollectError, EvidenceKind, Histogram, Kind, Metric, Reason, Shortfall
from zcs_exporter.expose.api import alerts_json, snapshot_json
from zcs_exporter.snapshot import Failure, Reading, Snapshot

EVERYTHING = frozenset(EvidenceKind)
VALUE = Metric("zcs_value", Kind.GAUGE, "x")


def test_the_snapshot_says_what_is_known_and_why_the_rest_is_not() -> None:
    known = reading("auth", FAILURES.sample(41, check="ip", evidence=EVIDENCE))
    failing = Reading(
        "jvm",
        (),
        rounds=3,
        present=True,
        failure=Failure(Reason.PERMISSION, "denied", "grant it", 100.0),
        errors={Reason.PERMISSION: 3},
        shortfalls=(Shortfall(Reason.PARSE, "half", ""),),
    )
    absent = Reading("ldap", (), rounds=1, present=False, absent_because="no slapd")
    waiting = Reading("zimbra", ())
    snapshot = Snapshot(4, 200.0, {each.collector: each for each in (known, failing, absent, waiting)})
    logs = [("/var/log/zimbra.log", CollectError(Reason.UNAVAILABLE, "no such file", "start syslog"))]

    data = json.loads(snapshot_json("mail.example.com", snapshot, logs, EVERYTHING, ready=False))

    assert (data["host"], data["generation"], data["at"], data["ready"]) == ("mail.example.com", 4, 200.0, False)
    by_name = {each["name"]: each for each in data["collectors"]}
    assert by_name["auth"]["samples"] == [
        {
            "name": "zcs_auth_window_failures_max",
            "type": "gauge",
            "labels": {"check": "ip"},
            "value": 41.0,
            "evidence": [{"kind": item.kind, "value": item.value, "count": item.count} for item in EVIDENCE],
            "evidence_hidden": 0,
        }
    ]
    assert by_name["jvm"]["failure"] == {
        "reason": "permission",
        "message": "denied",
        "remedy": "grant it",
        "since": 100.0,
    }
    assert by_name["jvm"]["errors"] == {"permission": 3}
    assert by_name["jvm"]["collected_at"] is None
    assert [each["outcome"] for each in data["collectors"]] == ["good", "failed", "absent", None]
    assert by_name["auth"]["metrics"] == ["zcs_auth_window_failures_max"]
    assert (by_name["ldap"]["present"], by_name["ldap"]["absent_because"]) == (False, "no slapd")
    assert (by_name["zimbra"]["present"], by_name["zimbra"]["duration"]) == (None, None)
    assert data["logs"][0]["remedy"] == "start syslog"


def test_the_alerts_say_what_may_become_one() -> None:
    rule = next(each for each in load_catalogue(asset("alerts")).alerts if each.name == "ZcsFilesystemFull")
    soon = Pending(rule, Alarm(rule.name, (("mountpoint", "/opt/zimbra"),), value=0.97), Severity.CRITICAL, 239.6)

    data = json.loads(alerts_json("mail.example.com", 100.0, (), (soon,), EVERYTHING, now=101.0))

    assert data["alerts"] == []
    assert [(each["summary"], each["severity"], each["seconds"]) for each in data["pending"]] == [
        ("/opt/zimbra is 97% full", "critical", 240)
    ]


def test_the_buckets_of_a_histogram_are_told_apart() -> None:
    delay = Metric("zcs_mail_delay_seconds", Kind.HISTOGRAM, "x", ("stage",), buckets=(0.5,))
    histogram = Histogram(delay)
    histogram.observe(0.25, "queue")
    snapshot = Snapshot(1, 1.0, {"mailflow": reading("mailflow", *histogram.samples())})

    data = json.loads(snapshot_json("h", snapshot, (), EVERYTHING, ready=True))

    name, kind = "zcs_mail_delay_seconds", "histogram"
    assert data["collectors"][0]["samples"] == [
        {"name": f"{name}_bucket", "type": kind, "labels": {"stage": "queue", "le": "0.5"}, "value": 1.0},
        {"name": f"{name}_bucket", "type": kind, "labels": {"stage": "queue", "le": "+Inf"}, "value": 1.0},
        {"name": f"{name}_sum", "type": kind, "labels": {"stage": "queue"}, "value": 0.25},
        {"name": f"{name}_count", "type": kind, "labels": {"stage": "queue"}, "value": 1.0},
    ]


def test_what_may_not_be_seen_is_only_counted() -> None:
    snapshot = Snapshot(1, 1.0, {"auth": reading("auth", FAILURES.sample(1, check="ip", evidence=EVIDENCE))})

    text = snapshot_json("h", snapshot, (), frozenset({EvidenceKind.TEXT}), ready=True).decode()

    assert '"evidence":[],"evidence_hidden":3' in text
    assert "198.51.100.23" not in text


@given(value=st.floats(), text=st.text())
def test_it_is_always_json_that_every_reader_takes(value: float, text: str) -> None:
    snapshot = Snapshot(1, 1.0, {}, (VALUE.sample(value),))

    data = json.loads(snapshot_json(text, snapshot, (), EVERYTHING, ready=True), parse_constant=lambda name: 1 / 0)

    (sample,) = data["own"]
    special = {"inf": "+Inf", "-inf": "-Inf", "nan": None}
    assert sample["value"] == special.get(str(value), value)
