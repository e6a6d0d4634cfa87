"""Exact sliding windows over login failures, in whole seconds.

Each failure is kept in the second it belongs to, by address and account. The numbers that checks look at
are kept up to date as failures come and go, so that reading them costs nothing: adding and forgetting a
failure takes the same few steps at any rate.

Memory: about 650 bytes for each address and account that failed together within the window, counting what
the allocator loses while they come and go; ``MAX_PAIRS`` of them, 260 MB, are kept apart. 5,000 failures a
second from a million addresses at 200,000 accounts are 300,000 in a minute.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

MAX_PAIRS = 400_000
"""Most different pairs in a window; failures beyond count in its ``total`` only."""

Pair = tuple[str, str]
"""Address and account; an unknown one is empty."""

NOBODY: Pair = ("", "")

K = TypeVar("K")


class Tally(Generic[K]):
    """How often each key occurs, with the largest count always at hand."""

    def __init__(self) -> None:
        self.counts: dict[K, int] = {}
        # Keys by count, from two on: most occur once and need no second entry.
        self._levels: dict[int, dict[K, None]] = {}
        self._largest = 1

    @property
    def largest(self) -> int:
        """The largest count; 0 without any."""
        return self._largest if self.counts else 0

    def add(self, key: K, times: int) -> int:
        """Count ``key`` up by ``times`` and return its new count."""
        counts = self.counts
        before = counts.get(key, 0)
        counts[key] = after = before + times
        if after > 1:
            if before > 1:
                self._leave(key, before)
            level = self._levels.get(after)
            if level is None:
                self._levels[after] = {key: None}
            else:
                level[key] = None
            if after > self._largest:
                self._largest = after
        return after

    def remove(self, key: K, times: int) -> int:
        """Count ``key`` down by ``times``, which were added before, and return its new count."""
        counts = self.counts
        before = counts[key]
        after = before - times
        if after:
            counts[key] = after
        else:
            del counts[key]
        if before > 1:
            self._leave(key, before)
            if after > 1:
                self._levels.setdefault(after, {})[key] = None
            # Each step down was paid for by a step up, so this is constant on average.
            while self._largest > 1 and self._largest not in self._levels:
                self._largest -= 1
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

    def _leave(self, key: K, count: int) -> None:
        level = self._levels[count]
        del level[key]
        if not level:
            del self._levels[count]


class Partners:
    """How many different partners each key of the window's pairs has; one partner is nothing to remember."""

    def __init__(self, pairs: Mapping[Pair, int], side: int) -> None:
        """Look at a window's pairs; ``side`` is 0 for addresses as keys, 1 for accounts."""
        self._pairs = pairs
        self._side = side
        self._several: Tally[str] = Tally()  # one less than there are

    @property
    def largest(self) -> int:
        """The most partners that one key has."""
        return self._several.largest + 1 if self._pairs else 0

    def several(self, key: str) -> bool:
        """Whether a key has more than one partner."""
        return key in self._several.counts

    def join(self, key: str) -> None:
        """Count one more partner of a key that has one."""
        self._several.add(key, 1)

    def leave(self, key: str) -> None:
        """Count a partner less."""
        if key in self._several.counts:
            self._several.remove(key, 1)

    def top(self, number: int) -> list[tuple[str, int]]:
        """Return the keys with most partners and their numbers, most first."""
        found = [(key, count + 1) for key, count in self._several.top(number)]
        single = (pair[self._side] for pair in self._pairs if pair[self._side] not in self._several.counts)
        found.extend((key, 1) for key in islice(single, number - len(found)))
        return found


