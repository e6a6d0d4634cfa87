"""What is committed is there after any end of the process, whole or not at all."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from zcs_exporter import state as state_module
from zcs_exporter.alerting.alarm import Alarm, SeverityState
from zcs_exporter.alerting.model import Severity
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.state import RESERVE, Commit, Delivery, Saved, StateError, StateStore, read_saved
from zcs_exporter.state_schema import SCHEMA_VERSION, SCHEMAS

T = TypeVar("T")
HERE = "machine:mail"
ALARM = Alarm("A", (("mountpoint", "/a"),), {Severity.WARNING: SeverityState(1000.0, firing=True)}, 3, Severity.WARNING)


def message(number: int) -> Message:
    return Message(MessageKind.TEST, f"event-{number}", "mail.example.com", "", 1000.0 + number, f"text {number}")


def owed(number: int, sequence: int | None = None, folded: int = 0) -> Delivery:
    return Delivery(number, "nms", message(number), sequence, folded)


def use(directory: Path, work: Callable[[StateStore], Awaitable[T]], identity: str = HERE) -> T:
    """Open the state, do something and close it again, as a process would."""
    store = StateStore(str(directory), identity)
    try:
        return asyncio.run(_await(work(store)))
    finally:
        store.close()


async def _await(work: Awaitable[T]) -> T:
    return await work


def saved(directory: Path, identity: str = HERE) -> Saved:
    return use(directory, lambda store: store.run(read_saved), identity)


def test_everything_of_a_round_is_read_back(tmp_path: Path) -> None:
    commit = Commit(
        positions={"/var/log/zimbra.log": "here"},
        rows={("auth", "counters"): "[1]", ("auth", "gone"): None},
        alarms={"A{}": ALARM.to_json()},
        messages={7: (message(7), ("nms", "spare"))},
        meta={"baseline": "1", "next_alarm": "4"},
    )

    use(tmp_path, lambda store: store.commit(commit))
    found = saved(tmp_path)

    assert found.positions == {"/var/log/zimbra.log": "here"}
    assert found.rows == {"auth": {"counters": "[1]"}}
    assert found.alarms == [ALARM]
    assert [(each.number, each.target, each.message, each.sequence) for each in found.deliveries] == [
        (7, "nms", message(7), None),
        (7, "spare", message(7), None),
    ]
    assert (found.next_message, found.next_alarm) == (8, 4)
    assert found.meta["baseline"] == "1"


def test_a_later_change_replaces_and_deletes(tmp_path: Path) -> None:
    alarms = {"A{}": ALARM.to_json(), "B{}": Alarm("B", ()).to_json()}
    first = Commit(rows={("auth", "a"): "1", ("auth", "b"): "1"}, alarms=alarms)  # type: ignore[arg-type]
    first.absorb(Commit(rows={("auth", "a"): "2", ("auth", "b"): None}, alarms={"A{}": None}))

    use(tmp_path, lambda store: store.commit(first))

    assert saved(tmp_path).rows == {"auth": {"a": "2"}}
    assert saved(tmp_path).alarms == [Alarm("B", ())]


def test_a_sequence_number_is_kept_with_its_message_until_that_is_settled(tmp_path: Path) -> None:
    async def deliver(store: StateStore) -> None:
        await store.commit(Commit(messages={1: (message(1), ("nms",)), 2: (message(2), ("nms",))}))
        await store.give_sequence("nms", 1, 41)
        await store.give_beat("nms", 42, 1042.0)
        await store.settle([owed(2)])

    use(tmp_path, deliver)

    assert [(each.number, each.sequence) for each in saved(tmp_path).deliveries] == [(1, 41)]
    assert saved(tmp_path).sequences == {"nms": 42}
    assert saved(tmp_path).beats == {"nms": 1042.0}


def test_what_was_delivered_while_nothing_could_be_saved_does_not_wait_afterwards(tmp_path: Path) -> None:
    old, new = Commit(messages={1: (message(1), ("nms",))}), Commit(messages={2: (message(2), ("nms", "spare"))})
    blocked = sqlite3.connect(tmp_path / "state.sqlite3", isolation_level=None)

    async def deliver(store: StateStore) -> None:
        await store.run(lambda database: database.execute("PRAGMA busy_timeout = 0"))
        await store.commit(old)
        blocked.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError):
            await store.settle([owed(1, 41)])
        with pytest.raises(sqlite3.OperationalError):
            await store.commit(new)
        blocked.execute("ROLLBACK")
        await store.settle([owed(2)])  # before the message itself could be saved
        await store.commit(new)

    use(tmp_path, deliver)
    blocked.close()

    assert [(each.number, each.target) for each in saved(tmp_path).deliveries] == [(2, "spare")]


def test_message_numbers_are_never_used_again(tmp_path: Path) -> None:
    async def forget_all(store: StateStore) -> None:
        await store.commit(Commit(messages={9: (message(9), ())}))
        await store.run(lambda database: database.execute("DELETE FROM message"))

    use(tmp_path, forget_all)

    assert saved(tmp_path).next_message == 10


def test_a_second_daemon_is_refused_with_the_remedy(tmp_path: Path) -> None:
    store = StateStore(str(tmp_path), HERE)
    try:
        with pytest.raises(StateError, match="another zcs-exporter is using it"):
            StateStore(str(tmp_path), HERE)
    finally:
        store.close()


@pytest.mark.parametrize("kept", [False, True])
def test_a_newer_schema_is_refused_and_left_alone_and_a_copy_of_ours_named(tmp_path: Path, kept: bool) -> None:
    saved(tmp_path)
    with sqlite3.connect(tmp_path / "state.sqlite3") as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    copy = tmp_path / f"state.sqlite3.schema-{SCHEMA_VERSION}"
    if kept:
        copy.touch()

    with pytest.raises(StateError, match="newer zcs-exporter") as caught:
        StateStore(str(tmp_path), HERE)

    assert str(caught.value).endswith(
        f"and put {copy}, a copy from before, in its place" if kept else "move the file and its -wal away"
    )


def test_what_is_not_a_database_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite3").write_bytes(b"not a database, but long enough to be looked at" * 100)

    with pytest.raises(StateError, match=r"move state\.sqlite3 away"):
        StateStore(str(tmp_path), HERE)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE alarm SET alarm = '{'",
        "UPDATE alarm SET alarm = '{}'",
        "UPDATE alarm SET alarm = '[]'",
        "UPDATE alarm SET alarm = json_remove(alarm, '$.labels')",
        "UPDATE alarm SET alarm = json_remove(alarm, '$.alert')",
        "UPDATE alarm SET alarm = json_remove(alarm, '$.told_at')",
        "UPDATE alarm SET alarm = json_remove(alarm, '$.states.WARNING.ended')",
        "UPDATE alarm SET alarm = json_set(alarm, '$.labels', json('[]'))",
        "UPDATE alarm SET alarm = json_set(alarm, '$.alarm_id', 'one')",
        "UPDATE alarm SET alarm = json_set(alarm, '$.told_at', json('null'))",
        "UPDATE alarm SET alarm = json_set(alarm, '$.states.WARNING.active_since', json('null'))",
        "UPDATE alarm SET alarm = json_set(alarm, '$.severity', 'LOUD')",
        "UPDATE alarm SET alarm = json_set(alarm, '$.colour', 'red')",
        "INSERT INTO meta VALUES ('next_alarm', 'many')",
        "INSERT OR REPLACE INTO meta VALUES ('last_message', '')",
    ],
)
def test_damaged_rows_are_refused_with_the_remedy(tmp_path: Path, damage: str) -> None:
    async def break_it(store: StateStore) -> None:
        await store.commit(Commit(alarms={"A{}": ALARM.to_json()}, messages={1: (message(1), ("nms",))}))
        await store.load()
        await store.run(lambda database: database.execute(damage))
        with pytest.raises(StateError, match=r"move state\.sqlite3 away"):
            await store.load()

    use(tmp_path, break_it)


def test_a_directory_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StateError, match="install -d -m 700"):
        StateStore(str(tmp_path / "file" / "state"), HERE)


def test_nobody_else_can_read_the_state(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    saved(directory)

    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "state.sqlite3").stat().st_mode & 0o077 == 0


def test_a_clone_keeps_back_what_the_original_owes_and_takes_a_new_identity(tmp_path: Path) -> None:
    async def owe(store: StateStore) -> None:
        await store.commit(Commit(messages={1: (message(1), ("nms",))}, meta={"snmp_engine_id": "80", "baseline": "1"}))

    use(tmp_path, owe)
    original = saved(tmp_path)
    clone = saved(tmp_path, "machine:copy")

    assert [each.target for each in clone.deliveries] == ["quarantine:nms"]
    assert "snmp_engine_id" not in clone.meta
    assert clone.meta["install_id"] != original.meta["install_id"]
    assert clone.meta["baseline"] == "1"


def test_a_transaction_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    async def fail(store: StateStore) -> None:
        bad = Commit(rows={("auth", "a"): "1"}, meta={"x": None})  # type: ignore[dict-item]  # NOT NULL refuses it
        with pytest.raises(sqlite3.IntegrityError):
            await store.commit(bad)
        await store.commit(Commit(meta={"y": "1"}))

    use(tmp_path, fail)

    assert saved(tmp_path).rows == {}
    assert saved(tmp_path).meta["y"] == "1"


def test_a_killed_process_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from zcs_exporter.state import Commit, StateStore
async def main():
    store = StateStore(sys.argv[1], "machine:mail")
    for number in range(1_000_000):
        await store.commit(Commit(positions={"log": str(number)}, rows={("auth", "count"): str(number)}))
        print(number, flush=True)
asyncio.run(main())
"""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root, env=os.environ
    ) as process:
        assert process.stdout is not None
        seen = [next(process.stdout) for _ in range(20)]
        process.send_signal(signal.SIGKILL)

    found = saved(tmp_path)

    assert found.positions["log"] == found.rows["auth"]["count"]
    assert int(found.positions["log"]) >= int(seen[-1])


