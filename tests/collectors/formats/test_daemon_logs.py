"""Faults in the error logs of nginx, MariaDB, clamd and freshclam, equal to a slow reading line by line."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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

FIXTURES = Path(__file__).parents[2] / "fixtures" / "mysql"
UPSTREAM = (
    b', client: 198.51.100.23, server: mail.example.com, request: "GET / HTTP/1.1", upstream: "https://10.0.0.10:8443/"'
)
NGINX = {
    b"[error] 2101#0: *8 connect() failed (111: Connection refused) while connecting to upstream": "upstream_refused",
    b"[error] 2101#0: *8 connect() failed (113: No route to host) while connecting to upstream": "upstream_unreachable",
    b"[error] 2101#0: *88 upstream timed out (110: Connection timed out) while reading response header from upstream": (
        "upstream_timed_out"
    ),
    b"[error] 2101#0: *8 no live upstreams while connecting to upstream": "no_live_upstreams",
    b"[error] 2101#0: *8 upstream prematurely closed connection while reading response header from upstream": (
        "upstream_closed"
    ),
    b"[error] 2101#0: *8 recv() failed (104: Connection reset by peer) while proxying and reading from upstream": (
        "upstream_closed"
    ),
    b"[alert] 2100#0: worker process 2102 exited on signal 11 (core dumped)": "worker_crashed",
    b"[crit] 2101#0: accept4() failed (24: Too many open files)": "too_many_files",
    b"[alert] 2101#0: *9 socket() failed (24: Too many open files) while connecting to upstream": "too_many_files",
    b"[alert] 2101#0: *9 1024 worker_connections are not enough while connecting to upstream": "connections_exhausted",
    b'[crit] 2101#0: *9 pwritev() "/opt/zimbra/data/tmp/nginx/client/0000000001" failed (28: No space left on device) '
    b"while sending request to upstream": "no_space",
    b"[emerg] 2100#0: bind() to 0.0.0.0:443 failed (98: Address already in use)": "emergency",
}
MYSQL = {
    b"2024-03-02 10:20:33 140234567890432 [ERROR] InnoDB: Database page corruption on disk or a failed file read of "
    b"tablespace zimbra/mailbox page [page id: space=12, page number=3]. You may have to recover from a backup.": (
        "corruption"
    ),
    b"2024-03-02  9:20:33 0 [Note] InnoDB: Starting crash recovery from checkpoint LSN=1625987": "crash_recovery",
    b"2024-03-02T10:20:33.123456Z 0 [ERROR] InnoDB: Page [page id: space=12, page number=3] log sequence number 9 is "
    b"in the future!": "corruption",
    b"240302 10:20:33 [ERROR] mysqld got signal 11 ;": "crashed",
    b"240302  9:20:33  InnoDB: Starting crash recovery.": "crash_recovery",
    b"InnoDB: Database page corruption on disk or a failed": "corruption",
    b"InnoDB: Error: page 12 log sequence number 83 21": "corruption",
    b"2014-05-12 21:32:59 7f1b0d1d2700  InnoDB: Assertion failure in thread 139754 in file buf.cc": "crashed",
    b"2024-03-02 10:20:33 12 [ERROR] mysqld: Table './mboxgroup1/mail_item' is marked as crashed": "corruption",
    b"2024-03-02 10:20:33 12 [ERROR] Table './mboxgroup1/mail_item' is marked as crashed and should be repaired": (
        "corruption"
    ),
    b'2024-03-02 10:20:33 12 [ERROR] InnoDB: Index "i_name" of table "zimbra"."mailbox" is corrupted': "corruption",
    b"2024-03-02 10:20:33 12 [ERROR] Index i_name of table mailbox is corrupted": "corruption",
    b"2024-03-02 10:20:33 12 [Warning] Aborted connection 12 to db: 'zimbra' user: 'zimbra' host: 'localhost' "
    b"(Got timeout reading communication packets)": "aborted_connection",
    b"2024-03-02 10:20:33 12 [Warning] Too many connections": "too_many_connections",
    b"2024-03-02 10:20:33 12 [ERROR] Disk is full writing './x.MYD' (Errcode: 28 \"No space left\")": "disk_full",
    b"2024-03-02 10:20:33 12 [ERROR] The table 'mail_item' is full": "table_full",
    b"2024-03-02 10:20:33 0 [ERROR] [FATAL] InnoDB: Semaphore wait has lasted > 600 seconds.": "stalled",
    b"2024-03-02 10:20:33 0 [Warning] InnoDB: A long semaphore wait:": "stalled",
    b"2024-03-02 10:20:33 0 [Note] InnoDB: Buffer pool(s) load completed at 240302 10:20:33": None,
    b"Version: '10.4.13-MariaDB-log'  socket: '/opt/zimbra/data/tmp/mysql/mysql.sock'  port: 7306": None,
    b"Query (0x7f): SELECT 'InnoDB: Database page corruption on disk'": None,
    b"2024-03-02 10:20:33 12 [Note] a mail says: mysqld got signal 11": None,
}
CLAMD = {
    b"Sat Mar  2 10:20:00 2024 -> ERROR: reload db failed: Malformed database": "reload_failed",
    b"Sat Mar  2 10:20:00 2024 -> ERROR: LOCAL: Socket file /opt/zimbra/data/clamav/clamav.sock could not be bound: "
    b"Address already in use": "socket",
    b"LibClamAV Error: cli_mpool_malloc: Can't allocate memory": "no_memory",
    b"Sat Mar  2 10:20:00 2024 -> WARNING: Incoming connections limit reached": "",
    b"Sat Mar  2 10:20:00 2024 -> /opt/zimbra/data/amavisd/tmp/a/parts/p002: ERROR: reload db failed FOUND": None,
    b"Sat Mar  2 10:20:00 2024 -> SelfCheck: Database status OK.": None,
}


def kind_of(parse: Callable[[bytes], Iterator[LogFault]], line: bytes) -> str | None:
    """Return the kind of a line without the program's name; None where it is not worth counting."""
    found = list(parse(line + b"\n"))
    assert len(found) <= 1
    return found[0].kind.partition("_")[2] if found else None


