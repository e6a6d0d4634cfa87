"""Where everything that happened comes together and goes out again."""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from zcs_exporter.config import EventsConfig, PrivacyConfig
from zcs_exporter.contract import Clock, CollectError, Kind, Metric, Record, Recording, Sample
from zcs_exporter.events.entry import News, is_event, kind_of
from zcs_exporter.events.file import EventFile
from zcs_exporter.events.journal import SOCKET, Journal
from zcs_exporter.events.outlet import Outlet, Writer
from zcs_exporter.events.ring import Ring
from zcs_exporter.privacy import visible_kinds

EVENTS = Metric(
    "zcs_exporter_events_total", Kind.COUNTER, "Structured events since start, by what happened.", labels=("kind",)
)
WRITTEN = Metric(
    "zcs_exporter_events_written_total",
    Kind.COUNTER,
    "Structured events that an output took since start.",
    labels=("output",),
)
LOST = Metric(
    "zcs_exporter_events_lost_total",
    Kind.COUNTER,
    "Structured events since start that an output did not take while there was room to keep them.",
    labels=("output",),
)
WAITING = Metric(
    "zcs_exporter_events_waiting", Kind.GAUGE, "Structured events that an output has not taken yet.", labels=("output",)
)
EVENT_METRICS = (EVENTS, WRITTEN, LOST, WAITING)

MOST_KINDS = 150
"""Kinds that are counted apart; the words are ours, so more of them are a bug."""

CHANGE_PATIENCE = 0.5
"""Seconds that an output which a reload replaces gets to write what waits."""

_OWN_KINDS = ("alarm_raised", "alarm_updated", "alarm_cleared", "event", "started", "stopping")


class EventLog:
    """Numbers what happened, keeps the last of it for streams, and hands it to the outputs.

    Attributes:
        hostname: What the host is called in events from now on.
        ring: The last events.
    """

    def __init__(self, clock: Clock, hostname: str, journal: str = SOCKET) -> None:
        """Begin without outputs; ``journal`` is journald's socket."""
        self.hostname = hostname
        self.ring = Ring(clock)
        self._clock = clock
        self._journal = journal
        self._kinds = dict.fromkeys(_OWN_KINDS, 0)
        self._outlets: dict[str, tuple[object, Outlet]] = {}

    async def use(self, config: EventsConfig, privacy: PrivacyConfig, directory: str) -> None:
        """Write to these outputs from now on; one whose settings did not change goes on as it is."""
        makers: dict[str, Callable[[], Writer]] = {}
        if config.file is not None:
            path = os.path.join(directory, config.file)
            # Nobody but the daemon's user can read it.
            seen = visible_kinds(privacy, encrypted=True)
            makers["file"] = lambda: EventFile(path, seen, config.keep, config.max_mib << 20, self._clock)
        if config.journal:
            makers["journal"] = lambda: Journal(visible_kinds(privacy, encrypted=False), self._journal)
        settings = (config, privacy, directory)
        former = {name: outlet for name, (kept, outlet) in self._outlets.items() if kept != settings}
        await asyncio.gather(*(outlet.end(CHANGE_PATIENCE) for outlet in former.values()))
        self._outlets = {
            name: (settings, Outlet(make(), former.get(name)))
            if name in former or name not in self._outlets
            else self._outlets[name]
            for name, make in makers.items()
        }

    def begin(self, collectors: Iterable[object]) -> None:
        """Count from 0 what these may tell, so that the first of a kind is an increase."""
        for each in collectors:
            if isinstance(each, Recording):
                self._kinds = dict.fromkeys(each.record_kinds, 0) | self._kinds

    def record(self, news: Sequence[News]) -> None:
        """Take what happened, in order; never waits."""
        told = [each for each in news if isinstance(each, Record) or is_event(each)]
        if not told:
            return
        for each in told:
            kind = kind_of(each)
            known = kind in self._kinds or len(self._kinds) < MOST_KINDS
            counted = kind if known else "other"
            self._kinds[counted] = self._kinds.get(counted, 0) + 1
        entries = self.ring.add(self.hostname, told)
        for _, outlet in self._outlets.values():
            outlet.put(entries)

    def samples(self) -> Iterator[Sample]:
        """Yield what happened and how the outputs fare."""
        for kind, count in self._kinds.items():
            yield EVENTS.sample(count, kind=kind)
        for name, (_, outlet) in self._outlets.items():
            yield WRITTEN.sample(outlet.written, output=name)
            yield LOST.sample(outlet.lost, output=name)
            yield WAITING.sample(outlet.waiting, output=name)

    def problems(self) -> Sequence[tuple[str, CollectError]]:
        """Return the outputs that do not take events now, and why."""
        return [(outlet.place, outlet.trouble) for _, outlet in self._outlets.values() if outlet.trouble is not None]

    async def end(self, patience: float) -> None:
        """Give what waits a last chance to be written."""
        await asyncio.gather(*(outlet.end(patience) for _, outlet in self._outlets.values()))
        self._outlets = {}
