"""What the mail system did on one day, for those who only read it."""

from collections.abc import Mapping
from dataclasses import dataclass

from zcs_exporter.mailreport.page import Hour, Page
from zcs_exporter.mailreport.reason import MAX_REASON
from zcs_exporter.mailreport.rows import PREFIX, SavedPage
from zcs_exporter.mailreport.top import DEFERS, Tally, TopTable
from zcs_exporter.text import one_line


@dataclass(frozen=True, slots=True)
class Name:
    """A sender, host, domain, recipient or reason of a day.

    Attributes:
        text: Printable, one line.
        count: Messages, deliveries or lines.
        size: Bytes of them.
        deferrals: Of a domain's deliveries.
        delay: Average delay of deliveries in seconds; None where there was none or it is not kept.
        longest: Longest of them.
        exact: False where it may have come to more, before it was among those that are kept.
    """

    text: str
    count: int
    size: int
    deferrals: int
    delay: float | None
    longest: float | None
    exact: bool


@dataclass(frozen=True, slots=True)
class Names:
    """One kind of names of a day.

    Attributes:
        distinct: How many there were; where not ``exact``, at least.
        kept: Those that are known.
    """

    distinct: int
    exact: bool
    kept: tuple[Name, ...]

    def by_count(self, number: int) -> list[Name]:
        """Return the most frequent."""
        return sorted(self.kept, key=lambda name: (-name.count, -name.deferrals, name.text))[:number]

    def by_size(self, number: int) -> list[Name]:
        """Return those with the most bytes."""
        return sorted(self.kept, key=lambda name: (-name.size, -name.count, name.text))[:number]


@dataclass(frozen=True, slots=True)
class MailDay:
    """What the mail system did on one day.

    Attributes:
        day: Such as ``2024-03-02``.
        totals: Of all hours.
        hours: By hour of the clock; those without a line are left out.
        causes: Rejections by cause, most frequent first.
        verdicts: Messages by the content filter's verdict, most frequent first.
        names: By the tables of ``page.TABLES``.
    """

    day: str
    totals: Hour
    hours: Mapping[int, Hour]
    causes: Mapping[str, int]
    verdicts: Mapping[str, int]
    names: Mapping[str, Names]


def read_day(rows: Mapping[str, str], day: str) -> MailDay | None:
    """Return a day from the rows of a book; None if there are none of it.

    Raises:
        ValueError: They are damaged.
    """
    saved = SavedPage(Page(day))
    page = saved.page
    if (packed := rows.get(PREFIX + day)) is not None:
        page.unpack(packed)
    elif any(key.startswith(f"{PREFIX}{day}:") for key in rows):
        saved.restore(rows)
    else:
        return None
    totals = Hour()
    for hour in page.hours.values():
        totals.add(hour)
    return MailDay(
        day,
        totals,
        page.hours,
        _ordered(page.causes),
        _ordered(page.verdicts),
        {table: _names(top) for table, top in page.tables.items()},
    )


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return {one_line(name): counts[name] for name in sorted(counts, key=lambda name: (-counts[name], name))}


def _names(table: TopTable) -> Names:
    return Names(table.distinct, not table.names, tuple(_name(*item) for item in table.tallies.items()))


def _name(name: bytes, tally: Tally) -> Name:
    text = one_line(name.decode("utf-8", "replace"), MAX_REASON).strip() or "<>"
    count, size, missed = (int(number) for number in tally[:DEFERS])
    deferrals, delay, longest = tally[DEFERS:] or (0, 0.0, 0.0)
    average = delay / count if count and len(tally) > DEFERS else None
    return Name(text, count, size, int(deferrals), average, longest if average is not None else None, not missed)
