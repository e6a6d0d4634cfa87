"""What the host says of itself: ZCS's settings and its names."""

import contextlib
import socket
from dataclasses import dataclass

from zcs_exporter.contract import CollectError
from zcs_exporter.hostio import Host
from zcs_exporter.localconfig import Localconfig
from zcs_exporter.syslog import log_host_names
from zcs_exporter.text import one_line


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What the host says of itself.

    Attributes:
        localconfig: ZCS's settings; None where they cannot be read.
        hostname: ``zimbra_server_hostname``, else the system's name.
        log_names: The names that syslog may give this host.
    """

    localconfig: Localconfig | None
    hostname: str
    log_names: frozenset[bytes]


def host_settings(host: Host) -> HostSettings:
    """Read what the host says of itself."""
    settings = None
    with contextlib.suppress(OSError, CollectError):
        settings = host.zcs.localconfig()
    name = (settings and settings.get("zimbra_server_hostname")) or socket.gethostname()
    return HostSettings(settings, one_line(name, 253), log_host_names(host))
