"""The SNMP agent on a port of its own: answers managers from the latest snapshot, and only reads."""

import logging
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from zcs_exporter.agent.access import AgentAccess, load_agent_access
from zcs_exporter.agent.gate import AgentGate
from zcs_exporter.agent.system import OwnPort
from zcs_exporter.agent.view import MibView
from zcs_exporter.config import Config, SnmpAgentConfig
from zcs_exporter.contract import Clock, Sample
from zcs_exporter.snmp.identity import EngineIdentity, new_engine_id
from zcs_exporter.snmp.secrets import SecretsError, UsmUser
from zcs_exporter.snmp.smi import Oid
from zcs_exporter.snmp.udp import bind

if TYPE_CHECKING:
    from zcs_exporter.snmp.stack.responder import Responder

log = logging.getLogger(__name__)


class SnmpAgent:
    """One agent, for one configuration.

    A request is answered from the snapshot that is the latest when it comes; a walk takes many requests, so it
    may begin with one snapshot and end with another, as with every agent.
    """

    def __init__(
        self,
        config: SnmpAgentConfig,
        access: AgentAccess,
        root: Oid,
        identity: EngineIdentity,
        clock: Clock,
        view: Callable[[], MibView],
        hostname: Callable[[], str],
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            config: Where to listen, and what the system group says.
            access: Who may ask.
            root: Of our objects.
            identity: Ours, shared with who sends notifications.
            clock: Times the exchange with each manager.
            view: Returns the view of the latest snapshot.
            hostname: Returns this host's name.
        """
        self._config = config
        self._access = access
        self._root = root
        self._identity = identity
        self._view = view
        self._hostname = hostname
        self._gate = AgentGate(
            clock,
            access.networks,
            [each.community for each in access.communities],
            identity.engine_id if access.users else None,
        )
        self._socket: socket.socket | None = None
        self._responder: Responder | None = None
        self._served: OwnPort | None = None
        self._served_view: MibView | None = None

    def is_for(self, config: SnmpAgentConfig, access: AgentAccess | None, root: Oid) -> bool:
        """Whether a configuration needs exactly this agent."""
        return (config, access, root) == (self._config, self._access, self._root)

    def build(self) -> list[str]:
        """Make the engine with all who may ask; return what forbids it, each fault with its remedy."""
        # Imported here, since pysnmp takes 30 MB that a daemon without SNMP keeps.
        from zcs_exporter.snmp.stack.responder import Responder

        faults = []
        self._responder = Responder(self._identity, self._gate, self._latest)
        for number, secrets in enumerate(self._access.secrets):
            try:
                self._responder.allow(secrets, number)
            except SecretsError as exc:
                faults.append(f"snmp_agent.{'users' if isinstance(secrets, UsmUser) else 'communities'}: {exc}")
        return faults

    def open(self, former: "SnmpAgent | None" = None) -> None:
        """Bind the address, or share the socket of a ``former`` agent that has it; nothing is answered yet.

        Raises:
            OSError: The address cannot be had.
        """
        held = None if former is None or former._config.port != self._config.port else former._socket
        if held is not None and former is not None and former._config.listen == self._config.listen:
            self._socket = held.dup()
        else:
            self._socket = bind(self._config.host, self._config.port, held)

    def start(self, former: "SnmpAgent | None" = None) -> None:
        """Begin to answer; counters go on from those of an agent that was there before."""
        assert self._socket is not None  # noqa: S101 - it is open
        assert self._responder is not None  # noqa: S101 - it is built
        if former is not None:
            self._gate.outcomes.update(former._gate.outcomes)
        self._responder.open(self._socket.dup())
        log.info("snmp agent: answers on %s", self._config.listen)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._socket is not None  # noqa: S101 - it is open
        port: int = self._socket.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening."""
        if self._responder is not None:
            self._responder.close()
            self._responder = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def samples(self) -> Iterator[Sample]:
        """Yield what came to the port."""
        return self._gate.samples()

    def _latest(self) -> OwnPort:
        view = self._view()
        if self._served is None or view is not self._served_view:
            config, host = self._config, self._hostname()
            self._served = OwnPort(view, self._root, self._up_time, host, config.contact, config.location)
            self._served_view = view
        return self._served

    def _up_time(self) -> int:
        return self._identity.up_time


def check_agent(
    config: Config, *, uid: int | None = None, gid: int | None = None
) -> tuple[AgentAccess | None, list[str]]:
    """Return who may ask, and all that forbids it and can be known without the port, each with its remedy.

    Args:
        config: The whole configuration.
        uid: The daemon's user; the user of this process unless given.
        gid: The daemon's group; the group of this process unless given.
    """
    access, faults = load_agent_access(config.snmp_agent, uid=uid, gid=gid)
    if access is None:
        return None, faults
    nobody = EngineIdentity(new_engine_id(), 1, lambda: 0.0)
    agent = SnmpAgent(config.snmp_agent, access, config.snmp.root, nobody, Clock(), _no_view, str)
    faults = agent.build()
    return (None, faults) if faults else (access, [])


def _no_view() -> MibView:
    raise NotImplementedError
