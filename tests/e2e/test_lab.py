"""The lab itself: what fails here is the lab's fault, not the product's."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.lab import (
    HOME,
    SYSLOG,
    Exporter,
    Jvms,
    MariaDb,
    Parent,
    Postfix,
    Prometheus,
    Snmptrapd,
    V3User,
    Zcs,
    is_alive,
    kill,
    mount_memory,
    need,
    need_mibs,
    process_fields,
    run,
    wait_for,
)

NETSNMP = "1.3.6.1.4.1.8072.9999.9999"


def ids(entries: list[dict[str, str]], queue: str) -> list[str]:
    return [entry["queue_id"] for entry in entries if entry["queue_name"] == queue]


# -- The tree


def test_the_daemons_user_reads_what_group_zimbra_may_read(zcs: Zcs) -> None:
    assert "<key" in run("cat", HOME / "conf/localconfig.xml", user="zcs-exporter")
    assert run("id", "-Gn", user="zcs-exporter").split() == ["zcs-exporter", "zimbra"]
    assert run("hostname", "-f").strip() == "mail.example.com"


def test_localconfig_is_replaced_and_logs_are_appended_to(zcs: Zcs) -> None:
    place = HOME / "conf/localconfig.xml"
    before = place.stat().st_ino
    zcs.set_localconfig(zmdisklog_warn_threshold="80")
    assert place.stat().st_ino != before
    assert "<value>80</value>" in place.read_text()
    zcs.set_localconfig(zmdisklog_warn_threshold=None)
    assert "zmdisklog_warn_threshold" not in place.read_text()
    zcs.append_audit("a line")
    assert zcs.audit_log.read_bytes().endswith(b"a line\n")


def test_a_stand_in_bears_its_name(zcs: Zcs) -> None:
    pid = zcs.stand_in("memcached", "log/memcached.pid")
    assert Path(f"/proc/{pid}/comm").read_text() == "memcached\n"
    assert (HOME / "log/memcached.pid").read_text() == f"{pid}\n"
    kill(pid)


def test_a_small_file_system_fills_up(zcs: Zcs) -> None:
    place = HOME / "store/small"
    mount_memory(place, "1m", inodes=10)
    try:
        with pytest.raises(OSError, match="No space left"):
            (place / "file").write_bytes(bytes(2 << 20))
    finally:
        run("umount", place)


# -- Postfix


def test_messages_lie_where_they_were_sent(postfix: Postfix) -> None:
    postfix.clear()
    postfix.fill(deferred=40, hold=20, active=10, maildrop=2)
    assert postfix.count() == {"deferred": 40, "hold": 20, "active": 10, "maildrop": 2}
    assert b"postfix/smtpd" in SYSLOG.read_bytes()
    assert "postqueue" not in run("postqueue", "-j", user="zimbra")
    postfix.clear()
    assert postfix.count() == {}


def test_a_message_grows_old_and_moves(postfix: Postfix) -> None:
    postfix.clear()
    postfix.fill(hold=1)
    (entry,) = postfix.showq()
    modified = postfix.path(entry["queue_id"]).stat().st_mtime_ns
    postfix.age(entry["queue_id"], 4 * 86400)
    assert postfix.showq()[0]["arrival_time"] == entry["arrival_time"] - 4 * 86400
    assert postfix.path(entry["queue_id"]).stat().st_mtime_ns == modified
    postfix.release(entry["queue_id"])
    # Four days make it try once more before it gives up, which the lab's relay never answers.
    wait_for(lambda: "hold" not in postfix.count(), 10, "the message to leave the hold queue")
    postfix.clear()


def test_queue_ids_come_short_and_long(postfix: Postfix) -> None:
    postfix.clear()
    postfix.fill(hold=1)
    (short,) = ids(postfix.showq(), "hold")
    assert set(short) <= set("0123456789ABCDEF")
    postfix.fill(hold=1, deferred=1, long_ids=True)
    (long,) = set(ids(postfix.showq(), "hold")) - {short}
    assert "z" in long
    postfix.delete(long)
    assert ids(postfix.showq(), "hold") == [short]
    assert "z" in ids(postfix.showq(), "deferred")[0]
    postfix.clear()


# -- MariaDB


def test_the_database_answers_dies_and_comes_back(mariadb: MariaDb) -> None:
    first = mariadb.pid
    assert int(mariadb.status()["Threads_connected"]) >= 1
    assert Path(f"/proc/{first}/comm").read_text() == "mysqld\n"
    parent = process_fields(first)[1]
    assert Path(f"/proc/{parent}/comm").read_text() == "mysqld_safe\n"
    mariadb.kill9()
    assert not is_alive(first)
    assert mariadb.socket.exists()
    mariadb.start("--max-connections=20")
    assert mariadb.pid != first
    assert mariadb.execute("SELECT @@max_connections").strip() == "20"
    mariadb.stop()
    assert not mariadb.pid_file.exists()
    mariadb.start()


@pytest.mark.parametrize(
    ("parent", "name", "parent_name"),
    [("shell", "mariadbd", ""), ("mysqld_safe", "mysqld", "mysqld_safe"), ("init", "mysqld", "1")],
)
def test_a_second_server_holds_the_same_data(mariadb: MariaDb, parent: Parent, name: str, parent_name: str) -> None:
    pid = mariadb.start_second(parent, name)
    try:
        assert Path(f"/proc/{pid}/comm").read_text() == f"{name}\n"
        assert f"--datadir={mariadb.data}" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        above = process_fields(pid)[1]
        expected = {"": str(os.getpid()), "1": "1"}.get(parent_name)
        assert above == expected or Path(f"/proc/{above}/comm").read_text().strip() == parent_name
        assert mariadb.status()
    finally:
        mariadb.stop_others()
    assert not is_alive(pid)


def test_the_antispam_instance_has_its_own_data(mariadb: MariaDb) -> None:
    server = mariadb.start_antispam()
    try:
        assert server.execute("SELECT @@datadir").strip() == f"{HOME}/data/amavisd/mysql/data/"
    finally:
        mariadb.stop_others()


# -- JVMs


def test_each_jvm_has_its_collector_and_its_owner(jvms: Jvms) -> None:
    assert jvms.mailboxd.jstat("gc")["CGC"] >= 0
    assert "CGC" not in jvms.zmconfigd.jstat("gc")
    assert jvms.mailboxd.perf_file.stat().st_uid == 0
    assert Path(f"/proc/{jvms.mailboxd.pid}/fd").stat().st_uid == 0
    owner = pwd.getpwnam("zimbra").pw_uid
    assert f"Uid:\t{owner}\t{owner}" in Path(f"/proc/{jvms.mailboxd.pid}/status").read_text()
    assert jvms.zmconfigd.perf_file.stat().st_uid == owner


def test_a_jvm_allocates_on_command(jvms: Jvms) -> None:
    before = jvms.mailboxd.jstat("gc")
    jvms.mailboxd.command("churn", 100)
    jvms.mailboxd.command("collect")
    after = jvms.mailboxd.jstat("gc")
    assert after["YGC"] > before["YGC"]
    assert after["FGC"] > before["FGC"]
    jvms.mailboxd.command("keep", 20)
    assert jvms.mailboxd.jstat("gcutil")["O"] > 30
    assert jvms.mailboxd.command("keep", 100) == "out of memory"
    jvms.mailboxd.command("free")


def test_a_jvm_comes_back_with_another_collector(jvms: Jvms) -> None:
    first = jvms.zmconfigd.pid
    jvms.zmconfigd.kill9()
    assert not is_alive(first)
    jvms.zmconfigd.start("Serial")
    assert jvms.zmconfigd.jstat("gc")["EC"] > 0
    jvms.zmconfigd.stop()
    jvms.zmconfigd.start()


# -- snmptrapd


def trap(receiver: Snmptrapd, text: str, *options: str, program: str = "snmptrap") -> None:
    run(program, *options, receiver.address, "", f"{NETSNMP}.1.1", f"{NETSNMP}.2.1", "s", text)


def test_a_trap_and_an_inform_are_decoded(snmptrapd: Callable[..., Snmptrapd]) -> None:
    need("snmp", "snmptrap", "snmpinform")
    engine = "8000000001020304"
    receiver = snmptrapd(users=[V3User(name="informed"), V3User(name="trapped", engine_id=engine)])
    security = ["-v3", "-l", "authPriv", "-a", "SHA", "-A", "authpass12", "-x", "AES", "-X", "privpass12"]
    trap(receiver, "first", "-v2c", "-c", "public")
    trap(receiver, "unheard", "-v2c", "-c", "wrong")
    trap(receiver, 'a "quoted" = text', *security, "-u", "trapped", "-e", f"0x{engine}")
    receiver.wait_received(2)
    receiver.stop()
    receiver.start()
    trap(receiver, "third", *security, "-u", "informed", program="snmpinform")
    found = receiver.wait_received(3)
    assert [next(v for k, v in n.items() if k.endswith(".9999.2.1")) for n in found] == [
        "first",
        'a "quoted" = text',
        "third",
    ]
    assert all(n["trap"].endswith("9999.1.1") and n["sysUpTime"].isdigit() for n in found)
    assert ["INFORM" in n["pdu"] for n in found] == [False, False, True]
    assert "public" in found[0]["pdu"]
    assert "trapped" in found[1]["pdu"]


def test_a_receiver_names_variables_by_their_mib(snmptrapd: Callable[..., Snmptrapd]) -> None:
    need("snmp", "snmptrap")
    need_mibs()
    receiver = snmptrapd(mibs=["NET-SNMP-EXAMPLES-MIB"])
    oid = "1.3.6.1.4.1.8072.2"
    run(
        *("snmptrap", "-v2c", "-c", "public", receiver.address, ""),
        *(f"{oid}.3.0.1", f"{oid}.3.2.1.0", "i", "7", f"{oid}.3.2.2.0", "s", "by name"),
    )
    (found,) = receiver.wait_received(1)
    assert found["trap"] == "netSnmpExampleHeartbeatNotification"
    assert found["netSnmpExampleHeartbeatRate"] == "7"
    assert found["netSnmpExampleHeartbeatName"] == "by name"


# -- Prometheus


def test_prometheus_is_ready_and_evaluates(prometheus: Callable[..., Prometheus], tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text('{groups: [{name: g, rules: [{alert: Always, expr: "vector(1)"}]}]}')
    server = prometheus("127.0.0.1:1", rules=[rules])
    assert server.query("vector(42)")[0]["value"][1] == "42"
    wait_for(lambda: [a["labels"]["alertname"] for a in server.alerts()] == ["Always"], 10, "an alert")
    assert [rule["health"] for rule in server.rules()] == ["ok"]
    wait_for(lambda: [target["labels"]["job"] for target in server.targets()] == ["zcs"], 10, "the target")


# -- The exporter's frame


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zcs: Zcs) -> None:
    """In the exporter's place a script that serves one metric, so that only the frame is tested."""
    script = HOME / "libexec/zcs-exporter"
    script.write_text(FAKE)
    script.chmod(0o755)
    monkeypatch.setattr(Exporter, "program", script)


