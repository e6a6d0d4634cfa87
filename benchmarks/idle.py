"""G13: CPU while nothing happens: no scrape, no line of log, an idle host."""

import time

from e2e.lab import Snmptrapd
from e2e.product import USER_SECRET

from benchmarks.harness import OURS, Form, Plan, Reading, Report, cpu_seconds, say
from benchmarks.scene import Scene

_CPU = "CPU while idle"
_AGENT = f"{OURS}, agent and a target on"


def measure(plan: Plan) -> Report:
    """Watch all at once; each round is half a minute of the same host."""
    report = Report()
    with Scene() as scene:
        scene.everything()
        scene.spool.grow(100 if plan.quick else 1000)
        trapd = Snmptrapd(community="public")
        plain, agent = scene.exporter(), scene.exporter()
        secrets = agent.secrets("nms.secret", {"community": "public"})
        users = [agent.secrets("agent.secret", USER_SECRET)]
        target = {"name": "nms", "host": "127.0.0.1", "port": trapd.port, "version": "2c", "secrets": secrets}
        agent.config["notify"] = {"snmp": [target]}
        agent.config["snmp_agent"] = {"enabled": True, "users": users}
        agent.configure()
        plain.start()
        agent.start()
        chosen = scene.start(scene.node_exporter(), scene.mysqld_exporter(), scene.postfix_exporter(), scene.mtail())
        time.sleep(plan.seconds(20))  # what a start leaves to do
        watched = {OURS: plain.pid, _AGENT: agent.pid} | {peer.name: peer.pid for peer in chosen}
        values: dict[str, list[float]] = {who: [] for who in watched}
        for number in range(plan.rounds(4)):
            before, begun = {who: cpu_seconds(pid) for who, pid in watched.items()}, time.monotonic()
            time.sleep(plan.seconds(30))
            passed = time.monotonic() - begun
            for who, pid in watched.items():
                values[who].append((cpu_seconds(pid) - before[who]) / passed)
            say(f"round {number + 1}: {values[OURS][-1]:.2%} of a core")
        trapd.stop()
    report.add([Reading(_CPU, who, "share", tuple(found)) for who, found in values.items()])
    report.promise("G13", "idle, every collector at its own interval", Form.VALUE, 0.003, of=_CPU)
    report.promise("G13", "the same with the SNMP agent and a target on", Form.VALUE, 0.003, of=_CPU, side=_AGENT)
    return report
