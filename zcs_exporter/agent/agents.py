"""Both ways in which SNMP managers may ask: the agent's own port, and the snmpd of this host through AgentX."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.numbers import Numbers
from zcs_exporter.agent.provider import ViewProvider
from zcs_exporter.agent.service import AgentService
from zcs_exporter.config import Config
from zcs_exporter.contract import Clock, Sample
from zcs_exporter.snapshot import Snapshot
from zcs_exporter.snmp.identity import EngineIdentity

if TYPE_CHECKING:
    from zcs_exporter.agent.agentx import AgentX


class Agents:
    """Answers managers as the configuration in force has it."""

    def __init__(
        self,
        identity: EngineIdentity,
        clock: Clock,
        numbers: Numbers,
        latest: Callable[[], Snapshot],
        facts: Callable[[Snapshot], Facts],
        hostname: Callable[[], str],
    ) -> None:
        """Answer nobody until ``use``.

        Args:
            identity: Ours, as an SNMP engine.
            clock: Tells the time.
            numbers: Of the rows of tables.
            latest: Returns the latest snapshot.
            facts: Adds to a snapshot what else there is to know.
            hostname: Returns the name of the host.
        """
        self._views = ViewProvider(latest, facts, numbers)
        self._service = AgentService(identity, clock, self._views, hostname)
        self._clock = clock
        self._agentx: AgentX | None = None

    def prepare(self, config: Config) -> list[str]:
        """Get ready for a configuration and return the faults that forbid it; ``use`` or ``discard`` follows."""
        return self._service.prepare(config)

    def discard(self) -> None:
        """Give up what was prepared."""
        self._service.discard()

    async def use(self, config: Config) -> None:
        """Answer as was prepared from now on."""
        self._views.use(config.snmp.root)
        self._service.swap()
        place = config.snmp_agent.agentx
        if self._agentx is None and place is not None:
            from zcs_exporter.agent.agentx import AgentX  # a protocol of its own, which few hosts speak

            self._agentx = AgentX(self._views.view, self._clock)
        if self._agentx is not None:
            await self._agentx.use(place, config.snmp.root)

    def foresee(self, snapshot: Snapshot) -> None:
        """Number the rows that a snapshot will have, before it is saved and published."""
        self._views.foresee(snapshot)

    def samples(self) -> Iterator[Sample]:
        """Yield what came, and how it fares."""
        yield from self._service.samples()
        if self._agentx is not None:
            yield from self._agentx.samples()

    async def stop(self) -> None:
        """Answer nobody any more."""
        self._service.close()
        if self._agentx is not None:
            await self._agentx.stop()
