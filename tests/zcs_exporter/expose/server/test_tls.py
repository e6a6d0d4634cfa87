"""The same over TLS, and who never gets that far."""

import asyncio
import contextlib
import socket
import ssl

import pytest
from http_parts import Serving, responses, with_server
from web_parts import Certificates

from zcs_exporter.expose.server import connections
from zcs_exporter.expose.server.door import HANDSHAKE_PATIENCE, MOST_ARRIVING
from zcs_exporter.expose.server.reader import MOST_TARGET

END = b"Host: a\r\n\r\n"
GET = b"GET / HTTP/1.1\r\n" + END
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def tls(certificates: Certificates) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(*certificates.server)
    return ours, ssl.create_default_context(cafile=str(certificates.ca))


def test_over_tls_everything_is_the_same(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def body(server: Serving) -> None:
        async def ask(*parts: bytes) -> list[int]:
            return [told.status for told in responses(await server.say(*parts, ssl=tls[1]))]

        assert await ask(GET * 100 + b"GET /big HTTP/1.1\r\n" + END, LAST) == [200] * 102
        assert await ask(GET, b"\x00") == [200, 400]
        assert await ask(b"GET /" + b"x" * 20 * MOST_TARGET) == [414]
        assert await ask(b"POST / HTTP/1.1\r\nContent-Length: 9999999\r\n" + END, bytes(1 << 20)) == [413]
        assert await ask((b"GET /big HTTP/1.1\r\n" + END) * 5 + LAST) == [200] * 6

    with_server(body, tls[0])


def test_who_speaks_no_tls_is_not_let_in_and_breaks_nothing(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def body(server: Serving) -> None:
        for nonsense in (GET, b"\x16\x03\x01", b"", bytes(100_000)):
            with contextlib.suppress(ConnectionError):
                reader, writer = await server.connect()
                writer.write(nonsense)
                writer.write_eof()
                assert not (await reader.read()).startswith(b"HTTP")
            writer.close()
        assert responses(await server.say(LAST, ssl=tls[1]))[0].status == 200
        assert len(server.app.asked) == 1

    with_server(body, tls[0])


def test_clients_that_never_agree_on_tls_make_room_for_others(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def body(server: Serving) -> None:
        silent = [await server.connect() for _ in range(MOST_ARRIVING + 10)]
        while len(server.door._arriving) < MOST_ARRIVING:
            await asyncio.sleep(0.005)
        assert responses(await server.say(LAST, ssl=tls[1]))[0].status == 200
        assert len(server.door._arriving) <= MOST_ARRIVING
        async with asyncio.timeout(HANDSHAKE_PATIENCE / 2):
            assert await silent[0][0].read() == b"", "the oldest had to go"
        for _, writer in silent:
            writer.close()

    with_server(body, tls[0])


def test_clients_that_never_say_good_bye_make_room_for_others(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST", 5)
    silent: list[ssl.SSLSocket] = []

    def ask(port: int) -> None:
        plain = socket.create_connection(("127.0.0.1", port))
        silent.append(tls[1].wrap_socket(plain, server_hostname="localhost"))
        silent[-1].sendall(LAST)  # and never read: our good-bye is not answered

    async def body(server: Serving) -> None:
        for _ in range(12):
            await asyncio.to_thread(ask, server.door.port)
        assert len(server.connections) <= connections.MOST
        assert responses(await server.say(LAST, ssl=tls[1]))[0].status == 200
        for each in silent:
            each.close()

    with_server(body, tls[0])
