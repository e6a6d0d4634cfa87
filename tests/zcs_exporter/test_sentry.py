import asyncio
import os
import threading
from collections.abc import Coroutine
from pathlib import Path

import pytest
from fakes import FakeHost

from zcs_exporter import sentry as sentry_module
from zcs_exporter.sentry import Sentry

LOG, OTHER, ABSENT = "/opt/zimbra/log/audit.log", "/opt/zimbra/log/mailbox.log", "/opt/zimbra/log/nginx.log"


async def changed(sentry: Sentry) -> list[str]:
    """Look once and return who would be woken."""
    await sentry.look()
    return [path for path in (LOG, OTHER, ABSENT) if await returns(sentry.until_changed(path))]


async def returns(waiting: Coroutine[None, None, None]) -> bool:
    task = asyncio.create_task(waiting)
    for _ in range(5):
        await asyncio.sleep(0)
    done = task.done()
    task.cancel()
    return done


async def posted(host: FakeHost) -> Sentry:
    """Return one that has seen the files as they are."""
    sentry = Sentry(host, [LOG, OTHER, ABSENT])
    await sentry.look()
    forget(sentry)
    return sentry


def forget(sentry: Sentry) -> None:
    for path in (LOG, OTHER, ABSENT):
        sentry.forget(path)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.write(LOG, "first\n")
    host.write(OTHER, "first\n")
    return host


def test_a_quiet_file_wakes_nobody(host: FakeHost) -> None:
    async def story() -> None:
        assert await changed(await posted(host)) == []

    asyncio.run(story())


@pytest.mark.parametrize("change", ["append", "truncate", "replace", "delete", "forbid", "rewrite"])
def test_whatever_happens_to_a_file_wakes_its_reader_and_no_other(host: FakeHost, change: str) -> None:
    async def story() -> None:
        sentry = await posted(host)
        make(change, host)
        assert await changed(sentry) == [LOG]

    asyncio.run(story())


def make(change: str, host: FakeHost) -> None:
    place = host.base / LOG[1:]
    before = place.stat()
    match change:
        case "append":
            with place.open("a") as file:
                file.write("second\n")
        case "truncate":
            os.truncate(place, 0)
        case "replace":
            host.write(LOG, "first\n")
        case "delete":
            place.unlink()
        case "forbid":
            place.chmod(0)
        case "rewrite":
            place.write_text("FIRST\n")
            os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_that_appears_wakes_its_reader(host: FakeHost) -> None:
    async def story() -> None:
        sentry = await posted(host)
        host.write(ABSENT, "")
        assert await changed(sentry) == [ABSENT]

    asyncio.run(story())


def test_a_change_is_told_until_it_is_forgotten(host: FakeHost) -> None:
    async def story() -> None:
        sentry = await posted(host)
        host.write(LOG, "second\n")
        assert await changed(sentry) == [LOG]
        assert await changed(sentry) == [LOG]
        sentry.forget(LOG)
        assert await changed(sentry) == []

    asyncio.run(story())


def test_while_one_file_hangs_everybody_looks_for_himself(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    ask = host.stat

    def hang(path: str) -> os.stat_result:
        free.wait(10)
        return ask(path)

    async def story() -> None:
        sentry = await posted(host)
        monkeypatch.setattr(host, "stat", hang)
        monkeypatch.setattr(sentry_module, "_PATIENCE", 0.01)
        monkeypatch.setattr(sentry_module, "INTERVAL", 0.0)
        for _ in range(2):
            assert await changed(sentry) == [LOG, OTHER, ABSENT]
            forget(sentry)

        free.set()
        monkeypatch.setattr(sentry_module, "_PATIENCE", 10.0)
        while await changed(sentry):
            forget(sentry)

    asyncio.run(story())


def test_whatever_keeps_it_from_looking_everybody_looks_for_himself_and_it_is_said_once(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_path: str) -> os.stat_result:
        raise MemoryError

    async def story() -> None:
        sentry = await posted(host)
        monkeypatch.setattr(host, "stat", fail)
        monkeypatch.setattr(sentry_module, "INTERVAL", 0.0)
        for _ in range(2):
            assert await changed(sentry) == [LOG, OTHER, ABSENT]

    asyncio.run(story())

    assert caplog.text.count("bug, please report it") == 1
