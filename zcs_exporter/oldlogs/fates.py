"""What became of a message, by what Postfix says of each of its recipients."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from zcs_exporter.oldlogs.trace import TracedLine
from zcs_exporter.oldlogs.trace_ids import own_queue_id
from zcs_exporter.syslog_prefix import parse_syslog_prefix

# 7B1C21C0E60: to=<ann@example.com>, relay=..., dsn=2.1.5, status=sent (250 2.1.5 Delivery OK)
_DELIVERY = re.compile(
    rb"[0-9A-Za-z]{6,20}: to=<([^<>]{0,320})>, (?:orig_to=<[^<>]{0,320}>, )?relay=[^<>]*?, "
    rb"status=([a-z-]{1,20}) \((.*)\)$"
)
# 7B1C21C0E60: from=<x@example.net>, status=expired, returned to sender
_EXPIRED = re.compile(rb"[0-9A-Za-z]{6,20}: from=<[^<>]{0,320}>, status=((?:force-)?expired), (returned to sender)$")
_FILTER = re.compile(rb", relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+, .*\bqueued as [0-9A-Za-z]+\)$")
# 250 2.7.0 Ok, discarded, id=15345-18 - spam
_DISCARDED = b" discarded, "


@dataclass(slots=True)
class Fate:
    """What happened last to a message for one recipient.

    Attributes:
        recipient: Empty for all who had not got it yet.
        status: Postfix' word for it, or ``discarded``.
        text: What the next server said.
        at: When, in seconds since the epoch.
        times: How often it happened in a row.
    """

    recipient: bytes
    status: bytes
    text: bytes
    at: float
    times: int = 1


def fates_of(lines: Iterable[TracedLine]) -> list[Fate]:
    """Return the last word on each recipient, in the order of time; ``lines`` come oldest first.

    That the content filter took a message and gave it back says nothing yet.
    """
    fates: dict[bytes, Fate] = {}
    for line in lines:
        prefix = parse_syslog_prefix(line.line)
        if prefix is None or own_queue_id(line.line) is None or _FILTER.search(line.line):
            continue
        found = _DELIVERY.match(line.line, prefix.message)
        expired = _EXPIRED.match(line.line, prefix.message)
        if found is not None:
            recipient, status, text = found.groups()
            if status == b"sent" and _DISCARDED in text:
                status = b"discarded"
        elif expired is not None:
            recipient, (status, text) = b"", expired.groups()
        else:
            continue
        before = fates.pop(recipient, None)
        times = before.times + 1 if before is not None and before.status == status else 1
        fates[recipient] = Fate(recipient, status, text, line.at, times)
    return list(fates.values())
