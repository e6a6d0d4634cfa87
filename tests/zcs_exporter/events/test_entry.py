"""What one event says, and what it keeps from whom."""

import json
from collections.abc import Mapping
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.alerting.alarm import Change
from zcs_exporter.alerting.model import Family, Severity, Urgency
from zcs_exporter.contract import RECORD_FIELDS, EvidenceItem, EvidenceKind, Grade, Record
from zcs_exporter.events.entry import FIELDS, Entry, is_event
from zcs_exporter.notify.message import Message, MessageKind

EVERYTHING = frozenset(EvidenceKind)
ANONYMOUS = frozenset({EvidenceKind.TEXT})
NO_ACCOUNTS = ANONYMOUS | {EvidenceKind.ADDRESS}

LOCKED = Record(
    "account_locked",
    1_709_371_233.25,
    Grade.WARNING,
    {"account": "ann@example.com", "address": "192.0.2.7", "oip": "198.51.100.1, 192.0.2.7", "count": "12"},
    "/opt/zimbra/log/audit.log",
    4711,
)
RAISED = Message(
    MessageKind.ALARM,
    "a1b2-1-7",
    "mail.example.com",
    "ZcsAuthIpFailures",
    1_709_371_233.0,
    "24 failed logins from one address",
    number=703,
    family=Family.AUTH,
    change=Change.RAISED,
    severity=Severity.CRITICAL,
    urgency=Urgency.NOW,
    value="24",
    threshold="20",
    alarm_id=3,
    count=1,
    evidence=(EvidenceItem(EvidenceKind.ADDRESS, "192.0.2.7", 24), EvidenceItem(EvidenceKind.ACCOUNT, "ann", 1)),
)


def entry(news: Record | Message) -> Entry:
    return Entry(41, "mail.example.com", news)


def test_a_record_is_one_flat_object_of_its_fields_and_its_place() -> None:
    data = entry(LOCKED).data(EVERYTHING)

    assert datetime.fromisoformat(data.pop("time")).timestamp() == LOCKED.at
    assert data == {
        "id": 41,
        "host": "mail.example.com",
        "kind": "account_locked",
        "severity": "warning",
        "account": "ann@example.com",
        "address": "192.0.2.7",
        "oip": "198.51.100.1, 192.0.2.7",
        "count": 12,
        "log": "/opt/zimbra/log/audit.log",
        "offset": 4711,
    }


def test_a_message_is_told_with_what_its_notification_says() -> None:
    data = entry(RAISED).data(EVERYTHING)

    assert data["kind"] == "alarm_raised"
    assert (data["name"], data["alarm_id"], data["event_id"]) == ("ZcsAuthIpFailures", 3, "a1b2-1-7")
    assert (data["severity"], data["urgency"], data["value"], data["threshold"]) == ("critical", "now", "24", "20")
    assert data["evidence"][0] == {"kind": "address", "value": "192.0.2.7", "count": 24}
    assert "object" not in data, "what has nothing to say is absent"


def test_the_time_has_milliseconds_and_the_hosts_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert entry(LOCKED).data(EVERYTHING)["time"] == "2024-03-02T10:20:33.250+01:00"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("at", [float("nan"), float("inf"), 1e300, -1e300])
def test_what_is_no_time_is_null_and_stops_nothing(at: float) -> None:
    assert entry(Record("login_failed", at)).data(EVERYTHING)["time"] is None


def test_fields_that_may_not_be_seen_are_named_and_not_shown() -> None:
    data = entry(LOCKED).data(NO_ACCOUNTS)
    line = entry(LOCKED).line(ANONYMOUS).decode()

    assert "account" not in data
    assert data["hidden"] == ["account"]
    assert "ann@example.com" not in line
    assert "192.0.2.7" not in line
    assert json.loads(line)["hidden"] == ["account", "address", "oip"]
    assert "hidden" not in entry(LOCKED).data(EVERYTHING)


def test_evidence_that_may_not_be_seen_is_only_counted() -> None:
    data = entry(RAISED).data(NO_ACCOUNTS)

    assert [item["value"] for item in data["evidence"]] == ["192.0.2.7"]
    assert data["evidence_hidden"] == 1


def test_one_who_may_see_less_never_gets_the_line_made_for_another() -> None:
    event = entry(LOCKED)

    assert b"ann@example.com" in event.line(EVERYTHING)
    assert b"ann@example.com" not in event.line(ANONYMOUS)
    assert event.line(EVERYTHING) is event.line(EVERYTHING)


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        (MessageKind.ALARM, Change.RAISED, True),
        (MessageKind.ALARM, Change.UPDATED, True),
        (MessageKind.ALARM, Change.CLEARED, True),
        (MessageKind.ALARM, Change.REPEATED, False),
        (MessageKind.EVENT, None, True),
        (MessageKind.STARTED, None, True),
        (MessageKind.STOPPING, None, True),
        (MessageKind.HEARTBEAT, None, False),
        (MessageKind.TEST, None, False),
    ],
)
def test_an_event_is_something_that_happened(kind: MessageKind, change: Change | None, told: bool) -> None:
    assert is_event(Message(kind, "1", "h", "n", 0.0, "t", change=change)) is told


@pytest.mark.parametrize(
    ("message", "severity"),
    [
        (Message(MessageKind.STARTED, "1", "h", "", 0.0, "started"), "info"),
        (Message(MessageKind.EVENT, "1", "h", "ZcsServiceStarted", 0.0, "t", number=353), "ok"),
        (
            Message(
                MessageKind.ALARM, "1", "h", "A", 0.0, "t", number=1, change=Change.UPDATED, severity=Severity.UNKNOWN
            ),
            "unknown",
        ),
    ],
)
def test_the_severity_is_the_messages_and_the_daemons_own_are_information(message: Message, severity: str) -> None:
    assert entry(message).severity == severity


RECORDS = st.builds(
    Record,
    st.sampled_from(["login_failed", "admin_login"]),
    st.floats(),
    st.sampled_from(Grade),
    st.dictionaries(st.sampled_from(sorted(RECORD_FIELDS)), st.text(max_size=200)),
    st.text(max_size=30),
    st.none() | st.integers(0, 1 << 60),
)
MESSAGES = st.builds(
    Message,
    st.sampled_from([MessageKind.EVENT, MessageKind.ALARM]),
    st.text(max_size=20),
    st.text(max_size=20),
    st.text(max_size=20),
    st.floats(),
    st.text(max_size=300),
    change=st.none() | st.sampled_from(Change),
    object=st.text(max_size=50),
    evidence=st.lists(
        st.builds(EvidenceItem, st.sampled_from(EvidenceKind), st.text(max_size=50), st.none() | st.floats()),
        max_size=3,
    ).map(tuple),
)


def _refuse(name: str) -> float:
    raise AssertionError(f"{name} is not JSON")


@given(news=RECORDS | MESSAGES, visible=st.frozensets(st.sampled_from(EvidenceKind)))
@settings(max_examples=400, deadline=None)
def test_whatever_happened_it_is_one_line_of_ascii_json_of_documented_keys(
    news: Record | Message, visible: frozenset[EvidenceKind]
) -> None:
    line = entry(news).line(visible | ANONYMOUS)

    text = line.decode("ascii")
    assert text.isprintable()
    data: Mapping[str, object] = json.loads(text, parse_constant=_refuse)
    assert data.keys() <= FIELDS.keys() | RECORD_FIELDS.keys()
    assert {"id", "time", "host", "kind", "severity"} <= data.keys()
