#!/usr/bin/env python3
"""Record what Prometheus sees of the demo's host, healthy or during an incident, and draw the dashboard of it.

    grafana/draw/scene.py record disk /tmp/disk --minutes 45
    grafana/draw/scene.py draw /tmp/disk grafana/host.json disk.png

Recording runs the true daemon on the demo's made-up host and a real Prometheus that scrapes it, both on loopback. The
incident begins after a third of the time. Run it by the project's own interpreter (.venv/bin/python); for drawing see
draw.py beside this file.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import yaml

from zcs_exporter.ask import base_address
from zcs_exporter.contract import Clock
from zcs_exporter.demo.screen import Screen
from zcs_exporter.demo.settings import free_port
from zcs_exporter.demo.stage import Stage
from zcs_exporter.demo.story import Pace
from zcs_exporter.demo.world import USERS, World

SCRAPE = 5
TARGET = "mail.example.com:10741"
"""What the host is called in the picture."""

Incident = Callable[[World, float], Awaitable[None]]


async def healthy(_: World, seconds: float) -> None:
    """Nothing happens."""
    await asyncio.sleep(seconds)


async def disk(world: World, seconds: float) -> None:
    """Somebody copies mailboxes into the store."""
    volume, begun = world.volumes["/opt/zimbra/store"], time.monotonic()
    before = volume.used
    while (passed := time.monotonic() - begun) < seconds:
        volume.used = before + (0.968 - before) * passed / seconds
        await asyncio.sleep(1)


async def queue(world: World, seconds: float) -> None:
    """A stolen login sends mail that nobody takes, more and more."""
    for _ in range(int(seconds // 10)):
        await world.flood(USERS[3], 60)
        await asyncio.sleep(10)


async def passwords(world: World, seconds: float) -> None:
    """One address guesses at one account, then tries a password on many."""
    for number in range(int(seconds / 2)):
        guessing = number < seconds / 6
        account = USERS[4] if guessing else f"{'info' if number % 2 else 'user'}{number % 40}@example.com"
        log_in = world.logs.login if guessing else world.logs.smtp_login
        if guessing:
            world.attempts.extend([partial(log_in, "imap", account, "203.0.113.66", "invalid password")] * 4)
        else:
            world.attempts.extend([partial(log_in, account, "198.51.100.77", accepted=False)] * 4)
        await asyncio.sleep(2)


async def heap(world: World, seconds: float) -> None:
    """An import fills the heap of mailboxd."""
    world.mailboxd.thrashing = True
    await asyncio.sleep(seconds)


SCENES: dict[str, Incident] = {each.__name__: each for each in (healthy, disk, queue, passwords, heap)}


class Scene(Stage):
    """The demo's stage with one incident in place of its script."""

    incident: Callable[[World], Awaitable[None]]

    async def _play(self, world: World) -> None:
        await self._introduced.wait()
        await self.incident(world)


@contextlib.contextmanager
def prometheus(data: Path, target: str | None = None) -> Iterator[str]:
    """Run a Prometheus on ``data`` and yield its address; it scrapes ``target``, if there is one."""
    port = free_port(0)
    job = {
        "job_name": "zcs",
        "static_configs": [{"targets": [target]}],
        "relabel_configs": [{"target_label": "instance", "replacement": TARGET}],
    }
    settings = {
        "global": {"scrape_interval": f"{SCRAPE}s", "scrape_timeout": f"{SCRAPE}s"},
        "scrape_configs": [job] if target else [],
    }
    (data / "prometheus.yml").write_text(yaml.safe_dump(settings))
    command = [
        *("prometheus", f"--config.file={data}/prometheus.yml", f"--storage.tsdb.path={data}/tsdb"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (data / "prometheus.log").open("a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/-/ready"):
                break
            time.sleep(0.1)
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def record(name: str, data: Path, seconds: float) -> None:
    """Record a scene into ``data``."""
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    begun = time.time()

    async def incident(world: World) -> None:
        await asyncio.sleep(seconds / 3)
        await SCENES[name](world, seconds * 2 / 3 + 60)

    with tempfile.TemporaryDirectory(prefix="zcs-scene-") as directory, contextlib.ExitStack() as stack:
        screen = Screen(sys.stdout, lambda: time.time() - begun)
        scene = Scene(directory, free_port(0), screen, Clock(), Pace())
        scene.incident = incident

        def opened(stage: Stage) -> None:
            _slow_down(Path(directory) / "config.yaml")
            stack.enter_context(prometheus(data, base_address(stage.config).removeprefix("http://")))

        asyncio.run(_perform(scene, seconds, opened, data, begun, stack))


def _slow_down(settings: Path) -> None:
    """Have the daemon look back as far as on a true host; for the demo's script it looks back seconds."""
    changed = yaml.safe_load(settings.read_text())
    changed["collectors"]["postfix"]["flood_window"] = "15m"
    settings.write_text(yaml.safe_dump(changed))
    os.kill(os.getpid(), signal.SIGHUP)


async def _perform(
    scene: Scene, seconds: float, opened: Callable[[Stage], None], data: Path, begun: float, stack: contextlib.ExitStack
) -> None:
    async def end() -> None:
        await asyncio.sleep(seconds)
        (data / "times.json").write_text(json.dumps({"from": begun, "to": time.time() - SCRAPE}))
        stack.close()

    ending = asyncio.create_task(end())
    await scene.perform(seconds + 15, opened)
    await ending


def draw(data: Path, dashboard: Path, picture: Path, full: bool) -> None:
    """Draw what was recorded."""
    times = json.loads((data / "times.json").read_text())
    with prometheus(data) as address:
        command = [sys.executable, str(Path(__file__).with_name("draw.py")), str(dashboard), address, str(picture)]
        command += ["--from", str(times["from"]), "--to", str(times["to"]), "--scrape", str(SCRAPE)]
        subprocess.run(command + ["--full"] * full, check=True)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("scene", choices=SCENES)
    recording.add_argument("data", type=Path)
    recording.add_argument("--minutes", type=float, default=15)
    drawing = commands.add_parser("draw")
    drawing.add_argument("data", type=Path)
    drawing.add_argument("dashboard", type=Path)
    drawing.add_argument("picture", type=Path)
    drawing.add_argument("--full", action="store_true")
    given = parser.parse_args()
    if given.command == "record":
        record(given.scene, given.data, given.minutes * 60)
    else:
        draw(given.data, given.dashboard, given.picture, given.full)


if __name__ == "__main__":
    main()
