"""Answers of a MySQL server, as its protocol frames them."""

import socket
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymysql.err import InterfaceError, MySQLError, OperationalError, ProgrammingError

from zcs_exporter.mysql_client import PairCursor, parse_pairs

OK = b"\x00\x00\x00\x02\x00\x00\x00"
DENIED = b"\xff\x15\x04#28000Access denied"
NO_TABLE = b"\xff\x7a\x04#42S02No such table"
ENDS = b"\xff\x1d\x04#08S01Server shutdown in progress"


def packets(*contents: bytes, first: int = 1) -> bytes:
    return b"".join(
        len(content).to_bytes(3, "little") + bytes([(first + number) % 256]) + content
        for number, content in enumerate(contents)
    )


def field(text: str | None) -> bytes:
    if text is None:
        return b"\xfb"
    raw = text.encode()
    return (bytes([len(raw)]) if len(raw) < 251 else b"\xfc" + len(raw).to_bytes(2, "little")) + raw


def answer(rows: Sequence[tuple[str, str | None]]) -> bytes:
    columns = [b"\x03def" + field(name) for name in ("Variable_name", "Value")]
    end = b"\xfe\x00\x00\x22\x00"
    return packets(b"\x02", *columns, end, *(field(name) + field(value) for name, value in rows), end)


ROWS = [("Uptime", "41"), ("Innodb_version", "10.11.19"), ("Ssl_cipher", ""), ("character_sets_dir", "/opt/zimbra/ä/")]

NAMES = st.text(max_size=60).filter(lambda name: len(name.encode()) < 251)
VALUES = st.none() | st.text(max_size=20) | st.integers(200, 70_000).map(lambda length: "x" * min(length, 65_535))


def test_rows_are_names_and_values() -> None:
    assert parse_pairs(answer(ROWS)) == ROWS


def test_a_value_that_is_null_is_left_out() -> None:
    assert parse_pairs(answer([("a", None), *ROWS])) == ROWS


def test_what_answers_with_nothing_has_no_rows() -> None:
    assert parse_pairs(packets(OK)) == []


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_every_answer_is_read_as_it_was_written(rows: list[tuple[str, str | None]]) -> None:
    assert parse_pairs(answer(rows)) == [row for row in rows if row[1] is not None]


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(NAMES, st.none() | st.text(max_size=5)), max_size=4))
def test_no_beginning_of_an_answer_is_taken_for_the_whole(rows: list[tuple[str, str | None]]) -> None:
    whole = answer(rows)

    assert all(parse_pairs(whole[:length]) is None for length in range(len(whole)))


@settings(max_examples=3_000, deadline=None)
@given(data=st.binary(max_size=80) | st.tuples(st.binary(max_size=4), st.integers(0, 90)).map(
    lambda change: answer(ROWS)[: change[1]] + change[0] + answer(ROWS)[change[1] + len(change[0]) :]
))  # fmt: skip
def test_whatever_bytes_come_are_an_answer_or_an_error(data: bytes) -> None:
    try:
        found = parse_pairs(data)
    except (MySQLError, ValueError):
        return
    assert found is None or all(isinstance(text, str) for row in found for text in row)


@pytest.mark.parametrize(
    ("data", "error", "told"),
    [
        (packets(DENIED), OperationalError, "1045"),
        (packets(NO_TABLE), ProgrammingError, "1146"),
        (answer([])[:-9] + packets(NO_TABLE, first=6), ProgrammingError, "1146"),
        (packets(ENDS, first=0), OperationalError, "2013"),  # a farewell from before anybody asked
    ],
)
def test_an_error_is_raised_as_the_server_names_it(data: bytes, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        parse_pairs(data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (packets(b"\x03"), "3 columns"),
        (packets(b"", OK), "an empty packet"),
        (answer(ROWS) + b"more", "follow"),
        (answer([])[:-9] + packets(b"\x04name\x09short", first=6), "two fields"),
        (answer([])[:-9] + packets(b"\x04name", first=6), "two fields"),
        (answer([])[:-9] + packets(b"\xfc\x00\x01", first=6), "250 bytes"),
    ],
)
def test_what_is_no_such_answer_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_pairs(data)


def with_server(serve: Callable[[socket.socket], None], ask: Callable[[PairCursor], None]) -> None:
    ours, theirs = socket.socketpair()
    connection: Any = SimpleNamespace(_sock=ours, _read_timeout=0.2)
    server = threading.Thread(target=serve, args=(theirs,))
    server.start()
    try:
        ask(PairCursor(connection))
    finally:
        server.join()
        ours.close()
        theirs.close()


def test_a_statement_is_sent_whole_and_its_answer_put_together() -> None:
    asked: list[bytes] = []

    def serve(theirs: socket.socket) -> None:
        asked.append(theirs.recv(100))
        for position in range(0, len(answer(ROWS)), 7):
            theirs.sendall(answer(ROWS)[position : position + 7])

    def ask(cursor: PairCursor) -> None:
        assert cursor.execute("SHOW GLOBAL STATUS") == len(ROWS)
        assert cursor.fetchall() == tuple(ROWS)

    with_server(serve, ask)

    assert asked == [b"\x13\x00\x00\x00\x03SHOW GLOBAL STATUS"]


@pytest.mark.parametrize("cause", [TimeoutError, ConnectionResetError])
def test_a_server_that_says_nothing_or_goes_away_is_lost(cause: type[Exception]) -> None:
    def serve(theirs: socket.socket) -> None:
        theirs.recv(100)
        theirs.sendall(answer(ROWS)[:50])
        if cause is ConnectionResetError:
            theirs.shutdown(socket.SHUT_RDWR)

    def ask(cursor: PairCursor) -> None:
        with pytest.raises(OperationalError, match="2013") as caught:
            cursor.execute("SHOW GLOBAL STATUS")
        assert isinstance(caught.value.__context__, cause)

    with_server(serve, ask)


def test_a_closed_connection_cannot_be_asked() -> None:
    closed: Any = SimpleNamespace(_sock=None, _read_timeout=0.2)
    with pytest.raises(InterfaceError):
        PairCursor(closed).execute("SHOW GLOBAL STATUS")
