"""The page's areas that logs feed: mail flow, mailboxd, logs, and the list of the latest events."""

from collections.abc import Mapping

import pytest
from page_parts import HOSTILE, NOW, Page, scene, show
from web_parts import reading

from zcs_exporter.alerting.policy import THRESHOLD
from zcs_exporter.contract import (
    Evidence,
    EvidenceItem,
    EvidenceKind,
    Grade,
    Histogram,
    Kind,
    Metric,
    Record,
    Sample,
)
from zcs_exporter.events.entry import Entry
from zcs_exporter.expose.status_page import render_page
from zcs_exporter.expose.trend import Trend
from zcs_exporter.notify.message import Message, MessageKind

MAIL = Metric("zcs_mail_messages_total", Kind.COUNTER, "Mail.", ("event",))
REJECTS = Metric("zcs_mail_rejects_total", Kind.COUNTER, "Rejects.", ("cause",))
VERDICTS = Metric("zcs_mail_content_verdicts_total", Kind.COUNTER, "Verdicts.", ("verdict",))
DELAY = Metric("zcs_mail_delay_seconds", Kind.HISTOGRAM, "Delay.", ("stage",), buckets=(1, 10, 3600))
FLOOD = Metric("zcs_mail_flood_recipients_max", Kind.GAUGE, "Flood.")
RATIO = Metric("zcs_mail_flood_ratio_max", Kind.GAUGE, "Ratio.")
REQUESTS = Metric("zcs_mailboxd_request_seconds", Kind.SUMMARY, "Requests.", ("protocol",))
COMMANDS = Metric("zcs_mailboxd_command_seconds", Kind.SUMMARY, "Commands.", ("protocol", "command"))
ROWS = Metric("zcs_mailboxd_stat_rows_total", Kind.COUNTER, "Rows.", ("file",))
AGE = Metric("zcs_mailboxd_stat_age_seconds", Kind.GAUGE, "Age.", ("file",))
THREADS = Metric("zcs_mailboxd_threads", Kind.GAUGE, "Threads.", ("protocol",))
LIMIT = Metric("zcs_mailboxd_threads_limit", Kind.GAUGE, "Limit.", ("protocol",))
USED = Metric("zcs_mailboxd_threads_used_ratio", Kind.GAUGE, "Used.", ("protocol",))
CONNECTIONS = Metric("zcs_mailboxd_connections", Kind.GAUGE, "Connections.", ("protocol",))
LEVELS = Metric("zcs_log_events_total", Kind.COUNTER, "Events.", ("log", "level", "component"))
SIGNALS = Metric("zcs_log_signals_total", Kind.COUNTER, "Signals.", ("signal",))
REPEATED = Metric("zcs_log_repeated_errors", Kind.GAUGE, "Repeated.", ("log",))
HEARTBEAT = Metric("zcs_log_heartbeat_age_seconds", Kind.GAUGE, "Age.", ("log",))
FATAL = Metric("zcs_log_fatal_recent", Kind.GAUGE, "FATAL.")

MULTIPLIED = "\N{MULTIPLICATION SIGN}"
DASH = "\N{EN DASH}"


def account(name: str, count: float | None = None) -> Evidence:
    return (EvidenceItem(EvidenceKind.ACCOUNT, name, count),)


def trend(
    collector: str, grown: Mapping[Metric, list[tuple[dict[str, str], float]]], suffix: str = ""
) -> dict[str, Trend]:
    return {collector: Trend(120, {metric.name + suffix: series for metric, series in grown.items()})}


def threshold(alert: str, **levels: float) -> tuple[Sample, ...]:
    return tuple(THRESHOLD.sample(value, alert=alert, severity=severity) for severity, value in levels.items())


# Mail flow


