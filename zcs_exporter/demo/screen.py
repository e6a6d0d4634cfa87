"""What a person sees: a time line of what happens on the host and of what arrives."""

import os
from collections.abc import Callable
from typing import TextIO

from zcs_exporter.snmp.listener import Received
from zcs_exporter.snmp.notification import EVENT, HEARTBEAT, Notification

_SEVERITIES = ("ok", "WARNING", "CRITICAL", "unknown")
_RED, _GREEN, _YELLOW, _BOLD, _DIM = "31", "32", "33", "1", "2"
_COLOURS = {0: _GREEN, 1: _YELLOW, 2: _RED}
_COLUMNS = 8


class Screen:
    """Writes lines, in colour where somebody looks at a terminal."""

    def __init__(self, stream: TextIO, elapsed: Callable[[], float]) -> None:
        """Write to ``stream``; ``elapsed`` gives the seconds since the demo began."""
        self._stream = stream
        self._elapsed = elapsed
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ

    def say(self, text: str = "", style: str = "") -> None:
        """Write a line as it is."""
        self._stream.write(self._painted(text, style) + "\n")
        self._stream.flush()

    def heading(self, text: str) -> None:
        """Write a line that stands out."""
        self.say(text, _BOLD)

    def scene(self, text: str) -> None:
        """Write what happens on the host."""
        self.say(f"{self._time()} -> {text}", _BOLD)

    def arrived(self, copies: list[Received]) -> None:
        """Write what one notification says and by which ways it came."""
        # The encrypted copy may name accounts, so it says more.
        best = max(copies, key=lambda received: received.version)
        ways = ", ".join(_way(received) for received in sorted(copies, key=lambda received: received.version)[::-1])
        told = best.notification
        if told is None:
            self.say(f"{self._time()}    {best.trap} ({ways})", _DIM)
            return
        quiet = told.type_name == HEARTBEAT
        severity = _SEVERITIES[told.severity]
        colour = _DIM if quiet else _COLOURS.get(told.severity, "")
        head = self._painted(f"{severity:{_COLUMNS}} {_change(told):7}", colour)
        text = f"{told.rule} {told.text}".strip()
        self.say(f"{self._time()}    {head} {text} {self._painted(f'({ways})', _DIM)}")

    def _time(self) -> str:
        return f"{self._elapsed():6.1f} s"

    def _painted(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if style and text and self._coloured else text


def _change(told: Notification) -> str:
    if told.type_name.endswith("Cleared"):
        return "cleared"
    if told.type_name.endswith("Raised"):
        return "raised" if told.count <= 1 else "changed"
    return "event" if told.type_name == EVENT else told.type_name.removeprefix("zcs").lower()


def _way(received: Received) -> str:
    number = "" if received.sequence is None else f" #{received.sequence}"
    return f"v{received.version} {'inform' if received.inform else 'trap'}{number}{', acknowledged' * received.inform}"
