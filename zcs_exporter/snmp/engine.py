"""The only module that imports pysnmp, and the ways round its pitfalls.

Each destination has an engine of its own, since an engine with several targets sends to all of
them. An engine's identity is ours, since pysnmp would keep its boots in a predictable folder of the
temporary directory. A datagram is looked at before it is decoded, since decoding a hostile one can
hold the loop for half a second, and what decoding raises is counted here and goes no further.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pyasn1.type import univ  # type: ignore[import-untyped]
from pysnmp.carrier.asyncio.dgram.udp import SNMP_UDP_DOMAIN, UdpTransport  # type: ignore[import-untyped]
from pysnmp.carrier.asyncio.dgram.udp6 import SNMP_UDP6_DOMAIN, Udp6Transport  # type: ignore[import-untyped]
from pysnmp.entity import config  # type: ignore[import-untyped]
from pysnmp.entity.engine import SnmpEngine  # type: ignore[import-untyped]
from pysnmp.entity.rfc3413.ntforg import NotificationOriginator  # type: ignore[import-untyped]
from pysnmp.entity.rfc3413.ntfrcv import NotificationReceiver  # type: ignore[import-untyped]
from pysnmp.error import PySnmpError  # type: ignore[import-untyped]
from pysnmp.proto import errind  # type: ignore[import-untyped]
from pysnmp.proto.api import v2c  # type: ignore[import-untyped]
from pysnmp.proto.error import StatusInformation  # type: ignore[import-untyped]
from pysnmp.proto.rfc1902 import Integer32  # type: ignore[import-untyped]

from zcs_exporter.contract import Clock
from zcs_exporter.snmp.destination import DeliveryError, Destination, Fault
from zcs_exporter.snmp.identity import EngineIdentity
from zcs_exporter.snmp.notification import MAX_MESSAGE, Oid, Syntax, Value, VarBind
from zcs_exporter.snmp.secrets import Community, Secrets, UsmUser

log = logging.getLogger(__name__)

SYS_UP_TIME: Oid = (1, 3, 6, 1, 2, 1, 1, 3, 0)
SNMP_TRAP_OID: Oid = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)

MAX_DATAGRAM = 1500
"""Longer datagrams are dropped unread, in octets."""

_AUTH = {
    "MD5": config.USM_AUTH_HMAC96_MD5,
    "SHA-1": config.USM_AUTH_HMAC96_SHA,
    "SHA-224": config.USM_AUTH_HMAC128_SHA224,
    "SHA-256": config.USM_AUTH_HMAC192_SHA256,
    "SHA-384": config.USM_AUTH_HMAC256_SHA384,
    "SHA-512": config.USM_AUTH_HMAC384_SHA512,
}
_PRIV = {
    "DES": config.USM_PRIV_CBC56_DES,
    "3DES": config.USM_PRIV_CBC168_3DES,
    "AES-128": config.USM_PRIV_CFB128_AES,
    # The way of lengthening keys that Net-SNMP uses too.
    "AES-192": config.USM_PRIV_CFB192_AES_BLUMENTHAL,
    "AES-256": config.USM_PRIV_CFB256_AES_BLUMENTHAL,
}
_SYNTAX = {
    Syntax.UNSIGNED: v2c.Unsigned32,
    Syntax.SEVERITY: v2c.Integer32,
    Syntax.TEXT: v2c.OctetString,
    Syntax.TIME: v2c.OctetString,
}
_MESSAGE_MODEL = {"2c": 1, "3": 3}
_SILENCE = (errind.requestTimedOut, errind.notInTimeWindow, errind.unknownEngineID, errind.engineIDMismatch)
_SECURITY_MODEL_USM = 3


class Gate:
    """Lets a datagram through to the decoder, or not: by its length and by a token bucket.

    Attributes:
        dropped: Datagrams that were not let through.
        malformed: Datagrams that the decoder failed on.
    """

    def __init__(self, clock: Clock, rate: float, burst: int, full: Callable[[], bool] = lambda: False) -> None:
        """Allow ``rate`` datagrams a second and ``burst`` at once, and none while the reader's queue is ``full``."""
        self._clock = clock
        self._full = full
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._filled = clock.monotonic()
        self.dropped = 0
        self.malformed = 0

    def admits(self, length: int) -> bool:
        """Return whether a datagram of ``length`` octets that has just come may be decoded."""
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if length > MAX_DATAGRAM or self._tokens < 1 or self._full():
            self.dropped += 1
            return False
        self._tokens -= 1
        return True


