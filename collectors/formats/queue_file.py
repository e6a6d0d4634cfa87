"""Postfix's queue file format.

A queue file is a run of records: one type byte, the length as a varint (seven bits a byte, low
bits first), the data. The envelope comes first: ``C`` sizes, ``T`` arrival time, ``A`` named
attributes, ``S`` sender, ``R`` recipients; ``M`` begins the message. Size and arrival are taken
from it by the rules of Postfix's own showq, so that they equal those of ``postqueue -j``.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from zcs_exporter.contract import CollectError, Reason
from zcs_exporter.text import one_line

# "            378             654               1               0             378               0"
_SIZES = re.compile(rb" *(\d{0,18})(?: [\d ]*)?")
# "1795306322 548829"
_SECONDS = re.compile(rb"\s*\+?(\d{1,18})(?!\d)")
# C_            378             654               1               0             378               0T.1795306322 548829A
# The dot is the length of what follows, of which three are common.
_COMMON_START = re.compile(
    rb"C_(?= *(\d{1,15}) )[ \d]{95}"
    rb"T(?:\x11(?=[\d ]{17}A)|\x10(?=[\d ]{16}A)|\x0f(?=[\d ]{15}A))([1-9]\d{9}) \d{4,6}(?=A)"
)

_ATTRIBUTE, _SIZE, _MESSAGE, _RECIPIENT, _FROM, _TIME, _POINTER = b"ACMRSTp"
_LONGEST = 1024

HEAD = 4096
"""Bytes in which nearly each file's envelope ends."""

LONG_HEAD = 65536
"""Bytes after which none is looked for any more."""


class Envelope(NamedTuple):
    """What a queue file says of its message.

    Attributes:
        size: Bytes of the message; None where the file has no usable ``C`` record, as in maildrop.
        arrival: Seconds since the epoch; None where it has no usable ``T`` record.
        sender: The login the message was sent with, else the envelope sender, which is empty for a
            bounce; None where a milter replaced it, which puts it behind the message.
        domain: Domain of the first recipient that is still to be served; empty if unknown.
    """

    size: int | None
    arrival: int | None
    sender: str | None
    domain: str


def parse_queue_file(head: bytes) -> Envelope:
    """Parse the beginning of a queue file.

    What follows the first sender and recipient is not looked at, so ``head`` may end anywhere behind them.

    Raises:
        CollectError: There is no sender before the message, the end, or a broken record.
    """
    return _parse_common(head) or parse_records(head)


def _parse_common(head: bytes) -> Envelope | None:
    """Return what ``parse_records`` does of a file as cleanup writes it, in a third of the time; None of others.

    A first walk runs this for each of a million files. It hops over attributes without looking at them.
    """
    start = _COMMON_START.match(head)
    if start is None:
        return None
    position = start.end()
    try:
        while (kind := head[position]) == _ATTRIBUTE:
            position += head[position + 1] + 2
        if kind != _FROM:
            return None
        sender = position + 2
        position = sender_end = sender + head[position + 1]
        while (kind := head[position]) != _RECIPIENT:
            if kind == _MESSAGE:
                return None
            position += head[position + 1] + 2
        recipient, position = position + 2, position + 2 + head[position + 1]
    except IndexError:
        return None
    envelope = head[:position]
    # A byte beyond ASCII may be one of a longer length, at which the hops went astray.
    if position > len(head) or not envelope.isascii() or b"sasl_username=" in envelope:
        return None
    size, arrival = start.groups()
    address = envelope[recipient:].partition(b"\0")[0]
    domain = _text(address.rpartition(b"@")[2]) if b"@" in address else ""
    return Envelope(int(size), int(arrival), _text(envelope[sender:sender_end]), domain)


def parse_records(head: bytes) -> Envelope:
    """Do what ``parse_queue_file`` does, record by record."""
    size = arrival = None
    sender = login = None
    elsewhere = False
    position, end = 0, len(head)
    while position + 1 < end:
        kind = head[position]
        length = head[position + 1]
        start = position + 2
        if length & 0x80:
            length, start = _long_length(head, position + 1)
        position = start + length
        if position > end:
            break
        if kind == _ATTRIBUTE:
            if head.startswith(b"sasl_username=", start):
                login = _data(head, start + 14, position)
        elif kind == _SIZE:
            if size is None and sender is None and (match := _SIZES.fullmatch(_data(head, start, position))):
                size = int(match[1] or 0)
        elif kind == _TIME:
            if not arrival and sender is None and (match := _SECONDS.match(_data(head, start, position))):
                arrival = int(match[1])
        elif kind == _FROM:
            if sender is None:
                sender = _data(head, start, position)
        elif kind == _POINTER:
            elsewhere = elsewhere or _data(head, start, position).strip() != b"0"
        elif kind == _MESSAGE:
            break
        elif kind == _RECIPIENT and sender is not None:
            recipient = _data(head, start, position)
            domain = recipient.rpartition(b"@")[2] if b"@" in recipient else b""
            return Envelope(size, arrival or None, _text((login or sender)[:_LONGEST]), _text(domain[:_LONGEST]))
    if sender is None and not elsewhere:
        raise CollectError(Reason.PARSE, f"queue file: no sender record in its first {len(head)} bytes")
    return Envelope(size, arrival or None, None if sender is None else _text((login or sender)[:_LONGEST]), "")


def _long_length(data: bytes, position: int) -> tuple[int, int]:
    """Return a length of several bytes and where its record's data starts; beyond any end if it is broken."""
    length = 0
    for shift, byte in enumerate(data[position : position + 5]):
        length |= (byte & 0x7F) << 7 * shift
        if not byte & 0x80:
            return length, position + shift + 1
    return len(data), position + 1


def _data(head: bytes, start: int, end: int) -> bytes:
    """Return a record's data as Postfix sees it, a C string."""
    return head[start:end].partition(b"\0")[0]


@lru_cache(maxsize=4096)  # the messages of a queue have few senders and destinations
def _text(data: bytes) -> str:
    return one_line(data.partition(b"\0")[0].decode("utf-8", "replace")).lower()
