"""What an MTA writes about mail: each message passes Postfix twice, before and behind the content filter."""

from itertools import count, cycle

from zcs_exporter.demo.logs import Logs
from zcs_exporter.demo.mail import Mail

_QMGR, _SMTP, _CLEANUP, _AMAVIS = 4001, 4716, 4714, 15345
_DKIM_KEY = "0F3C8E6A-5D41-11EE-9B0E-2F1B6C4D7A90"

_REFUSALS = tuple(
    f"RCPT from {client}: {answer}; from=<{sender}> to=<{recipient}> proto=ESMTP helo=<{client.partition('[')[0]}>"
    for client, answer, sender, recipient in (
        (
            "unknown[203.0.113.5]",
            "554 5.7.1 <z@example.org>: Relay access denied",
            "y@example.net",
            "z@example.org",
        ),
        (
            "host.example.net[198.51.100.201]",
            "554 5.7.1 Service unavailable; Client host [198.51.100.201] blocked using bl.example.org",
            "win@example.net",
            "ann@example.com",
        ),
        (
            "mx.example.net[192.0.2.25]",
            "550 5.1.1 <nobody@example.com>: Recipient address rejected: User unknown in virtual mailbox table",
            "list@example.net",
            "nobody@example.com",
        ),
    )
)


class MailLog:
    """Writes to zimbra.log what became of messages."""

    def __init__(self, logs: Logs, host: str, address: str) -> None:
        """Write about the mail of ``host``, whose store is at ``address``."""
        self._logs = logs
        self._host = host
        self._address = address
        self._refusals = cycle(_REFUSALS)
        self._judged = count(1)

    def received(self, mail: Mail, client: str) -> None:
        """A message came in; ``client`` is where from, empty if the line of its login says so."""
        if client:
            self._write("smtpd", 4711, f"{mail.queue_id}: client=mx.example.net[{client}]")
        self._queued(mail)

    def filtered(self, first: Mail, second: Mail, client: str) -> None:
        """The content filter let a message pass, which is ``second`` from now on."""
        out = bool(first.login)
        port, service = (10030, "dkimmilter") if out else (10025, "amavisd")
        self._write(f"{service}/smtpd", 4730, f"{second.queue_id}: client=localhost[127.0.0.1]")
        self._queued(second)
        if out:
            self._logs.syslog(
                "opendkim", 3200, f"{second.queue_id}: DKIM-Signature field added (s={_DKIM_KEY}, d=example.com)"
            )
        way = "RelayedOutbound" if out else "RelayedInbound"
        hits = -1.9 + first.number % 9 / 4
        self._verdict(first, client, f"Passed CLEAN {{{way}}}", f"{hits:.3f}", f", queued_as: {second.queue_id}")
        answer = f"250 2.0.0 from MTA(smtp:[127.0.0.1]:{port}): 250 2.0.0 Ok: queued as {second.queue_id}"
        self._handed_over(first, answer)

    def blocked(self, mail: Mail, client: str, *, virus: bool) -> None:
        """The content filter threw a message away."""
        if virus:
            verdict, hits = "Blocked INFECTED (Eicar-Test-Signature) {DiscardedInbound,Quarantined}", "-"
        else:
            verdict, hits = "Blocked SPAM {DiscardedInbound}", "21.2"
        self._verdict(mail, client, verdict, hits, "")
        self._handed_over(mail, f"250 2.7.0 Ok, discarded, id=15346-{mail.number:02d} - {verdict.split()[1]}")

    def delivered(self, mail: Mail) -> None:
        """A message reached its mailbox."""
        relay = f"{self._host}[{self._address}]:7025"
        self._attempt("lmtp", 4720, mail, relay, 0.08 + mail.number * 37 % 100 / 250, "2.1.5", "sent", "Delivery OK")
        self._removed(mail)

    def relayed(self, mail: Mail) -> None:
        """Another site took a message."""
        domain = mail.recipient.rpartition("@")[2]
        answer = f"Ok: queued as {mail.number:X}C0FFEE"
        seconds = 0.6 + mail.number % 5 / 4
        self._attempt("smtp", _SMTP, mail, f"mx.{domain}[192.0.2.25]:25", seconds, "2.0.0", "sent", answer)
        self._removed(mail)

    def deferred(self, mail: Mail) -> None:
        """The destination of a message does not answer."""
        why = f"connect to mx.{mail.recipient.rpartition('@')[2]}[192.0.2.25]:25: Connection timed out"
        text = f"to=<{mail.recipient}>, relay=none, delay=30, delays=0.1/0/30/0, dsn=4.4.1, status=deferred ({why})"
        self._write("smtp", _SMTP, f"{mail.queue_id}: {text}")

    def bounced(self, mail: Mail, notice: Mail) -> None:
        """Another site refused a message, whose sender gets a notice."""
        domain = mail.recipient.rpartition("@")[2]
        answer = (
            f"host mx.{domain}[192.0.2.25] said: 550 5.1.1 <{mail.recipient}>: Recipient address rejected: "
            "User unknown (in reply to RCPT TO command)"
        )
        relay = f"mx.{domain}[192.0.2.25]:25"
        text = f"to=<{mail.recipient}>, relay={relay}, delay=0.9, delays=0.1/0/0.4/0.4, dsn=5.1.1"
        self._write("smtp", _SMTP, f"{mail.queue_id}: {text}, status=bounced ({answer})")
        self._write("bounce", 4722, f"{mail.queue_id}: sender non-delivery notification: {notice.queue_id}")
        self._queued(notice)
        self._removed(mail)

    def refused(self) -> None:
        """A client was turned away."""
        self._write("smtpd", 4711, f"NOQUEUE: reject: {next(self._refusals)}")

    def _queued(self, mail: Mail) -> None:
        self._write("cleanup", _CLEANUP, f"{mail.queue_id}: message-id={_message_id(mail)}")
        line = f"{mail.queue_id}: from=<{mail.sender}>, size={mail.size}, nrcpt=1 (queue active)"
        self._write("qmgr", _QMGR, line)

    def _verdict(self, mail: Mail, client: str, verdict: str, hits: str, tail: str) -> None:
        number = next(self._judged)
        origin = "ORIGINATING LOCAL " if mail.login else ""
        self._logs.syslog(
            "amavis",
            _AMAVIS,
            f"({_AMAVIS}-{number % 20:02d}) {verdict}, {origin}[{client}]:51022 [{client}] <{mail.sender}> -> "
            f"<{mail.recipient}>, Queue-ID: {mail.queue_id}, Message-ID: {_message_id(mail)}, "
            f"mail_id: T9JbVa1h{number:04d}, Hits: {hits}, size: {mail.size}{tail}, {300 + number * 71 % 600} ms",
        )

    def _handed_over(self, mail: Mail, answer: str) -> None:
        port = 10026 if mail.login else 10024
        seconds = 0.3 + mail.number % 7 / 10
        text = f"relay=127.0.0.1[127.0.0.1]:{port}, delay={seconds + 0.1:.2g}, delays=0.1/0/0.01/{seconds:.2g}"
        line = f"{mail.queue_id}: to=<{mail.recipient}>, {text}, dsn=2.0.0, status=sent ({answer})"
        self._write("smtp", _SMTP, line)
        self._removed(mail)

    def _attempt(
        self, agent: str, pid: int, mail: Mail, relay: str, seconds: float, dsn: str, status: str, answer: str
    ) -> None:
        delays = f"delay={seconds + 0.06:.2g}, delays=0.01/0/0.05/{seconds:.2g}"
        text = f"relay={relay}, {delays}, dsn={dsn}, status={status} (250 {dsn} {answer})"
        self._write(agent, pid, f"{mail.queue_id}: to=<{mail.recipient}>, {text}")

    def _removed(self, mail: Mail) -> None:
        self._write("qmgr", _QMGR, f"{mail.queue_id}: removed")

    def _write(self, program: str, pid: int, text: str) -> None:
        self._logs.syslog(f"postfix/{program}", pid, text)


def _message_id(mail: Mail) -> str:
    """Return the same for both passes of a message."""
    return f"<{mail.first or mail.queue_id}@{mail.sender.rpartition('@')[2] or 'mail.example.com'}>"
