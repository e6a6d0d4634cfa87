"""Runs the collectors that read logs over old files, as the daemon runs them over what it missed.

The lines of all files are given in the order of time, those of different logs too, so that an attack seen
by two of them is one. The clock is that of the lines: nothing here looks at the machine's.
"""

import gc
import hashlib
import logging
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from zcs_exporter.contract import (
    Clock,
    Collector,
    Durable,
    Event,
    Finding,
    Grade,
    LogBlock,
    LogFed,
    Record,
    Sample,
    Shortfall,
)
from zcs_exporter.contract import Subscription as Wish
from zcs_exporter.feeds import feeds_of
from zcs_exporter.hostio import Host
from zcs_exporter.mailreport import COLLECTOR as KEEPER
from zcs_exporter.oldlogs.files import OldLog, UnreadableError, log_name
from zcs_exporter.oldlogs.recognise import recognise
from zcs_exporter.oldlogs.stamps import Stamps
from zcs_exporter.snapshot import vet
from zcs_exporter.syslog import hosts_in

if TYPE_CHECKING:
    from zcs_exporter.mailreport.view import MailDay

log = logging.getLogger(__name__)

MOST_RECORDS = 100_000
"""Records kept of each grade; more are only counted."""

GRAIN = 55.0
"""Seconds by which the lines of two logs may come out of order; collectors that put them together take a minute."""

DRAIN = 1 << 23
"""Bytes of lines after which records are fetched, about what a daemon that catches up reads in a second."""

SILENCE = 7200.0
"""Seconds after the last line by which whatever was under way is over."""

_COLLECTED_AFTER = 100_000  # objects made and not freed
_SYSTEM_LOGS = "/var/log"
_MOST_HOSTS = 100
_MOST_NAMED = 5


class ScanClock:
    """The clocks of the lines being read.

    Attributes:
        reference: Time of the file being read, near which its lines lie.
        moment: Time of the latest line so far.
    """

    def __init__(self) -> None:
        self.reference = 0.0
        self.moment = 0.0

    @property
    def clock(self) -> Clock:
        """As components take it; its durations are those that passed when the lines were written."""
        return Clock(wall=lambda: max(self.reference, self.moment), monotonic=lambda: self.moment)


class GivenLogs(Host):
    """The host as collectors look at it before a scan: of the system's logs those exist that are given."""

    def __init__(self, root: str, zimbra_home: str, files: Sequence[str]) -> None:
        """Take the files to be scanned for logs by their names."""
        super().__init__(root, zimbra_home)
        self._given = frozenset(map(log_name, files))

    def exists(self, path: str) -> bool:
        """Whether ``path`` leads to something, or is given."""
        directory, _, name = path.rpartition("/")
        return name in self._given if directory == _SYSTEM_LOGS else super().exists(path)


@dataclass(slots=True)
class ScannedFile:
    """What became of one file.

    Attributes:
        path: As given.
        log: Base name of the log it was taken for; None where nobody reads it.
        taken_by: ``name``, ``content`` or ``option``; empty where nobody reads it.
        note: Why it was left out though it could be read.
        problem: Why it could not be read, or not to its end.
        content: Bytes of lines read.
        first: Time of its first line, in seconds since the epoch; None where no line says.
        last: Time of its last line read.
        hosts: Those that wrote to a syslog file, as far as a sample shows.
    """

    path: str
    log: str | None = None
    taken_by: str = ""
    note: str = ""
    problem: str | None = None
    content: int = 0
    first: int | None = None
    last: int | None = None
    hosts: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Outcome:
    """What a scan found.

    Attributes:
        files: In the order given.
        samples: By collector.
        records: In the order of time.
        events: One-shot events, in the order of time.
        shortfalls: What could not be told, by collector.
        left_out: Records beyond ``MOST_RECORDS``, by grade.
        partial: It was interrupted.
        problems: What makes counts incomplete: a bug, or a host without lines.
        days: What the mail system did, the last 31 days of it, the oldest first.
    """

    files: list[ScannedFile]
    samples: dict[str, tuple[Sample, ...]] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    shortfalls: dict[tuple[str, str], Shortfall] = field(default_factory=dict)
    left_out: Counter[Grade] = field(default_factory=Counter)
    partial: bool = False
    problems: list[str] = field(default_factory=list)
    days: "list[MailDay]" = field(default_factory=list)

    def file_of(self, record: Record) -> str | None:
        """Return the file in which a record's line stands; None where that cannot be told."""
        base = record.log.rpartition("/")[2]
        found = [each for each in self.files if each.log == base and each.content]
        found.sort(key=lambda each: each.first or 0)
        at = bisect_right(found, record.at, key=lambda each: each.first or 0)
        return found[max(0, at - 1)].path if found else None


