"""Server-sent events over a real server: who gets what, from where on, and what ends a stream."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from fakes import ManualClock
from web_parts import TOKEN, FakeView, Running, local

from zcs_exporter.alerting.alarm import Change
from zcs_exporter.config import PrivacyConfig
from zcs_exporter.contract import Grade, Record
from zcs_exporter.events.entry import Entry
from zcs_exporter.events.ring import KEPT
from zcs_exporter.expose import event_stream
from zcs_exporter.expose.event_stream import MOST_STREAMS
from zcs_exporter.expose.http import MOST_REQUESTS, WebServer
from zcs_exporter.expose.server.connections import IDLE_PATIENCE
from zcs_exporter.notify.message import Message, MessageKind

Serve = Callable[..., None]

FAILED = Record("login_failed", 0.0, Grade.WARNING, {"account": "ann@example.com", "address": "192.0.2.7"})
LOGIN = Record("admin_login", 0.0)
RAISED = Message(MessageKind.ALARM, "1", "mail.example.com", "A", 0.0, "a", number=1, change=Change.RAISED)


class Reader:
    """A client of a stream, as a browser's EventSource is one."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.comments = 0

    async def block(self) -> dict[str, str] | None:
        """Return the next event's fields; None at the end of the stream."""
        fields: dict[str, str] = {}
        while line := (await self.response.content.readline()).decode("ascii"):
            if line == "\n":
                if fields:
                    return fields
            elif line.startswith(":"):
                self.comments += 1
            else:
                name, _, value = line.removesuffix("\n").partition(": ")
                fields[name] = value
        return None

    async def event(self) -> dict[str, object]:
        found = await self.block()
        assert found is not None, "the stream ended"
        assert "event" not in found
        data: dict[str, object] = json.loads(found["data"])
        assert data["id"] == int(found["id"])
        return data

    async def rest(self) -> list[dict[str, str]]:
        blocks = []
        while (found := await self.block()) is not None:
            blocks.append(found)
        return blocks


@asynccontextmanager
async def stream(web: Running, query: str = "", headers: Mapping[str, str] | None = None) -> AsyncIterator[Reader]:
    own = {"Authorization": f"Bearer {TOKEN}"} | dict(headers or {})
    async with asyncio.timeout(20), web.session.get(f"{web.base}/api/v1/events{query}", headers=own) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        reader = Reader(response)
        assert (await response.content.readline()).startswith(b":")
        yield reader


def add(view: FakeView, *news: Record | Message) -> list[Entry]:
    return view.ring.add(view.hostname, news)


def test_a_stream_gives_what_happens_from_now_on_as_it_happens(serve: Serve, view: FakeView) -> None:
    async def body(web: Running) -> None:
        add(view, LOGIN)
        async with stream(web) as reader:
            assert reader.response.headers["Cache-Control"] == "no-store"
            assert reader.response.headers["X-Content-Type-Options"] == "nosniff"
            for news in (FAILED, RAISED):
                (entry,) = add(view, news)
                told = await reader.event()
                assert (told["id"], told["kind"]) == (entry.number, entry.kind)

    serve(body)


def test_the_door_is_closed_to_who_is_not_logged_in_and_to_other_sites(serve: Serve) -> None:
    async def body(web: Running) -> None:
        assert (await web.get("/api/v1/events")).status == 401
        assert (await web.get("/api/v1/events", headers={"Sec-Fetch-Site": "cross-site"}, token=TOKEN)).status == 403
        head = await web.get("/api/v1/events", "HEAD", token=TOKEN)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Type"].startswith("text/event-stream")
        assert (await web.get("/api/v1/events", "POST", token=TOKEN)).status == 405

    serve(body)


def test_a_client_that_comes_back_gets_what_it_missed(serve: Serve, view: FakeView) -> None:
    async def body(web: Running) -> None:
        first, *others = add(view, LOGIN, FAILED, RAISED)
        async with stream(web, headers={"Last-Event-ID": str(first.number)}) as reader:
            assert [(await reader.event())["id"] for _ in others] == [entry.number for entry in others]
            add(view, LOGIN)
            assert (await reader.event())["kind"] == "admin_login"
        async with stream(web, headers={"Last-Event-ID": "0"}) as reader:
            assert [(await reader.event())["id"] for _ in range(4)] == list(range(first.number, first.number + 4))

    serve(body)


