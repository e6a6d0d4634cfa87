"""The programs that zcs-exporter is measured beside, started as a site would start them."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from e2e.lab import environment, free_port, kill, scratch, spawn, wait_for

from benchmarks.load import Scraper


class NoPeerError(RuntimeError):
    """A program that a benchmark needs is not installed."""


def need(package: str, program: str) -> str:
    """Return where a program is.

    Raises:
        NoPeerError: It is not installed.
    """
    found = shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
    if found is None:
        raise NoPeerError(f"{program} is missing: apt-get install {package}")
    return found


class Peer:
    """One server with a page of metrics.

    Attributes:
        name: As the tables have it.
        port: Of its page.
    """

    def __init__(self, name: str, command: list[str], port: int, env: Mapping[str, str] | None = None) -> None:
        """Prepare to run ``command``, which listens on ``port``."""
        self.name = name
        self.port = port
        self._command = command
        self._env = env
        self._log = scratch("peer") / "log"
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    def start(self, patience: float = 120) -> None:
        """Start it and wait until it answers with a page."""
        self.launch()
        wait_for(self.answers, patience, lambda: f"{self.name}: {self._log.read_text()[-500:]}", pause=0.002)

    def launch(self) -> None:
        """Start it without waiting."""
        self._process = spawn(self._command, self._log, env=self._env, cwd="/")

    def answers(self) -> bool:
        """Whether it answers with a page."""
        scraper = Scraper(self.port)
        try:
            return bool(scraper.get())
        finally:
            scraper.close()

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            kill(self._process.pid)
            self._process.wait(10)
            self._process = None


def node_exporter() -> Peer:
    """Return node_exporter as it comes."""
    port = free_port()
    program = need("prometheus-node-exporter", "prometheus-node-exporter")
    return Peer("node_exporter", [program, f"--web.listen-address=127.0.0.1:{port}"], port)


def mysqld_exporter(socket: Path, user: str, *, variables: bool = False) -> Peer:
    """Return mysqld_exporter with SHOW GLOBAL STATUS and, if wished, VARIABLES; we do not do the rest that it can."""
    port = free_port()
    program = need("prometheus-mysqld-exporter", "prometheus-mysqld-exporter")
    others = [
        "slave_status",
        *(f"info_schema.{name}" for name in ("innodb_cmp", "innodb_cmpmem", "query_response_time")),
    ]
    off = [f"--no-collect.{name}" for name in (others if variables else ["global_variables", *others])]
    command = [program, *off, f"--web.listen-address=127.0.0.1:{port}"]
    name = "mysqld_exporter with variables" if variables else "mysqld_exporter"
    return Peer(name, command, port, {"DATA_SOURCE_NAME": f"{user}@unix({socket})/"})


def postfix_exporter(spool: Path, log: Path) -> Peer:
    """Return postfix_exporter on ZCS's spool and log."""
    port = free_port()
    program = need("prometheus-postfix-exporter", "prometheus-postfix-exporter")
    paths = [f"--postfix.showq_path={spool}/public/showq", f"--postfix.logfile_path={log}"]
    return Peer("postfix_exporter", [program, *paths, f"--web.listen-address=127.0.0.1:{port}"], port)


def mtail(programs: Path, *logs: Path) -> Peer:
    """Return mtail following logs."""
    port = free_port()
    sources = [part for log in logs for part in ("--logs", str(log))]
    command = [need("mtail", "mtail"), "--progs", str(programs), *sources, "--port", str(port)]
    return Peer("mtail", [*command, "--address", "127.0.0.1", "--logtostderr"], port)


def snmpd() -> Peer:
    """Return snmpd; it has no page, so use ``launch``."""
    place = scratch("snmpd")
    (place / "snmpd.conf").write_text("rocommunity public 127.0.0.1\n", encoding="ascii")
    port = free_port()
    program = need("snmpd", "snmpd")
    command = [program, "-f", "-C", "-c", str(place / "snmpd.conf"), "-Lf", str(place / "log")]
    return Peer("snmpd", [*command, "-p", str(place / "pid"), f"udp:127.0.0.1:{port}"], port)


def run_once(*command: str) -> None:
    """Run a program to its end and throw away what it prints."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
