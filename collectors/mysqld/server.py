"""One MySQL or MariaDB server: the connection kept to it, and what its refusals mean."""

import contextlib
import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from collectors.mysqld.status import Row, parse_value
from zcs_exporter.contract import Clock, CollectError, Reason, os_error
from zcs_exporter.hostio import Host, MysqlLogin
from zcs_exporter.mysql_client import PairCursor, pymysql

_VARIABLES_AGAIN = 300.0

_TOO_MANY = 1040
_TOO_MANY_OF_USER = 1203
_SHUTTING_DOWN = 1053
# From here on errors are the client's own: nobody there, or nobody who answers.
_CLIENT = 2000
# Wrong user or password, a password that must be changed, a way to log in that we do not speak.
_CANNOT_LOG_IN = frozenset({1044, 1045, 1130, 1142, 1227, 1251, 1275, 1290, 1698, 1820, 1862, 2054, 2059, 4151})

# Each is refused by some release, which does not matter: the client's own time limit holds in any case.
_SESSION = (
    "SET SESSION max_statement_time=2",  # MariaDB, seconds
    "SET SESSION max_execution_time=2000",  # MySQL 5.7 and later, milliseconds
    "SET SESSION lock_wait_timeout=2",
    "SET SESSION TRANSACTION READ ONLY",
    "SET SESSION long_query_time=3600",  # ZCS logs from one second on, and its log should not be about us
    "SET SESSION slow_query_log=0",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What asking a server came to.

    Attributes:
        up: Whether it answered at all.
        status: Rows of SHOW GLOBAL STATUS; empty where they could not be asked for.
        variables: Rows of SHOW GLOBAL VARIABLES, at most five minutes old.
        full: Whether it had no connection left.
    """

    up: bool
    status: tuple[Row, ...] = ()
    variables: tuple[Row, ...] = ()
    full: bool = False


class Server:
    """One database server and the connection that is kept to it; used by one thread at a time."""

    def __init__(self, host: Host, clock: Clock, what: str) -> None:
        self._host = host
        self._clock = clock
        self._what = what
        self._login: MysqlLogin | None = None
        self._connection: pymysql.connections.Connection[PairCursor] | None = None
        self._variables: tuple[Row, ...] = ()
        self._variables_at = 0.0
        self._asked: tuple[str, PairCursor] | None = None

    def begin(self, query: str) -> None:
        """Send a query over the kept connection, so that the server works on it while its asker does something else.

        What ``ask`` has no use for is lost with the connection.
        """
        if self._asked is not None:
            self._close()
        if self._connection is not None:
            cursor = self._connection.cursor()
            try:
                cursor.send(query)
            except pymysql.err.MySQLError:
                self._close()
            else:
                self._asked = (query, cursor)

    def ask(self, login: MysqlLogin, status: str, variables: str) -> Answer:
        """Return what the server says to two queries; the second is repeated only every five minutes.

        Raises:
            CollectError: It does not let us in, or what it says is no MySQL.
        """
        if login != self._login:
            self._close()
            self._login = login
        kept = self._connection is not None
        try:
            try:
                return self._query(login, status, variables)
            except pymysql.err.MySQLError as exc:
                self._close()
                # A kept connection breaks when the server restarts, or by its time limit on idle ones.
                if not kept or _timed_out(exc) or not _no_server(exc):
                    raise
            return self._query(login, status, variables)
        except pymysql.err.MySQLError as exc:
            self._close()
            return self._failed(exc)
        except OSError as exc:
            self._close()
            return self._unreachable(exc)
        except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError, struct.error) as exc:
            self._close()
            raise CollectError(
                Reason.PARSE, f"{self._what} at {login.socket}: it does not speak MySQL: {exc!r}"
            ) from exc

    def _query(self, login: MysqlLogin, status: str, variables: str) -> Answer:
        fresh = self._connection is None
        if self._connection is None:
            self._connection = self._connect(login)
            self._variables = ()
        rows = self._rows(status)
        now = self._clock.monotonic()
        if not self._variables or not 0 <= now - self._variables_at < _VARIABLES_AGAIN:
            self._variables, self._variables_at = self._rows(variables), now
        full = fresh and _connections(rows) > _limit(self._variables)
        if full:
            # We were let in by the connection that is reserved for the administrator: it is not ours to keep.
            self._close()
        return Answer(up=True, status=rows, variables=self._variables, full=full)

    def _connect(self, login: MysqlLogin) -> "pymysql.connections.Connection[PairCursor]":
        connection = self._host.connect_mysql(login)
        try:
            with connection.cursor() as cursor:
                for statement in _SESSION:
                    try:
                        cursor.execute(statement)
                    except pymysql.err.MySQLError as exc:
                        if _no_server(exc):
                            raise
        except BaseException:
            connection.close()
            raise
        return connection

    def _rows(self, query: str) -> tuple[Row, ...]:
        assert self._connection is not None  # noqa: S101 - the caller connected
        asked, self._asked = self._asked, None
        if asked is not None and asked[0] == query:
            asked[1].receive()
            return asked[1].fetchall()
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def _failed(self, exc: pymysql.err.MySQLError) -> Answer:
        code = _code(exc)
        if code in (_TOO_MANY, _TOO_MANY_OF_USER):
            return Answer(up=True, variables=self._variables, full=code == _TOO_MANY)
        cause = getattr(exc, "original_exception", None)
        if isinstance(cause, OSError):
            return self._unreachable(cause)
        if code in _CANNOT_LOG_IN:
            raise CollectError(
                Reason.PERMISSION,
                f"{self._what} refused the login: {exc.args[-1] if exc.args else exc}",
                "compare user and password in localconfig.xml with those of the server (zmlocalconfig -s, zmmypasswd)",
            ) from exc
        if code == _SHUTTING_DOWN or _no_server(exc):
            return Answer(up=False)
        raise CollectError(Reason.UNAVAILABLE, f"{self._what}: {exc!r}") from exc

    def _unreachable(self, exc: OSError) -> Answer:
        if exc.errno in (errno.EACCES, errno.EPERM):
            raise os_error(exc, f"connecting to {self._what}") from exc
        return Answer(up=False)

    def _close(self) -> None:
        connection, self._connection, self._asked = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(pymysql.err.MySQLError, OSError):  # then it is closed already
                connection.close()


def _code(exc: pymysql.err.MySQLError) -> int:
    return exc.args[0] if exc.args and isinstance(exc.args[0], int) else 0


def _no_server(exc: pymysql.err.MySQLError) -> bool:
    return _code(exc) >= _CLIENT or isinstance(exc, pymysql.err.InterfaceError)


def _timed_out(exc: pymysql.err.MySQLError) -> bool:
    return isinstance(exc.__context__, TimeoutError)


def number_of(rows: Iterable[Row], name: str) -> float | None:
    """Return the value of the row called ``name``, in lower case; None if there is no such number."""
    return next((parse_value(value) for row, value in rows if row.lower() == name), None)


def _connections(rows: Iterable[Row]) -> float:
    return number_of(rows, "threads_connected") or 0.0


def _limit(rows: Iterable[Row]) -> float:
    return number_of(rows, "max_connections") or float("inf")
