"""What is given up first, and what never."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.alerting.alarm import Change
from zcs_exporter.alerting.model import Severity
from zcs_exporter.notify import backlog as backlog_module
from zcs_exporter.notify.backlog import Backlog, Waiting
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.state import Delivery

CHANGES = {"r": Change.RAISED, "u": Change.UPDATED, "c": Change.CLEARED, "p": Change.REPEATED, "e": None}


def message(word: str) -> Message:
    """Return ``r5`` as the raise of alarm 5, which is about its first digit; a capital letter is critical."""
    change = CHANGES[word[0].lower()]
    if change is None:
        return Message(MessageKind.EVENT, word, "mail.example.com", "ZcsEvent", 0.0, word)
    severity = Severity.OK if change is Change.CLEARED else Severity.WARNING
    return Message(
        MessageKind.ALARM,
        word,
        "mail.example.com",
        "ZcsAlarm",
        0.0,
        word,
        change=change,
        key=f"ZcsAlarm{{{word[1]}}}",
        alarm_id=int(word[1:]),
        severity=Severity.CRITICAL if word[0].isupper() else severity,
        count=1,
    )


def filled(words: str, old: int = 100, tried: Sequence[int] = (), spared: Sequence[int] = ()) -> Backlog:
    """Return a backlog of messages of which the first ``old`` happened at 0 and the others at 1000."""
    backlog = Backlog()
    for number, word in enumerate(words.split()):
        sequence = number + 1 if number in tried else None
        since = 0.0 if number < old else 1000.0
        backlog.add(Delivery(number, "nms", message(word), sequence), since, spared=number in spared)
    return backlog


def words(waiting: Sequence[Waiting]) -> str:
    return " ".join(each.message.event_id for each in waiting)


@pytest.mark.parametrize(
    ("waiting", "left"),
    [
        ("r51 c51", "c51"),
        ("r51 c51 r52", "r52"),
        ("r51 c51 r52 c52", "c52"),
        ("r51 u51 p51 p51", "p51"),
        # The receiver was told of 51, and must be told that it is over.
        ("c51 r52 c52", "c51 c52"),
        ("u51 c51 r52 c52 r53", "c51 r53"),
        ("p51 p51", "p51"),
        # Another alarm's and events are left alone.
        ("r51 r61 e c51 e", "r61 e c51 e"),
        ("r51", "r51"),
    ],
)
def test_after_a_while_only_the_last_state_of_an_alarm_is_told(waiting: str, left: str) -> None:
    backlog = filled(waiting)
    folded = 0
    for gone, into in backlog.superseded(500.0):
        backlog.remove(gone)
        into.stand_for(gone)
        folded += into.delivery.folded

    assert words(list(backlog)) == left
    assert folded == len(waiting.split()) - len(left.split())


@pytest.mark.parametrize(
    ("waiting", "old", "left"),
    [
        ("r51 c51 r52 c52", 2, "r52 c52"),
        ("r51 c51", 0, "r51 c51"),
        # Not without its raise: it is one story of now.
        ("r51 c51", 1, "r51 c51"),
        ("r51 c51 r52 c52", 3, "r52 c52"),
        ("r51 u51 c51", 2, "u51 c51"),
        ("r51 u51", 1, "u51"),
    ],
)
def test_what_is_of_late_is_told_one_by_one(waiting: str, old: int, left: str) -> None:
    backlog = filled(waiting, old)
    for gone, _ in backlog.superseded(500.0):
        backlog.remove(gone)

    assert words(list(backlog)) == left


def test_what_was_tried_keeps_its_place_and_its_number() -> None:
    backlog = filled("r51 c51 r52 c52", tried=[0])
    for gone, _ in backlog.superseded(500.0):
        backlog.remove(gone)

    assert words(list(backlog)) == "r51 c51 c52"


@pytest.mark.parametrize(
    ("waiting", "most", "gone"),
    [
        ("e e e e", 3, "e"),
        ("r51 p41 e e", 3, "p41"),
        ("r51 c51 e r61", 3, "c51 r51"),
        ("r51 e R61 e", 3, "e"),
        ("R51 r61 r71 R81", 2, "r71 r61"),
        ("R51 R61 R71", 2, "R71"),
        ("R51 c51 r61 e", 2, "e r61"),
        # The receiver would show what is over for ever.
        ("c51 c61 c71", 0, ""),
    ],
)
def test_what_comes_too_fast_goes_by_how_much_it_matters(waiting: str, most: int, gone: str) -> None:
    assert words(filled(waiting).excess(most)) == gone


def test_what_waits_because_the_target_was_down_did_not_come_too_fast() -> None:
    assert words(filled("r51 r61 r71", spared=[0, 1]).excess(0)) == "r71"


def test_a_full_backlog_loses_repeats_then_the_oldest_pairs_then_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog_module, "MOST_MESSAGES", 100)
    backlog = filled("e r51 p41 r61 c51 p42 c61 r71 " + "e " * 97)

    assert words(backlog.overflow()) == "p41 p42 r51 c51 r61 c61"
    backlog.remove(backlog.overflow())
    assert len(backlog) == 99
    assert backlog.overflow() == []
    for number in range(1000, 1003):
        backlog.add(Delivery(number, "nms", message("e"), None), 0.0, spared=True)
    assert words(backlog.overflow()) == "e r71 e"


def test_a_backlog_of_long_messages_is_full_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog_module, "MOST_OCTETS", 10 * len("x") * 1000)
    backlog = filled("e " * 40)
    octets = [each.octets for each in backlog]
    assert sum(octets) > 10_000

    backlog.remove(backlog.overflow())

    assert sum(each.octets for each in backlog) <= 9_900
    assert len(backlog) == 9_900 // octets[0]


STORY = st.lists(
    st.tuples(st.sampled_from("ruUcpRe"), st.integers(50, 69), st.booleans(), st.booleans(), st.floats(0, 1000)),
    max_size=40,
)


@settings(max_examples=1_000, deadline=None)
@given(STORY, st.integers(0, 40))
def test_whatever_waits_nothing_tried_goes_and_no_alarm_loses_its_last_state(
    story: list[tuple[str, int, bool, bool, float]], most: int
) -> None:
    backlog = Backlog()
    since = sorted(entry[-1] for entry in story)
    for number, ((letter, alarm, tried, spared, _), moment) in enumerate(zip(story, since, strict=True)):
        sequence = number + 1 if tried else None
        backlog.add(Delivery(number, "nms", message(f"{letter}{alarm}"), sequence), moment, spared=spared)
    before = list(backlog)
    last = {each.message.key: each for each in before if each.message.key}

    folds = backlog.superseded(500.0)
    gone = [each for folded, _ in folds for each in folded]
    excess = backlog.excess(most)

    assert len({each.delivery.number for each in gone}) == len(gone)
    assert not any(each.tried for each in gone + excess)
    assert not set(map(id, gone)) & set(map(id, last.values()))
    assert all(into.message.key == each.message.key for folded, into in folds for each in folded)
    assert all(into not in gone and not into.tried for _, into in folds)
    assert all(into.delivery.number > each.delivery.number for folded, into in folds for each in folded)
    assert not any(each.spared for each in excess)
    raised = {each.message.alarm_id for each in excess if each.message.change is Change.RAISED}
    assert all(each.message.alarm_id in raised for each in excess if each.message.change is Change.CLEARED)


@pytest.mark.parametrize(
    ("waiting", "tried", "left"),
    [
        ("r51 u51 e r61", (), ""),
        # What the receiver was never told of need not be ended.
        ("r51 c51", (), ""),
        # This one it may have been told of, and this one it was.
        ("r51 c51", (0,), "c51"),
        ("c51", (), "c51"),
        ("c51 r52 c52", (), "c51"),
    ],
)
def test_what_is_too_old_goes_but_no_clear_whose_raise_was_told(waiting: str, tried: Sequence[int], left: str) -> None:
    backlog = filled(waiting, tried=tried)
    backlog.remove(backlog.expired(500.0))

    assert words(list(backlog)) == left


def test_a_clear_that_counts_its_own_raise_may_become_too_old() -> None:
    backlog = filled("r51 u51 c51 c61")
    for gone, into in backlog.superseded(500.0):
        backlog.remove(gone)
        into.stand_for(gone)
    assert words(list(backlog)) == "c51 c61"

    assert words(backlog.expired(500.0)) == "c51"
    assert backlog.expired(0.0) == []
