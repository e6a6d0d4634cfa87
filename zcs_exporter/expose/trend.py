"""What counters grew by in the last minutes: a number since start says little to somebody who is on call.

A few readings of each collector are kept, ten seconds apart at least, and the newest is compared with the oldest.
Nothing is told from readings between which counters went back or went away, nor while a long piece of log is
caught up with: that would be news of yesterday.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from zcs_exporter.contract import Kind
from zcs_exporter.snapshot import Reading, Snapshot

WINDOW = 300.0
"""Seconds that a trend tells of, once there are so many."""

STEP = 10.0
"""Least seconds between two readings that are kept."""

CAUGHT_UP = 4 << 20
"""Bytes of a log that may wait to be read; where more do, what is counted is not of the last minutes."""

_COUNTED = ("mailflow", "mailboxd", "logs")
_LAG = "zcs_exporter_log_lag_bytes"

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A series: its name with suffix, and its labels."""


@dataclass(frozen=True, slots=True)
class Trend:
    """By how much one collector's counters grew.

    Attributes:
        seconds: In which time.
        grown: By the series' name with its suffix: its labels, and by how much.
    """

    seconds: float
    grown: Mapping[str, list[tuple[dict[str, str], float]]] = field(default_factory=dict)


class Trends:
    """Keeps what is needed to tell trends."""

    def __init__(self) -> None:
        self._points: dict[str, deque[tuple[float, dict[Key, float]]]] = {name: deque() for name in _COUNTED}

    async def watch(self, snapshot: Callable[[], Snapshot], ready: Callable[[], bool]) -> None:
        """Look at the latest snapshot for ever."""
        while True:
            await asyncio.sleep(STEP)
            if ready():
                self.note(snapshot())

    def note(self, snapshot: Snapshot) -> None:
        """Take the readings of a snapshot."""
        behind = any(sample.metric.name == _LAG and sample.value > CAUGHT_UP for sample in snapshot.own)
        for name, points in self._points.items():
            reading = snapshot.readings.get(name)
            if behind or reading is None or not reading.samples:
                points.clear()
                continue
            if points and reading.good_at < points[-1][0] + STEP / 2:
                continue
            counters = _counters(reading)
            if points and _went_back(points[-1][1], counters):
                points.clear()
            points.append((reading.good_at, counters))
            while len(points) > 1 and points[1][0] <= reading.good_at - WINDOW:
                points.popleft()

    def of(self, snapshot: Snapshot) -> Mapping[str, Trend]:
        """Return the trends up to a snapshot by collector; none where there is nothing to compare with."""
        trends = {}
        for name, points in self._points.items():
            reading = snapshot.readings.get(name)
            if not points or reading is None or not reading.samples:
                continue
            began, before = points[0]
            counters = _counters(reading)
            if reading.good_at < began + STEP / 2 or _went_back(before, counters):
                continue
            grown: dict[str, list[tuple[dict[str, str], float]]] = {}
            for (series, labels), value in counters.items():
                # A series that was not there began at 0 meanwhile.
                change = value - before.get((series, labels), 0.0)
                grown.setdefault(series, []).append((dict(labels), change))
            trends[name] = Trend(reading.good_at - began, grown)
        return trends


def _counters(reading: Reading) -> dict[Key, float]:
    return {
        (sample.metric.name + sample.suffix, sample.label_pairs()): sample.value
        for sample in reading.samples
        if sample.metric.kind in (Kind.COUNTER, Kind.SUMMARY, Kind.HISTOGRAM)
    }


def _went_back(before: Mapping[Key, float], now: Mapping[Key, float]) -> bool:
    return any(now.get(key, float("-inf")) < value for key, value in before.items())
