"""The metric families of the ``auth`` collector, and the series that start at 0."""

from zcs_exporter.contract import Kind, Metric

FAILURES = Metric(
    "zcs_auth_failures_total",
    Kind.COUNTER,
    "Logins refused because the client could not prove who it is, each counted on one host.",
    labels=("protocol", "reason"),
)
SUCCESSES = Metric("zcs_auth_successes_total", Kind.COUNTER, "Logins that succeeded.", labels=("protocol",))
LOCKOUTS = Metric("zcs_auth_lockouts_total", Kind.COUNTER, "Accounts locked after too many failed logins.")
WINDOW_FAILURES = Metric(
    "zcs_auth_window_failures_max",
    Kind.GAUGE,
    "Most failures within the window of one address and account, one account, one address, or all together.",
    labels=("check",),
)
IP_ACCOUNT_FAILURES = Metric(
    "zcs_auth_window_ip_account_failures_max",
    Kind.GAUGE,
    "Most failures of one account from one address within the window.",
)
ACCOUNT_FAILURES = Metric(
    "zcs_auth_window_account_failures_max", Kind.GAUGE, "Most failures of one account within the window."
)
IP_FAILURES = Metric("zcs_auth_window_ip_failures_max", Kind.GAUGE, "Most failures from one address within the window.")
TOTAL_FAILURES = Metric("zcs_auth_window_total_failures", Kind.GAUGE, "Failures within the window.")
CHECKS = {
    "ip_account": IP_ACCOUNT_FAILURES,
    "account": ACCOUNT_FAILURES,
    "ip": IP_FAILURES,
    "total": TOTAL_FAILURES,
}
"""The same numbers as by the label ``check``, each with a name of its own for the alert that compares it."""

ACCOUNTS_PER_IP = Metric(
    "zcs_auth_window_accounts_per_ip_max",
    Kind.GAUGE,
    "Most different accounts that failed from one address within the window.",
)
ADDRESSES_PER_ACCOUNT = Metric(
    "zcs_auth_window_addresses_per_account_max",
    Kind.GAUGE,
    "Most different addresses from which one account failed within the window.",
)
WINDOW_SECONDS = Metric(
    "zcs_auth_window_seconds", Kind.GAUGE, "Length of the window, zimbra_swatch_threshold_seconds where it is set."
)
ADMIN_FAILURES = Metric(
    "zcs_auth_admin_window_failures", Kind.GAUGE, "Failed logins to the administration service in the last ten minutes."
)
UNANSWERED = Metric(
    "zcs_auth_backend_unanswered_logins",
    Kind.GAUGE,
    "SMTP logins in a row that saslauthd could not ask ZCS about; 0 after an answer or ten minutes without a login.",
)
INJECTIONS = Metric(
    "zcs_auth_log_injection_attempts_total",
    Kind.COUNTER,
    "Log lines in which text from a client imitates an entry; such text counts for nothing else.",
    labels=("imitates",),
)
UNPARSED = Metric(
    "zcs_auth_unparsed_lines_total",
    Kind.COUNTER,
    "Log lines that look like a failed login but could not be understood.",
    labels=("log",),
)

ALL = (
    FAILURES,
    SUCCESSES,
    LOCKOUTS,
    WINDOW_FAILURES,
    *CHECKS.values(),
    ACCOUNTS_PER_IP,
    ADDRESSES_PER_ACCOUNT,
    WINDOW_SECONDS,
    ADMIN_FAILURES,
    UNANSWERED,
    INJECTIONS,
    UNPARSED,
)

IMITATED = ("audit_entry", "status_change", "smtp_login", "proxy_login")

_USUAL = ("bad_password", "locked", "closed", "two_factor", "external", "other")
STORE_FAILURES = (
    *(("soap", reason) for reason in (*_USUAL, "no_account", "preauth")),
    *((protocol, reason) for protocol in ("imap", "pop3", "http_basic", "http_dav", "zsync") for reason in _USUAL),
    *(("admin", reason) for reason in _USUAL),
    *(("spnego", reason) for reason in ("external", "other")),
    *(("other", reason) for reason in ("preauth", "other")),
)
"""What audit.log can tell from the start; other combinations appear when they happen."""

STORE_PROTOCOLS = ("soap", "imap", "pop3", "http_basic", "http_dav", "zsync", "admin", "spnego", "other")
MTA_FAILURES = (("smtp", "locked"), ("smtp", "other"))
PROXY_FAILURES = (("imap", "no_account"), ("pop3", "no_account"))
