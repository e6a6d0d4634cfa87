"""The HTTP server: metrics for scrapers, the page and the API for who is logged in.

Handlers only render what the daemon knows; nothing that is asked here starts work on the host.
"""

import asyncio
import gzip
import importlib
import logging
import time
from collections.abc import Callable, Coroutine
from functools import lru_cache, partial
from typing import Any

from zcs_exporter.blocking import BlockingCall
from zcs_exporter.config import ConfigError, PrivacyConfig, WebConfig
from zcs_exporter.contract import Clock, CollectError, EvidenceKind
from zcs_exporter.expose import api
from zcs_exporter.expose.access import COOKIE_LIFE, Access, Check, Refusal, check_exposure, is_cross_site
from zcs_exporter.expose.event_stream import CONTENT_TYPE as EVENT_STREAM
from zcs_exporter.expose.event_stream import EventStreams, read_wish
from zcs_exporter.expose.prometheus import GZIP_LEVEL, Exposition, negotiate
from zcs_exporter.expose.server.connections import Connections
from zcs_exporter.expose.server.door import Door
from zcs_exporter.expose.server.message import Request, Response, text
from zcs_exporter.expose.server.protocol import HttpProtocol
from zcs_exporter.expose.server.routes import Answer, Later, Routes
from zcs_exporter.expose.trend import Trends
from zcs_exporter.expose.view import View
from zcs_exporter.expose.web_config import WebSettings, load_web_settings
from zcs_exporter.privacy import visible_kinds
from zcs_exporter.snapshot import Snapshot, waiting_for

log = logging.getLogger(__name__)

MOST_REQUESTS = 40
"""Requests that may be under way at once; more are told to come back."""

PATIENCE = 10.0
RELOAD_PATIENCE = 60.0
"""Seconds until a request is given up; loading a configuration may take longer than rendering."""

STOP_PATIENCE = 0.25
"""Seconds that requests under way get when the server stops."""

_OPEN = frozenset({"/metrics", "/-/healthy", "/-/ready"})
_HTML = "text/html; charset=utf-8"
_COOKIE_RULES = "Path=/; HttpOnly; SameSite=Strict"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Server": "zcs-exporter",
}
_DAYS, _MONTHS = "MonTueWedThuFriSatSun", "JanFebMarAprMayJunJulAugSepOctNovDec"
_SYSTEM = Clock()


