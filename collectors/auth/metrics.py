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
# The same numbers as by the label ``check``, each with a name of its own for the alert that compares it.
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
HOUR_ACCOUNTS_PER_IP = Metric(
    "zcs_auth_hour_accounts_per_ip_max",
    Kind.GAUGE,
    "Most different accounts that failed from one address within an hour, up to 100; in a flood it may be too low.",
)
HOUR_ADDRESSES_PER_ACCOUNT = Metric(
    "zcs_auth_hour_addresses_per_account_max",
    Kind.GAUGE,
    "Most different addresses from which one account failed within an hour, up to 100; in a flood it may be too low.",
)
ACTIVE_ACCOUNTS = Metric(
    "zcs_auth_active_accounts", Kind.GAUGE, "Accounts in use on this server, if collectors.auth.active_accounts says."
)
TOTAL_BY_SHARE = Metric(
    "zcs_auth_total_judged_by_share",
    Kind.GAUGE,
    "Whether all failures together are judged by the share of active accounts (1) or by their number (0).",
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
DIRECTORY_ERRORS = Metric(
    "zcs_auth_window_directory_errors",
    Kind.GAUGE,
    "Logins within the window that were refused because a directory server did not answer; they accuse nobody.",
)
EXTERNAL_FAILURES = Metric(
    "zcs_auth_external_failures_total",
    Kind.COUNTER,
    "Logins that an external directory refused or did not answer, by the code it gave.",
    labels=("cause",),
)
PROXIES_UNTRUSTED = Metric(
    "zcs_auth_proxies_untrusted",
    Kind.GAUGE,
    "Whether one private address is behind nearly all failures, as when ZCS does not trust its proxies.",
)
SUSPENSIONS = Metric(
    "zcs_auth_address_suspensions_total", Kind.COUNTER, "Addresses that ZCS kept out after repeated failed logins."
)
SUSPENDED_REQUESTS = Metric(
    "zcs_auth_suspended_requests_total", Kind.COUNTER, "Requests refused since their address was kept out."
)
RECOVERY_CODES = Metric(
    "zcs_auth_recovery_codes_total",
    Kind.COUNTER,
    "Recovery codes that logged somebody in or were wrong.",
    labels=("outcome",),
)
OPERATIONS = Metric(
    "zcs_auth_admin_operations_total",
    Kind.COUNTER,
    "What administrators did, by the command in audit.log; whatever is not in ZCS's usual set is other.",
    labels=("command",),
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
    IP_ACCOUNT_FAILURES,
    ACCOUNT_FAILURES,
    IP_FAILURES,
    TOTAL_FAILURES,
    ACCOUNTS_PER_IP,
    ADDRESSES_PER_ACCOUNT,
    HOUR_ACCOUNTS_PER_IP,
    HOUR_ADDRESSES_PER_ACCOUNT,
    ACTIVE_ACCOUNTS,
    TOTAL_BY_SHARE,
    WINDOW_SECONDS,
    ADMIN_FAILURES,
    UNANSWERED,
    DIRECTORY_ERRORS,
    EXTERNAL_FAILURES,
    PROXIES_UNTRUSTED,
    SUSPENSIONS,
    SUSPENDED_REQUESTS,
    RECOVERY_CODES,
    OPERATIONS,
    INJECTIONS,
    UNPARSED,
)

LEAST_TOTAL = 50
"""However few accounts are active, so many failures together must be: the guard of the alert by share."""

RECOVERY_OUTCOMES = ("used", "refused")
IMITATED = ("audit_entry", "status_change", "smtp_login", "proxy_login")

_USUAL = ("bad_password", "locked", "closed", "two_factor", "external", "other")
STORE_FAILURES = (
    *(("soap", reason) for reason in (*_USUAL, "no_account", "preauth")),
    *((protocol, reason) for protocol in ("imap", "pop3") for reason in (*_USUAL, "no_account")),
    *((protocol, reason) for protocol in ("http_basic", "http_dav", "zsync") for reason in _USUAL),
    *(("admin", reason) for reason in (*_USUAL, "no_account")),
    *(("spnego", reason) for reason in ("external", "other")),
    *(("other", reason) for reason in ("preauth", "other")),
)
"""What audit.log can tell from the start; other combinations appear when they happen."""

STORE_PROTOCOLS = ("soap", "imap", "pop3", "http_basic", "http_dav", "zsync", "admin", "spnego", "other")
MTA_FAILURES = (("smtp", "locked"), ("smtp", "other"))
PROXY_FAILURES = (("imap", "no_account"), ("pop3", "no_account"))
