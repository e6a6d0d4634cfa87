import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.mailflow.lines import (
    deferral_reason,
    is_answer,
    is_limit_exceeded,
    is_malformed,
    lmtp_result,
    parse_action,
    parse_arrival,
    parse_delivery,
    parse_dkim,
    parse_expired,
    parse_pickup,
    parse_policy,
    parse_queued,
    parse_queued_as,
    parse_verdict,
    postscreen_cause,
    reject_cause,
    unreached_port,
)
from collectors.mailflow.metrics import CAUSES, DEFERRALS, DKIM_RESULTS, LMTP_RESULTS, POLICY_ACTIONS, VERDICTS

ID = b"3F2A81C0E5D"
LONG_ID = b"4TnlWz2Jv5zQ1d"
DELIVERY = (
    b"7B1C21C0E60: to=<ann@example.com>, relay=mail.example.com[10.0.0.10]:7025, delay=0.21, delays=0.01/0/0.05/0.15, "
    b"dsn=2.1.5, status=sent (250 2.1.5 Delivery OK)"
)


@pytest.mark.parametrize("queue_id", [ID, LONG_ID])
def test_an_arrival_tells_the_client(queue_id: bytes) -> None:
    found = parse_arrival(queue_id + b": client=host.example.net[198.51.100.7]")

    assert found == (queue_id, b"host.example.net[198.51.100.7]", b"198.51.100.7", b"", False)


def test_an_arrival_tells_the_login_and_whether_postfix_had_the_message() -> None:
    login = b": client=unknown[2001:db8::1]:51022, sasl_method=PLAIN, sasl_username=Ann@example.com, sasl_sender=x"
    again = b": client=localhost[127.0.0.1], orig_queue_id=AAAAAAAAAA1, orig_client=mx[198.51.100.7]"

    assert parse_arrival(ID + login) == (ID, b"unknown[2001:db8::1]", b"2001:db8::1", b"Ann@example.com", False)
    assert parse_arrival(ID + again) == (ID, b"mx[198.51.100.7]", b"127.0.0.1", b"", True)


def test_a_login_that_imitates_a_later_pass_is_still_a_login() -> None:
    found = parse_arrival(ID + b": client=pc[192.0.2.1], sasl_method=PLAIN, sasl_username=e, orig_queue_id=AAAAAAAAAA1")

    assert found == (ID, b"pc[192.0.2.1]", b"192.0.2.1", b"e", False)


def test_a_queued_message_tells_sender_size_and_recipients() -> None:
    assert parse_queued(ID + b": from=<x@example.net>, size=17168, nrcpt=3 (queue active)") == (
        ID,
        b"x@example.net",
        17168,
        3,
    )


def test_a_sender_that_imitates_the_rest_of_the_line_is_a_sender() -> None:
    sender = b'"x>, size=1, nrcpt=999 (queue active)"@example.net'

    assert parse_queued(ID + b": from=<" + sender + b">, size=5, nrcpt=1 (queue active)") == (ID, sender, 5, 1)
    assert (
        parse_expired(ID + b": from=<x>, status=expired, returned to sender@y>, size=5, nrcpt=1 (queue active)") is None
    )
    assert parse_expired(ID + b": from=<x@y>, status=force-expired, returned to sender") == b"x@y"


def test_a_delivery_has_its_fields() -> None:
    assert parse_delivery(DELIVERY) == (
        b"7B1C21C0E60",
        b"ann@example.com",
        b"mail.example.com[10.0.0.10]:7025",
        b"0.21",
        b"0.01/0/0.05/0.15",
        b"2.1.5",
        b"sent",
        b"250 2.1.5 Delivery OK)",
    )


def test_a_delivery_may_have_an_original_recipient_and_a_reused_connection() -> None:
    line = DELIVERY.replace(b"relay=", b"orig_to=<root>, relay=").replace(b"delay=", b"conn_use=4, delay=", 1)

    assert parse_delivery(line) == parse_delivery(DELIVERY)


def test_a_delivery_of_an_old_postfix_has_no_delays() -> None:
    line = DELIVERY.replace(b"delays=0.01/0/0.05/0.15, dsn=2.1.5, ", b"")

    found = parse_delivery(line)

    assert found is not None
    assert found[4] is found[5] is None


