"""One collector's rounds: what is kept, what is refused, and that nothing escapes."""

import asyncio
import errno
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import pytest
from fakes import ManualClock

from zcs_exporter import blocking
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    Clock,
    CollectError,
    CollectorConfig,
    Event,
    Finding,
    Kind,
    Metric,
    NotOnThisHost,
    Reason,
    Shortfall,
)
from zcs_exporter.runner import Outcome, Runner, new_reading, next_reading

THINGS = Metric("zcs_things", Kind.GAUGE, "Things.", labels=("name",), max_series=3)
Work = Callable[[], Awaitable[Sequence[Finding]]]


class Scripted:
    """A collector that does what the test says."""

    name: ClassVar[str] = "scripted"
    metrics: ClassVar[tuple[Metric, ...]] = (THINGS,)
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = CollectorConfig

    def __init__(self, work: Work) -> None:
        self._work = work

    async def collect(self) -> Sequence[Finding]:
        return await self._work()


def returning(*findings: Finding) -> Work:
    async def work() -> Sequence[Finding]:
        return findings

    return work


def raising(exc: BaseException) -> Work:
    async def work() -> Sequence[Finding]:
        raise exc

    return work


def attempt(work: Work, *, required: bool = False, interval: float = 15.0) -> Outcome:
    runner = Runner(Scripted(work), interval, required=required, clock=Clock(), deliver=lambda _name, _outcome: None)
    return asyncio.run(runner.attempt())


def test_samples_events_and_shortfalls_are_told_apart() -> None:
    event, shortfall = Event("ZcsThing", 1.0), Shortfall(Reason.PERMISSION, "half")

    outcome = attempt(returning(THINGS.sample(1, name="a"), event, shortfall))

    assert [each.value for each in outcome.samples] == [1]
    assert outcome.events == (event,)
    assert outcome.shortfalls == (shortfall,)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CollectError(Reason.PARSE, "line 4"), Reason.PARSE),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), Reason.PERMISSION),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), Reason.UNAVAILABLE),
        (TimeoutError("the server's own"), Reason.TIMEOUT),
        (ZeroDivisionError("division by zero"), Reason.INTERNAL),
        (asyncio.CancelledError("of something it waited for"), Reason.INTERNAL),
        (SystemExit(3), Reason.INTERNAL),
    ],
)
def test_an_exception_becomes_a_failure_of_this_collector_alone(error: BaseException, reason: Reason) -> None:
    outcome = attempt(raising(error))

    assert outcome.error is not None
    assert outcome.error.reason is reason


def test_a_permission_error_names_the_grant() -> None:
    outcome = attempt(raising(PermissionError(errno.EACCES, "Permission denied", "/opt/zimbra/log")))

    assert outcome.error is not None
    assert "CAP_DAC_READ_SEARCH" in outcome.error.remedy
    assert "/opt/zimbra/log" in str(outcome.error)


def test_a_subject_that_is_not_here_is_neither_success_nor_failure_unless_required() -> None:
    absent = raising(NotOnThisHost("no spool"))

    assert attempt(absent).error is None
    assert attempt(absent).absent_because == "no spool"
    required = attempt(absent, required=True)
    assert required.error is not None
    assert required.absent_because is None


def test_a_round_longer_than_half_the_interval_is_a_timeout() -> None:
    async def forever() -> Sequence[Finding]:
        await asyncio.Event().wait()
        return ()

    outcome = attempt(forever, interval=0.02)

    assert outcome.error is not None
    assert outcome.error.reason is Reason.TIMEOUT
    assert "0.01 s" in str(outcome.error)


def test_an_undeclared_metric_is_a_bug_and_publishes_nothing() -> None:
    stranger = Metric("zcs_stranger", Kind.GAUGE, "?")

    outcome = attempt(returning(THINGS.sample(1, name="a"), stranger.sample(1)))

    assert outcome.samples == ()
    assert outcome.error is not None
    assert outcome.error.reason is Reason.INTERNAL


@pytest.mark.parametrize("findings", [None, 1, ["zcs_things 1"], [THINGS]])
def test_what_is_no_finding_is_a_bug_of_this_collector_alone(findings: object) -> None:
    async def work() -> Sequence[Finding]:
        return findings  # type: ignore[return-value]

    outcome = attempt(work)

    assert outcome.error is not None
    assert outcome.error.reason is Reason.INTERNAL


def test_one_series_twice_keeps_the_first_and_says_so() -> None:
    outcome = attempt(returning(THINGS.sample(1, name="a"), THINGS.sample(2, name="a")))

    assert [each.value for each in outcome.samples] == [1]
    assert "zcs_things" in outcome.shortfalls[0].message


