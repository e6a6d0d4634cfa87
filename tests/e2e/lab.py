"""The real programs of the lab, one small class each. The fixtures in conftest.py make them; in_lab is their house.

Everything here assumes the namespaces of in_lab: paths and ports are those of a ZCS host and there is one of each.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from xml.sax.saxutils import escape

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

HOME = Path("/opt/zimbra")
HOST = "mail.example.com"
SYSLOG = Path("/var/log/zimbra.log")
JAVA_SOURCES = Path(__file__).parent / "java"
SERVER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

T = TypeVar("T")
Labels = frozenset[tuple[str, str]]
Parent = Literal["shell", "mysqld_safe", "init"]


# -- What tests share ----------------------------------------------------------------------------------------------


def absent(reason: str) -> None:
    """Skip the test that needs what is not here; where the real parts are required, fail it."""
    if os.environ.get("ZCS_E2E") == "required":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def need_lab() -> None:
    if os.environ.get("ZCS_E2E_LAB") != "1":
        absent("not in the lab; run as root: tests/e2e/in_lab pytest tests/e2e")


def need(package: str, *programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        absent(f"no {', '.join(missing)} here; install the package {package}")


def need_mibs() -> None:
    """The modules of the IETF that every MIB imports, which Debian lacks."""
    places = [Path(part) for part in os.environ.get("ZCS_MIB_PATH", "").split(":") if part]
    if not any(file.exists() for place in places for file in place.glob("SNMPv2-SMI*")):
        absent("no SNMPv2-SMI here; set ZCS_MIB_PATH to a directory with SNMPv2-SMI, -TC and -CONF (see .ci/run)")


def wait_for(predicate: Callable[[], T], timeout: float, what: str | Callable[[], str], pause: float = 0.02) -> T:
    """Ask until the answer is true, and return it; a refused or missing file or socket counts as no.

    Args:
        predicate: The question.
        timeout: Seconds until it fails.
        what: What is waited for, for the message of a failure; a function is asked then.
        pause: Seconds between two questions.
    """
    deadline = time.monotonic() + timeout
    trouble = ""
    while True:
        try:
            if answer := predicate():
                return answer
            trouble = ""
        except OSError as exc:
            trouble = f" ({exc!r})"
        if time.monotonic() > deadline:
            raise AssertionError(
                f"waited {timeout:g} s in vain for {what if isinstance(what, str) else what()}{trouble}"
            )
        time.sleep(pause)


def run(*command: str | Path, user: str = "root", text: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed; a failure shows its error output."""
    done = subprocess.run(
        [*as_user(user), *map(str, command)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env=environment(env),
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the caller's, so that no test depends on it."""
    return {"PATH": SERVER_PATH, "HOME": "/", "LANG": "C.UTF-8", **(extra or {})}


def as_user(user: str) -> list[str]:
    return [] if user == "root" else ["setpriv", "--reuid", user, "--regid", user, "--init-groups"]


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A high port nobody has; the lab's network is its own, so nobody takes it meanwhile."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scratch(name: str, user: str = "root") -> Path:
    """A new directory that every user of the lab can enter (pytest's are for root alone)."""
    base = Path("/tmp/lab")
    base.mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=base))
    directory.chmod(0o755)
    shutil.chown(directory, user, user)
    return directory


def make_directories(*names: str, user: str = "zimbra") -> None:
    """Make these below /opt/zimbra, each with its parents."""
    for name in names:
        place = HOME
        for part in Path(name).parts:
            place /= part
            if not place.exists():
                place.mkdir()
                shutil.chown(place, user, user)


