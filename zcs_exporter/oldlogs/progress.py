"""Says on a terminal how far long work has come, and lets Ctrl-C end it in good order."""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Self, TextIO

from zcs_exporter.durations import format_duration

_BEGIN_AFTER = 1.0
_EVERY = 0.2
_BAR = 24


class Progress:
    """A bar on one line of a terminal; nothing at all elsewhere, or while the work takes less than a second."""

    def __init__(self, total: int, stream: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin work on ``total`` bytes."""
        self._total = max(1, total)
        self._stream = stream
        self._monotonic = monotonic
        self._terminal = stream.isatty()
        self._began = monotonic()
        self._next = self._began + _BEGIN_AFTER
        self._shown = False

    def show(self, read: Callable[[], int]) -> None:
        """Show how many bytes ``read`` says are done; it is rarely asked, so call this often."""
        if not self._terminal:
            return
        now = self._monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY
        self._shown = True
        done = read()
        share = min(1.0, done / self._total)
        rate = done / (now - self._began)
        left = f"{format_duration(max(1.0, (self._total - done) / rate))} left" if done else ""
        bar = "#" * round(share * _BAR)
        sizes = f"{in_bytes(done)} of {in_bytes(self._total)}"
        self._write(f"\r{share:4.0%} [{bar:<{_BAR}}] {sizes}, {in_bytes(rate)}/s, {left}\x1b[K")

    def end(self) -> None:
        """Wipe the bar away."""
        if self._shown:
            self._shown = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._terminal = False


class Interrupt:
    """While in use, the first Ctrl-C only sets ``asked``; the second ends the program as always."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exc_info: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


def in_bytes(count: float) -> str:
    """Return a number of bytes as people read it, such as ``1.2 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
