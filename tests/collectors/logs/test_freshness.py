"""An idle night is no alarm, dead syslog is, and neither a clock nor a rotation makes a log stale."""

import os
import re
from collections.abc import Mapping

import pytest
from fakes import FakeHost, ManualClock
from log_feeder import Feeder, Series, look

from collectors.logs.freshness import STATS, SYSLOG, FreshnessPart
from zcs_exporter.contract import LogBlock, SyslogBlock, SyslogLine, SyslogSubscription

MAILBOX = "/opt/zimbra/log/mailbox.log"
STALE = 900
JYTHON = ("/opt/zimbra/common/bin/java", "org.python.util.jython", "/opt/zimbra/libexec/zmconfigd")


@pytest.fixture
def feeder(host: FakeHost, manual: ManualClock) -> Feeder:
    for log in (STATS, SYSLOG, MAILBOX):
        touch(host, log, manual.now)
    return Feeder(FreshnessPart, host, manual)


def touch(host: FakeHost, path: str, at: float) -> None:
    place = host.write(path, "x\n")
    os.utime(place, (at, at))


def stamp(at: float) -> str:
    minutes = int(at) // 60
    return f"2024-03-02T{9 + (minutes - 28489526) // 60 % 24:02}:{(minutes - 28489526) % 60:02}:00Z"


def beat(feeder: Feeder, manual: ManualClock, log: str, *, live: bool = True) -> None:
    at = manual.now
    text = {
        STATS: "zimbramon[17392]: 17392:info: zmstat cpu.csv: timestamp, cpu:user:: 03/02/2024 10:20:30, 8.6",
        SYSLOG: "zmmailboxdmgr[2955]: status OK",
    }[log]
    feeder.feed(log, f"{stamp(at)} mail {text}", live=live)


def heartbeats(feeder: Feeder, manual: ManualClock) -> dict[str, float]:
    return ages(look(feeder.part, manual.now), "zcs_log_heartbeat_age_seconds")


def ages(values: Mapping[Series, float], name: str) -> dict[str, float]:
    return {labels[0][1]: value for (metric, labels), value in values.items() if metric == name}


def run(feeder: Feeder, manual: ManualClock, log: str, seconds: int, every: int = 120) -> None:
    for _ in range(0, seconds, every):
        beat(feeder, manual, log)
        manual.advance(every)


def test_each_log_that_exists_has_an_age(feeder: Feeder, manual: ManualClock) -> None:
    manual.advance(50_000)
    found = ages(look(feeder.part, manual.now), "zcs_log_age_seconds")
    assert found == {"mailbox.log": 50_000, "zimbra.log": 50_000, "zimbra-stats.log": 50_000}


def test_a_log_from_the_future_is_new(feeder: Feeder, host: FakeHost, manual: ManualClock) -> None:
    touch(host, MAILBOX, manual.now + 500)
    assert ages(look(feeder.part, manual.now), "zcs_log_age_seconds")["mailbox.log"] == 0


def test_on_an_idle_night_the_heart_beats(feeder: Feeder, manual: ManualClock) -> None:
    for _ in range(240):
        beat(feeder, manual, STATS)
        manual.advance(120)
        assert heartbeats(feeder, manual)["zimbra-stats.log"] < STALE


def test_dead_syslog_is_seen(feeder: Feeder, manual: ManualClock) -> None:
    beat(feeder, manual, STATS)
    manual.advance(STALE)
    assert heartbeats(feeder, manual) == {"zimbra-stats.log": STALE}


def test_syslog_that_was_dead_before_is_seen_after_as_long_a_look(feeder: Feeder, manual: ManualClock) -> None:
    assert heartbeats(feeder, manual) == {}  # too early to tell
    manual.advance(STALE)
    assert heartbeats(feeder, manual) == {"zimbra-stats.log": STALE}


def test_a_clock_that_jumps_makes_nothing_stale(feeder: Feeder, manual: ManualClock) -> None:
    run(feeder, manual, SYSLOG, 3600)
    beat(feeder, manual, SYSLOG)
    beat(feeder, manual, STATS)
    for jump in (7200, -100_000):
        manual.now += jump
        assert heartbeats(feeder, manual) == {"zimbra-stats.log": 0, "zimbra.log": 0}


def test_a_host_that_was_off_makes_nothing_stale(feeder: Feeder, manual: ManualClock) -> None:
    run(feeder, manual, SYSLOG, 3600)
    manual.advance(30_000)
    feeder.restart()
    assert heartbeats(feeder, manual) == {}
    manual.advance(61)
    assert heartbeats(feeder, manual)["zimbra.log"] == 61


def test_old_lines_that_are_being_read_prove_that_syslog_lived(feeder: Feeder, manual: ManualClock) -> None:
    manual.advance(STALE)
    beat(feeder, manual, STATS, live=False)
    assert heartbeats(feeder, manual) == {"zimbra-stats.log": 0}


def test_a_log_that_is_gone_is_not_judged(feeder: Feeder, host: FakeHost, manual: ManualClock) -> None:
    beat(feeder, manual, STATS)
    (host.base / STATS.lstrip("/")).unlink()
    manual.advance(STALE)
    assert heartbeats(feeder, manual) == {}


