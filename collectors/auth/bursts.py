"""Finds the seconds in which failures of a sliding window become too many.

Most failures are forgotten passwords. So each number is held first against the most that it could be, what the
whole stretch of time holds, and only those who could be too many are looked at failure by failure.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from collectors.auth.windows import Pair

Key = Pair | str
"""Who is counted: an address with an account, or one of them."""


class Measure(NamedTuple):
    """What is counted.

    Attributes:
        place: Of whom: 0 addresses, 1 accounts, None both together.
        known: Only failures of which both are known.
        different: Not failures, but how many different partners they have.
    """

    place: int | None
    known: bool = False
    different: bool = False

    def tally(self, pairs: Iterable[Pair]) -> Counter[Key]:
        """Return the number of each in failures."""
        if self.known:
            pairs = [pair for pair in pairs if pair[0] and pair[1]]
        if self.different:
            pairs = set(pairs)
        found: Counter[Key] = Counter(pairs if self.place is None else map(itemgetter(self.place), pairs))
        found.pop("", None)
        return found


MEASURES = {
    "ip_account": Measure(None, known=True),
    "account": Measure(1),
    "ip": Measure(0),
    "spray": Measure(0, known=True, different=True),
    "distributed": Measure(1, known=True, different=True),
}
"""By the name of the check."""


class Stretch:
    """Failures by second, in the order of time."""

    def __init__(self, seconds: Mapping[int, Collection[Pair]]) -> None:
        """Take them."""
        self._seconds = seconds
        self._pairs = list(chain.from_iterable(seconds.values()))
        self._most: dict[int, int] = {}

    def excesses(self, window: int, measure: Measure, threshold: float) -> dict[int, int]:
        """Return by second the largest number that its failures bring to ``threshold`` or more.

        Args:
            window: Seconds that a number looks back, the second itself included.
            measure: What is counted.
            threshold: From which number on it is too many.
        """
        found: dict[int, int] = {}
        many = self._many(measure, threshold)
        if not many:
            return found
        recent: defaultdict[Key, _Recent] = defaultdict(lambda: _Recent(window))
        for second, pairs in self._seconds.items():
            for pair in pairs:
                if measure.known and not (pair[0] and pair[1]):
                    continue
                key = pair if measure.place is None else pair[measure.place]
                if key in many:
                    number = recent[key].add(second, pair if measure.different else None)
                    if number >= threshold and number > found.get(second, 0):
                        found[second] = number
        return found

    def _many(self, measure: Measure, threshold: float) -> set[Key]:
        # Nobody has more partners than failures, nor more failures with one partner than in all.
        places = (0, 1) if measure.place is None else (measure.place,)
        if any(self._most_of(place) < threshold for place in places):
            return set()
        return {key for key, times in measure.tally(self._pairs).items() if times >= threshold}

    def _most_of(self, place: int) -> int:
        """Return the most failures of one address or one account."""
        if place not in self._most:
            self._most[place] = max(Measure(place).tally(self._pairs).values(), default=0)
        return self._most[place]

    def total_excesses(self, window: int, threshold: float) -> dict[int, int]:
        """Return by second how many failures there are in all, where they are ``threshold`` or more."""
        recent: deque[tuple[int, int]] = deque()
        total = 0
        found: dict[int, int] = {}
        if len(self._pairs) < threshold:
            return found
        for second, pairs in self._seconds.items():
            recent.append((second, len(pairs)))
            total += len(pairs)
            while recent[0][0] <= second - window:
                total -= recent.popleft()[1]
            if total >= threshold:
                found[second] = total
        return found


class _Recent:
    """The failures of one who may have too many, inside a window that moves with them."""

    __slots__ = ("_different", "_failures", "_window")

    def __init__(self, window: int) -> None:
        self._window = window
        self._failures: deque[tuple[int, Pair | None]] = deque()
        self._different: Counter[Pair] = Counter()

    def add(self, second: int, pair: Pair | None) -> int:
        """Return how many failures there are now, or different pairs where pairs are given."""
        failures, different = self._failures, self._different
        failures.append((second, pair))
        if pair is not None:
            different[pair] += 1
        while failures[0][0] <= second - self._window:
            _, over = failures.popleft()
            if over is not None:
                different[over] -= 1
                if not different[over]:
                    del different[over]
        return len(failures) if pair is None else len(different)
