"""The commands that look back: ``scan`` runs the collectors over old logs, ``trace`` follows one message or request."""

import argparse
import contextlib
import io
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from zcs_exporter.alerting.model import Catalogue, Family
from zcs_exporter.alerting.policy import effective_policies, plain_thresholds
from zcs_exporter.assembly import build_collectors, real_host
from zcs_exporter.config import Config
from zcs_exporter.contract import Clock, CollectError, Collector, Judging
from zcs_exporter.hostio import Host
from zcs_exporter.oldlogs.files import OldLog, UnreadableError, log_name
from zcs_exporter.oldlogs.progress import Interrupt, Progress
from zcs_exporter.oldlogs.scan import GivenLogs, Outcome, Scan, ScanClock
from zcs_exporter.registry import followed_logs
from zcs_exporter.text import one_line

JUDGED = (Family.AUTH, Family.QUEUE)
"""The alerts that collectors judge the past by, on metrics of their own."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as the shell has it."""

_PIPED_WIDTH = 120
_DAY = 86400.0
_SYSLOG = "/var/log/zimbra.log"
_NO_IDS = frozenset({"gc.log", "clamd.log", "freshclam.log", "myslow.log", "zmstat.out"})

Build = Callable[[Config, Host, Clock], Sequence[Collector]]


class UsageError(Exception):
    """The command cannot be carried out as it was given; the message says what to give."""


def scan(arguments: argparse.Namespace, catalogue: Catalogue, config: Config, build: Build = build_collectors) -> int:
    """Scan the files named and print what they come to.

    Returns:
        The exit status: 1 if a file could not be read, or not to its end, or none is a log that anybody reads.

    Raises:
        UsageError: ``--as`` or ``--host`` name nothing.
    """
    outcome = run_scan(arguments, catalogue, config, build)
    if arguments.format == "json":
        from zcs_exporter.oldlogs.scan_json import as_json

        show([json.dumps(as_json(outcome), indent=2)])
    else:
        from zcs_exporter.oldlogs.scan_text import as_text

        show(as_text(outcome, terminal_width()))
    if outcome.partial:
        return INTERRUPTED
    unread = any(each.problem for each in outcome.files) or not any(each.log for each in outcome.files)
    return 1 if unread or outcome.problems else 0


def logs_given(arguments: argparse.Namespace) -> Collection[str]:
    """Return the base names of the logs that the files to be scanned are, as far as their own names tell."""
    if arguments.taken_for is not None:
        return [arguments.taken_for]
    files = ((log_name(path), found) for path, found in within(arguments.file))
    return {name for name, found in files if not found or name in followed_logs()}


def run_scan(arguments: argparse.Namespace, catalogue: Catalogue, config: Config, build: Build) -> Outcome:
    """Scan the files named."""
    lines_clock = ScanClock()
    files = list(within(arguments.file))
    host = GivenLogs(config.host.root, config.host.zimbra_home, [path for path, _ in files])
    collectors = build(config, host, lines_clock.clock)
    give_thresholds(collectors, catalogue, config, host)
    scan = Scan(collectors, lines_clock, host_names(arguments.host))
    if arguments.taken_for is not None and arguments.taken_for not in scan.logs:
        raise UsageError(f"--as {arguments.taken_for}: nobody reads such a log; one of {', '.join(scan.logs)}")
    scan.open([path for path, found in files if not found or log_name(path) in scan.logs], arguments.taken_for)
    progress = Progress(scan.size, sys.stderr)

    def keep_on() -> bool:
        progress.show(lambda: scan.read)
        return not interrupt.asked

    with Interrupt() as interrupt:
        try:
            return scan.run(keep_on)
        finally:
            progress.end()


def trace(arguments: argparse.Namespace, config: Config, clock: Clock) -> int:
    """Follow an id through the logs of the host and print its story.

    Returns:
        The exit status: 1 if nothing was found, or a log could not be read.

    Raises:
        UsageError: What was given is no id or no date.
    """
    # Not for those who only scan.
    from zcs_exporter.oldlogs import trace_text
    from zcs_exporter.oldlogs.trace import Trace
    from zcs_exporter.oldlogs.trace_ids import NotAnIdError, parse_id

    try:
        wanted = parse_id(arguments.id)
    except NotAnIdError as exc:
        raise UsageError(f"{arguments.id!r}: {exc}") from exc
    since, until = earliest(arguments, clock), latest(arguments)
    files: list[OldLog] = []
    problems: dict[str, str] = {}
    empty = distant = 0
    named = [path for path, found in within(arguments.file) if not found or is_traced(path)]
    for path in named if arguments.file else host_logs(real_host(config)):
        try:
            file = OldLog(path)
        except UnreadableError as exc:
            problems[path] = str(exc)
        else:
            # A clock that was set, or a copy's, may be off by a day.
            near = file.reference + _DAY >= since and (file.begins or 0.0) - _DAY <= until
            files += [file] if near and file.head else []
            empty += not file.head
            distant += bool(file.head) and not near
    unreadable = len(problems)
    bar: list[Progress] = []

    def begin(size: int) -> None:
        for each in bar:
            each.end()
        bar[:] = [Progress(size, sys.stderr)]

    def keep_on(read: Callable[[], int]) -> bool:
        bar[0].show(read)
        return not interrupt.asked

    search = Trace(wanted, files, since, begin, keep_on, until)
    with Interrupt() as interrupt:
        try:
            story = search.run()
        finally:
            for each in bar:
                each.end()
    problems |= {file.path: file.problem for file in files if file.problem is not None}
    for path, problem in problems.items():
        print(f"{one_line(path, 255)}: {problem}", file=sys.stderr)
    if arguments.format == "json":
        show([json.dumps(trace_text.as_json(story, search.files, problems), indent=2)])
    else:
        show(trace_text.as_text(story, search.files, _passed_over(empty, distant, unreadable)))
    if story.partial:
        return INTERRUPTED
    return 1 if problems or not story.lines else 0


