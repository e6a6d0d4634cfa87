"""Who is behind the numbers of the last one to two hours, since midnight at most: out of the book of the day."""

import heapq
from collections.abc import Mapping

from zcs_exporter.contract import Evidence, EvidenceItem, EvidenceKind
from zcs_exporter.mailreport.day import DayBook

_PERIOD = 3600

# By event: which of the book's names are shown.
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

Counts = Mapping[str, Mapping[bytes, float]]


class TopNames:
    """The most frequent names, by what the book says more of them than it did one to two hours before."""

    def __init__(self, book: DayBook) -> None:
        """Take the book; nothing is written in it here."""
        self._book = book
        self._hour = 0
        # What the book said when this hour began, of which day, and when the hour before began.
        self._day = ""
        self._now: Counts = {}
        self._before: Counts = {}

    def turn(self, at: int) -> None:
        """Note what the book says if lines of this time begin another hour."""
        hour = at // _PERIOD
        if hour == self._hour:
            return
        day, counts = self._book.counts()
        if hour != self._hour + 1:
            self._before = counts
        else:
            self._before = self._now if day == self._day else {}
        self._now, self._hour, self._day = counts, hour, day

    def evidence(self) -> Mapping[str, Evidence]:
        """Return the leading names by event, ten at most each."""
        day, counts = self._book.counts()
        before = self._before if day == self._day else {}
        found: dict[str, Evidence] = {}
        for event, kinds in _KINDS.items():
            items: list[EvidenceItem] = []
            for each, kind, prefix in kinds:
                former = before.get(each, {})
                grown = ((count - former.get(name, 0), name) for name, count in counts.get(each, {}).items())
                items += (
                    EvidenceItem(kind, prefix + (name.decode("utf-8", "replace") or "<>"), int(count))
                    for count, name in heapq.nlargest(10 // len(kinds), grown)
                    if count > 0
                )
            found[event] = tuple(items)
        return found
