"""What stands before the decoder of datagrams: a hostile one can hold the event loop for half a second."""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from zcs_exporter.contract import Clock

MAX_DATAGRAM = 1500
"""Longer datagrams are dropped unread, in octets."""


class Doubt(StrEnum):
    """What keeps a message of version 3 from proving who sent it."""

    ENGINE = "engine"
    USER = "user"
    KEY = "key"
    TIME = "time"
    SECURITY = "security"


class Door(Protocol):
    """Decides which datagrams are decoded, and hears what became of them."""

    def admits(self, datagram: bytes, source: str) -> bool:
        """Return whether a datagram that has just come from an address may be decoded."""
        ...

    def failed(self, source: str) -> None:
        """Count a datagram that the decoder failed on."""
        ...

    def crowded_out(self, source: str) -> None:
        """Count a datagram that was admitted and found too many of its sender waiting."""
        ...

    def sent(self, octets: int, source: str) -> None:
        """Count what was sent to an address."""
        ...


class Gate:
    """Lets a datagram through to the decoder, or not: by its length and by a token bucket.

    Attributes:
        dropped: Datagrams that were not let through.
        malformed: Datagrams that the decoder failed on.
    """

    def __init__(
        self, clock: Clock, rate: float, burst: int, full: Callable[[], bool] = lambda: False, answers: int = 0
    ) -> None:
        """Allow ``rate`` datagrams a second and ``burst`` at once, and none while the reader's queue is ``full``.

        For each datagram that we send, ``answers`` more may come.
        """
        self._full = full
        self._answers = answers
        self._bucket = Bucket(clock, rate, burst)
        self.dropped = 0
        self.malformed = 0

    def admits(self, datagram: bytes, source: str) -> bool:
        """Return whether a datagram that has just come may be decoded."""
        if len(datagram) > MAX_DATAGRAM or self._bucket.left() < 1 or self._full():
            self.dropped += 1
            return False
        self._bucket.take(1)
        return True

    def failed(self, source: str) -> None:
        """Count a datagram that the decoder failed on."""
        self.malformed += 1

    def crowded_out(self, source: str) -> None:
        """Count a datagram for which there was no room."""
        self.dropped += 1

    def sent(self, octets: int, source: str) -> None:
        """Expect the answers to what was sent."""
        self._bucket.take(-self._answers)


class Bucket:
    """Fills at an even rate up to a limit; what was taken beyond what it held is owed."""

    def __init__(self, clock: Clock, rate: float, size: float) -> None:
        """Begin full, with ``size``, and gain ``rate`` a second."""
        self._clock = clock
        self._rate = rate
        self._size = float(size)
        self._level = float(size)
        self._filled = clock.monotonic()

    def left(self) -> float:
        """Return what it holds now; below 0 where more was taken."""
        now = self._clock.monotonic()
        self._level = min(self._size, self._level + (now - self._filled) * self._rate)
        self._filled = now
        return self._level

    def take(self, amount: float) -> None:
        """Take out an amount."""
        self._level -= amount
