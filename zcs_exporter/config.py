"""The configuration file: what it may say, read and checked in one go.

With no file at all the defaults below are what a host needs. Every fault is reported with its file, line,
key and remedy, all at once.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from zcs_exporter.alerting.model import AlertRule, Catalogue, Unit, load_catalogue
from zcs_exporter.alerting.policy import AlertsConfig, Override
from zcs_exporter.assets import asset
from zcs_exporter.config_values import (
    AbsolutePath,
    Address,
    AgentAddress,
    AgentxPlace,
    EventsFile,
    Network,
    RootOid,
    SecretsFile,
    host_and_port,
)
from zcs_exporter.contract import CollectorConfig, Duration
from zcs_exporter.registry import collector_classes, collector_names
from zcs_exporter.schema import Limits, Section, check
from zcs_exporter.strict_yaml import YamlError, load_yaml

if TYPE_CHECKING:
    from zcs_exporter.snmp.secrets import Version
    from zcs_exporter.snmp.smi import Oid

DEFAULT_FILE = "/etc/zcs-exporter/config.yaml"

S = TypeVar("S", bound=Section)


class ConfigError(Exception):
    """The configuration cannot be used.

    Attributes:
        faults: One line each, with place and remedy.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class HostConfig(Section):
    """Which host is examined.

    Attributes:
        root: Where its ``/`` is; another directory for a test or a rescue system.
        zimbra_home: Where ZCS is installed on it.
    """

    root: AbsolutePath = "/"
    zimbra_home: AbsolutePath = "/opt/zimbra"


class StateConfig(Section):
    """Where the daemon keeps what must survive.

    Attributes:
        directory: Its own, mode 0700.
    """

    directory: AbsolutePath = "/var/lib/zcs-exporter"


class WebConfig(Section):
    """Where the daemon listens for HTTP.

    Attributes:
        listen: Address and port.
        config_file: TLS and users, in the format of Prometheus' exporter toolkit.
        allow: Networks that may connect. Who logs in on this host itself, as the commands do, may always.
    """

    listen: Address = "127.0.0.1:10741"
    config_file: AbsolutePath | None = None
    allow: tuple[Network, ...] = ()

    @property
    def host(self) -> str:
        """The address to listen on."""
        return host_and_port(self.listen)[0]

    @property
    def port(self) -> int:
        """The port to listen on."""
        return host_and_port(self.listen)[1]