class FailureWindow:
    """The failures of the last seconds: counted by address and account, by each, and in all.

    Attributes:
        seconds: Length; a failure of second ``s`` is inside while the time is below ``s + seconds``.
        total: Number of failures inside.
        pairs: By address and account, where both are known.
        addresses, accounts: By address, and by account, where known.
        accounts_per_address, addresses_per_account: How many different ones failed together.
    """

    def __init__(self, seconds: int, prefix: str, max_pairs: int = MAX_PAIRS) -> None:
        """Start empty; ``prefix`` begins the names of the rows that keep it across a restart."""
        self.seconds = seconds
        self._prefix = prefix
        self._max_pairs = max_pairs
        self._buckets: dict[int, list[Pair]] = {}
        # How much of each second is written, in how many rows, and the rows of seconds that are over.
        self._written: dict[int, tuple[int, int]] = {}
        self._changed: set[int] = set()
        self._over: list[tuple[int, int]] = []
        self._clear()

    def _clear(self) -> None:
        self.total = 0
        self.pairs: Tally[Pair] = Tally()
        self.addresses: Tally[str] = Tally()
        self.accounts: Tally[str] = Tally()
        self.accounts_per_address = Partners(self.pairs.counts, 0)
        self.addresses_per_account = Partners(self.pairs.counts, 1)
        # Failures of which only one of the two is known.
        self._lone_addresses: dict[str, int] = {}
        self._lone_accounts: dict[str, int] = {}
        self._overflows: set[int] = set()

    @property
    def overflowed(self) -> bool:
        """Whether some failure inside could only be counted in ``total``."""
        return bool(self._overflows)

    def takes(self, second: int, now: float) -> bool:
        """Whether failures of that second are not over by ``now``."""
        return second > int(now) - self.seconds

    def add(self, second: int, now: float, pairs: Sequence[Pair]) -> list[Pair]:
        """Count failures in the second their lines name, unless that is over by ``now``; return pairs new to it."""
        if not self.takes(second, now):
            return list(dict.fromkeys(pairs))
        # Nothing was written later than now: a stamp ahead would stay for as long as it is wrong.
        second = min(second, int(now))
        self._changed.add(second)
        return self._add(second, pairs)

    def _add(self, second: int, pairs: Sequence[Pair]) -> list[Pair]:
        fresh = []
        counts = Counter(pairs)
        if self._kept() + len(counts) > self._max_pairs:
            pairs = self._limit(second, pairs)
            counts = Counter(pairs)
        self._buckets.setdefault(second, []).extend(pairs)
        self.total += len(pairs)
        add_pair, add_address, add_account = self.pairs.add, self.addresses.add, self.accounts.add
        pair_counts, address_counts, account_counts = self.pairs.counts, self.addresses.counts, self.accounts.counts
        for pair, times in counts.items():
            address, account = pair
            if address and account:
                # Most of an attack from many addresses comes once: what follows is ``add`` for that case.
                of_address = address_counts.get(address, 0)
                if times == 1 and not of_address:
                    address_counts[address] = 1
                else:
                    add_address(address, times)
                of_account = account_counts.get(account, 0)
                if times == 1 and not of_account:
                    account_counts[account] = 1
                else:
                    add_account(account, times)
                if pair in pair_counts:
                    add_pair(pair, times)
                    continue
                if times == 1:
                    pair_counts[pair] = 1
                else:
                    add_pair(pair, times)
                fresh.append(pair)
                # Who failed before with a partner did so with another one.
                if of_address and of_address > self._lone_addresses.get(address, 0):
                    self.accounts_per_address.join(address)
                if of_account and of_account > self._lone_accounts.get(account, 0):
                    self.addresses_per_account.join(account)
            elif address:
                add_address(address, times)
                self._lone_addresses[address] = self._lone_addresses.get(address, 0) + times
            elif account:
                add_account(account, times)
                self._lone_accounts[account] = self._lone_accounts.get(account, 0) + times
        return fresh

    def _kept(self) -> int:
        return len(self.pairs.counts) + len(self._lone_addresses) + len(self._lone_accounts)

    def _limit(self, second: int, pairs: Sequence[Pair]) -> list[Pair]:
        """Return ``pairs`` with those replaced that are new and find no room."""
        room = self._max_pairs - self._kept()
        admitted: set[Pair] = set()
        limited = []
        for pair in pairs:
            address, account = pair
            known = (
                pair in self.pairs.counts
                or pair in admitted
                or (not account and address in self._lone_addresses)
                or (not address and account in self._lone_accounts)
                or pair == NOBODY
            )
            if not known and len(admitted) < room:
                admitted.add(pair)
                known = True
            if not known:
                self._overflows.add(second)
            limited.append(pair if known else NOBODY)
        return limited

    def expire(self, now: float) -> None:
        """Forget what is over by ``now``."""
        # After the clock was set back, seconds far ahead would never end.
        over = [s for s in self._buckets if s <= now - self.seconds or s > now + self.seconds]
        whole = bool(over) and len(over) == len(self._buckets)
        for second in over:
            bucket = self._buckets.pop(second)
            self._changed.discard(second)
            if second in self._written:
                self._over.append((second, self._written.pop(second)[1]))
            if not whole:
                self._remove(second, bucket)
        if whole:
            self._clear()

    def _remove(self, second: int, bucket: Sequence[Pair]) -> None:
        self._overflows.discard(second)
        self.total -= len(bucket)
        remove_pair, remove_address, remove_account = self.pairs.remove, self.addresses.remove, self.accounts.remove
        pair_counts, address_counts, account_counts = self.pairs.counts, self.addresses.counts, self.accounts.counts
        for pair, times in Counter(bucket).items():
            address, account = pair
            if address and account:
                if pair_counts[pair] == 1:
                    del pair_counts[pair]
                    gone = True
                else:
                    gone = not remove_pair(pair, times)
                if address_counts[address] == 1:
                    del address_counts[address]
                elif remove_address(address, times) and gone:
                    self.accounts_per_address.leave(address)
                if account_counts[account] == 1:
                    del account_counts[account]
                elif remove_account(account, times) and gone:
                    self.addresses_per_account.leave(account)
            elif address:
                remove_address(address, times)
                _less(self._lone_addresses, address, times)
            elif account:
                remove_account(account, times)
                _less(self._lone_accounts, account, times)

    def changes(self) -> dict[str, str | None]:
        """Return a row of what each second got since the last call, and None for the rows of seconds that are over."""
        rows: dict[str, str | None] = {}
        for second, number in self._over:
            rows.update((self._key(second, index), None) for index in range(number))
        self._over.clear()
        for second in self._changed:
            bucket = self._buckets[second]
            start, index = self._written.get(second, (0, 0))
            counts = Counter(bucket[start:])
            rows[self._key(second, index)] = json.dumps([list(counts), list(counts.values())], separators=(",", ":"))
            self._written[second] = len(bucket), index + 1
        self._changed.clear()
        return rows

    def _key(self, second: int, index: int) -> str:
        return f"{self._prefix}:{second}:{index}"

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        for key, text in saved.items():
            prefix, _, place = key.partition(":")
            if prefix == self._prefix:
                second, index = (int(number) for number in place.split(":"))
                self._add(second, list(_pairs(*json.loads(text))))
                _, rows = self._written.get(second, (0, 0))
                self._written[second] = len(self._buckets[second]), max(rows, index + 1)


def _less(counts: dict[str, int], key: str, times: int) -> None:
    left = counts[key] - times
    if left:
        counts[key] = left
    else:
        del counts[key]


def _pairs(pairs: Sequence[Sequence[str]], counts: Sequence[int]) -> Iterator[Pair]:
    for (address, account), times in zip(pairs, counts, strict=True):
        for _ in range(times):
            yield address, account
