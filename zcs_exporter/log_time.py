"""Turns the stamps of log lines into seconds since the epoch.

Programs log in the host's local zone, mostly without saying which. Two hours a year are not plain:
a repeated one, where the fold nearest the line before is taken, and a skipped one, which goes forward.
Syslog leaves out the year: it is the one that puts the stamp nearest now, never over a day ahead.
"""

from datetime import UTC, datetime, tzinfo

_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), start=1
    )
}
_HOUR = 3600
_DAY = 86400
_YEARS_BACK = 8  # the longest time between two 29ths of February
_CACHED_MINUTES = 256

Folds = tuple[int, int]
"""The epoch second at which a minute begins, for the first and the second time the clock shows it."""


class LogTime:
    """The clock of one log: whole seconds since the epoch from stamps as they stand in its lines.

    Attributes:
        previous: Time of the last line that had one, by which a repeated hour is told apart.
    """

    def __init__(self, zone: tzinfo | None = None) -> None:
        """Take the zone of the host; None is the zone of this process."""
        self.previous: int | None = None
        self._zone = zone
        self._minutes: dict[bytes, Folds | None] = {}
        self._hours: dict[bytes, int | None] = {}
        # The hour of the reader's clock for which these hold.
        self._since = self._until = 0

    def local(self, stamp: bytes, now: float) -> int | None:
        """Return the time of ``2024-03-02 10:20:33``, with any separators; None if there is no such time."""
        return self._at(stamp[:16], stamp[17:19], now)

    def offset(self, stamp: bytes, offset: bytes, now: float) -> int | None:
        """Return the time of ``2024-03-02T10:20:33`` at an offset such as ``+01:00`` or ``Z``."""
        return self._at(stamp[:16] + offset, stamp[17:19], now)

    def yearless(self, stamp: bytes, now: float) -> int | None:
        """Return the time of ``Mar  2 10:20:33``; None if no year nearby has it."""
        return self._at(stamp[:12], stamp[13:15], now)

    def steady(self, first: int, last: int) -> bool:
        """Whether the zone keeps its distance from UTC all around these times, so that no hour is in doubt."""
        around = (first - 2 * _HOUR, first, last, last + 2 * _HOUR)
        return len({datetime.fromtimestamp(at, self._zone).astimezone(self._zone).utcoffset() for at in around}) == 1

    def _at(self, minute: bytes, second: bytes, now: float) -> int | None:
        if not self._since <= now < self._until or minute not in self._minutes:
            self._learn(minute, now)
        folds = self._minutes[minute]
        if folds is None:
            return None
        seconds = int(second)
        if seconds > 60:  # 60 is a leap second
            return None
        at, again = folds
        if at != again:
            near = now if self.previous is None else self.previous
            at = min(at, again, key=lambda fold: abs(fold + seconds - near))
        self.previous = at = at + seconds
        return at

    def _learn(self, minute: bytes, now: float) -> None:
        if not self._since <= now < self._until or len(self._minutes) >= _CACHED_MINUTES:
            # The year of a stamp without one depends on the time of day it is read.
            self._minutes.clear()
            self._hours.clear()
            self._since = int(now) // _HOUR * _HOUR
            self._until = self._since + _HOUR
        try:
            self._minutes[minute] = self._convert(minute, now)
        except (ValueError, OverflowError, OSError, KeyError):
            self._minutes[minute] = None

    def _convert(self, minute: bytes, now: float) -> Folds | None:
        if len(minute) == 12:
            month, day, hour, mins = _MONTHS[minute[:3]], int(minute[4:6]), int(minute[7:9]), int(minute[10:12])
            return self._nearest_year(month, day, hour, mins, now)
        if len(minute) > 16:
            aware = datetime.fromisoformat(minute.decode("ascii"))
            return int(aware.timestamp()), int(aware.timestamp())
        shown, minutes = minute[:13], int(minute[14:16])
        begin = self._hours[shown] if shown in self._hours else self._even_hour(shown)
        if begin is not None and 0 <= minutes < 60:
            return begin + 60 * minutes, begin + 60 * minutes
        return self._both(*_parts(shown), minutes)

    def _even_hour(self, hour: bytes) -> int | None:
        """Return when an hour begins in which every minute comes once and after the one before; None for another."""
        first, last = self._both(*_parts(hour), 0), self._both(*_parts(hour), 59)
        even = first[0] == first[1] and last[0] == last[1] == first[0] + 59 * 60
        self._hours[hour] = first[0] if even else None
        return self._hours[hour]

    def _nearest_year(self, month: int, day: int, hour: int, minute: int, now: float) -> Folds | None:
        this_year = datetime.fromtimestamp(now, UTC).year
        for year in range(this_year + 1, this_year - _YEARS_BACK - 1, -1):
            try:
                folds = self._both(year, month, day, hour, minute)
            except ValueError:
                continue  # 29 February
            if folds[0] <= now + _DAY:
                return folds
        return None

    def _both(self, year: int, month: int, day: int, hour: int, minute: int) -> Folds:
        first = int(datetime(year, month, day, hour, minute, tzinfo=self._zone).timestamp())
        again = int(datetime(year, month, day, hour, minute, tzinfo=self._zone, fold=1).timestamp())
        # In a skipped hour the second reading lies before the first, which is the one that goes forward.
        return first, max(first, again)


def _parts(hour: bytes) -> tuple[int, int, int, int]:
    return int(hour[:4]), int(hour[5:7]), int(hour[8:10]), int(hour[11:13])
