"""Reads what is saved, beside a running daemon.

Nothing is written but SQLite's note of a reader in its shared memory, and no writer waits: in its write-ahead log
readers see the last commit of before.
"""

import json
import os
import pwd
import sqlite3
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from zcs_exporter.notify.message import Message
from zcs_exporter.state import Delivery, StateError
from zcs_exporter.state_schema import SCHEMA_VERSION, refusal

_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Damaged:
    """A message that was sent and cannot be read any more."""

    sequence: int
    why: str


def read_rows(directory: str, collector: str, begin: str) -> dict[str, str]:
    """Return the rows of a collector whose keys begin with ``begin``.

    Raises:
        StateError: There is no state, it may not be read, is damaged, or a newer version wrote it.
    """
    with _database(directory) as database:
        found = database.execute(
            "SELECT key, value FROM collector_row WHERE collector = ? AND key >= ? AND substr(key, 1, ?) = ?",
            (collector, begin, len(begin), begin),
        )
        return dict(found.fetchall())


def read_meta(directory: str, key: str) -> str | None:
    """Return one of the daemon's own notes, None where it is not there.

    Raises:
        StateError: As for ``read_rows``.
    """
    with _database(directory) as database:
        row = database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])


def read_sent(directory: str, target: str, first: int, last: int | None) -> list[Delivery | Damaged]:
    """Return what was sent to a target under the sequence numbers ``first`` to ``last``, or to the newest.

    Raises:
        StateError: As for ``read_rows``.
    """
    with _database(directory) as database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version < SCHEMA_VERSION:
            raise StateError(f"{directory}: an older zcs-exporter kept nothing to replay; start the daemon")
        rows = database.execute(
            "SELECT number, message, sequence, folded FROM sent JOIN message USING (number) "
            "WHERE target = ? AND sequence BETWEEN ? AND ? ORDER BY sequence",
            (target, first, 2**62 if last is None else last),
        ).fetchall()
    return [_sent(number, target, text, sequence, folded) for number, text, sequence, folded in rows]


def _sent(number: int, target: str, text: str, sequence: int, folded: int) -> Delivery | Damaged:
    try:
        return Delivery(number, target, Message.from_json(json.loads(text)), sequence, folded)
    except (AttributeError, LookupError, TypeError, ValueError) as exc:
        return Damaged(sequence, str(exc))


@contextmanager
def _database(directory: str) -> Iterator[sqlite3.Connection]:
    path = os.path.join(directory, "state.sqlite3")
    try:
        with open(path, "rb"):
            pass
    except PermissionError as exc:
        raise StateError(f"{path}: only root and {_owner(directory)} may read it; run this as one of them") from exc
    except FileNotFoundError as exc:
        raise StateError(f"{path}: {exc.strerror}; start the daemon first, or name its --config") from exc
    except OSError as exc:
        raise StateError(f"{path}: {exc.strerror}") from exc
    try:
        # Rows of one moment: a transaction that ends before anything is made of them.
        with closing(sqlite3.connect(_address(path), uri=True, timeout=_PATIENCE)) as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise StateError(refusal(path, version))
            yield database
    except sqlite3.Error as exc:
        raise StateError(f"{path}: {exc}; if the daemon does not say why, move it away to start afresh") from exc


def _address(path: str) -> str:
    """Return how SQLite opens the file for reading.

    Where there is no log beside it nobody has it open, and SQLite would make one.
    """
    alone = not os.path.exists(path + "-wal")
    return f"file:{urllib.parse.quote(path)}?mode=ro{'&immutable=1' if alone else ''}"


def _owner(directory: str) -> str:
    try:
        uid = os.stat(directory).st_uid
    except OSError:
        return "the daemon's user"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
