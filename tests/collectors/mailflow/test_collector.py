import asyncio
import re
import time

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st
from mail_world import START, MailDaemon, stamped

from collectors.mailflow.collector import MailflowCollector, MailflowConfig, returns_plainly
from collectors.mailflow.metrics import ALL, CAUSES, DEFERRALS, EVENTS, VERDICTS
from zcs_exporter.contract import (
    CollectError,
    Durable,
    EvidenceKind,
    Judging,
    LogFed,
    NotOnThisHost,
    Reason,
    Sample,
)
from zcs_exporter.mailreport.view import read_day
from zcs_exporter.schema import SchemaError

MAIN_CF = "/opt/zimbra/common/conf/main.cf"
SYSLOG = "/var/log/zimbra.log"
STORE = "mail.example.com[10.0.0.10]:7025"
FILTER = "127.0.0.1[127.0.0.1]:10024"


@pytest.fixture
def mta(host: FakeHost) -> FakeHost:
    host.write(MAIN_CF, "")
    host.write(SYSLOG, "")
    host.services("mailbox", "mta")
    return host


@pytest.fixture
def daemon(mta: FakeHost, manual: ManualClock) -> MailDaemon:
    manual.now = START + 500
    return MailDaemon(mta, manual)


def attempt(
    queue_id: str, outcome: str, relay: str = STORE, agent: str = "smtp", at: int = START, to: str = "ann@example.com"
) -> bytes:
    fields = "delay=0.8, delays=0.1/0.2/0.1/0.4, dsn=2.0.0"
    return stamped(at, f"postfix/{agent}", f"{queue_id}: to=<{to}>, relay={relay}, {fields}, status={outcome}")


def message(
    queue_id: str,
    sender: str = "x@example.net",
    size: int = 1000,
    recipients: int = 1,
    at: int = START,
    login: str = "",
) -> tuple[bytes, bytes]:
    client = f"client=mx[198.51.100.1]{f', sasl_method=PLAIN, sasl_username={login}' if login else ''}"
    return (
        stamped(at, "postfix/submission/smtpd", f"{queue_id}: {client}"),
        stamped(at, "postfix/qmgr", f"{queue_id}: from=<{sender}>, size={size}, nrcpt={recipients} (queue active)"),
    )


def reject(reply: str, at: int = START) -> bytes:
    return stamped(at, "postfix/smtpd", f"NOQUEUE: reject: RCPT from bad[203.0.113.5]: {reply}; from=<y@example.org>")


# -- What it is and where it runs ----------------------------------------------------------------------------------


def test_it_keeps_the_contract(daemon: MailDaemon) -> None:
    assert isinstance(daemon.collector, Durable)
    assert isinstance(daemon.collector, LogFed)
    assert isinstance(daemon.collector, Judging)
    assert {sample.metric for sample in daemon.samples()} == set(ALL)


def test_every_closed_label_is_there_from_the_start(daemon: MailDaemon) -> None:
    values = daemon.values()

    for metric, labels in (
        ("zcs_mail_messages_total", EVENTS),
        ("zcs_mail_rejects_total", CAUSES),
        ("zcs_mail_deferrals_total", DEFERRALS),
        ("zcs_mail_content_verdicts_total", VERDICTS),
    ):
        assert all(values[metric, (label,)] == 0 for label in labels)
    assert values["zcs_mail_delay_seconds_count", ("content_filter",)] == 0


def test_a_host_without_an_mta_has_no_mail_flow(host: FakeHost, manual: ManualClock) -> None:
    collector = MailflowCollector(MailflowConfig(), host, manual.clock)
    with pytest.raises(NotOnThisHost):
        asyncio.run(collector.collect())

    host.write(MAIN_CF, "")
    host.services("mailbox")
    with pytest.raises(NotOnThisHost):
        asyncio.run(collector.collect())


