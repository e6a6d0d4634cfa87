"""What is installed here: release, patch, edition, roles, and settings known to be dangerous.

Source: /var/lib/dpkg/status, .install_history, bin/zmbackupquery (its existence), conf/localconfig.xml,
    conf/stats.conf or log/.zmcontrol.cache below /opt/zimbra.
Privileges: group zimbra for localconfig.xml.
Cost: a few stat calls a minute; files are read when they change.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    Clock,
    CollectError,
    CollectorConfig,
    Finding,
    Kind,
    Metric,
    NotOnThisHost,
    Reason,
    Shortfall,
    doing,
    os_error,
)
from zcs_exporter.hostio import Host
from zcs_exporter.installation import InstallHistory, version_key

INFO = Metric(
    "zcs_info",
    Kind.GAUGE,
    "The installation of ZCS; always 1. A label is empty where the value is not known, or there is no patch.",
    labels=("version", "patch", "edition", "hostname"),
)
ROLE = Metric("zcs_role", Kind.GAUGE, "A role of this server; 1 for each that it has.", labels=("role",))
SNMP_VULNERABLE = Metric(
    "zcs_snmp_notify_vulnerable",
    Kind.GAUGE,
    "Whether ZCS's own SNMP notifications are on in a release before 10.1.20, where a logged line can run commands.",
)

SNMP_NOTIFY = Metric(
    "zcs_snmp_notify_enabled",
    Kind.GAUGE,
    "Whether ZCS sends SNMP notifications itself; a target with compat zimbra then gets each of them twice.",
)

ROLES: dict[str, str] = {
    "mailbox": "mailbox",
    "mta": "mta",
    "ldap": "ldap",
    "proxy": "proxy",
    "imapproxy": "proxy",
    "logger": "logger",
    "memcached": "memcached",
    "imapd": "imapd",
    "dnscache": "dnscache",
    "convertd": "convertd",
    "onlyoffice": "onlyoffice",
}
"""Roles by the enabled service that makes them."""

FIXED_IN = (10, 1, 20)
"""First release in which a status line in the log is no longer given to a shell (CVE-2026-73570)."""

DPKG_STATUS = "/var/lib/dpkg/status"
_DPKG_LIMIT = 64 << 20

# The paragraph reads `Package: zimbra-core`, `Status: install ok installed`, and somewhere below
# `Version: 8.8.15.GA.3869.UBUNTU18.64`.
_CORE_PARAGRAPH = re.compile(rb"^Package: zimbra-core\n((?:[^\n]+\n)*)", re.MULTILINE)
_VERSION_LINE = re.compile(rb"^Version: (?:[0-9]+:)?([0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9])", re.MULTILINE)
_STATUS_INSTALLED = re.compile(rb"^Status: \S+ \S+ installed$", re.MULTILINE)
# 9.0.0_P39
_PATCH_NUMBER = re.compile(r"(\d{1,3}\.\d{1,3})\.\d{1,3}_P(\d{1,4})", re.ASCII)
_DOTTED = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}", re.ASCII)


def parse_dpkg_status(data: bytes) -> str | None:
    """Return the version of the installed package zimbra-core, such as ``8.8.15``.

    None where it is not installed, or its paragraph is not as deb822(5) and dpkg(1) describe.
    """
    paragraph = _CORE_PARAGRAPH.search(data)
    if paragraph is None or not _STATUS_INSTALLED.search(paragraph[1]):
        return None
    version = _VERSION_LINE.search(paragraph[1])
    return version[1].decode("ascii") if version else None


def release(core: str, patch: str | None) -> tuple[str, str]:
    """Return release and patch as ``zmcontrol -v`` shows them.

    Up to 9 the patch stands beside the release; from 10 its number takes the place of the micro number.
    """
    if patch is None or version_key(core) < (10,):
        return core, patch or ""
    numbered = _PATCH_NUMBER.fullmatch(patch)
    if numbered:
        return f"{numbered[1]}.{numbered[2]}", patch
    if _DOTTED.fullmatch(patch):
        return max(core, patch, key=version_key), patch
    return core, patch


@dataclass(frozen=True, slots=True)
class Found:
    """What one look showed; None stands for unknown.

    Attributes:
        snmp_notify: Whether ZCS's SNMP notifications are switched on.
    """

    version: str | None
    patch: str
    network: bool
    hostname: str | None
    services: frozenset[str] | None
    snmp_notify: bool
    shortfalls: tuple[Shortfall, ...]


class ZimbraConfig(CollectorConfig):
    """Options of the zimbra collector."""


class ZimbraCollector:
    """Reads what the installer and zmconfigd left behind."""

    name: ClassVar[str] = "zimbra"
    metrics: ClassVar[tuple[Metric, ...]] = (INFO, ROLE, SNMP_VULNERABLE, SNMP_NOTIFY)
    interval: ClassVar[float] = 60.0
    config_class: ClassVar[type[CollectorConfig]] = ZimbraConfig

    def __init__(self, config: ZimbraConfig, host: Host, clock: Clock) -> None:
        self._host = host
        self._call = BlockingCall("reading the installation of ZCS")
        self._dpkg: tuple[tuple[int, int, int], str | None] | None = None

    async def collect(self) -> Sequence[Finding]:
        """Return release, roles, and whether a dangerous setting is in force."""
        found = await self._call(self._look)
        edition = "network" if found.network else "foss"
        findings: list[Finding] = [
            *found.shortfalls,
            INFO.sample(
                1, version=found.version or "", patch=found.patch, edition=edition, hostname=found.hostname or ""
            ),
        ]
        if found.services is not None:
            roles = sorted({ROLES[service] for service in found.services & ROLES.keys()})
            findings += [ROLE.sample(1, role=role) for role in roles]
        enabled = _enabled(found)
        if enabled is not None:
            findings.append(SNMP_NOTIFY.sample(enabled))
        vulnerable = _vulnerable(found)
        if vulnerable is not None:
            findings.append(SNMP_VULNERABLE.sample(vulnerable))
        return findings

    def _look(self) -> Found:
        zcs = self._host.zcs
        if not zcs.present():
            raise NotOnThisHost(f"no {zcs.path('conf/localconfig.xml')}")
        shortfalls: list[Shortfall] = []
        with doing(f"reading {zcs.path('conf/localconfig.xml')}"):
            settings = zcs.localconfig()
        version, patch = self._release(shortfalls)
        services = zcs.enabled_services()
        if services is None:
            places = f"{zcs.path('conf/stats.conf')} nor {zcs.path('log/.zmcontrol.cache')}"
            shortfalls.append(
                Shortfall(
                    Reason.UNAVAILABLE,
                    f"roles: neither {places} names a service",
                    "start zmconfigd, which writes the one, or run zmcontrol status, which writes the other",
                )
            )
        return Found(
            version,
            patch,
            network=self._host.exists(zcs.path("bin/zmbackupquery")),
            hostname=settings.get("zimbra_server_hostname"),
            services=services,
            snmp_notify=settings.is_on("snmp_notify"),
            shortfalls=tuple(shortfalls),
        )

    def _release(self, shortfalls: list[Shortfall]) -> tuple[str | None, str]:
        path = self._host.zcs.path(".install_history")
        history = InstallHistory(None, None, None)
        trouble: CollectError | None = None
        try:
            history = self._host.zcs.history()
        except FileNotFoundError:
            pass
        except OSError as exc:
            trouble = os_error(exc, f"reading {path}")
        # dpkg knows what is installed now; rpm's database cannot be read without rpm's own programs.
        core = self._dpkg_version() or history.core_version
        if trouble is not None:
            shortfalls.append(Shortfall(trouble.reason, f"patch level: {trouble}", trouble.remedy))
        if core is None:
            shortfalls.append(
                Shortfall(
                    Reason.UNAVAILABLE,
                    f"release: neither {DPKG_STATUS} nor {path} names zimbra-core (an rpm database is not read)",
                    f"restore {path}, which the installer writes",
                )
            )
            return None, history.patch or ""
        return release(core, history.patch)

    def _dpkg_version(self) -> str | None:
        try:
            status = self._host.stat(DPKG_STATUS)
            identity = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._dpkg is None or self._dpkg[0] != identity:
                self._dpkg = (identity, parse_dpkg_status(self._host.read(DPKG_STATUS, _DPKG_LIMIT)))
        except OSError:
            return None
        return self._dpkg[1]


def _enabled(found: Found) -> bool | None:
    """Return whether swatch runs and notifies by SNMP; None if unknown."""
    if not found.snmp_notify:
        return False
    return None if found.services is None else "snmp" in found.services


def _vulnerable(found: Found) -> bool | None:
    """Return whether swatch notifies by SNMP and hands log text to a shell; None if unknown."""
    enabled = _enabled(found)
    if not enabled:
        return enabled
    return None if found.version is None else version_key(found.version) < FIXED_IN
