import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.services.collector import (
    DOWN,
    LEFT_STOPPED,
    MAINTENANCE,
    MAINTENANCE_UNTIL,
    RESTARTS,
    RESTARTS_DAY,
    START_TIME,
    UNEXPECTED,
    UP,
    Life,
    ServicesCollector,
    ServicesConfig,
    parse_life,
)
from collectors.services.maintenance import CONTROL_LIMIT, control_run, install_until, parse_maintenance_end
from collectors.services.table import SERVICES, Tier, expected, parse_mta_milter_options, parse_pid_file
from zcs_exporter.contract import (
    MAINTENANCE_FILE,
    CollectError,
    Event,
    Finding,
    NotOnThisHost,
    Reason,
    Sample,
    Shortfall,
)
from zcs_exporter.hostio import CLOCK_TICKS, Process
from zcs_exporter.localconfig import Localconfig

BOOT = 1_709_300_000
HOME = "/opt/zimbra"

# pid, comm, pid file, argv, by part, as a 10.0 host shows them.
RUNNING: dict[str, tuple[int, str, str, tuple[str, ...]]] = {
    "slapd": (
        201,
        "slapd",
        "data/ldap/state/run/slapd.pid",
        ("/opt/zimbra/common/libexec/slapd", "-l", "LOCAL0", "-F", "/opt/zimbra/data/ldap/config"),
    ),
    "zmmailboxdmgr": (
        301,
        "zmmailboxdmgr",
        "log/zmmailboxd_manager.pid",
        ("/opt/zimbra/libexec/zmmailboxdmgr", "start", "-Xmx2g"),
    ),
    "mailboxd": (
        302,
        "java",
        "log/zmmailboxd_java.pid",
        (
            "/opt/zimbra/common/bin/java",
            "-Djava.io.tmpdir=/opt/zimbra/mailboxd/work",
            "-jar",
            "/opt/zimbra/common/jetty_home/start.jar",
            "/opt/zimbra/mailboxd/etc/jetty.xml",
        ),
    ),
    "mysqld": (
        303,
        "mysqld",
        "log/mysql.pid",
        ("/opt/zimbra/common/sbin/mysqld", "--defaults-file=/opt/zimbra/conf/my.cnf", "--datadir=/opt/zimbra/db/data"),
    ),
    "master": (401, "master", "data/postfix/spool/pid/master.pid", ("/opt/zimbra/common/libexec/master", "-w")),
    "saslauthd": (
        402,
        "saslauthd",
        "data/sasl2/state/saslauthd.pid",
        ("/opt/zimbra/common/sbin/saslauthd", "-r", "-a", "zimbra"),
    ),
    "amavisd": (501, "amavisd (master", "log/amavisd.pid", ("amavisd (master)",)),
    "clamd": (
        502,
        "clamd",
        "log/clamd.pid",
        ("/opt/zimbra/common/sbin/clamd", "--config-file=/opt/zimbra/conf/clamd.conf"),
    ),
    "nginx": (
        601,
        "nginx",
        "log/nginx.pid",
        ("nginx: master process /opt/zimbra/common/sbin/nginx -c /opt/zimbra/conf/nginx.conf",),
    ),
    "memcached": (602, "memcached", "log/memcached.pid", ("/opt/zimbra/common/bin/memcached", "-d")),
    "zmconfigd": (
        701,
        "java",
        "log/zmconfigd.pid",
        ("/opt/zimbra/common/bin/java", "org.python.util.jython", "/opt/zimbra/libexec/zmconfigd"),
    ),
    "swatch": (
        801,
        "swatchdog",
        "log/swatch.pid",
        ("/usr/bin/perl", "/opt/zimbra/common/bin/swatchdog", "--config-file=/opt/zimbra/conf/swatchrc"),
    ),
}
PARTS = {
    "ldap": ("slapd",),
    "mailbox": ("zmmailboxdmgr", "mailboxd", "mysqld"),
    "mta": ("master", "saslauthd"),
    "amavis": ("amavisd",),
    "antispam": ("amavisd",),
    "antivirus": ("clamd", "amavisd"),
    "proxy": ("nginx",),
    "imapproxy": ("nginx",),
    "memcached": ("memcached",),
    "snmp": ("swatch",),
    "zmconfigd": ("zmconfigd",),
}


