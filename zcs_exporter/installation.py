"""What a ZCS installation says about itself: settings, services, roles.

Source: ``conf/localconfig.xml``, ``conf/stats.conf``, ``log/.zmcontrol.cache``, ``.install_history``.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from zcs_exporter.contract import CollectError
from zcs_exporter.localconfig import Localconfig, parse_localconfig

T = TypeVar("T")

ALIASES = frozenset({"service", "zimbra", "zimbraAdmin", "zimlet"})
"""Service names that only repeat ``mailbox``."""

_SERVICE = re.compile(r"[a-z][A-Za-z0-9-]{1,31}")

# 1396966823: INSTALLED zimbra-core-8.0.7_GA_6021.RHEL6_64-20140408123911.x86_64.rpm
_HISTORY_LINE = re.compile(r"(\d{1,12}): ([A-Z]+) (\S.*)")
# zimbra-core-8.0.7_GA_6021.RHEL6_64-20140408123911.x86_64.rpm, zimbra-core_8.7.0.GA.1659.UBUNTU14.64_amd64.deb,
# zimbra-core-8.0.7_6022 (as an old patch writes it)
_CORE_PACKAGE = re.compile(r"zimbra-core[-_](\d{1,3}\.\d{1,3}\.\d{1,3})[._-].*")
# patch 9.0.0_P39, mta-patch 8.8.15_P44, patch8.0.7
_PATCH = re.compile(r"(?:(?:mta|proxy|ldap)-)?patch[ -]?(\d[\w.]{0,30})")


@dataclass(frozen=True, slots=True)
class InstallHistory:
    """What the installer wrote down.

    Attributes:
        core_version: Version of the zimbra-core package installed last, such as ``8.8.15``; None if not recorded.
        patch: The newest patch level configured since the last installation, as written, such as ``9.0.0_P39``;
            None where there is none.
        open_since: When the installation or configuration now under way began, in seconds since the epoch; None
            when the last one was completed.
    """

    core_version: str | None
    patch: str | None
    open_since: float | None


class Files(Protocol):
    """The little of a ``Host`` that is needed here."""

    def stat(self, path: str) -> os.stat_result:
        """Return the status of what ``path`` leads to."""
        ...

    def read(self, path: str, limit: int = ...) -> bytes:
        """Return the content of a regular file."""
        ...

    def exists(self, path: str) -> bool:
        """Whether ``path`` leads to something."""
        ...


class WatchedFile(Generic[T]):
    """A small file parsed again only when another file stands under its name."""

    def __init__(self, parse: Callable[[bytes], T]) -> None:
        """Take what makes a value of its content."""
        self._parse = parse
        self._identity: tuple[int, ...] | None = None
        self._value: T | None = None

    def get(self, host: Files, path: str) -> T:
        """Return what the file says.

        Raises:
            OSError: It cannot be read.
        """
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

    def __init__(self, host: Files, home: str) -> None:
        self._host = host
        self.home = home.rstrip("/")
        self._localconfig = WatchedFile(parse_localconfig)
        self._stats_conf = WatchedFile(parse_stats_conf)
        self._cache = WatchedFile(parse_service_cache)
        self._history = WatchedFile(parse_install_history)

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
        except (OSError, CollectError):
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

    def history(self) -> InstallHistory:
        """Return what ``.install_history`` tells.

        Raises:
            OSError: It cannot be read.
        """
        return self._history.get(self._host, self.path(".install_history"))


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


def parse_install_history(data: bytes) -> InstallHistory:
    """Parse ``.install_history``: lines ``EPOCH: OP WHAT``; others are passed over.

    An installation session is followed by a configuration session, which stops and starts services as well.
    """
    core: str | None = None
    patches: list[str] = []
    open_since: float | None = None
    for line in data.decode("utf-8", "replace").splitlines():
        entry = _HISTORY_LINE.fullmatch(line.strip())
        if entry is None:
            continue
        at, operation, what = float(entry[1]), entry[2], entry[3]
        if operation in ("INSTALL", "CONFIG") and what == "SESSION START":
            open_since = at
            if operation == "INSTALL":
                patches = []
        elif operation in ("INSTALL", "CONFIG") and what == "SESSION COMPLETE":
            open_since = None
        elif operation in ("INSTALLED", "UPGRADED"):
            package = _CORE_PACKAGE.fullmatch(what)
            core = package[1] if package else core
        elif operation == "CONFIGURED":
            patch = _PATCH.fullmatch(what)
            patches += [patch[1]] if patch else []
    return InstallHistory(core, max(patches, key=version_key, default=None), open_since)


def version_key(version: str) -> tuple[int, ...]:
    """Return the numbers in ``version``, by which versions compare: ``8.8.15_P9`` is before ``8.8.15_P10``."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", version))
