"""Renders ZCS-EXPORTER-MIB from the descriptions of our notifications and of the agent's objects."""

from collections.abc import Iterator
from dataclasses import dataclass

from zcs_exporter.agent.objects.groups import GROUPS
from zcs_exporter.agent.objects.model import Group
from zcs_exporter.managers import mib_macros as macros
from zcs_exporter.managers.mib_macros import quoted
from zcs_exporter.snmp.notification import NOTIFICATION_TYPES, VARIABLES
from zcs_exporter.snmp.smi import DEFAULT_ROOT, ENTERPRISES, Oid

MODULE = "ZCS-EXPORTER-MIB"
FILE_NAME = f"{MODULE}.txt"


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of the MIB: ``at`` in UTC as ``YYYYMMDDhhmmZ``."""

    at: str
    description: str


REVISIONS = (
    Revision("202611220900Z", "A heartbeat names the alarms that stand, and says how many they are."),
    Revision(
        "202611220600Z",
        "Objects of an agent: the daemon, services, file systems, queues, databases, Java virtual machines, logins, "
        "certificates, alarms, receivers and probes. Notifications say how managers may show them.",
    ),
    Revision("202611220000Z", "First version: notifications and their variables."),
)
"""Newest first. Every change of the rendered text needs one."""

_HEAD = """\
{module} DEFINITIONS ::= BEGIN

IMPORTS
    MODULE-IDENTITY, OBJECT-IDENTITY, OBJECT-TYPE, NOTIFICATION-TYPE,
    Unsigned32, Gauge32, Counter64, Integer32, enterprises
        FROM SNMPv2-SMI
    DisplayString, DateAndTime, TruthValue
        FROM SNMPv2-TC
    MODULE-COMPLIANCE, OBJECT-GROUP, NOTIFICATION-GROUP
        FROM SNMPv2-CONF;

zcsExporterMIB MODULE-IDENTITY
    LAST-UPDATED "{updated}"
    ORGANIZATION "The zcs-exporter project"
    CONTACT-INFO
{contact}
    DESCRIPTION
{description}
{revisions}
    ::= {{ {parent} {arc} }}

{arcs}zcsNotifications OBJECT IDENTIFIER ::= {{ zcsExporterMIB 0 }}
zcsObjects OBJECT IDENTIFIER ::= {{ zcsExporterMIB 1 }}
zcsConformance OBJECT IDENTIFIER ::= {{ zcsExporterMIB 2 }}
{groups}zcsNotificationVariables OBJECT IDENTIFIER ::= {{ zcsObjects 11 }}
zcsCompliances OBJECT IDENTIFIER ::= {{ zcsConformance 1 }}
zcsGroups OBJECT IDENTIFIER ::= {{ zcsConformance 2 }}

zcsAgentIdentity OBJECT-IDENTITY
    STATUS current
    DESCRIPTION
        "The value of sysObjectID where zcs-exporter itself answers."
    ::= {{ zcsExporterMIB 3 }}
"""

_REVISION = """\
    REVISION "{at}"
    DESCRIPTION
{description}"""

_CONTACT = "The zcs-exporter project, at the place that you have this file from."
_DESCRIPTION = (
    "Notifications and objects of zcs-exporter, the monitoring for Zimbra Collaboration Server. Alarms come in pairs "
    "of a raise and a clear, one pair for each class. All notifications carry the same twelve variables in the same "
    "order, so that one rule of a receiver handles all. Objects are read-only, and what is not known has no instance. "
    "Severities are the exit codes of a Nagios plugin. Texts hold only letters, digits, space and -_.:/@%+,=()# and "
    "are safe to pass on; any other character became a question mark."
)
_SHOWN = ("zcsNotifyHost", "zcsNotifyText")


def render_mib(root: Oid = DEFAULT_ROOT) -> str:
    """Return the text of the MIB below ``root``, an object identifier below the enterprises."""
    return "\n".join(
        [
            _head(root),
            *_objects(),
            *(macros.variable(each) for each in VARIABLES),
            *(macros.notification(kind, VARIABLES, _SHOWN) for kind in NOTIFICATION_TYPES),
            *_conformance(),
            "END\n",
        ]
    )


def _head(root: Oid) -> str:
    parent, arcs = _arcs_above(root)
    return _HEAD.format(
        module=MODULE,
        updated=REVISIONS[0].at,
        contact=quoted(_CONTACT),
        description=quoted(_DESCRIPTION),
        revisions="\n".join(
            _REVISION.format(at=revision.at, description=quoted(revision.description)) for revision in REVISIONS
        ),
        parent=parent,
        arc=root[-1],
        arcs="".join(f"{line}\n" for line in arcs),
        groups="".join(f"{group.name} OBJECT IDENTIFIER ::= {{ zcsObjects {group.number} }}\n" for group in GROUPS),
    )


def _arcs_above(root: Oid) -> tuple[str, list[str]]:
    """Return the name of the node above ``root``, and the definitions that lead there."""
    parent, lines = "enterprises", []
    for depth, arc in enumerate(root[len(ENTERPRISES) : -1], start=1):
        lines.append(f"zcsArc{depth} OBJECT IDENTIFIER ::= {{ {parent} {arc} }}")
        parent = f"zcsArc{depth}"
    return parent, lines


def _objects() -> Iterator[str]:
    for group in GROUPS:
        yield from (macros.scalar(scalar, group.name) for scalar in group.scalars)
        if group.table is not None:
            yield from macros.table(group.table, group.name)


def _readable(group: Group) -> Iterator[str]:
    yield from (scalar.name for scalar in group.scalars)
    if group.table is not None:
        yield from (column.name for column in group.table.columns)


def _conformance() -> Iterator[str]:
    sending = ("zcsNotificationVariableGroup", "zcsNotificationGroup")
    yield macros.object_group(
        sending[0],
        1,
        (each.name for each in VARIABLES),
        "The variables that every notification carries, in this order.",
    )
    yield macros.notification_group(sending[1], 2, (each.name for each in NOTIFICATION_TYPES), "All notifications.")
    yield macros.object_group(
        "zcsObjectGroup",
        3,
        (name for group in GROUPS for name in _readable(group)),
        "Everything that can be read. What is not known, or not on this host, has no instance.",
    )
    yield macros.compliance("zcsCompliance", 1, sending, "What a daemon that sends notifications implements.")
    yield macros.compliance(
        "zcsAgentCompliance",
        2,
        (*sending, "zcsObjectGroup"),
        "What a daemon implements that sends notifications and can be asked.",
    )
