from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.auth.ranks import Ranks
from collectors.auth.windows import FailureWindow, Pair

Event = tuple[int, str, str]


def add(window: FailureWindow, second: int, now: float, *pairs: Pair) -> None:
    window.add(second, now, Counter(pairs))


def numbers(window: FailureWindow) -> tuple[int, ...]:
    return (
        window.pair_failures(),
        window.account_failures(),
        window.address_failures(),
        window.total,
        *(found[0][1] if found else 0 for found in (window.address_accounts(), window.account_addresses())),
    )


def counted_slowly(events: list[Event], now: float, seconds: int) -> tuple[int, ...]:
    inside = [event for event in events if event[0] > int(now) - seconds]
    pairs = Counter((ip, account) for _, ip, account in inside if ip and account)
    accounts = Counter(account for _, _, account in inside if account)
    addresses = Counter(ip for _, ip, _ in inside if ip)
    by_ip = Counter(ip for ip, _ in pairs)
    by_account = Counter(account for _, account in pairs)
    return (
        *(max(count.values(), default=0) for count in (pairs, accounts, addresses)),
        len(inside),
        *(max(count.values(), default=0) for count in (by_ip, by_account)),
    )


def tops(window: FailureWindow) -> list[list[int]]:
    found: list[Sequence[tuple[object, int]]] = [
        window.top_pairs(3),
        window.top_addresses(3),
        window.top_accounts(3),
        window.address_accounts(3),
        window.account_addresses(3),
    ]
    return [[count for _, count in each] for each in found]


def tops_slowly(events: list[Event], now: float, seconds: int) -> list[list[int]]:
    inside = [event for event in events if event[0] > int(now) - seconds]
    pairs = Counter((ip, account) for _, ip, account in inside if ip and account)
    counters = [
        pairs,
        Counter(ip for _, ip, _ in inside if ip),
        Counter(account for _, _, account in inside if account),
        Counter(ip for ip, _ in pairs),
        Counter(account for _, account in pairs),
    ]
    return [[count for _, count in counter.most_common(3)] for counter in counters]


def test_nine_failures_before_the_minute_and_nine_after_it_are_eighteen() -> None:
    window = FailureWindow(60, "w")
    for _ in range(9):
        add(window, 1_000_019, 1_000_019.5, ("203.0.113.9", "ann"))
    for _ in range(9):
        add(window, 1_000_021, 1_000_021.5, ("203.0.113.9", "ann"))
    assert window.pair_failures() == 18


def test_a_failure_is_inside_for_exactly_the_length_of_the_window() -> None:
    window = FailureWindow(60, "w")
    add(window, 1000, 1000.9, ("203.0.113.9", "ann"))
    window.expire(1059.999)
    assert numbers(window) == (1, 1, 1, 1, 1, 1)
    window.expire(1060.0)
    assert numbers(window) == (0, 0, 0, 0, 0, 0)


def test_a_line_over_a_window_late_is_left_out() -> None:
    window = FailureWindow(60, "w")
    add(window, 940, 1000.0, ("203.0.113.9", "ann"))
    assert window.total == 0
    add(window, 941, 1000.0, ("203.0.113.9", "ann"))
    assert window.total == 1


def test_a_stamp_ahead_of_the_clock_counts_now() -> None:
    window = FailureWindow(60, "w")
    add(window, 9999, 1000.0, ("203.0.113.9", "ann"))
    window.expire(1060.0)
    assert window.total == 0


def test_a_clock_set_back_keeps_no_failure_for_ever() -> None:
    window = FailureWindow(60, "w")
    add(window, 10_000, 10_000.0, ("203.0.113.9", "ann"))
    window.expire(9_970.0)
    assert window.total == 1
    window.expire(5_000.0)
    assert window.total == 0


def test_unknown_address_or_account_counts_only_where_it_is_known() -> None:
    window = FailureWindow(60, "w")
    add(window, 1000, 1000.0, ("", "ann"))
    add(window, 1000, 1000.0, ("203.0.113.9", ""))
    assert numbers(window) == (0, 1, 1, 2, 0, 0)


