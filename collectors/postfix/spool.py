"""A reader of Postfix's spool that looks only at what changed."""

import errno
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from collectors.formats.queue_file import HEAD, LONG_HEAD, Envelope, parse_queue_file
from collectors.postfix.known import BASELINE, FRESH, NEVER, READ, WRITING, Folder, Queue, Top
from collectors.postfix.ledger import Ledger, stamp
from collectors.postfix.queue_ids import MAX_DEPTH, QUEUE_ID, ids_among, ids_below
from collectors.postfix.watches import Watches
from zcs_exporter.contract import Clock, CollectError, doing, os_error
from zcs_exporter.hostio import Host, OpenDirectory
from zcs_exporter.inotify import LEFT, RETURNED

QUEUES = ("maildrop", "incoming", "active", "hold", "corrupt", "deferred")
"""In the order in which they are read first: the small ones before the one that may be huge."""

AGE_BANDS = (("5m", 5), ("15m", 15), ("1h", 60), ("4h", 240), ("12h", 720), ("1d", 1440), ("3d", 4320))
"""Labels and upper ends, in minutes, of the bands of the age distribution; what is older is ``older``."""

_PENDING = (WRITING, FRESH, BASELINE)
_READY = 0o700
_GUARD_NS = 20_000_000  # kernels before 6.13 take the time once a tick, up to 10 ms late
_NOT_A_FILE = (errno.ENOENT, errno.EISDIR, errno.EINVAL, errno.ELOOP)
_MANY_NAMES = 1000  # more than so many senders or domains take a while to be put in order
_TOP_EVERY = 60.0
_LIST_EVERY = 3600.0
_SLOWER = 40
_ENDS = tuple(end for _, end in AGE_BANDS)


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
    written, and then asks for the time of change of a few known files: a queue id that was used again
    with the same inode between two listings of one directory, or a file overwritten in place, shows
    only there. The first ``look`` at many messages does no more than count their names.

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
        budget: float = 0.25,
        at_once: int = 2000,
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
            at_once: Messages up to which the first ``look`` does more than count them.
            recheck_files: Known files to look at anew in one ``look`` while ids may have been used again.
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
        self._at_once: int | None = at_once
        self._recheck_files = recheck_files
        self._recheck_budget = recheck_budget
        self._queues = {name: Queue(name, f"{path}/{name}") for name in QUEUES}
        self._ledger = Ledger(recent=recent, max_names=max_names, max_departed=max_departed)
        self._recheck_at = (0, 0)
        self._reusable = False
        self._doubtful = 0
        self._safe_ns = 0
        self._watches = Watches(host)
        self._watch_from = watch_from
        self.trouble: CollectError | None = None
        """Why a file could not be read in the last ``look``; it stays unread, and the rest is true."""
        self.unfinished = False
        """Whether the last ``look`` ended before it had read all that it could."""

    def look(self) -> dict[str, QueueState]:
        """Bring the knowledge up to date and return it, by queue.

        Raises:
            CollectError: A directory may not be read, or could not be.
        """
        self.trouble = None
        if self._at_once is not None:
            counts, at_once, self._at_once = self._count_names(), self._at_once, None
            if sum(counts.values()) > at_once:
                self.unfinished = True
                nothing = (0,) * (len(AGE_BANDS) + 1)
                return {name: QueueState(count, count, 0, None, nothing, 0, Top()) for name, count in counts.items()}
        state = FRESH if self._ledger.began is not None else BASELINE
        self._safe_ns = int(self._clock.wall() * 1e9) - _GUARD_NS
        for queue in self._queues.values():
            self._visit(queue.root, state)
        self._follow(state)
        if self._ledger.began is None:
            self._ledger.began = self._clock.wall()
        deadline = self._clock.monotonic() + self._budget
        self.unfinished = not all(self._read_pending(queue, deadline) for queue in self._queues.values())
        if not self.unfinished:
            self._recheck()
        minute = int(self._clock.wall()) // 60
        return {name: self._state(self._queues[name], minute) for name in QUEUES}

    @property
    def crowded(self) -> bool:
        """Whether there are more senders or domains in the queues than can be told apart."""
        return self._ledger.crowded

    def take_newly_deferred(self) -> Counter[str]:
        """Return the messages per sender that entered ``deferred`` since the last call.

        A message that comes back from a delivery attempt or from ``hold`` is not new, nor is one that was
        there at the first ``look``. Null senders, and senders beyond those told apart, are under ``""``.
        """
        return self._ledger.take_newly_deferred()

    def _count_names(self) -> dict[str, int]:
        """Return the names of messages in each queue, which is all that can be had of very many in little time."""
        counts = {}
        for queue in QUEUES:
            path = f"{self.path}/{queue}"
            with doing(f"reading {path}"):
                try:
                    counts[queue] = ids_below(self._host, path)
                except FileNotFoundError:
                    counts[queue] = 0
        return counts

    def _visit(self, folder: Folder, state: int) -> None:
        before, folder.identity = folder.identity, None
        try:
            status = self._host.stat(folder.path)
            identity = (status.st_dev, status.st_ino, status.st_mtime_ns)
            proof = True
            if folder.watch is not None and before is not None and before[:2] == identity[:2]:
                folder.changed |= before != identity
            elif identity != before:
                self._reusable |= len(folder) > 0
                self._list(folder, state)
                if folder.watch is None:
                    proof = status.st_mtime_ns < self._safe_ns
                    if len(folder) >= self._watch_from and not folder.unwatchable:
                        self._watches.begin(folder)
                        # What changed before the watch began is seen by one more listing.
                        proof = proof and self._host.stat(folder.path).st_mtime_ns == status.st_mtime_ns
            folder.identity = identity if proof else None
        except OSError as exc:
            missing = isinstance(exc, FileNotFoundError) or (folder.depth and isinstance(exc, NotADirectoryError))
            if not missing:
                raise os_error(exc, f"reading {folder.path}") from exc
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
                missed = changes.lost or folder.watch in changes.ended or untold
                if names or missed or folder is due:
                    self._reusable |= missed
                    self._catch_up(folder, None if missed or folder is due else names, state)
                folder.changed, folder.told = False, bool(names)
        except BaseException:
            # What the kernel told is gone.
            for folder in self._watches:
                folder.identity = None
            raise

    def _catch_up(self, folder: Folder, names: Mapping[str, int] | None, state: int) -> None:
        """Look at these names of a folder, or at all that is in it."""
        with doing(f"reading {folder.path}"):
            try:
                if names is not None:
                    self._take(folder, names, state)
                    return
                self._list(folder, state)
                for below in list(folder.folders.values()):
                    self._visit(below, state)
            except (FileNotFoundError, NotADirectoryError):
                self._clear(folder)  # it has gone since it was visited

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
                if folder.depth < MAX_DEPTH and entry.is_dir(follow_symlinks=False):
                    below.add(name)
            elif entry.is_file(follow_symlinks=False):
                fresh[key] = name
        if ids_among(fresh.values()) < len(fresh):
            fresh = {key: name for key, name in fresh.items() if QUEUE_ID.fullmatch(name)}
        slot = seen.rfind(0)
        while slot >= 0:
            self._ledger.remove(folder, slot)
            slot = seen.rfind(0, 0, slot)
        folder.extend(fresh, state)
        folder.queue.messages += len(fresh)
        for name in folder.folders.keys() - below:
            self._clear(folder.folders.pop(name))
        for name in sorted(below - folder.folders.keys()):
            folder.folders[name] = Folder(f"{folder.path}/{name}", folder.queue, folder.depth + 1)

    def _take(self, folder: Folder, names: Mapping[str, int], state: int) -> None:
        """Look at the names of which the kernel told."""
        for name, fate in names.items():
            if len(name) == 1:
                self._take_folder(folder, name, state)
            elif QUEUE_ID.fullmatch(name):
                self._take_message(folder, name, state, fate)

    def _take_folder(self, folder: Folder, name: str, state: int) -> None:
        if folder.depth < MAX_DEPTH and stat.S_ISDIR(self._mode_and_inode(folder, name)[0]):
            if name not in folder.folders:
                folder.folders[name] = Folder(f"{folder.path}/{name}", folder.queue, folder.depth + 1)
            self._visit(folder.folders[name], state)
        elif name in folder.folders:
            self._clear(folder.folders.pop(name))

    def _take_message(self, folder: Folder, name: str, state: int, fate: int) -> None:
        slot = folder.find(name)
        if slot is None:
            if fate != LEFT:
                folder.append(0, name, state)
                folder.queue.messages += 1
            return
        if fate == LEFT:
            self._ledger.remove(folder, slot)
            return
        mode, inode = self._mode_and_inode(folder, name)
        key = hash((name, inode)) if stat.S_ISREG(mode) else None
        if folder.keys[slot] != key:
            self._ledger.remove(folder, slot)
            if key is not None:
                folder.append(key, name, state)
                folder.queue.messages += 1
        elif fate == RETURNED and folder.states[slot] == READ:
            self._ledger.returned(folder, slot)  # be it with other recipients

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
            self._ledger.remove(folder, slot)

    def _read_pending(self, queue: Queue, deadline: float) -> bool:
        """Read what is unread or was being written; False when the time is up."""
        folders = list(queue.root.tree())
        if queue.known == sum(map(len, folders)):
            return True
        return all(self._read_folder(folder, deadline) for folder in folders)

    def _read_folder(self, folder: Folder, deadline: float) -> bool:
        if not any(state in folder.states for state in _PENDING):
            return True
        try:
            with self._host.open_directory(folder.path) as directory:
                for state in _PENDING:
                    # From the end, so that a slot which takes the place of a removed one was looked at already.
                    slot = folder.states.rfind(state)
                    while slot >= 0:
                        if self._clock.monotonic() > deadline:
                            return False
                        self._read(folder, slot, directory)
                        slot = folder.states.rfind(state, 0, slot)
        except (FileNotFoundError, NotADirectoryError):
            self._clear(folder)  # it has gone since it was listed
        except OSError as exc:
            self.trouble = os_error(exc, f"reading {folder.path}")
        return True

    def _recheck(self) -> None:
        folders = [folder for queue in self._queues.values() for folder in queue.root.tree()]
        total = sum(map(len, folders))
        if self._reusable:
            self._reusable, self._doubtful = False, total
        # Once each message was looked at since a listing, only files overwritten in place are left to find.
        files = min(total, max(self._recheck_files // _SLOWER, min(self._doubtful, self._recheck_files)))
        self._doubtful = max(0, self._doubtful - files)
        deadline = self._clock.monotonic() + self._recheck_budget
        place, slot = self._recheck_at
        for _ in range(len(folders) + 1):
            if place >= len(folders):
                place, slot = 0, 0
            end = min(slot + files, len(folders[place]))
            if slot < end:
                files -= end - slot
                slot = self._recheck_folder(folders[place], range(slot, end), deadline)
            if slot < end or not files:
                break
            place, slot = place + 1, 0
        self._recheck_at = (place, slot)

    def _recheck_folder(self, folder: Folder, slots: range, deadline: float) -> int:
        """Read those files anew whose time of change is another one; return the first slot that had no turn."""
        try:
            with self._host.open_directory(folder.path) as directory:
                for slot in slots:
                    if self._clock.monotonic() > deadline:
                        return slot
                    # The last slot takes the place of a removed one; it is looked at in the next turn.
                    if slot < len(folder) and not self._unchanged(folder, slot, directory):
                        self._read(folder, slot, directory)
        except OSError as exc:
            if not isinstance(exc, FileNotFoundError | NotADirectoryError):
                self.trouble = os_error(exc, f"reading {folder.path}")
        return slots.stop

    def _unchanged(self, folder: Folder, slot: int, directory: OpenDirectory) -> bool:
        try:
            return 0 != folder.stamps[slot] == stamp(directory.lstat(folder.name(slot)))
        except OSError:
            return False

    def _read(self, folder: Folder, slot: int, directory: OpenDirectory) -> None:
        name = folder.name(slot)
        try:
            status, head = directory.head(name, HEAD)
            ready = status.st_mode & _READY == _READY
            try:
                envelope = parse_queue_file(head) if ready else None
            except CollectError:
                envelope = None if len(head) < HEAD else _late_envelope(directory, name)
        except OSError as exc:
            if exc.errno in _NOT_A_FILE:  # gone, or no queue file any more
                self._ledger.remove(folder, slot)
            else:
                self.trouble = os_error(exc, f"reading {folder.path}/{name}")
            return
        if not folder.keys[slot]:
            folder.keys[slot] = hash((name, status.st_ino))
        # What changed just now may change once more without another time.
        folder.stamps[slot] = stamp(status) if status.st_ctime_ns < self._safe_ns else 0
        if ready:
            self._ledger.enter(folder, slot, status, envelope)
        else:
            self._ledger.unready(folder, slot)

    def _state(self, queue: Queue, minute: int) -> QueueState:
        oldest = min(folder.oldest() for folder in queue.root.tree())
        now = self._clock.monotonic()
        many = max(len(queue.senders), len(queue.domains)) > _MANY_NAMES
        if queue.top_stale and not (many and queue.top_at <= now < queue.top_at + _TOP_EVERY):
            queue.top, queue.top_at, queue.top_stale = self._ledger.top(queue), now, False
        return QueueState(
            messages=queue.messages,
            unread=queue.messages - queue.known,
            bytes=queue.bytes,
            oldest=None if oldest == NEVER else oldest,
            ages=queue.ages(minute, _ENDS),
            unreadable=queue.unreadable,
            top=queue.top,
        )


def _late_envelope(directory: OpenDirectory, name: str) -> Envelope | None:
    """Return what a file says whose envelope is a long one; None where its records make no sense."""
    try:
        return parse_queue_file(directory.head(name, LONG_HEAD)[1])
    except CollectError:
        return None
