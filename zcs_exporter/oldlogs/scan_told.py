"""Attacks and faults that a scan found, for a person at a terminal: what happened again and again is told once."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from zcs_exporter.contract import Event, Grade, Record
from zcs_exporter.oldlogs.scan import Outcome
from zcs_exporter.oldlogs.stamps import shown_time
from zcs_exporter.oldlogs.wording import named, span, wrapped

_FOLDED = 200

_EACH_TIME = frozenset(("count", "cid", "soapId", "messageId", "queueId", "until", "oip", "claimed"))

_AMOUNTS: Mapping[str, str] = {
    "ip_account": "{} failures of one address at one account",
    "account": "{} failures at one account",
    "ip": "{} failures from one address",
    "total": "{} failures in all",
    "admin": "{} failures at the administration service",
    "spray": "one address at {} accounts",
    "distributed": "{} addresses at one account",
    "slow_spray": "one address at {} accounts or more within an hour",
    "slow_distributed": "{} addresses or more at one account within an hour",
    "outbound_flood": "{} recipients within an hour",
}
"""What the ``count`` of an attack, by its check, or of a flood says: how much it was at its worst, not how often."""

_GRADES = {Grade.CRITICAL: "CRITICAL", Grade.WARNING: "warning", Grade.INFO: "info"}


def happened(outcome: Outcome, names: Mapping[str, str], width: int) -> Iterator[str]:
    """Yield lines for a terminal of ``width`` columns; ``names`` are those of files as they are shown."""
    serious = [each for each in outcome.records if each.grade is not Grade.INFO]
    lesser = [each for each in outcome.records if each.grade is Grade.INFO]
    if lesser:
        yield ""
        yield "ALSO IN THE LOGS"
        times: Counter[str] = Counter()
        for record in lesser:
            times[record.kind] += _count(record.fields.get("count", ""))
        for kind, count in times.most_common():
            moments = [record.at for record in lesser if record.kind == kind]
            yield f"  {count:>9,} {_words(kind)}, {span(moments[0], moments[-1])}"
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
    times: int = 1
    amount: int = 0
    measure: str = ""
    until: str = ""
    place: str = ""

    def lines(self, width: int) -> Iterator[str]:
        """Yield it for a terminal."""
        until = f" until {self.until}" if self.until else ""
        again = f" x{self.times:,}" if self.times > 1 else ""
        if self.last > self.first:
            again += f", last {shown_time(self.last)}"
        worst = f"; at its worst {self.measure.format(f'{self.amount:,}')}" if self.measure else ""
        place = f" [{self.place}]" if self.place else ""
        text = f"{_GRADES[self.grade]:8}  {self.text}{until}{again}{worst}{place}"
        yield from wrapped(text, width, f"  {shown_time(self.first)}  ")


def _folded(outcome: Outcome, names: Mapping[str, str], records: Sequence[Record]) -> Iterable[_Told]:
    told: dict[tuple[object, ...], _Told] = {}
    for record in records:
        fields = dict(record.fields)
        measure = _AMOUNTS.get(fields.get("check", record.kind), "")
        count = _count(fields.pop("count", ""))
        until = _local(fields.pop("until", ""))
        # Attacks are apart: each has its end.
        key = (record.kind, record.grade, record.log, until, *sorted(_lasting(fields)))
        each = told.get(key)
        if each is None:
            words = " ".join([_words(record.kind), *(f"{name}={value}" for name, value in fields.items())])
            place = _place(outcome, names, record)
            each = told[key] = _Told(record.grade, words, record.at, record.at, 0, 0, measure, until, place)
        each.times += 1 if measure else count
        each.amount = max(each.amount, count)
        each.last = max(each.last, record.at)
    return told.values()


def _lasting(fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((name, text) for name, text in fields.items() if name not in _EACH_TIME)


def _place(outcome: Outcome, names: Mapping[str, str], record: Record) -> str:
    file = outcome.file_of(record)
    return "" if file is None else f"{names[file]}{'' if record.offset is None else f' at byte {record.offset:,}'}"


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 1


def _local(text: str) -> str:
    """Return a time of a record as all others are shown; the text where it is none."""
    try:
        return shown_time(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        return text


def _event(event: Event) -> _Told:
    who = ", ".join(map(named, event.evidence))
    labels = " ".join(f"{name}={value}" for name, value in event.labels.items())
    return _Told(Grade.WARNING, " ".join(filter(None, (event.name, labels, who))), event.at, event.at)


def _words(kind: str) -> str:
    return kind.replace("_", " ")
