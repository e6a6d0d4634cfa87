"""The tables below zmstat, as mailboxd writes them; here every few seconds, so that something is to be seen.

Columns of mailboxd.csv: those of ZCS 8.8.12 to 10.1 on a JVM with G1.
"""

import time
from collections.abc import Iterable

from zcs_exporter.contract import Clock
from zcs_exporter.demo.files import Tree

DIRECTORY = "/opt/zimbra/zmstat"
INTERVAL = 5.0
"""Seconds between two rows; 60 on a true host."""

DB_POOL = 100
HTTP_THREADS = 250
THREAD_LIMITS = {"imap": 200, "lmtp": 20, "pop3": 100}
"""What LDAP of a true host would say."""

_CACHES = ("account", "cos", "domain", "server", "ucservice", "zimlet", "group", "xmpp")
_POOLS = (
    *("codeheap_'non-nmethods'", "metaspace", "codeheap_'profiled_nmethods'", "compressed_class_space"),
    *("g1_eden_space", "g1_old_gen", "g1_survivor_space", "codeheap_'non-profiled_nmethods'"),
)
_PREFIXES = (
    *("AnonymousIoService", "CloudRoutingReaderThread", "GC", "ImapSSLServer", "ImapServer", "LmtpServer"),
    *("Pop3SSLServer", "Pop3Server", "ScheduledTask", "SocketAcceptor", "Thread", "Timer", "btpool", "pool", "qtp"),
)
_COMMANDS = ("timestamp", "command", "exec_count", "exec_ms_avg")


class Zmstat:
    """Writes a row to each table when it is due.

    Attributes:
        slow: mailboxd struggles, so that everything takes long and threads pile up.
        delivered: Messages that came in over LMTP since the last row, and their bytes.
    """

    def __init__(self, tree: Tree, clock: Clock) -> None:
        """Begin with tables of one row each."""
        self._tree = tree
        self._clock = clock
        self._next = clock.monotonic()
        self._count = 0
        self.slow = False
        self.delivered = [0, 0]
        for table, header in (
            ("mailboxd", tuple(_mailboxd(0, 0, 0, slow=False))),
            ("threads", tuple(_threads(slow=False))),
            *((name, _COMMANDS[1:]) for name in ("soap", "imap", "pop3")),
        ):
            tree.write(f"{DIRECTORY}/{table}.csv", f"{','.join(('timestamp', *header))}\n", 0o640)
        tree.write(
            "/opt/zimbra/mailboxd/etc/jetty.xml",
            f'<Configure id="Server">\n  <Set name="maxThreads" type="int">{HTTP_THREADS}</Set>\n</Configure>\n',
            0o640,
        )
        self.live_on()

    def live_on(self) -> None:
        """Write what is due."""
        if self._clock.monotonic() < self._next:
            return
        self._next += INTERVAL
        self._count += 1
        count, pace = self._count, 40 if self.slow else 1
        messages, size = self.delivered
        self.delivered = [0, 0]
        self._row("mailboxd", _mailboxd(count, messages, size, slow=self.slow).values())
        self._row("threads", _threads(slow=self.slow).values())
        for command, times, milliseconds in (
            *(("SearchRequest", 6 + count % 4, 18), ("GetMsgRequest", 5, 7), ("NoOpRequest", 9, 1)),
            *(("MsgActionRequest.read", 2, 4), ("SendMsgRequest", 1 + count % 2, 62)),
        ):
            self._row("soap", (command, times, milliseconds * pace))
        for command, times, milliseconds in (("SELECT", 4, 3), ("UID", 30 + count % 9, 5), ("NOOP", 21, 0)):
            self._row("imap", (command, times, milliseconds * pace))
        self._row("pop3", ("RETR", 2, 9 * pace))

    def _row(self, table: str, values: Iterable[object]) -> None:
        stamp = time.strftime("%m/%d/%Y %H:%M:%S", time.localtime(self._clock.wall()))
        self._tree.append(f"{DIRECTORY}/{table}.csv", ",".join((stamp, *map(str, values))))


