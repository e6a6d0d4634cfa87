"""Renders rules for the SNMP probe of Netcool/OMNIbus."""

from zcs_exporter.managers.terms import CLASSES, KIND, LIFE_SIGNS, PLACE
from zcs_exporter.snmp.notification import EVENT, SUPPRESSED, TEST, NotificationType
from zcs_exporter.snmp.smi import Oid, format_oid

_HEAD = """\
# Rules for the SNMP probe (nco_p_mttrapd) of IBM Netcool/OMNIbus. Checked for balance and against the descriptions of
# the rules language and of the Netcool/OMNIbus Knowledge Library, and not run in a probe.
#
# Include it in snmptrap.rules, within the switch over $enterprise. A raise (Type 1) and its clear (Type 2) have the
# same AlertKey, so that the automation generic_clear ends the one with the other. Reminders are folded by Identifier.

case ".{root}":

    @Manager = "zcs-exporter"
    @Agent = "ZCS"
    @Class = 0
    @Node = ${host}
    @NodeAlias = $PeerIPaddress
    @Summary = ${text}
    @AlertKey = ${rule} + " " + ${object} + " " + ${alarm}
    @ExpireTime = 0

    switch(${severity})
    {{
        case "0" | "ok(0)":
            @Severity = 2
        case "1" | "warning(1)":
            @Severity = 3
        case "2" | "critical(2)":
            @Severity = 5
        default:
            @Severity = 1
    }}

    switch($specific-trap)
    {{
"""

_CASE = """\
        case "{number}": # {name}
            @AlertGroup = "{group}"
            @Type = {type}
{more}"""

_TAIL = """\
        default:
            @AlertGroup = "ZCS"
            @Type = 13
            @Summary = "Unknown notification " + $specific-trap + " of zcs-exporter: " + @Summary
    }}

    @Identifier = @Node + " " + @AlertKey + " " + @AlertGroup + " " + @Type + " " + @Manager + " " + $specific-trap
"""

_PROBLEM, _RESOLUTION, _INFORMATION = 1, 2, 13
_RESOLVED = "            @Severity = 1\n"  # what generic_clear asks of a resolution
_LIFE = """\
            @AlertKey = "life"
            @ExpireTime = 3600
"""  # what a heartbeat says of alarms would make each a row of its own


def render_netcool(root: Oid) -> str:
    """Return a file to include in the rules of the probe."""
    words = {name: PLACE[f"zcsNotify{word}"] for name, word in _WORDS.items()}
    parts = [_HEAD.format(root=format_oid(root), **words)]
    for each in CLASSES:
        parts.append(_case(each.raised, each.label, _PROBLEM))
        parts.append(_case(each.cleared, each.label, _RESOLUTION, _RESOLVED))
    parts += [_case(kind, "ZCS heartbeat", _INFORMATION, _LIFE) for kind in LIFE_SIGNS]
    parts += [_case(KIND[name], "ZCS events", _INFORMATION) for name in (EVENT, SUPPRESSED, TEST)]
    parts.append(_TAIL.format())
    return "".join(parts)


_WORDS = {
    "host": "Host",
    "rule": "Rule",
    "object": "Object",
    "severity": "Severity",
    "text": "Text",
    "alarm": "AlarmIndex",
}


def _case(kind: NotificationType, group: str, type_: int, more: str = "") -> str:
    return _CASE.format(number=kind.number, name=kind.name, group=group, type=type_, more=more)
