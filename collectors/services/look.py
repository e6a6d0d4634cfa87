"""Looks at the host for the services collector: which processes run, and what work is under way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collectors.process_table import ProcessTable, pid_namespace, why_unseen
from collectors.services.maintenance import (
    ControlRun,
    control_run,
    control_until,
    install_until,
    parse_maintenance_end,
)
from collectors.services.table import (
    NOT_VISIBLE,
    Part,
    Service,
    eldest,
    expected,
    parse_mta_milter_options,
    parse_pid_file,
)
from zcs_exporter.contract import (
    GRANT,
    MAINTENANCE_FILE,
    CollectError,
    NotOnThisHost,
    Reason,
    Shortfall,
    doing,
    os_error,
)
from zcs_exporter.hostio import CLOCK_TICKS, Host, Process
from zcs_exporter.localconfig import Localconfig


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a service showed.

    Attributes:
        main: Its first process; None where that does not run.
        missing: Names of the parts that do not run.
        alarming: Those of them that are this service's to raise an alarm for; None where none is its own.
    """

    service: Service
    main: Process | None
    missing: tuple[str, ...]
    alarming: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Round:
    """What one look at the host showed.

    Attributes:
        boot: When the kernel started, in seconds since the epoch.
        boot_id: Names this run of the kernel.
        namespace: Number of the PID namespace looked from; None where unknown.
        unseen: Names of services that may not be looked at.
        maintenance: By cause: until when it is in force, None if it is not; a cause that could not be
            looked at is missing.
        brings_all_up: Whether a control script is at work that should leave every service running.
    """

    boot: float
    boot_id: str
    namespace: int | None
    looks: tuple[Look, ...]
    unseen: frozenset[str]
    maintenance: Mapping[str, float | None]
    brings_all_up: bool
    shortfalls: tuple[Shortfall, ...]


