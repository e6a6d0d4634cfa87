"""Finds the attacks in lines that are over, by the time that the lines name: nobody is alarmed, but it is told.

The windows are those of the alarms, moved on second by second through the log, so that each check is as exact
here as on a living host. Logs that are read side by side in the order of time are taken together; one that is
behind the others by more than ``LAG`` is looked at by itself.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from collectors.auth.failures import CHECKS, Check, Failures, Top
from collectors.auth.windows import Counts, Pair
from zcs_exporter.contract import Grade, Record

LAG = 60
"""Seconds by which the lines of two logs may come out of order."""

_NAMED = 3
_GROWTH = 1.2


@dataclass(slots=True)
class _Episode:
    """An attack under way: from when, until its last failure so far, and what it was at its worst."""

    start: int
    until: int
    peak: int
    named_at: int
    top: Top


class Replay:
    """Lines in the order of time, or up to ``LAG`` out of it."""

    def __init__(self, window_seconds: int) -> None:
        self._failures = Failures(window_seconds)
        self._window_seconds = window_seconds
        self._waiting: dict[int, tuple[Counter[Pair], Counter[Pair]]] = {}
        self._latest = 0
        self._done = 0
        self._episodes: dict[str, _Episode] = {}

    def add(self, second: int, counts: Counts, *, admin: bool) -> bool:
        """Take failures of a second; False if others more than ``LAG`` later were taken before."""
        if second <= self._done:
            return False
        waiting = self._waiting.get(second)
        if waiting is None:
            waiting = self._waiting[second] = (Counter(), Counter())
        waiting[admin].update(counts)
        self._latest = max(self._latest, second)
        return True

    def attacks(self, thresholds: Mapping[str, float], *, all_told: bool = False) -> Iterator[Record]:
        """Yield the attacks that ended; with ``all_told`` no more lines come, and those under way have as well."""
        ready = [second for second in self._waiting if all_told or second < self._latest - LAG]
        for second in sorted(ready):
            self._done = second
            plain, admin = self._waiting.pop(second)
            failures = self._failures
            failures.expire(second)
            failures.add(second, second, plain + admin if admin else plain)
            if admin:
                failures.admin.add(second, second, admin)
            total = failures.window.total
            for name, threshold in thresholds.items():
                check = CHECKS[name]
                if threshold > total and not check.seconds and name not in self._episodes:
                    continue  # no number of the window is larger
                value = check.value(failures)
                if value >= threshold or name in self._episodes:
                    yield from self._look(second, name, check, value, threshold)
        if all_told:
            for name, episode in self._episodes.items():
                yield _record(name, episode)
            self._episodes.clear()

    def _look(self, second: int, name: str, check: Check, value: int, threshold: float) -> Iterator[Record]:
        episode = self._episodes.get(name)
        if episode is not None and second - episode.until > (check.seconds or self._window_seconds):
            yield _record(name, self._episodes.pop(name))
            episode = None
        if value < threshold:
            return
        if episode is None:
            episode = self._episodes[name] = _Episode(second, second, 0, 0, [])
        episode.until = second
        episode.peak = max(episode.peak, value)
        if value >= episode.named_at * _GROWTH:
            episode.named_at, episode.top = value, check.top(self._failures, 2 * _NAMED)


def _record(name: str, episode: _Episode) -> Record:
    addresses = dict.fromkeys(address for (address, _), _ in episode.top if address)
    accounts = dict.fromkeys(account for (_, account), _ in episode.top if account)
    fields = {
        "check": name,
        "count": str(episode.peak),
        "until": datetime.fromtimestamp(episode.until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "address": ", ".join(list(addresses)[:_NAMED]),
        "account": ", ".join(list(accounts)[:_NAMED]),
    }
    return Record("attack", episode.start, Grade.WARNING, fields)


class Replays:
    """All logs that hold lines that are over.

    Attributes:
        thresholds: From which value on each check is an attack; none for one whose alert is off.
    """

    def __init__(self, window_seconds: int) -> None:
        self.window_seconds = window_seconds
        self.thresholds: Mapping[str, float] = {}
        self._together: Replay | None = None
        self._alone: dict[str, Replay] = {}
        self._ended: list[Record] = []

    def add(self, log: str, second: int, counts: Counts, *, admin: bool) -> None:
        """Take failures of a second of one log."""
        if self._together is None:
            self._together = Replay(self.window_seconds)
        if self._together.add(second, counts, admin=admin):
            return
        alone = self._alone.get(log)
        if alone is None or not alone.add(second, counts, admin=admin):
            if alone is not None:
                # Its clock was set back.
                self._ended += alone.attacks(self.thresholds, all_told=True)
            alone = self._alone[log] = Replay(self.window_seconds)
            alone.add(second, counts, admin=admin)

    def move_on(self) -> None:
        """Judge what can be judged, so that little waits."""
        for replay in self._all():
            self._ended += replay.attacks(self.thresholds)

    def end(self) -> None:
        """Tell all: no more lines of this kind come."""
        for replay in self._all():
            self._ended += replay.attacks(self.thresholds, all_told=True)
        self._together = None
        self._alone.clear()

    def take(self) -> list[Record]:
        """Return the attacks that ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def _all(self) -> Iterator[Replay]:
        if self._together is not None:
            yield self._together
        yield from self._alone.values()
