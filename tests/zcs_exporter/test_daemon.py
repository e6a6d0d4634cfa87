"""Start, reload and stop of the whole daemon in this process, with what must not go wrong in between."""

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes import FakeHost

from zcs_exporter import daemon as daemon_module
from zcs_exporter import expose
from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.config import load_config
from zcs_exporter.contract import Clock
from zcs_exporter.daemon import Daemon
from zcs_exporter.expose import status_page
from zcs_exporter.hostio import Host
from zcs_exporter.registry import collector_classes

CATALOGUE = load_catalogue(asset("alerts"))
AUDIT = "/opt/zimbra/log/audit.log"
OTHERS = tuple(cls.name for cls in collector_classes() if cls.name != "auth")


class Scene:
    """A daemon with its configuration, on a host below a directory."""

    def __init__(self, directory: Path, host: FakeHost) -> None:
        self.directory = directory
        self.host = host
        self.file = directory / "config.yaml"
        self.configure()

    def configure(self, **sections: Any) -> None:
        """Write the configuration; only logins are watched unless said otherwise."""
        data: dict[str, Any] = {
            "host": {"root": self.host.root},
            "state": {"directory": str(self.directory / "state")},
            "web": {"listen": f"127.0.0.1:{18000 + os.getpid() % 10000}"},
            "collectors": {name: {"enabled": False} for name in OTHERS} | {"auth": {"interval": "1s"}},
        }
        self.file.write_text(yaml.safe_dump(data | sections))

    def play(self, story: Callable[[Daemon], Awaitable[None]], host: Host | None = None) -> None:
        """Run the daemon and ``story`` beside it, then stop the daemon as SIGTERM does."""

        async def whole() -> None:
            source = str(self.file)
            daemon = Daemon(source, CATALOGUE, load_config(source, CATALOGUE), Clock(), lambda _: host or self.host)
            running = asyncio.create_task(daemon.run())
            try:
                async with asyncio.timeout(30):
                    await story(daemon)
            finally:
                begun = time.monotonic()
                os.kill(os.getpid(), signal.SIGTERM)
                await running
                assert time.monotonic() - begun < 2

        asyncio.run(whole())


@pytest.fixture
def scene(tmp_path: Path, host: FakeHost) -> Scene:
    host.localconfig(zimbra_server_hostname="mail.example.com")
    host.write(AUDIT, "")
    (tmp_path / "own").mkdir()
    return Scene(tmp_path / "own", host)


def own(daemon: Daemon, name: str) -> Mapping[Sequence[str], float]:
    return {each.labels: each.value for each in daemon.snapshot().samples() if each.metric.name == name}


def append_failure(host: FakeHost, count: int = 1) -> None:
    stamp = datetime.now().strftime("%Y-%m-%d %H:%M:%S,000")
    line = (
        f"{stamp} WARN  [qtp1-1:https://mail.example.com/service/soap/] [oip=192.0.2.7;] security - cmd=Auth; "
        "account=ann@example.com; protocol=soap; error=authentication failed for [ann@example.com], invalid password;\n"
    )
    with open(host.path(AUDIT), "a", encoding="ascii") as file:
        file.write(line * count)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_reloads_while_lines_come_count_each_line_once(scene: Scene) -> None:
    async def story(daemon: Daemon) -> None:
        await daemon.until_ready()
        written = 0
        for _ in range(8):
            for _ in range(5):
                append_failure(scene.host, 10)
                written += 10
                await asyncio.sleep(0.05)
            assert await daemon.reload() == []
        counted = [0.0]

        def all_counted() -> bool:
            counted[0] = sum(own(daemon, "zcs_auth_failures_total").values())
            return counted[0] >= written

        await until(all_counted)
        await asyncio.sleep(1.5)
        all_counted()
        assert counted[0] == written

    scene.play(story)


def test_what_happens_while_a_reload_is_under_way_is_told_to_the_targets(scene: Scene) -> None:
    secret = scene.directory / "secret"
    secret.write_text("community: public\n")
    secret.chmod(0o600)
    target = {"name": "dead", "host": "127.0.0.1", "port": 9, "version": "2c", "secrets": str(secret)}
    scene.configure(notify={"heartbeat": "0s", "snmp": [target]})

    async def story(daemon: Daemon) -> None:
        await daemon.until_ready()
        append_failure(scene.host, 12)
        while not any(message.name == "ZcsAuthIpAccountFailures" for message in daemon.recent()):
            assert await daemon.reload() == []
            await asyncio.sleep(0.02)
        told = len(daemon.recent())
        await until(lambda: list(own(daemon, "zcs_exporter_outbox_messages").values()) == [told])

    scene.play(story)


def test_sighups_before_it_is_ready_are_one_reload_after(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def story(daemon: Daemon) -> None:
        await asyncio.sleep(0)
        for _ in range(20):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)
        await daemon.until_ready()
        await until(lambda: "configuration reloaded" in caplog.text)

    scene.play(story)

    assert caplog.text.count("configuration reloaded") == 1


class StuckHost(FakeHost):
    """A host whose files are on a disk that does not answer."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.never = threading.Event()

    def stat(self, path: str) -> os.stat_result:
        self.never.wait(60)
        return super().stat(path)


def test_a_disk_that_hangs_at_start_neither_ends_it_nor_holds_up_its_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daemon_module, "SETTINGS_PATIENCE", 0.2)
    stuck = StuckHost(scene.host.base)

    async def story(daemon: Daemon) -> None:
        await until(lambda: "cannot start yet" in caplog.text)
        assert not daemon.ready()
        assert await daemon.reload() == ["the daemon is starting; try again later"]

    scene.play(story, stuck)
    stuck.never.set()


def test_a_token_that_cannot_be_saved_costs_no_more_than_the_page(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    (scene.directory / "state/token").mkdir(parents=True)

    async def story(daemon: Daemon) -> None:
        await daemon.until_ready()

    scene.play(story)

    assert "cannot save the token that opens the page" in caplog.text


def test_what_was_made_at_the_start_is_not_looked_through_for_garbage_again(scene: Scene) -> None:
    async def story(daemon: Daemon) -> None:
        gc.unfreeze()
        await daemon.until_ready()
        while gc.get_freeze_count() < 10_000:  # a moment after that
            await asyncio.sleep(0.05)
        gc.unfreeze()
        assert await daemon.reload() == []
        assert gc.get_freeze_count() > 10_000

    scene.play(story)
    gc.unfreeze()


def test_what_renders_the_page_is_loaded_before_anybody_looks(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk that it lies on may hang by then, and would take the event loop with it."""
    monkeypatch.setattr(expose, "status_page", status_page)  # to be put back
    monkeypatch.delitem(sys.modules, status_page.__name__)

    async def story(daemon: Daemon) -> None:
        await daemon.until_ready()
        await until(lambda: status_page.__name__ in sys.modules)

    scene.play(story)