class LogConfig(Section):
    """The daemon's own log, on standard error.

    Attributes:
        level: Least severity that is written: ``debug``, ``info``, ``warning`` or ``error``.
        format: ``text``, or ``json`` with one object a line.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class PrivacyConfig(Section):
    """Where evidence may name who it was.

    Attributes:
        accounts: Accounts and domains: ``never``, on ``encrypted`` ways (SNMPv3, the logged-in page) or ``always``.
        addresses: Client addresses, likewise.
    """

    accounts: Literal["never", "encrypted", "always"] = "encrypted"
    addresses: Literal["never", "encrypted", "always"] = "always"


class EventsConfig(Section):
    """Where each security or state event goes, as one JSON object.

    Attributes:
        file: A name in the state directory, or an absolute path; ``null`` for none. It has mode 0600 and is rotated
            each day and by size.
        keep: Rotated files that are older are deleted.
        max_mib: Mebibytes that all files may take together; the oldest are deleted beyond.
        journal: Whether they go to the systemd journal too, with no more names than ``privacy`` lets pass always.
    """

    file: EventsFile | None = "events.jsonl"
    keep: Annotated[Duration, Limits(least=3600)] = 30 * 86400.0
    max_mib: Annotated[int, Limits(least=20, most=1 << 20)] = 500
    journal: bool = False


class SnmpTargetConfig(Section):
    """One SNMP manager that gets notifications.

    Attributes:
        name: Of the target in metrics and logs.
        host: Name or address.
        port: UDP port.
        version: ``3``, or ``2c`` or ``1`` for old managers.
        kind: An inform is acknowledged and repeated; a trap is sent once. Version 1 has traps only.
        secrets: File with the community or the user, mode 0600.
        compat: ``zimbra`` sends ``zmServiceStatusTrap`` besides, just as ZCS does, for managers that know only that.
        max_age: After this a message that could not be delivered is given up.
        rate: Messages a second after a burst, 5 for informs and 2 for traps; what comes faster for half a minute
            is folded into one.
        burst: Messages that may go out at once.
    """

    name: Annotated[str, Limits(pattern=r"[A-Za-z0-9_.-]{1,32}")]
    host: Annotated[str, Limits(min_length=1, max_length=253)]
    port: Annotated[int, Limits(least=1, most=65535)] = 162
    version: Literal[1, "1", "2c", 3] = 3
    kind: Literal["trap", "inform"] = "inform"
    secrets: SecretsFile
    compat: Literal["zimbra"] | None = None
    max_age: Duration = 86400.0
    rate: Annotated[float, Limits(above=0, most=1000)] | None = None
    burst: Annotated[int, Limits(least=1, most=1000)] = 20

    @property
    def snmp_version(self) -> "Version":
        """The version as SNMP's own parts call it."""
        return "1" if self.version in (1, "1") else "2c" if self.version == "2c" else "3"

    @property
    def pace(self) -> float:
        """Messages a second; a receiver of traps that is hurried loses them and tells nobody."""
        return self.rate or (5.0 if self.kind == "inform" else 2.0)

    def _consistent(self) -> None:
        if self.snmp_version == "1" and self.kind == "inform":
            raise ValueError("version 1 has no informs; add kind: trap")
        if self.snmp_version == "3" and self.compat is not None:
            raise ValueError("compat: zimbra goes out with a community; use version 2c or 1 for it")


class NotifyConfig(Section):
    """Who is told of alarms and events.

    Attributes:
        heartbeat: Seconds between two heartbeats to each target; 0s for none.
        snmp: SNMP managers.
        mail: Nothing yet.
        webhook: Nothing yet.
    """

    heartbeat: Duration = 60.0
    snmp: tuple[SnmpTargetConfig, ...] = ()
    mail: tuple[()] = ()
    webhook: tuple[()] = ()

    def _consistent(self) -> None:
        names = [target.name for target in self.snmp]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two targets are called {name}; each name must be its own")


class SnmpConfig(Section):
    """What all of SNMP shares.

    Attributes:
        root_oid: Where our MIB hangs, for a site with an arc of its own.
    """

    root_oid: RootOid | None = None

    @property
    def root(self) -> "Oid":
        """The root as numbers."""
        from zcs_exporter.snmp.smi import DEFAULT_ROOT, parse_root

        return DEFAULT_ROOT if self.root_oid is None else parse_root(self.root_oid)


class SnmpAgentConfig(Section):
    """The SNMP agent: managers may ask for what the daemon knows, and can change nothing.

    Version 3 is answered to users with authentication and encryption only, version 2c to communities that nobody
    guesses, from networks that are named; version 1 not at all. The objects are those of ``zcs-exporter mib``.

    Attributes:
        enabled: Whether it answers.
        listen: Address and UDP port; on all addresses (``0.0.0.0``, ``[::]``) it answers from the one that was asked.
            Ports below 1024 need a capability that the daemon has not; let snmpd, where it holds port 161, pass on
            what it is asked.
        allow: Networks that may ask, such as ``[192.0.2.0/24]``; needed to listen beyond this host, and for
            communities.
        users: Secrets files of version 3 users, each with ``user:``, ``auth:`` and ``priv:``, mode 0600. MD5, SHA-1,
            DES and 3DES need ``allow_weak: true`` in the file.
        communities: Secrets files of version 2c, each with a ``community:`` of 16 characters or more. Version 1 is not
            answered.
        contact: Who is responsible for the host: ``sysContact``.
        location: Where it is: ``sysLocation``.
        agentx: Where the snmpd of this host takes subagents, which it does with ``master agentx`` in its
            configuration: the path of its socket, such as ``/var/agentx/master``, or a loopback address and port. It
            then answers for our objects, whether ``enabled`` or not, to the users that it has.
    """

    enabled: bool = False
    listen: AgentAddress = "127.0.0.1:1161"
    allow: tuple[Network, ...] = ()
    users: tuple[SecretsFile, ...] = ()
    communities: tuple[SecretsFile, ...] = ()
    contact: Annotated[str, Limits(max_length=255)] = ""
    location: Annotated[str, Limits(max_length=255)] = ""
    agentx: AgentxPlace | None = None

    @property
    def host(self) -> str:
        """The address to listen on."""
        return host_and_port(self.listen)[0]

    @property
    def port(self) -> int:
        """The port to listen on."""
        return host_and_port(self.listen)[1]


