"""Renders two templates for Zabbix: one that is fed by notifications, one that asks the agent."""

from zcs_exporter.managers.yaml_file import stable_id, yaml_file
from zcs_exporter.managers.zabbix_asking import AGENT, asking_template
from zcs_exporter.managers.zabbix_fed import TRAPS, fed_template
from zcs_exporter.managers.zabbix_parts import GROUP
from zcs_exporter.snmp.smi import Oid

VERSION = "7.0"

_HEAD = f"""\
# Two templates for Zabbix {VERSION} and later: Data collection, Templates, Import. The API of Zabbix 7.0.22
# imports them without a fault; no notification and no poll went through a Zabbix server.
#
# "{TRAPS}" needs snmptrapd with `outputOption n` and Zabbix's zabbix_trap_receiver.pl or zabbix_trap_handler.sh.
# Zabbix finds the host by the address that a notification comes from: it has to be that of an SNMP interface of the
# host. Each alarm is a problem of its own, tied to its end by the tag "alarm"; so is each reminder of it.
#
# "{AGENT}" needs snmp_agent and an SNMP interface (port 161 through snmpd, 1161 without), and nothing of the
# first. A site that links both templates is told of each fault twice.
#
# No MIB is needed.
"""


def render_zabbix(root: Oid) -> str:
    """Return a file of templates, as Zabbix exports them."""
    groups = [{"uuid": stable_id(GROUP), "name": GROUP}]
    templates = [fed_template(root), asking_template(root)]
    return _HEAD + yaml_file({"zabbix_export": {"version": VERSION, "template_groups": groups, "templates": templates}})
