"""What the made-up host shows is what a true one would: the collectors' own parsers read it."""

import asyncio
import io
import socket
from collections import Counter
from pathlib import Path

import pymysql
import pytest
from fakes import ManualClock

from collectors.auth.nginx import NEEDLE
from collectors.auth.smtp import Told, parse_saslauthd, parse_smtpd
from collectors.formats.audit_log import Kind, parse_audit_line, parse_context, parse_login
from collectors.formats.hsperfdata import parse_hsperfdata
from collectors.formats.queue_file import parse_queue_file
from collectors.jvm.state import make_plan, state_from_hsperfdata
from collectors.mailboxd.collector import MailboxdCollector
from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.assembly import build_collectors
from zcs_exporter.assets import asset
from zcs_exporter.config import load_config
from zcs_exporter.contract import (
    Finding,
    LogBlock,
    LogFed,
    LogSubscription,
    Record,
    Sample,
    Shortfall,
    SyslogSubscription,
)
from zcs_exporter.demo.database import Database
from zcs_exporter.demo.files import Tree
from zcs_exporter.demo.host import DemoHost
from zcs_exporter.demo.jvm import Jvm, build_perf_file
from zcs_exporter.demo.logs import AUDIT, MAILBOX, STATS, SYSLOG, Logs
from zcs_exporter.demo.mail import Spool, queue_file
from zcs_exporter.demo.screen import Screen
from zcs_exporter.demo.settings import free_port, write_secrets, write_settings
from zcs_exporter.demo.story import INCIDENTS
from zcs_exporter.demo.world import TICK, World
from zcs_exporter.demo.zmstat import INTERVAL
from zcs_exporter.hostio import MysqlLogin
from zcs_exporter.syslog import SyslogReader
from zcs_exporter.syslog_prefix import parse_syslog_prefix

LOGIN = MysqlLogin("/opt/zimbra/data/tmp/mysql/mysql.sock", "zimbra", "x")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(str(tmp_path))


def samples(findings: list[Finding]) -> dict[tuple[str, ...], float]:
    found = [finding for finding in findings if isinstance(finding, Sample)]
    return {(sample.metric.name, *sample.labels): sample.value for sample in found}


def test_every_collector_finds_a_healthy_host_and_misses_nothing(tmp_path: Path, manual: ManualClock) -> None:
    root = str(tmp_path / "host")
    world = World(root, manual.clock)
    catalogue = load_catalogue(asset("alerts"))
    write_secrets(str(tmp_path))
    config = load_config(write_settings(str(tmp_path), root, 10741, 10162), catalogue)
    host = DemoHost(root, config.host.zimbra_home, world.volumes, world.database)
    found: list[Finding] = []
    for collector in build_collectors(config, host, manual.clock):
        if isinstance(collector, LogFed):
            collector.subscriptions()
        found += asyncio.run(collector.collect())

    assert [finding for finding in found if isinstance(finding, Shortfall)] == []
    values = samples(found)
    services = {labels[1]: value for labels, value in values.items() if labels[0] == "zcs_service_up"}
    assert len(services) > 10
    assert set(services.values()) == {1.0}
    assert values["mysql_up",] == 1
    assert values["zcs_mysqld_instances", "/opt/zimbra/db/data"] == 1
    assert values["zcs_jvm_up", "mailboxd"] == values["zcs_jvm_hsperfdata_available", "mailboxd"] == 1
    assert values["zcs_filesystem_used_ratio", "/opt/zimbra/store"] == pytest.approx(0.61, abs=0.001)
    assert values["zcs_filesystem_role", "/opt/zimbra/store", "store"] == 1
    assert values["zcs_info", "10.1.5", "", "foss", "mail.example.com"] == 1


class Host:
    """A made-up host, and the collectors that read its logs."""

    def __init__(self, directory: Path, manual: ManualClock, *names: str) -> None:
        root = str(directory / "host")
        self.manual = manual
        self.world = World(root, manual.clock)
        write_secrets(str(directory))
        config = load_config(write_settings(str(directory), root, 10741, 10162), load_catalogue(asset("alerts")))
        host = DemoHost(root, config.host.zimbra_home, self.world.volumes, self.world.database)
        self.collectors = [each for each in build_collectors(config, host, manual.clock) if each.name in names]
        assert len(self.collectors) == len(names)
        self.begun: dict[str, int] = {}
        self.wishes = [wish for each in self.collectors if isinstance(each, LogFed) for wish in each.subscriptions()]
        self.base = Path(root)
        self.feed()

    def live(self, seconds: float) -> None:
        for _ in range(int(seconds / TICK)):
            self.manual.advance(TICK)
            self.world.live_on()

    def feed(self) -> None:
        """Give the collectors what was written since the last time."""
        for path in {wish.path for wish in self.wishes}:
            file = self.base / path.lstrip("/")
            data = file.read_bytes() if file.exists() else b""
            begun, self.begun[path] = self.begun.get(path, len(data)), len(data)
            block = LogBlock(path, data[begun:], begun)
            readers = [wish for wish in self.wishes if wish.path == path and isinstance(wish, SyslogSubscription)]
            for wish in self.wishes:
                if wish.path == path and isinstance(wish, LogSubscription):
                    wish.feed(block)
            if readers:
                SyslogReader(readers, (b"mail", b"mail.example.com"), 0, self.manual.clock).feed(block)

    def findings(self) -> list[Finding]:
        self.feed()
        return [finding for each in self.collectors for finding in asyncio.run(each.collect())]