class Config(Section):
    """The whole configuration.

    Attributes:
        collectors: One section for each collector.
    """

    host: HostConfig = HostConfig()
    state: StateConfig = StateConfig()
    web: WebConfig = WebConfig()
    log: LogConfig = LogConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    events: EventsConfig = EventsConfig()
    collectors: Section
    alerts: AlertsConfig = AlertsConfig()
    notify: NotifyConfig = NotifyConfig()
    snmp: SnmpConfig = SnmpConfig()
    snmp_agent: SnmpAgentConfig = SnmpAgentConfig()

    @property
    def sections(self) -> Collection[str]:
        """The names of the collectors that have a section."""
        return self.collectors.options

    def collector(self, name: str) -> CollectorConfig:
        """Return one collector's section."""
        section = getattr(self.collectors, name)
        assert isinstance(section, CollectorConfig)  # noqa: S101 - built so by config_model
        return section


def config_model(names: Collection[str] | None = None) -> type[Config]:
    """Return the configuration's model with a section for each of these collectors; None for every one there is."""
    kinds = {cls.name: cls.config_class for cls in collector_classes(names)}
    collectors = _section("CollectorsConfig", Section, kinds)
    return _section("FullConfig", Config, {"collectors": collectors})


def _section(name: str, base: type[S], kinds: Mapping[str, type[Section]]) -> type[S]:
    """Return a section that has a section of each of these kinds, with its defaults, beside what ``base`` has."""
    return type(name, (base,), {"__annotations__": dict(kinds)} | {key: kind() for key, kind in kinds.items()})


def load_config(
    file: str | None, catalogue: Catalogue | None = None, collectors: Collection[str] | None = None
) -> Config:
    """Read ``file`` and ``conf.d/*.yaml`` beside it, in name order, later files adding to earlier ones.

    Args:
        file: None for the default place, which may be missing.
        catalogue: The alerts that overrides may name; None to read them where there is an override.
        collectors: Those whose settings are asked for; None for all. Others have a section only where a file
            has one, which is checked like any.

    Raises:
        ConfigError: All faults of all files.
    """
    faults: list[str] = []
    merged: dict[str, Any] = {}
    places: dict[tuple[str | int, ...], str] = {}
    shown = file or DEFAULT_FILE
    parts = [(part, *_parse(part)) for part in _files(file)]
    model = config_model(_sections_of([data for _, data, _, _ in parts], collectors))
    for part, data, lines, problem in parts:
        if problem is not None:
            faults.append(problem)
        elif data is not None:
            _, wrong = check(model, data, lines, part)
            faults += [*wrong, *_merge(merged, data, part)]
            places |= {path: f"{part}, line {line}" for path, line in lines.items()}
    if faults:
        raise ConfigError(faults)
    config, faults = check(model, merged, places, shown)
    if config is not None and config.alerts.overrides:
        faults += _cross_check(config, catalogue or load_catalogue(asset("alerts")), places, shown)
    if config is None or faults:
        raise ConfigError(faults)
    return config


