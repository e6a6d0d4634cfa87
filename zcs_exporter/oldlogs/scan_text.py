"""What a scan found, for a person at a terminal."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from zcs_exporter.contract import EvidenceItem, Kind, Metric, Sample
from zcs_exporter.durations import format_duration
from zcs_exporter.mailreport.view import MailDay, Names
from zcs_exporter.oldlogs.progress import in_bytes
from zcs_exporter.oldlogs.scan import Outcome, ScannedFile
from zcs_exporter.oldlogs.scan_told import happened
from zcs_exporter.oldlogs.stamps import shown_time
from zcs_exporter.oldlogs.wording import named, shortened, span, wrapped

_ROWS = 30

_HOSTS = 8

_LEAST = 5

_SHARE = 0.02
"""Of a day's mail; who has less of it, or less than ``_LEAST``, does not stand out."""

_GAP = 86400

_TOTALS = ("received", "delivered", "deferrals", "bounced", "rejected", "held", "discarded")

_WHO = (
    ("senders", "received", "senders", 5),
    ("hosts", "received", "sent from", 5),
    ("recipients", "delivered", "recipients", 5),
    ("recipient_domains", "delivered", "recipients' domains", 5),
    ("deferrals", "deferrals", "deferred", 3),
    ("bounces", "bounced", "bounced", 3),
    ("rejections", "rejected", "rejected", 3),
    ("rejected_hosts", "rejected", "rejected hosts", 5),
)
"""Tables of a day, what they divide, how they are called, and how many names of them are told."""


def as_text(outcome: Outcome, width: int) -> Iterator[str]:
    """Yield lines for a terminal of ``width`` columns; what matters most comes last, where it is seen."""
    names = _names(outcome.files)
    yield from _files(outcome, names, width)
    for collector, samples in outcome.samples.items():
        yield from _counts(collector, samples, width)
    yield from _mail(outcome.days, width)
    yield from happened(outcome, names, width)
    for (collector, _), shortfall in outcome.shortfalls.items():
        remedy = f"; {shortfall.remedy}" if shortfall.remedy else ""
        yield from wrapped(f"{collector}: {shortfall.message}{remedy}", width, "note: ")
    for problem in outcome.problems:
        yield from wrapped(problem, width, "PROBLEM: ")
    if outcome.partial:
        yield ""
        yield "PARTIAL: interrupted; the files were read only as far as the table says"


def _files(outcome: Outcome, names: Mapping[str, str], width: int) -> Iterator[str]:
    read = [each for each in outcome.files if each.content and not each.note]
    count = len(outcome.files)
    yield f"{len(read)} of {count} file{'s' * (count != 1)} read, {in_bytes(sum(each.content for each in read))}"
    logs: dict[str, list[ScannedFile]] = {}
    for each in sorted(read, key=lambda each: each.first or 0):
        logs.setdefault(each.log or "", []).append(each)
    longest = max(map(len, logs), default=0)
    for log, found in sorted(logs.items()):
        firsts = [each.first for each in found if each.first is not None]
        lasts = [each.last for each in found if each.last is not None]
        size = in_bytes(sum(each.content for each in found))
        between = span(min(firsts, default=None), max(lasts, default=None))
        yield f"  {log:{longest}}  {len(found):>3} file{'s' if len(found) > 1 else ' '}  {size:>9}  {between}".rstrip()
        yield from _oddities(found, names, width)
    for each in outcome.files:
        if each not in read:
            said = f"not read: {each.problem}" if each.problem else each.note or "not read"
            yield from wrapped(f"{names[each.path]}: {said}", width, "  ")
    hosts: Counter[str] = Counter()
    for each in read:
        hosts.update(each.hosts)
    if hosts:
        most = ", ".join(name for name, _ in hosts.most_common(_HOSTS)) + (", ..." if len(hosts) > _HOSTS else "")
        hint = "; all are counted together, --host NAME counts one" if len(hosts) > 1 else ""
        yield from wrapped(f"{most}{hint}", width, "  hosts in syslog: ")


def _oddities(found: Sequence[ScannedFile], names: Mapping[str, str], width: int) -> Iterator[str]:
    """Yield what must be known of the files of one log, oldest first: what they were taken by, and what is missing."""
    until: int | None = None
    for each in found:
        if until is not None and each.first is not None and each.first - until > _GAP:
            yield from wrapped(f"no lines from {shown_time(until)} to {shown_time(each.first)}", width, "    ")
        until = each.last if until is None or each.last is None else max(until, each.last)
        if each.taken_by != "name":
            yield from wrapped(f"{names[each.path]}: taken for it by {each.taken_by}", width, "    ")
        if each.problem:
            yield from wrapped(f"{names[each.path]}: {each.problem}", width, "    PROBLEM: ")


def _names(files: Sequence[ScannedFile]) -> dict[str, str]:
    """Return the paths without the directory that all of them have."""
    paths = [each.path for each in files]
    try:
        common = os.path.commonpath([os.path.dirname(path) or "." for path in paths])
    except ValueError:  # some are absolute and some are not
        common = ""
    begin = common + "/" if common not in ("", ".", "/") else ""
    return {path: path.removeprefix(begin) for path in paths}