def test_a_delivered_message_whose_commit_failed_keeps_its_number_until_then_and_does_not_come_again(
    tmp_path: Path,
) -> None:
    async def deliver(store: StateStore) -> None:
        await store.give_sequence("nms", 1, 41)
        await store.give_sequence("nms", 2, 42)
        await store.settle([owed(1, 41)])
        await store.commit(Commit(messages={1: (message(1), ("nms",)), 2: (message(2), ("nms",))}))

    use(tmp_path, deliver)
    found = saved(tmp_path)

    assert [(each.number, each.sequence) for each in found.deliveries] == [(2, 42)]
    assert found.sequences == {"nms": 42}


def test_sequence_numbers_that_could_not_be_saved_are_with_the_next_transaction(tmp_path: Path) -> None:
    blocked = sqlite3.connect(tmp_path / "state.sqlite3", isolation_level=None)

    async def deliver(store: StateStore) -> None:
        await store.run(lambda database: database.execute("PRAGMA busy_timeout = 0"))
        blocked.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError):
            await store.give_beat("nms", 7, 1007.0)
        blocked.execute("ROLLBACK")
        await store.commit(Commit(meta={"a": "b"}))

    use(tmp_path, deliver)
    blocked.close()

    assert saved(tmp_path).sequences == {"nms": 7}


