"""Durations as people write them: ``15s``, ``10m``, ``24h``, ``7d``."""

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(text: str) -> float:
    """Return the seconds in ``text``, such as ``90s`` or ``1h30m``.

    Raises:
        ValueError: It is not a duration; the message shows the form.
    """
    if not re.fullmatch(f"(?:{_PART.pattern})+", text):
        raise ValueError(f"{text!r} is not a duration; write it like 15s, 10m, 24h or 7d")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def format_duration(seconds: float) -> str:
    """Return ``seconds`` with its two largest units, such as ``2h5m``; fractions below a second are kept."""
    if seconds < 1:
        return f"{seconds:g}s"
    rest = round(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def format_wait(seconds: float) -> str:
    """Return when something comes that is so far off, such as ``in 4m``; what is due is judged at the next look."""
    return f"in {format_duration(round(seconds))}" if seconds >= 1 else "at the next look"
