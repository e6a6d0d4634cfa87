"""Where mail waits, and what becomes of it."""

from zcs_exporter.dashboards.kinds import Graph
from zcs_exporter.dashboards.panels.common import rates
from zcs_exporter.dashboards.terms import Limit, Query, Unit, series


def queues() -> Graph:
    """Return how many messages each queue has."""
    return Graph(
        title="Where mail waits: messages",
        description="Messages in each queue. The dashes are the thresholds for deferred mail that grows.",
        width=5,
        queries=(Query(expr=series("zcs_postfix_queue_messages"), legend="{{queue}}"),),
        limits=(Limit(alert="ZcsQueueDeferredGrowing"),),
        runbooks=("ZcsQueueDeferredGrowing", "ZcsQueueSenderFlood"),
    )


def oldest() -> Graph:
    """Return how long the oldest message of each queue has waited."""
    return Graph(
        title="How long: the oldest message",
        description=(
            "Age of the oldest message in each queue; an empty queue has none. The dashes are the threshold for "
            "maildrop and incoming, in which nothing may wait."
        ),
        width=5,
        queries=(Query(expr=series("zcs_postfix_queue_oldest_age_seconds"), legend="{{queue}}"),),
        unit=Unit.SECONDS,
        limits=(Limit(alert="ZcsQueueIntakeStalled"),),
        log=True,
        fill=0,
        runbooks=("ZcsQueueIntakeStalled",),
    )


def delay() -> Graph:
    """Return which stage holds up mail that is delivered."""
    buckets = f"rate({series('zcs_mail_delay_seconds_bucket')}[$__rate_interval])"
    return Graph(
        title="What holds up delivered mail",
        description="95 of 100 deliveries spent at most so long in each stage; nothing is shown while none succeeds.",
        width=4,
        queries=(Query(expr=f"histogram_quantile(0.95, sum by (stage, le) ({buckets}))", legend="{{stage}}"),),
        unit=Unit.SECONDS,
        log=True,
        fill=0,
    )


def flow() -> Graph:
    """Return what happens to mail."""
    return rates(
        "Mail flow",
        "Messages received and expired, recipients delivered or bounced, attempts deferred, commands rejected.",
        "zcs_mail_messages_total",
        "event",
        6,
        every=True,
    )


def deferrals() -> Graph:
    """Return why deliveries are put off."""
    return rates(
        "Why deliveries are put off",
        "Delivery attempts for one recipient that were put off, by reason; empty while there are none.",
        "zcs_mail_deferrals_total",
        "reason",
        6,
    )


def rejects() -> Graph:
    """Return why clients are rejected."""
    return rates(
        "Why clients are rejected",
        "Commands of SMTP clients that were rejected, by cause; empty while there are none.",
        "zcs_mail_rejects_total",
        "cause",
        6,
    )


def verdicts() -> Graph:
    """Return the content filter's verdicts."""
    return rates(
        "What the content filter says",
        "Messages judged by amavis, by verdict; empty while there are none.",
        "zcs_mail_content_verdicts_total",
        "verdict",
        6,
    )
