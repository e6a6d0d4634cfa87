"""What the kernel says: of which device or process, in both stamp forms, and whom it is evidence against."""

import re

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st
from log_feeder import Feeder

from collectors.logs.kernel import (
    FILESYSTEM_ERROR,
    HARDWARE,
    HUNG,
    IO_ERROR,
    KINDS,
    OOM_KILL,
    READONLY,
    KernelFault,
    KernelPart,
    component,
    parse_kernel,
)
from zcs_exporter.contract import Grade, LogBlock, SyslogBlock, SyslogLine, SyslogSubscription

KERN, MESSAGES = "/var/log/kern.log", "/var/log/messages"
OLD = "Mar  2 10:20:33 mail kernel: "
ISO = "2024-03-02T10:20:33.901234+01:00 mail kernel: "

FAULTS = {
    b"Out of memory: Killed process 3001 (java) total-vm:9437184kB, anon-rss:8123456kB, UID:993": (OOM_KILL, "java"),
    b"[1234.567890] Memory cgroup out of memory: Killed process 77 (clamd) total-vm:1kB": (OOM_KILL, "clamd"),
    b"[    1.000001] Killed process 3001 (java), UID 993, total-vm:9437184kB, anon-rss:1kB": (OOM_KILL, "java"),
    b"Killed process 3001, UID 993, (mysqld) total-vm:9437184kB, anon-rss:1kB": (OOM_KILL, "mysqld"),
    b"Killed process 9 (amavisd (ch3-av) total-vm:1kB, anon-rss:1kB": (OOM_KILL, "amavisd (ch3-av"),
    b"blk_update_request: I/O error, dev sda, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0": (
        IO_ERROR,
        "sda",
    ),
    b"end_request: I/O error, dev sdb, sector 88": (IO_ERROR, "sdb"),
    b"I/O error, dev nvme0n1, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2": (IO_ERROR, "nvme0n1"),
    b"critical medium error, dev sdc, sector 9 op 0x0:(READ) flags 0x0": (IO_ERROR, "sdc"),
    b"blk_update_request: critical space allocation error, dev dm-3, sector 9": (IO_ERROR, "dm-3"),
    b"Buffer I/O error on dev dm-0, logical block 12, lost async page write": (IO_ERROR, "dm-0"),
    b"Buffer I/O error on device sda1, logical block 12": (IO_ERROR, "sda1"),
    b"nvme nvme0: I/O 12 QID 3 timeout, aborting": (IO_ERROR, "nvme0"),
    b"nvme nvme1: I/O tag 12 (100c) opcode 0x2 QID 3 timeout, aborting req_op:READ(0)": (IO_ERROR, "nvme1"),
    b"EXT4-fs error (device dm-0): ext4_lookup:1602: inode #2: comm java: deleted inode referenced: 12": (
        FILESYSTEM_ERROR,
        "dm-0",
    ),
    b"JBD2: Detected IO errors while flushing file data on dm-0-8": (FILESYSTEM_ERROR, "dm-0"),
    b"Aborting journal on device sda1-8.": (FILESYSTEM_ERROR, "sda1"),
    b"XFS (dm-1): Metadata corruption detected at xfs_agf_read_verify+0x70/0xf0 [xfs]": (FILESYSTEM_ERROR, "dm-1"),
    b'XFS (dm-1): metadata I/O error in "xfs_trans_read_buf_map" at daddr 0x1 len 8 error 5': (
        FILESYSTEM_ERROR,
        "dm-1",
    ),
    b"XFS (sdb1): Corruption of in-memory data detected.  Shutting down filesystem": (FILESYSTEM_ERROR, "sdb1"),
    b"BTRFS error (device sdb1: state EA): parent transid verify failed": (FILESYSTEM_ERROR, "sdb1"),
    b"EXT4-fs (dm-0): Remounting filesystem read-only": (READONLY, "dm-0"),
    b"BTRFS info (device sdb1): forced readonly": (READONLY, "sdb1"),
    b"XFS (dm-1): xfs_do_force_shutdown(0x2) called from line 1272 of file fs/xfs/xfs_log.c": (READONLY, "dm-1"),
    b"INFO: task java:3001 blocked for more than 120 seconds.": (HUNG, "java"),
    b"mce: [Hardware Error]: Machine check events logged": (HARDWARE, ""),
    b"EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0": (HARDWARE, ""),
}

