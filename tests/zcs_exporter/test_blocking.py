"""Calls that may hang: an end to patience, and nobody else waits for them."""

import asyncio
import random
import threading
import time
from collections.abc import Iterator

import pytest

from zcs_exporter import blocking
from zcs_exporter.blocking import BlockingCall


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hangs as long as a test goes on."""
    opened = threading.Event()
    yield opened
    opened.set()


def test_an_answer_counts_that_was_there_before_a_busy_event_loop_could_look() -> None:
    async def ask() -> int:
        asyncio.get_running_loop().call_soon(time.sleep, 0.1)  # the loop is busy for longer than anybody waits
        return await BlockingCall("it").within(0.01, lambda: 5)

    assert asyncio.run(ask()) == 5


def test_without_an_answer_patience_ends() -> None:
    free = threading.Event()

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            await BlockingCall("it").within(0.01, free.wait)

    asyncio.run(ask())
    free.set()


def test_what_the_call_raises_is_raised() -> None:
    def fail() -> None:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        asyncio.run(BlockingCall("it").within(5.0, fail))


def test_quick_calls_share_a_thread() -> None:
    async def story() -> list[int]:
        calls = [BlockingCall(f"call {number}") for number in range(5)]
        return await asyncio.gather(*(call(threading.get_ident) for call in calls))

    assert len(set(asyncio.run(story()))) == 1


def test_each_call_has_its_own_answer() -> None:
    def answer(number: int) -> int:
        if number % 3 == 0:
            raise FileNotFoundError(number)
        return number

    async def story() -> list[int | BaseException]:
        calls = [BlockingCall("it")(lambda number=number: answer(number)) for number in range(50)]
        return await asyncio.gather(*calls, return_exceptions=True)

    for number, found in enumerate(asyncio.run(story())):
        if number % 3:
            assert found == number
        else:
            assert isinstance(found, FileNotFoundError)
            assert found.args == (number,)


@pytest.mark.parametrize("before", [0, 3])
def test_nobody_waits_long_for_a_call_that_hangs(gate: threading.Event, before: int) -> None:
    async def story() -> list[int]:
        first = [asyncio.create_task(BlockingCall("quick")(lambda: 1)) for _ in range(before)]
        hangs = asyncio.create_task(BlockingCall("hangs")(gate.wait))
        others = [asyncio.create_task(BlockingCall("other")(lambda: 2)) for _ in range(3)]
        found = await asyncio.gather(*first, *others)
        later = await BlockingCall("later")(lambda: 3)
        assert not hangs.done()
        hangs.cancel()
        return [*found, later]

    assert asyncio.run(story()) == [1] * before + [2, 2, 2, 3]


def test_nobody_waits_for_many_that_hang_in_turn(gate: threading.Event) -> None:
    async def story() -> int:
        hanging = [BlockingCall(f"statvfs of /{number}").begin(gate.wait) for number in range(20)]
        last = BlockingCall("statvfs of /opt/zimbra").begin(lambda: 2)
        found = await last.wait(6 * blocking.QUICK)
        gate.set()
        await asyncio.gather(*(each.wait() for each in hanging))
        shared = {await BlockingCall("later")(threading.get_ident) for _ in range(2)}
        assert len(shared) == 1, "afterwards quick calls share a thread again"
        return found

    assert asyncio.run(story()) == 2


def test_who_comes_while_a_call_hangs_waits_for_nothing(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "QUICK", 0.0)

    async def story() -> int:
        begun = threading.Event()
        hangs = asyncio.create_task(BlockingCall("hangs")(lambda: (begun.set(), gate.wait())))
        while not begun.is_set():
            await asyncio.sleep(0)
        monkeypatch.setattr(blocking, "QUICK", 0.001)
        await asyncio.sleep(0.01)
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", None)  # nor for any timer
        found = await BlockingCall("other")(lambda: 2)
        monkeypatch.undo()
        hangs.cancel()
        return found

    assert asyncio.run(story()) == 2


def test_a_call_that_took_long_has_a_thread_of_its_own_until_it_is_quick_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> list[str]:
        call = BlockingCall("statvfs of /backup")

        def name() -> str:
            return threading.current_thread().name

        names = []
        for longest in (-1.0, 10.0, 10.0):
            monkeypatch.setattr(blocking, "QUICK", longest)
            names.append(await call(name))
        return names

    shared, own, again = asyncio.run(story())

    assert own == "statvfs of /backup"
    assert shared == again != own


def test_whatever_takes_how_long_everything_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "QUICK", 0.001)
    monkeypatch.setattr(blocking, "KEPT", 0.002)
    chance = random.Random(5)

    async def one(call: BlockingCall) -> None:
        for number in range(20):
            pause = chance.choice((0.0, 0.0, 0.0005, 0.002, 0.004))
            assert await call(lambda number=number, pause=pause: (time.sleep(pause), number)[1]) == number
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() / 100)

    async def story() -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*(one(BlockingCall(str(number))) for number in range(20)))

    asyncio.run(story())


def test_what_no_coroutine_may_raise_reaches_the_caller_as_an_error_of_its_own() -> None:
    def fail() -> None:
        raise StopIteration

    async def story() -> int:
        with pytest.raises(RuntimeError):
            await BlockingCall("it")(fail)
        return await BlockingCall("other")(lambda: 2)

    assert asyncio.run(story()) == 2


def test_what_is_to_follow_waits_for_the_call_under_way(gate: threading.Event) -> None:
    done: list[str] = []

    async def story() -> None:
        call = BlockingCall("reading a log")
        call.afterwards(lambda: done.append("idle"))
        reading = asyncio.create_task(call(gate.wait))
        await asyncio.sleep(0)
        call.afterwards(lambda: done.append("after"))
        call.afterwards(lambda: 1 // 0)  # a bug in it is nobody else's
        assert done == ["idle"]
        gate.set()
        await reading
        assert done == ["idle", "after"]
        await call(lambda: None)

    asyncio.run(story())


def test_when_all_is_answered_nobody_watches_any_more() -> None:
    async def story() -> list[float]:
        calls = [BlockingCall(str(number)) for number in range(5)]
        await asyncio.gather(*(call(lambda: None) for call in calls))
        timers: list[float] = []
        loop = asyncio.get_running_loop()
        later = loop.call_later
        loop.call_later = lambda delay, *rest, **more: (timers.append(delay), later(delay, *rest, **more))[1]  # type: ignore[method-assign]
        await asyncio.sleep(2.5 * blocking.QUICK)
        return timers[1:]

    assert asyncio.run(story()) == []
