"""Takes what arrives at the trap listener: puts the copies of one notification together, and knows what stands."""

import asyncio
import contextlib
from collections.abc import AsyncIterable, Callable

from zcs_exporter.snmp.listener import Received

_TOGETHER = 0.3
"""Seconds that a notification waits for its copy by another way."""


class Inbox:
    """What receivers know.

    Attributes:
        received: Every notification of ours so far, in order of arrival, copies included.
    """

    def __init__(self, ways: int, show: Callable[[list[Received]], None]) -> None:
        """Expect each notification by ``ways`` ways, and ``show`` all copies of each."""
        self._ways = ways
        self._show = show
        self._copies: dict[str, list[Received]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._standing: set[tuple[str, str]] = set()
        self._news = asyncio.Event()
        self.received: list[Received] = []

    async def take(self, arrivals: AsyncIterable[Received]) -> None:
        """Take for ever what arrives."""
        async for received in arrivals:
            self.put(received)

    def put(self, received: Received) -> None:
        """Take one notification."""
        told = received.notification
        if told is None:
            return
        self.received.append(received)
        if told.type_name.endswith("Raised"):
            self._standing.add((told.rule, told.object))
        elif told.type_name.endswith("Cleared"):
            self._standing.discard((told.rule, told.object))
        self._news.set()
        copies = self._copies.setdefault(told.event_id, [])
        copies.append(received)
        if len(copies) >= self._ways:
            self._flush(told.event_id)
        elif len(copies) == 1:
            self._timers[told.event_id] = asyncio.get_running_loop().call_later(_TOGETHER, self._flush, told.event_id)

    def flush(self) -> None:
        """Show what still waits for a copy."""
        for event_id in list(self._copies):
            self._flush(event_id)

    async def told(self, alert: str, patience: float, *, raised: bool) -> bool:
        """Wait until an alarm of this alert stands, or none does; False if that does not come about in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while any(name == alert for name, _ in self._standing) is not raised:
                    self._news.clear()
                    await self._news.wait()
                return True
        return False

    def _flush(self, event_id: str) -> None:
        if timer := self._timers.pop(event_id, None):
            timer.cancel()
        if copies := self._copies.pop(event_id, None):
            self._show(copies)