def test_mail_is_told_of_the_last_minutes_beside_all_of_it_and_who_it_was() -> None:
    samples = (
        MAIL.sample(170, event="received", evidence=account("news@example.org", 15)),
        MAIL.sample(3, event="held"),
    )
    recent = trend("mailflow", {MAIL: [({"event": "received"}, 12), ({"event": "held"}, 0)]})

    text = show(reading("mailflow", *samples), trends=recent)

    assert "Mail Last 2m In all Most often" in text
    assert "Received 12 170 news@example.org (15)" in text
    assert f"Held 0 3 {DASH}" in text


def test_without_anything_to_compare_with_there_is_no_column_of_the_last_minutes() -> None:
    text = show(reading("mailflow", MAIL.sample(7, event="received")))

    assert "Mail In all Most often Received 7" in text
    assert "Last 2m" not in text


def test_mail_of_which_nothing_is_known_is_unknown_and_not_none() -> None:
    text = show(reading("mailflow", MAIL.sample(7, event="received")))

    assert f"Bounced unknown {DASH}" in text
    assert "Held" not in text


def test_a_host_that_has_seen_no_mail_says_so_in_a_line() -> None:
    text = show(reading("mailflow", *(MAIL.sample(0, event=event) for event in ("received", "held"))))

    assert "No mail counted so far." in text
    assert "Received" not in text


def test_whoever_may_not_see_accounts_sees_none() -> None:
    samples = MAIL.sample(9, event="received", evidence=account("ann@example.com", 9))

    text = show(reading("mailflow", samples), visible=frozenset({EvidenceKind.TEXT}))

    assert "ann@example.com" not in text
    assert "1 hidden by the privacy settings" in text


def test_causes_are_those_of_the_last_minutes_if_there_were_any() -> None:
    samples = MAIL.sample(9, event="rejected"), REJECTS.sample(8, cause="rbl"), REJECTS.sample(1, cause="unknown_user")
    quiet = trend("mailflow", {MAIL: [], REJECTS: [({"cause": "rbl"}, 0), ({"cause": "unknown_user"}, 0)]})
    news = trend("mailflow", {MAIL: [], REJECTS: [({"cause": "rbl"}, 0), ({"cause": "unknown_user"}, 1)]})

    assert "Rejected rbl 8, unknown user 1" in show(reading("mailflow", *samples), trends=quiet)
    assert "Rejected unknown user 1" in show(reading("mailflow", *samples), trends=news)


def delays(*seconds: float) -> list[Sample]:
    histogram = Histogram(DELAY)
    for each in seconds:
        histogram.observe(each, "queue")
    return list(histogram.samples())


def test_delays_are_a_mean_and_the_bound_of_nearly_all() -> None:
    text = show(reading("mailflow", *delays(*[0.5] * 19, 5)))

    assert "Time, all deliveries Mean 95 % within" in text
    assert "In the queue 725 ms 1 s" in text
    assert "Content filter unknown" in text
    assert "In the queue 950 ms 10 s" in show(reading("mailflow", *delays(*[0.5] * 18, 5, 5)))


def test_a_stage_that_no_mail_passed_took_no_time_rather_than_none() -> None:
    histogram = Histogram(DELAY)
    histogram.observe(0.5, "queue")
    histogram.begin("connect")

    text = show(reading("mailflow", *histogram.samples()))

    assert f"Connecting {DASH} {DASH}" in text


def test_delays_over_the_last_bound_have_none() -> None:
    assert "In the queue 2h more than 1h" in show(reading("mailflow", *delays(7200)))


def test_delays_of_the_last_minutes_come_first() -> None:
    before = delays(*[5000.0] * 9)
    now = {
        f"{DELAY.name}_count": [({"stage": "queue"}, 2.0)],
        f"{DELAY.name}_sum": [({"stage": "queue"}, 0.5)],
        f"{DELAY.name}_bucket": [({"stage": "queue", "le": le}, 2.0) for le in ("1", "10", "+Inf")],
    }

    text = show(reading("mailflow", *before), trends={"mailflow": Trend(120, now)})

    assert "Time, last 2m Mean 95 % within" in text
    assert "In the queue 250 ms 1 s" in text


