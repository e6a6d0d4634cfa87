"""The targets that the configuration names."""

from collections.abc import Collection

from zcs_exporter.config import Config
from zcs_exporter.contract import Clock
from zcs_exporter.notify.snmp_target import SnmpTarget
from zcs_exporter.privacy import visible_kinds
from zcs_exporter.snmp.destination import Destination
from zcs_exporter.snmp.identity import EngineIdentity
from zcs_exporter.snmp.secrets import SecretsError, load_secrets
from zcs_exporter.snmp.sender import SnmpSender


def load_targets(
    config: Config, identity: EngineIdentity, clock: Clock, names: Collection[str] = ()
) -> tuple[list[SnmpTarget], list[str]]:
    """Return the targets of these names, or all, and a fault for each whose secrets file cannot be used."""
    targets, faults = [], []
    for each in config.notify.snmp:
        if names and each.name not in names:
            continue
        try:
            secret = load_secrets(each.secrets, each.snmp_version)
            destination = Destination(each.name, each.host, each.port, each.snmp_version, each.kind, secret)
        except (SecretsError, ValueError) as exc:
            faults.append(f"notify.snmp: {each.name}: {exc}")
            continue
        visible = visible_kinds(config.privacy, encrypted=each.snmp_version == "3")
        sender = SnmpSender(destination, identity, clock, config.snmp.root)
        # The monotonic clock of Linux runs since the host was started, as /proc/uptime, which snmptrap reads.
        up_time = clock.monotonic if each.compat == "zimbra" else None
        targets.append(SnmpTarget(each.name, sender, visible, up_time))
    return targets, faults
