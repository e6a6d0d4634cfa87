"""pysnmp's user-based security model (RFC 3414), put right where it tells strangers more, or less, than it should."""

from collections.abc import Callable
from typing import Any

from pysnmp.proto import errind  # type: ignore[import-untyped]
from pysnmp.proto.error import StatusInformation  # type: ignore[import-untyped]
from pysnmp.proto.secmod.rfc3414.service import SnmpUSMSecurityModel  # type: ignore[import-untyped]

from zcs_exporter.snmp.envelope import EnvelopeError, read_envelope
from zcs_exporter.snmp.gate import Doubt

_NO_AUTH = 1
_DOUBTS = (
    (errind.unknownSecurityName, Doubt.USER),
    (errind.authenticationFailure, Doubt.KEY),
    (errind.decryptionError, Doubt.KEY),
    (errind.notInTimeWindow, Doubt.TIME),
    (errind.unsupportedSecurityLevel, Doubt.SECURITY),
)


class CarefulSecurity(SnmpUSMSecurityModel):  # type: ignore[misc]  # pysnmp has no types
    """Signs nothing for who has not proven anything.

    pysnmp answers a request without a digest by a report that the user's key has signed, for anyone who knows the
    name: enough to try out pass phrases at home.
    """

    def process_incoming_message(self, *parameters: Any) -> Any:
        """Return what is in a message.

        Raises:
            StatusInformation: It cannot be trusted, and maybe what to report.
        """
        try:
            return super().process_incoming_message(*parameters)
        except StatusInformation as exc:
            # Out of time is only what has the right digest; the sender needs a time that it can trust (RFC 3414, 4).
            if "oid" not in exc or exc["errorIndication"] == errind.notInTimeWindow:
                raise
            names = ("errorIndication", "oid", "val", "securityStateReference", "contextEngineId", "contextName")
            kept = {name: exc[name] for name in (*names, "maxSizeResponseScopedPDU")}
            if "scopedPDU" in exc:
                kept["scopedPDU"] = exc["scopedPDU"]
            raise StatusInformation(**kept, securityLevel=_NO_AUTH) from exc

    def generate_response_message(self, *parameters: Any) -> Any:
        """Return an answer or a report; why it is one does not matter, else pysnmp would ask for a report on it."""
        return super().generate_response_message(*parameters[:-1], None)


class AgentSecurity(CarefulSecurity):
    """Knows that all messages to an agent are for its own engine.

    pysnmp takes every engine id for one that might become known, remembers it for five minutes, and says that the
    user is unknown; a manager that has an older id of ours would never learn the new one.
    """

    def __init__(self, doubted: Callable[[Doubt], None]) -> None:
        """Have ``doubted`` told for each message that proves nothing what is wrong with it, where something is."""
        super().__init__()
        self._doubted = doubted

    def process_incoming_message(self, *parameters: Any) -> Any:
        """Return what is in a message.

        Raises:
            StatusInformation: It cannot be trusted, or is not for us, and maybe what to report.
        """
        engine, _, most, security, _, _, whole, message = parameters
        try:
            envelope = read_envelope(whole)
        except EnvelopeError as exc:
            raise StatusInformation(errorIndication=errind.parseError) from exc
        if not envelope.engine_id or envelope.engine_id == bytes(engine.snmpEngineID):
            return self._process_our_own(parameters)
        self._doubted(Doubt.ENGINE)
        (unknown,) = engine.get_mib_builder().import_symbols("__SNMP-USER-BASED-SM-MIB", "usmStatsUnknownEngineIDs")
        unknown.syntax += 1
        # What is no request gets no report; of what is encrypted the sender says so (RFC 3412, 7.1, 3 b).
        content = message.getComponentByPosition(3)
        request = {"scopedPDU": content.getComponent()} if content.getName() == "plaintext" else {}
        raise StatusInformation(
            errorIndication=errind.unknownEngineID,
            oid=unknown.name,
            val=unknown.syntax,
            securityStateReference=self._cache.push(msgUserName=envelope.user),
            securityLevel=_NO_AUTH,
            contextEngineId=engine.snmpEngineID,
            contextName=b"",
            maxSizeResponseScopedPDU=int(most) - len(security),
            **request,
        )

    def _process_our_own(self, parameters: tuple[Any, ...]) -> Any:
        try:
            return super().process_incoming_message(*parameters)
        except StatusInformation as exc:
            found = next((doubt for indication, doubt in _DOUBTS if exc.get("errorIndication") == indication), None)
            # Without an engine id it only asks who we are, whatever user it names.
            if found is not None and read_envelope(parameters[6]).engine_id:
                self._doubted(found)
            raise
