"""Run benchmarks: ``python -m benchmarks [--full] [NAME...]``, as root, from the repository.

Each runs in a process and a lab of its own (tests/e2e/in_lab), so that one that fails is a line of the table and
no more. What a run finds lies in benchmarks/results; the table is made of all that lies there.
"""

import argparse
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Plan, Report
from benchmarks.suite import BENCHES, Bench
from benchmarks.table import render, summary
from benchmarks.versions import versions_of

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results"
PAGE = REPOSITORY / "docs" / "performance.md"
IN_LAB = REPOSITORY / "tests" / "e2e" / "in_lab"


def measure(module: str, plan: Plan, place: Path) -> int:
    """Run the benchmark of a module here and save what it found; a failure is saved, too."""
    begun = time.monotonic()
    try:
        report = importlib.import_module(f"benchmarks.{module}").measure(plan)
    except BaseException as exc:  # noqa: BLE001 - also what the lab raises where something is missing
        import traceback

        traceback.print_exc()
        report = Report(failure=f"{type(exc).__name__}: {exc}".splitlines()[0][:200])
    report.versions = versions_of(reading.who for reading in report.readings)
    report.seconds = time.monotonic() - begun
    report.save(place)
    return 1 if report.failure else 0


def run(bench: Bench, plan: Plan, results: Path) -> Report:
    """Run one benchmark in a process of its own, and its lab around it, and return what it found."""
    place = results / f"{bench.name}.json"
    fresh = results / f"{bench.name}.fresh.json"
    fresh.unlink(missing_ok=True)
    options = [*(["--full"] if plan.full else []), *(["--quick"] if plan.quick else [])]
    command = [sys.executable, "-m", "benchmarks", "--inside", bench.name, "--results", str(fresh), *options]
    if bench.lab:
        command = [sys.executable, str(IN_LAB), *command]
    paths = [str(REPOSITORY), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": ":".join(filter(None, paths)), "ZCS_E2E": "required"}
    child = subprocess.Popen(command, env=environment, cwd=REPOSITORY, start_new_session=True)
    limit = bench.limit * (4 if plan.full else 1)
    try:
        child.wait(limit)
        report = Report.load(fresh) if fresh.exists() else Report(failure=f"it ended with {child.returncode}")
    except subprocess.TimeoutExpired:
        report = Report(failure=f"not done within {limit:.0f} s")
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        fresh.unlink(missing_ok=True)
    report.save(place)
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for, print the budgets, and write the page if told to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all by default")
    parser.add_argument("--full", action="store_true", help="also the sizes that take minutes")
    parser.add_argument("--quick", action="store_true", help="only see that everything works; the figures mean nothing")
    parser.add_argument("--missing", action="store_true", help="only those that have no result yet, or failed")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(REPOSITORY)}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the results lie")
    parser.add_argument("--inside", metavar="NAME", choices=BENCHES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    plan = Plan(options.full, options.quick)
    if options.inside:
        return measure(BENCHES[options.inside].module, plan, options.results)
    if unknown := [name for name in options.names if name not in BENCHES]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    failed = 0
    for name in options.names or BENCHES:
        if options.missing and _has_result(options.results / f"{name}.json"):
            continue
        print(f"{name}: {BENCHES[name].about}", flush=True)
        report = run(BENCHES[name], plan, options.results)
        failed += bool(report.failure)
        print(f"{name}: {report.failure or 'done'} ({report.seconds:.0f} s)", flush=True)
    shown = {bench.budgets for name, bench in BENCHES.items() if name in (options.names or BENCHES)}
    reports = {name: Report.load(place) for name in BENCHES if (place := options.results / f"{name}.json").exists()}
    print(summary(reports, {budget for budgets in shown for budget in budgets}))
    if options.write:
        PAGE.write_text(render(reports), encoding="utf-8")
    return 1 if failed else 0


def _has_result(place: Path) -> bool:
    return place.exists() and not Report.load(place).failure


if __name__ == "__main__":
    sys.exit(main())
