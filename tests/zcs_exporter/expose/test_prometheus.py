"""The renderer against prometheus_client's parsers, which are the oracle."""

import gzip
import math
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from zcs_exporter.contract import Histogram, Kind, Metric, Sample
from zcs_exporter.expose.prometheus import Exposition, Format, negotiate, render
from zcs_exporter.snapshot import Reading, Snapshot, vet

GOLDEN = Path(__file__).parents[2] / "golden"

DISK = Metric(
    "zcs_filesystem_size_bytes", Kind.GAUGE, "Size of the\nfile system, 'as \\df' says.", ("mountpoint", "fstype")
)
LINES = Metric("zcs_exporter_log_lines_total", Kind.COUNTER, "Lines.", ("log",))
GC = Metric("jvm_gc_collection_seconds", Kind.SUMMARY, "Collections.", ("jvm", "gc"))
THREADS = Metric("mysql_global_status_threads_connected", Kind.UNTYPED, "Connections that are open.")
DELAY = Metric(
    "zcs_mail_delay_seconds", Kind.HISTOGRAM, "Delay.", ("stage",), buckets=(0.1, 1, 10, 3600), max_series=50
)
UP = Metric("mysql_up", Kind.GAUGE, 'Whether it "answers".')

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def expected(samples: Iterable[Sample]) -> Series:
    return {(s.metric.name + s.suffix, tuple(sorted(s.label_map().items()))): s.value for s in samples}


def parsed(page: bytes, form: Format) -> Series:
    text = page.decode()
    families = parse_text(text) if form is Format.TEXT else parse_openmetrics(text)
    found: Series = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def whole(samples: Iterable[Sample], form: Format) -> bytes:
    return render(samples, form) + (b"# EOF\n" if form is Format.OPENMETRICS else b"")


def delays() -> tuple[Sample, ...]:
    histogram = Histogram(DELAY)
    histogram.begin("connection")
    for seconds in (0.05, 0.1, 0.25, 7.5, 90000):
        histogram.observe(seconds, "queue")
    return tuple(histogram.samples())


EXAMPLES = (
    DISK.sample(943718400, mountpoint="/opt/zimbra", fstype="ext4"),
    DISK.sample(1.5, mountpoint='/mnt/a "quoted" \\ path', fstype="xfs"),
    LINES.sample(12, log="audit.log"),
    GC.sample(3, suffix="_count", jvm="mailboxd", gc="young"),
    GC.sample(0.25, suffix="_sum", jvm="mailboxd", gc="young"),
    THREADS.sample(97),
    UP.sample(True),
    *delays(),
)


def snapshot() -> Snapshot:
    readings = {
        "filesystem": Reading("filesystem", (DISK,), rounds=1, present=True, samples=EXAMPLES[:2]),
        "jvm": Reading("jvm", (GC,), rounds=1, present=True, samples=EXAMPLES[3:5]),
        "mysqld": Reading("mysqld", (UP, THREADS), rounds=1, present=True, samples=EXAMPLES[5:7]),
        "mailflow": Reading("mailflow", (DELAY,), rounds=1, present=True, samples=EXAMPLES[7:]),
    }
    return Snapshot(1, 1_709_371_233.0, readings, (EXAMPLES[2],))


@pytest.mark.parametrize("form", Format)
def test_a_page_parses_to_the_samples_it_was_made_of(form: Format) -> None:
    assert parsed(whole(EXAMPLES, form), form) == expected(EXAMPLES)


@pytest.mark.parametrize("form", Format)
def test_types_and_help_survive(form: Format) -> None:
    text = whole(EXAMPLES, form).decode()
    families = {
        family.name: family for family in (parse_text(text) if form is Format.TEXT else parse_openmetrics(text))
    }

    assert families["zcs_filesystem_size_bytes"].documentation == DISK.help
    assert families["mysql_up"].documentation == UP.help
    assert families["jvm_gc_collection_seconds"].type == "summary"
    assert families["mysql_global_status_threads_connected"].type == "unknown"
    assert families["zcs_exporter_log_lines"].type == "counter"
    assert families["zcs_mail_delay_seconds"].type == "histogram"


@pytest.mark.parametrize("form", Format)
@given(
    rows=st.lists(st.tuples(st.text(), st.text(max_size=300), st.floats()), max_size=12),
    counts=st.lists(st.tuples(st.text(), st.floats(min_value=0, allow_infinity=False)), max_size=6),
)
@settings(max_examples=500, deadline=None)
def test_whatever_labels_and_values_are_the_page_says_exactly_them_and_none_twice(
    form: Format, rows: list[tuple[str, str, float]], counts: list[tuple[str, float]]
) -> None:
    samples = [DISK.sample(value, mountpoint=mount, fstype=kind) for mount, kind, value in rows]
    samples += [LINES.sample(value, log=name) for name, value in counts]
    kept = vet(samples).samples

    assert parsed(whole(kept, form), form) == expected(kept)


