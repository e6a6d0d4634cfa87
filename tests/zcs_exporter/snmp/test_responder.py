"""The responder behind a door that lets everything in."""

import asyncio
import socket
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyasn1.codec.ber import encoder
from pysnmp.proto.api import v2c
from snmp_messages import GETNEXT, SYS_NAME, message_2c, message_3, request, scoped

from zcs_exporter.contract import Clock
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
        self.crowded = 0

    def admits(self, datagram: bytes, source: str) -> bool:
        self.admitted.append(datagram)
        return True

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
    allowed: list[str] = []

    async def run() -> list[bytes]:
        identity = EngineIdentity(ENGINE, 1000, ForwardClock(Clock()))
        responder = Responder(identity, door or OpenDoor(), OneObject, allowed.append)
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
            await responder.open(bound)
            found = []
            try:
                while True:
                    async with asyncio.timeout(0.2):
                        found.append(await asyncio.get_running_loop().sock_recv(client, 65536))
            except TimeoutError:
                responder.close()
                await asyncio.sleep(0)
                return found

    return asyncio.run(run()), allowed


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
