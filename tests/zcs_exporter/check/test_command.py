import argparse
import base64
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from zcs_exporter.alerting.model import Severity, load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.check.command import CheckError, check
from zcs_exporter.check.judge import Result
from zcs_exporter.cli import main
from zcs_exporter.config import load_config

CATALOGUE = load_catalogue(asset("alerts"))
LOGIN = "Basic " + base64.b64encode(b"nagios:twelve letters").decode()


class Daemon(HTTPServer):
    """Answers as a daemon does, to who may log in."""

    answers: dict[str, Any]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Daemon

    def do_GET(self) -> None:
        if self.headers["Authorization"] != LOGIN:
            self.send_error(401)
        elif self.server.answers.get(self.path) == "moved":
            self.send_response(302)
            self.send_header("Location", "/api/v1/alerts")
            self.end_headers()
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(self.server.answers[self.path]).encode())

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    server = Daemon(("127.0.0.1", 0), Handler)
    now = time.time()
    server.answers = {
        "/api/v1/alerts": {"host": "mail.example.com", "at": now, "now": now, "alerts": []},
        "/api/v1/snapshot": {
            "host": "mail.example.com",
            "at": now,
            "ready": True,
            "collectors": [{"name": "filesystem", "outcome": "good", "metrics": [], "failure": None, "samples": []}],
            "own": [
                {
                    "name": "zcs_alert_threshold",
                    "labels": {"alert": "ZcsFilesystemFull", "severity": "warning"},
                    "value": 0.85,
                }
            ],
        },
    }
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def login(tmp_path: Path) -> Path:
    path = tmp_path / "login"
    path.write_text("username: nagios\npassword: twelve letters\n")
    path.chmod(0o600)
    return path


def ask(url: str | None, login: Path | None, *families: str, alert: tuple[str, ...] = ()) -> Result:
    arguments = argparse.Namespace(
        url=url, login=None if login is None else str(login), ca_file=None, family=[*families], alert=[*alert]
    )
    return check(arguments, CATALOGUE, load_config(None, collectors=()) if url is None else None)


def test_a_daemon_elsewhere_is_asked_with_a_login(daemon: Daemon, login: Path) -> None:
    assert ask(daemon.url, login).status is Severity.OK


