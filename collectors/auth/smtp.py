"""SMTP logins as an MTA's syslog tells them: Postfix says from where, saslauthd as whom and why not.

One refused login is a Postfix line, one or two saslauthd lines before it, and on a store an audit
line. Only Postfix's counts. The account is its ``sasl_username``, else that of the saslauthd line
before it, at most ``PAIRING_SECONDS`` earlier. saslauthd also tells when ZCS could not be asked at
all, which is no user's fault.
"""

import json
import re
from collections import deque
from dataclasses import dataclass
from enum import Enum

from collectors.formats.audit_log import FAILED, failure_reason

PAIRING_SECONDS = 5
UNANSWERED_SECONDS = 600
"""So long after the last login that ZCS could not be asked about, nobody knows whether it still cannot."""
_LOGIN_SECONDS = 60  # ZCS's longest wait for a connection and an answer together
_MAX_PENDING = 256
_MAX_PROCESSES = 64
_MAX_NAME = 256

# warning: unknown[203.0.113.5]: SASL LOGIN authentication failed: authentication failure
# warning: a.example.net[203.0.113.5]:5102: SASL PLAIN authentication failed: (reason unavailable), sasl_username=eve
_REFUSED = re.compile(
    rb"warning: [^\s\[\]]*\[([0-9a-fA-F.:]{2,45})\](?::\d{1,5})?: SASL [A-Za-z0-9_-]{1,32} authentication failed:(.*)",
    re.DOTALL,
)
_USERNAME = b", sasl_username="
# warning: SASL authentication failure: cannot connect to saslauthd server: Connection refused
_NO_SASLAUTHD = b"warning: SASL authentication failure: cannot connect to saslauthd server"
_GENERIC = b"generic failure"
"""What Postfix writes when saslauthd itself gave no answer."""

# postfix/submission/smtpd
_SMTPD_NAME = rb"postfix/(?:[\w-]{1,64}/)?smtpd"
_SMTPD = re.compile(_SMTPD_NAME)
SASLAUTHD = b"saslauthd"

WISHES = {
    SASLAUTHD: rb"auth_zimbra: |do_auth {1,16}: |authentication against url '|url '",
    _SMTPD_NAME: rb"warning: |[0-9A-Za-z]{5,20}: client=",
}
"""How the messages begin that are read here, by program."""

# SASL LOGIN authentication failed: authentication failure
LOGIN_WORDS = re.compile(rb"SASL [A-Za-z0-9_-]{1,32} authentication failed:|auth_zimbra: ")
"""What a message about a login holds, wherever a client's text put it."""

# auth_zimbra: ann@example.com auth failed: authentication failed for [ann@example.com]
# auth_zimbra: chernandez auth OK
_ZIMBRA = b"auth_zimbra: "
_AUTH_FAILED = b" auth failed: "
_AUTH_OK = b" auth OK"
# do_auth         : auth failure: [user=eve] [service=smtp] [realm=] [mech=zimbra] [reason=Unknown]
_DO_AUTH = re.compile(rb"do_auth {1,16}: auth failure: \[user=(.*)\] \[service=", re.DOTALL)
# authentication against url 'https://mail.example.com:7073/service/admin/soap/' caused error 'couldn't connect to host'
_URL_ERROR = re.compile(rb"authentication against url '[^']{0,512}' caused error '")
# url 'https://mail.example.com:7073/service/admin/soap/' will not be used for (at least) 600 seconds
_URL_DROPPED = re.compile(rb"url '[^']{0,512}' will not be used for ")

_REFUSALS = (b"account is in maintenance mode", b"must change password")
"""Answers of ZCS that are no failure to authenticate."""


class Told(Enum):
    """What a line of saslauthd or smtpd says."""

    ACCEPTED = "accepted"
    FAILED = "failed"
    REFUSED = "refused"
    ENDED = "ended"
    BACKEND_ERROR = "backend_error"
    SMTP_FAILED = "smtp_failed"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class SmtpLine:
    """What one message says.

    Attributes:
        account: As the client typed it; empty if the line has none.
        address: Of the client; in Postfix's own line only.
        reason: Why, by the closed set of ``audit_log.REASONS``; of a failure only.
        generic: Postfix had no answer from saslauthd.
        repeats: It ends a login whose outcome another line may have told before.
    """

    told: Told
    account: bytes = b""
    address: bytes = b""
    reason: str = "other"
    generic: bool = False
    repeats: bool = False


