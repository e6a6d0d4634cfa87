"""Sums up the rows of mailboxd's tables, so that intervals become counters that survive a restart."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from collectors.formats.zmstat import ACTIVITY, ZmstatRows, parse_number
from collectors.mailboxd.commands import command_label
from collectors.mailboxd.metrics import (
    BLOB_READS,
    BLOB_SEEKS,
    COMMANDS_SECONDS,
    DIRECTIONS,
    IMAPD_LATENCIES,
    INDEX_IO,
    LATENCIES,
    ROWS,
    SKIPPED,
    SLAPD_TOTALS,
    TOTALS,
    Latency,
    Total,
)
from zcs_exporter.contract import Sample

_MOST = float(1 << 63)
_MILLISECOND = 0.001
_SEEKS = "bis_seeks"
_ROWS = " rows"
_SKIPPED = " skipped"


@dataclass(slots=True)
class _Command:
    count: float = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is made of a table's rows.

    Attributes:
        totals: Counters out of the totals of intervals.
        latencies: Summaries out of counts and averages.
        protocol: Whose commands the rows tell of; None where they do not.
        shared: Commands stand among the rows of another writer.
        free_text: The command may hold commas.
    """

    totals: tuple[Total, ...] = ()
    latencies: tuple[Latency, ...] = ()
    protocol: str | None = None
    shared: bool = False
    free_text: bool = False


PLANS: Mapping[str, Plan] = {
    "mailboxd.csv": Plan(TOTALS, LATENCIES),
    "imapd_stats.csv": Plan(latencies=IMAPD_LATENCIES),
    "ldap.csv": Plan(SLAPD_TOTALS, protocol="ldap", shared=True),
    "sql.csv": Plan(protocol="sql", free_text=True),
    **{f"{name}.csv": Plan(protocol=name) for name in ("soap", "imap", "pop3", "sync", "imapd")},
}
"""By file: all whose rows are summed up."""


@dataclass(slots=True)
class _Columns:
    """Where the columns of a plan stand under one header."""

    totals: list[tuple[str, int]] = field(default_factory=list)
    latencies: list[tuple[str, str, int, int]] = field(default_factory=list)
    index: list[tuple[str, int, int]] = field(default_factory=list)
    seeks: tuple[int, int] | None = None