def test_the_busiest_login_is_coloured_by_the_alarm() -> None:
    samples = FLOOD.sample(400, evidence=account("dmitri@example.com", 400)), RATIO.sample(16)
    page = Page(render_page(scene(reading("mailflow", *samples), own=threshold("ZcsAuthOutboundFlood", warning=10))))

    assert "400 recipients in ten minutes , 16.0 times what is usual dmitri@example.com (400)" in page.text
    assert ("span", {"class": "warning"}) in page.tags


# mailboxd


def requests(count: float, seconds: float, protocol: str = "soap") -> list[Sample]:
    return [
        REQUESTS.sample(count, suffix="_count", protocol=protocol),
        REQUESTS.sample(seconds, suffix="_sum", protocol=protocol),
    ]


def requests_trend(count: float, seconds: float, rows: float) -> dict[str, Trend]:
    labels = {"protocol": "soap"}
    return {
        "mailboxd": Trend(
            120,
            {
                f"{REQUESTS.name}_count": [(labels, count)],
                f"{REQUESTS.name}_sum": [(labels, seconds)],
                ROWS.name: [({"file": "mailboxd.csv"}, rows)],
            },
        )
    }


def test_requests_are_told_with_their_mean_time() -> None:
    text = show(reading("mailboxd", *requests(100, 2)), trends=requests_trend(40, 10, 2))

    assert "Work Last 2m In all SOAP requests 40 250 ms each 100 20 ms each" in text


def test_minutes_in_which_mailboxd_wrote_nothing_are_not_minutes_without_requests() -> None:
    text = show(reading("mailboxd", *requests(100, 2)), trends=requests_trend(0, 0, 0))

    assert "Last 2m" not in text
    assert "Work In all SOAP requests" in text


def test_threads_are_a_share_of_their_limit_and_coloured_by_the_alarm() -> None:
    samples = [
        *(THREADS.sample(19, protocol="lmtp"), LIMIT.sample(20, protocol="lmtp"), USED.sample(0.95, protocol="lmtp")),
        *(THREADS.sample(22, protocol="imap_ssl"), CONNECTIONS.sample(96, protocol="imap_ssl")),
        *(THREADS.sample(1, protocol="pop3"), CONNECTIONS.sample(0, protocol="pop3")),
    ]
    own = threshold("ZcsMailboxdThreadsShort", warning=0.9)
    page = Page(render_page(scene(reading("mailboxd", *samples), own=own)))

    assert "LMTP 95.0% 19 of 20" in page.text
    assert "IMAP, TLS 22, limit unknown 96" in page.text
    assert "POP3" not in page.text
    assert ("span", {"class": "warning"}) in page.tags


def test_the_age_of_the_tables_is_unknown_where_it_is() -> None:
    assert "Tables written 7s ago" in show(reading("mailboxd", AGE.sample(7, file="mailboxd.csv")))
    assert "Tables written unknown" in show(reading("mailboxd", AGE.sample(7, file="soap.csv")))


def test_the_commands_that_took_the_most_time_are_named_but_not_those_that_wait() -> None:
    series = {"SearchRequest": (2.0, 8.0), "GetMsgRequest": (100.0, 1.0), "NoOpRequest": (5.0, 900.0)}
    grown = {
        f"{COMMANDS.name}{suffix}": [
            ({"protocol": "soap", "command": command}, numbers[place]) for command, numbers in series.items()
        ]
        for place, suffix in enumerate(("_count", "_sum"))
    }
    samples = AGE.sample(7, file="mailboxd.csv")

    text = show(reading("mailboxd", samples), trends={"mailboxd": Trend(120, grown)})

    assert "Most time in 2m soap SearchRequest 4 s each soap GetMsgRequest 10 ms each" in text
    assert "NoOp" not in text


# Logs


