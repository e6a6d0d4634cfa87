import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.logs.mailbox import MailboxPart
from collectors.logs.mailbox_metrics import TOLD
from zcs_exporter.contract import EvidenceKind, Grade, LogBlock, Record, Sample
from zcs_exporter.hostio import Host
from zcs_exporter.tail import LogTail

MAILBOX = "/opt/zimbra/log/mailbox.log"
IMAPD = "/opt/zimbra/log/imapd.log"
SYNC = "/opt/zimbra/log/sync.log"
CONSOLE = "/opt/zimbra/log/zmmailboxd.out"
NOW = 1_709_371_233.0

HTTPS = "qtp1068934215-733:https://mail.example.com:443/service/soap/SearchRequest"
CONTEXT = "name=ann@example.com;mid=12;oip=203.0.113.9;ua=ZimbraWebClient - FF122;soapId=4e5e1bb3;"
HEAP = "java.lang.OutOfMemoryError: Java heap space\n\tat java.util.Arrays.copyOf(Arrays.java:3332)"
FULL = "java.io.IOException: No space left on device\n\tat java.io.FileOutputStream.write(Native Method)"
VERSION = "version=10.0.8_GA_4518 release=20240205101010 builddate=20240205-1010 buildhost=build.example.com"


def entry(
    message: str,
    level: str = "WARN",
    component: str = "mailbox",
    *,
    at: float = NOW,
    context: str = CONTEXT,
    thread: str = HTTPS,
) -> str:
    stamp = datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")
    return f"{stamp},402 {level:5} [{thread}] [{context}] {component} - {message}"


