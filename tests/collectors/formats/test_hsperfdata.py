import os
import struct
from pathlib import Path

import pytest
from fakes import FakeHost
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.formats.hsperfdata import LARGEST, PerfFile, open_perf_files, parse_hsperfdata
from zcs_exporter.contract import CollectError, Reason

FIXTURES = Path(__file__).parents[2] / "fixtures" / "hsperfdata"
GCS = ("serial", "parallel", "g1", "z", "shenandoah")
REAL = {gc: (FIXTURES / f"openjdk-17-{gc}.bin").read_bytes() for gc in GCS}
SERIAL = REAL["serial"]
PID = 4711


def big_endian(name: str, value: int) -> bytes:
    """Return the file of a JVM with one counter on a machine of the other byte order."""
    text = name.encode() + b"\0"
    value_at = 20 + (len(text) + 7) // 8 * 8
    entry = struct.pack(">iii4si", value_at + 8, 20, 0, b"J\1\1\2", value_at)
    entry = (entry + text).ljust(value_at, b"\0") + struct.pack(">q", value)
    return b"\xca\xfe\xc0\xc0\0\2\0\1" + struct.pack(">iiqii", 32 + len(entry), 0, 7, 32, 1) + entry


def opened(host: FakeHost, uid: int | None = None) -> list[str]:
    paths = []
    for file in open_perf_files(host, PID, os.geteuid() if uid is None else uid):
        paths.append(file.path)
        file.close()
    return paths


@pytest.mark.parametrize("gc", GCS)
def test_numbers_and_texts_of_a_real_jvm_are_found_by_name(gc: str) -> None:
    perf = parse_hsperfdata(REAL[gc])

    assert perf.number("sun.os.hrt.frequency") == 1_000_000_000
    assert perf.number("java.threads.live") == 6
    assert perf.text("java.property.java.vm.version") == "17.0.21.1+2-1-deb12u1-Debian"
    assert perf.seconds("sun.rt.safepointTime") == pytest.approx(perf.number("sun.rt.safepointTime") / 1e9)
    assert perf.layout.overflow == 0


def test_a_counter_that_a_jvm_does_not_have_is_none() -> None:
    perf = parse_hsperfdata(SERIAL)

    assert perf.number("sun.gc.collector.2.time") is None
    assert perf.seconds("sun.gc.collector.2.time") is None
    assert perf.text("java.threads.live") is None


def test_the_byte_order_is_the_files_own() -> None:
    assert parse_hsperfdata(big_endian("java.threads.live", 42)).number("java.threads.live") == 42


def test_a_second_reading_with_new_values_keeps_the_layout() -> None:
    first = parse_hsperfdata(SERIAL)
    changed = bytearray(SERIAL)
    struct.pack_into("<q", changed, first.layout.numbers["java.threads.live"], 77)

    second = parse_hsperfdata(bytes(changed), first.layout)

    assert second.layout is first.layout
    assert second.number("java.threads.live") == 77


def test_an_added_entry_means_a_new_layout() -> None:
    first = parse_hsperfdata(SERIAL)
    changed = bytearray(SERIAL)
    struct.pack_into("<q", changed, 16, 1)

    assert parse_hsperfdata(bytes(changed), first.layout).layout is not first.layout


def test_a_file_cut_short_since_the_first_reading_is_an_error() -> None:
    with pytest.raises(CollectError, match="bytes used from 32") as caught:
        parse_hsperfdata(SERIAL[:4096], parse_hsperfdata(SERIAL).layout)

    assert caught.value.reason is Reason.PARSE


def test_a_jvm_that_is_still_setting_up_is_unavailable() -> None:
    with pytest.raises(CollectError, match="still setting it up") as caught:
        parse_hsperfdata(SERIAL[:7] + b"\0" + SERIAL[8:])

    assert caught.value.reason is Reason.UNAVAILABLE


