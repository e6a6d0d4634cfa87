"""When a line was written, whichever program of the host wrote it.

The collectors parse their own lines strictly; this only puts lines of different logs in order.
"""

import math
import re
import time

from zcs_exporter.log_time import LogTime

LOOKED_AT = 64
"""Lines looked at for one that has a stamp; a stack trace has none."""

_AHEAD = 2 * 86400
_NEAR = 300  # bytes of a line in which an access log has its stamp

_STAMP = re.compile(
    # 2024-03-02 10:20:33,901   2024/03/02 10:20:40   2024-03-02T10:20:33.901234+01:00   [2024-03-02T10:20:31.118+0100]
    rb"\[?(?P<local>\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d)(?:[.,]\d{1,9})?(?P<zone>Z|[+-]\d\d:?\d\d)?"
    # Mar  2 10:20:44
    rb"|(?P<yearless>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) "
    # Sat Mar  2 10:20:44 2024 ->
    rb"|[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) (?P<day>[ \d]\d) (?P<clock>\d\d:\d\d:\d\d) (?P<year>\d{4})"
    # 03/02/2024 10:20:31, as zmstat's tables have it
    rb"|(?P<american>\d\d/\d\d/\d{4}) (?P<hour>\d\d:\d\d:\d\d)"
)
# 203.0.113.9 - ann [02/Mar/2024:09:20:31 +0000] "POST /service/soap/ ...
_ACCESS = re.compile(
    rb"\[(?P<day>\d\d)/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4}):(?P<clock>\d\d:\d\d:\d\d) (?P<zone>[+-]\d{4})\]"
)
_STRIDE = 1024
_MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"


def shown_time(at: float) -> str:
    """Return a time, in seconds since the epoch, as the host's clock showed it: the same form for all logs."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return "at no time"


class Stamps:
    """Reads the stamps of one log.

    A stamp that is days ahead is none: a line of a stack trace may begin with an attacker's text.

    Attributes:
        reference: The time, in seconds since the epoch, near which a stamp without a year lies; infinity to read
            only stamps with one, and all of these.
    """

    def __init__(self, reference: float) -> None:
        self.reference = reference
        self._now = 0.0 if math.isinf(reference) else reference
        self._time = LogTime()

    def at(self, data: bytes, start: int) -> int | None:
        """Return when the line that begins at ``start`` was written; None where it does not say."""
        at = self._stamped(data, start)
        return at if at is not None and at <= self.reference + _AHEAD else None

    def _stamped(self, data: bytes, start: int) -> int | None:
        match = _STAMP.match(data, start)
        if match is None:
            return self._access(data, start)
        if match["local"]:
            return self._local(match["local"], match["zone"])
        if match["yearless"]:
            return None if math.isinf(self.reference) else self._time.yearless(match["yearless"], self._now)
        if match["american"]:
            month, day, year = match["american"].split(b"/")
            return self._local(b"-".join((year, month, day)) + b" " + match["hour"], None)
        return self._named_month(match, None)

    def stamp_end(self, data: bytes, start: int) -> int:
        """Return where the stamp of a line ends that begins with one; ``start`` where it does not."""
        match = _STAMP.match(data, start)
        return start if match is None else match.end()

    def first(self, data: bytes, start: int = 0) -> int | None:
        """Return the time of the first line from ``start`` on that has one; None where none nearby has."""
        for _ in range(LOOKED_AT):
            at = self.at(data, start)
            if at is not None:
                return at
            start = data.find(b"\n", start) + 1
            if not start or start >= len(data):
                break
        return None

    def last(self, data: bytes) -> int | None:
        """Return the time of the last line that has one; None where none nearby has."""
        end = len(data) - data.endswith(b"\n")
        for _ in range(LOOKED_AT):
            start = data.rfind(b"\n", 0, end) + 1
            at = self.at(data, start)
            if at is not None:
                return at
            if not start:
                break
            end = start - 1
        return None

    def cut(self, data: bytes, start: int, until: float) -> int:
        """Return where, after ``start``, the lines written after ``until`` begin.

        The lines are taken to be in order. The answer is never ``start`` itself.
        """
        low, high, end, stride = start, len(data), len(data), _STRIDE
        # All lines that begin before ``low`` belong to what is cut off, and the one at ``high`` does not.
        while low < high:
            # Far strides only once near ones did not lead past ``until``: mostly a few lines are wanted.
            half = min(low + stride, (low + high) // 2)
            stride *= 2
            line = data.rfind(b"\n", start, half) + 1 or start
            # A stack trace stays with the line it belongs to.
            while (at := self.at(data, line)) is None and line > low:
                line = data.rfind(b"\n", start, line - 1) + 1 or start
            if at is None or at <= until:
                low = min(data.find(b"\n", half, end) + 1 or end, high)
            else:
                high = max(line, low)
        return high if high > start else data.find(b"\n", start, end) + 1 or end

    def _access(self, data: bytes, start: int) -> int | None:
        end = data.find(b"\n", start, start + _NEAR)
        match = _ACCESS.search(data, start, end if end >= 0 else start + _NEAR)
        return None if match is None else self._named_month(match, match["zone"])

    def _named_month(self, match: re.Match[bytes], zone: bytes | None) -> int | None:
        number = _MONTHS.find(match["month"])
        if number < 0 or number % 3:
            return None
        day = match["day"].replace(b" ", b"0")
        return self._local(b"%s-%02d-%s %s" % (match["year"], number // 3 + 1, day, match["clock"]), zone)

    def _local(self, stamp: bytes, zone: bytes | None) -> int | None:
        if zone is None:
            return self._time.local(stamp, self._now)
        return self._time.offset(stamp, zone, self._now)
