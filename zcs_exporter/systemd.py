"""Tells systemd how the daemon fares, as sd_notify(3) and sd_watchdog_enabled(3) describe.

Outside systemd, where ``NOTIFY_SOCKET`` is not set, everything here does nothing.
"""

import logging
import os
import socket
from collections.abc import Callable, Mapping

from zcs_exporter.text import one_line

log = logging.getLogger(__name__)

_TIMEOUT = 0.2


class Notifier:
    """Sends state changes to the service manager that started this process.

    A message that cannot be sent is lost, and said once: the daemon's own work never depends on it.
    """

    def __init__(self, environ: Mapping[str, str], monotonic_us: Callable[[], int], pid: int | None = None) -> None:
        """Take the addresses from ``environ``.

        Args:
            environ: The process's environment.
            monotonic_us: CLOCK_MONOTONIC in microseconds, which a reload is stamped with.
            pid: This process's number, if not that of ``os.getpid()``.
        """
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL byte that begins the name of an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address if address.startswith("/") else ""
        self._monotonic_us = monotonic_us
        self._complained = False
        self.watchdog_interval = _watchdog_interval(environ, os.getpid() if pid is None else pid)
        """Seconds between two calls of ``watchdog``: half of what systemd waits for; None where it does not."""

    @property
    def enabled(self) -> bool:
        """Whether a service manager listens."""
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        """Say that the daemon has started, or has ended a reload."""
        self._send("READY=1", *_status(status))

    def reloading(self) -> None:
        """Say that a reload begins; ``ready`` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={self._monotonic_us()}")

    def stopping(self, status: str = "") -> None:
        """Say that the daemon is about to end."""
        self._send("STOPPING=1", *_status(status))

    def watchdog(self) -> None:
        """Say that the daemon is alive."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send(*_status(text))

    def _send(self, *lines: str) -> None:
        if not self._address or not lines:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # A service manager that does not read must not hold up the daemon for longer.
                sender.settimeout(_TIMEOUT)
                sender.connect(self._address)
                sender.send("\n".join(lines).encode())
        except OSError as exc:
            if not self._complained:
                log.warning("systemd: cannot notify %s: %s", one_line(self._address.replace("\0", "@")), exc)
            self._complained = True
        else:
            self._complained = False


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={one_line(text, 200)}",) if text else ()


def _watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    # WATCHDOG_PID names the process that is watched; a child that inherited the environment is not.
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    try:
        timeout = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return timeout / 2e6 if timeout > 0 else None
