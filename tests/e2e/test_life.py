"""Start, reload and stop of the real daemon."""

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.lab import Exporter, Zcs, wait_for
from e2e.product import settings


@pytest.fixture
def daemon(zcs: Zcs, exporter: Callable[..., Exporter]) -> Exporter:
    zcs.set_services("mta")
    running: Exporter = exporter(settings())
    running.start()
    return running


def test_sigterm_ends_it_within_two_seconds_and_well(daemon: Exporter) -> None:
    begun = time.monotonic()

    assert daemon.stop() == 0

    assert time.monotonic() - begun < 2.5
    assert "Traceback" not in daemon.log()


def test_sigterm_while_a_receiver_is_dead_is_no_slower(zcs: Zcs, exporter: Callable[..., Exporter]) -> None:
    zcs.set_services("mta")
    dead = exporter(settings())
    secret = dead.secrets("dead.secret", {"community": "nobody-listens"})
    target = {"name": "dead", "host": "127.0.0.1", "port": 9, "version": "2c", "kind": "inform", "secrets": secret}
    dead.config["notify"] = {"snmp": [target]}
    dead.configure()
    dead.start()
    begun = time.monotonic()

    assert dead.stop() == 0

    assert time.monotonic() - begun < 2.5


def test_a_reload_takes_over_a_good_configuration_whole(daemon: Exporter) -> None:
    assert daemon.value("zcs_exporter_collector_present", collector="mysqld") is not None
    counted = daemon.value("zcs_exporter_log_lines_total", log="zimbra.log")
    daemon.config["collectors"]["mysqld"] = {"enabled": False}
    daemon.configure()
    daemon.reload()

    wait_for(lambda: daemon.value("zcs_exporter_collector_present", collector="mysqld") is None, 10, "the reload")
    assert daemon.get("/-/ready")[0] == 200
    assert daemon.value("zcs_exporter_log_lines_total", log="zimbra.log") == counted


def test_a_reload_keeps_the_old_configuration_and_says_why(daemon: Exporter) -> None:
    token = Path(daemon.config["state"]["directory"], "token").read_text().strip()
    daemon.config["collectors"]["postfix"]["intervall"] = "1s"
    daemon.configure()
    daemon.reload()
    wait_for(lambda: "did you mean interval?" in daemon.log(), 10, "the refusal in the log")

    assert daemon.value("zcs_exporter_collector_present", collector="postfix") is not None
    del daemon.config["collectors"]["postfix"]["intervall"]
    daemon.config["web"]["listen"] = "127.0.0.1:1"
    daemon.configure()
    daemon.reload()
    wait_for(lambda: "web cannot change while the daemon runs" in daemon.log(), 10, "the refusal in the log")
    assert daemon.get("/-/ready")[0] == 200
    assert token


def test_a_second_daemon_on_the_same_state_is_refused_with_the_remedy(daemon: Exporter) -> None:
    done = daemon.command("run", check=False)

    assert done.returncode == 2
    assert "another zcs-exporter is using it" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_opens_with_the_printed_address_only(daemon: Exporter) -> None:
    address = daemon.command("page").stdout.strip()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    assert daemon.get("/")[0] == 401
    with browser.open(address) as answer:
        assert "mail.example.com" in answer.read().decode()
    done = daemon.command("alerts", check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("no alarm stands\n")
