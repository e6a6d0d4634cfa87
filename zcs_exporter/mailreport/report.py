"""The daily mail report: what the mail system did on one day, as text, as a page or as JSON.

It tells what ZCS's own daily report does, which is Postfix' log through pflogsumm, with two differences that are
meant: a message counts once although it passes Postfix two or three times on its way through the content
filter, and addresses are the same whatever their case.
"""

import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from zcs_exporter.alerting.model import Unit
from zcs_exporter.alerting.wording import format_value
from zcs_exporter.contract import CollectError
from zcs_exporter.hostio import Host
from zcs_exporter.mailreport.page import TABLES, Hour
from zcs_exporter.mailreport.view import MailDay, Name, Names

DEFAULT_TOP = 50
"""Names in a list where ZCS has no setting of its own."""

LATEST = (23, 30)
"""The time of day, as the clock shows it, from which a day is taken as over; ZCS makes its report then."""

WIDTH = 80


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the lists are.

    Attributes:
        users: Of senders and recipients.
        hosts: Of hosts and domains.
        texts: Of reasons and warnings.
    """

    users: int = DEFAULT_TOP
    hosts: int = DEFAULT_TOP
    texts: int = DEFAULT_TOP


def limits_of(host: Host) -> Limits:
    """Return the limits that ZCS has for its own report, ``zimbra_mtareport_max_users`` and ``_max_hosts``."""
    try:
        settings = host.zcs.localconfig()
    except (OSError, CollectError):
        return Limits()
    users, hosts = (settings.number(f"zimbra_mtareport_max_{what}") for what in ("users", "hosts"))
    return Limits(*(DEFAULT_TOP if number is None else max(0, int(number)) for number in (users, hosts)))


def default_day(now: float, zone: tzinfo | None = None) -> str:
    """Return the last day that is over: yesterday, and from 23:30 on today."""
    local = datetime.fromtimestamp(now, zone)
    over = (local.hour, local.minute) >= LATEST
    return (local.date() if over else local.date() - timedelta(1)).isoformat()


def subject(day: MailDay) -> str:
    """Return the subject that ZCS's mail has."""
    return f"Daily mail report for {day.day}"


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the report.

    Attributes:
        heads: Of its columns; the last column is text, those before it are numbers.
        rows: As many cells each as there are heads.
        note: What must be known to read it; empty where nothing.
    """

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def span(day: MailDay, zone: tzinfo | None = None) -> str:
    """Return from when to when lines were seen."""
    first, last = (datetime.fromtimestamp(at, zone) for at in (day.totals.first, day.totals.last))
    return f"lines from {first:%H:%M:%S} to {last:%H:%M:%S}"


def sections(day: MailDay, limits: Limits) -> Iterator[Section]:
    """Yield what the report tells, without tables that would be empty."""
    yield Section("Totals", ("number", "what"), list(_totals(day)), _delays(day.totals))
    yield Section("Per hour", ("received", "delivered", "deferrals", "bounced", "rejected", "hour"), list(_hours(day)))
    for title, counts in (("Rejections by cause", day.causes), ("Content verdicts", day.verdicts)):
        if counts:
            rows = [(_number(count), _words(name)) for name, count in counts.items()]
            yield Section(title, ("number", "cause" if counts is day.causes else "verdict"), rows)
    yield from _lists(day, limits)
    for kind, title, what in (
        ("deferrals", "Deferrals by reason", "reason"),
        ("bounces", "Bounces by reason", "reason"),
        ("rejections", "Rejections by reason", "reason"),
        ("warnings", "Warnings", "program and text"),
    ):
        yield from _list(day.names[kind], title, ("number", what), _count_row, Names.by_count, limits.texts)


def _totals(day: MailDay) -> Iterator[tuple[str, str]]:
    total = day.totals
    attempts = total.delivered + total.rejected + total.discarded
    for name, more in (
        ("received", ""),
        ("delivered", ""),
        ("forwarded", ""),
        ("deferred", f"({_number(total.deferrals)} deferrals)" if total.deferrals else ""),
        ("bounced", ""),
        ("rejected", f"({_share(total.rejected, attempts)})" if total.rejected else ""),
        ("held", ""),
        ("discarded", f"({_share(total.discarded, attempts)})" if total.discarded else ""),
    ):
        count: int = getattr(total, name)
        yield _number(count), f"{name} {more}".rstrip()
    yield _size(total.bytes_received), "in messages received"
    yield _size(total.bytes_delivered), "in deliveries"
    for kind, text in (
        ("senders", "senders"),
        ("sender_domains", "domains of senders"),
        ("hosts", "sending hosts"),
        ("recipients", "recipients"),
        ("recipient_domains", "domains of recipients"),
    ):
        names = day.names[kind]
        yield _number(names.distinct), text if names.exact else f"{text} at least"


def _delays(total: Hour) -> str:
    if not total.delivered:
        return ""
    average = total.delay / total.delivered
    return f"A delivery took {_seconds(average)} on average and {_seconds(total.longest)} at most."


def _hours(day: MailDay) -> Iterator[tuple[str, ...]]:
    for hour in range(24):
        each = day.hours.get(hour, Hour())
        numbers = (each.received, each.delivered, each.deferrals, each.bounced, each.rejected)
        yield *(_number(number) if number else "-" for number in numbers), f"{hour:02d}:00-{hour + 1:02d}:00"


def _lists(day: MailDay, limits: Limits) -> Iterator[Section]:
    names, users, hosts = day.names, limits.users, limits.hosts
    messages, deliveries = ("messages", "size"), ("deliveries", "size")
    yield from _list(names["senders"], "Senders by messages", (*messages, "sender"), _row, Names.by_count, users)
    yield from _list(names["senders"], "Senders by size", (*messages, "sender"), _row, Names.by_size, users)
    rows = names["recipients"]
    yield from _list(rows, "Recipients by deliveries", (*deliveries, "recipient"), _row, Names.by_count, users)
    yield from _list(rows, "Recipients by size", (*deliveries, "recipient"), _row, Names.by_size, users)
    yield from _list(names["hosts"], "Sending hosts by messages", (*messages, "host"), _row, Names.by_count, hosts)
    yield from _list(names["hosts"], "Sending hosts by size", (*messages, "host"), _row, Names.by_size, hosts)
    rows = names["sender_domains"]
    yield from _list(rows, "Domains of senders", (*messages, "domain"), _row, Names.by_count, hosts)
    heads = ("sent", "size", "defers", "avg delay", "max delay", "domain")
    yield from _list(names["recipient_domains"], "Domains of recipients", heads, _domain_row, Names.by_count, hosts)
    yield from _list(names["rejected_hosts"], "Rejected hosts", ("number", "host"), _count_row, Names.by_count, hosts)
    yield from _list(
        names["bounced_recipients"],
        "Recipients that bounced",
        ("number", "recipient"),
        _count_row,
        Names.by_count,
        users,
    )


def _list(
    names: Names,
    title: str,
    heads: tuple[str, ...],
    row: Callable[[Name], tuple[str, ...]],
    order: Callable[[Names, int], list[Name]],
    limit: int,
) -> Iterator[Section]:
    found = order(names, limit)
    if not found:
        return
    notes = []
    if len(found) < names.distinct:
        notes.append(f"The first {len(found)} of {'' if names.exact else 'at least '}{_number(names.distinct)}.")
    if not all(name.exact for name in found):
        notes.append("+ means at least: there were too many names to count each all day.")
    yield Section(title, heads, [row(name) for name in found], " ".join(notes))


def _row(name: Name) -> tuple[str, ...]:
    return _at_least(name), _size(name.size), name.text


def _count_row(name: Name) -> tuple[str, ...]:
    return _at_least(name), name.text


def _domain_row(name: Name) -> tuple[str, ...]:
    delays = ("-" if delay is None else _seconds(delay) for delay in (name.delay, name.longest))
    return _at_least(name), _size(name.size), _number(name.deferrals), *delays, name.text


def _at_least(name: Name) -> str:
    return _number(name.count) + ("" if name.exact else "+")


def _number(count: int) -> str:
    return f"{count:,}"


def _size(size: int) -> str:
    return format_value(size, Unit.BYTES)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else format_value(seconds, Unit.SECONDS)


def _share(part: int, whole: int) -> str:
    return format_value(part / whole, Unit.RATIO)


def _words(name: str) -> str:
    return name.replace("_", " ")


def render_text(day: MailDay, hostname: str, limits: Limits, zone: tzinfo | None = None) -> str:
    """Return the report for a terminal of 80 columns or the body of a mail."""
    lines = [subject(day), f"{hostname}, {span(day, zone)}"]
    for section in sections(day, limits):
        lines += ["", section.title, "-" * len(section.title)]
        lines += textwrap.wrap(section.note, WIDTH)
        lines += _text_table(section)
    return "\n".join(lines) + "\n"


def _text_table(section: Section) -> Iterator[str]:
    numbers = len(section.heads) - 1
    widths = [max(len(row[place]) for row in (section.heads, *section.rows)) for place in range(numbers)]
    indent = sum(widths) + 2 * numbers
    for row in (section.heads, *section.rows):
        begin = "".join(f"{cell:>{width}}  " for cell, width in zip(row, widths, strict=False))
        yield from textwrap.wrap(
            row[-1], WIDTH, initial_indent=begin, subsequent_indent=" " * (indent + 2), break_on_hyphens=False
        )


def render_json(day: MailDay, hostname: str, limits: Limits) -> str:
    """Return the report as one JSON object; names are only ever added to it.

    ``report`` is ``daily-mail``, ``version`` 1, ``date`` the day, ``host`` the host. ``first`` and ``last`` are when
    the first and the last line was written, in seconds since the epoch. ``totals`` has the numbers of
    ``page.Hour`` (sizes in bytes; ``delay_seconds_average`` and ``_max`` are null without a delivery), ``hours``
    the same for each of the 24 hours, by ``hour``. ``rejected_by_cause`` and ``verdicts`` are numbers by name.
    Then, by the names in ``page.TABLES``, objects with ``distinct`` (how many there were; where not ``exact``, at
    least), ``by_count`` and, where there are sizes, ``by_size``: lists of ``name``, ``count``, ``bytes`` and
    ``exact`` (false: at least), for domains of recipients also ``deferrals`` and the delays.
    """
    report = {"report": "daily-mail", "version": 1, "host": hostname} | as_data(day, limits)
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def as_data(day: MailDay, limits: Limits) -> dict[str, Any]:
    """Return what ``render_json`` has, without what tells of the report itself."""
    lengths = {"senders": limits.users, "recipients": limits.users, "bounced_recipients": limits.users}
    lengths |= dict.fromkeys(("deferrals", "bounces", "rejections", "warnings"), limits.texts)
    return {
        "date": day.day,
        "first": day.totals.first,
        "last": day.totals.last,
        "totals": _hour_json(day.totals),
        "hours": [{"hour": hour} | _hour_json(day.hours.get(hour, Hour())) for hour in range(24)],
        "rejected_by_cause": dict(day.causes),
        "verdicts": dict(day.verdicts),
    } | {kind: _names_json(kind, day.names[kind], lengths.get(kind, limits.hosts)) for kind in TABLES}


def _hour_json(hour: Hour) -> dict[str, Any]:
    names = ("received", "delivered", "forwarded", "deferred", "deferrals", "bounced", "rejected", "held", "discarded")
    return {name: getattr(hour, name) for name in (*names, "bytes_received", "bytes_delivered")} | {
        "delay_seconds_average": round(hour.delay / hour.delivered, 3) if hour.delivered else None,
        "delay_seconds_max": hour.longest if hour.delivered else None,
    }


def _names_json(kind: str, names: Names, limit: int) -> dict[str, Any]:
    sized = any(name.size for name in names.kept)
    found = {"by_count": names.by_count(limit)} | ({"by_size": names.by_size(limit)} if sized else {})
    return {"distinct": names.distinct, "exact": names.exact} | {
        order: [_name_json(kind, name) for name in each] for order, each in found.items()
    }


def _name_json(kind: str, name: Name) -> dict[str, Any]:
    plain = {"name": name.text, "count": name.count, "bytes": name.size, "exact": name.exact}
    if kind != "recipient_domains":
        return plain
    average = None if name.delay is None else round(name.delay, 3)
    return plain | {
        "deferrals": name.deferrals,
        "delay_seconds_average": average,
        "delay_seconds_max": name.longest,
    }
