"""How a day of mail is saved: the whole of some moment, and row by row what changed since."""

from collections.abc import Iterable, Mapping

from zcs_exporter.mailreport.page import Page

PREFIX = "day:"
"""How the key of every row begins.

``day:2024-03-02`` is a closed page; ``day:2024-03-02:whole`` an open one, and ``day:2024-03-02:000017`` what
changed on it later.
"""

DAY_END = len(PREFIX) + len("2024-03-02")
"""Where the day ends in a key."""

_LEAST_LATER = 256 << 10
_LATER_RATIO = 24  # what changed may take some six times the room of the whole, which is packed to a quarter


def days_of(keys: Iterable[str]) -> list[str]:
    """Return the days of which there are rows, the oldest first."""
    return sorted({key[len(PREFIX) : DAY_END] for key in keys if key.startswith(PREFIX)})


class SavedPage:
    """An open page and its rows.

    Attributes:
        page: The page.
        key: Of the row that has the whole of it.
    """

    def __init__(self, page: Page) -> None:
        """Begin without any row."""
        self.page = page
        self.key = f"{PREFIX}{page.day}:whole"
        self._begin = f"{PREFIX}{page.day}:"
        self._later = 0
        self._later_bytes = 0
        self._whole_bytes = 0

    def changes(self) -> dict[str, str | None]:
        """Return the rows that changed since the last call, None for one to delete."""
        text = self.page.changes()
        if text is None:
            return {}
        if self._later_bytes + len(text) > max(_LEAST_LATER, _LATER_RATIO * self._whole_bytes):
            return self.whole()
        key = f"{self._begin}{self._later:06d}"
        self._later += 1
        self._later_bytes += len(text)
        return {key: text}

    def whole(self) -> dict[str, str | None]:
        """Return the rows for all of it, in place of those so far."""
        rows: dict[str, str | None] = dict.fromkeys(self.keys())
        packed = rows[self.key] = self.page.pack()
        self._later = self._later_bytes = 0
        self._whole_bytes = len(packed)
        return rows

    def keys(self) -> list[str]:
        """Return the keys of all rows that there may be."""
        return [self.key, *(f"{self._begin}{number:06d}" for number in range(self._later))]

    def restore(self, rows: Mapping[str, str]) -> None:
        """Take over all rows of the page.

        Raises:
            ValueError: They are damaged.
        """
        if (packed := rows.get(self.key)) is not None:
            self.reopen(packed)
        for key in sorted(key for key in rows if key.startswith(self._begin) and key != self.key):
            self.page.take(rows[key])
            self._later = int(key[len(self._begin) :]) + 1
            self._later_bytes += len(rows[key])

    def reopen(self, packed: str) -> None:
        """Take over the whole.

        Raises:
            ValueError: It is damaged.
        """
        self.page.unpack(packed)
        self._whole_bytes = len(packed)
