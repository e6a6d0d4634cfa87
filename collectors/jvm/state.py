"""What a JVM's memory and its collections look like, whichever garbage collector and whichever source.

Pools are those that ``jstat -gc`` shows: ``eden`` is EC/EU, ``survivor`` S0 and S1 added up, ``old`` OC/OU,
``metaspace`` MC/MU, ``class_space`` CCSC/CCSU. Collector 0 is YGC/YGCT, 1 FGC/FGCT, 2 CGC/CGCT.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from collectors.formats.hsperfdata import Layout, PerfData
from collectors.formats.zmstat import ZmstatRow
from zcs_exporter.contract import CollectError, Reason


@dataclass(frozen=True, slots=True)
class Pool:
    """Bytes of one part of a JVM's memory; ``maximum`` is None where it has none of its own or it is not told."""

    used: float
    committed: float
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Collections:
    """Garbage collections of one kind since the JVM started, and the seconds they took."""

    count: float
    seconds: float


@dataclass(frozen=True, slots=True)
class JvmState:
    """Memory and collections at one moment.

    Attributes:
        pools: By ``eden``, ``survivor``, ``old``, ``metaspace``, ``class_space``, ``code``. A collector that
            does not divide its heap has the whole of it as ``old``, as in ``jstat``.
        heap: All of the heap.
        collections: By ``young``, ``full``, ``concurrent``, ``other``.
        paused: Seconds since the JVM started for which collections stopped the program.
        reclaims: Collections that may have freed memory of the old generation, since the JVM started.
        old_limit: Bytes to which the old generation may grow.
    """

    pools: Mapping[str, Pool]
    heap: Pool | None
    collections: Mapping[str, Collections]
    paused: float | None
    reclaims: float | None
    old_limit: float | None


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a collector's counters mean: the ``gc`` label, and whether its seconds are all pauses."""

    gc: str
    pauses: bool = True


_COLLECTORS: Mapping[str, _Kind] = {
    # Java 8 and before
    "Copy": _Kind("young"),
    "MSC": _Kind("full"),
    "PSScavenge": _Kind("young"),
    "PSParallelCompact": _Kind("full"),
    "PCopy": _Kind("young"),
    "CMS": _Kind("concurrent"),  # counts its two pauses, not its cycles
    "G1 incremental collections": _Kind("young"),
    "G1 stop-the-world full collections": _Kind("full"),
    "G1 stop-the-world phases": _Kind("concurrent"),
    # since
    "Serial young collection pauses": _Kind("young"),
    "Serial full collection pauses": _Kind("full"),
    "Parallel young collection pauses": _Kind("young"),
    "Parallel full collection pauses": _Kind("full"),
    "G1 young collection pauses": _Kind("young"),
    "G1 full collection pauses": _Kind("full"),
    "G1 concurrent cycle pauses": _Kind("concurrent"),
    "Z concurrent cycle pauses": _Kind("concurrent"),
    "ZGC minor collection pauses": _Kind("young"),
    "ZGC major collection pauses": _Kind("concurrent"),
    "Shenandoah partial": _Kind("young"),
    "Shenandoah full": _Kind("concurrent", pauses=False),  # its name notwithstanding: every phase of every cycle
}

