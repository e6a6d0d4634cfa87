"""Connections that ask nothing, never finish asking, or never read their answer: none is waited for long."""

import asyncio
import contextlib
from typing import Protocol

MOST = 200
"""Connections that may be open; one more ends the one that has been quiet longest."""

FIRST_PATIENCE = 10.0
"""Seconds until a new connection must have asked something, and until a request that has begun must be whole."""

IDLE_PATIENCE = 75.0
"""Seconds that a connection is kept for another request; more than a usual scrape interval."""

READ_PATIENCE = 30.0
"""Seconds in which an answer must have been read."""

SWEEP = 5.0
"""Seconds between two looks."""


class Connection(Protocol):
    """One of them.

    Attributes:
        since: When it became quiet, by the event loop's clock.
        patience: Seconds that it may be.
        transport: Its other side.
    """

    since: float
    patience: float
    transport: asyncio.Transport

    def busy(self) -> bool:
        """Whether it waits for us."""

    def finish(self) -> None:
        """Take no further request, and end with the answer to the present one."""


class Connections:
    """All open connections of a server.

    Attributes:
        buffer: Where the event loop puts what comes. One for all, since it is taken out before anything else happens;
            its size is what is read of one connection at once.
    """

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(16 * 1024))
        self._open: set[Connection] = set()
        self._all_gone: asyncio.Event | None = None  # once there are to be no more

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, connection: object) -> bool:
        return connection in self._open

    def add(self, connection: Connection) -> None:
        """Take a new one in, in the place of another where there are too many."""
        if len(self._open) >= MOST:
            # Those that say good-bye count too: over TLS a client may take half a minute to answer that.
            quiet = [each for each in self._open if not each.busy()]
            if quiet:
                longest = min(quiet, key=lambda each: each.since)
                self._open.discard(longest)  # it ends in the next turn; who comes until then ends another one
                longest.transport.abort()
        self._open.add(connection)
        if self._all_gone is not None:
            connection.transport.abort()

    def discard(self, connection: Connection) -> None:
        """Forget one that has ended."""
        self._open.discard(connection)
        if self._all_gone is not None and not self._open:
            self._all_gone.set()

    def sweep(self, now: float) -> None:
        """End the connections that have been quiet for too long."""
        for connection in list(self._open):
            if not connection.busy():
                unread = connection.transport.get_write_buffer_size() > 0
                if now - connection.since > (READ_PATIENCE if unread else connection.patience):
                    connection.transport.abort()

    async def watch(self) -> None:
        """Sweep for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP)
            self.sweep(loop.time())

    async def finish(self, patience: float) -> None:
        """End all: those that wait for nothing at once, the others when they are answered or patience is over."""
        self._all_gone = asyncio.Event()
        for connection in list(self._open):
            connection.finish()
        if self._open:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._all_gone.wait()
        for connection in list(self._open):
            connection.transport.abort()
