"""The files for managers that were not run, against what their makers write about such files."""

import dataclasses
import re
from typing import Any

import pytest
import yaml

from zcs_exporter.agent.objects.groups import GROUPS
from zcs_exporter.managers.files import manager_files
from zcs_exporter.managers.terms import CLASSES, KIND, LIFE_SIGNS, object_oid
from zcs_exporter.snmp.notification import NOTIFICATION_TYPES, Notification, encode, notification_oid
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Syntax, format_oid

SHIPPED = manager_files()

# -- Checkmk -------------------------------------------------------------------------------------------------------

RULE_KEYS = {
    *("actions", "autodelete", "cancel_actions", "cancel_action_phases", "cancel_application", "comment"),
    *("description", "disabled", "docu_url", "drop", "id", "invert_matching", "livetime", "match"),
    *("match_application", "match_ok", "set_host", "set_text", "sl", "state"),
}


def rules() -> list[dict[str, Any]]:
    names: dict[str, Any] = {"rule_packs": []}
    exec(SHIPPED["checkmk/zcs-exporter.mk"], names)
    [pack] = names["rule_packs"]
    assert set(pack) == {"id", "title", "disabled", "rules"}
    found: list[dict[str, Any]] = pack["rules"]
    return found


def console(trap: str, notification: Notification) -> tuple[str, str]:
    """Return application and text of a notification as the event console makes them."""
    parts = ["1.3.6.1.2.1.1.3.0: 4711"]
    for bind in encode(notification, 7):
        value = bind.value.decode("latin-1") if isinstance(bind.value, bytes) else bind.value
        parts.append(f"{format_oid(bind.oid)}: {'0x07ea' if bind.syntax is Syntax.TIME else value}")
    return format_oid(notification_oid(trap)), ", ".join(parts)


def first_match(trap: str, notification: Notification) -> tuple[dict[str, Any], bool, tuple[str, ...]]:
    """Return the rule that takes a notification, whether it cancels, and the groups, as its matcher finds them."""
    application, text = console(trap, notification)
    for rule in rules():
        for kind, match in (("cancel_application", "match_ok"), ("match_application", "match")):
            if kind in rule and re.search(rule[kind], application, re.I):
                found = re.search(rule.get(match, ""), text, re.I)
                assert found is not None
                return rule, match == "match_ok", found.groups("")
    raise AssertionError(f"no rule takes {trap}")


def test_checkmk_rules_have_the_keys_that_it_declares() -> None:
    found = rules()

    assert len({rule["id"] for rule in found}) == len(found)
    for rule in found:
        assert set(rule) <= RULE_KEYS, set(rule) - RULE_KEYS
        kind, states = rule.get("state", ("text_pattern", {}))
        assert kind == "text_pattern"
        assert set(states) <= {"0", "1", "2"}


@pytest.mark.parametrize("each", CLASSES, ids=lambda each: each.family)
@pytest.mark.parametrize("severity", [1, 2])
def test_checkmk_ties_the_end_of_an_alarm_to_its_raise(each: Any, severity: int, notification: Notification) -> None:
    told = dataclasses.replace(notification, severity=severity)
    rule, cancels, groups = first_match(each.raised.name, told)
    over, ends, last = first_match(each.cleared.name, dataclasses.replace(told, severity=0, text="Cleared: x"))

    assert (rule["id"], cancels, ends) == (over["id"], False, True)
    assert groups == (str(told.alarm_id), told.host, told.text)
    assert last == groups[: len(last)] == (str(told.alarm_id), told.host)
    _, text = console(each.raised.name, told)
    assert [state for state, pattern in rule["state"][1].items() if re.search(pattern, text)] == [str(severity)]
    other = first_match(each.cleared.name, dataclasses.replace(told, alarm_id=1))
    assert other[2] != last


@pytest.mark.parametrize("trap", KIND)
def test_checkmk_has_a_rule_for_each_notification(trap: str, notification: Notification) -> None:
    rule, _, _ = first_match(trap, notification)

    assert rule.get("drop", False) == (trap in ("zcsHeartbeat", "zcsStarted", "zcsStopping", "zcsTest"))


# -- LibreNMS ------------------------------------------------------------------------------------------------------

SENSOR_KEYS = {"oid", "value", "num_oid", "index", "descr", "group"}
NUM_OID = re.compile(r"(\.\d+)+(\.?\{\{ \$(index|str_index_as_numeric) \}\})?(\.\d+)*")


def test_librenms_knows_the_agent_by_its_identity() -> None:
    found = yaml.safe_load(SHIPPED["librenms/os_detection/zcs-exporter.yaml"])

    assert set(found) <= {"os", "text", "type", "group", "mib_dir", "discovery"}
    assert {"os", "text", "type", "discovery"} <= set(found)
    assert found["discovery"] == [{"sysObjectID": [f".{format_oid((*DEFAULT_ROOT, 3))}"]}]


def test_librenms_sensors_have_the_keys_of_its_schema_and_the_numbers_of_the_mib() -> None:
    found = yaml.safe_load(SHIPPED["librenms/os_discovery/zcs-exporter.yaml"])
    assert set(found) == {"mib", "modules"}
    assert set(found["modules"]) == {"os", "sensors", "storage"}

    columns = [column for group in GROUPS for column in (*group.scalars, *(group.table.columns if group.table else ()))]
    seen = set()
    for kind, sensors in found["modules"]["sensors"].items():
        assert kind in {"state", "count", "percent"}
        for each in sensors["data"]:
            states = {"state_name", "states"} if kind == "state" else set()
            assert set(each) - SENSOR_KEYS == states, each
            assert {"oid", "num_oid", "descr"} <= set(each)
            assert NUM_OID.fullmatch(each["num_oid"]), each
            name = (each.get("value") or each["oid"]).partition("::")[2]
            assert each["num_oid"].startswith(f"{object_oid(name, DEFAULT_ROOT)}."), each
            seen.add(name)
            for state in each.get("states", ()):
                assert set(state) == {"value", "generic", "graph", "descr"}
                assert state["generic"] in range(4)
    assert {each.name for each in columns if each.syntax in (Syntax.SEVERITY, Syntax.RUN_STATE)} <= seen
    [storage] = found["modules"]["storage"]["data"]
    assert set(storage) == {"oid", "type", "descr", "units", "size", "used", "used_num_oid"}


# -- Netcool -------------------------------------------------------------------------------------------------------


def test_netcool_rules_are_balanced_and_take_each_notification_once() -> None:
    text = SHIPPED["netcool/zcs-exporter.include.snmptrap.rules"]
    code = "\n".join(line.partition("#")[0] for line in text.splitlines())

    assert code.count("{") == code.count("}") == 2
    assert code.count('"') % 2 == 0
    inner = code.split("switch($specific-trap)")[1]
    assert sorted(map(int, re.findall(r'case "(\d+)":', inner))) == sorted(kind.number for kind in NOTIFICATION_TYPES)
    assert f'case ".{format_oid(DEFAULT_ROOT)}":' in code
    for each in CLASSES:
        block = re.search(
            rf'case "{each.raised.number}":(.*?)case "{each.cleared.number}":(.*?)(?:case|default)', inner, re.S
        )
        assert block is not None
        assert f'@AlertGroup = "{each.label}"' in block[1]
        assert "@Type = 1\n" in block[1]
        assert "@Type = 2\n" in block[2]
    # What a heartbeat says of alarms changes, and is no other event for that.
    for kind in LIFE_SIGNS:
        assert re.search(rf'case "{kind.number}":[^:]*@AlertKey = "life"\n', inner), kind
