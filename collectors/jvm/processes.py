"""Which processes are the JVMs of ZCS, by pid file, else by command line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from collectors.process_table import ProcessTable, pid_namespace, why_unseen
from zcs_exporter.contract import CollectError, doing
from zcs_exporter.hostio import Host, Process


@dataclass(frozen=True, slots=True)
class Role:
    """One JVM that ZCS may run.

    Attributes:
        name: The ``jvm`` label.
        pid_file: Below ``/opt/zimbra``; None where ZCS writes none.
        service: The enabled service that calls for it; None where that cannot be known from the services.
    """

    name: str
    pid_file: str | None
    service: str | None


ROLES = (
    Role("mailboxd", "log/zmmailboxd_java.pid", "mailbox"),
    Role("zmconfigd", "log/zmconfigd.pid", "zmconfigd"),
    Role("imapd", "log/imapd.pid", "imapd"),
    Role("license", None, "license-daemon"),
    Role("other", "log/milter.pid", None),
)


def jvm_of(argv: Sequence[str], home: str) -> str | None:
    """Return which JVM of the ZCS below ``home`` was started by this command line; None if none of them."""
    if f"{home}/mailboxd/etc/jetty.xml" in argv:
        return "mailboxd"
    if f"{home}/license/lib/app.jar" in argv:
        return "license"
    if not any(home + "/" in argument for argument in argv):
        return None
    # /opt/zimbra/common/bin/java ... -cp /opt/zimbra/... org.python.util.jython /opt/zimbra/libexec/zmconfigd
    if "org.python.util.jython" in argv:
        return "zmconfigd"
    if "com.zimbra.cs.imap.ImapDaemon" in argv:
        return "imapd"
    return None


class JvmProcesses:
    """Finds the running JVMs again and again, walking ``/proc`` only for those that a pid file does not name."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._table = ProcessTable(host)
        self._walked: dict[str, int] = {}
        self._seen_from: int | None = None

    def find(self, services: frozenset[str] | None) -> dict[str, Process]:
        """Return the running JVMs by label."""
        found: dict[str, Process] = {}
        for role in ROLES:
            process = self._by_pid_file(role) or self._known(role)
            if process is not None and process not in found.values():
                found[role.name] = process
        missing = {role.name for role in ROLES if role.name not in found and self._wanted(role, services)}
        if missing:
            with doing("listing /proc"):
                processes = sorted(self._table.find(_is_java), key=lambda process: process.start_ticks)
            for process in processes:
                name = jvm_of(process.argv, self._host.zcs.home)
                if name in missing:
                    found.setdefault(name, process)
        self._walked = {name: process.pid for name, process in found.items()}
        if found:
            self._seen_from = pid_namespace(self._host)
        return found

    def _by_pid_file(self, role: Role) -> Process | None:
        pid = self._pid_in_file(role)
        process = None if pid is None else self._java(pid)
        # A pid file outlives its process, and its number may be that of another of our JVMs by now.
        return process if process and jvm_of(process.argv, self._host.zcs.home) in (None, role.name) else None

    def _known(self, role: Role) -> Process | None:
        pid = self._walked.get(role.name)
        process = None if pid is None else self._java(pid)
        return process if process and jvm_of(process.argv, self._host.zcs.home) == role.name else None

    def _java(self, pid: int) -> Process | None:
        process = self._host.process(pid)
        return process if process and _is_java(process) else None

    def _wanted(self, role: Role, services: frozenset[str] | None) -> bool:
        if role.service is None:
            return False
        if role.name == "license" and self._host.exists(self._host.zcs.path("license/lib/app.jar")):
            return True
        return services is None or role.service in services

    def _pid_in_file(self, role: Role) -> int | None:
        if role.pid_file is None:
            return None
        try:
            text = self._host.read(self._host.zcs.path(role.pid_file), 64).strip()
        except OSError:
            return None
        return int(text) if re.fullmatch(rb"[1-9][0-9]{0,9}", text) else None

    def why_unseen(self) -> CollectError | None:
        """Return why a JVM that was not found may run all the same; None where it is gone."""
        return why_unseen(self._host, self._seen_from)


def _is_java(process: Process) -> bool:
    return process.alive and process.comm == "java"
