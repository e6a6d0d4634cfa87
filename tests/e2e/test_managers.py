"""The files for managers, used by the managers: from a fault on the host to the state of a service, and back.

Each file is the one that is shipped; what a site has to fill in, and where a scratch directory has other paths and
shorter times, is replaced in it.
"""

import base64
import json
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from e2e.lab import (
    HOME,
    HOST,
    SERVER_PATH,
    Exporter,
    Zcs,
    absent,
    as_user,
    environment,
    free_port,
    mount_memory,
    need,
    need_lab,
    run,
    scratch,
    spawn,
    wait_for,
)
from e2e.product import USER, USER_SECRET, settings

from zcs_exporter.managers.files import SUBMIT, manager_files
from zcs_exporter.managers.nagios import SILENCE
from zcs_exporter.managers.snmptt import SUBMIT as INSTALLED_SUBMIT
from zcs_exporter.managers.terms import (
    CLASSES,
    EVENT_LABEL,
    KIND,
    LIFE_LABEL,
    PLACE,
    object_oid,
    trap_oid,
    variable_oid,
)
from zcs_exporter.snmp.smi import DEFAULT_ROOT

STORE = HOME / "store"
FILE_SYSTEMS = "ZCS file systems"
SERVICES = [LIFE_LABEL, *(each.label for each in CLASSES), EVENT_LABEL]
OK, WARNING, CRITICAL, UNKNOWN = range(4)
COMMUNITY = "a-long-community-name"
ZIMBRA_SERVICE = (".1.3.6.1.4.1.666.1.0", "s", "mta", ".1.3.6.1.4.1.666.1.1")
HOSTILE = (
    "$(touch {witness})",
    "`touch {witness}`",
    '" ; touch {witness} ; "',
    '" --config /dev/null "x',
    "a|b\\n[0] PROCESS_SERVICE_CHECK_RESULT",
)
"""Texts that no notification of ours has."""

# What every Nagios has: templates of the distribution, reduced to what objects must have.
NAGIOS_TEMPLATES = """\
define timeperiod {
    timeperiod_name always
    alias           always
    monday    00:00-24:00
    tuesday   00:00-24:00
    wednesday 00:00-24:00
    thursday  00:00-24:00
    friday    00:00-24:00
    saturday  00:00-24:00
    sunday    00:00-24:00
}
define command {
    command_name none
    command_line /bin/true
}
define contact {
    contact_name                  ops
    host_notification_period      always
    service_notification_period   always
    host_notification_options     n
    service_notification_options  n
    host_notification_commands    none
    service_notification_commands none
}
define host {
    name                  generic-host
    register              0
    check_command         none
    active_checks_enabled 0
    max_check_attempts    1
    check_period          always
    notification_period   always
    contacts              ops
}
define service {
    name                  generic-service
    register              0
    max_check_attempts    1
    check_interval        1
    retry_interval        1
    check_period          always
    notification_period   always
    notification_interval 60
    contacts              ops
}
"""

NAGIOS_SETTINGS = {
    "accept_passive_service_checks": 1,
    "check_external_commands": 1,
    "check_for_updates": 0,
    "check_result_reaper_frequency": 1,
    "check_service_freshness": 1,
    "enable_notifications": 0,
    "execute_host_checks": 0,
    "execute_service_checks": 1,
    "illegal_macro_output_chars": "`~$&|'\"<>",
    "interval_length": 1,
    "max_concurrent_checks": 4,
    "nagios_group": "nagios",
    "nagios_user": "nagios",
    "service_freshness_check_interval": 1,
    "additional_freshness_latency": 0,
    "status_update_interval": 1,
    "use_syslog": 0,
}


def site(text: str, **words: str) -> str:
    """Return a shipped file with what a site has to fill in, in capitals, filled in."""
    for word, value in words.items():
        text = text.replace(word.replace("_", "-"), value)
    return text


def keys() -> dict[str, str]:
    return {"AUTH_PASSWORD": USER.auth_password, "PRIV_PASSWORD": USER.priv_password}


