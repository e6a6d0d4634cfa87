"""Who is behind the numbers of the last one to two hours: senders, recipients, domains and clients."""

from collections import Counter
from collections.abc import Mapping

from zcs_exporter.contract import Evidence, EvidenceItem, EvidenceKind
from zcs_exporter.heavy_hitters import HeavyHitters

_CAPACITY = 200
_PERIOD = 3600
_MAX_NAME = 256
_MAX_PENDING = 20_000

_KINDS: Mapping[str, tuple[tuple[str, EvidenceKind, str], ...]] = {
    "received": (
        ("senders", EvidenceKind.ACCOUNT, ""),
        ("sender_domains", EvidenceKind.DOMAIN, "from "),
        ("hosts", EvidenceKind.ADDRESS, ""),
    ),
    "delivered": (("recipients", EvidenceKind.ACCOUNT, ""), ("recipient_domains", EvidenceKind.DOMAIN, "to ")),
    "deferred": (("deferred_domains", EvidenceKind.DOMAIN, "to "),),
    "bounced": (("bounced_domains", EvidenceKind.DOMAIN, "to "),),
    "rejected": (("rejected_hosts", EvidenceKind.ADDRESS, ""),),
}
_TABLES = tuple(table for tables in _KINDS.values() for table, _, _ in tables)


class TopNames:
    """The most frequent names in bounded memory: of this hour, and of the hour before.

    Attributes:
        senders, hosts: Of messages received; names are appended as they stand in the lines, here and below.
        recipients, deferred, bounced: Of attempts to deliver.
        rejected: Clients.
    """

    def __init__(self) -> None:
        self._now = {table: HeavyHitters[bytes](_CAPACITY) for table in _TABLES}
        self._before = {table: HeavyHitters[bytes](_CAPACITY) for table in _TABLES}
        self._since = 0
        # Names as they stood in the lines, until they are looked at.
        self.senders: list[bytes] = []
        self.hosts: list[bytes] = []
        self.recipients: list[bytes] = []
        self.deferred: list[bytes] = []
        self.bounced: list[bytes] = []
        self.rejected: list[bytes] = []

    def turn(self, at: int) -> None:
        """Prepare for lines of this time: begin a new hour, and take what is pending if there is much of it."""
        lists = (self.senders, self.hosts, self.recipients, self.deferred, self.bounced, self.rejected)
        if at // _PERIOD != self._since or sum(map(len, lists)) > _MAX_PENDING:
            self._fold()
        if at // _PERIOD == self._since:
            return
        former, self._since = self._since, at // _PERIOD
        fresh = {table: HeavyHitters[bytes](_CAPACITY) for table in _TABLES}
        self._before = self._now if self._since == former + 1 else fresh
        self._now = {table: HeavyHitters[bytes](_CAPACITY) for table in _TABLES}

    def _fold(self) -> None:
        now = self._now
        for pending, names, domains in (
            (self.senders, "senders", "sender_domains"),
            (self.recipients, "recipients", "recipient_domains"),
            (self.deferred, "", "deferred_domains"),
            (self.bounced, "", "bounced_domains"),
            (self.hosts, "hosts", ""),
            (self.rejected, "rejected_hosts", ""),
        ):
            by_domain: Counter[bytes] = Counter()
            for text, times in Counter(pending).items():
                name = text[:_MAX_NAME].lower()
                if names:
                    now[names].add(name or b"<>", times)
                if domains:
                    by_domain[name.rpartition(b"@")[2]] += times
            for domain, times in by_domain.items():
                if domain:
                    now[domains].add(domain, times)
            pending.clear()

    def evidence(self) -> Mapping[str, Evidence]:
        """Return the leading names by event, ten at most each."""
        self._fold()
        found: dict[str, Evidence] = {}
        for event, tables in _KINDS.items():
            share = 10 // len(tables)
            found[event] = tuple(
                EvidenceItem(kind, prefix + name.decode("utf-8", "replace"), count)
                for table, kind, prefix in tables
                for name, count in self._top(table, share)
            )
        return found

    def _top(self, table: str, number: int) -> list[tuple[bytes, int]]:
        counts: dict[bytes, int] = {}
        for hitters in (self._now[table], self._before[table]):
            for name, count in hitters.top(2 * number):
                counts[name] = counts.get(name, 0) + count
        return sorted(counts.items(), key=lambda item: -item[1])[:number]
