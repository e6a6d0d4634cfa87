import asyncio
import errno
import os
from collections.abc import Sequence

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_writer import put, queue_file
from snapshots import reading, snapshot

from collectors.postfix.collector import (
    PostfixCollector,
    PostfixConfig,
    parse_main_cf,
    parse_postfix_time,
    queue_settings,
)
from collectors.postfix.spool import QUEUES
from zcs_exporter.alerting.alarm import Change
from zcs_exporter.alerting.evaluate import Evaluator, SteadyClock
from zcs_exporter.alerting.model import Policy, load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.contract import (
    GRANT,
    CollectError,
    EvidenceItem,
    EvidenceKind,
    Finding,
    NotOnThisHost,
    Reason,
    Sample,
    Shortfall,
)
from zcs_exporter.hostio import OpenDirectory

SPOOL = "/opt/zimbra/data/postfix/spool"
MAIN_CF = "/opt/zimbra/common/conf/main.cf"


class Mta:
    """A host with a spool, and its collector."""

    def __init__(self, host: FakeHost, manual: ManualClock) -> None:
        self.host = host
        self.manual = manual
        self.base = f"{host.base}{SPOOL}"
        for queue in QUEUES:
            os.makedirs(f"{self.base}/{queue}", exist_ok=True)
        self.made = 0
        self.restart()

    def restart(self) -> None:
        self.collector = PostfixCollector(PostfixConfig(), self.host, self.manual.clock)

    def put(
        self, queue: str, age: float = 0, count: int = 1, sender: str = "alice@example.com", size: int = 100
    ) -> None:
        for _ in range(count):
            self.made += 1
            arrival = int(self.manual.now - age)
            put(f"{self.base}/{queue}/{self.made:010X}", queue_file(size=size, arrival=arrival, sender=sender))

    def clear(self, queue: str) -> None:
        for name in os.listdir(f"{self.base}/{queue}"):
            os.unlink(f"{self.base}/{queue}/{name}")

    def collect(self) -> Sequence[Finding]:
        return asyncio.run(self.collector.collect())

    def values(self) -> dict[str, float]:
        return values(self.collect())


def values(findings: Sequence[Finding]) -> dict[str, float]:
    """Return ``name{label,label}`` to value, without the prefix."""
    return {
        sample.metric.name.removeprefix("zcs_postfix_")
        + (f"{{{','.join(sample.labels)}}}" if sample.labels else ""): sample.value
        for sample in findings
        if isinstance(sample, Sample)
    }


def shortfalls(findings: Sequence[Finding]) -> list[Shortfall]:
    return [finding for finding in findings if isinstance(finding, Shortfall)]


@pytest.fixture
def mta(host: FakeHost, manual: ManualClock) -> Mta:
    return Mta(host, manual)


def test_every_queue_has_a_count_and_an_empty_one_no_age(mta: Mta) -> None:
    mta.put("deferred", age=3600)
    mta.put("deferred", age=60, size=250)

    found = mta.values()

    assert {queue: found[f"queue_messages{{{queue}}}"] for queue in QUEUES} == {
        **dict.fromkeys(QUEUES, 0),
        "deferred": 2,
    }
    assert found["queue_bytes{deferred}"] == 350
    assert found["queue_bytes{hold}"] == 0
    assert found["queue_oldest_age_seconds{deferred}"] == 3600
    assert "queue_oldest_age_seconds{hold}" not in found
    assert found["queue_age_messages{deferred,5m}"] == 1
    assert found["queue_age_messages{deferred,4h}"] == 1
    assert found["queue_age_messages{deferred,older}"] == 0
    assert found["queue_unreadable_total{deferred}"] == 0


def test_every_sample_is_of_a_declared_metric(mta: Mta) -> None:
    mta.put("deferred")
    mta.collect()
    mta.put("deferred")
    mta.manual.advance(1800)

    used = {sample.metric for sample in mta.collect() if isinstance(sample, Sample)}

    assert used <= set(mta.collector.metrics)
    assert {metric.name for metric in set(mta.collector.metrics) - used} == set()