@dataclass
class Daemon:
    """What runs the part: feeds it, commits its rows, and kills it."""

    manual: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    rows: dict[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.part = MailboxPart(Host("/nonexistent"), self.manual.clock)
        self.part.restore(self.rows)
        self.feeds = {wish.path: wish.feed for wish in self.part.subscriptions()}

    def feed(self, *lines: str | bytes, path: str = MAILBOX, live: bool = True, offset: int = 0) -> None:
        data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
        self.feeds[path](LogBlock(path, data, offset, live))

    def commit(self) -> set[str]:
        changes = self.part.changes()
        for key, row in changes.items():
            if row is None:
                self.rows.pop(key)
            else:
                self.rows[key] = row
        return set(changes)

    def restart(self) -> None:
        self.commit()
        self.start()

    def samples(self) -> dict[tuple[str, ...], Sample]:
        self.part.begin((MAILBOX,))
        return {(each.metric.name, *each.labels): each for each in self.part.samples(self.manual.now)}

    def value(self, name: str, *labels: str) -> float | None:
        found = self.samples().get((name, *labels))
        return None if found is None else found.value

    def evidence(self, name: str, *labels: str) -> list[tuple[str, float | None]]:
        return [(item.value, item.count) for item in self.samples()[name, *labels].evidence]

    def signals(self) -> dict[str, float]:
        samples = self.samples().items()
        return {key[1]: each.value for key, each in samples if key[0] == "zcs_log_signals_total" and each.value}

    def events(self) -> dict[tuple[str, ...], float]:
        return {key[1:]: each.value for key, each in self.samples().items() if key[0] == "zcs_log_events_total"}

    def told(self) -> list[Record]:
        return [each for each in self.part.findings() if isinstance(each, Record)]


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


# -- Levels --------------------------------------------------------------------------------------------------------


def test_nothing_is_published_before_a_log_is_here() -> None:
    part = MailboxPart(Host("/nonexistent"), ManualClock().clock)

    assert list(part.samples(NOW)) == []


def test_every_signal_begins_at_zero(daemon: Daemon) -> None:
    samples = daemon.samples()

    assert {key[1] for key in samples if key[0] == "zcs_log_signals_total"} == set(TOLD)
    assert daemon.signals() == {}
    assert daemon.value("zcs_log_fatal_recent") == daemon.value("zcs_log_corrupt_index_recent") == 0
    assert daemon.value("zcs_log_jvm_out_of_memory", "mailboxd") == 0


def test_entries_count_by_log_level_and_component(daemon: Daemon) -> None:
    daemon.feed(entry("a"), entry("b", "ERROR", "soap"), entry("c", "INFO"), entry("d", "DEBUG"), entry("e"))
    daemon.feed(entry("f", "FATAL", "system"), path=SYNC)

    assert daemon.events() == {
        ("mailbox.log", "warn", "mailbox"): 2,
        ("mailbox.log", "error", "soap"): 1,
        ("sync.log", "fatal", "system"): 1,
    }


def test_a_component_that_zcs_does_not_have_is_other(daemon: Daemon) -> None:
    daemon.feed(entry("a", component="Ann"), entry("a", component="HttpMethodBase"))

    assert daemon.events() == {("mailbox.log", "warn", "other"): 2}


def test_a_client_cannot_choose_the_component(daemon: Daemon) -> None:
    daemon.feed(entry("x] store - y", context="ua=x] system - handler exception;"))

    assert daemon.events() == {("mailbox.log", "warn", "mailbox"): 1}
    assert daemon.signals() == {"imitated_entry": 1}


# -- FATAL ---------------------------------------------------------------------------------------------------------


def test_a_fatal_entry_is_recorded_with_its_exception_and_whose_request_it_was(daemon: Daemon) -> None:
    daemon.feed(entry("quiet", "INFO"), entry("handler exception", "FATAL", "system"), HEAP, offset=1000)

    [fatal, memory] = sorted(daemon.told(), key=lambda record: record.kind)
    assert (fatal.kind, fatal.grade, fatal.at, fatal.log) == ("fatal", Grade.CRITICAL, NOW, MAILBOX)
    assert fatal.offset == 1000 + len(entry("quiet", "INFO")) + 1
    assert fatal.fields == {
        "component": "system",
        "account": "ann@example.com",
        "oip": "203.0.113.9",
        "soapId": "4e5e1bb3",
        "exception": "java.lang.OutOfMemoryError",
    }
    assert (memory.kind, memory.fields["reason"]) == ("out_of_memory", "heap")


def test_fatal_entries_of_the_last_ten_minutes_are_counted_with_what_they_were(daemon: Daemon) -> None:
    daemon.feed(entry("a", "FATAL", "system", at=NOW - 100), HEAP, entry("b", "FATAL", "store", at=NOW))

    assert daemon.value("zcs_log_fatal_recent") == 2
    assert daemon.evidence("zcs_log_fatal_recent") == [("system: java.lang.OutOfMemoryError", 1), ("store", 1)]
    daemon.manual.advance(500)
    assert daemon.evidence("zcs_log_fatal_recent") == [("store", 1)]
    daemon.manual.advance(100)
    assert daemon.value("zcs_log_fatal_recent") == 0


def test_the_exception_may_come_in_the_next_block(daemon: Daemon) -> None:
    daemon.feed(entry("a", "FATAL", "system"))
    daemon.feed(HEAP)

    assert [each.fields.get("exception") for each in daemon.told() if each.kind == "fatal"] == [
        "java.lang.OutOfMemoryError"
    ]
    assert daemon.told() == []


def test_a_fatal_entry_is_told_at_once_and_once_even_before_its_trace_and_across_a_restart(daemon: Daemon) -> None:
    daemon.feed(entry("a", "FATAL", "system"))

    assert [each.kind for each in daemon.told()] == ["fatal"]
    daemon.restart()
    daemon.feed(HEAP)
    assert [each.kind for each in daemon.told()] == ["out_of_memory"]
    assert daemon.value("zcs_log_fatal_recent") == 1


def test_what_was_told_is_told_by_no_later_process(daemon: Daemon) -> None:
    daemon.feed(entry("a", "FATAL", "system"))
    daemon.commit()
    assert len(daemon.told()) == 1

    daemon.restart()
    assert daemon.told() == []
    assert daemon.value("zcs_log_fatal_recent") == 1


def test_a_record_that_waited_in_the_state_is_told_once(daemon: Daemon) -> None:
    daemon.feed(entry("Index corrupted", "ERROR", "index"))
    daemon.commit()
    assert len(daemon.told()) == 1

    daemon.restart()
    assert daemon.told() == []


def test_what_waits_to_be_told_survives_a_restart(daemon: Daemon) -> None:
    daemon.feed(entry("Index corrupted", "ERROR", "index"))
    daemon.restart()

    assert [each.kind for each in daemon.told()] == ["corrupt_index"]


def test_what_is_over_moves_no_gauge_and_is_in_the_records(daemon: Daemon) -> None:
    day = NOW - 86400
    daemon.feed(entry("a", "FATAL", "system", at=day), HEAP, live=False)
    daemon.feed(entry("Index corrupted", "ERROR", "index", at=day), live=False)
    daemon.feed(entry("quiet", "INFO", at=NOW), live=False)

    assert daemon.value("zcs_log_fatal_recent") == daemon.value("zcs_log_corrupt_index_recent") == 0
    assert daemon.value("zcs_log_jvm_out_of_memory", "mailboxd") == 0
    assert {each.kind for each in daemon.told()} == {"fatal", "out_of_memory", "corrupt_index"}
    assert set(daemon.signals()) == {"out_of_memory_heap", "corrupt_index"}


def test_a_fault_a_moment_ago_is_not_over_because_the_daemon_was_away(daemon: Daemon) -> None:
    daemon.feed(entry("a", "FATAL", "system", at=NOW - 30), HEAP, live=False)
    daemon.feed(entry("Index corrupted", "ERROR", "index", at=NOW - 30), live=False)

    assert daemon.value("zcs_log_fatal_recent") == daemon.value("zcs_log_corrupt_index_recent") == 1
    assert daemon.value("zcs_log_jvm_out_of_memory", "mailboxd") == 1


def test_a_storm_of_records_is_few_with_their_number(daemon: Daemon) -> None:
    daemon.feed(*[entry("a", "FATAL", "system")] * 27)
    daemon.feed(*(entry("a", "FATAL", "system", context=f"name=user{number}@example.com;") for number in range(100)))
    daemon.restart()

    told = daemon.told()
    assert len(told) < 60
    assert told[0].fields["count"] == "27"
    assert sum(int(each.fields.get("count", 1)) for each in told) == 127
    assert daemon.told() == []


# -- Memory --------------------------------------------------------------------------------------------------------


def test_memory_that_ran_out_counts_once_an_entry_at_any_level(daemon: Daemon) -> None:
    daemon.feed(entry("x", "INFO"), HEAP, "Caused by: java.lang.OutOfMemoryError: Metaspace", entry("y", "INFO"))
    daemon.feed(entry("z"), "java.lang.RuntimeException: a")
    daemon.feed("Caused by: java.lang.OutOfMemoryError: unable to create new native thread")
    daemon.feed("Caused by: java.lang.OutOfMemoryError: unable to create new native thread")

    assert daemon.signals() == {"out_of_memory_heap": 1, "out_of_memory_threads": 1}


@pytest.mark.parametrize("path", [MAILBOX, IMAPD])
def test_a_jvm_out_of_memory_is_told_until_it_starts_again(daemon: Daemon, path: str) -> None:
    jvm = "mailboxd" if path == MAILBOX else "imapd"
    daemon.feed(entry("handler exception", "FATAL", "system"), HEAP, path=path)

    assert daemon.value("zcs_log_jvm_out_of_memory", jvm) == 1
    assert daemon.evidence("zcs_log_jvm_out_of_memory", jvm) == [("heap", None)]
    daemon.restart()
    daemon.feed(entry("x", at=NOW + 1), path=path)
    assert daemon.value("zcs_log_jvm_out_of_memory", jvm) == 1
    daemon.feed(entry(VERSION, "INFO", "misc", context="", thread="main", at=NOW + 9), path=path)
    assert daemon.value("zcs_log_jvm_out_of_memory", jvm) == 0
    assert daemon.told()[-1].kind == f"{jvm}_started"


def test_a_jvm_that_writes_a_minute_later_did_not_end(daemon: Daemon) -> None:
    daemon.feed(entry("handler exception", "WARN", "system"), HEAP)
    daemon.feed(entry("x", "INFO", at=NOW + 59))
    assert daemon.value("zcs_log_jvm_out_of_memory", "mailboxd") == 1

    daemon.feed(entry("x", "INFO", at=NOW + 60))
    assert daemon.value("zcs_log_jvm_out_of_memory", "mailboxd") == 0


# -- Other faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "signal"),
    [
        (entry("write failed: No space left on device", "ERROR", "store"), "no_space_left"),
        (entry("write failed", "INFO", "store") + "\n" + FULL, "no_space_left"),
        (entry("x") + "\njava.lang.A: x\nCaused by: " + FULL, "no_space_left"),
        (entry("Index corrupted", "ERROR", "index"), "corrupt_index"),
        (
            entry("Failed to index message-id 7 - indexing blocked. Possibly corrupt index?", component="index"),
            "corrupt_index",
        ),
        (entry("Unable to repair, re-indexing is required.", component="index"), "index_not_repaired"),
        (entry("Failed to repair, re-indexing is required.", component="lucene"), "index_not_repaired"),
        (
            entry("Re-index failed. This mailbox must be manually re-indexed.", "ERROR", "index"),
            "index_reindex_failed",
        ),
        (entry("Thread pool is 95% utilized.  237 out of 250 threads in use.", component="lmtp"), "thread_pool_full"),
        (entry("DOS ALERT: Request rejected ip=203.0.113.9", component="DoSFilter"), "dos_filter"),
        (entry("Slow SOAP request (start=1709371233000):", component="soap"), "slow_soap"),
        (entry("Unable to open redo log", "FATAL", "redolog"), "redolog_fault"),
        (entry("Exception during crash recovery", "FATAL", "system"), "redolog_fault"),
        (entry("cannot write", "ERROR", "redolog"), "redolog_fault"),
        (entry(VERSION, "INFO", "misc", context="", thread="main"), "mailboxd_started"),
        (
            entry("Servlet SoapServlet shutting down", "INFO", "soap", context="", thread="Thread-12"),
            "mailboxd_stopped",
        ),
        (
            entry("Servlet SoapServlet shutting down", "INFO", "soap", context="", thread="JettyShutdownThread"),
            "mailboxd_stopped",
        ),
        (
            entry(
                "rejecting message from=a@example.net,to=ann@example.com: overquota",
                "INFO",
                "lmtp",
                thread="LmtpServer-7",
            ),
            "lmtp_over_quota",
        ),
        (
            entry("rejecting message ann@example.com: overquota", "INFO", "lmtp", thread="LmtpServer-7"),
            "lmtp_over_quota",
        ),
        (
            entry(
                "rejecting message from=a@example.net,to=x@example.com: account or mailbox not found",
                "INFO",
                "lmtp",
                thread="LmtpServer-7",
            ),
            "lmtp_refused",
        ),
        (
            entry("try again for message from=a@example.net,to=ann@example.com", "INFO", "lmtp", thread="LmtpServer-7"),
            "lmtp_deferred",
        ),
        (entry("try again for message from=a@example.net,to=b@example.com", component="lmtp"), "lmtp_deferred"),
    ],
)
def test_a_fault_is_told_once(daemon: Daemon, text: str, signal: str) -> None:
    around = entry("quiet", "INFO")
    daemon.feed(around, *text.split("\n"), around)

    assert daemon.signals() == {signal: 1}


