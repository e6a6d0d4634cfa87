"""The page's area about mail flow: what became of mail, how long it took, and who is behind it."""

from collections.abc import Mapping

from zcs_exporter.alerting.model import Severity
from zcs_exporter.expose.facts import (
    NOTHING,
    Facts,
    Visible,
    badge,
    brief,
    count,
    evidence_line,
    mean,
    span,
    table,
    terms,
    word,
)
from zcs_exporter.expose.markup import Markup, element, join

_COLLECTOR = "mailflow"
_MESSAGES = "zcs_mail_messages_total"
_DELAY = "zcs_mail_delay_seconds"
_EVENTS = {
    "received": "Received",
    "delivered": "Delivered",
    "deferred": "Deferred",
    "bounced": "Bounced",
    "rejected": "Rejected",
}
_SELDOM = {
    "forwarded": "Forwarded",
    "discarded": "Discarded",
    "held": "Held",
    "expired": "Expired",
    "double_bounce": "Bounced with nobody to tell",
}
"""Shown where there was any."""

_WHY = {"deferred": ("zcs_mail_deferrals_total", "reason"), "rejected": ("zcs_mail_rejects_total", "cause")}
_STAGES = {
    "before_queue": "Before the queue",
    "queue": "In the queue",
    "content_filter": "Content filter",
    "connect": "Connecting",
    "transmit": "Handing over",
}
_MOST_CAUSES = 3
_MOST_NAMES = 3
_SHARE = 0.95


def mail_flow(facts: Facts, visible: Visible) -> Markup:
    """Return what became of mail."""
    side = join(_delays(facts), _rest(facts, visible))
    return element("div", element("div", _events(facts, visible)), element("div", side), class_="split")


def _events(facts: Facts, visible: Visible) -> Markup:
    lately = facts.lately(_COLLECTOR)
    totals = facts.by(_MESSAGES, "event")
    grown = facts.grown_by(_COLLECTOR, _MESSAGES, "event")
    if not any(totals.values()):
        return element("p", "No mail counted so far.")
    rows: list[list[str]] = []
    for event, title in (*_EVENTS.items(), *((key, text) for key, text in _SELDOM.items() if totals.get(key))):
        row: list[str] = [join(title, _causes(facts, event))]
        if lately is not None:
            row.append(count(grown.get(event)))
        row.append(count(totals.get(event)))
        row.append(_who(facts, event, visible))
        rows.append(row)
    recent = () if lately is None else (f"Last {span(lately)}",)
    return join(
        table("What became of mail", ("Mail", *recent, "In all", "Most often"), rows, stacks=True),
        element("p", element("small", "Names are those of the last one to two hours.")),
    )


def _who(facts: Facts, event: str, visible: Visible) -> Markup:
    return evidence_line(facts.evidence(_MESSAGES, event=event)[:_MOST_NAMES], visible, NOTHING)


def _causes(facts: Facts, event: str) -> Markup:
    """Return the leading causes, of the last minutes if something happened in them."""
    if event not in _WHY:
        return Markup()
    metric, label = _WHY[event]
    recent = {cause: number for cause, number in facts.grown_by(_COLLECTOR, metric, label).items() if number}
    said = counted_words(recent or facts.by(metric, label), _MOST_CAUSES)
    return element("small", said) if said else Markup()


def counted_words(numbers: Mapping[str, float], most: int = 100) -> str:
    """Return what is not 0 as words with their numbers, the largest first."""
    some = sorted(((number, name) for name, number in numbers.items() if number), key=lambda each: (-each[0], each[1]))
    return ", ".join(f"{name.replace('_', ' ')} {number:.0f}" for number, name in some[:most])


def _delays(facts: Facts) -> Markup:
    """Return how long mail took, by stage; of the last minutes if mail was delivered in them."""
    lately = facts.lately(_COLLECTOR)
    times = facts.grown_by(_COLLECTOR, f"{_DELAY}_count", "stage")
    recent = lately is not None and any(times.values())
    if recent:
        sums = facts.grown_by(_COLLECTOR, f"{_DELAY}_sum", "stage")
    else:
        times, sums = facts.by(f"{_DELAY}_count", "stage"), facts.by(f"{_DELAY}_sum", "stage")
    if not any(times.values()):
        return Markup()
    rows: list[list[str]] = []
    for stage, title in _STAGES.items():
        buckets = (
            facts.grown_by(_COLLECTOR, f"{_DELAY}_bucket", "le", stage=stage)
            if recent
            else facts.by(f"{_DELAY}_bucket", "le", stage=stage)
        )
        rows.append([title, mean(sums.get(stage), times.get(stage)), _most(buckets)])
    whose = f"last {span(lately)}" if recent else "all deliveries"
    return table(f"Time that mail spent, {whose}", (f"Time, {whose}", "Mean", "95 % within"), rows)


def _most(buckets: Mapping[str, float]) -> Markup:
    """Return the bound under which nearly all stayed."""
    ordered = sorted((float(bound), number) for bound, number in buckets.items())
    if not ordered or not ordered[-1][1]:
        return join(NOTHING)
    wanted = _SHARE * ordered[-1][1]
    bounds = [bound for bound, number in ordered if number >= wanted]
    if bounds[0] != float("inf"):
        return brief(bounds[0])
    return join("more than ", brief(ordered[-2][0])) if len(ordered) > 1 else join(NOTHING)


def _rest(facts: Facts, visible: Visible) -> Markup:
    pairs: list[tuple[str, str]] = []
    metric = "zcs_mail_content_verdicts_total"
    if said := counted_words(facts.grown_by(_COLLECTOR, metric, "verdict")):
        pairs.append(
            ("Content filter", join(said, " ", element("small", "in the last ", span(facts.lately(_COLLECTOR)))))
        )
    elif said := counted_words(facts.by(metric, "verdict")):
        pairs.append(("Content filter", join(said, " ", element("small", "in all"))))
    most = facts.value("zcs_mail_flood_recipients_max")
    if most:
        ratio = facts.value("zcs_mail_flood_ratio_max")
        severity = facts.judge(ratio, "ZcsAuthOutboundFlood")
        who = evidence_line(facts.evidence("zcs_mail_flood_recipients_max")[:1], visible)
        habit = "" if ratio is None else element("span", f", {ratio:.1f} times what is usual", class_=word(severity))
        pairs.append(("Busiest login", join(count(most), " recipients in ten minutes", habit, " ", who)))
    unreached = facts.value("zcs_mail_content_filter_unreached_deliveries")
    if unreached:
        pairs.append(("Content filter reached", badge(Severity.WARNING, f"no, {unreached:.0f} times in a row")))
    if bounces := facts.value("zcs_mail_window_double_bounces"):
        severity = facts.judge(bounces, "ZcsQueueDoubleBounces")
        pairs.append(
            ("Bounces that bounced", join(element("span", count(bounces), class_=word(severity)), " in an hour"))
        )
    return terms(pairs) if pairs else Markup()