def test_what_is_not_kept_any_more_is_told_as_a_gap(serve: Serve, view: FakeView) -> None:
    async def body(web: Running) -> None:
        first, *_ = add(view, *[LOGIN] * (KEPT + 50))
        async with stream(web, headers={"Last-Event-ID": str(first.number)}) as reader:
            gap = await reader.block()
            assert gap == {"event": "gap", "data": '{"missed": 49}'}
            assert (await reader.event())["id"] == first.number + 50
        for stranger in (first.number - 1_000_000, view.ring.newest + 1):
            async with stream(web, headers={"Last-Event-ID": str(stranger)}) as reader:
                assert await reader.block() == {"event": "gap", "data": '{"missed": null}'}
                assert (await reader.event())["id"] == first.number + 50

    serve(body)


def test_a_burst_larger_than_what_is_kept_is_a_gap_and_not_the_end(serve: Serve, view: FakeView) -> None:
    async def body(web: Running) -> None:
        async with stream(web) as reader:
            add(view, *[LOGIN] * (KEPT + 7))
            assert await reader.block() == {"event": "gap", "data": '{"missed": 7}'}
            for _ in range(KEPT):
                last = await reader.event()
            assert last["id"] == view.ring.newest

    serve(body)


@pytest.mark.parametrize("bad", ["x", "-1", "1e3", "9" * 20, "\N{SUPERSCRIPT TWO}"])
def test_a_number_that_is_none_is_refused(serve: Serve, bad: str) -> None:
    async def body(web: Running) -> None:
        answer = await web.get("/api/v1/events", headers={"Last-Event-ID": bad}, token=TOKEN)
        assert answer.status == 400

    serve(body)


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("?kind=admin_login", ["admin_login"]),
        ("?kind=admin_login&kind=alarm_raised", ["admin_login", "alarm_raised"]),
        ("?severity=warning", ["login_failed"]),
        ("?severity=warning&severity=info", ["admin_login", "login_failed"]),
        ("?severity=info&kind=login_failed", []),
        ("?kind=never_heard_of", []),
    ],
)
def test_a_client_may_choose_by_kind_and_severity(serve: Serve, view: FakeView, query: str, kinds: list[str]) -> None:
    async def body(web: Running) -> None:
        async with stream(web, query) as reader:
            add(view, LOGIN, FAILED, RAISED)
            await web.server.stop()
            assert [json.loads(block["data"])["kind"] for block in await reader.rest()] == kinds

    serve(body)


@pytest.mark.parametrize("query", ["?severity=bad", "?kind=%3Cimg%3E", "?kind=", "?kinds=x", "?severity="])
def test_a_choice_that_cannot_be_meant_is_refused(serve: Serve, query: str) -> None:
    async def body(web: Running) -> None:
        answer = await web.get(f"/api/v1/events{query}", token=TOKEN)
        assert answer.status == 400
        assert answer.text.isascii()

    serve(body)


def test_names_are_what_the_privacy_settings_let_through(serve: Serve, view: FakeView) -> None:
    async def body(web: Running) -> None:
        async with stream(web) as reader:
            add(view, FAILED)
            told = await reader.event()
            assert "account" not in told
            assert (told["hidden"], told["address"]) == (["account"], "192.0.2.7")

    serve(body, privacy=PrivacyConfig(accounts="never"))


def test_a_reload_with_another_privacy_ends_streams_and_the_same_one_does_not(serve: Serve, view: FakeView) -> None:
    async def body(web: Running) -> None:
        async with stream(web) as reader:
            assert await web.server.reload(PrivacyConfig()) == []
            add(view, FAILED)
            assert "account" in await reader.event()
            (last,) = add(view, LOGIN)
            assert await web.server.reload(PrivacyConfig(accounts="never")) == []
            add(view, FAILED)
            assert [int(block["id"]) for block in await reader.rest()] == [last.number]
        async with stream(web, headers={"Last-Event-ID": str(last.number)}) as reader:
            assert "account" not in await reader.event()

    serve(body)


