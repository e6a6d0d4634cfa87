import errno
import gzip
import json
import os
import shutil
import tempfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zcs_exporter.contract import GRANT, LogBlock, Reason
from zcs_exporter.log_lines import MAX_LINE, cut_lines
from zcs_exporter.log_position import Position
from zcs_exporter.tail import LET_GO, SETTLE, LogTail

LOG = "/opt/zimbra/log/audit.log"


class DenyingHost(FakeHost):
    """A host on which some files may not be opened."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.denied: set[str] = set()

    def open(self, path: str) -> int:
        if path in self.denied:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return super().open(path)


class CountingHost(FakeHost):
    """A host that counts what is asked of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.calls: list[str] = []

    def stat(self, path: str) -> os.stat_result:
        self.calls.append("stat")
        return super().stat(path)

    def open(self, path: str) -> int:
        self.calls.append("open")
        return super().open(path)

    def listdir(self, path: str) -> list[str]:
        self.calls.append("listdir")
        return super().listdir(path)


class Rig:
    """A log, what is done to it, and the process that follows it."""

    def __init__(self, host: FakeHost, *, path: str = LOG, block_size: int = 1 << 20, max_line: int = MAX_LINE) -> None:
        self.host = host
        self.path = path
        self.sizes = {"block_size": block_size, "max_line": max_line}
        self.manual = ManualClock()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.committed: Position | None = None
        self.blocks: list[LogBlock] = []
        self.tail: LogTail | None = None

    @property
    def file(self) -> Path:
        return self.host.base / self.path.lstrip("/")

    def named(self, suffix: str) -> Path:
        return self.file.with_name(self.file.name + suffix)

    def append(self, data: bytes, to: Path | None = None) -> None:
        with open(to or self.file, "ab") as writer:
            writer.write(data)

    def start(self, *, from_start: bool = False) -> LogTail:
        """Start a process at the last committed position."""
        if self.tail is not None:
            self.tail.close()
        saved = None if self.committed is None else Position.from_json(self.committed.to_json())
        self.tail = LogTail(self.host, self.path, saved, self.manual.clock, from_start=from_start, **self.sizes)
        return self.tail

    def follow(self) -> LogTail:
        """Start a process that has read what there is."""
        tail = self.start()
        assert self.drain() == b""
        return tail

    def step(self) -> LogBlock | None:
        """Read one block and commit it."""
        assert self.tail is not None
        block = self.tail.read()
        if block is not None:
            self.blocks.append(block)
            self.committed = self.tail.advance()
            assert self.committed == self.tail.position
        return block

    def drain(self) -> bytes:
        """Read and commit until there is nothing new, and return the lines."""
        lines = []
        while (block := self.step()) is not None:
            lines.append(block.data)
        assert self.tail is not None
        self.committed = self.tail.position
        return b"".join(lines)

    def settle(self) -> bytes:
        """As ``drain``, long enough for a renamed file to be left."""
        lines = [self.drain()]
        for _ in range(3):
            self.manual.advance(SETTLE)
            lines.append(self.drain())
        return b"".join(lines)


@pytest.fixture
def rig(host: FakeHost) -> Iterator[Rig]:
    made = Rig(host)
    yield made
    if made.tail is not None:
        made.tail.close()


def compress(path: Path) -> None:
    """Compress a file as gzip(1) and logrotate do, keeping its time."""
    packed = path.with_name(path.name + ".gz")
    status = path.stat()
    packed.write_bytes(gzip.compress(path.read_bytes()))
    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()


# Where reading starts


def test_a_log_seen_for_the_first_time_is_read_from_its_end(rig: Rig) -> None:
    rig.append(b"old\n")
    rig.follow()
    rig.append(b"new\n")
    assert rig.drain() == b"new\n"


def test_the_first_position_is_known_before_any_line(rig: Rig) -> None:
    rig.append(b"old\n")
    rig.follow()
    rig.append(b"while it was down\n")
    rig.start()
    assert rig.drain() == b"while it was down\n"


def test_a_line_that_is_half_written_at_the_first_start_is_delivered_whole(rig: Rig) -> None:
    rig.append(b"old\nhal")
    rig.follow()
    rig.append(b"f\n")
    assert rig.drain() == b"half\n"


def test_the_rest_of_an_overlong_line_at_the_first_start_is_skipped(rig: Rig) -> None:
    rig.append(b"x" * (MAX_LINE + 1))
    rig.follow()
    rig.append(b"x\nnew\n")
    assert rig.drain() == b"new\n"


def test_a_log_seen_for_the_first_time_is_read_from_its_start_on_request(rig: Rig) -> None:
    rig.append(b"old\n")
    rig.start(from_start=True)
    assert rig.drain() == b"old\n"
    assert not rig.blocks[0].live


def test_a_log_created_after_the_start_is_read_from_its_beginning_and_live(rig: Rig) -> None:
    tail = rig.follow()
    assert (tail.exists, tail.problem, tail.position) == (False, None, None)
    rig.append(b"first\n")
    assert rig.drain() == b"first\n"
    assert tail.exists
    assert rig.blocks[0].live


def test_a_block_says_where_its_lines_came_from(rig: Rig) -> None:
    rig.append(b"old\n")
    rig.follow()
    rig.append(b"new\n")
    rig.drain()
    assert rig.blocks == [LogBlock(LOG, b"new\n", 4, live=True)]


# Delivering


