"""The book of mail by day: every line on its day, once, whatever restarts come between, in bounded memory."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.mailreport import page as mail_page
from zcs_exporter.mailreport.day import KEPT_DAYS, DayBook
from zcs_exporter.mailreport.rows import days_of
from zcs_exporter.mailreport.top import NOMINAL_SIZE, TopTable, text_of
from zcs_exporter.mailreport.view import MailDay, read_day

NOON = int(datetime(2024, 3, 2, 12, tzinfo=UTC).timestamp())
DAY = 86400

Rows = dict[str, str]


class Desk:
    """A book and the rows that it leaves behind, as the state database keeps them."""

    def __init__(self) -> None:
        self.rows: Rows = {}
        self.book = DayBook(UTC)

    def commit(self) -> int:
        changes = self.book.changes()
        for key, value in changes.items():
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        return len(changes)

    def restart(self) -> None:
        """Lose what was not committed."""
        self.book = DayBook(UTC)
        self.book.restore(self.rows)

    def day(self, name: str = "2024-03-02") -> MailDay:
        self.commit()
        found = read_day(self.rows, name)
        assert found is not None
        return found


def names(day: MailDay, table: str) -> dict[str, tuple[int, int]]:
    return {name.text: (name.count, name.size) for name in day.names[table].kept}


_TEXTS = st.sampled_from([b"", b"root", b"\xff\x00:@example.org", *(b"U%d@d%d.example" % (n, n % 3) for n in range(6))])
_TIMES = st.sampled_from([NOON, NOON + 1, NOON + 2, NOON + 13 * 3600, NOON + 14 * 3600, NOON - 40 * 3600])
CALLS = st.one_of(
    st.tuples(st.just("received"), _TIMES, _TEXTS, _TEXTS, st.integers(0, 9)),
    st.tuples(st.just("delivered"), _TIMES, _TEXTS, st.integers(0, 9), st.integers(0, 64).map(lambda n: n / 64)),
    st.tuples(st.just("deferred"), _TIMES, _TEXTS, _TEXTS),
    st.tuples(st.just("bounced"), _TIMES, _TEXTS, _TEXTS),
    st.tuples(st.just("rejected"), _TIMES, st.sampled_from(["rbl", "relay"]), _TEXTS, _TEXTS),
    st.tuples(st.sampled_from(["held", "discarded", "forwarded"]), _TIMES),
    st.tuples(st.just("verdict"), _TIMES, st.sampled_from(["clean", "spam"])),
    st.tuples(st.just("warning"), _TIMES, st.sampled_from([b"postfix/smtpd", b"postfix/smtp"]), _TEXTS),
)
STEPS = st.lists(st.one_of(CALLS, CALLS, CALLS, st.just(("commit",)), st.just(("restart",))), max_size=60)


def play(steps: list[tuple[Any, ...]], *, restarts: bool) -> Desk:
    """Play what happens; with restarts, what one loses is fed again as the log's saved position makes sure."""
    desk = Desk()
    uncommitted: list[tuple[Any, ...]] = []
    for name, *arguments in steps:
        if name == "commit":
            desk.commit()
            uncommitted.clear()
        elif name == "restart":
            if restarts:
                desk.restart()
                for again, *values in uncommitted:
                    getattr(desk.book, again)(*values)
        else:
            uncommitted.append((name, *arguments))
            getattr(desk.book, name)(*arguments)
    desk.commit()
    return desk