def test_a_quoted_recipient_that_imitates_a_delivery_is_a_recipient() -> None:
    fake = b'"a>, relay=127.0.0.1[127.0.0.1]:10024, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (ok"@example.com'

    found = parse_delivery(DELIVERY.replace(b"ann@example.com", fake))

    assert found is not None
    assert found[1] == fake
    assert found[2] == b"mail.example.com[10.0.0.10]:7025"


def test_an_answer_that_imitates_fields_is_text() -> None:
    text = b"550 no, relay=127.0.0.1[127.0.0.1]:10024, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (ok)"

    found = parse_delivery(DELIVERY.replace(b"sent (250 2.1.5 Delivery OK)", b"bounced (" + text + b")"))

    assert found is not None
    assert found[6:] == (b"bounced", text + b")")


def test_what_came_back_is_named_at_the_end_of_the_answer_only() -> None:
    assert parse_queued_as(b"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 7B1C21C0E60)") == (
        b"7B1C21C0E60"
    )
    assert parse_queued_as(b"250 2.0.0 Ok: queued as 7B1C21C0E60, or not)") is None


@pytest.mark.parametrize(
    ("cause", "reply"),
    [
        ("relay", "554 5.7.1 <z@x.test>: Relay access denied; from=<y@example.org> to=<z@x.test>"),
        ("relay", "454 4.7.1 <z@x.test>: Relay access denied; from=<y@example.org> to=<z@x.test>"),
        ("rbl", "554 5.7.1 Service unavailable; Client host [203.0.113.5] blocked using zen.example.net; see there"),
        ("rbl", "554 5.7.1 Service unavailable; Sender address [y@example.org] blocked using rhsbl.example.net"),
        ("helo", "504 5.5.2 <h>: Helo command rejected: need fully-qualified hostname; from=<y@example.org>"),
        ("client", "450 4.7.25 Client host rejected: cannot find your hostname, [203.0.113.5]; from=<y@example.org>"),
        ("client", "554 5.7.1 <unknown[203.0.113.5]>: Client host rejected: Access denied; from=<y@example.org>"),
        ("sender_unknown", "450 4.1.8 <y@no.test>: Sender address rejected: Domain not found; from=<y@no.test>"),
        ("sender_unknown", "504 5.5.2 <y>: Sender address rejected: need fully-qualified address; from=<y>"),
        ("sasl", "553 5.7.1 <bob@example.com>: Sender address rejected: not owned by user ann@example.com; from=<b>"),
        ("sasl", "553 5.7.1 <bob@example.com>: Sender address rejected: not logged in; from=<bob@example.com>"),
        ("access", "554 5.7.1 <y@example.org>: Sender address rejected: Access denied; from=<y@example.org>"),
        (
            "unknown_user",
            "550 5.1.1 <no@example.com>: Recipient address rejected: User unknown in virtual mailbox table",
        ),
        ("unknown_user", "550 5.1.1 <no@example.com>: Recipient address rejected: undeliverable address: host said"),
        ("unknown_user", "550 5.1.1 <no@example.com>: Recipient address rejected: example.com"),
        (
            "greylist",
            "450 4.7.1 <a@example.com>: Recipient address rejected: Greylisting in effect, please come back later",
        ),
        (
            "policyd",
            "554 5.7.1 <a@example.com>: Recipient address rejected: Policy rejection; Message count quota exceeded",
        ),
        (
            "policyd",
            "451 4.7.1 <bulk@example.com>: End-of-data rejected: Policy rejection; Message size quota exceeded",
        ),
        ("resources", "451 4.3.5 <a@example.com>: Recipient address rejected: Server configuration problem; from=<y>"),
        ("resources", "452 4.3.1 Insufficient system storage; from=<y@example.org> proto=ESMTP helo=<h>"),
        ("size", "552 5.3.4 Message size exceeds fixed limit; proto=ESMTP helo=<h>"),
        ("protocol", "503 5.5.0 <DATA>: Data command rejected: Improper use of SMTP command pipelining; from=<y>"),
        ("tls", "530 5.7.0 Must issue a STARTTLS command first; from=<y@example.org>"),
        ("other", "554 5.7.1 You are not welcome; from=<y@example.org>"),
    ],
)
def test_a_reject_has_a_cause(cause: str, reply: str) -> None:
    assert reject_cause(reply.encode()) == cause
    found = parse_action(b"NOQUEUE: reject: RCPT from mx.example.org[203.0.113.5]:40022: " + reply.encode())
    assert found is not None
    assert (found.kind, found.cause, found.host) == (b"reject", cause, b"mx.example.org[203.0.113.5]")


