"""An open log file, plain or gzip, and the search for the older files of a rotated log.

A file is known by its device, its inode and a hash of its first KiB. The content counts for more
than the name: after a restart the file that was being read is found under whichever name the
rotation gave it, compressed or not.
"""

import gzip
import hashlib
import json
import logging
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import takewhile

from zcs_exporter.hostio import Host

FINGERPRINT = 1024
"""Bytes at the start of a file that tell it from others."""

_ALL = 1 << 62
_CHUNK = 1 << 18
_CHUNKS_AT_ONCE = 64
_SECOND = 1_000_000_000

# audit.log.2026-11-21  audit.log.2026-11-20.gz  zimbra.log-20261121  zimbra.log.1  zimbra.log.2.gz
_SUFFIX = re.compile(r"(?:[.](\d{4}-\d\d-\d\d)|-(\d{8})|[.](\d{1,3}))([.]gz)?", re.ASCII)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log has been read, to be kept together with what the lines before it changed.

    Attributes:
        device: Number of the file's device.
        inode: Its inode on that.
        hashed: How many bytes at its start the fingerprint covers, at most 1 KiB.
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
            _digest(self._head),
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
        return position.hashed > 0 and len(head) == position.hashed and _digest(head) == position.fingerprint

    def _read_head(self) -> bytes:
        return os.pread(self._descriptor, FINGERPRINT, 0)

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
        return self.read(FINGERPRINT)

    def _content_size(self, status: os.stat_result) -> int:
        # The last four bytes hold the length modulo 4 GiB: good enough for the lag.
        return int.from_bytes(os.pread(self._descriptor, 4, max(0, status.st_size - 4)), "little")

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


def unread_files(host: Host, path: str, position: Position, live: LogFile) -> list[LogFile]:
    """Return the files with lines after ``position``, opened and positioned, oldest first.

    Args:
        host: Where the log is.
        path: Its name.
        position: How far it was read.
        live: The file that has this name now, positioned at its start; always the last of the answer.
    """
    if live.is_file(position):
        live.resume(position)
        return [live]
    older = older_files(host, path, position.modified, but=live)
    keep = _from(position, older)
    if not keep and live.seems_moved_or_cut(position):
        live.resume(position)
    elif not keep:
        if position.hashed:
            logger.warning("%s: the file read before is gone, and what was written to it since", path)
        keep = [file for file in older if file.modified > position.modified]
    return [*_keep(keep, older), live]


def files_between(host: Host, path: str, last: LogFile, live: LogFile) -> list[LogFile]:
    """Return the files that had the name ``path`` after ``last`` and before ``live``, oldest first.

    There are some only where nobody looked for a while, as when the machine was suspended.
    """
    older = older_files(host, path, last.modified, but=live)
    found = _from(last.position(), older)
    newer = [file for file in older if file.modified > last.modified and file.identity != last.identity]
    return _keep(found[1:] if found else newer, older)


def copied_away(host: Host, path: str, position: Position, live: LogFile) -> list[LogFile]:
    """Return the copies of a log that was truncated after it was read up to ``position``, oldest first.

    Args:
        host: Where the log is.
        path: Its name.
        position: How far it was read before.
        live: The truncated file, restarted; by now it may have been renamed and compressed itself.
    """
    older = older_files(host, path, position.modified)
    now = live.position()

    def is_earlier(file: LogFile) -> bool:
        # An empty one may be the truncated file itself, compressed.
        return file.size > 0 and file.identity != live.identity and not file.has_content(now)

    copies = list(takewhile(is_earlier, _from(position, older)))
    for file in older:
        file.final = True
        if file not in copies:
            file.close()
    return copies


def older_files(host: Host, path: str, since: int, but: LogFile | None = None) -> list[LogFile]:
    """Open the rotated files of a log that were written to after ``since``, oldest first.

    Args:
        host: Where the log is.
        path: Its name.
        since: Nanoseconds; the second before it is included, as compression may round the time.
        but: A file to leave out: the current one, which a rotation at this very moment may have renamed.
    """
    directory, base = os.path.split(path)
    found: dict[str, str] = {}
    # Sorted, so that where NAME and NAME.gz exist, and the second is being written, the first is taken.
    for name in sorted(_names(host, directory)):
        match = _SUFFIX.fullmatch(name, len(base)) if name.startswith(base) else None
        if match:
            found.setdefault(name.removesuffix(".gz"), name)
    files: list[tuple[int, tuple[int, int], LogFile]] = []
    for stem, name in found.items():
        place = f"{directory}/{name}"
        try:
            if host.stat(place).st_mtime_ns <= since - _SECOND:
                continue
            file = (CompressedLogFile if name.endswith(".gz") else LogFile)(host.open(place))
        except OSError as exc:
            logger.warning("%s: not read: %s", place, exc.strerror or exc)
            continue
        if but is not None and file.identity == but.identity:
            file.close()
            continue
        files.append((file.modified, _age_order(stem[len(base) :]), file))
    return [file for *_, file in sorted(files, key=lambda entry: entry[:2])]


def _from(position: Position, older: Sequence[LogFile]) -> list[LogFile]:
    """Return the file of ``position``, positioned, and those after it; empty where it is not found."""
    same = [index for index, file in enumerate(older) if file.is_file(position)]
    alike = [index for index, file in enumerate(older) if file.has_content(position)]
    for index in same[-1:] or alike[-1:]:
        older[index].resume(position)
        return list(older[index:])
    return []


def _keep(wanted: Sequence[LogFile], files: Sequence[LogFile]) -> list[LogFile]:
    """Close the others; what was written to these was written while nobody was looking."""
    for file in files:
        file.unseen = _ALL
        if file not in wanted:
            file.close()
    return list(wanted)


def _names(host: Host, directory: str) -> list[str]:
    try:
        return host.listdir(directory)
    except OSError as exc:
        logger.warning("%s: cannot be listed, so older logs are not looked for: %s", directory, exc.strerror or exc)
        return []


def _age_order(suffix: str) -> tuple[int, int]:
    """Order the names of one rotation scheme by age: dates rise with time, numbers fall."""
    if suffix.startswith(".") and "-" not in suffix:
        return 0, -int(suffix[1:])
    return 1, int(suffix[1:].replace("-", ""))


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