class Scan:
    """One run of the collectors over old files."""

    def __init__(self, collectors: Sequence[Collector], time: ScanClock, hosts: Collection[bytes] | None) -> None:
        """Ask the collectors what they read.

        Args:
            collectors: Built with the clock of ``time``; those that read no logs are left out.
            time: Moved as lines are read.
            hosts: Whose lines of syslog files count; None for any host's.
        """
        self._time = time
        self._hosts = hosts
        self._names: frozenset[bytes] | None = None
        self._fed = {each.name: each for each in collectors if isinstance(each, LogFed)}
        self._outcome = Outcome([])
        self._broken: set[tuple[str, str]] = set()
        self._kept: Counter[Grade] = Counter()
        self._opened: list[tuple[OldLog, ScannedFile]] = []
        self._wishes: dict[str, list[Wish]] = {}
        self._readers: dict[str, set[str]] = {}
        for name, collector in self._fed.items():
            for wish in collector.subscriptions():
                self._readers.setdefault(wish.path.rpartition("/")[2], set()).add(name)
                self._wishes.setdefault(wish.path, []).append(self._guarded(name, wish))
        self._paths = {path.rpartition("/")[2]: path for path in reversed(self._wishes)}

    @property
    def logs(self) -> list[str]:
        """Base names of the logs that somebody reads."""
        return sorted(self._paths)

    @property
    def size(self) -> int:
        """Bytes on disk to be read; known after ``open``."""
        return sum(file.size for file, _ in self._opened)

    @property
    def read(self) -> int:
        """Bytes on disk read so far."""
        return sum(file.read for file, _ in self._opened)

    def open(self, paths: Sequence[str], taken_for: str | None) -> None:
        """Look at the files and tell what they are.

        Args:
            paths: In any order.
            taken_for: Base name of the log that all of them belong to; None to find out.
        """
        found: list[tuple[OldLog, ScannedFile]] = []
        for path in paths:
            told = ScannedFile(path)
            self._outcome.files.append(told)
            try:
                file = OldLog(path)
            except UnreadableError as exc:
                told.problem = str(exc)
                continue
            told.first = file.begins
            told.log, told.taken_by = (
                (taken_for, "option") if taken_for else recognise(file.stem, file.head, self._paths)
            )
            if not file.head:
                told.note = "empty"
            elif told.log is None:
                told.note = "nobody reads it; --as NAME takes it for another log"
            else:
                found.append((file, told))
        # Of logs that are not given nothing is known, not even that nothing happened.
        readers = {name for told in self._outcome.files for name in self._readers.get(told.log or "", ())}
        self._fed = {name: each for name, each in self._fed.items() if name in readers}
        self._opened = list(_without_doubles(found))

    def run(self, keep_on: Callable[[], bool]) -> Outcome:
        """Read the files and return what they come to; ``keep_on`` is asked between two blocks."""
        streams: dict[str, list[tuple[OldLog, ScannedFile]]] = {}
        for file, told in sorted(self._opened, key=lambda each: each[0].begins or each[0].reference):
            streams.setdefault(self._paths[told.log or ""], []).append((file, told))
        hosts = self._names = self._all_names()
        feeds = {path: feeds_of(self._wishes[path], hosts, 0, self._time.clock)[0] for path in streams}
        unread = 0
        with _rare_collections():
            for stream, until in _in_order([Stream(path, found) for path, found in streams.items()]):
                block, reference, latest = stream.take(until)
                unread += len(block.data)
                self._time.reference = reference
                self._time.moment = max(self._time.moment, latest)
                for feed in feeds[stream.path]:
                    feed(block)
                if unread >= DRAIN:
                    unread = 0
                    self._drain()
                if not keep_on():
                    self._outcome.partial = True
                    break
            return self._finish()

    def _all_names(self) -> frozenset[bytes] | None:
        """Return the names that syslog may give the hosts asked for; None for any host."""
        if self._hosts is None:
            return None
        seen = {name.lower() for file, _ in self._opened for name in hosts_in(b"\n" + file.head)}
        wanted = {name.lower() for name in self._hosts}
        short = {name.partition(b".")[0] for name in wanted}
        return frozenset(wanted | short | {name for name in seen if name.partition(b".")[0] in wanted})

    def _guarded(self, name: str, wish: Wish) -> Wish:
        """Return a wish whose feed cannot stop the others."""
        return replace(wish, feed=partial(self._feed, name, wish))

    def _feed(self, name: str, wish: Wish, block: object) -> None:
        try:
            wish.feed(block)  # type: ignore[arg-type]  # of the wish's own kind
        except Exception as exc:  # noqa: BLE001 - said; the counts of the others are still good
            self._say_bug(name, wish.path, exc)

    def _say_bug(self, name: str, what: str, exc: Exception) -> None:
        if (name, what) not in self._broken:
            self._broken.add((name, what))
            log.debug("%s: %s", name, what, exc_info=exc)
            told = f"{type(exc).__name__}: {exc}"
            self._outcome.problems.append(f"{name}: bug, its counts of {what} are incomplete: {told}; please report it")

    def _drain(self) -> dict[str, list[Sample]]:
        samples: dict[str, list[Sample]] = {}
        for name, collector in self._fed.items():
            try:
                found = collector.counted()
            except Exception as exc:  # noqa: BLE001 - said; the counts of the others are still good
                self._say_bug(name, "all logs", exc)
                continue
            samples[name] = list(self._sort(name, found))
        return samples

    def _sort(self, name: str, findings: Sequence[Finding]) -> Iterator[Sample]:
        outcome = self._outcome
        for finding in findings:
            if isinstance(finding, Sample):
                yield finding
            elif isinstance(finding, Record):
                self._kept[finding.grade] += 1
                if self._kept[finding.grade] <= MOST_RECORDS:
                    outcome.records.append(finding)
                else:
                    outcome.left_out[finding.grade] += 1
            elif isinstance(finding, Event):
                outcome.events.append(finding)
            else:
                outcome.shortfalls[name, finding.message] = finding

    def _finish(self) -> Outcome:
        outcome = self._outcome
        # What only silence ends, such as an attack, ends with the last line.
        self._time.moment += SILENCE
        outcome.samples = {name: vet(samples).samples for name, samples in self._drain().items()}
        outcome.days = self._mail_days()
        outcome.records.sort(key=lambda record: record.at)
        outcome.events.sort(key=lambda event: event.at)
        for file, told in self._opened:
            told.content = file.content
            told.problem = file.problem
        self._note_strangers()
        return outcome

    def _mail_days(self) -> "list[MailDay]":
        """Return what the collector that keeps the book of mail wrote into it."""
        keeper: object = self._fed.get(KEEPER)
        if not isinstance(keeper, Durable):
            return []
        from zcs_exporter.mailreport.rows import days_of
        from zcs_exporter.mailreport.view import read_day

        try:
            rows = {key: row for key, row in keeper.changes().items() if row is not None}
            days = [read_day(rows, day) for day in days_of(rows)]
        except Exception as exc:  # noqa: BLE001 - said; the counts are still good
            self._say_bug(KEEPER, "each day", exc)
            return []
        return [day for day in days if day is not None]

    def _note_strangers(self) -> None:
        for log in sorted({told.log or "" for _, told in self._opened}):
            seen: Counter[str] = Counter()
            for _, told in self._opened:
                seen.update(told.hosts if told.log == log else ())
            if self._hosts and self._names and seen and not any(name.encode() in self._names for name in seen):
                asked = ", ".join(name.decode("utf-8", "replace") for name in self._hosts)
                others = ", ".join(name for name, _ in seen.most_common(_MOST_NAMED))
                self._outcome.problems.append(f"no line of {asked} seen in {log}, only of {others}")


