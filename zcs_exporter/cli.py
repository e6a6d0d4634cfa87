"""The command line: one verb each, data on standard output, complaints on standard error.

Exit status: 0 done, 1 what was asked about is not well, 2 it could not be asked.
"""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

from zcs_exporter import __version__

# Each command imports what it needs itself: all of it takes longer to load than most commands to do their work.
if TYPE_CHECKING:
    from zcs_exporter.alerting.model import Catalogue, Family
    from zcs_exporter.config import Config
    from zcs_exporter.survey import Diagnosis

T = TypeVar("T")

_GARBAGE = 20_000
"""Objects made and not let go after which unreachable ones are looked for."""

OK, UNWELL, UNUSABLE = 0, 1, 2
UNKNOWN = 3
"""What a plugin of Nagios says where it cannot tell; 2 is critical there."""

SCAN_EPILOG = """Which log a file is, its name tells without what rotation added, else its first lines; of a directory
only files with such names are read. What matters most, attacks and faults, stands at the end. Nothing is written or
sent, and no daemon need run. Exit status: 0 done, 1 a file could not be read to its end, 2 wrong usage, 130
interrupted, with what was found so far."""

TRACE_EPILOG = """The lines are those of the logs, oldest first, each with its file; ids that belong to the same
message are followed on. Of one message it is said at the end what became of it for each recipient. Whoever runs this
sees what the logs hold and must be allowed to read them. Exit status: 0 found, 1 nothing found or a log could not be
read, 2 wrong usage, 130 interrupted."""

REPORT_EPILOG = """A day is over from 23:30 on, when ZCS makes its own report: until then the default is yesterday. Days
are kept for a month. What was counted stands in the daemon's state directory, which only root and the daemon's user
may read; whether the daemon runs does not matter. Exit status: 0 done, 2 nothing is known of that day or it could not
be read."""

