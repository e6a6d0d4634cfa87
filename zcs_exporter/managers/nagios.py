"""Renders objects of Nagios: one service for each class of alarms, fed by notifications, and some that are asked."""

from collections.abc import Mapping

from zcs_exporter.managers.terms import CLASSES, EVENT_LABEL, LIFE_LABEL, named, object_oid
from zcs_exporter.snmp.smi import Oid

SILENCE = 200
"""Seconds without a heartbeat after which nothing is known; heartbeats come each minute."""

_HEAD = f"""\
# Nagios objects for hosts with zcs-exporter. Include the file with cfg_file= or cfg_dir= in nagios.cfg, and describe
# each ZCS server by its name in ZCS (zmhostname), which is the name that notifications carry:
#
#   define host {{
#       use         linux-server
#       host_name   mail.example.com
#       address     192.0.2.20
#       hostgroups  zcs-servers
#   }}
#
# Needs the templates linux-server and generic-service of Nagios, and check_dummy in $USER1$. nagios.cfg has to have
# check_external_commands=1, accept_passive_service_checks=1 and check_service_freshness=1. Notifications come in
# through snmptrapd, snmptt and zcs-submit.
#
# Whatever is heard of a host confirms all these services, and a heartbeat says which alarms stand, so that none stays
# whose end was lost. When nothing was heard for {SILENCE} s they become UNKNOWN, and since the others depend on
# "{LIFE_LABEL}", only that one tells people. The next word brings back what stands.
"""

_AGENT_HEAD = """\
# Nagios objects for hosts whose zcs-exporter can be asked (snmp_agent). Nagios refuses a file for a hostgroup without
# hosts, so include it once there is one:
#
#   define host {
#       use         linux-server
#       host_name   mail.example.com
#       address     192.0.2.20
#       hostgroups  zcs-servers,zcs-agents
#       _ZCS_PORT   161            # 1161 where zcs-exporter answers itself and not through snmpd
#   }
#
# Needs the templates linux-server and generic-service of Nagios, and check_snmp in $USER1$. The user that may read and
# its passwords belong into resource.cfg:
#
#   $USER21$=zcs
#   $USER22$=AUTH-PASSWORD
#   $USER23$=PRIV-PASSWORD
"""

_SEVERITY_HINT = """
# For any object whose name ends in Severity; arguments: OID, label. 0 is OK and 2 CRITICAL; 1 and 3, which is unknown,
# are WARNING, since check_snmp has no way to say UNKNOWN."""

_NUMBER_HINT = """
# For any other number; arguments: OID, label, range for WARNING, range for CRITICAL. The row of a service, JVM,
# database or probe is the length and the letters of its name: the state of mta is {mta}."""

_ASK = (
    "$USER1$/check_snmp -H '$HOSTADDRESS$' -p '$_HOSTZCS_PORT$' -P 3 -L authPriv -U '$USER21$' "
    "-a SHA-256 -A '$USER22$' -x AES -X '$USER23$'"
)


def render_nagios() -> str:
    """Return the objects that notifications feed."""
    labels = [each.label for each in CLASSES]
    passive = {
        "name": "zcs-passive",
        "register": "0",
        "use": "generic-service",
        "hostgroup_name": "zcs-servers",
        "active_checks_enabled": "0",
        "passive_checks_enabled": "1",
        "check_freshness": "1",
        "freshness_threshold": str(SILENCE),
        "check_command": "zcs-silent",
        "max_check_attempts": "1",
        "flap_detection_enabled": "0",
    }
    silent = f'$USER1$/check_dummy 3 "No sign of life from zcs-exporter for {SILENCE} s"'
    volatile = {"is_volatile": "1", "notification_options": "w,c"}
    dependency = {
        "hostgroup_name": "zcs-servers",
        "service_description": LIFE_LABEL,
        "dependent_service_description": ",".join([*labels, EVENT_LABEL]),
        "notification_failure_criteria": "u,p",
    }
    return "".join(
        [
            _HEAD,
            _define("hostgroup", {"hostgroup_name": "zcs-servers", "alias": "ZCS servers with zcs-exporter"}),
            _define("command", {"command_name": "zcs-silent", "command_line": silent}),
            _define("service", passive),
            *(
                _define("service", {"use": "zcs-passive", "service_description": label})
                for label in (LIFE_LABEL, *labels)
            ),
            _define("service", {"use": "zcs-passive", "service_description": EVENT_LABEL, **volatile}),
            _define("servicedependency", dependency),
        ]
    )


def render_nagios_agent(root: Oid) -> str:
    """Return the objects that ask an agent."""
    severity = object_oid("zcsAgentSeverity", root, 0)
    deferred = object_oid("zcsQueueMessages", root, 3)
    active = {"name": "zcs-active", "register": "0", "use": "generic-service", "hostgroup_name": "zcs-agents"}
    return "".join(
        [
            _AGENT_HEAD,
            _define("hostgroup", {"hostgroup_name": "zcs-agents", "alias": "ZCS servers that can be asked"}),
            _SEVERITY_HINT,
            _define(
                "command",
                {
                    "command_name": "check-zcs-severity",
                    "command_line": f"{_ASK} -o '$ARG1$' -l '$ARG2$' -w 0:0 -c @2:2",
                },
            ),
            _NUMBER_HINT.format(mta=object_oid("zcsServiceState", root, *named("mta"))),
            _define(
                "command",
                {
                    "command_name": "check-zcs-number",
                    "command_line": f"{_ASK} -o '$ARG1$' -l '$ARG2$' -w '$ARG3$' -c '$ARG4$'",
                },
            ),
            _define("service", active),
            *(
                _define("service", {"use": "zcs-active", "service_description": name, "check_command": command})
                for name, command in (
                    ("ZCS worst alarm", f"check-zcs-severity!{severity}!severity"),
                    ("ZCS deferred messages", f"check-zcs-number!{deferred}!deferred!500!5000"),
                )
            ),
        ]
    )


def _define(kind: str, fields: Mapping[str, str]) -> str:
    width = max(map(len, fields))
    lines = "".join(f"    {name:{width}}  {value}\n" for name, value in fields.items())
    return f"\ndefine {kind} {{\n{lines}}}\n"
