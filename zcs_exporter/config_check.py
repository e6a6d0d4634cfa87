"""What ``check-config`` looks at beyond the configuration's own text: the files and places that it names."""

import os
import re
import stat

from zcs_exporter.agent.agent import check_agent
from zcs_exporter.config import Config, ConfigError
from zcs_exporter.expose.access import check_exposure
from zcs_exporter.expose.web_config import load_web_settings
from zcs_exporter.snmp.identity import EngineIdentity, new_engine_id
from zcs_exporter.snmp.secrets import SecretsError, UsmUser, load_secrets

_UNPRIVILEGED = 1024
_CAP_NET_BIND_SERVICE = 10


def faults_outside(config: Config) -> list[str]:
    """Return what keeps the daemon from doing as it is told, each with its place and remedy."""
    faults = []
    try:
        check_exposure(config.web, load_web_settings(config.web.config_file))
    except ConfigError as exc:
        faults += exc.faults
    for target in config.notify.snmp:
        try:
            secrets = load_secrets(target.secrets, target.snmp_version)
            if isinstance(secrets, UsmUser):
                _try_user(secrets)
        except SecretsError as exc:
            faults.append(f"notify.snmp: {target.name}: {exc}")
    faults += check_agent(config)[1]
    if config.snmp_agent.enabled:
        faults += _port_faults(config)
    place = config.snmp_agent.agentx
    if place is not None and place.startswith("/"):
        faults += [f"snmp_agent.agentx: {place}: {fault}" for fault in _socket_faults(place)]
    return faults


def _try_user(user: UsmUser) -> None:
    """Raise SecretsError if the user's protocols do not work on this host."""
    # Imported here, since pysnmp takes a while that a host without SNMPv3 need not wait.
    from zcs_exporter.snmp.stack.engine import add_tried_user, close_engine, new_engine

    engine = new_engine(EngineIdentity(new_engine_id(), 1, lambda: 0.0))
    try:
        add_tried_user(engine, user)
    finally:
        close_engine(engine)


def _port_faults(config: Config) -> list[str]:
    """Return a fault for a port that the daemon may not bind; where its user is not known, it is not root."""
    agent = config.snmp_agent
    first = int(_text_of("/proc/sys/net/ipv4/ip_unprivileged_port_start") or _UNPRIVILEGED)
    try:
        daemon = os.stat(config.state.directory).st_uid
    except OSError:
        daemon = -1  # it never ran
    if agent.port >= first or daemon == 0 or (daemon == os.geteuid() and _may_bind_any()):
        return []
    fault = (
        f"snmp_agent.listen: {agent.listen}: only root may listen on ports below {first}, and the daemon does not run "
        "as root; keep 127.0.0.1:1161 and let snmpd pass on what it is asked on port 161, with its line "
        "'proxy ... 127.0.0.1:1161 ...' or with 'master agentx' and snmp_agent.agentx: /var/agentx/master"
    )
    return [fault]


def _may_bind_any() -> bool:
    """Return whether this process holds CAP_NET_BIND_SERVICE; its unit has it check before a reload."""
    held = re.search(r"^CapEff:\s*([0-9a-f]+)", _text_of("/proc/self/status"), re.MULTILINE)
    return held is not None and bool(int(held[1], 16) >> _CAP_NET_BIND_SERVICE & 1)


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _socket_faults(place: str) -> list[str]:
    """Return why snmpd cannot have a socket there; one that does not run yet has none, which is no fault."""
    directory = os.path.dirname(place)
    if not os.path.isdir(directory):
        return [f"{directory} is no directory; name the socket of agentXSocket in snmpd.conf, or /var/agentx/master"]
    try:
        mode = os.stat(place).st_mode
    except OSError:
        return []
    return [] if stat.S_ISSOCK(mode) else ["is no socket; name that of agentXSocket in snmpd.conf"]
