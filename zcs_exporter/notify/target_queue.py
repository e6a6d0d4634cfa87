"""One target's queue: what it gets, in what order and how fast.

A message that must be delivered is on disk before it comes here and stays there until it is delivered
or too old. Its sequence number is given when it is first tried and is on disk before it is sent, so a
gap in the numbers means loss, and the same number twice is the same message again.

What cannot be told message by message is told in sum: superseded states of an alarm in its last one, what
comes faster than a target wants in one notice to it, and what is given up in an event to all targets.
"""

import asyncio
import contextlib
import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from zcs_exporter.contract import Clock, Event, Kind, Metric, Sample
from zcs_exporter.notify.backlog import Backlog, Waiting
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.notify.target import SendError, Setback, Target, TargetStatus
from zcs_exporter.state import Delivery, StateStore

log = logging.getLogger(__name__)


class Fate(StrEnum):
    """What became of an attempt or of a message; the ``outcome`` label."""

    DELIVERED = "delivered"
    RETRIED = "retried"
    REFUSED = "refused"
    EXPIRED = "expired"
    DROPPED = "dropped"
    SET_ASIDE = "set_aside"
    SUPERSEDED = "superseded"
    SUPPRESSED = "suppressed"


NOTIFICATIONS = Metric(
    "zcs_exporter_notifications_total",
    Kind.COUNTER,
    "Attempts to notify a target since start, and notifications given up or folded, by what became of them.",
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
UP = Metric(
    "zcs_exporter_target_up",
    Kind.GAUGE,
    "Whether the last attempt to notify a target got through; a trap that left counts as that.",
    labels=("target",),
)
DISPATCH_METRICS = (NOTIFICATIONS, OUTBOX, OLDEST, UP)

LONGEST_BACKOFF = 300.0
STATE_PATIENCE = 2.0
"""Seconds a delivery waits for the state directory before it goes on without."""

STORM_PATIENCE = 30.0
"""Seconds that a message may wait for its turn behind others; what would wait longer is folded into one notice."""

SUPERSEDED_AFTER = 300.0
"""Seconds after which the states that an alarm has left are not told one by one any more."""

THINNING_INTERVAL = 1.0
"""Least seconds between two looks through all that waits."""

GIVEN_UP = "ZcsNotificationsGivenUp"
"""The event that tells of messages a target will never get."""

GIVEN_UP_SPACING = 300.0
"""Least seconds between two such events about one target."""

MOST_STUMBLES = 3
"""Attempts after which a message that breaks the sender is set aside; the fault may as well be another's."""

_LOSSES = {Fate.EXPIRED: "too old", Fate.DROPPED: "for want of room", Fate.SET_ASIDE: "unfit to be sent"}


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


@dataclass(frozen=True, slots=True)
class Voice:
    """What the dispatcher needs of those who make messages.

    Attributes:
        heartbeat: Makes the one of a time.
        suppress: Has a notice of kind SUPPRESSED made for a target, for a reason; it comes as any message does.
        tell: Has all targets told of an event.
    """

    heartbeat: Callable[[float], Message]
    suppress: Callable[[str, str], None]
    tell: Callable[[Event], None]


class TargetQueue:
    """What one target has not got yet, and the task that sends it in order; it outlives reloads.

    Attributes:
        target: Who gets the messages; a reload replaces it.
        pace: How it wants them; likewise.
        fates: What became of attempts and messages since start.
        idle: Set while the target has got everything.
    """

    def __init__(
        self,
        target: Target,
        pace: Pace,
        store: StateStore,
        clock: Clock,
        voice: Voice,
        waiting: Iterable[Delivery],
        sequence: int,
        beat: float | None,
    ) -> None:
        """Begin with what an earlier process left.

        Args:
            target: Who gets the messages.
            pace: How it wants them.
            store: Where numbers are kept.
            clock: For ages and pace.
            voice: Makes messages.
            waiting: What waits.
            sequence: The last sequence number.
            beat: The time of the heartbeat that has this number; None where a message has it.
        """
        self.target = target
        self.pace = pace
        self.fates: Counter[Fate] = Counter()
        self._store = store
        self._clock = clock
        self._voice = voice
        self._backlog = Backlog()
        self._sequence = sequence
        self._news = asyncio.Event()
        self.idle = asyncio.Event()
        self._up: bool | None = None
        self._failures = 0
        self._trouble = ""
        self._tokens = float(pace.burst)
        self._tokens_at = clock.monotonic()
        self._beaten_at = clock.monotonic()
        # Whether it arrived nobody knows. A number must neither be missing nor mean two things, so it is sent again.
        self._unsure_beat = beat
        self._unanswered: asyncio.Future[None] | None = None
        self._notice: Waiting | None = None
        self._for_notice: list[Waiting] = []
        self._thinned_at = -math.inf
        self._lost: Counter[Fate] = Counter()
        self._telling: asyncio.TimerHandle | None = None
        for delivery in waiting:
            self._add(delivery, spared=True)

    @property
    def fresh(self) -> bool:
        """Whether the target never got anything, and nothing is on its way."""
        return self._sequence == 0 and not self._backlog

    def put(self, delivery: Delivery) -> None:
        """Add a message."""
        self._add(delivery, spared=self._up is False)
        self.idle.clear()
        self._news.set()

    def _add(self, delivery: Delivery, *, spared: bool) -> None:
        # From here on its age is measured by a clock that does not step.
        age = max(0.0, self._clock.wall() - delivery.message.at)
        waiting = self._backlog.add(delivery, self._clock.monotonic() - age, spared=spared)
        if delivery.message.kind is MessageKind.SUPPRESSED and not waiting.tried:
            self._notice = waiting
            self._suppress(self._for_notice)
            self._for_notice = []
        dropped = self._backlog.overflow()
        if dropped:
            self._give_up(dropped, Fate.DROPPED)

    def status(self) -> TargetStatus:
        """Return how the target fares."""
        fates = self.fates
        head = self._backlog.head
        return TargetStatus(
            name=self.target.name,
            up=self._up,
            waiting=len(self._backlog),
            oldest=0.0 if head is None else self._clock.monotonic() - head.since,
            sequence=self._sequence,
            delivered=fates[Fate.DELIVERED],
            retried=fates[Fate.RETRIED],
            refused=fates[Fate.REFUSED],
            dropped=sum(fates[loss] for loss in _LOSSES),
            suppressed=fates[Fate.SUPERSEDED] + fates[Fate.SUPPRESSED],
        )

    def samples(self) -> Iterator[Sample]:
        """Yield how the target fares."""
        status = self.status()
        yield OUTBOX.sample(status.waiting, target=status.name)
        yield OLDEST.sample(status.oldest, target=status.name)
        if status.up is not None:
            yield UP.sample(status.up, target=status.name)
        for fate in Fate:
            yield NOTIFICATIONS.sample(self.fates[fate], target=status.name, outcome=fate)

    async def run(self) -> None:
        """Send for ever."""
        while True:
            while self._backlog or self._unsure_beat is not None:
                await self._send_next()
            self._news.clear()
            self.idle.set()
            try:
                async with asyncio.timeout(self._until_beat()):
                    await self._news.wait()
            except TimeoutError:
                await self._beat()

    async def _send_next(self) -> None:
        self._thin_out()
        await self._take_token()
        if self._unsure_beat is not None:
            await self._send_beat(self._unsure_beat)
            return
        waiting = self._backlog.head  # only now: what waits may have been dropped meanwhile
        if waiting is None:
            return
        if waiting is self._notice:
            self._notice = None  # from here on it counts no more
        if not waiting.tried:
            self._sequence += 1
            waiting.number(self._sequence)
            owed = waiting.delivery
            await self._on_disk(self._store.give_sequence(owed.target, owed.number, self._sequence, folded=owed.folded))
        trouble = await self._try(waiting.delivery.told, waiting.delivery.sequence or 0)
        if trouble is not None and trouble.setback is Setback.BROKEN:
            waiting.stumbles += 1
        if trouble is None:
            self.fates[Fate.DELIVERED] += 1
            self._backlog.remove([waiting])
            await self._on_disk(self._store.settle([waiting.delivery]))
        elif trouble.setback is Setback.SET_ASIDE or waiting.stumbles >= MOST_STUMBLES:
            log.error("%s: set aside message %s: %s", self.target.name, waiting.message.event_id, trouble)
            await self._on_disk(self._give_up([waiting], Fate.SET_ASIDE))
        else:
            self._note(trouble)
            await asyncio.sleep(self._backoff())

    def _backoff(self) -> float:
        """Return the seconds to wait after a failure."""
        longest = min(self.pace.backoff * 2.0 ** min(self._failures - 1, 20), LONGEST_BACKOFF)
        # Spread, so that receivers are not hit in step.
        return longest * random.uniform(0.8, 1.2)  # noqa: S311

    def _thin_out(self) -> None:
        """Take out what is too old, what a later message tells better, and what comes too fast."""
        most = self.pace.burst + int(self.pace.rate * STORM_PATIENCE)
        if len(self._backlog) > most:
            self._suppress(self._backlog.excess(most))
        now = self._clock.monotonic()
        if now - self._thinned_at < THINNING_INTERVAL:
            return
        self._thinned_at = now
        if expired := self._backlog.expired(now - self.pace.max_age):
            self._give_up(expired, Fate.EXPIRED)
        for gone, into in self._backlog.superseded(now - SUPERSEDED_AFTER):
            self._fold(gone, into, Fate.SUPERSEDED)

    def _suppress(self, gone: list[Waiting]) -> None:
        """Fold what comes too fast into the notice that waits, or into the next one."""
        if not gone:
            return
        if self._notice is not None:
            self._fold(gone, self._notice, Fate.SUPPRESSED)
            return
        # Until the notice is here they stay on disk: after a crash they are simply owed.
        self._backlog.remove(gone)
        if not self._for_notice:
            log.warning("%s: more to tell than %g a second, folding it", self.target.name, self.pace.rate)
            why = f"more came than {self.pace.rate:g} a second, the list of alarms has what stands"
            self._voice.suppress(self.target.name, why)
        self._for_notice += gone

    def _fold(self, gone: Collection[Waiting], into: Waiting, fate: Fate) -> None:
        self.fates[fate] += len(gone)
        self._backlog.remove(gone)
        into.stand_for(gone)
        unawaited(self._store.fold(into.delivery, [each.delivery for each in gone]))

    def _give_up(self, gone: Collection[Waiting], fate: Fate) -> "asyncio.Future[None]":
        """Take out messages that the target will never get, and have that told."""
        self.fates[fate] += len(gone)
        self._backlog.remove(gone)
        if any(each is self._notice for each in gone):
            self._notice = None
        # That such an event itself cannot be told is no news.
        lost = sum(1 + each.delivery.folded for each in gone if each.message.name != GIVEN_UP)
        if lost:
            self._lost[fate] += lost
            if self._telling is None:
                self._tell_losses()
        return unawaited(self._store.settle([each.delivery for each in gone]))

    def _tell_losses(self) -> None:
        """Tell all targets what was lost until now, then not again for a while."""
        self._telling = None
        lost, self._lost = self._lost, Counter()
        if not lost:
            return
        self._telling = asyncio.get_running_loop().call_later(GIVEN_UP_SPACING, self._tell_losses)
        why = ", ".join(f"{count} {_LOSSES[fate]}" for fate, count in sorted(lost.items()))
        log.error("%s: notifications given up: %s", self.target.name, why)
        self._voice.tell(Event(GIVEN_UP, self._clock.wall(), {"target": self.target.name, "why": why}))

    def lose(self, numbers: Collection[int]) -> None:
        """Give up messages that an earlier process left damaged, and have that told."""
        self.fates[Fate.SET_ASIDE] += len(numbers)
        self._lost[Fate.SET_ASIDE] += len(numbers)
        unawaited(self._store.forget([(self.target.name, number) for number in numbers]))
        self._tell_losses()

    def _until_beat(self) -> float | None:
        """Return the seconds until the next heartbeat; None for none."""
        if not self.pace.heartbeat:
            return None
        return max(0.0, self._beaten_at + self.pace.heartbeat - self._clock.monotonic())

    async def _beat(self) -> None:
        """Give the next number to a heartbeat and send it; it is numbered like all messages, but not kept."""
        self._beaten_at = self._clock.monotonic()
        self._sequence += 1
        self._unsure_beat = self._clock.wall()
        await self._on_disk(self._store.give_beat(self.target.name, self._sequence, self._unsure_beat))
        await self._send_beat(self._unsure_beat)

    async def _send_beat(self, at: float) -> None:
        """Send the heartbeat that has the last number; one that fails is tried again before anything else."""
        trouble = await self._try(self._voice.heartbeat(at), self._sequence)
        if trouble is None:
            self.fates[Fate.DELIVERED] += 1
            self._unsure_beat = None
        elif trouble.setback in (Setback.SET_ASIDE, Setback.BROKEN):
            log.error("%s: set aside a heartbeat: %s", self.target.name, trouble)
            self.fates[Fate.SET_ASIDE] += 1
            self._unsure_beat = None
        else:
            self._note(trouble)
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._backoff(), self.pace.heartbeat or LONGEST_BACKOFF)):
                    await self._news.wait()  # an alarm is worth another attempt at once

    async def _try(self, message: Message, sequence: int) -> SendError | None:
        """Send once and return what went wrong."""
        try:
            await self.target.send(message, sequence)
        except SendError as exc:
            return exc
        except Exception as exc:  # noqa: BLE001 - a message that breaks the sender must not block the queue
            return SendError(Setback.BROKEN, f"{self.target.name}: bug, please report it: {type(exc).__name__}: {exc}")
        self._up = True
        self._failures = 0
        if self._trouble:
            self._trouble = ""
            log.info("%s: receives again", self.target.name)
        return None

    def _note(self, trouble: SendError) -> None:
        """Remember that the target did not take something, and have what waits not be folded for that."""
        self._up = False
        self._failures += 1
        self._backlog.spare()
        self.fates[Fate.REFUSED if trouble.setback is Setback.REFUSED else Fate.RETRIED] += 1
        if self._trouble != trouble.setback:
            self._trouble = trouble.setback
            log.warning("%s: %s", self.target.name, trouble)

    async def _on_disk(self, write: "asyncio.Future[None]") -> None:
        """Wait a little for the state directory; a sick one must not keep notifications from leaving."""
        unawaited(write)
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


def unawaited(write: "asyncio.Future[None]") -> "asyncio.Future[None]":
    """Have an error of a write not be logged as one that nobody looked at: the engine tells of it."""
    write.add_done_callback(lambda done: done.cancelled() or done.exception())
    return write
