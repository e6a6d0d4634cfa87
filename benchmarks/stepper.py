"""Runs collectors in a process of their own, a round whenever it is told to, and says what that took.

It is how a collection is measured without what else a daemon does, in turns with peers. Run as
``python -m benchmarks.stepper CONFIG COLLECTOR...``; ``Stepper`` is its handle.
"""

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import yaml
from e2e.lab import scratch

from zcs_exporter.assembly import build_collectors, real_host
from zcs_exporter.config import Config, load_config
from zcs_exporter.contract import Clock
from zcs_exporter.expose.prometheus import Exposition, Format
from zcs_exporter.runner import Runner, new_reading, next_reading
from zcs_exporter.selfmetrics import CollectorSamples
from zcs_exporter.snapshot import Snapshot, Vetting


@dataclass(frozen=True, slots=True)
class Round:
    """What some rounds of all its collectors came to.

    Attributes:
        walls: Seconds that each round took, from the first question to the rendered page.
        cpu: Seconds on a core of one round, on average.
        series: On the page of the last round.
        page: The last page.
    """

    walls: tuple[float, ...]
    cpu: float
    series: int
    page: str

    def value(self, sample: str) -> float | None:
        """Return the value of a sample by its name and labels as the page has them."""
        for line in self.page.splitlines():
            if line.startswith(f"{sample} "):
                return float(line.rpartition(" ")[2])
        return None


class Stepper:
    """A process that runs these collectors when it is told to."""

    def __init__(self, *collectors: str, sections: Mapping[str, object] | None = None) -> None:
        """Start it; all collectors by default, with what ``sections`` says of them in the configuration."""
        place = scratch("stepper") / "config.yaml"
        place.write_text(yaml.safe_dump({"collectors": dict(sections or {})}), encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stepper", str(place), *collectors],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def rounds(self, number: int = 1) -> Round:
        """Run so many rounds, one after the other."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the process of the collectors ended")
        raw: dict[str, Any] = json.loads(answer)
        return Round(tuple(raw["walls"]), raw["cpu"], raw["series"], raw["page"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


class _Steps:
    def __init__(self, config: Config, names: list[str]) -> None:
        self._clock = Clock()
        found = build_collectors(config, real_host(config), self._clock)
        chosen = [each for each in found if not names or each.name in names]
        self._runners = [
            Runner.configured(each, config.collector(each.name), self._clock, lambda _name, _outcome: None)
            for each in chosen
        ]
        self._readings = {each.name: new_reading(each) for each in chosen}
        self._own, self._vetting = CollectorSamples(), Vetting()
        self._exposition = Exposition()

    async def round(self) -> bytes:
        outcomes = await asyncio.gather(*(runner.attempt() for runner in self._runners))
        for runner, outcome in zip(self._runners, outcomes, strict=True):
            if outcome.error is not None:
                print(f"{runner.collector.name}: {outcome.error}", file=sys.stderr)
            name = runner.collector.name
            self._readings[name] = next_reading(self._readings[name], outcome, runner.max_age)
        own = self._vetting.vet(list(self._own.of(self._readings))).samples
        return self._exposition.page(Snapshot(1, self._clock.wall(), dict(self._readings), own), Format.TEXT)


async def _serve(steps: _Steps) -> None:
    # As the daemon does once it is ready.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        walls, page = [], b""
        cpu = time.process_time()
        number = int(line)
        for _ in range(number):
            begun = time.perf_counter()
            page = await steps.round()
            walls.append(time.perf_counter() - begun)
        cpu = (time.process_time() - cpu) / number
        text = page.decode()
        series = sum(1 for row in text.splitlines() if not row.startswith("#"))
        print(json.dumps({"walls": walls, "cpu": cpu, "series": series, "page": text}), flush=True)


def main() -> int:
    """Do as told until nobody tells any more."""
    file, *names = sys.argv[1:]
    asyncio.run(_serve(_Steps(load_config(file), names)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
