"""An output may refuse, hang, take a part or break: nothing is written twice, and memory stays bounded."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from zcs_exporter.contract import CollectError, Reason, Record
from zcs_exporter.events import outlet as outlet_module
from zcs_exporter.events.entry import Entry
from zcs_exporter.events.outlet import BATCH, Outlet


def entries(first: int, count: int) -> list[Entry]:
    return [Entry(number, "h", Record("seen", 0.0)) for number in range(first, first + count)]


class FakeWriter:
    """Writes into a list, as well as the test lets it."""

    place = "the list"

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.refuses: Exception | None = None
        self.part: int | None = None
        self.asked = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.closed = 0

    def write(self, batch: Sequence[Entry]) -> int:
        self.asked += 1
        self.go_on.wait(20)
        if self.refuses is not None:
            raise self.refuses
        if self.part is not None:
            batch, self.part = batch[: self.part], None
        self.taken += [entry.number for entry in batch]
        return len(batch)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def writer() -> FakeWriter:
    return FakeWriter()


def play(writer: FakeWriter, story: Callable[[Outlet], Awaitable[None]]) -> Outlet:
    async def whole() -> Outlet:
        outlet = Outlet(writer)
        async with asyncio.timeout(20):
            await story(outlet)
        writer.go_on.set()
        await outlet.end(5)
        await until(lambda: writer.closed == 1)
        return outlet

    return asyncio.run(whole())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_everything_is_written_once_and_in_order_however_much_comes_at_once(writer: FakeWriter) -> None:
    async def story(outlet: Outlet) -> None:
        for first in range(0, 5000, 1000):
            outlet.put(entries(first, 1000))
            await asyncio.sleep(0)

    outlet = play(writer, story)

    assert writer.taken == list(range(5000))
    assert writer.asked >= 5000 / BATCH
    assert (outlet.written, outlet.lost, outlet.waiting) == (5000, 0, 0)


def test_what_was_taken_in_part_is_not_written_again(writer: FakeWriter) -> None:
    async def story(outlet: Outlet) -> None:
        writer.part = 7
        outlet.put(entries(0, 20))
        await until(lambda: outlet.written == 20)

    play(writer, story)

    assert writer.taken == list(range(20))


def test_an_output_that_refuses_is_said_once_and_gets_all_when_it_takes_again(
    writer: FakeWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outlet_module, "RETRY", 0.01)
    caplog.set_level("INFO")

    async def story(outlet: Outlet) -> None:
        writer.refuses = CollectError(Reason.UNAVAILABLE, "no room", "make room")
        outlet.put(entries(0, 3))
        await until(lambda: writer.asked > 5)
        assert outlet.trouble is writer.refuses
        assert outlet.waiting == 3
        writer.refuses = None
        await until(lambda: outlet.written == 3)
        assert outlet.trouble is None

    play(writer, story)

    assert writer.taken == [0, 1, 2]
    assert caplog.text.count("no room; make room") == 1
    assert "the list takes them again; 0 were lost" in caplog.text


def test_beyond_the_limit_the_oldest_are_lost_and_counted(
    writer: FakeWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outlet_module, "RETRY", 0.01)
    monkeypatch.setattr(outlet_module, "MOST_WAITING", 500)
    caplog.set_level("INFO")

    async def story(outlet: Outlet) -> None:
        writer.refuses = CollectError(Reason.UNAVAILABLE, "no room")
        for first in range(0, 2000, 100):
            outlet.put(entries(first, 100))
            assert outlet.waiting <= 500
            await asyncio.sleep(0.002)
        writer.refuses = None
        await until(lambda: outlet.waiting == 0)
        assert (outlet.written, outlet.lost) == (500, 1500)

    play(writer, story)

    # Those in hand when others came are not the oldest to be dropped.
    assert len(set(writer.taken)) == 500
    assert writer.taken == sorted(writer.taken)
    assert writer.taken[-1] == 1999
    assert "1500 were lost" in caplog.text


def test_an_output_that_hangs_is_said_holds_up_nobody_and_is_never_asked_twice_for_one_event(
    writer: FakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet_module, "PATIENCE", 0.02)
    monkeypatch.setattr(outlet_module, "MOST_WAITING", 500)

    async def story(outlet: Outlet) -> None:
        writer.go_on.clear()
        outlet.put(entries(0, 10))
        await until(lambda: outlet.trouble is not None)
        assert outlet.trouble is not None
        assert outlet.trouble.reason is Reason.TIMEOUT
        assert outlet.waiting == 10
        outlet.put(entries(10, 2000))
        assert outlet.waiting == 500
        writer.go_on.set()
        await until(lambda: outlet.waiting == 0)
        assert outlet.trouble is None
        assert outlet.written + outlet.lost == 2010

    play(writer, story)

    assert writer.taken == sorted(set(writer.taken))


def test_at_the_end_an_output_that_hangs_is_not_waited_for(writer: FakeWriter) -> None:
    async def whole() -> None:
        outlet = Outlet(writer)
        writer.go_on.clear()
        outlet.put(entries(0, 3))
        await until(lambda: writer.asked > 0)
        async with asyncio.timeout(5):
            await outlet.end(0.05)
        assert (outlet.written, outlet.lost, outlet.waiting) == (0, 3, 0)
        assert writer.closed == 0, "the thread still uses it"
        writer.go_on.set()
        await until(lambda: writer.closed == 1)

    asyncio.run(whole())


def test_a_bug_in_the_writer_costs_one_batch_and_not_the_output(
    writer: FakeWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outlet_module, "RETRY", 0.01)

    async def story(outlet: Outlet) -> None:
        writer.refuses = ZeroDivisionError("division by zero")
        outlet.put(entries(0, 3))
        await until(lambda: outlet.lost == 3)
        writer.refuses = None
        outlet.put(entries(3, 3))
        await until(lambda: outlet.written == 3)

    play(writer, story)

    assert writer.taken == [3, 4, 5]
    assert "bug while writing" in caplog.text


def test_one_that_takes_over_goes_on_with_what_waits_and_with_the_counts(writer: FakeWriter) -> None:
    async def whole() -> None:
        former = Outlet(writer)
        former.put(entries(0, 2))
        await until(lambda: former.written == 2)
        writer.refuses = CollectError(Reason.UNAVAILABLE, "no room")
        former.put(entries(2, 3))
        await former.end(5)
        later = FakeWriter()
        outlet = Outlet(later, former)
        await until(lambda: outlet.waiting == 0)
        assert (outlet.written, outlet.lost, later.taken) == (5, 0, [2, 3, 4])
        await outlet.end(5)

    asyncio.run(whole())


def test_without_events_the_output_is_asked_to_tidy_up(writer: FakeWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet_module, "TIDY", 0.01)

    async def story(_: Outlet) -> None:
        await until(lambda: writer.asked > 3)

    outlet = play(writer, story)

    assert (outlet.written, writer.taken) == (0, [])
