"""Feeds lines to a part of the logs collector as the daemon would: in blocks, and through restarts."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from fakes import FakeHost, ManualClock

from collectors.logs.part import LogPart
from zcs_exporter.contract import Clock, LogBlock, LogSubscription, Record, Sample, SyslogSubscription
from zcs_exporter.hostio import Host
from zcs_exporter.syslog import SyslogReader

NAMES = (b"mail", b"mail.example.com")


class MakesPart(Protocol):
    """A class of parts."""

    def __call__(self, host: Host, clock: Clock) -> LogPart: ...


Series = tuple[str, tuple[tuple[str, str], ...]]


class Feeder:
    """One part, the lines it was given, and what it makes of them."""

    def __init__(self, make: MakesPart, host: FakeHost, manual: ManualClock) -> None:
        self._make, self._host, self._manual = make, host, manual
        self._rows: dict[str, str] = {}
        self._offsets: dict[str, int] = {}
        self._previous: dict[str, int] = {}
        self.records: list[Record] = []
        self._start()

    def _start(self) -> None:
        self.part = self._make(self._host, self._manual.clock)
        self.part.restore(dict(self._rows))
        subscriptions = self.part.subscriptions()
        paths = {each.path for each in subscriptions}
        self._raw: dict[str, list[Callable[[LogBlock], None]]] = {path: [] for path in paths}
        self._syslog: dict[str, SyslogReader] = {}
        for path in paths:
            self._raw[path] += [
                each.feed for each in subscriptions if isinstance(each, LogSubscription) and each.path == path
            ]
            wishes = [each for each in subscriptions if isinstance(each, SyslogSubscription) and each.path == path]
            if wishes:
                self._syslog[path] = SyslogReader(wishes, NAMES, self._previous.get(path, 0), self._manual.clock)

    def feed(self, path: str, *lines: bytes | str, live: bool = True) -> "Feeder":
        """Give it one block."""
        data = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
        block = LogBlock(path, data, self._offsets.get(path, 0), live)
        self._offsets[path] = block.offset + len(data)
        for feed in self._raw[path]:
            feed(block)
        if path in self._syslog:
            self._syslog[path].feed(block)
        return self

    def commit(self) -> None:
        """Save what changed, as after each turn."""
        for key, value in self.part.changes().items():
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value

    def restart(self) -> None:
        """End the process after a commit and start the next."""
        self.commit()
        self._previous = {path: reader.previous for path, reader in self._syslog.items()}
        self._start()

    def take(self) -> list[Record]:
        """Return the records since the last call."""
        found = [each for each in self.part.findings() if isinstance(each, Record)]
        self.records += found
        return found

    def samples(self) -> list[Sample]:
        return list(self.part.samples(self._manual.now))

    def values(self) -> dict[Series, float]:
        """Return every series with its value."""
        return {(each.metric.name + each.suffix, each.label_pairs()): each.value for each in self.samples()}

    def value(self, name: str, /, **labels: str) -> float | None:
        """Return one series; None where there is none."""
        return self.values().get((name, tuple(labels.items())))

    def signal(self, signal: str, /) -> float:
        return self.value("zcs_log_signals_total", signal=signal) or 0.0


def seen(samples: Iterable[object]) -> Mapping[Series, float]:
    """Return the samples among findings by series."""
    return {(each.metric.name, each.label_pairs()): each.value for each in samples if isinstance(each, Sample)}


def look(part: object, now: float) -> Mapping[Series, float]:
    """Return what a part sees on the host."""
    return seen(asyncio.run(part.look(now)))  # type: ignore[attr-defined]