def test_who_asks_elsewhere_needs_no_configuration(
    daemon: Daemon, login: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--config", "/nonexistent", "--url", daemon.url, "--login", str(login)]) == Severity.OK
    assert capsys.readouterr().out.startswith("ZCS OK: ")


@pytest.mark.parametrize("answer", [[], {}, {"host": "x", "at": None, "ready": True}, 7, "text", None])
def test_an_answer_that_is_none_of_ours_is_unknown(daemon: Daemon, login: Path, answer: Any) -> None:
    daemon.answers["/api/v1/snapshot"] = answer
    found = ask(daemon.url, login)
    assert found.status is Severity.UNKNOWN
    assert "not that of a zcs-exporter" in found.line


def test_a_wrong_login_is_unknown_and_told_without_it(daemon: Daemon, login: Path) -> None:
    login.write_text("username: nagios\npassword: something else\n")
    found = ask(daemon.url, login)
    assert found.status is Severity.UNKNOWN
    assert found.line.startswith(f"{daemon.url}: the daemon answered 401 Unauthorized; name a user of its web")
    assert "something" not in found.line


def test_another_server_that_speaks_no_http_is_unknown(login: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            client, _ = server.accept()
            with client:
                client.recv(4096)
                client.sendall(b"220 mail.example.com ESMTP\r\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        found = ask(f"http://127.0.0.1:{server.getsockname()[1]}", login)
        thread.join()
    assert found.status is Severity.UNKNOWN
    assert "see whether it runs" in found.line


def test_nobody_there_is_unknown(login: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    found = ask(url, login)
    assert found.status is Severity.UNKNOWN
    assert found.line == f"{url}: Connection refused; see whether it runs and may be reached from here"


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com:10741",
        "ftp://mail.example.com",
        "file:///etc/passwd",
        "http:///x",
        "http://[2001:db8::1",
        "http://mail.example.com:port",
        "http://mail.example.com:99999",
        "http://nagios@mail.example.com",
        "http://mail.example.com?x",
    ],
)
def test_what_is_no_address_is_refused_with_one_that_is(url: str, login: Path) -> None:
    assert "write it like https://" in ask(url, login).line


@pytest.mark.parametrize("content", ["", "nagios:secret words", "username: nagios", "username: [\n secret words", "7"])
def test_a_login_file_that_is_none_is_told_without_its_content(daemon: Daemon, login: Path, content: str) -> None:
    login.write_text(content)
    found = ask(daemon.url, login)
    assert found.status is Severity.UNKNOWN
    assert "write two lines" in found.line
    assert "secret" not in found.line


def test_a_login_file_that_others_may_read_is_refused(daemon: Daemon, login: Path) -> None:
    login.chmod(0o644)
    assert "lets others in" in ask(daemon.url, login).line


def test_a_redirection_is_not_followed_with_the_login(daemon: Daemon, login: Path) -> None:
    daemon.answers["/api/v1/snapshot"] = "moved"
    assert "the daemon answered 302" in ask(daemon.url, login).line


@pytest.mark.parametrize(
    ("families", "alerts", "said"),
    [
        (("que",), (), "que is no family; did you mean queue?"),
        ((), ("ZcsFilesystemfull",), "ZcsFilesystemfull is no alert; did you mean ZcsFilesystemFull?"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(
    families: tuple[str, ...], alerts: tuple[str, ...], said: str, login: Path
) -> None:
    with pytest.raises(CheckError, match=said.replace("?", r"\?")):
        ask("http://127.0.0.1:1", login, *families, alert=alerts)


def test_a_family_without_any_alert_is_refused_and_never_good(login: Path) -> None:
    assert not [rule for rule in CATALOGUE.alerts if rule.family == "certificate"]
    with pytest.raises(CheckError, match="no alert of family certificate exists in this version"):
        ask("http://127.0.0.1:1", login, "filesystem", "certificate")


def test_what_the_daemon_does_not_judge_is_unknown(daemon: Daemon, login: Path) -> None:
    assert ask(daemon.url, login, alert=("ZcsFilesystemFull",)).status is Severity.OK
    found = ask(daemon.url, login, alert=("ZcsMysqldDown",))
    assert found.status is Severity.UNKNOWN
    assert "ZcsMysqldDown is switched off in the configuration of the daemon" in found.line


def test_a_daemon_without_tls_is_said_to_have_none(daemon: Daemon, login: Path) -> None:
    url = daemon.url.replace("http:", "https:")
    assert ask(url, login).line == f"{url}: it does not speak TLS; try {daemon.url}"


def test_a_login_file_that_is_missing_is_not_the_daemons_matter(daemon: Daemon, tmp_path: Path) -> None:
    found = ask(daemon.url, tmp_path / "nosuch")
    assert "name a file of mode 0600 that whoever runs this can read" in found.line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_who_may_not_read_the_web_configuration_is_told_how_to_ask(capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        web, file = Path(directory) / "web.yaml", Path(directory) / "config.yaml"
        web.write_text("")
        web.chmod(0o600)
        file.write_text(f"web: {{config_file: {web}}}\n")
        os.seteuid(65534)
        try:
            assert main(["check", "--config", str(file)]) == Severity.UNKNOWN
        finally:
            os.seteuid(0)
    assert capsys.readouterr().out == (
        f"ZCS UNKNOWN: {web}: Permission denied; run this as root or as the daemon's user, "
        "such as by sudo (docs/nagios.md), or ask with --url and --login\n"
    )


def test_a_daemon_elsewhere_needs_a_login() -> None:
    with pytest.raises(CheckError, match="--login FILE"):
        ask("http://127.0.0.1:1", None)


@pytest.mark.parametrize(
    "words",
    [
        ["--famly", "x"],
        ["--family"],
        ["--family", "que"],
        ["--url", "http://127.0.0.1:1"],
        ["--login", "file"],
        ["--ca-file", "file"],
        ["--config", "/nonexistent"],
        ["--config", "/nonexistent/\0"],
    ],
)
def test_wrong_usage_is_unknown_and_not_critical(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["check", *words])
    except SystemExit as exc:
        status = int(exc.code or 0)
    assert status == Severity.UNKNOWN
    said = capsys.readouterr().out
    assert said.startswith("ZCS UNKNOWN: ")
    assert said.count("\n") == 1
