"""What a ZCS installation says about itself: settings, services, roles.

Source: ``conf/localconfig.xml``, ``conf/stats.conf``, ``log/.zmcontrol.cache``, ``.install_history``.
"""

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from zcs_exporter.localconfig import Localconfig, parse_localconfig

if TYPE_CHECKING:
    from zcs_exporter.hostio import Host

T = TypeVar("T")

ALIASES = frozenset({"service", "zimbra", "zimbraAdmin", "zimlet"})
"""Service names that only repeat ``mailbox``."""

_SERVICE = re.compile(r"[a-z][A-Za-z0-9-]{1,31}")


class _Watched(Generic[T]):
    """A small file parsed again only when another file stands under its name."""

    def __init__(self, parse: Callable[[bytes], T]) -> None:
        self._parse = parse
        self._identity: tuple[int, ...] | None = None
        self._value: T | None = None

    def get(self, host: "Host", path: str) -> T:
        status = host.stat(path)
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if self._value is None or identity != self._identity:
            self._value = self._parse(host.read(path))
            self._identity = identity
        return self._value


class Installation:
    """The ZCS installation below ``home`` on a host.

    Attributes:
        home: ``/opt/zimbra`` unless configured.
    """

    def __init__(self, host: "Host", home: str) -> None:
        self._host = host
        self.home = home.rstrip("/")
        self._localconfig = _Watched(parse_localconfig)
        self._stats_conf = _Watched(parse_stats_conf)
        self._cache = _Watched(parse_service_cache)

    def path(self, relative: str) -> str:
        """Return a path below ``home``."""
        return os.path.join(self.home, relative)

    def present(self) -> bool:
        """Whether ZCS is installed here."""
        return self._host.exists(self.path("conf/localconfig.xml"))

    def localconfig(self) -> Localconfig:
        """Return the settings, with ZCS's compiled-in defaults behind them.

        Raises:
            OSError: The file cannot be read.
            CollectError: It is not a localconfig.
        """
        return self._localconfig.get(self._host, self.path("conf/localconfig.xml"))

    def hostname(self) -> str | None:
        """Return ``zimbra_server_hostname``, the name of this server in LDAP and in its logs; None if unknown."""
        try:
            return self.localconfig().get("zimbra_server_hostname")
        except OSError:
            return None

    def enabled_services(self) -> frozenset[str] | None:
        """Return the values of ``zimbraServiceEnabled`` without aliases, ``zmconfigd`` included; None if unknown.

        ``stats.conf`` is written by zmconfigd, ``.zmcontrol.cache`` by each ``zmcontrol status``.
        """
        for watched, path in ((self._stats_conf, "conf/stats.conf"), (self._cache, "log/.zmcontrol.cache")):
            try:
                services = watched.get(self._host, self.path(path))
            except OSError:
                continue
            if services:
                return services - ALIASES | {"zmconfigd"}
        return None


def parse_stats_conf(data: bytes) -> frozenset[str]:
    """Return the services named by lines ``service NAME``."""
    lines = (line.split() for line in data.decode("utf-8", "replace").splitlines())
    return frozenset(
        words[1] for words in lines if len(words) == 2 and words[0] == "service" and _SERVICE.fullmatch(words[1])
    )


def parse_service_cache(data: bytes) -> frozenset[str]:
    """Return the services of ``.zmcontrol.cache``, one name a line."""
    return frozenset(
        line.strip() for line in data.decode("utf-8", "replace").splitlines() if _SERVICE.fullmatch(line.strip())
    )