class _Guarded:
    """What both of our transports add to pysnmp's."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate
        self.send_error: OSError | None = None

    def datagram_received(self, datagram: bytes, address: Any) -> None:
        """Decode what the gate admits, here and now, so that nothing it raises reaches the loop."""
        callback = self._callback_function  # type: ignore[attr-defined]  # of pysnmp's transport
        if callback is None or not self.gate.admits(len(datagram)):
            return
        try:
            callback(self, address, datagram)
        except Exception as exc:  # noqa: BLE001 - whatever hostile octets do to the decoder
            self.gate.malformed += 1
            log.debug("snmp: a datagram from %s could not be decoded: %s", address[0], type(exc).__name__)

    def error_received(self, exc: OSError) -> None:
        """Remember what the host's own network said, which pysnmp does not."""
        self.send_error = exc

    def send_message(self, message: bytes, address: Any) -> None:
        """Send ``message`` unless a path might have to fragment it."""
        if len(message) > MAX_MESSAGE:
            raise StatusInformation(errorIndication=errind.tooBig)
        super().send_message(message, address)  # type: ignore[misc]  # of pysnmp's transport


class _Udp4(_Guarded, UdpTransport):  # type: ignore[misc]  # pysnmp has no types
    pass


class _Udp6(_Guarded, Udp6Transport):  # type: ignore[misc]  # pysnmp has no types
    pass


def _new_engine(identity: EngineIdentity) -> Any:
    engine = SnmpEngine()
    builder = engine.get_mib_builder()
    engine_id, boots, engine_time = builder.import_symbols(
        "__SNMP-FRAMEWORK-MIB", "snmpEngineID", "snmpEngineBoots", "snmpEngineTime"
    )
    engine_id.syntax = engine_id.syntax.clone(identity.engine_id)
    engine.snmpEngineID = engine_id.syntax
    boots.syntax = boots.syntax.clone(identity.boots)
    engine_time.syntax = _EngineTime(identity)
    return engine


class _EngineTime(Integer32):  # type: ignore[misc]  # pysnmp has no types
    """Reads engine time anew whenever pysnmp clones it, which it does for each message."""

    def __init__(self, identity: EngineIdentity) -> None:
        super().__init__(identity.engine_time)
        self._identity = identity

    def clone(self, *_args: Any, **_kwargs: Any) -> Any:
        return Integer32(self._identity.engine_time)


async def _open_transport(engine: Any, gate: Gate, family: int, bind: tuple[str, int] | None) -> Any:
    transport = _Udp6(gate) if family == socket.AF_INET6 else _Udp4(gate)
    domain = SNMP_UDP6_DOMAIN if family == socket.AF_INET6 else SNMP_UDP_DOMAIN
    await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: transport, local_addr=bind, family=socket.AF_UNSPEC if bind else family
    )
    config.add_transport(engine, domain, transport)
    return transport


def _close(engine: Any) -> None:
    dispatcher = engine.transport_dispatcher
    if dispatcher is None:
        return
    ticker = dispatcher.loopingcall
    engine.close_dispatcher()
    if ticker is not None and ticker.done() and not ticker.cancelled():
        # A tick that failed has ended the ticking; asked here, the loop does not log it.
        ticker.exception()


def _add_user(engine: Any, user: UsmUser, engine_id: bytes | None) -> None:
    config.add_v3_user(
        engine,
        user.user,
        _AUTH[user.auth_protocol],
        user.auth_password,
        _PRIV[user.priv_protocol],
        user.priv_password,
        securityEngineId=None if engine_id is None else v2c.OctetString(engine_id),
    )


