"""Reads one JVM's counters as the collector does, and makes series of them.

Prints in seconds: median and CPU of one reading, median and CPU with the series. Run as
``python -m benchmarks.jvm_reader PID NUMBER``.
"""

import statistics
import sys
import time
from collections.abc import Callable

from collectors.formats.hsperfdata import open_perf_files
from collectors.jvm.metrics import counter_samples, memory_samples
from collectors.jvm.state import make_plan, state_from_hsperfdata
from zcs_exporter.hostio import Host

_WARM = 20


def timed(way: Callable[[], object], number: int) -> tuple[float, float]:
    """Return the median seconds and the CPU seconds of one go."""
    walls = []
    for _ in range(_WARM):
        way()
    cpu = time.process_time()
    for _ in range(number):
        begun = time.perf_counter()
        way()
        walls.append(time.perf_counter() - begun)
    return statistics.median(walls), (time.process_time() - cpu) / number


def main() -> int:
    """Run it."""
    pid, number = map(int, sys.argv[1:])
    file = next(iter(open_perf_files(Host(), pid, 0)))
    plan = make_plan(file.read())

    def series() -> object:
        perf = file.read()
        return [*memory_samples("mailboxd", state_from_hsperfdata(perf, plan)), *counter_samples("mailboxd", perf)]

    print(*timed(file.read, number), *timed(series, number))
    return 0


if __name__ == "__main__":
    sys.exit(main())
