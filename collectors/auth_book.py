"""What is kept about logins: totals, windows and whom they accuse; all of it survives a restart."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from itertools import chain

from collectors import auth_metrics as metric
from collectors.auth_client import Client, parse_address
from collectors.auth_smtp import SmtpLogins
from collectors.auth_windows import FailureWindow
from zcs_exporter.contract import Event, Evidence, EvidenceItem, EvidenceKind, Sample

ADMIN_SECONDS = 600
_ADMIN_ENTRIES = 20_000
_MAX_ACCOUNT = 256
_MAX_CLAIMS = 1024
_MAX_LOCKED = 100
_EVIDENCE = 10
_CLAIMS_SHOWN = 3
_UNTRUSTED_LEAST = 50  # failures from which one private address tells something
_UNTRUSTED_SHARE = 0.95
_DUPLICATE_SECONDS = 5
_MAX_REFUSED = 64

_PRIVATE = tuple(
    ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7")
)

LOCKED_OUT = "ZcsAuthAccountLockedOut"


class AuthBook:
    """Counters and windows over logins.

    Attributes:
        smtp: Logins under way on the MTA.
        clocks: Time of the last line by log.
    """

    def __init__(self, window_seconds: int) -> None:
        self.failures: Counter[tuple[str, str]] = Counter()
        self.successes: Counter[str] = Counter()
        self.injections: Counter[str] = Counter()
        self.unparsed: Counter[str] = Counter()
        self.lockouts = 0
        self.window = FailureWindow(window_seconds, "window")
        self.admin = FailureWindow(ADMIN_SECONDS, "admin", _ADMIN_ENTRIES)
        self.smtp = SmtpLogins()
        self.clocks: dict[str, int] = {}
        self._claims: dict[str, tuple[str, ...]] = {}
        self._locked: list[tuple[int, str]] = []
        self._locked_more = 0
        self._refused: dict[str, int] = {}
        self._saved_counters = ""
        self._saved_state = ""

    def resize(self, window_seconds: int) -> None:
        """Change the length of the window; what a longer one would have held is gone."""
        self.window.seconds = window_seconds

    def fail(self, at: int | None, now: float, client: Client, account: str, protocol: str, reason: str) -> None:
        """Count a failure, in the windows only where its line has a time."""
        self.failures[protocol, reason] += 1
        if at is None:
            return
        account = account[:_MAX_ACCOUNT].lower()
        self.window.add(at, now, client.address, account)
        if protocol == "admin":
            self.admin.add(at, now, client.address, account)
        if client.claimed:
            self._claims.pop(client.address, None)
            self._claims[client.address] = client.claimed
            if len(self._claims) > _MAX_CLAIMS:
                del self._claims[next(iter(self._claims))]

    def lock(self, at: int | None, account: str, *, live: bool) -> None:
        """Count a lockout, and tell of it unless it is over."""
        self.lockouts += 1
        if not live or at is None:
            return
        if len(self._locked) < _MAX_LOCKED:
            self._locked.append((at, account[:_MAX_ACCOUNT]))
        else:
            self._locked_more += 1

    def refused(self, at: int, thread: str) -> None:
        """Remember that a thread refused a login, which an old release repeats as AdminAuth."""
        self._refused.pop(thread, None)
        self._refused[thread] = at
        if len(self._refused) > _MAX_REFUSED:
            del self._refused[next(iter(self._refused))]

    def repeats(self, at: int | None, thread: str) -> bool:
        """Whether the refusal of an AdminAuth only repeats that of the login before it in its thread."""
        before = self._refused.pop(thread, None)
        return before is not None and at is not None and 0 <= at - before <= _DUPLICATE_SECONDS

    def expire(self, now: float) -> None:
        """Forget what is over."""
        self.window.expire(now)
        self.admin.expire(now)
        if not self.window.total:
            self._claims.clear()

    def events(self) -> Iterator[Event]:
        """Return the lockouts since the last call as one event."""
        if self._locked:
            accounts = Counter(account for _, account in self._locked)
            evidence = [EvidenceItem(EvidenceKind.ACCOUNT, name) for name in list(accounts)[:_EVIDENCE] if name]
            count = len(self._locked) + self._locked_more
            yield Event(LOCKED_OUT, float(self._locked[-1][0]), {"accounts": str(count)}, tuple(evidence))
            self._locked, self._locked_more = [], 0

    def proxies_untrusted(self) -> bool:
        """Whether one private address is behind nearly all failures of several accounts, as an untrusted proxy's is."""
        window = self.window
        if window.addresses.largest < max(_UNTRUSTED_LEAST, _UNTRUSTED_SHARE * window.total):
            return False
        ((text, _),) = window.addresses.top(1)
        address = parse_address(text)
        private = address is not None and any(address in network for network in _PRIVATE)
        return private and window.accounts_per_address.counts.get(text, 0) > 1

    def counter_samples(self, *, store: bool, mta: bool, proxy: bool, logs: tuple[str, ...]) -> Iterator[Sample]:
        """Return the totals; those of the roles given start at 0."""
        failures = dict.fromkeys(
            chain(
                metric.STORE_FAILURES if store else (),
                metric.MTA_FAILURES if mta else (),
                metric.PROXY_FAILURES if proxy else (),
                self.failures,
            )
        )
        for protocol, reason in failures:
            yield metric.FAILURES.sample(self.failures[protocol, reason], protocol=protocol, reason=reason)
        successes = chain(metric.STORE_PROTOCOLS if store else (), ("smtp",) if mta else (), self.successes)
        for protocol in dict.fromkeys(successes):
            yield metric.SUCCESSES.sample(self.successes[protocol], protocol=protocol)
        if store or self.lockouts:
            yield metric.LOCKOUTS.sample(self.lockouts)
        for imitated in metric.IMITATED:
            yield metric.INJECTIONS.sample(self.injections[imitated], imitates=imitated)
        for log in dict.fromkeys(chain(logs, self.unparsed)):
            yield metric.UNPARSED.sample(self.unparsed[log], log=log)

    def window_samples(self, *, store: bool, mta: bool, now: float) -> Iterator[Sample]:
        """Return what the checks look at, with those behind it."""
        window = self.window
        checks = {
            "ip_account": (window.pairs.largest, _pairs(window.pairs.top(_EVIDENCE // 2))),
            "account": (window.accounts.largest, _accounts(window.accounts.top(_EVIDENCE))),
            "ip": (window.addresses.largest, self._addresses(window.addresses.top(_EVIDENCE))),
            "total": (window.total, _everyone(window)),
        }
        for check, (value, evidence) in checks.items():
            yield metric.WINDOW_FAILURES.sample(value, check=check, evidence=evidence)
            yield metric.CHECKS[check].sample(value, evidence=evidence)
        yield metric.ACCOUNTS_PER_IP.sample(
            window.accounts_per_address.largest,
            evidence=self._addresses(window.accounts_per_address.top(_EVIDENCE)),
        )
        yield metric.ADDRESSES_PER_ACCOUNT.sample(
            window.addresses_per_account.largest, evidence=_accounts(window.addresses_per_account.top(_EVIDENCE))
        )
        if store:
            yield metric.ADMIN_FAILURES.sample(self.admin.total, evidence=_everyone(self.admin))
        if mta:
            yield metric.UNANSWERED.sample(self.smtp.unanswered if self.smtp.out_of_reach(now) else 0)

    def changes(self) -> dict[str, str | None]:
        """Return the rows that changed since the last call."""
        rows = self.window.changes() | self.admin.changes()
        counters = json.dumps(
            {
                "failures": {f"{protocol} {reason}": n for (protocol, reason), n in self.failures.items()},
                "successes": self.successes,
                "injections": self.injections,
                "unparsed": self.unparsed,
                "lockouts": self.lockouts,
            }
        )
        state = json.dumps(
            {
                "smtp": self.smtp.save(),
                "clocks": self.clocks,
                "refused": self._refused,
                "locked": self._locked,
                "locked_more": self._locked_more,
            }
        )
        if counters != self._saved_counters:
            rows["counters"] = self._saved_counters = counters
        if state != self._saved_state:
            rows["state"] = self._saved_state = state
        return rows

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        self.window.restore(saved)
        self.admin.restore(saved)
        if "counters" in saved:
            counters = json.loads(saved["counters"])
            for name, count in counters["failures"].items():
                protocol, _, reason = name.partition(" ")
                self.failures[protocol, reason] = count
            self.successes.update(counters["successes"])
            self.injections.update(counters["injections"])
            self.unparsed.update(counters["unparsed"])
            self.lockouts = counters["lockouts"]
            self._saved_counters = saved["counters"]
        if "state" in saved:
            state = json.loads(saved["state"])
            self.smtp.restore(state["smtp"])
            self.clocks = state["clocks"]
            self._refused = state["refused"]
            self._locked = [(at, account) for at, account in state["locked"]]
            self._locked_more = state["locked_more"]
            self._saved_state = saved["state"]

    def _addresses(self, top: list[tuple[str, int]]) -> Evidence:
        """Return addresses, and after them what those behind them only claimed to be."""
        claims = [
            EvidenceItem(EvidenceKind.ADDRESS, f"{claim} (claimed by {address})")
            for address, _ in top
            for claim in self._claims.get(address, ())
        ][:_CLAIMS_SHOWN]
        items = [EvidenceItem(EvidenceKind.ADDRESS, address, count) for address, count in top]
        return (*items[: _EVIDENCE - len(claims)], *claims)


def _everyone(window: FailureWindow) -> Evidence:
    half = _EVIDENCE // 2
    addresses = [EvidenceItem(EvidenceKind.ADDRESS, text, count) for text, count in window.addresses.top(half)]
    return (*addresses, *_accounts(window.accounts.top(half)))


def _accounts(top: list[tuple[str, int]]) -> Evidence:
    return tuple(EvidenceItem(EvidenceKind.ACCOUNT, account, count) for account, count in top)


def _pairs(top: list[tuple[tuple[str, str], int]]) -> Evidence:
    items = []
    for (address, account), count in top:
        items.append(EvidenceItem(EvidenceKind.ADDRESS, address, count))
        items.append(EvidenceItem(EvidenceKind.ACCOUNT, account, count))
    return tuple(items)
