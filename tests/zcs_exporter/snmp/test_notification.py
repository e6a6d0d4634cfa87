import dataclasses
import string
import struct
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.contract import EvidenceItem, EvidenceKind
from zcs_exporter.snmp.notification import (
    CLEARED,
    NOTIFICATION_TYPES,
    RAISED,
    VARIABLES,
    Notification,
    decode,
    encode,
    notification_oid,
    text_with_evidence,
)
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Syntax, date_and_time, parse_date_and_time, parse_root, wire_text

SAFE = string.ascii_letters + string.digits + " -_.:/@%+,=()#"


def safe(limit: int) -> st.SearchStrategy[str]:
    return st.text(SAFE, max_size=limit)


NOTIFICATIONS = st.builds(
    Notification,
    type_name=st.sampled_from([kind.name for kind in NOTIFICATION_TYPES]),
    event_id=safe(40),
    host=safe(128),
    rule=safe(50).map(str.strip),
    rule_id=st.integers(0, 9999),
    object=safe(128),
    severity=st.integers(0, 3),
    text=safe(255),
    value=safe(32),
    threshold=safe(32),
    time=st.integers(0, 40_000_000_000).map(lambda tenths: tenths / 10),
    alarm_id=st.integers(0, 2**32 - 1),
    count=st.integers(0, 2**32 - 1),
)


def test_the_numbers_of_notifications_and_variables_never_move() -> None:
    assert {kind.name: kind.number for kind in NOTIFICATION_TYPES} == {
        "zcsAlarmRaised": 1,
        "zcsAlarmCleared": 2,
        "zcsServiceRaised": 11,
        "zcsServiceCleared": 12,
        "zcsFilesystemRaised": 21,
        "zcsFilesystemCleared": 22,
        "zcsQueueRaised": 31,
        "zcsQueueCleared": 32,
        "zcsDatabaseRaised": 41,
        "zcsDatabaseCleared": 42,
        "zcsJvmRaised": 51,
        "zcsJvmCleared": 52,
        "zcsAuthRaised": 61,
        "zcsAuthCleared": 62,
        "zcsCertificateRaised": 71,
        "zcsCertificateCleared": 72,
        "zcsCollectorRaised": 81,
        "zcsCollectorCleared": 82,
        "zcsHeartbeat": 91,
        "zcsStarted": 92,
        "zcsStopping": 93,
        "zcsSuppressed": 94,
        "zcsTest": 95,
        "zcsEvent": 96,
    }
    assert [(variable.number, variable.name) for variable in VARIABLES] == [
        (1, "zcsNotifySequence"),
        (2, "zcsNotifyEventId"),
        (3, "zcsNotifyHost"),
        (4, "zcsNotifyRule"),
        (5, "zcsNotifyObject"),
        (6, "zcsNotifySeverity"),
        (7, "zcsNotifyText"),
        (8, "zcsNotifyValue"),
        (9, "zcsNotifyThreshold"),
        (10, "zcsNotifyTime"),
        (11, "zcsNotifyAlarmIndex"),
        (12, "zcsNotifyCount"),
    ]


def test_every_family_has_a_raise_and_a_clear_next_to_it() -> None:
    numbers = {kind.name: kind.number for kind in NOTIFICATION_TYPES}
    assert RAISED.keys() == CLEARED.keys()
    assert all(numbers[CLEARED[family]] == numbers[RAISED[family]] + 1 for family in RAISED)


def test_the_rule_is_told_by_its_permanent_number_and_its_name(notification: Notification) -> None:
    assert encode(notification, 1)[3].value == b"201 ZcsFilesystemFull"


def test_without_a_rule_its_number_is_zero(notification: Notification) -> None:
    assert encode(dataclasses.replace(notification, rule="", rule_id=0), 1)[3].value == b"0"


def test_the_twelve_variables_come_in_their_fixed_order(notification: Notification) -> None:
    assert [item.oid for item in encode(notification, 1)] == [(*DEFAULT_ROOT, 1, 11, n, 0) for n in range(1, 13)]


def test_another_root_moves_everything_below_it(notification: Notification) -> None:
    root = (1, 3, 6, 1, 4, 1, 99999)
    assert all(item.oid[:7] == root for item in encode(notification, 1, root))
    assert notification_oid("zcsTest", root) == (*root, 0, 95)


@settings(max_examples=2_000, deadline=None)
@given(NOTIFICATIONS, st.integers(0, 2**32 - 1))
def test_what_is_encoded_is_decoded_again(notification: Notification, sequence: int) -> None:
    variables = {item.oid: item.value for item in encode(notification, sequence)}
    assert decode(notification_oid(notification.type_name), variables) == (sequence, notification)


@settings(max_examples=2_000, deadline=None)
@given(
    st.integers(0, 100),
    st.dictionaries(
        st.integers(1, 12).map(lambda n: (*DEFAULT_ROOT, 1, 11, n, 0)), st.integers() | st.binary() | st.just((1, 3))
    ),
)
def test_whatever_arrives_is_decoded_or_is_not_ours(number: int, variables: dict) -> None:
    result = decode((*DEFAULT_ROOT, 0, number), variables)
    assert result is None or isinstance(result[1], Notification)


