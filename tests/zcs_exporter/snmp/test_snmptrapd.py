"""The real snmptrapd of Net-SNMP decodes what we send, by the MIB that we ship."""

import asyncio
import dataclasses
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import ManualClock

from zcs_exporter.contract import Clock
from zcs_exporter.snmp.destination import DeliveryError, Destination, Fault
from zcs_exporter.snmp.identity import EngineIdentity, ForwardClock
from zcs_exporter.snmp.notification import VARIABLES, Notification
from zcs_exporter.snmp.secrets import Community, Secrets, UsmUser
from zcs_exporter.snmp.sender import SnmpSender

pytestmark = pytest.mark.e2e

MIBS = Path(__file__).parents[3] / "packaging" / "mib"
COMMUNITY = Community("s3cret-community")
USER = UsmUser("traps", "SHA-256", "correct horse battery", "AES-128", "staple of the other")
CLOCK = Clock()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within 15 s")
        time.sleep(0.02)


class Trapd:
    """One snmptrapd on a free port, which can be stopped and started again."""

    def __init__(self, binary: str, base_mibs: Path, directory: Path, engine_id: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.binary = binary
        self.directory = directory
        self.mibs = f"{base_mibs}:{MIBS}"
        self.starts = 0
        self.persistent = directory / "persistent"
        keys = '{name} SHA-256 "correct horse battery" AES "staple of the other"'
        (directory / "conf").write_text(
            f"snmpTrapdAddr udp:127.0.0.1:{self.port}\n"
            f"authCommunity log {COMMUNITY.community}\n"
            f"createUser {keys.format(name='traps')}\n"
            f"createUser -e 0x{engine_id.hex()} {keys.format(name='traps')}\n"
            "authUser log traps priv\n"
        )
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.persistent.mkdir(exist_ok=True)
        # A log of its own for each run, since snmptrapd empties the one it opens.
        self.starts += 1
        log = self.directory / f"log-{self.starts}"
        command = [self.binary, "-f", "-C", "-c", str(self.directory / "conf"), "-Lf", str(log), "-n"]
        self.process = subprocess.Popen(
            [*command, "-M", self.mibs, "-m", "ZCS-EXPORTER-MIB", "-F", "%v\\n", "-p", str(self.directory / "pid")],
            env={"PATH": os.environ["PATH"], "SNMP_PERSISTENT_DIR": str(self.persistent)},
            stderr=subprocess.DEVNULL,
        )
        until(lambda: f":{self.port:04X} " in Path("/proc/net/udp").read_text(), "snmptrapd listens")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(15)
            self.process = None

    def received(self) -> list[dict[str, str]]:
        """The decoded variables of each notification so far."""
        logs = sorted(self.directory.glob("log-*"))
        lines = [line for log in logs for line in log.read_text().splitlines() if "zcsNotifyCount" in line]
        return [
            dict(re.match(r"(?:[\w-]+::)?(\S+) = (.*)", part).groups() for part in line.split("\t") if " = " in part)
            for line in lines
        ]


@pytest.fixture
def trapd(snmptrapd: str, base_mibs: Path, tmp_path: Path, identity: EngineIdentity) -> Iterator[Trapd]:
    daemon = Trapd(snmptrapd, base_mibs, tmp_path, identity.engine_id)
    daemon.start()
    yield daemon
    daemon.stop()


def deliver(
    trapd: Trapd, notification: Notification, identity: EngineIdentity, version: str, kind: str, sequence: int = 7
) -> None:
    secrets: Secrets = COMMUNITY if version == "2c" else USER

    async def run() -> None:
        sender = SnmpSender(
            Destination("nms", "127.0.0.1", trapd.port, version, kind, secrets, timeout=10.0), identity, CLOCK
        )
        await sender.send(notification, sequence)
        sender.close()

    asyncio.run(run())


@pytest.mark.parametrize("version", ["2c", "3"])
@pytest.mark.parametrize("kind", ["trap", "inform"])
def test_snmptrapd_decodes_every_variable_by_name(
    version: str, kind: str, trapd: Trapd, notification: Notification, identity: EngineIdentity
) -> None:
    deliver(trapd, notification, identity, version, kind)
    until(lambda: len(trapd.received()) == 1, "the notification arrives")
    (found,) = trapd.received()
    # SNMPv2-MIB, which has a name for snmpTrapOID, is not loaded.
    assert found["snmpModules.1.1.4.1.0"] == "OID: ZCS-EXPORTER-MIB::zcsFilesystemRaised"
    assert list(found)[2:] == [f"{variable.name}.0" for variable in VARIABLES]
    assert found["zcsNotifySequence.0"] == "Gauge32: 7 notifications"
    assert found["zcsNotifyEventId.0"] == f"STRING: {notification.event_id}"
    assert found["zcsNotifyHost.0"] == "STRING: mail.example.com"
    assert found["zcsNotifyRule.0"] == "STRING: 201 ZcsFilesystemFull"
    assert found["zcsNotifyObject.0"] == "STRING: /opt/zimbra/store"
    assert found["zcsNotifySeverity.0"] == "INTEGER: critical(2)"
    assert found["zcsNotifyText.0"] == "STRING: /opt/zimbra/store is 96% full"
    assert found["zcsNotifyValue.0"] == "STRING: 96%"
    assert found["zcsNotifyThreshold.0"] == "STRING: 95%"
    assert re.fullmatch(r"STRING: 2024-3-[123],\d+:\d+:33\.5,[+-]\d+:\d+", found["zcsNotifyTime.0"])
    assert found["zcsNotifyAlarmIndex.0"] == "Gauge32: 17"
    assert found["zcsNotifyCount.0"] == "Gauge32: 3"


def test_a_daemon_that_starts_again_is_heard(
    trapd: Trapd, notification: Notification, identity: EngineIdentity
) -> None:
    deliver(trapd, notification, identity, "3", "trap", 1)
    until(lambda: len(trapd.received()) == 1, "the first arrives")
    again = dataclasses.replace(identity, boots=identity.boots + 1, clock=ForwardClock(CLOCK))
    deliver(trapd, notification, again, "3", "trap", 2)
    until(lambda: len(trapd.received()) == 2, "the second arrives")


def test_fewer_boots_are_dropped_in_silence_which_is_why_ours_only_rise(
    trapd: Trapd, notification: Notification, identity: EngineIdentity
) -> None:
    deliver(trapd, notification, identity, "3", "trap", 1)
    until(lambda: len(trapd.received()) == 1, "the first arrives")
    deliver(trapd, notification, dataclasses.replace(identity, boots=identity.boots - 1), "3", "trap", 2)
    deliver(trapd, notification, identity, "3", "trap", 3)
    until(lambda: len(trapd.received()) == 2, "the third arrives")
    assert [found["zcsNotifySequence.0"] for found in trapd.received()] == [
        "Gauge32: 1 notifications",
        "Gauge32: 3 notifications",
    ]


def test_an_earlier_engine_time_is_dropped_in_silence_which_is_why_all_our_engines_share_one(
    trapd: Trapd, notification: Notification, identity: EngineIdentity, manual: ManualClock
) -> None:
    old = dataclasses.replace(identity, clock=ForwardClock(manual.clock))
    manual.advance(5000)
    fresh = dataclasses.replace(identity, clock=ForwardClock(manual.clock))
    for sequence, who in enumerate((old, old, fresh, old), start=1):
        deliver(trapd, notification, who, "3", "trap", sequence)
    until(lambda: len(trapd.received()) == 3, "all but one arrive")
    assert [found["zcsNotifySequence.0"] for found in trapd.received()] == [
        f"Gauge32: {sequence} notifications" for sequence in (1, 2, 4)
    ]


@pytest.mark.parametrize("forgets", [False, True])
def test_informs_resume_after_snmptrapd_restarts(
    forgets: bool, trapd: Trapd, notification: Notification, identity: EngineIdentity
) -> None:
    async def run() -> None:
        destination = Destination("nms", "127.0.0.1", trapd.port, "3", "inform", USER, timeout=0.5, retries=0)
        sender = SnmpSender(destination, identity, CLOCK)
        await sender.send(notification, 1)
        trapd.stop()
        with pytest.raises(DeliveryError) as caught:
            await sender.send(notification, 2)
        assert caught.value.fault is Fault.TIMEOUT
        if forgets:
            shutil.rmtree(trapd.persistent)
        trapd.start()
        deadline = time.monotonic() + 10
        while True:
            try:
                await sender.send(notification, 2)
                break
            except DeliveryError:
                assert time.monotonic() < deadline
        sender.close()

    asyncio.run(run())
    assert {found["zcsNotifySequence.0"] for found in trapd.received()} == {
        "Gauge32: 1 notifications",
        "Gauge32: 2 notifications",
    }


@pytest.mark.parametrize(
    "secrets",
    [dataclasses.replace(USER, auth_password="another pass phrase"), dataclasses.replace(USER, user="nobody")],
)
def test_snmptrapd_refuses_a_wrong_key_and_an_unknown_user_aloud(
    secrets: UsmUser, trapd: Trapd, notification: Notification, identity: EngineIdentity
) -> None:
    async def run() -> None:
        destination = Destination("nms", "127.0.0.1", trapd.port, "3", "inform", secrets, timeout=10.0)
        sender = SnmpSender(destination, identity, CLOCK)
        with pytest.raises(DeliveryError) as caught:
            await sender.send(notification, 1)
        sender.close()
        assert caught.value.fault is Fault.REFUSED

    asyncio.run(run())