@pytest.mark.parametrize("replace", [False, True])
def test_a_database_removed_under_the_daemon_is_an_error_and_not_written_into_the_void(
    tmp_path: Path, replace: bool
) -> None:
    async def write(store: StateStore) -> None:
        await store.commit(Commit(meta={"a": "b"}))
        for ending in ("", "-wal", "-shm"):
            os.unlink(f"{tmp_path}/state.sqlite3{ending}")
        if replace:
            os.mknod(tmp_path / "state.sqlite3")
        with pytest.raises(sqlite3.OperationalError, match="restart"):
            await store.commit(Commit(meta={"a": "c"}))

    use(tmp_path, write)


def test_the_end_of_a_process_leaves_the_reserved_room(tmp_path: Path) -> None:
    async def reserve(store: StateStore) -> None:
        await store.reserve()
        await store.commit(Commit(meta={"a": "b"}))
        await store.finish()
        assert (tmp_path / "state.sqlite3-wal").stat().st_size > RESERVE
        assert (tmp_path / "state.sqlite3").stat().st_size > RESERVE

    use(tmp_path, reserve)

    assert "reserve" not in saved(tmp_path).meta


class Cramped(StateStore):
    """On a disk with little room."""

    free = 2 * RESERVE

    def _free(self) -> int:
        return self.free


def test_the_reserve_is_not_what_fills_a_disk_that_nearly_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Cramped(str(tmp_path), HERE)
    try:
        asyncio.run(store.reserve())
    finally:
        store.close()
    assert (tmp_path / "state.sqlite3").stat().st_size < RESERVE
    assert "nothing is reserved" in caplog.text


def test_room_that_was_reserved_before_needs_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Cramped(str(tmp_path), HERE)
    try:
        store.free = 1 << 40
        asyncio.run(store.reserve())
        store.free = 0
        asyncio.run(store.reserve())
    finally:
        store.close()
    assert "nothing is reserved" not in caplog.text


def rows(store: StateStore, query: str) -> Awaitable[list[tuple[object, ...]]]:
    return store.run(lambda database: database.execute(query).fetchall())


def test_what_was_sent_is_kept_by_its_number_for_a_replay(tmp_path: Path) -> None:
    async def deliver(store: StateStore) -> None:
        await store.commit(Commit(messages={number: (message(number), ("nms",)) for number in (1, 2, 3)}))
        await store.give_sequence("nms", 1, 41, folded=6)
        await store.settle([owed(1, 41, folded=6)])
        await store.settle([owed(2)])
        assert await rows(store, "SELECT * FROM sent") == [("nms", 41, 1, 6)]
        assert [each.number for each in (await store.run(read_saved)).deliveries] == [3]

    use(tmp_path, deliver)