class Place:
    """A directory of user nagios, in which a test puts the files of one manager."""

    def __init__(self, name: str) -> None:
        self.path = scratch(name, "nagios")
        self.path.chmod(0o750)
        self._stack = ExitStack()

    def write(self, name: str, text: str, mode: int = 0o640) -> Path:
        file = self.path / name
        for parent in (file.parent, file):
            if parent is file:
                file.write_text(text)
                file.chmod(mode)
            elif not parent.exists():
                parent.mkdir(parents=True)
            shutil.chown(parent, "nagios", "nagios")
        return file

    def start(self, *command: object, env: dict[str, str] | None = None) -> None:
        """Start a program as user nagios, which ends with the test."""
        log = self.path / f"{Path(str(command[0])).name}.out"
        process = spawn([*as_user("nagios"), *command], log, env=env)
        self._stack.callback(process.wait, 10)
        self._stack.callback(process.terminate)

    def close(self) -> None:
        self._stack.close()


@contextmanager
def place(name: str) -> Iterator[Place]:
    need_lab()
    if not any(user.pw_name == "nagios" for user in pwd.getpwall()):
        absent("no user nagios here; install the package nagios4-core")
    there = Place(name)
    try:
        yield there
    finally:
        there.close()


def nagios(there: Place, silence: int) -> Callable[[], dict[str, tuple[int, str]]]:
    """Start Nagios with our objects; return what asks for the state and the output of every service."""
    need("nagios4-core", "nagios4")
    need("monitoring-plugins-basic", "/usr/lib/nagios/plugins/check_dummy")
    shipped = manager_files()
    host = f"define host {{\n use generic-host\n host_name {HOST}\n address 127.0.0.1\n hostgroups zcs-servers\n}}\n"
    there.write("nagios/templates.cfg", NAGIOS_TEMPLATES)
    there.write("nagios/host.cfg", host)
    there.write("nagios/zcs-exporter.cfg", shipped["nagios/zcs-exporter.cfg"].replace(str(SILENCE), str(silence)))
    there.write("nagios/resource.cfg", "$USER1$=/usr/lib/nagios/plugins\n")
    for directory in ("var", "rw", "results"):
        there.write(f"nagios/{directory}/.keep", "")
    base = there.path / "nagios"
    names = {
        "cfg_file": "zcs-exporter.cfg",
        "check_result_path": "results",
        "command_file": "rw/nagios.cmd",
        "lock_file": "var/pid",
        "log_file": "var/nagios.log",
        "object_cache_file": "var/objects",
        "query_socket": "rw/nagios.qh",
        "resource_file": "resource.cfg",
        "state_retention_file": "var/retention",
        "status_file": "var/status.dat",
        "temp_file": "var/temp",
        "temp_path": "var",
    }
    lines = [f"{name}={base}/{file}" for name, file in names.items()]
    lines += [f"cfg_file={base}/templates.cfg", f"cfg_file={base}/host.cfg"]
    lines += [f"{name}={value}" for name, value in NAGIOS_SETTINGS.items()]
    main = there.write("nagios/nagios.cfg", "".join(f"{line}\n" for line in lines))
    checked = run("nagios4", "-v", main, user="nagios")
    assert "Total Warnings: 0" in checked, checked
    assert "Total Errors:   0" in checked, checked
    there.start("nagios4", main)
    status = base / "var/status.dat"
    wait_for(lambda: (base / "rw/nagios.cmd").exists() and status.exists(), 10, "Nagios")

    def states() -> dict[str, tuple[int, str]]:
        blocks = re.findall(r"servicestatus \{(.*?)\n\s*\}", status.read_text(), re.DOTALL)
        found = [dict(re.findall(r"^\s+(\w+)=(.*)$", block, re.MULTILINE)) for block in blocks]
        return {
            each["service_description"]: (int(each["current_state"]), each["plugin_output"])
            for each in found
            if each["has_been_checked"] == "1"
        }

    return states


def submitter(there: Place, config: str) -> str:
    """Install zcs-submit and return the command that runs it."""
    there.write("submit-state/.keep", "")
    there.write("zcs-submit", manager_files()[SUBMIT], 0o750)
    there.write("zcs-submit.conf", f"[state]\ndirectory = {there.path}/submit-state\n{config}")
    return f"{there.path}/zcs-submit --config {there.path}/zcs-submit.conf"


