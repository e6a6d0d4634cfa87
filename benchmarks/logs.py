"""G8: whole logs, beside mtail and pflogsumm: the same files, in turns, equal counts.

All files lie in a temporary directory, warm in the page cache. Starting the interpreter is part of our time.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import OURS, Form, Plan, Reading, Report, in_turns, say
from benchmarks.peers import need

HERE = Path(__file__).resolve().parent
SCAN = [sys.executable, "-m", "zcs_exporter", "scan", "--format", "json"]
GIGABYTE = 1_000_000_000


@dataclass(frozen=True)
class Run:
    """What one run of a program took and printed.

    Attributes:
        cpu: Seconds of user and system time.
        wall: Seconds.
        peak: Largest resident set in bytes.
    """

    cpu: float
    wall: float
    peak: int
    output: bytes


def run(command: Sequence[str]) -> Run:
    """Run a program to its end.

    Raises:
        RuntimeError: It failed.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begun = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=errors, cwd=HERE.parent)
        peak = 0
        while True:
            peak = max(peak, _peak(child.pid))
            done, status, usage = os.wait4(child.pid, os.WNOHANG)
            if done:
                break
            time.sleep(0.02)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - begun
        output.seek(0)
        errors.seek(0)
        if child.returncode:
            raise RuntimeError(f"{command[0]} failed: {errors.read().decode(errors='replace')[-500:]}")
        return Run(usage.ru_utime + usage.ru_stime, wall, peak, output.read())


def _peak(pid: int) -> int:
    """Return the most memory a process has had so far; rusage would tell its parent's where that was more."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def scan(logs: Sequence[Path]) -> Run:
    """Run our own scan over whole files."""
    return run([*SCAN, *map(str, logs)])


def mtail_counts(output: bytes) -> dict[tuple[str, ...], float]:
    """Return mtail's counters by name and label values."""
    decoded = json.loads(output)
    groups = decoded if isinstance(decoded, list) else [each for part in decoded.values() for each in part]
    return {
        (metric["Name"], *(value.get("Labels") or ())): value["Value"]["Value"]
        for metric in groups
        for value in metric.get("LabelValues") or ()
        if "Value" in value["Value"]
    }


def our_counts(output: bytes) -> dict[tuple[str, ...], float]:
    """Return the scan's samples by name and label values."""
    samples = json.loads(output)["samples"]
    return {(each["name"], *each["labels"].values()): each["value"] for each in samples}


def compare(ours: Mapping[tuple[str, ...], float], theirs: Mapping[tuple[str, ...], float]) -> list[str]:
    """Return where the counts differ of what both count."""
    reasons = {"invalid password": "bad_password", "empty password": "bad_password", "account lockout": "locked"}
    pairs: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    for key in theirs:
        if key[0] == "auth_failures":
            pairs.append((("zcs_auth_failures_total", key[1], reasons.get(key[2], "other")), key))
        elif key[0] == "auth_successes":
            pairs.append((("zcs_auth_successes_total", key[1]), key))
        elif key[0] == "log_events":
            pairs.append((("zcs_log_events_total", "mailbox.log", key[1].lower(), key[2]), key))
        elif key[:2] == ("mail_messages", "sent"):
            pairs.append((("zcs_mail_messages_total", "delivered"), key))
        elif key[:2] == ("mail_messages", "rejected"):
            pairs.append((("zcs_mail_messages_total", "rejected"), key))
        elif key[0] == "mail_rejects":
            pairs.append((("zcs_mail_rejects_total", key[1]), key))
        elif key[0] == "mail_verdicts":
            pairs.append((("zcs_mail_content_verdicts_total", key[1].lower()), key))
    return [
        f"{' '.join(mine)}: ours {ours.get(mine)}, mtail {theirs[key]}"
        for mine, key in pairs
        if ours.get(mine) != theirs[key]
    ]


def newlines(log: Path) -> Run:
    """Read a file and count its newlines, as fast as Python can."""
    code = (
        "import sys\nn = 0\nwith open(sys.argv[1], 'rb', buffering=0) as f:\n"
        "    while block := f.read(1 << 20):\n        n += block.count(10)\nprint(n)"
    )
    return run([sys.executable, "-S", "-c", code, str(log)])