def test_a_family_over_its_limit_is_cut_and_the_rest_counted() -> None:
    outcome = attempt(returning(*(THINGS.sample(1, name=str(number)) for number in range(5))))

    assert len(outcome.samples) == 3
    assert outcome.dropped == {"zcs_things": 2}
    assert outcome.shortfalls[0].message == (
        'series left out, since their families have too many: zcs_things{name="3"} and 1 more'
    )


def test_what_is_not_a_number_is_absent() -> None:
    assert attempt(returning(THINGS.sample(float("nan"), name="a"))).samples == ()


def test_last_good_samples_outlive_failures_until_their_age_and_no_longer() -> None:
    reading = new_reading(Scripted(returning()))
    good = Outcome(100.0, 0.1, (THINGS.sample(1, name="a"),), ended=5.0)
    failed = Outcome(9000.0, 0.1, error=CollectError(Reason.TIMEOUT, "slow"), ended=20.0)  # the wall clock was set

    reading = next_reading(reading, good, 60.0)
    reading = next_reading(reading, failed, 60.0)
    assert reading.samples == good.samples
    assert not reading.stale
    reading = next_reading(reading, replace(failed, ended=66.0), 60.0)
    assert reading.samples == ()
    assert reading.stale
    assert reading.errors == {Reason.TIMEOUT: 2}
    assert reading.failure is not None
    assert reading.failure.since == 9000.0


def test_a_subject_that_went_away_takes_its_samples_along() -> None:
    reading = next_reading(new_reading(Scripted(returning())), Outcome(1.0, 0.1, (THINGS.sample(1, name="a"),)), 60.0)

    reading = next_reading(reading, Outcome(2.0, 0.1, absent_because="removed"), 60.0)

    assert reading.samples == ()
    assert reading.present is False
    assert reading.failure is None


def test_new_lines_start_a_round_before_the_interval_is_over() -> None:
    rounds: list[float] = []

    async def story() -> None:
        enough = asyncio.Event()

        async def work() -> Sequence[Finding]:
            rounds.append(time.monotonic())
            if len(rounds) == 2:
                enough.set()
            return ()

        runner = Runner(Scripted(work), 3600.0, required=False, clock=Clock(), deliver=lambda _name, _outcome: None)
        task = asyncio.create_task(runner.run())
        async with asyncio.timeout(10):
            while not rounds:
                await asyncio.sleep(0)
            runner.wake()
            await enough.wait()
        task.cancel()

    asyncio.run(story())

    assert len(rounds) == 2


def test_a_round_that_left_something_to_do_is_followed_by_another_before_the_interval_is_over() -> None:
    class Long(Scripted):
        unfinished = True

    async def story() -> list[float]:
        rounds: list[float] = []
        enough = asyncio.Event()

        async def work() -> Sequence[Finding]:
            rounds.append(time.monotonic())
            collector.unfinished = len(rounds) < 2
            if len(rounds) == 2:
                enough.set()
            return ()

        collector = Long(work)
        runner = Runner(collector, 3600.0, required=False, clock=Clock(), deliver=lambda _name, _outcome: None)
        task = asyncio.create_task(runner.run())
        async with asyncio.timeout(10):
            await enough.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        return rounds

    assert len(asyncio.run(story())) == 2


def test_a_hung_call_is_refused_until_it_returns_and_never_holds_up_the_end() -> None:
    async def story() -> tuple[str, int]:
        gate = threading.Event()
        call = BlockingCall("statvfs of /opt/zimbra/backup")
        first = asyncio.create_task(call(gate.wait))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(CollectError) as refused:
            await call(lambda: True)
        gate.set()
        while call.hung_for is not None:
            await asyncio.sleep(0)
        return str(refused.value), await call(lambda: 5)

    message, value = asyncio.run(story())

    assert "statvfs of /opt/zimbra/backup" in message
    assert value == 5


def test_manual_clock_is_what_outcomes_are_stamped_with() -> None:
    manual = ManualClock()
    runner = Runner(
        Scripted(returning()), 15.0, required=False, clock=manual.clock, deliver=lambda _name, _outcome: None
    )

    assert asyncio.run(runner.attempt()).at == manual.now


def test_calls_that_follow_each_other_share_a_thread_and_an_idle_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "KEPT", 0.05)

    async def story() -> list[int]:
        call = BlockingCall("asking")
        return [await call(threading.get_ident) for _ in range(5)]

    assert len(set(asyncio.run(story()))) == 1
    deadline = time.monotonic() + 10
    while any(thread.name == "quick calls" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_a_thread_a_call_fails_and_the_next_one_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def story() -> int:
        call = BlockingCall("asking")
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(CollectError, match="can't start new thread"):
                await call(lambda: 1)
        return await call(lambda: 2)

    assert asyncio.run(story()) == 2
