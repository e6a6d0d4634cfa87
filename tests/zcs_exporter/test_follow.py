"""Each log is read once for all its readers, and a bug in one of them stays its own."""

import asyncio
import json
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock

from zcs_exporter import follow as follow_module
from zcs_exporter.contract import LogBlock, LogSubscription, Reason
from zcs_exporter.follow import Followers, LogFollower
from zcs_exporter.sentry import INTERVAL
from zcs_exporter.tail import LogTail

LOG = "/opt/zimbra/log/audit.log"


def follow(
    host: FakeHost, manual: ManualClock, *feeds: Callable[[LogBlock], None], saved: str | None = None
) -> tuple[LogFollower, list[str]]:
    woken: list[str] = []
    return LogFollower(
        host, LOG, saved, [LogSubscription(LOG, feed) for feed in feeds], lambda: woken.append("woken"), manual.clock
    ), woken


def run(follower: LogFollower, story: Callable[[Followers], Awaitable[None]]) -> None:
    async def whole() -> None:
        followers = Followers()
        followers.start([follower])
        try:
            async with asyncio.timeout(20):
                await story(followers)
        finally:
            await followers.stop()

    asyncio.run(whole())


def append(host: FakeHost, data: bytes) -> None:
    with open(host.path(LOG), "ab") as file:
        file.write(data)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_all_readers_see_every_line_and_are_woken(host: FakeHost, manual: ManualClock) -> None:
    host.write(LOG, "old\n")
    first: list[bytes] = []
    second: list[bytes] = []
    follower, woken = follow(
        host, manual, lambda block: first.append(block.data), lambda block: second.append(block.data)
    )

    async def story(followers: Followers) -> None:
        await followers.opened()
        append(host, b"new\n")
        await until(lambda: bool(second))

    run(follower, story)

    assert first == second == [b"new\n"]
    assert woken == ["woken"]


def test_a_position_is_given_once_and_again_after_new_lines(host: FakeHost, manual: ManualClock) -> None:
    host.write(LOG, "old\n")
    follower, _ = follow(host, manual)
    seen = []

    async def story(followers: Followers) -> None:
        await followers.opened()
        seen.append(followers.positions())
        seen.append(followers.positions())
        append(host, b"new\n")
        await until(
            lambda: any(each.value == 1 for each in followers.samples() if each.metric.name.endswith("lines_total"))
        )
        seen.append(followers.positions())

    run(follower, story)

    assert [bool(each) for each in seen] == [True, False, True]


