"""What the error logs of nginx, MariaDB, clamd and freshclam come to."""

import os
import time
from collections.abc import Iterator

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st
from log_feeder import Feeder, look

from collectors.logs.daemons import DaemonsPart
from zcs_exporter.contract import Grade

NGINX, MYSQL = "/opt/zimbra/log/nginx.log", "/opt/zimbra/log/mysql_error.log"
CLAMD, FRESHCLAM = "/opt/zimbra/log/clamd.log", "/opt/zimbra/log/freshclam.log"
REFUSED = (
    "2024/03/02 09:20:31 [error] 2101#0: *8 connect() failed (111: Connection refused) while connecting to upstream"
)
CRASH = "2024/03/02 09:20:32 [alert] 2100#0: worker process 2102 exited on signal 11"
DAMAGE = "2024-03-02 09:20:33 0 [ERROR] InnoDB: Database page corruption on disk or a failed file read of tablespace x"
RELOAD = "Sat Mar  2 09:20:00 2024 -> ERROR: reload db failed: Malformed database"
UPDATE = "ClamAV update process started at Sat Mar  2 08:20:00 2024"
CURRENT = "daily.cvd database is up-to-date (version: 27202, sigs: 2053984, f-level: 90, builder: raynman)"
FAILED = "ERROR: Database update process failed: Connection failed (5)"
FAILED_TOO = "ERROR: Update failed."


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    """Let the host be in UTC, wherever the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def feeder(host: FakeHost, manual: ManualClock) -> Feeder:
    return Feeder(DaemonsPart, host, manual)


def test_lines_are_counted_by_level_and_faults_told(feeder: Feeder) -> None:
    feeder.feed(NGINX, REFUSED, CRASH, REFUSED)
    assert feeder.value("zcs_log_events_total", log="nginx.log", level="error", component="nginx") == 2
    assert feeder.value("zcs_log_events_total", log="nginx.log", level="fatal", component="nginx") == 1
    refused, crash = feeder.take()
    assert (refused.kind, refused.fields, refused.offset) == (
        "nginx_upstream_refused",
        {"component": "nginx", "count": "2"},
        0,
    )
    assert (crash.kind, crash.offset) == ("nginx_worker_crashed", len(REFUSED) + 1)


def test_damaged_data_of_the_last_hour_moves_its_gauge_though_it_was_found_while_the_host_started(
    feeder: Feeder, manual: ManualClock
) -> None:
    feeder.part.begin([MYSQL])
    feeder.feed(MYSQL, DAMAGE.replace("03-02", "03-01"), live=False)
    assert feeder.value("zcs_mysqld_corruption_errors_last_hour") == 0
    feeder.feed(MYSQL, DAMAGE, live=False)
    assert feeder.value("zcs_mysqld_corruption_errors_last_hour") == 1
    assert feeder.value("zcs_log_events_total", log="mysql_error.log", level="error", component="innodb") == 2
    [record] = feeder.take()
    assert record.grade is Grade.CRITICAL
    assert (record.at, record.fields["count"]) == (manual.now // 60 * 60 + 33 - 86400, "2")


def test_counters_start_at_0_for_logs_that_exist_only(feeder: Feeder) -> None:
    feeder.part.begin([CLAMD])
    values = feeder.values()
    assert set(values.values()) == {0}
    assert {labels[0][1].partition("_")[0] for _, labels in values} == {"clamd"}


def test_the_last_success_of_freshclam_is_known_and_ages(feeder: Feeder, manual: ManualClock) -> None:
    feeder.feed(FRESHCLAM, UPDATE)
    assert feeder.value("zcs_freshclam_last_success_timestamp_seconds") is None
    feeder.restart()
    feeder.feed(FRESHCLAM, CURRENT)
    at = feeder.value("zcs_freshclam_last_success_timestamp_seconds")
    assert at is not None
    assert at % 3600 == 1200
    assert feeder.value("zcs_freshclam_last_success_age_seconds") == manual.now - at
    manual.advance(200_000)
    feeder.feed(FRESHCLAM, UPDATE.replace("Mar  2", "Mar  4"), FAILED, FAILED_TOO)
    assert feeder.value("zcs_freshclam_last_success_age_seconds") == manual.now - at
    assert feeder.signal("freshclam_failed") == 1
    feeder.feed(FRESHCLAM, UPDATE.replace("Mar  2", "Mar  4"), CURRENT)
    age = feeder.value("zcs_freshclam_last_success_age_seconds")
    assert age is not None
    assert age < 200_000


def test_each_update_that_fails_counts_once(feeder: Feeder) -> None:
    feeder.feed(FRESHCLAM, UPDATE, FAILED, FAILED_TOO, UPDATE, FAILED, FAILED_TOO)
    assert feeder.signal("freshclam_failed") == 2
    assert feeder.value("zcs_log_events_total", log="freshclam.log", level="error", component="freshclam") == 4


def test_a_clock_that_is_set_back_makes_no_negative_age(feeder: Feeder, manual: ManualClock) -> None:
    feeder.feed(FRESHCLAM, UPDATE, CURRENT)
    manual.advance(-86400 * 3)
    assert feeder.value("zcs_freshclam_last_success_age_seconds") == 0
    feeder.feed(FRESHCLAM, UPDATE.replace("2024", "2031"), CURRENT)
    manual.advance(86400 * 10)
    age = feeder.value("zcs_freshclam_last_success_age_seconds")
    assert age is not None
    assert age > 0


def test_a_success_while_the_clock_was_ahead_is_not_the_last_for_ever(feeder: Feeder, manual: ManualClock) -> None:
    manual.advance(86400 * 365)
    feeder.feed(FRESHCLAM, UPDATE.replace("2024", "2025"), CURRENT)
    manual.advance(-86400 * 365)
    feeder.feed(FRESHCLAM, UPDATE, CURRENT)
    manual.advance(86400 * 3)
    age = feeder.value("zcs_freshclam_last_success_age_seconds")
    assert age is not None
    assert age > 86400 * 2


def test_signatures_grow_old_only_where_an_antivirus_is_enabled(
    feeder: Feeder, host: FakeHost, manual: ManualClock
) -> None:
    def age_known() -> bool:
        look(feeder.part, manual.now)
        return feeder.value("zcs_freshclam_last_success_age_seconds") is not None

    feeder.feed(FRESHCLAM, UPDATE, CURRENT)
    assert age_known()
    host.services("mta", "antivirus")
    assert age_known()
    host.services("mta")
    assert not age_known()
    # Somebody runs freshclam all the same.
    place = host.write(FRESHCLAM, "x\n")
    os.utime(place, (manual.now, manual.now))
    assert age_known()
    manual.advance(86400)
    assert not age_known()
    assert feeder.value("zcs_freshclam_last_success_timestamp_seconds") is not None


def test_without_a_start_a_success_has_no_time(feeder: Feeder) -> None:
    feeder.feed(FRESHCLAM, CURRENT)
    assert feeder.value("zcs_freshclam_last_success_age_seconds") is None


LINES = [
    *((NGINX, line) for line in (REFUSED, CRASH, "2024/03/02 09:20:31 [info] 1#0: *8 client logged in")),
    (MYSQL, DAMAGE),
    (CLAMD, RELOAD),
    (CLAMD, "LibClamAV Error: Can't allocate memory"),
    *((FRESHCLAM, line) for line in (UPDATE, CURRENT, FAILED, FAILED_TOO)),
]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_restart_between_any_two_lines_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lines = data.draw(st.lists(st.sampled_from(LINES), max_size=14))
    host, manual = FakeHost(tmp_path_factory.mktemp("host")), ManualClock()
    whole = Feeder(DaemonsPart, host, manual)
    for log in (NGINX, MYSQL, CLAMD, FRESHCLAM):
        whole.feed(log, *(line for path, line in lines if path == log))
    split = Feeder(DaemonsPart, host, manual)
    for path, line in lines:
        split.feed(path, line)
        if data.draw(st.booleans()):
            split.restart()
    assert split.values() == whole.values()
    told = sorted((each.kind, *sorted(each.fields.items())) for each in split.take())
    assert told == sorted((each.kind, *sorted(each.fields.items())) for each in whole.take())
