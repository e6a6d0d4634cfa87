"""Delivers messages: one queue per target, so that a target that is down delays no other.

A message that must be delivered is on disk before it comes here and stays there until it is delivered
or too old. Its sequence number is given when it is first tried and is on disk before it is sent, so a
gap in the numbers means loss, and the same number twice is the same message again.
"""

import asyncio
import logging
import random
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from zcs_exporter.contract import Clock, Kind, Metric, Sample
from zcs_exporter.durations import format_duration
from zcs_exporter.notify.message import Message
from zcs_exporter.notify.target import SendError, Setback, Target
from zcs_exporter.state import Delivery, StateStore

log = logging.getLogger(__name__)


class Fate(StrEnum):
    """What became of an attempt; the ``outcome`` label."""

    DELIVERED = "delivered"
    RETRIED = "retried"
    REFUSED = "refused"
    EXPIRED = "expired"
    DROPPED = "dropped"
    SET_ASIDE = "set_aside"


NOTIFICATIONS = Metric(
    "zcs_exporter_notifications_total",
    Kind.COUNTER,
    "Attempts to notify a target since start, by what became of them.",
    labels=("target", "outcome"),
)
OUTBOX = Metric(
    "zcs_exporter_outbox_messages", Kind.GAUGE, "Notifications that a target has not got yet.", labels=("target",)
)
OLDEST = Metric(
    "zcs_exporter_outbox_oldest_age_seconds",
    Kind.GAUGE,
    "Age of the oldest notification that a target has not got yet; 0 when none waits.",
    labels=("target",),
)
DISPATCH_METRICS = (NOTIFICATIONS, OUTBOX, OLDEST)

LONGEST_BACKOFF = 300.0
MOST_WAITING = 10_000
"""Messages that may wait for one target; beyond it the oldest is dropped and counted."""

STATE_PATIENCE = 2.0
"""Seconds a delivery waits for the state directory before it goes on without."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a target wants to be notified.

    Attributes:
        max_age: Seconds after which a message is given up.
        rate: Messages a second, after a burst.
        burst: Messages that may go out at once.
        heartbeat: Seconds between two heartbeats; 0 for none.
        backoff: Seconds after the first failure, doubled at each further one up to five minutes.
    """

    max_age: float
    rate: float
    burst: int = 20
    heartbeat: float = 60.0
    backoff: float = 5.0


