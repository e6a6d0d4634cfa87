"""Renders the template for Zabbix that asks the agent."""

import re
from typing import Any

from zcs_exporter.agent.objects.groups import GROUPS
from zcs_exporter.agent.objects.model import Column, Index, Scalar, Table
from zcs_exporter.managers.terms import SEVERITIES, choices
from zcs_exporter.managers.yaml_file import stable_id
from zcs_exporter.managers.zabbix_parts import PRIORITIES, component, template
from zcs_exporter.snmp.smi import Oid, Syntax, format_oid

AGENT = "ZCS by SNMP"


def asking_template(root: Oid) -> dict[str, Any]:
    """Return the template."""
    items, rules, used = [], [], set()
    for group in GROUPS:
        base = f".{format_oid((*root, 1, group.number))}"
        for scalar in filter(_shown, group.scalars):
            items.append(_scalar_item(scalar, f"{base}.{scalar.number}.0"))
            used.add(scalar.syntax)
        if group.table is not None:
            items.append(_walk_item(group.table, base))
            rules.append(_discovery(group.table, f"{base}.1.1"))
            used |= {column.syntax for column in group.table.columns}
    return template(
        AGENT,
        "What the agent of zcs-exporter answers. What it does not know has no value.",
        items=items,
        discovery_rules=rules,
        valuemaps=[_value_map(syntax) for syntax in Syntax if syntax in used and choices(syntax)],
    )


def _shown(each: Scalar | Column[Any]) -> bool:
    # Zabbix has no way to read a DateAndTime.
    return each.syntax is not Syntax.TIME


def _scalar_item(scalar: Scalar, oid: str) -> dict[str, Any]:
    item = {
        "uuid": stable_id(AGENT, scalar.name),
        "name": _words(scalar.name),
        "type": "SNMP_AGENT",
        "snmp_oid": f"get[{oid}]",
        "key": scalar.name,
        "delay": "1m",
        **_kind_of_value(scalar),
        "description": scalar.description,
    }
    if scalar.syntax is Syntax.SEVERITY:
        item["triggers"] = _severity_triggers(scalar.name, _words(scalar.name))
    return item


def _walk_item(table: Table[Any], base: str) -> dict[str, Any]:
    return {
        "uuid": stable_id(AGENT, table.name),
        "name": f"{_words(table.name)}: walk",
        "type": "SNMP_AGENT",
        "snmp_oid": f"walk[{base}.1]",
        "key": f"{table.name}.walk",
        "delay": "1m",
        "history": "0",
        "value_type": "TEXT",
        "trends": "0",
        "description": f"{table.description} What follows is taken from it.",
    }


def _discovery(table: Table[Any], entry: str) -> dict[str, Any]:
    columns = [column for column in table.columns if _shown(column)]
    label = _label_column(table)
    steps = [{"type": "SNMP_WALK_TO_JSON", "parameters": ["{#NAME}", f"{entry}.{label.number}", "0"]}]
    if (script := _naming(table.index)) is not None:
        steps.append({"type": "JAVASCRIPT", "parameters": [script]})
    return {
        "uuid": stable_id(AGENT, table.name, "discovery"),
        "name": f"{_words(table.name)}: discovery",
        "type": "DEPENDENT",
        "key": f"{table.name}.discovery",
        "delay": "0",
        "lifetime": "7d",
        "description": table.description,
        "item_prototypes": [
            _prototype(column, entry, table) for column in columns if not (label is column and _named_by(table, column))
        ],
        "master_item": {"key": f"{table.name}.walk"},
        "preprocessing": steps,
    }


def _label_column(table: Table[Any]) -> Column[Any]:
    """Return the column that names a row, or that at least every row has."""
    return next((column for column in table.columns if _named_by(table, column)), table.columns[0])


def _named_by(table: Table[Any], column: Column[Any]) -> bool:
    return table.index.syntax is Syntax.UNSIGNED and column.syntax is Syntax.TEXT


def _naming(index: Index[Any]) -> str | None:
    """Return a script that names rows by their index; None where a column does."""
    if index.syntax is Syntax.UNSIGNED:
        return None
    if index.syntax is Syntax.TEXT:
        name = "i.split('.').slice(1).map(function (c) { return String.fromCharCode(c); }).join('')"
    else:
        words = ", ".join(f"{number}: '{word}'" for number, word in choices(index.syntax))
        name = f"({{{words}}})[i] || i"
    return (
        "return JSON.stringify(JSON.parse(value).map(function (row) {\n"
        "    var i = row['{#SNMPINDEX}'];\n"
        f"    row['{{#NAME}}'] = {name};\n"
        "    return row;\n"
        "}));"
    )


def _prototype(column: Column[Any], entry: str, table: Table[Any]) -> dict[str, Any]:
    key = f"{column.name}[{{#SNMPINDEX}}]"
    name = f"{_words(table.name)} {{#NAME}}: {_words(column.name, table.name).lower()}"
    kind = _kind_of_value(column)
    # An object that is not known has no instance in the walk, and then no value here.
    value = {
        "type": "SNMP_WALK_VALUE",
        "parameters": [f"{entry}.{column.number}.{{#SNMPINDEX}}", "0"],
        "error_handler": "DISCARD_VALUE",
    }
    kind["preprocessing"] = [value, *kind.pop("preprocessing", [])]
    item = {
        "uuid": stable_id(AGENT, column.name),
        "name": name,
        "type": "DEPENDENT",
        "key": key,
        "delay": "0",
        **kind,
        "description": column.description,
        "master_item": {"key": f"{table.name}.walk"},
        "tags": [component(_words(table.name).lower())],
    }
    if column.syntax is Syntax.SEVERITY:
        item["trigger_prototypes"] = _severity_triggers(key, f"{_words(table.name)} {{#NAME}}")
    return item


def _severity_triggers(key: str, subject: str) -> list[dict[str, Any]]:
    return [
        {
            "uuid": stable_id(AGENT, key, SEVERITIES[severity]),
            "expression": f"last(/{AGENT}/{key})={severity}",
            "name": f"{subject}: {SEVERITIES[severity]}",
            "priority": priority,
        }
        for severity, priority in sorted(PRIORITIES.items())
    ]


def _kind_of_value(each: Scalar | Column[Any]) -> dict[str, Any]:
    if each.syntax is Syntax.TEXT:
        return {"value_type": "CHAR", "trends": "0"}
    if choices(each.syntax):
        return {"valuemap": {"name": _map_name(each.syntax)}}
    units = {"units": each.units} if each.units else {}
    if each.syntax is Syntax.COUNTER:
        return {"value_type": "FLOAT", **units, "preprocessing": [{"type": "CHANGE_PER_SECOND", "parameters": [""]}]}
    return {"value_type": "FLOAT", **units} if each.syntax is Syntax.INTEGER else units


def _map_name(syntax: Syntax) -> str:
    return f"ZCS {syntax.name.lower().replace('_', ' ')}"


def _value_map(syntax: Syntax) -> dict[str, Any]:
    name = _map_name(syntax)
    return {
        "uuid": stable_id(AGENT, name),
        "name": name,
        "mappings": [{"value": str(number), "newvalue": word} for number, word in choices(syntax)],
    }


def _words(name: str, prefix: str = "zcs") -> str:
    """Return a name of the MIB as words, without what they all begin with."""
    return " ".join(re.findall(r"[A-Z][a-z0-9]*", name.removeprefix(prefix))).capitalize()
