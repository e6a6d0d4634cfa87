"""Who we are to an SNMPv3 receiver: engine id, boots and engine time.

A receiver drops, without a word to anyone, what carries a known engine id with fewer boots, or with
the same boots and an earlier time. So the id lives as long as the state directory, boots only rise,
and engine time only runs forward.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from zcs_exporter.contract import Clock

_EPOCH_2024 = 1_704_067_200
_LATCHED = 2**31 - 1
_LAST_BY_CLOCK = _LATCHED - 2**20
_NET_SNMP = 8072


def new_engine_id(random: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """Return a fresh engine id in the form of RFC 3411, 5: enterprise, format 5 (octets), twelve random octets.

    The caller stores it with the rest of the state. A lost state directory makes a new id: the old
    one with fewer boots would be dropped by every receiver that remembers it.
    """
    return (0x80000000 | _NET_SNMP).to_bytes(4) + b"\x05" + random(12)


def next_boots(saved: int, wall: float) -> int:
    """Return the boots of a starting daemon; save them before the first message leaves.

    They are the seconds since 2024 and at least one more than the saved value: a state directory
    that was rolled back to an older copy cannot repeat boots, and neither can a clock set back.

    Args:
        saved: Boots of the last start, 0 at the first.
        wall: Seconds since the epoch.

    Raises:
        ValueError: The engine id is used up; make a new one and start again from 0.
    """
    if saved >= _LATCHED - 1:
        raise ValueError(f"boots have reached {saved}, the most that SNMPv3 has; a new engine id is needed")
    # A clock far in the future must not eat up all boots at once; 2092 is the end of this scheme.
    by_clock = int(wall) - _EPOCH_2024
    return max(saved + 1, 1, by_clock if by_clock <= _LAST_BY_CLOCK else 0)


class ForwardClock:
    """Seconds since it was made, never fewer than before and never slower than real time.

    Each look adds what passed on the faster of both clocks: the wall clock counts the time that a
    virtual machine was suspended, which the monotonic clock misses, and may be set back, which the
    monotonic clock ignores. Running ahead is harmless, for a receiver follows.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall = clock.wall()
        self._monotonic = clock.monotonic()
        self._elapsed = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        self._elapsed += max(wall - self._wall, monotonic - self._monotonic)
        self._wall, self._monotonic = wall, monotonic
        return self._elapsed


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """One daemon's identity, shared by everything in it that speaks SNMP.

    Attributes:
        engine_id: From ``new_engine_id``.
        boots: From ``next_boots``, already saved.
        clock: Seconds since the daemon's start, as a ``ForwardClock`` gives them.
    """

    engine_id: bytes
    boots: int
    clock: Callable[[], float]

    @property
    def engine_time(self) -> int:
        """Seconds since boots last changed."""
        return min(int(self.clock()), _LATCHED)

    @property
    def up_time(self) -> int:
        """The daemon's sysUpTime in hundredths of a second, which wraps after 497 days."""
        return int(self.clock() * 100) % 2**32
