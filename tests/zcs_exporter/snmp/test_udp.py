"""Answers from the address that was asked, on real sockets of loopback."""

import select
import socket

import pytest

from zcs_exporter.snmp.udp import bind, receive, send


@pytest.mark.parametrize(
    ("listen", "asked", "seen"),
    [
        ("0.0.0.0", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.2", "127.0.0.2"),
        ("127.0.0.2", "127.0.0.2", "127.0.0.2"),
        ("::", "127.0.0.2", "127.0.0.2"),
        ("::", "::1", "::1"),
        ("::1", "::1", "::1"),
    ],
)
def test_an_answer_comes_from_the_address_that_was_asked(listen: str, asked: str, seen: str) -> None:
    family = socket.AF_INET6 if ":" in asked else socket.AF_INET
    with bind(listen, 0) as bound, socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        client.sendto(b"question", (asked, bound.getsockname()[1]))
        select.select([bound], [], [], 5)
        datagram, peer, source = receive(bound, 100)
        send(bound, datagram + b" and answer", peer, source)
        answer, address = client.recvfrom(100)

    assert (answer, address[0]) == (b"question and answer", seen)


def test_what_is_too_long_is_cut_and_nothing_is_an_error() -> None:
    with bind("127.0.0.1", 0) as bound, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        with pytest.raises(BlockingIOError):
            receive(bound, 100)
        client.sendto(bytes(200), bound.getsockname())
        select.select([bound], [], [], 5)

        assert len(receive(bound, 100)[0]) == 100