@pytest.mark.parametrize(
    "text",
    [
        entry("subject: Index corrupted", "ERROR", "mailbox"),
        entry("Slow SOAP request (start=1):", component="filter"),
        entry("DOS ALERT", component="filter"),
        entry("Thread pool is full of fish", component="imap"),
        entry(VERSION, "INFO", "misc", context="", thread="main2"),
        entry(VERSION, "INFO", "misc", context="ua=x;", thread="main"),
        entry(VERSION, "INFO", "soap", context="", thread="main"),
        entry("Servlet SoapServlet starting up", "INFO", "soap", context="", thread="main"),
        entry("Delivering message: size=1 bytes, nrcpts=1", "INFO", "lmtp", thread="LmtpServer-7"),
        entry("rejecting message a: overquota", "INFO", "imap", thread="LmtpServer-7"),
        entry("redo log rollover took 7ms", "WARN", "redolog"),
        entry("x", "INFO") + "\n<text>java.lang.OutOfMemoryError: Java heap space</text>",
        entry("x", "INFO") + "\n  No space left on device",
    ],
)
def test_what_only_resembles_a_fault_is_none(daemon: Daemon, text: str) -> None:
    daemon.feed(*text.split("\n"))

    assert daemon.signals() == {}


def test_a_server_that_runs_short_of_threads_is_named_by_its_thread(daemon: Daemon) -> None:
    short = "Thread pool is 95% utilized.  19 out of 20 threads in use."
    daemon.feed(
        entry(short, component="TcpServer/7025", context="", thread="LmtpServer"),
        entry(short, component="imap", context="", thread="ImapSSLServer-42"),
    )

    found = [(each.kind, each.fields["component"], each.fields["object"]) for each in daemon.told()]
    assert found == [
        ("thread_pool_full", "other", "LmtpServer"),
        ("thread_pool_full", "imap", "ImapSSLServer"),
    ]
    assert daemon.events() == {("mailbox.log", "warn", "other"): 1, ("mailbox.log", "warn", "imap"): 1}


