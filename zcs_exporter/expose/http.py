"""The HTTP server: metrics for scrapers, the page and the API for who is logged in.

Handlers only render what the daemon knows; nothing that is asked here starts work on the host.
"""

import asyncio
import contextlib
import gzip
import ipaddress
import logging
import socket
from collections.abc import Callable

from zcs_exporter.blocking import BlockingCall
from zcs_exporter.config import ConfigError, PrivacyConfig, WebConfig
from zcs_exporter.contract import Clock, CollectError, EvidenceKind
from zcs_exporter.expose import api
from zcs_exporter.expose.access import COOKIE_LIFE, Access, Refusal, check_exposure, is_cross_site
from zcs_exporter.expose.connections import IDLE_PATIENCE, Connections
from zcs_exporter.expose.event_stream import CONTENT_TYPE as EVENT_STREAM
from zcs_exporter.expose.event_stream import EventStream, EventStreams, read_wish
from zcs_exporter.expose.latest_events import LOOKED_AT
from zcs_exporter.expose.prometheus import GZIP_LEVEL, Exposition, negotiate
from zcs_exporter.expose.server_side import Handler, Middleware, web
from zcs_exporter.expose.status_page import (
    Scene,
    content_security_policy,
    render_login,
    render_page,
    waiting_for,
)
from zcs_exporter.expose.trend import Trends
from zcs_exporter.expose.view import View
from zcs_exporter.expose.web_config import WebSettings, load_web_settings
from zcs_exporter.privacy import visible_kinds
from zcs_exporter.snapshot import Snapshot

log = logging.getLogger(__name__)

MOST_REQUESTS = 40
"""Requests that may be under way at once; more are told to come back."""

PATIENCE = 10.0
RELOAD_PATIENCE = 60.0
"""Seconds until a request is given up; loading a configuration may take longer than rendering."""

STOP_PATIENCE = 0.25
"""Seconds that requests under way get when the server stops."""

HANDSHAKE_PATIENCE = 10.0

_OPEN = frozenset({"/metrics", "/-/healthy", "/-/ready"})
_TEXT = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_SYSTEM = Clock()

# aiohttp's own log of broken requests quotes them, and one may hold the token. Not one of getLogger's: outside the
# tree nothing can make it speak.
_SILENT = logging.Logger("silent")
_SILENT.addHandler(logging.NullHandler())


