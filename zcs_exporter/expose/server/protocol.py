"""One connection of an HTTP/1.1 client, from its first byte to its last.

A request is answered before the next one is looked at, and none is while the client does not read the answers it has.
Meanwhile no more is read from it than has come already: that bounds what it can have us keep.

At the end only our half of the connection is closed at first. Whoever still sends would otherwise lose the answer to
the reset that the kernel sends when something unread is thrown away.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Protocol

from zcs_exporter.expose.server.connections import FIRST_PATIENCE, IDLE_PATIENCE, Connections
from zcs_exporter.expose.server.message import REASONS, Request, Response, Stream, render_head, text
from zcs_exporter.expose.server.reader import BadRequest, RequestReader

log = logging.getLogger(__name__)

LINGER = 1.0
"""Seconds that a client gets to read our last words and hang up."""


class Application(Protocol):
    """What answers the requests of all connections."""

    def answer(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """Return the response, at once where that is possible."""

    def headers(self, response: Response) -> Mapping[str, str]:
        """Return the headers of a response, those of every response among them."""


class HttpProtocol(asyncio.BufferedProtocol):
    """One connection.

    Attributes:
        transport: Its other side.
        since: When it began to wait for the client, by the event loop's clock.
        patience: Seconds that it waits.
    """

    transport: asyncio.Transport

    def __init__(self, app: Application, connections: Connections) -> None:
        """Prepare for a connection that ``connections`` looks after."""
        self._app = app
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self.since = self._loop.time()
        self.patience = FIRST_PATIENCE
        self._reader: RequestReader
        self._work: asyncio.Task[Any] | None = None  # makes the present answer
        self._choked = False  # the client does not read what we write
        self._last = False  # the present answer is the last one
        self._over = False  # the last one has been given
        self._sends_on = False  # the client sends what nobody will read
        self._chunked = False  # the present stream
        self._may_write: asyncio.Future[None] | None = None
        self._hang_up: asyncio.TimerHandle | None = None

    def busy(self) -> bool:
        """Whether it waits for us and not for the client."""
        return self._work is not None

    def finish(self) -> None:
        """Take no further request, and end with the answer to the present one."""
        self._last = True
        if self._work is None:
            self._over = True
            self.transport.close()

    # What the event loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - it is one of a stream
        self.transport = transport
        self._reader = RequestReader(transport)
        self._connections.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Give up what was done for the client."""
        self._over = True
        self._connections.discard(self)
        if self._hang_up is not None:
            self._hang_up.cancel()
        if self._work is not None:
            self._work.cancel()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return where to put what comes next."""
        return self._connections.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Go on with what has come; after the last answer it is dropped."""
        if not self._over:
            self._reader.feed(bytes(self._connections.buffer[:nbytes]))
            self._go_on()

    def pause_writing(self) -> None:
        """Wait: the client does not read as fast as we write."""
        self._choked = True

    def resume_writing(self) -> None:
        """Go on: it has read."""
        self._choked = False
        if self._may_write is not None and not self._may_write.done():
            self._may_write.set_result(None)
        self._loop.call_soon(self._go_on)

    # Requests and answers

    def _is_free(self) -> bool:
        return not (self._over or self._choked or self._work)

    def _go_on(self) -> None:
        """Answer the next request, if it is there and it is its turn."""
        if self._is_free():
            self._next()
        if self._over or not self._reader.has_more:
            self.transport.resume_reading()
            return
        self.transport.pause_reading()
        if self._is_free():
            # In a turn of its own: thousands in one packet must not hold up everybody else.
            self._loop.call_soon(self._go_on)

    def _next(self) -> None:
        begun = self._reader.begun
        try:
            request = self._reader.take()
        except BadRequest as exc:
            self._sends_on = True
            nobody = Request("GET", "/", "", {}, self.transport, keep_alive=False)
            self._give(nobody, text(f"{exc.status} {REASONS[exc.status]}", exc.status))
            return
        if request is not None:
            self._answer(request)
        elif self._reader.begun and not begun:
            self.since, self.patience = self._loop.time(), FIRST_PATIENCE
        if self._reader.wants_word:
            self._reader.wants_word = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _answer(self, request: Request) -> None:
        try:
            answer = self._app.answer(request)
            if isinstance(answer, Response):
                self._give(request, answer)
            else:
                self._do(answer, partial(self._answered, request))
        except Exception as exc:  # noqa: BLE001 - logged there
            self._give_up(request, exc)

    def _do(self, work: Coroutine[Any, Any, Any], then: Callable[[asyncio.Task[Any]], None]) -> None:
        self._work = self._loop.create_task(work)
        self._work.add_done_callback(then)

    def _answered(self, request: Request, work: asyncio.Task[Response]) -> None:
        self._work = None
        try:
            response = work.result()
            if self._over:
                response.ended()
            else:
                self._give(request, response)
        except asyncio.CancelledError:
            self.transport.abort()
        except Exception as exc:  # noqa: BLE001 - logged there
            self._give_up(request, exc)
        self._go_on()

    def _give(self, request: Request, response: Response) -> None:
        close = self._last or response.close or not request.keep_alive or isinstance(response, Stream)
        headers = dict(self._app.headers(response))
        if close:
            headers["Connection"] = "close"
        elif request.version == "1.0":
            headers["Connection"] = "keep-alive"
        if not isinstance(response, Stream):
            headers["Content-Length"] = str(len(response.body))
        elif request.method != "HEAD":
            self._over = True
            self._do(self._pour(request, response, headers), partial(self._poured, request, response))
            return
        head = render_head(response.status, headers.items())
        self.transport.write(head if request.method == "HEAD" else head + response.body)
        self.since, self.patience = self._loop.time(), IDLE_PATIENCE
        if close:
            self._end()

    async def _pour(self, request: Request, stream: Stream, headers: dict[str, str]) -> None:
        self._chunked = request.version != "1.0"
        if self._chunked:
            headers["Transfer-Encoding"] = "chunked"
        self.transport.write(render_head(stream.status, headers.items()))
        await stream.pour(self)
        if self._chunked:
            self.transport.write(b"0\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """Write a part of a stream, and wait while the client has not read what came before."""
        if data:
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if self._choked:
            self._may_write = self._loop.create_future()
            await self._may_write

    def _poured(self, request: Request, stream: Stream, work: asyncio.Task[None]) -> None:
        self._work = None
        stream.ended()
        self.since, self.patience = self._loop.time(), IDLE_PATIENCE
        try:
            work.result()
            self._end()
        except (asyncio.CancelledError, TimeoutError):
            self.transport.abort()  # the client has gone or does not read
        except Exception as exc:  # noqa: BLE001 - logged there
            self._give_up(request, exc)

    def _end(self) -> None:
        self._over = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        elif not self._sends_on:
            self.transport.close()  # TLS has no half: it says good-bye and waits for the client's
            return
        self._hang_up = self._loop.call_later(LINGER, self.transport.close)

    def _give_up(self, request: Request, exc: Exception) -> None:
        # The path alone: a query may hold the token.
        log.error("web: bug while answering %s %s", request.method, request.path, exc_info=exc)
        self.transport.abort()
