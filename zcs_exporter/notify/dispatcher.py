"""Delivers messages: one queue per target, so that a target that is down delays no other."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence

from zcs_exporter.contract import Clock, Event, Sample
from zcs_exporter.notify.message import Message
from zcs_exporter.notify.missed import introduced
from zcs_exporter.notify.target import Target, TargetStatus
from zcs_exporter.notify.target_queue import GIVEN_UP, OUTBOX, Pace, TargetQueue, Voice, unawaited
from zcs_exporter.state import KEPT_SECONDS, QUARANTINE, Delivery, Saved, StateStore

log = logging.getLogger(__name__)


class Dispatcher:
    """All targets."""

    def __init__(self, store: StateStore, clock: Clock, voice: Voice, saved: Saved) -> None:
        """Begin with what an earlier process still owed, to whomever."""
        self._store = store
        self._clock = clock
        self._voice = voice
        self._saved = saved
        # Those of targets that a reload removed are kept: another one may bring them back.
        self._known: dict[str, TargetQueue] = {}
        self._queues: dict[str, TargetQueue] = {}
        self._former = introduced(saved)
        self._abandoned: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def use(self, targets: Sequence[tuple[Target, Pace]]) -> None:
        """Send to these targets from now on; what waits for one that was there before goes on waiting."""
        await self.stop()
        self._queues = {target.name: self._queue(target, pace) for target, pace in targets}
        self._forget_strangers()
        self._abandon()
        self._tasks = [asyncio.create_task(each.run(), name=f"notify {name}") for name, each in self._queues.items()]

    def names(self, _message: Message) -> tuple[str, ...]:
        """Return the targets that must get a message: all of them."""
        return tuple(self._queues)

    def enqueue(self, deliveries: Sequence[Delivery]) -> None:
        """Take messages that are on disk, or that the disk refused."""
        for delivery in deliveries:
            if delivery.target in self._known:
                self._known[delivery.target].put(delivery)

    def statuses(self) -> Sequence[TargetStatus]:
        """Return how the targets in use fare."""
        return [queue.status() for queue in self._queues.values()]

    def samples(self) -> Iterator[Sample]:
        """Yield how the targets fare."""
        for queue in self._queues.values():
            yield from queue.samples()
        for name, waiting in self._abandoned.items():
            yield OUTBOX.sample(waiting, target=name)

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

    def _forget_strangers(self) -> None:
        """Let go of what has long been owed to targets that nobody names any more."""
        before = self._clock.wall() - KEPT_SECONDS
        old = [each for each in self._saved.deliveries if each.target not in self._known and each.message.at < before]
        if old:
            log.warning("state: forgetting %d notifications of over a month to targets that are gone", len(old))
            unawaited(self._store.settle(old))

    def _abandon(self) -> None:
        """Tell what waits for targets that are none any more: it goes out only if they come back."""
        waiting = {name: queue.status().waiting for name, queue in self._known.items()}
        strangers = Counter(each.target for each in self._saved.deliveries if each.target not in waiting)
        self._abandoned = {
            name: count
            for name, count in sorted((waiting | strangers).items())
            if count and name not in self._queues and not name.startswith(QUARANTINE)
        }
        for name in self._former & self._abandoned.keys():
            count = self._abandoned[name]
            log.warning("%s: not a target any more; %d notifications wait in case it is one again", name, count)
            why = f"{count} that wait, unless it is a target again before they are too old"
            self._voice.tell(Event(GIVEN_UP, self._clock.wall(), {"target": name, "why": why}))
        self._former = frozenset(self._queues)

    def _queue(self, target: Target, pace: Pace) -> TargetQueue:
        queue = self._known.get(target.name)
        if queue is None:
            owed = [delivery for delivery in self._saved.deliveries if delivery.target == target.name]
            sequence = self._saved.sequences.get(target.name, 0)
            beat = self._saved.beats.get(target.name)
            queue = TargetQueue(target, pace, self._store, self._clock, self._voice, owed, sequence, beat)
            self._known[target.name] = queue
            if unreadable := [number for name, number in self._saved.unreadable if name == target.name]:
                queue.lose(unreadable)
        queue.target, queue.pace = target, pace
        return queue
