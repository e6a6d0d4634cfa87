"""One call that may hang, off the event loop.

Most calls are over in less time than it takes to wake a thread, so all that were quick the last time share one, and
the event loop is woken once for those that end together. A call that does not come back keeps that thread for
itself: the others go on in a new one, and where two hang at a time each in one of its own, so that nobody waits for
twenty mounts of one dead server in turn.
"""

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from zcs_exporter.contract import CollectError, Reason

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

log = logging.getLogger(__name__)

T = TypeVar("T")

KEPT = 3.0
"""Seconds a thread waits for the next call: starting one costs more than most calls."""

QUICK = 0.05
"""Seconds that calls wait for another one in the thread they share; one that took longer has the next time its own."""

TOGETHER = 0.02
"""Seconds for which the event loop is not told of calls that ended while others wait for the same thread: woken, it
would want to run at the same time, and each would wait for the other."""


class BlockingCall:
    """Runs one blocking function at a time in a daemon thread.

    A thread that never returns cannot be ended: it is left behind, and while it hangs each
    further call fails at once instead of adding a thread. Being a daemon, it does not hold up
    the end of the process, as the default executor's threads would.

    Attributes:
        what: Its name.
    """

    def __init__(self, what: str) -> None:
        """Name the call for error messages, such as ``statvfs of /opt/zimbra/backup``."""
        self.what = what
        self._since: float | None = None
        self._slow = False
        self._lock = threading.Lock()
        self._after: list[Callable[[], None]] = []

    @property
    def hung_for(self) -> float | None:
        """Seconds since the call under way began; None when idle."""
        since = self._since  # the thread may end the call at any moment
        return None if since is None else time.monotonic() - since

    async def __call__(self, function: Callable[[], T]) -> T:
        """Run ``function`` in a thread and return its result.

        Raises:
            CollectError: An earlier call has not returned yet, or the system gives us no thread.
        """
        return await self.begin(function).wait()

    async def within(self, patience: float, function: Callable[[], T]) -> T:
        """Run ``function`` in a thread and return its result if that comes soon.

        Unlike a deadline around the call, an answer counts that was there before a busy event loop could look.

        Raises:
            CollectError: As for a call.
            TimeoutError: There was no answer within ``patience`` seconds.
        """
        return await self.begin(function).wait(patience)

    def begin(self, function: Callable[[], T]) -> "Begun[T]":
        """Have ``function`` run in a thread, to be waited for later; on the event loop.

        Raises:
            CollectError: As for a call.
        """
        if (hung_for := self.hung_for) is not None:
            raise CollectError(Reason.TIMEOUT, f"{self.what}: no answer for {hung_for:.0f} s")
        # Commands without an event loop make such calls ready too, but never call.
        import asyncio

        loop = asyncio.get_running_loop()
        self._since = time.monotonic()
        job = Begun(self, function, loop.create_future(), self._since)
        try:
            if self._slow:
                job.start_alone()
            else:
                _lane_of(loop).put(job)
        except RuntimeError as exc:
            self._since = None
            remedy = "raise TasksMax= of the unit, or the limit of processes"
            raise CollectError(Reason.UNAVAILABLE, f"{self.what}: {exc}", remedy) from exc
        return job

    def afterwards(self, function: Callable[[], None]) -> None:
        """Have ``function`` run when no call is under way any more; never, if the one that is hangs for ever."""
        with self._lock:
            if self._since is not None:
                self._after.append(function)
                return
        function()

    def end(self, took: float) -> None:
        """Take note that the call under way is over; called in its thread."""
        with self._lock:
            self._slow = took > QUICK
            self._since = None
            after, self._after = self._after, []
        for function in after:
            try:
                function()
            except Exception:
                log.exception("%s: bug in what was to follow, please report it", self.what)


