"""Postfix's queue file format, and a reader of its spool that looks only at what changed.

A queue file is a run of records: one type byte, the length as a varint (seven bits a byte, low
bits first), the data. The envelope comes first: ``C`` sizes, ``T`` arrival time, ``A`` named
attributes, ``S`` sender, ``R`` recipients; ``M`` begins the message. Size and arrival are taken
from it by the rules of Postfix's own showq, so that they equal those of ``postqueue -j``.

A message in the queue takes about 50 bytes here: a million of them fit where one Python object each would not.
"""

import heapq
import itertools
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from zcs_exporter.contract import Clock, CollectError, Reason, doing
from zcs_exporter.hostio import Host
from zcs_exporter.text import one_line

QUEUES = ("maildrop", "incoming", "active", "hold", "corrupt", "deferred")
"""In the order in which they are read first: the small ones before the one that may be huge."""

AGE_BANDS = (("5m", 5), ("15m", 15), ("1h", 60), ("4h", 240), ("12h", 720), ("1d", 1440), ("3d", 4320))
"""Labels and upper ends, in minutes, of the bands of the age distribution; what is older is ``older``."""

# 8764910C06B (five digits of microseconds, then the inode) and 4gYJ2R3zjJz1Wb (enable_long_queue_ids).
_QUEUE_ID = re.compile(
    r"[0-9A-F]{6,64}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]{10,32}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]{1,32}"
)
# "            378             654               1               0             378               0"
_SIZES = re.compile(rb" *(\d{1,18})[\d ]*")
# "1795306322 548829"
_SECONDS = re.compile(rb"\s*\+?(\d{1,18})")

_HEAD = 4096
_LONG_HEAD = 65536
_READY = 0o700
_MAX_DEPTH = 16
_GUARD_NS = 20_000_000  # kernels before 6.13 stamp directories once a tick, up to 10 ms late
_NEVER = 1 << 62  # arrival of a message that is not read yet: later than any

_BASELINE, _FRESH, _WRITING, _READ, _UNREADABLE = range(5)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a queue file says of its message.

    Attributes:
        size: Bytes of the message; None where the file has no usable ``C`` record, as in maildrop.
        arrival: Seconds since the epoch; None where it has no usable ``T`` record.
        sender: The login the message was sent with, else the envelope sender, which is empty for a bounce.
        domain: Domain of the first recipient that is still to be served; empty if unknown.
    """

    size: int | None
    arrival: int | None
    sender: str
    domain: str


def parse_queue_file(head: bytes) -> Envelope:
    """Parse the beginning of a queue file.

    What follows the first sender and recipient is not looked at, so ``head`` may end anywhere behind them.

    Raises:
        CollectError: There is no sender before the message, the end, or a broken record.
    """
    size = arrival = sender = login = None
    for kind, data in _records(head):
        if kind == 0x43 and size is None and sender is None:  # C
            match = _SIZES.fullmatch(data) if data else None
            size = int(match[1]) if match else None
        elif kind == 0x54 and not arrival and sender is None:  # T
            seconds = _SECONDS.match(data)
            arrival = int(seconds[1]) if seconds else None
        elif kind == 0x53 and sender is None:  # S
            sender = data
        elif kind == 0x41 and data.startswith(b"sasl_username="):  # A
            login = data[14:]
        elif kind == 0x52:  # R
            if sender is not None:
                return _envelope(size, arrival, login or sender, data)
        elif kind == 0x4D:  # M
            break
    if sender is None:
        raise CollectError(Reason.PARSE, f"queue file: no sender record in its first {len(head)} bytes")
    return _envelope(size, arrival, login or sender, b"")


def _envelope(size: int | None, arrival: int | None, sender: bytes, recipient: bytes) -> Envelope:
    domain = recipient.rpartition(b"@")[2] if b"@" in recipient else b""
    return Envelope(size, arrival or None, _text(sender), _text(domain))


def _text(data: bytes) -> str:
    return one_line(data[:1024].decode("utf-8", "replace")).lower()


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield whole records up to the first that is cut or has an impossible length."""
    position, end = 0, len(data)
    while position + 1 < end:
        kind = data[position]
        length = data[position + 1]
        position += 2
        if length & 0x80:
            length &= 0x7F
            for shift in (7, 14, 21, 28):
                if position >= end:
                    return
                byte = data[position]
                position += 1
                length |= (byte & 0x7F) << shift
                if not byte & 0x80:
                    break
            else:
                return
        if length > end - position:
            return
        # Postfix takes the data for a C string.
        yield kind, data[position : position + length].partition(b"\0")[0]
        position += length


