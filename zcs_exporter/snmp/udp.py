"""UDP sockets on numeric addresses, which can answer from the one of several addresses that was asked."""

import ipaddress
import socket
import struct
from collections.abc import Iterable
from typing import Any

Ancillary = tuple[tuple[int, int, bytes], ...]
"""What the kernel says about a datagram beside its octets, or is told."""

_IP_PKTINFO = 8  # of <bits/in.h>; Python has no name for it before 3.14
_INFO4, _INFO6 = struct.Struct("=i4s4s"), struct.Struct("=16sI")
_LONGEST_INFO = socket.CMSG_SPACE(max(_INFO4.size, _INFO6.size))


def bind(address: str, port: int, beside: socket.socket | None = None) -> socket.socket:
    """Return a UDP socket on a numeric address.

    Args:
        address: The address.
        port: The port.
        beside: Another socket of ours, on the same port, which shall not be in the way: one on all addresses forbids
            one on a single address, and the other way round.

    Raises:
        OSError: The address cannot be had.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sharing = () if beside is None else (bound, beside)
    try:
        bound.setblocking(False)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        _let_share(sharing, True)
        bound.bind((address, port))
    except BaseException:
        bound.close()
        raise
    finally:
        # Only for that moment: nobody else may take the port from us.
        _let_share([each for each in sharing if each.fileno() >= 0], False)
    return bound


def receive(bound: socket.socket, most: int) -> tuple[bytes, Any, Ancillary]:
    """Return the next datagram, who sent it, and what makes ``send`` answer from the address that it was sent to.

    Args:
        bound: A socket from ``bind``.
        most: Octets; the rest is cut off.

    Raises:
        OSError: There is none now, or the network says something else.
    """
    datagram, told, _, peer = bound.recvmsg(most, _LONGEST_INFO)
    return datagram, peer, tuple(filter(None, map(_source, told)))


def send(bound: socket.socket, datagram: bytes, peer: Any, source: Ancillary = ()) -> None:
    """Send a datagram, from what ``receive`` returned as the last.

    Raises:
        OSError: The host's own network does not take it.
    """
    bound.sendmsg([datagram], source, 0, peer)


def _source(told: tuple[int, int, bytes]) -> tuple[int, int, bytes] | None:
    """Return what to tell the kernel to get the address of arrival as the sender's, by whichever interface."""
    level, kind, data = told
    if (level, kind, len(data)) == (socket.IPPROTO_IP, _IP_PKTINFO, _INFO4.size):
        _, local, _ = _INFO4.unpack(data)
        return level, kind, _INFO4.pack(0, local, b"")
    if (level, kind, len(data)) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _INFO6.size):
        local, _ = _INFO6.unpack(data)
        # An address of the link alone means nothing without its interface.
        return (level, kind, data if ipaddress.IPv6Address(local).is_link_local else _INFO6.pack(local, 0))
    return None


def _let_share(sockets: Iterable[socket.socket], share: bool) -> None:
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, share)
