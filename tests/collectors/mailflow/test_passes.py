"""Each message counts once, whatever its way: the truth is known by who wrote the log."""

import random
from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mail_world import START, Mail, MailDaemon, Site, World, stamped

from collectors.mailflow.messages import MAX_MESSAGES

SITES = {
    "8.7 and later": Site(),
    "8.7 and later, signing": Site(signed=True),
    "8.0": Site(named=False),
    "8.0, signing": Site(named=False, signed=True),
    "8.0, with XFORWARD": Site(named=False, xforward=True),
    "no filter": Site(filtered=False),
    "8.7, filter elsewhere": Site(
        relay="filter.example.com[10.0.0.9]", client="filter.example.com[10.0.0.9]", amavis_here=False
    ),
    "amavis in another log": Site(named=False, amavis_here=False),
}

FATES = st.lists(st.sampled_from(["sent", "sent", "deferred", "bounced", "expired"]), min_size=1, max_size=4)
MAILS = st.builds(
    Mail,
    source=st.sampled_from(["remote", "remote", "login", "local", "pickup"]),
    fates=FATES.map(tuple),
    size=st.integers(1, 10**8),
    null=st.booleans(),
    verdict=st.sampled_from(["CLEAN", "CLEAN", "SPAMMY", "SPAM", "INFECTED (Eicar)"]),
    second=st.sampled_from(["CLEAN", "CLEAN", "SPAM"]),
)


def at_end(daemon: MailDaemon, at: int) -> None:
    """A line long after all others, so that nothing waits to be decided."""
    daemon.feed(stamped(at + 100_000, "postfix/qmgr", "AAAAAAAAAA1: removed"))


def check(site: Site, mails: list[Mail], seed: int, cuts: list[int], restarts: list[int], base: Path) -> None:
    world = World(site, random.Random(seed))
    lines = world.write(mails)
    daemon = MailDaemon(FakeHost(base), ManualClock(START + 200_000))
    daemon.feed_cut(lines, cuts, restarts)
    at_end(daemon, START)

    assert daemon.events() == {event: count for event, count in world.truth.items() if count}
    if site.amavis_here and site.filtered:
        # What was counted clean before a worse verdict is made up for by the next that is clean.
        expected = +world.verdicts
        found = daemon.labelled("zcs_mail_content_verdicts_total")
        surplus = found.pop("clean", 0) - expected.pop("clean", 0)
        assert found == expected
        assert 0 <= surplus <= sum(mail.source == "login" and mail.second == "SPAM" for mail in mails) * site.signed
    assert daemon.value("zcs_mail_bytes_total", "in") == world.bytes_in
    assert daemon.value("zcs_mail_bytes_total", "out") == world.bytes_out
    assert daemon.value("zcs_mail_message_size_bytes_sum") == world.bytes_in
    assert daemon.value("zcs_mail_message_recipients_sum") == sum(len(mail.fates) for mail in mails)
    assert daemon.value("zcs_mail_unparsed_lines_total") == 0
    assert len(daemon.collector._count._messages) <= 1


@pytest.mark.parametrize("site", SITES.values(), ids=SITES.keys())
@given(
    mails=st.lists(MAILS, max_size=12),
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(0, 10**6), max_size=8),
    restarts=st.lists(st.integers(0, 10**6), max_size=3),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_message_counts_once_wherever_blocks_end_and_whenever_the_daemon_starts_anew(
    site: Site, mails: list[Mail], seed: int, cuts: list[int], restarts: list[int], tmp_path: Path
) -> None:
    check(site, mails, seed, cuts, restarts, tmp_path)


@pytest.fixture
def daemon(host: FakeHost, manual: ManualClock) -> MailDaemon:
    manual.now = START + 100_000
    return MailDaemon(host, manual)


def arrival(queue_id: str, client: str = "localhost[127.0.0.1]", pid: int = 900, at: int = START) -> bytes:
    return stamped(at, "postfix/smtpd", f"{queue_id}: client={client}", pid)


def queued(queue_id: str, at: int = START) -> bytes:
    return stamped(at, "postfix/qmgr", f"{queue_id}: from=<x@example.net>, size=100, nrcpt=1 (queue active)")


