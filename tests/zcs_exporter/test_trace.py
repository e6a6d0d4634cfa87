"""The story of a message: every line of it, from every log, in order, and of no other message."""

import argparse
import gzip
import json
import os
import time
import unicodedata

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import given
from hypothesis import strategies as st

from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.cli import main
from zcs_exporter.config import Config, load_config
from zcs_exporter.oldlogs import commands
from zcs_exporter.oldlogs import trace as trace_module
from zcs_exporter.oldlogs.commands import UsageError, host_logs, trace
from zcs_exporter.oldlogs.fates import fates_of
from zcs_exporter.oldlogs.files import OldLog
from zcs_exporter.oldlogs.trace import Story, Trace
from zcs_exporter.oldlogs.trace_ids import Id, IdKind, NotAnIdError, ids_in, parse_id, whole

MIDNIGHT = time.mktime((2024, 3, 2, 0, 0, 0, 0, 0, -1))
ZIMBRA_LOG, MAILBOX_LOG = "/var/log/zimbra.log", "/opt/zimbra/log/mailbox.log"

BEFORE, AFTER, MESSAGE_ID, TASK = "3F2A81C0E5D", "7B1C21C0E60", "a1@example.net", "15345-18"
OTHER = "9A1C21C0E99"


def syslog(at: int, program: str, text: str, host: str = "mail") -> str:
    return f"{time.strftime('%b %e %H:%M:%S', time.localtime(MIDNIGHT + at))} {host} {program}[4711]: {text}\n"


def java(at: int, text: str) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(MIDNIGHT + at))},118 {text}\n"


def message(at: int, before: str, after: str, message_id: str, task: str, to: str = "ann@example.com") -> list[str]:
    """Return the lines in zimbra.log of one message that passes the content filter."""
    return [
        syslog(at, "postfix/smtpd", f"{before}: client=host.example.net[198.51.100.7]"),
        syslog(at, "postfix/cleanup", f"{before}: message-id=<{message_id}>"),
        syslog(at, "postfix/qmgr", f"{before}: from=<x@example.net>, size=17168, nrcpt=1 (queue active)"),
        syslog(at + 1, "postfix/cleanup", f"{after}: message-id=<{message_id}>"),
        syslog(
            at + 1,
            "amavis",
            f"({task}) Passed CLEAN {{RelayedInbound}}, [198.51.100.7]:51022 [198.51.100.7] <x@example.net> -> <{to}>, "
            f"Queue-ID: {before}, Message-ID: <{message_id}>, mail_id: T9JbVa1hw9P9, Hits: -1.909, size: 17168, "
            f"queued_as: {after}, 938 ms",
        ),
        syslog(
            at + 1,
            "postfix/smtp",
            f"{before}: to=<{to}>, relay=127.0.0.1[127.0.0.1]:10024, delay=0.95, dsn=2.0.0, status=sent (250 2.0.0 "
            f"from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as {after})",
        ),
        syslog(at + 1, "postfix/qmgr", f"{before}: removed"),
        syslog(
            at + 2, "postfix/lmtp", f"{after}: to=<{to}>, relay=mail.example.com[10.0.0.10]:7025, status=sent (250 OK)"
        ),
        syslog(at + 2, "postfix/qmgr", f"{after}: removed"),
    ]


def delivered(at: int, message_id: str) -> str:
    return java(
        at,
        f"INFO  [LmtpServer-1] [ip=10.0.0.10;] lmtp - Delivering message: size=1 bytes, nrcpts=1, msgid=<{message_id}>",
    )


STORY = message(1000, BEFORE, AFTER, MESSAGE_ID, TASK)
NOISE = message(1010, OTHER, "9A1C21C0E9A", "b2@example.net", "15345-19", "bob@example.com")


