"""A reader of Postfix's spool that looks only at what changed.

A message takes about 50 bytes here, so that a million of them fit where one object each would not.
"""

import errno
import heapq
import os
import re
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from collectors.formats.queue_file import Envelope, read_envelope
from zcs_exporter.contract import Clock, CollectError, doing, os_error
from zcs_exporter.hostio import Host

QUEUES = ("maildrop", "incoming", "active", "hold", "corrupt", "deferred")
"""In the order in which they are read first: the small ones before the one that may be huge."""

AGE_BANDS = (("5m", 5), ("15m", 15), ("1h", 60), ("4h", 240), ("12h", 720), ("1d", 1440), ("3d", 4320))
"""Labels and upper ends, in minutes, of the bands of the age distribution; what is older is ``older``."""

# 8764910C06B: five digits of microseconds, then the inode.
# 4jX8tS54KzzJmkW: seconds and four digits of microseconds to base 52, a z, the inode to base 51 (without z).
_QUEUE_ID = re.compile(
    r"[0-9A-F]{6,64}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,32}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]{1,32}"
)
_BAND_ENDS = [end for _, end in AGE_BANDS]
_READY = 0o700
_MAX_DEPTH = 16
_GUARD_NS = 20_000_000  # kernels before 6.13 stamp directories once a tick, up to 10 ms late
_NEVER = 1 << 62  # arrival of a message that is not read yet: later than any

_BASELINE, _FRESH, _WRITING, _READ, _UNREADABLE = range(5)
_CROWD = 1