def trap_receiver(there: Place, submit: str) -> int:
    """Start snmptrapd and snmptt with our files and return the port."""
    need("snmptrapd", "snmptrapd")
    need("snmptt", "snmptt", "snmptthandler")
    if not Path("/usr/share/perl5/Net/IP.pm").exists():
        absent("no Net::IP here, without which snmptt does nothing; install the package libnet-ip-perl")
    port, shipped = free_port(), manager_files()
    there.write("snmptt/snmptt.conf", shipped["snmptt/snmptt.conf"].replace(INSTALLED_SUBMIT, submit))
    there.write("snmptt/spool/.keep", "")
    own = {
        "mode": "daemon",
        "sleep": "1",
        "daemon_fork": "0",
        "daemon_uid": "",
        "pid_file": there.path / "snmptt/pid",
        "spool_directory": f"{there.path}/snmptt/spool/",
        "log_file": there.path / "snmptt/log",
        "unknown_trap_log_enable": "1",
        "unknown_trap_log_file": there.path / "snmptt/unknown",
        "syslog_enable": "0",
        "syslog_system_enable": "0",
    }
    (there.path / "snmptt/spool/.keep").unlink()
    ini = Path("/etc/snmp/snmptt.ini").read_text()
    for name, value in own.items():
        ini = re.sub(rf"(?m)^{name}\s*=.*$", f"{name} = {value}", ini)
    ini = re.sub(
        r"(?s)snmptt_conf_files = <<END.*?END", f"snmptt_conf_files = <<END\n{there.path}/snmptt/snmptt.conf\nEND", ini
    )
    ini_file = there.write("snmptt/snmptt.ini", ini)
    conf = site(shipped["snmptrapd/snmptrapd.conf"], **keys())
    conf = conf.replace("#snmpTrapdAddr udp:162,udp6:162", f"snmpTrapdAddr udp:127.0.0.1:{port},udp6:[::1]:{port}")
    conf = conf.replace("/usr/sbin/snmptthandler", f"/usr/sbin/snmptthandler --ini={ini_file}")
    conf = conf.replace("#authCommunity log,execute COMMUNITY", f"authCommunity log,execute {COMMUNITY}")
    conf_file = there.write("snmptrapd.conf", conf)
    there.start("snmptt", "--daemon", f"--ini={ini_file}")
    there.start(
        *("snmptrapd", "-f", "-C", "-c", conf_file, "-Lf", there.path / "snmptrapd.log"),
        *("-p", there.path / "snmptrapd.pid"),
        env={"SNMP_PERSISTENT_DIR": str(there.path / "persistent"), "PATH": SERVER_PATH},
    )
    udp = Path("/proc/net/udp")
    wait_for(lambda: f":{port:04X} " in udp.read_text(), 10, f"snmptrapd; see {there.path}")
    return port


@contextmanager
def small_store() -> Iterator[Path]:
    """A store that is full with one file of 8 MB."""
    mount_memory(STORE, "8m")
    try:
        yield STORE / "blob"
    finally:
        run("umount", "--lazy", STORE)


def targets(daemon: Exporter, port: int, heartbeat: str) -> None:
    """Have the daemon send informs there."""
    target = {"name": "nms", "host": "127.0.0.1", "port": port, "version": 3, "kind": "inform", "rate": 1000}
    target["secrets"] = daemon.secrets("nms.secret", {**USER_SECRET, "user": "zcs"})
    daemon.config["notify"] = {"heartbeat": heartbeat, "snmp": [target]}
    daemon.configure()


def snmptrap(port: int, trap: str, *variables: str) -> None:
    """Send a trap as ZCS itself, or somebody who knows the community, would."""
    need("snmp", "snmptrap")
    run("snmptrap", "-v", "2c", "-c", COMMUNITY, "-m", "", f"127.0.0.1:{port}", "", trap, *variables)


