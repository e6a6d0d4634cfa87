import pytest

from zcs_exporter.agent import numbers as module
from zcs_exporter.agent.numbers import Numbers


def given(numbers: Numbers, table: str, text: str) -> int | None:
    numbers.give(table, text, 1)
    return numbers.find(table, text, 1)


def test_texts_are_numbered_as_they_come_each_table_for_itself() -> None:
    numbers = Numbers()

    assert [given(numbers, "a", text) for text in ("/opt", "/", "/opt")] == [1, 2, 1]
    assert given(numbers, "b", "/") == 1
    assert numbers.find("b", "/opt", 1) is None


def test_a_number_is_told_from_the_snapshot_on_that_it_is_saved_with() -> None:
    numbers = Numbers()
    numbers.give("a", "/", 7)
    numbers.give("a", "/", 3)

    assert numbers.find("a", "/", 6) is None
    assert numbers.find("a", "/", 7) == 1


def test_numbers_survive_a_restart_and_are_not_given_again() -> None:
    first = Numbers()
    for text in ("/", "/opt/zimbra", "/mnt with space"):
        first.give("zcsFilesystem", text, 9)
    second = Numbers()
    second.restore({key: value for key, value in first.changes().items() if value is not None})

    assert second.find("zcsFilesystem", "/mnt with space", 0) == 3
    assert given(second, "zcsFilesystem", "/new") == 4


def test_only_what_is_new_is_saved() -> None:
    numbers = Numbers()
    numbers.give("a", "x", 1)
    assert numbers.changes() == {"a x": "1"}
    numbers.give("a", "x", 1)
    assert numbers.changes() == {}


def test_the_text_that_was_not_seen_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TEXTS", 3)
    numbers = Numbers()
    for text in ("a", "b", "c", "a", "d"):
        numbers.give("t", text, 1)

    assert numbers.changes() == {"t a": "1", "t b": None, "t c": "3", "t d": "4"}
    assert given(numbers, "t", "a") == 1
    assert given(numbers, "t", "b") == 5


def test_rows_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(ValueError, match="x"):
        Numbers().restore({"a /": "x"})
