"""Reads ZCS's ``localconfig.xml``: ``<key name="..."><value>..</value></key>`` below ``<localconfig>``.

Only keys that were set explicitly are in the file; every other key has a default compiled into ZCS,
and ``${other_key}`` in either is expanded by the same rule.
"""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping

from zcs_exporter.contract import CollectError, Reason

DEFAULTS: Mapping[str, str] = {
    "zimbra_home": "/opt/zimbra",
    "zimbra_log_directory": "${zimbra_home}/log",
    "zimbra_tmp_directory": "${zimbra_home}/data/tmp",
    "zimbra_db_directory": "${zimbra_home}/db",
    "zimbra_store_directory": "${zimbra_home}/store",
    "zimbra_index_directory": "${zimbra_home}/index",
    "zimbra_user": "zimbra",
    "zimbra_mysql_user": "zimbra",
    "zimbra_mysql_password": "secret",
    "mysql_directory": "${zimbra_home}/mysql",
    "mysql_data_directory": "${zimbra_db_directory}/data",
    "antispam_mysql_enabled": "false",
    "antispam_mysql_data_directory": "${zimbra_home}/data/amavisd/mysql/data",
    "antispam_mysql_socket": "${zimbra_home}/data/amavisd/mysql/mysql.sock",
    "antispam_mysql_user": "zimbra",
    "mailboxd_directory": "${zimbra_home}/mailboxd",
    "zmstat_log_directory": "${zimbra_home}/zmstat",
    "zmstat_interval": "30",
    "zmstat_disk_interval": "600",
    "zmstat_df_excludes": "",
    "zmdisklog_warn_threshold": "85",
    "zmdisklog_critical_threshold": "95",
    "zmconfigd_interval": "60",
}
"""Compiled-in defaults of the keys that are read here, those of ZCS's LC class.

Keys that ZCS compiles no default in for (``snmp_notify``, ``smtp_destination``, ...) exist only in the file.
"""

# <value>${zimbra_home}/log</value>
_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_]+)\}")
_MAX_DEPTH = 32
_MAX_EXPANSIONS = 1000


class Localconfig:
    """The settings of one moment; immutable."""

    def __init__(self, explicit: Mapping[str, str]) -> None:
        self._explicit = dict(explicit)

    def get(self, key: str) -> str | None:
        """Return the expanded value of ``key``, explicit or default; None where ZCS has neither.

        An unknown or circular reference is left as it stands, as ZCS shows it.
        """
        return self._expand(key, frozenset(), [_MAX_EXPANSIONS])

    def get_explicit(self, key: str) -> str | None:
        """Return the expanded value only if the site set it."""
        return self.get(key) if key in self._explicit else None

    def number(self, key: str) -> float | None:
        """Return the site's own value of ``key`` as a finite number; None where unset or not one."""
        value = self.get_explicit(key)
        try:
            number = float(value) if value is not None else math.nan
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    def is_on(self, key: str) -> bool:
        """Whether Perl takes ``key`` for true, as ZCS's scripts do: anything but empty and ``0``, so ``no`` is on."""
        return self.get(key) not in (None, "", "0")

    def _expand(self, key: str, within: frozenset[str], left: list[int]) -> str | None:
        value = self._explicit.get(key, DEFAULTS.get(key))
        if value is None or "${" not in value:
            return value

        def expand(match: re.Match[str]) -> str:
            if match[1] in within or match[1] == key or len(within) >= _MAX_DEPTH or left[0] <= 0:
                return match[0]
            # Each level may repeat the one below it: without a bound, twenty keys could ask for 10^20 characters.
            left[0] -= 1
            found = self._expand(match[1], within | {key}, left)
            return match[0] if found is None else found

        return _REFERENCE.sub(expand, value)


def parse_localconfig(data: bytes) -> Localconfig:
    """Parse the file's content.

    Raises:
        CollectError: It is not XML, or its root is not ``localconfig``.
    """
    try:
        root = ET.fromstring(data)  # noqa: S314 - ZCS's own file; expat bounds entity expansion
    except (ET.ParseError, ValueError, LookupError) as exc:
        raise CollectError(Reason.PARSE, f"localconfig.xml: {exc}") from exc
    if root.tag != "localconfig":
        raise CollectError(Reason.PARSE, f"localconfig.xml: the root element is {root.tag!r}, not 'localconfig'")
    explicit = {}
    for element in root.iter("key"):
        name, value = element.get("name"), element.find("value")
        if name and value is not None:
            explicit[name] = value.text or ""
    return Localconfig(explicit)
