"""The lines of mailboxd's ``audit.log``, as ZCS 8.0 to 10.1 write them.

``YYYY-MM-DD HH:MM:SS,mmm LEVEL [thread] [context] security - message``. Everything that a client
sent stands inside the context or the message. A context is ``key=value;`` pairs in which values
double their semicolons, so it ends at the first ``] security - `` after a single one, or at once when
it is empty. What looks like an end before that was written by a client.
"""

import re
from collections import Counter
from enum import Enum
from typing import NamedTuple

_MARK = b"] security - "
_SEMICOLON = ord(";")
FAILED = b"authentication failed for"

# 2024-03-02 10:20:31,118 INFO  [ImapSSLServer-42] [ip=10.0.0.5;] security - cmd=Auth; account=a@b.test; protocol=imap;
# Each match is one whole line. The first alternative counts a success, or passes over an operation that is no
# login, both only outside the administration URL and with a context beyond doubt; the second leaves the line
# to be looked at alone. ``[^]]`` is several times faster than a class that leaves out the newline too; without
# a limit each of many broken lines would be searched to the end of the block.
_SORTED = re.compile(
    rb"\d\d\d\d-..-.. ..:..:..,... INFO  "
    rb"\[(?![^]]{0,4096}/service/admin/)[^]]{0,4096}\] "
    rb"\[[^]]{0,4096};\](?<!;;\]) security - "
    rb"(?:cmd=Auth; account=[^;]{0,4096}; protocol=([a-z0-9_]+);|cmd=(?![A-Za-z]*Auth;).*)\n"
    rb"|(.+)\n|\n"
)

# 2024-03-02 10:20:33,901 WARN  [ImapSSLServer-7] [ip=10.0.0.5;oip=198.51.100.23;] security - cmd=Auth;
# account=bob@example.com; protocol=imap; error=authentication failed for [bob], invalid password;
# A failure as an attack makes them by the thousand, with nothing in it that could be read in two ways.
_PLAIN_FAILURE = re.compile(
    rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} WARN  \[([^]]*)\] \[([^]]*;)\](?<!;;\]) security - "
    rb"cmd=Auth; account=([^];]*); protocol=([a-z0-9_]{1,32}); "
    rb"error=authentication failed for \[[^]]*\](?:, ([^]]*)|;)"
)

