"""The failures of the last minute, of administrators' last ten, and of the last hour, side by side."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from collectors.auth.spread import MAX_RATE, Spread
from collectors.auth.windows import FailureWindow, Pair

ADMIN_SECONDS = 600
HOUR_SECONDS = 3600
_ADMIN_PAIRS = 20_000

Top = list[tuple[Pair, int]]
"""Addresses and accounts with a number; the one that a number is not about is empty."""


class Check(NamedTuple):
    """Something about failures that an alert watches.

    Attributes:
        alert: The alert that has its threshold.
        seconds: How long it looks back; 0 for the length of the window.
        value: What the alert compares.
        top: Who is behind it.
    """

    alert: str
    seconds: int
    value: Callable[["Failures"], int]
    top: Callable[["Failures", int], Top]


class Failures:
    """All that checks look at.

    Attributes:
        window: The window of the four checks.
        admin: That of failed logins to the administration service.
        accounts: By address, how many accounts failed within the hour.
        addresses: By account, how many addresses.
    """

    def __init__(self, window_seconds: int) -> None:
        """Start empty."""
        self.window = FailureWindow(window_seconds, "window")
        self.admin = FailureWindow(ADMIN_SECONDS, "admin", _ADMIN_PAIRS)
        self.accounts = Spread("accounts")
        self.addresses = Spread("addresses")
        self._second = 0
        self._left = MAX_RATE

    def add(self, second: int, now: float, pairs: Sequence[Pair]) -> None:
        """Count failures in the second their lines name, wherever that is not over by ``now``."""
        if second <= now - HOUR_SECONDS:
            return
        fresh = [pair for pair in self.window.add(second, now, pairs) if pair[0] and pair[1]]
        if second != self._second:
            self._second, self._left = second, MAX_RATE
        fresh = fresh[: self._left]
        if fresh:
            self._left -= len(fresh)
            of_account, of_address = self.accounts.hash, self.addresses.hash
            self.accounts.add(second, now, [(address, of_account(account)) for address, account in fresh])
            self.addresses.add(second, now, [(account, of_address(address)) for address, account in fresh])

    def expire(self, now: float) -> None:
        """Forget what is over by ``now``."""
        for part in (self.window, self.admin, self.accounts, self.addresses):
            part.expire(now)

    def changes(self) -> dict[str, str | None]:
        """Return the rows that changed since the last call, None for one to delete."""
        rows: dict[str, str | None] = {}
        for part in (self.window, self.admin, self.accounts, self.addresses):
            rows |= part.changes()
        return rows

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        for part in (self.window, self.admin, self.accounts, self.addresses):
            part.restore(saved)


def _addresses(top: Sequence[tuple[str, int]]) -> Top:
    return [((address, ""), count) for address, count in top]


def _accounts(top: Sequence[tuple[str, int]]) -> Top:
    return [(("", account), count) for account, count in top]


def _both(window: FailureWindow, number: int) -> Top:
    half = (number + 1) // 2
    return _addresses(window.addresses.top(half)) + _accounts(window.accounts.top(half))


CHECKS = {
    "ip_account": Check(
        "ZcsAuthIpAccountFailures", 0, lambda f: f.window.pairs.largest, lambda f, n: f.window.pairs.top((n + 1) // 2)
    ),
    "account": Check(
        "ZcsAuthAccountFailures",
        0,
        lambda f: f.window.accounts.largest,
        lambda f, n: _accounts(f.window.accounts.top(n)),
    ),
    "ip": Check(
        "ZcsAuthIpFailures",
        0,
        lambda f: f.window.addresses.largest,
        lambda f, n: _addresses(f.window.addresses.top(n)),
    ),
    "total": Check("ZcsAuthTotalFailures", 0, lambda f: f.window.total, lambda f, n: _both(f.window, n)),
    "spray": Check(
        "ZcsAuthSpraying",
        0,
        lambda f: f.window.accounts_per_address.largest,
        lambda f, n: _addresses(f.window.accounts_per_address.top(n)),
    ),
    "distributed": Check(
        "ZcsAuthDistributed",
        0,
        lambda f: f.window.addresses_per_account.largest,
        lambda f, n: _accounts(f.window.addresses_per_account.top(n)),
    ),
    "slow_spray": Check(
        "ZcsAuthSlowSpraying", HOUR_SECONDS, lambda f: f.accounts.largest, lambda f, n: _addresses(f.accounts.top(n))
    ),
    "slow_distributed": Check(
        "ZcsAuthSlowDistributed",
        HOUR_SECONDS,
        lambda f: f.addresses.largest,
        lambda f, n: _accounts(f.addresses.top(n)),
    ),
    "admin": Check("ZcsAuthAdminFailures", ADMIN_SECONDS, lambda f: f.admin.total, lambda f, n: _both(f.admin, n)),
}
"""Every check by the name it has in labels and records."""