@pytest.mark.parametrize("imitated", ["Relay access denied", "Service unavailable; x blocked using y", "Greylisting"])
def test_an_address_that_imitates_a_cause_is_passed_over(imitated: str) -> None:
    address = f'"a>: {imitated}; "@example.com'

    reply = f"550 5.1.1 <{address}>: Recipient address rejected: User unknown in virtual mailbox table; from=<y>"

    assert reject_cause(reply.encode()) == "unknown_user"


def test_the_envelope_is_not_read_for_a_cause() -> None:
    reply = b"554 5.7.1 <a@example.com>: Recipient address rejected: No; from=<greylisting@example.org> to=<policy@x>"

    assert reject_cause(reply) == "access"


@pytest.mark.parametrize(
    ("cause", "reply"),
    [
        ("rbl", b"550 5.7.1 Service unavailable; client [203.0.113.5] blocked using zen.example.net; from=<y>"),
        ("postscreen", b"550 5.5.1 Protocol error; from=<y@example.org>, to=<a@example.com>, proto=SMTP, helo=<h>"),
        ("postscreen", b"450 4.3.2 Service currently unavailable; from=<y@example.org>, to=<a@example.com>"),
        ("rate", b"too many connections"),
        ("rate", b"all screening ports busy"),
    ],
)
def test_a_reject_of_postscreen_has_a_cause(cause: str, reply: bytes) -> None:
    assert postscreen_cause(reply) == cause
    found = parse_action(b"NOQUEUE: reject: CONNECT from [203.0.113.5]:51022: " + reply, postscreen=True)
    assert found is not None
    assert found.cause == cause


@pytest.mark.parametrize(
    ("line", "kind", "cause"),
    [
        (
            b"3F2A81C0E5D: reject: header Subject: buy from mx[203.0.113.5]; from=<y> to=<a>: 5.7.1 no",
            b"reject",
            "content",
        ),
        (b"3F2A81C0E5D: milter-reject: END-OF-MESSAGE from mx[203.0.113.5]: 5.7.1 no; from=<y>", b"reject", "milter"),
        (b"NOQUEUE: milter-reject: RCPT from mx[203.0.113.5]: 550 5.7.1 no; from=<y>", b"reject", "milter"),
        (
            b"NOQUEUE: hold: RCPT from mx[203.0.113.5]: <h@example.com>: Recipient address by a rule; from=<y>",
            b"hold",
            "",
        ),
        (b"3F2A81C0E5D: hold: header Subject: x from mx[203.0.113.5]; from=<y> to=<a>", b"hold", "content"),
        (b"3F2A81C0E5D: milter-hold: END-OF-MESSAGE from mx[203.0.113.5]: held; from=<y>", b"hold", "milter"),
        (
            b"NOQUEUE: discard: RCPT from mx[203.0.113.5]: <d@example.com>: Recipient address by a rule; from=<y>",
            b"discard",
            "",
        ),
    ],
)
def test_messages_are_set_aside_in_many_words(line: bytes, kind: bytes, cause: str) -> None:
    found = parse_action(line)

    assert found is not None
    assert found.kind == kind
    assert not cause or found.cause == cause


@pytest.mark.parametrize("line", [b"NOQUEUE: reject_warning: RCPT from mx[203.0.113.5]: 554 no", b"connect from mx[1]"])
def test_a_warning_rejects_nothing(line: bytes) -> None:
    assert parse_action(line) is None


