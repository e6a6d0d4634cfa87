import asyncio
import base64
import contextlib
import gzip
import ipaddress
import json
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import bcrypt
import pytest
from fakes import ManualClock
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from web_parts import EVIDENCE, TOKEN, Certificates, FakeView, Running, local, reading

from zcs_exporter.config import ConfigError, PrivacyConfig
from zcs_exporter.contract import EvidenceKind, Grade, Record
from zcs_exporter.expose.access import Access, Peer, Refusal
from zcs_exporter.expose.http import MOST_REQUESTS, WebServer
from zcs_exporter.expose.server.connections import FIRST_PATIENCE, IDLE_PATIENCE
from zcs_exporter.expose.server.connections import MOST as MOST_CONNECTIONS
from zcs_exporter.expose.server.message import Request
from zcs_exporter.expose.web_config import WebSettings

Serve = Callable[..., None]

OPEN = ("/metrics", "/-/healthy", "/-/ready")
CLOSED = ("/", "/api/v1/alerts", "/api/v1/snapshot", "/no-such-place")
HASH = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()


def users(directory: Path) -> Path:
    file = directory / "web.yaml"
    file.write_text(f"basic_auth_users:\n  alice: {HASH}\n")
    return file


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


# What is served


def test_metrics_have_exactly_the_content_type_that_prometheus_wants(serve: Serve) -> None:
    async def body(web: Running) -> None:
        text = await web.get("/metrics")
        assert text.status == 200
        assert text.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert 'zcs_postfix_queue_messages{queue="deferred"} 18234' in text.text
        other = await web.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,*/*;q=0.1"})
        assert other.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert other.headers["Vary"] == "Accept, Accept-Encoding"
        assert {family.name for family in parse_openmetrics(other.text)} == {
            "zcs_postfix_queue_messages",
            "zcs_auth_window_failures_max",
        }

    serve(body)


@pytest.mark.parametrize("query", ["", "?collect[]=postfix"])
def test_metrics_are_compressed_for_who_can_unpack_them(serve: Serve, query: str) -> None:
    async def body(web: Running) -> None:
        plain = await web.get("/metrics" + query, headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        packed = await web.get("/metrics" + query, headers={"Accept-Encoding": "deflate, gzip;q=0.8"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body
        refused = await web.get("/metrics" + query, headers={"Accept-Encoding": "gzip;q=0"})
        assert refused.body == plain.body

    serve(body)


def test_a_scraper_may_choose_collectors(serve: Serve) -> None:
    async def body(web: Running) -> None:
        one = await web.get("/metrics?collect[]=auth&collect[]=auth")
        assert "zcs_auth" in one.text
        assert "zcs_postfix" not in one.text
        rest = await web.get("/metrics?exclude[]=auth")
        assert "zcs_auth" not in rest.text
        assert "zcs_postfix" in rest.text

    serve(body)


@pytest.mark.parametrize("query", ["collect[]=postfx", "exclude[]=", "collect[]=%3Cimg%3E&collect[]=auth"])
def test_an_unknown_collector_is_refused_and_the_known_ones_are_named(serve: Serve, query: str) -> None:
    async def body(web: Running) -> None:
        answer = await web.get(f"/metrics?{query}")
        assert answer.status == 400
        assert answer.text.endswith("There are: postfix, auth\n")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"

    serve(body)


def test_choosing_and_leaving_out_at_once_is_refused(serve: Serve) -> None:
    async def body(web: Running) -> None:
        assert (await web.get("/metrics?collect[]=auth&exclude[]=postfix")).status == 400

    serve(body)


def test_head_has_the_headers_of_get_and_no_body(serve: Serve) -> None:
    async def body(web: Running) -> None:
        for path in OPEN:
            whole = await web.get(path)
            head = await web.get(path, "HEAD")
            assert (head.status, head.body) == (200, b"")
            for name in ("Content-Type", "Content-Length"):
                assert head.headers[name] == whole.headers[name]

    serve(body)


def test_ready_waits_for_the_collectors_and_says_for_which(serve: Serve, view: FakeView) -> None:
    async def body(web: Running) -> None:
        assert (await web.get("/-/ready")).status == 200
        view.is_ready = False
        view.put(*view.latest.readings.values(), replace(reading("jvm"), rounds=0))
        waiting = await web.get("/-/ready")
        assert (waiting.status, waiting.text) == (503, "waiting for: jvm\n")
        view.put(*view.latest.readings.values(), reading("jvm"))
        assert (await web.get("/-/ready")).text == "waiting for: the logs\n"
        assert (await web.get("/-/healthy")).status == 200

    serve(body)


def test_every_answer_carries_the_security_headers(serve: Serve) -> None:
    async def body(web: Running) -> None:
        for path in (*OPEN, *CLOSED, "/login", "/login?token=x"):
            for token in (None, TOKEN):
                answer = await web.get(path, token=token)
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert answer.headers["Cache-Control"] == "no-store"
                assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
                assert answer.headers["Server"] == "zcs-exporter"

    serve(body)


def test_a_method_that_does_not_fit_is_refused(serve: Serve) -> None:
    async def body(web: Running) -> None:
        assert (await web.get("/metrics", "POST")).status == 405
        answer = await web.get("/-/reload", token=TOKEN)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert (await web.get("/no-such-place", token=TOKEN)).status == 404

    serve(body)


# Who may see it


@pytest.mark.parametrize("path", CLOSED)
def test_without_a_login_nothing_but_the_metrics_is_told_not_even_on_loopback(serve: Serve, path: str) -> None:
    async def body(web: Running) -> None:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic Og=="}, {"Authorization": "x"}):
            answer = await web.get(path, headers=headers)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="zcs-exporter"'
            assert "deferred" not in answer.text

    serve(body)


def test_the_token_opens_everything(serve: Serve) -> None:
    async def body(web: Running) -> None:
        assert "deferred" in (await web.get("/", token=TOKEN)).text
        assert (await web.get("/api/v1/alerts", token=TOKEN)).status == 200
        assert (await web.get("/api/v1/alerts", token=TOKEN[:-1])).status == 401
        assert (await web.get("/api/v1/alerts", headers={"Authorization": "Bearer \udcff"})).status == 401

    serve(body)


def test_the_alerts_say_what_time_it_is_here(serve: Serve, manual: ManualClock) -> None:
    async def body(web: Running) -> None:
        manual.advance(3600.0)
        assert json.loads((await web.get("/api/v1/alerts", token=TOKEN)).text)["now"] == manual.clock.wall()

    serve(body)


def test_the_page_turns_the_token_into_a_cookie_that_expires(serve: Serve, manual: ManualClock) -> None:
    async def body(web: Running) -> None:
        answer = await web.get(f"/login?token={TOKEN}")
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        cookie, *attributes = answer.headers["Set-Cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
        assert "Secure" not in attributes
        assert TOKEN not in cookie
        jar = {"Cookie": f"theme=dark; {cookie}"}
        assert (await web.get("/", headers=jar)).status == 200
        name, _, value = cookie.partition("=")
        later = str(int(value.partition(".")[0]) + 1)
        for forged in (value[:-1], later + value[value.index(".") :], "", "x.y", value + "0"):
            assert (await web.get("/", headers={"Cookie": f"{name}={forged}"})).status == 401
        manual.advance(7 * 86400)
        assert (await web.get("/", headers=jar)).status == 401

    serve(body)


def test_a_wrong_token_gets_the_form_again_and_no_cookie(serve: Serve) -> None:
    async def body(web: Running) -> None:
        form = await web.get("/login")
        assert (form.status, b"<form" in form.body) == (200, True)
        wrong = await web.get("/login?token=wrong")
        assert (wrong.status, "Wrong token" in wrong.text) == (401, True)
        assert "Set-Cookie" not in wrong.headers

    serve(body)


def test_with_users_even_the_metrics_need_a_login(serve: Serve, tmp_path: Path) -> None:
    async def body(web: Running) -> None:
        for path in (*OPEN, *CLOSED):
            answer = await web.get(path)
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="zcs-exporter"')
            for login in (basic("alice", "wrong"), basic("bob", "correct horse"), {"Authorization": "Basic \xe9"}):
                assert (await web.get(path, headers=login)).status == 401
        right = basic("alice", "correct horse")
        for path in (*OPEN, "/", "/api/v1/alerts"):
            assert (await web.get(path, headers=right)).status == 200
        assert (await web.get("/metrics", token=TOKEN)).status == 200

    serve(body, local(config_file=users(tmp_path)))


def test_a_flood_of_wrong_passwords_neither_stalls_a_known_one_nor_queues_up(serve: Serve, tmp_path: Path) -> None:
    async def body(web: Running) -> None:
        right = basic("alice", "correct horse")
        assert (await web.get("/metrics", headers=right)).status == 200
        flood = [web.get("/metrics", headers=basic("alice", f"guess {n}")) for n in range(30)]
        answers = await asyncio.gather(*flood, web.get("/metrics", headers=right))
        assert answers[-1].status == 200
        assert {answer.status for answer in answers[:-1]} == {401, 503}

    serve(body, local(config_file=users(tmp_path)))


ELSEWHERE = ("192.0.2.0/24", "2001:db8::/32")


def test_only_networks_on_the_list_are_answered_whatever_they_ask(manual: ManualClock) -> None:
    access = Access(local(allow=ELSEWHERE), WebSettings(), TOKEN, manual.clock)
    request = Request("GET", "/", "", {"host": "localhost"}, asyncio.Transport())

    for address, refused in (("192.0.2.7", False), ("2001:db8::7", False), ("198.51.100.7", True), ("::7", True)):
        peer = Peer(ipaddress.ip_address(address), here=False, private=True, certificate=True)
        for must_log_in in (True, False):
            with pytest.raises(Refusal, match=r"web\.allow") if refused else contextlib.nullcontext():
                access.admit(request, peer, "", must_log_in=must_log_in)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0"])
def test_who_logs_in_on_this_host_needs_no_place_on_the_list(serve: Serve, listen: str) -> None:
    async def body(web: Running) -> None:
        for path in OPEN:
            assert (await web.get(path, token=TOKEN)).status == 403
        for path in CLOSED:
            assert (await web.get(path)).status == 401
            assert (await web.get(path, token=TOKEN)).status == (404 if path == "/no-such-place" else 200)
        assert (await web.get(f"/login?token={TOKEN}")).status == 303

    serve(body, local(listen, allow=ELSEWHERE))


def test_where_there_are_users_the_metrics_too_are_for_who_logs_in_on_this_host(serve: Serve, tmp_path: Path) -> None:
    async def body(web: Running) -> None:
        assert (await web.get("/metrics")).status == 401
        assert (await web.get("/metrics", token=TOKEN)).status == 200

    serve(body, local(config_file=users(tmp_path), allow=ELSEWHERE))


def test_this_host_is_known_by_its_other_addresses_too(manual: ManualClock) -> None:
    access = Access(local(), WebSettings(), TOKEN, manual.clock)

    def here(theirs: str, ours: str) -> tuple[bool, bool]:
        transport = asyncio.Transport({"peername": (theirs, 41000), "sockname": (ours, 10741)})
        peer = access.peer(transport)
        return peer.here, peer.private

    assert here("127.0.0.1", "127.0.0.1") == (True, True)
    assert here("192.0.2.10", "192.0.2.10") == (True, False)
    assert here("::ffff:192.0.2.10", "::ffff:192.0.2.10") == (True, False)
    assert here("192.0.2.11", "192.0.2.10") == (False, False)


def test_who_is_on_the_list_is_answered(serve: Serve) -> None:
    async def body(web: Running) -> None:
        assert (await web.get("/metrics")).status == 200
        assert (await web.get("/")).status == 401

    serve(body, local(allow=("192.0.2.0/24", "127.0.0.0/8")))


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For", "x-forwarded-host", "X-Forwarded-Proto", "X-Forwarded-Anything", "Forwarded", "X-Real-IP"],
)
def test_a_forwarded_request_is_refused(serve: Serve, header: str) -> None:
    async def body(web: Running) -> None:
        answer = await web.get("/metrics", headers={header: "127.0.0.1"}, token=TOKEN)
        assert answer.status == 400
        assert "connect directly" in answer.text

    serve(body)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:9000",
        "127.0.0.1:10741",
        "127.3.2.1",
        "[::1]:10741",
        "mail.example.com",
        "MAIL.example.com.:10741",
        "mail",
        socket.gethostname(),
    ],
)
def test_the_hosts_own_names_are_answered_on_any_port(serve: Serve, host: str) -> None:
    async def body(web: Running) -> None:
        assert (await web.get("/metrics", headers={"Host": host})).status == 200

    serve(body)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.net",
        "evil.example.net:10741",
        "192.0.2.7",
        "mail.example.com.evil.test",
        "[2001:db8::1]",
        "[",
        ":",
    ],
)
def test_a_foreign_name_is_misdirected(serve: Serve, host: str) -> None:
    async def body(web: Running) -> None:
        assert (await web.get("/metrics", headers={"Host": host}, token=TOKEN)).status == 421

    serve(body)


def test_an_empty_host_name_of_ours_opens_nothing(serve: Serve, view: FakeView) -> None:
    view.hostname = ""

    async def body(web: Running) -> None:
        assert (await web.get("/metrics", headers={"Host": "."})).status == 421
        assert (await web.get("/metrics")).status == 200

    serve(body)


async def raw(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("headers", [b"", b"Host: \r\n", b"Host: localhost\r\nHost: evil.example.net\r\n"])
def test_a_request_has_one_host(serve: Serve, headers: bytes) -> None:
    async def body(web: Running) -> None:
        answer = await raw(web.server.port, b"GET /metrics HTTP/1.0\r\n" + headers + b"\r\n")
        assert b" 400 " in answer.partition(b"\r\n")[0]

    serve(body)


# Reload


def test_a_reload_needs_a_login_and_tells_every_fault(serve: Serve, view: FakeView) -> None:
    async def body(web: Running) -> None:
        assert (await web.get("/-/reload", "POST")).status == 401
        assert view.reloads == 0
        done = await web.get("/-/reload", "POST", token=TOKEN)
        assert (done.status, done.text) == (200, "reloaded\n")
        view.faults = ["config.yaml, line 3: web.listne: unknown key", "config.yaml, line 9: no"]
        failed = await web.get("/-/reload", "POST", token=TOKEN)
        assert (failed.status, failed.text) == (500, "\n".join(view.faults) + "\n")

    serve(body)


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example.net"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_page_of_another_site_cannot_ask_for_a_reload(serve: Serve, view: FakeView, headers: dict[str, str]) -> None:
    async def body(web: Running) -> None:
        assert (await web.get("/-/reload", "POST", headers=headers, token=TOKEN)).status == 403
        assert view.reloads == 0
        own = {"Origin": f"http://127.0.0.1:{web.server.port}", "Sec-Fetch-Site": "same-origin"}
        assert (await web.get("/-/reload", "POST", headers=own, token=TOKEN)).status == 200

    serve(body)


def test_the_web_configuration_is_read_again_and_a_broken_one_keeps_the_old(serve: Serve, tmp_path: Path) -> None:
    file = users(tmp_path)

    async def body(web: Running) -> None:
        right = basic("alice", "correct horse")
        assert (await web.get("/metrics", headers=right)).status == 200
        file.write_text("basic_auth_users: {alice: wrong}\n")
        (fault,) = await web.server.reload(PrivacyConfig())
        assert (
            fault
            == f"{file}, line 1: basic_auth_users.alice: is not a bcrypt hash; make one with: htpasswd -nBC 10 USER"
        )
        assert (await web.get("/metrics", headers=right)).status == 200
        file.write_text("basic_auth_users: {}\n")
        assert await web.server.reload(PrivacyConfig()) == []
        assert (await web.get("/metrics")).status == 200
        assert (await web.get("/", headers=right)).status == 401

    serve(body, local(config_file=file))


# Evidence


@pytest.mark.parametrize(
    ("privacy", "kinds"),
    [
        (PrivacyConfig(), {"address", "account", "domain"}),
        (PrivacyConfig(accounts="never"), {"address"}),
        (PrivacyConfig(accounts="always", addresses="never"), {"account", "domain"}),
    ],
)
def test_evidence_is_what_the_privacy_settings_let_through(
    serve: Serve, privacy: PrivacyConfig, kinds: set[str]
) -> None:
    async def body(web: Running) -> None:
        data = json.loads((await web.get("/api/v1/snapshot", token=TOKEN)).body)
        (sample,) = data["collectors"][1]["samples"]
        assert {item["kind"] for item in sample["evidence"]} == kinds
        assert sample["evidence_hidden"] == len(EVIDENCE) - len(kinds)
        page = (await web.get("/", token=TOKEN)).text
        assert ("198.51.100.23" in page) is (EvidenceKind.ADDRESS in kinds)
        assert ("onerror=alert(1)&gt;@example.com" in page) is (EvidenceKind.ACCOUNT in kinds)

    serve(body, privacy=privacy)


def test_the_page_lists_events_under_the_privacy_settings(serve: Serve, view: FakeView) -> None:
    fields = {"account": "ann@example.com", "address": "198.51.100.99"}
    view.ring.add("mail.example.com", [Record("account_locked", 1_709_371_000.0, Grade.WARNING, fields)])

    async def body(web: Running) -> None:
        page = (await web.get("/", token=TOKEN)).text
        assert "account locked" in page
        assert "198.51.100.99" in page
        assert "ann@example.com" not in page

    serve(body, privacy=PrivacyConfig(accounts="never"))


def test_the_open_metrics_never_name_anyone(serve: Serve) -> None:
    async def body(web: Running) -> None:
        page = (await web.get("/metrics")).text
        for item in EVIDENCE:
            assert item.value not in page

    serve(body, privacy=PrivacyConfig(accounts="always"))


# Limits


def test_more_requests_than_allowed_at_once_are_told_to_come_back(serve: Serve, view: FakeView) -> None:
    async def body(web: Running) -> None:
        view.be_slow()
        hanging = [asyncio.create_task(web.get("/-/reload", "POST", token=TOKEN)) for _ in range(MOST_REQUESTS)]
        for _ in hanging:
            await view.begun.acquire()
        full = await web.get("/-/healthy")
        assert (full.status, full.headers["Retry-After"]) == (503, "5")
        for _ in hanging:
            view.hold.release()
        assert {(await task).status for task in hanging} == {200}
        assert (await web.get("/-/healthy")).status == 200

    serve(body)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(300)) + b"\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
    ],
)
def test_oversized_and_broken_requests_are_refused(serve: Serve, request_text: bytes, status: bytes) -> None:
    async def body(web: Running) -> None:
        assert (await raw(web.server.port, request_text)).split(b" ")[1] == status
        assert (await web.get("/-/healthy")).status == 200

    serve(body)


def test_connections_that_keep_us_waiting_are_ended(serve: Serve) -> None:
    async def body(web: Running) -> None:
        now = asyncio.get_running_loop().time()
        connections = web.server._connections
        reader, writer = await asyncio.open_connection("127.0.0.1", web.server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: loc")
        assert (await web.get("/-/healthy")).status == 200
        connections.sweep(now)
        connections.sweep(now + FIRST_PATIENCE / 2)
        assert len(connections) == 2
        connections.sweep(now + FIRST_PATIENCE + 1)
        assert await reader.read() == b""
        writer.close()
        assert len(connections) == 1, "one that asked before is kept for its next request"
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", web.server.port)
        idle_writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await idle_reader.readuntil(b"healthy\n")
        connections.sweep(now + IDLE_PATIENCE + 60)
        assert await idle_reader.read() == b""
        idle_writer.close()

    serve(body)


def test_a_connection_whose_answer_is_being_made_is_not_ended(serve: Serve, view: FakeView) -> None:
    async def body(web: Running) -> None:
        view.be_slow()
        asked = asyncio.create_task(web.get("/-/reload", "POST", token=TOKEN))
        await view.begun.acquire()
        connections = web.server._connections
        now = asyncio.get_running_loop().time()
        connections.sweep(now)
        connections.sweep(now + IDLE_PATIENCE + 60)
        view.hold.release()
        assert (await asked).status == 200

    serve(body)


def test_one_connection_too_many_ends_the_one_that_was_quiet_longest(serve: Serve) -> None:
    async def body(web: Running) -> None:
        request = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"
        streams = []
        for _ in range(MOST_CONNECTIONS + 1):
            reader, writer = await asyncio.open_connection("127.0.0.1", web.server.port)
            streams.append((reader, writer))
            writer.write(request)
            await reader.readuntil(b"healthy\n")
        assert await streams[0][0].read() == b""
        streams[1][1].write(request)
        await streams[1][0].readuntil(b"healthy\n")
        for _, writer in streams:
            writer.close()

    serve(body)


def test_stopping_does_not_wait_for_open_connections(view: FakeView, manual: ManualClock) -> None:
    async def all_of_it() -> None:
        server = WebServer(local(), PrivacyConfig(), view, TOKEN, manual.clock)
        await server.start()
        view.be_slow()
        post = f"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        get = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"
        streams = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        for (_, writer), request in zip(streams, (post, get, b"GET /met"), strict=True):
            writer.write(request)
        await streams[1][0].readuntil(b"healthy\n")
        await view.begun.acquire()
        async with asyncio.timeout(1.0):
            await server.stop()
        for reader, writer in streams:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
        view.hold.release()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)

    asyncio.run(all_of_it())


def test_a_server_that_never_started_can_be_stopped(view: FakeView) -> None:
    asyncio.run(WebServer(local(), PrivacyConfig(), view, TOKEN).stop())


# The log


def test_the_token_is_in_no_log(serve: Serve, view: FakeView, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def body(web: Running) -> None:
        await web.get(f"/login?token={TOKEN}")
        await web.get(f"/login?token={TOKEN}", "POST")
        await web.get("/", token=TOKEN)
        await raw(web.server.port, f"GET /login?token={TOKEN} HTTP/9.9.9\r\nHost: localhost\r\n\r\n".encode())
        await raw(web.server.port, f"GET /login?token={TOKEN} HTTP/1.1\r\nHost localhost\r\n\r\n".encode())
        view.latest = None  # type: ignore[assignment]
        broken = await web.get(f"/?token={TOKEN}", token=TOKEN)
        assert broken.status == 500
        assert TOKEN not in broken.text

    serve(body)

    assert "bug while answering GET /" in caplog.text
    assert TOKEN not in caplog.text


# TLS


def web_file(certificates: Certificates, text: str = "") -> Path:
    file = certificates.directory / "web.yaml"
    file.write_text("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n" + text)
    return file


def client_context(certificates: Certificates, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    if own is not None:
        context.load_cert_chain(*own)
    return context


MUTUAL = "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n"


def test_over_tls_the_cookie_is_secure_and_a_login_is_still_needed(serve: Serve, certificates: Certificates) -> None:
    async def body(web: Running) -> None:
        base, tls = f"https://127.0.0.1:{web.server.port}", client_context(certificates)
        secured = Running(web.server, web.session, base)
        assert (await secured.get("/metrics", ssl=tls)).status == 200
        assert (await secured.get("/", ssl=tls)).status == 401
        answer = await secured.get(f"/login?token={TOKEN}", ssl=tls)
        assert "Secure" in answer.headers["Set-Cookie"].split("; ")

    serve(body, local(config_file=web_file(certificates)))


def test_a_verified_client_certificate_is_a_login_and_a_strangers_is_nothing(
    serve: Serve, certificates: Certificates
) -> None:
    async def body(web: Running) -> None:
        secured = Running(web.server, web.session, f"https://127.0.0.1:{web.server.port}")
        assert (await secured.get("/", ssl=client_context(certificates, certificates.client))).status == 200
        assert (await secured.get("/", ssl=client_context(certificates))).status == 401
        with pytest.raises(aiohttp.ClientError):
            await secured.get("/", ssl=client_context(certificates, certificates.stranger))

    serve(body, local(config_file=web_file(certificates, MUTUAL)))


def test_after_a_reload_a_connection_made_before_proves_nothing(serve: Serve, certificates: Certificates) -> None:
    file = web_file(certificates, MUTUAL)

    async def body(web: Running) -> None:
        secured = Running(web.server, web.session, f"https://127.0.0.1:{web.server.port}")
        tls = client_context(certificates, certificates.client)
        assert (await secured.get("/", ssl=tls)).status == 200
        web_file(certificates, MUTUAL.replace("ca.crt", "other.crt"))
        assert await web.server.reload(PrivacyConfig()) == []
        assert (await secured.get("/", ssl=tls)).status == 401, "over the kept connection"
        with pytest.raises(aiohttp.ClientError):
            await secured.get("/", ssl=tls)
        stranger = client_context(certificates, certificates.stranger)
        assert (await secured.get("/", ssl=stranger)).status == 200

    serve(body, local(config_file=file))


# Where it may listen


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.10:0"])
def test_it_does_not_show_itself_to_the_network_without_protection(view: FakeView, listen: str) -> None:
    server = WebServer(local(listen), PrivacyConfig(), view, TOKEN)

    with pytest.raises(ConfigError, match=r"allow: \[192\.0\.2\.0/24\].*config_file: /etc/zcs-exporter/web\.yaml"):
        asyncio.run(server.start())


def test_on_the_network_the_address_a_client_reached_is_one_of_our_names(serve: Serve) -> None:
    async def body(web: Running) -> None:
        assert (await web.get("/metrics")).status == 200
        assert (await web.get("/metrics", headers={"Host": "192.0.2.7"})).status == 421

    serve(body, local("0.0.0.0:0", allow=("127.0.0.0/8",)))


@pytest.mark.parametrize("protection", ["users", "tls", "allow"])
def test_one_protection_is_enough(serve: Serve, certificates: Certificates, tmp_path: Path, protection: str) -> None:
    async def body(web: Running) -> None:
        assert web.server.port > 0

    files = {"users": users(tmp_path), "tls": web_file(certificates), "allow": None}
    serve(body, local("0.0.0.0:0", files[protection], ("127.0.0.1/32",) if protection == "allow" else ()))


def test_a_taken_address_is_a_clear_fault(serve: Serve, view: FakeView) -> None:
    async def body(web: Running) -> None:
        second = WebServer(local(f"127.0.0.1:{web.server.port}"), PrivacyConfig(), view, TOKEN)
        with pytest.raises(ConfigError, match=r"web\.listen: 127\.0\.0\.1:\d+: Address already in use; free it"):
            await second.start()
        await second.stop()

    serve(body)
