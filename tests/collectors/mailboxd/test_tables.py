import json
import math
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.formats.zmstat import ACTIVITY
from collectors.mailboxd.commands import COMMANDS, OTHER, command_label
from collectors.mailboxd.tables import PLANS, Table

FIXTURES = Path(__file__).parents[2] / "fixtures" / "zmstat"
CMS = (FIXTURES / "zcs-8.0-mailboxd-cms.csv").read_bytes()
G1 = (FIXTURES / "zcs-10.0-mailboxd-g1.csv").read_bytes()
LDAP = (FIXTURES / "zcs-10.0-ldap-two-writers.csv").read_bytes()
SOAP = (FIXTURES / "zcs-10.0-soap.csv").read_bytes()

Series = dict[str, float]


def series(table: Table) -> Series:
    """Return every sample of a table by name and labels, without the beginning that all names share."""
    return {
        ",".join([sample.metric.name.removeprefix("zcs_mailboxd_") + sample.suffix, *sample.labels]): sample.value
        for sample in table.samples()
    }


def fed(file: str, *blocks: bytes) -> Series:
    table = Table(file)
    for block in blocks:
        table.feed(block)
    return series(table)


def restarted(table: Table, saved: dict[str, str]) -> Table:
    """Return what a new process makes of what this one saved."""
    saved |= table.changes()
    new = Table(table.file)
    new.restore(json.loads(json.dumps(saved)))
    return new


# Intervals


def test_totals_of_a_real_row_are_counted_and_averages_become_sums() -> None:
    found = fed("mailboxd.csv", CMS)

    assert found["lmtp_received_messages_total"] == 1
    assert found["lmtp_delivered_bytes_total"] == 6506
    assert found["db_connection_seconds_count"] == 81
    assert found["db_connection_seconds_sum"] == pytest.approx(0.026)
    assert found["request_seconds_count,imap"] == 138
    assert found["request_seconds_sum,imap"] == pytest.approx(1.436)
    assert found["request_seconds_count,soap"] == 0
    assert found["add_message_seconds_sum"] == pytest.approx(0.036)
    assert found["blob_disk_reads_total"] == 1
    assert found["blob_disk_seeks_total"] == 0
    assert found["stat_rows_total,mailboxd.csv"] == 1
    assert found["stat_rows_skipped_total,mailboxd.csv"] == 0


def test_every_row_adds_to_what_was() -> None:
    row = CMS.splitlines(keepends=True)[1]

    found = fed("mailboxd.csv", CMS, row, row + row)

    assert found["lmtp_received_bytes_total"] == 4 * 6506
    assert found["request_seconds_sum,imap"] == pytest.approx(4 * 1.436)


def test_reads_and_writes_of_the_index_are_counted_by_their_average() -> None:
    header = b"timestamp,idx_bytes_written,idx_bytes_written_avg,idx_bytes_read,idx_bytes_read_avg\n"

    found = fed("mailboxd.csv", header, b"03/02/2024 10:20:03,1000,333.3333333333333,0,0.0\n")

    assert found["index_io_bytes_count,write"] == 3
    assert found["index_io_bytes_sum,write"] == 1000
    assert found["index_io_bytes_count,read"] == 0


def test_seeks_are_a_share_of_the_reads() -> None:
    found = fed("mailboxd.csv", b"timestamp,bis_read,bis_seek_rate\n03/02/2024 10:20:03,40,25.0\n")

    assert found["blob_disk_seeks_total"] == 10


def test_a_counter_begins_at_0_once_its_column_is_known_and_is_absent_before() -> None:
    assert fed("mailboxd.csv", b"") == {}
    found = fed("mailboxd.csv", b"timestamp,lmtp_rcvd_msgs,soap_count,soap_ms_avg\n")
    assert found["lmtp_received_messages_total"] == 0
    assert found["request_seconds_sum,soap"] == 0
    assert "lmtp_received_bytes_total" not in found


def test_a_count_without_its_average_would_spoil_the_mean_and_is_left_out() -> None:
    header = b"timestamp,soap_count,soap_ms_avg\n"

    found = fed("mailboxd.csv", header, b"03/02/2024 10:20:03,5,\n03/02/2024 10:21:03,2,10.0\n")

    assert found["request_seconds_count,soap"] == 2
    assert found["request_seconds_sum,soap"] == pytest.approx(0.02)


@pytest.mark.parametrize("text", ["-5", "text", "", "NaN", "1e400", "1e30", "٣", "1_000", "0x10"])
def test_what_no_counter_can_count_is_not_added(text: str) -> None:
    header = b"timestamp,lmtp_rcvd_msgs,lmtp_rcvd_bytes\n"

    found = fed("mailboxd.csv", header + f"03/02/2024 10:20:03,{text},7\n".encode())

    assert found["lmtp_received_messages_total"] == 0
    assert found["lmtp_received_bytes_total"] == 7


