"""Text from outside made safe to show: length-capped, one line, no control or direction marks."""

import unicodedata

MAX_LABEL = 128
"""Longest label value or evidence entry, in characters."""

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def one_line(text: str, limit: int = MAX_LABEL) -> str:
    """Return ``text`` without control, format and surrogate characters, at most ``limit`` long.

    Each unsafe character becomes ``?`` so that a reader sees that something was there.
    A text that was cut ends in three dots.
    """
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    kept = "".join("?" if unicodedata.category(char) in _UNSAFE else char for char in text[: limit + 1])
    return kept if len(kept) <= limit else kept[: limit - 3] + "..."
