"""The command line: one verb each, data on standard output, complaints on standard error.

Exit status: 0 done, 1 what was asked about is not well, 2 it could not be asked.
"""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from zcs_exporter.command_line import UNUSABLE, parse

# Each command imports what it needs itself: all of it takes longer to load than most commands to do their work.
if TYPE_CHECKING:
    from zcs_exporter.alerting.model import Catalogue, Family
    from zcs_exporter.config import Config
    from zcs_exporter.survey import Diagnosis

T = TypeVar("T")

_GARBAGE = 20_000
"""Objects made and not let go after which unreachable ones are looked for."""

OK, UNWELL = 0, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    # Loading a program makes a hundred thousand objects that stay; by default they are looked through again and again.
    gc.set_threshold(_GARBAGE)
    arguments = parse(argv)
    try:
        status = COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
    except _UnusableError as exc:
        print(f"zcs-exporter: {exc}", file=sys.stderr)
        return UNUSABLE
    except OSError as exc:
        # Python would try to write the rest once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(exc, BrokenPipeError):  # the reader has gone, as with head
            return OK
        print(f"zcs-exporter: {exc}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return 130
    return status


class _UnusableError(Exception):
    """The command cannot be carried out; the message says what to do."""


def _catalogue(families: "Collection[Family] | None" = None) -> "Catalogue":
    from zcs_exporter.alerting.model import load_catalogue
    from zcs_exporter.assets import asset

    return load_catalogue(asset("alerts"), families)


def _load(
    arguments: argparse.Namespace,
    collectors: Literal["none", "log-fed", "all"] = "none",
    catalogue: "Catalogue | None" = None,
    logs: Collection[str] | None = None,
) -> "Config":
    """Return the configuration with the settings of collectors.

    Args:
        arguments: Where it is.
        collectors: Which of them; ``log-fed`` are those that read one of ``logs``.
        catalogue: Only where it is known already.
        logs: Base names; None for all.
    """
    from zcs_exporter.config import ConfigError, load_config
    from zcs_exporter.registry import ForeignCollectorsError, collector_names, log_fed_names

    try:
        names = {"none": tuple, "log-fed": lambda: log_fed_names(logs), "all": collector_names}[collectors]()
        return load_config(arguments.config, catalogue, names)
    except ConfigError as exc:
        raise _UnusableError("the configuration cannot be used:\n" + "\n".join(exc.faults)) from exc
    except ForeignCollectorsError as exc:
        raise _UnusableError(str(exc)) from exc


def _wait_for(work: Coroutine[object, object, T]) -> T:
    import asyncio

    return asyncio.run(work)


def _run(arguments: argparse.Namespace) -> int:
    import faulthandler
    import signal

    # Its default is to end the process, and the daemon cannot reload before it runs.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Where every thread hangs is said on standard error when systemd's watchdog ends us.
    faulthandler.enable()
    from zcs_exporter.config import ConfigError
    from zcs_exporter.contract import Clock

    # Nearly all that is made until the daemon is ready stays: it sees to garbage from then on.
    gc.set_threshold(50 * _GARBAGE)
    from zcs_exporter.daemon import Daemon
    from zcs_exporter.logs import configure_logging
    from zcs_exporter.state import StateError

    catalogue = _catalogue()
    config = _load(arguments, "all", catalogue)
    end_log = configure_logging(config.log.level, config.log.format)
    try:
        _wait_for(Daemon(arguments.config, catalogue, config, Clock()).run())
    except (StateError, ConfigError) as exc:
        raise _UnusableError(str(exc)) from exc
    finally:
        end_log()
    return OK


def _once(arguments: argparse.Namespace) -> int:
    """Exit status 1 if a collector whose subject is here failed."""
    from zcs_exporter.assembly import build_collectors, real_host
    from zcs_exporter.contract import Clock, LogFed
    from zcs_exporter.expose.prometheus import Exposition, Format
    from zcs_exporter.survey import look_once

    config = _load(arguments, "all")
    clock = Clock()
    # What logs feed counts from the daemon's start; a single look has nothing to say about it.
    collectors = [each for each in build_collectors(config, real_host(config), clock) if not isinstance(each, LogFed)]
    snapshot = _wait_for(look_once(config, collectors, clock))
    sys.stdout.buffer.write(Exposition().page(snapshot, Format.TEXT))
    failures = [reading for reading in snapshot.readings.values() if reading.failure is not None]
    for reading in failures:
        print(f"{reading.collector}: {reading.failure and reading.failure.message}", file=sys.stderr)
    return UNWELL if failures else OK


def _check_config(arguments: argparse.Namespace) -> int:
    """Exit status 1 with one line per fault."""
    from zcs_exporter.config import ConfigError, load_config
    from zcs_exporter.config_check import faults_outside

    try:
        faults = faults_outside(load_config(arguments.config, _catalogue()))
    except ConfigError as exc:
        faults = exc.faults
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print("the configuration is good")
    return UNWELL if faults else OK


def _doctor(arguments: argparse.Namespace) -> int:
    """Exit status 1 if anything that is here does not work."""
    import json

    from zcs_exporter.assembly import build_collectors, real_host
    from zcs_exporter.contract import Clock
    from zcs_exporter.survey import Verdict, examine, state_owner

    config = _load(arguments, "all")
    clock = Clock()
    host = real_host(config)
    found = _wait_for(examine(config, build_collectors(config, host, clock), host, clock))
    owner = state_owner(config.state.directory)
    if owner is not None and owner != os.geteuid():
        print(
            f"looked as uid {os.geteuid()}, which may see more or less than the daemon's uid {owner}", file=sys.stderr
        )
    if arguments.format == "json":
        rows = [{"subject": f.subject, "verdict": f.verdict, "detail": f.detail, "remedy": f.remedy} for f in found]
        print(json.dumps(rows, indent=2))
    else:
        for finding in found:
            _print_diagnosis(finding)
    return UNWELL if any(finding.verdict is Verdict.FAILS for finding in found) else OK


def _print_diagnosis(finding: "Diagnosis") -> None:
    print(f"{finding.verdict.value:18}{finding.subject}{': ' if finding.detail else ''}{finding.detail}")
    if finding.remedy:
        print(f"{'':18}-> {finding.remedy}")


def _alerts(arguments: argparse.Namespace) -> int:
    """Exit status 1 if an alarm stands."""
    import json

    from zcs_exporter.ask import AskError, ask_daemon
    from zcs_exporter.durations import format_wait

    config = _load(arguments)
    try:
        answer = ask_daemon(config, "/api/v1/alerts")
    except AskError as exc:
        raise _UnusableError(str(exc)) from exc
    alarms = answer["alerts"]
    if arguments.format == "json":
        print(json.dumps(answer, indent=2))
    else:
        for alarm in alarms:
            print(f"{alarm['severity']:9}{alarm['alert']:28}{alarm['summary']}")
        if not alarms:
            print("no alarm stands")
        for each in answer.get("pending", ()):  # none of a daemon that waits for its restart after an upgrade
            when = format_wait(each["seconds"])
            print(f"{'pending':9}{each['alert']:28}{each['summary']}: {each['severity']} {when}")
    return UNWELL if alarms else OK


def _silence(arguments: argparse.Namespace) -> int:
    """Exit status 1 if there is no daemon that heeds it."""
    from zcs_exporter.ask import AskError, base_address, daemon_listens
    from zcs_exporter.contract import MAINTENANCE_FILE, Clock
    from zcs_exporter.durations import parse_duration
    from zcs_exporter.silence import SilenceError, end_silence, silence, silence_now

    config = _load(arguments)
    path = os.path.join(config.host.root, MAINTENANCE_FILE.lstrip("/"))
    try:
        if arguments.end:
            print(end_silence(path, Clock()))
            return OK
        if arguments.duration is None:
            print(silence_now(path, Clock()))
            return OK
        end = silence(path, parse_duration(arguments.duration), Clock())
        heeded = daemon_listens(config)
    except (SilenceError, AskError, ValueError) as exc:
        raise _UnusableError(str(exc)) from exc
    until = f"{end:%Y-%m-%d %H:%M:%S %z}"
    if heeded:
        print(f"alarms about services, probes and JVMs are held until {until}")
        return OK
    print(f"noted until {until}, but nothing is held: no daemon answers at {base_address(config)}", file=sys.stderr)
    print("one that is started before then will heed it: systemctl status zcs-exporter", file=sys.stderr)
    return UNWELL


def _check(arguments: argparse.Namespace) -> int:
    """Exit status 0 ok, 1 warning, 2 critical, 3 unknown."""
    from zcs_exporter.alerting.model import Severity
    from zcs_exporter.check.command import CheckError, check
    from zcs_exporter.check.judge import Result

    try:
        # Who asks elsewhere needs no configuration, and may not be allowed to read that of this host.
        config = _load(arguments) if arguments.url is None else None
        result = check(arguments, _catalogue(), config)
    except (CheckError, _UnusableError) as exc:
        result = Result(Severity.UNKNOWN, " ".join(str(exc).splitlines()))
    except Exception as exc:  # noqa: BLE001 - Python's own exit status 1 would be a warning about the host
        result = Result(Severity.UNKNOWN, f"bug, please report it: {type(exc).__name__}: {exc}")
    print(result)
    return result.status


def _scan(arguments: argparse.Namespace) -> int:
    from zcs_exporter.oldlogs.commands import JUDGED, UsageError, logs_given, scan

    config = _load(arguments, "log-fed", logs=logs_given(arguments))
    try:
        return scan(arguments, _catalogue(JUDGED), config)
    except UsageError as exc:
        raise _UnusableError(str(exc)) from exc


def _trace(arguments: argparse.Namespace) -> int:
    from zcs_exporter.contract import Clock
    from zcs_exporter.oldlogs.commands import UsageError, trace

    config = _load(arguments)
    try:
        return trace(arguments, config, Clock())
    except UsageError as exc:
        raise _UnusableError(str(exc)) from exc


def _report(arguments: argparse.Namespace) -> int:
    from zcs_exporter.contract import Clock
    from zcs_exporter.mailreport.command import ReportError, report

    config = _load(arguments)
    try:
        sys.stdout.write(report(config, Clock(), arguments.date, arguments.format, arguments.top))
    except ReportError as exc:
        raise _UnusableError(str(exc)) from exc
    return OK


def _page(arguments: argparse.Namespace) -> int:
    from zcs_exporter.ask import AskError, page_address

    config = _load(arguments)
    try:
        print(page_address(config))
    except AskError as exc:
        raise _UnusableError(str(exc)) from exc
    return OK


def _mib(arguments: argparse.Namespace) -> int:
    from zcs_exporter.managers.mib import render_mib

    config = _load(arguments)
    sys.stdout.write(render_mib(config.snmp.root))
    return OK


def _managers(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from zcs_exporter.managers.files import write_manager_files
    from zcs_exporter.managers.mib import FILE_NAME, render_mib

    config = _load(arguments)
    directory = Path(arguments.directory)
    mib = directory / FILE_NAME
    try:
        written = write_manager_files(directory, config.snmp.root)
        mib.write_text(render_mib(config.snmp.root), encoding="utf-8")
    except OSError as exc:
        remedy = "name a directory that you may write to, with room for a megabyte"
        raise _UnusableError(f"{exc.filename or directory}: {exc.strerror}; {remedy}") from exc
    print(*written, mib, sep="\n")
    return OK


def _rules(arguments: argparse.Namespace) -> int:
    from zcs_exporter.alerting.policy import effective_policies
    from zcs_exporter.alerting.prometheus_rules import render_rules

    catalogue = _catalogue()
    config = _load(arguments, "none", catalogue)
    policies = effective_policies(catalogue.alerts, config.alerts, None)
    sys.stdout.write(render_rules(catalogue.alerts, policies, config.alerts.runbooks))
    return OK


def _dashboard(arguments: argparse.Namespace) -> int:
    from zcs_exporter.dashboards.files import render_dashboard

    catalogue = _catalogue()
    sys.stdout.write(render_dashboard(catalogue, _load(arguments, "none", catalogue).alerts.runbooks))
    return OK


def _engine_id(arguments: argparse.Namespace) -> int:
    from zcs_exporter.state import StateError
    from zcs_exporter.state_reader import read_meta

    directory = _load(arguments).state.directory
    try:
        found = read_meta(directory, "snmp_engine_id")
    except StateError as exc:
        raise _UnusableError(str(exc)) from exc
    if found is None:
        raise _UnusableError(f"{directory}: the daemon has no engine id yet; start it first")
    print(f"0x{found}")
    return OK


def _trap_test(arguments: argparse.Namespace) -> int:
    """Exit status 1 if a target did not get it."""
    from zcs_exporter.contract import Clock
    from zcs_exporter.trap import test_targets

    config = _load(arguments)
    unknown = set(arguments.target) - {target.name for target in config.notify.snmp}
    if unknown:
        raise _UnusableError(f"no target {', '.join(sorted(unknown))}; notify.snmp has the names")
    if not config.notify.snmp:
        raise _UnusableError("no target is configured; add one below notify.snmp")
    return _wait_for(test_targets(config, arguments.target, Clock()))


def _trap_replay(arguments: argparse.Namespace) -> int:
    """Exit status 1 if nothing was there to be sent again, or not all of it got through."""
    from zcs_exporter.contract import Clock
    from zcs_exporter.state import StateError
    from zcs_exporter.trap import replay

    config = _load(arguments)
    target = next((each for each in config.notify.snmp if each.name == arguments.target), None)
    if target is None:
        raise _UnusableError(f"no target {arguments.target}; notify.snmp has the names")
    if arguments.last is not None and arguments.last < arguments.first:
        raise _UnusableError(f"--until {arguments.last} is before --from {arguments.first}")
    try:
        return _wait_for(replay(config, target, arguments.first, arguments.last, Clock()))
    except StateError as exc:
        raise _UnusableError(str(exc)) from exc


def _trap_listen(arguments: argparse.Namespace) -> int:
    import errno

    from zcs_exporter.contract import Clock
    from zcs_exporter.snmp.secrets import SecretsError
    from zcs_exporter.trap import listen

    try:
        _wait_for(listen(arguments, Clock()))
    except (SecretsError, ValueError) as exc:
        raise _UnusableError(str(exc)) from exc
    except OSError as exc:
        remedy = {
            errno.EADDRINUSE: "; something listens there, as snmptrapd may: end it, or name another --port",
            errno.EACCES: "; run this as root, or name a --port above 1023",
            errno.EADDRNOTAVAIL: "; name an --address of this host",
        }.get(exc.errno or 0, "")
        where = f"{arguments.address} port {arguments.port}"
        raise _UnusableError(f"cannot listen on {where}: {exc.strerror or exc}{remedy}") from exc
    return OK


def _demo(arguments: argparse.Namespace) -> int:
    from zcs_exporter.demo import run_demo

    return run_demo(arguments.port, arguments.seconds)


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "once": _once,
    "check-config": _check_config,
    "doctor": _doctor,
    "alerts": _alerts,
    "alerts silence": _silence,
    "check": _check,
    "scan": _scan,
    "trace": _trace,
    "report": _report,
    "page": _page,
    "mib": _mib,
    "managers": _managers,
    "rules": _rules,
    "dashboard": _dashboard,
    "snmp engine-id": _engine_id,
    "trap test": _trap_test,
    "trap replay": _trap_replay,
    "trap listen": _trap_listen,
    "demo": _demo,
}
"""By their names on the command line."""
