"""The file of events: one JSON object a line, rotated each day and by size, with an end to its growth.

Everything here blocks, so it runs off the event loop. The file is opened for appending and looked at before each
batch: a site that renames, truncates or removes it gets a new one, and nothing is written into the void.
"""

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Sequence

from zcs_exporter.contract import Clock, CollectError, EvidenceKind, Reason, os_error
from zcs_exporter.events.entry import Entry

PARTS = 10
"""The file is rotated when it has this part of what all may take, so that little is deleted at once."""

PRUNE_INTERVAL = 3600.0
"""Seconds between two looks for rotated files that are too old."""

_STAMP = "%Y%m%dT%H%M%SZ"


class EventFile:
    """Appends events to a file of mode 0600, ``events.jsonl``; what was rotated is ``events.jsonl.20240302T225959Z``.

    The stamp is the time of the last line. A rotated file is deleted when it is too old, or the oldest
    when all together are too large.

    Attributes:
        place: Its path.
    """

    def __init__(self, path: str, visible: frozenset[EvidenceKind], keep: float, most: int, clock: Clock) -> None:
        """Prepare.

        Args:
            path: Where it lies.
            visible: What may be named in it.
            keep: Seconds that a rotated file is kept.
            most: Bytes that all files may take together.
            clock: For the days and ages.
        """
        self.place = path
        self._visible = visible
        self._keep = keep
        self._most = most
        self._clock = clock
        self._descriptor: int | None = None
        self._written_at = 0.0
        self._pruned_at = float("-inf")
        self._rotated = re.compile(re.escape(os.path.basename(path)) + r"\.(\d{8}T\d{6}Z)(?:-(\d+))?")

    def write(self, entries: Sequence[Entry]) -> int:
        """Append events, of which there may be none, and return how many were written whole.

        Raises:
            CollectError: None could be written; the message says why, the remedy what to do.
        """
        data = b"".join(entry.line(self._visible) + b"\n" for entry in entries)
        try:
            descriptor = self._ready(len(data))
            self._prune()
            return self._append(descriptor, data)
        except OSError as exc:
            self.close()  # a handle that went bad would fail for ever
            raise self._trouble(exc) from exc

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _ready(self, more: int) -> int:
        """Return the open file, in its place and with room for ``more`` bytes."""
        now = self._clock.wall()
        if self._descriptor is not None and not self._in_place(self._descriptor):
            self.close()
        descriptor = self._open(now) if self._descriptor is None else self._descriptor
        size = os.fstat(descriptor).st_size
        if size and (_day(self._written_at) < _day(now) or size + more > self._most // PARTS):
            descriptor = self._rotate(descriptor, size + more, now)
        self._written_at = now
        return descriptor

    def _in_place(self, descriptor: int) -> bool:
        try:
            there = os.stat(self.place, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(descriptor))

    def _open(self, now: float) -> int:
        # Not blocking: the name may be that of a pipe.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = self._descriptor = os.open(self.place, flags, 0o600)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise CollectError(Reason.UNAVAILABLE, f"{self.place} is not a regular file", "set events.file to another")
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
        if status.st_size and os.pread(descriptor, 1, status.st_size - 1) != b"\n":
            os.write(descriptor, b"\n")  # the end of a process or a disk cut the last line
        self._written_at = min(status.st_mtime, now)
        return descriptor

    def _append(self, descriptor: int, data: bytes) -> int:
        done = 0
        try:
            while done < len(data):
                done += os.write(descriptor, memoryview(data)[done:])
        except OSError:
            whole = data.rfind(b"\n", 0, done) + 1
            with contextlib.suppress(OSError):  # then the next opening ends the torn line
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - (done - whole))
            self.close()
            if not whole:
                raise
            done = whole
        return data.count(b"\n", 0, done)

    def _rotate(self, descriptor: int, wanted: int, now: float) -> int:
        """Give the file the name of a rotated one and return a new one."""
        try:
            os.rename(self.place, self._free_name())
        except PermissionError:
            # In a directory that is not the daemon's the site itself rotates; here is only an end to the growth.
            if wanted > self._most:
                raise
            return descriptor
        self.close()
        self._pruned_at = float("-inf")
        return self._open(now)

    def _free_name(self) -> str:
        name = f"{self.place}.{time.strftime(_STAMP, time.gmtime(self._written_at))}"
        number, free = 0, name
        while os.path.lexists(free):
            number += 1
            free = f"{name}-{number}"
        return free

    def _prune(self) -> None:
        """Delete rotated files that are too old or too many, and nothing else that lies there."""
        now = self._clock.wall()
        if 0 <= now - self._pruned_at < PRUNE_INTERVAL:
            return
        self._pruned_at = now
        oldest = time.strftime(_STAMP, time.gmtime(now - self._keep))
        room = self._most - self._most // PARTS
        # Where the site keeps us from deleting, it deletes itself.
        with contextlib.suppress(FileNotFoundError, PermissionError), os.scandir(os.path.dirname(self.place)) as found:
            rotated = [(match[1], int(match[2] or 0), each) for each in found if (match := self._match(each.name))]
            for stamp, _, each in sorted(rotated, key=lambda part: part[:2], reverse=True):
                room -= each.stat(follow_symlinks=False).st_size
                if room < 0 or stamp < oldest:
                    os.unlink(each.path)

    def _match(self, name: str) -> re.Match[str] | None:
        return self._rotated.fullmatch(name)

    def _trouble(self, exc: OSError) -> CollectError:
        directory = os.path.dirname(self.place)
        remedies = {
            errno.ENOSPC: "make room on its disk",
            errno.EDQUOT: "make room on its disk",
            errno.EROFS: f"add {directory} to ReadWritePaths= of the unit, or set events.file",
            errno.EACCES: f"let the daemon's user write in {directory}, or set events.file",
            errno.EPERM: "make the file the daemon user's own, or set events.file",
            errno.ENOENT: f"create it (install -d -m 700 -o zcs-exporter {directory}), or set events.file",
            errno.ELOOP: "name the file itself in events.file, not a link to it",
        }
        plain = os_error(exc, f"writing {self.place}")
        return CollectError(plain.reason, str(plain), remedies.get(exc.errno or 0, ""))


def _day(at: float) -> tuple[int, int, int]:
    local = time.localtime(at)
    return local.tm_year, local.tm_mon, local.tm_mday
