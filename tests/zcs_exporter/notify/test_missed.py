"""Of which ends a target has not been told."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from zcs_exporter.alerting.alarm import Change
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.notify.missed import TARGETS, introduced, missed_clears
from zcs_exporter.state import Commit, Delivery, StateStore, read_saved

CHANGES = {"r": Change.RAISED, "p": Change.REPEATED, "c": Change.CLEARED}


def message(word: str) -> Message:
    """Return ``r5`` as the raise of alarm 5."""
    kind = MessageKind.ALARM if word[0] in CHANGES else MessageKind.EVENT
    alarm = int(word[1:]) if word[0] in CHANGES else 0
    return Message(kind, word, "mail.example.com", "Zcs", 1.0, word, change=CHANGES.get(word[0]), alarm_id=alarm)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    opened = StateStore(str(tmp_path / "state"), "machine:mail")
    yield opened
    opened.close()


def said(store: StateStore, words: str, *, waiting: str = "") -> None:
    """Have words said: those in capitals to nms, which got them but for those of ``waiting``."""

    async def say() -> None:
        spoken = list(enumerate(words.split(), start=1))
        told = {n: (message(word.lower()), ("nms",) if word[0].isupper() else ("other",)) for n, word in spoken}
        await store.commit(Commit(messages=told))
        got = [(n, word) for n, word in spoken if word[0].isupper() and word not in waiting.split()]
        await store.settle([Delivery(n, "nms", message(word.lower()), n) for n, word in got])

    asyncio.run(say())


def missed(store: StateStore, target: str = "nms") -> list[str]:
    found = asyncio.run(store.run(partial(missed_clears, target=target)))
    return [each.event_id for each in found]


@pytest.mark.parametrize(
    ("words", "waiting", "expected"),
    [
        ("R1 R2 R3 C2 p3 c1 c3", "", ["c1", "c3"]),
        # It was told of both, or of neither, or it stands still.
        ("R1 C1 r2 c2 R3", "", []),
        ("r1 P1 c1", "", ["c1"]),
        # It was away before, and told then.
        ("R1 R2 c1 C1 c2", "", ["c2"]),
        # It was not told of the raise yet, but will be.
        ("R1 c1", "R1", ["c1"]),
        ("R1 C1", "C1", []),
        ("e E R1 e c1 e", "", ["c1"]),
    ],
)
def test_a_clear_is_missed_whose_raise_was_told(
    words: str, waiting: str, expected: list[str], store: StateStore
) -> None:
    said(store, words, waiting=waiting)

    assert missed(store) == expected
    assert missed(store, "stranger") == []


def test_a_damaged_message_is_passed_over(store: StateStore) -> None:
    said(store, "R1 R2 c1 c2")
    asyncio.run(store.run(lambda database: database.execute("UPDATE message SET message = '{' WHERE number IN (1, 3)")))

    assert missed(store) == ["c2"]


def test_who_knows_what_stands_is_remembered_and_before_that_was_who_ever_got_something(store: StateStore) -> None:
    async def story() -> None:
        assert introduced(await store.run(read_saved)) == frozenset()
        await store.give_sequence("nms", 1, 1)
        assert introduced(await store.run(read_saved)) == {"nms"}
        await store.commit(Commit(meta={TARGETS: '["other"]'}))
        assert introduced(await store.run(read_saved)) == {"other"}

    asyncio.run(story())