@pytest.mark.parametrize(
    ("at", "form", "value", "complaint"),
    [
        (0, "B", 0xCB, "magic"),
        (4, "B", 2, "byte order 2"),
        (5, "B", 3, r"version 3\.0"),
        (8, "<i", 1 << 20, "1048576 bytes used"),
        (8, "<i", -1, "-1 bytes used"),
        (24, "<i", -20, "used from -20"),
        (24, "<i", 31, "used from 31"),
    ],
)
def test_a_header_that_makes_no_sense_is_an_error(at: int, form: str, value: int, complaint: str) -> None:
    changed = bytearray(SERIAL)
    struct.pack_into(form, changed, at, value)

    with pytest.raises(CollectError, match=complaint) as caught:
        parse_hsperfdata(bytes(changed))

    assert caught.value.reason is Reason.PARSE


@pytest.mark.parametrize(
    ("at", "value"), [(0, 0), (0, -8), (0, 1 << 30), (4, -1), (4, 4000), (8, -1), (16, 4), (16, 4000)]
)
def test_an_entry_that_reaches_outside_itself_is_named(at: int, value: int) -> None:
    changed = bytearray(SERIAL)
    struct.pack_into("<i", changed, 32 + at, value)

    with pytest.raises(CollectError, match="entry 0 of 182"):
        parse_hsperfdata(bytes(changed))


def test_more_entries_promised_than_there_are_is_an_error() -> None:
    changed = bytearray(SERIAL)
    struct.pack_into("<i", changed, 28, 1 << 30)

    with pytest.raises(CollectError, match="entry 182 of"):
        parse_hsperfdata(bytes(changed))


def test_no_tick_length_is_an_error_not_a_division_by_zero() -> None:
    changed = bytearray(SERIAL)
    struct.pack_into("<q", changed, parse_hsperfdata(SERIAL).layout.numbers["sun.os.hrt.frequency"], 0)

    with pytest.raises(CollectError, match="frequency is 0"):
        parse_hsperfdata(bytes(changed)).seconds("sun.rt.safepointTime")


def read_all(data: bytes) -> None:
    perf = parse_hsperfdata(data)
    for name in perf.names:
        assert isinstance(perf.number(name), int)
        perf.seconds(name)
    for name in perf.layout.texts:
        assert isinstance(perf.text(name), str)


