"""The laws of a syslog file: only this host's lines, only at their place, each to all who wish it."""

import re
from collections.abc import Mapping

import pytest
from fakes import ManualClock
from hypothesis import given
from hypothesis import strategies as st

from zcs_exporter.contract import LogBlock, SyslogBlock, SyslogSubscription
from zcs_exporter.syslog import STRANGE_AFTER, SyslogReader

LOG = "/var/log/zimbra.log"
SMTPD = rb"postfix/(?:[\w-]{1,64}/)?smtpd"
CLIENT = b"Mar  2 10:20:50 mail postfix/smtpd[4711]: 3F2A81C0E5D: client=host.example.net[198.51.100.7]\n"


class Reader:
    """A reader of one log with what each wish got."""

    def __init__(
        self, *wishes: Mapping[bytes, bytes], names: tuple[bytes, ...] = (b"mail", b"mail.example.com")
    ) -> None:
        self.manual = ManualClock()
        self.got: list[list[SyslogBlock]] = [[] for _ in wishes]
        subscriptions = [SyslogSubscription(LOG, wish, got.append) for wish, got in zip(wishes, self.got, strict=True)]
        self.reader = SyslogReader(subscriptions, names, 0, self.manual.clock)

    def feed(self, data: bytes, *, offset: int = 0, live: bool = True) -> None:
        self.reader.feed(LogBlock(LOG, data, offset, live))

    def messages(self, wish: int = 0) -> list[bytes]:
        return [line.message for block in self.got[wish] for line in block.lines]


def test_a_line_goes_to_all_who_wish_its_program_and_message() -> None:
    reader = Reader({SMTPD: rb"[0-9A-F]+: client="}, {SMTPD: rb"NOQUEUE: "}, {b"postfix/qmgr": b""})
    reader.feed(CLIENT + b"Mar  2 10:20:50 mail postfix/smtpd[4711]: connect from host.example.net[198.51.100.7]\n")
    assert reader.messages(0) == [b"3F2A81C0E5D: client=host.example.net[198.51.100.7]"]
    assert reader.messages(2) == []
    line = reader.got[0][0].lines[0]
    assert (line.program, line.pid) == (b"postfix/smtpd", b"4711")


def test_a_program_without_a_pid_is_taken() -> None:
    reader = Reader({b"kernel": rb"(?:\[ *[\d.]+\] )?Out of memory"})
    reader.feed(b"Mar  2 10:20:50 mail kernel: [12345.678] Out of memory: Killed process 1 (java)\n")
    assert reader.messages() == [b"[12345.678] Out of memory: Killed process 1 (java)"]


@pytest.mark.parametrize(
    "line",
    [
        b"Mar  2 10:20:50 other postfix/smtpd[4711]: 3F2A: client=a[192.0.2.1]\n",
        b"Mar  2 10:20:50 mailx postfix/smtpd[4711]: 3F2A: client=a[192.0.2.1]\n",
        b"Mar  2 10:20:50 mail postfix/smtpdx[4711]: 3F2A: client=a[192.0.2.1]\n",
        b"Mar  2 10:20:50 mail postfix/smtpd[x]: 3F2A: client=a[192.0.2.1]\n",
        b"Mar  2 10:20:50 mail evil[1]: Mar  2 10:20:50 mail postfix/smtpd[4711]: 3F2A: client=a[192.0.2.1]\n",
        b" Mar  2 10:20:50 mail postfix/smtpd[4711]: 3F2A: client=a[192.0.2.1]\n",
    ],
)
def test_what_stands_at_another_place_is_not_taken(line: bytes) -> None:
    reader = Reader({SMTPD: rb"[0-9A-F]+: client="})
    reader.feed(line)
    assert reader.messages() == []


def test_both_forms_of_the_stamp_name_the_same_second() -> None:
    reader = Reader({SMTPD: b""})
    reader.feed(
        b"2024-03-02T10:20:50.123456+01:00 mail postfix/smtpd[1]: x\n2024-03-02T09:20:50Z MAIL postfix/smtpd[1]: x\n"
    )
    assert [line.at for line in reader.got[0][0].lines] == [1_709_371_250, 1_709_371_250]


def test_the_offset_of_a_line_is_where_it_begins_in_its_file() -> None:
    reader = Reader({SMTPD: rb"NOQUEUE"})
    reject = b"Mar  2 10:20:52 mail postfix/smtpd[4711]: NOQUEUE: reject: RCPT\n"
    reader.feed(CLIENT + reject, offset=1000)
    (block,) = reader.got[0]
    assert block.offset(block.lines[0]) == 1000 + len(CLIENT)


