"""The senders, recipients, hosts and reasons that matter on a day, each with what it came to, in bounded memory.

Source: Misra, Gries, "Finding repeated elements" (1982), as sketches of today do it: names come in freely, and
when there are too many, all but the heaviest go at once. That is cheaper than a heap, and no order of
names has to be remembered.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NOMINAL_SIZE = 32 << 10
"""What a message weighs beside its bytes: who sends many and who sends much must both be kept."""

COUNT, SIZE, MISSED, DEFERS, DELAY, LONGEST = range(6)
"""Places in a tally: messages, deliveries or lines; their bytes; the weight that the name may have had before it
was among those that are kept, 0 where it was from the start; and for domains of recipients deferrals, the sum
of the delays of deliveries, and the longest, in seconds."""

Tally = list[float]
"""Three numbers, or all six."""


class TopTable:
    """What names came to.

    Whoever adds names calls ``cut`` now and then. Up to its capacity it is exact. Beyond that, a name whose
    weight is more than that of all divided by half the capacity is always there, and no more than that can be
    missing from what it came to.

    Attributes:
        tallies: By name.
        floor: The weight that a name not kept may have.
        names: How many names there were at once before any was dropped; 0 if none was.
    """

    def __init__(self, capacity: int, places: int = 3) -> None:
        """Keep at most ``capacity`` names, with tallies of so many places."""
        self.tallies: dict[bytes, Tally] = {}
        self.floor = 0
        self.names = 0
        self._capacity = capacity
        self._rest = [0.0] * (places - 3)
        # Names that were added to or dropped since somebody last asked, and which of them nobody was told of before.
        self._changed: set[bytes] = set()
        self._fresh: set[bytes] = set()

    @property
    def distinct(self) -> int:
        """How many names there were; where ``names`` is not 0, at least."""
        return max(len(self.tallies), self.names)

    def add(self, name: bytes, count: float, size: float = 0) -> Tally:
        """Count ``name`` up, and return its tally for what else is to be added."""
        tally = self.tallies.get(name)
        if tally is None:
            if name not in self._changed:
                self._fresh.add(name)
            tally = self.tallies[name] = [count, size, self.floor, *self._rest]
        else:
            tally[COUNT] += count
            tally[SIZE] += size
        self._changed.add(name)
        return tally

    def add_all(self, names: Sequence[bytes], counts: Iterable[Sequence[float]]) -> None:
        """Count many names up, each by a count and a size; a name may come twice."""
        tallies, floor, rest = self.tallies, self.floor, self._rest
        changed, fresh = self._changed, self._fresh
        for name, entry in zip(names, counts, strict=True):
            tally = tallies.get(name)
            if tally is None:
                if name not in changed:
                    fresh.add(name)
                tallies[name] = [entry[COUNT], entry[SIZE], floor, *rest]
            else:
                tally[COUNT] += entry[COUNT]
                tally[SIZE] += entry[SIZE]
        changed.update(names)

    def take_changes(self) -> dict[bytes, Tally | None]:
        """Return the names that changed since the last call with their tallies, None for one that was dropped."""
        changes = {name: self.tallies.get(name) for name in self._changed}
        self._changed.clear()
        self._fresh.clear()
        return changes

    def cut(self) -> None:
        """If there are more names than the capacity, drop all but the heaviest half as many."""
        names = self.tallies
        if len(names) <= self._capacity:
            return
        surplus = len(names) - self._capacity // 2
        weights = self._weights()
        ordered = sorted(weights)
        least = ordered[surplus]  # that is kept
        lighter = [name for name, weight in zip(names, weights, strict=True) if weight < least]
        equal = sorted(name for name, weight in zip(names, weights, strict=True) if weight == least)
        self._drop(lighter + equal[: surplus - len(lighter)], ordered[surplus - 1])

    def keep(self, names: set[bytes]) -> None:
        """Drop all names but these."""
        weights = dict(zip(self.tallies, self._weights(), strict=True))
        dropped = [name for name in weights if name not in names]
        if dropped:
            self._drop(dropped, max(weights[name] for name in dropped))

    def _drop(self, names: Sequence[bytes], heaviest: float) -> None:
        self.names = self.distinct
        self.floor = int(heaviest)  # never less than before
        for name in names:
            del self.tallies[name]
            # Nobody need hear of the end of what he never heard of; most names of a long day are such.
            if name in self._fresh:
                self._fresh.remove(name)
                self._changed.remove(name)
            else:
                self._changed.add(name)

    def _weights(self) -> list[float]:
        if self._rest:
            return [
                missed + (count + defers) * NOMINAL_SIZE + size
                for count, size, missed, defers, *_ in self.tallies.values()
            ]
        return [missed + count * NOMINAL_SIZE + size for count, size, missed in self.tallies.values()]

    def top(self, number: int) -> set[bytes]:
        """Return the first ``number`` names by count, and as many by size."""
        tallies = self.tallies
        by_count = sorted(tallies, key=lambda name: (tallies[name][COUNT], tallies[name][SIZE], name), reverse=True)
        by_size = sorted(tallies, key=lambda name: (tallies[name][SIZE], tallies[name][COUNT], name), reverse=True)
        return {*by_count[:number], *by_size[:number]}

    def load(self, rows: Mapping[str, Any]) -> None:
        """Take over saved tallies by name as ``text_of`` has it, None for a name that was dropped.

        Raises:
            ValueError: One is damaged.
        """
        places = 3 + len(self._rest)
        for text, row in rows.items():
            name = name_of(text)
            if row is None:
                self.tallies.pop(name, None)
            elif isinstance(row, list) and len(row) == places and all(isinstance(part, int | float) for part in row):
                self.tallies[name] = row
            else:
                raise ValueError(f"not the tally of a name: {row!r}")


def text_of(name: bytes) -> str:
    """Return a name as it is saved: every byte a character, so that none can be lost."""
    return name.decode("latin-1")


def name_of(text: str) -> bytes:
    """Return what ``text_of`` was made from.

    Raises:
        ValueError: It was not made so.
    """
    return text.encode("latin-1")
