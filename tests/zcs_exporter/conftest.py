import os
import shutil
from pathlib import Path

import pytest

from zcs_exporter.contract import Clock
from zcs_exporter.snmp.identity import EngineIdentity, ForwardClock
from zcs_exporter.snmp.notification import Notification

REQUIRED = os.environ.get("ZCS_E2E") == "required"


def unavailable(reason: str) -> None:
    """Skip the test, or fail it where the real programs are required."""
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def notification() -> Notification:
    """A raise with a text in every field."""
    return Notification(
        type_name="zcsFilesystemRaised",
        event_id="0195f3a2-77aa-7b11-8000-00000000002a",
        host="mail.example.com",
        rule="ZcsFilesystemFull",
        rule_id=201,
        object="/opt/zimbra/store",
        severity=2,
        text="/opt/zimbra/store is 96% full",
        value="96%",
        threshold="95%",
        time=1_709_371_233.5,
        alarm_id=17,
        count=3,
    )


@pytest.fixture
def identity() -> EngineIdentity:
    """A daemon that has just started."""
    return EngineIdentity(bytes.fromhex("80001f8805") + os.urandom(12), 1000, ForwardClock(Clock()))


@pytest.fixture
def base_mibs() -> Path:
    """The directory with SNMPv2-SMI, -TC and -CONF, which no distribution may ship."""
    path = os.environ.get("ZCS_MIB_PATH", "")
    if not path or not list(Path(path).glob("SNMPv2-SMI*")):
        unavailable("ZCS_MIB_PATH does not name a directory with SNMPv2-SMI, SNMPv2-TC and SNMPv2-CONF")
    return Path(path)


def program(name: str) -> str:
    """The path of a real program, or no test."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        unavailable(f"{name} is not installed")
        raise AssertionError
    return found


@pytest.fixture
def smilint() -> str:
    return program("smilint")


@pytest.fixture
def snmptranslate() -> str:
    return program("snmptranslate")


@pytest.fixture
def snmpttconvertmib() -> str:
    return program("snmpttconvertmib")


@pytest.fixture
def snmptrapd() -> str:
    return program("snmptrapd")
