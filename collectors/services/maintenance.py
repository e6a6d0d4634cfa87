"""Whether somebody is at work on the host, so that a stopped service is no surprise.

Three causes, each with an end: ``zmcontrol`` (one of ZCS's control scripts is starting or stopping something),
``install`` (an installation was begun and not completed), ``file`` (an administrator said until when).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from zcs_exporter.contract import MAINTENANCE_FILE, MAINTENANCE_LIMIT, CollectError, Reason
from zcs_exporter.hostio import Process

CAUSES = ("zmcontrol", "install", "file")

INSTALL_LIMIT = 6 * 3600.0
CONTROL_LIMIT = 1800.0

# /opt/zimbra/bin/zmmailboxdctl, /opt/zimbra/bin/zmcontrol, /opt/zimbra/bin/mysql.server
_SCRIPT = re.compile(r"zmcontrol|zm[a-z]+ctl|ldap|postfix|(?:antispam-)?mysql\.server")
# zmconfigdctl leaves a shell behind that watches zmconfigd for as long as that runs, and still carries its name.
_WATCHERS = frozenset({"zmconfigdctl"})
# `zmcontrol status` runs every two minutes from cron, and changes nothing.
_VERBS = frozenset({"start", "startup", "stop", "shutdown", "restart", "reload", "kill", "graceful", "maintenance"})


@dataclass(frozen=True, slots=True)
class ControlRun:
    """A control script at work.

    Attributes:
        script: Its name, such as ``zmcontrol``.
        verbs: What it was told to do.
        start_ticks: Clock ticks from boot to its start.
    """

    script: str
    verbs: frozenset[str]
    start_ticks: int

    @property
    def brings_all_up(self) -> bool:
        """Whether every service should run once it has ended."""
        return self.script == "zmcontrol" and bool(self.verbs & {"start", "startup", "restart", "reload"})


def control_run(process: Process, home: str) -> ControlRun | None:
    """Return what a process does to the services; None for a process that is no control script or changes nothing."""
    # /usr/bin/perl -w /opt/zimbra/bin/zmstatctl start
    for position, word in enumerate(process.argv[:4]):
        directory, _, name = word.rpartition("/")
        if directory == f"{home}/bin" and name not in _WATCHERS and _SCRIPT.fullmatch(name):
            verbs = _VERBS.intersection(process.argv[position + 1 : position + 4])
            return ControlRun(name, verbs, process.start_ticks) if process.alive and verbs else None
    return None


def control_until(runs: Iterable[ControlRun], boot: float, ticks: int, now: float) -> float | None:
    """Return until when control scripts now running count as maintenance; None where none does.

    A script that hangs, or left a shell behind, does not count for ever.
    """
    ends = (boot + run.start_ticks / ticks + CONTROL_LIMIT for run in runs)
    return max((end for end in ends if now < end), default=None)


def install_until(open_since: float | None, now: float) -> float | None:
    """Return until when an installation that began at ``open_since`` counts as maintenance."""
    if open_since is None or not open_since - INSTALL_LIMIT < now < open_since + INSTALL_LIMIT:
        return None
    return open_since + INSTALL_LIMIT


def parse_maintenance_end(data: bytes, now: float) -> float:
    """Parse the maintenance file: ISO 8601 (local time unless it says otherwise), or seconds since the epoch.

    Raises:
        CollectError: It is neither, or lies so far ahead that it cannot be meant.
    """
    text = data.decode("utf-8", "replace").strip()
    try:
        end = (
            float(text) if re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]+)?", text) else datetime.fromisoformat(text).timestamp()
        )
    except (ValueError, OverflowError, OSError) as exc:
        raise CollectError(Reason.PARSE, f"{MAINTENANCE_FILE}: {text[:40]!r} is not a time") from exc
    if end > now + MAINTENANCE_LIMIT:
        raise CollectError(
            Reason.PARSE, f"{MAINTENANCE_FILE}: {text[:40]!r} is more than {MAINTENANCE_LIMIT / 86400:.0f} days ahead"
        )
    return end
