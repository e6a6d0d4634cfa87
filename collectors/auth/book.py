"""What is kept about logins: totals, windows and whom they accuse; all of it survives a restart."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from itertools import chain

from collectors.auth import metrics as metric
from collectors.auth.breach import Told
from collectors.auth.client import Client, Servers, parse_address
from collectors.auth.failures import CHECKS, HOUR_SECONDS, Failures, Top
from collectors.auth.habits import Habits
from collectors.auth.replay import Replays
from collectors.auth.smtp import SmtpLogins
from collectors.auth.twins import Twins
from collectors.auth.windows import Pair
from collectors.formats.audit_log import CAUSES
from zcs_exporter.contract import Event, Evidence, EvidenceItem, EvidenceKind, Sample

MAX_ACCOUNT = 256
_MAX_CLAIMS = 1024
_MAX_TOLD = 100
_EVIDENCE = 10
_CLAIMS_SHOWN = 3
_UNTRUSTED_LEAST = 50  # failures from which one private address tells something
_UNTRUSTED_SHARE = 0.95
_DUPLICATE_SECONDS = 5
_MAX_REFUSED = 64
_SUSPENDED_SECONDS = 900
_MAX_SUSPENDED = 256

_PRIVATE = tuple(
    ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7")
)

LOCKED_OUT = "ZcsAuthAccountLockedOut"
SUSPENDED = "ZcsAuthAddressSuspended"
CHANGED = "ZcsAuthConfigurationChanged"
BREACHED = "ZcsAuthLoginAfterAttack"
_COUNT_LABEL = {LOCKED_OUT: "accounts", SUSPENDED: "addresses", CHANGED: "changes", BREACHED: "logins"}
_EVIDENCE_KIND = {
    LOCKED_OUT: EvidenceKind.ACCOUNT,
    SUSPENDED: EvidenceKind.ADDRESS,
    CHANGED: EvidenceKind.ACCOUNT,
    BREACHED: EvidenceKind.ACCOUNT,
}

_OWN_METRIC = {
    "ip_account": metric.IP_ACCOUNT_FAILURES,
    "account": metric.ACCOUNT_FAILURES,
    "ip": metric.IP_FAILURES,
    "total": metric.TOTAL_FAILURES,
    "spray": metric.ACCOUNTS_PER_IP,
    "distributed": metric.ADDRESSES_PER_ACCOUNT,
    "slow_spray": metric.HOUR_ACCOUNTS_PER_IP,
    "slow_distributed": metric.HOUR_ADDRESSES_PER_ACCOUNT,
}
_BY_LABEL = ("ip_account", "account", "ip", "total")


def like_a_proxy(text: str, failures: int, total: int, servers: Servers) -> bool:
    """Whether an address is one that clients seldom have, and behind nearly all failures."""
    if failures < max(_UNTRUSTED_LEAST, _UNTRUSTED_SHARE * total):
        return False
    address = parse_address(text)
    return address is not None and (address in servers or any(address in network for network in _PRIVATE))


class AuthBook:
    """Counters and windows over logins.

    Attributes:
        failed: The windows.
        replays: Those over lines that are over.
        smtp: Logins under way on the MTA.
        twins: Refused administrators of whom a second log may tell.
        breaches: Logins after an attack that were told.
        habits: Who logs in from where.
        clocks: Time of the last line by log.
    """

    def __init__(self, window_seconds: int) -> None:
        self.failures: Counter[tuple[str, str]] = Counter()
        self.successes: Counter[str] = Counter()
        self.injections: Counter[str] = Counter()
        self.unparsed: Counter[str] = Counter()
        self.external: Counter[str] = Counter()
        self.recovery: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.lockouts = 0
        self.suspensions = 0
        self.suspended_requests = 0
        self.failed = Failures(window_seconds)
        self.replays = Replays(window_seconds)
        self.smtp = SmtpLogins()
        self.twins = Twins()
        self.breaches = Told()
        self.habits = Habits()
        self.clocks: dict[str, int] = {}
        self._claims: dict[str, tuple[str, ...]] = {}
        # What events will tell: when and who, and how many more than are kept.
        self._told: dict[str, list[tuple[int, str]]] = {}
        self._more: Counter[str] = Counter()
        self._commands: set[str] = set()
        self._from: dict[str, None] = {}  # addresses of logins after an attack
        self._refused: dict[str, int] = {}
        self._suspended: dict[str, int] = {}
        self._directory: Counter[int] = Counter()
        self._saved_counters = ""
        self._saved_state = ""

    def resize(self, window_seconds: int) -> None:
        """Change the length of the window; what a longer one would have held is gone."""
        self.failed.window.seconds = window_seconds
        self.replays.window_seconds = window_seconds

    def fail(self, log: str, second: int, now: float, pairs: Sequence[Pair], *, admin: bool, live: bool) -> None:
        """Count failures of one second in the windows, and where they are over in those of their own time."""
        if second > now - HOUR_SECONDS:
            counts = Counter(pairs)
            self.failed.add(second, now, counts)
            if admin:
                self.failed.admin.add(second, now, counts)
        if not live:
            self.replays.add(log, min(second, int(now)), pairs, admin=admin)

    def claim(self, client: Client) -> None:
        """Remember what those behind an address only claimed to be."""
        self._claims.pop(client.address, None)
        self._claims[client.address] = client.claimed
        if len(self._claims) > _MAX_CLAIMS:
            del self._claims[next(iter(self._claims))]

    def not_answered(self, second: int, now: float) -> None:
        """Count a login that a directory server did not answer."""
        if self.failed.window.takes(second, now):
            self._directory[min(second, int(now))] += 1

    def tell(self, event: str, at: int, who: str, command: str = "") -> None:
        """Have an event tell of something that happens now."""
        told = self._told.setdefault(event, [])
        if len(told) < _MAX_TOLD:
            told.append((at, who[:MAX_ACCOUNT]))
        else:
            self._more[event] += 1
        if command:
            self._commands.add(command)

    def tell_breach(self, at: int, address: str, account: str) -> None:
        """Have an event tell of a login after an attack."""
        self.tell(BREACHED, at, account)
        if len(self._from) < _MAX_TOLD:
            self._from[address] = None

    def suspend(self, at: int, address: str) -> bool:
        """Count a request refused from an address, and return whether it is the first in a while."""
        self.suspended_requests += 1
        before = self._suspended.pop(address, None)
        self._suspended[address] = at
        if len(self._suspended) > _MAX_SUSPENDED:
            del self._suspended[next(iter(self._suspended))]
        if before is not None and abs(at - before) < _SUSPENDED_SECONDS:
            return False
        self.suspensions += 1
        return True

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
        self.failed.expire(now)
        window = self.failed.window
        for second in [s for s in self._directory if s <= now - window.seconds or s > now + window.seconds]:
            del self._directory[second]
        if not window.total and not self.failed.accounts.largest:
            self._claims.clear()

    def events(self) -> Iterator[Event]:
        """Return what happened since the last call, one event of each kind."""
        for name, told in self._told.items():
            labels = {_COUNT_LABEL[name]: str(len(told) + self._more[name])}
            if name == CHANGED:
                labels["commands"] = ", ".join(sorted(self._commands))
            kind = _EVIDENCE_KIND[name]
            who = dict.fromkeys(text for _, text in told if text)
            addresses = list(self._from)[: _EVIDENCE // 2] if name == BREACHED else []
            evidence = [EvidenceItem(kind, text) for text in list(who)[: _EVIDENCE - len(addresses)]]
            evidence += (EvidenceItem(EvidenceKind.ADDRESS, text) for text in addresses)
            yield Event(name, float(told[-1][0]), labels, tuple(evidence))
        self._told.clear()
        self._more.clear()
        self._commands.clear()
        self._from.clear()

    def untrusted_proxy(self, servers: Servers) -> str | None:
        """Return the address behind nearly all failures of several accounts if it may be a proxy that is not trusted.

        Clients seldom have such an address: a private one, or that of one of our servers.
        """
        window = self.failed.window
        if not window.total:
            return None
        ((text, failures),) = window.top_addresses(1) or [("", 0)]
        return text if like_a_proxy(text, failures, window.total, servers) and window.accounts_of(text) > 1 else None

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
        for cause in CAUSES if store else self.external:
            yield metric.EXTERNAL_FAILURES.sample(self.external[cause], cause=cause)
        for outcome in metric.RECOVERY_OUTCOMES if store else self.recovery:
            yield metric.RECOVERY_CODES.sample(self.recovery[outcome], outcome=outcome)
        if store or self.suspended_requests:
            yield metric.SUSPENSIONS.sample(self.suspensions)
            yield metric.SUSPENDED_REQUESTS.sample(self.suspended_requests)
        for command, times in self.operations.items():
            yield metric.OPERATIONS.sample(times, command=command)
        for imitated in metric.IMITATED:
            yield metric.INJECTIONS.sample(self.injections[imitated], imitates=imitated)
        for log in dict.fromkeys(chain(logs, self.unparsed)):
            yield metric.UNPARSED.sample(self.unparsed[log], log=log)

    def window_samples(self, servers: Servers, *, store: bool, mta: bool, now: float) -> Iterator[Sample]:
        """Return what the checks look at, with those behind it."""
        failed = self.failed
        for name, own in _OWN_METRIC.items():
            value, evidence = CHECKS[name].value(failed), self._evidence(CHECKS[name].top(failed, _EVIDENCE))
            if name in _BY_LABEL:
                yield metric.WINDOW_FAILURES.sample(value, check=name, evidence=evidence)
            yield own.sample(value, evidence=evidence)
        if store:
            admin = CHECKS["admin"]
            yield metric.ADMIN_FAILURES.sample(
                admin.value(failed), evidence=self._evidence(admin.top(failed, _EVIDENCE))
            )
            yield metric.DIRECTORY_ERRORS.sample(self._directory.total())
        if mta:
            yield metric.UNANSWERED.sample(self.smtp.unanswered if self.smtp.out_of_reach(now) else 0)
        proxy = self.untrusted_proxy(servers)
        accused = () if proxy is None else (EvidenceItem(EvidenceKind.ADDRESS, proxy),)
        yield metric.PROXIES_UNTRUSTED.sample(proxy is not None, evidence=accused)

    def changes(self) -> dict[str, str | None]:
        """Return the rows that changed since the last call."""
        rows = self.failed.changes() | self.replays.changes() | self.habits.changes()
        counters = json.dumps(
            {
                "failures": {f"{protocol} {reason}": n for (protocol, reason), n in self.failures.items()},
                "successes": self.successes,
                "injections": self.injections,
                "unparsed": self.unparsed,
                "external": self.external,
                "recovery": self.recovery,
                "operations": self.operations,
                "lockouts": self.lockouts,
                "suspensions": self.suspensions,
                "suspended_requests": self.suspended_requests,
            }
        )
        state = json.dumps(
            {
                "smtp": self.smtp.save(),
                "clocks": self.clocks,
                "refused": self._refused,
                "told": self._told,
                "more": self._more,
                "commands": sorted(self._commands),
                "from": list(self._from),
                "breaches": self.breaches.save(),
                "suspended": self._suspended,
                "directory": self._directory,
            }
        )
        if counters != self._saved_counters:
            rows["counters"] = self._saved_counters = counters
        if state != self._saved_state:
            rows["state"] = self._saved_state = state
        return rows

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        self.failed.restore(saved)
        self.replays.restore(saved)
        self.habits.restore(saved)
        if "counters" in saved:
            counters = json.loads(saved["counters"])
            for name, count in counters["failures"].items():
                protocol, _, reason = name.partition(" ")
                self.failures[protocol, reason] = count
            for name in ("successes", "injections", "unparsed", "external", "recovery", "operations"):
                getattr(self, name).update(counters[name])
            self.lockouts = counters["lockouts"]
            self.suspensions = counters["suspensions"]
            self.suspended_requests = counters["suspended_requests"]
            self._saved_counters = saved["counters"]
        if "state" in saved:
            state = json.loads(saved["state"])
            self.smtp.restore(state["smtp"])
            self.clocks = state["clocks"]
            self._refused = state["refused"]
            self._told = {name: [(at, who) for at, who in told] for name, told in state["told"].items()}
            self._more.update(state["more"])
            self._commands = set(state["commands"])
            # An earlier release saved neither.
            self._from = dict.fromkeys(state.get("from", ()))
            self.breaches.restore(state.get("breaches", ()))
            self._suspended = state["suspended"]
            self._directory.update({int(second): times for second, times in state["directory"].items()})
            self._saved_state = saved["state"]

    def _evidence(self, top: Top) -> Evidence:
        """Return who is behind a number, and after addresses what those behind them only claimed to be."""
        items: list[EvidenceItem] = []
        for (address, account), count in top:
            if address:
                items.append(EvidenceItem(EvidenceKind.ADDRESS, address, count))
            if account:
                items.append(EvidenceItem(EvidenceKind.ACCOUNT, account, count))
        claims = [
            EvidenceItem(EvidenceKind.ADDRESS, f"{claim} (claimed by {address})")
            for (address, account), _ in top
            if not account
            for claim in self._claims.get(address, ())
        ][:_CLAIMS_SHOWN]
        return (*items[: _EVIDENCE - len(claims)], *claims)
