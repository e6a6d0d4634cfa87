"""Takes connections in, over TLS where there is a context for it."""

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable

from zcs_exporter.expose.server.connections import MOST, READ_PATIENCE

log = logging.getLogger(__name__)

HANDSHAKE_PATIENCE = 10.0
"""Seconds in which a client must have agreed on TLS with us."""

MOST_ARRIVING = 50
"""Connections that may be agreeing; one more ends the oldest. The kernel lets the others wait."""

_PAUSE = 1.0
"""Seconds until another try when there are no more file descriptors."""


class Door:
    """A listening socket.

    Attributes:
        port: Where it listens.
    """

    def __init__(
        self,
        host: str,
        port: int,
        protocol: Callable[[], asyncio.BufferedProtocol],
        tls: Callable[[], ssl.SSLContext | None],
    ) -> None:
        """Bind the address, but do not listen yet.

        Args:
            host: An address.
            port: 0 for any that is free.
            protocol: Makes what takes a connection over.
            tls: The context for a new connection; None for none.

        Raises:
            OSError: The address cannot be had.
        """
        self._protocol = protocol
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._arriving: dict[asyncio.Task[None], None] = {}  # in order
        self._starving = False
        self._retry: asyncio.TimerHandle | None = None
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    def open(self) -> None:
        """Listen."""
        self._socket.listen(MOST)
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Let nobody in any more. Who is arriving just now, ``Connections`` sends away."""
        if self._retry is not None:
            self._retry.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return  # it has gone again
        except OSError as exc:
            if not self._starving:
                log.warning("web: no connection can be accepted: %s; trying again every second", exc.strerror)
            self._starving = True
            self._loop.remove_reader(self._socket)
            self._retry = self._loop.call_later(_PAUSE, self._loop.add_reader, self._socket, self._accept)
            return
        connection.setblocking(False)
        self._starving = False
        if len(self._arriving) >= MOST_ARRIVING:
            oldest = next(iter(self._arriving))
            del self._arriving[oldest]
            oldest.cancel()
        task = self._loop.create_task(self._welcome(connection))
        self._arriving[task] = None
        task.add_done_callback(lambda done: self._arriving.pop(done, None))

    async def _welcome(self, connection: socket.socket) -> None:
        tls = self._tls()
        try:
            await self._loop.connect_accepted_socket(
                self._protocol,
                connection,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_PATIENCE if tls else None,
                ssl_shutdown_timeout=READ_PATIENCE if tls else None,
            )
        except OSError as exc:
            log.debug("web: a connection was not made: %s", exc)
