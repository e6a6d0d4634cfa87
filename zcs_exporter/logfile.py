"""An open log file, plain or gzip, and how far it was read.

A file is known by its device, its inode and a hash of its first line and the KiB after that. The first
line alone would not do: the heading of a table is the same in the files of all days.
"""

import gzip
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

FINGERPRINT = 1024
"""Bytes after the first line of a file that tell it from others."""

_LONGEST_HEADING = 1 << 16
_CHUNK = 1 << 18
_CHUNKS_AT_ONCE = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log has been read, to be kept together with what the lines before it changed.

    Attributes:
        device: Number of the file's device.
        inode: Its inode on that.
        hashed: How many bytes at its start the fingerprint covers: its first line and at most 1 KiB after that.
        fingerprint: Hash of those bytes, uncompressed.
        modified: Modification time when it was last read, in nanoseconds.
        offset: Bytes read, uncompressed.
        skipping: Whether ``offset`` lies in an overlong line whose beginning was delivered.
        line_time: Time of the last line of a syslog file, in seconds since the epoch; 0 where it is not known.
    """

    device: int
    inode: int
    hashed: int
    fingerprint: str
    modified: int
    offset: int
    skipping: bool = False
    line_time: int = 0

    def to_json(self) -> str:
        """Return it as text to store."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Position":
        """Return what ``to_json`` wrote.

        Raises:
            ValueError: It did not write this.
        """
        try:
            position = cls(**json.loads(text))
        except TypeError as exc:
            raise ValueError(f"not a log position: {exc}") from exc
        for field in fields(cls):
            if type(getattr(position, field.name)) is not field.type:
                raise ValueError(f"not a log position: {field.name} is {getattr(position, field.name)!r}")
        return position


