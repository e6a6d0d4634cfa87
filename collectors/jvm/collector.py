"""Memory, garbage collection, safepoints and threads of every JVM of ZCS.

A JVM is found by its pid file, else by its command line, and counts as running while its process does.
Its figures come from its hsperfdata file. mailboxd begins as root, so that its file needs more than
membership in group zimbra; where it may not be read, mailboxd.csv answers once a minute with less.

Source: ``/tmp/hsperfdata_USER/PID``, else ``/opt/zimbra/zmstat/mailboxd.csv``; ``/opt/zimbra/log/*.pid``; ``/proc``.
Privileges: group zimbra for pid files and mailboxd.csv; CAP_DAC_READ_SEARCH for hsperfdata.
Cost: one 32 KiB read for each JVM every 15 s; a walk of ``/proc`` only while a JVM is missing from its pid file.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from collectors.formats.hsperfdata import PerfData, PerfFile, open_perf_files
from collectors.formats.zmstat import ZmstatFile, ZmstatRow
from collectors.jvm.metrics import AVAILABLE, GC_TIME, METRICS, OLD_AFTER_GC, UP, counter_samples, memory_samples
from collectors.jvm.processes import ROLES, JvmProcesses
from collectors.jvm.state import JvmState, Plan, make_plan, state_from_hsperfdata, state_from_mailboxd_csv
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    GRANT,
    Clock,
    CollectError,
    CollectorConfig,
    Duration,
    EvidenceItem,
    EvidenceKind,
    Finding,
    Metric,
    NotOnThisHost,
    Reason,
    Sample,
    Shortfall,
    doing,
)
from zcs_exporter.hostio import CLOCK_TICKS, Host, Process
from zcs_exporter.schema import Limits

_CSV_STALE = 180.0
"""mailboxd writes a row a minute; after three it has stopped."""

_SAME_START = 60.0
"""Seconds by which two tellings of one start may differ."""

# -XX:-UsePerfData
_NO_PERF_DATA = re.compile(r"-XX:(?:-UsePerfData|\+PerfDisableSharedMem)")


class JvmConfig(CollectorConfig):
    """Options of the jvm collector.

    Attributes:
        gc_window: Seconds over which the share of time spent in collections is measured: longer is
            calmer, shorter tells sooner.
    """

    gc_window: Annotated[Duration, Limits(least=1)] = 300.0


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at one JVM saw.

    Attributes:
        source: Tells this process and this source of figures from any other; None without figures.
        fresh: Whether the figures are newer than those of the last look.
    """

    jvm: str
    up: bool | None = None
    perf: PerfData | None = None
    state: JvmState | None = None
    source: tuple[int, int, str] | None = None
    fresh: bool = False


@dataclass(slots=True)
class _Held:
    """The open hsperfdata file of one process."""

    pid: int
    start_ticks: int
    file: PerfFile
    plan: Plan | None = None


@dataclass(slots=True)
class _Past:
    """What earlier looks at one JVM left for the figures that need a past."""

    source: tuple[int, int, str]
    pauses: deque[tuple[float, float]] = field(default_factory=deque)
    reclaims: float | None = None
    old_after_gc: float | None = None

    def see(self, state: JvmState, now: float, window: float) -> None:
        """Take note of a fresh state at the monotonic time ``now``."""
        if state.paused is not None:
            if self.pauses and state.paused < self.pauses[-1][1]:
                self.pauses.clear()
            self.pauses.append((now, state.paused))
            while len(self.pauses) > 2 and self.pauses[1][0] <= now - window:
                self.pauses.popleft()
        old = state.pools["old"].used
        if state.reclaims != self.reclaims:
            # What the first look finds may have been filling up ever since a collection long ago.
            self.old_after_gc = None if self.reclaims is None else old
            self.reclaims = state.reclaims
        elif self.old_after_gc is not None:
            # CMS sweeps after the pause by which it is counted.
            self.old_after_gc = min(self.old_after_gc, old)

    def gc_time(self, window: float) -> float | None:
        """Return the share of ``window`` that was spent in pauses; None until as much is known."""
        if not self.pauses:
            return None
        (since, before), (until, after) = self.pauses[0], self.pauses[-1]
        return None if until - since < window else min(1.0, (after - before) / (until - since))


