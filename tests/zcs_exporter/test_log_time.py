from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.log_time import LogTime

BERLIN = ZoneInfo("Europe/Berlin")
MARCH = datetime(2024, 3, 2, 9, 20, 33, tzinfo=UTC).timestamp()


def utc(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]


def test_a_local_stamp_is_read_in_the_zone_of_the_host() -> None:
    assert LogTime(BERLIN).local(b"2024-03-02 10:20:33", MARCH) == utc(2024, 3, 2, 9, 20, 33)
    assert LogTime(UTC).local(b"2024/03/02 10:20:33", MARCH) == utc(2024, 3, 2, 10, 20, 33)


def test_without_a_zone_that_of_the_process_is_taken() -> None:
    expected = int(datetime(2024, 3, 2, 10, 20, 33).timestamp())
    assert LogTime().local(b"2024-03-02 10:20:33", MARCH) == expected


def test_a_skipped_hour_goes_forward() -> None:
    assert LogTime(BERLIN).local(b"2024-03-31 02:30:00", MARCH) == utc(2024, 3, 31, 1, 30)


def test_a_repeated_hour_takes_the_fold_nearest_the_line_before() -> None:
    clock = LogTime(BERLIN)
    now = float(utc(2024, 10, 27, 12))
    shown = (b"01:59:59", b"02:20:00", b"02:59:59", b"02:00:00", b"02:20:00", b"02:45:00", b"03:00:00")
    times = [clock.local(b"2024-10-27 " + stamp, now) for stamp in shown]
    assert times == [
        utc(2024, 10, 26, 23, 59, 59),
        utc(2024, 10, 27, 0, 20, 0),
        utc(2024, 10, 27, 0, 59, 59),
        utc(2024, 10, 27, 1, 0, 0),
        utc(2024, 10, 27, 1, 20, 0),
        utc(2024, 10, 27, 1, 45, 0),
        utc(2024, 10, 27, 2, 0, 0),
    ]


def test_the_first_line_in_a_repeated_hour_is_the_one_nearest_now() -> None:
    assert LogTime(BERLIN).local(b"2024-10-27 02:30:00", utc(2024, 10, 27, 1, 30, 5)) == utc(2024, 10, 27, 1, 30)
    assert LogTime(BERLIN).local(b"2024-10-27 02:30:00", utc(2024, 10, 27, 0, 30, 5)) == utc(2024, 10, 27, 0, 30)


def test_a_stamp_without_a_year_is_never_over_a_day_ahead() -> None:
    new_year = utc(2024, 1, 1, 0, 0, 5)
    assert LogTime(UTC).yearless(b"Dec 31 23:59:58", new_year) == utc(2023, 12, 31, 23, 59, 58)
    assert LogTime(UTC).yearless(b"Jan  1 00:00:04", new_year) == utc(2024, 1, 1, 0, 0, 4)
    # A writer whose clock is ahead.
    assert LogTime(UTC).yearless(b"Jan  1 00:00:04", utc(2023, 12, 31, 23, 59)) == utc(2024, 1, 1, 0, 0, 4)
    assert LogTime(UTC).yearless(b"Jan  3 00:00:00", utc(2024, 1, 1)) == utc(2023, 1, 3)


def test_the_29th_of_february_is_of_the_last_leap_year() -> None:
    assert LogTime(UTC).yearless(b"Feb 29 12:00:00", utc(2023, 3, 1)) == utc(2020, 2, 29, 12)


def test_an_offset_in_the_stamp_wins_over_the_zone() -> None:
    clock = LogTime(BERLIN)
    assert clock.offset(b"2024-03-02T10:20:33", b"-05:30", MARCH) == utc(2024, 3, 2, 15, 50, 33)
    assert clock.offset(b"2024-03-02T10:20:33", b"Z", MARCH) == utc(2024, 3, 2, 10, 20, 33)


def test_what_is_no_time_is_none() -> None:
    clock = LogTime(UTC)
    for stamp in (b"2024-02-30 10:00:00", b"2024-13-01 10:00:00", b"2024-01-01 24:00:00", b"0000-01-01 00:00:00"):
        assert clock.local(stamp, MARCH) is None
    assert clock.local(b"2024-01-01 10:00:61", MARCH) is None
    assert clock.local(b"2024-01-01 10:60:00", MARCH) is None
    assert clock.local(b"2024-01-01 10:-1:00", MARCH) is None
    assert clock.yearless(b"Foo 10 10:00:00", MARCH) is None
    assert clock.offset(b"2024-01-01T10:00:00", b"+99:00", MARCH) is None


def test_steady_tells_whether_an_hour_is_in_doubt() -> None:
    clock = LogTime(BERLIN)
    assert clock.steady(utc(2024, 3, 2), utc(2024, 3, 3))
    assert not clock.steady(utc(2024, 10, 27, 0, 30), utc(2024, 10, 27, 0, 31))
    assert not clock.steady(utc(2024, 3, 30), utc(2024, 4, 1))


@given(st.integers(min_value=utc(1990, 1, 1), max_value=utc(2037, 1, 1)), st.integers(0, 300))
@settings(max_examples=2_000, deadline=None)
def test_every_moment_comes_back_from_its_stamp(moment: int, step: int) -> None:
    clock = LogTime(BERLIN)
    for at in (moment, moment + step):
        shown = datetime.fromtimestamp(at, BERLIN)
        # With the line before close by, even the repeated hour is told apart.
        assert clock.local(shown.strftime("%Y-%m-%d %H:%M:%S").encode(), at) == at
        assert (
            LogTime(UTC).yearless(
                datetime.fromtimestamp(at, UTC).strftime("%b %e %H:%M:%S").encode(), at + 86400.0 * 100
            )
            == at
        )


@given(
    st.sampled_from(("Europe/Berlin", "Asia/Gaza", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca")),
    st.integers(min_value=utc(1990, 1, 1), max_value=utc(2037, 1, 1)),
    st.lists(st.integers(-180, 180), min_size=1),
)
@settings(max_examples=500, deadline=None)
def test_whichever_minutes_were_read_before_a_stamp_is_read_as_alone(
    name: str, moment: int, minutes: list[int]
) -> None:
    zone = ZoneInfo(name)
    # Near a change of the zone, where there is one within half a year.
    hours = range(moment, moment + 183 * 86400, 3600)
    moment = next((at for at in hours if _offset(at, zone) != _offset(at + 3600, zone)), moment)
    kept = LogTime(zone)
    for each in minutes:
        shown = datetime.fromtimestamp(moment, zone).replace(tzinfo=None) + timedelta(minutes=each)
        alone = LogTime(zone)
        alone.previous = kept.previous
        stamp = shown.strftime("%Y-%m-%d %H:%M:%S").encode()
        found = kept.local(stamp, moment)
        first, again = (int(shown.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1))
        assert found == alone.local(stamp, moment)
        assert found in ((first, again) if first < again else (first,))


def _offset(at: int, zone: ZoneInfo) -> object:
    return datetime.fromtimestamp(at, zone).utcoffset()
