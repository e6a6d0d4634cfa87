"""G15: from a fault to its notification at a real snmptrapd, with the daemon's own intervals."""

import random
import time

from e2e.lab import Snmptrapd, kill, wait_for
from e2e.product import MIB, audit, now

from benchmarks.harness import OURS, Form, Plan, Reading, Report, say
from benchmarks.scene import Scene

INTERVAL = 15.0
_LOG, _SAMPLED = "a line of a log to its notification", "a service that ends to its notification"


def measure(plan: Plan) -> Report:
    """Inject each fault at a moment that has nothing to do with the daemon's ticks."""
    report = Report()
    pick = random.Random(5)
    with Scene() as scene:
        services = ("mailbox", "mta", "memcached")
        scene.zcs.set_services(*services)
        process = scene.zcs.stand_in("memcached", "log/memcached.pid")
        trapd = Snmptrapd(mib_dirs=[MIB], mibs=["ZCS-EXPORTER-MIB"], community="public")
        daemon = scene.exporter()
        secrets = daemon.secrets("nms.secret", {"community": "public"})
        target = {"name": "nms", "host": "127.0.0.1", "port": trapd.port, "version": "2c", "secrets": secrets}
        daemon.config["notify"] = {"heartbeat": "0s", "snmp": [{**target, "rate": 1000}]}
        daemon.configure()
        daemon.start()
        time.sleep(plan.seconds(20))
        lines, samples = [], []
        for number in range(plan.rounds(5)):
            account = f"user{number}@example.com"
            error = "error=account lockout due to too many failed logins;"
            before, begun = len(_told(trapd, "LockedOut")), time.monotonic()
            scene.zcs.append_audit(audit(now(), "198.51.100.7", f"cmd=Auth; account={account}; {error}"))
            lines.append(_arrived(trapd, "LockedOut", before, begun))
            say(f"log line: {lines[-1]:.2f} s")
            time.sleep(plan.seconds(pick.uniform(1.0, 3.0)))
        for _ in range(plan.rounds(4)):
            time.sleep(plan.seconds(pick.uniform(0, INTERVAL)))
            before, begun = len(_told(trapd, "ServiceStopped")), time.monotonic()
            kill(process)
            samples.append(_arrived(trapd, "ServiceStopped", before, begun))
            say(f"service: {samples[-1]:.2f} s")
            before, begun = len(_told(trapd, "ServiceStarted")), time.monotonic()
            process = scene.zcs.stand_in("memcached", "log/memcached.pid")
            _arrived(trapd, "ServiceStarted", before, begun)
        trapd.stop()
    report.add([Reading(_LOG, OURS, "s", tuple(lines)), Reading(_SAMPLED, OURS, "s", tuple(samples))])
    worst = Reading(f"{_SAMPLED}, at worst", OURS, "s", (max(samples),))
    slowest = Reading(f"{_LOG}, at worst", OURS, "s", (max(lines),))
    report.add([slowest, worst])
    report.promise("G15", f"{_LOG}, worst of {len(lines)}", Form.VALUE, 2.0, of=slowest.what)
    report.promise(
        "G15", f"{_SAMPLED}, worst of {len(samples)} (interval 15 s)", Form.VALUE, INTERVAL + 1, of=worst.what
    )
    return report


def _told(trapd: Snmptrapd, event: str) -> list[dict[str, str]]:
    return [each for each in trapd.received() if any(event in value for value in each.values())]


def _arrived(trapd: Snmptrapd, event: str, before: int, begun: float) -> float:
    """Wait for one more notification of an event and return the seconds since ``begun``."""
    what = f"the notification of {event}"
    wait_for(lambda: len(_told(trapd, event)) > before, 60, lambda: f"{what} among {trapd.received()[-3:]}", pause=0.01)
    return time.monotonic() - begun
