"""A file of events never loses a line by our doing, tears one, or grows without end."""

import json
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fakes import ManualClock

from zcs_exporter.contract import CollectError, EvidenceKind, Reason, Record
from zcs_exporter.events.entry import Entry
from zcs_exporter.events.file import EventFile

EVERYTHING = frozenset(EvidenceKind)
DAY = 86400.0


def entries(first: int, count: int = 1, text: str = "x") -> list[Entry]:
    return [Entry(number, "h", Record("seen", 0.0, fields={"text": text})) for number in range(first, first + count)]


class Desk:
    def __init__(self, directory: Path, manual: ManualClock) -> None:
        self.path = directory / "events.jsonl"
        self.manual = manual
        self.file = self.open()

    def open(self, keep: float = 30 * DAY, most: int = 1 << 20) -> EventFile:
        """As a daemon that has just started would."""
        self.file = EventFile(str(self.path), EVERYTHING, keep, most, self.manual.clock)
        return self.file

    def age(self, path: Path) -> None:
        """Have the kernel say that the file was written at the time of the test's clock."""
        os.utime(path, (self.manual.now, self.manual.now))

    def rotated(self) -> list[Path]:
        return sorted(self.path.parent.glob("events.jsonl.*"))


@pytest.fixture
def desk(tmp_path: Path, manual: ManualClock) -> Iterator[Desk]:
    found = Desk(tmp_path, manual)
    yield found
    found.file.close()


def numbers(*paths: Path) -> list[int]:
    return [json.loads(line)["id"] for path in paths for line in path.read_text().splitlines()]


def test_lines_are_appended_to_a_file_that_nobody_else_can_read(desk: Desk) -> None:
    assert desk.file.write(entries(1, 2)) == 2
    desk.open().write(entries(3))

    assert numbers(desk.path) == [1, 2, 3]
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600


def test_a_file_that_others_could_read_is_closed_to_them(desk: Desk) -> None:
    desk.path.write_text("")
    desk.path.chmod(0o644)

    desk.file.write(entries(1))

    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600


def test_an_empty_batch_makes_the_file_so_that_a_wrong_place_is_known_at_once(desk: Desk) -> None:
    assert desk.file.write([]) == 0

    assert desk.path.read_bytes() == b""


def test_a_renamed_file_is_left_to_the_site_and_a_new_one_begun(desk: Desk, tmp_path: Path) -> None:
    desk.file.write(entries(1))
    desk.path.rename(tmp_path / "events.jsonl.1")
    desk.file.write(entries(2))

    assert numbers(tmp_path / "events.jsonl.1") == [1]
    assert numbers(desk.path) == [2]


def test_a_file_replaced_by_the_sites_rotation_is_taken_over(desk: Desk, tmp_path: Path) -> None:
    desk.file.write(entries(1))
    desk.path.rename(tmp_path / "events.jsonl.1")
    desk.path.touch(0o640)
    desk.file.write(entries(2))

    assert numbers(desk.path) == [2]


def test_a_truncated_file_is_written_on_from_its_start(desk: Desk) -> None:
    desk.file.write(entries(1))
    os.truncate(desk.path, 0)
    desk.file.write(entries(2))

    assert numbers(desk.path) == [2]


def test_a_removed_file_is_made_again(desk: Desk) -> None:
    desk.file.write(entries(1))
    desk.path.unlink()
    desk.file.write(entries(2))

    assert numbers(desk.path) == [2]


def test_each_day_has_a_file_of_its_own_named_after_its_last_line(desk: Desk) -> None:
    desk.file.write(entries(1))
    desk.manual.advance(DAY)
    desk.file.write(entries(2))

    assert [each.name for each in desk.rotated()] == ["events.jsonl.20240302T092033Z"]
    assert numbers(*desk.rotated()) == [1]
    assert numbers(desk.path) == [2]


def test_a_file_of_yesterday_is_rotated_by_the_process_of_today_even_if_nothing_happens(desk: Desk) -> None:
    desk.file.write(entries(1))
    desk.age(desk.path)
    desk.manual.advance(DAY)
    desk.open().write([])

    assert numbers(*desk.rotated()) == [1]


def test_a_clock_that_was_set_back_rotates_nothing(desk: Desk) -> None:
    desk.file.write(entries(1))
    desk.manual.now -= 3 * DAY
    desk.file.write(entries(2))
    desk.open().write(entries(3))

    assert numbers(desk.path) == [1, 2, 3]


def test_a_file_from_a_future_that_was_no_future_is_rotated_under_the_time_of_today(desk: Desk) -> None:
    desk.path.write_bytes(b'{"id":1}\n' * 500)
    os.utime(desk.path, (desk.manual.now + 400 * DAY,) * 2)
    desk.open(most=10_000).write(entries(2))

    assert [each.name for each in desk.rotated()] == ["events.jsonl.20240302T092033Z"]


def test_two_rotations_in_one_second_keep_both_files(desk: Desk) -> None:
    desk.open(most=10_000)
    for number in range(12):
        desk.file.write(entries(number, text="x" * 100))

    assert len({each.name for each in desk.rotated()}) > 1
    assert numbers(*desk.rotated(), desk.path) == sorted(numbers(*desk.rotated(), desk.path))
    assert len(numbers(*desk.rotated(), desk.path)) == 12


