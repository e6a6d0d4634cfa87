"""What the logs of all programs tell beyond mail flow and logins: faults, levels, and silence.

Source: log/mailbox.log and the other logs below log/, /var/log/zimbra.log and the kernel's syslog file.
Privileges: group zimbra for ZCS's logs; CAP_DAC_READ_SEARCH for syslog files that zimbra may not read.
Cost: about 1 s of CPU for a gigabyte of mailbox.log in which little happens; a few MB of memory.
"""

import errno
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import ClassVar

from collectors.logs.daemons import DaemonsPart
from collectors.logs.freshness import FreshnessPart
from collectors.logs.gc import GcPart
from collectors.logs.kernel import KernelPart
from collectors.logs.mailbox import MailboxPart
from collectors.logs.part import LogPart, LookingPart
from collectors.logs.syslog import SyslogPart
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    Clock,
    CollectError,
    CollectorConfig,
    Finding,
    Metric,
    NotOnThisHost,
    Shortfall,
    Subscription,
    os_error,
)
from zcs_exporter.hostio import Host

PARTS: tuple[type[LogPart], ...] = (MailboxPart, SyslogPart, KernelPart, DaemonsPart, GcPart, FreshnessPart)
"""In the order of the page."""


class LogsCollector:
    """Puts together what each of its parts makes of its logs."""

    name: ClassVar[str] = "logs"
    metrics: ClassVar[tuple[Metric, ...]] = tuple(dict.fromkeys(chain.from_iterable(part.metrics for part in PARTS)))
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = CollectorConfig

    def __init__(self, config: CollectorConfig, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._call = BlockingCall("looking at the logs")
        self._parts = [part(host, clock) for part in PARTS]
        self._followed = False

    @property
    def record_kinds(self) -> Collection[str]:
        """Every kind of record that a part may tell."""
        return tuple(dict.fromkeys(chain.from_iterable(part.record_kinds for part in self._parts)))

    def subscriptions(self) -> Sequence[Subscription]:
        """Return the logs to follow; one that is not there now may come."""
        self._followed = True
        return self._wishes()

    def _wishes(self) -> Sequence[Subscription]:
        return tuple(chain.from_iterable(part.subscriptions() for part in self._parts))

    def restore(self, saved: Mapping[str, str]) -> None:
        """Give each part the rows it had saved."""
        for part in self._parts:
            begin = f"{part.name}/"
            part.restore({key.removeprefix(begin): value for key, value in saved.items() if key.startswith(begin)})

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows of all parts that changed, each under its part's name."""
        return {f"{part.name}/{key}": value for part in self._parts for key, value in part.changes().items()}

    async def collect(self) -> Sequence[Finding]:
        """Return counters, gauges, events and records.

        Raises:
            CollectError: No log can be opened.
            NotOnThisHost: There is none.
        """
        present, failures = await self._call(self._look)
        if not present:
            raise NotOnThisHost("neither ZCS nor one of its logs is here")
        if len(failures) == len(present):
            raise failures[0]
        findings: list[Finding] = [Shortfall(each.reason, str(each), each.remedy) for each in failures]
        now = self._clock.wall()
        for part in self._parts:
            if isinstance(part, LookingPart):
                try:
                    findings += await part.look(now)
                except CollectError as exc:
                    findings.append(Shortfall(exc.reason, str(exc), exc.remedy))
        if self._followed:
            for part in self._parts:
                part.begin(present)
            findings += self.counted()
        return findings

    def counted(self) -> Sequence[Finding]:
        """Return what the lines so far come to."""
        return list(self._counted(self._clock.wall()))

    def _counted(self, now: float) -> Iterator[Finding]:
        for part in self._parts:
            yield from part.samples(now)
            yield from part.findings()

    def _look(self) -> tuple[tuple[str, ...], list[CollectError]]:
        """Return the logs that exist, and what keeps some of them from being read; none where ZCS is not installed."""
        present: list[str] = []
        failures: list[CollectError] = []
        if not self._host.zcs.present():
            return (), failures
        for path in dict.fromkeys(each.path for each in self._wishes()):
            try:
                os.close(self._host.open(path))
            except OSError as exc:
                if exc.errno in (errno.ENOENT, errno.ENOTDIR):
                    continue
                failures.append(os_error(exc, f"opening {path}"))
            present.append(path)
        return tuple(present), failures