def everything(rows: Rows) -> dict[str, Any]:
    """All that can be read of all days, whatever order it was saved in."""
    found = {}
    for name in days_of(rows):
        day = read_day(rows, name)
        assert day is not None
        tables = {table: (kept.distinct, kept.exact, sorted(kept.kept, key=str)) for table, kept in day.names.items()}
        found[name] = (day.totals, day.hours, day.causes, day.verdicts, tables)
    return found


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_a_restart_at_any_moment_loses_and_doubles_nothing(steps: list[tuple[Any, ...]]) -> None:
    assert everything(play(steps, restarts=True).rows) == everything(play(steps, restarts=False).rows)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_so_it_is_where_names_are_dropped_and_pages_saved_whole(steps: list[tuple[Any, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mail_page, "TABLES", {name: (2, places) for name, (_, places) in mail_page.TABLES.items()})
        patch.setattr(mail_page, "KEPT_NAMES", 1)
        patch.setattr("zcs_exporter.mailreport.rows._LEAST_LATER", 300)
        patch.setattr("zcs_exporter.mailreport.rows._LATER_RATIO", 1)
        assert everything(play(steps, restarts=True).rows) == everything(play(steps, restarts=False).rows)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_what_changed_tells_the_same_as_the_whole(steps: list[tuple[Any, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mail_page, "TABLES", {name: (2, places) for name, (_, places) in mail_page.TABLES.items()})
        by_what_changed = everything(play(steps, restarts=True).rows)
        patch.setattr("zcs_exporter.mailreport.rows._LEAST_LATER", 0)
        patch.setattr("zcs_exporter.mailreport.rows._LATER_RATIO", 0)
        assert everything(play(steps, restarts=False).rows) == by_what_changed


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_each_line_counts_on_its_own_day_as_a_slow_reference_counts_it(steps: list[tuple[Any, ...]]) -> None:
    desk = play(steps, restarts=False)
    calls = [step for step in steps if len(step) > 1]

    last: dict[str, int] = {}
    counts: Counter[tuple[str, str]] = Counter()
    sent: dict[str, Counter[str]] = {}
    for name, at, *rest in calls:
        day = datetime.fromtimestamp(at, UTC).date().isoformat()
        last[day] = max(last.get(day, 0), at)
        counts[day, {"deferred": "deferrals"}.get(name, name)] += 1
        if name == "received":
            sent.setdefault(day, Counter())[rest[0].lower().decode("utf-8", "replace")] += 1
            counts[day, "bytes_received"] += rest[2]
        if name == "delivered":
            counts[day, "bytes_delivered"] += rest[1]
    for (day, name), count in counts.items():
        found = read_day(desk.rows, day)
        assert found is not None
        if name not in ("verdict", "warning"):
            assert getattr(found.totals, name) == count
        if name == "verdict":
            assert sum(found.verdicts.values()) == count
        if name == "warning":
            assert sum(each.count for each in found.names["warnings"].kept) == count
        if name == "rejected":
            assert sum(found.causes.values()) == count
    assert {day: found.totals.last for day in last if (found := read_day(desk.rows, day))} == last
    for day, senders in sent.items():
        found = read_day(desk.rows, day)
        assert found is not None
        assert sorted(each.count for each in found.names["senders"].kept) == sorted(senders.values())
        assert found.names["senders"].distinct == len(senders)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3 * NOMINAL_SIZE))), st.integers(2, 12))
def test_who_is_over_the_share_is_kept_and_what_may_be_missing_is_bounded(
    stream: list[tuple[int, int]], capacity: int
) -> None:
    table = TopTable(capacity)
    exact: Counter[bytes] = Counter()
    for number, size in stream:
        name = b"%d" % number
        table.add(name, 1, size)
        if number % 2:
            table.cut()
        exact[name] += NOMINAL_SIZE + size
    table.cut()
    share = exact.total() / (capacity // 2)

    assert len(table.tallies) <= capacity
    assert {name for name, weight in exact.items() if weight > share} <= table.tallies.keys()
    for name, (count, size, missed, *_) in table.tallies.items():
        kept = count * NOMINAL_SIZE + size
        assert kept <= exact[name] <= kept + missed
        assert missed <= share
    assert table.distinct <= len(exact)
    assert table.names or table.distinct == len(exact)


@given(
    st.lists(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 12), max_size=9))), max_size=6),
    st.integers(2, 6),
)
def test_what_is_told_of_changes_makes_the_same_table_again(
    turns: list[list[tuple[bool, list[int]]]], capacity: int
) -> None:
    table, copy = TopTable(capacity), TopTable(capacity)
    for turn in turns:
        for at_once, numbers in turn:
            names = [b"%d" % number for number in numbers]
            if at_once:
                table.add_all(names, [(1, 10)] * len(names))
            else:
                for name in names:
                    table.add(name, 1, 10)
            table.cut()
        copy.load({text_of(name): tally and [*tally] for name, tally in table.take_changes().items()})
        assert copy.tallies == table.tallies


