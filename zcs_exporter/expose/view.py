"""The daemon as its outputs see it."""

from collections.abc import Sequence
from typing import Protocol

from zcs_exporter.alerting.alarm import Alarm, Pending
from zcs_exporter.alerting.model import AlertRule
from zcs_exporter.contract import CollectError
from zcs_exporter.events.ring import Ring
from zcs_exporter.notify.message import Message
from zcs_exporter.snapshot import Snapshot


class View(Protocol):
    """What outputs may see of the daemon.

    Attributes:
        hostname: ``zimbra_server_hostname``.
    """

    hostname: str

    def snapshot(self) -> Snapshot:
        """Return the latest snapshot."""
        ...

    def alarms(self) -> Sequence[tuple[AlertRule, Alarm]]:
        """Return the alarms that stand, worst first."""
        ...

    def pending(self) -> Sequence[Pending]:
        """Return what becomes an alarm, or a worse one, if it goes on, the next one first."""
        ...

    def ready(self) -> bool:
        """Whether every log is open and every collector has ended its first attempt."""
        ...

    def log_problems(self) -> Sequence[tuple[str, CollectError]]:
        """Return the logs that cannot be followed now, or written, and why."""
        ...

    def events(self) -> Ring:
        """Return the last structured events."""
        ...

    def recent(self) -> Sequence[Message]:
        """Return the last messages, newest first."""
        ...

    async def reload(self) -> list[str]:
        """Read the configuration again; return the faults that kept the old one."""
        ...
