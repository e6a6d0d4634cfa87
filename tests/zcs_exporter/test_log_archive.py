import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from zcs_exporter.log_position import FINGERPRINT, Position
from zcs_exporter.tail import SETTLE, LogTail

TABLE = "/opt/zimbra/zmstat/mailboxd.csv"
HEADING = b"timestamp," + b",".join(b"column_%03d" % number for number in range(150)) + b"\n"
"""Longer than the KiB that tells most files apart, as mailboxd.csv's is."""

DAY = 86400
NOON = datetime(2026, 11, 21, 12).timestamp()


class Rig:
    """A table below zmstat, its writer, and the process that follows it."""

    def __init__(self, host: FakeHost, block_size: int = 1 << 20) -> None:
        self.host = host
        self.file = host.base / TABLE.lstrip("/")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.manual = ManualClock(NOON)
        self.block_size = block_size
        self.committed: Position | None = None
        self.tail: LogTail | None = None
        self.rows = 0

    def write(self, count: int = 1) -> list[bytes]:
        """Write rows, with a heading before the first of a file."""
        written = [] if self.file.exists() else [HEADING]
        for _ in range(count):
            self.rows += 1
            self.manual.now += 60
            written.append(b"11/21/2026 12:00:00,%06d" % self.rows + b",0" * 149 + b"\n")
        with self.file.open("ab") as table:
            table.write(b"".join(written))
        self.touch(self.file)
        return written

    def touch(self, path: Path) -> None:
        os.utime(path, (self.manual.now, self.manual.now))

    def archive(self, days: int = 0) -> Path:
        """Return the archive's name for a day."""
        day = datetime.fromtimestamp(self.manual.now + days * DAY).strftime("%Y-%m-%d")
        folder = self.file.parent / day
        folder.mkdir(exist_ok=True)
        return folder / "mailboxd.csv.gz"

    def pack(self, archive: Path) -> None:
        """Compress into a new archive as the writers in Perl do, after what is there."""
        self.manual.now += 5
        before = gzip.decompress(archive.read_bytes()) if archive.exists() else b""
        archive.unlink(missing_ok=True)
        archive.write_bytes(gzip.compress(before + self.file.read_bytes(), 1))
        self.touch(archive)

    def rotate(self, archive: Path | None = None) -> None:
        self.pack(archive or self.archive())
        self.file.unlink()

    def overwrite(self, archive: Path) -> None:
        """Rotate as mailboxd does, over what is there."""
        self.manual.now += 5
        archive.write_bytes(gzip.compress(self.file.read_bytes(), 1))
        self.touch(archive)
        self.file.unlink()

    def start(self) -> LogTail:
        """Start a process at the last committed position."""
        if self.tail is not None:
            self.tail.close()
        self.tail = LogTail(self.host, TABLE, self.committed, self.manual.clock, block_size=self.block_size)
        return self.tail

    def step(self) -> list[bytes] | None:
        """Read one block, commit it and return its lines."""
        assert self.tail is not None
        block = self.tail.read()
        if block is None:
            self.committed = self.tail.position
            return None
        self.committed = self.tail.advance()
        return block.data.splitlines(keepends=True)

    def drain(self) -> list[bytes]:
        """Read and commit, long enough for an older file to be left."""
        lines = []
        for _ in range(4):
            while (found := self.step()) is not None:
                lines += found
            self.manual.ticks += SETTLE
        return lines


@pytest.fixture
def rig(host: FakeHost) -> Iterator[Rig]:
    made = Rig(host)
    made.write(3)
    made.start()
    assert made.drain() == []
    yield made
    if made.tail is not None:
        made.tail.close()


def test_the_heading_is_longer_than_what_tells_other_files_apart() -> None:
    assert len(HEADING) > FINGERPRINT


def test_at_midnight_the_rest_of_the_old_table_is_read_once_and_the_archive_not_at_all(rig: Rig) -> None:
    written = rig.write(2)
    rig.rotate()
    written += rig.write()

    assert rig.drain() == written


@pytest.mark.parametrize("days", [0, 1, -1])
def test_after_a_restart_the_rest_is_read_from_the_folder_of_whichever_day(rig: Rig, days: int) -> None:
    written = rig.write(2)
    rig.rotate(rig.archive(days))
    written += rig.write()
    rig.start()

    assert rig.drain() == written


