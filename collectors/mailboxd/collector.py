"""How mailboxd serves: requests, commands and their times, pools and their limits, caches, the search index.

ZCS writes tables below zmstat: mailboxd once a minute, its Perl programs every 30 s. Totals of an interval are summed
up into counters, each row once, across rotation and restarts; averages become the sum of seconds beside their count.
Gauges are those of the newest row, so up to a minute old, and end with the row that is three intervals old.
What changed columns while mailboxd restarted under an old header is counted as skipped, never guessed.

Left out: the JVM's columns and threads' total (``jvm`` has them fresher), cpu, vm, io, io-x, df, proc, allprocs, nginx
and convertd (``/proc`` tells more, more often, and does not take the first row since boot for an interval), mysql
(``mysqld`` asks the server), mtaqueue (it takes one message for none). Of these only the age is published.

Source: ``/opt/zimbra/zmstat/*.csv``, ``mailboxd/etc/jetty.xml``, localconfig.xml, ``log/mailbox.log``.
Privileges: group zimbra.
Cost: 1 ms of CPU every 15 s, and a look at ten files every 5 s; a day of tables is caught up with in half a second.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar, Literal

from collectors.formats.mailbox_log import gist_of
from collectors.formats.zmstat import ZmstatFile, ZmstatRow, read_last_header
from collectors.mailboxd.gauges import gauge_samples, limit_samples, lmtp_share, thread_samples
from collectors.mailboxd.limits import SAME_SETTING, limits_told, read_db_limit, read_http_limit
from collectors.mailboxd.metrics import (
    AGE,
    GAUGES,
    IMAPD_GAUGES,
    METRICS,
    OPEN_FILE_GAUGES,
    QUEUE_GROWTH,
    SLAPD_COUNTERS,
    SLAPD_GAUGES,
    Gauge,
)
from collectors.mailboxd.tables import PLANS, Table
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
    Sample,
    Shortfall,
    doing,
)
from zcs_exporter.hostio import Host
from zcs_exporter.schema import Limits

_DIRECTORY = "zmstat"
_MAILBOX_LOG = "log/mailbox.log"
_SPOOL = "data/postfix/spool"
_QUEUES = ("incoming", "active", "deferred")

_WATCHED = "allprocs convertd cpu df fd io io-x mtaqueue mysql nginx proc threads vm"
FILES = (*sorted(PLANS), *(f"{name}.csv" for name in _WATCHED.split()))
"""All tables that are known; those of another name are not looked at."""

_JAVA_INTERVAL = 60.0
_PERL_INTERVAL = 30.0
_INTERVALS = 3
_PACE = 5.0
_MOST_QUEUED = 1_000_000
_DEEPEST = 3

_NEWEST: Mapping[str, tuple[Gauge, ...]] = {
    "mailboxd.csv": GAUGES,
    "imapd_stats.csv": IMAPD_GAUGES,
    "fd.csv": OPEN_FILE_GAUGES,
    "threads.csv": (),
}
"""Tables whose newest row is published."""

Threads = Annotated[int, Limits(least=1, most=1_000_000)]


class MailboxdConfig(CollectorConfig):
    """What this host's LDAP says and no file does.

    Attributes:
        thread_limits: Most threads for ``imap``, ``pop3``, ``lmtp`` or ``http`` (``zimbraImapNumThreads`` and so on),
            without which the share in use is only known for those that a file or mailbox.log tells.
    """

    thread_limits: Mapping[Literal["http", "imap", "lmtp", "pop3"], Threads] = {}


@dataclass(slots=True)
class _Look:
    """What one look at the host saw.

    Attributes:
        ages: Seconds since each table was written to.
        rows: The newest row of a table, where it is fresh.
        headers: Columns of the tables for which they were not known.
        queued: Messages that wait on this host; None where that was not asked or there is no MTA.
    """

    ages: dict[str, float] = field(default_factory=dict)
    rows: dict[str, ZmstatRow] = field(default_factory=dict)
    headers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    http_limit: int | None = None
    db_limit: int | None = None
    queued: int | None = None
    shortfalls: list[Shortfall] = field(default_factory=list)


class MailboxdCollector:
    """Reads what mailboxd and the other programs of ZCS write below zmstat."""

    name: ClassVar[str] = "mailboxd"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = MailboxdConfig

    def __init__(self, config: MailboxdConfig, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._call = BlockingCall("reading the tables below zmstat")
        self._directory = host.zcs.path(_DIRECTORY)
        self._files = {name: ZmstatFile(host, f"{self._directory}/{name}") for name in _NEWEST}
        self._tables = {name: Table(name) for name in PLANS}
        self._set = {protocol: limit for key, limit in config.thread_limits.items() for protocol in SAME_SETTING[key]}
        self._told: dict[str, int] = {}
        self._told_changed = False
        self._slapd_at = float("-inf")
        self._slapd_live = False
        self._queued_before: int | None = None

    def subscriptions(self) -> Sequence[LogSubscription]:
        """Return the tables whose rows are summed up, and mailboxd's log."""
        for name, header in self._unknown_headers().items():
            self._tables[name].begin(header)
        return (
            *(
                LogSubscription(f"{self._directory}/{name}", partial(self._feed, table), pace=_PACE)
                for name, table in self._tables.items()
            ),
            LogSubscription(self._host.zcs.path(_MAILBOX_LOG), self._feed_log),
        )

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        self._told = {name: int(limit) for name, limit in json.loads(saved.get("limits", "{}")).items()}
        for table in self._tables.values():
            table.restore(saved)

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows that changed: sums by table, commands, columns, limits that were told."""
        rows: dict[str, str | None] = {}
        for table in self._tables.values():
            rows |= table.changes()
        if self._told_changed:
            self._told_changed = False
            rows["limits"] = json.dumps(self._told)
        return rows

    async def collect(self) -> Sequence[Finding]:
        """Return the gauges of now and all counters.

        Raises:
            CollectError: The tables cannot be listed.
            NotOnThisHost: There is none.
        """
        limits = {**self._told, **self._set}
        look = await self._call(partial(self._read, limits))
        for name, header in look.headers.items():
            self._tables[name].begin(header)
        if look.http_limit is not None:
            limits = {"http": look.http_limit, **limits}
        return [*look.shortfalls, *self._seen(look, limits), *self.counted()]

    def counted(self) -> Sequence[Finding]:
        """Return the counters as the rows so far have them."""
        findings: list[Finding] = []
        # mailboxd may rotate ldap.csv away from under slapd's writer, whose rows then go where nobody finds them:
        # counters that stand still would look like a slapd without work.
        slapd_tells = self._slapd_at >= self._clock.monotonic() - _INTERVALS * _PERL_INTERVAL
        for table in self._tables.values():
            findings += (each for each in table.samples() if slapd_tells or each.metric not in SLAPD_COUNTERS)
        if slapd_tells and self._slapd_live:
            findings += gauge_samples(ZmstatRow(0.0, self._tables["ldap.csv"].newest), SLAPD_GAUGES)
        return findings

    def _feed(self, table: Table, block: LogBlock) -> None:
        newest = table.newest
        table.feed(block.data)
        if table.file == "ldap.csv" and table.newest is not newest:
            self._slapd_at = self._clock.monotonic()
            self._slapd_live = block.live

    def _feed_log(self, block: LogBlock) -> None:
        data = block.data
        # Such lines are known by their end.
        told = limits_told(b"".join(data[start : data.find(b"\n", start) + 1] for start in gist_of(block).ended))
        if told.items() - self._told.items():
            self._told |= told
            self._told_changed = True

    def _unknown_headers(self) -> dict[str, tuple[str, ...]]:
        """Return the columns of tables that are followed from their middle, where they can be read."""
        found = {}
        for name, table in self._tables.items():
            path = f"{self._directory}/{name}"
            if not table.header and self._host.exists(path):
                try:
                    found[name] = read_last_header(self._host, path)
                except CollectError:
                    continue  # its follower says why
        return found

    def _read(self, limits: Mapping[str, int]) -> _Look:
        with doing(f"listing {self._directory}"):
            try:
                present = set(self._host.listdir(self._directory))
            except (FileNotFoundError, NotADirectoryError):
                present = set()
        names = [name for name in FILES if name in present]
        if not names:
            raise NotOnThisHost(f"no table below {self._directory}")
        look = _Look(headers=self._unknown_headers())
        now = self._clock.wall()
        for name in names:
            try:
                self._read_table(name, now, look)
            except CollectError as exc:
                look.shortfalls.append(Shortfall(exc.reason, str(exc), exc.remedy))
        try:
            look.db_limit = read_db_limit(self._host)
            look.http_limit = read_http_limit(self._host)
        except CollectError as exc:
            look.shortfalls.append(Shortfall(exc.reason, f"{exc}; a limit is not known", exc.remedy))
        if (lmtp_share(look.rows.get("mailboxd.csv"), limits) or 0) >= 1:
            look.queued = self._count_queued()
        return look

    def _read_table(self, name: str, now: float, look: _Look) -> None:
        path = f"{self._directory}/{name}"
        with doing(f"looking at {path}"):
            try:
                look.ages[name] = max(0.0, now - self._host.stat(path).st_mtime)
            except FileNotFoundError:
                return  # it is being rotated
        if name not in self._files:
            return
        interval = self._perl_interval() if name == "fd.csv" else _JAVA_INTERVAL
        if look.ages[name] > _INTERVALS * interval:
            return  # nobody writes it; what its last row says is over, be it fit to be read or not
        row = self._files[name].newest(now)
        if row is not None and abs(now - row.at) <= _INTERVALS * interval:
            look.rows[name] = row

    def _perl_interval(self) -> float:
        try:
            with doing("reading localconfig.xml"):
                seconds = self._host.zcs.localconfig().number("zmstat_interval")
        except CollectError:
            seconds = None  # said beside the limits
        return seconds if seconds is not None and seconds >= 1 else _PERL_INTERVAL

    def _count_queued(self) -> int | None:
        """Return the messages in the MTA's queues; None where there is no MTA or it cannot be looked at."""
        spool = self._host.zcs.path(_SPOOL)
        try:
            return sum(self._count_files(f"{spool}/{queue}", _DEEPEST) for queue in _QUEUES)
        except OSError:
            return None

    def _count_files(self, directory: str, deepest: int) -> int:
        count = 0
        for entry in self._host.scandir(directory):
            if deepest and len(entry.name) == 1 and entry.is_dir(follow_symlinks=False):
                count += self._count_files(f"{directory}/{entry.name}", deepest - 1)
            else:
                count += 1
            if count >= _MOST_QUEUED:
                break
        return count

    def _seen(self, look: _Look, limits: Mapping[str, int]) -> Iterator[Sample]:
        for name, age in look.ages.items():
            yield AGE.sample(age, file=name)
        for name, row in look.rows.items():
            yield from gauge_samples(row, _NEWEST[name])
        if (threads := look.rows.get("threads.csv")) is not None:
            yield from thread_samples(threads)
        if "mailboxd.csv" in look.ages:
            yield from limit_samples(look.rows.get("mailboxd.csv"), limits, look.db_limit)
        if look.queued is None:
            self._queued_before = None
            return
        if self._queued_before is None:
            self._queued_before = look.queued
        yield QUEUE_GROWTH.sample(look.queued - self._queued_before)
