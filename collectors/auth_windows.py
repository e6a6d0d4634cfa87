"""Exact sliding windows over login failures, in whole seconds.

Each failure is kept as one count in the second it belongs to, by address and account. The numbers
that checks look at are kept up to date as failures come and go, so that reading them costs nothing:
adding and forgetting a failure takes the same few steps at any rate.

Memory: about 600 bytes for each entry, which is one address and account in one second, and at most
``MAX_ENTRIES`` of these. 5,000 failures a second, each from its own address, fill 300,000 in a minute.
"""

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Generic, TypeVar

MAX_ENTRIES = 400_000
"""Most entries of a window; failures beyond count in its ``total`` only."""

Pair = tuple[str, str]
"""Address and account; an unknown one is empty."""

NOBODY: Pair = ("", "")

K = TypeVar("K")


class Tally(Generic[K]):
    """How often each key occurs, with the largest count always at hand."""

    def __init__(self) -> None:
        self.counts: dict[K, int] = {}
        self.largest = 0
        # Keys by count, from two on: a key seen once needs no second entry.
        self._levels: dict[int, dict[K, None]] = {}

    def add(self, key: K, times: int) -> int:
        """Count ``key`` up by ``times`` and return its new count."""
        before = self.counts.get(key, 0)
        self.counts[key] = after = before + times
        if after > 1:
            self._move(key, before, after)
        if after > self.largest:
            self.largest = after
        return after

    def remove(self, key: K, times: int) -> int:
        """Count ``key`` down by ``times``, which were added before, and return its new count."""
        before = self.counts[key]
        after = before - times
        if after:
            self.counts[key] = after
        else:
            del self.counts[key]
        if before > 1:
            self._move(key, before, after)
            # Each step down was paid for by a step up, so this is constant on average.
            while self.largest > 1 and self.largest not in self._levels:
                self.largest -= 1
        if not self.counts:
            self.largest = 0
        return after

    def top(self, number: int) -> list[tuple[K, int]]:
        """Return the most frequent keys with their counts, most frequent first."""
        found: list[tuple[K, int]] = []
        # There are never more different counts than the square root of twice their sum.
        for count in sorted(self._levels, reverse=True):
            found.extend((key, count) for key in islice(self._levels[count], number - len(found)))
            if len(found) >= number:
                return found
        once = ((key, 1) for key, count in self.counts.items() if count == 1)
        found.extend(islice(once, number - len(found)))
        return found

    def _move(self, key: K, before: int, after: int) -> None:
        levels = self._levels
        if before > 1:
            level = levels[before]
            del level[key]
            if not level:
                del levels[before]
        if after > 1:
            joined = levels.get(after)
            if joined is None:
                levels[after] = {key: None}
            else:
                joined[key] = None


class FailureWindow:
    """The failures of the last seconds: counted by address and account, by each, and in all.

    Attributes:
        seconds: Length; a failure of second ``s`` is inside while the time is below ``s + seconds``.
        total: Number of failures inside.
        pairs: By address and account, where both are known.
        addresses, accounts: By address, and by account, where known.
        accounts_per_address, addresses_per_account: How many different ones failed together.
        overflowed: Whether a failure inside could only be counted in ``total``.
    """

    def __init__(self, seconds: int, prefix: str, max_entries: int = MAX_ENTRIES) -> None:
        """Start empty; ``prefix`` begins the names of the rows that keep it across a restart."""
        self.seconds = seconds
        self._prefix = prefix
        self._max_entries = max_entries
        self._buckets: dict[int, dict[Pair, int]] = {}
        self._saved: set[int] = set()
        self._changed: set[int] = set()
        self._clear()

    def _clear(self) -> None:
        self.total = 0
        self.pairs: Tally[Pair] = Tally()
        self.addresses: Tally[str] = Tally()
        self.accounts: Tally[str] = Tally()
        self.accounts_per_address: Tally[str] = Tally()
        self.addresses_per_account: Tally[str] = Tally()
        self._entries = 0
        self._overflows: set[int] = set()

    @property
    def overflowed(self) -> bool:
        """Whether some failure inside could only be counted in ``total``."""
        return bool(self._overflows)

    def add(self, second: int, now: float, address: str, account: str, times: int = 1) -> None:
        """Count a failure in the second its line names, unless that is over by ``now``."""
        # Nothing was written later than now: a stamp ahead would stay for as long as it is wrong.
        latest = int(now)
        if second > latest:
            second = latest
        elif second <= latest - self.seconds:
            return
        self._add(second, (address, account), times)
        self._changed.add(second)

    def _add(self, second: int, pair: Pair, times: int) -> None:
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = {}
        if pair in bucket:
            bucket[pair] += times
        elif self._entries < self._max_entries:
            bucket[pair] = times
            self._entries += 1
        else:
            self._overflows.add(second)
            pair = NOBODY
            self._entries += pair not in bucket
            bucket[pair] = bucket.get(pair, 0) + times
        self.total += times
        address, account = pair
        if address:
            self.addresses.add(address, times)
        if account:
            self.accounts.add(account, times)
        if address and account and self.pairs.add(pair, times) == times:
            self.accounts_per_address.add(address, 1)
            self.addresses_per_account.add(account, 1)

    def expire(self, now: float) -> None:
        """Forget what is over by ``now``."""
        # After the clock was set back, seconds far ahead would never end.
        over = [s for s in self._buckets if s <= now - self.seconds or s > now + self.seconds]
        if over and len(over) == len(self._buckets):
            self._buckets.clear()
            self._clear()
        for second in over:
            self._changed.add(second)
            if second in self._buckets:
                self._remove(second)

    def _remove(self, second: int) -> None:
        bucket = self._buckets.pop(second)
        self._overflows.discard(second)
        self._entries -= len(bucket)
        for pair, times in bucket.items():
            address, account = pair
            self.total -= times
            if address:
                self.addresses.remove(address, times)
            if account:
                self.accounts.remove(account, times)
            if address and account and not self.pairs.remove(pair, times):
                self.accounts_per_address.remove(address, 1)
                self.addresses_per_account.remove(account, 1)

    def changes(self) -> dict[str, str | None]:
        """Return the rows of the seconds that changed since the last call, None for one that is over."""
        rows: dict[str, str | None] = {}
        for second in self._changed:
            bucket = self._buckets.get(second)
            if bucket is not None:
                entries = [[address, account, times] for (address, account), times in bucket.items()]
                rows[f"{self._prefix}:{second}"] = json.dumps(entries, separators=(",", ":"))
                self._saved.add(second)
            elif second in self._saved:
                rows[f"{self._prefix}:{second}"] = None
                self._saved.discard(second)
        self._changed.clear()
        return rows

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        start = self._prefix + ":"
        for key in saved:
            if key.startswith(start):
                second = int(key.removeprefix(start))
                self._saved.add(second)
                entries: Iterable[tuple[str, str, int]] = json.loads(saved[key])
                for address, account, times in entries:
                    self._add(second, (address, account), times)
