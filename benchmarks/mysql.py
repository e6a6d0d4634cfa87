"""G10: the database server's status, beside mysqld_exporter with nothing else switched on."""

from benchmarks.harness import OURS, Form, Plan, Report, in_turns, quantile, spending
from benchmarks.load import Scraper, series
from benchmarks.peers import Peer
from benchmarks.scene import Scene
from benchmarks.stepper import Stepper

_ALL = f"{OURS}, all rows"
_WALL, _CPU, _SERVER, _SERIES = "a collection", "a collection, CPU", "a collection, CPU in the server", "series"


def measure(plan: Plan) -> Report:
    """Collect the chosen rows, and all of them, on a kept connection; the peer connects anew for each page."""
    report = Report()
    number = 5 if plan.quick else 200
    with Scene() as scene:
        server = scene.mariadb.pid
        peers = scene.start(scene.mysqld_exporter(), scene.mysqld_exporter(variables=True))
        everything = {"mysqld": {"status": "all"}}
        with Stepper("mysqld") as chosen, Stepper("mysqld", sections=everything) as all_rows:
            for stepper in (chosen, all_rows):
                if stepper.rounds(5).value("mysql_up") != 1:
                    raise RuntimeError("our collector does not reach the server")

            def step(stepper: Stepper) -> dict[tuple[str, str], float]:
                with spending(server) as served:
                    done = stepper.rounds(number)
                return {
                    (_WALL, "s"): quantile(done.walls, 0.5),
                    (_CPU, "s"): done.cpu,
                    (_SERVER, "s"): served.cpu / number,
                    (_SERIES, ""): done.series,
                }

            def scrape(peer: Peer) -> dict[tuple[str, str], float]:
                scraper = Scraper(peer.port)
                scraper.latencies(3)
                with spending(peer.pid) as spent, spending(server) as served:
                    walls = scraper.latencies(number)
                count = series(scraper.get())
                scraper.close()
                return {
                    (_WALL, "s"): quantile(walls, 0.5),
                    (_CPU, "s"): spent.cpu / number,
                    (_SERVER, "s"): served.cpu / number,
                    (_SERIES, ""): count,
                }

            sides = {OURS: lambda: step(chosen), _ALL: lambda: step(all_rows)}
            sides |= {peer.name: lambda peer=peer: scrape(peer) for peer in peers}
            report.add(in_turns(plan.rounds(5), sides))
    what = "MySQL, the rows that dashboards ask for: a collection (p50)"
    report.promise("G10", what, Form.TIMES, 15, peers[0].name, of=_WALL)
    what = "MySQL, all rows of status and variables: a collection (p50)"
    note = "the peer reads variables as well, as ours does; its status alone is in the line above"
    report.promise("G10", what, Form.TIMES, 2.5, peers[1].name, of=_WALL, side=_ALL, note=note)
    return report
