"""Sends notifications to one destination over SNMP."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import Clock, CollectError
from zcs_exporter.snmp.destination import DeliveryError, Destination, Fault
from zcs_exporter.snmp.identity import EngineIdentity
from zcs_exporter.snmp.notification import Notification, encode, notification_oid
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Oid, VarBind

if TYPE_CHECKING:
    from zcs_exporter.snmp.stack.session import Session

__all__ = ["DeliveryError", "Destination", "Fault", "SnmpSender"]

_TRAP_RESOLVE_AFTER = 300.0
"""Seconds after which the name of a trap's destination is looked up again: nobody tells that it moved."""

_TICK = 1.0
"""How late pysnmp may notice that its own time-out has passed, in seconds."""

Address = tuple[int, tuple[str, int]]
"""Family, and numeric host and port."""


class SnmpSender:
    """Sends to one destination, one notification at a time.

    It never waits longer than ``timeout * (retries + 2)`` and a second for a notification. After a
    failure it starts from nothing: the name is resolved anew, its next address is tried, and the
    engine is a new one.
    """

    def __init__(
        self, destination: Destination, identity: EngineIdentity, clock: Clock, root: Oid = DEFAULT_ROOT
    ) -> None:
        self._destination = destination
        self._identity = identity
        self._clock = clock
        self._root = root
        self._resolving = BlockingCall(f"{destination.name}: resolving {destination.host}")
        self._one_at_a_time = asyncio.Lock()
        self._session: Session | None = None
        self._opened = 0.0
        self._failures = 0

    async def send(self, notification: Notification, sequence: int) -> None:
        """Send ``notification`` as number ``sequence``; an inform has been acknowledged when this returns.

        Raises:
            DeliveryError: It was not sent, or not acknowledged; ``retryable`` says whether waiting can help.
        """
        try:
            trap = notification_oid(notification.type_name, self._root)
            variables = encode(notification, sequence, self._root)
        except ValueError as exc:
            raise DeliveryError(Fault.UNSENDABLE, f"{self._destination.name}: {exc}") from exc
        await self._deliver(trap, variables, self._identity.up_time, confirmed=self._destination.kind == "inform")

    async def send_foreign(self, trap: Oid, variables: Sequence[VarBind], up_time: int) -> None:
        """Send a trap of another MIB, which nobody acknowledges.

        Args:
            trap: Its object identifier.
            variables: All but the first two.
            up_time: Hundredths of a second.

        Raises:
            DeliveryError: It was not sent.
        """
        await self._deliver(trap, variables, up_time % 2**32, confirmed=False)

    async def _deliver(self, trap: Oid, variables: Sequence[VarBind], up_time: int, *, confirmed: bool) -> None:
        to = self._destination
        async with self._one_at_a_time:
            try:
                # Who the receiver is and what time it is there are questions of their own, with the same time-out.
                async with asyncio.timeout(to.timeout * (to.retries + 2) + _TICK):
                    for left in range(to.retries, -1, -1):
                        session = await self._ready_session()
                        try:
                            await session.send(trap, variables, up_time, confirmed=confirmed)
                            break
                        except DeliveryError as exc:
                            if exc.fault is not Fault.TIMEOUT or not left:
                                raise
                        # Not by the same session: to a receiver that was restarted it would be silent for minutes.
                        self._give_up_session()
            except TimeoutError:
                self._give_up_session()
                raise to.no_answer() from None
            except BaseException:
                self._give_up_session()
                raise
            self._failures = 0

    def close(self) -> None:
        """Close the socket; a later ``send`` opens another."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _give_up_session(self) -> None:
        self._failures += 1
        self.close()

    async def _ready_session(self) -> "Session":
        now = self._clock.monotonic()
        if self._destination.kind == "trap" and now - self._opened > _TRAP_RESOLVE_AFTER:
            self.close()
        if self._session is None:
            # Imported here, since pysnmp takes 30 MB that a daemon without SNMP targets keeps.
            from zcs_exporter.snmp.stack.session import Session

            family, address = await self._address()
            self._session = await Session.open(self._destination, address, family, self._identity, self._clock)
            self._opened = now
        return self._session

    async def _address(self) -> Address:
        host, port = self._destination.host, self._destination.port
        try:
            numeric = ipaddress.ip_address(host)
        except ValueError:
            pass
        else:
            return (socket.AF_INET6 if numeric.version == 6 else socket.AF_INET), (host, port)
        try:
            found = await self._resolving(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM))
        except (OSError, UnicodeError, CollectError) as exc:
            detail = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise DeliveryError(Fault.UNREACHABLE, f"{self._destination.name}: resolving {host}: {detail}") from exc
        # A name with an IPv6 and an IPv4 address may listen on one of them only.
        family, _, _, _, address = found[self._failures % len(found)]
        return family, (str(address[0]), port)
