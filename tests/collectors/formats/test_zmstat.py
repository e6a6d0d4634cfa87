import math
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from fakes import FakeHost
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.formats.zmstat import (
    ACTIVITY,
    ZmstatFile,
    ZmstatRows,
    parse_zmstat_line,
    parse_zmstat_row,
    read_last_header,
)
from zcs_exporter.contract import CollectError, Reason

FIXTURES = Path(__file__).parents[2] / "fixtures" / "zmstat"
CMS = (FIXTURES / "zcs-8.0-mailboxd-cms.csv").read_text()
G1 = (FIXTURES / "zcs-10.0-mailboxd-g1.csv").read_text()
PATH = "/opt/zimbra/zmstat/mailboxd.csv"


def stamp(text: str) -> float:
    return datetime.strptime(text, "%m/%d/%Y %H:%M:%S").timestamp()


NOW = stamp("03/02/2024 10:20:40")


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A zone whose clock repeats and skips an hour."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def csv(host: FakeHost) -> ZmstatFile:
    return ZmstatFile(host, PATH)


def append(host: FakeHost, text: str) -> None:
    with (host.base / PATH.lstrip("/")).open("a") as file:
        file.write(text)


def test_a_real_row_is_read_by_column_name(host: FakeHost, csv: ZmstatFile) -> None:
    host.write(PATH, CMS)

    row = csv.newest(NOW)

    assert row is not None
    assert row.at == stamp("04/24/2013 00:23:23")
    assert row.number("lmtp_rcvd_bytes") == 6506
    assert row.number("imap_ms_avg") == 10.405797101449275
    assert row.number("gc_concurrentmarksweep_ms") == 103802
    assert row.number("heap_free") == 210855696
    assert row.number("no_such_column") is None
    assert row.number("timestamp") is None


def test_apostrophes_belong_to_a_name(host: FakeHost, csv: ZmstatFile) -> None:
    host.write(PATH, G1)

    row = csv.newest(NOW)

    assert row is not None
    assert row.number("mpool_codeheap_'non-nmethods'_used") == 1_400_000
    assert row.at == stamp("03/02/2024 10:21:03")


def test_a_comma_with_and_without_a_blank_separates() -> None:
    assert parse_zmstat_line("a, b,c ,, d\r") == ["a", "b", "c", "", "d"]


def test_an_empty_field_or_a_text_is_no_number_and_neither_is_infinity(host: FakeHost, csv: ZmstatFile) -> None:
    host.write(PATH, "timestamp,a,b,c,d,e,f\n03/02/2024 10:20:03,,text,NaN,1E999,1.5E-4,1_000\n")

    row = csv.newest(NOW)

    assert row is not None
    assert [row.number(column) for column in "abcdef"] == [None, None, None, None, 0.00015, None]


def test_a_line_that_is_still_being_written_is_not_read(host: FakeHost, csv: ZmstatFile) -> None:
    host.write(PATH, "timestamp,a,b\n03/02/2024 10:20:03,1,2\n03/02/2024 10:21:03,3,4")
    first = csv.newest(NOW)
    append(host, "5\n")
    second = csv.newest(NOW)

    assert first is not None
    assert second is not None
    assert [first.number("b"), second.number("b")] == [2, 45]


def test_a_header_in_the_middle_replaces_the_first(host: FakeHost, csv: ZmstatFile) -> None:
    host.write(PATH, "timestamp, a, b\n03/02/2024 10:20:03,1,2\ntimestamp, b, a, c\n03/02/2024 10:20:33,7,8,9\n")

    row = csv.newest(NOW)

    assert row is not None
    assert (row.number("a"), row.number("b"), row.number("c")) == (8, 7, 9)


def test_a_row_before_the_newest_header_does_not_count(host: FakeHost, csv: ZmstatFile) -> None:
    host.write(PATH, "timestamp,a\n03/02/2024 10:20:03,1\ntimestamp,b\n")

    assert csv.newest(NOW) is None


def test_only_a_header_is_no_sample_and_no_error(host: FakeHost, csv: ZmstatFile) -> None:
    host.write(PATH, CMS.splitlines(keepends=True)[0])

    assert csv.newest(NOW) is None


def test_a_row_with_other_columns_than_its_header_is_an_error_not_a_guess(host: FakeHost, csv: ZmstatFile) -> None:
    host.write(PATH, CMS + G1.splitlines(keepends=True)[1])

    with pytest.raises(CollectError, match=r"mailboxd\.csv: a row of 97 fields under a header of 91") as caught:
        csv.newest(NOW)

    assert caught.value.reason is Reason.PARSE


def test_a_row_without_a_time_is_an_error(host: FakeHost, csv: ZmstatFile) -> None:
    host.write(PATH, "timestamp,a\nyesterday,1\n")

    with pytest.raises(CollectError, match="'yesterday' is not a time"):
        csv.newest(NOW)


def test_after_rotation_the_new_file_is_read_from_its_beginning(host: FakeHost, csv: ZmstatFile) -> None:
    host.write(PATH, "timestamp,a,b\n03/02/2024 23:59:03,1,2\n")
    csv.newest(NOW)
    host.write(PATH, "timestamp,b\n03/03/2024 00:00:03,9\n03/03/2024 00:01:03,9\n")

    row = csv.newest(NOW)

    assert row is not None
    assert (row.number("a"), row.number("b")) == (None, 9)


def test_a_file_that_became_shorter_is_read_again(host: FakeHost, csv: ZmstatFile) -> None:
    target = host.write(PATH, CMS)
    csv.newest(NOW)
    target.write_text("timestamp,a\n03/02/2024 10:20:03,5\n")

    row = csv.newest(NOW)

    assert row is not None
    assert row.number("a") == 5