def _counts(collector: str, samples: Sequence[Sample], width: int) -> Iterator[str]:
    """Yield the table of one area: what was counted first, then what stands at the end of the logs."""
    families: dict[Metric, list[Sample]] = {}
    for sample in samples:
        families.setdefault(sample.metric, []).append(sample)
    rows: list[_Row] = []
    spreads: list[_Row] = []
    standing: list[_Row] = []
    for metric, found in families.items():
        if metric.kind in (Kind.HISTOGRAM, Kind.SUMMARY):
            spreads += _distribution_rows(metric, found)
        elif metric.kind is not Kind.GAUGE:
            rows += _family_rows(metric, found)
        elif "_window_" not in metric.name:
            # A window that looks back some minutes from the last line says nothing about what was before.
            standing += _family_rows(metric, found)
    rows += spreads
    if standing:
        rows += [_Row("at the end of the logs:", ""), *standing]
    if not rows:
        return
    yield ""
    yield collector.upper()
    numbers = max(len(row.number) for row in rows)
    texts = min(max(len(row.text) for row in rows if row.number), width - numbers - 4)
    for row in rows:
        yield f"  {shortened(row.text, texts) if row.number else row.text:{texts}}  {row.number:>{numbers}}".rstrip()
        if row.evidence:
            yield from wrapped(", ".join(map(named, row.evidence)), width, "      ")


@dataclass(frozen=True, slots=True)
class _Row:
    text: str
    number: str
    evidence: Sequence[EvidenceItem] = ()


def _family_rows(metric: Metric, samples: Sequence[Sample]) -> Iterator[_Row]:
    found = sorted((each for each in samples if each.value), key=lambda each: (-each.value, each.labels))
    if not found:
        return
    title = _title(metric)
    total = metric.kind is not Kind.GAUGE
    rows = [
        # Collectors name who is behind a number for an alert: of late, not of all the time that a counter counts.
        _Row(_labels(each), _number(metric, each.value), () if total else each.evidence)
        for each in found[:_ROWS]
    ]
    if len(found) == 1:
        yield replace(rows[0], text=f"{title}: {rows[0].text}" if rows[0].text else title)
        return
    yield _Row(title, _number(metric, sum(each.value for each in found)) if total else "")
    for row in rows:
        yield replace(row, text=f"  {row.text}")
    if len(found) > _ROWS:
        yield _Row(f"  and {len(found) - _ROWS} more; --format json has all", "")


def _distribution_rows(metric: Metric, samples: Sequence[Sample]) -> Iterator[_Row]:
    """Yield how often, the mean, and below what nineteen of twenty observations lie."""
    by_labels: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        by_labels.setdefault(sample.labels, []).append(sample)
    for labels, found in by_labels.items():
        values = {each.suffix: each.value for each in found if not each.bound}
        count, total = values.get("_count", 0.0), values.get("_sum", 0.0)
        if not count:
            continue
        title = _title(metric) + (f": {' '.join(labels)}" if labels else "")
        bounds = [(float(each.bound), each.value) for each in found if each.bound]
        most = next((bound for bound, below in sorted(bounds) if below >= 0.95 * count), math.inf)
        upto = f", 95 % up to {_number(metric, most)}" if math.isfinite(most) else ""
        yield _Row(f"{title}: mean {_number(metric, total / count)}{upto}", f"{count:,.0f}")


def _title(metric: Metric) -> str:
    """Return a metric's name in words."""
    return metric.name.removeprefix("zcs_").removesuffix("_total").replace("_", " ")


def _labels(sample: Sample) -> str:
    return " ".join(label for label in sample.labels if label)


def _number(metric: Metric, value: float) -> str:
    name = metric.name.removesuffix("_total")
    if not math.isfinite(value):
        return str(value)
    if name.endswith("_bytes"):
        return in_bytes(value)
    if name.endswith("_seconds"):
        return format_duration(value if value >= 1 else round(value, 3))
    if name.endswith("_timestamp_seconds"):
        return shown_time(value)
    if name.endswith("_ratio"):
        return f"{value:.1%}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3f}"


def _mail(days: Sequence[MailDay], width: int) -> Iterator[str]:
    """Yield what the mail system did each day, and who stands out."""
    if days:
        yield ""
        yield "MAIL BY DAY"
    for day in days:
        totals = ", ".join(f"{each} {getattr(day.totals, each):,}" for each in _TOTALS if getattr(day.totals, each))
        yield from wrapped(totals or "nothing", width, f"  {day.day}  ")
        for table, whole, said, most in _WHO:
            if found := _standing_out(day.names[table], most, getattr(day.totals, whole)):
                yield from wrapped(found, width, f"    {said}: ")


def _standing_out(names: Names, most: int, whole: int) -> str:
    told = [name for name in names.by_count(most) if name.count >= max(_LEAST, _SHARE * whole)]
    return ", ".join(f"{name.text} ({name.count:,}{'' if name.exact else '+'})" for name in told)
