"""The templates for Zabbix, by the schema of its exports, and by what its receivers of notifications write."""

import dataclasses
import re
from typing import Any

import pytest
import yaml

from zcs_exporter.managers.files import manager_files
from zcs_exporter.managers.terms import CLASSES, KIND, AlarmClass
from zcs_exporter.snmp.notification import VARIABLES, Notification, encode, notification_oid
from zcs_exporter.snmp.smi import Syntax, format_oid

EXPORT = yaml.safe_load(manager_files()["zabbix/zcs-exporter.yaml"])["zabbix_export"]
FED, ASKING = EXPORT["templates"]
ITEM_KEYS = {"uuid", "name", "type", "key", "delay", "history", "trends", "value_type", "units", "description", "tags"}
ITEM_KEYS |= {"snmp_oid", "preprocessing", "master_item", "valuemap", "triggers", "trigger_prototypes"}
TRIGGER_KEYS = {"uuid", "expression", "recovery_mode", "recovery_expression", "correlation_mode", "correlation_tag"}
TRIGGER_KEYS |= {"name", "event_name", "priority", "type", "manual_close", "tags", "description"}
ENUMERATIONS = {
    "value_type": {"FLOAT", "CHAR", "LOG", "TEXT", "UNSIGNED"},
    "priority": {"INFO", "WARNING", "AVERAGE", "HIGH", "DISASTER"},
    "recovery_mode": {"EXPRESSION", "RECOVERY_EXPRESSION", "NONE"},
    "manual_close": {"YES"},
    "correlation_mode": {"TAG_VALUE"},
}
STEPS = {"SNMP_WALK_VALUE", "SNMP_WALK_TO_JSON", "CHANGE_PER_SECOND", "JAVASCRIPT"}


def everywhere(node: Any) -> list[dict[str, Any]]:
    """Return every mapping below a node, itself too."""
    if isinstance(node, dict):
        return [node, *(each for value in node.values() for each in everywhere(value))]
    return [each for value in node for each in everywhere(value)] if isinstance(node, list) else []


ITEMS = [*FED["items"], *ASKING["items"]]
PROTOTYPES = [each for rule in ASKING["discovery_rules"] for each in rule["item_prototypes"]]
TRIGGERS = [each for item in [*ITEMS, *PROTOTYPES] for key in item if "trigger" in key for each in item[key]]


def test_it_has_the_keys_and_the_words_of_an_export() -> None:
    assert EXPORT["version"] == "7.0"
    assert set(EXPORT) == {"version", "template_groups", "templates"}
    for item in [*ITEMS, *PROTOTYPES]:
        assert set(item) <= ITEM_KEYS, item
        assert {"uuid", "name", "key", "delay"} <= set(item)
        assert item["type"] in {"SNMP_TRAP", "SNMP_AGENT", "DEPENDENT"}
    for trigger in TRIGGERS:
        assert set(trigger) <= TRIGGER_KEYS, trigger
        assert {"uuid", "expression", "name", "priority"} <= set(trigger)
        assert len(trigger["name"]) <= 255
        assert len(trigger["expression"]) <= 2048
    for each in everywhere(EXPORT):
        for key, words in ENUMERATIONS.items():
            assert each.get(key) in {None, *words}, each
        if "preprocessing" in each:
            assert {step["type"] for step in each["preprocessing"]} <= STEPS


