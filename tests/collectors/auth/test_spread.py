import json
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.auth.spread import MAX_PARTNERS, SLICE, Spread

START = 1_700_000_100


def add(spread: Spread, second: int, *pairs: tuple[str, str], now: int | None = None) -> None:
    keys, partners = [key for key, _ in pairs], [partner for _, partner in pairs]
    spread.add(second, second if now is None else now, keys, partners)


def commit(spread: Spread, saved: dict[str, str]) -> None:
    for key, row in spread.changes().items():
        if row is None:
            del saved[key]
        else:
            saved[key] = row


def restored(saved: dict[str, str]) -> Spread:
    spread = Spread("s")
    spread.restore(saved)
    return spread


def test_different_partners_of_one_key_are_counted_for_an_hour() -> None:
    spread = Spread("s")
    for number in range(12):
        add(spread, START + 60 * number, ("203.0.113.9", f"user{number}"), ("203.0.113.9", "user0"))
    assert spread.largest == 12
    assert spread.top(3) == [("203.0.113.9", 12)]
    spread.expire(START + 55 * 60)
    assert spread.largest == 12
    spread.expire(START + 60 * 60)
    assert spread.largest < 12
    spread.expire(START + 73 * 60)
    assert spread.largest == 0


def test_a_partner_that_fails_again_stays_for_another_hour() -> None:
    spread = Spread("s")
    add(spread, START, ("a", "x"), ("a", "y"))
    add(spread, START + 3000, ("a", "x"))
    spread.expire(START + 3700)
    assert spread.largest == 1


def test_more_than_can_be_told_apart_are_a_hundred() -> None:
    spread = Spread("s")
    add(spread, START, *(("a", f"user{number}") for number in range(500)))
    assert spread.largest == MAX_PARTNERS


def test_beyond_its_room_it_forgets_who_was_quiet_longest_and_is_never_too_high() -> None:
    spread = Spread("s", max_keys=3000)
    saved: dict[str, str] = {}
    for number in range(40):
        add(spread, START + number, *((f"flood{number}-{each}", "x") for each in range(250)))
        if number % 4 == 0:
            add(spread, START + number, ("203.0.113.9", f"user{number}"))
        commit(spread, saved)
    assert spread.top(1) == [("203.0.113.9", 10)]
    assert restored(saved).top(1) == [("203.0.113.9", 10)]
    # Rows of those forgotten are gone: about 40 bytes for each that is left, twice over.
    assert sum(map(len, saved.values())) < 3000 * 40 * 3


def test_a_clock_put_right_by_seconds_forgets_nothing_and_one_set_back_everything() -> None:
    spread = Spread("s")
    border = START // SLICE * SLICE
    add(spread, border, ("a", "x"), ("a", "y"))
    spread.expire(border - 1)
    assert spread.largest == 2
    spread.expire(border - 7200)
    assert spread.largest == 0


def test_rows_of_earlier_releases_have_the_partners_in_any_order() -> None:
    now = START // SLICE
    partners = [(b"wxyz", 0), (b"stuv", 11), (b"opqr", 5)]
    items = b"".join(name + bytes(((now - age) & 0xFF,)) for name, age in partners)
    spread = restored({"s:modulus": str(1 << 63 | 1), "s:7": json.dumps([now, {"203.0.113.9": items.hex()}])})
    assert spread.largest == 3
    for slices, left in ((1, 2), (7, 1)):
        spread.expire((now + slices) * SLICE)
        assert spread.partners("203.0.113.9") == left


def test_nobody_can_find_names_that_fall_together() -> None:
    one, other = Spread("s"), Spread("s")
    assert one.hash("ann@example.com") != other.hash("ann@example.com")
    add(one, START, ("a", "x"))
    saved: dict[str, str] = {}
    commit(one, saved)
    assert restored(saved).hash("ann@example.com") == one.hash("ann@example.com")


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1500),
        st.integers(-900, 30),
        st.sampled_from("abc"),
        st.sampled_from("uvwxyz"),
        st.sampled_from(["", "", "save", "kill"]),
    ),
    max_size=50,
)


@given(STEPS)
@settings(max_examples=1000, deadline=None)
def test_it_equals_counting_everything_again(steps: list[tuple[int, int, str, str, str]]) -> None:
    spread, now = Spread("s"), START
    saved: dict[str, str] = {}
    events: list[tuple[int, str, str]] = []
    committed: list[tuple[int, str, str]] = []
    for move, named, key, partner, then in steps:
        now += move
        add(spread, now + named, (key, partner), now=now)
        events.append((min(now + named, now), key, partner))
        if then == "save":
            commit(spread, saved)
            committed = list(events)
        elif then == "kill":
            spread = restored(saved)
            events = list(committed)
        spread.expire(now)
        partners: dict[str, set[str]] = defaultdict(set)
        for at, who, what in events:
            if at // SLICE > now // SLICE - 12:
                partners[who].add(what)
        assert spread.largest == max(map(len, partners.values()), default=0)
        several = {who: len(found) for who, found in partners.items() if len(found) > 1}
        assert dict(spread.top(10)) == several
    commit(spread, saved)
    spread.expire(now + 7200)
    commit(spread, saved)
    assert saved.keys() <= {"s:modulus"}