def test_a_log_that_is_not_there_is_an_error(host: FakeHost, manual: ManualClock) -> None:
    host.write("/opt/zimbra/postfix/conf/main.cf", "")

    with pytest.raises(CollectError, match=SYSLOG) as caught:
        asyncio.run(MailflowCollector(MailflowConfig(), host, manual.clock).collect())

    assert caught.value.reason is Reason.UNAVAILABLE


def test_it_collects_what_it_counted(daemon: MailDaemon) -> None:
    daemon.feed(*message("AAAAAAAAAA1"))

    found = asyncio.run(daemon.collector.collect())

    assert [each.value for each in found if isinstance(each, Sample) and each.labels == ("received",)] == [1]


def test_a_client_on_this_host_is_counted_by_the_wall_clock_too(daemon: MailDaemon, manual: ManualClock) -> None:
    daemon.feed(
        stamped(START, "postfix/smtpd", "AAAAAAAAAA1: client=localhost[127.0.0.1]"),
        stamped(START, "postfix/qmgr", "AAAAAAAAAA1: from=<x@example.net>, size=1, nrcpt=1 (queue active)"),
    )
    manual.now = START + 119
    asyncio.run(daemon.collector.collect())
    assert daemon.events() == {}

    manual.now = START + 120
    asyncio.run(daemon.collector.collect())
    assert daemon.events() == {"received": 1}


MASTER = """\
# the client's
smtp      inet  n       -       n       -       1       postscreen
smtpd     pass  -       -       n       -       -       smtpd
submission inet n      -       n       -       -       smtpd
\t-o syslog_name=postfix/submission
smtp-amavis unix -      -       n       -       10  smtp
[127.0.0.1]:10025 inet n  -       n       -       -  smtpd
\t-o content_filter=
\t-o syslog_name=postfix/amavisd
10030 inet n - n - - smtpd
# in between
\t-o { syslog_name = postfix/dkimmilter }
"""


@pytest.mark.parametrize(
    ("text", "plainly"),
    [
        (MASTER, False),
        ("", False),
        (MASTER.replace("-o syslog_name=postfix/amavisd", ""), True),
        (MASTER.replace("syslog_name=postfix/amavisd", "syslog_name=postfix/filtered"), True),
        (MASTER.replace("[127.0.0.1]:10025", "10025"), False),
        ("127.0.0.1:10025 inet n - n - - smtpd", True),
        ("127.0.0.1:10099 inet n - n - - smtpd", False),
    ],
)
def test_master_cf_tells_whether_later_passes_have_names_of_their_own(text: str, plainly: bool) -> None:
    assert returns_plainly(text, MailflowConfig().filter_ports) == plainly


@given(st.text(alphabet=" \n\t#-o{}=10025inetsmtpdyl_gafx/", max_size=200))
@settings(max_examples=500, deadline=None)
def test_any_master_cf_tells_one_or_the_other(text: str) -> None:
    assert returns_plainly(text, (10025,)) in (True, False)


def test_where_later_passes_have_names_a_client_on_this_host_counts_at_once(daemon: MailDaemon, mta: FakeHost) -> None:
    mta.write("/opt/zimbra/common/conf/master.cf", MASTER)

    def arrive(queue_id: str) -> None:
        daemon.feed(
            stamped(START, "postfix/smtpd", f"{queue_id}: client=localhost[127.0.0.1]"),
            stamped(START, "postfix/qmgr", f"{queue_id}: from=<x@example.net>, size=1, nrcpt=1 (queue active)"),
        )

    arrive("AAAAAAAAAA1")
    assert daemon.events() == {}
    asyncio.run(daemon.collector.collect())
    assert daemon.events() == {"received": 1}
    arrive("AAAAAAAAAA2")
    assert daemon.events() == {"received": 2}


@pytest.mark.parametrize("ports", [[0], [70000], ["25"]])
def test_a_port_is_a_port(ports: list[object]) -> None:
    with pytest.raises(SchemaError):
        MailflowConfig.of({"filter_ports": ports})


