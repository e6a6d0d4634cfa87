from collections.abc import Collection
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.auth.replay import LAG, Replay, Replays
from collectors.auth.windows import Pair
from zcs_exporter.contract import Record

START = 1_700_000_000
ANN: Pair = ("203.0.113.9", "ann")


def replays(**thresholds: float) -> Replays:
    found = Replays(60)
    found.thresholds = thresholds
    return found


def feed(found: Replays, log: str, *events: tuple[int, Pair]) -> None:
    for second, pair in events:
        found.add(log, START + second, [pair], admin=False)
        found.move_on()


def told(found: Replays) -> list[tuple[str, int, str]]:
    found.end()
    return [(record.fields["check"], int(record.at) - START, record.fields["count"]) for record in found.take()]


def test_an_attack_begins_with_the_failure_that_makes_it_one() -> None:
    found = replays(ip_account=3, ip=4)
    feed(found, "audit.log", (0, ANN), (61, ANN), (62, ANN), (63, ANN), (64, ANN))
    assert told(found) == [("ip_account", 63, "4"), ("ip", 64, "4")]


def test_two_attacks_with_more_than_a_window_between_them_are_two() -> None:
    found = replays(ip_account=2)
    feed(found, "audit.log", (0, ANN), (1, ANN), (61, ANN), (121, ANN), (200, ANN), (201, ANN), (202, ANN))
    assert told(found) == [("ip_account", 1, "2"), ("ip_account", 201, "3")]


def test_an_attack_goes_on_after_exactly_a_window_of_silence() -> None:
    found = replays(ip_account=2)
    feed(found, "audit.log", (0, ANN), (0, ANN), (60, ANN), (60, ANN), (121, ANN), (121, ANN))
    assert told(found) == [("ip_account", 0, "2"), ("ip_account", 121, "2")]


def test_an_attack_seen_by_two_logs_read_side_by_side_is_one() -> None:
    found = replays(ip=4)
    feed(found, "audit.log", (0, ANN), (2, ANN))
    feed(found, "zimbra.log", (1, ANN), (3, ANN))
    assert told(found) == [("ip", 3, "4")]


def test_a_log_far_behind_the_others_is_looked_at_by_itself() -> None:
    found = replays(ip=2)
    feed(found, "nginx.log", (0, ANN), (90_000, ANN), (90_000 + LAG + 1, ANN))
    feed(found, "audit.log", (100, ANN), (101, ANN))
    assert told(found) == [("ip", 101, "2")]


def test_a_clock_set_back_begins_anew() -> None:
    found = replays(ip=2)
    feed(found, "nginx.log", (90_000, ANN), (90_500, ANN))
    feed(found, "audit.log", (5000, ANN), (5001, ANN), (6000, ANN), (0, ANN), (1, ANN))
    assert told(found) == [("ip", 5001, "2"), ("ip", 1, "2")]


def test_what_has_no_threshold_is_no_attack() -> None:
    found = replays()
    feed(found, "audit.log", *((0, ANN) for _ in range(50)))
    assert told(found) == []


def test_slow_attacks_are_told_too() -> None:
    found = replays(slow_spray=30, slow_distributed=20)
    feed(found, "audit.log", *((90 * n, ("203.0.113.9", f"user{n}")) for n in range(35)))
    [(check, at, count)] = told(found)
    assert (check, at, count) == ("slow_spray", 29 * 90, "35")


def test_failed_logins_of_administrators_have_a_window_of_their_own() -> None:
    found = replays(admin=3)
    for second in (0, 300, 599):
        found.add("audit.log", START + second, [ANN], admin=True)
    found.add("audit.log", START + 400, [ANN], admin=False)
    assert told(found) == [("admin", 599, "3")]


def test_it_names_those_at_the_top() -> None:
    found = replays(total=10)
    feed(found, "audit.log", *((n % 7, ("203.0.113.9", f"u{n % 3}")) for n in range(12)), (3, ("198.51.100.7", "bob")))
    found.end()
    [record] = found.take()
    assert isinstance(record, Record)
    assert record.fields["address"].split(", ")[0] == "203.0.113.9"