FAKE = """\
#!/usr/bin/python3
import http.server, os, subprocess, sys
if "--help" in sys.argv:
    sys.exit(0)
listen = [line.split()[1] for line in open(sys.argv[3]) if "listen:" in line][0]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/run":
            subprocess.run(["/bin/true"])
        capabilities = int([line for line in open("/proc/self/status") if line.startswith("CapEff")][0].split()[1], 16)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'me{user="%d"} %d\\n' % (os.getuid(), capabilities))
http.server.HTTPServer(("127.0.0.1", int(listen.split(":")[1])), Handler).serve_forever()
"""


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(("capability", "bits"), [(True, 1 << 2), (False, 0)])
def test_the_exporter_runs_as_its_user_with_one_capability(
    exporter: Callable[..., Exporter], capability: bool, bits: int
) -> None:
    daemon = exporter(user="zcs-exporter", capability=capability)
    daemon.start()
    number = pwd.getpwnam("zcs-exporter").pw_uid
    assert daemon.value("me", user=str(number)) == bits
    daemon.kill9()
    with pytest.raises(OSError, match="refused"):
        daemon.get("/metrics")


@pytest.mark.usefixtures("program")
def test_strace_tells_what_the_exporter_started(exporter: Callable[..., Exporter]) -> None:
    need("strace", "strace")
    daemon = exporter(strace=True, user="zcs-exporter")
    daemon.start()
    assert daemon.executed() == []
    daemon.get("/run")
    wait_for(lambda: ["/bin/true" in line for line in daemon.executed()] == [True], 5, "one program in strace's record")
    daemon.kill9()


def test_process_1_reaps_orphans(zcs: Zcs) -> None:
    orphan = Path("/proc") / run("sh", "-c", "sleep 0.1 >/dev/null 2>&1 & echo $!").strip()
    wait_for(lambda: not orphan.exists(), 5, "process 1 to reap an orphan")
