"""Space and inodes of each file system, what ZCS keeps on it, and whether it still answers.

Measured are the file systems on devices whose name begins with ``/``, and whatever carries a directory of ZCS, of
any type. A file system that is mounted at several places is listed once, where ``df`` lists it. Of more than 200 those
that ZCS writes on are published first, then the root; that some are left out is said.

Mounts named in ZCS's ``zmstat_df_excludes`` are measured like others, but publish no used ratio, forecast or
state, so that no alert can be about them; ZCS itself only notes them. The same holds for read-only file systems on
which ZCS does not write, such as a mounted image: they are full by nature.

The read-only state is that of the first process of the host, because a service's own view is often read-only.

Source: ``/proc/1/mountinfo``, ``/etc/fstab``, localconfig.xml, statvfs(3) of each mount.
Privileges: those of a member of group zimbra with CAP_DAC_READ_SEARCH, for mounts below closed directories.
Cost: one statvfs per mount every 15 s, in a thread that is shared while all answer at once; forecasts every 5 minutes.
"""

import asyncio
import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, TypeVar

from collectors.filesystem.history import WEEK, FillHistory
from collectors.filesystem.layout import (
    DIRECTORIES,
    Filesystem,
    KnownMounts,
    Settings,
    row_name,
    row_parts,
    select_filesystems,
)
from collectors.formats.mountinfo import Mount, MountTable, is_below, normal, parse_fstab, parse_mountinfo
from zcs_exporter.blocking import Begun, BlockingCall
from zcs_exporter.contract import (
    GRANT,
    Clock,
    CollectError,
    CollectorConfig,
    Finding,
    Kind,
    Metric,
    Reason,
    Sample,
    Shortfall,
    doing,
    os_error,
)
from zcs_exporter.hostio import FilesystemUsage, Host
from zcs_exporter.localconfig import Localconfig

T = TypeVar("T")

_MOUNT = ("device", "fstype", "mountpoint")

SIZE = Metric("zcs_filesystem_size_bytes", Kind.GAUGE, "Size of the file system.", labels=_MOUNT)
AVAIL = Metric("zcs_filesystem_avail_bytes", Kind.GAUGE, "Room left for users other than root.", labels=_MOUNT)
FREE = Metric("zcs_filesystem_free_bytes", Kind.GAUGE, "Room left, the part kept for root included.", labels=_MOUNT)
FILES = Metric("zcs_filesystem_files", Kind.GAUGE, "Inodes; absent where their number is not fixed.", labels=_MOUNT)
FILES_FREE = Metric("zcs_filesystem_files_free", Kind.GAUGE, "Inodes that are free.", labels=_MOUNT)
READONLY = Metric("zcs_filesystem_readonly", Kind.GAUGE, "1 if nothing can be written there.", labels=_MOUNT)
VITAL = Metric(
    "zcs_filesystem_vital",
    Kind.GAUGE,
    "1 if ZCS writes there and the mount is not excluded from alerts.",
    labels=_MOUNT,
)
USED_RATIO = Metric(
    "zcs_filesystem_used_ratio",
    Kind.GAUGE,
    "Share of the space that is used, as df computes it; absent for mounts excluded from alerts.",
    labels=("mountpoint",),
)
FILES_USED_RATIO = Metric(
    "zcs_filesystem_files_used_ratio",
    Kind.GAUGE,
    "Share of the inodes that are used; absent for mounts excluded from alerts.",
    labels=("mountpoint",),
)
URGENT = Metric(
    "zcs_filesystem_urgent",
    Kind.GAUGE,
    "1 if ZCS writes there and the space lasts less than 4 hours, or less than 5 GiB is left.",
    labels=("mountpoint",),
)
FILES_URGENT = Metric(
    "zcs_filesystem_files_urgent",
    Kind.GAUGE,
    "1 if ZCS writes there and the inodes last less than 4 hours, or less than 1 % is left.",
    labels=("mountpoint",),
)
FULL_SECONDS = Metric(
    "zcs_filesystem_full_seconds",
    Kind.GAUGE,
    "Seconds until the resource (space, inodes) is used up; absent when it is not filling, below 70 % used, or when "
    "too little of its past is known.",
    labels=("mountpoint", "resource"),
)
ROLE = Metric(
    "zcs_filesystem_role", Kind.GAUGE, "1 for each thing that ZCS keeps there.", labels=("mountpoint", "role")
)
DEVICE_ERROR = Metric(
    "zcs_filesystem_device_error",
    Kind.GAUGE,
    "1 while the file system cannot be asked for its usage, by reason.",
    labels=("mountpoint", "reason"),
)
UNUSABLE = Metric(
    "zcs_filesystem_unusable",
    Kind.GAUGE,
    "1 while a file system on which ZCS writes does not answer, or answers with an error.",
    labels=("mountpoint",),
)
VANISHED = Metric(
    "zcs_filesystem_vanished",
    Kind.GAUGE,
    "1 while a file system that ZCS needs is not mounted, although fstab lists it or it was mounted before.",
    labels=("mountpoint",),
)

