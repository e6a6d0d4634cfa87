"""Our notifications, and their twelve variables on the wire.

The tables here are the one description of what may be sent: the MIB is rendered from them, and
sender and listener encode and decode by them. Numbers are permanent: added, never moved or reused.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from zcs_exporter.contract import Evidence
from zcs_exporter.snmp.smi import (
    DEFAULT_ROOT,
    UINT32,
    Oid,
    Syntax,
    Value,
    VarBind,
    date_and_time,
    parse_date_and_time,
    wire_text,
)

MAX_MESSAGE = 1400
"""Longest message in octets, so that no path has to fragment it. The limits below keep to it."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One of the variables that every notification carries.

    Attributes:
        number: Sub-identifier below ``root.1.11``, and its place in the notification.
        limit: Longest text in octets.
    """

    name: str
    number: int
    syntax: Syntax
    description: str
    limit: int = 0
    units: str = ""


VARIABLES = (
    Variable(
        "zcsNotifySequence",
        1,
        Syntax.UNSIGNED,
        "Numbers the notifications sent to one destination by one host, without a gap: a missing number is a "
        "notification that got lost. A notification that is sent again because it was not acknowledged keeps its "
        "number. After 4294967295 comes 0.",
        units="notifications",
    ),
    Variable(
        "zcsNotifyEventId",
        2,
        Syntax.TEXT,
        "Identifies what is told. It is the same in every retransmission and at every destination, so a receiver that "
        "sees it twice has seen one event.",
        limit=40,
    ),
    Variable("zcsNotifyHost", 3, Syntax.TEXT, "The ZCS server that this is about, by its name in ZCS.", limit=128),
    Variable(
        "zcsNotifyRule",
        4,
        Syntax.TEXT,
        "Permanent number of the alert or event, a space, and its name, such as '201 ZcsFilesystemFull'. The number is "
        "never reused and outlives a change of name. It is 0 where no rule is behind the notification.",
        limit=64,
    ),
    Variable(
        "zcsNotifyObject",
        5,
        Syntax.TEXT,
        "What the rule looked at, such as a mount point, a queue or a service. Rule and object together are what is "
        "raised once and cleared once. In a heartbeat, alarms that stand, by the numbers of zcsNotifyAlarmIndex: "
        "between the first and the last number no other alarm stands. The ends 0 and 4294967295 are no alarms. A plus "
        "is before each whose raise was told, so who knows nothing of it has missed that. Where not all fit, each "
        "heartbeat has another part; it is empty while nobody knows what stands.",
        limit=128,
    ),
    Variable(
        "zcsNotifySeverity",
        6,
        Syntax.SEVERITY,
        "How bad it is now. The numbers are the exit codes of a Nagios plugin. A cleared alarm has 0.",
    ),
    Variable("zcsNotifyText", 7, Syntax.TEXT, "One line for a person.", limit=255),
    Variable("zcsNotifyValue", 8, Syntax.TEXT, "The measured value with its unit, or empty.", limit=32),
    Variable("zcsNotifyThreshold", 9, Syntax.TEXT, "The threshold that the value was compared with.", limit=32),
    Variable("zcsNotifyTime", 10, Syntax.TIME, "When it happened, by the clock of the host, with its offset from UTC."),
    Variable(
        "zcsNotifyAlarmIndex",
        11,
        Syntax.UNSIGNED,
        "Ties the notifications of one alarm together, from its raise to its clear. It is 0 where there is no alarm.",
    ),
    Variable(
        "zcsNotifyCount",
        12,
        Syntax.UNSIGNED,
        "How many raises this alarm has had so far, changes of severity included, and how many notifications are "
        "folded into this one. In a heartbeat, how many alarms stand or may, since their cause was there before the "
        "first start, come to stand without a raise.",
    ),
)

_LIMIT_OF = {variable.name: variable.limit for variable in VARIABLES}


@dataclass(frozen=True, slots=True)
class NotificationType:
    """One kind of notification.

    Attributes:
        number: Sub-identifier below ``root.0``.
        title: What it is, in a few words.
        grade: How bad it is for managers that know a severity by kind only, in the words of OpenView: ``NORMAL``,
            ``WARNING``, ``MINOR``, ``MAJOR`` or ``CRITICAL``. What it really is, ``zcsNotifySeverity`` says.
    """

    name: str
    number: int
    description: str
    title: str
    grade: str


_FAMILIES = (
    ("general", "Alarm", 1, "Alarm", "An alarm that has no class of its own, rules of the site among them,"),
    ("service", "Service", 11, "Service alarm", "An alarm about a ZCS service"),
    (
        "filesystem",
        "Filesystem",
        21,
        "File system alarm",
        "An alarm about the space, the inodes or the state of a file system",
    ),
    ("queue", "Queue", 31, "Queue alarm", "An alarm about a mail queue"),
    ("database", "Database", 41, "Database alarm", "An alarm about a database server"),
    ("jvm", "Jvm", 51, "JVM alarm", "An alarm about a Java virtual machine"),
    ("auth", "Auth", 61, "Login alarm", "An alarm about logins"),
    ("certificate", "Certificate", 71, "Certificate alarm", "An alarm about a certificate"),
    ("collector", "Collector", 81, "Monitoring alarm", "An alarm about the monitoring itself"),
)

RAISED: Mapping[str, str] = {family: f"zcs{word}Raised" for family, word, *_ in _FAMILIES}
"""From the family of an alert to the type that raises it; also sent when its severity changes."""

CLEARED: Mapping[str, str] = {family: f"zcs{word}Cleared" for family, word, *_ in _FAMILIES}
"""From the family of an alert to the type that clears it."""

HEARTBEAT = "zcsHeartbeat"
STARTED = "zcsStarted"
STOPPING = "zcsStopping"
SUPPRESSED = "zcsSuppressed"
TEST = "zcsTest"
EVENT = "zcsEvent"

NOTIFICATION_TYPES = (
    *(
        kind
        for family, _, number, title, text in _FAMILIES
        for kind in (
            NotificationType(
                RAISED[family],
                number,
                f"{text} was raised, or is still active and has changed.",
                f"{title} raised",
                "MAJOR",
            ),
            NotificationType(
                CLEARED[family],
                number + 1,
                f"{text} is over.",
                f"{title} cleared",
                "NORMAL",
            ),
        )
    ),
    NotificationType(
        HEARTBEAT, 91, "Sent at a steady pace while nothing else waits: silence means trouble.", "Heartbeat", "NORMAL"
    ),
    NotificationType(STARTED, 92, "The monitoring has started.", "Monitoring started", "NORMAL"),
    NotificationType(
        STOPPING,
        93,
        "The monitoring is being stopped; alarms stay as they are until it starts again.",
        "Monitoring is being stopped",
        "WARNING",
    ),
    NotificationType(
        SUPPRESSED,
        94,
        "More was to be told than may be sent here; zcsNotifyCount says how much.",
        "Notifications suppressed",
        "WARNING",
    ),
    NotificationType(TEST, 95, "Sent by hand, to see that it arrives.", "Test", "NORMAL"),
    NotificationType(
        EVENT, 96, "Something happened once and has no state, such as a service that was started.", "Event", "NORMAL"
    ),
)

_NUMBER_OF = {kind.name: kind.number for kind in NOTIFICATION_TYPES}
_NAME_OF = {kind.number: kind.name for kind in NOTIFICATION_TYPES}


@dataclass(frozen=True, slots=True)
class Notification:
    """Something to tell, whoever it is told to.

    Attributes:
        type_name: One of ``NOTIFICATION_TYPES``.
        event_id: The same in every retransmission and at every destination.
        host: Name of the ZCS server.
        rule: Name of the alert or event, empty where there is none.
        rule_id: Its permanent number, 0 where there is none.
        object: What the rule looked at.
        severity: 0 ok, 1 warning, 2 critical, 3 unknown.
        text: One line for a person.
        value: Measured value with its unit.
        threshold: What it was compared with.
        time: Seconds since the epoch.
        alarm_id: 0 where there is no alarm.
        count: Raises of this alarm so far, or notifications folded into this one.
    """

    type_name: str
    event_id: str
    host: str
    rule: str
    rule_id: int
    object: str
    severity: int
    text: str
    value: str
    threshold: str
    time: float
    alarm_id: int
    count: int


def text_with_evidence(summary: str, evidence: Evidence) -> str:
    """Return the text of a notification: the summary, then as many whole evidence entries as fit.

    The caller has already left out what this destination may not see.
    """
    limit = _LIMIT_OF["zcsNotifyText"]
    text = wire_text(summary, limit)
    opening = ": "
    for item in evidence:
        entry = wire_text(item.value, limit)
        if item.count is not None:
            entry += f" ({item.count:g})"
        if len(text) + len(opening) + len(entry) > limit:
            break
        text += opening + entry
        opening = ", "
    return text


def notification_oid(type_name: str, root: Oid = DEFAULT_ROOT) -> Oid:
    """Return the object identifier of a notification type.

    Raises:
        ValueError: There is no such type.
    """
    try:
        return (*root, 0, _NUMBER_OF[type_name])
    except KeyError:
        raise ValueError(f"no notification is called {type_name!r}") from None


def encode(notification: Notification, sequence: int, root: Oid = DEFAULT_ROOT) -> tuple[VarBind, ...]:
    """Return the twelve variables of ``notification`` in their fixed order.

    ``sequence`` is the number of this notification at the destination.

    Raises:
        ValueError: A field cannot be told over SNMP, such as an unknown severity.
    """
    if notification.severity not in range(4):
        raise ValueError(f"severity {notification.severity} is not 0 to 3")
    try:
        moment = date_and_time(notification.time)
    except (ValueError, OverflowError, OSError) as exc:
        raise ValueError(f"time {notification.time} is not a date: {exc}") from exc
    values: tuple[int | str | bytes, ...] = (
        sequence & UINT32,
        notification.event_id,
        notification.host,
        f"{notification.rule_id} {notification.rule}".rstrip(),
        notification.object,
        notification.severity,
        notification.text,
        notification.value,
        notification.threshold,
        moment,
        notification.alarm_id & UINT32,
        notification.count & UINT32,
    )
    return tuple(
        VarBind(
            (*root, 1, 11, variable.number, 0),
            variable.syntax,
            wire_text(value, variable.limit).encode("ascii") if isinstance(value, str) else value,
        )
        for variable, value in zip(VARIABLES, values, strict=True)
    )


def decode(trap: Oid, variables: Mapping[Oid, Value], root: Oid = DEFAULT_ROOT) -> tuple[int, Notification] | None:
    """Return the sequence number and the notification in a received message, None when it is not one of ours.

    ``trap`` is the value of ``snmpTrapOID.0``; the variables are given by their object identifiers.
    """
    name = _NAME_OF.get(trap[-1]) if trap[:-1] == (*root, 0) else None
    if name is None:
        return None
    numbers: list[int] = []
    octets: list[bytes] = []
    for variable in VARIABLES:
        value = variables.get((*root, 1, 11, variable.number, 0))
        if variable.syntax in (Syntax.TEXT, Syntax.TIME) and isinstance(value, bytes):
            octets.append(value)
        elif variable.syntax in (Syntax.UNSIGNED, Syntax.SEVERITY) and isinstance(value, int):
            numbers.append(value)
        else:
            return None
    *texts, moment = octets
    event_id, host, rule, thing, text, value_text, threshold = (
        wire_text(entry.decode("ascii", "replace"), 255) for entry in texts
    )
    sequence, severity, alarm_id, count = numbers
    number, _, rule_name = rule.partition(" ")
    try:
        return sequence, Notification(
            type_name=name,
            event_id=event_id,
            host=host,
            rule=rule_name,
            rule_id=int(number),
            object=thing,
            severity=severity,
            text=text,
            value=value_text,
            threshold=threshold,
            time=parse_date_and_time(moment),
            alarm_id=alarm_id,
            count=count,
        )
    except (ValueError, OverflowError):
        return None
