"""What ``check-config`` looks at beyond the configuration's own text: the files and places that it names."""

import os
import stat

from zcs_exporter.agent.agent import check_agent
from zcs_exporter.config import Config, ConfigError
from zcs_exporter.expose.access import check_exposure
from zcs_exporter.expose.web_config import load_web_settings
from zcs_exporter.snmp.secrets import SecretsError, load_secrets


def faults_outside(config: Config) -> list[str]:
    """Return what keeps the daemon from doing as it is told, each with its place and remedy."""
    faults = []
    try:
        check_exposure(config.web, load_web_settings(config.web.config_file))
    except ConfigError as exc:
        faults += exc.faults
    for target in config.notify.snmp:
        try:
            load_secrets(target.secrets, target.snmp_version)
        except SecretsError as exc:
            faults.append(f"notify.snmp: {target.name}: {exc}")
    faults += check_agent(config)[1]
    place = config.snmp_agent.agentx
    if place is not None and place.startswith("/"):
        faults += [f"snmp_agent.agentx: {place}: {fault}" for fault in _socket_faults(place)]
    return faults


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
