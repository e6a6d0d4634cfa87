"""The parts of SMIv2 that our MIB is made of: object identifiers, types, and how their values look on the wire."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from math import isfinite

Oid = tuple[int, ...]
Value = int | bytes | Oid
"""A number, octets or an object identifier; what a variable can hold on the wire."""

ENTERPRISES: Oid = (1, 3, 6, 1, 4, 1)
DEFAULT_ROOT: Oid = (*ENTERPRISES, 8072, 9999, 9999, 7071)
"""Below Net-SNMP's playpen, which is open to everyone, until the project has a number of its own."""

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -_.:/@%+,=()#")
UINT32 = 0xFFFFFFFF
_MOST_BELOW = 10  # numbers of a root below the enterprises; identifiers of our rows have up to 60 more, of 128 at most
_MAX_SHOWN = 60


class Syntax(Enum):
    """The SMIv2 types of our objects, as the MIB writes them."""

    UNSIGNED = "Unsigned32"
    GAUGE = "Gauge32"
    COUNTER = "Counter64"
    TICKS = "TimeTicks"
    INTEGER = "Integer32"
    TEXT = "DisplayString"
    TIME = "DateAndTime"
    IDENTIFIER = "OBJECT IDENTIFIER"
    TRUTH = "TruthValue"
    SEVERITY = "INTEGER { ok(0), warning(1), critical(2), unknown(3) }"
    RUN_STATE = "INTEGER { stopped(0), running(1) }"
    QUEUE = "INTEGER { incoming(1), active(2), deferred(3), hold(4), corrupt(5), maildrop(6) }"
    PROTOCOL = (
        "INTEGER { total(1), soap(2), imap(3), pop3(4), smtp(5), admin(6), other(7), httpBasic(8), httpDav(9), "
        "zsync(10), spnego(11) }"
    )

    @property
    def octets(self) -> bool:
        """Whether a value is octets on the wire; else it is a number, or an object identifier."""
        return self in (Syntax.TEXT, Syntax.TIME)


@dataclass(frozen=True, slots=True)
class VarBind:
    """One variable of a message, ready to be encoded."""

    oid: Oid
    syntax: Syntax
    value: Value


def parse_root(text: str) -> Oid:
    """Return the root that ``snmp.root_oid`` names, such as ``1.3.6.1.4.1.8072.9999.9999.7071``.

    Raises:
        ValueError: It is not an object identifier below the enterprises; the message shows one.
    """
    like = f"write it like {format_oid(DEFAULT_ROOT)}"
    shown = repr(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}...")
    parts = text.removeprefix(".").split(".")
    if not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        raise ValueError(f"{shown} is not an object identifier, numbers with points between; {like}")
    oid = tuple(int(part) for part in parts)
    if any(part > UINT32 for part in oid):
        raise ValueError(f"{shown} is not an object identifier: no number may be above {UINT32}; {like}")
    below = len(oid) - len(ENTERPRISES)
    if oid[: len(ENTERPRISES)] != ENTERPRISES or not below or not oid[len(ENTERPRISES)]:
        raise ValueError(f"{shown} is not below the number of an enterprise, 1.3.6.1.4.1.NUMBER; {like}")
    if below > _MOST_BELOW:
        raise ValueError(f"{shown} has {below} numbers below 1.3.6.1.4.1; use {_MOST_BELOW} at most, as rows add more")
    return oid


def format_oid(oid: Iterable[int]) -> str:
    """Return an object identifier in dotted form."""
    return ".".join(map(str, oid))


def wire_text(text: str, limit: int) -> str:
    """Return ``text`` as receivers get it: one line of harmless ASCII, at most ``limit`` long.

    Receivers put these texts into command lines and web pages, and not all of them do it with
    care. Only letters, digits, space and ``-_.:/@%+,=()#`` pass; anything else becomes ``?``.
    A text that was cut ends in three dots.
    """
    kept = "".join(char if char in _SAFE else "?" for char in text[: limit + 1])
    return kept if len(kept) <= limit else kept[: limit - 3] + "..."


def plain_value(syntax: Syntax, value: float | str | None, limit: int = 255) -> int | bytes | None:
    """Return what an object of a type holds on the wire; None where the value is not known or has no such form.

    A text that says nothing is not known either.

    Args:
        syntax: The type.
        value: A text, a moment as seconds since the epoch, something true or false, or a number.
        limit: Longest text in octets.
    """
    if value is None:
        return None
    if syntax is Syntax.TEXT:
        return wire_text(str(value), limit).encode("ascii") or None
    if isinstance(value, str) or not isfinite(value):
        return None
    if syntax is Syntax.TIME:
        try:
            return date_and_time(value)
        except (ValueError, OverflowError, OSError):
            return None
    if syntax is Syntax.TRUTH:
        return 1 if value else 2
    number = round(value)
    if syntax is Syntax.INTEGER:
        return max(-0x80000000, min(number, 0x7FFFFFFF))
    if number < 0:
        return None
    # A gauge stays at its largest value, while a counter begins at 0 again.
    return number % 2**64 if syntax is Syntax.COUNTER else min(number, UINT32)


def date_and_time(moment: float) -> bytes:
    """Return seconds since the epoch as the eleven octets of DateAndTime, in the host's local zone."""
    local = datetime.fromtimestamp(round(moment, 1), UTC).astimezone()
    offset = local.utcoffset() or timedelta()
    minutes = int(abs(offset).total_seconds()) // 60
    sign = b"-" if offset < timedelta() else b"+"
    return struct.pack(
        ">H6Bc2B",
        local.year,
        local.month,
        local.day,
        local.hour,
        local.minute,
        local.second,
        local.microsecond // 100_000,
        sign,
        *divmod(minutes, 60),
    )


def parse_date_and_time(octets: bytes) -> float:
    """Return the seconds since the epoch in a DateAndTime; without an offset it is read as UTC.

    Raises:
        ValueError: The octets are no DateAndTime.
    """
    if len(octets) not in (8, 11):
        raise ValueError(f"a DateAndTime has 8 or 11 octets, not {len(octets)}")
    year, month, day, hour, minute, second, tenth = map(int, struct.unpack(">H6B", octets[:8]))
    offset = timedelta()
    if len(octets) == 11:
        sign, hours, minutes = struct.unpack(">c2B", octets[8:])
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if sign == b"-" else 1)
    # A leap second is written as 60, which datetime does not know.
    moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone(offset))
    return moment.timestamp() + tenth / 10