def test_days_of_archives_with_the_same_heading_are_read_in_order(rig: Rig) -> None:
    written = rig.write(2)
    for _ in range(4):
        rig.rotate()
        rig.manual.now += DAY
        written += rig.write(5)
    rig.start()

    assert rig.drain() == written


def test_days_that_passed_while_nobody_looked_are_read_in_order(rig: Rig) -> None:
    written = rig.write(2)
    for _ in range(4):
        rig.rotate()
        rig.manual.now += DAY
        written += rig.write(5)

    assert rig.drain() == written


def test_a_table_that_takes_over_the_inode_of_the_old_one_is_another(rig: Rig) -> None:
    written = rig.write(2)
    rig.rotate()
    rig.start().close()
    for attempt in range(1000):  # the number that was freed is soon given away again
        written_now = rig.write(9)
        if rig.committed is not None and rig.file.stat().st_ino == rig.committed.inode:
            break
        rig.file.rename(rig.file.with_name(f"other{attempt}"))
        rig.rows -= 9
    else:
        pytest.skip("this file system does not use inodes again")
    rig.start()

    assert rig.drain() == written + written_now


def test_what_is_put_after_others_into_one_archive_is_found_there(rig: Rig) -> None:
    rig.rotate()
    rig.write(2)
    rig.drain()
    written = rig.write(3)
    rig.rotate()
    written += rig.write()
    rig.start()

    assert rig.drain() == written


def test_an_archive_that_took_over_the_inode_of_the_table_is_not_the_table(rig: Rig) -> None:
    rig.rotate()
    rig.write(2)
    rig.drain()
    written = rig.write(3)
    rig.rotate()
    written += rig.write()
    status = rig.archive().stat()
    assert rig.committed is not None
    rig.committed = replace(rig.committed, device=status.st_dev, inode=status.st_ino)
    rig.start()

    assert rig.drain() == written


def test_what_is_put_after_others_while_it_is_followed_is_not_read_again(rig: Rig) -> None:
    for _ in range(3):
        rig.rotate()
        written = rig.write(2)
        assert rig.drain() == written


def test_two_rotations_into_one_archive_between_two_looks_lose_nothing(rig: Rig) -> None:
    written = rig.write(2)
    rig.rotate()
    written += rig.write(2)
    rig.rotate()
    written += rig.write(2)

    assert rig.drain() == written


def test_an_archive_of_several_members_is_read_to_its_end(rig: Rig) -> None:
    written = rig.write(2)
    archive = rig.archive()
    rig.rotate()
    written += rig.write(2)
    with archive.open("ab") as packed:
        packed.write(gzip.compress(rig.file.read_bytes()))
    rig.touch(archive)
    rig.file.unlink()
    written += rig.write(2)
    rig.start()

    assert rig.drain() == written


def test_an_archive_that_grew_while_it_was_read_is_read_on(host: FakeHost) -> None:
    rig = Rig(host, block_size=1 << 17)
    rig.write()
    rig.start()
    rig.drain()
    written = rig.write(900)
    rig.rotate()
    written += rig.write()
    rig.start()
    lines = rig.step() or []
    assert 0 < len(lines) < 900
    written += rig.write(2)
    rig.rotate()
    written += rig.write(2)
    rig.start()

    assert lines + rig.drain() == written


@pytest.mark.parametrize("restart", [False, True])
def test_a_table_whose_writer_was_killed_between_compressing_and_deleting_counts_once(rig: Rig, restart: bool) -> None:
    written = rig.write(2)
    rig.pack(rig.archive())
    if not restart:
        assert rig.drain() == written
        written = []
    rig.rotate()  # the writer is back and finds it stale
    assert gzip.decompress(rig.archive().read_bytes()).count(HEADING) == 2
    written += rig.write(2)
    if restart:
        rig.start()

    assert rig.drain() == written


def test_a_table_that_was_archived_but_lived_on_is_read_from_the_later_archive(rig: Rig) -> None:
    written = rig.write(2)
    rig.pack(rig.archive())
    written += rig.write(3)
    rig.rotate(rig.archive(1))
    written += rig.write(2)
    rig.start()

    assert rig.drain() == written