_DAY, _MAIL, _GIGABYTE = "a day of all three logs", "mail flow", "a gigabyte of mailbox.log"
_SHARES = (0.001, 0.1, 1.0)


def measure(plan: Plan) -> Report:
    """Read whole files as ``scan`` does, with every matcher on; what both count must be equal."""
    report = Report()
    mtail_program, pflogsumm = need("mtail", "mtail"), need("pflogsumm", "pflogsumm")
    lines = 20_000 if plan.quick else 1_000_000
    rounds = plan.rounds(3)
    differences: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        day = Path(scratch)
        generate(day, lines, 0.1)
        logs = [day / name for name in ("audit.log", "mailbox.log", "zimbra.log")]
        ours, theirs = _both(logs, HERE / "mtail", mtail_program)
        differences += compare(our_counts(ours().output), mtail_counts(theirs().output))
        report.add(_in_turns(_DAY, rounds, {OURS: ours, "mtail": theirs}))

        syslog = [day / "zimbra.log"]
        sides = {OURS: lambda: scan(syslog), "pflogsumm": lambda: run([pflogsumm, str(syslog[0])])}
        report.add(_in_turns(_MAIL, rounds, sides))

        audit = [day / "audit.log"]
        for share in _SHARES:
            generate(day, lines, share, only="audit")
            ours, theirs = _both(audit, HERE / "mtail" / "auth.mtail", mtail_program)
            differences += compare(our_counts(ours().output), mtail_counts(theirs().output))
            report.add(_in_turns(_refused(share), rounds, {OURS: ours, "mtail": theirs}))

        log = [grow(day / "mailbox.log", GIGABYTE // 50 if plan.quick else GIGABYTE)]
        sides = {OURS: lambda: scan(log), "read and count newlines": lambda: newlines(log[0])}
        report.add(_in_turns(_GIGABYTE, plan.rounds(2), sides))
    if differences:
        raise RuntimeError(f"{len(differences)} counts differ: {differences[0]}")
    say("all counts are equal")
    for share in _SHARES:
        limit = 15 if share == 1.0 else 10
        of = f"{_refused(share)}, CPU"
        note = "nothing but failures, which is our reading of the failures path" if share == 1.0 else ""
        report.promise("G8", of, Form.TIMES, limit, "mtail", of=of, note=note)
    report.promise("G8", f"{_DAY}, CPU", Form.TIMES, 10, "mtail", of=f"{_DAY}, CPU")
    return report


def _refused(share: float) -> str:
    return f"audit.log with {share:.1%} of logins refused"


def _both(logs: Sequence[Path], programs: Path, mtail_program: str) -> tuple[Callable[[], Run], Callable[[], Run]]:
    sources = [part for log in logs for part in ("--logs", str(log))]
    command = [mtail_program, "--one_shot", "--one_shot_format=json", "--progs", str(programs), *sources]
    return (lambda: scan(logs)), (lambda: run(command))


def _in_turns(title: str, rounds: int, ways: Mapping[str, Callable[[], Run]]) -> list[Reading]:
    def once(way: Callable[[], Run]) -> dict[tuple[str, str], float]:
        done = way()
        return {(f"{title}, CPU", "s"): done.cpu, (title, "s"): done.wall, (f"{title}, most memory", "B"): done.peak}

    return in_turns(rounds, {name: lambda way=way: once(way) for name, way in ways.items()})


def generate(directory: Path, lines: int, failing: float, only: str = "") -> None:
    """Write the logs in a process of its own, so that its memory is not ours."""
    command = [sys.executable, str(HERE / "log_lines.py"), str(directory), "--lines", str(lines)]
    run([*command, "--failing", str(failing), *(("--only", only) if only else ())])


def grow(log: Path, size: int) -> Path:
    """Return a file of about ``size`` bytes with the content of ``log`` over and over."""
    grown = log.parent / "gigabyte" / "mailbox.log"
    grown.parent.mkdir()
    content = log.read_bytes()
    with open(grown, "wb") as file:
        for _ in range(max(1, size // len(content))):
            file.write(content)
    return grown