def test_a_site_may_name_the_ports_of_its_own_filter(mta: FakeHost, manual: ManualClock) -> None:
    manual.now = START + 1000
    daemon = MailDaemon(mta, manual, MailflowConfig.of({"filter_ports": [12525]}))
    daemon.feed(
        attempt("AAAAAAAAAA1", "sent (250 Ok: queued as BBBBBBBBBB1)", "f[10.0.0.9]:12525"),
        attempt("BBBBBBBBBB1", "sent (250 Ok)"),
    )

    assert daemon.events() == {"delivered": 1}


# -- Deliveries ----------------------------------------------------------------------------------------------------


def test_a_delivery_counts_its_bytes_and_the_time_of_each_stage(daemon: MailDaemon) -> None:
    daemon.feed(*message("AAAAAAAAAA1", size=5000), attempt("AAAAAAAAAA1", "sent (250 Ok)"))

    assert daemon.events() == {"received": 1, "delivered": 1}
    assert daemon.labelled("zcs_mail_bytes_total") == {"in": 5000, "out": 5000}
    sums = daemon.labelled("zcs_mail_delay_seconds_sum")
    assert sums == pytest.approx({"before_queue": 0.1, "queue": 0.2, "connect": 0.1, "transmit": 0.4})


def test_a_hop_to_the_filter_is_a_stage_and_no_delivery(daemon: MailDaemon) -> None:
    daemon.feed(
        *message("AAAAAAAAAA1"),
        stamped(START, "postfix/amavisd/smtpd", "BBBBBBBBBB1: client=localhost[127.0.0.1]"),
        stamped(START, "postfix/qmgr", "BBBBBBBBBB1: from=<x@example.net>, size=1300, nrcpt=1 (queue active)"),
        attempt(
            "AAAAAAAAAA1", "sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 Ok: queued as BBBBBBBBBB1)", FILTER
        ),
        attempt("BBBBBBBBBB1", "sent (250 Ok)", agent="lmtp"),
    )

    assert daemon.events() == {"received": 1, "delivered": 1}
    assert daemon.labelled("zcs_mail_bytes_total") == {"in": 1000, "out": 1300}
    assert daemon.labelled("zcs_mail_delay_seconds_count") == {
        "before_queue": 1,
        "queue": 2,
        "content_filter": 1,
        "connect": 1,
        "transmit": 1,
    }
    assert daemon.value("zcs_mail_delay_seconds_sum", "content_filter") == pytest.approx(0.5)
    assert daemon.labelled("zcs_mail_lmtp_results_total") == {"delivered": 1}


def test_what_the_filter_throws_away_or_returns_is_told_so(daemon: MailDaemon) -> None:
    daemon.feed(
        attempt("AAAAAAAAAA1", "sent (250 2.7.0 Ok, discarded, id=1-2 - INFECTED: Eicar)", FILTER),
        attempt("AAAAAAAAAA2", "sent (250 2.7.0 Bounce, id=1-3 - BANNED: .exe)", FILTER),
        attempt("AAAAAAAAAA3", "bounced (host 127.0.0.1[127.0.0.1] said: 554 5.7.0 Reject, id=1-4 - SPAM)", FILTER),
        attempt("AAAAAAAAAA4", "sent (thrown away)", "none", agent="discard"),
        stamped(
            START, "postfix/cleanup", "AAAAAAAAAA5: milter-discard: END-OF-MESSAGE from mx[198.51.100.1]: x; from=<y>"
        ),
    )

    assert daemon.events() == {"discarded": 3, "bounced": 2}


def test_an_alias_forwards(daemon: MailDaemon) -> None:
    daemon.feed(attempt("AAAAAAAAAA1", "sent (forwarded as BBBBBBBBBB1)", "local", agent="local"))

    assert daemon.events() == {"forwarded": 1}


def test_a_probe_of_an_address_delivers_nothing(daemon: MailDaemon) -> None:
    daemon.feed(
        attempt("AAAAAAAAAA1", "deliverable (delivers to mailbox)"),
        attempt("AAAAAAAAAA2", "undeliverable (host mx[203.0.113.1] said: 550 no)"),
    )

    assert daemon.events() == {}


