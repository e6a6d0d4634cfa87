"""Logins that failed and succeeded, who is behind the failures, and the four checks of zmauditswatch.

Each failure is counted once in a cluster: SOAP, IMAP, POP and HTTP by the store's audit.log, SMTP by
the MTA's syslog from Postfix's line alone, and unknown names by the proxy that refused them. So audit
lines of the port that saslauthd asks (7073, up to 8.6: 7071 from an MTA's address) are left out. SOAP
at the administration URL is protocol ``admin``. An SMTP success is one that saslauthd tells.

The checks count failures in sliding windows of whole seconds, in the time that lines name. They end by
the wall clock, so what a daemon reads late counts in the totals and alarms nobody.

Source: log/audit.log, log/imapd-audit.log, log/nginx.log, /var/log/zimbra.log, localconfig.xml and /proc/net.
Privileges: group zimbra for ZCS's logs; CAP_DAC_READ_SEARCH for /var/log/zimbra.log where syslog owns it.
Cost: about 1 s of CPU for a million lines, 20 s if all are failures; up to 250 MB in a window of 400,000 failures.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from ipaddress import ip_network
from typing import Annotated, ClassVar

from pydantic import BeforeValidator

from collectors import auth_metrics
from collectors.auth_book import AuthBook
from collectors.auth_client import NOBODY, Client, Network, parse_address
from collectors.auth_nginx import NEEDLE as UNKNOWN_USER
from collectors.auth_nginx import parse_unknown_user
from collectors.auth_site import AUDIT_LOGS, DEFAULT_SECONDS, PROXY_LOG, SYSLOG, Site, read_site
from collectors.auth_smtp import OTHER, Told, is_smtpd, parse_saslauthd, parse_smtpd
from collectors.formats.audit_log import (
    FAILED,
    AuditLine,
    Kind,
    Login,
    parse_context,
    read_entry,
    sort_audit_lines,
)
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    Clock,
    CollectError,
    CollectorConfig,
    Finding,
    LogBlock,
    LogSubscription,
    Metric,
    NotOnThisHost,
    Reason,
    Shortfall,
)
from zcs_exporter.hostio import Host
from zcs_exporter.log_time import LogTime
from zcs_exporter.syslog_prefix import SyslogPrefix, parse_syslog_prefix

_SITE_SECONDS = 15.0

_STAMP = re.compile(rb"^\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d", re.MULTILINE)
_LAST_LINES = 64  # lines looked back for the last that has a stamp; a stack trace has none

_SYSLOG_NEEDLES = (b" saslauthd[", b": SASL ", b"auth_zimbra: ", b"] security - cmd=", b"Service status change: ")
_AUDIT_ENTRY = b"] security - cmd="
_STATUS_CHANGE = b"Service status change: "
# SASL LOGIN authentication failed: authentication failure
_SMTP_LOGIN = re.compile(rb"SASL [A-Za-z0-9_-]{1,32} authentication failed:|auth_zimbra: ")


def _network(value: object) -> object:
    # Host bits are allowed: 10.0.0.5/24 says clearly enough which network is meant.
    return ip_network(value, strict=False) if isinstance(value, str) else value


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Networks = Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], BeforeValidator(_tuple)]
"""A list of addresses and networks such as ``10.0.0.0/24``."""


class AuthConfig(CollectorConfig):
    """Whose addresses are not those of clients.

    Attributes:
        trusted_proxies: Proxies and load balancers before ZCS that append to X-Forwarded-For.
        cluster_servers: Other servers of this cluster: proxies, MTAs, stores. This host's own are known.
    """

    trusted_proxies: Networks = ()
    cluster_servers: Networks = ()


class AuthCollector:
    """Counts logins from the logs of this host."""

    name: ClassVar[str] = "auth"
    metrics: ClassVar[tuple[Metric, ...]] = auth_metrics.ALL
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = AuthConfig

    def __init__(self, config: AuthConfig, host: Host, clock: Clock) -> None:
        self._config = config
        self._host = host
        self._clock = clock
        self._call = BlockingCall("looking at the logs and settings for auth")
        self._book = AuthBook(DEFAULT_SECONDS)
        self._site: Site | None = None
        self._site_at = 0.0
        self._followed = False
        self._clocks: dict[str, LogTime] = {}

    def subscriptions(self) -> Sequence[LogSubscription]:
        """Return the logs to follow; one that is not there now may come."""
        self._take_site(self._read_site())
        self._followed = True
        path = self._host.zcs.path
        return (
            *(LogSubscription(path(log), partial(self._feed, self._audit_block, _stamp)) for log in AUDIT_LOGS),
            LogSubscription(path(PROXY_LOG), partial(self._feed, self._proxy_block, _stamp)),
            LogSubscription(SYSLOG, partial(self._feed, self._syslog_block, _syslog_stamp)),
        )

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        self._book.restore(saved)
        for path, previous in self._book.clocks.items():
            self._log_time(path).previous = previous

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows that changed: counters, the seconds of the windows, and logins under way."""
        self._book.clocks = {path: clock.previous for path, clock in self._clocks.items() if clock.previous is not None}
        return self._book.changes()

    async def collect(self) -> Sequence[Finding]:
        """Return totals and windows.

        Raises:
            CollectError: No log can be read.
            NotOnThisHost: There is none.
        """
        site = self._site
        if site is None or self._clock.monotonic() - self._site_at >= _SITE_SECONDS:
            site = self._take_site(await self._call(self._read_site))
        if not site.present:
            raise NotOnThisHost("none of ZCS's logs that tell of logins is here")
        if not site.readable:
            first = site.shortfalls[0]
            raise CollectError(first.reason, first.message, first.remedy)
        findings: list[Finding] = [auth_metrics.WINDOW_SECONDS.sample(site.window_seconds), *site.shortfalls]
        if self._followed:
            findings += self.counted()
        return findings

    def counted(self) -> Sequence[Finding]:
        """Return totals, windows and events as the lines so far tell them."""
        return list(self._counted(self._known_site()))

    def _counted(self, site: Site) -> Iterator[Finding]:
        now = self._clock.wall()
        book = self._book
        book.expire(now)
        store = any(self._host.zcs.path(log) in site.readable for log in AUDIT_LOGS)
        mta = site.is_mta and SYSLOG in site.readable
        proxy = self._host.zcs.path(PROXY_LOG) in site.readable
        logs = tuple(_base_name(path) for path in site.readable)
        yield from book.counter_samples(store=store, mta=mta, proxy=proxy, logs=logs)
        yield from book.window_samples(store=store, mta=mta, now=now)
        yield from book.events()
        if book.window.overflowed:
            message = "more different failures in the window than are kept apart: only the total of all is exact"
            yield Shortfall(Reason.UNAVAILABLE, message)
        if book.proxies_untrusted():
            yield Shortfall(
                Reason.UNAVAILABLE,
                "one private address is behind nearly all failed logins, as when ZCS does not trust its proxies: "
                "the checks by address accuse the proxy",
                "add the proxies' addresses to zimbraMailTrustedIP and restart mailboxd",
            )

    def _read_site(self) -> Site:
        return read_site(self._host, self._config.trusted_proxies, self._config.cluster_servers)

    def _take_site(self, site: Site) -> Site:
        self._site = site
        self._site_at = self._clock.monotonic()
        self._book.resize(site.window_seconds)
        return site

    def _known_site(self) -> Site:
        return self._site or self._take_site(self._read_site())

    def _log_time(self, path: str) -> LogTime:
        return self._clocks.setdefault(path, LogTime())

    def _feed(
        self,
        handle: Callable[[LogBlock, LogTime, float], None],
        stamp: Callable[[bytes, LogTime, float], int | None],
        block: LogBlock,
    ) -> None:
        """Hand a block on; line by line where an hour is in doubt, since then each line tells the fold of the next."""
        now = self._clock.wall()
        self._book.expire(now)
        clock = self._log_time(block.path)
        before = clock.previous
        first = _first_time(block.data, stamp, clock, now)
        last = _last_time(block.data, stamp, clock, now)
        if first is not None and last is not None and not clock.steady(first, last):
            clock.previous = before
            for line in block.data.split(b"\n"):
                stamp(line, clock, now)
                handle(LogBlock(block.path, line + b"\n", block.offset, block.live), clock, now)
            return
        handle(block, clock, now)
        clock.previous = clock.previous if last is None else last

    def _audit_block(self, block: LogBlock, clock: LogTime, now: float) -> None:
        successes, lines = sort_audit_lines(block.data)
        self._book.successes.update(successes)
        for text in lines:
            entry = read_entry(text)
            if entry is not None:
                self._audit_line(*entry, block, clock, now)
            elif FAILED in text:
                self._book.unparsed[_base_name(block.path)] += 1

    def _audit_line(self, line: AuditLine, login: Login, block: LogBlock, clock: LogTime, now: float) -> None:
        book = self._book
        if line.imitated:
            book.injections["audit_entry"] += 1
        if login.kind is Kind.IGNORED:
            return
        if login.kind is Kind.UNREADABLE:
            book.unparsed[_base_name(block.path)] += 1
            return
        at = clock.local(line.stamp, now)
        account = login.account.decode("utf-8", "replace")
        if login.kind is Kind.LOCKOUT:
            book.lock(at, account, live=block.live)
            return
        context = parse_context(line.context)
        if self._asked_by_mta(login, context):
            return
        if login.kind is Kind.SUCCESS:
            book.successes[login.protocol] += 1
            return
        thread = line.thread[:256].decode("latin-1")
        if login.command == b"AdminAuth":
            if book.repeats(at, thread):
                return
        elif at is not None and (login.port or (login.protocol == "soap" and b"/" not in line.thread)):
            book.refused(at, thread)  # the threads of 8.0 name no URL
        oip, ip = context.get(b"oip", b""), context.get(b"ip", b"")
        client = self._known_site().servers.client(oip.decode("latin-1"), ip.decode("latin-1"))
        self._fail(block, at, now, client, account, login.protocol, login.reason)

    def _asked_by_mta(self, login: Login, context: Mapping[bytes, bytes]) -> bool:
        """Whether saslauthd asked on behalf of an SMTP client, whose login the MTA counts."""
        if login.port == 7073:
            return True
        site = self._known_site()
        if login.port != 7071 or not site.sasl_over_7071 or b"oip" in context:
            return False
        ip = parse_address(context.get(b"ip", b"").decode("latin-1"))
        # A request from this host has no address, or loopback.
        return site.is_mta if ip is None or ip.is_loopback else ip in site.cluster

    def _fail(
        self, block: LogBlock, at: int | None, now: float, client: Client, account: str, protocol: str, reason: str
    ) -> None:
        if at is None:
            self._book.unparsed[_base_name(block.path)] += 1
        self._book.fail(at, now, client, account, protocol, reason)

    def _proxy_block(self, block: LogBlock, clock: LogTime, now: float) -> None:
        for line in _lines_with(block.data, (UNKNOWN_USER,)):
            user = parse_unknown_user(line)
            if user is None:
                self._book.injections["proxy_login"] += 1
                continue
            address = parse_address(user.address.decode("latin-1"))
            if address is None:
                self._book.unparsed[_base_name(block.path)] += 1
            client = NOBODY if address is None else Client(str(address))
            name = user.name.decode("utf-8", "replace")
            self._fail(block, clock.local(user.stamp, now), now, client, name, user.protocol, "no_account")

    def _syslog_block(self, block: LogBlock, clock: LogTime, now: float) -> None:
        names = self._known_site().names
        for line in _lines_with(block.data, _SYSLOG_NEEDLES):
            prefix = parse_syslog_prefix(line)
            if prefix is None:
                self._book.unparsed[_base_name(block.path)] += 1
            elif prefix.host in names:  # the logger host gets the lines of all hosts, which count their own
                self._syslog_line(prefix, line[prefix.message :], block, clock, now)

    def _syslog_line(self, prefix: SyslogPrefix, message: bytes, block: LogBlock, clock: LogTime, now: float) -> None:
        book = self._book
        if _AUDIT_ENTRY in message:
            book.injections["audit_entry"] += 1
        status = message.find(_STATUS_CHANGE)
        if status > 0 or (status == 0 and prefix.program != b"zmconfigd"):
            book.injections["status_change"] += 1
        saslauthd = prefix.program == b"saslauthd"
        smtpd = is_smtpd(prefix.program)
        told = OTHER
        if prefix.pid is not None and saslauthd:
            told = parse_saslauthd(message)
        elif prefix.pid is not None and smtpd:
            told = parse_smtpd(message)
        if told.told is Told.OTHER or prefix.pid is None:
            if _SMTP_LOGIN.search(message):
                ours = (saslauthd and message.startswith(b"auth_zimbra: ")) or (
                    smtpd and message.startswith(b"warning: ")
                )
                (book.unparsed if ours else book.injections)[_base_name(block.path) if ours else "smtp_login"] += 1
            return
        at = prefix.time(clock, now)
        if at is None:
            book.unparsed[_base_name(block.path)] += 1
            return
        pid = prefix.pid.decode("ascii")
        if saslauthd:
            book.smtp.saslauthd(at, pid, told)
            book.successes["smtp"] += told.told is Told.ACCEPTED
            return
        failure = book.smtp.smtpd(at, pid, told)
        if failure is not None:
            address = parse_address(told.address.decode("ascii"))
            client = NOBODY if address is None else Client(str(address))
            self._fail(block, at, now, client, failure.account, "smtp", failure.reason)


