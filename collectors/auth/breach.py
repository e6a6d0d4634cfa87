"""Logins that succeed in the midst of an attack: perhaps the password was guessed at last.

A login is told when its address failed too often by one of the checks by address, or when its account did and this
very address failed with it. An account that logged in from there before is most likely at home there: beside a
device that keeps an old password, or in an office behind one address. That is told too, but is no alarm.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from collectors.auth.failures import Failures
from collectors.auth.windows import Pair

_BY_ADDRESS = ("ip_account", "ip", "spray", "slow_spray")
_BY_ACCOUNT = ("account", "distributed", "slow_distributed")
_MAX_TOLD = 512
_TOLD_SECONDS = 3600


class Success(NamedTuple):
    """A login that succeeded.

    Attributes:
        protocol: One of ``audit_log.PROTOCOLS``.
        stamp: How its line begins.
        context: Of its line.
        log: Path of the log.
        needle: A part of its line by which it is found; empty where the context does.
        offset: Of its line; None where nobody has looked.
    """

    at: int
    address: str
    account: str
    protocol: str
    stamp: bytes
    context: bytes
    log: str
    needle: bytes = b""
    offset: int | None = None

    @property
    def pair(self) -> Pair:
        """Address and account."""
        return self.address, self.account


class Numbers(NamedTuple):
    """How often failed, when a login succeeded, its address with its account and each of them, and with how many.

    Attributes:
        accounts: How many different ones its address failed with within the window.
        addresses: How many its account did.
    """

    pair: int
    address: int
    account: int
    accounts: int
    addresses: int
    hour_accounts: int = 0
    hour_addresses: int = 0

    def too_many(self, thresholds: Mapping[str, float]) -> tuple[str, int] | None:
        """Return the first check by which it is an attack, and its number."""
        by_address = (self.pair, self.address, self.accounts, self.hour_accounts)
        by_account = (self.account, self.addresses, self.hour_addresses)
        found = [*zip(_BY_ADDRESS, by_address, strict=True)]
        if self.pair:
            found += zip(_BY_ACCOUNT, by_account, strict=True)
        for check, number in found:
            if check in thresholds and number >= thresholds[check]:
                return check, number
        return None


def numbers_now(failures: Failures, address: str, account: str) -> Numbers:
    """Return the numbers of the windows that end now."""
    window = failures.window
    pair, of_address, of_account = window.failures_of(address, account)
    return Numbers(
        pair,
        of_address,
        of_account,
        window.accounts_of(address) if of_address else 0,
        window.addresses_of(account),
        failures.accounts.partners(address),
        failures.addresses.partners(account),
    )


def least(thresholds: Mapping[str, float]) -> float:
    """Return how often an address or account fails at least that is under attack by a check of the window."""
    checks = {*_BY_ADDRESS, *_BY_ACCOUNT} - {"slow_spray", "slow_distributed"}
    return min((number for check, number in thresholds.items() if check in checks), default=float("inf"))


class Told:
    """Whom was told of: each account from each address once an hour."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._at: dict[Pair, int] = {}

    def lately(self, pair: Pair, at: int) -> bool:
        """Whether it was told within an hour."""
        before = self._at.get(pair)
        return before is not None and abs(at - before) < _TOLD_SECONDS

    def add(self, pair: Pair, at: int) -> None:
        """Take note that it is told."""
        self._at.pop(pair, None)
        self._at[pair] = at
        if len(self._at) > _MAX_TOLD:
            del self._at[next(iter(self._at))]

    def save(self) -> list[tuple[str, str, int]]:
        """Return the state as plain JSON data."""
        return [(*pair, at) for pair, at in self._at.items()]

    def restore(self, saved: Sequence[tuple[str, str, int]]) -> None:
        """Take over what ``save`` gave."""
        self._at = {(address, account): at for address, account, at in saved}