class Stream:
    """The files of one log, one after the other.

    Attributes:
        path: The log's name on the host.
        moment: Time of the next line; that of the one before where it does not say.
        ended: All lines were taken.
    """

    def __init__(self, path: str, files: Sequence[tuple[OldLog, ScannedFile]]) -> None:
        """Begin with the first line of the first file."""
        self.path = path
        self.moment = 0.0
        self.ended = False
        self._blocks = self._read(files)
        self._start = 0
        self._last = 0.0
        self._load()

    def take(self, until: float) -> tuple[LogBlock, float, float]:
        """Return the lines written up to ``until``, or few more, the reference of their file, and when they end."""
        data, start, stamps = self._data, self._start, self._stamps
        end = len(data) if self._last <= until else stamps.cut(data, start, until)
        block = LogBlock(self.path, data[start:end], self._offset + start, live=False)
        if end < len(data):
            self._start = end
            latest = self.moment = max(self.moment, stamps.first(data, end) or 0.0)
        else:
            latest = self._last
            self._load()
        return block, stamps.reference, latest

    def _load(self) -> None:
        loaded = next(self._blocks, None)
        if loaded is None:
            self.ended = True
            return
        self._stamps, self._offset, self._data, first, last = loaded
        self._start = 0
        self.moment = max(self.moment, first)
        self._last = last

    def _read(self, files: Sequence[tuple[OldLog, ScannedFile]]) -> Iterator[tuple[Stamps, int, bytes, float, float]]:
        for file, told in files:
            stamps = Stamps(file.reference)
            for offset, data in file.blocks():
                last = stamps.last(data)
                told.last = told.last if last is None else last
                _note_hosts(told.hosts, data)
                yield stamps, offset, data, stamps.first(data) or 0.0, last or 0.0


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Have the garbage collector look rarely, and not at what was there before.

    The lines of a block are many objects at once and make no cycles: one tenth of a scan went into looking at them.
    """
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def _in_order(streams: Sequence[Stream]) -> Iterator[tuple[Stream, float]]:
    """Yield the stream whose turn it is, with the time up to which lines are to be taken from it."""
    waiting = [(stream.moment, index) for index, stream in enumerate(streams) if not stream.ended]
    heapify(waiting)
    while waiting:
        _, index = heappop(waiting)
        stream = streams[index]
        yield stream, waiting[0][0] + GRAIN if waiting else math.inf
        if not stream.ended:
            heappush(waiting, (stream.moment, index))


def _without_doubles(found: Sequence[tuple[OldLog, ScannedFile]]) -> Iterator[tuple[OldLog, ScannedFile]]:
    """Yield files of which none repeats another: given twice, or a plain file and the archive just made of it."""
    seen: dict[object, str] = {}
    for file, told in sorted(found, key=lambda each: (-each[0].reference, each[0].packed)):
        content = told.log, hashlib.blake2b(file.head).digest()
        double = seen.get(file.identity) or seen.get(content)
        if double is not None:
            told.log, told.note = None, f"the same as {double}"
            continue
        seen[file.identity] = seen[content] = file.path
        yield file, told


def _note_hosts(hosts: Counter[str], data: bytes) -> None:
    """Note who wrote the first lines of a block of a syslog file."""
    for name in hosts_in(b"\n" + data[:4096]):
        text = name.decode("ascii", "replace").lower()
        if text in hosts or len(hosts) < _MOST_HOSTS:
            hosts[text] += 1