def test_a_full_window_goes_on_counting_the_total_and_says_so() -> None:
    window = FailureWindow(60, "w", max_pairs=3)
    for number in range(10):
        add(window, 1000, 1000.0, (f"192.0.2.{number}", "ann"))
    assert (window.total, window.overflowed, window.account_failures()) == (10, True, 3)
    add(window, 1000, 1000.0, ("192.0.2.0", "ann"))
    assert window.account_failures() == 4
    add(window, 1030, 1030.0, ("192.0.2.99", "bob"))
    window.expire(1060.0)
    # The one that found no room is still known to be there.
    assert (window.total, window.overflowed) == (1, True)
    window.expire(1090.0)
    add(window, 1090, 1090.0, ("192.0.2.99", "bob"))
    assert (window.total, window.overflowed, window.account_failures()) == (1, False, 1)


def test_ranks_list_the_largest_first_and_leave_out_what_occurs_once() -> None:
    ranks: Ranks[str] = Ranks()
    for key, times in (("a", 1), ("b", 5), ("c", 3), ("d", 1)):
        ranks.move(key, 0, times)
    assert list(ranks.top()) == [("b", 5), ("c", 3)]
    ranks.move("b", 5, 1)
    assert (list(ranks.top()), ranks.largest) == ([("c", 3)], 3)
    ranks.move("c", 3, 0)
    assert (list(ranks.top()), ranks.largest) == ([], 1)


def test_only_changed_seconds_are_rows_and_those_over_are_deleted() -> None:
    window = FailureWindow(60, "w")
    add(window, 1000, 1000.0, ("203.0.113.9", "ann"))
    add(window, 1001, 1001.0, ("203.0.113.9", "ann"))
    ann = '[[["203.0.113.9","ann"]],[1]]'
    assert window.changes() == {"w:1000:0": ann, "w:1001:0": ann}
    add(window, 1001, 1001.0, ("", "bob"), ("", "bob"))
    assert window.changes() == {"w:1001:1": '[[["","bob"]],[2]]'}
    window.expire(1060.0)
    assert window.changes() == {"w:1000:0": None}
    window.expire(1061.0)
    assert window.changes() == {"w:1001:0": None, "w:1001:1": None}
    assert window.changes() == {}


def test_a_second_without_failures_is_not_kept() -> None:
    window = FailureWindow(60, "w")
    add(window, 1000, 1000.0)
    assert window.changes() == {}


def test_a_second_that_was_never_saved_is_never_deleted() -> None:
    window = FailureWindow(60, "w")
    add(window, 1000, 1000.0, ("203.0.113.9", "ann"))
    window.expire(2000.0)
    assert window.changes() == {}


EVENTS = st.lists(
    st.tuples(
        st.integers(-3, 12),  # seconds that the clock moves
        st.integers(-15, 4),  # seconds from now that the line names
        st.sampled_from(["", "a", "b", "c"]),
        st.sampled_from(["", "x", "y", "z"]),
        st.integers(1, 3),  # how often
        st.sampled_from(["", "save", "kill"]),
    ),
    max_size=60,
)


@given(EVENTS)
@settings(max_examples=1500, deadline=None)
def test_the_window_equals_counting_everything_again(steps: list[tuple[int, int, str, str, int, str]]) -> None:
    window, seconds = FailureWindow(10, "w"), 10
    now = highest = 1000
    events: list[Event] = []
    saved: dict[str, str] = {}
    committed: list[Event] = []
    for move, named, ip, account, times, then in steps:
        now = highest = max(highest, now + move)
        at = now + named
        window.expire(now)
        add(window, at, now, *[(ip, account)] * times)
        if at > now - seconds:
            events += [(min(at, now), ip, account)] * times
        if then == "save":
            for key, row in window.changes().items():
                if row is None:
                    del saved[key]
                else:
                    saved[key] = row
            committed = list(events)
        elif then == "kill":
            window = FailureWindow(seconds, "w")
            window.restore(saved)
            window.expire(now)
            events = list(committed)
        assert numbers(window) == counted_slowly(events, now, seconds)
        assert tops(window) == tops_slowly(events, now, seconds)
        assert all(int(key.split(":")[1]) > 0 for key in saved)


def test_an_attack_that_comes_and_goes_leaves_nothing_behind() -> None:
    window = FailureWindow(10, "w")
    events: list[Event] = []
    for second in range(30):
        pairs = [(f"192.0.2.{n % 250}.{n + second * 700}", f"user{(n * 7 + second) % 900}") for n in range(1000)]
        events += [(1000 + second, *pair) for pair in pairs]
        add(window, 1000 + second, 1000 + second, *pairs)
        window.expire(1000 + second)
    assert numbers(window) == counted_slowly(events, 1029, 10)
    assert tops(window) == tops_slowly(events, 1029, 10)
    window.expire(2000)
    assert numbers(window) == (0, 0, 0, 0, 0, 0)
