"""Follows one log through rotation, truncation and restarts, so that each line is delivered once.

The files of a log form a queue: what rotation left unread, then the current one. Only its first is
read; it is left when nobody can be writing to it any more. A file that was renamed is held open and
read to its end, so renaming loses nothing.

A file that was truncated after it was copied (logrotate's ``copytruncate``) is known by its content, which is no
longer what it was; then all files are let go, and looked for from the position as after a restart. Where nothing
was read that could tell, as of an empty file, they are looked for whenever it changed.

What was in a file under a name that rotation gives when somebody looked is delivered once, in order, however often
the log was rotated between two looks and whenever the process was killed. What may still be lost:

- what is written between copying and truncating and not read in that moment: it is in no file;
- what was not read when its only copy was overwritten, deleted or given another kind of name, as when the same name
  takes each copy and two come between two looks, or while the daemon is down; and what is truncated without a copy;
- what was not read of a log that is renamed after it was truncated, both between two looks;
- of a file with no whole line, as that may be the beginning of the next file's: the rest of the line;
- what a writer that is slow to reopen its log adds to a file that was empty when it was renamed, if the daemon was
  killed since.

Twice may come, of a log that was empty when last seen and was written to since:

- what was read already and got a new time (gzip and logrotate keep it);
- what was copied twice, as when a rotation broke off before truncating.

Of a table that had only its heading when it was seen for the first time, older rows in the same archive come, too.

A file cut short goes on at its end if more than its first KiB is left. One rewritten in place without a copy is read
from its start if its first line or the KiB after that is another; if only what comes later is, nobody notices.
"""

import errno
import logging
from collections import deque
from dataclasses import replace

from zcs_exporter.contract import Clock, CollectError, LogBlock, Reason, os_error
from zcs_exporter.hostio import Host
from zcs_exporter.log_archive import unread_files
from zcs_exporter.log_lines import MAX_LINE, Cut, cut_lines
from zcs_exporter.log_position import Position
from zcs_exporter.logfile import LogFile

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
        self._before = "" if position is None else position.before
        self._blind = True
        self._named: tuple[int, int] | None = None
        self._starting_over = False
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
        is being skipped, or the files are looked for anew. Errors are left in ``problem``.
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
            self.position = file.position(self._before)
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
        self._named = None
        try:
            status = self._host.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return self._note_missing()
        except OSError:
            self.exists = True
            raise
        self.exists = True
        self._missing_since = None
        self._named = status.st_dev, status.st_ino
        if self._files and self._files[-1].identity == self._named:
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
            self._files[-1].refresh(self._monotonic())
            if not self._files[-1].intact():
                self._start_over()
        if self._files:
            self._files.extend(self._files_between(file))
            self._files.append(file)
        elif self._resume_from is not None:
            self._files.extend(unread_files(self._host, self._path, self._resume_from, file))
            file.refresh(self._monotonic())
            if file.doubtful(self._monotonic()) or not file.intact():
                # Truncated meanwhile: a copy of what it held may or may not have been found.
                self.close()
                return
            if self._starting_over:
                self._note_truncation(self._resume_from.offset)
        else:
            if not self._from_start:
                file.offset, file.skipping = end, in_overlong
            self._files.append(file)
        self._blind = self._starting_over = False
        self._resume_from = None
        self.position = self._files[0].position(self._before)

    def _note_truncation(self, offset: int) -> None:
        *older, live = self._files
        self.truncations += bool(older) or live.offset < offset
        for each in older:
            each.final = True  # a copy
            if not self._blind:
                each.unseen = 0

    def _files_between(self, file: LogFile) -> list[LogFile]:
        """Return the files that had the log's name after the last of the queue and before ``file``, oldest first.

        There are some only where nobody looked for a while, as when the machine was suspended.
        """
        before = self._before
        for each in self._files:
            end = replace(each.position(before), offset=each.size)
            before = end.mark_for_next
        known = {each.identity for each in self._files}
        found = unread_files(self._host, self._path, end, file)[:-1]
        for each in found:
            if each.identity in known:
                each.close()
        return [each for each in found if each.identity not in known]

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
        rewritable = file.final or file.identity == self._named
        if (rewritable and file.doubtful(self._monotonic())) or not file.intact():
            self._start_over()
            return LogBlock(self._path, b"", file.offset, live=False)
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
        end = file.position(self._before)
        self._before = end.mark_for_next
        if self._files:
            self.position = self._files[0].position(self._before)
        else:
            self._resume_from = end
        file.close()

    def _start_over(self) -> None:
        """Let go of all files, to go on from the position as after a restart."""
        self._blind |= any(each.offset < each.unseen for each in self._files)
        self.close()
        self._resume_from = self.position
        self._starting_over = True

    def _count_lag(self) -> None:
        self.lag = sum(max(0, file.size - file.offset) for file in self._files)

    def _explain(self, doing: str, exc: OSError) -> CollectError:
        error = os_error(exc, f"{doing} {self._path}")
        error.remedy = error.remedy or _REMEDIES.get(exc.errno or 0, "")
        return error
