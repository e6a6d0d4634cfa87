"""Reads what a collector saved, beside a running daemon.

Nothing is written but SQLite's note of a reader in its shared memory, and no writer waits: in its write-ahead log
readers see the last commit of before.
"""

import os
import pwd
import sqlite3
import urllib.parse
from contextlib import closing

from zcs_exporter.state import SCHEMA_VERSION, StateError

_PATIENCE = 5.0


def read_rows(directory: str, collector: str, begin: str) -> dict[str, str]:
    """Return the rows of a collector whose keys begin with ``begin``.

    Raises:
        StateError: There is no state, it may not be read, is damaged, or a newer version wrote it.
    """
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
                raise StateError(f"{path} was written by a newer zcs-exporter (schema {version}); use that version")
            found = database.execute(
                "SELECT key, value FROM collector_row WHERE collector = ? AND key >= ? AND substr(key, 1, ?) = ?",
                (collector, begin, len(begin), begin),
            )
            return dict(found.fetchall())
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
