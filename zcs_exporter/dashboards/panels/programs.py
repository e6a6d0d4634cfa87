"""Which component is busy, short of memory or busy on disk."""

from zcs_exporter.dashboards.kinds import Graph
from zcs_exporter.dashboards.terms import Limit, Query, Unit, series


def busy() -> Graph:
    """Return how much work each component has at once."""
    return Graph(
        title="Who is busy: work in progress",
        description=(
            "Requests that are being worked on at the same time: seconds of work per second in mailboxd, by protocol, "
            "and statements that run in mysqld."
        ),
        width=5,
        queries=(
            Query(
                expr=f"rate({series('zcs_mailboxd_request_seconds_sum')}[$__rate_interval])",
                legend="mailboxd {{protocol}}",
            ),
            Query(
                expr=f"rate({series('zcs_mailboxd_add_message_seconds_sum')}[$__rate_interval])",
                legend="mailboxd deliveries",
            ),
            Query(expr=series("mysql_global_status_threads_running"), legend="mysqld"),
        ),
        runbooks=("ZcsMailboxdThreadsShort",),
    )


def memory() -> Graph:
    """Return how short of memory each JVM is."""
    return Graph(
        title="Memory: heap, and time lost to collecting",
        description=(
            "Share of the old generation that collections cannot free, and share of time for which they stop the "
            "program, by JVM, with the thresholds of both."
        ),
        width=5,
        queries=(
            Query(expr=series("zcs_jvm_old_after_gc_ratio"), legend="{{jvm}}: old full"),
            Query(expr=series("zcs_jvm_gc_time_ratio"), legend="{{jvm}}: time in GC"),
        ),
        unit=Unit.RATIO,
        limits=(Limit(alert="ZcsJvmGcTime", of="time in GC"), Limit(alert="ZcsJvmOldGenerationFull", of="old full")),
        top=1,
        fill=0,
        runbooks=("ZcsJvmGcTime", "ZcsJvmOldGenerationFull", "ZcsJvmOutOfMemory"),
    )


def disk() -> Graph:
    """Return how much each component reads and writes."""

    def rate(name: str, legend: str) -> Query:
        return Query(expr=f"rate({series(name)}[$__rate_interval])", legend=legend)

    return Graph(
        title="Who reads and writes",
        description="Bytes that the database, the search index and the MTA move, as they themselves count.",
        width=5,
        queries=(
            rate("mysql_global_status_innodb_data_read", "mysqld read"),
            rate("mysql_global_status_innodb_data_written", "mysqld written"),
            rate("zcs_mailboxd_index_io_bytes_sum", "search index {{direction}}"),
            rate("zcs_mail_bytes_total", "mail {{direction}}"),
        ),
        unit=Unit.BYTES_PER_SECOND,
    )


def answers() -> Graph:
    """Return how long requests take."""
    seconds, count = (
        f"rate({series(f'zcs_mailboxd_request_seconds_{part}')}[$__rate_interval])" for part in ("sum", "count")
    )
    return Graph(
        title="How long a request takes",
        description="Mean time of mailboxd's requests, by protocol; nothing is shown where there are none.",
        width=6,
        queries=(Query(expr=f"{seconds} / ({count} > 0)", legend="{{protocol}}"),),
        unit=Unit.SECONDS,
        log=True,
        fill=0,
    )


def threads() -> Graph:
    """Return how many threads are in use."""
    return Graph(
        title="Threads of mailboxd",
        description="Threads at work as a share of the limit, by protocol, with the threshold in force.",
        width=6,
        queries=(Query(expr=series("zcs_mailboxd_threads_used_ratio"), legend="{{protocol}}"),),
        unit=Unit.RATIO,
        limits=(Limit(alert="ZcsMailboxdThreadsShort"),),
        top=1,
        fill=0,
        runbooks=("ZcsMailboxdThreadsShort",),
    )


def pools() -> Graph:
    """Return how many connections to the database are in use."""
    return Graph(
        title="Connections to the database",
        description=(
            "Share of mailboxd's pool that is in use, and connections of mysqld as a share of its maximum, with the "
            "thresholds of both."
        ),
        width=6,
        queries=(
            Query(expr=series("zcs_mailboxd_db_connections_used_ratio"), legend="pool of mailboxd"),
            Query(
                expr=(
                    f"{series('mysql_global_status_threads_connected')} "
                    f"/ {series('mysql_global_variables_max_connections')}"
                ),
                legend="mysqld",
            ),
        ),
        unit=Unit.RATIO,
        limits=(
            Limit(alert="ZcsMailboxdDatabasePool", of="pool of mailboxd"),
            Limit(alert="ZcsMysqldConnections", of="mysqld"),
        ),
        top=1,
        fill=0,
        runbooks=("ZcsMailboxdDatabasePool", "ZcsMysqldConnections"),
    )


def statements() -> Graph:
    """Return what the database executes."""
    return Graph(
        title="Statements of the database",
        description="Statements that mysqld executed, by kind; the eight most frequent.",
        width=6,
        queries=(
            Query(
                expr=f"topk(8, rate({series('mysql_global_status_commands_total')}[$__rate_interval]) > 0)",
                legend="{{command}}",
            ),
        ),
        unit=Unit.PER_SECOND,
    )
