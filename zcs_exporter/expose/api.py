"""What the daemon knows, as JSON.

Keys are only ever added. Times are seconds since the epoch; a value that JSON has no number for is the
string ``+Inf`` or ``-Inf``; what is unknown is null or absent, never 0. ``evidence`` holds the names that
the privacy settings let through on this connection, ``evidence_hidden`` how many they did not.
"""

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from zcs_exporter import __version__
from zcs_exporter.alerting.alarm import Alarm, Pending
from zcs_exporter.alerting.model import AlertRule
from zcs_exporter.alerting.wording import format_value
from zcs_exporter.contract import CollectError, EvidenceKind, Sample
from zcs_exporter.notify.message import alarm_text
from zcs_exporter.plain import plain_evidence, plain_number
from zcs_exporter.snapshot import Reading, Snapshot

CONTENT_TYPE = "application/json; charset=utf-8"


def alerts_json(
    host: str,
    at: float,
    alarms: Sequence[tuple[AlertRule, Alarm]],
    pending: Sequence[Pending],
    visible: AbstractSet[EvidenceKind],
    *,
    now: float,
) -> bytes:
    """Return the alarms that stand, worst first, and what becomes one if it goes on, the next one first.

    ``now`` is when it was asked for by the daemon's clock, ``at`` when the snapshot was made that they come from.

    ``{"host", "at", "now", "alerts": [{"alert", "id", "family", "labels", "alarm_id", "severity", "urgency", "since",
    "count", "value", "value_text", "threshold", "threshold_text", "unit", "summary", "meaning", "action",
    "evidence": [{"kind", "value", "count"}], "evidence_hidden"}], "pending": [{"alert", "id", "family", "labels",
    "severity", "urgency", "seconds", "summary"}]}``

    Of what is pending, ``severity`` is that of the alarm to come, and ``seconds`` how long its condition must still
    hold.
    """
    answer = {"host": host, "at": at, "now": now}
    standing = [_alarm(*pair, host, visible) for pair in alarms]
    return _encode(answer | {"alerts": standing, "pending": [_pending(each, host) for each in pending]})


def snapshot_json(
    host: str,
    snapshot: Snapshot,
    logs: Sequence[tuple[str, CollectError]],
    visible: AbstractSet[EvidenceKind],
    *,
    ready: bool,
) -> bytes:
    """Return everything that is known now.

    ``{"host", "version", "generation", "at", "ready", "collectors": [{"name", "outcome", "metrics": [name],
    "present", "absent_because", "rounds", "collected_at", "duration", "failure": {"reason", "message", "remedy",
    "since"}, "errors", "shortfalls": [{"reason", "message", "remedy"}], "dropped", "samples": [{"name", "type",
    "labels", "value", "evidence", "evidence_hidden"}]}], "own": [sample], "logs": [{"path", "reason", "message",
    "remedy"}]}``

    A collector's ``outcome`` is how its last round ended: ``good``, ``failed``, ``absent`` where its subject is not on
    this host, or null before the first. ``metrics`` are those that it may publish, whether it does now or not; one
    that ends in ``*`` stands for all that begin so.
    """
    return _encode(
        {
            "host": host,
            "version": __version__,
            "generation": snapshot.generation,
            "at": snapshot.at,
            "ready": ready,
            "collectors": [_reading(reading, visible) for reading in snapshot.readings.values()],
            "own": [_sample(sample, visible) for sample in snapshot.own],
            "logs": [
                {"path": path, "reason": error.reason, "message": str(error), "remedy": error.remedy}
                for path, error in logs
            ],
        }
    )


def _alarm(rule: AlertRule, alarm: Alarm, host: str, visible: AbstractSet[EvidenceKind]) -> dict[str, Any]:
    return {
        "alert": rule.name,
        "id": rule.id,
        "family": rule.family,
        "labels": dict(alarm.labels),
        "alarm_id": alarm.alarm_id,
        "severity": alarm.severity.name.lower(),
        "urgency": rule.urgency_of(alarm.severity),
        "since": alarm.since,
        "count": alarm.count,
        "value": plain_number(alarm.value),
        "value_text": None if alarm.value is None else format_value(alarm.value, rule.unit),
        "threshold": plain_number(alarm.threshold),
        "threshold_text": None if alarm.threshold is None else format_value(alarm.threshold, rule.unit),
        "unit": rule.unit,
        "summary": alarm_text(rule, alarm, host),
        "meaning": rule.meaning,
        "action": rule.action,
        **plain_evidence(alarm.evidence, visible),
    }


def _pending(pending: Pending, host: str) -> dict[str, Any]:
    rule, alarm = pending.rule, pending.alarm
    return {
        "alert": rule.name,
        "id": rule.id,
        "family": rule.family,
        "labels": dict(alarm.labels),
        "severity": pending.severity.name.lower(),
        "urgency": rule.urgency_of(pending.severity),
        "seconds": round(pending.wait),
        "summary": alarm_text(rule, alarm, host),
    }


def _reading(reading: Reading, visible: AbstractSet[EvidenceKind]) -> dict[str, Any]:
    failure = reading.failure
    return {
        "name": reading.collector,
        "outcome": _outcome(reading),
        "metrics": [metric.name + "*" * metric.prefix_only for metric in reading.metrics],
        "present": reading.present,
        "absent_because": reading.absent_because or None,
        "rounds": reading.rounds,
        "collected_at": reading.collected_at,
        "duration": reading.duration if reading.rounds else None,
        "failure": None
        if failure is None
        else {
            "reason": failure.reason,
            "message": failure.message,
            "remedy": failure.remedy,
            "since": failure.since,
        },
        "errors": dict(reading.errors),
        "shortfalls": [
            {"reason": each.reason, "message": each.message, "remedy": each.remedy} for each in reading.shortfalls
        ],
        "dropped": dict(reading.dropped),
        "samples": [_sample(sample, visible) for sample in reading.samples],
    }


def _outcome(reading: Reading) -> str | None:
    if reading.failure is not None:
        return "failed"
    return {True: "good", False: "absent", None: None}[reading.present]


def _sample(sample: Sample, visible: AbstractSet[EvidenceKind]) -> dict[str, Any]:
    plain = {
        "name": sample.metric.name + sample.suffix,
        "type": sample.metric.kind,
        "labels": sample.label_map(),
        "value": plain_number(sample.value),
    }
    return plain | plain_evidence(sample.evidence, visible) if sample.evidence else plain


def _encode(data: object) -> bytes:
    # ASCII only: what a log said cannot hide in look-alikes, nor break a reader that expects UTF-8.
    return json.dumps(data, allow_nan=False, separators=(",", ":")).encode("ascii")
