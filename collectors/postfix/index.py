"""Finds a name among a million of one directory without an object for each."""

from array import array

_FREE = -1


class Index:
    """Slots by name, of names of one width that lie one after the other.

    An open hash table in one packed array: 8 to 16 bytes a name, where a dictionary would take a hundred.
    """

    def __init__(self, names: bytearray, width: int) -> None:
        """Index ``names``, no two of which are equal; they stay the caller's, who tells of each change."""
        self._names = names
        self._width = width
        self._fill()

    def _fill(self) -> None:
        names, width = bytes(self._names), self._width
        self._used = len(names) // width
        size = 16
        while size < 2 * self._used:
            size *= 2
        self._mask = mask = size - 1
        self._table = table = array("i", [_FREE]) * size
        # Written out for speed: this runs for each of a million names.
        for slot in range(self._used):
            place = hash(names[slot * width : (slot + 1) * width]) & mask
            while table[place] != _FREE:
                place = (place + 1) & mask
            table[place] = slot

    def find(self, name: bytes) -> int | None:
        """Return the slot of a name of the right width; None if it is not there."""
        slot = self._table[self._place(name)]
        return None if slot == _FREE else slot

    def appended(self, number: int = 1) -> None:
        """Take note of names that were appended."""
        if 3 * (self._used + number) > 2 * self._mask:
            self._fill()
            return
        for slot in range(self._used, self._used + number):
            self._table[self._place(self._name(slot))] = slot
        self._used += number

    def drop(self, slot: int) -> None:
        """Forget a slot, whose place the last name is about to take."""
        self._used -= 1
        free = self._place(self._name(slot))
        if slot != self._used:
            self._table[self._place(self._name(self._used))] = slot
        # Whoever stands behind the gap because its own place was taken moves up; else it would not be found again.
        table, mask = self._table, self._mask
        table[free] = _FREE
        place = (free + 1) & mask
        while (other := table[place]) != _FREE:
            home = hash(self._name(self._used if other == slot else other)) & mask
            if (place - home) & mask >= (place - free) & mask:
                table[free], table[place] = other, _FREE
                free = place
            place = (place + 1) & mask

    def _name(self, slot: int) -> bytes:
        return bytes(self._names[slot * self._width : (slot + 1) * self._width])

    def _place(self, name: bytes) -> int:
        """Return where the slot of a name stands, or would."""
        table, mask, names, width = self._table, self._mask, self._names, self._width
        place = hash(name) & mask
        while (slot := table[place]) != _FREE and names[slot * width : (slot + 1) * width] != name:
            place = (place + 1) & mask
        return place
