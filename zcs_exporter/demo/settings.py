"""The demo's configuration: an ordinary file, in which only times are shorter than a site would have them."""

import os
import secrets
import socket

import yaml

from zcs_exporter.demo.story import INCIDENTS
from zcs_exporter.demo.zmstat import THREAD_LIMITS
from zcs_exporter.registry import collector_classes
from zcs_exporter.snmp.secrets import Secrets, load_secrets

_FLOOD_WINDOW = "10s"
_GC_WINDOW = "3s"
_INTERVAL = "2s"
_BRIEF = {"for": "1s", "keep": "1s"}

_BESIDE = ("ZcsAuthAccountFailures", "ZcsAuthIpFailures", "ZcsJvmOldGenerationFull")
"""Alarms that come along with the script's own."""


def free_port(wanted: int) -> int:
    """Return ``wanted`` if nothing listens there on loopback, else any port that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise OSError("no port is free on 127.0.0.1")


def write_secrets(directory: str) -> dict[str, Secrets]:
    """Write a community and a user that nobody else knows, and return them by the name of their file."""
    user = {
        "user": "demo",
        "auth": {"protocol": "SHA-256", "password": secrets.token_urlsafe(16)},
        "priv": {"protocol": "AES-128", "password": secrets.token_urlsafe(16)},
    }
    inform, trap = os.path.join(directory, "v3.secret"), os.path.join(directory, "v2c.secret")
    _write(inform, user, 0o600)
    _write(trap, {"community": secrets.token_urlsafe(16)}, 0o600)
    return {inform: load_secrets(inform, "3"), trap: load_secrets(trap, "2c")}


def write_settings(directory: str, root: str, web_port: int, trap_port: int) -> str:
    """Write the configuration, with secrets files beside it, and return its path."""
    intervals: dict[str, dict[str, object]] = {cls.name: {"interval": _INTERVAL} for cls in collector_classes()}
    intervals["jvm"]["gc_window"] = _GC_WINDOW
    intervals["mailboxd"]["thread_limits"] = dict(THREAD_LIMITS)
    intervals["postfix"]["flood_window"] = _FLOOD_WINDOW
    target = {"host": "127.0.0.1", "port": trap_port}
    path = os.path.join(directory, "config.yaml")
    settings = {
        "host": {"root": root},
        "state": {"directory": os.path.join(directory, "state")},
        "web": {"listen": f"127.0.0.1:{web_port}"},
        "log": {"level": "warning"},
        "collectors": intervals,
        "alerts": {"overrides": {name: dict(_BRIEF) for name in (*(i.alert for i in INCIDENTS), *_BESIDE)}},
        "notify": {
            "heartbeat": "20s",
            "snmp": [
                {"name": "v3", **target, "version": 3, "kind": "inform", "secrets": f"{directory}/v3.secret"},
                {"name": "v2c", **target, "version": "2c", "kind": "trap", "secrets": f"{directory}/v2c.secret"},
            ],
        },
    }
    _write(path, settings, 0o600)
    return path


def _write(path: str, content: object, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        yaml.safe_dump(content, file, sort_keys=False)
