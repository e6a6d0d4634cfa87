import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.mailflow.flood import LEAST, MAX_SENDERS, OutboundFlood

DAY = 86400
START = 20_000 * DAY
ANN, BOB = b"ann@example.com", b"bob@example.com"


def restarted(flood: OutboundFlood, rows: dict[str, str]) -> OutboundFlood:
    for key, row in flood.changes():
        if row is None:
            del rows[key]
        else:
            rows[key] = row
    again = OutboundFlood()
    again.restore(rows)
    return again


def weeks(
    flood: OutboundFlood, account: bytes, recipients: int, number: int, *, days: int = 7, at: int = START
) -> None:
    for week in range(number):
        flood.add(account, at + week * days * DAY, recipients, live=True)


def test_recipients_are_counted_over_ten_minutes_and_an_hour_to_the_minute() -> None:
    flood = OutboundFlood()
    flood.add(ANN, START, 100, live=True)
    flood.add(ANN, START + 600, 30, live=True)
    flood.add(BOB, START + 600, 50, live=True)

    now = flood.look(START + 600)

    assert (now.recipients, now.hour_recipients) == (50, 130)
    assert [(item.value, item.count) for item in now.by_hour] == [("ann@example.com", 130), ("bob@example.com", 50)]
    assert flood.look(START + 3600).hour_recipients == 50
    assert flood.look(START + 4200).hour_recipients == 0


def test_a_sender_without_a_habit_is_held_against_the_least() -> None:
    flood = OutboundFlood()

    assert flood.add(ANN, START, int(LEAST[0] * 10), live=True) == 10
    assert flood.look(START).ratio == 10
    assert flood.add(BOB, START, 3, live=True) < 1


def test_a_slow_flood_is_seen_in_the_hour() -> None:
    flood = OutboundFlood()
    ratios = [flood.add(ANN, START + minute * 60, 20, live=True) for minute in range(60)]

    assert max(ratios) == 60 * 20 / LEAST[1]


def test_a_newsletter_every_week_is_a_habit_from_the_fourth_time_on() -> None:
    flood = OutboundFlood()
    ratios = [flood.add(ANN, START + week * 7 * DAY, 5000, live=True) for week in range(12)]

    assert ratios[0] >= 10
    assert all(ratio < 10 for ratio in ratios[3:])
    assert ratios[-1] < 1.5


def test_a_steady_sender_that_suddenly_sends_ten_times_as_much_is_seen() -> None:
    flood = OutboundFlood()
    weeks(flood, ANN, 5000, 12)

    assert flood.add(ANN, START + 90 * DAY, 50_000, live=True) >= 10


def test_one_flood_does_not_make_the_next_one_normal() -> None:
    flood = OutboundFlood()
    weeks(flood, ANN, 5, 30, days=1)

    first = flood.add(ANN, START + 30 * DAY, 20_000, live=True)
    second = flood.add(ANN, START + 31 * DAY, 20_000, live=True)

    assert first >= 10
    assert second >= 10


def test_what_is_usual_on_this_host_is_no_flood() -> None:
    flood = OutboundFlood()
    for day in range(30):
        for number in range(20):
            flood.add(b"list%d@example.com" % number, START + day * DAY, 2000, live=True)

    assert flood.add(b"new@example.com", START + 30 * DAY, 2000, live=True) < 10


def test_the_account_is_one_whatever_its_case() -> None:
    flood = OutboundFlood()
    flood.add(b"Ann@Example.com", START, 100, live=True)
    flood.add(ANN, START, 100, live=True)

    assert flood.look(START).recipients == 200


def test_who_was_not_reached_confirms_the_flood_of_that_sender_alone() -> None:
    flood = OutboundFlood()
    flood.add(ANN, START, 1000, live=True)
    flood.add(BOB, START, 10, live=True)
    for _ in range(5):
        flood.fail(BOB, START + 1, live=True)
    assert flood.look(START + 1).undelivered == 0

    for _ in range(7):
        flood.fail(ANN, START + 2, live=True)
    flood.fail(b"nobody@example.com", START + 2, live=True)

    assert flood.look(START + 2).undelivered == 7


