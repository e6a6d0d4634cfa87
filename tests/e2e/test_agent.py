"""The agent's own port, asked by Net-SNMP's programs and by attackers, of a real daemon on the lab's host."""

import json
import os
import random
import re
import socket
import sqlite3
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from e2e.lab import Exporter, MariaDb, Postfix, Zcs, free_port, need, need_mibs, wait_for
from e2e.product import USER, USER_SECRET, settings
from mib_views import numbered_view
from snapshots import reading, sample
from snmp_messages import (
    GETBULK,
    SYS_NAME,
    discovery,
    message_2c,
    message_3,
    mutations,
    octets,
    request,
    scoped,
)

from zcs_exporter.agent.facts import Facts, StandingAlarm
from zcs_exporter.agent.numbers import Numbers
from zcs_exporter.alerting.alarm import Alarm
from zcs_exporter.alerting.model import Severity, load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.contract import Reason
from zcs_exporter.snapshot import Snapshot
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Oid, Syntax, format_oid

COMMUNITY = "0123456789abcdef"
HOST = "mail.example.com"
DESTINATIONS = 10
VERSIONS = {
    "2c": ("-v2c", "-c", COMMUNITY),
    "3": (
        *("-v3", "-l", "authPriv", "-u", USER.name, "-a", "SHA-256", "-A", USER.auth_password),
        *("-x", "AES", "-X", USER.priv_password),
    ),
}
OPTIONS = ("-m", "", "-M", "/nonexistent", "-Onetx", "-t", "5", "-r", "2")
Value = int | bytes | Oid


class Agent:
    """A daemon with an agent, and ways to ask it."""

    def __init__(self, daemon: Exporter, address: str = "127.0.0.1", **options: object) -> None:
        self.daemon = daemon
        self.host = address
        self.port = free_port(socket.SOCK_DGRAM)
        shown = f"[{address}]" if ":" in address else address
        daemon.config["snmp_agent"] = {
            "enabled": True,
            "listen": f"{shown}:{self.port}",
            "allow": ["127.0.0.0/8", "::1/128"],
            "users": [daemon.secrets("agent.secret", USER_SECRET)],
            "communities": [daemon.secrets("community.secret", {"community": COMMUNITY})],
            "contact": "ops@example.com",
            **options,
        }
        daemon.configure()

    @property
    def target(self) -> str:
        return f"udp6:[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def run(self, program: str, who: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program, *OPTIONS, *who, self.target, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def walk(self, program: str, version: str, below: str = ".1") -> list[tuple[Oid, Value]]:
        more = ("-Cr40",) if program == "snmpbulkwalk" else ()
        done = self.run(program, (*VERSIONS[version], *more), below)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return [parsed(line) for line in joined(done.stdout) if "No more variables" not in line]

    def get(self, version: str, *oids: Oid) -> list[Value]:
        done = self.run("snmpget", VERSIONS[version], *map(format_oid, oids))
        assert done.returncode == 0, done.stderr
        return [parsed(line)[1] for line in joined(done.stdout)]

    def count(self, outcome: str) -> float:
        return self.daemon.value("zcs_exporter_snmp_requests_total", outcome=outcome) or 0.0

    def known(self) -> tuple[Snapshot, list[StandingAlarm]]:
        """What /api/v1 tells, as the agent would have to see it."""
        token = Path(self.daemon.config["state"]["directory"], "token").read_text().strip()
        status, body = self.daemon.get("/api/v1/snapshot", {"Authorization": f"Bearer {token}"})
        assert status == 200
        return snapshot_of(json.loads(body)), [alarm_of(each) for each in self.daemon.alerts()]


def joined(text: str) -> list[str]:
    """Lines, those that go on with more octets put behind their first."""
    return re.sub(r"\n(?!\.)", " ", text.rstrip("\n")).splitlines()


def parsed(line: str) -> tuple[Oid, Value]:
    """One line of Net-SNMP's, with numbers for everything and octets in hexadecimal."""
    name, _, value = line.partition(" = ")
    kind, _, text = value.partition(": ")
    oid = tuple(int(part) for part in name.strip(".").split("."))
    if kind == "Hex-STRING":
        return oid, bytes.fromhex(text)
    if kind in ('""', "STRING"):
        return oid, text.encode()
    if kind == "OID":
        return oid, tuple(int(part) for part in text.strip(".").split("."))
    return oid, int(text or kind)


