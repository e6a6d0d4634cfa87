"""The guarantees of Space-Saving, against exact counts."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from zcs_exporter.heavy_hitters import HeavyHitters


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5))), st.integers(1, 8))
def test_whoever_is_over_the_average_is_kept_and_no_count_is_too_low_or_off_by_more_than_its_error(
    stream: list[tuple[int, int]], capacity: int
) -> None:
    exact: Counter[int] = Counter()
    kept: HeavyHitters[int] = HeavyHitters(capacity)
    for key, times in stream:
        exact[key] += times
        kept.add(key, times)
    total = exact.total()
    assert len(kept.counts) <= capacity
    assert {key for key, count in exact.items() if count > total / capacity} <= kept.counts.keys()
    for key, count in kept.counts.items():
        assert exact[key] <= count <= exact[key] + kept.errors.get(key, 0)
        assert kept.errors.get(key, 0) <= total / capacity


def test_the_one_that_goes_is_the_rarest() -> None:
    kept: HeavyHitters[str] = HeavyHitters(2)
    kept.add("a", 5)
    kept.add("b")
    assert kept.add("c") == "b"
    assert kept.top(2) == [("a", 5), ("c", 2)]


def test_what_was_saved_is_taken_over_with_its_errors() -> None:
    kept: HeavyHitters[str] = HeavyHitters(2)
    kept.load([("a", 5, 0), ("b", 3, 2), ("too many", 1, 0)])
    assert kept.counts == {"a": 5, "b": 3}
    assert kept.errors == {"b": 2}
    assert kept.add("c") == "b"
