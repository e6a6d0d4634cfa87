import asyncio
import errno
import gzip
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.mailboxd.collector import FILES, MailboxdCollector, MailboxdConfig
from zcs_exporter.contract import CollectError, LogSubscription, NotOnThisHost, Reason, Sample, Shortfall
from zcs_exporter.log_position import Position
from zcs_exporter.tail import SETTLE, LogTail

FIXTURES = Path(__file__).parents[2] / "fixtures" / "zmstat"
DIRECTORY = "/opt/zimbra/zmstat"
MAILBOXD = f"{DIRECTORY}/mailboxd.csv"
MAILBOX_LOG = "/opt/zimbra/log/mailbox.log"
CMS_HEADER, CMS_ROW = (FIXTURES / "zcs-8.0-mailboxd-cms.csv").read_text().splitlines()
G1_ROW = (FIXTURES / "zcs-10.0-mailboxd-g1.csv").read_text().splitlines()[1]
ACTIVITY = "timestamp,command,exec_count,exec_ms_avg"
NOW = datetime(2024, 3, 2, 10, 20, 33).timestamp()
SPOOL = "/opt/zimbra/data/postfix/spool"
LMTP_STARTS = (
    "2024-03-02 10:20:31,402 INFO  [LmtpServer] [] "
    "TcpServer/7025 - Starting accept loop: 1 core threads, 20 max threads.\n"
)

Series = dict[str, float]


class Rig:
    """A host, and the process that watches it: followers as the daemon has them, and the collector."""

    def __init__(self, host: FakeHost, config: MailboxdConfig | None = None) -> None:
        self.host = host
        self.config = config or MailboxdConfig()
        self.manual = ManualClock(NOW)
        self.positions: dict[str, Position] = {}
        self.rows: dict[str, str] = {}
        self.tails: dict[str, LogTail] = {}
        (host.base / DIRECTORY.lstrip("/")).mkdir(parents=True, exist_ok=True)
        (host.base / "opt/zimbra/log").mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        return self.host.base / DIRECTORY.lstrip("/") / name

    def start(self) -> None:
        """Start a process with what was committed."""
        self.close()
        self.collector = MailboxdCollector(self.config, self.host, self.manual.clock)
        subscriptions: list[LogSubscription] = list(self.collector.subscriptions())
        self.collector.restore(self.rows)
        self.feeds = {each.path: each.feed for each in subscriptions}
        self.tails = {
            path: LogTail(self.host, path, self.positions.get(path), self.manual.clock, block_size=(1 << 16) + 10)
            for path in self.feeds
        }
        self.read(rounds=1)

    def close(self) -> None:
        for tail in self.tails.values():
            tail.close()
        self.tails = {}

    def read(self, rounds: int = 4, *, most: int = 1 << 30) -> None:
        """Read what there is, or some blocks of it; after each, commit positions and rows at once."""
        for _ in range(rounds):
            for path, tail in self.tails.items():
                while most > 0 and (block := tail.read()) is not None:
                    most -= 1
                    if block.data:
                        self.feeds[path](block)
                    tail.advance()
                    self.commit()
            self.commit()
            self.manual.ticks += SETTLE

    def commit(self) -> None:
        self.positions |= {path: tail.position for path, tail in self.tails.items() if tail.position is not None}
        for key, value in self.collector.changes().items():
            assert value is not None
            self.rows[key] = value

    def append(self, name: str, text: str) -> None:
        """Write to a table now."""
        with self.path(name).open("a") as table:
            table.write(text)
        self.touch(self.path(name))

    def touch(self, path: Path) -> None:
        os.utime(path, (self.manual.now, self.manual.now))

    def stamp(self) -> str:
        return datetime.fromtimestamp(self.manual.now).strftime("%m/%d/%Y %H:%M:%S")

    def row(self, **columns: object) -> str:
        """Return the real row with the time of now and some columns changed."""
        values = dict(zip(CMS_HEADER.split(","), CMS_ROW.split(","), strict=True))
        values |= {"timestamp": self.stamp()} | {name: str(value) for name, value in columns.items()}
        return ",".join(values.values()) + "\n"

    def collect(self) -> list[object]:
        return list(asyncio.run(self.collector.collect()))

    def series(self) -> Series:
        """Return all samples by name and labels, without the beginning that all names share."""
        return as_series(self.collect())

    def shortfalls(self) -> list[Shortfall]:
        return [each for each in self.collect() if isinstance(each, Shortfall)]


