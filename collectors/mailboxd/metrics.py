"""The metrics of mailboxd, and which columns of its tables each is made of.

A total of an interval is summed up. An average is weighted by its count, so that what comes out is the count and the
sum of seconds of a summary. A gauge is that of the newest row. A rate of 0 is left out: mailboxd writes 0.0 both for
"never hit" and for "never asked", and nobody is to take the one for the other.
"""

from dataclasses import dataclass

from collectors.mailboxd.commands import MOST_SERIES
from zcs_exporter.contract import Kind, Metric

Labels = tuple[str, ...]
"""Values in the order of the metric's labels."""


@dataclass(frozen=True, slots=True)
class Total:
    """A counter out of the totals of intervals."""

    metric: Metric
    column: str
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class Latency:
    """A summary out of a count and an average in milliseconds; ``key`` names its sum in the state."""

    metric: Metric
    count: str
    average: str
    labels: Labels = ()

    @property
    def key(self) -> str:
        """Under which the sum of seconds is kept, beside the count under the name of its column."""
        return f"{self.count} seconds"


@dataclass(frozen=True, slots=True)
class Gauge:
    """The value of a column in the newest row, times ``scale``."""

    metric: Metric
    column: str
    labels: Labels = ()
    scale: float = 1.0
    zero_is_unknown: bool = False


def _counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Metric:
    return Metric(f"zcs_mailboxd_{name}_total", Kind.COUNTER, text, labels)


REQUESTS = Metric(
    "zcs_mailboxd_request_seconds",
    Kind.SUMMARY,
    "Requests of clients and the time they took, by protocol; imapd is the IMAP server apart from mailboxd.",
    labels=("protocol",),
)
COMMANDS_SECONDS = Metric(
    "zcs_mailboxd_command_seconds",
    Kind.SUMMARY,
    "Commands and the time they took, as whole milliseconds of their average in a minute; IDLE's is no load.",
    labels=("protocol", "command"),
    max_series=MOST_SERIES,
)
DB_WAIT = Metric(
    "zcs_mailboxd_db_connection_seconds",
    Kind.SUMMARY,
    "Connections taken from the database pool and the time it took to get them.",
)
LDAP_WAIT = Metric(
    "zcs_mailboxd_ldap_connection_seconds",
    Kind.SUMMARY,
    "LDAP contexts taken from the pool and the time it took to get them.",
)
ADD_MESSAGE = Metric(
    "zcs_mailboxd_add_message_seconds",
    Kind.SUMMARY,
    "Messages added to mailboxes, whatever brought them, and the time it took.",
)
GET_MAILBOX = Metric("zcs_mailboxd_get_mailbox_seconds", Kind.SUMMARY, "Mailbox look-ups and the time they took.")
INDEX_IO = Metric(
    "zcs_mailboxd_index_io_bytes",
    Kind.SUMMARY,
    "Reads and writes of the search index, and their bytes; the number is the total divided by the average.",
    labels=("direction",),
)
BLOB_READS = _counter("blob_disk_reads", "Reads of messages that no open file could answer.")
BLOB_SEEKS = _counter("blob_disk_seeks", "Of these reads, those that needed a seek.")

TOTALS = (
    Total(_counter("lmtp_received_messages", "Messages accepted over LMTP."), "lmtp_rcvd_msgs"),
    Total(_counter("lmtp_received_bytes", "Bytes of messages accepted over LMTP."), "lmtp_rcvd_bytes"),
    Total(_counter("lmtp_received_recipients", "Recipients accepted over LMTP."), "lmtp_rcvd_rcpt"),
    Total(
        _counter("lmtp_delivered_messages", "Messages that LMTP put into mailboxes, once for each recipient."),
        "lmtp_dlvd_msgs",
    ),
    Total(_counter("lmtp_delivered_bytes", "Bytes that LMTP put into mailboxes."), "lmtp_dlvd_bytes"),
    Total(_counter("index_writers_opened", "Writers of the search index that were opened."), "idx_wrt_opened"),
    Total(_counter("index_writers_reused", "Of these, those that were open already."), "idx_wrt_opened_cache_hit"),
    Total(BLOB_READS, "bis_read"),
)
LATENCIES = (
    Latency(REQUESTS, "soap_count", "soap_ms_avg", ("soap",)),
    Latency(REQUESTS, "imap_count", "imap_ms_avg", ("imap",)),
    Latency(REQUESTS, "pop_count", "pop_ms_avg", ("pop3",)),
    Latency(DB_WAIT, "db_conn_count", "db_conn_ms_avg"),
    Latency(LDAP_WAIT, "ldap_dc_count", "ldap_dc_ms_avg"),
    Latency(ADD_MESSAGE, "mbox_add_msg_count", "mbox_add_msg_ms_avg"),
    Latency(GET_MAILBOX, "mbox_get_count", "mbox_get_ms_avg"),
)
IMAPD_LATENCIES = (Latency(REQUESTS, "imap_count", "imap_ms_avg", ("imapd",)),)
DIRECTIONS = {"read": "idx_bytes_read", "write": "idx_bytes_written"}
"""Columns of ``INDEX_IO``, each with another ``_avg``."""