@pytest.mark.parametrize("step", [1, 7, 90])
def test_a_restart_anywhere_changes_nothing(step: int) -> None:
    thresholds = {"ip": 4.0, "spray": 3.0, "slow_spray": 6.0, "admin": 3.0}
    events = [(number * step, ("203.0.113.9", f"user{number % 9}")) for number in range(40)]
    events += [(number * step + 5000, ("198.51.100.7", f"user{number}")) for number in range(40)]

    def attacks(restarts: Collection[int]) -> list[tuple[str, ...]]:
        found = replays(**thresholds)
        saved: dict[str, str] = {}
        ended: list[Record] = []
        for place, (second, pair) in enumerate(events):
            found.add("nginx.log", START + 100_000 + second, [pair], admin=False)
            found.add("audit.log", START + second, [pair], admin=place % 2 == 0)
            found.move_on()
            ended += found.take()
            commit(found, saved)
            if place in restarts:
                found = replays(**thresholds)
                found.restore(saved)
        found.end()
        commit(found, saved)
        assert saved == {}
        # Which of equals is named is left open.
        return [(str(record.at), *list(record.fields.values())[:4]) for record in ended + found.take()]

    without = attacks(())
    assert {check for _, check, *_ in without} >= {"admin", "slow_spray"}
    for place in range(0, len(events), 7):
        assert attacks((place, place + 3)) == without


def commit(found: Replays, saved: dict[str, str]) -> None:
    for name, row in found.changes().items():
        if row is None:
            del saved[name]
        else:
            saved[name] = row


def test_beyond_its_room_failures_count_in_the_total_only() -> None:
    replay = Replay(60, max_failures=10)
    for second in range(20):
        replay.add(START + second, [ANN], admin=False)
    found = replay.attacks({"total": 5, "ip": 5}, all_told=True)
    assert {record.fields["check"]: record.fields["count"] for record in found} == {"total": "20", "ip": "10"}


def test_a_flood_is_judged_in_small_steps_so_that_it_needs_less_room() -> None:
    room = 6 * (LAG + 60 + 30)
    replay = Replay(60, max_failures=room)
    found: list[Record] = []
    for second in range(600):
        replay.add(START + second, [ANN] * 6, admin=False)
        found += replay.attacks({"ip": 100})
    found += replay.attacks({"ip": 100}, all_told=True)
    last = datetime.fromtimestamp(START + 599, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert [(record.fields["count"], record.fields["until"]) for record in found] == [("360", last)]


def test_the_second_in_which_a_slow_attack_begins_is_exact() -> None:
    found = replays(slow_spray=30)
    feed(found, "audit.log", *((60 * n, ("203.0.113.9", f"user{n}")) for n in range(28)))
    feed(found, "audit.log", *((1801 + n, ("203.0.113.9", f"new{n}")) for n in range(20)))
    assert told(found) == [("slow_spray", 1802, "48")]


EVENTS = st.lists(
    st.tuples(st.integers(0, 25), st.sampled_from(["a", "b", ""]), st.sampled_from(["x", "y"])), max_size=80
)


@given(EVENTS, st.integers(0, LAG - 5))
@settings(max_examples=500, deadline=None)
def test_it_equals_looking_at_every_second_again(steps: list[tuple[int, str, str]], disorder: int) -> None:
    events: list[tuple[int, Pair]] = []
    second = 0
    for step, address, account in steps:
        second += step
        events.append((second, (address, account)))
    replay = Replay(60)
    thresholds = {"ip_account": 3, "account": 4, "ip": 4, "total": 5, "spray": 2, "distributed": 2}
    found: list[Record] = []
    for place, (at, pair) in enumerate(events):
        # Every third line comes earlier than it should, as another log's may.
        late = START + at - (disorder if place % 3 == 0 else 0)
        events[place] = (late - START, pair)
        assert replay.add(late, [pair], admin=False)
        found += replay.attacks(thresholds)
    found += replay.attacks(thresholds, all_told=True)
    assert sorted((r.fields["check"], int(r.at) - START, int(r.fields["count"])) for r in found) == sorted(
        slowly(events, thresholds)
    )


def slowly(events: list[tuple[int, Pair]], thresholds: dict[str, int]) -> list[tuple[str, int, int]]:
    found = []
    for check, threshold in thresholds.items():
        episode: list[int] = []
        for second in sorted({at for at, _ in events}):
            inside = [pair for at, pair in events if second - 60 < at <= second]
            value = max(values(inside, pair)[check] for at, pair in events if at == second)
            if episode and second - episode[1] > 60:
                found.append((check, episode[0], episode[2]))
                episode = []
            if value >= threshold:
                start, _, peak = episode or [second, second, 0]
                episode = [start, second, max(peak, value)]
        if episode:
            found.append((check, episode[0], episode[2]))
    return found


def values(inside: list[Pair], pair: Pair) -> dict[str, int]:
    """Return what a failure of ``pair`` is one of, all in one window."""
    address, account = pair
    same = {
        "ip_account": [each for each in inside if each == pair and all(pair)],
        "account": [each for each in inside if each[1] == account],
        "ip": [each for each in inside if address and each[0] == address],
        "total": inside,
        "spray": {each for each in inside if all(pair) and all(each) and each[0] == address},
        "distributed": {each for each in inside if all(pair) and all(each) and each[1] == account},
    }
    return {check: len(found) for check, found in same.items()}
