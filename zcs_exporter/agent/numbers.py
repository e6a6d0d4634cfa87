"""Numbers for the rows of tables that are known by a text, such as a mount point; they last as ifIndex does."""

from collections.abc import Mapping

MOST_TEXTS = 10_000
"""Texts of one table that are remembered; beyond it those that were not seen for longest are forgotten."""


class Numbers:
    """Gives each text of a table the next number, for ever.

    A number is given while a snapshot is made and saved with it; nobody is told it before that, or a crash could give
    it to another row.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, tuple[int, int]]] = {}
        self._last: dict[str, int] = {}
        self._changed: dict[str, str | None] = {}

    def give(self, table: str, text: str, generation: int) -> None:
        """Have a text numbered, from 1.

        Args:
            table: Numbers its texts for itself.
            text: What is known of the row.
            generation: Of the snapshot that the number will be saved with, if it is a new one.
        """
        numbers = self._numbers.setdefault(table, {})
        found = numbers.pop(text, None)
        if found is None:
            number = self._last[table] = self._last.get(table, 0) + 1
            self._changed[f"{table} {text}"] = str(number)
            found = number, generation
        numbers[text] = found  # behind all others: the one seen last
        if len(numbers) > MOST_TEXTS:
            oldest = next(iter(numbers))
            del numbers[oldest]
            self._changed[f"{table} {oldest}"] = None

    def find(self, table: str, text: str, generation: int) -> int | None:
        """Return the number of a text; None where it was not saved yet with the snapshot of a generation."""
        number, since = self._numbers.get(table, {}).get(text, (None, 0))
        return number if since <= generation else None

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        for name, number in saved.items():
            table, _, text = name.partition(" ")
            self._numbers.setdefault(table, {})[text] = int(number), 0
            self._last[table] = max(self._last.get(table, 0), int(number))

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows that are new, or gone, since the last call."""
        changed, self._changed = self._changed, {}
        return changed
