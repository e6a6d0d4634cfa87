"""How many threads and database connections mailboxd may have at most.

ZCS keeps the limits of its thread pools in LDAP. That of HTTP is written to jetty.xml by zmconfigd; the servers with a
thread for each connection (LMTP always, POP3 and IMAP where they are set so) log theirs when they start and when they
run short. There is no such place for the others, and no default is assumed: the site may say what it set.
"""

import re
from collections.abc import Mapping

from zcs_exporter.contract import CollectError, Reason, doing
from zcs_exporter.hostio import Host

DB_DEFAULT = 100
"""Size of the pool where the site sets no ``zimbra_mysql_connector_maxActive``: ZCS's own constant."""

# <Set name="maxThreads" type="int">250</Set>
_JETTY = re.compile(r'<Set\s+name="maxThreads"[^<>]*>\s*(\d{1,6})\s*</Set>', re.ASCII)

_SERVERS = {
    b"LmtpServer": "lmtp",
    b"Pop3Server": "pop3",
    b"Pop3SSLServer": "pop3_ssl",
    b"ImapServer": "imap",
    b"ImapSSLServer": "imap_ssl",
}
_NEEDLE = b"Server] [] TcpServer/"
"""In each such line, whose thread serves nobody and so has no context."""
# 2024-03-02 10:20:31,402 INFO  [LmtpServer] [] TcpServer/7025 - Starting accept loop: 1 core threads, 20 max threads.
# ... WARN  [LmtpServer] [] TcpServer/7025 - Thread pool is 95% utilized.  19 out of 20 threads in use.
_TOLD = re.compile(
    rb"\n[12]\d{3}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:INFO|WARN)  \[(" + b"|".join(_SERVERS) + rb")\] "
    rb"\[\] TcpServer/\d{1,5} - (?:Starting accept loop: \d{1,6} core threads, (\d{1,6}) max threads\."
    rb"|Thread pool is \d{1,4}% utilized\.  \d{1,6} out of (\d{1,6}) threads in use\.)(?=\n)"
)

SAME_SETTING: Mapping[str, tuple[str, ...]] = {
    "http": ("http",),
    "lmtp": ("lmtp",),
    "pop3": ("pop3", "pop3_ssl"),
    "imap": ("imap", "imap_ssl"),
}
"""Pools that one attribute of LDAP (``zimbraHttpNumThreads`` and so on) is for."""


def parse_jetty(text: str) -> int:
    """Return the size of Jetty's thread pool.

    Raises:
        CollectError: jetty.xml sets none.
    """
    match = _JETTY.search(text)
    if match is None or not int(match[1]):
        raise CollectError(Reason.PARSE, "jetty.xml sets no maxThreads")
    return int(match[1])


def limits_told(data: bytes) -> dict[str, int]:
    """Return the limits by protocol that lines of mailbox.log tell of, of each the last."""
    if _NEEDLE not in data:
        return {}
    found = ((_SERVERS[name], int(first or second)) for name, first, second in _TOLD.findall(b"\n" + data))
    return {protocol: limit for protocol, limit in found if limit}


def read_http_limit(host: Host) -> int | None:
    """Return the limit of Jetty's thread pool; None where there is no Jetty.

    Raises:
        CollectError: jetty.xml cannot be read or tells nothing.
    """
    path = host.zcs.path("mailboxd/etc/jetty.xml")
    with doing(f"reading {path}"):
        try:
            return parse_jetty(host.read_text(path))
        except (FileNotFoundError, NotADirectoryError):
            return None


def read_db_limit(host: Host) -> int:
    """Return the size of mailboxd's database pool.

    Raises:
        CollectError: localconfig.xml cannot be read.
    """
    with doing("reading localconfig.xml"):
        set_by_site = host.zcs.localconfig().number("zimbra_mysql_connector_maxActive")
    return int(set_by_site) if set_by_site is not None and set_by_site >= 1 else DB_DEFAULT
