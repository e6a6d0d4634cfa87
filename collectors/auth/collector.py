"""Logins that failed and succeeded, who is behind the failures, and what administrators did.

Each failure is counted once in a cluster: SOAP, IMAP, POP and HTTP by the store's audit.log, SMTP by
the MTA's syslog from Postfix's line alone. So audit lines of the port that saslauthd asks (7073, up to 8.6:
7071 from an MTA's address) are left out. SOAP at the administration URL is protocol ``admin``. An SMTP success is
one that saslauthd tells. A name that no account has fails at the mail proxy, which tells it in nginx.log and asks
no store further; what comes to a store past it is told by mailbox.log for SOAP, IMAP and POP in every release,
so for these the like lines that ``zimbra_additional_logging`` adds to audit.log are left out, unless mailbox.log
cannot be read, and counted for all other protocols. Which line counts depends on the line alone, never on what
another log said or when it was read; but a refused administrator of an unknown name, whom releases up to 8.8.15 tell
in both, is counted by whichever line comes first.

The checks count failures in sliding windows of whole seconds, in the time that lines name. They end by
the wall clock, so what a daemon reads late counts in the totals and alarms nobody; attacks in it are told as records
``attack``, by windows that follow the time of the log. Those that a directory server did not answer accuse nobody.

A login that succeeds from an address whose failures are too many by one of the checks, or whose account's are and
which failed with it, is told as a record ``login_after_attack``, and at once by an event unless the account logged
in from there before, within the latest 30,000 different pairs of both since the daemon was first started. Of the past
only records tell, and by the checks of a minute alone. An SMTP login is seen once a message is sent.

All failures together are too many from 1,000, or, where ``active_accounts`` says how many accounts are in use,
from one per cent of them.

Source: log/audit.log, log/imapd-audit.log, log/mailbox.log, log/imapd.log, log/nginx.log, /var/log/zimbra.log,
localconfig.xml and /proc/net.
Privileges: group zimbra for ZCS's logs; CAP_DAC_READ_SEARCH for /var/log/zimbra.log where syslog owns it.
Cost: about a second of CPU for a million lines and 7 to 10 us for each failure among them, up to 20 us for one
that is read late. While 5,000 logins a second fail from a million addresses a tenth
of a core and 160 MB beside what the daemon takes at rest, some 230 MB whatever comes; as much again while such an
attack of the past is read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from ipaddress import ip_network
from typing import Annotated, ClassVar

from collectors.auth import metrics as auth_metrics
from collectors.auth.audit import AuditReader
from collectors.auth.client import Network
from collectors.auth.failures import CHECKS
from collectors.auth.intake import BlockFailures, Intake
from collectors.auth.mailbox import MailboxReader
from collectors.auth.nginx import read_proxy_log
from collectors.auth.records import KINDS
from collectors.auth.site import AUDIT_LOGS, DEFAULT_SECONDS, MAILBOX_LOGS, PROXY_LOG, SYSLOG, Site, read_site
from collectors.auth.smtp import WISHES
from collectors.auth.syslog import IMITATIONS, SyslogLogins
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    Clock,
    CollectError,
    CollectorConfig,
    Finding,
    LogSubscription,
    Metric,
    NotOnThisHost,
    Reason,
    Shortfall,
    Subscription,
    SyslogSubscription,
)
from zcs_exporter.hostio import Host
from zcs_exporter.log_time import LogTime
from zcs_exporter.schema import Before, Limits

_SITE_SECONDS = 15.0
_SHARE_ALERT = "ZcsAuthTotalShare"


def _network(value: object) -> object:
    # Host bits are allowed: 10.0.0.5/24 says clearly enough which network is meant.
    return ip_network(value, strict=False) if isinstance(value, str) else value


Networks = tuple[Annotated[Network, Before(_network)], ...]
"""A list of addresses and networks such as ``10.0.0.0/24``."""


class AuthConfig(CollectorConfig):
    """Whose addresses are not those of clients, and how many failures are too many.

    Attributes:
        trusted_proxies: Proxies and load balancers before ZCS that append to X-Forwarded-For.
        cluster_servers: Other servers of this cluster: proxies, MTAs, stores. This host's own are known.
        active_accounts: Accounts in use on this server, of which one per cent may fail in a minute; unless given,
            all failures together are judged by ZCS's fixed number.
    """

    trusted_proxies: Networks = ()
    cluster_servers: Networks = ()
    active_accounts: Annotated[int, Limits(least=1)] | None = None


class AuthCollector:
    """Counts logins from the logs of this host."""

    name: ClassVar[str] = "auth"
    metrics: ClassVar[tuple[Metric, ...]] = auth_metrics.ALL
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = AuthConfig
    record_kinds: ClassVar[Sequence[str]] = KINDS

    def __init__(self, config: AuthConfig, host: Host, clock: Clock) -> None:
        self._config = config
        self._host = host
        self._clock = clock
        self._call = BlockingCall("looking at the logs and settings for auth")
        self._intake = Intake(clock, DEFAULT_SECONDS)
        self._audit = AuditReader(self._intake)
        self._mailbox = MailboxReader(self._intake)
        self._syslog = SyslogLogins(self._intake)
        self._looked = False
        self._site_at = 0.0
        self._followed = False

    def subscriptions(self) -> Sequence[Subscription]:
        """Return the logs to follow; one that is not there now may come."""
        self._take_site(self._read_site())
        self._followed = True
        path = self._host.zcs.path
        return (
            *(self._subscribe(path(log), self._audit.read) for log in AUDIT_LOGS),
            *(LogSubscription(path(log), self._mailbox.feed) for log in MAILBOX_LOGS),
            self._subscribe(path(PROXY_LOG), read_proxy_log),
            SyslogSubscription(SYSLOG, WISHES, self._syslog.read),
            SyslogSubscription(SYSLOG, {}, self._syslog.read_imitations, IMITATIONS),
        )

    def take_thresholds(self, thresholds: Mapping[str, Mapping[str, float]]) -> None:
        """Take from which value on each check is an attack, for those that are over."""
        least = {alert: min(levels.values()) for alert, levels in thresholds.items() if levels}
        found = {name: least[check.alert] for name, check in CHECKS.items() if check.alert in least}
        active = self._config.active_accounts
        if active is not None:
            found.pop("total", None)
            if _SHARE_ALERT in least:
                found["total"] = max(least[_SHARE_ALERT] * active, auth_metrics.LEAST_TOTAL)
        self._intake.book.replays.thresholds = found

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        self._intake.restore(saved)

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows that changed: counters, what windows got, and logins under way."""
        return self._intake.changes()

    async def collect(self) -> Sequence[Finding]:
        """Return totals and windows.

        Raises:
            CollectError: No log can be read.
            NotOnThisHost: There is none.
        """
        if not self._looked or self._clock.monotonic() - self._site_at >= _SITE_SECONDS:
            self._take_site(await self._call(self._read_site))
        site = self._intake.site
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
        """Return totals, windows, events and records as the lines so far tell them.

        An attack in lines that are over is told once it has ended: by later ones, by the first line that is not
        over, or by an hour of silence.
        """
        return list(self._counted(self._intake.site))

    def _counted(self, site: Site) -> Iterator[Finding]:
        now = self._clock.wall()
        book = self._intake.book
        self._intake.expire()
        store = any(self._host.zcs.path(log) in site.readable for log in AUDIT_LOGS)
        mta = site.is_mta and SYSLOG in site.readable
        proxy = self._host.zcs.path(PROXY_LOG) in site.readable
        logs = tuple(path.rpartition("/")[2] for path in site.readable)
        yield from book.counter_samples(store=store, mta=mta, proxy=proxy, logs=logs)
        yield from book.window_samples(site.servers, store=store, mta=mta, now=now)
        active = self._config.active_accounts
        yield auth_metrics.TOTAL_BY_SHARE.sample(active is not None)
        if active is not None:
            yield auth_metrics.ACTIVE_ACCOUNTS.sample(active)
        yield from book.events()
        yield from self._intake.records.take()
        yield from book.replays.take()
        if book.failed.window.overflowed:
            message = "more different failures in the window than are kept apart: only the total of all is exact"
            yield Shortfall(Reason.UNAVAILABLE, message)
        if book.untrusted_proxy(site.servers) is not None:
            yield Shortfall(
                Reason.UNAVAILABLE,
                "one address, private or of one of our servers, is behind nearly all failed logins, as when ZCS does "
                "not trust its proxies: the checks by address accuse the proxy",
                "add the proxies' addresses to zimbraMailTrustedIP and restart mailboxd",
            )

    def _read_site(self) -> Site:
        return read_site(self._host, self._config.trusted_proxies, self._config.cluster_servers)

    def _take_site(self, site: Site) -> None:
        self._intake.site = site
        self._looked = True
        self._site_at = self._clock.monotonic()
        self._intake.book.resize(site.window_seconds)

    def _subscribe(self, path: str, read: Callable[[BlockFailures, LogTime], None]) -> LogSubscription:
        return LogSubscription(path, partial(self._intake.read, read))
