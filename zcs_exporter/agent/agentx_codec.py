"""Messages of AgentX as octets, and back.

Format: RFC 2741, sections 5 and 6. Each message names its own byte order.
"""

import struct
from collections.abc import Sequence
from typing import Any, cast

from zcs_exporter.agent.agentx_pdu import (
    CleanupSet,
    Close,
    CloseReason,
    CommitSet,
    Get,
    GetBulk,
    GetNext,
    Open,
    Packet,
    Pdu,
    Ping,
    Register,
    Response,
    SearchRange,
    TestSet,
    UndoSet,
    ValueType,
    Variable,
)
from zcs_exporter.snmp.smi import Oid

MOST_PAYLOAD = 1 << 20
"""Octets behind a header. The largest SNMP request that fits into a datagram becomes about a third of it."""

LONGEST_OID = 128

_INTERNET: Oid = (1, 3, 6, 1)
_VERSION = 1
_HEADER_SIZE = 20
_NON_DEFAULT_CONTEXT = 0x08
_NETWORK_BYTE_ORDER = 0x10
_NUMBERS_OF_KINDS: dict[type[Pdu], int] = {
    Open: 1,
    Close: 2,
    Register: 3,
    Get: 5,
    GetNext: 6,
    GetBulk: 7,
    TestSet: 8,
    CommitSet: 9,
    UndoSet: 10,
    CleanupSet: 11,
    Ping: 13,
    Response: 18,
}
_KINDS = {number: kind for kind, number in _NUMBERS_OF_KINDS.items()}
_BARE: dict[type[Pdu], Pdu] = {CommitSet: CommitSet(), UndoSet: UndoSet(), CleanupSet: CleanupSet(), Ping: Ping()}
_WITH_CONTEXT = frozenset({Register, Get, GetNext, GetBulk, TestSet, Ping})
_LAYOUTS = {
    ValueType.INTEGER: "i",
    ValueType.COUNTER32: "I",
    ValueType.GAUGE32: "I",
    ValueType.TIME_TICKS: "I",
    ValueType.COUNTER64: "Q",
}
_OCTETS = frozenset({ValueType.OCTET_STRING, ValueType.IP_ADDRESS, ValueType.OPAQUE})


class PduError(Exception):
    """Octets are no message of AgentX, or none that a session of ours has."""


def encode(packet: Packet) -> bytes:
    """Return a message as octets."""
    kind, order = type(packet.pdu), "<" if packet.little_endian else ">"
    flags = 0 if packet.little_endian else _NETWORK_BYTE_ORDER
    out = _Writer(order)
    if packet.context and kind in _WITH_CONTEXT:
        flags |= _NON_DEFAULT_CONTEXT
        out.octets(packet.context)
    _write(packet.pdu, out)
    payload = b"".join(out.parts)
    numbers = packet.session, packet.transaction, packet.number, len(payload)
    return struct.pack(f"{order}3Bx4I", _VERSION, _NUMBERS_OF_KINDS[kind], flags, *numbers) + payload


def take_packet(buffer: bytearray) -> Packet | None:
    """Return the first message of what came, and remove it; None as long as it has not come whole.

    Raises:
        PduError: What came is no message; there is no way to go on behind it.
    """
    if buffer and buffer[0] != _VERSION:
        raise PduError(f"its version is {buffer[0]}, not {_VERSION}")
    if len(buffer) < _HEADER_SIZE:
        return None
    kind, flags = _KINDS.get(buffer[1]), buffer[2]
    order = ">" if flags & _NETWORK_BYTE_ORDER else "<"
    session, transaction, number, size = struct.unpack_from(f"{order}4I", buffer, 4)
    if kind is None:
        raise PduError(f"it is of a kind that we do not know, {buffer[1]}")
    if size > MOST_PAYLOAD or size % 4:
        raise PduError(f"its length is {size}, which is not a multiple of 4 up to {MOST_PAYLOAD}")
    if len(buffer) < _HEADER_SIZE + size:
        return None
    source = _Reader(order, bytes(buffer[_HEADER_SIZE : _HEADER_SIZE + size]))
    context = source.octets() if flags & _NON_DEFAULT_CONTEXT and kind in _WITH_CONTEXT else b""
    pdu = _read(kind, source)
    if source.left:
        raise PduError(f"it has {source.left} octets too many")
    del buffer[: _HEADER_SIZE + size]
    return Packet(pdu, session, transaction, number, context, order == "<")


def _write(pdu: Pdu, out: "_Writer") -> None:
    match pdu:
        case Response():
            out.pack("IHH", pdu.uptime, pdu.error, pdu.index)
            out.variables(pdu.variables)
        case Get() | GetNext():
            out.ranges(pdu.ranges)
        case GetBulk():
            out.pack("HH", pdu.non_repeaters, pdu.max_repetitions)
            out.ranges(pdu.ranges)
        case TestSet():
            out.variables(pdu.variables)
        case Open():
            out.pack("B3x", pdu.timeout)
            out.oid(pdu.identity)
            out.octets(pdu.description)
        case Close():
            out.pack("B3x", pdu.reason)
        case Register():
            out.pack("3Bx", pdu.timeout, pdu.priority, pdu.part)
            out.oid(pdu.subtree)
            if pdu.part:
                out.pack("I", pdu.last)