def test_a_block_that_was_not_advanced_over_comes_again(rig: Rig) -> None:
    tail = rig.follow()
    rig.append(b"one\n")
    first = tail.read()
    assert tail.read() == first
    tail.advance()
    assert tail.read() is None


def test_a_block_that_was_not_committed_is_read_again_by_the_next_process(rig: Rig) -> None:
    rig.append(b"old\n")
    tail = rig.follow()
    rig.append(b"one\ntwo\n")
    assert tail.read() is not None
    tail.advance()
    rig.start()
    assert rig.drain() == b"one\ntwo\n"


def test_advancing_without_a_block_changes_nothing(rig: Rig) -> None:
    rig.append(b"old\n")
    tail = rig.follow()
    assert tail.advance() == rig.committed


def test_advancing_before_the_log_was_ever_seen_is_a_bug(rig: Rig) -> None:
    with pytest.raises(RuntimeError):
        rig.follow().advance()


def test_a_partial_line_waits_for_its_newline(rig: Rig) -> None:
    rig.append(b"")
    rig.follow()
    rig.append(b"one\ntw")
    assert rig.drain() == b"one\n"
    rig.append(b"o\nthree\n")
    assert rig.drain() == b"two\nthree\n"


def test_a_partial_line_is_counted_once_across_a_restart(rig: Rig) -> None:
    rig.append(b"")
    rig.follow()
    rig.append(b"one\ntw")
    assert rig.drain() == b"one\n"
    rig.start()
    assert rig.drain() == b""
    rig.append(b"o\n")
    assert rig.drain() == b"two\n"


def test_NUL_bytes_and_invalid_UTF8_are_kept(rig: Rig) -> None:
    hostile = b"\0\0a\xff\xfe\xed\xa0\x80\r\x85\x0b\xe2\x80\xa8b\n\0\n\n"
    rig.follow()
    rig.append(hostile)
    assert rig.drain() == hostile


def test_lines_bytes_and_lag_are_counted(rig: Rig) -> None:
    rig.append(b"old\n")
    tail = rig.follow()
    rig.append(b"one\ntwo\nthr")
    assert tail.read() is not None
    assert (tail.lag, tail.lines) == (11, 0)
    tail.advance()
    assert (tail.lag, tail.lines) == (3, 2)


def test_a_block_must_hold_more_than_a_line(rig: Rig) -> None:
    with pytest.raises(ValueError, match="more than one line"):
        LogTail(rig.host, LOG, None, rig.manual.clock, block_size=MAX_LINE)


def test_an_idle_log_costs_one_look_at_its_name(tmp_path: Path) -> None:
    host = CountingHost(tmp_path)
    rig = Rig(host)
    rig.append(b"old\npartial")
    tail = rig.follow()
    host.calls.clear()
    for _ in range(10):
        assert tail.read() is None
    assert host.calls == ["stat"] * 10
    tail.close()


def test_after_a_restart_lines_are_not_live_until_the_size_of_the_start_is_reached(host: FakeHost) -> None:
    rig = Rig(host, block_size=12, max_line=10)
    rig.append(b"old\n")
    rig.follow()
    rig.append(b"while\nit was\noff\nand ha")
    tail = rig.start()
    rig.step()
    rig.append(b"lf\nnow\n")
    rig.drain()
    assert rig.blocks == [
        LogBlock(LOG, b"while\n", 4, live=False),
        LogBlock(LOG, b"it was\noff\n", 10, live=False),
        LogBlock(LOG, b"and half\n", 21, live=True),
        LogBlock(LOG, b"now\n", 30, live=True),
    ]
    tail.close()


def test_a_block_ends_where_live_lines_begin(host: FakeHost) -> None:
    rig = Rig(host, block_size=12, max_line=10)
    rig.append(b"")
    rig.follow()
    rig.append(b"it was off\nlong\n")
    tail = rig.start()
    rig.step()
    rig.append(b"now\n")
    rig.drain()
    assert [(block.data, block.live) for block in rig.blocks[1:]] == [(b"long\n", False), (b"now\n", True)]
    tail.close()


@pytest.mark.parametrize("caught_up", [False, True])
def test_after_a_truncation_lines_are_live_if_all_that_was_missed_had_been_read(
    host: FakeHost, caught_up: bool
) -> None:
    rig = Rig(host, block_size=12, max_line=10)
    rig.append(b"old\n")
    rig.follow()
    rig.append(b"while\nit was\noff\n")
    tail = rig.start()
    rig.step()
    if caught_up:
        rig.drain()
    rig.append(b"now\n")
    shutil.copy(rig.file, rig.named(".1"))
    os.truncate(rig.file, 0)
    rig.append(b"then\n")
    rig.blocks.clear()
    rig.settle()
    missed = [] if caught_up else [(b"it was\noff\n", False)]
    assert [(block.data, block.live) for block in rig.blocks if block.data] == [
        *missed,
        (b"now\n", caught_up),
        (b"then\n", caught_up),
    ]
    tail.close()


# Overlong lines


def test_a_line_of_just_the_allowed_length_is_whole(rig: Rig) -> None:
    line = b"x" * MAX_LINE + b"\n"
    rig.follow()
    rig.append(line)
    assert rig.drain() == line


def test_a_longer_line_is_cut_and_its_neighbours_are_whole(rig: Rig) -> None:
    rig.follow()
    rig.append(b"before\n" + b"x" * (MAX_LINE + 1) + b"\nafter\n")
    assert rig.drain() == b"before\n" + b"x" * MAX_LINE + b"\nafter\n"
    assert rig.tail is not None
    assert rig.tail.lines == 3


