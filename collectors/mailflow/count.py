"""Turns the lines of one mail log into counts, in the order of the log."""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from collectors.mailflow import metrics as metrics
from collectors.mailflow.flood import OutboundFlood
from collectors.mailflow.lines import (
    TROUBLE,
    Delivery,
    deferral_reason,
    is_answer,
    is_limit_exceeded,
    is_malformed,
    lmtp_result,
    parse_action,
    parse_arrival,
    parse_delivery,
    parse_dkim,
    parse_expired,
    parse_pickup,
    parse_policy,
    parse_queued,
    parse_queued_as,
    parse_verdict,
    unreached_port,
)
from collectors.mailflow.messages import DEFERRED, FILTERED, NULL, OURS, RETRIED, Message, Messages
from collectors.mailflow.top import TopNames
from zcs_exporter.contract import Finding, Grade, Record, SyslogLine
from zcs_exporter.mailreport.day import DayBook

SYSLOG = "/var/log/zimbra.log"

_UNREACHED_SECONDS = 7200
"""A deferred message is tried again within 4,000 s, so after twice that nobody needs the filter."""
_HOUR = 3600
_MINUTE = 60
_MAX_RECORDS = 100
_MAX_PROGRAMS = 1000
_MAX_CACHED = 2000
_AMAVIS_PORTS = (b"10024", b"10026", b"10032")
_OWN_ADDRESSES = (b"127.0.0.1]", b"::1]")
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
        self._own_name = b""
        self._ports = frozenset(str(port).encode() for port in filter_ports)
        self._counts = metrics.Counts()
        self._messages = Messages(self._received)
        self._flood = OutboundFlood()
        self._book = DayBook()
        self._top = TopNames(self._book)
        self._handlers: dict[bytes, Handler | None] = {}
        self._reasons: dict[tuple[bytes, bytes | None], str] = {}
        self._records: deque[Record] = deque(maxlen=_MAX_RECORDS)
        # By minute, of the last hour.
        self._double_bounces: dict[int, int] = {}
        self._unreached = 0
        self._unreached_at = 0
        # Verdicts clean that were counted for messages which got a worse one later.
        self._spare_clean = 0
        self._at = 0
        self._live = True
        self._written = ""

    def feed(self, lines: Sequence[SyslogLine], now: int, *, live: bool) -> None:
        """Count lines of the log."""
        self._live = live
        handlers, messages = self._handlers, self._messages
        self._top.turn(min(lines[0].at or self._at, now))
        at, stamp = self._at or now, None
        for line in lines:
            if line.at != stamp:
                stamp = line.at
                # A stamp that cannot be is taken for the one before; nothing was written later than now.
                if stamp is not None:
                    at = self._at = min(stamp, now)
                if messages.next_due is not None and at >= messages.next_due:
                    messages.settle(at)
            try:
                handler = handlers[line.program]
            except KeyError:
                handler = self._find_handler(line.program)
            if handler is not None:
                handler(line, at)
        self._counts.fold()

    def settle(self, now: int) -> None:
        """Decide on what no further line decides, unless the log is still being caught up with."""
        if self._live and self._messages.next_due is not None:
            self._messages.settle(now)

    def set_own_name(self, name: str) -> None:
        """Take the name of this host."""
        self._own_name = name.lower().encode()

    def set_plain_returns(self, possible: bool) -> None:
        """Take whether what comes back from the filter may come to an SMTP server with the plain name."""
        self._messages.set_plain_returns(possible)

    def findings(self, now: float) -> list[Finding]:
        """Return counters, gauges by the wall clock, and the records since the last call."""
        findings: list[Finding] = list(self._counts.samples(self._top.evidence()))
        if now - self._unreached_at >= _UNREACHED_SECONDS:
            self._unreached = 0
        findings.append(metrics.UNREACHED.sample(self._unreached))
        first = int(now) // _MINUTE - _HOUR // _MINUTE
        bounces = sum(count for minute, count in self._double_bounces.items() if minute > first)
        findings.append(metrics.DOUBLE_BOUNCES.sample(bounces))
        flood = self._flood.look(now)
        findings += [
            metrics.FLOOD_RECIPIENTS.sample(flood.recipients, evidence=flood.by_recipients),
            metrics.FLOOD_HOUR_RECIPIENTS.sample(flood.hour_recipients, evidence=flood.by_hour),
            metrics.FLOOD_RATIO.sample(flood.ratio, evidence=flood.by_ratio),
            metrics.FLOOD_UNDELIVERED.sample(flood.undelivered, evidence=flood.by_ratio[:1]),
            *self._records,
        ]
        self._records.clear()
        return findings

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        self._counts.restore(saved)
        self._messages.restore(saved)
        self._flood.restore(saved)
        self._book.restore(saved)
        if "watch" in saved:
            self._at, self._unreached, self._unreached_at, self._spare_clean, bounces = json.loads(saved["watch"])
            self._double_bounces = dict(bounces)

    def changes(self) -> dict[str, str | None]:
        """Return the rows that changed: counters, messages under way, senders, and the day's book."""
        rows: dict[str, str | None] = dict(self._counts.changes())
        rows.update(self._messages.changes())
        rows.update(self._flood.changes())
        rows.update(self._book.changes())
        watch = [self._at, self._unreached, self._unreached_at, self._spare_clean, list(self._double_bounces.items())]
        text = json.dumps(watch, separators=(",", ":"))
        if text != self._written:
            rows["watch"] = self._written = text
        return rows

    def _find_handler(self, program: bytes) -> Handler | None:
        if len(self._handlers) >= _MAX_PROGRAMS:
            self._handlers.clear()
        path, _, last = program.rpartition(b"/")
        handler: Handler | None = None
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

    # -- Arrivals and the queue manager --------------------------------------------------------------------------

    def _plain_smtpd(self, line: SyslogLine, at: int) -> None:
        arrival = parse_arrival(line.message)
        if arrival is None:
            self._set_aside(line, at)
        elif arrival.queue_id != b"NOQUEUE":  # said before a journaling proxy, which hands it back
            self._messages.arrive_plain(at, arrival, line.pid)

    def _named_smtpd(self, line: SyslogLine, at: int) -> None:
        arrival = parse_arrival(line.message)
        if arrival is None:
            self._set_aside(line, at)
        elif arrival.queue_id != b"NOQUEUE":
            self._messages.arrive(arrival.queue_id, at, arrival.host, arrival.account)

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
            queue_id, sender, size, recipients = queued
            self._messages.queue(queue_id, at, sender, size, recipients, null=_is_notice(sender))
            return
        expired = parse_expired(message)
        if expired is not None:
            self._counts.events["expired"] += 1
            if _is_notice(expired):
                self._count_double_bounce(at)
        else:
            self._other(line, at)

    def _received(self, at: int, message: Message) -> None:
        counts = self._counts
        counts.events["received"] += 1
        counts.bytes["in"] += message.size
        counts.sizes.append(message.size)
        counts.recipient_counts.append(message.recipients)
        self._book.received(at, message.sender, message.host, message.size)
        if not message.account and self._is_own(message.host) and not _is_notice(message.sender):
            message.account = message.sender
        if message.account:
            ratio = self._flood.add(message.account, at, message.recipients, live=self._live)
            if self.threshold is not None and ratio >= self.threshold:
                self._record_flood(message.account, at)

    def _is_own(self, host: bytes) -> bool:
        """Whether a client is this host, whose mailbox server checks who writes and logs in to no MTA."""
        name, _, address = host.partition(b"[")
        return address in _OWN_ADDRESSES or (name != b"" and name.lower() == self._own_name)

    def _record_flood(self, account: bytes, at: int) -> None:
        recipients = self._flood.tell(account, at)
        if recipients is not None:
            fields = {"account": account.decode("utf-8", "replace"), "count": str(recipients), "protocol": "smtp"}
            self._records.append(Record("outbound_flood", at, Grade.WARNING, fields, SYSLOG))

    # -- Deliveries ----------------------------------------------------------------------------------------------

    def _agent(self, line: SyslogLine, at: int) -> None:
        delivery = parse_delivery(line.message)
        if delivery is None:
            self._other(line, at)
        else:
            self._attempt(delivery, at)

    def _lmtp(self, line: SyslogLine, at: int) -> None:
        delivery = parse_delivery(line.message)
        if delivery is None:
            self._other(line, at)
            return
        hop = self._attempt(delivery, at)
        _, _, _, _, _, dsn, status, text = delivery
        if not hop and status in (b"sent", b"deferred", b"bounced"):
            self._counts.lmtp[lmtp_result(status, dsn or b"", text)] += 1

    def _discard(self, line: SyslogLine, at: int) -> None:
        delivery = parse_delivery(line.message)
        if delivery is None:
            self._other(line, at)
        elif delivery[6] == b"sent":
            self._count_discarded(at)

    def _filter_port(self, relay: bytes, text: bytes) -> bytes:
        """Return the content filter's port if a delivery goes there, else nothing."""
        port = unreached_port(text) if relay == b"none" else relay.rpartition(b":")[2]
        return port if port in self._ports else b""

    def _attempt(self, delivery: Delivery, at: int) -> bool:
        """Count an attempt; return whether it went to the content filter."""
        queue_id, recipient, relay, delay, delays, dsn, status, text = delivery
        message = self._messages.get(queue_id)
        port = self._filter_port(relay, text)
        if port:
            self._to_filter(delivery, at, message, port)
        if status == b"sent":
            if not port:
                self._delivered(recipient, delay, delays, text, at, message)
        elif status in (b"deferred", b"SOFTBOUNCE"):
            text = text.removesuffix(b")")
            reason = self._filter_trouble(text, at) if port else self._reason(text, dsn)
            self._counts.events["deferred"] += 1
            self._counts.deferrals[reason] += 1
            first = None
            if message is not None:
                first = not message.flags & DEFERRED
                if message.account and not message.flags & RETRIED:
                    self._flood.fail(message.account, at, live=self._live)
                self._messages.deferred(queue_id, message)
            self._book.deferred(at, recipient, text, first=first)
        elif status == b"bounced":
            self._bounced(recipient, text.removesuffix(b")"), at, message)
        return bool(port)

    def _delivered(
        self, recipient: bytes, delay: bytes, delays: bytes | None, text: bytes, at: int, message: Message | None
    ) -> None:
        counts = self._counts
        if text.startswith(b"forwarded as "):
            counts.events["forwarded"] += 1
            self._book.forwarded(at)
            return
        size = 0 if message is None else message.size
        counts.events["delivered"] += 1
        counts.bytes["out"] += size
        if delays is not None:
            first = message is not None and message.flags & OURS
            (counts.first_delays if first else counts.later_delays).append(delays)
        self._book.delivered(at, recipient, size, _number(delay))

    def _bounced(self, recipient: bytes, text: bytes, at: int, message: Message | None) -> None:
        self._counts.events["bounced"] += 1
        if message is not None:
            if message.flags & NULL:
                self._count_double_bounce(at)
            if message.account:
                self._flood.fail(message.account, at, live=self._live)
        self._book.bounced(at, recipient, text)

    def _to_filter(self, delivery: Delivery, at: int, message: Message | None, port: bytes) -> None:
        """Take what a hop to the content filter tells of the pass after it."""
        queue_id, recipient, relay, _, delays, _, status, text = delivery
        if message is not None:
            self._messages.goes_to_filter(queue_id, at, message)
        if relay != b"none":
            self._messages.add_filter(relay[relay.rfind(b"[") + 1 : relay.rfind(b"]")])
        amavis = port in _AMAVIS_PORTS
        if amavis and self._live and (status == b"sent" or is_answer(text)):
            self._unreached = 0
        if status != b"sent":
            return
        if delays is not None and amavis:
            first = message is not None and message.flags & OURS
            (self._counts.first_hops if first else self._counts.later_hops).append(delays)
        back = parse_queued_as(text)
        if back is not None:
            account = b"" if message is None else message.account
            self._messages.came_back(back, amavis, account)
        elif text.startswith(b"250 2.7.0 Ok, discarded"):
            self._count_discarded(at)
        elif text.startswith(b"250 2.7.0 Bounce"):
            self._bounced(recipient, text.removesuffix(b")"), at, message)

    def _filter_trouble(self, text: bytes, at: int) -> str:
        if is_answer(text):
            return "content_filter_error"
        if self._live:
            self._unreached += 1
            self._unreached_at = at
        return "content_filter_unreachable"

    def _reason(self, text: bytes, dsn: bytes | None) -> str:
        key = (text[:300], dsn)
        reason = self._reasons.get(key)
        if reason is None:
            if len(self._reasons) >= _MAX_CACHED:
                self._reasons.clear()
            reason = self._reasons[key] = deferral_reason(text, dsn or b"")
        return reason

    def _count_discarded(self, at: int) -> None:
        self._counts.events["discarded"] += 1
        self._book.discarded(at)

    def _count_double_bounce(self, at: int) -> None:
        self._counts.events["double_bounce"] += 1
        if not self._live:
            return
        minute = at // _MINUTE
        if minute not in self._double_bounces:
            over = minute - _HOUR // _MINUTE
            self._double_bounces = {each: count for each, count in self._double_bounces.items() if each > over}
        self._double_bounces[minute] = self._double_bounces.get(minute, 0) + 1

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
            self._count_discarded(at)

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
        message = self._messages.get(found.queue_id)
        account = b"" if message is None else message.account
        for queue_id in found.queued_as:
            self._messages.came_back(queue_id, True, account)
        counts = self._counts
        if message is not None and message.flags & FILTERED:
            # It was judged before, as clean or it would not be here; only a worse verdict counts, in place of that.
            if found.verdict == "clean":
                return
            self._spare_clean += 1
        elif found.verdict == "clean" and self._spare_clean:
            self._spare_clean -= 1
            return
        counts.verdicts[found.verdict] += 1
        counts.plain[metrics.BLOCKED.name] += found.blocked
        counts.plain[metrics.QUARANTINED.name] += found.quarantined
        counts.dkim["verified"] += found.dkim_valid
        self._book.verdict(at, found.verdict)

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


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
