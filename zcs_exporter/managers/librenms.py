"""Renders the definitions by which LibreNMS knows our agent and finds what it has."""

from typing import Any

from zcs_exporter.agent.objects.groups import GROUPS
from zcs_exporter.agent.objects.model import Column, Scalar, Table
from zcs_exporter.managers.mib import MODULE
from zcs_exporter.managers.terms import SEVERITIES, choices, object_oid
from zcs_exporter.managers.yaml_file import yaml_file
from zcs_exporter.snmp.smi import Oid, Syntax, format_oid

OS = "zcs-exporter"

_DETECTION_HEAD = """\
# LibreNMS: resources/definitions/os_detection/zcs-exporter.yaml (in releases before 24.10: includes/definitions/).
# Checked against the schema that LibreNMS ships for such files, and not run in LibreNMS.
#
# It knows a device by sysObjectID, so it is for hosts whose zcs-exporter answers itself (port 1161). Where snmpd
# answers for it, the device is a Linux host.
"""

_DISCOVERY_HEAD = """\
# LibreNMS: resources/definitions/os_discovery/zcs-exporter.yaml (in releases before 24.10:
# includes/definitions/discovery/). Checked against the schema that LibreNMS ships for such files, and not run in
# LibreNMS.
#
# LibreNMS reads tables by the names of the MIB: copy ZCS-EXPORTER-MIB.txt to mibs/zcs-exporter/ZCS-EXPORTER-MIB.
"""

_CLASSES = {
    "percent": "percent",
    "alarms": "count",
    "collectors": "count",
    "connections": "count",
    "logins": "count",
    "messages": "count",
    "notifications": "count",
    "restarts": "count",
    "threads": "count",
}
"""From our units to classes of sensors; LibreNMS has none for the others."""

_RUN_STATES = [
    {"value": 0, "generic": 2, "graph": 0, "descr": "stopped"},
    {"value": 1, "generic": 0, "graph": 0, "descr": "running"},
]


def render_detection(root: Oid) -> str:
    """Return the definition of an operating system, as LibreNMS calls what a device runs."""
    return _DETECTION_HEAD + yaml_file(
        {
            "os": OS,
            "text": "Zimbra with zcs-exporter",
            "type": "server",
            "group": "unix",
            "mib_dir": OS,
            "discovery": [{"sysObjectID": [f".{format_oid((*root, 3))}"]}],
        }
    )


def render_discovery(root: Oid) -> str:
    """Return the definition of its sensors and its storage."""
    sensors: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for group in GROUPS:
        for scalar in group.scalars:
            _add(sensors, scalar, _scalar(scalar, root))
        if group.table is not None:
            for column in group.table.columns:
                for found in _column(column, group.table, root):
                    _add(sensors, column, found)
    return _DISCOVERY_HEAD + yaml_file(
        {
            "mib": MODULE,
            "modules": {
                "os": {
                    "version": f"{MODULE}::zcsAgentZimbraVersion.0",
                    "features": f"{MODULE}::zcsAgentVersion.0",
                },
                "sensors": dict(sorted(sensors.items())),
                "storage": {"data": [_storage(root)]},
            },
        }
    )


def _add(
    sensors: dict[str, dict[str, list[dict[str, Any]]]], each: Scalar | Column[Any], found: dict[str, Any]
) -> None:
    if each.syntax in (Syntax.SEVERITY, Syntax.RUN_STATE):
        kind = "state"
        # Its own severities are those of LibreNMS: both are those of Nagios.
        states = [{"value": n, "generic": n, "graph": 0, "descr": word} for n, word in enumerate(SEVERITIES)]
        severity = each.syntax is Syntax.SEVERITY
        found |= {"state_name": "zcsSeverity" if severity else "zcsRunState"}
        found |= {"states": states if severity else _RUN_STATES}
    elif each.syntax is Syntax.GAUGE and each.units in _CLASSES:
        kind = _CLASSES[each.units]
    else:
        return
    sensors.setdefault(kind, {"data": []})["data"].append(found)


def _scalar(scalar: Scalar, root: Oid) -> dict[str, Any]:
    return {
        "oid": f"{MODULE}::{scalar.name}",
        "num_oid": f"{object_oid(scalar.name, root)}.{{{{ $index }}}}",
        "index": scalar.name,
        "descr": _described(scalar.name, "zcs"),
    }


def _column(column: Column[Any], table: Table[Any], root: Oid) -> list[dict[str, Any]]:
    value = {"value": f"{MODULE}::{column.name}"}
    group = {"group": _described(table.name, "zcs")}
    words = _described(column.name, table.name)
    rows = choices(table.index.syntax)
    if rows:
        # Net-SNMP prints such a row by its word, which is of no use in a numeric identifier.
        return [
            {
                "oid": f"{MODULE}::{column.name}.{number}",
                **value,
                "num_oid": object_oid(column.name, root, number),
                "index": f"{column.name}.{number}",
                "descr": f"{word} {words}",
                **group,
            }
            for number, word in rows
        ]
    # A row that is told apart by a text has that text as its index, and its letters in numeric identifiers.
    named = table.index.syntax is Syntax.TEXT
    index = "str_index_as_numeric" if named else "index"
    label = next((each.name for each in table.columns if not named and each.syntax is Syntax.TEXT), None)
    row = f"{{{{ ${label} }}}}" if label else "{{ $index }}"
    return [
        {
            "oid": f"{MODULE}::{table.name}Table",
            **value,
            "num_oid": f"{object_oid(column.name, root)}.{{{{ ${index} }}}}",
            "index": f"{column.name}.{{{{ $index }}}}",
            "descr": f"{row} {words}",
            **group,
        }
    ]


def _storage(root: Oid) -> dict[str, Any]:
    return {
        "oid": f"{MODULE}::zcsFilesystemTable",
        "type": "zcs",
        "descr": f"{MODULE}::zcsFilesystemMount",
        "units": 1 << 20,
        "size": f"{MODULE}::zcsFilesystemSize",
        "used": f"{MODULE}::zcsFilesystemUsed",
        "used_num_oid": f"{object_oid('zcsFilesystemUsed', root)}.{{{{ $index }}}}",
    }


def _described(name: str, prefix: str) -> str:
    return "".join(f" {char.lower()}" if char.isupper() else char for char in name.removeprefix(prefix)).strip()