def write(place: Path, text: str, user: str = "zimbra", mode: int = 0o644) -> Path:
    """Replace a file as ZCS does: a temporary file beside it, then a rename."""
    temporary = place.with_name(f"{place.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.chmod(mode)
    shutil.chown(temporary, user, user)
    temporary.rename(place)
    return place


def append(place: Path, line: str | bytes) -> None:
    """Append a line in one write, as a logger does; bytes go as they are, without an added newline."""
    with place.open("ab", buffering=0) as log:
        log.write(line if isinstance(line, bytes) else f"{line}\n".encode())


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return process_fields(pid)[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def process_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (state, parent, ...)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def read_pid(place: Path) -> int:
    """The number in a pid file, or 0 as long as it has none."""
    return int(place.read_text() or 0) if place.exists() else 0


def kill(pid: int, number: int = signal.SIGKILL, timeout: float = 10) -> None:
    """Signal a process and wait for its end, whoever its parent is."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    wait_for(lambda: not is_alive(pid), timeout, f"the end of process {pid}")


def spawn(
    command: Iterable[object],
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    piped: bool = False,
) -> subprocess.Popen[str]:
    """Start a program in a session of its own, its output in a file or, piped, in the caller's hands with its input."""
    with log.open("a") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else output,
            stderr=output,
            text=True,
            env=environment(env),
            cwd=cwd,
            start_new_session=True,
            umask=0o022,
        )


def listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return True


def http_get(url: str, headers: Mapping[str, str] | None = None, timeout: float = 10) -> tuple[int, str]:
    """Status and body; a status of 400 and above is an answer like any other."""
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def mount_memory(place: Path, size: str, inodes: int = 0, user: str = "zimbra") -> None:
    """Mount a small file system that a test can fill; `umount` it with the program of that name."""
    place.mkdir(parents=True, exist_ok=True)
    owner = f"uid={user},gid={user}"
    run("mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes},mode=755,{owner}", "small", place)


@contextlib.contextmanager
def hung_mount(place: Path) -> Iterator[None]:
    """Mount a file system that never answers, as an NFS server that is gone: whoever asks it waits."""
    if not Path("/dev/fuse").exists():
        absent("no /dev/fuse here; load the kernel module fuse")
    place.mkdir(parents=True, exist_ok=True)
    # Nobody reads the requests that come out of this file.
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40755,user_id=0,group_id=0"
    command = ["mount", "-i", "-t", "fuse", "-o", options, "hung", str(place)]
    try:
        subprocess.run(command, check=True, pass_fds=[device])
        yield
    finally:
        os.close(device)
        run("umount", "--lazy", place)


# -- The ZCS tree --------------------------------------------------------------------------------------------------


class Zcs:
    """The files of a ZCS 10.1 host with a mailbox and an MTA."""

    audit_log = HOME / "log/audit.log"
    mailbox_log = HOME / "log/mailbox.log"
    syslog = SYSLOG

    def __init__(self) -> None:
        make_directories(
            *("bin", "conf", "libexec", "log", "common/bin", "common/conf", "common/sbin", "data/tmp", "zmstat/pid"),
            *("mailboxd/etc", "store/0", "index/0", "backup", "redolog"),
        )
        self.localconfig: dict[str, str] = {}
        self._stand_ins: list[subprocess.Popen[str]] = []
        self.set_localconfig(
            zimbra_home=str(HOME),
            zimbra_server_hostname=HOST,
            zimbra_user="zimbra",
            zimbra_log_directory="${zimbra_home}/log",
            zimbra_mysql_user="zimbra",
            zimbra_mysql_password="pw&<'1>",
            mysql_socket="${zimbra_home}/data/tmp/mysql/mysql.sock",
            mysql_pidfile="${zimbra_log_directory}/mysql.pid",
            mysql_data_directory="${zimbra_home}/db/data",
            mysql_port="7306",
        )
        self.set_services("mailbox", "mta")
        self.set_history("10.1.0.GA.4655.UBUNTU22.64-20240819064312", patch="10.1.4")
        for log in (self.audit_log, self.mailbox_log):
            write(log, "", mode=0o640)
        write(SYSLOG, "", user="zimbra")

    def set_localconfig(self, **keys: str | None) -> None:
        """Set keys of localconfig.xml, or remove those that are None."""
        for key, value in keys.items():
            if value is None:
                self.localconfig.pop(key, None)
            else:
                self.localconfig[key] = value
        entries = "".join(
            f'  <key name="{key}">\n    <value>{escape(value)}</value>\n  </key>\n'
            for key, value in self.localconfig.items()
        )
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n\n<localconfig>\n{entries}</localconfig>\n'
        write(HOME / "conf/localconfig.xml", text, mode=0o640)

    def set_services(self, *names: str) -> None:
        """The values of zimbraServiceEnabled, where zmconfigd and zmcontrol write them."""
        write(HOME / "conf/stats.conf", "".join(f"service {name}\n" for name in names))
        write(HOME / "log/.zmcontrol.cache", "".join(f"{name}\n" for name in [*names, "zmconfigd"]))

    def set_history(self, version: str, patch: str | None = None, packages: Iterable[str] = ()) -> None:
        """The record that the installer keeps of what it did."""
        names = packages or ("zimbra-core", "zimbra-store", "zimbra-mta", "zimbra-snmp")
        lines = ["INSTALL SESSION START", *(f"INSTALLED {name}-{version}_amd64.deb" for name in names)]
        lines += ["INSTALL SESSION COMPLETE", "CONFIG SESSION START", "CONFIGURED BEGIN", "CONFIGURED END"]
        if patch:
            lines += ["INSTALL SESSION START", f"CONFIGURED patch {patch}", "INSTALL SESSION COMPLETE"]
        text = "".join(f"{1724050000 + number}: {line}\n" for number, line in enumerate(lines))
        write(HOME / ".install_history", text)

    def append_audit(self, line: str | bytes) -> None:
        append(self.audit_log, line)

    def append_mailbox(self, line: str | bytes) -> None:
        append(self.mailbox_log, line)

    def append_syslog(self, line: str | bytes) -> None:
        append(SYSLOG, line)

    def stand_in(self, name: str, pid_file: str = "", user: str = "zimbra") -> int:
        """Start a process that bears the name of a ZCS server, and write its pid file (a path below /opt/zimbra)."""
        program = HOME / "libexec" / name
        if not program.exists():
            shutil.copy("/usr/bin/sleep", program)
        command = [*as_user(user), program, "infinity"]
        process = spawn(command, HOME / "log/stand-in.out")
        self._stand_ins.append(process)
        comm = Path(f"/proc/{process.pid}/comm")
        wait_for(lambda: comm.read_text().strip() == name[:15], 5, f"a process named {name}")
        if pid_file:
            make_directories(str(Path(pid_file).parent))
            write(HOME / pid_file, f"{process.pid}\n", mode=0o640)
        return process.pid

    def end_stand_ins(self) -> None:
        while self._stand_ins:
            process = self._stand_ins.pop()
            process.kill()
            process.wait()


# -- Postfix -------------------------------------------------------------------------------------------------------

MAIN_CF = f"""\
compatibility_level = 3.6
queue_directory = {HOME}/data/postfix/spool
data_directory = {HOME}/data/postfix/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = {HOST}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
disable_dns_lookups = yes
smtpd_peername_lookup = no
biff = no
alias_maps =
alias_database =
local_recipient_maps =
relayhost = [127.0.0.1]:2
smtpd_recipient_restrictions = check_recipient_access inline:{{{{hold@example.net=HOLD by a rule}},
    {{active@example.net=FILTER silent:[127.0.0.1]:2526}}}}, permit_mynetworks, reject
default_process_limit = 8
maillog_file = {SYSLOG}
"""

# No pickup service: what sendmail submits stays in maildrop.
MASTER_CF = """\
127.0.0.1:25 inet n - n - - smtpd
127.0.0.1:2525 inet n - n - - smtpd
    -o cleanup_service_name=long-ids
cleanup unix n - n - 0 cleanup
long-ids unix n - n - 0 cleanup
    -o enable_long_queue_ids=yes
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
silent unix - - n - 1 smtp
    -o smtp_helo_timeout=1h
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A real Postfix with ZCS's spool, logging to /var/log/zimbra.log. Its configuration covers /etc/postfix."""

    spool = HOME / "data/postfix/spool"
    config = HOME / "common/conf"

    def __init__(self) -> None:
        make_directories("data/postfix/spool", user="root")
        make_directories("data/postfix/data", user="postfix")
        shutil.chown(self.config, "root", "root")
        shutil.copytree("/etc/postfix", self.config, dirs_exist_ok=True, symlinks=True)
        write(self.config / "main.cf", MAIN_CF, user="root")
        write(self.config / "master.cf", MASTER_CF, user="root")
        run("mount", "--bind", self.config, "/etc/postfix")
        # While no master runs, Postfix's commands log there themselves, as user postfix.
        shutil.chown(SYSLOG, "zimbra", "postfix")
        SYSLOG.chmod(0o664)
        # Connects and never says a word, so what goes there stays in the active queue.
        self._silent = socket.create_server(("127.0.0.1", 2526))
        self.start()

    def start(self) -> None:
        run("postfix", "start")
        wait_for(lambda: listens(25), 20, "Postfix on port 25")

    def stop(self) -> None:
        run("postfix", "stop")

    def fill(
        self,
        deferred: int = 0,
        hold: int = 0,
        active: int = 0,
        maildrop: int = 0,
        size: int = 2000,
        long_ids: bool = False,
    ) -> None:
        """Send messages and wait until each lies in its queue. Sizes differ a little from message to message.

        Long ids are as with enable_long_queue_ids; the next start of Postfix makes them short.
        """
        wanted = {"deferred": deferred, "hold": hold, "active": active, "maildrop": maildrop}
        before = self.count()
        with smtplib.SMTP(
            "127.0.0.1", 2525 if long_ids else 25, local_hostname="client.example.com", timeout=60
        ) as client:
            for queue in ("deferred", "hold", "active"):
                for number in range(wanted[queue]):
                    client.sendmail("user@example.com", [f"{queue}@example.net"], self._message(number, size))
        for number in range(maildrop):
            run("sendmail", "-f", "user@example.com", "maildrop@example.net", text=self._message(number, size))

        def arrived() -> bool:
            now = self.count()
            settled = not now.get("incoming", 0)
            return settled and all(now.get(q, 0) - before.get(q, 0) >= n for q, n in wanted.items())

        wait_for(arrived, 60, f"{wanted} more messages, beside {before}")

    @staticmethod
    def _message(number: int, size: int) -> str:
        line = "y" * 70 + "\r\n"
        return f"Subject: number {number}\r\n\r\n{line * (size // 72)}{'z' * (number % 60)}\r\n"

    def showq(self) -> list[dict[str, Any]]:
        """What `postqueue -j` lists."""
        return [json.loads(line) for line in run("postqueue", "-j").split("\n") if line]

    def count(self) -> dict[str, int]:
        """Messages by queue, of the queues that have any."""
        counts: dict[str, int] = {}
        for entry in self.showq():
            counts[entry["queue_name"]] = counts.get(entry["queue_name"], 0) + 1
        return counts

    def path(self, queue_id: str) -> Path:
        """The queue file of a message."""
        queues = ("incoming", "active", "deferred", "hold", "corrupt", "maildrop")
        found = [file for queue in queues for file in (self.spool / queue).rglob(queue_id)]
        if not found:
            raise AssertionError(f"{queue_id} is in no queue")
        return found[0]

    def age(self, queue_id: str, seconds: int) -> None:
        """Make a message older, by its arrival record; do so before a reader has seen the file."""
        place = self.path(queue_id)
        before = place.stat()
        with place.open("r+b") as file:
            found = re.search(rb"T.(\d{10}) \d+", file.read(4096), re.DOTALL)
            assert found, f"{place} has no arrival record"
            file.seek(found.start(1))
            file.write(b"%010d" % (int(found[1]) - seconds))
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))

    def flush(self) -> None:
        """Try to deliver everything deferred now."""
        run("postqueue", "-f")

    def delete(self, *queue_ids: str) -> None:
        run("postsuper", "-d", "-", text="".join(f"{queue_id}\n" for queue_id in queue_ids))

    def hold(self, *queue_ids: str) -> None:
        run("postsuper", "-h", "-", text="".join(f"{queue_id}\n" for queue_id in queue_ids))

    def release(self, *queue_ids: str) -> None:
        run("postsuper", "-H", "-", text="".join(f"{queue_id}\n" for queue_id in queue_ids))

    def clear(self, queue: str | None = None) -> None:
        """Delete all messages, or those of one queue, and wait until they are gone."""
        if queue is None and (
            drops := [entry["queue_id"] for entry in self.showq() if entry["queue_name"] == "maildrop"]
        ):
            self.delete(*drops)
        run("postsuper", "-d", "ALL", *([queue] if queue else []))
        wait_for(lambda: not (self.count().get(queue, 0) if queue else self.count()), 20, "an empty queue")

    def close(self) -> None:
        self._silent.close()
        if is_alive(read_pid(self.spool / "pid/master.pid")):
            kill(read_pid(self.spool / "pid/master.pid"), signal.SIGTERM)


