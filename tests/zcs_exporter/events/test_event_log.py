"""What happened gets a number, is counted, kept for streams and handed to every output under its privacy rule."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fakes import FakeHost, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.alerting.alarm import Change
from zcs_exporter.config import EventsConfig, PrivacyConfig
from zcs_exporter.contract import Record, Recording
from zcs_exporter.events.event_log import MOST_KINDS, EventLog
from zcs_exporter.events.ring import KEPT, Ring
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.registry import collector_classes

COLLECTORS: Any = collector_classes()
FAILED = Record("login_failed", 0.0, fields={"account": "ann@example.com", "address": "192.0.2.7"})
RAISED = Message(MessageKind.ALARM, "1", "mail.example.com", "A", 0.0, "a", number=1, change=Change.RAISED)
REPEATED = Message(MessageKind.ALARM, "2", "mail.example.com", "A", 0.0, "a", number=1, change=Change.REPEATED)

Story = Callable[[EventLog], Awaitable[None]]


def play(story: Story, manual: ManualClock, journal: str = "/nowhere") -> None:
    async def whole() -> None:
        events = EventLog(manual.clock, "mail.example.com", journal)
        async with asyncio.timeout(20):
            await story(events)
            await events.end(5)

    asyncio.run(whole())


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def own(events: EventLog, name: str) -> dict[str, float]:
    return {each.labels[0]: each.value for each in events.samples() if each.metric.name == name}


async def settle(events: EventLog) -> None:
    while any(own(events, "zcs_exporter_events_waiting").values()):
        await asyncio.sleep(0.005)


def test_by_default_events_are_in_the_state_directory_and_all_names_are_there(
    tmp_path: Path, manual: ManualClock
) -> None:
    async def story(events: EventLog) -> None:
        await events.use(EventsConfig(), PrivacyConfig(), str(tmp_path))
        events.record([FAILED, RAISED, REPEATED])
        await settle(events)
        assert own(events, "zcs_exporter_events_written_total") == {"file": 2}

    play(story, manual)

    failed, raised = lines(tmp_path / "events.jsonl")
    assert (failed["host"], failed["account"], failed["address"]) == (
        "mail.example.com", "ann@example.com", "192.0.2.7",
    )  # fmt: skip
    assert raised["kind"] == "alarm_raised"
    assert raised["id"] == failed["id"] + 1  # type: ignore[operator]


def test_what_is_never_to_be_named_is_not_in_the_file(tmp_path: Path, manual: ManualClock) -> None:
    async def story(events: EventLog) -> None:
        await events.use(EventsConfig(), PrivacyConfig(accounts="never", addresses="never"), str(tmp_path))
        events.record([FAILED])

    play(story, manual)

    (line,) = lines(tmp_path / "events.jsonl")
    assert line["hidden"] == ["account", "address"]


def test_the_journal_counts_as_a_way_that_others_can_read(tmp_path: Path, manual: ManualClock) -> None:
    async def story(events: EventLog) -> None:
        await events.use(EventsConfig(file=None, journal=True), PrivacyConfig(), str(tmp_path))
        events.record([FAILED])

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        play(story, manual, str(tmp_path / "socket"))
        told = journald.recv(1 << 20).decode()

    assert "ZCS_ADDRESS=192.0.2.7\n" in told
    assert "ann@example.com" not in told
    assert not (tmp_path / "events.jsonl").exists()


def test_every_kind_is_counted_and_those_of_the_daemon_begin_at_zero(manual: ManualClock) -> None:
    async def story(events: EventLog) -> None:
        assert own(events, "zcs_exporter_events_total")["alarm_cleared"] == 0
        events.record([FAILED, FAILED, RAISED])
        counted = own(events, "zcs_exporter_events_total")
        assert (counted["login_failed"], counted["alarm_raised"], counted["stopping"]) == (2, 1, 0)

    play(story, manual)


def test_what_a_collector_may_tell_is_counted_from_zero_and_a_reload_forgets_nothing(manual: ManualClock) -> None:
    async def story(events: EventLog) -> None:
        events.begin([SimpleNamespace(record_kinds=("login_failed", "attack")), object()])
        assert own(events, "zcs_exporter_events_total")["login_failed"] == 0
        events.record([FAILED])
        events.begin([SimpleNamespace(record_kinds=("login_failed",))])
        counted = own(events, "zcs_exporter_events_total")
        assert (counted["login_failed"], counted["attack"]) == (1, 0)

    play(story, manual)


def test_the_collectors_that_tell_records_say_of_which_kinds_and_there_is_room_for_all(
    tmp_path: Path, manual: ManualClock
) -> None:
    made = [each(each.config_class(), FakeHost(tmp_path), manual.clock) for each in COLLECTORS]
    telling = {each.name: each.record_kinds for each in made if isinstance(each, Recording)}
    assert sorted(telling) == ["auth", "logs", "mailflow"]
    assert {"login_failed", "outbound_flood", "fatal", "mysqld_crashed"} <= {*chain(*telling.values())}
    kinds = [*chain(*telling.values())]
    assert len(kinds) < MOST_KINDS * 2 / 3


def test_no_number_of_kinds_outgrows_the_page(manual: ManualClock) -> None:
    async def story(events: EventLog) -> None:
        events.record([Record(f"kind_{number}", 0.0) for number in range(500)])
        counted = own(events, "zcs_exporter_events_total")
        assert len(counted) == MOST_KINDS + 1
        assert sum(counted.values()) == 500

    play(story, manual)


def test_an_output_in_trouble_is_a_problem_with_a_remedy_until_it_is_well(tmp_path: Path, manual: ManualClock) -> None:
    async def story(events: EventLog) -> None:
        await events.use(EventsConfig(file="/proc/none/events.jsonl"), PrivacyConfig(), str(tmp_path))
        while not events.problems():
            await asyncio.sleep(0.005)
        ((place, error),) = events.problems()
        assert place == "/proc/none/events.jsonl"
        assert "set events.file" in error.remedy
        events.record([FAILED])
        await events.use(EventsConfig(), PrivacyConfig(), str(tmp_path))
        await settle(events)
        assert events.problems() == []

    play(story, manual)

    assert [line["kind"] for line in lines(tmp_path / "events.jsonl")] == ["login_failed"]


def test_a_reload_of_the_same_settings_goes_on_and_of_others_begins_anew(tmp_path: Path, manual: ManualClock) -> None:
    async def story(events: EventLog) -> None:
        await events.use(EventsConfig(), PrivacyConfig(), str(tmp_path))
        events.record([FAILED])
        former = dict(events._outlets)
        await events.use(EventsConfig(), PrivacyConfig(), str(tmp_path))
        assert events._outlets == former
        events.record([FAILED])
        await events.use(EventsConfig(), PrivacyConfig(accounts="never"), str(tmp_path))
        events.record([FAILED])
        await settle(events)
        assert own(events, "zcs_exporter_events_written_total") == {"file": 3}
        await events.use(EventsConfig(file=None), PrivacyConfig(), str(tmp_path))
        events.record([FAILED])
        assert own(events, "zcs_exporter_events_written_total") == {}

    play(story, manual)

    assert ["account" in line for line in lines(tmp_path / "events.jsonl")] == [True, True, False]


# The ring


def test_numbers_of_a_later_process_are_higher(manual: ManualClock) -> None:
    first = Ring(manual.clock)
    (last,) = first.add("h", [FAILED])
    manual.advance(0.001)

    assert Ring(manual.clock).newest > last.number
    assert last.number < 1 << 53, "JavaScript's numbers hold it"


@given(
    batches=st.lists(st.integers(0, 3 * KEPT // 2), max_size=5), back=st.integers(-5, 2 * KEPT), most=st.integers(1, 80)
)
@settings(max_examples=200, deadline=None)
def test_a_reader_gets_each_event_once_or_knows_how_many_it_missed(batches: list[int], back: int, most: int) -> None:
    ring = Ring(ManualClock().clock)
    begun = ring.newest
    for size in batches:
        ring.add("h", [FAILED] * size)
    total = sum(batches)
    number = ring.newest - back

    assert ring.knows(number) is (0 <= back <= total)
    missed = max(0, ring.before - number)
    got: list[int] = []
    at = max(number, ring.before)
    while found := ring.after(at, most):
        assert len(found) <= most
        got += [entry.number for entry in found]
        at = got[-1]
    assert got == list(range(max(number, ring.before) + 1, ring.newest + 1))
    assert len(got) <= KEPT
    if ring.knows(number):
        assert missed + len(got) == back
    assert ring.newest == begun + total


def test_who_listens_is_woken_and_who_left_is_not(manual: ManualClock) -> None:
    async def whole() -> None:
        ring, one, other = Ring(manual.clock), asyncio.Event(), asyncio.Event()
        with ring.waking(one):
            with ring.waking(other):
                pass
            ring.add("h", [FAILED])
        assert one.is_set()
        assert not other.is_set()

    asyncio.run(whole())
