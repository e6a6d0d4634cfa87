from hypothesis import given
from hypothesis import strategies as st

from zcs_exporter.contract import Grade, Record
from zcs_exporter.record_queue import RecordQueue


def record(kind: str = "attack", at: float = 1.0, **fields: str) -> Record:
    return Record(kind, at, Grade.WARNING, fields, "/var/log/zimbra.log", 7)


def again(queue: RecordQueue) -> RecordQueue:
    later = RecordQueue(queue._most, queue._others, merging=queue._merging)  # as the next process makes it
    later.restore(queue.save())
    return later


def test_records_are_told_once_in_order() -> None:
    queue = RecordQueue()
    first, second = record(account="ann"), record(account="ann")
    queue.add(first)
    queue.add(second)
    assert queue
    assert queue.take() == [first, second]
    assert not queue
    assert queue.take() == []


def test_more_of_a_kind_than_are_told_become_one_that_counts_them() -> None:
    queue = RecordQueue({"login_failed": 2}, 1)
    for number in range(5):
        queue.add(record("login_failed", number))
    queue.add(record("attack"))
    queue.add(record("attack"))
    assert not queue.room("login_failed")
    queue.count("login_failed", 10)
    told = queue.take()
    assert [each.fields.get("count") for each in told] == [None, None, None, "13", "1"]
    assert (told[3].at, told[3].kind, told[3].log) == (4.0, "login_failed", "/var/log/zimbra.log")
    assert queue.room("login_failed")


def test_equal_ones_are_merged_where_that_is_wanted() -> None:
    queue = RecordQueue(merging=True)
    for name in ("ann", "bob", "ann", "ann"):
        queue.add(record(account=name))
    assert queue.again("attack", {"account": "bob"})
    assert not queue.again("attack", {"account": "eve"})
    assert [dict(each.fields) for each in queue.take()] == [
        {"account": "ann", "count": "3"},
        {"account": "bob", "count": "2"},
    ]
    assert not queue.again("attack", {"account": "ann"})


STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans()), max_size=40)


@given(STEPS, st.booleans(), st.integers(1, 4))
def test_a_restart_anywhere_changes_nothing_and_nothing_is_lost(
    steps: list[tuple[str, str, bool]], merging: bool, most: int
) -> None:
    whole = RecordQueue({"a": most}, 2, merging=merging)
    split = RecordQueue({"a": most}, 2, merging=merging)
    for kind, account, restart in steps:
        for queue in (whole, split):
            queue.add(record(kind, account=account))
        if restart:
            split = again(split)
    told, expected = split.take(), whole.take()
    assert told == expected
    assert sum(int(each.fields.get("count", "1")) for each in told) == len(steps)