def test_a_file_that_nobody_rotates_is_refused_and_not_read_for_minutes(host: FakeHost, csv: ZmstatFile) -> None:
    path = host.write(csv.path, "timestamp,a\n")
    os.truncate(path, 10 << 30)

    with pytest.raises(CollectError, match="too many") as caught:
        csv.newest(NOW)
    assert caught.value.reason is Reason.UNAVAILABLE


def test_no_file_is_an_error_that_names_it(csv: ZmstatFile) -> None:
    with pytest.raises(CollectError, match=r"reading /opt/zimbra/zmstat/mailboxd\.csv: No such file"):
        csv.newest(NOW)


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("now", [1_729_988_400 + 120, 1_729_992_000 + 120])
def test_in_the_repeated_hour_the_nearer_time_is_meant(now: int) -> None:
    # 02:21 of 27 October 2024 is 00:21 UTC in summer time and 01:21 UTC in winter time.
    row = parse_zmstat_row(["timestamp"], ["10/27/2024 02:21:00"], now)

    assert abs(row.at - now) <= 1800


@settings(max_examples=2_000, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=3), st.lists(st.text(max_size=10), max_size=2))
def test_any_row_gives_a_sample_or_an_error(header: list[str], fields: list[str]) -> None:
    try:
        row = parse_zmstat_row(header, [*["03/02/2024 10:20:03"], *fields], NOW)
    except CollectError as exc:
        assert exc.reason is Reason.PARSE  # noqa: PT017
    else:
        assert all(number is None or math.isfinite(number) for number in map(row.number, header))


@settings(max_examples=2_000, deadline=None)
@given(st.text(alphabet="0123456789/: \u0661-", max_size=22))
def test_any_time_gives_a_sample_or_an_error(text: str) -> None:
    try:
        parse_zmstat_row(["timestamp"], [text], NOW)
    except CollectError as exc:
        assert exc.reason is Reason.PARSE  # noqa: PT017


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12))
def test_it_does_not_matter_in_which_pieces_a_file_arrives(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    host = FakeHost(tmp_path_factory.mktemp("pieces"))
    text = "timestamp,a\n03/02/2024 10:20:03,1\n\ntimestamp,b,a\n03/02/2024 10:20:33,2,3\n03/02/2024 10:21:03,4,5\n"
    host.write(PATH, "")
    csv = ZmstatFile(host, PATH)
    start = 0
    for cut in sorted({*cuts, len(text)}):
        append(host, text[start:cut])
        start = max(start, min(cut, len(text)))
        csv.newest(NOW)

    row = csv.newest(NOW)

    assert row is not None
    assert (row.number("a"), row.number("b")) == (5, 4)


# Every row of a file that is followed


def rows(*blocks: str, reader: ZmstatRows | None = None) -> tuple[list[dict[str, str]], int]:
    """Return the rows by column, and how many were skipped."""
    reader = reader or ZmstatRows()
    found = [
        dict(zip(header, fields, strict=True)) for block in blocks for header, fields in reader.read(block.encode())
    ]
    return found, reader.skipped


def test_a_header_in_the_middle_of_a_block_names_the_rows_after_it() -> None:
    found, skipped = rows(
        "timestamp, a, b\n03/02/2024 10:20:03, 1, 2\n", "timestamp, b, a\n03/02/2024 10:20:33, 1, 2\n"
    )

    assert [(row["a"], row["b"]) for row in found] == [("1", "2"), ("2", "1")]
    assert skipped == 0


def test_values_without_blanks_fit_a_header_with_them_as_in_mysql_csv() -> None:
    found, _ = rows("timestamp, Aborted_clients, Ssl_cipher\n03/02/2024 10:20:03,0,\n")

    assert found == [{"timestamp": "03/02/2024 10:20:03", "Aborted_clients": "0", "Ssl_cipher": ""}]


def test_rows_that_do_not_fit_are_skipped_and_counted() -> None:
    found, skipped = rows(
        "03/02/2024 10:20:03,1\ntimestamp,a\n03/02/2024 10:20:03,1,2\n03/02/2024 10:21:03\n\n \n03/02/2024 10:22:03,3\n"
    )

    assert [row["a"] for row in found] == ["3"]
    assert skipped == 3


def test_the_rows_of_two_writers_keep_their_own_columns() -> None:
    found, skipped = rows(
        ",".join(ACTIVITY) + "\ntimestamp, add_ops, bind_ops, rest\n03/02/2024 10:20:00, , , \n"
        "03/02/2024 10:20:07,GET_CONN,14,0\n03/02/2024 10:20:30, 0, 4, 1\n",
        reader=ZmstatRows(shared=True),
    )

    assert [row.get("command", row.get("bind_ops")) for row in found] == ["", "GET_CONN", "4"]
    assert skipped == 0


def test_what_is_read_next_in_a_file_has_its_last_header(host: FakeHost) -> None:
    host.write(PATH, "timestamp,a\n03/02/2024 10:20:03,1\ntimestamp, b, c\n03/02/2024 10:20:33,1,2\ntimesta")

    assert read_last_header(host, PATH) == ("timestamp", "b", "c")


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=30), st.sampled_from(["timestamp,a,b", "03/02/2024 10:20:03,1,2"]))))
def test_any_text_gives_rows_that_fit_and_skips_the_rest(lines: list[str]) -> None:
    reader = ZmstatRows()
    for header, fields in reader.read("\n".join(lines).encode("utf-8", "replace")):
        assert len(header) == len(fields)
        assert header[0] == "timestamp"
