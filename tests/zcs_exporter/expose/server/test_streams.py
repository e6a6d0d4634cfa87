"""Responses whose end nobody knows yet, over real sockets."""

import asyncio

from http_parts import BIG, Serving, with_server

from zcs_exporter.expose.server.connections import IDLE_PATIENCE

TRAP = b"GET /trap HTTP/1.1\r\nHost: a\r\n\r\n"
STREAM = b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_stream_is_sent_part_by_part_and_ends_the_connection() -> None:
    async def body(server: Serving) -> None:
        reader, writer = await server.connect()
        writer.write(STREAM + TRAP)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked\r\n" in head
        assert b"Connection: close\r\n" in head
        (stream,) = server.app.streams
        stream.parts.put_nowait(b"one\n\n")
        assert await reader.readuntil(b"one\n\n\r\n") == b"5\r\none\n\n\r\n"
        stream.parts.put_nowait(b"")
        assert await reader.read() == b"0\r\n\r\n"
        writer.close()
        await server.until(0)
        assert server.app.ended == [stream]
        assert len(server.app.asked) == 1

    with_server(body)


def test_a_stream_for_http_1_0_has_no_chunks() -> None:
    async def body(server: Serving) -> None:
        reader, writer = await server.connect()
        writer.write(STREAM.replace(b"/1.1", b"/1.0"))
        assert b"chunked" not in await reader.readuntil(b"\r\n\r\n")
        for part in (b"one\n\n", b""):
            server.app.streams[0].parts.put_nowait(part)
        assert await reader.read() == b"one\n\n"
        writer.close()

    with_server(body)


def test_what_comes_during_a_stream_is_dropped_so_that_its_end_is_noticed() -> None:
    async def body(server: Serving) -> None:
        _, writer = await server.connect()
        writer.write(STREAM + TRAP * 10_000)
        await writer.drain()
        while not server.app.streams:
            await asyncio.sleep(0.005)
        writer.close()
        await server.until(0)
        assert server.app.ended == server.app.streams
        assert len(server.app.asked) == 1

    with_server(body)


def test_a_stream_waits_for_who_does_not_read_and_ends_with_who_goes() -> None:
    async def body(server: Serving) -> None:
        reader, writer = await server.connect()
        writer.write(STREAM)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        (stream,) = server.app.streams
        for _ in range(50):
            stream.parts.put_nowait(BIG)
        sent = -1
        while sent != stream.sent or not sent:
            sent = stream.sent
            await asyncio.sleep(0.1)
        assert sent < 20 * len(BIG)
        (connection,) = server.connections._open
        server.connections.sweep(connection.since + 10 * IDLE_PATIENCE)
        assert connection.busy(), "its own patience counts"
        assert connection.transport.get_write_buffer_size() <= 2 * len(BIG)
        writer.transport.abort()
        await server.until(0)
        assert server.app.ended == [stream]

    with_server(body)