class Zimbra:
    """A host with services, and the collector that looks at it."""

    def __init__(self, host: FakeHost, manual: ManualClock, *services: str) -> None:
        self.host, self.manual = host, manual
        self.saved: dict[str, str] = {}
        host.add_process(1, "systemd", "/sbin/init", uid=0)
        host.services(*services)
        for service in (*services, "zmconfigd"):
            for part in PARTS.get(service, ()):
                self.start(part)
        self.collector = self.fresh()

    def fresh(self) -> ServicesCollector:
        collector = ServicesCollector(ServicesConfig(), self.host, self.manual.clock)
        collector.restore(self.saved)
        return collector

    def restart_daemon(self) -> None:
        self.collector = self.fresh()

    def start(self, part: str, pid: int | None = None, start_ticks: int = 5000) -> None:
        number, comm, file, argv = RUNNING[part]
        self.host.add_process(pid or number, comm, *argv, start_ticks=start_ticks)
        self.host.write(f"{HOME}/{file}", f"{pid or number}\n", 0o640)

    def stop(self, part: str, pid: int | None = None, *, remove_pid_file: bool = False) -> None:
        """End a process as a crash does, leaving its pid file, unless told otherwise."""
        number, _, file, _ = RUNNING[part]
        self.kill(pid or number)
        if remove_pid_file:
            (self.host.base / HOME.lstrip("/") / file).unlink()

    def kill(self, pid: int) -> None:
        directory = self.host.base / "proc" / str(pid)
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()

    def run_control(self, pid: int, script: str, *verbs: str) -> None:
        ticks = int((self.manual.now - BOOT) * CLOCK_TICKS)
        self.host.add_process(pid, script[:15], "/usr/bin/perl", f"{HOME}/bin/{script}", *verbs, start_ticks=ticks)

    def look(self, after: float = 15.0) -> "Seen":
        self.manual.advance(after)
        findings = asyncio.run(_collect(self.collector))
        for key, value in self.collector.changes().items():
            if value is None:
                self.saved.pop(key, None)
            else:
                self.saved[key] = value
        return Seen(findings)


async def _collect(collector: ServicesCollector) -> list[Finding]:
    return list(await collector.collect())


class Seen:
    def __init__(self, findings: list[Finding]) -> None:
        self.values = {(f.metric.name, *f.labels): f.value for f in findings if isinstance(f, Sample)}
        self.evidence = {(f.metric.name, *f.labels): f.evidence for f in findings if isinstance(f, Sample)}
        self.events = [(f.name, f.labels["name"]) for f in findings if isinstance(f, Event)]
        self.shortfalls = [f for f in findings if isinstance(f, Shortfall)]

    def up(self, name: str) -> float | None:
        return self.values.get((UP.name, name))

    def down(self, tier: Tier, name: str) -> float | None:
        return self.values.get((DOWN[tier].name, name))

    def of(self, metric: object, label: str) -> float | None:
        return self.values.get((metric.name, label))  # type: ignore[attr-defined]


@pytest.fixture
def everything(host: FakeHost, manual: ManualClock) -> Zimbra:
    names = ("ldap", "mailbox", "mta", "amavis", "antispam", "antivirus", "proxy", "memcached", "snmp")
    return Zimbra(host, manual, *names)


def test_a_service_whose_processes_run_is_up_with_the_start_of_its_main_process(everything: Zimbra) -> None:
    seen = everything.look()

    names = {label for name, label in seen.values if name == UP.name}
    assert names == {
        "ldap", "mailbox", "mta", "sasl", "amavis", "antispam", "antivirus", "proxy", "memcached", "snmp", "zmconfigd",
    }  # fmt: skip
    assert all(seen.up(name) == 1 for name in names)
    assert seen.of(START_TIME, "mailbox") == BOOT + 5000 / CLOCK_TICKS
    assert seen.down(Tier.VITAL, "mailbox") == 0
    assert seen.shortfalls == []


