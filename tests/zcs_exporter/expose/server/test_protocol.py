"""The HTTP server over real sockets: order, limits, how connections end, and what attackers send."""

import asyncio
import socket
import struct
from collections.abc import Callable

import pytest
from http_parts import BIG, Serving, Told, responses, with_server

from zcs_exporter.expose.server import protocol
from zcs_exporter.expose.server.connections import FIRST_PATIENCE, IDLE_PATIENCE, READ_PATIENCE
from zcs_exporter.expose.server.reader import MOST_BODY, MOST_HEAD, MOST_HEADERS, MOST_TARGET

END = b"Host: a\r\n\r\n"
CLOSE = b"Host: a\r\nConnection: close\r\n\r\n"
GET = b"GET / HTTP/1.1\r\n" + END
LAST = b"GET / HTTP/1.1\r\n" + CLOSE
TRAP = b"GET /trap HTTP/1.1\r\n" + END


def ask(*parts: bytes, heads: tuple[int, ...] = ()) -> list[Told]:
    """Send to a fresh server and return its responses until it hangs up."""
    found: list[Told] = []

    async def body(server: Serving) -> None:
        found.extend(responses(await server.say(*parts), *heads))

    with_server(body)
    return found


# What an answer is


def test_an_answer_says_how_long_it_is_and_the_connection_goes_on() -> None:
    first, second, last = ask(GET, GET, LAST)

    assert (first.status, first.headers["content-length"], first.body) == (200, "5", b"root\n")
    assert "connection" not in first.headers
    assert second == first
    assert last.headers["connection"] == "close"


def test_http_1_0_is_kept_only_on_request() -> None:
    (only,) = ask(b"GET / HTTP/1.0\r\n\r\n")
    kept, last = ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n")

    assert only.headers["connection"] == last.headers["connection"] == "close"
    assert kept.headers["connection"] == "keep-alive"
    assert only.body == kept.body == b"root\n"


def test_head_is_get_without_the_body_and_what_follows_is_not_confused() -> None:
    first, second, last = ask(b"HEAD /big HTTP/1.1\r\n" + END, GET, LAST.replace(b"GET", b"HEAD"), heads=(0, 2))

    assert first.headers["content-length"] == str(len(BIG))
    assert (second.status, second.body) == (200, b"root\n")
    assert (last.headers["content-length"], last.body) == ("5", b"")


def test_an_unknown_path_and_a_method_that_does_not_fit() -> None:
    unknown, wrong, options, last = ask(
        b"GET /nothing HTTP/1.1\r\n" + END,
        b"POST /big HTTP/1.1\r\n" + END,
        b"OPTIONS / HTTP/1.1\r\n" + END,
        LAST,
    )

    assert unknown.status == 404
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD")
    assert (options.status, options.headers["allow"]) == (405, "GET, HEAD, POST")
    assert last.status == 200


def test_a_big_answer_comes_whole() -> None:
    first, last = ask(b"GET /big HTTP/1.1\r\n" + END, b"GET /big HTTP/1.1\r\n" + CLOSE)

    assert first.body == last.body == BIG


def test_a_target_may_be_encoded_and_may_name_this_host() -> None:
    for target in (b"/?a%20b", b"/%3Fx", b"http://A/?a%20b", b"HTTP://a?a%20b"):
        (told,) = ask(b"GET " + target + b" HTTP/1.1\r\n" + CLOSE)
        assert (told.status, told.body) == ((404, b"404 Not Found\n") if b"3F" in target else (200, b"a%20b\n"))


@pytest.mark.parametrize(
    "target", [b"*", b"a:443", b"http://b/", b"http://a@b/", b"ftp://a/", b"/#x", b"/%00", b"/a%0d%0ab", b"/%1b[31m"]
)
def test_a_target_that_is_no_path_of_ours_is_refused(target: bytes) -> None:
    for method in (b"GET ", b"CONNECT ", b"OPTIONS "):
        assert [told.status for told in ask(method + target + b" HTTP/1.1\r\n" + END, TRAP)] == [400]


