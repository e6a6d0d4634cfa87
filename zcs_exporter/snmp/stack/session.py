"""Sends notifications to one destination."""

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

from pysnmp.entity import config  # type: ignore[import-untyped]
from pysnmp.entity.rfc3413.ntforg import NotificationOriginator  # type: ignore[import-untyped]
from pysnmp.error import PySnmpError  # type: ignore[import-untyped]
from pysnmp.proto import errind  # type: ignore[import-untyped]
from pysnmp.proto.api import v2c  # type: ignore[import-untyped]
from pysnmp.proto.error import StatusInformation  # type: ignore[import-untyped]

from zcs_exporter.contract import Clock
from zcs_exporter.snmp.destination import DeliveryError, Destination, Fault
from zcs_exporter.snmp.gate import Gate
from zcs_exporter.snmp.identity import EngineIdentity
from zcs_exporter.snmp.secrets import UsmUser
from zcs_exporter.snmp.smi import Oid, VarBind
from zcs_exporter.snmp.stack.engine import MESSAGE_MODEL, add_community, add_user, close_engine, new_engine, typed
from zcs_exporter.snmp.stack.transport import domain_of, open_transport

SYS_UP_TIME: Oid = (1, 3, 6, 1, 2, 1, 1, 3, 0)
SNMP_TRAP_OID: Oid = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)
_SNMP_TRAP_ADDRESS: Oid = (1, 3, 6, 1, 6, 3, 18, 1, 3, 0)
"""From this variable pysnmp takes the address of the sender that only version 1 has a place for."""

_SILENCE = (errind.requestTimedOut, errind.notInTimeWindow, errind.unknownEngineID, errind.engineIDMismatch)


def _own_address(peer: tuple[str, int], family: int) -> str:
    """Return the IPv4 address that a receiver sees us under; 0.0.0.0 where there is none."""
    nowhere = "0.0.0.0"  # noqa: S104 - no address to listen on
    if family != socket.AF_INET:
        return nowhere
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(peer)  # asks the routing table, and sends nothing
        except OSError:
            return nowhere
        address: str = probe.getsockname()[0]
        return address


class Session:
    """An engine that notifies one destination; thrown away when an inform fails.

    An engine that has once spoken to a receiver does not notice that the receiver was restarted
    until its cache of 300 s runs out. A new one needs 0.1 s to find out.
    """

    def __init__(self, destination: Destination, own_address: str, engine: Any, transport: Any) -> None:
        """Not called from outside; see ``open``."""
        self._destination = destination
        self._own_address = own_address
        self._engine = engine
        self._transport = transport
        self._originator = NotificationOriginator()

    @classmethod
    async def open(
        cls, destination: Destination, address: tuple[str, int], family: int, identity: EngineIdentity, clock: Clock
    ) -> "Session":
        """Return a session that sends to ``address``, which is numeric.

        Raises:
            DeliveryError: This host has no such socket to give.
        """
        engine = new_engine(identity)
        # Each datagram has one answer; a flood of forged ones must not hold the loop.
        gate = Gate(clock, rate=100, burst=100, answers=5)
        try:
            transport = await open_transport(engine, gate, family)
        except OSError as exc:
            raise DeliveryError(Fault.UNREACHABLE, f"{destination.name}: opening a socket: {exc.strerror}") from exc
        session = cls(destination, _own_address(address, family), engine, transport)
        try:
            session._configure(address, domain_of(family))
        except BaseException:
            session.close()
            raise
        return session

    def _configure(self, address: tuple[str, int], domain: Oid) -> None:
        to, engine = self._destination, self._engine
        if isinstance(to.secrets, UsmUser):
            add_user(engine, to.secrets)
            name, level = to.secrets.user, "authPriv"
        else:
            add_community(engine, "destination", to.secrets.community)
            name, level = "destination", "noAuthNoPriv"
        config.add_target_parameters(engine, "parameters", name, level, MESSAGE_MODEL[to.version])
        config.add_target_address(engine, "target", domain, address, "parameters", to.timeout * 100, 0)

    async def send(self, trap: Oid, variables: Iterable[VarBind], up_time: int, *, confirmed: bool) -> None:
        """Send a notification once; if it is to be confirmed, as an inform, wait until it is acknowledged.

        For version 1 it is converted as RFC 3584, 3.2, says.

        Raises:
            DeliveryError: It was not sent or not acknowledged.
        """
        pdu = v2c.InformRequestPDU() if confirmed else v2c.SNMPv2TrapPDU()
        sender = [(_SNMP_TRAP_ADDRESS, v2c.IpAddress(self._own_address))] if self._destination.version == "1" else []
        v2c.apiPDU.set_defaults(pdu)
        v2c.apiPDU.set_varbinds(
            pdu,
            [
                (SYS_UP_TIME, v2c.TimeTicks(up_time)),
                (SNMP_TRAP_OID, v2c.ObjectIdentifier(trap)),
                *((item.oid, typed(item)) for item in variables),
                *sender,
            ],
        )
        answer: asyncio.Future[tuple[Any, Any]] = asyncio.get_running_loop().create_future()

        def answered(_engine: Any, _handle: Any, indication: Any, response: Any, _context: Any) -> None:
            if not answer.done():
                answer.set_result((indication, response))

        self._transport.send_error = None
        try:
            self._originator.send_pdu(self._engine, "target", None, "", pdu, answered)
        except StatusInformation as exc:
            raise self._failure(exc["errorIndication"]) from exc
        except PySnmpError as exc:
            raise DeliveryError(Fault.UNSENDABLE, f"{self._destination.name}: {exc}") from exc
        if self._transport.send_error is not None:
            error = self._transport.send_error
            raise DeliveryError(Fault.UNREACHABLE, f"{self._destination.name}: sending: {error.strerror or error}")
        if not confirmed:
            return
        clockwork = self._engine.transport_dispatcher
        while not answer.done():
            await asyncio.wait([answer], timeout=clockwork.get_timer_resolution())
            clockwork.tick()
        indication, response = answer.result()
        if indication is not None:
            raise self._failure(indication)
        if status := int(v2c.apiPDU.get_error_status(response)):
            raise DeliveryError(Fault.REFUSED, f"{self._destination.name}: the receiver answered error status {status}")

    def _failure(self, indication: Any) -> DeliveryError:
        to = self._destination
        if indication in (errind.tooBig, errind.serializationError):
            return DeliveryError(Fault.UNSENDABLE, f"{to.name}: {indication}")
        if indication in _SILENCE:
            return to.no_answer()
        return DeliveryError(
            Fault.REFUSED,
            f"{to.name}: {to.host} refuses us: {indication}; waiting will not heal this, "
            "compare user, keys and protocols in the secrets file with the receiver's",
        )

    def close(self) -> None:
        """Close the socket and let go of the engine."""
        close_engine(self._engine)
