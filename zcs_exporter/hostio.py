"""The one object through which collectors reach the host.

Every path is the host's own; ``Host`` puts the configured root before it. Nothing here starts a
program or writes. Calls raise ``OSError`` as the system does; ``contract.doing`` turns that into a
``CollectError``.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from zcs_exporter.inotify import DirectoryWatch
from zcs_exporter.installation import Installation

if TYPE_CHECKING:
    from pymysql.connections import Connection

    from zcs_exporter.mysql_client import PairCursor

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_HEAD_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW

_SHORT = 1 << 16


@dataclass(frozen=True, slots=True)
class Process:
    """One process as ``/proc/PID`` shows it without special rights.

    Attributes:
        comm: Command name, at most 15 characters.
        state: One letter; ``Z`` is a zombie.
        start_ticks: Clock ticks from boot to its start: with ``pid`` it names one process for ever.
        argv: Command line; empty for kernel threads and zombies.
    """

    pid: int
    ppid: int
    comm: str
    state: str
    start_ticks: int
    argv: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """False for a zombie or a process that is being torn down."""
        return self.state not in "ZXx"


@dataclass(frozen=True, slots=True)
class FilesystemUsage:
    """What statvfs tells of a mounted file system, sizes in bytes.

    ``blocks == 0`` means the kernel does not know; ``files == 0`` that it has no fixed number of inodes.
    """

    block_size: int
    blocks: int
    blocks_free: int
    blocks_available: int
    files: int
    files_free: int
    read_only: bool


@dataclass(frozen=True, slots=True)
class MysqlLogin:
    """Where and as whom to reach a MySQL server; ``socket`` is the host's own path."""

    socket: str
    user: str
    password: str
    timeout: float = 5.0


