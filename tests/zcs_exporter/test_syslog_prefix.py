from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.log_time import LogTime
from zcs_exporter.syslog_prefix import parse_syslog_prefix, stamp_time

NOW = datetime(2024, 3, 2, 12, 0, tzinfo=UTC).timestamp()
AT = int(datetime(2024, 3, 2, 10, 20, 44, tzinfo=UTC).timestamp())


def test_the_form_of_rfc_3164_is_read() -> None:
    line = b"Mar  2 10:20:44 Mail postfix/smtps/smtpd[4711]: warning: x"
    prefix = parse_syslog_prefix(line)
    assert prefix is not None
    assert (prefix.host, prefix.program, prefix.pid) == (b"mail", b"postfix/smtps/smtpd", b"4711")
    assert line[prefix.message :] == b"warning: x"
    assert stamp_time(prefix.stamp, LogTime(UTC), NOW) == AT


def test_the_form_of_iso_8601_is_read_with_and_without_fractions() -> None:
    for stamp in (b"2024-03-02T11:20:44.901234+01:00", b"2024-03-02T10:20:44Z"):
        prefix = parse_syslog_prefix(stamp + b" mail.example.com saslauthd[29157]: auth_zimbra: ann auth OK")
        assert prefix is not None
        assert (prefix.host, prefix.program, prefix.pid) == (b"mail.example.com", b"saslauthd", b"29157")
        assert stamp_time(prefix.stamp, LogTime(UTC), NOW) == AT


def test_a_program_without_a_pid_has_none() -> None:
    prefix = parse_syslog_prefix(b"Mar 12 10:20:44 mail kernel: oops")
    assert prefix is not None
    assert prefix.pid is None


def test_what_only_holds_a_prefix_is_not_one() -> None:
    for line in (
        b"",
        b" Mar  2 10:20:44 mail saslauthd[1]: x",
        b"Mar 2 10:20:44 mail saslauthd[1]: x",
        b"Mar  2 10:20:44 saslauthd[1]: x",
        b"Mar  2 10:20:44 mail saslauthd[1] x",
        b"Mar  2 10:20:44 mail sasl authd[1]: x",
        b"mail: Mar  2 10:20:44 mail saslauthd[1]: x",
    ):
        assert parse_syslog_prefix(line) is None, line


@given(st.binary(max_size=200) | st.text(max_size=80).map(lambda text: f"Mar  2 10:20:44 {text}".encode()))
@settings(max_examples=2_000, deadline=None)
def test_any_bytes_have_a_prefix_or_none(line: bytes) -> None:
    prefix = parse_syslog_prefix(line)
    assert prefix is None or prefix.message <= len(line)


def test_a_long_hostile_line_is_read_in_one_pass() -> None:
    for filler in (b"a", b"[", b"[1]", b"a/", b":", b" "):
        assert parse_syslog_prefix(b"Mar  2 10:20:44 mail " + filler * (65536 // len(filler))) is None