def test_E_notation_is_a_number() -> None:
    found = fed("mailboxd.csv", b"timestamp,lmtp_rcvd_bytes\n03/02/2024 10:20:03,1.5E7\n")

    assert found["lmtp_received_bytes_total"] == 15_000_000


# Columns


def test_after_a_restart_with_other_columns_rows_are_skipped_until_there_is_a_header_that_fits() -> None:
    g1_header, g1_row, _ = G1.splitlines(keepends=True)

    found = fed("mailboxd.csv", CMS, g1_row + g1_row)
    assert found["lmtp_received_messages_total"] == 1
    assert found["stat_rows_skipped_total,mailboxd.csv"] == 2

    found = fed("mailboxd.csv", CMS, g1_row, g1_header, g1_row)
    assert found["lmtp_received_messages_total"] == 2
    assert found["stat_rows_skipped_total,mailboxd.csv"] == 1


def test_a_row_that_does_not_fit_does_not_spoil_the_next() -> None:
    header = b"timestamp, a, lmtp_rcvd_msgs\n"
    rows = b"03/02/2024 10:20:03,1,2\n03/02/2024 10:203/02/2024 10:21:03,1,2\n\0\0\0\n03/02/2024 10:22:03,1,2\n\n"

    found = fed("mailboxd.csv", header, rows)

    assert found["lmtp_received_messages_total"] == 4
    assert found["stat_rows_skipped_total,mailboxd.csv"] == 2


def test_a_row_without_a_time_is_none() -> None:
    found = fed("mailboxd.csv", b"timestamp,lmtp_rcvd_msgs\nyesterday,5\n2024-03-02 10:20:03,5\n")

    assert found["lmtp_received_messages_total"] == 0
    assert found["stat_rows_skipped_total,mailboxd.csv"] == 2


def test_rows_before_any_header_are_skipped_not_guessed() -> None:
    table = Table("mailboxd.csv")
    table.feed(CMS.splitlines(keepends=True)[1])
    assert "lmtp_received_messages_total" not in series(table)
    assert series(table)["stat_rows_skipped_total,mailboxd.csv"] == 1


def test_a_header_found_in_the_file_does_not_replace_one_that_is_known() -> None:
    table = Table("mailboxd.csv")
    table.begin(("timestamp", "lmtp_rcvd_msgs"))
    table.begin(("timestamp", "lmtp_rcvd_bytes"))
    table.feed(b"03/02/2024 10:20:03,5\n")

    assert series(table)["lmtp_received_messages_total"] == 5


# Commands


def test_commands_of_soap_are_told_apart_but_not_by_their_action() -> None:
    found = fed("soap.csv", SOAP)

    assert found["command_seconds_count,soap,SearchRequest"] == 50
    assert found["command_seconds_sum,soap,SearchRequest"] == pytest.approx(0.918)
    assert found["command_seconds_count,soap,MsgActionRequest"] == 7
    assert found["command_seconds_sum,soap,MsgActionRequest"] == pytest.approx(0.034)
    assert found["command_seconds_sum,soap,other"] == pytest.approx(1)
    assert not any("Teapot" in name for name in found)


def test_the_two_writers_of_ldap_csv_are_told_apart() -> None:
    table = Table("ldap.csv")
    table.feed(LDAP)
    found = series(table)

    assert found["command_seconds_count,ldap,GET_CONN"] == 14
    assert found["command_seconds_count,ldap,SEARCH"] == 10
    assert found["command_seconds_sum,ldap,SEARCH"] == pytest.approx(0.058)
    assert found["command_seconds_count,ldap,GET_ENTRY"] == 2
    assert found["zcs_slapd_operations_total,bind"] == 10
    assert found["zcs_slapd_operations_total,search"] == 38
    assert found["zcs_slapd_sent_bytes_total"] == 21504
    assert found["zcs_slapd_connections_total"] == 5
    assert found["stat_rows_skipped_total,ldap.csv"] == 0
    assert table.newest["timestamp"] == "03/02/2024 10:21:04"


def test_rows_of_slapd_are_known_under_a_header_that_mailboxd_wrote_last() -> None:
    header, *_ = LDAP.splitlines(keepends=True)
    row = LDAP.splitlines(keepends=True)[4]

    found = fed("ldap.csv", header, ",".join(ACTIVITY).encode() + b"\n", row, b"03/02/2024 10:21:07,GET_CONN,1,1\n")

    assert found["zcs_slapd_operations_total,bind"] == 4
    assert found["command_seconds_count,ldap,GET_CONN"] == 1


def test_a_statement_of_SQL_may_hold_commas_and_is_never_a_label() -> None:
    found = fed("sql.csv", ",".join(ACTIVITY).encode() + b"\n03/02/2024 10:20:07,SELECT a, b FROM c WHERE d=?,3,7\n")

    assert found["command_seconds_count,sql,other"] == 3
    assert found["command_seconds_sum,sql,other"] == pytest.approx(0.021)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(COMMANDS)), st.text(max_size=30))
