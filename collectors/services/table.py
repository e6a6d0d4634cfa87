"""What each ZCS service consists of, and how its processes are known.

A service is a value of ``zimbraServiceEnabled``, or a part of one that has an alarm of its own. Nothing is
asked: a process is found by its pid file and verified by its command name, since a pid file left by a crash
may name a stranger; where the file does not help, the process table is searched.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from zcs_exporter.contract import CollectError, Reason
from zcs_exporter.hostio import Process
from zcs_exporter.localconfig import Localconfig


class Tier(StrEnum):
    """Who must hear, and how soon, when a service is down."""

    VITAL = "vital"
    EDGE = "edge"
    NEEDED = "needed"
    MINOR = "minor"


_INTERPRETERS = ("java", "perl")


@dataclass(frozen=True, slots=True)
class Part:
    """One process that a service consists of.

    Attributes:
        name: As in messages.
        pid_files: Paths below ZCS's home, as versions have them; a path ending in ``/*`` names a directory
            of pid files, each of whose processes must live.
        comms: Beginnings of the command name.
        markers: One of these is in the command line of this process and of no other of that name; empty where
            the name is enough.
        json_key: The pid file is a JSON object, and this key holds the number.
        watched_elsewhere: Another collector raises the alarm for it.
    """

    name: str
    pid_files: tuple[str, ...]
    comms: tuple[str, ...]
    markers: tuple[str, ...] = ()
    json_key: str = ""
    watched_elsewhere: bool = False

    def is_named_by_pid_file(self, process: Process) -> bool:
        """Whether a process that the pid file names is this one."""
        return self._has_name(process) and (not process.comm.startswith(_INTERPRETERS) or self._is_marked(process))

    def is_in_table(self, process: Process, home: str) -> bool:
        """Whether a process of which nothing else is known is this one, and not another's of the same name."""
        return self._has_name(process) and (
            self._is_marked(process) if self.markers else f"{home}/" in " ".join(process.argv)
        )

    def _has_name(self, process: Process) -> bool:
        return process.alive and process.comm.startswith(self.comms)

    def _is_marked(self, process: Process) -> bool:
        line = " ".join(process.argv)
        return any(marker in line for marker in self.markers)


@dataclass(frozen=True, slots=True)
class Service:
    """One row of the table.

    Attributes:
        parts: All must run; the first is the one whose start is the service's.
        bounces: ZCS itself restarts it now and then, at log rotation for one.
    """

    name: str
    tier: Tier
    parts: tuple[Part, ...]
    bounces: bool = False


_AMAVISD = Part("amavisd", ("log/amavisd.pid",), ("amavisd",), ("amavisd",))
_MYSQLD = Part(
    "mysqld",
    ("log/mysql.pid", "db/mysql.pid"),
    ("mysqld", "mariadbd"),
    ("/conf/my.cnf",),
    watched_elsewhere=True,
)
_ANTISPAM_MYSQLD = Part(
    "antispam mysqld",
    ("data/amavisd/mysql/mysql.pid",),
    ("mysqld", "mariadbd"),
    ("/amavisd/mysql",),
    watched_elsewhere=True,
)
_SWATCH = ("swatch", "logswatch", "perl")

