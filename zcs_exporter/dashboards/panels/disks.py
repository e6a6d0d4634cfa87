"""How full the disks are, and until when."""

from zcs_exporter.alerting.policy import THRESHOLD
from zcs_exporter.dashboards.kinds import Column, Graph, Listing
from zcs_exporter.dashboards.terms import Color, Limit, Look, Query, Unit, named, series


def file_systems() -> Listing:
    """Return how full each file system is, and until when."""

    def verdict(metric: str, alert: str) -> str:
        limits = (
            series(THRESHOLD.name, f'alert="{alert}"', f'severity="{severity}"') for severity in ("warning", "critical")
        )
        return " + ".join(f"({series(metric)} >= bool on (job, instance) group_left () {limit})" for limit in limits)

    def each(expression: str, operator: str = "max") -> Query:
        return Query(expr=f"{operator} by (mountpoint) ({expression})")

    space = verdict("zcs_filesystem_used_ratio", "ZcsFilesystemFull")
    inodes = verdict("zcs_filesystem_files_used_ratio", "ZcsFilesystemInodesFull")
    sick = (
        f"3 * ({series('zcs_filesystem_unusable')} == 1)",
        f"4 * ({series('zcs_filesystem_vanished')} == 1)",
    )
    verdicts = " or ".join(
        named(word, "", expression)
        for word, expression in zip(("space", "inodes", "hung", "gone"), (space, inodes, *sick), strict=True)
    )
    state = Look(
        text={
            "0": ("ok", Color.GOOD),
            "1": ("warning", Color.WARNING),
            "2": ("critical", Color.CRITICAL),
            "3": ("no answer", Color.CRITICAL),
            "4": ("vanished", Color.CRITICAL),
        }
    )
    used, full = series("zcs_filesystem_used_ratio"), series("zcs_filesystem_full_seconds")
    end = Look(
        text={"-1": ("no forecast", Color.PLAIN)},
        steps=((None, Color.CRITICAL), (4 * 3600, Color.WARNING), (4 * 86400, Color.PLAIN)),
    )
    return Listing(
        title="How full, and until when",
        description=(
            "Space as df has it. The state is the worse of space and inodes, by the thresholds in force. Full in is "
            "the daemon's forecast; it has none for what is not filling, is below 70 % or has too little history. Not "
            "judged are mounts that are excluded from alerts."
        ),
        width=9,
        queries=(
            each(verdicts),
            each(used),
            each(series("zcs_filesystem_avail_bytes"), "min"),
            each(series("zcs_filesystem_files_used_ratio")),
            # -1 keeps the column where there is no forecast at all.
            Query(expr=f"min by (mountpoint) ({full}) or max by (mountpoint) (0 * {used} - 1)"),
        ),
        columns=(
            Column(of="mountpoint", title="Mount"),
            Column(of=0, title="State", width=80, look=state, filled=True, empty="not judged"),
            Column(of=1, title="Used", width=135, unit=Unit.RATIO, bar=True),
            Column(of=2, title="Left", width=90, unit=Unit.BYTES),
            Column(of=3, title="Inodes", width=75, unit=Unit.RATIO),
            Column(of=4, title="Full in", width=100, unit=Unit.SPAN, look=end, empty="unknown"),
        ),
        runbooks=("ZcsFilesystemFull", "ZcsFilesystemFillingNow", "ZcsFilesystemInodesFull"),
    )


def space() -> Graph:
    """Return the course of the space used."""
    return Graph(
        title="Space",
        description="Share of the space that is used, with the thresholds in force.",
        width=8,
        queries=(Query(expr=series("zcs_filesystem_used_ratio"), legend="{{mountpoint}}"),),
        unit=Unit.RATIO,
        limits=(Limit(alert="ZcsFilesystemFull"),),
        top=1,
        fill=0,
        runbooks=("ZcsFilesystemFull",),
    )


def inodes() -> Graph:
    """Return the course of the inodes used."""
    return Graph(
        title="Inodes",
        description="Share of the inodes that are used, with the thresholds in force.",
        width=8,
        queries=(Query(expr=series("zcs_filesystem_files_used_ratio"), legend="{{mountpoint}}"),),
        unit=Unit.RATIO,
        limits=(Limit(alert="ZcsFilesystemInodesFull"),),
        top=1,
        fill=0,
        runbooks=("ZcsFilesystemInodesFull",),
    )


def room() -> Graph:
    """Return the course of the room left."""
    return Graph(
        title="Room left",
        description="Bytes left for users other than root.",
        width=8,
        queries=(Query(expr=series("zcs_filesystem_avail_bytes"), legend="{{mountpoint}}"),),
        unit=Unit.BYTES,
        log=True,
        fill=0,
    )
