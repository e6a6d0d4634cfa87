"""Connections that ask nothing, never finish asking, or never read their answer: none is waited for long."""

import asyncio

from zcs_exporter.expose.server_side import web

MOST = 200
"""Connections that may be open; one more ends the one that has been quiet longest."""

FIRST_PATIENCE = 10.0
"""Seconds until a new connection must have asked something."""

IDLE_PATIENCE = 75.0
"""Seconds that a connection is kept for another request; more than a usual scrape interval."""

READ_PATIENCE = 30.0
"""Seconds in which an answer must have been read."""

SWEEP = 5.0
"""Seconds between two looks."""


class Connections:
    """All open connections of a server, and since when each has been quiet."""

    def __init__(self, server: web.Server) -> None:
        self._server = server
        self._busy: set[web.RequestHandler] = set()
        self._quiet: dict[web.RequestHandler, tuple[float, float]] = {}

    def protocol(self) -> web.RequestHandler:
        """Return the protocol for a new connection."""
        if len(self._server.connections) >= MOST:
            self._drop_quietest()
        return self._server()

    def begin(self, connection: web.RequestHandler) -> None:
        """Note that a request is being answered."""
        self._quiet.pop(connection, None)
        self._busy.add(connection)

    def end(self, connection: web.RequestHandler, now: float) -> None:
        """Note that the answer is on its way."""
        self._busy.discard(connection)
        self._quiet[connection] = (now, IDLE_PATIENCE)

    def sweep(self, now: float) -> None:
        """End the connections that have been quiet for too long."""
        former, self._quiet = self._quiet, {}
        for connection in self._server.connections:
            if connection in self._busy:
                continue
            since, patience = self._quiet[connection] = former.get(connection, (now, FIRST_PATIENCE))
            if now - since > (READ_PATIENCE if _is_unread(connection) else patience):
                _abort(connection)

    async def watch(self) -> None:
        """Sweep for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP)
            self.sweep(loop.time())

    def abort_all(self) -> None:
        """End every connection at once."""
        for connection in self._server.connections:
            _abort(connection)

    def _drop_quietest(self) -> None:
        newest = (float("inf"), 0.0)
        quiet = [connection for connection in self._server.connections if connection not in self._busy]
        if quiet:
            _abort(min(quiet, key=lambda connection: self._quiet.get(connection, newest)))


def _is_unread(connection: web.RequestHandler) -> bool:
    transport = connection.transport
    return isinstance(transport, asyncio.WriteTransport) and transport.get_write_buffer_size() > 0


def _abort(connection: web.RequestHandler) -> None:
    if isinstance(connection.transport, asyncio.WriteTransport):
        connection.transport.abort()
