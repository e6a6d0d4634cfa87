"""Cuts what was read of a log into whole lines."""

from dataclasses import dataclass

MAX_LINE = 1 << 16
"""Longest line that is delivered whole, in bytes without its newline."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What a stretch of a log gives.

    Attributes:
        lines: Whole lines, none longer than allowed.
        start: Where the first of them starts in the stretch.
        consumed: Bytes of the stretch that need not be read again.
        skipping: Whether the next stretch starts in an overlong line already delivered.
    """

    lines: bytes
    start: int
    consumed: int
    skipping: bool


def cut_lines(stretch: bytes, skipping: bool, max_line: int) -> Cut:
    """Cut a stretch of a log into lines of at most ``max_line`` bytes.

    An unfinished last line is left for later, unless it is already too long: then its beginning
    is delivered, and its rest skipped wherever it ends.

    Args:
        stretch: Bytes from the end of the last stretch consumed.
        skipping: The last stretch's ``skipping``.
        max_line: Without the newline.
    """
    start = 0
    if skipping:
        start = stretch.find(b"\n") + 1
        if not start:
            return Cut(b"", len(stretch), len(stretch), True)
    end = stretch.rfind(b"\n") + 1
    lines = _shorten(stretch[start:end], max_line)
    if len(stretch) - end <= max_line:
        return Cut(lines, start, end, False)
    return Cut(lines + stretch[end : end + max_line] + b"\n", start, len(stretch), True)


def _shorten(lines: bytes, max_line: int) -> bytes:
    kept: list[bytes] = []
    copied = at = 0
    while len(lines) - at > max_line + 1:
        newline = lines.rfind(b"\n", at, at + max_line + 1)
        if newline < 0:
            kept.append(lines[copied : at + max_line])
            copied = newline = lines.index(b"\n", at + max_line)
        at = newline + 1
    return b"".join([*kept, lines[copied:]]) if kept else lines
