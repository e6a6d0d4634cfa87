"""What managers of former days get: version 1, and the trap that ZCS itself sends."""

import subprocess
from collections.abc import Callable

import pytest
from e2e.lab import Exporter, Snmptrapd, Zcs, environment, kill, need, need_mibs, wait_for
from e2e.product import settings

COMMUNITY = "zimbra"
ZCS_TRAP = "1.3.6.1.4.1.666.0.0"
OUR_ROOT = "1.3.6.1.4.1.8072.9999.9999.7071"


@pytest.fixture
def manager(snmptrapd: Callable[..., Snmptrapd]) -> Snmptrapd:
    """A receiver without any MIB: it shows numbers."""
    need_mibs()
    return snmptrapd(community=COMMUNITY)


def watched(zcs: Zcs, exporter: Callable[..., Exporter], port: int, **target: object) -> tuple[Exporter, int]:
    """Start a daemon whose target is this port, on a host where memcached runs, and return its process."""
    need("snmptrap", "snmptrap")
    zcs.set_services("mta", "memcached")
    memcached = zcs.stand_in("memcached", "log/memcached.pid")
    daemon = exporter(settings())
    secret = daemon.secrets("old.secret", {"community": COMMUNITY})
    daemon.config["notify"] = {
        "heartbeat": "0s",
        "snmp": [{"name": "old", "host": "127.0.0.1", "port": port, "secrets": secret, **target}],
    }
    daemon.configure()
    daemon.start()
    wait_for(lambda: daemon.value("zcs_service_up", name="memcached") == 1, 20, "memcached to be seen")
    return daemon, memcached


def stopped(manager: Snmptrapd) -> list[dict[str, str]]:
    """What arrived when memcached had ended; the daemon may have seen it start before."""
    about = [each for each in manager.received() if "memcached" in str(each)]
    return [each for each in about if "stopped" in str(each) or each.get("iso.3.6.1.4.1.666.1.1") == "0"]


@pytest.mark.parametrize("version", ["2c", 1])
def test_zcs_own_trap_is_just_what_zcs_sends(
    zcs: Zcs, exporter: Callable[..., Exporter], manager: Snmptrapd, version: str | int
) -> None:
    _, memcached = watched(zcs, exporter, manager.port, version=version, kind="trap", compat="zimbra")
    kill(memcached)
    wait_for(lambda: len(stopped(manager)) == 2, 20, f"both traps: {manager.received()}")
    service = ["1.3.6.1.4.1.666.1.0", "s", "memcached", "1.3.6.1.4.1.666.1.1", "i", "0"]
    way = ["-v", "2c", "-c", COMMUNITY, f"127.0.0.1:{manager.port}", "", ZCS_TRAP]
    if version == 1:
        way = ["-v", "1", "-c", COMMUNITY, f"127.0.0.1:{manager.port}", "1.3.6.1.4.1.666", "127.0.0.1", "6", "0", ""]
    subprocess.run(["snmptrap", *way, *service], check=True, env=environment())
    wait_for(lambda: len(stopped(manager)) == 3, 20, "the trap of Net-SNMP")

    ours, like_zcs, of_net_snmp = stopped(manager)
    assert OUR_ROOT.removeprefix("1.3.6.1.4.1.") in ours["trap"]
    up_times = [_seconds(each.pop("sysUpTime")) for each in (like_zcs, of_net_snmp)]
    assert like_zcs == of_net_snmp
    assert abs(up_times[0] - up_times[1]) < 60


def _seconds(up_time: str) -> float:
    """Return what snmptrapd shows of a time: hundredths of a second, or days and hours."""
    days, *rest = up_time.split(":")
    if not rest:
        return float(up_time) / 100
    *whole, seconds = rest
    return (float(days) * 24 + float(whole[0])) * 3600 + float(whole[1]) * 60 + float(seconds)


def test_a_manager_of_version_1_gets_ours_as_rfc_3584_says(
    zcs: Zcs, exporter: Callable[..., Exporter], manager: Snmptrapd
) -> None:
    _, memcached = watched(zcs, exporter, manager.port, version="1", kind="trap")
    kill(memcached)
    wait_for(lambda: stopped(manager), 20, "the trap")

    (told,) = stopped(manager)
    enterprise, generic, specific, sender = told["trap"].rsplit(":", 3)
    assert enterprise.endswith("8072.9999.9999.7071")
    assert (generic, specific.strip("."), sender) == ("6", "96", "127.0.0.1")
    assert len([name for name in told if "7071.1.11." in name]) == 12
    assert told["pdu"].startswith("TRAP, SNMP v1")


def test_that_zcs_sends_the_same_traps_is_said_once_and_measured(
    zcs: Zcs, exporter: Callable[..., Exporter], manager: Snmptrapd
) -> None:
    zcs.set_localconfig(snmp_notify="1")
    try:
        daemon, _ = watched(zcs, exporter, manager.port, version="2c", kind="trap", compat="zimbra")
        zcs.set_services("mta", "snmp")
        wait_for(lambda: daemon.value("zcs_snmp_notify_enabled") == 1, 20, "the metric")
        assert daemon.log().count("compat is zimbra while ZCS sends the same traps itself") == 1
    finally:
        zcs.set_localconfig(snmp_notify=None)


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ({"version": 1}, "version 1 has no informs; add kind: trap"),
        ({"version": 3, "compat": "zimbra"}, "use version 2c or 1 for it"),
        ({"version": "2c", "compat": "zimba"}, "zimbra"),
    ],
)
def test_what_does_not_go_together_is_refused(
    zcs: Zcs, exporter: Callable[..., Exporter], target: dict[str, object], fault: str
) -> None:
    daemon = exporter(settings())
    secret = daemon.secrets("old.secret", {"community": COMMUNITY})
    daemon.config["notify"] = {"snmp": [{"name": "old", "host": "127.0.0.1", "secrets": secret, **target}]}
    daemon.configure()

    done = daemon.command("check-config", check=False)

    assert done.returncode == 1
    assert fault in done.stderr
