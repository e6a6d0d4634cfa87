"""The page at ``/``: one host at a glance for whoever is on call. Plain HTML; nothing is loaded from anywhere."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from zcs_exporter import __version__
from zcs_exporter.alerting.alarm import Alarm, Pending
from zcs_exporter.alerting.model import AlertRule, Severity, Urgency
from zcs_exporter.alerting.wording import format_value
from zcs_exporter.contract import CollectError
from zcs_exporter.durations import format_wait
from zcs_exporter.events.entry import Entry
from zcs_exporter.events.ring import Ring
from zcs_exporter.expose.facts import Facts, Visible, badge, evidence_line, moment, span, table, word
from zcs_exporter.expose.latest_events import LOOKED_AT, latest_events
from zcs_exporter.expose.markup import Markup, element, join
from zcs_exporter.expose.status_areas import areas, maintenance, notifications
from zcs_exporter.expose.trend import Trend
from zcs_exporter.notify.message import Message, alarm_text
from zcs_exporter.plain import plain_release
from zcs_exporter.snapshot import Reading, Snapshot, waiting_for

REFRESH = 15
"""Seconds after which a browser asks for the page again."""

STALE = 60.0
"""Seconds without a new snapshot after which nothing on the page can be relied on."""

_RANK = {Severity.CRITICAL: 0, Severity.UNKNOWN: 1, Severity.WARNING: 2, Severity.OK: 3}
_COLOURS = {
    Severity.OK: "#2e9e66",
    Severity.WARNING: "#e08a1e",
    Severity.CRITICAL: "#d8392b",
    Severity.UNKNOWN: "#8a76c9",
}
_URGENCY = {Urgency.NOW: "act now", Urgency.TODAY: "act today", Urgency.INFO: "for information"}


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that the page shows.

    Attributes:
        host: The server's name.
        now: The wall clock, in seconds since the epoch.
        alarms: Those that stand.
        pending: What becomes an alarm, or a worse one, if it goes on, the next one first.
        logs: Those that cannot be followed, and why.
        recent: The last messages, newest first.
        ready: Whether every collector and log has been tried once.
        visible: Kinds of evidence that this reader may see.
        events: The last structured events, oldest first.
        trends: What counters grew by lately, by collector.
        refresh: Whether the page is to renew itself.
    """

    host: str
    now: float
    snapshot: Snapshot
    alarms: Sequence[tuple[AlertRule, Alarm]]
    logs: Sequence[tuple[str, CollectError]]
    recent: Sequence[Message]
    ready: bool
    visible: Visible
    pending: Sequence[Pending] = ()
    events: Sequence[Entry] = ()
    trends: Mapping[str, Trend] = field(default_factory=dict)
    refresh: bool = True


@cache
def style() -> str:
    """Return the style sheet."""
    return files("zcs_exporter.expose").joinpath("page.css").read_text(encoding="utf-8")


