"""G5: the text of the page, beside ``prometheus_client.generate_latest`` with the same series."""

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from benchmarks.harness import OURS, Form, Plan, Report, in_turns, say
from zcs_exporter.contract import Kind, Metric, Sample
from zcs_exporter.expose.prometheus import Exposition, Format, render
from zcs_exporter.snapshot import Reading, Snapshot

SIZES = (500, 5000, 50_000)
_FAMILY = 25
_PEER = "generate_latest"


def metrics_of(count: int) -> list[Metric]:
    """Return families of 25 series that come to so many."""
    return [
        Metric(f"zcs_measured_{number}_ratio", Kind.GAUGE, "One of many.", labels=("name", "state"))
        if number % 2
        else Metric(f"zcs_measured_{number}_total", Kind.COUNTER, "One of many.", labels=("name", "state"))
        for number in range(count // _FAMILY)
    ]


def samples_of(metrics: Sequence[Metric], beat: int) -> list[Sample]:
    """Return a round's samples; ``beat`` moves all values."""
    return [
        metric.sample(
            beat + each if metric.kind is Kind.COUNTER else (beat + each) / 3,
            name=f"part{each}",
            state="up" if each % 2 else "down",
        )
        for metric in metrics
        for each in range(_FAMILY)
    ]


class _Library(Collector):
    """The same samples, as the library's documentation asks an exporter to give them."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples = samples

    def collect(self) -> Iterator[Family]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for sample in self.samples:
            name = sample.metric.name
            family = families.get(name)
            if family is None:
                make = CounterMetricFamily if sample.metric.kind is Kind.COUNTER else GaugeMetricFamily
                family = families[name] = make(name, sample.metric.help, labels=sample.metric.labels)
            family.add_metric(sample.labels, sample.value)
        yield from families.values()


def _parsed(page: bytes) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
    families = text_string_to_metric_families(page.decode())
    return {(each.name, frozenset(each.labels.items()), each.value) for family in families for each in family.samples}


def _best(way: Callable[[int], object], rounds: int) -> float:
    """Return the seconds of CPU of one go; the least of several, since others only ever add to it."""
    least = float("inf")
    gc.collect()
    for number in range(rounds):
        begun = time.process_time()
        way(number)
        least = min(least, time.process_time() - begun)
    return least


def measure(plan: Plan) -> Report:
    """Render pages of three sizes; every value is new each time, the series are the same, as in a daemon."""
    report = Report()
    for size in SIZES[:1] if plan.quick else SIZES:
        metrics = metrics_of(size)
        beats = [samples_of(metrics, beat) for beat in range(5)]
        registry = CollectorRegistry(auto_describe=False)
        library = _Library(beats[0])
        registry.register(library)
        if _parsed(render(beats[0], Format.TEXT)) != _parsed(generate_latest(registry)):
            raise RuntimeError(f"{size} series: the two pages differ")
        say(f"{size:,} series: both pages are equal after parsing")

        def theirs(number: int, library: _Library = library, registry: CollectorRegistry = registry,
                   beats: Sequence[list[Sample]] = beats) -> None:  # fmt: skip
            library.samples = beats[number % len(beats)]
            generate_latest(registry)

        exposition = Exposition()

        def ours(number: int, exposition: Exposition = exposition, beats: Sequence[list[Sample]] = beats) -> None:
            reading = Reading("all", (), samples=tuple(beats[number % len(beats)]))
            exposition.page(Snapshot(number, 0.0, {"all": reading}), Format.TEXT)

        ours(0)
        what = f"a page of {size:,} series, each value new"
        repeats = 3 if plan.quick else max(5, 40_000 // size)
        report.add(
            in_turns(
                plan.rounds(5),
                {
                    OURS: lambda what=what, ours=ours, n=repeats: {(what, "s"): _best(ours, n)},
                    _PEER: lambda what=what, theirs=theirs, n=repeats: {(what, "s"): _best(theirs, max(3, n // 8))},
                },
            )
        )
        report.promise("G5", f"rendering {size:,} series, equal after parsing (CPU)", Form.TIMES, 15, _PEER, of=what)
    return report
