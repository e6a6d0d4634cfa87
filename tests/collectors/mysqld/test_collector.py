import asyncio
import struct
from pathlib import Path
from typing import Any, Self

import pymysql
import pytest
from fakes import FakeHost, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st
from pymysql.err import InterfaceError, OperationalError

from collectors.mysqld.collector import MysqldCollector, MysqldConfig, argument, parse_my_cnf, parse_nested
from collectors.mysqld.status import CURATED_STATUS, CURATED_VARIABLES, parse_value, status_samples
from zcs_exporter.contract import CollectError, Finding, NotOnThisHost, Reason, Sample, Shortfall
from zcs_exporter.hostio import MysqlLogin

FIXTURES = Path(__file__).parents[2] / "fixtures" / "mysql"

SAFE = ("/bin/sh", "/opt/zimbra/common/bin/mysqld_safe", "--defaults-file=/opt/zimbra/conf/my.cnf")
SERVER = (
    "/opt/zimbra/common/sbin/mysqld",
    "--defaults-file=/opt/zimbra/conf/my.cnf",
    "--basedir=/opt/zimbra/common",
    "--datadir=/opt/zimbra/db/data",
    "--socket=/opt/zimbra/data/tmp/mysql/mysql.sock",
    "--port=7306",
)
ANTISPAM = ("/opt/zimbra/common/sbin/mysqld", "--defaults-file=/opt/zimbra/conf/antispam-my.cnf")
DATADIR = "/opt/zimbra/db/data"
SPAM_DATADIR = "/opt/zimbra/data/amavisd/mysql/data"

GONE = OperationalError(2006, "MySQL server has gone away")
TOO_MANY = OperationalError(1040, "Too many connections")


def rows(name: str) -> list[tuple[str, str]]:
    lines = (FIXTURES / name).read_text().splitlines()
    return [(line.partition("\t")[0], line.partition("\t")[2]) for line in lines]


STATUS = rows("mariadb-10.11.19-status.tsv")
VARIABLES = rows("mariadb-10.11.19-variables.tsv")


class FakeServer:
    """What a MySQL server does for one query after another; ``trouble`` is raised instead of an answer."""

    def __init__(self) -> None:
        self.status: dict[str, str] = dict(STATUS)
        self.variables: dict[str, str] = dict(VARIABLES)
        self.refusal: Exception | None = None
        self.trouble: list[Exception] = []
        self.queries: list[str] = []
        self.open = 0
        self.connects = 0
        self.deaf = False

    def connect(self) -> Any:
        self.connects += 1
        if self.refusal is not None:
            raise self.refusal
        self.open += 1
        return FakeConnection(self)