def test_the_mail_log_tells_each_message_once_and_leaves_no_line_that_is_not_understood(
    tmp_path: Path, manual: ManualClock
) -> None:
    host = Host(tmp_path, manual, "mailflow")
    host.live(240)
    values = samples(host.findings())

    def event(name: str) -> float:
        return values["zcs_mail_messages_total", name]

    # One in half a second; a notice of a bounce is delivered, but was received from nobody.
    assert event("received") == 480
    gone = event("delivered") + event("discarded")
    assert 0 <= event("received") - gone < 20
    assert all(event(name) > 0 for name in ("deferred", "bounced", "rejected", "discarded"))
    assert all(values["zcs_mail_content_verdicts_total", name] > 0 for name in ("clean", "spam", "infected"))
    assert all(values["zcs_mail_rejects_total", cause] > 0 for cause in ("rbl", "relay", "unknown_user"))
    assert values["zcs_mail_rejects_total", "other"] == values["zcs_mail_unparsed_lines_total",] == 0
    assert values["zcs_mail_lmtp_results_total", "delivered"] > 300
    assert values["zcs_mail_dkim_total", "signed"] > 50


def test_no_user_of_the_host_floods(tmp_path: Path, manual: ManualClock) -> None:
    host = Host(tmp_path, manual, "mailflow")
    host.live(660)
    # A tenth of what is an alarm, in ten minutes and in the hour that goes on like them.
    assert 0 < samples(host.findings())["zcs_mail_flood_recipients_max",] < 40


def test_the_tables_of_zmstat_are_summed_up_with_all_their_columns(tmp_path: Path, manual: ManualClock) -> None:
    host = Host(tmp_path, manual, "mailboxd")
    host.live(60)
    findings = host.findings()
    values = samples(findings)
    assert [finding for finding in findings if isinstance(finding, Shortfall)] == []
    assert {name for name, *_ in values if name == "zcs_mailboxd_stat_rows_skipped_total"}
    assert not any(value for (name, *_), value in values.items() if name == "zcs_mailboxd_stat_rows_skipped_total")
    assert values["zcs_mailboxd_stat_rows_total", "mailboxd.csv"] == 60 / INTERVAL
    assert values["zcs_mailboxd_lmtp_delivered_messages_total",] > 50
    assert values["zcs_mailboxd_threads_used_ratio", "http"] < 0.2
    missing = {metric.name for metric in MailboxdCollector.metrics} - {name for name, *_ in values}
    # slapd's table, the one of zmstat's root helper, and what is only told while LMTP's threads are used up.
    rest = {"zcs_mailboxd_open_files", "zcs_mailboxd_lmtp_queue_growth_messages"}
    assert {name for name in missing if not name.startswith("zcs_slapd_")} == rest


def test_a_struggling_mailboxd_is_slow_and_short_of_threads(tmp_path: Path, manual: ManualClock) -> None:
    host = Host(tmp_path, manual, "mailboxd", "logs")
    host.world.mailboxd.thrashing = True
    host.live(6)
    values = samples(host.findings())
    assert values["zcs_mailboxd_threads_used_ratio", "http"] > 0.9
    assert values["zcs_log_signals_total", "slow_soap"] > 0
    assert values["zcs_log_signals_total", "gc_full_collection"] > 0


def test_the_logs_show_an_ordinary_host_with_its_complaints(tmp_path: Path, manual: ManualClock) -> None:
    host = Host(tmp_path, manual, "logs")
    host.live(90)
    values = samples(host.findings())
    events = {labels[1:]: value for labels, value in values.items() if labels[0] == "zcs_log_events_total" and value}
    assert set(events) == {
        ("mailbox.log", "warn", "datasource"),
        ("mailbox.log", "warn", "index"),
        ("mailbox.log", "error", "calendar"),
    }
    assert not any(value for labels, value in values.items() if labels[0] == "zcs_log_signals_total")
    assert values["zcs_log_heartbeat_age_seconds", "zimbra-stats.log"] < 20
    assert values["zcs_service_reported_up", "mailbox"] == 1
    assert values["zcs_log_fatal_recent",] == 0


