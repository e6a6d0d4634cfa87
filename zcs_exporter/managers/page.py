"""Renders the page of the documentation about SNMP."""

import textwrap
from collections.abc import Iterator
from typing import Any

from zcs_exporter.agent.objects.groups import GROUPS
from zcs_exporter.agent.objects.model import Column, Group, Scalar
from zcs_exporter.managers.mib import FILE_NAME
from zcs_exporter.managers.nagios import SILENCE
from zcs_exporter.managers.snmptt import SUBMIT
from zcs_exporter.managers.terms import CLASSES, EVENT_LABEL, LIFE_LABEL
from zcs_exporter.snmp.notification import NOTIFICATION_TYPES, VARIABLES
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Syntax, format_oid

_HEAD = """\
# SNMP

Rendered by `make generate` from the code. All object identifiers are below one root,
`{root}` unless `snmp.root_oid` says otherwise: that is Net-SNMP's playpen, for as long as the
project has no number of its own. Files for managers are in `packaging/managers`; a site with a root of its own gets
them, and the MIB, with

    zcs-exporter managers /tmp/zcs

## What is sent

Each target of `notify.snmp` gets notifications: SNMPv3 informs, unless the target says otherwise; its options are in
[configuration.md](configuration.md#notify). Alarms come in pairs of a raise and a clear, one pair for each class, tied
together by `zcsNotifyAlarmIndex`. A raise comes again when the severity changes, when there is a new offender, and as a
reminder. A clear says what it was and the value that there is now, such as
`Cleared, was: /opt/zimbra is 97% full (now 71%)`. Severities are the exit codes of a Nagios plugin: 0 ok, 1 warning,
2 critical, 3 unknown.

| number | notification | |
|---|---|---|
"""

_VARIABLES_HEAD = """
All carry the same variables in the same order, below `root.1.11`:

| number | variable | type | |
|---|---|---|---|
"""

_OBJECTS_HEAD = """
## What can be asked

With `snmp_agent.enabled: true` the daemon answers GET, GETNEXT and GETBULK itself on 127.0.0.1 port 1161; with
`snmp_agent.agentx: /var/agentx/master` the snmpd of the host answers for it. What is not known, or not on this host,
has no instance.
"""