def test_names_that_come_and_go_while_nobody_asks_for_changes_leave_nothing_behind() -> None:
    """A scan of old logs never asks."""
    table = TopTable(10)
    for number in range(10_000):
        table.add(b"a%d" % number, 1)
        table.add_all([b"b%d" % number, b"c%d" % number], [(1, 10)] * 2)
        table.cut()

    assert len(table.take_changes()) <= 10


def test_a_hundred_thousand_senders_leave_bounded_rows_and_the_true_top() -> None:
    desk = Desk()
    for number in range(100_000):
        desk.book.received(NOON, b"u%d@d%d.example.net" % (number, number), b"h%d[192.0.2.1]" % number, 1000)
        if number % 50 == 0:
            desk.book.received(NOON, b"Often@example.com", b"mail.example.com[192.0.2.9]", 500)
        if number % 5000 == 0:
            desk.book.received(NOON, b"big@example.com", b"mail.example.com[192.0.2.9]", 50_000_000)
            desk.commit()
    day = desk.day()
    senders = day.names["senders"]

    assert len(senders.kept) <= 1000
    assert not senders.exact
    assert senders.distinct >= 1000
    assert [(name.text, name.exact) for name in senders.by_count(1)] == [("often@example.com", True)]
    assert [(name.text, name.size) for name in senders.by_size(1)] == [("big@example.com", 1_000_000_000)]
    assert day.totals.received == 102_020
    assert sum(len(value) for value in desk.rows.values()) < 3 << 20


def test_a_turn_writes_one_row_with_what_changed() -> None:
    desk = Desk()
    for number in range(500):
        desk.book.received(NOON, b"u%d@example.net" % number, b"h[192.0.2.1]", 1000)
    assert desk.commit() == 1
    assert desk.commit() == 0
    desk.book.delivered(NOON + 1, b"ann@example.com", 10, 0.5)
    [(key, row)] = desk.book.changes().items()

    assert key == "day:2024-03-02:000001"
    assert row is not None
    assert "u1@example.net" not in row
    assert len(row) < 300


def test_addresses_are_the_same_whatever_their_case_and_have_a_domain_if_they_name_one() -> None:
    desk = Desk()
    for sender in (b"Ann@Example.com", b"ann@example.com", b"", b"root"):
        desk.book.received(NOON, sender, b"", 10)
    day = desk.day()

    assert names(day, "senders") == {"ann@example.com": (2, 20), "<>": (1, 10), "root": (1, 10)}
    assert names(day, "sender_domains") == {"example.com": (2, 20)}
    assert not day.names["hosts"].kept


def test_a_domain_has_its_deferrals_and_the_delays_of_its_deliveries() -> None:
    desk = Desk()
    desk.book.delivered(NOON, b"ann@example.com", 100, 0.5)
    desk.book.delivered(NOON, b"bob@example.com", 100, 1.5)
    desk.book.deferred(NOON, b"bob@example.com", b"timeout", first=True)
    desk.book.deferred(NOON, b"bob@example.com", b"timeout", first=False)
    desk.book.deferred(NOON, b"eve@example.net", b"timeout")
    day = desk.day()
    domains = {name.text: (name.deferrals, name.delay, name.longest) for name in day.names["recipient_domains"].kept}

    assert domains == {"example.com": (2, 1.0, 1.5), "example.net": (1, None, None)}
    assert (day.totals.deferred, day.totals.deferrals) == (1, 3)


