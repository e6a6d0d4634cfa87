"""The error logs of nginx, MariaDB, clamd and freshclam: which lines tell of a fault, how bad, and when.

Source: nginx's ``ngx_log_error``, MySQL's and MariaDB's ``print_buffer_to_file``, ClamAV's ``logg``.
A kind of fault is told by how a message begins, since further on may stand what a client sent.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple


class LogFault(NamedTuple):
    """One line worth counting.

    Attributes:
        start: Where the line stands in the block.
        stamp: When, as ``2024-03-02 10:20:33`` in the host's zone; empty where the line does not say.
        utc: Whether the stamp is in UTC.
        level: ``warn``, ``error`` or ``fatal``; empty for a line without a level.
        component: Which part of the program speaks.
        kind: What it tells; empty for nothing in particular.
    """

    start: int
    stamp: bytes
    utc: bool
    level: str
    component: str
    kind: str


_MONTHS = {
    name: b"%02d" % number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), start=1
    )
}

_NGINX_LEVELS = {b"warn": "warn", b"error": "error", b"crit": "fatal", b"alert": "fatal", b"emerg": "fatal"}
# 2024/03/02 10:20:41 [error] 2101#0: *8813 connect() failed (111: Connection refused) while connecting to upstream, ...
_NGINX = re.compile(
    rb"\n(\d{4})/(\d\d)/(\d\d) (\d\d:\d\d:\d\d) \[(warn|error|crit|alert|emerg)\] \d{1,10}#\d{1,10}: (?:\*\d{1,20} )?"
)
_NGINX_KIND = re.compile(
    rb"(?P<nginx_upstream_refused>connect\(\) (?:to [^\s]{1,200} )?failed \(111: )"
    rb"|(?P<nginx_upstream_unreachable>connect\(\) (?:to [^\s]{1,200} )?failed \((?:101|113): )"
    rb"|(?P<nginx_upstream_timed_out>upstream timed out \(110: |connect\(\) failed \(110: )"
    rb"|(?P<nginx_no_live_upstreams>no live upstreams while connecting to upstream)"
    rb"|(?P<nginx_upstream_closed>upstream prematurely closed connection"
    rb"|(?:recv|readv|writev)\(\) failed \(104: [^)\n]{1,60}\) while [a-z ]{1,40} upstream)"
    # worker process 2102 exited on signal 11 (core dumped)
    rb"|(?P<nginx_worker_crashed>worker process \d{1,10} exited on signal \d{1,3})"
    rb"|(?P<nginx_too_many_files>(?:accept4?|socket|epoll_create1?|pipe2?)\(\) failed \(24: )"
    # 1024 worker_connections are not enough while connecting to upstream
    rb"|(?P<nginx_connections_exhausted>\d{1,9} worker_connections are not enough)"
    # pwritev() "/opt/zimbra/data/tmp/nginx/client/0000000001" failed (28: No space left on device) while ...
    rb'|(?P<nginx_no_space>p?writev?\(\) (?:"/[^"\n]{1,300}" )?failed \(28: )'
)
NGINX_KINDS = (*_NGINX_KIND.groupindex, "nginx_emergency")


def parse_nginx(data: bytes) -> Iterator[LogFault]:
    """Yield the lines of nginx's error log at warn or worse."""
    data = b"\n" + data
    for match in _NGINX.finditer(data):
        year, month, day, time, level = match.groups()
        found = _NGINX_KIND.match(data, match.end())
        kind = found.lastgroup or "" if found else "nginx_emergency" if level == b"emerg" else ""
        stamp = year + b"-" + month + b"-" + day + b" " + time
        yield LogFault(match.start(), stamp, False, _NGINX_LEVELS[level], "nginx", kind)


