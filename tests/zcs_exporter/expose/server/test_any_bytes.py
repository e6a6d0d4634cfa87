"""Whatever bytes come, cut wherever they may be: one connection in memory, no sockets."""

import asyncio
import itertools
from collections.abc import Iterable

import pytest
from http_parts import App, Wire, hear, responses
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zcs_exporter.expose.server.message import REASONS

REQUESTS = [
    b"GET /?1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
    b"GET /?2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET http://a/?3 HTTP/1.1\r\nHost: a\r\nAccept: x\r\nAccept:   y \r\n\r\n",
    b"\r\n\r\nGET /nothing HTTP/1.1\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\nGET /trap HTTP/1.1\r\nHost: trap.test\r\n\r\n\r\n",
    b"GET /late-answer HTTP/1.1\r\n\r\n",
]
"""Whole requests that leave the connection open."""

SNIPPETS = [
    *REQUESTS,
    *(b"GET ", b"HEAD ", b"/", b"?", b"#", b"%0d%0a", b"http://a", b"CONNECT a:1"),
    *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\x00", b"\xff", b" folded\r\n"),
    *(b"Host: a\r\n", b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 99999\r\n", b"Content-Length: 0\r\n\r\n", b"hello"),
    *(b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"Expect: 100-continue\r\n"),
    *(b"X: " + b"x" * 9000, b"X: y\r\n" * 60, b"GET /" + b"y" * 8180),
]

anything = st.lists(st.one_of(st.sampled_from(SNIPPETS), st.binary(max_size=20)), max_size=8).map(b"".join)
cuts = st.lists(st.integers(0, 20_000), max_size=8)


@pytest.fixture(scope="module")
def runner() -> Iterable[asyncio.Runner]:
    with asyncio.Runner() as found:
        yield found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({0, *(place % (len(data) + 1) for place in places), len(data)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


def outcome(runner: asyncio.Runner, pieces: list[bytes]) -> tuple[Wire, App]:
    app = App()
    wire = runner.run(hear(app, iter(pieces)))
    return wire, app


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=anything, places=cuts)
def test_any_bytes_get_answers_or_a_refusal_and_never_an_exception_or_silence_for_ever(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture, data: bytes, places: list[int]
) -> None:
    wire, app = outcome(runner, cut(data, places))

    statuses = [int(part.split(b" ", 1)[0]) for part in wire.sent.split(b"HTTP/1.1 ")[1:]]
    refusals = [status for status in statuses if status not in (100, 200, 404, 405)]
    assert set(statuses) <= {100, *REASONS}
    assert refusals == statuses[len(statuses) - len(refusals) :], "nothing is answered behind a refusal"
    assert len(refusals) <= 1
    assert len(statuses) - statuses.count(100) - len(refusals) == len(app.asked)
    assert not refusals or wire.eof
    assert not caplog.records


@settings(max_examples=1000, deadline=None)
@given(data=anything, places=cuts)
def test_where_the_bytes_were_cut_makes_no_difference(runner: asyncio.Runner, data: bytes, places: list[int]) -> None:
    whole, once = outcome(runner, [data])
    parts, often = outcome(runner, cut(data, places))

    def interims(sent: bytes) -> bytes:
        # Whoever has sent the body already need not be told to.
        return sent.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")

    assert interims(parts.sent) == interims(whole.sent)
    assert parts.eof == whole.eof
    assert [request.headers for request in often.asked] == [request.headers for request in once.asked]


@settings(max_examples=300, deadline=None)
@given(requests=st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=5), places=cuts)
def test_requests_behind_each_other_get_the_answers_that_each_gets_alone(
    runner: asyncio.Runner, requests: list[bytes], places: list[int]
) -> None:
    alone = b"".join(outcome(runner, [request])[0].sent for request in requests)
    together, app = outcome(runner, cut(b"".join(requests), places))

    assert together.sent == alone
    assert len(app.asked) == len(requests) == len(responses(alone))
    assert not together.eof


@pytest.mark.parametrize("request_text", REQUESTS)
def test_a_request_may_be_cut_at_each_place_and_come_byte_by_byte(runner: asyncio.Runner, request_text: bytes) -> None:
    twice = request_text * 2
    whole = outcome(runner, [twice])[0].sent
    assert len(responses(whole)) == 2
    for place in range(len(twice)):
        assert outcome(runner, [twice[:place], twice[place:]])[0].sent == whole
    assert outcome(runner, [twice[place : place + 1] for place in range(len(twice))])[0].sent == whole


def test_what_is_said_twice_is_answered_twice_however_many_requests_it_holds(runner: asyncio.Runner) -> None:
    for said in (REQUESTS[0], REQUESTS[0] + REQUESTS[4], REQUESTS[1] + REQUESTS[0], REQUESTS[1], REQUESTS[0] + b"GE"):
        wire, app = outcome(runner, [said, said, said])
        assert wire.sent == outcome(runner, [said * 3])[0].sent
    assert len(app.asked) == 1, "there is no GEGET"
