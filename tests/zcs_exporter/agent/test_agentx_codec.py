import contextlib
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.agent.agentx_codec import LONGEST_OID, MOST_PAYLOAD, PduError, encode, take_packet
from zcs_exporter.agent.agentx_pdu import (
    CleanupSet,
    Close,
    CloseReason,
    CommitSet,
    ErrorStatus,
    Get,
    GetBulk,
    GetNext,
    Open,
    Packet,
    Ping,
    Register,
    Response,
    SearchRange,
    TestSet,
    UndoSet,
    ValueType,
    Variable,
)

OCTET = st.integers(0, 0xFF)
SHORT = st.integers(0, 0xFFFF)
NUMBER = st.integers(0, 0xFFFFFFFF)
OIDS = st.one_of(
    st.lists(NUMBER, max_size=12).map(tuple),
    # The two forms of a prefix: one that fits into an octet, and one that does not.
    st.builds(lambda prefix, rest: (1, 3, 6, 1, prefix, *rest), st.integers(0, 300), st.lists(NUMBER, max_size=12)),
)
NOTHING = (ValueType.NULL, ValueType.NO_SUCH_OBJECT, ValueType.NO_SUCH_INSTANCE, ValueType.END_OF_MIB_VIEW)
VARIABLES = st.one_of(
    st.builds(Variable, st.just(ValueType.INTEGER), OIDS, st.integers(-(2**31), 2**31 - 1)),
    st.builds(Variable, st.sampled_from([ValueType.COUNTER32, ValueType.GAUGE32, ValueType.TIME_TICKS]), OIDS, NUMBER),
    st.builds(Variable, st.just(ValueType.COUNTER64), OIDS, st.integers(0, 2**64 - 1)),
    st.builds(
        Variable, st.sampled_from([ValueType.OCTET_STRING, ValueType.OPAQUE, ValueType.IP_ADDRESS]), OIDS, st.binary()
    ),
    st.builds(Variable, st.just(ValueType.OBJECT_IDENTIFIER), OIDS, OIDS),
    st.builds(Variable, st.sampled_from(NOTHING), OIDS, st.none()),
)
RANGES = st.lists(st.builds(SearchRange, OIDS, st.booleans(), OIDS), max_size=5).map(tuple)
SEVERAL = st.lists(VARIABLES, max_size=5).map(tuple)
PDUS = st.one_of(
    st.builds(Open, OIDS, st.binary(), OCTET),
    st.builds(Close, st.sampled_from(CloseReason)),
    st.builds(Register, OIDS, OCTET, OCTET),
    st.builds(Register, OIDS, OCTET, OCTET, st.integers(1, 0xFF), NUMBER),
    st.builds(Get, RANGES),
    st.builds(GetNext, RANGES),
    st.builds(GetBulk, SHORT, SHORT, RANGES),
    st.builds(TestSet, SEVERAL),
    st.sampled_from([CommitSet(), UndoSet(), CleanupSet(), Ping()]),
    st.builds(Response, SEVERAL, SHORT, SHORT, NUMBER),
)
WITH_CONTEXT = (Register, Get, GetNext, GetBulk, TestSet, Ping)
PACKETS = st.builds(
    lambda pdu, context, *rest: Packet(pdu, *rest[:3], context if isinstance(pdu, WITH_CONTEXT) else b"", rest[3]),
    PDUS,
    st.binary(max_size=9),
    NUMBER,
    NUMBER,
    NUMBER,
    st.booleans(),
)


def taken(octets: Iterable[int]) -> Packet | None:
    return take_packet(bytearray(octets))


@settings(max_examples=300, deadline=None)
@given(st.lists(PACKETS, min_size=1, max_size=3), st.binary(max_size=19))
def test_what_is_encoded_is_decoded_one_message_after_the_other(packets: list[Packet], rest: bytes) -> None:
    rest = b"\1" + rest[1:] if rest else b""  # the beginning of one more
    buffer = bytearray(b"".join(map(encode, packets)) + rest)

    assert [take_packet(buffer) for _ in packets] == packets
    assert take_packet(buffer) is None
    assert buffer == rest