class Names:
    """Texts under small numbers, each as long as something refers to it; 0 stands for none and for too many."""

    def __init__(self, limit: int) -> None:
        """Hold at most ``limit`` different texts."""
        self._limit = limit
        self._numbers: dict[str, int] = {}
        self._texts = [""]
        self._uses = array("Q", [0])
        self._free: list[int] = []
        self.refused = False
        """Whether a text had no place since this was last set to False."""

    def take(self, text: str) -> int:
        """Return the number of ``text`` and count one more use of it."""
        number = self._numbers.get(text)
        if number is None:
            if len(self._numbers) >= self._limit:
                self.refused = True
                return 0
            if self._free:
                number = self._free.pop()
                self._texts[number] = text
            else:
                number = len(self._texts)
                self._texts.append(text)
                self._uses.append(0)
            self._numbers[text] = number
        self._uses[number] += 1
        return number

    def release(self, number: int) -> None:
        """Count one use less."""
        if number:
            self._uses[number] -= 1
            if not self._uses[number]:
                del self._numbers[self._texts[number]]
                self._texts[number] = ""
                self._free.append(number)

    def __getitem__(self, number: int) -> str:
        return self._texts[number]


class _Folder:
    """One directory of a queue and its messages, each a slot in packed arrays."""

    def __init__(self, path: str, queue: "_Queue", depth: int) -> None:
        self.path = path
        self.queue = queue
        self.depth = depth
        self.identity: tuple[int, int, int] | None = None
        self.folders: dict[str, _Folder] = {}
        self.states = bytearray()
        self.keys = array("q")
        self.sizes = array("q")
        self.arrivals = array("q")
        self.senders = array("I")
        self.domains = array("I")
        self._names = bytearray()
        self._width = 12
        self._oldest: int | None = _NEVER

    def __len__(self) -> int:
        return len(self.states)

    def name(self, slot: int) -> str:
        return self._names[slot * self._width : (slot + 1) * self._width].rstrip(b"\0").decode("ascii")

    def append(self, key: int, name: str, state: int) -> None:
        if len(name) > self._width:
            names = [self.name(slot) for slot in range(len(self))]
            self._width = len(name)
            self._names = bytearray().join(self._padded(known) for known in names)
        self._names += self._padded(name)
        self.states.append(state)
        self.keys.append(key)
        self.sizes.append(0)
        self.arrivals.append(_NEVER)
        self.senders.append(0)
        self.domains.append(0)

    def _padded(self, name: str) -> bytes:
        return name.encode("ascii").ljust(self._width, b"\0")

    def drop(self, slot: int) -> None:
        """Remove a slot; the last one takes its place."""
        for column in (self.states, self.keys, self.sizes, self.arrivals, self.senders, self.domains):
            last = column.pop()
            if slot < len(column):
                column[slot] = last
        if slot < len(self.states):
            self._names[slot * self._width : (slot + 1) * self._width] = self._names[-self._width :]
        del self._names[-self._width :]

    def unread(self) -> int:
        return self.states.count(_BASELINE) + self.states.count(_FRESH)

    def oldest(self) -> int:
        if self._oldest is None:
            self._oldest = min(self.arrivals, default=_NEVER)
        return self._oldest

    def set_arrival(self, slot: int, arrival: int) -> None:
        before = self.arrivals[slot]
        self.arrivals[slot] = arrival
        if before == self._oldest and arrival > before:
            self._oldest = None
        elif self._oldest is not None and arrival < self._oldest:
            self._oldest = arrival

    def tree(self) -> Iterator["_Folder"]:
        yield self
        for folder in self.folders.values():
            yield from folder.tree()


