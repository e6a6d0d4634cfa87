"""The daemon: puts the parts together, and brings them up, round and down."""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.numbers import Numbers
from zcs_exporter.alerting.alarm import Alarm, Pending
from zcs_exporter.alerting.model import AlertRule, Catalogue, Policy
from zcs_exporter.alerting.policy import effective_policies
from zcs_exporter.assembly import build_collectors, real_host
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.config import Config, ConfigError, load_config
from zcs_exporter.contract import Clock, CollectError, Collector, Durable, LogFed, Reason, Sample, Subscription
from zcs_exporter.engine import Engine, Links
from zcs_exporter.events.event_log import EventLog
from zcs_exporter.events.ring import Ring
from zcs_exporter.expose.http import WebServer, load_page
from zcs_exporter.follow import Followers, LogFollower
from zcs_exporter.host_settings import HostSettings, host_settings
from zcs_exporter.hostio import Host
from zcs_exporter.notify.dispatcher import Dispatcher
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.notify.target import Target
from zcs_exporter.notify.target_queue import Pace, Voice
from zcs_exporter.runner import Runner
from zcs_exporter.snapshot import Snapshot
from zcs_exporter.snmp.identity import EngineIdentity, ForwardClock, new_engine_id, next_boots
from zcs_exporter.state import QUARANTINE, Commit, Saved, StateStore
from zcs_exporter.systemd import Notifier

if TYPE_CHECKING:
    from zcs_exporter.agent.agents import Agents

log = logging.getLogger(__name__)

SETTINGS_INTERVAL = 60.0
"""Seconds between two looks at ZCS's own thresholds."""

STUCK_AFTER = 30.0
"""Seconds without a turn of the engine after which the watchdog may end us."""

LAST_WORDS = 0.7
"""Seconds that the last commit gets when the daemon stops, and then notifications to leave."""

STOP_WITHIN = 1.6
"""Seconds after which the daemon ends, whatever hangs."""

HALT_PATIENCE = 0.5
"""Seconds that collectors get to end."""

SETTINGS_PATIENCE = 5.0
"""Seconds to wait for ZCS's directory."""

ROW_NUMBERS = "snmp_rows"
"""Under which the numbers of table rows are saved."""

SETTLED = 1.0
"""Seconds after which whoever waited for the daemon to be ready has had an answer."""

GARBAGE = 20_000
"""Objects made and not let go after which unreachable ones are looked for; until all is loaded, fifty times as many."""

HostFactory = Callable[[Config], Host]


@dataclass(frozen=True, slots=True)
class Parts:
    """What is made anew for each configuration."""

    config: Config
    collectors: Sequence[Collector]
    subscriptions: Mapping[str, Sequence[Subscription]]
    targets: Sequence[Target]
    policies: Mapping[str, Policy]
    settings: HostSettings


def _wake(runners: Sequence[Runner]) -> None:
    for runner in runners:
        runner.wake()