def test_a_header_never_holds_a_line_break(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a handler that passes on what it was given nor one of our own can split a response."""
    for echo in (b"a%0d%0aSet-Cookie:%20b=c", b"a%0ab", b"a%0db", b"%0d%0a%0d%0aHTTP/1.1%20200%20OK"):
        assert ask(b"GET /split?x=" + echo + b" HTTP/1.1\r\n" + CLOSE) == []
    (told,) = ask(b"GET /split?x=a%20b HTTP/1.1\r\n" + CLOSE)
    assert told.headers["x-echo"] == "a b"
    assert caplog.text.count("ValueError: a line break in a header") == 4


def test_a_bug_ends_the_connection_and_is_logged_without_the_query(caplog: pytest.LogCaptureFixture) -> None:
    for path in (b"/bug", b"/late-bug"):
        assert ask(b"GET " + path + b"?token=secret HTTP/1.1\r\n" + END, TRAP) == []
        assert f"bug while answering GET {path.decode()}\n" in caplog.text
    assert "secret" not in caplog.text


# Sizes

X = b"X: "


def head(size: int) -> bytes:
    """Return a request whose head has so many bytes."""
    empty = len(b"GET / HTTP/1.1\r\n" + X + b"\r\n" + CLOSE)
    return b"GET / HTTP/1.1\r\n" + X + b"x" * (size - empty) + b"\r\n" + CLOSE


def lines(count: int) -> bytes:
    return b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(count - 2)) + CLOSE


def target(size: int) -> bytes:
    return b"GET /?" + b"x" * (size - 2) + b" HTTP/1.1\r\n" + CLOSE


def body(size: int, more: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nContent-Length: %d\r\n" % size + more + CLOSE + b"b" * size


@pytest.mark.parametrize(
    ("make", "most", "status"),
    [(head, MOST_HEAD, 431), (lines, MOST_HEADERS, 431), (target, MOST_TARGET, 414), (body, MOST_BODY, 413)],
)
@pytest.mark.parametrize("step", [1 << 20, 1000])
def test_what_is_as_large_as_may_be_passes_and_one_more_is_refused(
    make: Callable[[int], bytes], most: int, status: int, step: int
) -> None:
    for size, expected in ((most, 200), (most + 1, status), (most * 20, status)):
        whole = make(size)
        (told,) = ask(*(whole[at : at + step] for at in range(0, len(whole), step)))
        assert told.status == expected
        assert told.whole
        assert told.headers["connection"] == "close"


def test_a_refusal_is_plain_text_and_repeats_nothing() -> None:
    (told,) = ask(b"GET /<script> HTTP/1.1\r\nX: <script>\x00\r\n\r\n")

    assert (told.status, told.body) == (400, b"400 Bad Request\n")
    assert told.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_small_body_is_dropped_and_the_next_request_is_understood() -> None:
    post = b"POST / HTTP/1.1\r\nContent-Length: 100\r\n" + END + GET.ljust(100, b"x")

    assert [(told.status, told.body) for told in ask(post, post, LAST)] == [
        (200, b"posted\n"),
        (200, b"posted\n"),
        (200, b"root\n"),
    ]


def test_a_client_that_asks_before_it_sends_a_body_is_told_to_go_on() -> None:
    expecting = b"POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n"

    async def body(server: Serving) -> None:
        reader, writer = await server.connect()
        writer.write(expecting + CLOSE)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert [told.status for told in responses(await reader.read())] == [200]
        writer.close()

    with_server(body)
    assert [told.status for told in ask(expecting.replace(b": 3", b": 99999") + CLOSE)] == [413]
    assert [told.status for told in ask(expecting.replace(b"100-C", b"200-C") + CLOSE)] == [417]
    assert [told.status for told in ask(expecting.replace(b"/1.1", b"/1.0") + CLOSE, b"abc")] == [200]


# What attackers send


@pytest.mark.parametrize(
    ("request_text", "status"),
    {
        "both lengths": (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
        "both, the other way": (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400),
        "chunks": (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", 411),
        "chunks by another name": (b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n", 411),
        "chunks not last": (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n", 400),
        "chunks in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 411),
        "two lengths": (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n", 400),
        "one length twice": (b"POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n", 400),
        "signed length": (b"POST / HTTP/1.1\r\nContent-Length: +3\r\n", 400),
        "negative length": (b"POST / HTTP/1.1\r\nContent-Length: -3\r\n", 400),
        "hexadecimal length": (b"POST / HTTP/1.1\r\nContent-Length: 0x3\r\n", 400),
        "endless length": (b"POST / HTTP/1.1\r\nContent-Length: 18446744073709551619\r\n", 400),
        "no length": (b"POST / HTTP/1.1\r\nContent-Length:\r\n", 400),
        "space before the colon": (b"POST / HTTP/1.1\r\nContent-Length : 3\r\n", 400),
        "folded line": (b"GET / HTTP/1.1\r\nX: a\r\n b\r\n", 400),
        "folded first line": (b"GET / HTTP/1.1\r\n X: a\r\n", 400),
        "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        "bare LF in a header": (b"GET / HTTP/1.1\r\nX: a\nY: b\r\n", 400),
        "bare CR": (b"GET / HTTP/1.1\r\nX: a\rY: b\r\n", 400),
        "NUL": (b"GET / HTTP/1.1\r\nX: a\x00\r\n", 400),
        "no name": (b"GET / HTTP/1.1\r\n: a\r\n", 400),
        "no colon": (b"GET / HTTP/1.1\r\nX\r\n", 400),
        "high byte in the path": (b"GET /\xff HTTP/1.1\r\n", 400),
        "lower case method": (b"get / HTTP/1.1\r\n", 400),
        "unknown method": (b"FROB / HTTP/1.1\r\n", 400),
        "no method": (b"/ HTTP/1.1\r\n", 400),
        "HTTP/0.9": (b"GET /\r\n", 505),
        "HTTP/1.2": (b"GET / HTTP/1.2\r\n", 400),
        "HTTP/2.0": (b"GET / HTTP/2.0\r\n", 505),
        "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", 400),
        "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        "tunnel": (b"CONNECT a:443 HTTP/1.1\r\n", 400),
    }.values(),
)
def test_what_two_servers_might_understand_differently_is_refused(request_text: bytes, status: int) -> None:
    """And what stands behind it, perhaps as its body, is not taken for a request."""
    told = ask(request_text + (b"" if b"\n\n" in request_text else END), b"0\r\n\r\n" + TRAP)

    assert [each.status for each in told] == [status]


def test_an_upgrade_is_not_done_and_what_follows_is_not_a_request() -> None:
    upgrade = b"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 5\r\n"

    assert [(told.status, told.headers["connection"]) for told in ask(upgrade + END + TRAP, TRAP)] == [(200, "close")]


def test_after_the_last_answer_nothing_is_answered() -> None:
    assert [told.body for told in ask(LAST + TRAP, TRAP)] == [b"root\n"]
    assert [told.body for told in ask(b"GET /last HTTP/1.1\r\n" + END + TRAP, TRAP)] == [b"bye"]


def test_a_repeated_header_is_joined() -> None:
    async def body(server: Serving) -> None:
        await server.say(b"GET / HTTP/1.1\r\nhOST: b\r\nX:  1 \r\nX:\t2\r\nY: \xff\r\n" + CLOSE)
        (request,) = server.app.asked
        assert request.headers == {"host": "b, a", "x": "1, 2", "y": "\xff", "connection": "close"}

    with_server(body)


# Order


def test_requests_that_come_at_once_are_answered_in_order() -> None:
    def number(n: int, path: bytes = b"/") -> bytes:
        return b"GET %b?%d HTTP/1.1\r\n" % (path, n) + END

    async def body(server: Serving) -> None:
        answers = asyncio.create_task(server.say(number(1) + number(2, b"/slow") + number(3) + LAST))
        while len(server.app.asked) < 2:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        assert len(server.app.asked) == 2, "one after the other"
        server.app.go.release()
        assert [told.body for told in responses(await answers)] == [b"1\n", b"2\n", b"3\n", b"root\n"]

    with_server(body)


def test_ten_thousand_requests_at_once_keep_nobody_waiting_and_little_in_memory() -> None:
    async def body(server: Serving) -> None:
        reader, writer = await server.connect()
        writer.write(GET * 10_000 + LAST)
        mine = len(server.app.asked)
        while not mine:
            await asyncio.sleep(0)
            mine = len(server.app.asked)
        assert [told.status for told in responses(await server.say(LAST))] == [200]
        assert len(server.app.asked) - mine < 1000, "another client was served in between"
        assert len(responses(await reader.read())) == 10_001
        writer.close()

    with_server(body)


def test_who_does_not_read_its_answers_gets_no_others() -> None:
    async def body(server: Serving) -> None:
        _, writer = await server.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write((b"GET /big HTTP/1.1\r\n" + END) * 1000)
        while True:
            count = len(server.app.asked)
            await asyncio.sleep(0.1)
            if count and count == len(server.app.asked):
                break
        assert count < 20
        (connection,) = server.connections._open
        assert connection.transport.get_write_buffer_size() <= 2 * len(BIG)
        assert not connection.transport.is_reading()
        server.connections.sweep(connection.since + READ_PATIENCE - 1)
        assert not connection.transport.is_closing()
        server.connections.sweep(connection.since + READ_PATIENCE + 1)
        await server.until(0)
        writer.transport.abort()

    with_server(body)


def test_who_reads_late_gets_everything() -> None:
    async def body(server: Serving) -> None:
        reader, writer = await server.connect()
        writer.write((b"GET /big HTTP/1.1\r\n" + END) * 20 + LAST)
        await asyncio.sleep(0.1)
        told = responses(await reader.read())
        assert [len(each.body) for each in told] == [len(BIG)] * 20 + [5]
        writer.close()

    with_server(body)


# Time


def test_a_request_that_has_begun_must_be_whole_soon_even_over_a_connection_that_asked_before() -> None:
    async def body(server: Serving) -> None:
        reader, writer = await server.connect()
        writer.write(GET)
        await reader.readuntil(b"root\n")
        (connection,) = server.connections._open
        assert connection.patience == IDLE_PATIENCE
        begun = asyncio.get_running_loop().time()
        for part in (b"GE", b"T / HTTP/1.1\r\n", b"X: a\r\n", b"Y: b\r\n"):
            writer.write(part)
            await asyncio.sleep(0.02)
            assert begun <= connection.since < begun + 0.02, "more of the same is no excuse"
            assert connection.patience == FIRST_PATIENCE
        server.connections.sweep(connection.since + FIRST_PATIENCE + 1)
        assert await reader.read() == b""
        writer.close()

    with_server(body)


def test_a_body_that_never_comes_is_not_waited_for() -> None:
    async def body(server: Serving) -> None:
        reader, writer = await server.connect()
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n" + END)
        await server.until(1)
        await asyncio.sleep(0.02)
        (connection,) = server.connections._open
        server.connections.sweep(connection.since + FIRST_PATIENCE + 1)
        assert await reader.read() == b""
        writer.close()

    with_server(body)


# Ends


def test_a_refused_upload_does_not_lose_its_answer_to_a_reset() -> None:
    for size in (1 << 20, 64 << 20):
        (told,) = ask(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n" % size + END, *[bytes(1 << 16)] * 64)
        assert (told.status, told.whole) == (413, True)


def test_who_does_not_hang_up_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LINGER", 0.05)

    async def body(server: Serving) -> None:
        reader, writer = await server.connect()
        writer.write(LAST)
        assert (await reader.read()).endswith(b"root\n")
        await server.until(0)
        writer.close()

    with_server(body)


def test_a_client_that_has_gone_is_worked_for_no_more() -> None:
    async def body(server: Serving) -> None:
        _, writer = await server.connect()
        writer.write(b"GET /slow HTTP/1.1\r\n" + END)
        while not server.app.asked:
            await asyncio.sleep(0.005)
        writer.transport.abort()
        await server.until(0)
        assert server.app.given_up == 1

    with_server(body)


def test_a_client_may_go_at_any_moment() -> None:
    async def body(server: Serving) -> None:
        for path in (b"", b"slow", b"stream", b"big"):
            request = b"GET /" + path + b" HTTP/1.1\r\n" + END
            for size in range(0, len(request) + 1, 5):
                with socket.create_connection(("127.0.0.1", server.door.port)) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.sendall(request[:size] if size < len(request) - 5 else request)
                    await asyncio.sleep(0.001 * (size % 3))
        await server.until(0)
        assert len(server.app.ended) == len(server.app.streams)

    with_server(body)
