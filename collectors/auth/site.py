"""What the ``auth`` collector has to know of the host and its cluster before it can judge a line."""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass

from collectors.auth.client import Address, Network, Servers, parse_fib_trie, parse_if_inet6
from zcs_exporter.contract import GRANT, CollectError, Reason, Shortfall, os_error
from zcs_exporter.hostio import Host

DEFAULT_SECONDS = 60
_LONGEST_SECONDS = 3600
_SECONDS_KEY = "zimbra_swatch_threshold_seconds"
_FIB_LIMIT = 8 << 20  # a host with a full routing table lists a million prefixes; it is then not read

AUDIT_LOGS = ("log/audit.log", "log/imapd-audit.log")
MAILBOX_LOGS = ("log/mailbox.log", "log/imapd.log")
PROXY_LOG = "log/nginx.log"
SYSLOG = "/var/log/zimbra.log"


@dataclass(frozen=True, slots=True)
class Site:
    """The host and its settings at one moment.

    Attributes:
        present: Logs that exist.
        readable: Those that can be read.
        window_seconds: Length of the checks' windows.
        servers: Servers of this cluster and trusted proxies, which are nobody's client address.
        cluster: Servers of this cluster alone.
        sasl_over_7071: Up to 8.6 saslauthd asks the port of the administration console.
        is_mta: Whether Postfix belongs to this host's services; True where that is not known.
        names_in_audit: Unknown names must be taken from audit.log, since mailbox.log cannot be read.
    """

    present: tuple[str, ...]
    readable: tuple[str, ...]
    window_seconds: int
    servers: Servers
    cluster: Servers
    sasl_over_7071: bool
    is_mta: bool
    names_in_audit: bool = False
    shortfalls: tuple[Shortfall, ...] = ()


UNSEEN = Site(
    present=(),
    readable=(),
    window_seconds=DEFAULT_SECONDS,
    servers=Servers((), ()),
    cluster=Servers((), ()),
    sasl_over_7071=False,
    is_mta=False,
)
"""What is taken for granted of a host that nobody has looked at."""


def log_paths(host: Host) -> tuple[str, ...]:
    """Return the logs that tell of logins, by their names on the host."""
    return (*(host.zcs.path(name) for name in (*AUDIT_LOGS, *MAILBOX_LOGS, PROXY_LOG)), SYSLOG)


def read_site(host: Host, trusted_proxies: Sequence[Network], cluster_servers: Sequence[Network]) -> Site:
    """Look at the host; what cannot be read is a shortfall beside the default."""
    shortfalls = []
    present, readable = [], []
    for path in log_paths(host):
        try:
            os.close(host.open(path))
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTDIR):
                present.append(path)
                error = os_error(exc, f"opening {path}")
                shortfalls.append(Shortfall(error.reason, str(error), error.remedy))
        else:
            present.append(path)
            readable.append(path)
    window = DEFAULT_SECONDS
    try:
        settings = host.zcs.localconfig()
        seconds = settings.number(_SECONDS_KEY)
        if seconds is not None and 1 <= seconds <= _LONGEST_SECONDS:
            window = int(seconds)
        elif settings.get_explicit(_SECONDS_KEY) is not None:
            message = f"localconfig: {_SECONDS_KEY} is not a number from 1 to {_LONGEST_SECONDS}; {window} is used"
            shortfalls.append(Shortfall(Reason.PARSE, message, f"zmlocalconfig -e {_SECONDS_KEY}={window}"))
    except PermissionError as exc:
        shortfalls.append(Shortfall(Reason.PERMISSION, f"reading localconfig.xml: {exc.strerror}", GRANT))
    except CollectError as exc:
        shortfalls.append(Shortfall(exc.reason, str(exc), exc.remedy))
    except OSError:
        pass  # no ZCS here, or none left: the logs that are there still count
    own = _own_addresses(host)
    services = host.zcs.enabled_services()
    return Site(
        present=tuple(present),
        readable=tuple(readable),
        window_seconds=window,
        servers=Servers(own, (*cluster_servers, *trusted_proxies)),
        cluster=Servers(own, cluster_servers),
        # 8.7 moved the third-party programs of ZCS to common/ and gave saslauthd a port of its own.
        sasl_over_7071=host.zcs.present() and not host.exists(host.zcs.path("common")),
        is_mta=services is None or "mta" in services,
        names_in_audit=host.zcs.path(AUDIT_LOGS[0]) in readable and host.zcs.path(MAILBOX_LOGS[0]) not in readable,
        shortfalls=tuple(shortfalls),
    )


def _own_addresses(host: Host) -> frozenset[Address]:
    found: frozenset[Address] = frozenset()
    for path, parse in (("/proc/net/fib_trie", parse_fib_trie), ("/proc/net/if_inet6", parse_if_inet6)):
        try:
            found |= parse(host.read_text(path, _FIB_LIMIT))
        except OSError:
            continue  # without IPv6, or hidden: addresses in the configuration still count
    return found