def test_an_unfinished_overlong_line_is_delivered_once_and_its_rest_skipped_after_a_restart(rig: Rig) -> None:
    rig.append(b"")
    rig.follow()
    rig.append(b"x" * (MAX_LINE + 1))
    assert rig.drain() == b"x" * MAX_LINE + b"\n"
    rig.start()
    rig.append(b"x" * 3_000_000)
    assert rig.drain() == b""
    rig.append(b"xxx\nafter\n")
    assert rig.drain() == b"after\n"


def test_a_10_GB_log_without_a_newline_takes_bounded_memory_and_time(rig: Rig) -> None:
    rig.append(b"")
    tail = rig.follow()
    os.truncate(rig.file, 10 << 30)
    rig.append(b"\nreal line\n")
    tail.read()  # copies of what was empty are looked for
    first = tail.read()
    assert first is not None
    tail.advance()
    assert first.data == b"\0" * MAX_LINE + b"\n"
    assert tail.lag == (10 << 30) + 11 - (1 << 20)
    tracemalloc.start()
    for _ in range(50):
        block = tail.read()
        assert block is not None
        assert block.data == b""
        tail.advance()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert tail.advance().offset == 51 << 20


@settings(max_examples=2_000, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=12),
    ending=st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")),
    stretches=st.lists(st.integers(6, 30), min_size=1),
)
def test_however_a_log_is_cut_its_lines_are_the_same(lines: list[bytes], ending: bytes, stretches: list[int]) -> None:
    max_line = 5
    log = b"".join(line + b"\n" for line in lines) + ending
    offset, skipping, delivered = 0, False, b""
    for count in stretches + [30] * 40:
        cut = cut_lines(log[offset : offset + count], skipping, max_line)
        delivered += cut.lines
        offset, skipping = offset + cut.consumed, cut.skipping
    expected = b"".join(line[:max_line] + b"\n" for line in lines)
    if len(ending) > max_line:
        expected += ending[:max_line] + b"\n"
    assert delivered == expected


# Renaming


def test_the_rest_of_a_renamed_log_is_read_before_the_new_one(rig: Rig) -> None:
    rig.follow()
    rig.append(b"one\n")
    assert rig.drain() == b"one\n"
    rig.append(b"two\n")
    rig.file.rename(rig.named(".2026-11-21"))
    rig.append(b"three\n")
    assert rig.settle() == b"two\nthree\n"
    assert all(block.live for block in rig.blocks)


def test_a_writer_that_reopens_late_loses_nothing(rig: Rig) -> None:
    rig.follow()
    rig.append(b"one\n")
    rig.drain()
    rig.file.rename(rig.named(".1"))
    rig.append(b"")
    assert rig.settle() == b""
    rig.append(b"two\n", rig.named(".1"))
    assert rig.settle() == b"two\n"
    rig.append(b"three\n")
    assert rig.drain() == b""
    rig.append(b"another worker's\n", rig.named(".1"))
    assert rig.settle() == b"another worker's\nthree\n"


@pytest.mark.parametrize("suffix", [".2026-11-21", ".1", "-20261121"])
@pytest.mark.parametrize("compressed", [False, True])
def test_after_a_restart_the_rest_of_the_old_file_is_found(rig: Rig, suffix: str, compressed: bool) -> None:
    rig.append(b"old\n")
    rig.follow()
    rig.append(b"one\n")
    rig.file.rename(rig.named(suffix))
    if compressed:
        compress(rig.named(suffix))
    rig.append(b"two\n")
    rig.start()
    assert rig.settle() == b"one\ntwo\n"
    assert not any(block.live for block in rig.blocks)


def test_days_of_rotated_files_are_read_in_order(rig: Rig) -> None:
    rig.append(b"never read\n")
    rig.file.rename(rig.named(".2026-11-10"))
    os.utime(rig.named(".2026-11-10"), (1_700_000_000, 1_700_000_000))
    rig.append(b"old\n")
    rig.follow()
    for day in range(11, 20):
        rig.append(b"day %d\n" % day)
        rig.file.rename(rig.named(f".2026-11-{day}"))
        if day < 18:
            compress(rig.named(f".2026-11-{day}"))
    rig.append(b"today\n")
    rig.start()
    assert rig.settle() == b"".join(b"day %d\n" % day for day in range(11, 20)) + b"today\n"


def test_numbered_files_are_read_from_the_highest_to_the_lowest(rig: Rig) -> None:
    rig.append(b"old\n")
    rig.follow()
    for number in range(12, 0, -1):
        rig.append(b"file %d\n" % number)
        rig.file.rename(rig.named(f".{number}"))
        os.utime(rig.named(f".{number}"), (2_000_000_000, 2_000_000_000))
    rig.append(b"now\n")
    rig.start()
    assert rig.settle() == b"".join(b"file %d\n" % number for number in range(12, 0, -1)) + b"now\n"


def test_files_that_only_look_like_rotated_ones_are_left_alone(rig: Rig) -> None:
    rig.append(b"old\n")
    rig.follow()
    rig.append(b"one\n")
    rig.file.rename(rig.named(".1"))
    for suffix in (".bak", ".1.swp", "2026-11-21", ".2026-11-21.bz2", ".1.gz.tmp", "-2026112"):
        rig.append(b"old\nnot this\n", rig.named(suffix))
    rig.named(".2026-11-20").mkdir()
    rig.append(b"two\n")
    rig.start()
    assert rig.settle() == b"one\ntwo\n"


