"""The failures of the last minute, of administrators' last ten, and of the last hour, side by side."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from collectors.auth.spread import MAX_RATE, SLICE, Spread
from collectors.auth.windows import Counts, FailureWindow, Pair

ADMIN_SECONDS = 600
HOUR_SECONDS = 3600
ADMIN_PAIRS = 20_000

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
        self.admin = FailureWindow(ADMIN_SECONDS, "admin", ADMIN_PAIRS)
        self.accounts = Spread("accounts")
        self.addresses = Spread("addresses")
        self._second = self._slice = 0
        self._left = MAX_RATE

    def add(self, second: int, now: float, counts: Counts) -> None:
        """Count failures in the second their lines name, wherever that is not over by ``now``."""
        if second <= now - HOUR_SECONDS:
            return
        fresh = self.window.add(second, now, counts)
        if second != self._second:
            self._second, self._left = second, MAX_RATE
        fresh = fresh[: self._left]
        if fresh:
            self._left -= len(fresh)
            addresses, accounts = [address for address, _ in fresh], [account for _, account in fresh]
            self.accounts.add(second, now, addresses, accounts)
            self.addresses.add(second, now, accounts, addresses)

    def expire(self, now: float) -> None:
        """Forget what is over by ``now``."""
        self.window.expire(now)
        self.admin.expire(now)
        if int(now) // SLICE != self._slice:
            self._slice = int(now) // SLICE
            self.accounts.expire(now)
            self.addresses.expire(now)

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


def _number(top: Sequence[tuple[str, int]]) -> int:
    return top[0][1] if top else 0


def _addresses(top: Sequence[tuple[str, int]]) -> Top:
    return [((address, ""), count) for address, count in top]


def _accounts(top: Sequence[tuple[str, int]]) -> Top:
    return [(("", account), count) for account, count in top]


def top_of_both(window: FailureWindow, number: int) -> Top:
    """Return the addresses and the accounts that failed most often."""
    half = (number + 1) // 2
    return _addresses(window.top_addresses(half)) + _accounts(window.top_accounts(half))


CHECKS = {
    "ip_account": Check(
        "ZcsAuthIpAccountFailures", 0, lambda f: f.window.pair_failures(), lambda f, n: f.window.top_pairs((n + 1) // 2)
    ),
    "account": Check(
        "ZcsAuthAccountFailures",
        0,
        lambda f: f.window.account_failures(),
        lambda f, n: _accounts(f.window.top_accounts(n)),
    ),
    "ip": Check(
        "ZcsAuthIpFailures",
        0,
        lambda f: f.window.address_failures(),
        lambda f, n: _addresses(f.window.top_addresses(n)),
    ),
    "total": Check("ZcsAuthTotalFailures", 0, lambda f: f.window.total, lambda f, n: top_of_both(f.window, n)),
    "spray": Check(
        "ZcsAuthSpraying",
        0,
        lambda f: _number(f.window.address_accounts()),
        lambda f, n: _addresses(f.window.address_accounts(n)),
    ),
    "distributed": Check(
        "ZcsAuthDistributed",
        0,
        lambda f: _number(f.window.account_addresses()),
        lambda f, n: _accounts(f.window.account_addresses(n)),
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
    "admin": Check(
        "ZcsAuthAdminFailures", ADMIN_SECONDS, lambda f: f.admin.total, lambda f, n: top_of_both(f.admin, n)
    ),
}
"""Every check by the name it has in labels and records."""
