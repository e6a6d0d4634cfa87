"""Puts the made-up host, the true daemon and a trap listener together for a while."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.ask import base_address, page_address
from zcs_exporter.assets import asset
from zcs_exporter.config import Config, load_config
from zcs_exporter.contract import Clock
from zcs_exporter.daemon import Daemon
from zcs_exporter.demo.host import DemoHost
from zcs_exporter.demo.inbox import Inbox
from zcs_exporter.demo.screen import Screen
from zcs_exporter.demo.services import HOSTNAME
from zcs_exporter.demo.settings import write_secrets, write_settings
from zcs_exporter.demo.story import Pace, Story
from zcs_exporter.demo.world import World
from zcs_exporter.snmp.listener import Sender, TrapListener

WAYS = 2
"""Receivers that the daemon notifies: one by SNMPv3 informs, one by v2c traps."""

_LAST_COPIES = 0.5
"""Seconds for which the listener stays after the daemon has gone."""


class Stage:
    """One performance, below one directory.

    Attributes:
        config: The daemon's configuration.
        daemon: The daemon.
        inbox: What receivers were told.
    """

    def __init__(self, directory: str, port: int, screen: Screen, clock: Clock, pace: Pace) -> None:
        """Prepare; ``port`` is the page's."""
        self._directory = directory
        self._port = port
        self._screen = screen
        self._clock = clock
        self._pace = pace
        self.config: Config
        self.daemon: Daemon
        self.inbox = Inbox(WAYS, screen.arrived)
        self._introduced = asyncio.Event()

    async def perform(self, seconds: float | None, opened: Callable[["Stage"], None] | None = None) -> None:
        """Play until ``seconds`` have passed, SIGINT or SIGTERM; ``opened`` is called once the daemon is ready.

        Raises:
            ConfigError: The page's address was taken meanwhile.
        """
        interrupted = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):  # the daemon takes them over when it has started
            asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
        root = os.path.join(self._directory, "host")
        world = World(root, self._clock)
        senders = [Sender(secret) for secret in write_secrets(self._directory).values()]
        async with TrapListener("127.0.0.1", 0, senders, self._clock) as listener:
            catalogue = load_catalogue(asset("alerts"))
            source = write_settings(self._directory, root, self._port, listener.port)
            self.config = load_config(source, catalogue)
            self.daemon = Daemon(
                source,
                catalogue,
                self.config,
                self._clock,
                lambda config: DemoHost(config.host.root, config.host.zimbra_home, world.volumes, world.database),
            )
            listening = asyncio.create_task(self._listen(listener), name="inbox")
            playing = [asyncio.create_task(work) for work in (world.live(), self._open(opened), self._play(world))]
            running = asyncio.create_task(self.daemon.run(), name="daemon")
            ended = asyncio.create_task(interrupted.wait(), name="interrupted")
            tasks = (running, listening, *playing, ended)
            try:
                done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                await _end(*playing)
                self.daemon.stop()
                await running
                await asyncio.sleep(_LAST_COPIES)
                for task in done:
                    task.result()  # none but the daemon ends by itself: this raises what ended it
            finally:
                await _end(*tasks)
                self.inbox.flush()

    async def _open(self, opened: Callable[["Stage"], None] | None) -> None:
        await self.daemon.until_ready()
        self._introduce()
        if opened is not None:
            opened(self)
        self._introduced.set()
        await asyncio.Future()

    async def _listen(self, listener: TrapListener) -> None:
        await self._introduced.wait()
        await self.inbox.take(listener)

    async def _play(self, world: World) -> None:
        await self._introduced.wait()
        await Story(world, self.inbox, self._screen, self._pace).play()

    def _introduce(self) -> None:
        say = self._screen.say
        say(f"  page           {page_address(self.config)}")
        say(f"  metrics        curl {base_address(self.config)}/metrics")
        say(f"  alarms now     {_command()} alerts --config {self._directory}/config.yaml")
        say(f"  notifications  SNMPv3 informs and v2c traps to 127.0.0.1 port {self.config.notify.snmp[0].port}")
        say()
        say("What happens on the host is marked with ->, what follows arrived as notifications.")
        self._screen.scene(f"{HOSTNAME} is healthy: users log in, mail flows")


def _command() -> str:
    """Return the command as whoever started this can type it."""
    return sys.argv[0] if os.path.basename(sys.argv[0]) == "zcs-exporter" else "zcs-exporter"


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
