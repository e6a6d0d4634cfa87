"""A master of AgentX as a test wants it: good, bad, deaf or gone; and our end that it speaks to."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

from mib_views import view_with_mounts

from zcs_exporter.agent.agentx import AgentX
from zcs_exporter.agent.agentx_codec import encode, take_packet
from zcs_exporter.agent.agentx_pdu import (
    Get,
    Open,
    Packet,
    Pdu,
    Register,
    Response,
    SearchRange,
    ValueType,
    Variable,
)
from zcs_exporter.agent.agentx_session import Patience
from zcs_exporter.agent.view import MibView
from zcs_exporter.contract import Clock
from zcs_exporter.snmp.smi import DEFAULT_ROOT as ROOT

SESSION = 7

VIEW = view_with_mounts(2)
NAME = (*ROOT, 1, 3, 1, 1, 2, 1)
VALUE = Variable(ValueType.OCTET_STRING, NAME, b"/opt/zimbra/store/volume0")
GET = Get((SearchRange(NAME),))
LONG = Patience(answer=3600, idle=3600, pause=0.001, longest_pause=0.002)
SHORT = Patience(answer=0.01, idle=0.01, pause=0.001, longest_pause=0.002)


class Link:
    """The master's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._buffer = bytearray()
        self._number = 0

    async def receive(self) -> Packet:
        """Return the next message."""
        while (packet := take_packet(self._buffer)) is None:
            data = await self.reader.read(65536)
            if not data:
                raise EOFError
            self._buffer += data
        return packet

    def send(self, pdu: Pdu, *, session: int = SESSION, context: bytes = b"", little_endian: bool = False) -> int:
        """Send a request and return its number."""
        self._number += 1
        self.write(encode(Packet(pdu, session, 99, self._number, context, little_endian)))
        return self._number

    def write(self, octets: bytes) -> None:
        self.writer.write(octets)

    def answer(self, packet: Packet, error: int = 0) -> None:
        """Answer a message of the subagent's."""
        self.write(encode(Packet(Response(error=error), SESSION, 0, packet.number)))

    async def ask(self, pdu: Pdu, **options: bool) -> Response:
        """Send a request and return the answer, which must be to it."""
        number = self.send(pdu, **options)
        packet = await self.receive()
        assert isinstance(packet.pdu, Response)
        assert (packet.session, packet.transaction, packet.number) == (SESSION, 99, number)
        return packet.pdu

    async def welcome(self) -> Register:
        """Let the session begin and return what is registered."""
        opened = await self.receive()
        assert isinstance(opened.pdu, Open)
        self.answer(opened)
        registered = await self.receive()
        assert isinstance(registered.pdu, Register)
        assert registered.session == SESSION
        self.answer(registered)
        return registered.pdu

    async def until_closed(self) -> list[Pdu]:
        """Return what still comes before the other end hangs up."""
        rest = []
        try:
            while True:
                rest.append((await self.receive()).pdu)
        except (EOFError, ConnectionError):
            return rest


class Master:
    """Listens, and hands out connections as they come."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._links: asyncio.Queue[Link] = asyncio.Queue()
        self._all: list[Link] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._take, self.place)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._all:
            link.writer.close()
        self.place.unlink(missing_ok=True)

    async def link(self) -> Link:
        """Return the next connection."""
        return await self._links.get()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        self._all.append(link)
        self._links.put_nowait(link)


Story = Callable[[Master, AgentX], Awaitable[None]]


def play(
    story: Story,
    directory: Path,
    patience: Patience = LONG,
    view: Callable[[], MibView] = lambda: VIEW,
    clock: Clock | None = None,
) -> None:
    """Run ``story`` with a master that listens and an AgentX that wants it."""

    async def whole() -> None:
        place = directory / "master"
        agentx = AgentX(view, clock or Clock(), patience)
        async with asyncio.timeout(60), Master(place) as master:
            await agentx.use(str(place), ROOT)
            try:
                await story(master, agentx)
            finally:
                await agentx.stop()

    asyncio.run(whole())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def up(agentx: AgentX) -> list[float]:
    return [each.value for each in agentx.samples()]
