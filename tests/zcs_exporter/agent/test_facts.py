from hypothesis import given
from hypothesis import strategies as st
from snapshots import reading, sample, snapshot

from zcs_exporter.agent.facts import Facts

NAMES = ("device", "mountpoint")
LABELS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from("abc"))
SERIES = st.dictionaries(LABELS.map(lambda labels: tuple(sorted(labels.items()))), st.integers(0, 99).map(float))


@given(SERIES, st.lists(LABELS, min_size=1, max_size=3))
def test_a_total_is_the_sum_of_all_series_that_have_these_labels(
    series: dict[tuple[tuple[str, str], ...], float], asked: list[dict[str, str]]
) -> None:
    samples = [sample("zcs_made_up", dict(labels), value) for labels, value in series.items()]
    facts = Facts(snapshot(0.0, reading("made-up", samples)), [], [], "mail.example.com")

    for labels in asked:
        matching = [value for each, value in series.items() if labels.items() <= dict(each).items()]
        assert facts.total("zcs_made_up", **labels) == (sum(matching) if matching else None)
    assert facts.total("zcs_other") is None
