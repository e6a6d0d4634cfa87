"""The lines of mailboxd's ``audit.log``, as ZCS 8.0 to 10.1 write them.

``YYYY-MM-DD HH:MM:SS,mmm LEVEL [thread] [context] security - message``. Everything that a client
sent stands inside the context or the message. A context is ``key=value;`` pairs in which values
double their semicolons, so it ends at the first ``] security - `` after a single one, or at once when
it is empty. What looks like an end before that was written by a client.

A thread that serves HTTP ends in the URL, of which the client chooses the host: it is not over before the path.
"""

import re
from collections import Counter
from enum import Enum
from typing import NamedTuple

_MARK = b"] security - "
_BETWEEN = b"] ["  # a thread and a context
_SEMICOLON, _NEWLINE = ord(";"), ord("\n")
_INFO = b" INFO  ["
_COMMAND = b"cmd="
FAILED = b"authentication failed for"

OPERATIONS = {
    **dict.fromkeys(
        (
            *(f"{verb}{what}" for verb in ("Create", "Modify", "Delete", "Rename")
              for what in ("Account", "CalendarResource", "DistributionList")),
            "SetPassword", "DelegateAuth", "DeleteMailbox",
            "AddAccountAlias", "RemoveAccountAlias", "AddDistributionListAlias", "RemoveDistributionListAlias",
            "AddDistributionListMember", "RemoveDistributionListMember",
        ),
        False,
    ),
    **dict.fromkeys(
        (
            *(f"{verb}{what}" for verb in ("Create", "Modify", "Delete", "Rename", "Copy")
              for what in ("Config", "Cos", "Domain", "Server", "Volume", "Zimlet")),
            "SetCurrentVolume", "DeployZimlet", "UndeployZimlet", "ConfigureZimlet", "GrantRight", "RevokeRight",
        ),
        True,
    ),
}  # fmt: skip
"""What administrators do, by ``cmd``, and whether it changes how servers, domains or rights are set up."""

OTHER_OPERATION = "other"

# The beginnings of all of them, in few steps; of others too, which are then looked at alone.
_TOLD = (
    rb"(?:(?:Admin|Pre|SSO|Delegate)?Auth;|(?:Create|Modify|Delete|Rename|Copy)"
    rb"(?:Account|Calendar|Config|Cos|Distribution|Domain|Mailbox|Server|Volume|Zimlet)|"
    rb"SetPassword|SetCurrent|Add|Remove|Deploy|Undeploy|Configure|Grant|Revoke)"
)

# 2024-03-02 10:20:31,118 INFO  [ImapSSLServer-42] [ip=10.0.0.5;] security - cmd=Auth; account=a@b.test; protocol=imap;
# A success, or the operation of a user, outside the administration URL and with a context beyond doubt. ``[^]]`` is
# several times faster than a class that leaves out the newline too, and so is ``.{19}`` than nineteen classes; what
# takes two lines for one is found out by their number. Without limits and possessive repetitions each of many broken
# lines would be searched to the end of the block; a group is never repeated possessively, since Python 3.11.2 then
# goes on at the wrong place.
_ADMIN_PATH = b"/service/admin/"
_NO_ADMIN = rb"(?![^]]{0,4096}" + _ADMIN_PATH + rb")"
_MESSAGE = rb"\](?<=[^;];\]) security - "
_PROTOCOL = rb"[a-z0-9_]++;\n"


def _plain(no_admin: bytes) -> re.Pattern[bytes]:
    """Return the expression that sorts lines, each with the newline before it.

    Its one group, since more of them cost more than all the rest, is the protocol of a success with its semicolon;
    from ``cmd=`` on what an administrator or user did that is passed over; and of all else the whole line, with the
    newline before it that tells it from the others.
    """
    return re.compile(
        rb"(?:\n\d\d\d\d-.{19}INFO  \[" + no_admin + rb"[^]]{0,4096}+\] \[[^]]{0,4096}+" + _MESSAGE +
        rb"(?:cmd=Auth; account=[^;]{0,4096}+; protocol=(?=" + _PROTOCOL + rb")|(?=cmd=(?!" + _TOLD + rb")[^\n])))?"
        rb"([^\n]+|\n[^\n]*)"
    )  # fmt: skip


_SORTED, _SORTED_BESIDE_ADMIN = _plain(b""), _plain(_NO_ADMIN)