# 2013-04-24 00:23:23,118 WARN  [btpool0-1042] [ip=10.0.0.5;oip=203.0.113.9;] security - cmd=Auth; ...
_HEAD = re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} ([A-Z]{4,5}) {1,2}\[")

# cmd=Auth; account=bob@example.com; protocol=imap; error=authentication failed for [bob], invalid password;
_CMD = re.compile(rb"cmd=([A-Za-z]{1,32});(?: account=([^;]*);)?(?: protocol=([a-z0-9_]{1,32});)?(.*)", re.DOTALL)
# error=authentication failed for [bob], invalid password;
_ERROR = re.compile(rb"(?: [A-Za-z]{1,32}=[^;]*;)*? error=authentication failed for \[(.*)", re.DOTALL)
# error=account lockout due to too many failed logins;
_LOCKOUT = b" error=account lockout due to"

# Error occurred during authentication: authentication failed for [x]. Reason: account not found.
_UNKNOWN = b"Error occurred during authentication: authentication failed for ["
_UNKNOWN_END = b"]. Reason: account not found."

# qtp1:https:https://mail.example.com:7073/service/admin/soap/
# The client chooses the host part, but only the administration ports serve this path.
_ADMIN_URL = re.compile(rb"[^/]*://[^/]*?(?::(\d{1,5}))?/service/admin/")

PROTOCOLS = ("soap", "imap", "pop3", "smtp", "http_basic", "http_dav", "zsync", "admin", "spnego", "other")
REASONS = ("bad_password", "no_account", "locked", "closed", "two_factor", "preauth", "external", "other")

_PROTOCOL = {name.encode(): name for name in PROTOCOLS}
_LOGINS = frozenset({b"Auth", b"PreAuth", b"SSOAuth"})
_COMMANDS = _LOGINS | {b"AdminAuth", b"DelegateAuth"}
_THREADS = ((b"Imap", "imap"), (b"Pop3", "pop3"))

_REASONS = (
    (b"invalid password", "bad_password"),
    (b"empty password", "bad_password"),
    (b"account not found", "no_account"),
    (b"account lockout", "locked"),
    (b"account(or domain) status is locked", "locked"),
    (b"account(or domain) status is ", "closed"),
    (b"preauth ", "preauth"),
    (b"no two-factor code", "two_factor"),
    (b"invalid TOTP code", "two_factor"),
    (b"external LDAP auth failed", "external"),
    (b"cannot obtain principal for kerberos5 auth", "external"),
)
# handler <x> for custom auth for domain <d> not found
_CUSTOM = re.compile(rb"handler .{0,256}for custom auth for domain ", re.DOTALL)


class Kind(Enum):
    """What an entry says about a login."""

    FAILURE = "failure"
    SUCCESS = "success"
    LOCKOUT = "lockout"
    IGNORED = "ignored"
    UNREADABLE = "unreadable"


class AuditLine(NamedTuple):
    """One line taken apart.

    Attributes:
        stamp: ``2024-03-02 10:20:31``, local time.
        level: Such as ``WARN``.
        imitated: Whether client text in it looks like the end of a context.
    """

    stamp: bytes
    level: bytes
    thread: bytes
    context: bytes
    message: bytes
    imitated: bool


class Login(NamedTuple):
    """What an audit message says about a login.

    Attributes:
        command: ``Auth``, ``AdminAuth`` and so on; empty where the message has none.
        account: The resolved address, or the name as typed where there is no such account.
        protocol: One of ``PROTOCOLS``.
        reason: One of ``REASONS``; of a failure only.
        port: The administration port that was asked; 0 elsewhere.
    """

    kind: Kind
    command: bytes = b""
    account: bytes = b""
    protocol: str = "other"
    reason: str = "other"
    port: int = 0


_IGNORED = Login(Kind.IGNORED)
_UNREADABLE = Login(Kind.UNREADABLE)


def sort_audit_lines(data: bytes) -> tuple[Counter[str], list[bytes]]:
    """Return the plain successes of whole lines by protocol, and every line that has to be looked at alone."""
    found = _SORTED.findall(data)
    successes: Counter[str] = Counter()
    if len(found) != data.count(b"\n"):
        # Something broken in the middle was taken together with the line after it.
        return successes, [line for line in data.split(b"\n") if line]
    for protocol, times in Counter([protocol for protocol, _ in found]).items():
        if protocol:
            successes[_PROTOCOL.get(protocol, "other")] += times
    return successes, [line for _, line in found if line]


def read_entry(line: bytes) -> tuple[AuditLine, Login] | None:
    """Return a line taken apart and what it says of a login; None where it is not an entry of the security log."""
    match = _PLAIN_FAILURE.fullmatch(line)
    if match is None:
        entry = parse_audit_line(line)
        return None if entry is None else (entry, parse_login(entry))
    stamp, thread, context, account, protocol, why = match.groups()
    port, protocol_name = _where(thread, b"Auth", protocol)
    reason = "other" if why is None else classify_reason(why)
    entry = AuditLine(stamp, b"WARN", thread, context, line[match.end(3) + len(_MARK) :], False)
    return entry, Login(Kind.FAILURE, b"Auth", account, protocol_name, reason, port)


def parse_audit_line(line: bytes) -> AuditLine | None:
    """Take a line apart; None where it is not an entry of the security log."""
    head = _HEAD.match(line)
    if head is None:
        return None
    thread_end = line.find(b"] [", head.end())
    if thread_end < 0:
        return None
    start = thread_end + 3
    imitated = False
    end = line.find(_MARK, start)
    while end > start:
        run = end
        while run > start and line[run - 1] == _SEMICOLON:
            run -= 1
        if (end - run) % 2:
            break
        imitated = True
        end = line.find(_MARK, end + 1)
    if end < 0:
        return None
    message = line[end + len(_MARK) :]
    return AuditLine(
        stamp=head[1],
        level=head[2],
        thread=line[head.end() : thread_end],
        context=line[start:end],
        message=message,
        imitated=imitated or _MARK in message,
    )


def parse_context(context: bytes) -> dict[bytes, bytes]:
    """Return the pairs of a context, semicolons inside values as they were."""
    doubled = b";;" in context
    if doubled:
        context = context.replace(b";;", b"\0")
    pairs: dict[bytes, bytes] = {}
    for part in context.split(b";"):
        key, equals, value = part.partition(b"=")
        if equals:
            pairs.setdefault(key, value.replace(b"\0", b";") if doubled else value)
    return pairs


def classify_reason(text: bytes) -> str:
    """Return which of ``REASONS`` the text after the name means; ``other`` where ZCS gave none."""
    for start, reason in _REASONS:
        if text.startswith(start):
            return reason
    return "external" if _CUSTOM.match(text) else "other"


def failure_reason(text: bytes) -> str:
    """Return the reason in what follows ``authentication failed for [``: ``name], reason;``."""
    _, bracket, rest = text.partition(b"]")
    return classify_reason(rest.removeprefix(b", ")) if bracket else "other"


def parse_login(line: AuditLine) -> Login:
    """Return what an entry says about a login."""
    message = line.message
    match = _CMD.match(message)
    if match is None:
        return _parse_unknown_account(line)
    command, account, protocol, rest = match.groups()
    if command not in _COMMANDS:
        return _IGNORED
    port, protocol_name = _where(line.thread, command, protocol)
    failed = _ERROR.match(rest)
    if failed is not None:
        # An INFO line never told of a refusal; one that does is a release that is not known here.
        kind = Kind.UNREADABLE if line.level == b"INFO" else Kind.FAILURE
        return Login(kind, command, account or b"", protocol_name, failure_reason(failed[1]), port)
    if rest.startswith(_LOCKOUT):
        return Login(Kind.LOCKOUT, command, account or b"", protocol_name, port=port)
    if FAILED in rest:
        return _UNREADABLE
    # An old release writes AdminAuth at INFO before it has looked at the password. Auth without a protocol
    # tells of the account, such as that a recovery code was used, beside the login's own line.
    told = line.level == b"INFO" and b" error=" not in rest and b" info=" not in rest
    if told and command in _LOGINS and (protocol or command != b"Auth"):
        return Login(Kind.SUCCESS, command, account or b"", protocol_name, port=port)
    return _IGNORED


def _parse_unknown_account(line: AuditLine) -> Login:
    message = line.message
    if message.startswith(_UNKNOWN) and message.endswith(_UNKNOWN_END):
        typed = message[len(_UNKNOWN) : -len(_UNKNOWN_END)]
        protocol = next((name.encode() for start, name in _THREADS if line.thread.startswith(start)), b"")
        if not protocol and b"/service/soap" in line.thread:
            protocol = b"soap"
        port, protocol_name = _where(line.thread, b"Auth", protocol)
        return Login(Kind.FAILURE, b"", typed, protocol_name, "no_account", port)
    return _UNREADABLE if FAILED in message and not message.startswith(b"Error occurred") else _IGNORED


def _where(thread: bytes, command: bytes, protocol: bytes | None) -> tuple[int, str]:
    """Return the administration port, 0 elsewhere, and the protocol by its closed name."""
    url = _ADMIN_URL.match(thread) if b"/service/admin/" in thread else None
    port = 0 if url is None else int(url[1] or 7071)
    if url is not None or command in (b"AdminAuth", b"DelegateAuth"):
        return port, "admin"
    return port, _PROTOCOL.get(protocol or b"", "other")
