"""The book of what the mail system did, a page a day, for the daily report.

A collector that reads the mail log writes it line by line, and commits its rows together with the positions
of the logs, so that nothing is lost or told twice. An open page is saved whole now and then, and in between by
one row a turn with the last value of what changed. Once the next day is two hours old a page is closed: cut down
to the names that a report shows, packed into one row, and kept for 31 days. A line that comes later still opens
it again.

Memory is bounded: two open pages, on which names are counted exactly up to what ``page.TABLES`` says and
beyond that those that matter most are kept, and the closed pages as they were packed.
"""

import logging
from collections.abc import Mapping
from datetime import date, datetime, timedelta, tzinfo

from zcs_exporter.mailreport.page import SEPARATOR, Hour, Page
from zcs_exporter.mailreport.reason import MAX_RAW
from zcs_exporter.mailreport.rows import DAY_END, PREFIX, SavedPage

log = logging.getLogger(__name__)

KEPT_DAYS = 31

_MAX_PAGES = KEPT_DAYS + 2  # a clock that ran wild may have left pages of days that never come
_MAX_OPEN = 2
_MAX_PENDING = 1024  # taking in that many names holds up the event loop for some 5 ms
_SETTLED_HOUR = 2
_QUARTER = 900  # every zone changes its offset at a quarter of an hour


