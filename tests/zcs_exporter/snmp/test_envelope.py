import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snmp_messages import GET, GETBULK, SYS_NAME, discovery, message_2c, message_3, octets, request, scoped

from zcs_exporter.snmp.envelope import Envelope, EnvelopeError, read_envelope

ENGINE = bytes.fromhex("80001f8805") + bytes(range(12))


def test_the_community_and_the_operation_of_version_2c_are_read() -> None:
    found = read_envelope(message_2c(b"a community", request(SYS_NAME, tag=GETBULK)))

    assert found == Envelope(1, community=b"a community", pdu=GETBULK)


def test_version_1_is_told_from_2c() -> None:
    assert read_envelope(message_2c(b"x", request(SYS_NAME), version=0)) == Envelope(0, community=b"x", pdu=GET)


def test_an_encrypted_request_of_version_3_names_engine_and_user() -> None:
    found = read_envelope(message_3(ENGINE, b"nms", 7, octets(b"cipher"), auth=bytes(24), priv=bytes(8)))

    assert found == Envelope(3, flags=7, engine_id=ENGINE, user=b"nms", encrypted=True)


def test_discovery_names_nobody() -> None:
    assert read_envelope(discovery()) == Envelope(3, flags=4)


def test_lengths_may_be_written_longer_than_needed() -> None:
    plain = message_2c(b"a community", request(SYS_NAME))
    longer = b"\x30\x84" + (len(plain) - 2).to_bytes(4) + plain[2:]

    assert read_envelope(longer) == read_envelope(plain)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        b"\x30\x80\x02\x01\x01\x00\x00",
        b"\x30\x89\x01\x01\x01\x01\x01\x01\x01\x01\x01",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x03\x02\x01\x01",
        b"\x30\x08\x02\x06\x01\x01\x01\x01\x01\x01",
        b"\x30\x02\x02\x00",
        b"\x31" + message_2c(b"x", b"\xa0\x00")[1:],
        message_2c(b"a community", request(SYS_NAME))[:12],
        b"\x30\x80" * 700,
    ],
)
def test_what_is_no_message_is_refused(datagram: bytes) -> None:
    with pytest.raises(EnvelopeError):
        read_envelope(datagram)


@settings(max_examples=3000, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_octets_have_an_envelope_or_an_error(datagram: bytes) -> None:
    with contextlib.suppress(EnvelopeError):
        assert isinstance(read_envelope(datagram), Envelope)


@settings(max_examples=2000, deadline=None)
@given(
    st.sampled_from(
        [message_2c(b"a community", request(SYS_NAME)), discovery(), message_3(ENGINE, b"nms", 3, octets(bytes(40)))]
    ),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    st.integers(0, 200),
)
def test_a_mutated_message_has_an_envelope_or_an_error(
    message: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(message)
    for place, value in changes:
        data[place % len(data)] = value
    with contextlib.suppress(EnvelopeError):
        assert isinstance(read_envelope(bytes(data[:length])), Envelope)


def test_nothing_behind_the_outside_is_looked_at() -> None:
    whole = message_2c(b"a community", b"\xa0\x03\xff\xff\xff")

    assert read_envelope(whole).pdu == GET
    assert read_envelope(message_3(ENGINE, b"nms", 0, scoped(ENGINE, b"\xff"))).encrypted is False
