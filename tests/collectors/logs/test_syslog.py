"""What the mail system's programs say in syslog."""

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st
from log_feeder import Feeder, look

from collectors.logs.syslog import (
    CRASHED,
    DISK_IMITATED,
    GIVEN_UP,
    PROGRAMS,
    REPORT_SECONDS,
    STATS,
    STATUS_IMITATED,
    SYSLOG,
    TIMED_OUT,
    SyslogPart,
    count_imitations,
    parse_fault,
    parse_status,
)
from zcs_exporter.contract import Grade

AT = "2024-03-02T09:20:33Z mail "
MANAGER = AT + "zmmailboxdmgr[2955]: "
CONTROL = AT + "zmmailboxdmgr[4000]: "
STARTED = MANAGER + "manager started mailboxd/JVM with pid 3001"
WOKE = MANAGER + "manager woke up from wait on mailboxd/JVM with pid 3001"
GAVE_UP = MANAGER + "mailboxd/JVM exited twice in 28 seconds (tolerance=60)"
STOP = CONTROL + "stop requested"
SHUTDOWN = MANAGER + "shutdown requested, sending TERM signal to 3001"
BOUNCE = MANAGER + "bounce requested, sending TERM signal to 3001"
NOISE = CONTROL + "no manager process is running"

FAULTS = {
    GAVE_UP: GIVEN_UP,
    MANAGER + "mailboxd/JVM process did not exit after 60 seconds, sending SIGKILL": "mailboxd_killed",
    CONTROL + "JVM option: -javaagent:/opt/agent.jar: not allowed": "mailboxd_option_refused",
    AT + 'slapd[21]: mdb_id2entry_put: mdb_put failed: MDB_MAP_FULL: Environment mapsize limit reached(-30792) "x"': (
        "ldap_map_full"
    ),
    AT
    + "slapd[21]: => mdb_idl_insert_keys: c_put id failed: MDB_MAP_FULL: Environment mapsize limit reached (-3079)": (
        "ldap_map_full"
    ),
    AT + "slapd[2101]: mdb_opinfo_get: err MDB_READERS_FULL: Environment maxreaders limit reached(-30790)": (
        "ldap_readers_full"
    ),
    AT
    + "slapd[2101]: mdb_add: txn_commit failed : MDB_CORRUPTED: Located page was wrong type (-30796)": "ldap_corrupt",
    AT + "slapd[2101]: mdb_add: txn_commit failed : No space left on device (28)": "ldap_no_space",
    AT + "slapd[2101]: daemon: accept(8) failed errno=24 (Too many open files)": "ldap_too_many_files",
    AT + "slapd[2101]: do_syncrepl: rid=101 rc -1 retrying": "ldap_sync_failed",
    AT + "amavis[15345]: (15345-18) (!!)AV: ALL VIRUS SCANNERS FAILED": "amavis_scanners_failed",
    AT + "amavis[15345]: (15345-18-2) (!)WARN: all primary virus scanners failed, considering backups": (
        "amavis_primary_scanners_failed"
    ),
    AT + "amavis[15345]: (15345-18) (!!)TROUBLE in check_mail: virus_scan FAILED: virus_scan: ALL VIRUS ...": (
        "amavis_trouble"
    ),
    AT + "amavis[15345]: (!!)TROUBLE in pre_loop_hook: db_init: ...": "amavis_trouble",
    AT + "opendkim[3200]: signing table references unknown key 'example.com'": "opendkim_key",
    AT + "opendkim[3200]: 7B1C21C0E60: can't load key from /opt/zimbra/x: No such file or directory": "opendkim_key",
    AT + "opendkim[3200]: 7B1C21C0E60: dkim_eoh(): resource unavailable: d2i_PrivateKey_bio() failed": "opendkim_fault",
    AT + "zmconfigd[2203]: Sleeping...Key lookup failed.": "zmconfigd_fault",
    AT + "zmconfigd[2203]: Thread gc still alive, aborting": "zmconfigd_fault",
    AT + "zimbramon[1877]: 1877:err: Disk warning: mail.example.com: /opt/zimbra on device /dev/mapper/v-z at 87%": (
        "zmdisklog_warning"
    ),
    AT + "zimbramon[1877]: 1877:crit: Disk warning: mail.example.com: /opt/x y on device /dev/sdc1 at 96%": (
        "zmdisklog_critical"
    ),
}
HARMLESS = [
    AT + 'slapd[2101]: conn=1001 op=2 ADD dn="uid=MDB_MAP_FULL"',
    AT + 'slapd[2101]: mdb_add: entry "cn=x: MDB_MAP_FULL" exists',
    AT + "amavis[15345]: (15345-18) Passed CLEAN, <(!!)AV: ALL VIRUS SCANNERS FAILED@example.net> -> <ann@example.com>",
    AT + "amavis[15345]: (15345-18) (!)file name: (!!)TROUBLE in check_mail",
    AT + "opendkim[3200]: 7B1C21C0E60: DKIM-Signature field added (s=x, d=can't load key from example.com)",
    AT + "zmconfigd[2203]: All configs fetched in 0.09 seconds",
    AT + "postfix/smtpd[1]: warning: (15345-18) (!!)AV: ALL VIRUS SCANNERS FAILED",
    AT + "zmmailboxdmgr[2955]: status OK",
    AT + "zimbramon[1877]: 1877:info: Disk warning: mail.example.com: /snap on device /dev/loop0 at 100%",
]
STATUS = "27690:info: 2024-03-02 09:22:01, STATUS: mail.example.com: {}"


