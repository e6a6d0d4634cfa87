"""The commands as a tired administrator types them: one clear line, the right exit status, never a traceback."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pysnmp.proto.secmod.rfc3414.priv.des import Des

from zcs_exporter.cli import COMMANDS, main
from zcs_exporter.command_line import parse
from zcs_exporter.config import config_model
from zcs_exporter.config_check import faults_outside
from zcs_exporter.reference import render_configuration_page

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "config.yaml"
    file.write_text(
        f"host: {{root: {tmp_path}/host}}\n"
        f"state: {{directory: {tmp_path}/state}}\n"
        "web: {listen: 127.0.0.1:1}\n"
        "collectors: {filesystem: {enabled: false}}\n"
    )
    (tmp_path / "host").mkdir()
    return str(file)


def call(*arguments: str, stdout: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "zcs_exporter", *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False)


@pytest.mark.parametrize("arguments", [(), ("trap",)])
def test_without_a_command_all_are_listed(arguments: tuple[str, ...]) -> None:
    done = call(*arguments)

    assert done.returncode == 2
    assert ("doctor" if not arguments else "listen") in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("command", ["once", "mib", "rules", "check-config"])
def test_a_reader_that_has_gone_is_no_error(command: str, config: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = call(command, "--config", config, stdout=writer)
    os.close(writer)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_standard_output_is_one_line(config: str) -> None:
    with open("/dev/full", "wb") as full:
        done = call("rules", "--config", config, stdout=full.fileno())

    assert done.returncode == 2
    assert done.stderr == "zcs-exporter: [Errno 28] No space left on device\n"


def test_a_daemon_that_does_not_run_is_said_with_what_to_look_at(config: str, tmp_path: Path) -> None:
    before_the_first_start = call("alerts", "--config", config)
    (tmp_path / "state").mkdir()
    (tmp_path / "state/token").write_text("x" * 43)
    later = call("alerts", "--config", config)

    assert before_the_first_start.returncode == later.returncode == 2
    assert "start the daemon first" in before_the_first_start.stderr
    assert (
        later.stderr
        == "zcs-exporter: http://127.0.0.1:1: Connection refused; see whether it runs: systemctl status zcs-exporter\n"
    )


def test_a_maintenance_that_no_daemon_heeds_is_noted_and_said_to_hold_nothing(config: str) -> None:
    begun = call("alerts", "silence", "2h", "--config", config)
    ended = call("alerts", "silence", "--end", "--config", config)
    again = call("alerts", "silence", "--end", "--config", config)

    assert (begun.returncode, begun.stdout) == (1, "")
    assert "nothing is held: no daemon answers at http://127.0.0.1:1\n" in begun.stderr
    assert [(each.returncode, each.stdout) for each in (ended, again)] == [
        (0, "the maintenance has ended\n"),
        (0, "there was no maintenance\n"),
    ]


def test_a_maintenance_that_a_daemon_heeds_holds_alarms(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as daemon:
        file = tmp_path / "config.yaml"
        file.write_text(f"host: {{root: {tmp_path}}}\nweb: {{listen: '127.0.0.1:{daemon.getsockname()[1]}'}}\n")
        done = call("alerts", "silence", "2h", "--config", str(file))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("alarms about services, probes and JVMs are held until ")


def test_a_test_without_a_target_says_where_to_add_one(config: str) -> None:
    assert "add one below notify.snmp" in call("trap", "test", "--config", config).stderr


def test_the_doctor_says_for_whom_it_looked(config: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "state", 64101, 64101)
        assert (
            "looked as uid 0, which may see more or less than the daemon's uid 64101"
            in call("doctor", "--config", config).stderr
        )
    else:
        assert "looked as" not in call("doctor", "--config", config).stderr


@pytest.mark.parametrize("words", [["--config", "x.yaml", "silence"], ["silence", "--config", "x.yaml"]])
def test_the_configuration_may_be_named_before_the_last_word_of_a_command(words: list[str]) -> None:
    arguments = parse(["alerts", *words, "2h"])

    assert (arguments.command, arguments.config) == ("alerts silence", "x.yaml")
    assert parse(["alerts", "silence", "2h"]).config is None


def test_every_command_that_can_be_typed_is_carried_out(capsys: pytest.CaptureFixture[str]) -> None:
    def commands(*words: str) -> Iterator[str]:
        with pytest.raises(SystemExit):
            parse([*words, "--help"])
        listed = re.findall(r"^ {4}([a-z-]+)(?: |$)", capsys.readouterr().out, re.MULTILINE)
        for name in listed:
            yield from commands(*words, name)
        if words and (not listed or " ".join(words) == "alerts"):
            yield " ".join(words)

    assert sorted(commands()) == sorted(COMMANDS)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("/nonexistent/master", "/nonexistent is no directory; name the socket of agentXSocket in snmpd.conf"),
        ("{tmp}/config.yaml", "is no socket; name that of agentXSocket in snmpd.conf"),
        ("{tmp}/config.yaml/master", "config.yaml is no directory"),
        ("agentx/master", "write it like /var/agentx/master"),
        ("127.0.0.1", "write it like /var/agentx/master"),
        ("{tmp}/not-there-yet", ""),
        ("127.0.0.1:705", ""),
    ],
)
def test_a_place_where_no_snmpd_can_be_is_a_fault(place: str, expected: str, config: str, tmp_path: Path) -> None:
    with open(config, "a") as file:
        file.write(f"snmp_agent: {{agentx: '{place.format(tmp=tmp_path)}'}}\n")
    done = call("check-config", "--config", config)

    assert done.returncode == (1 if expected else 0)
    assert expected in done.stderr
    assert done.stderr.count("\n") == bool(expected)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize(("owner", "port", "good"), [(65534, 1, False), (0, 1, True), (65534, 65535, True)])
def test_a_port_that_the_daemon_may_not_bind_is_a_fault(owner: int, port: int, good: bool, tmp_path: Path) -> None:
    state, secret = tmp_path / "state", tmp_path / "agent.community"
    state.mkdir()
    os.chown(state, owner, owner)
    secret.write_text("community: 0123456789abcdefgh\n")
    secret.chmod(0o600)
    agent = {
        "enabled": True,
        "listen": f"127.0.0.1:{port}",
        "allow": ["127.0.0.1/32"],
        "communities": [str(secret)],
    }
    found = faults_outside(
        config_model(()).of({"state": {"directory": str(state)}, "snmp_agent": agent, "collectors": {}})
    )
    assert len(found) == (not good), found
    for fault in found:
        assert fault.startswith("snmp_agent.listen: 127.0.0.1:1: only root may listen on ports below ")
        assert "'proxy ... 127.0.0.1:1161 ...'" in fault
        assert "snmp_agent.agentx: /var/agentx/master" in fault


def test_protocols_of_a_target_that_this_host_does_not_have_are_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with an OpenSSL that knows strong ciphers only."""

    def forbidden(*_args: object) -> None:
        raise ValueError("disabled for FIPS")

    secret = tmp_path / "nms.secret"
    keys = "auth: {protocol: MD5, password: twelve letters}\npriv: {protocol: DES, password: twelve letters}"
    secret.write_text(f"user: zcs\nallow_weak: true\n{keys}\n")
    secret.chmod(0o600)
    target = {"name": "nms", "host": "192.0.2.1", "secrets": str(secret)}
    config = config_model(()).of({"notify": {"snmp": [target]}, "collectors": {}})

    assert faults_outside(config) == []
    monkeypatch.setattr(Des, "encrypt_data", forbidden)
    [fault] = faults_outside(config)
    assert fault == (
        "notify.snmp: nms: user zcs: MD5 with DES does not work on this host (ValueError: disabled for FIPS); "
        "use SHA-256 with AES-128"
    )