# sun.gc.generation.0.space.1.used
_SPACE = re.compile(r"sun\.gc\.generation\.([01])\.space\.\d+\.used")
# sun.gc.collector.2.invocations
_COLLECTOR = re.compile(r"sun\.gc\.collector\.\d+\.invocations")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which counters of one JVM make up its state; good as long as their layout.

    Attributes:
        layout: The layout it was made for.
        spaces: Pool and common prefix of the counters of each space of the heap.
        collectors: Kind and common prefix of the counters of each collector.
        divided: Whether the generations divide the heap. Where they do not (G1 and later), the maximum
            that each space names is that of the whole heap, and each collection may free old memory.
    """

    layout: Layout
    spaces: tuple[tuple[str, str], ...]
    collectors: tuple[tuple[_Kind, str], ...]
    divided: bool


def make_plan(perf: PerfData) -> Plan:
    """Find out which spaces and collectors a JVM has.

    Raises:
        CollectError: There is no heap among its counters.
    """
    spaces, collectors = [], []
    # By presence: indices have gaps (ZGC has collector 2 and generation 1 only).
    for name in sorted(perf.names):
        if match := _SPACE.fullmatch(name):
            prefix = name.removesuffix(".used")
            survivor = perf.text(f"{prefix}.name") in ("s0", "s1")
            spaces.append(("old" if match[1] == "1" else "survivor" if survivor else "eden", prefix))
        elif _COLLECTOR.fullmatch(name):
            prefix = name.removesuffix(".invocations")
            collectors.append((_COLLECTORS.get(perf.text(f"{prefix}.name") or "", _Kind("other", False)), prefix))
    if not any(pool == "old" for pool, _ in spaces):
        raise CollectError(Reason.PARSE, "hsperfdata: no old generation among its counters")
    policy = perf.text("sun.gc.policy.name")
    return Plan(perf.layout, tuple(spaces), tuple(collectors), policy is not None and policy != "GarbageFirst")


def state_from_hsperfdata(perf: PerfData, plan: Plan) -> JvmState:
    """Return the state that the counters show.

    Raises:
        CollectError: A counter that belongs to another is missing.
    """
    spaces = [(pool, _pool(perf, prefix)) for pool, prefix in plan.spaces]
    maxima = [space.maximum or 0.0 for _, space in spaces]
    if plan.divided:
        generations = (perf.number(f"sun.gc.generation.{index}.maxCapacity") or 0 for index in (0, 1))
        heap_maximum: float = sum(generations)
    else:
        heap_maximum = max(maxima)
        spaces = [(pool, space if pool == "old" else replace(space, maximum=None)) for pool, space in spaces]
    heap = _total(space for _, space in spaces)
    pools = {pool: _total(space for name, space in spaces if name == pool) for pool in dict(spaces)}
    for pool, prefix in (("metaspace", "sun.gc.metaspace"), ("class_space", "sun.gc.compressedclassspace")):
        if perf.number(f"{prefix}.used") is not None:
            pools[pool] = _pool(perf, prefix)
    collections = [(kind, _collections(perf, prefix)) for kind, prefix in plan.collectors]
    paused = (
        sum(collection.seconds for _, collection in collections)
        if collections and all(kind.pauses for kind, _ in collections)
        else perf.seconds("sun.rt.safepointTime")
    )
    return JvmState(
        pools=pools,
        heap=replace(heap, maximum=heap_maximum or None),
        collections=_by_kind((kind.gc, collection) for kind, collection in collections),
        paused=paused,
        reclaims=sum(c.count for kind, c in collections if kind.gc != "young" or not plan.divided),
        old_limit=pools["old"].maximum if plan.divided else heap_maximum or None,
    )


def _pool(perf: PerfData, prefix: str) -> Pool:
    maximum = perf.number(f"{prefix}.maxCapacity")
    return Pool(
        float(_present(perf, f"{prefix}.used")),
        float(_present(perf, f"{prefix}.capacity")),
        None if maximum is None else float(maximum),
    )


def _collections(perf: PerfData, prefix: str) -> Collections:
    seconds = perf.seconds(f"{prefix}.time")
    if seconds is None:
        raise CollectError(Reason.PARSE, f"hsperfdata: {prefix}.time is missing")
    return Collections(float(_present(perf, f"{prefix}.invocations")), seconds)


def _present(perf: PerfData, name: str) -> int:
    value = perf.number(name)
    if value is None:
        raise CollectError(Reason.PARSE, f"hsperfdata: {name} is missing")
    return value


def _total(pools: Iterable[Pool]) -> Pool:
    """Add pools up; the maximum is known only if each has one."""
    parts = list(pools)
    maxima = [part.maximum for part in parts if part.maximum is not None]
    return Pool(
        sum(part.used for part in parts),
        sum(part.committed for part in parts),
        sum(maxima) if len(maxima) == len(parts) else None,
    )


def _by_kind(collections: Iterable[tuple[str, Collections]]) -> dict[str, Collections]:
    kinds: dict[str, Collections] = {}
    for gc, more in collections:
        before = kinds.get(gc, Collections(0.0, 0.0))
        kinds[gc] = Collections(before.count + more.count, before.seconds + more.seconds)
    return kinds


# mpool_g1_old_gen_used, mpool_codeheap_'non-nmethods'_used, mpool_compressed_class_space_used
_CSV_POOL = re.compile(r"mpool_(.+)_used")
# gc_g1_young_generation_count, gc_concurrentmarksweep_count
_CSV_COLLECTOR = re.compile(r"gc_(.+)_count")

_CSV_POOLS = (
    ("eden_space", "eden"),
    ("survivor_space", "survivor"),
    ("old_gen", "old"),
    ("tenured_gen", "old"),
    ("zheap", "old"),
    ("zgc_old_generation", "old"),
    ("zgc_young_generation", "eden"),
    ("shenandoah", "old"),
    ("metaspace", "metaspace"),
    ("compressed_class_space", "class_space"),
    ("code_cache", "code"),
    ("codeheap_", "code"),
)
"""What a pool's column contains, and the pool it counts for. PermGen of Java 7 has no equal here."""

