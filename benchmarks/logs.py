"""Times the log engine beside mtail and pflogsumm: the same logs, in turns, CPU and wall time, equal counts.

Run from the repository: ``python benchmarks/logs.py``. It needs mtail and pflogsumm; all files lie in a
temporary directory, warm in the page cache.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - begun
        output.seek(0)
        errors.seek(0)
        if child.returncode:
            raise RuntimeError(f"{command[0]} failed: {errors.read().decode(errors='replace')[-500:]}")
        return Run(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024, output.read())


def mtail(logs: Sequence[Path], programs: Path = HERE / "mtail") -> Run:
    """Run mtail over whole files."""
    sources = [part for log in logs for part in ("--logs", str(log))]
    return run(["mtail", "--one_shot", "--one_shot_format=json", "--progs", str(programs), *sources])


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


def in_turns(rounds: int, ways: Mapping[str, Callable[[], Run]]) -> dict[str, list[Run]]:
    """Run each way once a round."""
    found: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def report(title: str, lines: int, size: int, runs: Mapping[str, Sequence[Run]], unit: str) -> None:
    """Print a table whose last row is the unit of the ratios."""
    print(f"\n{title}: {lines:,} lines, {size / 1e6:.0f} MB")
    print(f"{'':24} {'CPU s':>16} {'wall s':>8} {'lines/CPU s':>12} {'peak MiB':>9} {'ratio':>7}")
    base = statistics.median(each.cpu for each in runs[unit])
    for name, found in runs.items():
        cpus = sorted(each.cpu for each in found)
        cpu = statistics.median(cpus)
        wall = statistics.median(each.wall for each in found)
        peak = max(each.peak for each in found) / (1 << 20)
        spread = f"{cpu:.2f} ({cpus[0]:.2f}-{cpus[-1]:.2f})"
        print(f"{name:24} {spread:>16} {wall:8.2f} {lines / cpu:12,.0f} {peak:9.0f} {base / cpu:6.1f}x")


def newlines(log: Path) -> Run:
    """Read a file and count its newlines, as fast as Python can."""
    code = (
        "import sys\nn = 0\nwith open(sys.argv[1], 'rb', buffering=0) as f:\n"
        "    while block := f.read(1 << 20):\n        n += block.count(10)\nprint(n)"
    )
    return run([sys.executable, "-S", "-c", code, str(log)])


def count_lines(logs: Sequence[Path]) -> int:
    """Return the number of lines of all files."""
    return sum(int(newlines(log).output) for log in logs)


def main() -> int:
    """Print all tables; exit 1 if counts differ."""
    parser = argparse.ArgumentParser(description="Time the log engine beside mtail and pflogsumm.")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gigabyte", action="store_true", help="also scan a gigabyte of mailbox.log")
    options = parser.parse_args()
    missing = [name for name in ("mtail", "pflogsumm") if shutil.which(name) is None]
    if missing:
        print(f"install {' and '.join(missing)} first (apt-get install {' '.join(missing)})", file=sys.stderr)
        return 2
    differences: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        day = Path(scratch)
        generate(day, options.lines, 0.1)
        logs = [day / name for name in ("audit.log", "mailbox.log", "zimbra.log")]
        empty = day / "empty"
        empty.mkdir()
        (empty / "audit.log").write_bytes(b"")
        runs = in_turns(
            options.rounds,
            {
                "scan": lambda: scan(logs),
                "scan of nothing": lambda: scan([empty / "audit.log"]),
                "mtail": lambda: mtail(logs),
            },
        )
        report("a day of all three", count_lines(logs), _size(logs), runs, "mtail")
        differences += compare(our_counts(runs["scan"][0].output), mtail_counts(runs["mtail"][0].output))

        syslog = [day / "zimbra.log"]
        runs = in_turns(
            options.rounds, {"scan": lambda: scan(syslog), "pflogsumm": lambda: run(["pflogsumm", str(syslog[0])])}
        )
        report("mail flow", count_lines(syslog), _size(syslog), runs, "pflogsumm")

        audit = [day / "audit.log"]
        for share in (0.001, 0.1, 1.0):
            generate(day, options.lines, share, only="audit")
            runs = in_turns(
                options.rounds,
                {"scan": lambda: scan(audit), "mtail": lambda: mtail(audit, HERE / "mtail" / "auth.mtail")},
            )
            report(f"audit.log, {share:.1%} refused", count_lines(audit), _size(audit), runs, "mtail")
            differences += compare(our_counts(runs["scan"][0].output), mtail_counts(runs["mtail"][0].output))

        if options.gigabyte:
            log = grow(day / "mailbox.log", GIGABYTE)
            runs = in_turns(
                options.rounds, {"scan": lambda: scan([log]), "read and count newlines": lambda: newlines(log)}
            )
            report("a gigabyte of mailbox.log", count_lines([log]), _size([log]), runs, "read and count newlines")
    for line in differences:
        print(f"differs: {line}")
    print("all counts equal" if not differences else f"{len(differences)} counts differ")
    return 1 if differences else 0


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


def _size(logs: Sequence[Path]) -> int:
    return sum(log.stat().st_size for log in logs)


if __name__ == "__main__":
    sys.exit(main())