class DenyingHost(FakeHost):
    """A host on which one file may not be opened."""

    denied = ""

    def open(self, path: str) -> int:
        if path == self.denied:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return super().open(path)


def as_series(findings: list[object]) -> Series:
    samples = [each for each in findings if isinstance(each, Sample)]
    found = {",".join([each.metric.name.removeprefix("zcs_mailboxd_") + each.suffix, *each.labels]): each.value
             for each in samples}  # fmt: skip
    assert len(found) == len(samples)
    assert all(each.metric in MailboxdCollector.metrics for each in samples)
    return found


@pytest.fixture
def rig(host: FakeHost) -> Iterator[Rig]:
    made = Rig(host)
    yield made
    made.close()


@pytest.fixture
def store(rig: Rig) -> Rig:
    """A store that is followed, with one row that was there before."""
    rig.append("mailboxd.csv", CMS_HEADER + "\n" + rig.row())
    rig.start()
    return rig


# Gauges


def test_the_newest_row_gives_the_gauges(store: Rig) -> None:
    found = store.series()

    assert found["connections,imap"] == 1
    assert found["connections,lmtp"] == 0
    assert found["threads,imap_ssl"] == 3
    assert found["threads,pop3"] == 1
    assert found["threads,http"] == 18
    assert found["threads_idle,http"] == 2
    assert found["soap_sessions"] == 2
    assert found["cache_entries,message"] == 2000
    assert found["cache_entries,account"] == 133
    assert found["cache_hit_ratio,message"] == pytest.approx(0.5)
    assert found["cache_hit_ratio,mailbox"] == 1
    assert found["cache_hit_ratio,innodb"] == 1
    assert found["cache_hit_ratio,account"] == pytest.approx(0.9978571547607365)
    assert found["db_connections"] == 0


def test_a_rate_of_0_may_be_no_look_up_at_all_and_is_left_out(store: Rig) -> None:
    found = store.series()

    assert "cache_hit_ratio,calendar" not in found
    assert "cache_hit_ratio,ucservice" not in found
    assert "cache_entries,calendar" not in found
    assert found["cache_entries,ucservice"] == 0


def test_an_empty_field_is_no_value(store: Rig) -> None:
    store.append("mailboxd.csv", store.row(innodb_bp_hit_rate="", imap_conn="", soap_sessions="soon"))

    found = store.series()

    assert not {"cache_hit_ratio,innodb", "connections,imap", "soap_sessions"} & found.keys()
    assert found["threads,imap_ssl"] == 3


def test_gauges_end_three_intervals_after_the_last_row_and_counters_stay(store: Rig) -> None:
    store.manual.advance(180)
    assert "threads,http" in store.series()
    store.manual.advance(1)
    found = store.series()

    assert "threads,http" not in found
    assert found["lmtp_received_messages_total"] == 0
    assert found["stat_age_seconds,mailboxd.csv"] == 181


def test_an_old_row_gives_no_gauges_even_if_its_file_was_touched(store: Rig) -> None:
    store.manual.advance(181)
    store.touch(store.path("mailboxd.csv"))

    assert "threads,http" not in store.series()


def test_a_table_that_nobody_writes_is_old_whatever_its_last_row_is(store: Rig) -> None:
    store.append("mailboxd.csv", G1_ROW + "\n")
    store.manual.advance(181)

    assert store.shortfalls() == []


def test_the_last_row_of_mailboxd_under_a_foreign_header_is_said_and_not_guessed(store: Rig) -> None:
    store.append("mailboxd.csv", G1_ROW + "\n")
    store.read()
    found = store.series()
    [shortfall] = store.shortfalls()

    assert "threads,http" not in found
    assert found["stat_rows_skipped_total,mailboxd.csv"] == 1
    assert (shortfall.reason, "mailboxd.csv" in shortfall.message) == (Reason.PARSE, True)
    store.append("mailboxd.csv", store.row())
    assert "threads,http" in store.series()


def test_imapd_has_threads_and_requests_of_its_own(rig: Rig) -> None:
    rig.append(
        "imapd_stats.csv", "timestamp,imap_count,imap_ms_avg,imap_conn,imap_threads,imap_ssl_conn,imap_ssl_threads\n"
    )
    rig.start()
    rig.append("imapd_stats.csv", f"{rig.stamp()},200,5.0,7,3,90,12\n")
    rig.read()
    found = rig.series()

    assert found["request_seconds_sum,imapd"] == pytest.approx(1)
    assert found["threads,imapd_ssl"] == 12
    assert found["connections,imapd"] == 7