@pytest.mark.parametrize("line", NGINX)
def test_each_fault_of_nginx_has_its_kind(line: bytes) -> None:
    assert kind_of(parse_nginx, b"2024/03/02 10:20:41 " + line) == NGINX[line]
    assert kind_of(parse_nginx, b"2024/03/02 10:20:41 " + line + UPSTREAM) == NGINX[line]
    assert "nginx_" + NGINX[line] in NGINX_KINDS


@pytest.mark.parametrize("line", MYSQL)
def test_each_fault_of_the_database_has_its_kind(line: bytes) -> None:
    assert kind_of(parse_mysql, line) == MYSQL[line]


@pytest.mark.parametrize("line", CLAMD)
def test_each_fault_of_clamd_has_its_kind(line: bytes) -> None:
    assert kind_of(parse_clamd, line) == CLAMD[line]


def test_every_kind_has_an_example() -> None:
    assert {f"nginx_{kind}" for kind in NGINX.values()} == set(NGINX_KINDS)
    mysql = {f"mysqld_{kind}" for kind in MYSQL.values() if kind}
    assert set(MYSQL_KINDS) - mysql == {"mysqld_too_many_files"}
    clamd = {f"clamd_{kind}" for kind in CLAMD.values() if kind}
    assert set(CLAMD_KINDS) - clamd == {"clamd_too_many_files", "clamd_no_space"}


def test_a_refused_login_at_the_proxy_is_a_line_at_its_level_and_no_fault() -> None:
    line = b'2024/03/02 10:20:41 [error] 2101#0: *8 upstream sent invalid response: "2 NO LOGIN failed" while ...\n'
    [fault] = parse_nginx(line)
    assert (fault.level, fault.kind, fault.stamp) == ("error", "", b"2024-03-02 10:20:41")


@pytest.mark.parametrize(
    "line",
    [
        b'2024/03/02 10:20:41 [error] 1#0: *8 open() "/x/worker process 1 exited on signal 11" failed (2: No file)',
        b'2024/03/02 10:20:41 [error] 1#0: *8 open() "/opt/zimbra/x" failed (24: Too many open files)" failed (2: No)',
        b'2024/03/02 10:20:41 [error] 1#0: *8 pwritev() "/a" failed (2: x), request: "GET /" failed (28: "',
    ],
)
def test_what_a_client_asks_for_names_no_fault(line: bytes) -> None:
    assert kind_of(parse_nginx, line) == ""


@pytest.mark.parametrize("line", [b"x" + line for line in NGINX] + [b" " + line for line in MYSQL if MYSQL[line]])
def test_words_that_are_not_at_their_place_are_nothing(line: bytes) -> None:
    assert kind_of(parse_nginx, line) is None
    assert kind_of(parse_mysql, line) is None


