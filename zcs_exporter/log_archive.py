"""The search for the older files of a rotated log.

The content counts for more than the name: after a restart the file that was being read is found under whichever
name the rotation gave it, compressed or not. Beside the log that is ``NAME.DATE``, ``NAME-DATE`` or ``NAME.NUMBER``;
the tables below zmstat go to ``DATE/NAME.gz`` instead, where a second one of that day is put after the first, and
where the first comes twice if its writer is killed between compressing and deleting it.

Where the content does not tell, as of a file that was empty or had only a heading, what was read before tells, and
the time: all that was written to later is new.
"""

import gzip
import logging
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime

from zcs_exporter.hostio import Host
from zcs_exporter.log_position import HEADING, Mark, Position
from zcs_exporter.logfile import CompressedLogFile, LogFile

_ALL = 1 << 62
_CHUNK = 1 << 18
_SECOND = 1_000_000_000
_DAYS_EARLIER = 2 * 86400
"""A folder may be named for the day before the file was last written to, in a zone of its own."""

# audit.log.2026-11-21  audit.log.2026-11-20.gz  zimbra.log-20261121  zimbra.log.1  zimbra.log.2.gz
_SUFFIX = re.compile(r"(?:[.](\d{4}-\d\d-\d\d)|-(\d{8})|[.](\d{1,3}))([.]gz)?", re.ASCII)
_FOLDER = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_LINE_OF_HEADING = b"\n" + HEADING

Candidate = tuple[str, type[LogFile]]
"""Where a file may be, and what opens it there."""

logger = logging.getLogger(__name__)


