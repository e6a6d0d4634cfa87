import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.logs.signatures import CAPACITY, HALF, Key, Signatures, mask

START = 1_709_371_233


@pytest.mark.parametrize(
    ("message", "masked"),
    [
        ("handler exception", "handler exception"),
        ("cannot send item 17", "cannot send item *"),
        ("item 17, 18, 19 are gone", "item * are gone"),
        ("authentication failed for [bob], invalid password", "authentication failed for *, invalid password"),
        ("no such folder: Trips", "no such folder: *"),
        ("Unknown document: /opt/zimbra/store/0/1/msg/0/257-3.msg", "Unknown document: *"),
        ("mail to bob@example.net failed", "mail to * failed"),
        ("cannot parse \"my words\" at 'all of them'", "cannot parse * at *"),
        ("can't open, isn't there", "can't open, isn't there"),
        ("acct=0f1d size=7 name=Trips", "acct=* size=* name=*"),
        ("connection to mx.example.com refused", "connection to * refused"),
        ("zimbraId is 8aa29c1d-04ab-4a48-9bbe-2d1f9a1b2c3d", "zimbraId is *"),
        ("Fehler bei Übergabe", "Fehler bei *"),
        ("com.zimbra.cs.mailbox.Mailbox is closed", "com.zimbra.cs.mailbox.Mailbox is closed"),
        ("<a@b> (text) {x} 10.0.0.1 2001:db8::1", "*"),
    ],
)
def test_what_differs_from_one_time_to_the_next_is_a_star(message: str, masked: str) -> None:
    assert mask(message.encode()) == masked


def test_the_account_of_the_context_is_never_in_a_signature() -> None:
    assert mask(b"ann cannot see the calendar of ann.", b"ann@example.com") == "* cannot see the calendar *."
    assert mask(b"annex of joann and ann", b"ann@example.com") == "annex of joann and *"
    assert mask(b"ann@example.com's store", b"ann@example.com") == "*"


@settings(max_examples=2000, deadline=None)
@given(st.text("abc 129@/[]\"'=.:,é\0", max_size=80), st.text("abc", min_size=1, max_size=4))
def test_a_signature_holds_no_digit_no_address_and_no_name(message: str, name: str) -> None:
    masked = mask(message.encode(), f"{name}@example.com".encode())

    assert not any(char.isdigit() or char in "@/\0é" for char in masked)
    words = "".join(char if char.isalnum() else " " for char in masked).split()
    assert name not in words


@given(st.binary(max_size=400), st.binary(max_size=20))
def test_any_message_has_a_signature(message: bytes, name: bytes) -> None:
    assert len(mask(message, name)) <= 400


def key(text: str) -> Key:
    return "warn", "soap", text, ""


def saved(signatures: Signatures, rows: dict[str, str]) -> Signatures:
    """Return what a new process makes of the rows."""
    for name, row in signatures.changes():
        if row is None:
            rows.pop(name, None)
        else:
            rows[name] = row
    after = Signatures()
    after.restore(rows)
    return after


def test_the_most_frequent_come_first_and_survive_a_restart() -> None:
    signatures = Signatures()
    rows: dict[str, str] = {}
    for text, times in (("a", 3), ("b", 7), ("c", 1)):
        for _ in range(times):
            signatures.add(key(text), START)
        signatures = saved(signatures, rows)

    assert signatures.top() == [(key("b"), 7), (key("a"), 3), (key("c"), 1)]
    assert next((item.value, item.count) for item in signatures.evidence()) == ("warn soap: b", 7)


def test_what_was_frequent_a_week_ago_is_forgotten() -> None:
    signatures = Signatures()
    rows: dict[str, str] = {}
    for text in "axyz":
        signatures.add(key(text), START)
    signatures.add(key("b"), START + HALF)
    signatures = saved(signatures, rows)
    assert {each for each, _ in signatures.top()} == {key(text) for text in "axyzb"}

    signatures.add(key("c"), START + 2 * HALF)
    assert {each for each, _ in signatures.top()} == {key("b"), key("c")}
    assert saved(signatures, rows).top() == signatures.top()
    assert len(rows) == 3


def test_a_clock_that_was_far_ahead_does_not_keep_everything_for_good() -> None:
    signatures = Signatures()
    signatures.add(key("a"), START + 100 * HALF)
    for half in range(3):
        signatures.add(key("b"), START + half * HALF)

    assert signatures.top() == [(key("b"), 2)]


def test_memory_and_rows_are_bounded_and_the_frequent_stay() -> None:
    signatures = Signatures()
    rows: dict[str, str] = {}
    for number in range(5000):
        signatures.add(key(f"rare {number}"), START)
        if number % 10 == 0:
            signatures.add(key("frequent"), START)
        if number % 1000 == 0:
            signatures = saved(signatures, rows)

    assert len(saved(signatures, rows).top()) == 10
    assert len(rows) == CAPACITY + 1
    [(top, count), *_] = signatures.top()
    assert top == key("frequent")
    assert 500 <= count <= 500 + 5500 / CAPACITY


def test_only_what_changed_is_given_again() -> None:
    signatures = Signatures()
    signatures.add(key("a"), START)
    assert len(list(signatures.changes())) == 2
    assert list(signatures.changes()) == []

    signatures.add(key("a"), START)
    [(_, row)] = signatures.changes()
    assert json.loads(row or "")[-2:] == [2, 0]
