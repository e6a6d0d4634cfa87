"""One day of mail while it is written: hours, causes and the names that matter, in bounded memory."""

import base64
import json
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from zcs_exporter.mailreport.reason import mask_client_text, mask_rejection, mask_server_text
from zcs_exporter.mailreport.top import COUNT, DEFERS, DELAY, LONGEST, TopTable, text_of

TABLES: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("senders", "sender_domains", "hosts", "recipients", "bounced_recipients"), (1000, 3)),
    "recipient_domains": (1000, 6),
    "rejected_hosts": (1000, 3),
    **dict.fromkeys(("deferrals", "bounces", "rejections", "warnings"), (250, 3)),
}
"""The tables of names, how many names each counts exactly, and how many numbers it keeps of one."""

KEPT_NAMES = 200
"""Names of each table, by count and as many by size, that are kept once the day is over."""

SEPARATOR = b": "
"""Stands between the program and the text of a warning."""

_MAX_NAME = 200


@dataclass(slots=True)
class Hour:
    """What happened within one hour of the clock; an hour that the clock shows twice is one.

    Attributes:
        first: Time of the line that came first, in seconds since the epoch.
        last: Time of the latest.
        received: Messages.
        delivered: Deliveries, one a recipient.
        forwarded: Deliveries that became a new message.
        deferred: Messages whose first deferral it was.
        deferrals: Attempts that were deferred.
        bounced: Recipients.
        rejected: Attempts.
        held: Messages.
        discarded: Messages.
        bytes_received: Of messages received.
        bytes_delivered: Of deliveries.
        delay: Sum of the delays of deliveries, in seconds.
        longest: Longest of them.
    """

    first: int = 0
    last: int = 0
    received: int = 0
    delivered: int = 0
    forwarded: int = 0
    deferred: int = 0
    deferrals: int = 0
    bounced: int = 0
    rejected: int = 0
    held: int = 0
    discarded: int = 0
    bytes_received: int = 0
    bytes_delivered: int = 0
    delay: float = 0.0
    longest: float = 0.0

    def add(self, other: "Hour") -> None:
        """Add what happened in another hour."""
        self.first = min(self.first or other.first, other.first or self.first)
        self.last = max(self.last, other.last)
        self.longest = max(self.longest, other.longest)
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_NUMBERS = tuple(each.name for each in fields(Hour))
_SUMS = tuple(name for name in _NUMBERS if name not in ("first", "last", "longest"))
_row = attrgetter(*_NUMBERS)


def _clean_name(name: bytes) -> bytes:
    """Return a name as it is counted: addresses and hosts are the same whatever their case."""
    return name[:_MAX_NAME].lower()


def _clean_warning(text: bytes) -> bytes:
    program, separator, message = text.partition(SEPARATOR)
    return program[:_MAX_NAME] + separator + mask_client_text(message)


_CLEANERS: Mapping[str, Callable[[bytes], bytes]] = {
    "bounced_recipients": _clean_name,
    "rejected_hosts": _clean_name,
    "deferrals": mask_server_text,
    "bounces": mask_server_text,
    "rejections": mask_rejection,
    "warnings": _clean_warning,
}