def test_threads_by_name_are_a_closed_list(rig: Rig) -> None:
    header, row = (FIXTURES / "zcs-8.0-threads.csv").read_text().splitlines()
    rig.append("threads.csv", f"{header},Nashorn\n{rig.stamp()}{row[19:]},5\n")
    rig.start()
    found = rig.series()

    assert found["named_threads,ImapSSLServer"] == 6
    assert found["named_threads,other"] == 77
    assert not any("Nashorn" in name or "total" in name for name in found if name.startswith("named_threads"))


def test_open_files_are_those_that_the_helper_counted_until_it_stops(rig: Rig) -> None:
    header, row = (FIXTURES / "zcs-8.0-fd.csv").read_text().splitlines()
    rig.append("fd.csv", f"{header}\n{rig.stamp()}{row[19:]}\n")
    rig.start()
    assert rig.series()["open_files"] == 1451
    rig.manual.advance(91)
    assert "open_files" not in rig.series()
    rig.host.localconfig(zmstat_interval="60")
    assert rig.series()["open_files"] == 1451


def test_waiters_of_slapd_are_those_of_its_newest_live_row(rig: Rig) -> None:
    lines = (FIXTURES / "zcs-10.0-ldap-two-writers.csv").read_text().splitlines(keepends=True)
    rig.append("ldap.csv", lines[0])
    rig.start()
    rig.append("ldap.csv", "".join(lines[1:6]) + lines[2])
    rig.read()

    assert rig.series()["zcs_slapd_waiters,read"] == 11
    rig.manual.advance(91)
    assert "zcs_slapd_waiters,read" not in rig.series()


def test_counters_of_slapd_are_unknown_while_its_rows_do_not_come(rig: Rig) -> None:
    lines = (FIXTURES / "zcs-10.0-ldap-two-writers.csv").read_text().splitlines(keepends=True)
    rig.append("ldap.csv", lines[0])
    rig.start()
    assert not any(name.startswith("zcs_slapd") for name in rig.series())
    rig.append("ldap.csv", lines[4])
    rig.read()
    assert rig.series()["zcs_slapd_operations_total,bind"] == 4
    rig.manual.advance(91)
    rig.append("ldap.csv", lines[2])
    rig.read()
    found = rig.series()
    assert not any(name.startswith("zcs_slapd") for name in found)
    assert found["command_seconds_count,ldap,GET_CONN"] == 14
    rig.append("ldap.csv", lines[4])
    rig.read()
    assert rig.series()["zcs_slapd_operations_total,bind"] == 8


def test_rows_written_while_nobody_watched_count_and_are_no_state_of_now(rig: Rig) -> None:
    lines = (FIXTURES / "zcs-10.0-ldap-two-writers.csv").read_text().splitlines(keepends=True)
    rig.append("ldap.csv", lines[0])
    rig.start()
    rig.close()
    rig.append("ldap.csv", "".join(lines[1:6]))
    rig.start()
    found = rig.series()

    assert "zcs_slapd_waiters,read" not in found
    assert found["zcs_slapd_operations_total,bind"] == 10


# Limits


def test_the_share_in_use_is_that_of_the_limits_that_are_told(store: Rig) -> None:
    store.host.write("/opt/zimbra/mailboxd/etc/jetty.xml", '<Set name="maxThreads" type="int">32</Set>')
    store.host.write(MAILBOX_LOG, LMTP_STARTS)
    store.read()
    store.append("mailboxd.csv", store.row(lmtp_threads=19, db_pool_size=90))
    found = store.series()

    assert found["threads_limit,http"] == 32
    assert found["threads_used_ratio,http"] == 0.5
    assert found["threads_limit,lmtp"] == 20
    assert found["threads_used_ratio,lmtp"] == found["lmtp_threads_used_ratio"] == 0.95
    assert found["db_connections_limit"] == 100
    assert found["db_connections_used_ratio"] == 0.9
    assert not any(name.startswith("threads_limit,imap") for name in found)


def test_a_limit_that_was_told_is_known_after_a_restart(store: Rig) -> None:
    store.host.write(MAILBOX_LOG, LMTP_STARTS)
    store.read()
    store.start()

    assert store.series()["threads_limit,lmtp"] == 20


def test_the_site_may_say_what_only_its_LDAP_knows_and_its_word_counts(host: FakeHost) -> None:
    rig = Rig(host, MailboxdConfig(thread_limits={"imap": 6, "lmtp": 10}))
    rig.append("mailboxd.csv", CMS_HEADER + "\n" + rig.row())
    rig.start()
    host.write(MAILBOX_LOG, LMTP_STARTS)
    rig.read()
    found = rig.series()

    assert found["threads_used_ratio,imap_ssl"] == found["threads_limit,imap"] / 12 == 0.5
    assert found["threads_limit,lmtp"] == 10
    rig.close()


