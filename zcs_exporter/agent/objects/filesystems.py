"""File systems."""

from collections.abc import Callable

from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.objects.model import Column, Group, Index, Read, Table
from zcs_exporter.agent.objects.readers import MEBI, of_metric, scaled, severity_column, severity_of
from zcs_exporter.alerting.model import Family
from zcs_exporter.snmp.smi import Syntax


def _mount_label(label: str) -> Callable[[Facts, str], Read]:
    def read(facts: Facts, mount: str) -> Read:
        series = facts.series("zcs_filesystem_size_bytes")
        return next((labels[label] for labels, _ in series if labels["mountpoint"] == mount), None)

    return read


def _of_mount(name: str) -> Callable[[Facts, str], Read]:
    return lambda facts, mount: facts.total(name, mountpoint=mount)


def _used(facts: Facts, mount: str) -> Read:
    size, free = (facts.total(f"zcs_filesystem_{name}_bytes", mountpoint=mount) for name in ("size", "free"))
    return None if size is None or free is None else size - free


def _roles(facts: Facts, mount: str) -> Read:
    series = facts.series("zcs_filesystem_role")
    return " ".join(sorted(labels["role"] for labels, value in series if labels["mountpoint"] == mount and value))


def _until_full(facts: Facts, mount: str) -> Read:
    left = [value for labels, value in facts.series("zcs_filesystem_full_seconds") if labels["mountpoint"] == mount]
    return min(left, default=None)


_FILESYSTEMS: Table[str] = Table(
    "zcsFilesystem",
    "The file systems of this host.",
    "One file system.",
    lambda f: f.names("zcs_filesystem_size_bytes", "mountpoint"),
    Index("zcsFilesystemIndex", Syntax.UNSIGNED, "Its number, which it keeps for ever.", str, numbered=True),
    (
        Column("zcsFilesystemMount", 2, Syntax.TEXT, "Where it is mounted.", lambda _, mount: mount),
        Column("zcsFilesystemDevice", 3, Syntax.TEXT, "What is mounted there.", _mount_label("device")),
        Column("zcsFilesystemType", 4, Syntax.TEXT, "Its type, such as xfs.", _mount_label("fstype"), limit=32),
        Column(
            "zcsFilesystemSize",
            5,
            Syntax.GAUGE,
            "Its size.",
            scaled(_of_mount("zcs_filesystem_size_bytes"), 1 / MEBI),
            "mebibytes",
        ),
        Column("zcsFilesystemUsed", 6, Syntax.GAUGE, "Space in use.", scaled(_used, 1 / MEBI), "mebibytes"),
        Column(
            "zcsFilesystemAvailable",
            7,
            Syntax.GAUGE,
            "Room left for users other than root.",
            scaled(_of_mount("zcs_filesystem_avail_bytes"), 1 / MEBI),
            "mebibytes",
        ),
        Column(
            "zcsFilesystemUsedPercent",
            8,
            Syntax.GAUGE,
            "Share of the space that is used, as df computes it. Mounts that alerts leave out have none.",
            scaled(of_metric("zcs_filesystem_used_ratio", "mountpoint"), 100),
            "percent",
        ),
        Column(
            "zcsFilesystemInodesUsedPercent",
            9,
            Syntax.GAUGE,
            "Share of the inodes that are used, where their number is fixed.",
            scaled(of_metric("zcs_filesystem_files_used_ratio", "mountpoint"), 100),
            "percent",
        ),
        Column(
            "zcsFilesystemReadOnly",
            10,
            Syntax.TRUTH,
            "Whether nothing can be written there.",
            _of_mount("zcs_filesystem_readonly"),
        ),
        Column("zcsFilesystemRoles", 11, Syntax.TEXT, "What ZCS keeps there, such as store or redolog.", _roles),
        Column(
            "zcsFilesystemTimeToFull",
            12,
            Syntax.GAUGE,
            "Time until its space or its inodes are used up, if it goes on filling as it does.",
            _until_full,
            "seconds",
        ),
        severity_column("zcsFilesystemSeverity", 13, severity_of(Family.FILESYSTEM, "mountpoint")),
    ),
)

FILESYSTEMS = Group("zcsFilesystems", 3, table=_FILESYSTEMS)
