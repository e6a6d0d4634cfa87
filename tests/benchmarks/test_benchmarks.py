"""The benchmarks' own parts, with no program to measure: figures, tables, scrapers, and one benchmark run whole."""

import importlib
import importlib.metadata
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.__main__ import measure
from benchmarks.harness import OURS, Form, Line, Plan, Reading, Report, cpu_seconds, in_turns, memory, quantile
from benchmarks.load import Crowd, Scraper, body, parse_wrk, series
from benchmarks.suite import BENCHES, BUDGETS, WHY
from benchmarks.table import amount, render, summary
from benchmarks.versions import versions_of

REPOSITORY = Path(__file__).parents[2]

# ruff: noqa: RUF001

WRK = """\
Running 1s test @ http://127.0.0.1:48479/metrics
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   916.31ms   84.01ms   1.01s    81.82%
    Req/Sec    33.67     34.65    70.00     66.67%
  Latency Distribution
     50%  951.60ms
     75%  971.24ms
     90%  986.63ms
     99%    1.01s 
  11 requests in 1.02s, 676.04KB read
Requests/sec:     10.83
Transfer/sec:    665.58KB
"""  # noqa: W291 - as wrk prints it


def reading(who: str, *values: float, what: str = "page", unit: str = "s") -> Reading:
    return Reading(what, who, unit, values)


def line(form: Form, limit: float, ours: Reading, *peers: Reading) -> Line:
    return Line("G3", "page", form, limit, ours, peers)


def test_a_ratio_is_formed_inside_each_round_and_its_middle_counts() -> None:
    # In the third round the machine was busy with something else, for both.
    found = line(Form.TIMES, 10, reading(OURS, 1, 2, 9), reading("a", 10, 20, 80), reading("b", 10, 24, 100))

    assert found.figures() == (20, 22, 20)
    assert found.figure == 20


def test_sides_of_different_rounds_are_compared_by_their_medians() -> None:
    assert line(Form.TIMES, 10, reading(OURS, 1, 2, 3), reading("a", 10, 30)).figures() == (10,)


@pytest.mark.parametrize(
    ("form", "ours", "peer", "limit", "met"),
    [
        (Form.TIMES, 1, 30, 30, True),
        (Form.TIMES, 1, 29, 30, False),
        (Form.RATE, 30, 1, 30, True),
        (Form.RATE, 29, 1, 30, False),
        (Form.SHARE, 3, 4, 0.75, True),
        (Form.SHARE, 4, 4, 0.75, False),
        (Form.VALUE, 2, 0, 2, True),
        (Form.VALUE, 3, 0, 2, False),
    ],
)
def test_a_promise_is_kept_up_to_its_limit(form: Form, ours: float, peer: float, limit: float, met: bool) -> None:
    assert line(form, limit, reading(OURS, ours), reading("peer", peer)).met is met


def test_each_side_has_its_turn_in_each_round_and_none_is_always_first() -> None:
    turns: list[str] = []

    def side(name: str) -> dict[tuple[str, str], float]:
        turns.append(name)
        return {("page", "s"): len(turns)}

    found = in_turns(2, {"a": lambda: side("a"), "b": lambda: side("b")})

    assert turns == ["a", "b", "b", "a"]
    assert found == [Reading("page", "a", "s", (1, 4)), Reading("page", "b", "s", (2, 3))]


def test_a_report_is_the_same_after_it_was_saved(tmp_path: Path) -> None:
    report = Report(missing=["a peer"], seconds=1.5, versions={"mtail": "3.0.0"})
    report.add([reading(OURS, 1.0, 2.0), reading("peer", 3.0, 4.0)])
    report.promise("G3", "page", Form.TIMES, 25, "peer", of="page", note="as served")
    place = tmp_path / "results" / "scrape.json"

    report.save(place)

    assert Report.load(place) == report


def test_a_report_from_before_versions_were_noted_is_read(tmp_path: Path) -> None:
    place = tmp_path / "jvm.json"
    place.write_text(json.dumps({"readings": [], "lines": [], "missing": [], "failure": "", "seconds": 1}))

    assert Report.load(place).versions == {}


def test_the_page_says_which_versions_were_run_and_of_which_it_is_not_known() -> None:
    known, older = Report(versions={"mtail": "3.0.0~rc50"}), Report()
    known.add([reading(OURS, 1.0), reading("mtail", 2.0), reading("before", 2.0)])
    older.add([reading("node_exporter", 2.0)])

    page = render({"logs": known, "scrape": older})

    assert "## What was run beside it\n\nmtail 3.0.0~rc50.\n" in page
    assert "Not noted when it was measured: the version of node_exporter.\n" in page


def test_versions_are_those_that_programs_tell() -> None:
    found = versions_of([OURS, "zcs-exporter, SNMP off", "before", "generate_latest"])

    assert found == {"generate_latest": importlib.metadata.version("prometheus-client")}