PASSED = (
    b"(15345-18) Passed CLEAN {RelayedInbound}, [198.51.100.7]:51022 [198.51.100.7] <x@example.net> -> "
    b"<ann@example.com>, Queue-ID: 3F2A81C0E5D, Message-ID: <a1@example.net>, mail_id: T9JbVa1hw9P9, Hits: -1.909, "
    b"size: 17168, queued_as: 7B1C21C0E60, 938 ms"
)


def test_a_verdict_tells_both_ids() -> None:
    assert parse_verdict(PASSED) == ("clean", False, False, ID, (b"7B1C21C0E60",), False)


def test_a_verdict_may_name_several_messages_and_signatures() -> None:
    line = PASSED.replace(
        b"E60, 938", b"E60/8D2E31C0E61, dkim_sd=s1:example.net,s2:example.org, dkim_new=z:example.com, 938"
    )

    assert parse_verdict(line) == ("clean", False, False, ID, (b"7B1C21C0E60", b"8D2E31C0E61"), True)


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        (b"Passed SPAMMY {RelayedTaggedInbound}", "spammy"),
        (b"Blocked SPAM {DiscardedInbound}", "spam"),
        (b"Blocked INFECTED (Eicar-Test-Signature) {DiscardedInbound,Quarantined}", "infected"),
        (
            b"Blocked BANNED (multipart/mixed | application/octet-stream,.exe,a b.exe) {BouncedInbound,Quarantined}",
            "banned",
        ),
        (b"Passed UNCHECKED {RelayedInbound}", "unchecked"),
        (b"Passed UNCHECKED-ENCRYPTED {RelayedInbound}", "unchecked"),
        (b"Passed BAD-HEADER-2 {RelayedInbound}", "bad_header"),
        (b"Blocked BAD-HEADER {BouncedInbound}", "bad_header"),
        (b"Blocked MTA-BLOCKED {RejectedInbound}", "mta_blocked"),
        (b"Passed OVERSIZED {RelayedInbound}", "oversized"),
        (b"Blocked TEMPFAIL {TempFailedInbound}", "tempfail"),
        (b"Passed OTHER {RelayedInbound}", "other"),
        (b"Passed CLEAN", "clean"),
    ],
)
def test_amavis_knows_many_verdicts(words: bytes, verdict: str) -> None:
    found = parse_verdict(PASSED.replace(b"Passed CLEAN {RelayedInbound}", words))

    assert found is not None
    assert found.verdict == verdict
    assert found.blocked == words.startswith(b"Blocked")
    assert found.quarantined == (b"Quarantined" in words)
    assert found.queue_id == ID


def test_names_in_a_message_pass_for_nothing_in_a_verdict() -> None:
    line = PASSED.replace(b"<a1@example.net>", b"<Quarantined, queued_as: AAAAAAAAAA1, 5 ms>").replace(
        b", queued_as: 7B1C21C0E60", b""
    )

    assert parse_verdict(line) == ("clean", False, False, ID, (), False)


@pytest.mark.parametrize("line", [b"(15345-18) ...Passed CLEAN {x}, ", b"(15345-18) Checking: x", b"Passed CLEAN"])
def test_a_continued_or_another_line_of_amavis_is_no_verdict(line: bytes) -> None:
    assert parse_verdict(line) is None


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("connection_refused", "connect to mx.example.net[198.51.100.25]:25: Connection refused"),
        ("connection_refused", "delivery temporarily suspended: connect to mx[198.51.100.25]:25: Connection refused"),
        ("connection_timeout", "connect to mx.example.net[198.51.100.25]:25: Connection timed out"),
        ("connection_timeout", "conversation with mx[198.51.100.25] timed out while sending MAIL FROM"),
        ("connection_lost", "lost connection with mx[198.51.100.25] while receiving the initial server greeting"),
        ("network", "connect to mx.example.net[2001:db8::25]:25: Network is unreachable"),
        (
            "dns",
            "Host or domain name not found. Name service error for name=example.net type=MX: Host not found, try again",
        ),
        ("tls", "TLS is required, but was not offered by host mx[198.51.100.25]"),
        ("tls", "Cannot start TLS: handshake failure"),
        (
            "greylisted",
            "host mx[198.51.100.25] said: 450 4.2.0 <z@example.net>: Recipient address rejected: Greylisted",
        ),
        ("mailbox_full", "host mail[10.0.0.10] said: 452 4.2.2 Over quota (in reply to end of DATA command)"),
        ("rate_limited", "host mx[198.51.100.25] said: 421 4.7.28 Our system has detected an unusual rate of mail"),
        ("rate_limited", "host mx[198.51.100.25] refused to talk to me: 421 Too many concurrent SMTP connections"),
        ("remote", "host mx[198.51.100.25] said: 451 4.3.0 Temporary lookup failure (in reply to RCPT TO command)"),
        ("local", "mail transport unavailable"),
        ("other", "something new"),
    ],
)
def test_a_deferral_has_a_reason(reason: str, text: str) -> None:
    assert deferral_reason(text.encode(), b"4.3.0") == reason


