"""Decides from each snapshot which alarms are raised, changed and cleared.

Per alert, labels and severity it keeps the state that Prometheus keeps for a rule with ``for`` and
``keep_firing_for``, so that both come to one verdict; the alarm that people see is the worst severity
that fires. What Prometheus cannot know is added: a collector that fails freezes its alarms, and when its
last good samples have expired they become *unknown*, never *resolved*. And an alarm that changes too often
is *flapping*: it stands, and its changes are not told, until it is calm. That shapes what is told, not the
verdict.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from zcs_exporter.alerting.alarm import Alarm, Change, Labels, Pending, SeverityState, Transition, alarm_key
from zcs_exporter.alerting.conditions import Match, SampleIndex
from zcs_exporter.alerting.model import AlertRule, Policy, Severity
from zcs_exporter.contract import Clock
from zcs_exporter.snapshot import Snapshot

MAINTENANCE = "zcs_maintenance"
"""The metric that is 1 while a maintenance holds alarms."""

OFFENDER_SPACING = 600.0
"""Least seconds between two updates that only name new offenders."""


FLAPPING_AFTER = 6
"""Changes of an alarm within the window that are told; with the next one it is flapping."""

FLAPPING_WINDOW = 600.0
"""Seconds in which changes are counted; an alarm is calm when as long has passed without one."""


Judged = tuple[Mapping[Severity, float], Mapping[Labels, Match]]
"""Thresholds, and what met a rule with them."""


class SteadyClock:
    """Seconds that begin at the wall clock's and then never step.

    What is saved in them by one process means the same to the next one.
    """

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._offset = clock.wall() - clock.monotonic()

    def __call__(self) -> float:
        """Return the steady time."""
        return self._monotonic() + self._offset


class Evaluator:
    """Every alarm's state; one instance for the life of the daemon.

    Attributes:
        rules: What it judges by.
        alarms: By key, pending ones included.
    """

    def __init__(
        self, rules: Sequence[AlertRule], saved: Iterable[Alarm], steady: SteadyClock, next_id: int = 1
    ) -> None:
        self.rules = tuple(rules)
        self._by_name = {rule.name: rule for rule in rules}
        self._steady = steady
        self._changed: set[str] = set()
        self._index: SampleIndex | None = None
        self._sources: dict[str, frozenset[str]] = {}
        self._seen: dict[str, Judged] = {}
        now = steady()
        self.alarms = {alarm.key: alarm for alarm in saved if alarm.alert in self._by_name}
        for alarm in self.alarms.values():
            _not_in_the_future(alarm, now)
        self.next_id = max([next_id, *(alarm.alarm_id + 1 for alarm in self.alarms.values())])

    def rule(self, alarm: Alarm) -> AlertRule:
        """Return the rule that an alarm is of."""
        return self._by_name[alarm.alert]

    def active(self) -> list[Alarm]:
        """Return the alarms that stand, worst first, then oldest."""
        raised = (alarm for alarm in self.alarms.values() if alarm.raised)
        return sorted(raised, key=lambda alarm: (-alarm.severity, alarm.since, alarm.key))

    @property
    def hidden(self) -> list[Alarm]:
        """What was true at the very first start, and still is, that is no alarm yet; as one it is not raised."""
        return [alarm for alarm in self.alarms.values() if alarm.baseline and not alarm.raised]

    def pending(self, policies: Mapping[str, Policy]) -> list[Pending]:
        """Return what will be an alarm, or a worse one, if it goes on: what comes first, first.

        Nothing of rules without a policy: while the daemon starts nobody knows yet how long a condition must hold.
        """
        now = self._steady()
        found = []
        for alarm in self.alarms.values():
            rule = self.rule(alarm)
            policy = policies.get(rule.name)
            if policy is None:
                continue
            waits = {
                severity: max(0.0, state.active_since + _hold(rule, policy, severity) - now)
                for severity, state in alarm.states.items()
                if not state.firing and severity > alarm.severity
            }
            if waits:
                severity = min(waits, key=lambda level: (waits[level], -level))
                found.append(Pending(rule, alarm, severity, waits[severity]))
        return sorted(found, key=lambda each: (each.wait, -each.severity, each.alarm.key))

    def changes(self) -> dict[str, dict[str, Any] | None]:
        """Return the alarms that changed since the last call in JSON form, None for one that is gone."""
        changed, self._changed = self._changed, set()
        return {key: self.alarms[key].to_json() if key in self.alarms else None for key in sorted(changed)}

    def evaluate(self, snapshot: Snapshot, policies: Mapping[str, Policy]) -> list[Transition]:
        """Bring every alarm up to date and return what people must be told, in order."""
        now = self._steady()
        former, index = self._index, SampleIndex(snapshot, self._index)
        self._index = index
        if former is None or former.layout != index.layout:
            self._sources = {rule.name: index.sources(rule) for rule in self.rules}
            self._seen.clear()
        maintenance = any(sample.value == 1 for sample in index.samples(MAINTENANCE))
        by_rule: dict[str, list[Alarm]] = {}
        for alarm in self.alarms.values():
            by_rule.setdefault(alarm.alert, []).append(alarm)
        transitions: list[Transition] = []
        for rule in self.rules:
            known = by_rule.get(rule.name, [])
            policy = policies[rule.name]
            if not self._sources[rule.name].isdisjoint(index.fresh):
                self._seen.pop(rule.name, None)
            if not known and self._unmet(rule, policy):
                continue
            owners = index.owners(rule)
            if not policy.thresholds:
                transitions += [told for alarm in known if (told := self._forget(alarm, "switched off"))]
            elif not index.watched(rule):
                transitions += [told for alarm in known if (told := self._forget(alarm, "not watched any more"))]
            elif any(reading.stale for reading in owners):
                transitions += [told for alarm in known if (told := self._lose_sight(alarm, now))]
            elif index.looked_at(rule) and not any(reading.failure for reading in owners):
                held = maintenance and rule.held_by is not None
                settled = all(reading.log_fed or reading.rounds > 1 for reading in owners)
                seen = {} if held else self._matches(index, rule, policy)
                alarms = self._admit(rule, seen, known, now)
                for alarm, match in alarms:
                    if not (held and alarm.raised):
                        self._advance(alarm, match, policy, now, settled=settled)
                    if told := self._tell(alarm, snapshot.at, now):
                        over = told.change is Change.CLEARED
                        transitions.append(replace(told, value=index.value(rule, alarm.labels)) if over else told)
        return transitions

    def take_baseline(self, log_fed: frozenset[str]) -> list[Alarm]:
        """Mark and return what is already true, except alarms on the metrics in ``log_fed``.

        For the first complete round of a first start: what is marked is told in one notice, not one by one.
        """
        true = (alarm for alarm in self.alarms.values() if alarm.states)
        found = [alarm for alarm in true if not log_fed.intersection(self.rule(alarm).metrics)]
        for alarm in found:
            alarm.baseline = True
            self._changed.add(alarm.key)
        return found

    def _matches(self, index: SampleIndex, rule: AlertRule, policy: Policy) -> Mapping[Labels, Match]:
        """Return what meets a rule now: the same as before where nobody has measured anew."""
        kept = self._seen.get(rule.name)
        if kept is None or kept[0] is not policy.thresholds:
            kept = self._seen[rule.name] = (policy.thresholds, index.matches(rule, policy.thresholds))
        return kept[1]

    def _unmet(self, rule: AlertRule, policy: Policy) -> bool:
        """Return whether nothing met a rule when it was last looked at, and nobody has measured anew since."""
        kept = self._seen.get(rule.name)
        return kept is not None and not kept[1] and kept[0] is policy.thresholds

    def _admit(
        self, rule: AlertRule, seen: Mapping[Any, Match], known: Sequence[Alarm], now: float
    ) -> list[tuple[Alarm, Match | None]]:
        """Return the rule's alarms, new ones included, each with what matches it now."""
        alarms = {alarm.labels: alarm for alarm in known}
        for labels, match in seen.items():
            alarm = alarms.get(labels)
            if alarm is None:
                alarm = alarms[labels] = self.alarms[alarm_key(rule.name, labels)] = Alarm(rule.name, labels)
            alarm.value, alarm.threshold, alarm.evidence = match.value, match.threshold, match.evidence
            for severity in match.severities:
                if severity not in alarm.states:
                    alarm.states[severity] = SeverityState(now)
                    self._changed.add(alarm.key)
        return [(alarm, seen.get(labels)) for labels, alarm in alarms.items()]

    def _advance(self, alarm: Alarm, match: Match | None, policy: Policy, now: float, *, settled: bool) -> None:
        """Move the per-severity states on, as Prometheus does for ``for`` and ``keep_firing_for``."""
        rule = self.rule(alarm)
        keep = rule.keep if policy.keep is None else policy.keep
        for severity, state in list(alarm.states.items()):
            hold = _hold(rule, policy, severity)
            before = (state.firing, state.ended)
            if match is not None and severity in match.severities:
                state.ended = None
                state.firing = state.firing or (settled and now - state.active_since >= hold)
            elif state.firing and state.ended is None and keep > 0:
                state.ended = now
            elif not state.firing or state.ended is None or now - state.ended >= keep:
                del alarm.states[severity]
            if (state.firing, state.ended) != before or severity not in alarm.states:
                self._changed.add(alarm.key)

    def _tell(self, alarm: Alarm, wall: float, now: float) -> Transition | None:
        """Return what people must be told about one alarm now, if anything."""
        rule = self.rule(alarm)
        severity = max((level for level, state in alarm.states.items() if state.firing), default=Severity.OK)
        was_flapping = alarm.flapping
        self._watch_flapping(alarm, severity, now)
        if alarm.flapping:
            # It stands at the worst that was told.
            severity = max(severity, alarm.severity)
        if severity is Severity.OK:
            if not alarm.raised:
                return None if alarm.states or alarm.changes else self._forget(alarm)
            return self._clear(alarm)
        if not alarm.raised:
            alarm.alarm_id, self.next_id = self.next_id, self.next_id + 1
            alarm.since = wall
            told = self._say(Change.RAISED, alarm, severity, now)
            return None if alarm.baseline else told
        if severity is not alarm.severity or alarm.flapping is not was_flapping:
            return self._say(Change.UPDATED, alarm, severity, now)
        if rule.names_offenders and _names(alarm) - alarm.offenders and now - alarm.told_at >= OFFENDER_SPACING:
            return self._say(Change.UPDATED, alarm, severity, now)
        if now - alarm.told_at >= rule.repeat_after(severity):
            return self._say(Change.REPEATED, alarm, severity, now)
        return None

    def _watch_flapping(self, alarm: Alarm, verdict: Severity, now: float) -> None:
        """Note a change of the verdict, and decide whether the alarm is flapping."""
        recent = tuple(moment for moment in alarm.changes if now - moment < FLAPPING_WINDOW)
        if verdict is not alarm.verdict:
            recent = (*recent, now)
            alarm.verdict = verdict
        if recent != alarm.changes:
            # More are not needed to know that it flaps, and it may flap for days.
            alarm.changes = recent[-FLAPPING_AFTER - 1 :]
            self._changed.add(alarm.key)
        if not alarm.changes:
            alarm.flapping = False
        elif len(alarm.changes) > FLAPPING_AFTER and alarm.severity is not Severity.UNKNOWN:
            alarm.flapping = True

    def _say(self, change: Change, alarm: Alarm, severity: Severity, now: float) -> Transition:
        alarm.severity, alarm.told_at = severity, now
        alarm.offenders |= _names(alarm)
        alarm.count += change is not Change.REPEATED
        self._changed.add(alarm.key)
        return Transition(change, self.rule(alarm), alarm, severity)

    def _lose_sight(self, alarm: Alarm, now: float) -> Transition | None:
        """Nobody can look any more: what stands becomes unknown, what was pending starts again later."""
        if not alarm.raised:
            return self._forget(alarm)
        alarm.flapping = False
        return None if alarm.severity is Severity.UNKNOWN else self._say(Change.UPDATED, alarm, Severity.UNKNOWN, now)

    def _clear(self, alarm: Alarm) -> Transition | None:
        """Clear an alarm, but remember when it changed: it may come back soon, and be flapping."""
        told = self._forget(alarm)
        self.alarms[alarm.key] = Alarm(alarm.alert, alarm.labels, changes=alarm.changes)
        return told

    def _forget(self, alarm: Alarm, why: str = "") -> Transition | None:
        del self.alarms[alarm.key]
        self._changed.add(alarm.key)
        return Transition(Change.CLEARED, self.rule(alarm), alarm, Severity.OK, why) if alarm.raised else None


def _hold(rule: AlertRule, policy: Policy, severity: Severity) -> float:
    return rule.hold_for(severity) if policy.hold is None else policy.hold


def _names(alarm: Alarm) -> frozenset[str]:
    return frozenset(item.value for item in alarm.evidence)


def _not_in_the_future(alarm: Alarm, now: float) -> None:
    """The wall clock may have been set back while the daemon was down; a time ahead would hold for ever."""
    alarm.told_at = min(alarm.told_at, now)
    alarm.changes = tuple(min(moment, now) for moment in alarm.changes)
    for state in alarm.states.values():
        state.active_since = min(state.active_since, now)
        if state.ended is not None:
            state.ended = min(state.ended, now)