OTHER = SmtpLine(Told.OTHER)


# 3F2A81C0E5D: client=host.example.net[198.51.100.7], sasl_method=PLAIN, sasl_username=ann@example.com
_ACCEPTED = re.compile(
    rb"[0-9A-Za-z]{5,20}: client=[^\s\[\]]*\[([0-9a-fA-F.:]{2,45})\](?::\d{1,5})?, "
    rb"sasl_method=[A-Za-z0-9_-]{1,32}, sasl_username=([^,\s]{1,256})"
)


def parse_accepted(message: bytes) -> tuple[bytes, bytes] | None:
    """Return address and account of an authenticated client whose message Postfix's smtpd takes."""
    match = _ACCEPTED.match(message)
    return None if match is None else (match[1], match[2])


def is_smtpd(program: bytes) -> bool:
    """Whether a syslog program name is that of one of Postfix's SMTP servers."""
    return _SMTPD.fullmatch(program) is not None


def parse_smtpd(message: bytes) -> SmtpLine:
    """Return what a message of Postfix's smtpd says about a login."""
    match = _REFUSED.match(message)
    if match is not None:
        address, rest = match.groups()
        why, _, account = rest.partition(_USERNAME)
        return SmtpLine(Told.SMTP_FAILED, account[:_MAX_NAME], address, generic=why.strip() == _GENERIC)
    if message.startswith(_NO_SASLAUTHD):
        return SmtpLine(Told.BACKEND_ERROR)
    return OTHER


def parse_saslauthd(message: bytes) -> SmtpLine:
    """Return what a message of saslauthd says about a login."""
    if message.startswith(_ZIMBRA):
        account, failed, why = _split_outcome(message[len(_ZIMBRA) :])
        if failed:
            if why.startswith(FAILED):
                named = FAILED + b" [" + account + b"]"
                reason = failure_reason(why[len(named) - 1 :] if why.startswith(named) else why.partition(b"[")[2])
                return SmtpLine(Told.FAILED, account[:_MAX_NAME], reason=reason)
            told = Told.REFUSED if any(text in why for text in _REFUSALS) else Told.ENDED
            return SmtpLine(told, account[:_MAX_NAME])
        if account.endswith(_AUTH_OK):
            return SmtpLine(Told.ACCEPTED, account.removesuffix(_AUTH_OK)[:_MAX_NAME])
        return OTHER
    match = _DO_AUTH.match(message)
    if match is not None:
        return SmtpLine(Told.ENDED, match[1][:_MAX_NAME], repeats=True)
    return SmtpLine(Told.BACKEND_ERROR) if _URL_ERROR.match(message) or _URL_DROPPED.match(message) else OTHER


