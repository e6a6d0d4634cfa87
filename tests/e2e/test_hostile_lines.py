"""What attackers write into logs reaches no label, terminal, page or trap as it stands, and stops no reader."""

import http.client
import json
import subprocess
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.lab import (
    HOME,
    SYSLOG,
    Exporter,
    Postfix,
    Zcs,
    append,
    free_port,
    make_directories,
    scratch,
    wait_for,
    write,
)
from e2e.product import USER_SECRET, failure, now, settings, stamp

MARK = "zq7mark"
"""Stands in all that is hostile, so that a label which took any of it is found."""

EVIL = (
    f"\x1b[31m{MARK}\x1b]0;owned\x07\x9b2J",
    f"{MARK}\u202egnp.exe\u2066\u200f",
    f"{MARK}<script>alert(1)</script>'\"><img src=x onerror=alert(1)>",
    f"{MARK}$(touch /tmp/{MARK})`touch /tmp/{MARK}`;touch${{IFS}}/tmp/{MARK}|",
    f"{MARK}\x00\x01\x7f{{}}%s%n",
    f"{MARK}\u2028\u2029\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"),
    f"{MARK} zcs_evil_total 1\r# TYPE x counter\r",
    f"{MARK}\\n\\x1b[0m\\u202e&#27;&lt;",
)
BROKEN = b"\xff\xfe\xc3(\xa0\xa1\xf0\x28\x8c\xbc" + MARK.encode()
HUGE = MARK.encode() * 150_000
LOGS = ("nginx.log", "clamd.log", "freshclam.log", "mysql_error.log", "gc.log", "zmmailboxd.out", "sync.log", "ews.log")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _lines(at: int, evil: bytes) -> Iterator[tuple[Path, bytes]]:
    """Yield places and lines that hold ``evil`` wherever a client can put something."""
    head = f"{stamp(at, '%b %e %H:%M:%S')} mail ".encode()
    java = f"{stamp(at)},402 ".encode()
    refused = b"authentication failed for [%b], invalid password;" % evil
    login = b"security - cmd=Auth; account=%b; protocol=soap; error=%b" % (evil, refused)
    imitated = (
        b"postfix/smtpd[1]: warning: unknown[192.0.2.1]: SASL LOGIN authentication failed: x, sasl_username=%b" % evil
    )
    for _ in range(12):
        yield HOME / "log/audit.log", _bytes(failure(at, "203.0.113.9", evil.decode("utf-8", "surrogateescape")))
        yield HOME / "log/audit.log", java + b"WARN  [%b] [oip=203.0.113.9, %b;ua=%b;] %b" % (evil, evil, evil, login)
        yield SYSLOG, head + imitated
    yield SYSLOG, head + b"postfix/cleanup[12]: 3F2A: message-id=<%b%b>" % (head, imitated)
    yield SYSLOG, head + b"%b[1]: %b" % (evil, imitated)
    yield SYSLOG, b"%b %b" % (evil, imitated)
    yield SYSLOG, head + b"postfix/smtpd[9]: NOQUEUE: reject: RCPT from %b[192.0.2.9]: 554 5.7.1 <%b>: Relay access denied; from=<%b> to=<%b> proto=ESMTP helo=<%b>" % ((evil,) * 5)  # fmt: skip  # noqa: E501
    yield SYSLOG, head + b"postfix/smtpd[9]: 3F2A81C0E5D: client=%b[192.0.2.9], sasl_username=%b" % (evil, evil)
    yield SYSLOG, head + b"postfix/qmgr[9]: 3F2A81C0E5D: from=<%b>, size=9, nrcpt=1 (queue active)" % evil
    yield SYSLOG, head + b"postfix/smtp[9]: 3F2A81C0E5D: to=<%b>, relay=%b[192.0.2.9]:25, delay=1, delays=0/0/0/1, dsn=5.0.0, status=bounced (host said: %b)" % ((evil,) * 3)  # fmt: skip  # noqa: E501
    yield SYSLOG, head + b"zmconfigd[5]: Service status change: %b mailbox changed from running to stopped" % evil
    yield SYSLOG, head + b"slapd[5]: mdb_add: txn_commit failed : MDB_MAP_FULL: %b" % evil
    for level in (b"ERROR", b"FATAL", b"WARN "):
        yield HOME / "log/mailbox.log", java + level + b" [%b] [name=%b;oip=%b;cid=%b;] %b - %b" % ((evil,) * 6)
        yield HOME / "log/mailbox.log", java + level + b" [x] [name=%b;] index - %b\nCaused by: %b: %b" % ((evil,) * 4)
    for name in LOGS:
        yield HOME / "log" / name, evil
    yield (
        HOME / "log/nginx.log",
        stamp(at, "%Y/%m/%d %H:%M:%S").encode() + b" [error] 1#0: *8 %b, client: %b" % (evil, evil),
    )
    yield HOME / "log/clamd.log", stamp(at, "%a %b %e %H:%M:%S %Y").encode() + b" -> ERROR: %b" % evil
    yield HOME / "log/mysql_error.log", stamp(at).encode() + b" 0 [ERROR] InnoDB: Database page corruption %b" % evil
    yield HOME / "zmstat/mailboxd.csv", b"%b,%b,%b" % (evil, evil, evil)
    yield HOME / "zmstat/soap.csv", stamp(at, "%m/%d/%Y %H:%M:%S").encode() + b",%b,1,1" % evil