def test_an_archive_that_was_overwritten_has_lost_the_rest_and_nothing_counts_twice(rig: Rig) -> None:
    rig.write(2)
    rig.rotate()
    written = rig.write(3)
    rig.overwrite(rig.archive())
    written += rig.write(2)
    rig.start()

    assert rig.drain() == written


def test_half_an_archive_gives_what_it_has(rig: Rig) -> None:
    written = rig.write(300)
    archive = rig.archive()
    rig.rotate()
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    rig.touch(archive)
    written += (after := rig.write(2))
    rig.start()
    lines = rig.drain()

    assert lines[-len(after) :] == after
    assert lines[: -len(after) - 1] == written[: len(lines) - len(after) - 1]
    assert len(lines) > 10


def test_a_plain_file_that_is_being_packed_is_taken_before_its_archive(rig: Rig) -> None:
    written = rig.write(2)
    archive = rig.archive()
    archive.with_suffix("").write_bytes(rig.file.read_bytes())
    rig.touch(archive.with_suffix(""))
    archive.write_bytes(b"\x1f\x8b")
    rig.file.unlink()
    written += rig.write()
    rig.start()

    assert rig.drain() == written


def test_folders_of_long_ago_are_not_looked_into(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(1, 29):
        (rig.file.parent / f"2019-02-{day:02}").mkdir()
    (rig.file.parent / "2026-11-21").write_text("not a folder")
    looked: list[str] = []
    stat = FakeHost.stat

    def noted(host: FakeHost, path: str) -> os.stat_result:
        looked.append(path)
        return stat(host, path)

    monkeypatch.setattr(FakeHost, "stat", noted)
    rig.file.rename(rig.file.with_name("elsewhere"))
    written = rig.write()
    rig.start()

    assert rig.drain() == written
    assert not any("2019" in path for path in looked)


class ArchivedOnce(RuleBasedStateMachine):
    """Whatever the writers of tables and their reader go through, each line is committed once, and in order."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp()
        self.rig = Rig(FakeHost(Path(self.directory)), block_size=(1 << 16) + 10)
        self.written: list[bytes] = []
        self.committed: list[bytes] = []

    def teardown(self) -> None:
        self.written += self.rig.write()
        self.committed += self.rig.drain()
        assert self.rig.tail is not None
        assert self.rig.tail.problem is None
        self.rig.tail.close()
        shutil.rmtree(self.directory)
        assert self.committed == self.written

    @initialize()
    def begin(self) -> None:
        self.rig.write()
        self.rig.start()
        self.rig.drain()

    @rule(count=st.sampled_from([1, 2, 400]))
    def rows(self, count: int) -> None:
        self.written += self.rig.write(count)

    @rule(look=st.booleans(), seen=st.booleans())
    def rotate(self, look: bool, seen: bool) -> None:
        """Into the archive of the day, which may have others already."""
        self.rig.rotate()
        if look:
            self.read_all()
        self.written += self.rig.write()
        if seen:
            self.read_all()

    @rule()
    def be_killed_while_rotating(self) -> None:
        """The archive is complete, and the table still there: the next rotation puts it into the archive again."""
        self.read_all()  # whoever reads the archive meanwhile cannot know which of the two he has
        self.rig.pack(self.rig.archive())
        self.rig.rotate()
        self.written += self.rig.write()
        self.read_all()

    @rule(days=st.integers(1, 3))
    def pass_days(self, days: int) -> None:
        self.rig.manual.now += days * DAY

    @rule()
    def read_one(self) -> None:
        self.committed += self.rig.step() or []

    @rule()
    def read_all(self) -> None:
        self.committed += self.rig.drain()

    @rule(lose=st.booleans())
    def restart(self, lose: bool) -> None:
        assert self.rig.tail is not None
        if lose:
            self.rig.tail.read()
        self.rig.start()

    @invariant()
    def nothing_is_counted_twice(self) -> None:
        assert self.committed == self.written[: len(self.committed)]


ArchivedOnce.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestArchivedOnce = ArchivedOnce.TestCase
