import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import ClassVar

import pytest
from fakes import FakeHost, ManualClock

from collectors.logs import collector as logs
from collectors.logs.collector import PARTS, LogsCollector
from zcs_exporter.contract import (
    Clock,
    CollectError,
    Collector,
    CollectorConfig,
    Durable,
    Finding,
    LogBlock,
    LogFed,
    LogSubscription,
    Metric,
    NotOnThisHost,
    Reason,
    Record,
    Sample,
    Shortfall,
    Subscription,
)
from zcs_exporter.hostio import Host

MAILBOX = "/opt/zimbra/log/mailbox.log"
FATAL = b"2024-03-02 10:25:11,402 FATAL [main] [] system - out of memory\njava.lang.OutOfMemoryError: Java heap space\n"


def make(host: FakeHost, manual: ManualClock) -> LogsCollector:
    return LogsCollector(CollectorConfig(), host, manual.clock)


def feed(collector: LogsCollector, path: str, data: bytes) -> None:
    for wish in collector.subscriptions():
        if wish.path == path and isinstance(wish, LogSubscription):
            wish.feed(LogBlock(path, data, 0, True))


def collect(collector: Collector) -> Sequence[Finding]:
    return asyncio.run(collector.collect())


def values(findings: Sequence[Finding]) -> dict[tuple[str, ...], float]:
    return {(each.metric.name, *each.labels): each.value for each in findings if isinstance(each, Sample)}


def test_it_is_a_collector_that_is_fed_and_keeps_what_it_counted(host: FakeHost, manual: ManualClock) -> None:
    collector = make(host, manual)

    assert isinstance(collector, Durable)
    assert isinstance(collector, LogFed)


def test_a_host_without_zcs_or_without_logs_has_none(
    host: FakeHost, manual: ManualClock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = FakeHost(tmp_path_factory.mktemp("stranger"))
    stranger.write("/var/log/zimbra.log", "")

    for empty in (host, stranger):
        with pytest.raises(NotOnThisHost):
            collect(make(empty, manual))


def test_what_parts_count_comes_from_one_collector_and_survives_a_restart(host: FakeHost, manual: ManualClock) -> None:
    host.write(MAILBOX, FATAL)
    before = make(host, manual)
    feed(before, MAILBOX, FATAL)
    found = collect(before)

    assert values(found)["zcs_log_events_total", "mailbox.log", "fatal", "system"] == 1
    assert {each.kind for each in found if isinstance(each, Record)} == {"fatal", "out_of_memory"}
    rows = {key: row for key, row in before.changes().items() if row is not None}
    assert {key.partition("/")[0] for key in rows} >= {"mailbox"}

    after = make(host, manual)
    after.restore(rows)
    feed(after, MAILBOX, b"")
    assert values(collect(after)) == values(collect(before))


def test_without_lines_to_come_it_publishes_no_counters(host: FakeHost, manual: ManualClock) -> None:
    host.write(MAILBOX, FATAL)

    names = {key[0] for key in values(collect(make(host, manual)))}

    assert not names & {"zcs_log_events_total", "zcs_log_signals_total", "zcs_log_fatal_recent"}


def test_a_log_that_cannot_be_opened_is_a_shortfall_beside_the_others(host: FakeHost, manual: ManualClock) -> None:
    host.write(MAILBOX, "")
    host.write("/opt/zimbra/log/sync.log/file", "")
    collector = make(host, manual)
    collector.subscriptions()

    found = collect(collector)

    assert any(isinstance(each, Shortfall) and "/opt/zimbra/log/sync.log" in each.message for each in found)
    assert values(found)["zcs_log_fatal_recent",] == 0


def test_when_no_log_can_be_opened_it_fails(host: FakeHost, manual: ManualClock) -> None:
    host.write("/opt/zimbra/log/mailbox.log/file", "")

    with pytest.raises(CollectError, match=MAILBOX):
        collect(make(host, manual))


def test_all_samples_are_declared_and_no_series_has_two_parts(host: FakeHost, manual: ManualClock) -> None:
    collector = make(host, manual)
    for wish in collector.subscriptions():
        host.write(wish.path, "")

    found = [each for each in collect(collector) if isinstance(each, Sample)]

    assert {each.metric for each in found} <= set(LogsCollector.metrics)
    series = [(each.metric.name, each.labels, each.suffix, each.bound) for each in found]
    assert len(series) == len(set(series))
    assert {each.labels[0] for each in found if each.metric.name == "zcs_log_signals_total"} >= {"out_of_memory_heap"}


def test_parts_have_names_of_their_own() -> None:
    names = [part.name for part in PARTS]

    assert len(names) == len(set(names))
    assert not any("/" in name for name in names)


class Blind:
    """A part that cannot look at the host."""

    name: ClassVar[str] = "blind"
    metrics: ClassVar[tuple[Metric, ...]] = ()
    restored: ClassVar[list[Mapping[str, str]]] = []

    def __init__(self, host: Host, clock: Clock) -> None:
        pass

    def subscriptions(self) -> Sequence[Subscription]:
        return [LogSubscription(MAILBOX, lambda block: None)]

    def begin(self, logs: Collection[str]) -> None:
        pass

    def samples(self, now: float) -> Iterator[Sample]:
        yield from ()

    def findings(self) -> Iterator[Record]:
        yield Record("seen", 0.0)

    def restore(self, rows: Mapping[str, str]) -> None:
        self.restored.append(rows)

    def changes(self) -> Mapping[str, str | None]:
        return {"gone": None}

    async def look(self, now: float) -> Sequence[Finding]:
        raise CollectError(Reason.TIMEOUT, "looking at it: no answer", "see to it")


def test_a_part_that_cannot_look_holds_up_no_other(
    host: FakeHost, manual: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PARTS", (Blind,))
    host.write(MAILBOX, "")
    collector = make(host, manual)
    collector.subscriptions()

    assert collect(collector) == [
        Shortfall(Reason.TIMEOUT, "looking at it: no answer", "see to it"),
        Record("seen", 0.0),
    ]
    assert collector.changes() == {"blind/gone": None}
    collector.restore({"blind/a/b": "1", "other/c": "2"})
    assert Blind.restored == [{"a/b": "1"}]
