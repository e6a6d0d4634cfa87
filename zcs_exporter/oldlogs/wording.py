"""How times, names and long texts are shown at a terminal."""

import textwrap

from zcs_exporter.contract import EvidenceItem
from zcs_exporter.oldlogs.stamps import shown_time
from zcs_exporter.text import one_line


def shortened(text: str, width: int) -> str:
    """Return ``text`` on one line; of a long one the end, by which file names and labels differ."""
    safe = one_line(text, 4096)
    return safe if len(safe) <= width else "..." + safe[len(safe) - width + 3 :]


def wrapped(text: str, width: int, begin: str) -> list[str]:
    """Return ``text`` in safe lines of ``width`` columns, the first of which begins with ``begin``."""
    indent = " " * min(len(begin), 24)
    return textwrap.wrap(
        one_line(text, 4096),
        max(width, len(indent) + 40),
        initial_indent=begin,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def span(first: float | None, last: float | None) -> str:
    """Return from when to when; nothing where that is not known."""
    if first is None or last is None:
        return "" if first is None else shown_time(first)
    begin, end = shown_time(first), shown_time(last)
    return f"{begin} to {end[11:] if begin[:10] == end[:10] else end}"


def named(item: EvidenceItem) -> str:
    """Return who it was, and how often."""
    return item.value if item.count is None else f"{item.value} ({item.count:,.0f})"
