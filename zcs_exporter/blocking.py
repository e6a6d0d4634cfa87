"""One call that may hang, off the event loop."""

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from zcs_exporter.contract import CollectError, Reason

T = TypeVar("T")


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

    @property
    def hung_for(self) -> float | None:
        """Seconds since the call under way began; None when idle."""
        return None if self._since is None else time.monotonic() - self._since

    async def __call__(self, function: Callable[[], T]) -> T:
        """Run ``function`` in a thread and return its result.

        Raises:
            CollectError: An earlier call has not returned yet.
        """
        if self._since is not None:
            raise CollectError(Reason.TIMEOUT, f"{self._what}: no answer for {self.hung_for:.0f} s")
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()
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

        self._since = time.monotonic()
        threading.Thread(target=run, name=self._what, daemon=True).start()
        return await asyncio.wrap_future(answer)
