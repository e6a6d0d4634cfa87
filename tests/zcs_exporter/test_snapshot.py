"""What is fit to be published, round after round."""

import pytest

from zcs_exporter.contract import Kind, Metric, Sample
from zcs_exporter.snapshot import Vetting

USED = Metric("zcs_used_ratio", Kind.GAUGE, "Used.", labels=("mountpoint", "role"), max_series=3)
OTHER = Metric("zcs_other", Kind.GAUGE, "Other.")


def used(value: float, mountpoint: str = "/") -> Sample:
    return USED.sample(value, mountpoint=mountpoint, role="root")


def test_the_order_in_which_labels_are_named_does_not_matter() -> None:
    assert USED.sample(1, role="a", mountpoint="b").labels == ("b", "a")
    assert USED.sample(1, mountpoint="a", role="b").labels == ("a", "b")


@pytest.mark.parametrize(
    "labels", [{}, {"role": "a"}, {"role": "a", "mountpoint": "b", "more": "c"}, {"a": "", "b": ""}]
)
def test_other_labels_than_the_declared_ones_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(TypeError):
        USED.sample(1, **labels)


def test_each_round_is_vetted_though_its_series_are_those_of_the_last_one() -> None:
    vetting = Vetting([USED])

    assert vetting.vet([used(1), used(2, "/a")]).samples == (used(1), used(2, "/a"))
    assert vetting.vet([used(3), used(4, "/a")]).samples == (used(3), used(4, "/a"))
    assert vetting.vet([used(3), used(float("nan"), "/a")]).samples == (used(3),)
    assert vetting.vet([]).samples == ()


def test_what_was_left_out_once_is_left_out_each_time() -> None:
    vetting = Vetting([USED])
    for _ in range(3):
        doubled = vetting.vet([used(1), used(2)])
        assert (doubled.samples, doubled.doubled) == ((used(1),), {"zcs_used_ratio"})
    many = [used(1, str(number)) for number in range(5)]
    for _ in range(3):
        found = vetting.vet(many)
        assert (found.samples, dict(found.left_out)) == (tuple(many[:3]), {"zcs_used_ratio": many[3:]})


def test_only_declared_metrics_pass() -> None:
    vetting = Vetting([USED])
    vetting.vet([used(1)])

    with pytest.raises(TypeError, match="zcs_other"):
        vetting.vet([OTHER.sample(1)])
    assert Vetting().vet([OTHER.sample(1)]).samples == (OTHER.sample(1),)
