"""A mail system that writes its log and knows what truly happened, and what feeds such a log to the collector."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fakes import FakeHost, ManualClock

from collectors.mailflow.collector import MailflowCollector, MailflowConfig
from zcs_exporter.contract import EvidenceItem, LogBlock, Record, Sample
from zcs_exporter.syslog import SyslogReader

SYSLOG = "/var/log/zimbra.log"
START = 1_709_371_233
Value = tuple[str, tuple[str, ...]]


def stamped(at: int, program: str, message: str | bytes, pid: int = 4711) -> bytes:
    """Return a syslog line of this host."""
    text = message if isinstance(message, bytes) else message.encode()
    return time.strftime("%b %e %H:%M:%S", time.localtime(at)).encode() + f" mail {program}[{pid}]: ".encode() + text


class MailDaemon:
    """Feeds the collector as the daemon would, commits its rows, and kills it."""

    def __init__(self, host: FakeHost, manual: ManualClock, config: MailflowConfig | None = None) -> None:
        self.host, self.manual = host, manual
        self.config = config or MailflowConfig()
        self.rows: dict[str, str] = {}
        self.offset = self.previous = 0
        self.threshold: float | None = 10.0
        self.start()

    def start(self) -> None:
        self.collector = MailflowCollector(self.config, self.host, self.manual.clock)
        self.collector.restore(dict(self.rows))
        if self.threshold is not None:
            self.collector.take_thresholds({"ZcsAuthOutboundFlood": {"warning": self.threshold}})
        self.reader = SyslogReader(self.collector.subscriptions(), [b"mail"], self.previous, self.manual.clock)

    def feed(self, *lines: bytes, live: bool = True) -> "MailDaemon":
        data = b"".join(line + b"\n" for line in lines)
        self.reader.feed(LogBlock(SYSLOG, data, self.offset, live))
        self.offset += len(data)
        return self

    def commit(self) -> dict[str, str | None]:
        changes = dict(self.collector.changes())
        for key, row in changes.items():
            assert isinstance(key, str)
            if row is None:
                del self.rows[key]
            else:
                self.rows[key] = row
        return changes

    def restart(self) -> None:
        self.commit()
        self.previous = self.reader.previous
        self.start()

    def feed_cut(self, lines: Sequence[bytes], cuts: Sequence[int], restarts: Sequence[int]) -> None:
        """Feed lines in blocks that end at these places, and start anew after some of them."""
        places = sorted({place % (len(lines) + 1) for place in cuts} | {place % (len(lines) + 1) for place in restarts})
        again = {place % (len(lines) + 1) for place in restarts}
        before = 0
        for place in [*places, len(lines)]:
            if place > before:
                self.feed(*lines[before:place])
            if place in again:
                self.restart()
            before = max(before, place)

    def samples(self) -> list[Sample]:
        return [each for each in self.collector.counted() if isinstance(each, Sample)]

    def records(self) -> list[Record]:
        return [each for each in self.collector.counted() if isinstance(each, Record)]

    def values(self) -> dict[Value, float]:
        """All samples but buckets, by name with suffix and by labels."""
        return {(each.metric.name + each.suffix, each.labels): each.value for each in self.samples() if not each.bound}

    def labelled(self, name: str) -> dict[str, float]:
        """The series of a family that are not 0, by their one label."""
        return {labels[0]: value for (found, labels), value in self.values().items() if found == name and value}

    def events(self) -> dict[str, float]:
        return self.labelled("zcs_mail_messages_total")

    def value(self, name: str, *labels: str) -> float:
        return self.values()[name, labels]

    def evidence(self, name: str, *labels: str) -> tuple[EvidenceItem, ...]:
        [found] = [each.evidence for each in self.samples() if each.metric.name == name and each.labels == labels]
        return found


@dataclass(frozen=True)
class Site:
    """How a host filters its mail.

    Attributes:
        named: Whether later passes have syslog names of their own (8.7 on).
        filtered: Whether there is a content filter at all.
        relay: Where it is, as Postfix shows relays.
        client: Where it comes back from.
        amavis_here: Whether its lines are in this log.
        signed: Whether mail of authenticated senders goes through amavis, DKIM signing and amavis again.
        xforward: Whether Postfix says what id a message had before.
    """

    named: bool = True
    filtered: bool = True
    relay: str = "127.0.0.1[127.0.0.1]"
    client: str = "localhost[127.0.0.1]"
    amavis_here: bool = True
    signed: bool = False
    xforward: bool = False


@dataclass
class Mail:
    """One message and its fate.

    Attributes:
        source: ``remote``, ``login``, ``local`` (a client on this host) or ``pickup``.
        fates: One of ``sent``, ``deferred``, ``bounced`` or ``expired`` by recipient; a deferral is tried again.
        verdict: Of amavis; all but CLEAN and SPAMMY are discarded.
        second: What amavis says the second time, where there is one.
    """

    source: str = "remote"
    fates: tuple[str, ...] = ("sent",)
    size: int = 1000
    null: bool = False
    verdict: str = "CLEAN"
    second: str = "CLEAN"


@dataclass
class World:
    """Writes the log of many messages at once, and the truth.

    Attributes:
        truth: Events by name.
        verdicts: By label.
        bytes_in, bytes_out: Of messages and deliveries.
    """

    site: Site
    random: random.Random
    truth: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0
    _number: int = 0

    def write(self, mails: Sequence[Mail], start: int = START) -> list[bytes]:
        """Return the lines of all, interleaved, each message's own in their order."""
        stories = [self._story(mail) for mail in mails]
        lines, at = [], start
        while stories:
            story = self.random.choice(stories[:8])
            step = next(story, None)
            if step is None:
                stories.remove(story)
                continue
            at += self.random.choice((0, 0, 0, 1))
            lines += [stamped(at, program, message, pid) for program, message, pid in step]
        return lines

    def _id(self) -> str:
        self._number += 1
        return f"{self._number:05X}{self.random.randrange(16**5):05X}"

    def _story(self, mail: Mail) -> Iterator[list[tuple[str, str, int]]]:
        queue_id = self._id()
        sender = "" if mail.null else f"s{self._number % 50}@example.net"
        login = mail.source == "login"
        yield self._begin(mail, queue_id)
        if mail.source != "pickup":
            yield [("postfix/cleanup", f"{queue_id}: message-id=<{queue_id}@example.net>", 50)]
        yield [self._queued(queue_id, sender, mail)]
        self.truth["received"] += 1
        self.bytes_in += mail.size
        if not self.site.filtered:
            yield from self._deliver(queue_id, sender, mail)
            return
        if login and self.site.signed:
            signed = self._id()
            yield [self._back("dkimmilter", signed, queue_id, 700)]
            yield [self._queued(signed, sender, mail)]
            yield from self._filter(queue_id, signed, mail, "CLEAN", 10026)
            final, source, worst = self._id(), signed, mail.second
        else:
            final, source, worst = self._id(), queue_id, mail.verdict
        if worst not in ("CLEAN", "SPAMMY"):
            yield from self._discard(source, mail, worst)
            return
        yield [self._back("amavisd", final, source, 800)]
        yield [self._queued(final, sender, mail)]
        yield from self._filter(source, final, mail, worst, 10024 if source == queue_id else 10032)
        self.verdicts[worst.lower()] += 1
        yield from self._deliver(final, sender, mail)

    def _begin(self, mail: Mail, queue_id: str) -> list[tuple[str, str, int]]:
        if mail.source == "pickup":
            return [("postfix/pickup", f"{queue_id}: uid=1000 from=<root>", 60)]
        if mail.source == "login":
            program = self.random.choice(("postfix/submission/smtpd", "postfix/smtps/smtpd"))
            rest = f"client=pc[192.0.2.{self.random.randrange(250)}], sasl_method=PLAIN, sasl_username=ann@example.com"
            return [(program, f"{queue_id}: {rest}", 70)]
        if mail.source == "local":
            return [("postfix/smtpd", f"{queue_id}: client=localhost[127.0.0.1]", self.random.choice((900, 901)))]
        client = f"mx{self.random.randrange(9)}.example.net[198.51.100.{self.random.randrange(250)}]"
        return [
            ("postfix/smtpd", f"connect from {client}", 600),
            ("postfix/smtpd", f"{queue_id}: client={client}", self.random.choice((600, 601))),
        ]

    def _back(self, name: str, queue_id: str, former: str, pid: int) -> tuple[str, str, int]:
        """A message that comes back; a process of Postfix serves one port."""
        rest = f", orig_queue_id={former}, orig_client=mx[198.51.100.1]" if self.site.xforward else ""
        program = f"postfix/{name}/smtpd" if self.site.named else "postfix/smtpd"
        pid += self.random.randrange(3)
        return program, f"{queue_id}: client={self.site.client}{rest}", pid

    def _queued(self, queue_id: str, sender: str, mail: Mail) -> tuple[str, str, int]:
        message = f"{queue_id}: from=<{sender}>, size={mail.size}, nrcpt={len(mail.fates)} (queue active)"
        return "postfix/qmgr", message, 40

    def _filter(
        self, queue_id: str, back: str, mail: Mail, verdict: str, port: int
    ) -> Iterator[list[tuple[str, str, int]]]:
        """Amavis has handed the message back, and says so to the log and to Postfix."""
        if self.site.amavis_here:
            yield [self._amavis(f"Passed {verdict} {{RelayedInbound}}", queue_id, mail, f", queued_as: {back}")]
        answer = f"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as {back}"
        for recipient in range(len(mail.fates)):
            yield [self._attempt("smtp", queue_id, recipient, f"{self.site.relay}:{port}", f"status=sent ({answer})")]
        yield [("postfix/qmgr", f"{queue_id}: removed", 40)]

    def _discard(self, queue_id: str, mail: Mail, verdict: str) -> Iterator[list[tuple[str, str, int]]]:
        if self.site.amavis_here:
            yield [self._amavis(f"Blocked {verdict} {{DiscardedInbound,Quarantined}}", queue_id, mail, "")]
        self.verdicts[verdict.split(" ")[0].lower()] += 1
        for recipient in range(len(mail.fates)):
            text = f"status=sent (250 2.7.0 Ok, discarded, id=15346-02 - {verdict})"
            yield [self._attempt("smtp", queue_id, recipient, f"{self.site.relay}:10024", text)]
            self.truth["discarded"] += 1
        yield [("postfix/qmgr", f"{queue_id}: removed", 40)]

    def _amavis(self, action: str, queue_id: str, mail: Mail, rest: str) -> tuple[str, str, int]:
        message = (
            f"(15345-18) {action}, [198.51.100.7]:51022 [198.51.100.7] <x@example.net> -> <r0@example.com>, "
            f"Queue-ID: {queue_id}, Message-ID: <a@example.net>, mail_id: T9JbVa1hw9P9, Hits: -1.909, "
            f"size: {mail.size}{rest}, 938 ms"
        )
        return "amavis", message, 30

    @staticmethod
    def _attempt(agent: str, queue_id: str, recipient: int, relay: str, outcome: str) -> tuple[str, str, int]:
        fields = "delay=0.6, delays=0.1/0.2/0.1/0.2, dsn=2.0.0"
        return f"postfix/{agent}", f"{queue_id}: to=<r{recipient}@example.com>, relay={relay}, {fields}, {outcome}", 20

    def _deliver(self, queue_id: str, sender: str, mail: Mail) -> Iterator[list[tuple[str, str, int]]]:
        store = "mail.example.com[10.0.0.10]:7025"
        waiting = dict(enumerate(mail.fates))
        while waiting:
            expired = False
            for recipient, fate in list(waiting.items()):
                if fate == "sent":
                    yield [self._attempt("lmtp", queue_id, recipient, store, "status=sent (250 2.1.5 Delivery OK)")]
                    self.truth["delivered"] += 1
                    self.bytes_out += mail.size
                elif fate == "bounced":
                    text = "status=bounced (host mx[203.0.113.1] said: 550 5.1.1 User unknown)"
                    yield [self._attempt("smtp", queue_id, recipient, "mx[203.0.113.1]:25", text)]
                    self.truth["bounced"] += 1
                    self.truth["double_bounce"] += mail.null
                else:
                    text = "status=deferred (connect to mx[203.0.113.1]:25: Connection refused)"
                    yield [self._attempt("smtp", queue_id, recipient, "none", text)]
                    self.truth["deferred"] += 1
                    if fate == "expired":
                        expired = True
                    else:
                        waiting[recipient] = "sent"
                        continue
                del waiting[recipient]
            if expired and not waiting:
                message = f"{queue_id}: from=<{sender}>, status=expired, returned to sender"
                yield [("postfix/qmgr", message, 40)]
                self.truth["expired"] += 1
                self.truth["double_bounce"] += mail.null
            elif waiting:
                yield [self._queued(queue_id, sender, mail)]
        yield [("postfix/qmgr", f"{queue_id}: removed", 40)]
