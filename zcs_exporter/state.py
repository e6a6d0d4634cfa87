"""What must survive: one SQLite database in the state directory.

One transaction per round holds log positions, collectors' rows, alarms and messages, so that after
``kill -9`` they tell of the same moment. The database belongs to one thread; the event loop hands it
functions and waits for as long as it wants to.
"""

import asyncio
import concurrent.futures
import contextlib
import fcntl
import json
import logging
import os
import queue
import secrets
import socket
import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from zcs_exporter.alerting.alarm import Alarm
from zcs_exporter.notify.message import Message
from zcs_exporter.state_schema import SCHEMA_VERSION, bring_forward, refusal

T = TypeVar("T")
log = logging.getLogger(__name__)

RESERVE = 2 << 20
"""Bytes kept free inside the database's files, so that a full disk does not refuse the next notifications."""

SPARE = 1 << 20
"""Bytes that the reserve leaves free: it must not itself be what fills the disk."""

CHECKPOINT_PAGES = 400
"""Pages of log after which SQLite writes them back: so many that the log never needs more room than was reserved."""

KEPT_MESSAGES = 10_000
"""Delivered messages kept for replay and history."""

KEPT_SECONDS = 30 * 86400.0
"""How long they are kept at most."""

QUARANTINE = "quarantine:"
"""Before the name of a target that the original of a clone still owed something."""

CLOSE_PATIENCE = 2.0
"""Seconds to wait for the database to be closed."""


class StateError(Exception):
    """The state directory cannot be used; the message names it and the remedy."""