def forged(text: str, host: str = HOST, alarm: int = 4711) -> list[str]:
    """Return the variables of a notification with anything in it."""
    values: dict[str, tuple[str, str]] = {
        "zcsNotifyHost": ("s", host),
        "zcsNotifySeverity": ("i", "2"),
        "zcsNotifyText": ("s", text),
        "zcsNotifyAlarmIndex": ("u", str(alarm)),
    }
    told = []
    for name in PLACE:
        told += [variable_oid(name, DEFAULT_ROOT), *values.get(name, ("s", "x"))]
    return told


@pytest.mark.timeout(180)
def test_a_fault_becomes_a_state_of_nagios_and_back_and_silence_becomes_unknown(
    zcs: Zcs, exporter: Callable[..., Exporter], capsys: pytest.CaptureFixture[str]
) -> None:
    with place("nagios") as there, small_store() as blob:
        states = nagios(there, silence=8)
        command_file = there.path / "nagios/rw/nagios.cmd"
        port = trap_receiver(there, submitter(there, f"[nagios]\ncommand_file = {command_file}\n"))
        zcs.set_services("mta", "snmp")
        zcs.set_history("10.0.8")
        zcs.set_localconfig(snmp_notify="1")
        daemon = exporter(settings("ZcsFilesystemFull", "ZcsSnmpNotifyVulnerable"))
        for name, options in daemon.config["collectors"].items():
            options["enabled"] = "auto" if name in ("filesystem", "zimbra") else False
        targets(daemon, port, "2s")
        # Nagios shows an alarm whose clear got lost.
        raise_ = trap_oid(KIND["zcsQueueRaised"], DEFAULT_ROOT)
        snmptrap(port, raise_, *forged("many wait"))
        wait_for(lambda: states().get("ZCS queues") == (CRITICAL, "many wait"), 20, lambda: f"the raise: {states()}")
        # It is news of the host all the same, and says nothing about others.
        assert states()[LIFE_LABEL] == (OK, "zcs-exporter is heard")
        assert states()["ZCS JVMs"] == (OK, "No alarm that was told here stands")
        # ZCS's own notifications are open to attack. That was so before the first start: nobody is paged for it.
        daemon.start()
        known = "zcs-exporter runs, 1 alarm active, 1 of them since before its first start: The SNMP notifications"
        wait_for(lambda: states()[LIFE_LABEL][1].startswith(known), 20, lambda: f"what stood before: {states()}")
        assert states().keys() == set(SERVICES)
        assert {state for name, (state, _) in states().items() if name != "ZCS queues"} == {OK}
        assert states()["ZCS alarms"][1].endswith("but 1 may that were not: see ZCS heartbeat")
        assert states()["ZCS queues"] == (UNKNOWN, "Perhaps over: many wait")
        zcs.set_localconfig(snmp_notify="0")
        daemon.reload()
        # Nothing stands that it might be.
        wait_for(lambda: states()["ZCS queues"][0] == OK, 20, lambda: f"all well: {states()}")
        assert {state for state, _ in states().values()} == {OK}

        begin = time.monotonic()
        blob.write_bytes(bytes(int(0.97 * (8 << 20))))
        wait_for(lambda: states()[FILE_SYSTEMS][0] == CRITICAL, 20, lambda: f"CRITICAL: {states()}")
        raised = time.monotonic() - begin
        assert f"{STORE} is 97" in states()[FILE_SYSTEMS][1]
        # It stands, though heartbeats went by.
        time.sleep(2.5)
        assert states()[FILE_SYSTEMS][0] == CRITICAL
        begin = time.monotonic()
        blob.unlink()
        wait_for(lambda: states()[FILE_SYSTEMS][0] == OK, 20, lambda: f"OK again: {states()}")
        cleared = time.monotonic() - begin
        with capsys.disabled():
            print(f"\nfault to CRITICAL {raised:.1f} s, healed to OK {cleared:.1f} s")
        assert raised < 10
        assert cleared < 10

        # ZCS's own trap, and what a stranger with the community would try; no heartbeat takes it away meanwhile.
        daemon.kill9()
        snmptrap(port, ".1.3.6.1.4.1.666.0.0", *ZIMBRA_SERVICE, "i", "0")
        witness = there.path / "witness"
        for number, text in enumerate(HOSTILE):
            snmptrap(port, raise_, *forged(text.format(witness=witness), alarm=number + 1))
        snmptrap(port, raise_, *forged("x", host="../../../tmp/x"))
        wait_for(lambda: states()["ZCS services"] == (CRITICAL, "Service mta is down"), 10, lambda: f"{states()}")
        wait_for(lambda: f"{len(HOSTILE)} alarms" in states()["ZCS queues"][1], 10, lambda: f"{states()['ZCS queues']}")
        snmptrap(port, ".1.3.6.1.4.1.666.0.0", *ZIMBRA_SERVICE, "i", "1")
        wait_for(lambda: states()["ZCS services"][0] == OK, 10, lambda: f"{states()}")
        assert not witness.exists()
        assert not list(there.path.rglob("x.json"))

        wait_for(lambda: {state for state, _ in states().values()} == {UNKNOWN}, 20, lambda: f"UNKNOWN: {states()}")
        assert "No sign of life from zcs-exporter for 8 s" in states()[LIFE_LABEL][1]
        assert not (there.path / "snmptt/unknown").exists()