def test_a_bounce_of_a_bounce_reaches_nobody(daemon: MailDaemon, manual: ManualClock) -> None:
    for number, sender in enumerate(("", "double-bounce@mail.example.com", "x@example.net")):
        queue_id = f"AAAAAAAAA{number:02}"
        daemon.feed(*message(queue_id, sender), attempt(queue_id, "bounced (host mx[203.0.113.1] said: 550 no)"))
    daemon.restart()
    daemon.feed(stamped(START, "postfix/qmgr", "AAAAAAAAAB1: from=<>, status=expired, returned to sender"))

    assert daemon.events() == {"received": 3, "bounced": 3, "double_bounce": 3, "expired": 1}
    assert daemon.value("zcs_mail_window_double_bounces") == 3
    daemon.restart()
    manual.now = START + 3660
    assert daemon.value("zcs_mail_window_double_bounces") == 0


def test_a_store_that_is_full_is_told_apart(daemon: MailDaemon) -> None:
    said = "host mail.example.com[10.0.0.10] said:"
    daemon.feed(
        attempt("AAAAAAAAAA1", f"deferred ({said} 452 4.2.2 Over quota)", agent="lmtp"),
        attempt("AAAAAAAAAA1", f"bounced ({said} 550 5.1.1 No such user here)", agent="lmtp"),
        attempt(
            "AAAAAAAAAA1", "deferred (connect to mail.example.com[10.0.0.10]:7025: Connection refused)", "none", "lmtp"
        ),
    )

    assert daemon.labelled("zcs_mail_lmtp_results_total") == {"over_quota": 1, "unknown_user": 1, "temporary": 1}
    assert daemon.labelled("zcs_mail_deferrals_total") == {"mailbox_full": 1, "connection_refused": 1}


# -- The content filter --------------------------------------------------------------------------------------------

REFUSED = "deferred (connect to 127.0.0.1[127.0.0.1]:10024: Connection refused)"
UNREACHED = "zcs_mail_content_filter_unreached_deliveries"


def test_a_filter_that_does_not_answer_is_counted_until_it_does(daemon: MailDaemon) -> None:
    daemon.feed(
        attempt("AAAAAAAAAA1", REFUSED, "none"),
        attempt("AAAAAAAAAA2", REFUSED.replace("(", "(delivery temporarily suspended: "), "none", agent="retry"),
        attempt("AAAAAAAAAA3", "deferred (conversation with 127.0.0.1[127.0.0.1] timed out while x)", FILTER),
    )
    assert daemon.value(UNREACHED) == 3
    assert daemon.labelled("zcs_mail_deferrals_total") == {"content_filter_unreachable": 3}

    daemon.restart()
    assert daemon.value(UNREACHED) == 3
    daemon.feed(attempt("AAAAAAAAAA1", "sent (250 2.0.0 Ok: queued as BBBBBBBBBB1)", FILTER))
    assert daemon.value(UNREACHED) == 0


def test_a_filter_that_answers_with_a_fault_is_reached(daemon: MailDaemon) -> None:
    daemon.feed(attempt("AAAAAAAAAA1", REFUSED, "none"))
    text = "deferred (host 127.0.0.1[127.0.0.1] said: 451 4.5.0 Error in processing (in reply to end of DATA command))"
    daemon.feed(attempt("AAAAAAAAAA1", text, FILTER))

    assert daemon.value(UNREACHED) == 0
    assert daemon.labelled("zcs_mail_deferrals_total") == {"content_filter_unreachable": 1, "content_filter_error": 1}


def test_a_strange_server_cannot_accuse_the_filter(daemon: MailDaemon) -> None:
    text = "deferred (host mx[203.0.113.1] said: 451 connect to 127.0.0.1[127.0.0.1]:10024: Connection refused)"
    daemon.feed(attempt("AAAAAAAAAA1", text, "mx[203.0.113.1]:25"), attempt("AAAAAAAAAA1", text, "none"))

    assert daemon.value(UNREACHED) == 0
    assert daemon.labelled("zcs_mail_deferrals_total") == {"remote": 2}


