"""The daily report: the same numbers in each form, nothing of a client's that a terminal or browser would obey."""

import asyncio
import html.parser
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes import FakeHost
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.contract import Clock
from zcs_exporter.mailreport.day import DayBook
from zcs_exporter.mailreport.html import render_html
from zcs_exporter.mailreport.report import Limits, default_day, limits_of, render_json, render_text
from zcs_exporter.mailreport.view import MailDay, read_day
from zcs_exporter.state import Commit, StateStore

ROOT = Path(__file__).resolve().parents[3]
DAY = "2024-03-02"
TEN = int(datetime(2024, 3, 2, 10, 20, tzinfo=UTC).timestamp())


def book() -> DayBook:
    found = DayBook(UTC)
    for number in range(3):
        found.received(TEN + number, b"x@example.net", b"host.example.net[198.51.100.7]", 1 << 20)
        found.delivered(TEN + number, b"ann@example.com", 1 << 20, 0.5 + number)
    found.received(TEN, b"", b"unknown[203.0.113.5]", 2048)
    found.deferred(TEN + 3600, b"bob@example.org", b"connect to mx.example.org[192.0.2.1]:25: timed out", first=True)
    found.deferred(TEN + 3600, b"bob@example.org", b"connect to mx.example.org[192.0.2.1]:25: timed out", first=False)
    found.bounced(TEN, b"eve@example.org", b"host mx.example.org[192.0.2.1] said: 550 5.1.1 <eve@example.org>: Unknown")
    found.rejected(TEN, "relay", b"unknown[203.0.113.5]", b"554 5.7.1 <z@x>: Relay access denied; from=<> to=<z@x>")
    found.held(TEN)
    found.discarded(TEN)
    found.forwarded(TEN)
    found.verdict(TEN, "bad_header")
    found.warning(TEN, b"postfix/smtpd", b"warning: Connection rate limit exceeded: 50 from unknown[203.0.113.5]")
    return found


def day_of(kept: DayBook) -> MailDay:
    day = read_day({key: row for key, row in kept.changes().items() if row is not None}, DAY)
    assert day is not None
    return day


def test_the_text_tells_everything_in_80_columns() -> None:
    assert render_text(day_of(book()), "mail.example.com", Limits(), UTC) == (
        Path(__file__).with_name("daily-mail-report.txt").read_text()
    )


def test_lists_are_as_long_as_they_may_be_and_say_so() -> None:
    kept = DayBook(UTC)
    for number in range(9):
        for _ in range(number + 1):
            kept.received(TEN, b"u%d@example.net" % number, b"h%d[192.0.2.1]" % number, 10)
    text = render_text(day_of(kept), "mail", Limits(2, 3, 4), UTC)

    assert "Senders by messages\n-------------------\nThe first 2 of 9.\n" in text
    assert "u8@example.net" in text
    assert "u6@example.net" not in text
    assert "h6[192.0.2.1]" in text
    assert "h5[192.0.2.1]" not in text


def test_what_was_not_counted_all_day_is_marked() -> None:
    kept = DayBook(UTC)
    for number in range(3000):
        kept.received(TEN, b"u%d@example.net" % number, b"h[192.0.2.1]", 10)
    assert len(kept.counts()[1]["senders"]) < 1000
    for _ in range(10):
        kept.received(TEN, b"late@example.net", b"h[192.0.2.1]", 10)
    text = render_text(day_of(kept), "mail", Limits(), UTC)

    found = re.search(r"^   (1,\d{3})  senders at least$", text, re.MULTILINE)
    assert found is not None, text
    assert "     10+  " in text
    told = f"The first 50 of at least {found[1]}. + means at least: there were too many names"
    assert told in " ".join(text.split())


def test_json_has_exact_numbers_by_stable_names() -> None:
    report = json.loads(render_json(day_of(book()), "mail.example.com", Limits()))

    assert {key: report[key] for key in ("report", "version", "date", "host", "first", "last")} == {
        "report": "daily-mail",
        "version": 1,
        "date": DAY,
        "host": "mail.example.com",
        "first": TEN,
        "last": TEN + 3600,
    }
    assert report["totals"] == {
        "received": 4,
        "delivered": 3,
        "forwarded": 1,
        "deferred": 1,
        "deferrals": 2,
        "bounced": 1,
        "rejected": 1,
        "held": 1,
        "discarded": 1,
        "bytes_received": (3 << 20) + 2048,
        "bytes_delivered": 3 << 20,
        "delay_seconds_average": 1.5,
        "delay_seconds_max": 2.5,
    }
    assert [hour["received"] for hour in report["hours"]] == [0] * 10 + [4] + [0] * 13
    assert report["hours"][0]["delay_seconds_average"] is None
    assert report["rejected_by_cause"] == {"relay": 1}
    assert report["verdicts"] == {"bad_header": 1}
    assert report["senders"]["by_count"][0] == {"name": "x@example.net", "count": 3, "bytes": 3 << 20, "exact": True}
    assert report["senders"]["distinct"] == 2
    assert "by_size" not in report["rejections"]
    assert report["recipient_domains"]["by_count"][1]["deferrals"] == 2
    assert report["recipient_domains"]["by_count"][1]["delay_seconds_average"] is None


