"""The package on a machine that systemd has booted: installed, confined, restarted, upgraded, removed.

The tests build on each other, in this order: one machine lives through all of it.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e.lab import (
    HOME,
    HOST,
    Jvms,
    Labels,
    MariaDb,
    Postfix,
    Snmptrapd,
    Zcs,
    http_get,
    make_directories,
    mount_memory,
    run,
    wait_for,
    write,
)
from e2e.product import COLLECTORS, USER, USER_SECRET, now, stamp
from prometheus_client.parser import text_string_to_metric_families

UNIT = "zcs-exporter.service"
ROOT = Path(__file__).parents[3]
STATE = Path("/var/lib/zcs-exporter")
CONFIGURATION = Path("/etc/zcs-exporter")
QUICK = "collectors: {" + ", ".join(f"{name}: {{interval: 1s}}" for name in COLLECTORS) + "}\n"
SWIFT = "[Service]\nRestartSec=100ms\nWatchdogSec=2\n"
"""What a test has no time to wait for."""


def shown(what: str, unit: str = UNIT) -> str:
    return run("systemctl", "show", "--value", "--property", what, unit).strip()


def pid() -> int:
    return int(shown("MainPID"))


def journal() -> str:
    return run("journalctl", "--unit", UNIT, "--output", "cat", "--no-pager")


def metrics() -> dict[tuple[str, Labels], float]:
    status, body = http_get("http://127.0.0.1:10741/metrics")
    assert status == 200, body
    families = text_string_to_metric_families(body)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def value(name: str, /, **labels: str) -> float | None:
    return metrics().get((name, frozenset(labels.items())))


def success() -> dict[str, float]:
    found = metrics().items()
    return {dict(labels)["collector"]: v for (name, labels), v in found if name == "zcs_exporter_collector_success"}


def wait_ready() -> None:
    wait_for(lambda: http_get("http://127.0.0.1:10741/-/ready")[0] == 200, 30, lambda: f"the daemon: {journal()}")


def copy_of_the_unit(name: str, *command: str) -> str:
    """Run a command with exactly the rights of the unit, whatever its exit status, and return what it printed."""
    text = Path(shown("FragmentPath")).read_text()
    text = re.sub(r"^(Type|ExecStart|ExecReload|Restart|WatchdogSec)=.*\n", "", text, flags=re.M)
    output = Path("/run") / name
    service = (
        f"[Service]\nType=oneshot\nSuccessExitStatus=1\nStandardOutput=file:{output}\nExecStart={' '.join(command)}\n"
    )
    Path(f"/run/systemd/system/{name}.service").write_text(text.replace("[Service]\n", service))
    run("systemctl", "daemon-reload")
    run("systemctl", "start", name)
    return output.read_text()


@pytest.fixture(scope="session")
def successor(package: Path) -> Path:
    """The same package with the next revision."""
    tree = Path("/tmp/successor")
    run("dpkg-deb", "--raw-extract", package, tree)
    control = tree / "DEBIAN/control"
    control.write_text(
        re.sub(r"^(Version: .*-)(\d+)$", lambda m: f"{m[1]}{int(m[2]) + 1}", control.read_text(), flags=re.M)
    )
    run("dpkg-deb", "-Znone", "--build", tree, "/tmp/successor.deb")
    return Path("/tmp/successor.deb")


@pytest.fixture(scope="module")
def host(package: Path, zcs: Zcs, postfix: Postfix, mariadb: MariaDb, jvms: Jvms) -> Iterator[None]:
    """A Zimbra host with everything that the daemon looks at, before it is installed."""
    make_directories("zmstat")
    write(HOME / "zmstat/mailboxd.csv", f"timestamp,lmtp_threads\n{stamp(now(), '%m/%d/%Y %H:%M:%S')},2\n")
    zcs.append_audit("started")
    postfix.fill(deferred=3)
    yield
    print(journal())


def test_installed_it_runs_and_every_collector_works_as_its_own_user(host: None, package: Path) -> None:
    run("dpkg", "--install", package)

    # Ready means that every collector has had its first round, so there is nothing to wait for.
    assert shown("ActiveState") == "active"
    assert success() == dict.fromkeys(COLLECTORS, 1.0), journal()
    assert run("systemctl", "is-enabled", UNIT) == "enabled\n"
    status = Path(f"/proc/{pid()}/status").read_text()
    for field in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{field}:\t0000000000000004\n" in status
    assert "NoNewPrivs:\t1\n" in status
    assert "Seccomp:\t2\n" in status
    assert run("id", "--name", "--groups", "zcs-exporter").split() == ["zcs-exporter", "zimbra"]
    assert STATE.stat().st_mode & 0o777 == 0o700
    found = metrics()
    assert found["zcs_postfix_queue_messages", frozenset({("queue", "deferred")})] == 3
    assert found["mysql_up", frozenset()] == 1
    for jvm in ("mailboxd", "zmconfigd"):
        assert found["zcs_jvm_hsperfdata_available", frozenset({("jvm", jvm)})] == 1


def test_the_doctor_under_the_same_rights_misses_none(host: None) -> None:
    report = copy_of_the_unit("doctor", "/usr/bin/zcs-exporter", "doctor")

    lines = report.splitlines()
    assert not [line for line in lines if line.startswith(("fails", "partly"))], report
    assert {line.split()[1].rstrip(":") for line in lines if line.startswith("works")} >= set(COLLECTORS), report


def test_the_doctor_as_the_documentation_calls_it_misses_none_either(host: None) -> None:
    [line] = re.findall(r"^    (systemd-run .* zcs-exporter doctor)$", (ROOT / "docs/install.md").read_text(), re.M)

    report = run("sh", "-c", line)

    assert not re.search(r"^(fails|partly)", report, re.M), report


def test_the_unit_is_accepted_without_a_word_and_confines_the_daemon(host: None) -> None:
    assert run("systemd-analyze", "verify", UNIT) == ""
    write(Path("/etc/krb5.keytab"), "keys\n", user="root", mode=0o600)
    hidden = "/etc/shadow /etc/krb5.keytab"
    # A dollar sign in a unit is written twice.
    places = f"{STATE} /run/zcs-exporter {CONFIGURATION} {HOME} {HOME}/log /etc /home /tmp /usr /var/log /var/tmp"
    probe = f"for p in {places}; do touch $$p/probe && rm $$p/probe && echo $$p; done; cat {hidden}; ls /root"

    may = copy_of_the_unit("probe", "/bin/sh", "-c", f'"exec 2>/dev/null; {probe}"')

    assert may.split() == [str(STATE), "/run/zcs-exporter"]


def test_a_configuration_is_taken_over_by_reload(host: None) -> None:
    before = pid()
    (CONFIGURATION / "config.yaml").write_text(QUICK)
    run("systemctl", "reload", UNIT)
    wait_for(lambda: "configuration reloaded" in journal(), 10, "the reload")

    assert pid() == before
    rounds = value("zcs_exporter_collector_last_success_timestamp_seconds", collector="postfix")
    assert rounds
    wait_for(
        lambda: (value("zcs_exporter_collector_last_success_timestamp_seconds", collector="postfix") or 0) > rounds,
        5,
        "the next round within the new interval",
    )


def test_a_faulty_configuration_fails_the_reload_and_changes_nothing(host: None) -> None:
    before = pid()
    faulty = CONFIGURATION / "conf.d/faulty.yaml"
    faulty.write_text("notify: {heartbeet: 1s}\n")
    try:
        done = subprocess.run(["systemctl", "reload", UNIT], check=False)
    finally:
        faulty.unlink()

    assert done.returncode != 0
    assert "heartbeet" in journal()
    assert (shown("ActiveState"), pid()) == ("active", before)
    run("systemctl", "reload", UNIT)


def test_file_systems_are_measured_as_they_are_outside(host: None) -> None:
    def sizes() -> dict[str, float]:
        found = metrics().items()
        return {dict(labels)["mountpoint"]: v for (name, labels), v in found if name == "zcs_filesystem_size_bytes"}

    store = str(HOME / "store")
    mount_memory(Path(store), "24m")
    try:
        seen = wait_for(lambda: store in sizes() and sizes(), 10, "a file system that was mounted later")
        assert seen == {place: os.statvfs(place).f_blocks * os.statvfs(place).f_frsize for place in seen}
    finally:
        run("umount", store)


def test_encrypted_notifications_leave_it(host: None, snmptrapd: Callable[..., Snmptrapd]) -> None:
    receiver = snmptrapd(users=[USER])
    secret = CONFIGURATION / "nms.secret"
    write(secret, repr(USER_SECRET), user="root", mode=0o600)
    target = f"{{name: nms, host: 127.0.0.1, port: {receiver.port}, secrets: {secret}}}"
    (CONFIGURATION / "conf.d/nms.yaml").write_text(f"notify: {{heartbeat: 1s, snmp: [{target}]}}\n")
    try:
        run("zcs-exporter", "check-config")
        run("systemctl", "reload", UNIT)
        assert receiver.wait_received(2)[0]["pdu"].startswith("INFORM, SNMP v3, user nagios")
    finally:
        (CONFIGURATION / "conf.d/nms.yaml").unlink()
        run("systemctl", "reload", UNIT)


def test_a_maintenance_outlasts_a_restart(host: None) -> None:
    assert "held until" in run("zcs-exporter", "alerts", "silence", "1h")
    wait_for(lambda: value("zcs_maintenance", cause="file"), 10, lambda: f"the maintenance: {metrics()}")

    before = pid()
    begun = time.monotonic()
    run("systemctl", "stop", UNIT)
    print(f"stopped within {time.monotonic() - begun:.1f} s")
    assert shown("Result") == "success"
    run("systemctl", "start", UNIT)

    assert pid() != before
    assert value("zcs_maintenance", cause="file") == 1


def test_killed_it_comes_back(host: None) -> None:
    drop_in = Path(f"/run/systemd/system/{UNIT}.d")
    drop_in.mkdir()
    (drop_in / "swift.conf").write_text(SWIFT)
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", UNIT)
    before = pid()
    os.kill(before, signal.SIGKILL)

    wait_for(lambda: pid() not in (0, before) and shown("SubState") == "running", 30, journal)
    assert shown("NRestarts") == "1"
    assert success() == dict.fromkeys(COLLECTORS, 1.0), journal()


def test_frozen_it_is_ended_by_the_watchdog_and_says_where_it_hung(host: None) -> None:
    before = pid()
    os.kill(before, signal.SIGSTOP)

    wait_for(lambda: pid() not in (0, before) and shown("SubState") == "running", 30, journal)
    said = journal()
    assert "Watchdog timeout" in said
    assert re.search(r"^Fatal Python error: Aborted$", said, re.M)
    assert 'zcs_exporter/cli.py", line' in said


def test_an_upgrade_keeps_state_and_maintenance(host: None, successor: Path) -> None:
    token, before = (STATE / "token").read_text(), pid()

    run("dpkg", "--install", successor)

    assert run("dpkg-query", "--show", "--showformat", "${Version}", "zcs-exporter").endswith("-2")
    assert pid() not in (0, before)
    wait_ready()
    assert (STATE / "token").read_text() == token
    assert value("zcs_maintenance", cause="file") == 1
    assert success() == dict.fromkeys(COLLECTORS, 1.0), journal()


def test_when_dpkg_gives_up_what_it_began_the_daemon_runs_again(host: None) -> None:
    for undone, redone in (("remove", "abort-remove"), ("deconfigure", "abort-deconfigure")):
        run("/var/lib/dpkg/info/zcs-exporter.prerm", undone)
        assert shown("ActiveState") == "inactive"
        run("/var/lib/dpkg/info/zcs-exporter.postinst", redone)
        assert shown("ActiveState") == "active"
    wait_ready()


def test_zimbra_that_comes_later_gets_the_daemon_into_its_group(host: None) -> None:
    run("gpasswd", "--delete", "zcs-exporter", "zimbra")
    tree = Path("/tmp/zimbra-later")
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "opt/zimbra/libexec").mkdir(parents=True)
    (tree / "opt/zimbra/libexec/later").touch()
    (tree / "DEBIAN/control").write_text(
        "Package: zimbra-later\nVersion: 1\nArchitecture: all\nMaintainer: m <m@example.com>\nDescription: d\n"
    )
    run("dpkg-deb", "-Znone", "--build", tree, "/tmp/zimbra-later.deb")
    before = pid()

    run("dpkg", "--install", "/tmp/zimbra-later.deb")

    assert "zimbra" in run("id", "--name", "--groups", "zcs-exporter").split()
    assert pid() not in (0, before)


def test_nothing_was_refused_and_nothing_went_wrong_unseen(host: None) -> None:
    said = journal()

    assert not re.search(r"Traceback|ermission denied|not permitted|ead-only file system", said), said


def test_removed_it_stops_and_keeps_state_and_configuration(host: None) -> None:
    run("dpkg", "--remove", "zcs-exporter")

    assert shown("ActiveState") == "inactive"
    assert (STATE / "token").exists()
    assert (CONFIGURATION / "config.yaml").exists()
    assert not Path("/usr/lib/zcs-exporter").exists()


def test_purged_it_leaves_nothing(host: None) -> None:
    run("dpkg", "--purge", "zcs-exporter")

    assert shown("LoadState") == "not-found"
    shutil.rmtree(f"/run/systemd/system/{UNIT}.d")
    left = run("find", "/etc", "/lib", "/run", "/usr", "/var/lib", "-xdev", "-name", "*zcs-exporter*").split()
    assert not [path for path in left if not path.startswith("/usr/lib/debug")]
    assert "zcs-exporter" not in Path("/etc/passwd").read_text() + Path("/etc/group").read_text()
    assert run("systemctl", "is-system-running") == "running\n"
    assert HOST in run("hostname")
