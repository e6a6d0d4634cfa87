import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fakes import ManualClock
from pysnmp.hlapi.v3arch.asyncio import (
    CommunityData,
    ContextData,
    NotificationType,
    ObjectIdentity,
    SnmpEngine,
    UdpTransportTarget,
    UsmUserData,
    send_notification,
    usmAesCfb128Protocol,
    usmHMAC192SHA256AuthProtocol,
)
from pysnmp.proto.rfc1902 import Integer32, IpAddress, OctetString

from zcs_exporter.contract import Clock
from zcs_exporter.snmp.destination import DeliveryError, Destination
from zcs_exporter.snmp.gate import MAX_DATAGRAM, Gate
from zcs_exporter.snmp.identity import EngineIdentity
from zcs_exporter.snmp.listener import Sender, TrapListener
from zcs_exporter.snmp.notification import Notification
from zcs_exporter.snmp.secrets import Community, UsmUser
from zcs_exporter.snmp.sender import SnmpSender

COMMUNITY = Community("s3cret-community")
USER = UsmUser("traps", "SHA-256", "correct horse battery", "AES-128", "staple of the other")
CLOCK = Clock()


@asynccontextmanager
async def foreign(port: int, auth: object, kind: str, *variables: tuple) -> AsyncIterator[object]:
    """Send a notification that is not ours, with pysnmp itself, and tell what became of it."""
    engine = SnmpEngine()
    target = await UdpTransportTarget.create(("127.0.0.1", port), timeout=0.3, retries=0)
    what = NotificationType(ObjectIdentity("1.3.6.1.4.1.666.0.0")).add_varbinds(*variables)
    indication, *_ = await send_notification(engine, auth, target, ContextData(), kind, what, lookupMib=False)
    try:
        # A trap leaves as soon as the socket is there, which may be after this.
        yield indication
    finally:
        engine.close_dispatcher()


def test_a_foreign_notification_is_shown_by_numbers() -> None:
    async def run() -> None:
        async with TrapListener("127.0.0.1", 0, [Sender(COMMUNITY)], CLOCK) as listener:
            variables = (
                ((1, 3, 6, 1, 4, 1, 666, 1, 0), OctetString("mta")),
                ((1, 3, 6, 1, 4, 1, 666, 1, 1), Integer32(0)),
                ((1, 3, 6, 1, 4, 1, 666, 1, 2), OctetString(b"\xff\x00")),
                ((1, 3, 6, 1, 4, 1, 666, 1, 3), OctetString("a\x1b[31mb")),
                ((1, 3, 6, 1, 4, 1, 666, 1, 4), IpAddress("192.0.2.1")),
            )
            async with foreign(listener.port, CommunityData("s3cret-community"), "trap", *variables):
                received = await asyncio.wait_for(anext(listener), 10)
            assert received.notification is None
            assert received.sequence is None
            assert received.trap == "1.3.6.1.4.1.666.0.0"
            assert received.variables == (
                ("1.3.6.1.4.1.666.1.0", "mta"),
                ("1.3.6.1.4.1.666.1.1", "0"),
                ("1.3.6.1.4.1.666.1.2", "0xff00"),
                ("1.3.6.1.4.1.666.1.3", "0x611b5b33316d62"),
                ("1.3.6.1.4.1.666.1.4", "0xc0000201"),
            )

    asyncio.run(run())


def test_a_trap_of_version_1_is_understood() -> None:
    async def run() -> None:
        async with TrapListener("127.0.0.1", 0, [Sender(COMMUNITY)], CLOCK) as listener:
            async with foreign(listener.port, CommunityData("s3cret-community", mpModel=0), "trap"):
                received = await asyncio.wait_for(anext(listener), 10)
            assert received.version == "1"
            assert received.trap == "1.3.6.1.4.1.666.0.0"

    asyncio.run(run())