def _read(kind: type[Pdu], source: "_Reader") -> Pdu:
    if kind is GetNext:
        return GetNext(source.ranges())
    if kind is Get:
        return Get(source.ranges())
    if kind is GetBulk:
        non_repeaters, max_repetitions = source.unpack("HH")
        return GetBulk(non_repeaters, max_repetitions, source.ranges())
    if kind is TestSet:
        return TestSet(source.variables())
    if kind is Response:
        uptime, error, index = source.unpack("IHH")
        return Response(source.variables(), error, index, uptime)
    if kind is Open:
        (timeout,) = source.unpack("B3x")
        identity, _ = source.oid()
        return Open(identity, source.octets(), timeout)
    if kind is Close:
        (reason,) = source.unpack("B3x")
        return Close(CloseReason(reason) if reason in set(CloseReason) else CloseReason.OTHER)
    if kind is Register:
        timeout, priority, part = source.unpack("3Bx")
        subtree, _ = source.oid()
        (last,) = source.unpack("I") if part else (0,)
        return Register(subtree, timeout, priority, part, last)
    return _BARE[kind]


class _Writer:
    """Gathers the octets of a payload."""

    def __init__(self, order: str) -> None:
        self._order = order
        self.parts: list[bytes] = []

    def pack(self, layout: str, *values: int) -> None:
        self.parts.append(struct.pack(self._order + layout, *values))

    def oid(self, oid: Oid, *, include: bool = False) -> None:
        prefix = oid[4] if oid[:4] == _INTERNET and len(oid) > 4 and oid[4] < 256 else 0
        rest = oid[5:] if prefix else oid
        self.pack(f"3Bx{len(rest)}I", len(rest), prefix, include, *rest)

    def octets(self, octets: bytes) -> None:
        self.pack("I", len(octets))
        self.parts.append(octets + bytes(-len(octets) % 4))

    def variables(self, variables: Sequence[Variable]) -> None:
        for kind, name, value in variables:
            self.pack("H2x", kind)
            self.oid(name)
            if kind in _LAYOUTS:
                self.pack(_LAYOUTS[kind], cast("int", value))
            elif kind in _OCTETS:
                self.octets(cast("bytes", value))
            elif kind is ValueType.OBJECT_IDENTIFIER:
                self.oid(cast("Oid", value))

    def ranges(self, ranges: Sequence[SearchRange]) -> None:
        for start, include, end in ranges:
            self.oid(start, include=include)
            self.oid(end)


class _Reader:
    """Takes a payload apart from its front; whatever is wrong with it is a ``PduError``."""

    def __init__(self, order: str, payload: bytes) -> None:
        self._order = order
        self._payload = payload
        self._place = 0

    @property
    def left(self) -> int:
        return len(self._payload) - self._place

    def unpack(self, layout: str) -> tuple[Any, ...]:
        layout = self._order + layout
        try:
            found = struct.unpack_from(layout, self._payload, self._place)
        except struct.error:
            raise PduError(f"its {len(self._payload)} octets end within a field") from None
        self._place += struct.calcsize(layout)
        return found

    def oid(self) -> tuple[Oid, bool]:
        count, prefix, include = self.unpack("3Bx")
        rest = self.unpack(f"{count}I")
        oid = (*_INTERNET, prefix, *rest) if prefix else rest
        if len(oid) > LONGEST_OID:
            raise PduError(f"it has an object identifier of {len(oid)} parts, more than {LONGEST_OID}")
        return oid, bool(include)

    def octets(self) -> bytes:
        (length,) = self.unpack("I")
        if length + -length % 4 > self.left:
            raise PduError(f"it has a string of {length} octets, where {self.left} are left")
        octets = self._payload[self._place : self._place + length]
        self._place += length + -length % 4
        return octets

    def variables(self) -> tuple[Variable, ...]:
        found = []
        while self.left:
            (number,) = self.unpack("H2x")
            try:
                kind = ValueType(number)
            except ValueError:
                raise PduError(f"it has a value of a type that we do not know, {number}") from None
            name, _ = self.oid()
            value: int | bytes | Oid | None = None
            if kind in _LAYOUTS:
                (value,) = self.unpack(_LAYOUTS[kind])
            elif kind in _OCTETS:
                value = self.octets()
            elif kind is ValueType.OBJECT_IDENTIFIER:
                value, _ = self.oid()
            found.append(Variable(kind, name, value))
        return tuple(found)

    def ranges(self) -> tuple[SearchRange, ...]:
        found = []
        while self.left:
            start, include = self.oid()
            end, _ = self.oid()
            found.append(SearchRange(start, include, end))
        return tuple(found)
