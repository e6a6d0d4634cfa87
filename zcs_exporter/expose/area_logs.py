"""The page's area about logs: faults by component, errors that come again, signs of trouble, and silence."""

from zcs_exporter.alerting.model import Severity
from zcs_exporter.expose.facts import (
    NOTHING,
    TIMES,
    Facts,
    Visible,
    badge,
    count,
    evidence_line,
    span,
    table,
    terms,
    word,
)
from zcs_exporter.expose.markup import Markup, element, join

_COLLECTOR = "logs"
_EVENTS = "zcs_log_events_total"
_SIGNALS = "zcs_log_signals_total"
_LEVELS = ("fatal", "error", "warn")
_MOST_COMPONENTS = 6
_MOST_REPEATED = 5


def logs(facts: Facts, visible: Visible) -> Markup:
    """Return what logs tell besides mail and logins."""
    signals = _signals(facts)
    return element(
        "div",
        element("div", _levels(facts)),
        element("div", _state(facts, visible), signals),
        element("div", _repeated(facts, visible), class_="whole"),
        class_="split",
    )


def _levels(facts: Facts) -> Markup:
    totals: dict[tuple[str, str], dict[str, float]] = {}
    for sample in facts.samples(_EVENTS):
        labels = sample.label_map()
        levels = totals.setdefault((labels.get("log", ""), labels.get("component", "")), {})
        levels[labels.get("level", "")] = sample.value
    some = [place for place, levels in totals.items() if any(levels.values())]
    if not some:
        return element("p", "No warning, error or fatal entry so far.")
    news = {
        (log, component): {
            level: facts.grown(_COLLECTOR, _EVENTS, log=log, component=component, level=level) for level in _LEVELS
        }
        for log, component in some
    }

    def weight(place: tuple[str, str]) -> list[float]:
        """What is new comes first, and of that the worst."""
        return [-(news[place][level] or 0) for level in _LEVELS] + [-totals[place].get(level, 0) for level in _LEVELS]

    rows: list[list[str]] = []
    for place in sorted(some, key=weight)[:_MOST_COMPONENTS]:
        cells: list[str] = [_level(totals[place].get(level, 0.0), news[place][level]) for level in _LEVELS]
        rows.append([join(place[1], element("small", place[0])), *cells])
    lately = facts.lately(_COLLECTOR)
    since = "" if lately is None else f"; + in the last {span(lately)}"
    left = len(some) - len(rows)
    return join(
        element("p", f"Entries in all{since}", class_="lead"),
        table("Faults by component", ("Component", "FATAL", "ERROR", "WARN"), rows),
        element("p", element("small", f"and {left} more components")) if left else "",
    )


def _level(total: float, new: float | None) -> Markup:
    if not total:
        return join(NOTHING)
    return join(count(total), " ", element("b", "+", count(new)) if new else "")


def _state(facts: Facts, visible: Visible) -> Markup:
    pairs: list[tuple[str, str]] = []
    for log, age in facts.by("zcs_log_heartbeat_age_seconds", "log").items():
        severity = facts.judge(age, "ZcsLogStale")
        pairs.append((f"Heart-beat in {log}", element("span", span(age), " ago", class_=word(severity))))
    fatal = facts.value("zcs_log_fatal_recent")
    if fatal is not None:
        who = evidence_line(facts.evidence("zcs_log_fatal_recent")[:3], visible)
        shown = element("span", count(fatal), class_=word(facts.judge(fatal, "ZcsLogFatal")))
        pairs.append(("FATAL in ten minutes", join(shown, " ", who)))
    for jvm, value in facts.by("zcs_log_jvm_out_of_memory", "jvm").items():
        if value == 1:
            pairs.append((jvm, badge(Severity.WARNING, "ran out of memory")))
    if facts.value("zcs_mailboxd_gave_up") == 1:
        pairs.append(("mailboxd's manager", badge(Severity.CRITICAL, "gave up")))
    for metric, text in (
        ("zcs_log_corrupt_index_recent", "Corrupt indexes in a day"),
        ("zcs_kernel_oom_kills_last_hour", "Killed for memory in an hour"),
        ("zcs_kernel_storage_errors_last_hour", "Errors of disks in an hour"),
        ("zcs_mysqld_corruption_errors_last_hour", "Corruption in the database in an hour"),
        ("zcs_ldap_map_full_last_hour", "Writes that slapd refused in an hour"),
    ):
        if number := facts.value(metric):
            pairs.append((text, join(count(number), " ", evidence_line(facts.evidence(metric)[:3], visible))))
    return terms(pairs) if pairs else Markup()


def _signals(facts: Facts) -> Markup:
    totals = facts.by(_SIGNALS, "signal")
    new = facts.grown_by(_COLLECTOR, _SIGNALS, "signal")
    some = sorted(
        (name for name, number in totals.items() if number), key=lambda name: (-new.get(name, 0), -totals[name], name)
    )
    items = [
        element(
            "li",
            f"{name.replace('_', ' ')} ",
            element("b", count(totals[name])),
            element("small", " +", count(new[name])) if new.get(name) else "",
        )
        for name in some
    ]
    return join(element("h3", "Signs of trouble"), element("ul", *items, class_="signs")) if items else Markup()


def _repeated(facts: Facts, visible: Visible) -> Markup:
    found = [
        (item, sample.label_map().get("log", ""))
        for sample in facts.samples("zcs_log_repeated_errors")
        for item in sample.evidence
        if item.kind in visible and (item.count or 0) > 1
    ]
    found.sort(key=lambda each: -(each[0].count or 0))
    items = [
        element(
            "li",
            element("b", count(item.count), f" {TIMES} "),
            element("span", item.value, class_="evidence"),
            " ",
            element("small", log),
        )
        for item, log in found[:_MOST_REPEATED]
    ]
    if not items:
        return Markup()
    return join(element("h3", "Again and again, within a week"), element("ul", *items, class_="repeated"))
