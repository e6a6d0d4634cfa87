"""What a scan found, for a program."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from zcs_exporter.contract import EvidenceItem
from zcs_exporter.oldlogs.scan import Outcome, ScannedFile

if TYPE_CHECKING:
    from zcs_exporter.mailreport.view import MailDay

FORMAT = 1
"""Version of the JSON form; it rises only when something in it is taken away or changes its meaning."""


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return everything as plain data.

    ``format`` is ``FORMAT``; ``partial`` tells of an interruption. Times are seconds since the epoch, null where
    not known. ``files`` have ``file log taken_by note problem bytes first last hosts``; ``samples`` have
    ``collector name type labels value evidence``, the last a list of ``kind value count``; ``records`` have
    ``time kind grade fields log file offset``; ``events`` have ``time event labels evidence``; ``shortfalls``
    ``collector message remedy``. ``records_left_out`` counts by grade what was too much to keep. ``problems``
    are texts: what makes counts incomplete. ``days`` are the last 31 days of mail as ``zcs-exporter report`` has
    them; the evidence of samples only looks back some minutes from the last line.
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
        "days": _days_json(outcome.days),
    }


def _days_json(days: "Sequence[MailDay]") -> list[dict[str, Any]]:
    if not days:
        return []
    from zcs_exporter.mailreport.report import Limits, as_data

    return [as_data(day, Limits()) for day in days]


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
