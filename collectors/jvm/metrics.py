"""The metrics of a JVM, and how its state and counters become samples.

Names are those of the Prometheus Java client where it has one, with a ``jvm`` label added. There is no
area ``nonheap``: hsperfdata does not tell the size of the code cache, and a part must not pass for the whole.
"""

from collections.abc import Iterator

from collectors.formats.hsperfdata import PerfData
from collectors.jvm.state import JvmState
from zcs_exporter.contract import Kind, Metric, Sample

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
    "Share of the last gc_window (5m) for which collections stopped the program; absent until as much is known.",
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
RUNTIME = Metric("jvm_runtime_info", Kind.GAUGE, "Always 1; which Java it is.", ("jvm", "version", "vendor", "runtime"))

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
        Metric(
            "zcs_jvm_safepoint_seconds_total", Kind.COUNTER, "Seconds for which all threads were stopped.", ("jvm",)
        ),
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

METRICS = (
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


def memory_samples(jvm: str, state: JvmState) -> Iterator[Sample]:
    """Yield the sizes of memory and the collections."""
    for pool, size in state.pools.items():
        yield POOL_USED.sample(size.used, jvm=jvm, pool=pool)
        yield POOL_COMMITTED.sample(size.committed, jvm=jvm, pool=pool)
        if size.maximum is not None:
            yield POOL_MAX.sample(size.maximum, jvm=jvm, pool=pool)
    if state.heap is not None:
        yield MEMORY_USED.sample(state.heap.used, jvm=jvm, area="heap")
        yield MEMORY_COMMITTED.sample(state.heap.committed, jvm=jvm, area="heap")
        if state.heap.maximum is not None:
            yield MEMORY_MAX.sample(state.heap.maximum, jvm=jvm, area="heap")
    for gc, collections in state.collections.items():
        yield COLLECTIONS.sample(collections.count, suffix="_count", jvm=jvm, gc=gc)
        yield COLLECTIONS.sample(collections.seconds, suffix="_sum", jvm=jvm, gc=gc)


def counter_samples(jvm: str, perf: PerfData) -> Iterator[Sample]:
    """Yield what only hsperfdata has."""
    for metric, name in _NUMBERS:
        if (number := perf.number(name)) is not None:
            yield metric.sample(number, jvm=jvm)
    for metric, name in _SECONDS:
        if (seconds := perf.seconds(name)) is not None:
            yield metric.sample(seconds, jvm=jvm)
    loaded = _sum(perf, "java.cls.loadedClasses", "java.cls.sharedLoadedClasses")
    unloaded = _sum(perf, "java.cls.unloadedClasses", "java.cls.sharedUnloadedClasses")
    if loaded is not None and unloaded is not None:
        yield CLASSES.sample(loaded - unloaded, jvm=jvm)
        yield CLASSES_LOADED.sample(loaded, jvm=jvm)
        yield CLASSES_UNLOADED.sample(unloaded, jvm=jvm)
    if (began := perf.number("sun.rt.createVmBeginTime")) is not None:
        yield START_TIME.sample(began / 1000, jvm=jvm)
    yield OVERFLOW.sample(perf.layout.overflow, jvm=jvm)
    words = [perf.text(f"java.property.java.vm.{what}") or "" for what in ("version", "vendor", "name")]
    yield RUNTIME.sample(1, jvm=jvm, version=words[0], vendor=words[1], runtime=words[2])


def _sum(perf: PerfData, *names: str) -> int | None:
    numbers = [perf.number(name) for name in names]
    return None if None in numbers else sum(number for number in numbers if number is not None)