def test_no_event_at_the_first_look_ever_whatever_it_shows(everything: Zimbra) -> None:
    everything.stop("nginx")

    assert everything.look().events == []


def test_a_crash_is_told_at_once_and_again_when_it_is_over(everything: Zimbra) -> None:
    everything.look()
    everything.stop("slapd")
    down = everything.look()
    everything.start("slapd", pid=2201, start_ticks=90000)
    again = everything.look()

    assert down.events == [("ZcsServiceStopped", "ldap")]
    assert down.up("ldap") == 0
    assert down.down(Tier.VITAL, "ldap") == 1
    assert down.of(START_TIME, "ldap") is None
    assert [item.value for item in down.evidence[DOWN[Tier.VITAL].name, "ldap"]] == ["slapd is not running"]
    assert again.events == [("ZcsServiceStarted", "ldap")]
    assert again.down(Tier.VITAL, "ldap") == 0
    assert again.of(RESTARTS, "ldap") == 1


def test_a_stale_pid_file_that_names_a_stranger_is_not_believed(everything: Zimbra) -> None:
    everything.look()
    everything.stop("memcached")
    everything.host.add_process(602, "sshd", "/usr/sbin/sshd", "-D")

    assert everything.look().up("memcached") == 0


def test_a_stale_pid_file_that_names_another_jvm_is_not_believed(everything: Zimbra) -> None:
    everything.stop("mailboxd")
    everything.host.add_process(302, "java", "/opt/zimbra/common/bin/java", "com.zimbra.cs.account.ProvUtil")

    assert everything.look().up("mailbox") == 0


def test_the_shell_that_watches_over_zmconfigd_is_not_zmconfigd(everything: Zimbra) -> None:
    everything.host.add_process(700, "zmconfigdctl", "/bin/bash", "/opt/zimbra/bin/zmconfigdctl", "start")
    everything.look()
    everything.stop("zmconfigd")

    assert everything.look().up("zmconfigd") == 0


def test_a_zombie_does_not_count_as_running(everything: Zimbra) -> None:
    everything.host.add_process(601, "nginx", state="Z")

    assert everything.look().up("proxy") == 0


@pytest.mark.parametrize("content", ["", "not a number\n", "-5\n", "99999999999999\n"])
def test_a_pid_file_that_tells_nothing_sends_it_to_the_process_table(everything: Zimbra, content: str) -> None:
    everything.host.write(f"{HOME}/log/nginx.pid", content)

    assert everything.look().up("proxy") == 1


def test_unreadable_pid_files_send_it_to_the_process_table(host: FakeHost, manual: ManualClock) -> None:
    class NoPidFiles(FakeHost):
        def read(self, path: str, limit: int = 1 << 20) -> bytes:
            if path.endswith(".pid"):
                raise PermissionError(13, "Permission denied", path)
            return super().read(path, limit)

    zimbra = Zimbra(NoPidFiles(host.base), manual, "ldap", "mailbox", "mta", "amavis", "antivirus", "proxy", "snmp")
    up = zimbra.look()
    zimbra.stop("clamd")

    assert {up.up(name) for name in ("ldap", "mailbox", "mta", "sasl", "amavis", "antivirus", "proxy", "snmp")} == {1}
    assert zimbra.look().up("antivirus") == 0


def test_the_distributions_own_daemons_are_not_taken_for_zimbras(host: FakeHost, manual: ManualClock) -> None:
    zimbra = Zimbra(host, manual, "proxy", "mta", "mailbox")
    for part in ("nginx", "master", "mysqld"):
        zimbra.stop(part, remove_pid_file=True)
    host.add_process(9001, "nginx", "nginx: master process /usr/sbin/nginx")
    host.add_process(9002, "master", "/usr/lib/postfix/sbin/master", "-w")
    host.add_process(9003, "mysqld", "/usr/sbin/mysqld", "--defaults-file=/etc/mysql/my.cnf")
    seen = zimbra.look()

    assert (seen.up("proxy"), seen.up("mta"), seen.up("mailbox")) == (0, 0, 0)


