"""A host as the agent's tests know it: made-up samples of every table, and the view of them."""

from mib_views import numbered_view
from snapshots import reading, sample, snapshot

from zcs_exporter.agent.facts import Facts, StandingAlarm
from zcs_exporter.agent.numbers import Numbers
from zcs_exporter.agent.view import MibView
from zcs_exporter.alerting.alarm import Alarm
from zcs_exporter.alerting.model import Severity, load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.contract import Sample
from zcs_exporter.notify.target import TargetStatus
from zcs_exporter.snapshot import Snapshot
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Oid

AT = 1_709_371_233.0
HOST = "mail.example.com"
VIEW_ROOT = DEFAULT_ROOT
CATALOGUE = load_catalogue(asset("alerts"))


def mount(path: str, *, used: float = 0.5) -> list[Sample]:
    labels = {"device": "/dev/sda1", "fstype": "xfs", "mountpoint": path}
    return [
        sample("zcs_filesystem_size_bytes", labels, 100 << 30),
        sample("zcs_filesystem_free_bytes", labels, 40 << 30),
        sample("zcs_filesystem_avail_bytes", labels, 30 << 30),
        sample("zcs_filesystem_used_ratio", {"mountpoint": path}, used),
    ]


def whole_snapshot() -> Snapshot:
    """Something of everything that has a table."""
    return snapshot(
        AT,
        reading(
            "zimbra",
            [
                sample("zcs_info", {"version": "9.0.0", "patch": "9.0.0_P39", "edition": "FOSS", "hostname": HOST}, 1),
                sample("zcs_maintenance", {"cause": "file"}, 0),
            ],
        ),
        reading("filesystem", [*mount("/"), *mount("/opt/zimbra", used=0.96)]),
        reading(
            "services",
            [
                sample("zcs_service_up", {"name": "mta"}, 0),
                sample("zcs_service_up", {"name": "mailbox"}, 1),
                sample("zcs_service_restarts_total", {"name": "mailbox"}, 3),
            ],
        ),
        reading(
            "postfix",
            [
                sample("zcs_postfix_queue_messages", {"queue": "deferred"}, 1000),
                sample("zcs_postfix_queue_bytes", {"queue": "deferred"}, 5 << 20),
                sample("zcs_postfix_queue_oldest_age_seconds", {"queue": "deferred"}, 86400),
                sample("zcs_postfix_queue_messages", {"queue": "active"}, 0),
            ],
        ),
        reading(
            "mysqld",
            [
                sample("mysql_up", {}, 1),
                sample("mysql_global_status_threads_connected", {}, 12),
                sample("mysql_global_status_innodb_buffer_pool_read_requests", {}, 1000),
                sample("mysql_global_status_innodb_buffer_pool_reads", {}, 10),
            ],
        ),
        reading(
            "jvm",
            [
                sample("zcs_jvm_up", {"jvm": "mailboxd"}, 1),
                sample("jvm_memory_used_bytes", {"jvm": "mailboxd", "area": "heap"}, 512 << 20),
                sample("jvm_memory_max_bytes", {"jvm": "mailboxd", "area": "heap"}, 1 << 30),
            ],
        ),
        reading("auth", [sample("zcs_auth_failures_total", {"protocol": "soap", "reason": "bad_password"}, 2**40)]),
        reading(
            "certificates",
            [
                sample(
                    "zcs_certificate_not_after_timestamp_seconds",
                    {"name": "mailboxd", "path": "/opt/zimbra/conf/slapd.crt"},
                    AT - 86400.5,
                )
            ],
        ),
        reading("probes", [sample("zcs_probe_success", {"probe": "smtp"}, 1)]),
    )


def standing_alarm(severity: Severity = Severity.CRITICAL, number: int = 7) -> StandingAlarm:
    rule = next(rule for rule in CATALOGUE.alerts if rule.name == "ZcsFilesystemFull")
    labels = (("mountpoint", "/opt/zimbra"),)
    alarm = Alarm(rule.name, labels, alarm_id=number, severity=severity, since=AT - 60, count=1, value=0.96)
    return rule, alarm


def target(name: str = "nms", *, up: bool | None = True) -> TargetStatus:
    return TargetStatus(name, up, 0, 0.0, 17, 16, 1, 0, 0, 0)


def facts() -> Facts:
    return Facts(whole_snapshot(), [standing_alarm()], [target()], HOST)


def view(root: Oid = DEFAULT_ROOT, numbers: Numbers | None = None) -> MibView:
    return numbered_view(facts(), numbers, root)
