"""G6 and G7: Postfix's queues, beside postfix_exporter, ``postqueue -j`` and counting files."""

import time

from benchmarks.harness import (
    OURS,
    Form,
    Plan,
    Reading,
    Report,
    cpu_seconds,
    in_turns,
    pids_named,
    quantile,
    run_program,
    say,
)
from benchmarks.load import Scraper
from benchmarks.peers import need
from benchmarks.scene import Scene
from benchmarks.stepper import Round, Stepper

SIZES = (100, 10_000, 100_000)
MILLION = 1_000_000
CHANGES = (0, 100, 10_000)
_EXPORTER, _POSTQUEUE, _FIND = "postfix_exporter", "postqueue -j", "find"
_COUNTED = 'zcs_postfix_queue_messages{queue="deferred"}'
_READ = 'zcs_postfix_queue_bytes{queue="deferred"}'


def measure(plan: Plan) -> Report:
    """Fill the queue step by step; at each size walk it for the first time, then after changes."""
    report = Report()
    need("prometheus-postfix-exporter", "prometheus-postfix-exporter")
    sizes = (100, 1000) if plan.quick else (*SIZES, MILLION) if plan.full else SIZES
    with Scene() as scene:
        spool = scene.spool
        for size in sizes:
            spool.grow(size)
            # At a million a peer takes half a minute a time, and everyone can see why.
            rounds = plan.rounds(1 if size > 100_000 else 3)
            peer = scene.postfix_exporter()
            scene.start(peer)
            scraper = Scraper(peer.port)

            def first_walk(size: int = size) -> dict[tuple[str, str], float]:
                with Stepper("postfix") as stepper:
                    counted = stepper.rounds()
                    cpu, wall, last = counted.cpu, sum(counted.walls), counted
                    while last.value(_READ) is None:
                        last = stepper.rounds()
                        cpu, wall = cpu + last.cpu, wall + sum(last.walls)
                    _check(last, size)
                    return {
                        (_first(size, "until counted"), "s"): sum(counted.walls),
                        (_first(size, "until sizes and ages are known"), "s"): wall,
                        (_first(size, "CPU until sizes and ages are known"), "s"): cpu,
                    }

            def scrape(
                size: int = size, scraper: Scraper = scraper, pid: int = peer.pid
            ) -> dict[tuple[str, str], float]:
                wall, cpu = _with_showq(lambda: scraper.get(), pid)
                return _theirs(size, wall, cpu)

            def postqueue(size: int = size) -> dict[tuple[str, str], float]:
                own = 0.0

                def ask() -> None:
                    nonlocal own
                    own = run_program(["postqueue", "-j"]).cpu

                wall, cpu = _with_showq(ask)
                return _theirs(size, wall, cpu + own)

            def find(size: int = size) -> dict[tuple[str, str], float]:
                spent = run_program(
                    ["find", str(scene.postfix.spool / "deferred"), "-type", "f", "-fprintf", "/dev/null", "."]
                )
                return _theirs(size, spent.wall, spent.cpu)

            say(f"{size:,} messages, first walks")
            sides = {OURS: first_walk, _EXPORTER: scrape, _POSTQUEUE: postqueue, _FIND: find}
            report.add(in_turns(rounds, sides))
            peer.stop()
            report.add(_after_changes(scene, size, plan))
        last = sizes[-1]
        large = 1000 if plan.quick else 100_000
    _promise(report, large, last)
    return report


def _after_changes(scene: Scene, size: int, plan: Plan) -> list[Reading]:
    """Keep our collector on the queue and see what a round costs after changes."""
    say(f"{size:,} messages, after changes")
    found: list[Reading] = []
    with Stepper("postfix") as stepper:
        last = stepper.rounds()
        while last.value(_READ) is None:
            last = stepper.rounds()
        for changes in CHANGES:
            if changes > size:
                continue
            walls, cpus = [], []
            for _ in range(plan.rounds(5)):
                scene.spool.change(changes)
                # A directory that changed in the last moments may change again within one tick of its clock.
                time.sleep(0.1)
                done = stepper.rounds()
                _check(done, len(scene.spool))
                walls.append(quantile(done.walls, 0.5))
                cpus.append(done.cpu)
                while done.value(_READ) is None:
                    done = stepper.rounds()
            found.append(Reading(_after(size, changes), OURS, "s", tuple(walls)))
            found.append(Reading(f"{_after(size, changes)}, CPU", OURS, "s", tuple(cpus)))
    return found


def _first(size: int, what: str) -> str:
    return f"{size:,} messages, first walk {what}"


def _after(size: int, changes: int) -> str:
    return f"{size:,} messages, a round after {changes:,} changes"


def _walk(size: int) -> str:
    return f"{size:,} messages, a walk"


def _theirs(size: int, wall: float, cpu: float) -> dict[tuple[str, str], float]:
    return {(_walk(size), "s"): wall, (f"{_walk(size)}, CPU with showq", "s"): cpu}


def _with_showq(ask: object, *pids: int) -> tuple[float, float]:
    """Return wall time, and CPU time with that of Postfix's showq, of a question that makes it walk the queue."""
    assert callable(ask)
    aides = pids_named("showq")
    before = cpu_seconds(*pids, *aides)
    begun = time.perf_counter()
    ask()
    wall = time.perf_counter() - begun
    # One that was started for this question alone has spent nothing before.
    return wall, cpu_seconds(*pids, *{*aides, *pids_named("showq")}) - before


def _check(done: Round, size: int) -> None:
    counted = done.value(_COUNTED)
    if counted != size:
        raise RuntimeError(f"our collector counts {counted} messages, not {size}")


def _promise(report: Report, large: int, last: int) -> None:
    count = f"{large:,} messages, a round after 100 changes"
    for what, of in (("queue count with sizes and ages after 100 changes", count),):
        report.promise("G6", f"{large:,} messages: {what}", Form.TIMES, 60, _EXPORTER, of=of, theirs=_walk(large))
    report.promise(
        "G6", f"{large:,} messages: count at the first walk", Form.TIMES, 60, _EXPORTER,
        of=_first(large, "until counted"), theirs=_walk(large),
    )  # fmt: skip
    report.promise(
        "G6", f"{large:,} messages, none changed", Form.TIMES, 3000, _EXPORTER, of=_after(large, 0), theirs=_walk(large)
    )
    report.promise(
        "G7", f"{large:,} messages: first walk with sizes and ages", Form.TIMES, 4, _POSTQUEUE,
        of=_first(large, "until sizes and ages are known"), theirs=_walk(large),
    )  # fmt: skip
    note = "" if last >= MILLION else "a million is measured with --full"
    report.promise(
        "G7", f"{last:,} messages after 100 changes, CPU", Form.VALUE, 0.005, of=f"{_after(last, 100)}, CPU", note=note
    )
