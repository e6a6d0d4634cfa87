"""What a handler is given and what it returns."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qs, unquote

REASONS: Mapping[int, str] = {
    200: "OK",
    303: "See Other",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
"""Every status that this server gives."""

_TEXT = "text/plain; charset=utf-8"


@dataclass(slots=True)
class Request:
    """A whole request. Nobody here takes a body, so it has none.

    Attributes:
        method: As it was sent, so in upper case.
        path: Decoded, without the query; printable.
        query_string: As it was sent.
        headers: By name in lower case. What came several times is joined by commas, as RFC 9110 5.3 has it.
        transport: The connection that it came over.
        version: That of HTTP: 1.1, or 1.0.
        keep_alive: Whether the client wants to ask more over this connection.
    """

    method: str
    path: str
    query_string: str
    headers: Mapping[str, str]
    transport: asyncio.Transport
    version: str = "1.1"
    keep_alive: bool = True

    def query(self) -> dict[str, list[str]]:
        """Return the values of each parameter, in order."""
        return parse_qs(self.query_string, keep_blank_values=True)

    def cookie(self, name: str) -> str | None:
        """Return the first cookie of a name, as it was sent."""
        for pair in self.headers.get("cookie", "").split(";"):
            key, separator, value = pair.strip().partition("=")
            if separator and key == name:
                return value
        return None


def read_target(target: str, host: str) -> tuple[str, str]:
    """Return the path, decoded, and the query of a request's target.

    Args:
        target: As it stands in the request line.
        host: The ``Host`` header, which the address in a target has to equal: it is the one that is checked.

    Raises:
        ValueError: It is none that a server of its own answers, such as those for a proxy.
    """
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        named = rest.partition("/")[0].partition("?")[0]
        if named.lower() != host.lower():
            raise ValueError("another host than in the header")
        target = rest[len(named) :]
        if not target.startswith("/"):
            target = "/" + target
    path, _, query = target.partition("?")
    if "%" in path:
        path = unquote(path)
    if not path.startswith("/") or not path.isprintable() or "#" in target:
        raise ValueError("not a path")
    return path, query


@dataclass(slots=True, eq=False)
class Response:
    """An answer that is made in one piece.

    Attributes:
        body: Left out of what is sent where the request was HEAD; its length is told nevertheless.
        headers: Beside those that every response has, or instead of them where the name is the same.
        close: End the connection after it.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    close: bool = False

    def ended(self) -> None:
        """Called once for a stream, after ``pour`` or instead of it."""


def text(words: str, status: int = 200) -> Response:
    """Return a line for whoever reads it; characters that cannot be sent become question marks."""
    return Response(f"{words}\n".encode("utf-8", "replace"), status, {"Content-Type": _TEXT})


class Sink(Protocol):
    """Where a stream goes.

    Attributes:
        transport: The connection.
    """

    transport: asyncio.Transport

    async def send(self, data: bytes) -> None:
        """Write, and wait while the client has not read what came before."""


class Stream(Response):
    """A response whose end nobody knows yet; the connection is closed after it."""

    async def pour(self, sink: Sink) -> None:
        """Send until the end; cancelled when the client goes away.

        Raises:
            TimeoutError: The client does not read.
        """
        raise NotImplementedError


def render_head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return status line and headers.

    Raises:
        ValueError: A header holds a line break, with which it could begin another response.
    """
    lines = [f"HTTP/1.1 {status} {REASONS[status]}", *[f"{name}: {value}" for name, value in headers], "", ""]
    head = "\r\n".join(lines)
    if not head.count("\r") == head.count("\n") == len(lines) - 1:
        raise ValueError("a line break in a header")
    return head.encode("latin-1")
