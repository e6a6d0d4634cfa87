"""Receives notifications: for ``trap listen``, and beside the demo's daemon."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from zcs_exporter.contract import Clock
from zcs_exporter.snmp.gate import MAX_DATAGRAM, Gate
from zcs_exporter.snmp.identity import EngineIdentity, ForwardClock, new_engine_id, next_boots
from zcs_exporter.snmp.notification import VARIABLES, Notification, decode
from zcs_exporter.snmp.secrets import Secrets
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Oid, Value, format_oid
from zcs_exporter.text import one_line

if TYPE_CHECKING:
    from zcs_exporter.snmp.stack.reception import Arrival, Reception

_MAX_WAITING = 1000
_RATE = 200.0
_BURST = 500
_MAX_VALUE = 255


@dataclass(frozen=True, slots=True)
class Sender:
    """Someone whose notifications are accepted.

    Attributes:
        secrets: A community, or a user.
        engine_id: The sender's engine id, which a user needs for SNMPv3 traps; informs do without.
    """

    secrets: Secrets
    engine_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """One notification that arrived; from anybody who knows the community or the key.

    Attributes:
        address: Where it came from.
        version: ``1``, ``2c`` or ``3``.
        user: The SNMPv3 user, empty otherwise.
        inform: Whether it was an inform, which has been acknowledged.
        trap: What it is: our name for it, or an object identifier.
        up_time: The sender's sysUpTime in seconds.
        sequence: Its number, where it is one of ours.
        notification: What it says, where it is one of ours.
        variables: All its variables, ours by name and others by object identifier, with printable values.
    """

    address: str
    version: str
    user: str
    inform: bool
    trap: str
    up_time: float
    sequence: int | None
    notification: Notification | None
    variables: tuple[tuple[str, str], ...]


class TrapListener:
    """Listens on one address; iterate over it to get what arrives.

    What comes too fast, is too long or finds nobody reading is dropped without an answer, so that
    the sender of an inform tries again.
    """

    def __init__(
        self,
        address: str,
        port: int,
        senders: Sequence[Sender],
        clock: Clock,
        root: Oid = DEFAULT_ROOT,
        refused: Callable[[str, str], None] = lambda source, cause: None,
    ) -> None:
        """Listen on ``port``, 0 for any free one, from ``start`` on; the engine id is a new one each time.

        ``refused`` is called with the source and the cause of each datagram that is not accepted.
        """
        self._refused = refused
        self._address = address
        self._senders = tuple(senders)
        self._clock = clock
        self._root = root
        self._waiting: asyncio.Queue[Received] = asyncio.Queue(_MAX_WAITING)
        self._gate: Gate | None = None
        self._reception: Reception | None = None
        self.port = port
        self.engine_id = new_engine_id()

    @property
    def dropped(self) -> int:
        """Datagrams that were dropped unread or could not be decoded."""
        return 0 if self._gate is None else self._gate.dropped + self._gate.malformed

    async def start(self) -> None:
        """Begin to listen; ``port`` is then the real one.

        Raises:
            OSError: The address cannot be bound.
        """
        # Imported here, since pysnmp takes 30 MB that a daemon without SNMP targets keeps.
        from zcs_exporter.snmp.stack.reception import Reception

        identity = EngineIdentity(self.engine_id, next_boots(0, self._clock.wall()), ForwardClock(self._clock))
        self._gate = _TellingGate(self._clock, self._waiting.full, self._refused)
        self._reception = Reception(identity, self._gate, self._take, self._refused)
        for number, sender in enumerate(self._senders):
            self._reception.allow(sender.secrets, sender.engine_id, number)
        self.port = await self._reception.open(self._address, self.port)

    def close(self) -> None:
        """Stop listening; what has arrived can still be read."""
        if self._reception is not None:
            self._reception.close()
            self._reception = None

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Close."""
        self.close()

    def __aiter__(self) -> Self:
        """Iterate without end."""
        return self

    async def __anext__(self) -> Received:
        """Wait for the next notification."""
        return await self._waiting.get()

    def _take(self, arrival: "Arrival") -> None:
        self._waiting.put_nowait(understand(arrival, self._root))


class _TellingGate(Gate):
    """Says what it does not let through."""

    def __init__(self, clock: Clock, full: Callable[[], bool], refused: Callable[[str, str], None]) -> None:
        super().__init__(clock, _RATE, _BURST, full)
        self._refused = refused

    def admits(self, datagram: bytes, source: str) -> bool:
        admitted = super().admits(datagram, source)
        if not admitted:
            long = len(datagram) > MAX_DATAGRAM
            self._refused(source, f"it is over {MAX_DATAGRAM} octets" if long else "too much comes at once")
        return admitted

    def failed(self, source: str) -> None:
        super().failed(source)
        self._refused(source, "it cannot be decoded")


_UP_TIME: Oid = (1, 3, 6, 1, 2, 1, 1, 3, 0)
_TRAP: Oid = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)


def understand(arrival: "Arrival", root: Oid = DEFAULT_ROOT) -> Received:
    """Return what ``arrival`` says, with names where the MIB is ours."""
    values = dict(arrival.variables)
    up_time, trap = values.pop(_UP_TIME, 0), values.pop(_TRAP, ())
    trap = trap if isinstance(trap, tuple) else ()
    sequence, notification = decode(trap, values, root) or (None, None)
    names = {(*root, 1, 11, variable.number, 0): variable.name for variable in VARIABLES} if notification else {}
    return Received(
        address=arrival.address,
        version=arrival.version,
        user=one_line(arrival.user),
        inform=arrival.confirmed,
        trap=notification.type_name if notification else format_oid(trap),
        up_time=up_time / 100 if isinstance(up_time, int) else 0.0,
        sequence=sequence,
        notification=notification,
        variables=tuple(
            (names.get(name, format_oid(name)), _printable(value))
            for name, value in arrival.variables
            if name not in (_UP_TIME, _TRAP)
        ),
    )


def _printable(value: Value) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return format_oid(value)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    # What is no text, such as a DateAndTime or an address, is shown in hexadecimal.
    return one_line(text if text.isprintable() else "0x" + value.hex(), _MAX_VALUE)
