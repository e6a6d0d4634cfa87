"""Reads ``/proc/PID/mountinfo`` and ``/etc/fstab``, and tells which mount a path leads to.

Formats: proc_pid_mountinfo(5), fstab(5). Both write blanks, tabs, newlines and backslashes in names as
three octal digits.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from zcs_exporter.contract import CollectError, Reason

# /mnt/with\040blank
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")

# Since Linux 6.15 an ext4 that stopped writing after an error says so by words of its own.
_READ_ONLY = frozenset({"ro", "emergency_ro", "shutdown"})


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of a mount namespace.

    Attributes:
        mount_id: Names it within the namespace.
        parent_id: The mount it is mounted on.
        device_id: ``major:minor`` of the file system, the same for each of its mounts.
        root: The directory of the file system that shows at the mount point; not ``/`` for most bind mounts.
        mountpoint: As the process sees it; bytes that are not UTF-8 are surrogates.
        options: Of this mount.
        fstype: Such as ``ext4``, ``nfs4`` or ``fuse.sshfs``.
        source: A device, ``server:/export``, or any word.
        super_options: Of the file system, whatever the mount.
    """

    mount_id: int
    parent_id: int
    device_id: str
    root: str
    mountpoint: str
    options: frozenset[str]
    fstype: str
    source: str
    super_options: frozenset[str]

    @property
    def mounted_read_only(self) -> bool:
        """Whether nothing can be written through this mount."""
        return bool(self.options & _READ_ONLY) or self.file_system_read_only

    @property
    def file_system_read_only(self) -> bool:
        """Whether the file system itself takes no writes, through any mount."""
        return bool(self.super_options & _READ_ONLY)


def parse_mountinfo(text: str) -> list[Mount]:
    """Parse mountinfo, in the order of the file.

    Raises:
        CollectError: A line is not as the format says.
    """
    mounts = []
    # Only a newline ends a line; the other characters that splitlines() knows may stand in a name.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        # A source may be empty, so two blanks in a row count.
        mount, dash, file_system = line.partition(" - ")
        fields, rest = mount.split(" "), file_system.split(" ", 2)
        try:
            if not dash:
                raise ValueError("no ' - '")
            mounts.append(
                Mount(
                    mount_id=int(fields[0]),
                    parent_id=int(fields[1]),
                    device_id=fields[2],
                    root=_unescape(fields[3]),
                    mountpoint=_unescape(fields[4]),
                    options=frozenset(fields[5].split(",")),
                    fstype=_unescape(rest[0]),
                    source=_unescape(rest[1]),
                    super_options=frozenset(rest[2].split(",")),
                )
            )
        except (IndexError, ValueError) as exc:
            raise CollectError(Reason.PARSE, f"mountinfo, line {number}: {exc}") from exc
    return mounts


def parse_fstab(text: str) -> Mapping[str, bool]:
    """Return the mount points of fstab, True for those that are mounted at boot.

    Comments and lines without a mount point are passed over, as mount(8) does.
    """
    found = {}
    for line in text.split("\n"):
        # UUID=0a3407de-014b-458b-b5c1-848e92a327a3 /opt/zimbra/store  xfs  defaults,noatime  0 2
        fields = line.split()
        if len(fields) < 2 or fields[0].startswith("#") or not fields[1].startswith("/"):
            continue
        options = fields[3].split(",") if len(fields) > 3 else []
        found[normal(_unescape(fields[1]))] = "noauto" not in options
    return found


def _unescape(name: str) -> str:
    if "\\" not in name:
        return name
    # The digits stand for bytes, of which several may make one character.
    raw = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), name.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


def normal(path: str) -> str:
    """Return ``path`` without doubled or trailing slashes and dots."""
    return posixpath.normpath("/" + path.lstrip("/"))


def is_below(path: str, directory: str) -> bool:
    """Whether ``path`` is ``directory`` or lies below it; both normal."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


class MountTable:
    """The mounts of one moment, and how path names find their way through them."""

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self.mounts = tuple(mounts)
        numbers = {mount.mount_id for mount in self.mounts}
        self._children: defaultdict[tuple[int | None, str], list[Mount]] = defaultdict(list)
        for mount in self.mounts:
            top = mount.parent_id not in numbers or mount.parent_id == mount.mount_id
            self._children[None if top else mount.parent_id, mount.mountpoint].append(mount)

    def at(self, path: str) -> Mount | None:
        """Return the mount in which ``path``, normal and free of symbolic links, lies; None if none does."""
        ways = _ways(path)
        current: Mount | None = None
        passed = set()
        while True:
            parent = current.mount_id if current else None
            # The way down meets the shortest mount point first; of two at one place the later one is on top.
            over = (mount for way in ways for mount in reversed(self._children.get((parent, way), ())))
            below = next((mount for mount in over if mount.mount_id not in passed), None)
            if below is None:
                return current
            current = below
            passed.add(current.mount_id)

    def visible(self) -> list[Mount]:
        """Return the mounts that some path leads to; others are covered by a later mount."""
        return [mount for mount in self.mounts if self.at(mount.mountpoint) is mount]


def _ways(path: str) -> list[str]:
    """Return the directories that lead to ``path``, from the root down to itself."""
    slashes = [place for place, character in enumerate(path) if character == "/" and place]
    return ["/", *(path[:place] for place in slashes), *([path] if path != "/" else [])]
