"""Database servers."""

from collections.abc import Callable, Mapping

from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.objects.model import Column, Group, Index, Read, Table
from zcs_exporter.agent.objects.readers import severity_column
from zcs_exporter.alerting.model import AlertRule, Family
from zcs_exporter.snmp.smi import Syntax

_DATABASE_UP = {"mailbox": "mysql_up", "antispam": "zcs_mysqld_antispam_up"}


def _database(facts: Facts) -> list[str]:
    return [name for name, metric in _DATABASE_UP.items() if facts.value(metric) is not None]


def _of_mailbox(name: str) -> Callable[[Facts, str], Read]:
    """Read a metric of the database of the mailboxes, the only one whose status is read."""
    return lambda facts, key: facts.value(name) if key == "mailbox" else None


def _hit_permille(facts: Facts, key: str) -> Read:
    asked = facts.value("mysql_global_status_innodb_buffer_pool_read_requests")
    read = facts.value("mysql_global_status_innodb_buffer_pool_reads")
    if key != "mailbox" or read is None or not asked:
        return None
    return 1000 * (1 - read / asked)


def _database_severity(facts: Facts, key: str) -> Read:
    def about(rule: AlertRule, _: Mapping[str, str]) -> bool:
        antispam = any("antispam" in name for name in rule.metrics)
        return rule.family is Family.DATABASE and antispam == (key == "antispam")

    return facts.severity(about)


_DATABASES: Table[str] = Table(
    "zcsDatabase",
    "The database servers of this host.",
    "One database server.",
    _database,
    Index("zcsDatabaseName", Syntax.TEXT, "mailbox or antispam.", str),
    (
        Column(
            "zcsDatabaseReachable",
            2,
            Syntax.TRUTH,
            "Whether it answers.",
            lambda f, key: f.value(_DATABASE_UP[key]),
        ),
        Column(
            "zcsDatabaseUptime",
            3,
            Syntax.GAUGE,
            "Time since it was started.",
            _of_mailbox("mysql_global_status_uptime"),
            "seconds",
        ),
        Column(
            "zcsDatabaseConnections",
            4,
            Syntax.GAUGE,
            "Connections that are open.",
            _of_mailbox("mysql_global_status_threads_connected"),
            "connections",
        ),
        Column(
            "zcsDatabaseMaxConnections",
            5,
            Syntax.GAUGE,
            "Connections that may be open at a time.",
            _of_mailbox("mysql_global_variables_max_connections"),
            "connections",
        ),
        Column(
            "zcsDatabaseThreadsRunning",
            6,
            Syntax.GAUGE,
            "Threads that are not asleep.",
            _of_mailbox("mysql_global_status_threads_running"),
            "threads",
        ),
        Column(
            "zcsDatabaseQueries",
            7,
            Syntax.COUNTER,
            "Statements executed.",
            _of_mailbox("mysql_global_status_queries"),
            "statements",
        ),
        Column(
            "zcsDatabaseSlowQueries",
            8,
            Syntax.COUNTER,
            "Statements that took longer than long_query_time.",
            _of_mailbox("mysql_global_status_slow_queries"),
            "statements",
        ),
        Column(
            "zcsDatabaseHitPermille",
            9,
            Syntax.GAUGE,
            "Share of the reads that InnoDB's buffer pool has answered since start, in thousandths.",
            _hit_permille,
            "permille",
        ),
        severity_column("zcsDatabaseSeverity", 10, _database_severity),
    ),
)

DATABASES = Group("zcsDatabases", 5, table=_DATABASES)
