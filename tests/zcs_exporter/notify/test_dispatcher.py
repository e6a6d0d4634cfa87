"""Nothing is lost between a transition and its receiver, and no receiver delays another."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from fakes import ManualClock

from zcs_exporter.notify import dispatcher
from zcs_exporter.notify.dispatcher import NOTIFICATIONS, Dispatcher, Fate, Pace
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.notify.target import SendError, Setback
from zcs_exporter.state import Commit, Delivery, StateStore, read_saved


def message(number: int, at: float = 1000.0) -> Message:
    return Message(MessageKind.TEST, f"event-{number}", "mail.example.com", "", at, f"text {number}")


class Receiver:
    """A target that answers as the test says: one entry of ``troubles`` for each attempt, then success."""

    def __init__(self, name: str = "nms", troubles: Sequence[Exception] = ()) -> None:
        self.name = name
        self.troubles = list(troubles)
        self.attempts: list[tuple[int, str]] = []
        self.got: list[tuple[int, str]] = []
        self.closed = False
        self._news = asyncio.Event()

    async def send(self, message: Message, sequence: int) -> None:
        self.attempts.append((sequence, message.event_id))
        self._news.set()
        if self.troubles:
            raise self.troubles.pop(0)
        self.got.append((sequence, message.event_id))

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

    async def open(self, *receivers: Receiver, pace: Pace | None = None) -> None:
        """Begin as a new process does."""
        saved = await self.store.run(read_saved)
        self.dispatcher = Dispatcher(self.store, self.manual.clock, lambda: message(0), saved)
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
        receiver = Receiver(troubles=[SendError(Setback.SET_ASIDE, "too long"), RuntimeError("a bug")])
        await office.open(receiver)
        await office.post(message(1), message(2), message(3))
        await receiver.has_got(1)

        assert receiver.got == [(3, "event-3")]
        assert office.fates()[Fate.SET_ASIDE] == 2

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

        assert office.fates()[Fate.REFUSED] == 1

    tell(story)


def test_a_state_directory_that_hangs_delays_the_first_message_only(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "STATE_PATIENCE", 0.2)

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
