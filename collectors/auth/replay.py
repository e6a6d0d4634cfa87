"""Finds the attacks in lines that are over, by the time that the lines name: nobody is alarmed, but it is told.

The windows are those of the alarms, moved on through the log, so that each check is as exact here as on a living
host; but in a flood, what is new to the checks of an hour is what is new since the last look, not within a minute.
A check sees an attack in those seconds in which a failure of who attacks is one too many.

Logs that are read side by side in the order of time are taken together; one that is behind the others by more than
``LAG`` is looked at by itself.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from operator import itemgetter
from typing import NamedTuple

from collectors.auth.bursts import MEASURES, Stretch
from collectors.auth.failures import ADMIN_PAIRS, ADMIN_SECONDS, CHECKS, Top, top_of_both
from collectors.auth.spread import MAX_RATE, SLICE, Spread
from collectors.auth.windows import FailureWindow, Pair
from zcs_exporter.contract import Grade, Record

LAG = 60
"""Seconds by which the lines of two logs may come out of order."""

MAX_FAILURES = 1_000_000
"""Most failures that are kept with address and account; others beside them count in the total only."""

_NAMED = 3
_GROWTH = 1.2
_UNKNOWN: Pair = ("", "")


@dataclass(slots=True)
class _Episode:
    """An attack under way: from when, until its last failure so far, what it was at its worst, and by whom."""

    start: int
    until: int
    peak: int = 0
    named_at: int = 0
    unnamed: int | None = None  # the second in which the top is to be looked up
    addresses: str = ""
    accounts: str = ""

    def name(self, top: Top) -> None:
        addresses = dict.fromkeys(address for (address, _), _ in top if address)
        accounts = dict.fromkeys(account for (_, account), _ in top if account)
        self.addresses = ", ".join(list(addresses)[:_NAMED])
        self.accounts = ", ".join(list(accounts)[:_NAMED])
        self.unnamed = None


class Replay:
    """Lines in the order of time, or up to ``LAG`` out of it."""

    def __init__(self, window_seconds: int, prefix: str = "past//", max_failures: int = MAX_FAILURES) -> None:
        """Start empty; ``prefix`` begins the names of the rows that keep it across a restart."""
        self._window_seconds = window_seconds
        self._prefix = prefix
        self._max_failures = max_failures
        # Those that are not judged yet and, for the next that will be, those of the window before them.
        self._failures = _Seconds(f"{prefix}seconds")
        self._admin_failures = _Seconds(f"{prefix}admin seconds")
        self._admin = FailureWindow(ADMIN_SECONDS, f"{prefix}admin", ADMIN_PAIRS)
        self._accounts = Spread(f"{prefix}accounts")
        self._addresses = Spread(f"{prefix}addresses")
        self._parts = (self._failures, self._admin_failures, self._admin, self._accounts, self._addresses)
        self._latest = 0
        self._done = 0
        self._episodes: dict[str, _Episode] = {}
        self._saved_state = ""
        self._rows: set[str] = set()

    def add(self, second: int, pairs: Sequence[Pair], *, admin: bool) -> bool:
        """Take failures of a second; False if others more than ``LAG`` later were taken before."""
        if second <= self._done:
            return False
        if self._failures.number >= self._max_failures:
            pairs = [_UNKNOWN] * len(pairs)
        self._failures.add(second, pairs)
        if admin:
            self._admin_failures.add(second, pairs)
        self._latest = max(self._latest, second)
        return True

    def attacks(self, thresholds: Mapping[str, float], *, all_told: bool = False) -> Iterator[Record]:
        """Yield the attacks that ended; with ``all_told`` no more lines come, and those under way have as well."""
        last = self._latest if all_told else self._latest - LAG - 1
        # Each look goes over the window before it again, so that small steps would cost much; large ones hold more.
        if (
            all_told
            or last - self._done >= self._window_seconds
            or self._failures.between(self._done, last) >= self._max_failures // 10
        ):
            yield from self._judge(last, thresholds)
        if all_told:
            for name, episode in self._episodes.items():
                yield _record(name, episode)
            self._episodes.clear()

    def _judge(self, last: int, thresholds: Mapping[str, float]) -> Iterator[Record]:
        """Look at the failures up to a second that were not looked at yet."""
        done, self._done = self._done, max(self._done, last)
        seconds = self._failures.until(last)
        fresh = {second: pairs for second, pairs in seconds.items() if second > done}
        if not fresh:
            return
        window, stretch = self._window_seconds, Stretch(seconds)
        for name, measure in MEASURES.items():
            if name in thresholds:
                yield from self._look(name, stretch.excesses(window, measure, thresholds[name]), done)
        if "total" in thresholds:
            yield from self._look("total", stretch.total_excesses(window, thresholds["total"]), done)
        parts = _parts(fresh)
        for name, spread, place in (("slow_spray", self._accounts, 0), ("slow_distributed", self._addresses, 1)):
            if name in thresholds:
                under_way = name in self._episodes
                found = _slow_excesses(spread, parts, place, thresholds[name], under_way=under_way)
                yield from self._look(name, found, done)
        if "admin" in thresholds:
            yield from self._look("admin", self._admin_excesses(last, thresholds["admin"]), done)
        for name, episode in list(self._episodes.items()):
            if last - episode.until > (CHECKS[name].seconds or window):
                yield _record(name, self._episodes.pop(name))
        self._failures.forget(last - window)

    def _admin_excesses(self, last: int, threshold: float) -> dict[int, int]:
        found = {}
        for second, pairs in self._admin_failures.until(last).items():
            self._admin.expire(second)
            self._admin.add(second, second, Counter(pairs))
            if self._admin.total >= threshold:
                found[second] = self._admin.total
        self._admin_failures.forget(last)
        return found

    def _look(self, name: str, found: Mapping[int, int], done: int) -> Iterator[Record]:
        """Take note of the seconds after ``done`` in which a check sees an attack."""
        window = CHECKS[name].seconds or self._window_seconds
        episode = self._episodes.get(name)
        for second in sorted(second for second in found if second > done):
            value = found[second]
            if episode is not None and second - episode.until > window:
                self._name(name, episode)
                yield _record(name, self._episodes.pop(name))
                episode = None
            if episode is None:
                episode = self._episodes[name] = _Episode(second, second)
            episode.until = second
            episode.peak = max(episode.peak, value)
            if value >= episode.named_at * _GROWTH:
                episode.named_at, episode.unnamed = value, second
        if episode is not None:
            self._name(name, episode)

    def _name(self, name: str, episode: _Episode) -> None:
        second = episode.unnamed
        if second is None:
            return
        if name == "slow_spray":
            top: Top = [((address, ""), number) for address, number in self._accounts.top(_NAMED)]
        elif name == "slow_distributed":
            top = [(("", account), number) for account, number in self._addresses.top(_NAMED)]
        elif name == "admin":
            top = top_of_both(self._admin, 2 * _NAMED)
        else:
            inside = self._failures.until(second, after=second - self._window_seconds)
            pairs = list(chain.from_iterable(inside.values()))
            measures = ("ip", "account") if name == "total" else (name,)
            top = [
                (key if isinstance(key, tuple) else ("", key) if MEASURES[measure].place else (key, ""), number)
                for measure in measures
                for key, number in MEASURES[measure].tally(pairs).most_common(_NAMED)
            ]
        episode.name(top)

    def changes(self) -> dict[str, str | None]:
        """Return the rows that changed since the last call, None for one to delete."""
        rows: dict[str, str | None] = {}
        for part in self._parts:
            rows |= part.changes()
        episodes = {name: asdict(episode) for name, episode in self._episodes.items()}
        state = json.dumps([self._window_seconds, self._latest, self._done, episodes])
        if state != self._saved_state:
            rows[f"{self._prefix}state"] = self._saved_state = state
        self._rows.update(rows)
        self._rows.difference_update(name for name, row in rows.items() if row is None)
        return rows

    def saved_rows(self) -> frozenset[str]:
        """Return the names of all rows that keep it."""
        return frozenset(self._rows)

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        for part in self._parts:
            part.restore(saved)
        self._rows.update(name for name in saved if name.startswith(self._prefix))
        self._saved_state = saved[f"{self._prefix}state"]
        self._window_seconds, self._latest, self._done, episodes = json.loads(self._saved_state)
        self._episodes = {name: _Episode(**episode) for name, episode in episodes.items()}


class _Seconds:
    """Failures by second.

    Attributes:
        number: How many there are.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.number = 0
        self._pairs: dict[int, list[Pair]] = {}
        # How many of a second's failures are in rows, and in how many; names of rows that are to be deleted.
        self._written: dict[int, tuple[int, int]] = {}
        self._changed: set[int] = set()
        self._gone: list[str] = []

    def add(self, second: int, pairs: Sequence[Pair]) -> None:
        """Take failures."""
        self._pairs.setdefault(second, []).extend(pairs)
        self.number += len(pairs)
        self._changed.add(second)

    def between(self, after: int, last: int) -> int:
        """Return how many failures there are after one second and up to another."""
        return sum(len(pairs) for second, pairs in self._pairs.items() if after < second <= last)

    def until(self, last: int, *, after: int = 0) -> dict[int, list[Pair]]:
        """Return the failures up to a second, in the order of time."""
        return {second: self._pairs[second] for second in sorted(self._pairs) if after < second <= last}

    def forget(self, last: int) -> None:
        """Forget what is not later than a second."""
        for second in [second for second in self._pairs if second <= last]:
            self.number -= len(self._pairs.pop(second))
            self._changed.discard(second)
            _, rows = self._written.pop(second, (0, 0))
            self._gone += (self._key(second, row) for row in range(rows))

    def changes(self) -> dict[str, str | None]:
        """Return a row of what each second got since the last call, and None for those of seconds that are over."""
        found: dict[str, str | None] = dict.fromkeys(self._gone)
        self._gone.clear()
        for second in self._changed:
            pairs = self._pairs[second]
            written, rows = self._written.get(second, (0, 0))
            found[self._key(second, rows)] = json.dumps(pairs[written:], separators=(",", ":"))
            self._written[second] = len(pairs), rows + 1
        self._changed.clear()
        return found

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        for name, row in saved.items():
            prefix, _, place = name.partition(":")
            if prefix == self._prefix:
                second, number = (int(part) for part in place.split(":"))
                pairs = self._pairs.setdefault(second, [])
                found = [(address, account) for address, account in json.loads(row)]
                pairs += found
                self.number += len(found)
                _, rows = self._written.get(second, (0, 0))
                self._written[second] = len(pairs), max(rows, number + 1)

    def _key(self, second: int, row: int) -> str:
        return f"{self._prefix}:{second}:{row}"