SERVICES: tuple[Service, ...] = (
    Service("ldap", Tier.VITAL, (Part("slapd", ("data/ldap/state/run/slapd.pid",), ("slapd",)),)),
    Service(
        "mailbox",
        Tier.VITAL,
        (
            Part("mailboxd", ("log/zmmailboxd_java.pid",), ("java",), ("/mailboxd/work", "/mailboxd/etc/jetty.xml")),
            Part("zmmailboxdmgr", ("log/zmmailboxd_manager.pid",), ("zmmailboxdmgr",)),
            _MYSQLD,
        ),
    ),
    Service("mta", Tier.VITAL, (Part("Postfix master", ("data/postfix/spool/pid/master.pid",), ("master",)),)),
    Service("proxy", Tier.EDGE, (Part("nginx", ("log/nginx.pid",), ("nginx",)),)),
    # amavisd belongs to four services; the first that is enabled raises the alarm for it.
    Service("amavis", Tier.NEEDED, (_AMAVISD,)),
    Service("antispam", Tier.NEEDED, (_AMAVISD, _ANTISPAM_MYSQLD)),
    Service("archiving", Tier.NEEDED, (_AMAVISD,)),
    Service("antivirus", Tier.NEEDED, (Part("clamd", ("log/clamd.pid",), ("clamd",)), _AMAVISD)),
    Service("sasl", Tier.NEEDED, (Part("saslauthd", ("data/sasl2/state/saslauthd.pid",), ("saslauthd",)),)),
    Service("milter", Tier.NEEDED, (Part("milter", ("log/milter.pid",), ("java",), ("milter",)),)),
    Service("memcached", Tier.NEEDED, (Part("memcached", ("log/memcached.pid",), ("memcached",)),)),
    Service("opendkim", Tier.NEEDED, (Part("opendkim", ("log/opendkim.pid",), ("opendkim",)),)),
    Service(
        "cbpolicyd", Tier.NEEDED, (Part("cbpolicyd", ("log/cbpolicyd.pid",), ("cbpolicyd", "perl"), ("cbpolicyd",)),)
    ),
    Service("dnscache", Tier.NEEDED, (Part("unbound", ("log/unbound.pid",), ("unbound",)),)),
    Service("convertd", Tier.NEEDED, (Part("convertd", ("log/convertd.pid",), ("httpd",), ("convertd",)),)),
    Service("imapd", Tier.NEEDED, (Part("imapd", ("log/imapd.pid",), ("java",), ("ImapDaemon",)),)),
    Service(
        "onlyoffice",
        Tier.NEEDED,
        (
            Part("docservice", ("onlyoffice/bin/process_id.json",), ("docservice",), json_key="docservice"),
            Part("converter", ("onlyoffice/bin/process_id.json",), ("converter",), json_key="converter"),
        ),
    ),
    Service("license-daemon", Tier.NEEDED, (Part("license daemon", (), ("java",), ("/license/lib/app.jar",)),)),
    Service(
        "zmconfigd",
        Tier.NEEDED,
        # The shell that watches over it, zmconfigdctl, has the word on its command line as well.
        (Part("zmconfigd", ("log/zmconfigd.pid",), ("java",), ("zmconfigd",)),),
        bounces=True,
    ),
    Service(
        "logger",
        Tier.MINOR,
        (Part("logswatch", ("log/logswatch.pid",), _SWATCH, ("/conf/logswatchrc",)),),
        bounces=True,
    ),
    Service("snmp", Tier.MINOR, (Part("swatch", ("log/swatch.pid",), _SWATCH, ("/conf/swatchrc",)),), bounces=True),
    Service("spell", Tier.MINOR, (Part("httpd", ("log/httpd.pid",), ("httpd",), ("/conf/httpd.conf",)),)),
    Service("stats", Tier.MINOR, (Part("zmstat", ("zmstat/pid/*",), ("zmstat-", "perl"), ("zmstat-",)),)),
)
"""Rows in the order in which they own the parts they share."""

RENAMED = {"imapproxy": "proxy"}
"""Names of 8.0 by their later ones."""

NOT_VISIBLE = {
    "nalpeiron-daemon": "it runs outside ZCS's tree, as the systemd unit nalpdaemon",
    "vmware-ha": "it has no process of its own",
}
"""Known names whose state no file or process tells."""


def expected(enabled: Iterable[str], localconfig: Localconfig, *, milter: bool) -> tuple[list[Service], list[str]]:
    """Return the services to look for, in the table's order, and the enabled names that the table does not have.

    Args:
        enabled: Values of ``zimbraServiceEnabled``.
        localconfig: Tells whether antispam has a database server.
        milter: Whether the MTA is set to ask Zimbra's milter.
    """
    names = {RENAMED.get(name, name) for name in enabled}
    unknown = sorted(names - {service.name for service in SERVICES})
    if "mta" in names:
        names |= {"sasl", "milter"} if milter else {"sasl"}
    with_database = (localconfig.get("antispam_mysql_enabled") or "").lower() == "true"
    services = []
    for service in SERVICES:
        if service.name not in names:
            continue
        parts = tuple(part for part in service.parts if with_database or part is not _ANTISPAM_MYSQLD)
        services.append(Service(service.name, service.tier, parts, service.bounces))
    return services, unknown


def parse_pid_file(data: bytes, json_key: str = "") -> int | None:
    """Return the process number that a pid file holds; None where it says that nothing runs.

    Args:
        data: Its content.
        json_key: Where the file is a JSON object, the key to look up; -1 there means stopped.

    Raises:
        CollectError: It holds no process number.
    """
    text = data.decode("utf-8", "replace").strip()
    try:
        # A pid file may carry more lines, as PostgreSQL's and some of amavisd's do; the number is the first word.
        number = json.loads(text).get(json_key, -1) if json_key else text.split()[0] if text else -1
        pid = int(number)
    except (AttributeError, ValueError, TypeError, RecursionError, OverflowError) as exc:
        raise CollectError(Reason.PARSE, f"{text[:40]!r} is not a process number") from exc
    return pid if 0 < pid < 1 << 31 else None


def parse_mta_milter_options(data: bytes) -> bool:
    """Return whether ``conf/mta_milter_options`` switches the milter on."""
    settings = (line.partition("=") for line in data.decode("utf-8", "replace").splitlines())
    return any(
        key.strip() == "zimbraMilterServerEnabled" and value.strip(" \t\"'").upper() == "TRUE"
        for key, _, value in settings
    )


def eldest(processes: Iterable[Process]) -> Process | None:
    """Return the process that started first: a daemon rather than the children that look like it."""
    return min(processes, key=lambda process: (process.start_ticks, process.pid), default=None)
