"""Start, swap and end of the agent, as the daemon does it."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pysnmp.proto.secmod.rfc3414.priv.des import Des
from snmp_messages import SYS_NAME, message_2c, request
from snmp_scene import HOST, facts, view

from zcs_exporter.agent.agent import SnmpAgent, check_agent
from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.numbers import Numbers
from zcs_exporter.agent.provider import ViewProvider
from zcs_exporter.agent.service import AgentService
from zcs_exporter.config import Config, config_model
from zcs_exporter.config_check import faults_outside
from zcs_exporter.contract import Clock
from zcs_exporter.snapshot import Snapshot
from zcs_exporter.snmp.identity import EngineIdentity, ForwardClock
from zcs_exporter.survey import Verdict, examine_agent

COMMUNITY = "0123456789abcdef"
ENGINE = bytes.fromhex("80001f8805") + bytes(range(12))


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Scene:
    """A service, and configurations for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        clock = Clock()
        made: Facts = facts()
        views = ViewProvider(lambda: made.snapshot, lambda _: made, Numbers())
        self.service = AgentService(EngineIdentity(ENGINE, 1000, ForwardClock(clock)), clock, views, lambda: HOST)

    def config(self, community: str = COMMUNITY, **options: Any) -> Config:
        secret = self.directory / "community"
        secret.write_text(yaml.safe_dump({"community": community}))
        secret.chmod(0o600)
        section = {
            "enabled": True,
            "listen": f"127.0.0.1:{self.port}",
            "allow": ["127.0.0.0/8"],
            "communities": [str(secret)],
        }
        return config_model([]).of({"snmp_agent": section | options})

    async def use(self, config: Config) -> None:
        assert self.service.prepare(config) == []
        self.service.swap()

    async def answers(self, community: str = COMMUNITY, port: int | None = None) -> bool:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", port or self.port))
            try:
                async with asyncio.timeout(0.5):
                    await loop.sock_sendall(client, message_2c(community.encode(), request(SYS_NAME)))
                    return HOST.encode() in await loop.sock_recv(client, 65536)
            except (TimeoutError, ConnectionRefusedError):
                return False


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[Scene], Awaitable[None]]], None]:
    def run(story: Callable[[Scene], Awaitable[None]]) -> None:
        async def whole() -> None:
            scene = Scene(tmp_path)
            try:
                async with asyncio.timeout(60):
                    await story(scene)
            finally:
                scene.service.close()
                await asyncio.sleep(0)

        asyncio.run(whole())

    return run


Play = Callable[[Callable[[Scene], Awaitable[None]]], None]


def counts(scene: Scene) -> dict[str, float]:
    return {each.labels[0]: each.value for each in scene.service.samples()}


def test_off_it_does_nothing(play: Play) -> None:
    async def story(scene: Scene) -> None:
        await scene.use(config_model([])())
        assert scene.service.port is None
        assert not counts(scene)
        assert not await scene.answers()

    play(story)


def test_it_is_switched_on_and_off(play: Play) -> None:
    async def story(scene: Scene) -> None:
        await scene.use(scene.config())
        assert await scene.answers()
        await scene.use(config_model([])())
        assert not await scene.answers()
        await scene.use(scene.config())
        assert await scene.answers()

    play(story)


def test_a_reload_without_a_change_keeps_the_agent_as_it_is(play: Play) -> None:
    async def story(scene: Scene) -> None:
        await scene.use(scene.config())
        assert await scene.answers()
        first = scene.service._agent
        await scene.use(scene.config())
        assert scene.service._agent is first
        assert await scene.answers()

    play(story)


def test_a_new_secret_on_the_same_port_is_taken_over_without_a_gap(play: Play) -> None:
    async def story(scene: Scene) -> None:
        await scene.use(scene.config())
        assert await scene.answers()
        other = "fedcba9876543210"
        assert scene.service.prepare(scene.config(other)) == []
        assert await scene.answers()  # the former one, until the swap
        scene.service.swap()
        assert not await scene.answers()
        assert await scene.answers(other)
        assert counts(scene)["answered"] == 3

    play(story)