class _Queue:
    """Running totals of one queue."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.root = _Folder(path, self, 0)
        self.messages = 0
        self.bytes = 0
        self.unreadable = 0
        self.minutes: Counter[int] = Counter()
        self.senders: Counter[int] = Counter()
        self.domains: Counter[int] = Counter()
        self.top: Top | None = None


@dataclass(frozen=True, slots=True)
class Top:
    """The most frequent names in a queue with their messages, most first."""

    senders: tuple[tuple[str, int], ...]
    sender_domains: tuple[tuple[str, int], ...]
    destination_domains: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue at one moment.

    Attributes:
        messages: Files that are ready; a file that was never looked at counts as ready.
        unread: How many of them were never looked at: their sizes and ages are missing below.
        bytes: Sum of the message sizes.
        oldest: Earliest arrival, in seconds since the epoch; None if there is none.
        ages: Messages per band of ``AGE_BANDS`` and, last, older ones; to the minute.
        unreadable: Files, since the reader began, whose records made no sense.
    """

    messages: int
    unread: int
    bytes: int
    oldest: int | None
    ages: tuple[int, ...]
    unreadable: int
    top: Top


class Spool:
    """Follows the queues below one directory of a host.

    Not for two threads at once. Each ``look`` lists the directories that changed, reads the files it
    has never seen for as long as its budget lasts, looks again at files that were still being
    written, and then reads a few known files anew: a queue id that was used again with the same
    inode between two listings of one directory, or a file overwritten in place, shows only there.

    A file that moved to another queue is read again. Its name and inode do not prove that it is the
    same message, since a short queue id contains the inode and is free again together with it.
    """

    def __init__(
        self,
        host: Host,
        path: str,
        clock: Clock,
        *,
        budget: float = 1.0,
        recheck_files: int = 200,
        recheck_budget: float = 0.05,
        max_names: int = 20_000,
        max_departed: int = 50_000,
    ) -> None:
        """Prepare to read the spool; nothing is looked at yet.

        Args:
            host: Where it is.
            path: The host's ``queue_directory``.
            clock: Wall time for the guard on directory stamps, monotonic time for the budgets.
            budget: Seconds for reading new files in one ``look``.
            recheck_files: Known files to read anew in one ``look``.
            recheck_budget: Seconds for that.
            max_names: Different senders, and different domains, to tell apart.
            max_departed: Messages remembered that left ``deferred`` and may come back.
        """
        self.path = path
        self._host = host
        self._clock = clock
        self._budget = budget
        self._recheck_files = recheck_files
        self._recheck_budget = recheck_budget
        self._queues = {name: _Queue(name, f"{path}/{name}") for name in QUEUES}
        self._senders = Names(max_names)
        self._domains = Names(max_names)
        self._departed: dict[int, int] = {}
        self._max_departed = max_departed
        self._newly_deferred: Counter[str] = Counter()
        self._began: float | None = None
        self._recheck_at = (0, 0)

    def look(self) -> dict[str, QueueState]:
        """Bring the knowledge up to date and return it, by queue.

        Raises:
            CollectError: A directory or file may not be read, or could not be.
        """
        state = _FRESH if self._began is not None else _BASELINE
        for queue in self._queues.values():
            self._visit(queue.root, state)
        if self._began is None:
            self._began = self._clock.wall()
        deadline = self._clock.monotonic() + self._budget
        complete = all(
            self._read_pending(folder, deadline) for queue in self._queues.values() for folder in queue.root.tree()
        )
        if complete:
            self._recheck()
        minute = int(self._clock.wall()) // 60
        return {name: self._state(self._queues[name], minute) for name in QUEUES}

    def names_refused(self) -> bool:
        """Whether, since the last call, a sender or domain had no place among those told apart."""
        refused = self._senders.refused or self._domains.refused
        self._senders.refused = self._domains.refused = False
        return refused

    def take_newly_deferred(self) -> Counter[str]:
        """Return the messages per sender that entered ``deferred`` since the last call.

        A message that comes back from a delivery attempt or from ``hold`` is not new, nor is one that was
        there at the first ``look``. Null senders, and senders beyond those told apart, are under ``""``.
        """
        taken, self._newly_deferred = self._newly_deferred, Counter()
        return taken

    def _visit(self, folder: _Folder, state: int) -> None:
        now_ns = int(self._clock.wall() * 1e9)
        try:
            with doing(f"reading {folder.path}"):
                try:
                    status = self._host.stat(folder.path)
                    identity = (status.st_dev, status.st_ino, status.st_mtime_ns)
                    if identity != folder.identity:
                        self._list(folder, state)
                        folder.identity = identity if now_ns - status.st_mtime_ns > _GUARD_NS else None
                except FileNotFoundError:
                    self._clear(folder)  # Postfix makes directories when it needs them
        except CollectError:
            folder.identity = None
            raise
        for below in list(folder.folders.values()):
            self._visit(below, state)

    def _list(self, folder: _Folder, state: int) -> None:
        known = dict(zip(folder.keys, range(len(folder)), strict=True))
        seen = bytearray(len(folder))
        fresh: dict[int, str] = {}
        below = set()
        # A directory hashed for a million messages is listed here: what is known costs one look-up.
        for entry in self._host.scandir(folder.path):
            name = entry.name
            key = hash((name, entry.inode()))
            slot = known.get(key)
            if slot is not None:
                seen[slot] = 1
            elif len(name) == 1:  # the only names that Postfix hashes into
                if folder.depth < _MAX_DEPTH and entry.is_dir(follow_symlinks=False):
                    below.add(name)
            elif _QUEUE_ID.fullmatch(name) and entry.is_file(follow_symlinks=False):
                fresh[key] = name
        for slot in range(len(seen) - 1, -1, -1) if 0 in seen else ():
            if not seen[slot]:
                self._remove(folder, slot)
        for key, name in fresh.items():
            folder.append(key, name, state)
        folder.queue.messages += len(fresh)
        for name in folder.folders.keys() - below:
            self._clear(folder.folders.pop(name))
        for name in sorted(below - folder.folders.keys()):
            folder.folders[name] = _Folder(f"{folder.path}/{name}", folder.queue, folder.depth + 1)

    def _clear(self, folder: _Folder) -> None:
        for below in folder.folders.values():
            self._clear(below)
        folder.folders.clear()
        folder.identity = None
        for slot in range(len(folder) - 1, -1, -1):
            self._remove(folder, slot)

    def _read_pending(self, folder: _Folder, deadline: float) -> bool:
        """Read what is unread or was being written; False when the time is up."""
        for state in (_FRESH, _BASELINE, _WRITING):
            # From the end, so that a slot which takes the place of a removed one was looked at already.
            slot = folder.states.rfind(state)
            while slot >= 0:
                if self._clock.monotonic() > deadline:
                    return False
                self._read(folder, slot)
                slot = folder.states.rfind(state, 0, slot)
        return True

    def _recheck(self) -> None:
        folders = [folder for queue in self._queues.values() for folder in queue.root.tree()]
        deadline = self._clock.monotonic() + self._recheck_budget
        left = min(self._recheck_files, sum(map(len, folders)))
        place, slot = self._recheck_at
        while left > 0 and self._clock.monotonic() <= deadline:
            if place >= len(folders):
                place, slot = 0, 0
            elif slot >= len(folders[place]):
                place, slot = place + 1, 0
            else:
                # A removed slot is filled by the last one, which then is looked at in the next turn.
                self._read(folders[place], slot)
                left -= 1
                slot += 1
        self._recheck_at = (place, slot)

    def _read(self, folder: _Folder, slot: int) -> None:
        path = f"{folder.path}/{folder.name(slot)}"
        with doing(f"reading {path}"):
            try:
                descriptor = self._host.open(path)
            except FileNotFoundError:
                return self._remove(folder, slot)
            try:
                status = os.fstat(descriptor)
                before = folder.states[slot]
                ready = status.st_mode & 0o700 == _READY
                envelope = _read_envelope(descriptor) if ready else None
            finally:
                os.close(descriptor)
        self._forget(folder, slot)
        queue = folder.queue
        if not ready:
            folder.states[slot] = _WRITING
            queue.messages -= 1
            return None
        if envelope is None:
            if before != _UNREADABLE:
                queue.unreadable += 1
            envelope = Envelope(None, None, "", "")
            folder.states[slot] = _UNREADABLE
        else:
            folder.states[slot] = _READ
            folder.senders[slot] = self._senders.take(envelope.sender or "<>")
            folder.domains[slot] = self._domains.take(envelope.domain) if envelope.domain else 0
        folder.sizes[slot] = status.st_size if envelope.size is None else envelope.size
        folder.set_arrival(slot, status.st_mtime_ns // 10**9 if envelope.arrival is None else envelope.arrival)
        queue.bytes += folder.sizes[slot]
        queue.minutes[folder.arrivals[slot] // 60] += 1
        queue.senders[folder.senders[slot]] += 1
        queue.domains[folder.domains[slot]] += 1
        queue.top = None
        if queue.name == "deferred" and before in (_FRESH, _WRITING):
            self._note_deferral(folder, slot)
        return None

    def _note_deferral(self, folder: _Folder, slot: int) -> None:
        returned = self._departed.pop(folder.keys[slot], None) == folder.arrivals[slot]
        # A retry under way when this reader began looks new when it returns, but for its age.
        if not returned and self._began is not None and folder.arrivals[slot] >= self._began - 900:
            sender = self._senders[folder.senders[slot]]
            self._newly_deferred["" if sender == "<>" else sender] += 1

    def _remove(self, folder: _Folder, slot: int) -> None:
        if folder.queue.name in ("deferred", "hold") and folder.states[slot] == _READ:
            if len(self._departed) >= self._max_departed:
                del self._departed[next(iter(self._departed))]
            self._departed[folder.keys[slot]] = folder.arrivals[slot]
        self._forget(folder, slot)
        folder.queue.messages -= 1
        folder.drop(slot)

    def _forget(self, folder: _Folder, slot: int) -> None:
        """Take what is known of a slot out of the totals and count it as an unread message."""
        queue = folder.queue
        state = folder.states[slot]
        if state == _WRITING:
            queue.messages += 1
        elif state in (_READ, _UNREADABLE):
            queue.bytes -= folder.sizes[slot]
            for counter, key in (
                (queue.minutes, folder.arrivals[slot] // 60),
                (queue.senders, folder.senders[slot]),
                (queue.domains, folder.domains[slot]),
            ):
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]
            self._senders.release(folder.senders[slot])
            self._domains.release(folder.domains[slot])
            queue.top = None
        folder.states[slot] = _FRESH
        folder.sizes[slot] = folder.senders[slot] = folder.domains[slot] = 0
        folder.set_arrival(slot, _NEVER)

    def _state(self, queue: _Queue, minute: int) -> QueueState:
        folders = list(queue.root.tree())
        oldest = min(folder.oldest() for folder in folders)
        ages = [0] * (len(AGE_BANDS) + 1)
        for arrival, count in queue.minutes.items():
            age = minute - arrival
            ages[next((band for band, (_, end) in enumerate(AGE_BANDS) if age < end), len(AGE_BANDS))] += count
        if queue.top is None:
            queue.top = self._top(queue)
        return QueueState(
            messages=queue.messages,
            unread=sum(folder.unread() for folder in folders),
            bytes=queue.bytes,
            oldest=None if oldest == _NEVER else oldest,
            ages=tuple(ages),
            unreadable=queue.unreadable,
            top=queue.top,
        )

    def _top(self, queue: _Queue) -> Top:
        senders = {self._senders[number]: count for number, count in queue.senders.items() if number}
        domains = {self._domains[number]: count for number, count in queue.domains.items() if number}
        by_domain: Counter[str] = Counter()
        for sender, count in senders.items():
            if "@" in sender:
                by_domain[sender.rpartition("@")[2]] += count
        return Top(_largest(senders), _largest(by_domain), _largest(domains))


def _largest(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(heapq.nsmallest(10, counts.items(), key=lambda item: (-item[1], item[0])))


def _read_envelope(descriptor: int) -> Envelope | None:
    """Return what the file says; None where its records make no sense."""
    for length in (_HEAD, _LONG_HEAD):
        head = os.pread(descriptor, length, 0)
        try:
            return parse_queue_file(head)
        except CollectError:
            if len(head) < length:
                break
    return None
