"""Stand-ins that tests pass in: a host below a directory, and clocks that only move when told."""

import copy
import os
from pathlib import Path
from typing import TypeVar

from zcs_exporter.contract import Clock
from zcs_exporter.hostio import FilesystemUsage, Host
from zcs_exporter.schema import Section

S = TypeVar("S", bound=Section)


def unchecked(section: S, **changes: object) -> S:
    """Return a copy with other values, such as a file may not have them."""
    other = copy.copy(section)
    vars(other).update(changes)
    return other


class ManualClock:
    """Wall and monotonic time that move together when a test says so."""

    def __init__(self, now: float = 1_709_371_233.0) -> None:
        self.now = now
        self.ticks = 1000.0

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.ticks += seconds

    @property
    def clock(self) -> Clock:
        return Clock(wall=lambda: self.now, monotonic=lambda: self.ticks)


class FakeHost(Host):
    """A host whose files lie below a temporary directory."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.base = root
        self.usage: dict[str, FilesystemUsage | OSError] = {}

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> Path:
        """Write a file at the host's ``path`` by replacement, as ZCS does."""
        target = self.base / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(target.name + ".new")
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)
        fresh.chmod(mode)
        os.replace(fresh, target)
        return target

    def localconfig(self, **keys: str) -> None:
        """Write localconfig.xml with these keys."""
        body = "".join(f'  <key name="{name}">\n    <value>{value}</value>\n  </key>\n' for name, value in keys.items())
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<localconfig>\n{body}</localconfig>\n'
        self.write("/opt/zimbra/conf/localconfig.xml", text, 0o640)

    def services(self, *names: str) -> None:
        """Write stats.conf, by which ZCS names its enabled services."""
        self.write("/opt/zimbra/conf/stats.conf", "".join(f"service {name}\n" for name in names))

    def add_process(
        self, pid: int, comm: str, *argv: str, ppid: int = 1, start_ticks: int = 5000, uid: int = 1000, state: str = "S"
    ) -> None:
        """Add a process to /proc."""
        fields = f"{state} {ppid} {pid} {pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start_ticks} 0 0"
        self.write(f"/proc/{pid}/stat", f"{pid} ({comm}) {fields}\n")
        self.write(f"/proc/{pid}/cmdline", b"".join(arg.encode() + b"\0" for arg in argv))
        self.write(f"/proc/{pid}/status", f"Name:\t{comm}\nState:\t{state}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")

    def statvfs(self, mountpoint: str) -> FilesystemUsage:
        answer = self.usage.get(mountpoint)
        if isinstance(answer, OSError):
            raise answer
        return answer or super().statvfs(mountpoint)
