"""The page's gauges, an area each: drawn from samples by name, so that what is absent is said to be unknown."""

from collections.abc import Callable, Mapping

from zcs_exporter.alerting.model import Severity
from zcs_exporter.contract import Evidence
from zcs_exporter.expose.area_logs import logs
from zcs_exporter.expose.area_mail import mail_flow
from zcs_exporter.expose.area_mailboxd import mailboxd
from zcs_exporter.expose.facts import (
    NOTHING,
    TIMES,
    UNKNOWN,
    Facts,
    Visible,
    badge,
    bar,
    count,
    evidence_line,
    percent,
    share_bar,
    size,
    span,
    table,
    terms,
    word,
)
from zcs_exporter.expose.markup import Markup, element, join
from zcs_exporter.snapshot import Reading

QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
_WIDE = frozenset({"filesystem", "mailflow", "jvm", "mailboxd", "logs"})


def areas(facts: Facts, visible: Visible) -> Markup:
    """Return every area that this host has."""
    drawn: Mapping[str, tuple[str, Callable[[Facts, Visible], Markup]]] = {
        "filesystem": ("File systems", _filesystems),
        "postfix": ("Mail queues", _queues),
        "mysqld": ("Database", _database),
        "mailflow": ("Mail flow", mail_flow),
        "mailboxd": ("mailboxd", mailboxd),
        "jvm": ("Java", _jvms),
        "auth": ("Logins", _logins),
        "services": ("Services", _services),
        "logs": ("Logs", logs),
    }
    sections = []
    for collector, (title, draw) in drawn.items():
        reading = facts.snapshot.readings.get(collector)
        if reading is not None and reading.present is not False:
            sections.append(_area(title, reading, facts.now, draw(facts, visible) if reading.samples else Markup()))
    return element("div", *sections, class_="areas")


def _area(title: str, reading: Reading, now: float, body: Markup) -> Markup:
    name = f"area-{reading.collector}"
    return element(
        "section",
        element("h2", title, " ", element("small", *_age(reading, now)), id=name),
        body,
        class_="area wide" if reading.collector in _WIDE else "area",
        aria_labelledby=name,
    )


def _age(reading: Reading, now: float) -> list[Markup]:
    """Return how old an area's numbers are, or why there are none."""
    failure = reading.failure
    if reading.collected_at is not None and reading.samples:
        age = element("span", span(now - reading.collected_at), " old")
        return [age] if failure is None else [age, join(" "), _see_why(Severity.WARNING, "not renewed")]
    if failure is not None:
        return [_see_why(Severity.UNKNOWN, "unknown")]
    return [badge(Severity.UNKNOWN, "not looked at yet" if reading.rounds == 0 else "nothing known")]


def _see_why(severity: Severity, text: str) -> Markup:
    return join(badge(severity, text), " ", element("a", "why", href="#unseen"))


def _filesystems(facts: Facts, _visible: Visible) -> Markup:
    free = facts.by("zcs_filesystem_avail_bytes", "mountpoint")
    total = facts.by("zcs_filesystem_size_bytes", "mountpoint")
    used = facts.by("zcs_filesystem_used_ratio", "mountpoint")
    inodes = facts.by("zcs_filesystem_files_used_ratio", "mountpoint")
    trouble = {
        "vanished": facts.by("zcs_filesystem_vanished", "mountpoint"),
        "does not answer": facts.by("zcs_filesystem_unusable", "mountpoint"),
        "cannot be asked": facts.by("zcs_filesystem_device_error", "mountpoint"),
        "read-only": facts.by("zcs_filesystem_readonly", "mountpoint"),
    }
    mounts = {mount: None for values in (total, used, *trouble.values()) for mount in values}
    # The fullest first; what has no share is excluded from alerts.
    rows = []
    for mount in sorted(mounts, key=lambda mount: (-max(used.get(mount, -1), inodes.get(mount, -1)), mount)):
        flags = [badge(Severity.CRITICAL, text) for text, values in trouble.items() if values.get(mount) == 1]
        roles = [
            sample.label_map().get("role", "")
            for sample in facts.samples("zcs_filesystem_role", mountpoint=mount)
            if sample.value == 1
        ]
        kept = element("small", ", ".join(sorted(roles)))
        answers = mount in total
        room: str = join(size(free.get(mount)), " free of ", size(total.get(mount))) if answers else UNKNOWN
        rows.append(
            [
                join(mount, " ", *flags, kept),
                share_bar(facts, used.get(mount), "ZcsFilesystemFull", room),
                share_bar(facts, inodes.get(mount), "ZcsFilesystemInodesFull", "" if answers else UNKNOWN),
                _until_full(facts, mount) if answers else UNKNOWN,
            ]
        )
    return table(
        "File systems, the fullest first", ("Mounted on", "Space used", "Inodes used", "Full in"), rows, stacks=True
    )