def spare_what_stays() -> None:
    """Have the garbage collector pass over all that there is now: a look through it stops everything for 40 ms."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


class Daemon:
    """One run of the daemon, from start to stop; also what its outputs may see of it."""

    def __init__(
        self,
        file: str | None,
        catalogue: Catalogue,
        config: Config,
        clock: Clock,
        host_factory: HostFactory = real_host,
    ) -> None:
        """Prepare; ``file`` is read again at each reload."""
        self._file = file
        self._catalogue = catalogue
        self._config = config
        self._clock = clock
        self._host = host_factory(config)
        self._store = StateStore(config.state.directory)
        self._systemd = Notifier(os.environ, lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
        self._followers = Followers()
        self._settings = BlockingCall("reading ZCS's settings")
        self._runners: list[asyncio.Task[None]] = []
        self._web: WebServer | None = None
        self._agents: Agents | None = None
        self._hang_up = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ready = asyncio.Event()
        self._reloading = asyncio.Lock()
        self.hostname = socket.gethostname()
        self._events = EventLog(clock, self.hostname)

    def snapshot(self) -> Snapshot:
        """Return the latest snapshot."""
        return self._engine.latest

    def alarms(self) -> Sequence[tuple[AlertRule, Alarm]]:
        """Return the alarms that stand, worst first."""
        evaluator = self._engine.evaluator
        return [(evaluator.rule(alarm), alarm) for alarm in evaluator.active()]

    def pending(self) -> Sequence[Pending]:
        """Return what becomes an alarm, or a worse one, if it goes on, the next one first."""
        return self._engine.pending()

    def recent(self) -> Sequence[Message]:
        """Return the last messages, newest first."""
        return tuple(self._engine.recent)

    def events(self) -> Ring:
        """Return the last structured events."""
        return self._events.ring

    def log_problems(self) -> Sequence[tuple[str, CollectError]]:
        """Return the logs that cannot be followed now, or written, and why."""
        return [*self._followers.problems(), *self._events.problems()]

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
            StateError: What an earlier process saved cannot be read.
        """
        # From the first moment on: the default for SIGHUP is to end the process.
        self._catch_signals()
        life = asyncio.create_task(self._live(), name="life")
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        await asyncio.wait([life, stop], return_when=asyncio.FIRST_COMPLETED)
        ended = life.done()
        for task in (life, stop):
            task.cancel()
        await asyncio.gather(life, stop, return_exceptions=True)
        await self._stop()
        if ended:
            life.result()  # it does not end by itself: this raises what ended it

    async def reload(self) -> list[str]:
        """Read the configuration again and swap it whole; return the faults that kept the old one."""
        async with self._reloading:
            if not self.ready() or self._stopping.is_set():
                return [f"the daemon is {'stopping' if self._stopping.is_set() else 'starting'}; try again later"]
            self._systemd.reloading()
            faults = await self._reload()
            for fault in faults:
                log.error("reload: %s", fault)
            if not faults:
                log.info("configuration reloaded")
            self._systemd.ready()
            return faults

    async def _live(self) -> None:
        """Start up, then do what the daemon does until it is cancelled."""
        saved = await self._store.load()
        if self._store.cloned_from is not None:
            log.warning(
                "state: made on another host; the %d notifications that it still owed are kept back for good, numbers "
                "at every target begin at 1, and SNMPv3 receivers of traps must learn the new engine id",
                sum(each.target.startswith(QUARANTINE) for each in saved.deliveries),
            )
        self._identity = await self._take_identity(saved)
        voice = Voice(self._heartbeat, self._suppress, lambda event: self._engine.tell(event))
        self._dispatcher = Dispatcher(self._store, self._clock, voice, saved)
        self._numbers = self._row_numbers(saved)
        links = Links(
            targets=self._dispatcher.names,
            enqueue=self._dispatcher.enqueue,
            positions=self._followers.positions,
            record=self._events.record,
            sources=(
                self._followers.samples,
                self._dispatcher.samples,
                self._events.samples,
                self._agent_samples,
            ),
            keepers={ROW_NUMBERS: self._numbers},
            foresee=self._foresee,
        )
        self._engine = Engine(self._store, saved, self._catalogue, self._clock, links)
        targets, faults = self._load_targets(self._config)
        faults += self._prepare_agents(self._config)
        if faults:
            raise ConfigError(faults)
        web = WebServer(self._config.web, self._config.privacy, self, self._token(), self._clock)
        await web.start()
        self._web = web
        parts = await self._first_parts(targets)
        await self._begin(parts)
        self._engine.say(MessageKind.STARTED, "", f"zcs-exporter started on {self.hostname}")
        await asyncio.gather(
            self._engine.run(),
            self._follow_settings(),
            self._watchdog(),
            self._become_ready(),
            self._follow_hang_ups(),
        )

    async def _first_parts(self, targets: Sequence[Target]) -> Parts:
        told = False
        while True:
            try:
                return await self._prepare(self._config, targets)
            except CollectError as exc:
                if not told:
                    log.error("cannot start yet: %s", exc)
                told = True
                await asyncio.sleep(1.0)

    async def _reload(self) -> list[str]:
        assert self._web is not None  # noqa: S101 - ready
        try:
            config = load_config(self._file, self._catalogue)
        except ConfigError as exc:
            return exc.faults
        faults = [
            f"{section} cannot change while the daemon runs; restart it (systemctl restart zcs-exporter)"
            for section in ("host", "state", "web")
            if getattr(config, section) != getattr(self._config, section)
        ]
        targets, unusable = self._load_targets(config)
        faults += [*unusable, *self._prepare_agents(config)]
        if not faults:
            try:
                parts = await self._prepare(config, targets)
            except CollectError as exc:
                faults.append(str(exc))
        if not faults:
            faults += await self._web.reload(config.privacy)
        if faults:
            if self._agents is not None:
                self._agents.discard()
            return faults
        await self._halt()
        # What was collected until now is judged, told to the targets of until now, and saved.
        await self._engine.turn()
        if not self._stopping.is_set():
            await self._begin(parts)
            spare_what_stays()
        return []

    def _load_targets(self, config: Config) -> tuple[Sequence[Target], list[str]]:
        """Return the targets of a configuration, and the faults that forbid it."""
        if not config.notify.snmp:
            return [], []
        # With what the rooms below need this is a tenth of all there is to load; many hosts have none of them.
        from zcs_exporter.notify.snmp_targets import load_targets

        return load_targets(config, self._identity, self._clock)

    def _prepare_agents(self, config: Config) -> list[str]:
        """Get ready to be asked as a configuration has it, and return the faults that forbid it."""
        if self._agents is None:
            if not config.snmp_agent.enabled and config.snmp_agent.agentx is None:
                return []
            from zcs_exporter.agent.agents import Agents

            self._agents = Agents(
                self._identity, self._clock, self._numbers, self.snapshot, self._facts, lambda: self.hostname
            )
        return self._agents.prepare(config)

    def _foresee(self, snapshot: Snapshot) -> None:
        if self._agents is not None:
            self._agents.foresee(snapshot)

    def _agent_samples(self) -> Iterator[Sample]:
        if self._agents is not None:
            yield from self._agents.samples()

    async def _prepare(self, config: Config, targets: Sequence[Target]) -> Parts:
        """Make the parts for a configuration, without touching those that run.

        Raises:
            CollectError: ZCS's directory does not answer.
        """
        collectors = build_collectors(config, self._host, self._clock)

        def look() -> tuple[HostSettings, dict[str, Sequence[Subscription]]]:
            log_fed = {each.name: each.subscriptions() for each in collectors if isinstance(each, LogFed)}
            return host_settings(self._host), log_fed

        try:
            async with asyncio.timeout(SETTINGS_PATIENCE):
                settings, subscriptions = await self._settings(look)
        except TimeoutError as exc:
            text = f"{config.host.zimbra_home} has not answered for {SETTINGS_PATIENCE:g} s"
            raise CollectError(Reason.TIMEOUT, text) from exc
        policies = effective_policies(self._catalogue.alerts, config.alerts, settings.localconfig)
        return Parts(config, collectors, subscriptions, targets, policies, settings)

    async def _begin(self, parts: Parts) -> None:
        """Put the parts to work, going on where the former ones or an earlier process stopped."""
        self._config, self.hostname = parts.config, parts.settings.hostname
        self._events.hostname = self.hostname
        self._events.begin(parts.collectors)
        await self._events.use(parts.config.events, parts.config.privacy, parts.config.state.directory)
        each_pace = {
            each.name: Pace(each.max_age, each.pace, each.burst, heartbeat=parts.config.notify.heartbeat)
            for each in parts.config.notify.snmp
        }
        doubled = [each.name for each in parts.config.notify.snmp if each.compat == "zimbra"]
        if doubled and parts.settings.localconfig is not None and parts.settings.localconfig.is_on("snmp_notify"):
            log.warning(
                "%s: compat is zimbra while ZCS sends the same traps itself, so receivers get each twice; "
                "set snmp_notify to 0 with zmlocalconfig, run zmsnmpinit and restart zmswatchctl",
                ", ".join(doubled),
            )
        await self._dispatcher.use([(target, each_pace[target.name]) for target in parts.targets])
        await self._engine.welcome(each_pace)
        if self._agents is not None:
            await self._agents.use(parts.config)
        runners = [self._runner(collector, parts.config) for collector in parts.collectors]
        self._engine.adopt(runners, parts.policies, self.hostname)
        self._followers.start(self._logs(runners, parts))
        self._runners = [
            asyncio.create_task(runner.run(), name=f"collect {runner.collector.name}") for runner in runners
        ]

    def _runner(self, collector: Collector, config: Config) -> Runner:
        if isinstance(collector, Durable):
            try:
                collector.restore(self._engine.rows.get(collector.name, {}))
            except Exception:
                log.exception("%s: what it saved is of no use, it begins afresh", collector.name)
        return Runner.configured(collector, config.collector(collector.name), self._clock, self._engine.deliver)

    def _logs(self, runners: Sequence[Runner], parts: Parts) -> list[LogFollower]:
        """Return a follower for each log, whoever reads it."""
        readers: dict[str, list[tuple[Subscription, Runner]]] = {}
        for runner in runners:
            for each in parts.subscriptions.get(runner.collector.name, ()):
                readers.setdefault(each.path, []).append((each, runner))
        return [
            LogFollower(
                self._host,
                path,
                self._engine.positions.get(path),
                [subscription for subscription, _ in found],
                partial(_wake, [runner for _, runner in found]),
                self._clock,
                parts.settings.log_names,
            )
            for path, found in readers.items()
        ]

    async def _halt(self) -> None:
        """Stop collecting; notifications go on."""
        for task in self._runners:
            task.cancel()
        if self._runners:
            await asyncio.wait(self._runners, timeout=HALT_PATIENCE)
        self._runners = []
        await self._followers.stop()

    async def _stop(self) -> None:
        """Commit, say good-bye and close, soon, whatever hangs."""
        self._systemd.stopping()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN):
                if self._runners:
                    await self._last_words()
                await self._halt()
                if self._agents is not None:
                    await self._agents.stop()
                if self._web is not None:
                    await self._web.stop()
                await self._store.finish()

    async def _last_words(self) -> None:
        for task in self._runners:
            task.cancel()
        self._engine.say(MessageKind.STOPPING, "", f"zcs-exporter stopping on {self.hostname}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self._engine.turn()
        await asyncio.gather(self._dispatcher.drain(LAST_WORDS), self._events.end(LAST_WORDS))
        await self._dispatcher.stop()

    def _row_numbers(self, saved: Saved) -> Numbers:
        numbers = Numbers()
        try:
            numbers.restore(saved.rows.get(ROW_NUMBERS, {}))
        except ValueError as exc:
            log.error("snmp: saved row numbers are of no use, rows of tables get new ones: %s", exc)
            numbers = Numbers()
        return numbers

    def _facts(self, snapshot: Snapshot) -> Facts:
        return Facts(snapshot, self.alarms(), self._dispatcher.statuses(), self.hostname)

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
        with contextlib.suppress(OSError, ValueError):
            with open(path, encoding="ascii") as file:
                token = file.read(1024).strip()
            if len(token) >= 32:
                return token
        token = secrets.token_urlsafe(32)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(token + "\n")
        except OSError as exc:
            log.error("state: cannot save the token that opens the page: %s: %s", path, exc.strerror)
        return token

    def _heartbeat(self, at: float) -> Message:
        return self._engine.heartbeat(at, f"heartbeat-{self._identity.engine_id.hex()[-8:]}-{at:.0f}")

    def _suppress(self, target: str, why: str) -> None:
        self._engine.say(MessageKind.SUPPRESSED, "", why, (target,))

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up.set)

    async def _follow_hang_ups(self) -> None:
        """Reload on SIGHUP; those that come meanwhile are one."""
        await self._ready.wait()
        while True:
            await self._hang_up.wait()
            self._hang_up.clear()
            await self.reload()

    async def _become_ready(self) -> None:
        await self._engine.complete.wait()
        await self._followers.opened()
        self._ready.set()
        self._systemd.ready()
        log.info("ready on %s", self._config.web.listen)
        with contextlib.suppress(sqlite3.Error, OSError):  # what is wrong is told by the first commit
            await self._store.reserve()
        await asyncio.sleep(SETTLED)
        load_page()
        spare_what_stays()

    async def _follow_settings(self) -> None:
        """Take over thresholds that an administrator changed in ZCS."""
        while True:
            await asyncio.sleep(SETTINGS_INTERVAL)
            with contextlib.suppress(CollectError, TimeoutError):
                async with asyncio.timeout(SETTINGS_PATIENCE):
                    settings = await self._settings(lambda: host_settings(self._host))
                self._followers.rename(settings.log_names)
                if settings.localconfig is not None:
                    policies = effective_policies(self._catalogue.alerts, self._config.alerts, settings.localconfig)
                    self._engine.set_policies(policies)

    async def _watchdog(self) -> None:
        """Tell systemd that we live, as long as the engine takes turns."""
        interval = self._systemd.watchdog_interval
        while True:
            if interval and self._clock.monotonic() - self._engine.last_turn < STUCK_AFTER:
                self._systemd.watchdog()
            await asyncio.sleep(interval or SETTINGS_INTERVAL)