FIRST_FREE_FOR_ALL = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.skipif(FIRST_FREE_FOR_ALL <= 161, reason="port 161 is for everybody here")
def test_a_port_that_is_not_for_us_is_answered_with_one_that_is(play: Play) -> None:
    async def story(scene: Scene) -> None:
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o755)
            scene.directory = Path(directory)
            config = scene.config(listen="127.0.0.1:161")
            os.chown(scene.directory / "community", 65534, 65534)
            os.seteuid(65534)
            try:
                [fault] = scene.service.prepare(config)
                assert fault == (
                    "snmp_agent.listen: 127.0.0.1:161: Permission denied; give a port from 1024 on, as in "
                    "127.0.0.1:1161, and let snmpd pass on what it is asked"
                )
            finally:
                os.seteuid(0)

    play(story)


@pytest.mark.parametrize("listen", ["0.0.0.0", "[::]", "[::ffff:127.0.0.1]"])
def test_the_same_port_on_other_addresses_is_no_conflict_with_ourselves(play: Play, listen: str) -> None:
    async def story(scene: Scene) -> None:
        await scene.use(scene.config())
        wider = scene.config(listen=f"{listen}:{scene.port}")
        assert scene.service.prepare(wider) == []
        assert await scene.answers()  # the former one, until the swap
        scene.service.discard()
        assert await scene.answers()
        for config in (wider, scene.config(), wider):
            await scene.use(config)
            assert await scene.answers()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", scene.port))

    play(story)


def test_secrets_of_letters_that_latin_1_has_not_are_octets_of_utf_8(play: Play) -> None:
    async def story(scene: Scene) -> None:
        user = scene.directory / "user"
        keys = {"auth": ("SHA-256", "correct €€€ battery"), "priv": ("AES-128", "staple of the ö€")}
        user.write_text(
            yaml.safe_dump(
                {"user": "nms€"} | {key: {"protocol": kind, "password": word} for key, (kind, word) in keys.items()}
            )
        )
        user.chmod(0o600)
        for community in ("€uro£yenß0123456", "äöüÄÖÜß123456789"):
            await scene.use(scene.config(community, users=[str(user)]))
            assert await scene.answers(community)

    play(story)


def test_another_port_replaces_the_first(play: Play) -> None:
    async def story(scene: Scene) -> None:
        await scene.use(scene.config())
        other = free_port()
        await scene.use(scene.config(listen=f"127.0.0.1:{other}"))
        assert scene.service.port == other
        assert await scene.answers(port=other)
        assert not await scene.answers()

    play(story)


def test_a_port_that_is_taken_is_a_fault_and_keeps_the_former_agent(play: Play) -> None:
    async def story(scene: Scene) -> None:
        await scene.use(scene.config())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            [fault] = scene.service.prepare(scene.config(listen=address))
        assert fault == (
            f"snmp_agent.listen: {address}: Address already in use; give an address of this host and a free port"
        )
        assert await scene.answers()

    play(story)


def test_what_was_prepared_and_not_wanted_leaves_nothing(play: Play) -> None:
    async def story(scene: Scene) -> None:
        await scene.use(scene.config())
        other = free_port()
        assert scene.service.prepare(scene.config(listen=f"127.0.0.1:{other}")) == []
        scene.service.discard()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", other))
        assert await scene.answers()

    play(story)


def test_one_view_serves_all_requests_until_the_next_snapshot() -> None:
    made: list[Snapshot] = []
    latest = facts().snapshot

    def gather(snapshot: Snapshot) -> Facts:
        made.append(snapshot)
        return facts()

    current = [latest]
    views = ViewProvider(lambda: current[0], gather, Numbers())
    assert not made
    assert views.view() is views.view()
    assert len(made) == 1
    current[0] = facts().snapshot
    first = views.view()
    assert len(made) == 2
    views.use((1, 3, 6, 1, 4, 1, 99999))
    assert views.view() is not first


