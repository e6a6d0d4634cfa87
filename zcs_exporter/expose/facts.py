"""What the page asks of a snapshot: values by metric name, and the words for them."""

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

from zcs_exporter.alerting.conditions import SampleIndex
from zcs_exporter.alerting.model import Severity, Unit
from zcs_exporter.alerting.wording import format_value
from zcs_exporter.contract import Evidence, EvidenceKind, Sample
from zcs_exporter.durations import format_duration
from zcs_exporter.expose.markup import Markup, element, join
from zcs_exporter.expose.trend import Trend
from zcs_exporter.snapshot import Snapshot

Visible = AbstractSet[EvidenceKind]
"""Kinds of evidence that a reader of the page may see."""

UNKNOWN = element("span", "unknown", class_="unknown")
NOTHING = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"


class Facts:
    """A snapshot's values by metric name; whatever is absent stays so.

    Attributes:
        now: The wall clock, in seconds since the epoch.
    """

    def __init__(self, snapshot: Snapshot, now: float, trends: Mapping[str, Trend] = {}) -> None:
        self.snapshot = snapshot
        self.now = now
        self._trends = trends
        self._index = SampleIndex(snapshot)

    def samples(self, metric: str, **labels: str) -> list[Sample]:
        """Return a metric's samples that have these labels."""
        wanted = labels.items()
        return [sample for sample in self._index.samples(metric) if wanted <= sample.label_map().items()]

    def value(self, metric: str, **labels: str) -> float | None:
        """Return the value of the first such sample; None where it is unknown."""
        return next((sample.value for sample in self.samples(metric, **labels)), None)

    def evidence(self, metric: str, **labels: str) -> Evidence:
        """Return who is behind that value."""
        return next((sample.evidence for sample in self.samples(metric, **labels)), ())

    def by(self, metric: str, label: str, **labels: str) -> dict[str, float]:
        """Return a metric's values by one of its labels."""
        found: dict[str, float] = {}
        for sample in self.samples(metric, **labels):
            found.setdefault(sample.label_map().get(label, ""), sample.value)
        return found

    def lately(self, collector: str) -> float | None:
        """Return of how many seconds ``grown`` tells for a collector; None where there is nothing to compare with."""
        trend = self._trends.get(collector)
        return None if trend is None else trend.seconds

    def grown(self, collector: str, metric: str, **labels: str) -> float | None:
        """Return by how much a collector's counter grew lately; None where that is unknown."""
        values = [value for _, value in self._grown(collector, metric, labels)]
        return sum(values) if values else None

    def grown_by(self, collector: str, metric: str, label: str, **labels: str) -> dict[str, float]:
        """Return by how much a collector's counters grew lately, by one of their labels."""
        found: dict[str, float] = {}
        for pairs, value in self._grown(collector, metric, labels):
            found[pairs.get(label, "")] = found.get(pairs.get(label, ""), 0.0) + value
        return found

    def _grown(self, collector: str, metric: str, labels: Mapping[str, str]) -> list[tuple[dict[str, str], float]]:
        trend = self._trends.get(collector)
        series = [] if trend is None else trend.grown.get(metric, [])
        return [(pairs, value) for pairs, value in series if labels.items() <= pairs.items()]

    def thresholds(self, alert: str) -> Mapping[Severity, float]:
        """Return the effective thresholds of an alert; none while it is switched off."""
        found = self.by("zcs_alert_threshold", "severity", alert=alert)
        names = {"warning": Severity.WARNING, "critical": Severity.CRITICAL}
        return {names[name]: value for name, value in found.items() if name in names}

    def judge(self, value: float | None, alert: str) -> Severity:
        """Return how bad a value is whose alert has upper thresholds."""
        if value is None:
            return Severity.UNKNOWN
        met = (severity for severity, threshold in self.thresholds(alert).items() if value >= threshold)
        return max(met, default=Severity.OK)


def count(value: float | None) -> Markup:
    """Return a number as people read it."""
    return UNKNOWN if value is None else join(f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}"))