def snapshot_of(data: dict) -> Snapshot:
    def samples(found: list[dict]) -> list:
        return [sample(each["name"], each["labels"], float(each["value"])) for each in found]

    readings = {}
    for each in data["collectors"]:
        failing = None if each["failure"] is None else Reason(each["failure"]["reason"])
        made = reading(each["name"], samples(each["samples"]), failing=failing)
        object.__setattr__(made, "collected_at", each["collected_at"])
        readings[each["name"]] = made
    return Snapshot(data["generation"], data["at"], readings, tuple(samples(data["own"])))


def alarm_of(data: dict) -> StandingAlarm:
    rule = next(rule for rule in load_catalogue(asset("alerts")).alerts if rule.name == data["alert"])
    alarm = Alarm(
        rule.name,
        tuple(sorted(data["labels"].items())),
        alarm_id=data["alarm_id"],
        severity=Severity[data["severity"].upper()],
        since=data["since"],
        count=data["count"],
        value=data["value"],
        threshold=data["threshold"],
    )
    return rule, alarm


@pytest.fixture
def agent(zcs: Zcs, exporter: Callable[..., Exporter]) -> Agent:
    need("snmp", "snmpget", "snmpwalk", "snmpbulkwalk", "snmpset")
    zcs.set_services("mta", "mailbox")
    config = settings()
    # Few rounds, so that what two walks see is the same.
    config["collectors"] = {name: {"interval": "60s"} for name in config["collectors"]}
    return Agent(exporter(config))


def test_every_table_walks_in_order_and_equals_the_snapshot(postfix: Postfix, mariadb: MariaDb, agent: Agent) -> None:
    agent.daemon.config["notify"] = {"snmp": [
        {"name": "dead", "host": "127.0.0.1", "port": 9, "secrets": agent.daemon.secrets("nms.secret", USER_SECRET)}
    ]}  # fmt: skip
    agent.daemon.configure()
    agent.daemon.start()
    numbers = Numbers()
    seen: set[int] = set()
    for program in ("snmpwalk", "snmpbulkwalk"):
        for version in VERSIONS:
            before = agent.known()
            walked = agent.walk(program, version)
            after = agent.known()

            assert [oid for oid, _ in walked] == sorted({oid for oid, _ in walked})
            system = [(oid, value) for oid, value in walked if oid[:6] == (1, 3, 6, 1, 2, 1)]
            assert [oid[7] for oid, _ in system] == [1, 2, 3, 4, 5, 6, 7]
            assert system[1][1] == (*DEFAULT_ROOT, 3)
            assert system[3][1] == b"ops@example.com"
            ours = dict(walked[len(system) :])
            assert all(oid[: len(DEFAULT_ROOT) + 1] == (*DEFAULT_ROOT, 1) for oid in ours)
            destinations = (*DEFAULT_ROOT, 1, DESTINATIONS)
            ends = [
                {each.oid: each for each in numbered_view(Facts(*what, (), HOST), numbers)} for what in (before, after)
            ]
            assert {oid for oid in ours if oid[: len(destinations)] != destinations} == ends[0].keys() == ends[1].keys()
            for oid, first in ends[0].items():
                last, found = ends[1][oid].value, ours[oid]
                if first.syntax in (Syntax.TEXT, Syntax.TIME):
                    assert found in (first.value, last), format_oid(oid)
                else:
                    assert first.value <= found <= last or found in (first.value, last), format_oid(oid)
            seen |= {oid[len(DEFAULT_ROOT) + 1] for oid in ours}
            assert ours[(*destinations, 1, 1, 2, 1)] == b"dead"
            assert ours.get((*destinations, 1, 1, 3, 1)) in (None, 2)  # down, once it was tried
    assert {1, 2, 3, 4, 5} <= seen
    wait_for(lambda: agent.count("answered") > 100, 10, "the next snapshot to count them")


def test_the_objects_have_names_in_the_mib(agent: Agent, tmp_path: Path) -> None:
    need_mibs()
    agent.daemon.start()
    (tmp_path / "ZCS-EXPORTER-MIB.txt").write_text(agent.daemon.command("mib").stdout)
    command = ["snmpwalk", *VERSIONS["3"], "-m", "ZCS-EXPORTER-MIB", "-M", f"{os.environ['ZCS_MIB_PATH']}:{tmp_path}"]
    done = subprocess.run(
        [*command, agent.target, format_oid(DEFAULT_ROOT)], capture_output=True, text=True, check=True, timeout=60
    )

    assert 'ZCS-EXPORTER-MIB::zcsServiceState."mta" = INTEGER: ' in done.stdout
    assert "zcsAgentHost.0 = STRING: mail.example.com" in done.stdout
    assert not [line for line in done.stdout.splitlines() if "enterprises" in line]


