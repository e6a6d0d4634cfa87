"""Renders the configuration of snmptrapd, which receives our notifications, and of an snmpd that answers for us."""

from zcs_exporter.snmp.smi import Oid, format_oid

_SNMPTRAPD = """\
# snmptrapd.conf: receive the notifications of zcs-exporter and pass each to snmptt.
#
# Replace what is in capitals. The file has to be readable by root alone: it holds passwords. snmptrapd has to be
# 5.9.5, or a distribution's 5.9.x with the fix for CVE-2025-68615: older ones can be crashed from outside.

# Where the service names no addresses itself (systemd does on Debian):
#snmpTrapdAddr udp:162,udp6:162

# snmptt knows identifiers by their numbers only, and drops whatever comes otherwise.
outputOption n

# SNMPv3 informs, which is what zcs-exporter sends by default: each is acknowledged and, until it is, sent again.
# The user, protocols and passwords are those of the secrets file on the ZCS host.
createUser zcs SHA-256 "AUTH-PASSWORD" AES "PRIV-PASSWORD"

# SNMPv3 traps (kind: trap) need one such line for every ZCS host, with its engine id, which
# `zcs-exporter snmp engine-id` prints there. For informs it must not be here.
#createUser -e 0xENGINE-ID zcs SHA-256 "AUTH-PASSWORD" AES "PRIV-PASSWORD"

# No notification of this user counts that is not encrypted.
authUser log,execute zcs priv

# SNMPv2c (version: 2c): everybody on the way can read the community and forge notifications with it.
#authCommunity log,execute COMMUNITY

# snmptt has to run as a daemon beside it; its settings are in the head of snmptt.conf.
traphandle .{root}* /usr/sbin/snmptthandler
# What a host sends with `compat: zimbra`, or ZCS itself.
traphandle .1.3.6.1.4.1.666.0* /usr/sbin/snmptthandler
"""

_PROXY = """\
# snmpd.conf: whoever may read snmpd also reads zcs-exporter, through port 161 and with snmpd's own users.
#
# snmpd passes on what is below the root of ZCS-EXPORTER-MIB to the daemon's own agent (snmp_agent.enabled: true), as
# the SNMPv3 user that is configured there. Replace what is in capitals, and let only root read the file.

proxy -v 3 -l authPriv -u zcs -a SHA-256 -A "AUTH-PASSWORD" -x AES -X "PRIV-PASSWORD" 127.0.0.1:1161 .{root}

# Example of a user who may read it from outside; `createUser` belongs into /var/lib/snmp/snmpd.conf.
#view zcs included .{root}
#rouser MANAGER priv -V zcs
"""

_AGENTX = """\
# snmpd.conf: zcs-exporter registers with snmpd as a sub-agent, which is much faster than a proxy.
#
# The daemon has to be told of the socket (snmp_agent.agentx: /var/agentx/master), and its user has to be able to open
# it: here by the group zcs-exporter.

master agentx
agentXSocket /var/agentx/master
agentXPerms 0660 0550 root zcs-exporter

# Example of a user who may read it from outside; `createUser` belongs into /var/lib/snmp/snmpd.conf.
#view zcs included .{root}
#rouser MANAGER priv -V zcs
"""


def render_snmptrapd(root: Oid) -> str:
    """Return lines for snmptrapd.conf."""
    return _SNMPTRAPD.format(root=format_oid(root))


def render_proxy(root: Oid) -> str:
    """Return lines for snmpd.conf that make it ask our agent."""
    return _PROXY.format(root=format_oid(root))


def render_agentx(root: Oid) -> str:
    """Return lines for snmpd.conf that let us register with it."""
    return _AGENTX.format(root=format_oid(root))
