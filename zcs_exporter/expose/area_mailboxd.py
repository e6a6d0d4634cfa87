"""The page's area about mailboxd: how much it serves, how fast, and what it may run out of."""

from zcs_exporter.alerting.model import Severity
from zcs_exporter.expose.facts import (
    NOTHING,
    UNKNOWN,
    Facts,
    Visible,
    badge,
    brief,
    count,
    mean,
    share_bar,
    span,
    table,
    terms,
)
from zcs_exporter.expose.markup import Markup, element, join

_COLLECTOR = "mailboxd"
_COMMAND = "zcs_mailboxd_command_seconds"
_WORK: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("SOAP requests", "zcs_mailboxd_request_seconds", {"protocol": "soap"}),
    ("IMAP commands", "zcs_mailboxd_request_seconds", {"protocol": "imap"}),
    ("IMAP commands of imapd", "zcs_mailboxd_request_seconds", {"protocol": "imapd"}),
    ("POP3 commands", "zcs_mailboxd_request_seconds", {"protocol": "pop3"}),
    ("Messages added", "zcs_mailboxd_add_message_seconds", {}),
    ("Database connections taken", "zcs_mailboxd_db_connection_seconds", {}),
    ("LDAP connections taken", "zcs_mailboxd_ldap_connection_seconds", {}),
)
_POOLS = {
    "http": "HTTP",
    "imap": "IMAP",
    "imap_ssl": "IMAP, TLS",
    "imapd": "imapd",
    "imapd_ssl": "imapd, TLS",
    "pop3": "POP3",
    "pop3_ssl": "POP3, TLS",
    "lmtp": "LMTP",
}
_WAITS = frozenset({"IDLE", "NoOpRequest", "WaitSetRequest", "AdminWaitSetRequest", "Ping"})
"""Commands that take long because they wait for news."""

_MOST_COMMANDS = 3


def mailboxd(facts: Facts, _visible: Visible) -> Markup:
    """Return how mailboxd fares."""
    return element("div", element("div", _work(facts), _rest(facts)), element("div", _pools(facts)), class_="split")


def _work(facts: Facts) -> Markup:
    lately = facts.lately(_COLLECTOR)
    if lately is not None and not facts.grown(_COLLECTOR, "zcs_mailboxd_stat_rows_total", file="mailboxd.csv"):
        lately = None  # no row came meanwhile, so nothing is known of these minutes
    rows: list[list[str]] = []
    for title, metric, labels in _WORK:
        times = facts.value(f"{metric}_count", **labels)
        if not times:
            continue
        row: list[str] = [title]
        if lately is not None:
            new = facts.grown(_COLLECTOR, f"{metric}_count", **labels)
            row.append(_timed(new, facts.grown(_COLLECTOR, f"{metric}_sum", **labels)))
        rows.append([*row, _timed(times, facts.value(f"{metric}_sum", **labels))])
    if not rows:
        return element("p", "Nothing counted so far.")
    recent = () if lately is None else (f"Last {span(lately)}",)
    return table("Work and the mean of the time it took", ("Work", *recent, "In all"), rows)


def _timed(times: float | None, total: float | None) -> Markup:
    """Return how often something was done, and how long it took each time."""
    return join(count(times), element("small", mean(total, times), " each") if times else "")


def _pools(facts: Facts) -> Markup:
    limits = facts.by("zcs_mailboxd_threads_limit", "protocol")
    used = facts.by("zcs_mailboxd_threads_used_ratio", "protocol")
    idle = facts.by("zcs_mailboxd_threads_idle", "protocol")
    connections = facts.by("zcs_mailboxd_connections", "protocol")
    threads = facts.by("zcs_mailboxd_threads", "protocol")
    rows: list[list[str]] = []
    for protocol in (*_POOLS, *sorted(threads.keys() - _POOLS.keys())):
        number = threads.get(protocol)
        if number is None or (number <= 1 and not connections.get(protocol)):
            continue  # nobody uses it
        busy = number - idle.get(protocol, 0)
        limit = limits.get(protocol)
        of = join(count(busy), " of ", count(limit)) if limit is not None else join(count(busy), ", limit unknown")
        told = connections.get(protocol)
        rows.append(
            [
                _POOLS.get(protocol, protocol),
                share_bar(facts, used.get(protocol), "ZcsMailboxdThreadsShort", of),
                join(NOTHING) if told is None else count(told),
            ]
        )
    in_use = facts.value("zcs_mailboxd_db_connections")
    if in_use is not None:
        most = facts.value("zcs_mailboxd_db_connections_limit")
        share = facts.value("zcs_mailboxd_db_connections_used_ratio")
        of = join(count(in_use), " of ", count(most))
        rows.append(["Database", share_bar(facts, share, "ZcsMailboxdDatabasePool", of), NOTHING])
    return table("Threads and connections", ("Pool", "In use", "Connections"), rows) if rows else Markup()


def _rest(facts: Facts) -> Markup:
    age = facts.value("zcs_mailboxd_stat_age_seconds", file="mailboxd.csv")
    pairs: list[tuple[str, str]] = [("Tables written", UNKNOWN if age is None else join(span(age), " ago"))]
    if slow := _slow_commands(facts):
        pairs.append((f"Most time in {span(facts.lately(_COLLECTOR))}", slow))
    sessions = facts.value("zcs_mailboxd_soap_sessions")
    if sessions is not None:
        pairs.append(("Sessions over SOAP", count(sessions)))
    growth = facts.value("zcs_mailboxd_lmtp_queue_growth_messages")
    if growth is not None:
        pairs.append(("LMTP", badge(Severity.WARNING, f"all threads busy, the queue grew by {growth:.0f}")))
    return terms(pairs)


def _slow_commands(facts: Facts) -> Markup:
    """Return the commands that took the most time lately."""
    found = []
    for protocol in ("soap", "imap", "imapd", "pop3", "sync"):
        times = facts.grown_by(_COLLECTOR, f"{_COMMAND}_count", "command", protocol=protocol)
        for command, total in facts.grown_by(_COLLECTOR, f"{_COMMAND}_sum", "command", protocol=protocol).items():
            if total > 0 and times.get(command) and command not in _WAITS:
                found.append((total, protocol, command, total / times[command]))
    found.sort(reverse=True)
    parts = [
        join(f"{protocol} {command} ", element("small", brief(each), " each"))
        for _, protocol, command, each in found[:_MOST_COMMANDS]
    ]
    return join(*(element("div", part) for part in parts))
