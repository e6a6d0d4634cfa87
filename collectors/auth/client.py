"""Which address a client really has, behind proxies that report it.

``oip`` is the header X-Forwarded-For as it came. nginx appends its peer to whatever the client sent,
so the rightmost entry that is not one of our own servers is the client, and those to its left are
only claimed: they accuse nobody.
"""

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import AF_INET, inet_pton
from typing import NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAX_TEXT = 64  # the longest address with zone and port
_MAX_CLAIMED = 4
_MAX_OIP = 4096  # characters from the right; a client can send a thousand entries of its own to their left
_MAX_CACHED = 16384
_LOOPBACK = 127  # first octet

# 203.0.113.9:51022
_IPV4_PORT = re.compile(r"(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}")
# [2001:db8::7]:443
_BRACKETED = re.compile(r"\[([^\]]*)\](?::\d{1,5})?")


def parse_address(text: str) -> Address | None:
    """Return the address in ``text``, with or without a port; None if there is none.

    IPv4 written as IPv6 (``::ffff:192.0.2.1``) is the IPv4 address; the zone of a link-local one is dropped.
    """
    if len(text) > _MAX_TEXT:
        return None
    text = text.strip()
    if ":" not in text:
        try:
            # Several times faster than reading the text, and as strict: four decimals without leading zeros.
            return IPv4Address(inet_pton(AF_INET, text))
        except (OSError, ValueError):
            return None
    match = _BRACKETED.fullmatch(text) or _IPV4_PORT.fullmatch(text)
    if match is not None:
        text = match[1]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class Client(NamedTuple):
    """Who failed to log in.

    Attributes:
        address: In its shortest form; empty if unknown.
        claimed: Addresses that the client or somebody before it only named.
    """

    address: str
    claimed: tuple[str, ...] = ()


NOBODY = Client("")


class Servers:
    """The addresses of this cluster's servers and of proxies before it.

    Attributes:
        plain: Clients known from their originating address alone, which claimed nothing else.
    """

    def __init__(self, own: Collection[Address], networks: Iterable[Network]) -> None:
        """Take the addresses of this host, and the networks of all other servers and proxies."""
        self._own = frozenset(own)
        self._own_ipv4 = frozenset(address.packed for address in self._own if address.version == 4)
        self._networks = tuple(networks)
        self.plain: dict[bytes, str] = {}
        self._clients: dict[tuple[bytes, bytes], Client] = {}

    def __contains__(self, address: Address) -> bool:
        return (
            address in self._own
            or address.is_loopback
            or any(address.version == network.version and address in network for network in self._networks)
        )

    def client(self, oip: bytes, ip: bytes) -> Client:
        """Return the client behind the originating and the peer address, either of which may be empty."""
        if not self._networks:
            address = self._foreign(oip)
            if address:
                if len(self.plain) >= _MAX_CACHED:
                    self.plain.clear()
                self.plain[oip] = address
                return Client(address)
        client = self._clients.get((oip, ip))
        if client is None:
            client = self._find(oip[-_MAX_OIP:].decode("latin-1"), ip.decode("latin-1"))
            if len(self._clients) >= _MAX_CACHED:
                self._clients.clear()
            if len(oip) + len(ip) <= _MAX_TEXT:
                self._clients[oip, ip] = client
        return client

    def _foreign(self, oip: bytes) -> str:
        """Return an originating address that is one of IPv4 and none of ours; empty for any other text."""
        # What inet_pton takes has no shorter form. An attack from many addresses gets here for each of them.
        try:
            text = oip.decode("ascii")
            packed = inet_pton(AF_INET, text)
        except (OSError, ValueError):
            return ""
        return "" if packed[0] == _LOOPBACK or packed in self._own_ipv4 else text

    def _find(self, oip: str, ip: str) -> Client:
        if oip:
            entries = oip.split(",")
            for index in range(len(entries) - 1, -1, -1):
                if not entries[index].strip():
                    continue
                entry = self._entry(entries[index].strip())
                if entry is None:
                    break  # no proxy of ours writes this, so it and all to its left came from the client
                address, ours = entry
                if not ours:
                    return Client(address, _claims(entries[max(0, index - _MAX_CLAIMED) : index]))
        peer = self._entry(ip) if ip else None
        return NOBODY if peer is None else Client(peer[0])

    def _entry(self, text: str) -> tuple[str, bool] | None:
        """Return an address in its shortest form and whether it is one of ours; None for any other text."""
        address = parse_address(text)
        return None if address is None else (str(address), address in self)


def _claims(entries: list[str]) -> tuple[str, ...]:
    return tuple(str(address) for address in map(parse_address, entries) if address is not None) if entries else ()


# 32 host LOCAL below "|-- 192.0.2.10"
_FIB_LOCAL = re.compile(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s*/32 host LOCAL")


def parse_fib_trie(text: str) -> frozenset[Address]:
    """Return this host's IPv4 addresses from ``/proc/net/fib_trie``."""
    found = (parse_address(match[1]) for match in _FIB_LOCAL.finditer(text))
    return frozenset(address for address in found if address is not None)


# 20010db8000000000000000000000007 02 40 00 80     eth0
_IF_INET6 = re.compile(r"^([0-9a-f]{32}) ", re.MULTILINE)


def parse_if_inet6(text: str) -> frozenset[Address]:
    """Return this host's IPv6 addresses from ``/proc/net/if_inet6``."""
    return frozenset(IPv6Address(int(match[1], 16)) for match in _IF_INET6.finditer(text))
