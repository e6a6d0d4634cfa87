"""Who logs in from where, so that a login from the usual place is told from one of somebody new.

Of the latest 32,768 to 65,536 different pairs of address and account, each as a number of eight bytes: two pairs
are taken for one once in 10**14 times. It takes 6 MB at most, and a row of 512 pairs is written again while it fills.
"""

from collections.abc import Mapping
from hashlib import blake2b

from collectors.auth.windows import Pair

MAX_PAIRS = 32_768
"""Pairs after which those that did not come again since are forgotten."""

_PREFIX = "habits"
_IN_ROW = 512


class Habits:
    """The pairs that logged in since a while ago, and in the while before."""

    def __init__(self, max_pairs: int = MAX_PAIRS) -> None:
        """Start with none."""
        self._max_pairs = max_pairs
        self._now: dict[bytes, None] = {}
        self._before: frozenset[bytes] = frozenset()
        self._number = 0  # of the present while
        self._filling: list[bytes] = []
        self._changed: dict[str, str | None] = {}

    def knows(self, pair: Pair) -> bool:
        """Whether an account logged in from an address before."""
        key = _key(pair)
        return key in self._now or key in self._before

    def learn(self, pair: Pair) -> None:
        """Remember that an account logged in from an address."""
        key = _key(pair)
        if key in self._now:
            return
        if len(self._now) >= self._max_pairs:
            rows = -(-len(self._before) // _IN_ROW)
            self._changed.update((f"{_PREFIX}:{self._number - 1}:{row}", None) for row in range(rows))
            self._before, self._now = frozenset(self._now), {}
            self._number += 1
            self._filling = []
        row, place = divmod(len(self._now), _IN_ROW)
        if not place:
            self._filling = []
        self._now[key] = None
        self._filling.append(key)
        self._changed[f"{_PREFIX}:{self._number}:{row}"] = b"".join(self._filling).hex()

    def changes(self) -> dict[str, str | None]:
        """Return the rows that changed since the last call."""
        changed, self._changed = self._changed, {}
        return changed

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        rows: dict[tuple[int, int], bytes] = {}
        for name, text in saved.items():
            match name.split(":"):
                case (prefix, number, row) if prefix == _PREFIX:
                    rows[int(number), int(row)] = bytes.fromhex(text)
        self._number = max((number for number, _ in rows), default=0)
        for (while_, _), data in sorted(rows.items()):
            keys = [data[at : at + 8] for at in range(0, len(data), 8)]
            if while_ == self._number:
                self._now.update(dict.fromkeys(keys))
                self._filling = keys
            else:
                self._before |= frozenset(keys)


def _key(pair: Pair) -> bytes:
    address, account = pair
    return blake2b(f"{address} {account}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
