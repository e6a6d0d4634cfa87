"""SNMP messages by hand, octet by octet, as a client or an attacker may send them."""

import random
from collections.abc import Sequence

GET, GETNEXT, SET, GETBULK = 0xA0, 0xA1, 0xA3, 0xA5
SYS_NAME = (1, 3, 6, 1, 2, 1, 1, 5, 0)


def element(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    octets = size.to_bytes(max(1, -(-size.bit_length() // 8)))
    return bytes([tag]) + (octets if size < 0x80 else bytes([0x80 + len(octets)]) + octets) + content


def number(value: int) -> bytes:
    return element(0x02, value.to_bytes(value.bit_length() // 8 + 1, signed=True))


def octets(value: bytes) -> bytes:
    return element(0x04, value)


def identifier(oid: Sequence[int]) -> bytes:
    parts = [oid[0] * 40 + oid[1], *oid[2:]]
    encoded = bytearray()
    for part in parts:
        groups = [part & 0x7F]
        while part := part >> 7:
            groups.append(0x80 | part & 0x7F)
        encoded += bytes(reversed(groups))
    return element(0x06, bytes(encoded))


def request(
    *oids: Sequence[int],
    tag: int = GET,
    number_of: int = 1,
    first: int = 0,
    second: int = 0,
    value: bytes = b"\x05\x00",
) -> bytes:
    """A PDU; ``first`` and ``second`` are non-repeaters and repetitions of GETBULK."""
    variables = element(0x30, *(element(0x30, identifier(oid), value) for oid in oids))
    return element(tag, number(number_of), number(first), number(second), variables)


def message_2c(community: bytes, pdu: bytes, version: int = 1) -> bytes:
    return element(0x30, number(version), octets(community), pdu)


def message_3(
    engine_id: bytes,
    user: bytes,
    flags: int,
    content: bytes,
    *,
    auth: bytes = b"",
    priv: bytes = b"",
    boots: int = 0,
    time: int = 0,
    model: int = 3,
    number_of: int = 7,
) -> bytes:
    """``content`` is a scoped PDU, or octets of a ciphered one."""
    security = element(0x30, octets(engine_id), number(boots), number(time), octets(user), octets(auth), octets(priv))
    header = element(0x30, number(number_of), number(65507), octets(bytes([flags])), number(model))
    return element(0x30, number(3), header, octets(security), content)


def scoped(engine_id: bytes, pdu: bytes, context: bytes = b"") -> bytes:
    return element(0x30, octets(engine_id), octets(context), pdu)


def discovery() -> bytes:
    """As managers begin: who are you?"""
    return message_3(b"", b"", 4, scoped(b"", request()))


def mutations(seeds: Sequence[bytes], count: int) -> list[bytes]:
    """Flips, cuts, huge lengths, indefinite ones, nests and noise, the same ones in every run."""
    chance = random.Random(20261122)
    found = []
    for turn in range(count):
        data = bytearray(seeds[turn % len(seeds)])
        kind = chance.random()
        if kind < 0.05:
            data = bytearray(chance.randbytes(chance.randint(0, 1500)))
        elif kind < 0.1:
            data += bytes([chance.choice((0x30, 0x24, 0xA0)), 0x80]) * chance.randint(1, 650)
        else:
            for _ in range(chance.randint(1, 6)):
                data[chance.randrange(len(data))] = chance.choice((0, 0x80, 0x84, 0xFF, chance.randrange(256)))
        found.append(bytes(data[: chance.randint(1, len(data))] if data and kind > 0.75 else data))
    return found
