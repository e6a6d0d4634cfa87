import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.filesystem.history import FillHistory

GIB = 2.0**30
START = 1_709_370_000.0
HOUR = 3600.0
DAY = 24 * HOUR


def recorded(hours: float, room: Callable[[float], float], step: float = 300.0, size: float = 100 * GIB) -> FillHistory:
    """A history of ``room(seconds since start)``, and its clock standing at ``hours``."""
    history = FillHistory()
    for number in range(int(hours * HOUR / step) + 1):
        history.add(START + number * step, room(number * step), size)
    return history


def test_a_steady_rise_is_carried_on_to_the_end() -> None:
    history = recorded(6.2, lambda t: 50 * GIB - t / HOUR * GIB)
    now, room = START + 6.2 * HOUR, 43.8 * GIB

    assert history.estimate(now, room) == pytest.approx(43.8 * HOUR)
    assert history.short_estimate(now, room) == pytest.approx(43.8 * HOUR)


def test_a_disk_that_does_not_fill_has_no_end() -> None:
    level = recorded(7, lambda t: 50 * GIB)
    draining = recorded(7, lambda t: 50 * GIB + t)

    assert level.estimate(START + 7 * HOUR, 50 * GIB) is None
    assert draining.estimate(START + 7 * HOUR, 50 * GIB) is None


@pytest.mark.parametrize(
    ("hours", "short", "six"), [(0.4, False, False), (0.6, True, False), (5.9, True, False), (6.1, True, True)]
)
def test_an_estimate_needs_its_length_of_history(hours: float, short: bool, six: bool) -> None:
    history = recorded(hours, lambda t: 50 * GIB - t * 1e5)
    now, room = START + hours * HOUR, 50 * GIB - hours * HOUR * 1e5

    assert (history.short_estimate(now, room) is not None) is short
    assert (history.estimate(now, room) is not None) is six
    assert history.long_estimate(now, room) is None


def test_a_week_of_slow_growth_is_seen_by_the_long_estimate() -> None:
    history = recorded(7 * 24 + 2, lambda t: 60 * GIB - t / DAY * GIB, step=1800.0)
    now, room = START + (7 * 24 + 2) * HOUR, (60 - 170 / 24) * GIB

    assert history.long_estimate(now, room) == pytest.approx(room / GIB * DAY, rel=0.01)


@pytest.mark.parametrize("period", [1.0, 2.5, 5.0, 11.0, 24.0])
def test_a_saw_tooth_never_predicts(period: float) -> None:
    """A disk that is emptied every few hours comes back to the same height and goes no further."""

    def room(t: float) -> float:
        return 25 * GIB - 20 * GIB * (t / (period * HOUR) % 1.0)

    history = FillHistory()
    told = []
    for number in range(int(3 * DAY / 300)):
        now = START + number * 300.0
        history.add(now, room(number * 300.0), 100 * GIB)
        if number * 300.0 > period * HOUR + 600:  # the first tooth is a rise like any other
            told += [history.short_estimate(now, room(number * 300.0)), history.estimate(now, room(number * 300.0))]

    # At the very tip a tooth may pass the last one by a measurement; it must not seem to end within days.
    assert [seconds for seconds in told if seconds is not None and seconds < 4 * DAY] == []


def test_teeth_that_grow_are_carried_on_at_the_rate_of_their_tips() -> None:
    def room(t: float) -> float:
        return 60 * GIB - t / DAY * GIB - 10 * GIB * (t / (6 * HOUR) % 1.0)

    history = recorded(47.9, room)
    now = START + 47.9 * HOUR
    left = history.estimate(now, room(47.9 * HOUR))

    assert left is None or left > 20 * DAY


def test_a_leak_after_days_of_rest_is_seen_within_hours() -> None:
    history = recorded(54, lambda t: 30 * GIB - max(0.0, t - 48 * HOUR) / HOUR * GIB)
    now, room = START + 54 * HOUR, 24 * GIB

    assert history.short_estimate(now, room) == pytest.approx(24 * HOUR, rel=0.01)


def test_one_burst_does_not_make_a_trend() -> None:
    history = recorded(7, lambda t: 50 * GIB if t < 5 * HOUR else 45 * GIB)

    assert history.estimate(START + 7 * HOUR, 45 * GIB) is None


def test_each_new_point_is_reckoned_with() -> None:
    history = recorded(7, lambda t: 50 * GIB - t * 1e5)
    now, room = START + 7 * HOUR, 50 * GIB - 7 * HOUR * 1e5
    before = history.short_estimate(now, room)
    for number in range(1, 14):
        history.add(now + number * 300, room, 100 * GIB)

    assert before is not None
    assert history.short_estimate(now + 13 * 300, room) is None


def test_another_size_is_another_disk() -> None:
    history = recorded(6.5, lambda t: 50 * GIB - t * 1e5)
    now = START + 6.5 * HOUR
    history.add(now + 300, 150 * GIB, 200 * GIB)

    assert history.estimate(now + 300, 150 * GIB) is None
    assert history.recent_changed


def test_a_clock_set_back_leaves_no_points_in_the_future() -> None:
    history = recorded(6.5, lambda t: 50 * GIB - t * 1e5)
    history.add(START, 10 * GIB, 100 * GIB)

    assert history.last == START
    assert history.estimate(START, 10 * GIB) is None


def test_a_saved_history_goes_on_where_it_was() -> None:
    history = recorded(30, lambda t: 50 * GIB - t * 1e5)
    copy = FillHistory()
    copy.restore_hours(history.saved_hours())
    copy.restore_recent(history.saved_recent())
    now, room = START + 30 * HOUR, 50 * GIB - 30 * HOUR * 1e5

    assert copy.estimate(now, room) == history.estimate(now, room) != None  # noqa: E711 - and there is one
    assert (copy.saved_recent(), copy.saved_hours()) == (history.saved_recent(), history.saved_hours())


def test_a_history_keeps_a_bounded_number_of_points() -> None:
    history = recorded(10 * 24, lambda t: 50 * GIB - t, step=60.0)

    assert len(history.saved_recent()) < 80 * 40
    assert len(history.saved_hours()) < 172 * 40


def test_only_new_points_need_saving() -> None:
    history = recorded(1, lambda t: 50 * GIB)
    history.recent_changed = history.hours_changed = False
    history.add(START + HOUR + 15, 50 * GIB, 100 * GIB)

    assert not history.recent_changed
    assert not history.hours_changed


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[1, [2]]", '[1, ["a", 2]]', '["x"]', "[[1, 2]]"])
def test_a_damaged_row_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        FillHistory().restore_recent(text)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e12)), max_size=40))
def test_whatever_happens_an_estimate_is_a_positive_time_or_none(steps: list[tuple[float, float]]) -> None:
    history, now = FillHistory(), START
    for seconds, room in steps:
        now += seconds
        history.add(now, room, 1e12)
        for left in (history.short_estimate(now, room), history.estimate(now, room), history.long_estimate(now, room)):
            assert left is None or (left >= 0 and not math.isnan(left))