def _until_full(facts: Facts, mount: str) -> str:
    left = facts.by("zcs_filesystem_full_seconds", "resource", mountpoint=mount)
    if not left:
        return NOTHING
    resource, seconds = min(left.items(), key=lambda item: item[1])
    return join(span(seconds), element("small", resource))


def _queues(facts: Facts, _visible: Visible) -> Markup:
    messages = facts.by("zcs_postfix_queue_messages", "queue")
    weights = facts.by("zcs_postfix_queue_bytes", "queue")
    oldest = facts.by("zcs_postfix_queue_oldest_age_seconds", "queue")
    limit = facts.value("zcs_postfix_queue_limit", queue="active")
    rows = []
    for queue in (*QUEUES, *sorted(messages.keys() - set(QUEUES))):
        number = messages.get(queue)
        most = element("small", "of ", count(limit)) if queue == "active" and limit is not None else Markup()
        empty = number == 0
        rows.append(
            [
                queue,
                join(count(number), " ", most),
                NOTHING if empty else size(weights.get(queue)),
                NOTHING if empty else span(oldest.get(queue)),
            ]
        )
    return table("Mail queues", ("Queue", "Messages", "Size", "Oldest"), rows)


def _up(value: float | None) -> Markup:
    if value is None:
        return badge(Severity.UNKNOWN)
    return badge(Severity.OK, "up") if value == 1 else badge(Severity.CRITICAL, "down")


def _database(facts: Facts, _visible: Visible) -> Markup:
    open_now = facts.value("mysql_global_status_threads_connected")
    most = facts.value("mysql_global_variables_max_connections")
    share = open_now / most if open_now is not None and most else None
    pairs: list[tuple[str, str]] = [("Mailbox database", _up(facts.value("mysql_up")))]
    antispam = facts.value("zcs_mysqld_antispam_up")
    if antispam is not None:
        pairs.append(("Spam filter's database", _up(antispam)))
    pairs += [
        ("Running for", span(facts.value("mysql_global_status_uptime"))),
        (
            "Connections",
            join(
                share_bar(facts, share, "ZcsMysqldConnections") if share is not None else "",
                " ",
                element("small", count(open_now), " of ", count(most)),
            ),
        ),
        ("Statements running", count(facts.value("mysql_global_status_threads_running"))),
    ]
    for directory, servers in facts.by("zcs_mysqld_instances", "datadir").items():
        state = badge(Severity.CRITICAL, "two servers destroy it") if servers > 1 else Markup()
        pairs.append((f"Servers on {directory}", join(count(servers), " ", state)))
    return terms(pairs)


def _jvms(facts: Facts, _visible: Visible) -> Markup:
    running = facts.by("zcs_jvm_up", "jvm")
    used = facts.by("jvm_memory_used_bytes", "jvm", area="heap")
    most = facts.by("jvm_memory_max_bytes", "jvm", area="heap")
    old = facts.by("zcs_jvm_old_after_gc_ratio", "jvm")
    pauses = facts.by("zcs_jvm_gc_time_ratio", "jvm")
    threads = facts.by("jvm_threads_current", "jvm")
    started = facts.by("zcs_jvm_start_time_seconds", "jvm")
    rows: list[list[str]] = []
    for jvm, value in sorted(running.items()):
        if value != 1:
            rows.append([join(jvm, " ", _up(value)), *[NOTHING] * 5])
            continue
        share = used[jvm] / most[jvm] if jvm in used and most.get(jvm) else None
        old_share = old.get(jvm)
        begun = started.get(jvm)
        rows.append(
            [
                join(jvm, " ", _up(value)),
                join(
                    bar(share, Severity.OK, {}),
                    percent(share),
                    element("small", size(used.get(jvm)), " of ", size(most.get(jvm))),
                ),
                percent(None) if old_share is None else share_bar(facts, old_share, "ZcsJvmOldGenerationFull"),
                element("span", percent(pauses.get(jvm)), class_=_class(facts, pauses.get(jvm), "ZcsJvmGcTime")),
                count(threads.get(jvm)),
                span(None if begun is None else facts.now - begun),
            ]
        )
    heads = ("Process", "Heap used", "Old after GC", "Time in GC", "Threads", "Running for")
    return table("Java processes", heads, rows, stacks=True)


def _class(facts: Facts, value: float | None, alert: str) -> str:
    return word(facts.judge(value, alert))