class Page:
    """One day.

    It is saved as a packed whole and, after that, by what changed: the last value of each number
    that did. So little is written each second, and whatever was saved last is what holds.

    Attributes:
        day: Such as ``2024-03-02``.
        hours: By hour of the clock.
        touched: Hours that changed since ``changes`` was last asked.
        causes: Rejections by cause.
        verdicts: Messages by the content filter's verdict.
        tables: By the names in ``TABLES``; without what is pending.
        senders: Pending: messages and their bytes, by the sender as it stood in the line; so are the others.
        hosts: Pending: the same by client.
        recipients: Pending: deliveries, their bytes, the sum of their delays and the longest.
        deferred: Pending: deferrals by recipient.
        plain: Pending: by table, how often each name or text came.
    """

    def __init__(self, day: str) -> None:
        """Begin an empty page."""
        self.day = day
        self.hours: dict[int, Hour] = {}
        self.touched: set[int] = set()
        self.causes: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.tables = {name: TopTable(capacity, places) for name, (capacity, places) in TABLES.items()}
        self.senders: dict[bytes, list[int]] = {}
        self.hosts: dict[bytes, list[int]] = {}
        self.recipients: dict[bytes, list[float]] = {}
        self.deferred: dict[bytes, int] = {}
        self.plain: dict[str, dict[bytes, int]] = {table: {} for table in _CLEANERS}
        self._told: dict[str, Any] = {}

    def fold(self) -> None:
        """Take what is pending into the tables; lines only add to it, so a name costs once however often it came."""
        tables = self.tables
        self.hosts.pop(b"", None)
        tables["hosts"].add_all([host[:_MAX_NAME].lower() for host in self.hosts], self.hosts.values())
        names = [sender[:_MAX_NAME].lower() for sender in self.senders]
        tables["senders"].add_all(names, self.senders.values())
        add_domain = tables["sender_domains"].add
        for name, (messages, size) in zip(names, self.senders.values(), strict=True):
            _, found, domain = name.rpartition(b"@")
            if found:
                add_domain(domain, messages, size)
        names = [recipient[:_MAX_NAME].lower() for recipient in self.recipients]
        tables["recipients"].add_all(names, self.recipients.values())
        add_domain = tables["recipient_domains"].add
        for name, (deliveries, bytes_, delay, longest) in zip(names, self.recipients.values(), strict=True):
            _, found, domain = name.rpartition(b"@")
            if found:
                tally = add_domain(domain, deliveries, bytes_)
                tally[DELAY] += delay
                if longest > tally[LONGEST]:
                    tally[LONGEST] = longest
        for recipient, times in self.deferred.items():
            _, found, domain = _clean_name(recipient).rpartition(b"@")
            if found:
                add_domain(domain, 0)[DEFERS] += times
        self.plain["rejected_hosts"].pop(b"", None)
        for table, pending in self.plain.items():
            clean = _CLEANERS[table]
            for text, times in pending.items():
                tables[table].add(clean(text), times)
            pending.clear()
        for each in (self.senders, self.hosts, self.recipients, self.deferred):
            each.clear()
        for top in tables.values():
            top.cut()

    def counts(self) -> dict[str, Mapping[bytes, float]]:
        """Return how often each name came: by table, and deferrals and bounces by domain."""
        self.fold()
        tallies = {kind: table.tallies for kind, table in self.tables.items()}
        bounced: dict[bytes, float] = {}
        for recipient, tally in tallies["bounced_recipients"].items():
            domain = recipient.rpartition(b"@")[2]
            bounced[domain] = bounced.get(domain, 0) + tally[COUNT]
        domains = tallies["recipient_domains"]
        return {
            **{kind: {name: tally[COUNT] for name, tally in each.items()} for kind, each in tallies.items()},
            "deferred_domains": {name: tally[DEFERS] for name, tally in domains.items() if tally[DEFERS]},
            "bounced_domains": bounced,
        }

    def changes(self) -> str | None:
        """Return what changed since the last call, None if nothing did."""
        self.fold()
        tables = {}
        for kind, table in self.tables.items():
            if changed := table.take_changes():
                tables[kind] = {text_of(name): tally for name, tally in changed.items()}
        content: dict[str, Any] = {"tables": tables} if tables else {}
        if self.touched:
            content["hours"] = {hour: _row(self.hours[hour]) for hour in self.touched}
            self.touched.clear()
        for key, value in self._small().items():
            if self._told.get(key, {}) != value:
                content[key] = self._told[key] = dict(value)
        return json.dumps(content, separators=(",", ":")) if content else None

    def take(self, text: str) -> None:
        """Take over what ``changes`` told; what a later version added is passed over.

        Raises:
            ValueError: It is damaged.
        """
        try:
            content = json.loads(text)
            for hour, row in content.get("hours", {}).items():
                self.hours[int(hour)] = _hour(row)
            for kind, rows in content.get("tables", {}).items():
                if kind in self.tables:
                    self.tables[kind].load(rows)
            for key in ("causes", "verdicts"):
                if key in content:
                    setattr(self, key, _counter(content[key]))
            for kind, (floor, names) in content.get("floors", {}).items():
                if kind in self.tables:
                    self.tables[kind].floor, self.tables[kind].names = int(floor), int(names)
            self._told |= {key: content[key] for key in ("causes", "verdicts", "floors") if key in content}
        except (AttributeError, TypeError, ValueError) as exc:
            raise ValueError(f"{self.day}: {exc!r}") from exc

    def pack(self) -> str:
        """Return the whole page as one text."""
        self.fold()
        content = {
            "hours": {hour: _row(each) for hour, each in self.hours.items()},
            "tables": {
                kind: {text_of(name): tally for name, tally in table.tallies.items()}
                for kind, table in self.tables.items()
            },
            **self._small(),
        }
        plain = json.dumps(content, separators=(",", ":")).encode()
        return base64.b64encode(zlib.compress(plain, 1)).decode()

    def unpack(self, text: str) -> None:
        """Take over what was packed.

        Raises:
            ValueError: It is damaged.
        """
        try:
            plain = zlib.decompress(base64.b64decode(text))
        except (zlib.error, ValueError) as exc:
            raise ValueError(f"{self.day}: {exc!r}") from exc
        self.take(plain.decode())

    def trim(self) -> None:
        """Cut it down to what a report shows."""
        self.fold()
        for table in self.tables.values():
            table.keep(table.top(KEPT_NAMES))

    def _small(self) -> dict[str, Mapping[str, Any]]:
        floors = {kind: [table.floor, table.names] for kind, table in self.tables.items() if table.names}
        return {"causes": self.causes, "verdicts": self.verdicts, "floors": floors}


def _hour(row: Any) -> Hour:
    """Return an hour from its JSON form, at whose end a later version may have added numbers."""
    if not isinstance(row, list) or not all(isinstance(number, int | float) for number in row):
        raise ValueError(f"not the numbers of an hour: {row!r}")
    return Hour(*row[: len(_NUMBERS)])


def _counter(value: Any) -> Counter[str]:
    if not isinstance(value, dict) or not all(isinstance(count, int) for count in value.values()):
        raise ValueError(f"not counts by name: {value!r}")
    return Counter(value)