class FakeConnection:
    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.answer: list[tuple[str, str]] = []
        self.sent: list[str] = []

    def cursor(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def execute(self, query: str) -> None:
        assert not self.sent, "an answer is still on its way"
        if query.startswith("SET"):
            if "max_execution_time" in query:
                raise OperationalError(1193, "Unknown system variable 'max_execution_time'")
            return
        self.server.queries.append(query)
        if self.server.trouble:
            raise self.server.trouble.pop(0)
        known = self.server.status if "STATUS" in query else self.server.variables
        self.answer = [(name, value) for name, value in known.items() if "WHERE" not in query or f"'{name}'" in query]

    def send(self, query: str) -> None:
        if self.server.deaf:
            raise GONE
        self.sent.append(query)

    def receive(self) -> None:
        self.execute(self.sent.pop(0))

    def fetchall(self) -> tuple[tuple[str, str], ...]:
        return tuple(self.answer)

    def close(self) -> None:
        self.server.open -= 1


class DatabaseHost(FakeHost):
    """A host with database servers behind its sockets."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.servers: dict[str, FakeServer] = {}
        self.logins: list[MysqlLogin] = []

    def connect_mysql(self, login: MysqlLogin) -> Any:
        self.logins.append(login)
        if login.socket not in self.servers:
            error = OperationalError(2003, "Can't connect to MySQL server")
            error.original_exception = FileNotFoundError(2, "No such file or directory")  # type: ignore[attr-defined]
            raise error
        return self.servers[login.socket].connect()


@pytest.fixture
def host(tmp_path: Path) -> DatabaseHost:
    fake = DatabaseHost(tmp_path / "host")
    fake.localconfig(zimbra_mysql_password="geheim")
    fake.services("mailbox", "service", "mysql")
    (fake.base / "opt/zimbra/db/data").mkdir(parents=True)
    fake.write("/opt/zimbra/data/tmp/mysql/mysql.sock", "")
    fake.write("/opt/zimbra/conf/my.cnf", "[mysqld]\ndatadir = /opt/zimbra/db/data\nmax_connections = 110\n")
    fake.add_process(1, "systemd", "/sbin/init", ppid=0)
    fake.add_process(4000, "mysqld_safe", *SAFE)
    fake.add_process(4100, "mysqld", *SERVER, ppid=4000)
    return fake


@pytest.fixture
def server(host: DatabaseHost) -> FakeServer:
    return host.servers.setdefault("/opt/zimbra/data/tmp/mysql/mysql.sock", FakeServer())


def findings(subject: MysqldCollector) -> list[Finding]:
    return asyncio.run(subject.collect())


def values(found: list[Finding]) -> dict[tuple[str, ...], float]:
    return {(one.metric.name, *one.labels): one.value for one in found if isinstance(one, Sample)}


def measured(host: FakeHost, manual: ManualClock, **options: Any) -> dict[tuple[str, ...], float]:
    return values(findings(MysqldCollector(MysqldConfig(**options), host, manual.clock)))


def collector(host: FakeHost, manual: ManualClock) -> MysqldCollector:
    return MysqldCollector(MysqldConfig(), host, manual.clock)


def test_a_server_that_answers_is_up_and_tells_how_it_does(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    found = measured(host, manual)

    assert found["mysql_up",] == 1
    assert found["mysql_global_status_threads_connected",] == float(server.status["Threads_connected"])
    assert found["mysql_global_variables_max_connections",] == 110
    assert found["mysql_global_variables_slow_query_log",] == 1
    assert found["mysql_version_info", "", "10.11.19-MariaDB-0+deb12u1-log", "Debian 12"] == 1


def test_rows_are_grouped_as_mysqld_exporter_does() -> None:
    found = values(list(status_samples(STATUS)))

    assert found["mysql_global_status_commands_total", "update"] == 1
    assert found["mysql_global_status_handlers_total", "read_rnd_next"] == float(dict(STATUS)["Handler_read_rnd_next"])
    assert found["mysql_global_status_connection_errors_total", "max_connections"] == 0
    assert found["mysql_global_status_buffer_pool_pages", "data"] == float(
        dict(STATUS)["Innodb_buffer_pool_pages_data"]
    )
    assert found["mysql_global_status_buffer_pool_dirty_pages",] == float(
        dict(STATUS)["Innodb_buffer_pool_pages_dirty"]
    )
    assert {key[1] for key in found if key[0] == "mysql_global_status_buffer_pool_pages"} == {
        "data",
        "free",
        "misc",
        "old",
    }
    assert ("mysql_global_status_buffer_pool_page_changes_total", "flushed") in found
    assert ("mysql_global_status_performance_schema_lost_total", "users_lost") in found
    assert not [key for key in found if "total" in key[1:]]
    assert found["mysql_global_status_innodb_page_size",] == 16384


def test_innodb_row_operations_are_one_family() -> None:
    [sample] = status_samples([("Innodb_rows_read", "41")])

    assert (sample.metric.name, sample.labels, sample.value) == (
        "mysql_global_status_innodb_row_ops_total",
        ("read",),
        41,
    )


def test_every_row_of_a_number_or_a_switch_is_published_on_demand(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    curated = measured(host, manual)
    everything = measured(host, manual, status="all")
    numbers = [name for name, text in STATUS if parse_value(text) is not None]

    published = [key for key in everything if key[0].startswith("mysql_global_status_")]
    assert len(published) == len(numbers) - 1  # but the sum of all pages
    assert curated.items() <= everything.items()
    assert len(curated) < 100
    assert [query.partition(" WHERE")[0] for query in server.queries[2:]] == server.queries[2:]


def test_only_names_that_exist_are_curated() -> None:
    assert (
        not set(CURATED_STATUS)
        - dict(STATUS).keys()
        - {"Innodb_rows_deleted", "Innodb_rows_inserted"}
        - {
            "Innodb_rows_read",
            "Innodb_rows_updated",
        }
    )
    assert set(CURATED_VARIABLES) - dict(VARIABLES).keys() == {"innodb_version"}  # gone with MariaDB 10.10


def test_a_text_is_no_value() -> None:
    assert list(status_samples([("Rpl_status", "AUTH_MASTER"), ("Ssl_cipher", ""), ("x", "nan")])) == []


@settings(max_examples=2_000, deadline=None)
@given(st.text("0123456789.eE+-_ONaniY ", max_size=12) | st.text(max_size=5))
def test_any_text_is_a_finite_number_or_none(text: str) -> None:
    value = parse_value(text)

    assert value is None or abs(value) < float("inf")


@settings(max_examples=2_000, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.sampled_from(["1", "ON", "x", "2.5"])), max_size=5))
def test_any_rows_make_samples_of_legal_names(pairs: list[tuple[str, str]]) -> None:
    for sample in status_samples(pairs):
        assert sample.metric.name.isascii()
        assert sample.metric.name.replace("_", "a").isalnum()


def test_the_server_works_on_a_query_while_servers_are_counted(
    host: DatabaseHost, server: FakeServer, manual: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = collector(host, manual)
    findings(subject)
    order: list[str] = []
    send, listdir = FakeConnection.send, host.listdir
    monkeypatch.setattr(FakeConnection, "send", lambda *each: (order.append("send"), send(*each))[1])
    monkeypatch.setattr(host, "listdir", lambda path: (order.append(path), listdir(path))[1])

    found = values(findings(subject))

    assert order[:2] == ["send", "/proc"]
    assert found["mysql_up",] == 1
    assert server.connects == 1


def test_an_answer_that_nobody_took_is_never_taken_for_the_next_one(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    subject = collector(host, manual)
    findings(subject)
    host.localconfig()  # without the password
    with pytest.raises(CollectError):
        findings(subject)
    host.localconfig(zimbra_mysql_password="geheim")
    server.status["Threads_connected"] = "99"

    assert values(findings(subject))["mysql_global_status_threads_connected",] == 99
    assert (server.connects, server.open) == (2, 1)


def test_a_connection_that_broke_since_the_last_round_is_made_anew(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    subject = collector(host, manual)
    findings(subject)
    server.deaf = True

    assert values(findings(subject))["mysql_up",] == 1
    assert (server.connects, server.open) == (2, 1)


def test_the_connection_is_kept_and_the_variables_are_read_every_five_minutes(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    subject = collector(host, manual)
    for _ in range(22):
        found = values(findings(subject))
        manual.advance(15)

    assert server.connects == 1
    assert sum("STATUS" in query for query in server.queries) == 22
    assert sum("VARIABLES" in query for query in server.queries) == 2
    assert found["mysql_global_variables_max_connections",] == 110


def test_a_broken_connection_is_made_again_at_once(host: DatabaseHost, server: FakeServer, manual: ManualClock) -> None:
    subject = collector(host, manual)
    findings(subject)
    for trouble in (GONE, InterfaceError(0, ""), OperationalError(2013, "Lost connection to MySQL server")):
        server.trouble.append(trouble)
        assert values(findings(subject))["mysql_up",] == 1

    assert (server.connects, server.open) == (4, 1)


def test_a_server_that_does_not_answer_in_time_is_down_and_not_asked_twice(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    subject = collector(host, manual)
    findings(subject)
    error = OperationalError(2013, "Lost connection to MySQL server during query (timed out)")
    error.__context__ = TimeoutError("timed out")
    server.trouble.append(error)
    found = values(findings(subject))

    assert found["mysql_up",] == 0
    assert server.connects == 1
    assert values(findings(subject))["mysql_up",] == 1


@pytest.mark.parametrize(
    "error",
    [
        OperationalError(2003, "Can't connect"),
        OperationalError(2013, "Lost connection"),
        OperationalError(1053, "Server shutdown in progress"),
        InterfaceError(0, ""),
        ConnectionRefusedError(111, "Connection refused"),
        TimeoutError("timed out"),
    ],
)
def test_no_server_is_down_and_not_an_error(
    host: DatabaseHost, server: FakeServer, manual: ManualClock, error: Exception
) -> None:
    server.refusal = error
    found = measured(host, manual)

    assert found["mysql_up",] == 0
    assert not [key for key in found if key[0].startswith("mysql_global")]


def test_no_socket_is_down(host: DatabaseHost, manual: ManualClock) -> None:
    (host.base / "proc/4100/stat").unlink()

    assert measured(host, manual) == {("mysql_up",): 0, ("zcs_mysqld_instances", DATADIR): 0}


@pytest.mark.parametrize("code", [1045, 1698, 2059])
def test_a_refused_login_is_an_error_with_a_remedy(
    host: DatabaseHost, server: FakeServer, manual: ManualClock, code: int
) -> None:
    server.refusal = OperationalError(code, "Access denied for user 'zimbra'@'localhost'")

    with pytest.raises(CollectError, match="Access denied") as caught:
        findings(collector(host, manual))

    assert caught.value.reason is Reason.PERMISSION
    assert "localconfig.xml" in caught.value.remedy


def test_a_socket_behind_a_closed_directory_is_an_error_with_the_grant(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    error = OperationalError(2003, "Can't connect")
    error.original_exception = PermissionError(13, "Permission denied")  # type: ignore[attr-defined]
    server.refusal = error

    with pytest.raises(CollectError, match="mysqld: Permission denied") as caught:
        findings(collector(host, manual))

    assert "CAP_DAC_READ_SEARCH" in caught.value.remedy


def test_a_missing_password_is_an_error_with_a_remedy(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    host.localconfig()

    with pytest.raises(CollectError, match="zimbra_mysql_password") as caught:
        findings(collector(host, manual))

    assert caught.value.reason is Reason.PERMISSION
    assert "zmlocalconfig -e zimbra_mysql_password" in caught.value.remedy


@pytest.mark.parametrize("error", [OperationalError(1146, "Table doesn't exist"), pymysql.err.InternalError("odd")])
def test_any_other_refusal_is_an_error(
    host: DatabaseHost, server: FakeServer, manual: ManualClock, error: Exception
) -> None:
    server.refusal = error

    with pytest.raises(CollectError) as caught:
        findings(collector(host, manual))

    assert caught.value.reason is Reason.UNAVAILABLE


@pytest.mark.parametrize(
    "error", [struct.error("unpack"), IndexError("index"), UnicodeDecodeError("utf-8", b"", 0, 1, "")]
)
def test_something_else_behind_the_socket_is_an_error(
    host: DatabaseHost, server: FakeServer, manual: ManualClock, error: Exception
) -> None:
    server.refusal = error

    with pytest.raises(CollectError, match="does not speak MySQL") as caught:
        findings(collector(host, manual))

    assert caught.value.reason is Reason.PARSE


def test_too_many_connections_is_saturation_and_not_down(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    server.refusal = TOO_MANY
    found = measured(host, manual)

    assert found["mysql_up",] == 1
    # Nothing was ever read from this server: the limit is that of my.cnf.
    assert found["mysql_global_status_threads_connected",] == found["mysql_global_variables_max_connections",] == 110


def test_the_limit_that_the_server_told_is_better_than_my_cnf(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    server.variables["max_connections"] = "300"
    subject = collector(host, manual)
    findings(subject)
    server.trouble.append(GONE)
    server.refusal = TOO_MANY
    found = values(findings(subject))

    assert found["mysql_global_status_threads_connected",] == found["mysql_global_variables_max_connections",] == 300


def test_without_any_known_limit_nothing_is_made_up(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    (host.base / "opt/zimbra/conf/my.cnf").unlink()
    server.refusal = TOO_MANY
    found = measured(host, manual)

    assert found["mysql_up",] == 1
    assert not [key for key in found if key[0].startswith("mysql_global")]


def test_the_connection_reserved_for_the_administrator_is_given_back(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    server.status["Threads_connected"] = "111"
    found = measured(host, manual)

    assert found["mysql_global_status_threads_connected",] == 111
    assert server.open == 0


def test_a_connection_that_was_there_before_is_kept_when_all_are_taken(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    subject = collector(host, manual)
    findings(subject)
    server.status["Threads_connected"] = "111"
    findings(subject)

    assert (server.connects, server.open) == (1, 1)


def test_the_socket_is_where_the_release_has_it(host: DatabaseHost, manual: ManualClock) -> None:
    places = []
    for prepare in (
        lambda: None,
        lambda: (
            (host.base / "opt/zimbra/data/tmp/mysql/mysql.sock").unlink(),
            host.write("/opt/zimbra/db/mysql.sock", ""),
        ),
        lambda: host.localconfig(
            zimbra_mysql_password="geheim", mysql_socket="/run/my.sock", zimbra_mysql_user="reader"
        ),
    ):
        prepare()
        findings(collector(host, manual))
        places.append(host.logins[-1].socket)

    assert places == ["/opt/zimbra/data/tmp/mysql/mysql.sock", "/opt/zimbra/db/mysql.sock", "/run/my.sock"]
    assert (host.logins[0].user, host.logins[2].user, host.logins[2].password) == ("zimbra", "reader", "geheim")


def test_another_password_is_tried_at_once(host: DatabaseHost, server: FakeServer, manual: ManualClock) -> None:
    subject = collector(host, manual)
    findings(subject)
    host.localconfig(zimbra_mysql_password="neu")
    findings(subject)

    assert [login.password for login in host.logins] == ["geheim", "neu"]
    assert server.open == 1


def test_a_host_without_mailboxes_has_no_server_to_watch(host: DatabaseHost, manual: ManualClock) -> None:
    host.services("mta", "proxy")
    (host.base / "opt/zimbra/db/data").rmdir()

    with pytest.raises(NotOnThisHost, match="mailbox"):
        findings(collector(host, manual))


def test_a_host_without_zcs_has_no_server_to_watch(host: DatabaseHost, manual: ManualClock) -> None:
    (host.base / "opt/zimbra/conf/localconfig.xml").unlink()

    with pytest.raises(NotOnThisHost, match="no ZCS"):
        findings(collector(host, manual))


def test_data_without_a_known_role_is_reason_enough(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    (host.base / "opt/zimbra/conf/stats.conf").unlink()

    assert measured(host, manual)["mysql_up",] == 1


def instances(host: FakeHost, manual: ManualClock) -> dict[str, float]:
    return {key[1]: value for key, value in measured(host, manual).items() if key[0] == "zcs_mysqld_instances"}


@pytest.mark.parametrize("parent", [1, 4000, 4100, 2])
@pytest.mark.parametrize("comm", ["mysqld", "mariadbd"])
def test_two_servers_on_one_data_directory_are_found(
    host: DatabaseHost, server: FakeServer, manual: ManualClock, parent: int, comm: str
) -> None:
    host.add_process(4200, comm, *SERVER, ppid=parent)

    assert instances(host, manual) == {DATADIR: 2}


@pytest.mark.parametrize(
    "argv",
    [
        ("mysqld", "--datadir", "/opt/zimbra/db/data/"),
        ("mysqld", "--datadir=/srv/x", "--datadir=/opt/zimbra//db/data"),
        ("mysqld", "--defaults-file=/opt/zimbra/conf/my.cnf"),
        ("mysqld", "--defaults-file", "/opt/zimbra/conf/my.cnf", "--port=7399"),
        ("mysqld", "--defaults-file=/opt/zimbra/conf/none.cnf", "--socket=/opt/zimbra/db/mysql.sock"),
        ("mysqld", "--datadir=/data/link"),
    ],
)
def test_the_data_directory_is_found_however_it_is_given(
    host: DatabaseHost, server: FakeServer, manual: ManualClock, argv: tuple[str, ...]
) -> None:
    (host.base / "data").mkdir()
    (host.base / "data/link").symlink_to(host.path(DATADIR))
    host.add_process(4200, "mysqld", *argv)

    assert instances(host, manual) == {DATADIR: 2}


@pytest.mark.parametrize(
    ("comm", "argv"),
    [
        ("mysqld", ("/usr/sbin/mysqld",)),
        ("mariadbd", ("/usr/sbin/mariadbd", "--datadir=/var/lib/mysql")),
        ("mysqld_safe", ("/bin/sh", "/opt/zimbra/common/bin/mysqld_safe", "--datadir=/opt/zimbra/db/data")),
        ("mysql", ("mysql", "--datadir=/opt/zimbra/db/data")),
        ("mysqldump", ("mysqldump", "--defaults-file=/opt/zimbra/conf/my.cnf")),
        ("mysqld", ("/opt/zimbra/common/sbin/mysqld", "--datadir=/opt/zimbra/data/amavisd/mysql/data")),
        ("mysqld", ("/opt/zimbra/common/sbin/mysqld", "--datadir=/opt/zimbra/db/data2")),
        ("mysqld", ("/opt/zimbra/common/sbin/mysqld", "--socket=/opt/zimbra/data/amavisd/mysql/mysql.sock")),
        ("mysqld", ()),
    ],
)
def test_other_servers_and_tools_are_not_counted(
    host: DatabaseHost, server: FakeServer, manual: ManualClock, comm: str, argv: tuple[str, ...]
) -> None:
    host.add_process(4200, comm, *argv)

    assert instances(host, manual) == {DATADIR: 1}


def test_two_servers_are_told_even_if_neither_lets_us_in(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    server.refusal = OperationalError(1045, "Access denied for user 'zimbra'@'localhost'")
    host.add_process(4200, "mysqld", *SERVER)
    found = findings(collector(host, manual))

    assert values(found) == {("zcs_mysqld_instances", DATADIR): 2}
    assert [one.reason for one in found if isinstance(one, Shortfall)] == [Reason.PERMISSION]


def test_a_dead_server_is_not_counted(host: DatabaseHost, server: FakeServer, manual: ManualClock) -> None:
    host.add_process(4200, "mysqld", *SERVER, state="Z")

    assert instances(host, manual) == {DATADIR: 1}


def test_a_server_in_a_container_is_not_counted(host: DatabaseHost, server: FakeServer, manual: ManualClock) -> None:
    host.add_process(4200, "mysqld", *SERVER)
    host.write("/proc/4200/status", "Name:\tmysqld\nNSpid:\t4200\t17\n")

    assert instances(host, manual) == {DATADIR: 1}


def test_a_server_that_answers_but_cannot_be_seen_is_unknown_and_not_none(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    (host.base / "proc/4100/stat").unlink()
    found = findings(collector(host, manual))
    [shortfall] = [one for one in found if isinstance(one, Shortfall)]

    assert ("zcs_mysqld_instances", DATADIR) not in values(found)
    assert (shortfall.reason, DATADIR in shortfall.message, "hidepid" in shortfall.remedy) == (
        Reason.PERMISSION,
        True,
        True,
    )


def test_a_hidden_process_table_counts_nothing(host: DatabaseHost, manual: ManualClock) -> None:
    for pid in (1, 4100):
        (host.base / f"proc/{pid}/stat").unlink()

    assert instances(host, manual) == {}


def test_from_a_foreign_pid_namespace_nothing_is_counted_until_a_server_was_seen(
    host: DatabaseHost, manual: ManualClock
) -> None:
    host.write("/proc/self/ns/pid", "")
    stranger, neighbour = collector(host, manual), collector(host, manual)
    seen = values(findings(neighbour))
    (host.base / "proc/4100/stat").unlink()

    assert seen["zcs_mysqld_instances", DATADIR] == 1
    assert ("zcs_mysqld_instances", DATADIR) not in values(findings(stranger))
    assert values(findings(neighbour))["zcs_mysqld_instances", DATADIR] == 0


def test_a_shell_that_becomes_a_server_is_counted(host: DatabaseHost, server: FakeServer, manual: ManualClock) -> None:
    subject = collector(host, manual)
    host.add_process(4200, "mysqld_safe", *SAFE)
    findings(subject)
    host.add_process(4200, "mysqld", *SERVER)

    assert values(findings(subject))["zcs_mysqld_instances", DATADIR] == 2


def antispam(host: DatabaseHost) -> FakeServer:
    host.localconfig(
        zimbra_mysql_password="geheim", antispam_mysql_enabled="TRUE", antispam_mysql_password="auch geheim"
    )
    host.write("/opt/zimbra/conf/antispam-my.cnf", f"[mysqld]\ndatadir={SPAM_DATADIR}\n")
    host.add_process(5100, "mysqld", *ANTISPAM)
    return host.servers.setdefault("/opt/zimbra/data/amavisd/mysql/mysql.sock", FakeServer())


def test_the_antispam_server_counts_for_itself(host: DatabaseHost, server: FakeServer, manual: ManualClock) -> None:
    antispam(host)
    found = measured(host, manual)

    assert found["zcs_mysqld_antispam_up",] == found["mysql_up",] == 1
    assert (found["zcs_mysqld_instances", DATADIR], found["zcs_mysqld_instances", SPAM_DATADIR]) == (1, 1)


def test_the_antispam_server_may_be_the_only_one(host: DatabaseHost, manual: ManualClock) -> None:
    antispam(host)
    host.services("mta", "antispam")
    (host.base / "opt/zimbra/db/data").rmdir()
    found = measured(host, manual)

    assert found == {("zcs_mysqld_antispam_up",): 1, ("zcs_mysqld_instances", SPAM_DATADIR): 1}


def test_a_refusing_antispam_server_does_not_hide_the_mailbox_server(
    host: DatabaseHost, server: FakeServer, manual: ManualClock
) -> None:
    antispam(host).refusal = OperationalError(1045, "Access denied")
    found = findings(collector(host, manual))

    assert values(found)["mysql_up",] == 1
    assert ("zcs_mysqld_antispam_up",) not in values(found)
    assert [one.reason for one in found if isinstance(one, Shortfall)] == [Reason.PERMISSION]


def test_an_antispam_server_that_is_gone_is_down(host: DatabaseHost, server: FakeServer, manual: ManualClock) -> None:
    antispam(host)
    del host.servers["/opt/zimbra/data/amavisd/mysql/mysql.sock"]

    assert measured(host, manual)["zcs_mysqld_antispam_up",] == 0


def test_only_fixed_queries_are_run(host: DatabaseHost, server: FakeServer, manual: ManualClock) -> None:
    measured(host, manual)

    assert [query.partition(" WHERE")[0] for query in server.queries] == ["SHOW GLOBAL STATUS", "SHOW GLOBAL VARIABLES"]


def test_every_sample_is_declared(host: DatabaseHost, server: FakeServer, manual: ManualClock) -> None:
    antispam(host)
    subject = MysqldCollector(MysqldConfig(status="all"), host, manual.clock)

    found = [one for one in findings(subject) if isinstance(one, Sample)]
    assert {one.metric.declaration for one in found} <= set(MysqldCollector.metrics)
    assert len({(one.metric.name, one.labels) for one in found}) == len(found)


def test_an_options_file_is_read_as_the_server_does() -> None:
    text = """
[client]
datadir = /elsewhere
[mysqld]
# datadir = /comment
basedir      = /opt/zimbra/common
data-dir = "/ignored"
datadir='/opt/zimbra/db/data'
skip-name-resolve
[mysqld_safe]
datadir = /elsewhere
[mariadb]
Max-Connections=200
"""
    assert parse_my_cnf(text.encode("utf-8", "surrogatepass")) == {
        "basedir": "/opt/zimbra/common",
        "data_dir": "/ignored",
        "datadir": "/opt/zimbra/db/data",
        "skip_name_resolve": "",
        "max_connections": "200",
    }


@settings(max_examples=2_000, deadline=None)
@given(
    st.text() | st.lists(st.sampled_from(["[mysqld]", "[", "a", "a=b", "=", "datadir=", "[]", "a b"])).map("\n".join)
)
def test_any_text_is_some_options_file(text: str) -> None:
    assert all(name == name.lower() for name in parse_my_cnf(text.encode("utf-8", "surrogatepass")))


@settings(max_examples=2_000, deadline=None)
@given(st.lists(st.sampled_from(["--datadir", "--datadir=", "--datadir=/x", "--data_dir", "/y", ""]) | st.text()))
def test_any_command_line_names_a_directory_or_none(argv: list[str]) -> None:
    found = argument(argv, "datadir")

    assert found is None or any(found in word for word in argv)


@pytest.mark.parametrize(
    ("status", "nested"),
    [("NSpid:\t4711\n", False), ("NSpid:\t4711\t17\n", True), ("Name:\tx\n", False), ("NSpid:\n", False), ("", False)],
)
def test_a_process_with_a_number_in_another_namespace_is_nested(status: str, nested: bool) -> None:
    assert parse_nested(status) is nested
