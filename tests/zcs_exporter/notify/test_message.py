"""What people read about an alarm."""

import json

from zcs_exporter.alerting.alarm import Alarm, Change, Transition
from zcs_exporter.alerting.model import AlertRule, Severity, load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.contract import EvidenceItem, EvidenceKind
from zcs_exporter.notify.message import Message, alarm_message

CATALOGUE = load_catalogue(asset("alerts"))


def rule(name: str) -> AlertRule:
    return next(rule for rule in CATALOGUE.alerts if rule.name == name)


def message(
    name: str, labels: dict[str, str], change: Change, severity: Severity, value: float, now: float | None = None
) -> Message:
    alarm = Alarm(
        name, tuple(sorted(labels.items())), alarm_id=7, severity=Severity.WARNING, value=value, threshold=0.85
    )
    alarm.evidence = (EvidenceItem(EvidenceKind.ADDRESS, "192.0.2.1", 3),)
    told = Transition(change, rule(name), alarm, severity, value=now)
    return alarm_message(told, "abc-1", "mail.example.com", 1000.0)


def test_a_raise_has_text_value_threshold_and_the_subject_zcs_had() -> None:
    told = message("ZcsFilesystemFull", {"mountpoint": "/opt/zimbra"}, Change.RAISED, Severity.WARNING, 0.871)

    assert told.text == "/opt/zimbra is 87.1% full"
    assert (told.value, told.threshold, told.object) == ("87.1%", "85%", "/opt/zimbra")
    assert told.subject == "Disk /opt/zimbra at 87% on mail.example.com"


def test_a_clear_names_the_alarm_and_accuses_nobody() -> None:
    told = message("ZcsAuthIpFailures", {}, Change.CLEARED, Severity.OK, 25)

    assert told.text.startswith("Cleared, was: ")
    assert told.evidence == ()
    assert told.alarm_id == 7


def test_a_clear_says_what_it_was_and_what_it_is_now() -> None:
    told = message("ZcsFilesystemFull", {"mountpoint": "/opt/zimbra"}, Change.CLEARED, Severity.OK, 0.97, now=0.71)

    assert told.text == "Cleared, was: /opt/zimbra is 97% full (now 71%)"
    assert told.value == "71%"
    assert told.subject == "Disk /opt/zimbra at 71% on mail.example.com"


def test_a_clear_of_what_cannot_be_seen_any_more_says_no_value() -> None:
    told = message("ZcsFilesystemFull", {"mountpoint": "/opt/zimbra"}, Change.CLEARED, Severity.OK, 0.97)

    assert (told.text, told.value) == ("Cleared, was: /opt/zimbra is 97% full", "")


def test_a_clear_tells_no_number_where_the_raise_told_none() -> None:
    told = message("ZcsServiceVitalDown", {"name": "mta"}, Change.CLEARED, Severity.OK, 0, now=1)

    assert told.text == "Cleared, was: mta is down"


def test_an_unknown_alarm_says_what_it_was() -> None:
    told = message("ZcsFilesystemFull", {"mountpoint": "/"}, Change.UPDATED, Severity.UNKNOWN, 0.9)

    assert told.text == "Unknown, was: / is 90% full"


def test_the_object_is_what_tells_one_alarm_from_another() -> None:
    labels = {"device": "/dev/sda1", "fstype": "xfs", "mountpoint": "/opt/zimbra/redolog"}

    assert message("ZcsFilesystemReadOnly", labels, Change.RAISED, Severity.CRITICAL, 1).object == "/opt/zimbra/redolog"


def test_a_message_survives_being_stored() -> None:
    told = message("ZcsFilesystemFull", {"mountpoint": "/opt/zimbra"}, Change.RAISED, Severity.WARNING, 0.871)

    assert Message.from_json(json.loads(json.dumps(told.to_json()))) == told
