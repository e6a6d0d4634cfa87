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
        self._hour = 0

    def local(self, stamp: bytes, now: float) -> int | None:
        """Return the time of ``2024-03-02 10:20:33``, with any separators; None if there is no such time."""
        return self._finish(self._folds(stamp[:16], now), stamp[17:19], now)

    def offset(self, stamp: bytes, offset: bytes, now: float) -> int | None:
        """Return the time of ``2024-03-02T10:20:33`` at an offset such as ``+01:00`` or ``Z``."""
        return self._finish(self._folds(stamp[:16] + offset, now), stamp[17:19], now)

    def yearless(self, stamp: bytes, now: float) -> int | None:
        """Return the time of ``Mar  2 10:20:33``; None if no year nearby has it."""
        return self._finish(self._folds(stamp[:12], now), stamp[13:15], now)

    def steady(self, first: int, last: int) -> bool:
        """Whether the zone keeps its distance from UTC all around these times, so that no hour is in doubt."""
        around = (first - 2 * _HOUR, first, last, last + 2 * _HOUR)
        return len({datetime.fromtimestamp(at, self._zone).astimezone(self._zone).utcoffset() for at in around}) == 1

    def _finish(self, folds: Folds | None, second: bytes, now: float) -> int | None:
        if folds is None:
            return None
        seconds = int(second)
        if seconds > 60:  # 60 is a leap second
            return None
        first, again = folds[0] + seconds, folds[1] + seconds
        if first != again:
            near = now if self.previous is None else self.previous
            first = min(first, again, key=lambda at: abs(at - near))
        self.previous = first
        return first

    def _folds(self, minute: bytes, now: float) -> Folds | None:
        hour = int(now) // _HOUR
        if hour != self._hour or len(self._minutes) >= _CACHED_MINUTES:
            # The year of a stamp without one depends on the time of day it is read.
            self._minutes.clear()
            self._hour = hour
        try:
            return self._minutes[minute]
        except KeyError:
            pass
        try:
            folds = self._convert(minute, now)
        except (ValueError, OverflowError, OSError, KeyError):
            folds = None
        self._minutes[minute] = folds
        return folds

    def _convert(self, minute: bytes, now: float) -> Folds | None:
        if len(minute) == 12:
            month, day, hour, mins = _MONTHS[minute[:3]], int(minute[4:6]), int(minute[7:9]), int(minute[10:12])
            return self._nearest_year(month, day, hour, mins, now)
        if len(minute) > 16:
            aware = datetime.fromisoformat(minute.decode("ascii"))
            return int(aware.timestamp()), int(aware.timestamp())
        year, month, day = int(minute[:4]), int(minute[5:7]), int(minute[8:10])
        return self._both(year, month, day, int(minute[11:13]), int(minute[14:16]))

    def _nearest_year(self, month: int, day: int, hour: int, minute: int, now: float) -> Folds | None:
        this_year = datetime.fromtimestamp(now, UTC).year
        best: Folds | None = None
        for year in range(this_year + 1, this_year - _YEARS_BACK - 1, -1):
            try:
                folds = self._both(year, month, day, hour, minute)
            except ValueError:
                continue  # 29 February
            if folds[0] <= now + _DAY and (best is None or abs(folds[0] - now) < abs(best[0] - now)):
                best = folds
        return best

    def _both(self, year: int, month: int, day: int, hour: int, minute: int) -> Folds:
        first = int(datetime(year, month, day, hour, minute, tzinfo=self._zone).timestamp())
        again = int(datetime(year, month, day, hour, minute, tzinfo=self._zone, fold=1).timestamp())
        # In a skipped hour the second reading lies before the first, which is the one that goes forward.
        return first, max(first, again)
