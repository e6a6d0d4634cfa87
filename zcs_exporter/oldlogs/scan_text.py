"""What a scan found, for a person at a terminal and for a program."""

import math
import os
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zcs_exporter.contract import Event, EvidenceItem, Grade, Kind, Metric, Record, Sample
from zcs_exporter.durations import format_duration
from zcs_exporter.oldlogs.progress import in_bytes
from zcs_exporter.oldlogs.scan import Outcome, ScannedFile
from zcs_exporter.text import one_line

FORMAT = 1
"""Version of the JSON form; it rises only when something in it is taken away or changes its meaning."""

_ROWS = 30
_FOLDED = 200
_HOSTS = 8
_EACH_TIME = frozenset(("count", "cid", "soapId", "messageId", "queueId", "until", "oip", "claimed"))
_GRADES = {Grade.CRITICAL: "CRITICAL", Grade.WARNING: "warning", Grade.INFO: "info"}


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return everything as plain data.

    ``format`` is ``FORMAT``; ``partial`` tells of an interruption. Times are seconds since the epoch, null where
    not known. ``files`` have ``file log taken_by note problem bytes first last hosts``; ``samples`` have
    ``collector name type labels value evidence``, the last a list of ``kind value count``; ``records`` have
    ``time kind grade fields log file offset``; ``events`` have ``time event labels evidence``; ``shortfalls``
    ``collector message remedy``. ``records_left_out`` counts by grade what was too much to keep. ``problems``
    are texts: what makes counts incomplete.
    """
    return {
        "format": FORMAT,
        "partial": outcome.partial,
        "files": [_file_json(each) for each in outcome.files],
        "samples": [
            {
                "collector": collector,
                "name": sample.metric.name + sample.suffix,
                "type": sample.metric.kind.value,
                "labels": sample.label_map(),
                "value": sample.value if math.isfinite(sample.value) else None,
                "evidence": _evidence_json(sample.evidence),
            }
            for collector, samples in outcome.samples.items()
            for sample in samples
        ],
        "records": [
            {
                "time": record.at,
                "kind": record.kind,
                "grade": record.grade.value,
                "fields": dict(record.fields),
                "log": record.log or None,
                "file": outcome.file_of(record),
                "offset": record.offset,
            }
            for record in outcome.records
        ],
        "events": [
            {
                "time": each.at,
                "event": each.name,
                "labels": dict(each.labels),
                "evidence": _evidence_json(each.evidence),
            }
            for each in outcome.events
        ],
        "shortfalls": [
            {"collector": collector, "message": each.message, "remedy": each.remedy}
            for (collector, _), each in outcome.shortfalls.items()
        ],
        "records_left_out": {grade.value: count for grade, count in outcome.left_out.items()},
        "problems": outcome.problems,
    }


def as_text(outcome: Outcome, width: int) -> Iterator[str]:
    """Yield lines for a terminal of ``width`` columns; what matters most comes last, where it is seen."""
    names = _names(outcome.files)
    yield from _files(outcome, names, width)
    for collector, samples in outcome.samples.items():
        yield from _counts(collector, samples, width)
    yield from _happened(outcome, names, width)
    for (collector, _), shortfall in outcome.shortfalls.items():
        remedy = f"; {shortfall.remedy}" if shortfall.remedy else ""
        yield from _wrapped(f"{collector}: {shortfall.message}{remedy}", width, "note: ")
    for problem in outcome.problems:
        yield from _wrapped(problem, width, "PROBLEM: ")
    if outcome.partial:
        yield ""
        yield "PARTIAL: interrupted; the files were read only as far as the table says"


def _file_json(file: ScannedFile) -> dict[str, Any]:
    return {
        "file": file.path,
        "log": file.log,
        "taken_by": file.taken_by or None,
        "note": file.note or None,
        "problem": file.problem,
        "bytes": file.content,
        "first": file.first,
        "last": file.last,
        "hosts": [name for name, _ in file.hosts.most_common()],
    }


def _evidence_json(evidence: Iterable[EvidenceItem]) -> list[dict[str, Any]]:
    return [{"kind": each.kind.value, "value": each.value, "count": each.count} for each in evidence]


def _files(outcome: Outcome, names: Mapping[str, str], width: int) -> Iterator[str]:
    read = [each for each in outcome.files if each.content and not each.note]
    count = len(outcome.files)
    yield f"{len(read)} of {count} file{'s' * (count != 1)} read, {in_bytes(sum(each.content for each in read))}"
    rows = [(_short(names[each.path], max(20, width - 64)), _taken(each), each) for each in read]
    name = max((len(row[0]) for row in rows), default=0)
    log = max((len(row[1]) for row in rows), default=0)
    for shown, taken, each in sorted(rows, key=lambda row: (row[2].log or "", row[2].first or 0)):
        yield f"  {shown:{name}}  {taken:{log}}  {in_bytes(each.content):>9}  {_span(each.first, each.last)}".rstrip()
        if each.problem:
            yield from _wrapped(each.problem, width, "    PROBLEM: ")
    for each in outcome.files:
        if each not in read:
            said = f"not read: {each.problem}" if each.problem else each.note or "not read"
            yield from _wrapped(f"{names[each.path]}: {said}", width, "  ")
    hosts: Counter[str] = Counter()
    for each in read:
        hosts.update(each.hosts)
    if hosts:
        most = ", ".join(name for name, _ in hosts.most_common(_HOSTS)) + (", ..." if len(hosts) > _HOSTS else "")
        hint = "; all are counted together, --host NAME counts one" if len(hosts) > 1 else ""
        yield from _wrapped(f"{most}{hint}", width, "  hosts in syslog: ")


def _names(files: Sequence[ScannedFile]) -> dict[str, str]:
    """Return the paths without the directory that all of them have."""
    paths = [each.path for each in files]
    try:
        common = os.path.commonpath([os.path.dirname(path) or "." for path in paths])
    except ValueError:  # some are absolute and some are not
        common = ""
    begin = common.rstrip("/") + "/" if common and common != "." else ""
    return {path: path.removeprefix(begin) for path in paths}


def _taken(file: ScannedFile) -> str:
    return f"{file.log}" if file.taken_by == "name" else f"{file.log} by {file.taken_by}"


def _counts(collector: str, samples: Sequence[Sample], width: int) -> Iterator[str]:
    """Yield the table of one area: what was counted first, then what stands at the end of the logs."""
    families: dict[Metric, list[Sample]] = {}
    for sample in samples:
        families.setdefault(sample.metric, []).append(sample)
    rows: list[_Row] = []
    for metric, found in families.items():
        if metric.kind in (Kind.HISTOGRAM, Kind.SUMMARY):
            rows += _distribution_rows(metric, found)
        elif metric.kind is not Kind.GAUGE:
            rows += _family_rows(metric, found)
    standing: list[_Row] = []
    for metric, found in families.items():
        # A window that looks back some minutes from the last line says nothing about what was before.
        if metric.kind is Kind.GAUGE and "_window_" not in metric.name:
            standing += _family_rows(metric, found)
    if standing:
        rows += [_Row("at the end of the logs:", ""), *standing]
    if not rows:
        return
    yield ""
    yield collector.upper()
    numbers = max(len(row.number) for row in rows)
    texts = min(max(len(row.text) for row in rows if row.number), width - numbers - 4)
    for row in rows:
        yield f"  {_short(row.text, texts) if row.number else row.text:{texts}}  {row.number:>{numbers}}".rstrip()
        if row.evidence:
            # Collectors name who is behind a number for an alert: of late, not of all the time that a counter counts.
            yield from _wrapped(", ".join(map(_named, row.evidence)), width, "      of late: ")


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
    if not metric.labels:
        yield _Row(title, _number(metric, found[0].value), found[0].evidence)
        return
    additive = metric.kind is not Kind.GAUGE and len(found) > 1
    if len(found) == 1:
        yield _Row(f"{title}: {_labels(found[0])}", _number(metric, found[0].value), found[0].evidence)
        return
    yield _Row(title, _number(metric, sum(each.value for each in found)) if additive else "")
    for each in found[:_ROWS]:
        yield _Row(f"  {_labels(each)}", _number(metric, each.value), each.evidence)
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
        yield _Row(title, f"{count:,.0f}")
        bounds = [(float(each.bound), each.value) for each in found if each.bound]
        most = next((bound for bound, below in sorted(bounds) if below >= 0.95 * count), math.inf)
        upto = f", 95 % up to {_number(metric, most)}" if math.isfinite(most) else ""
        yield _Row(f"  mean {_number(metric, total / count)}{upto}", "")


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
        return _moment(value)
    if name.endswith("_ratio"):
        return f"{value:.1%}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3f}"


def _named(item: EvidenceItem) -> str:
    return item.value if item.count is None else f"{item.value} ({item.count:,.0f})"


def _happened(outcome: Outcome, names: Mapping[str, str], width: int) -> Iterator[str]:
    serious = [each for each in outcome.records if each.grade is not Grade.INFO]
    lesser = [each for each in outcome.records if each.grade is Grade.INFO]
    if lesser:
        yield ""
        yield "ALSO IN THE LOGS"
        kinds: dict[str, list[Record]] = {}
        for record in lesser:
            kinds.setdefault(record.kind, []).append(record)
        for kind, found in sorted(kinds.items(), key=lambda each: -len(each[1])):
            yield f"  {len(found):>9,} {_words(kind)}, {_span(found[0].at, found[-1].at)}"
    yield ""
    yield "ATTACKS AND FAULTS"
    folded = sorted([*_folded(outcome, names, serious), *map(_event, outcome.events)], key=lambda each: each.first)
    if not folded:
        yield "  none found"
    for each in folded[-_FOLDED:]:
        yield from each.lines(width)
    if len(folded) > _FOLDED:
        yield f"  and {len(folded) - _FOLDED} before these; --format json has all"
    for grade, count in outcome.left_out.items():
        yield f"  {count:,} more of grade {grade.value} were too many to keep"


@dataclass(slots=True)
class _Told:
    """Something that happened, once or again and again."""

    grade: Grade
    text: str
    first: float
    last: float
    place: str = ""
    times: int = 1

    def lines(self, width: int) -> Iterator[str]:
        """Yield it for a terminal."""
        when = f"{_moment(self.first)}  "
        again = f" x{self.times:,}, last {_moment(self.last)}" if self.times > 1 else ""
        place = f" [{self.place}]" if self.place else ""
        yield from _wrapped(f"{_GRADES[self.grade]:8}  {self.text}{again}{place}", width, f"  {when}")


def _folded(outcome: Outcome, names: Mapping[str, str], records: Sequence[Record]) -> Iterable[_Told]:
    told: dict[tuple[object, ...], _Told] = {}
    for record in records:
        lasting = tuple(sorted((name, text) for name, text in record.fields.items() if name not in _EACH_TIME))
        key = record.kind, record.grade, record.log, lasting
        if key in told:
            told[key].times += 1
            told[key].last = record.at
            continue
        text = " ".join([_words(record.kind), *(f"{name}={value}" for name, value in record.fields.items())])
        file = outcome.file_of(record)
        place = "" if file is None else f"{names[file]}{'' if record.offset is None else f' at byte {record.offset:,}'}"
        told[key] = _Told(record.grade, text, record.at, record.at, place)
    return told.values()


def _event(event: Event) -> _Told:
    named = ", ".join(map(_named, event.evidence))
    labels = " ".join(f"{name}={value}" for name, value in event.labels.items())
    return _Told(Grade.WARNING, " ".join(filter(None, (event.name, labels, named))), event.at, event.at)


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _moment(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return "at no time"


def _span(first: float | None, last: float | None) -> str:
    if first is None or last is None:
        return "" if first is None else _moment(first)
    begin, end = _moment(first), _moment(last)
    return f"{begin} to {end[11:] if begin[:10] == end[:10] else end}"


def _short(text: str, width: int) -> str:
    """Return ``text`` on one line; of a long one the end, by which file names and labels differ."""
    safe = one_line(text, 4096)
    return safe if len(safe) <= width else "..." + safe[len(safe) - width + 3 :]


def _wrapped(text: str, width: int, begin: str) -> list[str]:
    indent = " " * min(len(begin), 24)
    return textwrap.wrap(
        one_line(text, 4096),
        max(width, len(indent) + 40),
        initial_indent=begin,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
