"""``/proc`` of the made-up host: its processes, mounts, addresses and clock.

Formats: proc(5), proc_pid_mountinfo(5).
"""

import os
from collections.abc import Mapping

from zcs_exporter.contract import Clock
from zcs_exporter.demo.files import Tree
from zcs_exporter.demo.host import Volume
from zcs_exporter.hostio import CLOCK_TICKS

UP_SINCE = 41 * 86400.0
"""Seconds for which the host has been running when the demo begins."""


class ProcessTable:
    """The processes, each a directory of files."""

    def __init__(self, tree: Tree, clock: Clock) -> None:
        """Begin with the first process alone."""
        self._tree = tree
        self._clock = clock
        self._boot = int(clock.wall() - UP_SINCE)
        self._next = 2100
        tree.write("/proc/stat", f"cpu  4812734 1201 1203344 91827364 44120 0 9120 0 0 0\nbtime {self._boot}\n")
        tree.write("/proc/sys/kernel/random/boot_id", "8f2d1f3e-5f3a-4d0c-9a55-6f1f6f0a7d11\n")
        self.keep_time()
        self._put(1, 1, 0, "systemd", ("/sbin/init",), "")

    def keep_time(self) -> None:
        """Let ``/proc/uptime`` go on."""
        self._tree.write("/proc/uptime", f"{self._clock.wall() - self._boot:.2f} {UP_SINCE:.2f}\n")

    def start(self, comm: str, *argv: str, pid_file: str = "", age: float = 0.0, title: str = "") -> tuple[int, float]:
        """Start a process and return its number and when it started, in seconds since the epoch.

        Args:
            comm: Command name.
            argv: Command line.
            pid_file: Where its number is written, if anywhere.
            age: Seconds for which it has been running already.
            title: What it shows in place of its command line.
        """
        pid, self._next = self._next, self._next + 7
        ticks = round((self._clock.wall() - age - self._boot) * CLOCK_TICKS)
        self._put(pid, ticks, 1, comm, argv, title)
        if pid_file:
            self._tree.write(pid_file, f"{pid}\n", 0o640)
        return pid, self._boot + ticks / CLOCK_TICKS

    def kill(self, pid: int) -> None:
        """End a process; its pid file stays, as after a crash."""
        self._tree.remove(f"/proc/{pid}")

    def _put(self, pid: int, ticks: int, ppid: int, comm: str, argv: tuple[str, ...], title: str) -> None:
        fields = f"S {ppid} {pid} {pid} 0 -1 4194560 0 0 0 0 120 40 0 0 20 0 1 0 {ticks} 0 0"
        # The files must belong to the user that a process shows, who is whoever runs this.
        uid = "\t".join([str(os.getuid())] * 4)
        line = title.encode() if title else b"".join(word.encode() + b"\0" for word in argv)
        # A process appears with all its files at once: one that is no number yet is not listed.
        fresh = f"/proc/.fresh-{pid}"
        self._tree.write(f"{fresh}/stat", f"{pid} ({comm[:15]}) {fields}\n")
        self._tree.write(f"{fresh}/cmdline", line)
        self._tree.write(f"{fresh}/status", f"Name:\t{comm[:15]}\nState:\tS (sleeping)\nPid:\t{pid}\nUid:\t{uid}\n")
        os.rename(self._tree.path(fresh), self._tree.path(f"/proc/{pid}"))


def write_mounts(tree: Tree, volumes: Mapping[str, Volume]) -> None:
    """Write the mount table and fstab; in ``volumes`` a mount comes before those that lie on it."""
    mounts, fstab = [], []
    numbers: dict[str, int] = {}
    for number, (mountpoint, volume) in enumerate(volumes.items()):
        above = os.path.dirname(mountpoint)
        while above not in numbers and above != "/":
            above = os.path.dirname(above)
        mounts.append(
            f"{20 + number} {numbers.get(above, 1)} 253:{number} / {mountpoint} rw,relatime"
            f" shared:{number + 1} - ext4 {volume.device} rw,errors=remount-ro"
        )
        numbers[mountpoint] = 20 + number
        fstab.append(f"{volume.device} {mountpoint} ext4 defaults,noatime 0 2")
        tree.make(mountpoint)
    mounts.append("40 20 0:5 / /dev rw,nosuid - devtmpfs udev rw,size=8192k")
    tree.write("/proc/1/mountinfo", "\n".join(mounts) + "\n")
    tree.write("/etc/fstab", "\n".join(fstab) + "\n")


def write_network(tree: Tree, host: str, address: str) -> None:
    """Write the host's name and address."""
    tree.write("/proc/sys/kernel/hostname", host.partition(".")[0] + "\n")
    local = "".join(f"     |-- {own}\n        /32 host LOCAL\n" for own in (address, "127.0.0.1"))
    tree.write("/proc/net/fib_trie", f"Local:\n  +-- 0.0.0.0/0 3 0 5\n{local}")