def test_what_is_folded_is_not_owed_and_its_count_is_on_disk_with_the_same_transaction(tmp_path: Path) -> None:
    async def deliver(store: StateStore) -> None:
        await store.commit(Commit(messages={number: (message(number), ("nms",)) for number in (1, 2, 3)}))
        await store.fold(owed(3, folded=2), [owed(1), owed(2)])
        (left,) = (await store.run(read_saved)).deliveries
        assert (left.number, left.sequence, left.folded) == (3, None, 2)
        assert left.told.text == message(3).standing_for(2).text

    use(tmp_path, deliver)


def test_history_is_forgotten_by_number_and_by_age_but_nothing_that_is_owed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "KEPT_MESSAGES", 10)

    async def grow(store: StateStore) -> None:
        await store.commit(Commit(messages={1: (message(1), ("nms",)), 2: (message(2), ())}))
        await store.give_sequence("nms", 1, 41)
        await store.commit(Commit(messages={number: (message(number), ()) for number in range(3, 13)}))
        assert [row[0] for row in await rows(store, "SELECT number FROM message")] == [1, *range(3, 13)]
        await store.settle([owed(1, 41)])
        month_later = replace(message(13), at=message(12).at + state_module.KEPT_SECONDS)
        await store.commit(Commit(messages={13: (month_later, ())}))
        assert [row[0] for row in await rows(store, "SELECT number FROM message")] == [12, 13]
        assert await rows(store, "SELECT * FROM sent") == []

    use(tmp_path, grow)


def test_an_older_schema_is_brought_forward_and_a_copy_of_it_kept(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "state.sqlite3")
    old.executescript(SCHEMAS[0] + "PRAGMA user_version = 1")
    old.execute("INSERT INTO message VALUES (7, ?)", (json.dumps(message(7).to_json()),))
    old.execute("INSERT INTO delivery VALUES (7, 'nms', 41)")
    old.execute("INSERT INTO meta VALUES ('identity', ?), ('install_id', 'abc')", (HERE,))
    old.commit()
    old.close()

    (left,) = saved(tmp_path).deliveries

    assert (left.number, left.message, left.sequence, left.folded) == (7, message(7), 41, 0)
    copy = tmp_path / "state.sqlite3.schema-1"
    assert copy.stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(copy)) as before:
        assert before.execute("PRAGMA user_version").fetchone() == (1,)
        assert before.execute("SELECT number, sequence FROM delivery").fetchall() == [(7, 41)]


def test_a_damaged_message_does_not_keep_an_older_schema_from_being_brought_forward(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "state.sqlite3")
    old.executescript(SCHEMAS[0] + "PRAGMA user_version = 1")
    texts = ['{"broken', "{}", json.dumps(message(9).to_json())]
    old.executemany("INSERT INTO message VALUES (?, ?)", zip((7, 8, 9), texts, strict=True))
    old.executemany("INSERT INTO delivery VALUES (?, 'nms', NULL)", [(7,), (8,), (9,)])
    old.execute("INSERT INTO meta VALUES ('identity', ?), ('install_id', 'abc')", (HERE,))
    old.commit()
    old.close()

    left = saved(tmp_path)

    assert [each.number for each in left.deliveries] == [9]
    assert left.unreadable == [("nms", 7), ("nms", 8)]


def test_an_alarm_saved_before_alarms_could_flap_is_read(tmp_path: Path) -> None:
    data = ALARM.to_json()
    for name in ("verdict", "changes", "flapping"):
        del data[name]
    use(tmp_path, lambda store: store.commit(Commit(alarms={"A{}": data})))

    (alarm,) = saved(tmp_path).alarms

    assert (alarm.verdict, alarm.changes, alarm.flapping) == (Severity.WARNING, (), False)


def test_to_its_targets_a_clone_is_someone_new(tmp_path: Path) -> None:
    async def deliver(store: StateStore) -> None:
        await store.commit(Commit(messages={1: (message(1), ("nms",))}))
        await store.give_sequence("nms", 1, 41)

    use(tmp_path, deliver)
    clone = saved(tmp_path, "machine:copy")

    assert clone.sequences == {}
    assert clone.next_message == 2


@pytest.mark.parametrize("damage", ["{}", "{", "[]", "7", '{"kind": "loud"}'])
def test_a_damaged_message_is_set_aside_and_the_others_are_owed(tmp_path: Path, damage: str) -> None:
    async def break_it(store: StateStore) -> None:
        await store.commit(Commit(messages={number: (message(number), ("nms",)) for number in (1, 2)}))
        await store.run(lambda database: database.execute("UPDATE message SET message = ? WHERE number = 1", (damage,)))
        found = await store.load()
        assert [each.number for each in found.deliveries] == [2]
        assert found.unreadable == [("nms", 1)]
        await store.forget(found.unreadable)
        assert (await store.load()).unreadable == []

    use(tmp_path, break_it)