def _passed_over(empty: int, distant: int, unreadable: int) -> str:
    """Return how many files were not searched, and why."""
    counts = ((empty, "empty"), (distant, "of other days"), (unreadable, "unreadable"))
    return ", ".join(f"{count} {why}" for count, why in counts if count)


def earliest(arguments: argparse.Namespace, clock: Clock) -> float:
    """Return the time before which lines are left out: the beginning of ``--since``, else ``--days`` ago.

    Raises:
        UsageError: ``--since`` is no date.
    """
    if arguments.since is None:
        return 0.0 if arguments.file else clock.wall() - arguments.days * _DAY
    return _span("--since", arguments.since)[0]


def latest(arguments: argparse.Namespace) -> float:
    """Return the time after which lines are left out: the end of the day, minute or second of ``--until``.

    Raises:
        UsageError: ``--until`` is no date.
    """
    return math.inf if arguments.until is None else _span("--until", arguments.until)[1]


def _span(option: str, text: str) -> tuple[float, float]:
    for form, seconds in (("%Y-%m-%d", _DAY), ("%Y-%m-%d %H:%M", 60.0), ("%Y-%m-%d %H:%M:%S", 1.0)):
        with contextlib.suppress(ValueError, OverflowError):
            first = time.mktime(time.strptime(text.replace("T", " "), form))
            return first, first + seconds - 1
    raise UsageError(f"{option} {text!r}: write a date like 2024-03-02, or 2024-03-02T10:20")


def within(paths: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield files: those named, and those in directories that are named, with whether each was only found there."""
    for path in paths:
        found: list[str] = []
        with contextlib.suppress(OSError):
            entries = (os.path.join(path, name) for name in sorted(os.listdir(path)))
            found = [entry for entry in entries if os.path.isfile(entry)]
        if found:
            yield from ((each, True) for each in found)
        else:
            yield path, False


def is_traced(path: str) -> bool:
    """Whether a file, by its name, is a log that may tell of a message or request."""
    name = log_name(path)
    return _is_log(name) or _is_syslog(name)


def host_logs(host: Host) -> Iterator[str]:
    """Yield where the logs of the host are found from here that may tell of a message or request.

    Where a log and its archive, just being made, are both there, the log is taken.
    """
    home = host.zcs.path("log")
    with contextlib.suppress(OSError, CollectError):
        home = host.zcs.localconfig().get("zimbra_log_directory") or home
    for directory, wanted in ((home, _is_log), (os.path.dirname(_SYSLOG), _is_syslog)):
        try:
            entries = {each.name: each for each in host.scandir(directory)}
        except OSError:
            continue  # no ZCS here, or no syslog; what is there is searched
        for name, entry in sorted(entries.items()):
            doubled = name.endswith(".gz") and name.removesuffix(".gz") in entries
            if wanted(log_name(name)) and not doubled and entry.is_file():
                yield entry.path


def _is_log(name: str) -> bool:
    return (name.endswith((".log", ".out")) and name not in _NO_IDS) or name == "access_log"


def _is_syslog(name: str) -> bool:
    return name == os.path.basename(_SYSLOG)


def show(lines: Iterable[str]) -> None:
    """Print lines, whatever the terminal can show of them."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    for line in lines:
        print(line)


def give_thresholds(collectors: Sequence[Collector], catalogue: Catalogue, config: Config, host: Host) -> None:
    """Give the effective thresholds to those that judge by themselves; those of ZCS where it is here."""
    settings = None
    with contextlib.suppress(OSError, CollectError):
        settings = host.zcs.localconfig()
    thresholds = plain_thresholds(effective_policies(catalogue.alerts, config.alerts, settings))
    for collector in collectors:
        if isinstance(collector, Judging):
            collector.take_thresholds(thresholds)


def host_names(names: Sequence[str]) -> Collection[bytes] | None:
    """Return the names given as syslog has them; None for any host."""
    return [name.encode("utf-8", "surrogateescape") for name in names] or None


def terminal_width() -> int:
    """Return the columns of the terminal; enough for a line of any table where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPED_WIDTH
