"""One call that may hang, off the event loop."""

import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from zcs_exporter.contract import CollectError, Reason

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

KEPT = 3.0
"""Seconds a thread waits for the next call: starting one costs more than most calls."""


class BlockingCall:
    """Runs one blocking function at a time in a daemon thread.

    A thread that never returns cannot be ended: it is left behind, and while it hangs each
    further call fails at once instead of adding a thread. Being a daemon, it does not hold up
    the end of the process, as the default executor's threads would.
    """

    def __init__(self, what: str) -> None:
        """Name the call for error messages, such as ``statvfs of /opt/zimbra/backup``."""
        self._what = what
        self._since: float | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._serving = False

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
        answer = self._begin(function)
        # Commands without an event loop make such calls ready too, but never call.
        import asyncio

        return await asyncio.wrap_future(answer)

    async def within(self, patience: float, function: Callable[[], T]) -> T:
        """Run ``function`` in a thread and return its result if that comes soon.

        Unlike a deadline around the call, an answer counts that was there before a busy event loop could look.

        Raises:
            CollectError: As for a call.
            TimeoutError: There was no answer within ``patience`` seconds.
        """
        answer = self._begin(function)
        import asyncio

        waiting = asyncio.wrap_future(answer)
        try:
            await asyncio.wait((waiting,), timeout=patience)
        finally:
            if not waiting.cancel() and not waiting.cancelled():
                waiting.exception()  # it is raised below
        if not answer.done():
            raise TimeoutError
        return answer.result()

    def _begin(self, function: Callable[[], T]) -> "Future[T]":
        if (hung_for := self.hung_for) is not None:
            raise CollectError(Reason.TIMEOUT, f"{self._what}: no answer for {hung_for:.0f} s")
        from concurrent.futures import Future

        answer: Future[T] = Future()
        answer.set_running_or_notify_cancel()  # the thread goes on even if nobody waits any more

        def run() -> None:
            try:
                result = function()
            except BaseException as exc:  # noqa: BLE001 - handed to the caller, whatever it is
                self._since = None
                answer.set_exception(exc)
            else:
                self._since = None
                answer.set_result(result)

        with self._lock:
            self._start()
            self._since = time.monotonic()
            self._jobs.put(run)
        return answer

    def afterwards(self, function: Callable[[], None]) -> None:
        """Have ``function`` run when no call is under way any more; never, if the one that is hangs for ever."""
        with self._lock:
            if self._serving:
                self._jobs.put(function)
                return
        function()

    def _start(self) -> None:
        if self._serving:
            return
        try:
            threading.Thread(target=self._serve, name=self._what, daemon=True).start()
        except RuntimeError as exc:
            remedy = "raise TasksMax= of the unit, or the limit of processes"
            raise CollectError(Reason.UNAVAILABLE, f"{self._what}: {exc}", remedy) from exc
        self._serving = True

    def _serve(self) -> None:
        while True:
            try:
                self._jobs.get(timeout=KEPT)()
            except queue.Empty:
                with self._lock:
                    if self._jobs.empty():
                        self._serving = False
                        return
