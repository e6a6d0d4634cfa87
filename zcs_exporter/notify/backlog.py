"""What one target has not got yet, and what of it is given up first when it becomes too much.

A message that was tried keeps its place and its sequence number: it may have arrived, and a number that is
skipped would look like a loss. The others may be folded into one that is told anyway, or be dropped.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby

from zcs_exporter.alerting.alarm import Change
from zcs_exporter.alerting.model import Severity
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.state import Delivery

MOST_MESSAGES = 10_000
"""Messages that may wait for one target."""

MOST_OCTETS = 20 << 20
"""Octets that they may take as they are stored."""

SPARE_ROOM = 0.99
"""Share that is filled again after something was dropped, so that not every further message looks for another."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A message in the backlog.

    Attributes:
        since: When it happened, by a clock that does not step.
        octets: How much room it takes.
        spared: It waited while its target did not answer, so that it was not sent is nobody's haste.
        stumbles: Attempts that a bug ended.
        unheard: It counts the raise of its alarm, of which the target was never told.
    """

    delivery: Delivery
    since: float
    octets: int
    spared: bool = False
    stumbles: int = 0
    unheard: bool = False

    @property
    def message(self) -> Message:
        """What is told."""
        return self.delivery.message

    @property
    def tried(self) -> bool:
        """Whether it has a sequence number, so that it may have arrived."""
        return self.delivery.sequence is not None

    def number(self, sequence: int) -> None:
        """Give it the sequence number under which it is sent from now on."""
        self.delivery = replace(self.delivery, sequence=sequence)

    def stand_for(self, gone: Collection["Waiting"]) -> None:
        """Have it count other messages that are not told, and what they counted."""
        alarm = [each for each in gone if each.message.alarm_id == self.message.alarm_id]
        self.unheard |= any(each.unheard or each.message.change is Change.RAISED for each in alarm)
        count = sum(1 + each.delivery.folded for each in gone)
        self.delivery = replace(self.delivery, folded=self.delivery.folded + count)


class Backlog:
    """What waits for one target, oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[int, Waiting] = {}
        self._octets = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    @property
    def head(self) -> Waiting | None:
        """The next one to be sent."""
        return next(iter(self), None)

    def add(self, delivery: Delivery, since: float, *, spared: bool) -> Waiting:
        """Add a message at the end and return its entry."""
        octets = len(json.dumps(delivery.message.to_json()))
        waiting = self._waiting[delivery.number] = Waiting(delivery, since, octets, spared)
        self._octets += octets
        return waiting

    def remove(self, gone: Iterable[Waiting]) -> None:
        """Take messages out."""
        for each in gone:
            if self._waiting.pop(each.delivery.number, None) is not None:
                self._octets -= each.octets

    def spare(self) -> None:
        """Have what waits now not be folded for want of pace: its target does not answer."""
        for each in self:
            each.spared = True

    def expired(self, before: float) -> list[Waiting]:
        """Return what happened before then, but no clear whose raise was told: its receiver would show it for ever."""
        old = [each for each in self if each.since < before]
        if not old:
            return []
        pairs = _pairs(each for each in self if not each.tried)
        return [
            each
            for each in old
            if each.message.change is not Change.CLEARED or each.unheard or each.message.alarm_id in pairs
        ]

    def superseded(self, before: float) -> list[tuple[list[Waiting], Waiting]]:
        """Return messages about alarms whose state is not what it was then, each group with the one that tells more.

        What is left of an alarm's story is its last state, with a clear before it if the receiver was told of an
        alarm that is over, and whatever happened after ``before``.
        """
        folds = []
        for story in self._stories():
            carried: list[Waiting] = []
            for each, goes in _outdated(story, before):
                if goes:
                    carried.append(each)
                elif carried:
                    folds.append((carried, each))
                    carried = []
        return folds

    def excess(self, most: int) -> list[Waiting]:
        """Return what to fold into a count so that ``most`` messages are left, raises of critical alarms last.

        The newest go first: what is left is told soonest. A clear whose raise was told is never among them.
        """
        candidates = [each for each in reversed(self._waiting.values()) if _may_go(each) and not each.spared]
        pairs = _pairs(candidates)
        grave = {each.message.alarm_id for each in candidates if each.message.severity is Severity.CRITICAL}

        def rank(message: Message) -> int | None:
            critical = message.alarm_id in grave or message.severity is Severity.CRITICAL
            if message.change is Change.REPEATED:
                return 0
            if message.alarm_id in pairs:
                return 4 if critical else 1
            if message.change is Change.CLEARED:
                return None
            if message.change is None:
                return 2
            return 5 if critical else 3

        return _choose(candidates, rank, pairs, len(self) - most)

    def overflow(self) -> list[Waiting]:
        """Return what to drop for want of room: repeats, then the oldest pairs of raise and clear, then the oldest."""
        if len(self) <= MOST_MESSAGES and self._octets <= MOST_OCTETS:
            return []
        candidates = [each for each in self if _may_go(each)]
        pairs = _pairs(candidates)

        def rank(message: Message) -> int:
            if message.change is Change.REPEATED:
                return 0
            return 1 if message.alarm_id in pairs else 2

        many = len(self) - int(MOST_MESSAGES * SPARE_ROOM) if len(self) > MOST_MESSAGES else 0
        octets = self._octets - int(MOST_OCTETS * SPARE_ROOM) if self._octets > MOST_OCTETS else 0
        return _choose(candidates, rank, pairs, many, octets)

    def _stories(self) -> Iterator[list[Waiting]]:
        """Yield what waits and was not tried about each alarm that has more than one such message, in order."""
        by_key: dict[str, list[Waiting]] = {}
        for each in self:
            if each.message.key and not each.tried:
                by_key.setdefault(each.message.key, []).append(each)
        return (story for story in by_key.values() if len(story) > 1)


