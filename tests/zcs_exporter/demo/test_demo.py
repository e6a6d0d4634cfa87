"""The demo keeps its promises: six incidents, each raised and cleared, seen everywhere, with no program started."""

import asyncio
import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from zcs_exporter.ask import base_address, read_token
from zcs_exporter.contract import Clock
from zcs_exporter.demo.screen import Screen
from zcs_exporter.demo.settings import free_port
from zcs_exporter.demo.stage import Stage
from zcs_exporter.demo.story import Pace
from zcs_exporter.snmp.listener import Received

SIX = {
    "ZcsFilesystemFull": "zcsFilesystem",
    "ZcsFilesystemInodesFull": "zcsFilesystem",
    "ZcsQueueSenderFlood": "zcsQueue",
    "ZcsMysqldDown": "zcsDatabase",
    "ZcsJvmGcTime": "zcsJvm",
    "ZcsAuthIpAccountFailures": "zcsAuth",
}
STARTS = (
    "subprocess.Popen",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pty.spawn",
)

# An audit hook stays for the life of the process, so there is one, and it listens only when asked to.
_started: list[str] | None = None


def _hook(event: str, _arguments: tuple[object, ...]) -> None:
    if _started is not None and event in STARTS:
        _started.append(event)


sys.addaudithook(_hook)


@contextlib.contextmanager
def programs_started() -> Iterator[list[str]]:
    global _started
    _started = started = []
    try:
        yield started
    finally:
        _started = None


@dataclass
class Seen:
    """What one performance showed, by every way out of the daemon."""

    received: list[Received] = field(default_factory=list)
    in_metrics: set[str] = field(default_factory=set)
    on_page: set[str] = field(default_factory=set)
    well_at_first: bool = False
    screen: str = ""
    started: list[str] = field(default_factory=list)

    def of(self, alert: str, version: str) -> list[Received]:
        return [
            one
            for one in self.received
            if one.version == version and one.notification and one.notification.rule == alert
        ]

    def cleared(self) -> set[str]:
        """Return the alerts of which both receivers know that they are over."""
        return {
            alert
            for alert in SIX
            if all(any(one.trap.endswith("Cleared") for one in self.of(alert, way)) for way in ("2c", "3"))
        }


async def watch(stage: Stage, seen: Seen) -> None:
    """Look at metrics and page twice a second until all six incidents are over."""
    seen.received = stage.inbox.received
    address = base_address(stage.config)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {read_token(stage.config)}"}) as session:
        while seen.cleared() != SIX.keys():
            async with session.get(f"{address}/metrics") as answer:
                families = list(text_string_to_metric_families(await answer.text()))
            active = {s.labels["alert"] for f in families if f.name == "zcs_alert_active" for s in f.samples}
            if not seen.in_metrics:
                failing = [
                    s for f in families if f.name == "zcs_exporter_collector_success" for s in f.samples if not s.value
                ]
                seen.well_at_first = len(families) > 100 and not failing
            seen.in_metrics |= active
            async with session.get(f"{address}/") as answer:
                page = await answer.text()
            seen.on_page |= {alert for alert in active if alert in page}
            await asyncio.sleep(0.5)
    stage.daemon.stop()


@pytest.fixture(scope="module")
def seen() -> Seen:
    seen, lines, watching = Seen(), io.StringIO(), []

    async def perform(directory: str) -> None:
        stage = Stage(directory, free_port(0), Screen(lines, lambda: 0.0), Clock(), Pace(look=0.7, pause=0.1))
        async with asyncio.timeout(90):
            await stage.perform(None, lambda stage: watching.append(asyncio.create_task(watch(stage, seen))))
            await watching[0]

    with tempfile.TemporaryDirectory() as directory, programs_started() as seen.started:
        asyncio.run(perform(directory))
    seen.screen = lines.getvalue()
    return seen


def test_the_host_is_healthy_when_the_script_begins(seen: Seen) -> None:
    assert seen.well_at_first


@pytest.mark.parametrize("alert", SIX)
@pytest.mark.parametrize("version", ["3", "2c"])
def test_each_incident_arrives_raised_and_then_cleared_as_one_alarm(seen: Seen, alert: str, version: str) -> None:
    told = seen.of(alert, version)
    assert [one.trap for one in told] == [f"{SIX[alert]}Raised"] * (len(told) - 1) + [f"{SIX[alert]}Cleared"]
    assert len(told) >= 2
    assert len({one.notification.alarm_id for one in told if one.notification}) == 1
    assert all(one.inform is (version == "3") for one in told)
    assert told[-1].notification is not None
    assert told[-1].notification.severity == 0


@pytest.mark.parametrize("version", ["3", "2c"])
def test_no_notification_is_lost_on_its_way(seen: Seen, version: str) -> None:
    numbers = [one.sequence for one in seen.received if one.version == version]
    assert numbers == list(range(1, len(numbers) + 1))


def test_accounts_are_named_only_where_the_way_is_encrypted(seen: Seen) -> None:
    def text(version: str) -> str:
        return " ".join(one.notification.text for one in seen.received if one.version == version and one.notification)

    assert "emma@example.com" in text("3")
    assert "emma@example.com" not in text("2c").replace("ZcsAuthAccountLockedOut", "")


def test_each_incident_is_in_the_metrics_and_on_the_page(seen: Seen) -> None:
    assert seen.in_metrics >= SIX.keys()
    assert seen.on_page >= SIX.keys()


def test_what_happens_and_what_arrives_are_told_in_readable_lines(seen: Seen) -> None:
    lines = seen.screen.splitlines()
    assert any("mysqld crashes" in line for line in lines)
    shown = next(line for line in lines if "ZcsMysqldDown" in line)
    assert re.search(
        r"CRITICAL raised +ZcsMysqldDown The mailbox database does not answer "
        r"\(v3 inform #\d+, acknowledged, v2c trap #\d+\)$",
        shown,
    )
    assert "\x1b" not in seen.screen


def test_no_program_is_started(seen: Seen) -> None:
    assert seen.started == []


def test_the_hook_that_proves_it_does_see_programs() -> None:
    with programs_started() as started:
        subprocess.run([sys.executable, "-c", ""], check=True)
    assert "subprocess.Popen" in started


def test_it_ends_when_it_is_interrupted_while_the_daemon_is_starting() -> None:
    async def perform(directory: str) -> None:
        stage = Stage(directory, free_port(0), Screen(io.StringIO(), lambda: 0.0), Clock(), Pace())
        performing = asyncio.create_task(stage.perform(None))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(20):
            await performing

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(perform(directory))


def run_command(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "zcs_exporter", "demo", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def directory_of(output: str) -> str:
    found = re.search(r"(/\S*zcs-demo-\w+)", output)
    assert found is not None
    return found[1]


def test_after_its_seconds_nothing_is_left_and_the_status_is_0() -> None:
    with run_command("--port", "0", "--seconds", "3") as demo:
        output, errors = demo.communicate(timeout=60)
    assert (demo.returncode, errors) == (0, "")
    assert not os.path.exists(directory_of(output))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_it_leaves_nothing_and_is_no_failure(number: signal.Signals) -> None:
    with run_command("--port", "0") as demo:
        assert demo.stdout is not None
        output = ""
        for line in demo.stdout:
            output += line
            if "->" in line:
                break
        assert os.path.isdir(directory_of(output))
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=60)
    assert (demo.returncode, errors) == (0, "")
    assert not os.path.exists(directory_of(output))
