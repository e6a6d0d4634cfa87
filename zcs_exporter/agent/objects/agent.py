"""The daemon itself, and how the host fares as a whole."""

from zcs_exporter import __version__
from zcs_exporter.agent.facts import Facts, worst
from zcs_exporter.agent.objects.model import Group, Read, Scalar
from zcs_exporter.plain import plain_release
from zcs_exporter.snmp.smi import Syntax


def _info(facts: Facts, label: str) -> str | None:
    return next((labels[label] for labels, _ in facts.series("zcs_info")), None)


def _zimbra_version(facts: Facts) -> Read:
    return plain_release(_info(facts, "version") or "", _info(facts, "patch") or "") or None


def _last_collection(facts: Facts) -> Read:
    moments = [each.collected_at for each in facts.snapshot.readings.values() if each.collected_at is not None]
    return max(moments, default=None)


def _maintenance(facts: Facts) -> Read:
    causes = facts.series("zcs_maintenance")
    return any(value > 0 for _, value in causes) if causes else None


AGENT = Group(
    "zcsAgent",
    1,
    (
        Scalar("zcsAgentVersion", 1, Syntax.TEXT, "Version of zcs-exporter.", lambda _: __version__, limit=32),
        Scalar("zcsAgentHost", 2, Syntax.TEXT, "The ZCS server, by its name in ZCS.", lambda f: f.host, limit=128),
        Scalar("zcsAgentZimbraVersion", 3, Syntax.TEXT, "Release and patch of ZCS.", _zimbra_version, limit=64),
        Scalar(
            "zcsAgentSeverity",
            4,
            Syntax.SEVERITY,
            "Severity of the worst alarm that stands.",
            lambda f: worst(alarm.severity for _, alarm in f.alarms),
        ),
        Scalar("zcsAgentLastCollection", 5, Syntax.TIME, "When something was last measured.", _last_collection),
        Scalar(
            "zcsAgentCollectorsFailing",
            6,
            Syntax.GAUGE,
            "Collectors whose last round failed; what they watch is unknown, or soon will be.",
            lambda f: sum(each.failure is not None for each in f.snapshot.readings.values()),
            "collectors",
        ),
        Scalar("zcsAgentAlarms", 7, Syntax.GAUGE, "Alarms that stand.", lambda f: len(f.alarms), "alarms"),
        Scalar(
            "zcsAgentLatestAlarmIndex",
            8,
            Syntax.UNSIGNED,
            "Largest index in zcsAlarmTable; a manager that knows a smaller one has missed an alarm. It is 0 while no "
            "alarm stands.",
            lambda f: max((alarm.alarm_id for _, alarm in f.alarms), default=0),
        ),
        Scalar(
            "zcsAgentMaintenance",
            9,
            Syntax.TRUTH,
            "Whether somebody is at work on the host, so that alarms about services are held.",
            _maintenance,
        ),
    ),
)
