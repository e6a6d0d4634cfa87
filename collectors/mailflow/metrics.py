"""The metric families of the ``mailflow`` collector, their closed sets of labels, and its counters."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from zcs_exporter.contract import Evidence, Histogram, Kind, Metric, Sample

EVENTS = (
    "received",
    "delivered",
    "forwarded",
    "deferred",
    "bounced",
    "double_bounce",
    "expired",
    "rejected",
    "held",
    "discarded",
)
DIRECTIONS = ("in", "out")
STAGES = ("before_queue", "queue", "content_filter", "connect", "transmit")
CAUSES = (
    "rbl",
    "relay",
    "helo",
    "client",
    "access",
    "policyd",
    "greylist",
    "postscreen",
    "size",
    "unknown_user",
    "sender_unknown",
    "sasl",
    "rate",
    "tls",
    "protocol",
    "content",
    "milter",
    "resources",
    "other",
)
DEFERRALS = (
    "content_filter_unreachable",
    "content_filter_error",
    "connection_refused",
    "connection_timeout",
    "connection_lost",
    "network",
    "dns",
    "tls",
    "greylisted",
    "mailbox_full",
    "rate_limited",
    "remote",
    "local",
    "other",
)
LMTP_RESULTS = ("delivered", "over_quota", "unknown_user", "temporary", "other")
VERDICTS = (
    "clean",
    "spam",
    "spammy",
    "infected",
    "banned",
    "unchecked",
    "bad_header",
    "mta_blocked",
    "oversized",
    "tempfail",
    "other",
)
DKIM_RESULTS = ("signed", "verified", "failed", "unsigned", "key_error")
POLICY_ACTIONS = ("pass", "none", "track", "defer", "reject", "hold", "discard", "redirect", "filter", "other")

MESSAGES = Metric(
    "zcs_mail_messages_total",
    Kind.COUNTER,
    "What happened to mail: messages received or expired; recipients delivered, forwarded, bounced or discarded; "
    "attempts deferred; commands rejected or held; double_bounce is bounced or expired with nobody left to tell.",
    labels=("event",),
)
BYTES = Metric(
    "zcs_mail_bytes_total",
    Kind.COUNTER,
    "Bytes of mail: in once for each message received, out once for each recipient delivered.",
    labels=("direction",),
)
DELAY = Metric(
    "zcs_mail_delay_seconds",
    Kind.HISTOGRAM,
    "Time that mail spent in one stage of a successful delivery; content_filter is the way to amavis and its work.",
    labels=("stage",),
    buckets=(0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400),
)
SIZE = Metric(
    "zcs_mail_message_size_bytes",
    Kind.HISTOGRAM,
    "Sizes of messages received.",
    buckets=(1e3, 4e3, 16e3, 64e3, 256e3, 1e6, 4e6, 1e7, 25e6, 1e8),
)
RECIPIENTS = Metric(
    "zcs_mail_message_recipients",
    Kind.HISTOGRAM,
    "Recipients of messages received.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
REJECTS = Metric("zcs_mail_rejects_total", Kind.COUNTER, "Commands of SMTP clients rejected.", labels=("cause",))
LIMITS = Metric(
    "zcs_mail_client_limits_exceeded_total",
    Kind.COUNTER,
    "Connections and requests refused because one client made too many; these are not among the rejects.",
)
DEFERRED = Metric(
    "zcs_mail_deferrals_total", Kind.COUNTER, "Delivery attempts for one recipient put off.", labels=("reason",)
)
LMTP = Metric(
    "zcs_mail_lmtp_results_total",
    Kind.COUNTER,
    "Answers of mail stores to deliveries over LMTP, one for each recipient.",
    labels=("result",),
)
VERDICT = Metric(
    "zcs_mail_content_verdicts_total",
    Kind.COUNTER,
    "Messages judged by amavis; one that it sees twice counts once, with the worse verdict.",
    labels=("verdict",),
)
BLOCKED = Metric("zcs_mail_content_blocked_total", Kind.COUNTER, "Messages that amavis did not let pass.")
QUARANTINED = Metric("zcs_mail_content_quarantined_total", Kind.COUNTER, "Messages that amavis put in quarantine.")
DKIM = Metric(
    "zcs_mail_dkim_total",
    Kind.COUNTER,
    "Messages by what opendkim did or found, and by the signatures that amavis found valid (verified).",
    labels=("result",),
)
POLICY = Metric(
    "zcs_mail_policy_actions_total",
    Kind.COUNTER,
    "Decisions of cbpolicyd's modules, where it logs to syslog; track is a quota updated.",
    labels=("action",),
)
UNPARSED = Metric(
    "zcs_mail_unparsed_lines_total", Kind.COUNTER, "Lines of a wanted kind in zimbra.log that could not be understood."
)
UNREACHED = Metric(
    "zcs_mail_content_filter_unreached_deliveries",
    Kind.GAUGE,
    "Deliveries in a row that could not reach the content filter; 0 after one that did, or two hours without any.",
)
DOUBLE_BOUNCES = Metric(
    "zcs_mail_window_double_bounces", Kind.GAUGE, "Bounces of the last hour that could not be delivered either."
)
FLOOD_RECIPIENTS = Metric(
    "zcs_mail_flood_recipients_max",
    Kind.GAUGE,
    "Most recipients to whom one sender, authenticated or on this host, wrote in the last ten minutes.",
)
FLOOD_HOUR_RECIPIENTS = Metric(
    "zcs_mail_flood_hour_recipients_max",
    Kind.GAUGE,
    "Most recipients to whom one sender, authenticated or on this host, wrote in the last hour.",
)
FLOOD_RATIO = Metric(
    "zcs_mail_flood_ratio_max",
    Kind.GAUGE,
    "How many times its own and the host's habit the most excessive of these senders sends.",
)
FLOOD_UNDELIVERED = Metric(
    "zcs_mail_flood_undelivered_recipients",
    Kind.GAUGE,
    "Recipients of that sender whose mail of the last hour was deferred at once or bounced.",
)

_COUNTERS: Mapping[Metric, tuple[str, ...]] = {
    MESSAGES: EVENTS,
    BYTES: DIRECTIONS,
    REJECTS: CAUSES,
    DEFERRED: DEFERRALS,
    LMTP: LMTP_RESULTS,
    VERDICT: VERDICTS,
    DKIM: DKIM_RESULTS,
    POLICY: POLICY_ACTIONS,
}
_PLAIN = (LIMITS, BLOCKED, QUARANTINED, UNPARSED)

GAUGES = (UNREACHED, DOUBLE_BOUNCES, FLOOD_RECIPIENTS, FLOOD_HOUR_RECIPIENTS, FLOOD_RATIO, FLOOD_UNDELIVERED)

ALL = (*_COUNTERS, *_PLAIN, DELAY, SIZE, RECIPIENTS, *GAUGES)


# Places in ``delays=a/b/c/d`` of a delivery, and of a hop to the content filter.
_DELIVERY = ((0, "before_queue"), (1, "queue"), (2, "connect"), (3, "transmit"))
_HOP = _DELIVERY[:2]


def _seconds(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


class Counts:
    """All counters and histograms of the collector; each is one row, written when it changed.

    Attributes:
        events, bytes, causes, deferrals, lmtp, verdicts, dkim, policy: By the label of the metric.
        plain: By the name of a metric without labels.
        delay, size, recipients: Histograms.
        sizes, recipient_counts: Of messages received, until ``fold``.
        delivered_sizes: Of messages, once for each delivery, until ``fold``.
        first_delays, later_delays: ``a/b/c/d`` of deliveries on a message's first pass and on others; until ``fold``.
        first_hops, later_hops: The same of hops to the content filter.
    """

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.causes: Counter[str] = Counter()
        self.deferrals: Counter[str] = Counter()
        self.lmtp: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.dkim: Counter[str] = Counter()
        self.policy: Counter[str] = Counter()
        self.plain: Counter[str] = Counter()
        self.delay = Histogram(DELAY)
        self.size = Histogram(SIZE)
        self.recipients = Histogram(RECIPIENTS)
        for stage in STAGES:
            self.delay.begin(stage)
        self.size.begin()
        self.recipients.begin()
        self._by_metric = dict(
            zip(
                _COUNTERS,
                (
                    self.events,
                    self.bytes,
                    self.causes,
                    self.deferrals,
                    self.lmtp,
                    self.verdicts,
                    self.dkim,
                    self.policy,
                ),
                strict=True,
            )
        )
        # The numbers of a block are added up together, by the few different ones there are.
        self.sizes: list[int] = []
        self.recipient_counts: list[int] = []
        self.delivered_sizes: list[int] = []
        self.first_delays: list[bytes] = []
        self.later_delays: list[bytes] = []
        self.first_hops: list[bytes] = []
        self.later_hops: list[bytes] = []
        self._written: dict[str, str] = {}

    def fold(self) -> None:
        """Take what is pending into the counters and histograms."""
        for sizes, event, direction in ((self.sizes, "received", "in"), (self.delivered_sizes, "delivered", "out")):
            if sizes:
                self.events[event] += len(sizes)
                self.bytes[direction] += sum(sizes)
        self.delivered_sizes.clear()
        for pending, histogram in ((self.sizes, self.size), (self.recipient_counts, self.recipients)):
            for number, times in Counter(pending).items():
                histogram.observe(number, times=times)
            pending.clear()
        self._fold_delays(self.first_delays, _DELIVERY)
        self._fold_delays(self.later_delays, _DELIVERY[1:])
        for numbers in (self._fold_delays(self.first_hops, _HOP), self._fold_delays(self.later_hops, _HOP[1:])):
            work = Counter(zip(numbers[2::4], numbers[3::4], strict=True))
            for (connect, transmit), times in work.items():
                self.delay.observe(_seconds(connect) + _seconds(transmit), "content_filter", times=times)

    def _fold_delays(self, delays: list[bytes], stages: Sequence[tuple[int, str]]) -> list[bytes]:
        """Count ``a/b/c/d`` of deliveries for these stages, and return all the numbers in one list."""
        numbers = b"/".join(delays).split(b"/") if delays else []
        delays.clear()
        for place, stage in stages:
            for number, times in Counter(numbers[place::4]).items():
                self.delay.observe(_seconds(number), stage, times=times)
        return numbers

    def samples(self, evidence: Mapping[str, Evidence]) -> Iterator[Sample]:
        """Yield all of them, those with a closed set of labels from 0 on; evidence is by event."""
        self.fold()
        for metric, labels in _COUNTERS.items():
            counts = self._by_metric[metric]
            for label in labels:
                told = evidence.get(label, ()) if metric is MESSAGES else ()
                yield metric.sample(counts[label], evidence=told, **{metric.labels[0]: label})
        for metric in _PLAIN:
            yield metric.sample(self.plain[metric.name])
        for histogram in (self.delay, self.size, self.recipients):
            yield from histogram.samples()

    def changes(self) -> Iterator[tuple[str, str]]:
        """Yield the rows that changed since the last call."""
        self.fold()
        rows: dict[str, object] = {metric.name: counts for metric, counts in self._by_metric.items()}
        rows["plain"] = self.plain
        for metric, histogram in self._histograms():
            rows[metric.name] = histogram.save()
        for key, content in rows.items():
            text = json.dumps(content, separators=(",", ":"))
            if self._written.get(key) != text:
                self._written[key] = text
                yield f"count:{key}", text

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        for metric, counts in self._by_metric.items():
            counts.update(json.loads(saved.get(f"count:{metric.name}", "{}")))
        self.plain.update(json.loads(saved.get("count:plain", "{}")))
        for metric, histogram in self._histograms():
            histogram.restore(json.loads(saved.get(f"count:{metric.name}", "[]")))

    def _histograms(self) -> tuple[tuple[Metric, Histogram], ...]:
        return ((DELAY, self.delay), (SIZE, self.size), (RECIPIENTS, self.recipients))