def test_listening_where_something_listens_is_said_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        assert main(["trap", "listen", "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"zcs-exporter: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        "something listens there, as snmptrapd may: end it, or name another --port\n"
    )


def test_the_documentation_has_a_default_for_every_option() -> None:
    assert "PydanticUndefined" not in render_configuration_page(config_model())


def test_a_directory_that_cannot_be_written_is_named_with_a_remedy(config: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = call("managers", "--config", config, str(tmp_path / "file"))

    assert done.returncode == 2
    assert done.stderr.startswith(f"zcs-exporter: {tmp_path}/file/")
    assert done.stderr.endswith(": Not a directory; name a directory that you may write to, with room for a megabyte\n")


PERCENT = "alerts: {overrides: {ZcsFilesystemFull: {critical: 97}}}"


@pytest.mark.parametrize(
    ("command", "content"),
    [("check-config", text) for text in ("web: [", "wab: {}", "\udcff", PERCENT)]
    + [(command, PERCENT) for command in ("run", "once", "doctor", "alerts", "page", "rules")],
)
def test_a_broken_configuration_is_the_same_clear_line_everywhere(command: str, content: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(content, errors="surrogateescape")
    done = call(command, "--config", str(file))

    assert done.returncode == (1 if command == "check-config" else 2)
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
