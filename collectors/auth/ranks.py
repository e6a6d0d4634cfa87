"""Keys by how often they occur, with the largest number always at hand."""

from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")


class Ranks(Generic[K]):
    """Keys that occur twice or more, by their number: most occur once and need no entry."""

    def __init__(self) -> None:
        self._keys: dict[int, dict[K, None]] = {}
        self._largest = 1

    @property
    def largest(self) -> int:
        """The largest number; 1 where none is larger."""
        return self._largest

    def move(self, key: K, before: int, after: int) -> None:
        """Take note that a key occurs ``after`` times, no longer ``before``."""
        keys = self._keys
        if before > 1:
            level = keys[before]
            del level[key]
            if not level:
                del keys[before]
        if after > 1:
            new = keys.get(after)
            if new is None:
                keys[after] = {key: None}
            else:
                new[key] = None
            if after > self._largest:
                self._largest = after
        # Each step down was paid for by a step up, so this is constant on average.
        while self._largest > 1 and self._largest not in keys:
            self._largest -= 1

    def rise(self, key: K, before: int) -> None:
        """Take note that a key occurs once more than ``before`` times: what ``move`` does, at half the cost."""
        keys, after = self._keys, before + 1
        if before > 1:
            level = keys[before]
            del level[key]
            if not level:
                del keys[before]
        new = keys.get(after)
        if new is None:
            keys[after] = {key: None}
        else:
            new[key] = None
        if after > self._largest:
            self._largest = after

    def descending(self) -> Iterator[tuple[int, dict[K, None]]]:
        """Yield the numbers from the largest down to 2, each with its keys."""
        # There are never more different numbers than the square root of twice their sum.
        for number in sorted(self._keys, reverse=True):
            yield number, self._keys[number]

    def top(self) -> Iterator[tuple[K, int]]:
        """Yield the keys with their numbers, largest first."""
        return ((key, number) for number, keys in self.descending() for key in keys)
