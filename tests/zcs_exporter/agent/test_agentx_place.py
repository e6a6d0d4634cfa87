"""Where snmpd is looked for, how often, and what is said while it cannot be reached."""

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import pytest
from agentx_master import LONG, SHORT, VIEW, Master, play, until, up
from fakes import ManualClock

from zcs_exporter.agent.agentx import AgentX
from zcs_exporter.agent.agentx_session import Patience
from zcs_exporter.config import ConfigError, load_config
from zcs_exporter.contract import Clock
from zcs_exporter.snmp.smi import DEFAULT_ROOT as ROOT


def told(place: str, caplog: pytest.LogCaptureFixture) -> str:
    """Return the line about a place where no snmpd can be reached."""

    async def whole() -> None:
        agentx = AgentX(lambda: VIEW, Clock(), LONG)
        await agentx.use(place, ROOT)
        await until(lambda: "agentx" in caplog.text)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert up(agentx) == [0.0]
        await agentx.stop()

    asyncio.run(whole())
    [record] = caplog.records
    return record.getMessage()


def test_without_a_socket_the_line_says_what_snmpd_needs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = str(tmp_path / "master")

    assert told(place, caplog) == (
        f"agentx: {place}: No such file or directory; snmpd must run, with 'master agentx' and this place in "
        "snmpd.conf; trying again until it works"
    )


def test_where_nobody_listens_the_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"

        line = told(place, caplog)

    assert line.startswith(f"agentx: {place}: ")
    assert "snmpd must run" in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not")
def test_without_permission_the_line_names_the_socket_and_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "master"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()
        place.chmod(0o600)
        for directory in (tmp_path, *tmp_path.parents[:3]):
            directory.chmod(directory.stat().st_mode | 0o011)
        os.seteuid(65534)
        try:
            line = told(str(place), caplog)
        finally:
            os.seteuid(0)

    assert line == (
        f"agentx: {place}: permission denied; put these lines into snmpd.conf, the last word being the group that we "
        "run as, and restart snmpd: 'master agentx', 'agentXPerms 0660 0550 root zcs-exporter'; "
        "trying again until it works"
    )


def test_a_path_that_is_too_long_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "too long" in told(f"/{'x' * 200}", caplog)


def test_a_bug_is_told_once_and_does_not_end_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(master: Master, agentx: AgentX) -> None:
        await agentx.use("neither a path nor a port", ROOT)
        await until(lambda: "bug, please report it" in caplog.text)
        for _ in range(20):
            await asyncio.sleep(0.001)
        await agentx.use(str(master.place), ROOT)
        while True:
            link = await master.link()
            with contextlib.suppress(EOFError):
                await link.welcome()
                break

    play(story, tmp_path)

    assert caplog.text.count("bug, please report it") == 1


def test_a_socket_whose_queue_is_full_is_waited_for(tmp_path: Path) -> None:
    """A master that is stopped accepts nothing, and the kernel refuses what is one too many."""

    async def whole() -> None:
        place = tmp_path / "master"
        agentx = AgentX(lambda: VIEW, Clock(), SHORT)
        with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
            listening.bind(str(place))
            listening.listen(0)
            first.connect(str(place))
            await agentx.use(str(place), ROOT)
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert up(agentx) == [0.0]
        place.unlink()
        async with asyncio.timeout(60), Master(place) as master:
            await (await master.link()).welcome()
            await agentx.stop()

    asyncio.run(whole())


def test_attempts_become_rarer_and_are_frequent_again_after_a_session_that_lasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manual = ManualClock()
    pauses: list[float] = []
    really = asyncio.sleep

    async def sleep(delay: float, result: None = None) -> None:
        if delay >= 0.5:
            pauses.append(delay)
            delay = 0
        await really(delay)

    monkeypatch.setattr(asyncio, "sleep", sleep)

    async def story(master: Master, _: AgentX) -> None:
        for lasted in (0, 0, 0, 0, 0, 0, 100, 0):
            link = await master.link()
            await link.welcome()
            manual.advance(lasted)
            link.writer.close()
        await master.link()

    play(story, tmp_path, Patience(), clock=manual.clock)

    bounds = [1, 2, 4, 8, 15, 15, 1, 2]
    assert len(pauses) >= len(bounds)
    assert all(bound / 2 <= pause <= bound for bound, pause in zip(bounds, pauses, strict=False))


@pytest.mark.parametrize("place", ["/var/agentx/master", "127.0.0.1:705", "[::1]:705"])
def test_a_socket_or_a_port_of_this_host_may_be_configured(tmp_path: Path, place: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"snmp_agent: {{agentx: '{place}'}}\n")

    assert load_config(str(file)).snmp_agent.agentx == place


@pytest.mark.parametrize("place", ["master", "192.0.2.1:705", "localhost", "127.0.0.1", "tcp:127.0.0.1:705", ""])
def test_anything_else_is_refused_with_an_example(tmp_path: Path, place: str) -> None:
    """AgentX has no passwords, so a port of another host is nothing to speak to."""
    file = tmp_path / "config.yaml"
    file.write_text(f"snmp_agent: {{agentx: '{place}'}}\n")

    with pytest.raises(ConfigError, match=r"snmp_agent\.agentx: .*write it like /var/agentx/master or 127"):
        load_config(str(file))


@pytest.mark.parametrize(
    ("place", "expected"),
    [("/" + "x" * 107, "too long for a socket"), (r"/var/agentx\0/x", "must be an absolute path")],
)
def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path, place: str, expected: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f'snmp_agent: {{agentx: "{place}"}}\n')

    with pytest.raises(ConfigError, match=expected):
        load_config(str(file))