def test_an_import_that_fails_for_want_of_memory_is_told_and_alarms_nobody(tmp_path: Path, manual: ManualClock) -> None:
    host = Host(tmp_path, manual, "logs")
    host.world.mailboxd.thrashing = True
    host.live(2)
    host.world.end_import()
    found = host.findings()
    assert not host.world.mailboxd.thrashing
    assert [each.grade for each in found if isinstance(each, Record) and each.kind == "out_of_memory"] == ["critical"]
    assert samples(found)["zcs_log_fatal_recent",] == 0


def test_a_minute_of_logs_is_less_than_a_megabyte(tmp_path: Path, manual: ManualClock) -> None:
    host = Host(tmp_path, manual, "logs")
    host.live(60)
    size = sum((host.base / log.lstrip("/")).stat().st_size for log in (SYSLOG, STATS, MAILBOX, AUDIT))
    assert size < 1_000_000


def test_an_hour_of_ordinary_life_neither_piles_up_mail_nor_empties_the_heap(
    tmp_path: Path, manual: ManualClock
) -> None:
    world = World(str(tmp_path), manual.clock)
    for _ in range(1200):
        manual.advance(TICK)
        world.live_on()
    spool = tmp_path / "opt/zimbra/data/postfix/spool"
    queues = Counter(path.relative_to(spool).parts[0] for path in spool.rglob("*") if path.is_file())
    del queues["pid"]
    assert queues["incoming"] + queues["active"] < 10
    assert 6 <= queues["deferred"] < 30
    perf = parse_hsperfdata((tmp_path / f"tmp/hsperfdata_zimbra/{world.mailboxd.pid}").read_bytes())
    state = state_from_hsperfdata(perf, make_plan(perf))
    assert 0.37 < state.pools["old"].used / world.mailboxd.heap < 0.45
    assert state.collections["concurrent"].count > 96


def test_a_perf_file_says_what_was_put_into_it() -> None:
    numbers = {"sun.os.hrt.frequency": 1_000_000_000, "sun.gc.collector.0.invocations": -7}
    content, offsets = build_perf_file(numbers, {"sun.gc.policy.name": "GarbageFirst"})
    perf = parse_hsperfdata(content)
    assert {name: perf.number(name) for name in perf.names} == numbers
    assert perf.layout.numbers == offsets
    assert perf.text("sun.gc.policy.name") == "GarbageFirst"


def test_a_thrashing_jvm_spends_its_time_on_collecting_and_recovers(tree: Tree) -> None:
    jvm = Jvm(tree, 77, 1000.0, 1 << 30, live=0.4, rate=0.3, threads=50, classes=900)

    def state() -> tuple[float, float]:
        perf = parse_hsperfdata(Path(tree.path("/tmp/hsperfdata_zimbra/77")).read_bytes())
        now = state_from_hsperfdata(perf, make_plan(perf))
        assert now.paused is not None
        return now.paused, now.pools["old"].used / (now.old_limit or 1)

    before, _ = state()
    jvm.thrashing = True
    for second in range(4):
        jvm.live_on(2000.0 + second, 1.0)
    paused, old = state()
    assert (paused - before) / 4 > 0.3
    assert old > 0.9
    jvm.thrashing = False
    for second in range(20):
        jvm.live_on(2010.0 + second, 1.0)
    after, old = state()
    assert (after - paused) / 20 < 0.05
    assert old < 0.5


@pytest.mark.parametrize("size", [1, 378, 10_000_000])
def test_a_queue_file_says_what_was_put_into_it(size: int) -> None:
    envelope = parse_queue_file(queue_file("ann@example.com", "x" * 200 + "@example.org", size, 1_709_371_233.5, ""))
    assert (envelope.size, envelope.arrival) == (size, 1_709_371_233)
    assert (envelope.sender, envelope.domain) == ("ann@example.com", "example.org")


def test_the_login_of_a_message_is_its_sender() -> None:
    assert parse_queue_file(queue_file("", "b@example.org", 5, 1.0, "ann@example.com")).sender == "ann@example.com"


def test_a_message_moves_through_the_queues_and_is_gone(tree: Tree, manual: ManualClock) -> None:
    spool = Spool(tree, manual.clock)
    mail = spool.accept("a@example.com", "b@example.org", 400)
    assert mail.queue == "incoming"
    spool.activate(mail)
    assert mail.queue == "active"
    spool.defer(mail)
    assert mail.queue == "deferred"
    assert Path(tree.path(mail.place)).stat().st_mtime > manual.now
    spool.remove(mail)
    assert list(Path(tree.base).rglob(mail.queue_id)) == []


