"""Fixtures of the lab: each starts its program at the first use. lab.py has the classes, in_lab the namespaces."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from e2e.lab import (
    Exporter,
    Jvms,
    MariaDb,
    Postfix,
    Prometheus,
    Snmptrapd,
    Zcs,
    absent,
    jdk,
    need,
    need_lab,
)


def pytest_configure(config: pytest.Config) -> None:
    """A worker of pytest-xdist has a lab of its own, with another /tmp than the one its directory was made in."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        Path(config.option.basetemp).parent.mkdir(parents=True, exist_ok=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything beside this file needs the real programs."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def tree() -> Zcs:
    need_lab()
    return Zcs()


@pytest.fixture(scope="module")
def zcs(tree: Zcs) -> Iterator[Zcs]:
    """The ZCS tree at /opt/zimbra and /var/log/zimbra.log; stand-ins end with the module that started them."""
    yield tree
    tree.end_stand_ins()


@pytest.fixture(scope="session")
def postfix(tree: Zcs) -> Iterator[Postfix]:
    need("postfix", "postfix", "postqueue", "postsuper", "sendmail")
    with closing(Postfix()) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb(tree: Zcs) -> Iterator[MariaDb]:
    need("mariadb-server", "mariadbd", "mariadb-install-db", "mariadb-admin", "mariadb")
    with closing(MariaDb(tree)) as server:
        yield server


@pytest.fixture(scope="session")
def jvms(tree: Zcs) -> Iterator[Jvms]:
    jdk()
    with closing(Jvms()) as machines:
        yield machines


@pytest.fixture
def snmptrapd() -> Iterator[Callable[..., Snmptrapd]]:
    """Make trap receivers: `snmptrapd(mib_dirs=..., mibs=..., users=..., community=...)`."""
    need_lab()
    need("snmptrapd", "snmptrapd")
    with ExitStack() as stack:

        def make(**options: Any) -> Snmptrapd:
            receiver = Snmptrapd(**options)
            stack.callback(receiver.stop)
            return receiver

        yield make


@pytest.fixture(scope="session")
def prometheus() -> Iterator[Callable[..., Prometheus]]:
    """Make Prometheus servers, ready ones: `prometheus(target, rules=[...])`."""
    need_lab()
    need("prometheus", "prometheus")
    with ExitStack() as stack:

        def make(target: str, rules: Any = (), **job: Any) -> Prometheus:
            server = Prometheus(target, rules, **job)
            stack.callback(server.stop)
            server.wait_ready()
            return server

        yield make


@pytest.fixture
def exporter(zcs: Zcs) -> Iterator[Callable[..., Exporter]]:
    """Make exporters, not yet started: `exporter(config, user=..., capability=..., strace=..., env=...)`."""
    if not Exporter.program.exists():
        absent(f"no {Exporter.program} here; run: pip install --editable .")
    with ExitStack() as stack:

        def make(config: dict[str, Any] | None = None, **options: Any) -> Exporter:
            daemon = Exporter(config=config or {}, **options)
            stack.callback(daemon.close)
            return daemon

        yield make
