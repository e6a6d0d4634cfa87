"""Logins."""

from collections.abc import Callable

from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.objects.model import Column, Group, Index, Read, Scalar, Table
from zcs_exporter.alerting.model import Family
from zcs_exporter.snmp.smi import Syntax

_PROTOCOL_NUMBERS = {
    "total": 1,
    "soap": 2,
    "imap": 3,
    "pop3": 4,
    "smtp": 5,
    "admin": 6,
    "other": 7,
    "http_basic": 8,
    "http_dav": 9,
    "zsync": 10,
    "spnego": 11,
}


def _protocols(facts: Facts) -> list[str]:
    found = [
        name
        for metric in ("zcs_auth_failures_total", "zcs_auth_successes_total")
        for name in facts.names(metric, "protocol")
    ]
    return ["total", *(name for name in dict.fromkeys(found) if name in _PROTOCOL_NUMBERS)] if found else []


def _logins(metric: str) -> Callable[[Facts, str], Read]:
    def read(facts: Facts, protocol: str) -> Read:
        return facts.total(metric) if protocol == "total" else facts.total(metric, protocol=protocol)

    return read


_LOGINS: Table[str] = Table(
    "zcsAuth",
    "Logins by protocol, and in all.",
    "One protocol.",
    _protocols,
    Index("zcsAuthProtocol", Syntax.PROTOCOL, "Which protocol; total stands for all.", _PROTOCOL_NUMBERS.__getitem__),
    (
        Column(
            "zcsAuthSuccesses",
            2,
            Syntax.COUNTER,
            "Logins that succeeded.",
            _logins("zcs_auth_successes_total"),
            "logins",
        ),
        Column(
            "zcsAuthFailures",
            3,
            Syntax.COUNTER,
            "Logins refused because the client could not prove who it is.",
            _logins("zcs_auth_failures_total"),
            "logins",
        ),
    ),
)


def _gauge(name: str, number: int, description: str, metric: str, units: str) -> Scalar:
    return Scalar(name, number, Syntax.GAUGE, description, lambda facts: facts.value(metric), units)


def _severity(facts: Facts) -> Read:
    if facts.value("zcs_auth_window_total_failures") is None:
        return None
    return facts.severity(lambda rule, _: rule.family is Family.AUTH)


_AUTH_SCALARS = (
    _gauge("zcsAuthWindow", 2, "Length of the window that the checks look at.", "zcs_auth_window_seconds", "seconds"),
    _gauge(
        "zcsAuthWindowTotal",
        3,
        "Failed logins within the window.",
        "zcs_auth_window_total_failures",
        "logins",
    ),
    _gauge(
        "zcsAuthWindowIpAccountMax",
        4,
        "Most failed logins of one account from one address within the window.",
        "zcs_auth_window_ip_account_failures_max",
        "logins",
    ),
    _gauge(
        "zcsAuthWindowAccountMax",
        5,
        "Most failed logins of one account within the window.",
        "zcs_auth_window_account_failures_max",
        "logins",
    ),
    _gauge(
        "zcsAuthWindowIpMax",
        6,
        "Most failed logins from one address within the window.",
        "zcs_auth_window_ip_failures_max",
        "logins",
    ),
    Scalar(
        "zcsAuthLockouts",
        7,
        Syntax.COUNTER,
        "Accounts locked after too many failed logins.",
        lambda f: f.value("zcs_auth_lockouts_total"),
        "lockouts",
    ),
    Scalar(
        "zcsAuthSeverity",
        8,
        Syntax.SEVERITY,
        "Severity of the worst alarm about logins that stands.",
        _severity,
    ),
)

LOGINS = Group("zcsLogins", 7, _AUTH_SCALARS, _LOGINS)
