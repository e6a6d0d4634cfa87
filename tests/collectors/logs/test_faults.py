"""Faults are counted, told, and move a gauge."""

import pytest
from fakes import ManualClock

from collectors.logs.faults import FaultPart
from zcs_exporter.contract import Kind, Metric

LOG = "/var/log/kern.log"
GAUGE = Metric("zcs_test_last_hour", Kind.GAUGE, "Faults.")


class Part(FaultPart):
    name = "test"
    metrics = (GAUGE,)
    gauges = {"io_error": GAUGE}  # noqa: RUF012 - a constant


def gauge(part: Part, manual: ManualClock) -> float | None:
    return next((each.value for each in part.samples(manual.now) if each.metric is GAUGE), None)


def note(part: Part, at: float, kind: str = "io_error", *, live: bool = True) -> None:
    part.note(kind, at, LOG, lambda: 7, live=live, fields={"object": "sda"}, who="sda")


@pytest.fixture
def part(manual: ManualClock) -> Part:
    return Part(manual.clock, {LOG: ("io_error", "oom_kill")})


def test_a_gauge_is_unknown_before_its_log_exists_and_0_after(part: Part, manual: ManualClock) -> None:
    part.begin(["/var/log/other"])
    assert gauge(part, manual) is None
    part.begin([LOG])
    assert gauge(part, manual) == 0


def test_a_gauge_forgets_after_an_hour(part: Part, manual: ManualClock) -> None:
    note(part, manual.now)
    assert gauge(part, manual) == 1
    manual.advance(3580)
    assert gauge(part, manual) == 1
    manual.advance(20)
    assert gauge(part, manual) == 0


def test_what_is_over_moves_no_gauge(part: Part, manual: ManualClock) -> None:
    part.begin([LOG])
    note(part, manual.now - 3600, live=False)
    part.note("io_error", None, LOG, lambda: 7, live=False, fields={"object": "sda"}, who="sda")
    assert gauge(part, manual) == 0
    assert [each.fields for each in part.findings()] == [{"object": "sda", "count": "2"}]
    note(part, manual.now - 3000, live=False)
    assert gauge(part, manual) == 1


def test_names_behind_a_gauge_are_bounded(part: Part, manual: ManualClock) -> None:
    for number in range(300):
        part.note("io_error", manual.now, LOG, lambda: 7, live=True, fields={}, who=f"disk{number}")
    [sample] = [each for each in part.samples(manual.now) if each.metric is GAUGE]
    assert sample.value == 300
    assert len(sample.evidence) == 10
    assert (sample.evidence[0].value, sample.evidence[0].count) == ("others", 200)
    assert all(len(row or "") < 3000 for key, row in part.changes().items() if key != "told")


def test_a_window_gives_names_again_when_the_first_hundred_are_over(part: Part, manual: ManualClock) -> None:
    for _ in range(2):
        for number in range(100):
            part.note("io_error", manual.now, LOG, lambda: 7, live=True, fields={}, who=f"{manual.now}-{number}")
        [sample] = [each for each in part.samples(manual.now) if each.metric is GAUGE]
        assert "others" not in {item.value for item in sample.evidence}
        manual.advance(3600)
        assert gauge(part, manual) == 0


def test_a_clock_that_was_far_ahead_leaves_no_alarm_behind(part: Part, manual: ManualClock) -> None:
    manual.advance(86400 * 365)
    note(part, manual.now)
    assert gauge(part, manual) == 1
    manual.advance(-86400 * 365)
    assert gauge(part, manual) == 0
    note(part, manual.now)
    manual.advance(-5)
    assert gauge(part, manual) == 1


def test_everything_outlives_the_process(part: Part, manual: ManualClock) -> None:
    note(part, manual.now)
    part.note_level("/opt/zimbra/log/nginx.log", "error", "nginx", 3)
    rows = {key: value for key, value in part.changes().items() if value is not None}
    successor = Part(manual.clock, {LOG: ("io_error", "oom_kill")})
    successor.restore(rows)
    assert list(successor.samples(manual.now)) == list(part.samples(manual.now))
    assert list(successor.findings()) == list(part.findings())
    assert not Part.changes(successor).keys() - {"told"}


def test_only_rows_that_changed_are_saved(part: Part, manual: ManualClock) -> None:
    part.changes()
    assert part.changes() == {}
    note(part, manual.now, "oom_kill")
    assert part.changes().keys() == {"signals", "told"}
