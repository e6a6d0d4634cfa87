"""Structured events as they happen, over HTTP: server-sent events, as the HTML standard has them.

``/api/v1/events`` begins with what happens next, or after ``Last-Event-ID`` with what is still kept above that
number; 0 gives all that is kept. ``?kind=`` and ``?severity=`` choose, each of them any number of times. Where
events are missing an ``event: gap`` says how many. A comment every 15 seconds keeps the connection alive.
"""

import asyncio
import json
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

from zcs_exporter.contract import EvidenceKind
from zcs_exporter.events.entry import Entry
from zcs_exporter.events.ring import Ring
from zcs_exporter.expose.access import Refusal
from zcs_exporter.expose.server.connections import READ_PATIENCE
from zcs_exporter.expose.server.message import Request, Sink, Stream

CONTENT_TYPE = "text/event-stream; charset=utf-8"

MOST_STREAMS = 20
"""Streams that may be open; one more is told to come back."""

PING = 15.0
"""Seconds of silence after which a comment is sent."""

CHUNK = 50
"""Events that are written at once, so that one stream holds up neither memory nor the others."""

_SEVERITIES = ("info", "ok", "warning", "critical", "unknown")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants.

    Attributes:
        after: Number of the last event that it has; None to begin with what happens next.
        kinds: Only these; all where there is none.
        severities: Likewise.
    """

    after: int | None
    kinds: frozenset[str]
    severities: frozenset[str]

    def takes(self, entry: Entry) -> bool:
        """Whether the client wants an event."""
        return (not self.kinds or entry.kind in self.kinds) and (
            not self.severities or entry.severity in self.severities
        )


def read_wish(request: Request, ring: Ring) -> Wish:
    """Return what a request asks for.

    Raises:
        Refusal: It cannot be understood.
    """
    query = request.query()
    kinds, severities = query.get("kind", []), query.get("severity", [])
    if strange := set(severities).difference(_SEVERITIES):
        raise Refusal(400, f"No such severity: {min(strange)!a}\nThere are: {', '.join(_SEVERITIES)}")
    if strange := {kind for kind in kinds if not _KIND.fullmatch(kind)}:
        raise Refusal(400, f"{min(strange)!a} is no kind of event; write it like login_failed")
    if strange := query.keys() - {"kind", "severity"}:
        raise Refusal(400, f"There is no {min(strange)!a} to choose by, only kind and severity.")
    given = request.headers.get("last-event-id", "")
    if given and not (given.isascii() and given.isdecimal() and len(given) < 20):
        raise Refusal(400, "Last-Event-ID is not a number that this server gave.")
    return Wish(int(given) if given else None, frozenset(kinds), frozenset(severities))


class EventStreams:
    """All streams of a server."""

    def __init__(self) -> None:
        self._open: set[EventStream] = set()

    def open(self, ring: Ring, wish: Wish, visible: frozenset[EvidenceKind]) -> "EventStream":
        """Return the response.

        Raises:
            Refusal: There are too many.
        """
        if len(self._open) >= MOST_STREAMS:
            raise Refusal(503, "Too many streams of events are open; try again later.")
        stream = EventStream(ring, wish, visible, self._open.discard)
        self._open.add(stream)
        return stream

    def end(self) -> None:
        """Have every stream send what has happened until now, and no more."""
        for stream in self._open:
            stream.end()


class EventStream(Stream):
    """A response that goes on until its client leaves, does not read, or is told to end."""

    def __init__(
        self,
        ring: Ring,
        wish: Wish,
        visible: frozenset[EvidenceKind],
        forget: Callable[["EventStream"], None],
    ) -> None:
        """Begin; ``forget`` is called when it has ended."""
        super().__init__(headers={"Content-Type": CONTENT_TYPE})
        self._ring = ring
        self._wish = wish
        self._visible = visible
        self._forget = forget
        self._news = asyncio.Event()
        self._until: int | None = None
        self._sent_at = 0.0
        after = ring.newest if wish.after is None else wish.after
        self._at = after if ring.knows(after) else ring.before
        # What came after a number that an earlier process gave, nobody knows any more.
        self._uncertain = after != 0 and not ring.knows(after)

    def end(self) -> None:
        """Send what has happened until now, and no more."""
        if self._until is None:
            self._until = self._ring.newest
        self._news.set()

    async def pour(self, sink: Sink) -> None:
        """Send events until the end.

        Raises:
            TimeoutError: The client does not read.
        """
        _notice_a_dead_client(sink.transport)
        with self._ring.waking(self._news):
            await self._send(sink, b": events follow\n\n")
            if self._uncertain:
                await self._send(sink, _gap(None))
            await self._follow(sink)

    def ended(self) -> None:
        """Make room for another."""
        self._forget(self)

    async def _follow(self, sink: Sink) -> None:
        while True:
            self._news.clear()
            goal = self._ring.newest if self._until is None else self._until
            if self._at < goal:
                await self._send(sink, self._next())
                await asyncio.sleep(0)
            elif self._until is not None:
                return
            else:
                await self._rest(sink)

    def _next(self) -> bytes:
        """Return some events, perhaps none of those that the client wants, and go on behind them."""
        frames = []
        if (missed := self._ring.before - self._at) > 0:
            frames.append(_gap(missed))
            self._at = self._ring.before
        for entry in self._ring.after(self._at, CHUNK):
            if self._until is not None and entry.number > self._until:
                break
            self._at = entry.number
            if self._wish.takes(entry):
                frames.append(b"id: %d\ndata: %s\n\n" % (entry.number, entry.line(self._visible)))
        return b"".join(frames)

    async def _rest(self, sink: Sink) -> None:
        """Wait for more; what happens meanwhile may be nothing that this client wants."""
        quiet = asyncio.get_running_loop().time() - self._sent_at
        try:
            async with asyncio.timeout(max(0.0, PING - quiet)):
                await self._news.wait()
        except TimeoutError:
            await self._send(sink, b": still here\n\n")

    async def _send(self, sink: Sink, data: bytes) -> None:
        """Write, and wait while the client has not read what came before.

        Raises:
            TimeoutError: It does not read.
        """
        if data:
            async with asyncio.timeout(READ_PATIENCE):
                await sink.send(data)
            self._sent_at = asyncio.get_running_loop().time()


def _gap(missed: int | None) -> bytes:
    return b"event: gap\ndata: %s\n\n" % json.dumps({"missed": missed}).encode()


def _notice_a_dead_client(transport: asyncio.Transport) -> None:
    """Have the kernel end the connection when nobody confirms what is sent, as after a cut cable."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(READ_PATIENCE * 1000))