def test_nothing_can_be_written_and_strangers_read_nothing(agent: Agent) -> None:
    agent.daemon.start()
    assert agent.get("3", SYS_NAME) == [HOST.encode()]
    for who in VERSIONS.values():
        done = agent.run("snmpset", who, format_oid(SYS_NAME), "s", "mine")
        assert done.returncode != 0
        assert "Reason: noAccess" in done.stderr
    for who in (
        ("-v1", "-c", COMMUNITY),
        ("-v2c", "-c", "public"),
        ("-v3", "-l", "noAuthNoPriv", "-u", USER.name),
        ("-v3", "-l", "authNoPriv", "-u", USER.name, "-a", "SHA-256", "-A", USER.auth_password),
        (*VERSIONS["3"][:-1], "another pass phrase"),
        (*VERSIONS["3"], "-n", "other"),
    ):
        done = agent.run("snmpget", (*who, "-t", "1", "-r", "0"), format_oid(SYS_NAME))
        assert done.returncode != 0, who
        assert HOST not in done.stdout
    assert agent.get("2c", SYS_NAME) == [HOST.encode()]


def test_old_and_new_protocols_are_those_of_net_snmp(agent: Agent) -> None:
    protocols = {
        "old": ("MD5", "DES", "-a", "MD5", "-x", "DES"),
        "usual": ("SHA-1", "AES-128", "-a", "SHA", "-x", "AES"),
        "long": ("SHA-224", "AES-192", "-a", "SHA-224", "-x", "AES-192"),
        "longest": ("SHA-512", "AES-256", "-a", "SHA-512", "-x", "AES-256"),
    }
    words = ("-A", "a long auth password", "-X", "a long priv password")
    files = {
        name: {
            "user": name,
            "auth": {"protocol": auth, "password": words[1]},
            "priv": {"protocol": priv, "password": words[3]},
        }
        for name, (auth, priv, *_) in protocols.items()
    }
    paths = [agent.daemon.secrets(f"{name}.secret", content) for name, content in files.items()]
    agent.daemon.config["snmp_agent"]["users"] += paths
    agent.daemon.configure()
    checked = agent.daemon.command("check-config", check=False)
    assert checked.returncode == 1
    for line, protocol in zip(checked.stderr.splitlines(), ("MD5", "SHA-1"), strict=True):
        assert f"'auth.protocol' {protocol} is weak" in line
    for name in ("old", "usual"):
        agent.daemon.secrets(f"{name}.secret", files[name] | {"allow_weak": True})
    agent.daemon.start()

    for name, (_, _, *options) in protocols.items():
        done = agent.run("snmpget", ("-v3", "-l", "authPriv", "-u", name, *options, *words), format_oid(SYS_NAME))
        assert done.returncode == 0, done.stderr
        assert parsed(joined(done.stdout)[0]) == (SYS_NAME, HOST.encode())


def test_it_answers_on_ipv6(zcs: Zcs, exporter: Callable[..., Exporter]) -> None:
    need("snmp", "snmpget")
    zcs.set_services("mta")
    agent = Agent(exporter(settings()), "::1")
    agent.daemon.start()

    for version in VERSIONS:
        assert agent.get(version, SYS_NAME) == [HOST.encode()]


def test_a_reload_swaps_it_and_a_fault_keeps_it(agent: Agent) -> None:
    agent.daemon.start()
    assert agent.get("2c", SYS_NAME) == [HOST.encode()]
    section = agent.daemon.config["snmp_agent"]
    section["communities"] = [agent.daemon.secrets("short.secret", {"community": "short"})]
    agent.daemon.configure()
    agent.daemon.reload()
    wait_for(lambda: "short.secret: 'community' has 5 octets" in agent.daemon.log(), 20, "the fault to be told")
    assert agent.get("2c", SYS_NAME) == [HOST.encode()]

    section["communities"] = []
    agent.daemon.configure()
    agent.daemon.reload()
    gone = ("-v2c", "-c", COMMUNITY, "-t", "1", "-r", "0")
    wait_for(lambda: agent.run("snmpget", gone, format_oid(SYS_NAME)).returncode != 0, 20, "the community to be gone")
    assert agent.get("3", SYS_NAME) == [HOST.encode()]

    section["enabled"] = False
    agent.daemon.configure()
    agent.daemon.reload()
    wait_for(lambda: agent.count("answered") == 0, 20, "the agent to be off")
    assert agent.daemon.stop() == 0


