"""The most frequent of any number of things, in bounded memory: Space-Saving with a lazy heap.

Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data
Streams" (2005). With ``capacity`` counters, whatever occurs more often than the total divided by
``capacity`` is among them, and no count is too high by more than that.
"""

import heapq
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class HeavyHitters(Generic[K]):
    """Counts the most frequent keys.

    Attributes:
        counts: How often each key that is kept occurred, at most.
        errors: By how much a count may be too high; only for keys that took the place of another.
    """

    def __init__(self, capacity: int) -> None:
        """Keep at most ``capacity`` keys."""
        self._capacity = capacity
        self.counts: dict[K, int] = {}
        self.errors: dict[K, int] = {}
        # One entry a key: its place in the order of entry, and its count when it was last looked at.
        self._heap: list[tuple[int, int, K]] = []
        self._entered = 0

    def add(self, key: K, times: int = 1) -> K | None:
        """Count ``key`` up; return the key that had to go for it, if one had to."""
        counts = self.counts
        if key in counts:
            counts[key] += times
            return None
        evicted, least = None, 0
        if len(counts) >= self._capacity:
            evicted, least = self._evict()
            self.errors[key] = least
        counts[key] = least + times
        self._entered += 1
        heapq.heappush(self._heap, (least + times, self._entered, key))
        return evicted

    def top(self, number: int) -> list[tuple[K, int]]:
        """Return the most frequent keys with their counts, most frequent first, the older first among equals."""
        return heapq.nlargest(number, self.counts.items(), key=lambda item: item[1])

    def load(self, entries: Iterable[tuple[K, int, int]]) -> None:
        """Take over keys with their counts and errors."""
        for key, count, error in entries:
            if key not in self.counts and len(self.counts) < self._capacity:
                self.add(key, count)
                if error:
                    self.errors[key] = error

    def _evict(self) -> tuple[K, int]:
        heap = self._heap
        while True:
            noted, entered, key = heap[0]
            count = self.counts[key]
            if count == noted:
                heapq.heappop(heap)
                del self.counts[key]
                self.errors.pop(key, None)
                return key, count
            heapq.heapreplace(heap, (count, entered, key))