# The same once more, for stamp, context, account and protocol of the success.
_LOGIN = re.compile(
    rb"\n(\d\d\d\d-.{14}).{5}INFO  \[" + _NO_ADMIN + rb"[^]]{0,4096}+\] \[([^]]{0,4096}+)" + _MESSAGE +
    rb"cmd=Auth; account=([^;]{0,4096}+); protocol=(?=" + _PROTOCOL + rb")([a-z0-9_]++)"
)  # fmt: skip

# 2024-03-02 10:20:33,901 WARN  [ImapSSLServer-7] [ip=10.0.0.5;oip=198.51.100.23;] security - cmd=Auth;
# account=bob@example.com; protocol=imap; error=authentication failed for [bob], invalid password;
# A failure that can be read in one way only, as an attack makes them by the thousand, is taken apart; of any other
# line all groups are empty.
_FAILURE = re.compile(
    rb"\n(?:(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} WARN  \[([^]]{0,4096}+)\] \["
    rb"(?:(?:a?name|mid)=[^];]{0,4096}+;){0,3}(?:ip=([0-9A-Fa-f:.]{0,64}+);(?!;))?(?:oip=([^];]{0,4096}+);(?!;))?([^]]{0,4096}+)"
    rb"\](?<=[^;];\]) security - cmd=Auth; account=([^];]{0,4096}+); protocol=([a-z0-9_]{1,32}+); "
    rb"error=authentication failed for \[[^]]{0,4096}+\](?:, ([^]\n]*+)|;)(?=\n)|[^\n]*)"
)
_ADDRESS = b"ip="
_NOT_PLAIN = (b"",) * 8

Entry = tuple[bytes, tuple[bytes, ...]]
"""A line; and, of a failure that can be read in one way only, its stamp, thread, ``ip``, ``oip``, the rest of the
context, account, protocol and reason, and of any other line nothing, eight times. Plain tuples, for their speed."""

# 2013-04-24 00:23:23,118 WARN  [btpool0-1042] [ip=10.0.0.5;oip=203.0.113.9;] security - cmd=Auth; ...
_HEAD = re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} ([A-Z]{4,5}) {1,2}\[")

# mid=3;ip=10.0.0.5;oip=203.0.113.9; before the user agent
_CUT_CONTEXT = re.compile(rb"(?:(?:a?name|mid)=[^;]{0,256};)*(?:ip=[^;]{0,64};(?!;))?(?:oip=[^;]{0,4096};(?!;))?")

# cmd=Auth; account=bob@example.com; protocol=imap; error=authentication failed for [bob], invalid password;
_CMD = re.compile(rb"cmd=([A-Za-z]{1,32});(?: account=([^;]*);)?(?: protocol=([a-z0-9_]{1,32});)?(.*)", re.DOTALL)
# error=authentication failed for [bob], invalid password;
_ERROR = re.compile(rb"(?: [A-Za-z]{1,32}=[^;]*;)*? error=authentication failed for \[(.*)", re.DOTALL)
_ANY_ERROR = b" error=authentication failed for ["
# cmd=AdminAuth; account=admin; error=authentication failed for [admin];
_ADMIN_HEAD, _ADMIN_MIDDLE, _ADMIN_END = b"cmd=AdminAuth; account=", b";" + _ANY_ERROR, b"];"
# error=account lockout due to too many failed logins;
_LOCKOUT = b" error=account lockout due to"
# error=recovery code mismatch - account lockout;
_RECOVERY_REFUSED = b" error=recovery code mismatch"
# mode=recoveryCode - account unlocked;
_RECOVERY_USED = b" mode=recoveryCode"
# A message such as cmd=ModifyAccount; name=ann@example.com; sn=x;
# cmd=DelegateAuth; accountId=6f3a; accountName=ann@example.com;
_OBJECT = re.compile(rb"(?: accountId=[^;]*;)?(?: id=[^;]*;)? (?:name|accountName)=([^;]*);")

# Error occurred during authentication: authentication failed for [x]. Reason: account not found.
_UNKNOWN = b"Error occurred during authentication: authentication failed for ["
_UNKNOWN_END = b"]. Reason: account not found."

# qtp1:https:https://mail.example.com:7073/service/admin/soap/
# The client chooses the host part, but only the administration ports serve this path.
_ADMIN_URL = re.compile(rb"[^/]*://[^/]*?(?::(\d{1,5}))?/service/admin/")

PROTOCOLS = ("soap", "imap", "pop3", "smtp", "http_basic", "http_dav", "zsync", "admin", "spnego", "other")
REASONS = ("bad_password", "no_account", "locked", "closed", "two_factor", "preauth", "external", "other")

PROTOCOL_NAMES = {name.encode(): name for name in PROTOCOLS}
_LOGINS = frozenset({b"Auth", b"PreAuth", b"SSOAuth"})
_DELEGATE = b"DelegateAuth"
_COMMANDS = _LOGINS | {b"AdminAuth", _DELEGATE}
_THREADS = ((b"Imap", "imap"), (b"Pop3", "pop3"))

_EXTERNAL = b"external LDAP auth failed"
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
    (_EXTERNAL, "external"),
    (b"cannot obtain principal for kerberos5 auth", "external"),
)
# external LDAP auth failed, LDAP error: 80090308: LdapErr: DSID-0C09042A, AcceptSecurityContext error, data 52e, v3839
_DIRECTORY_CODE = re.compile(rb"\bdata ([0-9a-f]{3})\b")
_DIRECTORY_CODES = {
    b"525": "no_account",
    b"52e": "bad_password",
    b"530": "wrong_time",
    b"531": "wrong_place",
    b"532": "password_expired",
    b"533": "disabled",
    b"701": "account_expired",
    b"773": "must_change",
    b"775": "locked",
}
UNREACHABLE = "unreachable"
CAUSES = (*_DIRECTORY_CODES.values(), UNREACHABLE, "other")
"""Why an external directory refused a login, by the codes that Active Directory writes after ``data``."""

