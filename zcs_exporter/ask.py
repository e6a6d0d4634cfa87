"""Asks the running daemon over HTTP, with the token from its state directory."""

import base64
import http.client
import json
import os
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from zcs_exporter.config import Config

TIMEOUT = 5.0

_REMEDIES = {
    401: "name a user of its web configuration file, or on its own host the --config that it was started with",
    403: "web.allow of its configuration has to name the address that this comes from",
    404: "see whether it is a zcs-exporter, and of this version",
}


class AskError(Exception):
    """The daemon cannot be asked; the message says why and what to do."""


def read_token(config: Config) -> str:
    """Return the token that the daemon made at its first start.

    Raises:
        AskError: It cannot be read.
    """
    path = os.path.join(config.state.directory, "token")
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError as exc:
        remedy = (
            "start the daemon first"
            if isinstance(exc, FileNotFoundError)
            else "run this as root or as the daemon's user"
        )
        raise AskError(f"{path}: {exc.strerror}; {remedy}") from exc


def base_address(config: Config) -> str:
    """Return the address of the daemon's web server as this host reaches it.

    Raises:
        AskError: The web configuration file, which says whether it has TLS, cannot be read or used.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.web.host, config.web.host)  # noqa: S104 - compared, not bound
    scheme = "https" if _has_tls(config) else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.web.port}"


def daemon_listens(config: Config) -> bool:
    """Return whether anything listens where the daemon of this host would."""
    address = urllib.parse.urlsplit(base_address(config))
    try:
        socket.create_connection((address.hostname, address.port), TIMEOUT).close()
    except OSError:
        return False
    return True


def page_address(config: Config) -> str:
    """Return the address of the page with its token.

    Raises:
        AskError: The token or the web configuration file cannot be read.
    """
    return f"{base_address(config)}/login?{urllib.parse.urlencode({'token': read_token(config)})}"


def ask_daemon(config: Config, path: str) -> Any:
    """Return the JSON answer of this host's daemon.

    Raises:
        AskError: It does not run, refuses or answers nonsense.
    """
    address = base_address(config)
    # Our own daemon on our own host: its certificate names the host, not the loopback address.
    context = ssl._create_unverified_context() if address.startswith("https") else None  # noqa: S323
    remedy = "see whether it runs: systemctl status zcs-exporter"
    return _ask(address, path, f"Bearer {read_token(config)}", context, remedy)


def ask_remote(address: str, path: str, username: str, password: str, ca_file: str | None = None) -> Any:
    """Return the JSON answer of a daemon elsewhere.

    Args:
        address: Such as ``https://mail.example.com:10741``.
        path: What is asked for.
        username: A user of its web configuration file.
        password: The password of that user.
        ca_file: Certificates that its own may be signed by; the system's unless given.

    Raises:
        AskError: The address is none, it does not answer, refuses or answers nonsense.
    """
    if not _names_a_daemon(address):
        raise AskError(f"{address!r} is no address of a daemon; write it like https://mail.example.com:10741")
    try:
        context = ssl.create_default_context(cafile=ca_file) if address.lower().startswith("https:") else None
    except OSError as exc:  # an SSLError too
        raise AskError(f"{ca_file}: {exc.strerror or exc}; name a file of certificates in PEM form") from exc
    login = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
    remedy = "see whether it runs and may be reached from here"
    return _ask(address.rstrip("/"), path, f"Basic {login}", context, remedy)


def _names_a_daemon(address: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(address)
        whole = parts.port is None or parts.port > 0
    except ValueError:  # half an IPv6 address, or a port that is no number
        return False
    rest = (parts.username, parts.query, parts.fragment, parts.path.rstrip("/"))
    return whole and parts.scheme in ("http", "https") and bool(parts.hostname) and not any(rest)


def _ask(address: str, path: str, authorization: str, context: ssl.SSLContext | None, remedy: str) -> Any:
    request = urllib.request.Request(address + path, headers={"Authorization": authorization})  # noqa: S310 - http or https by construction
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _NoRedirect()]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as exc:
        remedy = _REMEDIES.get(exc.code, "see its log")
        raise AskError(f"{address}: the daemon answered {exc.code} {exc.reason}; {remedy}") from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        why = exc.reason if isinstance(exc, urllib.error.URLError) else exc
        if isinstance(why, ssl.SSLError) and why.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
            plain = f"http:{address.partition(':')[2]}"
            raise AskError(f"{address}: it does not speak TLS; try {plain}") from exc
        if isinstance(why, OSError) and why.strerror:
            why = why.strerror
        raise AskError(f"{address}: {why}; {remedy}") from exc


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A login goes to nobody but who was named."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Follow no redirection."""


def _has_tls(config: Config) -> bool:
    if config.web.config_file is None:
        return False
    from zcs_exporter.config import ConfigError
    from zcs_exporter.expose.web_config import load_web_settings

    try:
        return load_web_settings(config.web.config_file).tls is not None
    except ConfigError as exc:
        if isinstance(exc.__cause__, PermissionError):
            why = f"{config.web.config_file}: {exc.__cause__.strerror}; run this as root or as the daemon's user"
            raise AskError(why) from exc
        raise AskError(" ".join(exc.faults)) from exc
