"""How far a log was read, and what tells the file again in which that was.

A file is known by a hash of its first line and the KiB after that. The first line alone would not do: the heading
of a table is the same in the files of all days. A file with no more than that, or with nothing, is known by what was
read before it and by its time.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

FINGERPRINT = 1024
"""Bytes after the first line of a file that tell it from others."""

# timestamp,command,exec_count,exec_ms_avg
HEADING = b"timestamp,"
"""How the first line of a table below zmstat begins, which is the same in all its files."""

_LONGEST_HEADING = 1 << 16


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch at the start of a file: enough to find its end again in the file, in a copy or in an archive.

    Attributes:
        hashed: How many bytes at its start the fingerprint covers.
        fingerprint: Hash of those bytes, uncompressed.
        size: Bytes of the stretch, uncompressed.
    """

    hashed: int
    fingerprint: str
    size: int

    def begins(self, data: bytes) -> bool:
        """Whether a file that begins with ``data`` may be the one; of an empty one nobody can tell."""
        return 0 < self.hashed <= len(data) and digest(data[: self.hashed]) == self.fingerprint

    def __str__(self) -> str:
        """Return it as text to store."""
        return f"{self.hashed}:{self.fingerprint}:{self.size}"

    @classmethod
    def from_text(cls, text: str) -> "Mark":
        """Return what ``str`` gave; raise ``ValueError`` for other text."""
        hashed, fingerprint, size = text.split(":")
        return cls(int(hashed), fingerprint, int(size))


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
        distinct: Whether the fingerprint covers more than a first line, so that no other file has it.
        before: Mark of the last file with a distinct one that was read before this one; empty where there is none.
    """

    device: int
    inode: int
    hashed: int
    fingerprint: str
    modified: int
    offset: int
    skipping: bool = False
    line_time: int = 0
    distinct: bool = True
    before: str = ""

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return self.device, self.inode

    @property
    def mark(self) -> Mark:
        """What was read of the file."""
        return Mark(self.hashed, self.fingerprint, self.offset)

    @property
    def mark_before(self) -> Mark | None:
        """``before``, parsed."""
        return Mark.from_text(self.before) if self.before else None

    @property
    def mark_for_next(self) -> str:
        """``before`` of the next file's first position, where this one is at the end of its file."""
        return str(self.mark) if self.distinct else self.before

    def to_json(self) -> str:
        """Return it as text to store."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Position":
        """Return what ``to_json`` wrote, now or before there were ``distinct`` and ``before``.

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
        _ = position.mark_before
        return position


def read_head(read: Callable[[int], bytes]) -> bytes:
    """Return what tells a file from others; that of a file that grew begins with what it was before.

    Args:
        read: Returns up to so many bytes from the file's start.
    """
    data = read(2 * FINGERPRINT)
    if len(data) == 2 * FINGERPRINT and not 0 < _heading(data) <= FINGERPRINT:
        data = read(_LONGEST_HEADING + FINGERPRINT)
    return data[: _heading(data) + FINGERPRINT]


def is_distinct(head: bytes) -> bool:
    """Whether a file's head is no other file's: it has a whole line, of a table one that is not its heading."""
    rest = head[_heading(head) :] if head.startswith(HEADING) else head
    return b"\n" in rest or len(rest) >= FINGERPRINT


def _heading(data: bytes) -> int:
    """Return the length of the first line, of a table with the same lines after it: its writer was started again."""
    line = data[: data.find(b"\n", 0, _LONGEST_HEADING) + 1]
    end = len(line)
    while line.startswith(HEADING) and data.startswith(line, end):
        end += len(line)
    return end


def digest(data: bytes) -> str:
    """Return the fingerprint of a file's head."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
