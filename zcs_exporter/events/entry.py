"""One structured event, as the flat JSON object that every output carries."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from zcs_exporter.alerting.alarm import Change
from zcs_exporter.contract import RECORD_FIELDS, EvidenceKind, Record
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.plain import plain_evidence

News = Record | Message

FIELDS: Mapping[str, str] = {
    "id": "Rises with every event, across restarts too unless the clock is set back; the same in the file, the journal "
    "and the stream.",
    "time": "When it happened, RFC 3339 with milliseconds and the host's offset; for a line of a log the line's time.",
    "host": "`zimbra_server_hostname`.",
    "kind": "What happened: `alarm_raised`, `alarm_updated`, `alarm_cleared`, `event`, `started`, `stopping`, or a "
    "word of the collector that found it, such as `login_failed`.",
    "severity": "`info`, `warning`, `critical`; of alarms and events also `ok`, and `unknown` for an alarm whose "
    "collector cannot look any more.",
    "name": "The alert or event, as in [alerts](alerts.md).",
    "family": "Its family.",
    "alarm_id": "The same from raise to clear.",
    "event_id": "That of the notification that told the same.",
    "urgency": "`now`, `today` or `info`, for an alarm.",
    "object": "What it is about.",
    "value": "As people read it.",
    "threshold": "Likewise.",
    "text": "One line for people.",
    "evidence": "Who is behind an alarm or event: a list of `kind`, `value` and `count`.",
    "evidence_hidden": "How many more the privacy settings hide.",
    "hidden": "The names of the fields below that the privacy settings hide.",
    "log": "Path of the log that tells it.",
    "offset": "Position of the line in that file.",
}
"""Every key that an event may have beside those of ``RECORD_FIELDS``; absent where there is nothing to say."""


def is_event(message: Message) -> bool:
    """Whether something happened; a heartbeat and the reminder of an alarm that goes on are none."""
    told = (MessageKind.ALARM, MessageKind.EVENT, MessageKind.STARTED, MessageKind.STOPPING)
    return message.kind in told and message.change is not Change.REPEATED


def kind_of(news: News) -> str:
    """Return the word for what happened."""
    if isinstance(news, Record):
        return news.kind
    return f"alarm_{news.change}" if news.change is not None else str(news.kind)


def _severity_of(news: News) -> str:
    if isinstance(news, Record):
        return str(news.grade)
    return news.severity.name.lower() if news.number else "info"


class Entry:
    """One event with its number; immutable, and rendered at most once for each set of eyes.

    Attributes:
        number: Its ``id``.
        kind: A word of a closed set.
        severity: As in the JSON object.
    """

    __slots__ = ("_host", "_lines", "_news", "kind", "number", "severity")

    def __init__(self, number: int, host: str, news: News) -> None:
        self.number = number
        self.kind = kind_of(news)
        self.severity = _severity_of(news)
        self._host = host
        self._news = news
        self._lines: dict[frozenset[EvidenceKind], bytes] = {}

    @property
    def from_log(self) -> bool:
        """Whether a collector found it, not the daemon itself told it."""
        return isinstance(self._news, Record)

    def data(self, visible: frozenset[EvidenceKind]) -> dict[str, Any]:
        """Return the event without what may not be seen."""
        common = {
            "id": self.number,
            "time": _timestamp(self._news.at),
            "host": self._host,
            "kind": self.kind,
            "severity": self.severity,
        }
        if isinstance(self._news, Record):
            return common | _of_record(self._news, visible)
        return common | _of_message(self._news, visible)

    def line(self, visible: frozenset[EvidenceKind]) -> bytes:
        """Return ``data`` as one line of JSON without its end."""
        found = self._lines.get(visible)
        if found is None:
            # ASCII only: what a log said cannot hide in look-alikes, nor break a reader that expects UTF-8.
            text = json.dumps(self.data(visible), allow_nan=False, separators=(",", ":"))
            found = self._lines[visible] = text.encode("ascii")
        return found


def _of_record(record: Record, visible: frozenset[EvidenceKind]) -> dict[str, Any]:
    found: dict[str, Any] = {name: value for name, value in record.fields.items() if RECORD_FIELDS[name] in visible}
    hidden = [name for name in record.fields if name not in found]
    count = found.get("count", "")
    if count.isascii() and count.isdecimal():
        found["count"] = int(count)
    if hidden:
        found["hidden"] = hidden
    if record.log:
        found["log"] = record.log
    if record.offset is not None:
        found["offset"] = record.offset
    return found


def _of_message(message: Message, visible: frozenset[EvidenceKind]) -> dict[str, Any]:
    alarm = message.change is not None
    found = {
        "name": message.name,
        "family": str(message.family) if message.number else "",
        "alarm_id": message.alarm_id,
        "event_id": message.event_id,
        "urgency": str(message.urgency) if alarm else "",
        "object": message.object,
        "value": message.value,
        "threshold": message.threshold,
        "text": message.text,
        **(plain_evidence(message.evidence, visible) if message.evidence else {}),
    }
    return {name: value for name, value in found.items() if value not in ("", 0)}


def _timestamp(at: float) -> str | None:
    """None for what is no time: a bug elsewhere must not stop all events."""
    try:
        return datetime.fromtimestamp(at, UTC).astimezone().isoformat(timespec="milliseconds")
    except (OverflowError, OSError, ValueError):
        return None
