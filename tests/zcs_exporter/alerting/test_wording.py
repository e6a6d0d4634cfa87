"""Values read the same here as in a Prometheus template."""

import pytest

from zcs_exporter.alerting.model import Unit
from zcs_exporter.alerting.wording import fill, format_value


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9, Unit.RATIO, "90%"),
        (0.98765, Unit.RATIO, "98.77%"),
        (1, Unit.RATIO, "100%"),
        (0, Unit.SECONDS, "0s"),
        (59.9, Unit.SECONDS, "59.9s"),
        (900, Unit.SECONDS, "15m 0s"),
        (7261, Unit.SECONDS, "2h 1m 1s"),
        (345600, Unit.SECONDS, "4d 0h 0m 0s"),
        (0.002, Unit.SECONDS, "2ms"),
        (5 << 30, Unit.BYTES, "5GiB"),
        (1536, Unit.BYTES, "1.5kiB"),
        (1, Unit.BYTES, "1B"),
        (1234567, Unit.COUNT, "1234567"),
        (float("nan"), Unit.RATIO, "nan"),
    ],
)
def test_a_value_is_written_for_people(value: float, unit: Unit, text: str) -> None:
    assert format_value(value, unit) == text


def test_an_unknown_placeholder_stays_and_no_format_trick_works() -> None:
    assert fill("{mountpoint} {nothing} {value}", {"mountpoint": "{value}"}, "91%") == "{value} {nothing} 91%"
