"""UDP sockets that look at a datagram before it is decoded."""

import asyncio
import logging
import socket
from collections import OrderedDict, deque
from typing import Any

from pysnmp.carrier.asyncio.dgram.udp import SNMP_UDP_DOMAIN, UdpTransport  # type: ignore[import-untyped]
from pysnmp.carrier.asyncio.dgram.udp6 import SNMP_UDP6_DOMAIN, Udp6Transport  # type: ignore[import-untyped]
from pysnmp.entity import config  # type: ignore[import-untyped]
from pysnmp.proto import errind  # type: ignore[import-untyped]
from pysnmp.proto.error import StatusInformation  # type: ignore[import-untyped]

from zcs_exporter.snmp.gate import MAX_DATAGRAM, Door
from zcs_exporter.snmp.notification import MAX_MESSAGE
from zcs_exporter.snmp.smi import Oid
from zcs_exporter.snmp.stack.clockwork import Clockwork
from zcs_exporter.snmp.udp import receive, send

log = logging.getLogger(__name__)

MOST_WAITING = 64
"""Datagrams of one sender that wait for their turn."""

MOST_AT_ONCE = 200
"""Datagrams that are taken out of a socket before somebody else has a turn."""


class _Guarded:
    """What both of our transports add to pysnmp's."""

    PROTO_TRANSPORT_DISPATCHER = Clockwork

    def __init__(self, door: Door) -> None:
        super().__init__()
        self._door = door
        self.send_error: OSError | None = None

    def datagram_received(self, datagram: bytes, address: Any) -> None:
        """Decode what the door admits."""
        if self._door.admits(datagram, address[0]):
            self._decode(datagram, address)

    def _decode(self, datagram: bytes, address: Any) -> None:
        """Decode here and now, so that nothing it raises reaches the loop."""
        callback = self._callback_function  # type: ignore[attr-defined]  # of pysnmp's transport
        if callback is None:
            return
        try:
            callback(self, address, datagram)
        except Exception as exc:  # noqa: BLE001 - whatever hostile octets do to the decoder
            self._door.failed(address[0])
            log.debug("snmp: a datagram from %s could not be decoded: %s", address[0], type(exc).__name__)

    def error_received(self, exc: OSError) -> None:
        """Remember what the host's own network said, which pysnmp does not."""
        self.send_error = exc

    def send_message(self, message: bytes, address: Any) -> None:
        """Send ``message`` unless a path might have to fragment it."""
        if len(message) > MAX_MESSAGE:
            raise StatusInformation(errorIndication=errind.tooBig)
        self._door.sent(len(message), address[0])
        self._transmit(message, address)

    def _transmit(self, message: bytes, address: Any) -> None:
        super().send_message(message, address)  # type: ignore[misc]  # of pysnmp's transport


class _Fair(_Guarded):
    """Serves senders in turn, one datagram at a time, so that a flood from one delays no other.

    What has come is taken out of the socket at once: what does not fit into it is lost, whoever sent it. It is
    answered from the address that it was sent to.
    """

    def __init__(self, door: Door, bound: socket.socket) -> None:
        super().__init__(door)
        self._bound = bound
        self._waiting: OrderedDict[str, deque[tuple[bytes, Any]]] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(bound, self._take)

    def close_transport(self) -> None:
        """Close the socket."""
        if self._bound.fileno() >= 0:
            self._loop.remove_reader(self._bound)
            self._bound.close()
        super().close_transport()  # type: ignore[misc]  # of pysnmp's transport

    def _take(self) -> None:
        """Queue what the door admits of all that has come."""
        idle = not self._waiting
        for _ in range(MOST_AT_ONCE):
            try:
                datagram, peer, ours = receive(self._bound, MAX_DATAGRAM + 1)
            except OSError:
                break
            # pysnmp hands the address back with the answer, and passes on what is attached to it.
            self._queue(datagram, self.ADDRESS_TYPE(peer).set_local_address(ours))  # type: ignore[attr-defined]
        if idle and self._waiting:
            self._loop.call_soon(self._serve)

    def _queue(self, datagram: bytes, address: Any) -> None:
        source = address[0]
        if not self._door.admits(datagram, source):
            return
        queue = self._waiting.setdefault(source, deque())
        if len(queue) < MOST_WAITING:
            queue.append((datagram, address))
        else:
            self._door.crowded_out(source)

    def _serve(self) -> None:
        """Decode one datagram of the sender that has waited longest."""
        if self._bound.fileno() < 0:
            return  # closed meanwhile
        source, queue = self._waiting.popitem(last=False)
        datagram, address = queue.popleft()
        if queue:
            self._waiting[source] = queue
        self._decode(datagram, address)
        if self._waiting:
            self._loop.call_soon(self._serve)

    def _transmit(self, message: bytes, address: Any) -> None:
        try:
            send(self._bound, message, address, address.get_local_address())
        except OSError as exc:
            # As if it were lost on the way: who asked asks again.
            log.debug("snmp: an answer to %s could not be sent: %s", address[0], exc.strerror)


class _Udp4(_Guarded, UdpTransport):  # type: ignore[misc]  # pysnmp has no types
    pass


class _Udp6(_Guarded, Udp6Transport):  # type: ignore[misc]  # pysnmp has no types
    pass


class _FairUdp4(_Fair, UdpTransport):  # type: ignore[misc]  # pysnmp has no types
    pass


class _FairUdp6(_Fair, Udp6Transport):  # type: ignore[misc]  # pysnmp has no types
    pass


def domain_of(family: int) -> Oid:
    """Return what pysnmp calls the transport of an address family."""
    domain: Oid = SNMP_UDP6_DOMAIN if family == socket.AF_INET6 else SNMP_UDP_DOMAIN
    return domain


async def open_transport(engine: Any, door: Door, family: int, bound: socket.socket | None = None) -> Any:
    """Give an engine a socket: one that is ``bound`` already, or any.

    Raises:
        OSError: This host has no such socket to give.
    """
    transport = _Udp6(door) if family == socket.AF_INET6 else _Udp4(door)
    loop = asyncio.get_running_loop()
    if bound is not None:
        await loop.create_datagram_endpoint(lambda: transport, sock=bound)
    else:
        await loop.create_datagram_endpoint(lambda: transport, family=family)
    config.add_transport(engine, domain_of(family), transport)
    return transport


def open_fair_transport(engine: Any, door: Door, bound: socket.socket) -> None:
    """Give an engine a bound socket, whose senders are served in turn."""
    transport = _FairUdp6(door, bound) if bound.family == socket.AF_INET6 else _FairUdp4(door, bound)
    config.add_transport(engine, domain_of(bound.family), transport)
