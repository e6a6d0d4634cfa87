"""Least privilege: its own user, one capability, no program started, and a doctor who names what is lost."""

import shutil
from collections.abc import Callable
from pathlib import Path

from e2e.lab import HOME, Exporter, Jvms, MariaDb, Postfix, Zcs, make_directories, run, wait_for, write
from e2e.product import COLLECTORS, now, settings, stamp


def test_with_one_capability_every_collector_works_and_no_program_is_started(
    zcs: Zcs, postfix: Postfix, mariadb: MariaDb, jvms: Jvms, exporter: Callable[..., Exporter]
) -> None:
    zcs.set_services("mailbox", "mta")
    zcs.set_history("10.0.8")
    zcs.append_audit("started")
    make_directories("zmstat")
    table = f"timestamp,lmtp_threads\n{stamp(now(), '%m/%d/%Y %H:%M:%S')},2\n"
    write(HOME / "zmstat/mailboxd.csv", table)
    if not jvms.mailboxd.perf_file.exists():
        jvms.mailboxd.start()
    daemon = exporter(settings(), user="zcs-exporter", strace=True)
    daemon.start()

    def success() -> dict[str, float]:
        return {
            dict(labels)["collector"]: value
            for (name, labels), value in daemon.metrics().items()
            if name == "zcs_exporter_collector_success"
        }

    wait_for(
        lambda: success() == dict.fromkeys(COLLECTORS, 1.0), 30, f"every collector to work: {success()} {daemon.log()}"
    )
    metrics = daemon.metrics()
    label = frozenset({("jvm", "mailboxd")})
    assert metrics["zcs_jvm_up", label] == 1
    assert metrics["zcs_jvm_hsperfdata_available", label] == 1
    assert metrics["mysql_up", frozenset()] == 1
    assert ("zcs_postfix_queue_messages", frozenset({("queue", "deferred")})) in metrics
    rounds = metrics["zcs_exporter_collector_last_success_timestamp_seconds", frozenset({("collector", "postfix")})]
    wait_for(
        lambda: (
            (daemon.value("zcs_exporter_collector_last_success_timestamp_seconds", collector="postfix") or 0)
            > rounds + 60
        ),
        100,
        "a minute of rounds",
    )

    assert daemon.executed() == []
    assert "Traceback" not in daemon.log()
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    assert "CapEff:\t0000000000000004" in status


def test_without_the_capability_the_doctor_names_what_is_lost_and_the_grant(
    zcs: Zcs, postfix: Postfix, mariadb: MariaDb, jvms: Jvms, exporter: Callable[..., Exporter]
) -> None:
    zcs.set_services("mailbox", "mta")
    daemon = exporter(settings(), user="zcs-exporter", capability=False)

    done = daemon.command("doctor", check=False)

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    report = done.stdout.splitlines()
    broken = [number for number, line in enumerate(report) if line.startswith("fails") and "postfix" in line]
    assert broken, done.stdout
    assert "CAP_DAC_READ_SEARCH" in report[broken[0] + 1]
    assert any(line.startswith("partly") and "jvm" in line for line in report), done.stdout
    assert any(line.startswith("works") and "mysqld" in line for line in report), done.stdout


def test_the_doctor_reports_what_should_be_a_log_and_is_not(zcs: Zcs, exporter: Callable[..., Exporter]) -> None:
    zcs.set_services("mailbox", "mta")
    daemon = exporter(settings())
    audit, imapd, nginx = HOME / "log/audit.log", HOME / "log/imapd-audit.log", HOME / "log/nginx.log"
    kept = audit.read_bytes()
    audit.unlink()
    try:
        audit.mkdir()
        run("mkfifo", str(imapd))
        nginx.symlink_to(nginx)
        report = daemon.command("doctor", check=False).stdout
        for path, words in ((audit, "directory"), (imapd, "FIFO"), (nginx, "circle")):
            lines = report.splitlines()
            place = next(number for number, line in enumerate(lines) if line.startswith("fails") and str(path) in line)
            assert words in lines[place + 1], report
        audit.rmdir()
        with audit.open("wb") as file:
            file.truncate(10 << 30)
        report = daemon.command("doctor", check=False).stdout
        assert "10.0 GiB without rotation" in report
        daemon.start()
        assert daemon.value("zcs_exporter_log_lag_bytes", log="audit.log") == 0
    finally:
        daemon.close()
        for path in (audit, imapd, nginx):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
        audit.write_bytes(kept)
        run("chown", "zimbra:zimbra", str(audit))


def test_on_a_host_without_zimbra_once_says_absent_and_not_zero(
    exporter: Callable[..., Exporter], tmp_path: Path
) -> None:
    daemon = exporter({"host": {"zimbra_home": "/nonexistent/zimbra"}})

    done = daemon.command("once")

    assert "zcs_postfix_queue_messages" not in done.stdout
    assert "mysql_up" not in done.stdout
    assert 'zcs_exporter_collector_present{collector="postfix"} 0' in done.stdout
    assert 'zcs_exporter_collector_success{collector="postfix"}' not in done.stdout
    if shutil.which("promtool"):
        page = tmp_path / "page"
        page.write_text(done.stdout)
        assert run("promtool", "check", "metrics", text=done.stdout) == ""
