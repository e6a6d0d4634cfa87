"""Errors that are alike, counted together: a message without what differs from one time to the next.

Kept are the most frequent of the last week, in bounded memory: two halves of it, each with ``CAPACITY`` counters
of Space-Saving. So whatever occurs more often than the errors of a half divided by ``CAPACITY`` is there, and no
count is too high by more than that.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache

from zcs_exporter.contract import Evidence, EvidenceItem, EvidenceKind
from zcs_exporter.heavy_hitters import HeavyHitters

CAPACITY = 128
HALF = 7 * 86400 // 2
"""Seconds after which counting begins anew beside what was counted before."""

_SHOWN = 10
_MOST = 160
"""Bytes of a message that are looked at."""

_ZEROS = bytes(ord("0") if byte in b"123456789" else byte for byte in range(256))

# authentication failed for [ann], id=12, "My folder"
_ENCLOSED = re.compile(r'"[^"]*"?|(?<!\w)\'[^\']*\'?|\[[^]]*\]?|<[^>]*>?|\([^)]*\)?|\{[^}]*\}?|(?<==)[^\s,;]+')
# item 77 of ann@example.com in /opt/zimbra/store/0/1, mx.example.com
# Words with a digit, an @, a slash or a foreign letter, very long ones, and names of hosts. All are tried at the start
# of a word only, so that a long word costs no more than its length.
_WORD = re.compile(r"(?<!\S)(?:(?=\S*[\d@/\\%&\x00-\x1f\x7f-\U0010ffff])\S+|\S{40,}|[a-z-]+(?:\.[a-z-]+)+(?![\w.]))")
# no such folder: Trips
_NAMED = re.compile(
    r"\b(account|user|username|folder|domain|name|named|recipient|sender|login|calendar|contact|tag|server|host)"
    r"(:? )(?!\*)[^\s,;]+",
    re.IGNORECASE,
)
_RUN = re.compile(r"\*(?:[\s,;:*]*\*)+")

Key = tuple[str, str, str, str]
"""Level, component, masked message and the class of the last cause."""


def mask(message: bytes, name: bytes = b"") -> str:
    """Return a message with a star for all that may differ each time or name somebody.

    Args:
        message: As logged.
        name: The account in whose name it was logged; its words are masked wherever they stand.
    """
    text = message[:_MOST]
    if name:
        text = text.replace(name, b"*")
        local = name.partition(b"@")[0]
        place = text.find(local) if local else -1
        while place >= 0:
            end = place + len(local)
            # Inside a word it is not the account's: ann in cannot.
            if text[place - 1 : place].isalnum() or text[end : end + 1].isalnum():
                place = text.find(local, end)
            else:
                text = text[:place] + b"*" + text[end:]
                place = text.find(local, place + 1)
    # Digits are masked whatever they are, so that messages which differ by them are masked once.
    return _masked(text.translate(_ZEROS))


@lru_cache(maxsize=1024)
def _masked(message: bytes) -> str:
    text = message.decode("utf-8", "replace")
    return _RUN.sub("*", _NAMED.sub(r"\1\2*", _WORD.sub("*", _ENCLOSED.sub("*", text)))).strip()


class Signatures:
    """The most frequent errors of one log."""

    def __init__(self) -> None:
        self._halves = (_Half(), _Half())
        self._now = 0
        self._since = 0
        self._renewed = False

    def add(self, key: Key, at: int) -> None:
        """Count an error of the time ``at``, which does not lie ahead."""
        if abs(at - self._since) >= HALF:  # before, too: the clock may have been far ahead
            if self._since:
                self._now = 1 - self._now
                self._halves[self._now].clear()
            self._since = at
            self._renewed = True
        self._halves[self._now].add(key)

    def top(self) -> list[tuple[Key, int]]:
        """Return the most frequent with their counts, most frequent first."""
        total: Counter[Key] = Counter()
        for half in self._halves:
            total.update(half.hitters.counts)
        return total.most_common(_SHOWN)

    def evidence(self) -> Evidence:
        """Return the most frequent as text; nothing in it names anybody."""
        return tuple(EvidenceItem(EvidenceKind.TEXT, _text(key), count) for key, count in self.top())

    def changes(self) -> Iterator[tuple[str, str | None]]:
        """Yield the rows that changed since the last call."""
        if self._renewed:
            self._renewed = False
            yield "half", json.dumps([self._now, self._since])
        for number, half in enumerate(self._halves):
            yield from ((f"{number}/{place}", row) for place, row in half.changes())

    def restore(self, rows: Mapping[str, str]) -> None:
        """Take over what ``changes`` gave."""
        for name, row in rows.items():
            number, _, place = name.partition("/")
            if number == "half":
                self._now, self._since = json.loads(row)
            else:
                self._halves[int(number)].restore(int(place), row)


class _Half:
    """What was counted since one moment; each key has a place, which the one that pushes it out takes over."""

    def __init__(self) -> None:
        self.hitters: HeavyHitters[Key] = HeavyHitters(CAPACITY)
        self._places: dict[Key, int] = {}
        self._touched: set[Key] = set()
        self._freed = 0

    def add(self, key: Key) -> None:
        pushed_out = self.hitters.add(key)
        if pushed_out is not None:
            self._places[key] = self._places.pop(pushed_out)
            self._touched.discard(pushed_out)
        elif key not in self._places:
            self._places[key] = len(self._places)
        self._touched.add(key)

    def clear(self) -> None:
        self._freed = max(self._freed, len(self._places))
        self.hitters = HeavyHitters(CAPACITY)
        self._places.clear()
        self._touched.clear()

    def changes(self) -> Iterator[tuple[int, str | None]]:
        for place in range(len(self._places), self._freed):
            yield place, None
        self._freed = 0
        for key in self._touched:
            row = [*key, self.hitters.counts[key], self.hitters.errors.get(key, 0)]
            yield self._places[key], json.dumps(row)
        self._touched.clear()

    def restore(self, place: int, row: str) -> None:
        level, component, text, cause, count, error = json.loads(row)
        key = (level, component, text, cause)
        self.hitters.load([(key, count, error)])
        self._places[key] = place


def _text(key: Key) -> str:
    level, component, message, cause = key
    return f"{level} {component}: {message} ({cause})" if cause else f"{level} {component}: {message}"