class Host:
    """A host to examine: this one, or one whose root lies below a directory.

    Attributes:
        root: Directory that stands for the host's ``/``.
        zcs: What the ZCS installation on it says about itself.
    """

    def __init__(self, root: str = "/", zimbra_home: str = "/opt/zimbra") -> None:
        self.root = root.rstrip("/")
        self.zcs = Installation(self, zimbra_home)

    def path(self, path: str) -> str:
        """Return where the host's absolute ``path`` is found from here."""
        return self.root + path

    def open(self, path: str) -> int:
        """Open a regular file for reading and return its descriptor.

        A FIFO or device never blocks or answers: anything but a regular file is refused with
        ``EISDIR`` or ``EINVAL``.
        """
        descriptor = os.open(self.path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if not stat.S_ISREG(mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """Return the content of a regular file.

        Raises:
            OSError: It cannot be read, is not a regular file (``EINVAL``, ``EISDIR``) or is longer
                than ``limit`` bytes (``EFBIG``).
        """
        descriptor = self.open(path)
        try:
            parts = []
            left = limit + 1
            while left and (part := os.read(descriptor, left)):
                parts.append(part)
                left -= len(part)
        finally:
            os.close(descriptor)
        if not left:
            raise OSError(errno.EFBIG, f"longer than {limit} bytes", path)
        return b"".join(parts)

    def read_proc(self, path: str) -> bytes:
        """Return a file of the kernel's that comes in one piece, such as ``/proc/PID/stat``: with half the calls."""
        descriptor = os.open(self.path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            data = os.read(descriptor, _SHORT)
        finally:
            os.close(descriptor)
        return data if len(data) < _SHORT else self.read(path, 1 << 21)

    def read_text(self, path: str, limit: int = 1 << 20) -> str:
        """Return ``read`` as text; bytes that are not UTF-8 become U+FFFD."""
        return self.read(path, limit).decode("utf-8", "replace")

    def stat(self, path: str) -> os.stat_result:
        """Return the status of what ``path`` leads to."""
        return os.stat(self.path(path))

    def lstat(self, path: str) -> os.stat_result:
        """Return the status of ``path`` itself, be it a symbolic link."""
        return os.lstat(self.path(path))

    def exists(self, path: str) -> bool:
        """Whether ``path`` leads to something; True also where we may not look, or the disk does not say.

        Only what the kernel says is not there counts as missing: a dead disk must not look like another kind of host.
        """
        try:
            self.stat(path)
        except OSError as exc:
            return exc.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        return True

    def realpath(self, path: str) -> str:
        """Return the host's path that ``path`` leads to, symbolic links resolved as the kernel does.

        Raises:
            OSError: There is nothing, or a link leads out of the root.
        """
        found = os.path.realpath(self.path(path), strict=True)
        root = os.path.realpath(self.root or "/").rstrip("/")
        if found != root and not found.startswith(root + "/"):
            raise OSError(errno.EXDEV, "leads out of the root", path)
        return found[len(root) :] or "/"

    def scandir(self, path: str) -> Iterator[os.DirEntry[str]]:
        """Iterate over a directory; entries carry rooted paths, names are the host's."""
        with os.scandir(self.path(path)) as entries:
            yield from entries

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory."""
        return os.listdir(self.path(path))

    def open_directory(self, path: str) -> "OpenDirectory":
        """Return an open directory, through which many files in it are reached faster than by their paths."""
        return OpenDirectory(self.path(path))

    def watch_directories(self) -> DirectoryWatch:
        """Return a watch for changes of directories, each of which is added by ``path`` of its own path.

        Raises:
            OSError: The system has none to give.
        """
        return DirectoryWatch()

    def statvfs(self, mountpoint: str) -> FilesystemUsage:
        """Return the usage of the file system mounted there; may hang with its server."""
        answer = os.statvfs(self.path(mountpoint))
        return FilesystemUsage(
            block_size=answer.f_frsize,
            blocks=answer.f_blocks,
            blocks_free=answer.f_bfree,
            blocks_available=answer.f_bavail,
            files=answer.f_files,
            files_free=answer.f_ffree,
            read_only=bool(answer.f_flag & os.ST_RDONLY),
        )

    def boot_time(self) -> float:
        """Return when the host's kernel started, in seconds since the epoch."""
        for line in self.read_text("/proc/stat").splitlines():
            if line.startswith("btime "):
                return float(line.split()[1])
        raise OSError(errno.ENODATA, "no btime line", "/proc/stat")

    def process(self, pid: int) -> Process | None:
        """Return the process with this number; None when there is none or it may not be seen."""
        try:
            status = self.read_proc(f"/proc/{pid}/stat")
            argv = self.read_proc(f"/proc/{pid}/cmdline")
        except OSError:
            return None
        return parse_process(pid, status.decode("utf-8", "replace"), argv)

    def connect_mysql(self, login: MysqlLogin) -> "Connection[PairCursor]":
        """Connect to a MySQL server through its unix socket; its cursors are ``PairCursor``.

        Raises:
            pymysql.err.MySQLError: The server refused or did not answer.
        """
        # It takes as long to load as all else that most commands need.
        from zcs_exporter.mysql_client import PairCursor, pymysql

        with self.reachable_socket(login.socket) as reachable:
            return pymysql.connect(
                unix_socket=reachable,
                user=login.user,
                password=login.password,
                connect_timeout=max(1, round(login.timeout)),
                read_timeout=login.timeout,
                write_timeout=login.timeout,
                ssl_disabled=True,  # over a unix socket TLS costs 20 ms a connect and protects nothing
                autocommit=True,
                local_infile=False,
                cursorclass=PairCursor,
            )

    def reachable_socket(self, path: str) -> "SocketPath":
        """Return a context manager for a name short enough to connect to (``sun_path`` holds 107 bytes)."""
        return SocketPath(self.path(path))


class OpenDirectory:
    """A directory whose files are reached by their names alone; a context manager."""

    def __init__(self, path: str) -> None:
        """Open a directory by its own path and not the host's.

        Raises:
            OSError: There is no such directory, or it may not be entered.
        """
        self._descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._flags = _HEAD_FLAGS | os.O_NOATIME

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def head(self, name: str, length: int) -> tuple[os.stat_result, bytes]:
        """Return status and first bytes of a regular file, whose time of access stays as it was if we may leave it so.

        Raises:
            OSError: It cannot be read, or is no regular file (``EINVAL``, ``EISDIR``, or ``ELOOP`` for a link).
        """
        try:
            descriptor = os.open(name, self._flags, dir_fd=self._descriptor)
        except PermissionError:
            if self._flags == _HEAD_FLAGS:
                raise
            self._flags = _HEAD_FLAGS  # only its owner and root may
            descriptor = os.open(name, self._flags, dir_fd=self._descriptor)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
                raise OSError(number, os.strerror(number), name)
            return status, os.read(descriptor, length)
        finally:
            os.close(descriptor)

    def lstat(self, name: str) -> os.stat_result:
        """Return the status of what stands under a name, be it a symbolic link."""
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)


class SocketPath:
    """A unix socket's path, through ``/proc/self/fd`` where it is too long for ``connect``."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._directory: int | None = None

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= 107:
            return self._path
        directory, name = os.path.split(self._path)
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._directory}/{name}"

    def __exit__(self, *exc_info: object) -> None:
        if self._directory is not None:
            os.close(self._directory)


def parse_process(pid: int, status: str, cmdline: bytes) -> Process | None:
    """Parse ``/proc/PID/stat`` and ``cmdline``; None where stat is not as proc(5) describes."""
    # 4711 (amavisd (master)) S 1 4711 ... : the name may hold blanks and brackets, so cut at the last one.
    start, end = status.find("("), status.rfind(")")
    fields = status[end + 1 :].split()
    try:
        return Process(
            pid=pid,
            ppid=int(fields[1]),
            comm=status[start + 1 : end],
            state=fields[0],
            start_ticks=int(fields[19]),
            argv=tuple(part.decode("utf-8", "replace") for part in cmdline.rstrip(b"\0").split(b"\0"))
            if cmdline
            else (),
        )
    except (IndexError, ValueError):
        return None
