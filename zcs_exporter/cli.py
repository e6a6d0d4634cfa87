"""The command line: one verb each, data on standard output, complaints on standard error.

Exit status: 0 done, 1 what was asked about is not well, 2 it could not be asked.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from zcs_exporter import __version__
from zcs_exporter.contract import Clock

if TYPE_CHECKING:
    from zcs_exporter.alerting.model import Catalogue
    from zcs_exporter.config import Config
    from zcs_exporter.survey import Diagnosis

OK, UNWELL, UNUSABLE = 0, 1, 2

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
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
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
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
    add("rules", _rules, "Print the Prometheus rules.")
    trap = commands.add_parser("trap", help="Test notifications.", description="Test notifications.")
    trap.set_defaults(command=partial(_help, trap))
    actions = trap.add_subparsers(metavar="ACTION")
    test = actions.add_parser(
        "test", help="Send a test notification.", description="Send a test notification to each target."
    )
    test.set_defaults(command=_trap_test)
    test.add_argument("--config", metavar="FILE")
    test.add_argument("target", nargs="*", help="names of targets; all without one")
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


def _catalogue() -> "Catalogue":
    from zcs_exporter.alerting.model import load_catalogue
    from zcs_exporter.assets import asset

    return load_catalogue(asset("alerts"))


def _load(arguments: argparse.Namespace) -> tuple["Catalogue", "Config"]:
    from zcs_exporter.config import ConfigError, load_config
    from zcs_exporter.registry import ForeignCollectorsError

    try:
        catalogue = _catalogue()
        return catalogue, load_config(arguments.config, catalogue)
    except ConfigError as exc:
        raise _UnusableError("the configuration cannot be used:\n" + "\n".join(exc.faults)) from exc
    except ForeignCollectorsError as exc:
        raise _UnusableError(str(exc)) from exc


def _run(arguments: argparse.Namespace) -> int:
    # Its default is to end the process, and the daemon cannot reload before it runs.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from zcs_exporter.config import ConfigError
    from zcs_exporter.daemon import Daemon
    from zcs_exporter.logs import configure_logging
    from zcs_exporter.state import StateError

    catalogue, config = _load(arguments)
    end_log = configure_logging(config.log.level, config.log.format)
    try:
        asyncio.run(Daemon(arguments.config, catalogue, config, Clock()).run())
    except (StateError, ConfigError) as exc:
        raise _UnusableError(str(exc)) from exc
    finally:
        end_log()
    return OK


def _once(arguments: argparse.Namespace) -> int:
    """Exit status 1 if a collector whose subject is here failed."""
    from zcs_exporter.assembly import build_collectors, real_host
    from zcs_exporter.contract import LogFed
    from zcs_exporter.expose.prometheus import Exposition, Format
    from zcs_exporter.survey import look_once

    _, config = _load(arguments)
    clock = Clock()
    # What logs feed counts from the daemon's start; a single look has nothing to say about it.
    collectors = [each for each in build_collectors(config, real_host(config), clock) if not isinstance(each, LogFed)]
    snapshot = asyncio.run(look_once(config, collectors, clock))
    sys.stdout.buffer.write(Exposition().page(snapshot, Format.TEXT))
    failures = [reading for reading in snapshot.readings.values() if reading.failure is not None]
    for reading in failures:
        print(f"{reading.collector}: {reading.failure and reading.failure.message}", file=sys.stderr)
    return UNWELL if failures else OK


def _check_config(arguments: argparse.Namespace) -> int:
    """Exit status 1 with one line per fault."""
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
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print("the configuration is good")
    return UNWELL if faults else OK


def _doctor(arguments: argparse.Namespace) -> int:
    """Exit status 1 if anything that is here does not work."""
    from zcs_exporter.assembly import build_collectors, real_host
    from zcs_exporter.survey import Verdict, examine, state_owner

    _, config = _load(arguments)
    clock = Clock()
    host = real_host(config)
    found = asyncio.run(examine(config, build_collectors(config, host, clock), host, clock))
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
    from zcs_exporter.ask import AskError, ask_daemon

    _, config = _load(arguments)
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


def _scan(arguments: argparse.Namespace) -> int:
    from zcs_exporter.oldlogs.commands import UsageError, scan

    catalogue, config = _load(arguments)
    try:
        return scan(arguments, catalogue, config)
    except UsageError as exc:
        raise _UnusableError(str(exc)) from exc


def _trace(arguments: argparse.Namespace) -> int:
    from zcs_exporter.oldlogs.commands import UsageError, trace

    _, config = _load(arguments)
    try:
        return trace(arguments, config, Clock())
    except UsageError as exc:
        raise _UnusableError(str(exc)) from exc


def _report(arguments: argparse.Namespace) -> int:
    from zcs_exporter.mailreport.command import ReportError, report

    _, config = _load(arguments)
    try:
        sys.stdout.write(report(config, Clock(), arguments.date, arguments.format, arguments.top))
    except ReportError as exc:
        raise _UnusableError(str(exc)) from exc
    return OK


def _page(arguments: argparse.Namespace) -> int:
    from zcs_exporter.ask import AskError, page_address

    _, config = _load(arguments)
    try:
        print(page_address(config))
    except AskError as exc:
        raise _UnusableError(str(exc)) from exc
    return OK


def _mib(arguments: argparse.Namespace) -> int:
    from zcs_exporter.snmp.mib import render_mib

    _, config = _load(arguments)
    sys.stdout.write(render_mib(config.snmp.root))
    return OK


def _rules(arguments: argparse.Namespace) -> int:
    from zcs_exporter.alerting.policy import effective_policies
    from zcs_exporter.alerting.prometheus_rules import render_rules

    catalogue, config = _load(arguments)
    sys.stdout.write(render_rules(catalogue.alerts, effective_policies(catalogue.alerts, config.alerts, None)))
    return OK


def _trap_test(arguments: argparse.Namespace) -> int:
    """Exit status 1 if a target did not get it."""
    from zcs_exporter.trap import test_targets

    _, config = _load(arguments)
    unknown = set(arguments.target) - {target.name for target in config.notify.snmp}
    if unknown:
        raise _UnusableError(f"no target {', '.join(sorted(unknown))}; notify.snmp has the names")
    if not config.notify.snmp:
        raise _UnusableError("no target is configured; add one below notify.snmp")
    return asyncio.run(test_targets(config, arguments.target, Clock()))


def _trap_listen(arguments: argparse.Namespace) -> int:
    from zcs_exporter.snmp.secrets import SecretsError
    from zcs_exporter.trap import listen

    try:
        asyncio.run(listen(arguments, Clock()))
    except (SecretsError, OSError, ValueError) as exc:
        raise _UnusableError(f"cannot listen on {arguments.address} port {arguments.port}: {exc}") from exc
    return OK


def _demo(arguments: argparse.Namespace) -> int:
    from zcs_exporter.demo import run_demo

    return run_demo(arguments.port, arguments.seconds)