def test_a_process_that_may_not_be_looked_at_is_unknown_not_down(host: FakeHost, manual: ManualClock) -> None:
    class Hidden(FakeHost):
        def read(self, path: str, limit: int = 1 << 20) -> bytes:
            if path.startswith("/proc/201/"):
                raise PermissionError(13, "Permission denied", path)
            return super().read(path, limit)

        def read_proc(self, path: str) -> bytes:
            return self.read(path)

    zimbra = Zimbra(host, manual, "ldap", "mta")
    zimbra.look()
    zimbra.host = Hidden(host.base)
    zimbra.restart_daemon()
    seen = zimbra.look()
    zimbra.stop("slapd")
    zimbra.host = host
    zimbra.restart_daemon()
    again = zimbra.look()

    assert seen.up("ldap") is None
    assert seen.down(Tier.VITAL, "ldap") is None
    assert seen.up("mta") == 1
    assert [shortfall.reason for shortfall in seen.shortfalls] == [Reason.PERMISSION]
    assert seen.events == []
    assert again.events == [("ZcsServiceStopped", "ldap")]


def test_hidden_processes_are_a_permission_error_not_forty_stopped_services(everything: Zimbra) -> None:
    everything.kill(1)

    with pytest.raises(CollectError, match="process 1 cannot be seen") as caught:
        everything.look()
    assert caught.value.reason is Reason.PERMISSION
    assert "hidepid" in caught.value.remedy


def test_a_proc_that_cannot_be_listed_is_an_error(host: FakeHost, manual: ManualClock) -> None:
    class NoProc(FakeHost):
        def listdir(self, path: str) -> list[str]:
            if path == "/proc":
                raise PermissionError(13, "Permission denied", path)
            return super().listdir(path)

    zimbra = Zimbra(NoProc(host.base), manual, "ldap")

    with pytest.raises(CollectError, match="reading /proc") as caught:
        zimbra.look()
    assert caught.value.reason is Reason.PERMISSION


def test_nothing_visible_from_a_foreign_pid_namespace_is_a_permission_error(
    host: FakeHost, manual: ManualClock
) -> None:
    zimbra = Zimbra(host, manual, "ldap")
    zimbra.stop("slapd")
    zimbra.stop("zmconfigd")
    host.write("/proc/self/ns/pid", "")

    with pytest.raises(CollectError, match="PID namespace") as caught:
        zimbra.look()
    assert caught.value.reason is Reason.PERMISSION


def test_a_container_in_which_services_were_seen_before_may_show_them_all_down(
    host: FakeHost, manual: ManualClock
) -> None:
    host.write("/proc/self/ns/pid", "")
    zimbra = Zimbra(host, manual, "ldap")
    zimbra.look()
    zimbra.stop("slapd")
    zimbra.stop("zmconfigd")
    zimbra.restart_daemon()

    assert zimbra.look().up("ldap") == 0


def test_a_host_without_zimbra_is_neither_up_nor_down(tmp_path: Path, manual: ManualClock) -> None:
    collector = ServicesCollector(ServicesConfig(), FakeHost(tmp_path), manual.clock)

    with pytest.raises(NotOnThisHost):
        asyncio.run(_collect(collector))


def test_without_a_list_of_services_nothing_is_claimed(host: FakeHost, manual: ManualClock) -> None:
    zimbra = Zimbra(host, manual, "ldap")
    (host.base / "opt/zimbra/conf/stats.conf").unlink()
    with pytest.raises(CollectError, match=r"stats\.conf"):
        zimbra.look()

    host.write(f"{HOME}/conf/stats.conf", "")
    with pytest.raises(CollectError, match="neither"):
        zimbra.look()


def test_names_of_all_versions_are_known_and_aliases_make_no_series(host: FakeHost, manual: ManualClock) -> None:
    zimbra = Zimbra(host, manual, "imapproxy", "service", "zimbra", "zimbraAdmin", "zimlet")
    seen = zimbra.look()

    assert {label for name, label in seen.values if name == UP.name} == {"proxy", "zmconfigd"}
    assert seen.up("proxy") == 1
    every = (
        "antispam antivirus archiving convertd cbpolicyd imapproxy ldap logger mailbox memcached mta snmp spell stats "
        "zmconfigd proxy amavis dnscache opendkim imapd onlyoffice license-daemon"
    )
    assert expected(every.split(), Localconfig({}), milter=True)[1] == []


