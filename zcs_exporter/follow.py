"""Follows each log once, however many collectors read it."""

import asyncio
import logging
import os.path
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    Clock,
    CollectError,
    Kind,
    LogBlock,
    Metric,
    Reason,
    Sample,
    Subscription,
)
from zcs_exporter.feeds import feeds_of
from zcs_exporter.hostio import Host
from zcs_exporter.log_position import Position
from zcs_exporter.sentry import Sentry
from zcs_exporter.tail import LogTail

log = logging.getLogger(__name__)

LINES = Metric("zcs_exporter_log_lines_total", Kind.COUNTER, "Lines read from a log since start.", labels=("log",))
LAG = Metric("zcs_exporter_log_lag_bytes", Kind.GAUGE, "Bytes of a log that are not read yet.", labels=("log",))
READABLE = Metric(
    "zcs_exporter_log_readable",
    Kind.GAUGE,
    "Whether a log that exists can be read and, for syslog, has lines of this host.",
    labels=("log",),
)
TRUNCATIONS = Metric(
    "zcs_exporter_log_truncations_total",
    Kind.COUNTER,
    "Times since start that a log was shortened or rewritten in place; its writer may have lost lines.",
    labels=("log",),
)
FOLLOW_METRICS = (LINES, LAG, READABLE, TRUNCATIONS)

POLL = 0.5
"""Seconds between two looks at a log that had nothing new."""

BLOCK = 1 << 17
"""Bytes that are handed out at once: readers work through some 3 ms on the event loop before others have their turn."""

QUIET_AFTER = 4
"""Looks without anything new after which a log is left to the sentry."""

HUNG_AFTER = 10.0
"""Seconds after which a look counts as hung: said, and not waited for by readiness."""


def _position(path: str, saved: str | None) -> Position | None:
    if saved is None:
        return None
    try:
        return Position.from_json(saved)
    except ValueError as exc:
        log.error("%s: the saved position is of no use, going on from the log's end: %s", path, exc)
        return None


