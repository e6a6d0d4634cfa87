"""Which file systems there are, what ZCS keeps on each, and which one is missing."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from collectors.filesystem.history import WEEK
from collectors.formats.mountinfo import Mount, MountTable, is_below
from zcs_exporter.contract import Shortfall

_IGNORED_TYPES = frozenset({"squashfs", "iso9660", "autofs"})
# Two subvolumes have the same numbers, but df shows both, and so do we.
_SUBVOLUMES = frozenset({"btrfs"})

DIRECTORIES = (
    ("store", "zimbra_store_directory", "store"),
    ("index", "zimbra_index_directory", "index"),
    ("db", "zimbra_db_directory", "db"),
    ("db", "mysql_data_directory", "db/data"),
    ("redolog", None, "redolog"),
    ("backup", None, "backup"),
    ("spool", None, "data/postfix/spool"),
    ("ldap", None, "data/ldap"),
    ("log", "zimbra_log_directory", "log"),
    ("zmstat", "zmstat_log_directory", "zmstat"),
    ("home", None, ""),
)
"""Role, the localconfig key that may move it, and its place below the ZCS home."""

_NOT_VITAL = frozenset({"root", "other"})
_SETTLED = 3600.0


@dataclass(frozen=True, slots=True)
class Filesystem:
    """One file system, whichever of its mounts ``df`` would show.

    Attributes:
        mount: That mount.
        roles: What ZCS keeps there; ``root`` for the root of the host, ``other`` for something unknown below its home.
        read_only: Whether the shown mount, or one that carries a role, takes no writes; None if unknown.
        excluded: Whether ZCS's settings exclude it from alerts.
        role_mountpoints: The mounts that ZCS's own directories lead to.
    """

    mount: Mount
    roles: frozenset[str]
    read_only: bool | None
    excluded: bool
    role_mountpoints: frozenset[str] = frozenset()

    @property
    def vital(self) -> bool:
        """Whether ZCS writes there and somebody wants to hear about it."""
        return bool(self.roles - _NOT_VITAL) and not self.excluded

    @property
    def only_backups(self) -> bool:
        """Whether ZCS keeps nothing else there."""
        return self.roles - _NOT_VITAL == {"backup"}

    @property
    def may_fill(self) -> bool:
        """Whether its filling up can be news."""
        return not self.excluded and (self.vital or not self.read_only)


@dataclass(frozen=True, slots=True)
class Settings:
    """What ZCS and the host's own files say about mounts.

    Attributes:
        directories: Role and path, as configured.
        excludes: Mount points and devices that ZCS leaves out of its disk alerts.
        installed: Whether the home holds a ZCS.
    """

    directories: tuple[tuple[str, str], ...]
    excludes: frozenset[str] = frozenset()
    installed: bool = False
    shortfall: Shortfall | None = None


def select_filesystems(
    table: MountTable, located: Iterable[tuple[str, str]], homes: Sequence[str], excludes: frozenset[str]
) -> list[Filesystem]:
    """Return the file systems to watch: those that ZCS writes on, the root, then others, each in order of mount point.

    Of more than are published the last are left out.

    Args:
        table: All mounts.
        located: Role and real path of the directories of ZCS that exist.
        homes: The ZCS home, as named and as it really is.
        excludes: Mount points and devices excluded from alerts.
    """
    carried: defaultdict[int, set[str]] = defaultdict(set)
    for role, path in located:
        carrier = table.at(path)
        if carrier is not None:
            carried[carrier.mount_id].add(role)
    groups: defaultdict[tuple[str, str], list[Mount]] = defaultdict(list)
    for mount in table.visible():
        below_home = any(is_below(mount.mountpoint, home) for home in homes)
        if mount.fstype in _IGNORED_TYPES:
            continue
        if mount.source.startswith("/") or mount.mount_id in carried or below_home:
            if below_home and mount.mount_id not in carried:
                carried[mount.mount_id].add("other")
            subvolume = mount.root if mount.fstype in _SUBVOLUMES else ""
            groups[mount.device_id, subvolume].append(mount)
    found = []
    for mounts in groups.values():
        shown = min(mounts, key=lambda mount: (len(mount.root), len(mount.mountpoint), mount.mountpoint))
        carriers = [mount for mount in mounts if carried[mount.mount_id] - _NOT_VITAL]
        roles = {role for mount in mounts for role in carried[mount.mount_id]}
        if len(roles) > 1:
            roles.discard("other")
        if any(mount.mountpoint == "/" for mount in mounts):
            roles.add("root")
        found.append(
            Filesystem(
                mount=shown,
                roles=frozenset(roles),
                read_only=any(mount.mounted_read_only for mount in (shown, *carriers)),
                excluded=any(not excludes.isdisjoint((mount.mountpoint, mount.source)) for mount in mounts),
                role_mountpoints=frozenset(mount.mountpoint for mount in carriers),
            )
        )
    return sorted(found, key=lambda one: (not one.vital, not one.roles, one.mount.mountpoint))


class KnownMounts:
    """The mounts that ZCS had and fstab does not mention, so that one of them can be missed.

    A mount in fstab needs no memory: it is missed while fstab lists it. One that came and went within an hour was
    somebody's work; one that is gone for a week is given up. Nothing is missed while the ZCS home itself is not
    there, as on the passive node of a cluster; nor what an automounter brings and takes away.
    """

    def __init__(self) -> None:
        self._since: dict[str, tuple[float, float | None]] = {}
        self._changed: dict[str, str | None] = {}

    def update(
        self,
        now: float,
        table: MountTable,
        filesystems: Iterable[Filesystem],
        fstab: Mapping[str, bool],
        installed: bool,
    ) -> dict[str, bool]:
        """Take note of what is mounted now, and return whether each known mount is missing."""
        mounted = {mount.mountpoint for mount in table.mounts}
        automatic = [mount.mountpoint for mount in table.mounts if mount.fstype == "autofs"]
        excluded = {path for one in filesystems if one.excluded for path in one.role_mountpoints}
        for path in {path for one in filesystems if one.vital for path in one.role_mountpoints} - {"/"}:
            if path not in fstab and path not in self._since and not any(is_below(path, above) for above in automatic):
                self._set(path, (now, None))
        missing = {}
        for path, (first, gone) in list(self._since.items()):
            if path in fstab or path in excluded:
                self._set(path, None)
            elif path in mounted:
                missing[path] = False
                if gone is not None:
                    self._set(path, (first, None))
            elif installed:
                if gone is None:
                    gone = now
                    self._set(path, (first, gone))
                missing[path] = gone - first >= _SETTLED
                if not missing[path] or now - gone > WEEK:
                    self._set(path, None)
                    del missing[path]
        return missing

    def _set(self, path: str, times: tuple[float, float | None] | None) -> None:
        if times is None:
            self._since.pop(path, None)
            self._changed[row_name("known", path)] = None
        else:
            self._since[path] = times
            first, gone = times
            self._changed[row_name("known", path)] = f"{first!r}" if gone is None else f"{first!r} {gone!r}"

    def restore(self, path: str, text: str) -> None:
        """Take over what ``changes`` once returned for ``path``.

        Raises:
            ValueError: It is not that.
        """
        first, *gone = (float(word) for word in text.split())
        self._since[path] = (first, gone[0] if gone else None)

    def changes(self) -> dict[str, str | None]:
        """Return the rows that changed since the last call."""
        changed, self._changed = self._changed, {}
        return changed


def row_name(kind: str, *names: str) -> str:
    """Return the name under which something about ``names`` is saved; any bytes may stand in them."""
    return " ".join((kind, *(quote(name, safe="/", errors="surrogateescape") for name in names)))


def row_parts(row: str) -> tuple[str, list[str]]:
    """Return what ``row_name`` put together."""
    kind, *names = row.split(" ")
    return kind, [unquote(name, errors="surrogateescape") for name in names]