# -- snmpd ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["proxy", "agentx"])
def test_snmpd_answers_for_us_and_check_snmp_reads_it(way: str, exporter: Callable[..., Exporter], zcs: Zcs) -> None:
    need("snmpd", "snmpd")
    need("snmp", "snmpget")
    need("monitoring-plugins-standard", "/usr/lib/nagios/plugins/check_snmp")
    with place("snmpd") as there:
        # In a place of its own: snmpd as user nagios makes the socket, and the daemon is root.
        socket_file = there.path / "agentx"
        own, port = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
        daemon = exporter(settings())
        secret = daemon.secrets("zcs.secret", {**USER_SECRET, "user": "zcs"})
        daemon.config["snmp_agent"] = {"enabled": True, "listen": f"127.0.0.1:{own}", "users": [secret]}
        if way == "agentx":
            daemon.config["snmp_agent"] = {"agentx": str(socket_file)}
        daemon.configure()
        conf = site(manager_files()[f"snmpd/{way}.conf"], **keys(), MANAGER="manager")
        conf = conf.replace("127.0.0.1:1161", f"127.0.0.1:{own}").replace("/var/agentx/master", str(socket_file))
        conf = re.sub("(?m)^agentXPerms .*$", "agentXPerms 0660 0550 nagios nagios", conf)
        conf = re.sub("(?m)^#(view|rouser)", r"\1", conf)
        conf += f'createUser manager SHA-256 "{USER.auth_password}" AES "{USER.priv_password}"\n'
        conf_file = there.write("snmpd.conf", conf)
        log = there.path / "snmpd.log"
        there.start(
            *("snmpd", "-f", "-C", "-c", conf_file, "-Lf", log, "-m", "", "-I", "-smux", "-p", there.path / "pid"),
            f"udp:127.0.0.1:{port}",
            env={"SNMP_PERSISTENT_DIR": str(there.path / "persistent"), "PATH": SERVER_PATH},
        )
        daemon.start()
        user = ("-l", "authPriv", "-u", "manager", "-a", "SHA-256", "-A", USER.auth_password, "-x", "AES")
        ask = ("snmpget", "-v3", *user, "-X", USER.priv_password, "-m", "", "-OQv", f"127.0.0.1:{port}")
        host = object_oid("zcsAgentHost", DEFAULT_ROOT, 0)

        def answers() -> bool:
            done = subprocess.run([*ask, host], capture_output=True, text=True, check=False, env=environment())
            return HOST in done.stdout

        wait_for(answers, 20, lambda: f"an answer for us: {log.read_text()}", pause=0.2)
        assert not re.search("(?i)error|warning|unknown", log.read_text()), log.read_text()
        # The commands of Nagios, as its shell runs them.
        macros = {
            "USER1": "/usr/lib/nagios/plugins",
            "USER21": "manager",
            "USER22": USER.auth_password,
            "USER23": USER.priv_password,
            "HOSTADDRESS": "127.0.0.1",
            "_HOSTZCS_PORT": str(port),
        }
        objects = manager_files()["nagios/zcs-agents.cfg"]
        commands = dict(re.findall(r"command_name +(\S+)\n +command_line +(.*)", objects))

        def check(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
            line = commands[command]
            for name, value in (macros | {f"ARG{n}": text for n, text in enumerate(arguments, start=1)}).items():
                line = line.replace(f"${name}$", value)
            return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, env=environment())

        [(*_, worst, label)] = re.findall(r"check-zcs-(severity)!([^!]*)!(.*)", objects)
        found = check("check-zcs-severity", worst, label)
        expected = run(*ask, worst).strip()
        assert found.returncode == {"0": OK, "1": WARNING, "2": CRITICAL, "3": WARNING}[expected], found
        assert found.stdout.startswith("SNMP "), found
        alarms = object_oid("zcsAgentAlarms", DEFAULT_ROOT, 0)
        assert check("check-zcs-number", alarms, "alarms", "100", "200").returncode == OK
        assert check("check-zcs-number", alarms, "alarms", "200:", "100:").returncode == CRITICAL