def test_lines_that_are_over_move_no_gauge_and_yet_make_a_habit() -> None:
    flood = OutboundFlood()
    for day in range(10):
        flood.add(ANN, START + day * DAY, 5000, live=False)
    last = START + 9 * DAY
    assert flood.look(last).ratio == 0
    assert flood.tell(ANN, last) == 5000
    assert flood.tell(ANN, last + 3599) is None

    flood.add(ANN, last + 60, 5000, live=True)

    assert flood.look(last + 60).recipients == 5000
    assert flood.look(last + 60).ratio < 10


def test_a_line_out_of_order_counts_in_its_minute() -> None:
    flood = OutboundFlood()
    flood.add(ANN, START + 1200, 10, live=True)
    flood.add(ANN, START + 300, 10, live=True)

    now = flood.look(START + 1200)

    assert (now.recipients, now.hour_recipients) == (10, 20)


def test_a_clock_set_back_begins_anew() -> None:
    flood = OutboundFlood()
    flood.add(ANN, START + 10 * DAY, 10_000, live=True)

    assert flood.add(ANN, START, 10, live=True) < 1
    assert flood.look(START).hour_recipients == 10


def test_the_sender_idle_longest_is_forgotten_first() -> None:
    flood = OutboundFlood()
    rows: dict[str, str] = {}
    for number in range(MAX_SENDERS):
        flood.add(b"user%d@example.com" % number, START + number * 60, 1, live=True)
    flood = restarted(flood, rows)
    flood.add(b"user0@example.com", START + MAX_SENDERS * 60, 1, live=True)
    flood.add(b"new@example.com", START + MAX_SENDERS * 60, 1, live=True)
    restarted(flood, rows)

    assert sum(key.startswith("sender:") for key in rows) == MAX_SENDERS
    assert "sender:user0@example.com" in rows
    assert "sender:user1@example.com" not in rows


def test_a_row_stays_small_whatever_a_sender_sends() -> None:
    flood = OutboundFlood()
    for minute in range(3000):
        flood.add(ANN, START + minute * 60, 1000, live=True)
        flood.fail(ANN, START + minute * 60, live=True)

    [row] = [row for key, row in flood.changes() if key.startswith("sender:")]

    assert row is not None
    assert len(row) < 3000
    assert json.loads(row)


SENDINGS = st.tuples(
    st.sampled_from([ANN, BOB, b"c@example.com"]),
    st.sampled_from([0, 1, 59, 60, 600, 3599, 3600, DAY]),
    st.integers(1, 3000),
    st.booleans(),
)


@given(st.lists(SENDINGS, max_size=40), st.sets(st.integers(0, 40)))
@settings(max_examples=200, deadline=None)
def test_windows_equal_a_plain_count_and_survive_a_restart(
    sendings: list[tuple[bytes, int, int, bool]], restarts: set[int]
) -> None:
    flood, untouched, rows = OutboundFlood(), OutboundFlood(), dict[str, str]()
    told: list[tuple[int, bytes, int]] = []
    at = START
    for number, (account, step, recipients, failed) in enumerate(sendings):
        at += step
        ratios = [each.add(account, at, recipients, live=True) for each in (flood, untouched)]
        assert ratios[0] == pytest.approx(ratios[1], rel=0.01)
        told.append((at // 60, account, recipients))
        if failed:
            flood.fail(account, at, live=True)
            untouched.fail(account, at, live=True)
        if number in restarts:
            flood = restarted(flood, rows)
        for state in (flood.look(at), untouched.look(at)):
            for length, found in ((10, state.recipients), (60, state.hour_recipients)):
                within: dict[bytes, int] = {}
                for minute, name, count in told:
                    if minute > at // 60 - length:
                        within[name] = within.get(name, 0) + count
                assert found == max(within.values())
        assert flood.look(at).undelivered == untouched.look(at).undelivered
