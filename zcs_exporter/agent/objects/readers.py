"""Ways to read a value that several tables share."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.objects.model import Column, Read
from zcs_exporter.alerting.model import AlertRule, Family
from zcs_exporter.snmp.smi import Syntax

K = TypeVar("K")

MEBI = 1 << 20
KIBI = 1 << 10


def of_metric(name: str, label: str = "", **more: str) -> Callable[[Facts, str], Read]:
    """Read a metric with the key as the value of one label, or of none."""
    if not label:
        return lambda facts, _: facts.value(name, **more)
    return lambda facts, key: facts.value(name, **{label: key}, **more)


def scaled(read: Callable[[Facts, K], Read], factor: float) -> Callable[[Facts, K], Read]:
    """Read a number in another unit."""

    def number(facts: Facts, key: K) -> Read:
        value = read(facts, key)
        return None if value is None or isinstance(value, str) else value * factor

    return number


def age_of(read: Callable[[Facts, K], Read]) -> Callable[[Facts, K], Read]:
    """Read a moment as the seconds since."""

    def age(facts: Facts, key: K) -> Read:
        moment = read(facts, key)
        return None if moment is None or isinstance(moment, str) else max(0.0, facts.snapshot.at - moment)

    return age


def severity_of(family: Family, label: str, metrics: Mapping[str, str] | None = None) -> Callable[[Facts, str], Read]:
    """Read the severity of the worst alarm of a family whose label, or whose first metric, names the row."""

    def read(facts: Facts, key: str) -> Read:
        def about(rule: AlertRule, labels: Mapping[str, str]) -> bool:
            named = labels.get(label) or (metrics or {}).get(rule.metrics[0])
            return rule.family is family and named == key

        return facts.severity(about)

    return read


def severity_column(name: str, number: int, read: Callable[[Facts, K], Read]) -> Column[K]:
    """Return the column that says how bad it is."""
    return Column(name, number, Syntax.SEVERITY, "Severity of the worst alarm about it that stands.", read)
