"""The daily mail report as one page that needs nothing else: no script, no other file, dark and light."""

from collections.abc import Sequence
from datetime import tzinfo

from zcs_exporter.expose.markup import Markup, element, join
from zcs_exporter.mailreport.page import Hour
from zcs_exporter.mailreport.report import Limits, Section, sections, span, subject
from zcs_exporter.mailreport.view import MailDay

_STYLE = """
:root { color-scheme: light dark; --page: #f5f6f8; --card: #fff; --text: #1b1f24; --dim: #57606a; --rule: #d5dae1;
  --received: #8aa4c8; --delivered: #2e9e66; --rejected: #d8392b; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1318; --card: #181d24; --text: #e6e9ed; --dim: #a0a9b4;
  --rule: #303945; --received: #5c7aa6; --delivered: #35a56e; --rejected: #dd4a3c; } }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.3rem; } h2 { margin: 0 0 0.3rem; font-size: 1.05rem; }
p { margin: 0.2rem 0 0.5rem; color: var(--dim); }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 0.7rem 1rem;
  margin: 0.75rem 0; overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0 0.2rem 1rem; border-top: 1px solid var(--rule); text-align: right; vertical-align: top;
  white-space: nowrap; width: 1%; }
th { border-top: 0; color: var(--dim); font-size: 0.85em; font-weight: 600; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { text-align: left; white-space: normal; overflow-wrap: anywhere; width: auto;
  min-width: 9rem; }
svg { display: block; width: 100%; } text { fill: var(--dim); font: 10px system-ui, sans-serif; }
.received { fill: var(--received); } .delivered { fill: var(--delivered); } .rejected { fill: var(--rejected); }
.key i { display: inline-block; width: 0.8em; height: 0.8em; margin: 0 0.35em 0 0.9em; border-radius: 2px; }
i.received { background: var(--received); } i.delivered { background: var(--delivered); }
i.rejected { background: var(--rejected); }
@media (max-width: 34rem) { body { padding: 0.5rem; }
  section { padding: 0.6rem 0.7rem; } th, td { padding-left: 0.5rem; } }
"""

_BARS = ("received", "delivered", "rejected")
_STEP = 30
_HEIGHT = 120
_FOOT = 14


def render_html(day: MailDay, hostname: str, limits: Limits, zone: tzinfo | None = None) -> str:
    """Return the report as a page; everything that clients and servers wrote is escaped."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width"),
        element("title", f"{subject(day)} - {hostname}"),
        element("style", Markup(_STYLE)),
    )
    parts = [element("h1", subject(day)), element("p", f"{hostname}, {span(day, zone)}")]
    for section in sections(day, limits):
        chart = _chart(day) if section.heads[-1] == "hour" else Markup("")
        parts.append(_section(section, chart))
    return "<!doctype html>\n" + element("html", head, element("body", *parts), lang="en") + "\n"


def _section(section: Section, chart: Markup) -> Markup:
    note = element("p", section.note) if section.note else Markup("")
    heads = element("tr", *(element("th", head, scope="col") for head in section.heads))
    return element("section", element("h2", section.title), note, chart, _table(heads, section.rows))


def _table(heads: Markup, rows: Sequence[tuple[str, ...]]) -> Markup:
    cells = (element("tr", *(element("td", cell) for cell in row)) for row in rows)
    return element("table", element("thead", heads), element("tbody", *cells))


def _chart(day: MailDay) -> Markup:
    """Return the hours as a drawing; the table below it has the numbers."""
    highest = max((getattr(hour, name) for hour in day.hours.values() for name in _BARS), default=0) or 1
    bars = []
    for number in range(24):
        hour = day.hours.get(number, Hour())
        for place, name in enumerate(_BARS):
            height = getattr(hour, name) / highest * _HEIGHT
            left = number * _STEP + 3 + place * 8
            bars.append(element("rect", x=left, y=_HEIGHT - height, width=7, height=height, class_=name))
        if number % 3 == 0:
            bars.append(element("text", f"{number:02d}", x=number * _STEP + 3, y=_HEIGHT + _FOOT - 2))
    drawing = element(
        "svg",
        *bars,
        viewBox=f"0 0 {24 * _STEP} {_HEIGHT + _FOOT}",
        role="img",
        aria_label="Messages received, delivered and rejected by hour",
    )
    key = element("p", *(join(element("i", class_=name), name) for name in _BARS), class_="key")
    return join(key, drawing)