def test_a_daemon_without_snmp_does_not_load_the_library() -> None:
    code = "import sys, zcs_exporter.daemon; sys.exit('pysnmp' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_number_is_saved_with_the_first_snapshot_that_has_the_row() -> None:
    known = facts()
    made: list[Snapshot] = []

    def gather(snapshot: Snapshot) -> Facts:
        made.append(snapshot)
        return Facts(snapshot, known.alarms, known.targets, known.host)

    numbers = Numbers()
    views = ViewProvider(lambda: known.snapshot, gather, numbers)
    views.foresee(known.snapshot)

    assert numbers.changes() == {
        "zcsFilesystem /": "1",
        "zcsFilesystem /opt/zimbra": "2",
        "zcsCertificate mailboxd /opt/zimbra/conf/slapd.crt": "1",
        "zcsDestination nms": "1",
    }
    views.foresee(known.snapshot)
    assert [len(list(each.samples())) > 0 for each in made] == [True, False]  # what is the same is not looked through
    assert not numbers.changes()
    assert len(views.view()) == len(view())
    assert not numbers.changes()


def user_file(scene: Scene, auth: str = "SHA-256", priv: str = "AES-128") -> str:
    file = scene.directory / "user"
    keys = {"auth": auth, "priv": priv}
    words = {key: {"protocol": kind, "password": f"a pass phrase for {key}"} for key, kind in keys.items()}
    file.write_text(yaml.safe_dump({"user": "nms", "allow_weak": True} | words))
    file.chmod(0o600)
    return str(file)


def test_protocols_that_this_host_does_not_have_are_a_fault_at_start_reload_and_check(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with an OpenSSL that knows strong ciphers only."""

    def forbidden(*_args: object) -> None:
        raise ValueError("disabled for FIPS")

    async def story(scene: Scene) -> None:
        await scene.use(scene.config())
        config = scene.config(users=[user_file(scene, "MD5", "DES")])
        monkeypatch.setattr(Des, "encrypt_data", forbidden)
        fault = (
            "snmp_agent.users: user nms: MD5 with DES does not work on this host (ValueError: disabled for FIPS); "
            "use SHA-256 with AES-128"
        )
        assert scene.service.prepare(config) == [fault]
        assert await scene.answers()  # the former one goes on
        assert check_agent(config) == (None, [fault])
        assert faults_outside(config) == [fault]
        [diagnosis] = examine_agent(config)
        assert (diagnosis.verdict, f"{diagnosis.detail}; {diagnosis.remedy}") == (Verdict.FAILS, fault)
        good = scene.config(users=[user_file(scene)])
        assert scene.service.prepare(good) == []
        assert check_agent(good)[1] == []

    play(story)


def test_a_bug_while_it_is_made_keeps_the_former_one_and_forbids_no_start(
    play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_args: object) -> None:
        raise TypeError("a bug")

    async def story(scene: Scene) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(SnmpAgent, "build", fail)
            await scene.use(scene.config())
            assert scene.service.port is None
            assert "bug, please report it" in caplog.text
        await scene.use(scene.config())
        other = scene.config("fedcba9876543210")
        with monkeypatch.context() as patched:
            patched.setattr(SnmpAgent, "build", fail)
            assert scene.service.prepare(other) == ["snmp_agent: bug, please report it: see the log"]
        assert await scene.answers()

    play(story)


def test_a_bug_at_the_start_costs_the_agent_and_nothing_else(
    play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_args: object) -> None:
        raise TypeError("a bug")

    async def story(scene: Scene) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(SnmpAgent, "start", fail)
            await scene.use(scene.config())
        assert scene.service.port is None
        assert "bug, please report it" in caplog.text
        await scene.use(scene.config())
        assert await scene.answers()

    play(story)
