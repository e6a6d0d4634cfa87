"""The tables of the state's database, and the way from an older version to the newest."""

import contextlib
import os
import sqlite3

SCHEMAS = (
    """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE log_position (path TEXT PRIMARY KEY, position TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE collector_row (collector TEXT, key TEXT, value TEXT NOT NULL, PRIMARY KEY (collector, key)) WITHOUT ROWID;
CREATE TABLE alarm (key TEXT PRIMARY KEY, alarm TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE message (number INTEGER PRIMARY KEY, message TEXT NOT NULL);
CREATE TABLE delivery (
    number INTEGER NOT NULL REFERENCES message (number) ON DELETE CASCADE,
    target TEXT NOT NULL,
    sequence INTEGER,
    PRIMARY KEY (target, number)
) WITHOUT ROWID;
CREATE TABLE destination (target TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
""",
    """
ALTER TABLE message ADD COLUMN at REAL NOT NULL DEFAULT 0;
UPDATE message SET at = coalesce(json_extract(message, '$.at'), 0) WHERE json_valid(message);
ALTER TABLE delivery ADD COLUMN folded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN beat REAL;
CREATE TABLE sent (
    target TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    number INTEGER NOT NULL REFERENCES message (number) ON DELETE CASCADE,
    folded INTEGER NOT NULL,
    PRIMARY KEY (target, sequence)
) WITHOUT ROWID;
CREATE INDEX sent_number ON sent (number);
""",
)
"""Each leads from the version before it to its own; the first from nothing to 1."""

SCHEMA_VERSION = len(SCHEMAS)


def bring_forward(database: sqlite3.Connection, path: str, version: int) -> None:
    """Make the newest tables out of those of ``version``, 0 for none; a copy of what there was is kept beside ``path``.

    Raises:
        sqlite3.Error: The disk is full, or the tables are not those of that version.
    """
    if 0 < version < SCHEMA_VERSION:
        _copy(database, _copy_name(path, version))
    for number in range(version, SCHEMA_VERSION):
        database.executescript(f"BEGIN; {SCHEMAS[number]} PRAGMA user_version = {number + 1}; COMMIT")


def refusal(path: str, version: int) -> str:
    """Return what to say of the tables of a newer version, and of the copy that it kept of older ones."""
    text = (
        f"{path} was written by a newer zcs-exporter (schema {version}, this one knows {SCHEMA_VERSION}); "
        "install that version again"
    )
    copies = (_copy_name(path, older) for older in range(SCHEMA_VERSION, 0, -1))
    kept = next(filter(os.path.exists, copies), None)
    if kept is None:
        return f"{text}, or stop the daemon and move the file and its -wal away"
    return (
        f"{text}, or, without what happened since, stop the daemon, move the file and its -wal away and put {kept}, "
        "a copy from before, in its place"
    )


def _copy_name(path: str, version: int) -> str:
    return f"{path}.schema-{version}"


def _copy(database: sqlite3.Connection, path: str) -> None:
    """Keep the database as it is, before it is changed for good."""
    old_mask = os.umask(0o077)
    try:
        with contextlib.closing(sqlite3.connect(path)) as copy:
            database.backup(copy)
    finally:
        os.umask(old_mask)
