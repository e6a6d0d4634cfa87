import asyncio
import resource
import socket
import ssl

import pytest
from http_parts import responses, serving

from zcs_exporter.expose.server import door

LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def test_when_there_are_no_more_descriptors_clients_wait_until_there_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(door, "_PAUSE", 0.02)

    async def body() -> None:
        async with serving() as server:
            loop = asyncio.get_running_loop()
            with socket.socket() as client:
                client.setblocking(False)
                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                with socket.socket() as free:
                    lowest = free.fileno()
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
                try:
                    await loop.sock_connect(client, ("127.0.0.1", server.door.port))
                    await loop.sock_sendall(client, LAST)
                    await asyncio.sleep(0.2)
                    assert not server.app.asked
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.1 200 ")

    asyncio.run(body())

    assert [record.message for record in caplog.records] == [
        "web: no connection can be accepted: Too many open files; trying again every second"
    ]


def test_a_door_can_be_closed_while_somebody_arrives() -> None:
    async def body(tls: ssl.SSLContext | None) -> None:
        for turns in range(6):
            async with serving(tls) as server:
                with socket.create_connection(("127.0.0.1", server.door.port)) as client:
                    client.setblocking(False)
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    server.door.close()
                    await server.connections.finish(0.1)
                    await asyncio.sleep(0.01)
                    assert not server.connections
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", server.door.port))

    for tls in (None, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)):
        asyncio.run(body(tls))


def test_who_comes_while_the_server_stops_is_sent_away() -> None:
    async def body() -> None:
        async with serving() as server:
            waiting = asyncio.create_task(server.say(LAST.replace(b"/ ", b"/slow ")))
            await server.until(1)
            while not server.app.asked:
                await asyncio.sleep(0.001)
            stopping = asyncio.create_task(server.connections.finish(5))
            await asyncio.sleep(0)
            assert await server.say(LAST) == b""
            server.app.go.release()
            await stopping
            assert [told.status for told in responses(await waiting)] == [200]

    asyncio.run(body())
