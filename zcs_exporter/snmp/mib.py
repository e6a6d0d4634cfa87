"""Renders ZCS-EXPORTER-MIB from the tables of ``notification``."""

import textwrap
from dataclasses import dataclass

from zcs_exporter.snmp.notification import (
    DEFAULT_ROOT,
    ENTERPRISES,
    NOTIFICATION_TYPES,
    VARIABLES,
    NotificationType,
    Oid,
    Syntax,
    Variable,
)

MODULE = "ZCS-EXPORTER-MIB"
FILE_NAME = f"{MODULE}.txt"


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of the MIB: ``at`` in UTC as ``YYYYMMDDhhmmZ``."""

    at: str
    description: str


REVISIONS = (Revision("202611220000Z", "First version: notifications and their variables."),)
"""Newest first. Every change of the rendered text needs one."""

_HEAD = """\
{module} DEFINITIONS ::= BEGIN

IMPORTS
    MODULE-IDENTITY, OBJECT-TYPE, NOTIFICATION-TYPE, Unsigned32, enterprises
        FROM SNMPv2-SMI
    DisplayString, DateAndTime
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
zcsNotificationVariables OBJECT IDENTIFIER ::= {{ zcsObjects 11 }}
zcsCompliances OBJECT IDENTIFIER ::= {{ zcsConformance 1 }}
zcsGroups OBJECT IDENTIFIER ::= {{ zcsConformance 2 }}
"""

_REVISION = """\
    REVISION "{at}"
    DESCRIPTION
{description}"""

_VARIABLE = """\
{name} OBJECT-TYPE
    SYNTAX {syntax}
{units}    MAX-ACCESS accessible-for-notify
    STATUS current
    DESCRIPTION
{description}
    ::= {{ zcsNotificationVariables {number} }}
"""

_NOTIFICATION = """\
{name} NOTIFICATION-TYPE
    OBJECTS {{
{objects}
    }}
    STATUS current
    DESCRIPTION
{description}
    ::= {{ zcsNotifications {number} }}
"""

_CONFORMANCE = """\
zcsNotificationVariableGroup OBJECT-GROUP
    OBJECTS {{
{objects}
    }}
    STATUS current
    DESCRIPTION
        "The variables that every notification carries, in this order."
    ::= {{ zcsGroups 1 }}

zcsNotificationGroup NOTIFICATION-GROUP
    NOTIFICATIONS {{
{notifications}
    }}
    STATUS current
    DESCRIPTION
        "All notifications."
    ::= {{ zcsGroups 2 }}

zcsCompliance MODULE-COMPLIANCE
    STATUS current
    DESCRIPTION
        "What a daemon that sends notifications implements."
    MODULE
    MANDATORY-GROUPS {{
        zcsNotificationVariableGroup,
        zcsNotificationGroup
    }}
    ::= {{ zcsCompliances 1 }}

END
"""

_CONTACT = "The zcs-exporter project, at the place that you have this file from."
_DESCRIPTION = (
    "Notifications of zcs-exporter, the monitoring for Zimbra Collaboration Server. Alarms come in pairs of a raise "
    "and a clear, one pair for each class. All notifications carry the same twelve variables in the same order, so "
    "that one rule of a receiver handles all. Texts hold only letters, digits, space and -_.:/@%+,=()# and are safe "
    "to pass on; any other character became a question mark."
)


def _quoted(text: str) -> str:
    return textwrap.indent(textwrap.fill(f'"{text}"', 72, subsequent_indent=" "), " " * 8)


def _listed(names: list[str]) -> str:
    return ",\n".join(f"        {name}" for name in names)


def _arcs_above(root: Oid) -> tuple[str, list[str]]:
    """Return the name of the node above ``root``, and the definitions that lead there."""
    parent, lines = "enterprises", []
    for depth, arc in enumerate(root[len(ENTERPRISES) : -1], start=1):
        lines.append(f"zcsArc{depth} OBJECT IDENTIFIER ::= {{ {parent} {arc} }}")
        parent = f"zcsArc{depth}"
    return parent, lines


def _variable(variable: Variable) -> str:
    size = f" (SIZE (0..{variable.limit}))" if variable.syntax is Syntax.TEXT else ""
    return _VARIABLE.format(
        name=variable.name,
        syntax=variable.syntax.value + size,
        units=f'    UNITS "{variable.units}"\n' if variable.units else "",
        description=_quoted(variable.description),
        number=variable.number,
    )


def _notification(kind: NotificationType, objects: str) -> str:
    return _NOTIFICATION.format(
        name=kind.name, objects=objects, description=_quoted(kind.description), number=kind.number
    )


def render_mib(root: Oid = DEFAULT_ROOT) -> str:
    """Return the text of the MIB below ``root``, an object identifier below the enterprises."""
    variables = _listed([variable.name for variable in VARIABLES])
    parent, arcs = _arcs_above(root)
    head = _HEAD.format(
        module=MODULE,
        updated=REVISIONS[0].at,
        contact=_quoted(_CONTACT),
        description=_quoted(_DESCRIPTION),
        revisions="\n".join(
            _REVISION.format(at=revision.at, description=_quoted(revision.description)) for revision in REVISIONS
        ),
        parent=parent,
        arc=root[-1],
        arcs="".join(f"{line}\n" for line in arcs),
    )
    conformance = _CONFORMANCE.format(
        objects=variables, notifications=_listed([kind.name for kind in NOTIFICATION_TYPES])
    )
    return "\n".join(
        [
            head,
            *(_variable(variable) for variable in VARIABLES),
            *(_notification(kind, variables) for kind in NOTIFICATION_TYPES),
            conformance,
        ]
    )