def test_an_arrival_ahead_of_the_clock_is_of_age_zero(mta: Mta) -> None:
    mta.put("active", age=-500)

    assert mta.values()["queue_oldest_age_seconds{active}"] == 0


def test_the_intake_is_maildrop_and_incoming_and_nothing_waits_in_an_empty_one(mta: Mta) -> None:
    mta.put("incoming", age=1000)

    found = mta.values()

    assert found["intake_oldest_age_seconds{incoming}"] == 1000
    assert found["intake_oldest_age_seconds{maildrop}"] == 0
    assert sum(name.startswith("intake") for name in found) == 2


def test_hold_corrupt_and_deferred_have_a_series_of_their_own_for_alerts(mta: Mta) -> None:
    mta.put("hold")
    mta.put("corrupt", count=2)
    mta.put("deferred", count=3)

    found = mta.values()

    assert (found["held_messages"], found["corrupt_messages"], found["deferred_messages"]) == (1, 2, 3)


def test_the_evidence_of_a_queue_names_senders_and_domains_most_first(mta: Mta) -> None:
    mta.put("deferred", sender="spam@example.com", count=3)
    mta.put("deferred", sender="bob@example.org", count=1)

    found = [sample for sample in mta.collect() if isinstance(sample, Sample)]
    sample = next(s for s in found if s.metric.name == "zcs_postfix_queue_messages" and s.labels == ("deferred",))

    assert sample.evidence == (
        EvidenceItem(EvidenceKind.ACCOUNT, "spam@example.com", 3),
        EvidenceItem(EvidenceKind.ACCOUNT, "bob@example.org", 1),
        EvidenceItem(EvidenceKind.DOMAIN, "to example.net", 4),
        EvidenceItem(EvidenceKind.DOMAIN, "from example.com", 3),
        EvidenceItem(EvidenceKind.DOMAIN, "from example.org", 1),
    )


def test_evidence_is_ten_names_at_most_and_none_is_a_label(mta: Mta) -> None:
    for number in range(12):
        mta.put("active", sender=f"user{number}@domain{number}.example.com")

    samples = [sample for sample in mta.collect() if isinstance(sample, Sample)]

    assert max(len(sample.evidence) for sample in samples) == 8  # one destination
    assert not any("example" in label for sample in samples for label in sample.labels)


def test_while_files_are_unread_their_queue_has_a_count_only_and_the_shortfall_says_so(mta: Mta) -> None:
    mta.put("deferred", count=3)

    class Sick(OpenDirectory):
        def head(self, name: str, length: int) -> tuple[os.stat_result, bytes]:
            if not name.endswith("1"):
                raise OSError(errno.EIO, os.strerror(errno.EIO), name)
            return super().head(name, length)

    mta.host.open_directory = lambda path: Sick(mta.host.path(path))  # type: ignore[method-assign]
    findings = mta.collect()
    found = values(findings)

    assert found["queue_messages{deferred}"] == 3
    assert "queue_bytes{deferred}" not in found
    assert "queue_oldest_age_seconds{deferred}" not in found
    assert "deferred_expiry_seconds" not in found
    assert "queue_age_messages{deferred,5m}" not in found
    assert found["queue_bytes{active}"] == 0
    first, second = shortfalls(findings)
    assert first.message.startswith(f"{SPOOL}/deferred: 2 of 3 files are still to be read")
    assert "Input/output error" in second.message


def test_of_very_many_messages_the_first_round_tells_the_count_alone_and_says_that_more_follows(mta: Mta) -> None:
    mta.put("incoming", age=5000, count=2001)

    findings = mta.collect()
    found = values(findings)

    assert found["queue_messages{incoming}"] == 2001
    assert not {name for name in found if name.startswith(("queue_bytes", "queue_oldest", "queue_age"))} - {
        name for name in found if "{incoming" not in name
    }
    assert "intake_oldest_age_seconds{incoming}" not in found
    assert shortfalls(findings)[0].message.startswith(f"{SPOOL}/incoming: 2001 of 2001 files are still to be read")
    assert mta.collector.unfinished

    while mta.collector.unfinished:
        found = mta.values()
    assert found["intake_oldest_age_seconds{incoming}"] == 5000


