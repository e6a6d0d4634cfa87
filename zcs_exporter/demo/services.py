"""What was installed and runs: ZCS's settings, its services and their processes."""

from zcs_exporter.contract import Clock
from zcs_exporter.demo.files import Tree
from zcs_exporter.demo.proc import ProcessTable

HOME = "/opt/zimbra"
HOSTNAME = "mail.example.com"
ADDRESS = "10.0.0.10"
DATA = f"{HOME}/db/data"
_PASSWORD = "only-for-the-demo"  # noqa: S105 - of a server that does not exist

SWATCH_SECONDS = 10
"""Seconds of the window over failed logins; a site sets it by the same key."""

_SETTINGS = {
    "zimbra_server_hostname": HOSTNAME,
    "zimbra_mysql_password": _PASSWORD,
    "mysql_socket": f"{HOME}/data/tmp/mysql/mysql.sock",
    "snmp_notify": "0",
    "zimbra_swatch_threshold_seconds": str(SWATCH_SECONDS),
}

_SERVICES = (
    *("amavis", "antispam", "antivirus", "ldap", "logger", "mailbox", "memcached", "mta", "opendkim", "proxy", "snmp"),
    *("service", "stats", "zimbra", "zimbraAdmin", "zimlet"),
)

REPORTED = ("antispam", "antivirus", "ldap", "mailbox", "memcached", "mta", "proxy", "stats", "zmconfigd")
"""Services whose status zmstatuslog reports."""

_DIRECTORIES = (
    "store/0",
    "index/0",
    "db/data",
    "redolog",
    "backup/sessions",
    "data/ldap/mdb",
    "zmstat/pid",
    "common/bin",
)

_HISTORY = (
    ("INSTALL", "SESSION START"),
    ("INSTALLED", "zimbra-core_10.1.5.GA.4652.UBUNTU22.64_amd64.deb"),
    ("INSTALL", "SESSION COMPLETE"),
    ("CONFIG", "SESSION START"),
    ("CONFIGURED", "END"),
    ("CONFIG", "SESSION COMPLETE"),
)

_SBIN = f"{HOME}/common/sbin"
_PERL = "/usr/bin/perl"

_DAEMONS = (
    # Command name, command line, pid file below the home.
    (
        "slapd",
        (f"{HOME}/common/libexec/slapd", "-l", "LOCAL0", "-F", f"{HOME}/data/ldap/config"),
        "data/ldap/state/run/slapd.pid",
    ),
    ("zmmailboxdmgr", (f"{HOME}/libexec/zmmailboxdmgr", "start"), "log/zmmailboxd_manager.pid"),
    ("master", (f"{HOME}/common/libexec/master", "-w"), "data/postfix/spool/pid/master.pid"),
    ("saslauthd", (f"{_SBIN}/saslauthd", "-r", "-a", "zimbra"), "data/sasl2/state/saslauthd.pid"),
    ("memcached", (f"{HOME}/common/bin/memcached", "-d", "-p", "11211"), "log/memcached.pid"),
    ("opendkim", (f"{_SBIN}/opendkim", "-x", f"{HOME}/conf/opendkim.conf"), "log/opendkim.pid"),
    ("clamd", (f"{_SBIN}/clamd", f"--config-file={HOME}/conf/clamd.conf"), "log/clamd.pid"),
    ("perl", (_PERL, f"{HOME}/common/bin/swatchdog", f"--config-file={HOME}/conf/logswatchrc"), "log/logswatch.pid"),
    ("perl", (_PERL, f"{HOME}/common/bin/swatchdog", f"--config-file={HOME}/conf/swatchrc"), "log/swatch.pid"),
    *(
        (f"zmstat-{what}", (_PERL, "-w", f"{HOME}/libexec/zmstat-{what}"), f"zmstat/pid/zmstat-{what}.pid")
        for what in ("proc", "cpu", "vm", "df", "mysql", "mtaqueue")
    ),
)
_TITLED = (
    # Command name, what it shows in place of its command line, pid file.
    ("nginx", f"nginx: master process {_SBIN}/nginx -c {HOME}/conf/nginx.conf", "log/nginx.pid"),
    ("amavisd", "amavisd (master)", "log/amavisd.pid"),
)

MAILBOXD = (f"{HOME}/common/bin/java", "-Xms4096m", "-Xmx4096m", "-jar", "start.jar", f"{HOME}/mailboxd/etc/jetty.xml")
ZMCONFIGD = (f"{HOME}/common/bin/java", "-Xmx256m", "org.python.util.jython", f"{HOME}/libexec/zmconfigd")
MYSQLD = (f"{_SBIN}/mysqld", f"--defaults-file={HOME}/conf/my.cnf", f"--datadir={DATA}", "--user=zimbra")
MYSQL_PID_FILE = f"{HOME}/log/mysql.pid"

AGE = 9 * 86400.0
"""Seconds for which the services have been running when the demo begins."""


def install(tree: Tree, clock: Clock) -> None:
    """Write what the installer and zmconfigd leave behind."""
    keys = "".join(
        f'  <key name="{name}">\n    <value>{value}</value>\n  </key>\n' for name, value in _SETTINGS.items()
    )
    tree.write(
        f"{HOME}/conf/localconfig.xml",
        f'<?xml version="1.0" encoding="UTF-8"?>\n<localconfig>\n{keys}</localconfig>\n',
        0o640,
    )
    tree.write(f"{HOME}/conf/stats.conf", "".join(f"service {name}\n" for name in _SERVICES))
    tree.write(f"{HOME}/conf/my.cnf", f"[mysqld]\ndatadir = {DATA}\nmax_connections = 110\n", 0o640)
    begun = int(clock.wall() - 2 * AGE)
    history = (f"{begun + 60 * number}: {word} {what}\n" for number, (word, what) in enumerate(_HISTORY))
    tree.write(f"{HOME}/.install_history", "".join(history))
    for directory in _DIRECTORIES:
        tree.make(f"{HOME}/{directory}")


def start_daemons(processes: ProcessTable) -> None:
    """Start every service's processes but the JVMs and the database."""
    for comm, argv, pid_file in _DAEMONS:
        processes.start(comm, *argv, pid_file=f"{HOME}/{pid_file}", age=AGE)
    for comm, title, pid_file in _TITLED:
        processes.start(comm, pid_file=f"{HOME}/{pid_file}", age=AGE, title=title)
