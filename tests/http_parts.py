"""An application for the HTTP server, the server on a real socket, and a raw client."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from httptools import HttpResponseParser

from zcs_exporter.expose.server.connections import Connections
from zcs_exporter.expose.server.door import Door
from zcs_exporter.expose.server.message import Request, Response, Sink, Stream, text
from zcs_exporter.expose.server.protocol import HttpProtocol
from zcs_exporter.expose.server.routes import Answer, Later, Routes

BIG = b"0123456789abcdef" * 65536


class Ticker(Stream):
    """Sends what it is given until it is given nothing."""

    def __init__(self, app: "App") -> None:
        super().__init__(headers={"Content-Type": "text/event-stream"})
        self.app = app
        self.parts: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = 0

    async def pour(self, sink: Sink) -> None:
        while part := await self.parts.get():
            async with asyncio.timeout(5):
                await sink.send(part)
            self.sent += len(part)

    def ended(self) -> None:
        self.app.ended.append(self)


@dataclass
class App:
    """An application that shows what it was asked."""

    asked: list[Request] = field(default_factory=list)
    streams: list[Ticker] = field(default_factory=list)
    ended: list[Ticker] = field(default_factory=list)
    given_up: int = 0
    go: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    bad_headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.routes = Routes(
            {
                "GET /": lambda request: text(request.query_string or "root"),
                "POST /": lambda _: text("posted"),
                "GET /big": lambda _: Response(BIG),
                "GET /last": lambda _: Response(b"bye", close=True),
                "GET /slow": self.slow,
                "GET /bug": self.bug,
                "GET /late-answer": lambda _: self.late_answer,
                "GET /late-bug": lambda _: self.late_bug,
                "GET /split": lambda request: Response(headers={"X-Echo": request.query()["x"][0]}),
                "GET /stream": self.stream,
            }
        )

    def answer(self, request: Request) -> Any:
        self.asked.append(request)
        answer: Answer = self.routes.answer(request)
        return answer if isinstance(answer, Response) else answer()

    def headers(self, response: Response) -> dict[str, str]:
        return {"Server": "test", **response.headers, **self.bad_headers}

    def slow(self, request: Request) -> Later:
        async def wait() -> Response:
            try:
                await self.go.acquire()
            except asyncio.CancelledError:
                self.given_up += 1
                raise
            return text(request.query_string or "slow")

        return wait

    def bug(self, _request: Request) -> Response:
        raise RuntimeError("a bug")

    async def late_answer(self) -> Response:
        await asyncio.sleep(0)
        return text("late")

    async def late_bug(self) -> Response:
        raise RuntimeError("a bug")

    def stream(self, _request: Request) -> Response:
        self.streams.append(Ticker(self))
        return self.streams[-1]


@dataclass
class Told:
    """One response, as llhttp understands it."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    whole: bool = False


def responses(data: bytes, *heads: int) -> list[Told]:
    """Parse responses; ``heads`` are the places of those to HEAD, which have no body."""
    found: list[Told] = []
    while data:
        told, data = _one(data, has_body=len(found) not in heads)
        found.append(told)
    return found


def _one(data: bytes, *, has_body: bool) -> tuple[Told, bytes]:
    head, separator, rest = data.partition(b"\r\n\r\n")
    told = _head(head)
    if told.status == 100 or not has_body:
        told.whole = bool(separator)
    elif told.headers.get("transfer-encoding") == "chunked":
        length = -1
        while rest and length:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            told.body += rest[:length]
            told.whole = not length and rest[:2] == b"\r\n"
            rest = rest[length + 2 :]
    elif "content-length" in told.headers:
        length = int(told.headers["content-length"])
        told.body, told.whole = rest[:length], len(rest) >= length
        rest = rest[length:]
    else:
        told.body, rest = rest, b""
    return told, rest


def _head(head: bytes) -> Told:
    """Have llhttp, not us, judge the head."""
    heads: list[Told] = []

    class Listener:
        def __init__(self) -> None:
            self.headers: dict[str, str] = {}

        def on_header(self, name: bytes, value: bytes) -> None:
            assert name.lower().decode() not in self.headers
            self.headers[name.lower().decode()] = value.decode()

        def on_headers_complete(self) -> None:
            heads.append(Told(parser.get_status_code(), self.headers))

    parser = HttpResponseParser(Listener())
    parser.feed_data(head + b"\r\n\r\n")
    (told,) = heads
    return told


class Serving:
    """A server that runs."""

    def __init__(self, app: App, connections: Connections, door: Door) -> None:
        self.app = app
        self.connections = connections
        self.door = door

    async def connect(self, **more: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.door.port, **more)

    async def say(self, *parts: bytes, **more: Any) -> bytes:
        """Send, each part when the one before it has arrived, and return all that comes until the server hangs up."""
        reader, writer = await self.connect(**more)
        try:
            for part in parts:
                with contextlib.suppress(ConnectionError):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
            return await reader.read()
        finally:
            writer.close()

    async def until(self, count: int) -> None:
        """Wait until so many connections are open."""
        while len(self.connections) != count:
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Serving]:
    """Run a server, fail on whatever the event loop has to complain of."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    app, connections = App(), Connections()
    door = Door("127.0.0.1", 0, lambda: HttpProtocol(app, connections), lambda: tls)
    door.open()
    try:
        async with asyncio.timeout(20):
            yield Serving(app, connections, door)
    finally:
        door.close()
        await connections.finish(0.1)
        await asyncio.sleep(0)
        assert not connections
    assert not complaints, complaints


def with_server(body: Callable[[Serving], Coroutine[Any, Any, None]], tls: ssl.SSLContext | None = None) -> None:
    async def all_of_it() -> None:
        async with serving(tls) as server:
            await body(server)

    asyncio.run(all_of_it())


class Wire(asyncio.Transport):
    """The other side of a connection, in memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 10741)})
        self.loop = loop
        self.sent = b""
        self.closed = self.eof = self.paused = False
        self.protocol: HttpProtocol | None = None

    def write(self, data: Any) -> None:
        assert not self.closed
        assert not self.eof
        self.sent += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            assert self.protocol is not None
            self.loop.call_soon(self.protocol.connection_lost, None)

    abort = close


async def hear(app: App, pieces: Iterator[bytes]) -> Wire:
    """Have the server hear pieces, each when it wants it, and return what became of the connection."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    connections, wire = Connections(), Wire(loop)
    protocol = wire.protocol = HttpProtocol(app, connections)
    protocol.connection_made(wire)
    for piece in pieces:
        for start in range(0, len(piece), len(connections.buffer)):
            part = piece[start : start + len(connections.buffer)]
            while wire.paused and not wire.closed:
                await asyncio.sleep(0)
            if wire.closed:
                break
            protocol.get_buffer(-1)[: len(part)] = part
            protocol.buffer_updated(len(part))
    for _ in range(100_000):
        if not wire.paused and not protocol.busy():
            break
        await asyncio.sleep(0)
    assert not complaints, complaints
    assert not wire.paused, "stuck"
    assert not protocol.busy()
    wire.close()
    await asyncio.sleep(0)
    assert not connections
    return wire