def test_an_unknown_service_is_named_once_and_has_no_series(host: FakeHost, manual: ManualClock) -> None:
    seen = Zimbra(host, manual, "ldap", "teleport", "nalpeiron-daemon").look()

    assert sorted(shortfall.message.split()[1] for shortfall in seen.shortfalls) == ["nalpeiron-daemon", "teleport"]
    assert seen.up("teleport") is None


def test_the_number_of_names_is_that_of_the_table(host: FakeHost, manual: ManualClock) -> None:
    seen = Zimbra(host, manual, "ldap", *(f"invented{n}" for n in range(500))).look()

    assert {label for name, label in seen.values if name == UP.name} <= {service.name for service in SERVICES}


def test_one_lost_amavisd_stops_three_services_and_raises_one_alarm(everything: Zimbra) -> None:
    everything.stop("amavisd")
    seen = everything.look()

    assert (seen.up("amavis"), seen.up("antispam"), seen.up("antivirus")) == (0, 0, 0)
    assert (seen.down(Tier.NEEDED, "amavis"), seen.down(Tier.NEEDED, "antispam")) == (1, None)
    assert seen.down(Tier.NEEDED, "antivirus") == 0


def test_without_a_service_amavis_its_alarm_falls_to_antispam_as_in_8_0(host: FakeHost, manual: ManualClock) -> None:
    zimbra = Zimbra(host, manual, "antispam", "antivirus")
    zimbra.stop("amavisd")

    assert zimbra.look().down(Tier.NEEDED, "antispam") == 1


def test_a_lost_mysqld_stops_mailbox_but_its_alarm_is_the_databases(everything: Zimbra) -> None:
    everything.stop("mysqld")
    seen = everything.look()

    assert seen.up("mailbox") == 0
    assert seen.down(Tier.VITAL, "mailbox") == 0


def test_a_lost_saslauthd_is_no_reason_to_page_for_the_mta(everything: Zimbra) -> None:
    everything.stop("saslauthd")
    seen = everything.look()

    assert seen.down(Tier.VITAL, "mta") == 0
    assert seen.down(Tier.NEEDED, "sasl") == 1


def test_the_antispam_database_counts_only_where_it_is_switched_on(host: FakeHost, manual: ManualClock) -> None:
    zimbra = Zimbra(host, manual, "antispam")
    assert zimbra.look().up("antispam") == 1

    host.localconfig(antispam_mysql_enabled="true")
    assert zimbra.look().up("antispam") == 0


def test_the_milter_counts_only_where_it_is_switched_on(host: FakeHost, manual: ManualClock) -> None:
    zimbra = Zimbra(host, manual, "mta")
    assert zimbra.look().up("milter") is None

    host.write(f"{HOME}/conf/mta_milter_options", "zimbraMilterServerEnabled=TRUE\n")
    assert zimbra.look().down(Tier.NEEDED, "milter") == 1


def test_stats_is_up_only_while_every_collector_that_left_a_pid_file_runs(host: FakeHost, manual: ManualClock) -> None:
    zimbra = Zimbra(host, manual, "stats")
    for pid, name in ((11, "zmstat-proc"), (12, "zmstat-io"), (13, "zmstat-fd-real")):
        host.write(f"{HOME}/zmstat/pid/{name}.pid", f"{pid}\n")
        host.add_process(pid, name, "/usr/bin/perl", f"{HOME}/libexec/{name}", start_ticks=4000 + pid)
    seen = zimbra.look()
    zimbra.kill(13)
    without_root = zimbra.look()
    zimbra.kill(12)

    assert seen.up("stats") == 1
    assert seen.of(START_TIME, "stats") == BOOT + 4011 / CLOCK_TICKS
    assert without_root.up("stats") == 1
    assert zimbra.look().up("stats") == 0