def hop(queue_id: str, back: str, relay: str = "127.0.0.1[127.0.0.1]:10024") -> bytes:
    fields = "delay=0.9, delays=0.1/0/0/0.8, dsn=2.0.0"
    text = f"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as {back}"
    return stamped(
        START, "postfix/smtp", f"{queue_id}: to=<r@example.com>, relay={relay}, {fields}, status=sent ({text})"
    )


def test_a_client_on_this_host_waits_until_its_message_goes_to_the_filter(daemon: MailDaemon) -> None:
    daemon.feed(arrival("AAAAAAAAAA1"), queued("AAAAAAAAAA1"))
    assert "received" not in daemon.events()

    daemon.feed(hop("AAAAAAAAAA1", "BBBBBBBBBB1"))
    assert daemon.events() == {"received": 1}

    # The same process again: it is known that clients speak to it.
    daemon.feed(arrival("AAAAAAAAAA2"), queued("AAAAAAAAAA2"))
    assert daemon.events() == {"received": 2}


def test_a_process_that_gets_what_comes_back_is_known_for_that(daemon: MailDaemon) -> None:
    """So a copy for an archive, which no line names as come back, is not counted either."""
    daemon.feed(arrival("BBBBBBBBBB1"), queued("BBBBBBBBBB1"), hop("AAAAAAAAAA1", "BBBBBBBBBB1"))
    daemon.feed(arrival("BBBBBBBBBB2"), queued("BBBBBBBBBB2"))
    at_end(daemon, START)

    assert daemon.events() == {}


def test_a_process_that_postfix_tells_a_former_id_is_known_too(daemon: MailDaemon) -> None:
    daemon.feed(
        arrival("BBBBBBBBBB1", "localhost[127.0.0.1], orig_queue_id=AAAAAAAAAA1, orig_client=mx[198.51.100.1]"),
        queued("BBBBBBBBBB1"),
        arrival("BBBBBBBBBB2"),
        queued("BBBBBBBBBB2"),
    )
    at_end(daemon, START)

    assert daemon.events() == {}


def test_without_a_filter_a_client_on_this_host_counts_after_two_minutes(daemon: MailDaemon) -> None:
    daemon.feed(arrival("AAAAAAAAAA1"), queued("AAAAAAAAAA1"), stamped(START, "postfix/qmgr", "AAAAAAAAAA1: removed"))
    daemon.feed(queued("CCCCCCCCCC1", START + 119))
    assert daemon.events() == {}

    daemon.feed(queued("CCCCCCCCCC2", START + 120))
    assert daemon.events() == {"received": 1}


def test_a_filter_on_another_host_is_known_from_the_first_delivery_to_it(daemon: MailDaemon) -> None:
    filter_host = "filter.example.com[10.0.0.9]"
    daemon.feed(hop("AAAAAAAAAA1", "BBBBBBBBBB1", f"{filter_host}:10024"))
    daemon.feed(arrival("BBBBBBBBBB2", filter_host), queued("BBBBBBBBBB2"))
    daemon.feed(hop("AAAAAAAAAA2", "BBBBBBBBBB2", f"{filter_host}:10024"))
    at_end(daemon, START)

    assert daemon.events() == {}


def test_a_message_on_hold_counts_as_received_when_it_is_released(daemon: MailDaemon) -> None:
    daemon.feed(
        stamped(
            START, "postfix/smtpd", "NOQUEUE: hold: RCPT from mx[198.51.100.1]: <h@example.com>: Recipient address"
        ),
        arrival("AAAAAAAAAA1", "mx[198.51.100.1]"),
    )
    assert daemon.events() == {"held": 1}

    daemon.restart()
    daemon.feed(queued("AAAAAAAAAA1", START + 80_000))
    assert daemon.events() == {"held": 1, "received": 1}


def test_a_message_that_its_client_never_ended_is_not_received(daemon: MailDaemon) -> None:
    daemon.feed(arrival("AAAAAAAAAA1", "mx[198.51.100.1]"), arrival("AAAAAAAAAA1", "mx[198.51.100.2]"))
    daemon.feed(queued("AAAAAAAAAA1"), queued("AAAAAAAAAA1"))

    assert daemon.events() == {"received": 1}
    [host] = [item.value for item in daemon.evidence("zcs_mail_messages_total", "received") if "[" in item.value]
    assert host == "mx[198.51.100.2]"


