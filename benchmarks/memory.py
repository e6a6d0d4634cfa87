"""G11: memory, beside node, mysqld and postfix exporters and mtail, all of them at work on the same host.

The promise is about PSS. Here it is too low for ours: the benchmark runs on the same interpreter, and pages that both
map are counted by half. On a host where nothing else runs on Python they count in full, as they do in RSS, so the same
is told of RSS; the truth lies between the two.
"""

import time

from e2e.lab import Snmptrapd, append
from e2e.product import USER_SECRET

from benchmarks.harness import OURS, Form, Plan, Reading, Report, memory, say
from benchmarks.load import Scraper
from benchmarks.log_lines import audit_lines, mailbox_lines, syslog_lines
from benchmarks.peers import Peer, need, snmpd
from benchmarks.scene import LOGS, Scene, port_of

_RSS, _PSS = "resident memory", "PSS"
_NO_SNMP, _ALL = f"{OURS}, SNMP off", f"{OURS}, agent and targets on"
DEFERRED = 10_000


def measure(plan: Plan) -> Report:
    """Let all work for a minute, each page asked for every few seconds, then look."""
    report = Report()
    need("snmpd", "snmpd")
    report.missing.append("jmx_exporter and snmp_notifier are not in Debian, so they are not among the peers.")
    with Scene() as scene:
        scene.everything()
        scene.spool.grow(100 if plan.quick else DEFERRED)
        trapd = Snmptrapd(community="public")
        plain = scene.exporter()
        agent = scene.exporter()
        secrets = agent.secrets("nms.secret", {"community": "public"})
        users = [agent.secrets("agent.secret", USER_SECRET)]
        target = {"name": "nms", "host": "127.0.0.1", "port": trapd.port, "version": "2c", "secrets": secrets}
        agent.config["notify"] = {"snmp": [target]}
        agent.config["snmp_agent"] = {"enabled": True, "users": users}
        agent.configure()
        chosen = scene.start(scene.node_exporter(), scene.mysqld_exporter(), scene.postfix_exporter(), scene.mtail())
        others = snmpd()
        others.launch()
        try:
            values: dict[tuple[str, str], list[float]] = {}
            for number in range(plan.rounds(3)):
                plain.start()
                agent.start()
                _work(scene, plan, [port_of(plain), port_of(agent), *(peer.port for peer in chosen)], number)
                named = {_NO_SNMP: plain.pid, _ALL: agent.pid, "snmpd": others.pid}
                named |= {peer.name: peer.pid for peer in chosen}
                for who, pid in named.items():
                    found = memory(pid)
                    values.setdefault((_RSS, who), []).append(found["Rss"])
                    values.setdefault((_PSS, who), []).append(found["Pss"])
                say(f"round {number + 1}: {found['Rss'] >> 20} MiB and others")
                plain.stop()
                agent.stop()
                _restart(chosen)
        finally:
            others.stop()
            trapd.stop()
    report.add([Reading(what, who, "B", tuple(found)) for (what, who), found in values.items()])
    peers = [peer.name for peer in chosen]
    flattered = "low for ours, which shares the interpreter's pages with the benchmark itself"
    later = "peers of collectors that are yet to come (nginx, memcached, ldap, probes) are not counted"
    for of, note in ((_PSS, flattered), (_RSS, "no page is shared out, for either side")):
        report.promise("G11", f"{of}, SNMP off", Form.SHARE, 0.75, *peers, of=of, side=_NO_SNMP, note=note)
        what = f"{of}, agent and SNMP targets on"
        report.promise("G11", what, Form.SHARE, 0.75, *peers, "snmpd", of=of, side=_ALL, note=later)
    return report


def _restart(chosen: tuple[Peer, ...]) -> None:
    for peer in chosen:
        peer.stop()
        peer.start()


def _work(scene: Scene, plan: Plan, ports: list[int], number: int) -> None:
    lines = (audit_lines(20_000, 0.1, number), mailbox_lines(20_000, 0.005, number), syslog_lines(20_000, number))
    texts = ["".join(each).encode() for each in lines]
    for _ in range(3 if plan.quick else 10):
        for log, text in zip(LOGS, texts, strict=True):
            append(log, text[: len(text) // 10 * 10] if plan.quick else text)
        scene.spool.change(100)
        for port in ports:
            Scraper(port).get()
        time.sleep(plan.seconds(2))