class TargetQueue:
    """What one target has not got yet, and the task that sends it in order.

    Attributes:
        fates: What became of attempts since start.
        idle: Set while the target has got everything.
    """

    def __init__(
        self,
        target: Target,
        pace: Pace,
        store: StateStore,
        clock: Clock,
        heartbeat: Callable[[], Message],
        waiting: Iterable[Delivery],
        sequence: int,
    ) -> None:
        """Begin with what an earlier process left: messages that wait, and the last sequence number."""
        self.target = target
        self.fates: Counter[Fate] = Counter()
        self._pace = pace
        self._store = store
        self._clock = clock
        self._heartbeat = heartbeat
        self._waiting = deque(waiting)
        self._sequence = sequence
        self._news = asyncio.Event()
        self.idle = asyncio.Event()
        self._failures = 0
        self._trouble = ""
        self._tokens = float(pace.burst)
        self._tokens_at = clock.monotonic()

    def put(self, delivery: Delivery) -> None:
        """Add a message."""
        self._waiting.append(delivery)
        self.idle.clear()
        self._news.set()

    def samples(self) -> Iterator[Sample]:
        """Yield how the target fares."""
        name = self.target.name
        oldest = self._clock.wall() - self._waiting[0].message.at if self._waiting else 0.0
        yield OUTBOX.sample(len(self._waiting), target=name)
        yield OLDEST.sample(max(0.0, oldest), target=name)
        for fate in Fate:
            yield NOTIFICATIONS.sample(self.fates[fate], target=name, outcome=fate)

    async def run(self) -> None:
        """Send for ever."""
        while True:
            while self._waiting:
                await self._send_next()
            self._news.clear()
            self.idle.set()
            try:
                await asyncio.wait_for(self._news.wait(), self._pace.heartbeat or None)
            except TimeoutError:
                await self._beat()

    async def _send_next(self) -> None:
        delivery = self._waiting[0]
        age = self._clock.wall() - delivery.message.at
        if len(self._waiting) > MOST_WAITING or age > self._pace.max_age:
            fate = Fate.EXPIRED if age > self._pace.max_age else Fate.DROPPED
            log.error("%s: given up after %s: %s", self.target.name, format_duration(age), delivery.message.text)
            await self._settle(delivery, fate)
            return
        await self._take_token()
        if delivery.sequence is None:
            self._sequence += 1
            delivery = Delivery(delivery.number, delivery.target, delivery.message, self._sequence)
            self._waiting[0] = delivery
            await self._on_disk(self._store.give_sequence(self.target.name, delivery.number, self._sequence))
        try:
            await self.target.send(delivery.message, delivery.sequence or 0)
        except SendError as exc:
            await self._set_back(delivery, exc)
        except Exception as exc:  # noqa: BLE001 - a message that breaks the sender must not block the queue
            await self._set_back(delivery, SendError(Setback.SET_ASIDE, f"{type(exc).__name__}: {exc}"))
        else:
            self._delivered()
            await self._settle(delivery, Fate.DELIVERED)

    async def _set_back(self, delivery: Delivery, exc: SendError) -> None:
        if exc.setback is Setback.SET_ASIDE:
            log.error("%s: set aside message %s: %s", self.target.name, delivery.message.event_id, exc)
            await self._settle(delivery, Fate.SET_ASIDE)
            return
        self.fates[Fate.REFUSED if exc.setback is Setback.REFUSED else Fate.RETRIED] += 1
        self._failures += 1
        if self._trouble != exc.setback:
            self._trouble = exc.setback
            log.warning("%s: %s", self.target.name, exc)
        longest = min(self._pace.backoff * 2.0 ** min(self._failures - 1, 20), LONGEST_BACKOFF)
        await asyncio.sleep(longest * random.uniform(0.8, 1.2))  # noqa: S311 - so that receivers are not hit in step

    async def _beat(self) -> None:
        """Send a heartbeat: numbered like all messages, but neither kept nor repeated."""
        self._sequence += 1
        await self._on_disk(self._store.give_sequence(self.target.name, None, self._sequence))
        try:
            await self.target.send(self._heartbeat(), self._sequence)
        except SendError as exc:
            self.fates[Fate.REFUSED if exc.setback is Setback.REFUSED else Fate.RETRIED] += 1
            if self._trouble != exc.setback:
                self._trouble = exc.setback
                log.warning("%s: heartbeat: %s", self.target.name, exc)
        else:
            self._delivered()
            self.fates[Fate.DELIVERED] += 1

    def _delivered(self) -> None:
        self._failures = 0
        if self._trouble:
            self._trouble = ""
            log.info("%s: receives again", self.target.name)

    async def _settle(self, delivery: Delivery, fate: Fate) -> None:
        self.fates[fate] += 1
        self._waiting.popleft()
        await self._on_disk(self._store.settle(self.target.name, delivery.number))

    async def _on_disk(self, write: Coroutine[None, None, None]) -> None:
        """Wait a little for the state directory; a sick one must not keep notifications from leaving."""
        try:
            await asyncio.wait_for(write, STATE_PATIENCE)
        except (TimeoutError, sqlite3.Error) as exc:
            log.debug("%s: state directory: %s", self.target.name, exc)

    async def _take_token(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self._pace.burst, self._tokens + (now - self._tokens_at) * self._pace.rate)
        self._tokens_at = now
        if self._tokens < 1:
            await asyncio.sleep((1 - self._tokens) / self._pace.rate)
        self._tokens -= 1


class Dispatcher:
    """All targets."""

    def __init__(self) -> None:
        self._queues: dict[str, TargetQueue] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, queues: Sequence[TargetQueue]) -> None:
        """Begin to send."""
        self._queues = {queue.target.name: queue for queue in queues}
        self._tasks = [asyncio.create_task(queue.run(), name=f"notify {queue.target.name}") for queue in queues]

    def names(self, _message: Message) -> tuple[str, ...]:
        """Return the targets that must get a message: all of them."""
        return tuple(self._queues)

    def enqueue(self, deliveries: Sequence[Delivery]) -> None:
        """Take messages that are on disk, or that the disk refused."""
        for delivery in deliveries:
            if delivery.target in self._queues:
                self._queues[delivery.target].put(delivery)

    def samples(self) -> Iterator[Sample]:
        """Yield how the targets fare."""
        for queue in self._queues.values():
            yield from queue.samples()

    async def drain(self, seconds: float) -> None:
        """Give what waits a last chance."""
        idle = [asyncio.create_task(queue.idle.wait()) for queue in self._queues.values()]
        if idle:
            _, late = await asyncio.wait(idle, timeout=seconds)
            for task in late:
                task.cancel()

    async def stop(self) -> None:
        """End all tasks and close the targets; what waits stays on disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for queue in self._queues.values():
            queue.target.close()
        self._queues, self._tasks = {}, []
