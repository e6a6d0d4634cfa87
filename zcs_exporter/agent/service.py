"""The agent of the configuration in force: its port is taken before the former one goes, so that a fault keeps that."""

import logging
from collections.abc import Callable, Iterator

from zcs_exporter.agent.access import load_agent_access
from zcs_exporter.agent.agent import SnmpAgent
from zcs_exporter.agent.provider import ViewProvider
from zcs_exporter.config import Config
from zcs_exporter.contract import Clock, Sample
from zcs_exporter.snmp.identity import EngineIdentity

log = logging.getLogger(__name__)


class AgentService:
    """Has one agent or none, and while a configuration is read maybe the next one."""

    def __init__(
        self, identity: EngineIdentity, clock: Clock, views: ViewProvider, hostname: Callable[[], str]
    ) -> None:
        """Begin without one; the parameters are those of every ``SnmpAgent``."""
        self._identity = identity
        self._clock = clock
        self._views = views
        self._hostname = hostname
        self._agent: SnmpAgent | None = None
        self._next: SnmpAgent | None = None

    @property
    def port(self) -> int | None:
        """The port that the agent listens on; None without one."""
        return None if self._agent is None else self._agent.port

    def prepare(self, config: Config) -> list[str]:
        """Get ready the agent that a configuration needs, and return the faults that forbid it; ``swap`` follows."""
        self.discard()
        access, faults = load_agent_access(config.snmp_agent)
        if access is None:
            return faults
        if self._agent is not None and self._agent.is_for(config.snmp_agent, access, config.snmp.root):
            self._next = self._agent
            return []
        agent = SnmpAgent(
            config.snmp_agent,
            access,
            config.snmp.root,
            self._identity,
            self._clock,
            self._views.view,
            self._hostname,
        )
        try:
            faults = agent.build()
        except Exception:
            # Everything else goes on without it.
            log.exception("snmp_agent: bug, please report it: nobody is answered")
            return [] if self._agent is None else ["snmp_agent: bug, please report it: see the log"]
        if faults:
            return faults
        try:
            agent.open(self._agent)
        except OSError as exc:
            remedy = "give an address of this host and a free port"
            if isinstance(exc, PermissionError):
                remedy = "give a port from 1024 on, as in 127.0.0.1:1161, and let snmpd pass on what it is asked"
            return [f"snmp_agent.listen: {config.snmp_agent.listen}: {exc.strerror}; {remedy}"]
        self._next = agent
        return []

    def swap(self) -> None:
        """Answer by the agent that was prepared from now on, or by none."""
        former, self._agent, self._next = self._agent, self._next, None
        if former is self._agent:
            return
        if former is not None:
            former.close()
        if self._agent is not None:
            try:
                self._agent.start(former)
            except Exception:
                # Everything else goes on without it.
                log.exception("snmp_agent: bug, please report it: nobody is answered")
                self._agent.close()
                self._agent = None

    def discard(self) -> None:
        """Give up what was prepared."""
        if self._next is not None and self._next is not self._agent:
            self._next.close()
        self._next = None

    def close(self) -> None:
        """Stop answering."""
        self.discard()
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    def samples(self) -> Iterator[Sample]:
        """Yield what came to the agent's port; nothing without an agent."""
        if self._agent is not None:
            yield from self._agent.samples()
