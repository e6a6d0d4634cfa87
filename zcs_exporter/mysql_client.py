"""PyMySQL, loaded without cryptography, and with a cursor for answers of two columns of text.

PyMySQL wants cryptography for one way to log in over TCP without TLS. We come through a unix socket, where it is
never asked for, and it would take six megabytes.

It reads packet by packet and field by field, 5 µs a row. What ``SHOW STATUS`` answers is nothing but names and
values, and is read ten times as fast here.

Source of the format: MySQL's and MariaDB's client/server protocol, text result sets.
"""

from typing import Any

from zcs_exporter.without import without

with without("cryptography"):
    import pymysql
    from pymysql.cursors import Cursor

__all__ = ["PairCursor", "parse_pairs", "pymysql"]

_QUERY = b"\x03"
_SERVER_LOST = 2013
_CHUNK = 1 << 16
_MOST = 1 << 23
"""Bytes of the longest answer that is read."""

_OK, _NULL, _TWO_BYTES, _EOF, _ERROR = 0x00, 0xFB, 0xFC, 0xFE, 0xFF
"""What the first byte of a packet, or of the length of a field, means."""

_LONGEST_EOF = 9


class PairCursor(Cursor):
    """Runs statements that answer with two columns of text, or with nothing."""

    _pairs: list[tuple[str, str]]

    def execute(self, query: str, args: Any = None) -> int:
        """Run a statement, to which nothing can be added, and read the whole answer.

        Raises:
            pymysql.err.MySQLError: The server refused it, or is gone.
            ValueError: It answers something else.
        """
        if args is not None:
            raise TypeError("no arguments can be added to a statement here")
        self.send(query)
        return self.receive()

    def send(self, query: str) -> None:
        """Begin to run a statement; ``receive`` must follow before any other.

        Raises:
            pymysql.err.MySQLError: The server is gone.
        """
        text = query.encode()
        # PyMySQL keeps the socket and its time limit to itself, but has called them so ever since.
        connection: Any = self.connection
        if connection._sock is None:
            raise pymysql.err.InterfaceError(0, "the connection is closed")
        try:
            connection._sock.settimeout(connection._read_timeout)
            connection._sock.sendall((len(text) + 1).to_bytes(3, "little") + b"\0" + _QUERY + text)
        except OSError as exc:
            raise _lost(exc) from exc

    def receive(self) -> int:
        """Read the answer to what was sent, and return its number of rows.

        Raises:
            pymysql.err.MySQLError: The server refused the statement, or is gone.
            ValueError: It answers something else.
        """
        connection: Any = self.connection
        data = b""
        while (pairs := parse_pairs(data)) is None:
            try:
                chunk = connection._sock.recv(_CHUNK)
                if not chunk:
                    raise ConnectionResetError("it was closed")
            except OSError as exc:
                raise _lost(exc) from exc
            data += chunk
            if len(data) > _MOST:
                raise ValueError(f"an answer of more than {_MOST} bytes")
        self._pairs = pairs
        return len(pairs)

    def fetchall(self) -> tuple[tuple[str, str], ...]:
        """Return the rows that answered the last statement."""
        return tuple(self._pairs)


def parse_pairs(data: bytes) -> list[tuple[str, str]] | None:
    """Parse the answer to a statement: rows of two texts, those with a NULL left out; None while it is incomplete.

    Raises:
        pymysql.err.MySQLError: It is an error.
        ValueError: It is nothing that answers such a statement.
    """
    end = len(data)
    if end < 5:
        return None
    at, heads = 0, 0
    while True:
        # Number of columns, the columns, the end of the columns.
        after = at + 4 + int.from_bytes(data[at : at + 3], "little")
        if after > end or at + 4 >= end:
            return None
        if after == at + 4:
            raise ValueError("an empty packet")
        kind = data[at + 4]
        if kind == _ERROR:
            raise _error(data[at + 3], data[at + 4 : after])
        if heads == 0:
            if kind == _OK:
                return []
            if kind != 2 or after != at + 5:
                raise ValueError(f"{kind} columns where two were expected")
        at, heads = after, heads + 1
        if kind == _EOF:
            break
    # One byte is one character, so that the places in both are the same.
    text = data.decode("latin-1")
    pairs: list[tuple[str, str]] = []
    while at + 4 < end:
        after = at + 4 + (data[at] | data[at + 1] << 8 | data[at + 2] << 16)
        if after > end:
            return None
        length = data[at + 4]
        if length >= _NULL:
            if length == _EOF and after - at - 4 < _LONGEST_EOF:
                if after != end:
                    raise ValueError(f"{end - after} bytes follow the answer")
                return pairs
            if length == _ERROR:
                raise _error(data[at + 3], data[at + 4 : after])
            if length != _NULL:
                raise ValueError("a name of more than 250 bytes")
            at = after
            continue
        middle = at + 5 + length
        if middle >= after:
            raise ValueError("a row of less than two fields")
        length = data[middle]
        start = middle + (1 if length < _NULL else 3)
        if length == _TWO_BYTES:
            length = int.from_bytes(data[middle + 1 : start], "little")
        if data[middle] != _NULL:
            if start + length != after:
                raise ValueError("a row of other than two fields, or a value of more than 65535 bytes")
            name, value = text[at + 5 : middle], text[start:after]
            pairs.append((name, value) if name.isascii() and value.isascii() else (_utf8(name), _utf8(value)))
        at = after
    return None


def _lost(because: OSError) -> pymysql.err.OperationalError:
    return pymysql.err.OperationalError(_SERVER_LOST, f"Lost connection to MySQL server during query ({because})")


def _utf8(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "replace")


def _error(number: int, packet: bytes) -> Exception:
    """Return the error that a packet tells of."""
    if number == 0:
        # A server that ends says so before anybody asks: what was asked has no answer.
        return pymysql.err.OperationalError(_SERVER_LOST, "Lost connection to MySQL server during query")
    try:
        pymysql.err.raise_mysql_exception(packet)
    except pymysql.err.MySQLError as exc:
        return exc
    raise ValueError("an error without a number")
