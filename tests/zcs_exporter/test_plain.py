"""How values are written for people and programs."""

import pytest

from zcs_exporter.plain import plain_release


@pytest.mark.parametrize(
    ("version", "patch", "shown"),
    [
        ("8.8.15", "", "8.8.15"),
        ("9.0.0", "9.0.0_P39", "9.0.0 P39"),
        ("10.0.8", "10.0.0_P8", "10.0.8"),
        ("10.1.4", "10.1.4", "10.1.4"),
        ("10.1.4", "10.1.2", "10.1.4"),
        ("10.1.0", "x", "10.1.0 x"),
        ("", "", ""),
    ],
)
def test_a_release_is_called_as_people_call_it(version: str, patch: str, shown: str) -> None:
    assert plain_release(version, patch) == shown
