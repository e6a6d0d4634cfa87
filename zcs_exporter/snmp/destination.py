"""Where notifications go over SNMP, and why one did not get there."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from zcs_exporter.snmp.secrets import Secrets, UsmUser, Version

Kind = Literal["trap", "inform"]


@dataclass(frozen=True, slots=True)
class Destination:
    """One receiver of notifications.

    Attributes:
        name: As in the configuration file and in metrics.
        host: Name or address, IPv4 or IPv6.
        kind: Version 1 has traps only.
        secrets: A community for versions 1 and 2c, a user for version 3.
        timeout: Seconds to wait for each acknowledgement of an inform.
        retries: Further attempts after the first one of an inform.
    """

    name: str
    host: str
    port: int
    version: Version
    kind: Kind
    secrets: Secrets
    timeout: float = 5.0
    retries: int = 2

    def __post_init__(self) -> None:
        if isinstance(self.secrets, UsmUser) != (self.version == "3"):
            raise ValueError(f"{self.name}: version {self.version} does not go with the secrets given")
        if self.version == "1" and self.kind == "inform":
            raise ValueError(f"{self.name}: version 1 has no informs; set kind: trap")
        if "%" in self.host:
            raise ValueError(f"{self.name}: {self.host} is a link-local address with a zone; use a routable address")

    def no_answer(self) -> "DeliveryError":
        """Return the error for silence, which has more than one reason."""
        hint = "are user and privacy password right" if self.version == "3" else "is the community right"
        return DeliveryError(
            Fault.TIMEOUT,
            f"{self.name}: no acknowledgement from {self.host} port {self.port}; does something listen there, "
            f"does a firewall drop it, {hint}?",
        )


class Fault(StrEnum):
    """Why a notification was not delivered; a label of metrics."""

    TIMEOUT = "timeout"
    """No answer. A wrong community and a wrong privacy key look the same."""

    UNREACHABLE = "unreachable"
    """No such name, or the host's own network refuses."""

    REFUSED = "refused"
    """The receiver answered that it does not know the user or the key."""

    UNSENDABLE = "unsendable"
    """The notification itself cannot be put on the wire."""


class DeliveryError(Exception):
    """A notification was not delivered, or an inform not acknowledged.

    Attributes:
        fault: What kind of failure.
    """

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault

    @property
    def retryable(self) -> bool:
        """Whether waiting can heal it.

        What was refused is kept, and told, until an administrator has mended the secrets; what is
        unsendable is set aside.
        """
        return self.fault in (Fault.TIMEOUT, Fault.UNREACHABLE)
