import asyncio
import dataclasses
import os
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

import pytest
from fakes import ManualClock

from zcs_exporter.contract import Clock
from zcs_exporter.snmp.destination import DeliveryError, Destination, Fault
from zcs_exporter.snmp.identity import EngineIdentity, ForwardClock
from zcs_exporter.snmp.listener import Received, Sender, TrapListener
from zcs_exporter.snmp.notification import MAX_MESSAGE, VARIABLES, Notification
from zcs_exporter.snmp.secrets import Community, Secrets, UsmUser
from zcs_exporter.snmp.sender import SnmpSender
from zcs_exporter.snmp.smi import Syntax

COMMUNITY = Community("s3cret-community")
USER = UsmUser("traps", "SHA-256", "correct horse battery", "AES-128", "staple of the other")
CLOCK = Clock()


def to(port: int, version: str = "2c", kind: str = "inform", secrets: Secrets | None = None, **more) -> Destination:
    chosen = secrets or (COMMUNITY if version == "2c" else USER)
    return Destination(
        "nms", more.pop("host", "127.0.0.1"), port, version, kind, chosen, **{"timeout": 5.0, "retries": 1} | more
    )


async def arrival(listener: TrapListener) -> Received:
    return await asyncio.wait_for(anext(listener), 10)


async def failure(sender: SnmpSender, notification: Notification) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await sender.send(notification, 1)
    return caught.value