# LDAP error: An error occurred while attempting to connect to server ad.example.com:389: java.net.ConnectException
_NO_ANSWER = re.compile(
    rb"connect(?:ion)? (?:error|refused|reset|timed out|timeout|closed)|(?:attempting|unable|failed) to connect|"
    rb"cannot connect|can't (?:connect|contact)|server (?:is )?(?:down|unavailable|not available)|unknown ?host|"
    rb"communication ?(?:error|exception)|timed out|connectexception|timeoutexception|no route to host",
    re.IGNORECASE,
)
_DIRECTORY = re.compile(rb"\bLDAP|\bldap")
# handler <x> for custom auth for domain <d> not found
_CUSTOM = re.compile(rb"handler .{0,256}for custom auth for domain ", re.DOTALL)


class Sorted(NamedTuple):
    """The lines of a block.

    Attributes:
        successes: Plain successes by protocol.
        entries: All that is to be looked at, in order.
        plain: The block, a newline before it; empty where it has broken lines.
    """

    successes: Counter[str]
    entries: list[Entry]
    plain: bytes

    def logins(self) -> list[tuple[bytes, ...]]:
        """Return stamp, context, account and protocol of each plain success."""
        return _LOGIN.findall(self.plain) if self.successes else []


class Kind(Enum):
    """What an entry says about a login."""

    FAILURE = "failure"
    SUCCESS = "success"
    LOCKOUT = "lockout"
    RECOVERY_USED = "recovery_used"
    RECOVERY_REFUSED = "recovery_refused"
    OPERATION = "operation"
    DOUBTFUL = "doubtful"
    IGNORED = "ignored"
    UNREADABLE = "unreadable"


class AuditLine(NamedTuple):
    """One line taken apart.

    Attributes:
        stamp: ``2024-03-02 10:20:31``, local time.
        level: Such as ``WARN``.
        imitated: Whether client text in it looks like the end of a context.
        doubtful: Whether the message holds what could be the true context and message.
        cut: Whether the reader may have cut the line.
    """

    stamp: bytes
    level: bytes
    thread: bytes
    context: bytes
    message: bytes
    imitated: bool
    doubtful: bool = False
    cut: bool = False


class Login(NamedTuple):
    """What an audit message says about a login.

    Attributes:
        command: ``Auth``, ``AdminAuth`` and so on; empty where the message has none.
        account: The resolved address, or the name as typed where there is no such account; what an operation is about.
        protocol: One of ``PROTOCOLS``.
        reason: One of ``REASONS``; of a failure only.
        port: The administration port that was asked; 0 elsewhere.
        cause: One of ``CAUSES`` where a directory refused or did not answer; empty elsewhere.
    """

    kind: Kind
    command: bytes = b""
    account: bytes = b""
    protocol: str = "other"
    reason: str = "other"
    port: int = 0
    cause: str = ""


_CUT = 65_000
"""A line of so many bytes may have been longer; a client can make its user agent fill all of it."""

_IGNORED = Login(Kind.IGNORED)
_DOUBTFUL = Login(Kind.DOUBTFUL)
_UNREADABLE = Login(Kind.UNREADABLE)


