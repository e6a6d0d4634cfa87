"""One look at a host without a daemon: what ``once`` prints and ``doctor`` explains.

It reads neither positions nor outbox, writes nothing and sends nothing.
"""

import asyncio
import contextlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from zcs_exporter.agent.agent import check_agent
from zcs_exporter.config import Config
from zcs_exporter.contract import Clock, Collector, Gradual, LogFed, SyslogSubscription
from zcs_exporter.hostio import Host
from zcs_exporter.runner import Outcome, Runner, new_reading, next_reading
from zcs_exporter.selfmetrics import collector_samples
from zcs_exporter.snapshot import Snapshot, vet
from zcs_exporter.syslog import log_host_names, strangers_at_the_end
from zcs_exporter.tail import LogTail

UNROTATED = 4 << 30
"""A log of this size, in bytes, has not been rotated for long."""


class Verdict(StrEnum):
    """How something fares."""

    WORKS = "works"
    PARTLY = "partly"
    FAILS = "fails"
    ABSENT = "not on this host"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line of the doctor's report.

    Attributes:
        subject: A collector or a log.
        detail: What was found; empty where there is nothing to say.
        remedy: What to do; empty where nothing is needed.
    """

    subject: str
    verdict: Verdict
    detail: str = ""
    remedy: str = ""


async def look_once(config: Config, collectors: Sequence[Collector], clock: Clock) -> Snapshot:
    """Run each collector until it has told all, but not for long, and return the snapshot."""
    runners = [
        Runner.configured(collector, config.collector(collector.name), clock, lambda _name, _outcome: None)
        for collector in collectors
    ]
    found = await asyncio.gather(*(_told(runner, clock.monotonic() + PATIENCE, clock) for runner in runners))
    readings = {
        runner.collector.name: next_reading(new_reading(runner.collector), outcome, runner.max_age)
        for runner, outcome in zip(runners, found, strict=True)
    }
    return Snapshot(1, clock.wall(), readings, vet(collector_samples(readings)).samples)


async def _told(runner: Runner, deadline: float, clock: Clock) -> Outcome:
    collector = runner.collector
    while True:
        outcome = await runner.attempt()
        if not (isinstance(collector, Gradual) and collector.unfinished) or clock.monotonic() > deadline:
            return outcome


PATIENCE = 5.0
"""Seconds after which a collector is not asked once more for the rest of what it has to tell."""

LOOKED_AT = 16 << 20
"""Bytes at the end of a syslog file among which there must be a line of this host."""


def examine_log(host: Host, path: str, clock: Clock, names: Collection[bytes] | None = None) -> Diagnosis:
    """Return whether a log can be followed, and for syslog whether the host called ``names`` writes to it."""
    tail = LogTail(host, path, None, clock)
    try:
        tail.read()
        if tail.problem is not None:
            return Diagnosis(path, Verdict.FAILS, str(tail.problem), tail.problem.remedy)
        if not tail.exists:
            return Diagnosis(path, Verdict.ABSENT)
        size = host.stat(path).st_size
        strange = None if names is None else strangers_at_the_end(_end_of(host, path, size), names)
    except OSError as exc:
        return Diagnosis(path, Verdict.FAILS, exc.strerror or str(exc))
    finally:
        tail.close()
    if strange is not None:
        return Diagnosis(path, Verdict.FAILS, str(strange), strange.remedy)
    if size > UNROTATED:
        detail = f"{size / (1 << 30):.1f} GiB without rotation"
        return Diagnosis(
            path, Verdict.PARTLY, detail, "see that logrotate, or mailboxd for its own logs, rotates it daily"
        )
    return Diagnosis(path, Verdict.WORKS)


def _end_of(host: Host, path: str, size: int) -> bytes:
    with os.fdopen(host.open(path), "rb") as file:
        file.seek(max(0, size - LOOKED_AT))
        return file.read(LOOKED_AT)


def state_owner(directory: str) -> int | None:
    """Return the number of the user whom the state directory belongs to: the daemon's; None where there is none yet."""
    try:
        return os.stat(directory).st_uid
    except OSError:
        return None


def examine_state(directory: str) -> Diagnosis:
    """Return whether the state directory could be used by this user, without touching it."""
    where = directory
    while not os.path.exists(where) and where != "/":
        where = os.path.dirname(where)
    if os.path.isdir(where) and os.access(where, os.W_OK | os.X_OK):
        return Diagnosis(f"state in {directory}", Verdict.WORKS)
    remedy = f"install -d -m 700 -o zcs-exporter {directory}, or set state.directory"
    return Diagnosis(f"state in {directory}", Verdict.FAILS, f"{where} is not writable for uid {os.geteuid()}", remedy)


async def examine(config: Config, collectors: Sequence[Collector], host: Host, clock: Clock) -> list[Diagnosis]:
    """Return how every collector and every log fares, and the state directory."""
    snapshot = await look_once(config, collectors, clock)
    found = []
    for reading in snapshot.readings.values():
        if reading.failure is not None:
            found.append(Diagnosis(reading.collector, Verdict.FAILS, reading.failure.message, reading.failure.remedy))
        elif not reading.present:
            found.append(Diagnosis(reading.collector, Verdict.ABSENT, reading.absent_because))
        elif reading.shortfalls:
            found += [
                Diagnosis(reading.collector, Verdict.PARTLY, each.message, each.remedy) for each in reading.shortfalls
            ]
        else:
            found.append(Diagnosis(reading.collector, Verdict.WORKS, f"{len(reading.samples)} series"))
    subscriptions = [
        each for collector in collectors if isinstance(collector, LogFed) for each in collector.subscriptions()
    ]
    syslog = {each.path for each in subscriptions if isinstance(each, SyslogSubscription)}
    names = log_host_names(host)
    for path in sorted({each.path for each in subscriptions}):
        found.append(examine_log(host, path, clock, names if path in syslog else None))
    found.append(examine_state(config.state.directory))
    found += examine_agent(config)
    return found


def examine_agent(config: Config) -> list[Diagnosis]:
    """Return whether the SNMP agent could start; nothing where it is off."""
    uid, gid = None, None
    with contextlib.suppress(OSError):
        status = os.stat(config.state.directory)
        uid, gid = status.st_uid, status.st_gid
    access, faults = check_agent(config, uid=uid, gid=gid)
    subject = f"SNMP agent on {config.snmp_agent.listen}"
    if access is not None:
        many = f"{len(access.users)} users of version 3, {len(access.communities)} communities of version 2c"
        return [Diagnosis(subject, Verdict.WORKS, many)]
    return [Diagnosis(subject, Verdict.FAILS, *fault.partition("; ")[::2]) for fault in faults]