@pytest.fixture
def feeder(host: FakeHost, manual: ManualClock) -> Feeder:
    return Feeder(SyslogPart, host, manual)


@pytest.mark.parametrize("line", FAULTS)
def test_each_fault_is_counted_and_told(feeder: Feeder, line: str) -> None:
    feeder.feed(SYSLOG, NOISE, line)
    signals = {each.label_map()["signal"]: each.value for each in feeder.samples() if "signal" in each.label_map()}
    assert signals == {FAULTS[line]: 1}
    [record] = feeder.take()
    assert (record.kind, record.log, record.offset) == (FAULTS[line], SYSLOG, len(NOISE) + 1)
    assert record.fields == {"program": line.split()[2].partition("[")[0]}


@pytest.mark.parametrize("line", HARMLESS)
def test_text_from_elsewhere_is_no_fault(feeder: Feeder, line: str) -> None:
    feeder.feed(SYSLOG, line)
    assert not [each for each in feeder.samples() if each.value]


def test_every_kind_has_an_example() -> None:
    assert {kind for program in PROGRAMS for kind in program.faults.groupindex} == set(FAULTS.values())


def test_all_start_at_0_once_the_log_exists(feeder: Feeder) -> None:
    feeder.part.begin([SYSLOG, STATS])
    values = feeder.values()
    assert set(values.values()) == {0}
    assert ("zcs_log_signals_total", (("signal", CRASHED),)) in values
    assert ("zcs_mailboxd_gave_up", ()) not in values


@pytest.mark.parametrize(
    ("lines", "crashes"),
    [
        ([STARTED, WOKE], 1),
        ([WOKE], 1),
        ([STARTED, WOKE, STARTED, WOKE, GAVE_UP], 2),
        ([STARTED, STOP, SHUTDOWN, WOKE], 0),
        ([STARTED, BOUNCE, WOKE, STARTED], 0),
        ([STARTED, BOUNCE, WOKE, STARTED, WOKE], 1),
        ([STARTED, CONTROL + "status requested", MANAGER + "status OK", WOKE], 1),
        ([STARTED, WOKE + "x"], 0),
    ],
)
def test_mailboxd_that_ends_unasked_has_crashed(feeder: Feeder, lines: list[str], crashes: int) -> None:
    feeder.feed(SYSLOG, *lines)
    assert feeder.signal(CRASHED) == crashes


@pytest.mark.parametrize("after", [STARTED, STOP, SHUTDOWN])
def test_a_manager_that_gave_up_is_told_until_somebody_cares(feeder: Feeder, after: str) -> None:
    feeder.feed(SYSLOG, STARTED, WOKE, STARTED, WOKE)
    assert feeder.value("zcs_mailboxd_gave_up") == 0
    feeder.feed(SYSLOG, GAVE_UP, NOISE)
    feeder.restart()
    assert feeder.value("zcs_mailboxd_gave_up") == 1
    feeder.feed(SYSLOG, after)
    assert feeder.value("zcs_mailboxd_gave_up") == 0


def test_a_manager_that_runs_has_not_given_up_whatever_syslog_lost(feeder: Feeder, host: FakeHost) -> None:
    feeder.feed(SYSLOG, STARTED, WOKE, GAVE_UP)
    host.write("/opt/zimbra/log/zmmailboxd_manager.pid", "2955\n")
    look(feeder.part, 0)
    assert feeder.value("zcs_mailboxd_gave_up") == 1
    host.add_process(2955, "perl", "perl", "/opt/zimbra/bin/backup")
    look(feeder.part, 0)
    assert feeder.value("zcs_mailboxd_gave_up") == 1
    host.add_process(2955, "zmmailboxdmgr", "/opt/zimbra/libexec/zmmailboxdmgr", "start")
    look(feeder.part, 0)
    assert feeder.value("zcs_mailboxd_gave_up") == 0


def test_a_crash_and_the_end_of_tries_are_critical(feeder: Feeder) -> None:
    feeder.feed(SYSLOG, STARTED, WOKE, GAVE_UP)
    assert [(each.kind, each.grade) for each in feeder.take()] == [
        (CRASHED, Grade.CRITICAL),
        (GIVEN_UP, Grade.CRITICAL),
    ]


