import asyncio
import ipaddress
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.auth.collector import AuthCollector, AuthConfig
from collectors.auth.metrics import ALL, MTA_FAILURES, PROXY_FAILURES, STORE_FAILURES
from zcs_exporter.alerting.model import AlertRule, Catalogue, load_catalogue
from zcs_exporter.contract import (
    CollectError,
    Durable,
    Event,
    EvidenceKind,
    Finding,
    LogBlock,
    LogFed,
    NotOnThisHost,
    Reason,
    Record,
    Sample,
    Shortfall,
    Subscription,
)
from zcs_exporter.feeds import feeds_of
from zcs_exporter.schema import SchemaError
from zcs_exporter.syslog import log_host_names

AUDIT = "/opt/zimbra/log/audit.log"
IMAPD = "/opt/zimbra/log/imapd-audit.log"
MAILBOX = "/opt/zimbra/log/mailbox.log"
IMAPD_LOG = "/opt/zimbra/log/imapd.log"
NGINX = "/opt/zimbra/log/nginx.log"
SYSLOG = "/var/log/zimbra.log"

TRIE = "     |-- 10.0.0.10\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n"

HTTPS = "qtp1068934215-512:https://mail.example.com:443/service/soap/AuthRequest"
ADMIN = "qtp509886383-2438084:https://mail.example.com:7071/service/admin/soap/"
SASL = "qtp1:https:https://mail.example.com:7073/service/admin/soap/"


@pytest.fixture
def zimbra(host: FakeHost) -> FakeHost:
    """A store, MTA and proxy in one, of a release with ``common/``."""
    for path in (AUDIT, MAILBOX, NGINX, SYSLOG):
        host.write(path, "")
    host.write("/opt/zimbra/common/.keep", "")
    host.write("/proc/net/fib_trie", TRIE)
    host.services("mailbox", "mta", "proxy")
    return host


@dataclass
class Daemon:
    """What runs a collector: feeds it, commits its rows, and kills it."""

    host: FakeHost
    manual: ManualClock
    config: AuthConfig = field(default_factory=AuthConfig)
    rows: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.collector = AuthCollector(self.config, self.host, self.manual.clock)
        self.collector.restore(self.rows)
        wishes: dict[str, list[Subscription]] = {}
        for wish in self.collector.subscriptions():
            wishes.setdefault(wish.path, []).append(wish)
        names = log_host_names(self.host)
        self.feeds = {path: feeds_of(found, names, 0, self.manual.clock)[0] for path, found in wishes.items()}

    def feed(self, path: str, *lines: str | bytes, live: bool = True) -> None:
        data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
        for feed in self.feeds[path]:
            feed(LogBlock(path, data, 0, live))

    def commit(self) -> Mapping[str, str | None]:
        changes = self.collector.changes()
        for key, row in changes.items():
            if row is None:
                del self.rows[key]
            else:
                self.rows[key] = row
        return changes

    def findings(self) -> list[Finding]:
        return list(asyncio.run(self.collector.collect()))

    def samples(self) -> dict[tuple[str, ...], Sample]:
        found = [sample for sample in self.findings() if isinstance(sample, Sample)]
        return {(sample.metric.name, *sample.labels): sample for sample in found}

    def values(self) -> dict[tuple[str, ...], float]:
        return {key: sample.value for key, sample in self.samples().items()}

    def failures(self) -> dict[tuple[str, str], float]:
        found = ((key[1:], value) for key, value in self.values().items() if key[0] == "zcs_auth_failures_total")
        return {(protocol, reason): value for (protocol, reason), value in found if value}

    def window(self) -> dict[str, float]:
        """The checks' numbers, and the two of spraying and distribution."""
        values = self.values()
        checks = {
            check: values["zcs_auth_window_failures_max", check] for check in ("ip_account", "account", "ip", "total")
        }
        return checks | {
            "spray": values["zcs_auth_window_accounts_per_ip_max",],
            "distributed": values["zcs_auth_window_addresses_per_account_max",],
        }

    def fired(self, catalogue: Catalogue) -> set[str]:
        values = {key[0]: value for key, value in self.values().items() if len(key) == 1}
        return {rule.name for rule in catalogue.alerts if rule.family == "auth" and fires(rule, values)}

    def records(self, kind: str = "") -> list[Record]:
        found = [part for part in self.findings() if isinstance(part, Record)]
        return [record for record in found if not kind or record.kind == kind]


def fires(rule: AlertRule, values: Mapping[str, float]) -> bool:
    for condition in rule.conditions:
        if any(name not in values for name in condition.metrics):
            return False
        value = values[condition.metrics[0]]
        if condition.ratio is not None:
            value /= values[condition.ratio[1]]
        limits = condition.thresholds.values() if isinstance(condition.thresholds, Mapping) else [condition.thresholds]
        if not any(condition.holds(value, limit) for limit in limits):
            return False
    return True


@pytest.fixture
def daemon(zimbra: FakeHost, manual: ManualClock) -> Daemon:
    return Daemon(zimbra, manual)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(Path(__file__).parents[3] / "alerts")


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")


def audit(
    at: float,
    account: str = "ann@example.com",
    context: str = "oip=203.0.113.9;",
    *,
    protocol: str = "soap",
    thread: str = HTTPS,
    reason: str = ", invalid password",
    level: str = "WARN ",
    cmd: str = "Auth",
) -> str:
    told = f" protocol={protocol};" if protocol else ""
    error = f" error=authentication failed for [{account}]{reason};" if reason is not None else ""
    return f"{stamp(at)},901 {level} [{thread}] [{context}] security - cmd={cmd}; account={account};{told}{error}"


def success(at: float, protocol: str = "imap", thread: str = "ImapSSLServer-42", context: str = "ip=10.0.0.5;") -> str:
    message = f"cmd=Auth; account=ann@example.com; protocol={protocol};"
    return f"{stamp(at)},118 INFO  [{thread}] [{context}] security - {message}"


def syslog(at: float, program: str, message: str, host: str = "mail", *, iso: bool = False) -> str:
    moment = datetime.fromtimestamp(at).astimezone()
    prefix = moment.isoformat(timespec="microseconds") if iso else moment.strftime("%b %e %H:%M:%S")
    return f"{prefix} {host} {program}: {message}"


def smtp(at: float, account: str = "eve", address: str = "203.0.113.5", host: str = "mail") -> list[str]:
    return [
        syslog(
            at, "saslauthd[29157]", f"auth_zimbra: {account} auth failed: authentication failed for [{account}]", host
        ),
        syslog(
            at,
            "saslauthd[29157]",
            f"do_auth         : auth failure: [user={account}] [service=smtp] [realm=] [mech=zimbra] [reason=Unknown]",
            host,
        ),
        syslog(
            at,
            "postfix/smtps/smtpd[4711]",
            f"warning: unknown[{address}]: SASL LOGIN authentication failed: authentication failure",
            host,
        ),
    ]


def test_it_is_fed_by_logs_and_survives_restarts(daemon: Daemon) -> None:
    assert isinstance(daemon.collector, LogFed)
    assert isinstance(daemon.collector, Durable)
    assert set(daemon.feeds) == {AUDIT, IMAPD, MAILBOX, IMAPD_LOG, NGINX, SYSLOG}


def test_a_host_without_logs_has_no_logins(host: FakeHost, manual: ManualClock) -> None:
    with pytest.raises(NotOnThisHost):
        Daemon(host, manual).findings()


def test_without_a_tailer_nothing_that_logs_tell_is_claimed(zimbra: FakeHost, manual: ManualClock) -> None:
    collector = AuthCollector(AuthConfig(), zimbra, manual.clock)
    found = asyncio.run(collector.collect())
    assert [sample.metric.name for sample in found if isinstance(sample, Sample)] == ["zcs_auth_window_seconds"]


