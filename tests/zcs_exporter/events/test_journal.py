"""What the journal gets: documented fields, safe lines, and no name that others must not read."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcs_exporter.alerting.alarm import Change
from zcs_exporter.contract import CollectError, EvidenceItem, EvidenceKind, Grade, Reason, Record
from zcs_exporter.events.entry import Entry
from zcs_exporter.events.journal import MOST_FIELD, Journal, datagram
from zcs_exporter.notify.message import Message, MessageKind

ANONYMOUS = frozenset({EvidenceKind.TEXT, EvidenceKind.ADDRESS})
FAILED = Record("login_failed", 0.0, Grade.WARNING, {"account": "ann@example.com", "address": "192.0.2.7"})


def fields(data: bytes) -> dict[str, str]:
    pairs = [line.partition("=") for line in data.decode().removesuffix("\n").split("\n")]
    assert len({name for name, _, _ in pairs}) == len(pairs)
    return {name: value for name, _, value in pairs}


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "socket"))
        receiver.settimeout(10)
        yield receiver


def test_each_event_is_one_datagram_of_journal_fields(journald: socket.socket, tmp_path: Path) -> None:
    both = [Entry(1, "mail.example.com", FAILED), Entry(2, "mail.example.com", Record("admin_login", 0.0))]

    assert Journal(ANONYMOUS, str(tmp_path / "socket")).write(both) == 2

    first, second = (fields(journald.recv(1 << 20)) for _ in both)
    assert first["MESSAGE"] == 'login_failed: address=192.0.2.7, hidden=["account"]'
    assert (first["PRIORITY"], first["SYSLOG_IDENTIFIER"]) == ("4", "zcs-exporter")
    assert (first["ZCS_KIND"], first["ZCS_SEVERITY"], first["ZCS_ADDRESS"]) == ("login_failed", "warning", "192.0.2.7")
    assert json.loads(first["ZCS_HIDDEN"]) == ["account"]
    assert second["ZCS_ID"] == "2"


def test_an_alarm_is_told_in_its_own_words_with_its_priority() -> None:
    alarm = Message(
        MessageKind.EVENT, "1", "h", "ZcsServiceStopped", 0.0, "mta stopped", number=352, change=Change.RAISED,
        evidence=(EvidenceItem(EvidenceKind.ADDRESS, "192.0.2.7", 2),),
    )  # fmt: skip

    told = fields(datagram(Entry(1, "h", alarm), ANONYMOUS))

    assert told["MESSAGE"] == "alarm_raised: mta stopped"
    assert told["PRIORITY"] == "6"
    assert json.loads(told["ZCS_EVIDENCE"])[0]["value"] == "192.0.2.7"


def test_an_absent_journal_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CollectError) as caught:
        Journal(ANONYMOUS, str(tmp_path / "socket")).write([Entry(1, "h", FAILED)])

    assert caught.value.reason is Reason.UNAVAILABLE
    assert "systemd-journald" in caught.value.remedy


def test_a_journal_that_does_not_read_is_given_up_and_what_it_took_is_counted(
    journald: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zcs_exporter.events.journal.PATIENCE", 0.05)
    journal, many = Journal(ANONYMOUS, str(tmp_path / "socket")), [Entry(n, "h", FAILED) for n in range(5000)]

    taken = journal.write(many)

    assert 0 < taken < 5000
    with pytest.raises(CollectError):
        journal.write(many[taken:])
    assert [fields(journald.recv(1 << 20))["ZCS_ID"] for _ in range(taken)] == [str(n) for n in range(taken)]


@given(text=st.text(max_size=4000), value=st.text(max_size=300))
def test_no_text_ends_its_field_or_outgrows_a_datagram(text: str, value: str) -> None:
    message = Message(MessageKind.EVENT, "1", "h", "ZcsServiceStopped", 0.0, text, number=352, object=value)

    data = datagram(Entry(1, "h", message), ANONYMOUS)

    assert fields(data).keys() <= {
        "MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "ZCS_ID", "ZCS_TIME", "ZCS_HOST", "ZCS_KIND", "ZCS_SEVERITY",
        "ZCS_NAME", "ZCS_FAMILY", "ZCS_EVENT_ID", "ZCS_OBJECT", "ZCS_TEXT",
    }  # fmt: skip
    assert len(data) < 3 * 4 * MOST_FIELD + 2000