CONNECTIONS = Metric(
    "zcs_mailboxd_connections", Kind.GAUGE, "Connections of clients; those through the proxy among them.", ("protocol",)
)
THREADS = Metric(
    "zcs_mailboxd_threads",
    Kind.GAUGE,
    "Threads in the pool that handles a protocol, idle ones included.",
    ("protocol",),
)
IDLE_THREADS = Metric("zcs_mailboxd_threads_idle", Kind.GAUGE, "Threads of the pool that wait for work.", ("protocol",))
THREADS_LIMIT = Metric(
    "zcs_mailboxd_threads_limit",
    Kind.GAUGE,
    "Most threads that the pool may have; absent where neither jetty.xml, mailbox.log nor thread_limits tells.",
    ("protocol",),
)
THREADS_USED = Metric(
    "zcs_mailboxd_threads_used_ratio",
    Kind.GAUGE,
    "Threads at work as a share of the limit; but for http, idle ones that have not ended yet count too.",
    ("protocol",),
)
LMTP_USED = Metric(
    "zcs_mailboxd_lmtp_threads_used_ratio",
    Kind.GAUGE,
    "The same for LMTP alone; as long as it is 1, mail to this store waits.",
)
QUEUE_GROWTH = Metric(
    "zcs_mailboxd_lmtp_queue_growth_messages",
    Kind.GAUGE,
    "By how much this host's mail queues grew since the LMTP threads are at their limit; absent while they are not.",
)
DB_CONNECTIONS = Metric("zcs_mailboxd_db_connections", Kind.GAUGE, "Database connections in use.")
DB_LIMIT = Metric(
    "zcs_mailboxd_db_connections_limit",
    Kind.GAUGE,
    "Size of the database pool: zimbra_mysql_connector_maxActive, else 100.",
)
DB_USED = Metric("zcs_mailboxd_db_connections_used_ratio", Kind.GAUGE, "Share of the database pool that is in use.")
SESSIONS = Metric("zcs_mailboxd_soap_sessions", Kind.GAUGE, "Sessions of SOAP clients.")
CACHE_ENTRIES = Metric("zcs_mailboxd_cache_entries", Kind.GAUGE, "Entries of a cache.", ("cache",))
CACHE_HITS = Metric(
    "zcs_mailboxd_cache_hit_ratio",
    Kind.GAUGE,
    "Share of look-ups that a cache answered, in a minute or since start as ZCS counts it; absent where it is 0.",
    ("cache",),
)
INDEX_WRITERS = Metric(
    "zcs_mailboxd_index_writers", Kind.GAUGE, "Writers of the search index at once, averaged over a minute."
)
OPEN_FILES = Metric("zcs_mailboxd_open_files", Kind.GAUGE, "Open files of mailboxd, as zmstat's helper counts them.")
NAMED_THREADS = Metric(
    "zcs_mailboxd_named_threads",
    Kind.GAUGE,
    "Threads by the beginning of their name; a name that only this site counts is among other.",
    ("prefix",),
)
SLAPD_OPERATIONS = Metric(
    "zcs_slapd_operations_total", Kind.COUNTER, "Operations that slapd was asked for.", ("operation",)
)
SLAPD_WAITERS = Metric(
    "zcs_slapd_waiters", Kind.GAUGE, "Clients of slapd that wait to be read from or written to.", ("direction",)
)
SLAPD_CONNECTIONS = Metric("zcs_slapd_connections_total", Kind.COUNTER, "Connections that slapd accepted.")
SLAPD_BYTES = Metric("zcs_slapd_sent_bytes_total", Kind.COUNTER, "Bytes that slapd sent.")
SLAPD_ENTRIES = Metric("zcs_slapd_sent_entries_total", Kind.COUNTER, "Entries that slapd sent.")

_OPERATIONS = ("abandon", "add", "bind", "compare", "delete", "extended", "modify", "modrdn", "search", "unbind")
SLAPD_TOTALS = (
    *(Total(SLAPD_OPERATIONS, f"{name}_ops", (name,)) for name in _OPERATIONS),
    Total(SLAPD_CONNECTIONS, "connections"),
    Total(SLAPD_BYTES, "bytes_sent"),
    Total(SLAPD_ENTRIES, "entries_sent"),
)
SLAPD_COUNTERS = frozenset(each.metric for each in SLAPD_TOTALS)
SLAPD_GAUGES = tuple(Gauge(SLAPD_WAITERS, f"{name}_waiters", (name,)) for name in ("read", "write"))

