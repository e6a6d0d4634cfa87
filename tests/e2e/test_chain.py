"""Every alert on a fault that is injected for real: Prometheus fires and resolves, snmptrapd gets raise and clear.

Faults are injected side by side, since waiting for their alarms is most of the time. Those of a group do not hide
each other; a second group has those that would.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql
import pytest
from e2e.lab import (
    HOME,
    Exporter,
    Jvms,
    MariaDb,
    Postfix,
    Prometheus,
    Snmptrapd,
    Zcs,
    append,
    hung_mount,
    kill,
    mount_memory,
    need_mibs,
    run,
    scratch,
    wait_for,
    write,
)
from e2e.product import MIB, USER, USER_SECRET, audit, failure, now, settings, stamp

from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.assets import asset

CATALOGUE = load_catalogue(asset("alerts"))
RULES = {rule.name: rule for rule in CATALOGUE.alerts}

NOT_INJECTED = {
    "ZcsFilesystemFullSoon": "a forecast needs half an hour of watching at the least",
    "ZcsAuthSlowSpraying": "it clears after an hour",
    "ZcsAuthSlowDistributed": "it clears after an hour",
    "ZcsAuthTotalShare": "it stands in for ZcsAuthTotalFailures where the number of active accounts is configured",
}
"""Alerts without a fault here, and why."""

NOT_HAPPENING = {"ZcsNotificationsGivenUp": "here every receiver gets everything; see test_promises.py"}
"""Events that do not come here, and why."""

THRESHOLDS = {
    "ZcsQueueActiveFull": {"warning": 0.0001},  # two messages of 20,000
    "ZcsQueueSenderFlood": {"critical": 50.0},
    "ZcsQueueDeferredGrowing": {"warning": 50.0},
    "ZcsServiceRestartedUnexpectedly": {"warning": 2.0},  # each service that a fault ended and healed has 1 for an hour
    "ZcsServiceFlapping": {"warning": 2.0},
    "ZcsServiceLeftStopped": {"warning": 2.0},
    "ZcsJvmGcTime": {"warning": 0.0001},
    "ZcsLogLagging": {"warning": 50.0},
    "ZcsNotificationsStuck": {"warning": 5.0},
    "ZcsLogStale": {"warning": 5.0},
}
"""Where the real threshold would take too long to reach, or to fall below again."""

LOCALCONFIG = {"zimbra_swatch_threshold_seconds": "10", "zimbra_swatch_total_threshold": "200"}

STORE, INDEX, REDOLOG = HOME / "store", HOME / "index", HOME / "redolog"
PROXY_LOG = HOME / "log/nginx.log"
DATABASE_LOG, FRESHCLAM_LOG = HOME / "log/mysql_error.log", HOME / "log/freshclam.log"
MAILBOXD_TABLE = HOME / "zmstat/mailboxd.csv"
KERNEL_LOG, STATS_LOG = Path("/var/log/kern.log"), Path("/var/log/zimbra-stats.log")
MAINTENANCE = Path("/run/zcs-exporter/maintenance")

PID_FILES = {
    "slapd": "data/ldap/state/run/slapd.pid",
    "nginx": "log/nginx.pid",
    "memcached": "log/memcached.pid",
    "httpd": "log/httpd.pid",
    "unbound": "log/unbound.pid",
    "swatch": "log/swatch.pid",
    "saslauthd": "data/sasl2/state/saslauthd.pid",
    "logswatch": "log/logswatch.pid",
}
SERVICES = ("mailbox", "mta", "ldap", "proxy", "memcached", "spell", "dnscache", "snmp", "logger")


class Watch:
    """A running daemon with a v2c trap receiver, a v3 inform receiver and a Prometheus."""

    def __init__(
        self,
        exporter: Callable[..., Exporter],
        snmptrapd: Callable[..., Snmptrapd],
        prometheus: Callable[..., Prometheus],
    ) -> None:
        self.v2c = snmptrapd(mib_dirs=[MIB], mibs=["ZCS-EXPORTER-MIB"], community="lab-community")
        self.v3 = snmptrapd(mib_dirs=[MIB], mibs=["ZCS-EXPORTER-MIB"], users=[USER])
        self.daemon = exporter(settings(*RULES, thresholds=THRESHOLDS))
        self.daemon.config["collectors"]["postfix"] |= {"growth_window": "15s", "flood_window": "15s"}
        old = {"name": "old", "version": "2c", "kind": "trap", "port": self.v2c.port}
        old["secrets"] = self.daemon.secrets("old.secret", {"community": "lab-community"})
        new = {"name": "new", "version": 3, "kind": "inform", "port": self.v3.port}
        new["secrets"] = self.daemon.secrets("new.secret", USER_SECRET)
        targets = [{"host": "127.0.0.1", "rate": 1000, **target} for target in (old, new)]
        self.daemon.config["notify"] = {"heartbeat": "0s", "snmp": targets}
        self.daemon.configure()
        self.daemon.start()
        rules = self.daemon.directory / "zcs.rules.yaml"
        rules.write_text(self.daemon.command("rules").stdout)
        self.prometheus = prometheus(self.daemon.address, [rules])
        self.prometheus.wait_scraped()
        self.begin()

    def begin(self) -> None:
        """Look only at what comes from now on."""
        self._since = time.monotonic()
        self._before = {id(receiver): len(receiver.received()) for receiver in (self.v2c, self.v3)}

    def news(self, receiver: Snmptrapd) -> list[dict[str, str]]:
        """Return what a receiver got since `begin`."""
        return receiver.received()[self._before[id(receiver)] :]

    def wait_raised(self, alerts: AbstractSet[str], receivers: tuple[Snmptrapd, ...] | None = None) -> None:
        """Wait until each has fired in Prometheus, be it over or not, and has come to each receiver."""
        missing: dict[str, list[str]] = {}

        def raised() -> bool:
            missing["Prometheus"] = sorted(alerts - self._fired())
            for receiver in receivers or (self.v2c, self.v3):
                told = {_rule(each) for each in self.news(receiver) if each["trap"].endswith("Raised")}
                missing["v2c" if receiver is self.v2c else "v3"] = sorted(alerts - told)
            return not any(missing.values())

        wait_for(raised, 60, lambda: f"the raise in {missing}; now: {self.daemon.alerts()}", pause=0.25)

    def wait_cleared(self, alerts: AbstractSet[str]) -> None:
        """Wait until none fires in Prometheus, and whatever was raised of them is cleared at both receivers."""
        open_: dict[str, list[str]] = {}

        def cleared() -> bool:
            open_["Prometheus"] = sorted(alerts & self._firing())
            for name, receiver in (("v2c", self.v2c), ("v3", self.v3)):
                news = [each for each in self.news(receiver) if _rule(each) in alerts]
                over = {each["zcsNotifyAlarmIndex"] for each in news if each["trap"].endswith("Cleared")}
                open_[name] = sorted({_rule(each) for each in news if each["zcsNotifyAlarmIndex"] not in over})
            return not any(open_.values())

        wait_for(cleared, 60, lambda: f"the clear in {open_}; now: {self.daemon.alerts()}", pause=0.25)

    def _fired(self) -> set[str]:
        seconds = int(time.monotonic() - self._since) + 1
        found = self.prometheus.query(f'max_over_time(ALERTS{{alertstate="firing"}}[{seconds}s])')
        return {each["metric"]["alertname"] for each in found}

    def _firing(self) -> set[str]:
        """What fires, but for the file systems of the machine that the lab is on."""
        return {
            each["labels"]["alertname"]
            for each in self.prometheus.alerts()
            if each["state"] == "firing" and each["labels"].get("mountpoint", str(HOME)).startswith(str(HOME))
        }


def _rule(notification: dict[str, str]) -> str:
    """Return the name of the alert or event that a notification is about."""
    return notification["zcsNotifyRule"].partition(" ")[2]


@dataclass
class Lab:
    """All that a fault may touch."""

    zcs: Zcs
    postfix: Postfix
    mariadb: MariaDb
    jvms: Jvms
    watch: Watch
    pids: dict[str, int]

    @property
    def daemon(self) -> Exporter:
        return self.watch.daemon

    def start(self, name: str) -> None:
        """Start a stand-in, beside one that still runs or after one that was killed."""
        self.pids[name] = self.zcs.stand_in(name, PID_FILES[name])

    def wait_value(self, wanted: float, metric: str, /, **labels: str) -> None:
        wait_for(lambda: self.daemon.value(metric, **labels) == wanted, 20, f"{metric}{labels} to be {wanted:g}")


@dataclass(frozen=True)
class Fault:
    """What raises these alerts; leaving the context heals it."""

    alerts: frozenset[str]
    inject: Callable[[Lab], AbstractContextManager[None]]


FIRST: list[Fault] = []
SECOND: list[Fault] = []


def fault(group: list[Fault], *alerts: str) -> Callable[[Callable[[Lab], Iterator[None]]], None]:
    """Add a function to a group: up to its yield it injects, then it heals, whatever the test came to meanwhile."""

    def add(function: Callable[[Lab], Iterator[None]]) -> None:
        @contextmanager
        def inject(lab: Lab) -> Iterator[None]:
            steps = function(lab)
            next(steps)
            try:
                yield
            finally:
                next(steps, None)

        group.append(Fault(frozenset(alerts), inject))

    return add


# -- Faults of the first group -------------------------------------------------------------------------------------


@fault(FIRST, "ZcsFilesystemFull", "ZcsFilesystemFillingNow")
def _no_space(_: Lab) -> Iterator[None]:
    blob = STORE / "blob"
    blob.write_bytes(bytes(int(0.97 * (8 << 20))))
    yield
    blob.unlink()


@fault(FIRST, "ZcsFilesystemInodesFull", "ZcsFilesystemInodesFillingNow")
def _no_inodes(_: Lab) -> Iterator[None]:
    made = [STORE / f"message-{number}" for number in range(200)]
    with contextlib.suppress(OSError):
        for place in made:
            place.touch()
    yield
    for place in made:
        place.unlink(missing_ok=True)


@fault(FIRST, "ZcsFilesystemReadOnly")
def _read_only(_: Lab) -> Iterator[None]:
    run("mount", "-o", "remount,ro", REDOLOG)
    yield
    run("mount", "-o", "remount,rw", REDOLOG)


@fault(FIRST, "ZcsFilesystemVanished")
def _not_mounted(_: Lab) -> Iterator[None]:
    run("umount", INDEX)
    yield
    mount_memory(INDEX, "1m")


@fault(FIRST, "ZcsFilesystemHung")
def _no_answer_from_a_disk(_: Lab) -> Iterator[None]:
    with hung_mount(HOME / "backup"):
        yield


@fault(FIRST, "ZcsServiceVitalDown", "ZcsServiceProxyDown", "ZcsServiceDown", "ZcsServiceMinorDown")
def _services_end(lab: Lab) -> Iterator[None]:
    names = ("slapd", "nginx", "memcached", "httpd")
    for name in names:
        kill(lab.pids[name])
    yield
    for name in names:
        lab.start(name)


@fault(FIRST, "ZcsQueueCorrupt")
def _damaged_message(lab: Lab) -> Iterator[None]:
    corrupt = lab.postfix.spool / "corrupt" / "3F2A81C0E5D"
    corrupt.write_bytes(b"C")
    corrupt.chmod(0o700)
    yield
    corrupt.unlink()


def _mailboxd_row(lmtp_threads: int, db_connections: int) -> str:
    return f"{stamp(now(), '%m/%d/%Y %H:%M:%S')},{lmtp_threads},{db_connections}"


@fault(FIRST, "ZcsMailboxdThreadsShort", "ZcsMailboxdLmtpSaturated", "ZcsMailboxdDatabasePool")
def _mailboxd_is_busy(lab: Lab) -> Iterator[None]:
    """Before mail waits, so that the queue grows while the threads are at their limit."""
    lab.zcs.append_mailbox(
        f"{stamp(now())},402 INFO  [LmtpServer] [] "
        "TcpServer/7025 - Starting accept loop: 1 core threads, 20 max threads."
    )
    lab.wait_value(20, "zcs_mailboxd_threads_limit", protocol="lmtp")
    append(MAILBOXD_TABLE, _mailboxd_row(20, 100))
    lab.wait_value(0, "zcs_mailboxd_lmtp_queue_growth_messages")
    yield
    append(MAILBOXD_TABLE, _mailboxd_row(2, 1))


@fault(
    FIRST,
    "ZcsQueueIntakeStalled",
    "ZcsQueueActiveFull",
    "ZcsQueueSenderFlood",
    "ZcsQueueDeferredGrowing",
    "ZcsQueueHold",
    "ZcsQueueNearExpiry",
)
def _mail_waits(lab: Lab) -> Iterator[None]:
    lab.postfix.fill(deferred=60, hold=1, active=3, maildrop=1)
    one = {entry["queue_name"]: entry["queue_id"] for entry in lab.postfix.showq()}
    lab.postfix.age(one["maildrop"], 1000)
    lab.postfix.age(one["deferred"], 4 * 86400 + 80000)
    yield
    lab.postfix.clear()


@fault(FIRST, "ZcsMysqldConnections")
def _clients_stay(lab: Lab) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(92):  # of 110
            stack.enter_context(pymysql.connect(unix_socket=str(lab.mariadb.socket), user="root"))
        yield


@fault(FIRST, "ZcsMysqldDuplicate")
def _second_server(lab: Lab) -> Iterator[None]:
    lab.mariadb.start_second(parent="init", name="mariadbd")
    yield
    lab.mariadb.stop_others()


@fault(FIRST, "ZcsJvmGcTime")
def _garbage(lab: Lab) -> Iterator[None]:
    enough = threading.Event()

    def churn() -> None:
        while not enough.wait(0.2):
            lab.jvms.mailboxd.command("churn", 64)

    worker = threading.Thread(target=churn)
    worker.start()
    yield
    enough.set()
    worker.join()


@fault(FIRST, "ZcsJvmOldGenerationFull")
def _leak(lab: Lab) -> Iterator[None]:
    lab.jvms.zmconfigd.command("keep", 39)
    lab.jvms.zmconfigd.command("collect")
    yield
    lab.jvms.zmconfigd.command("free")
    lab.jvms.zmconfigd.command("collect")


@fault(FIRST, "ZcsSnmpNotifyVulnerable")
def _old_release_notifies(lab: Lab) -> Iterator[None]:
    lab.zcs.set_localconfig(snmp_notify="1")
    yield
    lab.zcs.set_localconfig(snmp_notify="0")


@fault(FIRST, "ZcsLogLagging")
def _unfinished_line(_: Lab) -> Iterator[None]:
    with PROXY_LOG.open("a") as log:
        log.write("x" * 100)
        log.flush()
        yield
        log.write("\n")


@fault(FIRST, "ZcsAuthBackendUnreachable")
def _no_answer_to_saslauthd(lab: Lab) -> Iterator[None]:
    def tell(message: str) -> None:
        lab.zcs.append_syslog(f"{stamp(now(), '%b %e %H:%M:%S')} mail saslauthd[29157]: {message}")

    url = "https://mail.example.com:7073/service/admin/soap/"
    tell(f"authentication against url '{url}' caused error 'couldn't connect to host'")
    yield
    tell("auth_zimbra: ann@example.com auth OK")


@fault(
    FIRST,
    "ZcsAuthIpAccountFailures",
    "ZcsAuthAccountFailures",
    "ZcsAuthIpFailures",
    "ZcsAuthTotalFailures",
    "ZcsAuthSpraying",
    "ZcsAuthDistributed",
    "ZcsAuthAdminFailures",
    "ZcsAuthDirectoryUnreachable",
)
def _attack(lab: Lab) -> Iterator[None]:
    at = now()
    # The ten minutes of the administrator's window end soon for these, and its alarm with them.
    lines = [failure(at - 580, "203.0.113.11", "admin@example.com", "7071/service/admin/soap") for _ in range(5)]
    lines += [failure(at, "203.0.113.9", "ann@example.com") for _ in range(20)]
    lines.append(
        audit(at, "203.0.113.9", "cmd=Auth; account=ann@example.com; protocol=soap;").replace("WARN ", "INFO ")
    )
    lines += [failure(at, "203.0.113.10", f"spray{number}@example.com") for number in range(10)]
    lines += [failure(at, f"198.51.100.{number}", "bob@example.com") for number in range(1, 11)]
    lines += [failure(at, f"2001:db8::{number:x}", f"user{number}@example.com") for number in range(1, 170)]
    unreachable = "external LDAP auth failed, LDAP error: An error occurred while attempting to connect to server ad"
    lines.append(failure(at, "203.0.113.12", "ann@example.com").replace("invalid password", unreachable))
    change = audit(at, "203.0.113.13", "cmd=ModifyConfig; zimbraMtaMyNetworks=x;", "7071/service/admin/soap")
    lines.append(change.replace("WARN ", "INFO "))
    lab.zcs.append_audit("\n".join(lines))
    kept_out = "Access from IP 203.0.113.9 suspended, for repeated failed login."
    lab.zcs.append_mailbox(_java_entry(at, "INFO", "misc", kept_out))
    yield  # each window ends by itself


@fault(FIRST, "ZcsQueueContentFilterUnreachable")
def _filter_is_down(lab: Lab) -> Iterator[None]:
    def hop(relay: str, status: str) -> None:
        fields = f"relay={relay}, delay=0.1, delays=0.1/0/0/0, dsn=4.4.1, status={status}"
        message = f"postfix/smtp[4716]: 3F2A81C0E5D: to=<ann@example.com>, {fields}"
        lab.zcs.append_syslog(f"{stamp(now(), '%b %e %H:%M:%S')} mail {message}")

    hop("none", "deferred (connect to 127.0.0.1[127.0.0.1]:10024: Connection refused)")
    yield
    hop("127.0.0.1[127.0.0.1]:10024", "sent (250 2.0.0 Ok: queued as 7B1C21C0E60)")


@fault(FIRST, "ZcsQueueDoubleBounces", "ZcsAuthOutboundFlood", "ZcsAuthOutboundFloodConfirmed")
def _flood(lab: Lab) -> Iterator[None]:
    # Their hour is over at the first full minute after this, and the alarms with it.
    begin = f"{stamp((now() + 10) // 60 * 60 - 3535, '%b %e %H:%M:%S')} mail postfix/"
    login = "sasl_method=PLAIN, sasl_username=eve@example.com"
    lines = [f"submission/smtpd[4712]: 3F2A81C0E5E: client=pc[192.0.2.7], {login}"]
    lines += [
        f"qmgr[4001]: {message}: from=<{sender}>, size=2000, nrcpt={recipients} (queue active)"
        for message, sender, recipients in (("3F2A81C0E5E", "eve@example.com", 5000), ("3F2A81C0E5F", "", 150))
    ]
    refused = "relay=mx.example.net[203.0.113.1]:25, delay=1, delays=0/0/0/1, dsn=5.7.1, status=bounced (host said: no)"
    for message in ("3F2A81C0E5E", "3F2A81C0E5F"):
        lines += [f"smtp[4716]: {message}: to=<u{number}@example.net>, {refused}" for number in range(150)]
        lines.append(f"qmgr[4001]: {message}: removed")
    lab.zcs.append_syslog("\n".join(begin + line for line in lines))
    yield  # each window ends by itself


@fault(FIRST, "ZcsServiceRestartedUnexpectedly", "ZcsServiceFlapping")
def _restarts(lab: Lab) -> Iterator[None]:
    for times in (1, 2):
        former = lab.pids["unbound"]
        lab.start("unbound")
        kill(former)
        lab.wait_value(times, "zcs_service_restarts_total", name="dnscache")
    yield
    # What has restarted has so for an hour or a day, unless nobody wants it any more.
    lab.zcs.set_services(*(name for name in SERVICES if name != "dnscache"))


def _java_entry(second: int, level: str, component: str, message: str) -> str:
    """Return an entry of mailbox.log as ZCS 10 writes it."""
    context = "name=ann@example.com;mid=12;oip=203.0.113.9;soapId=4e5e1bb3;"
    thread = "qtp1068934215-733:https://mail.example.com:443/service/soap/SearchRequest"
    return f"{stamp(second)},402 {level:5} [{thread}] [{context}] {component} - {message}"


@fault(FIRST, "ZcsLogFatal", "ZcsIndexCorrupt")
def _faults_of_mailboxd(lab: Lab) -> Iterator[None]:
    """Both windows end soon: that of FATAL entries is ten minutes long, that of damaged indexes a day."""
    at = now()
    lines = [_java_entry(at - 570, "FATAL", "system", "handler exception")] * 3
    lines.append(_java_entry(at - 86400 + 45, "ERROR", "index", "Index corrupted"))
    lab.zcs.append_mailbox("\n".join(lines))
    yield


@fault(FIRST, "ZcsLogDebugLeftOn")
def _debug_left_on(lab: Lab) -> Iterator[None]:
    lab.zcs.append_mailbox("\n".join([_java_entry(now(), "DEBUG", "soap", "x")] * 30))
    yield
    lab.zcs.append_mailbox("\n".join([_java_entry(now(), "INFO", "soap", "x")] * 60))


@fault(FIRST, "ZcsKernelOomKill", "ZcsKernelStorageErrors", "ZcsLdapMapFull", "ZcsMysqldCorruption")
def _faults_that_count_for_an_hour(lab: Lab) -> Iterator[None]:
    """Their hour is nearly over, and their alarms with it."""
    at = now() - 3550
    syslog = stamp(at, "%b %e %H:%M:%S") + " mail"
    append(KERNEL_LOG, f"{syslog} kernel: Out of memory: Killed process 3001 (java) total-vm:9437184kB, anon-rss:1kB")
    append(KERNEL_LOG, f"{syslog} kernel: Buffer I/O error on dev dm-0, logical block 12, lost async page write")
    lab.zcs.append_syslog(f"{syslog} slapd[2101]: mdb_add: txn_commit failed : MDB_MAP_FULL: Environment mapsize ...")
    append(DATABASE_LOG, f"{stamp(at)} 0 [ERROR] InnoDB: Database page corruption on disk or a failed file read of x")
    yield


@fault(FIRST, "ZcsMailboxdGaveUp")
def _manager_gives_up(lab: Lab) -> Iterator[None]:
    """It takes its pid file with it, and that of the next one is all that tells of it."""
    pid_file = lab.jvms.mailboxd.manager_pid_file
    aside = pid_file.rename(pid_file.with_name("aside"))
    said = "mailboxd/JVM exited twice in 28 seconds (tolerance=60)"
    lab.zcs.append_syslog(f"{stamp(now(), '%b %e %H:%M:%S')} mail zmmailboxdmgr[2955]: {said}")
    yield
    aside.rename(pid_file)


@fault(FIRST, "ZcsFreshclamFailing")
def _old_signatures(_: Lab) -> Iterator[None]:
    def update(second: int) -> None:
        append(FRESHCLAM_LOG, f"ClamAV update process started at {stamp(second, '%a %b %e %H:%M:%S %Y')}")
        append(FRESHCLAM_LOG, "daily.cvd database is up-to-date (version: 27202, sigs: 2053984, f-level: 90)")

    update(now() - 3 * 86400)
    yield
    update(now())


@fault(FIRST, "ZcsLogStale")
def _syslog_is_stuck(_: Lab) -> Iterator[None]:
    """Its heart beats once, and after it was healed for as long as there is a log."""

    def beat() -> None:
        append(STATS_LOG, f"{stamp(now(), '%b %e %H:%M:%S')} mail zimbramon[17]: 17:info: zmstat cpu.csv: time:: 1")

    def keep_beating() -> None:
        while STATS_LOG.exists():
            beat()
            time.sleep(1)

    beat()
    yield
    threading.Thread(target=keep_beating, daemon=True).start()


# -- Faults of the second group ------------------------------------------------------------------------------------


@fault(SECOND, "ZcsStateNotWritable")
def _no_writes(lab: Lab) -> Iterator[None]:
    """First of its group, so that all others are told of without a state that can be saved."""
    lab.daemon.refuse_writes(True)
    yield
    lab.daemon.refuse_writes(False)


@fault(SECOND, "ZcsServiceLeftStopped")
def _forgotten_after_maintenance(lab: Lab) -> Iterator[None]:
    """Not beside services that end: what stops up to a minute after a maintenance belongs to it."""
    MAINTENANCE.write_text(f"{now() + 3600}\n")
    lab.wait_value(1, "zcs_maintenance", cause="file")
    kill(lab.pids["memcached"])
    lab.wait_value(0, "zcs_service_up", name="memcached")
    MAINTENANCE.unlink()
    lab.wait_value(0, "zcs_maintenance", cause="file")
    yield
    lab.start("memcached")


@fault(SECOND, "ZcsMysqldDown")
def _database_ends(lab: Lab) -> Iterator[None]:
    lab.mariadb.stop()
    yield
    lab.mariadb.start()


@fault(SECOND, "ZcsJvmOutOfMemory")
def _out_of_memory(lab: Lab) -> Iterator[None]:
    entry = _java_entry(now(), "FATAL", "system", "handler exception")
    lab.zcs.append_mailbox(
        f"{entry}\njava.lang.OutOfMemoryError: Java heap space\n\tat java.util.Arrays.copyOf(A.java:1)"
    )
    lab.jvms.mailboxd.kill9()
    yield
    lab.jvms.mailboxd.start()


@fault(SECOND, "ZcsCollectorFailing")
def _queue_is_no_directory(lab: Lab) -> Iterator[None]:
    queue = lab.postfix.spool / "corrupt"
    aside = queue.rename(queue.with_name("aside"))
    queue.touch()
    yield
    queue.unlink()
    aside.rename(queue)


@fault(SECOND, "ZcsAuthProxiesUntrusted")
def _one_address_for_all(lab: Lab) -> Iterator[None]:
    at = now()
    lines = [failure(at, "10.9.9.9", f"user{number % 20}@example.com") for number in range(60)]
    lab.zcs.append_audit("\n".join(lines))
    yield  # the window ends by itself


@fault(SECOND, "ZcsNotificationsStuck")
def _receiver_is_down(lab: Lab) -> Iterator[None]:
    """The other receiver tells of it; the one that was down must get it later, like all the rest."""
    lab.watch.v3.stop()
    lockout = "cmd=Auth; account=ann@example.com; error=account lockout due to too many failed logins;"
    lab.zcs.append_audit(audit(now(), "203.0.113.9", lockout))
    lab.watch.wait_raised({"ZcsNotificationsStuck"}, (lab.watch.v2c,))
    lab.watch.v3.start()
    yield


# -- Tests ---------------------------------------------------------------------------------------------------------


def test_every_alert_has_a_fault_or_a_reason_why_not() -> None:
    injected = [alert for each in (*FIRST, *SECOND) for alert in each.alerts]

    assert len(injected) == len(set(injected))
    assert set(injected) | set(NOT_INJECTED) == set(RULES)
    assert not set(injected) & set(NOT_INJECTED)


@contextmanager
def _prepared(zcs: Zcs) -> Iterator[dict[str, int]]:
    """Give the host what the faults need, and yield its stand-ins: all but that of `logger`, which is down.

    A store that fills quickly, a redolog, an index that fstab lists, and a /run that is the lab's own.
    """
    pids: dict[str, int] = {}
    fstab = scratch("fstab") / "fstab"
    fstab.write_text(f"index {INDEX} tmpfs defaults 0 0\n")
    with ExitStack() as stack:

        def unmount_later(place: Path) -> None:
            stack.callback(run, "umount", "--lazy", place)

        run("mount", "--bind", fstab, "/etc/fstab")
        unmount_later(Path("/etc/fstab"))
        run("mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run")
        unmount_later(Path("/run"))
        MAINTENANCE.parent.mkdir()
        for place, size, inodes in ((STORE, "8m", 200), (INDEX, "1m", 0), (REDOLOG, "1m", 0)):
            mount_memory(place, size, inodes)
            unmount_later(place)
        for log in (PROXY_LOG, FRESHCLAM_LOG, KERNEL_LOG, STATS_LOG):
            write(log, "")
            stack.callback(log.unlink)
        write(MAILBOXD_TABLE, "timestamp,lmtp_threads,db_pool_size\n")
        stack.callback(MAILBOXD_TABLE.unlink)
        zcs.set_services(*SERVICES)
        zcs.set_history("10.0.8")
        zcs.set_localconfig(snmp_notify="0", **LOCALCONFIG)
        stack.callback(zcs.set_localconfig, snmp_notify=None, **dict.fromkeys(LOCALCONFIG))
        pids |= {name: zcs.stand_in(name, place) for name, place in PID_FILES.items() if name != "logswatch"}
        try:
            yield pids
        finally:
            for pid in pids.values():
                kill(pid)


@pytest.mark.timeout(400)
def test_each_fault_is_raised_and_cleared_everywhere(
    zcs: Zcs,
    postfix: Postfix,
    mariadb: MariaDb,
    jvms: Jvms,
    exporter: Callable[..., Exporter],
    snmptrapd: Callable[..., Snmptrapd],
    prometheus: Callable[..., Prometheus],
) -> None:
    need_mibs()
    postfix.clear()
    if not jvms.mailboxd.perf_file.exists():
        jvms.mailboxd.start()
    with _prepared(zcs) as pids:
        lab = Lab(zcs, postfix, mariadb, jvms, Watch(exporter, snmptrapd, prometheus), pids)
        # It was down when the daemon first started, which one notice told of; its end has a notification of its own.
        lab.start("logswatch")

        for group in (FIRST, SECOND):
            alerts = frozenset[str]().union(*(each.alerts for each in group))
            lab.watch.begin()
            with ExitStack() as stack:
                for each in group:
                    stack.enter_context(each.inject(lab))
                lab.watch.wait_raised(alerts)
            lab.watch.wait_cleared(alerts)

        # A new process knows what was delivered, be it while the state could not be saved.
        lab.daemon.stop()
        lab.daemon.start()
        lab.daemon.stop()
        _told_rightly(lab.watch)


def _told_rightly(watch: Watch) -> None:
    """Look at everything that the receivers got."""
    traps, informs = watch.v2c.received(), watch.v3.received()
    for told in (traps, informs):
        for each in told:
            if (rule := RULES.get(_rule(each))) is not None:
                family = "Alarm" if rule.family == "general" else rule.family.capitalize()
                assert each["trap"].rpartition("::")[2] in (f"zcs{family}Raised", f"zcs{family}Cleared"), each
        events = {(_rule(each), each["zcsNotifyObject"]) for each in told if each["trap"].endswith("zcsEvent")}
        assert {name for name, _ in events} == {event.name for event in CATALOGUE.events} - NOT_HAPPENING.keys()
        assert events >= {("ZcsServiceStopped", "ldap"), ("ZcsServiceStarted", "ldap"), ("ZcsServiceStarted", "logger")}
        assert ("ZcsServiceRestarted", "dnscache") in events
    numbers = {int(each["zcsNotifySequence"].split()[0]) for each in informs}
    assert numbers == set(range(1, len(numbers) + 1)), "a notification got lost"
    assert len({each["zcsNotifyEventId"] for each in informs}) == len(numbers), "a notification was sent anew"
    assert {each["zcsNotifyEventId"] for each in traps} == {each["zcsNotifyEventId"] for each in informs}
    assert "203.0.113.9" in str(traps)
    assert "ann@example.com" in str(informs)
    assert "ann@example.com" not in str(traps)
    assert "Traceback" not in watch.daemon.log()