@pytest.mark.parametrize(
    ("alert", "queue"), [("ZcsQueueNearExpiry", "deferred"), ("ZcsQueueIntakeStalled", "incoming")]
)
def test_an_alarm_does_not_end_because_a_long_queue_is_read_anew(mta: Mta, alert: str, queue: str) -> None:
    rule = next(rule for rule in load_catalogue(asset("alerts")).alerts if rule.name == alert)
    evaluator = Evaluator([rule], (), SteadyClock(mta.manual.clock))

    def told() -> list[Change]:
        mta.manual.advance(15)
        samples = [finding for finding in mta.collect() if isinstance(finding, Sample)]
        seen = snapshot(mta.manual.now, reading("postfix", samples, declares=rule.metrics))
        return [each.change for each in evaluator.evaluate(seen, {alert: Policy(rule.defaults)})]

    mta.put(queue, age=432_000)
    assert told() == [Change.RAISED]
    mta.put(queue, age=60, count=2001)
    assert told() == []
    mta.restart()
    assert told() == []
    assert mta.collector.unfinished
    while mta.collector.unfinished:
        assert told() == []
    mta.clear(queue)
    mta.put(queue, count=1)
    assert [change for _ in range(25) for change in told()] == [Change.CLEARED]


def test_a_round_that_fails_is_not_repeated_before_its_time(mta: Mta) -> None:
    mta.put("incoming", count=2001)
    mta.collect()

    def refuse(path: str):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    mta.host.scandir = refuse  # type: ignore[method-assign]
    with pytest.raises(CollectError):
        mta.collect()

    assert not mta.collector.unfinished


# Growth and floods


def test_growth_is_known_once_the_window_was_watched(mta: Mta) -> None:
    mta.put("deferred", count=10)
    assert "deferred_growth_messages" not in mta.values()

    mta.manual.advance(1799)
    mta.put("deferred", count=5)
    assert "deferred_growth_messages" not in mta.values()

    mta.manual.advance(1)
    assert mta.values()["deferred_growth_messages"] == 5


def test_growth_compares_with_the_reading_a_window_ago_and_not_the_first(mta: Mta) -> None:
    for _ in range(120):
        mta.put("deferred", count=1)
        found = mta.values()
        mta.manual.advance(60)

    assert found["deferred_growth_messages"] == 30
    assert mta.values()["deferred_growth_messages"] == 29


def test_after_a_pause_or_a_clock_set_back_growth_is_unknown_again(mta: Mta) -> None:
    mta.collect()
    mta.manual.advance(1800)
    assert "deferred_growth_messages" in mta.values()

    mta.manual.advance(5000)
    assert "deferred_growth_messages" not in mta.values()
    mta.manual.advance(1800)
    assert "deferred_growth_messages" in mta.values()
    mta.manual.now -= 100_000
    assert "deferred_growth_messages" not in mta.values()
    mta.manual.advance(1800)
    assert "deferred_growth_messages" in mta.values()


def test_a_flood_names_its_sender_in_the_evidence(mta: Mta) -> None:
    mta.put("deferred", count=7, sender="before@example.com")
    found = mta.values()
    assert (found["deferred_new_messages"], found["deferred_new_sender_messages"]) == (0, 0)
    assert "deferred_new_sender_ratio" not in found

    mta.put("deferred", count=12, sender="spam@example.com")
    mta.put("deferred", count=3, sender="bob@example.com")
    mta.put("deferred", count=5, sender="")
    findings = mta.collect()
    found = values(findings)

    assert found["deferred_new_messages"] == 20
    assert found["deferred_new_sender_messages"] == 12
    assert found["deferred_new_sender_ratio"] == 0.6
    sample = next(f for f in findings if isinstance(f, Sample) and f.metric.name.endswith("deferred_new_messages"))
    assert sample.evidence[0] == EvidenceItem(EvidenceKind.ACCOUNT, "spam@example.com", 12)
    assert len(sample.evidence) == 2