@cache
def content_security_policy() -> str:
    """Return the policy under which the page shows nothing but itself."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def looked_at(ring: Ring) -> Sequence[Entry]:
    """Return the events that the latest ones are chosen from."""
    return ring.after(ring.newest - LOOKED_AT, LOOKED_AT)


def render_page(scene: Scene) -> bytes:
    """Return the page."""
    facts = Facts(scene.snapshot, scene.now, scene.trends)
    severity, verdict = _verdict(scene, facts)
    alarms = sorted(scene.alarms, key=_weight)
    body = join(
        _header(scene, facts),
        element(
            "main",
            element(
                "p",
                badge(severity),
                " ",
                element("strong", verdict),
                _pressing(alarms, scene.now) if scene.now - scene.snapshot.at <= STALE else "",
                class_=f"verdict {word(severity)}",
                id="now",
            ),
            maintenance(facts),
            *(_alarm(rule, alarm, scene) for rule, alarm in alarms),
            _pending(scene),
            _unseen(scene),
            areas(facts, scene.visible),
            _section("events", "Latest events", latest_events(scene.events, scene.visible, scene.now)),
            _section("notifications", "Notifications", notifications(facts), age=scene.now - scene.snapshot.at),
            _recent(scene),
            _collectors(scene),
        ),
    )
    title = f"{word(severity).capitalize()}: {verdict} \N{EN DASH} {scene.host}"
    return _document(title, severity, body, refresh=scene.refresh)


def render_login(host: str, *, wrong: bool) -> bytes:
    """Return the page for somebody who is not logged in."""
    form = element(
        "form",
        element("label", "Token ", element("input", type="password", name="token", autocomplete="off", required=True)),
        " ",
        element("button", "Log in"),
        action="/login",
        method="get",
    )
    say = element("p", badge(Severity.CRITICAL, "Wrong token")) if wrong else Markup()
    hint = element("p", "On the host, ", element("code", "zcs-exporter page"), " prints an address with the token.")
    body = element("main", element("h1", host), say, hint, form, class_="login")
    return _document(f"Log in \N{EN DASH} {host}", Severity.UNKNOWN, body, refresh=False)


def _document(title: str, severity: Severity, body: Markup, *, refresh: bool) -> bytes:
    icon = element(
        "svg",
        element("rect", width=9, height=9, rx=4, fill=_COLOURS[severity]),
        xmlns="http://www.w3.org/2000/svg",
        viewBox="0 0 9 9",
    )
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("meta", http_equiv="refresh", content=REFRESH) if refresh else "",
            element("title", title),
            element("link", rel="icon", href=f"data:image/svg+xml,{quote(icon)}"),
            element("style", Markup(style())),
        ),
        element("body", body),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{page}\n".encode("utf-8", "replace")


def _verdict(scene: Scene, facts: Facts) -> tuple[Severity, str]:
    """Return in how bad a state the host is; good only when everything that is here was seen."""
    age = scene.now - scene.snapshot.at
    if age > STALE:
        return Severity.UNKNOWN, f"The daemon has not looked for {span(age)}; nothing below can be relied on"
    numbers = {level: sum(alarm.severity is level for _, alarm in scene.alarms) for level in _RANK}
    said = [f"{number} {word(level)}" for level, number in numbers.items() if number]
    if said:
        worst = next(level for level, number in numbers.items() if number)
        more = f"; {len(scene.pending)} pending" if scene.pending else ""
        return worst, f"{len(scene.alarms)} alarm{'s' if len(scene.alarms) > 1 else ''}: {', '.join(said)}{more}"
    if not scene.ready:
        waiting = waiting_for(scene.snapshot)
        return Severity.UNKNOWN, f"Starting, waiting for {', '.join(waiting) or 'the logs'}"
    blind = [name for name, reading in scene.snapshot.readings.items() if reading.failure is not None]
    blind += [path for path, _ in scene.logs]
    if blind:
        return Severity.WARNING, f"No alarm, but not everything can be seen: {', '.join(blind)}"
    if scene.pending:
        return _foreboding(scene)
    down = [name for name, value in facts.by("zcs_service_up", "name").items() if value == 0]
    if down:
        return Severity.WARNING, f"No alarm, but down: {', '.join(sorted(down))}"
    return Severity.OK, "All good"


def _foreboding(scene: Scene) -> tuple[Severity, str]:
    """Return the verdict while nothing is an alarm yet."""
    first = scene.pending[0]
    more = f", and {len(scene.pending) - 1} more below" if len(scene.pending) > 1 else ""
    text = alarm_text(first.rule, first.alarm, scene.host)
    urgencies = {each.rule.urgency_of(each.severity) for each in scene.pending}
    severity = Severity.OK if urgencies == {Urgency.INFO} else Severity.WARNING
    return severity, f"No alarm yet, {len(scene.pending)} pending: {text} ({_becomes(first)}){more}"


def _becomes(pending: Pending) -> str:
    return f"{word(pending.severity)} {format_wait(pending.wait)}"


def _weight(pair: tuple[AlertRule, Alarm]) -> tuple[int, int, float]:
    """Return the place of an alarm on the page: the worst first, of these what cannot wait, and then the oldest."""
    rule, alarm = pair
    return _RANK[alarm.severity], list(_URGENCY).index(rule.urgency_of(alarm.severity)), alarm.since


def _pressing(alarms: Sequence[tuple[AlertRule, Alarm]], now: float) -> Markup:
    """Return how many alarms cannot wait and since when it is as bad as it is; they come in their order on the page."""
    if not alarms:
        return Markup()
    worst = alarms[0][1].severity
    since = min(alarm.since for _, alarm in alarms if alarm.severity is worst)
    urgent = sum(rule.urgency_of(alarm.severity) is Urgency.NOW for rule, alarm in alarms)
    what = f"{urgent or 'none'} to act on now, {word(worst)} since "
    return element("small", what, moment(since, now), class_="pressing")


def _header(scene: Scene, facts: Facts) -> Markup:
    info = next((sample.label_map() for sample in facts.samples("zcs_info")), {})
    release = f"{plain_release(info.get('version', ''), info.get('patch', ''))} {info.get('edition', '')}".strip()
    roles = ", ".join(sorted(role for role, value in facts.by("zcs_role", "role").items() if value == 1))
    local = datetime.fromtimestamp(scene.now).astimezone()
    turn = (
        element("a", "stop renewing", href="/?refresh=off")
        if scene.refresh
        else element("a", f"renew every {REFRESH} s", href="/")
    )
    about = [f"ZCS {release}" if release else "ZCS version unknown", roles, f"zcs-exporter {__version__}"]
    return element(
        "header",
        element("h1", scene.host or "this host"),
        element("p", " \N{MIDDLE DOT} ".join(part for part in about if part)),
        element(
            "p",
            element("time", local.strftime("%a %d %b %Y %H:%M:%S %Z"), datetime=local.isoformat(timespec="seconds")),
            " \N{MIDDLE DOT} ",
            turn,
        ),
    )


def _alarm(rule: AlertRule, alarm: Alarm, scene: Scene) -> Markup:
    name = f"alarm-{alarm.alarm_id}"
    facts = [
        element("span", "since ", moment(alarm.since, scene.now)),
        element("b", _URGENCY[rule.urgency_of(alarm.severity)]),
    ]
    # A service that is down has 0, and so has its threshold: that tells nothing.
    if alarm.value is not None and (alarm.value or alarm.threshold):
        said = f"value {format_value(alarm.value, rule.unit)}"
        if alarm.threshold is not None:
            said += f", threshold {format_value(alarm.threshold, rule.unit)}"
        facts.append(element("span", said))
    facts.append(element("code", f"{rule.name} ({rule.id})"))
    who = evidence_line(alarm.evidence, scene.visible)
    unseen = alarm.severity is Severity.UNKNOWN
    return element(
        "article",
        element("h2", badge(alarm.severity), " ", alarm_text(rule, alarm, scene.host), id=name),
        element("p", *facts, class_="facts"),
        element("p", "It cannot be seen any more whether this still holds.") if unseen else "",
        element("p", "This is over; the alarm ends too, unless it comes back soon.")
        if alarm.over and not unseen
        else "",
        element("p", rule.meaning),
        element("p", element("b", "To do: "), rule.action),
        element("p", element("b", "Behind it: "), who) if who else "",
        class_=f"alarm {word(alarm.severity)}",
        aria_labelledby=name,
    )


def _pending(scene: Scene) -> Markup:
    """Return what meets the condition of an alert, but not yet for as long as it must."""
    if not scene.pending:
        return Markup()
    heads = ("What is seen", "If it goes on", "Alert")
    rows: list[list[str]] = [
        [
            alarm_text(each.rule, each.alarm, scene.host),
            join(badge(each.severity), _becomes(each).removeprefix(word(each.severity))),
            element("code", f"{each.rule.name} ({each.rule.id})"),
        ]
        for each in scene.pending
    ]
    lead = element("p", "Seen, but not yet for long enough to raise an alarm.", class_="lead")
    return _section("pending", "Pending", lead, table("What may become an alarm", heads, rows, stacks=True))


def _section(name: str, title: str, *body: str, age: float | None = None) -> Markup:
    old = "" if age is None else join(" ", element("small", span(age), " old"))
    return element("section", element("h2", title, old, id=name), *body, class_="area", aria_labelledby=name)


def _unseen(scene: Scene) -> Markup:
    """Return what could not be looked at, why, and what to do about it."""
    items = []
    for name, reading in scene.snapshot.readings.items():
        if (failure := reading.failure) is not None:
            kept = (
                join("Shown are the values of ", moment(reading.collected_at, scene.now), ". ")
                if reading.samples and reading.collected_at is not None
                else "Its values are unknown. "
            )
            since = element("small", "since ", moment(failure.since, scene.now))
            items.append(_fault(name, failure.message, failure.remedy, kept, since))
        items += [_fault(name, each.message, each.remedy) for each in reading.shortfalls]
    items += [_fault(path, str(error), error.remedy) for path, error in scene.logs]
    if not items:
        return Markup()
    return _section("unseen", "What cannot be seen", element("ul", *items, class_="faults"))


def _fault(name: str, message: str, remedy: str, *more: str) -> Markup:
    to_do = element("div", element("b", "To do: "), remedy) if remedy else ""
    return element("li", element("b", name), ": ", message, ". ", *more, to_do)


def _recent(scene: Scene) -> Markup:
    rows: list[list[str]] = []
    for message in scene.recent:
        what = message.change.value if message.change is not None else message.kind.value
        who = evidence_line(message.evidence, scene.visible)
        rows.append([moment(message.at, scene.now), what, badge(message.severity), join(message.text, " ", who)])
    body = (
        table("What happened lately", ("When", "What", "Now", "Text"), rows) if rows else element("p", "Nothing yet.")
    )
    return _section("recent", "Lately", body)


def _collectors(scene: Scene) -> Markup:
    rows: list[list[str]] = []
    for name, reading in sorted(scene.snapshot.readings.items()):
        when = moment(reading.collected_at, scene.now) if reading.collected_at is not None else Markup("\N{EN DASH}")
        rows.append([name, _state(reading), when, f"{reading.duration:.3f} s" if reading.rounds else "\N{EN DASH}"])
    heads = ("Collector", "State", "Last good round", "Took")
    return _section("collectors", "Collectors", table("What watches this host", heads, rows, stacks=True))


def _state(reading: Reading) -> Markup:
    if reading.failure is not None:
        return badge(Severity.CRITICAL, "failing")
    if reading.present is None:
        return badge(Severity.UNKNOWN, "waiting")
    if not reading.present:
        return join("not on this host: ", reading.absent_because)
    if reading.shortfalls:
        return badge(Severity.WARNING, "in part")
    return badge(Severity.OK, "works")
