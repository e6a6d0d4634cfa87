"""The rows of ``SHOW GLOBAL STATUS`` and ``SHOW GLOBAL VARIABLES``, and the series that they make.

Names, types and grouping are those of mysqld_exporter, so that its dashboards and rules work: commands, handlers,
connection errors, buffer pool pages and row operations become labels, every other row keeps its name in lower
case, and a text that is no number is left out. A lookup of a few names costs the server less than a fifth of
reading all rows, so only those are read that dashboards and rules ask for, unless configured otherwise.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from zcs_exporter.contract import Kind, Metric, Sample

COMMANDS = Metric(
    "mysql_global_status_commands_total",
    Kind.COUNTER,
    "Statements executed, by kind.",
    labels=("command",),
    max_series=300,
)
HANDLERS = Metric(
    "mysql_global_status_handlers_total", Kind.COUNTER, "Calls into the storage engines, by kind.", labels=("handler",)
)
CONNECTION_ERRORS = Metric(
    "mysql_global_status_connection_errors_total", Kind.COUNTER, "Connections that failed, by cause.", labels=("error",)
)
POOL_PAGES = Metric(
    "mysql_global_status_buffer_pool_pages", Kind.GAUGE, "Pages of the InnoDB buffer pool, by state.", labels=("state",)
)
POOL_DIRTY_PAGES = Metric(
    "mysql_global_status_buffer_pool_dirty_pages", Kind.GAUGE, "Pages of the InnoDB buffer pool not yet written back."
)
POOL_PAGE_CHANGES = Metric(
    "mysql_global_status_buffer_pool_page_changes_total",
    Kind.COUNTER,
    "Pages of the InnoDB buffer pool that changed state, by change.",
    labels=("operation",),
)
ROW_OPERATIONS = Metric(
    "mysql_global_status_innodb_row_ops_total",
    Kind.COUNTER,
    "Rows that InnoDB handled, by kind.",
    labels=("operation",),
)
SCHEMA_LOST = Metric(
    "mysql_global_status_performance_schema_lost_total",
    Kind.COUNTER,
    "Instruments of the performance schema that found no memory.",
    labels=("instrumentation",),
)
THREADS_CONNECTED = Metric("mysql_global_status_threads_connected", Kind.UNTYPED, "Connections that are open.")
MAX_CONNECTIONS = Metric(
    "mysql_global_variables_max_connections", Kind.GAUGE, "Connections that may be open at a time."
)
STATUS = Metric("mysql_global_status_", Kind.UNTYPED, "A row of SHOW GLOBAL STATUS.", prefix_only=True)
VARIABLES = Metric("mysql_global_variables_", Kind.GAUGE, "A row of SHOW GLOBAL VARIABLES.", prefix_only=True)
VERSION = Metric(
    "mysql_version_info",
    Kind.GAUGE,
    "1, with the version of the server.",
    labels=("innodb_version", "version", "version_comment"),
)

STATUS_METRICS = (
    COMMANDS,
    HANDLERS,
    CONNECTION_ERRORS,
    POOL_PAGES,
    POOL_DIRTY_PAGES,
    POOL_PAGE_CHANGES,
    ROW_OPERATIONS,
    SCHEMA_LOST,
    THREADS_CONNECTED,
    MAX_CONNECTIONS,
    STATUS,
    VARIABLES,
    VERSION,
)

_STATUS_NAMES = """
Aborted_clients Aborted_connects Bytes_received Bytes_sent Com_commit Com_delete Com_insert Com_replace Com_rollback
Com_select Com_update Connection_errors_internal Connection_errors_max_connections Connections
Created_tmp_disk_tables Created_tmp_files Created_tmp_tables Handler_delete Handler_read_first Handler_read_key
Handler_read_next Handler_read_prev Handler_read_rnd Handler_read_rnd_next Handler_update Handler_write
Innodb_buffer_pool_pages_data Innodb_buffer_pool_pages_dirty Innodb_buffer_pool_pages_flushed
Innodb_buffer_pool_pages_free Innodb_buffer_pool_pages_misc Innodb_buffer_pool_read_requests
Innodb_buffer_pool_reads Innodb_buffer_pool_wait_free Innodb_data_fsyncs Innodb_data_read Innodb_data_written
Innodb_deadlocks Innodb_log_waits Innodb_os_log_written Innodb_page_size Innodb_row_lock_current_waits
Innodb_row_lock_time Innodb_row_lock_waits Innodb_rows_deleted Innodb_rows_inserted Innodb_rows_read
Innodb_rows_updated Max_used_connections Open_files Open_table_definitions Open_tables Opened_files
Opened_table_definitions Opened_tables Qcache_hits Qcache_inserts Qcache_lowmem_prunes Queries Questions
Select_full_join Select_full_range_join Select_range Select_range_check Select_scan Slow_queries Sort_merge_passes
Sort_range Sort_rows Sort_scan Table_locks_immediate Table_locks_waited Table_open_cache_hits
Table_open_cache_misses Table_open_cache_overflows Threads_cached Threads_connected Threads_created Threads_running
Uptime
"""
CURATED_STATUS = tuple(_STATUS_NAMES.split())

_VARIABLES_NAMES = """
innodb_buffer_pool_size innodb_log_buffer_size innodb_log_file_size innodb_version key_buffer_size long_query_time
max_connections open_files_limit query_cache_size read_only slow_query_log table_definition_cache table_open_cache
thread_cache_size version version_comment
"""
CURATED_VARIABLES = tuple(_VARIABLES_NAMES.split())

# Com_select, Handler_read_key, Connection_errors_accept, Innodb_buffer_pool_pages_data, Innodb_rows_read,
# Performance_schema_digest_lost
_GROUPED = re.compile(r"(com|handler|connection_errors|innodb_buffer_pool_pages|innodb_rows|performance_schema)_(.+)")
# 4294967296, 1.000000, -1, 1e+15
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?", re.ASCII)
_SWITCHES = {
    "Yes": 1.0,
    "ON": 1.0,
    "Primary": 1.0,
    "No": 0.0,
    "OFF": 0.0,
    "Connecting": 0.0,
    "non-Primary": 0.0,
    "Disconnected": 0.0,
}

_MOST_ROWS = 2048


Row = tuple[str, str]
"""One row of either list: name and value."""


def parse_value(text: str) -> float | None:
    """Return a row's value as a number, switches as 1 and 0; None for any other text."""
    if text.isdecimal() and text.isascii():
        return float(text)
    return float(text) if _NUMBER.fullmatch(text) else _SWITCHES.get(text)