def size(value: float | None) -> Markup:
    """Return bytes with a binary unit."""
    return UNKNOWN if value is None else join(format_value(value, Unit.BYTES))


def percent(value: float | None) -> Markup:
    """Return a ratio as a percentage."""
    return UNKNOWN if value is None else join(f"{value:.1%}")


def span(seconds: float | None) -> Markup:
    """Return a length of time in its two largest units."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    return join(format_duration(float(max(0, round(seconds)))))


def brief(seconds: float | None) -> Markup:
    """Return a length of time that may be far below a second."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 1:
        return join(f"{1000 * seconds:.3g} ms")
    return join(f"{seconds:.3g} s") if seconds < 60 else span(seconds)


def mean(total: float | None, times: float | None) -> Markup:
    """Return the mean of lengths of time; unknown where one of them is, and a dash where there was none."""
    if total is None or times is None:
        return UNKNOWN
    return brief(total / times) if times else join(NOTHING)


def moment(at: float, now: float) -> Markup:
    """Return a time as the host's clock shows it and how long ago it was."""
    local = datetime.fromtimestamp(at).astimezone()
    form = "%H:%M:%S" if abs(now - at) < 12 * 3600 else "%Y-%m-%d %H:%M"
    return element(
        "time", local.strftime(form), " (", span(now - at), " ago)", datetime=local.isoformat(timespec="seconds")
    )


def word(severity: Severity) -> str:
    """Return a severity's word, which is also its class in the style sheet."""
    return severity.name.lower()


def badge(severity: Severity, text: str = "") -> Markup:
    """Return a severity in colour and in words."""
    return element("span", text or word(severity).capitalize(), class_=f"badge {word(severity)}")


def bar(ratio: float | None, severity: Severity, marks: Mapping[Severity, float]) -> Markup:
    """Return a bar for a ratio, with its thresholds marked; decoration beside a number that says the same."""
    if ratio is None:
        return Markup()
    width = round(100 * min(1.0, max(0.0, ratio)), 1)
    lines = [
        element("line", x1=100 * mark, x2=100 * mark, y1=0, y2=10, class_=word(level))
        for level, mark in marks.items()
        if 0 < mark < 1
    ]
    return element(
        "svg",
        element("rect", width=100, height=10, class_="track"),
        element("rect", width=width, height=10, class_="fill"),
        *lines,
        class_=f"bar {word(severity)}",
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def share_bar(facts: Facts, ratio: float | None, alert: str, below: str = "") -> Markup:
    """Return a used share as bar and number, coloured by its alert's thresholds."""
    if ratio is None:
        return join(below or NOTHING)
    severity = facts.judge(ratio, alert)
    number = element("span", percent(ratio), class_=word(severity))
    return join(bar(ratio, severity, facts.thresholds(alert)), number, element("small", below) if below else "")


def table(caption: str, heads: tuple[str, ...], rows: list[list[str]], *, stacks: bool = False) -> Markup:
    """Return a table whose first column names its rows; one that ``stacks`` is a list of rows on a narrow screen."""
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell, data_head=head) for head, cell in zip(heads[1:], row[1:], strict=True)),
        )
        for row in rows
    ]
    return element(
        "table",
        element("caption", caption, class_="hidden"),
        element("thead", element("tr", *(element("th", head, scope="col") for head in heads))),
        element("tbody", *body),
        class_="stacks" if stacks else None,
    )


def terms(pairs: list[tuple[str, str]]) -> Markup:
    """Return names and values."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs))


def evidence_line(evidence: Evidence, visible: Visible, nothing: str = "") -> Markup:
    """Return evidence on one line; of what may not be seen only how much it is."""
    shown = [item for item in evidence if item.kind in visible]
    parts = [item.value if item.count is None else f"{item.value} ({item.count:g})" for item in shown]
    hidden = len(evidence) - len(shown)
    if hidden:
        parts.append(f"{hidden} hidden by the privacy settings")
    return element("span", ", ".join(parts), class_="evidence") if parts else join(nothing)
