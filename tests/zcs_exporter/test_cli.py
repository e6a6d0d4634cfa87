"""The commands as a tired administrator types them: one clear line, the right exit status, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