def load_page() -> None:
    """Load what renders the page. A start need not wait for that, and a request must not wait for a disk."""
    importlib.import_module("zcs_exporter.expose.status_page")


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
        self._waiting = 0  # requests whose answer takes time
        self._streams = EventStreams()
        self._connections = Connections()
        self._door: Door | None = None
        self._watch: tuple[asyncio.Task[None], ...] = ()
        self._reload: asyncio.Task[list[str]] | None = None
        self._routes = Routes(
            {
                "GET /metrics": self._metrics,
                "GET /-/healthy": self._healthy,
                "GET /-/ready": self._ready,
                "POST /-/reload": self._reload_now,
                "GET /api/v1/alerts": self._alerts,
                "GET /api/v1/snapshot": self._snapshot,
                "GET /api/v1/events": self._events,
                "GET /login": self._login,
                "GET /": self._page,
            }
        )

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: The web configuration cannot be used, the address is taken, or it would be open to all.
        """
        self._take(await self._load())
        config = self._config
        try:
            self._door = Door(
                config.host,
                config.port,
                lambda: HttpProtocol(self, self._connections),
                # As it is now: connections already made go on as they are.
                lambda: self._settings.tls,
            )
        except OSError as exc:
            remedy = "free it or choose another (ss -ltnp shows who listens)"
            raise ConfigError([f"web.listen: {config.listen}: {exc.strerror}; {remedy}"]) from exc
        self.port = self._door.port
        self._watch = (
            asyncio.create_task(self._connections.watch(), name="web connections"),
            asyncio.create_task(self._trends.watch(self._view.snapshot, self._view.ready), name="web trends"),
        )
        self._door.open()

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
        return []

    async def stop(self) -> None:
        """Close the listening socket and every connection; requests under way get a moment."""
        for task in self._watch:
            task.cancel()
        if self._door is not None:
            self._door.close()
        self._streams.end()
        await self._connections.finish(STOP_PATIENCE)

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

    def answer(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """Return the response, at once unless a password has to be checked or a configuration to be read."""
        try:
            answer = self._answer(request)
        except Exception as exc:  # noqa: BLE001 - logged there
            answer = self._refuse(request, exc)
        return self._finish(request, answer) if isinstance(answer, Response) else self._answer_in_time(request, answer)

    def _answer(self, request: Request) -> Answer:
        peer = self._access.peer(request.transport)
        must_log_in = request.path not in _OPEN or self._access.has_users
        self._access.admit(request, peer, self._view.hostname, must_log_in=must_log_in)
        if self._waiting >= MOST_REQUESTS:
            raise Refusal(503, "Too many requests are under way; try again in a few seconds.")
        if not must_log_in or request.path == "/login":
            return self._routes.answer(request)
        logged_in = self._access.logged_in(request, peer)
        if isinstance(logged_in, bool):
            return self._routes.answer(request) if logged_in else self._ask_to_log_in(request)
        return partial(self._answer_after_check, request, logged_in)

    async def _answer_after_check(self, request: Request, check: Check) -> Response:
        answer = self._routes.answer(request) if await check() else self._ask_to_log_in(request)
        return answer if isinstance(answer, Response) else await answer()

    async def _answer_in_time(self, request: Request, later: Later) -> Response:
        self._waiting += 1
        try:
            async with asyncio.timeout(RELOAD_PATIENCE if request.path == "/-/reload" else PATIENCE):
                response = await later()
        except Exception as exc:  # noqa: BLE001 - logged there
            response = self._refuse(request, exc)
        finally:
            self._waiting -= 1
        return self._finish(request, response)

    def _finish(self, request: Request, response: Response) -> Response:
        tls = request.transport.get_extra_info("ssl_object")
        if getattr(tls, "context", None) is not self._settings.tls:
            response.close = True  # made before a reload; the next one is to be made under the new rules
        return response

    def _refuse(self, request: Request, exc: Exception) -> Response:
        if isinstance(exc, Refusal):
            response = text(str(exc), exc.status)
            if exc.status == 503:
                response.headers["Retry-After"] = "5"
            return response
        if isinstance(exc, TimeoutError):
            return text("No answer in time.", 503)
        # The path alone: a query may hold the token.
        log.error("web: bug while answering %s %s", request.method, request.path, exc_info=exc)
        return text("500 Internal Server Error; the daemon's log says more.", 500)

    def _ask_to_log_in(self, request: Request) -> Response:
        if request.path == "/":
            response = self._login_page(401)
        else:
            response = text("Log in with a user of the web configuration file, a client certificate or the token.", 401)
        response.headers["WWW-Authenticate"] = self._access.challenge
        return response

    def headers(self, response: Response) -> dict[str, str]:
        """Return the headers of a response with those that every one has; the administrator's win."""
        return {**_HEADERS, "Date": _http_date(int(self._clock.wall())), **response.headers, **self._settings.headers}

    def _metrics(self, request: Request) -> Response:
        snapshot = self._view.snapshot()
        form = negotiate(request.headers.get("accept", ""))
        compressed = _accepts_gzip(request.headers.get("accept-encoding", ""))
        chosen = _choose(request, list(snapshot.readings)) if request.query_string else None
        if chosen is None:
            body = self._exposition.page(snapshot, form, compressed=compressed)
        else:
            body = self._exposition.selection(snapshot, form, chosen)
            if compressed:
                body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        headers = {"Content-Type": form.value, "Vary": "Accept, Accept-Encoding"}
        if compressed:
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers)

    def _healthy(self, _request: Request) -> Response:
        return text("healthy")

    def _ready(self, _request: Request) -> Response:
        if self._view.ready():
            return text("ready")
        waiting = waiting_for(self._view.snapshot())
        return text(f"waiting for: {', '.join(waiting) or 'the logs'}", 503)

    def _reload_now(self, request: Request) -> Later:
        if is_cross_site(request):
            raise Refusal(403, "A page of another site may not ask for this.")
        return self._reloaded

    async def _reloaded(self) -> Response:
        # A client that goes away must not leave half a configuration behind.
        self._reload = asyncio.create_task(self._view.reload(), name="reload")
        faults = await asyncio.shield(self._reload)
        return text("\n".join(faults), 500) if faults else text("reloaded")

    def _alerts(self, request: Request) -> Response:
        view, visible, now = self._view, self._visible(request), self._clock.wall()
        body = api.alerts_json(view.hostname, view.snapshot().at, view.alarms(), view.pending(), visible, now=now)
        return Response(body, headers={"Content-Type": api.CONTENT_TYPE})

    def _snapshot(self, request: Request) -> Response:
        view, snapshot, visible = self._view, self._view.snapshot(), self._visible(request)
        body = self._keep(
            "snapshot",
            snapshot,
            (visible, view.ready()),
            lambda: api.snapshot_json(view.hostname, snapshot, view.log_problems(), visible, ready=view.ready()),
        )
        return Response(body, headers={"Content-Type": api.CONTENT_TYPE})

    def _events(self, request: Request) -> Response:
        if is_cross_site(request):
            raise Refusal(403, "A page of another site may not ask for this.")
        ring = self._view.events()
        wish = read_wish(request, ring)
        if request.method == "HEAD":
            return Response(headers={"Content-Type": EVENT_STREAM})
        return self._streams.open(ring, wish, self._visible(request))

    def _login(self, request: Request) -> Response:
        given = request.query().get("token")
        if given is None:
            return self._login_page(200)
        if not self._access.is_token(given[0]):
            return self._login_page(401, wrong=True)
        cookie = f"{self._access.cookie}={self._access.make_cookie()}; Max-Age={COOKIE_LIFE}; {_COOKIE_RULES}"
        if self._settings.tls is not None:
            cookie += "; Secure"
        return Response(status=303, headers={"Location": "/", "Set-Cookie": cookie})

    def _login_page(self, status: int, *, wrong: bool = False) -> Response:
        from zcs_exporter.expose import status_page

        return _html(status_page.render_login(self._view.hostname, wrong=wrong), status)

    def _page(self, request: Request) -> Response:
        from zcs_exporter.expose import status_page

        view, snapshot, visible = self._view, self._view.snapshot(), self._visible(request)
        ring = view.events()
        now = self._clock.wall()
        refresh = request.query().get("refresh", [""])[0] != "off"

        def render() -> bytes:
            return status_page.render_page(
                status_page.Scene(
                    host=view.hostname,
                    now=now,
                    snapshot=snapshot,
                    alarms=view.alarms(),
                    pending=view.pending(),
                    logs=view.log_problems(),
                    recent=view.recent(),
                    ready=view.ready(),
                    visible=visible,
                    events=status_page.looked_at(ring),
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

    def _visible(self, request: Request) -> frozenset[EvidenceKind]:
        return visible_kinds(self._privacy, encrypted=self._access.peer(request.transport).private)


def _choose(request: Request, known: list[str]) -> list[str] | None:
    """Return the collectors that a scraper asks for; None for all.

    Raises:
        Refusal: It names one that there is not, or both what to take and what to leave.
    """
    query = request.query()
    wanted, unwanted = query.get("collect[]", []), query.get("exclude[]", [])
    if wanted and unwanted:
        raise Refusal(400, "Give either collect[] or exclude[], not both.")
    strange = sorted({*wanted, *unwanted} - set(known))
    if strange:
        names = ", ".join(name if name.isprintable() else repr(name) for name in strange)
        raise Refusal(400, f"No such collector: {names}\nThere are: {', '.join(known)}")
    if not wanted and not unwanted:
        return None
    return [name for name in known if (name in wanted if wanted else name not in unwanted)]


@lru_cache(64)
def _accepts_gzip(header: str) -> bool:
    for part in header.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        if coding == "gzip":
            return all(piece.rstrip("0.") != "q=" for piece in parameters)  # q=0 refuses it
    return False


@lru_cache(1)
def _http_date(now: int) -> str:
    """Write a time as RFC 9110 5.6.7 wants it, in any locale."""
    at = time.gmtime(now)
    day, month = _DAYS[3 * at.tm_wday :][:3], _MONTHS[3 * at.tm_mon - 3 :][:3]
    return f"{day}, {at.tm_mday:02} {month} {at.tm_year} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"


def _html(body: bytes, status: int = 200) -> Response:
    from zcs_exporter.expose import status_page

    headers = {"Content-Type": _HTML, "Content-Security-Policy": status_page.content_security_policy()}
    return Response(body, status=status, headers=headers)
