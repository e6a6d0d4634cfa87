"""The pauses of mailboxd as a histogram, whole after any restart."""

from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock
from log_feeder import Feeder

from collectors.formats.gc_log import PAUSES, TROUBLES, parse_gc
from collectors.logs.gc import FULL_COLLECTION, GcPart

LOG, OUTPUT = "/opt/zimbra/log/gc.log", "/opt/zimbra/log/zmmailboxd.out"
FIXTURES = Path(__file__).parents[2] / "fixtures" / "gc"
FULL = b"[2024-03-02T10:20:31.118+0100] GC(8) Pause Full (G1 Compaction Pause) 4090M->3921M(4096M) 5321.120ms"


@pytest.fixture
def feeder(host: FakeHost, manual: ManualClock) -> Feeder:
    return Feeder(GcPart, host, manual)


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*.log")), ids=lambda file: file.stem)
def test_every_pause_of_a_real_log_is_in_the_histogram(feeder: Feeder, file: Path) -> None:
    lines = file.read_bytes().splitlines()
    feeder.feed(LOG, *lines)
    events = list(parse_gc(file.read_bytes()))
    for kind in PAUSES:
        pauses = [each.seconds for each in events if each.kind == kind and each.seconds is not None]
        assert feeder.value("zcs_gc_pause_seconds_count", kind=kind) == (len(pauses) or None)
        assert feeder.value("zcs_gc_pause_seconds_sum", kind=kind) == (pytest.approx(sum(pauses)) if pauses else None)
    for kind in TROUBLES:
        assert feeder.signal(kind) == sum(each.kind == kind for each in events)
    assert feeder.signal(FULL_COLLECTION) == sum(each.kind == "full" for each in events)


def test_a_restart_after_any_line_loses_no_pause(host: FakeHost, manual: ManualClock) -> None:
    lines = (FIXTURES / "openjdk-17-g1-exhausted.log").read_bytes().splitlines()
    whole, split = Feeder(GcPart, host, manual).feed(LOG, *lines), Feeder(GcPart, host, manual)
    for start in range(0, len(lines), 7):
        split.feed(LOG, *lines[start : start + 7])
        split.restart()
    assert split.values() == {series: pytest.approx(value) for series, value in whole.values().items()}


def test_a_full_collection_is_told_with_its_time(feeder: Feeder) -> None:
    feeder.feed(LOG, b"noise", FULL)
    [record] = feeder.take()
    assert (record.kind, record.at, record.offset) == (FULL_COLLECTION, 1_709_371_231, 6)
    assert record.fields == {"component": "mailboxd"}


def test_an_impossible_time_is_the_present(feeder: Feeder, manual: ManualClock) -> None:
    feeder.feed(LOG, FULL.replace(b"-03-02T", b"-13-42T"), FULL.replace(b"+0100", b"+9999"))
    assert [each.at for each in feeder.take()] == [manual.now]


def test_the_output_of_mailboxd_is_read_for_releases_without_a_log(feeder: Feeder) -> None:
    feeder.feed(OUTPUT, *(FIXTURES / "openjdk-7-cms-uptime.log").read_bytes().splitlines())
    assert feeder.value("zcs_gc_pause_seconds_count", kind="full") == 1


def test_all_kinds_start_at_0_once_the_log_exists(feeder: Feeder) -> None:
    feeder.part.begin([OUTPUT])
    assert feeder.values() == {}
    feeder.part.begin([LOG])
    assert {kind: feeder.value("zcs_gc_pause_seconds_count", kind=kind) for kind in PAUSES} == dict.fromkeys(PAUSES, 0)
    assert set(feeder.values().values()) == {0}
