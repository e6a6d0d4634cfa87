"""What every benchmark is made of: sides taken in turns, readings with their spread, and what they come to.

A benchmark is a module with ``measure(plan) -> Report``. Whatever can be noisy is measured in rounds, each side
once a round, and a ratio is formed inside each round; the median of the rounds counts and the rest is its spread.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

OURS = "zcs-exporter"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a run may take.

    Attributes:
        full: Take the sizes that need minutes, too.
        quick: Take the least that shows that everything works; its figures mean nothing.
    """

    full: bool = False
    quick: bool = False

    def rounds(self, usual: int) -> int:
        """Return how many rounds to take."""
        return 1 if self.quick else usual

    def seconds(self, usual: float) -> float:
        """Return how long to watch something."""
        return min(usual, 1.0) if self.quick else usual


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(f"  {text}", flush=True)


@dataclass(frozen=True, slots=True)
class Reading:
    """One thing measured of one side.

    Attributes:
        what: The thing, as a row of a table names it.
        who: The side.
        unit: ``s``, ``B``, ``1/s``, ``share`` (of a core) or empty for a plain number.
        values: One a round.
    """

    what: str
    who: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)


class Sense(StrEnum):
    """Which side of its limit a figure has to be on."""

    AT_LEAST = "at least"
    AT_MOST = "at most"


class Form(StrEnum):
    """What the figure of a line is."""

    TIMES = "times"
    """The peers added up, divided by ours."""
    RATE = "rate"
    """Ours divided by the peers added up, where more is better."""
    SHARE = "share"
    """Ours divided by the peers added up, where less is better."""
    VALUE = "value"
    """Ours alone."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure beside its budget.

    Attributes:
        budget: ``G1`` to ``G15``.
        what: What is compared.
        peers: What they come to is added up, round by round.
        limit: What the budget asks of the figure.
        note: What a reader has to know of how it was measured.
    """

    budget: str
    what: str
    form: Form
    limit: float
    ours: Reading
    peers: tuple[Reading, ...] = ()
    note: str = ""

    @property
    def sense(self) -> Sense:
        """Times and rates shall be high, shares and plain values low."""
        return Sense.AT_LEAST if self.form in (Form.TIMES, Form.RATE) else Sense.AT_MOST

    def figures(self) -> tuple[float, ...]:
        """Return the figure of each round; of the medians alone where the sides had different numbers of rounds."""
        if self.form is Form.VALUE:
            return self.ours.values
        lengths = {len(each.values) for each in (self.ours, *self.peers)}
        if len(lengths) == 1:
            rounds = zip(self.ours.values, *(peer.values for peer in self.peers), strict=True)
            pairs = [(own, sum(theirs)) for own, *theirs in rounds]
        else:
            pairs = [(self.ours.median, sum(peer.median for peer in self.peers))]
        if self.form is Form.TIMES:
            return tuple(theirs / own if own else float("inf") for own, theirs in pairs)
        return tuple(own / theirs if theirs else float("inf") for own, theirs in pairs)

    @property
    def figure(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.figures())

    @property
    def met(self) -> bool:
        """Whether the budget is met."""
        return self.figure >= self.limit if self.sense is Sense.AT_LEAST else self.figure <= self.limit