def test_a_full_mailbox_is_known_by_its_code() -> None:
    assert deferral_reason(b"host mx[198.51.100.25] said: 452 4.2.2 no", b"4.2.2") == "mailbox_full"


def test_the_port_of_the_filter_is_read_only_where_postfix_says_it() -> None:
    said = b"host mx[198.51.100.25] said: 451 connect to 127.0.0.1[127.0.0.1]:10024: Connection refused"

    assert unreached_port(b"connect to 127.0.0.1[127.0.0.1]:10024: Connection refused") == b"10024"
    assert (
        unreached_port(b"delivery temporarily suspended: connect to f[10.0.0.9]:10032: Connection refused") == b"10032"
    )
    assert (
        unreached_port(b"delivery temporarily suspended: lost connection with 127.0.0.1[127.0.0.1] while x") == b"10024"
    )
    assert unreached_port(b"lost connection with mx[198.51.100.25] while x") == b""
    assert unreached_port(said) == b""
    assert is_answer(said)


@pytest.mark.parametrize(
    ("result", "status", "dsn", "text"),
    [
        ("delivered", b"sent", b"2.1.5", b"250 2.1.5 Delivery OK)"),
        ("over_quota", b"deferred", b"4.2.2", b"host mail[10.0.0.10] said: 452 4.2.2 Over quota)"),
        ("over_quota", b"bounced", b"5.2.2", b"host mail[10.0.0.10] said: 552 5.2.2 Over quota)"),
        ("unknown_user", b"bounced", b"5.1.1", b"host mail[10.0.0.10] said: 550 5.1.1 No such user here)"),
        ("temporary", b"deferred", b"4.3.2", b"connect to mail[10.0.0.10]:7025: Connection refused)"),
        ("other", b"bounced", b"5.0.0", b"host mail[10.0.0.10] said: 554 no)"),
    ],
)
def test_a_store_answers_in_few_ways(result: str, status: bytes, dsn: bytes, text: bytes) -> None:
    assert lmtp_result(status, dsn, text) == result


@pytest.mark.parametrize(
    ("line", "result"),
    [
        (b"7B1C21C0E60: DKIM-Signature field added (s=s1, d=example.com)", "signed"),
        (b"7B1C21C0E60: DKIM verification successful", "verified"),
        (b"7B1C21C0E60: s=s1 d=example.net SSL error:04091068:rsa routines:INT_RSA_VERIFY:bad signature", None),
        (b"7B1C21C0E60: bad signature data", "failed"),
        (b"7B1C21C0E60: no signature data", "unsigned"),
        (b"7B1C21C0E60: key retrieval failed (s=s1, d=example.net)", "key_error"),
        (b"7B1C21C0E60: external host mx [198.51.100.1] attempted to send as example.com", None),
    ],
)
def test_opendkim_signs_and_verifies(line: bytes, result: str | None) -> None:
    assert parse_dkim(line) == result