CHECK_EPILOG = """\
examples:
  zcs-exporter check                                     everything on this host
  zcs-exporter check --family queue --family filesystem
  zcs-exporter check --alert ZcsServiceVitalDown
  zcs-exporter check --url https://mail.example.com:10741 --login /etc/nagios/zcs.login

A login file is YAML of mode 0600 with username: and password: of a user in the
daemon's web configuration file. On the host itself none is needed by root and
the daemon's user. Exit status: 0 ok, 1 warning, 2 critical, 3 unknown."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    # Loading a program makes a hundred thousand objects that stay; by default they are looked through again and again.
    gc.set_threshold(_GARBAGE)
    arguments = _parse(argv)
    try:
        status: int = arguments.command(arguments)
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


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    words = sys.argv[1:] if argv is None else argv
    try:
        return _arguments(words)
    except SystemExit as exc:
        if not exc.code or words[:1] != ["check"]:
            raise
        # What is wrong is on standard error, which a manager does not look at.
        print("ZCS UNKNOWN: wrong usage; see zcs-exporter check --help")
        raise SystemExit(UNKNOWN) from None


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    arguments, rest = parser.parse_known_args(words)
    if "file" in arguments:
        # argparse takes no more files once an option followed the first.
        arguments.file += [each for each in rest if not each.startswith("-")]
        rest = [each for each in rest if each.startswith("-")]
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


class _UnusableError(Exception):
    """The command cannot be carried out; the message says what to do."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="zcs-exporter", description="Monitoring for one Zimbra host.")
    parser.add_argument("--version", action="version", version=f"zcs-exporter {__version__}")
    parser.set_defaults(command=partial(_help, parser))
    commands = parser.add_subparsers(metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument(
            "--config", metavar="FILE", help="configuration; default /etc/zcs-exporter/config.yaml if it exists"
        )
        return sub

    add("run", _run, "Run the daemon until SIGTERM.")
    add("once", _once, "Collect everything once and print the exposition.")
    add("check-config", _check_config, "Report every fault of the configuration.")
    doctor = add("doctor", _doctor, "Tell what works, what is not on this host and what lacks a permission.")
    doctor.add_argument("--format", choices=("text", "json"), default="text")
    alerts = add("alerts", _alerts, "Show the alarms that stand now, asked of the running daemon.")
    alerts.add_argument("--format", choices=("text", "json"), default="text")
    alert_actions = alerts.add_subparsers(metavar="ACTION")
    silence = alert_actions.add_parser(
        "silence",
        help="Hold alarms about services while somebody is at work on the host.",
        description="Hold alarms about services, probes and JVMs until a time, while somebody is at work on the host.",
    )
    silence.set_defaults(command=_silence)
    silence.add_argument("--config", metavar="FILE")
    span = silence.add_mutually_exclusive_group(required=True)
    span.add_argument("duration", metavar="DURATION", nargs="?", help="from now, such as 90m or 2h")
    span.add_argument("--end", action="store_true", help="end it now")
    check = add("check", _check, "Answer Nagios and its kin: one line, performance data, exit status 0 to 3.")
    check.epilog = CHECK_EPILOG
    check.formatter_class = argparse.RawDescriptionHelpFormatter
    check.add_argument(
        "--family", metavar="NAME", action="append", default=[], help="only alerts of this family, such as queue"
    )
    check.add_argument("--alert", metavar="NAME", action="append", default=[], help="only this alert")
    check.add_argument("--url", help="a daemon elsewhere, such as https://mail.example.com:10741")
    check.add_argument("--login", metavar="FILE", help="user and password for --url")
    check.add_argument("--ca-file", metavar="FILE", help="certificates to trust for --url, if not the system's")
    scan = add("scan", _scan, "Run the log readers over old logs, plain or gzip, and print what they find.")
    scan.epilog = SCAN_EPILOG
    scan.add_argument(
        "file", metavar="FILE", nargs="+", help="a log or a rotated one, in any order, or a directory of them"
    )
    scan.add_argument("--format", choices=("text", "json"), default="text", help="default text")
    scan.add_argument(
        "--as",
        metavar="NAME",
        dest="taken_for",
        help="take each file for this log, such as audit.log, whatever its name",
    )
    scan.add_argument(
        "--host", metavar="NAME", action="append", default=[], help="count only this host's lines of syslog files"
    )
    trace = add("trace", _trace, "Follow a queue id, message id, cid, soapId or address through all logs of the host.")
    trace.epilog = TRACE_EPILOG
    trace.add_argument("id", metavar="ID", help="such as 3F2A81C0E5D, '<a1@example.net>', soapId=4e5e1bb3 or cid=12")
    trace.add_argument(
        "file", metavar="FILE", nargs="*", help="search these logs, or directories of logs, instead of the host's"
    )
    trace.add_argument("--format", choices=("text", "json"), default="text", help="default text")
    trace.add_argument("--days", metavar="N", type=int, default=8, help="how far to look back; default 8")
    trace.add_argument("--since", metavar="DATE", help="look back to this date instead, such as 2024-03-02")
    trace.add_argument("--until", metavar="DATE", help="and no further than this, such as 2024-03-02T10:20")
    report = add("report", _report, "Print the daily mail report: what the mail system did on one day.")
    report.epilog = REPORT_EPILOG
    report.add_argument(
        "--date", metavar="DATE", help="such as 2024-03-02, today or yesterday; default the last day that is over"
    )
    report.add_argument("--format", choices=("text", "html", "json"), default="text")
    report.add_argument("--top", metavar="N", type=int, help="names in each list; default as ZCS's own report, else 50")
    add("page", _page, "Print the address of the page with the token that opens it.")
    add("mib", _mib, "Print ZCS-EXPORTER-MIB with the configured root.")
    managers = add("managers", _managers, "Write the MIB and the files for SNMP managers with the configured root.")
    managers.add_argument("directory", metavar="DIR", help="where; what is there under the same names is replaced")
    add("rules", _rules, "Print the Prometheus rules.")
    snmp = commands.add_parser(
        "snmp", help="What SNMP managers must know.", description="What SNMP managers must know."
    )
    snmp.set_defaults(command=partial(_help, snmp))
    facts = snmp.add_subparsers(metavar="ACTION")
    engine_id = facts.add_parser(
        "engine-id",
        help="Print the daemon's engine id.",
        description="Print the daemon's engine id, which a receiver of SNMPv3 traps needs; informs do without.",
    )
    engine_id.set_defaults(command=_engine_id)
    engine_id.add_argument("--config", metavar="FILE")
    trap = commands.add_parser("trap", help="Test notifications.", description="Test notifications.")
    trap.set_defaults(command=partial(_help, trap))
    actions = trap.add_subparsers(metavar="ACTION")
    test = actions.add_parser(
        "test", help="Send a test notification.", description="Send a test notification to each target."
    )
    test.set_defaults(command=_trap_test)
    test.add_argument("--config", metavar="FILE")
    test.add_argument("target", nargs="*", help="names of targets; all without one")
    replay = actions.add_parser(
        "replay",
        help="Send again what was sent.",
        description="Send again what a target was sent, from a sequence number on; numbers, event ids and times stay.",
    )
    replay.set_defaults(command=_trap_replay)
    replay.add_argument("--config", metavar="FILE")
    replay.add_argument("--to", metavar="TARGET", dest="target", required=True, help="name of the target")
    replay.add_argument(
        "--from", metavar="SEQ", dest="first", type=int, required=True, help="its first sequence number that is missing"
    )
    replay.add_argument("--until", metavar="SEQ", dest="last", type=int, help="the last one; without it, up to now")
    listen = actions.add_parser(
        "listen", help="Print what arrives.", description="Receive notifications and print them."
    )
    listen.set_defaults(command=_trap_listen)
    listen.add_argument("--address", default="127.0.0.1")
    listen.add_argument("--port", type=int, default=10162)
    listen.add_argument(
        "--secrets", metavar="FILE", action="append", help="community or user; without one the community public"
    )
    listen.add_argument("--engine-id", metavar="HEX", help="the sender's engine id, for SNMPv3 traps")
    listen.add_argument("--format", choices=("text", "json"), default="text")
    demo = commands.add_parser(
        "demo",
        help="Run the daemon on a built-in Zimbra host with incidents.",
        description="Build a small living Zimbra host in a temporary directory and run the daemon on it.",
    )
    demo.set_defaults(command=_demo)
    demo.add_argument("--port", type=int, default=10741, help="of the page; 0 for any free one")
    demo.add_argument("--seconds", type=float, help="end after this time; without it, run until interrupted")
    return parser


def _help(parser: argparse.ArgumentParser, _: argparse.Namespace) -> int:
    parser.print_help(sys.stderr)
    return UNUSABLE


def _catalogue(families: "Collection[Family] | None" = None) -> "Catalogue":
    from zcs_exporter.alerting.model import load_catalogue
    from zcs_exporter.assets import asset

    return load_catalogue(asset("alerts"), families)


def _load(
    arguments: argparse.Namespace,
    collectors: Literal["none", "log-fed", "all"] = "none",
    catalogue: "Catalogue | None" = None,
) -> "Config":
    """Return the configuration with the settings of these collectors; the catalogue only where it is known already."""
    from zcs_exporter.config import ConfigError, load_config
    from zcs_exporter.registry import ForeignCollectorsError, collector_names, log_fed_names

    try:
        names = {"none": tuple, "log-fed": log_fed_names, "all": collector_names}[collectors]()
        return load_config(arguments.config, catalogue, names)
    except ConfigError as exc:
        raise _UnusableError("the configuration cannot be used:\n" + "\n".join(exc.faults)) from exc
    except ForeignCollectorsError as exc:
        raise _UnusableError(str(exc)) from exc


def _wait_for(work: Coroutine[object, object, T]) -> T:
    import asyncio

    return asyncio.run(work)


def _run(arguments: argparse.Namespace) -> int:
    import signal

    # Its default is to end the process, and the daemon cannot reload before it runs.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from zcs_exporter.config import ConfigError
    from zcs_exporter.contract import Clock
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
    from zcs_exporter.agent.access import load_agent_access
    from zcs_exporter.config import ConfigError, load_config
    from zcs_exporter.expose.access import check_exposure
    from zcs_exporter.expose.web_config import load_web_settings
    from zcs_exporter.snmp.secrets import SecretsError, load_secrets

    faults: list[str] = []
    try:
        config = load_config(arguments.config, _catalogue())
    except ConfigError as exc:
        faults = exc.faults
    else:
        try:
            check_exposure(config.web, load_web_settings(config.web.config_file))
        except ConfigError as exc:
            faults += exc.faults
        for target in config.notify.snmp:
            try:
                load_secrets(target.secrets, target.snmp_version)
            except SecretsError as exc:
                faults.append(f"notify.snmp: {target.name}: {exc}")
        faults += load_agent_access(config.snmp_agent)[1]
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
    return UNWELL if alarms else OK


def _silence(arguments: argparse.Namespace) -> int:
    from zcs_exporter.contract import MAINTENANCE_FILE, Clock
    from zcs_exporter.durations import parse_duration
    from zcs_exporter.silence import SilenceError, end_silence, silence

    path = os.path.join(_load(arguments).host.root, MAINTENANCE_FILE.lstrip("/"))
    try:
        if arguments.end:
            print("the maintenance has ended" if end_silence(path) else "there was no maintenance")
        else:
            end = silence(path, parse_duration(arguments.duration), Clock())
            print(f"alarms about services, probes and JVMs are held until {end:%Y-%m-%d %H:%M:%S %z}")
    except (SilenceError, ValueError) as exc:
        raise _UnusableError(str(exc)) from exc
    return OK


def _check(arguments: argparse.Namespace) -> int:
    """Exit status 0 ok, 1 warning, 2 critical, 3 unknown."""
    from zcs_exporter.alerting.model import Severity
    from zcs_exporter.check.command import CheckError, check
    from zcs_exporter.check.judge import Result
    from zcs_exporter.contract import Clock

    try:
        # Who asks elsewhere needs no configuration, and may not be allowed to read that of this host.
        config = _load(arguments) if arguments.url is None else None
        result = check(arguments, _catalogue(), config, Clock())
    except (CheckError, _UnusableError) as exc:
        result = Result(Severity.UNKNOWN, " ".join(str(exc).splitlines()))
    except Exception as exc:  # noqa: BLE001 - Python's own exit status 1 would be a warning about the host
        result = Result(Severity.UNKNOWN, f"bug, please report it: {type(exc).__name__}: {exc}")
    print(result)
    return result.status


def _scan(arguments: argparse.Namespace) -> int:
    from zcs_exporter.oldlogs.commands import JUDGED, UsageError, scan

    config = _load(arguments, "log-fed")
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
    written = write_manager_files(directory, config.snmp.root)
    mib = directory / FILE_NAME
    mib.write_text(render_mib(config.snmp.root), encoding="utf-8")
    print(*written, mib, sep="\n")
    return OK


def _rules(arguments: argparse.Namespace) -> int:
    from zcs_exporter.alerting.policy import effective_policies
    from zcs_exporter.alerting.prometheus_rules import render_rules

    catalogue = _catalogue()
    config = _load(arguments, "none", catalogue)
    sys.stdout.write(render_rules(catalogue.alerts, effective_policies(catalogue.alerts, config.alerts, None)))
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
    """Exit status 1 if nothing was there to be sent again, or did not get through."""
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
    from zcs_exporter.contract import Clock
    from zcs_exporter.snmp.secrets import SecretsError
    from zcs_exporter.trap import listen

    try:
        _wait_for(listen(arguments, Clock()))
    except (SecretsError, OSError, ValueError) as exc:
        raise _UnusableError(f"cannot listen on {arguments.address} port {arguments.port}: {exc}") from exc
    return OK


def _demo(arguments: argparse.Namespace) -> int:
    from zcs_exporter.demo import run_demo

    return run_demo(arguments.port, arguments.seconds)
