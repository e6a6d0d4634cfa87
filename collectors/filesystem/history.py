"""How the room on a file system shrank, and when it will be gone.

Two series are kept: a point every five minutes for six hours, and the fullest moment of each hour for a week.
The rate is the median of the slopes between all pairs of points (Theil and Sen's), which a single burst or
clean-up does not move. Then comes the question whether the disk is emptied now and then: for each earlier point
that was followed by a clean-up, the rate is at most that from that point to now. So a saw-tooth, which keeps
coming back to the same height, never predicts anything; a disk that rises above its old peaks does, at the rate
of the peaks.
"""

import json
import math
from bisect import bisect_left
from collections.abc import Sequence

STEP = 300.0
RECENT = 6 * 3600.0
HOUR = 3600.0
WEEK = 7 * 86400.0

SHORT_MINIMUM = 1800.0
"""Half an hour of history makes the short estimate: seven points, of which up to three may be a burst."""

Point = tuple[float, float]
"""Time in seconds since the epoch, and the room left then."""


class FillHistory:
    """The room left on one file system, in bytes or inodes, over time.

    Attributes:
        recent_changed: The points of the last hours differ from those last saved.
        hours_changed: The hourly ones do.
    """

    def __init__(self) -> None:
        self._recent: list[Point] = []
        self._hours: list[Point] = []
        self._size = 0.0
        self._losses: dict[float, float] = {}
        self.recent_changed = False
        self.hours_changed = False

    @property
    def last(self) -> float:
        """Time of the newest point; 0 when there is none."""
        return self._recent[-1][0] if self._recent else 0.0

    def add(self, at: float, room: float, size: float) -> None:
        """Take note of what is left of ``size``; call as often as it is measured.

        A size that jumps by a hundredth is another disk, or a volume that was extended: the past is forgotten.
        """
        if self._size and abs(size - self._size) > 0.01 * self._size:
            self._recent.clear()
            self._hours.clear()
            self.recent_changed = self.hours_changed = True
        self._size = size
        # A clock that was set back leaves points in the future.
        self._recent = _until(self._recent, at)
        self._hours = _until(self._hours, at)
        if not self._hours or at // HOUR != self._hours[-1][0] // HOUR:
            self._hours = [*_since(self._hours, at - WEEK - HOUR), (at, room)]
            self.hours_changed = True
        elif room < self._hours[-1][1]:
            self._hours[-1] = (at, room)
        if not self._recent or at - self._recent[-1][0] >= STEP:
            self._recent = [*_since(self._recent, at - RECENT - 2 * STEP), (at, room)]
            self._losses.clear()
            self.recent_changed = True

    def short_estimate(self, at: float, room: float) -> float | None:
        """Seconds until full at the rate of the last hour; None if not filling or younger than half an hour."""
        return self._estimate(_since(self._recent, at - HOUR), SHORT_MINIMUM, STEP, at, room)

    def estimate(self, at: float, room: float) -> float | None:
        """Seconds until full at the rate of the last six hours; None if not filling or younger than that."""
        return self._estimate(self._recent, RECENT, STEP, at, room)

    def long_estimate(self, at: float, room: float) -> float | None:
        """Seconds until full at the rate of the last week; None if not filling or younger than that."""
        return self._estimate(self._hours, WEEK, HOUR, at, room)

    def _estimate(self, points: Sequence[Point], minimum: float, step: float, at: float, room: float) -> float | None:
        # Half of the points may be missing, for an hour of downtime is no reason to know nothing.
        if not points or at - points[0][0] < minimum or len(points) < minimum / step / 2:
            return None
        if minimum not in self._losses:  # thousands of slopes: once for each new point, not once a round
            loss = -_median_slope(points)
            peaks = self._loss_since_peaks(at, room, tolerance=0.1 * loss * (at - points[0][0])) if loss > 0 else loss
            self._losses[minimum] = min(loss, peaks)
        loss = self._losses[minimum]
        return room / loss if loss > 0 else None

    def _loss_since_peaks(self, at: float, room: float, tolerance: float) -> float:
        points = sorted({*self._hours, *self._recent})
        slowest, most_room_later = math.inf, room
        for then, left in reversed(points):
            if most_room_later - left > tolerance and at > then:
                slowest = min(slowest, (left - room) / (at - then))
            most_room_later = max(most_room_later, left)
        return slowest

    def saved_recent(self) -> str:
        """Return the points of the last hours as text."""
        return json.dumps([self._size, *self._recent])

    def saved_hours(self) -> str:
        """Return the hourly points as text."""
        return json.dumps(self._hours)

    def restore_recent(self, text: str) -> None:
        """Take over ``saved_recent``.

        Raises:
            ValueError: It is not that.
        """
        size, *points = _list(text)
        self._losses.clear()
        self._size, self._recent = float(size), _points(points)  # type: ignore[arg-type]  # float() refuses the rest

    def restore_hours(self, text: str) -> None:
        """Take over ``saved_hours``.

        Raises:
            ValueError: It is not that.
        """
        self._hours = _points(_list(text))


def _list(text: str) -> list[object]:
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("not a list")  # noqa: TRY004 - the one error that a damaged row gives
    return found


def _points(items: Sequence[object]) -> list[Point]:
    points = []
    for item in items:
        if not isinstance(item, list) or len(item) != 2:
            raise ValueError(f"{item!r} is not a point")
        points.append((float(item[0]), float(item[1])))
    return points


def _since(points: list[Point], at: float) -> list[Point]:
    return points[bisect_left(points, (at, -math.inf)) :]


def _until(points: list[Point], at: float) -> list[Point]:
    return points[: bisect_left(points, (at, math.inf))]


def _median_slope(points: Sequence[Point]) -> float:
    slopes = [
        (room - before) / (at - then)
        for number, (at, room) in enumerate(points)
        for then, before in points[:number]
        if at > then
    ]
    # Not of the module statistics, which takes as long to load as the rest of this collector.
    slopes.sort()
    middle = len(slopes) // 2
    return (slopes[middle] + slopes[~middle]) / 2 if slopes else 0.0