def test_every_series_that_may_come_starts_at_zero(daemon: Daemon) -> None:
    values = daemon.values()
    known = {key[1:] for key in values if key[0] == "zcs_auth_failures_total"}
    assert known == set(STORE_FAILURES) | set(MTA_FAILURES) | set(PROXY_FAILURES)
    assert len(known) <= 63
    later = {"zcs_auth_active_accounts", "zcs_auth_admin_operations_total"}
    assert {key[0] for key in values} == {metric.name for metric in ALL} - later
    assert {value for key, value in values.items() if key[0] != "zcs_auth_window_seconds"} == {0}


def test_what_this_host_has_no_log_of_is_unknown(host: FakeHost, manual: ManualClock) -> None:
    host.write(SYSLOG, "")
    host.services("mta")
    values = Daemon(host, manual).values()
    assert {key[1] for key in values if key[0] == "zcs_auth_failures_total"} == {"smtp"}
    assert ("zcs_auth_admin_window_failures",) not in values
    host.services("ldap")
    assert not {key for key in Daemon(host, manual).values() if key[0] == "zcs_auth_failures_total"}


def test_a_log_that_cannot_be_read_is_told(zimbra: FakeHost, manual: ManualClock) -> None:
    (zimbra.base / AUDIT.lstrip("/")).unlink()
    (zimbra.base / AUDIT.lstrip("/")).mkdir()
    found = Daemon(zimbra, manual).findings()
    assert [part.message for part in found if isinstance(part, Shortfall)] == [f"opening {AUDIT}: Is a directory"]
    assert not any(isinstance(part, Sample) and part.labels[:1] == ("soap",) for part in found)
    for path in (MAILBOX, NGINX, SYSLOG):
        (zimbra.base / path.lstrip("/")).unlink()
    with pytest.raises(CollectError, match="Is a directory"):
        Daemon(zimbra, manual).findings()


def test_each_failure_and_success_is_counted_by_protocol_and_reason(daemon: Daemon, manual: ManualClock) -> None:
    now = manual.now
    daemon.feed(
        AUDIT,
        audit(now),
        audit(now, protocol="imap", thread="ImapSSLServer-7", reason=", account lockout"),
        audit(now, protocol="client_certificate"),
        audit(now, thread=ADMIN),
        audit(now, reason=", no two-factor code provided"),
        success(now),
        success(now, "pop3"),
        success(now, "soap", ADMIN),
        success(now, "soap", SASL),
    )
    assert daemon.failures() == {
        ("soap", "bad_password"): 1,
        ("imap", "locked"): 1,
        ("other", "bad_password"): 1,
        ("admin", "bad_password"): 1,
        ("soap", "two_factor"): 1,
    }
    values = daemon.values()
    told = {key[1]: value for key, value in values.items() if key[0] == "zcs_auth_successes_total" and value}
    assert told == {"imap": 1, "pop3": 1, "admin": 1}