def _sections_of(files: Iterable[Any], wanted: Collection[str] | None) -> Collection[str] | None:
    """Return the collectors that need a section: those wanted, and those in the files; all where one has no such."""
    if wanted is None:
        return None
    written = [data["collectors"] for data in files if data and isinstance(data.get("collectors"), dict)]
    names = {str(name) for section in written for name in section}
    return names.union(wanted) if names.issubset(collector_names()) else None


def _files(file: str | None) -> list[str]:
    main = file or DEFAULT_FILE
    first = [main] if file is not None or os.path.exists(main) else []
    directory = os.path.join(os.path.dirname(main) or ".", "conf.d")
    try:
        return [*first, *(str(path) for path in sorted(Path(directory).glob("*.yaml")))]
    except OSError as exc:
        raise ConfigError([f"{directory}: {exc.strerror}; run this as root or as the daemon's user"]) from exc


def _parse(file: str) -> tuple[Any, dict[tuple[str | int, ...], int], str | None]:
    try:
        status = os.stat(file)
        if not os.path.isfile(file) or status.st_size > 1 << 20:
            return None, {}, f"{file}: is not a regular file of at most 1 MiB; name the configuration with --config"
        with open(file, encoding="utf-8") as stream:
            data, lines = load_yaml(stream.read())
    except OSError as exc:
        return None, {}, f"{file}: {exc.strerror}; check the path and that the daemon's user may read it"
    except UnicodeDecodeError:
        return None, {}, f"{file}: is not UTF-8 text"
    except YamlError as exc:
        return None, {}, f"{file}, {exc}" if str(exc).startswith("line") else f"{file}: {exc}"
    if data is not None and not isinstance(data, dict):
        return None, {}, f"{file}: holds no keys; write it like 'web: {{listen: 127.0.0.1:10741}}'"
    return data, lines, None


def _merge(into: dict[str, Any], data: Mapping[str, Any], file: str, path: str = "") -> list[str]:
    """Add ``data``; lists are joined, and a value given twice is a fault."""
    faults = []
    for key, value in data.items():
        place = f"{path}.{key}".lstrip(".")
        former = into.get(key)
        if isinstance(former, dict) and isinstance(value, Mapping):
            faults += _merge(former, value, file, place)
        elif isinstance(former, list) and isinstance(value, list):
            into[key] = former + value
        elif key in into:
            faults.append(f"{file}: {place}: already set by an earlier file; keep it in one of them")
        else:
            into[key] = _copy(value)
    return faults


def _copy(value: Any) -> Any:
    return {key: _copy(part) for key, part in value.items()} if isinstance(value, Mapping) else value


def _wrong_way_round(rule: AlertRule, override: Override, place: str) -> list[str]:
    """Return a fault where what a site wrote would make critical the milder of the two."""
    warning, critical = override.warning, override.critical
    if warning is None or critical is None or rule.conditions[0].holds(critical, warning):
        return []
    there = f"{place}: alerts.overrides.{rule.name}"
    return [f"{there}: critical {critical:g} is reached before warning {warning:g}; exchange them"]


def _cross_check(
    config: Config, catalogue: Catalogue, places: Mapping[tuple[str | int, ...], str], file: str
) -> list[str]:
    """Return faults that no single section can see."""
    faults = []
    known = {rule.name: rule for rule in catalogue.alerts}
    for name, override in config.alerts.overrides.items():
        place = places.get(("alerts", "overrides", name), file)
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "zcs-exporter rules lists all"
            faults.append(f"{place}: alerts.overrides.{name}: no such alert; {hint}")
            continue
        own = {severity.name.lower() for severity in known[name].defaults}
        for severity in ("warning", "critical"):
            value, there = getattr(override, severity), f"{place}: alerts.overrides.{name}.{severity}"
            if value is not None and severity not in own:
                faults.append(f"{there}: the alert has no {severity} threshold, only {', '.join(own)}")
            elif value is not None and known[name].unit is Unit.RATIO and not 0 <= value <= 1:
                faults.append(f"{there}: {value:g} is not a share from 0 to 1; write {value / 100:g} for {value:g} %")
        faults += _wrong_way_round(known[name], override, place)
    return faults
