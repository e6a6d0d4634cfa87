"""The agent on a real socket of loopback, asked by octets written by hand and by another's SNMP library."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from fakes import ManualClock, unchecked
from pyasn1.codec.ber import decoder
from pysnmp.hlapi.v3arch.asyncio import (
    CommunityData,
    ContextData,
    ObjectIdentity,
    ObjectType,
    SnmpEngine,
    Udp6TransportTarget,
    UdpTransportTarget,
    UsmUserData,
    bulk_cmd,
    get_cmd,
    next_cmd,
    set_cmd,
    usm3DESEDEPrivProtocol,
    usmAesBlumenthalCfb256Protocol,
    usmAesCfb128Protocol,
    usmDESPrivProtocol,
    usmHMAC192SHA256AuthProtocol,
    usmHMAC384SHA512AuthProtocol,
    usmHMACMD5AuthProtocol,
    usmHMACSHAAuthProtocol,
)
from pysnmp.proto.api import v2c
from pysnmp.proto.rfc1902 import OctetString
from snmp_messages import (
    GETBULK,
    GETNEXT,
    SYS_NAME,
    discovery,
    message_2c,
    message_3,
    mutations,
    octets,
    request,
    scoped,
)
from snmp_scene import HOST, view

from zcs_exporter.agent import gate
from zcs_exporter.agent.access import AgentAccess
from zcs_exporter.agent.agent import SnmpAgent
from zcs_exporter.agent.gate import REQUESTS
from zcs_exporter.agent.view import MibView
from zcs_exporter.config import SnmpAgentConfig
from zcs_exporter.contract import Clock
from zcs_exporter.snmp.identity import EngineIdentity, ForwardClock
from zcs_exporter.snmp.notification import MAX_MESSAGE
from zcs_exporter.snmp.secrets import Community, UsmUser
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Oid, Syntax, VarBind

COMMUNITY = Community("0123456789abcdef")
USER = UsmUser("nms", "SHA-256", "correct horse battery", "AES-128", "staple of the other")
ENGINE = bytes.fromhex("80001f8805") + bytes(range(12))
WHO_2C = CommunityData(COMMUNITY.community)
WHO_3 = UsmUserData("nms", USER.auth_password, USER.priv_password, usmHMAC192SHA256AuthProtocol, usmAesCfb128Protocol)
WHO = pytest.mark.parametrize("who", [WHO_2C, WHO_3], ids=["2c", "3"])
VIEW = view()


class Scene:
    """An agent, a client's engine, and a plain socket."""

    def __init__(self, agent: SnmpAgent, family: int) -> None:
        self.agent = agent
        self.client = SnmpEngine()
        self.address = ("::1" if family == socket.AF_INET6 else "127.0.0.1", agent.port)
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(self.address)

    async def ask(
        self,
        command: Callable[..., Awaitable[tuple]],
        who: object,
        *oids: Oid,
        numbers: Sequence[int] = (),
        **more: object,
    ) -> tuple[object, int, list[tuple[Oid, object]]]:
        """Return what went wrong, the error status, and the variables."""
        kind = Udp6TransportTarget if ":" in self.address[0] else UdpTransportTarget
        target = await kind.create(self.address, timeout=more.pop("timeout", 5), retries=0)
        context = ContextData(contextName=more.pop("context", b""))
        wanted = [ObjectType(ObjectIdentity(oid), *more.get("values", ())) for oid in oids]
        indication, status, _, found = await command(
            self.client, who, target, context, *numbers, *wanted, lookupMib=False
        )
        return indication, int(status), [(tuple(name), value) for name, value in found]

    async def send(self, datagram: bytes, wait: float = 2.0) -> bytes | None:
        """Send octets and return the answer; None where there is none."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.socket, datagram)
        try:
            async with asyncio.timeout(wait):
                return await loop.sock_recv(self.socket, 65536)
        except TimeoutError:
            return None

    def count(self, outcome: str) -> float:
        return next(each.value for each in self.agent.samples() if each.labels == (outcome,))


@asynccontextmanager
async def running(
    manual: ManualClock | None = None,
    latest: Callable[[], MibView] = lambda: VIEW,
    listen: str = "127.0.0.1:0",
    users: tuple[UsmUser, ...] = (USER,),
) -> AsyncIterator[Scene]:
    clock = manual.clock if manual else Clock()
    config = unchecked(SnmpAgentConfig(enabled=True, contact="ops@example.com"), listen=listen)
    identity = EngineIdentity(ENGINE, 1000, ForwardClock(clock))
    access = AgentAccess(users, (COMMUNITY,), ())
    agent = SnmpAgent(config, access, DEFAULT_ROOT, identity, clock, latest, lambda: HOST)
    assert agent.build() == []
    agent.open()
    agent.start()
    scene = Scene(agent, socket.AF_INET6 if "[" in listen else socket.AF_INET)
    try:
        yield scene
    finally:
        scene.socket.close()
        scene.client.close_dispatcher()
        agent.close()
        await asyncio.sleep(0)


def play(story: Callable[[Scene], Awaitable[None]], **options: object) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60), running(**options) as scene:
            await story(scene)

    asyncio.run(whole())


def plain(value: object) -> object:
    if isinstance(value, v2c.ObjectIdentifier):
        return tuple(value)
    return value.asOctets() if isinstance(value, OctetString) else int(value)


def variables_of(answer: bytes) -> tuple[int, list[tuple[Oid, object]]]:
    """The error status and the variables of an answer of version 2c."""
    message, _ = decoder.decode(answer, asn1Spec=v2c.Message())
    pdu = v2c.apiMessage.get_pdu(message)
    return int(v2c.apiPDU.get_error_status(pdu)), [(tuple(n), v) for n, v in v2c.apiPDU.get_varbinds(pdu)]


@WHO
def test_a_walk_is_the_system_group_and_then_the_view(who: object) -> None:
    async def story(scene: Scene) -> None:
        walked, oid = [], (1, 3)
        while True:
            indication, status, [(oid, value)] = await scene.ask(next_cmd, who, oid)
            assert (indication, status) == (None, 0)
            if value.tagSet == v2c.EndOfMibView().tagSet:
                break
            walked.append((oid, plain(value)))
        assert walked[7:] == [(each.oid, each.value) for each in VIEW]
        assert [name for name, _ in walked[:7]] == [(1, 3, 6, 1, 2, 1, 1, n, 0) for n in range(1, 8)]

    play(story)


@WHO
def test_a_bulk_walk_is_the_same(who: object) -> None:
    async def story(scene: Scene) -> None:
        walked, oid = [], DEFAULT_ROOT
        while True:
            indication, status, found = await scene.ask(bulk_cmd, who, oid, numbers=(0, 25))
            assert (indication, status) == (None, 0)
            walked += [(name, plain(value)) for name, value in found if value.tagSet != v2c.EndOfMibView().tagSet]
            oid = found[-1][0]
            if found[-1][1].tagSet == v2c.EndOfMibView().tagSet:
                break
        assert walked == [(each.oid, each.value) for each in VIEW]

    play(story)


@WHO
def test_get_tells_missing_instances_from_missing_objects(who: object) -> None:
    async def story(scene: Scene) -> None:
        oids = (SYS_NAME, (*SYS_NAME[:-1], 1), (1, 3, 6, 1, 2, 1, 2, 1, 0))
        indication, status, found = await scene.ask(get_cmd, who, *oids)
        assert (indication, status) == (None, 0)
        assert found[0][1].asOctets() == HOST.encode()
        assert found[1][1].tagSet == v2c.NoSuchInstance().tagSet
        assert found[2][1].tagSet == v2c.NoSuchObject().tagSet
        assert [name for name, _ in found] == list(oids)

    play(story)


@WHO
def test_nothing_can_be_written(who: object) -> None:
    async def story(scene: Scene) -> None:
        indication, status, found = await scene.ask(set_cmd, who, SYS_NAME, values=(OctetString("mine"),))
        assert (indication, status) == (None, 6)  # noAccess
        assert [name for name, _ in found] == [SYS_NAME]
        assert scene.count("operation") == 1
        _, _, [(_, value)] = await scene.ask(get_cmd, who, SYS_NAME)
        assert value.asOctets() == HOST.encode()

    play(story)


def test_it_answers_on_ipv6() -> None:
    async def story(scene: Scene) -> None:
        for who in (WHO_2C, WHO_3):
            _, _, [(_, value)] = await scene.ask(get_cmd, who, SYS_NAME)
            assert value.asOctets() == HOST.encode()

    play(story, listen="[::1]:0")


def test_a_socket_for_both_families_answers_both() -> None:
    async def story(scene: Scene) -> None:
        for address in ("::1", "127.0.0.1"):
            scene.address = (address, scene.agent.port)
            for who in (WHO_2C, WHO_3):
                _, _, [(_, value)] = await scene.ask(get_cmd, who, SYS_NAME)
                assert value.asOctets() == HOST.encode()

    play(story, listen="[::]:0")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (("MD5", "DES"), (usmHMACMD5AuthProtocol, usmDESPrivProtocol)),
        (("SHA-1", "3DES"), (usmHMACSHAAuthProtocol, usm3DESEDEPrivProtocol)),
        (("SHA-512", "AES-256"), (usmHMAC384SHA512AuthProtocol, usmAesBlumenthalCfb256Protocol)),
    ],
    ids=["MD5/DES", "SHA-1/3DES", "SHA-512/AES-256"],
)
def test_users_of_other_protocols_are_answered(ours: tuple[str, str], theirs: tuple[object, object]) -> None:
    words = ("correct horse battery", "staple of the other")
    asking = UsmUser("other", ours[0], words[0], ours[1], words[1])

    async def story(scene: Scene) -> None:
        _, status, [(_, value)] = await scene.ask(get_cmd, UsmUserData("other", *words, *theirs), SYS_NAME)
        assert (status, value.asOctets()) == (0, HOST.encode())

    play(story, users=(USER, asking))


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_who_is_asked_by_one_of_several_addresses_answers_from_it(listen: str) -> None:
    async def story(scene: Scene) -> None:
        scene.socket.close()
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            # A connected socket hears nobody else, as a firewall lets nobody else through.
            scene.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            scene.socket.setblocking(False)
            scene.socket.connect((address, scene.agent.port))
            answer = await scene.send(message_2c(COMMUNITY.community.encode(), request(SYS_NAME)))
            assert answer is not None
            assert HOST.encode() in answer
            report = await scene.send(discovery())
            assert report is not None
            scene.socket.close()

    play(story, listen=listen)


def test_a_request_is_answered_from_the_snapshot_of_its_moment() -> None:
    views = [view(), view((1, 3, 6, 1, 4, 1, 99999))]

    async def story(scene: Scene) -> None:
        for expected in (DEFAULT_ROOT, (1, 3, 6, 1, 4, 1, 99999)):
            _, _, [(name, _)] = await scene.ask(next_cmd, WHO_2C, (1, 3, 6, 1, 4))
            assert name[: len(expected)] == expected
            views.pop(0) if len(views) > 1 else None

    play(story, latest=lambda: views[0])


def test_an_answer_to_getbulk_stops_at_what_fits_into_a_packet() -> None:
    big = [VarBind((*DEFAULT_ROOT, 1, 99, n), Syntax.TEXT, b"x" * 255) for n in range(100)]

    async def story(scene: Scene) -> None:
        answer = await scene.send(
            message_2c(COMMUNITY.community.encode(), request((1, 3, 6, 1, 4), tag=GETBULK, second=2**31 - 1))
        )
        assert answer is not None
        assert MAX_MESSAGE - 400 < len(answer) <= MAX_MESSAGE
        status, found = variables_of(answer)
        assert status == 0
        assert [name for name, _ in found] == [each.oid for each in big[: len(found)]]
        indication, status, found = await scene.ask(bulk_cmd, WHO_3, (1, 3, 6, 1, 4), numbers=(0, 2**31 - 1))
        assert (indication, status, len(found)) == (None, 0, 4)

    play(story, latest=lambda: FixedView(big))


class FixedView(MibView):
    """Instances that no snapshot gives."""

    def __init__(self, instances: list[VarBind]) -> None:
        self._objects = frozenset()
        self._instances = instances
        self._oids = [each.oid for each in instances]


def test_an_answer_to_get_that_does_not_fit_says_so() -> None:
    big = [VarBind((*DEFAULT_ROOT, 1, 99, n), Syntax.TEXT, b"x" * 255) for n in range(10)]

    async def story(scene: Scene) -> None:
        for who in (WHO_2C, WHO_3):
            _, status, found = await scene.ask(get_cmd, who, *(each.oid for each in big))
            assert (status, found) == (1, [])

    play(story, latest=lambda: FixedView(big))


def test_getbulk_takes_non_repeaters_once_and_gives_at_most_64_variables() -> None:
    small = [VarBind((1, 3, 7, n), Syntax.INTEGER, n) for n in range(200)]

    async def story(scene: Scene) -> None:
        async def bulk(first: int, second: int, *oids: Oid) -> list[Oid]:
            datagram = message_2c(COMMUNITY.community.encode(), request(*oids, tag=GETBULK, first=first, second=second))
            answer = await scene.send(datagram)
            assert answer is not None
            return [name for name, _ in variables_of(answer)[1]]

        assert await bulk(1, 3, (1, 3, 7, 5), (1, 3, 7, 50)) == [
            (1, 3, 7, 6), (1, 3, 7, 51), (1, 3, 7, 52), (1, 3, 7, 53),
        ]  # fmt: skip
        assert await bulk(5, 3, (1, 3, 7, 5)) == [(1, 3, 7, 6)]
        assert await bulk(0, 0, (1, 3, 7, 5)) == []
        assert len(await bulk(0, 1000, (1, 3, 6, 1, 4))) == 64
        assert len(await bulk(64, 0, *[(1, 3, 7, 5)] * 64)) == 64
        # Beyond the end each row says so once, and then the answer ends.
        assert await bulk(0, 1000, (1, 3, 7, 198), (1, 3, 7, 199)) == [
            (1, 3, 7, 199), (1, 3, 7, 199), (1, 3, 7, 199), (1, 3, 7, 199),
        ]  # fmt: skip

    play(story, latest=lambda: FixedView(small))


PROTOCOLS = (usmHMAC192SHA256AuthProtocol, usmAesCfb128Protocol)


def user(name: str, auth: str = USER.auth_password) -> UsmUserData:
    return UsmUserData(name, auth, USER.priv_password, *PROTOCOLS)


@pytest.mark.parametrize(
    ("who", "outcome"),
    [
        (CommunityData("public"), "community"),
        (CommunityData(COMMUNITY.community, mpModel=0), "version"),
        (UsmUserData("nms"), "security"),
        (UsmUserData("nms", USER.auth_password, authProtocol=usmHMAC192SHA256AuthProtocol), "security"),
        (user("nobody"), "user"),
        (user("nms", "a wrong pass phrase"), "key"),
        (UsmUserData("nms", USER.auth_password, "a wrong pass phrase", *PROTOCOLS), "key"),
    ],
    ids=["public", "version 1", "no keys", "no privacy", "unknown user", "wrong key", "wrong privacy key"],
)
def test_strangers_learn_nothing(who: object, outcome: str) -> None:
    async def story(scene: Scene) -> None:
        indication, _, found = await scene.ask(get_cmd, who, SYS_NAME, timeout=0.5)
        assert indication is not None
        assert not found
        assert scene.count(outcome) >= 1
        assert scene.count("answered") == 0

    play(story)


def test_there_is_no_other_context() -> None:
    async def story(scene: Scene) -> None:
        indication, _, found = await scene.ask(get_cmd, WHO_3, SYS_NAME, context=b"other", timeout=1)
        assert str(indication) == "1.3.6.1.6.3.12.1.5.0"  # snmpUnknownContexts; told at once, and no timeout
        assert not found
        assert scene.count("answered") == 0

    play(story)


def test_a_bug_in_ours_is_a_general_error_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> MibView:
        raise RuntimeError("no view")

    async def story(scene: Scene) -> None:
        for _ in range(3):
            assert (await scene.ask(get_cmd, WHO_2C, SYS_NAME))[1] == 5

    play(story, latest=broken)
    assert sum("bug" in record.message for record in caplog.records) == 1


def test_the_digest_cannot_be_left_out() -> None:
    """What let anyone in before pysnmp 7.1.28, and its relatives."""
    plain_request = scoped(ENGINE, request(SYS_NAME))

    async def story(scene: Scene) -> None:
        for user in (b"nms", b"", b"nobody"):
            for flags in (0, 1, 2, 3, 4, 5, 6, 7):
                for auth in (b"", bytes(12), bytes(24), b"x" * 24):
                    for engine in (ENGINE, b"", ENGINE[:-1] + b"x"):
                        for content in (plain_request, octets(plain_request)):
                            for model in (3, 2, 1, 0):
                                scene.socket.send(
                                    message_3(
                                        engine, user, flags, content, auth=auth, priv=bytes(8), boots=1000, model=model
                                    )
                                )
                            await asyncio.sleep(0)
        answers = await drained(scene)
        assert answers
        assert not any(HOST.encode() in answer for answer in answers)
        assert scene.count("answered") == 0

    play(story)


async def drained(scene: Scene) -> list[bytes]:
    """All answers that come, until half a second passes without one."""
    found = []
    while (answer := await scene.send(b"", 0.5)) is not None:
        found.append(answer)
    return found


def test_a_recorded_request_is_answered_within_its_window_and_not_later(manual: ManualClock) -> None:
    recorded: list[bytes] = []

    async def story(scene: Scene) -> None:
        async with relay(scene.agent.port, recorded) as port:
            scene.address = ("127.0.0.1", port)
            _, status, _ = await scene.ask(get_cmd, WHO_3, SYS_NAME)
            assert status == 0
        assert await scene.send(recorded[-1]) is not None
        assert scene.count("answered") == 2  # as SNMP allows: nothing is changed by it
        manual.advance(170)
        assert await scene.send(recorded[-1]) is not None  # a report: not in the time window
        assert scene.count("answered") == 2

    play(story, manual=manual)


@asynccontextmanager
async def relay(port: int, recorded: list[bytes]) -> AsyncIterator[int]:
    """Stand between a client and the agent, and keep what the client says."""
    loop = asyncio.get_running_loop()

    class Relay(asyncio.DatagramProtocol):
        client: tuple[str, int]

        def connection_made(self, transport: asyncio.DatagramTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            if address[1] == port:
                self.transport.sendto(data, self.client)
            else:
                self.client = address
                recorded.append(data)
                self.transport.sendto(data, ("127.0.0.1", port))

    transport, _ = await loop.create_datagram_endpoint(Relay, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


def test_ten_thousand_mutated_packets_of_who_has_the_secrets_break_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them get as far as they can: the gate's rate is out of the way."""
    for name in ("EACH_SOURCE", "ALL_SOURCES"):
        monkeypatch.setattr(gate, name, gate.Allowance(10**12, 10**12, 10**12, 10**12))
    recorded: list[bytes] = []

    async def story(scene: Scene) -> None:
        address = scene.address
        async with relay(scene.agent.port, recorded) as port:
            scene.address = ("127.0.0.1", port)
            for who in (WHO_2C, WHO_3):
                for command, numbers in ((get_cmd, ()), (next_cmd, ()), (bulk_cmd, (0, 10))):
                    await scene.ask(command, who, SYS_NAME, DEFAULT_ROOT, numbers=numbers)
        scene.address = address
        for datagram in mutations(recorded, 10_000):
            scene.socket.send(datagram)
            await asyncio.sleep(0)
            with contextlib.suppress(BlockingIOError):
                scene.socket.recv(65536)
        await drained(scene)
        _, status, [(_, value)] = await scene.ask(get_cmd, WHO_3, SYS_NAME)
        assert (status, value.asOctets()) == (0, HOST.encode())
        assert sum(each.value for each in scene.agent.samples()) > 9000
        assert all(each.value >= 0 for each in scene.agent.samples())

    play(story)


