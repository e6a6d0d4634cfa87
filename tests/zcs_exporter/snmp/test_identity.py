import pytest
from fakes import ManualClock
from hypothesis import given
from hypothesis import strategies as st

from zcs_exporter.contract import Clock
from zcs_exporter.snmp.identity import EngineIdentity, ForwardClock, new_engine_id, next_boots

NOW = 1_709_371_233.0


def test_an_engine_id_has_the_form_of_rfc_3411() -> None:
    engine_id = new_engine_id(lambda length: b"r" * length)
    assert engine_id == bytes.fromhex("80001f8805") + b"r" * 12
    assert 5 <= len(engine_id) <= 32


def test_two_daemons_never_share_an_engine_id() -> None:
    assert new_engine_id() != new_engine_id()


def test_boots_come_from_the_wall_clock() -> None:
    assert next_boots(0, NOW) == int(NOW) - 1_704_067_200


@given(st.integers(0, 2**31 - 3), st.floats(-1e12, 1e12))
def test_boots_always_rise_and_fit(saved: int, wall: float) -> None:
    assert saved < next_boots(saved, wall) < 2**31 - 1


def test_a_state_directory_rolled_back_does_not_repeat_boots() -> None:
    old = next_boots(0, NOW)
    forgotten = next_boots(old, NOW + 86400)
    assert next_boots(old, NOW + 2 * 86400) > forgotten


def test_a_clock_set_back_does_not_lower_boots() -> None:
    first = next_boots(0, NOW)
    assert next_boots(first, NOW - 3600) == first + 1


def test_a_clock_far_in_the_future_does_not_use_up_the_boots() -> None:
    assert next_boots(7, 9e9) == 8


def test_an_engine_id_without_boots_left_is_said_to_be_used_up() -> None:
    with pytest.raises(ValueError, match="new engine id"):
        next_boots(2**31 - 2, NOW)


def test_engine_time_follows_the_clock(manual: ManualClock) -> None:
    clock = ForwardClock(manual.clock)
    manual.advance(90.4)
    assert EngineIdentity(b"", 1, clock).engine_time == 90
    assert EngineIdentity(b"", 1, clock).up_time == 9040


def test_a_wall_clock_set_back_does_not_set_engine_time_back(manual: ManualClock) -> None:
    clock = ForwardClock(manual.clock)
    manual.advance(500)
    assert clock() == 500
    manual.now -= 3600
    manual.ticks += 10
    assert clock() == 510


def test_time_in_which_the_machine_was_suspended_counts(manual: ManualClock) -> None:
    clock = ForwardClock(manual.clock)
    manual.now += 7200
    assert clock() == 7200


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6))))
def test_engine_time_never_runs_backwards_nor_slower_than_real_time(steps: list[tuple[float, float]]) -> None:
    wall, monotonic = NOW, 0.0
    clock = ForwardClock(Clock(wall=lambda: wall, monotonic=lambda: monotonic))
    before = clock()
    for wall_step, monotonic_step in steps:
        wall, monotonic = wall + wall_step, monotonic + monotonic_step
        after = clock()
        assert after - before >= monotonic_step - 1e-3
        before = after


def test_engine_time_ends_at_the_largest_number_of_the_protocol(manual: ManualClock) -> None:
    identity = EngineIdentity(b"", 1, ForwardClock(manual.clock))
    manual.advance(3e9)
    assert identity.engine_time == 2**31 - 1
    assert identity.up_time < 2**32
