"""What the author of a collector relies on: histograms that survive, records that cannot say too much."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcs_exporter.contract import RECORD_FIELDS, Histogram, Kind, Metric, Record, Sample
from zcs_exporter.snapshot import vet

DELAY = Metric("zcs_mail_delay_seconds", Kind.HISTOGRAM, "Delay.", ("stage",), buckets=(0.1, 1, 10), max_series=12)
PLAIN = Metric("zcs_mail_size_bytes", Kind.HISTOGRAM, "Size.", buckets=(1024, 1048576))


def series(histogram: Histogram) -> dict[tuple[str, ...], float]:
    return {(each.suffix, *each.labels, each.bound): each.value for each in histogram.samples()}


def test_a_bucket_counts_what_is_at_most_its_bound() -> None:
    histogram = Histogram(PLAIN)
    for size in (1, 1024, 1025, 1048576, 1048577):
        histogram.observe(size)

    assert series(histogram) == {
        ("_bucket", "1024"): 2,
        ("_bucket", "1048576"): 4,
        ("_bucket", "+Inf"): 5,
        ("_sum", ""): 1 + 1024 + 1025 + 1048576 + 1048577,
        ("_count", ""): 5,
    }


def test_every_value_is_a_float_as_all_samples_are() -> None:
    histogram = Histogram(DELAY)
    histogram.observe(3, "queue", times=2)

    assert {type(each.value) for each in histogram.samples()} == {float}
    assert series(histogram)["_sum", "queue", ""] == 6


def test_a_series_can_begin_at_zero() -> None:
    histogram = Histogram(DELAY)
    histogram.begin("queue")
    histogram.begin("queue")

    assert set(series(histogram).values()) == {0}


@pytest.mark.parametrize("labels", [(), ("queue", "mta")])
def test_other_labels_than_the_declared_ones_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(TypeError, match="declared"):
        Histogram(DELAY).observe(1, *labels)


@given(seen=st.lists(st.tuples(st.sampled_from(["queue", "network"]), st.floats(0, 1e6)), max_size=20))
def test_a_histogram_that_was_saved_goes_on_counting(seen: list[tuple[str, float]]) -> None:
    histogram, later = Histogram(DELAY), Histogram(DELAY)
    for stage, value in seen:
        histogram.observe(value, stage)

    later.restore(json.loads(json.dumps(histogram.save())))
    assert series(later) == series(histogram)
    for each in (histogram, later):
        each.observe(1, "queue")
    assert series(later) == series(histogram)


def test_a_histogram_with_other_buckets_than_it_was_saved_with_begins_afresh() -> None:
    histogram = Histogram(DELAY)
    histogram.observe(1, "queue")
    other = Histogram(Metric(DELAY.name, DELAY.kind, DELAY.help, DELAY.labels, buckets=(1, 2, 3, 4)))

    other.restore(histogram.save())

    assert series(other) == {}


def test_the_series_of_a_histogram_are_told_apart_by_their_bounds_and_count_against_its_limit() -> None:
    histogram = Histogram(DELAY)
    for stage in ("queue", "network", "content"):
        histogram.observe(1, stage)

    vetted = vet([*histogram.samples(), *histogram.samples()])

    assert len(vetted.samples) == DELAY.max_series
    assert {name: len(lost) for name, lost in vetted.left_out.items()} == {DELAY.name: 2 * 6}
    assert vetted.doubled == {DELAY.name}


def test_the_bound_of_a_bucket_is_its_last_label() -> None:
    (first, *_), (plain, *_) = _samples(DELAY, "queue"), _samples(PLAIN)

    assert first.label_map() == {"stage": "queue", "le": "0.1"}
    assert first.label_pairs()[-1] == ("le", "0.1")
    assert plain.label_map() == {"le": "1024"}


def _samples(metric: Metric, *labels: str) -> list[Sample]:
    histogram = Histogram(metric)
    histogram.begin(*labels)
    return list(histogram.samples())


def test_a_record_has_only_fields_whose_privacy_is_known() -> None:
    with pytest.raises(TypeError, match="login_failed: not a field of a record: passwort, user"):
        Record("login_failed", 0.0, fields={"user": "ann", "account": "ann", "passwort": "x"})


@given(fields=st.dictionaries(st.sampled_from(sorted(RECORD_FIELDS)), st.text(max_size=300)))
def test_the_fields_of_a_record_are_short_printable_and_never_empty(fields: dict[str, str]) -> None:
    kept = Record("login_failed", 0.0, fields=fields).fields

    assert all(0 < len(value) <= 128 for value in kept.values())
    kinds = {unicodedata.category(character) for value in kept.values() for character in value}
    assert not {kind for kind in kinds if kind.startswith("C") or kind in ("Zl", "Zp")}
    assert kept.keys() == {name for name, value in fields.items() if value}
