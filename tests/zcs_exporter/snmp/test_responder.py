"""The responder behind a door that lets everything in."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto.api import v2c
from pysnmp.proto.mpmod.rfc3412 import SNMPv3Message
from snmp_messages import (
    GETNEXT,
    SET,
    SYS_NAME,
    discovery,
    element,
    message_2c,
    message_3,
    number,
    octets,
    request,
    scoped,
)

from zcs_exporter.contract import Clock
from zcs_exporter.snmp.envelope import read_envelope
from zcs_exporter.snmp.gate import Doubt
from zcs_exporter.snmp.identity import EngineIdentity, ForwardClock
from zcs_exporter.snmp.secrets import Community, UsmUser
from zcs_exporter.snmp.smi import Oid, Syntax, Value, VarBind
from zcs_exporter.snmp.stack import transport
from zcs_exporter.snmp.stack.engine import typed
from zcs_exporter.snmp.stack.responder import Responder, encoded_size
from zcs_exporter.snmp.udp import bind

ENGINE = bytes.fromhex("80001f8805") + bytes(range(12))
COMMUNITY = b"0123456789abcdef"
SECRET = b"what nobody may know"


class OpenDoor:
    """Admits everything, and remembers what it was told."""

    def __init__(self) -> None:
        self.admitted: list[bytes] = []
        self.allowed: list[str] = []
        self.denied: list[str] = []
        self.doubts: list[Doubt] = []
        self.crowded = 0

    def admits(self, datagram: bytes, source: str) -> bool:
        self.admitted.append(datagram)
        return True

    def answered(self, source: str) -> None:
        self.allowed.append(source)

    def refused(self, source: str) -> None:
        self.denied.append(source)

    def doubted(self, doubt: Doubt) -> None:
        self.doubts.append(doubt)

    def failed(self, source: str) -> None:
        pass

    def crowded_out(self, source: str) -> None:
        self.crowded += 1

    def sent(self, octets: int, source: str) -> None:
        pass


class OneObject:
    def get(self, oid: Oid) -> VarBind | None:
        return VarBind(oid, Syntax.TEXT, SECRET) if oid == SYS_NAME else None

    def after(self, oid: Oid) -> VarBind | None:
        return self.get(SYS_NAME) if oid < SYS_NAME else None

    def has_object(self, oid: Oid) -> bool:
        return False


def answers(
    datagrams: Iterable[bytes], door: OpenDoor | None = None, then: Iterable[bytes] = ()
) -> tuple[list[bytes], list[str]]:
    """What comes back for datagrams that arrive together, others ``then`` from 127.0.0.2, and who was allowed."""
    door = door or OpenDoor()

    async def run() -> list[bytes]:
        identity = EngineIdentity(ENGINE, 1000, ForwardClock(Clock()))
        responder = Responder(identity, door, OneObject)
        responder.allow(Community(COMMUNITY.decode()), 0)
        responder.allow(UsmUser("nms", "SHA-256", "correct horse battery", "AES-128", "staple of the other"), 1)
        bound = bind("127.0.0.1", 0)
        address = bound.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(address)
            for datagram in datagrams:
                client.send(datagram)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.2", 0))
                for datagram in then:
                    other.sendto(datagram, address)
            responder.open(bound)
            found = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    try:
                        async with asyncio.timeout(0.2):
                            found.append(await asyncio.get_running_loop().sock_recv(client, 65536))
                    except TimeoutError:
                        found.append(client.recv(65536))  # on a busy machine both may be due at once
            responder.close()
            await asyncio.sleep(0)
            return found

    return asyncio.run(run()), door.allowed


def test_who_has_the_community_is_answered() -> None:
    [answer], allowed = answers([message_2c(COMMUNITY, request(SYS_NAME))])

    assert SECRET in answer
    assert allowed == ["127.0.0.1"]


@pytest.mark.parametrize("user", [b"", b"nms", b"nobody"])
@pytest.mark.parametrize("flags", [0, 1, 4, 5])
@pytest.mark.parametrize("tag", [0xA0, GETNEXT])
def test_nobody_is_answered_without_both_keys_even_if_the_door_is_open(user: bytes, flags: int, tag: int) -> None:
    asked = scoped(ENGINE, request(SYS_NAME if tag == 0xA0 else SYS_NAME[:-1], tag=tag))
    found, allowed = answers([message_3(ENGINE, user, flags, asked, auth=auth) for auth in (b"", bytes(24))])

    assert not any(SECRET in answer for answer in found)
    assert not allowed


def described(report: bytes) -> tuple[int, bytes, Oid]:
    """The flags of a report, whose it is, and the counter that it is about."""
    outside = read_envelope(report)
    message, _ = decoder.decode(report, asn1Spec=SNMPv3Message())
    pdu = message[3].getComponent()[2].getComponent()
    assert pdu.tagSet == v2c.ReportPDU.tagSet
    [(counter, _)] = v2c.apiPDU.get_varbinds(pdu)
    return outside.flags, outside.engine_id, tuple(counter)


STATS = (1, 3, 6, 1, 6, 3, 15, 1, 1)
NOT_ENCRYPTED = scoped(ENGINE, request(SYS_NAME))
ENCRYPTED = octets(bytes(64))
OTHERS = b"\x80\x00\x1f\x88\x05another one"


@pytest.mark.parametrize(
    ("asked", "counter"),
    [
        (discovery(), 4),
        (message_3(b"", b"", 4, scoped(b"", element(0xA0, number(1), number(0), number(0), element(0x30)))), 4),
        (message_3(ENGINE, b"nms", 5, NOT_ENCRYPTED, auth=bytes(24), boots=1000, time=1), 1),
        (message_3(ENGINE, b"nms", 5, NOT_ENCRYPTED, auth=bytes(24)), 5),
        (message_3(ENGINE, b"nms", 7, ENCRYPTED, auth=bytes(24), priv=bytes(8), boots=1000), 5),
        (message_3(ENGINE, b"nobody", 7, ENCRYPTED, auth=bytes(24), priv=bytes(8), boots=1000), 3),
        (message_3(OTHERS, b"nms", 7, ENCRYPTED, auth=bytes(24), priv=bytes(8), boots=1000), 4),
        (message_3(OTHERS, b"nms", 4, scoped(OTHERS, request(SYS_NAME))), 4),
        (message_3(b"x", b"nms", 7, ENCRYPTED, auth=bytes(24), priv=bytes(8), boots=1000), 4),
    ],
    ids=[
        "discovery", "the shortest", "no digest", "what time is it", "wrong digest", "unknown user", "foreign engine",
        "foreign engine, plain", "no engine id",
    ],
)  # fmt: skip
def test_a_report_to_a_stranger_is_short_and_not_signed_and_asks_for_none(asked: bytes, counter: int) -> None:
    """A report that is signed with a user's key tells whoever knows the name enough to try pass phrases at home."""
    [report], allowed = answers([asked])

    assert described(report) == (0, ENGINE, (*STATS, counter, 0))
    assert len(report) <= len(asked) + 56  # our engine id twice, and the counter
    assert not allowed