class DayBook:
    """Counts what the mail system did, each line on the day of its own time.

    Times are seconds since the epoch, sizes bytes, delays seconds; texts are as they stood in the line.
    """

    def __init__(self, zone: tzinfo | None = None) -> None:
        """Take the zone whose days and hours are meant; None is that of this process."""
        self._zone = zone
        self._open: dict[str, SavedPage] = {}
        self._closed: dict[str, str] = {}
        # Rows of pages that were closed, opened again or dropped since the last look.
        self._turned: dict[str, str | None] = {}
        # The quarter of an hour that the lines are in, and the hour and page it belongs to.
        self._since = self._until = 0
        self._hour = Hour()
        self._page = Page("")

    def received(self, at: int, sender: bytes, host: bytes, size: int) -> None:
        """Count a message that came in from a client; ``sender`` is empty for a bounce."""
        if not self._since <= at < self._until:
            self._turn_to(at)
        hour, page = self._hour, self._page
        if at > hour.last:
            hour.last = at
        hour.received += 1
        hour.bytes_received += size
        senders, hosts = page.senders, page.hosts
        if sender in senders:
            entry = senders[sender]
            entry[0] += 1
            entry[1] += size
        else:
            senders[sender] = [1, size]
        if host in hosts:
            entry = hosts[host]
            entry[0] += 1
            entry[1] += size
        else:
            hosts[host] = [1, size]
        if len(senders) > _MAX_PENDING or len(hosts) > _MAX_PENDING:
            page.fold()

    def delivered(self, at: int, recipient: bytes, size: int, delay: float) -> None:
        """Count a delivery to one recipient."""
        if not self._since <= at < self._until:
            self._turn_to(at)
        hour, recipients = self._hour, self._page.recipients
        if at > hour.last:
            hour.last = at
        hour.delivered += 1
        hour.bytes_delivered += size
        hour.delay += delay
        if delay > hour.longest:
            hour.longest = delay
        if recipient in recipients:
            entry = recipients[recipient]
            entry[0] += 1
            entry[1] += size
            entry[2] += delay
            if delay > entry[3]:
                entry[3] = delay
        else:
            recipients[recipient] = [1, size, delay, delay]
            if len(recipients) > _MAX_PENDING:
                self._page.fold()

    def deferred(self, at: int, recipient: bytes, reason: bytes, *, first: bool | None = None) -> None:
        """Count a deferral for one recipient; ``first`` tells whether it is the first of its message, if known."""
        hour = self._turn(at)
        hour.deferrals += 1
        if first:
            hour.deferred += 1
        self._count(self._page.deferred, recipient)
        self._count(self._page.plain["deferrals"], reason[:MAX_RAW])

    def bounced(self, at: int, recipient: bytes, reason: bytes) -> None:
        """Count a recipient to whom a message will not come."""
        self._turn(at).bounced += 1
        self._count(self._page.plain["bounced_recipients"], recipient)
        self._count(self._page.plain["bounces"], reason[:MAX_RAW])

    def rejected(self, at: int, cause: str, host: bytes, text: bytes) -> None:
        """Count a rejection.

        Args:
            at: When.
            cause: One of a closed set.
            host: The client.
            text: The line's message or what the client was told; what tells one client from another is cut out.
        """
        self._turn(at).rejected += 1
        self._page.causes[cause] += 1
        self._count(self._page.plain["rejected_hosts"], host)
        self._count(self._page.plain["rejections"], text[:MAX_RAW])

    def held(self, at: int) -> None:
        """Count a message that was put on hold."""
        self._turn(at).held += 1

    def discarded(self, at: int) -> None:
        """Count a message that was thrown away."""
        self._turn(at).discarded += 1

    def forwarded(self, at: int) -> None:
        """Count a delivery that became a new message."""
        self._turn(at).forwarded += 1

    def verdict(self, at: int, verdict: str) -> None:
        """Count what the content filter found, one of a closed set."""
        self._turn(at)
        self._page.verdicts[verdict] += 1

    def warning(self, at: int, program: bytes, text: bytes) -> None:
        """Count a warning, an error or a panic of a program."""
        self._turn(at)
        self._count(self._page.plain["warnings"], program + SEPARATOR + text[:MAX_RAW])

    def counts(self) -> tuple[str, Mapping[str, Mapping[bytes, float]]]:
        """Return the latest day that lines were of, empty without any, and how often each name came, by kind."""
        day = max(self._open, default="")
        return day, self._open[day].page.counts() if day else {}

    def restore(self, rows: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process; a page that is damaged begins afresh, and the log says so."""
        opened = {key[:DAY_END] for key in rows if key.startswith(PREFIX) and len(key) > DAY_END}
        self._closed = {
            key[len(PREFIX) :]: value for key, value in rows.items() if key.startswith(PREFIX) and len(key) == DAY_END
        }
        for begin in sorted(opened):
            day = begin[len(PREFIX) :]
            saved = SavedPage(Page(day))
            try:
                saved.restore(rows)
            except ValueError as exc:
                log.warning("the mail counted on %s is lost: %s", day, exc)
                self._turned.update(dict.fromkeys(key for key in rows if key.startswith(begin)))
            else:
                self._open[day] = saved

    def changes(self) -> dict[str, str | None]:
        """Return the rows that changed since the last call, None for one to delete."""
        rows, self._turned = self._turned, {}
        for saved in self._open.values():
            rows |= saved.changes()
        # The next line notes anew which hour it touches.
        self._since = self._until = 0
        return rows

    def _count(self, pending: dict[bytes, int], text: bytes) -> None:
        pending[text] = pending.get(text, 0) + 1
        if len(pending) > _MAX_PENDING:
            self._page.fold()

    def _turn(self, at: int) -> Hour:
        if not self._since <= at < self._until:
            self._turn_to(at)
        hour = self._hour
        if at > hour.last:
            hour.last = at
        return hour

    def _turn_to(self, at: int) -> None:
        """Show the page and the hour of ``at``, and close what is over."""
        self._since = at - at % _QUARTER
        self._until = self._since + _QUARTER
        local = datetime.fromtimestamp(self._since, self._zone)
        day = local.date().isoformat()
        page = (self._open.get(day) or self._open_page(day)).page
        hour = page.hours.setdefault(local.hour, Hour(at, at))
        hour.first = min(hour.first, at)
        page.touched.add(local.hour)
        self._page, self._hour = page, hour
        others = sorted(self._open.keys() - {day}, key=lambda other: (-_distance(day, other), other))
        for place, other in enumerate(others):
            if (other < day and local.hour >= _SETTLED_HOUR) or len(others) - place >= _MAX_OPEN:
                self._close(other)
        self._drop()

    def _open_page(self, day: str) -> SavedPage:
        saved = SavedPage(Page(day))
        packed = self._closed.pop(day, None)
        if packed is not None:
            self._turned[PREFIX + day] = None
            try:
                saved.reopen(packed)
            except ValueError as exc:
                log.warning("the mail counted on %s is lost: %s", day, exc)
                saved = SavedPage(Page(day))
            else:
                self._turned[saved.key] = packed
        self._open[day] = saved
        return saved

    def _close(self, day: str) -> None:
        saved = self._open.pop(day)
        saved.page.trim()
        self._turned |= dict.fromkeys(saved.keys())
        self._turned[PREFIX + day] = self._closed[day] = saved.page.pack()

    def _drop(self) -> None:
        """Drop the pages that are too old.

        That is seen from the last day but one: a clock may jump ahead for a moment.
        """
        days = sorted(self._closed.keys() | self._open.keys())
        newest = date.fromisoformat(days[-2:][0])
        limit = (newest - min(timedelta(KEPT_DAYS), newest - date.min)).isoformat()
        for place, day in enumerate(days):
            if day in self._closed and (day < limit or len(days) - place > _MAX_PAGES):
                del self._closed[day]
                self._turned[PREFIX + day] = None


def _distance(day: str, other: str) -> int:
    return abs((date.fromisoformat(day) - date.fromisoformat(other)).days)
