"""The daemon's own log: one line a record on standard error, as text or as JSON.

Records go through a bounded queue to a thread of their own. A journal or terminal that does not take them holds up
that thread alone; what does not fit meanwhile is dropped, counted, and told of when lines flow again.
"""

import copy
import json
import logging
import queue
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import QueueHandler
from typing import Literal, TextIO

from zcs_exporter.text import one_line

QUEUE_SIZE = 10_000
"""Records that wait at most."""

MAX_LINE = 8192
"""Characters of one message at most, traceback included."""

_FLUSH_SECONDS = 1.0


class TextFormatter(logging.Formatter):
    """``2024-03-02T09:20:33Z WARNING collectors: message``; a traceback follows on the same line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one printable line."""
        return f"{_timestamp(record)} {record.levelname} {one_line(record.name)}: {_escape(_text(record, self))}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, and ``exception`` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of ASCII."""
        entry = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record)[:MAX_LINE],
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)[:MAX_LINE]
        return json.dumps(entry, ensure_ascii=True)


class DroppingHandler(QueueHandler):
    """Puts records on a queue and never waits.

    Attributes:
        dropped: Records lost since the last that was told of.
    """

    def __init__(self, records: "queue.Queue[logging.LogRecord | None]") -> None:
        super().__init__(records)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return a copy with its message made: what it was made from may change before it is written."""
        made = copy.copy(record)
        made.msg, made.args = _message(record), None
        return made

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put the record on the queue, or count it as lost."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def take_dropped(self) -> int:
        """Return how many records were lost since the last call."""
        self.acquire()
        try:
            count, self.dropped = self.dropped, 0
        finally:
            self.release()
        return count


def configure_logging(
    level: str, form: Literal["text", "json"], stream: TextIO | None = None, queue_size: int = QUEUE_SIZE
) -> Callable[[], None]:
    """Send all log records of the process to ``stream``, standard error unless given.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        form: Text or JSON lines.
        stream: Where lines go.
        queue_size: Records that may wait for a stream that does not take them.

    Returns:
        A function that writes what waits, for at most a second, and ends the log.
    """
    target = sys.stderr if stream is None else stream
    formatter = JsonFormatter() if form == "json" else TextFormatter()
    records: queue.Queue[logging.LogRecord | None] = queue.Queue(queue_size)
    handler = DroppingHandler(records)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # A daemon thread: one that hangs in write(2) does not keep the process from ending.
    writer = threading.Thread(target=_write, args=(records, handler, formatter, target), name="log writer", daemon=True)
    writer.start()

    def stop() -> None:
        root.removeHandler(handler)
        try:
            records.put(None, timeout=_FLUSH_SECONDS)
        except queue.Full:
            return
        writer.join(_FLUSH_SECONDS)

    return stop


def _write(
    records: "queue.Queue[logging.LogRecord | None]",
    handler: DroppingHandler,
    formatter: logging.Formatter,
    stream: TextIO,
) -> None:
    while (record := records.get()) is not None:
        _write_line(stream, formatter, record)
        if dropped := handler.take_dropped():
            told = f"{dropped} log lines were lost because standard error did not take them"
            _write_line(stream, formatter, logging.makeLogRecord(_lost(told)))


def _lost(message: str) -> dict[str, object]:
    return {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": message, "args": ()}


def _write_line(stream: TextIO, formatter: logging.Formatter, record: logging.LogRecord) -> None:
    try:
        stream.write(formatter.format(record) + "\n")
        stream.flush()
    except (OSError, ValueError):
        pass  # standard error is closed or full: there is nowhere left to say so


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as exc:  # noqa: BLE001 - a wrong format string must not cost the message
        return f"{record.msg!r} % {record.args!r} ({exc!r})"


def _text(record: logging.LogRecord, formatter: logging.Formatter) -> str:
    message = _message(record)
    return f"{message}\n{formatter.formatException(record.exc_info)}" if record.exc_info else message


def _escape(text: str) -> str:
    """Return ``text`` on one line, with a Python escape for what cannot be printed."""
    text = text if len(text) <= MAX_LINE else text[: MAX_LINE - 3] + "..."
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
