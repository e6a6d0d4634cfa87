"""Each log is read once for all its readers, and a bug in one of them stays its own."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from fakes import FakeHost, ManualClock

from zcs_exporter.contract import LogBlock
from zcs_exporter.follow import Followers, LogFollower

LOG = "/opt/zimbra/log/audit.log"


def follow(
    host: FakeHost, manual: ManualClock, *feeds: Callable[[LogBlock], None], saved: str | None = None
) -> tuple[LogFollower, list[str]]:
    woken: list[str] = []
    return LogFollower(host, LOG, saved, feeds, lambda: woken.append("woken"), manual.clock), woken


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
