"""The host that is measured: the lab's real Postfix, MariaDB and JVMs in ZCS's places, and logs that are written to."""

import re
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from e2e.lab import HOME, SYSLOG, Exporter, Jvms, MariaDb, Postfix, Zcs, append, run

from benchmarks import peers
from benchmarks.peers import Peer
from benchmarks.spool_files import SpoolFiles

EXPORTER_ACCOUNT = "exporter"
MTAIL_PROGRAMS = Path(__file__).parent / "mtail"
LOGS = (HOME / "log/audit.log", HOME / "log/mailbox.log", SYSLOG)


class Scene:
    """A ZCS host whose parts are started when they are first asked for, and end with the block."""

    def __init__(self) -> None:
        """Make the tree at /opt/zimbra."""
        self._stack = ExitStack()
        self.zcs = Zcs()
        self._stack.callback(self.zcs.end_stand_ins)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def postfix(self) -> Postfix:
        """Postfix, which lets the queue lie as it is."""
        server = Postfix()
        self._stack.callback(server.close)
        append(server.config / "main.cf", "queue_run_delay = 7d\nminimal_backoff_time = 7d\nmaximal_backoff_time = 7d")
        run("postfix", "reload")
        return server

    @cached_property
    def spool(self) -> SpoolFiles:
        """The deferred queue."""
        return SpoolFiles(self.postfix.spool)

    @cached_property
    def mariadb(self) -> MariaDb:
        """The database server of the mailboxes, with an account for mysqld_exporter."""
        server = MariaDb(self.zcs)
        self._stack.callback(server.close)
        server.execute(
            f"CREATE USER {EXPORTER_ACCOUNT}@localhost; GRANT PROCESS, SELECT ON *.* TO {EXPORTER_ACCOUNT}@localhost"
        )
        return server

    @cached_property
    def jvms(self) -> Jvms:
        """Mailboxd and zmconfigd."""
        machines = Jvms()
        self._stack.callback(machines.close)
        return machines

    def everything(self) -> None:
        """Start all parts."""
        _ = (self.postfix, self.mariadb, self.jvms)

    def exporter(self, **config: Any) -> Exporter:
        """Return our daemon, not yet started, with memory allocated as its systemd unit has it."""
        daemon = Exporter(config=config, env=_allocation())
        self._stack.callback(daemon.close)
        return daemon

    def start(self, *chosen: Peer) -> tuple[Peer, ...]:
        """Start peers; they end with the block."""
        for peer in chosen:
            self._stack.callback(peer.stop)
            peer.start()
        return chosen

    def node_exporter(self) -> Peer:
        """Return node_exporter, not yet started."""
        return peers.node_exporter()

    def mysqld_exporter(self, *, variables: bool = False) -> Peer:
        """Return mysqld_exporter, not yet started."""
        return peers.mysqld_exporter(self.mariadb.socket, EXPORTER_ACCOUNT, variables=variables)

    def postfix_exporter(self) -> Peer:
        """Return postfix_exporter, not yet started."""
        return peers.postfix_exporter(self.postfix.spool, SYSLOG)

    def mtail(self) -> Peer:
        """Return mtail on the three logs, not yet started."""
        return peers.mtail(MTAIL_PROGRAMS, *LOGS)


def _allocation() -> dict[str, str]:
    """Return what the unit tells the C library about memory."""
    text = (Path(__file__).parents[1] / "packaging/systemd/zcs-exporter.service").read_text(encoding="utf-8")
    return dict(re.findall(r"\b(MALLOC_\w+)=(\w+)", text))


def port_of(daemon: Exporter) -> int:
    """Return the port of our page."""
    return int(daemon.address.rpartition(":")[2])
