"""What the doctor says of a log."""

import pytest
from fakes import FakeHost, ManualClock

from zcs_exporter.survey import LOOKED_AT, Verdict, examine_log

LOG = "/var/log/zimbra.log"
OTHERS = "Mar  2 10:20:50 relay-7 postfix/smtpd[1]: x\nMar  2 10:20:51 relay-8 postfix/smtpd[1]: x\n"
NAMES = frozenset((b"mail", b"mail.example.com"))


def test_a_log_in_which_only_others_write_names_them_and_the_remedy(host: FakeHost, manual: ManualClock) -> None:
    host.write(LOG, OTHERS)

    found = examine_log(host, LOG, manual.clock, NAMES)

    assert found.verdict is Verdict.FAILS
    assert "no line of this host (mail, mail.example.com)" in found.detail
    assert "relay-7, relay-8" in found.detail
    assert "zimbra_server_hostname" in found.remedy


@pytest.mark.parametrize("name", ["mail", "MAIL", "Mail.Example.com"])
def test_one_line_of_this_host_under_any_of_its_names_is_enough(host: FakeHost, manual: ManualClock, name: str) -> None:
    host.write(LOG, OTHERS + f"2024-03-02T10:20:50+01:00 {name} sshd: x\n" + OTHERS * 1000)

    assert examine_log(host, LOG, manual.clock, NAMES).verdict is Verdict.WORKS


def test_a_line_of_long_ago_is_not_enough(host: FakeHost, manual: ManualClock) -> None:
    host.write(LOG, "Mar  2 10:20:50 mail sshd: x\n" + OTHERS * (LOOKED_AT // len(OTHERS) + 1))

    assert examine_log(host, LOG, manual.clock, NAMES).verdict is Verdict.FAILS


@pytest.mark.parametrize("content", ["", "no syslog at all\n"])
def test_a_log_that_names_no_host_is_none_of_a_stranger(host: FakeHost, manual: ManualClock, content: str) -> None:
    host.write(LOG, content)

    assert examine_log(host, LOG, manual.clock, NAMES).verdict is Verdict.WORKS


def test_another_log_is_not_asked_for_hosts(host: FakeHost, manual: ManualClock) -> None:
    host.write(LOG, OTHERS)

    assert examine_log(host, LOG, manual.clock).verdict is Verdict.WORKS
