"""Replays half an hour of an attack, 5,000 failed logins a second from a million addresses, through ``auth``.

Log time runs as fast as the collector can take it: the lines of each second come in blocks, after which the
collector is asked and its state gathered, as the daemon does. Prints CPU per second of attack, memory, the
second in which each of the four checks truly crossed its threshold beside that in which it was seen to, and
whether numbers and evidence are those of counting everything again.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

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


async def replay(root: str, log: str, seconds: int, rate: int, addresses: int) -> None:
    """Run the attack on the host below ``root`` and print what came of it."""
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
    print(f"{seconds} s of {rate:,} failures a second from {addresses:,} addresses")
    print(f"CPU per second of attack: {busy / seconds:.3f} s on average, {worst:.3f} s at worst")
    print(f"memory: {before / (1 << 20):.0f} MiB before, {peak / (1 << 20):.0f} MiB at most")
    print(f"state written: {rows / seconds / 1024:.0f} KiB a second")
    print(f"true top offenders named: {len(true_top & named)} of {len(true_top)}")
    for check, limit in CHECKS.items():
        print(
            f"{check}: {limit} truly reached in second {crossed.get(check)}, seen in second {seen.get(check)}; "
            f"in the last minute {checks[check].value:.0f}, truly {max(attack.truth(check).values())}"
        )


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description="Replay an attack of a million addresses through the auth collector.")
    parser.add_argument("--seconds", type=int, default=1800)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--addresses", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        log = Path(root, "opt/zimbra/log/audit.log")
        log.parent.mkdir(parents=True)
        log.touch()
        asyncio.run(replay(root, str(log), options.seconds, options.rate, options.addresses))
    return 0


if __name__ == "__main__":
    sys.exit(main())