@settings(max_examples=2_000, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_after_a_good_header_give_counters_or_an_error(data: bytes) -> None:
    try:
        read_all(SERIAL[:32] + data)
        read_all(b"\xca\xfe\xc0\xc0\0\2\0\1" + struct.pack(">iiqii", 32 + len(data), 0, 7, 32, 3) + data)
    except CollectError as exc:
        assert exc.reason is Reason.PARSE  # noqa: PT017


@settings(max_examples=2_000, deadline=None)
@given(
    st.sampled_from(GCS),
    st.lists(st.tuples(st.integers(0, 14_000), st.integers(0, 255)), min_size=1, max_size=40),
    st.integers(0, 40_000),
)
def test_a_real_file_with_wrong_bytes_gives_counters_or_an_error(
    gc: str, changes: list[tuple[int, int]], length: int
) -> None:
    changed = bytearray(REAL[gc])
    for at, value in changes:
        changed[at] = value
    try:
        read_all(bytes(changed[:length]))
        read_all(bytes(changed))
    except CollectError as exc:
        assert exc.reason in (Reason.PARSE, Reason.UNAVAILABLE)  # noqa: PT017


def test_the_file_of_a_process_is_found_under_any_user_root_first(host: FakeHost) -> None:
    for user in ("someone", "zimbra", "root"):
        host.write(f"/tmp/hsperfdata_{user}/{PID}", SERIAL, 0o600)
    host.write("/tmp/other/4711", SERIAL)

    assert opened(host) == [f"/tmp/hsperfdata_{user}/{PID}" for user in ("root", "zimbra", "someone")]


def test_nothing_is_found_where_there_is_nothing(host: FakeHost) -> None:
    host.write("/tmp/hsperfdata_root/1", SERIAL)

    assert opened(host) == []


def test_a_link_is_not_followed_be_it_the_file_or_its_directory(host: FakeHost) -> None:
    real = host.write("/elsewhere/4711", SERIAL)
    (host.base / "tmp/hsperfdata_root").mkdir(parents=True)
    (host.base / "tmp/hsperfdata_root/4711").symlink_to(real)
    (host.base / "tmp/hsperfdata_zimbra").symlink_to(real.parent)

    assert opened(host) == []


def test_a_second_name_of_a_file_is_refused(host: FakeHost) -> None:
    real = host.write("/tmp/hsperfdata_root/4711", SERIAL)
    os.link(real, host.base / "tmp/second")

    assert opened(host) == []


@pytest.mark.parametrize("size", [100, LARGEST + 1])
def test_a_file_of_an_unlikely_size_is_refused(host: FakeHost, size: int) -> None:
    host.write("/tmp/hsperfdata_root/4711", bytes(size))

    assert opened(host) == []


def test_a_fifo_or_a_directory_is_refused_and_does_not_block(host: FakeHost) -> None:
    (host.base / "tmp/hsperfdata_root").mkdir(parents=True)
    os.mkfifo(host.base / "tmp/hsperfdata_root/4711")
    (host.base / "tmp/hsperfdata_zimbra/4711").mkdir(parents=True)

    assert opened(host) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(("file", "directory", "found"), [(0, 0, 1), (1000, 1000, 1), (0, 1001, 0), (1001, 0, 0)])
def test_only_root_and_the_owner_of_the_process_are_believed(
    host: FakeHost, file: int, directory: int, found: int
) -> None:
    path = host.write("/tmp/hsperfdata_zimbra/4711", SERIAL)
    os.chown(path, file, file)
    os.chown(path.parent, directory, directory)

    assert len(opened(host, uid=1000)) == found


def test_counters_that_a_jvm_adds_between_two_readings_are_seen(host: FakeHost) -> None:
    whole = parse_hsperfdata(SERIAL)
    last = max(whole.layout.numbers, key=lambda name: whole.layout.numbers[name])
    used, count = struct.unpack_from("<i", SERIAL, 8)[0], struct.unpack_from("<i", SERIAL, 28)[0]
    at = 32
    for _ in range(count - 1):
        at += struct.unpack_from("<i", SERIAL, at)[0]
    before = bytearray(SERIAL)
    struct.pack_into("<i", before, 8, at)
    struct.pack_into("<i", before, 28, count - 1)
    before[at:used] = bytes(used - at)
    path = host.write("/tmp/hsperfdata_root/4711", bytes(before))
    file = next(open_perf_files(host, PID, os.geteuid()))

    assert file.read().number(last) is None
    with path.open("r+b") as writing:
        writing.write(SERIAL)

    assert file.read().number(last) == whole.number(last) is not None
    assert all(file.read().number(name) == whole.number(name) for name in whole.names)
    file.close()


def test_a_deleted_file_is_read_on(host: FakeHost) -> None:
    path = host.write("/tmp/hsperfdata_root/4711", SERIAL)
    file = next(open_perf_files(host, PID, os.geteuid()))
    path.unlink()

    assert file.read().number("java.threads.live") == 6
    file.close()


def test_a_file_that_nobody_has_any_more_is_closed(host: FakeHost) -> None:
    """A reload makes new collectors and forgets the former ones with what they hold."""
    host.write("/tmp/hsperfdata_root/4711", SERIAL)
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        next(open_perf_files(host, PID, os.geteuid())).read()

    assert sorted(os.listdir("/proc/self/fd")) == before


def test_an_error_names_the_file(host: FakeHost) -> None:
    path = host.write("/tmp/hsperfdata_root/4711", SERIAL)
    file: PerfFile = next(open_perf_files(host, PID, os.geteuid()))
    file.read()
    os.truncate(path, 1000)

    with pytest.raises(CollectError, match="/tmp/hsperfdata_root/4711: hsperfdata: "):
        file.read()
    file.close()
    file.close()


def test_a_missing_tmp_is_an_error(host: FakeHost) -> None:
    with pytest.raises(CollectError, match="listing /tmp"):
        opened(host)
