"""Reads a syslog file for all who wish lines of it, in one pass of one regular expression.

A line counts for a program only if it stands at its place in it: the stamp, one of this host's names,
the program, its pid. What another host sent to a logger host, and what only looks like a prefix further
on in a line, is never taken. Splitting every line costs half a microsecond; a line that nobody wishes, a tenth.
"""

import contextlib
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from itertools import islice

from zcs_exporter.contract import (
    Clock,
    CollectError,
    LogBlock,
    Reason,
    SyslogBlock,
    SyslogLine,
    SyslogSubscription,
    line_starts,
)
from zcs_exporter.hostio import Host
from zcs_exporter.log_time import LogTime
from zcs_exporter.syslog_prefix import HOST, PID, PROGRAM, STAMP, stamp_time

STRANGE_AFTER = 600.0
"""Seconds that a log may grow without one line of this host before that is said."""

_MOST_NAMED = 5
_LOOKED_AT = 100
_KNOWN_PROGRAMS = 1000

_MESSAGE = rb"(?:\[(" + PID + rb")\])?: ([^\n]*)"
_ANY_HOST = re.compile(rb"\n" + STAMP + rb" (" + HOST + rb") ")


def log_host_names(host: Host) -> frozenset[bytes]:
    """Return the names that syslog may give this host: of the kernel and of ZCS, whole and without domain."""
    names = {host.zcs.hostname() or ""}
    with contextlib.suppress(OSError):  # the name in localconfig is left
        names.add(host.read_text("/proc/sys/kernel/hostname").strip())
    names |= {name.partition(".")[0] for name in names}
    return frozenset(name.lower().encode() for name in names if name)


def hosts_in(data: bytes) -> list[bytes]:
    """Return the hosts of the first lines of some, each of which follows a newline."""
    return [match[1] for match in islice(_ANY_HOST.finditer(data), _LOOKED_AT)]


def only_strangers(names: Collection[bytes], hosts: Iterable[bytes], when: str) -> CollectError:
    """Return the problem of a log that has lines of these hosts and none of the host called ``names``."""
    seen = ", ".join(name.decode("ascii", "replace") for name in hosts)
    ours = ", ".join(sorted(name.decode("ascii", "replace") for name in names)) or "unknown"
    return CollectError(
        Reason.UNAVAILABLE,
        f"no line of this host ({ours}) {when}, only of {seen}",
        "let the kernel's host name or zimbra_server_hostname be the name that syslog writes",
    )


def strangers_at_the_end(data: bytes, names: Collection[bytes]) -> CollectError | None:
    """Return what is wrong with the last lines of a log if other hosts wrote them all; None if this one wrote any."""
    data = b"\n" + data
    seen = dict.fromkeys(hosts_in(data))
    if not seen or _lines_of(names).search(data):
        return None
    return only_strangers(names, list(seen)[:_MOST_NAMED], "among its last lines")


def _lines_of(names: Collection[bytes] | None) -> re.Pattern[bytes]:
    """Return what the lines of the host called ``names`` begin with, None for any, after the newline before."""
    # Without a name no line is ours: a pattern that nothing matches.
    known = b"|".join(map(re.escape, sorted(names or ()))) or rb"(?!)"
    host = HOST if names is None else rb"(?i:" + known + rb")"
    return re.compile(rb"\n(" + STAMP + rb") " + host + rb" ")


