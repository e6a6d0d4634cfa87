"""What the readers of the different logs share: the time of a line, the failures of a block, and records."""

import re
from collections.abc import Callable, Iterable, Mapping

from collectors.auth.book import MAX_ACCOUNT, AuthBook, like_a_proxy
from collectors.auth.breach import Success, least, numbers_now
from collectors.auth.client import Client, parse_address
from collectors.auth.failures import HOUR_SECONDS
from collectors.auth.past_logins import PastLogins
from collectors.auth.records import GRADES, MOST, MOST_OTHERS, context_fields
from collectors.auth.site import UNSEEN, Site
from collectors.auth.windows import Pair
from collectors.formats.audit_log import UNREACHABLE, parse_context
from zcs_exporter.contract import Clock, Grade, LogBlock, Record, line_starts
from zcs_exporter.log_time import LogTime
from zcs_exporter.record_queue import RecordQueue

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
        self.records = RecordQueue(MOST, MOST_OTHERS)
        self.site: Site = UNSEEN
        self.clocks: dict[str, LogTime] = {}
        self._clock = clock
        self._saved_records: str | None = None
        self._past_at: float | None = None
        self._past: dict[str, PastLogins] = {}

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

    def changes(self) -> dict[str, str | None]:
        """Return the rows that changed since the last call."""
        self.book.clocks = {path: clock.previous for path, clock in self.clocks.items() if clock.previous is not None}
        rows = self.book.changes()
        records = self.records.save() if self.records else None
        if records != self._saved_records:
            rows["records"] = self._saved_records = records
        return rows

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        self.book.restore(saved)
        if "records" in saved:
            self.records.restore(saved["records"])
            self._saved_records = saved["records"]
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
            for past in self._past.values():
                self._tell_past(past, all_read=True)
            self._past.clear()
            self._past_at = None

    def judge_now(self, login: Success, block: LogBlock) -> None:
        """Tell a login of now if it is in the midst of an attack, and remember it."""
        book = self.book
        found = numbers_now(book.failed, *login.pair).too_many(book.replays.thresholds)
        if found is not None and book.untrusted_proxy(self.site.servers) != login.address:
            self._breach(login._replace(offset=_offset(block, login)), *found, live=True)
        book.habits.learn(login.pair)

    def past(self, log: str) -> PastLogins:
        """Return the failures and logins of lines of a log that are over."""
        found = self._past.get(log)
        if found is None:
            book = self.book
            found = self._past[log] = PastLogins(book.failed.window.seconds, least(book.replays.thresholds))
        return found

    def judge_past(self, log: str) -> None:
        """Tell the logins of the past that were in the midst of an attack."""
        self._tell_past(self.past(log))

    def _tell_past(self, past: PastLogins, *, all_read: bool = False) -> None:
        for login, numbers, total in past.judged(all_read=all_read):
            found = numbers.too_many(self.book.replays.thresholds)
            of_proxy = numbers.accounts > 1 and like_a_proxy(login.address, numbers.address, total, self.site.servers)
            if found is not None and not of_proxy:
                self._breach(login, *found, live=False)

    def _breach(self, login: Success, check: str, count: int, *, live: bool) -> None:
        book, address = self.book, parse_address(login.address)
        if address is None or address in self.site.servers or book.breaches.lately(login.pair, login.at):
            return
        book.breaches.add(login.pair, login.at)
        known = book.habits.knows(login.pair)
        fields = {"account": login.account, "protocol": login.protocol, "check": check, "count": str(count)}
        if known:
            fields["text"] = "it logged in from there before"
        fields |= context_fields(parse_context(login.context), Client(login.address))
        grade = Grade.WARNING if known else Grade.CRITICAL
        self.records.add(Record("login_after_attack", login.at, grade, fields, login.log, login.offset))
        if live and not known:
            book.tell_breach(login.at, *login.pair)


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
        self._logins: list[tuple[LogBlock, Iterable[Success]]] = []

    def pairs(self, second: int, *, admin: bool = False) -> list[Pair]:
        """Return the list to which address and account of each failure of a second are added."""
        return (self._admin if admin else self._pairs).setdefault(second, [])

    def add(self, at: int | None, client: Client, account: str, protocol: str, reason: str, cause: str = "") -> None:
        """Count a failure, in the windows only where its line has a time."""
        book = self._intake.book
        unknown_admin = protocol == "admin" and reason == "no_account"
        if unknown_admin and book.twins.again("mailbox", at, client.address, account):
            return  # audit.log told it
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

    def offer(self, logins: Iterable[Success]) -> None:
        """Have the logins of the block looked at once its failures are in the windows, unless nobody failed."""
        self._logins.append((self.block, logins))

    def close(self) -> None:
        """Take all into the windows, and judge the logins by them."""
        if self.block.live:
            self._close_now()
        else:
            self._close_past()

    def _close_now(self) -> None:
        logins: dict[int, list[tuple[LogBlock, Success]]] = {}
        for block, offered in self._logins:
            for login in offered:
                logins.setdefault(login.at, []).append((block, login))
        # What failed after a login was no attack before it.
        for second in sorted({*self._pairs, *self._admin, *logins}):
            self._fail(second)
            for block, login in logins.get(second, ()):
                self._intake.judge_now(login, block)

    def _close_past(self) -> None:
        intake = self._intake
        if self._admin:
            for second in {**self._pairs, **self._admin}:
                self._fail(second)
        else:
            for second, pairs in self._pairs.items():
                intake.book.fail(self.log, second, self.now, pairs, admin=False, live=False)
        intake.book.replays.move_on()
        if not self._logins:
            return
        past = intake.past(self.block.path)
        for seconds in (self._pairs, self._admin):
            for second, pairs in seconds.items():
                past.add(min(second, int(self.now)), pairs)
        if not past.quiet:
            for block, offered in self._logins:
                for login in offered:
                    if past.wants(*login.pair) and not intake.book.breaches.lately(login.pair, login.at):
                        at = min(login.at, int(self.now))
                        past.login(login._replace(at=at, offset=_offset(block, login)))
        intake.judge_past(self.block.path)

    def _fail(self, second: int) -> None:
        book, live = self._intake.book, self.block.live
        for admin, seconds in ((False, self._pairs), (True, self._admin)):
            if second in seconds:
                book.fail(self.log, second, self.now, seconds[second], admin=admin, live=live)


def lines_with(data: bytes, needles: tuple[bytes, ...]) -> list[bytes]:
    """Return the lines in which one of the needles stands, in order and each once."""
    return [data[start : data.find(b"\n", start)] for start in line_starts(data, needles)]


def _offset(block: LogBlock, login: Success) -> int | None:
    """Return where the line of a login begins in its file."""
    data, needle = block.data, login.needle or b"] [" + login.context + b"] security - "
    place = data.find(needle)
    while place >= 0:
        start = data.rfind(b"\n", 0, place) + 1
        if data.startswith(login.stamp, start):
            return block.offset + start
        place = data.find(needle, data.find(b"\n", place))
    return None


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