def test_a_bug_in_one_reader_neither_stops_the_other_nor_repeats_the_lines(
    host: FakeHost, manual: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    host.write(LOG, "")
    good: list[bytes] = []

    def bad(_block: LogBlock) -> None:
        raise ZeroDivisionError

    follower, _ = follow(host, manual, bad, lambda block: good.append(block.data))

    async def story(followers: Followers) -> None:
        await followers.opened()
        for line in (b"one\n", b"two\n"):
            append(host, line)
            await until(lambda line=line: line in good)  # type: ignore[misc]

    with caplog.at_level(logging.ERROR):
        run(follower, story)

    assert good == [b"one\n", b"two\n"]
    assert "bug in a collector" in caplog.text


def test_a_log_that_does_not_exist_has_no_series_and_holds_up_nothing(host: FakeHost, manual: ManualClock) -> None:
    follower, _ = follow(host, manual)

    async def story(followers: Followers) -> None:
        await followers.opened()
        assert list(followers.samples()) == []
        assert followers.problems() == []

    run(follower, story)


def test_a_log_that_cannot_be_read_is_a_problem_with_a_remedy(host: FakeHost, manual: ManualClock) -> None:
    (host.base / LOG.lstrip("/")).mkdir(parents=True)
    follower, _ = follow(host, manual)

    async def story(followers: Followers) -> None:
        await followers.opened()
        [(path, problem)] = followers.problems()
        assert path == LOG
        assert problem.remedy
        assert {each.metric.name: each.value for each in followers.samples()}["zcs_exporter_log_readable"] == 0

    run(follower, story)


def test_a_saved_position_that_makes_no_sense_is_told_and_the_log_followed_from_its_end(
    host: FakeHost, manual: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    host.write(LOG, "old\n")
    with caplog.at_level(logging.ERROR):
        follower, _ = follow(host, manual, saved="{nonsense")

    async def story(followers: Followers) -> None:
        await followers.opened()
        assert followers.positions()

    run(follower, story)

    assert LOG in caplog.text


class StuckHost(FakeHost):
    """A host whose logs lie on a disk that answers only when the test says so."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.answers = threading.Event()

    def stat(self, path: str) -> os.stat_result:
        self.answers.wait(20)
        return super().stat(path)


def test_a_disk_that_hangs_is_told_holds_up_nothing_and_loses_no_line(
    tmp_path: Path, manual: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "HUNG_AFTER", 0.05)
    monkeypatch.setattr(follow_module, "POLL", 0.01)
    stuck = StuckHost(tmp_path)
    stuck.write(LOG, "old\n")
    seen: list[bytes] = []
    follower, _ = follow(stuck, manual, lambda block: seen.append(block.data))

    async def story(followers: Followers) -> None:
        await followers.opened()
        [(_, problem)] = followers.problems()
        assert problem.reason is Reason.TIMEOUT
        stuck.answers.set()
        await until(lambda: followers.problems() == [])
        append(stuck, b"new\n")
        await until(lambda: bool(seen))

    run(follower, story)

    assert seen == [b"new\n"]


def test_a_bug_while_reading_is_told_once_and_the_log_is_tried_again(
    host: FakeHost, manual: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(follow_module, "POLL", 0.01)
    host.write(LOG, "old\n")
    seen: list[bytes] = []
    follower, _ = follow(host, manual, lambda block: seen.append(block.data))

    async def story(followers: Followers) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(LogTail, "read", lambda _tail: 1 // 0)
            await followers.opened()
            [(_, problem)] = followers.problems()
            assert problem.reason is Reason.INTERNAL
            await asyncio.sleep(0.05)
        await until(lambda: followers.problems() == [])
        append(host, b"new\n")
        await until(lambda: bool(seen))

    run(follower, story)

    assert caplog.text.count("ZeroDivisionError: integer") == 2  # the traceback, and the problem


def test_the_position_after_the_last_lines_is_given_even_once_following_has_ended(
    host: FakeHost, manual: ManualClock
) -> None:
    host.write(LOG, "old\n")
    seen: list[bytes] = []
    follower, _ = follow(host, manual, lambda block: seen.append(block.data))
    found: list[int] = []

    async def story(followers: Followers) -> None:
        await followers.opened()
        followers.positions()
        append(host, b"new\n")
        await until(lambda: bool(seen))
        await followers.stop()
        found.extend(json.loads(text)["offset"] for text in followers.positions().values())

    run(follower, story)

    assert found == [len("old\nnew\n")]


@pytest.mark.parametrize(("other", "expected"), [(None, 5.0), (0.0, follow_module.POLL)])
def test_a_log_is_looked_at_as_often_as_its_most_eager_reader_needs(
    host: FakeHost, manual: ManualClock, monkeypatch: pytest.MonkeyPatch, other: float | None, expected: float
) -> None:
    host.write(LOG, "")
    paces = [5.0] if other is None else [5.0, other]
    subscriptions = [LogSubscription(LOG, lambda _: None, pace=pace) for pace in paces]
    follower = LogFollower(host, LOG, None, subscriptions, lambda: None, manual.clock)
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(follow_module.asyncio, "sleep", note)

    async def story(_: Followers) -> None:
        await until(lambda: any(seconds > 0.1 and seconds != INTERVAL for seconds in slept))

    run(follower, story)

    assert {seconds for seconds in slept if seconds > 0.1} - {INTERVAL} == {expected}


def test_logs_that_all_have_much_to_tell_leave_others_a_turn_after_each_block(
    host: FakeHost, manual: ManualClock
) -> None:
    paths = [f"/opt/zimbra/log/{name}.log" for name in ("audit", "mailbox", "sync")]
    fed: list[int] = []
    passes = 0
    followers = []
    for path in paths:
        subscription = LogSubscription(path, lambda _: fed.append(passes))
        followers.append(LogFollower(host, path, None, [subscription], lambda: None, manual.clock))

    async def whole() -> None:
        nonlocal passes
        together = Followers()
        together.start(followers)
        await together.opened()
        for path in paths:
            host.write(path, b"a line\n" * 400_000)
        try:
            async with asyncio.timeout(20):
                while len(fed) < 40:
                    passes += 1
                    await asyncio.sleep(0)
        finally:
            await together.stop()

    asyncio.run(whole())

    assert len(set(fed)) == len(fed)