def test_a_file_that_is_being_compressed_is_read_once(rig: Rig) -> None:
    rig.append(b"old\n")
    rig.follow()
    rig.append(b"one\n")
    rig.file.rename(rig.named(".1"))
    rig.named(".1.gz").write_bytes(gzip.compress(b"old\none\n")[:12])
    rig.append(b"two\n")
    rig.start()
    assert rig.settle() == b"one\ntwo\n"


def test_a_damaged_archive_gives_what_it_has_and_does_not_block_the_log(rig: Rig) -> None:
    rig.append(b"old\n")
    rig.follow()
    rig.append(b"".join(b"%064d\n" % number for number in range(20_000)))
    rig.file.rename(rig.named(".1"))
    compress(rig.named(".1"))
    packed = rig.named(".1.gz").read_bytes()
    rig.named(".1.gz").write_bytes(packed[: len(packed) // 2])
    rig.append(b"two\n")
    rig.start()
    lines = rig.settle().splitlines()
    assert lines[0] == b"0" * 64
    assert 100 < len(lines) < 20_000
    assert lines[-1] == b"two"


def test_a_large_archive_is_skipped_in_steps_and_in_bounded_memory(rig: Rig) -> None:
    line = b"x" * 1023 + b"\n"
    rig.append(b"old\n")
    rig.follow()
    rig.append(line * 40_000)
    rig.drain()
    rig.append(b"one\n")
    rig.file.rename(rig.named(".1"))
    with open(rig.named(".1"), "rb") as plain, gzip.open(rig.named(".1.gz"), "wb", 1) as packed:
        shutil.copyfileobj(plain, packed)
    rig.named(".1").unlink()
    rig.append(b"two\n")
    tail = rig.start()
    tracemalloc.start()
    first = rig.step()
    rest = rig.settle()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert first is not None
    assert first.data == b""
    assert rest == b"one\ntwo\n"
    assert peak < 8 << 20
    assert tail.lag == 0


def test_the_lag_includes_older_files(rig: Rig) -> None:
    rig.append(b"old\n")
    rig.follow()
    rig.append(b"one\n")
    rig.file.rename(rig.named(".2"))
    compress(rig.named(".2"))
    rig.append(b"three\n")
    rig.file.rename(rig.named(".1"))
    rig.append(b"four\n")
    tail = rig.start()
    assert tail.read() is not None
    assert tail.lag == len(b"one\nthree\nfour\n")


def test_where_the_old_file_is_gone_only_what_was_written_since_is_read(rig: Rig) -> None:
    rig.append(b"read long ago\n")
    rig.follow()
    rig.file.rename(rig.named(".3"))
    rig.append(b"read\n")
    rig.settle()
    rig.file.unlink()
    saved = rig.committed
    assert saved is not None
    os.utime(rig.named(".3"), ns=(saved.modified, saved.modified))
    rig.append(b"since\n")
    rig.file.rename(rig.named(".1"))
    later = rig.named(".1").stat().st_mtime + 10
    os.utime(rig.named(".1"), (later, later))
    rig.append(b"now\n")
    rig.start()
    assert rig.settle() == b"since\nnow\n"


def test_a_file_that_reuses_the_inode_is_another_file(rig: Rig) -> None:
    rig.append(b"old line\n")
    rig.follow()
    saved = rig.committed
    assert saved is not None
    rig.file.write_bytes(b"another line\n")
    assert rig.file.stat().st_ino == saved.inode
    rig.start()
    assert rig.settle() == b"another line\n"


def test_a_file_that_was_empty_is_not_known_by_its_inode(rig: Rig) -> None:
    rig.append(b"")
    rig.follow()
    rig.append(b"one\n")
    rig.file.rename(rig.named(".1"))
    later = rig.named(".1").stat().st_mtime + 10
    os.utime(rig.named(".1"), (later, later))
    compress(rig.named(".1"))
    rig.append(b"two\n")
    status = rig.file.stat()
    assert rig.committed is not None
    rig.committed = replace(rig.committed, device=status.st_dev, inode=status.st_ino)
    rig.start()
    assert rig.settle() == b"one\ntwo\n"


def test_among_files_that_begin_alike_the_inode_tells(rig: Rig) -> None:
    banner = b"Starting\n" * 200
    rig.append(banner)
    rig.follow()
    for number in (2, 1):
        rig.append(b"end of file %d\n" % number)
        rig.file.rename(rig.named(f".{number}"))
        rig.append(banner)
    rig.start()
    assert rig.settle() == b"end of file 2\n" + banner + b"end of file 1\n" + banner


def test_a_log_moved_to_another_disk_goes_on_where_it_was(rig: Rig) -> None:
    rig.append(b"old\n")
    rig.follow()
    rig.file.rename(rig.named(".moving"))
    shutil.copy(rig.named(".moving"), rig.file)
    rig.append(b"new\n")
    rig.start()
    assert rig.settle() == b"new\n"


def test_a_log_that_a_crash_of_the_host_cut_short_is_not_counted_again(rig: Rig) -> None:
    rig.append(b"one\n" * 500)
    rig.follow()
    os.truncate(rig.file, 1500)
    rig.start()
    assert rig.settle() == b""
    rig.append(b"after the crash\n")
    assert rig.drain() == b"after the crash\n"


def test_a_heading_longer_than_the_fingerprint_does_not_make_two_files_one(rig: Rig) -> None:
    heading = b"column," * 200 + b"\n"
    rig.append(heading + b"1,2\n")
    rig.follow()
    rig.file.rename(rig.named(".elsewhere"))
    rig.append(heading + b"3,4\n5,6\n")
    rig.start()
    assert rig.settle() == heading + b"3,4\n5,6\n"


def test_two_rotations_while_reading_is_behind_lose_nothing(host: FakeHost) -> None:
    rig = Rig(host, block_size=20, max_line=10)
    tail = rig.follow()
    rig.append(b"")
    rig.drain()
    for number in range(3):
        rig.append(b"line %d\n" % number * 20)
        tail.read()
        rig.file.rename(rig.named(f".{number}"))
        rig.append(b"")
        tail.read()
    rig.append(b"now\n")
    assert rig.settle() == b"".join(b"line %d\n" % number * 20 for number in range(3)) + b"now\n"
    tail.close()


@pytest.mark.parametrize("compressed", [False, True])
def test_rotations_that_nobody_saw_lose_nothing(rig: Rig, compressed: bool) -> None:
    rig.append(b"old\n")
    rig.follow()
    for day in range(11, 15):
        rig.append(b"day %d\n" % day)
        rig.file.rename(rig.named(f".2026-11-{day}"))
        if compressed:
            compress(rig.named(f".2026-11-{day}"))
    rig.append(b"today\n")
    assert rig.settle() == b"".join(b"day %d\n" % day for day in range(11, 15)) + b"today\n"
    assert [block.live for block in rig.blocks] == [True, False, False, False, True]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("at", range(len(b"one\ntwo\nthree\n") + 1))
def test_a_rotation_between_any_two_bytes_loses_none(rig: Rig, at: int, restart: bool) -> None:
    text = b"one\ntwo\nthree\n"
    rig.append(b"old\n")
    rig.follow()
    rig.append(text[:at])
    lines = rig.drain()
    rig.file.rename(rig.named(".1"))
    if restart:
        rig.start()
    lines += rig.settle()
    rig.append(b"four\n")
    lines += rig.settle()
    ended = text[:at] if text[:at].endswith(b"\n") or not at else text[:at] + b"\n"
    assert lines == ended + b"four\n"


def test_a_line_finished_in_the_renamed_file_is_whole(rig: Rig) -> None:
    rig.follow()
    rig.append(b"one\ntw")
    rig.drain()
    rig.file.rename(rig.named(".1"))
    rig.append(b"")
    rig.drain()
    rig.append(b"o\n", rig.named(".1"))
    rig.append(b"three\n")
    assert rig.settle() == b"two\nthree\n"


def test_a_partial_line_at_a_file_s_end_is_not_delivered_again_after_a_restart(rig: Rig) -> None:
    rig.append(b"")
    rig.follow()
    rig.append(b"one\ntw")
    rig.drain()
    rig.file.rename(rig.named(".1"))
    rig.append(b"three\n")
    assert rig.settle() == b"tw\nthree\n"
    rig.start()
    assert rig.settle() == b""


# Truncation


def test_a_log_truncated_to_nothing_is_read_from_its_start(rig: Rig) -> None:
    tail = rig.follow()
    rig.append(b"one\ntwo\n")
    rig.drain()
    os.truncate(rig.file, 0)
    assert rig.drain() == b""
    rig.append(b"three\n")
    assert rig.drain() == b"three\n"
    assert tail.truncations == 1


def test_a_log_truncated_and_written_to_past_the_old_offset_is_read_from_its_start(rig: Rig) -> None:
    tail = rig.follow()
    rig.append(b"one\n")
    rig.drain()
    rig.file.write_bytes(b"two, which is longer\n")
    assert rig.drain() == b"two, which is longer\n"
    assert tail.truncations == 1


def test_what_is_left_of_a_log_cut_short_is_not_read_again(rig: Rig) -> None:
    tail = rig.follow()
    rig.append(b"one\n" * 1000)
    rig.drain()
    os.truncate(rig.file, 2000)
    assert rig.drain() == b""
    rig.append(b"two\n")
    assert rig.drain() == b"two\n"
    assert tail.truncations == 1


def test_a_log_rewritten_with_the_same_size_is_read_from_its_start(rig: Rig) -> None:
    tail = rig.follow()
    rig.append(b"one\n")
    rig.drain()
    rig.file.write_bytes(b"two\n")
    os.utime(rig.file, (2_000_000_000, 2_000_000_000))
    assert rig.drain() == b"two\n"
    assert tail.truncations == 1


def test_copytruncate_of_a_log_that_was_read_loses_nothing(rig: Rig) -> None:
    rig.follow()
    rig.append(b"one\n")
    rig.drain()
    shutil.copy(rig.file, rig.named(".1"))
    os.truncate(rig.file, 0)
    rig.append(b"two\n")
    assert rig.settle() == b"two\n"


def test_a_truncation_of_a_log_that_was_empty_when_last_seen_is_counted(rig: Rig) -> None:
    rig.append(b"")
    tail = rig.follow()
    rig.append(b"one\n")
    shutil.copy(rig.file, rig.named(".1"))
    os.utime(rig.named(".1"), (2_000_000_000, 2_000_000_000))
    os.truncate(rig.file, 0)
    os.utime(rig.file, (2_000_000_000, 2_000_000_000))
    assert rig.settle() == b"one\n"
    assert tail.truncations == 1
    rig.append(b"two\n")
    rig.append(b"three\n")
    assert rig.drain() == b"two\nthree\n"
    assert tail.truncations == 1


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_after_copytruncate_the_rest_is_read_from_the_copy(rig: Rig, restart: bool, compressed: bool) -> None:
    rig.append(b"old\n")
    rig.follow()
    rig.append(b"one\n")
    shutil.copy(rig.file, rig.named(".1"))
    if compressed:
        compress(rig.named(".1"))
    os.truncate(rig.file, 0)
    rig.append(b"two, which is longer\n")
    if restart:
        rig.start()
    assert rig.settle() == b"one\ntwo, which is longer\n"
    rig.start()
    assert rig.settle() == b""


def test_a_partial_line_in_a_copy_does_not_wait_for_the_next_line(rig: Rig) -> None:
    rig.follow()
    rig.append(b"one\ntw")
    rig.drain()
    shutil.copy(rig.file, rig.named(".1"))
    os.truncate(rig.file, 0)
    assert rig.drain() == b"tw\n"


@pytest.mark.parametrize("text", [b"", b"two\n"])
def test_a_log_truncated_and_renamed_before_anybody_looked_is_read_once(rig: Rig, text: bytes) -> None:
    rig.follow()
    rig.append(b"one\n")
    rig.drain()
    shutil.copy(rig.file, rig.named(".2026-11-11"))
    os.truncate(rig.file, 0)
    rig.append(text)
    for day, line in ((12, b"three\n"), (13, b"four\n")):
        rig.file.rename(rig.named(f".2026-11-{day}"))
        # Their times must differ, and the system's may be the same.
        later = rig.named(".2026-11-11").stat().st_mtime + day
        os.utime(rig.named(f".2026-11-{day}"), (later, later))
        compress(rig.named(f".2026-11-{day}"))
        rig.append(line)
    assert rig.settle() == text + b"three\nfour\n"


def test_an_older_file_with_the_same_banner_is_not_taken_for_the_copy(rig: Rig) -> None:
    banner = b"Starting\n" * 200
    rig.append(banner + b"old end\n", rig.named(".2026-11-20"))
    os.utime(rig.named(".2026-11-20"), (1_700_000_000, 1_700_000_000))
    rig.append(banner)
    rig.follow()
    os.truncate(rig.file, 0)
    rig.append(b"two\n")
    assert rig.settle() == b"two\n"


def test_a_writer_that_goes_on_at_its_old_offset_leaves_NULs_before_its_line(rig: Rig) -> None:
    rig.follow()
    with open(rig.file, "wb", buffering=0) as writer:
        writer.write(b"one\n")
        assert rig.drain() == b"one\n"
        os.truncate(rig.file, 0)
        writer.write(b"two\n")
        assert rig.drain() == b"\0\0\0\0two\n"


# Missing and forbidden


def test_a_log_that_was_deleted_and_returns_is_read_from_its_start(rig: Rig) -> None:
    tail = rig.follow()
    rig.append(b"one\n")
    rig.drain()
    rig.append(b"two\n")
    rig.file.unlink()
    assert rig.drain() == b"two\n"
    assert not tail.exists
    rig.append(b"three\n")
    assert rig.settle() == b"three\n"
    assert tail.exists


def test_a_log_that_was_empty_when_last_seen_and_was_written_to_and_deleted_is_read(rig: Rig) -> None:
    rig.append(b"")
    rig.follow()
    rig.append(b"one\n")
    rig.file.unlink()
    assert rig.drain() == b"one\n"


def test_a_log_that_stays_away_is_a_problem_until_it_returns(rig: Rig) -> None:
    tail = rig.follow()
    rig.append(b"one\n")
    rig.drain()
    rig.file.unlink()
    rig.drain()
    assert tail.problem is None
    rig.manual.advance(LET_GO)
    rig.drain()
    assert tail.problem is not None
    assert tail.problem.reason is Reason.UNAVAILABLE
    assert LOG in str(tail.problem)
    assert tail.problem.remedy
    rig.append(b"two\n")
    assert rig.settle() == b"two\n"
    assert tail.problem is None
    assert rig.blocks[-1].live


def test_a_deleted_log_is_let_go_so_that_its_space_becomes_free(rig: Rig) -> None:
    rig.follow()
    rig.append(b"one\n")
    rig.drain()
    rig.file.unlink()
    rig.drain()
    assert _held(rig.file) == 1
    rig.manual.advance(LET_GO)
    rig.drain()
    assert _held(rig.file) == 0


def test_after_it_was_let_go_every_later_file_is_read(rig: Rig) -> None:
    rig.follow()
    rig.append(b"one\n")
    rig.drain()
    rig.file.rename(rig.named(".2"))
    compress(rig.named(".2"))
    rig.drain()
    rig.manual.advance(LET_GO)
    rig.drain()
    rig.append(b"two\n")
    rig.file.rename(rig.named(".1"))
    rig.append(b"three\n")
    assert rig.settle() == b"two\nthree\n"


def test_a_log_whose_directory_is_missing_is_just_missing(host: FakeHost) -> None:
    rig = Rig(host, path="/opt/zimbra/nginx/nginx.log")
    rig.file.parent.rmdir()
    tail = rig.follow()
    assert (tail.exists, tail.problem) == (False, None)


def test_a_forbidden_log_is_a_problem_with_its_remedy_and_is_followed_once_allowed(tmp_path: Path) -> None:
    host = DenyingHost(tmp_path)
    rig = Rig(host)
    rig.append(b"old\n")
    host.denied.add(LOG)
    tail = rig.follow()
    assert tail.exists
    assert tail.problem is not None
    assert (tail.problem.reason, tail.problem.remedy) == (Reason.PERMISSION, GRANT)
    host.denied.clear()
    assert rig.drain() == b""
    assert tail.problem is None
    rig.append(b"new\n")
    assert rig.drain() == b"new\n"
    tail.close()


def test_what_a_new_file_got_while_it_was_forbidden_is_not_live(tmp_path: Path) -> None:
    host = DenyingHost(tmp_path)
    rig = Rig(host)
    rig.append(b"old\n")
    tail = rig.follow()
    host.denied.add(LOG)
    rig.file.rename(rig.named(".1"))
    rig.append(b"one\n")
    rig.append(b"late\n", rig.named(".1"))
    assert rig.settle() == b"late\n"
    assert tail.problem is not None
    host.denied.clear()
    assert rig.settle() == b"one\n"
    rig.append(b"two\n")
    rig.drain()
    assert [block.live for block in rig.blocks] == [True, False, True]
    tail.close()


def test_a_forbidden_older_file_does_not_block_the_log(tmp_path: Path) -> None:
    host = DenyingHost(tmp_path)
    rig = Rig(host)
    rig.append(b"old\n")
    rig.follow()
    rig.file.rename(rig.named(".1"))
    host.denied.add(LOG + ".1")
    rig.append(b"two\n")
    rig.start()
    assert rig.settle() == b"two\n"


def _directory(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [_directory, _fifo, _loop])
def test_what_is_no_file_is_a_problem_with_a_remedy_until_a_file_is_there(rig: Rig, make) -> None:
    make(rig.file)
    tail = rig.follow()
    assert tail.problem is not None
    assert tail.problem.reason is Reason.UNAVAILABLE
    assert LOG in str(tail.problem)
    assert tail.problem.remedy
    rig.file.rename(rig.named(".away"))
    rig.append(b"one\n")
    assert rig.drain() == b"one\n"
    assert tail.problem is None


def test_a_symbolic_link_is_followed_to_where_it_points_now(rig: Rig) -> None:
    rig.append(b"", rig.named(".first"))
    rig.file.symlink_to(rig.named(".first"))
    rig.follow()
    rig.append(b"one\n")
    rig.file.unlink()
    rig.append(b"two\n", rig.named(".second"))
    rig.file.symlink_to(rig.named(".second"))
    assert rig.settle() == b"one\ntwo\n"


def test_no_file_is_left_open(rig: Rig) -> None:
    rig.append(b"old\n")
    rig.follow()
    for number in range(5, 0, -1):
        rig.append(b"file %d\n" % number)
        rig.file.rename(rig.named(f".{number}"))
        compress(rig.named(f".{number}"))
    rig.append(b"now\n")
    tail = rig.start()
    rig.settle()
    assert _held(rig.file) == 1
    tail.close()
    assert _held(rig.file) == 0


def _held(file: Path) -> int:
    """Return how many descriptors of this process lead to a log or its older files."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{number}").startswith(str(file))
        except OSError:
            continue
    return found


# Positions


def test_a_position_survives_its_text() -> None:
    position = Position(1, 2, 3, "ab", 4, 5, skipping=True)
    assert Position.from_json(position.to_json()) == position


@pytest.mark.parametrize("text", ["", "[]", "{}", "1", '{"device": 1}', Position(1, 2, 3, "a", 4, 5).to_json()[:-1]])
def test_a_text_that_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Position.from_json(text)


@pytest.mark.parametrize("read", [b"", b"timestamp,a\n", b"one\ntwo\n"])
def test_after_an_update_reading_goes_on_at_the_position_that_the_earlier_version_wrote(rig: Rig, read: bytes) -> None:
    rig.append(read)
    rig.follow()
    assert rig.committed is not None
    written = json.loads(rig.committed.to_json())
    del written["distinct"], written["before"]
    rig.committed = Position.from_json(json.dumps(written))
    rig.append(b"three\n")
    rig.start()
    assert rig.drain() == b"three\n"
    rig.file.rename(rig.named(".1"))
    rig.append(b"four\n")
    rig.start()
    assert rig.settle() == b"four\n"


@pytest.mark.parametrize("before", ["1", "1:ab", "1:ab:x", "1:ab:2:3"])
def test_a_position_after_a_file_that_makes_no_sense_is_refused(before: str) -> None:
    with pytest.raises(ValueError):
        Position.from_json(replace(Position(1, 2, 3, "ab", 4, 5), before=before).to_json())


def test_a_position_with_a_value_of_the_wrong_type_is_refused() -> None:
    text = Position(1, 2, 3, "a", 4, 5).to_json().replace('"offset": 5', '"offset": "5"')
    with pytest.raises(ValueError, match="offset"):
        Position.from_json(text)


# Everything together


class ExactlyOnce(RuleBasedStateMachine):
    """Whatever happens to a log and to its reader, each line is committed once, and in order.

    A log is rotated in one of the two ways.
    """

    MAX_LINE = 40
    BLOCK = 100

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp()
        self.rig = Rig(FakeHost(Path(self.directory)), block_size=self.BLOCK, max_line=self.MAX_LINE)
        self.written: list[bytes] = []
        self.committed: list[bytes] = []
        self.partial = b""
        self.count = 0
        self.rotations = 0
        self.time = 1_700_000_000

    def teardown(self) -> None:
        self.end_partial()
        self.write(b"end\n")
        for _ in range(4):
            self.rig.manual.advance(SETTLE)
            self.read_all()
        assert self.rig.tail is not None
        assert (self.rig.tail.lag, self.rig.tail.problem) == (0, None)
        self.rig.tail.close()
        shutil.rmtree(self.directory)
        assert self.committed == self.written

    @initialize(scheme=st.sampled_from(["date", "dash", "number"]), copies=st.booleans())
    def begin(self, scheme: str, copies: bool) -> None:
        self.scheme = scheme
        self.copies = copies
        self.write(b"before the first start\n")
        self.written.clear()
        self.rig.follow()

    @rule(length=st.integers(0, 90))
    def line(self, length: int) -> None:
        self.end_partial()
        self.write(self.text(length) + b"\n")

    @rule(count=st.integers(1, 60))
    def lines(self, count: int) -> None:
        self.end_partial()
        for _ in range(count):
            self.write(self.text(0) + b"\n")

    @precondition(lambda self: not self.partial)
    @rule(length=st.integers(0, 60))
    def begin_line(self, length: int) -> None:
        self.write(self.text(length))

    @rule(extra=st.integers(0, 60))
    def end_line(self, extra: int) -> None:
        if self.partial:
            self.write(b"y" * extra + b"\n")

    @precondition(lambda self: not self.copies)
    @rule(late=st.booleans(), create=st.booleans(), look=st.booleans())
    def rename(self, late: bool, create: bool, look: bool) -> None:
        old = self.rotated_name()
        os.rename(self.rig.file, old)
        if create:
            self.touch(self.rig.file)
        if look:
            self.read_all()
        if late:
            self.write(self.text(0) + b"\n", old)
        self.end_file()
        self.write(b"", self.rig.file)

    @precondition(lambda self: self.copies)
    @rule()
    def copytruncate(self) -> None:
        copy = self.rotated_name()
        shutil.copy(self.rig.file, copy)
        self.touch(copy)
        os.truncate(self.rig.file, 0)
        self.touch(self.rig.file)
        self.end_file()

    @rule()
    def compress_older(self) -> None:
        for file in self.rig.file.parent.glob("audit.log[.-]*[0-9]"):
            compress(file)

    @rule()
    def read_one(self) -> None:
        block = self.rig.step()
        if block is not None:
            self.committed += block.data.split(b"\n")[:-1]

    @rule()
    def read_all(self) -> None:
        while (block := self.rig.step()) is not None:
            self.committed += block.data.split(b"\n")[:-1]

    @precondition(lambda self: not self.partial)
    @rule()
    def read_out(self) -> None:
        self.write(self.text(0) + b"\n")
        for _ in range(4):
            self.rig.manual.advance(SETTLE)
            self.read_all()
        assert self.committed == self.written

    @rule(lose=st.booleans(), seconds=st.integers(0, 2))
    def restart(self, lose: bool, seconds: int) -> None:
        assert self.rig.tail is not None
        if lose and self.rig.tail.read() is not None:
            self.rig.tail.advance()
        elif self.rig.tail.position is not None and not lose:
            self.rig.committed = self.rig.tail.position
        self.rig.start()
        self.rig.manual.advance(seconds)

    @invariant()
    def nothing_is_counted_twice(self) -> None:
        expected = [*self.written, self.partial[: self.MAX_LINE]]
        assert self.committed == expected[: len(self.committed)]

    def text(self, length: int) -> bytes:
        self.count += 1
        return b"%06d" % self.count + b"x" * length

    def end_file(self) -> None:
        """Note that the end of a file ends its last line."""
        if self.partial:
            self.written.append(self.partial[: self.MAX_LINE])
            self.partial = b""

    def end_partial(self) -> None:
        if self.partial:
            self.write(b"\n")

    def write(self, data: bytes, to: Path | None = None) -> None:
        self.rig.append(data, to)
        self.touch(to or self.rig.file)
        *lines, self.partial = (self.partial + data).split(b"\n")
        self.written += [line[: self.MAX_LINE] for line in lines]

    def touch(self, file: Path) -> None:
        """Give a file a time of its own: the system's are as coarse as its timer."""
        self.time += 10
        with open(file, "ab"):
            os.utime(file, (self.time, self.time))

    def rotated_name(self) -> Path:
        self.rotations += 1
        if self.scheme == "number":
            older = sorted(
                self.rig.file.parent.glob("audit.log.*"), key=lambda file: int(file.name.split(".")[2]), reverse=True
            )
            for file in older:
                parts = file.name.split(".")
                parts[2] = str(int(parts[2]) + 1)
                file.rename(file.with_name(".".join(parts)))
            return self.rig.named(".1")
        month, day = divmod(self.rotations, 28)
        return self.rig.named(
            f".2026-{month + 1:02}-{day + 1:02}" if self.scheme == "date" else f"-2026{month + 1:02}{day + 1:02}"
        )


ExactlyOnce.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestExactlyOnce = ExactlyOnce.TestCase
