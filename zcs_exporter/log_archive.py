"""The search for the older files of a rotated log.

The content counts for more than the name: after a restart the file that was being read is found under whichever
name the rotation gave it, compressed or not. Beside the log that is ``NAME.DATE``, ``NAME-DATE`` or ``NAME.NUMBER``;
the tables below zmstat go to ``DATE/NAME.gz`` instead, where a second one of that day is put after the first, and
where the first comes twice if its writer is killed between compressing and deleting it.
"""

import gzip
import logging
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import takewhile

from zcs_exporter.hostio import Host
from zcs_exporter.logfile import CompressedLogFile, LogFile, Position, digest

_ALL = 1 << 62
_CHUNK = 1 << 18
_SECOND = 1_000_000_000
_DAYS_EARLIER = 2 * 86400
"""A folder may be named for the day before the file was last written to, in a zone of its own."""

# audit.log.2026-11-21  audit.log.2026-11-20.gz  zimbra.log-20261121  zimbra.log.1  zimbra.log.2.gz
_SUFFIX = re.compile(r"(?:[.](\d{4}-\d\d-\d\d)|-(\d{8})|[.](\d{1,3}))([.]gz)?", re.ASCII)
_FOLDER = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# timestamp,command,exec_count,exec_ms_avg
_HEADING = b"\ntimestamp,"

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
        self._length = 0

    def start_of(self, position: Position) -> int | None:
        """Return where the file of ``position`` begins, the last time if it is there twice; None if it is not."""
        if self._found[0] != position.fingerprint:
            self._found = (position.fingerprint, self._search(position))
        return self._found[1]

    def resume(self, position: Position) -> None:
        """Continue where ``position`` says, be it one in the archive or in a file that is part of it."""
        # The inode alone proves nothing: the archive may have that of a file deleted since.
        within = self.identity == (position.device, position.inode) and self.has_content(position)
        start = 0 if within else self.start_of(position) or 0
        self.offset, self.skipping = start + position.offset, position.skipping

    def go_on_after(self, position: Position, size: int) -> bool:
        """Continue after the file of ``position``, which has ``size`` bytes; return whether there is more."""
        self.offset, self.skipping = (self.start_of(position) or 0) + size, False
        return self.offset < self._length

    def _search(self, position: Position) -> int | None:
        self._rewind()
        found: int | None = None
        window, at = b"\n", -1
        while part := self._part():
            window += part
            begins = window.find(_HEADING)
            while 0 <= begins < len(window) - position.hashed:
                if digest(window[begins + 1 : begins + 1 + position.hashed]) == position.fingerprint:
                    found = at + begins + 1
                begins = window.find(_HEADING, begins + 1)
            kept = begins if begins >= 0 else max(0, len(window) - len(_HEADING))
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
    position = last.position()
    found = _from(position, older)
    if not found:
        newer = [file for file in older if file.modified > last.modified and file.identity != last.identity]
        return _keep(newer, older)
    if isinstance(found[0], ArchivedLogFile) and found[0].go_on_after(position, last.size):
        return _keep(found, older)
    return _keep(found[1:], older)


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
            if but is not None and file.identity == but.identity:
                file.close()
            else:
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


def _from(position: Position, older: Sequence[LogFile]) -> list[LogFile]:
    """Return the file of ``position``, positioned, and those after it; empty where it is not found."""
    same = [index for index, file in enumerate(older) if file.is_file(position)]
    alike = [index for index, file in enumerate(older) if file.has_content(position)]
    for index in same[-1:] or alike[-1:] or _holding(position, older):
        older[index].resume(position)
        return list(older[index:])
    return []


def _holding(position: Position, older: Sequence[LogFile]) -> list[int]:
    """Return the index of the newest archive that has the file of ``position`` after others."""
    for index in reversed(range(len(older))):
        file = older[index]
        if position.hashed and isinstance(file, ArchivedLogFile) and file.start_of(position) is not None:
            return [index]
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