def test_an_agent_that_is_open_to_everyone_does_not_start_and_says_what_to_add(agent: Agent) -> None:
    section = agent.daemon.config["snmp_agent"]
    section |= {"listen": f"0.0.0.0:{agent.port}", "allow": []}
    agent.daemon.configure()

    checked = agent.daemon.command("check-config", check=False)
    started = agent.daemon.command("run", check=False)

    assert (checked.returncode, started.returncode) == (1, 2)
    for said in (checked.stderr, started.stderr):
        assert f"snmp_agent.listen: 0.0.0.0:{agent.port} can be reached by other hosts" in said
        assert "'allow: [192.0.2.0/24]'" in said
    assert COMMUNITY not in checked.stderr + started.stderr


def test_rows_keep_their_numbers_over_kill_9(postfix: Postfix, agent: Agent) -> None:
    mounts = (*DEFAULT_ROOT, 1, 3, 1, 1, 2)
    agent.daemon.start()
    first = agent.walk("snmpwalk", "2c", format_oid(mounts))
    agent.daemon.kill9()
    assert len(first) > 1
    with closing(sqlite3.connect(Path(agent.daemon.config["state"]["directory"], "state.sqlite3"))) as state:
        rows = state.execute("SELECT key, value FROM collector_row WHERE collector = 'snmp_rows'").fetchall()
    saved = {f"zcsFilesystem {value.decode()}": str(oid[-1]) for oid, value in first if isinstance(value, bytes)}
    assert saved.items() <= dict(rows).items()
    agent.daemon.start()

    assert agent.walk("snmpwalk", "2c", format_oid(mounts)) == first


