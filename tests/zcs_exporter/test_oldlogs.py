"""Old files: every line once, whatever rotation, compression and copying made of them."""

import gzip
import io
import itertools
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.log_lines import MAX_LINE
from zcs_exporter.oldlogs.files import BLOCK, OldLog, UnreadableError, log_name
from zcs_exporter.oldlogs.progress import Progress, in_bytes
from zcs_exporter.oldlogs.recognise import recognise
from zcs_exporter.oldlogs.stamps import Stamps

AT = int(time.mktime((2024, 3, 2, 10, 20, 33, 0, 0, -1)))
REFERENCE = AT + 40_000.0
UTC_AT = 1_709_371_233


def content(file: OldLog) -> bytes:
    return b"".join(data for _, data in file.blocks())


@pytest.mark.parametrize(
    ("name", "log"),
    [
        ("audit.log", "audit.log"),
        ("audit.log.2024-03-02", "audit.log"),
        ("audit.log.2024-03-02.gz", "audit.log"),
        ("zimbra.log-20240302", "zimbra.log"),
        ("zimbra.log-20240302-1709340000.gz", "zimbra.log"),
        ("nginx.access.log.1", "nginx.access.log"),
        ("nginx.log.2.gz", "nginx.log"),
        ("gc.log.0.current", "gc.log"),
        ("gc.log.13", "gc.log"),
        ("access_log.2024-03-02", "access_log"),
        ("mailboxd.csv.gz", "mailboxd.csv"),
        ("messages-20240302.gz", "messages"),
        ("syslog.1", "syslog"),
        ("audit.log.old", "audit.log"),
        ("zmmailboxd.out.20240302", "zmmailboxd.out"),
        ("audit.log.copy", "audit.log.copy"),
        (".gz", ".gz"),
    ],
)
def test_what_rotation_added_to_a_name_is_known(name: str, log: str) -> None:
    assert log_name(f"/some/where.log.1/{name}") == log


@given(st.text(max_size=60))
def test_any_name_has_a_log(name: str) -> None:
    log_name(name)


LINES = st.lists(st.binary(max_size=300).map(lambda line: line.replace(b"\n", b"")), max_size=60)


