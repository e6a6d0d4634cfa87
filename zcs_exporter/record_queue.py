"""Records that wait to be told: one by one while they are few, counted when they are many."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from zcs_exporter.contract import Grade, Record

MOST = 50
"""Records of a kind that are told one by one, unless a collector says otherwise."""

_MORE = "more of them than are told one by one"


class RecordQueue:
    """What waits until the next round; it survives a restart."""

    def __init__(self, most: Mapping[str, int] | None = None, others: int = MOST, *, merging: bool = False) -> None:
        """Start empty.

        Args:
            most: Records that are told one by one, by kind.
            others: The same for kinds that are not in ``most``.
            merging: Whether equal ones become one with a count; their places in the log are those of the first.
        """
        self._most = most or {}
        self._others = others
        self._merging = merging
        self._waiting: list[Record] = []
        # By place in the list, where there are more than one; and places by kind and values.
        self._times: Counter[int] = Counter()
        self._places: dict[tuple[str, ...], int] = {}
        self._kinds: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._last: dict[str, Record] = {}

    def __bool__(self) -> bool:
        """Return whether anything waits."""
        return bool(self._waiting or self._left_out)

    def room(self, kind: str) -> bool:
        """Whether one more of a kind is told by itself."""
        return self._kinds[kind] < self._most.get(kind, self._others)

    def again(self, kind: str, fields: Mapping[str, str]) -> bool:
        """Count one more that is equal to one that waits; False where none does."""
        place = self._places.get((kind, *fields.values()))
        if place is None:
            return False
        self._times[place] += 1
        return True

    def add(self, record: Record) -> None:
        """Tell ``record``, or only count it when there are too many of its kind."""
        if self._merging and self.again(record.kind, record.fields):
            return
        self._last[record.kind] = record
        if not self.room(record.kind):
            self._left_out[record.kind] += 1
            return
        if self._merging:
            self._places[record.kind, *record.fields.values()] = len(self._waiting)
        self._kinds[record.kind] += 1
        self._waiting.append(record)

    def count(self, kind: str, times: int) -> None:
        """Count records that were not made since there is no room for them; one of the kind was added before."""
        self._left_out[kind] += times

    def take(self) -> list[Record]:
        """Return what waits, and one record for all others of a kind."""
        found = [_times(record, 1 + self._times[place]) for place, record in enumerate(self._waiting)]
        for kind, times in self._left_out.items():
            last = self._last[kind]
            found.append(Record(kind, last.at, last.grade, {"count": str(times), "text": _MORE}, last.log))
        self._waiting = []
        for part in (self._times, self._places, self._kinds, self._left_out, self._last):
            part.clear()
        return found

    def save(self) -> str:
        """Return what waits as one row."""
        entries = [[asdict(record), 1 + self._times[place]] for place, record in enumerate(self._waiting)]
        others = [[asdict(self._last[kind]), times] for kind, times in self._left_out.items()]
        return json.dumps([entries, others], separators=(",", ":"))

    def restore(self, row: str) -> None:
        """Take over what ``save`` gave; called once, before anything else."""
        entries, others = json.loads(row)
        for saved, times in entries:
            self.add(_record(saved))
            if times > 1:
                self._times[len(self._waiting) - 1] = times - 1
        for saved, times in others:
            record = _record(saved)
            self._last[record.kind] = record
            self._left_out[record.kind] = times


def _times(record: Record, times: int) -> Record:
    return record if times == 1 else replace(record, fields={**record.fields, "count": str(times)})


def _record(saved: Mapping[str, Any]) -> Record:
    return Record(**{**saved, "grade": Grade(saved["grade"])})
