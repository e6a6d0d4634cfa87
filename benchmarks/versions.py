"""Which versions of the programs beside zcs-exporter a benchmark ran, as they tell them at that time."""

import importlib.metadata
import re
import subprocess
from collections.abc import Iterable, Mapping

_ASKED: Mapping[str, tuple[str, ...]] = {
    "node_exporter": ("prometheus-node-exporter", "--version"),
    "mysqld_exporter": ("prometheus-mysqld-exporter", "--version"),
    # It cannot tell its version itself, so the package does.
    "postfix_exporter": ("dpkg-query", "--show", "--showformat=${Version}", "prometheus-postfix-exporter"),
    "mtail": ("mtail", "--version"),
    "snmpd": ("snmpd", "-v"),
    "pflogsumm": ("pflogsumm", "--version"),
    "postqueue": ("postconf", "-d", "mail_version"),
    "jstat": ("java", "--version"),
    "JMX": ("java", "--version"),
    "find": ("find", "--version"),
}
"""By the first word of a side's name."""

_LIBRARY = "prometheus-client"
_OF_LIBRARY = ("generate_latest", "prometheus_client's")

# node_exporter, version 1.5.0 (branch: debian/sid, revision: 1.5.0-1+b6)
# NET-SNMP version:  5.9.3
_VERSION = re.compile(r"\d+\.\d[\w.~+-]*")


def is_program(side: str) -> bool:
    """Whether a side of a table is a program that has a version, and not our own or a part of it."""
    return _name(side) in _ASKED or _name(side) in _OF_LIBRARY


def versions_of(sides: Iterable[str]) -> dict[str, str]:
    """Return the version of each side by its name in the tables; none where it has none or does not tell it."""
    return {side: found for side in sorted(set(sides)) if (found := _version_of(_name(side)))}


def _name(side: str) -> str:
    return re.split(r"[ ,]", side)[0]


def _version_of(name: str) -> str | None:
    if name in _OF_LIBRARY:
        return importlib.metadata.version(_LIBRARY)
    command = _ASKED.get(name)
    if command is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(done.stdout + done.stderr)
    return found[0] if found else None