def test_a_reload_that_takes_a_login_away_ends_streams(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text("http_server_config: {headers: {X-Frame-Options: DENY}}\n")

    async def body(web: Running) -> None:
        async with stream(web) as reader:
            file.write_text("{}\n")
            assert await web.server.reload(PrivacyConfig()) == []
            assert await reader.rest() == []

    serve(body, local(config_file=file))


def test_a_stream_ends_with_the_last_event_when_the_server_stops(view: FakeView, manual: ManualClock) -> None:
    async def whole() -> None:
        server = WebServer(local(), PrivacyConfig(), view, TOKEN, manual.clock)
        await server.start()
        async with aiohttp.ClientSession() as session:
            web = Running(server, session, f"http://127.0.0.1:{server.port}")
            async with stream(web) as reader, stream(web) as other:
                add(view, LOGIN)
                async with asyncio.timeout(1):
                    await server.stop()
                for each in (reader, other):
                    assert [json.loads(block["data"])["kind"] for block in await each.rest()] == ["admin_login"]

    asyncio.run(whole())


@pytest.mark.parametrize("later", [1, KEPT + 10])
def test_one_that_is_to_end_sends_what_was_before_and_nothing_that_came_after(
    serve: Serve, view: FakeView, later: int
) -> None:
    async def body(web: Running) -> None:
        async with stream(web) as reader:
            (last,) = add(view, LOGIN)
            web.server._streams.end()
            add(view, *[FAILED] * later)
            told = await reader.rest()
            if later > KEPT:
                assert told == [{"event": "gap", "data": f'{{"missed": {later + 1 - KEPT}}}'}]
            else:
                assert [int(block["id"]) for block in told] == [last.number]

    serve(body)


def test_streams_leave_room_for_other_requests_and_have_a_limit_of_their_own(serve: Serve, view: FakeView) -> None:
    assert MOST_STREAMS < MOST_REQUESTS

    async def body(web: Running) -> None:
        async with contextlib.AsyncExitStack() as many:
            for _ in range(MOST_STREAMS):
                last = await many.enter_async_context(stream(web))
            full = await web.get("/api/v1/events", token=TOKEN)
            assert (full.status, full.headers["Retry-After"]) == (503, "5")
            assert web.server._waiting == 0
            last.response.close()
            while len(web.server._streams._open) == MOST_STREAMS:
                add(view, LOGIN)  # it is noticed with the next event that it gets, or the next ping
                await asyncio.sleep(0.01)
            async with stream(web) as reader:
                add(view, LOGIN)
                await reader.event()
        assert (await web.get("/-/healthy")).status == 200

    serve(body)


def test_an_open_stream_is_neither_idle_nor_late(serve: Serve, view: FakeView) -> None:
    async def body(web: Running) -> None:
        async with stream(web) as reader:
            connections = web.server._connections
            now = asyncio.get_running_loop().time()
            connections.sweep(now)
            connections.sweep(now + 10 * IDLE_PATIENCE)
            add(view, LOGIN)
            await reader.event()

    serve(body)


def test_in_silence_a_comment_keeps_the_connection_alive_even_while_others_happen(
    serve: Serve, view: FakeView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "PING", 0.05)

    async def body(web: Running) -> None:
        async with stream(web, "?kind=never_heard_of") as reader:
            ended = asyncio.create_task(reader.rest())
            while reader.comments < 3:
                add(view, LOGIN)
                await asyncio.sleep(0.01)
            ended.cancel()

    serve(body)


def test_a_client_that_does_not_read_is_dropped_and_costs_no_more_than_its_buffers(
    serve: Serve, view: FakeView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "READ_PATIENCE", 1.0)
    monkeypatch.setattr(event_stream, "_notice_a_dead_client", lambda _: None)  # the kernel would be quicker
    big = Record("login_failed", 0.0, fields={"text": "x" * 120, "reason": "y" * 120, "command": "z" * 120})

    async def body(web: Running) -> None:
        with socket.socket() as raw:
            await starve(web, raw)

    async def starve(web: Running, raw: socket.socket) -> None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, ("127.0.0.1", web.server.port))
        request = f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        await loop.sock_sendall(raw, request.encode())
        while not web.server._streams._open:
            await asyncio.sleep(0.005)
        (connection,) = web.server._connections._open
        async with stream(web) as reader:
            most = 0
            while len(web.server._streams._open) > 1:
                add(view, *[big] * 100)
                for _ in range(100):
                    assert await reader.block() is not None
                most = max(most, connection.transport.get_write_buffer_size())
            assert 0 < most < 512 * 1024
            add(view, LOGIN)
            assert (await reader.event())["kind"] == "admin_login", "one that reads is served on"
            while len(web.server._connections) > 1:
                await asyncio.sleep(0.01)

    serve(body)


def test_a_bug_in_an_event_ends_the_stream_and_is_logged(
    serve: Serve, view: FakeView, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(web: Running) -> None:
        async with stream(web) as reader:
            (broken,) = add(view, LOGIN)
            broken._news = None  # type: ignore[assignment]
            with pytest.raises(aiohttp.ClientError):
                await reader.rest()
        assert (await web.get("/-/healthy")).status == 200
        assert not web.server._streams._open

    serve(body)

    assert "bug while answering GET /api/v1/events" in caplog.text
