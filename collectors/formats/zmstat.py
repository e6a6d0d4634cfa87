"""The CSV files below ``/opt/zimbra/zmstat``, read by column name.

Columns come and go with the release and with the JVM's options, and the Perl writers repeat their
header in the middle of a file, so a position means nothing. Times are local and without a zone.
On a host with both, mailboxd and the Perl writer of slapd's counters share ``ldap.csv``.

Who wants the state of now takes the newest row with ``ZmstatFile``; who sums up intervals must see every
row once, and gives the blocks of a followed file to ``ZmstatRows``.

Source of the format: zm-core-utils ``src/libexec/zmstat-*`` and zm-mailbox ``StatsDumper``, ``ActivityTracker``.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from zcs_exporter.contract import CollectError, Reason, doing
from zcs_exporter.hostio import Host

_LONGEST_LINE = 1 << 16
_BLOCK = 1 << 20
_MOST_UNREAD = 1 << 28

ACTIVITY = ("timestamp", "command", "exec_count", "exec_ms_avg")
"""Columns of the files in which mailboxd counts commands."""

# 04/24/2013 00:23:23
_STAMP = re.compile(r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d", re.ASCII)
# 29250, -1, 10.405797101449275, 1.0E-4: Java's and Perl's own text
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ZmstatRow:
    """One sample.

    Attributes:
        at: When it was taken, in seconds since the epoch.
        fields: Text of each column that has one, by the column's name.
    """

    at: float
    fields: Mapping[str, str]

    def number(self, column: str) -> float | None:
        """Return a column's number; None where it is missing, empty, or text."""
        return parse_number(self.fields.get(column, ""))


def parse_number(text: str) -> float | None:
    """Return the number in a field; None where it is empty, text, or beyond any number."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def parse_zmstat_line(line: str) -> list[str]:
    """Return the fields of one line; ``, `` and ``,`` both separate, and quotes mean nothing."""
    return [field.strip() for field in line.split(",")]


def parse_zmstat_row(header: Sequence[str], fields: Sequence[str], now: float) -> ZmstatRow:
    """Name the fields of one sample.

    Args:
        header: Column names, ``timestamp`` first.
        fields: As many values.
        now: Seconds since the epoch; of an hour that the clock repeats, the nearer one is meant.

    Raises:
        CollectError: There are more or fewer fields than columns, as when the JVM came back with
            other options under yesterday's header, or the time is none.
    """
    if len(fields) != len(header):
        raise CollectError(
            Reason.PARSE,
            f"a row of {len(fields)} fields under a header of {len(header)} columns, line {','.join(fields)[:40]!r}",
            "none needed: the columns changed when the writer restarted, and a new header comes at midnight",
        )
    try:
        local = datetime.strptime(fields[0], "%m/%d/%Y %H:%M:%S")
        at = min((local.replace(fold=fold).timestamp() for fold in (0, 1)), key=lambda moment: abs(moment - now))
    except (ArithmeticError, OSError, ValueError) as exc:
        raise CollectError(Reason.PARSE, f"{fields[0][:40]!r} is not a time like 04/24/2013 00:23:23") from exc
    return ZmstatRow(at, {name: field for name, field in zip(header, fields, strict=True) if field})


class ZmstatFile:
    """The newest sample of one file that grows; each byte is read once.

    Attributes:
        header: Its columns; empty while there is no header.
    """

    def __init__(self, host: Host, path: str) -> None:
        self._host = host
        self.path = path
        self._identity: tuple[int, int] | None = None
        self._forget()

    def _forget(self) -> None:
        self._offset = 0
        self._rest = b""
        self.header: list[str] = []
        self._row = b""

    def newest(self, now: float) -> ZmstatRow | None:
        """Return the last complete sample; None while there is none.

        It may be old: the writer may have stopped, and a file keeps yesterday's rows until midnight.

        Raises:
            CollectError: The file cannot be read, or its last line not understood.
        """
        self.read_on()
        if not self._row:
            return None
        try:
            return parse_zmstat_row(self.header, parse_zmstat_line(self._row.decode("utf-8", "replace")), now)
        except CollectError as exc:
            raise CollectError(exc.reason, f"{self.path}: {exc}", exc.remedy) from exc

    def read_on(self) -> None:
        """Read what was written since the last time.

        Raises:
            CollectError: The file cannot be read.
        """
        with doing(f"reading {self.path}"):
            self._read_on()

    def _read_on(self) -> None:
        descriptor = self._host.open(self.path)
        try:
            status = os.fstat(descriptor)
            # Rotation unlinks the file and makes a new one.
            if (status.st_dev, status.st_ino) != self._identity or status.st_size < self._offset:
                self._forget()
                self._identity = (status.st_dev, status.st_ino)
            if status.st_size - self._offset > _MOST_UNREAD:
                raise CollectError(
                    Reason.UNAVAILABLE,
                    f"{self.path}: {status.st_size} bytes are too many; a new file should begin each night",
                    f"move {self.path} away; its writer begins a new one",
                )
            while block := os.pread(descriptor, _BLOCK, self._offset):
                self._offset += len(block)
                self._take(block)
        finally:
            os.close(descriptor)

    def _take(self, block: bytes) -> None:
        *lines, rest = (self._rest + block).split(b"\n")
        # What is too long to be a row is dropped; its end will not pass for one, having too few fields.
        self._rest = rest[-_LONGEST_LINE:]
        for line in lines:
            if line.split(b",", 1)[0].strip() == b"timestamp":
                self.header = parse_zmstat_line(line.decode("utf-8", "replace"))
                self._row = b""
            elif line.strip():
                self._row = line


class ZmstatRows:
    """Gives the rows of one file, which comes in blocks of whole lines, their columns.

    Attributes:
        header: Columns of the rows to come; empty while nothing has told them.
        skipped: Rows that no header fits, and lines that are none.
    """

    def __init__(self, *, shared: bool = False, free_text: bool = False) -> None:
        """Begin without a header.

        Args:
            shared: Rows of ``ACTIVITY`` stand among others, with or without a header of their own.
            free_text: The command is text that may hold commas, such as a statement of SQL.
        """
        self.header: tuple[str, ...] = ()
        self.skipped = 0
        self._shared = shared
        self._free_text = free_text

    def read(self, data: bytes) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        """Yield the columns and the fields of every row, as many of these as of those."""
        for line in data.decode("utf-8", "replace").split("\n"):
            fields = parse_zmstat_line(line)
            if fields[0] == "timestamp":
                header = tuple(fields)
                if not (self._shared and header == ACTIVITY):
                    self.header = header
                continue
            if self._free_text and len(fields) > len(ACTIVITY):
                fields = [fields[0], ",".join(fields[1:-2]), *fields[-2:]]
            header = self.header
            if self._shared and len(fields) == len(ACTIVITY) and fields[1] and not _NUMBER.fullmatch(fields[1]):
                header = ACTIVITY
            if len(fields) == len(header) and _STAMP.fullmatch(fields[0]):
                yield header, fields
            elif line.strip("\r \t"):
                self.skipped += 1


def read_last_header(host: Host, path: str) -> tuple[str, ...]:
    """Return the columns of the rows that will come next in a file that exists.

    Raises:
        CollectError: The file cannot be read.
    """
    file = ZmstatFile(host, path)
    file.read_on()
    return tuple(file.header)
