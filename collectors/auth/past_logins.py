"""Logins in the midst of attacks of the past, in one log whose lines were over when they were read.

Beside the log itself nothing is looked at: failures that another one tells do not count here, nor those of the
checks of an hour. A restart forgets the last two minutes of the log.
"""

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import ceil

from collectors.auth.breach import Numbers, Success
from collectors.auth.windows import Pair

LAG = 60
"""Seconds by which the lines of a log may come out of order."""

_STEP = 15  # seconds of the log that are judged together
_CELLS = 1 << 20
_MASK = _CELLS - 1
_MAX_TIMES = (1 << 16) - 1
_MAX_LOGINS = 5000  # that wait to be judged

Partners = list[tuple[int, str]]
"""When one failed, and with what."""


class PastLogins:
    """Failures and logins in the order of time, or up to ``LAG`` out of it."""

    def __init__(self, window_seconds: int, least: float) -> None:
        """Start empty; nobody is under attack who failed less often than ``least`` within the window."""
        self._window = window_seconds
        self._least = max(1, ceil(min(least, _MAX_TIMES)))
        self._failures: dict[int, list[Pair]] = {}
        self._logins: dict[tuple[str, str, int], Success] = {}
        # Failures by address and by account, each in one of so many cells, which some share: never too few.
        self._of_address, self._of_account = array("H", bytes(2 * _CELLS)), array("H", bytes(2 * _CELLS))
        self._many = 0  # cells with too many
        self._latest = self._done = 0

    def add(self, second: int, pairs: Sequence[Pair]) -> None:
        """Take failures of a second; if it is long over, the log begins anew."""
        if second <= self._done - self._window:
            self._forget(self._latest)
            self._logins.clear()
            self._latest = self._done = 0
        if second in self._failures:
            self._failures[second] += pairs
        else:
            self._failures[second] = [*pairs]
        if second > self._latest:
            self._latest = second
        of_address, of_account, least = self._of_address, self._of_account, self._least
        for address, account in pairs:
            cell = hash(address) & _MASK
            times = of_address[cell] + 1
            if times <= _MAX_TIMES:
                of_address[cell] = times
                self._many += times == least
            cell = hash(account) & _MASK
            times = of_account[cell] + 1
            if times <= _MAX_TIMES:
                of_account[cell] = times
                self._many += times == least

    @property
    def quiet(self) -> bool:
        """Whether nobody failed often, so that no login is of interest."""
        return not self._many

    def wants(self, address: str, account: str) -> bool:
        """Whether a login may be one in the midst of an attack."""
        tried = self._of_address[hash(address) & _MASK]
        return tried >= self._least or (tried > 0 and self._of_account[hash(account) & _MASK] >= self._least)

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
        least = self._least
        for second in [second for second in self._failures if second <= last]:
            for pair in self._failures.pop(second):
                for cells, name in ((self._of_address, pair[0]), (self._of_account, pair[1])):
                    cell = hash(name) & _MASK
                    times = cells[cell]
                    if times < _MAX_TIMES:  # a full one has lost count
                        cells[cell] = times - 1
                        self._many -= times == least


def _time(entry: Success | tuple[int, str]) -> int:
    return entry[0]
