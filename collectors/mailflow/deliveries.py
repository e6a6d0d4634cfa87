"""What came of deliveries: each recipient's attempt, and the way to the content filter, which is none."""

from collections.abc import Iterator, Sequence
from typing import Any

from collectors.mailflow import metrics
from collectors.mailflow.flood import OutboundFlood
from collectors.mailflow.lines import (
    Delivery,
    deferral_reason,
    is_answer,
    lmtp_result,
    parse_queued_as,
    unreached_port,
)
from collectors.mailflow.messages import DEFERRED, NULL, OURS, RETRIED, UNDECIDED, Message, Messages
from zcs_exporter.contract import Sample
from zcs_exporter.mailreport.day import DayBook

_UNREACHED_SECONDS = 7200
"""A deferred message is tried again within 4,000 s, so after twice that nobody needs the filter."""
_HOUR = 3600
_MINUTE = 60
_MAX_CACHED = 2000
_AMAVIS_PORTS = (b"10024", b"10026", b"10032")


class Deliveries:
    """Counts attempts to deliver; ``live`` is as in ``LogBlock``, of the lines being read."""

    def __init__(
        self,
        filter_ports: Sequence[int],
        counts: metrics.Counts,
        messages: Messages,
        flood: OutboundFlood,
        book: DayBook,
    ) -> None:
        """Take the ports of relays that hand a message back to Postfix, and what is written to."""
        self.live = True
        self._ports = frozenset(str(port).encode() for port in filter_ports)
        self._counts = counts
        self._messages = messages
        self._flood = flood
        self._book = book
        self._reasons: dict[tuple[bytes, bytes | None], str] = {}
        # By minute, of the last hour.
        self._double_bounces: dict[int, int] = {}
        self._unreached = 0
        self._unreached_at = 0

    def samples(self, now: float) -> Iterator[Sample]:
        """Yield the gauges by the wall clock."""
        if now - self._unreached_at >= _UNREACHED_SECONDS:
            self._unreached = 0
        yield metrics.UNREACHED.sample(self._unreached)
        first = int(now) // _MINUTE - _HOUR // _MINUTE
        bounces = sum(count for minute, count in self._double_bounces.items() if minute > first)
        yield metrics.DOUBLE_BOUNCES.sample(bounces)

    def save(self) -> tuple[int, int, list[tuple[int, int]]]:
        """Return the state as plain JSON data."""
        return self._unreached, self._unreached_at, list(self._double_bounces.items())

    def restore(self, unreached: int, unreached_at: int, double_bounces: Any) -> None:
        """Take over what ``save`` gave."""
        self._unreached, self._unreached_at, self._double_bounces = unreached, unreached_at, dict(double_bounces)

    def attempt_lmtp(self, delivery: Delivery, at: int) -> None:
        """Count an attempt over LMTP."""
        hop = self.attempt(delivery, at)
        _, _, _, _, _, dsn, status, text = delivery
        if not hop and status in (b"sent", b"deferred", b"bounced"):
            self._counts.lmtp[lmtp_result(status, dsn or b"", text)] += 1

    def attempt(self, delivery: Delivery, at: int) -> bool:
        """Count an attempt; return whether it went to the content filter."""
        queue_id, recipient, relay, delay, delays, dsn, status, text = delivery
        message = self._messages.get(queue_id)
        host, _, port = relay.rpartition(b":")
        if relay == b"none":
            port = unreached_port(text)
        hop = port in self._ports
        if hop:
            if host:
                self._messages.add_filter(host)
            self._to_filter(delivery, at, message, port)
        if status == b"sent":
            if not hop:
                self._delivered(recipient, delay, delays, text, at, message)
        elif status in (b"deferred", b"SOFTBOUNCE"):
            text = text.removesuffix(b")")
            reason = self._filter_trouble(text, at) if hop else self._reason(text, dsn)
            self._counts.events["deferred"] += 1
            self._counts.deferrals[reason] += 1
            first = None
            if message is not None:
                first = not message.flags & DEFERRED
                if message.account and not message.flags & RETRIED:
                    self._flood.fail(message.account, at, live=self.live)
                self._messages.deferred(queue_id, message)
            self._book.deferred(at, recipient, text, first=first)
        elif status == b"bounced":
            self._bounced(recipient, text.removesuffix(b")"), at, message)
        return hop

    def discarded(self, at: int) -> None:
        """Count a message that was thrown away."""
        self._counts.events["discarded"] += 1
        self._book.discarded(at)

    def double_bounce(self, at: int) -> None:
        """Count a bounce that cannot be delivered either, or is given up."""
        self._counts.events["double_bounce"] += 1
        if not self.live:
            return
        minute = at // _MINUTE
        if minute not in self._double_bounces:
            over = minute - _HOUR // _MINUTE
            self._double_bounces = {each: count for each, count in self._double_bounces.items() if each > over}
        self._double_bounces[minute] = self._double_bounces.get(minute, 0) + 1

    def _delivered(
        self, recipient: bytes, delay: bytes, delays: bytes | None, text: bytes, at: int, message: Message | None
    ) -> None:
        counts = self._counts
        if text.startswith(b"forwarded as "):
            counts.events["forwarded"] += 1
            self._book.forwarded(at)
            return
        size = 0 if message is None else message.size
        counts.delivered_sizes.append(size)
        if delays is not None:
            first = message is not None and message.flags & OURS
            (counts.first_delays if first else counts.later_delays).append(delays)
        self._book.delivered(at, recipient, size, _number(delay))

    def _bounced(self, recipient: bytes, text: bytes, at: int, message: Message | None) -> None:
        self._counts.events["bounced"] += 1
        if message is not None:
            if message.flags & NULL:
                self.double_bounce(at)
            if message.account:
                self._flood.fail(message.account, at, live=self.live)
        self._book.bounced(at, recipient, text)

    def _to_filter(self, delivery: Delivery, at: int, message: Message | None, port: bytes) -> None:
        """Take what a hop to the content filter tells of the pass after it."""
        queue_id, recipient, _, _, delays, _, status, text = delivery
        if message is not None and message.flags & UNDECIDED:
            self._messages.goes_to_filter(queue_id, at, message)
        amavis = port in _AMAVIS_PORTS
        if amavis and self.live and (status == b"sent" or is_answer(text)):
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
            self.discarded(at)
        elif text.startswith(b"250 2.7.0 Bounce"):
            self._bounced(recipient, text.removesuffix(b")"), at, message)

    def _filter_trouble(self, text: bytes, at: int) -> str:
        if is_answer(text):
            return "content_filter_error"
        if self.live:
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


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