HARMLESS = [
    b"Out of memory: Kill process 3001 (java) score 912 or sacrifice child",
    b"oom_reaper: reaped process 3001 (java), now anon-rss:0kB",
    b"blk_update_request: I/O error, dev fd0, sector 0 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0",
    b"blk_update_request: I/O error, dev sr0, sector 0",
    b"critical target error, dev sda, sector 2048 op 0x3:(DISCARD) flags 0x0 phys_seg 1 prio class 0",
    b"EXT4-fs (dm-0): mounted filesystem with ordered data mode. Opts: (null)",
    b"EXT4-fs (dm-0): re-mounted. Opts: (null)",
    b"XFS (dm-1): Mounting V5 Filesystem",
    b"EDAC MC0: 12 CE memory read error on CPU_SrcID#0",
    b'audit: type=1400 comm="Killed process 1 (java) "',
    b"x Out of memory: Killed process 3001 (java) total-vm:1kB",
    b"",
]


@pytest.mark.parametrize("message", FAULTS)
def test_each_fault_is_known_with_its_device_or_process(message: bytes) -> None:
    assert parse_kernel(message) == KernelFault(*FAULTS[message])


@pytest.mark.parametrize("message", HARMLESS)
def test_what_only_resembles_a_fault_is_none(message: bytes) -> None:
    assert parse_kernel(message) is None


@pytest.mark.parametrize("message", FAULTS)
@pytest.mark.parametrize("prefix", [OLD, ISO, OLD + "[ 1234.567890] "])
def test_the_wishes_let_every_fault_through_in_both_stamp_forms(
    host: FakeHost, manual: ManualClock, prefix: str, message: bytes
) -> None:
    if prefix.endswith("] ") and message.startswith(b"["):
        return
    feeder = Feeder(KernelPart, host, manual).feed(KERN, prefix.encode() + message)
    kind, _ = FAULTS[message]
    assert {signal: feeder.signal(signal) for signal in KINDS} == {**dict.fromkeys(KINDS, 0.0), kind: 1.0}


def test_every_kind_has_an_example() -> None:
    assert {kind for kind, _ in FAULTS.values()} == set(KINDS)


@pytest.mark.parametrize(
    ("process", "part"),
    [
        ("java", "java"),
        ("mariadbd", "mysqld"),
        ("amavisd (ch3-av", "amavis"),
        ("slapd", "ldap"),
        ("postscreen", "mta"),
        ("javac", "other"),
        ("", "other"),
        ("(java)", "other"),
    ],
)
def test_who_was_killed_is_of_a_closed_set(process: str, part: str) -> None:
    assert component(process) == part


def test_a_kill_is_counted_told_and_evidence(host: FakeHost, manual: ManualClock) -> None:
    feeder = Feeder(KernelPart, host, manual)
    feeder.feed(KERN, "2024-03-02T09:20:31Z mail kernel: Killed process 3001 (java) total-vm:1kB")
    feeder.feed(KERN, "2024-03-02T09:20:32Z mail kernel: Killed process 3002 (evil\u202ename) total-vm:1kB")
    [gauge] = [each for each in feeder.samples() if each.metric.name == "zcs_kernel_oom_kills_last_hour"]
    assert gauge.value == 2
    assert {(item.value, item.count) for item in gauge.evidence} == {("java", 1), ("other", 1)}
    first, second = feeder.take()
    assert (first.kind, first.grade, first.log, first.offset) == (OOM_KILL, Grade.CRITICAL, KERN, 0)
    assert first.fields == {"object": "java", "program": "java"}
    assert second.fields["object"].isprintable()


