"""The page, read as a browser reads it: parsed, with its texts and nothing that a text turned into a tag."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import unchecked
from hypothesis import given, settings
from hypothesis import strategies as st
from page_parts import HOSTILE, NOW, Page, scene, show
from web_parts import EVIDENCE, FAILURES, MESSAGES, reading

from zcs_exporter.alerting.alarm import Alarm, Change, Pending, SeverityState
from zcs_exporter.alerting.model import AlertRule, Severity, Unit, Urgency
from zcs_exporter.alerting.policy import THRESHOLD
from zcs_exporter.contract import CollectError, EvidenceKind, Kind, Metric, Reason, Shortfall
from zcs_exporter.expose.markup import element
from zcs_exporter.expose.status_page import content_security_policy, render_login, render_page, style
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.snapshot import Failure, Reading

UP = Metric("zcs_service_up", Kind.GAUGE, "Up.", ("name",))
USED = Metric("zcs_filesystem_used_ratio", Kind.GAUGE, "Used.", ("mountpoint",))
UNUSABLE = Metric("zcs_filesystem_unusable", Kind.GAUGE, "Hung.", ("mountpoint",))
MAINTENANCE = Metric("zcs_maintenance", Kind.GAUGE, "At work.", ("cause",))
WAITING = Metric("zcs_exporter_outbox_messages", Kind.GAUGE, "Waiting.", ("target",))

RULE = AlertRule.of(
    {
        "alert": "ZcsFilesystemFull",
        "id": 201,
        "family": "filesystem",
        "value": "zcs_filesystem_used_ratio",
        "above": {"warning": 0.85, "critical": 0.95},
        "unit": Unit.RATIO,
        "urgency": Urgency.NOW,
        "for": "10m",
        "keep": "10m",
        "summary": "{mountpoint} is {value} full",
        "meaning": "Nothing can be written soon.",
        "action": "Find what grew.",
        "examples": [
            {"values": {"zcs_filesystem_used_ratio": 0.96}, "fires": "critical"},
            {"values": {"zcs_filesystem_used_ratio": 0.1}, "fires": "nothing"},
        ],
    }
)


def alarm(severity: Severity = Severity.CRITICAL, mountpoint: str = "/opt/zimbra", number: int = 7) -> Alarm:
    return Alarm(
        "ZcsFilesystemFull",
        (("mountpoint", mountpoint),),
        alarm_id=number,
        severity=severity,
        since=NOW - 7500,
        value=0.96,
        threshold=0.95,
        evidence=EVIDENCE,
    )


def test_a_text_breaks_neither_an_element_nor_an_attribute() -> None:
    page = Page(element("p", HOSTILE, element("b", HOSTILE), title=HOSTILE).encode())

    assert page.tags == [("p", {"title": HOSTILE}), ("b", {})]
    assert page.texts == [HOSTILE, HOSTILE]


# The verdict


def test_with_nothing_wrong_all_is_good() -> None:
    assert "Ok All good" in show(reading("services", UP.sample(1, name="mta")))


def test_alarms_are_the_verdict_in_words_worst_first() -> None:
    alarms = [(RULE, alarm(Severity.WARNING, "/b", 1)), (RULE, alarm(Severity.CRITICAL, "/a", 2))]

    text = show(alarms=alarms)

    assert "Critical 2 alarms: 1 critical, 1 warning" in text
    assert text.index("/a is 96% full") < text.index("/b is 96% full")


def test_of_equally_bad_alarms_what_cannot_wait_comes_first_and_the_verdict_says_since_when() -> None:
    later = unchecked(RULE, urgency=Urgency.TODAY)
    old = replace(alarm(mountpoint="/a"), since=NOW - 7500)
    text = show(
        alarms=[(later, old), (RULE, replace(alarm(mountpoint="/b"), since=NOW - 60)), (RULE, alarm(Severity.WARNING))]
    )

    assert text.index("/b is 96% full") < text.index("/a is 96% full")
    assert re.search(r"3 alarms: 2 critical, 1 warning\s*2 to act on now, critical since \S+ \(2h5m ago\)", text)
    assert "to act on now" not in show(alarms=[(RULE, alarm())], now=NOW + 3599)


def test_a_value_and_a_threshold_of_nothing_are_not_shown() -> None:
    assert "value" not in show(alarms=[(RULE, replace(alarm(), value=0.0, threshold=0.0))])


def test_an_alarm_says_what_since_when_why_it_matters_and_what_to_do() -> None:
    text = show(alarms=[(RULE, alarm())])

    for part in (
        "/opt/zimbra is 96% full",
        "2h5m ago",
        "act now",
        "value 96%, threshold 95%",
        "ZcsFilesystemFull (201)",
        "Nothing can be written soon.",
        "To do: Find what grew.",
        "198.51.100.23 (41)",
    ):
        assert part in text


def test_an_alarm_that_cannot_be_seen_any_more_says_so() -> None:
    text = show(alarms=[(RULE, alarm(Severity.UNKNOWN))])

    assert "Unknown 1 alarm: 1 unknown" in text
    assert "It cannot be seen any more whether this still holds." in text


def test_an_alarm_whose_cause_is_gone_says_so_while_it_is_kept() -> None:
    state = {Severity.CRITICAL: SeverityState(NOW - 9000, firing=True, ended=NOW - 60)}

    assert "This is over; the alarm ends too" in show(alarms=[(RULE, replace(alarm(), states=state))])
    assert "This is over" not in show(alarms=[(RULE, replace(alarm(Severity.UNKNOWN), states=state))])
    assert "This is over" not in show(alarms=[(RULE, alarm())])


def test_it_is_not_all_good_while_something_cannot_be_seen() -> None:
    failing = replace(reading("jvm"), failure=Failure(Reason.PERMISSION, "no", "", NOW - 60))
    blind = CollectError(Reason.PERMISSION, "opening /opt/zimbra/log/audit.log: Permission denied", "chmod it")

    assert "No alarm, but not everything can be seen: jvm" in show(failing)
    text = show(logs=[("/opt/zimbra/log/audit.log", blind)])
    assert "No alarm, but not everything can be seen: /opt/zimbra/log/audit.log" in text
    assert "Permission denied. To do: chmod it" in text


def pending(wait: float, mountpoint: str = "/opt/zimbra", rule: AlertRule = RULE) -> Pending:
    return Pending(rule, replace(alarm(mountpoint=mountpoint), alarm_id=0), Severity.CRITICAL, wait)


def test_it_is_not_all_good_while_an_alarm_is_in_its_hold() -> None:
    text = show(pending=[pending(240), pending(300, "/b")])

    assert "Warning No alarm yet, 2 pending: /opt/zimbra is 96% full (critical in 4m), and 1 more below" in text
    assert "/b is 96% full Critical in 5m ZcsFilesystemFull (201)" in text
    assert "1 alarm: 1 critical; 1 pending" in show(alarms=[(RULE, alarm())], pending=[pending(0.4, "/b")])
    assert "/b is 96% full (critical at the next look)" in show(pending=[pending(0.4, "/b")])


def test_what_is_pending_for_information_only_does_not_warn() -> None:
    assert "Ok No alarm yet, 1 pending" in show(pending=[pending(9, rule=unchecked(RULE, urgency="info"))])


def test_it_is_not_all_good_while_a_service_is_down() -> None:
    services = reading("services", UP.sample(0, name="mta"), UP.sample(1, name="ldap"))

    assert "Warning No alarm, but down: mta" in show(services)


def test_before_the_first_round_it_says_what_it_waits_for() -> None:
    assert "Unknown Starting, waiting for jvm" in show(replace(reading("jvm"), rounds=0, present=None), ready=False)


def test_a_daemon_that_stopped_looking_says_so_above_all() -> None:
    text = show(alarms=[(RULE, alarm())], now=NOW + 3599)

    assert "The daemon has not looked for 1h; nothing below can be relied on" in text
    assert "All good" not in text


# Unknown is never zero


@pytest.mark.parametrize("name", ["filesystem", "postfix", "mysqld", "jvm", "auth", "services"])
def test_an_area_whose_values_are_unknown_shows_no_number(name: str) -> None:
    other = Metric("zcs_something_else", Kind.GAUGE, "x")

    page = Page(render_page(scene(reading(name, other.sample(1)))))
    area = page.text[page.text.index(" old ") : page.text.index("Notifications")]

    assert not any(char.isdigit() for char in area.partition(" old ")[2])


def test_a_queue_that_is_not_known_is_unknown_and_an_empty_one_is_zero() -> None:
    text = show(reading("postfix", MESSAGES.sample(0, queue="deferred"), MESSAGES.sample(18234, queue="hold")))

    assert "deferred 0 \N{EN DASH} \N{EN DASH}" in text
    assert "active unknown unknown unknown" in text
    assert "hold 18\N{NARROW NO-BREAK SPACE}234".replace("\N{NARROW NO-BREAK SPACE}", " ") in text


def test_a_hung_mount_is_named_and_its_room_unknown() -> None:
    text = show(reading("filesystem", UNUSABLE.sample(1, mountpoint="/opt/zimbra/backup")))

    assert "/opt/zimbra/backup does not answer unknown unknown unknown" in text


def test_an_area_that_is_not_on_this_host_is_left_out_and_its_reason_given() -> None:
    absent = Reading("mysqld", (), rounds=1, present=False, absent_because="no mysqld is enabled")

    text = show(absent)

    assert "Database" not in text
    assert "mysqld not on this host: no mysqld is enabled" in text


def test_a_failing_collector_shows_its_last_values_as_old_with_reason_and_remedy() -> None:
    failing = replace(
        reading("postfix", MESSAGES.sample(5, queue="hold"), at=NOW - 95),
        failure=Failure(Reason.PERMISSION, "reading the spool: Permission denied", "grant it", NOW - 80),
    )

    text = show(failing)

    assert "Mail queues 1m35s old not renewed why" in text
    assert "postfix : reading the spool: Permission denied. Shown are the values of" in text
    assert "To do: grant it" in text
    assert "postfix failing" in text


def test_a_failing_collector_without_values_is_unknown() -> None:
    failing = replace(
        reading("postfix"), collected_at=None, failure=Failure(Reason.TIMEOUT, "no result within 7 s", "", NOW - 80)
    )

    text = show(failing)

    assert "Mail queues unknown why" in text
    assert "no result within 7 s. Its values are unknown." in text


def test_what_a_good_round_could_not_see_is_told() -> None:
    partly = replace(reading("mysqld"), shortfalls=(Shortfall(Reason.PERMISSION, "no table sizes", "GRANT SELECT"),))

    text = show(partly)

    assert "mysqld : no table sizes. To do: GRANT SELECT" in text
    assert "mysqld in part" in text


# The rest


def test_gauges_are_coloured_by_the_hosts_own_thresholds() -> None:
    own = (
        THRESHOLD.sample(0.5, alert="ZcsFilesystemFull", severity="warning"),
        THRESHOLD.sample(0.9, alert="ZcsFilesystemFull", severity="critical"),
    )
    page = Page(render_page(scene(reading("filesystem", USED.sample(0.6, mountpoint="/opt")), own=own)))

    assert ("span", {"class": "warning"}) in page.tags
    bars = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert bars[0]["class"] == "bar warning"
    marks = [(a["class"], a["x1"]) for tag, a in page.tags if tag == "line"]
    assert marks == [("warning", "50.0"), ("critical", "90.0")]


def test_maintenance_is_announced() -> None:
    assert "Maintenance (zmcontrol): alarms about services are held" in show(
        reading("services", MAINTENANCE.sample(1, cause="zmcontrol"), MAINTENANCE.sample(0, cause="file"))
    )


def test_that_nobody_is_notified_is_said() -> None:
    assert "Nobody is notified" in show()
    assert "Nobody is notified" not in show(own=(WAITING.sample(3, target="nms"),))


def test_what_happened_lately_is_told_with_its_evidence() -> None:
    message = Message(
        MessageKind.ALARM,
        "x-1",
        "mail.example.com",
        "ZcsFilesystemFull",
        NOW - 60,
        "/opt is full",
        change=Change.RAISED,
        severity=Severity.CRITICAL,
        evidence=EVIDENCE,
    )

    text = show(recent=[message], visible=frozenset({EvidenceKind.ADDRESS}))

    assert "(1m ago) raised Critical /opt is full 198.51.100.23 (41), 2 hidden by the privacy settings" in text


def test_hostile_text_stays_text_wherever_it_stands() -> None:
    failing = replace(
        reading("jvm"),
        failure=Failure(Reason.PARSE, HOSTILE, HOSTILE, NOW),
        shortfalls=(Shortfall(Reason.PARSE, HOSTILE, HOSTILE),),
    )
    hostile = scene(
        failing,
        reading("filesystem", USED.sample(0.5, mountpoint=HOSTILE)),
        reading("postfix", MESSAGES.sample(1, queue=HOSTILE)),
        reading("auth", FAILURES.sample(41, check="ip", evidence=EVIDENCE)),
        reading("services", UP.sample(0, name=HOSTILE), MAINTENANCE.sample(1, cause=HOSTILE)),
        Reading("backup", (), rounds=1, present=False, absent_because=HOSTILE),
        own=(WAITING.sample(1, target=HOSTILE),),
        host=HOSTILE,
        alarms=[(unchecked(RULE, meaning=HOSTILE, action=HOSTILE), alarm(mountpoint=HOSTILE))],
        logs=[(HOSTILE, CollectError(Reason.PARSE, HOSTILE, HOSTILE))],
        recent=[Message(MessageKind.EVENT, "e", "h", "x", NOW, HOSTILE, evidence=EVIDENCE)],
    )

    for page in (Page(render_page(hostile)), Page(render_login(HOSTILE, wrong=True))):
        assert "img" not in {tag for tag, _ in page.tags}
        assert "script" not in {tag for tag, _ in page.tags}
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
        assert HOSTILE in page.text


def test_the_page_loads_nothing_and_its_policy_allows_no_more() -> None:
    page = Page(render_page(scene(alarms=[(RULE, alarm())])))

    assert not any(name in ("src", "style") for _, attributes in page.tags for name in attributes)
    links = {attributes.get("href") or "" for _, attributes in page.tags if "href" in attributes}
    assert all(link.startswith(("data:", "/", "#")) for link in links)
    assert "url(" not in style()
    assert "@import" not in style()
    assert "script-src" not in content_security_policy()
    assert content_security_policy().startswith("default-src 'none'; style-src 'sha256-")


def test_the_page_is_sane_for_keyboards_and_readers() -> None:
    page = Page(render_page(scene(reading("postfix", MESSAGES.sample(1, queue="hold")), alarms=[(RULE, alarm())])))
    tags = page.tags

    assert tags[0] == ("html", {"lang": "en"})
    assert [tag for tag, _ in tags if tag in ("h1", "h2")].count("h1") == 1
    assert sum(tag == "table" for tag, _ in tags) == sum(tag == "caption" for tag, _ in tags)
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert {a["aria-labelledby"] for _, a in tags if "aria-labelledby" in a} <= set(names)


def test_the_page_renews_itself_unless_told_not_to() -> None:
    def renews(page: Page) -> bool:
        return any(attributes.get("http-equiv") == "refresh" for _, attributes in page.tags)

    assert renews(Page(render_page(scene())))
    assert not renews(Page(render_page(scene(refresh=False))))


NAMES = sorted(
    {
        name
        for file in (
            "status_areas.py",
            "status_page.py",
            "facts.py",
            "area_mail.py",
            "area_mailboxd.py",
            "area_logs.py",
        )
        for name in re.findall(
            r'"((?:zcs|mysql|jvm)_[a-z0-9_]+)"',
            (Path(__file__).parents[3] / "zcs_exporter/expose" / file).read_text(encoding="utf-8"),
        )
    }
)

LABELS = ("mountpoint", "queue", "check", "jvm", "name", "target", "cause", "datadir", "area", "event", "le", "log")
COLLECTORS = ("filesystem", "postfix", "mailflow", "mysqld", "jvm", "mailboxd", "auth", "logs", "services")


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.sampled_from(LABELS),
            st.sampled_from(["deferred", "ip", "mailboxd", "heap", HOSTILE, ""]),
            st.floats(allow_nan=False),
        ),
        max_size=30,
    )
)
@settings(max_examples=500, deadline=None)
def test_whatever_the_samples_say_the_page_is_drawn(rows: list[tuple[str, str, str, float]]) -> None:
    samples = tuple(
        Metric(name, Kind.GAUGE, "x", (label,)).sample(value, **{label: text}) for name, label, text, value in rows
    )
    page = Page(render_page(scene(*(reading(name, *samples) for name in COLLECTORS))))

    assert "img" not in {tag for tag, _ in page.tags}


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e300, -1.0])
def test_no_value_is_too_strange_to_be_shown(value: float) -> None:
    labels = {
        "mountpoint": "/opt",
        "resource": "space",
        "queue": "deferred",
        "check": "ip",
        "jvm": "mailboxd",
        "area": "heap",
        "name": "mta",
        "cause": "file",
        "datadir": "/db",
        "protocol": "imap",
        "event": "received",
        "stage": "queue",
        "log": "mailbox.log",
        "level": "error",
        "component": "soap",
        "signal": "slow_soap",
        "file": "mailboxd.csv",
    }
    samples = tuple(Metric(name, Kind.GAUGE, "x", tuple(labels)).sample(value, **labels) for name in NAMES)
    up = tuple(Metric(name, Kind.GAUGE, "x", ("jvm",)).sample(1, jvm="mailboxd") for name in ("zcs_jvm_up",))
    assert "Oldest" in show(*(reading(name, *up, *samples) for name in COLLECTORS))