def test_a_filter_that_nobody_needs_for_two_hours_is_no_trouble(daemon: MailDaemon, manual: ManualClock) -> None:
    daemon.feed(attempt("AAAAAAAAAA1", REFUSED, "none"))
    manual.now = START + 7200

    assert daemon.value(UNREACHED) == 0


def test_what_is_over_moves_no_gauge(daemon: MailDaemon) -> None:
    lines = [attempt("AAAAAAAAAA1", REFUSED, "none"), *message("AAAAAAAAAA2", "")]
    daemon.feed(*lines, attempt("AAAAAAAAAA2", "bounced (no)"), live=False)

    assert daemon.value(UNREACHED) == 0
    assert daemon.value("zcs_mail_window_double_bounces") == 0
    assert daemon.events() == {"received": 1, "deferred": 1, "bounced": 1, "double_bounce": 1}


def test_a_worse_verdict_the_second_time_counts_in_place_of_the_first(daemon: MailDaemon) -> None:
    def amavis(words: str, queue_id: str, back: str = "") -> bytes:
        rest = f"Queue-ID: {queue_id}, mail_id: a, Hits: -, size: 1{f', queued_as: {back}' if back else ''}, 9 ms"
        return stamped(START, "amavis", f"(1-2) {words} {{X}}, [192.0.2.1] <a@example.com> -> <b@example.net>, {rest}")

    daemon.feed(
        amavis("Passed CLEAN", "AAAAAAAAAA1", "BBBBBBBBBB1"),
        stamped(START, "postfix/qmgr", "BBBBBBBBBB1: from=<a@example.com>, size=1, nrcpt=1 (queue active)"),
        amavis("Blocked SPAM", "BBBBBBBBBB1"),
    )
    daemon.restart()
    daemon.feed(
        amavis("Passed CLEAN", "AAAAAAAAAA2", "BBBBBBBBBB2"), amavis("Passed CLEAN", "AAAAAAAAAA3", "BBBBBBBBBB3")
    )

    assert daemon.labelled("zcs_mail_content_verdicts_total") == {"clean": 2, "spam": 1}
    assert daemon.value("zcs_mail_content_blocked_total") == 1


def test_signatures_and_policies_are_counted(daemon: MailDaemon) -> None:
    daemon.feed(
        stamped(START, "opendkim", "AAAAAAAAAA1: DKIM-Signature field added (s=s1, d=example.com)"),
        stamped(START, "cbpolicyd", "module=Greylisting, action=defer, host=198.51.100.7, helo=h, from=x, to=y"),
        stamped(
            START,
            "amavis",
            "(1-2) Passed CLEAN {X}, <a> -> <b>, Queue-ID: AAAAAAAAAA1, size: 1, dkim_sd=s:d.test, 9 ms",
        ),
    )

    assert daemon.labelled("zcs_mail_dkim_total") == {"signed": 1, "verified": 1}
    assert daemon.labelled("zcs_mail_policy_actions_total") == {"defer": 1}


# -- Flood ---------------------------------------------------------------------------------------------------------


def test_a_flood_names_its_sender_and_is_confirmed_by_who_refuses_it(daemon: MailDaemon) -> None:
    daemon.feed(
        *message("AAAAAAAAAA1", recipients=400, login="ann@example.com"),
        attempt("AAAAAAAAAA1", "sent (250 2.0.0 Ok: queued as BBBBBBBBBB1)", FILTER),
        stamped(START, "postfix/qmgr", "BBBBBBBBBB1: from=<x@example.net>, size=1, nrcpt=400 (queue active)"),
        attempt("BBBBBBBBBB1", "bounced (host mx[203.0.113.1] said: 550 no)", to="a@example.org"),
        attempt("BBBBBBBBBB1", "deferred (connect to mx[203.0.113.1]:25: Connection refused)", to="b@example.org"),
        stamped(START, "postfix/qmgr", "BBBBBBBBBB1: from=<x@example.net>, size=1, nrcpt=400 (queue active)"),
        attempt("BBBBBBBBBB1", "deferred (connect to mx[203.0.113.1]:25: Connection refused)", to="b@example.org"),
    )
    daemon.restart()

    assert daemon.value("zcs_mail_flood_recipients_max") == 400
    assert daemon.value("zcs_mail_flood_ratio_max") == 16
    assert daemon.value("zcs_mail_flood_undelivered_recipients") == 2  # a second attempt tells nothing new
    [item] = daemon.evidence("zcs_mail_flood_ratio_max")
    assert (item.kind, item.value, item.count) == (EvidenceKind.ACCOUNT, "ann@example.com", 400)


