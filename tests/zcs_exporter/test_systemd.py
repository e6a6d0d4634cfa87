import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from zcs_exporter.systemd import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def notifier(address: str, **environ: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": address, **environ}, lambda: 123_456_789, pid=42)


def test_each_change_of_state_is_one_datagram(manager: socket.socket) -> None:
    systemd = notifier(manager.getsockname())
    systemd.ready("watching 7 things")
    systemd.reloading()
    systemd.ready()
    systemd.watchdog()
    systemd.status("42 alarms")
    systemd.stopping()

    assert [manager.recv(1024) for _ in range(6)] == [
        b"READY=1\nSTATUS=watching 7 things",
        b"RELOADING=1\nMONOTONIC_USEC=123456789",
        b"READY=1",
        b"WATCHDOG=1",
        b"STATUS=42 alarms",
        b"STOPPING=1",
    ]


def test_a_status_cannot_smuggle_in_another_message(manager: socket.socket) -> None:
    notifier(manager.getsockname()).status("fine\nMAINPID=1")

    assert manager.recv(1024) == b"STATUS=fine?MAINPID=1"


def test_an_abstract_socket_is_reached() -> None:
    name = f"zcs-exporter-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.setblocking(False)
        notifier("@" + name).watchdog()

        assert listener.recv(1024) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "relative/path", "vsock:2:1234"])
def test_outside_systemd_nothing_happens(address: str, caplog: pytest.LogCaptureFixture) -> None:
    systemd = notifier(address)
    systemd.ready()

    assert not systemd.enabled
    assert caplog.records == []


def test_a_manager_that_does_not_listen_is_said_once_until_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    systemd = notifier(str(tmp_path / "notify"))
    with caplog.at_level(logging.WARNING):
        systemd.watchdog()
        systemd.watchdog()
    assert len(caplog.records) == 1

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        systemd.watchdog()
    systemd.watchdog()
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_systemd_asks(environ: dict[str, str], interval: float | None) -> None:
    assert notifier("/run/notify", **environ).watchdog_interval == interval