class Names:
    """Texts under small numbers, each as long as something refers to it.

    Number 0 stands for none, 1 for any that had no place.
    """

    def __init__(self, limit: int) -> None:
        """Tell at most ``limit`` texts apart."""
        self._limit = limit
        self._numbers: dict[str, int] = {}
        self._texts = ["", ""]
        self._uses = array("Q", [0, 0])
        self._free: list[int] = []

    @property
    def crowded(self) -> bool:
        """Whether a text in use had no place."""
        return self._uses[_CROWD] > 0

    def take(self, text: str) -> int:
        """Return the number of ``text`` and count one more use of it."""
        number = self._numbers.get(text)
        if number is None:
            if len(self._numbers) >= self._limit:
                number = _CROWD
            else:
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
            if not self._uses[number] and number != _CROWD:
                del self._numbers[self._texts[number]]
                self._texts[number] = ""
                self._free.append(number)

    def named(self, counts: Mapping[int, int]) -> dict[str, int]:
        """Return counts by text, of those that have one."""
        return {self._texts[number]: count for number, count in counts.items() if number > _CROWD}

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
        recent: float = 900.0,
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
            recent: A message that arrived longer than this before the first ``look`` is never newly deferred.
            max_names: Different senders, and different domains, to tell apart.
            max_departed: Messages remembered that left ``deferred`` and may come back.
        """
        self.path = path
        self._host = host
        self._clock = clock
        self._budget = budget
        self._recheck_files = recheck_files
        self._recheck_budget = recheck_budget
        self._recent = recent
        self._queues = {name: _Queue(name, f"{path}/{name}") for name in QUEUES}
        self._senders = Names(max_names)
        self._domains = Names(max_names)
        self._departed: dict[int, int] = {}
        self._max_departed = max_departed
        self._newly_deferred: Counter[str] = Counter()
        self._began: float | None = None
        self._recheck_at = (0, 0)
        self.trouble: CollectError | None = None
        """Why a file could not be read in the last ``look``; it stays unread, and the rest is true."""

    def look(self) -> dict[str, QueueState]:
        """Bring the knowledge up to date and return it, by queue.

        Raises:
            CollectError: A directory may not be read, or could not be.
        """
        self.trouble = None
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

    @property
    def crowded(self) -> bool:
        """Whether there are more senders or domains in the queues than can be told apart."""
        return self._senders.crowded or self._domains.crowded

    def take_newly_deferred(self) -> Counter[str]:
        """Return the messages per sender that entered ``deferred`` since the last call.

        A message that comes back from a delivery attempt or from ``hold`` is not new, nor is one that was
        there at the first ``look``. Null senders, and senders beyond those told apart, are under ``""``.
        """
        taken, self._newly_deferred = self._newly_deferred, Counter()
        return taken

    def _visit(self, folder: _Folder, state: int) -> None:
        now_ns = int(self._clock.wall() * 1e9)
        with doing(f"reading {folder.path}"):
            try:
                status = self._host.stat(folder.path)
                identity = (status.st_dev, status.st_ino, status.st_mtime_ns)
                if identity != folder.identity:
                    self._list(folder, state)
                    folder.identity = identity if now_ns - status.st_mtime_ns > _GUARD_NS else None
            except FileNotFoundError:
                self._clear(folder)  # Postfix makes directories when it needs them
        for below in list(folder.folders.values()):
            self._visit(below, state)

    def _list(self, folder: _Folder, state: int) -> None:
        known = dict(zip(folder.keys, range(len(folder)), strict=True))
        seen = bytearray(len(folder))
        fresh: dict[int, str] = {}
        below = set()
        # There may be a million entries: what is known costs one look-up and no system call.
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
        slot = seen.rfind(0)
        while slot >= 0:
            self._remove(folder, slot)
            slot = seen.rfind(0, 0, slot)
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
        for state in (_WRITING, _FRESH, _BASELINE):
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
        place, slot = self._recheck_at
        files = min(self._recheck_files, sum(map(len, folders)))
        for _ in range(files + len(folders)):
            if place >= len(folders):
                place, slot = 0, 0
            if slot >= len(folders[place]):
                place, slot = place + 1, 0
                continue
            if not files or self._clock.monotonic() > deadline:
                break
            # The last slot takes the place of a removed one; it is looked at in the next turn.
            self._read(folders[place], slot)
            files -= 1
            slot += 1
        self._recheck_at = (place, slot)

    def _read(self, folder: _Folder, slot: int) -> None:
        path = f"{folder.path}/{folder.name(slot)}"
        try:
            descriptor = self._host.open(path)
            try:
                status = os.fstat(descriptor)
                ready = status.st_mode & 0o700 == _READY
                envelope = read_envelope(descriptor) if ready else None
            finally:
                os.close(descriptor)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.EISDIR, errno.EINVAL):  # gone, or no queue file any more
                self._remove(folder, slot)
            else:
                self.trouble = os_error(exc, f"reading {path}")
            return
        before = folder.states[slot]
        self._forget(folder, slot)
        queue = folder.queue
        if not ready:
            folder.states[slot] = _WRITING
            queue.messages -= 1
            return
        if envelope is None:
            if before != _UNREADABLE:
                queue.unreadable += 1
            envelope = Envelope(None, None, None, "")
            folder.states[slot] = _UNREADABLE
        else:
            folder.states[slot] = _READ
        if envelope.sender is not None:
            folder.senders[slot] = self._senders.take(envelope.sender or "<>")
        if envelope.domain:
            folder.domains[slot] = self._domains.take(envelope.domain)
        folder.sizes[slot] = status.st_size if envelope.size is None else envelope.size
        folder.set_arrival(slot, status.st_mtime_ns // 10**9 if envelope.arrival is None else envelope.arrival)
        queue.bytes += folder.sizes[slot]
        queue.minutes[folder.arrivals[slot] // 60] += 1
        queue.senders[folder.senders[slot]] += 1
        queue.domains[folder.domains[slot]] += 1
        queue.top = None
        if queue.name == "deferred" and before in (_FRESH, _WRITING):
            self._note_deferral(folder, slot)

    def _note_deferral(self, folder: _Folder, slot: int) -> None:
        returned = self._departed.pop(folder.keys[slot], None) == folder.arrivals[slot]
        # A retry under way when this reader began looks new when it returns, but for its age.
        if not returned and self._began is not None and folder.arrivals[slot] >= self._began - self._recent:
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
        folder.states[slot] = _FRESH
        if state == _WRITING:
            queue.messages += 1
        elif state in (_READ, _UNREADABLE):
            queue.bytes -= folder.sizes[slot]
            _decrement(queue.minutes, folder.arrivals[slot] // 60)
            _decrement(queue.senders, folder.senders[slot])
            _decrement(queue.domains, folder.domains[slot])
            self._senders.release(folder.senders[slot])
            self._domains.release(folder.domains[slot])
            queue.top = None
            folder.sizes[slot] = folder.senders[slot] = folder.domains[slot] = 0
            folder.set_arrival(slot, _NEVER)

    def _state(self, queue: _Queue, minute: int) -> QueueState:
        folders = list(queue.root.tree())
        oldest = min(folder.oldest() for folder in folders)
        ages = [0] * (len(AGE_BANDS) + 1)
        for arrival, count in queue.minutes.items():
            ages[bisect_right(_BAND_ENDS, minute - arrival)] += count
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
        senders = self._senders.named(queue.senders)
        by_domain: Counter[str] = Counter()
        for sender, count in senders.items():
            if "@" in sender:
                by_domain[sender.rpartition("@")[2]] += count
        return Top(_largest(senders), _largest(by_domain), _largest(self._domains.named(queue.domains)))


def _decrement(counter: Counter[int], key: int) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _largest(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(heapq.nsmallest(10, counts.items(), key=lambda item: (-item[1], item[0])))