_MYSQL_LEVELS = {b"ERROR": "error", b"Warning": "warn"}
# 2024-03-02 10:20:33 140234567890432 [ERROR] InnoDB: Database page corruption on disk or a failed file read of ...
# 2024-03-02  9:20:33 0 [Note] InnoDB: Starting crash recovery from checkpoint LSN=1625987
# 2024-03-02T10:20:33.123456Z 0 [ERROR] InnoDB: ...                               (MySQL 5.7, in UTC)
# 240302 10:20:33 [ERROR] mysqld got signal 11 ;                                  (MySQL 5.5, MariaDB up to 10.1.4)
# 240302  9:20:33  InnoDB: Starting crash recovery.                               (the same, InnoDB itself)
# InnoDB: Database page corruption on disk or a failed                            (the same, lines that follow)
_MYSQL = re.compile(
    rb"\n(?:(?:(\d\d\d\d-\d\d-\d\d)[ T]|(\d\d)(\d\d)(\d\d) )([ \d]\d:\d\d:\d\d)(?:\.\d{1,6})?(Z)? +"
    rb"(?:(?:0x)?[0-9a-f]{1,20} +)?(?:\[(ERROR|Warning|Note|System)\] +)?(?:\[MY-\d{6}\] \[\w{1,20}\] )?(?:\[FATAL\] )?"
    rb"(?:(?:mysqld|mariadbd): )?(InnoDB: )?|(InnoDB: ))(?:\[FATAL\] )?(?:Error: |Warning: |ERROR: )?"
)
_MYSQL_KIND = re.compile(
    # Database page corruption on disk or a failed file read of tablespace zimbra/mailbox page [page id: ...]
    # Table './mboxgroup1/mail_item' is marked as crashed and should be repaired
    # Index "i_name" of table "zimbra"."mailbox" is corrupted ; Corruption: Block in space_id 12 in file ... corrupted.
    rb"(?P<mysqld_corruption>[Dd]atabase page corruption |Corruption: |Your database may be corrupt"
    rb"|Unable to read tablespace \d{1,10} page|Failed to read page \d{1,10} from file|Background Page read failed"
    rb"|Page \[page id: [^\]\n]{1,80}\] (?:log sequence number|is corrupt)"
    rb"|page \d{1,12} log sequence number "
    rb"|(?:Table|File|Tablespace|Index) [^\n]{1,300}? is (?:marked as crashed|corrupted|corrupt\b)"
    rb"|Got error 12[67] )"
    rb"|(?P<mysqld_crash_recovery>Starting crash recovery)"
    # mysqld got signal 11 ; Assertion failure in file /home/buildbot/... line 1234
    rb"|(?P<mysqld_crashed>(?:mysqld|mariadbd|/[^\s]{1,200}/(?:mysqld|mariadbd)) got signal \d{1,3}"
    rb"|Assertion failure in (?:file|thread) )"
    # Aborted connection 0 to db: 'unconnected' user: 'unauthenticated' host: 'connecting host' (Too many connections)
    rb"|(?P<mysqld_too_many_connections>Too many connections"
    rb"|Aborted connection [^\n]{1,1000} \(Too many connections\)\n)"
    # Disk is full writing './mboxgroup1/mail_item.MYD' (Errcode: 28 "No space left on device")
    rb"|(?P<mysqld_disk_full>Disk is full writing |(?:Write|Error writing|Can't create)[^\n]{1,300}?"
    rb"(?:[Ee]rrno: 28\b|[Ee]rrcode: 28\b|Error number 28\b|No space left on device)|Error number 28 means )"
    rb"|(?P<mysqld_table_full>The table '[^'\n]{1,200}' is full)"
    # Aborted connection 12 to db: 'zimbra' user: 'zimbra' host: 'localhost' (Got timeout reading ...)
    rb"|(?P<mysqld_aborted_connection>Aborted connection \d{1,12} )"
    # A long semaphore wait: ; Semaphore wait has lasted > 600 seconds. We intentionally crash the server ...
    rb"|(?P<mysqld_stalled>[Aa] long semaphore wait|Semaphore wait has lasted )"
    rb"|(?P<mysqld_too_many_files>Error in accept: Too many open files)"
)
MYSQL_KINDS = tuple(_MYSQL_KIND.groupindex)


def parse_mysql(data: bytes) -> Iterator[LogFault]:
    """Yield the lines of MySQL's or MariaDB's error log that have a level worse than a note, or tell of a fault."""
    data = b"\n" + data
    for match in _MYSQL.finditer(data):
        date, year, month, day, time, utc, level, innodb, bare = match.groups()
        found = _MYSQL_KIND.match(data, match.end())
        if found is None and level not in _MYSQL_LEVELS:
            continue
        stamp = b""
        if time is not None:
            date = date or b"20" + year + b"-" + month + b"-" + day
            stamp = date + b" " + time.replace(b" ", b"0")
        kind = found.lastgroup or "" if found else ""
        component = "innodb" if innodb or bare else "mysqld"
        yield LogFault(match.start(), stamp, utc is not None, _MYSQL_LEVELS.get(level, ""), component, kind)


