"""The little that mailbox.log alone knows of logins: names that no account has, and addresses that are kept out.

Each stands at the place of its component: what a client sent stands before it in the context, or in a message
of another one.
"""

import re
from typing import NamedTuple

from collectors.auth.audit import asked_by_mta
from collectors.auth.book import SUSPENDED
from collectors.auth.client import parse_address
from collectors.auth.intake import BlockFailures, Intake
from collectors.auth.records import context_fields
from collectors.formats.audit_log import parse_context, where
from collectors.formats.mailbox_log import cut_lines, gist_of, parse_mailbox_line
from zcs_exporter.contract import LogBlock
from zcs_exporter.log_time import LogTime

_REPEATED = b" suspended, for repeated failed login"
_TELLING = (b"], account not found", b" (no such account)", _REPEATED)  # other failures are in audit.log

_MAX_NAME = 256

# handler exception: authentication failed for [nobody@example.com], account not found
_SOAP = "SoapEngine"
_REFUSAL = b"handler exception: authentication failed for ["
_REFUSED = re.compile(r"handler exception: authentication failed for \[(.*)\], account not found", re.DOTALL)
# authentication failed for nobody@example.com (no such account)
_MAIL = "account"
_FAILURE = b"authentication failed for "
_NO_ACCOUNT = re.compile(r"authentication failed for (.*) \(no such account\)", re.DOTALL)
_PROTOCOLS = ((b"Imap", "imap"), (b"Pop3", "pop3"))
# Access from IP 203.0.113.9 suspended, for repeated failed login.
_FILTER = "misc"
_SUSPENDED = re.compile(r"Access from IP ([0-9A-Fa-f:.%\w\[\]]{2,64}) suspended, for repeated failed login\.?")


class MailboxTold(NamedTuple):
    """What one line says.

    Attributes:
        stamp: ``2024-03-02 10:20:31``, local time.
        name: That no account has, as typed; None where the line says that an address is kept out.
        address: That is kept out.
        protocol: One of ``audit_log.PROTOCOLS``.
        port: The administration port that was asked; 0 elsewhere.
    """

    stamp: bytes
    context: bytes
    name: str | None
    address: str = ""
    protocol: str = "other"
    port: int = 0


def parse_mailbox_login(line: bytes) -> MailboxTold | None:
    """Return what a line says of logins; None where it only has such words in another place, or says nothing."""
    entry = parse_mailbox_line(line) if any(words in line for words in _TELLING) else None
    if entry is None:
        return None
    message = entry.message.decode("utf-8", "replace")
    if entry.component == _SOAP:
        found = _REFUSED.fullmatch(message)
        if found is not None:
            port, protocol = where(entry.thread, b"Auth", b"soap")
            return MailboxTold(entry.stamp, entry.context, found[1][:_MAX_NAME], protocol=protocol, port=port)
    elif entry.component == _MAIL:
        found = _NO_ACCOUNT.fullmatch(message)
        protocol = next((name for start, name in _PROTOCOLS if entry.thread.startswith(start)), "")
        if found is not None and protocol:
            return MailboxTold(entry.stamp, entry.context, found[1][:_MAX_NAME], protocol=protocol)
    elif entry.component == _FILTER:
        found = _SUSPENDED.fullmatch(message)
        if found is not None:
            return MailboxTold(entry.stamp, entry.context, None, address=found[1])
    return None


def may_hide_login(cut: bytes) -> bool:
    """Whether a line that was cut may have told of a name that no account has, behind what is left of it."""
    entry = parse_mailbox_line(cut)
    if entry is None or parse_mailbox_login(cut) is not None:
        return False
    if entry.component == "other" and not entry.message:
        return True
    return entry.message.startswith({_SOAP: _REFUSAL, _MAIL: _FAILURE}.get(entry.component, b"\n"))


class MailboxReader:
    """Reads the blocks of mailbox.log and its like."""

    def __init__(self, intake: Intake) -> None:
        """Put what is found into ``intake``."""
        self._intake = intake

    def feed(self, block: LogBlock) -> None:
        """Take a block; most hold nothing of interest."""
        data = block.data
        lines = [data[start : data.find(b"\n", start)] for start in gist_of(block).ended]
        logins = [(line, told) for line in lines if (told := parse_mailbox_login(line)) is not None]
        hidden = sum(map(may_hide_login, cut_lines(data)))
        if not logins and not hidden:
            return
        clock = self._intake.clock(block.path)
        found = self._intake.failures(block)
        if block.live:
            clock.previous = int(found.now)  # the line before may be hours old
        for _ in range(hidden):
            found.unreadable()
        for line, told in logins:
            if told.name is None:
                self._suspended(told, line, found, clock)
            else:
                self._unknown(told, told.name, line, found, clock)
        found.close()

    def _unknown(self, told: MailboxTold, name: str, line: bytes, found: BlockFailures, clock: LogTime) -> None:
        context = parse_context(told.context)
        if asked_by_mta(self._intake.site, told.port, context):
            return
        at = clock.local(told.stamp, found.now)
        client = self._intake.site.servers.client(context.get(b"oip", b""), context.get(b"ip", b""))
        found.add(at, client, name, told.protocol, "no_account")
        fields = {"account": name, "protocol": told.protocol, "reason": "no_account"}
        found.record("login_failed", at, line, fields | context_fields(context, client))

    def _suspended(self, told: MailboxTold, line: bytes, found: BlockFailures, clock: LogTime) -> None:
        at = clock.local(told.stamp, found.now)
        address = parse_address(told.address)
        if at is None or address is None:
            found.unreadable()
            return
        book = self._intake.book
        if not book.suspend(at, str(address)):
            return
        if found.block.live:
            book.tell(SUSPENDED, at, str(address))
        found.record("address_suspended", at, line, {"address": str(address)})
