import asyncio

import pytest

from zcs_exporter.expose.server.reader import MOST_HEAD, BadRequest, RequestReader

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_nothing_is_looked_at_that_lies_behind_a_limit() -> None:
    reader = RequestReader(asyncio.Transport())
    reader.feed(b"GET / HTTP/1.1\r\nX: " + b"x" * MOST_HEAD + b"\x00\r\n\r\n")

    with pytest.raises(BadRequest) as refusal:
        reader.take()

    assert refusal.value.status == 431


def test_two_requests_where_we_saw_one_are_refused() -> None:
    """Should we and the parser ever differ in where a request ends, nothing is answered that only one of us saw."""

    class Mistaken(RequestReader):
        def _piece(self) -> bytes:
            self._at = len(self._data)
            return self._data

    reader = Mistaken(asyncio.Transport())
    reader.feed(GET + GET)

    with pytest.raises(BadRequest) as refusal:
        reader.take()

    assert refusal.value.status == 400


def test_after_a_request_the_reader_waits_for_the_next() -> None:
    reader = RequestReader(asyncio.Transport())
    for _ in range(3):
        assert reader.take() is None
        assert not reader.begun
        reader.feed(GET[:9])
        assert reader.take() is None
        assert reader.begun
        reader.feed(GET[9:] + GET)
        assert reader.take() is not None
        assert reader.has_more
        assert reader.take() is not None
        assert not reader.has_more