@pytest.mark.parametrize(
    ("line", "action"),
    [
        (b"module=Quotas, mode=update, host=198.51.100.7, helo=h, from=x@example.net, to=ann@example.com", "track"),
        (b"module=AccessControl, action=reject, host=198.51.100.7, helo=h, from=x, to=y, reason=verdict", "reject"),
        (b"module=Greylisting, action=defer, host=198.51.100.7, helo=h, from=x, to=y, reason=greylisted", "defer"),
        (b"module=CheckSPF, action=strange, host=198.51.100.7", "other"),
        (b"module=Quotas", None),
    ],
)
def test_cbpolicyd_decides(line: bytes, action: str | None) -> None:
    assert parse_policy(line) == action


def test_clients_that_ask_too_often_are_told_of_in_warnings() -> None:
    assert is_limit_exceeded(b"warning: Connection rate limit exceeded: 31 from unknown[203.0.113.5] for service smtp")
    assert is_limit_exceeded(
        b"warning: Message delivery request rate limit exceeded: 9 from a[203.0.113.5] for service smtp"
    )
    assert not is_limit_exceeded(b"warning: unknown[203.0.113.5]: SASL LOGIN authentication failed")


PARTS = [
    *(b"3F2A81C0E5D: ", b"NOQUEUE: ", b"client=", b"to=<", b"from=<", b">, ", b"a@b", b'"', b"\\", b"relay=", b"none"),
    *(b"size=", b"nrcpt=", b"1", b" (queue active)", b", delay=0.1", b", delays=0/0/0/0", b", dsn=2.0.0", b", status="),
    *(b"sent", b"deferred", b" (", b")", b"reject: ", b"RCPT from ", b"h[192.0.2.1]", b": ", b"554 5.7.1 ", b"<x>"),
    *(
        b"(1-2) ",
        b"Passed ",
        b"Blocked ",
        b"CLEAN",
        b" {",
        b"}",
        b", Queue-ID: ",
        b", size: ",
        b", queued_as: ",
        b" ms",
    ),
    *(b"\0", b"\x1b[31m", b"\xff", b"\xe2\x80\xae", b"status=expired, returned to sender", b"module=", b"action="),
    *(b", sasl_method=", b", sasl_username=", b", orig_queue_id=", b"queued as ", b"DKIM-Signature field added "),
]
LINES = st.lists(st.sampled_from(PARTS) | st.binary(max_size=4), max_size=25).map(b"".join)


@given(LINES | st.binary(max_size=300))
@settings(max_examples=1500, deadline=None)
def test_any_line_has_a_meaning_or_none(line: bytes) -> None:
    line = line.replace(b"\n", b"")
    parse_arrival(line), parse_pickup(line), parse_queued(line), parse_expired(line), parse_queued_as(line)
    is_malformed(line), is_limit_exceeded(line), is_answer(line), unreached_port(line)
    delivery = parse_delivery(line)
    assert delivery is None or all(re.fullmatch(rb"[\d.]+", part) for part in (delivery[4] or b"0").split(b"/"))
    for postscreen in (False, True):
        action = parse_action(line, postscreen=postscreen)
        assert action is None or action.cause in CAUSES
    verdict = parse_verdict(line)
    assert verdict is None or verdict.verdict in VERDICTS
    assert parse_dkim(line) in (None, *DKIM_RESULTS)
    assert parse_policy(line) in (None, *POLICY_ACTIONS)
    assert deferral_reason(line, b"4.0.0") in DEFERRALS
    assert lmtp_result(b"bounced", b"5.0.0", line) in LMTP_RESULTS


@pytest.mark.parametrize("part", PARTS)
def test_a_long_line_of_anything_is_read_in_one_go(part: bytes) -> None:
    """64 KiB of one part, behind each beginning: nothing is looked for again and again."""
    body = (part * 65536)[:65536]
    for begin in (b"", b"3F2A81C0E5D: to=<", b'3F2A81C0E5D: to=<"', b"3F2A81C0E5D: from=<", b"3F2A81C0E5D: client="):
        line = begin + body
        parse_arrival(line), parse_queued(line), parse_expired(line), parse_delivery(line), parse_queued_as(line)
        is_malformed(line)
    parse_action(b"NOQUEUE: reject: RCPT from h[192.0.2.1]: 554 5.7.1 <" + body)
    parse_verdict(b"(1-2) Blocked BANNED (" + body)
    deferral_reason(body, b"4.0.0")