def test_a_line_that_comes_late_opens_its_day_again() -> None:
    desk = Desk()
    desk.book.received(NOON, b"ann@example.com", b"", 10)
    desk.book.received(NOON + DAY, b"ann@example.com", b"", 10)
    desk.commit()
    assert sorted(desk.rows) == ["day:2024-03-02", "day:2024-03-03:000000"]

    desk.book.received(NOON, b"ann@example.com", b"", 10)
    desk.commit()
    desk.restart()
    desk.book.received(NOON + DAY, b"ann@example.com", b"", 10)
    desk.commit()

    assert [desk.day(day).totals.received for day in ("2024-03-02", "2024-03-03")] == [2, 2]
    assert [key for key in desk.rows if key.startswith("day:2024-03-02")] == ["day:2024-03-02"]


def test_yesterday_stays_open_for_two_hours() -> None:
    desk = Desk()
    desk.book.received(NOON, b"ann@example.com", b"", 10)
    desk.book.received(NOON + 13 * 3600, b"ann@example.com", b"", 10)
    desk.commit()
    assert "day:2024-03-02" not in desk.rows
    desk.book.received(NOON + 14 * 3600, b"ann@example.com", b"", 10)
    desk.commit()
    assert "day:2024-03-02" in desk.rows


def test_two_days_at_most_are_open_even_around_midnight() -> None:
    desk = Desk()
    for number in range(3):
        desk.book.received(NOON + number * DAY - 11 * 3600, b"ann@example.com", b"", 10)
    desk.commit()

    assert [key for key in desk.rows if len(key) == len("day:2024-03-02")] == ["day:2024-03-02"]


def test_a_day_that_is_over_keeps_the_names_that_a_report_shows() -> None:
    desk = Desk()
    for number in range(900):
        desk.book.received(NOON, b"u%d@example.net" % number, b"", 900 - number)
    for number in range(400, 500):
        desk.book.received(NOON, b"u%d@example.net" % number, b"", 1)
    desk.book.received(NOON + DAY, b"ann@example.com", b"", 10)
    senders = desk.day().names["senders"]

    assert len(senders.kept) == 300
    assert (senders.distinct, senders.exact) == (900, False)
    assert {name.count for name in senders.by_count(100)} == {2}
    assert senders.by_size(1)[0].text == "u0@example.net"


def test_a_restart_alone_writes_nothing() -> None:
    desk = Desk()
    desk.book.rejected(NOON, "relay", b"h[192.0.2.1]", b"554 5.7.1 <z@x>: Relay access denied")
    desk.book.verdict(NOON, "clean")
    desk.commit()
    desk.restart()

    assert desk.commit() == 0


def test_rows_stay_few_however_often_it_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zcs_exporter.mailreport.rows._LEAST_LATER", 2000)
    monkeypatch.setattr("zcs_exporter.mailreport.rows._LATER_RATIO", 1)
    desk = Desk()
    for number in range(100):
        desk.book.received(NOON + number, b"ann@example.com", b"", 10)
        desk.commit()
        assert sum(len(row) for row in desk.rows.values()) < 4000
        desk.restart()

    assert desk.day().totals.received == 100


def test_a_day_is_dropped_after_a_month() -> None:
    desk = Desk()
    for number in range(40):
        desk.book.received(NOON + number * DAY, b"ann@example.com", b"", 10)
        desk.commit()
    kept = days_of(desk.rows)

    assert len(kept) == KEPT_DAYS + 2
    assert kept[-1] == (datetime(2024, 3, 2, tzinfo=UTC) + timedelta(39)).date().isoformat()


