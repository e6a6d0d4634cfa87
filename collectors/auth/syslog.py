"""Reads the MTA's syslog: SMTP logins, and text from clients that imitates an entry of any log."""

from collectors.auth.breach import Success
from collectors.auth.client import NOBODY, Client, parse_address
from collectors.auth.intake import BlockFailures, Intake
from collectors.auth.smtp import (
    LOGIN_WORDS,
    OTHER,
    SASLAUTHD,
    SmtpLine,
    Told,
    is_smtpd,
    parse_accepted,
    parse_saslauthd,
    parse_smtpd,
)
from zcs_exporter.contract import SyslogBlock, SyslogLine

_AUDIT_ENTRY = b"] security - cmd="
_STATUS_CHANGE = b"Service status change: "
IMITATIONS = (_AUDIT_ENTRY, _STATUS_CHANGE, b" authentication failed:", b"auth_zimbra: ")
"""Texts that make a line of any program worth a look."""

_STATUS_WRITER = b"zmconfigd"
_WARNING = b"warning: "
_AUTHENTICATED = b", sasl_username="


class SyslogLogins:
    """Reads what is wished for of zimbra.log."""

    def __init__(self, intake: Intake) -> None:
        """Put what is found into ``intake``."""
        self._intake = intake

    def read(self, block: SyslogBlock) -> None:
        """Take lines of saslauthd and of Postfix's smtpd."""
        found = self._intake.failures(block.source)
        found.offer(())
        for line in block.lines:
            # Most lines of smtpd were wished by others.
            message = line.message
            if message.startswith(_WARNING) or line.program == SASLAUTHD or _AUTHENTICATED in message:
                self._line(line, found, block)
        found.close()

    def read_imitations(self, block: SyslogBlock) -> None:
        """Take lines of any program that hold one of ``IMITATIONS``."""
        injections = self._intake.book.injections
        for line in block.lines:
            message = line.message
            injections["audit_entry"] += _AUDIT_ENTRY in message
            status = message.find(_STATUS_CHANGE)
            injections["status_change"] += status > 0 or (status == 0 and line.program != _STATUS_WRITER)
            if LOGIN_WORDS.search(message) and not _is_told(line) and not _should_be_told(line):
                injections["smtp_login"] += 1

    def _line(self, line: SyslogLine, found: BlockFailures, block: SyslogBlock) -> None:
        book = self._intake.book
        told = _parse(line)
        if told.told is Told.OTHER and line.at is not None and is_smtpd(line.program):
            accepted = parse_accepted(line.message)
            if accepted is not None:
                self._accepted(line.at, *accepted, line, found, block)
                return
        if told.told is Told.OTHER or not line.pid:
            if _should_be_told(line) and LOGIN_WORDS.search(line.message):
                found.unreadable()
            return
        if line.at is None:
            found.unreadable()
            return
        pid = line.pid.decode("ascii")
        if line.program == SASLAUTHD:
            book.smtp.saslauthd(line.at, pid, told)
            book.successes["smtp"] += told.told is Told.ACCEPTED
            return
        failure = book.smtp.smtpd(line.at, pid, told)
        if failure is None:
            return
        address = parse_address(told.address.decode("ascii"))
        client = NOBODY if address is None else Client(str(address))
        found.add(line.at, client, failure.account, "smtp", failure.reason)
        fields = {
            "account": failure.account,
            "address": client.address,
            "protocol": "smtp",
            "reason": failure.reason,
            "program": line.program.decode("ascii", "replace"),
        }
        found.record("login_failed", line.at, b": " + line.message + b"\n", fields)

    def _accepted(
        self, at: int, address: bytes, account: bytes, line: SyslogLine, found: BlockFailures, block: SyslogBlock
    ) -> None:
        client = parse_address(address.decode("ascii"))
        if client is not None:
            name = account.decode("utf-8", "replace").lower()
            needle = b": " + line.message + b"\n"
            found.offer([Success(at, str(client), name, "smtp", b"", b"", block.path, needle)])


def _parse(line: SyslogLine) -> SmtpLine:
    if line.program == SASLAUTHD:
        return parse_saslauthd(line.message)
    return parse_smtpd(line.message) if is_smtpd(line.program) else OTHER


def _is_told(line: SyslogLine) -> bool:
    return bool(line.pid) and _parse(line).told is not Told.OTHER


def _should_be_told(line: SyslogLine) -> bool:
    """Whether a line begins as one about a login does, so that a release writes it in words not known here."""
    if line.program == SASLAUTHD:
        return line.message.startswith(b"auth_zimbra: ")
    return is_smtpd(line.program) and line.message.startswith(_WARNING)
