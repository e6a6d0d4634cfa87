"""How old each log is, and whether the heart-beats in syslog still come.

A quiet log is no fault: an idle host writes nothing at night. Some writers are never idle, though. On every ZCS
host zmstat writes to zimbra-stats.log each half minute, and cron has zmstatuslog do so every two minutes; to
zimbra.log write zmconfigd each minute, and the queue and status checks of cron. Whether the latter are there
depends on roles, releases and log levels, so that log is judged only where its heart has been seen to beat.

Ages of heart-beats are measured without the wall clock, and for no longer than this process looks: neither a clock
that is set nor an hour off makes a log stale.
"""

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

from collectors.logs.part import Rows, runs
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    Clock,
    Finding,
    Kind,
    Metric,
    Record,
    Sample,
    Subscription,
    SyslogBlock,
    SyslogSubscription,
)
from zcs_exporter.hostio import Host

AGE = Metric(
    "zcs_log_age_seconds", Kind.GAUGE, "Time since a log was last written to; a quiet one may be healthy.", ("log",)
)
HEARTBEAT = Metric(
    "zcs_log_heartbeat_age_seconds",
    Kind.GAUGE,
    "Time since the last line of a writer that is never idle, in syslog files that have one.",
    labels=("log",),
)

SYSLOG, STATS = "/var/log/zimbra.log", "/var/log/zimbra-stats.log"


class Writer(NamedTuple):
    """Someone who is never idle.

    Attributes:
        log: Where it writes.
        wishes: What it says, by program.
        everywhere: Whether it writes on every ZCS host; else it must have been seen to do so.
        daemon: The pid file below ZCS's home and the name of a daemon that may have been stopped; None for cron.
    """

    log: str
    wishes: Mapping[bytes, bytes]
    everywhere: bool = False
    daemon: tuple[str, str] | None = None


_CRON = rb"\d{1,10}:info: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, "
WRITERS = (
    # 17392:info: zmstat cpu.csv: timestamp, cpu:user, ... ; 27690:info: 2019-09-05 08:34:01, STATUS: mail...: Running
    Writer(STATS, {b"zimbramon": rb"\d{1,10}:info: zmstat (?:cpu|vm)\.csv: |" + _CRON + rb"STATUS: "}, everywhere=True),
    # The status of mailboxd is asked every two minutes, the queue listed every ten.
    Writer(
        SYSLOG,
        {b"zmmailboxdmgr": rb"status OK|no manager process is running", b"zimbramon": _CRON + rb"QUEUE: "},
    ),
    Writer(SYSLOG, {b"zmconfigd": rb"All configs fetched in "}, daemon=("log/zmconfigd.pid", "zmconfigd")),
)

LOGS = (
    *("log/" + name for name in (
        "mailbox.log", "audit.log", "sync.log", "wsync.log", "ews.log", "imapd.log", "imapd-audit.log", "nginx.log",
        "nginx.access.log", "mysql_error.log", "myslow.log", "clamd.log", "freshclam.log", "cbpolicyd.log",
        "zmconfigd.log", "zmmailboxd.out", "gc.log", "zmstat.out", "zmswatch.out", "zmlogswatch.out")),
)  # fmt: skip
"""Logs below ZCS's home; the syslog files come in addition."""

_SLOT = 300
_SLOTS = 12
_STEADY = 5
_SOON, _DAY = 60.0, 86400.0