def test_a_clock_that_jumps_ahead_for_a_moment_costs_no_day() -> None:
    desk = Desk()
    for number in range(10):
        desk.book.received(NOON + number * DAY, b"ann@example.com", b"", 10)
    desk.book.received(NOON + 9000 * DAY, b"ann@example.com", b"", 10)
    for number in range(10, 20):
        desk.book.received(NOON + number * DAY, b"ann@example.com", b"", 10)
    desk.commit()

    assert len(days_of(desk.rows)) == 21


def test_a_clock_that_runs_wild_leaves_a_bounded_number_of_days() -> None:
    desk = Desk()
    for number in range(100):
        desk.book.received(NOON + number * number % 97 * DAY, b"ann@example.com", b"", 10)
        desk.book.received(NOON, b"ann@example.com", b"", 10)
        desk.commit()

    assert len(days_of(desk.rows)) <= KEPT_DAYS + 4


def test_the_day_begins_when_the_clock_on_the_wall_says_so_and_a_repeated_hour_is_one() -> None:
    zone = ZoneInfo("Europe/Berlin")
    book = DayBook(zone)
    for hour, fold in ((0, 0), (2, 0), (2, 1), (3, 0)):
        at = int(datetime(2024, 10, 27, hour, 30, tzinfo=zone, fold=fold).timestamp())
        book.received(at, b"ann@example.com", b"", 10)
    rows = {key: value for key, value in book.changes().items() if value is not None}
    day = read_day(rows, "2024-10-27")

    assert day is not None
    assert {hour: each.received for hour, each in day.hours.items()} == {0: 1, 2: 2, 3: 1}
    assert datetime.fromtimestamp(day.totals.first, zone).hour == 0
    assert datetime.fromtimestamp(day.totals.last, zone).hour == 3


@pytest.mark.parametrize("value", ["", "{", "[]", '{"hours":[]}', '{"tables":{"senders":{"a":[1]}}}', '{"floors":1}'])
def test_a_damaged_page_begins_afresh_and_the_others_stay(value: str, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.book.received(NOON, b"ann@example.com", b"", 10)
    desk.book.received(NOON + 13 * 3600, b"ann@example.com", b"", 10)
    desk.commit()
    desk.rows["day:2024-03-02:000000"] = value
    with pytest.raises(ValueError, match="2024-03-02"):
        read_day(desk.rows, "2024-03-02")
    desk.restart()
    desk.commit()

    assert days_of(desk.rows) == ["2024-03-03"]
    assert "the mail counted on 2024-03-02 is lost" in caplog.text


def test_a_damaged_closed_page_is_told_when_it_is_needed(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.rows["day:2024-03-02"] = "bm90IHBhY2tlZA=="
    with pytest.raises(ValueError, match="2024-03-02"):
        read_day(desk.rows, "2024-03-02")
    desk.restart()
    desk.book.received(NOON, b"ann@example.com", b"", 10)

    assert desk.day().totals.received == 1
    assert "is lost" in caplog.text


def test_rows_of_others_are_left_alone_and_what_a_later_version_adds_is_passed_over() -> None:
    desk = Desk()
    desk.book.received(NOON, b"ann@example.com", b"", 10)
    desk.commit()
    desk.rows["day:2024-03-02:000001"] = '{"colours":{"red":1},"tables":{"moons":{"a":[1,2,3]}},"hours":{}}'
    desk.rows["counters"] = "not ours"
    desk.restart()
    desk.book.received(NOON, b"ann@example.com", b"", 10)

    assert desk.day().totals.received == 2
    assert desk.rows["counters"] == "not ours"
    assert read_day(desk.rows, "2024-03-05") is None


def test_what_cannot_be_shown_is_shown_as_such() -> None:
    desk = Desk()
    desk.book.received(NOON, "ann\x1b[31m\u202e@example.com".encode() + b"\xff", b"", 10)
    desk.book.warning(NOON, b"postfix/smtpd", b"warning: \x1b]0;owned\x07 \x00")
    day = desk.day()

    for each in (*day.names["senders"].kept, *day.names["warnings"].kept):
        assert each.text.isprintable()