# -- MariaDB -------------------------------------------------------------------------------------------------------

# The shell between init and the server; unlike the true one it starts nothing again.
MYSQLD_SAFE = f"""\
#!/bin/sh
{HOME}/common/sbin/mysqld "$@" &
wait
"""


class Server:
    """One MariaDB server: its data, its socket, and the mysqld_safe above it."""

    def __init__(self, name: str, data: str, place: str, pid_file: str, port: int) -> None:
        self.data = HOME / data
        self.socket = HOME / place
        self.pid_file = HOME / pid_file
        self.port = port
        self.config = HOME / f"conf/{name}"
        self._safe: subprocess.Popen[str] | None = None
        make_directories(data, str(Path(place).parent))
        write(
            self.config,
            f"[mysqld]\nbasedir = /usr\ndatadir = {self.data}\nsocket = {self.socket}\npid-file = {self.pid_file}\n"
            f"bind-address = 127.0.0.1\nport = {port}\ninnodb_buffer_pool_size = 64M\ninnodb_log_file_size = 16M\n"
            f"innodb_flush_log_at_trx_commit = 0\nmax_connections = 110\nslow_query_log = 1\nlong_query_time = 1\n"
            f"slow_query_log_file = {HOME}/log/myslow.log\n",
            mode=0o640,
        )
        run(
            *("mariadb-install-db", f"--defaults-file={self.config}", "--skip-test-db"),
            "--auth-root-authentication-method=normal",
            user="zimbra",
        )

    @property
    def pid(self) -> int:
        """The server process."""
        return read_pid(self.pid_file)

    def start(self, *options: str) -> None:
        """Start it as mysqld_safe does; options go onto the server's command line (`--max-connections=10`)."""
        errors = HOME / "log/mysql_error.log"
        command = [
            *as_user("zimbra"),
            HOME / "common/bin/mysqld_safe",
            f"--defaults-file={self.config}",
            f"--datadir={self.data}",
            f"--pid-file={self.pid_file}",
            f"--socket={self.socket}",
            f"--port={self.port}",
            *options,
        ]
        self._safe = spawn(command, errors)
        wait_for(self._answers, 30, f"MariaDB on {self.socket}; see {errors}")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.socket))
            return bool(client.recv(4))

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """Crash it; socket and pid file stay behind."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._safe is not None:
            kill(self.pid, number, timeout=30)
            self._safe.wait(10)
            self._safe = None

    def execute(self, sql: str) -> str:
        """Run SQL as root of the database; rows come back tab-separated."""
        return run("mariadb", "--no-defaults", "-S", self.socket, "-uroot", "-BN", text=sql)


class MariaDb(Server):
    """The server of the mailbox, with the account ZCS has, and ways to a second one."""

    def __init__(self, zcs: Zcs) -> None:
        sbin = HOME / "common/sbin"
        for name in ("mysqld", "mariadbd"):
            (sbin / name).symlink_to(shutil.which("mariadbd") or name)
        write(HOME / "common/bin/mysqld_safe", MYSQLD_SAFE, mode=0o755)
        super().__init__("my.cnf", "db/data", "data/tmp/mysql/mysql.sock", "log/mysql.pid", 7306)
        self.user = zcs.localconfig["zimbra_mysql_user"]
        self.password = zcs.localconfig["zimbra_mysql_password"]
        self._others: list[int] = []
        self._started: list[subprocess.Popen[str]] = []
        self._antispam: Server | None = None
        self.start()
        password = self.password.replace("\\", "\\\\").replace("'", "''")
        for host in ("localhost", "127.0.0.1"):
            account = f"{self.user}@'{host}'"
            self.execute(f"CREATE USER {account} IDENTIFIED BY '{password}'; GRANT ALL ON *.* TO {account}")
        self.execute("CREATE DATABASE zimbra; CREATE TABLE zimbra.mailbox (id INT PRIMARY KEY) ENGINE=InnoDB")

    def status(self) -> dict[str, str]:
        """What `mysqladmin extended-status` prints, as user zimbra."""
        account = (f"-u{self.user}", f"-p{self.password}")
        table = run("mariadb-admin", "--no-defaults", "-S", self.socket, *account, "extended-status")
        rows = (line.split("|") for line in table.splitlines() if line.startswith("| "))
        status = {row[1].strip(): row[2].strip() for row in rows}
        del status["Variable_name"]
        return status

    def start_second(self, parent: Parent = "shell", name: str = "mysqld") -> int:
        """A second, real server on the same data directory, with the engines off that would refuse it.

        Args:
            parent: A child of this process, of a mysqld_safe of its own, or of process 1.
            name: The command name, `mysqld` or `mariadbd`.
        """
        place = scratch("second", "zimbra")
        server: list[str | Path] = [HOME / "common/sbin" / name]
        options = [
            *("--no-defaults", f"--datadir={self.data}", f"--socket={place}/sock", f"--pid-file={place}/pid"),
            *("--skip-networking", "--skip-grant-tables", "--innodb=OFF", "--default-storage-engine=MyISAM"),
            f"--aria-log-dir-path={place}",
        ]
        if parent == "mysqld_safe":
            assert name == "mysqld", "mysqld_safe starts mysqld"
            server = [HOME / "common/bin/mysqld_safe"]
        elif parent == "init":
            server = ["sh", "-c", '"$@" & exit 0', "sh", *server]
        self._started.append(spawn([*as_user("zimbra"), *server, *options], place / "log"))
        if parent == "init":
            self._started[-1].wait(10)
        wait_for((place / "sock").exists, 30, f"a second server; see {place}/log")
        self._others.append(read_pid(place / "pid"))
        return self._others[-1]

    def start_antispam(self) -> Server:
        """The other instance of ZCS, which has data of its own and is no duplicate."""
        if self._antispam is None:
            base = "data/amavisd/mysql"
            self._antispam = Server("antispam-my.cnf", f"{base}/data", f"{base}/mysql.sock", f"{base}/mysql.pid", 7308)
        if not is_alive(self._antispam.pid):
            self._antispam.start()
        return self._antispam

    def stop_others(self) -> None:
        """End all second servers and the antispam instance."""
        for pid in self._others:
            kill(pid)
        for process in self._started:
            process.wait(10)
        self._others.clear()
        self._started.clear()
        if self._antispam is not None:
            self._antispam.kill9()

    def close(self) -> None:
        self.stop_others()
        self.kill9()


# -- JVMs ----------------------------------------------------------------------------------------------------------

MANAGER = f"""\
#!/bin/sh
exec 3<&0
"$@" <&3 &
echo $$ >{HOME}/log/zmmailboxd_manager.pid
echo $! >{HOME}/log/zmmailboxd_java.pid
wait
"""


JSTAT = HOME / "common/bin/jstat"


def jdk() -> Path:
    """The programs of JDK 17, as ZCS has it; another version calls C functions (setuid) by another name."""
    found = sorted(Path("/usr/lib/jvm").glob("java-17-*/bin/javac"))
    if not found:
        absent("no JDK 17 here; install the package openjdk-17-jdk-headless")
    return found[0].parent


class Jvm:
    """A real JVM that allocates and collects on command, with the command line and pid file of one of ZCS's."""

    def __init__(
        self, before: Sequence[str | Path], arguments: Sequence[str | Path], pid_file: str, owner: str
    ) -> None:
        self.pid_file = HOME / pid_file
        self.owner = owner
        self._before = before
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        return read_pid(self.pid_file)

    @property
    def perf_file(self) -> Path:
        """Its hsperfdata."""
        return Path(f"/tmp/hsperfdata_{self.owner}/{self.pid}")

    def start(self, gc: str, *options: str) -> None:
        """Start with a collector (G1, Parallel, Serial, Z, Shenandoah) and more options of the JVM."""
        flags = [f"-XX:+Use{gc}GC", *options]
        self.pid_file.unlink(missing_ok=True)
        self._process = spawn(
            [*self._before, HOME / "common/bin/java", *flags, *self._arguments],
            HOME / "log" / f"{self.pid_file.stem}.out",
            # Here and not among the arguments, which are those of ZCS.
            env={"JDK_JAVA_OPTIONS": "--add-modules=jdk.incubator.foreign --enable-native-access=ALL-UNNAMED"},
            piped=True,
        )
        self._expect("ready")
        self._started(self._process.pid)

    def _started(self, pid: int) -> None:
        write(self.pid_file, f"{pid}\n", mode=0o640)

    def command(self, word: str, number: int = 0) -> str:
        """Tell it what to do and wait until it is done.

        Args:
            word: `keep` and `churn` allocate that many megabytes, to hold or to drop; `free`, `collect`; `setuid`.
            number: The megabytes or the user.

        Returns:
            `ok` or `out of memory`.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word} {number}\n")
        self._process.stdin.flush()
        return self._expect("ok", "out of memory")

    def _expect(self, *answers: str) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if answer not in answers:
            raise AssertionError(f"the JVM said {answer!r}; see {self.pid_file.stem}.out in {HOME}/log")
        return answer

    def kill9(self) -> None:
        """Crash it; pid file and hsperfdata stay behind."""
        if self._process is not None:
            kill(self.pid)
            self._end()

    def stop(self) -> None:
        """End it as a JVM ends, which removes its hsperfdata (where its user still may), then its pid file."""
        if self._process is not None:
            kill(self.pid, signal.SIGTERM)
            self._end()
            self.pid_file.unlink()

    def _end(self) -> None:
        assert self._process is not None
        # Closes the pipes as well.
        with self._process:
            pass
        self._process = None

    def jstat(self, option: str) -> dict[str, float]:
        """One line of jstat by column; a column that this collector lacks (`-`) is left out."""
        header, values = (line.split() for line in run(JSTAT, f"-{option}", str(self.pid)).splitlines())
        return {name: float(value) for name, value in zip(header, values, strict=True) if value != "-"}


class Mailboxd(Jvm):
    """Starts as root below zmmailboxdmgr and becomes zimbra, so its hsperfdata belongs to root."""

    manager_pid_file = HOME / "log/zmmailboxd_manager.pid"

    def __init__(self) -> None:
        write(HOME / "libexec/zmmailboxdmgr", MANAGER, user="root", mode=0o755)
        start = HOME / "common/jetty_home/start.jar"
        super().__init__(
            [HOME / "libexec/zmmailboxdmgr"],
            ["-Dfile.encoding=UTF-8", "-Xms64m", "-Xmx64m", "-jar", start, HOME / "mailboxd/etc/jetty.xml"],
            "log/zmmailboxd_java.pid",
            "root",
        )

    def start(self, gc: str = "G1", *options: str) -> None:
        super().start(gc, *options)

    def _started(self, pid: int) -> None:
        wait_for(lambda: self.pid, 5, "the pid file of mailboxd")
        self.command("setuid", (HOME / "log").stat().st_uid)

    def stop(self) -> None:
        super().stop()
        self.manager_pid_file.unlink()


class Zmconfigd(Jvm):
    """Runs as zimbra throughout."""

    def __init__(self) -> None:
        classes = HOME / "common/jetty_home/start.jar"
        super().__init__(
            as_user("zimbra"),
            [
                *("-Xmx64m", f"-Dzimbra.home={HOME}", "-cp", classes),
                *("org.python.util.jython", HOME / "libexec/zmconfigd"),
            ],
            "log/zmconfigd.pid",
            "zimbra",
        )

    def start(self, gc: str = "Parallel", *options: str) -> None:
        super().start(gc, *options)


class Jvms:
    """The two JVMs of every mailbox host, both started."""

    def __init__(self) -> None:
        make_directories("common/jetty_home")
        for program in ("java", "jstat"):
            (HOME / "common/bin" / program).symlink_to(jdk() / program)
        place = scratch("classes")
        sources = sorted(JAVA_SOURCES.rglob("*.java"))
        run(jdk() / "javac", "--add-modules", "jdk.incubator.foreign", "-d", place, *sources)
        jar = HOME / "common/jetty_home/start.jar"
        run(jdk() / "jar", "--create", "--file", jar, "--main-class", "lab.Lever", "-C", place, ".")
        self.mailboxd = Mailboxd()
        self.zmconfigd = Zmconfigd()
        self.mailboxd.start()
        self.zmconfigd.start()

    def close(self) -> None:
        self.mailboxd.kill9()
        self.zmconfigd.kill9()


# -- snmptrapd -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class V3User:
    """A user of SNMPv3 as the receiver knows it.

    Attributes:
        engine_id: The sender's, in hexadecimal, for traps; None for informs, where the receiver's own counts.
    """

    name: str
    auth: str = "SHA"
    auth_password: str = "authpass12"
    priv: str = "AES"
    priv_password: str = "privpass12"
    engine_id: str | None = None


class Snmptrapd:
    """A real trap receiver: one line per notification in a file, named by the given MIBs.

    Args:
        mib_dirs: Where modules are looked for, besides those in ZCS_MIB_PATH and of Debian.
        mibs: The modules to load.
        users: The SNMPv3 users to accept, at authPriv only.
        community: The SNMPv1 and v2c community to accept.
        host: The address to listen on.
        handler: A program that it runs for each notification, before it acknowledges.
    """

    _begin, _end, _separator = "\x1d", "\x1e", "\x1f"

    def __init__(
        self,
        mib_dirs: Iterable[str | Path] = (),
        mibs: Iterable[str] = (),
        users: Iterable[V3User] = (),
        community: str = "public",
        host: str = "127.0.0.1",
        handler: str = "",
        port: int = 0,
    ) -> None:
        self.port = port or free_port(socket.SOCK_DGRAM)
        self.host = host
        self.community = community
        self.directory = scratch("snmptrapd")
        self._log = self.directory / "received"
        paths = [*map(str, mib_dirs), *filter(None, [os.environ.get("ZCS_MIB_PATH")]), "/usr/share/snmp/mibs"]
        self._mibs = ["-M", ":".join(paths), "-m", ":".join(mibs)]
        listen = f"udp6:[{host}]:{self.port}" if ":" in host else f"udp:{host}:{self.port}"
        may = "log,execute" if handler else "log"
        lines = [f"snmpTrapdAddr {listen}", f"authCommunity {may} {community}"]
        if handler:
            lines.append(f"traphandle default {handler}")
        for user in users:
            lines += [self._create(user), f"authUser {may} {user.name} priv"]
        # %P is the kind of PDU with its version and user, %B the sender, %v the variables.
        layout = f"{self._begin}%V{self._separator}%P{self._separator}%B{self._separator}%v{self._end}\\n"
        lines.append(f"format2 {layout}")
        # Version 1 has its own fields: enterprise, generic and specific number, and the address of the sender.
        trap = f"uptime = %T{self._separator}trap = %N:%w:%q:%a{self._separator}%v"
        lines.append(f"format1 {layout.replace('%v', trap)}")
        (self.directory / "snmptrapd.conf").write_text("".join(f"{line}\n" for line in lines))
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, or start again: engine id, boots and what was received stay."""
        command = [
            *("snmptrapd", "-f", "-C", "-c", self.directory / "snmptrapd.conf", "-A", "-Lf", self._log),
            *("-OQtS", "-p", self.directory / "pid", *self._mibs),
        ]
        self._process = spawn(
            command,
            self.directory / "output",
            env={"SNMP_PERSISTENT_DIR": str(self.directory / "persistent"), "SNMPCONFPATH": str(self.directory)},
        )
        udp = Path("/proc/net/udp6" if ":" in self.host else "/proc/net/udp")
        wait_for(lambda: f":{self.port:04X} " in udp.read_text(), 10, f"snmptrapd; see {self.directory}/output")

    @staticmethod
    def _create(user: V3User) -> str:
        engine = f"-e 0x{user.engine_id} " if user.engine_id else ""
        keys = f'{user.auth} "{user.auth_password}" {user.priv} "{user.priv_password}"'
        return f"createUser {engine}{user.name} {keys}"

    def add_user(self, user: V3User) -> None:
        """Know a user at the next start, or one that there is under another engine id."""
        append(self.directory / "snmptrapd.conf", self._create(user))

    def forget(self) -> None:
        """Lose engine id and boots, as one that was installed anew."""
        shutil.rmtree(self.directory / "persistent")

    def lost(self) -> int:
        """Datagrams that the kernel dropped because the receiver did not read fast enough."""
        rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
        return sum(int(row[-1]) for row in rows if row[1].endswith(f":{self.port:04X}"))

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def received(self) -> list[dict[str, str]]:
        """All notifications, oldest first, by the name of each variable without module and final `.0`.

        `trap` is the name of the notification, `pdu` its kind, version and user, `source` who sent it.
        """
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return [self._parse(record) for record in re.findall(f"{self._begin}([^{self._end}]*){self._end}", text)]

    def _parse(self, record: str) -> dict[str, str]:
        pdu, source, *variables = record.split(self._separator)
        pairs = [variable.partition(" = ")[::2] for variable in variables]
        # The first two are always these, and have no names without the IETF's modules.
        (_, uptime), (_, trap), *rest = pairs
        found = {"trap": self._name(trap), "pdu": pdu, "source": source, "sysUpTime": uptime}
        return found | {self._name(name): self._text(value) for name, value in rest}

    @staticmethod
    def _name(name: str) -> str:
        return name.rpartition("::")[2].removesuffix(".0")

    @staticmethod
    def _text(value: str) -> str:
        if len(value) > 1 and value[0] == value[-1] == '"':
            return re.sub(r"\\(.)", r"\1", value[1:-1])
        return value

    def wait_received(self, count: int, timeout: float = 20) -> list[dict[str, str]]:
        """Wait for that many notifications in all and return them."""

        def enough() -> list[dict[str, str]] | None:
            found = self.received()
            return found if len(found) >= count else None

        found = wait_for(enough, timeout, f"{count} notifications; there are {len(self.received())}")
        assert found is not None
        return found


