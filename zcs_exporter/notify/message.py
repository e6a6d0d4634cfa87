"""What one notification says, whichever way it travels."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from zcs_exporter.alerting.alarm import Alarm, Change, Transition
from zcs_exporter.alerting.model import AlertRule, EventRule, Family, Severity, Unit, Urgency, placeholders
from zcs_exporter.alerting.wording import fill, format_value
from zcs_exporter.contract import Event, Evidence, evidence_from_json
from zcs_exporter.text import one_line


class MessageKind(StrEnum):
    """What a message is, beside the change of an alarm."""

    ALARM = "alarm"
    EVENT = "event"
    HEARTBEAT = "heartbeat"
    STARTED = "started"
    STOPPING = "stopping"
    SUPPRESSED = "suppressed"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Message:
    """One notification; the same for every target and every attempt.

    Attributes:
        event_id: Unique for ever, the same in every copy; receivers fold by it.
        host: ``zimbra_server_hostname``.
        name: The alert or event.
        number: Its permanent id; 0 for the daemon's own messages.
        change: For an alarm, what happened to it.
        key: For an alarm, its identity.
        object: What it is about: the values of the labels that tell one such alarm from another.
        severity: After the change; OK for a cleared alarm.
        text: One line for people.
        value: As people read it, of a cleared alarm what it is now; empty where there is none.
        at: Seconds since the epoch.
        alarm_id: The same from raise to clear; 0 where there is no alarm.
        count: Raises and updates of the alarm so far.
        subject: The subject ZCS's own mail had, where it had one.
    """

    kind: MessageKind
    event_id: str
    host: str
    name: str
    at: float
    text: str
    number: int = 0
    family: Family = Family.GENERAL
    change: Change | None = None
    key: str = ""
    object: str = ""
    severity: Severity = Severity.OK
    urgency: Urgency = Urgency.INFO
    value: str = ""
    threshold: str = ""
    alarm_id: int = 0
    count: int = 0
    subject: str = ""
    evidence: Evidence = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Message":
        """Return the message that ``to_json`` wrote."""
        decoded = {
            "kind": MessageKind(data["kind"]),
            "family": Family(data["family"]),
            "change": Change(data["change"]) if data["change"] else None,
            "severity": Severity(data["severity"]),
            "urgency": Urgency(data["urgency"]),
            "evidence": evidence_from_json(data["evidence"]),
        }
        return cls(**{**data, **decoded})

    def standing_for(self, folded: int) -> "Message":
        """Return it as a target gets it that is told nothing else of ``folded`` further messages."""
        if not folded:
            return self
        messages = f"{folded} notification{'' if folded == 1 else 's'}"
        if self.kind is MessageKind.SUPPRESSED:
            return replace(self, text=f"{messages} not sent one by one: {self.text}", count=folded)
        return replace(self, text=f"{self.text} (with {messages} before it)", count=self.count + folded)


def alarm_text(rule: AlertRule, alarm: Alarm, host: str) -> str:
    """Return the rule's summary with the alarm's labels and value, and whether it is flapping."""
    text = fill(rule.summary, dict(alarm.labels), _shown(alarm.value, rule.unit), host)
    return f"Flapping: {text}" if alarm.flapping else text


def alarm_message(told: Transition, event_id: str, host: str, at: float) -> Message:
    """Return the message for a change of an alarm."""
    rule, alarm = told.rule, told.alarm
    text = alarm_text(rule, alarm, host)
    value = alarm.value
    if told.change is Change.CLEARED:
        value = told.value
        text = f"Cleared{f' ({told.why})' if told.why else ''}, was: {text}"
        if value is not None and "value" in placeholders(rule.summary):
            text += f" (now {format_value(value, rule.unit)})"
    elif told.severity is Severity.UNKNOWN:
        text = f"Unknown, was: {text}"
    return Message(
        kind=MessageKind.ALARM,
        event_id=event_id,
        host=host,
        name=rule.name,
        at=at,
        text=text,
        number=rule.id,
        family=rule.family,
        change=told.change,
        key=alarm.key,
        object=alarm_object(rule, alarm),
        severity=told.severity,
        urgency=rule.urgency_of(alarm.severity),
        value=_shown(value, rule.unit),
        threshold=_shown(alarm.threshold, rule.unit),
        alarm_id=alarm.alarm_id,
        count=alarm.count,
        subject=fill(rule.subject or "", dict(alarm.labels), _subject_value(rule.unit, value), host),
        evidence=() if told.change is Change.CLEARED else alarm.evidence,  # what is over accuses nobody
    )


def event_message(rule: EventRule, event: Event, event_id: str, host: str) -> Message:
    """Return the message for something that happened once."""
    labels = {name: one_line(value) for name, value in event.labels.items()}
    return Message(
        kind=MessageKind.EVENT,
        event_id=event_id,
        host=host,
        name=rule.name,
        at=event.at,
        text=fill(rule.summary, labels, "", host),
        number=rule.id,
        family=rule.family,
        object=", ".join(labels.values()),
        severity=Severity[rule.severity.upper()],
        subject=fill(rule.subject or "", labels, "", host),
        evidence=event.evidence,
    )


def _shown(value: float | None, unit: Unit) -> str:
    return "" if value is None else format_value(value, unit)


def alarm_object(rule: AlertRule, alarm: Alarm) -> str:
    """Return the labels that the summary names, or else all: a mount point without its device and type."""
    named = set(placeholders(rule.summary))
    labels = [value for name, value in alarm.labels if name in named] or [value for _, value in alarm.labels]
    return ", ".join(labels)


def _subject_value(unit: Unit, value: float | None) -> str:
    """ZCS's subjects have whole percent."""
    return f"{value:.0%}" if unit is Unit.RATIO and value is not None else _shown(value, unit)