@settings(max_examples=2_000, deadline=None)
@given(st.lists(st.binary(max_size=12), min_size=8, max_size=8), st.lists(st.integers(), min_size=4, max_size=4))
def test_right_types_with_wrong_contents_never_raise(octets: list[bytes], numbers: list[int]) -> None:
    texts, integers = iter(octets), iter(numbers)
    variables = {
        (*DEFAULT_ROOT, 1, 11, variable.number, 0): next(
            texts if variable.syntax in (Syntax.TEXT, Syntax.TIME) else integers
        )
        for variable in VARIABLES
    }
    result = decode((*DEFAULT_ROOT, 0, 95), variables)
    assert result is None or isinstance(result[1], Notification)


def test_a_missing_variable_makes_it_somebody_elses(notification: Notification) -> None:
    variables = {item.oid: item.value for item in encode(notification, 1)[:-1]}
    assert decode(notification_oid(notification.type_name), variables) is None


def test_a_notification_of_another_enterprise_is_not_ours(notification: Notification) -> None:
    variables = {item.oid: item.value for item in encode(notification, 1)}
    assert decode((1, 3, 6, 1, 4, 1, 666, 0, 21), variables) is None
    assert decode((), variables) is None


@given(st.text(), st.integers(4, 300))
def test_only_harmless_characters_reach_a_receiver(text: str, limit: int) -> None:
    result = wire_text(text, limit)
    assert len(result) <= limit
    assert set(result) <= set(SAFE) | {"?"}


@given(st.text(SAFE, max_size=64))
def test_a_harmless_text_is_not_changed(text: str) -> None:
    assert wire_text(text, 64) == text


def test_a_shell_gets_nothing_to_chew_on() -> None:
    assert wire_text("a;$(b)`c`|d&\n'e'\"<>[]{}!*~\\^", 64) == "a??(b)?c??d???e?????????????"


def test_a_text_that_was_cut_says_so() -> None:
    assert wire_text("x" * 256, 255) == "x" * 252 + "..."


def test_evidence_follows_the_summary_in_whole_entries_until_the_text_is_full() -> None:
    evidence = tuple(EvidenceItem(EvidenceKind.ADDRESS, f"2001:db8::{'1' * 60}{n}", n) for n in range(9))
    text = text_with_evidence("Too many failures", evidence)
    assert text.startswith("Too many failures: 2001:db8::")
    assert text.endswith("(2)")
    assert len(text) <= 255


def test_evidence_without_a_count_has_no_brackets() -> None:
    assert (
        text_with_evidence("s", (EvidenceItem(EvidenceKind.TEXT, "a"), EvidenceItem(EvidenceKind.TEXT, "b")))
        == "s: a, b"
    )


def test_a_long_summary_is_cut_before_any_evidence() -> None:
    assert text_with_evidence("x" * 300, (EvidenceItem(EvidenceKind.TEXT, "a"),)) == "x" * 252 + "..."


@pytest.mark.parametrize("change", [{"severity": 4}, {"severity": -1}, {"time": float("nan")}, {"time": 1e18}])
def test_what_snmp_cannot_tell_is_refused_in_words(notification: Notification, change: dict) -> None:
    with pytest.raises(ValueError, match=r"severity|time"):
        encode(dataclasses.replace(notification, **change), 1)


def test_an_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="zcsNonsense"):
        notification_oid("zcsNonsense")


def test_numbers_wrap_where_the_wire_ends(notification: Notification) -> None:
    assert encode(notification, 2**32 + 5)[0].value == 5


def test_the_time_carries_its_offset_from_utc() -> None:
    year, *rest = struct.unpack(">H6Bc2B", date_and_time(1_709_371_233.5))
    assert year == 2024
    assert rest[5] == 5
    assert rest[6] in (b"+", b"-")


@pytest.mark.parametrize(
    ("octets", "moment"),
    [
        (bytes([0x07, 0xE8, 3, 2, 10, 20, 33, 5]) + b"+" + bytes([1, 0]), 1_709_371_233.5),
        (bytes([0x07, 0xE8, 3, 2, 3, 50, 33, 5]) + b"-" + bytes([5, 30]), 1_709_371_233.5),
        (bytes([0x07, 0xE8, 3, 2, 9, 20, 33, 5]), 1_709_371_233.5),
    ],
)
def test_a_time_of_any_zone_is_understood(octets: bytes, moment: float) -> None:
    assert parse_date_and_time(octets) == moment


@pytest.mark.parametrize("text", ["1.3.6.1.4.1.99999", ".1.3.6.1.4.1.8072.9999.9999.7071"])
def test_a_root_below_the_enterprises_is_taken(text: str) -> None:
    assert parse_root(text) == tuple(map(int, text.strip(".").split(".")))


@pytest.mark.parametrize(
    "text", ["", "1.3.6.1.4.1", "2.25.1", "1.3.6.1.4.1.x", "1.3.6.1.4.1.4294967296", "1..3", "enterprises.1"]
)
def test_any_other_root_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it like 1\.3\.6\.1\.4\.1\."):
        parse_root(text)


def test_neither_the_notifications_nor_the_sender_pull_in_pysnmp() -> None:
    modules = "notification, smi, identity, secrets, destination, sender, listener"
    code = f"import sys; from zcs_exporter.snmp import {modules}; sys.exit('pysnmp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
