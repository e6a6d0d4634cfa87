"""What may be typed after ``zcs-exporter``, and its help."""

import argparse
import sys
from collections.abc import Sequence

from zcs_exporter import __version__

UNUSABLE = 2
"""Exit status for wrong usage, of every command but one."""

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
the daemon's user, whom NRPE and agents become by a line in /etc/sudoers.d:
  nagios ALL=(zcs-exporter) NOPASSWD: /usr/bin/zcs-exporter check
docs/nagios.md has more. Exit status: 0 ok, 1 warning, 2 critical, 3 unknown."""

_CONFIG = "configuration; default /etc/zcs-exporter/config.yaml if it exists"

Parser = argparse.ArgumentParser


class _Commands:
    """The commands that a parser knows."""

    def __init__(self, parser: Parser, above: str = "") -> None:
        self._parsers = parser.add_subparsers(metavar="ACTION" if above else "COMMAND")
        self._above = above

    def add(self, name: str, text: str, description: str = "", *, config: bool = True) -> Parser:
        """Add a command and return where its own arguments go.

        Args:
            name: As typed.
            text: What it does, in the list of all.
            description: The same in its own help, where there is more to say.
            config: Whether it needs the configuration.
        """
        parser = self._parsers.add_parser(name, help=text, description=description or text)
        parser.set_defaults(command=f"{self._above}{name}")
        if config:
            # No default of its own: it may have been given before the last word of the command.
            parser.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=_CONFIG)
        return parser

    def group(self, name: str, text: str) -> "_Commands":
        """Add a word that is no command by itself, and return the commands below it."""
        parser = self._parsers.add_parser(name, help=text, description=text)
        parser.set_defaults(incomplete=parser)
        return _Commands(parser, f"{name} ")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments with the name of the command as ``command``, such as ``trap test``.

    Raises:
        SystemExit: They are wrong, or help was asked for.
    """
    words = sys.argv[1:] if argv is None else argv
    try:
        return _parse(words)
    except SystemExit as exc:
        if not exc.code or words[:1] != ["check"]:
            raise
        # What is wrong is on standard error, which a manager does not look at.
        print("ZCS UNKNOWN: wrong usage; see zcs-exporter check --help")
        raise SystemExit(UNKNOWN) from None


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = make_parser()
    arguments, rest = parser.parse_known_args(words)
    if "file" in arguments:
        # argparse takes no more files once an option followed the first.
        arguments.file += [each for each in rest if not each.startswith("-")]
        rest = [each for each in rest if each.startswith("-")]
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if arguments.command is None:
        arguments.incomplete.print_help(sys.stderr)
        raise SystemExit(UNUSABLE)
    return arguments


def make_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(prog="zcs-exporter", description="Monitoring for one Zimbra host.")
    parser.add_argument("--version", action="version", version=f"zcs-exporter {__version__}")
    parser.set_defaults(command=None, incomplete=parser, config=None)
    commands = _Commands(parser)
    commands.add("run", "Run the daemon until SIGTERM.")
    commands.add("once", "Collect everything once and print the exposition.")
    commands.add("check-config", "Report every fault of the configuration.")
    doctor = commands.add("doctor", "Tell what works, what is not on this host and what lacks a permission.")
    doctor.add_argument("--format", choices=("text", "json"), default="text")
    _add_alarms(commands)
    _add_old_logs(commands)
    commands.add("page", "Print the address of the page with the token that opens it.")
    commands.add("mib", "Print ZCS-EXPORTER-MIB with the configured root.")
    managers = commands.add("managers", "Write the MIB and the files for SNMP managers with the configured root.")
    managers.add_argument("directory", metavar="DIR", help="where; what is there under the same names is replaced")
    commands.add("rules", "Print the Prometheus rules.")
    commands.add("dashboard", "Print the Grafana dashboard of a host.")
    _add_snmp(commands)
    demo = commands.add(
        "demo",
        "Run the daemon on a built-in Zimbra host with incidents.",
        "Build a small living Zimbra host in a temporary directory and run the daemon on it.",
        config=False,
    )
    demo.add_argument("--port", type=int, default=10741, help="of the page; 0 for any free one")
    demo.add_argument("--seconds", type=float, help="end after this time; without it, run until interrupted")
    return parser