@settings(max_examples=2000, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_comes_is_a_message_the_beginning_of_one_or_an_error(octets: bytes) -> None:
    buffer = bytearray(octets)
    with contextlib.suppress(PduError):
        assert take_packet(buffer) is not None or buffer == octets


@settings(max_examples=700, deadline=None)
@given(PACKETS, st.integers(0), OCTET)
def test_a_message_with_a_wrong_octet_is_a_message_or_an_error(packet: Packet, place: int, octet: int) -> None:
    buffer = bytearray(encode(packet))
    buffer[place % len(buffer)] = octet
    with contextlib.suppress(PduError):
        take_packet(buffer)


@settings(max_examples=200, deadline=None)
@given(PACKETS)
def test_a_message_that_has_not_come_whole_is_waited_for(packet: Packet) -> None:
    octets = encode(packet)
    for size in range(len(octets)):
        buffer = bytearray(octets[:size])
        assert take_packet(buffer) is None
        assert buffer == octets[:size]


def test_the_octets_are_those_of_the_rfc() -> None:
    """RFC 2741, 5.1 and 6.2.4: sysDescr.0 has its prefix cut, and the range says that it may itself be the answer."""
    octets = bytes.fromhex(
        "01 06 10 00  00000007 00000001 00000002 0000001c"
        "03 02 01 00  00000001 00000001 00000000"
        "02 02 00 00  00000002 00000001"
    )
    packet = Packet(GetNext((SearchRange((1, 3, 6, 1, 2, 1, 1, 0), True, (1, 3, 6, 1, 2, 2, 1)),)), 7, 1, 2)

    assert encode(packet) == octets
    assert taken(octets) == packet


def test_the_other_byte_order_is_understood_and_answered_in() -> None:
    octets = bytes.fromhex("01 12 00 00  07000000 01000000 02000000 08000000  64000000 0b01 0000")

    packet = taken(octets)

    assert packet == Packet(Response(error=ErrorStatus.PROCESSING_ERROR - 1, uptime=100), 7, 1, 2, little_endian=True)
    assert encode(packet) == octets
    assert packet.answer(Response()).little_endian


def test_a_string_is_padded_to_a_multiple_of_four() -> None:
    octets = encode(Packet(Open((), b"abcde")))

    assert octets[-12:] == b"\0\0\0\5abcde\0\0\0"


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        ("02", "version is 2"),
        ("01 63 10 00  00000000 00000000 00000000 00000000", "kind that we do not know, 99"),
        ("01 04 10 00  00000000 00000000 00000000 00000000", "kind that we do not know, 4"),
        ("01 05 10 00  00000000 00000000 00000000 ffffffff", "length is 4294967295"),
        ("01 05 10 00  00000000 00000000 00000000 00000003", "length is 3"),
        ("01 05 10 00  00000000 00000000 00000000 00000004 ff000000", "end within a field"),
        ("01 05 10 00  00000000 00000000 00000000 00000004 01000000", "end within a field"),
        ("01 05 18 00  00000000 00000000 00000000 00000004 fffffffd", "string of 4294967293 octets"),
        ("01 08 10 00  00000000 00000000 00000000 00000008 00030000 00000000", "type that we do not know, 3"),
        ("01 09 10 00  00000000 00000000 00000000 00000004 00000000", "4 octets too many"),
    ],
)
def test_what_is_no_message_is_said_to_be_none(octets: str, message: str) -> None:
    with pytest.raises(PduError, match=message):
        taken(bytes.fromhex(octets))


def test_an_object_identifier_has_at_most_128_parts() -> None:
    just = encode(Packet(Get((SearchRange((1, 3, 6, 1, 4, *range(LONGEST_OID - 5))),))))
    over = encode(Packet(Get((SearchRange((1, 3, 6, 1, 4, *range(LONGEST_OID - 4))),))))

    assert taken(just) is not None
    with pytest.raises(PduError, match="129 parts"):
        taken(over)


def test_the_largest_request_that_a_datagram_can_hold_is_not_too_large() -> None:
    """65,507 octets of names of 128 parts below 256, of which each is one octet in BER and four here."""
    name = (1, 3, 6, 1, 4, *range(123))
    many = 65_507 // (len(name) + 5)

    octets = encode(Packet(GetNext((SearchRange(name, False, name),) * many)))

    assert len(octets) < MOST_PAYLOAD
    assert taken(octets) is not None


def test_a_reason_that_we_do_not_know_is_another_one() -> None:
    octets = bytearray(encode(Packet(Close(CloseReason.SHUTDOWN))))
    octets[20] = 77

    assert taken(octets) == Packet(Close(CloseReason.OTHER))