class LogFollower:
    """One log and everybody who reads it.

    Attributes:
        path: The log's name on the host.
        host: Where it is.
    """

    def __init__(
        self,
        host: Host,
        path: str,
        saved: str | None,
        subscriptions: Sequence[Subscription],
        wake: Callable[[], None],
        clock: Clock,
        names: Collection[bytes] = (),
    ) -> None:
        """Go on from ``saved``; None for a log never seen.

        Args:
            host: Where the log is.
            path: Its name there.
            saved: What ``position`` gave to an earlier process.
            subscriptions: All wishes for it.
            wake: Called after new lines were fed.
            clock: Times how long a file has been quiet, and dates syslog's stamps.
            names: This host's in syslog.
        """
        self.path = path
        self.host = host
        self.opened = asyncio.Event()
        position = _position(path, saved)
        self._tail = LogTail(host, path, position, clock, block_size=BLOCK)
        self._read = BlockingCall(f"reading {path}")
        self._feeds, self._syslog = feeds_of(subscriptions, names, position.line_time if position else 0, clock)
        # A syslog file has no pace: its lines are wanted at once.
        self._pace = min((getattr(each, "pace", 0.0) for each in subscriptions), default=0.0)
        self._wake = wake
        self._taken = position
        self._failure: CollectError | None = None
        self._told: str | None = None

    @property
    def problem(self) -> CollectError | None:
        """Why the log cannot be followed now."""
        strange = None if self._syslog is None else self._syslog.problem
        return self._failure or self._tail.problem or strange

    def rename(self, names: Collection[bytes]) -> None:
        """Take other names for this host's in syslog."""
        if self._syslog is not None:
            self._syslog.rename(names)

    def position(self) -> str | None:
        """Return the position if it changed since the last call, else None."""
        position = self._tail.position
        if position is not None and self._syslog is not None:
            position = replace(position, line_time=self._syslog.previous)
        if position is None or position == self._taken:
            return None
        self._taken = position
        return position.to_json()

    def samples(self) -> Iterator[Sample]:
        """Yield how reading fares; nothing about a log that does not exist."""
        tail = self._tail
        if tail.exists:
            name = os.path.basename(self.path)
            yield LINES.sample(tail.lines, log=name)
            yield LAG.sample(tail.lag, log=name)
            yield READABLE.sample(self.problem is None, log=name)
            yield TRUNCATIONS.sample(tail.truncations, log=name)

    async def run(self, turns: asyncio.Lock, sentry: Sentry) -> None:
        """Read for ever; who holds ``turns`` hands out one block, then lets the event loop see to all others."""
        quiet = 0
        while True:
            sentry.forget(self.path)
            block = await self._look()
            self._tell()
            if block is None:
                self.opened.set()
                quiet += 1
                await asyncio.sleep(max(self._pace, POLL))
                if quiet >= QUIET_AFTER:
                    await sentry.until_changed(self.path)
                continue
            quiet = 0
            async with turns:
                if block.data:
                    self._hand_out(block)
                # No await between feeding and advancing: a commit sees both or neither.
                self._tail.advance()
                self.opened.set()
                await asyncio.sleep(0)

    def close(self) -> None:
        """Close the log's files, once no read that hangs uses them any more."""
        self._read.afterwards(self._tail.close)

    async def _look(self) -> LogBlock | None:
        """Return the next lines; None where there are none or nobody can say."""
        try:
            block = await self._read.within(HUNG_AFTER, self._tail.read)
        except TimeoutError:
            # What it may still return is read again: it was not advanced over.
            self._failure = CollectError(Reason.TIMEOUT, f"reading {self.path}: no answer", "see what its disk does")
        except CollectError as exc:
            self._failure = self._failure or exc
        except Exception as exc:
            if self._failure is None:
                log.exception("%s: bug, please report it", self.path)
            self._failure = CollectError(Reason.INTERNAL, f"reading {self.path}: {type(exc).__name__}: {exc}")
        else:
            self._failure = None
            return block
        return None

    def _hand_out(self, block: LogBlock) -> None:
        for feed in self._feeds:
            try:
                feed(block)
            except Exception:
                # A bug in one reader must neither stop the others nor make this block come again for ever.
                log.exception("%s: bug in a collector, lines from offset %d are lost to it", self.path, block.offset)
        self._wake()

    def _tell(self) -> None:
        problem = self.problem
        text = None if problem is None else f"{problem}{'; ' if problem.remedy else ''}{problem.remedy}"
        if text != self._told:
            self._told = text
            if text is None:
                log.info("%s: readable again", self.path)
            else:
                log.warning("%s", text)


class Followers:
    """All logs that somebody reads."""

    def __init__(self) -> None:
        self._followers: list[LogFollower] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, followers: Sequence[LogFollower]) -> None:
        """Begin to follow."""
        self._followers = list(followers)
        if not followers:
            return
        turns, sentry = asyncio.Lock(), Sentry(followers[0].host, [each.path for each in followers])
        self._tasks = [asyncio.create_task(each.run(turns, sentry), name=f"follow {each.path}") for each in followers]
        self._tasks.append(asyncio.create_task(sentry.run(), name="watch over quiet logs"))

    async def stop(self) -> None:
        """End all tasks; the positions reached are still given, to be committed with what the last lines changed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for follower in self._followers:
            follower.close()
        self._tasks = []

    async def opened(self) -> None:
        """Wait until every log that exists is open and positioned."""
        await asyncio.gather(*(follower.opened.wait() for follower in self._followers))

    def rename(self, names: Collection[bytes]) -> None:
        """Take other names for this host's in syslog."""
        for follower in self._followers:
            follower.rename(names)

    def positions(self) -> Mapping[str, str]:
        """Return the positions that changed since the last call, by path."""
        return {each.path: text for each in self._followers if (text := each.position()) is not None}

    def problems(self) -> list[tuple[str, CollectError]]:
        """Return the logs that cannot be followed now, and why."""
        return [(each.path, each.problem) for each in self._followers if each.problem is not None]

    def samples(self) -> Iterator[Sample]:
        """Yield how reading fares."""
        for follower in self._followers:
            yield from follower.samples()
