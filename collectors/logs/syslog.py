"""What the mail system's own programs say in syslog: the manager of mailboxd, slapd, amavis, opendkim, zmconfigd.

ZCS's own disk warnings and status lines are read to compare with, never to alarm. A status that zmstatuslog
told is shown beside ours; a text that only looks like one is counted.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar, NamedTuple

from collectors.logs.faults import FaultPart
from collectors.logs.part import SIGNALS, runs
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
    SyslogBlock,
    SyslogLine,
    SyslogSubscription,
)
from zcs_exporter.hostio import Host

SYSLOG, STATS = "/var/log/zimbra.log", "/var/log/zimbra-stats.log"

GAVE_UP = Metric(
    "zcs_mailboxd_gave_up",
    Kind.GAUGE,
    "Whether the manager of mailboxd has ended after two exits in a row, so that nobody starts mailboxd again.",
)
MAP_FULL = Metric(
    "zcs_ldap_map_full_last_hour",
    Kind.GAUGE,
    "Writes that slapd refused in the last hour because its database has reached its maximum size.",
)
REPORTED = Metric(
    "zcs_service_reported_up",
    Kind.GAUGE,
    "Whether ZCS itself last reported a service of this host as running; absent ten minutes after the last report.",
    labels=("name",),
)
REPORT_SECONDS = 600
"""Seconds for which a report of zmstatuslog holds; it comes every two minutes."""

SERVICES = frozenset(
    ("amavis", "antispam", "antivirus", "archiving", "cbpolicyd", "convertd", "dnscache", "docs", "imapd", "ldap",
     "license-daemon", "logger", "mailbox", "mailboxd", "memcached", "milter", "mta", "onlyoffice", "opendkim", "proxy",
     "sasl", "snmp", "spell", "stats", "zmconfigd")
)  # fmt: skip
"""Names that zmstatuslog may report; those that only repeat ``mailbox`` are left out."""

MANAGER = b"zmmailboxdmgr"
_MANAGER_PID = "log/zmmailboxd_manager.pid"


class Program(NamedTuple):
    """A program to listen to.

    Attributes:
        name: As in syslog.
        start: Expression for how messages of interest start.
        faults: Expression for the messages that are faults, with a group named for each kind.
    """

    name: bytes
    start: bytes
    faults: re.Pattern[bytes]


# mdb_id2entry_put: mdb_put failed: MDB_MAP_FULL: Environment mapsize limit reached(-30792) "uid=ann,ou=people,..."
# => mdb_idl_insert_keys: c_put id failed: MDB_MAP_FULL: Environment mapsize limit reached (-30792)
_MDB = rb'(?:=> )?mdb_[a-z0-9_]{1,60}: [^"\n]{0,120}?'
PROGRAMS = (
    Program(
        MANAGER,
        rb"mailboxd/JVM |JVM option: ",
        re.compile(
            # mailboxd/JVM exited twice in 28 seconds (tolerance=60)
            rb"(?P<mailboxd_gave_up>mailboxd/JVM exited twice in \d{1,10} seconds )"
            rb"|(?P<mailboxd_killed>mailboxd/JVM process did not exit after \d{1,10} seconds, sending SIGKILL)"
            # JVM option: -javaagent:/opt/x.jar: not allowed
            rb"|(?P<mailboxd_option_refused>JVM option: [^\n]{1,4000}: not allowed)"
        ),
    ),
    Program(
        b"slapd",
        rb"(?:=> )?mdb_|daemon: accept\(|do_syncrep",
        re.compile(
            rb"(?P<ldap_map_full>" + _MDB + rb"MDB_MAP_FULL)"
            rb"|(?P<ldap_readers_full>" + _MDB + rb"MDB_READERS_FULL)"
            rb"|(?P<ldap_corrupt>" + _MDB + rb"MDB_(?:CORRUPTED|PAGE_NOTFOUND|PANIC|INVALID))"
            rb"|(?P<ldap_no_space>" + _MDB + rb"No space left on device)"
            # daemon: accept(8) failed errno=24 (Too many open files)
            rb"|(?P<ldap_too_many_files>daemon: accept\(\d{1,10}\) failed errno=24 )"
            # do_syncrepl: rid=101 rc -1 retrying
            rb"|(?P<ldap_sync_failed>do_syncrepl: rid=\d{1,4} rc -?\d{1,6} (?:retrying|quitting))"
        ),
    ),
    Program(
        b"amavis",
        rb"(?:\([\w-]{1,40}\) )?\(!",
        re.compile(
            # (15345-18) (!!)AV: ALL VIRUS SCANNERS FAILED ; (15345-18) (!!)TROUBLE in check_mail: ...
            # (15345-18) (!)WARN: all primary virus scanners failed, considering backups
            rb"(?:\([\w-]{1,40}\) )?(?:(?P<amavis_scanners_failed>\(!!\) ?AV: ALL VIRUS SCANNERS FAILED)"
            rb"|(?P<amavis_primary_scanners_failed>\(!!?\) ?WARN: all primary virus scanners failed)"
            rb"|(?P<amavis_trouble>\(!!\) ?TROUBLE in [a-z_]{1,40}))"
        ),
    ),
    Program(
        b"opendkim",
        rb"(?:[0-9A-Za-z]{6,20}: )?(?:signing table |error loading key|can't load key|key data is not|dkim_)",
        re.compile(
            # signing table references unknown key 'example.com' ; 3F2A81C0E5D: can't load key from /opt/zimbra/...
            rb"(?:[0-9A-Za-z]{6,20}: )?(?:(?P<opendkim_key>signing table references unknown key|error loading key"
            rb"|can't load key from |key data is not secure)"
            # 3F2A81C0E5D: dkim_eoh(): resource unavailable: d2i_PrivateKey_bio() failed
            rb"|(?P<opendkim_fault>dkim_[a-z]{2,20}\(\):? (?:resource|internal|error)))"
        ),
    ),
    Program(
        b"zmconfigd",
        rb"Sleeping\.\.\.Key|Thread |zmconfigd: shutting",
        re.compile(
            rb"(?P<zmconfigd_fault>Sleeping\.\.\.Key lookup failed|Thread [a-z]{2} still alive, aborting"
            rb"|zmconfigd: shutting down)"
        ),
    ),
    Program(
        b"zimbramon",
        rb"\d{1,10}:(?:err|crit): Disk warning: ",
        re.compile(
            # 1877:err: Disk warning: mail.example.com: /opt/zimbra on device /dev/mapper/vg0-zimbra at 87%
            rb"\d{1,10}:(?:(?P<zmdisklog_warning>err)|(?P<zmdisklog_critical>crit)): "
            rb"Disk warning: [^\s\x00-\x1f]{1,255}: /[^\n]{0,1000} on device /[^\n]{1,1000} at \d{1,3}%$"
        ),
    ),
)
_FAULTS = {program.name: program.faults for program in PROGRAMS}

CRASHED, GIVEN_UP = "mailboxd_crashed", "mailboxd_gave_up"
TIMED_OUT = "zmstatuslog_timeout"
DISK_IMITATED, STATUS_IMITATED = "disk_warning_imitated", "status_imitated"

# manager started mailboxd/JVM with pid 9120
_STARTED = b"manager started mailboxd/JVM with pid "
# manager woke up from wait on mailboxd/JVM with pid 3001
_WOKE = re.compile(rb"manager woke up from wait on mailboxd/JVM with pid (\d{1,10})$")
# shutdown requested, sending TERM signal to 3001 ; stop requested (by the process that asks the manager)
_ASKED = re.compile(rb"(?:shutdown|bounce) requested, sending TERM signal to \d{1,10}$|(?:stop|restart) requested$")
_LIFE = rb"manager (?:woke|started)|shutdown req|bounce req|stop req|restart req"

# 27690:info: 2019-09-05 08:34:01, STATUS: mail.example.com: memcached: Running
_STATUS = re.compile(
    rb"\d{1,10}:info: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, STATUS: [^\s:]{1,255}: "
    rb"([A-Za-z-]{1,32})(?: webapp)?: (Running|Stopped)$"
)
# 9034:info: zmstatuslog timeout after 60 seconds
_TIMEOUT = re.compile(rb"\d{1,10}:info: zmstatuslog timeout after \d{1,6} seconds$")
_STATUS_START = rb"\d{1,10}:info: (?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, STATUS: |zmstatuslog timeout)"

_BEGIN = rb"\n[A-Za-z0-9:.+-]{3,35}(?: +\d{1,2} \d\d:\d\d:\d\d)? [^\s\x00-\x1f]{1,255} zimbramon\[\d{1,10}\]: \d{1,10}:"
_IMITATIONS: Mapping[str, tuple[str, bytes, re.Pattern[bytes]]] = {
    SYSLOG: (DISK_IMITATED, b"Disk warning: ", re.compile(_BEGIN + rb"(?:err|crit|info): Disk warning: ")),
    STATS: (
        STATUS_IMITATED,
        b", STATUS: ",
        re.compile(_BEGIN + rb"info: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, STATUS: "),
    ),
}
"""By log: the signal, what is looked for, and how a line begins of which it is a part by right, whichever host's."""


