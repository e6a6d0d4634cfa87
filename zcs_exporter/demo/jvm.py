"""A JVM under G1, as its ``hsperfdata`` file shows it.

The file is that of OpenJDK 11 to 17: a header, then an entry for each counter; values change in place.
Source of the format: HotSpot's ``perfMemory.hpp``, which the ``jvm`` collector reads.
"""

import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from zcs_exporter.demo.files import Tree

_MAGIC = b"\xca\xfe\xc0\xc0"
_HEADER = 32
_ENTRY = 20
_FILE_SIZE = 32768
_SECOND = 1_000_000_000
_MIB = 1 << 20

_PAUSES = ("Young (Normal) (G1 Evacuation Pause)", "Full (G1 Compaction Pause)", "Remark")
"""What each collector's pause is called in the log."""

_TEXTS = {
    "java.property.java.vm.name": "OpenJDK 64-Bit Server VM",
    "java.property.java.vm.vendor": "Zimbra",
    "java.property.java.vm.version": "17.0.8+7",
    "sun.gc.collector.0.name": "G1 young collection pauses",
    "sun.gc.collector.1.name": "G1 full collection pauses",
    "sun.gc.collector.2.name": "G1 concurrent cycle pauses",
    "sun.gc.generation.0.name": "young",
    "sun.gc.generation.0.space.0.name": "eden",
    "sun.gc.generation.0.space.1.name": "s0",
    "sun.gc.generation.0.space.2.name": "s1",
    "sun.gc.generation.1.name": "old",
    "sun.gc.generation.1.space.0.name": "space",
    "sun.gc.lastCause": "G1 Evacuation Pause",
    "sun.gc.policy.name": "GarbageFirst",
}


def build_perf_file(numbers: Mapping[str, int], texts: Mapping[str, str] = _TEXTS) -> tuple[bytes, dict[str, int]]:
    """Return a file with these counters, and the offset of each number's value."""
    entries, offsets = b"", {}
    for name, value in numbers.items():
        entry, value_at = _entry(name, struct.pack("<q", value), 0, b"J")
        offsets[name] = _HEADER + len(entries) + value_at
        entries += entry
    for name, text in texts.items():
        data = text.encode() + b"\0"
        entries += _entry(name, data, len(data), b"B")[0]
    count = len(numbers) + len(texts)
    # Little-endian, version 2.0, set up completely.
    header = _MAGIC + bytes((1, 2, 0, 1)) + struct.pack("<iiqii", _HEADER + len(entries), 0, 1, _HEADER, count)
    return (header + entries).ljust(_FILE_SIZE, b"\0"), offsets


def _entry(name: str, data: bytes, vector: int, kind: bytes) -> tuple[bytes, int]:
    """Return an entry, and where in it the value lies; ``vector`` is 0 for a single number."""
    raw = name.encode() + b"\0"
    value_at = _aligned(_ENTRY + len(raw))
    length = _aligned(value_at + len(data))
    head = struct.pack("<iiicBBBi", length, _ENTRY, vector, kind, 1, 1, 3, value_at)
    return (head + raw).ljust(value_at, b"\0") + data.ljust(length - value_at, b"\0"), value_at


