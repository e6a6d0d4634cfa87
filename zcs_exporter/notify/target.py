"""What a receiver of notifications is to the dispatcher."""

from enum import StrEnum
from typing import Protocol

from zcs_exporter.notify.message import Message


class Setback(StrEnum):
    """What to do about a message that did not get through."""

    RETRY = "retry"
    """Waiting may heal it."""

    REFUSED = "refused"
    """Only an administrator can heal it; it is kept and tried again, more slowly."""

    SET_ASIDE = "set_aside"
    """The message itself cannot be sent; the others must not wait for it."""


class SendError(Exception):
    """A message was not delivered; the text names the target."""

    def __init__(self, setback: Setback, message: str) -> None:
        super().__init__(message)
        self.setback = setback


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