def test_a_disk_that_damages_every_index_keeps_the_row_small(daemon: Daemon) -> None:
    for number in range(3000):
        daemon.feed(entry("Index corrupted", "ERROR", "index", context=f"name=u{number}@example.com;"))
    daemon.feed(entry("x", "INFO"))

    assert daemon.value("zcs_log_corrupt_index_recent") == 3000
    assert daemon.evidence("zcs_log_corrupt_index_recent")[0] == ("others", 2900)
    daemon.commit()
    assert len(daemon.rows["corrupt"]) < 4000


def test_a_corrupt_index_names_its_account_for_a_day(daemon: Daemon) -> None:
    daemon.feed(entry("Index corrupted", "ERROR", "index"), "org.apache.lucene.index.CorruptIndexException: x")
    daemon.feed(entry("x", "INFO"))

    [sample] = [each for key, each in daemon.samples().items() if key[0] == "zcs_log_corrupt_index_recent"]
    assert sample.value == 1
    assert [(item.kind, item.value) for item in sample.evidence] == [(EvidenceKind.ACCOUNT, "ann@example.com")]
    daemon.restart()
    daemon.manual.advance(86400)
    assert daemon.value("zcs_log_corrupt_index_recent") == 0


def test_a_repair_is_told_within_an_hour_of_the_damage(daemon: Daemon) -> None:
    repaired = "Index repaired, re-indexing is recommended."
    damage = entry("Index corrupted", "ERROR", "lucene", at=NOW)
    before = entry(repaired, "INFO", "lucene", at=NOW - 1)
    daemon.feed(before)
    daemon.feed(before, damage, entry(repaired, "INFO", "lucene", at=NOW + 9), entry(f"a{repaired}", "INFO"))
    daemon.restart()
    daemon.feed(entry(repaired, "INFO", "lucene", at=NOW + 3600))
    daemon.feed(entry(repaired, "INFO", "lucene", at=NOW + 3601))
    daemon.feed(entry(repaired, "INFO", "lucene", at=NOW + 9))

    assert daemon.signals() == {"corrupt_index": 1, "index_repaired": 2}