_MANAGERS = """
## Nagios

A plugin that asks the daemon, by NRPE, by an agent or over HTTPS, is in [nagios.md](nagios.md). Here is the other way:
notifications go through snmptrapd, snmptt and `zcs-submit` into the command file of Nagios, as the services
{labels}.
Each shows the worst of its alarms that stand, and whatever is heard of the host confirms them all; when nothing was for
{silence} s they are UNKNOWN. A heartbeat also says which alarms stand, and takes away one whose clear was lost, in a
long outage or because the host lost its state. While others stand that were never raised here, that one may be among
them, so it is UNKNOWN and "Perhaps over". Those are alarms whose cause was there before the first start of the daemon:
nobody is paged for them, "{life}" names them, and their first reminder shows them like any other. An alarm whose
raise was lost makes "{life}" a WARNING until it is told or over: `zcs-exporter alerts` shows it, and
`zcs-exporter trap replay` sends it. A heartbeat that comes late, after what is newer, changes nothing.

On Debian 12, in `packaging/managers`, as root:

```
apt-get install nagios4-core monitoring-plugins-basic monitoring-plugins-standard snmptrapd snmptt libnet-ip-perl
install -D -m 755 snmptt/zcs-submit {submit}
install -m 640 -g snmptt snmptt/zcs-submit.conf /etc/zcs-submit.conf
install -d -m 750 -o snmptt -g snmptt /var/lib/zcs-submit
usermod -aG www-data snmptt                                       # may write into Nagios's command file
install -d -m 2775 -o snmptt -g Debian-snmp /var/spool/snmptt     # snmptrapd runs as Debian-snmp
install -m 644 snmptt/snmptt.conf /etc/snmp/snmptt-zcs.conf
sed -i 's|^/etc/snmptt/snmptt.conf|/etc/snmp/snmptt-zcs.conf|; s|^mode = .*|mode = daemon|; s|^sleep = .*|sleep = 1|' \\
    /etc/snmp/snmptt.ini
install -m 640 -g Debian-snmp snmptrapd/snmptrapd.conf /etc/snmp/snmptrapd.conf    # then fill in the passwords
install -m 644 nagios/zcs-exporter.cfg /etc/nagios4/conf.d/
cat >/etc/nagios4/conf.d/mail.example.com.cfg <<'EOF'
define host {{
    use         linux-server
    host_name   mail.example.com
    address     192.0.2.20
    hostgroups  zcs-servers
}}
EOF
nagios4 -v /etc/nagios4/nagios.cfg
systemctl restart snmptt snmptrapd nagios4
```

`zcs-exporter trap test` on the ZCS host then shows in "{events}". `nagios/zcs-agents.cfg` has commands that ask the
agent, and needs a host in `zcs-agents`.

## Icinga 2

The same snmptrapd, snmptt and `zcs-submit`; only that the states go through Icinga's API. Keep the section `[icinga2]`
of `/etc/zcs-submit.conf` instead of `[nagios]`, and

```
icinga2 api setup
install -m 640 -g nagios icinga2/zcs-exporter.conf /etc/icinga2/conf.d/    # then fill in the password of zcs-submit
icinga2 daemon -C
install -m 644 /var/lib/icinga2/certs/ca.crt /etc/zcs-submit.ca.crt    # snmptt may not look into that directory
systemctl restart icinga2
```

The head of the file shows the host object. The user may submit results for hosts with `vars.zcs` and nothing else.

## snmpd

Where snmpd holds port 161, it can answer for the daemon with its own users: with `snmpd/agentx.conf` the daemon
registers with it, which is fast; with `snmpd/proxy.conf` it asks the daemon's agent. Either goes into
`/etc/snmp/snmpd.conf.d/`.

```
snmpwalk -v3 -l authPriv -u MANAGER -a SHA-256 -A AUTH-PASSWORD -x AES -X PRIV-PASSWORD \\
    127.0.0.1 {root}
```

## Zabbix

Import `zabbix/zcs-exporter.yaml` (7.0 or later). It has one template fed by notifications and one that asks the agent;
its head says what each needs. The API of Zabbix 7.0.22 took the file; no server was run with it.

## LibreNMS

Copy `librenms/os_detection/` and `librenms/os_discovery/` to where the heads of the files say, and the MIB to
`mibs/zcs-exporter/`. Checked against the schema that LibreNMS ships, not run. Its trap handlers are code of its own,
so notifications become lines of the event log.

## Checkmk

`checkmk/zcs-exporter.mk` is a rule pack for the event console; its head has the line that adds it. Checked against the
types that Checkmk declares for rules, not run.

## Netcool

`netcool/zcs-exporter.include.snmptrap.rules` is included by `snmptrap.rules` of the SNMP probe. Checked against IBM's
description of the language, not run.

## Others

Load `{mib}` (`packaging/mib`, or `zcs-exporter mib`). smilint has no complaint at its strictest level;
Net-SNMP, snmpttconvertmib and pysmi read it. Notifications have the comments `--#TYPE`, `--#SUMMARY`, `--#ARGUMENTS`
and `--#SEVERITY` for managers in the manner of OpenView. It imports `SNMPv2-SMI`, `SNMPv2-TC` and `SNMPv2-CONF`, which
Debian has in the package snmp-mibs-downloader (non-free).

```
snmptranslate -M +packaging/mib -m ZCS-EXPORTER-MIB -On ZCS-EXPORTER-MIB::zcsFilesystemRaised
```
"""


def render_snmp_page() -> str:
    """Return the page."""
    labels = ", ".join(f'"{label}"' for label in (LIFE_LABEL, *(each.label for each in CLASSES), EVENT_LABEL))
    root = format_oid(DEFAULT_ROOT)
    return "".join(
        [
            _HEAD.format(root=root),
            *(f"| {kind.number} | {kind.name} | {kind.description} |\n" for kind in NOTIFICATION_TYPES),
            _VARIABLES_HEAD,
            *(f"| {each.number} | {each.name} | {_type(each.syntax)} | {each.description} |\n" for each in VARIABLES),
            _OBJECTS_HEAD,
            *(line for group in GROUPS for line in _group(group)),
            _MANAGERS.format(
                labels=textwrap.fill(labels, 118),
                silence=SILENCE,
                submit=SUBMIT,
                events=EVENT_LABEL,
                life=LIFE_LABEL,
                root=root,
                mib=FILE_NAME,
            ),
        ]
    )


def _group(group: Group) -> Iterator[str]:
    yield f"\n### {group.name} ({group.number})\n\n"
    table = group.table
    if table is not None:
        yield f"`{table.name}Table`, told apart by `{table.index.name}`: {table.description}\n\n"
    yield "| below the root | object | type | |\n|---|---|---|---|\n"
    for scalar in group.scalars:
        yield _row(scalar, f"1.{group.number}.{scalar.number}.0")
    if table is not None:
        row = {Syntax.TEXT: "length.letters", Syntax.UNSIGNED: "number"}.get(table.index.syntax, "number")
        for column in table.columns:
            yield _row(column, f"1.{group.number}.1.1.{column.number}.*{row}*")


def _row(each: Scalar | Column[Any], place: str) -> str:
    units = f", {each.units}" if each.units else ""
    return f"| {place} | {each.name} | {_type(each.syntax)}{units} | {each.description} |\n"


def _type(syntax: Syntax) -> str:
    return syntax.value
