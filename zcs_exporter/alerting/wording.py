"""Values and texts of alerts as people read them, the same here and in a Prometheus template.

The formats are those of Prometheus' template functions ``humanizePercentage``, ``humanizeDuration`` and
``humanize1024``, so that both engines write the same words.
"""

import math
from collections.abc import Mapping

from zcs_exporter.alerting.model import Unit

TEMPLATES: Mapping[Unit, str] = {
    Unit.RATIO: "{{ $value | humanizePercentage }}",
    Unit.SECONDS: "{{ $value | humanizeDuration }}",
    Unit.BYTES: "{{ $value | humanize1024 }}B",
    Unit.COUNT: '{{ $value | printf "%.0f" }}',
}
"""Prometheus' template for ``{value}``, by unit."""


def format_value(value: float, unit: Unit) -> str:
    """Return ``value`` as people read it, such as ``91%``, ``2h 5m 0s``, ``4.2GiB`` or ``1200``."""
    if not math.isfinite(value):
        return str(value)
    if unit is Unit.RATIO:
        return f"{_four_digits(value * 100)}%"
    if unit is Unit.SECONDS:
        return _humanize_duration(value)
    if unit is Unit.BYTES:
        return f"{_humanize_1024(value)}B"
    return f"{value:.0f}"


def fill(template: str, labels: Mapping[str, str], value: str = "", host: str = "") -> str:
    """Return ``template`` with ``{label}``, ``{value}`` and ``{host}`` replaced; unknown names stay as they are."""
    return template.format_map(_Lenient({**labels, "value": value, "host": host}))


class _Lenient(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def _four_digits(value: float) -> str:
    """Go's ``%.4g``: as Python's, but with at least two digits in an exponent, which Python has too."""
    return f"{value:.4g}"


def _humanize_duration(value: float) -> str:
    if value == 0:
        return "0s"
    if abs(value) >= 1:
        sign, rest = ("-" if value < 0 else ""), int(abs(value))
        days, rest = divmod(rest, 86400)
        hours, rest = divmod(rest, 3600)
        minutes, seconds = divmod(rest, 60)
        if days:
            return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
        if hours:
            return f"{sign}{hours}h {minutes}m {seconds}s"
        if minutes:
            return f"{sign}{minutes}m {seconds}s"
        return f"{sign}{_four_digits(abs(value))}s"
    prefix = ""
    for letter in ("m", "u", "n", "p", "f", "a", "z", "y"):
        if abs(value) >= 1:
            break
        prefix, value = letter, value * 1000
    return f"{_four_digits(value)}{prefix}s"


def _humanize_1024(value: float) -> str:
    if abs(value) <= 1:
        return _four_digits(value)
    prefix = ""
    for letters in ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"):
        if abs(value) < 1024:
            break
        prefix, value = letters, value / 1024
    return f"{_four_digits(value)}{prefix}"