def test_damage_does_not_make_an_earlier_repair_count(daemon: Daemon) -> None:
    repaired = "Index repaired, re-indexing is recommended."
    daemon.feed(entry("Index corrupted", "ERROR", "lucene"))
    daemon.feed(
        entry(repaired, "INFO", "lucene", at=NOW + 4000), entry("Index corrupted", "ERROR", "lucene", at=NOW + 4001)
    )

    assert daemon.signals() == {"corrupt_index": 2}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2013-01-15 15:57:32.537:WARN:oejs.DoSFilter:DOS ALERT:ip=,session=null,user=null", 1),
        ("2019-03-02 10:20:31.118:WARN :oejs.DoSFilter:qtp1-5:https://h/a: DOS ALERT: Request rejected ip=x", 1),
        ("2019-03-02 10:20:31.118:INFO:oejs.DoSFilter:DOS ALERT:ip=,session=null,user=null", 0),
        ("x 2013-01-15 15:57:32.537:WARN:oejs.DoSFilter:DOS ALERT:ip=,session=null,user=null", 0),
        ("2013-01-15 15:57:32.537:WARN:x.Other:oejs.DoSFilter:DOS ALERT:", 0),
    ],
)
def test_hits_of_the_filter_against_floods_stand_in_the_console_log(daemon: Daemon, text: str, count: int) -> None:
    daemon.feed("DoSFilter: x", text, text, path=CONSOLE)

    assert daemon.signals().get("dos_filter", 0) == 2 * count
    assert [each.fields for each in daemon.told()] == [{"count": "2"}] * count


