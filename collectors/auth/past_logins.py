"""Logins in the midst of attacks of the past, in one log whose lines were over when they were read.

Beside the log itself nothing is looked at: failures that another one tells do not count here, nor those of the
checks of an hour. A restart forgets the last two minutes of the log.
"""

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter

from collectors.auth.breach import Numbers, Success
from collectors.auth.windows import Pair

LAG = 60
"""Seconds by which the lines of a log may come out of order."""

_STEP = 15  # seconds of the log that are judged together
_CELLS = 1 << 18
_MASK = _CELLS - 1
_EMPTY = bytes(4 * _CELLS)
_FEW = _CELLS // 64
_MAX_LOGINS = 5000  # that wait to be judged

Partners = list[tuple[int, str]]
"""When one failed, and with what."""


class _Often:
    """How often each name failed lately: never too few, since some names share a cell and what is over goes late."""

    def __init__(self, least: float) -> None:
        """Start with nobody; ``least`` is too often."""
        self._least = least
        self._now, self._before = array("I", _EMPTY), array("I", _EMPTY)
        self._used: list[int] = []
        self._used_before: list[int] = []
        self._many = self._many_before = False

    def add(self, names: Iterable[str]) -> None:
        """Count failures."""
        now, before, least = self._now, self._before, self._least
        cells = [hash(name) & _MASK for name in names]
        for cell in cells:
            now[cell] = times = now[cell] + 1
            if times + before[cell] >= least:
                self._many = True
        if len(self._used) < _FEW:
            self._used += cells

    @property
    def quiet(self) -> bool:
        """Whether nobody failed too often."""
        return not (self._many or self._many_before)

    def times(self, name: str) -> int:
        """Return how often a name failed at most."""
        cell = hash(name) & _MASK
        return self._now[cell] + self._before[cell]

    def turn(self) -> None:
        """Forget what was counted before the last turn."""
        over, used = self._before, self._used_before
        if len(used) < _FEW:
            for cell in used:
                over[cell] = 0
        else:
            memoryview(over).cast("B")[:] = _EMPTY
        self._before, self._now = self._now, over
        self._used_before, self._used = self._used, []
        self._many_before, self._many = self._many, False


class PastLogins:
    """Failures and logins in the order of time, or up to ``LAG`` out of it."""

    def __init__(self, window_seconds: int, least: float) -> None:
        """Start empty; nobody is under attack who failed less often than ``least`` within the window."""
        self._window = window_seconds
        self._least = max(1.0, least)
        self._failures: dict[int, list[Pair]] = {}
        self._uncounted: list[Sequence[Pair]] = []
        self._logins: dict[tuple[str, str, int], Success] = {}
        self._begin()

    def _begin(self) -> None:
        self._failures.clear()
        self._uncounted.clear()
        self._logins.clear()
        self._addresses, self._accounts = _Often(self._least), _Often(self._least)
        self._latest = self._done = 0
        self._turned = 0  # the latest second when both were turned last

    def add(self, second: int, pairs: Sequence[Pair]) -> None:
        """Take failures of a second; if it is long over, the log begins anew."""
        if second <= self._done - self._window:
            self._begin()
        if second in self._failures:
            self._failures[second] += pairs
        else:
            self._failures[second] = [*pairs]
        if second > self._latest:
            self._latest = second
        self._uncounted.append(pairs)

    def _count(self) -> None:
        # All of a block at once.
        pairs = list(chain.from_iterable(self._uncounted))
        self._uncounted.clear()
        self._addresses.add(map(itemgetter(0), pairs))
        self._accounts.add(map(itemgetter(1), pairs))

    @property
    def quiet(self) -> bool:
        """Whether nobody failed often, so that no login is of interest."""
        self._count()
        return self._addresses.quiet and self._accounts.quiet

    def wants(self, address: str, account: str) -> bool:
        """Whether a login may be one in the midst of an attack."""
        if self._uncounted:
            self._count()
        tried = self._addresses.times(address)
        return tried >= self._least or (tried > 0 and self._accounts.times(account) >= self._least)

    def login(self, login: Success) -> None:
        """Take a login that is wanted."""
        if len(self._logins) < _MAX_LOGINS:
            self._logins.setdefault((login.address, login.account, login.at), login)
            self._latest = max(self._latest, login.at)

    def judged(self, *, all_read: bool = False) -> Iterator[tuple[Success, Numbers, int]]:
        """Yield the logins that can be judged, what failed before them, and how much in all."""
        last = self._latest if all_read else self._latest - LAG - 1
        if last - self._done < _STEP and not all_read:
            return
        ready = sorted((login for login in self._logins.values() if login.at <= last or all_read), key=_time)
        if ready:
            self._logins = {key: login for key, login in self._logins.items() if login.at > last and not all_read}
            yield from self._numbers(ready)
        self._done = max(self._done, last)
        self._forget(last - self._window)

    def _numbers(self, logins: Sequence[Success]) -> Iterator[tuple[Success, Numbers, int]]:
        of_address: dict[str, Partners] = {login.address: [] for login in logins}
        of_account: dict[str, Partners] = {login.account: [] for login in logins}
        totals: defaultdict[int, int] = defaultdict(int)
        for second in sorted(self._failures):
            pairs = self._failures[second]
            totals[second] += len(pairs)
            for address, account in pairs:
                if address in of_address:
                    of_address[address].append((second, account))
                if account in of_account:
                    of_account[account].append((second, address))
        for login in logins:
            accounts = self._inside(of_address[login.address], login.at)
            addresses = self._inside(of_account[login.account], login.at)
            numbers = Numbers(
                accounts.count(login.account),
                len(accounts),
                len(addresses),
                len({*accounts} - {""}),
                len({*addresses} - {""}),
            )
            total = sum(number for second, number in totals.items() if 0 <= login.at - second < self._window)
            yield login, numbers, total

    def _inside(self, partners: Partners, at: int) -> list[str]:
        """Return the partners within the window that ends with a second."""
        first = bisect_right(partners, at - self._window, key=_time)
        return [partner for _, partner in partners[first : bisect_right(partners, at, key=_time)]]

    def _forget(self, last: int) -> None:
        for second in [second for second in self._failures if second <= last]:
            del self._failures[second]
        if self._turned <= last:
            # All that was counted before the last turn is forgotten.
            self._count()
            self._addresses.turn()
            self._accounts.turn()
            self._turned = self._latest


def _time(entry: Success | tuple[int, str]) -> int:
    return entry[0]