class ArchivedLogFile(CompressedLogFile):
    """A compressed file in the folder of its day, that may hold several files one after the other.

    Only files that begin with the heading of a table are archived so.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._found: tuple[str, int | None] = ("", None)
        self._length = _ALL

    def end_of(self, mark: Mark) -> int | None:
        """Return where the content of ``mark`` ends in the last file in it that begins so; None where none does."""
        if self._found[0] != mark.fingerprint:
            self._found = (mark.fingerprint, self._search(mark))
        begin = self._found[1]
        return None if begin is None else begin + mark.size

    def ends_at(self, offset: int) -> bool:
        """Whether nothing comes after ``offset``; known once something was looked for in it."""
        return offset >= self._length

    def may_hold(self, position: Position) -> bool:
        """Return False: all its files begin with the same heading."""
        return False

    def is_file(self, position: Position) -> bool:
        """Whether ``position`` is one in this very archive, not in a file that was put into it."""
        # The inode alone proves nothing: the archive may have that of a file deleted since.
        return self.identity == position.identity and self.begins_as(position.mark)

    def _search(self, mark: Mark) -> int | None:
        self._rewind()
        found: int | None = None
        window, at = b"\n", -1
        while part := self._part():
            window += part
            begins = window.find(_LINE_OF_HEADING)
            while 0 <= begins < len(window) - mark.hashed:
                if mark.begins(window[begins + 1 : begins + 1 + mark.hashed]):
                    found = at + begins + 1
                begins = window.find(_LINE_OF_HEADING, begins + 1)
            kept = begins if begins >= 0 else max(0, len(window) - len(_LINE_OF_HEADING))
            window, at = window[kept:], at + kept
        self._length = at + len(window)
        self._rewind()
        return found

    def _part(self) -> bytes:
        try:
            return self._stream.read1(_CHUNK)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return b""  # said when it is read


def unread_files(host: Host, path: str, position: Position, live: LogFile) -> list[LogFile]:
    """Return the files with lines after ``position``, opened and positioned, oldest first.

    Args:
        host: Where the log is.
        path: Its name.
        position: How far it was read.
        live: The file that has this name now, positioned at its start; always the last of the answer.
    """
    if position.distinct and live.is_file(position):
        live.resume(position)
        return [live]
    older = older_files(host, path, position.modified)
    others = [file for file in older if file.identity != live.identity and not _is_copy(file, live)]
    found = _from(position, others) if position.distinct else []
    if not found and position.distinct and live.begins_as(position.mark):
        # On another disk, or cut short by a crash of the host.
        live.resume(position)
    elif not found:
        if position.distinct and position.hashed:
            logger.warning("%s: the file read before is gone, and what was written to it since", path)
        found = _newer(position, others)
        if not found and live.is_file(position):
            live.resume(position)
    for file in older:
        file.unseen = _ALL
        file.final |= live.identity == position.identity  # truncated, not renamed
        if file not in found:
            file.close()
    return [*found, live]


def _is_copy(file: LogFile, live: LogFile) -> bool:
    """Whether ``file`` was copied from ``live``, which is about to be truncated; that is compressed only after that."""
    return not isinstance(file, CompressedLogFile) and live.holds(file)


def _from(position: Position, older: Sequence[LogFile]) -> list[LogFile]:
    """Return the file of a distinct position, positioned, and those after it; empty where it is not found."""
    same = [(index, position.offset) for index, file in enumerate(older) if file.is_file(position)]
    for index, offset in same[-1:] or _find(position.mark, older):
        older[index].offset, older[index].skipping = offset, position.skipping
        return list(older[index:])
    return []


def _newer(position: Position, older: Sequence[LogFile]) -> list[LogFile]:
    """Return the files that were written to after ``position``, the first positioned, its own one if it is there."""
    first = 0
    for index, offset in _find(position.mark_before, older):
        older[index].offset = offset
        first = index + older[index].ends_at(offset)
    newer = [file for file in older[first:] if file.modified > position.modified or file.may_hold(position)]
    if newer and newer[0].offset == 0 and newer[0].may_hold(position):
        newer[0].offset, newer[0].skipping = position.offset, position.skipping
    return newer


def _find(mark: Mark | None, older: Sequence[LogFile]) -> list[tuple[int, int]]:
    """Return the index of the newest file with the content of ``mark`` and where that ends; empty where none has it."""
    for index in reversed(range(len(older))):
        if mark is not None and (end := older[index].end_of(mark)) is not None:
            return [(index, end)]
    return []


def older_files(host: Host, path: str, since: int) -> list[LogFile]:
    """Open the rotated files of a log that were written to after ``since``, oldest first.

    Args:
        host: Where the log is.
        path: Its name.
        since: Nanoseconds; the second before it is included, as compression may round the time.
    """
    files: list[tuple[int, tuple[int, int], LogFile]] = []
    for age, candidates in _places(host, path, since):
        for place, kind in candidates:
            try:
                if host.stat(place).st_mtime_ns <= since - _SECOND:
                    break
                file = kind(host.open(place))
            except (FileNotFoundError, NotADirectoryError):
                continue  # compressed a moment ago
            except OSError as exc:
                logger.warning("%s: not read: %s", place, exc.strerror or exc)
                break
            files.append((file.modified, age, file))
            break
    return [file for *_, file in sorted(files, key=lambda entry: entry[:2])]


def _places(host: Host, path: str, since: int) -> Iterator[tuple[tuple[int, int], tuple[Candidate, ...]]]:
    """Yield for each rotated file of a log its place in the order of age, and where it may be.

    Where a file and its compressed form both exist, the second is being written, so the first comes first.
    """
    directory, base = os.path.split(path)
    oldest = datetime.fromtimestamp(max(0, since // _SECOND - _DAYS_EARLIER)).strftime("%Y-%m-%d")
    stems: set[str] = set()
    for name in _names(host, directory):
        match = _SUFFIX.fullmatch(name, len(base)) if name.startswith(base) else None
        if match:
            stems.add(name.removesuffix(".gz"))
        # zmstat keeps its folders for ever, so only those that matter are looked into.
        elif _FOLDER.fullmatch(name) and name >= oldest:
            place = f"{directory}/{name}/{base}"
            yield _age_order(f".{name}"), ((place, LogFile), (f"{place}.gz", ArchivedLogFile))
    for stem in stems:
        place = f"{directory}/{stem}"
        yield _age_order(stem[len(base) :]), ((place, LogFile), (f"{place}.gz", CompressedLogFile))


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
