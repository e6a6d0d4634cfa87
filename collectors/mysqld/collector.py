"""The database server of the mailboxes: whether it answers, how it does, and that it is the only one on its data.

The series ``mysql_*`` carry the names of mysqld_exporter. A refused connection, a missing socket or no answer is
``mysql_up 0``. Too many connections is an answer: the server is up, and its connections are all taken. Being
refused by name or password is an error of this collector, for nothing is known of the server then.

Servers are counted by data directory: that of the command line, else of the options file that it names. Threads,
``mysqld_safe``, servers of the distribution and servers in containers are not counted, whoever their parent is.

Source: SHOW GLOBAL STATUS and VARIABLES over the unix socket; ``/proc/PID/{stat,cmdline,status}``.
Privileges: group zimbra, to read zimbra_mysql_password in localconfig.xml; no MySQL privilege but to log in.
Cost: one query of chosen names on a kept connection every 15 s, half a millisecond in the server.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from collectors.formats.mountinfo import is_below, normal
from collectors.mysqld.server import Answer, Server, number_of
from collectors.mysqld.status import (
    CURATED_STATUS,
    CURATED_VARIABLES,
    MAX_CONNECTIONS,
    STATUS_METRICS,
    THREADS_CONNECTED,
    Row,
    parse_value,
    status_samples,
    variable_samples,
)
from collectors.process_table import ProcessTable, pid_namespace, why_unseen
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    GRANT,
    Clock,
    CollectError,
    CollectorConfig,
    Finding,
    Kind,
    Metric,
    NotOnThisHost,
    Reason,
    Sample,
    Shortfall,
    doing,
)
from zcs_exporter.hostio import Host, MysqlLogin, Process
from zcs_exporter.installation import WatchedFile
from zcs_exporter.localconfig import Localconfig

UP = Metric("mysql_up", Kind.GAUGE, "1 if the database server of the mailboxes answers.")
ANTISPAM_UP = Metric("zcs_mysqld_antispam_up", Kind.GAUGE, "1 if the database server of the spam filter answers.")
INSTANCES = Metric(
    "zcs_mysqld_instances",
    Kind.GAUGE,
    "Servers that run on one data directory; two destroy it.",
    labels=("datadir",),
)

_SERVERS = frozenset({"mysqld", "mariadbd"})
_MOST_FILES = 16
_SECTIONS = frozenset({"mysqld", "server", "mariadb", "mariadbd"})


def _show(what: str, names: Sequence[str] | None) -> str:
    wanted = "" if names is None else " WHERE Variable_name IN ({})".format(",".join(f"'{name}'" for name in names))
    return f"SHOW GLOBAL {what}{wanted}"


# [mysqld], on a line of its own
_SECTION = re.compile(r"\[([^\]]*)\]")
# datadir = /opt/zimbra/db/data
_OPTION = re.compile(r"([A-Za-z][\w-]*)\s*(?:=\s*(.*))?")


def parse_my_cnf(data: bytes) -> Mapping[str, str]:
    """Return the options that a server takes from an options file, names with underscores; the last one counts.

    Files that it includes are not followed: ZCS's has none.
    """
    options: dict[str, str] = {}
    section = ""
    for line in data.decode("utf-8", "replace").splitlines():
        line = line.strip()
        if heading := _SECTION.match(line):
            section = heading[1].strip()
        elif section in _SECTIONS and (option := _OPTION.fullmatch(line)):
            options[option[1].replace("-", "_").lower()] = (option[2] or "").strip().strip("'\"")
    return options


def argument(argv: Sequence[str], name: str) -> str | None:
    """Return the last value of ``--name=VALUE`` or ``--name VALUE``; None if it is not given."""
    found = None
    for position, word in enumerate(argv):
        key, equals, value = word.partition("=")
        if key.replace("_", "-") != f"--{name}":
            continue
        if equals:
            found = value
        elif position + 1 < len(argv):
            found = argv[position + 1]
    return found


def parse_nested(status: str) -> bool:
    """Whether ``/proc/PID/status`` shows a process in a PID namespace below ours, as in a container."""
    # NSpid:	4711	17
    return any(line.startswith("NSpid:") and len(line.split()) > 2 for line in status.splitlines())


class MysqldConfig(CollectorConfig):
    """Options of the database collector.

    Attributes:
        status: ``curated`` reads the rows that dashboards and rules ask for, ``all`` every one, as mysqld_exporter.
    """

    status: Literal["curated", "all"] = "curated"


@dataclass(frozen=True, slots=True)
class Places:
    """Where this host's servers are, as its settings say.

    Attributes:
        mailbox: Data directory of the mailbox server; None where it does not belong here.
        antispam: The same of the spam filter's server.
    """

    localconfig: Localconfig
    mailbox: str | None
    antispam: str | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at the host gave; a server that does not belong here has no answer."""

    places: Places
    mailbox: Answer | None
    antispam: Answer | None
    instances: Mapping[str, int]
    shortfalls: tuple[Shortfall, ...]
    configured_limit: float | None


