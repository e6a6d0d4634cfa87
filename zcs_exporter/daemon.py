"""The daemon: puts the parts together, and brings them up, round and down."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from zcs_exporter.alerting.alarm import Alarm
from zcs_exporter.alerting.evaluate import Policy
from zcs_exporter.alerting.model import AlertRule, Catalogue
from zcs_exporter.alerting.policy import effective_policies
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.config import Config, ConfigError, Source, load_config
from zcs_exporter.contract import Clock, CollectError, Collector, Durable, LogFed
from zcs_exporter.engine import Engine, Links
from zcs_exporter.expose.http import WebServer
from zcs_exporter.follow import Feed, Followers, LogFollower
from zcs_exporter.hostio import Host
from zcs_exporter.localconfig import Localconfig
from zcs_exporter.notify.dispatcher import Dispatcher, Pace, TargetQueue
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.notify.snmp_target import SnmpTarget
from zcs_exporter.privacy import visible_kinds
from zcs_exporter.registry import collector_classes
from zcs_exporter.runner import Runner
from zcs_exporter.snapshot import Snapshot
from zcs_exporter.snmp.destination import Destination
from zcs_exporter.snmp.identity import EngineIdentity, ForwardClock, new_engine_id, next_boots
from zcs_exporter.snmp.secrets import SecretsError, Version, load_secrets
from zcs_exporter.snmp.sender import SnmpSender
from zcs_exporter.state import Commit, Saved, StateStore, read_saved
from zcs_exporter.systemd import Notifier

log = logging.getLogger(__name__)

SETTINGS_INTERVAL = 60.0
"""Seconds between two looks at ZCS's own thresholds."""

STUCK_AFTER = 30.0
"""Seconds without a turn of the engine after which the watchdog may end us."""

LAST_WORDS = 0.8
"""Seconds that notifications get to leave when the daemon stops."""

HostFactory = Callable[[Config], Host]


def real_host(config: Config) -> Host:
    """Return the host that the configuration names."""
    return Host(config.host.root, config.host.zimbra_home)


@dataclass(slots=True)
class Parts:
    """What is made anew for each configuration."""

    config: Config
    runners: Sequence[Runner]
    followers: Sequence[LogFollower]
    queues: Sequence[TargetQueue]
    policies: Mapping[str, Policy]
    hostname: str


def build_collectors(config: Config, host: Host, clock: Clock) -> list[Collector]:
    """Return every collector that is not switched off."""
    classes = [cls for cls in collector_classes() if config.collector(cls.name).enabled is not False]
    return [cls(config.collector(cls.name), host, clock) for cls in classes]  # type: ignore[call-arg]  # a protocol has no constructor


def host_settings(host: Host) -> tuple[Localconfig | None, str]:
    """Return ZCS's settings, where they can be read, and the name of this server."""
    settings = None
    with contextlib.suppress(OSError, CollectError):
        settings = host.zcs.localconfig()
    return settings, (settings and settings.get("zimbra_server_hostname")) or socket.gethostname()


def load_targets(config: Config, identity: EngineIdentity, clock: Clock) -> tuple[list[SnmpTarget], list[str]]:
    """Return the targets of a configuration, and a fault for each secrets file that cannot be used."""
    targets, faults = [], []
    for each in config.notify.snmp:
        version: Version = "2c" if each.version == "2c" else "3"
        try:
            secret = load_secrets(each.secrets, version)
            destination = Destination(each.name, each.host, each.port, version, each.kind, secret)
        except (SecretsError, ValueError) as exc:
            faults.append(f"notify.snmp: {each.name}: {exc}")
            continue
        visible = visible_kinds(config.privacy, encrypted=version == "3")
        targets.append(SnmpTarget(each.name, SnmpSender(destination, identity, clock, config.snmp.root), visible))
    return targets, faults


