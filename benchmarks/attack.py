"""Replays five minutes of an attack, 5,000 failed logins a second from a million addresses, through ``auth``.

Log time runs as fast as the collector can take it: the lines of each second come in blocks, after which the
collector is asked and its state gathered, as the daemon does. What it counts, whom it names and when it sees each of
the four checks cross its threshold is compared with counting everything again.
"""

import asyncio
import json
import os
import random
import tempfile
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from benchmarks.harness import OURS, Plan, Reading, Report
from collectors.auth.collector import AuthCollector, AuthConfig
from zcs_exporter.contract import Clock, LogBlock, LogSubscription, Sample
from zcs_exporter.hostio import Host

CHECKS = {"ip_account": 10, "account": 15, "ip": 20, "total": 1000}
"""The guide's thresholds in failures a minute."""

OFFENDERS = 10
WINDOW = 60
ACCOUNTS = 200_000


def address(number: int) -> str:
    """Return the address of attacker ``number``."""
    return f"{11 + (number >> 20)}.{number >> 12 & 255}.{number >> 4 & 255}.{number & 15}"


def resident() -> int:
    """Return this process's resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Attack:
    """The lines of the attack, second by second.

    Attributes:
        last: Address and account of each failure of the last minute, in one number, by second. It is packed since
            this process's memory is measured.
    """

    def __init__(self, rate: int, addresses: int) -> None:
        """Prepare ``rate`` failures a second from ``addresses`` different addresses."""
        self._rate = rate
        self._addresses = addresses
        self._pick = random.Random(7)
        self.last: deque[array[int]] = deque(maxlen=WINDOW)

    def second(self, at: int) -> bytes:
        """Return the lines of one second; ten of the addresses each do fifty times the work of any other."""
        pick = self._pick
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
        told = array("Q")
        lines = []
        for number in range(self._rate):
            worst = number < OFFENDERS * 4
            source = number % OFFENDERS if worst else pick.randrange(OFFENDERS, self._addresses)
            target = number % OFFENDERS if worst else pick.randrange(OFFENDERS, ACCOUNTS)
            told.append(source << 32 | target)
            account = f"user{target}@example.com"
            lines.append(
                f"{stamp},{number % 1000:03d} WARN  [ImapSSLServer-{number % 400}] "
                f"[ip=10.0.0.5;oip={address(source)};via=10.0.0.5(nginx/1.20.0);ua=Thunderbird/115.8;] security - "
                f"cmd=Auth; account={account}; protocol=imap; "
                f"error=authentication failed for [{account}], invalid password;\n"
            )
        self.last.append(told)
        return "".join(lines).encode()

    def truth(self, check: str) -> Counter[int]:
        """Count the last minute again, by what a check looks at."""
        failures: Iterable[int] = chain.from_iterable(self.last)
        match check:
            case "ip":
                return Counter(failure >> 32 for failure in failures)
            case "account":
                return Counter(failure & 0xFFFFFFFF for failure in failures)
            case "total":
                return Counter(0 for _ in failures)
            case _:
                return Counter(failures)


def window(samples: list[Sample]) -> Mapping[str, Sample]:
    """Return the samples of the four checks."""
    return {each.labels[0]: each for each in samples if each.metric.name == "zcs_auth_window_failures_max"}


async def replay(root: str, log: str, seconds: int, rate: int, addresses: int) -> dict[tuple[str, str], float]:
    """Run the attack on the host below ``root`` and return what came of it."""
    begun = now = 1_772_400_000
    clock = Clock(wall=lambda: float(now), monotonic=lambda: float(now))
    collector = AuthCollector(AuthConfig(), Host(root), clock)
    (feed,) = (
        each.feed
        for each in collector.subscriptions()
        if isinstance(each, LogSubscription) and each.path.endswith("/audit.log")
    )
    attack = Attack(rate, addresses)
    await collector.collect()
    before = peak = resident()
    busy = worst = 0.0
    crossed: dict[str, int] = {}
    seen: dict[str, int] = {}
    offset = rows = 0
    checks: Mapping[str, Sample] = {}
    for number in range(seconds):
        now = begun + number
        lines = attack.second(now)
        started = time.process_time()
        for start in range(0, len(lines), 1 << 17):
            end = lines.rfind(b"\n", 0, start + (1 << 17)) + 1
            begin = lines.rfind(b"\n", 0, start) + 1 if start else 0
            feed(LogBlock(log, lines[begin:end], offset + begin))
        findings = await collector.collect()
        rows += len(json.dumps(collector.changes()))
        took = time.process_time() - started
        busy, worst = busy + took, max(worst, took)
        offset += len(lines)
        peak = max(peak, resident())
        checks = window([each for each in findings if isinstance(each, Sample)])
        for check, limit in CHECKS.items():
            if check not in crossed and max(attack.truth(check).values()) >= limit:
                crossed[check] = number + 1
            if check not in seen and checks[check].value >= limit:
                seen[check] = number + 1
    true_top = {address(source) for source, _ in attack.truth("ip").most_common(OFFENDERS)}
    named = {item.value for item in checks["ip"].evidence}
    attempt = "a second of attack"
    return {
        (f"CPU of {attempt}", "s"): busy / seconds,
        (f"CPU of {attempt}, at worst", "s"): worst,
        ("memory before", "B"): before,
        ("memory at most", "B"): peak,
        (f"state written in {attempt}", "B"): rows / seconds,
        ("true top offenders named, of 10", ""): len(true_top & named),
        **{
            (f"{check}: seconds from crossing to seeing", "s"): seen.get(check, seconds) - crossed.get(check, 0)
            for check in CHECKS
        },
        **{
            (f"{check}: failures in the last minute, counted of true", ""): checks[check].value
            / max(attack.truth(check).values())
            for check in CHECKS
        },
    }


def measure(plan: Plan) -> Report:
    """Replay it once."""
    report = Report()
    seconds, rate, addresses = (3, 500, 1000) if plan.quick else (300, 5000, 1_000_000)
    with tempfile.TemporaryDirectory() as root:
        log = Path(root, "opt/zimbra/log/audit.log")
        log.parent.mkdir(parents=True)
        log.touch()
        found = asyncio.run(replay(root, str(log), seconds, rate, addresses))
    report.add([Reading(what, OURS, unit, (value,)) for (what, unit), value in found.items()])
    return report