def _add_alarms(commands: _Commands) -> None:
    alerts = commands.add("alerts", "Show the alarms that stand now, asked of the running daemon.")
    alerts.add_argument("--format", choices=("text", "json"), default="text")
    silence = _Commands(alerts, "alerts ").add(
        "silence",
        "Hold alarms about services while somebody is at work on the host.",
        "Hold alarms about services, probes and JVMs until a time, while somebody is at work on the host.",
    )
    span = silence.add_mutually_exclusive_group()
    span.add_argument(
        "duration", metavar="DURATION", nargs="?", help="from now, such as 90m or 2h; without it, show what holds"
    )
    span.add_argument("--end", action="store_true", help="end it now")
    check = commands.add("check", "Answer Nagios and its kin: one line, performance data, exit status 0 to 3.")
    check.epilog = CHECK_EPILOG
    check.formatter_class = argparse.RawDescriptionHelpFormatter
    check.add_argument(
        "--family", metavar="NAME", action="append", default=[], help="only alerts of this family, such as queue"
    )
    check.add_argument("--alert", metavar="NAME", action="append", default=[], help="only this alert")
    check.add_argument("--url", help="a daemon elsewhere, such as https://mail.example.com:10741")
    check.add_argument("--login", metavar="FILE", help="user and password for --url")
    check.add_argument("--ca-file", metavar="FILE", help="certificates to trust for --url, if not the system's")


def _add_old_logs(commands: _Commands) -> None:
    scan = commands.add("scan", "Run the log readers over old logs, plain or gzip, and print what they find.")
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
    trace = commands.add("trace", "Follow a queue id, message id, cid, soapId or address through all logs of the host.")
    trace.epilog = TRACE_EPILOG
    trace.add_argument("id", metavar="ID", help="such as 3F2A81C0E5D, '<a1@example.net>', soapId=4e5e1bb3 or cid=12")
    trace.add_argument(
        "file", metavar="FILE", nargs="*", help="search these logs, or directories of logs, instead of the host's"
    )
    trace.add_argument("--format", choices=("text", "json"), default="text", help="default text")
    trace.add_argument("--days", metavar="N", type=int, default=8, help="how far to look back; default 8")
    trace.add_argument("--since", metavar="DATE", help="look back to this date instead, such as 2024-03-02")
    trace.add_argument("--until", metavar="DATE", help="and no further than this, such as 2024-03-02T10:20")
    report = commands.add("report", "Print the daily mail report: what the mail system did on one day.")
    report.epilog = REPORT_EPILOG
    report.add_argument(
        "--date", metavar="DATE", help="such as 2024-03-02, today or yesterday; default the last day that is over"
    )
    report.add_argument("--format", choices=("text", "html", "json"), default="text")
    report.add_argument("--top", metavar="N", type=int, help="names in each list; default as ZCS's own report, else 50")


def _sequence(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 2**32:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no sequence number; the receiver shows them as zcsNotifySequence")


def _add_snmp(commands: _Commands) -> None:
    commands.group("snmp", "What SNMP managers must know.").add(
        "engine-id",
        "Print the daemon's engine id.",
        "Print the daemon's engine id, which a receiver of SNMPv3 traps needs; informs do without.",
    )
    traps = commands.group("trap", "Test notifications.")
    test = traps.add("test", "Send a test notification.", "Send a test notification to each target.")
    test.add_argument("target", nargs="*", help="names of targets; all without one")
    replay = traps.add(
        "replay",
        "Send again what was sent.",
        "Send again what a target was sent, from a sequence number on; numbers, event ids and times stay.",
    )
    replay.add_argument("--to", metavar="TARGET", dest="target", required=True, help="name of the target")
    replay.add_argument(
        "--from",
        metavar="SEQ",
        dest="first",
        type=_sequence,
        required=True,
        help="its first sequence number that is missing",
    )
    replay.add_argument(
        "--until", metavar="SEQ", dest="last", type=_sequence, help="the last one; without it, up to now"
    )
    listen = traps.add("listen", "Print what arrives.", "Receive notifications and print them.", config=False)
    listen.add_argument("--address", default="127.0.0.1")
    listen.add_argument("--port", type=int, default=10162)
    listen.add_argument(
        "--secrets", metavar="FILE", action="append", help="community or user; without one the community public"
    )
    listen.add_argument("--engine-id", metavar="HEX", help="the sender's engine id, for SNMPv3 traps")
    listen.add_argument("--format", choices=("text", "json"), default="text")
