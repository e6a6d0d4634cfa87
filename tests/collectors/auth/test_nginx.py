import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.auth.nginx import UnknownUser, parse_unknown_user

HEAD = b"2024/03/02 10:20:42 [error] 2101#0: *8814 An error occurred in mail zmauth: user not found:"


def line(name: bytes, client: bytes = b"198.51.100.23:40113", server: bytes = b"0.0.0.0:993") -> bytes:
    rest = b" while in http auth state, client: " + client + b", server: " + server + b', login: "' + name + b'"'
    return HEAD + name + rest


def test_name_address_and_protocol_are_read() -> None:
    assert parse_unknown_user(line(b"nobody@example.com")) == UnknownUser(
        b"2024/03/02 10:20:42", b"nobody@example.com", b"198.51.100.23:40113", "imap"
    )
    pop = parse_unknown_user(line(b"x", b"[2001:db8::7]:40113", b"[::]:995") + b", [a:1-b:2] <=> [c:3-d:4]")
    assert pop == UnknownUser(b"2024/03/02 10:20:42", b"x", b"[2001:db8::7]:40113", "pop3")


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_name_cannot_accuse_another_address(times: int) -> None:
    forged = b'x while in http auth state, client: 192.0.2.66:1, server: 0.0.0.0:993, login: "x"' * times
    found = parse_unknown_user(line(forged))
    assert found is not None
    assert found.address == b"198.51.100.23:40113"


def test_a_line_cut_short_is_a_failure_of_an_unknown_client() -> None:
    forged = b'x while in http auth state, client: 192.0.2.66:1, server: 0.0.0.0:993, login: "x"'
    for cut in (line(forged)[:-90], line(b"x")[:100], HEAD):
        assert parse_unknown_user(cut) == UnknownUser(b"2024/03/02 10:20:42", b"", b"", "other")


@pytest.mark.parametrize("length", [2048, 65_536])
def test_a_name_longer_than_a_line_may_be_accuses_nobody(length: int) -> None:
    forged = b'x while in http auth state, client: 192.0.2.66:1, server: 0.0.0.0:993, login: "x", ' + b"x" * length
    found = parse_unknown_user(line(forged)[:length])
    assert found == UnknownUser(b"2024/03/02 10:20:42", b"", b"", "other")


def test_the_words_elsewhere_are_another_line() -> None:
    assert parse_unknown_user(b'2024/03/02 10:20:42 [info] 1#0: *1 login: "' + line(b"x") + b'"') is None
    assert parse_unknown_user(b" " + line(b"x")) is None


@given(st.binary(max_size=120) | st.just(line(b"x")))
@settings(max_examples=2_000, deadline=None)
def test_any_bytes_are_read_and_any_name_leaves_the_address_alone(text: bytes) -> None:
    parse_unknown_user(text)
    parse_unknown_user(HEAD + text)
    found = parse_unknown_user(line(text))
    assert found is not None
    assert found.address == b"198.51.100.23:40113"
    assert found.name == text[:256]


def test_a_hostile_line_of_64_kib_is_read_in_one_pass() -> None:
    found = parse_unknown_user(line(b" while in http auth state, client: " * 850))
    assert found is not None
    assert found.address == b"198.51.100.23:40113"
