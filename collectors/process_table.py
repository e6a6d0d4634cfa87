"""The processes of the host, and whether one that is not seen is gone."""

from collections.abc import Callable

from zcs_exporter.contract import CollectError, Reason
from zcs_exporter.hostio import Host, Process

_INITIAL_PID_NAMESPACE = 0xEFFFFFFC
_ANEW = 20


class ProcessTable:
    """The processes of the host, each read only while it is new.

    A process is read again on the second look, by when it has become the program it was started for. Every
    twentieth look reads all of them, since a number may have passed to another process between two looks.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[int, tuple[Process | None, bool]] = {}
        self._looks = 0

    def look(self) -> list[Process]:
        """Return the processes that can be seen; what they are was true at some earlier look.

        Raises:
            OSError: ``/proc`` cannot be listed.
        """
        self._looks += 1
        anew = self._looks % _ANEW == 0
        known: dict[int, tuple[Process | None, bool]] = {}
        for name in self._host.listdir("/proc"):
            if not name.isdecimal():
                continue
            pid = int(name)
            before = self._known.get(pid)
            known[pid] = before if before and before[1] and not anew else (self._host.process(pid), before is not None)
        self._known = known
        return [process for process, _ in known.values() if process is not None]

    def find(self, wanted: Callable[[Process], bool]) -> list[Process]:
        """Return the processes that are wanted, as they are now.

        Raises:
            OSError: ``/proc`` cannot be listed.
        """
        now = (self._host.process(process.pid) for process in self.look() if wanted(process))
        return [process for process in now if process is not None and wanted(process)]


def pid_namespace(host: Host) -> int | None:
    """Return the number of the PID namespace looked from; None where unknown."""
    try:
        return host.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def why_unseen(host: Host, seen_from: int | None) -> CollectError | None:
    """Return why a process that is not seen may run all the same; None where it is gone.

    Args:
        host: The host looked at.
        seen_from: The PID namespace from which a process of ZCS was seen before, if that is known.
    """
    if host.process(1) is None:
        return CollectError(
            Reason.PERMISSION,
            "process 1 cannot be seen in /proc, so a process that is not seen need not be gone",
            "mount /proc without hidepid, or with gid= set to a group of this daemon",
        )
    if pid_namespace(host) not in (None, _INITIAL_PID_NAMESPACE, seen_from) and not _runs_zcs(host):
        return CollectError(
            Reason.PERMISSION,
            "no process of ZCS can be seen from this PID namespace, where none ever was",
            "run the daemon in the PID namespace of ZCS (containers: --pid=host)",
        )
    return None


def _runs_zcs(host: Host) -> bool:
    """Return whether some program of ZCS can be seen, whichever: where one is, so would be the others."""
    programs = host.zcs.home + "/"
    processes = (host.process(int(name)) for name in host.listdir("/proc") if name.isdecimal())
    return any(each.alive and each.argv[:1] and each.argv[0].startswith(programs) for each in processes if each)