def test_of_equal_lines_each_has_its_own_offset() -> None:
    reader = Reader({SMTPD: rb"NOQUEUE"})
    reject = b"Mar  2 10:20:52 mail postfix/smtpd[4711]: NOQUEUE: reject: RCPT\n"
    others = (
        reject.replace(b" mail ", b" other "),
        reject.replace(b"4711", b"4712"),
        b"Mar  2 10:20:52 mail evil[1]: x " + reject,
        b"Mar  2 10:20:52 mail evil[1]: Mar  2 10:20:52 mail postfix/smtpd[4711]: NOQUEUE: reject: RCPT\n",
        reject.replace(b"NOQUEUE", b"x postfix/smtpd[4711]: NOQUEUE"),
    )
    data = b"".join((*others, reject, CLIENT, *others, reject, reject))
    reader.feed(data, offset=1000)
    (block,) = reader.got[0]
    equal = [line for line in block.lines if line.pid == b"4711"]
    begins = [found.start() for found in re.finditer(rb"(?<=\n)" + re.escape(reject), data)]
    # In the midst of another line there is no newline before it.
    assert [block.offset(line) for line in equal] == [1000 + place for place in begins]
    assert len(equal) == 3


def test_a_log_that_grows_without_a_line_of_this_host_names_the_hosts_it_has() -> None:
    reader = Reader({SMTPD: b""})
    strange = CLIENT.replace(b" mail ", b" relay-7 ")
    reader.feed(strange)
    reader.manual.advance(STRANGE_AFTER - 1)
    reader.feed(strange)
    assert reader.reader.problem is None
    reader.manual.advance(1)
    reader.feed(strange)
    assert reader.reader.problem is not None
    assert "relay-7" in str(reader.reader.problem)
    reader.feed(b"Mar  2 10:20:50 mail sshd[1]: nobody wishes this\n")
    assert reader.reader.problem is None


def test_a_new_name_of_the_host_is_taken_over() -> None:
    reader = Reader({SMTPD: b""}, names=(b"old",))
    reader.feed(CLIENT)
    reader.reader.rename([b"mail"])
    reader.feed(CLIENT)
    assert len(reader.messages()) == 1


def test_without_a_name_nothing_is_ours() -> None:
    reader = Reader({SMTPD: b""}, names=())
    reader.feed(CLIENT)
    assert reader.messages() == []


def test_a_line_of_any_program_is_taken_for_a_text_in_its_message() -> None:
    got: list[SyslogBlock] = []
    manual = ManualClock()
    wish = SyslogSubscription(LOG, {}, got.append, texts=(b"needle", b"other needle"))
    reader = SyslogReader([wish], (b"mail", b"needle"), 0, manual.clock)
    taken = [
        b"Mar  2 10:20:50 mail postfix/cleanup[12]: 3F2A: message-id=<needle and another needle>",
        b"Mar  2 10:20:52 MAIL sshd: needle",
    ]
    others = [
        b"Mar  2 10:20:50 relay-7 postfix/cleanup[12]: needle",
        b"Mar  2 10:20:50 needle sshd[1]: x",
        b"needle",
        b"Mar  2 10:20:50 mail sshd[x]: needle",
    ]
    lines = [*taken[:1], *others, *taken[1:], CLIENT[:-1]]
    reader.feed(LogBlock(LOG, b"".join(line + b"\n" for line in lines), 0))
    (block,) = got
    assert [line.message for line in block.lines] == [line.partition(b": ")[2] for line in taken]
    assert [(line.program, line.pid) for line in block.lines] == [(b"postfix/cleanup", b"12"), (b"sshd", b"")]
    first, second = (line.at for line in block.lines)
    assert first is not None
    assert second == first + 2
    assert reader.previous == 0


_PREFIXES = [
    b"Mar  2 10:20:50 mail ",
    b"Mar  2 10:20:50 other ",
    b"2024-03-02T10:20:50+01:00 mail ",
    b"",
    b"\x00",
    b" ",
]
_PROGRAMS = [
    b"postfix/smtpd[1]: ",
    b"postfix/a/smtpd[22]: ",
    b"postfix/qmgr[3]: ",
    b"kernel: ",
    b"postfix/smtpd: ",
    b"x",
]
_MESSAGES = [
    b"3F: client=a",
    b"NOQUEUE: reject",
    b"",
    b"\xff\xfe",
    b"Mar  2 10:20:50 mail postfix/smtpd[1]: 3F: client=b",
]
_SLOW = re.compile(
    rb"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^ ]*) mail "
    rb"([^\s\[:]+)(?:\[(\d+)\])?: (.*)",
    re.DOTALL,
)


@given(st.lists(st.tuples(*map(st.sampled_from, (_PREFIXES, _PROGRAMS, _MESSAGES)))))
def test_the_one_expression_finds_what_a_slow_reading_line_by_line_finds(
    parts: list[tuple[bytes, bytes, bytes]],
) -> None:
    data = b"".join(b"".join(part) + b"\n" for part in parts)
    reader = Reader({SMTPD: rb"[0-9A-F]+: client="}, {b"kernel": b""})
    reader.feed(data)
    expected: list[list[bytes]] = [[], []]
    for line in data.split(b"\n"):
        match = _SLOW.fullmatch(line)
        if match and re.fullmatch(SMTPD, match[1]) and re.match(rb"[0-9A-F]+: client=", match[3]):
            expected[0].append(match[3])
        elif match and match[1] == b"kernel":
            expected[1].append(match[3])
    assert [reader.messages(0), reader.messages(1)] == expected
