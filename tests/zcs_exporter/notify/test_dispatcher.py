"""Nothing is lost between a transition and its receiver, and no receiver delays another."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import ManualClock

from zcs_exporter.alerting.alarm import Change
from zcs_exporter.alerting.model import Severity
from zcs_exporter.contract import Event
from zcs_exporter.notify import backlog, target_queue
from zcs_exporter.notify.dispatcher import Dispatcher
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.notify.missed import TARGETS
from zcs_exporter.notify.target import SendError, Setback
from zcs_exporter.notify.target_queue import NOTIFICATIONS, OUTBOX, Fate, Pace, Voice
from zcs_exporter.state import QUARANTINE, Commit, Delivery, StateStore, read_saved


def message(number: int, at: float = 1000.0) -> Message:
    return Message(MessageKind.TEST, f"event-{number}", "mail.example.com", "", at, f"text {number}")


class Receiver:
    """A target that answers as the test says: one entry of ``troubles`` for each attempt, then success."""

    def __init__(self, name: str = "nms", troubles: Sequence[Exception] = ()) -> None:
        self.name = name
        self.troubles = list(troubles)
        self.attempts: list[tuple[int, str]] = []
        self.got: list[tuple[int, str]] = []
        self.texts: list[str] = []
        self.times: list[float] = []
        self.closed = False
        self._news = asyncio.Event()

    async def send(self, message: Message, sequence: int) -> None:
        self.attempts.append((sequence, message.event_id))
        self._news.set()
        if self.troubles:
            raise self.troubles.pop(0)
        self.got.append((sequence, message.event_id))
        self.texts.append(message.text)
        self.times.append(message.at)

    async def has_got(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.got) < count:
                self._news.clear()
                await self._news.wait()
                await asyncio.sleep(0)

    def close(self) -> None:
        self.closed = True


class Office:
    """A state directory with targets on it."""

    def __init__(self, directory: Path, manual: ManualClock) -> None:
        self.store = StateStore(str(directory), "machine:mail")
        self.manual = manual
        self.dispatcher: Dispatcher
        self.suppressing: list[tuple[str, str]] = []
        self.told: list[Event] = []

    async def open(self, *receivers: Receiver, pace: Pace | None = None) -> None:
        """Begin as a new process does."""
        saved = await self.store.run(read_saved)
        voice = Voice(lambda at: message(0, at), lambda *asked: self.suppressing.append(asked), self.told.append)
        self.dispatcher = Dispatcher(self.store, self.manual.clock, voice, saved)
        await self.use(*receivers, pace=pace)

    async def use(self, *receivers: Receiver, pace: Pace | None = None) -> None:
        """Reload."""
        pace = pace or Pace(max_age=3600, rate=1000, burst=1000, heartbeat=0, backoff=0.001)
        await self.dispatcher.use([(receiver, pace) for receiver in receivers])

    def fates(self, target: str = "nms") -> dict[str, float]:
        """Return what became of attempts, as the metrics tell."""
        found = (each for each in self.dispatcher.samples() if each.metric is NOTIFICATIONS)
        return {each.labels[1]: each.value for each in found if each.labels[0] == target}

    async def post(self, *messages: Message) -> None:
        targets = self.dispatcher.names(messages[0])
        numbered = {int(each.event_id.removeprefix("event-")): each for each in messages}
        await self.store.commit(Commit(messages={number: (each, targets) for number, each in numbered.items()}))
        self.dispatcher.enqueue(
            [Delivery(number, target, each, None) for number, each in numbered.items() for target in targets]
        )

    async def close(self) -> None:
        await self.dispatcher.stop()
        self.store.close()


@pytest.fixture
def tell(tmp_path: Path, manual: ManualClock) -> Callable[[Callable[[Office], Awaitable[None]]], None]:
    """Run a story on an office, then close it."""
    manual.now = 1000.0

    def run(story: Callable[[Office], Awaitable[None]]) -> None:
        async def whole() -> None:
            office = Office(tmp_path, manual)
            try:
                await story(office)
            finally:
                await office.close()

        asyncio.run(whole())

    return run


Tell = Callable[[Callable[[Office], Awaitable[None]]], None]


def test_messages_arrive_in_order_with_numbers_that_rise_by_one(tell: Tell) -> None:
    async def story(office: Office) -> None:
        receiver = Receiver()
        await office.open(receiver)
        await office.post(*(message(number) for number in (5, 6, 7)))
        await receiver.has_got(3)

        assert receiver.got == [(1, "event-5"), (2, "event-6"), (3, "event-7")]

    tell(story)


def test_a_message_is_repeated_under_its_number_until_it_arrives_and_none_overtakes_it(tell: Tell) -> None:
    async def story(office: Office) -> None:
        receiver = Receiver(troubles=[SendError(Setback.RETRY, "nms: no answer")] * 3)
        await office.open(receiver)
        await office.post(message(1), message(2))
        await receiver.has_got(2)

        assert receiver.attempts == [(1, "event-1")] * 4 + [(2, "event-2")]
        assert office.fates()[Fate.RETRIED] == 3

    tell(story)


def test_a_message_that_cannot_be_sent_is_set_aside_and_the_next_one_goes(tell: Tell) -> None:
    async def story(office: Office) -> None:
        bugs = [RuntimeError("a bug")] * 3
        receiver = Receiver(troubles=[SendError(Setback.SET_ASIDE, "too long"), *bugs])
        await office.open(receiver)
        await office.post(message(1), message(2), message(3))
        await receiver.has_got(1)

        assert receiver.got == [(3, "event-3")]
        assert receiver.attempts == [(1, "event-1")] + [(2, "event-2")] * 3 + [(3, "event-3")]
        assert office.fates()[Fate.SET_ASIDE] == 2

    tell(story)


def test_a_bug_that_passes_costs_no_message(tell: Tell) -> None:
    async def story(office: Office) -> None:
        receiver = Receiver(troubles=[ImportError("while an upgrade replaces files")] * 2)
        await office.open(receiver)
        await office.post(message(1), message(2))
        await receiver.has_got(2)

        assert office.fates()[Fate.SET_ASIDE] == 0
        assert office.fates()[Fate.RETRIED] == 2

    tell(story)


def test_a_dead_target_does_not_delay_a_good_one(tell: Tell) -> None:
    async def story(office: Office) -> None:
        dead = Receiver("dead", [SendError(Setback.RETRY, "dead: no answer")] * 1000)
        good = Receiver("good")
        await office.open(dead, good, pace=Pace(max_age=3600, rate=1000, burst=1000, heartbeat=0, backoff=3600))
        await office.post(message(1), message(2))
        await good.has_got(2)

        assert dead.got == []

    tell(story)


def test_what_a_target_has_not_got_waits_for_the_next_process_with_its_number(tell: Tell) -> None:
    async def story(office: Office) -> None:
        down = Receiver(troubles=[SendError(Setback.RETRY, "nms: no answer")])
        await office.open(down, pace=Pace(max_age=3600, rate=1000, burst=1000, heartbeat=0, backoff=3600))
        await office.post(message(1), message(2))
        async with asyncio.timeout(10):
            while not down.attempts:
                await asyncio.sleep(0)
        await office.dispatcher.stop()
        assert down.closed

        up = Receiver()
        await office.open(up)
        await up.has_got(2)

        assert down.attempts == [(1, "event-1")]
        assert up.got == [(1, "event-1"), (2, "event-2")]

    tell(story)


def test_what_was_delivered_is_not_on_disk_any_more(tell: Tell) -> None:
    async def story(office: Office) -> None:
        receiver = Receiver()
        await office.open(receiver)
        await office.post(message(1))
        await receiver.has_got(1)
        await office.dispatcher.drain(10)

        assert (await office.store.run(read_saved)).deliveries == []

    tell(story)


def test_a_message_older_than_its_target_wants_is_given_up_and_counted(tell: Tell) -> None:
    async def story(office: Office) -> None:
        receiver = Receiver()
        await office.open(receiver)
        office.manual.advance(7200)
        await office.post(message(1), message(2, at=office.manual.now))
        await receiver.has_got(1)

        assert receiver.got == [(1, "event-2")]
        assert office.fates()[Fate.EXPIRED] == 1

    tell(story)


def test_heartbeats_are_numbered_with_the_others_and_skipped_while_something_waits(tell: Tell) -> None:
    async def story(office: Office) -> None:
        receiver = Receiver()
        await office.open(receiver, pace=Pace(max_age=3600, rate=1000, burst=1000, heartbeat=0.01, backoff=0.001))
        await receiver.has_got(2)
        await office.post(message(7))
        await receiver.has_got(4)

        assert [sequence for sequence, _ in receiver.got] == list(range(1, len(receiver.got) + 1))
        assert "event-7" in {event_id for _, event_id in receiver.got}

    tell(story)


def test_the_outbox_is_visible_in_metrics(tell: Tell) -> None:
    async def story(office: Office) -> None:
        down = Receiver(troubles=[SendError(Setback.REFUSED, "nms: wrong key")])
        await office.open(down, pace=Pace(max_age=3600, rate=1000, burst=1000, heartbeat=0, backoff=3600))
        await office.post(message(1), message(2))
        async with asyncio.timeout(10):
            while not office.fates()[Fate.REFUSED]:
                await asyncio.sleep(0)
        office.manual.advance(90)

        found = {(each.metric.name, each.labels): each.value for each in office.dispatcher.samples()}
        assert found["zcs_exporter_outbox_messages", ("nms",)] == 2
        assert found["zcs_exporter_outbox_oldest_age_seconds", ("nms",)] == 90
        assert found["zcs_exporter_notifications_total", ("nms", "refused")] == 1
        assert found["zcs_exporter_notifications_total", ("nms", "delivered")] == 0

    tell(story)


def test_a_reload_neither_forgets_nor_repeats_what_waits_and_counts_on(tell: Tell) -> None:
    async def story(office: Office) -> None:
        slow = Pace(max_age=3600, rate=1000, burst=1000, heartbeat=0, backoff=3600)
        down = Receiver(troubles=[SendError(Setback.RETRY, "nms: no answer")])
        await office.open(down, pace=slow)
        await office.post(message(1), message(2))
        async with asyncio.timeout(10):
            while not office.fates()[Fate.RETRIED]:
                await asyncio.sleep(0)

        await office.use(Receiver("another"))
        assert down.closed
        back = Receiver()
        await office.use(back)
        await back.has_got(2)
        await office.dispatcher.drain(10)

        assert back.got == [(1, "event-1"), (2, "event-2")]
        assert office.fates()[Fate.RETRIED] == 1
        assert (await office.store.run(read_saved)).deliveries == []

    tell(story)


def test_what_waits_for_a_target_that_is_none_any_more_is_said_once_and_counted_on(
    tell: Tell, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(office: Office) -> None:
        down = Receiver("old", troubles=[SendError(Setback.RETRY, "old: no answer")] * 1000)
        healthy = Receiver("healthy")
        await office.open(down, healthy, pace=SLOW)
        await office.store.commit(Commit(meta={TARGETS: '["healthy", "old"]'}))
        await office.post(message(1), message(2))
        await healthy.has_got(2)
        await office.dispatcher.drain(0.05)
        await office.use(Receiver("new"))
        said = [(each.name, each.labels["target"]) for each in office.told]
        assert said == [("ZcsNotificationsGivenUp", "old")]
        assert office.told[0].labels["why"].startswith("2 that wait, unless it is a target again")
        assert "old: not a target any more; 2 notifications wait" in caplog.text
        await office.use(Receiver("new"))
        assert len(office.told) == 1
        assert waiting(office) == {"new": 0, "old": 2}

        # As a new process, it is still counted, and told if the one before did not know yet.
        await office.dispatcher.stop()
        await office.open(Receiver("new"))
        assert len(office.told) == 2
        assert waiting(office) == {"new": 0, "old": 2}
        await office.store.commit(Commit(meta={TARGETS: '["new"]'}))
        await office.dispatcher.stop()
        await office.open(Receiver("new"))
        assert len(office.told) == 2
        assert waiting(office) == {"new": 0, "old": 2}
        back = Receiver("old")
        await office.use(Receiver("new"), back)
        await back.has_got(2)
        assert waiting(office).keys() == {"new", "old"}

    tell(story)


def test_what_the_original_of_a_clone_owed_is_no_targets_of_ours(tell: Tell) -> None:
    async def story(office: Office) -> None:
        await office.open()
        await office.store.commit(Commit(messages={1: (message(1), (f"{QUARANTINE}nms",))}))
        await office.dispatcher.stop()
        await office.open(Receiver("nms"))
        assert waiting(office) == {"nms": 0}
        assert office.told == []

    tell(story)


def waiting(office: Office) -> dict[str, float]:
    """Return what waits for each target, as the metric tells."""
    return {each.labels[0]: each.value for each in office.dispatcher.samples() if each.metric is OUTBOX}


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_step_of_the_wall_clock_gives_up_nothing(tell: Tell, step: float) -> None:
    async def story(office: Office) -> None:
        down = Receiver(troubles=[SendError(Setback.RETRY, "nms: no answer")] * 3)
        await office.open(down, pace=Pace(max_age=60, rate=1000, burst=1000, heartbeat=0, backoff=0.001))
        await office.post(message(1))
        office.manual.now += step
        await down.has_got(1)

        assert office.fates()[Fate.EXPIRED] == 0

    tell(story)


def test_a_bug_in_a_heartbeat_does_not_end_the_queue(tell: Tell) -> None:
    async def story(office: Office) -> None:
        receiver = Receiver(troubles=[ZeroDivisionError()])
        await office.open(receiver, pace=Pace(max_age=3600, rate=1000, burst=1000, heartbeat=0.01, backoff=0.001))
        await receiver.has_got(1)

        assert office.fates()[Fate.SET_ASIDE] == 1

    tell(story)


def test_a_heartbeat_that_failed_keeps_its_number_and_goes_first(tell: Tell) -> None:
    async def story(office: Office) -> None:
        beating = Pace(max_age=3600, rate=1000, burst=1000, heartbeat=0.05, backoff=0.02)
        receiver = Receiver(troubles=[DOWN] * 3)
        await office.open(receiver, pace=beating)
        await until(lambda: len(receiver.attempts) == 2)
        await office.post(message(7))
        await receiver.has_got(2)

        assert receiver.attempts[:4] == [(1, "event-0")] * 4
        assert receiver.got[:2] == [(1, "event-0"), (2, "event-7")]

    tell(story)


def test_a_heartbeat_of_unknown_fate_is_sent_again_by_the_next_process(tell: Tell) -> None:
    async def story(office: Office) -> None:
        beating = Pace(max_age=3600, rate=1000, burst=1000, heartbeat=0.01, backoff=3600)
        down = Receiver(troubles=[DOWN] * 1000)
        await office.open(down, pace=beating)
        await until(tried(down))
        await office.dispatcher.stop()
        office.manual.advance(100)

        up = Receiver()
        await office.open(up)
        await office.post(message(7))
        await up.has_got(2)

        assert up.got == [(1, "event-0"), (2, "event-7")]
        assert up.times[0] == 1000

    tell(story)


def test_a_state_directory_that_hangs_delays_the_first_message_only(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_queue, "STATE_PATIENCE", 0.2)

    async def story(office: Office) -> None:
        receiver = Receiver()
        await office.open(receiver)
        release = threading.Event()
        hung = asyncio.create_task(office.store.run(lambda _: release.wait(20)))
        await asyncio.sleep(0)
        begun = time.monotonic()
        numbers = range(1, 21)
        office.dispatcher.enqueue([Delivery(number, "nms", message(number), None) for number in numbers])
        await receiver.has_got(20)
        assert time.monotonic() - begun < 2

        release.set()
        await hung
        saved = await office.store.run(read_saved)
        assert saved.sequences == {"nms": 20}

    tell(story)


SLOW = Pace(max_age=86400, rate=1000, burst=1000, heartbeat=0, backoff=3600)
DOWN = SendError(Setback.RETRY, "nms: no answer")


def change(number: int, what: Change, alarm: int = 51, at: float = 1000.0, critical: bool = False) -> Message:
    over = what is Change.CLEARED
    severity = Severity.OK if over else Severity.CRITICAL if critical else Severity.WARNING
    return replace(
        message(number, at),
        kind=MessageKind.ALARM,
        name="ZcsAlarm",
        change=what,
        key=f"ZcsAlarm{{{alarm // 10}}}",
        alarm_id=alarm,
        severity=severity,
        count=1,
    )


def tried(receiver: Receiver) -> Callable[[], bool]:
    return lambda: bool(receiver.attempts)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_after_a_receiver_was_down_the_last_state_of_an_alarm_is_told_with_what_it_stands_for(tell: Tell) -> None:
    story_of_51 = [Change.RAISED, Change.CLEARED]

    async def story(office: Office) -> None:
        down = Receiver(troubles=[DOWN])
        await office.open(down, pace=SLOW)
        await office.post(message(1))
        await until(tried(down))
        await office.post(*(change(number, story_of_51[number % 2], 50 + number // 2) for number in range(2, 9)))
        office.manual.advance(301)
        await office.dispatcher.stop()

        up = Receiver()
        await office.open(up)
        await up.has_got(2)

        assert up.got == [(1, "event-1"), (2, "event-8")]
        assert up.texts[-1] == "text 8 (with 6 notifications before it)"
        assert office.fates()[Fate.SUPERSEDED] == 6
        await office.dispatcher.drain(10)
        assert (await office.store.run(read_saved)).deliveries == []

    tell(story)


def test_what_was_folded_is_counted_after_a_crash_too(tell: Tell) -> None:
    async def story(office: Office) -> None:
        down = Receiver(troubles=[DOWN] * 2)
        await office.open(down, pace=replace(SLOW, backoff=0.001))
        await office.post(message(1))
        await until(tried(down))
        await office.post(change(2, Change.RAISED), change(3, Change.REPEATED))
        office.manual.advance(301)
        await down.has_got(2)
        down.troubles = [DOWN] * 1000

        saved = await office.store.run(read_saved)
        assert down.got[-1] == (2, "event-3")
        assert saved.deliveries == []
        history = await office.store.run(lambda database: database.execute("SELECT * FROM sent").fetchall())
        assert history == [("nms", 1, 1, 0), ("nms", 2, 3, 1)]

    tell(story)


def test_what_comes_too_fast_is_folded_into_one_notice_that_counts_it(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(office: Office) -> None:
        receiver = Receiver()
        pace = Pace(max_age=3600, rate=1000, burst=5, heartbeat=0)
        monkeypatch.setattr(target_queue, "STORM_PATIENCE", 0.015)
        await office.open(receiver, pace=pace)
        critical = {7, 77}
        storm = [change(number, Change.RAISED, 10 * number, critical=number in critical) for number in range(1, 101)]
        await office.post(*storm)
        await until(lambda: office.suppressing)
        assert office.suppressing[0][0] == "nms"
        assert len((await office.store.run(read_saved)).deliveries) > 79  # until the notice is on disk, all are owed
        notice = replace(message(101), kind=MessageKind.SUPPRESSED)
        await office.post(notice)
        await receiver.has_got(21)
        await office.dispatcher.drain(10)

        got = [event_id for _, event_id in receiver.got]
        assert got == [*(f"event-{number}" for number in range(1, 20)), "event-77", "event-101"]
        assert receiver.texts[-1] == "80 notifications not sent one by one: text 101"
        assert office.fates()[Fate.SUPPRESSED] == 80
        assert [sequence for sequence, _ in receiver.got] == list(range(1, 22))
        assert (await office.store.run(read_saved)).deliveries == []

    tell(story)


def test_a_second_storm_before_the_notice_left_is_in_the_same_notice(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(office: Office) -> None:
        receiver = Receiver()
        monkeypatch.setattr(target_queue, "STORM_PATIENCE", 0.005)
        await office.open(receiver, pace=Pace(max_age=3600, rate=1000, burst=5, heartbeat=0))
        await office.dispatcher.stop()
        await office.post(*(message(number) for number in range(1, 31)))
        queue = office.dispatcher._known["nms"]
        queue._thin_out()
        await office.post(replace(message(31), kind=MessageKind.SUPPRESSED))
        await office.post(*(message(number) for number in range(32, 52)))
        queue._thin_out()

        assert len(office.suppressing) == 1
        assert queue._notice is not None
        assert queue._notice.delivery.folded == 20 + 21
        assert queue.status().waiting == 10
        saved = await office.store.run(read_saved)
        assert len(saved.deliveries) == 10
        assert [each.folded for each in saved.deliveries if each.number == 31] == [41]

    tell(story)


def test_a_receiver_that_comes_back_gets_everything_however_much_it_is(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(office: Office) -> None:
        monkeypatch.setattr(target_queue, "STORM_PATIENCE", 0.005)
        down = Receiver(troubles=[DOWN] * 2)
        await office.open(down, pace=Pace(max_age=3600, rate=1000, burst=5, heartbeat=0, backoff=0.2))
        await office.post(message(1))
        await until(tried(down))
        await office.post(*(message(number) for number in range(2, 42)))
        await down.has_got(41)

        assert [event_id for _, event_id in down.got] == [f"event-{number}" for number in range(1, 42)]
        assert office.suppressing == []

    tell(story)


def test_nothing_leaves_faster_than_the_rate_after_a_burst(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def story(office: Office) -> None:
        async def pass_time(seconds: float) -> None:
            if seconds:
                slept.append(seconds)
                office.manual.advance(seconds)
            await sleep(0)

        receiver = Receiver()
        await office.open(receiver, pace=Pace(max_age=3600, rate=5, burst=20, heartbeat=0))
        monkeypatch.setattr(target_queue.asyncio, "sleep", pass_time)
        await office.post(*(message(number) for number in range(1, 71)))
        await receiver.has_got(70)

        assert sum(slept) == pytest.approx(10)
        assert len(slept) == 50

    tell(story)


def test_a_full_spool_drops_what_matters_least_counts_it_and_says_so(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MOST_MESSAGES", 100)

    async def story(office: Office) -> None:
        down = Receiver(troubles=[DOWN] * 2)
        await office.open(down, pace=SLOW)
        await office.post(message(1))
        await until(tried(down))
        await office.post(change(2, Change.RAISED), change(3, Change.CLEARED), change(4, Change.REPEATED, 61))
        await office.post(*(message(number) for number in range(5, 110)))

        saved = await office.store.run(read_saved)
        assert len(saved.deliveries) <= 100
        assert saved.deliveries[0].number == 1
        assert not {2, 3, 4} & {each.number for each in saved.deliveries}
        lost = 109 - len(saved.deliveries)
        assert office.fates()[Fate.DROPPED] == lost
        assert office.dispatcher.statuses()[0].dropped == lost
        assert [event.name for event in office.told] == ["ZcsNotificationsGivenUp"]
        assert office.told[0].labels["target"] == "nms"
        assert office.told[0].labels["why"].endswith("for want of room")
        office.dispatcher._known["nms"]._tell_losses()
        assert sum(int(event.labels["why"].split()[0]) for event in office.told) == lost

    tell(story)


def test_what_is_given_up_or_set_aside_is_told_to_all_but_not_for_ever(tell: Tell) -> None:
    async def story(office: Office) -> None:
        broken = Receiver(troubles=[SendError(Setback.SET_ASIDE, "too long")] * 2)
        await office.open(broken)
        await office.post(message(1))
        await until(lambda: office.told)
        assert office.told[0].labels == {"target": "nms", "why": "1 unfit to be sent"}
        await office.post(replace(message(2), kind=MessageKind.EVENT, name="ZcsNotificationsGivenUp"))
        await until(lambda: office.fates()[Fate.SET_ASIDE] == 2)
        office.dispatcher._known["nms"]._tell_losses()

        assert len(office.told) == 1

    tell(story)


def test_heartbeats_keep_their_pace_however_much_is_told_between_them(tell: Tell) -> None:
    async def story(office: Office) -> None:
        receiver = Receiver()
        await office.open(receiver, pace=Pace(max_age=3600, rate=1000, burst=1000, heartbeat=60))
        for number in range(1, 13):
            office.manual.advance(10)
            await office.post(message(number))
            await until(lambda number=number: f"event-{number}" in dict(map(reversed, receiver.got)))  # type: ignore[misc]
            beats = number // 6
            await until(lambda beats=beats: [each for _, each in receiver.got].count("event-0") == beats)  # type: ignore[misc]

    tell(story)


def test_the_status_of_a_target_tells_whether_it_is_up_and_what_it_has_got(tell: Tell) -> None:
    async def story(office: Office) -> None:
        receiver = Receiver(troubles=[DOWN, SendError(Setback.REFUSED, "nms: wrong key")])
        await office.open(receiver)
        (status,) = office.dispatcher.statuses()
        assert (status.name, status.up, status.waiting, status.sequence) == ("nms", None, 0, 0)
        await office.post(message(1), message(2))
        await receiver.has_got(2)
        await office.dispatcher.drain(10)

        (status,) = office.dispatcher.statuses()
        assert status.up
        assert (status.delivered, status.retried, status.refused, status.sequence) == (2, 1, 1, 2)
        up = [each.value for each in office.dispatcher.samples() if each.metric.name == "zcs_exporter_target_up"]
        assert up == [1]

    tell(story)


def test_what_is_owed_to_a_target_that_is_gone_is_forgotten_after_a_month(tell: Tell) -> None:
    async def story(office: Office) -> None:
        gone = Receiver("gone", [DOWN] * 100)
        await office.open(gone, pace=SLOW)
        await office.post(message(1), message(2))
        await until(tried(gone))
        await office.dispatcher.stop()
        await office.open(Receiver("other"))
        assert len((await office.store.run(read_saved)).deliveries) == 2
        office.manual.advance(31 * 86400)
        await office.open(Receiver("other"))
        assert (await office.store.run(read_saved)).deliveries == []

    tell(story)


def test_a_message_that_an_earlier_process_left_damaged_is_told_of_and_blocks_nothing(tell: Tell) -> None:
    async def story(office: Office) -> None:
        down = Receiver(troubles=[DOWN] * 100)
        await office.open(down, pace=SLOW)
        await office.post(message(1), message(2))
        await until(tried(down))
        await office.dispatcher.stop()
        await office.store.run(lambda database: database.execute("UPDATE message SET message = '{}' WHERE number = 1"))

        up = Receiver()
        await office.open(up)
        await up.has_got(1)
        await office.dispatcher.drain(10)

        assert up.got == [(2, "event-2")]
        assert office.told[0].labels == {"target": "nms", "why": "1 unfit to be sent"}
        assert (await office.store.run(read_saved)).unreadable == []

    tell(story)


def test_what_waited_when_the_receiver_went_down_did_not_come_too_fast_either(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_queue, "STORM_PATIENCE", 0.005)

    async def story(office: Office) -> None:
        receiver = Receiver(troubles=[DOWN] * 2)
        await office.open(receiver, pace=Pace(max_age=3600, rate=1000, burst=5, heartbeat=0, backoff=0.01))
        await office.post(*(message(number) for number in range(1, 11)))
        await until(tried(receiver))
        await office.post(message(11), message(12))
        await receiver.has_got(12)

        assert office.suppressing == []

    tell(story)


def test_a_notice_that_is_on_its_way_counts_no_more(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_queue, "STORM_PATIENCE", 0.005)

    async def story(office: Office) -> None:
        receiver = Receiver()
        await office.open(receiver, pace=Pace(max_age=3600, rate=1000, burst=5, heartbeat=0))
        for storm in (0, 100):
            await office.post(*(message(number) for number in range(storm + 1, storm + 31)))
            await until(lambda storm=storm: len(office.suppressing) == 1 + storm // 100)  # type: ignore[misc]
            await office.post(replace(message(storm + 50), kind=MessageKind.SUPPRESSED))
            await office.dispatcher.drain(10)

        notices = [text for text in receiver.texts if "not sent one by one" in text]
        assert len(notices) == 2
        assert sum(int(text.split()[0]) for text in notices) + len(receiver.got) - 2 == 60

    tell(story)