def _base_name(path: str) -> str:
    return path.rpartition("/")[2]


def _lines_with(data: bytes, needles: Sequence[bytes]) -> list[bytes]:
    """Return the lines in which one of the needles stands, in order and each once."""
    starts: set[int] = set()
    for needle in needles:
        position = data.find(needle)
        while position >= 0:
            starts.add(data.rfind(b"\n", 0, position) + 1)
            position = data.find(b"\n", position)
            if position >= 0:
                position = data.find(needle, position)
    return [data[start : data.find(b"\n", start)] for start in sorted(starts)]


def _stamp(line: bytes, clock: LogTime, now: float) -> int | None:
    match = _STAMP.match(line)
    return None if match is None else clock.local(match[0], now)


def _syslog_stamp(line: bytes, clock: LogTime, now: float) -> int | None:
    prefix = parse_syslog_prefix(line)
    return None if prefix is None else prefix.time(clock, now)


def _first_time(
    data: bytes, stamp: Callable[[bytes, LogTime, float], int | None], clock: LogTime, now: float
) -> int | None:
    start = 0
    for _ in range(_LAST_LINES):
        end = data.find(b"\n", start)
        if end < 0:
            break
        at = stamp(data[start:end], clock, now)
        if at is not None:
            return at
        start = end + 1
    return None


def _last_time(
    data: bytes, stamp: Callable[[bytes, LogTime, float], int | None], clock: LogTime, now: float
) -> int | None:
    end = len(data) - 1
    for _ in range(_LAST_LINES):
        if end <= 0:
            break
        start = data.rfind(b"\n", 0, end) + 1
        at = stamp(data[start:end], clock, now)
        if at is not None:
            return at
        end = start - 1
    return None
