"""Follows one log through rotation, truncation and restarts, so that each line is delivered once.

The files of a log form a queue: what rotation left unread, then the current one. Only its first is
read; it is left when nobody can be writing to it any more. A file that was renamed is held open and
read to its end, so renaming loses nothing. Truncation after copying (logrotate's ``copytruncate``)
loses what the writer wrote between the copy and the truncation; that gap is the writer's.
"""

import errno
import logging
from collections import deque
from dataclasses import dataclass, replace

from zcs_exporter.contract import Clock, CollectError, LogBlock, Reason, os_error
from zcs_exporter.hostio import Host
from zcs_exporter.log_archive import copied_away, files_between, unread_files
from zcs_exporter.logfile import LogFile, Position

MAX_LINE = 1 << 16
"""Longest line that is delivered whole, in bytes without its newline."""

SETTLE = 1.0
"""Seconds that the new file must have had lines before the renamed one is left: the writer's other
processes (nginx's workers) may reopen the log a little later."""

LET_GO = 60.0
"""Seconds without change after which a deleted file is closed, so that its space becomes free."""

_REMEDIES = {
    errno.EISDIR: "move this directory away; the log's writer then creates the file",
    errno.EINVAL: "move this FIFO, socket or device away; the log's writer then creates the file",
    errno.ELOOP: "the symbolic link leads in a circle; remove it or point it at the log",
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cut:
    """What a stretch of a log gives.

    Attributes:
        lines: Whole lines, none longer than allowed.
        start: Where the first of them starts in the stretch.
        consumed: Bytes of the stretch that need not be read again.
        skipping: Whether the next stretch starts in an overlong line already delivered.
    """

    lines: bytes
    start: int
    consumed: int
    skipping: bool


def cut_lines(stretch: bytes, skipping: bool, max_line: int) -> Cut:
    """Cut a stretch of a log into lines of at most ``max_line`` bytes.

    An unfinished last line is left for later, unless it is already too long: then its beginning
    is delivered, and its rest skipped wherever it ends.

    Args:
        stretch: Bytes from the end of the last stretch consumed.
        skipping: The last stretch's ``skipping``.
        max_line: Without the newline.
    """
    start = 0
    if skipping:
        start = stretch.find(b"\n") + 1
        if not start:
            return Cut(b"", len(stretch), len(stretch), True)
    end = stretch.rfind(b"\n") + 1
    lines = _shorten(stretch[start:end], max_line)
    if len(stretch) - end <= max_line:
        return Cut(lines, start, end, False)
    return Cut(lines + stretch[end : end + max_line] + b"\n", start, len(stretch), True)


def _shorten(lines: bytes, max_line: int) -> bytes:
    kept: list[bytes] = []
    copied = at = 0
    while len(lines) - at > max_line + 1:
        newline = lines.rfind(b"\n", at, at + max_line + 1)
        if newline < 0:
            kept.append(lines[copied : at + max_line])
            copied = newline = lines.index(b"\n", at + max_line)
        at = newline + 1
    return b"".join([*kept, lines[copied:]]) if kept else lines


class LogTail:
    """The one reader of a log.

    ``read`` blocks and belongs in a thread, never two at a time; everything else is called between
    two reads. After a block was handed out, ``advance`` says so; without it the next ``read``
    delivers the same lines again, and so does a new process that starts from the old position.

    Attributes:
        exists: Whether there is a file of this name, as far as may be seen.
        problem: Why the log cannot be followed now; None where it can, and where it never existed.
        lag: Bytes known to be unread, older files included.
        lines: Lines delivered and advanced over.
        truncations: Times the file was found shortened or rewritten in place.
        position: How far it was read; None before it was first opened. It can change without a block,
            when the log is first seen or rotated.
    """

    def __init__(
        self,
        host: Host,
        path: str,
        position: Position | None,
        clock: Clock,
        *,
        from_start: bool = False,
        block_size: int = 1 << 20,
        max_line: int = MAX_LINE,
    ) -> None:
        """Prepare to follow a log; nothing is opened before the first ``read``.

        Args:
            host: Where the log is.
            path: Its name there.
            position: Where an earlier process stopped; None for a log never seen.
            clock: Times how long a file has been quiet.
            from_start: Deliver what a log never seen already holds, too. One that is created later
                is always read from its start.
            block_size: Most bytes that one ``read`` reads of the log.
            max_line: Longer lines are cut.
        """
        if block_size <= max_line:
            raise ValueError("a block must hold more than one line")
        self._host = host
        self._path = path
        self._monotonic = clock.monotonic
        self._from_start = from_start
        self._block_size = block_size
        self._max_line = max_line
        self._files: deque[LogFile] = deque()
        self._resume_from = position
        self._blind = True
        self._missing_since: float | None = None
        self._pending: tuple[LogFile, Cut] | None = None
        self.position = position
        self.exists = False
        self.problem: CollectError | None = None
        self.lag = 0
        self.lines = 0
        self.truncations = 0

    def read(self) -> LogBlock | None:
        """Return the next lines; None when there is nothing to read now.

        A block without lines tells that more is to be read at once: an overlong line or an archive
        is being skipped. Errors are left in ``problem``.
        """
        self._pending = None
        problem = None
        try:
            problem = self._follow()
        except OSError as exc:
            problem = self._explain("opening", exc)
            # A file that replaces a directory or FIFO is new; one that we may not open is not.
            self._blind = exc.errno not in _REMEDIES
            self._from_start |= not self._blind
        try:
            block = self._next_block()
        except OSError as exc:
            problem = self._explain("reading", exc)
            block = None
        self.problem = problem
        self._count_lag()
        return block

    def advance(self) -> Position:
        """Take the last block as delivered and return the position after it, to be stored with its effects."""
        if self._pending is not None:
            file, cut = self._pending
            self._pending = None
            file.offset += cut.consumed
            file.skipping = cut.skipping
            self.lines += cut.lines.count(b"\n")
            self.position = file.position()
            self._count_lag()
        if self.position is None:
            raise RuntimeError("advance without a block")
        return self.position

    def close(self) -> None:
        """Close all files; the object is of no use afterwards."""
        while self._files:
            self._files.popleft().close()

    def _follow(self) -> CollectError | None:
        """See which file has the log's name, and put a new one at the end of the queue."""
        try:
            status = self._host.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return self._note_missing()
        except OSError:
            self.exists = True
            raise
        self.exists = True
        self._missing_since = None
        if self._files and self._files[-1].identity == (status.st_dev, status.st_ino):
            return None
        try:
            file = LogFile(self._host.open(self._path))
        except FileNotFoundError:
            return None  # renamed a moment ago
        try:
            self._append(file)
        except BaseException:
            file.close()
            raise
        return None

    def _note_missing(self) -> CollectError | None:
        self.exists = False
        self._blind = False
        self._from_start = True
        now = self._monotonic()
        if self._missing_since is None:
            self._missing_since = now
        # Between renaming a log and writing its next line there may be none for a while.
        if self.position is None or now - self._missing_since < LET_GO:
            return None
        return CollectError(
            Reason.UNAVAILABLE,
            f"{self._path} is gone",
            "see that the service that writes it runs and may create it",
        )

    def _append(self, file: LogFile) -> None:
        end, in_overlong = file.end_of_lines(self._max_line)
        if self._blind:
            file.unseen = end
        if self._files:
            last = self._files[-1]
            last.refresh(self._monotonic())
            if not last.intact():
                self._recover(last)
            self._files.extend(files_between(self._host, self._path, last, file))
            self._files.append(file)
        elif self._resume_from is not None:
            self._files.extend(unread_files(self._host, self._path, self._resume_from, file))
        else:
            if not self._from_start:
                file.offset, file.skipping = end, in_overlong
            self._files.append(file)
        self._blind = False
        self._resume_from = None
        self.position = self._files[0].position()

    def _next_block(self) -> LogBlock | None:
        while self._files:
            file = self._files[0]
            # Asked before reading: what is then read up to the end is all there will ever be.
            ended = self._ended(file)
            try:
                block = self._read_file(file, ended)
            except OSError as exc:
                if len(self._files) == 1:
                    raise
                logger.warning("%s: the rest of an older file cannot be read: %s", self._path, exc.strerror or exc)
                self._leave(file)
                continue
            if block is not None:
                return block
            if self._files[0] is not file:
                continue
            if not ended:
                return None
            self._leave(file)
        return None

    def _read_file(self, file: LogFile, ended: bool) -> LogBlock | None:
        file.refresh(self._monotonic())
        if file.idle and not ended:
            return None
        if not file.reach():
            return LogBlock(self._path, b"", file.offset, live=False)
        live = file.offset >= file.unseen
        stretch = file.read(self._block_size if live else min(self._block_size, file.unseen - file.offset))
        if not file.intact():
            self._recover(file)
            return self._read_file(self._files[0], ended=False)
        cut = cut_lines(stretch, file.skipping, self._max_line)
        if not cut.consumed and stretch and ended:
            # The end of a file ends its last line.
            cut = cut_lines(stretch + b"\n", file.skipping, self._max_line)
            cut = replace(cut, consumed=len(stretch))
        if not cut.consumed:
            file.exhausted()
            return None
        self._pending = file, cut
        return LogBlock(self._path, cut.lines, file.offset + cut.start, live)

    def _ended(self, file: LogFile) -> bool:
        """Whether nothing will be written any more to ``file``, the first of the queue."""
        if file.final or len(self._files) > 2:
            return True
        now = self._monotonic()
        if len(self._files) == 2:
            following = self._files[1]
            following.refresh(now)
            if following.size and following.filled_at is None:
                following.filled_at = now
            if following.filled_at is not None and now - following.filled_at >= SETTLE:
                return True
        elif self.exists:
            return False
        return file.links == 0 and now - file.changed_at >= LET_GO

    def _leave(self, file: LogFile) -> None:
        self._files.popleft()
        if self._files:
            self.position = self._files[0].position()
        else:
            self._resume_from = file.position()
        file.close()

    def _recover(self, file: LogFile) -> None:
        """Go back to the start of a file that was truncated, after what its copy has in addition."""
        self.truncations += 1
        before = file.position()
        file.restart()
        copies = copied_away(self._host, self._path, before, file)
        if not copies:
            logger.warning("%s: truncated, and no copy found; lines may be missing", self._path)
        place = self._files.index(file)
        for copy in reversed(copies):
            self._files.insert(place, copy)
        self.position = self._files[0].position()

    def _count_lag(self) -> None:
        self.lag = sum(max(0, file.size - file.offset) for file in self._files)

    def _explain(self, doing: str, exc: OSError) -> CollectError:
        error = os_error(exc, f"{doing} {self._path}")
        error.remedy = error.remedy or _REMEDIES.get(exc.errno or 0, "")
        return error