@pytest.mark.parametrize("live", [True, False])
def test_a_flood_is_on_record_once_an_hour_be_it_over_or_not(daemon: MailDaemon, live: bool) -> None:
    lines = [
        line
        for number in range(100)
        for line in message(f"AAAAAAAA{number:03}", recipients=100, at=START + number * 5, login="ann@example.com")
    ]
    daemon.feed(*lines, live=live)

    [record] = daemon.records()
    assert record.kind == "outbound_flood"
    assert record.fields["account"] == "ann@example.com"
    assert record.fields["address"] == "198.51.100.1"
    # With the third message it is ten times what nobody is called excessive for.
    assert record.fields["count"] == "300"
    assert (record.log, record.offset) == (SYSLOG, sum(len(line) + 1 for line in lines[:5]))
    assert (daemon.value("zcs_mail_flood_ratio_max") > 0) == live
    assert daemon.records() == []


def test_a_flood_that_nobody_was_told_of_is_told_after_a_restart(daemon: MailDaemon) -> None:
    daemon.feed(*message("AAAAAAAAAA1", recipients=400, login="ann@example.com"))
    daemon.restart()

    [record] = daemon.records()
    assert (record.kind, record.fields["account"], record.fields["count"]) == (
        "outbound_flood",
        "ann@example.com",
        "400",
    )
    daemon.restart()
    assert daemon.records() == []


def test_a_flood_that_another_line_brings_to_light_has_no_place(daemon: MailDaemon) -> None:
    """Whether it came from outside is known only once it goes to the filter."""
    daemon.feed(
        stamped(START, "postfix/smtpd", "AAAAAAAAAA1: client=localhost[127.0.0.1]"),
        stamped(START, "postfix/qmgr", "AAAAAAAAAA1: from=<Ann@example.com>, size=1, nrcpt=400 (queue active)"),
        attempt("AAAAAAAAAA1", "sent (250 2.0.0 Ok: queued as BBBBBBBBBB1)", FILTER),
    )

    [record] = daemon.records()
    assert (record.fields["address"], record.log, record.offset) == ("127.0.0.1", SYSLOG, None)


@pytest.mark.parametrize("client", ["localhost[127.0.0.1]", "Mail.example.com[10.0.0.10]", "localhost[::1]"])
def test_who_floods_through_the_mailbox_server_of_this_host_is_named(
    daemon: MailDaemon, mta: FakeHost, client: str
) -> None:
    """Webmail and mobile devices log in there, and to no MTA."""
    mta.localconfig(zimbra_server_hostname="mail.example.com")
    mta.write("/opt/zimbra/common/conf/master.cf", MASTER)
    asyncio.run(daemon.collector.collect())
    daemon.feed(
        stamped(START, "postfix/smtpd", f"AAAAAAAAAA1: client={client}"),
        stamped(START, "postfix/qmgr", "AAAAAAAAAA1: from=<Ann@example.com>, size=1, nrcpt=400 (queue active)"),
        attempt("AAAAAAAAAA1", "sent (250 2.0.0 Ok: queued as BBBBBBBBBB1)", FILTER),
        stamped(START, "postfix/qmgr", "BBBBBBBBBB1: from=<Ann@example.com>, size=1, nrcpt=400 (queue active)"),
        attempt("BBBBBBBBBB1", "bounced (host mx[203.0.113.1] said: 550 no)", to="a@example.org"),
        # A notice, and what a journal hands over for somebody else.
        stamped(START, "postfix/smtpd", f"AAAAAAAAAA2: client={client}"),
        stamped(START, "postfix/qmgr", "AAAAAAAAAA2: from=<>, size=1, nrcpt=4000 (queue active)"),
        stamped(START, "postfix/reinject/smtpd", f"AAAAAAAAAA3: client={client}, orig_client=mx[198.51.100.1]"),
        stamped(START, "postfix/qmgr", "AAAAAAAAAA3: from=<x@example.net>, size=1, nrcpt=4000 (queue active)"),
    )

    assert daemon.value("zcs_mail_flood_ratio_max") == 16
    assert daemon.value("zcs_mail_flood_undelivered_recipients") == 1
    [item] = daemon.evidence("zcs_mail_flood_ratio_max")
    assert (item.value, item.count) == ("ann@example.com", 400)