# Sat Mar  2 10:20:00 2024 -> ERROR: reload db failed: Malformed database
_CTIME = rb"[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ \d]\d) (\d\d:\d\d:\d\d) (\d{4})"
_CLAM_LEVELS = {b"ERROR": "error", b"WARNING": "warn", b"LibClamAV Error": "error", b"LibClamAV Warning": "warn"}
_CLAMD = re.compile(rb"\n(?:" + _CTIME + rb" -> )?(?:\^|!)?(ERROR|WARNING|LibClamAV (?:Error|Warning)): ")
_CLAMD_KIND = re.compile(
    rb"(?P<clamd_reload_failed>reload db failed|reload_db: |Database load exited|Malformed database|"
    rb"cl_load\(\)|Can't load /)"
    # LOCAL: Socket file /opt/zimbra/data/clamav/clamav.sock could not be bound: Address already in use
    rb"|(?P<clamd_socket>(?:LOCAL|TCP): |Can't unlink the socket file|Socket file )"
    rb"|(?P<clamd_too_many_files>accept\(\) failed: Too many open files)"
    rb"|(?P<clamd_no_memory>[^\n]{0,80}?(?:[Cc]an't allocate memory|[Mm]emory allocation|mmap\(\) failed))"
    rb"|(?P<clamd_no_space>[^\n]{0,200}?No space left on device)"
)
CLAMD_KINDS = tuple(_CLAMD_KIND.groupindex)


def parse_clamd(data: bytes) -> Iterator[LogFault]:
    """Yield clamd's warnings and errors."""
    data = b"\n" + data
    for match in _CLAMD.finditer(data):
        month, day, time, year, level = match.groups()
        found = _CLAMD_KIND.match(data, match.end())
        kind = found.lastgroup or "" if found else ""
        yield LogFault(match.start(), _from_ctime(month, day, time, year), False, _CLAM_LEVELS[level], "clamd", kind)


FRESHCLAM_STARTED, FRESHCLAM_SUCCEEDED = "started", "succeeded"
# ClamAV update process started at Sat Mar  2 10:20:00 2024
# daily.cvd database is up-to-date (version: 27202, sigs: 2053984, ...) ; daily.cld updated (version: 27203, ...)
# daily.cld is up to date (version: 25500, ...)
_FRESHCLAM = re.compile(
    rb"\n(?:" + _CTIME + rb" -> )?(?:\^|!)?(?:ClamAV update process started at " + _CTIME + rb"\n"
    rb"|(daily\.c[vlu]d (?:database is up-to-date|is up to date|updated) )|(ERROR|WARNING): )"
)
_FRESHCLAM_KIND = re.compile(
    rb"(?P<freshclam_failed>Update failed|Database update process failed)"
    rb"|(?P<freshclam_outdated>Your ClamAV installation is OUTDATED)"
    # FreshClam received error code 429 from the ClamAV Content Delivery Network (CDN).
    rb"|(?P<freshclam_blocked>FreshClam (?:previously )?received error code (?:429|403))"
    rb"|(?P<freshclam_database_bad>Database test FAILED|Failed to load new database|Verification: )"
)
FRESHCLAM_KINDS = tuple(_FRESHCLAM_KIND.groupindex)


def parse_freshclam(data: bytes) -> Iterator[LogFault]:
    """Yield freshclam's warnings and errors; ``started`` with each update, ``succeeded`` when signatures are current.

    Lines between bear no time by default: they belong to the update that started before.
    """
    data = b"\n" + data
    position = 0
    while match := _FRESHCLAM.search(data, position):
        month, day, time, year, *started, succeeded, level = match.groups()
        stamp = _from_ctime(*(started if started[0] else (month, day, time, year)))
        # The end of the line that starts an update is the beginning of the next.
        position = match.end() - 1
        kind = FRESHCLAM_STARTED if started[0] else FRESHCLAM_SUCCEEDED if succeeded else ""
        if level:
            found = _FRESHCLAM_KIND.match(data, match.end())
            kind = found.lastgroup or "" if found else ""
        yield LogFault(match.start(), stamp, False, _CLAM_LEVELS.get(level, ""), "freshclam", kind)


def _from_ctime(month: bytes | None, day: bytes | None, time: bytes | None, year: bytes | None) -> bytes:
    if month is None or day is None or time is None or year is None or month not in _MONTHS:
        return b""
    return year + b"-" + _MONTHS[month] + b"-" + day.replace(b" ", b"0") + b" " + time