@pytest.fixture
def heard(exporter: Callable[..., Exporter]) -> Iterator[tuple[Exporter, Path]]:
    """A daemon, not yet started, and what `trap listen` prints of its notifications."""
    port = free_port()
    daemon = exporter(settings("ZcsAuthAccountFailures", "ZcsAuthIpFailures"))
    secrets = daemon.secrets("nms.secret", USER_SECRET)
    target = {"name": "nms", "host": "127.0.0.1", "port": port, "secrets": secrets}
    daemon.config["notify"] = {"heartbeat": "0s", "snmp": [target]}
    daemon.config["privacy"] = {"accounts": "always", "addresses": "always"}
    daemon.configure()
    printed = scratch("listen") / "printed"
    command = [Exporter.program, "trap", "listen", "--port", str(port), "--secrets", secrets]
    with printed.open("w") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"listening" in process.stderr.readline()
        yield daemon, printed
        process.terminate()


@pytest.fixture
def logs(zcs: Zcs, postfix: Postfix) -> Iterator[None]:
    zcs.set_services("mailbox", "mta", "proxy", "antivirus")
    make_directories("zmstat")
    places = [
        *(HOME / "log" / name for name in LOGS),
        *(HOME / "zmstat" / name for name in ("mailboxd.csv", "soap.csv")),
    ]
    for place in places:
        write(place, "timestamp,command,exec_count,exec_ms_avg\n" if place.name == "soap.csv" else "")
    yield
    for place in places:
        place.unlink()


def test_nothing_hostile_gets_through_and_every_reader_goes_on(
    zcs: Zcs, logs: None, heard: tuple[Exporter, Path]
) -> None:
    daemon, printed = heard
    daemon.start()
    at = now()
    token = Path(daemon.config["state"]["directory"], "token").read_text().strip()
    stream = _stream(daemon, token)
    texts = [*map(_bytes, EVIL), BROKEN, HUGE]
    for evil in texts:
        for place, line in _lines(at, evil):
            append(place, line + b"\n")
    plain = 40
    for _ in range(plain):
        zcs.append_audit(failure(at, "203.0.113.77", "zq7plain@example.com"))

    def alarms() -> Any:
        found = {each["alert"]: each for each in daemon.alerts()}
        return {"ZcsAuthAccountFailures", "ZcsAuthIpFailures"} <= found.keys() and found

    wait_for(alarms, 30, "the alarms about logins")
    wait_for(lambda: daemon.value("zcs_exporter_log_lag_bytes", log="audit.log") == 0, 20, "the logs to be read")
    wait_for(lambda: "ZcsAuthAccountFailures" in printed.read_text(), 20, "the notification to arrive")

    body = daemon.get("/metrics")[1]
    assert MARK not in body.lower()
    assert "zcs_evil" not in body
    daemon.metrics()  # Prometheus's own parser reads it all
    opened = {"Authorization": f"Bearer {token}"}
    for path in ("/api/v1/snapshot", "/api/v1/alerts"):
        _assert_harmless(json.loads(daemon.get(path, opened)[1]))
    _assert_page(daemon.get("/", opened))
    told = [line for line in _read(stream) if line.startswith("data: ")]
    assert any(MARK in line for line in told)  # it is told, only not as it stands
    for line in told:
        assert line.isascii()
        _assert_harmless(json.loads(line[6:]))
    for line in Path(daemon.config["state"]["directory"], "events.jsonl").read_text("ascii").splitlines():
        _assert_harmless(json.loads(line))
    for shown in (printed.read_text(), daemon.log(), *_terminals(daemon)):
        _assert_text(shown)
    assert not Path(f"/tmp/{MARK}").exists()
    assert "bug" not in daemon.log()
    readable = {name: value for (name, _), value in daemon.metrics().items() if name == "zcs_exporter_log_readable"}
    assert set(readable.values()) == {1}


def _stream(daemon: Exporter, token: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(daemon.address, timeout=3)
    connection.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {token}", "Last-Event-ID": "0"})
    answer = connection.getresponse()
    assert answer.status == 200
    return answer


def _read(stream: http.client.HTTPResponse) -> list[str]:
    """Return the lines that have come until now."""
    lines = []
    try:
        while line := stream.readline():
            lines.append(line.decode("utf-8").rstrip("\n"))
    except TimeoutError:
        return lines
    raise AssertionError("the stream ended")


def _terminals(daemon: Exporter) -> Iterator[str]:
    for command in (["alerts"], ["doctor"], ["report", "--date", "today"], ["check"]):
        done = daemon.command(*command, check=False)
        assert "Traceback" not in done.stderr
        yield done.stdout
        yield done.stderr


def _acted_on(text: str) -> set[str]:
    """Return the characters that a terminal or a browser acts on, or that have no meaning."""
    return {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")} - {"\n"}


def _assert_text(text: str) -> None:
    assert not _acted_on(text), f"{_acted_on(text)} in {text[:2000]!r}"
    assert max(map(len, text.split("\n"))) < 10_000


def _assert_harmless(data: Any) -> None:
    """No text in JSON is long or holds what a terminal or a browser would act on."""
    if isinstance(data, dict):
        for name, value in data.items():
            _assert_harmless(name)
            _assert_harmless(value)
    elif isinstance(data, list):
        for each in data:
            _assert_harmless(each)
    elif isinstance(data, str):
        assert not _acted_on(data), repr(data)
        assert len(data) < 2000, data


def _assert_page(answer: tuple[int, str]) -> None:
    status, body = answer
    assert status == 200
    assert not _acted_on(body)
    assert len(body) < 1 << 20
    assert "<script>alert" not in body
    assert "<img src=x" not in body