class SyslogReader:
    """One syslog file and all wishes for it.

    Attributes:
        previous: Time of the last line wished for, by which a repeated hour is told apart; 0 where there is none.
        problem: Set while the log grows without any line of this host.
    """

    def __init__(
        self, wishes: Sequence[SyslogSubscription], names: Collection[bytes] | None, previous: int, clock: Clock
    ) -> None:
        """Prepare for lines of the host called ``names``, None for any; ``previous`` is that of an earlier process."""
        self._subscriptions = tuple(wish for wish in wishes if wish.wishes)
        self._by_text = tuple(wish for wish in wishes if wish.texts)
        self._clock = clock
        self._time = LogTime()
        self._time.previous = previous or None
        self._programs = [
            (index, re.compile(program)) for index, wish in enumerate(self._subscriptions) for program in wish.wishes
        ]
        self._takers: dict[bytes, tuple[int, ...]] = {}
        self._strange_since: float | None = None
        self._strangers: dict[bytes, None] = {}
        self.problem: CollectError | None = None
        self.names: frozenset[bytes] = frozenset()
        self.rename(names)

    @property
    def previous(self) -> int:
        """Time of the last line wished for; 0 where there is none."""
        return self._time.previous or 0

    def rename(self, names: Collection[bytes] | None) -> None:
        """Take other names for this host's; None for those of any host."""
        if names and frozenset(names) == self.names:
            return
        self.names = frozenset(names or ())
        self._own = _lines_of(names)
        for made in ("_wished", "_any"):
            self.__dict__.pop(made, None)

    # Made with the first lines: at the start of the daemon there are none, and they take a twentieth of it.
    @cached_property
    def _wished(self) -> re.Pattern[bytes]:
        return re.compile(self._own.pattern + rb"(" + _programs(self._subscriptions) + rb")" + _MESSAGE)

    @cached_property
    def _any(self) -> re.Pattern[bytes]:
        return re.compile(self._own.pattern + rb"(" + PROGRAM + rb")" + _MESSAGE)

    def feed(self, block: LogBlock) -> None:
        """Hand the lines of a block to those who wish them."""
        data = b"\n" + block.data
        self._feed_by_text(data, block)
        found = self._wished.findall(data)
        self._note_hosts(data, found)
        if not found:
            return
        now = self._clock.wall()
        last, at = b"", None
        new_line = tuple.__new__  # as SyslogLine does, at half the cost
        shares: list[list[SyslogLine]] = [[] for _ in self._subscriptions]
        takers: dict[bytes, list[Callable[[SyslogLine], None]]] = {}
        for stamp, program, pid, message in found:
            if stamp != last:
                last, at = stamp, stamp_time(stamp, self._time, now)
            line = new_line(SyslogLine, (at, program, pid, message))
            try:
                takes = takers[program]
            except KeyError:
                takes = takers[program] = [shares[index].append for index in self._takers_of(program)]
            for take in takes:
                take(line)
        for wish, lines in zip(self._subscriptions, shares, strict=True):
            if lines:
                wish.feed(SyslogBlock(block.path, lines, block.live, block, self._own))

    def _feed_by_text(self, data: bytes, block: LogBlock) -> None:
        now = self._clock.wall()
        for wish in self._by_text:
            lines = []
            for start in line_starts(data, wish.texts):
                match = self._any.match(data, start - 1)  # from the newline before
                # A text before the message stands in no message.
                if match is not None and any(text in match[4] for text in wish.texts):
                    stamp, program, pid, message = match.groups()
                    previous = self._time.previous
                    at = stamp_time(stamp, self._time, now)
                    lines.append(SyslogLine(at, program, pid or b"", message))
                    self._time.previous = previous  # these lines are not all, and come before the others
            if lines:
                wish.feed(SyslogBlock(block.path, lines, block.live, block, self._own))

    def _takers_of(self, program: bytes) -> tuple[int, ...]:
        found = self._takers.get(program)
        if found is None:
            if len(self._takers) >= _KNOWN_PROGRAMS:
                self._takers.clear()
            indexes = {index for index, pattern in self._programs if pattern.fullmatch(program)}
            found = self._takers[program] = tuple(sorted(indexes))
        return found

    def _note_hosts(self, data: bytes, found: Sequence[object]) -> None:
        if found or self._own.search(data):
            self._strange_since = self.problem = None
            self._strangers.clear()
            return
        for name in hosts_in(data):
            if len(self._strangers) < _MOST_NAMED:
                self._strangers[name] = None
        now = self._clock.monotonic()
        if self._strange_since is None:
            self._strange_since = now
        if self._strangers and now - self._strange_since >= STRANGE_AFTER:
            when = f"for {STRANGE_AFTER / 60:.0f} minutes"
            self.problem = only_strangers(self.names, self._strangers, when)


def _programs(subscriptions: Sequence[SyslogSubscription]) -> bytes:
    """Return the expression for the programs wished for, each only before a message wished of it."""
    starts: dict[bytes, list[bytes]] = {}
    for subscription in subscriptions:
        for program, start in subscription.wishes.items():
            starts.setdefault(program, []).append(start)
    if not starts:
        return rb"(?!)"
    return b"|".join(
        rb"(?:" + program + rb")(?=(?:\[" + PID + rb"\])?: (?:" + (b"" if b"" in wished else b"|".join(wished)) + rb"))"
        for program, wished in starts.items()
    )