_PERCENT = 0.01
_PROTOCOLS = {"lmtp": "lmtp", "pop3": "pop", "pop3_ssl": "pop_ssl", "imap": "imap", "imap_ssl": "imap_ssl"}
_IMAPD_PROTOCOLS = {"imapd": "imap", "imapd_ssl": "imap_ssl"}
_OBJECTS = ("account", "cos", "domain", "server", "ucservice", "zimlet", "group", "xmpp")
_SIZES = {"mailbox": "mbox_cache_size", "message": "msg_cache_size", "file": "fd_cache_size"}
_RATES = {
    "mailbox": "mbox_cache",
    "message": "mbox_msg_cache",
    "item": "mbox_item_cache",
    "calendar": "calcache_hit",
    "calendar_memory": "calcache_mem_hit",
    "file": "fd_cache_hit_rate",
    "acl": "acl_cache_hit_rate",
}

GAUGES = (
    *(Gauge(CONNECTIONS, f"{column}_conn", (name,)) for name, column in _PROTOCOLS.items()),
    *(Gauge(THREADS, f"{column}_threads", (name,)) for name, column in _PROTOCOLS.items()),
    Gauge(THREADS, "http_threads", ("http",)),
    Gauge(IDLE_THREADS, "http_idle_threads", ("http",)),
    Gauge(DB_CONNECTIONS, "db_pool_size"),
    Gauge(SESSIONS, "soap_sessions"),
    Gauge(INDEX_WRITERS, "idx_wrt_avg"),
    *(Gauge(CACHE_ENTRIES, column, (name,)) for name, column in _SIZES.items()),
    Gauge(CACHE_ENTRIES, "calcache_lru_size", ("calendar",), zero_is_unknown=True),
    *(Gauge(CACHE_ENTRIES, f"{name}_cache_size", (name,)) for name in _OBJECTS),
    *(Gauge(CACHE_HITS, column, (name,), _PERCENT, zero_is_unknown=True) for name, column in _RATES.items()),
    *(Gauge(CACHE_HITS, f"{name}_cache_hit_rate", (name,), _PERCENT, zero_is_unknown=True) for name in _OBJECTS),
    # InnoDB's own figure, per mille.
    Gauge(CACHE_HITS, "innodb_bp_hit_rate", ("innodb",), 0.001, zero_is_unknown=True),
)
IMAPD_GAUGES = (
    *(Gauge(CONNECTIONS, f"{column}_conn", (name,)) for name, column in _IMAPD_PROTOCOLS.items()),
    *(Gauge(THREADS, f"{column}_threads", (name,)) for name, column in _IMAPD_PROTOCOLS.items()),
)
OPEN_FILE_GAUGES = (Gauge(OPEN_FILES, "mailboxd_fd_count"),)

_COUNTED = (
    "AnonymousIoService CloudRoutingReaderThread GC ImapSSLServer ImapServer LmtpServer Pop3SSLServer Pop3Server "
    "ScheduledTask SocketAcceptor Thread Timer btpool pool qtp"
)
THREAD_PREFIXES = frozenset(_COUNTED.split())
"""Those that ZCS counts by itself (``zimbraStatThreadNamePrefix``)."""

AGE = Metric(
    "zcs_mailboxd_stat_age_seconds",
    Kind.GAUGE,
    "Time since something was written to a table below zmstat; those of commands are only written to when used.",
    ("file",),
)
ROWS = _counter("stat_rows", "Rows of a table that were summed up.", ("file",))
SKIPPED = _counter(
    "stat_rows_skipped", "Rows of a table that no header fits, as when mailboxd came back with others.", ("file",)
)

_BY_COLUMN: tuple[Total | Latency | Gauge, ...] = (
    *TOTALS,
    *LATENCIES,
    *GAUGES,
    *OPEN_FILE_GAUGES,
    *SLAPD_TOTALS,
    *SLAPD_GAUGES,
)
METRICS: tuple[Metric, ...] = (
    *dict.fromkeys(each.metric for each in _BY_COLUMN),
    BLOB_SEEKS,
    INDEX_IO,
    COMMANDS_SECONDS,
    THREADS_LIMIT,
    THREADS_USED,
    LMTP_USED,
    QUEUE_GROWTH,
    DB_LIMIT,
    DB_USED,
    NAMED_THREADS,
    AGE,
    ROWS,
    SKIPPED,
)