def test_a_full_map_of_the_last_hour_moves_the_gauge_and_an_old_one_does_not(
    feeder: Feeder, manual: ManualClock
) -> None:
    full = next(line for line, kind in FAULTS.items() if kind == "ldap_map_full")
    feeder.feed(SYSLOG, full.replace("03-02", "03-01"), live=False)
    feeder.part.begin([SYSLOG])
    assert feeder.value("zcs_ldap_map_full_last_hour") == 0
    feeder.feed(SYSLOG, full, live=False)
    assert feeder.value("zcs_ldap_map_full_last_hour") == 1
    assert feeder.signal("ldap_map_full") == 2


def test_what_zmstatuslog_reports_is_shown_for_ten_minutes(feeder: Feeder, manual: ManualClock) -> None:
    prefix = AT + "zimbramon[27690]: "
    feeder.feed(STATS, prefix + STATUS.format("mailbox: Running"), prefix + STATUS.format("antivirus: Stopped"))
    feeder.feed(STATS, prefix + STATUS.format("service webapp: Running"))
    feeder.restart()
    assert feeder.value("zcs_service_reported_up", name="mailbox") == 1
    assert feeder.value("zcs_service_reported_up", name="antivirus") == 0
    assert len([each for each in feeder.samples() if each.metric.name == "zcs_service_reported_up"]) == 2
    manual.advance(REPORT_SECONDS)
    assert feeder.value("zcs_service_reported_up", name="mailbox") is None


def test_a_host_too_slow_to_report_is_counted(feeder: Feeder) -> None:
    feeder.feed(STATS, AT + "zimbramon[9034]: 9034:info: zmstatuslog timeout after 60 seconds")
    assert feeder.signal(TIMED_OUT) == 1


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("memcached: Running", ("memcached", True)),
        ("mailbox: Stopped", ("mailbox", False)),
        ("zimlet webapp: Running", None),
        ("evil: Running", None),
        ("mailbox: Running away", None),
    ],
)
def test_only_known_services_are_reported(message: str, status: tuple[str, bool] | None) -> None:
    assert parse_status(STATUS.format(message).encode()) == status


def test_lines_that_imitate_those_of_zcs_are_counted_and_nothing_else(feeder: Feeder) -> None:
    warning = "1877:crit: Disk warning: mail.example.com: /opt on device /dev/sda at 99%"
    feeder.feed(
        SYSLOG,
        AT + "zimbramon[1877]: " + warning,
        "2024-03-02T10:20:33.9+01:00 other zimbramon[1877]: " + warning,
        AT + f"postfix/smtpd[1]: NOQUEUE: reject: RCPT from x[192.0.2.1]: helo=<{warning} {warning}>",
        AT + f"zimbramon[1]: {warning.replace('1877:', '')}",
        warning,
    )
    feeder.feed(
        STATS, AT + "zimbramon[1]: " + STATUS.format("mailbox: Running"), AT + "evil: " + STATUS.format("mta: Stopped")
    )
    assert feeder.signal(DISK_IMITATED) == 3
    assert feeder.signal("zmdisklog_critical") == 1
    assert feeder.signal(STATUS_IMITATED) == 1
    assert feeder.value("zcs_service_reported_up", name="mta") is None


LINES = [*FAULTS, *HARMLESS, STARTED, WOKE, STOP, SHUTDOWN, BOUNCE, NOISE]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_restart_between_any_two_lines_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lines = data.draw(st.lists(st.sampled_from(LINES), max_size=14))
    host, manual = FakeHost(tmp_path_factory.mktemp("host")), ManualClock()
    whole = Feeder(SyslogPart, host, manual).feed(SYSLOG, *lines)
    split = Feeder(SyslogPart, host, manual)
    for line in lines:
        split.feed(SYSLOG, line)
        if data.draw(st.booleans()):
            split.restart()
    assert split.values() == whole.values()
    told, whole_told = split.take(), whole.take()
    assert [(each.kind, each.fields) for each in told] == [(each.kind, each.fields) for each in whole_told]


@given(st.sampled_from([program.name for program in PROGRAMS] + [b"x"]), st.binary(max_size=200))
@settings(max_examples=3000, deadline=None)
def test_any_message_is_a_fault_or_none(program: bytes, message: bytes) -> None:
    assert parse_fault(program, message) in {"", *FAULTS.values()}
    parse_status(message)


@given(st.lists(st.sampled_from([line.encode() for line in LINES]) | st.binary(max_size=60), max_size=8))
@settings(max_examples=500, deadline=None)
def test_imitations_are_counted_by_the_line(lines: list[bytes]) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    slowly = sum(
        b"Disk warning: " in line and not (b"zimbramon[1877]: 1877:" in line and line.startswith(AT.encode()))
        for line in lines
    )
    assert count_imitations(SYSLOG, b"".join(line + b"\n" for line in lines)) == slowly