@given(value=st.floats(allow_nan=False))
@settings(max_examples=2000, deadline=None)
def test_no_value_changes_on_its_way(value: float) -> None:
    page = render([UP.sample(value)], Format.TEXT)

    (read,) = parsed(page, Format.TEXT).values()
    assert read == value
    # A zero keeps no sign; everything else must.
    assert value == 0 or math.copysign(1, read) == math.copysign(1, value)


@given(
    buckets=st.lists(st.floats(1e-6, 1e12) | st.integers(1, 1 << 40), min_size=1, max_size=8, unique=True).map(sorted),
    seen=st.lists(st.tuples(st.sampled_from(["queue", "network"]), st.floats(0, 1e12)), max_size=20),
)
@settings(max_examples=300, deadline=None)
def test_a_histogram_is_one_by_the_parsers_own_rules(buckets: list[float], seen: list[tuple[str, float]]) -> None:
    """OpenMetrics' parser checks order, monotony, +Inf, count and sum."""
    metric = Metric("zcs_mail_delay_seconds", Kind.HISTOGRAM, "Delay.", ("stage",), buckets=tuple(buckets))
    histogram = Histogram(metric)
    for stage, value in seen:
        histogram.observe(value, stage)
    samples = tuple(histogram.samples())

    for form in Format:
        found = parsed(whole(samples, form), form)
        assert found == expected(samples)
        for stage in {stage for stage, _ in seen}:
            values = [value for name, value in seen if name == stage]
            assert found["zcs_mail_delay_seconds_count", (("stage", stage),)] == len(values)
            assert found["zcs_mail_delay_seconds_sum", (("stage", stage),)] == sum(values)
            counted = {
                float(dict(labels)["le"]): value
                for (name, labels), value in found.items()
                if name.endswith("_bucket") and ("stage", stage) in labels
            }
            bounds = [*map(float, buckets), float("inf")]
            assert counted == {bound: sum(value <= bound for value in values) for bound in bounds}


@pytest.mark.parametrize("form", Format)
def test_the_page_is_that_of_the_golden_file(form: Format) -> None:
    name = "metrics.txt" if form is Format.TEXT else "metrics.openmetrics.txt"

    assert Exposition().page(snapshot(), form).decode() == (GOLDEN / name).read_text(encoding="utf-8")


def test_a_snapshot_is_rendered_once() -> None:
    exposition, latest = Exposition(), snapshot()

    first = exposition.page(latest, Format.TEXT)

    assert exposition.page(latest, Format.TEXT) is first
    assert exposition.page(snapshot(), Format.TEXT) == first


def test_the_compressed_page_is_the_same_page() -> None:
    exposition, latest = Exposition(), snapshot()

    packed = exposition.page(latest, Format.OPENMETRICS, compressed=True)

    assert gzip.decompress(packed) == exposition.page(latest, Format.OPENMETRICS)
    assert packed is exposition.page(latest, Format.OPENMETRICS, compressed=True)


def test_a_selection_has_these_collectors_and_the_daemons_own_metrics() -> None:
    page = Exposition().selection(snapshot(), Format.TEXT, ["mysqld"])

    assert {name for name, _ in parsed(page, Format.TEXT)} == {
        "mysql_up",
        "mysql_global_status_threads_connected",
        "zcs_exporter_log_lines_total",
    }


def test_new_samples_of_one_collector_are_seen_beside_the_old_ones_of_another() -> None:
    exposition, latest = Exposition(), snapshot()
    exposition.page(latest, Format.TEXT)

    old = latest.readings["mysqld"]
    changed = Reading("mysqld", old.metrics, rounds=2, present=True, samples=(UP.sample(0),))
    page = exposition.page(latest.with_reading(changed), Format.TEXT)

    values = parsed(page, Format.TEXT)
    assert values["mysql_up", ()] == 0
    assert ("mysql_global_status_threads_connected", ()) not in values
    assert values["jvm_gc_collection_seconds_count", (("gc", "young"), ("jvm", "mailboxd"))] == 3


SERIES = st.sampled_from([*EXAMPLES, DISK.sample(1, mountpoint="/100%s %r %% full", fstype="xfs"), *delays()])
ROUNDS = st.lists(st.lists(st.tuples(SERIES, st.floats(allow_nan=False)), max_size=8), min_size=2, max_size=5)


@pytest.mark.parametrize("form", Format)
@given(rounds=ROUNDS)
@settings(max_examples=500, deadline=None)
def test_whatever_came_before_a_page_is_that_of_its_own_samples(
    form: Format, rounds: list[list[tuple[Sample, float]]]
) -> None:
    kept = Exposition()
    for number, found in enumerate([*rounds, rounds[-1]]):
        samples = vet(sample._replace(value=value) for sample, value in found).samples
        latest = Snapshot(number, 0.0, {"all": Reading("all", (), samples=samples)})

        page = kept.page(latest, form)

        assert page == Exposition().page(latest, form)
        assert page == whole(samples, form)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Format.TEXT),
        ("text/html,*/*;q=0.8", Format.TEXT),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            Format.OPENMETRICS,
        ),
    ],
)
def test_the_format_is_the_one_asked_for(accept: str, form: Format) -> None:
    assert negotiate(accept) is form
