"""Numbers for the rows of tables that are known by a text, such as a mount point; they last as ifIndex does."""

from collections.abc import Mapping

MOST_TEXTS = 10_000
"""Texts of one table that are remembered; beyond it those that were not seen for longest are forgotten."""


class Numbers:
    """Gives each text of a table the next number, for ever."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {}
        self._last: dict[str, int] = {}
        self._changed: dict[str, str | None] = {}

    def number(self, table: str, text: str) -> int:
        """Return the number of a text, from 1."""
        numbers = self._numbers.setdefault(table, {})
        found = numbers.pop(text, None)
        if found is None:
            found = self._last[table] = self._last.get(table, 0) + 1
            self._changed[f"{table} {text}"] = str(found)
        numbers[text] = found  # behind all others: the one seen last
        if len(numbers) > MOST_TEXTS:
            oldest = next(iter(numbers))
            del numbers[oldest]
            self._changed[f"{table} {oldest}"] = None
        return found

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        for name, number in saved.items():
            table, _, text = name.partition(" ")
            self._numbers.setdefault(table, {})[text] = int(number)
            self._last[table] = max(self._last.get(table, 0), int(number))

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows that are new, or gone, since the last call."""
        changed, self._changed = self._changed, {}
        return changed
