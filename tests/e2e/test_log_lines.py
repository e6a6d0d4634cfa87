"""Every line of every log counts once: through rotation, compression, lines that come byte by byte, and kill -9."""

import gzip
import json
import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from e2e.lab import HOME, SYSLOG, Exporter, Zcs, make_directories, wait_for, write
from e2e.product import failure, now, settings, stamp

TABLE = HOME / "zmstat/mailboxd.csv"
CLAMD = HOME / "log/clamd.log"
MAIN_CF = HOME / "common/conf/main.cf"
HEADING = b"timestamp,lmtp_rcvd_msgs,lmtp_rcvd_bytes\n"
KILLS = 6

Series = tuple[str, str]
Made = tuple[list[bytes], Counter[Series]]
"""Lines, and what they add to which counter: its name and the one of its labels that matters."""


class Log:
    """A log and its writer, which holds it open as its program does."""

    def __init__(self, place: Path, make: Callable[[int], Made], archive: Callable[[int], Path], pick: random.Random):
        self.place = place
        self._make, self._archive, self._pick = make, archive, pick
        self._number = self._rotations = 0
        self._plain: Path | None = None
        self._descriptor = self._open()

    def _open(self) -> int:
        return os.open(self.place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write_some(self) -> Counter[Series]:
        """Write a few lines, at once, in two pieces or byte by byte; return what they come to."""
        lines, total = [], Counter[Series]()
        for _ in range(self._pick.randrange(1, 12)):
            self._number += 1
            made, adds = self._make(self._number)
            lines += made
            total += adds
        data = b"".join(line + b"\n" for line in lines)
        cut = self._pick.randrange(len(data))
        way = self._pick.random()
        pieces = [data] if way < 0.6 else [data[:cut], data[cut:]]
        if way > 0.9:
            pieces = [
                data[:cut],
                *(data[at : at + 1] for at in range(cut, min(cut + 150, len(data)))),
                data[cut + 150 :],
            ]
        for piece in pieces:
            os.write(self._descriptor, piece)
        return total

    def rotate(self) -> Counter[Series]:
        """Rotate as this log is rotated; return what lines came to that were written meanwhile."""
        if self.place == CLAMD:
            return self._copy_and_truncate()
        return self._rename(HEADING if self.place == TABLE else b"")

    def _next(self) -> Path:
        self._rotations += 1
        if self._plain is not None:
            with self._plain.open("rb") as plain, gzip.open(f"{self._plain}.gz", "wb") as packed:
                shutil.copyfileobj(plain, packed)
            shutil.copystat(self._plain, f"{self._plain}.gz")  # as gzip and logrotate do
            self._plain.unlink()
        self._plain = self._archive(self._rotations)
        self._plain.parent.mkdir(exist_ok=True)
        return self._plain

    def _rename(self, heading: bytes = b"") -> Counter[Series]:
        """Rotate as log4j, zmstat and rsyslog do: what was renamed gets some more lines, and is compressed later."""
        self.place.rename(self._next())
        late = self.write_some()
        os.close(self._descriptor)
        self._descriptor = self._open()
        os.write(self._descriptor, heading)
        return late

    def _copy_and_truncate(self) -> Counter[Series]:
        """Rotate as logrotate does with copytruncate, while the writer happens to be silent."""
        shutil.copyfile(self.place, self._next())
        os.truncate(self.place, 0)
        return Counter()

    def close(self) -> None:
        os.close(self._descriptor)


def _audit(at: int) -> Callable[[int], Made]:
    def make(number: int) -> Made:
        line = failure(at, f"198.51.100.{number % 250}", f"user{number}@example.com").encode()
        return [line], Counter({("zcs_auth_failures_total", "bad_password"): 1})

    return make


def _mailbox(at: int) -> Callable[[int], Made]:
    def make(number: int) -> Made:
        head = (
            f"{stamp(at)},402 {{}} [qtp1068934215-7:https://mail.example.com:443/service/soap/{number}] [mid={number};]"
        )
        trace = [b"java.io.IOException: read past EOF", b"\tat com.zimbra.cs.Index.open(Index.java:7)"]
        lines = [f"{head.format('ERROR')} index - no luck {number}".encode(), *trace]
        lines.append(f"{head.format('INFO ')} soap - NoOpRequest elapsed={number}".encode())
        return lines, Counter({("zcs_log_events_total", "error"): 1})

    return make


def _mail(at: int) -> Callable[[int], Made]:
    head = f"{stamp(at, '%b %e %H:%M:%S')} mail postfix/"
    end = "delay=0.2, delays=0/0/0.1/0.1, dsn=2.1.5, status=sent (250 2.1.5 Delivery OK)"

    def make(number: int) -> Made:
        queue_id = f"{0x3F2A81C0000 + number:X}"
        lines = [
            f"smtpd[4711]: {queue_id}: client=mx.example.net[198.51.100.7]",
            f"qmgr[4001]: {queue_id}: from=<a{number}@example.net>, size=1000, nrcpt=1 (queue active)",
            f"lmtp[4720]: {queue_id}: to=<u{number}@example.com>, relay=mail.example.com[10.0.0.10]:7025, {end}",
            f"qmgr[4001]: {queue_id}: removed",
        ]
        adds = {("zcs_mail_messages_total", event): 1 for event in ("received", "delivered")}
        return [(head + line).encode() for line in lines], Counter(adds)

    return make


def _table(at: int) -> Callable[[int], Made]:
    def make(number: int) -> Made:
        row = f"{stamp(at + number, '%m/%d/%Y %H:%M:%S')},{number % 7},{number}".encode()
        name = "zcs_mailboxd_lmtp_received_{}_total"
        return [row], Counter({(name.format("messages"), ""): number % 7, (name.format("bytes"), ""): number})

    return make


def _clamd(at: int) -> Callable[[int], Made]:
    def make(number: int) -> Made:
        line = f"{stamp(at, '%a %b %e %H:%M:%S %Y')} -> ERROR: reload db failed: Malformed database {number}"
        return [line.encode()], Counter({("zcs_log_events_total", "clamd"): 1})

    return make


@pytest.fixture
def logs(zcs: Zcs) -> Iterator[list[Log]]:
    pick = random.Random(20)
    at = now()
    zcs.set_services("mailbox", "mta", "antivirus")
    make_directories("common/conf", "zmstat")
    stand_in = [] if MAIN_CF.exists() else [MAIN_CF]  # beside the lab's own Postfix, where that runs
    for place in stand_in:
        write(place, "")
    write(TABLE, HEADING.decode())
    days = [(date.today() - timedelta(days)).isoformat() for days in range(99, 0, -1)]
    made: list[Path] = []

    def beside(place: Path) -> Callable[[int], Path]:
        def archive(number: int) -> Path:
            made.append(place.with_name(f"{place.name}.{days[number]}"))
            return made[-1]

        return archive

    def below(number: int) -> Path:
        made.append(TABLE.parent / (date.today() + timedelta(number)).isoformat() / TABLE.name)
        return made[-1]

    found = [
        Log(zcs.audit_log, _audit(at), beside(zcs.audit_log), pick),
        Log(zcs.mailbox_log, _mailbox(at), beside(zcs.mailbox_log), pick),
        Log(SYSLOG, _mail(at), beside(SYSLOG), pick),
        Log(TABLE, _table(at), below, pick),
        Log(CLAMD, _clamd(at), beside(CLAMD), pick),
    ]
    yield found
    for log in found:
        log.close()
    for place in (*made, *(Path(f"{each}.gz") for each in made), TABLE, CLAMD, *stand_in):
        place.unlink(missing_ok=True)


def _counted(daemon: Exporter) -> Counter[Series]:
    found: Counter[Series] = Counter()
    for (name, pairs), value in daemon.metrics().items():
        labels = dict(pairs)
        if name == "zcs_auth_failures_total":
            found[name, labels["reason"]] += int(value)
        elif name == "zcs_log_events_total":
            found[name, "clamd" if labels["log"] == "clamd.log" else labels["level"]] += int(value)
        elif name in ("zcs_mail_messages_total", "zcs_mailboxd_lmtp_received_messages_total"):
            found[name, labels.get("event", "")] += int(value)
        elif name == "zcs_mailboxd_lmtp_received_bytes_total":
            found[name, ""] += int(value)
    return found


def test_every_line_counts_once_through_rotation_and_kill_9(logs: list[Log], exporter: Callable[..., Exporter]) -> None:
    daemon = exporter(settings())
    daemon.start()
    pick = random.Random(9)
    written: Counter[Series] = Counter()
    over = threading.Event()

    def live() -> None:
        while not over.is_set():
            for log in logs:
                written.update(log.write_some())
                if pick.random() < 0.04:
                    written.update(log.rotate())
            time.sleep(pick.random() * 0.03)

    writer = threading.Thread(target=live)
    writer.start()
    try:
        for number in range(KILLS):
            time.sleep(0.3 + 2 * pick.random())
            daemon.kill9()
            time.sleep(pick.random())
            daemon.start(wait=number % 2 == 0)
    finally:
        over.set()
        writer.join()
    # A file that was renamed is left once its successor has lines.
    for log in logs:
        written.update(log.write_some())
    daemon.wait_ready()

    def equal() -> bool:
        counted = _counted(daemon)
        return all(counted[series] == number for series, number in written.items())

    wait_for(equal, 40, lambda: f"{written}, counted {_counted(daemon)}; {daemon.log()[-3000:]}", pause=0.5)
    time.sleep(2)
    assert equal(), f"{written}, counted {_counted(daemon)}"

    told = json.loads(daemon.command("report", "--date", stamp(now(), "%Y-%m-%d"), "--format", "json").stdout)
    totals = told["totals"]
    for event in ("received", "delivered"):
        assert totals[event] == written["zcs_mail_messages_total", event]
