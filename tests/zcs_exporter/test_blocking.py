"""A call that may hang, with an end to patience."""

import asyncio
import threading
import time

import pytest

from zcs_exporter.blocking import BlockingCall


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
