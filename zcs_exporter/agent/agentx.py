"""The second way to serve our objects: through snmpd, where it has port 161, its users and its views already.

We are a subagent of it (AgentX, RFC 2741): we connect to its socket, ask for all requests below our root, and answer
them. For what goes wrong there is the next session, for ever.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator

from zcs_exporter.agent.agentx_pdu import CloseReason
from zcs_exporter.agent.agentx_session import Patience, Session, SessionError
from zcs_exporter.agent.view import MibView
from zcs_exporter.contract import Clock, Kind, Metric, Sample
from zcs_exporter.snmp.smi import Oid, format_oid

log = logging.getLogger(__name__)

AGENTX_UP = Metric(
    "zcs_exporter_agentx_up",
    Kind.GAUGE,
    "Whether snmpd passes requests for our objects on to us through AgentX; none where that is not configured.",
)

MASTER = "master agentx"
PERMISSIONS = "agentXPerms 0660 0550 root zcs-exporter"
"""What snmpd.conf must say; the last word is our group."""


class AgentX:
    """Keeps our objects registered with snmpd, whatever becomes of it."""

    def __init__(self, view: Callable[[], MibView], clock: Clock, patience: Patience | None = None) -> None:
        """Do nothing until ``use``.

        Args:
            view: Returns what there is to know now.
            clock: Tells how long a session lasted.
            patience: None for the usual one.
        """
        self._view = view
        self._clock = clock
        self._patience = patience or Patience()
        self._wanted: tuple[str, Oid] | None = None
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""
        self.up = False

    def samples(self) -> Iterator[Sample]:
        """Yield how it fares."""
        if self._wanted is not None:
            yield AGENTX_UP.sample(self.up)

    async def use(self, place: str | None, root: Oid) -> None:
        """From now on serve through the snmpd at a place.

        Args:
            place: The path of its socket, or address and port; None for no snmpd.
            root: Where our objects hang.
        """
        wanted = None if place is None else (place, root)
        if wanted != self._wanted:
            await self.stop()
            self._wanted = wanted
            if place is not None:
                self._task = asyncio.create_task(self._keep(place, root), name="agentx")

    async def stop(self) -> None:
        """Take our objects out of snmpd."""
        task, self._task, self._wanted = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _keep(self, place: str, root: Oid) -> None:
        """Have one session after the other."""
        pause = self._patience.pause
        while True:
            began = self._clock.monotonic()
            try:
                await self._serve(place, root)
            except SessionError as exc:
                self._tell(str(exc))
            except Exception as exc:
                if self._trouble != repr(exc):
                    self._trouble = repr(exc)
                    log.exception("agentx: bug, please report it")
            if self._clock.monotonic() - began > self._patience.longest_pause:
                pause = self._patience.pause
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - hides nothing
            pause = min(2 * pause, self._patience.longest_pause)

    async def _serve(self, place: str, root: Oid) -> None:
        """Have one session for as long as it lasts.

        Raises:
            SessionError: It ended; always.
        """
        session = await self._connect(place)
        reason = CloseReason.SHUTDOWN
        try:
            await session.begin(root)
            self._trouble, self.up = "", True
            log.info("agentx: snmpd at %s serves our objects below %s", place, format_oid(root))
            await session.watch()
        except SessionError as exc:
            reason = exc.reason
            raise SessionError(f"{place}: {exc}", reason) from exc
        finally:
            self.up = False
            session.close(reason)

    async def _connect(self, place: str) -> Session:
        """Connect to snmpd.

        Raises:
            SessionError: That failed; the text says what to do.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience.answer):
                if place.startswith("/"):
                    _, session = await loop.create_unix_connection(self._new_session, place)
                else:
                    host, _, port = place.rpartition(":")
                    _, session = await loop.create_connection(self._new_session, host.strip("[]"), int(port))
        except TimeoutError as exc:
            raise SessionError(f"{place}: snmpd does not take the connection") from exc
        except PermissionError as exc:
            raise SessionError(
                f"{place}: permission denied; put these lines into snmpd.conf, the last word being the group that we "
                f"run as, and restart snmpd: {MASTER!r}, {PERMISSIONS!r}"
            ) from exc
        except (FileNotFoundError, ConnectionRefusedError) as exc:
            text = f"{place}: {exc.strerror}; snmpd must run, with {MASTER!r} and this place in snmpd.conf"
            raise SessionError(text) from exc
        except OSError as exc:
            raise SessionError(f"{place}: {exc.strerror or exc}") from exc
        return session

    def _new_session(self) -> Session:
        return Session(self._view, self._patience)

    def _tell(self, trouble: str) -> None:
        """Log why nothing is served, once."""
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("agentx: %s; trying again until it works", trouble)