def parse_fault(program: bytes, message: bytes) -> str:
    """Return the kind of fault that a program's message tells, empty for none."""
    faults = _FAULTS.get(program)
    match = None if faults is None else faults.match(message)
    return "" if match is None else match.lastgroup or ""


def parse_status(message: bytes) -> tuple[str, bool] | None:
    """Return the service that a line of zmstatuslog tells of, and whether it runs; None for any other message."""
    match = _STATUS.match(message)
    if match is None:
        return None
    name = match[1].decode("ascii")
    return (name, match[2] == b"Running") if name in SERVICES else None


def count_imitations(log: str, data: bytes) -> int:
    """Return in how many lines stands what only ZCS's own lines of ``log`` should hold, and not at their place."""
    _, needle, genuine = _IMITATIONS[log]
    if needle not in data:
        return 0
    data = b"\n" + data
    lines = 0
    position = data.find(needle)
    while position >= 0:
        start = data.rfind(b"\n", 0, position)
        lines += genuine.match(data, start) is None
        end = data.find(b"\n", position)
        position = -1 if end < 0 else data.find(needle, end)
    return lines


class SyslogPart(FaultPart):
    """Listens to the mail system's programs."""

    name: ClassVar[str] = "syslog"
    metrics: ClassVar[tuple[Metric, ...]] = (SIGNALS, GAVE_UP, MAP_FULL, REPORTED)
    gauges: ClassVar[Mapping[str, Metric]] = {"ldap_map_full": MAP_FULL}
    grades: ClassVar[Mapping[str, Grade]] = dict.fromkeys(
        (CRASHED, GIVEN_UP, "ldap_map_full", "ldap_corrupt", "ldap_no_space"), Grade.CRITICAL
    )

    def __init__(self, host: Host, clock: Clock) -> None:
        self._host = host
        kinds = [kind for program in PROGRAMS for kind in program.faults.groupindex]
        super().__init__(clock, {SYSLOG: (CRASHED, *kinds, DISK_IMITATED), STATS: (TIMED_OUT, STATUS_IMITATED)})
        # Whether somebody asked mailboxd to end since it was started, and whether its manager ended; None before
        # the first word of the manager.
        self._asked = False
        self._gave_up: bool | None = None
        self._call = BlockingCall("looking for the manager of mailboxd")
        self._managed = False
        self._reported: dict[str, tuple[int, bool]] = {}

    def subscriptions(self) -> Sequence[Subscription]:
        """Return the two syslog files of ZCS."""
        wishes = {program.name: program.start for program in PROGRAMS}
        wishes[MANAGER] += b"|" + _LIFE
        return (
            SyslogSubscription(SYSLOG, wishes, self._feed),
            SyslogSubscription(STATS, {b"zimbramon": _STATUS_START}, self._status),
            LogSubscription(SYSLOG, self._look_for_imitations),
            LogSubscription(STATS, self._look_for_imitations),
        )

    async def look(self, now: float) -> Sequence[Finding]:
        """See whether there is a manager again, of which syslog may have lost the first line.

        Raises:
            CollectError: The disk of its pid file does not answer.
        """
        self._managed = await self._call(lambda: runs(self._host, _MANAGER_PID, MANAGER.decode()))
        return ()

    def samples(self, now: float) -> Iterator[Sample]:
        """Yield counters, the state of the manager, and what zmstatuslog last told."""
        yield from super().samples(now)
        if self._gave_up is not None:
            yield GAVE_UP.sample(self._gave_up and not self._managed)
        for name, (at, up) in self._reported.items():
            if now - REPORT_SECONDS < at <= now + REPORT_SECONDS:
                yield REPORTED.sample(up, name=name)

    def restore(self, rows: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        super().restore(rows)
        if "manager" in rows:
            self._asked, self._gave_up = json.loads(rows["manager"])
        if "reported" in rows:
            self._reported = {name: (at, up) for name, at, up in json.loads(rows["reported"])}

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield all rows as they are now."""
        yield from super().rows()
        yield "manager", json.dumps([self._asked, self._gave_up])
        yield "reported", json.dumps([[name, *report] for name, report in self._reported.items()])

    def _feed(self, block: SyslogBlock) -> None:
        for line in block.lines:
            kind = parse_fault(line.program, line.message)
            if line.program == MANAGER:
                kind = self._follow_manager(line.message, kind)
            if kind:
                self._note_line(kind, block, line)

    def _follow_manager(self, message: bytes, kind: str) -> str:
        """Keep in mind what the manager of mailboxd did and was asked for; return the kind of fault, if it is one."""
        if kind == GIVEN_UP:
            self._gave_up = True
        elif message.startswith(_STARTED):
            self._asked = self._gave_up = False
        elif _ASKED.match(message):
            self._asked, self._gave_up = True, False
        elif not self._asked and _WOKE.match(message):
            return CRASHED
        return kind

    def _status(self, block: SyslogBlock) -> None:
        now = self._clock.wall()
        for line in block.lines:
            if line.program != b"zimbramon":
                continue
            status = parse_status(line.message)
            if status is not None:
                self._reported[status[0]] = (int(now) if line.at is None else line.at, status[1])
            elif _TIMEOUT.match(line.message):
                self._note_line(TIMED_OUT, block, line)

    def _look_for_imitations(self, block: LogBlock) -> None:
        count = count_imitations(block.path, block.data)
        if count:
            self._signals.count(_IMITATIONS[block.path][0], count)

    def _note_line(self, kind: str, block: SyslogBlock, line: SyslogLine) -> None:
        fields = {"program": line.program.decode("ascii", "replace")}
        self.note(kind, line.at, block.path, partial(block.offset, line), live=block.live, fields=fields)
