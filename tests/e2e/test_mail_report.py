"""The daily report beside pflogsumm, which ZCS makes its own with, over the same log."""

import json
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from e2e.lab import need
from fakes import FakeHost, ManualClock

from collectors.mailflow.collector import MailflowCollector, MailflowConfig
from zcs_exporter.contract import LogBlock
from zcs_exporter.mailreport.report import Limits, render_json
from zcs_exporter.mailreport.view import read_day
from zcs_exporter.syslog import SyslogReader

DAY = "2024-03-02"
BEGIN = datetime(2024, 3, 2).astimezone()  # the day is that of the clock on the wall
# The total of messages deferred has the number of deferrals behind it, that of rejections a percentage.
TOTAL = re.compile(r"^ +(\d+) +([a-z/ ]+?)(?:  \((\d+) +deferrals\)| \(\d+%\))?$", re.MULTILINE)
NAME = re.compile(r"^ +(\d+)   (\S+)$", re.MULTILINE)
HOUR = re.compile(r"^ +(\d\d)00-\d\d00 +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) *$", re.MULTILINE)


class Log:
    """Lines of one host's Postfix on one day, in the form that ZCS writes them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[tuple[datetime, str]] = []
        self._id = 0x3F2A81C0000

    def write(self, at: datetime, program: str, message: str) -> None:
        self.lines.append((at, f"{at.isoformat()} mail {program}[4711]: {message}\n"))

    def text(self) -> str:
        return "".join(line for _, line in sorted(self.lines, key=lambda each: each[0]))

    def queue_id(self) -> str:
        self._id += self.random.randrange(1, 99)
        return f"{self._id:X}"

    def moment(self) -> datetime:
        return BEGIN + timedelta(seconds=self.random.randrange(86400 - 600))

    def message(self, *, filtered: bool) -> None:
        choose = self.random.choice
        at, queue_id = self.moment(), self.queue_id()
        sender = choose(["x@example.net", "y@example.org", "Z@Example.NET", ""])
        size = self.random.randrange(300, 900)
        client = choose(["host.example.net[198.51.100.7]", "unknown[203.0.113.5]"])
        self.write(at, "postfix/smtpd", f"{queue_id}: client={client}")
        self.write(at, "postfix/cleanup", f"{queue_id}: message-id=<{queue_id}@example.net>")
        recipients = self.random.sample([f"user{number}@example.com" for number in range(9)], choose([1, 1, 3]))
        queued = f"from=<{sender}>, size={size}, nrcpt={len(recipients)} (queue active)"
        self.write(at, "postfix/qmgr", f"{queue_id}: {queued}")
        if filtered:
            back = self.queue_id()
            self.write(at, "postfix/amavisd/smtpd", f"{back}: client=localhost[127.0.0.1]")
            self.write(at, "postfix/qmgr", f"{back}: {queued}")
            for recipient in recipients:
                hop = f"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as {back}"
                self.delivery(at, "postfix/smtp", queue_id, recipient, "127.0.0.1[127.0.0.1]:10024", "sent", hop)
            self.write(at, "postfix/qmgr", f"{queue_id}: removed")
            queue_id = back
        for recipient in recipients:
            self.attempts(at, queue_id, recipient)
        self.write(at + timedelta(seconds=400), "postfix/qmgr", f"{queue_id}: removed")

    def attempts(self, at: datetime, queue_id: str, recipient: str) -> None:
        store = "mail.example.com[10.0.0.10]:7025"
        outcome = self.random.random()
        if outcome < 0.1:
            text = "host mx.example.com[192.0.2.1] said: 550 5.1.1 User unknown"
            self.delivery(at, "postfix/smtp", queue_id, recipient, "mx.example.com[192.0.2.1]:25", "bounced", text)
            return
        if outcome < 0.3:
            text = "connect to mail.example.com[10.0.0.10]:7025: Connection refused"
            self.delivery(at, "postfix/lmtp", queue_id, recipient, "none", "deferred", text)
            at += timedelta(seconds=300)
        if outcome > 0.95:
            self.delivery(at, "postfix/local", queue_id, recipient, "local", "sent", "forwarded as 3F2A81C0E5D")
        else:
            self.delivery(at, "postfix/lmtp", queue_id, recipient, store, "sent", "250 2.1.5 Delivery OK")

    def delivery(
        self, at: datetime, program: str, queue_id: str, recipient: str, relay: str, status: str, text: str
    ) -> None:
        begin = f"{queue_id}: to=<{recipient}>, relay={relay}, delay=0.25, delays=0.01/0/0.05/0.19, dsn=2.0.0"
        self.write(at, program, f"{begin}, status={status} ({text})")

    def rejection(self) -> None:
        word = self.random.choice(["reject", "reject", "reject", "hold", "discard"])
        reply = self.random.choice(
            [
                "554 5.7.1 <z@x.test>: Relay access denied",
                "450 4.7.1 Client host rejected: cannot find your hostname, [203.0.113.5]",
                "554 5.7.1 Service unavailable; Client host [203.0.113.5] blocked using zen.example.org",
            ]
        )
        end = "from=<y@example.org> to=<z@x.test> proto=ESMTP helo=<h>"
        begin = f"NOQUEUE: {word}: RCPT from unknown[203.0.113.5]: "
        text = reply if word == "reject" else "<unknown[203.0.113.5]>: Client host triggers an action"
        self.write(self.moment(), "postfix/smtpd", f"{begin}{text}; {end}")

    def warning(self) -> None:
        text = "hostname h.example.net does not resolve to address 203.0.113.5: Name or service not known"
        self.write(self.moment(), "postfix/smtpd", f"warning: {text}")


def made(seed: int, *, filtered: bool) -> str:
    log = Log(seed)
    for _ in range(300):
        log.message(filtered=filtered)
    for _ in range(80):
        log.rejection()
    for _ in range(10):
        log.warning()
    return log.text()


def ours(text: str, root: Path) -> dict[str, Any]:
    """Return our report in JSON form."""
    clock = ManualClock((BEGIN + timedelta(hours=24)).timestamp())
    collector = MailflowCollector(MailflowConfig(), FakeHost(root), clock.clock)
    reader = SyslogReader(collector.subscriptions(), None, 0, clock.clock)
    reader.feed(LogBlock("/var/log/zimbra.log", text.encode(), 0))
    collector.counted()
    day = read_day({key: row for key, row in collector.changes().items() if row is not None}, DAY)
    assert day is not None
    found: dict[str, Any] = json.loads(render_json(day, "mail.example.com", Limits()))
    return found


class Theirs:
    """What pflogsumm makes of a log."""

    def __init__(self, text: str, file: Path) -> None:
        file.write_text(text)
        command = ["pflogsumm", "--ignore-case", "--no-no-msg-size", str(file)]
        self.text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        head, _, rest = self.text.partition("Per-Hour Traffic Summary")
        self.totals = dict(_totals(head))
        self.hours = [[int(number) for number in row[1:]] for row in HOUR.findall(rest)]

    def names(self, title: str) -> dict[str, int]:
        """Return a list of names by count."""
        part = self.text.partition(f"{title}\n---")[2].partition("\n\n")[0]
        return {name.replace("from=<>", "<>"): int(count) for count, name in NAME.findall(part)}


def _totals(head: str) -> Iterator[tuple[str, int]]:
    for number, name, deferrals in TOTAL.findall(head):
        yield name, int(number)
        if deferrals:
            yield "deferrals", int(deferrals)


@pytest.fixture
def compared(tmp_path: Path) -> Callable[[str], tuple[dict[str, Any], Theirs]]:
    need("pflogsumm", "pflogsumm")
    return lambda text: (ours(text, tmp_path), Theirs(text, tmp_path / "log"))


SAME = ("received", "forwarded", "deferred", "deferrals", "bounced", "rejected", "held", "discarded")


@pytest.mark.parametrize("seed", range(5))
def test_where_nothing_filters_all_is_the_same(
    compared: Callable[[str], tuple[dict[str, Any], Theirs]], seed: int
) -> None:
    report, peer = compared(made(seed, filtered=False))
    totals = report["totals"]

    assert {name: totals[name] for name in (*SAME, "delivered")} == {
        name: peer.totals[name] for name in (*SAME, "delivered")
    }
    assert totals["bytes_received"] == peer.totals["bytes received"]
    assert totals["bytes_delivered"] == peer.totals["bytes delivered"]
    assert report["senders"]["distinct"] == peer.totals["senders"]
    assert report["recipients"]["distinct"] == peer.totals["recipients"]
    assert report["recipient_domains"]["distinct"] == peer.totals["recipient hosts/domains"]
    for kind, title in (("senders", "Senders"), ("recipients", "Recipients")):
        for order, what in (("by_count", "count"), ("by_size", "size")):
            counted = {name["name"]: name["count" if what == "count" else "bytes"] for name in report[kind][order]}
            assert counted == peer.names(f"{title} by message {what}")


def hours(report: dict[str, Any], *names: str) -> list[list[int]]:
    return [[hour[name] for name in names] for hour in report["hours"]]


@pytest.mark.parametrize("filtered", [False, True])
def test_the_hours_are_the_same_but_that_pflogsumm_takes_what_is_held_or_discarded_for_rejected(
    compared: Callable[[str], tuple[dict[str, Any], Theirs]], filtered: bool
) -> None:
    report, peer = compared(made(7, filtered=filtered))

    assert len(peer.hours) == 24
    assert [row[2:4] for row in peer.hours] == hours(report, "deferrals", "bounced")
    assert [row[0] for row in peer.hours] == [row[0] for row in hours(report, "received")]
    assert [row[4] for row in peer.hours] == [sum(row) for row in hours(report, "rejected", "held", "discarded")]
    if not filtered:
        assert [row[1] for row in peer.hours] == [row[0] for row in hours(report, "delivered")]


@pytest.mark.parametrize("seed", range(5))
def test_with_amavis_pflogsumm_counts_each_hop_to_it_as_a_delivery_and_we_do_not(
    compared: Callable[[str], tuple[dict[str, Any], Theirs]], seed: int
) -> None:
    text = made(seed, filtered=True)
    report, peer = compared(text)
    totals = report["totals"]
    hops = text.count("relay=127.0.0.1[127.0.0.1]:10024")

    assert hops > 300
    assert {name: totals[name] for name in SAME} == {name: peer.totals[name] for name in SAME}
    assert totals["delivered"] + hops == peer.totals["delivered"]


def test_addresses_without_a_domain_are_no_domain_of_ours(
    compared: Callable[[str], tuple[dict[str, Any], Theirs]],
) -> None:
    report, peer = compared(made(3, filtered=False))

    # pflogsumm files a bounce under its client; we list clients apart.
    assert report["sender_domains"]["distinct"] == 2
    assert peer.totals["sending hosts/domains"] > 2
    assert {host["name"] for host in report["hosts"]["by_count"]} == {
        "host.example.net[198.51.100.7]",
        "unknown[203.0.113.5]",
    }
