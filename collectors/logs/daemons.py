"""What the error logs of nginx, MariaDB, clamd and freshclam tell."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import add
from typing import ClassVar

from collectors.formats.daemon_logs import (
    CLAMD_KINDS,
    FRESHCLAM_KINDS,
    FRESHCLAM_STARTED,
    FRESHCLAM_SUCCEEDED,
    MYSQL_KINDS,
    NGINX_KINDS,
    LogFault,
    parse_clamd,
    parse_freshclam,
    parse_mysql,
    parse_nginx,
)
from collectors.logs.faults import FaultPart
from collectors.logs.part import EVENTS, SIGNALS
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    Clock,
    Finding,
    Grade,
    Kind,
    LogBlock,
    LogSubscription,
    Metric,
    Sample,
    Subscription,
)
from zcs_exporter.hostio import Host
from zcs_exporter.log_time import LogTime

CORRUPTION = Metric(
    "zcs_mysqld_corruption_errors_last_hour",
    Kind.GAUGE,
    "Lines of the database's error log in the last hour that tell of a damaged page, index or table.",
)
UPDATED = Metric(
    "zcs_freshclam_last_success_timestamp_seconds",
    Kind.GAUGE,
    "When freshclam last found or made the virus signatures current; absent while its log does not tell.",
)
UPDATE_AGE = Metric(
    "zcs_freshclam_last_success_age_seconds",
    Kind.GAUGE,
    "Time since freshclam last found or made the virus signatures current; absent where no antivirus is enabled.",
)

NGINX, MYSQL, CLAMD, FRESHCLAM = "log/nginx.log", "log/mysql_error.log", "log/clamd.log", "log/freshclam.log"
_STILL_UPDATED = 86400  # seconds since freshclam wrote, after which it has left a host that asks for no antivirus


class DaemonsPart(FaultPart):
    """Reads the error logs of four daemons."""

    name: ClassVar[str] = "daemons"
    metrics: ClassVar[tuple[Metric, ...]] = (EVENTS, SIGNALS, CORRUPTION, UPDATED, UPDATE_AGE)
    gauges: ClassVar[Mapping[str, Metric]] = {"mysqld_corruption": CORRUPTION}
    grades: ClassVar[Mapping[str, Grade]] = {
        "mysqld_corruption": Grade.CRITICAL,
        "mysqld_crashed": Grade.CRITICAL,
        "mysqld_disk_full": Grade.CRITICAL,
        "mysqld_aborted_connection": Grade.INFO,
    }

    def __init__(self, host: Host, clock: Clock) -> None:
        path = host.zcs.path
        super().__init__(
            clock,
            {
                path(NGINX): NGINX_KINDS,
                path(MYSQL): MYSQL_KINDS,
                path(CLAMD): CLAMD_KINDS,
                path(FRESHCLAM): FRESHCLAM_KINDS,
            },
        )
        self._parsers: Mapping[str, Callable[[bytes], Iterator[LogFault]]] = {
            path(NGINX): parse_nginx,
            path(MYSQL): parse_mysql,
            path(CLAMD): parse_clamd,
        }
        self._freshclam = path(FRESHCLAM)
        self._times = {log: LogTime() for log in self._kinds}
        self._host = host
        self._call = BlockingCall("looking for the antivirus")
        self._needed = True
        # Of freshclam: when the update under way started, whether it has failed, and when one last succeeded.
        self._started: int | None = None
        self._failed = False
        self._succeeded: int | None = None

    def subscriptions(self) -> Sequence[Subscription]:
        """Return the four logs."""
        feeds = {log: partial(self._feed, parse) for log, parse in self._parsers.items()}
        return [LogSubscription(log, feed) for log, feed in (feeds | {self._freshclam: self._feed_freshclam}).items()]

    async def look(self, now: float) -> Sequence[Finding]:
        """See whether anybody needs virus signatures here.

        Raises:
            CollectError: The disk does not answer.
        """
        self._needed = await self._call(lambda: self._is_needed(now))
        return ()

    def _is_needed(self, now: float) -> bool:
        services = self._host.zcs.enabled_services()
        if services is None or "antivirus" in services:
            return True
        try:
            return now - self._host.stat(self._freshclam).st_mtime < _STILL_UPDATED
        except OSError:
            return False

    def samples(self, now: float) -> Iterator[Sample]:
        """Yield counters, gauges, and how current the virus signatures are."""
        yield from super().samples(now)
        if self._succeeded is not None:
            yield UPDATED.sample(self._succeeded)
            if self._needed:
                yield UPDATE_AGE.sample(max(0.0, now - self._succeeded))

    def restore(self, rows: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        super().restore(rows)
        if "freshclam" in rows:
            self._started, self._failed, self._succeeded = json.loads(rows["freshclam"])
        if "times" in rows:
            for log, previous in json.loads(rows["times"]).items():
                if log in self._times:
                    self._times[log].previous = previous

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield all rows as they are now."""
        yield from super().rows()
        yield "freshclam", json.dumps([self._started, self._failed, self._succeeded])
        yield "times", json.dumps({log: time.previous for log, time in self._times.items()})

    def _feed(self, parse: Callable[[bytes], Iterator[LogFault]], block: LogBlock) -> None:
        now = self._clock.wall()
        for fault in parse(block.data):
            self._take(fault, self._at(fault, block, now), block)

    def _feed_freshclam(self, block: LogBlock) -> None:
        now = self._clock.wall()
        for fault in parse_freshclam(block.data):
            at = self._at(fault, block, now)
            if fault.kind == FRESHCLAM_STARTED:
                self._started, self._failed = at, False
                continue
            at = self._started if at is None else at
            if fault.kind == FRESHCLAM_SUCCEEDED:
                # Not the latest of all: a clock that was ahead would keep it for good.
                self._succeeded = self._succeeded if at is None else min(at, int(now))
                continue
            if fault.kind == "freshclam_failed":
                if self._failed:
                    fault = fault._replace(kind="")  # it says so twice
                self._failed = True
            self._take(fault, at, block)

    def _take(self, fault: LogFault, at: int | None, block: LogBlock) -> None:
        if fault.level:
            self.note_level(block.path, fault.level, fault.component)
        if fault.kind:
            fields, where = {"component": fault.component}, partial(add, block.offset, fault.start)
            self.note(fault.kind, at, block.path, where, live=block.live, fields=fields)

    def _at(self, fault: LogFault, block: LogBlock, now: float) -> int | None:
        if not fault.stamp:
            return None
        time = self._times[block.path]
        return time.offset(fault.stamp, b"Z", now) if fault.utc else time.local(fault.stamp, now)
