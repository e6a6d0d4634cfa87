"""One old log file, plain or gzip, read once from its start in bounded memory."""

import contextlib
import math
import os
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from zcs_exporter.log_lines import MAX_LINE, cut_lines
from zcs_exporter.oldlogs.stamps import Stamps

BLOCK = 1 << 19
"""Bytes read at once: much more does not fit the processor's cache, and what is done once a block takes time too."""

HEAD = 1 << 16
"""Bytes at the start of a file by which it is recognised."""

_NO_FILE = "it is not a regular file; save its content to one first (gzip files are read as they are)"
_GZIP = b"\x1f\x8b"
_OTHER_FORMS = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_PIECE = 1 << 14  # compressed bytes taken at once: what a damaged piece held is lost
_ENOUGH = BLOCK - _PIECE
_DAY = 86400
_OLDEST_HEADER = 10**9
_NAME_TELLS = 3 * _DAY  # a file's time so far from the date in its name is the time of a copy

# audit.log.2024-03-02.gz  zimbra.log-20240302.gz  zimbra.log-20240302-1709340000  nginx.log.1  gc.log.0.current
_ROTATED = re.compile(
    r"(?:[.-](?P<date>\d{4}-\d\d-\d\d|\d{8})(?:-\d{1,10})?|[.]\d{1,3}(?:[.]current)?|[.]old)?(?P<form>[.]gz)?", re.ASCII
)
_LOG = re.compile(r".+?[.](?:log|out|csv|err|txt)(?=[.-]|$)|access_log|.+?(?=[.-]\d|[.](?:old|gz)|$)", re.ASCII)


class UnreadableError(Exception):
    """A file cannot be read; the message says why, without its name."""


def log_name(path: str) -> str:
    """Return the name of the log that a file belongs to by its own: ``audit.log`` for ``audit.log.2024-03-02.gz``."""
    name = os.path.basename(path)
    return _split(name)[0]


def _split(name: str) -> tuple[str, str | None]:
    """Return a file's name without what rotation added, and the date in that."""
    begin = _LOG.match(name)
    if begin is not None:
        rest = _ROTATED.fullmatch(name, begin.end())
        if rest is not None:
            return begin[0], rest["date"]
    return name, None


class OldLog:
    """A log file to be read once.

    Attributes:
        path: As the caller names it.
        stem: The log's name by the file's name.
        size: Bytes on disk.
        packed: It is an archive.
        identity: Device and inode.
        reference: The time near which its last line was written, in seconds since the epoch: the file's or, of an
            archive, its content's; the date in the name where that says otherwise.
        head: Its first lines; empty once reading has begun.
        begins: When its first line was written; None where no line near its start says.
        read: Bytes on disk read so far.
        content: Bytes of lines read so far.
        problem: What kept the rest of the content from being read; None while all is well.
    """

    def __init__(self, path: str) -> None:
        """Look at a file.

        Raises:
            UnreadableError: It cannot be read, or is not something that has lines.
        """
        self.path = path
        self.stem, date = _split(os.path.basename(path))
        self.read = 0
        self.content = 0
        self.problem: str | None = None
        try:
            with self._open() as descriptor:
                status = os.fstat(descriptor)
                begin = os.pread(descriptor, 16, 0)
                for magic, form in _OTHER_FORMS.items():
                    if begin.startswith(magic):
                        raise UnreadableError(f"it is compressed with {form}, which is not read here; unpack it first")
                self.packed = begin.startswith(_GZIP)
                self.size = status.st_size
                self.identity = status.st_dev, status.st_ino
                self.reference = _reference(status.st_mtime, begin if self.packed else b"", date)
                self.head = next(self._read_blocks(descriptor), (0, b""))[1][:HEAD]
        except OSError as exc:
            if path == "-":
                raise UnreadableError(_NO_FILE) from exc
            raise UnreadableError(exc.strerror or str(exc)) from exc
        self.read = self.content = 0
        self.problem = None
        self.begins = Stamps(self.reference).first(self.head)
        if self.begins is None:
            self.begins = Stamps(math.inf).first(self.head)
            if self.begins is not None:
                self.reference = self.begins + _DAY  # the file's time says nothing, as after some ways of copying

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield whole lines, none over 64 KiB, each time with the offset of the first; errors end in ``problem``."""
        self.head = b""
        try:
            with self._open() as descriptor:
                yield from self._read_blocks(descriptor)
        except OSError as exc:
            self.problem = exc.strerror or str(exc)

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise UnreadableError("it is a directory without any file")
            if not stat.S_ISREG(mode):
                raise UnreadableError(_NO_FILE)
            yield descriptor
        finally:
            os.close(descriptor)

    def _read_blocks(self, descriptor: int) -> Iterator[tuple[int, bytes]]:
        return self._packed_blocks(descriptor) if self.packed else self._plain_blocks(descriptor)

    def _plain_blocks(self, descriptor: int) -> Iterator[tuple[int, bytes]]:
        offset, skipping = 0, False
        while stretch := os.pread(descriptor, BLOCK, offset):
            cut = cut_lines(stretch, skipping, MAX_LINE)
            if not cut.consumed:  # the end of a file ends its last line
                cut = replace(cut_lines(stretch + b"\n", skipping, MAX_LINE), consumed=len(stretch))
            self.read = self.content = offset + cut.consumed
            if cut.lines:
                yield offset + cut.start, cut.lines
            offset, skipping = offset + cut.consumed, cut.skipping

    def _packed_blocks(self, descriptor: int) -> Iterator[tuple[int, bytes]]:
        offset, skipping, rest = 0, False, b""
        for piece in self._unpack(descriptor):
            rest += piece
            if len(rest) < _ENOUGH:
                continue
            cut = cut_lines(rest, skipping, MAX_LINE)
            if cut.lines:
                yield offset + cut.start, cut.lines
            offset, skipping, rest = offset + cut.consumed, cut.skipping, rest[cut.consumed :]
            self.content = offset
        if rest:
            cut = cut_lines(rest if rest.endswith(b"\n") else rest + b"\n", skipping, MAX_LINE)
            self.content = offset + len(rest)
            if cut.lines:
                yield offset + cut.start, cut.lines

    def _unpack(self, descriptor: int) -> Iterator[bytes]:
        """Yield the content of all members of a gzip file, as far as it can be read."""
        member = None
        piece = b""
        while True:
            if not piece:
                piece = os.read(descriptor, _PIECE)
                self.read += len(piece)
                if not piece and member is None:
                    return
            if member is None:
                piece = piece.lstrip(b"\0")  # what pads a member
                if not piece:
                    continue
                member = zlib.decompressobj(wbits=31)
            at_end = not piece
            try:
                content = member.decompress(piece, BLOCK)
            except zlib.error:
                self.problem = f"the archive is damaged near byte {self.read:,}; what stands before was read"
                return
            piece = member.unconsumed_tail
            if member.eof:
                piece, member = member.unused_data, None
            if content:
                yield content
            elif at_end and member is not None:
                self.problem = "the archive ends early; what is there was read"
                return


def _reference(modified: float, header: bytes, date: str | None) -> float:
    packed_at = int.from_bytes(header[4:8], "little")
    if packed_at >= _OLDEST_HEADER:
        modified = float(packed_at)
    if date is None:
        return modified
    try:
        # In the local zone, as the program that gave the name.
        after = datetime.strptime(date.replace("-", ""), "%Y%m%d").timestamp() + _DAY
    except (ValueError, OverflowError, OSError):
        return modified
    return modified if after < _OLDEST_HEADER or abs(modified - after) <= _NAME_TELLS else after