class Pulse:
    """The heart-beats of one writer."""

    def __init__(self, now: float) -> None:
        """Begin to look; ``now`` is monotonic."""
        self._slots: list[int] = []
        self._since = now
        self._heard = False

    def beat(self, at: int, now: float) -> None:
        """Take a line of the time ``at``; ``now`` is monotonic."""
        self._since, self._heard = now, True
        slot = at // _SLOT
        self._slots = [old for old in self._slots if slot - _SLOTS < old < slot] + [slot]

    @property
    def steady(self) -> bool:
        """Whether beats came all through the hour before the last."""
        return len(self._slots) >= _STEADY

    def age(self, now: float) -> float | None:
        """Return the seconds since the last was read, or since the beginning; None while it is too early to tell.

        A writer that has been silent for a day is taken to be gone for good.
        """
        silent = now - self._since
        if silent > _DAY:
            self._slots = []
        return silent if self._heard or silent > _SOON else None

    def rest(self, now: float) -> None:
        """Expect nothing until now: its writer does not run, or is not heard."""
        self._since, self._heard = now, False

    def save(self) -> str:
        """Return what must be remembered as one row: the five minutes of the last hour in which some came."""
        return json.dumps(self._slots)

    def restore(self, row: str) -> None:
        """Take over what ``save`` gave; its age begins anew."""
        self._slots = json.loads(row)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at the host shows.

    Attributes:
        ages: Seconds since each log that exists was written to.
        silent: Writers that do not run or whose log may not be read, so that nothing is expected of them.
    """

    ages: Mapping[str, float]
    silent: Collection[Writer]


class FreshnessPart:
    """Looks at the age of every log, and listens to the heart-beats."""

    name: ClassVar[str] = "freshness"
    metrics: ClassVar[tuple[Metric, ...]] = (AGE, HEARTBEAT)
    record_kinds: ClassVar[Collection[str]] = ()

    def __init__(self, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._call = BlockingCall("looking at the age of the logs")
        self._paths = (*(host.zcs.path(log) for log in LOGS), SYSLOG, STATS)
        self._pulses = [Pulse(clock.monotonic()) for _ in WRITERS]
        self._rows = Rows()

    def subscriptions(self) -> Sequence[Subscription]:
        """Return the logs with a heart-beat."""
        return [
            SyslogSubscription(writer.log, writer.wishes, partial(self._feed, writer, pulse))
            for writer, pulse in zip(WRITERS, self._pulses, strict=True)
        ]

    def begin(self, logs: Collection[str]) -> None:
        """Nothing starts at 0 here."""

    async def look(self, now: float) -> Sequence[Finding]:
        """Return the ages of all logs that exist, and of the heart-beats.

        Raises:
            CollectError: The disk of the logs does not answer.
        """
        seen = await self._call(lambda: self._look(now))
        findings: list[Finding] = [AGE.sample(age, log=os.path.basename(path)) for path, age in seen.ages.items()]
        ticks = self._clock.monotonic()
        ages: dict[str, list[float]] = {}
        judged = set()
        for writer, pulse in zip(WRITERS, self._pulses, strict=True):
            if writer in seen.silent:
                pulse.rest(ticks)
                continue
            age = pulse.age(ticks)
            if age is not None:
                ages.setdefault(writer.log, []).append(age)
                if writer.everywhere or pulse.steady:
                    judged.add(writer.log)
        # Whoever writes proves that syslog lives.
        findings += [HEARTBEAT.sample(min(ages[log]), log=os.path.basename(log)) for log in sorted(judged)]
        return findings

    def samples(self, now: float) -> Iterator[Sample]:
        """Yield nothing: what lines alone tell is no age."""
        yield from ()

    def findings(self) -> Iterator[Record]:
        """Yield nothing."""
        yield from ()

    def restore(self, rows: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        self._rows.restore(rows)
        for number, pulse in enumerate(self._pulses):
            if str(number) in rows:
                pulse.restore(rows[str(number)])

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows that changed since the last call."""
        return self._rows.changes((str(number), pulse.save()) for number, pulse in enumerate(self._pulses))

    def _look(self, now: float) -> Seen:
        ages = {}
        for path in self._paths:
            with contextlib.suppress(OSError):  # missing, or who reads that log says why it cannot be read
                # A clock that was set back must not show a negative age.
                ages[path] = max(0.0, now - self._host.stat(path).st_mtime)
        silent = tuple(
            writer
            for writer in WRITERS
            if not self._readable(writer.log) or (writer.daemon and not runs(self._host, *writer.daemon))
        )
        return Seen(ages, silent)

    def _readable(self, log: str) -> bool:
        try:
            os.close(self._host.open(log))
        except OSError:
            return False  # that is its own problem, and told as such
        return True

    def _feed(self, writer: Writer, pulse: Pulse, block: SyslogBlock) -> None:
        now = self._clock.monotonic()
        for line in block.lines:
            wish = writer.wishes.get(line.program)
            if line.at is not None and wish is not None and re.match(wish, line.message):
                pulse.beat(line.at, now)
