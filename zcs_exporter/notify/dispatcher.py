"""Delivers messages: one queue per target, so that a target that is down delays no other."""

import asyncio
import logging
from collections.abc import Iterator, Sequence

from zcs_exporter.contract import Clock, Sample
from zcs_exporter.notify.message import Message
from zcs_exporter.notify.target import Target, TargetStatus
from zcs_exporter.notify.target_queue import Pace, TargetQueue, Voice, unawaited
from zcs_exporter.state import KEPT_SECONDS, Delivery, Saved, StateStore

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
        self._returned: frozenset[str] = frozenset()
        self._tasks: list[asyncio.Task[None]] = []

    async def use(self, targets: Sequence[tuple[Target, Pace]]) -> None:
        """Send to these targets from now on; what waits for one that was there before goes on waiting."""
        await self.stop()
        away = self._known.keys() - self._queues.keys()
        self._returned = frozenset(target.name for target, _ in targets if target.name in away)
        self._queues = {target.name: self._queue(target, pace) for target, pace in targets}
        self._forget_strangers()
        self._tasks = [asyncio.create_task(each.run(), name=f"notify {name}") for name, each in self._queues.items()]

    def names(self, _message: Message) -> tuple[str, ...]:
        """Return the targets that must get a message: all of them."""
        return tuple(self._queues)

    def newcomers(self) -> tuple[str, ...]:
        """Return the targets in use that never got anything, or were away and missed what happened meanwhile."""
        return tuple(name for name, queue in self._queues.items() if queue.fresh or name in self._returned)

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
