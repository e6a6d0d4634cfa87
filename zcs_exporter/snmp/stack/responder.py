"""Answers GET, GETNEXT and GETBULK from whatever knows our objects."""

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

from pyasn1.codec.ber import encoder  # type: ignore[import-untyped]
from pysnmp.proto import error, rfc1905  # type: ignore[import-untyped]
from pysnmp.proto.api import v2c  # type: ignore[import-untyped]

from zcs_exporter.snmp.gate import Door, Doubt
from zcs_exporter.snmp.identity import EngineIdentity
from zcs_exporter.snmp.notification import MAX_MESSAGE
from zcs_exporter.snmp.secrets import Community, Secrets
from zcs_exporter.snmp.smi import Oid, Value, VarBind
from zcs_exporter.snmp.stack.engine import (
    MESSAGE_MODEL,
    USM,
    add_community,
    add_tried_user,
    close_engine,
    new_engine,
    typed,
)
from zcs_exporter.snmp.stack.security import AgentSecurity
from zcs_exporter.snmp.stack.transport import open_fair_transport

log = logging.getLogger(__name__)

MOST_VARIABLES = 64
"""Of an answer to GETBULK."""

WRAPPING = 240
"""Most octets of an answer around its variables: keys, engine ids, user, community, padding."""

_GET, _NEXT, _BULK, _SET = (
    rfc1905.GetRequestPDU.tagSet,
    rfc1905.GetNextRequestPDU.tagSet,
    rfc1905.GetBulkRequestPDU.tagSet,
    rfc1905.SetRequestPDU.tagSet,
)
_NO_ERROR, _TOO_BIG, _GEN_ERR, _NO_ACCESS, _AUTHORIZATION_ERROR = 0, 1, 5, 6, 16
_AUTH_PRIV = 3


class Mib(Protocol):
    """What can be asked: never changes, so that one answer is of one moment."""

    def get(self, oid: Oid) -> VarBind | None:
        """Return one instance; None where there is none."""
        ...

    def after(self, oid: Oid) -> VarBind | None:
        """Return the first instance after an identifier; None behind the last."""
        ...

    def has_object(self, oid: Oid) -> bool:
        """Whether only the instance is missing."""
        ...


class AgentDoor(Door, Protocol):
    """Hears more of what it admitted."""

    def answered(self, source: str) -> None:
        """Count a request of somebody who may ask."""
        ...

    def refused(self, source: str) -> None:
        """Count a request of somebody who may ask, but not for this."""
        ...

    def doubted(self, doubt: Doubt) -> None:
        """Count what did not prove who sent it."""
        ...


class Responder:
    """An engine that answers; it reads only, knows one context, and holds no objects of its own."""

    def __init__(self, identity: EngineIdentity, door: AgentDoor, latest: Callable[[], Mib]) -> None:
        """Answer each request that ``door`` admits from what ``latest`` returns then."""
        self._engine = new_engine(identity)
        self._engine.security_models[USM] = AgentSecurity(door.doubted)
        self._door = door
        self._latest = latest
        self._broken = False
        # Version 1 is not offered: it has no way to say that an object is missing, and no 64-bit counters.
        self._engine.message_processing_subsystems.pop(MESSAGE_MODEL["1"], None)
        self._engine.message_dispatcher.register_context_engine_id(
            self._engine.snmpEngineID, (_GET, _NEXT, _BULK, _SET), self._process
        )

    def allow(self, secrets: Secrets, number: int) -> None:
        """Let a community or a user ask.

        Raises:
            SecretsError: The user's protocols do not work on this host; the message names it and the remedy.
        """
        if isinstance(secrets, Community):
            add_community(self._engine, f"community-{number}", secrets.community)
            return
        add_tried_user(self._engine, secrets)

    def open(self, bound: socket.socket) -> None:
        """Answer what comes to a socket, which is ours from now on."""
        open_fair_transport(self._engine, self._door, bound)

    def close(self) -> None:
        """Close the socket and let go of the engine."""
        close_engine(self._engine)

    def _process(
        self,
        engine: Any,
        model: Any,
        security_model: Any,
        user: Any,
        level: Any,
        context_engine: Any,
        context: Any,
        version: Any,
        pdu: Any,
        most: Any,
        reference: Any,
    ) -> None:
        """Answer one request; the parameters are those of processPdu in RFC 3412, 4.2."""
        report: dict[str, Any] = {}
        response = v2c.apiPDU.get_response(pdu)
        if context:
            (unknown,) = engine.get_mib_builder().import_symbols("__SNMP-TARGET-MIB", "snmpUnknownContexts")
            unknown.syntax += 1
            report = {"oid": unknown.name, "val": unknown.syntax}
            response = pdu  # pysnmp reports on a request, and drops what it takes for an answer
        elif security_model == USM and level != _AUTH_PRIV:
            self._door.doubted(Doubt.SECURITY)
            v2c.apiPDU.set_error_status(response, _AUTHORIZATION_ERROR)
        else:
            _, address = engine.message_dispatcher.get_transport_info(reference)
            room = min(MAX_MESSAGE, int(most)) - WRAPPING
            if pdu.tagSet == _SET:
                self._door.refused(address[0])
                status, answers = _refusal(pdu, room)
            else:
                self._door.answered(address[0])
                status, answers = self._answer(pdu, room)
            v2c.apiPDU.set_error_status(response, status)
            if status == _NO_ACCESS:
                v2c.apiPDU.set_error_index(response, 1)
            v2c.apiPDU.set_varbinds(response, answers)
        # Whatever the answer is, one must be made: the engine keeps what it knows of a request until then.
        try:
            engine.message_dispatcher.return_response_pdu(
                engine,
                model,
                security_model,
                user,
                level,
                context_engine,
                context,
                version,
                response,
                most,
                reference,
                report,
            )
        except error.StatusInformation as exc:
            log.debug("snmp: an answer could not be sent: %s", exc)

    def _answer(self, pdu: Any, room: int) -> tuple[int, list[tuple[Oid, Any]]]:
        """Return the error status, and the variables, which fit into ``room`` octets."""
        try:
            mib = self._latest()
            names = [tuple(name) for name, _ in v2c.apiPDU.get_varbinds(pdu)]
            if pdu.tagSet == _BULK:
                non_repeaters = max(0, int(v2c.apiBulkPDU.get_non_repeaters(pdu)))
                answers = list(_fitting(_bulk(mib, names, non_repeaters, _repetitions(pdu)), room))
                too_big = bool(names) and not answers and _repetitions(pdu) > 0
            else:
                look = _value if pdu.tagSet == _GET else _successor
                answers = [look(mib, name) for name in names]
                too_big = sum(answer.octets for answer in answers) > room
        except Exception as exc:
            if not self._broken:
                log.exception("snmp: bug, please report it: a request could not be answered: %s", type(exc).__name__)
            self._broken = True
            return _GEN_ERR, []
        return (_TOO_BIG, []) if too_big else (_NO_ERROR, [(answer.oid, answer.value) for answer in answers])


