"""Each fault, injected for real: a rule of Prometheus fires and resolves, and snmptrapd gets raise and clear."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from e2e.lab import (
    HOME,
    Exporter,
    Jvms,
    MariaDb,
    Postfix,
    Prometheus,
    Snmptrapd,
    Zcs,
    kill,
    mount_memory,
    need_mibs,
    run,
    wait_for,
)
from e2e.product import MIB, USER, USER_SECRET, failure, now, settings

ALERTS = (
    "ZcsFilesystemFull",
    "ZcsFilesystemInodesFull",
    "ZcsQueueCorrupt",
    "ZcsMysqldDown",
    "ZcsMysqldDuplicate",
    "ZcsJvmGcTime",
    "ZcsAuthIpFailures",
    "ZcsAuthIpAccountFailures",
    "ZcsServiceVitalDown",
)
STORE = HOME / "store"


class Watch:
    """A running daemon with a v2c trap receiver, a v3 inform receiver and a Prometheus."""

    def __init__(
        self,
        exporter: Callable[..., Exporter],
        snmptrapd: Callable[..., Snmptrapd],
        prometheus: Callable[..., Prometheus],
    ) -> None:
        need_mibs()
        self.v2c = snmptrapd(mib_dirs=[MIB], mibs=["ZCS-EXPORTER-MIB"], community="lab-community")
        self.v3 = snmptrapd(mib_dirs=[MIB], mibs=["ZCS-EXPORTER-MIB"], users=[USER])
        self.daemon = exporter(settings(*ALERTS))
        self.daemon.config["notify"] = {
            "heartbeat": "0s",
            "snmp": [
                {
                    "name": "old",
                    "host": "127.0.0.1",
                    "port": self.v2c.port,
                    "version": "2c",
                    "kind": "trap",
                    "secrets": self.daemon.secrets("old.secret", {"community": "lab-community"}),
                },
                {
                    "name": "new",
                    "host": "127.0.0.1",
                    "port": self.v3.port,
                    "version": 3,
                    "kind": "inform",
                    "secrets": self.daemon.secrets("new.secret", USER_SECRET),
                },
            ],
        }
        self.daemon.configure()
        self.daemon.start()
        rules = self.daemon.directory / "zcs.rules.yaml"
        rules.write_text(self.daemon.command("rules").stdout)
        self.prometheus = prometheus(self.daemon.address, [rules])
        self.prometheus.wait_scraped()

    @staticmethod
    def _notified(receiver: Snmptrapd, alert: str, kind: str) -> list[dict[str, str]]:
        return [
            each
            for each in receiver.received()
            if alert in each.get("zcsNotifyRule", "") and each["trap"].endswith(kind)
        ]

    def raised(self, alert: str) -> None:
        wait_for(lambda: self._firing(alert), 30, f"Prometheus to fire {alert}; now: {self._state()}")
        for receiver in (self.v2c, self.v3):
            self._await(receiver, alert, "Raised")

    def cleared(self, alert: str) -> None:
        wait_for(lambda: not self._firing(alert), 60, f"Prometheus to resolve {alert}; now: {self._state()}")
        for receiver in (self.v2c, self.v3):
            cleared = self._await(receiver, alert, "Cleared")
            raised = self._await(receiver, alert, "Raised")
            assert {each["zcsNotifyAlarmIndex"] for each in cleared} <= {each["zcsNotifyAlarmIndex"] for each in raised}

    def _await(self, receiver: Snmptrapd, alert: str, kind: str) -> list[dict[str, str]]:
        what = f"{alert} {kind} to arrive: {receiver.received()}"
        return wait_for(lambda: self._notified(receiver, alert, kind), 60, what)

    def _firing(self, alert: str) -> bool:
        return any(
            each["labels"]["alertname"] == alert and each["state"] == "firing" for each in self.prometheus.alerts()
        )

    def _state(self) -> str:
        return str([(each["labels"]["alertname"], each["state"]) for each in self.prometheus.alerts()])


@contextlib.contextmanager
def filled(share: float = 0.0, inodes: float = 0.0) -> Iterator[None]:
    """Fill the memory file system at /opt/zimbra/store to a share of its bytes or inodes."""
    made = []
    try:
        if share:
            target = STORE / "blob"
            run("dd", "if=/dev/zero", f"of={target}", "bs=64k", f"count={int(share * 8 * 16)}")
            made.append(target)
        for number in range(int(inodes * 200)):
            target = STORE / f"message-{number}"
            target.touch()
            made.append(target)
        yield
    finally:
        for target in made:
            target.unlink()


def test_each_fault_is_raised_and_cleared_everywhere(
    zcs: Zcs,
    postfix: Postfix,
    mariadb: MariaDb,
    jvms: Jvms,
    exporter: Callable[..., Exporter],
    snmptrapd: Callable[..., Snmptrapd],
    prometheus: Callable[..., Prometheus],
) -> None:
    """One daemon, one Prometheus, nine faults: their common start-up is most of the time."""
    zcs.set_services("mailbox", "mta", "memcached", "ldap")
    zcs.set_localconfig(zimbra_swatch_threshold_seconds="5")
    STORE.mkdir(exist_ok=True)
    if not any(line.split()[1] == str(STORE) for line in Path("/proc/mounts").read_text().splitlines()):
        mount_memory(STORE, "8m", inodes=200)
    postfix.clear()
    ldap = zcs.stand_in("slapd", "data/ldap/state/run/slapd.pid")
    watch = Watch(exporter, snmptrapd, prometheus)

    with filled(share=0.97):
        watch.raised("ZcsFilesystemFull")
    watch.cleared("ZcsFilesystemFull")

    with filled(inodes=0.97):
        watch.raised("ZcsFilesystemInodesFull")
    watch.cleared("ZcsFilesystemInodesFull")

    corrupt = postfix.spool / "corrupt" / "3F2A81C0E5D"
    corrupt.write_bytes(b"C")
    corrupt.chmod(0o700)
    watch.raised("ZcsQueueCorrupt")
    corrupt.unlink()
    watch.cleared("ZcsQueueCorrupt")

    mariadb.stop()
    watch.raised("ZcsMysqldDown")
    mariadb.start()
    watch.cleared("ZcsMysqldDown")

    mariadb.start_second(parent="init", name="mariadbd")
    watch.raised("ZcsMysqldDuplicate")
    mariadb.stop_others()
    watch.cleared("ZcsMysqldDuplicate")

    kill(ldap)
    watch.raised("ZcsServiceVitalDown")
    zcs.stand_in("slapd", "data/ldap/state/run/slapd.pid")
    watch.cleared("ZcsServiceVitalDown")

    for _ in range(20):
        zcs.append_audit(failure(now(), "203.0.113.9", "ann@example.com"))
    watch.raised("ZcsAuthIpFailures")
    watch.raised("ZcsAuthIpAccountFailures")
    assert "203.0.113.9" in str(watch.v3.received())
    watch.cleared("ZcsAuthIpFailures")
