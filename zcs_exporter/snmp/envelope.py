"""The outside of an SNMP request, read without decoding what is in it.

A full decoder may need half a second for a hostile datagram. This looks at a dozen octets of what
says who asks and how, so that strangers get no further. Formats: RFC 1157, 4; RFC 3412, 6; RFC 3414, 2.4.
"""

from dataclasses import dataclass

_SEQUENCE, _INTEGER, _OCTETS = 0x30, 0x02, 0x04

VERSION_2C, VERSION_3 = 1, 3


class EnvelopeError(Exception):
    """The octets are no SNMP message, or none that is written as everyone writes it."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who says that they ask, and how.

    Attributes:
        version: On the wire: 0 for version 1, 1 for 2c, 3 for 3.
        community: Of versions 1 and 2c, empty otherwise.
        pdu: What is asked for in versions 1 and 2c, by its tag; 0 in version 3.
        flags: Of version 3: 1 authenticated, 2 encrypted, 4 wants a report.
        engine_id: Of version 3: to whom it is sent; empty to find out.
        user: Of version 3.
        encrypted: Of version 3: whether what is asked for is in cipher.
    """

    version: int
    community: bytes = b""
    pdu: int = 0
    flags: int = 0
    engine_id: bytes = b""
    user: bytes = b""
    encrypted: bool = False


def read_envelope(datagram: bytes) -> Envelope:
    """Return the outside of a message.

    Raises:
        EnvelopeError: It has none.
    """
    message = _Reader(datagram).enter(_SEQUENCE)
    version = message.number()
    if version != VERSION_3:
        community = message.take(_OCTETS)
        return Envelope(version, community, message.tag())
    header = message.enter(_SEQUENCE)
    header.number()  # of the message
    header.number()  # largest answer
    flags = header.take(_OCTETS)
    if len(flags) != 1:
        raise EnvelopeError("flags are one octet")
    security = _Reader(message.take(_OCTETS)).enter(_SEQUENCE)
    engine_id = security.take(_OCTETS)
    security.number()  # boots
    security.number()  # time
    return Envelope(
        version,
        flags=flags[0],
        engine_id=engine_id,
        user=security.take(_OCTETS),
        encrypted=message.tag() == _OCTETS,
    )


class _Reader:
    """Reads elements of known tags one after the other; lengths must be definite and hold what they say."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def tag(self) -> int:
        """Return the tag of the next element without reading it."""
        if self._at >= len(self._data):
            raise EnvelopeError("it ends too early")
        return self._data[self._at]

    def take(self, tag: int) -> bytes:
        """Return what is in the next element."""
        if self.tag() != tag:
            raise EnvelopeError(f"tag {self.tag()} where {tag} belongs")
        start = self._at + 2
        header = self._data[self._at + 1 : start]
        length = header[0] if header else 0
        if length >= 0x80:
            # No datagram needs more than two octets for a length; net-snmp writes three or four all the same.
            count = length - 0x80
            octets = self._data[start : start + count]
            if not 1 <= count <= 4 or len(octets) < count:
                raise EnvelopeError("a length without an end")
            length = int.from_bytes(octets)
            start += count
        self._at = start + length
        if not header or self._at > len(self._data):
            raise EnvelopeError("an element that is longer than what holds it")
        return self._data[start : self._at]

    def enter(self, tag: int) -> "_Reader":
        """Return a reader of the next element."""
        return _Reader(self.take(tag))

    def number(self) -> int:
        """Return the next element, a small number."""
        octets = self.take(_INTEGER)
        if not 1 <= len(octets) <= 5:
            raise EnvelopeError("a number of no octets, or too many")
        return int.from_bytes(octets, signed=True)
