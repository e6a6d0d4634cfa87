"""All instances of our objects at one moment, in the order of their identifiers."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.numbers import Numbers
from zcs_exporter.agent.objects.groups import GROUPS
from zcs_exporter.agent.objects.model import Table
from zcs_exporter.snmp.smi import Oid, VarBind, plain_value, wire_text


class MibView:
    """What GET and GETNEXT are answered from; it never changes, so that a walk may keep it."""

    def __init__(self, root: Oid, facts: Facts, numbers: Numbers) -> None:
        """Read all objects below ``root`` once."""
        self._objects = frozenset(_objects(root))
        self._instances = sorted(_instances(root, facts, numbers), key=lambda each: each.oid)
        self._oids = [each.oid for each in self._instances]

    def __iter__(self) -> Iterator[VarBind]:
        """Iterate over all instances in order."""
        return iter(self._instances)

    def __len__(self) -> int:
        """Return the number of instances."""
        return len(self._instances)

    def get(self, oid: Oid) -> VarBind | None:
        """Return one instance; None where there is none."""
        place = bisect_left(self._oids, oid)
        return self._instances[place] if self._oids[place : place + 1] == [oid] else None

    def after(self, oid: Oid) -> VarBind | None:
        """Return the first instance after an identifier; None behind the last."""
        place = bisect_right(self._oids, oid)
        return self._instances[place] if place < len(self._instances) else None

    def has_object(self, oid: Oid) -> bool:
        """Whether an identifier is that of an object of ours or below it, so that only the instance is missing."""
        return any(oid[:length] in self._objects for length in range(len(oid) + 1))


def number_rows(facts: Facts, numbers: Numbers) -> None:
    """Have all rows that need it numbered, to be saved with the snapshot of ``facts``."""
    for table in (group.table for group in GROUPS):
        if table is not None and table.index.numbered:
            for key in table.rows(facts):
                numbers.give(table.name, str(table.index.place(key)), facts.snapshot.generation)


def _objects(root: Oid) -> Iterator[Oid]:
    for group in GROUPS:
        base = (*root, 1, group.number)
        yield from ((*base, scalar.number) for scalar in group.scalars)
        if group.table is not None:
            yield from ((*base, 1, 1, column.number) for column in group.table.columns)


def _instances(root: Oid, facts: Facts, numbers: Numbers) -> Iterator[VarBind]:
    for group in GROUPS:
        base = (*root, 1, group.number)
        for scalar in group.scalars:
            value = plain_value(scalar.syntax, scalar.read(facts), scalar.limit)
            if value is not None:
                yield VarBind((*base, scalar.number, 0), scalar.syntax, value)
        if group.table is not None:
            yield from _rows((*base, 1, 1), group.table, facts, numbers)


def _rows(entry: Oid, table: Table[Any], facts: Facts, numbers: Numbers) -> Iterator[VarBind]:
    taken = set()
    for key in table.rows(facts):
        index = _index(table, key, facts, numbers)
        if index is None or index in taken:
            continue  # without a number yet, or two texts that look the same on the wire
        taken.add(index)
        for column in table.columns:
            value = plain_value(column.syntax, column.read(facts, key), column.limit)
            if value is not None:
                yield VarBind((*entry, column.number, *index), column.syntax, value)


def _index(table: Table[Any], key: Any, facts: Facts, numbers: Numbers) -> Oid | None:
    place = table.index.place(key)
    if isinstance(place, int):
        return (place,)
    if table.index.numbered:
        number = numbers.find(table.name, place, facts.snapshot.generation)
        return None if number is None else (number,)
    octets = wire_text(place, table.index.limit).encode("ascii")
    return (len(octets), *octets)