def test_a_wrong_community_is_neither_shown_nor_answered() -> None:
    async def run() -> None:
        async with (
            TrapListener("127.0.0.1", 0, [Sender(COMMUNITY)], CLOCK) as listener,
            foreign(listener.port, CommunityData("guess"), "inform") as refusal,
        ):
            assert refusal is not None
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(listener), 0.1)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("auth", "cause"),
    [
        (CommunityData("guess"), "its community is not known here; name a file with it with --secrets"),
        (CommunityData("guess", mpModel=0), "its community is not known here; name a file with it with --secrets"),
        (UsmUserData("nobody"), "its user is not known here"),
        (UsmUserData("traps"), "it is not both signed and encrypted"),
    ],
)
def test_what_is_refused_is_told_with_its_source_and_cause(auth: object, cause: str) -> None:
    refusals: list[tuple[str, str]] = []

    async def run() -> None:
        told = asyncio.Event()

        def refused(*what: str) -> None:
            refusals.append(what)
            told.set()

        async with (
            TrapListener("127.0.0.1", 0, [Sender(COMMUNITY), Sender(USER)], CLOCK, refused=refused) as listener,
            foreign(listener.port, auth, "trap" if isinstance(auth, CommunityData) else "inform"),
        ):
            async with asyncio.timeout(10):
                await told.wait()

    asyncio.run(run())
    assert {source for source, _ in refusals} == {"127.0.0.1"}
    assert all(each.startswith(cause) for _, each in refusals), refusals


def test_an_accepted_inform_is_no_refusal() -> None:
    refusals: list[tuple[str, str]] = []
    keys = {"authProtocol": usmHMAC192SHA256AuthProtocol, "privProtocol": usmAesCfb128Protocol}
    trusted = UsmUserData("traps", USER.auth_password, USER.priv_password, **keys)

    async def run() -> None:
        listener = TrapListener("127.0.0.1", 0, [Sender(USER)], CLOCK, refused=lambda *what: refusals.append(what))
        async with listener, foreign(listener.port, trusted, "inform") as refusal:
            assert refusal is None

    asyncio.run(run())
    assert refusals == []


def test_a_known_user_without_proof_is_neither_shown_nor_answered() -> None:
    async def run() -> None:
        async with (
            TrapListener("127.0.0.1", 0, [Sender(USER)], CLOCK) as listener,
            foreign(listener.port, UsmUserData("traps"), "inform") as refusal,
        ):
            assert refusal is not None
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(listener), 0.1)

    asyncio.run(run())


def test_a_trap_of_version_3_needs_the_senders_engine_id(notification: Notification, identity: EngineIdentity) -> None:
    async def run() -> None:
        async with TrapListener("127.0.0.1", 0, [Sender(USER)], CLOCK) as listener:
            sender = SnmpSender(Destination("nms", "127.0.0.1", listener.port, "3", "trap", USER), identity, CLOCK)
            await sender.send(notification, 1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(listener), 0.1)
            sender.close()

    asyncio.run(run())


def test_several_communities_and_users_are_told_apart(notification: Notification, identity: EngineIdentity) -> None:
    other = UsmUser("others", "SHA-512", "another pass phrase", "AES-256", "and yet another one")

    async def run() -> None:
        senders = [Sender(COMMUNITY), Sender(Community("second-one")), Sender(USER), Sender(other)]
        async with TrapListener("127.0.0.1", 0, senders, CLOCK) as listener:
            for secrets in (Community("second-one"), COMMUNITY, other, USER):
                version = "3" if isinstance(secrets, UsmUser) else "2c"
                sender = SnmpSender(
                    Destination("nms", "127.0.0.1", listener.port, version, "inform", secrets), identity, CLOCK
                )
                await sender.send(notification, 1)
                received = await asyncio.wait_for(anext(listener), 10)
                assert received.user == (secrets.user if isinstance(secrets, UsmUser) else "")
                sender.close()

    asyncio.run(run())