SHORT_HORIZON = 4 * 3600.0
LEAST_ROOM = 5 * 2.0**30
LEAST_FILES = 0.01
FORECAST_FROM = 0.7

# What the caller may not see is no fault of the disk.
_UNSEEN = frozenset({errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_ERRORS = {errno.EACCES: "permission", errno.EPERM: "permission", errno.EIO: "io", errno.ESTALE: "stale"}

_LOCATE_AGAIN = 300.0


def used_ratio(usage: FilesystemUsage) -> float | None:
    """Return used / (used + available), which df rounds up to a percentage; None where there is nothing to use."""
    used = usage.blocks - usage.blocks_free
    total = used + usage.blocks_available
    return used / total if total > 0 else None


def _of_mount(metric: Metric, mount: Mount, value: float) -> Sample:
    return metric.sample(value, device=mount.source, fstype=mount.fstype, mountpoint=mount.mountpoint)


class FilesystemConfig(CollectorConfig):
    """Options of the file system collector: none of its own."""


class FilesystemCollector:
    """Asks every file system for its usage, each in a call of its own, so that a hung one holds up no other."""

    name: ClassVar[str] = "filesystem"
    metrics: ClassVar[tuple[Metric, ...]] = (
        SIZE,
        AVAIL,
        FREE,
        FILES,
        FILES_FREE,
        READONLY,
        VITAL,
        USED_RATIO,
        FILES_USED_RATIO,
        URGENT,
        FILES_URGENT,
        FULL_SECONDS,
        ROLE,
        DEVICE_ERROR,
        UNUSABLE,
        VANISHED,
    )
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = FilesystemConfig

    def __init__(self, config: FilesystemConfig, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        # The first wait for a mount that hangs must leave the round time to end; later rounds do not wait at all.
        self._patience = min(2.0, (config.interval or self.interval) / 8)
        self._read_tables = BlockingCall("reading mountinfo and fstab")
        self._read_settings = BlockingCall("reading localconfig.xml")
        self._locate_calls: dict[str, BlockingCall] = {}
        self._usage_calls: dict[tuple[str, str], BlockingCall] = {}
        self._mountinfo = b""
        self._table = MountTable(())
        self._fstab: tuple[bytes, Mapping[str, bool]] = (b"", {})
        zcs = host.zcs
        self._default = Settings(tuple((role, normal(zcs.path(place))) for role, _, place in DIRECTORIES))
        self._settings = self._default
        self._loaded: tuple[Localconfig, Settings] | None = None
        self._selected: tuple[tuple[object, ...], list[Filesystem]] = ((), [])
        self._places: dict[str, str | None] = {}
        self._located_for: tuple[object, ...] = ()
        self._located_at = 0.0
        self._histories: dict[tuple[str, str], FillHistory] = {}
        self._known = KnownMounts()
        self._dropped: set[str] = set()

    async def collect(self) -> list[Finding]:
        """Return the usage and state of every file system."""
        # All that was asked for in the last round is asked for at once, so that threads are waited for once.
        tables = self._read_tables.begin(self._tables)
        settings = self._begin(self._read_settings, self._load_settings)
        asked = {self._key(each.mount): self._ask(each.mount) for each in self._selected[1]}
        mountinfo, fstab, findings = await tables.wait()
        own_view = bool(findings)
        if mountinfo != self._mountinfo:
            text = mountinfo.decode("utf-8", "surrogateescape")
            self._mountinfo, self._table = mountinfo, MountTable(parse_mountinfo(text))
        table = self._table
        if not table.mounts:
            raise CollectError(Reason.PARSE, "mountinfo: it lists no mounts")
        self._settings = await self._bounded(settings, self._settings)
        if self._settings.shortfall:
            findings.append(self._settings.shortfall)
        home = normal(self._host.zcs.home)
        named = {path for path in fstab if is_below(path, home)}
        await self._locate(table, mountinfo, named.union(path for _, path in self._settings.directories))
        located = [(role, place) for role, path in self._settings.directories if (place := self._places.get(path))]
        # mount(8) follows symbolic links, so mountinfo has a mount where its path in fstab leads.
        fstab = {self._places.get(path) or path: at_boot for path, at_boot in fstab.items()}
        homes = tuple(dict.fromkeys((home, self._places.get(home) or home)))
        filesystems = self._select(table, located, homes)
        if own_view:
            filesystems = [replace(one, read_only=one.mount.file_system_read_only or None) for one in filesystems]
        for filesystem in filesystems:
            key = self._key(filesystem.mount)
            if key not in asked:
                asked[key] = self._ask(filesystem.mount)
        for filesystem in filesystems:
            findings += await self._measure(filesystem, asked[self._key(filesystem.mount)])
        now = self._clock.wall()
        auto = {path for path, at_boot in fstab.items() if at_boot and any(is_below(path, place) for place in homes)}
        missing = self._known.update(now, table, filesystems, fstab, self._settings.installed)
        mounted = {mount.mountpoint for mount in table.mounts}
        expected = {**missing, **{path: path not in mounted for path in auto - self._settings.excludes}}
        findings += [VANISHED.sample(gone, mountpoint=path) for path, gone in sorted(expected.items())]
        self._forget(now, filesystems)
        return findings

    def _select(self, table: MountTable, located: Sequence[tuple[str, str]], homes: Sequence[str]) -> list[Filesystem]:
        """Return the file systems to watch: the same as before while neither mounts nor settings change."""
        basis = (table, located, homes, self._settings.excludes)
        if basis != self._selected[0]:
            self._selected = (basis, select_filesystems(table, located, homes, self._settings.excludes))
        return self._selected[1]

    def _tables(self) -> tuple[bytes, Mapping[str, bool], list[Finding]]:
        findings: list[Finding] = []
        try:
            with doing("reading /proc/1/mountinfo"):
                raw = self._host.read("/proc/1/mountinfo", 1 << 24)
        except CollectError as exc:
            with doing("reading /proc/self/mountinfo"):
                raw = self._host.read("/proc/self/mountinfo", 1 << 24)
            message = f"{exc}; the mounts are those that the daemon itself sees"
            findings.append(Shortfall(exc.reason, message, exc.remedy))
        try:
            fstab = self._host.read("/etc/fstab")
        except OSError:
            fstab = b""  # some hosts have none, and what was mounted before is still known
        if fstab != self._fstab[0]:
            self._fstab = (fstab, parse_fstab(fstab.decode("utf-8", "surrogateescape")))
        return raw, self._fstab[1], findings

    def _load_settings(self) -> Settings:
        default = self._default
        if not self._host.zcs.present():
            return default
        try:
            with doing("reading localconfig.xml"):
                localconfig = self._host.zcs.localconfig()
        except CollectError as exc:
            lost = f"{exc}; zmstat_df_excludes and moved directories are not known"
            return replace(default, installed=True, shortfall=Shortfall(exc.reason, lost, exc.remedy))
        if self._loaded is not None and localconfig is self._loaded[0]:
            return self._loaded[1]
        moved = [localconfig.get_explicit(key) if key else None for _, key, _ in DIRECTORIES]
        directories = tuple(
            (role, normal(path) if path and path.startswith("/") else place)
            for (role, place), path in zip(default.directories, moved, strict=True)
        )
        excludes = (localconfig.get("zmstat_df_excludes") or "").split(":")
        settings = Settings(directories, frozenset(name.strip() for name in excludes if name.strip()), installed=True)
        self._loaded = (localconfig, settings)
        return settings

    async def _locate(self, table: MountTable, mountinfo: bytes, paths: set[str]) -> None:
        """Find out where paths of ZCS really lead, each in a call of its own, and only now and then."""
        now = self._clock.monotonic()
        basis = (mountinfo, paths)
        if basis == self._located_for and 0 <= now - self._located_at < _LOCATE_AGAIN:
            return
        self._located_for, self._located_at = basis, now
        mounted = {mount.mountpoint for mount in table.mounts}

        async def one(path: str) -> tuple[str, str | None]:
            call = self._locate_calls.setdefault(path, BlockingCall(f"looking for {path}"))
            fallback = self._places.get(path) or (path if path in mounted else None)
            return path, await self._bounded(self._begin(call, lambda: self._place(path)), fallback)

        self._places = dict(await asyncio.gather(*map(one, paths)))

    def _place(self, path: str) -> str | None:
        try:
            return normal(self._host.realpath(path))
        except PermissionError:
            return path  # it may well be there
        except OSError:
            return None

    @staticmethod
    def _begin(call: BlockingCall, function: Callable[[], T]) -> Begun[T] | CollectError:
        try:
            return call.begin(function)
        except CollectError as exc:
            return exc

    async def _bounded(self, begun: Begun[T] | CollectError, otherwise: T) -> T:
        if isinstance(begun, CollectError):
            return otherwise
        try:
            return await begun.wait(self._patience)
        except TimeoutError:
            return otherwise

    @staticmethod
    def _key(mount: Mount) -> tuple[str, str]:
        return mount.mountpoint, mount.device_id

    def _ask(self, mount: Mount) -> Begun[FilesystemUsage] | CollectError:
        place = mount.mountpoint
        call = self._usage_calls.setdefault(self._key(mount), BlockingCall(f"statvfs of {place}"))
        return self._begin(call, lambda: self._host.statvfs(place))

    async def _measure(self, filesystem: Filesystem, asked: Begun[FilesystemUsage] | CollectError) -> list[Finding]:
        mount = filesystem.mount
        place = mount.mountpoint
        findings: list[Finding] = [ROLE.sample(1, mountpoint=place, role=role) for role in sorted(filesystem.roles)]
        findings.append(_of_mount(VITAL, mount, filesystem.vital))
        if filesystem.read_only is not None:
            findings.append(_of_mount(READONLY, mount, filesystem.read_only))
        error: OSError
        try:
            if isinstance(asked, CollectError):
                raise TimeoutError(errno.ETIMEDOUT, str(asked))
            usage = await asked.wait(self._patience)
        except OSError as exc:  # TimeoutError is one
            error = exc
        else:
            if filesystem.vital:
                findings.append(UNUSABLE.sample(0, mountpoint=place))
            return findings + self._usage_samples(filesystem, usage)
        if error.errno in _UNSEEN:
            if self._host.root and error.errno in (errno.ENOENT, errno.ENOTDIR):
                return []  # another host's mount, of which nothing lies below this root
            told = os_error(error, f"statvfs of {place}")
            remedy = (
                told.remedy or "let the daemon see the host's mounts: no PrivateMounts, ProtectHome or own namespace"
            )
            findings.append(Shortfall(Reason.PERMISSION, str(told), remedy or GRANT))
        elif filesystem.vital:
            findings.append(UNUSABLE.sample(1, mountpoint=place))
        reason = "timeout" if isinstance(error, TimeoutError) else _ERRORS.get(error.errno or 0, "other")
        return [*findings, DEVICE_ERROR.sample(1, mountpoint=place, reason=reason)]

    def _usage_samples(self, filesystem: Filesystem, usage: FilesystemUsage) -> list[Sample]:
        mount = filesystem.mount
        place = mount.mountpoint
        samples = []
        if usage.blocks:
            room = float(usage.blocks_available * usage.block_size)
            size = usage.blocks * usage.block_size
            samples += [
                _of_mount(SIZE, mount, size),
                _of_mount(AVAIL, mount, room),
                _of_mount(FREE, mount, usage.blocks_free * usage.block_size),
            ]
            ratio = used_ratio(usage)
            if filesystem.may_fill and ratio is not None:
                soon, seconds = self._forecast(filesystem, "space", room, size, ratio)
                urgent = filesystem.vital and (soon or room < LEAST_ROOM)
                samples += [
                    USED_RATIO.sample(ratio, mountpoint=place),
                    URGENT.sample(urgent, mountpoint=place),
                    *seconds,
                ]
        if usage.files:
            samples += [_of_mount(FILES, mount, usage.files), _of_mount(FILES_FREE, mount, usage.files_free)]
            ratio = (usage.files - usage.files_free) / usage.files
            if filesystem.may_fill:
                soon, seconds = self._forecast(filesystem, "inodes", float(usage.files_free), usage.files, ratio)
                urgent = filesystem.vital and (soon or usage.files_free / usage.files < LEAST_FILES)
                samples += [
                    FILES_USED_RATIO.sample(ratio, mountpoint=place),
                    FILES_URGENT.sample(urgent, mountpoint=place),
                    *seconds,
                ]
        return samples

    def _forecast(
        self, filesystem: Filesystem, resource: str, room: float, size: float, ratio: float
    ) -> tuple[bool, list[Sample]]:
        """Return whether the end is near, and when it is."""
        place = filesystem.mount.mountpoint
        now = self._clock.wall()
        history = self._histories.setdefault((place, resource), FillHistory())
        history.add(now, room, size)
        if ratio < FORECAST_FROM:
            return False, []
        soon = history.short_estimate(now, room)
        near = soon is not None and soon <= SHORT_HORIZON
        if filesystem.only_backups:
            # Backups come by night or by week, so a few hours of one say nothing about their volume.
            seconds = history.long_estimate(now, room)
        else:
            seconds = soon if near else history.estimate(now, room)
        return near, [] if seconds is None else [FULL_SECONDS.sample(seconds, mountpoint=place, resource=resource)]

    def _forget(self, now: float, filesystems: Sequence[Filesystem]) -> None:
        shown = {filesystem.mount.mountpoint for filesystem in filesystems}
        live = {self._key(filesystem.mount) for filesystem in filesystems}
        for key, history in list(self._histories.items()):
            if key[0] not in shown and now - history.last > WEEK:
                del self._histories[key]
                self._dropped |= {row_name("recent", *key), row_name("hours", *key)}
        for place, call in list(self._usage_calls.items()):
            if place not in live and call.hung_for is None:
                del self._usage_calls[place]

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over histories and known mounts; a row that cannot be read is left out."""
        for row, text in saved.items():
            kind, names = row_parts(row)
            try:
                if kind == "known" and len(names) == 1:
                    self._known.restore(names[0], text)
                elif kind == "recent" and len(names) == 2:
                    self._histories.setdefault((names[0], names[1]), FillHistory()).restore_recent(text)
                elif kind == "hours" and len(names) == 2:
                    self._histories.setdefault((names[0], names[1]), FillHistory()).restore_hours(text)
            except (ValueError, TypeError):
                self._dropped.add(row)

    def changes(self) -> Mapping[str, str | None]:
        """Return the histories and known mounts that changed."""
        rows: dict[str, str | None] = dict.fromkeys(self._dropped)
        self._dropped.clear()
        for key, history in self._histories.items():
            if history.recent_changed:
                rows[row_name("recent", *key)] = history.saved_recent()
            if history.hours_changed:
                rows[row_name("hours", *key)] = history.saved_hours()
            history.recent_changed = history.hours_changed = False
        return rows | self._known.changes()
