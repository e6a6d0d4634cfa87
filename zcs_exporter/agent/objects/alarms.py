"""Alarms that stand."""

from zcs_exporter.agent.facts import Facts, StandingAlarm
from zcs_exporter.agent.objects.model import Column, Group, Index, Read, Table
from zcs_exporter.alerting.wording import format_value
from zcs_exporter.notify.message import alarm_object, alarm_text
from zcs_exporter.snmp.smi import Syntax


def _alarm_rule(_: Facts, key: StandingAlarm) -> Read:
    return f"{key[0].id} {key[0].name}"


def _alarm_value(_: Facts, key: StandingAlarm) -> Read:
    rule, alarm = key
    return "" if alarm.value is None else format_value(alarm.value, rule.unit)


def _alarm_threshold(_: Facts, key: StandingAlarm) -> Read:
    rule, alarm = key
    return "" if alarm.threshold is None else format_value(alarm.threshold, rule.unit)


_ALARMS: Table[StandingAlarm] = Table(
    "zcsAlarm",
    "The alarms that stand. A manager that was away reads here what it has missed.",
    "One alarm.",
    lambda f: f.alarms,
    Index(
        "zcsAlarmIndex",
        Syntax.UNSIGNED,
        "The number of the alarm, zcsNotifyAlarmIndex in its notifications.",
        lambda key: key[1].alarm_id,
    ),
    (
        Column("zcsAlarmRule", 2, Syntax.TEXT, "As zcsNotifyRule: permanent number and name.", _alarm_rule, limit=64),
        Column(
            "zcsAlarmObject",
            3,
            Syntax.TEXT,
            "As zcsNotifyObject: what it is about.",
            lambda _, key: alarm_object(*key),
            limit=128,
        ),
        Column("zcsAlarmSeverity", 4, Syntax.SEVERITY, "How bad it is now.", lambda _, key: float(key[1].severity)),
        Column(
            "zcsAlarmText",
            5,
            Syntax.TEXT,
            "One line for a person, without names of accounts.",
            lambda f, key: alarm_text(*key, f.host),
        ),
        Column("zcsAlarmValue", 6, Syntax.TEXT, "The measured value with its unit.", _alarm_value, limit=32),
        Column("zcsAlarmThreshold", 7, Syntax.TEXT, "What it was compared with.", _alarm_threshold, limit=32),
        Column("zcsAlarmSince", 8, Syntax.TIME, "When it was raised.", lambda _, key: key[1].since),
        Column(
            "zcsAlarmCount",
            9,
            Syntax.UNSIGNED,
            "As zcsNotifyCount: raises so far, changes of severity included.",
            lambda _, key: float(key[1].count),
        ),
        Column(
            "zcsAlarmClass",
            10,
            Syntax.TEXT,
            "Its class, such as filesystem, which has a pair of notifications of its own.",
            lambda _, key: key[0].family.value,
            limit=32,
        ),
        Column(
            "zcsAlarmUrgency",
            11,
            Syntax.TEXT,
            "What to do with it: now (wake someone), today, or info.",
            lambda _, key: key[0].urgency_of(key[1].severity).value,
            limit=16,
        ),
    ),
)

ALARMS = Group("zcsAlarms", 9, table=_ALARMS)
