"""The names under which a message or a request goes through the logs, and how one leads to the next.

Postfix gives a message a queue id, and another each time the content filter hands it back; amavis gives a number to
each task; the message id is the sender's and stays. Only what a program writes at its place leads on: a subject or
an address that looks like a queue id does not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from zcs_exporter.syslog_prefix import SyslogPrefix, parse_syslog_prefix

MAX_ID = 320
"""Longest id that is looked for, in bytes: an address has at most that."""

_MIN_ID = 3

_QUEUE_ID = rb"[0-9A-F]{6,20}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,20}"
# 3F2A81C0E5D: client=host.example.net[198.51.100.7]
_QUEUED = re.compile(rb"(" + _QUEUE_ID + rb"): ")
# 3F2A81C0E5D: message-id=<a1@example.net>
_MESSAGE_ID = re.compile(rb"(?:resent-)?message-id=<([^<>\s]{1,320})>")
# status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 7B1C21C0E60)
_SENT_AS = re.compile(rb"status=sent \(.*\bqueued as (" + _QUEUE_ID + rb")\)$")
# 3F2A81C0E5D: client=localhost[127.0.0.1], orig_queue_id=7B1C21C0E60, orig_client=...
_BEFORE = re.compile(rb"orig_queue_id=(" + _QUEUE_ID + rb")(?:,|$)")
# 7B1C21C0E60: sender non-delivery notification: 9A1C21C0E61
_NOTICE = re.compile(rb"notification: (" + _QUEUE_ID + rb")$")
# (15345-18) Passed CLEAN {..}, ..., Queue-ID: 3F2A81C0E5D, Message-ID: <a1@example.net>, ..., queued_as: 7B.., 938 ms
_TASK = re.compile(rb"\((\d{1,10}(?:-\d{1,6}){1,3})\) ")
_TASK_QUEUE = re.compile(rb", Queue-ID: (" + _QUEUE_ID + rb")(?=,)")
_TASK_MESSAGE = re.compile(rb", (?:Resent-)?Message-ID: <([^<>\s]{1,320})>(?=,)")
_TASK_SENT_AS = re.compile(rb", queued_as: ((?:" + _QUEUE_ID + rb")(?:/(?:" + _QUEUE_ID + rb"))*)(?=,)")
# lmtp - Delivering message: size=17168 bytes, nrcpts=1, sender=x@example.net, msgid=<a1@example.net>
_DELIVERED = re.compile(rb"\bmsgid=<([^<>\s]{1,320})>")


_QUEUE_PROGRAMS = (b"postfix/", b"opendkim")


class IdKind(StrEnum):
    """What an id names."""

    QUEUE = "queue id"
    MESSAGE = "message id"
    AMAVIS = "amavis id"
    ADDRESS = "address"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Id:
    """One name to look for.

    Attributes:
        value: As it stands in the logs, without brackets.
    """

    kind: IdKind
    value: bytes

    @property
    def needle(self) -> bytes:
        """Bytes that every line with it has."""
        if self.kind is IdKind.MESSAGE:
            return b"<" + self.value + b">"
        return b"(" + self.value + b") " if self.kind is IdKind.AMAVIS else self.value


class NotAnIdError(Exception):
    """What was given cannot be looked for; the message says what can."""


def parse_id(text: str) -> Id:
    """Return what an administrator wrote as something to look for.

    Raises:
        NotAnIdError: It is too short or too long, or holds what no id holds.
    """
    value = text.strip().encode("utf-8", "surrogateescape")
    if any(byte < 0x21 or byte == 0x7F for byte in value):
        raise NotAnIdError("an id has neither blanks nor control characters; give one at a time")
    if value.startswith(b"<") and value.endswith(b">"):
        value = value[1:-1]
        if b"@" not in value and len(value) >= _MIN_ID:
            return Id(IdKind.MESSAGE, value)
    if len(value) > MAX_ID:
        raise NotAnIdError(f"no id is longer than {MAX_ID} bytes")
    if value.isdigit() and len(value) < 6:
        return Id(IdKind.TEXT, b"cid=" + value)  # as a bare number it would stand in every other line
    if len(value) < _MIN_ID:
        raise NotAnIdError(f"an id has at least {_MIN_ID} characters")
    if b"@" in value:
        return Id(IdKind.ADDRESS, value.lower())
    if re.fullmatch(_QUEUE_ID, value):
        return Id(IdKind.QUEUE, value)
    if _TASK.fullmatch(b"(" + value + b") "):
        return Id(IdKind.AMAVIS, value)
    return Id(IdKind.TEXT, value)


def whole(value: bytes) -> re.Pattern[bytes]:
    """Return the expression for an id that is not part of a longer one."""
    return re.compile(rb"(?<![A-Za-z0-9_.+%-])" + re.escape(value) + rb"(?![A-Za-z0-9_-]|[.@][A-Za-z0-9])")


def ids_in(line: bytes) -> frozenset[Id]:
    """Return the ids that a line of syslog or of mailboxd gives to a message, each at its place."""
    prefix = parse_syslog_prefix(line)
    if prefix is None:
        return frozenset(Id(IdKind.MESSAGE, value) for value in _DELIVERED.findall(line))
    return frozenset(_ids_of_program(prefix, line[prefix.message :]))


def own_queue_id(line: bytes) -> bytes | None:
    """Return the queue id of the message that a line of Postfix or opendkim is about; None for other lines."""
    prefix = parse_syslog_prefix(line)
    if prefix is None or not prefix.program.startswith(_QUEUE_PROGRAMS):
        return None
    queued = _QUEUED.match(line, prefix.message)
    return None if queued is None else queued[1]


def hands_over(line: bytes) -> bool:
    """Whether a line tells that a message went to another host, which then named its queue id."""
    return own_queue_id(line) is not None and _SENT_AS.search(line) is not None and b", relay=127.0.0.1[" not in line


def ends_life(line: bytes, value: bytes) -> bool:
    """Whether a line says that Postfix gives a queue id back, for other messages to have."""
    prefix = parse_syslog_prefix(line)
    return prefix is not None and prefix.program.endswith(b"/qmgr") and line[prefix.message :] == value + b": removed"


def _ids_of_program(prefix: SyslogPrefix, message: bytes) -> Iterator[Id]:
    if prefix.program == b"amavis":
        task = _TASK.match(message)
        if task is None:
            return
        yield Id(IdKind.AMAVIS, task[1])
        for value in _TASK_QUEUE.findall(message):
            yield Id(IdKind.QUEUE, value)
        for value in _TASK_MESSAGE.findall(message):
            yield Id(IdKind.MESSAGE, value)
        for values in _TASK_SENT_AS.findall(message):
            for value in values.split(b"/"):
                yield Id(IdKind.QUEUE, value)
        return
    if not prefix.program.startswith(_QUEUE_PROGRAMS):
        return
    queued = _QUEUED.match(message)
    if queued is None:
        return
    yield Id(IdKind.QUEUE, queued[1])
    rest = message[queued.end() :]
    found = _MESSAGE_ID.match(rest)
    if found is not None:
        yield Id(IdKind.MESSAGE, found[1])
    for pattern in (_SENT_AS, _BEFORE, _NOTICE):
        for value in pattern.findall(rest):
            yield Id(IdKind.QUEUE, value)
