"""What scalars and tables are described by: the MIB is rendered from it, and the agent reads by it.

Numbers are permanent: added, never moved or reused. What is not known has no instance.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from zcs_exporter.agent.facts import Facts
from zcs_exporter.snmp.smi import Syntax

K = TypeVar("K")

Read = float | str | None
"""What a value is before it is put on the wire: a number, truth, moment or text; None, or an empty text, where it is
not known."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """An object with one instance.

    Attributes:
        number: Sub-identifier below its group.
        read: Returns its value.
        limit: Longest text in octets.
    """

    name: str
    number: int
    syntax: Syntax
    description: str
    read: Callable[[Facts], Read]
    units: str = ""
    limit: int = 255


@dataclass(frozen=True, slots=True)
class Column(Generic[K]):
    """One column of a table.

    Attributes:
        number: Sub-identifier below the entry.
        read: Returns its value in the row of a key.
        limit: Longest text in octets.
    """

    name: str
    number: int
    syntax: Syntax
    description: str
    read: Callable[[Facts, K], Read]
    units: str = ""
    limit: int = 255


@dataclass(frozen=True, slots=True)
class Index(Generic[K]):
    """The first column of a table, which tells its rows apart and is not served itself.

    Attributes:
        syntax: ``TEXT`` for short fixed names, an enumeration, or ``UNSIGNED``.
        place: Returns what stands for a key: a text, a number, or, where ``numbered``, the text by which the key
            is known; such texts get numbers that they keep for ever.
    """

    name: str
    syntax: Syntax
    description: str
    place: Callable[[K], str | int]
    numbered: bool = False
    limit: int = 32


@dataclass(frozen=True, slots=True)
class Table(Generic[K]):
    """Rows that are told apart by an index.

    Attributes:
        name: Without ``Table`` at its end.
        rows: Returns the keys of its rows.
        columns: From 2 on; the index is column 1.
    """

    name: str
    description: str
    row: str
    rows: Callable[[Facts], Iterable[K]]
    index: Index[K]
    columns: tuple[Column[K], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """What stands together below ``root.1``; a table is number 1 of its group.

    Attributes:
        number: Sub-identifier below ``root.1``.
    """

    name: str
    number: int
    scalars: tuple[Scalar, ...] = ()
    table: Table[Any] | None = None
