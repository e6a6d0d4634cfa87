"""G12: from the start of the process to the first whole page, beside postfix_exporter with the same queue."""

import time

from benchmarks.harness import OURS, Form, Plan, Report, cpu_seconds, in_turns
from benchmarks.load import Scraper
from benchmarks.peers import Peer
from benchmarks.scene import Scene, port_of

DEFERRED = 100_000
_PAGE, _WHOLE, _CPU = "start to the first page", "start to the first whole page", "CPU until then"
_EMPTY = ", empty queue"


def measure(plan: Plan) -> Report:
    """Start each anew, with everything else of the host running."""
    report = Report()
    with Scene() as scene:
        scene.everything()
        daemon = scene.exporter()

        def ours() -> dict[tuple[str, str], float]:
            begun = time.perf_counter()
            daemon.start(wait=False)
            page = _until_answer(port_of(daemon), "/metrics", begun)
            # Ready is when each collector has ended its first round and each log is open.
            whole = _until_answer(port_of(daemon), "/-/ready", begun)
            cpu = cpu_seconds(daemon.pid)
            daemon.stop()
            return {(_PAGE, "s"): page, (_WHOLE, "s"): whole, (_CPU, "s"): cpu}

        def start(peer: Peer) -> dict[tuple[str, str], float]:
            begun = time.perf_counter()
            peer.launch()
            whole = _until_answer(peer.port, "/metrics", begun)
            cpu = cpu_seconds(peer.pid)
            peer.stop()
            return {(_PAGE, "s"): whole, (_WHOLE, "s"): whole, (_CPU, "s"): cpu}

        def ours_empty() -> dict[tuple[str, str], float]:
            return {(f"{what}{_EMPTY}", unit): value for (what, unit), value in ours().items()}

        report.add(in_turns(plan.rounds(5), {OURS: ours_empty}))
        scene.spool.grow(1000 if plan.quick else DEFERRED)
        postfix, node, mysql = scene.postfix_exporter(), scene.node_exporter(), scene.mysqld_exporter()
        sides = {OURS: ours} | {peer.name: lambda peer=peer: start(peer) for peer in (postfix, node, mysql)}
        report.add(in_turns(plan.rounds(5), sides))
    report.promise("G12", _WHOLE, Form.VALUE, 0.4, of=f"{_WHOLE}{_EMPTY}", note="no message in the queue")
    report.promise("G12", f"{_WHOLE}, 100,000 messages", Form.VALUE, 0.4, of=_WHOLE)
    report.promise("G12", "the same, 100,000 messages in the queue", Form.SHARE, 0.25, "postfix_exporter", of=_WHOLE)
    return report


def _until_answer(port: int, path: str, begun: float, patience: float = 120) -> float:
    scraper = Scraper(port, path)
    while True:
        try:
            scraper.get()
        except OSError:
            if time.perf_counter() - begun > patience:
                raise
            time.sleep(0.005)  # asked more often, a daemon that starts is busy with refusing
        else:
            scraper.close()
            return time.perf_counter() - begun