def _mailboxd(count: int, messages: int, size: int, *, slow: bool) -> dict[str, float]:
    """Return a row of mailboxd.csv by its columns, in their order."""
    pace = 40.0 if slow else 1.0
    swing = count % 5
    row: dict[str, float] = {
        "lmtp_rcvd_msgs": messages, "lmtp_rcvd_bytes": size, "lmtp_rcvd_rcpt": messages,
        "lmtp_dlvd_msgs": messages, "lmtp_dlvd_bytes": size,
        "db_conn_count": 160 + 11 * swing, "db_conn_ms_avg": 0.08 * pace, "ldap_dc_count": 9, "ldap_dc_ms_avg": 0.2,
        "mbox_add_msg_count": messages, "mbox_add_msg_ms_avg": 21.5 * pace if messages else 0.0,
        "mbox_get_count": 84, "mbox_get_ms_avg": 0.1, "mbox_cache": 99.2, "mbox_msg_cache": 61.5,
        "mbox_item_cache": 48.1, "soap_count": 23 + swing, "soap_ms_avg": 13.7 * pace,
        "imap_count": 55 + 3 * swing, "imap_ms_avg": 3.2 * pace, "pop_count": 2, "pop_ms_avg": 9.0 * pace,
        "idx_wrt_avg": 1.0, "idx_wrt_opened": 3, "idx_wrt_opened_cache_hit": 2, "calcache_hit": 96.0,
        "calcache_mem_hit": 91.0, "calcache_lru_size": 40, "idx_bytes_written": 18_400,
        "idx_bytes_written_avg": 920.0, "idx_bytes_read": 61_000, "idx_bytes_read_avg": 610.0, "bis_read": 8,
        "bis_seek_rate": 12.5, "db_pool_size": 88 if slow else 3 + swing, "innodb_bp_hit_rate": 1000,
        "lmtp_conn": 2, "lmtp_threads": 17 if slow else 3, "pop_conn": 0, "pop_threads": 1,
        "pop_ssl_conn": 1, "pop_ssl_threads": 2, "imap_conn": 0, "imap_threads": 1, "imap_ssl_conn": 96 + swing,
        "imap_ssl_threads": 22, "http_idle_threads": 4 if slow else 61, "http_threads": 241 if slow else 80 + swing,
        "soap_sessions": 31, "mbox_cache_size": 132, "msg_cache_size": 2000, "fd_cache_size": 1000,
        "fd_cache_hit_rate": 97.1, "acl_cache_hit_rate": 99.7,
    }  # fmt: skip
    for number, cache in enumerate(_CACHES):
        row[f"{cache}_cache_size"] = 133 - 16 * number
        row[f"{cache}_cache_hit_rate"] = 99.8 - number / 10
    for collector in ("g1_young_generation", "g1_old_generation", "minor", "major"):
        row[f"gc_{collector}_count"] = 18_204 + count if collector in ("g1_young_generation", "minor") else 0
        row[f"gc_{collector}_ms"] = 212_400 + 11 * count if collector in ("g1_young_generation", "minor") else 0
    for pool in _POOLS:
        row[f"mpool_{pool}_used"] = 112 << 20
        row[f"mpool_{pool}_free"] = 6 << 20
    row["heap_used"], row["heap_free"] = (4000 if slow else 1843) << 20, (96 if slow else 2253) << 20
    return row


def _threads(*, slow: bool) -> dict[str, int]:
    """Return a row of threads.csv by its columns, in their order."""
    row = dict.fromkeys(_PREFIXES, 0) | {"GC": 9, "ImapSSLServer": 22, "ImapServer": 1, "LmtpServer": 17 if slow else 3}
    row |= {"Pop3SSLServer": 2, "Pop3Server": 1, "ScheduledTask": 10, "Thread": 6, "Timer": 4, "pool": 21}
    row["qtp"] = 241 if slow else 81
    return row | {"other": 48, "total": sum(row.values()) + 48}
