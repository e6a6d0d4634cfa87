"""The counters that a HotSpot JVM keeps in ``/tmp/hsperfdata_USER/PID``.

The JVM updates the file in place through a shared mapping, so reading costs it nothing and never
waits for it. Format version 2.0 is the same from Java 8 to 21: a header, then entries that name a
counter and say where its value lies. Entries are only ever added, which changes the header's
modification stamp; until then every value stays at its place.

Source of the format: HotSpot's ``perfMemory.hpp`` and ``sun.jvmstat.perfdata``.
"""

import errno
import os
import stat
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from zcs_exporter.contract import CollectError, Reason, doing, os_error
from zcs_exporter.hostio import Host

MAGIC = b"\xca\xfe\xc0\xc0"
SMALLEST, LARGEST = 4096, 1 << 20
"""Bytes of a file that can be one; the JVM's own default is 32 KiB."""

_HEADER = 32
_ENTRY = 20
_MAX_DIRECTORIES = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each counter's value lies.

    Attributes:
        header: The whole header; it changes when, and only when, an entry is added.
        end: Bytes that hold entries.
        numbers: Offset of each 64-bit number.
        slots: Place of each number among those that ``row`` unpacks.
        row: Takes all numbers out of a file at once.
        texts: Offset and length of each text.
        overflow: Bytes of counters for which the JVM found no room.
    """

    header: bytes
    end: int
    numbers: Mapping[str, int]
    slots: Mapping[str, int]
    row: struct.Struct
    texts: Mapping[str, tuple[int, int]]
    overflow: int

    def describes(self, data: bytes) -> bool:
        """Whether ``data`` is the same file with nothing but values changed."""
        return data[:_HEADER] == self.header and len(data) >= self.end


@dataclass(frozen=True, slots=True)
class PerfData:
    """One reading of all counters.

    Each number is read whole, but the JVM goes on meanwhile: numbers need not agree with each other.
    """

    layout: Layout
    data: bytes
    values: tuple[int, ...]

    @property
    def names(self) -> Collection[str]:
        """Every numeric counter."""
        return self.layout.numbers.keys()

    def number(self, name: str) -> int | None:
        """Return a counter in its own unit; None where this JVM does not have it."""
        slot = self.layout.slots.get(name)
        return None if slot is None else self.values[slot]

    def text(self, name: str) -> str | None:
        """Return a text up to its first NUL; None where this JVM does not have it.

        The JVM's command line and paths are among the texts: ask for nothing that may hold a password.
        """
        place = self.layout.texts.get(name)
        if place is None:
            return None
        raw = self.data[place[0] : place[0] + place[1]]
        return raw.split(b"\0", 1)[0].decode("utf-8", "replace")

    def seconds(self, name: str) -> float | None:
        """Return a counter of clock ticks in seconds.

        Raises:
            CollectError: The file does not say how long a tick is.
        """
        ticks = self.number(name)
        if ticks is None:
            return None
        frequency = self.number("sun.os.hrt.frequency")
        if frequency is None or frequency <= 0:
            raise CollectError(Reason.PARSE, f"hsperfdata: sun.os.hrt.frequency is {frequency}")
        return ticks / frequency


def parse_hsperfdata(data: bytes, known: Layout | None = None) -> PerfData:
    """Parse the content of a file.

    Args:
        data: The whole file.
        known: The layout of an earlier reading, used again while it still describes the file.

    Raises:
        CollectError: It is not a complete file of version 2 (``PARSE``), or the JVM has not yet
            finished setting it up (``UNAVAILABLE``).
    """
    layout = known if known is not None and known.describes(data) else _parse_layout(data)
    return PerfData(layout, data, layout.row.unpack_from(data))


def _parse_layout(data: bytes) -> Layout:
    if len(data) < _HEADER or data[:4] != MAGIC:
        raise CollectError(Reason.PARSE, f"hsperfdata: {len(data)} bytes that do not begin with the magic number")
    if data[4] > 1 or data[5] != 2:
        shape = f"byte order {data[4]}, version {data[5]}.{data[6]}"
        raise CollectError(Reason.PARSE, f"hsperfdata: {shape}; only version 2 is known")
    if data[7] != 1:
        raise CollectError(Reason.UNAVAILABLE, "hsperfdata: the JVM is still setting it up")
    order = "<" if data[4] else ">"
    used, overflow, _stamp, at, count = struct.unpack_from(order + "iiqii", data, 8)
    if not _HEADER <= at <= used <= len(data):
        raise CollectError(Reason.PARSE, f"hsperfdata: {used} bytes used from {at} in a file of {len(data)}")
    numbers: dict[str, int] = {}
    texts: dict[str, tuple[int, int]] = {}
    for number in range(count):
        try:
            length, name_at, vector, kind, value_at = struct.unpack_from(order + "iiicxxxi", data, at)
        except struct.error as exc:
            raise CollectError(Reason.PARSE, f"hsperfdata: entry {number} of {count} lies outside the file") from exc
        size = vector or 8
        if not (
            _ENTRY <= name_at < length <= used - at and vector >= 0 and value_at >= _ENTRY and value_at + size <= length
        ):
            raise CollectError(Reason.PARSE, f"hsperfdata: entry {number} of {count} at {at} reaches outside itself")
        name = data[at + name_at : at + length].split(b"\0", 1)[0].decode("ascii", "replace")
        if kind == b"J" and vector == 0:
            numbers[name] = at + value_at
        elif kind == b"B" and vector:
            texts[name] = (at + value_at, vector)
        at += length
    # Entries lie one behind the other, and each value within its own, so the offsets rise.
    offsets = sorted(numbers.values())
    gaps = (offset - before for before, offset in zip([0, *(each + 8 for each in offsets)], offsets, strict=False))
    row = struct.Struct(order + "".join(f"{gap}xq" for gap in gaps))
    slot_of = {offset: slot for slot, offset in enumerate(offsets)}
    slots = {name: slot_of[offset] for name, offset in numbers.items()}
    return Layout(data[:_HEADER], used, numbers, slots, row, texts, overflow)


class PerfFile:
    """The file of one JVM, held open: it is read on even when a cleaner of ``/tmp`` has deleted it.

    Attributes:
        path: Where it was found on the host.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._layout: Layout | None = None

    def read(self) -> PerfData:
        """Return the counters of this moment.

        Raises:
            CollectError: The file cannot be read or understood.
        """
        # Not mmap: a file cut short under a mapping would end this process with SIGBUS.
        known = self._layout
        try:
            # What lies behind the entries is empty, and a new entry changes the header.
            data = os.pread(self._descriptor, self._size if known is None else known.end, 0)
            if known is not None:
                if known.describes(data):
                    return PerfData(known, data, known.row.unpack_from(data))
                data = os.pread(self._descriptor, self._size, 0)
        except OSError as exc:
            raise os_error(exc, f"reading {self.path}") from exc
        try:
            perf = parse_hsperfdata(data)
        except CollectError as exc:
            raise CollectError(exc.reason, f"{self.path}: {exc}", exc.remedy) from exc
        self._layout = perf.layout
        return perf

    def __del__(self) -> None:
        """Close it when nobody has it any more, as after a reload, which makes new collectors."""
        self.close()

    def close(self) -> None:
        """Close it for good."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def open_perf_files(host: Host, pid: int, uid: int) -> Iterator[PerfFile]:
    """Open, one after the other, each file that may be that of process ``pid`` owned by ``uid``.

    A JVM that began as root and became another user keeps the file of root. ``/tmp`` belongs to
    everyone, so a file counts only if it is regular, reached through no link, of a plausible size,
    and owned by root or by the process's user, as is its directory.

    Raises:
        CollectError: A file that counts may not be opened, or ``/tmp`` not be listed.
    """
    for directory in _directories(host):
        path = f"{directory}/{pid}"
        with doing(f"opening {path}"):
            descriptor = _open(host, directory, str(pid), (0, uid))
        if descriptor is not None:
            yield PerfFile(path, descriptor)


def _directories(host: Host) -> Iterator[str]:
    """Yield where JVMs keep their files, those of ZCS's users first."""
    usual = ["hsperfdata_root", "hsperfdata_zimbra"]
    yield from (f"/tmp/{name}" for name in usual)  # noqa: S108 - where HotSpot puts them, whatever TMPDIR says
    with doing("listing /tmp"):
        names = sorted(name for name in host.listdir("/tmp") if name.startswith("hsperfdata_") and name not in usual)  # noqa: S108
    yield from (f"/tmp/{name}" for name in names[:_MAX_DIRECTORIES])  # noqa: S108


def _open(host: Host, directory: str, name: str, owners: tuple[int, ...]) -> int | None:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        # Another user's directory is not ours to complain about, even where it may not be opened.
        if os.lstat(host.path(directory)).st_uid not in owners:
            return None
        parent = os.open(host.path(directory), flags | os.O_DIRECTORY)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    try:
        if os.fstat(parent).st_uid not in owners or not _plausible(_lstat(parent, name), owners):
            return None
        descriptor = os.open(name, flags, dir_fd=parent)
    finally:
        os.close(parent)
    # Looked at again, since the name may have changed hands in between.
    if not _plausible(os.fstat(descriptor), owners):
        os.close(descriptor)
        return None
    return descriptor


def _lstat(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _plausible(status: os.stat_result | None, owners: tuple[int, ...]) -> bool:
    return (
        status is not None
        and stat.S_ISREG(status.st_mode)
        and status.st_uid in owners
        and status.st_nlink == 1
        and SMALLEST <= status.st_size <= LARGEST
    )