_CHECKS = {
    "ip_account": ("One account from one address", "ZcsAuthIpAccountFailures"),
    "account": ("One account", "ZcsAuthAccountFailures"),
    "ip": ("One address", "ZcsAuthIpFailures"),
    "total": ("All together", "ZcsAuthTotalFailures"),
}
_SPREADS = {
    "zcs_auth_window_accounts_per_ip_max": ("Accounts tried by one address", "ZcsAuthSpraying"),
    "zcs_auth_window_addresses_per_account_max": ("Addresses that tried one account", "ZcsAuthDistributed"),
}


def _logins(facts: Facts, visible: Visible) -> Markup:
    metric = "zcs_auth_window_failures_max"
    highest = facts.by(metric, "check")
    rows = [
        _check(facts, *texts, highest.get(check), _who(facts.evidence(metric, check=check), visible))
        for check, texts in _CHECKS.items()
    ]
    rows += [
        _check(facts, *texts, facts.value(name), _who(facts.evidence(name), visible))
        for name, texts in _SPREADS.items()
    ]
    window = facts.value("zcs_auth_window_seconds")
    failed: dict[str, float] = {}
    for sample in facts.samples("zcs_auth_failures_total"):
        protocol = sample.label_map().get("protocol", "")
        failed[protocol] = failed.get(protocol, 0) + sample.value
    passed = facts.by("zcs_auth_successes_total", "protocol")
    totals: list[list[str]] = [
        [protocol, count(failed.get(protocol)), count(passed.get(protocol))]
        for protocol in sorted(failed.keys() | passed.keys())
        if failed.get(protocol) or passed.get(protocol)
    ]
    return join(
        element("p", "Most failed logins within ", "the window" if window is None else span(window), class_="lead"),
        table("Most failed logins within the window", ("By", "Most", "Alarm from", "Who"), rows, stacks=True),
        table("Logins counted so far", ("Protocol", "Failed", "Succeeded"), totals) if totals else "",
    )


def _who(evidence: Evidence, visible: Visible) -> Markup:
    return evidence_line(evidence[:3], visible, NOTHING)


def _check(facts: Facts, text: str, alert: str, value: float | None, who: str) -> list[str]:
    limits = [join(count(limit)) for _, limit in sorted(facts.thresholds(alert).items())]
    number = element("span", count(value), class_=_class(facts, value, alert))
    return [text, number, " / ".join(limits) or NOTHING, who]


def _services(facts: Facts, _visible: Visible) -> Markup:
    started = facts.by("zcs_service_start_time_seconds", "name")
    restarts = facts.by("zcs_service_restarts_last_day", "name")
    items = []
    for name, value in sorted(facts.by("zcs_service_up", "name").items(), key=lambda item: (item[1], item[0])):
        begun = started.get(name)
        parts = [join(" ", element("b", name), " ")]
        if value == 1 and begun is not None:
            parts.append(element("small", "for ", span(facts.now - begun)))
        if times := restarts.get(name):
            parts.append(element("small", f" restarted {times:.0f} {TIMES} in a day"))
        items.append(element("li", _up(value), *parts))
    return element("ul", *items, class_="chips") if items else Markup()


def maintenance(facts: Facts) -> Markup:
    """Return a notice while somebody is at work on the host."""
    causes = [cause for cause, value in facts.by("zcs_maintenance", "cause").items() if value == 1]
    if not causes:
        return Markup()
    until = max(facts.by("zcs_maintenance_until_timestamp_seconds", "cause").values(), default=None)
    end = join(", at the latest for ", span(until - facts.now), " more") if until is not None else ""
    return element(
        "p",
        badge(Severity.WARNING, "Maintenance"),
        f" ({', '.join(sorted(causes))}): alarms about services are held",
        end,
        ".",
        class_="notice",
    )


def notifications(facts: Facts) -> Markup:
    """Return how the receivers of notifications fare."""
    waiting = facts.by("zcs_exporter_outbox_messages", "target")
    if not waiting:
        return element("p", "Nobody is notified: no target is configured under ", element("code", "notify:"), ".")
    oldest = facts.by("zcs_exporter_outbox_oldest_age_seconds", "target")
    rows: list[list[str]] = []
    for target, number in sorted(waiting.items()):
        fates = facts.by("zcs_exporter_notifications_total", "outcome", target=target)
        lost = sum(fates.get(name, 0) for name in ("expired", "dropped", "set_aside"))
        age = oldest.get(target)
        late = facts.judge(age, "ZcsNotificationsStuck")
        rows.append(
            [
                target,
                count(number),
                NOTHING if number == 0 else element("span", span(age), class_=word(late)),
                count(fates.get("delivered")),
                count(fates.get("retried")),
                join(count(lost), " ", badge(Severity.WARNING, "lost") if lost else ""),
            ]
        )
    return table(
        "Receivers of notifications",
        ("Receiver", "Waiting", "Oldest", "Delivered", "Tried again", "Given up"),
        rows,
        stacks=True,
    )