class Room:
    """A host with logs, and searches in them."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host

    def write(self, path: str, lines: list[str], day: int = 0) -> None:
        data = "".join(lines).encode("utf-8", "surrogateescape")
        written = self.host.write(path, gzip.compress(data, mtime=0) if path.endswith(".gz") else data)
        modified = MIDNIGHT + (day + 1) * 86_400
        os.utime(written, (modified, modified))

    def find(self, text: str, since: float = 0.0) -> Story:
        files = [OldLog(path) for path in host_logs(self.host)]
        self.search = Trace(parse_id(text), files, since, lambda _size: None, lambda _read: True)
        return self.search.run()

    def lines(self, text: str, since: float = 0.0) -> list[str]:
        return [line.line.decode() + "\n" for line in self.find(text, since).lines]

    def call(self, text: str, now: float = MIDNIGHT + 90_000, **options: object) -> int:
        given = {"id": text, "file": [], "format": "text", "days": 8, "since": None, "until": None} | options
        manual = ManualClock(now)
        return trace(argparse.Namespace(**given), self.config(), manual.clock)

    def config(self) -> Config:
        file = self.host.base / "config.yaml"
        file.write_text(f"host: {{root: {self.host.base}}}\n")
        return load_config(str(file), load_catalogue(asset("alerts")))


@pytest.fixture
def room(host: FakeHost) -> Room:
    return Room(host)


@pytest.mark.parametrize(
    "wanted", [BEFORE, AFTER, MESSAGE_ID, f"<{MESSAGE_ID}>", TASK, "ann@example.com", "ANN@example.com"]
)
def test_from_any_of_its_ids_the_whole_story_is_found_and_no_other(wanted: str, room: Room) -> None:
    room.write(ZIMBRA_LOG, sorted([*STORY, *NOISE], key=lambda line: line[:15]))
    room.write(MAILBOX_LOG, [delivered(1002, MESSAGE_ID), delivered(1012, "b2@example.net")])

    assert room.lines(wanted) == [*STORY, delivered(1002, MESSAGE_ID)]


def test_the_story_goes_on_in_rotated_and_packed_files_in_order_of_time(room: Room) -> None:
    late = [
        syslog(86_500, "postfix/smtp", f"{BEFORE}: to=<c@example.org>, status=deferred (connect timed out)"),
        syslog(90_000, "postfix/smtp", f"{BEFORE}: to=<c@example.org>, status=sent (250 OK)"),
        syslog(90_000, "postfix/qmgr", f"{BEFORE}: removed"),
    ]
    room.write(ZIMBRA_LOG + "-20240303.gz", STORY[:3])
    room.write(ZIMBRA_LOG, late, day=1)
    room.write(MAILBOX_LOG + ".2024-03-02.gz", [delivered(1002, MESSAGE_ID)])

    assert room.lines(BEFORE) == [*STORY[:3], delivered(1002, MESSAGE_ID), *late]


def test_a_queue_id_used_again_or_on_another_host_is_another_message(room: Room) -> None:
    again = message(40_000, AFTER, "4A1C21C0E77", "c3@example.net", "15345-40")
    elsewhere = [
        line.replace(" mail ", " mx2 ") for line in message(20_000, AFTER, "4A1C21C0E78", "d4@example.net", "1-2")
    ]
    room.write(ZIMBRA_LOG, [*STORY, *elsewhere, *again])

    assert room.lines(MESSAGE_ID) == STORY
    story = room.find(AFTER)
    assert story.lives == 3
    assert len(story.lines) == 3 * len(STORY)


def test_a_queue_id_that_two_hosts_have_at_once_is_of_the_one_that_names_it(room: Room) -> None:
    elsewhere = [
        line.replace(" mail ", " mx2 ") for line in message(1000, AFTER, "4A1C21C0E78", "d4@example.net", "1-2")
    ]
    handed_over = syslog(
        1002, "postfix/smtp", f"{AFTER}: to=<c@example.org>, status=sent (250 2.0.0 Ok: queued as {OTHER})"
    )
    there = [line.replace(" mail ", " mx2 ") for line in NOISE if OTHER in line]
    room.write(ZIMBRA_LOG, [*STORY[:-2], *elsewhere, handed_over, *STORY[-2:], *there])

    found = room.lines(MESSAGE_ID)
    assert not [line for line in found if line in elsewhere]
    assert [line for line in found if line in there] == there


def test_a_task_number_used_again_is_another_message(room: Room) -> None:
    room.write(ZIMBRA_LOG, [*STORY, *message(1030, OTHER, "9A1C21C0E9A", "b2@example.net", TASK)])

    assert room.lines(BEFORE) == STORY


def test_an_address_leads_to_its_messages_and_no_further(room: Room) -> None:
    both = message(2000, OTHER, "9A1C21C0E9A", "b2@example.net", "15345-19", "ann@example.com")
    bob = message(3000, "4A1C21C0E77", "4A1C21C0E78", "c3@example.net", "15345-20", "bob@example.com")
    room.write(ZIMBRA_LOG, [*STORY, *both, *bob])
    room.write(MAILBOX_LOG, [java(500, "INFO  [t] [name=ann@example.com;] soap - NoOpRequest elapsed=1")])

    found = room.lines("ann@example.com")
    assert len(found) == 1 + len(STORY) + len(both)
    assert not [line for line in found if "bob@example.com" in line]


@pytest.mark.parametrize(
    "other",
    ["joann@example.com", "ann@example.com.au", "ann@example.community", "x.ann@example.com", "ann@example.com@host"],
)
def test_an_address_is_not_part_of_a_longer_one(other: str, room: Room) -> None:
    room.write(
        MAILBOX_LOG, [java(500, f"INFO  [t] [name={other};] soap - x"), java(501, "INFO  [t] [] x - ann@example.com.")]
    )

    assert len(room.lines("ann@example.com")) == 1


def test_text_that_looks_like_an_id_does_not_lead_on(room: Room) -> None:
    """A sender chooses the message id, an attacker what a client says."""
    lies = [
        syslog(1000, "postfix/cleanup", f"{BEFORE}: message-id=<ann@example.com>"),
        syslog(1000, "postfix/smtpd", f"{BEFORE}: reject: RCPT from x[192.0.2.1]: 554 queued as {OTHER}; helo=<h>"),
        syslog(1001, "sshd", f"{BEFORE}: message-id=<b2@example.net>"),
        syslog(1001, "evil", f"({TASK}) Passed CLEAN, Queue-ID: {OTHER}, Message-ID: <b2@example.net>, x"),
        syslog(1002, "postfix/smtp", f"{BEFORE}: status=bounced (550 status=sent (250 queued as {OTHER}) no)"),
    ]
    room.write(ZIMBRA_LOG, [*lies, *NOISE, syslog(1100, "postfix/qmgr", f"{OTHER}: from=<ann@example.com>")])

    assert OTHER.encode() not in {each.value for each in room.find(BEFORE).ids}
    assert len(room.lines(BEFORE)) == 4


def test_a_soap_id_and_a_connection_id_stay_themselves(room: Room) -> None:
    lines = [
        java(10, "INFO  [t] [name=ann@example.com;soapId=4e5e1bb3;] soap - SearchRequest elapsed=12"),
        java(11, "INFO  [t] [name=ann@example.com;cid=12;] imap - LOGIN elapsed=3"),
        java(12, "INFO  [t] [name=ann@example.com;cid=123;] imap - size=12"),
    ]
    room.write(MAILBOX_LOG, lines)

    assert room.lines("4e5e1bb3") == room.lines("soapId=4e5e1bb3") == lines[:1]
    assert room.lines("12") == room.lines("cid=12") == lines[1:2]


def test_a_line_without_a_stamp_has_the_time_of_the_one_before(room: Room) -> None:
    room.write(
        MAILBOX_LOG,
        [java(10, "ERROR [t] [] system - x"), "\tat com.zimbra.Foo(4e5e1bb3)\n", java(99, "INFO  [t] [] x - y")],
    )
    [line] = room.find("4e5e1bb3").lines

    assert line.at == MIDNIGHT + 10


def test_too_many_lines_and_ids_are_cut_and_that_is_said(
    room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trace_module, "MOST_LINES", 30)
    monkeypatch.setattr(trace_module, "MOST_IDS", 10)
    lines = [
        line
        for at in range(40)
        for line in message(at * 10, f"AAAAAAAA{at:02X}", f"BBBBBBBB{at:02X}", f"{at}@example.net", f"1-{at}")
    ]
    room.write(ZIMBRA_LOG, lines)
    story = room.find("ann@example.com")

    assert (len(story.lines) <= 30, story.cut_lines, story.cut_ids, len(story.ids)) == (True, True, True, 10)
    assert story.lines[-1].line.decode() + "\n" == lines[-1]
    room.call("ann@example.com")
    assert capsys.readouterr().out.count("CUT: ") == 2


def test_many_ids_are_found_as_few_are(room: Room) -> None:
    lines = [
        line
        for at in range(40)
        for line in message(at * 10, f"AAAAAAAA{at:02X}", f"BBBBBBBB{at:02X}", f"{at}@example.net", f"1-{at}")
    ]
    room.write(
        ZIMBRA_LOG,
        [
            *lines,
            *[
                line.replace("ann@", "bob@")
                .replace("AAAAAAAA", "CCCCCCCC")
                .replace("BBBBBBBB", "DDDDDDDD")
                .replace("@example.net", "@example.org")
                for line in lines
            ],
        ],
    )

    assert room.lines("ann@example.com") == lines


def test_only_logs_that_the_time_asked_for_can_be_in_are_read(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.write(ZIMBRA_LOG, STORY)
    room.write(ZIMBRA_LOG + "-20240201.gz", STORY, day=-30)
    assert room.call(BEFORE) == 0
    assert "9 lines in 1 of 1 file" in capsys.readouterr().out
    assert room.call(BEFORE, days=60) == 0
    assert "of 2 files" in capsys.readouterr().out
    assert room.call(BEFORE, since="2024-03-02T00:16:41") == 0
    assert "6 lines" in capsys.readouterr().out
    assert room.call(BEFORE, since="2024-03-03") == 1
    assert "nothing found" in capsys.readouterr().out
    for since in ("yesterday", "2024-13-01", ""):
        with pytest.raises(UsageError, match="write a date like"):
            room.call(BEFORE, since=since)


def test_what_became_of_a_message_is_said_for_each_recipient(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    late = [
        syslog(
            2000 + 900 * number,
            "postfix/smtp",
            f"{AFTER}: to=<bob@example.org>, relay=none, delay=9, status=deferred (connect to mx: timed out)",
        )
        for number in range(3)
    ]
    room.write(ZIMBRA_LOG, [*STORY[:-1], *late, *NOISE])
    for wanted in (BEFORE, MESSAGE_ID, TASK):
        room.call(wanted)
        said = capsys.readouterr().out.partition("WHAT BECAME OF IT\n")[2].splitlines()
        assert said[:3] == [
            "  ann@example.com: sent 2024-03-02 00:16:42: 250 OK",
            "  bob@example.org: deferred x3, last 2024-03-02 01:03:20: connect to mx: timed out",
            "",
        ]
    room.call("ann@example.com")
    assert "WHAT BECAME" not in capsys.readouterr().out


FILTER = "to=<a@b>, relay=127.0.0.1[127.0.0.1]:10024"


@pytest.mark.parametrize(
    ("program", "text", "status"),
    [
        ("postfix/smtp", f"{FILTER}, status=sent (250 2.7.0 Ok, discarded, id=1-8 - spam)", "discarded"),
        ("postfix/smtp", f"{FILTER}, status=bounced (554 5.7.0 Reject, id=1-8)", "bounced"),
        ("postfix/smtp", f"{FILTER}, status=sent (250 Ok: queued as 7B1C21C0E60)", None),
        ("postfix/smtp", "to=<a@b>, relay=mx[192.0.2.1]:25, status=sent (250 Ok: queued as 7B1C21C0E60)", "sent"),
        ("postfix/qmgr", "from=<a@b>, status=expired, returned to sender", "expired"),
        ("postfix/cleanup", "warning: header Subject: : to=<a@b>, status=sent (x) from x", None),
        ("sshd", "to=<a@b>, relay=x, status=sent (250 Ok)", None),
    ],
)
def test_the_last_word_on_a_recipient(program: str, text: str, status: str | None, room: Room) -> None:
    room.write(ZIMBRA_LOG, [syslog(1, program, f"{BEFORE}: {text}")])

    assert [fate.status.decode() for fate in fates_of(room.find(BEFORE).lines)] == [status] * (status is not None)


def test_a_message_id_without_brackets_is_called_what_it_is(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.write(ZIMBRA_LOG, STORY)
    room.call(MESSAGE_ID)

    assert capsys.readouterr().out.splitlines()[0] == f"{MESSAGE_ID}: message id"


def test_an_end_can_be_set(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.write(ZIMBRA_LOG, STORY)
    for until, lines in (("2024-03-02", 9), ("2024-03-02T00:16", 9), ("2024-03-02T00:16:40", 3)):
        assert room.call(BEFORE, until=until) == 0
        assert f"{lines} lines" in capsys.readouterr().out
    assert room.call(BEFORE, until="2024-03-01") == 1
    with pytest.raises(UsageError, match="--until"):
        room.call(BEFORE, until="noon")


def test_a_directory_stands_for_the_logs_in_it(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.write("/saved/zimbra.log", STORY)
    room.write("/saved/zimbra.log-20240301.gz", NOISE)
    room.write("/saved/core", STORY)

    assert room.call(BEFORE, file=[room.host.path("/saved")]) == 0
    assert "9 lines in 1 of 2 files" in capsys.readouterr().out


@pytest.mark.parametrize("options", [("--since", "2024-03-02"), ("--format", "text", "--until", "2024-03-02")])
def test_files_may_follow_options(options: tuple[str, ...], room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.write("/a/zimbra.log", STORY)
    room.write("/b/zimbra.log", NOISE)
    files = [room.host.path(f"/{name}/zimbra.log") for name in "ab"]

    for words in ([BEFORE, *options, *files], [*options, BEFORE, *files], [BEFORE, files[0], *options, files[1]]):
        assert main(["trace", *words]) == 0
        assert "9 lines in 1 of 2 files" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["trace", BEFORE, "--sinse", "2024-03-02", *files])
    assert "--sinse" in capsys.readouterr().err


def test_the_table_has_time_file_and_line(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.write(ZIMBRA_LOG, STORY)
    room.call(BEFORE)
    said = capsys.readouterr().out.splitlines()

    assert said[0] == f"{BEFORE}: queue id"
    assert sorted(said[1:4]) == [f"  amavis id   {TASK}", f"  message id  {MESSAGE_ID}", f"  queue id    {AFTER}"]
    assert said[4:6] == ["", "2024-03-02"]
    assert said[6].startswith("00:16:40  zimbra.log  mail postfix/smtpd[4711]: 3F2A81C0E5D: client=host.")


def test_json_has_the_lines_as_they_stand(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.write(ZIMBRA_LOG, STORY)
    assert room.call(BEFORE, format="json") == 0
    found = json.loads(capsys.readouterr().out)

    assert found.keys() == {"format", "partial", "ids", "messages", "lines", "cut", "problems", "recipients"}
    assert [line["line"] + "\n" for line in found["lines"]] == STORY
    assert found["ids"][0] == {"kind": "queue id", "id": BEFORE}
    first = found["lines"][0]
    assert first.keys() == {"time", "log", "file", "offset", "line"}
    assert (first["time"], first["log"], first["offset"]) == (MIDNIGHT + 1000, "zimbra.log", 0)
    assert found["lines"][1]["offset"] == len(STORY[0])


@pytest.mark.parametrize("form", ["text", "json"])
def test_hostile_lines_reach_no_terminal_raw(form: str, room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[31m \x00 \u202e \u2028 \udc9b31m \ud800".encode("utf-8", "surrogatepass").decode(
        "utf-8", "surrogateescape"
    )
    room.write(ZIMBRA_LOG, [syslog(1000, "postfix/smtpd", f"{BEFORE}: client={evil}" + "x" * 100_000)])
    room.call(BEFORE, format=form)
    said = capsys.readouterr().out

    assert "client=" in said
    assert len(said) < 4000
    assert not {char for char in said if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}


def test_a_log_that_cannot_be_read_is_said_and_the_others_are_searched(
    room: Room, capsys: pytest.CaptureFixture[str]
) -> None:
    room.write(ZIMBRA_LOG, STORY)
    broken = room.host.write(MAILBOX_LOG + ".2024-03-01.gz", gzip.compress(os.urandom(100_000) + b"\n")[:5000])
    os.utime(broken, (MIDNIGHT, MIDNIGHT))

    assert room.call(BEFORE) == 1
    said = capsys.readouterr()
    assert "9 lines" in said.out
    assert said.err == f"{broken}: the archive ends early; what is there was read\n"


def test_files_can_be_named_instead_of_those_of_the_host(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.write("/saved/anything.txt", STORY)

    assert room.call(AFTER, file=[room.host.path("/saved/anything.txt")], now=MIDNIGHT + 10**8) == 0
    assert "9 lines" in capsys.readouterr().out


def test_the_logs_of_the_host_are_those_that_may_name_an_id(room: Room) -> None:
    zcs = "audit.log audit.log.2024-03-01.gz mailbox.log.2024-03-01 mailbox.log.2024-03-01.gz nginx.access.log"
    zcs += " access_log.2024-03-02 zmmailboxd.out gc.log x.hprof slapd.pid"
    others = "zimbra.log-20240301.gz maillog zimbra-stats.log"
    for path in (
        *(f"/opt/zimbra/log/{name}" for name in zcs.split()),
        *(f"/var/log/{name}" for name in others.split()),
    ):
        room.write(path, ["x\n"])
    found = [os.path.basename(path) for path in host_logs(room.host)]

    assert found == [
        "access_log.2024-03-02", "audit.log", "audit.log.2024-03-01.gz", "mailbox.log.2024-03-01", "nginx.access.log",
        "zmmailboxd.out", "zimbra.log-20240301.gz",
    ]  # fmt: skip


def test_a_host_without_logs_has_no_story(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    assert room.call(BEFORE) == 1
    assert "nothing searched: no log of ZCS is here, name those to search" in capsys.readouterr().out


def test_logs_that_were_not_searched_are_said(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.write("/opt/zimbra/log/mailbox.log", [])
    assert room.call(BEFORE) == 1
    assert "nothing searched (1 empty)\n" in capsys.readouterr().out
    room.write(ZIMBRA_LOG, STORY)
    assert room.call("3F2A81C0E5E") == 1
    assert "nothing found in 1 file (1 empty)\n" in capsys.readouterr().out
    assert room.call(BEFORE, since="2024-03-05") == 1
    assert "nothing searched (1 empty, 1 of other days)\n" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "a", "a b", "\x1b[31m", "x" * 400, "<>", "\n"])
def test_what_is_no_id_is_refused_with_a_reason(text: str, room: Room) -> None:
    with pytest.raises(UsageError):
        room.call(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("3F2A81C0E5D", IdKind.QUEUE),
        ("4Tk2pM0s0dz3bQx", IdKind.QUEUE),
        ("15345-18", IdKind.AMAVIS),
        ("15345-18-2", IdKind.AMAVIS),
        ("<a1@example.net>", IdKind.ADDRESS),
        ("<20240302.without.host>", IdKind.MESSAGE),
        ("ann@example.com", IdKind.ADDRESS),
        ("4e5e1bb3", IdKind.TEXT),
        ("soapId=4e5e1bb3", IdKind.TEXT),
    ],
)
def test_the_kind_of_an_id_is_seen_from_its_form(text: str, kind: IdKind) -> None:
    assert parse_id(text).kind is kind


@given(st.text(max_size=60))
def test_any_text_is_an_id_or_is_refused(text: str) -> None:
    try:
        found = parse_id(text)
    except NotAnIdError:
        return
    assert whole(found.needle).search(b" " + found.needle + b" ")


@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=200).map(lambda rest: b"Mar  2 10:20:50 mail postfix/smtp[1]: " + rest),
    )
)
def test_any_line_has_ids_or_none(line: bytes) -> None:
    assert all(isinstance(each, Id) for each in ids_in(line))


def test_an_interrupted_search_says_so(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.write(ZIMBRA_LOG, STORY)
    search = Trace(parse_id(BEFORE), [OldLog(room.host.path(ZIMBRA_LOG))], 0.0, lambda _size: None, lambda _read: False)
    story = search.run()

    assert story.partial
    assert commands.INTERRUPTED == 130