class Silent:
    """A bound UDP socket that never answers, and counts."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def datagrams(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(65536))
            except BlockingIOError:
                return found


def with_sender(
    destination: Destination,
    identity: EngineIdentity,
    body: Callable[[SnmpSender], Awaitable[None]],
    clock: Clock = CLOCK,
) -> None:
    async def run() -> None:
        sender = SnmpSender(destination, identity, clock)
        try:
            await body(sender)
        finally:
            sender.close()

    asyncio.run(run())


@pytest.mark.parametrize("version", ["2c", "3"])
@pytest.mark.parametrize("kind", ["trap", "inform"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_what_is_sent_arrives_whole(
    version: str, kind: str, address: str, notification: Notification, identity: EngineIdentity
) -> None:
    async def run() -> None:
        async with TrapListener(address, 0, [Sender(COMMUNITY), Sender(USER, identity.engine_id)], CLOCK) as listener:
            sender = SnmpSender(to(listener.port, version, kind, host=address), identity, CLOCK)
            for sequence in (41, 42):
                await sender.send(notification, sequence)
                received = await arrival(listener)
                assert received.notification == notification
                assert received.sequence == sequence
                assert received.trap == "zcsFilesystemRaised"
                assert (received.version, received.inform) == (version, kind == "inform")
                assert received.user == ("traps" if version == "3" else "")
                assert received.address == address
            sender.close()

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["trap", "inform"])
def test_between_two_notifications_nothing_wakes_the_process(
    kind: str, notification: Notification, identity: EngineIdentity
) -> None:
    async def run() -> None:
        async with TrapListener("127.0.0.1", 0, [Sender(USER, identity.engine_id)], CLOCK) as listener:
            sender = SnmpSender(to(listener.port, "3", kind), identity, CLOCK)
            await sender.send(notification, 1)
            await arrival(listener)
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            loop = asyncio.get_running_loop()
            assert not [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
            sender.close()

    asyncio.run(run())


@pytest.mark.parametrize("auth", ["SHA-224", "SHA-256", "SHA-384", "SHA-512", "MD5", "SHA-1"])
@pytest.mark.parametrize("priv", ["AES-128", "AES-192", "AES-256"])
def test_every_pair_of_protocols_works(
    auth: str, priv: str, notification: Notification, identity: EngineIdentity
) -> None:
    user = dataclasses.replace(USER, auth_protocol=auth, priv_protocol=priv)

    async def run() -> None:
        async with TrapListener("127.0.0.1", 0, [Sender(user)], CLOCK) as listener:
            sender = SnmpSender(to(listener.port, "3", secrets=user, timeout=5.0), identity, CLOCK)
            await sender.send(notification, 1)
            sender.close()

    asyncio.run(run())


def test_the_up_time_is_the_daemons(notification: Notification, manual: ManualClock) -> None:
    identity = EngineIdentity(b"\x80\x00\x1f\x88\x05abcdefgh", 5, ForwardClock(manual.clock))
    manual.advance(3600)

    async def run() -> None:
        async with TrapListener("127.0.0.1", 0, [Sender(COMMUNITY)], CLOCK) as listener:
            sender = SnmpSender(to(listener.port), identity, CLOCK)
            await sender.send(notification, 1)
            assert (await arrival(listener)).up_time == 3600
            sender.close()

    asyncio.run(run())


@pytest.mark.parametrize("version", ["2c", "3"])
def test_silence_can_heal_and_keeps_within_its_time(
    version: str, notification: Notification, identity: EngineIdentity
) -> None:
    with Silent() as receiver:

        async def body(sender: SnmpSender) -> None:
            error = await failure(sender, notification)
            assert error.fault is Fault.TIMEOUT
            assert error.retryable
            assert "127.0.0.1" in str(error)

        with_sender(to(receiver.port, version, timeout=0.5), identity, body)
        assert len(receiver.datagrams()) >= 2


def test_a_wall_clock_that_stands_still_does_not_hold_up_the_queue(
    notification: Notification, identity: EngineIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysnmp.carrier.asyncio.dispatch.time", lambda: 1000.0)
    with Silent() as receiver:

        async def body(sender: SnmpSender) -> None:
            assert (await asyncio.wait_for(failure(sender, notification), 60)).fault is Fault.TIMEOUT

        with_sender(to(receiver.port, timeout=0.2), identity, body)


def test_every_retry_carries_the_same_event_id(notification: Notification, identity: EngineIdentity) -> None:
    with Silent() as receiver:

        async def body(sender: SnmpSender) -> None:
            await failure(sender, notification)

        with_sender(to(receiver.port, retries=2, timeout=0.5), identity, body)
        datagrams = receiver.datagrams()
        assert len(datagrams) == 3
        assert all(notification.event_id.encode() in datagram for datagram in datagrams)


@pytest.mark.parametrize(
    "secrets",
    [
        dataclasses.replace(USER, auth_password="another pass phrase"),
        dataclasses.replace(USER, user="nobody"),
    ],
)
def test_a_refusal_is_told_at_once_and_does_not_heal_by_waiting(
    secrets: UsmUser, notification: Notification, identity: EngineIdentity
) -> None:
    async def run() -> None:
        async with TrapListener("127.0.0.1", 0, [Sender(USER)], CLOCK) as listener:
            sender = SnmpSender(to(listener.port, "3", secrets=secrets, timeout=60.0), identity, CLOCK)
            error = await asyncio.wait_for(failure(sender, notification), 30)
            assert error.fault is Fault.REFUSED
            assert not error.retryable
            assert "secrets file" in str(error)
            assert secrets.auth_password not in str(error)
            sender.close()

    asyncio.run(run())


def test_a_wrong_community_is_silence_and_a_hint_names_it(notification: Notification, identity: EngineIdentity) -> None:
    async def run() -> None:
        async with TrapListener("127.0.0.1", 0, [Sender(COMMUNITY)], CLOCK) as listener:
            sender = SnmpSender(to(listener.port, secrets=Community("wrong"), timeout=0.5), identity, CLOCK)
            error = await failure(sender, notification)
            assert error.fault is Fault.TIMEOUT
            assert "community" in str(error)
            assert "wrong" not in str(error)
            sender.close()

    asyncio.run(run())


@pytest.mark.parametrize("known_again", [True, False])
def test_informs_resume_after_the_receiver_restarts_even_as_another_engine(
    known_again: bool, notification: Notification, identity: EngineIdentity
) -> None:
    async def run() -> None:
        first = TrapListener("127.0.0.1", 0, [Sender(USER)], CLOCK)
        await first.start()
        sender = SnmpSender(to(first.port, "3", timeout=0.5), identity, CLOCK)
        await sender.send(notification, 1)
        first.close()
        # The socket is closed in the loop's next round.
        await asyncio.sleep(0)
        error = await failure(sender, notification)
        assert error.fault is Fault.TIMEOUT
        second = TrapListener("127.0.0.1", first.port, [Sender(USER)], CLOCK)
        if known_again:
            second.engine_id = first.engine_id
        await second.start()
        await sender.send(notification, 2)
        assert (await arrival(second)).sequence == 2
        second.close()
        sender.close()

    asyncio.run(run())


def test_a_restarted_receiver_that_was_never_seen_down_costs_one_failure_at_most(
    notification: Notification, identity: EngineIdentity
) -> None:
    async def run() -> None:
        first = TrapListener("127.0.0.1", 0, [Sender(USER)], CLOCK)
        await first.start()
        sender = SnmpSender(to(first.port, "3", timeout=0.5), identity, CLOCK)
        await sender.send(notification, 1)
        first.close()
        await asyncio.sleep(0)
        async with TrapListener("127.0.0.1", first.port, [Sender(USER)], CLOCK) as second:
            try:
                await sender.send(notification, 2)
            except DeliveryError:
                await sender.send(notification, 2)
            assert (await arrival(second)).sequence == 2
        sender.close()

    asyncio.run(run())


def test_two_destinations_of_one_daemon_get_only_what_is_sent_to_them(
    notification: Notification, identity: EngineIdentity
) -> None:
    async def run() -> None:
        async with (
            TrapListener("127.0.0.1", 0, [Sender(COMMUNITY)], CLOCK) as one,
            TrapListener("127.0.0.1", 0, [Sender(COMMUNITY), Sender(USER)], CLOCK) as two,
        ):
            senders = [
                SnmpSender(to(one.port), identity, CLOCK),
                SnmpSender(to(two.port), identity, CLOCK),
                SnmpSender(to(two.port, "3"), identity, CLOCK),
            ]
            for sequence, sender in enumerate(senders):
                await sender.send(notification, sequence)
            assert (await arrival(one)).sequence == 0
            assert [(await arrival(two)).sequence for _ in range(2)] == [1, 2]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(one), 0.1)
            for sender in senders:
                sender.close()

    asyncio.run(run())


def test_a_dead_destination_delays_no_other(notification: Notification, identity: EngineIdentity) -> None:
    async def run() -> None:
        with Silent() as dead:
            async with TrapListener("127.0.0.1", 0, [Sender(COMMUNITY)], CLOCK) as alive:
                waiting = SnmpSender(to(dead.port, timeout=30.0), identity, CLOCK)
                sender = SnmpSender(to(alive.port), identity, CLOCK)
                stuck = asyncio.create_task(waiting.send(notification, 1))
                for sequence in range(5):
                    await sender.send(notification, sequence)
                assert not stuck.done()
                stuck.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await stuck
                waiting.close()
                sender.close()

    asyncio.run(run())


def test_a_cancelled_send_leaves_a_sender_that_works(notification: Notification, identity: EngineIdentity) -> None:
    async def run() -> None:
        with Silent() as dead:
            sender = SnmpSender(to(dead.port, timeout=30.0), identity, CLOCK)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sender.send(notification, 1), 0.2)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sender.send(notification, 1), 0.2)
            sender.close()

    asyncio.run(run())


def test_a_name_that_does_not_exist_can_heal(notification: Notification, identity: EngineIdentity) -> None:
    async def body(sender: SnmpSender) -> None:
        error = await failure(sender, notification)
        assert error.fault is Fault.UNREACHABLE
        assert error.retryable
        assert "no-such-host.invalid" in str(error)

    with_sender(to(162, host="no-such-host.invalid", timeout=20.0), identity, body)


def test_after_a_failure_the_name_is_resolved_anew(
    notification: Notification, identity: EngineIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["127.0.0.2", "127.0.0.1"]
    asked: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (answers.pop(0), port))]

    async def run() -> None:
        async with TrapListener("127.0.0.1", 0, [Sender(COMMUNITY)], CLOCK) as listener:
            monkeypatch.setattr("zcs_exporter.snmp.sender.socket.getaddrinfo", resolve)
            sender = SnmpSender(to(listener.port, host="nms.example.com", timeout=0.5, retries=0), identity, CLOCK)
            await failure(sender, notification)
            await sender.send(notification, 2)
            await sender.send(notification, 3)
            assert asked == ["nms.example.com"] * 2
            sender.close()

    asyncio.run(run())


def test_after_a_failure_the_next_address_of_the_name_is_tried(
    notification: Notification, identity: EngineIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(_host: str, port: int, **_: object) -> list:
        return [
            (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", port)),
        ]

    async def run() -> None:
        async with TrapListener("127.0.0.1", 0, [Sender(COMMUNITY)], CLOCK) as listener:
            monkeypatch.setattr("zcs_exporter.snmp.sender.socket.getaddrinfo", resolve)
            sender = SnmpSender(to(listener.port, host="nms.example.com", timeout=0.5, retries=0), identity, CLOCK)
            await failure(sender, notification)
            await sender.send(notification, 2)
            sender.close()

    asyncio.run(run())


def test_the_name_of_a_trap_destination_is_resolved_again_after_a_while(
    notification: Notification, identity: EngineIdentity, manual: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", port))]

    monkeypatch.setattr("zcs_exporter.snmp.sender.socket.getaddrinfo", resolve)
    with Silent() as receiver:

        async def body(sender: SnmpSender) -> None:
            for step in (0, 299, 2):
                manual.advance(step)
                await sender.send(notification, 1)
            assert len(asked) == 2

        with_sender(to(receiver.port, kind="trap", host="nms.example.com"), identity, body, manual.clock)
        assert len(receiver.datagrams()) == 3


def test_a_resolver_that_hangs_holds_up_neither_the_sender_nor_the_end(
    notification: Notification, identity: EngineIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr("zcs_exporter.snmp.sender.socket.getaddrinfo", lambda *_, **__: release.wait(60))

    async def body(sender: SnmpSender) -> None:
        assert (await failure(sender, notification)).fault is Fault.TIMEOUT
        error = await failure(sender, notification)
        assert error.fault is Fault.UNREACHABLE
        assert "no answer for" in str(error)

    with_sender(to(162, host="nms.example.com", timeout=0.05), identity, body)
    release.set()


def test_what_the_own_network_refuses_is_told_even_for_a_trap(
    notification: Notification, identity: EngineIdentity
) -> None:
    async def body(sender: SnmpSender) -> None:
        error = await failure(sender, notification)
        assert error.fault is Fault.UNREACHABLE
        assert error.retryable

    # Sending to the broadcast address needs a permission that the socket does not have.
    with_sender(to(162, kind="trap", host="255.255.255.255"), identity, body)


def test_a_notification_that_cannot_be_told_is_set_aside(notification: Notification, identity: EngineIdentity) -> None:
    async def body(sender: SnmpSender) -> None:
        for bad in ({"severity": 9}, {"type_name": "zcsNonsense"}):
            error = await failure(sender, dataclasses.replace(notification, **bad))
            assert error.fault is Fault.UNSENDABLE
            assert not error.retryable

    with_sender(to(162), identity, body)


def longest(notification: Notification) -> Notification:
    """Every field fuller than any can be."""
    return dataclasses.replace(
        notification,
        **dict.fromkeys(("event_id", "host", "rule", "object", "text", "value", "threshold"), "x" * 1000),
        alarm_id=2**32 - 1,
        count=2**32 - 1,
    )


@pytest.mark.parametrize(
    "secrets",
    [
        Community("c" * 64),
        dataclasses.replace(USER, user="u" * 32, auth_protocol="SHA-512", priv_protocol="AES-256"),
    ],
)
def test_the_longest_message_needs_no_fragments(secrets: Secrets, notification: Notification) -> None:
    identity = EngineIdentity(b"\x80" + b"e" * 31, 2**31 - 2, ForwardClock(CLOCK))
    with Silent() as receiver:

        async def body(sender: SnmpSender) -> None:
            await sender.send(longest(notification), 2**32 - 1)

        version = "3" if isinstance(secrets, UsmUser) else "2c"
        with_sender(to(receiver.port, version, "trap", secrets), identity, body)
        (datagram,) = receiver.datagrams()
        assert sum(variable.limit for variable in VARIABLES if variable.syntax is Syntax.TEXT) < len(datagram)
        assert len(datagram) <= MAX_MESSAGE


def test_a_message_that_is_too_long_all_the_same_is_unsendable(
    notification: Notification, identity: EngineIdentity
) -> None:
    async def run() -> None:
        with Silent() as receiver:
            root = (1, 3, 6, 1, 4, 1, *[2**32 - 1] * 10)
            sender = SnmpSender(to(receiver.port, kind="trap", secrets=Community("c" * 255)), identity, CLOCK, root)
            error = await failure(sender, longest(notification))
            assert error.fault is Fault.UNSENDABLE
            assert receiver.datagrams() == []
            sender.close()

    asyncio.run(run())


def test_garbage_for_an_answer_is_ignored(notification: Notification, identity: EngineIdentity) -> None:
    """The receiver answers with nonsense of many kinds; the loop never hears of it."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        complaints: list[dict] = []
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        with Silent() as receiver:

            def answer() -> None:
                data, address = receiver.socket.recvfrom(65536)
                for nonsense in (
                    b"",
                    b"0",
                    b"\x30\x80" * 500,
                    data[: len(data) // 2],
                    bytes(reversed(data)),
                    os.urandom(200),
                ):
                    receiver.socket.sendto(nonsense, address)

            loop.add_reader(receiver.socket, answer)
            sender = SnmpSender(to(receiver.port, timeout=0.5), identity, CLOCK)
            assert (await failure(sender, notification)).fault is Fault.TIMEOUT
            loop.remove_reader(receiver.socket)
            sender.close()
        assert complaints == []

    asyncio.run(run())


def test_nothing_is_kept_in_the_temporary_directory(
    notification: Notification, identity: EngineIdentity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Silent() as receiver:

        async def body(sender: SnmpSender) -> None:
            await sender.send(notification, 1)

        with_sender(to(receiver.port, "3", "trap"), identity, body)
    assert list(tmp_path.iterdir()) == []


def test_a_destination_refuses_secrets_of_the_other_version() -> None:
    with pytest.raises(ValueError, match="version 3"):
        to(162, "3", secrets=COMMUNITY)
    with pytest.raises(ValueError, match="version 2c"):
        to(162, "2c", secrets=USER)


def test_a_link_local_address_with_a_zone_is_refused_since_its_zone_would_be_lost() -> None:
    with pytest.raises(ValueError, match="zone"):
        to(162, host="fe80::1%eth0")


def test_a_destination_does_not_show_its_secrets() -> None:
    assert "correct horse" not in repr(to(162, "3"))