class Daemon:
    """One run of the daemon, from start to stop; also what its outputs may see of it."""

    def __init__(
        self, source: Source, catalogue: Catalogue, config: Config, clock: Clock, host_factory: HostFactory = real_host
    ) -> None:
        """Prepare; ``source`` is read again at each reload."""
        self._source = source
        self._catalogue = catalogue
        self._config = config
        self._clock = clock
        self._host = host_factory(config)
        self._store = StateStore(config.state.directory)
        self._systemd = Notifier(os.environ, lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
        self._dispatcher = Dispatcher()
        self._followers = Followers()
        self._settings = BlockingCall("reading ZCS's settings")
        self._running: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._ready = asyncio.Event()
        self._reloading = asyncio.Lock()
        self.hostname = ""

    def snapshot(self) -> Snapshot:
        """Return the latest snapshot."""
        return self._engine.latest

    def alarms(self) -> Sequence[tuple[AlertRule, Alarm]]:
        """Return the alarms that stand, worst first."""
        evaluator = self._engine.evaluator
        return [(evaluator.rule(alarm), alarm) for alarm in evaluator.active()]

    def recent(self) -> Sequence[Message]:
        """Return the last messages, newest first."""
        return tuple(self._engine.recent)

    def log_problems(self) -> Sequence[tuple[str, CollectError]]:
        """Return the logs that cannot be followed now, and why."""
        return self._followers.problems()

    def ready(self) -> bool:
        """Whether every log is open and every collector has ended its first attempt."""
        return self._ready.is_set()

    async def until_ready(self) -> None:
        """Wait until ``ready``."""
        await self._ready.wait()

    def stop(self) -> None:
        """Have ``run`` end as SIGTERM does."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, or ``stop``.

        Raises:
            ConfigError: A secrets file or the web configuration cannot be used.
        """
        saved = await self._store.run(read_saved)
        if self._store.cloned_from is not None:
            log.warning("state: made on another host; what that host still had to send is kept back")
        self._identity = await self._take_identity(saved)
        links = Links(
            targets=self._dispatcher.names,
            enqueue=self._dispatcher.enqueue,
            positions=self._followers.positions,
            sources=(self._followers.samples, self._dispatcher.samples),
        )
        self._engine = Engine(self._store, saved, self._catalogue, self._clock, links)
        parts, faults = await self._build(self._config, saved)
        if faults:
            raise ConfigError(faults)
        self._web = WebServer(self._config.web, self._config.privacy, self, self._token(), self._clock)
        await self._web.start()
        with contextlib.suppress(sqlite3.Error):  # a full disk now is told by the first commit
            await self._store.reserve()
        self._catch_signals()
        self._start(parts)
        self._engine.say(MessageKind.STARTED, "", f"zcs-exporter started on {self.hostname}")
        works = {"engine": self._engine.run(), "settings": self._follow_settings(), "watchdog": self._watchdog()}
        tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
        ready = asyncio.create_task(self._become_ready(), name="ready")
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        done, _ = await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
        await self._stop([*tasks, ready])
        for task in done - {stop}:
            task.result()  # none of them ends by itself: this raises what ended it

    async def reload(self) -> list[str]:
        """Read the configuration again and swap it whole; return the faults that kept the old one."""
        async with self._reloading:
            self._systemd.reloading()
            faults = await self._reload()
            for fault in faults:
                log.error("reload: %s", fault)
            if not faults:
                log.info("configuration reloaded")
            self._systemd.ready()
            return faults

    async def _reload(self) -> list[str]:
        try:
            config = load_config(self._source, self._catalogue)
        except ConfigError as exc:
            return exc.faults
        faults = [
            f"{section} cannot change while the daemon runs; restart it (systemctl restart zcs-exporter)"
            for section in ("host", "state", "web")
            if getattr(config, section) != getattr(self._config, section)
        ]
        _, unusable = load_targets(config, self._identity, self._clock)
        if self._engine.commit_failure is not None:
            faults.append(f"state cannot be saved, so it would be lost: {self._engine.commit_failure}")
        faults += unusable
        if not faults:
            faults += await self._web.reload(config.privacy)
        if faults:
            return faults
        await self._stop_parts()
        await self._engine.turn()
        parts, faults = await self._build(config, await self._store.run(read_saved))
        self._config = config
        self._start(parts)
        return faults

    async def _build(self, config: Config, saved: Saved) -> tuple[Parts, list[str]]:
        settings, self.hostname = await self._settings(lambda: host_settings(self._host))
        targets, faults = load_targets(config, self._identity, self._clock)
        runners = []
        feeds: dict[str, list[tuple[Feed, Callable[[], None]]]] = {}
        for collector in build_collectors(config, self._host, self._clock):
            if isinstance(collector, Durable):
                collector.restore(saved.rows.get(collector.name, {}))
            section = config.collector(collector.name)
            runner = Runner(
                collector,
                section.interval or collector.interval,
                required=section.enabled is True,
                clock=self._clock,
                deliver=self._engine.deliver,
            )
            runners.append(runner)
            if isinstance(collector, LogFed):
                for subscription in collector.subscriptions():
                    feeds.setdefault(subscription.path, []).append((subscription.feed, runner.wake))
        followers = [self._follower(path, readers, saved) for path, readers in feeds.items()]
        pace = {
            each.name: Pace(each.max_age, each.rate, heartbeat=config.notify.heartbeat) for each in config.notify.snmp
        }
        queues = [
            TargetQueue(
                target,
                pace[target.name],
                self._store,
                self._clock,
                self._heartbeat,
                [delivery for delivery in saved.deliveries if delivery.target == target.name],
                saved.sequences.get(target.name, 0),
            )
            for target in targets
        ]
        policies = effective_policies(self._catalogue.alerts, config.alerts, settings)
        return Parts(config, runners, followers, queues, policies, self.hostname), faults

    def _follower(self, path: str, readers: Sequence[tuple[Feed, Callable[[], None]]], saved: Saved) -> LogFollower:
        def wake() -> None:
            for _, wake_runner in readers:
                wake_runner()

        return LogFollower(
            self._host, path, saved.positions.get(path), [feed for feed, _ in readers], wake, self._clock
        )

    def _start(self, parts: Parts) -> None:
        self._engine.adopt(parts.runners, parts.policies, parts.hostname)
        self._dispatcher.start(parts.queues)
        self._followers.start(parts.followers)
        self._running = [
            asyncio.create_task(runner.run(), name=f"collect {runner.collector.name}") for runner in parts.runners
        ]

    async def _stop_parts(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._followers.stop()
        await self._dispatcher.stop()

    async def _stop(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Commit, say good-bye and close, within two seconds whatever hangs."""
        self._systemd.stopping()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in self._running:
            task.cancel()
        self._engine.say(MessageKind.STOPPING, "", f"zcs-exporter stopping on {self.hostname}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self._engine.turn()
        await self._dispatcher.drain(LAST_WORDS)
        await self._stop_parts()
        await self._web.stop()
        self._store.close()

    async def _take_identity(self, saved: Saved) -> EngineIdentity:
        """Return our SNMP identity, saved before anything is sent under it."""
        known = saved.meta.get("snmp_engine_id")
        engine_id = bytes.fromhex(known) if known else new_engine_id()
        now = self._clock.wall()
        try:
            boots = next_boots(int(saved.meta.get("snmp_boots", "0")), now)
        except ValueError:
            engine_id, boots = new_engine_id(), next_boots(0, now)
        meta = {"snmp_engine_id": engine_id.hex(), "snmp_boots": str(boots), "snmp_started": str(now)}
        try:
            await self._store.commit(Commit(meta=meta))
        except sqlite3.Error as exc:
            # Under an identity of this process alone nothing is dropped as old; receivers of v3 traps must learn it.
            log.error("state: cannot save the SNMP identity, using a new one: %s", exc)
            engine_id = new_engine_id()
        return EngineIdentity(engine_id, boots, ForwardClock(self._clock))

    def _token(self) -> str:
        """Return the token that opens the page, made at the first start."""
        path = os.path.join(self._config.state.directory, "token")
        with contextlib.suppress(FileNotFoundError):
            with open(path, encoding="ascii") as file:
                token = file.read().strip()
            if len(token) >= 32:
                return token
        token = secrets.token_urlsafe(32)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
        return token

    def _heartbeat(self) -> Message:
        standing = len(self._engine.evaluator.active())
        text = f"zcs-exporter runs, {standing} alarm{'' if standing == 1 else 's'} active"
        beat = f"{self._identity.engine_id.hex()[-8:]}-{self._clock.wall():.0f}"
        return Message(MessageKind.HEARTBEAT, f"heartbeat-{beat}", self.hostname, "", self._clock.wall(), text)

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)

        def hang_up() -> None:
            self._hang_up = asyncio.create_task(self.reload(), name="reload")

        loop.add_signal_handler(signal.SIGHUP, hang_up)

    async def _become_ready(self) -> None:
        await self._engine.complete.wait()
        await self._followers.opened()
        self._ready.set()
        self._systemd.ready()
        log.info("ready on %s", self._config.web.listen)

    async def _follow_settings(self) -> None:
        """Take over thresholds that an administrator changed in ZCS."""
        while True:
            await asyncio.sleep(SETTINGS_INTERVAL)
            with contextlib.suppress(CollectError, TimeoutError):
                settings, _ = await asyncio.wait_for(
                    self._settings(lambda: host_settings(self._host)), SETTINGS_INTERVAL
                )
                if settings is not None:
                    self._engine.set_policies(effective_policies(self._catalogue.alerts, self._config.alerts, settings))

    async def _watchdog(self) -> None:
        """Tell systemd that we live, as long as the engine takes turns."""
        interval = self._systemd.watchdog_interval
        while True:
            if interval and self._clock.monotonic() - self._engine.last_turn < STUCK_AFTER:
                self._systemd.watchdog()
            await asyncio.sleep(interval or SETTINGS_INTERVAL)