def test_onlyoffice_is_found_by_the_numbers_in_its_json_file(host: FakeHost, manual: ManualClock) -> None:
    zimbra = Zimbra(host, manual, "onlyoffice")
    host.add_process(21, "converter", f"{HOME}/onlyoffice/documentserver/server/FileConverter/converter")
    host.add_process(22, "docservice", f"{HOME}/onlyoffice/documentserver/server/DocService/docservice")
    host.write(f"{HOME}/onlyoffice/bin/process_id.json", json.dumps({"converter": 21, "docservice": 22}))
    assert zimbra.look().up("onlyoffice") == 1

    host.write(f"{HOME}/onlyoffice/bin/process_id.json", json.dumps({"converter": -1, "docservice": 22}))
    zimbra.kill(21)
    assert zimbra.look().up("onlyoffice") == 0


def test_a_restart_between_two_looks_is_one_event_and_counted(everything: Zimbra) -> None:
    everything.look()
    everything.start("slapd", start_ticks=90000)
    seen = everything.look()

    assert seen.events == [("ZcsServiceRestarted", "ldap")]
    assert seen.of(RESTARTS, "ldap") == 1
    assert seen.of(UNEXPECTED, "ldap") == 1
    assert everything.look(after=3600).of(UNEXPECTED, "ldap") == 0


def test_restarts_are_remembered_by_the_next_process_of_the_daemon(everything: Zimbra) -> None:
    everything.look()
    everything.start("slapd", start_ticks=90000)
    everything.look()
    everything.restart_daemon()
    same = everything.look()
    everything.stop("slapd")
    everything.restart_daemon()

    assert same.events == []
    assert same.of(RESTARTS, "ldap") == 1
    assert everything.look().events == [("ZcsServiceStopped", "ldap")]


def test_what_was_saved_and_makes_no_sense_is_forgotten(everything: Zimbra) -> None:
    everything.saved = {"service/ldap": "nonsense", "namespace": "x", "service/mta": '[true,"1:1","",3,[],null,false]'}
    everything.restart_daemon()
    seen = everything.look()

    assert seen.of(RESTARTS, "ldap") == 0
    assert seen.of(RESTARTS, "mta") == 4
    assert "namespace" not in everything.saved


def test_a_reboot_restarts_everything_and_surprises_nobody(everything: Zimbra) -> None:
    everything.host.write("/proc/sys/kernel/random/boot_id", "first\n")
    everything.look()
    everything.host.write("/proc/sys/kernel/random/boot_id", "second\n")
    everything.start("slapd", pid=77, start_ticks=4000)
    everything.kill(201)
    seen = everything.look()

    assert seen.of(RESTARTS, "ldap") == 1
    assert seen.of(UNEXPECTED, "ldap") == 0
    assert seen.of(RESTARTS_DAY, "ldap") == 0


def test_zmconfigd_may_restart_four_times_a_day_and_not_five(everything: Zimbra) -> None:
    everything.look()
    for number in range(1, 6):
        everything.start("zmconfigd", start_ticks=90000 + number)
        seen = everything.look()
        assert seen.of(UNEXPECTED, "zmconfigd") == (1 if number == 5 else 0)
        assert seen.of(RESTARTS_DAY, "zmconfigd") == number
    assert everything.look(after=86400).of(RESTARTS_DAY, "zmconfigd") == 0


def test_a_service_stopped_by_zmcontrol_is_left_stopped_and_not_down(everything: Zimbra) -> None:
    everything.look()
    everything.run_control(5000, "zmcontrol", "stop")
    everything.stop("slapd")
    during = everything.look()
    everything.kill(5000)
    after = everything.look(after=1800)
    everything.start("slapd", pid=88, start_ticks=99999)
    back = everything.look()

    assert during.of(MAINTENANCE, "zmcontrol") == 1
    assert during.events == [("ZcsServiceStopped", "ldap")]
    assert (during.down(Tier.VITAL, "ldap"), after.down(Tier.VITAL, "ldap")) == (0, 0)
    assert after.of(MAINTENANCE, "zmcontrol") == 0
    assert after.of(LEFT_STOPPED, "ldap") == 1800
    assert back.of(LEFT_STOPPED, "ldap") == 0
    assert back.of(UNEXPECTED, "ldap") == 0


