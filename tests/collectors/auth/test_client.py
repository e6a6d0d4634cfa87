from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.auth.client import Client, Servers, parse_address, parse_fib_trie, parse_if_inet6

SERVERS = Servers([ip_address("10.0.0.10"), ip_address("2001:db8::10")], [ip_network("10.0.0.5/32")])


def test_the_rightmost_address_that_is_no_server_is_the_client() -> None:
    assert SERVERS.client(b"203.0.113.9, 198.51.100.7", b"10.0.0.5") == Client("198.51.100.7", ("203.0.113.9",))
    assert SERVERS.client(b"203.0.113.9, 198.51.100.7, 10.0.0.5, 127.0.0.1", b"") == Client(
        "198.51.100.7", ("203.0.113.9",)
    )
    assert SERVERS.client(b"2001:db8::7", b"10.0.0.5") == Client("2001:db8::7")


def test_without_an_originating_address_the_peer_is_the_client() -> None:
    assert SERVERS.client(b"", b"198.51.100.7") == Client("198.51.100.7")
    assert SERVERS.client(b"10.0.0.5", b"198.51.100.7") == Client("198.51.100.7")
    assert SERVERS.client(b"", b"10.0.0.5") == Client("10.0.0.5")
    assert SERVERS.client(b"", b"") == Client("")


def test_a_private_address_is_a_client_like_any_other() -> None:
    assert SERVERS.client(b"10.0.7.7", b"10.0.0.5") == Client("10.0.7.7")


def test_what_stands_left_of_nonsense_accuses_nobody() -> None:
    assert SERVERS.client(b"203.0.113.9, nonsense", b"198.51.100.7") == Client("198.51.100.7")
    assert SERVERS.client(b"203.0.113.9, nonsense, 10.0.0.5", b"10.0.0.5") == Client("10.0.0.5")
    assert SERVERS.client(b"203.0.113.9, , 198.51.100.7,", b"") == Client("198.51.100.7", ("203.0.113.9",))


def test_a_thousand_claimed_entries_change_nothing() -> None:
    claimed = ", ".join("203.0.113.9" for _ in range(3000))
    client = SERVERS.client(claimed.encode() + b", 198.51.100.7", b"10.0.0.5")
    assert client == Client("198.51.100.7", ("203.0.113.9",) * 4)


def test_one_address_has_one_form() -> None:
    assert str(parse_address("::ffff:192.0.2.1")) == "192.0.2.1"
    assert str(parse_address("2001:DB8:0::0007")) == "2001:db8::7"
    assert str(parse_address("[2001:db8::7]:443")) == "2001:db8::7"
    assert str(parse_address("203.0.113.9:51022")) == "203.0.113.9"
    assert str(parse_address("fe80::1%eth0")) == "fe80::1"
    assert parse_address("203.0.113") is None
    assert parse_address("unknown") is None


def test_this_hosts_addresses_are_read_from_proc() -> None:
    trie = (
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n"
        "     |-- 192.0.2.10\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n"
    )
    assert parse_fib_trie(trie) == {ip_address("192.0.2.10")}
    inet6 = "20010db8000000000000000000000007 02 40 00 80     eth0\n"
    assert parse_if_inet6(inet6) == {ip_address("2001:db8::7")}


@given(st.text(max_size=100), st.text(max_size=60))
@settings(max_examples=2_000, deadline=None)
def test_any_text_names_an_address_or_nobody(oip: str, ip: str) -> None:
    client = SERVERS.client(oip.encode("utf-8", "replace"), ip.encode("utf-8", "replace"))
    assert client.address == "" or str(ip_address(client.address)) == client.address


@given(st.lists(st.ip_addresses(v=4).map(str) | st.sampled_from(["10.0.0.10", "127.1.2.3", " ", "01.2.3.4", "::1"])))
@settings(max_examples=2_000, deadline=None)
def test_other_servers_and_proxies_make_no_difference_to_whom_they_are_not(entries: list[str]) -> None:
    own, elsewhere = [ip_address("10.0.0.10")], ip_network("2001:db8:ffff::/48")
    for oip in (",".join(entries), ", ".join(entries)):
        text = oip.encode()
        assert Servers(own, []).client(text, b"10.0.0.10") == Servers(own, [elsewhere]).client(text, b"10.0.0.10")


@given(st.text(max_size=300))
@settings(max_examples=2_000, deadline=None)
def test_any_text_of_proc_is_read(text: str) -> None:
    parse_fib_trie(text)
    parse_if_inet6(text)