def test_a_promise_about_what_was_not_measured_is_refused() -> None:
    with pytest.raises(LookupError, match="nothing was measured of zcs-exporter: page"):
        Report().promise("G3", "page", Form.VALUE, 1, of="page")


def test_every_budget_has_its_row_whatever_became_of_its_benchmark() -> None:
    kept, broken = Report(), Report(failure="RuntimeError: no | peer")
    kept.add([reading(OURS, 0.001, 0.002), reading("node_exporter", 0.05, 0.05)])
    kept.promise("G3", "page", Form.TIMES, 25, "node_exporter", of="page")
    kept.promise("G4", "page", Form.TIMES, 100, "node_exporter", of="page")

    page = render({"scrape": kept, "queue": broken})
    rows = {row.split(" | ")[0]: row for row in page.splitlines() if row.startswith("| G")}

    assert rows.keys() == {f"| {budget}" for budget in BUDGETS}
    assert rows["| G3"].endswith("| 37.5× (25.0 – 50.0) | ≥ 25× | met |")
    assert rows["| G4"].endswith("| ≥ 100× | **missed** |")
    assert rows["| G6"].endswith("failed: RuntimeError: no / peer |")
    assert rows["| G15"].endswith("not measured |")
    assert len({row.count("|") for row in rows.values()}) == 1
    assert "1.50 ms (1.00 ms – 2.00 ms)" in page


def test_a_terminal_gets_the_budgets_that_were_asked_for() -> None:
    assert [row.split()[0] for row in summary({}, {"G1", "G13"}).splitlines()] == ["G1", "G13"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.5, "s", "2.50 s"),
        (0.0123, "s", "12.3 ms"),
        (0.0000042, "s", "4.20 µs"),
        (41 << 20, "B", "41.0 MiB"),
        (0.0021, "share", "0.21% of a core"),
        (12345.6, "1/s", "12,346/s"),
        (562, "", "562"),
    ],
)
def test_an_amount_reads_as_people_write_it(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_each_budget_is_measured_by_one_benchmark_and_a_reason_is_about_a_budget() -> None:
    measured = [budget for bench in BENCHES.values() for budget in bench.budgets]

    assert sorted(measured) == sorted(BUDGETS)
    assert WHY.keys() <= BUDGETS.keys()


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_can_be_loaded(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{BENCHES[name].module}").measure)


def test_what_wrk_prints_is_understood() -> None:
    assert parse_wrk(WRK) == Crowd(10.83, 0.9516, 1.01, 0)
    errors = "  Socket errors: connect 1, read 2, write 0, timeout 4\nRequests/sec"
    assert parse_wrk(WRK.replace("Requests/sec", errors)).errors == 7
    with pytest.raises(ValueError, match="not what wrk prints"):
        parse_wrk(WRK.replace("99%", "98%"))


PAGE = b"# TYPE up gauge\nup 1\n" + b'size{mount="/a b"} 2\n' * 5000


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200 if self.path != "/gone" else 404)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(PAGE), 1000):
                part = PAGE[start : start + 1000]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_scraper_takes_whole_pages_on_one_connection(port: int) -> None:
    scraper = Scraper(port)
    pages = [scraper.get(), scraper.get()]
    times = scraper.latencies(3)
    scraper.close()

    assert [body(page) for page in pages] == [PAGE.decode()] * 2
    assert series(pages[0]) == 5001
    assert len(times) == 3
    assert all(each > 0 for each in times)


def test_a_scraper_knows_the_end_of_a_page_that_comes_in_chunks(port: int) -> None:
    scraper = Scraper(port, "/chunked")
    first, second = scraper.get(), scraper.get()
    scraper.close()

    assert first.endswith(b"\r\n0\r\n\r\n")
    assert body(first) == body(second) == PAGE.decode()


def test_a_page_that_is_not_there_is_no_page(port: int) -> None:
    with pytest.raises(ConnectionError, match="404"):
        Scraper(port, "/gone").get()


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(range(100), 0.99) == 99
    assert quantile([7], 0.99) == 7


def test_cpu_and_memory_of_a_process_are_those_of_the_kernel() -> None:
    before = cpu_seconds(1)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = memory(child.pid)
        assert 0 < found["Pss"] <= found["Rss"]
        assert cpu_seconds(child.pid) >= 0
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.close()
    assert cpu_seconds(1) >= before


def test_a_benchmark_runs_whole_and_tells_its_budgets(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "rendering", "--quick", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "G5 " in done.stdout
    assert json.loads((tmp_path / "rendering.json").read_text())["failure"] == ""
    assert Plan(quick=True).rounds(5) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["rendering.json"]


def test_a_benchmark_that_fails_is_a_line_of_the_table(tmp_path: Path) -> None:
    place = tmp_path / "logs.json"

    assert measure("not_there", Plan(), place) == 1

    assert Report.load(place).failure == "ModuleNotFoundError: No module named 'benchmarks.not_there'"
    assert "| failed: ModuleNotFoundError: " in render({"logs": Report.load(place)})
