"""Exact sliding windows over login failures, in whole seconds.

Each failure is kept in the second it belongs to, by address and account. The numbers that checks look at
are kept up to date as failures come and go, so that reading them costs next to nothing: adding and forgetting
a failure takes the same few steps at any rate.

An address that failed once, as most do in an attack from many, is one entry; what it failed with beside the
first is kept only while there is more than one failure. Accounts are small numbers inside.
"""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from heapq import heappush, heappushpop
from itertools import chain, islice
from typing import TypeVar

from collectors.auth.ranks import Ranks

MAX_PAIRS = 400_000
"""Most different pairs in a window; failures beyond count in its ``total`` only."""

Pair = tuple[str, str]
"""Address and account; an unknown one is empty."""

Counts = Mapping[Pair, int]
"""Failures by address and account."""

_NOBODY = 0  # the number of an unknown account
_ALL = -1  # where an address keeps how often it failed in all

K = TypeVar("K")


class _Second:
    """The failures of one second: addresses, numbers of accounts, and how often, side by side."""

    __slots__ = ("accounts", "addresses", "overflowed", "rows", "times", "written")

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.accounts = array("I")
        self.times = array("I")
        self.overflowed = False
        # How many are written, in how many rows.
        self.written = 0
        self.rows = 0


class FailureWindow:
    """The failures of the last seconds: counted by address and account, by each, and in all.

    Attributes:
        seconds: Length; a failure of second ``s`` is inside while the time is below ``s + seconds``.
        total: Number of failures inside.
    """

    def __init__(self, seconds: int, prefix: str, max_pairs: int = MAX_PAIRS) -> None:
        """Start empty; ``prefix`` begins the names of the rows that keep it across a restart."""
        self.seconds = seconds
        self._prefix = prefix
        self._max_pairs = max_pairs
        self._buckets: dict[int, _Second] = {}
        self._first = self._last = 0  # the seconds between which all others are
        self._changed: set[int] = set()
        self._over: list[tuple[int, int]] = []  # seconds that are over, and how many rows they have
        self._clear()

    def _clear(self) -> None:
        self.total = 0
        self._different = 0  # pairs of an address with an account or none
        self._known = 0  # those of which both are known
        # By address the account of its only failure, or how often it failed with each and in all.
        self._addresses: dict[str, int | dict[int, int]] = {}
        self._numbers: dict[str, int] = {"": _NOBODY}
        self._names = [""]
        self._failures = array("I", [0])  # by account
        self._partners = array("I", [0])  # addresses that are known, by account
        self._free: list[int] = []
        self._by_pair: Ranks[tuple[str, int]] = Ranks()
        self._by_address: Ranks[str] = Ranks()
        self._by_account: Ranks[int] = Ranks()

    @property
    def overflowed(self) -> bool:
        """Whether some failure inside could only be counted in ``total``."""
        return any(bucket.overflowed for bucket in self._buckets.values())

    def takes(self, second: int, now: float) -> bool:
        """Whether failures of that second are not over by ``now``."""
        return second > int(now) - self.seconds

    def add(self, second: int, now: float, counts: Counts) -> list[Pair]:
        """Count failures in the second their lines name, unless that is over by ``now``.

        Return the pairs of which both are known and that are new to the window, all of them if it is over.
        """
        if not self.takes(second, now):
            return [pair for pair in counts if pair[0] and pair[1]]
        # Nothing was written later than now: a stamp ahead would stay for as long as it is wrong.
        return self._add(min(second, int(now)), counts)

    def _add(self, second: int, counts: Counts) -> list[Pair]:
        if not counts:
            return []
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = _Second()
            self._first, self._last = min(self._buckets), max(self._buckets)
        self._changed.add(second)
        self.total += sum(counts.values())
        fresh = []
        addresses, numbers, failures = self._addresses, self._numbers, self._failures
        for pair, times in counts.items():
            address, account = pair
            number = numbers.get(account)
            held = addresses.get(address) if address else None
            if number is None or (
                address and (held != number if held is None or isinstance(held, int) else number not in held)
            ):
                if self._different >= self._max_pairs or len(self._names) - len(self._free) > self._max_pairs:
                    bucket.overflowed = True
                    address, number = "", _NOBODY
                else:
                    if number is None:
                        number = self._number(account)
                    if address:
                        self._different += 1
                        if number:
                            self._known += 1
                            self._partners[number] += 1
                            fresh.append(pair)
            if number:
                before = failures[number]
                failures[number] = after = before + times
                if after > 1:
                    self._by_account.move(number, before, after)
            if address:
                if held is None and times == 1:
                    addresses[address] = number
                else:
                    self._repeat(address, number, times, held)
            bucket.addresses.append(address)
            bucket.accounts.append(number)
            bucket.times.append(times)
        return fresh

    def _number(self, account: str) -> int:
        if self._free:
            number = self._free.pop()
            self._names[number] = account
        else:
            number = len(self._names)
            self._names.append(account)
            self._failures.append(0)
            self._partners.append(0)
        self._numbers[account] = number
        return number

    def _repeat(self, address: str, number: int, times: int, held: int | dict[int, int] | None) -> None:
        """Count failures of an address that fails more than once."""
        if held is None:
            held = self._addresses[address] = {_ALL: 0}
        elif isinstance(held, int):
            held = self._addresses[address] = {_ALL: 1, held: 1}
        before, all_before = held.get(number, 0), held[_ALL]
        held[number] = before + times
        held[_ALL] = all_before + times
        self._by_address.move(address, all_before, all_before + times)
        if number and before + times > 1:
            self._by_pair.move((address, number), before, before + times)

    def expire(self, now: float) -> None:
        """Forget what is over by ``now``."""
        if not self._buckets or (self._first > now - self.seconds and self._last <= now + self.seconds):
            return
        # After the clock was set back, seconds far ahead would never end.
        begin, end = now - self.seconds, now + self.seconds
        over = [second for second in self._buckets if second <= begin or second > end]
        whole = len(over) == len(self._buckets)
        for second in over:
            bucket = self._buckets.pop(second)
            self._changed.discard(second)
            if bucket.rows:
                self._over.append((second, bucket.rows))
            if not whole:
                self._remove(bucket)
        if whole:
            self._clear()
        else:
            self._first, self._last = min(self._buckets), max(self._buckets)

    def _remove(self, bucket: _Second) -> None:
        self.total -= sum(bucket.times)
        addresses, failures, partners = self._addresses, self._failures, self._partners
        for address, number, times in zip(bucket.addresses, bucket.accounts, bucket.times, strict=True):
            if address:
                held = addresses[address]
                if isinstance(held, int):
                    del addresses[address]
                    gone = True
                else:
                    gone = self._less(address, number, times, held)
                if gone:
                    self._different -= 1
                    if number:
                        self._known -= 1
                        partners[number] -= 1
            if number:
                before = failures[number]
                failures[number] = after = before - times
                if before > 1:
                    self._by_account.move(number, before, after)
                if not after:
                    del self._numbers[self._names[number]]
                    self._names[number] = ""
                    self._free.append(number)

    def _less(self, address: str, number: int, times: int, held: dict[int, int]) -> bool:
        """Count down the failures of an address that failed more than once; return whether the pair is gone."""
        before, all_before = held[number], held[_ALL]
        after, all_after = before - times, all_before - times
        self._by_address.move(address, all_before, all_after)
        if number and before > 1:
            self._by_pair.move((address, number), before, after)
        if after:
            held[number] = after
        else:
            del held[number]
        held[_ALL] = all_after
        if all_after == 0:
            del self._addresses[address]
        elif all_after == 1:
            (self._addresses[address],) = (left for left in held if left != _ALL)
        return not after

    def pair_failures(self) -> int:
        """Return the most failures of one address and account."""
        return self._by_pair.largest if self._known else 0

    def address_failures(self) -> int:
        """Return the most failures from one address."""
        return self._by_address.largest if self._addresses else 0

    def account_failures(self) -> int:
        """Return the most failures of one account."""
        return self._by_account.largest if len(self._numbers) > 1 else 0

    def address_accounts(self, number: int = 1) -> list[tuple[str, int]]:
        """Return the addresses that failed with most accounts, and with how many, most first."""
        found = _largest(self._by_address, self.accounts_of, number)
        alone = (address for address, held in self._addresses.items() if isinstance(held, int) and held)
        return found + [(address, 1) for address in islice(alone, number - len(found))]

    def account_addresses(self, number: int = 1) -> list[tuple[str, int]]:
        """Return the accounts that failed from most addresses, and from how many, most first."""
        found = _largest(self._by_account, self._partners.__getitem__, number)
        named = [(self._names[each], times) for each, times in found]
        alone = (each for each in self._numbers.values() if self._failures[each] == 1 and self._partners[each])
        return named + [(self._names[each], 1) for each in islice(alone, number - len(found))]

    def top_pairs(self, number: int) -> list[tuple[Pair, int]]:
        """Return the pairs that failed most often, most first."""
        alone = ((pair, 1) for pair in self._single_pairs())
        found = islice(chain(self._by_pair.top(), alone), number)
        return [((address, self._names[account]), times) for (address, account), times in found]

    def top_addresses(self, number: int) -> list[tuple[str, int]]:
        """Return the addresses that failed most often, most first."""
        alone = ((address, 1) for address, held in self._addresses.items() if isinstance(held, int))
        return list(islice(chain(self._by_address.top(), alone), number))

    def top_accounts(self, number: int) -> list[tuple[str, int]]:
        """Return the accounts that failed most often, most first."""
        alone = ((each, 1) for each in self._numbers.values() if self._failures[each] == 1)
        found = islice(chain(self._by_account.top(), alone), number)
        return [(self._names[account], times) for account, times in found]

    def accounts_of(self, address: str) -> int:
        """Return with how many accounts an address that is inside failed."""
        held = self._addresses[address]
        return bool(held) if isinstance(held, int) else len(held) - 1 - (_NOBODY in held)

    def failures_of(self, address: str, account: str) -> tuple[int, int, int]:
        """Return how often an address failed with an account, each of them known, and how often each of them did."""
        number = self._numbers.get(account, _NOBODY)
        held = self._addresses.get(address, {})
        if isinstance(held, int):
            held = {held: 1, _ALL: 1}
        pair, of_account = (held.get(number, 0), self._failures[number]) if number else (0, 0)
        return pair, held.get(_ALL, 0), of_account

    def addresses_of(self, account: str) -> int:
        """Return from how many addresses an account failed."""
        number = self._numbers.get(account, _NOBODY)
        return self._partners[number] if number else 0

    def _single_pairs(self) -> Iterator[tuple[str, int]]:
        for address, held in self._addresses.items():
            if isinstance(held, int):
                if held:
                    yield address, held
            else:
                yield from ((address, account) for account, times in held.items() if times == 1 and account)

    def changes(self) -> dict[str, str | None]:
        """Return a row of what each second got since the last call, and None for the rows of seconds that are over."""
        rows: dict[str, str | None] = {}
        for second, number in self._over:
            rows.update((self._key(second, index), None) for index in range(number))
        self._over.clear()
        names = self._names
        for second in self._changed:
            bucket = self._buckets[second]
            start = bucket.written
            pairs = [*zip(bucket.addresses[start:], (names[each] for each in bucket.accounts[start:]), strict=True)]
            rows[self._key(second, bucket.rows)] = json.dumps(
                [pairs, list(bucket.times[start:])], separators=(",", ":")
            )
            bucket.written = len(bucket.times)
            bucket.rows += 1
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
                counts: Counter[Pair] = Counter()
                for (address, account), times in zip(*json.loads(text), strict=True):
                    counts[address, account] += times
                self._add(second, counts)
                self._changed.discard(second)
                bucket = self._buckets[second]
                bucket.written = len(bucket.times)
                bucket.rows = max(bucket.rows, index + 1)


def _largest(ranks: Ranks[K], partners: Callable[[K], int], number: int) -> list[tuple[K, int]]:
    """Return the keys with most partners; none has more of them than failures."""
    best: list[tuple[int, int, K]] = []
    for failures, keys in ranks.descending():
        for place, key in enumerate(keys):
            if len(best) == number and best[0][0] >= failures:
                break
            entry = (partners(key), -place, key)
            if len(best) < number:
                heappush(best, entry)
            elif entry[0] > best[0][0]:
                heappushpop(best, entry)
    return [(key, several) for several, _, key in sorted(best, reverse=True) if several]
