"""Snapshots made up for tests: samples by metric name, as if one collector had published them."""

from collections.abc import Mapping, Sequence

from zcs_exporter.contract import EvidenceItem, Kind, Metric, Reason, Sample
from zcs_exporter.snapshot import Failure, Reading, Snapshot

Series = tuple[str, Mapping[str, str], float]


def sample(name: str, labels: Mapping[str, str], value: float, evidence: Sequence[EvidenceItem] = ()) -> Sample:
    metric = Metric(name, Kind.GAUGE, "Made up.", labels=tuple(labels))
    return Sample(metric, tuple(labels.values()), value, evidence=tuple(evidence))


def reading(
    name: str,
    samples: Sequence[Sample],
    *,
    rounds: int = 2,
    declares: Sequence[str] = (),
    failing: Reason | None = None,
    log_fed: bool = False,
) -> Reading:
    metrics = {each.metric.name: each.metric for each in samples}
    metrics |= {each: Metric(each, Kind.GAUGE, "Made up.") for each in declares if each not in metrics}
    failure = None if failing is None else Failure(failing, "made up", "", 0.0)
    return Reading(
        name,
        tuple(metrics.values()),
        log_fed=log_fed,
        rounds=rounds,
        present=True,
        samples=tuple(samples),
        collected_at=0.0,
        failure=failure,
    )


def snapshot(at: float, *readings: Reading, own: Sequence[Sample] = ()) -> Snapshot:
    return Snapshot(1, at, {each.collector: each for each in readings}, tuple(own))
