"""What moves pysnmp's time on."""

from typing import Any

from pysnmp.carrier.asyncio.dispatch import AsyncioDispatcher  # type: ignore[import-untyped]


class Clockwork(AsyncioDispatcher):  # type: ignore[misc]  # pysnmp has no types
    """Ticks when something comes, and when somebody waits and says so.

    pysnmp's own clockwork wakes the process ten times a second for as long as a socket is open, which is most of what
    an idle daemon would use of a processor. A tick is only there to forget what nobody waits for any more.
    """

    async def handle_timeout(self) -> None:
        """Do not tick from within."""

    def tick(self) -> None:
        """Let a tenth of a second pass inside, if that has passed since the last time."""
        # Not the wall clock, which can stand still for hours.
        self.handle_timer_tick(self.loop.time())

    def _callback_function(self, *arrived: Any) -> None:
        self.tick()
        super()._callback_function(*arrived)