@dataclass(slots=True)
class Commit:
    """Everything that one round changed.

    Attributes:
        positions: Log positions in JSON form, by path.
        rows: Collectors' rows by collector and key, None to delete.
        alarms: By key in JSON form, None to delete.
        messages: By number, each with the targets that must get it.
        meta: Single values.
    """

    positions: dict[str, str] = field(default_factory=dict)
    rows: dict[tuple[str, str], str | None] = field(default_factory=dict)
    alarms: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    messages: dict[int, tuple[Message, tuple[str, ...]]] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.positions or self.rows or self.alarms or self.messages or self.meta)

    def absorb(self, later: "Commit") -> None:
        """Add what a later round changed; the later value wins."""
        self.positions |= later.positions
        self.rows |= later.rows
        self.alarms |= later.alarms
        self.messages |= later.messages
        self.meta |= later.meta


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that one target has not acknowledged.

    Attributes:
        number: The message's, in order of time.
        sequence: Given when first sent; None before.
        folded: Further messages that the target is told nothing else of.
    """

    number: int
    target: str
    message: Message
    sequence: int | None
    folded: int = 0

    @property
    def told(self) -> Message:
        """The message as this target gets it."""
        return self.message.standing_for(self.folded)


@dataclass(frozen=True, slots=True)
class _Fate:
    """What became of a delivery: numbered, folded into, or, if ``settled``, not owed any more."""

    sequence: int | None = None
    folded: int = 0
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Saved:
    """What an earlier process left.

    Attributes:
        meta: Single values.
        positions: Log positions in JSON form, by path.
        rows: Collectors' rows, by collector and key.
        alarms: As they stood, pending ones included.
        deliveries: What waits, oldest first.
        unreadable: Targets and numbers of messages that wait and are damaged.
        sequences: Each target's last sequence number.
        beats: The times of those heartbeats that have this number.
        next_message: A number above every message's so far.
        next_alarm: Likewise of alarms.
    """

    meta: Mapping[str, str]
    positions: Mapping[str, str]
    rows: Mapping[str, Mapping[str, str]]
    alarms: Sequence[Alarm]
    deliveries: Sequence[Delivery]
    unreadable: Sequence[tuple[str, int]]
    sequences: Mapping[str, int]
    beats: Mapping[str, float]
    next_message: int
    next_alarm: int


def read_saved(database: sqlite3.Connection) -> Saved:
    """Read everything; for ``StateStore.run``."""
    meta = dict(database.execute("SELECT key, value FROM meta WHERE key <> 'reserve'"))
    rows: dict[str, dict[str, str]] = {}
    for collector, key, value in database.execute("SELECT collector, key, value FROM collector_row"):
        rows.setdefault(collector, {})[key] = value
    deliveries: list[Delivery] = []
    unreadable: list[tuple[str, int]] = []
    waiting = database.execute(
        "SELECT number, target, message, sequence, folded FROM delivery JOIN message USING (number) ORDER BY number"
    )
    for number, target, text, sequence, folded in waiting:
        try:
            deliveries.append(Delivery(number, target, Message.from_json(json.loads(text)), sequence, folded))
        except (AttributeError, LookupError, TypeError, ValueError) as exc:
            log.error("state: message %d to %s cannot be read and is set aside: %s", number, target, exc)
            unreadable.append((target, number))
    highest = database.execute("SELECT max(number) FROM message").fetchone()[0] or 0
    return Saved(
        meta=meta,
        positions=dict(database.execute("SELECT path, position FROM log_position")),
        rows=rows,
        alarms=[Alarm.from_json(json.loads(row[0])) for row in database.execute("SELECT alarm FROM alarm")],
        deliveries=deliveries,
        unreadable=unreadable,
        sequences=dict(database.execute("SELECT target, sequence FROM destination")),
        beats=dict(database.execute("SELECT target, beat FROM destination WHERE beat IS NOT NULL")),
        next_message=max(highest, int(meta.get("last_message", "0"))) + 1,
        next_alarm=int(meta.get("next_alarm", "1")),
    )


class StateStore:
    """The open database of one state directory, locked against a second daemon.

    Attributes:
        directory: Where it lives.
        cloned_from: The identity of the host it was made on, when that is not this one; else None.
    """

    def __init__(self, directory: str, identity: str | None = None) -> None:
        """Open or create the database.

        Args:
            directory: Created with mode 0700 if missing.
            identity: What this host is called; None to read it.

        Raises:
            StateError: It cannot be made, locked or read, or a newer version wrote it.
        """
        self.directory = directory
        self._path = os.path.join(directory, "state.sqlite3")
        # Only the database's thread touches these: what targets did, until a transaction that holds it succeeded.
        self._fates: dict[tuple[str, int], _Fate] = {}
        self._sequences: dict[str, tuple[int, float | None]] = {}
        self._requests: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._lock = _lock(directory)
            self._database = self._open()
            self.cloned_from = self._bind(identity or host_identity())
        except OSError as exc:
            raise StateError(
                f"state directory {directory}: {exc.strerror}; create it for the daemon's user "
                f"(install -d -m 700 -o zcs-exporter {directory}) or set state.directory"
            ) from exc
        except sqlite3.Error as exc:
            remedy = "make room on its disk" if "full" in str(exc) else "move state.sqlite3 away to start afresh"
            raise StateError(f"state directory {directory}: {exc}; {remedy}") from exc
        self._thread = threading.Thread(target=self._serve, name="state", daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``function`` on the database's thread, after everything handed over before.

        Raises:
            sqlite3.Error: As it raised it; the transaction is rolled back.
        """
        return await self._hand_over(function)

    def _hand_over(self, function: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """As ``run``, but at once and whether or not anybody waits for the answer."""
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()
        answer.set_running_or_notify_cancel()

        def work() -> None:
            try:
                result = self._transact(function)
            except Exception as exc:  # noqa: BLE001 - handed to the caller, whatever it is
                answer.set_exception(exc)
            else:
                answer.set_result(result)

        self._requests.put(work)
        return asyncio.wrap_future(answer)

    async def load(self) -> Saved:
        """Return what an earlier process left.

        Raises:
            StateError: The database is damaged.
        """
        try:
            return await self.run(read_saved)
        except (sqlite3.Error, AttributeError, LookupError, TypeError, ValueError) as exc:
            raise StateError(
                f"state directory {self.directory}: what it holds cannot be read ({exc}); "
                "move state.sqlite3 away to start afresh"
            ) from exc

    async def commit(self, commit: Commit) -> None:
        """Write one round in one transaction, on disk when this returns."""
        await self.run(lambda database: _write(database, commit))

    def give_sequence(self, target: str, number: int, sequence: int, folded: int = 0) -> "asyncio.Future[None]":
        """Record, before it is sent, which sequence number a target's message has.

        What cannot be written now is written with the next transaction that succeeds.
        """

        def note(_: sqlite3.Connection) -> None:
            self._sequences[target] = sequence, None
            self._fates[target, number] = _Fate(sequence, folded)

        return self._hand_over(note)

    def give_beat(self, target: str, sequence: int, at: float) -> "asyncio.Future[None]":
        """Record, before it is sent, which sequence number a target's heartbeat of a time has; nothing else is kept."""

        def note(_: sqlite3.Connection) -> None:
            self._sequences[target] = sequence, at

        return self._hand_over(note)

    def forget(self, unreadable: Collection[tuple[str, int]]) -> "asyncio.Future[None]":
        """Record that targets will never get these messages, of which nothing is known but the number."""

        def note(_: sqlite3.Connection) -> None:
            self._fates |= dict.fromkeys(unreadable, _Fate(settled=True))

        return self._hand_over(note)

    def settle(self, deliveries: Collection[Delivery]) -> "asyncio.Future[None]":
        """Record that targets have, or will never have, messages, even those whose own commit has failed so far.

        What has a sequence number is kept for a replay.
        """

        def note(_: sqlite3.Connection) -> None:
            for each in deliveries:
                self._fates[each.target, each.number] = _Fate(each.sequence, each.folded, settled=True)

        return self._hand_over(note)

    def fold(self, into: Delivery, gone: Collection[Delivery]) -> "asyncio.Future[None]":
        """Record that a message, which has not been sent yet, stands for others at its target, which it now counts."""

        def note(_: sqlite3.Connection) -> None:
            self._fates[into.target, into.number] = _Fate(None, into.folded)
            for each in gone:
                self._fates[each.target, each.number] = _Fate(settled=True)

        return self._hand_over(note)

    async def reserve(self) -> None:
        """Make room inside the files for what must be written when the disk is full; on a disk that nearly is, none."""

        def grow(database: sqlite3.Connection) -> None:
            wanting = self._wanting(database)
            if wanting and self._free() < wanting + SPARE:
                log.warning(
                    "state: %s has no room to spare, nothing is reserved for when its disk is full; make room on it",
                    self.directory,
                )
                return
            database.execute("INSERT OR REPLACE INTO meta VALUES ('reserve', zeroblob(?))", (RESERVE,))

        await self.run(grow)
        # Outside a transaction. The log begins again at its start, in the room it has.
        self._requests.put(self._checkpoint)
        await self.run(lambda database: database.execute("DELETE FROM meta WHERE key = 'reserve'"))

    async def finish(self) -> None:
        """Finish what was handed over, for the end of the process.

        It is not closed then: SQLite would remove its log, and with it the room that the next process needs
        where the disk is full.
        """
        with contextlib.suppress(sqlite3.Error):
            await self.run(lambda _: None)

    def close(self) -> None:
        """Finish what was handed over, then close; a hung disk is left to the thread."""
        self._requests.put(None)
        self._thread.join(CLOSE_PATIENCE)

    def _serve(self) -> None:
        while (work := self._requests.get()) is not None:
            work()
        self._database.close()
        os.close(self._lock)

    def _transact(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if not self._in_place():
            # SQLite would go on writing to the file without a name, and all of it would be gone at the end.
            raise sqlite3.OperationalError("state.sqlite3 was removed or replaced under the daemon; restart it")
        with self._database as database:
            result = function(database)
            written = self._write_fates(database)
        self._sequences.clear()
        for key in written:
            del self._fates[key]
        return result

    def _write_fates(self, database: sqlite3.Connection) -> list[tuple[str, int]]:
        """Write what targets did and return what is done; a message that is not on disk yet keeps its fate waiting."""
        given = [(target, *last) for target, last in self._sequences.items()]
        database.executemany("INSERT OR REPLACE INTO destination VALUES (?, ?, ?)", given)
        if not self._fates:
            return []
        row = database.execute("SELECT value FROM meta WHERE key = 'last_message'").fetchone()
        last = 0 if row is None else int(row[0])
        for (target, number), fate in self._fates.items():
            if not fate.settled:
                database.execute(
                    "UPDATE delivery SET sequence = ?, folded = ? WHERE target = ? AND number = ?",
                    (fate.sequence, fate.folded, target, number),
                )
                continue
            if fate.sequence is not None:
                database.execute(
                    "INSERT OR REPLACE INTO sent SELECT ?, ?, number, ? FROM message WHERE number = ?",
                    (target, fate.sequence, fate.folded, number),
                )
            database.execute("DELETE FROM delivery WHERE target = ? AND number = ?", (target, number))
        return [key for key in self._fates if key[1] <= last]

    def _in_place(self) -> bool:
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # SQLite itself will say what is wrong
        return (status.st_dev, status.st_ino) == self._file

    def _wanting(self, database: sqlite3.Connection) -> int:
        """Return by how much the reserve would make the database and its log grow."""
        unused, page = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
        log_size = os.stat(self._path + "-wal").st_size
        return max(0, RESERVE - int(unused) * int(page)) + max(0, RESERVE - log_size)

    def _free(self) -> int:
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize

    def _checkpoint(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._database.execute("PRAGMA wal_checkpoint(RESTART)")

    def _open(self) -> sqlite3.Connection:
        path = self._path
        with contextlib.suppress(FileNotFoundError):
            os.chmod(path, 0o600)
        old_mask = os.umask(0o077)
        try:
            database = sqlite3.connect(path, check_same_thread=False, timeout=5.0)
            database.execute("PRAGMA journal_mode = WAL")
        finally:
            os.umask(old_mask)
        status = os.stat(path)
        self._file = status.st_dev, status.st_ino
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        database.execute("PRAGMA foreign_keys = ON")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StateError(refusal(path, version))
        bring_forward(database, path, version)
        return database

    def _bind(self, identity: str) -> str | None:
        """Tie the state to this host.

        A clone sends nothing that the original owes, and to every target it is someone new: its numbers begin at 1,
        and its SNMP identity is its own.
        """
        row = self._database.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
        former = None if row is None else str(row[0])
        if former == identity:
            return None
        with self._database as database:
            if former is not None:
                database.execute("UPDATE delivery SET target = ? || target", (QUARANTINE,))
                database.execute("DELETE FROM destination")
                database.execute("DELETE FROM sent")
                database.execute("DELETE FROM meta WHERE key LIKE 'snmp_%'")
            fresh = {"identity": identity, "install_id": secrets.token_hex(4)}
            database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", fresh.items())
        return former


def _write(database: sqlite3.Connection, commit: Commit) -> None:
    database.executemany("INSERT OR REPLACE INTO log_position VALUES (?, ?)", commit.positions.items())
    gone = [key for key, value in commit.rows.items() if value is None]
    kept = [(*key, value) for key, value in commit.rows.items() if value is not None]
    database.executemany("DELETE FROM collector_row WHERE collector = ? AND key = ?", gone)
    database.executemany("INSERT OR REPLACE INTO collector_row VALUES (?, ?, ?)", kept)
    over = [(key,) for key, alarm in commit.alarms.items() if alarm is None]
    standing = [(key, json.dumps(alarm)) for key, alarm in commit.alarms.items() if alarm is not None]
    database.executemany("DELETE FROM alarm WHERE key = ?", over)
    database.executemany("INSERT OR REPLACE INTO alarm VALUES (?, ?)", standing)
    meta = dict(commit.meta)
    if commit.messages:
        messages = [(n, json.dumps(message.to_json()), message.at) for n, (message, _) in commit.messages.items()]
        deliveries = [(number, target) for number, (_, targets) in commit.messages.items() for target in targets]
        database.executemany("INSERT OR REPLACE INTO message VALUES (?, ?, ?)", messages)
        database.executemany("INSERT OR IGNORE INTO delivery (number, target) VALUES (?, ?)", deliveries)
        last = max(commit.messages)
        meta["last_message"] = str(last)
        database.execute(
            "DELETE FROM message WHERE (number <= ? OR at < ?) AND number NOT IN (SELECT number FROM delivery)",
            (last - KEPT_MESSAGES, commit.messages[last][0].at - KEPT_SECONDS),
        )
    database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())


def _lock(directory: str) -> int:
    descriptor = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(descriptor)
        raise StateError(
            f"state directory {directory}: another zcs-exporter is using it; stop that one or set state.directory"
        ) from exc
    return descriptor


def host_identity() -> str:
    """Return what tells this machine from a copy of it: machine-id and host name."""
    machine = ""
    with contextlib.suppress(OSError), open("/etc/machine-id", encoding="ascii") as file:
        machine = file.read().strip()
    return f"{machine}:{socket.gethostname()}"
