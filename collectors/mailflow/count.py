"""Turns the lines of one mail log into counts, in the order of the log."""

import json
from collections.abc import Callable, Mapping, Sequence

from collectors.mailflow import metrics
from collectors.mailflow.deliveries import Deliveries
from collectors.mailflow.flood import OutboundFlood
from collectors.mailflow.lines import (
    TROUBLE,
    is_limit_exceeded,
    is_malformed,
    parse_action,
    parse_arrival,
    parse_delivery,
    parse_dkim,
    parse_expired,
    parse_pickup,
    parse_policy,
    parse_queued,
    parse_verdict,
)
from collectors.mailflow.messages import FILTERED, NULL, Message, Messages
from collectors.mailflow.top import TopNames
from zcs_exporter.contract import Finding, Grade, Record, SyslogBlock, SyslogLine
from zcs_exporter.mailreport.day import DayBook
from zcs_exporter.record_queue import RecordQueue

SYSLOG = "/var/log/zimbra.log"

_MAX_PROGRAMS = 1000
_MAX_RECORDS = 100
_OWN_ADDRESSES = (b"[127.0.0.1]", b"[::1]")
LATER_PASSES = (b"amavisd", b"dkimmilter", b"archive")
"""Names, after ``postfix/``, of SMTP servers that get only what Postfix had before."""

Handler = Callable[[SyslogLine, int], None]