def test_nine_failures_at_59_and_nine_at_01_fire_the_check_of_ten(
    daemon: Daemon, manual: ManualClock, catalogue: Catalogue
) -> None:
    minute = (int(manual.now) // 60 + 1) * 60
    manual.now = minute - 0.5
    daemon.feed(AUDIT, *(audit(minute - 1) for _ in range(9)))
    assert daemon.fired(catalogue) == set()
    manual.now = minute + 1.5
    daemon.feed(AUDIT, *(audit(minute + 1) for _ in range(9)))
    assert daemon.window()["ip_account"] == 18
    assert "ZcsAuthIpAccountFailures" in daemon.fired(catalogue)
    manual.now = minute + 61
    assert daemon.fired(catalogue) == set()


def test_a_spray_over_twenty_accounts_fires_exactly_its_checks(
    daemon: Daemon, manual: ManualClock, catalogue: Catalogue
) -> None:
    daemon.feed(AUDIT, *(audit(manual.now, f"user{number}@example.com") for number in range(20)))
    assert daemon.fired(catalogue) == {"ZcsAuthIpFailures", "ZcsAuthSpraying"}
    assert daemon.window() == {"ip_account": 1, "account": 1, "ip": 20, "total": 20, "spray": 20, "distributed": 1}


def test_a_distributed_attack_through_the_proxy_fires_exactly_its_checks(
    daemon: Daemon, manual: ManualClock, catalogue: Catalogue
) -> None:
    daemon.feed(
        AUDIT,
        *(audit(manual.now, context=f"ip=10.0.0.10;oip=2001:db8::{n:x};", protocol="imap") for n in range(1, 16)),
    )
    assert daemon.fired(catalogue) == {"ZcsAuthAccountFailures", "ZcsAuthDistributed"}
    assert daemon.window() == {"ip_account": 1, "account": 15, "ip": 1, "total": 15, "spray": 1, "distributed": 15}


def test_a_true_total_over_a_thousand_addresses_fires_only_itself(
    daemon: Daemon, manual: ManualClock, catalogue: Catalogue
) -> None:
    lines = [audit(manual.now, f"u{n}@example.com", f"oip=198.51.{100 + n // 250}.{n % 250};") for n in range(1000)]
    daemon.feed(AUDIT, *lines[:999])
    assert daemon.fired(catalogue) == set()
    daemon.feed(AUDIT, lines[999])
    assert daemon.fired(catalogue) == {"ZcsAuthTotalFailures"}


def test_the_client_is_the_rightmost_foreign_entry_and_claims_accuse_nobody(
    zimbra: FakeHost, manual: ManualClock
) -> None:
    config = AuthConfig.of({"trusted_proxies": ["192.0.2.0/24"], "cluster_servers": ["10.0.0.5"]})
    daemon = Daemon(zimbra, manual, config)
    daemon.feed(
        AUDIT,
        *(
            audit(manual.now, context="oip=203.0.113.66, 198.51.100.7, 192.0.2.1, 10.0.0.5, 10.0.0.10;")
            for _ in range(3)
        ),
    )
    evidence = daemon.samples()["zcs_auth_window_failures_max", "ip"].evidence
    assert [(item.kind, item.value, item.count) for item in evidence] == [
        (EvidenceKind.ADDRESS, "198.51.100.7", 3),
        (EvidenceKind.ADDRESS, "203.0.113.66 (claimed by 198.51.100.7)", None),
    ]
    assert daemon.window()["ip"] == 3


def test_evidence_names_the_top_ten_only(daemon: Daemon, manual: ManualClock) -> None:
    for number in range(30):
        lines = [audit(manual.now, f"u{number}@example.com", f"oip=203.0.113.{number};") for _ in range(number + 1)]
        daemon.feed(AUDIT, *lines)
    samples = daemon.samples()
    assert all(len(sample.evidence) <= 10 for sample in samples.values())
    pairs = samples["zcs_auth_window_failures_max", "ip_account"].evidence
    assert [(item.kind.value, item.value, item.count) for item in pairs[:2]] == [
        ("address", "203.0.113.29", 30),
        ("account", "u29@example.com", 30),
    ]
    assert samples["zcs_auth_window_account_failures_max",].evidence[9].value == "u20@example.com"


def test_a_user_agent_that_imitates_the_end_of_a_context_hides_no_failure(daemon: Daemon, manual: ManualClock) -> None:
    for agent in ("x] security - y", "[] security - y", "x;;] security - cmd=Auth;; account=ann;; protocol=soap;;"):
        daemon.feed(AUDIT, audit(manual.now, context=f"oip=203.0.113.9;ua={agent};"))
    assert daemon.failures() == {("soap", "bad_password"): 3}
    values = daemon.values()
    assert values["zcs_auth_window_failures_max", "ip_account"] == 3
    assert values["zcs_auth_log_injection_attempts_total", "audit_entry"] == 3
    assert values["zcs_auth_successes_total", "soap"] == 0


def test_an_empty_context_counts_for_account_and_total(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(AUDIT, audit(manual.now, context=""))
    assert daemon.window() == {"ip_account": 0, "account": 1, "ip": 0, "total": 1, "spray": 0, "distributed": 0}


def test_a_doubled_semicolon_is_part_of_a_value(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(AUDIT, audit(manual.now, context="ua=a;;oip=203.0.113.66;;;oip=198.51.100.7;"))
    assert daemon.samples()["zcs_auth_window_failures_max", "ip"].evidence[0].value == "198.51.100.7"


def test_one_bad_admin_login_of_an_old_release_is_one_failure(daemon: Daemon, manual: ManualClock) -> None:
    now = manual.now
    told = {"context": "ip=203.0.113.9;", "account": "admin@example.com"}
    for thread in (ADMIN, "btpool0-1042"):
        daemon.feed(
            AUDIT,
            audit(now, **told, thread=thread, cmd="AdminAuth", protocol="", level="INFO ", reason=None),  # type: ignore[arg-type]
            audit(now, **told, thread=thread),  # type: ignore[arg-type]
            audit(now, **told, thread=thread, cmd="AdminAuth", protocol="", reason=""),  # type: ignore[arg-type]
        )
    assert daemon.failures() == {("admin", "bad_password"): 1, ("soap", "bad_password"): 1}
    assert daemon.values()["zcs_auth_successes_total", "admin"] == 0


def test_a_restart_between_a_refusal_and_its_repetition_counts_one(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(AUDIT, audit(manual.now, thread=ADMIN))
    daemon.commit()
    daemon.start()
    daemon.feed(AUDIT, audit(manual.now, thread=ADMIN, cmd="AdminAuth", protocol="", reason=""))
    assert daemon.failures() == {("admin", "bad_password"): 1}


def test_an_admin_refused_for_another_reason_is_a_failure(daemon: Daemon, manual: ManualClock) -> None:
    refused = audit(manual.now, cmd="AdminAuth", protocol="", reason="", thread=ADMIN)
    daemon.feed(AUDIT, success(manual.now, "soap", ADMIN), refused)
    assert daemon.failures() == {("admin", "other"): 1}


def test_five_admin_failures_in_ten_minutes_are_told(daemon: Daemon, manual: ManualClock, catalogue: Catalogue) -> None:
    for _ in range(4):
        daemon.feed(AUDIT, audit(manual.now, thread=ADMIN))
        manual.advance(149)
    assert daemon.fired(catalogue) == set()
    daemon.feed(AUDIT, audit(manual.now, thread=ADMIN))
    assert daemon.fired(catalogue) == {"ZcsAuthAdminFailures"}
    assert [item.value for item in daemon.samples()["zcs_auth_admin_window_failures",].evidence] == [
        "203.0.113.9",
        "ann@example.com",
    ]
    manual.advance(4)
    assert daemon.fired(catalogue) == set()


def test_maintenance_and_must_change_are_no_failures(daemon: Daemon, manual: ManualClock) -> None:
    for error in ("account is in maintenance mode", "must change password"):
        line = audit(manual.now).replace("authentication failed for [ann@example.com], invalid password", error)
        daemon.feed(AUDIT, line)
    assert daemon.failures() == {}


def mailbox(at: float, component: str, message: str, context: str = "oip=203.0.113.9;", thread: str = HTTPS) -> str:
    return f"{stamp(at)},901 INFO  [{thread}] [{context}] {component} - {message}"


UNKNOWN_SOAP = "handler exception: authentication failed for [nobody@example.com], account not found"
UNKNOWN_MAIL = "authentication failed for nobody@example.com (no such account)"
UNKNOWN_AUDIT = (
    "Error occurred during authentication: authentication failed for [nobody@example.com]. Reason: account not found."
)


def test_an_unknown_name_is_counted_once_whichever_logs_tell_of_it(daemon: Daemon, manual: ManualClock) -> None:
    now = manual.now
    daemon.feed(
        MAILBOX,
        mailbox(now, "SoapEngine", UNKNOWN_SOAP),
        mailbox(now, "account", UNKNOWN_MAIL, "ip=10.0.0.10;oip=198.51.100.7;", "ImapSSLServer-7"),
        mailbox(now, "account", UNKNOWN_AUDIT, thread=HTTPS),
        mailbox(now, "SoapEngine", UNKNOWN_SOAP, thread=SASL),
    )
    told = f"{stamp(now)},001 INFO  [{{}}] [oip=203.0.113.9;] security - {UNKNOWN_AUDIT}"
    daemon.feed(AUDIT, *(told.format(thread) for thread in (HTTPS, "ImapSSLServer-7", "Pop3Server-1", SASL)))
    assert daemon.failures() == {("soap", "no_account"): 1, ("imap", "no_account"): 1}
    daemon.feed(AUDIT, told.format("qtp1-5:https://mail.example.com:443/home/ann"))
    assert daemon.failures()["other", "no_account"] == 1
    names = {item.value for item in daemon.samples()["zcs_auth_window_failures_max", "account"].evidence}
    assert names == {"nobody@example.com"}
    assert daemon.window()["ip"] == 2


def test_without_mailbox_log_the_additional_lines_of_audit_log_tell_unknown_names(
    zimbra: FakeHost, manual: ManualClock
) -> None:
    (zimbra.base / MAILBOX.lstrip("/")).unlink()
    daemon = Daemon(zimbra, manual)
    daemon.feed(AUDIT, f"{stamp(manual.now)},001 INFO  [{HTTPS}] [oip=203.0.113.9;] security - {UNKNOWN_AUDIT}")
    assert daemon.failures() == {("soap", "no_account"): 1}


def test_no_line_is_so_long_that_an_unknown_name_leaves_no_trace(daemon: Daemon, manual: ManualClock) -> None:
    agent = f"oip=203.0.113.9;ua={'x' * 70_000};"
    name = "x" * 70_000
    whole = mailbox(manual.now, "SoapEngine", UNKNOWN_SOAP, f"ua={'x' * 64_000};")
    lines = [
        mailbox(manual.now, "SoapEngine", UNKNOWN_SOAP, agent),
        mailbox(manual.now, "SoapEngine", UNKNOWN_SOAP.replace("nobody", name)),
        mailbox(manual.now, "account", UNKNOWN_MAIL.replace("nobody", name), thread="ImapSSLServer-7"),
        # These tell something else, whatever is missing of them.
        mailbox(manual.now, "soap", name),
        mailbox(manual.now, "SoapEngine", f"handler exception: {name}"),
        name,
        whole,
    ]
    daemon.feed(MAILBOX, *(line[:65_536] for line in lines))
    assert daemon.samples()["zcs_auth_unparsed_lines_total", "mailbox.log"].value == 3
    assert daemon.failures() == {("soap", "no_account"): 1}


def test_an_unknown_name_counts_only_at_the_place_of_its_component(daemon: Daemon, manual: ManualClock) -> None:
    forged = f"x] SoapEngine - {UNKNOWN_SOAP}"
    daemon.feed(
        MAILBOX,
        mailbox(manual.now, "soap", "x", context=f"ua={forged};"),
        mailbox(manual.now, "misc", UNKNOWN_SOAP),
        mailbox(manual.now, "SoapEngine", f"x {UNKNOWN_SOAP}"),
        UNKNOWN_SOAP,
        mailbox(manual.now, "account", UNKNOWN_MAIL),
    )
    assert daemon.failures() == {}


def test_a_suspended_address_is_told_once_and_its_requests_are_counted(daemon: Daemon, manual: ManualClock) -> None:
    text = "Access from IP 203.0.113.9 suspended, for repeated failed login."
    daemon.feed(MAILBOX, *(mailbox(manual.now + n, "misc", text, "") for n in range(3)))
    daemon.commit()
    daemon.start()
    daemon.feed(MAILBOX, mailbox(manual.now + 5, "misc", text, ""))
    daemon.feed(MAILBOX, mailbox(manual.now, "misc", f"x {text}", ""))
    findings = daemon.findings()
    values = {part.metric.name: part.value for part in findings if isinstance(part, Sample)}
    assert values["zcs_auth_address_suspensions_total"] == 1
    assert values["zcs_auth_suspended_requests_total"] == 4
    events = [part for part in findings if isinstance(part, Event)]
    assert [(event.name, dict(event.labels)) for event in events] == [("ZcsAuthAddressSuspended", {"addresses": "1"})]
    assert events[0].evidence[0].value == "203.0.113.9"
    manual.advance(900)
    daemon.feed(MAILBOX, mailbox(manual.now + 10, "misc", text, ""), live=False)
    [record] = daemon.records("address_suspended")
    assert dict(record.fields) == {"address": "203.0.113.9"}
    assert (record.log, record.offset) == (MAILBOX, 0)
    assert not [part for part in daemon.findings() if isinstance(part, Event)]


def test_a_directory_that_does_not_answer_accuses_nobody(
    daemon: Daemon, manual: ManualClock, catalogue: Catalogue
) -> None:
    down = (
        ", external LDAP auth failed, LDAP error: An error occurred while attempting to connect to server ad.test:389"
    )
    wrong = ", external LDAP auth failed, LDAP error: 80090308: LdapErr: AcceptSecurityContext error, data 52e, v3839"
    daemon.feed(AUDIT, *(audit(manual.now, reason=down) for _ in range(30)), audit(manual.now, reason=wrong))
    assert daemon.failures() == {("soap", "external"): 31}
    assert daemon.window()["total"] == 1
    values = daemon.values()
    assert values["zcs_auth_external_failures_total", "unreachable"] == 30
    assert values["zcs_auth_external_failures_total", "bad_password"] == 1
    assert values["zcs_auth_window_directory_errors",] == 30
    assert daemon.fired(catalogue) == {"ZcsAuthDirectoryUnreachable"}
    daemon.commit()
    daemon.start()
    assert daemon.values()["zcs_auth_window_directory_errors",] == 30
    manual.advance(60)
    assert daemon.values()["zcs_auth_window_directory_errors",] == 0


def operation(at: float, message: str, context: str = "name=admin@example.com;ip=203.0.113.9;soapId=77;") -> str:
    return f"{stamp(at)},118 INFO  [{ADMIN}] [{context}] security - {message}"


def test_what_administrators_do_is_counted_and_told_without_any_value(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(
        AUDIT,
        operation(manual.now, "cmd=ModifyConfig; zimbraSomething=secret-1;"),
        operation(manual.now, "cmd=ModifyDomain; name=example.com; zimbraPreAuthKey=secret-2;"),
        operation(manual.now, "cmd=SetPassword; name=ann@example.com; password=secret-3;"),
        operation(manual.now, "cmd=Strange; name=secret-4;", "name=ann@example.com;aname=boss@example.com;"),
        success(manual.now, "soap", ADMIN, "name=admin@example.com;ip=203.0.113.9;"),
    )
    findings = daemon.findings()
    told = {
        part.labels[0]: part.value for part in findings if isinstance(part, Sample) and "operations" in part.metric.name
    }
    assert told == {"ModifyConfig": 1, "ModifyDomain": 1, "SetPassword": 1, "other": 1}
    records = [part for part in findings if isinstance(part, Record)]
    assert [(record.kind, record.fields.get("command")) for record in records] == [
        ("config_changed", "ModifyConfig"),
        ("config_changed", "ModifyDomain"),
        ("account_changed", "SetPassword"),
        ("account_changed", "other"),
        ("admin_login", None),
    ]
    assert [record.fields["admin"] for record in records] == ["admin@example.com"] * 3 + [
        "boss@example.com",
        "ann@example.com",
    ]
    assert dict(records[1].fields) == {
        "command": "ModifyDomain",
        "admin": "admin@example.com",
        "object": "example.com",
        "soapId": "77",
        "address": "203.0.113.9",
    }
    assert records[2].fields["account"] == "ann@example.com"
    assert "secret" not in repr(findings)
    [event] = [part for part in findings if isinstance(part, Event)]
    assert event.name == "ZcsAuthConfigurationChanged"
    assert dict(event.labels) == {"changes": "2", "commands": "ModifyConfig, ModifyDomain"}


def test_recovery_codes_are_counted_and_told(daemon: Daemon, manual: ManualClock) -> None:
    line = audit(manual.now, protocol="", reason=None)
    daemon.feed(
        AUDIT,
        line + " error=recovery code mismatch;",
        line.replace("WARN ", "INFO ") + " mode=recoveryCode - account unlocked;",
    )
    assert daemon.failures() == {}
    values = daemon.values()
    outcomes = {key[1]: value for key, value in values.items() if key[0] == "zcs_auth_recovery_codes_total"}
    assert outcomes == {"used": 1, "refused": 1}


def test_a_failure_is_recorded_with_all_that_leads_to_it(daemon: Daemon, manual: ManualClock) -> None:
    other = audit(manual.now, "bob@example.com", "ip=198.51.100.7;")
    context = "oip=192.0.2.66, 203.0.113.9;cid=c-1;soapId=4e5e1bb3;"
    daemon.feed(AUDIT, other, audit(manual.now, context=context))
    first, second = daemon.records("login_failed")
    assert (first.offset, second.offset, second.log) == (0, len(other) + 1, AUDIT)
    assert dict(second.fields) == {
        "account": "ann@example.com",
        "address": "203.0.113.9",
        "claimed": "192.0.2.66",
        "oip": "192.0.2.66, 203.0.113.9",
        "protocol": "soap",
        "reason": "bad_password",
        "cid": "c-1",
        "soapId": "4e5e1bb3",
    }
    assert daemon.records("login_failed") == []


def test_in_a_flood_records_are_counted_and_not_told_one_by_one(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(AUDIT, *(audit(manual.now, f"u{n}@example.com") for n in range(500)))
    daemon.feed(SYSLOG, *(line for n in range(100) for line in smtp(manual.now, f"u{n}")))
    *told, rest = daemon.records("login_failed")
    assert len(told) < 100
    assert len(told) + int(rest.fields["count"]) == 600


def test_the_total_is_judged_by_the_share_of_active_accounts_where_they_are_known(
    zimbra: FakeHost, manual: ManualClock, catalogue: Catalogue
) -> None:
    small = Daemon(zimbra, manual, AuthConfig.of({"active_accounts": 6000}))
    large = Daemon(zimbra, manual, AuthConfig.of({"active_accounts": 500_000}))
    lines = [audit(manual.now, f"u{n}@example.com", f"oip=198.51.{100 + n // 250}.{n % 250};") for n in range(1200)]
    small.feed(AUDIT, *lines[:59])
    assert small.fired(catalogue) == set()
    small.feed(AUDIT, lines[59])
    assert small.fired(catalogue) == {"ZcsAuthTotalShare"}
    large.feed(AUDIT, *lines)
    assert large.fired(catalogue) == set()


def test_slow_attacks_below_every_check_of_a_minute_are_seen(
    daemon: Daemon, manual: ManualClock, catalogue: Catalogue
) -> None:
    for number in range(29):
        daemon.feed(AUDIT, audit(manual.now, f"user{number}@example.com"))
        daemon.feed(AUDIT, audit(manual.now, "bob@example.com", f"oip=198.51.100.{number // 2};"))
        manual.advance(90)
    assert daemon.fired(catalogue) == set()
    daemon.commit()
    daemon.start()
    for number in range(29, 40):
        daemon.feed(AUDIT, audit(manual.now, f"user{number}@example.com"))
        daemon.feed(AUDIT, audit(manual.now, "bob@example.com", f"oip=198.51.100.{number};"))
    assert daemon.fired(catalogue) >= {"ZcsAuthSlowSpraying", "ZcsAuthSlowDistributed"}
    samples = daemon.samples()
    assert samples["zcs_auth_hour_accounts_per_ip_max",].value == 40
    assert samples["zcs_auth_hour_accounts_per_ip_max",].evidence[0].value == "203.0.113.9"
    assert samples["zcs_auth_hour_addresses_per_account_max",].evidence[0].value == "bob@example.com"
    manual.advance(3600)
    assert daemon.fired(catalogue) == set()


def test_counting_looks_at_nothing_on_the_host(tmp_path: Path, manual: ManualClock) -> None:
    class Blind(FakeHost):
        def path(self, path: str) -> str:
            raise AssertionError(f"looked at {path}")

    collector = AuthCollector(AuthConfig(), Blind(tmp_path), manual.clock)
    found = collector.counted()
    assert {part.metric.name for part in found if isinstance(part, Sample)} >= {"zcs_auth_window_total_failures"}


def thresholds(catalogue: Catalogue) -> dict[str, dict[str, float]]:
    rules = (rule for rule in catalogue.alerts if rule.family == "auth")
    return {rule.name: {level.name.lower(): value for level, value in rule.defaults.items()} for rule in rules}


def test_an_attack_that_is_over_is_told_as_a_record_and_alarms_nobody(
    daemon: Daemon, manual: ManualClock, catalogue: Catalogue
) -> None:
    daemon.collector.take_thresholds(thresholds(catalogue))
    start = int(manual.now) - 86_400
    lines = [audit(start + second, "ann@example.com") for second in range(0, 50, 2)]
    lines += [audit(start + 600 + second, "bob@example.com", "oip=198.51.100.7;") for second in range(4)]
    daemon.feed(AUDIT, *lines[:14], live=False)
    daemon.feed(AUDIT, *lines[14:], live=False)
    attacks = {record.fields["check"]: record for record in daemon.records("attack")}
    assert set(attacks) == {"ip_account", "account", "ip"}
    assert daemon.fired(catalogue) == set()
    record = attacks["ip_account"]
    assert record.at == start + 18  # the tenth
    assert (record.fields["count"], record.fields["address"]) == ("25", "203.0.113.9")
    assert record.fields["account"] == "ann@example.com"
    assert record.fields["until"] == datetime.fromtimestamp(start + 48, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    manual.advance(5)
    daemon.feed(AUDIT, success(manual.now))
    assert daemon.records("attack") == []


def test_an_attack_of_now_alarms_and_is_no_record(daemon: Daemon, manual: ManualClock, catalogue: Catalogue) -> None:
    daemon.collector.take_thresholds(thresholds(catalogue))
    daemon.feed(AUDIT, *(audit(manual.now) for _ in range(30)))
    assert "ZcsAuthIpFailures" in daemon.fired(catalogue)
    manual.advance(7200)
    assert daemon.records("attack") == []


def test_an_attack_at_the_end_of_old_lines_is_told_after_an_hour_of_silence(
    daemon: Daemon, manual: ManualClock, catalogue: Catalogue
) -> None:
    daemon.collector.take_thresholds(thresholds(catalogue))
    daemon.feed(AUDIT, *(audit(manual.now - 86_400) for _ in range(30)), live=False)
    manual.advance(3600)
    assert daemon.records("attack") == []
    manual.advance(60)
    assert {record.fields["check"] for record in daemon.records("attack")} == {"ip_account", "account", "ip"}


def test_lines_that_are_over_never_come_into_the_windows_of_now(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(AUDIT, *(audit(manual.now - 7200 + n) for n in range(100)), live=False)
    assert {key for key in daemon.commit() if not key.startswith("past/")} == {"counters", "state", "records"}


def test_an_attack_of_the_past_read_across_a_restart_is_one_and_leaves_no_rows(
    daemon: Daemon, manual: ManualClock, catalogue: Catalogue
) -> None:
    start = int(manual.now) - 86_400
    for first in (0, 5, 200):
        daemon.start()
        daemon.collector.take_thresholds(thresholds(catalogue))
        daemon.feed(AUDIT, *(audit(start + first + second, "ann@example.com") for second in range(5)), live=False)
        daemon.commit()
        counts = [record.fields["count"] for record in daemon.records("attack")]
        assert counts == (["10"] if first == 200 else [])
    daemon.start()
    daemon.collector.take_thresholds(thresholds(catalogue))
    manual.advance(3660)
    daemon.findings()
    daemon.commit()
    assert set(daemon.rows) == {"counters", "state"}


def test_a_record_that_waits_is_told_after_a_restart(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(AUDIT, audit(manual.now))
    daemon.commit()
    daemon.start()
    assert [record.fields["account"] for record in daemon.records("login_failed")] == ["ann@example.com"]
    daemon.commit()
    daemon.start()
    assert daemon.records("login_failed") == []


def test_an_attack_of_the_past_is_told_although_nothing_comes_after_a_restart(
    daemon: Daemon, manual: ManualClock, catalogue: Catalogue
) -> None:
    daemon.feed(AUDIT, *(audit(manual.now - 86_400) for _ in range(10)), live=False)
    daemon.commit()
    daemon.start()
    daemon.collector.take_thresholds(thresholds(catalogue))
    manual.advance(3660)
    assert [record.fields["count"] for record in daemon.records("attack")] == ["10"]


def test_an_smtp_failure_is_counted_once_between_mta_and_store(
    zimbra: FakeHost, manual: ManualClock, tmp_path: Path
) -> None:
    mta, store = FakeHost(tmp_path / "mta"), zimbra
    mta.localconfig(zimbra_server_hostname="mta.example.com")
    mta.write(SYSLOG, "")
    mta.services("mta")
    on_mta, on_store = Daemon(mta, manual), Daemon(store, manual)
    on_mta.feed(SYSLOG, *smtp(manual.now, host="mta"))
    context = "name=eve@example.com;oip=203.0.113.5;oport=51288;"
    on_store.feed(AUDIT, audit(manual.now, "eve@example.com", context, thread=SASL))
    # The lines of all hosts reach the logger host's syslog.
    on_store.feed(SYSLOG, *smtp(manual.now, host="mta"))
    assert on_mta.failures() == {("smtp", "other"): 1}
    assert on_store.failures() == {}
    evidence = on_mta.samples()["zcs_auth_window_failures_max", "ip_account"].evidence
    assert [item.value for item in evidence] == ["203.0.113.5", "eve"]


def test_smtp_of_a_single_server_is_counted_once(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(AUDIT, audit(manual.now, "eve@example.com", "ip=10.0.0.10;", thread=SASL))
    daemon.feed(SYSLOG, *smtp(manual.now))
    assert daemon.failures() == {("smtp", "other"): 1}


def test_up_to_86_saslauthd_asks_the_administration_port(zimbra: FakeHost, manual: ManualClock) -> None:
    lines = [
        audit(manual.now, context=context, thread=ADMIN)
        for context in ("ip=10.0.0.10;", "", "ip=10.0.0.5;", "ip=203.0.113.9;", "ip=10.0.0.5;oip=203.0.113.9;")
    ]
    new = Daemon(zimbra, manual, AuthConfig.of({"cluster_servers": ["10.0.0.5"]}))
    new.feed(AUDIT, *lines)
    assert new.failures() == {("admin", "bad_password"): 5}
    (zimbra.base / "opt/zimbra/common/.keep").unlink()
    (zimbra.base / "opt/zimbra/common").rmdir()
    old = Daemon(zimbra, manual, new.config)
    old.feed(AUDIT, *lines)
    assert old.failures() == {("admin", "bad_password"): 2}


@pytest.mark.parametrize("name", ["mail", "mail.example.com", "MAIL", "inside", "inside.example.net"])
@pytest.mark.parametrize("iso", [False, True])
def test_lines_of_this_host_are_known_by_all_its_names(
    zimbra: FakeHost, manual: ManualClock, name: str, iso: bool
) -> None:
    zimbra.write("/proc/sys/kernel/hostname", "inside.example.net\n")
    daemon = Daemon(zimbra, manual)
    message = (
        "warning: unknown[203.0.113.5]: SASL LOGIN authentication failed: authentication failure, sasl_username=ann"
    )
    for host in (name, "mail2", "x" + name, "other.example.com"):
        daemon.feed(SYSLOG, syslog(manual.now, "postfix/smtpd[1]", message, host, iso=iso))
    assert daemon.failures() == {("smtp", "other"): 1}


def test_an_smtp_client_that_sends_lines_as_a_recipient_changes_only_the_attempts(
    daemon: Daemon, manual: ManualClock
) -> None:
    forged = {
        "status_change": "Service status change: mail.example.com mailboxd changed from running to stopped",
        "audit_entry": audit(manual.now),
        "smtp_login": "warning: unknown[192.0.2.66]: SASL LOGIN authentication failed: authentication failure",
    }
    before = daemon.values()
    for text in forged.values():
        reject = f"NOQUEUE: reject: RCPT from unknown[203.0.113.5]: 554 5.7.1 <{text}>: Relay access denied"
        daemon.feed(SYSLOG, syslog(manual.now, "postfix/smtpd[4711]", reject))
    daemon.feed(SYSLOG, syslog(manual.now, "postfix/smtpd[4711]", "NOQUEUE: <auth_zimbra: ann auth OK>"))
    after = daemon.values()
    changed = {key: after[key] for key in after if after[key] != before[key]}
    name = "zcs_auth_log_injection_attempts_total"
    assert changed == {(name, "status_change"): 1, (name, "audit_entry"): 1, (name, "smtp_login"): 2}


def test_zmconfigds_own_status_change_is_no_attempt(daemon: Daemon, manual: ManualClock) -> None:
    message = "Service status change: mail.example.com antivirus changed from running to stopped"
    daemon.feed(SYSLOG, syslog(manual.now, "zmconfigd[2203]", message))
    assert daemon.values()["zcs_auth_log_injection_attempts_total", "status_change"] == 0
    daemon.feed(SYSLOG, syslog(manual.now, "zmconfigd[2203]", "x " + message))
    assert daemon.values()["zcs_auth_log_injection_attempts_total", "status_change"] == 1


def test_a_successful_smtp_login_is_told_by_saslauthd(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(SYSLOG, syslog(manual.now, "saslauthd[12374]", "auth_zimbra: chernandez auth OK"))
    assert daemon.values()["zcs_auth_successes_total", "smtp"] == 1


def test_a_back_end_out_of_reach_is_told_and_accuses_nobody(
    daemon: Daemon, manual: ManualClock, catalogue: Catalogue
) -> None:
    url = "'https://mail.example.com:7073/service/admin/soap/'"
    daemon.feed(
        SYSLOG,
        syslog(manual.now, "saslauthd[7]", f"authentication against url {url} caused error 'couldn't connect to host'"),
        syslog(manual.now, "saslauthd[7]", f"url {url} will not be used for (at least) 600 seconds"),
        smtp(manual.now)[1].replace("29157", "7"),
        smtp(manual.now)[2],
    )
    assert daemon.failures() == {}
    assert daemon.values()["zcs_auth_backend_unanswered_logins",] == 1
    assert daemon.fired(catalogue) == {"ZcsAuthBackendUnreachable"}
    manual.advance(599)
    assert daemon.values()["zcs_auth_backend_unanswered_logins",] == 1
    manual.advance(1)
    assert daemon.values()["zcs_auth_backend_unanswered_logins",] == 0


def test_a_login_under_an_unknown_name_is_counted_by_the_proxy(daemon: Daemon, manual: ManualClock) -> None:
    moment = stamp(manual.now).replace("-", "/")
    rest = 'while in http auth state, client: 198.51.100.23:40113, server: 0.0.0.0:993, login: "nobody@example.com"'
    wrong = f'{moment} [error] 2101#0: *8813 upstream sent invalid response: "2 NO LOGIN failed" while reading'
    daemon.feed(
        NGINX,
        f"{moment} [error] 2101#0: *8814 An error occurred in mail zmauth: user not found:nobody@example.com {rest}",
        wrong,
        f"{moment} [info] 2101#0: *8815 client logged in, login: user not found:x",
    )
    daemon.feed(
        AUDIT,
        f"{stamp(manual.now)},001 INFO  [qtp1] [] security - "
        "Error occurred during authentication: account not found for [x]. oip=1",
    )
    assert daemon.failures() == {("imap", "no_account"): 1}
    assert daemon.samples()["zcs_auth_window_failures_max", "ip"].evidence[0].value == "198.51.100.23"
    assert daemon.values()["zcs_auth_log_injection_attempts_total", "proxy_login"] == 1


def test_a_lockout_is_counted_and_told_once(daemon: Daemon, manual: ManualClock) -> None:
    line = (
        f"{stamp(manual.now)},001 INFO  [{HTTPS}] [ip=203.0.113.9;] security - cmd=Auth; account=ann@example.com; "
        "error=account lockout due to too many failed logins;"
    )
    daemon.feed(AUDIT, line)
    daemon.feed(AUDIT, line, live=False)
    daemon.commit()
    daemon.start()
    events = [part for part in daemon.findings() if isinstance(part, Event)]
    assert [(event.name, dict(event.labels), event.at) for event in events] == [
        ("ZcsAuthAccountLockedOut", {"accounts": "1"}, int(manual.now))
    ]
    assert [item.value for item in events[0].evidence] == ["ann@example.com"]
    daemon.commit()
    daemon.start()
    assert not [part for part in daemon.findings() if isinstance(part, Event)]
    assert daemon.values()["zcs_auth_lockouts_total",] == 2


def test_lines_that_cannot_be_understood_are_counted(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(
        AUDIT,
        "authentication failed for [x]",
        audit(manual.now).replace("error=", "trouble: "),
        audit(manual.now).replace(stamp(manual.now), "2024-02-31 10:00:00"),
    )
    daemon.feed(
        SYSLOG,
        syslog(manual.now, "postfix/smtpd[1]", "warning: a b: SASL LOGIN authentication failed: x"),
    )
    values = daemon.values()
    assert values["zcs_auth_unparsed_lines_total", "audit.log"] == 3
    assert values["zcs_auth_unparsed_lines_total", "zimbra.log"] == 1
    # Without a time it still counts, but not now.
    assert daemon.failures() == {("soap", "bad_password"): 1}
    assert daemon.window()["total"] == 0


def test_what_is_over_counts_and_alarms_nobody(daemon: Daemon, manual: ManualClock, catalogue: Catalogue) -> None:
    daemon.feed(AUDIT, *(audit(manual.now - 61) for _ in range(30)), live=False)
    assert daemon.failures() == {("soap", "bad_password"): 30}
    assert daemon.fired(catalogue) == set()


def test_a_line_out_of_order_counts_in_the_second_it_names(daemon: Daemon, manual: ManualClock) -> None:
    daemon.feed(AUDIT, audit(manual.now), audit(manual.now - 40), audit(manual.now - 70))
    assert daemon.window()["total"] == 2
    manual.advance(25)
    assert daemon.window()["total"] == 1


def test_the_length_of_the_window_is_zcs_own_setting(zimbra: FakeHost, manual: ManualClock) -> None:
    daemon = Daemon(zimbra, manual)
    daemon.feed(AUDIT, audit(manual.now - 30))
    assert daemon.window()["total"] == 1
    zimbra.localconfig(zimbra_server_hostname="mail.example.com", zimbra_swatch_threshold_seconds="20")
    manual.advance(15)
    assert daemon.values()["zcs_auth_window_seconds",] == 20
    assert daemon.window()["total"] == 0
    zimbra.localconfig(zimbra_server_hostname="mail.example.com", zimbra_swatch_threshold_seconds="-3")
    manual.advance(15)
    found = daemon.findings()
    assert [part.reason for part in found if isinstance(part, Shortfall)] == [Reason.PARSE]
    assert daemon.values()["zcs_auth_window_seconds",] == 60


def test_one_private_address_behind_everything_is_a_proxy_that_zcs_does_not_trust(
    daemon: Daemon, manual: ManualClock
) -> None:
    def untrusted() -> list[str]:
        return [part.remedy for part in daemon.findings() if isinstance(part, Shortfall)]

    lines = [audit(manual.now, f"u{n % 9}@example.com", "ip=10.0.0.10;") for n in range(60)]
    daemon.feed(AUDIT, *lines[:49])
    assert untrusted() == []
    daemon.feed(AUDIT, *lines[49:])
    assert untrusted() == ["add the proxies' addresses to zimbraMailTrustedIP and restart mailboxd"]
    daemon.feed(AUDIT, *(audit(manual.now, context=f"oip=203.0.113.{n};") for n in range(5)))
    assert untrusted() == []


def test_a_commit_writes_only_what_changed(daemon: Daemon, manual: ManualClock) -> None:
    hour = {"accounts:modulus", "addresses:modulus", "accounts:0", "addresses:0"}
    daemon.feed(AUDIT, audit(manual.now))
    second = f"window:{int(manual.now)}"
    assert set(daemon.commit()) == {"counters", "state", "records", f"{second}:0"} | hour
    assert daemon.commit() == {}
    daemon.feed(AUDIT, audit(manual.now))
    assert set(daemon.commit()) == {"counters", "records", f"{second}:1"}
    manual.advance(1)
    daemon.feed(AUDIT, audit(manual.now))
    assert set(daemon.commit()) == {"counters", "state", "records", f"window:{int(manual.now)}:0"}
    manual.advance(59)
    daemon.findings()
    assert daemon.commit() == {"records": None, f"{second}:0": None, f"{second}:1": None}


def test_configuration_takes_addresses_and_networks_only() -> None:
    config = AuthConfig.of({"trusted_proxies": ["10.0.0.5/24", "2001:db8::1"]})
    assert config.trusted_proxies == (ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("2001:db8::1/128"))
    for wrong in (["proxy.example.com"], "10.0.0.5", [7], ["10.0.0.5/33"]):
        with pytest.raises(SchemaError):
            AuthConfig.of({"trusted_proxies": wrong})


def test_lines_in_a_repeated_hour_are_told_apart_by_every_line_between(
    zimbra: FakeHost, manual: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        night = datetime(2024, 10, 27, 3, 0, 5).timestamp()
        manual.now = night
        daemon = Daemon(zimbra, manual)
        begin = int(night) - 3 * 3600
        lines = [(at, success(at)) for at in range(begin, int(night) - 5, 600)]
        # The clock shows the same minute an hour before and now.
        lines += [(night - 3630, audit(night - 3630)), (night - 30, audit(night - 30))]
        texts = [text for _, text in sorted(lines)]
        daemon.feed(AUDIT, *texts[:6])
        daemon.feed(AUDIT, *texts[6:])
        assert daemon.failures() == {("soap", "bad_password"): 2}
        assert daemon.window()["total"] == 1
    finally:
        monkeypatch.undo()
        time.tzset()


# The reference: one line at a time, each rule as it is told, nothing kept but a list of failures.

REFERENCE_AUDIT = re.compile(r"cmd=(\w+); account=([^;]*);(?: protocol=(\w+);)? error=authentication failed for \[")


def reference_context(line: str) -> tuple[str, dict[str, str], str] | None:
    """Thread, context and message, read one character after the other."""
    head = re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]{4,5} {1,2}\[(.*?)\] \[", line)
    if head is None:
        return None
    values: dict[str, str] = {}
    current, position = "", head.end()
    while position < len(line):
        if not current and line.startswith("] security - ", position):
            return head[1], values, line[position + len("] security - ") :]
        if line.startswith(";;", position):
            current, position = current + ";", position + 2
        elif line[position] == ";":
            key, _, value = current.partition("=")
            values.setdefault(key, value)
            current, position = "", position + 1
        else:
            current, position = current + line[position], position + 1
    return None


def reference_failures(lines: Iterable[str]) -> list[tuple[int, str, str, str]]:
    """Second, address, account and protocol of each failure in an audit.log."""
    found: list[tuple[int, str, str, str]] = []
    last: dict[str, int] = {}
    for line in lines:
        parts = reference_context(line)
        match = REFERENCE_AUDIT.match(parts[2]) if parts is not None else None
        if parts is None or match is None or " WARN  [" not in line[:32]:
            continue
        thread, context, _ = parts
        at = int(datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S").timestamp())
        admin = "/service/admin/" in thread
        if admin and ":7073/" in thread:
            continue
        if match[1] == "AdminAuth" and 0 <= at - last.pop(thread, -9999) <= 5:
            continue
        if match[1] == "Auth" and (admin or (match[3] == "soap" and "/" not in thread)):
            last[thread] = at
        address = context.get("ip", "")
        for entry in reversed([part.strip() for part in context.get("oip", "").split(",") if part.strip()]):
            if entry not in ("10.0.0.10", "127.0.0.1"):
                address = entry
                break
        protocol = "admin" if admin or match[1] == "AdminAuth" else match[3]
        found.append((at, address, match[2].lower(), protocol))
    return found


AGENTS = st.lists(
    st.sampled_from([";", "; ", "] security - ", "[", "]", "x", "ip=192.0.2.66", "cmd=Auth;"]), max_size=6
)
ADDRESSES = st.sampled_from(
    ["203.0.113.9", "198.51.100.7", "2001:db8::7", "192.0.2.66, 203.0.113.9", "192.0.2.66, 203.0.113.9, 10.0.0.10", ""]
)
LINES = st.one_of(
    st.builds(
        lambda back, account, oip, ip, agent, thread, cmd, protocol: (
            back,
            lambda at: audit(
                at,
                account,
                (f"ip={ip};" if ip else "")
                + (f"oip={oip};" if oip else "")
                + (f"ua={''.join(agent).replace(';', ';;')};" if agent else ""),
                thread=thread,
                cmd=cmd,
                protocol="" if cmd == "AdminAuth" else protocol,
            ),
        ),
        st.integers(0, 90),
        st.sampled_from(["ann@example.com", "Bob@example.com", ""]),
        ADDRESSES,
        st.sampled_from(["", "10.0.0.10", "203.0.113.77"]),
        AGENTS,
        st.sampled_from([HTTPS, ADMIN, SASL, "ImapSSLServer-7"]),
        st.sampled_from(["Auth", "Auth", "AdminAuth"]),
        st.sampled_from(["soap", "imap", "pop3"]),
    ),
    st.builds(lambda back: (back, success), st.integers(0, 90)),
    st.builds(lambda text: (0, lambda at: text), st.text(st.characters(exclude_characters="\n\r", codec="utf-8"))),
)


@given(st.lists(st.tuples(LINES, st.sampled_from(["", "", "cut", "commit", "kill"]), st.integers(0, 40)), max_size=25))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counting_equals_the_reference_however_lines_are_cut_and_the_daemon_killed(
    zimbra: FakeHost, steps: list[tuple[tuple[int, object], str, int]]
) -> None:
    manual = ManualClock()
    daemon = Daemon(zimbra, manual)
    lines: list[str] = []
    fed = committed = 0
    for (back, make), then, wait in steps:
        lines.append(make(manual.now - back))  # type: ignore[operator]
        if then:
            daemon.feed(AUDIT, *lines[fed:])
            fed = len(lines)
        if then == "commit":
            daemon.commit()
            committed = fed
        elif then == "kill":
            daemon.start()
            fed = committed
        manual.advance(wait)
    daemon.feed(AUDIT, *lines[fed:])
    expected = reference_failures(lines)
    counted: Counter[str] = Counter()
    for (protocol, _), number in daemon.failures().items():
        counted[protocol] += int(number)
    assert counted == Counter(protocol for *_, protocol in expected)
    inside = [entry for entry in expected if int(manual.now) - 60 < entry[0]]
    pairs = Counter((ip, account) for _, ip, account, _ in inside if ip and account)
    assert daemon.window() == {
        "ip_account": max(pairs.values(), default=0),
        "account": max(Counter(account for _, _, account, _ in inside if account).values(), default=0),
        "ip": max(Counter(ip for _, ip, _, _ in inside if ip).values(), default=0),
        "total": len(inside),
        "spray": max(Counter(ip for ip, _ in pairs).values(), default=0),
        "distributed": max(Counter(account for _, account in pairs).values(), default=0),
    }


@given(st.lists(st.binary(max_size=150), max_size=8), st.sampled_from([AUDIT, IMAPD, NGINX, SYSLOG]))
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_of_any_log_are_refused(daemon: Daemon, lines: list[bytes], path: str) -> None:
    daemon.feed(path, *(line.replace(b"\n", b" ") for line in lines))
    prefix = syslog(daemon.manual.now, "postfix/smtpd[1]", "warning: unknown[203.0.113.5]: SASL ").encode()
    daemon.feed(SYSLOG, *(prefix + line.replace(b"\n", b" ") for line in lines))
    daemon.feed(AUDIT, *(audit(daemon.manual.now)[:90].encode() + line.replace(b"\n", b" ") for line in lines))
    daemon.commit()


def test_a_host_header_that_imitates_an_entry_accuses_who_sent_it(daemon: Daemon, manual: ManualClock) -> None:
    forged = "x] [oip=198.51.100.66;] security - {}:443/service/soap/AuthRequest"
    failure = "cmd=Auth; account=victim@example.com; protocol=soap; error=authentication failed for [victim], x;"
    daemon.feed(
        AUDIT,
        audit(manual.now, thread="qtp1-1:https://" + forged.format(failure)),
        success(manual.now, "soap", "qtp1-1:https://" + forged.format("cmd=GrantRight; name=x;"), "oip=203.0.113.9;"),
        # Whoever reaches mailboxd itself may put a path into it, and then nobody can tell.
        audit(manual.now, thread="qtp1-1:https://x/" + forged.format(failure)),
    )
    assert daemon.failures() == {("soap", "bad_password"): 1, ("other", "other"): 1}
    assert daemon.window() == {"ip_account": 1, "account": 1, "ip": 1, "total": 2, "spray": 1, "distributed": 1}
    samples = daemon.samples()
    assert samples["zcs_auth_window_failures_max", "ip"].evidence[0].value == "203.0.113.9"
    assert samples["zcs_auth_log_injection_attempts_total", "audit_entry"].value == 3
    assert ("zcs_auth_admin_operations_total", "GrantRight") not in samples


def test_a_user_agent_of_any_length_hides_no_failure(daemon: Daemon, manual: ManualClock) -> None:
    line = audit(manual.now, context=f"oip=203.0.113.9;ua={'x' * 70_000};")
    daemon.feed(AUDIT, *(line[:65_536] for _ in range(20)))
    assert daemon.failures() == {("soap", "other"): 20}
    assert daemon.window()["ip"] == 20


@pytest.mark.parametrize("behind", [0, 5, 600])
@pytest.mark.parametrize("first", [AUDIT, MAILBOX])
def test_an_unknown_administrator_of_an_old_release_is_one_failure(
    daemon: Daemon, manual: ManualClock, first: str, behind: int
) -> None:
    now = manual.now
    context = "ip=203.0.113.9;"
    name = "Nobody@example.com"
    lines = {
        AUDIT: [audit(now + n, name, context, thread=ADMIN, cmd="AdminAuth", protocol="", reason="") for n in (0, 8)],
        MAILBOX: [mailbox(now + n, "SoapEngine", UNKNOWN_SOAP, context, ADMIN) for n in (0, 8)],
    }
    second = MAILBOX if first == AUDIT else AUDIT
    manual.advance(8)
    daemon.feed(first, *lines[first])
    manual.advance(behind)
    daemon.feed(second, *lines[second])
    assert sum(daemon.failures().values()) == 2
    # New releases write it to mailbox.log only, and tell of who is no administrator in audit.log only.
    daemon.feed(MAILBOX, lines[MAILBOX][0])
    daemon.feed(AUDIT, lines[AUDIT][0].replace(name, "ann@example.com"))
    assert sum(daemon.failures().values()) == 4


@pytest.mark.parametrize("iso", [False, True])
def test_one_bad_login_in_every_log_at_once_is_one_failure(daemon: Daemon, manual: ManualClock, iso: bool) -> None:
    now = manual.now
    moment = stamp(now).replace("-", "/")
    proxied = "ip=10.0.0.10;oip=203.0.113.9;via=10.0.0.10(nginx/1.20.0);"
    daemon.feed(
        NGINX,
        f'{moment} [error] 2101#0: *8813 upstream sent invalid response: "2 NO LOGIN failed" while reading response '
        'from upstream, client: 203.0.113.9:40112, server: 0.0.0.0:993, login: "ann@example.com", upstream: 10.0.0.10',
        f"{moment} [error] 2101#0: *8814 An error occurred in mail zmauth: user not found:nobody@example.com while in "
        'http auth state, client: 203.0.113.9:40113, server: 0.0.0.0:993, login: "nobody@example.com"',
    )
    daemon.feed(
        MAILBOX,
        mailbox(now, "imap", "authentication failed for [ann@example.com] (invalid password)", proxied, "ImapServer-7"),
        mailbox(
            now,
            "account",
            "Error occurred during authentication: authentication failed for [ann@example.com]. Reason: "
            "invalid password.",
            proxied,
            "ImapServer-7",
        ),
        mailbox(now, "SoapEngine", UNKNOWN_SOAP.replace("nobody@example.com", "eve"), thread=SASL),
    )
    daemon.feed(
        AUDIT,
        audit(now, context=proxied, protocol="imap", thread="ImapServer-7"),
        f"{stamp(now)},001 INFO  [qtp1-9:http://10.0.0.10:7072/service/extension/nginx-lookup] [] security - "
        "Error occurred during authentication: account not found for [nobody@example.com]. oip=203.0.113.9",
        audit(now, "eve", "oip=203.0.113.5;oport=51288;", thread=SASL),
    )
    daemon.feed(
        SYSLOG,
        *smtp(now)
        if not iso
        else (line.replace(line[:15], datetime.fromtimestamp(now).astimezone().isoformat(), 1) for line in smtp(now)),
    )
    assert daemon.failures() == {("imap", "bad_password"): 1, ("imap", "no_account"): 1, ("smtp", "other"): 1}


def test_a_server_of_the_cluster_behind_everything_is_a_proxy_that_zcs_does_not_trust(
    zimbra: FakeHost, manual: ManualClock
) -> None:
    lines = [audit(manual.now, f"u{n % 9}@example.com", "ip=198.51.100.5;") for n in range(60)]
    for config, untrusted in (({}, 0), ({"cluster_servers": ["198.51.100.5"]}, 1)):
        daemon = Daemon(zimbra, manual, AuthConfig.of(config))
        daemon.feed(AUDIT, *lines)
        assert daemon.values()["zcs_auth_proxies_untrusted",] == untrusted


@pytest.mark.parametrize("live", [True, False])
def test_a_guessed_password_that_sends_mail_is_told(
    daemon: Daemon, manual: ManualClock, catalogue: Catalogue, live: bool
) -> None:
    daemon.collector.take_thresholds(thresholds(catalogue))
    at = manual.now if live else manual.now - 86_400
    for _ in range(20):
        daemon.feed(SYSLOG, *smtp(at, "eve@example.com", "203.0.113.5"), live=live)
    sent = "3F2A81C0E5D: client=host.example.net[203.0.113.5], sasl_method=PLAIN, sasl_username=Eve@example.com"
    daemon.feed(SYSLOG, syslog(at, "postfix/submission/smtpd[4712]", sent), live=live)
    daemon.feed(SYSLOG, syslog(at, "postfix/smtpd[4712]", sent.partition(", sasl")[0]), live=live)
    if not live:
        manual.advance(3660)
    findings = daemon.findings()
    [record] = [part for part in findings if isinstance(part, Record) and part.kind == "login_after_attack"]
    assert (record.fields["account"], record.fields["address"]) == ("eve@example.com", "203.0.113.5")
    assert (record.fields["protocol"], record.fields["check"], record.log) == ("smtp", "ip_account", SYSLOG)
    assert record.offset == 0
    assert any(isinstance(part, Event) and part.name == "ZcsAuthLoginAfterAttack" for part in findings) == live
