"""One way out for events: a bounded queue, and a thread that may hang without holding up anything."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import CollectError, Reason
from zcs_exporter.events.entry import Entry

log = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Events that wait for an output that does not take them; beyond it the oldest are lost, and counted."""

BATCH = 200
"""Events that are written at once."""

PATIENCE = 10.0
"""Seconds after which an output that does not answer is said to hang."""

RETRY = 10.0
"""Seconds between two attempts at an output that refuses."""

TIDY = 600.0
"""Seconds without an event after which the output may put its house in order."""


class Writer(Protocol):
    """Takes events, off the event loop.

    Attributes:
        place: What it is called in messages.
    """

    place: str

    def write(self, entries: Sequence[Entry]) -> int:
        """Write events, none of them in part, and return how many; of none, only do what time demands.

        Raises:
            CollectError: None was written.
        """
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


class Outlet:
    """Events on their way to one output.

    Attributes:
        written: Events that it took since start.
        lost: Events that it will never get.
        trouble: Why it does not take events now; None while it does.
    """

    def __init__(self, writer: Writer, former: "Outlet | None" = None) -> None:
        """Begin, with what a ``former`` outlet that has ended still had to write."""
        self.written: int = 0 if former is None else former.written
        self.lost: int = 0 if former is None else former.lost
        self.trouble: CollectError | None = None
        self._writer = writer
        self._waiting: deque[Entry] = deque(() if former is None else former._waiting)
        self._busy: Sequence[Entry] = ()
        self._lost_before = self.lost
        self._call = BlockingCall(f"writing to {writer.place}")
        self._news = asyncio.Event()
        self._ending = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"events to {writer.place}")

    @property
    def waiting(self) -> int:
        """Events that it has not taken yet."""
        return len(self._waiting) + len(self._busy)

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return self._writer.place

    def put(self, entries: Sequence[Entry]) -> None:
        """Add events."""
        self._waiting.extend(entries)
        self._drop_oldest()
        self._news.set()

    async def end(self, patience: float) -> None:
        """Give what waits a last chance, then stop; what a call that hangs has in hand is taken for lost."""
        self._ending.set()
        self._news.set()
        await asyncio.wait({self._task}, timeout=patience)
        self._task.cancel()
        await asyncio.wait({self._task})
        self.lost += len(self._busy)
        self._busy = ()
        self._call.afterwards(self._writer.close)

    async def _run(self) -> None:
        while True:
            self._news.clear()
            while await self._write_next():
                pass
            if self._ending.is_set():
                return
            if self.trouble is not None:
                await _wait(self._ending, RETRY)
            elif not self._waiting:
                await _wait(self._news, TIDY)

    async def _write_next(self) -> bool:
        """Write a batch, which may be empty; return whether to go on with the next at once."""
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        self._busy = batch
        try:
            done = await self._attempt(batch)
        except CollectError as exc:
            self._note(exc)
            done = 0
        except Exception as exc:
            # What breaks the writer must not come again and again.
            log.exception("events: bug while writing to %s", self.place)
            self._note(CollectError(Reason.INTERNAL, f"writing to {self.place}: {exc}", "report it with the log"))
            self.lost += len(batch)
            batch, done = [], 0
        else:
            self._heal()
        self.written += done
        self._busy = ()
        self._waiting.extendleft(reversed(batch[done:]))
        self._drop_oldest()
        return bool(self._waiting) and self.trouble is None

    async def _attempt(self, batch: Sequence[Entry]) -> int:
        # Never cancelled and asked again: nobody would know then what it had written.
        answer = asyncio.ensure_future(self._call(partial(self._writer.write, batch)))
        try:
            done, _ = await asyncio.wait({answer}, timeout=PATIENCE)
            if not done:
                self._note(CollectError(Reason.TIMEOUT, f"{self.place} has not answered for {PATIENCE:g} s"))
            return await answer
        finally:
            answer.cancel()

    def _drop_oldest(self) -> None:
        while self.waiting > MOST_WAITING and self._waiting:
            self._waiting.popleft()
            self.lost += 1

    def _note(self, trouble: CollectError) -> None:
        if self.trouble is None or self.trouble.reason is not trouble.reason:
            remedy = f"; {trouble.remedy}" if trouble.remedy else ""
            log.error("events: %s%s; up to %d wait in memory", trouble, remedy, MOST_WAITING)
        self.trouble = trouble

    def _heal(self) -> None:
        if self.trouble is not None:
            log.info("events: %s takes them again; %d were lost", self.place, self.lost - self._lost_before)
        self._lost_before = self.lost
        self.trouble = None


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