def test_a_logger_left_at_debug_shows_for_six_hours(daemon: Daemon) -> None:
    daemon.feed(entry("a", "DEBUG"), "trace", entry("b", "TRACE"), entry("c", "DEBUG"), entry("d", "INFO"))

    assert daemon.value("zcs_log_debug_ratio", "mailbox.log") == 0.75
    daemon.feed(*[entry("a", "DEBUG")] * 10, live=False)
    daemon.restart()
    assert daemon.value("zcs_log_debug_ratio", "mailbox.log") == 0.75
    daemon.manual.advance(6 * 3600)
    assert daemon.value("zcs_log_debug_ratio", "mailbox.log") is None


# -- Errors that come again ------------------------------------------------------------------------------------------


def test_similar_errors_are_one_with_their_last_cause(daemon: Daemon) -> None:
    trace = "com.zimbra.common.service.ServiceException: system failure\n\tat a.B.c(B.java:1)\n"
    caused = trace + "Caused by: java.io.IOException: x\nCaused by: java.net.SocketException: Broken pipe\n\t... 9 more"
    for number in range(3):
        daemon.feed(entry(f"cannot send item {number} of ann", at=NOW + number), *caused.split("\n"))
    daemon.feed(entry("cannot send item 7", at=NOW + 5), entry("x", "INFO"))

    assert daemon.value("zcs_log_repeated_errors", "mailbox.log") == 3
    assert daemon.evidence("zcs_log_repeated_errors", "mailbox.log") == [
        ("warn mailbox: cannot send item * of * (java.net.SocketException)", 3),
        ("warn mailbox: cannot send item *", 1),
    ]


def test_a_stamp_far_ahead_ends_no_week(daemon: Daemon) -> None:
    for at in (NOW, NOW + 400 * 86400, NOW + 1, NOW + 800 * 86400, NOW + 2):
        daemon.feed(entry("cannot send item 7", at=at))
    daemon.feed(entry("x", "INFO"))

    assert daemon.value("zcs_log_repeated_errors", "mailbox.log") == 5


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_in_the_repeated_hour_a_live_stamp_is_the_one_nearest_now(daemon: Daemon) -> None:
    again = datetime(2024, 10, 27, 2, 30, fold=1).timestamp()
    daemon.manual.now = again - 8 * 3600
    daemon.feed(entry("x", "INFO", at=daemon.manual.now))
    daemon.manual.now = again + 1
    daemon.feed(entry("x", "FATAL", "system", at=again))

    assert daemon.value("zcs_log_fatal_recent") == 1


def test_rows_come_only_when_something_changed(daemon: Daemon) -> None:
    daemon.feed(entry("a", "FATAL", "system"), HEAP)
    daemon.samples()
    assert daemon.commit()
    assert daemon.commit() == set()

    daemon.feed(entry("x", "INFO"))
    assert not {row for row in daemon.commit() if "events" in row}


# -- Against a reference ---------------------------------------------------------------------------------------------

START = re.compile(r"[12]\d{3}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (TRACE|DEBUG|INFO |WARN |ERROR|FATAL) \[", re.ASCII)
NAME = re.compile(r"\] ([A-Za-z_$][A-Za-z0-9_.$-]{0,63}) - ")
CLASS = re.compile(r"((?:[A-Za-z_$][A-Za-z0-9_$]{0,60}\.){1,12}[A-Z_$][A-Za-z0-9_$]{0,80})(?::.*)?")


def reference(data: bytes) -> tuple[Counter[tuple[str, str]], Counter[str], Counter[str]]:
    """Count events, signals and causes slowly, one line after another, by what the format says."""
    entries: list[list[str]] = [[""]]
    for text in data.decode("latin-1").split("\n")[:-1]:
        if START.match(text):
            entries.append([text])
        else:
            entries[-1].append(text)
    events: Counter[tuple[str, str]] = Counter()
    signals: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    for head, *rest in entries:
        thread, context, component, message, imitated = _apart(head)
        level = head[24:29].strip().lower()
        counted = level in ("warn", "error", "fatal")
        told = set(_judged(level, thread, context, component, message)) | set(_traced(rest))
        if counted:
            events[
                level, component if component in ("mailbox", "lmtp", "system", "soap", "lucene", "store") else "other"
            ] += 1
            causes[_cause(rest)] += 1
            told |= {"imitated_entry"} if imitated else set()
            told |= {"no_space_left"} if message.endswith("No space left on device") else set()
        signals.update(told)
    return events, signals, causes


