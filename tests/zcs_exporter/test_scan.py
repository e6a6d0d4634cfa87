"""A scan is what the daemon would have counted, whenever, wherever and in whatever order the files are read."""

import argparse
import gzip
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.assembly import build_collectors
from zcs_exporter.assets import asset
from zcs_exporter.config import Config, load_config
from zcs_exporter.contract import (
    Clock,
    Collector,
    CollectorConfig,
    EvidenceItem,
    EvidenceKind,
    Finding,
    Grade,
    Kind,
    LogBlock,
    LogSubscription,
    Metric,
    Record,
    Subscription,
    SyslogBlock,
    SyslogSubscription,
)
from zcs_exporter.hostio import Host
from zcs_exporter.oldlogs import commands
from zcs_exporter.oldlogs.commands import UsageError, run_scan, scan
from zcs_exporter.oldlogs.scan import Outcome, Scan, ScanClock
from zcs_exporter.oldlogs.scan_json import as_json
from zcs_exporter.oldlogs.scan_text import as_text

ROOT = Path(__file__).resolve().parents[2]
LINES = Metric("zcs_tiny_lines_total", Kind.COUNTER, "Lines by log.", labels=("log",))
HOME = "/opt/zimbra/log/"
CATALOGUE = load_catalogue(asset("alerts"))
MIDNIGHT = time.mktime((2024, 3, 2, 0, 0, 0, 0, 0, -1))


class Tiny:
    """Keeps every line it is given, and tells of those that shout."""

    name: ClassVar[str] = "tiny"
    metrics: ClassVar[tuple[Metric, ...]] = (LINES,)
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = CollectorConfig

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lines: list[tuple[str, bytes]] = []
        self.walls: list[float] = []
        self.offsets: dict[tuple[str, int], bytes] = {}
        self.thresholds: dict[str, dict[str, float]] = {}
        self.records: list[Record] = []
        self.after: Callable[[], None] = lambda: None

    def subscriptions(self) -> Sequence[Subscription]:
        return (
            LogSubscription(HOME + "audit.log", self.feed),
            LogSubscription(HOME + "nginx.log", self.feed),
            SyslogSubscription("/var/log/zimbra.log", {rb"postfix/smtpd": b""}, self.feed_syslog),
        )

    def take_thresholds(self, thresholds: dict[str, dict[str, float]]) -> None:
        self.thresholds = thresholds

    def feed(self, block: LogBlock) -> None:
        assert not block.live
        self.walls.append(self.clock.wall())
        offset = block.offset
        for line in block.data.splitlines(keepends=True):
            self.lines.append((block.path, line))
            self.offsets[block.path, offset] = line
            if b"ATTACK" in line:
                fields = {"address": "203.0.113.5", "text": line.decode("utf-8", "replace"), "count": "7"}
                self.records.append(Record("attack", self.clock.wall(), Grade.CRITICAL, fields, block.path, offset))
            offset += len(line)
        self.after()

    def feed_syslog(self, block: SyslogBlock) -> None:
        assert not block.live
        self.walls.append(self.clock.wall())
        for line in block.lines:
            self.lines.append((block.path, b"%d %s" % (line.at or 0, line.message)))

    def counted(self) -> Sequence[Finding]:
        records, self.records = self.records, []
        evidence = (EvidenceItem(EvidenceKind.ACCOUNT, "ann@example.com", 3),)
        counts = Counter(path.rpartition("/")[2] for path, _ in self.lines)
        return [*(LINES.sample(count, log=log, evidence=evidence) for log, count in counts.items()), *records]

    async def collect(self) -> Sequence[Finding]:
        raise AssertionError("a scan looks at nothing on the host")


