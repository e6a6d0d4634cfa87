"""Events of a whole daemon: from a line in a log to the file and to a client, across reload, stop and restart."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from fakes import FakeHost

from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.config import load_config
from zcs_exporter.contract import Clock
from zcs_exporter.daemon import Daemon
from zcs_exporter.events.entry import Entry
from zcs_exporter.events.file import EventFile
from zcs_exporter.registry import collector_classes

CATALOGUE = load_catalogue(asset("alerts"))
AUDIT = "/opt/zimbra/log/audit.log"

Story = Callable[[Daemon], Awaitable[None]]


class Scene:
    """A daemon that watches logins and nothing else, on a host below a directory."""

    def __init__(self, directory: Path, host: FakeHost) -> None:
        self.state = directory / "state"
        self.file = directory / "config.yaml"
        self.host = host
        self.port = 28000 + os.getpid() % 10000
        self.configure()

    def configure(self, **sections: Any) -> None:
        others = {cls.name: {"enabled": False} for cls in collector_classes() if cls.name != "auth"}
        data: dict[str, Any] = {
            "host": {"root": self.host.root},
            "state": {"directory": str(self.state)},
            "web": {"listen": f"127.0.0.1:{self.port}"},
            "collectors": others | {"auth": {"interval": "1s"}},
        }
        self.file.write_text(yaml.safe_dump(data | sections))

    def play(self, story: Story) -> None:
        """Run the daemon and ``story`` beside it, then stop the daemon as SIGTERM does."""

        async def whole() -> None:
            daemon = Daemon(
                str(self.file), CATALOGUE, load_config(str(self.file), CATALOGUE), Clock(), lambda _: self.host
            )
            running = asyncio.create_task(daemon.run())
            try:
                async with asyncio.timeout(30):
                    await daemon.until_ready()
                    await story(daemon)
            finally:
                begun = time.monotonic()
                os.kill(os.getpid(), signal.SIGTERM)
                await running
                assert time.monotonic() - begun < 2
                daemon._store.close()  # as the end of the process does

        asyncio.run(whole())

    def attack(self) -> None:
        stamp = datetime.now().strftime("%Y-%m-%d %H:%M:%S,000")
        line = (
            f"{stamp} WARN  [qtp1-1:https://mail.example.com/service/soap/] [oip=192.0.2.7;] security - cmd=Auth; "
            "account=ann@example.com; protocol=soap; "
            "error=authentication failed for [ann@example.com], invalid password;\n"
        )
        with open(self.host.path(AUDIT), "a", encoding="ascii") as file:
            file.write(line * 12)

    def told(self, name: str = "events.jsonl") -> list[dict[str, Any]]:
        path = self.state / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def kinds(self, name: str = "events.jsonl") -> list[str]:
        return [event["kind"] for event in self.told(name) if not event["kind"].startswith("login")]


@pytest.fixture
def scene(tmp_path: Path, host: FakeHost) -> Scene:
    host.write(AUDIT, "")
    (tmp_path / "own").mkdir()
    return Scene(tmp_path / "own", host)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_an_attack_is_in_the_file_once_whatever_comes_after(scene: Scene) -> None:
    async def attacked(_: Daemon) -> None:
        scene.attack()
        await until(lambda: "alarm_raised" in scene.kinds())

    async def quiet(daemon: Daemon) -> None:
        assert await daemon.reload() == []
        await asyncio.sleep(0)

    scene.play(attacked)
    scene.play(quiet)

    kinds = scene.kinds()
    raised = [event["name"] for event in scene.told() if event["kind"] == "alarm_raised"]
    assert len(raised) == len(set(raised))
    assert [kind for kind in kinds if kind in ("started", "stopping")] == ["started", "stopping"] * 2
    numbers = [event["id"] for event in scene.told()]
    assert numbers == sorted(set(numbers))
    (alarm,) = (event for event in scene.told() if event.get("name") == "ZcsAuthIpAccountFailures")
    assert {item["value"] for item in alarm["evidence"]} == {"192.0.2.7", "ann@example.com"}


def test_a_client_hears_of_an_attack_and_of_the_daemons_end(scene: Scene) -> None:
    heard: list[str] = []
    connected = asyncio.Event()

    async def listen() -> None:
        token = (scene.state / "token").read_text().strip()
        address = f"http://127.0.0.1:{scene.port}/api/v1/events"
        async with (
            aiohttp.ClientSession() as session,
            session.get(address, headers={"Authorization": f"Bearer {token}"}) as response,
        ):
            connected.set()
            async for line in response.content:
                if line.startswith(b"data: "):
                    heard.append(json.loads(line[6:])["kind"])
        heard.append("end of the stream")

    async def story(_: Daemon) -> None:
        tasks.append(asyncio.create_task(listen()))
        await connected.wait()
        scene.attack()
        await until(lambda: "alarm_raised" in heard)

    tasks: list[asyncio.Task[None]] = []
    scene.play(story)

    assert heard[-1] == "stopping" or heard[-2:] == ["stopping", "end of the stream"]


def test_a_reload_takes_another_file_over(scene: Scene) -> None:
    async def story(daemon: Daemon) -> None:
        await until(lambda: scene.kinds() == ["started"])
        scene.configure(events={"file": "other.jsonl"})
        assert await daemon.reload() == []
        scene.attack()
        await until(lambda: "alarm_raised" in scene.kinds("other.jsonl"))

    scene.play(story)

    assert scene.kinds() == ["started"]
    assert scene.kinds("other.jsonl")[-1] == "stopping"


def test_a_file_that_cannot_be_written_is_among_the_problems(scene: Scene) -> None:
    scene.configure(events={"file": "/proc/none/events.jsonl"})

    async def story(daemon: Daemon) -> None:
        await until(lambda: bool(daemon.log_problems()))
        assert "/proc/none/events.jsonl" in {place for place, _ in daemon.log_problems()}

    scene.play(story)


def test_a_disk_that_hangs_under_the_events_holds_up_neither_alarms_nor_the_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()

    def hang(_self: EventFile, _entries: Sequence[Entry]) -> int:
        never.wait(60)
        return 0

    monkeypatch.setattr(EventFile, "write", hang)

    async def story(daemon: Daemon) -> None:
        scene.attack()
        await until(lambda: any(message.name == "ZcsAuthIpAccountFailures" for message in daemon.recent()))

    scene.play(story)
    never.set()


def test_a_slow_disk_gets_the_last_event_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    write, slow = EventFile.write, threading.Event()

    def slowly(self: EventFile, entries: Sequence[Entry]) -> int:
        slow.wait(0.2)
        return write(self, entries)

    monkeypatch.setattr(EventFile, "write", slowly)

    async def story(_: Daemon) -> None:
        await until(lambda: scene.kinds() == ["started"])

    scene.play(story)

    assert scene.kinds() == ["started", "stopping"]
