"""What a target on SNMP is sent for a message."""

import asyncio
from collections.abc import Callable

import pytest

from zcs_exporter.alerting.model import Family
from zcs_exporter.contract import Clock
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.notify.snmp_target import SnmpTarget
from zcs_exporter.notify.target import SendError
from zcs_exporter.snmp.destination import Destination
from zcs_exporter.snmp.identity import EngineIdentity
from zcs_exporter.snmp.listener import Received, Sender, TrapListener
from zcs_exporter.snmp.secrets import Community
from zcs_exporter.snmp.sender import SnmpSender

COMMUNITY = Community("lab-community")
CLOCK = Clock()


def event(name: str, service: str) -> Message:
    return Message(
        MessageKind.EVENT,
        "abc-1",
        "mail.example.com",
        name,
        1000.0,
        name,
        number=351,
        family=Family.SERVICE,
        object=service,
    )


def receive(
    identity: EngineIdentity,
    version: str,
    kind: str,
    *messages: Message,
    count: int,
    up_time: Callable[[], float] | None = None,
) -> list[Received]:
    """Return what arrives of messages to one target."""

    async def run() -> list[Received]:
        async with TrapListener("127.0.0.1", 0, [Sender(COMMUNITY)], CLOCK) as listener:
            to = Destination("nms", "127.0.0.1", listener.port, version, kind, COMMUNITY)  # type: ignore[arg-type]
            target = SnmpTarget("nms", SnmpSender(to, identity, CLOCK), frozenset(), up_time)
            for number, message in enumerate(messages, 1):
                await target.send(message, number)
            async with asyncio.timeout(10):
                arrived = [await anext(listener) for _ in range(count)]
            target.close()
            return arrived

    return asyncio.run(run())


def test_a_manager_of_version_1_gets_every_variable(identity: EngineIdentity) -> None:
    (received,) = receive(identity, "1", "trap", event("ZcsServiceStopped", "mta"), count=1)

    assert received.trap == "zcsEvent"
    assert received.notification is not None
    assert (received.sequence, received.notification.object, received.notification.rule_id) == (1, "mta", 351)


def test_version_1_has_no_informs() -> None:
    with pytest.raises(ValueError, match="version 1 has no informs"):
        Destination("nms", "127.0.0.1", 162, "1", "inform", COMMUNITY)


@pytest.mark.parametrize(("version", "kind"), [("1", "trap"), ("2c", "trap"), ("2c", "inform")])
@pytest.mark.parametrize(("name", "status"), [("ZcsServiceStarted", 1), ("ZcsServiceStopped", 0)])
def test_zcs_own_trap_follows_ours_where_it_is_wanted(
    identity: EngineIdentity, version: str, kind: str, name: str, status: int
) -> None:
    ours, theirs = receive(identity, version, kind, event(name, "mta"), count=2, up_time=lambda: 90_000.5)

    assert ours.trap == "zcsEvent"
    assert theirs.trap == "1.3.6.1.4.1.666.0.0"
    assert not theirs.inform
    assert theirs.up_time == 90_000.5
    named = [(oid, value) for oid, value in theirs.variables if oid.startswith("1.3.6.1.4.1.")]
    assert named == [("1.3.6.1.4.1.666.1.0", "mta"), ("1.3.6.1.4.1.666.1.1", str(status))]


def test_zcs_has_no_trap_for_anything_else(identity: EngineIdentity) -> None:
    others = [event("ZcsServiceRestarted", "mta"), event("ZcsBaseline", "3")]

    told = receive(identity, "2c", "trap", *others, event("ZcsServiceStopped", "mta"), count=4, up_time=lambda: 1.0)

    assert [each.trap for each in told] == ["zcsEvent"] * 3 + ["1.3.6.1.4.1.666.0.0"]


def test_nobody_gets_zcs_own_trap_unasked(identity: EngineIdentity) -> None:
    told = receive(
        identity, "2c", "trap", event("ZcsServiceStopped", "mta"), event("ZcsServiceStopped", "ldap"), count=2
    )

    assert [each.trap for each in told] == ["zcsEvent"] * 2


def test_a_message_that_cannot_be_told_is_the_messages_fault(identity: EngineIdentity) -> None:
    async def run() -> None:
        to = Destination("nms", "127.0.0.1", 162, "2c", "trap", COMMUNITY)
        target = SnmpTarget("nms", SnmpSender(to, identity, CLOCK), frozenset())
        with pytest.raises(SendError) as caught:
            await target.send(Message(MessageKind.EVENT, "abc-1", "h", "Zcs", 1e30, "text"), 1)
        assert caught.value.setback == "set_aside"

    asyncio.run(run())