def _split_outcome(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Part a name from why its login failed, as ``bytes.partition`` does.

    A name may hold the words between the two. A failure repeats the name, so the middle one of them is
    saslauthd's own; where there is none, neither a name nor an outcome is believed.
    """
    places = text.count(_AUTH_FAILED)
    if places < 2:
        return text.partition(_AUTH_FAILED)
    parts = text.split(_AUTH_FAILED)
    middle = places // 2 + 1
    account, why = _AUTH_FAILED.join(parts[:middle]), _AUTH_FAILED.join(parts[middle:])
    if places % 2 and why.startswith(FAILED + b" [" + account + b"]"):
        return account, _AUTH_FAILED, why
    return b"", _AUTH_FAILED, b""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A login that saslauthd refused, waiting for Postfix's line.

    Attributes:
        counts: False where no user is at fault: ZCS could not be asked, or gave another answer.
    """

    at: int
    account: str
    counts: bool
    reason: str


@dataclass(frozen=True, slots=True)
class SmtpFailure:
    """One refused login to count; the account is empty if nobody told it."""

    account: str
    reason: str


class SmtpLogins:
    """Puts the lines of saslauthd and Postfix together, in the order of the log.

    Attributes:
        unanswered: Logins in a row for which ZCS could not be asked.
        unanswered_at: Time of the last of them.
    """

    def __init__(self) -> None:
        self.unanswered = 0
        self.unanswered_at = 0
        self._pending: deque[_Attempt] = deque(maxlen=_MAX_PENDING)
        # By process: since when it cannot ask, and when it last told how a login ended. It has one at a time.
        self._asking: dict[str, int] = {}
        self._ended: dict[str, int] = {}

    def saslauthd(self, at: int, pid: str, line: SmtpLine) -> None:
        """Take a line of saslauthd."""
        if line.told is Told.BACKEND_ERROR:
            self._not_answered(at, pid)
        elif line.told in (Told.ACCEPTED, Told.FAILED, Told.REFUSED):
            self.unanswered = 0
            self._asking.pop(pid, None)
            if line.told is not Told.ACCEPTED:
                self._end(at, pid, line, counts=line.told is Told.FAILED)
        elif line.told is Told.ENDED:
            if line.repeats and 0 <= at - self._ended.pop(pid, at - PAIRING_SECONDS - 1) <= PAIRING_SECONDS:
                return  # the login whose outcome the line before told
            unreachable = self._asking.pop(pid, None) is not None
            if not unreachable and self.out_of_reach(at):
                # A back end that was dropped is not tried again for ten minutes, without another word.
                self._count_unanswered(at)
                unreachable = True
            self._end(at, pid, line, counts=not unreachable)

    def smtpd(self, at: int, pid: str, line: SmtpLine) -> SmtpFailure | None:
        """Take a line of Postfix; return the failure it is, None where no user is at fault."""
        pid = "smtpd " + pid
        if line.told is Told.BACKEND_ERROR or line.generic:
            self._not_answered(at, pid)
            if line.generic:
                self._asking.pop(pid, None)
            return None
        account = line.account.decode("utf-8", "replace")
        attempt = self._take(at, account)
        if attempt is None:
            return SmtpFailure(account, "other")
        return SmtpFailure(account or attempt.account, attempt.reason) if attempt.counts else None

    def out_of_reach(self, now: float) -> bool:
        """Whether the last login tried was not answered, unless none was for ``UNANSWERED_SECONDS``."""
        return self.unanswered > 0 and now - self.unanswered_at < UNANSWERED_SECONDS

    def save(self) -> str:
        """Return the state as text."""
        pending = [[entry.at, entry.account, entry.counts, entry.reason] for entry in self._pending]
        return json.dumps([self.unanswered, self.unanswered_at, pending, self._asking, self._ended])

    def restore(self, saved: str) -> None:
        """Take over the state of an earlier process."""
        self.unanswered, self.unanswered_at, pending, self._asking, self._ended = json.loads(saved)
        self._pending.extend(_Attempt(*entry) for entry in pending)

    def _end(self, at: int, pid: str, line: SmtpLine, *, counts: bool) -> None:
        while self._pending and not 0 <= at - self._pending[0].at <= PAIRING_SECONDS:
            self._pending.popleft()
        account = line.account.decode("utf-8", "replace")
        self._pending.append(_Attempt(at, account, counts, line.reason))
        if not line.repeats:
            _remember(self._ended, pid, at)

    def _take(self, at: int, account: str) -> _Attempt | None:
        """Remove and return the login that Postfix's line ends: of that account, or the longest waiting."""
        for index, attempt in enumerate(self._pending):
            if 0 <= at - attempt.at <= PAIRING_SECONDS and (not account or _same(account, attempt.account)):
                del self._pending[index]
                return attempt
        return None

    def _not_answered(self, at: int, pid: str) -> None:
        since = self._asking.get(pid)
        if since is None or not 0 <= at - since <= _LOGIN_SECONDS:
            self._count_unanswered(at)
            _remember(self._asking, pid, at)

    def _count_unanswered(self, at: int) -> None:
        self.unanswered = self.unanswered + 1 if self.out_of_reach(at) else 1
        self.unanswered_at = at


def _remember(table: dict[str, int], pid: str, at: int) -> None:
    table.pop(pid, None)
    table[pid] = at
    if len(table) > _MAX_PROCESSES:
        del table[next(iter(table))]


def _same(typed: str, told: str) -> bool:
    """Whether both name one account; saslauthd may have added the realm."""
    typed, told = typed.lower(), told.lower()
    return typed == told or told.startswith(typed + "@")