class MailCount:
    """All that is counted of one log.

    Attributes:
        threshold: The ratio of a sender that is put on record as a flood; None for none.
    """

    def __init__(self, filter_ports: Sequence[int]) -> None:
        """Take the ports of relays that hand a message back to Postfix."""
        self.threshold: float | None = None
        self._own_host = b"["
        self._counts = metrics.Counts()
        self._messages = Messages(self._received)
        self._flood = OutboundFlood()
        self._book = DayBook()
        self._top = TopNames(self._book)
        self._handlers: dict[bytes, Handler] = {}
        self._told = RecordQueue(others=_MAX_RECORDS)
        self._deliveries = Deliveries(filter_ports, self._counts, self._messages, self._flood, self._book)
        # Verdicts clean that were counted for messages which got a worse one later.
        self._spare_clean = 0
        self._at = 0
        self._live = True
        self._written: dict[str, str] = {"told": self._told.save()}
        # The block being read and the line of it in which the queue manager takes a message on.
        self._block: SyslogBlock | None = None
        self._line: SyslogLine | None = None

    def feed(self, block: SyslogBlock, now: int) -> None:
        """Count lines of the log."""
        self._block = block
        self._live = self._deliveries.live = block.live
        lines, handlers, messages = block.lines, self._handlers, self._messages
        self._top.turn(min(lines[0].at or self._at, now))
        at, before = self._at or now, None
        for line in lines:
            stamp = line.at
            if stamp != before:
                before = stamp
                # A stamp that cannot be is taken for the one before; nothing was written later than now.
                if stamp is not None:
                    at = self._at = min(stamp, now)
                if messages.next_due is not None and at >= messages.next_due:
                    messages.settle(at)
            try:
                handler = handlers[line.program]
            except KeyError:
                handler = self._find_handler(line.program)
            handler(line, at)
        self._block = None
        self._counts.fold()

    def settle(self, now: int) -> None:
        """Decide on what no further line decides, unless the log is still being caught up with."""
        if self._live and self._messages.next_due is not None:
            self._messages.settle(now)

    def set_own_name(self, name: str) -> None:
        """Take the name of this host."""
        self._own_host = name.lower().encode() + b"["

    def set_plain_returns(self, possible: bool) -> None:
        """Take whether what comes back from the filter may come to an SMTP server with the plain name."""
        self._messages.set_plain_returns(possible)

    def findings(self, now: float) -> list[Finding]:
        """Return counters, gauges by the wall clock, and the records since the last call."""
        findings: list[Finding] = list(self._counts.samples(self._top.evidence()))
        findings += self._deliveries.samples(now)
        flood = self._flood.look(now)
        findings += [
            metrics.FLOOD_RECIPIENTS.sample(flood.recipients, evidence=flood.by_recipients),
            metrics.FLOOD_HOUR_RECIPIENTS.sample(flood.hour_recipients, evidence=flood.by_hour),
            metrics.FLOOD_RATIO.sample(flood.ratio, evidence=flood.by_ratio),
            metrics.FLOOD_UNDELIVERED.sample(flood.undelivered, evidence=flood.by_ratio[:1]),
            *self._told.take(),
        ]
        return findings

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        self._counts.restore(saved)
        self._messages.restore(saved)
        self._flood.restore(saved)
        self._book.restore(saved)
        if "watch" in saved:
            self._at, unreached, unreached_at, self._spare_clean, double_bounces = json.loads(saved["watch"])
            self._deliveries.restore(unreached, unreached_at, double_bounces)
        if "told" in saved:
            self._told.restore(saved["told"])
            self._written["told"] = saved["told"]

    def changes(self) -> dict[str, str | None]:
        """Return the rows that changed: counters, messages under way, senders, and the day's book."""
        rows: dict[str, str | None] = dict(self._counts.changes())
        rows.update(self._messages.changes())
        rows.update(self._flood.changes())
        rows.update(self._book.changes())
        unreached, unreached_at, double_bounces = self._deliveries.save()
        watch = [self._at, unreached, unreached_at, self._spare_clean, double_bounces]
        for key, text in (("watch", json.dumps(watch, separators=(",", ":"))), ("told", self._told.save())):
            if text != self._written.get(key):
                rows[key] = self._written[key] = text
        return rows

    def _find_handler(self, program: bytes) -> Handler:
        if len(self._handlers) >= _MAX_PROGRAMS:
            self._handlers.clear()
        path, _, last = program.rpartition(b"/")
        handler: Handler = self._pass_over
        if path.startswith(b"postfix"):
            known: dict[bytes, Handler] = {
                b"qmgr": self._qmgr,
                b"pickup": self._pickup,
                b"postsuper": self._pickup,
                b"cleanup": self._cleanup,
                b"postscreen": self._postscreen,
                b"lmtp": self._lmtp,
                b"discard": self._discard,
            }
            agents = (b"smtp", b"relay", b"local", b"virtual", b"pipe", b"error", b"retry")
            known.update(dict.fromkeys(agents, self._agent))
            service = path.rpartition(b"/")[2]
            if last == b"smtpd":
                if service == b"postfix":
                    handler = self._plain_smtpd
                elif service not in LATER_PASSES:
                    handler = self._named_smtpd
            else:
                handler = known.get(last, self._other)
        elif program in (b"amavis", b"amavisd"):
            handler = self._amavis
        elif program == b"opendkim":
            handler = self._opendkim
        elif program == b"cbpolicyd":
            handler = self._cbpolicyd
        self._handlers[program] = handler
        return handler

    def _pass_over(self, line: SyslogLine, at: int) -> None:
        """Take a line that somebody else wished."""

    # -- Arrivals and the queue manager --------------------------------------------------------------------------

    def _plain_smtpd(self, line: SyslogLine, at: int) -> None:
        arrival = parse_arrival(line.message)
        if arrival is None:
            self._set_aside(line, at)
        elif arrival[0] != b"NOQUEUE":  # said before a journaling proxy, which hands it back
            self._messages.arrive_plain(at, arrival, line.pid)

    def _named_smtpd(self, line: SyslogLine, at: int) -> None:
        arrival = parse_arrival(line.message)
        if arrival is None:
            self._set_aside(line, at)
        elif arrival[0] != b"NOQUEUE":
            queue_id, host, _, account, _ = arrival
            self._messages.arrive(queue_id, at, host, account)

    def _pickup(self, line: SyslogLine, at: int) -> None:
        found = parse_pickup(line.message)
        if found is not None:
            queue_id, former = found
            if former:
                self._messages.requeue(former, queue_id)
            else:
                self._messages.arrive(queue_id, at, b"", b"")
        elif line.message.endswith(b": removed"):
            self._messages.remove(line.message[:-9])
        else:
            self._other(line, at)

    def _qmgr(self, line: SyslogLine, at: int) -> None:
        message = line.message
        if message.endswith(b": removed"):
            self._messages.remove(message[:-9])
            return
        queued = parse_queued(message)
        if queued is not None:
            self._line = line
            self._messages.queue(queued, at, _is_notice(queued[1]))
            self._line = None
            return
        expired = parse_expired(message)
        if expired is not None:
            self._counts.events["expired"] += 1
            if _is_notice(expired):
                self._deliveries.double_bounce(at)
        else:
            self._other(line, at)

    def _received(self, at: int, message: Message) -> None:
        self._counts.sizes.append(message.size)
        self._counts.recipient_counts.append(message.recipients)
        self._book.received(at, message.sender, message.host, message.size)
        account = message.account
        if not account and not message.flags & NULL and self._is_own(message.host):
            account = message.account = message.sender
        if account:
            ratio = self._flood.add(account, at, message.recipients, live=self._live)
            if self.threshold is not None and ratio >= self.threshold:
                self._record_flood(message, at)

    def _is_own(self, host: bytes) -> bool:
        """Whether a client is this host, whose mailbox server checks who writes and logs in to no MTA."""
        own = self._own_host
        return host.endswith(_OWN_ADDRESSES) or (own != b"[" and host[: len(own)].lower() == own)

    def _record_flood(self, message: Message, at: int) -> None:
        recipients = self._flood.tell(message.account, at)
        if recipients is None:
            return
        fields = {
            "account": message.account.decode("utf-8", "replace"),
            "address": message.host[message.host.rfind(b"[") + 1 : -1].decode("ascii", "replace"),
            "count": str(recipients),
            "protocol": "smtp",
        }
        # Who decides late on a message, by a line of another one, knows no place.
        offset = None if self._block is None or self._line is None else self._block.offset(self._line)
        self._told.add(Record("outbound_flood", at, Grade.WARNING, fields, SYSLOG, offset))

    def _agent(self, line: SyslogLine, at: int) -> None:
        delivery = parse_delivery(line.message)
        if delivery is None:
            self._other(line, at)
        else:
            self._deliveries.attempt(delivery, at)

    def _lmtp(self, line: SyslogLine, at: int) -> None:
        delivery = parse_delivery(line.message)
        if delivery is None:
            self._other(line, at)
        else:
            self._deliveries.attempt_lmtp(delivery, at)

    def _discard(self, line: SyslogLine, at: int) -> None:
        delivery = parse_delivery(line.message)
        if delivery is None:
            self._other(line, at)
        elif delivery[6] == b"sent":
            self._deliveries.discarded(at)

    # -- What is refused or set aside, and by whom ---------------------------------------------------------------

    def _cleanup(self, line: SyslogLine, at: int) -> None:
        self._set_aside(line, at)

    def _postscreen(self, line: SyslogLine, at: int) -> None:
        self._set_aside(line, at, postscreen=True)

    def _set_aside(self, line: SyslogLine, at: int, *, postscreen: bool = False) -> None:
        action = parse_action(line.message, postscreen=postscreen)
        if action is None:
            self._other(line, at)
        elif action.kind == b"reject":
            self._counts.events["rejected"] += 1
            self._counts.causes[action.cause] += 1
            self._book.rejected(at, action.cause, action.host, action.text)
        elif action.kind == b"hold":
            self._counts.events["held"] += 1
            self._book.held(at)
        else:
            self._deliveries.discarded(at)

    def _other(self, line: SyslogLine, at: int) -> None:
        """Take a line that tells of no message: a complaint of the program, or one that another collector wished."""
        message = line.message
        if message.startswith(TROUBLE):
            self._book.warning(at, line.program, message.removeprefix(b"warning: "))
            if is_limit_exceeded(message):
                self._counts.plain[metrics.LIMITS.name] += 1
        elif is_malformed(message):
            self._counts.plain[metrics.UNPARSED.name] += 1

    # -- Content ---------------------------------------------------------------------------------------------------

    def _amavis(self, line: SyslogLine, at: int) -> None:
        found = parse_verdict(line.message)
        if found is None:
            return
        verdict, blocked, quarantined, queue_id, queued_as, dkim_valid = found
        message = self._messages.get(queue_id)
        account = b"" if message is None else message.account
        for back in queued_as:
            self._messages.came_back(back, True, account)
        counts = self._counts
        if message is not None and message.flags & FILTERED:
            # It was judged before, as clean or it would not be here; only a worse verdict counts, in place of that.
            if verdict == "clean":
                return
            self._spare_clean += 1
        elif verdict == "clean" and self._spare_clean:
            self._spare_clean -= 1
            return
        counts.verdicts[verdict] += 1
        if blocked:
            counts.plain[metrics.BLOCKED.name] += 1
        if quarantined:
            counts.plain[metrics.QUARANTINED.name] += 1
        if dkim_valid:
            counts.dkim["verified"] += 1
        self._book.verdict(at, verdict)

    def _opendkim(self, line: SyslogLine, at: int) -> None:
        result = parse_dkim(line.message)
        if result is not None:
            self._counts.dkim[result] += 1

    def _cbpolicyd(self, line: SyslogLine, at: int) -> None:
        action = parse_policy(line.message)
        if action is not None:
            self._counts.policy[action] += 1


def _is_notice(sender: bytes) -> bool:
    """Whether a message comes from nobody who could be told: a bounce, or a copy of one for the postmaster."""
    return not sender or sender.startswith(b"double-bounce@")