def test_errors_of_disks_and_file_systems_are_one_gauge_that_names_devices(host: FakeHost, manual: ManualClock) -> None:
    feeder = Feeder(KernelPart, host, manual)
    lines = [b"2024-03-02T09:20:31Z mail kernel: " + message for message in list(FAULTS)[5:22]]
    feeder.feed(KERN, *lines)
    [gauge] = [each for each in feeder.samples() if each.metric.name == "zcs_kernel_storage_errors_last_hour"]
    assert gauge.value == 17
    assert gauge.evidence[0].value == "dm-0"


def test_a_storm_is_told_in_few_words(host: FakeHost, manual: ManualClock) -> None:
    feeder = Feeder(KernelPart, host, manual)
    feeder.feed(KERN, *[f"{OLD}Buffer I/O error on dev sda, logical block {number}," for number in range(5000)])
    [record] = feeder.take()
    assert record.fields == {"object": "sda", "count": "5000"}
    feeder.commit()
    assert all(len(row) < 2000 for row in feeder._rows.values())


def test_a_kill_that_ended_this_daemon_too_still_counts_but_none_of_yesterday(
    host: FakeHost, manual: ManualClock
) -> None:
    kill = "mail kernel: Killed process 1 (java) total-vm:1kB"
    feeder = Feeder(KernelPart, host, manual)
    feeder.feed(KERN, f"2024-03-01T09:20:31Z {kill}", f"2024-03-02T09:20:31Z {kill}", live=False)
    assert feeder.value("zcs_kernel_oom_kills_last_hour") == 1
    assert feeder.signal(OOM_KILL) == 2


def test_another_host_or_program_says_nothing(host: FakeHost, manual: ManualClock) -> None:
    message = "Killed process 1 (java) total-vm:1kB"
    feeder = Feeder(KernelPart, host, manual)
    feeder.feed(KERN, f"Mar  2 10:20:33 other kernel: {message}", f"Mar  2 10:20:33 mail evil: {OLD}{message}")
    assert feeder.signal(OOM_KILL) == 0


def test_a_line_that_somebody_else_wished_is_passed_over(host: FakeHost, manual: ManualClock) -> None:
    part = KernelPart(host, manual.clock)
    line = SyslogLine(None, b"evil", b"", b"Killed process 1 (java) total-vm:1kB")
    [subscription] = part.subscriptions()
    assert isinstance(subscription, SyslogSubscription)
    subscription.feed(SyslogBlock(KERN, [line], True, LogBlock(KERN, b"", 0), re.compile(b"")))
    assert not list(part.findings())


def test_one_log_is_read_the_first_that_exists(host: FakeHost, manual: ManualClock) -> None:
    host.write(MESSAGES, "")
    host.write("/var/log/syslog", "")
    assert [each.path for each in KernelPart(host, manual.clock).subscriptions()] == [MESSAGES]
    host.write(KERN, "")
    assert [each.path for each in KernelPart(host, manual.clock).subscriptions()] == [KERN]


def test_nothing_is_known_before_the_log_exists(host: FakeHost, manual: ManualClock) -> None:
    feeder = Feeder(KernelPart, host, manual)
    feeder.part.begin(["/opt/zimbra/log/mailbox.log"])
    assert feeder.values() == {}
    feeder.part.begin([KERN])
    assert feeder.value("zcs_kernel_storage_errors_last_hour") == 0
    assert set(feeder.values().values()) == {0}


LINES = [prefix.encode() + message for message in [*FAULTS, *HARMLESS] for prefix in (OLD, ISO)]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_restart_between_any_two_lines_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lines = data.draw(st.lists(st.sampled_from(LINES), max_size=12))
    host, manual = FakeHost(tmp_path_factory.mktemp("host")), ManualClock()
    whole = Feeder(KernelPart, host, manual).feed(KERN, *lines)
    split = Feeder(KernelPart, host, manual)
    for line in lines:
        split.feed(KERN, line)
        if data.draw(st.booleans()):
            split.restart()
    assert split.values() == whole.values()
    assert split.take() == whole.take()


@given(st.binary(max_size=200) | st.sampled_from(list(FAULTS)))
@settings(max_examples=3000, deadline=None)
def test_any_message_is_a_fault_or_none(message: bytes) -> None:
    fault = parse_kernel(message.replace(b"\n", b" "))
    assert fault is None or fault.kind in KINDS