def test_a_stop_just_after_the_script_was_seen_still_belongs_to_it(everything: Zimbra) -> None:
    everything.look()
    everything.run_control(5000, "zmproxyctl", "stop")
    everything.look()
    everything.kill(5000)
    everything.stop("nginx")
    soon = everything.look()
    everything.stop("memcached")
    late = everything.look(after=61)

    assert soon.down(Tier.EDGE, "proxy") == 0
    assert late.down(Tier.NEEDED, "memcached") == 1


def test_a_service_started_by_a_control_script_may_still_surprise_later(everything: Zimbra) -> None:
    everything.stop("slapd")
    everything.look()
    everything.run_control(5000, "ldap", "start")
    everything.start("slapd", pid=88, start_ticks=90000)
    everything.look()
    everything.kill(5000)
    everything.look(after=3600)
    everything.start("slapd", pid=88, start_ticks=99999)

    assert everything.look().of(UNEXPECTED, "ldap") == 1


def test_what_zmcontrol_restart_leaves_down_was_not_meant_to_be(everything: Zimbra) -> None:
    everything.look()
    everything.run_control(5000, "zmcontrol", "restart")
    everything.stop("slapd")
    during = everything.look()
    everything.kill(5000)
    after = everything.look()

    assert during.down(Tier.VITAL, "ldap") == 0
    assert after.down(Tier.VITAL, "ldap") == 1
    assert after.of(LEFT_STOPPED, "ldap") == 0


def test_a_deliberate_stop_is_remembered_by_the_next_process_of_the_daemon(everything: Zimbra) -> None:
    everything.look()
    everything.run_control(5000, "zmproxyctl", "stop")
    everything.stop("nginx")
    everything.look()
    everything.kill(5000)
    everything.restart_daemon()
    seen = everything.look(after=7200)

    assert seen.down(Tier.EDGE, "proxy") == 0
    assert seen.of(LEFT_STOPPED, "proxy") == 7200


def test_a_service_that_is_no_longer_enabled_is_forgotten_without_a_word(everything: Zimbra) -> None:
    everything.look()
    everything.stop("nginx")
    everything.host.services("ldap")
    seen = everything.look()

    assert seen.events == []
    assert "service/proxy" not in everything.saved


@pytest.mark.parametrize(
    ("script", "verbs", "counts"),
    [
        ("zmcontrol", ("restart",), True),
        ("zmmailboxdctl", ("stop",), True),
        ("ldap", ("start",), True),
        ("zmlicensectl", ("--service", "restart"), True),
        ("zmcontrol", ("status",), False),
        ("zmcontrol", ("-v",), False),
        ("zmconfigdctl", ("start",), False),
        ("zmmailboxdmgr", ("start",), False),
        ("zmprov", ("start",), False),
    ],
)
def test_only_scripts_that_start_or_stop_something_are_maintenance(
    everything: Zimbra, script: str, verbs: tuple[str, ...], *, counts: bool
) -> None:
    everything.run_control(5000, script, *verbs)

    assert everything.look().of(MAINTENANCE, "zmcontrol") == counts


def test_a_script_of_that_name_elsewhere_is_no_maintenance() -> None:
    process = Process(9, 1, "zmcontrol", "S", 1, ("/usr/bin/perl", "/tmp/zmcontrol", "stop"))

    assert control_run(process, HOME) is None


def test_a_hanging_zmcontrol_does_not_silence_alarms_for_ever(everything: Zimbra) -> None:
    everything.run_control(5000, "zmcontrol", "stop")
    fresh = everything.look()

    assert fresh.of(MAINTENANCE, "zmcontrol") == 1
    assert fresh.of(MAINTENANCE_UNTIL, "zmcontrol") == pytest.approx(everything.manual.now - 15 + CONTROL_LIMIT, abs=1)
    assert everything.look(after=CONTROL_LIMIT).of(MAINTENANCE, "zmcontrol") == 0


