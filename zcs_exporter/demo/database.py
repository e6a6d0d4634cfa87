"""A MariaDB server that answers to ``SHOW GLOBAL STATUS`` and ``SHOW GLOBAL VARIABLES``, and can be gone."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Self, cast

import pymysql
from pymysql.connections import Connection as MysqlConnection

from zcs_exporter.contract import Clock
from zcs_exporter.hostio import MysqlLogin
from zcs_exporter.mysql_client import PairCursor

MAX_CONNECTIONS = 110
_POOL_PAGES = 131_072

_REFUSED, _LOST = 2002, 2013

# SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime','Threads_running')
_SHOW = re.compile(r"SHOW GLOBAL (STATUS|VARIABLES)(?: WHERE Variable_name IN \((.*)\))?")

_VARIABLES = {
    "innodb_buffer_pool_size": _POOL_PAGES * 16_384,
    "innodb_log_buffer_size": 8_388_608,
    "innodb_log_file_size": 524_288_000,
    "innodb_version": "10.4.13",
    "key_buffer_size": 8_388_608,
    "long_query_time": "1.000000",
    "max_connections": MAX_CONNECTIONS,
    "open_files_limit": 10_210,
    "query_cache_size": 0,
    "read_only": "OFF",
    "slow_query_log": "ON",
    "table_definition_cache": 1_200,
    "table_open_cache": 1_200,
    "thread_cache_size": 110,
    "version": "10.4.13-MariaDB-log",
    "version_comment": "Zimbra MariaDB binary distribution",
}

_STEADY = {
    "Innodb_buffer_pool_pages_data": 96_310,
    "Innodb_buffer_pool_pages_free": 34_210,
    "Innodb_buffer_pool_pages_misc": 552,
    "Innodb_page_size": 16_384,
    "Max_used_connections": 41,
    "Open_files": 118,
    "Open_table_definitions": 402,
    "Open_tables": 1_004,
    "Threads_cached": 12,
}

_BUSY = {
    "Bytes_received": 81_000,
    "Bytes_sent": 420_000,
    "Com_commit": 21,
    "Com_insert": 9,
    "Com_select": 130,
    "Com_update": 17,
    "Handler_read_key": 610,
    "Handler_read_next": 2_900,
    "Handler_write": 14,
    "Innodb_buffer_pool_read_requests": 5_200,
    "Innodb_buffer_pool_reads": 3,
    "Innodb_data_fsyncs": 6,
    "Innodb_data_read": 49_152,
    "Innodb_data_written": 262_144,
    "Innodb_os_log_written": 30_000,
    "Innodb_rows_inserted": 9,
    "Innodb_rows_read": 4_100,
    "Innodb_rows_updated": 17,
    "Questions": 190,
    "Queries": 195,
}
"""Counters and how much they grow in a second."""


class Database:
    """One server.

    Attributes:
        running: Whether it answers.
    """

    def __init__(self, clock: Clock, uptime: float) -> None:
        """Begin as a server that has run for ``uptime`` seconds."""
        self._clock = clock
        self._started = clock.monotonic() - uptime
        self._starts = 0
        self.running = True

    def stop(self) -> None:
        """Break every connection and refuse new ones."""
        self.running = False

    def start(self) -> None:
        """Answer again, with all counters at 0."""
        self._started = self._clock.monotonic()
        self._starts += 1
        self.running = True

    def connect(self, login: MysqlLogin) -> "MysqlConnection[PairCursor]":
        """Return a connection.

        Raises:
            pymysql.err.OperationalError: The server does not run.
        """
        if not self.running:
            message = f"Can't connect to MySQL server through socket '{login.socket}' ([Errno 111] Connection refused)"
            raise pymysql.err.OperationalError(_REFUSED, message)
        return cast("MysqlConnection[PairCursor]", Connection(self, self._starts))

    def alive(self, start: int) -> bool:
        """Whether the server that a connection was made to still runs."""
        return self.running and start == self._starts

    def status(self) -> Mapping[str, object]:
        """Return every row of ``SHOW GLOBAL STATUS``."""
        uptime = self._clock.monotonic() - self._started
        rows = Counter({name: int(rate * uptime) for name, rate in _BUSY.items()})
        swing = int(uptime) % 7
        return {
            **_STEADY,
            **rows,
            "Connections": int(uptime / 30),
            "Innodb_buffer_pool_pages_dirty": 900 + 60 * swing,
            "Slow_queries": int(uptime / 600),
            "Threads_connected": 21 + swing,
            "Threads_created": 41,
            "Threads_running": 1 + swing % 3,
            "Uptime": int(uptime),
        }


class Connection:
    """As much of PyMySQL's connection as is used."""

    def __init__(self, database: Database, start: int) -> None:
        self._database = database
        self._start = start

    def cursor(self) -> "Cursor":
        """Return a cursor."""
        return Cursor(self)

    def close(self) -> None:
        """Say good-bye."""

    def query(self, statement: str) -> tuple[tuple[str, str], ...]:
        """Return the rows that answer a statement.

        Raises:
            pymysql.err.OperationalError: The server has gone.
        """
        if not self._database.alive(self._start):
            raise pymysql.err.OperationalError(_LOST, "Lost connection to MySQL server during query")
        show = _SHOW.fullmatch(statement)
        if show is None:
            return ()
        rows = self._database.status() if show[1] == "STATUS" else _VARIABLES
        wanted = None if show[2] is None else show[2].replace("'", "").split(",")
        return tuple((name, str(value)) for name, value in rows.items() if wanted is None or name in wanted)


class Cursor:
    """As much of PyMySQL's cursor as is used."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: tuple[tuple[str, str], ...] = ()
        self._sent = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        pass

    def execute(self, statement: str) -> None:
        """Run a statement."""
        self._rows = self._connection.query(statement)

    def send(self, statement: str) -> None:
        """Begin to run a statement."""
        self._sent = statement

    def receive(self) -> None:
        """Take the answer to what was sent."""
        self.execute(self._sent)

    def fetchall(self) -> tuple[tuple[str, str], ...]:
        """Return all rows of the last statement."""
        return self._rows
