"""What a receiver of notifications is to the dispatcher."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from zcs_exporter.notify.message import Message


class Setback(StrEnum):
    """What to do about a message that did not get through."""

    RETRY = "retry"
    """Waiting may heal it."""

    REFUSED = "refused"
    """Only an administrator can heal it; it is kept and tried again, more slowly."""

    BROKEN = "broken"
    """A bug, of which nobody knows whether it is the message's; set aside after a few attempts."""

    SET_ASIDE = "set_aside"
    """The message itself cannot be sent; the others must not wait for it."""


class SendError(Exception):
    """A message was not delivered; the text names the target."""

    def __init__(self, setback: Setback, message: str) -> None:
        super().__init__(message)
        self.setback = setback


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """How one receiver fares.

    Attributes:
        name: As in the configuration file.
        up: Whether the last attempt got through; None before the first.
        waiting: Messages that it has not got yet.
        oldest: Age of the oldest of them in seconds; 0 when none waits.
        sequence: Number of the last message that was sent, 0 before the first.
        delivered: Messages that it got since start.
        retried: Attempts that failed since start.
        refused: Attempts that it refused since start.
        dropped: Messages given up since start, for their age or for want of room, or unfit to be sent.
        suppressed: Messages folded into one that counts them, since start.
    """

    name: str
    up: bool | None
    waiting: int
    oldest: float
    sequence: int
    delivered: int
    retried: int
    refused: int
    dropped: int
    suppressed: int


class Target(Protocol):
    """One receiver.

    Attributes:
        name: As in the configuration file; unique.
    """

    name: str

    async def send(self, message: Message, sequence: int) -> None:
        """Deliver one message, acknowledged where the way of delivery has acknowledgements.

        Raises:
            SendError: It was not delivered.
        """
        ...

    def close(self) -> None:
        """Let go of sockets."""
        ...
