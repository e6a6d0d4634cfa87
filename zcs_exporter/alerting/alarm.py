"""An alarm's state and what people are told about it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from zcs_exporter.alerting.model import AlertRule, Severity
from zcs_exporter.contract import Evidence, evidence_from_json

Labels = tuple[tuple[str, str], ...]
"""Label pairs, sorted by name."""


def alarm_key(alert: str, labels: Labels) -> str:
    """Return an alarm's identity, such as ``ZcsFilesystemFull{mountpoint="/opt"}``; severity is no part of it."""
    inner = ",".join(f'{name}="{value}"' for name, value in labels)
    return f"{alert}{{{inner}}}"


@dataclass(slots=True)
class SeverityState:
    """What a Prometheus rule of one severity would know about one alarm, in steady seconds.

    Attributes:
        active_since: When the condition began to hold.
        firing: Whether it has held for the hold time.
        ended: When the condition ended while firing; the keep time runs from here.
    """

    active_since: float
    firing: bool = False
    ended: float | None = None


@dataclass(slots=True)
class Alarm:
    """One alert on one object, from its condition's first moment to its clearing.

    Attributes:
        alert: The rule's name.
        labels: Those of the metric.
        alarm_id: Positive, given at the raise and kept until cleared; 0 while it is only pending.
        severity: What people were last told.
        since: Wall time of the raise.
        told_at: Steady time of the last raise, update or repeat.
        count: Raises and updates so far.
        value: The first condition's value when last looked at.
        threshold: What it was compared with.
        offenders: Names in the evidence that people were told of.
        baseline: Already true at the very first start: told in one notice instead of a raise.
        verdict: What its conditions say now, told or not.
        changes: Steady times at which the verdict changed of late; they outlast a clearing.
        flapping: It changes so often that changes are not told one by one until it is calm.
    """

    alert: str
    labels: Labels
    states: dict[Severity, SeverityState] = field(default_factory=dict)
    alarm_id: int = 0
    severity: Severity = Severity.OK
    since: float = 0.0
    told_at: float = 0.0
    count: int = 0
    value: float | None = None
    threshold: float | None = None
    evidence: Evidence = ()
    offenders: frozenset[str] = frozenset()
    baseline: bool = False
    verdict: Severity = Severity.OK
    changes: tuple[float, ...] = ()
    flapping: bool = False

    @property
    def key(self) -> str:
        """The alarm's identity."""
        return alarm_key(self.alert, self.labels)

    @property
    def raised(self) -> bool:
        """Whether it stands; False while it is only pending."""
        return self.alarm_id > 0

    @property
    def over(self) -> bool:
        """Whether it stands only because what ended may come back soon."""
        firing = [state for state in self.states.values() if state.firing]
        return self.raised and bool(firing) and all(state.ended is not None for state in firing)

    def to_json(self) -> dict[str, Any]:
        """Return what a later process needs, as plain JSON data."""
        return {
            **asdict(self),
            "labels": dict(self.labels),
            "states": {severity.name: asdict(state) for severity, state in self.states.items()},
            "severity": self.severity.name,
            "verdict": self.verdict.name,
            "offenders": sorted(self.offenders),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Alarm":
        """Return the alarm that ``to_json`` wrote.

        Raises:
            AttributeError, LookupError, TypeError, ValueError: It did not write this.
        """
        decoded = {
            "labels": tuple(sorted(data["labels"].items())),
            "states": {Severity[name]: _state(state) for name, state in data["states"].items()},
            **{name: int(data[name]) for name in ("alarm_id", "count")},
            **{name: float(data[name]) for name in ("since", "told_at")},
            "severity": Severity[data["severity"]],
            # Absent in what was saved before alarms could flap.
            "verdict": Severity[data.get("verdict", data["severity"])],
            "changes": tuple(float(moment) for moment in data.get("changes", ())),
            "flapping": bool(data.get("flapping", False)),
            "offenders": frozenset(data["offenders"]),
            "evidence": evidence_from_json(data["evidence"]),
        }
        return cls(**{**data, **decoded})


def _state(data: Mapping[str, Any]) -> SeverityState:
    ended = data["ended"]
    return SeverityState(float(data["active_since"]), bool(data["firing"]), None if ended is None else float(ended))


class Change(StrEnum):
    """What happened to an alarm."""

    RAISED = "raised"
    UPDATED = "updated"
    CLEARED = "cleared"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change that people are told of.

    Attributes:
        alarm: As it is after the change; for a cleared one, as it was.
        severity: OK for a cleared alarm.
        why: Said beside a clearing that is not simply an end.
        value: For a cleared alarm, the first condition's value now; None where it is not known any more.
    """

    change: Change
    rule: AlertRule
    alarm: Alarm
    severity: Severity
    why: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """What meets an alert's condition, but not yet for as long as it must to be told.

    Attributes:
        severity: Of the alarm that it would become.
        wait: Seconds until then; 0 where the next look decides.
    """

    rule: AlertRule
    alarm: Alarm
    severity: Severity
    wait: float