class Table:
    """The sums of one file.

    Attributes:
        newest: The newest row by column, in a table that also has rows of commands the newest other one.
    """

    def __init__(self, file: str) -> None:
        """Begin with nothing; ``file`` is one of ``PLANS``."""
        self.file = file
        self._plan = PLANS[file]
        self._rows = ZmstatRows(shared=self._plan.shared, free_text=self._plan.free_text)
        self._sums: dict[str, float] = {}
        self._commands: dict[str, _Command] = {}
        self._columns_of: tuple[str, ...] = ()
        self._columns = _Columns()
        self._saved_header: tuple[str, ...] = ()
        self._sums_changed = False
        self._changed_commands: set[str] = set()
        self.newest: dict[str, str] = {}

    @property
    def header(self) -> tuple[str, ...]:
        """Columns of the rows to come; empty while unknown."""
        return self._rows.header

    def begin(self, header: tuple[str, ...]) -> None:
        """Take the columns of the rows to come, where nothing told them yet."""
        if header and not self.header:
            self._rows.header = header
            self._look_up(header)

    def feed(self, data: bytes) -> None:
        """Add the rows of some whole lines."""
        skipped = self._rows.skipped
        count = 0
        newest: list[str] = []
        for header, fields in self._rows.read(data):
            count += 1
            if header == ACTIVITY:
                self._add_command(fields[1], fields[2], fields[3])
            else:
                if header is not self._columns_of:
                    self._look_up(header)
                self._add(fields)
                newest = fields
        if self.header is not self._columns_of:
            self._look_up(self.header)  # no row followed it yet
        elif newest:
            self.newest = dict(zip(self._columns_of, newest, strict=True))
        self._note(_ROWS, count)
        self._note(_SKIPPED, self._rows.skipped - skipped)

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over what an earlier process saved; it tells better than the file which columns come next."""
        rows = {key.removeprefix(self.file): value for key, value in saved.items() if key.startswith(f"{self.file} ")}
        for key, text in rows.items():
            data: Any = json.loads(text)
            if key == " header":
                self._saved_header = self._rows.header = tuple(data)
            elif key == " sums":
                self._sums = {name: float(value) for name, value in data.items()}
            elif key.startswith(" command "):
                self._commands[key.removeprefix(" command ")] = _Command(*data)
        self._look_up(self.header)

    def changes(self) -> dict[str, str]:
        """Return the rows that changed since the last call."""
        rows = {}
        if self.header != self._saved_header:
            self._saved_header = self.header
            rows[f"{self.file} header"] = json.dumps(self.header)
        if self._sums_changed:
            self._sums_changed = False
            rows[f"{self.file} sums"] = json.dumps(self._sums)
        for label in self._changed_commands:
            command = self._commands[label]
            rows[f"{self.file} command {label}"] = json.dumps([command.count, command.seconds])
        self._changed_commands.clear()
        return rows

    def samples(self) -> Iterator[Sample]:
        """Yield every counter that a column was ever seen for."""
        sums = self._sums
        for total in self._plan.totals:
            if total.column in sums:
                yield Sample(total.metric, total.labels, sums[total.column])
                if total.metric is BLOB_READS:
                    yield BLOB_SEEKS.sample(sums.get(_SEEKS, 0))
        for latency in self._plan.latencies:
            if latency.key in sums:
                yield Sample(latency.metric, latency.labels, sums[latency.count], "_count")
                yield Sample(latency.metric, latency.labels, sums[latency.key], "_sum")
        for direction, column in DIRECTIONS.items():
            if column in sums:
                yield INDEX_IO.sample(sums[f"{column} count"], suffix="_count", direction=direction)
                yield INDEX_IO.sample(sums[column], suffix="_sum", direction=direction)
        for label, command in self._commands.items():
            labels = (self._plan.protocol or "", label)
            yield Sample(COMMANDS_SECONDS, labels, command.count, "_count")
            yield Sample(COMMANDS_SECONDS, labels, command.seconds, "_sum")
        if self.header or sums:
            yield ROWS.sample(sums.get(_ROWS, 0), file=self.file)
            yield SKIPPED.sample(sums.get(_SKIPPED, 0), file=self.file)

    def _look_up(self, header: tuple[str, ...]) -> None:
        """Find the columns of the plan, and begin the counters of those that are there at 0."""
        self._columns_of = header
        place = {name: index for index, name in reversed(list(enumerate(header)))}
        columns = self._columns = _Columns()
        for total in self._plan.totals:
            if total.column in place:
                columns.totals.append((total.column, place[total.column]))
                self._sums.setdefault(total.column, 0.0)
        for latency in self._plan.latencies:
            if latency.count in place and latency.average in place:
                columns.latencies.append((latency.count, latency.key, place[latency.count], place[latency.average]))
                self._sums.setdefault(latency.count, 0.0)
                self._sums.setdefault(latency.key, 0.0)
        if self._plan.totals is not TOTALS:
            return
        for column in DIRECTIONS.values():
            if column in place and f"{column}_avg" in place:
                columns.index.append((column, place[column], place[f"{column}_avg"]))
                self._sums.setdefault(column, 0.0)
                self._sums.setdefault(f"{column} count", 0.0)
        if "bis_read" in place and "bis_seek_rate" in place:
            columns.seeks = place["bis_read"], place["bis_seek_rate"]

    def _add(self, fields: list[str]) -> None:
        for key, place in self._columns.totals:
            self._note(key, _amount(fields[place]) or 0)
        for count_key, seconds_key, count_place, average_place in self._columns.latencies:
            count, average = _amount(fields[count_place]), _amount(fields[average_place])
            if count is not None and average is not None:
                self._note(count_key, count)
                self._note(seconds_key, count * average * _MILLISECOND)
        for key, total_place, average_place in self._columns.index:
            total, average = _amount(fields[total_place]), _amount(fields[average_place])
            if total and average:
                self._note(key, total)
                self._note(f"{key} count", round(total / average))
        if self._columns.seeks is not None:
            reads, percent = (_amount(fields[place]) for place in self._columns.seeks)
            self._note(_SEEKS, (reads or 0) * min(percent or 0, 100.0) / 100)

    def _add_command(self, name: str, count_text: str, average_text: str) -> None:
        count, average = _amount(count_text), _amount(average_text)
        if self._plan.protocol is None or count is None or average is None:
            return
        label = command_label(self._plan.protocol, name)
        command = self._commands.setdefault(label, _Command())
        command.count += count
        command.seconds += count * average * _MILLISECOND
        self._changed_commands.add(label)

    def _note(self, key: str, amount: float) -> None:
        if amount:
            self._sums[key] = self._sums.get(key, 0.0) + amount
            self._sums_changed = True


def _amount(text: str) -> float | None:
    """Return what may be added to a counter; None where it is no number, negative, or more than there can be."""
    if text.isascii() and text.isdigit() and len(text) < 16:
        return float(text)
    value = parse_number(text)
    return value if value is not None and 0 <= value < _MOST else None
