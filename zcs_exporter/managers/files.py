"""All files for managers, below one root."""

import os
from collections.abc import Mapping
from pathlib import Path

from zcs_exporter.managers import submit
from zcs_exporter.managers.checkmk import render_checkmk
from zcs_exporter.managers.icinga import render_icinga
from zcs_exporter.managers.librenms import render_detection, render_discovery
from zcs_exporter.managers.nagios import render_nagios, render_nagios_agent
from zcs_exporter.managers.net_snmp import render_agentx, render_proxy, render_snmptrapd
from zcs_exporter.managers.netcool import render_netcool
from zcs_exporter.managers.snmptt import render_snmptt
from zcs_exporter.managers.zabbix import render_zabbix
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Oid

SUBMIT = "snmptt/zcs-submit"
"""The one that is a program."""

_SUBMIT_CONF = """\
# zcs-submit.conf: where zcs-submit tells what snmptt hands it. Copy it to /etc, owned by root and readable by the group
# that snmptt runs as; keep the section of your manager, or both.

[state]
# Which alarms stand; writable by the user that snmptt runs as, and by nobody else.
directory = /var/lib/zcs-submit

[nagios]
# command_file of nagios.cfg; the user that snmptt runs as has to be in its group.
command_file = /var/lib/nagios4/rw/nagios.cmd

#[icinga2]
#url = https://icinga.example.com:5665
#user = zcs-submit
#password = API-PASSWORD
#ca = /etc/zcs-submit.ca.crt
"""


def manager_files(root: Oid = DEFAULT_ROOT) -> Mapping[str, str]:
    """Return the content of every file by its path below the directory of managers."""
    return {
        "checkmk/zcs-exporter.mk": render_checkmk(root),
        "icinga2/zcs-exporter.conf": render_icinga(root),
        "librenms/os_detection/zcs-exporter.yaml": render_detection(root),
        "librenms/os_discovery/zcs-exporter.yaml": render_discovery(root),
        "nagios/zcs-agents.cfg": render_nagios_agent(root),
        "nagios/zcs-exporter.cfg": render_nagios(),
        "netcool/zcs-exporter.include.snmptrap.rules": render_netcool(root),
        "snmpd/agentx.conf": render_agentx(root),
        "snmpd/proxy.conf": render_proxy(root),
        "snmptrapd/snmptrapd.conf": render_snmptrapd(root),
        "snmptt/snmptt.conf": render_snmptt(root),
        SUBMIT: Path(submit.__file__).read_text(encoding="utf-8"),
        "snmptt/zcs-submit.conf": _SUBMIT_CONF,
        "zabbix/zcs-exporter.yaml": render_zabbix(root),
    }


def write_manager_files(directory: Path, root: Oid = DEFAULT_ROOT) -> list[Path]:
    """Write every file below ``directory`` and return their paths.

    Raises:
        OSError: One cannot be written.
    """
    written = []
    for name, content in manager_files(root).items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        if name == SUBMIT:
            os.chmod(file, 0o755)  # noqa: S103 - a program for everybody
        written.append(file)
    return written