class JvmCollector:
    """Watches mailboxd, zmconfigd, imapd, the license daemon and the milter."""

    name: ClassVar[str] = "jvm"
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = JvmConfig
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    def __init__(self, config: JvmConfig, host: Host, clock: Clock) -> None:
        self._window = config.gc_window
        self._host = host
        self._clock = clock
        self._call = BlockingCall("reading the JVMs' hsperfdata")
        self._processes = JvmProcesses(host)
        self._held: dict[str, _Held] = {}
        self._csv = ZmstatFile(host, host.zcs.path("zmstat/mailboxd.csv"))
        self._csv_at: float | None = None
        self._past: dict[str, _Past] = {}

    async def collect(self) -> Sequence[Finding]:
        """Return the state of every JVM that runs or should.

        Raises:
            NotOnThisHost: ZCS is not installed here.
            CollectError: ``/proc`` cannot be listed.
        """
        looks, shortfalls = await self._call(self._read)
        findings: list[Finding] = list(shortfalls)
        for look in looks:
            findings.extend(self._samples(look))
        return findings

    def _samples(self, look: _Look) -> Iterator[Sample]:
        jvm = look.jvm
        if look.up is not None:
            yield UP.sample(look.up, jvm=jvm)
        if look.up:
            yield AVAILABLE.sample(look.perf is not None, jvm=jvm)
        if look.perf is not None:
            yield from counter_samples(jvm, look.perf)
        if look.state is None or look.source is None:
            self._past.pop(jvm, None)
            return
        yield from memory_samples(jvm, look.state)
        past = self._past.get(jvm)
        if past is None or past.source != look.source:
            past = self._past[jvm] = _Past(look.source)
        if look.fresh:
            past.see(look.state, self._clock.monotonic(), self._window)
        gc_time = past.gc_time(self._window)
        if gc_time is not None:
            cause = look.perf and look.perf.text("sun.gc.lastCause")
            evidence = (EvidenceItem(EvidenceKind.TEXT, f"last cause: {cause}"),) if cause else ()
            yield GC_TIME.sample(gc_time, evidence=evidence, jvm=jvm)
        if past.old_after_gc is not None and look.state.old_limit:
            yield OLD_AFTER_GC.sample(min(1.0, past.old_after_gc / look.state.old_limit), jvm=jvm)

    def _read(self) -> tuple[list[_Look], list[Shortfall]]:
        zcs = self._host.zcs
        if not zcs.present():
            raise NotOnThisHost(f"no {zcs.path('conf/localconfig.xml')}")
        services = zcs.enabled_services()
        shortfalls: list[Shortfall] = []
        if services is None:
            shortfalls.append(
                Shortfall(
                    Reason.UNAVAILABLE,
                    f"no service is named in {zcs.path('conf/stats.conf')}: a JVM that is down is not told",
                    GRANT,
                )
            )
        running = self._processes.find(services)
        blind = self._processes.why_unseen()
        if blind is not None:
            shortfalls.append(Shortfall(blind.reason, str(blind), blind.remedy))
        looks = []
        for role in ROLES:
            process = running.get(role.name)
            if process is None:
                self._drop(role.name)
                if blind is None and services is not None and role.service in services:
                    looks.append(_Look(role.name, up=False))
            else:
                looks.append(self._look(role.name, process, shortfalls))
        return looks, shortfalls

    def _look(self, name: str, process: Process, shortfalls: list[Shortfall]) -> _Look:
        try:
            held = self._open(name, process)
            perf = held.file.read()
            if held.plan is None or held.plan.layout is not perf.layout:
                held.plan = make_plan(perf)
            state = state_from_hsperfdata(perf, held.plan)
            return _Look(name, True, perf, state, (process.pid, process.start_ticks, "hsperfdata"), fresh=True)
        except CollectError as exc:
            self._drop(name)
            if name != "mailboxd":
                shortfalls.append(Shortfall(exc.reason, f"{name}: {exc}", exc.remedy))
                return _Look(name, True)
            return self._look_at_csv(process, exc, shortfalls)

    def _look_at_csv(self, process: Process, because: CollectError, shortfalls: list[Shortfall]) -> _Look:
        """Fall back to mailboxd.csv, and say so."""
        try:
            row = self._row_of(process)
            state = None if row is None else state_from_mailboxd_csv(row)
        except CollectError as exc:
            shortfalls.append(Shortfall(because.reason, f"mailboxd: {because}; in its stead, {exc}", because.remedy))
            return _Look("mailboxd", True)
        shortfalls.append(
            Shortfall(
                because.reason,
                f"mailboxd: {because}; memory and collections are taken from {self._csv.path} once a minute, "
                "while threads, classes and safepoints are missing",
                because.remedy,
            )
        )
        if row is None or state is None:
            return _Look("mailboxd", True)
        fresh, self._csv_at = row.at != self._csv_at, row.at
        source = (process.pid, process.start_ticks, "mailboxd.csv")
        return _Look("mailboxd", True, state=state, source=source, fresh=fresh)

    def _row_of(self, process: Process) -> ZmstatRow | None:
        """Return the newest row of mailboxd.csv; None while this process has written none."""
        now = self._clock.wall()
        row = self._csv.newest(now)
        if row is None:
            return None
        if abs(now - row.at) > _CSV_STALE:
            raise CollectError(
                Reason.UNAVAILABLE,
                f"{self._csv.path}: the last row is {now - row.at:.0f} s old, of one a minute",
            )
        return row if row.at >= self._start(process) else None

    def _start(self, process: Process) -> float:
        with doing("reading /proc/stat"):
            return self._host.boot_time() + process.start_ticks / CLOCK_TICKS

    def _open(self, name: str, process: Process) -> _Held:
        held = self._held.get(name)
        if held is not None and (held.pid, held.start_ticks) == (process.pid, process.start_ticks):
            return held
        self._drop(name)
        for file in open_perf_files(self._host, process.pid, self._uid(process.pid)):
            try:
                genuine = self._same_start(file.read(), process)
            except BaseException:
                file.close()
                raise
            if genuine:
                held = self._held[name] = _Held(process.pid, process.start_ticks, file)
                return held
            file.close()
        switch = next((argument for argument in process.argv if _NO_PERF_DATA.fullmatch(argument)), None)
        if switch:
            raise CollectError(
                Reason.UNAVAILABLE,
                f"{switch} is set, so that the JVM keeps no hsperfdata",
                f"take {switch} out of the JVM's options (mailboxd's are the localconfig key "
                "mailboxd_java_options) and restart it",
            )
        raise CollectError(
            Reason.UNAVAILABLE,
            f"there is no /tmp/hsperfdata_*/{process.pid} of this process",
            "keep cleaners away from /tmp/hsperfdata_* (tmpfiles.d: x /tmp/hsperfdata_*), "
            "set PrivateTmp=no for zcs-exporter, and restart the JVM",
        )

    def _same_start(self, perf: PerfData, process: Process) -> bool:
        """Whether a file is of this process, not left behind by one that was killed and had its number.

        Wall time may have been stepped since, and the monotonic clock stands still in suspend, so one of
        both must agree.
        """
        began = perf.number("sun.rt.createVmBeginTime")
        if began is not None and abs(began / 1000 - self._start(process)) <= _SAME_START:
            return True
        age = perf.seconds("sun.os.hrt.ticks")
        try:
            uptime = float(self._host.read("/proc/uptime", 256).split()[0])
        except (OSError, LookupError, ValueError):
            return False
        return age is not None and abs(uptime - process.start_ticks / CLOCK_TICKS - age) <= _SAME_START

    def _uid(self, pid: int) -> int:
        with doing(f"reading /proc/{pid}/status"):
            status = self._host.read_text(f"/proc/{pid}/status")
        # Uid:	1000	1000	1000	1000
        match = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE | re.ASCII)
        if match is None:
            raise CollectError(Reason.PARSE, f"/proc/{pid}/status has no line Uid")
        return int(match[1])

    def _drop(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            held.file.close()
