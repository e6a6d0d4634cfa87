"""Slow attacks: how many different accounts failed from one address within an hour, and addresses for one account.

A sketch of bounded size whose numbers are never too high. They are exact up to ``MAX_PARTNERS``, which stands for
more, while at most ``MAX_KEYS`` different addresses (or accounts) fail in an hour and ``MAX_RATE`` new pairs of
both in a second; but two partners of one key are taken for one once in four thousand million times. Beyond
``MAX_KEYS`` those that were quiet longest are forgotten, first of all those with one partner, and begin anew when
they come again: while N new keys a second come, one that gets a new partner at least every ``MAX_KEYS / N`` seconds
is counted in full. Beyond ``MAX_RATE`` the rest of the second is left out, so that in a flood of F new pairs a
second a number is on average ``MAX_RATE / F`` of the true one. The checks of the minute see such floods.

The hour ends five minutes at a time: what failed 55 minutes ago counts, what failed 60 minutes ago does not.
Memory: some 250 bytes for each key, 8 MB for ``MAX_KEYS`` of them.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from itertools import islice, repeat

from collectors.auth.ranks import Ranks

MAX_KEYS = 32_768
"""Most keys that are kept apart."""

MAX_PARTNERS = 100
"""Partners of one key that are told apart; a hundred may be more."""

MAX_RATE = 1000
"""New pairs of address and account that are taken in one second of the log."""

SLICE = 300
"""Seconds that end together."""

SLICES = 12
_CHUNK = 1000  # keys looked at again at once, which takes a few milliseconds
_STALE = 5000  # dead entries that rows may hold beside as many as are alive
_HEAD = 4  # bytes before a key's partners: the row that keeps it
_HASH = 4
_ITEM = _HASH + 1  # a partner's hash and the slice in which it last failed; the oldest slice comes first
_OLDEST = _HEAD + _HASH  # where the slice of a key's first partner stands
_FULL = _HEAD + MAX_PARTNERS * _ITEM
_MAX_CACHED = 4096


class Spread:
    """How many different partners each key failed with in the last hour."""

    def __init__(self, prefix: str, max_keys: int = MAX_KEYS) -> None:
        """Start empty; ``prefix`` begins the names of the rows that keep it across a restart."""
        self._prefix = prefix
        self._max_keys = max_keys
        # A number that nobody outside knows, so that nobody can find names that fall together.
        self._modulus = secrets.randbits(63) | 1 << 63 | 1
        self._saved_modulus = 0
        self._hashes: dict[str, bytes] = {}
        self._entries: dict[str, bytes] = {}
        self._ranks: Ranks[str] = Ranks()
        self._current = 0
        self._newest = 0  # the latest slice in which somebody failed
        # The row that is written next and the keys that will be in it; how many live keys the others keep, and had.
        self._row = 0
        self._fresh: dict[str, None] = {}
        self._kept: dict[int, int] = {}
        self._given: dict[int, int] = {}
        self._gone: list[int] = []

    @property
    def largest(self) -> int:
        """The most partners that one key has."""
        return self._ranks.largest if self._entries else 0

    def top(self, number: int) -> list[tuple[str, int]]:
        """Return the keys with most partners and their numbers, most first."""
        return list(islice(self._ranks.top(), number))

    def partners(self, key: str) -> int:
        """Return how many partners a key has."""
        entry = self._entries.get(key)
        return 0 if entry is None else _partners(entry)

    def most(self, keys: Iterable[str]) -> int:
        """Return the most partners that one of these keys has."""
        return max(map(len, map(self._entries.get, keys, repeat(b""))), default=0) // _ITEM

    def hash(self, name: str) -> bytes:
        """Return what stands for a partner."""
        number = int.from_bytes(name.encode("utf-8", "surrogatepass"), "big")
        found = (number % self._modulus).to_bytes(8, "big")[-_HASH:]
        if len(self._hashes) >= _MAX_CACHED:
            self._hashes.clear()
        self._hashes[name] = found
        return found

    def add(self, second: int, now: float, keys: Iterable[str], partners: Iterable[str]) -> None:
        """Count keys that failed in that second, each with the partner beside it, unless it is over by ``now``."""
        if int(now) // SLICE != self._current:
            self.expire(now)
        when = min(second // SLICE, self._current)
        if when <= self._current - SLICES:
            return
        late, self._newest = when < self._newest, max(when, self._newest)
        mark = when & 0xFF
        stamp = bytes((mark,))
        head = self._row.to_bytes(_HEAD, "big")
        entries, fresh, hashes, rise = self._entries, self._fresh, self._hashes, self._ranks.rise
        for key, name in zip(keys, partners, strict=True):
            partner = hashes.get(name) or self.hash(name)
            entry = entries.get(key)
            if entry is None:
                entries[key] = head + partner + stamp
                fresh[key] = None
                continue
            place = entry.find(partner, _HEAD)
            if place >= 0 and (place - _HEAD) % _ITEM:
                place = _find(entry, partner, place)
            if place < 0:
                size = len(entry)
                if size >= _FULL:
                    continue
                rise(key, size // _ITEM)
                changed = entry + partner + stamp
            elif _newer(mark, entry[place + _HASH]):
                changed = entry[:place] + entry[place + _ITEM :] + partner + stamp
            else:
                continue
            if late:
                changed = entry[:_HEAD] + self._in_order(changed[_HEAD:])
            if not entry.startswith(head):
                self._release(entry)
                # Behind all others: it was not quiet.
                del entries[key]
                fresh[key] = None
                changed = head + changed[_HEAD:]
            entries[key] = changed
        least = 2
        while len(entries) > self._max_keys:
            least = self._forget(least)

    def _in_order(self, items: bytes) -> bytes:
        """Return partners with those of the oldest slice first."""
        parts: list[bytes] = [items[at : at + _ITEM] for at in range(0, len(items), _ITEM)]
        parts.sort(key=lambda part: (part[_HASH] - self._current - 1) & 0xFF)
        return b"".join(parts)

    def expire(self, now: float) -> None:
        """Forget what is over by ``now``."""
        current = int(now) // SLICE
        former, self._current = self._current, current
        if current == former:
            return
        if current == former - 1:
            self._current = former  # a clock that is put right by seconds
            return
        if not former < current < former + SLICES:
            # The clock was set back by more, or nothing came for an hour.
            for key in list(self._entries):
                self._drop(key)
            self._newest = 0
            return
        over = bytes((current - SLICES - past) & 0xFF for past in range(current - former))
        for key, entry in [item for item in self._entries.items() if item[1][_OLDEST] in over]:
            left = len(entry[_OLDEST::_ITEM].lstrip(over))
            if not left:
                self._drop(key)
                continue
            self._ranks.move(key, _partners(entry), left)
            # Its row still holds what is over, which is known by its age.
            self._entries[key] = entry[:_HEAD] + entry[-left * _ITEM :]

    def _forget(self, least: int) -> int:
        """Forget the keys that were quiet longest if they have fewer partners; return what to ask for next."""
        forgotten = 0
        for key, entry in list(islice(self._entries.items(), _CHUNK)):
            if _partners(entry) < least:
                self._drop(key)
                forgotten += 1
            else:
                self._renew(key)
        return least if forgotten > _CHUNK // 2 else least * 2

    def _renew(self, key: str) -> None:
        """Put a key behind all others, and into the row that is written next."""
        entry = self._entries.pop(key)
        self._release(entry)
        self._entries[key] = self._row.to_bytes(_HEAD, "big") + entry[_HEAD:]
        self._fresh[key] = None

    def _drop(self, key: str) -> None:
        self._fresh.pop(key, None)
        entry = self._entries.pop(key)
        self._release(entry)
        if (partners := _partners(entry)) > 1:
            self._ranks.move(key, partners, 0)

    def _release(self, entry: bytes) -> None:
        if not self._kept:
            return
        row = int.from_bytes(entry[:_HEAD], "big")
        left = self._kept.get(row)
        if left is None:
            return  # not written yet
        if left > 1:
            self._kept[row] = left - 1
        else:
            del self._kept[row], self._given[row]
            self._gone.append(row)

    def changes(self) -> dict[str, str | None]:
        """Return a row of the keys that changed since the last call, and None for rows that keep none any more."""
        if sum(self._given.values()) > 2 * len(self._entries) + _STALE:
            for key in list(islice(self._entries, _CHUNK)):
                self._renew(key)
        rows: dict[str, str | None] = {f"{self._prefix}:{row}": None for row in self._gone}
        self._gone.clear()
        head = self._row.to_bytes(_HEAD, "big")
        found = {key: entry for key in self._fresh if (entry := self._entries.get(key, b""))[:_HEAD] == head}
        self._fresh.clear()
        if found:
            texts = {key: entry[_HEAD:].hex() for key, entry in found.items()}
            rows[f"{self._prefix}:{self._row}"] = json.dumps([self._current, texts], separators=(",", ":"))
            self._kept[self._row] = self._given[self._row] = len(found)
            self._row += 1
            if self._saved_modulus != self._modulus:
                rows[f"{self._prefix}:modulus"] = str(self._modulus)
                self._saved_modulus = self._modulus
        return rows

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        rows = {}
        for name, text in saved.items():
            prefix, _, number = name.partition(":")
            if prefix != self._prefix:
                continue
            if number == "modulus":
                self._modulus = self._saved_modulus = int(text)
                self._hashes.clear()
            else:
                rows[int(number)] = text
        for row in sorted(rows):
            current, texts = json.loads(rows[row])
            self.expire(current * SLICE)
            self._newest = current
            self._row = row + 1
            self._kept[row] = self._given[row] = len(texts)
            for key, text in texts.items():
                if key in self._entries:
                    self._drop(key)
                # Earlier releases kept them in another order.
                items = self._in_order(bytes.fromhex(text))
                self._entries[key] = entry = row.to_bytes(_HEAD, "big") + items
                self._ranks.move(key, 0, _partners(entry))


def _partners(entry: bytes) -> int:
    return (len(entry) - _HEAD) // _ITEM


def _find(entry: bytes, partner: bytes, place: int) -> int:
    """Return where a partner's hash stands in a key's entry, from a place on; below 0 where it does not."""
    while place >= 0 and (place - _HEAD) % _ITEM:
        place = entry.find(partner, place + 1)
    return place


def _newer(stamp: int, before: int) -> bool:
    """Whether one slice is after another, of which only the last byte is known."""
    return 0 < (stamp - before) & 0xFF < 0x80