def _apart(head: str) -> tuple[str, str, str, str, bool]:
    if not head:
        return "", "", "", "", False
    thread, found, rest = head[31:].partition("] [")
    if not found:
        return head[31:], "", "other", "", False
    imitated = False
    for place in range(len(rest)):
        end = NAME.match(rest, place)
        if end:
            before = rest[:place]
            semicolons = len(before) - len(before.rstrip(";"))
            if not before or semicolons % 2:
                return thread, before, end[1], rest[end.end() :], imitated
            imitated = True
    return thread, rest, "other", "", imitated


def _judged(level: str, thread: str, context: str, component: str, message: str) -> Iterator[str]:
    counted = level in ("warn", "error", "fatal")
    if component == "lmtp" and (counted or thread.startswith("LmtpServer-")):
        if message.startswith("rejecting message "):
            yield "lmtp_over_quota" if message.endswith(": overquota") else "lmtp_refused"
        elif message.startswith("try again for message "):
            yield "lmtp_deferred"
    if counted and message.startswith("Index corrupted"):
        yield "corrupt_index"
    if level == "info" and thread == "main" and not context and component == "misc" and message == VERSION:
        yield "mailboxd_started"


def _traced(rest: list[str]) -> Iterator[str]:
    for text in rest:
        text = text.removeprefix("Caused by: ")
        if text.startswith("java.lang.OutOfMemoryError: Java heap space"):
            yield "out_of_memory_heap"
            break
    for text in rest:
        found = CLASS.fullmatch(text.removeprefix("Caused by: "))
        if found and ": " in text.removeprefix("Caused by: ") and "No space left on device" in text:
            yield "no_space_left"
            break


def _cause(rest: list[str]) -> str:
    caused = [CLASS.fullmatch(text.removeprefix("Caused by: ")) for text in rest if text.startswith("Caused by: ")]
    thrown = [CLASS.fullmatch(text) for text in rest]
    return next((each[1] for each in (*reversed(caused), *thrown) if each), "")


PIECES = [
    b"",
    b"\tat com.zimbra.cs.Mailbox.do(Mailbox.java:7)",
    b"java.lang.OutOfMemoryError: Java heap space",
    b"Caused by: java.lang.OutOfMemoryError: Java heap space",
    b"Caused by: java.io.IOException: No space left on device",
    b"java.io.IOException: /opt/zimbra/store: No space left on device",
    b"com.example.Broken",
    b"Caused by: nothing at all",
    b"\t... 2 more",
    b"1 of 2",
    b"2024-03-02 10:25:11,402 WARNING [x] [] soap - y",
    b"2024-03-02 10:25:11,402 FATAL",
    b"\x1b[31m2024-03-02 10:25:11,402 FATAL [x] [] system - y\x1b[0m",
    b"\0\0\0",
    b"\xff\xfe\x80",
    b"x" * 65536,
    b"2" * 65536,
    *(
        text.encode("latin-1")
        for text in (
            entry("quiet", "INFO"),
            entry("quiet", "DEBUG"),
            entry("loud"),
            entry("loud", "ERROR", "soap"),
            entry("loud", "FATAL", "system"),
            entry("loud", "WARN", "Strange.Logger"),
            entry("loud", context=""),
            entry("loud", context="ua=x] system - y;"),
            entry("loud", context="ua=x;;] system - y;;z;"),
            entry("loud", context="ua=] [;"),
            entry("loud", context="ua=\0\x1b[2J\xff;"),
            entry("loud", context="ua=" + "x] a - " * 40 + ";"),
            entry("loud] soap - x", context="ua=never closed"),
            entry("x" * 65536),
            entry("loud", thread="main"),
            entry("quiet", "INFO", thread="L" * 200),
            entry("quiet", "INFO", context="ua=" + "y" * 600 + ";", thread="LmtpServer-1"),
            entry("quiet", "INFO", thread="Thread-1"),
            entry("Index corrupted", "ERROR", "lucene"),
            entry("failed: No space left on device", "ERROR", "soap"),
            entry(VERSION, "INFO", "misc", context="", thread="main"),
            entry("Delivering message: size=1", "INFO", "lmtp", thread="LmtpServer-1"),
            entry("rejecting message a: overquota", "INFO", "lmtp", thread="LmtpServer-1"),
            entry("rejecting message a", "INFO", "lmtp", context="ua=];", thread="LmtpServer-1"),
            entry("try again for message a", "INFO", "lmtp", context="", thread="LmtpServer-99"),
            entry("try again for message a", "WARN", "lmtp"),
            entry("rejecting message a", "INFO", "lmtp", thread="Other-1"),
        )
    ),
]
LINES = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b""))))