class MysqldCollector:
    """Asks the database server of the mailboxes and counts the servers on each data directory of ZCS."""

    name: ClassVar[str] = "mysqld"
    metrics: ClassVar[tuple[Metric, ...]] = (UP, ANTISPAM_UP, INSTANCES, *STATUS_METRICS)
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = MysqldConfig

    def __init__(self, config: MysqldConfig, host: Host, clock: Clock) -> None:
        self._host = host
        # A connect and a query that both reach it must fit into half an interval.
        self._timeout = min(3.0, (config.interval or self.interval) / 5)
        everything = config.status == "all"
        self._status = _show("STATUS", None if everything else CURATED_STATUS)
        self._variables = _show("VARIABLES", None if everything else CURATED_VARIABLES)
        self._call = BlockingCall("asking mysqld")
        self._mailbox = Server(host, clock, "mysqld")
        self._antispam = Server(host, clock, "the antispam mysqld")
        self._table = ProcessTable(host)
        self._options_files: dict[str, WatchedFile[Mapping[str, str]]] = {}
        self._nested: dict[tuple[int, int], bool | None] = {}
        self._seen_from: int | None = None
        self._settings: tuple[tuple[Row, ...], tuple[Sample, ...]] = ((), ())

    async def collect(self) -> list[Finding]:
        """Return the state of the servers that belong to this host."""
        reading = await self._call(self._read)
        findings: list[Finding] = list(reading.shortfalls)
        findings += [INSTANCES.sample(count, datadir=place) for place, count in reading.instances.items()]
        if reading.antispam is not None:
            findings.append(ANTISPAM_UP.sample(reading.antispam.up))
        if reading.mailbox is not None:
            findings.append(UP.sample(reading.mailbox.up))
            findings += self._server_samples(reading.mailbox, reading.configured_limit)
        return findings

    def _server_samples(self, answer: Answer, configured_limit: float | None) -> list[Sample]:
        if answer.full and not answer.status:
            # It turned us away because all connections are taken, so as many are open as may be.
            limit = number_of(answer.variables, "max_connections") or configured_limit
            return [] if limit is None else [THREADS_CONNECTED.sample(limit), MAX_CONNECTIONS.sample(limit)]
        rows, samples = self._settings
        if rows is not answer.variables:
            samples = tuple(variable_samples(answer.variables))
            self._settings = (answer.variables, samples)
        return [*status_samples(answer.status), *samples]

    def _read(self) -> Reading:
        self._mailbox.begin(self._status)
        places = self._find()
        # Counted first: two servers on one directory are told even if none of them lets us in.
        instances = self._instances(places)
        duplicate = any(count > 1 for count in instances.values())
        shortfalls: list[Shortfall] = []
        mailbox = antispam = None
        if places.mailbox is not None:
            try:
                socket = self._socket(places.localconfig)
                login = self._login(places.localconfig, socket, "zimbra_mysql_user", "zimbra_mysql_password")
                mailbox = self._mailbox.ask(login, self._status, self._variables)
            except CollectError as exc:
                if not duplicate:
                    raise
                shortfalls.append(Shortfall(exc.reason, str(exc), exc.remedy))
        if places.antispam is not None:
            try:
                socket = places.localconfig.get("antispam_mysql_socket") or ""
                login = self._login(places.localconfig, socket, "antispam_mysql_user", "antispam_mysql_password")
                antispam = self._antispam.ask(
                    login, _show("STATUS", ("Threads_connected",)), _show("VARIABLES", ("max_connections",))
                )
            except CollectError as exc:
                if mailbox is None and not duplicate:
                    raise
                shortfalls.append(Shortfall(exc.reason, str(exc), exc.remedy))
        for place, answer in ((places.mailbox, mailbox), (places.antispam, antispam)):
            if place is None or instances[place]:
                continue
            blind = why_unseen(self._host, self._seen_from)
            if blind is None and answer is not None and answer.up:
                blind = CollectError(
                    Reason.PERMISSION,
                    "it answers and is not among the processes that can be seen in /proc",
                    f"mount /proc without hidepid, run the daemon in the PID namespace of ZCS, or {GRANT}",
                )
            if blind is not None:
                del instances[place]
                shortfalls.append(Shortfall(blind.reason, f"the server on {place}: {blind}", blind.remedy))
        limit = parse_value(self._options_file(self._host.zcs.path("conf/my.cnf")).get("max_connections", ""))
        return Reading(places, mailbox, antispam, instances, tuple(shortfalls), limit)

    def _find(self) -> Places:
        zcs = self._host.zcs
        if not zcs.present():
            raise NotOnThisHost(f"no ZCS in {zcs.home}")
        with doing("reading localconfig.xml"):
            localconfig = zcs.localconfig()
        data = normal(localconfig.get("mysql_data_directory") or zcs.path("db/data"))
        mailbox = "mailbox" in (zcs.enabled_services() or ()) or self._host.exists(data)
        antispam = (localconfig.get("antispam_mysql_enabled") or "").lower() == "true"
        if not mailbox and not antispam:
            raise NotOnThisHost(f"the mailbox service is not enabled and {data} does not exist")
        other = localconfig.get("antispam_mysql_data_directory") or zcs.path("data/amavisd/mysql/data")
        return Places(localconfig, data if mailbox else None, normal(other) if antispam else None)

    def _socket(self, localconfig: Localconfig) -> str:
        configured = localconfig.get_explicit("mysql_socket")
        if configured:
            return configured
        # 8.7 and later, then before.
        places = [self._host.zcs.path(place) for place in ("data/tmp/mysql/mysql.sock", "db/mysql.sock")]
        return next((place for place in places if self._host.exists(place)), places[0])

    def _login(self, localconfig: Localconfig, socket: str, user_key: str, password_key: str) -> MysqlLogin:
        password = localconfig.get_explicit(password_key)
        if password is None:
            raise CollectError(
                Reason.PERMISSION,
                f"localconfig.xml does not set {password_key}, and without it nobody can log in to mysqld",
                f"set it as user zimbra: zmlocalconfig -e {password_key}=... (the password that the server knows)",
            )
        return MysqlLogin(socket, localconfig.get(user_key) or "zimbra", password, self._timeout)

    def _instances(self, places: Places) -> dict[str, int]:
        """Return how many servers run on each of ZCS's data directories."""
        with doing("listing /proc"):
            servers = self._table.find(lambda process: process.comm in _SERVERS and process.alive)
        count = {place: 0 for place in (places.mailbox, places.antispam) if place is not None}
        self._nested = {(each.pid, each.start_ticks): self._is_nested(each) for each in servers}
        for server in servers:
            if self._nested[server.pid, server.start_ticks]:
                continue
            given = self._datadir(server)
            place = self._match(given, count) if given is not None else self._guess(server, places)
            if place is not None:
                count[place] += 1
        if any(count.values()):
            self._seen_from = pid_namespace(self._host)
        return count

    def _is_nested(self, server: Process) -> bool | None:
        """Return whether it runs in a PID namespace below ours, which it can never leave; None if that is unseen."""
        known = self._nested.get((server.pid, server.start_ticks))
        if known is not None:
            return known
        try:
            return parse_nested(self._host.read_text(f"/proc/{server.pid}/status"))
        except OSError:
            return None

    def _datadir(self, server: Process) -> str | None:
        given = argument(server.argv, "datadir")
        if given is None:
            named = argument(server.argv, "defaults-file")
            given = self._options_file(named).get("datadir") if named else None
        return normal(given) if given is not None and given.startswith("/") else None

    def _guess(self, server: Process, places: Places) -> str | None:
        """Return the data directory of a server that does not say: ZCS's have their socket and log beside it."""
        zcs = self._host.zcs
        words = [normal(path) for word in server.argv if (path := word.rpartition("=")[2]).startswith("/")]
        for base, place in ((zcs.path("data/amavisd/mysql"), places.antispam), (zcs.path("db"), places.mailbox)):
            if any(is_below(word, base) for word in words):
                return place
        return None

    def _options_file(self, path: str) -> Mapping[str, str]:
        if len(self._options_files) > _MOST_FILES:
            self._options_files.clear()  # whoever starts a mysqld names one
        try:
            return self._options_files.setdefault(path, WatchedFile(parse_my_cnf)).get(self._host, path)
        except OSError:
            return {}

    def _match(self, given: str, wanted: Iterable[str]) -> str | None:
        for place in wanted:
            if given == place:
                return place
            try:
                if self._host.realpath(given) == self._host.realpath(place):
                    return place
            except OSError:
                continue
        return None