def test_a_limit_that_cannot_be_read_is_said_and_the_rest_is_there(store: Rig) -> None:
    store.host.write("/opt/zimbra/mailboxd/etc/jetty.xml", "<Configure/>")
    [shortfall] = store.shortfalls()

    assert "maxThreads" in shortfall.message
    assert store.series()["threads,http"] == 18


def fill(host: FakeHost, count: int) -> None:
    for number in range(count):
        host.write(f"{SPOOL}/deferred/{number % 10}/3F2A81C0E{number:02}", b"")
    for queue in ("incoming", "active"):
        (host.base / SPOOL.lstrip("/") / queue).mkdir(exist_ok=True)


def test_the_queue_is_watched_from_when_the_LMTP_threads_run_out(store: Rig) -> None:
    store.host.write(MAILBOX_LOG, LMTP_STARTS)
    store.read()
    fill(store.host, 30)
    assert "lmtp_queue_growth_messages" not in store.series()
    store.append("mailboxd.csv", store.row(lmtp_threads=20))
    assert store.series()["lmtp_queue_growth_messages"] == 0
    fill(store.host, 75)
    store.host.write(f"{SPOOL}/active/3F2A81C0E99", b"")
    found = store.series()
    assert (found["lmtp_queue_growth_messages"], found["lmtp_threads_used_ratio"]) == (46, 1)
    store.append("mailboxd.csv", store.row(lmtp_threads=3))
    assert "lmtp_queue_growth_messages" not in store.series()
    store.append("mailboxd.csv", store.row(lmtp_threads=20))
    assert store.series()["lmtp_queue_growth_messages"] == 0


def test_without_an_MTA_on_this_host_its_queue_is_unknown(store: Rig) -> None:
    store.host.write(MAILBOX_LOG, LMTP_STARTS)
    store.read()
    store.append("mailboxd.csv", store.row(lmtp_threads=20))
    found = store.series()

    assert found["lmtp_threads_used_ratio"] == 1
    assert "lmtp_queue_growth_messages" not in found


# What is there


def test_a_host_without_tables_has_no_mailboxd(rig: Rig) -> None:
    rig.path("README").write_text("")
    rig.start()
    with pytest.raises(NotOnThisHost, match="/opt/zimbra/zmstat"):
        rig.collect()


def test_a_host_without_zmstat_has_no_mailboxd(host: FakeHost, manual: ManualClock) -> None:
    collector = MailboxdCollector(MailboxdConfig(), host, manual.clock)
    assert collector.subscriptions()
    with pytest.raises(NotOnThisHost):
        asyncio.run(collector.collect())