def counted(daemon: Daemon) -> tuple[Counter[tuple[str, str]], Counter[str], Counter[str]]:
    """Return the same as the reference, once the last entry is known to be complete."""
    daemon.feed(entry("the end", "INFO"))
    daemon.commit()
    causes: Counter[str] = Counter()
    for name, row in daemon.rows.items():
        if "/signatures/" in name and not name.endswith("half"):
            *_, cause, count, _ = json.loads(row)
            causes[cause] += count
    return Counter({key[1:]: int(n) for key, n in daemon.events().items()}), Counter(daemon.signals()), causes


@settings(max_examples=150, deadline=None)
@given(LINES, st.data())
def test_counts_equal_a_slow_reference_however_lines_are_cut_into_blocks(
    lines: list[bytes], data: st.DataObject
) -> None:
    daemon = Daemon()
    place = 0
    while place < len(lines):
        size = data.draw(st.integers(1, 12))
        daemon.feed(*lines[place : place + size], live=data.draw(st.booleans()))
        place += size
        if data.draw(st.booleans()):
            daemon.restart()

    assert counted(daemon) == reference(b"".join(line + b"\n" for line in lines))


def test_a_restart_between_any_two_lines_changes_nothing() -> None:
    lines = PIECES * 2
    daemon = Daemon()
    for line in lines:
        daemon.feed(line)
        daemon.restart()

    assert counted(daemon) == reference(b"".join(line + b"\n" for line in lines))


def test_a_log_read_while_it_is_written_counts_the_same_at_every_byte(tmp_path: Path) -> None:
    text = "\n".join(
        (
            entry("quiet", "INFO", context="", thread="t"),
            entry("handler exception", "FATAL", "system", context="ua=x] a - b;", thread="t"),
            HEAP,
            entry("rejecting message a: overquota", "INFO", "lmtp", context="", thread="LmtpServer-1"),
            entry("write", "ERROR", "store", context="", thread="t"),
            FULL,
            entry("quiet", "INFO", context="", thread="t"),
            "",
        )
    ).encode()
    host = FakeHost(tmp_path)
    log = host.write(MAILBOX, b"")
    for cut in range(len(text)):
        daemon = Daemon()
        log.write_bytes(b"")
        tail = LogTail(host, MAILBOX, None, daemon.manual.clock, from_start=True)
        for part in (text[:cut], text):
            log.write_bytes(part)
            daemon.manual.advance(1)
            while (block := tail.read()) is not None:
                daemon.feeds[MAILBOX](block)
                tail.advance()
        tail.close()
        assert {key: value for key, value in daemon.signals().items() if value} == {
            "out_of_memory_heap": 1,
            "imitated_entry": 1,
            "lmtp_over_quota": 1,
            "no_space_left": 1,
        }, cut
        assert sum(daemon.events().values()) == 2


def test_memory_stays_bounded_whatever_lines_say(daemon: Daemon) -> None:
    for number in range(40):
        word = "".join(chr(97 + int(digit)) for digit in str(number))
        lines = [
            entry(f"failed {word} {chr(97 + other % 26)}{chr(97 + other // 26)}", component=word)
            for other in range(100)
        ]
        daemon.feed(*lines)
        daemon.commit()

    assert len(daemon.events()) == 1
    assert len(daemon.rows) < 300
    assert max(len(row) for row in daemon.rows.values()) < 1000