def test_bounces_are_nobodys_flood(mta: Mta) -> None:
    mta.collect()
    mta.put("deferred", count=5, sender="")

    found = mta.values()

    assert found["deferred_new_messages"] == 5
    assert found["deferred_new_sender_messages"] == 0


def test_a_flood_is_over_when_its_window_is(mta: Mta) -> None:
    mta.collect()
    mta.put("deferred", count=5)
    assert mta.values()["deferred_new_messages"] == 5
    mta.manual.advance(600)
    mta.put("deferred", count=2, sender="bob@example.com")
    assert mta.values()["deferred_new_messages"] == 7
    mta.manual.advance(300)
    assert mta.values()["deferred_new_messages"] == 2
    mta.manual.advance(600)
    assert mta.values()["deferred_new_messages"] == 0


def test_a_clock_set_back_ends_the_window(mta: Mta) -> None:
    mta.collect()
    mta.put("deferred", count=5)
    mta.collect()
    mta.manual.now -= 7200

    assert mta.values()["deferred_new_messages"] == 0


def test_the_senders_kept_of_a_flood_are_bounded(mta: Mta) -> None:
    mta.collect()
    for number in range(550):
        mta.put("deferred", sender=f"user{number}@example.com")

    assert mta.values()["deferred_new_messages"] == 550
    saved = mta.collector.changes()["flood"]
    assert saved is not None
    assert saved.count("@") == 500


def test_growth_and_flood_survive_a_restart(mta: Mta) -> None:
    mta.put("deferred", count=4)
    mta.collect()
    saved = {key: text for key, text in mta.collector.changes().items() if text is not None}
    mta.manual.advance(1000)
    mta.put("deferred", count=3)
    mta.collect()
    saved |= {key: text for key, text in mta.collector.changes().items() if text is not None}
    assert mta.collector.changes() == {}

    mta.restart()
    mta.collector.restore(saved)
    mta.manual.advance(800)
    found = mta.values()

    assert found["deferred_growth_messages"] == 3
    assert found["deferred_new_messages"] == 3


@pytest.mark.parametrize(
    "row",
    [
        "",
        "no",
        "{}",
        "7",
        "[1]",
        "[[1]]",
        '[["x", 1]]',
        "[[1, [2]]]",
        '[[1, {"a": "b"}]]',
        "[[1, Infinity]]",
        "[" * 9999,
    ],
)
def test_a_damaged_history_is_forgotten_and_nothing_else_fails(mta: Mta, row: str) -> None:
    mta.put("deferred", count=4)
    mta.collector.restore({"growth": row, "flood": row})

    assert mta.values()["deferred_messages"] == 4


# Where and how


def test_without_a_spool_there_is_no_postfix_here(host: FakeHost, manual: ManualClock) -> None:
    os.makedirs(f"{host.base}/var/spool/postfix/deferred")  # the distribution's is none of ours
    collector = PostfixCollector(PostfixConfig(), host, manual.clock)

    with pytest.raises(NotOnThisHost, match=f"no Postfix queues in {SPOOL}"):
        asyncio.run(collector.collect())


def test_a_spool_that_may_not_be_read_is_a_permission_error_with_the_remedy(mta: Mta) -> None:
    def refuse(path: str):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    mta.host.scandir = refuse  # type: ignore[method-assign]

    with pytest.raises(CollectError, match=f"reading {SPOOL}/maildrop: Permission denied") as caught:
        mta.collect()
    assert caught.value.reason is Reason.PERMISSION
    assert caught.value.remedy == GRANT


def test_the_limit_is_postfixs_default_without_main_cf(mta: Mta) -> None:
    assert mta.values()["queue_limit{active}"] == 20_000