class WebServer:
    """The server, from binding its address to closing its last connection.

    Attributes:
        port: Where it listens.
    """

    def __init__(
        self, config: WebConfig, privacy: PrivacyConfig, view: View, token: str, clock: Clock = _SYSTEM
    ) -> None:
        """Prepare; ``token`` logs in whoever has it."""
        self.port = config.port
        self._config = config
        self._privacy = privacy
        self._view = view
        self._token = token
        self._clock = clock
        self._settings = WebSettings()
        self._access = Access(config, self._settings, token, clock)
        self._exposition = Exposition()
        self._trends = Trends()
        self._kept: dict[str, tuple[Snapshot, tuple[object, ...], bytes]] = {}
        self._read = BlockingCall("reading the web configuration")
        self._requests = 0
        self._streams = EventStreams()
        self._socket: socket.socket | None = None
        self._listener: asyncio.Server | None = None
        self._runner: web.AppRunner | None = None
        self._connections: Connections | None = None
        self._watch: tuple[asyncio.Task[None], ...] = ()
        self._reload: asyncio.Task[list[str]] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: The web configuration cannot be used, the address is taken, or it would be open to all.
        """
        self._take(await self._load())
        self._socket = _bind(self._config)
        self.port = self._socket.getsockname()[1]
        app = web.Application(client_max_size=16 * 1024, middlewares=[self._middleware()])
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/-/healthy", self._healthy),
                web.get("/-/ready", self._ready),
                web.post("/-/reload", self._reload_now),
                web.get("/api/v1/alerts", self._alerts),
                web.get("/api/v1/snapshot", self._snapshot),
                web.get("/api/v1/events", self._events),
                web.get("/login", self._login),
                web.get("/", self._page),
            ]
        )
        app.on_response_prepare.append(self._add_headers)
        app.on_shutdown.append(self._end_streams)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_SILENT,
            keepalive_timeout=IDLE_PATIENCE,
            lingering_time=1.0,
            auto_decompress=False,
            shutdown_timeout=STOP_PATIENCE,
        )
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101 - set up above
        self._connections = Connections(self._runner.server)
        self._watch = (
            asyncio.create_task(self._connections.watch(), name="web connections"),
            asyncio.create_task(self._trends.watch(self._view.snapshot, self._view.ready), name="web trends"),
        )
        await self._listen()

    async def reload(self, privacy: PrivacyConfig) -> list[str]:
        """Read the web configuration file and its certificates again.

        Returns:
            The faults that kept the old ones; then nothing is changed, the privacy settings neither.
        """
        try:
            settings = await self._load()
        except ConfigError as exc:
            return exc.faults
        if (privacy, settings) != (self._privacy, self._settings):
            self._streams.end()  # they began under rules that hold no more
        self._privacy = privacy
        self._kept.clear()
        self._take(settings)
        await self._listen()
        return []

    async def stop(self) -> None:
        """Close the listening socket and every connection; requests under way get a moment."""
        for task in self._watch:
            task.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None and self._connections is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(3 * STOP_PATIENCE):
                    await self._runner.cleanup()
            self._connections.abort_all()
        if self._socket is not None:
            self._socket.close()

    async def _load(self) -> WebSettings:
        try:
            settings = await self._read(lambda: load_web_settings(self._config.config_file))
        except CollectError as exc:
            raise ConfigError([str(exc)]) from exc
        check_exposure(self._config, settings)
        return settings

    def _take(self, settings: WebSettings) -> None:
        self._settings = settings
        self._access = Access(self._config, settings, self._token, self._clock)

    async def _listen(self) -> None:
        """Accept connections under the present TLS settings; those already made go on as they are."""
        assert self._socket is not None  # noqa: S101 - bound by start
        assert self._connections is not None  # noqa: S101 - made by start
        former, tls = self._listener, self._settings.tls
        # A copy of the socket, so that it goes on to listen while one listener takes over from the other.
        self._listener = await asyncio.get_running_loop().create_server(
            self._connections.protocol,
            sock=self._socket.dup(),
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE_PATIENCE if tls else None,
            ssl_shutdown_timeout=1.0 if tls else None,
        )
        if former is not None:
            former.close()

    def _middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            connections, connection = self._connections, request.protocol
            assert connections is not None  # noqa: S101 - made by start
            connections.begin(connection)
            try:
                response = await self._answer(request, handler)
                if isinstance(response, EventStream):
                    await response.pour(request)
            finally:
                connections.end(connection, asyncio.get_running_loop().time())
            tls = request.transport.get_extra_info("ssl_object") if request.transport else None
            if getattr(tls, "context", None) is not self._settings.tls:
                response.force_close()  # made before a reload; the next one is to be made under the new rules
            return response

        return guard

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = self._access.peer(request.transport)
        try:
            must_log_in = request.path not in _OPEN or self._access.has_users
            self._access.admit(request, peer, self._view.hostname, must_log_in=must_log_in)
            if self._requests >= MOST_REQUESTS:
                raise Refusal(503, "Too many requests are under way; try again in a few seconds.")
            self._requests += 1
            try:
                async with asyncio.timeout(RELOAD_PATIENCE if request.path == "/-/reload" else PATIENCE):
                    if must_log_in and request.path != "/login" and not await self._access.logged_in(request, peer):
                        return self._ask_to_log_in(request)
                    return await handler(request)
            finally:
                self._requests -= 1
        except Refusal as exc:
            response = _text(str(exc), exc.status)
            if exc.status == 503:
                response.headers["Retry-After"] = "5"
            return response
        except web.HTTPException as exc:
            response = _text(f"{exc.status} {exc.reason}", exc.status)
            if "Allow" in exc.headers:
                response.headers["Allow"] = exc.headers["Allow"]
            return response
        except TimeoutError:
            return _text("No answer in time.", 503)
        except Exception:
            # The path alone: a query may hold the token.
            log.exception("web: bug while answering %s %s", request.method, request.path)
            return _text("500 Internal Server Error; the daemon's log says more.", 500)

    def _ask_to_log_in(self, request: web.Request) -> web.Response:
        if request.path == "/":
            response = self._login_page(401)
        else:
            response = _text(
                "Log in with a user of the web configuration file, a client certificate or the token.", 401
            )
        response.headers["WWW-Authenticate"] = self._access.challenge
        return response

    async def _add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.update(self._settings.headers)
        response.headers["Server"] = "zcs-exporter"

    async def _metrics(self, request: web.Request) -> web.Response:
        snapshot = self._view.snapshot()
        form = negotiate(request.headers.get("Accept", ""))
        compressed = _accepts_gzip(request.headers.get("Accept-Encoding", ""))
        chosen = _choose(request, list(snapshot.readings))
        if chosen is None:
            body = self._exposition.page(snapshot, form, compressed=compressed)
        else:
            body = self._exposition.selection(snapshot, form, chosen)
            if compressed:
                body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        headers = {"Content-Type": form.value, "Vary": "Accept, Accept-Encoding"}
        if compressed:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def _healthy(self, _request: web.Request) -> web.Response:
        return _text("healthy")

    async def _ready(self, _request: web.Request) -> web.Response:
        if self._view.ready():
            return _text("ready")
        waiting = waiting_for(self._view.snapshot())
        return _text(f"waiting for: {', '.join(waiting) or 'the logs'}", 503)

    async def _reload_now(self, request: web.Request) -> web.Response:
        if is_cross_site(request):
            raise Refusal(403, "A page of another site may not ask for this.")
        # A client that goes away must not leave half a configuration behind.
        self._reload = asyncio.create_task(self._view.reload(), name="reload")
        faults = await asyncio.shield(self._reload)
        return _text("\n".join(faults), 500) if faults else _text("reloaded")

    async def _alerts(self, request: web.Request) -> web.Response:
        view, visible, now = self._view, self._visible(request), self._clock.wall()
        body = api.alerts_json(view.hostname, view.snapshot().at, view.alarms(), visible, now=now)
        return web.Response(body=body, headers={"Content-Type": api.CONTENT_TYPE})

    async def _snapshot(self, request: web.Request) -> web.Response:
        view, snapshot, visible = self._view, self._view.snapshot(), self._visible(request)
        body = self._keep(
            "snapshot",
            snapshot,
            (visible, view.ready()),
            lambda: api.snapshot_json(view.hostname, snapshot, view.log_problems(), visible, ready=view.ready()),
        )
        return web.Response(body=body, headers={"Content-Type": api.CONTENT_TYPE})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if is_cross_site(request):
            raise Refusal(403, "A page of another site may not ask for this.")
        ring = self._view.events()
        wish = read_wish(request, ring)
        if request.method == "HEAD":
            return web.Response(headers={"Content-Type": EVENT_STREAM})
        # It is poured by the guard, where neither the time for an answer nor the number of requests limits it.
        return self._streams.open(ring, wish, self._visible(request))

    async def _end_streams(self, _app: web.Application) -> None:
        self._streams.end()

    async def _login(self, request: web.Request) -> web.StreamResponse:
        given = request.query.get("token")
        if given is None:
            return self._login_page(200)
        if not self._access.is_token(given):
            return self._login_page(401, wrong=True)
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(
            self._access.cookie,
            self._access.make_cookie(),
            max_age=COOKIE_LIFE,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=self._settings.tls is not None,
        )
        return response

    def _login_page(self, status: int, *, wrong: bool = False) -> web.Response:
        return _html(render_login(self._view.hostname, wrong=wrong), status)

    async def _page(self, request: web.Request) -> web.Response:
        view, snapshot, visible = self._view, self._view.snapshot(), self._visible(request)
        ring = view.events()
        now = self._clock.wall()
        refresh = request.query.get("refresh") != "off"

        def render() -> bytes:
            return render_page(
                Scene(
                    host=view.hostname,
                    now=now,
                    snapshot=snapshot,
                    alarms=view.alarms(),
                    logs=view.log_problems(),
                    recent=view.recent(),
                    ready=view.ready(),
                    visible=visible,
                    events=ring.after(ring.newest - LOOKED_AT, LOOKED_AT),
                    trends=self._trends.of(snapshot),
                    refresh=refresh,
                )
            )

        return _html(self._keep("page", snapshot, (int(now), visible, refresh, view.ready()), render))

    def _keep(
        self, kind: str, snapshot: Snapshot, circumstances: tuple[object, ...], render: Callable[[], bytes]
    ) -> bytes:
        """Return what was rendered last, if nothing has changed since."""
        kept = self._kept.get(kind)
        if kept is None or kept[0] is not snapshot or kept[1] != circumstances:
            kept = self._kept[kind] = (snapshot, circumstances, render())
        return kept[2]

    def _visible(self, request: web.Request) -> frozenset[EvidenceKind]:
        return visible_kinds(self._privacy, encrypted=self._access.peer(request.transport).private)


def _bind(config: WebConfig) -> socket.socket:
    family = socket.AF_INET6 if ipaddress.ip_address(config.host).version == 6 else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((config.host, config.port))
    except OSError as exc:
        listening.close()
        fault = f"web.listen: {config.listen}: {exc.strerror}; free it or choose another (ss -ltnp shows who listens)"
        raise ConfigError([fault]) from exc
    listening.setblocking(False)
    return listening


def _choose(request: web.Request, known: list[str]) -> list[str] | None:
    """Return the collectors that a scraper asks for; None for all.

    Raises:
        Refusal: It names one that there is not, or both what to take and what to leave.
    """
    wanted, unwanted = request.query.getall("collect[]", []), request.query.getall("exclude[]", [])
    if wanted and unwanted:
        raise Refusal(400, "Give either collect[] or exclude[], not both.")
    strange = sorted({*wanted, *unwanted} - set(known))
    if strange:
        names = ", ".join(name if name.isprintable() else repr(name) for name in strange)
        raise Refusal(400, f"No such collector: {names}\nThere are: {', '.join(known)}")
    if not wanted and not unwanted:
        return None
    return [name for name in known if (name in wanted if wanted else name not in unwanted)]


def _accepts_gzip(header: str) -> bool:
    for part in header.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        if coding == "gzip":
            return all(piece.rstrip("0.") != "q=" for piece in parameters)  # q=0 refuses it
    return False


def _text(text: str, status: int = 200) -> web.Response:
    return web.Response(body=f"{text}\n".encode("utf-8", "replace"), status=status, headers={"Content-Type": _TEXT})


def _html(body: bytes, status: int = 200) -> web.Response:
    headers = {"Content-Type": _HTML, "Content-Security-Policy": content_security_policy()}
    return web.Response(body=body, status=status, headers=headers)