def test_a_directory_that_cannot_be_listed_is_an_error(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> list[str]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    rig.start()
    monkeypatch.setattr(rig.host, "listdir", refuse)
    with pytest.raises(CollectError, match="listing /opt/zimbra/zmstat") as caught:
        rig.collect()
    assert caught.value.reason is Reason.PERMISSION


def test_a_table_that_is_no_file_is_said_and_the_others_are_read(store: Rig) -> None:
    store.path("threads.csv").mkdir()
    store.touch(store.path("threads.csv"))
    [shortfall] = store.shortfalls()

    assert "threads.csv" in shortfall.message
    assert store.series()["threads,http"] == 18


def test_every_table_that_is_known_has_an_age(rig: Rig) -> None:
    for name in FILES:
        rig.append(name, "")
    rig.append("unheard-of.csv", "")
    rig.manual.advance(42)
    rig.start()
    found = rig.series()

    assert {name: value for name, value in found.items() if name.startswith("stat_age")} == {
        f"stat_age_seconds,{name}": 42 for name in FILES
    }


# Every row once


def test_what_was_there_before_the_first_start_is_not_counted_but_names_the_columns(store: Rig) -> None:
    assert store.series()["lmtp_received_messages_total"] == 0
    store.append("mailboxd.csv", store.row(lmtp_rcvd_msgs=7))
    store.read()
    assert store.series()["lmtp_received_messages_total"] == 7


def test_columns_of_a_table_that_could_not_be_read_at_first_are_read_later(tmp_path: Path) -> None:
    host = DenyingHost(tmp_path / "host")
    host.localconfig()
    rig = Rig(host)
    rig.append("mailboxd.csv", CMS_HEADER + "\n" + rig.row())
    host.denied = MAILBOXD
    rig.start()
    assert {shortfall.reason for shortfall in rig.shortfalls()} == {Reason.PERMISSION}
    host.denied = ""
    rig.read()
    rig.collect()
    rig.append("mailboxd.csv", rig.row(lmtp_rcvd_msgs=7))
    rig.read()

    assert rig.series()["lmtp_received_messages_total"] == 7
    rig.close()


def test_a_file_that_comes_later_is_read_from_its_beginning(store: Rig) -> None:
    store.append("soap.csv", f"{ACTIVITY}\n{store.stamp()},SearchRequest,41,18\n")
    store.read()

    assert store.series()["command_seconds_count,soap,SearchRequest"] == 41


def test_nothing_is_seen_on_the_host_for_what_was_counted(store: Rig) -> None:
    store.append("mailboxd.csv", store.row(lmtp_rcvd_msgs=7))
    store.read()
    found = as_series(list(store.collector.counted()))

    assert found["lmtp_received_messages_total"] == 7
    assert not {name for name in found if name.startswith(("threads", "stat_age", "connections"))}


def rotate(rig: Rig, name: str, *, killed: bool = False) -> None:
    """Put a table into the archive of its day as zmstat does, and die before deleting it."""
    archive = rig.path(datetime.fromtimestamp(rig.manual.now).strftime("%Y-%m-%d")) / f"{name}.gz"
    archive.parent.mkdir(exist_ok=True)
    before = gzip.decompress(archive.read_bytes()) if archive.exists() else b""
    archive.unlink(missing_ok=True)
    archive.write_bytes(gzip.compress(before + rig.path(name).read_bytes(), 1))
    rig.touch(archive)
    if not killed:
        rig.path(name).unlink()


def test_a_night_without_the_daemon_loses_no_row(store: Rig) -> None:
    store.append("mailboxd.csv", store.row(lmtp_rcvd_msgs=7))
    store.read()
    for day in range(3):
        store.append("mailboxd.csv", store.row(lmtp_rcvd_msgs=10 ** (day + 1)))
        store.manual.advance(60)
        rotate(store, "mailboxd.csv")
        store.manual.advance(86400)
        store.append("mailboxd.csv", CMS_HEADER + "\n" + store.row(lmtp_rcvd_msgs=1))
    store.start()
    store.read()

    assert store.series()["lmtp_received_messages_total"] == 7 + 10 + 100 + 1000 + 3


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("row"), st.integers(0, 99)),
        st.tuples(st.just("many"), st.integers(100, 400)),
        st.tuples(st.just("header"), st.just(0)),
        st.tuples(st.just("foreign"), st.just(0)),
        st.tuples(st.just("rotate"), st.just(0)),
        st.tuples(st.just("look and rotate"), st.just(0)),
        st.tuples(st.just("day"), st.just(0)),
        st.tuples(st.just("read"), st.integers(1, 3)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_whatever_happens_every_row_counts_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    host = FakeHost(tmp_path_factory.mktemp("host"))
    host.localconfig()
    rig = Rig(host)
    rig.append("mailboxd.csv", CMS_HEADER + "\n" + rig.row(lmtp_rcvd_msgs=5))
    rig.start()
    messages = skipped = 0
    for step, number in steps:
        rig.manual.advance(60)
        if step == "row":
            messages += number
            rig.append("mailboxd.csv", rig.row(lmtp_rcvd_msgs=number))
        elif step == "many":
            messages += number
            rig.append("mailboxd.csv", "".join(rig.row(lmtp_rcvd_msgs=1) for _ in range(number)))
        elif step == "header":
            rig.append("mailboxd.csv", CMS_HEADER.replace(",", ", ") + "\n")
        elif step == "foreign":
            skipped += 1
            rig.append("mailboxd.csv", G1_ROW + "\n")
        elif step.endswith("rotate"):
            if step.startswith("look"):
                rig.read()
            rotate(rig, "mailboxd.csv")
            messages += 3
            rig.manual.advance(1)
            rig.append("mailboxd.csv", CMS_HEADER + "\n" + rig.row(lmtp_rcvd_msgs=3))
        elif step == "day":
            rig.manual.advance(86400)
        elif step == "read":
            rig.read(rounds=1, most=number)
        else:
            rig.start()
    rig.read()
    found = as_series(list(rig.collector.counted()))
    rig.close()

    assert found["lmtp_received_messages_total"] == messages
    assert found["stat_rows_skipped_total,mailboxd.csv"] == skipped
