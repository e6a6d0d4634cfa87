"""The life of an alarm, told by what people are told."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from fakes import ManualClock
from snapshots import reading, sample, snapshot

from zcs_exporter.alerting.alarm import Alarm, Change, Transition
from zcs_exporter.alerting.evaluate import OFFENDER_SPACING, Evaluator, Policy, SteadyClock
from zcs_exporter.alerting.model import AlertRule, Severity
from zcs_exporter.contract import EvidenceItem, EvidenceKind, Reason
from zcs_exporter.snapshot import Reading

METRIC = "zcs_filesystem_used_ratio"
MOUNT = {"mountpoint": "/opt/zimbra"}


def rule(**changes: object) -> AlertRule:
    description: dict[str, object] = {
        "alert": "ZcsFilesystemFull",
        "id": 201,
        "family": "filesystem",
        "value": METRIC,
        "above": {"warning": 0.85, "critical": 0.95},
        "unit": "ratio",
        "urgency": "today",
        "for": "10m",
        "keep": "10m",
        "summary": "{mountpoint} is {value} full",
        "meaning": "m",
        "action": "a",
        "examples": [
            {"labels": MOUNT, "values": {METRIC: 0.9}, "fires": "warning"},
            {"labels": MOUNT, "values": {METRIC: 0.1}, "fires": "nothing"},
        ],
    }
    description |= changes
    if {"ratio", "all"} & changes.keys():
        del description["value"]
    if "all" in changes:
        del description["above"]
    return AlertRule.of(description)


@dataclass
class Story:
    """One alert watched over time."""

    rule: AlertRule
    manual: ManualClock = field(default_factory=ManualClock)
    saved: tuple[Alarm, ...] = ()

    def __post_init__(self) -> None:
        self.evaluator = Evaluator([self.rule], self.saved, SteadyClock(self.manual.clock))
        self.policy = Policy(self.rule.defaults)

    def see(self, *readings: Reading) -> list[Transition]:
        return self.evaluator.evaluate(snapshot(self.manual.now, *readings), {self.rule.name: self.policy})

    def used(self, ratio: float | None, **changes: object) -> list[tuple[Change, Severity]]:
        samples = [] if ratio is None else [sample(METRIC, MOUNT, ratio)]
        told = self.see(reading("filesystem", samples, declares=[METRIC], **changes))  # type: ignore[arg-type]
        return [(each.change, each.severity) for each in told]

    def pending(self) -> list[tuple[Severity, float]]:
        found = self.evaluator.pending({self.rule.name: self.policy})
        return [(each.severity, each.wait) for each in found]

    def later(self, seconds: float, ratio: float | None, **changes: object) -> list[tuple[Change, Severity]]:
        self.manual.advance(seconds)
        return self.used(ratio, **changes)


RAISED = (Change.RAISED, Severity.WARNING)
CLEARED = (Change.CLEARED, Severity.OK)


def test_an_alarm_is_raised_when_its_hold_is_over_and_not_before() -> None:
    story = Story(rule())

    assert story.used(0.9) == []
    assert story.later(599, 0.9) == []
    assert story.later(1, 0.9) == [RAISED]
    assert story.later(1, 0.9) == []


def test_until_then_it_is_pending_and_says_what_it_becomes_and_when() -> None:
    story = Story(rule(**{"for": {"warning": "15m", "critical": "5m"}}))
    story.used(0.96)
    story.later(60, 0.96)

    assert story.pending() == [(Severity.CRITICAL, 240)]
    story.later(240, 0.96)
    assert [alarm.severity for alarm in story.evaluator.active()] == [Severity.CRITICAL]
    assert story.pending() == []  # the warning that comes after it tells nobody anything


def test_an_alarm_that_is_about_to_become_worse_is_pending_too() -> None:
    story = Story(rule())
    story.used(0.9)
    story.later(600, 0.96)

    assert story.pending() == [(Severity.CRITICAL, 600)]


def test_what_does_not_hold_any_more_is_not_pending() -> None:
    story = Story(rule())
    story.used(0.9)
    story.later(60, 0.8)

    assert story.pending() == []


def test_the_hold_of_the_site_decides_how_long_something_is_pending() -> None:
    story = Story(rule())
    story.policy = Policy(story.rule.defaults, hold=60.0)
    story.used(0.9)

    assert story.pending() == [(Severity.WARNING, 60)]


def test_nothing_that_was_saved_is_pending_before_anybody_knows_the_thresholds() -> None:
    story = Story(rule())
    story.used(0.9)
    later = Evaluator([story.rule], story.evaluator.alarms.values(), SteadyClock(story.manual.clock))

    assert later.pending({}) == []


@pytest.mark.parametrize(("last", "known"), [(0.71, 0.71), (None, None)])
def test_a_clear_knows_the_value_at_that_time_or_that_there_is_none(last: float | None, known: float | None) -> None:
    story = Story(rule(**{"for": "0s", "keep": "0s"}))
    story.used(0.97)
    samples = [] if last is None else [sample(METRIC, MOUNT, last)]

    (told,) = story.see(reading("filesystem", samples, declares=[METRIC]))

    assert (told.change, told.alarm.value, told.value) == (Change.CLEARED, 0.97, known)


def test_a_dip_during_the_hold_starts_it_again() -> None:
    story = Story(rule())
    story.used(0.9)

    assert story.later(300, 0.8) == []
    assert story.later(1, 0.9) == []
    assert story.later(599, 0.9) == []
    assert story.later(1, 0.9) == [RAISED]


def test_an_alarm_stays_for_its_keep_time_and_then_clears_once() -> None:
    story = Story(rule(**{"for": "0s"}))
    assert story.used(0.9) == [RAISED]

    assert not story.evaluator.active()[0].over
    assert story.later(60, 0.5) == []
    assert story.evaluator.active()[0].over
    assert story.later(599, 0.5) == []
    assert story.later(1, 0.5) == [CLEARED]
    assert story.later(60, 0.5) == []


def test_a_return_within_the_keep_time_is_still_the_same_alarm() -> None:
    story = Story(rule(**{"for": "0s"}))
    story.used(0.9)
    first = story.evaluator.active()[0].alarm_id

    assert story.later(60, 0.5) == []
    assert story.later(300, 0.9) == []
    assert story.later(500, 0.5) == []
    assert [alarm.alarm_id for alarm in story.evaluator.active()] == [first]


def test_a_worse_severity_is_an_update_of_the_same_alarm() -> None:
    story = Story(rule(**{"for": "0s"}))
    story.used(0.9)
    alarm = story.evaluator.active()[0]

    assert story.later(15, 0.96) == [(Change.UPDATED, Severity.CRITICAL)]
    assert (alarm.alarm_id, alarm.count) == (1, 2)
    assert story.later(700, 0.9) == []
    assert story.later(700, 0.9) == [(Change.UPDATED, Severity.WARNING)]


def test_each_severity_has_its_own_hold() -> None:
    story = Story(rule(**{"for": {"warning": "15m", "critical": "5m"}}))
    story.used(0.96)

    assert story.later(300, 0.96) == [(Change.RAISED, Severity.CRITICAL)]


def test_a_standing_alarm_is_told_again_after_its_repeat_time() -> None:
    story = Story(rule(**{"for": "0s", "repeat": "4h"}))
    story.used(0.9)
    count = story.evaluator.active()[0].count

    assert story.later(4 * 3600 - 1, 0.9) == []
    assert story.later(1, 0.9) == [(Change.REPEATED, Severity.WARNING)]
    assert story.evaluator.active()[0].count == count


def test_a_failing_collector_freezes_its_alarms_then_makes_them_unknown_and_never_resolved() -> None:
    story = Story(rule(**{"for": "0s", "keep": "0s"}))
    story.used(0.9)

    assert story.later(30, 0.5, failing=Reason.TIMEOUT) == []
    assert story.later(60, None, failing=Reason.TIMEOUT) == [(Change.UPDATED, Severity.UNKNOWN)]
    assert story.later(3600, None, failing=Reason.TIMEOUT) == []
    assert story.later(60, 0.9) == [(Change.UPDATED, Severity.WARNING)]
    assert story.later(60, 0.5) == [CLEARED]


def test_a_pending_alarm_does_not_become_due_while_nobody_can_look() -> None:
    story = Story(rule())
    story.used(0.9)

    assert story.later(700, None, failing=Reason.TIMEOUT) == []
    assert story.later(1, 0.9) == []
    assert story.later(599, 0.9) == []
    assert story.later(1, 0.9) == [RAISED]


def test_a_subject_that_is_gone_while_its_collector_works_clears_the_alarm() -> None:
    story = Story(rule(**{"for": "0s", "keep": "0s"}))
    story.used(0.9)

    assert story.later(15, None) == [CLEARED]


def test_the_first_round_after_a_start_raises_nothing() -> None:
    story = Story(rule(**{"for": "0s"}))

    assert story.used(0.99, rounds=1) == []
    assert story.later(15, 0.99, rounds=2) == [(Change.RAISED, Severity.CRITICAL)]


def test_a_log_fed_alarm_need_not_wait_for_a_second_round() -> None:
    story = Story(rule(**{"for": "0s"}))

    assert story.used(0.99, rounds=1, log_fed=True) == [(Change.RAISED, Severity.CRITICAL)]


def test_maintenance_raises_nothing_and_clears_nothing() -> None:
    story = Story(rule(**{"for": "0s", "keep": "0s", "held_by": "maintenance"}))
    other = {"mountpoint": "/opt/zimbra/store"}
    busy = reading("services", [sample("zcs_maintenance", {"cause": "zmcontrol"}, 1.0)])
    idle = reading("services", [sample("zcs_maintenance", {"cause": "zmcontrol"}, 0.0)])
    story.used(0.9)

    held = reading("filesystem", [sample(METRIC, MOUNT, 0.1), sample(METRIC, other, 0.9)])
    story.manual.advance(15)
    assert story.see(held, busy) == []
    story.manual.advance(15)
    assert [(each.change, dict(each.alarm.labels)) for each in story.see(held, idle)] == [
        (Change.CLEARED, MOUNT),
        (Change.RAISED, other),
    ]


def test_alarms_survive_a_restart_without_being_told_again() -> None:
    story = Story(rule(**{"for": "0s"}))
    story.used(0.9)
    saved = tuple(Alarm.from_json(data) for data in story.evaluator.changes().values() if data is not None)

    later = Story(rule(**{"for": "0s"}), ManualClock(story.manual.now + 60), saved)

    assert later.used(0.9, rounds=1) == []
    assert later.later(15, 0.9) == []
    assert later.evaluator.active()[0].alarm_id == story.evaluator.active()[0].alarm_id
    assert later.later(60, 0.2) == []
    assert later.later(600, 0.2) == [CLEARED]


def test_a_hold_goes_on_across_a_restart() -> None:
    story = Story(rule())
    story.used(0.9)
    saved = tuple(Alarm.from_json(data) for data in story.evaluator.changes().values() if data is not None)

    later = Story(rule(), ManualClock(story.manual.now + 590), saved)

    assert later.used(0.9) == []
    assert later.later(10, 0.9) == [RAISED]


def test_a_clock_that_was_set_back_does_not_hold_an_alarm_for_ever() -> None:
    story = Story(rule())
    story.used(0.9)
    saved = tuple(Alarm.from_json(data) for data in story.evaluator.changes().values() if data is not None)

    later = Story(rule(), ManualClock(story.manual.now - 3600), saved)

    later.used(0.9)
    assert later.later(600, 0.9) == [RAISED]


def test_what_is_true_at_the_very_first_start_is_baseline_and_only_its_clearing_is_told() -> None:
    story = Story(rule(**{"for": "0s", "keep": "0s"}))
    story.used(0.9, rounds=1)

    assert [alarm.key for alarm in story.evaluator.take_baseline(frozenset())] == [
        'ZcsFilesystemFull{mountpoint="/opt/zimbra"}'
    ]
    assert story.later(15, 0.9) == []
    assert len(story.evaluator.active()) == 1
    assert story.later(15, 0.1) == [CLEARED]
    assert story.later(15, 0.9) == [RAISED]


def test_alarms_fed_by_logs_are_never_in_the_baseline() -> None:
    story = Story(rule(**{"for": "10m"}))
    story.used(0.9, log_fed=True)

    assert story.evaluator.take_baseline(frozenset({METRIC})) == []


def test_a_new_offender_is_an_update_at_most_every_ten_minutes() -> None:
    story = Story(rule(**{"for": "0s", "names_offenders": True}))

    def attack(*offenders: str) -> list[Change]:
        names = [EvidenceItem(EvidenceKind.ADDRESS, name, 5) for name in offenders]
        return [each.change for each in story.see(reading("auth", [sample(METRIC, {}, 0.9, names)]))]

    assert attack("192.0.2.1") == [Change.RAISED]
    story.manual.advance(60)
    assert attack("192.0.2.1", "192.0.2.2") == []
    story.manual.advance(OFFENDER_SPACING)
    assert attack("192.0.2.1", "192.0.2.2") == [Change.UPDATED]
    story.manual.advance(OFFENDER_SPACING)
    assert attack("192.0.2.2") == []


def test_an_alert_that_is_switched_off_clears_what_stands() -> None:
    story = Story(rule(**{"for": "0s"}))
    story.used(0.9)
    story.policy = Policy({})

    assert story.later(1, 0.9) == [CLEARED]
    assert story.later(1, 0.9) == []


@pytest.mark.parametrize(("a", "b", "raised"), [(80.0, 100.0, True), (79.0, 100.0, False), (5.0, 0.0, False)])
def test_a_ratio_compares_two_metrics_of_equal_labels(a: float, b: float, raised: bool) -> None:
    ratio = rule(
        ratio=("zcs_a", "zcs_b"),
        above={"warning": 0.8},
        examples=[{"values": {"zcs_a": 1, "zcs_b": 1}, "fires": "warning"}] * 2,
        **{"for": "0s"},
    )
    story = Story(ratio)

    told = story.see(reading("x", [sample("zcs_a", {}, a), sample("zcs_b", {}, b)]))

    assert [each.change for each in told] == [Change.RAISED] * raised


@pytest.mark.parametrize(("guard", "raised"), [({"mountpoint": "/opt/zimbra"}, True), ({"mountpoint": "/"}, False)])
def test_all_conditions_must_hold_on_equal_labels(guard: Mapping[str, str], raised: bool) -> None:
    both = rule(
        all=[{"value": METRIC, "above": {"critical": 0.95}}, {"value": "zcs_vital", "above": 1}],
        examples=[{"values": {METRIC: 1, "zcs_vital": 1}, "fires": "critical"}] * 2,
        **{"for": "0s"},
    )
    story = Story(both)

    told = story.see(reading("x", [sample(METRIC, MOUNT, 0.97), sample("zcs_vital", guard, 1)]))

    assert [each.change for each in told] == [Change.RAISED] * raised


def test_after_a_restart_nothing_is_cleared_before_anybody_has_looked() -> None:
    before = Story(rule(keep="0s"))
    before.used(0.9)
    assert before.later(600, 0.9) == [RAISED]

    after = Story(rule(keep="0s"), before.manual, tuple(before.evaluator.alarms.values()))
    assert after.used(None, rounds=0) == []
    assert after.later(15, 0.9, rounds=1) == []
    assert after.later(15, 0.1) == [CLEARED]


def test_an_alarm_about_the_daemon_itself_waits_after_a_restart_for_all_collectors() -> None:
    name = "zcs_exporter_collector_success"
    examples = [{"values": {name: 0}, "fires": "warning"}, {"values": {name: 1}, "fires": "nothing"}]
    failing = rule(value=name, above=None, below={"warning": 0}, keep="0s", unit="count", examples=examples)
    watched = {"collector": "jvm"}

    def judge(story: Story, *own: float, rounds: int = 2) -> list[Change]:
        samples = [sample(name, watched, value) for value in own]
        seen = snapshot(story.manual.now, reading("jvm", [], rounds=rounds), own=samples)
        return [told.change for told in story.evaluator.evaluate(seen, {failing.name: story.policy})]

    before = Story(failing)
    judge(before, 0)
    before.manual.advance(600)
    assert judge(before, 0) == [Change.RAISED]

    after = Story(failing, before.manual, tuple(before.evaluator.alarms.values()))
    assert judge(after, rounds=0) == []
    assert judge(after) == []
    assert judge(after, 0) == []
    assert judge(after, 1) == [Change.CLEARED]


def test_an_alarm_whose_collector_is_switched_off_is_not_called_over() -> None:
    story = Story(rule())
    story.used(0.9)
    assert story.later(600, 0.9) == [RAISED]

    (told,) = story.see(reading("another", []))

    assert (told.change, told.why) == (Change.CLEARED, "not watched any more")


QUICK = {"for": "0s", "keep": "0s"}
UPDATED = (Change.UPDATED, Severity.WARNING)


def toggled(story: Story, times: int, seconds: float = 15) -> list[list[tuple[Change, Severity]]]:
    """Let the condition come and go."""
    return [story.later(seconds, 0.5 if number % 2 else 0.9) for number in range(times)]


def test_the_seventh_change_within_ten_minutes_is_told_as_flapping_and_no_further_one_until_it_is_calm() -> None:
    story = Story(rule(**QUICK))

    assert toggled(story, 6) == [[RAISED], [CLEARED]] * 3
    assert toggled(story, 40) == [[RAISED]] + [[]] * 39
    (alarm,) = story.evaluator.active()
    assert alarm.flapping
    assert story.later(600, 0.5) == [CLEARED]
    assert story.evaluator.active() == []


def test_a_clear_that_begins_the_flapping_is_an_update_and_the_alarm_stands() -> None:
    story = Story(rule(**QUICK))
    story.later(15, 0.9)
    first = [story.later(15, level) for level in (0.96, 0.9, 0.96, 0.9, 0.96)]
    assert [told[0][0] for told in first] == [Change.UPDATED] * 5

    assert story.later(15, 0.5) == [(Change.UPDATED, Severity.CRITICAL)]
    assert story.evaluator.active()[0].flapping
    assert story.later(15, 0.9) == []


def test_a_flapping_alarm_that_gets_worse_is_told_and_says_its_state_when_it_is_calm() -> None:
    story = Story(rule(**QUICK))
    toggled(story, 7)

    assert story.later(15, 0.96) == [(Change.UPDATED, Severity.CRITICAL)]
    assert toggled(story, 4) == [[]] * 4
    assert story.later(15, 0.9) == []
    assert story.later(599, 0.9) == []
    assert story.later(1, 0.9) == [UPDATED]
    (alarm,) = story.evaluator.active()
    assert not alarm.flapping
    assert story.later(15, 0.5) == [CLEARED]


def test_six_changes_within_ten_minutes_are_no_flapping_whatever_came_before() -> None:
    story = Story(rule(**QUICK))

    assert toggled(story, 40, seconds=120) == [[RAISED], [CLEARED]] * 20


def test_a_flapping_alarm_is_flapping_after_a_restart_too() -> None:
    story = Story(rule(**QUICK))
    toggled(story, 9)
    saved = tuple(
        Alarm.from_json(json.loads(json.dumps(data))) for data in story.evaluator.changes().values() if data is not None
    )

    later = Story(rule(**QUICK), ManualClock(story.manual.now), saved)

    assert toggled(later, 6) == [[]] * 6
    assert later.evaluator.active()[0].flapping


def test_changes_before_a_restart_count_as_flapping_after_it() -> None:
    story = Story(rule(**QUICK))
    toggled(story, 6)
    saved = tuple(Alarm.from_json(data) for data in story.evaluator.changes().values() if data is not None)
    assert [(alarm.raised, len(alarm.changes)) for alarm in saved] == [(False, 6)]

    later = Story(rule(**QUICK), ManualClock(story.manual.now), saved)

    assert later.later(15, 0.9) == [RAISED]
    assert later.evaluator.active()[0].flapping


def test_what_is_remembered_of_an_alarm_that_is_over_is_forgotten_once_it_is_calm() -> None:
    story = Story(rule(**QUICK))
    toggled(story, 2)
    assert story.evaluator.alarms

    story.later(600, 0.5)

    assert story.evaluator.alarms == {}
    assert set(story.evaluator.changes().values()) == {None}


def test_a_flapping_alarm_that_nobody_can_see_any_more_is_unknown() -> None:
    story = Story(rule(**QUICK))
    toggled(story, 7)

    assert story.later(60, None, failing=Reason.TIMEOUT) == [(Change.UPDATED, Severity.UNKNOWN)]
    assert not story.evaluator.active()[0].flapping


def test_flapping_changes_nothing_of_the_verdict() -> None:
    flapping, calm = Story(rule(**QUICK)), Story(rule(**QUICK))
    for number in range(20):
        level = 0.5 if number % 2 else 0.96
        flapping.later(15, level)
        calm.manual.now, calm.manual.ticks = flapping.manual.now, flapping.manual.ticks
        calm.evaluator.alarms = {key: alarm for key, alarm in calm.evaluator.alarms.items() if alarm.raised}
        calm.used(level)

        def firing(story: Story) -> set[Severity]:
            return {
                severity
                for alarm in story.evaluator.alarms.values()
                for severity, state in alarm.states.items()
                if state.firing
            }

        assert firing(flapping) == firing(calm)