def test_any_name_gives_a_label_of_the_closed_list(protocol: str, name: str) -> None:
    assert command_label(protocol, name) in COMMANDS[protocol] | {OTHER}


# State


def test_a_new_process_goes_on_with_sums_commands_and_columns() -> None:
    saved: dict[str, str] = {}
    rows = CMS.splitlines(keepends=True)
    table = Table("mailboxd.csv")
    table.feed(CMS)
    table = restarted(table, saved)
    table.feed(rows[1])

    assert series(table) == fed("mailboxd.csv", CMS, rows[1])


def test_only_what_changed_is_saved() -> None:
    table = Table("soap.csv")
    table.feed(SOAP)
    first = table.changes()
    assert table.changes() == {}
    table.feed(b"03/02/2024 10:22:07,SearchRequest,1,1\n")
    second = table.changes()

    assert "soap.csv header" in first
    assert set(second) == {"soap.csv sums", "soap.csv command SearchRequest"}


def test_the_rows_of_one_file_are_not_taken_for_those_of_another() -> None:
    saved: dict[str, str] = {}
    for name in ("imap.csv", "imapd.csv", "imapd_stats.csv"):
        table = Table(name)
        table.feed(b"timestamp,command,exec_count,exec_ms_avg\n03/02/2024 10:20:07,FETCH,%d,1\n" % len(name))
        saved |= table.changes()
    table = Table("imap.csv")
    table.restore(saved)

    assert series(table)["command_seconds_count,imap,FETCH"] == len("imap.csv")


# Against a slow reading, line by line


def slowly(lines: list[str]) -> dict[str, float]:
    """Sum up mailboxd.csv as its description says, in the plainest way."""
    sums: dict[str, float] = defaultdict(float)
    header: list[str] | None = None
    for line in lines:
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split(",")]
        if fields[0] == "timestamp":
            header = fields
        elif header is None or len(fields) != len(header):
            sums["skipped"] += 1
        else:
            row = {}
            for name, field in zip(header, fields, strict=True):
                row.setdefault(name, field)
            sums["rows"] += 1
            if row.get("lmtp_rcvd_msgs"):
                sums["messages"] += float(row["lmtp_rcvd_msgs"])
            if row.get("soap_count") and row.get("soap_ms_avg"):
                sums["soap"] += float(row["soap_count"])
                sums["soap_seconds"] += float(row["soap_count"]) * float(row["soap_ms_avg"]) / 1000
    return sums


HEADERS = st.lists(
    st.sampled_from(["lmtp_rcvd_msgs", "soap_count", "soap_ms_avg", "gc_x_count", "mpool_codeheap_'a'_used"]),
    max_size=6,
).map(lambda names: ["timestamp", *names])
NUMBERS = st.one_of(
    st.just(""), st.integers(0, 9999).map(str), st.floats(0, 1e6, allow_subnormal=False).map(repr), st.just("1.0E-4")
)
LINES = st.lists(
    st.one_of(
        HEADERS.flatmap(lambda names: st.sampled_from([",", ", "]).map(lambda separator: separator.join(names))),
        st.lists(NUMBERS, max_size=6).map(lambda numbers: ",".join(["03/02/2024 10:20:03", *numbers])),
        st.sampled_from(["", "  "]),
    ),
    max_size=30,
)


@settings(max_examples=1500, deadline=None)
@given(LINES, st.lists(st.tuples(st.integers(0, 29), st.booleans()), max_size=8))
def test_sums_are_those_of_a_slow_reading_whatever_the_blocks_and_restarts(
    lines: list[str], breaks: list[tuple[int, bool]]
) -> None:
    saved: dict[str, str] = {}
    table = Table("mailboxd.csv")
    cuts = dict(breaks)
    block = ""
    for number, line in enumerate(lines):
        block += line + "\n"
        if number in cuts:
            table.feed(block.encode())
            block = ""
            if cuts[number]:
                table = restarted(table, saved)
    table.feed(block.encode())
    found = series(table)
    expected = slowly(lines)

    assert found.get("stat_rows_total,mailboxd.csv", 0) == expected["rows"]
    assert found.get("stat_rows_skipped_total,mailboxd.csv", 0) == expected["skipped"]
    assert found.get("lmtp_received_messages_total", 0) == pytest.approx(expected["messages"])
    assert found.get("request_seconds_count,soap", 0) == pytest.approx(expected["soap"])
    assert found.get("request_seconds_sum,soap", 0) == pytest.approx(expected["soap_seconds"])


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(sorted(PLANS)), st.lists(st.one_of(st.binary(max_size=60), st.just(b"\ntimestamp,a,b,soap\n"))))
def test_any_bytes_give_finite_counters_and_nothing_else(file: str, blocks: list[bytes]) -> None:
    saved: dict[str, str] = {}
    table = Table(file)
    for block in blocks:
        table.feed(block + b"\n")
    table = restarted(table, saved)

    assert all(math.isfinite(value) and value >= 0 for value in series(table).values())