def _may_go(waiting: Waiting) -> bool:
    return not waiting.tried and waiting.message.kind is not MessageKind.SUPPRESSED


def _pairs(waiting: Iterable[Waiting]) -> frozenset[int]:
    """Return the alarms whose raise and clear are both among these."""
    told = {(each.message.change, each.message.alarm_id) for each in waiting}
    return frozenset(number for change, number in told if change is Change.RAISED and (Change.CLEARED, number) in told)


def _outdated(story: list[Waiting], before: float) -> Iterator[tuple[Waiting, bool]]:
    """Yield the messages about one alarm, each with whether a later one makes it superfluous."""
    alarms = [list(told) for _, told in groupby(story, lambda each: each.message.alarm_id)]
    for alarm in alarms:
        known = alarm[0].message.change is not Change.RAISED
        for each, following in zip(alarm, [*alarm[1:], None], strict=True):
            if each.since > before:
                goes = False
            elif following is None:
                goes = alarm is not alarms[-1] and not known
            else:
                goes = following.message.change is not Change.CLEARED or following.since <= before
            yield each, goes


def _choose(
    candidates: Iterable[Waiting],
    rank: Callable[[Message], int | None],
    pairs: Collection[int],
    many: int,
    octets: int = 0,
) -> list[Waiting]:
    """Return as many candidates as are wanted, by rank, those without one never, and no raise without its clear."""
    ranked: dict[int, list[Waiting]] = {}
    together: dict[int, list[Waiting]] = {}
    for each in candidates:
        place = rank(each.message)
        if place is not None:
            ranked.setdefault(place, []).append(each)
        if each.message.alarm_id in pairs and each.message.change is not Change.REPEATED:
            together.setdefault(each.message.alarm_id, []).append(each)
    chosen: dict[int, Waiting] = {}
    for each in chain.from_iterable(ranked[place] for place in sorted(ranked)):
        if len(chosen) >= many and octets <= 0:
            break
        alone = each.message.change is Change.REPEATED
        for one in [each] if alone else together.get(each.message.alarm_id, [each]):
            if one.delivery.number not in chosen:
                chosen[one.delivery.number] = one
                octets -= one.octets
    return list(chosen.values())
