"""Who may ask the agent, checked before it listens."""

import ipaddress
from collections import Counter
from dataclasses import dataclass

from zcs_exporter.agent.gate import Network
from zcs_exporter.config import SnmpAgentConfig
from zcs_exporter.snmp.secrets import Community, Secrets, SecretsError, UsmUser, load_secrets

MIN_COMMUNITY = 16
"""Characters; what is shorter, or known to everyone, is guessed."""

MAX_COMMUNITY = 128
"""Octets; each answer carries it, and has to fit into a packet."""

_KNOWN_COMMUNITIES = ("public", "private", "zimbra")

_LEAST_DIFFERENT = 6
"""Characters of a community that must differ; even sixteen random digits nearly always have more."""


@dataclass(frozen=True, slots=True)
class AgentAccess:
    """Who may ask.

    Attributes:
        users: Of version 3.
        communities: Of version 2c.
        networks: They may ask; none where only this host can.
    """

    users: tuple[UsmUser, ...]
    communities: tuple[Community, ...]
    networks: tuple[Network, ...]

    @property
    def secrets(self) -> tuple[Secrets, ...]:
        """All that open the door."""
        return (*self.users, *self.communities)


def load_agent_access(
    config: SnmpAgentConfig, *, uid: int | None = None, gid: int | None = None
) -> tuple[AgentAccess | None, list[str]]:
    """Return who may ask, and each fault with its remedy; None where the agent is off or cannot be opened so.

    Args:
        config: The agent's section.
        uid: The daemon's user; the user of this process unless given.
        gid: The daemon's group; the group of this process unless given.
    """
    if not config.enabled:
        return None, []
    users, faults = _users(config, uid, gid)
    communities, unfit = _communities(config, uid, gid)
    faults += unfit
    if not config.users and not config.communities:
        faults.append(
            "snmp_agent: nobody may ask; add under 'snmp_agent:' the line 'users: [/etc/zcs-exporter/agent.secret]', "
            "a file with 'user:', 'auth:' and 'priv:'"
        )
    if not config.allow and not ipaddress.ip_address(config.host).is_loopback:
        faults.append(
            f"snmp_agent.listen: {config.listen} can be reached by other hosts; add under 'snmp_agent:' the line "
            "'allow: [192.0.2.0/24]' with the networks of your managers"
        )
    elif not config.allow and config.communities:
        faults.append(
            "snmp_agent.communities: version 2c needs a list of networks; add under 'snmp_agent:' the line "
            "'allow: [127.0.0.1/32]'"
        )
    if faults:
        return None, faults
    return AgentAccess(users, communities, tuple(map(ipaddress.ip_network, config.allow))), []


def _users(config: SnmpAgentConfig, uid: int | None, gid: int | None) -> tuple[tuple[UsmUser, ...], list[str]]:
    found, faults = [], []
    for file in config.users:
        try:
            secrets = load_secrets(file, "3", uid=uid, gid=gid)
        except SecretsError as exc:
            faults.append(f"snmp_agent.users: {exc}")
        else:
            assert isinstance(secrets, UsmUser)  # noqa: S101 - what version 3 has
            found.append(secrets)
    doubled = [name for name, count in Counter(each.user for each in found).items() if count > 1]
    faults += [f"snmp_agent.users: two files name the user {name}; keep one of them" for name in doubled]
    return tuple(found), faults


def _communities(config: SnmpAgentConfig, uid: int | None, gid: int | None) -> tuple[tuple[Community, ...], list[str]]:
    found, faults = [], []
    for file in config.communities:
        try:
            secrets = load_secrets(file, "2c", uid=uid, gid=gid)
        except SecretsError as exc:
            faults.append(f"snmp_agent.communities: {exc}")
            continue
        assert isinstance(secrets, Community)  # noqa: S101 - what version 2c has
        weakness = _weakness(secrets.community)
        if weakness:
            faults.append(f"snmp_agent.communities: {file}: {weakness}")
        else:
            found.append(secrets)
    if len(set(found)) < len(found):
        faults.append("snmp_agent.communities: two files hold the same community; keep one of them")
    return tuple(found), faults


def _weakness(community: str) -> str:
    """Return why somebody could guess a community, and what to do; empty for one that is good."""
    octets = len(community.encode())
    if community.lower() in _KNOWN_COMMUNITIES:
        return "everyone knows this 'community'; make up a long one"
    if not MIN_COMMUNITY <= octets <= MAX_COMMUNITY:
        return f"'community' has {octets} octets; use {MIN_COMMUNITY} to {MAX_COMMUNITY}, which nobody guesses"
    if not community.isprintable():
        return "'community' holds characters that cannot be seen; use letters, digits and signs"
    if len(set(community)) < _LEAST_DIFFERENT or community in (2 * community)[1:-1]:
        return "'community' repeats itself, so it is guessed; make up a random one"
    return ""