@pytest.mark.parametrize("path", [MAIN_CF, "/opt/zimbra/postfix/conf/main.cf"])
def test_limit_and_lifetime_come_from_main_cf_and_follow_it(mta: Mta, path: str) -> None:
    mta.put("deferred", age=86400)
    mta.host.write(path, "qmgr_message_active_limit = 5000\nmaximal_queue_lifetime = 2d\n")
    found = mta.values()
    assert found["queue_limit{active}"] == 5000
    assert found["deferred_expiry_seconds"] == 86400

    mta.host.write(path, "maximal_queue_lifetime = 12h\n")
    found = mta.values()
    assert found["queue_limit{active}"] == 20_000
    assert found["deferred_expiry_seconds"] == 0


def test_nothing_expires_in_an_empty_deferred_queue(mta: Mta) -> None:
    assert "deferred_expiry_seconds" not in mta.values()


def test_another_queue_directory_is_followed(mta: Mta) -> None:
    mta.put("active")
    assert mta.values()["queue_messages{active}"] == 1
    os.makedirs(f"{mta.host.base}/srv/spool/active")
    put(f"{mta.host.base}/srv/spool/active/A000000001", queue_file())
    put(f"{mta.host.base}/srv/spool/active/A000000002", queue_file())

    mta.host.write(MAIN_CF, "base = /srv\nqueue_directory = $base/spool\n")

    assert mta.values()["queue_messages{active}"] == 2


def test_a_main_cf_that_makes_no_sense_costs_what_it_says_and_nothing_else(mta: Mta) -> None:
    mta.put("deferred")
    mta.host.write(MAIN_CF, "queue_directory = /srv/spool\nthis is no setting\n")

    findings = mta.collect()
    found = values(findings)

    assert found["queue_messages{deferred}"] == 1
    assert "queue_limit{active}" not in found
    assert "deferred_expiry_seconds" not in found
    assert [s.message for s in shortfalls(findings)] == ["main.cf, line 2: not of the form name = value"]


def test_a_main_cf_that_is_a_fifo_is_told_with_its_place(mta: Mta) -> None:
    os.makedirs(os.path.dirname(f"{mta.host.base}{MAIN_CF}"))
    os.mkfifo(f"{mta.host.base}{MAIN_CF}")

    [shortfall] = shortfalls(mta.collect())

    assert shortfall.message == f"reading {MAIN_CF}: not a regular file"


# main.cf


def test_main_cf_has_continuations_comments_and_references() -> None:
    text = """\
# a comment = of no weight
a = 1,
    2
    # within a continuation

  3
a.b = ${c}/x$(c)
c=$a
c = $missing/y
self = $self
"""
    assert parse_main_cf(text) == {
        "a": "1, 2 3",
        "a.b": "$missing/y/x$missing/y",
        "c": "$missing/y",
        "self": "$self",
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5d", 432000),
        ("5", 432000),
        ("36h", 129600),
        ("90m", 5400),
        ("10s", 10),
        ("1w", 604800),
        ("5x", None),
        ("", None),
    ],
)
def test_postfix_times_have_units_and_days_without(text: str, seconds: float | None) -> None:
    assert parse_postfix_time(text) == seconds


@pytest.mark.parametrize("value", ["", "$missing/spool", "spool", "/"])
def test_a_queue_directory_that_is_no_absolute_path_is_not_used(value: str) -> None:
    assert queue_settings({"queue_directory": value}).spool is None


def test_a_limit_that_is_no_number_is_unknown() -> None:
    assert queue_settings({"qmgr_message_active_limit": "many"}).active_limit is None


@settings(max_examples=2_000, deadline=None)
@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(["a", "b", "$a", "${b}", " = ", "\n", "\n ", "#", "="])).map("".join)
)
def test_any_text_gives_settings_or_an_error_that_names_the_line(text: str) -> None:
    failure = None
    try:
        queue_settings(parse_main_cf(text))
    except CollectError as exc:
        failure = exc
    if failure is not None:
        assert failure.reason is Reason.PARSE
        assert str(failure).startswith("main.cf, line ")


def test_settings_that_multiply_each_other_end(mta: Mta) -> None:
    mta.host.write(MAIN_CF, "a = " + "$a" * 1000 + "\n")

    assert mta.values()["queue_limit{active}"] == 20_000