def test_all_files_together_stay_below_the_limit_and_the_oldest_go_first(desk: Desk) -> None:
    most = 20_000
    desk.open(most=most)
    for number in range(400):
        desk.file.write(entries(number, text="x" * 100))
        desk.manual.advance(1)
        assert sum(each.stat().st_size for each in desk.path.parent.iterdir()) <= most

    kept = numbers(*desk.rotated(), desk.path)
    assert kept == list(range(kept[0], 400))
    assert len(kept) > 50


def test_rotated_files_that_are_too_old_are_deleted_and_nothing_else(desk: Desk, tmp_path: Path) -> None:
    others = ["events.jsonl.1", "events.jsonl.2020-01-01", "events.jsonl.20200101T000000Z.gz", "x.20200101T000000Z"]
    for name in others:
        (tmp_path / name).write_text("a site's own")
    desk.open(keep=2 * DAY)
    for number in range(6):
        desk.file.write(entries(number))
        desk.manual.advance(DAY)
    desk.file.write([])

    stamped = [path for path in desk.rotated() if path.name not in others]
    assert numbers(*stamped, desk.path) == [4, 5]
    assert all((tmp_path / name).exists() for name in others)


def test_old_files_go_although_nothing_happens(desk: Desk) -> None:
    desk.file.write(entries(1))
    desk.manual.advance(DAY)
    desk.file.write([])
    desk.manual.advance(30 * DAY)
    desk.file.write([])

    assert desk.rotated() == []


def test_a_last_line_that_was_cut_off_is_ended_before_the_next(desk: Desk) -> None:
    desk.path.write_bytes(b'{"id":1}\n{"id":2,"ti')
    desk.age(desk.path)
    desk.file.write(entries(3))

    first, torn, last = desk.path.read_text().splitlines()
    assert json.loads(first)["id"] == 1
    assert torn == '{"id":2,"ti'
    assert json.loads(last)["id"] == 3


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Have the kernel take no more than so many bytes of a file, as a full disk does."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_what_a_full_disk_takes_in_part_is_whole_lines_and_the_rest_comes_later(desk: Desk) -> None:
    batch = entries(1, 10)
    size = len(batch[0].line(EVERYTHING)) + 1
    with disk_of(3 * size + 7):
        written = desk.file.write(batch)
        assert written == 3
        assert numbers(desk.path) == [1, 2, 3]
        with pytest.raises(CollectError, match=r"writing .*events\.jsonl"):
            desk.file.write(batch[written:])
        assert numbers(desk.path) == [1, 2, 3]
    assert desk.file.write(batch[written:]) == 7

    assert numbers(desk.path) == list(range(1, 11))


def test_a_missing_directory_is_named_with_the_remedy(tmp_path: Path, manual: ManualClock) -> None:
    file = EventFile(str(tmp_path / "gone" / "events.jsonl"), EVERYTHING, DAY, 1 << 20, manual.clock)

    with pytest.raises(CollectError, match="No such file") as caught:
        file.write(entries(1))

    assert f"install -d -m 700 -o zcs-exporter {tmp_path}/gone" in caught.value.remedy
    (tmp_path / "gone").mkdir()
    assert file.write(entries(1)) == 1
    file.close()


def test_a_link_is_not_followed(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("keep me\n")
    desk.path.symlink_to(tmp_path / "victim")

    with pytest.raises(CollectError) as caught:
        desk.file.write(entries(1))

    assert "not a link" in caught.value.remedy
    assert (tmp_path / "victim").read_text() == "keep me\n"


def test_a_pipe_neither_hangs_us_nor_is_written_to(desk: Desk) -> None:
    os.mkfifo(desk.path)

    with pytest.raises(CollectError, match="not a regular file"):
        desk.file.write(entries(1))


@contextmanager
def foreign_directory() -> Iterator[Path]:
    """A directory in which this process may write to one file, and nothing more."""
    with TemporaryDirectory() as name:
        directory, root = Path(name), os.geteuid() == 0
        path = directory / "events.jsonl"
        path.touch(0o600)
        if root:
            os.chown(path, 65534, 65534)
        directory.chmod(0o755 if root else 0o555)
        if root:
            os.seteuid(65534)
        try:
            yield path
        finally:
            if root:
                os.seteuid(0)
            directory.chmod(0o755)


def test_where_only_the_site_may_rotate_it_is_written_on_up_to_the_limit(manual: ManualClock) -> None:
    with foreign_directory() as path:
        file = EventFile(str(path), EVERYTHING, DAY, 5000, manual.clock)
        size, count = len(entries(10, text="x" * 100)[0].line(EVERYTHING)) + 1, 0
        while size * (count + 1) <= 5000:
            manual.advance(DAY / 10)
            count += file.write(entries(10 + count, text="x" * 100))
        with pytest.raises(CollectError) as caught:
            file.write(entries(10 + count, text="x" * 100))
        file.close()

        assert caught.value.reason is Reason.PERMISSION
        assert "let the daemon's user write in" in caught.value.remedy
        assert numbers(path) == list(range(10, 10 + count))