# -- Prometheus ----------------------------------------------------------------------------------------------------


class Prometheus:
    """A real Prometheus that scrapes one target and evaluates rules every second.

    Its first scrape comes about 5 s after its start, so let tests share one.
    """

    def __init__(self, target: str, rules: Iterable[str | Path] = (), **job: Any) -> None:
        self.port = free_port()
        self.directory = scratch("prometheus")
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(Path(rule).absolute()) for rule in rules],
            "scrape_configs": [{"job_name": "zcs", "static_configs": [{"targets": [target]}], **job}],
        }
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = [
            *("prometheus", f"--config.file={self.directory}/prometheus.yml"),
            *(f"--storage.tsdb.path={self.directory}/data", f"--web.listen-address=127.0.0.1:{self.port}"),
        ]
        self._process = spawn(command, self.directory / "log")

    def wait_ready(self) -> None:
        wait_for(lambda: self._get("/-/ready")[0] == 200, 20, f"Prometheus; see {self.directory}/log")

    def wait_scraped(self, timeout: float = 20) -> None:
        """Wait for the first successful scrape."""

        def up() -> bool:
            return any(float(sample["value"][1]) == 1 for sample in self.query("up"))

        wait_for(up, timeout, f"a successful scrape; targets: {self.targets()}")

    def _get(self, path: str) -> tuple[int, str]:
        return http_get(f"http://127.0.0.1:{self.port}{path}")

    def _data(self, path: str) -> Any:
        status, body = self._get(f"/api/v1/{path}")
        assert status == 200, body
        return json.loads(body)["data"]

    def alerts(self) -> list[dict[str, Any]]:
        """The pending and firing alerts, with labels, annotations and state."""
        return list(self._data("alerts")["alerts"])

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with the health of their last evaluation."""
        return [rule for group in self._data("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        return list(self._data("targets")["activeTargets"])

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant vector: the samples, each with `metric` and `value`."""
        return list(self._data(f"query?{urllib.parse.urlencode({'query': expression})}")["result"])

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)


