"""Receives notifications and acknowledges informs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyasn1.type import univ  # type: ignore[import-untyped]
from pysnmp.entity.rfc3413.ntfrcv import NotificationReceiver  # type: ignore[import-untyped]
from pysnmp.proto import errind  # type: ignore[import-untyped]
from pysnmp.proto.api import v2c  # type: ignore[import-untyped]

from zcs_exporter.snmp.gate import Gate
from zcs_exporter.snmp.identity import EngineIdentity
from zcs_exporter.snmp.secrets import Community, Secrets
from zcs_exporter.snmp.smi import Oid, Value
from zcs_exporter.snmp.stack.engine import add_community, add_user, close_engine, new_engine
from zcs_exporter.snmp.stack.transport import open_transport
from zcs_exporter.snmp.udp import bind

_SECURITY_MODEL_USM = 3

_FAILURES = ("rfc2576.prepareDataElements:sm-failure", "rfc3412.prepareDataElements:sm-failure")
"""Where pysnmp tells that it does not trust a message, of versions 1 and 2c and of version 3."""

_CAUSES = {
    errind.UnknownCommunityName: "its community is not known here; name a file with it with --secrets",
    errind.UnknownSecurityName: (
        "its user is not known here; name a file with it with --secrets, and for traps its engine id with --engine-id"
    ),
    errind.AuthenticationFailure: "its digest is wrong; the 'auth' of both sides has to be the same",
    errind.DecryptionError: "it cannot be decrypted; the 'priv' of both sides has to be the same",
    errind.UnsupportedSecurityLevel: "it is not both signed and encrypted, as its user has to",
}
_USUAL = (errind.UnknownEngineID, errind.NotInTimeWindow)
"""What a sender of informs first asks for by doing it wrong."""


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

    def __init__(
        self,
        identity: EngineIdentity,
        gate: Gate,
        arrived: Callable[[Arrival], None],
        refused: Callable[[str, str], None],
    ) -> None:
        """Call ``arrived`` on the event loop with each notification, ``refused`` with source and cause of others."""
        self._engine = new_engine(identity)
        self._refused = refused
        self._engine.observer.register_observer(self._refuse, *_FAILURES)
        self._gate = gate
        self._arrived = arrived
        NotificationReceiver(self._engine, self._receive)

    def allow(self, secrets: Secrets, engine_id: bytes | None, number: int) -> None:
        """Accept a community or a user; ``engine_id`` is the sender's, for a user that sends traps."""
        if isinstance(secrets, Community):
            add_community(self._engine, f"community-{number}", secrets.community)
            return
        add_user(self._engine, secrets)
        if engine_id is not None:
            add_user(self._engine, secrets, engine_id)

    async def open(self, address: str, port: int) -> int:
        """Listen, and return the port.

        Raises:
            OSError: The address cannot be bound.
        """
        bound = bind(address, port)
        await open_transport(self._engine, self._gate, bound.family, bound)
        port_given: int = bound.getsockname()[1]
        return port_given

    def close(self) -> None:
        """Close the socket and let go of the engine."""
        close_engine(self._engine)

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

    def _refuse(self, _engine: Any, _place: str, about: Any, _own: Any) -> None:
        cause = about["statusInformation"].get("errorIndication")
        if not isinstance(cause, _USUAL):
            self._refused(str(about["transportAddress"][0]), _CAUSES.get(type(cause), f"{cause}"))


def _plain(value: Any) -> Value:
    if isinstance(value, univ.ObjectIdentifier):
        return tuple(value)
    if isinstance(value, univ.Integer):
        return int(value)
    return value.asOctets() if isinstance(value, univ.OctetString) else b""