class Room:
    """Files in a directory, and scans of them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.made: list[Tiny] = []

    def write(self, name: str, data: bytes, modified: float = MIDNIGHT + 90_000) -> str:
        path = self.base / name
        path.write_bytes(gzip.compress(data, 1, mtime=0) if name.endswith(".gz") else data)
        os.utime(path, (modified, modified))
        return str(path)

    def build(self, _config: Config, _host: Host, clock: Clock) -> list[Collector]:
        self.made.append(Tiny(clock))
        return [self.made[-1]]

    def arguments(
        self, *files: str, taken_for: str | None = None, host: Sequence[str] = (), form: str = "text"
    ) -> object:
        return argparse.Namespace(file=list(files), taken_for=taken_for, host=list(host), format=form)

    def run(self, *files: str, taken_for: str | None = None, host: Sequence[str] = ()) -> Outcome:
        arguments = self.arguments(*files, taken_for=taken_for, host=host)
        return run_scan(arguments, CATALOGUE, self.config(), self.build)  # type: ignore[arg-type]

    def call(self, *files: str, form: str = "text") -> int:
        return scan(self.arguments(*files, form=form), CATALOGUE, self.config(), self.build)  # type: ignore[arg-type]

    def config(self) -> Config:
        file = self.base / "config.yaml"
        file.write_text(f"host: {{root: {self.base}/nothing}}\n")
        return load_config(str(file), CATALOGUE)

    @property
    def lines(self) -> list[tuple[str, bytes]]:
        return self.made[-1].lines


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def audit(*seconds: int, text: str = "x") -> bytes:
    days = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(MIDNIGHT + at)) for at in seconds]
    return b"".join(
        f"{day},000 INFO  [t] [] security - {text} {at}\n".encode() for day, at in zip(days, seconds, strict=True)
    )


def smtpd(*seconds: int, host: str = "mail") -> bytes:
    days = [time.strftime("%b %e %H:%M:%S", time.localtime(MIDNIGHT + at)) for at in seconds]
    return b"".join(
        f"{day} {host} postfix/smtpd[1]: line {at}\n".encode() for day, at in zip(days, seconds, strict=True)
    )


def test_files_in_any_order_give_the_same(room: Room) -> None:
    files = [
        room.write("audit.log.2024-02-29.gz", audit(*range(-86_400, -40_000, 700)), MIDNIGHT - 1),
        room.write("audit.log.2024-03-01", audit(*range(0, 86_400, 300)), MIDNIGHT + 86_399),
        room.write("audit.log", audit(86_500, 87_000), MIDNIGHT + 88_000),
        room.write("zimbra.log-20240302.gz", smtpd(*range(-80_000, 10_000, 400)), MIDNIGHT + 10_000),
    ]
    outcomes = {tuple(room.run(*order) and room.lines) for order in itertools.permutations(files)}

    assert len(outcomes) == 1
    [lines] = outcomes
    assert [line for path, line in lines if path.endswith("audit.log")] == [
        line + b"\n" for file in files[:3] for line in gunzip(file).splitlines()
    ]


def gunzip(file: str) -> bytes:
    data = Path(file).read_bytes()
    return gzip.decompress(data) if file.endswith(".gz") else data


TIMES = st.lists(st.integers(0, 20_000), max_size=400).map(sorted)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=TIMES, second=TIMES, third=TIMES)
def test_each_line_is_given_once_and_lines_of_different_logs_nearly_in_order(
    first: list[int], second: list[int], third: list[int], room: Room
) -> None:
    padding = "y" * 200
    nginx = audit(*third, text=padding).replace(b"-", b"/")
    files = [
        room.write("audit.log", audit(*first, text=padding)),
        room.write("zimbra.log", smtpd(*second)),
        room.write("nginx.log", nginx),
    ]
    room.run(*files)

    by_log = {
        log: [line for path, line in room.lines if path.endswith(log)]
        for log in ("audit.log", "zimbra.log", "nginx.log")
    }
    assert b"".join(by_log["audit.log"]) == audit(*first, text=padding)
    assert b"".join(by_log["nginx.log"]) == nginx
    assert by_log["zimbra.log"] == [b"%d line %d" % (MIDNIGHT + at, at) for at in second]
    order = [int(line.split()[-1]) for _, line in room.lines]
    latest = 0
    for at in order:
        # Half a minute, and the few lines among which the cut is not looked for.
        assert at >= latest - 30 - 20_000 // 4 or len(order) < 100
        latest = max(latest, at)


def test_lines_of_two_busy_logs_come_in_order_to_half_a_minute(room: Room) -> None:
    seconds = [at for at in range(10_000) for _ in range(4)]
    data = audit(*seconds, text="y" * 100)
    room.run(room.write("audit.log", data), room.write("zimbra.log", smtpd(*seconds)))
    order = [int(line.split()[-1]) for _, line in room.lines]

    assert len(order) == 2 * len(seconds)
    assert max(before - after for before, after in itertools.pairwise(order)) <= 60
    assert all(data[offset : offset + len(line)] == line for (_, offset), line in room.made[-1].offsets.items())


def test_the_clock_is_that_of_the_files(room: Room) -> None:
    long_ago = time.mktime((2019, 7, 1, 0, 0, 0, 0, 0, -1))
    file = room.write("zimbra.log.1", b"Jun 30 10:00:00 mail postfix/smtpd[1]: x\n", long_ago)
    room.run(file)

    assert room.lines[0][1] == b"%d x" % time.mktime((2019, 6, 30, 10, 0, 0, 0, 0, -1))
    assert room.made[-1].walls == [long_ago]


def test_a_file_goes_where_its_name_its_lines_or_the_administrator_says(room: Room) -> None:
    files = [
        room.write("audit.log.2024-03-02.gz", b"one\n"),
        room.write("saved-from-mail1.txt", audit(1)),
        room.write("strange.txt", b"two\n"),
    ]
    outcome = room.run(*files)

    assert [(each.log, each.taken_by) for each in outcome.files] == [
        ("audit.log", "name"),
        ("audit.log", "content"),
        (None, ""),
    ]
    assert "nobody reads it" in outcome.files[2].note
    assert [each.log for each in room.run(*files, taken_for="nginx.log").files] == ["nginx.log"] * 3
    with pytest.raises(UsageError, match=r"audit\.log, nginx\.log, zimbra\.log"):
        room.run(*files, taken_for="nothing.log")


@pytest.mark.parametrize("name", ["kern.log", "messages-20240302.gz", "syslog.1"])
def test_the_kernels_log_is_read_under_the_name_of_any_distribution(name: str, room: Room) -> None:
    oom = b"Mar  2 10:20:50 mail kernel: Out of memory: Killed process 3100 (java) total-vm:2000kB, anon-rss:900kB\n"
    arguments = room.arguments(room.write(name, oom))
    outcome = run_scan(arguments, CATALOGUE, room.config(), build_collectors)  # type: ignore[arg-type]

    assert outcome.files[0].taken_by == "name"
    assert any(sample.value == 1 for sample in outcome.samples["logs"])


def test_of_logs_that_are_not_given_nothing_is_told_not_even_zeros(room: Room) -> None:
    path = room.write("audit.log", audit(0))
    arguments = argparse.Namespace(file=[path], taken_for=None, host=[], format="json")
    outcome = run_scan(arguments, CATALOGUE, room.config(), build_collectors)  # type: ignore[arg-type]
    assert set(outcome.samples) == {"auth"}
    assert commands.logs_given(arguments) == {"audit.log"}


def test_a_file_given_twice_or_beside_its_archive_counts_once(room: Room) -> None:
    plain = room.write("audit.log.2024-03-01", audit(*range(50)))
    packed = room.write("audit.log.2024-03-01.gz", audit(*range(50)))
    os.link(plain, room.base / "audit.log.1")
    outcome = room.run(packed, plain, plain, str(room.base / "audit.log.1"))

    assert len(room.lines) == 50
    assert sum(each.note.startswith("the same as") for each in outcome.files) == 3


def test_what_cannot_be_read_is_said_and_the_rest_is_read(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    good = room.write("audit.log", audit(1, 2))
    broken = Path(room.write("audit.log.1.gz", audit(*range(3000))))
    broken.write_bytes(broken.read_bytes()[:-200])
    empty = room.base / "empty"
    empty.mkdir()
    status = room.call(good, str(room.base / "none.log"), str(broken), str(empty), "-")

    said = " ".join(capsys.readouterr().out.split())
    assert status == 1
    assert "none.log: not read: No such file or directory" in said
    assert "ends early" in said
    assert "empty: not read: it is a directory without any file" in said
    assert "-: not read: it is not a regular file" in said
    assert len(room.lines) > 500


@pytest.mark.parametrize(
    ("files", "status"), [(("audit.log",), 0), (("audit.log", "strange.txt"), 0), (("strange.txt",), 1)]
)
def test_the_exit_status_is_1_only_where_something_was_not_read(
    room: Room, files: tuple[str, ...], status: int
) -> None:
    assert room.call(*(room.write(file, b"\x01\n") for file in files)) == status


def test_a_log_without_a_line_is_read_and_nothing_is_found(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    status = room.call(room.write("audit.log", b""))

    assert status == 0
    assert "audit.log: empty" in capsys.readouterr().out


def test_a_directory_stands_for_the_logs_in_it(room: Room) -> None:
    room.write("audit.log", audit(1, 2))
    room.write("audit.log.2024-03-01.gz", audit(-9))
    for name in ("notes.txt", "hs_err_pid1.log", "x.hprof"):
        room.write(name, audit(3))
    (room.base / "old").mkdir()
    (room.base / "loop.log").symlink_to("loop.log")
    outcome = room.run(str(room.base))

    assert [(os.path.basename(each.path), each.log) for each in outcome.files] == [
        ("audit.log", "audit.log"),
        ("audit.log.2024-03-01.gz", "audit.log"),
    ]
    assert len(room.lines) == 3


def test_all_hosts_of_a_logger_host_count_together_unless_one_is_named(room: Room) -> None:
    file = room.write(
        "zimbra.log", smtpd(1, host="mail1.example.com") + smtpd(2, 3, host="mail2") + smtpd(4, host="MAIL1")
    )
    outcome = room.run(file)

    assert len(room.lines) == 4
    assert outcome.files[0].hosts.keys() == {"mail1.example.com", "mail2", "mail1"}
    for name, count in (("mail2", 2), ("mail1", 2), ("mail1.example.com", 2), ("mail3", 0)):
        room.run(file, host=[name])
        assert len(room.lines) == count
    assert any("--host NAME" in line for line in as_text(outcome, 100))


def test_a_host_without_lines_is_said_with_those_that_have_some(room: Room) -> None:
    outcome = room.run(room.write("zimbra.log", smtpd(1, host="mail1")), host=["mail3"])

    assert "no line of mail3 seen in zimbra.log, only of mail1" in " ".join(outcome.problems)


def test_a_bug_in_one_collector_stops_nobody_and_is_said(room: Room) -> None:
    class Broken(Tiny):
        name: ClassVar[str] = "broken"

        def feed(self, block: LogBlock) -> None:
            raise ZeroDivisionError("\x1b[31m")

    clock = ScanClock()
    good = Tiny(clock.clock)
    scan = Scan([Broken(clock.clock), good], clock, None)
    scan.open([room.write("audit.log", audit(1, 2))], None)
    outcome = scan.run(lambda: True)

    assert len(good.lines) == 2
    assert len(outcome.problems) == 1
    assert "broken" in outcome.problems[0]
    assert "\x1b" not in "\n".join(as_text(outcome, 80))


HOSTILE = [
    b"\x1b[31mATTACK\x1b]0;title\x07",
    b"ATTACK \x00\x00 \x9b31m",
    "ATTACK \u202emoc.elpmaxe \u2066".encode(),
    b"ATTACK \xff\xfe broken",
    b"ATTACK " + b"A" * 200_000,
    "ATTACK \u2028 \u0085 $(reboot) `id`".encode(),
]


@pytest.mark.parametrize("line", HOSTILE)
def test_hostile_lines_reach_no_terminal_raw(line: bytes, room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    name = "audit.log\x1b[31m\u202e"
    data = audit(*range(9)) + line + b"\n" + smtpd(1).replace(b"mail", b"ma\xc2\x9bil\xe2\x80\xae")
    files = [room.write("audit.log", data), room.write(name, b"\n" + data), room.write("zimbra.log", data)]
    for form in ("text", "json"):
        room.call(*files, form=form)
        said = capsys.readouterr().out
        assert "attack" in said
        assert not {char for char in said if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}


def test_a_terminal_that_knows_only_ascii_is_no_error(room: Room) -> None:
    file = room.write("audit é.log", audit(1, text="é"))
    done = run_cli("scan", file, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})

    assert (done.returncode, done.stderr) == (0, "")
    assert r"audit \xe9.log" in done.stdout


def test_repeated_records_are_one_line_with_a_count(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.call(room.write("audit.log", b"ATTACK\n" * 1200))
    said = capsys.readouterr().out

    assert said.count("attack") == 1
    assert "x8,400" in said  # each of them tells of seven
    assert "audit.log at byte 0]" in said
    assert "tiny lines: audit.log" in said
    assert "1,200" in said
    assert "ann@example.com" not in said  # whom a collector names for an alert was of late, and this is of all days


def told(*records: Record) -> str:
    return "\n".join(as_text(Outcome([], records=list(records)), 200))


def test_an_attack_says_in_the_hosts_own_time_when_it_ended_and_how_much_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        fields = {"check": "spray", "count": "401", "until": "2024-03-02T04:30:00Z", "address": "203.0.113.5"}
        said = told(Record("attack", 1_709_348_400, Grade.WARNING, fields))
    finally:
        monkeypatch.undo()
        time.tzset()

    assert "2024-03-02 08:30:00  warning   attack check=spray address=203.0.113.5 until 2024-03-02 10:00:00" in said
    assert "at its worst one address at 401 accounts" in said


def test_of_a_flood_told_every_hour_the_worst_is_shown() -> None:
    fields = {"account": "ann@example.com", "protocol": "smtp"}
    said = told(
        *(
            Record("outbound_flood", MIDNIGHT + 3600 * hour, Grade.WARNING, fields | {"count": count})
            for hour, count in enumerate(("259", "11696", "800"))
        )
    )

    assert said.count("outbound flood") == 1
    assert "x3, last 2024-03-02 02:00:00; at its worst 11,696 recipients within an hour" in said


def test_what_was_counted_because_it_came_too_often_counts_as_often() -> None:
    said = told(
        Record("login_failed", MIDNIGHT, Grade.INFO, {"account": "ann@example.com"}),
        Record("login_failed", MIDNIGHT + 60, Grade.INFO, {"count": "1200"}),
    )

    assert "1,201 login failed, 2024-03-02 00:00:00 to 00:01:00" in said


def test_two_attacks_stay_two() -> None:
    fields = {"check": "ip", "count": "20", "address": "203.0.113.5"}
    untils = ("2024-03-02T00:30:00Z", "2024-03-02T04:30:00Z")
    said = told(*(Record("attack", MIDNIGHT, Grade.WARNING, fields | {"until": until}) for until in untils))

    assert said.count("attack") == 2


def test_of_each_log_one_row_and_what_is_missing(room: Room) -> None:
    room.write("audit.log.2024-03-02", audit(100, 200), MIDNIGHT + 86_000)
    room.write("audit.log.2024-03-05.gz", audit(3 * 86_400 + 50), MIDNIGHT + 4 * 86_400)
    room.write("copy", audit(3 * 86_400 + 90), MIDNIGHT + 4 * 86_400)
    outcome = room.run(*map(str, sorted(room.base.iterdir())), "/nowhere.log")
    said = list(as_text(outcome, 120))

    assert said[1].split()[:3] == ["audit.log", "3", "files"]
    assert said[1].endswith("2024-03-02 00:01:40 to 2024-03-05 00:01:30")
    assert said[2] == "    no lines from 2024-03-02 00:03:20 to 2024-03-05 00:00:50"
    assert any("copy: taken for it by content" in line for line in said)
    assert any("/nowhere.log: not read" in line for line in said)


def message(number: int, at: float, sender: str) -> bytes:
    stamp = time.strftime("%b %e %H:%M:%S", time.localtime(at)).encode()
    begin = b"%s mail postfix/%%s[1]: %011X: " % (stamp, number)
    return b"".join(
        begin % program + text + b"\n"
        for program, text in (
            (b"submission/smtpd", b"client=host.example.org[203.0.113.66], sasl_username=ann@example.com"),
            (b"cleanup", b"message-id=<%d@example.com>" % number),
            (b"qmgr", b"from=<%s>, size=900, nrcpt=1 (queue active)" % sender.encode()),
            (b"qmgr", b"removed"),
        )
    )  # fmt: skip


def test_who_sent_most_of_a_days_mail_is_named_with_the_day(room: Room) -> None:
    lines = [
        message(day * 1000 + n, MIDNIGHT + day * 86_400 + n, f"a{n}@example.com") for day in (0, 1) for n in range(60)
    ]
    lines += [message(9000 + n, MIDNIGHT + 90_000 + n, "ann@example.com") for n in range(500)]
    arguments = room.arguments(room.write("zimbra.log", b"".join(lines), MIDNIGHT + 100_000))
    outcome = run_scan(arguments, CATALOGUE, room.config(), build_collectors)  # type: ignore[arg-type]

    said = "\n".join(as_text(outcome, 120)).partition("MAIL BY DAY\n")[2].partition("\n\n")[0].splitlines()
    assert said[0].startswith("  2024-03-02  received 60")
    assert "    sent from: host.example.org[203.0.113.66] (60)" in said
    assert said[2].startswith("  2024-03-03  received 560")
    assert "    senders: ann@example.com (500)" in said
    assert not any("a1@example.com" in line for line in said)
    assert [day["date"] for day in as_json(outcome)["days"]] == ["2024-03-02", "2024-03-03"]
    assert as_json(outcome)["days"][1]["senders"]["by_count"][0]["count"] == 500


def test_collectors_that_judge_get_the_effective_thresholds(room: Room) -> None:
    room.run(room.write("audit.log", audit(1)))

    assert room.made[-1].thresholds["ZcsFilesystemFull"] == {"warning": 0.85, "critical": 0.95}


def test_a_line_that_names_a_time_to_come_moves_no_clock(room: Room) -> None:
    stack = b"java.lang.RuntimeException: x\n2099-01-01 00:00:00,000 INFO  [t] [] security - x 0\n"
    syslog = room.write("zimbra.log", smtpd(*range(0, 9000, 10)))
    room.run(room.write("audit.log", stack + audit(*range(0, 9000, 10)) + stack), syslog)

    assert {line for path, line in room.lines if path.endswith("zimbra.log")} == {
        b"%d line %d" % (MIDNIGHT + at, at) for at in range(0, 9000, 10)
    }
    assert max(room.made[-1].walls) < MIDNIGHT + 10 * 86_400


def test_the_table_fits_the_terminal(room: Room) -> None:
    outcome = room.run(room.write("audit.log", audit(*range(30)) + b"ATTACK " + b"word " * 500 + b"\n"))
    for width in (40, 80, 200):
        assert max(map(len, list(as_text(outcome, width))[2:])) <= max(width, 70)


def test_json_has_everything_in_a_stable_form(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    status = room.call(room.write("audit.log", audit(1) + b"ATTACK\n"), form="json")
    found = json.loads(capsys.readouterr().out)

    assert status == 0
    assert found.keys() == {
        "format", "partial", "files", "samples", "records", "events", "shortfalls", "records_left_out", "problems",
        "days",
    }  # fmt: skip
    assert found["files"][0].keys() == {"file", "log", "taken_by", "note", "problem", "bytes", "first", "last", "hosts"}
    assert found["samples"] == [
        {
            "collector": "tiny",
            "name": "zcs_tiny_lines_total",
            "type": "counter",
            "labels": {"log": "audit.log"},
            "value": 2.0,
            "evidence": [{"kind": "account", "value": "ann@example.com", "count": 3}],
        }
    ]
    [record] = found["records"]
    assert (record["kind"], record["grade"], record["log"]) == ("attack", "critical", HOME + "audit.log")
    assert record["file"] == found["files"][0]["file"]
    assert record["offset"] == len(audit(1))


def test_a_record_names_the_file_of_its_day(room: Room) -> None:
    first = room.write("audit.log.2024-03-02", audit(100) + b"ATTACK\n", MIDNIGHT + 86_000)
    second = room.write("audit.log", audit(86_500) + b"ATTACK\n", MIDNIGHT + 87_000)
    outcome = room.run(second, first)

    assert [outcome.file_of(record) for record in outcome.records] == [first, second]
    assert as_json(outcome)["records"][0]["file"] == first


def test_interrupted_it_says_what_it_found_so_far(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    file = room.write("audit.log", audit(*range(20_000)))
    before = signal.getsignal(signal.SIGINT)

    def build(config: Config, host: Host, clock: Clock) -> list[Collector]:
        [tiny] = room.build(config, host, clock)
        room.made[-1].after = lambda: signal.raise_signal(signal.SIGINT)
        return [tiny]

    status = scan(room.arguments(file), CATALOGUE, room.config(), build)  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert status == commands.INTERRUPTED
    assert 0 < len(room.lines) < 20_000
    assert "PARTIAL" in said
    assert "tiny lines" in said
    assert signal.getsignal(signal.SIGINT) is before


def test_it_writes_nothing_and_needs_no_state(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "audit.log").write_bytes(failed_login() * 3)
    (tmp_path / "config.yaml").write_text(f"host: {{root: {tmp_path}/none}}\nstate: {{directory: {tmp_path}/state}}\n")
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    logs.chmod(stat.S_IRUSR | stat.S_IXUSR)
    done = run_cli("scan", "--config", str(tmp_path / "config.yaml"), str(logs / "audit.log"))
    tmp_path.chmod(0o700)

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "logs"]
    assert [path.name for path in logs.iterdir()] == ["audit.log"]


def failed_login() -> bytes:
    return (
        b"2024-03-02 10:20:40,015 WARN  [ImapSSLServer-7] [ip=10.0.0.5;oip=198.51.100.23;via=10.0.0.5(nginx/1.20.0);] "
        b"security - cmd=Auth; account=bob@example.com; protocol=imap; "
        b"error=authentication failed for [bob], invalid password;\n"
    )


def test_the_collectors_of_the_daemon_count_old_logs_on_a_machine_without_zimbra(room: Room) -> None:
    file = room.write("audit.log.2024-03-02.gz", failed_login() * 7)
    arguments = room.arguments(file)
    outcome = run_scan(arguments, CATALOGUE, room.config(), build_collectors)  # type: ignore[arg-type]

    failures = {
        sample.labels: sample.value
        for sample in outcome.samples["auth"]
        if sample.metric.name == "zcs_auth_failures_total" and sample.value
    }
    assert failures == {("imap", "bad_password"): 7}
    assert not outcome.problems


def run_cli(*arguments: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "zcs_exporter", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(env or {})}
    )


def test_the_help_says_what_it_takes_and_how_it_ends() -> None:
    done = run_cli("scan", "--help")

    assert done.returncode == 0
    for word in ("FILE", "--format", "--as", "--host", "Exit status", "gzip"):
        assert word in done.stdout


def test_without_a_file_it_is_wrong_usage() -> None:
    done = run_cli("scan")

    assert done.returncode == 2
    assert "FILE" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_name_after_as_is_one_line(room: Room) -> None:
    done = run_cli("scan", "--as", "x.log", room.write("a", b"x\n"))

    assert done.returncode == 2
    assert done.stderr.startswith("zcs-exporter: --as x.log: nobody reads such a log; one of ")
    assert done.stderr.count("\n") == 1
