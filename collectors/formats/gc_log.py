"""The garbage collector's log of a JVM: how long each collection stopped the program.

Two forms. The unified one (Java 9 and later), whose first decorator is the time::

    [2024-03-02T10:20:31.118+0100] GC(812) Pause Young (Normal) (G1 Evacuation Pause) 1843M->612M(4096M) 21.345ms

and that of Java 7 and 8 with CMS, G1 or the parallel collector, with or without a date::

    2017-03-02T10:20:31.118+0100: 812.345: [GC (Allocation Failure) ... 1843000K->1112000K(4089472K), 0.0715 secs]

Source: OpenJDK 17 with G1, Parallel, Serial, Z and Shenandoah (captured), and 8 with CMS (documented).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

YOUNG, MIXED, FULL, REMARK, OTHER = "young", "mixed", "full", "remark", "other"
PAUSES = (YOUNG, MIXED, FULL, REMARK, OTHER)

TO_SPACE_EXHAUSTED = "gc_to_space_exhausted"
CONCURRENT_MODE_FAILURE = "gc_concurrent_mode_failure"
PROMOTION_FAILED = "gc_promotion_failed"
TROUBLES = (TO_SPACE_EXHAUSTED, CONCURRENT_MODE_FAILURE, PROMOTION_FAILED)


class GcEvent(NamedTuple):
    """A pause, or a sign that memory was short.

    Attributes:
        start: Where the line stands in the block.
        stamp: Such as ``2024-03-02T10:20:31``; empty where the line has no date.
        offset: From UTC, such as ``+0100``.
        kind: Of ``PAUSES`` or ``TROUBLES``.
        seconds: How long the program stood still; None for a sign.
    """

    start: int
    stamp: bytes
    offset: bytes
    kind: str
    seconds: float | None


_DATE = rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)[.,]\d{3}([+-]\d{4})"
_UNIFIED = re.compile(
    rb"\n\[(?:" + _DATE + rb"|[^\]\n]{1,40})\](?:\[[^\]\n]{1,40}\]){0,6} GC\(\d{1,10}\) "
    rb"(?:(To-space exhausted)|Pause ([A-Z][A-Za-z]{2,12})([^\n]{0,200}?) (\d{1,9}\.\d{1,6})ms(?=\n))"
)
_NEEDLES = (b") Pause ", b") To-space exhausted")
_PAUSE = {b"Young": YOUNG, b"Full": FULL, b"Remark": REMARK}
_MIXED = b" (Mixed)"
_EVACUATION_FAILURE = b"(Evacuation Failure: "

# The last number of a line is the whole pause; those before are of its parts.
_CLASSIC = re.compile(
    rb"\n(?:(?:"
    + _DATE
    + rb": )?(?:\d{1,10}\.\d{3}: )?\[((?:Full )?GC)|( \(concurrent mode (?:failure|interrupted)\)))"
    rb"([^\n]{0,4000}), (\d{1,9}\.\d{2,9}) secs\](?: \[Times: [^\]\n]{1,100}\])? {0,4}(?=\n)"
)
# The pause may end on a later line, after words of the concurrent thread; its beginning tells this.
_PROMOTION = re.compile(rb"\n(?:" + _DATE + rb": )?(?:\d{1,10}\.\d{3}: )?\[GC[^\n]{0,400}?\(promotion failed\)")


def parse_gc(data: bytes) -> Iterator[GcEvent]:
    """Yield pauses and signs of short memory, in the order of the lines."""
    data = b"\n" + data
    found: list[GcEvent] = []
    if b"] GC(" in data:
        found += _parse_unified(data)
    if b" secs]" in data:
        found += _parse_classic(data)
    return iter(sorted(found, key=_place))


def _place(event: GcEvent) -> int:
    return event.start


def _parse_unified(data: bytes) -> Iterator[GcEvent]:
    # One line in fifteen tells of a pause: looking for its words takes a tenth of the time of matching each line.
    starts = sorted({data.rfind(b"\n", 0, place) for needle in _NEEDLES for place in _find_all(data, needle)})
    for start in starts:
        match = _UNIFIED.match(data, start)
        if match is None:
            continue
        stamp, offset, exhausted, pause, details, milliseconds = match.groups()
        place = start, stamp or b"", offset or b""
        if exhausted:
            yield GcEvent(*place, TO_SPACE_EXHAUSTED, None)
            continue
        kind = MIXED if pause == b"Young" and details.startswith(_MIXED) else _PAUSE.get(pause, OTHER)
        yield GcEvent(*place, kind, float(milliseconds) / 1000)
        if _EVACUATION_FAILURE in details:
            yield GcEvent(*place, TO_SPACE_EXHAUSTED, None)


def _find_all(data: bytes, needle: bytes) -> Iterator[int]:
    place = data.find(needle)
    while place >= 0:
        yield place
        place = data.find(needle, place + 1)


def _parse_classic(data: bytes) -> Iterator[GcEvent]:
    if b"(promotion failed)" in data:
        for match in _PROMOTION.finditer(data):
            stamp, offset = match.groups()
            yield GcEvent(match.start(), stamp or b"", offset or b"", PROMOTION_FAILED, None)
    for match in _CLASSIC.finditer(data):
        stamp, offset, opening, failure, details, seconds = match.groups()
        place = match.start(), stamp or b"", offset or b""
        failed = failure is not None or b"(concurrent mode failure)" in details
        if b"(to-space exhausted)" in details:
            yield GcEvent(*place, TO_SPACE_EXHAUSTED, None)
        if failed and b"interrupted" not in (failure or b""):
            yield GcEvent(*place, CONCURRENT_MODE_FAILURE, None)
        yield GcEvent(*place, _classic_kind(opening, details, failed), float(seconds))


def _classic_kind(opening: bytes | None, details: bytes, failed: bool) -> str:
    if failed or opening != b"GC":
        return FULL
    if b"CMS Final Remark" in details or b"[1 CMS-remark:" in details or details.startswith(b" remark"):
        return REMARK
    if b"CMS Initial Mark" in details or b"[1 CMS-initial-mark:" in details or details.startswith(b" cleanup"):
        return OTHER
    return MIXED if b" (mixed)" in details else YOUNG
