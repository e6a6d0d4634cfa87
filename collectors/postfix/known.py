"""What is known of Postfix's queues, in little memory.

A message takes about 60 bytes here, so that a million of them fit where one object each would not.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat

from collectors.postfix.index import Index

NEVER = 1 << 62
"""Arrival of a message that is not read yet: later than any."""

BASELINE, FRESH, WRITING, READ, UNREADABLE = range(5)
"""What is known of a message: there at the first look, new, still being written, read, or unreadable."""

_CROWD = 1


class Names:
    """Texts under small numbers, each as long as something refers to it.

    Number 0 stands for none, 1 for any that had no place.
    """

    def __init__(self, limit: int) -> None:
        """Tell at most ``limit`` texts apart."""
        self._limit = limit
        self._numbers: dict[str, int] = {}
        self._texts = ["", ""]
        self._uses = array("Q", [0, 0])
        self._free: list[int] = []

    @property
    def crowded(self) -> bool:
        """Whether a text in use had no place."""
        return self._uses[_CROWD] > 0

    def take(self, text: str) -> int:
        """Return the number of ``text`` and count one more use of it."""
        number = self._numbers.get(text)
        if number is None:
            if len(self._numbers) >= self._limit:
                number = _CROWD
            else:
                if self._free:
                    number = self._free.pop()
                    self._texts[number] = text
                else:
                    number = len(self._texts)
                    self._texts.append(text)
                    self._uses.append(0)
                self._numbers[text] = number
        self._uses[number] += 1
        return number

    def release(self, number: int) -> None:
        """Count one use less."""
        if number:
            self._uses[number] -= 1
            if not self._uses[number] and number != _CROWD:
                del self._numbers[self._texts[number]]
                self._texts[number] = ""
                self._free.append(number)

    def named(self, counts: Mapping[int, int]) -> dict[str, int]:
        """Return counts by text, of those that have one."""
        return {self._texts[number]: count for number, count in counts.items() if number > _CROWD}

    def __getitem__(self, number: int) -> str:
        return self._texts[number]


@dataclass(frozen=True, slots=True)
class Top:
    """The most frequent names in a queue with their messages, most first."""

    senders: tuple[tuple[str, int], ...] = ()
    sender_domains: tuple[tuple[str, int], ...] = ()
    destination_domains: tuple[tuple[str, int], ...] = ()


class Folder:
    """One directory of a queue and its messages, each a slot in packed arrays.

    Attributes:
        identity: Device, inode and time of change when it was last looked at; None where that proves nothing.
        watch: Number under which the kernel tells of it; None where it does not.
        unwatchable: Whether it would not when it was last asked to.
        listed_at: Monotonic time of the last listing.
        changed: Whether its time of change was a new one at the last look.
        told: Whether the kernel told of it at the last look.
        folders: Directories in it.
        states: What is known of each message.
        keys: Hash of its name and inode; 0 until it is read where the kernel told of its name alone.
        stamps: The last 32 bits of its file's time of change when it was read, 0 where that proves nothing.
    """

    def __init__(self, path: str, queue: "Queue", depth: int) -> None:
        """Begin with nothing in it."""
        self.path = path
        self.queue = queue
        self.depth = depth
        self.identity: tuple[int, int, int] | None = None
        self.watch: int | None = None
        self.unwatchable = False
        self.listed_at = 0.0
        self.changed = False
        self.told = False
        self.folders: dict[str, Folder] = {}
        self.states = bytearray()
        self.keys = array("q")
        self.stamps = array("I")
        self.sizes = array("q")
        self.arrivals = array("q")
        self.senders = array("I")
        self.domains = array("I")
        self._names = bytearray()
        self._width = 12
        self._index: Index | None = None
        self._oldest: int | None = NEVER
        self._oldest_times = 0

    def __len__(self) -> int:
        return len(self.states)

    def name(self, slot: int) -> str:
        """Return the name in a slot."""
        return self._names[slot * self._width : (slot + 1) * self._width].rstrip(b"\0").decode("ascii")

    def make_index(self) -> None:
        """Make ``find`` fast from now on."""
        if self._index is None:
            self._index = Index(self._names, self._width)

    def forget_index(self) -> None:
        """Give back the memory that takes."""
        self._index = None

    def find(self, name: str) -> int | None:
        """Return the slot of a name; None if it is not here."""
        if len(name) > self._width:
            return None
        self.make_index()
        assert self._index is not None  # noqa: S101 - just made
        return self._index.find(self._padded(name))

    def append(self, key: int, name: str, state: int) -> None:
        """Add a message of which only name and inode are known."""
        self.extend({key: name}, state)

    def extend(self, fresh: Mapping[int, str], state: int) -> None:
        """Add messages of which only names and inodes are known, by key."""
        if not fresh:
            return
        lengths = set(map(len, fresh.values()))
        longest = max(lengths)
        if longest > self._width:
            names = [self.name(slot) for slot in range(len(self))]
            self._width = longest
            self._names = bytearray().join(self._padded(known) for known in names)
            self._index = None
        number = len(fresh)
        if lengths == {self._width}:
            self._names += "".join(fresh.values()).encode("ascii")
        else:
            self._names += b"".join(map(self._padded, fresh.values()))
        self.states += bytes((state,)) * number
        self.keys.extend(fresh)
        for zeros in (self.stamps, self.sizes, self.senders, self.domains):
            zeros.frombytes(bytes(number * zeros.itemsize))
        self.arrivals.extend(repeat(NEVER, number))
        if self._index is not None:
            self._index.appended(number)

    def _padded(self, name: str) -> bytes:
        return name.encode("ascii").ljust(self._width, b"\0")

    def drop(self, slot: int) -> None:
        """Remove a slot, whose arrival is ``NEVER``; the last one takes its place."""
        if self._index is not None:
            self._index.drop(slot)
        for column in (
            self.states,
            self.keys,
            self.stamps,
            self.sizes,
            self.arrivals,
            self.senders,
            self.domains,
        ):
            last = column.pop()
            if slot < len(column):
                column[slot] = last
        if slot < len(self.states):
            self._names[slot * self._width : (slot + 1) * self._width] = self._names[-self._width :]
        del self._names[-self._width :]

    def oldest(self) -> int:
        """Return the earliest arrival."""
        if self._oldest is None:
            self._oldest = min(self.arrivals, default=NEVER)
            self._oldest_times = self.arrivals.count(self._oldest)
        return self._oldest

    def set_arrival(self, slot: int, arrival: int) -> None:
        """Note when a message arrived."""
        before = self.arrivals[slot]
        self.arrivals[slot] = arrival
        oldest = self._oldest
        if oldest is None or arrival == before:
            return
        if arrival < oldest:
            self._oldest, self._oldest_times = arrival, 1
        elif arrival == oldest:
            self._oldest_times += 1
        elif before == oldest:
            self._oldest_times -= 1
            if not self._oldest_times:
                self._oldest = None

    def tree(self) -> Iterator["Folder"]:
        """Iterate over this directory and all below it."""
        yield self
        for folder in self.folders.values():
            yield from folder.tree()


class Queue:
    """Running totals of one queue.

    Attributes:
        messages: All but those that are still being written.
        known: Those of them that were read and are in the sums below.
    """

    def __init__(self, name: str, path: str) -> None:
        """Begin with no message."""
        self.name = name
        self.root = Folder(path, self, 0)
        self.messages = 0
        self.known = 0
        self.bytes = 0
        self.unreadable = 0
        self.minutes: Counter[int] = Counter()
        self.hours: Counter[int] = Counter()
        self.senders: Counter[int] = Counter()
        self.domains: Counter[int] = Counter()
        self.top = Top()
        self.top_at = float("-inf")
        self.top_stale = False
        self._ages: tuple[int, ...] = ()
        self._ages_at: int | None = None

    def add(self, size: int, arrival: int, sender: int, domain: int) -> None:
        """Count a message that was read."""
        self.known += 1
        self.bytes += size
        self.minutes[arrival // 60] += 1
        self.hours[arrival // 3600] += 1
        self.senders[sender] += 1
        self.domains[domain] += 1
        self.top_stale = True
        self._ages_at = None

    def take_out(self, size: int, arrival: int, sender: int, domain: int) -> None:
        """Count it no more."""
        self.known -= 1
        self.bytes -= size
        _decrement(self.minutes, arrival // 60)
        _decrement(self.hours, arrival // 3600)
        _decrement(self.senders, sender)
        _decrement(self.domains, domain)
        self.top_stale = True
        self._ages_at = None

    def ages(self, minute: int, ends: Sequence[int]) -> tuple[int, ...]:
        """Return how many messages are in each band of ages, given their ends in minutes, and how many are older."""
        if self._ages_at != minute:
            younger = [self._after(minute - end) for end in ends] if self.hours else [0] * len(ends)
            self._ages = tuple(upper - lower for lower, upper in pairwise([0, *younger, self.known]))
            self._ages_at = minute
        return self._ages

    def _after(self, minute: int) -> int:
        """Return how many messages arrived in a later minute."""
        # By the hour as far as possible: a queue may have messages of each of seven thousand minutes.
        hour = minute // 60
        later = sum([count for other, count in self.hours.items() if other > hour])
        return later + sum([self.minutes.get(other, 0) for other in range(minute + 1, (hour + 1) * 60)])


def _decrement(counter: Counter[int], key: int) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
