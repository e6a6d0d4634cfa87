import errno
import os
from pathlib import Path

import pytest

from zcs_exporter.inotify import CAME, LEFT, RETURNED, Changes, DirectoryWatch


def test_names_are_told_by_directory_and_what_became_of_them(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    for name in ("goes", "moves", "returns", "stays"):
        (one / name).touch()
    watch = DirectoryWatch()
    first, second = watch.add(str(one)), watch.add(str(two))

    (one / "comes").touch()
    (one / "goes").unlink()
    (one / "moves").rename(two / "moves")
    (one / "returns").rename(tmp_path / "returns")
    (tmp_path / "returns").rename(one / "returns")
    (one / "stays").write_text("changed")
    (one / "stays").chmod(0o600)

    assert watch.changes().names == {
        first: {"comes": CAME, "goes": LEFT, "moves": LEFT, "returns": RETURNED},
        second: {"moves": CAME},
    }
    assert watch.changes() == Changes()


def test_names_that_are_no_text_are_told_as_listings_have_them(tmp_path: Path) -> None:
    watch = DirectoryWatch()
    number = watch.add(str(tmp_path))
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff\xc3", os.O_CREAT))

    assert set(watch.changes().names[number]) == set(os.listdir(tmp_path)) == {"\udcff\udcc3"}


def test_one_directory_has_one_number_by_whatever_path(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "link").symlink_to("one")
    watch = DirectoryWatch()

    assert watch.add(str(tmp_path / "one")) == watch.add(str(tmp_path / "link"))


def test_a_directory_that_is_removed_ends_its_watch_and_one_that_is_let_go_tells_nothing_more(tmp_path: Path) -> None:
    for name in ("gone", "let go"):
        (tmp_path / name).mkdir()
    watch = DirectoryWatch()
    gone, let_go = watch.add(str(tmp_path / "gone")), watch.add(str(tmp_path / "let go"))

    (tmp_path / "gone").rmdir()
    watch.remove(let_go)
    watch.remove(let_go)
    (tmp_path / "let go" / "name").touch()

    assert watch.changes() == Changes(ended={gone, let_go})


@pytest.mark.parametrize(("name", "number"), [("absent", errno.ENOENT), ("file", errno.ENOTDIR)])
def test_what_is_no_directory_cannot_be_watched(tmp_path: Path, name: str, number: int) -> None:
    (tmp_path / "file").touch()
    watch = DirectoryWatch()

    with pytest.raises(OSError) as caught:
        watch.add(str(tmp_path / name))
    assert caught.value.errno == number


def test_a_watch_nobody_has_any_more_is_closed() -> None:
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(3):
        DirectoryWatch()

    assert len(os.listdir("/proc/self/fd")) == before
