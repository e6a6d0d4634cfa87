import pytest

from zcs_exporter.agent import numbers as module
from zcs_exporter.agent.numbers import Numbers


def test_texts_are_numbered_as_they_come_each_table_for_itself() -> None:
    numbers = Numbers()

    assert [numbers.number("a", text) for text in ("/opt", "/", "/opt")] == [1, 2, 1]
    assert numbers.number("b", "/") == 1


def test_numbers_survive_a_restart_and_are_not_given_again() -> None:
    first = Numbers()
    for text in ("/", "/opt/zimbra", "/mnt with space"):
        first.number("zcsFilesystem", text)
    second = Numbers()
    second.restore({key: value for key, value in first.changes().items() if value is not None})

    assert second.number("zcsFilesystem", "/mnt with space") == 3
    assert second.number("zcsFilesystem", "/new") == 4


def test_only_what_is_new_is_saved() -> None:
    numbers = Numbers()
    numbers.number("a", "x")
    assert numbers.changes() == {"a x": "1"}
    numbers.number("a", "x")
    assert numbers.changes() == {}


def test_the_text_that_was_not_seen_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TEXTS", 3)
    numbers = Numbers()
    for text in ("a", "b", "c", "a", "d"):
        numbers.number("t", text)

    assert numbers.changes() == {"t a": "1", "t b": None, "t c": "3", "t d": "4"}
    assert numbers.number("t", "a") == 1
    assert numbers.number("t", "b") == 5


def test_rows_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(ValueError, match="x"):
        Numbers().restore({"a /": "x"})
