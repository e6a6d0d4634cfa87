"""The one thing ZCS's mail proxy alone knows: who asked for an account that does not exist.

nginx writes the name as the client typed it, twice in a line, and escapes nothing. It cuts lines at 2,048 bytes,
and we do at 64 KiB, so that a long name can stand for all that should follow it: no line that may be cut is believed.
"""

import re
from dataclasses import dataclass

from collectors.auth.client import NOBODY, Client, parse_address
from collectors.auth.intake import BlockFailures, lines_with
from zcs_exporter.log_time import LogTime

NEEDLE = b"user not found:"
_MAX_NAME = 256
_CUT = (range(2000, 2049), range(65_000, 1 << 17))

# 2024/03/02 10:20:42 [error] 2101#0: *8814 An error occurred in mail zmauth: user not found:x@example.com while ...
_HEAD = re.compile(
    rb"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[[a-z]{1,8}\] \d{1,10}#\d{1,10}: \*\d{1,20} "
    rb"An error occurred in mail zmauth: user not found:"
)
_AFTER_NAME = b" while in http auth state, client: "
# 198.51.100.23:40113, server: 0.0.0.0:993, login: "nobody@example.com"
_REST = re.compile(rb'([0-9A-Fa-f.:\[\]]{2,64}), server: ([0-9A-Za-z._:\[\]*-]{1,255}), login: "')
_PORTS = {b"143": "imap", b"993": "imap", b"7143": "imap", b"7993": "imap"}
_PORTS |= {b"110": "pop3", b"995": "pop3", b"7110": "pop3", b"7995": "pop3"}


@dataclass(frozen=True, slots=True)
class UnknownUser:
    """A login under a name that no account has.

    Attributes:
        stamp: ``2024/03/02 10:20:42``, local time.
        name: As typed; empty if it cannot be told from the rest of the line.
        address: Of the client, with its port; empty likewise.
        protocol: ``imap``, ``pop3`` or ``other``, by the port that was asked.
    """

    stamp: bytes
    name: bytes
    address: bytes
    protocol: str


def parse_unknown_user(line: bytes) -> UnknownUser | None:
    """Return what a line says; None where it is another line or only has these words in client text.

    A name may hold all the text that follows it in honest lines. It stands before and after the true
    one alike, so of an odd number of such places the middle one is nginx's own.
    """
    head = _HEAD.match(line)
    if head is None:
        return None
    start = head.end()
    cut = any(len(line) in lengths for lengths in _CUT)
    places = 0 if cut else line.count(_AFTER_NAME, start)
    position = start - 1
    for _ in range(places // 2 + 1):
        position = line.find(_AFTER_NAME, position + 1)
    rest = _REST.match(line, position + len(_AFTER_NAME)) if places % 2 else None
    if rest is None or not line.startswith(line[start:position] + b'"', rest.end()):
        return UnknownUser(head[1], b"", b"", "other")
    port = rest[2].rpartition(b":")[2]
    return UnknownUser(head[1], line[start:position][:_MAX_NAME], rest[1], _PORTS.get(port, "other"))


def read_proxy_log(found: BlockFailures, clock: LogTime) -> None:
    """Take the lines of a block of nginx.log."""
    for line in lines_with(found.block.data, (NEEDLE,)):
        user = parse_unknown_user(line)
        if user is None:
            found.imitation("proxy_login")
            continue
        address = parse_address(user.address.decode("latin-1"))
        if address is None:
            found.unreadable()
        client = NOBODY if address is None else Client(str(address))
        name = user.name.decode("utf-8", "replace")
        at = clock.local(user.stamp, found.now)
        found.add(at, client, name, user.protocol, "no_account")
        fields = {"account": name, "address": client.address, "protocol": user.protocol, "reason": "no_account"}
        found.record("login_failed", at, line, fields)
