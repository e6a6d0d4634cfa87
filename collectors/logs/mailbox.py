"""What the logs of mailboxd and imapd tell: levels by component, faults, and errors that come again and again.

An entry counts by what ZCS itself wrote at its place: the level, the component after the context, the start of the
message, and the exception at the start of a line that follows. Text of a client elsewhere counts for nothing.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar

from collectors.formats.mailbox_log import (
    LEVELS,
    NO_SPACE,
    MailboxLine,
    account_of,
    component_label,
    gist_of,
    last_cause,
    last_entry,
    memory_kind,
    no_space,
    parse_context,
    parse_mailbox_line,
    started_version,
    thread_pool,
    thrown_class,
)
from collectors.logs import mailbox_metrics as metric
from collectors.logs.entry import Entry, JavaLog
from collectors.logs.part import EVENTS, OTHERS, Signals, Window
from collectors.logs.signatures import mask
from zcs_exporter.contract import (
    Clock,
    Evidence,
    EvidenceItem,
    EvidenceKind,
    Grade,
    LogBlock,
    LogSubscription,
    Metric,
    Record,
    Sample,
)
from zcs_exporter.hostio import Host
from zcs_exporter.log_time import LogTime
from zcs_exporter.record_queue import RecordQueue
from zcs_exporter.text import one_line

LOGS = ("log/mailbox.log", "log/imapd.log", "log/sync.log", "log/ews.log")
CONSOLE = "log/zmmailboxd.out"
_FATAL_SECONDS = 600
_CORRUPT_SECONDS = 86400
_DEBUG_SECONDS = 6 * 3600
_ALIVE_AFTER = 60  # seconds after which a JVM that ran out of memory and still writes did not end
_REPAIR_SECONDS = 3600
_SAMPLED = 8192  # bytes of each block in which levels are counted
_EVIDENCE = 10

_LEVEL_LETTER = re.compile(rb"\n[12]\d{3}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([TDIWEF])")
_REDOLOG_FAULTS = (b"Unable to open redo log", b"Exception during crash recovery")
_ENDING = (b"main", b"Thread-", b"JettyShutdownThread")
_ENDS = b"Servlet SoapServlet shutting down"
_REPAIRED = b" - Index repaired, re-indexing is recommended."

# 2013-01-15 15:57:32.537:WARN:oejs.DoSFilter:DOS ALERT:ip=,session=null,user=null
# 2019-03-02 10:20:31.118:WARN :oejs.DoSFilter:qtp1068934215-512:https://h/: DOS ALERT: Request rejected
_DOS_NEEDLE = b"DoSFilter:"
_DOS = re.compile(
    rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.\d{3}:WARN ?:[a-z.]{0,32}(?:[A-Z][A-Za-z]{0,16})?DoSFilter:"
    rb"(?:[^ ]{0,512}: ?)?DOS ALERT"
)


class MailboxPart:
    """Levels, faults and signatures of the logs that ZCS's Java programs write."""

    name: ClassVar[str] = "mailbox"
    metrics: ClassVar[tuple[Metric, ...]] = metric.ALL
    record_kinds: ClassVar[Collection[str]] = metric.RECORDED

    def __init__(self, host: Host, clock: Clock) -> None:
        self._wall = clock.wall
        self._logs = {host.zcs.path(log): JavaLog(host.zcs.path(log)) for log in LOGS}
        self._console = host.zcs.path(CONSOLE)
        self._console_time = LogTime()
        self._signals = Signals()
        self._told = RecordQueue(merging=True)
        self._fatal = Window(_FATAL_SECONDS)
        self._corrupt = Window(_CORRUPT_SECONDS, grain=20)
        self._debug = Window(_DEBUG_SECONDS, grain=300)
        self._here: set[str] = set()
        self._changed: set[str] = set()

    def subscriptions(self) -> Sequence[LogSubscription]:
        """Return the logs of Java programs, and what mailboxd's web server prints."""
        logs = [LogSubscription(log.path, partial(self._feed, log)) for log in self._logs.values()]
        return [*logs, LogSubscription(self._console, self._feed_console)]

    def begin(self, logs: Collection[str]) -> None:
        """Publish counters from 0 once one of the logs exists."""
        for path in logs:
            if path in self._logs and path not in self._here:
                self._here.add(path)
                self._signals.begin(metric.TOLD)

    def samples(self, now: float) -> Iterator[Sample]:
        """Yield counters, and gauges of what is not over."""
        if not self._here:
            return
        self._settle_all(now)
        yield from self._signals.samples()
        yield _windowed(metric.FATAL, self._fatal.totals(now), EvidenceKind.TEXT)
        yield _windowed(metric.CORRUPT, self._corrupt.totals(now), EvidenceKind.ACCOUNT)
        levels = self._debug.totals(now)
        for log in self._logs.values():
            if log.path in self._here:
                yield from self._log_samples(log, levels)

    def _log_samples(self, log: JavaLog, levels: Counter[str]) -> Iterator[Sample]:
        for component, counts in log.events.items():
            for level, count in counts.items():
                yield EVENTS.sample(count, log=log.name, level=level, component=component)
        evidence = log.signatures.evidence()
        yield metric.REPEATED.sample((evidence[0].count or 0) if evidence else 0, log=log.name, evidence=evidence)
        if total := levels[log.name]:
            yield metric.DEBUG.sample(levels[f"{log.name} debug"] / total, log=log.name)
        if log.jvm is not None:
            why = (EvidenceItem(EvidenceKind.TEXT, log.memory[1]),) if log.memory else ()
            yield metric.OUT_OF_MEMORY.sample(log.memory is not None, jvm=log.jvm, evidence=why)

    def findings(self) -> Iterator[Record]:
        """Yield the records since the last call."""
        self._settle_all(self._wall())
        if told := self._told.take():
            self._changed.add("told")
            yield from told

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows that changed: counters, windows, signatures, and the entries under way."""
        rows = {name: self._row(name) for name in self._changed}
        self._changed.clear()
        for log in self._logs.values():
            rows.update(log.changes())
        return rows

    def restore(self, rows: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        for name, window in (("fatal", self._fatal), ("corrupt", self._corrupt), ("debug", self._debug)):
            if name in rows:
                window.restore(rows[name])
        if "signals" in rows:
            self._signals.restore(rows["signals"])
        if "told" in rows:
            self._told.restore(rows["told"])
        for log in self._logs.values():
            log.restore(rows)

    def _row(self, name: str) -> str | None:
        if name == "signals":
            return self._signals.save()
        if name == "told":
            return self._told.save()
        return {"fatal": self._fatal, "corrupt": self._corrupt, "debug": self._debug}[name].save()

    # -- Lines -----------------------------------------------------------------------------------------------------

    def _feed(self, log: JavaLog, block: LogBlock) -> None:
        self.begin((log.path,))
        log.mark()
        now = self._wall()
        if block.live:
            log.time.previous = None  # a stamp in a repeated hour is the one nearest now
            self._sample_levels(log, block.data, now)
        repairs = [(0, log.repairing_until)]
        ended = True
        for stretch in gist_of(block).stretches:
            ended = stretch.ended
            if stretch.start is not None:
                self._close(log, now)
                log.open = self._begin(log, stretch.line, stretch.start, block, now)
                repairs.append((stretch.start, log.repairing_until))
            if log.open is None:
                log.open = Entry()
            self._follow(log, log.open, stretch.rest, now)
            if ended:
                self._close(log, now)
        if ended and (last := last_entry(block.data)) is not None:
            self._close(log, now)
            log.open = Entry(at=log.time.local(last[1], now))
        if log.repairing_until:
            self._look_for_repairs(log, block, repairs, now)
        if log.memory and log.open and log.open.at and log.open.at >= log.memory[0] + _ALIVE_AFTER:
            log.memory = None

    def _begin(self, log: JavaLog, text: bytes, start: int, block: LogBlock, now: float) -> Entry:
        """Work on the first line of an entry and return the entry."""
        line = parse_mailbox_line(text)
        if line is None:
            return Entry()
        at = log.time.local(line.stamp, now)
        entry = Entry(at=at, offset=block.offset + start)
        level = LEVELS.get(line.level)
        if level is None:
            self._note(log, entry, line, now)
            return entry
        entry.level = level
        entry.component = component_label(line.component)
        log.count(entry.component, level)
        if line.imitated:
            self._tell("imitated_entry", log, entry, line, Grade.WARNING, now)
        entry.text = mask(line.message, account_of(line.context))
        if level == "fatal":
            entry.fatal = _fields(line)
        self._fault(log, entry, line, now)
        return entry

    def _fault(self, log: JavaLog, entry: Entry, line: MailboxLine, now: float) -> None:
        """See which fault an entry at WARN or above tells."""
        message, component = line.message, entry.component
        if message.endswith(NO_SPACE):
            self._no_space(log, entry, now)
        if component == "lmtp":
            self._lmtp(line)
        if (component == "redolog" and entry.level != "warn") or message.startswith(_REDOLOG_FAULTS):
            self._tell("redolog_fault", log, entry, line, Grade.CRITICAL, now)
        elif component == "DoSFilter" and message.startswith(b"DOS ALERT"):
            self._tell("dos_filter", log, entry, line, Grade.WARNING, now)
        elif component == "soap" and message.startswith(b"Slow SOAP request (start="):
            self._count("slow_soap")
        elif thread_pool(message):
            # Which server it is tells the thread alone where the component is TcpServer/7025.
            self._count("thread_pool_full")
            fields = _fields(line) | {"object": one_line(line.thread.partition(b"-")[0].decode("utf-8", "replace"))}
            self._record("thread_pool_full", log, entry, Grade.WARNING, now, fields)
        elif b"ndex" in message:
            self._index(log, entry, line, now)

    def _index(self, log: JavaLog, entry: Entry, line: MailboxLine, now: float) -> None:
        message = line.message
        if message.startswith(b"Index corrupted") or message.endswith(b"Possibly corrupt index?"):
            self._tell("corrupt_index", log, entry, line, Grade.WARNING, now)
            log.repairing_until = max(log.repairing_until, (entry.at or 0) + _REPAIR_SECONDS)
            if entry.at is not None:
                self._corrupt.add(entry.at, now, _fields(line).get("account", ""))
                self._changed.add("corrupt")
        elif message.startswith((b"Unable to repair, re-indexing", b"Failed to repair, re-indexing")):
            self._tell("index_not_repaired", log, entry, line, Grade.WARNING, now)
        elif message.startswith(b"Re-index failed. This mailbox must be"):
            self._tell("index_reindex_failed", log, entry, line, Grade.WARNING, now)

    def _note(self, log: JavaLog, entry: Entry, line: MailboxLine, now: float) -> None:
        """See what an entry below WARN tells, by the threads that are looked at."""
        component, message = line.component, line.message
        if line.thread.startswith(b"LmtpServer-"):
            if component == "lmtp":
                self._lmtp(line)
        elif log.jvm is None or line.context or line.level != b"INFO ":
            return
        elif line.thread == b"main" and component == "misc" and (version := started_version(message)) is not None:
            self._count(f"{log.jvm}_started")
            self._record(f"{log.jvm}_started", log, entry, Grade.INFO, now, {"object": version})
            log.memory = None
        elif line.thread.startswith(_ENDING) and component == "soap" and message == _ENDS:
            self._count("mailboxd_stopped")
            self._record("mailboxd_stopped", log, entry, Grade.INFO, now, {})

    def _lmtp(self, line: MailboxLine) -> None:
        if line.message.startswith(b"try again for message "):
            self._count("lmtp_deferred")
        elif line.message.startswith(b"rejecting message "):
            self._count("lmtp_over_quota" if line.message.endswith(b": overquota") else "lmtp_refused")

    def _follow(self, log: JavaLog, entry: Entry, rest: bytes, now: float) -> None:
        """Work on lines that follow an entry's first, or those before them."""
        if not rest:
            return
        cause = last_cause(rest)
        thrown = thrown_class(rest)
        if cause or (thrown and not entry.cause):
            entry.cause = cause or thrown
        if entry.fatal is not None and thrown and "exception" not in entry.fatal:
            entry.fatal["exception"] = thrown
        if "memory" not in entry.told and (kind := memory_kind(rest)) is not None:
            entry.told.append("memory")
            self._count(f"out_of_memory_{kind}")
            fields = {"program": log.jvm or "mailboxd", "reason": kind, "component": entry.component}
            self._record("out_of_memory", log, entry, Grade.CRITICAL, now, fields)
            if log.jvm is not None and entry.at is not None:
                log.memory = entry.at, kind
        if no_space(rest):
            self._no_space(log, entry, now)

    def _no_space(self, log: JavaLog, entry: Entry, now: float) -> None:
        if "space" not in entry.told:
            entry.told.append("space")
            self._count("no_space_left")
            self._record("no_space_left", log, entry, Grade.CRITICAL, now, {"component": entry.component})

    def _look_for_repairs(self, log: JavaLog, block: LogBlock, repairs: Sequence[tuple[int, int]], now: float) -> None:
        """Count repairs told within an hour of damage; at any other time nobody looks for them."""
        data = block.data
        first = next(start for start, until in repairs if until)
        position = data.find(_REPAIRED, first)
        while position >= 0:
            start = data.rfind(b"\n", 0, position) + 1
            end = data.find(b"\n", position)
            line = parse_mailbox_line(data[start:end])
            until = max(until for place, until in repairs if place <= start)
            at = None if line is None else log.time.local(line.stamp, now)
            if line is not None and at is not None and at <= until and line.message == _REPAIRED[3:]:
                entry = Entry(component=component_label(line.component), at=at, offset=block.offset + start)
                self._tell("index_repaired", log, entry, line, Grade.INFO, now)
            position = data.find(_REPAIRED, end)
        if log.open and log.open.at and log.open.at > log.repairing_until:
            log.repairing_until = 0

    def _sample_levels(self, log: JavaLog, data: bytes, now: float) -> None:
        """Count levels in the beginning of a block: enough to see that a logger was left at DEBUG."""
        letters = Counter(_LEVEL_LETTER.findall(b"\n" + data[:_SAMPLED]))
        total, debug = letters.total(), letters[b"D"] + letters[b"T"]
        if total:
            self._debug.add(int(now), now, log.name, total)
            if debug:
                self._debug.add(int(now), now, f"{log.name} debug", debug)
            self._changed.add("debug")

    def _feed_console(self, block: LogBlock) -> None:
        data, now = block.data, self._wall()
        if block.live:
            self._console_time.previous = None
        position = data.find(_DOS_NEEDLE)
        while position >= 0:
            start = data.rfind(b"\n", 0, position) + 1
            found = _DOS.match(data, start)
            if found is not None:
                self._count("dos_filter")
                at = self._console_time.local(found[1], now)
                where = block.path, block.offset + start
                self._add(Record("dos_filter", now if at is None else at, Grade.WARNING, {}, *where))
            position = data.find(_DOS_NEEDLE, data.find(b"\n", position))

    # -- What lines come to ------------------------------------------------------------------------------------------

    def _close(self, log: JavaLog, now: float) -> None:
        """Take the open entry as complete."""
        entry = log.open
        log.open = None
        if entry is not None and entry.level:
            self._settle(log, entry, now)
            at = int(now) if entry.at is None else min(entry.at, int(now))
            log.signatures.add((entry.level, entry.component, entry.text, entry.cause), at)

    def _settle_all(self, now: float) -> None:
        for log in self._logs.values():
            if log.open is not None:
                self._settle(log, log.open, now)

    def _settle(self, log: JavaLog, entry: Entry, now: float) -> None:
        """Tell of a FATAL entry, with the exception where its trace has come."""
        fields, entry.fatal = entry.fatal, None
        if fields is None:
            return
        log.mark()
        self._record("fatal", log, entry, Grade.CRITICAL, now, fields)
        if entry.at is not None:
            what = f"{entry.component}: {fields['exception']}" if "exception" in fields else entry.component
            self._fatal.add(entry.at, now, one_line(what))
            self._changed.add("fatal")

    def _count(self, signal: str) -> None:
        self._signals.count(signal)
        self._changed.add("signals")

    def _tell(self, signal: str, log: JavaLog, entry: Entry, line: MailboxLine, grade: Grade, now: float) -> None:
        self._count(signal)
        self._record(signal, log, entry, grade, now, _fields(line))

    def _record(
        self, kind: str, log: JavaLog, entry: Entry, grade: Grade, now: float, fields: Mapping[str, str]
    ) -> None:
        at = now if entry.at is None else entry.at
        self._add(Record(kind, at, grade, fields, log.path, entry.offset))

    def _add(self, record: Record) -> None:
        self._told.add(record)
        self._changed.add("told")


def _fields(line: MailboxLine) -> dict[str, str]:
    """Return who and where by an entry's context."""
    context = parse_context(line.context)
    fields = {"component": component_label(line.component)}
    for name, key in (("account", "name"), ("oip", "oip"), ("address", "ip"), ("cid", "cid"), ("soapId", "soapId")):
        if key in context:
            fields[name] = one_line(context[key])
    return fields


def _windowed(family: Metric, counts: Counter[str], kind: EvidenceKind) -> Sample:
    items = (
        EvidenceItem(EvidenceKind.TEXT if name == OTHERS else kind, name, count)
        for name, count in counts.most_common(_EVIDENCE)
        if name
    )
    evidence: Evidence = tuple(items)
    return family.sample(counts.total(), evidence=evidence)
