"""What the files of all managers have in common: which notifications belong together, and what people call them."""

import re
from dataclasses import dataclass

from zcs_exporter.agent.objects.groups import GROUPS
from zcs_exporter.snmp.notification import (
    CLEARED,
    EVENT,
    HEARTBEAT,
    NOTIFICATION_TYPES,
    RAISED,
    STARTED,
    STOPPING,
    SUPPRESSED,
    TEST,
    VARIABLES,
    NotificationType,
    notification_oid,
)
from zcs_exporter.snmp.smi import Oid, Syntax, format_oid

KIND = {kind.name: kind for kind in NOTIFICATION_TYPES}
"""Every notification by its name."""

PLACE = {variable.name: variable.number for variable in VARIABLES}
"""The place of each variable in a notification, from 1 on; the same in all."""

_LABELS = {
    "general": "ZCS alarms",
    "service": "ZCS services",
    "filesystem": "ZCS file systems",
    "queue": "ZCS queues",
    "database": "ZCS databases",
    "jvm": "ZCS JVMs",
    "auth": "ZCS logins",
    "certificate": "ZCS certificates",
    "collector": "ZCS monitoring",
}


@dataclass(frozen=True, slots=True)
class AlarmClass:
    """A pair of notifications that raise and clear alarms of one kind.

    Attributes:
        label: What such alarms are about, and the name of the service that shows them where a manager has services.
    """

    family: str
    label: str
    raised: NotificationType
    cleared: NotificationType


CLASSES = tuple(AlarmClass(family, _LABELS[family], KIND[RAISED[family]], KIND[CLEARED[family]]) for family in RAISED)

LIFE_LABEL = "ZCS heartbeat"
"""The service that shows whether the daemon is heard."""

EVENT_LABEL = "ZCS events"
"""The service that shows what happened once; the next heartbeat sets it back."""

LIFE_SIGNS = tuple(KIND[name] for name in (HEARTBEAT, STARTED, STOPPING))
SINGLES = tuple(KIND[name] for name in (EVENT, SUPPRESSED, TEST))

SEVERITIES = ("ok", "warning", "critical", "unknown")
"""By their numbers, which are the exit codes of a Nagios plugin."""

_NUMBERS = {
    **{scalar.name: (group.number, scalar.number) for group in GROUPS for scalar in group.scalars},
    **{
        column.name: (group.number, 1, 1, column.number)
        for group in GROUPS
        if group.table is not None
        for column in group.table.columns
    },
}
"""Where each object is below ``root.1``."""


def trap_oid(kind: NotificationType, root: Oid) -> str:
    """Return the identifier of a notification with a leading dot, as Net-SNMP writes it."""
    return f".{format_oid(notification_oid(kind.name, root))}"


def variable_oid(name: str, root: Oid) -> str:
    """Return the identifier of the one instance of a variable with a leading dot."""
    return f".{format_oid((*root, 1, 11, PLACE[name], 0))}"


def object_oid(name: str, root: Oid, *instance: int) -> str:
    """Return the identifier of a scalar or a column, or of one instance of it, with a leading dot."""
    return f".{format_oid((*root, 1, *_NUMBERS[name], *instance))}"


def named(text: str) -> tuple[int, ...]:
    """Return the row of a table whose index is a text."""
    return (len(text), *text.encode("ascii"))


def choices(syntax: Syntax) -> list[tuple[int, str]]:
    """Return the numbers and words of an enumeration; none where it is none."""
    if syntax is Syntax.TRUTH:
        return [(1, "true"), (2, "false")]
    return [(int(number), word) for word, number in re.findall(r"(\w+)\((\d+)\)", syntax.value)]