def test_an_installation_under_way_is_maintenance_for_six_hours_at_most(everything: Zimbra) -> None:
    start = int(everything.manual.now)
    everything.host.write(f"{HOME}/.install_history", f"{start}: INSTALL SESSION START\n")
    seen = everything.look()

    assert seen.of(MAINTENANCE, "install") == 1
    assert seen.of(MAINTENANCE_UNTIL, "install") == start + 6 * 3600
    assert everything.look(after=6 * 3600).of(MAINTENANCE, "install") == 0


def test_a_completed_installation_is_none(everything: Zimbra) -> None:
    start = int(everything.manual.now)
    history = f"{start}: INSTALL SESSION START\n{start + 5}: INSTALL SESSION COMPLETE\n"
    everything.host.write(f"{HOME}/.install_history", history)

    assert everything.look().of(MAINTENANCE, "install") == 0
    assert install_until(0.0, everything.manual.now) is None


@pytest.mark.parametrize("form", ["{epoch}", "{epoch}\n", "{iso}"])
def test_an_announced_maintenance_is_in_force_until_its_end(everything: Zimbra, form: str) -> None:
    end = int(everything.manual.now) + 600
    everything.host.write(MAINTENANCE_FILE, form.format(epoch=end, iso="2024-03-02T09:30:33Z"))
    seen = everything.look()

    assert seen.of(MAINTENANCE, "file") == 1
    assert seen.of(MAINTENANCE_UNTIL, "file") == end
    ended = everything.look(after=600)
    assert ended.of(MAINTENANCE, "file") == 0
    assert ended.of(MAINTENANCE_UNTIL, "file") is None


@pytest.mark.parametrize("content", ["", "yes", "tomorrow", "2024-13-45", "99999999999", "\x00", "-1", "nan"])
def test_an_announcement_that_makes_no_sense_is_said_and_not_in_force(everything: Zimbra, content: str) -> None:
    everything.host.write(MAINTENANCE_FILE, content)
    seen = everything.look()

    assert seen.of(MAINTENANCE, "file") == 0
    assert [shortfall.reason for shortfall in seen.shortfalls] == [Reason.PARSE]


def test_an_announcement_that_is_a_directory_is_said(everything: Zimbra) -> None:
    (everything.host.base / MAINTENANCE_FILE.lstrip("/")).mkdir(parents=True)

    assert [shortfall.reason for shortfall in everything.look().shortfalls] == [Reason.UNAVAILABLE]


def test_an_unreadable_history_leaves_the_cause_out(host: FakeHost, manual: ManualClock) -> None:
    zimbra = Zimbra(host, manual, "ldap")
    (host.base / "opt/zimbra/.install_history").mkdir()
    seen = zimbra.look()

    assert seen.of(MAINTENANCE, "install") is None
    assert len(seen.shortfalls) == 1


@settings(max_examples=2_000, deadline=None)
@given(st.binary(max_size=64), st.sampled_from(["", "converter"]))
def test_any_pid_file_is_a_number_nothing_or_an_error(data: bytes, key: str) -> None:
    with suppress(CollectError):
        pid = parse_pid_file(data, key)
        assert pid is None or 0 < pid < 1 << 31


@settings(max_examples=2_000, deadline=None)
@given(st.binary(max_size=64) | st.text("0123456789-:TZ+. ", max_size=30).map(str.encode))
def test_any_announcement_is_a_time_or_an_error(data: bytes) -> None:
    with suppress(CollectError):
        assert isinstance(parse_maintenance_end(data, 1_709_371_233.0), float)


@settings(max_examples=300, deadline=None)
@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_any_saved_life_is_a_life_or_an_error(text: str) -> None:
    with suppress(CollectError):
        assert isinstance(parse_life(text), Life)


def test_a_life_survives_being_saved() -> None:
    life = Life(up=False, start="1:2", boot_id="b", restarts=3, unplanned=[1.5], down_since=2.0, deliberate=True)

    assert parse_life(life.dump()) == life


@given(st.binary(max_size=200))
def test_any_milter_file_is_on_or_off(data: bytes) -> None:
    assert parse_mta_milter_options(data) in (True, False)
