"""G1 to G4: the page, beside node_exporter, mysqld_exporter and postfix_exporter on the same host at the same time."""

import sys
from collections.abc import Sequence
from pathlib import Path

from e2e.lab import free_port, scratch, wait_for

from benchmarks.harness import OURS, Form, Plan, Report, cpu_seconds, in_turns, pids_named, quantile, say, spending
from benchmarks.load import Scraper, body, crowd, series
from benchmarks.peers import Peer, need
from benchmarks.scene import Scene, port_of
from benchmarks.stepper import Round, Stepper

DEFERRED = 100_000
_NODE, _MYSQL, _POSTFIX = "node_exporter", "mysqld_exporter", "postfix_exporter"
_LIVE, _DRY = f"{OURS}, collected anew", f"{OURS}, collected anew, no Postfix"
_LIBRARY = "prometheus_client's server"
_P50, _P99, _CPU, _SERIES = "page p50", "page p99", "CPU a page", "series"
_ZIPPED = "page p50, gzip"
_DRY_COLLECTORS = ("filesystem", "mailboxd", "jvm", "mysqld", "services", "zimbra")
"""Not those that are fed by logs either: they stand in for mtail, which has a benchmark of its own."""


def measure(plan: Plan) -> Report:
    """Ask one after the other, then have 32 scrapers ask at once."""
    report = Report()
    need("wrk", "wrk")
    with Scene() as scene:
        scene.everything()
        daemon = scene.exporter()
        daemon.start()
        node, mysql = scene.start(scene.node_exporter(), scene.mysqld_exporter())
        scene.spool.grow(1000 if plan.quick else DEFERRED)
        (postfix,) = scene.start(scene.postfix_exporter())
        _wait_counted(daemon.pid, port_of(daemon), len(scene.spool))
        many = 20 if plan.quick else 200

        with Stepper() as live, Stepper(*_DRY_COLLECTORS) as dry:
            live.rounds(1 if plan.quick else 10)  # the first walk of the queue is another benchmark's
            dry.rounds(3)

            def anew() -> dict[tuple[str, str], float]:
                done = []
                for _ in range(many // 10):
                    # A hundred messages come and go between two pages, as on a busy host.
                    scene.spool.change(100)
                    done.append(live.rounds())
                return _collected(done)

            report.add(
                in_turns(
                    plan.rounds(5),
                    {
                        OURS: lambda: _pages(daemon.pid, port_of(daemon), many * 10),
                        _NODE: lambda: _pages(node.pid, node.port, many),
                        _MYSQL: lambda: _pages(mysql.pid, mysql.port, many),
                        _POSTFIX: lambda: _slow_page(postfix.pid, postfix.port),
                        _LIVE: anew,
                        _DRY: lambda: _collected([dry.rounds(many // 4)]),
                    },
                )
            )
        say("32 scrapers at once")
        library = _serve_with_library(body(Scraper(port_of(daemon)).get()))
        try:
            report.add(
                in_turns(
                    plan.rounds(5),
                    {
                        OURS: lambda: _crowd(daemon.pid, port_of(daemon), plan),
                        _LIBRARY: lambda: _crowd(library.pid, library.port, plan),
                        _NODE: lambda: _crowd(node.pid, node.port, plan),
                    },
                )
            )
            report.add(
                in_turns(
                    plan.rounds(5),
                    {
                        OURS: lambda: _crowd(daemon.pid, port_of(daemon), plan, compressed=True),
                        _LIBRARY: lambda: _crowd(library.pid, library.port, plan, compressed=True),
                    },
                )
            )
        finally:
            library.stop()
    _promise(report)
    return report


_RATE, _BUSY = "pages a second, 32 scrapers", "page p99, 32 scrapers"
_PACKED = ", gzip"


def _promise(report: Report) -> None:
    peers = (_NODE, _MYSQL, _POSTFIX)
    report.promise(
        "G1", "page with 100,000 deferred messages, as it is served (p50)", Form.TIMES, 300, *peers, of=_P50,
        note="made of what the collectors saw last, at most one interval ago",
    )  # fmt: skip
    report.promise(
        "G1", "the same, everything collected anew for each page (p50)", Form.TIMES, 300, *peers, of=_P50, side=_LIVE
    )
    report.promise("G1", "the same, p99", Form.VALUE, 0.05, of=_P99, side=_LIVE)
    report.promise("G1", "page as it is served, p99", Form.VALUE, 0.05, of=_P99)
    without = (
        "without the collectors that logs feed, too; node_exporter has CPU, disk and network series that ours lacks"
    )
    report.promise(
        "G2",
        "page without Postfix, collected anew (p50)",
        Form.TIMES,
        3,
        _NODE,
        _MYSQL,
        of=_P50,
        side=_DRY,
        note=without,
    )
    report.promise("G2", "the same, CPU of the exporters", Form.SHARE, 0.2, _NODE, _MYSQL, of=_CPU, side=_DRY)
    report.promise("G3", "page as it is served, beside node_exporter's (p50)", Form.TIMES, 25, _NODE, of=_P50)
    for packed, note in ((_PACKED, "as Prometheus asks"), ("", "not compressed")):
        report.promise("G4", "pages a second at 32 scrapers", Form.RATE, 50, _LIBRARY, of=_RATE + packed, note=note)
        report.promise("G4", "page p99 at 32 scrapers", Form.TIMES, 50, _LIBRARY, of=_BUSY + packed, note=note)


def _pages(pid: int, port: int, number: int) -> dict[tuple[str, str], float]:
    """Ask for so many pages, and then for as many compressed ones."""
    scraper, zipped = Scraper(port), Scraper(port, compressed=True)
    scraper.latencies(5)
    with spending(pid) as spent:
        walls = scraper.latencies(number)
    zipped.latencies(5)
    packed = zipped.latencies(number)
    count = series(scraper.get())
    scraper.close()
    zipped.close()
    return {
        (_P50, "s"): quantile(walls, 0.5),
        (_P99, "s"): quantile(walls, 0.99),
        (_CPU, "s"): spent.cpu / number,
        (_ZIPPED, "s"): quantile(packed, 0.5),
        (_SERIES, ""): count,
    }


def _slow_page(pid: int, port: int) -> dict[tuple[str, str], float]:
    """Ask for one page, which walks the whole queue."""
    scraper, aides = Scraper(port), pids_named("showq")
    with spending(pid) as spent, spending(*aides) as helped:
        page = scraper.get()
    scraper.close()
    return {
        (_P50, "s"): spent.wall,
        (_P99, "s"): spent.wall,
        (_CPU, "s"): spent.cpu,
        ("CPU a page in showq", "s"): helped.cpu,
        (_SERIES, ""): series(page),
    }


def _collected(done: Sequence[Round]) -> dict[tuple[str, str], float]:
    walls = [wall for each in done for wall in each.walls]
    return {
        (_P50, "s"): quantile(walls, 0.5),
        (_P99, "s"): quantile(walls, 0.99),
        (_CPU, "s"): sum(each.cpu for each in done) / len(done),
        (_SERIES, ""): done[-1].series,
    }


def _crowd(pid: int, port: int, plan: Plan, *, compressed: bool = False) -> dict[tuple[str, str], float]:
    with spending(pid) as spent:
        found = crowd(port, 32, plan.seconds(5), compressed=compressed)
    packed = _PACKED if compressed else ""
    if found.errors:
        say(f"{found.errors} connections failed")
    return {
        (_RATE + packed, "1/s"): found.rate,
        ("page p50, 32 scrapers" + packed, "s"): found.median,
        (_BUSY + packed, "s"): found.worst_hundredth,
        ("CPU a page, 32 scrapers" + packed, "s"): spent.cpu / max(1.0, found.rate * spent.wall),
    }


def _wait_counted(pid: int, port: int, messages: int) -> None:
    scraper = Scraper(port)

    def counted() -> bool:
        page = body(scraper.get())
        found = f'zcs_postfix_queue_messages{{queue="deferred"}} {messages}\n' in page
        return found and 'zcs_postfix_queue_bytes{queue="deferred"}' in page

    wait_for(counted, 300, "our daemon to have read the queue", pause=0.5)
    scraper.close()
    say(f"our daemon has read the queue ({cpu_seconds(pid):.1f} s of CPU since its start)")


def _serve_with_library(page: str) -> Peer:
    """Serve the series of a page by the server that comes with prometheus_client."""
    place = scratch("library") / "page"
    Path(place).write_text(page, encoding="utf-8")
    port = free_port()
    peer = Peer(_LIBRARY, [sys.executable, "-m", "benchmarks.library_server", str(place), str(port)], port,
                {"PYTHONPATH": ":".join(sys.path)})  # fmt: skip
    peer.start()
    return peer
