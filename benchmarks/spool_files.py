"""Fills Postfix's deferred queue with messages that never were sent, in the true format of its files."""

import os
import random
import time
from pathlib import Path

from queue_writer import queue_file

from benchmarks.harness import say

_DEFERRED_FOR = 7 * 86400
"""Until when no delivery is tried: the queue manager takes a file's time for that of the next attempt."""


class SpoolFiles:
    """The messages that a benchmark has put into a queue."""

    def __init__(self, spool: Path) -> None:
        """Begin with none; what else is in the queue stays there."""
        self._root = spool / "deferred"
        self._pick = random.Random(11)
        self._paths: list[str] = []
        self._number = 0
        self._now = int(time.time())
        self._bodies = [
            queue_file(
                2000 + number * 37,
                self._now - number * 900,
                f"sender{number % 200}@example.com",
                (f"user@dest{number % 90}.example.net",),
            )
            for number in range(400)
        ]
        owner = spool.stat() if not self._root.exists() else self._root.stat()
        self._owner = (owner.st_uid, owner.st_gid)
        for digit in "0123456789ABCDEF":
            place = self._root / digit
            place.mkdir(parents=True, exist_ok=True)
            os.chown(place, *self._owner)
            place.chmod(0o700)

    def __len__(self) -> int:
        return len(self._paths)

    def grow(self, number: int) -> None:
        """Add messages until there are so many."""
        begun = time.monotonic()
        while len(self._paths) < number:
            self._add()
        say(f"{number:,} messages in the queue ({time.monotonic() - begun:.1f} s)")

    def change(self, number: int) -> None:
        """Take away half as many messages and add as many others."""
        for _ in range(number // 2):
            slot = self._pick.randrange(len(self._paths))
            os.unlink(self._paths[slot])
            self._paths[slot] = self._paths[-1]
            self._paths.pop()
        for _ in range(number - number // 2):
            self._add()

    def clear(self) -> None:
        """Take all away."""
        for path in self._paths:
            os.unlink(path)
        self._paths.clear()

    def _add(self) -> None:
        self._number += 1
        # Five digits of microseconds, the first of which names the directory, then what would be the inode.
        name = f"{self._pick.randrange(1 << 20):05X}{self._number:07X}"
        path = f"{self._root}/{name[0]}/{name}"
        # As Postfix does: 0600 until it is complete.
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, self._bodies[self._number % len(self._bodies)])
            os.fchown(descriptor, *self._owner)
            os.fchmod(descriptor, 0o700)
            os.utime(descriptor, (self._now, self._now + _DEFERRED_FOR))
        finally:
            os.close(descriptor)
        self._paths.append(path)