def test_every_uuid_is_a_version_4_one_and_used_once() -> None:
    uuids = [each["uuid"] for each in everywhere(EXPORT) if "uuid" in each]

    assert len(set(uuids)) == len(uuids)
    assert all(re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", uuid) for uuid in uuids)


def test_what_depends_on_an_item_names_one_and_value_maps_are_there() -> None:
    keys = {item["key"] for item in ASKING["items"]}
    maps = {each["name"] for each in ASKING["valuemaps"]}

    for each in everywhere(ASKING):
        if "master_item" in each:
            assert each["master_item"]["key"] in keys
        if "valuemap" in each and isinstance(each["valuemap"], dict):
            assert each["valuemap"]["name"] in maps
    names = [item["key"] for item in [*ITEMS, *PROTOTYPES]]
    assert len(set(names)) == len(names)


def written(trap: str, notification: Notification, layout: str) -> str:
    """Return a notification as a receiver of Zabbix writes it for the server."""
    lines = [("1.3.6.1.6.3.1.1.4.1.0", 6, f"OID: .{format_oid(notification_oid(trap))}")]
    for bind in encode(notification, 7):
        if bind.syntax is Syntax.TIME:
            value = "Hex-STRING: 07 EA 0B 16"
        elif bind.syntax is Syntax.TEXT:
            value = f'STRING: "{bind.value.decode()}"' if bind.value else '""'
        else:
            value = f"{'INTEGER' if bind.syntax is Syntax.SEVERITY else 'Gauge32'}: {bind.value}"
        lines.append((format_oid(bind.oid), 4, value))
    return "PDU INFO:\n  version 1\nVARBINDS:\n" + "".join(
        layout.format(oid=oid, type=number, value=value) for oid, number, value in lines
    )


LAYOUTS = {
    "zabbix_trap_receiver.pl": "  .{oid} type={type}  value={value}\n",
    "zabbix_trap_handler.sh": ".{oid} = {value}\n",
}


def pattern(key: str) -> str:
    return key.removeprefix('snmptrap["').removesuffix('"]')


def holds(expression: str, text: str) -> bool:
    """Whether one of the patterns of an expression is found in the last value."""
    return any(re.search(each, text) for each in re.findall(r',,"regexp","(.*?)"\)=1', expression))


def cut(macro: str, text: str) -> str:
    found = re.fullmatch(r'\{\{ITEM\.VALUE\}\.regsub\("(.*)","\\1"\)\}', macro)
    assert found is not None, macro
    value = re.search(found[1], text)
    assert value is not None, (found[1], text)
    return value[1]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("severity", [1, 2, 3])
@pytest.mark.parametrize("each", CLASSES, ids=lambda each: each.family)
def test_an_alarm_is_a_problem_of_its_severity_until_it_is_cleared_or_changes(
    layout: str, severity: int, each: AlarmClass, notification: Notification
) -> None:
    told = dataclasses.replace(notification, severity=severity)
    raised, cleared = (written(kind.name, told, layout) for kind in (each.raised, each.cleared))
    [alarms] = [item for item in FED["items"] if item["name"] == "Alarms"]
    assert re.search(pattern(alarms["key"]), raised)
    assert re.search(pattern(alarms["key"]), cleared)

    fired = [trigger for trigger in alarms["triggers"] if holds(trigger["expression"], raised)]
    assert [trigger["name"].rpartition(" ")[2] for trigger in fired] == [
        ("ok", "warning", "critical", "unknown")[severity]
    ]
    assert not any(holds(trigger["expression"], cleared) for trigger in alarms["triggers"])
    assert all(holds(trigger["recovery_expression"], cleared) for trigger in alarms["triggers"])
    assert [holds(trigger["recovery_expression"], raised) for trigger in alarms["triggers"]] == [
        trigger not in fired for trigger in alarms["triggers"]
    ]
    tags = {tag["tag"]: cut(tag["value"], raised) for tag in fired[0]["tags"]}
    assert tags == {"alarm": str(told.alarm_id), "rule": "201 ZcsFilesystemFull"}
    assert cut(fired[0]["event_name"], raised) == told.text


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("trap", KIND)
def test_each_notification_goes_to_one_item(trap: str, layout: str, notification: Notification) -> None:
    text = written(trap, notification, layout)

    assert sum(bool(re.search(pattern(item["key"]), text)) for item in FED["items"]) == 1


def test_the_last_variable_is_where_the_patterns_look() -> None:
    assert [variable.number for variable in VARIABLES] == list(range(1, 13))