# -- The exporter --------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Exporter:
    """The installed console script, run as a daemon on the lab's host.

    Attributes:
        config: The configuration; state directory and listening address are added where it has none.
        user: root, or zcs-exporter, which is in group zimbra.
        capability: Whether zcs-exporter has CAP_DAC_READ_SEARCH (and nothing else in any case).
        strace: Run it under strace, so that `executed` tells which programs it started.
        env: More environment variables.
    """

    config: dict[str, Any] = field(default_factory=dict)
    user: Literal["root", "zcs-exporter"] = "root"
    capability: bool = True
    strace: bool = False
    env: Mapping[str, str] = field(default_factory=dict)

    program = Path(sys.executable).parent / "zcs-exporter"

    def __post_init__(self) -> None:
        self.directory = scratch("exporter", self.user)
        self.log_file = self.directory / "log"
        self.config_file = self.directory / "config.yaml"
        self._trace = self.directory / "trace"
        self._process: subprocess.Popen[str] | None = None
        state = self.directory / "state"
        state.mkdir(mode=0o700)
        shutil.chown(state, self.user, self.user)
        self.config.setdefault("state", {}).setdefault("directory", str(state))
        self.address: str = self.config.setdefault("web", {}).setdefault("listen", f"127.0.0.1:{free_port()}")
        self.configure()

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def configure(self) -> None:
        """Write the configuration, after a change of `config`; a running daemon sees it at `reload`."""
        write(self.config_file, yaml.safe_dump(self.config), user=self.user)

    def secrets(self, name: str, content: Mapping[str, Any]) -> str:
        """Write a secrets file of the daemon's user and return its path."""
        return str(write(self.directory / name, yaml.safe_dump(dict(content)), user=self.user, mode=0o600))

    def _prefix(self) -> list[str]:
        if self.user == "root":
            return []
        grant = "-all,+dac_read_search" if self.capability else "-all"
        sets = [f"--inh-caps={grant}", f"--ambient-caps={grant}", f"--bounding-set={grant}"]
        return [*as_user(self.user), *sets, "--no-new-privs"]

    def _may_execute(self) -> None:
        probe = [*self._prefix(), sys.executable, "-c", ""]
        done = subprocess.run(probe, capture_output=True, text=True, check=False, env=environment())
        if done.returncode:
            absent(
                f"{self.user} cannot run {sys.executable} ({done.stderr.strip()}); make the venv of /usr/bin/python3"
            )

    def start(self, wait: bool = True) -> None:
        """Start it on its configuration, and wait until it is ready unless told not to."""
        if self.user != "root":
            self._may_execute()
        command = [*self._prefix(), str(self.program), "run", "--config", str(self.config_file)]
        if self.strace:
            need("strace", "strace")
            command = ["strace", "-f", "-q", "-e", "trace=execve,execveat", "-o", str(self._trace), *command]
        self._process = spawn(command, self.log_file, env=self.env, cwd="/")
        if wait:
            self.wait_ready()

    @property
    def pid(self) -> int:
        """The daemon's process, below strace if that is there."""
        assert self._process is not None, "the exporter is not running"
        return children(self._process.pid)[0] if self.strace else self._process.pid

    def wait_ready(self, timeout: float = 30) -> None:
        """Wait until /-/ready says 200; a daemon that ends instead fails the test with its log."""

        def ready() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(f"the exporter ended with {self._process.returncode}:\n{self.log()}")
            return self.get("/-/ready")[0] == 200

        try:
            wait_for(ready, timeout, "the exporter to be ready")
        except AssertionError as exc:
            exc.add_note(self.log()[-4000:])
            raise

    def log(self) -> str:
        """All it has logged, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def reload(self) -> None:
        """SIGHUP; what comes of it is the test's to wait for."""
        self.signal(signal.SIGHUP)

    def refuse_writes(self, refuse: bool) -> None:
        """Have the kernel refuse every write to a file that it makes (as too large), or no longer."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (0 if refuse else hard, hard))

    def stop(self, timeout: float = 10) -> int:
        """SIGTERM, wait for its end and return its exit code."""
        return self._end(signal.SIGTERM, timeout)

    def kill9(self) -> None:
        self._end(signal.SIGKILL, 10)

    def _end(self, number: int, timeout: float) -> int:
        assert self._process is not None, "the exporter is not running"
        if self._process.poll() is None:
            self.signal(number)
        code = self._process.wait(timeout)
        self._process = None
        return code

    def close(self) -> None:
        """End it if it still runs, however it feels."""
        if self._process is not None:
            self.kill9()

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run another subcommand as the same user with the same configuration, for instance `doctor`."""
        command = [*self._prefix(), str(self.program), *arguments, "--config", str(self.config_file)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment(self.env), cwd="/", timeout=60
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)}: exit {done.returncode}: {done.stderr or done.stdout}")
        return done

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Status and body of a page."""
        return http_get(self.url + path, headers)

    def metrics(self, query: str = "") -> dict[tuple[str, Labels], float]:
        """The /metrics page, read by Prometheus's own parser; a sample that comes twice fails the test."""
        status, body = self.get(f"/metrics{query}")
        assert status == 200, body
        samples: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(body):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in samples, f"{key} twice"
                samples[key] = sample.value
        return samples

    def value(self, name: str, /, **labels: str) -> float | None:
        """One sample by name and all its labels, or None."""
        return self.metrics().get((name, frozenset(labels.items())))

    def alerts(self) -> Any:
        """The alarms that stand, as /api/v1/alerts says with the daemon's token."""
        token = Path(self.config["state"]["directory"], "token").read_text().strip()
        status, body = self.get("/api/v1/alerts", {"Authorization": f"Bearer {token}"})
        assert status == 200, body
        return json.loads(body)["alerts"]

    def executed(self) -> list[str]:
        """The lines of strace about programs that the daemon itself started, its own start not among them."""
        assert self.strace, "not run under strace"
        lines = self._trace.read_text().splitlines()
        own = [number for number, line in enumerate(lines) if f'("{self.program}"' in line]
        assert own, "strace did not see the start of the exporter"
        return [line for line in lines[own[-1] + 1 :] if re.search(r"\bexecve(at)?\(", line)]