@settings(deadline=None, max_examples=100)
@given(lines=LINES, times=st.integers(1, 400), ended=st.booleans(), cuts=st.lists(st.integers(0, 1000), max_size=3))
def test_a_file_gives_every_line_once_plain_or_of_any_members(
    lines: list[bytes], times: int, ended: bool, cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = b"".join(line + b"\n" for line in lines) * times
    written = whole if ended else whole.removesuffix(b"\n")
    if written.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")):
        return
    base = tmp_path_factory.mktemp("files")
    (base / "audit.log").write_bytes(written)
    ends = sorted({0, len(written), *(len(written) * cut // 1000 for cut in cuts)})
    members = [gzip.compress(written[begin:end]) for begin, end in itertools.pairwise(ends)]
    (base / "audit.log.1.gz").write_bytes(b"".join(members) or gzip.compress(b""))

    for name in ("audit.log", "audit.log.1.gz"):
        file = OldLog(str(base / name))
        expected = written + b"\n" * bool(written and not written.endswith(b"\n"))
        blocks = list(file.blocks())
        assert b"".join(data for _, data in blocks) == expected
        assert all(expected[offset : offset + len(data)] == data for offset, data in blocks)
        assert (file.problem, file.content, file.read) == (None, len(written), file.size)


def test_an_endless_line_is_cut_and_the_next_is_whole(tmp_path: Path) -> None:
    data = b"first\n" + b"x" * (3 * BLOCK) + b"\nlast\n"
    (tmp_path / "a.log").write_bytes(data)
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(data))

    for name in ("a.log", "a.log.gz"):
        assert content(OldLog(str(tmp_path / name))) == b"first\n" + b"x" * MAX_LINE + b"\nlast\n"


def test_a_bomb_is_read_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(b"x" * 79 + b"\n") + gzip.compress((b"y" * 79 + b"\n") * 10**6))

    assert max(len(data) for _, data in OldLog(str(tmp_path / "a.log.gz")).blocks()) <= 2 * BLOCK


def packed(lines: int) -> bytes:
    return b"".join(b"%d %s\n" % (number, os.urandom(20).hex().encode()) for number in range(lines))


def test_an_archive_that_ends_early_is_read_as_far_as_it_goes_and_that_is_said(tmp_path: Path) -> None:
    data = packed(20_000)
    archive = gzip.compress(data)
    (tmp_path / "a.log.gz").write_bytes(archive[: len(archive) * 3 // 4])
    file = OldLog(str(tmp_path / "a.log.gz"))
    found = content(file)

    assert data.startswith(found.rpartition(b"\n")[0].rpartition(b"\n")[0])
    assert len(found) > len(data) * 0.7
    assert file.problem is not None
    assert "ends early" in file.problem


def test_a_damaged_archive_is_read_up_to_the_damage_and_that_is_said(tmp_path: Path) -> None:
    data = packed(20_000)
    archive = bytearray(gzip.compress(data))
    archive[len(archive) // 2 : len(archive) // 2 + 400] = b"\xff" * 400
    (tmp_path / "a.log.gz").write_bytes(archive)
    file = OldLog(str(tmp_path / "a.log.gz"))

    assert len(content(file)) > len(data) * 0.4
    assert file.problem is not None
    assert "damaged" in file.problem


def test_zeros_after_an_archive_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.log.gz").write_bytes(
        gzip.compress(b"one\n") + b"\0" * 50_000 + gzip.compress(b"two\n") + b"\0" * 512
    )
    file = OldLog(str(tmp_path / "a.log.gz"))

    assert content(file) == b"one\ntwo\n"
    assert file.problem is None


@pytest.mark.parametrize(
    ("begin", "said"),
    [(b"\xfd7zXZ\0", "xz"), (b"BZh91AY", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\x03\x04", "zip")],
)
def test_other_archives_are_refused_with_what_to_do(begin: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(begin + b"\n\n")

    with pytest.raises(UnreadableError, match=f"{said}.*unpack it first"):
        OldLog(str(tmp_path / "a.log"))


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.log")

    with pytest.raises(UnreadableError, match="regular"):
        OldLog(str(tmp_path / "fifo.log"))
    with pytest.raises(UnreadableError, match="directory"):
        OldLog(str(tmp_path))
    with pytest.raises(UnreadableError, match="No such file"):
        OldLog(str(tmp_path / "none"))


def test_the_reference_is_the_time_of_the_file_of_the_content_of_an_archive_or_of_a_copys_name(tmp_path: Path) -> None:
    line = b"Mar  2 10:20:33 mail postfix/smtpd[1]: x\n"

    def put(name: str, data: bytes, modified: float) -> OldLog:
        (tmp_path / name).write_bytes(data)
        os.utime(tmp_path / name, (modified, modified))
        return OldLog(str(tmp_path / name))

    stream = io.BytesIO()
    with gzip.GzipFile("", "wb", fileobj=stream, mtime=AT + 100) as archive:
        archive.write(line)

    assert put("zimbra.log", line, REFERENCE).begins == AT
    assert put("zimbra.log.1.gz", stream.getvalue(), AT + 5e7).reference == AT + 100
    assert put("zimbra.log-20240303", line, AT + 5e7).begins == AT
    assert put("zimbra.log-20240303", line, AT + 100).reference == AT + 100
    assert put("zimbra.log-99999999", line, REFERENCE).begins == AT
    unzipped = put("audit.log", b"2024-03-02 10:20:33,901 x\n", 315_532_800)
    assert (unzipped.begins, unzipped.reference) == (AT, AT + 86_400)
    ahead = put("audit.log", b"2099-03-02 10:20:33,901 x\n2024-03-02 10:20:33,901 x\n", REFERENCE)
    assert (ahead.begins, ahead.reference) == (AT, REFERENCE)


@pytest.mark.parametrize(
    ("line", "at"),
    [
        (b"2024-03-02 10:20:33,901 WARN  [qtp] [] security - x", AT),
        (b"2024/03/02 10:20:33 [info] 2101#0: *8812 client", AT),
        (b"2024-03-02T10:20:33.901234+01:00 mail saslauthd[1]: x", UTC_AT),
        (b"2024-03-02T09:20:33Z mail saslauthd[1]: x", UTC_AT),
        (b"[2024-03-02T10:20:33.118+0100] GC(812) Pause Young", UTC_AT),
        (b"2024-03-02T10:20:33.118+0100: 812.345: [GC (Allocation Failure)", UTC_AT),
        (b"Mar  2 10:20:33 mail postfix/smtpd[4711]: x", AT),
        (b"Sat Mar  2 10:20:33 2024 -> SelfCheck", AT),
        (b"03/02/2024 10:20:33, 12, 7", AT),
        (b'203.0.113.9 - ann [02/Mar/2024:09:20:33 +0000] "POST /service/soap/', UTC_AT),
        (b"2024-03-02 10:20:33 0 [ERROR] InnoDB: x", AT),
        (b"\tat com.zimbra.cs.Foo.bar(Foo.java:12)", None),
        (b"2024-13-02 10:20:33,901 x", None),
        (b"Foo  2 10:20:33 mail x", None),
        (b"", None),
    ],
)
def test_the_stamps_of_all_logs_are_read(line: bytes, at: int | None) -> None:
    assert Stamps(REFERENCE).at(line, 0) == at


@given(st.binary(max_size=400))
def test_any_line_has_a_time_or_none(line: bytes) -> None:
    stamps = Stamps(REFERENCE)
    stamps.at(line, 0)
    stamps.first(line)
    stamps.last(line)
    assert 0 <= stamps.stamp_end(line, 0) <= len(line)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 86_399), st.integers(0, 3)), min_size=1, max_size=1000).map(sorted),
    st.integers(0, 86_400),
)
def test_a_cut_stands_right_before_the_first_later_line_that_has_a_time(
    entries: list[tuple[int, int]], until: int
) -> None:
    written = [
        b"2024-03-02 %02d:%02d:%02d,000 x\n" % (t // 3600, t // 60 % 60, t % 60) + b"\tat a.b(C.java:1)\n" * traced
        for t, traced in entries
    ]
    midnight = AT - (10 * 3600 + 20 * 60 + 33)
    end = Stamps(REFERENCE).cut(b"".join(written), 0, midnight + until)

    due = sum(len(entry) for entry, (at, _) in zip(written, entries, strict=True) if at <= until)
    first = written[0].index(b"\n") + 1
    assert end == (due or first)  # never nothing, or reading would not go on


@pytest.mark.parametrize(
    ("line", "log"),
    [
        (
            b"2024-03-02 10:20:31,118 INFO  [ImapSSLServer-42] [ip=10.0.0.5;] security - cmd=Auth; account=a;",
            "audit.log",
        ),
        (b"2024-03-02 10:25:11,402 FATAL [qtp1] [name=ann@example.com;] system - handler exception", "mailbox.log"),
        (b"2024/03/02 10:20:40 [info] 2101#0: *8812 client 203.0.113.9:51022 connected to 0.0.0.0:993", "nginx.log"),
        (b"Mar  2 10:20:44 mail postfix/smtps/smtpd[4711]: connect from unknown[203.0.113.5]", "zimbra.log"),
        (b"2024-03-02T10:20:33.901234+01:00 mail saslauthd[29157]: x", "zimbra.log"),
        (b"[2024-03-02T10:20:31.118+0100] GC(812) Pause Young (Normal) 1843M->612M(4096M) 21.345ms", "gc.log"),
        (b"dear diary, today Mar  2 10:20:44 mail postfix/smtpd[1]: nothing", None),
    ],
)
def test_a_file_of_a_strange_name_is_known_by_its_lines(line: bytes, log: str | None) -> None:
    known = ("audit.log", "mailbox.log", "nginx.log", "zimbra.log", "gc.log")

    assert recognise("saved", line + b"\n\tat com.zimbra.Foo\n" + line + b"\n", known)[0] == log
    assert recognise("saved", line + b"\n", ()) == (None, "")
    assert recognise("maillog", line + b"\n", known) == (None, "")
    assert recognise("gc.log", line + b"\n", known) == ("gc.log", "name")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_appears_on_a_terminal_after_a_second_and_goes_away() -> None:
    now = [0.0]
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        now[0] = 0.0
        progress = Progress(1000, stream, lambda: now[0])
        progress.show(lambda: 100)
        assert stream.getvalue() == ""
        now[0] = 2.0
        progress.show(lambda: 500)
        assert ("50%" in stream.getvalue()) is shown
        progress.end()
        assert stream.getvalue().endswith("\r\x1b[K") is shown


def test_a_bar_for_nothing_to_do_divides_by_nothing() -> None:
    now = [0.0]
    progress = Progress(0, Terminal(), lambda: now[0])
    now[0] = 5.0
    progress.show(lambda: 0)


def test_bytes_are_told_as_people_read_them() -> None:
    assert [in_bytes(count) for count in (0, 999, 1500, 123_456, 1.2e9, 3e12)] == [
        "0 bytes", "999 bytes", "1.5 kB", "123 kB", "1.2 GB", "3.0 TB",
    ]  # fmt: skip
