"""The daemon's engine, state and dispatcher in this process, with alarms at will and a clock that the test moves.

Its receivers are real.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from e2e.lab import Snmptrapd
from e2e.product import USER
from fakes import ManualClock

from zcs_exporter.alerting.evaluate import Policy
from zcs_exporter.alerting.model import AlertRule, Catalogue, load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.contract import Clock, CollectorConfig, Finding, Kind, Metric
from zcs_exporter.engine import Engine, Links
from zcs_exporter.notify.dispatcher import Dispatcher
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.notify.snmp_target import SnmpTarget
from zcs_exporter.notify.target import TargetStatus
from zcs_exporter.notify.target_queue import Pace, Voice
from zcs_exporter.runner import Outcome, Runner
from zcs_exporter.snmp.destination import Destination
from zcs_exporter.snmp.identity import EngineIdentity, ForwardClock
from zcs_exporter.snmp.secrets import Community, UsmUser
from zcs_exporter.snmp.sender import SnmpSender
from zcs_exporter.state import StateStore

LEVEL = Metric("zcs_level", Kind.GAUGE, "A level.", labels=("thing",), max_series=1000)
RULE = AlertRule.of(
    {
        "alert": "ZcsLevel",
        "id": 290,
        "family": "filesystem",
        "value": "zcs_level",
        "above": {"warning": 1, "critical": 2},
        "unit": "count",
        "urgency": "now",
        "for": "0s",
        "keep": "0s",
        "summary": "{thing} is at {value}",
        "meaning": "m",
        "action": "a",
        "examples": [{"labels": {"thing": "a"}, "values": {"zcs_level": 1}, "fires": "warning"}] * 2,
    }
)
SNMP_USER = UsmUser(USER.name, USER.auth, USER.auth_password, "AES-128", USER.priv_password)
AT_ONCE = Pace(max_age=86400, rate=1000, burst=1000, heartbeat=0, backoff=0.2)


class Levels:
    """A collector whose values the test sets."""

    name: ClassVar[str] = "levels"
    metrics: ClassVar[tuple[Metric, ...]] = (LEVEL,)
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = CollectorConfig

    async def collect(self) -> Sequence[Finding]:
        return ()


def snmp_target(
    receiver: Snmptrapd,
    identity: EngineIdentity,
    name: str = "nms",
    *,
    kind: str = "inform",
    version: str = "3",
    port: int = 0,
    timeout: float = 5.0,
) -> SnmpTarget:
    """Return a target that is this receiver, or something in front of it."""
    secrets = SNMP_USER if version == "3" else Community(receiver.community)
    to = Destination(name, receiver.host, port or receiver.port, version, kind, secrets, timeout)  # type: ignore[arg-type]
    return SnmpTarget(name, SnmpSender(to, identity, Clock()), frozenset())


class Station:
    """One process's life on a state directory."""

    def __init__(self, directory: Path, manual: ManualClock, clock: Clock | None = None) -> None:
        """Give another ``clock`` where the pace is what matters."""
        self.store = StateStore(str(directory), "machine:mail")
        self.manual = manual
        self.clock = clock or manual.clock
        # By the real clock: what waits for a receiver waits for real.
        self.identity = EngineIdentity(b"\x80\x00\x1f\x88\x05station-test", int(manual.now), ForwardClock(Clock()))
        self.levels: dict[str, float] = {}

    async def start(self, *targets: tuple[SnmpTarget, Pace]) -> None:
        """Begin as the daemon does."""
        saved = await self.store.load()
        self.dispatcher = Dispatcher(
            self.store, self.clock, Voice(self._heartbeat, self._suppress, lambda e: self.engine.tell(e)), saved
        )
        links = Links(self.dispatcher.names, self.dispatcher.enqueue, self._positions, lambda _: None)
        catalogue = Catalogue(alerts=(RULE,), events=load_catalogue(asset("alerts")).events)
        self.engine = Engine(self.store, saved, catalogue, self.clock, links)
        await self.use(*targets)
        runner = Runner(Levels(), 15.0, required=False, clock=self.clock, deliver=self.engine.deliver)
        self.engine.adopt([runner], {RULE.name: Policy(RULE.defaults)}, "mail.example.com")
        await self.round()
        await self.round()

    async def use(self, *targets: tuple[SnmpTarget, Pace]) -> None:
        """Have the configuration name these targets."""
        await self.dispatcher.use(targets)
        await self.engine.welcome(target.name for target, _ in targets)

    async def round(self, **levels: float) -> None:
        """Have the collector report, 15 seconds later, and the engine work on it."""
        self.levels |= levels
        self.manual.advance(15)
        samples = tuple(LEVEL.sample(value, thing=thing) for thing, value in self.levels.items())
        self.engine.deliver("levels", Outcome(self.manual.now, 0.1, samples, ()))
        await self.engine.turn()

    async def stop(self) -> None:
        """End, whatever waits."""
        await self.dispatcher.stop()
        self.store.close()

    def status(self, name: str = "nms") -> TargetStatus:
        return next(each for each in self.dispatcher.statuses() if each.name == name)

    async def delivered(self, seconds: float = 20) -> None:
        """Wait until no target waits for anything; what is to be said about it is said meanwhile."""
        async with asyncio.timeout(seconds):
            while any(each.waiting for each in self.dispatcher.statuses()):
                await asyncio.sleep(0.02)
                await self.engine.turn()

    def _heartbeat(self, at: float) -> Message:
        return self.engine.heartbeat(at, f"beat-{at}")

    def _suppress(self, target: str, why: str) -> None:
        self.engine.say(MessageKind.SUPPRESSED, "", why, (target,))

    @staticmethod
    def _positions() -> Mapping[str, str]:
        return {}


async def until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Wait for something, with the event loop running."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {seconds:g} s in vain for {what}") from None