def test_an_inform_that_nobody_has_room_for_is_not_acknowledged(
    notification: Notification, identity: EngineIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zcs_exporter.snmp.listener._MAX_WAITING", 1)

    async def run() -> None:
        async with TrapListener("127.0.0.1", 0, [Sender(COMMUNITY)], CLOCK) as listener:
            destination = Destination("nms", "127.0.0.1", listener.port, "2c", "inform", COMMUNITY, 1.0, 0)
            sender = SnmpSender(destination, identity, CLOCK)
            await sender.send(notification, 1)
            with pytest.raises(DeliveryError):
                await sender.send(notification, 2)
            assert listener.dropped
            assert (await anext(listener)).sequence == 1
            await sender.send(notification, 3)
            sender.close()

    asyncio.run(run())


def test_the_gate_drops_what_is_too_long(manual: ManualClock) -> None:
    gate = Gate(manual.clock, rate=10, burst=10)
    assert gate.admits(bytes(MAX_DATAGRAM), "192.0.2.1")
    assert not gate.admits(bytes(MAX_DATAGRAM + 1), "192.0.2.1")
    assert gate.dropped == 1


def test_a_huge_datagram_is_dropped_unread(notification: Notification, identity: EngineIdentity) -> None:
    async def run() -> None:
        async with TrapListener("127.0.0.1", 0, [Sender(COMMUNITY)], CLOCK) as listener:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile:
                hostile.sendto(b"\x30" * 56_000, ("127.0.0.1", listener.port))
            sender = SnmpSender(
                Destination("nms", "127.0.0.1", listener.port, "2c", "inform", COMMUNITY), identity, CLOCK
            )
            await sender.send(notification, 1)
            sender.close()
            assert listener.dropped == 1

    asyncio.run(run())


def test_the_gate_lets_a_burst_through_and_then_its_rate(manual: ManualClock) -> None:
    gate = Gate(manual.clock, rate=2, burst=5)
    assert [gate.admits(bytes(100), "192.0.2.1") for _ in range(7)] == [True] * 5 + [False] * 2
    manual.advance(1)
    assert [gate.admits(bytes(100), "192.0.2.1") for _ in range(3)] == [True, True, False]
    manual.advance(1000)
    assert sum(gate.admits(bytes(100), "192.0.2.1") for _ in range(9)) == 5
    assert gate.dropped == 2 + 1 + 4


def mutations(seed: bytes, count: int) -> list[bytes]:
    """Flips, cuts, huge lengths, nests and noise, the same ones in every run."""
    chance = random.Random(20261122)
    found = []
    for _ in range(count):
        data = bytearray(seed)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        found.append(bytes(data[: chance.randint(1, len(data))] if chance.random() < 0.3 else data))
    return [*found, b"\x30\x80" * 700, b"\x24\x80" * 700, b"\x30\x84\xff\xff\xff\xff", b"\x1f" + b"\xff" * 1400, b""]


@pytest.mark.parametrize("version", ["2c", "3"])
def test_a_thousand_mutated_datagrams_hurt_nobody(
    version: str, notification: Notification, identity: EngineIdentity
) -> None:
    async def run() -> None:
        complaints: list[dict] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tap:
            tap.bind(("127.0.0.1", 0))
            secrets = USER if version == "3" else COMMUNITY
            spy = SnmpSender(
                Destination("tap", "127.0.0.1", tap.getsockname()[1], version, "trap", secrets), identity, CLOCK
            )
            await spy.send(notification, 1)
            spy.close()
            seed = tap.recv(65536)
            # A clock of its own, so that the gate's rate is not what protects us here.
            fast = ManualClock()
            async with TrapListener("127.0.0.1", 0, [Sender(COMMUNITY), Sender(USER)], fast.clock) as listener:
                for data in mutations(seed, 1000):
                    fast.advance(1)
                    tap.sendto(data, ("127.0.0.1", listener.port))
                    await asyncio.sleep(0)
                sender = SnmpSender(
                    Destination("nms", "127.0.0.1", listener.port, version, "inform", secrets), identity, CLOCK
                )
                await sender.send(notification, 2)
                sender.close()
        assert complaints == []

    asyncio.run(run())
