"""`trap test` and `trap listen`, as an administrator types them."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e.lab import Exporter, Snmptrapd, Zcs, environment, free_port, need_mibs, wait_for
from e2e.product import MIB, USER, USER_SECRET, settings


def target(
    daemon: Exporter, name: str, port: int, version: object, kind: str, secret: dict[str, object]
) -> dict[str, object]:
    path = daemon.secrets(f"{name}.secret", secret)
    return {"name": name, "host": "127.0.0.1", "port": port, "version": version, "kind": kind, "secrets": path}


@pytest.mark.parametrize("running", [False, True])
def test_a_test_arrives_as_trap_and_inform_whether_the_daemon_runs_or_not(
    zcs: Zcs, exporter: Callable[..., Exporter], snmptrapd: Callable[..., Snmptrapd], running: bool
) -> None:
    need_mibs()
    zcs.set_services("mta")
    old = snmptrapd(mib_dirs=[MIB], mibs=["ZCS-EXPORTER-MIB"], community="lab-community")
    new = snmptrapd(mib_dirs=[MIB], mibs=["ZCS-EXPORTER-MIB"], users=[USER])
    daemon = exporter(settings())
    daemon.config["notify"] = {
        "heartbeat": "0s",
        "snmp": [
            target(daemon, "old", old.port, "2c", "trap", {"community": "lab-community"}),
            target(daemon, "new", new.port, 3, "inform", USER_SECRET),
        ],
    }
    daemon.configure()
    if running:
        daemon.start()

    done = subprocess.run(
        [daemon.program, "trap", "test", "--config", str(daemon.config_file)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )

    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["old", "new"]
    for receiver in (old, new):
        wait_for(
            lambda receiver=receiver: any(each["trap"].endswith("zcsTest") for each in receiver.received()),  # type: ignore[misc]
            20,
            f"the test to arrive: {receiver.received()}",
        )


def test_a_target_that_does_not_answer_is_said_and_the_exit_status_tells(
    zcs: Zcs, exporter: Callable[..., Exporter]
) -> None:
    daemon = exporter(settings())
    daemon.config["notify"] = {"snmp": [target(daemon, "dead", 9, "2c", "inform", {"community": "lab-community"})]}
    daemon.configure()

    done = daemon.command("trap", "test", check=False)

    assert done.returncode == 1
    assert "dead: not delivered" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def listener(exporter: Callable[..., Exporter], tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A `trap listen` for the user of the tests, and the file with what it printed."""
    port, printed = free_port(), tmp_path / "printed"
    secrets = exporter().secrets("listen.secret", USER_SECRET)
    command = [Exporter.program, "trap", "listen", "--port", str(port), "--secrets", secrets, "--format", "json"]
    with printed.open("w") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"listening" in process.stderr.readline()
        yield port, printed
        process.terminate()


def test_listen_prints_what_net_snmp_sends(zcs: Zcs, listener: tuple[int, Path]) -> None:
    need_mibs()
    port, printed = listener
    keys = ["-l", "authPriv", "-a", USER.auth, "-A", USER.auth_password, "-x", USER.priv, "-X", USER.priv_password]
    playpen = "1.3.6.1.4.1.8072.9999.9999"
    variable = [f"{playpen}.2", "s", "hello \x1b[31m"]
    sent = subprocess.run(
        ["snmpinform", "-v", "3", "-u", USER.name, *keys, f"127.0.0.1:{port}", "", f"{playpen}.1", *variable],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert sent.returncode == 0, sent.stderr

    [line] = wait_for(lambda: printed.read_text().splitlines(), 10, "a line")
    told = json.loads(line)
    assert told["inform"] is True
    assert told["user"] == USER.name
    assert [name for name, _ in told["variables"]][-1] == f"{playpen}.2"
    assert "\\u001b" not in line
    assert "\x1b" not in line
