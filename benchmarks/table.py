"""Renders what benchmarks found: a table of budgets, and every reading behind it."""

import os
import platform
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence

from benchmarks.harness import OURS, Form, Line, Reading, Report, Sense
from benchmarks.suite import BENCHES, BUDGETS, WHY
from benchmarks.versions import is_program

_HEAD = """\
# Performance

Written by `make bench`, which measures zcs-exporter beside the programs whose work it takes over: real ones from
Debian, started on the same host (a Postfix, a MariaDB and two JVMs in ZCS's places) in the same run, each taken in
turn. A ratio is formed inside each round; its median counts, and least and most of the rounds stand in brackets: where
they are far apart the machine was busy with something else. Each benchmark is a run of its own, and the table puts the
latest of each together: compare within a row, not between rows. `python -m benchmarks NAME...` measures anew only what
is named, and `--full` adds the sizes that take minutes.
"""
_BUDGETS = """\
Each budget, G1 to G15, is a limit that this project set itself before there was anything to measure: how much faster
or smaller than the programs beside it the daemon shall be, or how much it may take at most. Nobody else asked for them,
and a line that misses its budget may still be far ahead of its peer: the ratio says by how much. `≥ 25×` asks for a
25th of the peer's time, or for 25 times as many pages; `≤ 0.75` allows three quarters of what the peer takes.
"""


def amount(value: float, unit: str) -> str:
    """Return a value as people read it."""
    if unit == "s":
        for factor, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if value >= factor or name == "µs":
                return f"{_short(value / factor)} {name}"
    if unit == "B":
        return f"{_short(value / (1 << 20))} MiB"
    if unit == "share":
        return f"{value:.2%} of a core"
    return f"{_short(value)}{unit.removeprefix('1') if unit.startswith('1/') else ''}"


def _short(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _reading(reading: Reading) -> str:
    middle = amount(reading.median, reading.unit)
    low, high = (amount(each, reading.unit) for each in (min(reading.values), max(reading.values)))
    return middle if low == high else f"{middle} ({low} – {high})"


def _figure(line: Line) -> str:
    if line.form is Form.VALUE:
        return "–"
    figures = line.figures()
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    times = "" if line.form is Form.SHARE else "×"
    spread = "" if _short(low) == _short(high) else f" ({_short(low)} – {_short(high)})"
    return f"{_short(middle)}{times}{spread}"


def _limit(line: Line) -> str:
    number = amount(line.limit, line.ours.unit) if line.form is Form.VALUE else f"{line.limit:,g}"
    times = "×" if line.form in (Form.TIMES, Form.RATE) else ""
    return f"{'≥' if line.sense is Sense.AT_LEAST else '≤'} {number}{times}"


def _peers(line: Line) -> str:
    if not line.peers:
        return "–"
    total = sum(peer.median for peer in line.peers)
    return f"{amount(total, line.ours.unit)} ({' + '.join(peer.who for peer in line.peers)})"


def _row(line: Line) -> str:
    verdict = "met" if line.met else "**missed**"
    what = f"{line.what}; {line.note}" if line.note else line.what
    ours = amount(line.ours.median, line.ours.unit)
    return f"| {line.budget} | {what} | {ours} | {_peers(line)} | {_figure(line)} | {_limit(line)} | {verdict} |"


def _budget_rows(reports: Mapping[str, Report]) -> Iterable[str]:
    lines = [line for report in reports.values() for line in report.lines]
    for budget in BUDGETS:
        found = [line for line in lines if line.budget == budget]
        yield from (_row(line) for line in found)
        if not found:
            bench = next(each for each in BENCHES.values() if budget in each.budgets)
            report = reports.get(bench.name)
            reason = f"failed: {report.failure}" if report is not None and report.failure else "not measured"
            yield f"| {budget} | {BUDGETS[budget]} | – | – | – | – | {reason.replace('|', '/')} |"


def _machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, Linux {platform.release().split('-')[0]}"


def _details(report: Report) -> Iterable[str]:
    whats = list(dict.fromkeys(reading.what for reading in report.readings))
    sides = list(dict.fromkeys(reading.who for reading in report.readings))
    by_place = {(reading.what, reading.who): reading for reading in report.readings}
    yield f"| | {' | '.join(sides)} |"
    yield f"|---|{'---|' * len(sides)}"
    for what in whats:
        cells = [_reading(by_place[what, who]) if (what, who) in by_place else "" for who in sides]
        yield f"| {what} | {' | '.join(cells)} |"


def render(reports: Mapping[str, Report]) -> str:
    """Return the page about all results."""
    parts = [_HEAD, f"The machine: {_machine()}.\n", "## Budgets\n", _BUDGETS]
    parts += [
        "| | what | ours | peer | ratio | budget | |",
        "|---|---|---|---|---|---|---|",
        *_budget_rows(reports),
        "",
    ]
    missed = [line.budget for report in reports.values() for line in report.lines if not line.met]
    reasons = [f"- **{budget}**: {WHY[budget]}" for budget in BUDGETS if budget in missed and budget in WHY]
    if reasons:
        parts += ["## Why a budget is missed\n", *reasons, ""]
    parts += ["## What was run beside it\n", *_versions(reports), ""]
    parts.append("## Everything that was measured\n")
    parts.append(
        f"Medians of the rounds, least and most in brackets. `{OURS}` is the daemon where nothing else is said; CPU is "
        "that of the server's process.\n"
    )
    for name, report in reports.items():
        if report.readings:
            parts += [f"### {name}\n", f"{_sentence(BENCHES[name].about)}.\n", *_details(report), ""]
        parts += [f"- {each}" for each in report.missing]
        if report.missing:
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _versions(reports: Mapping[str, Report]) -> Iterable[str]:
    """Yield the version of each program beside ours, and which were not noted."""
    sides = sorted({each.who for report in reports.values() for each in report.readings if is_program(each.who)})
    known = {side: {report.versions[side] for report in reports.values() if side in report.versions} for side in sides}
    told = [f"{side} {', '.join(sorted(found))}" for side, found in known.items() if found]
    if told:
        yield f"{'; '.join(told)}."
    if unnoted := [side for side, found in known.items() if not found]:
        yield f"Not noted when it was measured: the version of {'; '.join(unnoted)}."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def summary(reports: Mapping[str, Report], budgets: Collection[str] = BUDGETS) -> str:
    """Return some of the budgets as a text for a terminal."""
    rows: list[Sequence[str]] = []
    for row in _budget_rows(reports):
        cells = [cell.strip().replace("**", "") for cell in row.strip("|").split("|")]
        if cells[0] in budgets:
            rows.append(cells)
    return "\n".join(
        f"{cells[0]:4} {cells[-1]:8} {cells[4]:>24} {cells[5]:>10}  {cells[1]}: {cells[2]} beside {cells[3]}"
        for cells in rows
    )