def sort_audit_lines(data: bytes) -> Sorted:
    """Sort whole lines into plain successes, all that is to be looked at, and the rest."""
    plain = b"\n" + data
    successes: Counter[str] = Counter()
    if _INFO not in data:  # as in an attack
        return Sorted(successes, _take_apart(data.split(b"\n")[:-1], plain), plain)
    found = (_SORTED_BESIDE_ADMIN if _ADMIN_PATH in data else _SORTED).findall(plain)
    # The newline at the very end is one more.
    if len(found) != data.count(b"\n") + 1:
        # Something broken in the middle was taken together with the line after it.
        return Sorted(successes, [(line, _NOT_PLAIN) for line in data.split(b"\n") if line], b"")
    found.pop()
    for text, times in Counter(found).items():
        if text[0] != _NEWLINE and not text.startswith(_COMMAND):
            successes[PROTOCOL_NAMES.get(text[:-1], "other")] += times
    lines = [text for text in found if text[0] == _NEWLINE]
    return Sorted(successes, _take_apart([line[1:] for line in lines], b"".join(lines) + b"\n"), plain)


def _take_apart(lines: list[bytes], text: bytes) -> list[Entry]:
    """Take the failures among lines apart; ``text`` has all of them, each between two newlines."""
    found = _FAILURE.findall(text)
    if len(found) != len(lines) + 1:
        return [(line, _NOT_PLAIN) for line in lines if line]
    # An address further on is the first of its kind or inside a value, which the slow way tells.
    return [
        (line, _NOT_PLAIN if _ADDRESS in parts[4] else parts) for line, parts in zip(lines, found, strict=False) if line
    ]


def parse_audit_line(line: bytes) -> AuditLine | None:
    """Take a line apart; None where it is not an entry of the security log. One without an end has no message."""
    head = _HEAD.match(line)
    if head is None:
        return None
    thread_end = _thread_end(line, head.end())
    if thread_end < 0:
        return None
    start = thread_end + 3
    thread, cut = line[head.end() : thread_end], len(line) >= _CUT
    imitated = _MARK in thread
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
        known = _CUT_CONTEXT.match(line, start)
        return AuditLine(head[1], head[2], thread, known[0], b"", imitated, cut=True) if cut and known else None
    message = line[end + len(_MARK) :]
    return AuditLine(
        stamp=head[1],
        level=head[2],
        thread=thread,
        context=line[start:end],
        message=message,
        imitated=imitated or _MARK in message,
        doubtful=_MARK in message[message.find(_BETWEEN) :] if _BETWEEN in message else False,
        cut=cut,
    )


def _thread_end(line: bytes, start: int) -> int:
    """Return where the text of a thread ends that begins at ``start``; below 0 where it does not."""
    end = line.find(_BETWEEN, start)
    scheme = line.find(b"://", start, max(end, start))
    if scheme < 0:
        return end
    path = line.find(b"/", scheme + len(b"://"))
    return line.find(_BETWEEN, path) if path > end else end


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


def directory_cause(text: bytes) -> str:
    """Return which of ``CAUSES`` a reason names; empty where it is not about a directory."""
    if _DIRECTORY.search(text) is None:
        return ""
    code = _DIRECTORY_CODE.search(text)
    if code is not None:
        return _DIRECTORY_CODES.get(code[1], "other")
    if _NO_ANSWER.search(text) is not None:
        return UNREACHABLE
    return "other" if text.startswith(_EXTERNAL) else ""


def failure_reason(text: bytes) -> str:
    """Return the reason in what follows ``authentication failed for [``: ``name], reason;``."""
    return classify_reason(_split_name(text)[1])


def _split_name(text: bytes) -> tuple[bytes, bytes]:
    """Part a typed name from the reason. A name may hold what looks like one, so the last is ZCS's own."""
    name, between, reason = text.rpartition(b"], ")
    return (name, reason) if between else (text.partition(b"]")[0], b"")


def parse_login(line: AuditLine) -> Login:
    """Return what an entry says about a login."""
    message = line.message
    typed = _twice(message)
    if typed is not None and line.level != b"INFO":
        port, protocol_name = where(line.thread, b"AdminAuth", None)
        return Login(Kind.FAILURE, b"AdminAuth", typed, protocol_name, port=port)
    if line.doubtful and not message.startswith(_UNKNOWN):
        return _DOUBTFUL if line.level != b"INFO" and FAILED in message else _IGNORED
    login = _parse_login(line)
    if line.cut and line.level == b"WARN" and login.kind in (Kind.IGNORED, Kind.UNREADABLE):
        # Refusals are all that is written at this level.
        port, protocol_name = where(line.thread, b"Auth", _protocol(line.thread))
        return Login(Kind.FAILURE, b"Auth", b"", protocol_name, port=port)
    return login