@pytest.mark.parametrize(
    "datagram",
    [
        message_2c(COMMUNITY.community.encode(), request(*[(1, 3)] * 170)),
        message_2c(COMMUNITY.community.encode(), request(*[(1, 3)] * 170, tag=GETBULK, second=2**31 - 1)),
        message_2c(COMMUNITY.community.encode(), request((1, 3, *[1] * 1300))),
        message_2c(COMMUNITY.community.encode(), request((1, 3, 2**9000), tag=GETNEXT)),
        message_2c(COMMUNITY.community.encode(), b"\xa0\x82\x05\x00" + b"\x30\x80" * 640),
        message_2c(COMMUNITY.community.encode(), b"\xa0\x80" + b"\x24\x80" * 640),
        message_2c(COMMUNITY.community.encode(), request(SYS_NAME, number_of=2**4000)),
        message_2c(COMMUNITY.community.encode(), request(SYS_NAME, value=b"\x1f" + b"\xff" * 1200 + b"\x01\x00")),
        message_3(ENGINE, b"nms", 7, octets(bytes(1300)), auth=bytes(24), priv=bytes(8), boots=1000),
        message_3(b"", b"", 4, scoped(b"", request(*[(1, 3)] * 170))),
        message_3(b"", b"", 4, scoped(b"", request(*[(1, 3)] * 15))),
    ],
    ids=[
        "many variables", "many rows", "long identifier", "huge arc", "nested sequences", "nested octets",
        "huge number", "huge tag", "garbled cipher", "long discovery", "discovery with variables",
    ],
)  # fmt: skip
def test_the_worst_that_fits_into_a_datagram_is_survived(datagram: bytes) -> None:
    async def story(scene: Scene) -> None:
        begun = time.process_time()
        for _ in range(10):
            scene.socket.send(datagram)
        answers = await drained(scene)
        assert time.process_time() - begun < 3
        assert all(len(answer) <= MAX_MESSAGE for answer in answers)
        _, status, _ = await scene.ask(get_cmd, WHO_2C, SYS_NAME)
        assert status == 0

    play(story)


