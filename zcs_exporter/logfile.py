"""An open log file, plain or gzip, and what was read of it."""

import gzip
import logging
import os
import zlib

from zcs_exporter.log_position import FINGERPRINT, Mark, Position, digest, is_distinct, read_head

_CHUNK = 1 << 18
_CHUNKS_AT_ONCE = 64
_LENGTHS = 1 << 32
"""Gzip tells the length of what it holds modulo this."""

logger = logging.getLogger(__name__)


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
            self._opened_as = self.size, self.modified
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

    def doubtful(self, now: float) -> bool:
        """Whether it was written to since it was opened, and what it held before tells it from no other file.

        Ask after ``read`` and before ``intact``; ``now`` is monotonic.
        """
        if is_distinct(self._head):
            return False
        self.refresh(now)
        return (self.size, self.modified) != self._opened_as

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

    def position(self, before: str = "") -> Position:
        """Return how far it has been read, after the file with the mark ``before``."""
        return Position(
            *self.identity,
            len(self._head),
            digest(self._head),
            self._read_modified,
            self.offset,
            self.skipping,
            distinct=is_distinct(self._head),
            before=before,
        )

    def resume(self, position: Position) -> None:
        """Continue where ``position`` says, or at the end if that is no longer there."""
        self.offset = min(position.offset, self.size)
        self.skipping = position.skipping and self.offset == position.offset

    def is_file(self, position: Position) -> bool:
        """Whether ``position`` is one in this very file."""
        return self.identity == position.identity and self.may_hold(position)

    def begins_as(self, mark: Mark) -> bool:
        """Whether it begins as the file of ``mark``, which may be this one or another with the same beginning."""
        return mark.begins(self._head)

    def end_of(self, mark: Mark) -> int | None:
        """Return where the content of ``mark`` ends in it; None where it begins otherwise."""
        # What was written while it was copied is not in it.
        return min(mark.size, self.size) if self.begins_as(mark) else None

    def ends_at(self, offset: int) -> bool:
        """Whether nothing comes after ``offset``."""
        return offset >= self.size

    def may_hold(self, position: Position) -> bool:
        """Whether ``position`` may be one in it, as far as its beginning tells."""
        at = position.offset
        # Only the end of a file ends a line without a newline.
        between_lines = at == 0 or at > len(self._head) or self._head[:at].endswith(b"\n") or position.skipping
        return self.begins_as(position.mark) and (at == self.size or (at < self.size and between_lines))

    def holds(self, other: "LogFile") -> bool:
        """Whether ``other`` is a copy of it, made now or when it was shorter; one that is empty tells nothing."""
        if not other._head or other.size > self.size or not self._head.startswith(other._head):
            return False
        begin = max(0, other.size - FINGERPRINT)
        return os.pread(self._descriptor, other.size - begin, begin) == os.pread(other._descriptor, FINGERPRINT, begin)

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

    def end_of(self, mark: Mark) -> int | None:
        """Return where the content of ``mark`` ends in it; only reading tells whether it has all of it."""
        return mark.size if self.begins_as(mark) else None

    def ends_at(self, offset: int) -> bool:
        """Whether nothing comes after ``offset``, as far as gzip's own word for the length goes."""
        return offset % _LENGTHS == self.size

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
