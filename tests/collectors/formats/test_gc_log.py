"""Pauses of every collector, in both forms, equal to a slow reading line by line."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.formats.gc_log import (
    CONCURRENT_MODE_FAILURE,
    FULL,
    MIXED,
    OTHER,
    PROMOTION_FAILED,
    REMARK,
    TO_SPACE_EXHAUSTED,
    YOUNG,
    GcEvent,
    parse_gc,
)

FIXTURES = Path(__file__).parents[2] / "fixtures" / "gc"
UNIFIED = sorted(FIXTURES.glob("openjdk-17-*.log"))


def slow_unified(data: bytes) -> list[tuple[str, float | None]]:
    """Read the unified form one line at a time, by its words."""
    found: list[tuple[str, float | None]] = []
    for line in data.split(b"\n"):
        if not line.startswith(b"[") or b"] GC(" not in line:
            continue
        words = line.partition(b"] GC(")[2].partition(b") ")[2]
        if words.startswith(b"To-space exhausted"):
            found.append((TO_SPACE_EXHAUSTED, None))
        elif words.startswith(b"Pause ") and words.endswith(b"ms"):
            seconds = float(words.rpartition(b" ")[2][:-2]) / 1000
            kind = {b"Young": YOUNG, b"Full": FULL, b"Remark": REMARK}.get(words.split()[1], OTHER)
            found.append((MIXED if words.startswith(b"Pause Young (Mixed)") else kind, seconds))
    return found


@pytest.mark.parametrize("file", UNIFIED, ids=lambda file: file.stem)
def test_the_unified_form_of_every_collector_is_read_as_slowly_by_line(file: Path) -> None:
    data = file.read_bytes()
    found = [(each.kind, each.seconds) for each in parse_gc(data)]
    assert len(found) > 5
    assert found == slow_unified(data)


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*.log")), ids=lambda file: file.stem)
def test_a_block_may_end_after_any_line(file: Path) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    whole = list(parse_gc(b"".join(lines)))
    for middle in range(0, len(lines), max(1, len(lines) // 40)):
        first, second = b"".join(lines[:middle]), b"".join(lines[middle:])
        moved = [each._replace(start=each.start + len(first)) for each in parse_gc(second)]
        assert sorted([*parse_gc(first), *moved], key=lambda each: each.start) == whole


def test_times_and_places_are_told() -> None:
    line = (
        b"[2024-03-02T10:20:31.118+0100] GC(812) Pause Young (Normal) (G1 Evacuation Pause) 1843M->612M(4096M) 21.345ms"
    )
    [event] = parse_gc(b"nothing\n" + line + b"\n")
    assert event == GcEvent(8, b"2024-03-02T10:20:31", b"+0100", YOUNG, pytest.approx(0.021345))
    [event] = parse_gc(b"[12.345s][info][gc] GC(8) Pause Full (G1 Compaction Pause) 4090M->3921M(4096M) 5321.120ms\n")
    assert (event.stamp, event.kind, event.seconds) == (b"", FULL, pytest.approx(5.32112))


def test_the_beginning_of_a_pause_is_no_pause() -> None:
    assert not list(parse_gc(b"[2024-03-02T10:20:31.118+0100] GC(812) Pause Young (Normal) (G1 Evacuation Pause)\n"))


def test_newer_releases_name_a_failed_evacuation_in_the_pause() -> None:
    line = b"[x] GC(8) Pause Young (Normal) (G1 Evacuation Pause) (Evacuation Failure: Allocation) 4M->4M(4M) 1.5ms\n"
    assert [each.kind for each in parse_gc(line)] == [YOUNG, TO_SPACE_EXHAUSTED]


def test_cms_is_read_with_its_failures_and_a_pause_split_in_two_is_one() -> None:
    events = list(parse_gc((FIXTURES / "openjdk-8-cms.log").read_bytes()))
    pauses = [(each.kind, each.seconds) for each in events if each.seconds is not None]
    assert pauses == [
        (YOUNG, 0.0715012),
        (OTHER, 0.0123456),
        (REMARK, 0.0912345),
        (FULL, 8.9129876),
        (FULL, 9.8112345),
        (FULL, 7.6012345),
    ]
    troubles = Counter(each.kind for each in events if each.seconds is None)
    assert troubles == {CONCURRENT_MODE_FAILURE: 2, PROMOTION_FAILED: 1}
    assert events[0].stamp == b"2017-03-02T10:20:31"


def test_java_7_without_dates_is_read() -> None:
    events = list(parse_gc((FIXTURES / "openjdk-7-cms-uptime.log").read_bytes()))
    assert [(each.kind, each.seconds, each.stamp) for each in events] == [(YOUNG, 0.071501, b""), (FULL, 1.811234, b"")]


def test_g1_of_java_8_is_read() -> None:
    data = (
        b"2017-03-02T10:20:31.118+0100: 8.345: [GC pause (G1 Evacuation Pause) (young), 0.0123456 secs]\n"
        b"9.345: [GC pause (G1 Evacuation Pause) (mixed) (to-space exhausted), 0.51 secs]\n"
        b"2017-03-02T10:20:33.118+0100: 9.445: [GC remark, 0.0023456 secs]\n"
    )
    found = [(each.kind, each.seconds) for each in parse_gc(data)]
    assert found == [(YOUNG, 0.0123456), (TO_SPACE_EXHAUSTED, None), (MIXED, 0.51), (REMARK, 0.0023456)]


GARBLED = st.lists(
    st.sampled_from([line for file in sorted(FIXTURES.glob("*.log")) for line in file.read_bytes().split(b"\n")[:80]])
    | st.binary(max_size=60).map(lambda text: text.replace(b"\n", b" "))
    | st.just(b"[x] GC(1) Pause Young (Mixed) " + b"(" * 300 + b" 1.0ms")
    | st.just(b"x [2024-03-02T10:20:31.118+0100] GC(8) Pause Full (forged) 1M->1M(1M) 9.5ms"),
    max_size=8,
).map(lambda lines: b"".join(line + b"\n" for line in lines))


@given(GARBLED)
@settings(max_examples=1500, deadline=None)
def test_any_lines_are_read_and_the_unified_ones_as_slowly_by_line(data: bytes) -> None:
    events = list(parse_gc(data))
    assert all(each.seconds is None or each.seconds >= 0 for each in events)
    strict = re.compile(
        rb"\[[^\]\n]{1,40}\] GC\(\d{1,10}\) (?:To-space|Pause [A-Z][A-Za-z]{2,12}.{0,200} \d+\.\d{1,6}ms$)"
    )
    lines = [line for line in data.split(b"\n") if strict.match(line)]
    unified = [(each.kind, each.seconds) for each in events if data[each.start : each.start + 1] == b"["]
    assert unified == slow_unified(b"\n".join(lines))


def test_a_line_of_64_kib_is_read_at_once() -> None:
    for line in (
        b"[x] GC(1) Pause Young " + b"(1.1ms" * 10000,
        b"1.123: [GC " + b", 1.12 secs" * 6000,
        b"] GC(" * 13000,
    ):
        assert not list(parse_gc(line + b"\n"))


def test_starts_rise() -> None:
    data = (FIXTURES / "openjdk-17-g1-exhausted.log").read_bytes()
    assert all(first.start <= second.start for first, second in pairwise(parse_gc(data)))