def test_who_sends_without_a_login_floods_nobody(daemon: MailDaemon) -> None:
    daemon.feed(*message("AAAAAAAAAA1", recipients=100_000))

    assert daemon.value("zcs_mail_flood_ratio_max") == 0


# -- Evidence, the day's book and hostile text ---------------------------------------------------------------------


def test_names_are_evidence_and_never_labels(daemon: MailDaemon) -> None:
    daemon.feed(*message("AAAAAAAAAA1", "Sender@Example.NET"), attempt("AAAAAAAAAA1", "sent (ok)"))
    daemon.feed(reject("554 5.7.1 <z@x.test>: Relay access denied"))

    shown = [(item.kind, item.value) for item in daemon.evidence("zcs_mail_messages_total", "received")]
    assert shown == [
        (EvidenceKind.ACCOUNT, "sender@example.net"),
        (EvidenceKind.DOMAIN, "from example.net"),
        (EvidenceKind.ADDRESS, "mx[198.51.100.1]"),
    ]
    assert [item.value for item in daemon.evidence("zcs_mail_messages_total", "rejected")] == ["bad[203.0.113.5]"]
    for sample in daemon.samples():
        assert all(re.fullmatch(r"[a-z_]+", label) for label in sample.labels)


def test_evidence_is_of_the_last_hours(daemon: MailDaemon, manual: ManualClock) -> None:
    manual.now = START + 20_000
    daemon.feed(*message("AAAAAAAAAA1", "old@example.net"))
    daemon.feed(*message("AAAAAAAAAA2", "new@example.net", at=START + 8000))

    assert "old@example.net" not in {item.value for item in daemon.evidence("zcs_mail_messages_total", "received")}


def test_evidence_counts_what_came_since_the_hour_before(daemon: MailDaemon, manual: ManualClock) -> None:
    hour = START - START % 3600
    manual.now = START + 20_000
    for number, at in enumerate((hour, hour + 3600, hour + 7200)):
        daemon.feed(
            *message(f"AAAAAAAAA{number}1", "often@example.net", at=at),
            attempt(f"AAAAAAAAA{number}1", "deferred (no)", at=at, to="a@later.test"),
            attempt(f"AAAAAAAAA{number}1", "bounced (no)", at=at, to="b@bounce.test"),
        )

    for event, item in (
        ("received", ("often@example.net", 2)),
        ("deferred", ("to later.test", 2)),
        ("bounced", ("to bounce.test", 2)),
    ):
        found = [(each.value, each.count) for each in daemon.evidence("zcs_mail_messages_total", event)]
        assert item in found


def test_evidence_begins_anew_at_midnight_and_goes_on_from_there(daemon: MailDaemon, manual: ManualClock) -> None:
    manual.now = START + 90_000
    midnight = int(time.mktime((*time.localtime(START + 86_400)[:3], 0, 0, 0, 0, 0, -1)))
    for number, at in enumerate((midnight - 60, midnight + 60, midnight + 3660, midnight + 3720)):
        daemon.feed(*message(f"AAAAAAAAA{number}1", f"s{number // 2}@example.net", at=at))

    found = [(each.value, each.count) for each in daemon.evidence("zcs_mail_messages_total", "received")]
    assert ("s0@example.net", 1) in found
    assert ("s1@example.net", 2) in found