class Session:
    """An engine that notifies one destination; thrown away when an inform fails.

    An engine that has once spoken to a receiver does not notice that the receiver was restarted
    until its cache of 300 s runs out. A new one needs 0.1 s to find out.
    """

    def __init__(self, destination: Destination, identity: EngineIdentity, engine: Any, transport: Any) -> None:
        """Not called from outside; see ``open``."""
        self._destination = destination
        self._identity = identity
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
        engine = _new_engine(identity)
        # Answers come one at a time; a flood of forged ones must not hold the loop.
        gate = Gate(clock, rate=100, burst=100)
        try:
            transport = await _open_transport(engine, gate, family, None)
        except OSError as exc:
            raise DeliveryError(Fault.UNREACHABLE, f"{destination.name}: opening a socket: {exc.strerror}") from exc
        session = cls(destination, identity, engine, transport)
        try:
            session._configure(address, SNMP_UDP6_DOMAIN if family == socket.AF_INET6 else SNMP_UDP_DOMAIN)
        except BaseException:
            session.close()
            raise
        return session

    def _configure(self, address: tuple[str, int], domain: Oid) -> None:
        to, engine = self._destination, self._engine
        if isinstance(to.secrets, UsmUser):
            _add_user(engine, to.secrets, None)
            name, level = to.secrets.user, "authPriv"
        else:
            config.add_v1_system(engine, "destination", to.secrets.community)
            name, level = "destination", "noAuthNoPriv"
        config.add_target_parameters(engine, "parameters", name, level, _MESSAGE_MODEL[to.version])
        config.add_target_address(engine, "target", domain, address, "parameters", to.timeout * 100, to.retries)

    async def send(self, trap: Oid, variables: Iterable[VarBind]) -> None:
        """Send a notification, and for an inform wait until it is acknowledged.

        Raises:
            DeliveryError: It was not sent or not acknowledged.
        """
        pdu = v2c.InformRequestPDU() if self._destination.kind == "inform" else v2c.SNMPv2TrapPDU()
        v2c.apiPDU.set_defaults(pdu)
        v2c.apiPDU.set_varbinds(
            pdu,
            [
                (SYS_UP_TIME, v2c.TimeTicks(self._identity.up_time)),
                (SNMP_TRAP_OID, v2c.ObjectIdentifier(trap)),
                *((item.oid, _SYNTAX[item.syntax](item.value)) for item in variables),
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
        if self._destination.kind == "trap":
            return
        indication, response = await answer
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
        _close(self._engine)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A notification as it came, its variables in their order, values without their types.

    Attributes:
        version: ``1``, ``2c`` or ``3``.
        user: The SNMPv3 user, empty otherwise.
    """

    address: str
    version: str
    user: str
    confirmed: bool
    variables: tuple[tuple[Oid, Value], ...]


class Reception:
    """An engine that receives notifications and acknowledges informs."""

    def __init__(self, identity: EngineIdentity, gate: Gate, arrived: Callable[[Arrival], None]) -> None:
        """Call ``arrived`` on the event loop with each notification."""
        self._engine = _new_engine(identity)
        self._gate = gate
        self._arrived = arrived
        NotificationReceiver(self._engine, self._receive)

    def allow(self, secrets: Secrets, engine_id: bytes | None, number: int) -> None:
        """Accept a community or a user; ``engine_id`` is the sender's, for a user that sends traps."""
        if isinstance(secrets, Community):
            config.add_v1_system(self._engine, f"community-{number}", secrets.community)
            return
        _add_user(self._engine, secrets, None)
        if engine_id is not None:
            _add_user(self._engine, secrets, engine_id)

    async def open(self, address: str, port: int) -> int:
        """Listen, and return the port.

        Raises:
            OSError: The address cannot be bound.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        transport = await _open_transport(self._engine, self._gate, family, (address, port))
        bound: int = transport.transport.get_extra_info("sockname")[1]
        return bound

    def close(self) -> None:
        """Close the socket and let go of the engine."""
        _close(self._engine)

    def _receive(
        self, engine: Any, reference: Any, _context_engine: Any, _context: Any, variables: Any, _own: Any
    ) -> None:
        about = engine.observer.get_execution_context("rfc3412.receiveMessage:request")
        model = int(about["securityModel"])
        self._arrived(
            Arrival(
                address=str(about["transportAddress"][0]),
                version={1: "1", 2: "2c"}.get(model, "3"),
                user=str(about["securityName"]) if model == _SECURITY_MODEL_USM else "",
                confirmed=about["pdu"].tagSet == v2c.InformRequestPDU.tagSet,
                variables=tuple((tuple(name), _plain(value)) for name, value in variables),
            )
        )


def _plain(value: Any) -> Value:
    if isinstance(value, univ.ObjectIdentifier):
        return tuple(value)
    if isinstance(value, univ.Integer):
        return int(value)
    return value.asOctets() if isinstance(value, univ.OctetString) else b""