def test_what_is_for_another_engine_is_told_ours_if_it_wants_a_report_and_not_remembered() -> None:
    door = OpenDoor()
    wanting, _ = answers([message_3(OTHERS, b"nms", 7, ENCRYPTED) for _ in range(3)], door)
    silent, _ = answers([message_3(OTHERS, b"nms", 3, ENCRYPTED)], door)

    assert [described(report) for report in wanting] == [(0, ENGINE, (*STATS, 4, 0))] * 3
    assert silent == []
    assert door.doubts == [Doubt.ENGINE] * 4


@pytest.mark.parametrize("tag", [0xA2, 0xA7, 0xA8], ids=["response", "trap", "report"])
@pytest.mark.parametrize("engine_id", [b"", OTHERS])
def test_what_is_no_request_gets_no_report_or_two_agents_would_talk_for_ever(tag: int, engine_id: bytes) -> None:
    datagram = message_3(engine_id, b"", 4, scoped(engine_id, request(SYS_NAME, tag=tag)))

    assert answers([datagram]) == ([], [])


@pytest.mark.parametrize("first", range(0, 256, 16))
def test_a_refusal_returns_whatever_was_to_be_written(first: int) -> None:
    values = [
        bytes([tag, len(content)]) + content for tag in range(first, first + 16) for content in (b"", b"\x2b", bytes(4))
    ]
    door = OpenDoor()
    found, allowed = answers((message_2c(COMMUNITY, request(SYS_NAME, tag=SET, value=value)) for value in values), door)

    assert not allowed
    assert len(found) == len(door.denied)
    assert not any(SECRET in answer for answer in found)


