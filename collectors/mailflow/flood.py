"""Outbound flood: an account that somebody else took over sends far more than it ever did.

What an authenticated sender writes is counted in recipients, over the last ten minutes and the last hour, to
the minute. Each window is compared with a habit: the largest of

- the sender's own: a moving average, over the days on which it sent, of the day's fullest window, so that a
  newsletter once a week is known for what it is after a few weeks;
- the host's: the same average of the middle sender's fullest window of a day;
- a least habit (``LEAST``), under which nobody is called excessive.

The larger of the two quotients is the sender's ratio. A day counts with at most ten times the habit it was held
against, so a flood of one night does not make the next one normal, and a steady sender is trusted from the
third or fourth time on. A flood is confirmed by what comes of it: recipients whose mail was deferred at the
first attempt, or bounced, within the hour.

Lines that were written before the daemon could have seen them feed the habits and are told as records; the
gauges begin with the first full minute after them.
"""

import heapq
import json
from collections.abc import Iterator, Mapping

from zcs_exporter.contract import Evidence, EvidenceItem, EvidenceKind

MINUTE = 60
WINDOWS = (10, 60)
"""Lengths of the windows, in minutes."""
LEAST = (25.0, 100.0)
"""Least habit of each window, in recipients."""
MAX_SENDERS = 5000
"""Most senders whose habit is kept; the one that sent last longest ago is forgotten."""

_DAY = 86400
_WEIGHT = 0.3
_LEARNED = 10.0
_TOLD_SECONDS = 3600


class Sender:
    """What one account sent.

    Attributes:
        sent: Recipients by minute of the last hour.
        failed: Recipients not reached, likewise.
        sums: Recipients in each window, as of ``minute``.
        day: The day its ``peaks`` are of.
        peaks: Fullest windows of that day.
        habit: Averages of former days.
        told_at: When its flood was last put on record.
    """

    __slots__ = ("day", "failed", "habit", "minute", "peaks", "sent", "sums", "told_at")

    def __init__(self) -> None:
        self.sent: dict[int, int] = {}
        self.failed: dict[int, int] = {}
        self.sums = [0, 0]
        self.minute = 0
        self.day = 0
        self.peaks = [0, 0]
        self.habit = [0.0, 0.0]
        self.told_at = 0

    def save(self) -> str:
        """Return it as one row."""
        sent, failed = list(self.sent.items()), list(self.failed.items())
        habit = [round(each, 3) for each in self.habit]
        return json.dumps([self.minute, self.day, self.peaks, habit, self.told_at, sent, failed], separators=(",", ":"))

    def turn_to(self, minute: int) -> None:
        """Let the windows end with this minute, unless they end later.

        Who is an hour behind has had its clock set back, and begins anew.
        """
        if minute <= self.minute - WINDOWS[-1]:
            self.sent.clear()
            self.failed.clear()
        elif minute <= self.minute:
            return
        self.minute = minute
        for counts in (self.sent, self.failed):
            for over in [each for each in counts if each <= minute - WINDOWS[-1]]:
                del counts[over]
        self.sums = [_sum(self.sent, minute - length + 1) for length in WINDOWS]

    @classmethod
    def load(cls, saved: str) -> "Sender":
        """Return what ``save`` gave."""
        sender = cls()
        sender.minute, sender.day, sender.peaks, sender.habit, sender.told_at, sent, failed = json.loads(saved)
        sender.sent, sender.failed = dict(sent), dict(failed)
        sender.sums = [_sum(sender.sent, sender.minute - length + 1) for length in WINDOWS]
        return sender


class Flood:
    """The most excessive sender at a moment.

    Attributes:
        recipients, hour_recipients: The most that any sender wrote to.
        ratio: The largest ratio.
        undelivered: Recipients not reached of the sender with that ratio.
        by_ratio, by_recipients, by_hour: Senders behind the numbers.
    """

    def __init__(self) -> None:
        self.recipients = 0
        self.hour_recipients = 0
        self.ratio = 0.0
        self.undelivered = 0
        self.by_ratio: Evidence = ()
        self.by_recipients: Evidence = ()
        self.by_hour: Evidence = ()