class Observer:
    """Everything here blocks, and runs in the thread of a ``BlockingCall``."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._table = ProcessTable(host)
        self._basis: tuple[frozenset[str], Localconfig, bool] | None = None
        self._services: tuple[list[Service], list[str]] = ([], [])

    def look(self, now: float, seen_from: int | None) -> Round:
        """Return what can be seen now.

        Args:
            now: Seconds since the epoch.
            seen_from: The PID namespace from which a process of ZCS was seen before, if that is known.

        Raises:
            CollectError: Processes are hidden, or the enabled services are not known.
            NotOnThisHost: There is no ZCS here.
        """
        zcs = self._host.zcs
        if not zcs.present():
            raise NotOnThisHost(f"no {zcs.path('conf/localconfig.xml')}")
        shortfalls: list[Shortfall] = []
        with doing("reading /proc"):
            table = self._table.look()
            boot = self._host.boot_time()
        services = self._expected(shortfalls)
        looks = self._looks(services, table, shortfalls)
        namespace = pid_namespace(self._host)
        visible = any(look.main or len(look.missing) < len(look.service.parts) for look in looks)
        blind = why_unseen(self._host, namespace if visible else seen_from)
        if blind is not None:
            raise blind
        runs = [run for process in table if (run := control_run(process, zcs.home))]
        maintenance = self._maintenance(runs, boot, now, shortfalls)
        brings_all_up = any(run.brings_all_up for run in runs)
        unseen = frozenset(service.name for service in services) - {look.service.name for look in looks}
        return Round(boot, self._boot_id(), namespace, looks, unseen, maintenance, brings_all_up, tuple(shortfalls))

    def _expected(self, shortfalls: list[Shortfall]) -> list[Service]:
        zcs = self._host.zcs
        enabled = zcs.enabled_services()
        if enabled is None:
            path = zcs.path("conf/stats.conf")
            with doing(f"reading {path}"):
                self._host.read(path)
            raise CollectError(
                Reason.UNAVAILABLE,
                f"neither {path} nor {zcs.path('log/.zmcontrol.cache')} names a service",
                "start zmconfigd, which writes the one, or run zmcontrol status, which writes the other",
            )
        with doing(f"reading {zcs.path('conf/localconfig.xml')}"):
            localconfig = zcs.localconfig()
        try:
            milter = parse_mta_milter_options(self._host.read(zcs.path("conf/mta_milter_options"), 65536))
        except OSError:
            milter = False
        basis = (enabled, localconfig, milter)
        if basis != self._basis:
            self._basis, self._services = basis, expected(enabled, localconfig, milter=milter)
        services, unknown = self._services
        for name in unknown:
            why = NOT_VISIBLE.get(name, "it is no service this version knows")
            shortfalls.append(Shortfall(Reason.UNAVAILABLE, f"service {name} is enabled and not watched: {why}"))
        return services

    def _looks(
        self, services: Sequence[Service], table: Sequence[Process], shortfalls: list[Shortfall]
    ) -> tuple[Look, ...]:
        found: dict[Part, Process | CollectError | None] = {}
        looks = []
        owned: set[Part] = set()
        for service in services:
            for part in service.parts:
                if part not in found:
                    found[part] = self._find(part, table)
            failures = [failure for part in service.parts if isinstance(failure := found[part], CollectError)]
            own = [part for part in service.parts if part not in owned and not part.watched_elsewhere]
            owned.update(service.parts)
            if failures:
                shortfalls.append(
                    Shortfall(failures[0].reason, f"service {service.name}: {failures[0]}", failures[0].remedy)
                )
                continue
            main = found[service.parts[0]]
            looks.append(
                Look(
                    service,
                    main if isinstance(main, Process) else None,
                    tuple(part.name for part in service.parts if found[part] is None),
                    tuple(part.name for part in own if found[part] is None) if own else None,
                )
            )
        return tuple(looks)

    def _find(self, part: Part, table: Sequence[Process]) -> Process | CollectError | None:
        try:
            for path in part.pid_files:
                if path.endswith("/*"):
                    named = self._every_named(part, self._host.zcs.path(path[:-2]))
                    if named:
                        return eldest(process for process in named if process is not None) if all(named) else None
                elif (process := self._named(part, self._host.zcs.path(path))) is not None:
                    return process
        except CollectError as exc:
            return exc
        home = self._host.zcs.home
        candidates = [process for process in table if part.is_in_table(process, home)]
        still = (self._host.process(process.pid) for process in candidates)
        return eldest(process for process in still if process is not None and part.is_in_table(process, home))

    def _every_named(self, part: Part, directory: str) -> list[Process | None]:
        """Return the process of each pid file in a directory, None for one that does not run."""
        try:
            # That one runs as root; ZCS's own status check leaves it out as well.
            names = [n for n in self._host.listdir(directory) if n.endswith(".pid") and n != "zmstat-fd-real.pid"]
        except OSError:
            return []
        return [self._named(part, f"{directory}/{name}") for name in sorted(names)]

    def _named(self, part: Part, path: str) -> Process | None:
        """Return the process that a pid file names, if it is the part; the process table knows what a file does not."""
        try:
            pid = parse_pid_file(self._host.read(path, 65536), part.json_key)
        except (OSError, CollectError):
            return None
        if pid is None:
            return None
        process = self._host.process(pid)
        if process is None:
            try:
                self._host.read(f"/proc/{pid}/stat")
            except PermissionError as exc:
                raise os_error(exc, f"reading /proc/{pid}/stat of {part.name}") from exc
            except OSError:
                return None
            process = self._host.process(pid)
        return process if process is not None and part.is_named_by_pid_file(process) else None

    def _boot_id(self) -> str:
        try:
            return self._host.read_text("/proc/sys/kernel/random/boot_id", 128).strip()
        except OSError:
            return ""

    def _maintenance(
        self, runs: Sequence[ControlRun], boot: float, now: float, shortfalls: list[Shortfall]
    ) -> dict[str, float | None]:
        in_force: dict[str, float | None] = {"zmcontrol": control_until(runs, boot, CLOCK_TICKS, now)}
        try:
            in_force["install"] = install_until(self._host.zcs.history().open_since, now)
        except FileNotFoundError:
            in_force["install"] = None
        except OSError as exc:
            shortfalls.append(
                Shortfall(
                    Reason.PERMISSION, f"reading {self._host.zcs.path('.install_history')}: {exc.strerror}", GRANT
                )
            )
        in_force["file"] = None
        try:
            with doing(f"reading {MAINTENANCE_FILE}"):
                end = parse_maintenance_end(self._host.read(MAINTENANCE_FILE, 4096), now)
            in_force["file"] = end if now < end else None
        except CollectError as exc:
            if not isinstance(exc.__cause__, FileNotFoundError | NotADirectoryError):
                remedy = exc.remedy or "write the end as 2026-03-02T23:30:00+01:00 or in seconds since the epoch"
                shortfalls.append(Shortfall(exc.reason, str(exc), remedy))
        return in_force