def test_a_log_that_may_not_be_read_is_not_judged(feeder: Feeder, host: FakeHost, manual: ManualClock) -> None:
    beat(feeder, manual, STATS)
    place = host.base / STATS.lstrip("/")
    place.unlink()
    place.mkdir()
    manual.advance(STALE)
    assert heartbeats(feeder, manual) == {}
    assert "zimbra-stats.log" in ages(look(feeder.part, manual.now), "zcs_log_age_seconds")


def test_a_log_is_judged_once_its_heart_was_seen_to_beat(feeder: Feeder, manual: ManualClock) -> None:
    beat(feeder, manual, STATS)
    run(feeder, manual, SYSLOG, 600)
    assert "zimbra.log" not in heartbeats(feeder, manual)
    run(feeder, manual, SYSLOG, 1200)
    feeder.restart()
    manual.advance(STALE)
    assert heartbeats(feeder, manual)["zimbra.log"] == STALE


def test_a_burst_is_no_heart_beat(feeder: Feeder, manual: ManualClock) -> None:
    for _ in range(100):
        beat(feeder, manual, SYSLOG)
    manual.advance(STALE)
    assert "zimbra.log" not in heartbeats(feeder, manual)


def test_beats_hours_apart_are_no_heart_beat(feeder: Feeder, manual: ManualClock) -> None:
    run(feeder, manual, SYSLOG, 8 * 3600, every=3600)
    assert "zimbra.log" not in heartbeats(feeder, manual)


def test_a_line_that_somebody_else_wished_is_no_heart_beat(feeder: Feeder, manual: ManualClock) -> None:
    [feed] = [
        each.feed
        for each in feeder.part.subscriptions()
        if isinstance(each, SyslogSubscription) and b"zmconfigd" not in each.wishes and each.path == SYSLOG
    ]
    for _ in range(30):
        line = SyslogLine(int(manual.now), b"zmmailboxdmgr", b"1", b"start requested")
        feed(SyslogBlock(SYSLOG, [line], True, LogBlock(SYSLOG, b"", 0), re.compile(b"")))
        manual.advance(120)
    assert "zimbra.log" not in heartbeats(feeder, manual)


def test_a_writer_that_has_been_silent_for_a_day_is_gone(feeder: Feeder, manual: ManualClock) -> None:
    run(feeder, manual, SYSLOG, 3600)
    manual.advance(86_400)
    assert "zimbra.log" not in heartbeats(feeder, manual)
    manual.advance(STALE)
    assert "zimbra.log" not in heartbeats(feeder, manual)


CONFIGD = "zmconfigd[2203]: All configs fetched in 0.09 seconds"


def configd(feeder: Feeder, manual: ManualClock, seconds: int) -> None:
    for _ in range(0, seconds, 60):
        feeder.feed(SYSLOG, f"{stamp(manual.now)} mail {CONFIGD}")
        manual.advance(60)


def test_nothing_is_expected_of_a_daemon_that_was_stopped(feeder: Feeder, host: FakeHost, manual: ManualClock) -> None:
    host.write("/opt/zimbra/log/zmconfigd.pid", "2203\n")
    host.add_process(2203, "java", *JYTHON)
    configd(feeder, manual, 3600)
    assert heartbeats(feeder, manual)["zimbra.log"] == 60
    manual.advance(STALE)
    assert heartbeats(feeder, manual)["zimbra.log"] == STALE + 60
    host.add_process(2203, "java", *JYTHON, state="Z")
    assert "zimbra.log" not in heartbeats(feeder, manual)
    host.add_process(2203, "java", "/opt/zimbra/common/bin/java", "-version")  # a number that was given again
    assert "zimbra.log" not in heartbeats(feeder, manual)
    host.add_process(2203, "java", *JYTHON)
    manual.advance(61)
    assert heartbeats(feeder, manual)["zimbra.log"] == 61  # since it runs again


def test_one_writer_is_enough(feeder: Feeder, host: FakeHost, manual: ManualClock) -> None:
    host.write("/opt/zimbra/log/zmconfigd.pid", "2203\n")
    host.add_process(2203, "java", *JYTHON)
    configd(feeder, manual, 3600)
    run(feeder, manual, SYSLOG, 3600)
    assert heartbeats(feeder, manual)["zimbra.log"] == 120


@pytest.mark.parametrize(
    "text",
    [
        "zimbramon[1877]: 1877:err: Disk warning: mail.example.com: /opt on device /dev/sda at 87%",
        "zmconfigd[2203]: Watchdog: adding antivirus to restart list",
        "evil[1]: status OK",
    ],
)
def test_other_lines_are_no_heart_beat(feeder: Feeder, manual: ManualClock, text: str) -> None:
    for _ in range(30):
        feeder.feed(SYSLOG, f"{stamp(manual.now)} mail {text}")
        manual.advance(120)
    assert "zimbra.log" not in heartbeats(feeder, manual)


def test_lines_of_another_host_do_not_keep_a_log_alive(feeder: Feeder, manual: ManualClock) -> None:
    beat(feeder, manual, STATS)
    manual.advance(STALE)
    feeder.feed(STATS, f"{stamp(manual.now)} other zimbramon[1]: 1:info: zmstat cpu.csv: timestamp:: 1")
    assert heartbeats(feeder, manual) == {"zimbra-stats.log": STALE}