def _parse_login(line: AuditLine) -> Login:
    message = line.message
    match = _CMD.match(message)
    if match is None:
        return _parse_unknown_account(line)
    command, account, protocol, rest = match.groups()
    port, protocol_name = where(line.thread, command, protocol)
    failed = _ERROR.match(rest) if command in _COMMANDS else None
    if failed is not None:
        # An INFO line never told of a refusal; one that does is a release that is not known here.
        kind = Kind.UNREADABLE if line.level == b"INFO" else Kind.FAILURE
        name, reason = _split_name(failed[1])
        # What a client typed must not make its failures those of a directory that does not answer.
        believed = b"]" not in name and command != b"AdminAuth"
        cause = directory_cause(reason) if believed else ""
        return Login(kind, command, account or b"", protocol_name, classify_reason(reason), port, cause)
    if line.level == b"INFO" and (port or command.decode() in OPERATIONS) and command not in _COMMANDS - {_DELEGATE}:
        return Login(Kind.OPERATION, command, account or _object(rest), protocol_name, port=port)
    if command not in _COMMANDS:
        return _IGNORED
    if rest.startswith(_LOCKOUT):
        return Login(Kind.LOCKOUT, command, account or b"", protocol_name, port=port)
    if rest.startswith(_RECOVERY_REFUSED):
        return Login(Kind.RECOVERY_REFUSED, command, account or b"", protocol_name, port=port)
    if rest.startswith(_RECOVERY_USED):
        return Login(Kind.RECOVERY_USED, command, account or b"", protocol_name, port=port)
    if command in _COMMANDS and line.level != b"INFO" and _ANY_ERROR in rest:
        return Login(Kind.FAILURE, command, b"", protocol_name, port=port)  # a semicolon in the name that was typed
    if FAILED in rest:
        return _UNREADABLE
    # An old release writes AdminAuth at INFO before it has looked at the password. Auth without a protocol
    # tells of the account, such as that a recovery code was used, beside the login's own line.
    told = line.level == b"INFO" and b" error=" not in rest and b" info=" not in rest
    if told and command in _LOGINS and (protocol or command != b"Auth"):
        return Login(Kind.SUCCESS, command, account or b"", protocol_name, port=port)
    return _IGNORED


def _object(rest: bytes) -> bytes:
    match = _OBJECT.match(rest)
    return b"" if match is None else match[1]


def _parse_unknown_account(line: AuditLine) -> Login:
    message = line.message
    if message.startswith(_UNKNOWN) and message.endswith(_UNKNOWN_END):
        typed = message[len(_UNKNOWN) : -len(_UNKNOWN_END)]
        port, protocol_name = where(line.thread, b"Auth", _protocol(line.thread))
        return Login(Kind.FAILURE, b"", typed, protocol_name, "no_account", port)
    return _UNREADABLE if FAILED in message and not message.startswith(b"Error occurred") else _IGNORED


def _twice(message: bytes) -> bytes | None:
    """Return the name in the refusal of an administrator, which stands in it twice, whatever it holds."""
    if not (message.startswith(_ADMIN_HEAD) and message.endswith(_ADMIN_END)):
        return None
    twice = message[len(_ADMIN_HEAD) : -len(_ADMIN_END)]
    name = twice[: (len(twice) - len(_ADMIN_MIDDLE)) // 2]
    return name if twice == name + _ADMIN_MIDDLE + name else None


def _protocol(thread: bytes) -> bytes:
    """Return the protocol of a thread, as far as its name tells."""
    told = next((name.encode() for start, name in _THREADS if thread.startswith(start)), b"")
    return b"soap" if not told and b"/service/soap" in thread else told


def where(thread: bytes, command: bytes, protocol: bytes | None) -> tuple[int, str]:
    """Return the administration port that a thread serves, 0 elsewhere, and the protocol by its closed name."""
    url = _ADMIN_URL.match(thread) if b"/service/admin/" in thread else None
    port = 0 if url is None else int(url[1] or 7071)
    if url is not None or command in (b"AdminAuth", b"DelegateAuth"):
        return port, "admin"
    return port, PROTOCOL_NAMES.get(protocol or b"", "other")
