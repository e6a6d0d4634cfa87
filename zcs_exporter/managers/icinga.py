"""Renders objects of Icinga 2: a service for each class of alarms, fed through its API, and some that are asked."""

from zcs_exporter.managers.nagios import SILENCE
from zcs_exporter.managers.terms import CLASSES, EVENT_LABEL, LIFE_LABEL, object_oid
from zcs_exporter.snmp.smi import Oid

_HEAD = f"""\
/* Icinga 2 objects for hosts with zcs-exporter, for /etc/icinga2/conf.d or a zone. Describe each ZCS server by its
 * name in ZCS (zmhostname), which is the name that notifications carry:
 *
 *   object Host "mail.example.com" {{
 *     import "generic-host"
 *     address = "192.0.2.20"
 *     vars.zcs = true
 *     vars.zcs_agent = {{ user = "zcs", auth_key = "AUTH-PASSWORD", priv_key = "PRIV-PASSWORD", port = 161 }}
 *   }}
 *
 * zcs_agent only where snmp_agent is enabled; port is 161 where snmpd answers for zcs-exporter (proxy or AgentX) and
 * 1161 where it answers itself. Notifications come in through snmptrapd, snmptt and zcs-submit, which uses the API
 * (icinga2 api setup) as the user below; replace its password.
 *
 * Whatever is heard of a host confirms all these services, and a heartbeat says which alarms stand, so that none stays
 * whose end was lost. When nothing was heard for {SILENCE} s they become UNKNOWN, and since the others depend on
 * "{LIFE_LABEL}", only that one tells people. The next word brings back what stands.
 */

object ApiUser "zcs-submit" {{
  password = "API-PASSWORD"
  permissions = [
    {{
      permission = "actions/process-check-result"
      filter = {{{{ host.vars.zcs }}}}
    }}
  ]
}}

template Service "zcs-passive" {{
  check_command = "passive"
  vars.dummy_text = "No sign of life from zcs-exporter for {SILENCE} s"
  check_interval = {SILENCE}s
  retry_interval = {SILENCE}s
  max_check_attempts = 1
  enable_flapping = false
}}
"""

_PASSIVE = """
apply Service "{label}" {{
  import "zcs-passive"
{more}  assign where host.vars.zcs
}}
"""

_DEPENDENCY = f"""
apply Dependency "zcs-heartbeat" to Service {{
  parent_service_name = "{LIFE_LABEL}"
  states = [ OK, Warning, Critical ]
  disable_notifications = true
  assign where "zcs-passive" in service.templates && service.name != "{LIFE_LABEL}"
}}
"""

_AGENT = """
template Service "zcs-agent" {{
  check_command = "snmpv3"
  check_interval = 1m
  retry_interval = 1m
  max_check_attempts = 3
  vars.snmpv3_user = "$host.vars.zcs_agent.user$"
  vars.snmpv3_auth_alg = "SHA-256"
  vars.snmpv3_auth_key = "$host.vars.zcs_agent.auth_key$"
  vars.snmpv3_priv_alg = "AES"
  vars.snmpv3_priv_key = "$host.vars.zcs_agent.priv_key$"
  vars.snmpv3_port = "$host.vars.zcs_agent.port$"
}}

// Any object whose name ends in Severity can be asked so: 0 is OK and 2 CRITICAL; 1 and 3, which is unknown, are
// WARNING, since check_snmp has no way to say UNKNOWN.
apply Service "ZCS worst alarm" {{
  import "zcs-agent"
  vars.snmpv3_oid = "{severity}"
  vars.snmpv3_label = "severity"
  vars.snmpv3_warn = "0:0"
  vars.snmpv3_crit = "@2:2"
  assign where host.vars.zcs_agent
}}

apply Service "ZCS deferred messages" {{
  import "zcs-agent"
  vars.snmpv3_oid = "{deferred}"
  vars.snmpv3_label = "deferred"
  vars.snmpv3_warn = "500"
  vars.snmpv3_crit = "5000"
  assign where host.vars.zcs_agent
}}
"""


def render_icinga(root: Oid) -> str:
    """Return a configuration file."""
    return "".join(
        [
            _HEAD,
            *(_PASSIVE.format(label=label, more="") for label in (LIFE_LABEL, *(each.label for each in CLASSES))),
            _PASSIVE.format(label=EVENT_LABEL, more="  volatile = true\n"),
            _DEPENDENCY,
            _AGENT.format(
                severity=object_oid("zcsAgentSeverity", root, 0), deferred=object_oid("zcsQueueMessages", root, 3)
            ),
        ]
    )
