"""Every service that is enabled on the host: running, since when, how often restarted, and whether on purpose.

A service is up when all the processes it consists of run. What may not be seen is not down: where ``/proc`` hides
processes the collector fails, and a single process that may not be looked at leaves its service out.

A service that stops while a control script, an installation or an announced maintenance is under way was stopped
deliberately, and is reported as left stopped rather than as down. Restarts at such a time, or by a reboot of the
host, are planned.

Source: pid files below /opt/zimbra, /proc, conf/stats.conf or log/.zmcontrol.cache, .install_history,
    /run/zcs-exporter/maintenance.
Privileges: group zimbra for the pid files; without it the process table must do. A /proc that shows all processes.
Cost: one listing of /proc, and two small reads for each service and each new process.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from collectors.services.look import Look, Observer, Round
from collectors.services.maintenance import CAUSES
from collectors.services.table import Tier
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    Clock,
    CollectError,
    CollectorConfig,
    Event,
    Evidence,
    EvidenceItem,
    EvidenceKind,
    Finding,
    Kind,
    Metric,
    Reason,
    Sample,
)
from zcs_exporter.hostio import CLOCK_TICKS, Host

UP = Metric(
    "zcs_service_up",
    Kind.GAUGE,
    "Whether every process that an enabled ZCS service consists of is running.",
    labels=("name",),
)
START_TIME = Metric(
    "zcs_service_start_time_seconds",
    Kind.GAUGE,
    "When the main process of a ZCS service started, in seconds since the epoch; absent while it does not run.",
    labels=("name",),
)
RESTARTS = Metric(
    "zcs_service_restarts_total",
    Kind.COUNTER,
    "Times the main process of a ZCS service was seen to have been started anew.",
    labels=("name",),
)
RESTARTS_DAY = Metric(
    "zcs_service_restarts_last_day",
    Kind.GAUGE,
    "Restarts of a ZCS service within the last 24 hours that belong to no maintenance and no reboot.",
    labels=("name",),
)
UNEXPECTED = Metric(
    "zcs_service_unexpected_restarts_last_hour",
    Kind.GAUGE,
    "Those of the last hour, less the four a day that log rotation explains for zmconfigd, logger and snmp.",
    labels=("name",),
)
LEFT_STOPPED = Metric(
    "zcs_service_left_stopped_seconds",
    Kind.GAUGE,
    "How long a ZCS service has been down that was stopped during maintenance; 0 for any other.",
    labels=("name",),
)
DOWN: Mapping[Tier, Metric] = {
    Tier.VITAL: Metric(
        "zcs_service_vital_down",
        Kind.GAUGE,
        "Whether a service without which there is no mail (ldap, mailbox, mta) is down without having been stopped.",
        labels=("name",),
    ),
    Tier.EDGE: Metric(
        "zcs_service_edge_down",
        Kind.GAUGE,
        "Whether the proxy, through which users come in, is down without having been stopped.",
        labels=("name",),
    ),
    Tier.NEEDED: Metric(
        "zcs_service_needed_down",
        Kind.GAUGE,
        "Whether a service that others can do without for a while is down without having been stopped.",
        labels=("name",),
    ),
    Tier.MINOR: Metric(
        "zcs_service_minor_down",
        Kind.GAUGE,
        "Whether a service that no mail depends on (logger, snmp, spell, stats) is down without having been stopped.",
        labels=("name",),
    ),
}
MAINTENANCE = Metric(
    "zcs_maintenance",
    Kind.GAUGE,
    "Whether somebody is at work on the host, by cause; service alarms are held while any is 1.",
    labels=("cause",),
)
MAINTENANCE_UNTIL = Metric(
    "zcs_maintenance_until_timestamp_seconds",
    Kind.GAUGE,
    "When a maintenance in force stops counting at the latest.",
    labels=("cause",),
)

_GRACE = 60.0
_HOUR, _DAY = 3600.0, 86400.0
_EXPECTED_BOUNCES = 4
_NAMESPACE_KEY = "namespace"
_SERVICE_KEY = "service/"


@dataclass(slots=True)
class Life:
    """What is remembered of a service from round to round and from process to process.

    Attributes:
        up: Whether all its parts ran when last looked at.
        start: Names the main process last seen; empty if none ever was.
        boot_id: The run of the kernel in which that was.
        restarts: Restarts ever seen.
        unplanned: When unplanned restarts of the last day were seen, in order.
        down_since: When it was first seen down, in seconds since the epoch.
        deliberate: Whether it stopped during maintenance.
    """

    up: bool
    start: str = ""
    boot_id: str = ""
    restarts: int = 0
    unplanned: list[float] = field(default_factory=list)
    down_since: float | None = None
    deliberate: bool = False

    def dump(self) -> str:
        """Return it as a text that ``parse_life`` understands."""
        return json.dumps(
            [self.up, self.start, self.boot_id, self.restarts, self.unplanned, self.down_since, self.deliberate],
            separators=(",", ":"),
        )


def parse_life(text: str) -> Life:
    """Parse what ``Life.dump`` wrote.

    Raises:
        CollectError: It is something else.
    """
    try:
        up, start, boot_id, restarts, unplanned, down_since, deliberate = json.loads(text)
        return Life(
            bool(up),
            str(start),
            str(boot_id),
            int(restarts),
            [float(at) for at in unplanned],
            None if down_since is None else float(down_since),
            bool(deliberate),
        )
    except (TypeError, ValueError, RecursionError, OverflowError) as exc:
        raise CollectError(Reason.PARSE, f"saved state of a service: {text[:60]!r}") from exc


class ServicesConfig(CollectorConfig):
    """Options of the services collector."""


class ServicesCollector:
    """Looks at the processes of every enabled service."""

    name: ClassVar[str] = "services"
    metrics: ClassVar[tuple[Metric, ...]] = (
        UP,
        START_TIME,
        RESTARTS,
        RESTARTS_DAY,
        UNEXPECTED,
        LEFT_STOPPED,
        *DOWN.values(),
        MAINTENANCE,
        MAINTENANCE_UNTIL,
    )
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = ServicesConfig

    def __init__(self, config: ServicesConfig, host: Host, clock: Clock) -> None:
        self._clock = clock
        self._call = BlockingCall("reading pid files and /proc")
        self._observer = Observer(host)
        self._lives: dict[str, Life] = {}
        self._namespace: int | None = None
        self._changed: dict[str, str | None] = {}
        self._maintained_at: float | None = None
        self._brought_up = False

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the state of every service; a row that cannot be understood is forgotten."""
        for key, value in saved.items():
            try:
                if key == _NAMESPACE_KEY:
                    self._namespace = int(value)
                elif key.startswith(_SERVICE_KEY):
                    self._lives[key.removeprefix(_SERVICE_KEY)] = parse_life(value)
            except (CollectError, ValueError):
                self._changed[key] = None

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows of services whose state changed."""
        changed, self._changed = self._changed, {}
        return changed

    async def collect(self) -> Sequence[Finding]:
        """Return the state of every enabled service and of the maintenance, and what changed since the last round."""
        now = self._clock.wall()
        seen_from = self._namespace
        found = await self._call(lambda: self._observer.look(now, seen_from))
        findings: list[Finding] = [*found.shortfalls, *_maintenance_samples(found.maintenance)]
        planned = self._note_maintenance(found, now)
        for look in found.looks:
            findings += self._follow(look, found, now, planned)
            findings += self._samples(look, found, now)
        self._forget(self._lives.keys() - {look.service.name for look in found.looks} - found.unseen)
        if (
            found.namespace is not None
            and found.namespace != self._namespace
            and any(look.main for look in found.looks)
        ):
            self._namespace = found.namespace
            self._changed[_NAMESPACE_KEY] = str(found.namespace)
        return findings

    def _note_maintenance(self, found: Round, now: float) -> bool:
        """Return whether what changed since the last round was planned."""
        in_force = any(until is not None for until in found.maintenance.values())
        if in_force:
            self._maintained_at = now
        if self._brought_up and not found.brings_all_up:
            # zmcontrol start or restart has ended: what is still down was not meant to be.
            for name, life in self._lives.items():
                if life.deliberate:
                    life.deliberate = False
                    self._save(name)
        self._brought_up = found.brings_all_up
        return in_force or (self._maintained_at is not None and 0 <= now - self._maintained_at <= _GRACE)

    def _follow(self, look: Look, found: Round, now: float, planned: bool) -> list[Event]:
        """Bring the memory of a service up to date and return what happened to it."""
        name, up = look.service.name, not look.missing
        start = "" if look.main is None else f"{look.main.pid}:{look.main.start_ticks}"
        life = self._lives.get(name)
        if life is None:
            self._lives[name] = Life(up, start, found.boot_id, down_since=None if up else now)
            self._save(name)
            return []
        events = []
        restarted = bool(start and life.start and start != life.start)
        if up != life.up:
            events.append(Event("ZcsServiceStarted" if up else "ZcsServiceStopped", now, {"name": name}))
        elif restarted and up:
            events.append(Event("ZcsServiceRestarted", now, {"name": name}))
        before = (life.start, life.boot_id, life.up, len(life.unplanned))
        if restarted:
            life.restarts += 1
            if not planned and not life.deliberate and life.boot_id == found.boot_id:
                life.unplanned.append(now)
        life.unplanned = [at for at in life.unplanned if now - _DAY < at <= now]
        if start:
            life.start, life.boot_id = start, found.boot_id
        if up != life.up:
            life.up = up
            life.down_since = None if up else now
            life.deliberate = planned and not up
        if before != (life.start, life.boot_id, life.up, len(life.unplanned)):
            self._save(name)
        return events

    def _samples(self, look: Look, found: Round, now: float) -> list[Sample]:
        name, life = look.service.name, self._lives[look.service.name]
        evidence = _not_running(look.missing)
        samples = [
            UP.sample(not look.missing, evidence=evidence, name=name),
            RESTARTS.sample(life.restarts, name=name),
            RESTARTS_DAY.sample(len(life.unplanned), name=name),
            UNEXPECTED.sample(_unexpected(life.unplanned, look.service.bounces, now), name=name),
        ]
        if look.main is not None:
            samples.append(START_TIME.sample(found.boot + look.main.start_ticks / CLOCK_TICKS, name=name))
        left = now - life.down_since if life.deliberate and life.down_since is not None else 0.0
        samples.append(LEFT_STOPPED.sample(max(0.0, left), name=name))
        if look.alarming is not None:
            down = bool(look.alarming) and not life.deliberate
            samples.append(DOWN[look.service.tier].sample(down, evidence=_not_running(look.alarming), name=name))
        return samples

    def _forget(self, disabled: set[str]) -> None:
        """Drop services that are no longer enabled, so that they begin anew if they come back."""
        for name in disabled:
            del self._lives[name]
            self._changed[_SERVICE_KEY + name] = None

    def _save(self, name: str) -> None:
        self._changed[_SERVICE_KEY + name] = self._lives[name].dump()


def _unexpected(unplanned: Sequence[float], bounces: bool, now: float) -> int:
    counted = unplanned[_EXPECTED_BOUNCES:] if bounces else unplanned
    return sum(1 for at in counted if at > now - _HOUR)


def _not_running(parts: Sequence[str]) -> Evidence:
    return tuple(EvidenceItem(EvidenceKind.TEXT, f"{part} is not running") for part in parts)


def _maintenance_samples(maintenance: Mapping[str, float | None]) -> list[Sample]:
    samples = []
    for cause in CAUSES:
        if cause in maintenance:
            until = maintenance[cause]
            samples.append(MAINTENANCE.sample(until is not None, cause=cause))
            if until is not None:
                samples.append(MAINTENANCE_UNTIL.sample(until, cause=cause))
    return samples
