"""The page's list of the latest events that logs told: what happened, how often, and who it was.

Events of one kind are one row, so that an attack of hundreds of failed logins does not push out all else. What the
daemon itself said stands in the page's list of notices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from zcs_exporter.alerting.model import Severity
from zcs_exporter.contract import RECORD_FIELDS, EvidenceKind
from zcs_exporter.events.entry import Entry
from zcs_exporter.expose.facts import NOTHING, TIMES, Visible, badge, moment, table
from zcs_exporter.expose.markup import Markup, element, join

LOOKED_AT = 300
"""Events that are looked at, those of the daemon itself included."""

_MOST_ROWS = 10
_MOST_NAMES = 3
_AMOUNTS = frozenset({"attack", "outbound_flood"})
"""Kinds whose ``count`` says how much it was, not how often."""

_WORDS = {
    "login_failed": "failed login",
    "out_of_memory": "out of memory",
    "gc_full_collection": "full garbage collection",
    "dos_filter": "client slowed down by the DoS filter",
}
_SEVERITIES = {"warning": Severity.WARNING, "critical": Severity.CRITICAL, "ok": Severity.OK}
_RANKS = {"info": 0, "warning": 1, "critical": 2}


@dataclass(slots=True)
class _Row:
    """Events of one kind.

    Attributes:
        data: The newest of them.
        severity: Of the worst.
        times: How many there were.
        names: Who they were, newest first.
        hidden: Whether something about them may not be seen.
    """

    data: Mapping[str, Any]
    severity: str
    times: int = 0
    names: dict[str, None] = field(default_factory=dict)
    hidden: bool = False


def latest_events(entries: Sequence[Entry], visible: Visible, now: float) -> Markup:
    """Return the list; ``entries`` come oldest first."""
    rows = _fold([entry.data(frozenset(visible)) for entry in reversed(entries) if entry.from_log])
    if not rows:
        return element("p", "None since the daemon started.")
    told: list[list[str]] = [[_when(row, now), _what(row), _who(row), _where(row)] for row in rows[:_MOST_ROWS]]
    return table("Latest events, one row for each kind", ("Last", "What", "Who", "Where"), told, stacks=True)


def _fold(events: Sequence[Mapping[str, Any]]) -> list[_Row]:
    """Put events of one kind together; newest first."""
    rows: dict[str, _Row] = {}
    for data in events:
        row = rows.setdefault(data["kind"], _Row(data, data["severity"]))
        row.severity = max(row.severity, data["severity"], key=lambda severity: _RANKS.get(severity, 0))
        count = data.get("count")
        row.times += count if isinstance(count, int) and row.data["kind"] not in _AMOUNTS else 1
        row.hidden |= "hidden" in data
        for name, kind in RECORD_FIELDS.items():
            if kind is not EvidenceKind.TEXT and name in data:
                row.names.setdefault(str(data[name]))
    return sorted(rows.values(), key=lambda row: row.data["time"] or "", reverse=True)


def _when(row: _Row, now: float) -> Markup:
    at = row.data["time"]
    return join(NOTHING) if at is None else moment(datetime.fromisoformat(at).timestamp(), now)


def _what(row: _Row) -> Markup:
    kind = row.data["kind"]
    severity = _SEVERITIES.get(row.severity)
    details = ", ".join(
        f"{name} {row.data[name]}"
        for name, what in RECORD_FIELDS.items()
        if what is EvidenceKind.TEXT and name in row.data and (name != "count" or kind in _AMOUNTS)
    )
    return join(
        badge(severity) if severity is not None else "",
        " ",
        _WORDS.get(kind, kind.replace("_", " ")),
        element("b", f" {TIMES} {row.times}") if row.times > 1 else "",
        element("small", "the last: " if row.times > 1 else "", details) if details else "",
    )


def _who(row: _Row) -> Markup:
    names = list(row.names)
    said = ", ".join(names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        said += f" and {len(names) - _MOST_NAMES} more"
    if row.hidden:
        said += f"{', ' if said else ''}more is hidden by the privacy settings"
    return element("span", said, class_="evidence") if said else join(NOTHING)


def _where(row: _Row) -> Markup:
    log = row.data.get("log")
    if log is None:
        return join(NOTHING)
    offset = row.data.get("offset")
    return join(log.rpartition("/")[2], "" if offset is None else element("small", f"at byte {offset}"))
