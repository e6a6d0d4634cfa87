"""What a target has missed while the configuration did not name it."""

import json
import sqlite3

from zcs_exporter.alerting.alarm import Change
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.state import Saved

TARGETS = "targets"
"""Under which the names of the targets are saved that know what stands."""


def introduced(saved: Saved) -> frozenset[str]:
    """Return the targets that an earlier process had told what stands."""
    names = saved.meta.get(TARGETS)
    # What was saved before these were kept has no other sign of them.
    return frozenset(saved.sequences if names is None else json.loads(names))


def missed_clears(database: sqlite3.Connection, target: str) -> list[Message]:
    """Return the clears, oldest first, of alarms that a target was told of, but not of their end.

    For ``StateStore.run``. What is known is what is kept for a replay; what cannot be read of it is passed over.
    """
    told = {
        int(row[0])
        for row in database.execute(
            "SELECT number FROM sent WHERE target = ? UNION SELECT number FROM delivery WHERE target = ?",
            (target, target),
        )
    }
    if not told:
        return []
    stands: set[int] = set()
    missed: dict[int, Message] = {}
    for number, text in database.execute("SELECT number, message FROM message ORDER BY number"):
        try:
            message = Message.from_json(json.loads(text))
        except (AttributeError, LookupError, TypeError, ValueError):
            continue
        if message.kind is not MessageKind.ALARM:
            continue
        alarm = message.alarm_id
        if message.change is not Change.CLEARED:
            if number in told:
                stands.add(alarm)
        elif number in told:
            stands.discard(alarm)
            missed.pop(alarm, None)
        elif alarm in stands:
            stands.discard(alarm)
            missed[alarm] = message
    return list(missed.values())
