"""Reads audit.log: failures by the thousand in few steps each, all other lines with care."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

from collectors.auth.book import CHANGED, LOCKED_OUT, MAX_ACCOUNT
from collectors.auth.breach import Success
from collectors.auth.client import NOBODY, Client, parse_address
from collectors.auth.intake import BlockFailures, Intake
from collectors.auth.records import context_fields
from collectors.auth.site import Site
from collectors.auth.windows import Pair
from collectors.formats.audit_log import (
    FAILED,
    OPERATIONS,
    OTHER_OPERATION,
    PROTOCOL_NAMES,
    UNREACHABLE,
    AuditLine,
    Kind,
    Login,
    Sorted,
    classify_reason,
    directory_cause,
    parse_audit_line,
    parse_context,
    parse_login,
    sort_audit_lines,
    where,
)
from zcs_exporter.log_time import LogTime

# name=ann@example.com;mid=3;ip=10.0.0.5;oip=203.0.113.9;
_PEERS = re.compile(
    rb"(?:(?:a?name|mid)=[^;]{0,4096};){0,3}(?:ip=([0-9A-Fa-f:.]{0,64});(?!;))?(?:oip=([^;]{0,4096});(?!;))?"
)
_STAMP = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")

_MAX_CACHED = 4096
_MAX_NAMES = 8192
_MAX_TEXT = 256  # longer ones are not remembered
_SASL_PORT = 7073

_ANY, _OLD, _ADMIN, _SASL = range(4)
"""What a thread serves: any URL or protocol, one of 8.0 that does not say, the administration port, or saslauthd."""

K = TypeVar("K")
V = TypeVar("V")

_Verdict = tuple[str, str, str]
"""Protocol, reason and, where a directory refused or did not answer, its cause."""

_IN_MAILBOX_LOG = ("soap", "admin", "imap", "pop3")


class AuditReader:
    """Reads the blocks of audit.log and its like."""

    def __init__(self, intake: Intake) -> None:
        """Put what is found into ``intake``."""
        self._intake = intake
        self._threads: dict[bytes, int] = {}
        self._verdicts: dict[tuple[bytes, bytes], _Verdict] = {}
        self._names: dict[bytes, str] = {}

    def read(self, found: BlockFailures, clock: LogTime) -> None:
        """Take the lines of a block."""
        intake, now = self._intake, found.now
        book, servers = intake.book, intake.site.servers
        lines = sort_audit_lines(found.block.data)
        entries = lines.entries
        book.successes.update(lines.successes)
        found.offer(self._logins(lines, found.block.path, now, clock, clock.previous))
        threads, verdicts, names, plain = self._threads, self._verdicts, self._names, servers.plain
        told: list[_Verdict] = []
        pairs: list[Pair] = []
        last_stamp, at = b"", None
        room, untold = intake.records.room("login_failed"), 0
        for line, (stamp, thread, ip, oip, rest, account, protocol, why) in entries:
            served = threads.get(thread, -1) if stamp else _ADMIN
            if served:
                if served < 0:
                    served = self._serves(thread)
                if served == _SASL:
                    continue
                if served == _ADMIN:
                    self._line(line, found, clock)
                    last_stamp = b""  # it may have moved the clock of the log
                    continue
            if stamp != last_stamp:
                last_stamp, at = stamp, clock.local(stamp, now)
                if at is not None:
                    pairs = found.pairs(at)
            verdict = verdicts.get((protocol, why)) or self._verdict(protocol, why)
            told.append(verdict)
            if at is None:
                found.unreadable()
                continue
            if served == _OLD and protocol == b"soap":
                book.refused(at, thread[:_MAX_TEXT].decode("latin-1"))
            if verdict[2] == UNREACHABLE:
                book.not_answered(at, now)
                continue
            address = plain.get(oip)
            name = names.get(account) or self._name(account)
            if address is None or room:
                client = servers.client(oip, ip)
                address = client.address
                if client.claimed:
                    book.claim(client)
                if room:
                    context = parse_context(rest) | ({b"oip": oip} if oip else {})
                    found.record("login_failed", at, line, _failure_fields(context, client, name, *verdict))
                    room = intake.records.room("login_failed")
                else:
                    untold += 1
            else:
                untold += 1
            pairs.append((address, name))
        if untold:
            intake.records.count("login_failed", untold)
        for (protocol_name, reason, cause), times in Counter(told).items():
            book.failures[protocol_name, reason] += times
            if cause:
                book.external[cause] += times

    def _logins(self, lines: Sorted, path: str, now: float, clock: LogTime, previous: int | None) -> Iterator[Success]:
        """Yield plain successes whose client is known."""
        after, clock.previous = clock.previous, previous
        servers = self._intake.site.servers
        for stamp, context, account, protocol in lines.logins():
            at = clock.local(stamp, now) if _STAMP.fullmatch(stamp) else None
            peers = _PEERS.match(context)
            if peers is None or b"ip=" in context[peers.end() :]:
                pairs = parse_context(context)
                ip, oip = pairs.get(b"ip", b""), pairs.get(b"oip", b"")
            else:
                ip, oip = peers[1] or b"", peers[2] or b""
            address = servers.plain.get(oip) or servers.client(oip, ip).address
            if at is not None and address and account:
                name = PROTOCOL_NAMES.get(protocol, "other")
                yield Success(at, address, self._name(account), name, stamp, context, path)
        clock.previous = after

    def _serves(self, thread: bytes) -> int:
        port, protocol = where(thread, b"Auth", None)
        served = _ANY if b"/" in thread else _OLD
        if protocol == "admin":
            served = _SASL if port == _SASL_PORT else _ADMIN
        _keep(self._threads, thread, len(thread), served)
        return served

    def _verdict(self, protocol: bytes, why: bytes) -> "_Verdict":
        verdict = PROTOCOL_NAMES.get(protocol, "other"), classify_reason(why), directory_cause(why)
        _keep(self._verdicts, (protocol, why), len(why), verdict)
        return verdict

    def _name(self, account: bytes) -> str:
        name = account.decode("utf-8", "replace")[:MAX_ACCOUNT].lower()
        _keep(self._names, account, len(account), name, _MAX_NAMES)
        return name

    def _line(self, text: bytes, found: BlockFailures, clock: LogTime) -> None:
        """Take one line that has to be looked at alone."""
        line = parse_audit_line(text)
        if line is None:
            if FAILED in text:
                found.unreadable()
            return
        if line.imitated:
            found.imitation("audit_entry")
        login = parse_login(line)
        if login.kind is Kind.IGNORED:
            return
        if login.kind is Kind.UNREADABLE:
            found.unreadable()
            return
        if login.kind is Kind.DOUBTFUL:
            found.add(clock.local(line.stamp, found.now), NOBODY, "", "other", "other")
            return
        context = parse_context(line.context)
        account = login.account.decode("utf-8", "replace")
        told = _Told(line, login, clock.local(line.stamp, found.now), account, context, text)
        match login.kind:
            case Kind.LOCKOUT:
                self._lock(told, found)
            case Kind.RECOVERY_USED | Kind.RECOVERY_REFUSED:
                self._recovery(told, found)
            case Kind.OPERATION:
                self._operation(told, found)
            case Kind.SUCCESS:
                self._success(told, found)
            case _:
                self._failure(told, found)

    def _client(self, context: Mapping[bytes, bytes]) -> Client:
        return self._intake.site.servers.client(context.get(b"oip", b""), context.get(b"ip", b""))

    def _record(self, kind: str, told: "_Told", found: BlockFailures, fields: Mapping[str, str]) -> None:
        found.record(kind, told.at, told.text, {**fields, **context_fields(told.context, self._client(told.context))})

    def _lock(self, told: "_Told", found: BlockFailures) -> None:
        book = self._intake.book
        book.lockouts += 1
        if told.at is not None and found.block.live:
            book.tell(LOCKED_OUT, told.at, told.account)
        self._record("account_locked", told, found, {"account": told.account})

    def _recovery(self, told: "_Told", found: BlockFailures) -> None:
        outcome = "used" if told.login.kind is Kind.RECOVERY_USED else "refused"
        self._intake.book.recovery[outcome] += 1
        self._record("recovery_code", told, found, {"account": told.account, "reason": outcome})

    def _operation(self, told: "_Told", found: BlockFailures) -> None:
        if told.login.port == _SASL_PORT:
            return
        book = self._intake.book
        command = told.login.command.decode("ascii")
        known, setup = command in OPERATIONS, OPERATIONS.get(command, False)
        command = command if known else OTHER_OPERATION
        book.operations[command] += 1
        # Who acts in another's name stands before it.
        admin = told.context.get(b"aname", told.context.get(b"name", b"")).decode("utf-8", "replace")
        if setup and told.at is not None and found.block.live:
            book.tell(CHANGED, told.at, admin, command)
        fields = {"command": command, "admin": admin}
        if known:
            # The first name in the message is what it is about. All that follows may be a secret.
            fields["object" if setup else "account"] = told.account
        self._record("config_changed" if setup else "account_changed", told, found, fields)

    def _success(self, told: "_Told", found: BlockFailures) -> None:
        login = told.login
        if asked_by_mta(self._intake.site, login.port, told.context):
            return
        self._intake.book.successes[login.protocol] += 1
        address, account = self._client(told.context).address, self._name(login.account)
        if told.at is not None and address and account:
            line = told.line
            found.offer(
                [Success(told.at, address, account, login.protocol, line.stamp, line.context, found.block.path)]
            )
        if login.protocol == "admin":
            self._record("admin_login", told, found, {"admin": told.account})

    def _failure(self, told: "_Told", found: BlockFailures) -> None:
        site, book, login, at = self._intake.site, self._intake.book, told.login, told.at
        if not login.command and login.protocol in _IN_MAILBOX_LOG and not site.names_in_audit:
            return
        if asked_by_mta(site, login.port, told.context):
            return
        thread = told.line.thread[:_MAX_TEXT].decode("latin-1")
        if login.command == b"AdminAuth":
            if book.repeats(at, thread):
                return
            if book.twins.again("audit", at, self._client(told.context).address, told.account):
                return  # mailbox.log told it
        elif at is not None and (login.port or (login.protocol == "soap" and b"/" not in told.line.thread)):
            book.refused(at, thread)  # the threads of 8.0 name no URL
        client = self._client(told.context)
        found.add(at, client, told.account, login.protocol, login.reason, login.cause)
        fields = _failure_fields(told.context, client, told.account, login.protocol, login.reason, login.cause)
        found.record("login_failed", at, told.text, fields)


class _Told(NamedTuple):
    """A line that is looked at alone, and what it says."""

    line: AuditLine
    login: Login
    at: int | None
    account: str
    context: Mapping[bytes, bytes]
    text: bytes


def asked_by_mta(site: Site, port: int, context: Mapping[bytes, bytes]) -> bool:
    """Whether saslauthd asked on behalf of an SMTP client, whose login the MTA counts."""
    if port == _SASL_PORT:
        return True
    if port != 7071 or not site.sasl_over_7071 or b"oip" in context:
        return False
    ip = parse_address(context.get(b"ip", b"").decode("latin-1"))
    # A request from this host has no address, or loopback.
    return site.is_mta if ip is None or ip.is_loopback else ip in site.cluster


def _failure_fields(
    context: Mapping[bytes, bytes], client: Client, account: str, protocol: str, reason: str, cause: str
) -> dict[str, str]:
    fields = {"account": account, "protocol": protocol, "reason": f"{reason}: {cause}" if cause else reason}
    return fields | context_fields(context, client)


def _keep(cache: dict[K, V], key: K, length: int, value: V, most: int = _MAX_CACHED) -> None:
    if len(cache) >= most:
        cache.clear()
    if length <= _MAX_TEXT:
        cache[key] = value
