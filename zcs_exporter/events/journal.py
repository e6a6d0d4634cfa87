"""The systemd journal, by its native protocol: one datagram of ``FIELD=value`` lines an event.

Others than the daemon may read the journal, so only what may always be named goes there.
"""

import json
import socket
from collections.abc import Sequence

from zcs_exporter.contract import CollectError, EvidenceKind, os_error
from zcs_exporter.events.entry import Entry
from zcs_exporter.text import one_line

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "zcs-exporter"

MOST_FIELD = 2048
"""Characters of one field; so a datagram stays far below what a socket takes."""

PATIENCE = 2.0
"""Seconds to wait for a journal that does not read."""

_PRIORITIES = {"critical": 2, "warning": 4, "unknown": 4, "info": 6, "ok": 6}


class Journal:
    """Sends events to journald.

    Attributes:
        place: What it is called in messages.
    """

    def __init__(self, visible: frozenset[EvidenceKind], path: str) -> None:
        """Prepare; ``visible`` may be named, and ``path`` is journald's socket."""
        self.place = "the journal"
        self._visible = visible
        self._path = path

    def write(self, entries: Sequence[Entry]) -> int:
        """Send events; return how many were taken.

        Raises:
            CollectError: None was.
        """
        taken = 0
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(PATIENCE)
                sender.connect(self._path)
                for entry in entries:
                    sender.send(datagram(entry, self._visible))
                    taken += 1
        except OSError as exc:
            if not taken:
                plain = os_error(exc, f"writing to {self._path}")
                raise CollectError(plain.reason, str(plain), "start systemd-journald, or set events.journal") from exc
        return taken

    def close(self) -> None:
        """Nothing is kept open: journald may have been started anew."""


def datagram(entry: Entry, visible: frozenset[EvidenceKind]) -> bytes:
    """Return an event as systemd.journal-fields(7) has it, its own fields as ``ZCS_*``."""
    data = {
        name: one_line(value if isinstance(value, str) else json.dumps(value), MOST_FIELD)
        for name, value in entry.data(visible).items()
    }
    told = {name: value for name, value in data.items() if name not in ("id", "time", "host", "kind", "severity")}
    text = data.get("text") or ", ".join(f"{name}={value}" for name, value in told.items())
    fields = {
        "MESSAGE": one_line(f"{entry.kind}: {text}", MOST_FIELD),
        "PRIORITY": str(_PRIORITIES[entry.severity]),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        **{f"ZCS_{name.upper()}": value for name, value in data.items()},
    }
    return "".join(f"{name}={value}\n" for name, value in fields.items()).encode("utf-8", "replace")
