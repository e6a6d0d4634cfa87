"""Renders the template for Zabbix that is fed by notifications."""

from collections.abc import Sequence
from typing import Any

from zcs_exporter.managers.terms import CLASSES, KIND, LIFE_SIGNS, PLACE, SEVERITIES
from zcs_exporter.managers.yaml_file import stable_id
from zcs_exporter.managers.zabbix_parts import PRIORITIES, component, template
from zcs_exporter.snmp.notification import EVENT, SUPPRESSED, TEST, NotificationType
from zcs_exporter.snmp.smi import Oid

TRAPS = "ZCS by SNMP notifications"


def fed_template(root: Oid) -> dict[str, Any]:
    """Return the template."""
    raised = [each.raised for each in CLASSES]
    cleared = [each.cleared for each in CLASSES]
    alarms = _trap_item("Alarms", [*raised, *cleared], root)
    life = _trap_item("Signs of life", LIFE_SIGNS, root)
    others = _trap_item("Events", [KIND[name] for name in (EVENT, SUPPRESSED, TEST)], root)
    alarms["triggers"] = [
        _alarm_trigger(alarms["key"], severity, raised, cleared, root) for severity in sorted(PRIORITIES)
    ]
    life["triggers"] = [
        {
            "uuid": stable_id(TRAPS, "silence"),
            "expression": f"nodata(/{TRAPS}/{life['key']},{{$ZCS.SILENCE}})=1",
            "name": "No sign of life from zcs-exporter",
            "priority": "AVERAGE",
            "description": "Neither a heartbeat nor a start was heard: what stands below may be out of date.",
        }
    ]
    others["triggers"] = [
        {
            "uuid": stable_id(TRAPS, "event", str(severity)),
            "expression": _find(others["key"], [KIND[EVENT], KIND[SUPPRESSED]], root, severity),
            "recovery_mode": "NONE",
            "name": f"ZCS event: {SEVERITIES[severity]}",
            "event_name": _part("zcsNotifyText"),
            "priority": PRIORITIES[severity],
            "type": "MULTIPLE",
            "manual_close": "YES",
        }
        for severity in (1, 2)
    ]
    return template(
        TRAPS,
        "Alarms, events and signs of life as zcs-exporter tells them.",
        items=[alarms, life, others],
        macros=[
            {
                "macro": "{$ZCS.SILENCE}",
                "value": "200s",
                "description": "Time without a heartbeat after which the daemon counts as silent.",
            }
        ],
    )


def _trap_item(name: str, kinds: Sequence[NotificationType], root: Oid) -> dict[str, Any]:
    return {
        "uuid": stable_id(TRAPS, name),
        "name": name,
        "type": "SNMP_TRAP",
        "key": f'snmptrap["{_any_of(kinds, root)}"]',
        "delay": "0",
        "history": "31d",
        "value_type": "LOG",
        "trends": "0",
        "tags": [component(name.lower())],
    }


def _alarm_trigger(
    key: str, severity: int, raised: list[NotificationType], cleared: list[NotificationType], root: Oid
) -> dict[str, Any]:
    others = "".join(str(number) for number in range(4) if number != severity)
    over = [_find(key, cleared, root), _find(key, raised, root, others)]
    return {
        "uuid": stable_id(TRAPS, "alarm", str(severity)),
        "expression": _find(key, raised, root, severity),
        "recovery_mode": "RECOVERY_EXPRESSION",
        "recovery_expression": " or ".join(over),
        "correlation_mode": "TAG_VALUE",
        "correlation_tag": "alarm",
        "name": f"ZCS alarm: {SEVERITIES[severity]}",
        "event_name": _part("zcsNotifyText"),
        "priority": PRIORITIES[severity],
        "type": "MULTIPLE",
        "manual_close": "YES",
        "tags": [
            {"tag": "alarm", "value": _part("zcsNotifyAlarmIndex")},
            {"tag": "rule", "value": _part("zcsNotifyRule")},
        ],
    }


# Backslashes are written differently in keys, expressions and macros, so there is none in these expressions. Within
# what an item has let pass, the end of an identifier is enough.


def _literal(*numbers: int) -> str:
    return "".join(f"[.]{number}" for number in numbers)


def _any_of(kinds: Sequence[NotificationType], root: Oid) -> str:
    numbers = "|".join(str(kind.number) for kind in kinds)
    return f"{_literal(*root, 0)}[.]({numbers})[^0-9]"


def _find(key: str, kinds: Sequence[NotificationType], root: Oid, severity: int | str | None = None) -> str:
    pattern = _any_of(kinds, root[-1:])
    if severity is not None:
        pattern = f"(?s){pattern}.*{_line('zcsNotifySeverity')}[^:]*INTEGER: [{severity}]"
    return f'find(/{TRAPS}/{key},,"regexp","{pattern}")=1'


def _line(variable: str) -> str:
    return f"{_literal(1, 11, PLACE[variable], 0)} "


def _part(variable: str) -> str:
    """Return a macro for the value of a variable, be it quoted or not."""
    value = f"{_line(variable)}[^:]*: [^A-Za-z0-9/]?([A-Za-z0-9 _.:/@%+,=()#?-]+)"
    return f'{{{{ITEM.VALUE}}.regsub("{value}","\\1")}}'