class Client:
    """A manager that asks for one object again and again, by hand, and times the answers."""

    def __init__(self, agent: Agent, source: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((source, 0))
        self.socket.connect((agent.host, agent.port))
        self.socket.settimeout(5)
        self.times: list[float] = []

    def close(self) -> None:
        self.socket.close()

    def ask(self) -> None:
        datagram = message_2c(COMMUNITY.encode(), request(SYS_NAME, number_of=len(self.times) + 1))
        begun = time.monotonic()
        self.socket.send(datagram)
        assert HOST.encode() in self.socket.recv(65536)
        self.times.append(time.monotonic() - begun)


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do something again and again in another thread; what it raises is raised here."""
    end = threading.Event()
    failed: list[BaseException] = []

    def loop() -> None:
        try:
            while not end.wait(0.02):
                work()
        except BaseException as exc:  # noqa: BLE001 - told to the test
            failed.append(exc)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    if failed:
        raise failed[0]


def resident(pid: int) -> int:
    """Kibibytes."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def recorded(agent: Agent) -> list[bytes]:
    """Good requests of version 3 as snmpget sends them, overheard by a relay."""
    found: list[bytes] = []
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        near.bind(("127.0.0.1", 0))
        far.connect((agent.host, agent.port))
        command = ["snmpget", *OPTIONS, *VERSIONS["3"], f"127.0.0.1:{near.getsockname()[1]}", format_oid(SYS_NAME)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as asking:
            near.settimeout(5)
            for _ in range(2):
                datagram, client = near.recvfrom(65536)
                found.append(datagram)
                far.send(datagram)
                near.sendto(far.recv(65536), client)
            assert asking.wait(10) == 0
    return found


def attacks(engine_id: bytes, secret: list[bytes]) -> list[bytes]:
    """Ten thousand mutated packets of a fixed seed, and those that have a name."""
    community = COMMUNITY.encode()
    good = [*secret, message_2c(community, request(SYS_NAME)), message_2c(community, request(SYS_NAME, tag=GETBULK))]
    bypass = [
        message_3(engine_id, user, flags, content, auth=auth, boots=1000)
        for user in (USER.name.encode(), b"", b"nobody")
        for flags in range(8)
        for auth in (b"", bytes(12), bytes(24))
        for content in (scoped(engine_id, request(SYS_NAME)), octets(scoped(engine_id, request(SYS_NAME))))
    ]
    strangers = [
        message_3(struct.pack(">5sI", b"\x80\x00\x1f\x88\x05", n), b"nms", 7, octets(bytes(99))) for n in range(2000)
    ]
    named = [
        message_2c(b"wrong", request(*[(1, 3)] * 6000)),
        message_2c(community, request(*[(1, 3)] * 6000)),
        message_2c(community, request(*[(1, 3)] * 170)),
        message_2c(community, request(*[(1, 3)] * 60, tag=GETBULK, second=2**31 - 1)),
        message_2c(community, request((1, 3, *[1] * 60_000))),
        message_2c(community, b"\xa0\x82\x05\x00" + b"\x30\x80" * 640),
        b"\x30\x80" * 30_000,
        b"\x24\x80" * 30_000,
        message_3(b"", b"", 4, scoped(b"", request(*[(1, 3)] * 6000))),
        message_2c(community, request(SYS_NAME, tag=0xA3, value=octets(b"mine"))),
        discovery(),
        message_2c(community, request(SYS_NAME), version=0),
    ]
    found = [*mutations(good, 10_000), *bypass, *strangers, *named * 10]
    random.Random(20261122).shuffle(found)
    return found


def test_under_attack_a_good_manager_and_every_other_output_are_answered(agent: Agent) -> None:
    agent.daemon.start()
    secret = recorded(agent)
    engine_id = bytes.fromhex(re.search(rb"\x80\x00\x1f\x88\x05.{12}", secret[1], re.DOTALL)[0].hex())
    with closing(Client(agent, "127.0.0.1")) as calm:
        for _ in range(50):
            calm.ask()
    before = resident(agent.daemon.pid)
    pages: list[float] = []

    def page() -> None:
        begun = time.monotonic()
        assert agent.daemon.get("/metrics")[0] == 200
        pages.append(time.monotonic() - begun)

    with (
        closing(Client(agent, "127.0.0.1")) as good,
        meanwhile(good.ask),
        meanwhile(page),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile,
    ):
        hostile.bind(("127.0.0.66", 0))
        hostile.connect((agent.host, agent.port))
        begun = time.monotonic()
        for turn, datagram in enumerate(attacks(engine_id, secret)):
            hostile.send(datagram)
            if turn % 10 == 9:
                time.sleep(0.003)
        took = time.monotonic() - begun
    grown = resident(agent.daemon.pid) - before
    print(
        f"calm: worst {1e3 * max(calm.times):.1f} ms; attacked for {took:.1f} s: answers {len(good.times)}, worst "
        f"{1e3 * max(good.times):.1f} ms; /metrics {len(pages)}, worst {1e3 * max(pages):.1f} ms; RSS +{grown} kB"
    )

    assert max(good.times) < 1
    assert max(pages) < 1
    assert grown < 30_000
    assert agent.get("3", SYS_NAME) == [HOST.encode()]
    wait_for(lambda: agent.count("rate") > 0 and agent.count("malformed") > 0, 10, "the next snapshot to count them")
    assert "Traceback" not in agent.daemon.log()
    assert "bug" not in agent.daemon.log()


def test_a_manager_that_floods_does_not_starve_another(agent: Agent) -> None:
    agent.daemon.start()
    flood = message_2c(COMMUNITY.encode(), request(SYS_NAME))
    with (
        closing(Client(agent, "127.0.0.1")) as good,
        meanwhile(good.ask),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        other.bind(("127.0.0.66", 0))
        other.connect((agent.host, agent.port))
        for turn in range(20_000):
            other.send(flood)
            if turn % 20 == 19:
                time.sleep(0.003)
    print(f"flooded: answers {len(good.times)}, worst {1e3 * max(good.times):.1f} ms")

    assert max(good.times) < 2
    wait_for(lambda: agent.count("rate") > 1000, 10, "the next snapshot to count what was refused")


def test_a_recorded_request_is_worth_nothing_after_a_restart(agent: Agent) -> None:
    agent.daemon.start()
    replayed = recorded(agent)[-1]
    agent.daemon.stop()
    agent.daemon.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((agent.host, agent.port))
        client.settimeout(5)
        client.send(replayed)
        assert client.recv(65536)  # a report: not in the time window

    assert agent.count("answered") == 0
    assert agent.get("3", SYS_NAME) == [HOST.encode()]


def test_a_thousand_requests_leave_no_trace(agent: Agent) -> None:
    """What the agent costs, printed for whoever reads the log of this test."""
    agent.daemon.start()
    with closing(Client(agent, "127.0.0.2")) as client:
        for _ in range(100):
            client.ask()
        before = resident(agent.daemon.pid)
        begun = time.monotonic()
        for _ in range(1000):
            client.ask()
        print(f"{1000 / (time.monotonic() - begun):.0f} GET/s, RSS {before} kB")

    assert resident(agent.daemon.pid) - before < 4000
