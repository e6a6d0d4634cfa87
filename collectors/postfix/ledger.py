"""The books of a spool: what its messages come to, whose they are, and which were deferred for the first time."""

import heapq
import os
from collections import Counter

from collectors.formats.queue_file import Envelope
from collectors.postfix.known import BASELINE, FRESH, NEVER, READ, UNREADABLE, WRITING, Folder, Names, Queue, Top

_NO_ENVELOPE = Envelope(None, None, None, "")
_TOP = 10


def stamp(status: os.stat_result) -> int:
    """Return what a folder keeps of a file's time of change."""
    return status.st_ctime_ns & 0xFFFFFFFF


class Ledger:
    """Enters messages into the sums of their queues and takes them out again.

    Attributes:
        began: When the spool was looked at first, in seconds since the epoch; None before.
    """

    def __init__(self, *, recent: float, max_names: int, max_departed: int) -> None:
        """Begin with no message.

        Args:
            recent: A message that arrived longer than this before the beginning is never newly deferred.
            max_names: Different senders, and different domains, to tell apart.
            max_departed: Messages remembered that left ``deferred`` and may come back.
        """
        self.began: float | None = None
        self._recent = recent
        self._senders = Names(max_names)
        self._domains = Names(max_names)
        self._departed: dict[int, int] = {}
        self._max_departed = max_departed
        self._newly_deferred: Counter[str] = Counter()

    @property
    def crowded(self) -> bool:
        """Whether there are more senders or domains in the queues than can be told apart."""
        return self._senders.crowded or self._domains.crowded

    def take_newly_deferred(self) -> Counter[str]:
        """Return the messages per sender that entered ``deferred`` since the last call."""
        taken, self._newly_deferred = self._newly_deferred, Counter()
        return taken

    def unready(self, folder: Folder, slot: int) -> None:
        """Note that a message is still being written."""
        self.forget(folder, slot)
        folder.states[slot] = WRITING
        folder.queue.messages -= 1

    def enter(self, folder: Folder, slot: int, status: os.stat_result, envelope: Envelope | None) -> None:
        """Count a message whose file was read, with no envelope if its records made no sense."""
        before = folder.states[slot]
        if before not in (BASELINE, FRESH):
            self.forget(folder, slot)
        queue = folder.queue
        folder.states[slot] = READ
        if envelope is None:
            folder.states[slot] = UNREADABLE
            queue.unreadable += before != UNREADABLE
            envelope = _NO_ENVELOPE
        size, arrival, sender, domain = envelope
        if size is None:
            size = status.st_size
        if arrival is None:
            arrival = status.st_mtime_ns // 10**9
        sender_number = 0 if sender is None else self._senders.take(sender or "<>")
        domain_number = self._domains.take(domain) if domain else 0
        folder.sizes[slot] = size
        folder.senders[slot] = sender_number
        folder.domains[slot] = domain_number
        folder.set_arrival(slot, arrival)
        queue.add(size, arrival, sender_number, domain_number)
        if before in (FRESH, WRITING) and queue.name == "deferred":
            self._note_deferral(folder, slot)

    def _note_deferral(self, folder: Folder, slot: int) -> None:
        returned = self._departed.pop(folder.keys[slot], None) == folder.arrivals[slot]
        # A retry under way when this reader began looks new when it returns, but for its age.
        if not returned and self.began is not None and folder.arrivals[slot] >= self.began - self._recent:
            sender = self._senders[folder.senders[slot]]
            self._newly_deferred["" if sender == "<>" else sender] += 1

    def remove(self, folder: Folder, slot: int) -> None:
        """Take a message out of its folder; the last one there takes its slot."""
        if folder.queue.name in ("deferred", "hold") and folder.states[slot] == READ:
            if len(self._departed) >= self._max_departed:
                del self._departed[next(iter(self._departed))]
            self._departed[folder.keys[slot]] = folder.arrivals[slot]
        self.forget(folder, slot)
        folder.queue.messages -= 1
        folder.drop(slot)

    def returned(self, folder: Folder, slot: int) -> None:
        """Note that a message is to be read anew, which went to be delivered and came back: it is not a new one."""
        self.forget(folder, slot)
        folder.states[slot] = BASELINE

    def forget(self, folder: Folder, slot: int) -> None:
        """Take what is known of a slot out of the sums and count it as an unread message."""
        queue = folder.queue
        state = folder.states[slot]
        folder.states[slot] = FRESH
        if state == WRITING:
            queue.messages += 1
        elif state in (READ, UNREADABLE):
            queue.take_out(folder.sizes[slot], folder.arrivals[slot], folder.senders[slot], folder.domains[slot])
            self._senders.release(folder.senders[slot])
            self._domains.release(folder.domains[slot])
            folder.sizes[slot] = folder.senders[slot] = folder.domains[slot] = 0
            folder.set_arrival(slot, NEVER)

    def top(self, queue: Queue) -> Top:
        """Return whose the messages of a queue are."""
        senders = self._senders.named(queue.senders)
        by_domain: Counter[str] = Counter()
        for sender, count in senders.items():
            if "@" in sender:
                by_domain[sender.rpartition("@")[2]] += count
        return Top(_largest(senders), _largest(by_domain), _largest(self._domains.named(queue.domains)))


def _largest(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    if len(counts) > _TOP:
        least = heapq.nlargest(_TOP, counts.values())[-1]
        counts = {name: count for name, count in counts.items() if count >= least}
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_TOP])
