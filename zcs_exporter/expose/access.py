"""Who may ask this server what.

Loopback is not a login: mailboxd fetches addresses on behalf of its users, so anything on this host may be
made to ask us. And a browser may be made to ask under a foreign name, so ``Host`` is checked.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import secrets
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from zcs_exporter.blocking import BlockingCall
from zcs_exporter.config import ConfigError, WebConfig
from zcs_exporter.contract import Clock
from zcs_exporter.expose.server.message import Request
from zcs_exporter.expose.web_config import WebSettings

COOKIE_LIFE = 7 * 86400
"""Seconds for which a browser stays logged in."""

_FORWARDING = ("forwarded", "x-real-ip")
_FORWARDING_PREFIX = "x-forwarded-"

_KEPT_PASSWORDS = 64
_WAITING_CHECKS = 8

Check = Callable[[], Coroutine[Any, Any, bool]]
"""Finds something out, which takes time; raises Refusal where that cannot be done now."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refusal(Exception):  # noqa: N818 - not a fault of ours but an answer to theirs
    """A request that is not answered.

    Attributes:
        status: The HTTP status; the text says what to do.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    Attributes:
        here: It is on this very host.
        private: Nobody in between can read: TLS, or loopback.
        certificate: It proved by a certificate who it is.
    """

    address: IpAddress | None
    here: bool
    private: bool
    certificate: bool


def check_exposure(config: WebConfig, settings: WebSettings) -> None:
    """Refuse to show the host to anyone who can reach it.

    Raises:
        ConfigError: It listens beyond this host without TLS, users or an allow list.
    """
    if ipaddress.ip_address(config.host).is_loopback or settings.tls or settings.users or config.allow:
        return
    fault = (
        f"web.listen: {config.listen} is open to everyone who can reach it; add under 'web:' the line "
        "'allow: [192.0.2.0/24]' with the networks of your Prometheus and administrators, or the line "
        "'config_file: /etc/zcs-exporter/web.yaml' naming a file with 'tls_server_config:' or 'basic_auth_users:'"
    )
    raise ConfigError([fault])