def level(value: float, name: str, component: str) -> Sample:
    return LEVELS.sample(value, log="mailbox.log", level=name, component=component)


def test_components_with_news_come_first_and_what_is_new_is_told() -> None:
    samples = level(900, "warn", "soap"), level(2, "error", "index"), level(0, "fatal", "system")
    new = {LEVELS.name: [({"log": "mailbox.log", "level": "error", "component": "index"}, 2.0)]}

    text = show(reading("logs", *samples), trends={"logs": Trend(120, new)})

    assert "Entries in all; + in the last 2m" in text
    assert f"index mailbox.log {DASH} 2 +2 {DASH} soap mailbox.log {DASH} {DASH} 900" in text
    assert "system" not in text


def test_of_many_components_the_rest_is_counted() -> None:
    samples = [level(number + 1, "warn", f"part{number}") for number in range(9)]

    assert "and 3 more components" in show(reading("logs", *samples))


def test_logs_without_faults_say_so_in_a_line() -> None:
    text = show(reading("logs", level(0, "warn", "soap"), SIGNALS.sample(0, signal="slow_soap")))

    assert "No warning, error or fatal entry so far." in text
    assert "slow soap" not in text
    assert "Signs of trouble" not in text


def test_signals_that_are_not_zero_are_shown() -> None:
    samples = (
        SIGNALS.sample(7, signal="slow_soap"),
        SIGNALS.sample(0, signal="dos_filter"),
        SIGNALS.sample(1, signal="x"),
    )
    new = {SIGNALS.name: [({"signal": "x"}, 1.0), ({"signal": "slow_soap"}, 0.0)]}

    text = show(reading("logs", *samples), trends={"logs": Trend(120, new)})

    assert "Signs of trouble x 1 +1 slow soap 7" in text
    assert "dos filter" not in text


def test_errors_that_come_again_are_shown_most_frequent_first() -> None:
    rare, often = (
        EvidenceItem(EvidenceKind.TEXT, f"warn soap: {word} *", n) for word, n in (("rare", 2), ("often", 41))
    )
    single = EvidenceItem(EvidenceKind.TEXT, "warn soap: once", 1)

    text = show(reading("logs", REPEATED.sample(41, log="mailbox.log", evidence=(rare, often, single))))

    assert f"41 {MULTIPLIED} warn soap: often * mailbox.log 2 {MULTIPLIED} warn soap: rare * mailbox.log" in text
    assert "once" not in text


def test_errors_that_come_again_are_hidden_from_whoever_may_not_see_texts() -> None:
    error = EvidenceItem(EvidenceKind.TEXT, "warn soap: often *", 41)
    area = reading("logs", REPEATED.sample(41, log="mailbox.log", evidence=(error,)))

    assert "warn soap" not in show(area, visible=frozenset({EvidenceKind.ADDRESS}))


def test_a_silent_heart_and_fatal_entries_are_coloured_by_their_alarms() -> None:
    samples = HEARTBEAT.sample(1200, log="zimbra-stats.log"), FATAL.sample(4)
    own = threshold("ZcsLogStale", warning=900) + threshold("ZcsLogFatal", warning=3)
    page = Page(render_page(scene(reading("logs", *samples), own=own)))

    assert "Heart-beat in zimbra-stats.log 20m ago FATAL in ten minutes 4" in page.text
    assert sum(tag == ("span", {"class": "warning"}) for tag in page.tags) == 2


# Latest events


def entries(*records: Record | Message) -> list[Entry]:
    return [Entry(number, "mail.example.com", record) for number, record in enumerate(records)]


def failed(at: float, name: str) -> Record:
    fields = {"account": name, "address": "203.0.113.66", "reason": "bad_password"}
    return Record("login_failed", at, Grade.INFO, fields, "/opt/zimbra/log/audit.log", 77)


