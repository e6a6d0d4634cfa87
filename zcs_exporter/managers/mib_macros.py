"""The macros of SMIv2, filled in: one function for each thing that a MIB defines."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from zcs_exporter.agent.objects.model import Column, Scalar, Table
from zcs_exporter.snmp.notification import NotificationType, Variable
from zcs_exporter.snmp.smi import Syntax

_OBJECT = """\
{name} OBJECT-TYPE
    SYNTAX {syntax}
{units}    MAX-ACCESS {access}
    STATUS current
    DESCRIPTION
{description}
{index}    ::= {{ {parent} {number} }}
"""

# Managers that give a notification one severity and one line read both from these comments.
_NOTIFICATION = """\
{name} NOTIFICATION-TYPE
    OBJECTS {{
{objects}
    }}
    STATUS current
    DESCRIPTION
{description}
    --#TYPE "{title}"
    --#SUMMARY "{summary}"
    --#ARGUMENTS {{{arguments}}}
    --#SEVERITY {grade}
    ::= {{ zcsNotifications {number} }}
"""

_GROUP = """\
{name} {macro}
    {clause} {{
{members}
    }}
    STATUS current
    DESCRIPTION
{description}
    ::= {{ zcsGroups {number} }}
"""

_COMPLIANCE = """\
{name} MODULE-COMPLIANCE
    STATUS current
    DESCRIPTION
{description}
    MODULE
    MANDATORY-GROUPS {{
{members}
    }}
    ::= {{ zcsCompliances {number} }}
"""


def quoted(text: str) -> str:
    """Return a text as a quoted string of several lines."""
    return textwrap.indent(textwrap.fill(f'"{text}"', 72, subsequent_indent=" "), " " * 8)


def listed(names: Iterable[str]) -> str:
    """Return names as the members of a list in braces."""
    return ",\n".join(f"        {name}" for name in names)


def variable(each: Variable) -> str:
    """Define a variable of notifications."""
    return _object(each, "zcsNotificationVariables", "accessible-for-notify")


def scalar(each: Scalar, parent: str) -> str:
    """Define an object with one instance."""
    return _object(each, parent, "read-only")


def table(each: Table[Any], parent: str) -> list[str]:
    """Define a table, its row and its columns."""
    row = f"Z{each.name[1:]}Entry"
    entry = f"{each.name}Entry"
    index = each.index
    members = [(index.name, index.syntax), *((column.name, column.syntax) for column in each.columns)]
    sequence = ",\n".join(f"    {name} {_base(syntax)}" for name, syntax in members)
    # An index needs a range; a text may be as long as the names of instances allow.
    limits = {Syntax.TEXT: f" (SIZE (0..{index.limit}))", Syntax.UNSIGNED: " (1..4294967295)"}
    return [
        _filled(f"{each.name}Table", f"SEQUENCE OF {row}", each.description, parent, 1, "not-accessible"),
        _filled(
            entry, row, each.row, f"{each.name}Table", 1, "not-accessible", index=f"    INDEX {{ {index.name} }}\n"
        ),
        f"{row} ::= SEQUENCE {{\n{sequence}\n}}\n",
        _filled(
            index.name,
            _wrapped(index.syntax) + limits.get(index.syntax, ""),
            index.description,
            entry,
            1,
            "not-accessible",
        ),
        *(_object(column, entry, "read-only") for column in each.columns),
    ]


def notification(kind: NotificationType, variables: Sequence[Variable], shown: Sequence[str]) -> str:
    """Define a notification that carries ``variables``, of which a manager that knows no better shows some."""
    names = [each.name for each in variables]
    return _NOTIFICATION.format(
        name=kind.name,
        objects=listed(names),
        description=quoted(kind.description),
        title=kind.title,
        summary=": ".join("%s" for _ in shown),
        arguments=",".join(str(names.index(name)) for name in shown),
        grade=kind.grade,
        number=kind.number,
    )


def object_group(name: str, number: int, members: Iterable[str], description: str) -> str:
    """Define a group of objects."""
    return _group(name, number, members, description, "OBJECT-GROUP", "OBJECTS")


def notification_group(name: str, number: int, members: Iterable[str], description: str) -> str:
    """Define a group of notifications."""
    return _group(name, number, members, description, "NOTIFICATION-GROUP", "NOTIFICATIONS")


def compliance(name: str, number: int, groups: Iterable[str], description: str) -> str:
    """Define what an implementation must have."""
    return _COMPLIANCE.format(name=name, number=number, members=listed(groups), description=quoted(description))


def _group(name: str, number: int, members: Iterable[str], description: str, macro: str, clause: str) -> str:
    return _GROUP.format(
        name=name,
        macro=macro,
        clause=clause,
        members=listed(members),
        description=quoted(description),
        number=number,
    )


def _object(each: Variable | Scalar | Column[Any], parent: str, access: str) -> str:
    size = f" (SIZE (0..{each.limit}))" if each.syntax is Syntax.TEXT else ""
    syntax = _wrapped(each.syntax) + size
    return _filled(each.name, syntax, each.description, parent, each.number, access, each.units)


def _filled(
    name: str, syntax: str, description: str, parent: str, number: int, access: str, units: str = "", index: str = ""
) -> str:
    return _OBJECT.format(
        name=name,
        syntax=syntax,
        units=f'    UNITS "{units}"\n' if units else "",
        access=access,
        description=quoted(description),
        index=index,
        parent=parent,
        number=number,
    )


def _wrapped(syntax: Syntax) -> str:
    """Return a type with a long enumeration broken into lines."""
    return textwrap.fill(syntax.value, 68, subsequent_indent=" " * 8)


def _base(syntax: Syntax) -> str:
    """Return a type as a SEQUENCE has it, without its enumeration."""
    return syntax.value.partition(" ")[0]
