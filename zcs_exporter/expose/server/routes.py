"""Which handler answers what. Paths are compared as a whole; there are no patterns."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from zcs_exporter.expose.server.message import REASONS, Request, Response, text

Later = Callable[[], Coroutine[Any, Any, Response]]
"""Waits for a response."""

Answer = Response | Later
"""A response, where there is one at once."""

Handler = Callable[[Request], Answer]


class Routes:
    """Handlers by method and path; HEAD is answered by the handler of GET."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        """Take handlers by ``"GET /path"``."""
        self._paths: dict[str, dict[str, Handler]] = {}
        for route, handler in handlers.items():
            method, _, path = route.partition(" ")
            methods = self._paths.setdefault(path, {})
            methods[method] = handler
            if method == "GET":
                methods["HEAD"] = handler

    def answer(self, request: Request) -> Answer:
        """Return what the handler says, 404 where there is none or 405 where there are others for the path."""
        methods = self._paths.get(request.path)
        if methods is None:
            return _status(404)
        handler = methods.get(request.method)
        if handler is None:
            response = _status(405)
            response.headers["Allow"] = ", ".join(methods)
            return response
        return handler(request)


def _status(status: int) -> Response:
    return text(f"{status} {REASONS[status]}", status)
