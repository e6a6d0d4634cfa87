"""Makes requests of bytes, one at a time.

llhttp, which Node.js has, decides what is a request. It is told piece by piece, each ending where a request may end, so
that it never gets further than one: what comes behind it is kept until that is answered.
"""

import asyncio

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from zcs_exporter.expose.server.message import Request, read_target

MOST_TARGET = 8 * 1024
"""Bytes of path and query, as RFC 9110 4.1 asks for."""

MOST_HEAD = 16 * 1024
"""Bytes of request line and headers; a browser sends all cookies of this host in them, whatever port they are from."""

MOST_HEADERS = 100
"""Lines of headers; a browser sends about twenty."""

MOST_BODY = 16 * 1024
"""Bytes of a body. No request here needs one; a small one is dropped."""

_HEAD_END = b"\r\n\r\n"


class BadRequest(Exception):  # noqa: N818 - not a fault of ours
    """What came is no request that can be answered, and nothing behind it can be understood.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class RequestReader:
    """What one client sends.

    Attributes:
        begun: A part of a request has come.
        wants_word: The client waits for our word before it sends the body.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Prepare for the requests of a connection."""
        self._transport = transport
        self._parser = HttpRequestParser(self)
        self._data = b""
        self._at = 0  # up to here it has been parsed
        self._version = ""
        self._keep_alive = False
        # The last request that came alone, as bytes and as what they mean: a scraper sends the same ones for years.
        self._former = b""
        self._former_request: Request | None = None
        self._clear()

    def _clear(self) -> None:
        self.begun = False
        self.wants_word = False
        self._target = b""
        self._headers: dict[str, str] = {}
        self._lines = 0
        self._size = 0  # bytes of the head until now
        self._tail = b""  # the last three of them, since what ends a head may come in two parts
        self._missing = 0  # bytes of the body
        self._head_done = self._whole = False
        self._fault = 0

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._data = self._data[self._at :] + data
        self._at = 0

    @property
    def has_more(self) -> bool:
        """Whether something has come that was not looked at."""
        return self._at < len(self._data)

    def take(self) -> Request | None:
        """Return the next request; None until it is whole.

        Raises:
            BadRequest: There will be none.
        """
        alone = self._at == 0 and not self.begun
        if alone and self._data == self._former:
            self._at = len(self._data)  # the parser, which is between two requests, does not miss it
            return self._former_request
        while self.has_more and not self._whole:
            self._parse(self._piece())
            if self._fault:
                raise BadRequest(self._fault)
        if not self._whole:
            return None
        try:
            path, query = read_target(self._target.decode("latin-1"), self._headers.get("host", ""))
        except ValueError as exc:
            raise BadRequest(400) from exc
        method = self._parser.get_method().decode("ascii")
        version, keep_alive = self._version, self._keep_alive
        request = Request(method, path, query, self._headers, self._transport, version, keep_alive)
        self._clear()
        if alone and not self.has_more:
            self._former, self._former_request = self._data, request
        return request

    def _piece(self) -> bytes:
        """Return what comes up to where a request may end."""
        start, data = self._at, self._data
        if self._head_done:
            end = start + self._missing
        else:
            found = data.find(_HEAD_END, start)
            end = len(data) if found < 0 else found + len(_HEAD_END)
            if self._tail:
                cut = (self._tail + data[start : start + 3]).find(_HEAD_END)
                if cut >= 0:
                    end = start + cut + len(_HEAD_END) - len(self._tail)
            end = min(end, start + MOST_HEAD + 1 - self._size)
        self._at = min(end, len(data))
        return data[start:end]

    def _parse(self, piece: bytes) -> None:
        self.begun = True
        if self._head_done:
            self._missing -= len(piece)
        else:
            self._size += len(piece)
            self._tail = (self._tail + piece)[-3:]
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            self._keep_alive = False  # we go on as if it had not asked for more; what follows may be no HTTP
        except HttpParserError:
            self._fault = self._fault or 400
        if self._size > MOST_HEAD:
            self._fault = self._fault or 431

    # What the parser says. Faults are noted and not raised, since it would make others of them.

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        if self._whole:
            self._fault = 400  # a second one in one piece: we and the parser differ in where the first one ends

    def on_url(self, part: bytes) -> None:
        """Take a part of the target."""
        self._target += part
        if len(self._target) > MOST_TARGET:
            self._fault = self._fault or 414

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._lines += 1
        if self._lines > MOST_HEADERS:
            self._fault = self._fault or 431
            return
        key, content = name.decode("latin-1").lower(), value.decode("latin-1").rstrip(" \t")
        self._headers[key] = f"{self._headers[key]}, {content}" if key in self._headers else content

    def on_headers_complete(self) -> None:
        """Judge the head."""
        self._head_done = True
        self._version = self._parser.get_http_version()
        self._keep_alive = self._parser.should_keep_alive()
        self._fault = self._fault or self._judge()

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._whole = True

    def _judge(self) -> int:
        """Return the status with which a request is refused for its head; 0 for none."""
        if self._version not in ("1.1", "1.0"):
            return 505
        if "transfer-encoding" in self._headers:
            return 411  # nobody needs it here, and most attempts to hide one request in another do
        if "content-length" not in self._headers:
            return 0
        self._missing = int(self._headers["content-length"])  # the parser takes nothing but one number
        if self._missing > MOST_BODY:
            return 413
        if self._missing and "expect" in self._headers and self._version == "1.1":
            self.wants_word = self._headers["expect"].lower() == "100-continue"
            return 0 if self.wants_word else 417
        return 0