_HOSTILE = st.lists(
    st.sampled_from(
        [b"\x1b[31m", b"<script>", b"&", b'"', b"'", b"\xe2\x80\xae", b"\x00", b"\r\n", b"\xff", b"a" * 90, b" ", b"@"]
    ),
    max_size=6,
).map(b"".join)


class Reader(html.parser.HTMLParser):
    """Notes the elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


@settings(max_examples=100, deadline=None)
@given(_HOSTILE, _HOSTILE)
def test_no_text_of_a_client_gets_out_of_its_place(one: bytes, other: bytes) -> None:
    kept = book()
    kept.received(TEN, one, other, 10)
    kept.delivered(TEN, other, 10, 0.5)
    kept.deferred(TEN, one, other)
    kept.bounced(TEN, one, other)
    kept.rejected(TEN, "rbl", one, other)
    kept.warning(TEN, b"postfix/smtpd", one)
    day = day_of(kept)
    text = render_text(day, "mail.example.com", Limits(), UTC)
    page = Reader()
    page.feed(render_html(day, "mail.example.com", Limits(), UTC))

    assert all(line.isprintable() and len(line) <= 80 for line in text.split("\n"))
    plain = Reader()
    plain.feed(render_html(day_of(book()), "mail.example.com", Limits(), UTC))
    assert page.tags == plain.tags
    assert page.attributes == plain.attributes
    json.loads(render_json(day, "mail.example.com", Limits()))


def test_the_page_needs_nothing_else() -> None:
    page = render_html(day_of(book()), "mail.example.com", Limits(), UTC)

    assert "<script" not in page
    assert "src=" not in page
    assert "href=" not in page
    assert "url(" not in page
    assert "color-scheme: light dark" in page


@pytest.mark.parametrize(
    ("hour", "minute", "day"), [(0, 0, "2024-02-29"), (23, 29, "2024-02-29"), (23, 30, "2024-03-01")]
)
def test_a_day_is_over_when_zcs_makes_its_report(hour: int, minute: int, day: str) -> None:
    assert default_day(datetime(2024, 3, 1, hour, minute, tzinfo=UTC).timestamp(), UTC) == day


def test_lists_are_as_long_as_zcs_has_it(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    assert limits_of(host) == Limits(50, 50, 50)
    host.localconfig(zimbra_mtareport_max_users="7", zimbra_mtareport_max_hosts="many")
    assert limits_of(host) == Limits(7, 50, 50)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(f"host: {{root: {tmp_path}/host}}\nstate: {{directory: {tmp_path}/state}}\n")
    FakeHost(tmp_path / "host").localconfig(zimbra_server_hostname="mail.example.com")
    return file


def report(config: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "zcs_exporter", "report", "--config", str(config), *arguments]
    environment = {"TZ": "UTC", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=environment)


def keep(config: Path, kept: DayBook) -> StateStore:
    store = StateStore(str(config.parent / "state"), "machine:mail")
    asyncio.run(store.commit(Commit(rows={("mailflow", key): row for key, row in kept.changes().items()})))
    return store


def test_a_day_is_printed_while_the_daemon_has_its_state_open(config: Path) -> None:
    store = keep(config, book())
    done = report(config, "--date", DAY)
    store.close()

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == Path(__file__).with_name("daily-mail-report.txt").read_text()


@pytest.mark.parametrize("form", ["html", "json"])
def test_a_form_is_chosen_and_lists_are_cut(config: Path, form: str) -> None:
    keep(config, book()).close()
    done = report(config, "--date", DAY, "--format", form, "--top", "1")

    assert done.returncode == 0
    assert "x@example.net" in done.stdout
    assert ("bob@example.org" in done.stdout, "mail.example.com" in done.stdout) == (False, True)


def test_a_day_without_mail_is_said_with_the_days_that_have_some(config: Path) -> None:
    keep(config, book()).close()
    done = report(config)

    assert done.returncode == 2
    assert done.stderr.startswith("zcs-exporter: no mail was counted on 20")
    assert done.stderr.endswith(f"; there is data for {DAY} (--date)\n")
    assert not done.stdout


def test_a_daemon_that_counted_nothing_yet_sends_to_the_doctor(config: Path) -> None:
    keep(config, DayBook(UTC)).close()

    assert "zcs-exporter doctor" in report(config).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--date", "2024-02-30"), "--date '2024-02-30' is not a date; write it like 20"),
        (("--date", "\x1b[31m"), "is not a date"),
        (("--top", "0"), "--top 0 is not a number of names"),
        ((), "start the daemon first"),
    ],
)
def test_what_cannot_be_is_one_clear_line(config: Path, arguments: tuple[str, ...], words: str) -> None:
    done = report(config, *arguments)

    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


def test_damaged_rows_are_said(config: Path) -> None:
    store = StateStore(str(config.parent / "state"), "machine:mail")
    asyncio.run(store.commit(Commit(rows={("mailflow", f"day:{DAY}"): "nonsense"})))
    store.close()

    assert "what was counted is damaged" in report(config, "--date", DAY).stderr


def test_the_help_says_which_day_is_meant(config: Path) -> None:
    assert "A day is over from 23:30 on" in report(config, "--help").stdout


def test_today_and_yesterday_are_days(config: Path) -> None:
    kept = DayBook(UTC)
    kept.received(int(Clock().wall()), b"x@example.net", b"h[192.0.2.1]", 10)
    keep(config, kept).close()

    assert "x@example.net" in report(config, "--date", "today").stdout + report(config, "--date", "yesterday").stdout