class OutboundFlood:
    """The senders of one host, by log time."""

    def __init__(self) -> None:
        self._senders: dict[bytes, Sender] = {}
        self._active: set[bytes] = set()
        self._host_day = 0
        self._host_habit = [0.0, 0.0]
        self._live_from = 0
        self._changed: set[bytes] = set()
        self._saved: set[bytes] = set()
        self._host_changed = False

    def add(self, account: bytes, at: int, recipients: int, *, live: bool) -> float:
        """Count a message and return its sender's ratio."""
        account = account.lower()
        minute = at // MINUTE
        self._note_past(minute, live=live)
        self._turn_host(at // _DAY)
        sender = self._senders.pop(account, None)
        if sender is None:
            sender = Sender()
            if len(self._senders) >= MAX_SENDERS:
                self._forget(next(iter(self._senders)))
        self._senders[account] = sender
        self._active.add(account)
        self._changed.add(account)
        sender.turn_to(minute)
        if at // _DAY != sender.day:
            self._learn(sender)
            sender.day = at // _DAY
        sender.sent[minute] = sender.sent.get(minute, 0) + recipients
        for window, length in enumerate(WINDOWS):
            if minute > sender.minute - length:
                sender.sums[window] += recipients
                sender.peaks[window] = max(sender.peaks[window], sender.sums[window])
        return self._ratio(sender, sender.sums)

    def fail(self, account: bytes, at: int, *, live: bool) -> None:
        """Count a recipient of a sender who was not reached."""
        account = account.lower()
        sender = self._senders.get(account)
        if sender is None:
            return
        minute = at // MINUTE
        self._note_past(minute, live=live)
        sender.turn_to(minute)
        sender.failed[minute] = sender.failed.get(minute, 0) + 1
        self._active.add(account)
        self._changed.add(account)

    def tell(self, account: bytes, at: int) -> int | None:
        """Return the recipients of the last hour if the sender's flood was not put on record within the hour."""
        sender = self._senders[account.lower()]
        if abs(at - sender.told_at) < _TOLD_SECONDS:
            return None
        sender.told_at = at
        return sender.sums[-1]

    def look(self, now: float) -> Flood:
        """Return the state by the wall clock, of live lines alone."""
        minute = int(now) // MINUTE
        flood = Flood()
        ratios: list[tuple[float, bytes]] = []
        recent: list[tuple[int, bytes]] = []
        hour: list[tuple[int, bytes]] = []
        for account in list(self._active):
            sender = self._senders[account]
            if sender.minute <= minute - WINDOWS[-1]:
                self._active.discard(account)
                continue
            sums = [_sum(sender.sent, max(minute - length + 1, self._live_from)) for length in WINDOWS]
            if sums[-1]:
                ratios.append((self._ratio(sender, sums), account))
                recent.append((sums[0], account))
                hour.append((sums[-1], account))
        if not ratios:
            return flood
        flood.recipients, flood.hour_recipients = max(recent)[0], max(hour)[0]
        flood.ratio, worst = max(ratios)
        flood.undelivered = _sum(self._senders[worst].failed, max(minute - WINDOWS[-1] + 1, self._live_from))
        counts = {account: count for count, account in hour}
        flood.by_ratio = _evidence([(counts[account], account) for _, account in heapq.nlargest(10, ratios)])
        flood.by_recipients = _evidence(heapq.nlargest(10, recent))
        flood.by_hour = _evidence(heapq.nlargest(10, hour))
        return flood

    def changes(self) -> Iterator[tuple[str, str | None]]:
        """Yield the rows that changed since the last call."""
        for account in self._changed:
            key = f"sender:{account.decode('latin-1')}"
            sender = self._senders.get(account)
            if sender is not None:
                self._saved.add(account)
                yield key, sender.save()
            elif account in self._saved:
                self._saved.discard(account)
                yield key, None
        self._changed.clear()
        if self._host_changed:
            self._host_changed = False
            yield "flood", json.dumps([self._live_from, self._host_day, self._host_habit])

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over the rows of an earlier process."""
        if "flood" in saved:
            self._live_from, self._host_day, self._host_habit = json.loads(saved["flood"])
        found = [
            (Sender.load(row), key.partition(":")[2].encode("latin-1"))
            for key, row in saved.items()
            if key.startswith("sender:")
        ]
        for sender, account in sorted(found, key=lambda each: each[0].minute):
            self._senders[account] = sender
            self._saved.add(account)
            self._active.add(account)

    def _note_past(self, minute: int, *, live: bool) -> None:
        if not live and minute >= self._live_from:
            self._live_from = minute + 1
            self._host_changed = True

    def _base(self, sender: Sender, window: int) -> float:
        return max(sender.habit[window], self._host_habit[window], LEAST[window])

    def _ratio(self, sender: Sender, sums: list[int]) -> float:
        return max(sums[window] / self._base(sender, window) for window in range(len(WINDOWS)))

    def _learn(self, sender: Sender) -> None:
        """Take the sender's last day into its habit."""
        if sender.day:
            for window, peak in enumerate(sender.peaks):
                learned = min(peak, _LEARNED * self._base(sender, window))
                sender.habit[window] += _WEIGHT * (learned - sender.habit[window])
        sender.peaks = [0, 0]

    def _turn_host(self, day: int) -> None:
        """Take the host's last day into its habit once a new one begins."""
        if day <= self._host_day:
            return
        for window in range(len(WINDOWS)):
            peaks = [sender.peaks[window] for sender in self._senders.values() if sender.day == self._host_day]
            if peaks:
                most = _LEARNED * max(self._host_habit[window], LEAST[window])
                middle = min(sorted(peaks)[(len(peaks) - 1) // 2], most)
                self._host_habit[window] += _WEIGHT * (middle - self._host_habit[window])
        self._host_day = day
        self._host_changed = True

    def _forget(self, account: bytes) -> None:
        del self._senders[account]
        self._active.discard(account)
        if account in self._saved:
            self._changed.add(account)
        else:
            self._changed.discard(account)  # nobody was told of it


def _sum(counts: Mapping[int, int], first: int) -> int:
    return sum(count for minute, count in counts.items() if minute >= first)


def _evidence(top: list[tuple[int, bytes]]) -> Evidence:
    return tuple(
        EvidenceItem(EvidenceKind.ACCOUNT, account.decode("utf-8", "replace"), count) for count, account in top
    )
