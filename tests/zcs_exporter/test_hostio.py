"""The one way to the host: rooted paths, nothing that blocks, and what psutil says too."""

import errno
import os
import socket
from pathlib import Path

import psutil
import pytest
from fakes import FakeHost
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.hostio import CLOCK_TICKS, Host, SocketPath, parse_process


def test_a_process_is_what_psutil_sees() -> None:
    ours = Host().process(os.getpid())
    theirs = psutil.Process()

    assert ours is not None
    assert (ours.pid, ours.ppid, ours.comm) == (theirs.pid, theirs.ppid(), theirs.name()[:15])
    assert list(ours.argv) == theirs.cmdline()
    assert ours.alive
    assert Host().boot_time() + ours.start_ticks / CLOCK_TICKS == pytest.approx(theirs.create_time(), abs=1.5)


def test_usage_is_what_psutil_sees() -> None:
    ours = Host().statvfs("/")
    theirs = psutil.disk_usage("/")

    assert ours.blocks * ours.block_size == theirs.total
    assert ours.blocks_available * ours.block_size == pytest.approx(theirs.free, rel=0.05)


@pytest.mark.parametrize(
    ("line", "comm"),
    [
        ("7 (amavisd (master)) S 1 7 7 0", "amavisd (master)"),
        ("7 (a) b) S) R 1 7 7 0", "a) b) S"),
        ("7 () Z 1 7 7 0", ""),
    ],
)
def test_a_name_may_hold_blanks_and_brackets(line: str, comm: str) -> None:
    process = parse_process(7, line + " -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0", b"x\0-y\0")

    assert process is not None
    assert (process.comm, process.start_ticks, process.argv) == (comm, 4242, ("x", "-y"))


@settings(max_examples=2_000, deadline=None)
@given(st.text(), st.binary())
def test_any_stat_is_a_process_or_nothing(text: str, cmdline: bytes) -> None:
    process = parse_process(1, text, cmdline)

    assert process is None or process.pid == 1


def test_a_path_is_below_the_root(host: FakeHost) -> None:
    host.write("/opt/zimbra/conf/x", "content")

    assert host.read_text("/opt/zimbra/conf/x") == "content"
    assert host.exists("/opt/zimbra/conf/x")
    assert not host.exists("/opt/zimbra/conf/y")


@pytest.mark.parametrize(
    ("number", "there"),
    [(errno.ENOENT, False), (errno.ENOTDIR, False), (errno.EACCES, True), (errno.EIO, True), (errno.ESTALE, True)],
)
def test_only_what_the_kernel_says_is_missing_is_missing(host: FakeHost, number: int, there: bool) -> None:
    """A dead disk must not make a host look as if it had no ZCS."""

    class Broken(FakeHost):
        def stat(self, path: str) -> os.stat_result:
            raise OSError(number, os.strerror(number), path)

    assert Broken(host.base).exists("/opt/zimbra") is there


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (lambda path: os.mkdir(path), errno.EISDIR),
        (lambda path: os.mkfifo(path), errno.EINVAL),
        (lambda path: os.symlink(path, path), errno.ELOOP),
        (lambda path: None, errno.ENOENT),
    ],
)
def test_what_is_not_a_regular_file_is_refused_without_waiting(host: FakeHost, make: object, number: int) -> None:
    path = host.path("/opt/zimbra/thing")
    make(path)  # type: ignore[operator]

    with pytest.raises(OSError) as caught:
        host.read("/opt/zimbra/thing")

    assert caught.value.errno == number


def test_a_file_longer_than_allowed_is_refused_whole(host: FakeHost) -> None:
    host.write("/big", b"x" * 101)

    assert len(host.read("/big", 101)) == 101
    with pytest.raises(OSError, match="longer than 100 bytes"):
        host.read("/big", 100)


def test_a_socket_with_a_long_path_can_be_reached(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(directory)
    try:
        listener.bind("mysql.sock")
    finally:
        os.chdir(here)
    listener.listen()
    path = str(directory / "mysql.sock")
    assert len(path) > 107

    with SocketPath(path) as reachable, socket.socket(socket.AF_UNIX) as client:
        client.connect(reachable)

    listener.close()


def test_a_link_is_followed_within_the_root_and_not_out_of_it(host: FakeHost) -> None:
    host.write("/data/store/x", "")
    (host.base / "opt").mkdir(exist_ok=True)
    (host.base / "opt/store").symlink_to("../data/store")
    (host.base / "opt/outside").symlink_to("/etc")

    assert host.realpath("/opt/store/x") == "/data/store/x"
    with pytest.raises(FileNotFoundError):
        host.realpath("/opt/nothing")
    with pytest.raises(OSError, match="leads out of the root"):
        host.realpath("/opt/outside")


def test_the_head_of_a_file_comes_with_its_status_and_leaves_no_trace(host: FakeHost) -> None:
    path = host.write("/queue/a", "0123456789")
    os.utime(path, (1_000_000_000, 2_000_000_000))

    with host.open_directory("/queue") as queue:
        status, head = queue.head("a", 4)
        assert queue.lstat("a") == path.stat()

    assert (head, status.st_size, path.stat().st_atime) == (b"0123", 10, 1_000_000_000)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_head_of_a_file_that_is_another_users_is_read_as_well(host: FakeHost) -> None:
    host.write("/queue/a", "0123456789")
    host.write("/queue/secret", "", 0o600)
    os.chmod(host.path("/queue"), 0o755)

    with host.open_directory("/queue") as queue:
        os.seteuid(65534)
        try:
            for _ in range(2):
                assert queue.head("a", 4)[1] == b"0123"
            with pytest.raises(PermissionError):
                queue.head("secret", 4)
        finally:
            os.seteuid(0)


def test_what_is_no_regular_file_of_a_directory_has_no_head(host: FakeHost) -> None:
    path = host.write("/queue/a", "x")
    os.mkfifo(path.with_name("fifo"))
    path.with_name("directory").mkdir()
    path.with_name("link").symlink_to("a")

    with host.open_directory("/queue") as queue:
        for name, number in {
            "fifo": errno.EINVAL,
            "directory": errno.EISDIR,
            "link": errno.ELOOP,
            "absent": errno.ENOENT,
        }.items():
            with pytest.raises(OSError) as caught:
                queue.head(name, 4)
            assert caught.value.errno == number


def test_a_directory_that_was_left_is_open_no_more(host: FakeHost) -> None:
    host.write("/queue/a", "x")
    before = len(os.listdir("/proc/self/fd"))

    with host.open_directory("/queue") as queue:
        assert len(os.listdir("/proc/self/fd")) == before + 1
        queue.head("a", 1)

    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(NotADirectoryError):
        host.open_directory("/queue/a")
