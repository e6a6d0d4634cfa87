"""One session with snmpd, from the first message to the last."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from zcs_exporter import __version__
from zcs_exporter.agent.agentx_answers import Request, answer
from zcs_exporter.agent.agentx_codec import PduError, encode, take_packet
from zcs_exporter.agent.agentx_pdu import (
    CleanupSet,
    Close,
    CloseReason,
    ErrorStatus,
    Open,
    Packet,
    Pdu,
    Ping,
    Register,
    Response,
)
from zcs_exporter.agent.view import MibView
from zcs_exporter.snmp.smi import Oid

log = logging.getLogger(__name__)

ROOM = 1 << 16
"""Octets that are taken at once."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long we wait for snmpd; all in seconds.

    Attributes:
        answer: For its answer to a question of ours.
        idle: For a request, before we ask whether it is still there.
        pause: Before the next session after one that failed; doubled at each further one.
        longest_pause: The most that this becomes.
    """

    answer: float = 5.0
    idle: float = 15.0
    pause: float = 1.0
    longest_pause: float = 15.0


class SessionError(Exception):
    """The session is over; the text says why.

    Attributes:
        reason: What snmpd is told.
    """

    def __init__(self, message: str, reason: CloseReason = CloseReason.OTHER) -> None:
        super().__init__(message)
        self.reason = reason


class Session(asyncio.BufferedProtocol):
    """Asks snmpd for what is ours and answers what it passes on.

    It brings the room for what comes: asyncio would make some for each request, the dearest part of answering it.
    """

    def __init__(self, view: Callable[[], MibView], patience: Patience) -> None:
        """Be ready for a connection.

        Args:
            view: Returns what there is to know now.
            patience: How long to wait for snmpd.
        """
        self._view = view
        self._patience = patience
        self._room = memoryview(bytearray(ROOM))
        self._buffer = bytearray()
        self._stuffed = False
        self._id = 0
        self._heard = 0
        self._asked = 0
        self._reply: asyncio.Future[Packet] | None = None
        self._why: SessionError | None = None
        self._over = asyncio.Event()
        self._bug_told = False

    async def begin(self, root: Oid) -> None:
        """Open the session and have all requests below ``root`` passed on.

        Raises:
            SessionError: snmpd does not want that, does not answer, or is gone.
        """
        opened = await self._ask(Open((), f"zcs-exporter {__version__}".encode()))
        self._id = opened.session
        await self._ask(Register(root))

    async def watch(self) -> None:
        """Look whether snmpd is still there, for as long as it is.

        Raises:
            SessionError: It no longer is; always.
        """
        while True:
            heard = self._heard
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience.idle):
                    await self._over.wait()
            if self._why is not None or heard == self._heard:
                await self._ask(Ping())

    def close(self, reason: CloseReason) -> None:
        """Say good-bye if that is possible at once, and let go of the socket."""
        if not self._transport.is_closing() and self._id:
            self._send(Packet(Close(reason), self._id, 0, self._asked + 1))
        # A master that reads no more would keep a socket with something to send for ever.
        self._transport.abort() if self._transport.get_write_buffer_size() else self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for a stream it is one
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn that the connection is gone."""
        self._end(SessionError(f"snmpd is gone: {exc}" if exc else "snmpd is gone"))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the room for what comes next."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came."""
        if self._why is None:
            self._buffer += self._room[:nbytes]
            self._work()

    def pause_writing(self) -> None:
        """Stop taking requests: snmpd does not take the answers."""
        self._stuffed = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on taking requests."""
        self._stuffed = False
        self._transport.resume_reading()
        self._work()

    def _work(self) -> None:
        try:
            while self._why is None and not self._stuffed and (packet := take_packet(self._buffer)) is not None:
                self._heard += 1
                self._take(packet)
        except PduError as exc:
            self._end(SessionError(f"snmpd sent a message that is none: {exc}", CloseReason.PARSE_ERROR))

    def _take(self, packet: Packet) -> None:
        match packet.pdu:
            case Response():
                if self._reply is not None and not self._reply.done() and packet.number == self._asked:
                    self._reply.set_result(packet)
            case Close(reason):
                self._end(SessionError(f"snmpd has ended the session: {reason.name.lower()}"))
            case Open() | Register():
                text = "snmpd sent a message that only a subagent sends"
                self._end(SessionError(text, CloseReason.PROTOCOL_ERROR))
            case CleanupSet():
                pass
            case _ if packet.session != self._id:
                self._send(packet.answer(Response(error=ErrorStatus.NOT_OPEN)))
            case _ if packet.context:
                self._send(packet.answer(Response(error=ErrorStatus.UNSUPPORTED_CONTEXT)))
            case request:
                self._transport.write(self._answer(packet, request))

    def _answer(self, packet: Packet, request: Request) -> bytes:
        try:
            return encode(packet.answer(answer(request, self._view())))
        except Exception:
            # An object that cannot be read must not end the session: snmpd would ask for it again in the next.
            if not self._bug_told:
                self._bug_told = True
                log.exception("agentx: bug, please report it")
            return encode(packet.answer(Response(error=ErrorStatus.GEN_ERR, index=1)))

    async def _ask(self, pdu: Pdu) -> Packet:
        """Send something and return what snmpd says to it.

        Raises:
            SessionError: It refuses, does not answer, or is gone.
        """
        if self._why is not None:
            raise self._why
        self._asked += 1
        self._reply = asyncio.get_running_loop().create_future()
        self._send(Packet(pdu, self._id, 0, self._asked))
        await asyncio.wait({self._reply}, timeout=self._patience.answer)
        if self._why is not None:
            raise self._why
        if not self._reply.done():
            raise SessionError(f"snmpd has not answered for {self._patience.answer:g} s", CloseReason.TIMEOUTS)
        packet = self._reply.result()
        if isinstance(packet.pdu, Response) and packet.pdu.error:
            raise SessionError(f"snmpd refuses {type(pdu).__name__}: {_error_name(packet.pdu.error)}")
        return packet

    def _send(self, packet: Packet) -> None:
        self._transport.write(encode(packet))

    def _end(self, why: SessionError) -> None:
        if self._why is None:
            self._why = why
            self._buffer.clear()
            self._over.set()
            if self._reply is not None:
                self._reply.cancel()


def _error_name(number: int) -> str:
    return ErrorStatus(number).name.lower() if number in set(ErrorStatus) else f"error {number}"