# -- Icinga 2 ------------------------------------------------------------------------------------------------------

ICINGA_MAIN = """\
include <itl>
include <plugins>
const PluginDir = "/usr/lib/nagios/plugins"
const NodeName = "icinga.example.com"
const ZoneName = NodeName
object Endpoint NodeName {{ }}
object Zone ZoneName {{ endpoints = [ NodeName ] }}
object ApiListener "api" {{ bind_host = "127.0.0.1", bind_port = {port} }}
object CheckerComponent "checker" {{ }}
object ApiUser "reader" {{ password = "reader-password", permissions = [ "objects/query/*" ] }}
object Host "mail.example.com" {{
  check_command = "hostalive"
  enable_active_checks = false
  vars.zcs = true
  vars.zcs_agent = {{ user = "zcs", auth_key = "AUTH-PASSWORD", priv_key = "PRIV-PASSWORD", port = 1 }}
}}
object Host "other.example.com" {{ check_command = "hostalive", enable_active_checks = false }}
object Service "ZCS file systems" {{ host_name = "other.example.com", check_command = "passive" }}
include "zcs-exporter.conf"
"""


@pytest.mark.timeout(120)
def test_icinga_takes_the_same_states_through_its_api() -> None:
    need("icinga2-bin", "icinga2")
    if not Path("/usr/share/icinga2/include/itl").exists():
        absent("no template library here; install the package icinga2-common")
    with place("icinga") as there:
        port = free_port()
        shipped = manager_files()["icinga2/zcs-exporter.conf"]
        conf = site(shipped, API_PASSWORD="submit-password").replace(f"{SILENCE}s", "5s")
        there.write("etc/zcs-exporter.conf", conf)
        main = there.write("etc/icinga2.conf", ICINGA_MAIN.format(port=port))
        for directory in ("data", "cache", "log", "run", "spool"):
            there.write(f"{directory}/.keep", "")
        constants = {"DataDir": "data", "CacheDir": "cache", "LogDir": "log", "InitRunDir": "run", "SpoolDir": "spool"}
        defines = [f"-D{name}={there.path}/{directory}" for name, directory in constants.items()]
        defines.append(f"-DConfigDir={there.path}/etc")
        env = environment({"ICINGA2_USER": "nagios", "ICINGA2_GROUP": "nagios"})
        certificates = there.path / "data/certs"
        there.write("data/certs/.keep", "")

        def icinga(*arguments: object) -> str:
            command = [*as_user("nagios"), "icinga2", *map(str, [*arguments, *defines])]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        name = certificates / "icinga.example.com"
        icinga("pki", "new-ca")
        icinga("pki", "new-cert", "--cn", "icinga.example.com", "--key", f"{name}.key", "--csr", f"{name}.csr")
        icinga("pki", "sign-csr", "--csr", f"{name}.csr", "--cert", f"{name}.crt")
        ca = certificates / "ca.crt"
        shutil.copy(there.path / "data/ca/ca.crt", ca)
        shutil.chown(ca, "nagios", "nagios")
        checked = icinga("daemon", "-C", "-c", main)
        assert "warning/" not in checked, checked
        assert f"{len(SERVICES) + 3} Services" in checked, checked
        assert f"{len(SERVICES) - 1} Dependencies" in checked, checked

        there.start("icinga2", "daemon", "-c", main, *defines, env=env)
        # The certificate has that name, and so has this host for as long as the test runs.
        url = f"https://icinga.example.com:{port}"
        with name_of_loopback("icinga.example.com"):
            wait_for(lambda: icinga_states(url, ca), 20, lambda: f"Icinga; see {there.path}")
            section = f"[icinga2]\nurl = {url}\nuser = zcs-submit\npassword = submit-password\nca = {ca}\n"
            submit = [*as_user("nagios"), *submitter(there, section).split()]

            def told(*arguments: str) -> None:
                run(*submit, *arguments)

            told(FILE_SYSTEMS, HOST, "1", "/opt is 90% full", "17")
            told(FILE_SYSTEMS, HOST, "2", "/opt/zimbra/store is 97% full", "18")
            told(LIFE_LABEL, HOST, "0", "runs", "0", *SERVICES[1:])
            states = icinga_states(url, ca)
            assert {state for name, (state, _) in states.items() if name in SERVICES and name != FILE_SYSTEMS} == {OK}
            expected = (CRITICAL, "2 alarms: /opt/zimbra/store is 97% full\n/opt is 90% full")
            assert states[FILE_SYSTEMS] == expected
            told(FILE_SYSTEMS, HOST, "0", "Cleared: /opt/zimbra/store is 97% full", "18")
            assert icinga_states(url, ca)[FILE_SYSTEMS] == (WARNING, "/opt is 90% full")
            # Its clear got lost, and a heartbeat says that nothing stands.
            told("--standing", "0 0 4294967295", LIFE_LABEL, HOST, "0", "runs", "0", *SERVICES[1:])
            assert icinga_states(url, ca)[FILE_SYSTEMS] == (OK, "Over, without its clear: /opt is 90% full")
            assert icinga_states(url, ca)["ZCS JVMs"] == (OK, "No alarm stands")
            told("--heard", LIFE_LABEL, FILE_SYSTEMS, HOST, "0", "Cleared: /opt is 90% full", "17", *SERVICES[1:])
            assert icinga_states(url, ca)[LIFE_LABEL] == (OK, "zcs-exporter is heard")
            assert icinga_states(url, ca)[FILE_SYSTEMS] == (OK, "Cleared: /opt is 90% full")
            # A host that it may not speak for, and one that is not there.
            for host in ("other.example.com", "unknown.example.com"):
                refused = subprocess.run([*submit, FILE_SYSTEMS, host, "2", "x", "1"], capture_output=True, check=False)
                assert refused.returncode == 1
                assert b"no such service for this user" in refused.stderr
            wait_for(
                lambda: icinga_states(url, ca)[LIFE_LABEL] == (UNKNOWN, "No sign of life from zcs-exporter for 200 s"),
                20,
                lambda: f"silence: {icinga_states(url, ca)}",
                pause=0.5,
            )


@contextmanager
def name_of_loopback(name: str) -> Iterator[None]:
    hosts = Path("/etc/hosts")
    before = hosts.read_text()
    hosts.write_text(f"{before}127.0.0.1 {name}\n")
    try:
        yield
    finally:
        hosts.write_text(before)


def icinga_states(url: str, ca: Path) -> dict[str, tuple[int, str]]:
    """Ask for the state and the output of every service that has one."""
    login = base64.b64encode(b"reader:reader-password").decode()
    request = urllib.request.Request(f"{url}/v1/objects/services", headers={"Authorization": f"Basic {login}"})
    context = ssl.create_default_context(cafile=str(ca))
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        found = [each["attrs"] for each in json.load(answer)["results"] if each["attrs"]["last_check_result"]]
    return {each["name"]: (int(each["state"]), each["last_check_result"]["output"]) for each in found}
