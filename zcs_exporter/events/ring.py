"""The last events in memory, numbered, for streams that follow them or come back."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from zcs_exporter.contract import Clock
from zcs_exporter.events.entry import Entry, News

KEPT = 1000
"""Events that a stream which comes back can still get."""


class Ring:
    """Gives every event its number and keeps the last ones.

    Readers remember the number of the last event that they took, so none of them costs any memory here.

    Attributes:
        newest: Number of the last event; before the first one, a number below its.
    """

    def __init__(self, clock: Clock) -> None:
        # Microseconds since the epoch: a later process begins above what this one reaches, and JavaScript's
        # numbers still hold it.
        self.newest = self._origin = int(clock.wall() * 1e6)
        self._kept: deque[Entry] = deque(maxlen=KEPT)
        self._listeners: set[asyncio.Event] = set()

    def add(self, host: str, news: Sequence[News]) -> list[Entry]:
        """Number what happened and wake who listens."""
        entries = [Entry(number, host, each) for number, each in enumerate(news, start=self.newest + 1)]
        self.newest += len(entries)
        self._kept.extend(entries)
        for listener in self._listeners:
            listener.set()
        return entries

    @property
    def before(self) -> int:
        """The number below that of the oldest event which is still here."""
        return self.newest - len(self._kept)

    def knows(self, number: int) -> bool:
        """Whether this process gave the number, so that what came after it can be told."""
        return self._origin <= number <= self.newest

    def after(self, number: int, most: int) -> list[Entry]:
        """Return the events above ``number`` that are still here, oldest first, at most so many."""
        start = max(0, number - self.before)
        return list(islice(self._kept, start, start + most))

    @contextmanager
    def waking(self, listener: asyncio.Event) -> Iterator[None]:
        """Have ``listener`` set whenever there is something new."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)