def test_a_stamp_that_cannot_be_opens_no_page_of_long_ago(daemon: MailDaemon) -> None:
    daemon.feed(*(line.replace(line[:6], b"Feb 31") for line in message("AAAAAAAAAA1")))
    daemon.commit()

    assert daemon.events() == {"received": 1}
    assert not [key for key in daemon.rows if key.startswith("day:1970")]


def test_the_days_book_is_written_and_survives_a_restart(daemon: MailDaemon) -> None:
    daemon.feed(*message("AAAAAAAAAA1", size=500), attempt("AAAAAAAAAA1", "sent (ok)"))
    daemon.restart()
    daemon.feed(
        reject("554 5.7.1 <z@x.test>: Relay access denied"),
        attempt("AAAAAAAAAA1", "deferred (connect to mx[203.0.113.1]:25: Connection refused)"),
        attempt("AAAAAAAAAA1", "bounced (host mx[203.0.113.1] said: 550 no)"),
        stamped(START, "postfix/smtpd", "warning: hostname x does not resolve to address 203.0.113.5"),
        stamped(START, "postfix/smtpd", "NOQUEUE: hold: RCPT from mx[198.51.100.1]: <h@example.com>: by a rule"),
    )
    daemon.commit()

    day = read_day(daemon.rows, time.strftime("%Y-%m-%d", time.localtime(START)))

    assert day is not None
    totals = day.totals
    assert (totals.received, totals.delivered, totals.rejected, totals.bounced, totals.held) == (1, 1, 1, 1, 1)
    assert (totals.deferred, totals.deferrals, totals.bytes_received, totals.bytes_delivered) == (1, 1, 500, 500)
    assert day.causes == {"relay": 1}
    assert len(day.names["warnings"].kept) == 1


def test_limits_of_clients_are_counted_apart(daemon: MailDaemon) -> None:
    text = "warning: Connection rate limit exceeded: 31 from unknown[203.0.113.5] for service smtp"
    daemon.feed(stamped(START, "postfix/smtpd", text))

    assert daemon.value("zcs_mail_client_limits_exceeded_total") == 1
    assert daemon.events() == {}


def test_a_line_that_cannot_be_understood_is_counted(daemon: MailDaemon) -> None:
    daemon.feed(
        stamped(START, "postfix/smtp", "AAAAAAAAAA1: to=<ann@example.com>, relays=7"),
        stamped(START, "postfix/smtpd", "AAAAAAAAAA1: client=nobody"),
        stamped(START, "postfix/qmgr", "AAAAAAAAAA1: from=<a@example.com>, size=x, nrcpt=1 (queue active)"),
        stamped(START, "postfix/qmgr", "AAAAAAAAAA1: from=<a@example.com>, status=new"),
    )

    assert daemon.value("zcs_mail_unparsed_lines_total") == 3


def test_lines_of_other_programs_and_of_later_passes_count_for_nothing(daemon: MailDaemon) -> None:
    fake = "AAAAAAAAAA1: client=mx[198.51.100.1]"
    daemon.feed(
        stamped(START, "postfix/amavisd/smtpd", fake),
        stamped(START, "postfix/dkimmilter/smtpd", "NOQUEUE: reject: RCPT from localhost[127.0.0.1]: 554 no; from=<y>"),
        stamped(START, "evil", fake),
        stamped(START, "postfix/evil/cleanup/x", fake),
        stamped(START, "sshd", "postfix/smtpd[1]: " + fake),
        stamped(START, "postfix/qmgr", "AAAAAAAAAA1: from=<x@example.net>, size=1, nrcpt=1 (queue active)"),
    )

    assert daemon.events() == {}