@dataclass(slots=True)
class Report:
    """What a benchmark found.

    Attributes:
        missing: Peers that could not be taken, and what was taken instead.
        failure: Why it has no result, or not all; empty if it has.
        versions: Of the programs beside ours, by side; without those that do not tell theirs.
    """

    readings: list[Reading] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failure: str = ""
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)

    def add(self, readings: Sequence[Reading]) -> None:
        """Keep readings that no line is about, too."""
        self.readings += readings

    def find(self, what: str, who: str = OURS) -> Reading:
        """Return a reading.

        Raises:
            LookupError: There is none.
        """
        for reading in self.readings:
            if (reading.what, reading.who) == (what, who):
                return reading
        raise LookupError(f"nothing was measured of {who}: {what}")

    def promise(
        self,
        budget: str,
        what: str,
        form: Form,
        limit: float,
        *peers: str,
        of: str,
        side: str = OURS,
        theirs: str = "",
        note: str = "",
    ) -> None:
        """Add a line about the reading ``of`` our ``side`` and, if it is named otherwise, ``theirs`` of the peers."""
        found = tuple(self.find(theirs or of, peer) for peer in peers)
        self.lines.append(Line(budget, what, form, limit, self.find(of, side), found, note))

    def save(self, place: Path) -> None:
        """Write it as JSON."""
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        temporary.rename(place)

    @classmethod
    def load(cls, place: Path) -> "Report":
        """Read what ``save`` wrote."""
        raw = json.loads(place.read_text(encoding="utf-8"))
        return cls(
            readings=[_reading(each) for each in raw["readings"]],
            lines=[
                Line(
                    each["budget"],
                    each["what"],
                    Form(each["form"]),
                    each["limit"],
                    _reading(each["ours"]),
                    tuple(_reading(peer) for peer in each["peers"]),
                    each["note"],
                )
                for each in raw["lines"]
            ],
            missing=raw["missing"],
            failure=raw["failure"],
            seconds=raw["seconds"],
            versions=raw.get("versions", {}),  # what was measured before versions were noted has none
        )


def _reading(raw: Mapping[str, Any]) -> Reading:
    return Reading(raw["what"], raw["who"], raw["unit"], tuple(raw["values"]))


Way = Callable[[], Mapping[tuple[str, str], float]]
"""Does one side's part of a round, and returns what it came to by thing and unit."""


def in_turns(rounds: int, sides: Mapping[str, Way]) -> list[Reading]:
    """Take each side once a round, in a fresh order of the same sides each time, and return all readings."""
    values: dict[tuple[str, str, str], list[float]] = {}
    names = list(sides)
    for number in range(rounds):
        for name in names:
            begun = time.monotonic()
            for (what, unit), value in sides[name]().items():
                values.setdefault((what, name, unit), []).append(value)
            say(f"round {number + 1} of {rounds}: {name} ({time.monotonic() - begun:.1f} s)")
        # Whoever came first has the cold caches; the next round begins with another.
        names.append(names.pop(0))
    return [Reading(what, who, unit, tuple(found)) for (what, who, unit), found in values.items()]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of them lies; of few values the next higher one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# -- Processes -----------------------------------------------------------------------------------------------------


def cpu_seconds(*pids: int) -> float:
    """Return the time that processes have spent on a core, with that of threads that ended; one that is gone has 0."""
    total = 0.0
    for pid in pids:
        # What clock_getcpuclockid(3) makes of a process's number.
        with suppress(OSError):
            total += time.clock_gettime((~pid << 3) | 2)
    return total


def pids_named(comm: str) -> list[int]:
    """Return the processes of a command name."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                if (place / "comm").read_text(encoding="utf-8", errors="replace").strip() == comm:
                    found.append(int(place.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


@dataclass(slots=True)
class Spent:
    """What something took; filled in when it is over."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def spending(*pids: int) -> Iterator[Spent]:
    """Measure wall time, and the CPU time of these processes."""
    spent = Spent()
    before, begun = cpu_seconds(*pids), time.perf_counter()
    yield spent
    spent.wall = time.perf_counter() - begun
    spent.cpu = cpu_seconds(*pids) - before


def run_program(command: Sequence[str | Path]) -> Spent:
    """Run a program to its end, throw away what it prints, and return what it took.

    Raises:
        RuntimeError: It failed.
    """
    begun = time.perf_counter()
    child = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command[0]} ended with {child.returncode}")
    return Spent(time.perf_counter() - begun, usage.ru_utime + usage.ru_stime)


def memory(pid: int) -> dict[str, int]:
    """Return a process's memory in bytes: ``Pss``, ``Rss`` and what else ``smaps_rollup`` has."""
    rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:])
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}