@pytest.mark.parametrize("begun_before", [False, True])
def test_a_message_that_is_requeued_is_no_new_one(daemon: MailDaemon, begun_before: bool) -> None:
    """Whoever runs `postsuper -r ALL` on a full queue has got no more mail."""
    if not begun_before:
        daemon.feed(arrival("AAAAAAAAAA1", "mx[198.51.100.1]"), queued("AAAAAAAAAA1"))
    daemon.feed(stamped(START, "postfix/postsuper", "AAAAAAAAAA1: requeued"))
    daemon.restart()
    daemon.feed(
        stamped(START, "postfix/pickup", "BBBBBBBBBB1: uid=998 from=<x@example.net> orig_id=AAAAAAAAAA1"),
        queued("BBBBBBBBBB1"),
        hop("BBBBBBBBBB1", "CCCCCCCCCC1"),
        stamped(START, "postfix/qmgr", "BBBBBBBBBB1: removed"),
    )

    assert daemon.events().get("received", 0) == (not begun_before)
    daemon.commit()
    assert not [key for key in daemon.rows if "AAAAAAAAAA1" in key or "BBBBBBBBBB1" in key]


def test_a_message_of_which_nothing_is_known_yet_is_saved(daemon: MailDaemon) -> None:
    daemon.feed(stamped(START, "postfix/pickup", "BBBBBBBBBB1: uid=998 from=<x@example.net> orig_id=AAAAAAAAAA1"))
    daemon.restart()
    daemon.feed(queued("BBBBBBBBBB1"))

    assert daemon.events() == {}


def test_a_message_that_was_requeued_before_it_was_counted_counts_then(daemon: MailDaemon) -> None:
    daemon.feed(
        arrival("AAAAAAAAAA1", "mx[198.51.100.1]"),
        stamped(START, "postfix/pickup", "BBBBBBBBBB1: uid=998 from=<x@example.net> orig_id=AAAAAAAAAA1"),
        arrival("AAAAAAAAAA2", pid=901),
        queued("AAAAAAAAAA2"),
        stamped(START, "postfix/pickup", "BBBBBBBBBB2: uid=998 from=<x@example.net> orig_id=AAAAAAAAAA2"),
        queued("BBBBBBBBBB1"),
        queued("BBBBBBBBBB2"),
    )
    assert daemon.events() == {"received": 1}

    at_end(daemon, START)
    assert daemon.events() == {"received": 2}


def test_a_name_that_imitates_a_requeued_message_is_a_name(daemon: MailDaemon) -> None:
    daemon.feed(
        stamped(START, "postfix/pickup", "BBBBBBBBBB1: uid=1000 from=<x> orig_id=AAAAAAAAAA1>"),
        queued("BBBBBBBBBB1"),
    )

    assert daemon.events() == {"received": 1}


def test_a_journal_hands_each_message_to_postfix_for_the_first_time(daemon: MailDaemon) -> None:
    daemon.feed(
        stamped(START, "postfix/smtpd", "NOQUEUE: client=mx[198.51.100.1]"),
        stamped(
            START, "postfix/reinject/smtpd", "AAAAAAAAAA1: client=localhost[127.0.0.1], orig_client=mx[198.51.100.1]"
        ),
        queued("AAAAAAAAAA1"),
        stamped(START, "postfix/archive/smtpd", "BBBBBBBBBB1: client=localhost[127.0.0.1]"),
        queued("BBBBBBBBBB1"),
    )

    assert daemon.events() == {"received": 1}


def test_the_table_is_bounded_and_its_rows_with_it(daemon: MailDaemon) -> None:
    lines = [arrival(f"{number:08X}", "mx[198.51.100.1]") for number in range(MAX_MESSAGES + 500)]
    daemon.feed(*lines)
    daemon.commit()

    assert len(daemon.collector._count._messages) == MAX_MESSAGES
    assert sum(key.startswith("message:") for key in daemon.rows) == MAX_MESSAGES
    assert max(len(row) for key, row in daemon.rows.items() if key.startswith("message:")) < 200


def test_a_message_that_came_and_went_between_two_commits_leaves_no_row(daemon: MailDaemon) -> None:
    world = World(Site(), random.Random(1))
    daemon.feed(*world.write([Mail() for _ in range(20)]))

    assert not [key for key in daemon.commit() if key.startswith("message:")]
