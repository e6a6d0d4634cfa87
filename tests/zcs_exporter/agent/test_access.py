import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from zcs_exporter.agent.access import load_agent_access
from zcs_exporter.config import SnmpAgentConfig, config_model
from zcs_exporter.survey import Verdict, examine_agent

USER = {
    "user": "nms",
    "auth": {"protocol": "SHA-256", "password": "correct horse battery"},
    "priv": {"protocol": "AES-128", "password": "staple of the other"},
}
LONG = "0123456789abcdef"


class Files:
    """Writes secrets files and asks what the agent makes of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.count = 0

    def write(self, **content: Any) -> str:
        self.count += 1
        path = self.directory / f"{self.count}.secret"
        path.write_text(yaml.safe_dump(content))
        path.chmod(0o600)
        return str(path)

    def faults(self, **options: Any) -> list[str]:
        access, faults = load_agent_access(SnmpAgentConfig(enabled=True, **options))
        assert (access is None) == bool(faults)
        return faults


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_while_it_is_off_nothing_is_looked_at() -> None:
    assert load_agent_access(SnmpAgentConfig(users=("/nowhere",))) == (None, [])


def test_a_user_on_loopback_is_all_that_it_needs(files: Files) -> None:
    access, faults = load_agent_access(SnmpAgentConfig(enabled=True, users=(files.write(**USER),)))

    assert not faults
    assert [each.user for each in access.users] == ["nms"]
    assert access.networks == ()


def test_with_nobody_who_may_ask_it_does_not_start(files: Files) -> None:
    [fault] = files.faults()

    assert fault.startswith("snmp_agent: nobody may ask; add under 'snmp_agent:' the line 'users: [")


@pytest.mark.parametrize("listen", ["192.0.2.5:1161", "0.0.0.0:1161", "[::]:1161", "[2001:db8::5]:161"])
def test_beyond_this_host_it_needs_networks(files: Files, listen: str) -> None:
    user = files.write(**USER)
    [fault] = files.faults(listen=listen, users=(user,))

    assert listen in fault
    assert "the line 'allow: [192.0.2.0/24]'" in fault
    assert not files.faults(listen=listen, users=(user,), allow=("192.0.2.0/24",))


def test_a_community_needs_networks_even_on_loopback(files: Files) -> None:
    community = files.write(community=LONG)
    [fault] = files.faults(communities=(community,), listen="[::1]:1161")

    assert "'allow: [127.0.0.1/32]'" in fault
    assert not files.faults(communities=(community,), allow=("127.0.0.1/32",))


@pytest.mark.parametrize(
    "community",
    [
        *("public", "PRIVATE", "zimbra", "short", LONG[:-1], "x" * 129),
        *(" " * 17, "x" * 20, "x" * 16 + "y", "public" * 3, "0123456789" * 2, f"{LONG}\u200b", f"{LONG}\xa0"),
    ],
)
def test_a_community_that_can_be_guessed_is_refused_without_being_shown(files: Files, community: str) -> None:
    [fault] = files.faults(communities=(files.write(community=community),), allow=("192.0.2.0/24",))

    assert "1.secret" in fault
    assert community not in fault


@pytest.mark.parametrize("key", ["auth", "priv"])
@pytest.mark.parametrize("protocol", ["MD5", "SHA-1", "DES", "3DES"])
def test_weak_protocols_need_a_word_in_the_file(files: Files, key: str, protocol: str) -> None:
    if (key == "auth") != (protocol in ("MD5", "SHA-1")):
        return
    weak = {**USER, key: {"protocol": protocol, "password": "correct horse battery"}}
    [fault] = files.faults(users=(files.write(**weak),))

    assert fault.startswith("snmp_agent.users: ")
    assert "is weak" in fault
    assert not files.faults(users=(files.write(**weak, allow_weak=True),))


def test_a_user_without_both_keys_is_refused(files: Files) -> None:
    for key in ("auth", "priv"):
        [fault] = files.faults(users=(files.write(**{name: value for name, value in USER.items() if name != key}),))
        assert f"'{key}' is missing" in fault


def test_the_same_user_or_community_twice_is_a_fault(files: Files) -> None:
    twice = (files.write(**USER), files.write(**USER))
    assert "two files name the user nms" in files.faults(users=twice)[0]
    same = (files.write(community=LONG), files.write(community=LONG))
    assert "the same community" in files.faults(communities=same, allow=("192.0.2.0/24",))[0]


def test_all_faults_are_told_at_once(files: Files) -> None:
    open_to_all = files.write(community=LONG)
    os.chmod(open_to_all, 0o644)
    faults = files.faults(listen="0.0.0.0:1161", users=("/nowhere", files.write(user="x")), communities=(open_to_all,))

    assert len(faults) == 4
    assert all("snmp_agent" in fault for fault in faults)


def test_the_doctor_says_who_may_ask_or_what_is_wrong(files: Files) -> None:
    def examined(**section: Any) -> list[Any]:
        data = {"state": {"directory": str(files.directory)}, "snmp_agent": {"listen": "127.0.0.1:1161", **section}}
        return examine_agent(config_model([]).of(data))

    assert examined() == []
    [good] = examined(enabled=True, users=[files.write(**USER)])
    assert good.verdict is Verdict.WORKS
    assert good.subject == "SNMP agent on 127.0.0.1:1161"
    [bad] = examined(enabled=True)
    assert bad.verdict is Verdict.FAILS
    assert bad.detail == "snmp_agent: nobody may ask"
    assert "users: [" in bad.remedy
