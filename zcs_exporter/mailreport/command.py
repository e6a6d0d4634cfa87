"""What ``zcs-exporter report`` does: finds the day in the daemon's state and has it rendered."""

from datetime import date, datetime, timedelta

from zcs_exporter.assembly import real_host
from zcs_exporter.config import Config
from zcs_exporter.contract import Clock
from zcs_exporter.mailreport import COLLECTOR
from zcs_exporter.mailreport.report import Limits, default_day, limits_of, render_json, render_text
from zcs_exporter.mailreport.rows import PREFIX, days_of
from zcs_exporter.mailreport.view import read_day


class ReportError(Exception):
    """There is no report; the message says why, and what to do."""


def report(config: Config, clock: Clock, wanted: str | None, form: str, top: int | None) -> str:
    """Return the report of a day.

    Args:
        config: Where the state and the host are.
        clock: For what today is.
        wanted: A date, ``today``, ``yesterday``, or None for the last day that is over.
        form: ``text``, ``html`` or ``json``.
        top: Length of each list; None for what ZCS has set.

    Raises:
        ReportError: There is no such day, or nothing is known of it.
    """
    # Who only asks for the name above needs neither a database nor a page.
    from zcs_exporter.mailreport.html import render_html
    from zcs_exporter.state import StateError
    from zcs_exporter.state_reader import read_rows

    if top is not None and top < 1:
        raise ReportError(f"--top {top} is not a number of names; write at least 1")
    day = _day(wanted, clock.wall())
    try:
        rows = read_rows(config.state.directory, COLLECTOR, PREFIX)
        found = read_day(rows, day)
    except StateError as exc:
        raise ReportError(str(exc)) from exc
    except ValueError as exc:
        raise ReportError(f"what was counted is damaged: {exc}") from exc
    if found is None:
        raise ReportError(f"no mail was counted on {day}; {_kept(days_of(rows))}")
    host = real_host(config)
    limits = limits_of(host) if top is None else Limits(top, top, top)
    hostname = host.zcs.hostname() or "this host"
    if form == "json":
        return render_json(found, hostname, limits)
    return render_html(found, hostname, limits) if form == "html" else render_text(found, hostname, limits)


def _day(wanted: str | None, now: float) -> str:
    today = datetime.fromtimestamp(now).date()
    if wanted is None:
        return default_day(now)
    if wanted in ("today", "yesterday"):
        return (today - timedelta(wanted == "yesterday")).isoformat()
    try:
        return date.fromisoformat(wanted).isoformat()
    except ValueError as exc:
        raise ReportError(f"--date {wanted!r} is not a date; write it like {today.isoformat()}") from exc


def _kept(days: list[str]) -> str:
    if not days:
        return "nothing has been counted yet: see whether the daemon runs and reads zimbra.log (zcs-exporter doctor)"
    return f"there is data for {', '.join(days)} (--date)"