def _refusal(pdu: Any, room: int) -> tuple[int, list[tuple[Any, Any]]]:
    """Return the error status of an answer to SET (RFC 3416, 4.2.5, 1), and the variables, as in the request."""
    if len(encoder.encode(v2c.apiPDU.get_varbind_list(pdu))) > room:
        return _TOO_BIG, []
    return _NO_ACCESS, v2c.apiPDU.get_varbinds(pdu)


def _repetitions(pdu: Any) -> int:
    return max(0, int(v2c.apiBulkPDU.get_max_repetitions(pdu)))


class _Answer(NamedTuple):
    """One variable of an answer.

    Attributes:
        value: As pysnmp encodes it.
        octets: What both take on the wire.
    """

    oid: Oid
    value: Any
    octets: int


def _found(variable: VarBind) -> _Answer:
    return _Answer(variable.oid, typed(variable), encoded_size(variable.oid, variable.value))


def _value(mib: Mib, oid: Oid) -> _Answer:
    variable = mib.get(oid)
    if variable is not None:
        return _found(variable)
    missing = rfc1905.noSuchInstance if mib.has_object(oid) else rfc1905.noSuchObject
    return _Answer(oid, missing, encoded_size(oid, b""))


def _successor(mib: Mib, oid: Oid) -> _Answer:
    variable = mib.after(oid)
    return _Answer(oid, rfc1905.endOfMibView, encoded_size(oid, b"")) if variable is None else _found(variable)


def _bulk(mib: Mib, names: Sequence[Oid], non_repeaters: int, repetitions: int) -> Iterator[_Answer]:
    """Yield the answers to GETBULK (RFC 3416, 4.2.3); the reader stops when it has enough."""
    for name in names[:non_repeaters]:
        yield _successor(mib, name)
    repeated = names[non_repeaters:]
    for _ in range(repetitions if repeated else 0):
        row = [_successor(mib, name) for name in repeated]
        yield from row
        if all(answer.value is rfc1905.endOfMibView for answer in row):
            return
        repeated = [answer.oid for answer in row]


def _fitting(answers: Iterator[_Answer], room: int) -> Iterator[_Answer]:
    """Yield answers while they fit."""
    for answer in islice(answers, MOST_VARIABLES):
        room -= answer.octets
        if room < 0:
            return
        yield answer


def encoded_size(oid: Oid, value: Value) -> int:
    """Return the octets that a variable takes on the wire, or one more."""
    return _element(_element(_oid_size(oid)) + _element(_value_size(value)))


def _element(length: int) -> int:
    return length + (2 if length < 0x80 else 3 if length < 0x100 else 4)


def _oid_size(oid: Oid) -> int:
    return sum(max(1, -(-part.bit_length() // 7)) for part in oid)


def _value_size(value: Value) -> int:
    if isinstance(value, tuple):
        return _oid_size(value)
    return len(value) if isinstance(value, bytes) else value.bit_length() // 8 + 1
