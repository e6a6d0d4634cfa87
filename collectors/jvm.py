"""Memory, garbage collection, safepoints and threads of every JVM of ZCS.

A JVM is found by its pid file, else by its command line, and counts as running while its process does.
Its figures come from its hsperfdata file. mailboxd begins as root, so that its file needs more than
membership in group zimbra; where it may not be read, mailboxd.csv answers once a minute with less.

Source: ``/tmp/hsperfdata_USER/PID``, else ``/opt/zimbra/zmstat/mailboxd.csv``; pid files in ``/opt/zimbra/log``; ``/proc``.
Privileges: group zimbra for pid files and mailboxd.csv; CAP_DAC_READ_SEARCH for hsperfdata.
Cost: one 32 KiB read for each JVM every 15 s; a walk of ``/proc`` only while a JVM is missing from its pid file.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field

from collectors.hsperfdata import PerfData, PerfFile, open_perf_files
from collectors.jvm_state import JvmState, Plan, make_plan, state_from_hsperfdata, state_from_mailboxd_csv
from collectors.zmstat import ZmstatFile, ZmstatRow
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
    Kind,
    Metric,
    NotOnThisHost,
    Reason,
    Sample,
    Shortfall,
    doing,
)
from zcs_exporter.hostio import CLOCK_TICKS, Host, Process

UP = Metric("zcs_jvm_up", Kind.GAUGE, "Whether the process runs; 0 where ZCS should run it.", ("jvm",))
AVAILABLE = Metric(
    "zcs_jvm_hsperfdata_available",
    Kind.GAUGE,
    "Whether the JVM's own counters can be read; without them most of its series are missing.",
    ("jvm",),
)
POOL_USED = Metric(
    "jvm_memory_pool_used_bytes",
    Kind.GAUGE,
    "Bytes in use in a pool; metaspace and class_space are brought up to date by collections only.",
    ("jvm", "pool"),
)
POOL_COMMITTED = Metric(
    "jvm_memory_pool_committed_bytes", Kind.GAUGE, "Bytes that the JVM holds for a pool.", ("jvm", "pool")
)
POOL_MAX = Metric(
    "jvm_memory_pool_max_bytes",
    Kind.GAUGE,
    "Bytes to which a pool may grow; absent for pools without a limit of their own, as G1's eden.",
    ("jvm", "pool"),
)
MEMORY_USED = Metric("jvm_memory_used_bytes", Kind.GAUGE, "Bytes in use in all of the heap.", ("jvm", "area"))
MEMORY_COMMITTED = Metric(
    "jvm_memory_committed_bytes", Kind.GAUGE, "Bytes that the JVM holds for all of the heap.", ("jvm", "area")
)
MEMORY_MAX = Metric("jvm_memory_max_bytes", Kind.GAUGE, "Bytes to which the heap may grow.", ("jvm", "area"))
COLLECTIONS = Metric(
    "jvm_gc_collection_seconds",
    Kind.SUMMARY,
    "Garbage collections and the seconds they took; for Shenandoah every phase counts as one.",
    ("jvm", "gc"),
)
GC_TIME = Metric(
    "zcs_jvm_gc_time_ratio",
    Kind.GAUGE,
    "Share of the last five minutes for which collections stopped the program; absent until five minutes are known.",
    ("jvm",),
)
OLD_AFTER_GC = Metric(
    "zcs_jvm_old_after_gc_ratio",
    Kind.GAUGE,
    "Share of the old generation that was still in use after the last collection that could free it.",
    ("jvm",),
)
START_TIME = Metric("zcs_jvm_start_time_seconds", Kind.GAUGE, "When the JVM started, since the epoch.", ("jvm",))
CLASSES = Metric("jvm_classes_currently_loaded", Kind.GAUGE, "Classes that are loaded now.", ("jvm",))
CLASSES_LOADED = Metric("jvm_classes_loaded_total", Kind.COUNTER, "Classes loaded since the JVM started.", ("jvm",))
CLASSES_UNLOADED = Metric(
    "jvm_classes_unloaded_total", Kind.COUNTER, "Classes unloaded since the JVM started.", ("jvm",)
)
OVERFLOW = Metric(
    "zcs_jvm_hsperfdata_overflow_bytes",
    Kind.GAUGE,
    "Bytes of counters that found no room in the JVM's file; above 0 some are missing.",
    ("jvm",),
)
RUNTIME = Metric(
    "jvm_runtime_info", Kind.GAUGE, "Always 1; which Java it is.", ("jvm", "version", "vendor", "runtime")
)

_NUMBERS = (
    (
        Metric("jvm_threads_current", Kind.GAUGE, "Threads alive, daemon threads included.", ("jvm",)),
        "java.threads.live",
    ),
    (Metric("jvm_threads_daemon", Kind.GAUGE, "Daemon threads alive.", ("jvm",)), "java.threads.daemon"),
    (Metric("jvm_threads_peak", Kind.GAUGE, "Most threads ever alive at once.", ("jvm",)), "java.threads.livePeak"),
    (
        Metric("jvm_threads_started_total", Kind.COUNTER, "Threads started since the JVM started.", ("jvm",)),
        "java.threads.started",
    ),
    (
        Metric("zcs_jvm_safepoints_total", Kind.COUNTER, "Times all threads were stopped, for whatever.", ("jvm",)),
        "sun.rt.safepoints",
    ),
    (
        Metric("zcs_jvm_tlab_threads", Kind.GAUGE, "Threads that allocated before the last collection.", ("jvm",)),
        "sun.gc.tlab.allocThreads",
    ),
    (
        Metric("zcs_jvm_tlab_fills", Kind.GAUGE, "Allocation buffers taken before the last collection.", ("jvm",)),
        "sun.gc.tlab.fills",
    ),
    (
        Metric(
            "zcs_jvm_tlab_slow_allocations",
            Kind.GAUGE,
            "Allocations outside the threads' buffers before the last collection.",
            ("jvm",),
        ),
        "sun.gc.tlab.slowAlloc",
    ),
)
"""Counters published as they are, and their names in hsperfdata."""

_SECONDS = (
    (
        Metric("zcs_jvm_safepoint_seconds_total", Kind.COUNTER, "Seconds for which all threads were stopped.", ("jvm",)),
        "sun.rt.safepointTime",
    ),
    (
        Metric(
            "zcs_jvm_safepoint_sync_seconds_total", Kind.COUNTER, "Seconds spent on stopping all threads.", ("jvm",)
        ),
        "sun.rt.safepointSyncTime",
    ),
    (
        Metric("zcs_jvm_application_seconds_total", Kind.COUNTER, "Seconds between safepoints.", ("jvm",)),
        "sun.rt.applicationTime",
    ),
    (
        Metric("jvm_compilation_time_seconds_total", Kind.COUNTER, "Seconds spent on compiling byte code.", ("jvm",)),
        "java.ci.totalTime",
    ),
)
"""The same for counters of clock ticks."""


@dataclass(frozen=True, slots=True)
class _Role:
    """One JVM that ZCS may run.

    Attributes:
        name: The ``jvm`` label.
        pid_file: Below ``/opt/zimbra``; None where ZCS writes none.
        service: The enabled service that calls for it; None where that cannot be known from the services.
    """

    name: str
    pid_file: str | None
    service: str | None


_ROLES = (
    _Role("mailboxd", "log/zmmailboxd_java.pid", "mailbox"),
    _Role("zmconfigd", "log/zmconfigd.pid", "zmconfigd"),
    _Role("imapd", "log/imapd.pid", "imapd"),
    _Role("license", None, "license-daemon"),
    _Role("other", "log/milter.pid", None),
)

_CSV_STALE = 180.0
"""mailboxd writes a row a minute; after three it has stopped."""

_SAME_START = 60.0
"""Seconds by which two tellings of one start may differ."""

# -XX:-UsePerfData
_NO_PERF_DATA = re.compile(r"-XX:(?:-UsePerfData|\+PerfDisableSharedMem)")


def jvm_of(argv: Sequence[str], home: str) -> str | None:
    """Return which JVM of the ZCS below ``home`` was started by this command line; None if none of them."""
    if f"{home}/mailboxd/etc/jetty.xml" in argv:
        return "mailboxd"
    if f"{home}/license/lib/app.jar" in argv:
        return "license"
    if not any(home + "/" in argument for argument in argv):
        return None
    # /opt/zimbra/common/bin/java ... -cp /opt/zimbra/... org.python.util.jython /opt/zimbra/libexec/zmconfigd
    if "org.python.util.jython" in argv:
        return "zmconfigd"
    if "com.zimbra.cs.imap.ImapDaemon" in argv:
        return "imapd"
    return None


class JvmConfig(CollectorConfig):
    """Options of the jvm collector.

    Attributes:
        gc_window: Seconds over which the share of time spent in collections is measured: longer is
            calmer, shorter tells sooner.
    """

    gc_window: Annotated[Duration, Field(ge=1)] = 300.0


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
        return None if until - since < max(window, 0.001) else min(1.0, (after - before) / (until - since))


class JvmCollector:
    """Watches mailboxd, zmconfigd, imapd, the license daemon and the milter."""

    name: ClassVar[str] = "jvm"
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = JvmConfig
    metrics: ClassVar[tuple[Metric, ...]] = (
        UP,
        AVAILABLE,
        POOL_USED,
        POOL_COMMITTED,
        POOL_MAX,
        MEMORY_USED,
        MEMORY_COMMITTED,
        MEMORY_MAX,
        COLLECTIONS,
        GC_TIME,
        OLD_AFTER_GC,
        START_TIME,
        CLASSES,
        CLASSES_LOADED,
        CLASSES_UNLOADED,
        OVERFLOW,
        RUNTIME,
        *(metric for metric, _ in (*_NUMBERS, *_SECONDS)),
    )

    def __init__(self, config: JvmConfig, host: Host, clock: Clock) -> None:
        self._window = config.gc_window
        self._host = host
        self._clock = clock
        self._call = BlockingCall("reading the JVMs' hsperfdata")
        self._held: dict[str, _Held] = {}
        self._walked: dict[str, int] = {}
        self._csv = ZmstatFile(host, host.zcs.path("zmstat/mailboxd.csv"))
        self._csv_row: ZmstatRow | None = None
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
            yield from _counters(jvm, look.perf)
        if look.state is None or look.source is None:
            self._past.pop(jvm, None)
            return
        yield from _memory(jvm, look.state)
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
        running = self._find(services)
        hidden = len(running) < len(_ROLES) and self._hidden()
        if hidden:
            shortfalls.append(
                Shortfall(
                    Reason.PERMISSION,
                    "/proc hides the processes of other users: a JVM that is not seen may still run",
                    "mount /proc with hidepid=0, or with gid= of a group of zcs-exporter",
                )
            )
        looks = []
        for role in _ROLES:
            process = running.get(role.name)
            if process is None:
                self._drop(role.name)
                if not hidden and services is not None and role.service in services:
                    looks.append(_Look(role.name, up=False))
            else:
                looks.append(self._look(role.name, process, shortfalls))
        return looks, shortfalls

    def _find(self, services: frozenset[str] | None) -> dict[str, Process]:
        """Return the running JVMs by label."""
        found: dict[str, Process] = {}
        for role in _ROLES:
            for pid in (self._pid_in_file(role), self._walked.get(role.name)):
                process = None if pid is None else self._host.process(pid)
                # A pid file outlives its process, and its number may be another's by now.
                if process and _is_java(process) and self._may_be(process, role) and process not in found.values():
                    found[role.name] = process
                    break
        missing = {role.name for role in _ROLES if role.name not in found and self._wanted(role, services)}
        if missing:
            with doing("listing /proc"):
                processes = sorted(self._host.processes(), key=lambda process: process.start_ticks)
            for process in processes:
                name = jvm_of(process.argv, self._host.zcs.home) if _is_java(process) else None
                if name in missing:
                    found.setdefault(name, process)
        self._walked = {name: process.pid for name, process in found.items()}
        return found

    def _may_be(self, process: Process, role: _Role) -> bool:
        known = jvm_of(process.argv, self._host.zcs.home)
        return known == role.name or (known is None and role.pid_file is not None)

    def _wanted(self, role: _Role, services: frozenset[str] | None) -> bool:
        if role.service is None:
            return False
        if role.name == "license" and self._host.exists(self._host.zcs.path("license/lib/app.jar")):
            return True
        return services is None or role.service in services

    def _pid_in_file(self, role: _Role) -> int | None:
        if role.pid_file is None:
            return None
        try:
            text = self._host.read(self._host.zcs.path(role.pid_file), 64).strip()
        except OSError:
            return None
        return int(text) if re.fullmatch(rb"[1-9][0-9]{0,9}", text) else None

    def _hidden(self) -> bool:
        """Whether ``/proc`` shows us to ourselves but not the first process, which always runs."""
        return self._host.exists("/proc/self/stat") and self._host.process(1) is None

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
        known = self._csv_row
        try:
            row = self._row_of(process)
            state = None if row is None else state_from_mailboxd_csv(row)
        except CollectError as exc:
            shortfalls.append(Shortfall(because.reason, f"mailboxd: {because}; nor does {exc}", because.remedy))
            return _Look("mailboxd", True)
        shortfalls.append(
            Shortfall(
                because.reason,
                f"mailboxd: {because}; memory and collections are taken from {self._csv.path} once a minute, "
                "threads, classes and safepoints are missing",
                because.remedy,
            )
        )
        if state is None:
            return _Look("mailboxd", True)
        source = (process.pid, process.start_ticks, "mailboxd.csv")
        fresh = known is None or known.at != row.at
        return _Look("mailboxd", True, state=state, source=source, fresh=fresh)