class _Part(NamedTuple):
    """The failures of those seconds that a sketch takes for one.

    Attributes:
        begin: The first second that belongs to it.
        whole: Those of which both are known.
    """

    begin: int
    seconds: dict[int, Sequence[Pair]]
    whole: list[Pair]


def _parts(seconds: Mapping[int, Sequence[Pair]]) -> list[_Part]:
    """Part failures that are in the order of time."""
    parts: dict[int, dict[int, Sequence[Pair]]] = {}
    for second, pairs in seconds.items():
        parts.setdefault(second // SLICE * SLICE, {})[second] = pairs
    return [
        _Part(begin, part, [pair for pairs in part.values() for pair in pairs if pair[0] and pair[1]])
        for begin, part in parts.items()
    ]


def _slow_excesses(
    spread: Spread, parts: Sequence[_Part], place: int, threshold: float, *, under_way: bool
) -> dict[int, int]:
    """Put failures into a sketch, and return by second its largest number of who failed then, if too large.

    The second in which an attack begins is found exactly. Of one that is ``under_way``, five minutes are as one.
    """
    found: dict[int, int] = {}
    key = itemgetter(place)
    for begin, seconds, whole in parts:
        spread.expire(begin)
        # Nobody can have more at the end of this part than at its begin and by each failure in it.
        if under_way or spread.largest + max(Counter(map(key, whole)).values(), default=0) < threshold:
            _spread(spread, begin, whole, place, MAX_RATE * len(seconds))
            largest = 0 if spread.largest < threshold else spread.most(map(key, whole))
            if largest >= threshold:
                latest = (second for second in reversed(seconds) if _most(spread, seconds[second], place) >= threshold)
                found[next(latest)] = largest
            continue
        for second, pairs in seconds.items():
            _spread(spread, second, [pair for pair in pairs if pair[0] and pair[1]], place, MAX_RATE)
            value = _most(spread, pairs, place)
            if value >= threshold:
                found[second] = value
                under_way = True
    return found


def _most(spread: Spread, pairs: Sequence[Pair], place: int) -> int:
    """Return the largest number in the sketch of those who failed with a partner that is known."""
    return spread.most(pair[place] for pair in pairs if pair[0] and pair[1])


def _spread(spread: Spread, second: int, pairs: Sequence[Pair], place: int, most: int) -> None:
    fresh = list(islice(dict.fromkeys(pairs), most))
    spread.add(second, second, map(itemgetter(place), fresh), map(itemgetter(1 - place), fresh))


def _record(name: str, episode: _Episode) -> Record:
    fields = {
        "check": name,
        "count": str(episode.peak),
        "until": datetime.fromtimestamp(episode.until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "address": episode.addresses,
        "account": episode.accounts,
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
        self._gone: set[str] = set()

    def add(self, log: str, second: int, pairs: Sequence[Pair], *, admin: bool) -> None:
        """Take failures of a second of one log."""
        if self._together is None:
            self._together = Replay(self.window_seconds)
        if self._together.add(second, pairs, admin=admin):
            return
        alone = self._alone.get(log)
        if alone is None or not alone.add(second, pairs, admin=admin):
            if alone is not None:
                # Its clock was set back.
                self._ended += alone.attacks(self.thresholds, all_told=True)
                self._gone |= alone.saved_rows()
            alone = self._alone[log] = Replay(self.window_seconds, _prefix(log))
            alone.add(second, pairs, admin=admin)

    def move_on(self) -> None:
        """Judge what can be judged, so that little waits."""
        for replay in self._all():
            self._ended += replay.attacks(self.thresholds)

    def end(self) -> None:
        """Tell all: no more lines of this kind come."""
        for replay in self._all():
            self._ended += replay.attacks(self.thresholds, all_told=True)
            self._gone |= replay.saved_rows()
        self._together = None
        self._alone.clear()

    @property
    def under_way(self) -> bool:
        """Whether there are lines that may not have been judged."""
        return self._together is not None

    def take(self) -> list[Record]:
        """Return the attacks that ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def changes(self) -> dict[str, str | None]:
        """Return the rows that changed since the last call, None for one to delete."""
        rows: dict[str, str | None] = dict.fromkeys(self._gone)
        self._gone.clear()
        for replay in self._all():
            rows |= replay.changes()
        return rows

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        for name in saved:
            match name.split("/"):
                case "past", log, "state":
                    replay = Replay(self.window_seconds, _prefix(log))
                    replay.restore(saved)
                    if log:
                        self._alone[log] = replay
                    else:
                        self._together = replay

    def _all(self) -> Iterator[Replay]:
        if self._together is not None:
            yield self._together
        yield from self._alone.values()


def _prefix(log: str) -> str:
    return f"past/{log}/"