def status_samples(rows: Iterable[Row]) -> list[Sample]:
    """Return the series of ``SHOW GLOBAL STATUS``."""
    return [
        Sample(*series, value)
        for name, text in rows
        if (series := _status_series(name)) is not None and (value := parse_value(text)) is not None
    ]


def variable_samples(rows: Sequence[Row]) -> list[Sample]:
    """Return the series of ``SHOW GLOBAL VARIABLES``, the version among them."""
    text = {name.lower(): value for name, value in rows}
    samples = [
        Sample(_variable_metric(name), (), number) for name, value in rows if (number := parse_value(value)) is not None
    ]
    if "version" in text:
        version = VERSION.sample(
            1,
            innodb_version=text.get("innodb_version", ""),
            version=text["version"],
            version_comment=text.get("version_comment", ""),
        )
        samples.append(version)
    return samples


# Which series a row is does not change, and finding out takes ten times as long as anything else about it.


@lru_cache(_MOST_ROWS)
def _status_series(row: str) -> tuple[Metric, tuple[str, ...]] | None:
    """Return the metric and labels of a status row; None for a row that only adds others up."""
    sample = _status_sample(row)
    return None if sample is None else (sample.metric, sample.labels)


def _status_sample(row: str) -> Sample | None:
    name = _plain(row)
    group = _GROUPED.fullmatch(name)
    match group and group[1], group and group[2]:
        case "com", str(kind):
            return COMMANDS.sample(0, command=kind)
        case "handler", str(kind):
            return HANDLERS.sample(0, handler=kind)
        case "connection_errors", str(kind):
            return CONNECTION_ERRORS.sample(0, error=kind)
        case "innodb_rows", str(kind):
            return ROW_OPERATIONS.sample(0, operation=kind)
        case "performance_schema", str(kind):
            return SCHEMA_LOST.sample(0, instrumentation=kind)
        case "innodb_buffer_pool_pages", "data" | "free" | "misc" | "old" as state:
            return POOL_PAGES.sample(0, state=state)
        case "innodb_buffer_pool_pages", "dirty":
            return POOL_DIRTY_PAGES.sample(0)
        case "innodb_buffer_pool_pages", "total":
            return None
        case "innodb_buffer_pool_pages", str(change):
            return POOL_PAGE_CHANGES.sample(0, operation=change)
        case _:
            return (THREADS_CONNECTED if name == "threads_connected" else STATUS.named(name)).sample(0)


@lru_cache(_MOST_ROWS)
def _variable_metric(row: str) -> Metric:
    name = _plain(row)
    return MAX_CONNECTIONS if name == "max_connections" else VARIABLES.named(name)


def _plain(row: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", row.lower())
