"""What the readers of the different logs share: the time of a line, the failures of a block, and records."""

import re
from collections.abc import Callable, Mapping

from collectors.auth.book import MAX_ACCOUNT, AuthBook
from collectors.auth.client import Client
from collectors.auth.failures import HOUR_SECONDS
from collectors.auth.records import GRADES, AuthRecords
from collectors.auth.site import UNSEEN, Site
from collectors.auth.windows import Pair
from collectors.formats.audit_log import UNREACHABLE
from zcs_exporter.contract import Clock, LogBlock, Record, line_starts
from zcs_exporter.log_time import LogTime

_STAMP = re.compile(rb"\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d")
_CAUGHT_UP_SECONDS = 5.0  # without a line that is over, after which one that is not ends them all
_SILENT_SECONDS = HOUR_SECONDS + 60.0  # without any, after which nothing is under way
_LAST_LINES = 64  # lines looked back for the last that has a stamp; a stack trace has none


class Intake:
    """Where readers put what they found.

    Attributes:
        book: Totals and windows.
        records: Structured events that wait to be told.
        site: What is known of the host.
        clocks: Time by log.
    """

    def __init__(self, clock: Clock, window_seconds: int) -> None:
        """Start empty."""
        self.book = AuthBook(window_seconds)
        self.records = AuthRecords()
        self.site: Site = UNSEEN
        self.clocks: dict[str, LogTime] = {}
        self._clock = clock
        self._past_at: float | None = None

    def clock(self, path: str) -> LogTime:
        """Return the clock of a log."""
        return self.clocks.setdefault(path, LogTime())

    def read(self, handle: Callable[["BlockFailures", LogTime], None], block: LogBlock) -> None:
        """Hand a block on; line by line where an hour is in doubt, since then each line tells the fold of the next."""
        now = self._clock.wall()
        clock = self.clock(block.path)
        before = clock.previous
        first, last = _first_time(block.data, clock, now), _last_time(block.data, clock, now)
        found = self.failures(block)
        if first is not None and last is not None and not clock.steady(first, last):
            clock.previous = before
            start = 0
            for line in block.data.split(b"\n")[:-1]:
                _line_time(line, clock, now)
                part = LogBlock(block.path, line + b"\n", block.offset + start, block.live)
                start += len(line) + 1
                found.block = part
                handle(found, clock)
        else:
            handle(found, clock)
            clock.previous = clock.previous if last is None else last
        found.close()

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        self.book.restore(saved)
        for path, previous in self.book.clocks.items():
            self.clock(path).previous = previous
        if self.book.replays.under_way:
            self._past_at = self._clock.monotonic()

    def failures(self, block: LogBlock) -> "BlockFailures":
        """Return where the failures of a block are put together."""
        now = self._clock.wall()
        self.book.expire(now)
        if not block.live:
            self._past_at = self._clock.monotonic()
        else:
            self._end_past(_CAUGHT_UP_SECONDS)
        return BlockFailures(self, block, now)

    def expire(self) -> None:
        """Forget what is over, and judge the last of the lines that were over when they were read."""
        self.book.expire(self._clock.wall())
        self._end_past(_SILENT_SECONDS)

    def _end_past(self, quiet: float) -> None:
        """End what lines that were over tell, unless one came within ``quiet`` seconds."""
        if self._past_at is not None and self._clock.monotonic() - self._past_at >= quiet:
            self.book.replays.end()
            self._past_at = None


class BlockFailures:
    """The failures of one block, put together before the windows are touched.

    Attributes:
        block: Where the lines stand.
        log: Base name of the log.
        now: The time.
    """

    def __init__(self, intake: Intake, block: LogBlock, now: float) -> None:
        """Start without any."""
        self.block = block
        self.log = block.path.rpartition("/")[2]
        self.now = now
        self._intake = intake
        self._pairs: dict[int, list[Pair]] = {}
        self._admin: dict[int, list[Pair]] = {}

    def pairs(self, second: int, *, admin: bool = False) -> list[Pair]:
        """Return the list to which address and account of each failure of a second are added."""
        return (self._admin if admin else self._pairs).setdefault(second, [])

    def add(self, at: int | None, client: Client, account: str, protocol: str, reason: str, cause: str = "") -> None:
        """Count a failure, in the windows only where its line has a time."""
        book = self._intake.book
        book.failures[protocol, reason] += 1
        if cause:
            book.external[cause] += 1
        if at is None:
            self.unreadable()
        elif cause == UNREACHABLE:
            book.not_answered(at, self.now)
        else:
            self.pairs(at, admin=protocol == "admin").append((client.address, account[:MAX_ACCOUNT].lower()))
            if client.claimed:
                book.claim(client)

    def unreadable(self) -> None:
        """Count a line that could not be understood."""
        self._intake.book.unparsed[self.log] += 1

    def imitation(self, of: str) -> None:
        """Count a line in which a client's text imitates an entry."""
        self._intake.book.injections[of] += 1

    def record(self, kind: str, at: int | None, line: bytes, fields: Mapping[str, str]) -> None:
        """Tell of something that a line says; ``line`` is a part of it by which it is found in the block."""
        records = self._intake.records
        if at is None:
            return
        if not records.room(kind):
            records.count(kind, 1)
            return
        place = self.block.data.find(line)
        offset = None if place < 0 else self.block.offset + self.block.data.rfind(b"\n", 0, place) + 1
        records.add(Record(kind, at, GRADES[kind], fields, self.block.path, offset))

    def close(self) -> None:
        """Take all into the windows."""
        book, live = self._intake.book, self.block.live
        for admin, seconds in ((False, self._pairs), (True, self._admin)):
            for second, pairs in seconds.items():
                book.fail(self.log, second, self.now, pairs, admin=admin, live=live)
        if not live:
            book.replays.move_on()


def lines_with(data: bytes, needles: tuple[bytes, ...]) -> list[bytes]:
    """Return the lines in which one of the needles stands, in order and each once."""
    return [data[start : data.find(b"\n", start)] for start in line_starts(data, needles)]


def _line_time(line: bytes, clock: LogTime, now: float) -> int | None:
    match = _STAMP.match(line)
    return None if match is None else clock.local(match[0], now)


def _first_time(data: bytes, clock: LogTime, now: float) -> int | None:
    start = 0
    for _ in range(_LAST_LINES):
        end = data.find(b"\n", start)
        if end < 0:
            break
        at = _line_time(data[start:end], clock, now)
        if at is not None:
            return at
        start = end + 1
    return None


def _last_time(data: bytes, clock: LogTime, now: float) -> int | None:
    end = len(data) - 1
    for _ in range(_LAST_LINES):
        if end <= 0:
            break
        start = data.rfind(b"\n", 0, end) + 1
        at = _line_time(data[start:end], clock, now)
        if at is not None:
            return at
        end = start - 1
    return None
