"""What was saved is read beside the daemon, and not a byte of it is changed."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from zcs_exporter.state import Commit, StateError, StateStore
from zcs_exporter.state_reader import read_meta, read_rows, read_sent
from zcs_exporter.state_schema import SCHEMA_VERSION, SCHEMAS

ROWS = {("mailflow", "day:1"): "x", ("mailflow", "day"): "no", ("mailflow", "dayz"): "no", ("auth", "day:2"): "no"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


def filled(directory: Path) -> StateStore:
    store = StateStore(str(directory), "machine:mail")
    asyncio.run(store.commit(Commit(rows=dict(ROWS))))
    return store


def content(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if not file.name.endswith("-shm")}


def test_rows_are_read_while_the_daemon_writes_and_nothing_is_changed(directory: Path) -> None:
    store = filled(directory)
    before = content(directory)
    assert read_rows(str(directory), "mailflow", "day:") == {"day:1": "x"}
    assert content(directory) == before

    asyncio.run(store.commit(Commit(rows={("mailflow", "day:3"): "y", ("mailflow", "day:1"): None})))
    assert read_rows(str(directory), "mailflow", "day:") == {"day:3": "y"}
    store.close()


def test_a_database_that_was_closed_is_read_without_a_file_beside_it(directory: Path) -> None:
    filled(directory).close()
    before = content(directory)

    assert read_rows(str(directory), "mailflow", "day:") == {"day:1": "x"}
    assert content(directory) == before
    assert set(os.listdir(directory)) == {"lock", "state.sqlite3"}


def test_what_a_killed_daemon_left_in_the_log_is_read_and_stays_its_own(directory: Path, tmp_path: Path) -> None:
    store = filled(directory)
    killed = tmp_path / "killed"
    shutil.copytree(directory, killed)
    store.close()
    (killed / "state.sqlite3-shm").unlink()
    if os.geteuid() == 0:
        for file in (killed, *killed.iterdir()):
            os.chown(file, 64101, 64101)

    assert read_rows(str(killed), "mailflow", "day:") == {"day:1": "x"}
    assert len({file.stat().st_uid for file in killed.iterdir()}) == 1


def test_without_state_it_says_to_start_the_daemon(directory: Path) -> None:
    with pytest.raises(StateError, match="start the daemon first"):
        read_rows(str(directory), "mailflow", "day:")


def test_who_may_not_read_it_is_told_who_may(directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    filled(directory).close()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            read_rows(str(directory), "mailflow", "day:")
        except StateError as exc:
            os.write(writer, str(exc).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)

    assert b"only root and " in os.read(reader, 1000)
    os.close(reader)


def test_a_newer_schema_and_a_damaged_file_are_refused(directory: Path) -> None:
    filled(directory).close()
    with sqlite3.connect(directory / "state.sqlite3") as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    with pytest.raises(StateError, match="newer zcs-exporter"):
        read_rows(str(directory), "mailflow", "day:")

    (directory / "state.sqlite3").write_bytes(b"not a database" * 100)
    for name in ("state.sqlite3-wal", "state.sqlite3-shm"):
        (directory / name).unlink(missing_ok=True)
    with pytest.raises(StateError, match="not a database"):
        read_rows(str(directory), "mailflow", "day:")


def test_a_name_with_signs_that_mean_something_in_an_address_is_a_name(tmp_path: Path) -> None:
    directory = tmp_path / "a?b#c%41 d"
    filled(directory).close()

    assert read_rows(str(directory), "mailflow", "day:") == {"day:1": "x"}


def test_a_note_of_the_daemon_is_read_and_one_that_is_not_there_is_none(directory: Path) -> None:
    store = StateStore(str(directory), "machine:mail")
    asyncio.run(store.commit(Commit(meta={"snmp_engine_id": "8000"})))
    assert read_meta(str(directory), "snmp_engine_id") == "8000"
    assert read_meta(str(directory), "nothing") is None


def test_what_an_older_version_sent_cannot_be_sent_again_and_nobody_is_told_to_throw_it_away(directory: Path) -> None:
    directory.mkdir()
    with closing(sqlite3.connect(directory / "state.sqlite3")) as old:
        old.executescript(SCHEMAS[0] + "PRAGMA user_version = 1")
    with pytest.raises(StateError, match=r"kept nothing to replay; start the daemon$"):
        read_sent(str(directory), "nms", 1, None)