_CSV_YOUNG = frozenset({"copy", "parnew", "ps_scavenge", "g1_young_generation"})
_CSV_FULL = frozenset({"marksweepcompact", "ps_marksweep", "g1_old_generation"})
_UNDIVIDED = ("g1_", "zgc", "shenandoah")


def state_from_mailboxd_csv(row: ZmstatRow) -> JvmState:
    """Return the state that a row of mailboxd.csv shows.

    Maxima are not in it. ``old_limit`` is what is committed, which is the same, since ZCS starts mailboxd
    with ``-Xms`` equal to ``-Xmx``.

    Raises:
        CollectError: The row has no columns of an old generation.
    """
    pools: dict[str, list[Pool]] = {}
    for column in row.fields:
        match = _CSV_POOL.fullmatch(column)
        pool = match and next((pool for part, pool in _CSV_POOLS if part in match[1]), None)
        if pool:
            pools.setdefault(pool, []).append(_csv_pool(row, column.removesuffix("_used")))
    if "old" not in pools:
        raise CollectError(Reason.PARSE, "mailboxd.csv: no column mpool_..._used of an old generation")
    totals = {pool: _total(parts) for pool, parts in pools.items()}
    heap = _csv_pool(row, "heap") if "heap_used" in row.fields else None
    collections = {
        match[1]: Collections(_csv_number(row, column), _csv_number(row, f"gc_{match[1]}_ms") / 1000)
        for column in row.fields
        # minor and major are sums over the others, with G1's full collections among the minor ones;
        # the seconds of zgc_cycles and shenandoah_cycles pass beside the running program.
        if (match := _CSV_COLLECTOR.fullmatch(column)) and not match[1].endswith(("minor", "major", "_cycles"))
    }
    undivided = any(name.startswith(_UNDIVIDED) for name in collections)
    whole = totals["old"] if heap is None or not undivided else heap
    return JvmState(
        pools=totals,
        heap=heap,
        collections=_by_kind((_csv_kind(name), collection) for name, collection in collections.items()),
        paused=sum(c.seconds for c in collections.values()) if collections else None,
        reclaims=sum(c.count for name, c in collections.items() if undivided or name not in _CSV_YOUNG)
        if collections
        else None,
        old_limit=whole.committed or None,
    )


def _csv_pool(row: ZmstatRow, prefix: str) -> Pool:
    used = _csv_number(row, f"{prefix}_used")
    return Pool(used, used + _csv_number(row, f"{prefix}_free"))


def _csv_number(row: ZmstatRow, column: str) -> float:
    value = row.number(column)
    if value is None:
        raise CollectError(Reason.PARSE, f"mailboxd.csv: {column} has no number")
    return value


def _csv_kind(name: str) -> str:
    if name in _CSV_YOUNG:
        return "young"
    if name in _CSV_FULL:
        return "full"
    concurrent = name == "concurrentmarksweep" or name.startswith(("g1_", "zgc", "shenandoah"))
    return "concurrent" if concurrent else "other"