def test_events_of_one_kind_are_one_row_that_names_who_it_was_last() -> None:
    failures = [failed(NOW - 60 + number, f"user{number}@example.com") for number in range(6)]
    locked = Record("account_locked", NOW - 90, Grade.WARNING, {"account": "ann@example.com"})

    text = show(events=entries(locked, *failures))

    assert (
        f"(55s ago) failed login {MULTIPLIED} 6 the last: reason bad_password "
        "user5@example.com, 203.0.113.66, user4@example.com and 4 more audit.log at byte 77"
    ) in text
    assert f"(1m30s ago) Warning account locked ann@example.com {DASH}" in text
    assert text.index("failed login") < text.index("account locked")


def test_what_the_daemon_itself_said_is_not_among_them() -> None:
    message = Message(MessageKind.STARTED, "x-1", "mail.example.com", "", NOW, "started")

    assert "Latest events None since the daemon started." in show(events=entries(message))


def test_events_that_were_told_together_count_as_many_as_they_were() -> None:
    together = Record("slow_soap", NOW, Grade.INFO, {"count": "40"})
    flood = Record("outbound_flood", NOW, Grade.WARNING, {"count": "400", "account": "ann@example.com"})

    text = show(events=entries(together, together, flood))

    assert f"slow soap {MULTIPLIED} 80" in text
    assert "outbound flood count 400" in text


@pytest.mark.parametrize(
    ("visible", "said"),
    [
        (frozenset({EvidenceKind.TEXT}), "more is hidden by the privacy settings"),
        (frozenset({EvidenceKind.ADDRESS}), "203.0.113.66, more is hidden by the privacy settings"),
    ],
)
def test_events_name_nobody_who_may_not_be_seen(visible: frozenset[EvidenceKind], said: str) -> None:
    text = show(events=entries(failed(NOW, "ann@example.com")), visible=visible)

    assert "ann@example.com" not in text
    assert said in text


def test_the_worst_of_a_kind_gives_it_its_colour_and_ten_kinds_are_shown() -> None:
    worst = Record("disk_full", NOW - 5, Grade.CRITICAL)
    records = [Record(f"kind_{number}", NOW - 100 - number) for number in range(12)]

    text = show(events=entries(*reversed(records), worst, Record("disk_full", NOW - 4)))

    assert f"(4s ago) Critical disk full {MULTIPLIED} 2" in text
    assert "kind 8 " in text
    assert "kind 9 " not in text


def test_an_event_at_no_time_has_none() -> None:
    assert f"{DASH} odd" in show(events=entries(Record("odd", 1e300)))


def test_hostile_text_stays_text_in_these_areas_too() -> None:
    evidence = (*account(HOSTILE, 9), EvidenceItem(EvidenceKind.TEXT, HOSTILE, 9))
    hostile = scene(
        reading(
            "mailflow",
            MAIL.sample(1, event="received", evidence=evidence),
            REJECTS.sample(1, cause=HOSTILE),
            VERDICTS.sample(1, verdict=HOSTILE),
            FLOOD.sample(1, evidence=evidence),
            *delays(1),
        ),
        reading("mailboxd", THREADS.sample(9, protocol=HOSTILE), *requests(1, 1)),
        reading(
            "logs",
            LEVELS.sample(9, log=HOSTILE, level="error", component=HOSTILE),
            SIGNALS.sample(1, signal=HOSTILE),
            REPEATED.sample(9, log=HOSTILE, evidence=evidence),
            HEARTBEAT.sample(9, log=HOSTILE),
            FATAL.sample(1, evidence=evidence),
        ),
        events=entries(Record(HOSTILE, NOW, fields={"account": HOSTILE, "text": HOSTILE}, log=HOSTILE)),
        trends={
            "mailboxd": Trend(
                60,
                {
                    f"{COMMANDS.name}{suffix}": [({"protocol": "soap", "command": HOSTILE}, 3.0)]
                    for suffix in ("_count", "_sum")
                },
            )
        },
    )

    page = Page(render_page(hostile))

    assert "img" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count("<img src=x") > 10
