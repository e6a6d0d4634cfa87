"""What the kernel says in syslog: processes killed for lack of memory, disks and file systems that fail."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, NamedTuple

from collectors.logs.faults import FaultPart
from collectors.logs.part import SIGNALS
from zcs_exporter.contract import Clock, Grade, Kind, Metric, Subscription, SyslogBlock, SyslogSubscription
from zcs_exporter.hostio import Host

OOM_KILLS = Metric(
    "zcs_kernel_oom_kills_last_hour",
    Kind.GAUGE,
    "Processes that the kernel killed for lack of memory in the last hour, by its log.",
)
STORAGE_ERRORS = Metric(
    "zcs_kernel_storage_errors_last_hour",
    Kind.GAUGE,
    "Errors of disks and file systems that the kernel logged in the last hour, remounts as read-only among them.",
)

LOGS = ("/var/log/kern.log", "/var/log/messages", "/var/log/syslog")
"""Where distributions write what the kernel says; the first that exists has it all."""

OOM_KILL, IO_ERROR, FILESYSTEM_ERROR = "oom_kill", "io_error", "filesystem_error"
READONLY, HUNG, HARDWARE = "readonly_remount", "hung_task", "hardware_error"
KINDS = (OOM_KILL, IO_ERROR, READONLY, FILESYSTEM_ERROR, HUNG, HARDWARE)

# [ 1234.567890] Out of memory: Killed process 3001 (java) total-vm:9437184kB, ...
# Killed process 3001, UID 993, (java) total-vm:9437184kB, ...
_UPTIME = rb"(?:\[ *\d{1,12}\.\d{6}\] )?"
_DEVICE = rb"[A-Za-z0-9_!.-]{1,64}"
_FAULTS = {
    # Older kernels say "Out of memory: Kill process 3001 (java) score 912 or sacrifice child" first: not counted.
    OOM_KILL: rb"(?:Out of memory(?: \([^)\n]{1,40}\))?: |Memory cgroup out of memory: )?"
    rb"Killed process \d{1,10}(?:, UID \d{1,10},)? \((?P<oom_kill>[^\n]{1,15}?)\)[ ,]",
    # blk_update_request: I/O error, dev sda, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0
    # I/O error, dev nvme0n1, sector 2048 ... ; critical medium error, dev sdb, sector 2048
    # Buffer I/O error on dev dm-0, logical block 12, lost async page write
    # nvme nvme0: I/O 12 QID 3 timeout, aborting
    IO_ERROR: rb"(?:(?:(?:blk_update_request: |end_request: |print_req_error: )?"
    rb"(?:I/O|critical (?:medium|target|space allocation|nexus)) error, dev |Buffer I/O error on dev(?:ice)? )"
    rb"(?!fd\d|sr\d|loop)(?P<io_error>" + _DEVICE + rb"),"
    # A disk that does not know how to discard says so as an error, and nothing is lost.
    rb"(?![^\n]{0,40} op 0x\d:\((?:DISCARD|WRITE_ZEROES|SECURE_ERASE)\))"
    rb"|nvme (?P<io_error2>nvme\d{1,4}): I/O (?:tag )?\d{1,6}(?: \([0-9a-f:]{1,12}\))? "
    rb"(?:opcode 0x[0-9a-f]{1,2} )?QID \d{1,4} timeout)",
    # EXT4-fs (dm-0): Remounting filesystem read-only ; BTRFS info (device sdb1): forced readonly
    # XFS (dm-1): Filesystem has been shut down due to log error (0x2). ; xfs_do_force_shutdown(0x8) called from
    READONLY: rb"(?:EXT[234]-fs \((?P<readonly_remount>" + _DEVICE + rb")\): Remounting filesystem read-only"
    rb"|BTRFS (?:info|error|warning) \(device (?P<readonly_remount2>" + _DEVICE + rb")[^)\n]{0,40}\): forced readonly"
    rb"|XFS \((?P<readonly_remount3>" + _DEVICE + rb")\): (?:xfs_do_force_shutdown\(|Filesystem has been shut down))",
    # EXT4-fs error (device dm-0): ext4_lookup:1602: inode #2: comm java: deleted inode referenced: 12
    # JBD2: Detected IO errors while flushing file data on dm-0-8 ; Aborting journal on device dm-0-8.
    # XFS (dm-1): Metadata corruption detected at xfs_agf_read_verify+0x70 ; XFS (dm-1): metadata I/O error in ...
    FILESYSTEM_ERROR: rb"(?:EXT[234]-fs error \(device (?P<filesystem_error>" + _DEVICE + rb")\)"
    rb"|BTRFS:? (?:error|critical) \(device (?P<filesystem_error2>" + _DEVICE + rb")[^)\n]{0,40}\)"
    rb"|(?:JBD2: (?:Detected IO errors while flushing file data on |Error -\d{1,4} detected when updating journal "
    rb"superblock for )|Aborting journal on device )(?P<filesystem_error3>" + _DEVICE + rb")"
    rb"|XFS \((?P<filesystem_error4>" + _DEVICE + rb")\): (?:[Mm]etadata (?:corruption detected|I/O [Ee]rror)"
    rb"|Corruption of (?:in-memory|on-disk) |Corruption detected|Internal error |[Ll]og I/O [Ee]rror))",
    # INFO: task java:3001 blocked for more than 120 seconds.
    HUNG: rb"INFO: task (?P<hung_task>[^\n]{1,15}?):\d{1,10} blocked for more than \d{1,6} seconds",
    # mce: [Hardware Error]: Machine check events logged ; EDAC MC0: 1 UE memory read error on CPU_SrcID#0
    HARDWARE: rb"(?P<hardware_error>mce: \[Hardware Error\]: Machine check events logged|EDAC MC\d{1,4}: \d{1,10} UE )",
}
_FAULT = re.compile(_UPTIME + rb"(?:" + b"|".join(_FAULTS.values()) + rb")")
_START = (
    _UPTIME
    + rb"(?:Out of memory|Memory cgroup out|Killed process|blk_update|end_request|print_req|I/O error,|critical |"
    rb"Buffer I/O|nvme |EXT[234]-fs |BTRFS|XFS |JBD2: |Aborting journal|INFO: task|mce: |EDAC )"
)

_COMPONENTS: Mapping[str, str] = {
    "java": "java",
    "mysqld": "mysqld",
    "mariadbd": "mysqld",
    "slapd": "ldap",
    "nginx": "proxy",
    "memcached": "memcached",
    "clamd": "antivirus",
    "freshclam": "antivirus",
    "amavis": "amavis",
    "amavisd": "amavis",
    "opendkim": "opendkim",
    "saslauthd": "sasl",
    "unbound": "dnscache",
    "httpd": "spell",
    "cbpolicyd": "cbpolicyd",
    **dict.fromkeys(("master", "qmgr", "smtpd", "smtp", "cleanup", "lmtp", "postscreen", "pickup"), "mta"),
}
_PROGRAM = re.compile(r"[A-Za-z0-9_-]+")


class KernelFault(NamedTuple):
    """One fault.

    Attributes:
        kind: Of ``KINDS``.
        what: The device, or the name of the process; empty where neither is told.
    """

    kind: str
    what: str


def parse_kernel(message: bytes) -> KernelFault | None:
    """Return the fault that a message of the kernel tells; None for any other message."""
    match = _FAULT.match(message)
    if match is None:
        return None
    name = match.lastgroup or ""
    kind = name.rstrip("0123456789")
    what = "" if kind == HARDWARE else match[name].decode("utf-8", "replace")
    if name == "filesystem_error3":
        what = what.rpartition("-")[0] or what  # a journal is called by its device and an inode: dm-0-8
    return KernelFault(kind, what)


def component(process: str) -> str:
    """Return which part of ZCS a process name belongs to, ``other`` for none.

    amavis names its processes by what they do: ``amavisd (ch3-av``.
    """
    word = _PROGRAM.match(process)
    return _COMPONENTS.get(word[0] if word else "", "other")


class KernelPart(FaultPart):
    """Looks for faults in the first syslog file that has what the kernel says."""

    name: ClassVar[str] = "kernel"
    metrics: ClassVar[tuple[Metric, ...]] = (SIGNALS, OOM_KILLS, STORAGE_ERRORS)
    gauges: ClassVar[Mapping[str, Metric]] = {
        OOM_KILL: OOM_KILLS,
        IO_ERROR: STORAGE_ERRORS,
        FILESYSTEM_ERROR: STORAGE_ERRORS,
        READONLY: STORAGE_ERRORS,
    }
    grades: ClassVar[Mapping[str, Grade]] = {
        OOM_KILL: Grade.CRITICAL,
        FILESYSTEM_ERROR: Grade.CRITICAL,
        READONLY: Grade.CRITICAL,
    }

    def __init__(self, host: Host, clock: Clock) -> None:
        super().__init__(clock, dict.fromkeys(LOGS, KINDS))
        self._host = host

    def subscriptions(self) -> Sequence[Subscription]:
        """Return the one log of the kernel."""
        log = next((log for log in LOGS if self._host.exists(log)), LOGS[0])
        return (SyslogSubscription(log, {b"kernel": _START}, self._feed),)

    def _feed(self, block: SyslogBlock) -> None:
        for line in block.lines:
            fault = parse_kernel(line.message) if line.program == b"kernel" else None
            if fault is None:
                continue
            who, fields = fault.what, {"object": fault.what}
            if fault.kind in (OOM_KILL, HUNG):
                who = component(fault.what)
                fields["program"] = who
            where = partial(block.offset, line)
            self.note(fault.kind, line.at, block.path, where, live=block.live, fields=fields, who=who)