class Passwords:
    """Checks passwords against bcrypt hashes, off the event loop and one at a time.

    A pair that was right is remembered by a keyed hash, since bcrypt takes about 70 ms and a scraper
    asks every few seconds.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = users
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, None] = {}
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._check = BlockingCall("checking a password")

    def right(self, user: str, password: str) -> bool | Check:
        """Return that the user exists and has this password, or what finds out whether it is so."""
        proof = hmac.digest(self._key, f"{user}\0{password}".encode(), hashlib.sha256)
        if proof in self._right:
            return True
        return partial(self._find_out, user, password, proof)

    async def _find_out(self, user: str, password: str, proof: bytes) -> bool:
        if self._waiting >= _WAITING_CHECKS:
            raise Refusal(503, "Too many passwords wait to be checked; try again in a few seconds.")
        self._waiting += 1
        # The thread goes on when the client does not; so must the turn that it holds.
        return await asyncio.shield(asyncio.create_task(self._in_turn(user, password, proof)))

    async def _in_turn(self, user: str, password: str, proof: bytes) -> bool:
        try:
            async with self._turn:
                if proof in self._right:
                    return True
                # An unknown user costs the same as a known one, so that time tells nothing.
                hashed = self._users.get(user) or next(iter(self._users.values()))
                same = await self._check(lambda: _matches(hashed, password))
        finally:
            self._waiting -= 1
        right = same and user in self._users
        if right:
            while len(self._right) >= _KEPT_PASSWORDS:
                del self._right[next(iter(self._right))]
            self._right[proof] = None
        return right


def _matches(hashed: str, password: str) -> bool:
    import bcrypt  # only hosts with users need it

    # As in every other implementation, only the first 72 bytes count.
    return bcrypt.checkpw(password.encode()[:72], hashed.encode())


class Access:
    """The rules, for one configuration.

    Attributes:
        cookie: Name of the login cookie; the token's own, so that tunnels to two hosts do not log each other out.
    """

    def __init__(self, config: WebConfig, settings: WebSettings, token: str, clock: Clock) -> None:
        self._settings = settings
        self._token = token.encode()
        self._clock = clock
        self._passwords = Passwords(settings.users)
        self._listen = ipaddress.ip_address(config.host)
        self._allow = [ipaddress.ip_network(network) for network in config.allow]
        own = socket.gethostname().lower()
        self._own_names = {"localhost", own, own.partition(".")[0]}
        self._cookie_key = hmac.digest(self._token, b"cookie", hashlib.sha256)
        self.cookie = f"zcs_exporter_{hashlib.sha256(self._token).hexdigest()[:8]}"

    @property
    def has_users(self) -> bool:
        """Whether even the metrics need a login."""
        return bool(self._settings.users)

    @property
    def challenge(self) -> str:
        """The way to log in, for ``WWW-Authenticate``."""
        return f'{"Basic" if self.has_users else "Bearer"} realm="zcs-exporter"'

    def peer(self, transport: asyncio.BaseTransport) -> Peer:
        """Return who is at the other end."""
        name, tls = transport.get_extra_info("peername"), transport.get_extra_info("ssl_object")
        address = _parse_address(name[0]) if name else None
        # A certificate that was verified under an earlier configuration proves nothing under this one.
        context = self._settings.tls
        verified = (
            tls is not None
            and context is not None
            and tls.context is context
            and context.verify_mode is not ssl.CERT_NONE
            and bool(tls.getpeercert())
        )
        loopback = address is not None and address.is_loopback
        # Whoever connects to an address of this host from it has the same one at both ends.
        here = loopback or (address is not None and address == self._own_end(transport))
        return Peer(address, here, private=tls is not None or loopback, certificate=verified)

    def admit(self, request: Request, peer: Peer, hostname: str, *, must_log_in: bool) -> None:
        """Let a request pass that comes from where it may, and was meant for this host.

        Whoever asks from this very host for what needs a login may come as far as that, in any network: the commands
        do, with the token. What is open to all is not open to him, since he may have been made to ask.

        Raises:
            Refusal: It does not.
        """
        allowed = not self._allow or (peer.address is not None and any(peer.address in each for each in self._allow))
        if not allowed and not (must_log_in and peer.here):
            raise Refusal(403, "This address is not in one of the networks under web.allow.")
        for name in request.headers:
            if name in _FORWARDING or name.startswith(_FORWARDING_PREFIX):
                raise Refusal(400, f"Requests through a proxy are not answered (header {name}); connect directly.")
        host = request.headers.get("host", "")
        if not host or "," in host:  # several are joined by commas, and there are none in names
            raise Refusal(400, "The request needs one Host header.")
        if not self._is_ours(host, self._own_end(request.transport), hostname):
            raise Refusal(
                421,
                "This server does not answer under that name; use localhost, the address it listens on, "
                "or the host's own name.",
            )

    def _is_ours(self, host: str, own_end: IpAddress | None, hostname: str) -> bool:
        name = _host_of(host)
        address = _parse_address(name)
        if address is None:
            full = hostname.lower().rstrip(".")
            return name.rstrip(".") in self._own_names | {full, full.partition(".")[0]} - {""}
        return address.is_loopback or address in (self._listen, own_end)

    def _own_end(self, transport: asyncio.BaseTransport) -> IpAddress | None:
        name = transport.get_extra_info("sockname")
        return _parse_address(name[0]) if name else None

    def logged_in(self, request: Request, peer: Peer) -> bool | Check:
        """Return whether the request comes from somebody who may see everything, or what finds it out."""
        if peer.certificate:
            return True
        cookie = request.cookie(self.cookie)
        if cookie is not None and self._is_our_cookie(cookie):
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.is_token(given.strip())
        if scheme.lower() == "basic" and self._settings.users:
            user, password = _basic(given.strip())
            return self._passwords.right(user, password)
        return False

    def is_token(self, given: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    def make_cookie(self) -> str:
        """Return the value of a fresh login cookie; the token cannot be had from it."""
        return self._sealed(str(int(self._clock.wall()) + COOKIE_LIFE))

    def _is_our_cookie(self, value: str) -> bool:
        until = value.partition(".")[0]
        ours = hmac.compare_digest(value.encode("utf-8", "replace"), self._sealed(until).encode("utf-8", "replace"))
        return ours and int(until) > self._clock.wall()

    def _sealed(self, until: str) -> str:
        seal = hmac.digest(self._cookie_key, until.encode("utf-8", "replace"), hashlib.sha256)
        return f"{until}.{seal.hex()}"


def is_cross_site(request: Request) -> bool:
    """Whether a browser sends the request for another site's page, with or without its user's wish."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != request.headers.get("host", "").lower():
        return True
    return request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def _basic(encoded: str) -> tuple[str, str]:
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # no base64, no ASCII or no UTF-8
        return "", ""
    return user, password


def _host_of(value: str) -> str:
    """Return the host in a Host header without the port, whichever it is: tunnels have ports of their own."""
    value = value.lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.rpartition(":")[0] if value.count(":") == 1 else value


@lru_cache(64)  # a scraper has the same ones each time, and reading them is a quarter of the work on its request
def _parse_address(text: str) -> IpAddress | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