class Begun(Generic[T]):
    """A call on its way through a thread.

    Attributes:
        waiter: Done when who waits is to look; a future of the event loop.
        ended: Whether the function has returned or raised.
    """

    __slots__ = ("_at", "_call", "_error", "_function", "_value", "ended", "waiter")

    def __init__(self, call: BlockingCall, function: Callable[[], T], waiter: "Future[None]", at: float) -> None:
        """Describe a call that began at the monotonic time ``at``."""
        self._call = call
        self._function = function
        self._at = at
        self._error: BaseException | None = None
        self.waiter = waiter
        self.ended = False

    async def wait(self, patience: float | None = None) -> T:
        """Return the result, at most once.

        Args:
            patience: Seconds since the call began after which no answer is waited for.

        Raises:
            TimeoutError: There was no answer for so long.
        """
        if patience is None:
            await self.waiter
        elif not self.ended:
            timer = self.waiter.get_loop().call_later(self._at + patience - time.monotonic(), self.tell)
            try:
                await self.waiter
            finally:
                timer.cancel()
            if not self.ended:
                raise TimeoutError
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._value

    def run(self) -> None:
        """Call the function; in a thread."""
        begun = time.monotonic()
        try:
            self._value = self._function()
        except BaseException as exc:  # noqa: BLE001 - handed to the caller, whatever it is
            self._error = exc
        self._call.end(time.monotonic() - begun)
        self.ended = True

    def start_alone(self) -> None:
        """Have the function called in a thread of its own.

        Raises:
            RuntimeError: The system gives us no thread.
        """
        threading.Thread(target=self._run_alone, name=self._call.what, daemon=True).start()

    def _run_alone(self) -> None:
        self.run()
        with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody waits any more
            self.waiter.get_loop().call_soon_threadsafe(self.tell)

    def tell(self) -> None:
        """Have the caller look; on the event loop."""
        if not self.waiter.done():
            self.waiter.set_result(None)


class _Worker:
    """A thread that takes one job after the other.

    Attributes:
        since: Monotonic time when the job under way began; None between two.
    """

    __slots__ = ("since",)

    def __init__(self) -> None:
        self.since: float | None = None


class _Lane:
    """The calls of one event loop that share a thread.

    Attributes:
        loop: That event loop.
    """

    def __init__(self, loop: "AbstractEventLoop") -> None:
        self.loop = loop
        self._jobs: queue.SimpleQueue[Begun[Any]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._ended: deque[Begun[Any]] = deque()
        self._under_way = 0
        self._hung = 0  # jobs that kept their threads for themselves and have not come back
        self._watching = False

    def put(self, job: "Begun[Any]") -> None:
        """Have a job done.

        Raises:
            RuntimeError: The system gives us no thread.
        """
        self._free()
        with self._lock:
            if self._worker is None:
                self._start()
            self._jobs.put(job)
        self._under_way += 1
        if self._under_way > 1 and not self._watching:
            self._watching = True
            self.loop.call_later(QUICK, self._watch)

    def _start(self) -> None:
        worker = _Worker()
        threading.Thread(target=self._serve, args=(worker,), name="quick calls", daemon=True).start()
        self._worker = worker

    def _watch(self) -> None:
        """See to it that nobody waits for a job that does not end."""
        self._tell()
        self._free()
        self._watching = self._under_way > 0
        if self._watching:
            with contextlib.suppress(RuntimeError), self._lock:  # without a thread they wait; tried again soon
                if self._worker is None:
                    self._start()
            self.loop.call_later(QUICK, self._watch)

    def _free(self) -> None:
        """Leave the thread to its job where that takes long."""
        with self._lock:
            worker = self._worker
            if worker is None or worker.since is None or time.monotonic() - worker.since <= QUICK:
                return
            self._worker = None
        self._under_way -= 1
        self._hung += 1
        if self._hung > 1:
            self._spread()

    def _spread(self) -> None:
        """Give every job that waits a thread of its own."""
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                try:
                    job.start_alone()
                except RuntimeError:  # no more threads: it waits for the one that is shared
                    self._jobs.put(job)
                    return
                self._under_way -= 1

    def _come_back(self, job: Begun[Any]) -> None:
        self._hung -= 1
        job.tell()

    def _tell(self) -> None:
        while self._ended:
            self._under_way -= 1
            self._ended.popleft().tell()

    def _serve(self, worker: _Worker) -> None:
        untold_since: float | None = None
        while True:
            try:
                job = self._jobs.get(timeout=KEPT)
            except queue.Empty:
                with self._lock:
                    if self._jobs.empty():
                        self._worker = None
                        return
                continue
            worker.since = begun = time.monotonic()
            job.run()
            with self._lock:
                worker.since = None
                left_alone = self._worker is not worker
                if not left_alone:
                    self._ended.append(job)
            with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody waits any more
                if left_alone:
                    self.loop.call_soon_threadsafe(self._come_back, job)
                    return
                untold_since = untold_since or begun
                if self._jobs.empty() or time.monotonic() - untold_since > TOGETHER:
                    untold_since = None
                    self.loop.call_soon_threadsafe(self._tell)
            del job  # it need not outlive its caller


_lane: _Lane | None = None
"""Of the event loop that was used last: a process has one at a time."""


def _lane_of(loop: "AbstractEventLoop") -> _Lane:
    global _lane
    if _lane is None or _lane.loop is not loop:
        _lane = _Lane(loop)
    return _lane
