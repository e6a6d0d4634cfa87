"""A reader of Postfix's spool that looks only at what changed."""

import errno
import heapq
import os
import re
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from collectors.formats.queue_file import Envelope, read_envelope
from collectors.postfix.known import BASELINE, FRESH, NEVER, READ, UNREADABLE, WRITING, Folder, Names, Queue, Top
from collectors.postfix.watches import Watches
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
_READY = 0o700
_MAX_DEPTH = 16
_GUARD_NS = 20_000_000  # kernels before 6.13 stamp directories once a tick, up to 10 ms late
_MANY_NAMES = 1000  # more than so many senders or domains take a while to be put in order
_TOP_EVERY = 60.0
_LIST_EVERY = 3600.0


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

    A directory with many messages is not listed when it changed: the kernel tells which names to look
    at. It is listed all the same when its time of change is a new one and the kernel told of nothing
    (others change a network file system), when the kernel lost count, and once an hour.

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
        watch_from: int = 500,
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
            watch_from: Messages in a directory from which on it is watched rather than listed.
        """
        self.path = path
        self._host = host
        self._clock = clock
        self._budget = budget
        self._recheck_files = recheck_files
        self._recheck_budget = recheck_budget
        self._recent = recent
        self._queues = {name: Queue(name, f"{path}/{name}") for name in QUEUES}
        self._senders = Names(max_names)
        self._domains = Names(max_names)
        self._departed: dict[int, int] = {}
        self._max_departed = max_departed
        self._newly_deferred: Counter[str] = Counter()
        self._began: float | None = None
        self._recheck_at = (0, 0)
        self._watches = Watches(host)
        self._watch_from = watch_from
        self.trouble: CollectError | None = None
        """Why a file could not be read in the last ``look``; it stays unread, and the rest is true."""

    def look(self) -> dict[str, QueueState]:
        """Bring the knowledge up to date and return it, by queue.

        Raises:
            CollectError: A directory may not be read, or could not be.
        """
        self.trouble = None
        state = FRESH if self._began is not None else BASELINE
        for queue in self._queues.values():
            self._visit(queue.root, state)
        self._follow(state)
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

    def _visit(self, folder: Folder, state: int) -> None:
        now_ns = int(self._clock.wall() * 1e9)
        before, folder.identity = folder.identity, None
        with doing(f"reading {folder.path}"):
            try:
                status = self._host.stat(folder.path)
                identity = (status.st_dev, status.st_ino, status.st_mtime_ns)
                proof = True
                if folder.watch is not None and before is not None and before[:2] == identity[:2]:
                    folder.changed |= before != identity
                elif identity != before:
                    self._list(folder, state)
                    young = now_ns - status.st_mtime_ns <= _GUARD_NS
                    # What changed before a watch began is seen by one more listing.
                    large = len(folder) >= self._watch_from and not folder.unwatchable
                    proof = folder.watch is not None or not (young or large)
                folder.identity = identity if proof else None
            except (FileNotFoundError, NotADirectoryError) as exc:
                if not folder.depth and isinstance(exc, NotADirectoryError):
                    raise
                self._clear(folder)  # Postfix makes directories when it needs them
        for below in list(folder.folders.values()):
            self._visit(below, state)

    def _follow(self, state: int) -> None:
        """Bring watched folders up to date, whose times of change were looked at just before."""
        changes = self._watches.changes()
        due = min(self._watches, key=lambda folder: folder.listed_at, default=None)
        if due is not None and self._clock.monotonic() - due.listed_at < _LIST_EVERY:
            due = None
        try:
            for folder in self._watches:
                if folder.watch is None:
                    continue  # it went with the one above it
                names = changes.names.get(folder.watch, {})
                # What changed after the last look at its time was told of then.
                untold = folder.changed and not names and not folder.told
                with doing(f"reading {folder.path}"):
                    try:
                        if changes.lost or folder.watch in changes.ended or untold or folder is due:
                            self._list(folder, state)
                            for below in list(folder.folders.values()):
                                self._visit(below, state)
                        else:
                            self._take(folder, names, state)
                    except (FileNotFoundError, NotADirectoryError):
                        self._clear(folder)  # it has gone since it was visited
                folder.changed, folder.told = False, bool(names)
        except BaseException:
            # What the kernel told is gone.
            for folder in self._watches:
                folder.identity = None
            raise

    def _list(self, folder: Folder, state: int) -> None:
        if len(folder) >= self._watch_from:
            self._watches.begin(folder)
        else:
            self._watches.end(folder)
        folder.listed_at = self._clock.monotonic()
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
            folder.folders[name] = Folder(f"{folder.path}/{name}", folder.queue, folder.depth + 1)

    def _take(self, folder: Folder, names: Mapping[str, bool], state: int) -> None:
        """Look at the names of which the kernel told; True: the name had left the directory, be it that it is back."""
        for name, left in names.items():
            if len(name) == 1:
                self._take_folder(folder, name, state)
            elif _QUEUE_ID.fullmatch(name):
                self._take_message(folder, name, state, left=left)

    def _take_folder(self, folder: Folder, name: str, state: int) -> None:
        if folder.depth < _MAX_DEPTH and stat.S_ISDIR(self._mode_and_inode(folder, name)[0]):
            if name not in folder.folders:
                folder.folders[name] = Folder(f"{folder.path}/{name}", folder.queue, folder.depth + 1)
            self._visit(folder.folders[name], state)
        elif name in folder.folders:
            self._clear(folder.folders.pop(name))

    def _take_message(self, folder: Folder, name: str, state: int, *, left: bool) -> None:
        mode, inode = self._mode_and_inode(folder, name)
        key = hash((name, inode)) if stat.S_ISREG(mode) else None
        slot = folder.find(name)
        if slot is not None and folder.keys[slot] != key:
            self._remove(folder, slot)
            slot = None
        if key is None:
            return
        if slot is None:
            folder.append(key, name, state)
            folder.queue.messages += 1
        elif left and folder.states[slot] == READ:
            # It went to be delivered and came back: its recipients may be others, but it is not new.
            self._forget(folder, slot)
            folder.states[slot] = BASELINE

    def _mode_and_inode(self, folder: Folder, name: str) -> tuple[int, int]:
        """Return what stands under a name; mode 0 if nothing does."""
        try:
            status = self._host.lstat(f"{folder.path}/{name}")
        except FileNotFoundError:
            return 0, 0
        return status.st_mode, status.st_ino

    def _clear(self, folder: Folder) -> None:
        for below in folder.folders.values():
            self._clear(below)
        folder.folders.clear()
        folder.identity = None
        self._watches.end(folder)
        for slot in range(len(folder) - 1, -1, -1):
            self._remove(folder, slot)

    def _read_pending(self, folder: Folder, deadline: float) -> bool:
        """Read what is unread or was being written; False when the time is up."""
        for state in (WRITING, FRESH, BASELINE):
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
        # Where the kernel tells of names that were used again, only files overwritten in place are left to find.
        files = min(self._recheck_files // 40 if self._watches else self._recheck_files, sum(map(len, folders)))
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

    def _read(self, folder: Folder, slot: int) -> None:
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
            folder.states[slot] = WRITING
            queue.messages -= 1
            return
        if envelope is None:
            if before != UNREADABLE:
                queue.unreadable += 1
            envelope = Envelope(None, None, None, "")
            folder.states[slot] = UNREADABLE
        else:
            folder.states[slot] = READ
        if envelope.sender is not None:
            folder.senders[slot] = self._senders.take(envelope.sender or "<>")
        if envelope.domain:
            folder.domains[slot] = self._domains.take(envelope.domain)
        folder.sizes[slot] = status.st_size if envelope.size is None else envelope.size
        folder.set_arrival(slot, status.st_mtime_ns // 10**9 if envelope.arrival is None else envelope.arrival)
        queue.add(folder.sizes[slot], folder.arrivals[slot], folder.senders[slot], folder.domains[slot])
        if queue.name == "deferred" and before in (FRESH, WRITING):
            self._note_deferral(folder, slot)

    def _note_deferral(self, folder: Folder, slot: int) -> None:
        returned = self._departed.pop(folder.keys[slot], None) == folder.arrivals[slot]
        # A retry under way when this reader began looks new when it returns, but for its age.
        if not returned and self._began is not None and folder.arrivals[slot] >= self._began - self._recent:
            sender = self._senders[folder.senders[slot]]
            self._newly_deferred["" if sender == "<>" else sender] += 1

    def _remove(self, folder: Folder, slot: int) -> None:
        if folder.queue.name in ("deferred", "hold") and folder.states[slot] == READ:
            if len(self._departed) >= self._max_departed:
                del self._departed[next(iter(self._departed))]
            self._departed[folder.keys[slot]] = folder.arrivals[slot]
        self._forget(folder, slot)
        folder.queue.messages -= 1
        folder.drop(slot)

    def _forget(self, folder: Folder, slot: int) -> None:
        """Take what is known of a slot out of the totals and count it as an unread message."""
        queue = folder.queue
        state = folder.states[slot]
        folder.states[slot] = FRESH
        if state == WRITING:
            queue.messages += 1
        elif state in (READ, UNREADABLE):
            queue.take_out(folder.sizes[slot], folder.arrivals[slot], folder.senders[slot], folder.domains[slot])
            self._senders.release(folder.senders[slot])
            self._domains.release(folder.domains[slot])
            folder.sizes[slot] = folder.senders[slot] = folder.domains[slot] = 0
            folder.set_arrival(slot, NEVER)

    def _state(self, queue: Queue, minute: int) -> QueueState:
        folders = list(queue.root.tree())
        oldest = min(folder.oldest() for folder in folders)
        younger = [queue.after(minute - end) for _, end in AGE_BANDS] if queue.hours else [0] * len(AGE_BANDS)
        known = queue.hours.total()
        now = self._clock.monotonic()
        many = max(len(queue.senders), len(queue.domains)) > _MANY_NAMES
        if queue.top_stale and not (many and queue.top_at <= now < queue.top_at + _TOP_EVERY):
            queue.top, queue.top_at, queue.top_stale = self._top(queue), now, False
        return QueueState(
            messages=queue.messages,
            unread=sum(folder.unread() for folder in folders),
            bytes=queue.bytes,
            oldest=None if oldest == NEVER else oldest,
            ages=tuple(upper - lower for lower, upper in pairwise([0, *younger, known])),
            unreadable=queue.unreadable,
            top=queue.top,
        )

    def _top(self, queue: Queue) -> Top:
        senders = self._senders.named(queue.senders)
        by_domain: Counter[str] = Counter()
        for sender, count in senders.items():
            if "@" in sender:
                by_domain[sender.rpartition("@")[2]] += count
        return Top(_largest(senders), _largest(by_domain), _largest(self._domains.named(queue.domains)))


def _largest(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(heapq.nsmallest(10, counts.items(), key=lambda item: (-item[1], item[0])))