@pytest.mark.parametrize("protocol", ["imap", "pop3", "soap", "zsync"])
def test_audit_lines_are_understood(tree: Tree, manual: ManualClock, protocol: str) -> None:
    logs = Logs(tree, manual.clock, "mail.example.com", "10.0.0.10")
    logs.login(protocol, "ann@example.com", "203.0.113.9")
    logs.login(protocol, "ann@example.com", "203.0.113.9", "invalid password")
    logs.lockout("ann@example.com", "203.0.113.9")
    lines = [parse_audit_line(line) for line in Path(tree.path(AUDIT)).read_bytes().splitlines()]
    logins = [parse_login(line) for line in lines if line is not None]
    assert [login.kind for login in logins] == [Kind.SUCCESS, Kind.FAILURE, Kind.LOCKOUT]
    assert [login.protocol for login in logins[:2]] == [protocol, protocol]
    assert logins[1].reason == "bad_password"
    assert all(line is not None and parse_context(line.context)[b"oip"] == b"203.0.113.9" for line in lines)


def test_smtp_lines_are_understood(tree: Tree, manual: ManualClock) -> None:
    logs = Logs(tree, manual.clock, "mail.example.com", "10.0.0.10")
    logs.smtp_login("ann@example.com", "203.0.113.9", accepted=True, queue_id="3F2A81C0E5D")
    logs.smtp_login("eve@example.com", "203.0.113.9", accepted=False)
    told = []
    for line in Path(tree.path(SYSLOG)).read_bytes().splitlines():
        prefix = parse_syslog_prefix(line)
        assert prefix is not None
        assert prefix.host == b"mail"
        parse = parse_saslauthd if prefix.program == b"saslauthd" else parse_smtpd
        told.append(parse(line[prefix.message :]))
    assert [one.told for one in told] == [Told.ACCEPTED, Told.OTHER, Told.FAILED, Told.SMTP_FAILED]
    assert (told[3].account, told[3].address) == (b"eve@example.com", b"203.0.113.9")


def test_ordinary_life_shows_no_unknown_user_at_the_proxy(tmp_path: Path, manual: ManualClock) -> None:
    world = World(str(tmp_path), manual.clock)
    for _ in range(200):
        manual.advance(TICK)
        world.live_on()
    assert NEEDLE not in (tmp_path / "opt/zimbra/log/nginx.log").read_bytes()


def test_a_database_that_stopped_breaks_its_connections_and_refuses_new_ones(manual: ManualClock) -> None:
    database = Database(manual.clock, 100.0)
    kept = database.connect(LOGIN)
    with kept.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime','Nonsense')")
        assert cursor.fetchall() == (("Uptime", "100"),)
    database.stop()
    with pytest.raises(pymysql.err.OperationalError, match="2002"):
        database.connect(LOGIN)
    database.start()
    with kept.cursor() as cursor, pytest.raises(pymysql.err.OperationalError, match="2013"):
        cursor.execute("SHOW GLOBAL VARIABLES")
    with database.connect(LOGIN).cursor() as cursor:
        cursor.execute("SET SESSION lock_wait_timeout=2")
        assert cursor.fetchall() == ()
        cursor.execute("SHOW GLOBAL VARIABLES")
        assert ("max_connections", "110") in cursor.fetchall()


def test_a_port_that_is_taken_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) not in (0, port)
    assert free_port(port) == port


def test_the_configuration_shortens_times_and_changes_no_threshold(tmp_path: Path) -> None:
    catalogue = load_catalogue(asset("alerts"))
    write_secrets(str(tmp_path))
    config = load_config(write_settings(str(tmp_path), str(tmp_path), 10741, 10162), catalogue)
    assert config.alerts.overrides.keys() >= {incident.alert for incident in INCIDENTS}
    assert all(o.warning is None and o.critical is None and not o.off for o in config.alerts.overrides.values())
    assert [oct((tmp_path / name).stat().st_mode & 0o777) for name in ("v3.secret", "v2c.secret")] == ["0o600"] * 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_and_for_who_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(stream: io.StringIO) -> str:
        Screen(stream, lambda: 12.3).scene("mysqld crashes")
        return stream.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert said(Terminal()) == "\x1b[1m  12.3 s -> mysqld crashes\x1b[0m\n"
    assert said(io.StringIO()) == "  12.3 s -> mysqld crashes\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert said(Terminal()) == "  12.3 s -> mysqld crashes\n"