def test_a_real_log_of_a_server_that_was_mistreated() -> None:
    data = (FIXTURES / "mariadb-10.11.19-error.log").read_bytes()
    faults = Counter(fault.kind for fault in parse_mysql(data) if fault.kind)
    assert faults == {
        "mysqld_too_many_connections": 1,
        "mysqld_aborted_connection": data.count(b"Aborted connection ") - 1,
        "mysqld_crash_recovery": 1,
        "mysqld_corruption": data.count(b"[ERROR]"),
    }
    levels = Counter(fault.level for fault in parse_mysql(data))
    assert (levels["error"], levels["warn"]) == (data.count(b"[ERROR]"), data.count(b"[Warning]"))


def test_stamps_are_told_in_one_form() -> None:
    stamps = [(fault.stamp, fault.utc) for line in list(MYSQL)[:5] for fault in parse_mysql(line + b"\n")]
    assert stamps == [
        (b"2024-03-02 10:20:33", False),
        (b"2024-03-02 09:20:33", False),
        (b"2024-03-02 10:20:33", True),
        (b"2024-03-02 10:20:33", False),
        (b"2024-03-02 09:20:33", False),
    ]
    [fault] = parse_clamd(next(iter(CLAMD)) + b"\n")
    assert fault.stamp == b"2024-03-02 10:20:00"


UPDATE = [
    b"--------------------------------------",
    b"ClamAV update process started at Sat Mar  2 10:20:00 2024",
    b"daily.cvd database is up-to-date (version: 27202, sigs: 2053984, f-level: 90, builder: raynman)",
    b"WARNING: Your ClamAV installation is OUTDATED!",
    b"ERROR: Database update process failed: Connection failed (5)",
    b"ERROR: Update failed.",
    b"Sat Mar  2 12:20:00 2024 -> ClamAV update process started at Sat Mar  2 12:20:00 2024",
    b"Sat Mar  2 12:20:09 2024 -> daily.cld updated (version: 27203, sigs: 2053999, f-level: 90, builder: raynman)",
    b"Sat Mar  2 12:20:09 2024 -> WARNING: FreshClam received error code 429 from the ClamAV Content Delivery Network",
    b"Sat Mar  2 12:20:09 2024 -> ^Database test FAILED.",
    b"main.cld is up to date (version: 59, sigs: 4564902, f-level: 60, builder: sigmgr)",
]


def test_an_update_of_freshclam_is_followed() -> None:
    found = [(each.kind, each.level) for each in parse_freshclam(b"\n".join(UPDATE) + b"\n")]
    assert found == [
        (FRESHCLAM_STARTED, ""),
        (FRESHCLAM_SUCCEEDED, ""),
        ("freshclam_outdated", "warn"),
        ("freshclam_failed", "error"),
        ("freshclam_failed", "error"),
        (FRESHCLAM_STARTED, ""),
        (FRESHCLAM_SUCCEEDED, ""),
        ("freshclam_blocked", "warn"),
    ]
    stamps = [each.stamp for each in parse_freshclam(b"\n".join(UPDATE) + b"\n")]
    assert stamps[0] == b"2024-03-02 10:20:00"
    assert stamps[1] == b""
    assert stamps[-1] == b"2024-03-02 12:20:09"
    assert "freshclam_blocked" in FRESHCLAM_KINDS


PARSERS = (parse_nginx, parse_mysql, parse_clamd, parse_freshclam)
LINES = [b"2024/03/02 10:20:41 " + line for line in NGINX] + [*MYSQL, *CLAMD, *UPDATE]
TEXT = st.sampled_from(LINES) | st.binary(max_size=80).map(lambda text: text.replace(b"\n", b" "))
CUT = st.tuples(TEXT, st.integers(0, 120), TEXT).map(lambda parts: parts[0][: parts[1]] + parts[2])


@given(st.lists(TEXT | CUT, max_size=8))
@settings(max_examples=1500, deadline=None)
def test_any_lines_are_read_and_a_block_as_its_lines(lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    for parse in PARSERS:
        slowly, at = [], 0
        for line in lines:
            slowly += [fault._replace(start=fault.start + at) for fault in parse(line + b"\n")]
            at += len(line) + 1
        assert list(parse(data)) == slowly
        assert all(re.fullmatch(r"[a-z_]*", fault.kind) for fault in slowly)
        assert all(fault.stamp == b"" or len(fault.stamp) == 19 for fault in slowly)


def test_a_line_of_64_kib_is_read_at_once() -> None:
    for line in (b"2024/03/02 10:20:41 [error] 1#0: *1 ", b"2024-03-02 10:20:33 1 [ERROR] Table ", b"ERROR: mmap "):
        for parse in PARSERS:
            assert len(list(parse(line + b"is corrupt(" * 6000 + b"\n"))) <= 1