def test_who_asks_to_write_is_told_that_this_is_not_allowed() -> None:
    door = OpenDoor()
    asked = request(SYS_NAME, SYS_NAME, tag=SET, value=octets(b"mine"), number_of=5)
    [answer], allowed = answers([message_2c(COMMUNITY, asked)], door)
    message, _ = decoder.decode(answer, asn1Spec=v2c.Message())
    pdu = v2c.apiMessage.get_pdu(message)

    assert (int(v2c.apiPDU.get_request_id(pdu)), int(v2c.apiPDU.get_error_status(pdu))) == (5, 6)
    assert int(v2c.apiPDU.get_error_index(pdu)) == 1
    assert [(tuple(name), bytes(value)) for name, value in v2c.apiPDU.get_varbinds(pdu)] == [(SYS_NAME, b"mine")] * 2
    assert (door.denied, allowed) == (["127.0.0.1"], [])


def test_a_refusal_that_does_not_fit_into_a_packet_says_so() -> None:
    [answer], _ = answers([message_2c(COMMUNITY, request(SYS_NAME, tag=SET, value=octets(bytes(1400))))])
    message, _ = decoder.decode(answer, asn1Spec=v2c.Message())
    pdu = v2c.apiMessage.get_pdu(message)

    assert int(v2c.apiPDU.get_error_status(pdu)) == 1
    assert not v2c.apiPDU.get_varbinds(pdu)


def test_while_nobody_asks_nothing_wakes_the_process() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        identity = EngineIdentity(ENGINE, 1000, ForwardClock(Clock()))
        responder = Responder(identity, OpenDoor(), OneObject)
        responder.open(bind("127.0.0.1", 0))
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not loop._scheduled
        responder.close()

    asyncio.run(run())


def test_version_1_is_not_known() -> None:
    assert answers([message_2c(COMMUNITY, request(SYS_NAME), version=0)]) == ([], [])


def test_of_one_sender_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_WAITING", 5)
    door = OpenDoor()
    found, _ = answers([message_2c(COMMUNITY, request(SYS_NAME, number_of=n)) for n in range(1, 21)], door)

    assert len(door.admitted) == 20
    assert len(found) + door.crowded == 20
    assert door.crowded >= 14


def test_senders_have_their_turns_whoever_sent_most() -> None:
    many = [message_2c(COMMUNITY, request(SYS_NAME, number_of=n)) for n in range(1, 31)]
    _, allowed = answers(many, then=many[:2])

    assert len(allowed) == 32
    assert [turn for turn, source in enumerate(allowed) if source == "127.0.0.2"] == [1, 3]


OIDS = st.lists(st.integers(0, 2**32 - 1), max_size=60).map(lambda tail: (1, 3, *tail))
VALUES = (
    st.binary(max_size=400).map(lambda octets: (Syntax.TEXT, octets))
    | st.integers(-(2**31), 2**31 - 1).map(lambda value: (Syntax.INTEGER, value))
    | st.integers(0, 2**32 - 1).map(lambda value: (Syntax.GAUGE, value))
    | st.integers(0, 2**64 - 1).map(lambda value: (Syntax.COUNTER, value))
    | OIDS.map(lambda oid: (Syntax.IDENTIFIER, oid))
)


@settings(max_examples=1000, deadline=None)
@given(OIDS, VALUES)
def test_the_size_on_the_wire_is_known_before(oid: Oid, typed_value: tuple[Syntax, Value]) -> None:
    variable = VarBind(oid, *typed_value)
    pdu = v2c.GetResponsePDU()
    v2c.apiPDU.set_defaults(pdu)
    v2c.apiPDU.set_varbinds(pdu, [(oid, typed(variable))])
    [binding] = v2c.apiPDU.get_varbind_list(pdu)
    real = len(encoder.encode(binding))

    assert real <= encoded_size(oid, variable.value) <= real + 4