def test_who_asks_without_end_is_not_remembered(manual: ManualClock) -> None:
    """Unknown engine ids, contexts and broken requests leave nothing behind in the library."""

    async def story(scene: Scene) -> None:
        engine = scene.agent._responder._engine
        for turn in range(300):
            manual.advance(0.1)
            await scene.send(discovery(), 1)
            for engine_id, name in (
                (ENGINE[:-2] + turn.to_bytes(2), b"nms"),
                (ENGINE, b"n%d" % turn),
                (ENGINE, b"nms"),
            ):
                scene.socket.send(message_3(engine_id, name, 7, octets(bytes(50)), auth=bytes(24), priv=bytes(8)))
            scene.socket.send(message_2c(COMMUNITY.community.encode(), request(SYS_NAME, tag=0xA6)))
            scene.socket.send(message_2c(COMMUNITY.community.encode(), request(SYS_NAME)))
        for _ in range(5):
            await scene.ask(get_cmd, WHO_3, SYS_NAME, context=b"other", timeout=0.2)
        await drained(scene)
        assert all(model._cache.is_empty() for model in engine.security_models.values() if hasattr(model, "_cache"))
        assert set(engine.security_models[3]._SnmpUSMSecurityModel__timeline) <= {engine.snmpEngineID}

    play(story, manual=manual)


def test_the_port_is_free_once_it_is_closed() -> None:
    async def whole() -> None:
        async with running() as scene:
            port = scene.agent.port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", port))

    asyncio.run(whole())


def test_what_came_is_counted_by_outcome() -> None:
    async def story(scene: Scene) -> None:
        await scene.ask(get_cmd, WHO_2C, SYS_NAME)
        assert {each.metric for each in scene.agent.samples()} == {REQUESTS}
        assert scene.count("answered") == 1
        assert scene.count("unproven") == 0

    play(story)
