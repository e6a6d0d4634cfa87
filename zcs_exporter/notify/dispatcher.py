"""Delivers messages: one queue per target, so that a target that is down delays no other.

A message that must be delivered is on disk before it comes here and stays there until it is delivered
or too old. Its sequence number is given when it is first tried and is on disk before it is sent, so a
gap in the numbers means loss, and the same number twice is the same message again.
"""

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from zcs_exporter.contract import Clock, Kind, Metric, Sample
from zcs_exporter.durations import format_duration
from zcs_exporter.notify.message import Message
from zcs_exporter.notify.target import SendError, Setback, Target
from zcs_exporter.state import Delivery, Saved, StateStore

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
    """What one target has not got yet, and the task that sends it in order; it outlives reloads.

    Attributes:
        target: Who gets the messages; a reload replaces it.
        pace: How it wants them; likewise.
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
        self.pace = pace
        self.fates: Counter[Fate] = Counter()
        self._store = store
        self._clock = clock
        self._heartbeat = heartbeat
        self._waiting: deque[tuple[float, Delivery]] = deque()
        self._sequence = sequence
        self._news = asyncio.Event()
        self.idle = asyncio.Event()
        self._failures = 0
        self._trouble = ""
        self._tokens = float(pace.burst)
        self._tokens_at = clock.monotonic()
        self._unanswered: asyncio.Future[None] | None = None
        for delivery in waiting:
            self.put(delivery)

    @property
    def fresh(self) -> bool:
        """Whether the target never got anything, and nothing is on its way."""
        return self._sequence == 0 and not self._waiting

    def put(self, delivery: Delivery) -> None:
        """Add a message."""
        # From here on its age is measured by a clock that does not step.
        age = max(0.0, self._clock.wall() - delivery.message.at)
        self._waiting.append((self._clock.monotonic() - age, delivery))
        self.idle.clear()
        self._news.set()

    def samples(self) -> Iterator[Sample]:
        """Yield how the target fares."""
        name = self.target.name
        yield OUTBOX.sample(len(self._waiting), target=name)
        yield OLDEST.sample(self._clock.monotonic() - self._waiting[0][0] if self._waiting else 0.0, target=name)
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
                async with asyncio.timeout(self.pace.heartbeat or None):
                    await self._news.wait()
            except TimeoutError:
                await self._beat()

    async def _send_next(self) -> None:
        since, delivery = self._waiting[0]
        age = self._clock.monotonic() - since
        if len(self._waiting) > MOST_WAITING or age > self.pace.max_age:
            fate = Fate.EXPIRED if age > self.pace.max_age else Fate.DROPPED
            log.error("%s: given up after %s: %s", self.target.name, format_duration(age), delivery.message.text)
            await self._settle(delivery, fate)
            return
        await self._take_token()
        if delivery.sequence is None:
            self._sequence += 1
            delivery = Delivery(delivery.number, delivery.target, delivery.message, self._sequence)
            self._waiting[0] = since, delivery
            await self._on_disk(self._store.give_sequence(self.target.name, delivery.number, self._sequence))
        trouble = await self._try(delivery.message, delivery.sequence or 0)
        if trouble is None:
            await self._settle(delivery, Fate.DELIVERED)
        elif trouble.setback is Setback.SET_ASIDE:
            log.error("%s: set aside message %s: %s", self.target.name, delivery.message.event_id, trouble)
            await self._settle(delivery, Fate.SET_ASIDE)
        else:
            self._note(trouble)
            self._failures += 1
            longest = min(self.pace.backoff * 2.0 ** min(self._failures - 1, 20), LONGEST_BACKOFF)
            # Spread, so that receivers are not hit in step.
            await asyncio.sleep(longest * random.uniform(0.8, 1.2))  # noqa: S311

    async def _beat(self) -> None:
        """Send a heartbeat: numbered like all messages, but neither kept nor repeated."""
        self._sequence += 1
        await self._on_disk(self._store.give_sequence(self.target.name, None, self._sequence))
        trouble = await self._try(self._heartbeat(), self._sequence)
        if trouble is None:
            self.fates[Fate.DELIVERED] += 1
        else:
            self._note(trouble)

    async def _try(self, message: Message, sequence: int) -> SendError | None:
        """Send once and return what went wrong."""
        try:
            await self.target.send(message, sequence)
        except SendError as exc:
            return exc
        except Exception as exc:  # noqa: BLE001 - a message that breaks the sender must not block the queue
            return SendError(Setback.SET_ASIDE, f"{type(exc).__name__}: {exc}")
        self._failures = 0
        if self._trouble:
            self._trouble = ""
            log.info("%s: receives again", self.target.name)
        return None

    def _note(self, trouble: SendError) -> None:
        self.fates[Fate.RETRIED if trouble.setback is Setback.RETRY else Fate.REFUSED] += 1
        if self._trouble != trouble.setback:
            self._trouble = trouble.setback
            log.warning("%s: %s", self.target.name, trouble)

    async def _settle(self, delivery: Delivery, fate: Fate) -> None:
        self.fates[fate] += 1
        self._waiting.popleft()
        await self._on_disk(self._store.settle(self.target.name, delivery.number))

    async def _on_disk(self, write: "asyncio.Future[None]") -> None:
        """Wait a little for the state directory; a sick one must not keep notifications from leaving."""
        write.add_done_callback(lambda done: done.cancelled() or done.exception())  # the engine tells of it
        hangs = self._unanswered is not None and not self._unanswered.done()
        done, _ = await asyncio.wait({write}, timeout=0 if hangs else STATE_PATIENCE)
        self._unanswered = None if done else write

    async def _take_token(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self.pace.burst, self._tokens + (now - self._tokens_at) * self.pace.rate)
        self._tokens_at = now
        if self._tokens < 1:
            await asyncio.sleep((1 - self._tokens) / self.pace.rate)
        self._tokens -= 1


class Dispatcher:
    """All targets."""

    def __init__(self, store: StateStore, clock: Clock, heartbeat: Callable[[], Message], saved: Saved) -> None:
        """Begin with what an earlier process still owed, to whomever."""
        self._store = store
        self._clock = clock
        self._heartbeat = heartbeat
        self._saved = saved
        # Those of targets that a reload removed are kept: another one may bring them back.
        self._known: dict[str, TargetQueue] = {}
        self._queues: dict[str, TargetQueue] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def use(self, targets: Sequence[tuple[Target, Pace]]) -> None:
        """Send to these targets from now on; what waits for one that was there before goes on waiting."""
        await self.stop()
        self._queues = {target.name: self._queue(target, pace) for target, pace in targets}
        self._tasks = [asyncio.create_task(each.run(), name=f"notify {name}") for name, each in self._queues.items()]

    def names(self, _message: Message) -> tuple[str, ...]:
        """Return the targets that must get a message: all of them."""
        return tuple(self._queues)

    def newcomers(self) -> tuple[str, ...]:
        """Return the targets in use that never got anything."""
        return tuple(name for name, queue in self._queues.items() if queue.fresh)

    def enqueue(self, deliveries: Sequence[Delivery]) -> None:
        """Take messages that are on disk, or that the disk refused."""
        for delivery in deliveries:
            if delivery.target in self._known:
                self._known[delivery.target].put(delivery)

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
        self._tasks = []
        for queue in self._queues.values():
            queue.target.close()

    def _queue(self, target: Target, pace: Pace) -> TargetQueue:
        queue = self._known.get(target.name)
        if queue is None:
            owed = [delivery for delivery in self._saved.deliveries if delivery.target == target.name]
            sequence = self._saved.sequences.get(target.name, 0)
            queue = TargetQueue(target, pace, self._store, self._clock, self._heartbeat, owed, sequence)
            self._known[target.name] = queue
        queue.target, queue.pace = target, pace
        return queue
