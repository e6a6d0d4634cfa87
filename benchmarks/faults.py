"""G14: the page while a mount hangs, MariaDB is stopped or dead, a gigabyte of log comes at once, the queue is huge.

Each of our figures is divided by that of the same daemon in the moment before. The peers' show what happens without
that care; where one gives no page within the patience of a scraper, that patience stands for it.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from e2e.lab import HOME, hung_mount

from benchmarks.harness import OURS, Form, Line, Plan, Reading, Report, quantile, say
from benchmarks.load import Scraper
from benchmarks.log_lines import mailbox_lines
from benchmarks.peers import Peer
from benchmarks.scene import Scene, port_of

MESSAGES = 200_000
PATIENCE = 10.0
"""Seconds after which a scraper gives up, as Prometheus does by default."""

_P50, _P99 = "page p50", "page p99"


def measure(plan: Plan) -> Report:
    """Look at the page for some seconds before and during each fault."""
    report = Report()
    with Scene() as scene:
        scene.everything()
        daemon = scene.exporter()
        daemon.start()
        node, mysql, postfix = scene.start(scene.node_exporter(), scene.mysqld_exporter(), scene.postfix_exporter())
        port = port_of(daemon)

        def take(name: str, fault: contextlib.AbstractContextManager[object], *peers: Peer) -> None:
            say(name)
            healthy, ill = [], []
            rounds = plan.rounds(2)
            for _ in range(rounds):
                healthy.append(_watch(port, plan))
            known = {peer.name: _patient(peer) for peer in peers}
            with fault:
                for _ in range(rounds):
                    ill.append(_watch(port, plan))
                during = {peer.name: _patient(peer) for peer in peers}
            found = []
            for share, what in ((0.5, _P50), (0.99, _P99)):
                for when, each in ((f"before: {name}", healthy), (name, ill)):
                    values = tuple(quantile(walls, share) for walls in each)
                    found.append(Reading(f"{what}, {when}", OURS, "s", values))
            for who, before in known.items():
                found.append(Reading(f"a page, before: {name}", who, "s", (before,)))
                found.append(Reading(f"a page, {name}", who, "s", (during[who],)))
            report.add(found)
            before = replace(report.find(f"{_P99}, before: {name}"), who="before")
            now = report.find(f"{_P99}, {name}")
            others = ", ".join(f"{who}: {_told(wall)}" for who, wall in during.items())
            line = Line("G14", f"page p99, {name}", Form.SHARE, 2.0, now, (before,), others)
            report.lines.append(line)

        take("a mount hangs", hung_mount(HOME / "backup/nfs"), node)
        take("MariaDB is stopped (SIGSTOP)", _stopped(scene.mariadb.pid), mysql)
        take("a gigabyte of log at once", _burst(plan), node)
        take("200,000 messages come at once", _flood(scene, plan), postfix)
        take("MariaDB is dead", _dead(scene), mysql)
    return report


def _watch(port: int, plan: Plan) -> list[float]:
    scraper = Scraper(port)
    scraper.get()
    found = scraper.watch(plan.seconds(10), 0.01)
    scraper.close()
    return found


def _patient(peer: Peer) -> float:
    """Return the seconds a page of a peer took, up to the patience of a scraper."""
    done: list[float] = []

    def ask() -> None:
        with contextlib.suppress(OSError):
            done.extend(Scraper(peer.port).latencies(1))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return done[0] if done else PATIENCE


def _told(wall: float) -> str:
    return f"no page within {PATIENCE:.0f} s" if wall >= PATIENCE else f"{wall * 1000:.0f} ms"


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _dead(scene: Scene) -> Iterator[None]:
    scene.mariadb.kill9()
    yield


@contextmanager
def _burst(plan: Plan) -> Iterator[None]:
    """Have another process write a gigabyte to mailbox.log as fast as it can."""
    text = "".join(mailbox_lines(20_000, 0.005)).encode()
    size = (1 << 20) * 20 if plan.quick else 1_000_000_000
    pid = os.fork()
    if not pid:
        with open(HOME / "log/mailbox.log", "ab", buffering=0) as log:
            for _ in range(size // len(text)):
                log.write(text)
        os._exit(0)
    try:
        yield
    finally:
        os.waitpid(pid, 0)


@contextmanager
def _flood(scene: Scene, plan: Plan) -> Iterator[None]:
    """Have the queue grow to its size before the first look, so that its first walk is what is watched."""
    scene.spool.grow(1000 if plan.quick else MESSAGES)
    yield