def _aligned(length: int) -> int:
    return -(-length // 8) * 8


@dataclass(slots=True)
class Jvm:
    """A program that makes garbage.

    Attributes:
        heap: Bytes of ``-Xmx``.
        live: Share of the heap that nothing can free.
        rate: Share of eden that is filled in a second.
        thrashing: It does nearly nothing but collect.
    """

    tree: Tree
    pid: int
    started: float
    heap: int
    live: float
    rate: float
    threads: int
    classes: int
    thrashing: bool = False
    _gc_log: str = ""
    _now: float = 0.0
    _eden_used: float = 0.3
    _old: float = 0.0
    _numbers: dict[str, int] = field(default_factory=dict)
    _offsets: dict[str, int] = field(default_factory=dict)
    _content: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._old = self.live
        self._numbers = self._first()
        content, self._offsets = build_perf_file(self._numbers)
        self._content = bytearray(content)
        self.tree.make("/tmp/hsperfdata_zimbra")  # noqa: S108 - where HotSpot puts it, below the made-up root
        self.tree.write(self._path, content, 0o600)

    @property
    def _path(self) -> str:
        return f"/tmp/hsperfdata_zimbra/{self.pid}"  # noqa: S108 - as above

    def log_to(self, path: str) -> None:
        """Log collections from now on, to a file that begins empty."""
        self.tree.write(path, "", 0o640)
        self._gc_log = path

    def live_on(self, now: float, seconds: float) -> None:
        """Go on for ``seconds`` until ``now``."""
        self._now = now
        if self.thrashing:
            self._old = min(0.985, self._old + 0.4 * seconds)
            self._collect(1, 1, 0.75 * seconds)
            self._eden_used = 0.9
        else:
            self._eden_used += self.rate * seconds
            if self._eden_used >= 1:
                self._eden_used = 0.02
                self._old += 0.004
                self._collect(0, 1, 0.011)
            if self._old > self.live + 0.06:
                # A concurrent cycle found out what the mixed collections after it then freed.
                self._old = self.live
                self._collect(2, 2, 0.006)
        self._numbers |= {**self._sizes(), "sun.os.hrt.ticks": self._ticks(now - self.started)}
        for name, value in self._numbers.items():
            struct.pack_into("<q", self._content, self._offsets[name], value)
        self.tree.change(self._path, bytes(self._content))

    def _collect(self, collector: int, times: int, seconds: float) -> None:
        ticks = self._ticks(seconds)
        self._numbers[f"sun.gc.collector.{collector}.invocations"] += times
        self._numbers[f"sun.gc.collector.{collector}.time"] += ticks
        self._numbers["sun.rt.safepoints"] += times
        self._numbers["sun.rt.safepointTime"] += ticks + self._ticks(0.0004)
        self._numbers["sun.rt.safepointSyncTime"] += self._ticks(0.0001)
        if self._gc_log:
            self._log(_PAUSES[collector], seconds / times)

    def _log(self, pause: str, seconds: float) -> None:
        local = time.localtime(self._now)
        stamp = (
            f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{int(self._now % 1 * 1000):03d}{time.strftime('%z', local)}"
        )
        number = sum(self._numbers[f"sun.gc.collector.{each}.invocations"] for each in range(3))
        after = int(self._old * self.heap) // _MIB
        before = min(self.heap, int((self._old + 0.25) * self.heap)) // _MIB
        sizes = f"{before}M->{after}M({self.heap // _MIB}M)"
        self.tree.append(self._gc_log, f"[{stamp}] GC({number}) Pause {pause} {sizes} {1000 * seconds:.3f}ms")

    def _first(self) -> dict[str, int]:
        numbers = {f"sun.gc.collector.{number}.{what}": 0 for number in range(3) for what in ("invocations", "time")}
        return {
            **numbers,
            **self._sizes(),
            "sun.gc.collector.0.invocations": 18_204,
            "sun.gc.collector.0.time": self._ticks(212.4),
            "sun.gc.collector.2.invocations": 96,
            "sun.gc.collector.2.time": self._ticks(0.9),
            "sun.gc.compressedclassspace.capacity": 14 * _MIB,
            "sun.gc.compressedclassspace.maxCapacity": 1024 * _MIB,
            "sun.gc.compressedclassspace.used": 12 * _MIB,
            "sun.gc.metaspace.capacity": 118 * _MIB,
            "sun.gc.metaspace.maxCapacity": 1184 * _MIB,
            "sun.gc.metaspace.used": 112 * _MIB,
            "sun.os.hrt.frequency": _SECOND,
            "sun.os.hrt.ticks": 0,
            "sun.rt.createVmBeginTime": round(self.started * 1000),
            "sun.rt.safepoints": 21_377,
            "sun.rt.safepointTime": self._ticks(220.8),
            "sun.rt.safepointSyncTime": self._ticks(3.1),
            "sun.rt.applicationTime": self._ticks(990_000),
            "java.ci.totalTime": self._ticks(310),
            "java.cls.loadedClasses": self.classes,
            "java.cls.sharedLoadedClasses": 1_180,
            "java.cls.sharedUnloadedClasses": 0,
            "java.cls.unloadedClasses": 41,
            "java.threads.daemon": self.threads - 18,
            "java.threads.live": self.threads,
            "java.threads.livePeak": self.threads + 31,
            "java.threads.started": self.threads * 11,
        }

    def _sizes(self) -> dict[str, int]:
        eden, survivor = self.heap // 4, self.heap // 32
        old = self.heap - eden - survivor
        # The whole heap may become old when eden has to give way to it.
        used = min(self._old * self.heap, self.heap - survivor)
        spaces = {
            "0.space.0": (eden, min(self._eden_used, 1.0) * eden),
            "0.space.1": (0, 0.0),
            "0.space.2": (survivor, 0.4 * survivor),
            "1.space.0": (max(old, int(used)), used),
        }
        sizes = {"0.capacity": eden + survivor, "1.capacity": old}
        sizes |= {f"{generation}.maxCapacity": self.heap for generation in (0, 1)}
        for space, (capacity, taken) in spaces.items():
            sizes |= {f"{space}.capacity": capacity, f"{space}.maxCapacity": self.heap, f"{space}.used": int(taken)}
        return {f"sun.gc.generation.{name}": value for name, value in sizes.items()}

    @staticmethod
    def _ticks(seconds: float) -> int:
        return round(seconds * _SECOND)