class LogFile:
    """An open log file and how far it has been read.

    Attributes:
        final: Nobody writes to it any more.
        size: In bytes, when last looked at.
        links: Names it has; 0 once deleted.
        offset: Bytes read.
        skipping: As in ``Position``.
        unseen: Lines that start before this offset were written while nobody was looking.
        changed_at: Monotonic time when ``size`` was last seen to change.
        filled_at: Monotonic time when it was first seen not to be empty, for its predecessor's end.
    """

    final = False

    def __init__(self, descriptor: int) -> None:
        """Take over an open descriptor."""
        self._descriptor = descriptor
        self.size = 0
        self.offset = 0
        self.skipping = False
        self.unseen = 0
        self.changed_at = 0.0
        self.filled_at: float | None = None
        self._idle_at: tuple[int, int] | None = None
        try:
            self.refresh(0.0)
            self._read_modified = self.modified
            self._head = self._read_head()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def refresh(self, now: float) -> None:
        """Look at size, time and number of names; ``now`` is monotonic."""
        status = os.fstat(self._descriptor)
        self.identity = status.st_dev, status.st_ino
        self.links = status.st_nlink
        self.modified = status.st_mtime_ns
        size = self._content_size(status)
        if size != self.size:
            self.size, self.changed_at = size, now

    @property
    def idle(self) -> bool:
        """Whether it is as it was when ``exhausted`` was called."""
        return (self.size, self.modified) == self._idle_at

    def exhausted(self) -> None:
        """Note that it held nothing to deliver when it was last refreshed."""
        self._idle_at = self.size, self.modified

    def reach(self) -> bool:
        """Whether ``offset`` has been reached; call again where not."""
        return True

    def read(self, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``; fewer only at the end."""
        return os.pread(self._descriptor, count, self.offset)

    def intact(self) -> bool:
        """Whether what was read before is still there.

        Ask after ``read``: then its answer did not come from a file rewritten in between.
        """
        head = self._read_head()
        if self.size < self.offset or not head.startswith(self._head):
            return False
        self._head, self._read_modified = head, self.modified
        return True

    def restart(self) -> None:
        """Begin again at the start, after the content was replaced."""
        self.offset, self.skipping, self.unseen, self._idle_at = 0, False, 0, None
        self._head, self._read_modified = self._read_head(), self.modified

    def end_of_lines(self, max_line: int) -> tuple[int, bool]:
        """Return the offset after the last newline.

        Where the last line is already longer than ``max_line``, return the file's end, and True
        because the rest of that line is to be skipped.
        """
        start = max(0, self.size - max_line - 1)
        newline = os.pread(self._descriptor, self.size - start, start).rfind(b"\n")
        if newline < 0 and self.size > max_line:
            return self.size, True
        return (start + newline + 1 if newline >= 0 else 0), False

    def position(self) -> Position:
        """Return how far it has been read."""
        return Position(
            *self.identity,
            len(self._head),
            digest(self._head),
            self._read_modified,
            self.offset,
            self.skipping,
        )

    def resume(self, position: Position) -> None:
        """Continue where ``position`` says, or at the end if that is no longer there."""
        self.offset = min(position.offset, self.size)
        self.skipping = position.skipping and self.offset == position.offset

    def is_file(self, position: Position) -> bool:
        """Whether ``position`` is one in this very file."""
        same = self.identity == (position.device, position.inode)
        return same and self._begins_as(position) and self.size >= position.offset

    def has_content(self, position: Position) -> bool:
        """Whether it has the content of the file of ``position``, a copy perhaps, and at least as much."""
        return self._begins_as(position) and self.size >= position.offset

    def seems_moved_or_cut(self, position: Position) -> bool:
        """Whether it holds the content of ``position`` on another disk, or less of it after a crash of the host.

        A first line that fills the fingerprint is likely a heading, the same in every file.
        """
        return self._begins_as(position) and b"\n" in self._head[: position.hashed]

    def _begins_as(self, position: Position) -> bool:
        # A file that was empty cannot be known again, and needs not be: nothing of it was read.
        head = self._head[: position.hashed]
        return position.hashed > 0 and len(head) == position.hashed and digest(head) == position.fingerprint

    def _read_head(self) -> bytes:
        return read_head(lambda count: os.pread(self._descriptor, count, 0))

    def _content_size(self, status: os.stat_result) -> int:
        return status.st_size


class CompressedLogFile(LogFile):
    """An older log file that was compressed with gzip, read as a stream in bounded memory."""

    final = True

    def __init__(self, descriptor: int) -> None:
        self._raw = os.fdopen(descriptor, "rb", buffering=0, closefd=False)
        self._stream = gzip.GzipFile(fileobj=self._raw)
        self._buffer = bytearray()
        self._buffer_at = 0
        self._damaged = False
        super().__init__(descriptor)

    def close(self) -> None:
        """Let go of the file and what was read ahead."""
        self._stream.close()
        self._raw.close()
        super().close()

    def reach(self) -> bool:
        """Skip towards ``offset``, some megabytes at a time; return whether it has been reached."""
        for _ in range(_CHUNKS_AT_ONCE):
            behind = self.offset - self._buffer_at
            if behind <= len(self._buffer):
                del self._buffer[:behind]
                self._buffer_at = self.offset
                return True
            self._buffer_at += len(self._buffer)
            self._buffer.clear()
            if not self._fill():
                self._buffer_at = self.offset
                return True
        return False

    def read(self, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``, which ``reach`` has reached."""
        while len(self._buffer) < count and self._fill():
            pass
        return bytes(self._buffer[:count])

    def intact(self) -> bool:
        """Return True: nobody rewrites an archive."""
        return True

    def resume(self, position: Position) -> None:
        """Continue where ``position`` says; only reading tells whether that is there."""
        self.offset, self.skipping = position.offset, position.skipping

    def is_file(self, position: Position) -> bool:
        """Return False: the inode is the archive's, so ``has_content`` must tell."""
        return False

    def has_content(self, position: Position) -> bool:
        """Whether it begins with the content of the file of ``position``, whatever its length."""
        return self._begins_as(position)

    def _read_head(self) -> bytes:
        return read_head(self.read)

    def _content_size(self, status: os.stat_result) -> int:
        # The last four bytes hold the length modulo 4 GiB: good enough for the lag.
        return int.from_bytes(os.pread(self._descriptor, 4, max(0, status.st_size - 4)), "little")

    def _rewind(self) -> None:
        self._raw.seek(0)
        self._stream = gzip.GzipFile(fileobj=self._raw)
        self._buffer.clear()
        self._buffer_at = 0
        self._damaged = False

    def _fill(self) -> bool:
        if self._damaged:
            return False
        try:
            part = self._stream.read1(_CHUNK)
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            logger.warning("an older log file ends early, its archive is damaged: %s", exc)
            self._damaged = True
            return False
        self._buffer += part
        return bool(part)


def read_head(read: Callable[[int], bytes]) -> bytes:
    """Return what tells a file from others; that of a file that grew begins with what it was before.

    Args:
        read: Returns up to so many bytes from the file's start.
    """
    data = read(2 * FINGERPRINT)
    newline = data.find(b"\n", 0, FINGERPRINT)
    if newline < 0 and len(data) > FINGERPRINT:
        data = read(_LONGEST_HEADING + FINGERPRINT)
        newline = data.find(b"\n", 0, _LONGEST_HEADING)
    return data[: newline + 1 + FINGERPRINT]


def digest(data: bytes) -> str:
    """Return the fingerprint of a file's head."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
