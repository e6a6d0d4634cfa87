import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.auth.smtp import (
    OTHER,
    SmtpFailure,
    SmtpLine,
    SmtpLogins,
    Told,
    is_smtpd,
    parse_saslauthd,
    parse_smtpd,
)

FAILED = b"auth_zimbra: ann@example.com auth failed: authentication failed for [ann@example.com]"
ENDED = b"do_auth         : auth failure: [user=ann@example.com] [service=smtp] [realm=] [mech=zimbra] [reason=Unknown]"
REFUSED = b"warning: unknown[203.0.113.5]: SASL LOGIN authentication failed: authentication failure"
NAMED = (
    b"warning: host.example.net[2001:db8::5]:51022: SASL PLAIN authentication failed: (reason unavailable), "
    b"sasl_username=eve@example.com"
)
URL_ERROR = (
    b"authentication against url 'https://mail.example.com:7073/service/admin/soap/' caused error "
    b"'couldn't connect to host'"
)
URL_DROPPED = b"url 'https://mail.example.com:7073/service/admin/soap/' will not be used for (at least) 600 seconds"


class Mta:
    """The lines of one MTA, one a call; Postfix's answers are kept."""

    def __init__(self) -> None:
        self.logins = SmtpLogins()
        self.at = 1000

    def sasl(self, message: bytes, pid: str = "1") -> None:
        self.logins.saslauthd(self.at, pid, parse_saslauthd(message))

    def postfix(self, message: bytes, pid: str = "9") -> SmtpFailure | None:
        return self.logins.smtpd(self.at, pid, parse_smtpd(message))


def test_lines_of_postfix_name_the_address_and_sometimes_the_account() -> None:
    assert parse_smtpd(REFUSED) == SmtpLine(Told.SMTP_FAILED, b"", b"203.0.113.5")
    assert parse_smtpd(NAMED) == SmtpLine(Told.SMTP_FAILED, b"eve@example.com", b"2001:db8::5")


def test_lines_of_saslauthd_name_the_account() -> None:
    assert parse_saslauthd(FAILED) == SmtpLine(Told.FAILED, b"ann@example.com")
    assert parse_saslauthd(b"auth_zimbra: chernandez auth OK") == SmtpLine(Told.ACCEPTED, b"chernandez")
    assert parse_saslauthd(ENDED) == SmtpLine(Told.ENDED, b"ann@example.com", repeats=True)
    assert parse_saslauthd(URL_ERROR).told is parse_saslauthd(URL_DROPPED).told is Told.BACKEND_ERROR
    assert parse_saslauthd(FAILED + b", account lockout").reason == "locked"


@pytest.mark.parametrize(
    "message",
    [
        b"NOQUEUE: reject: RCPT from unknown[203.0.113.5]: 554 5.7.1 <" + REFUSED + b">: Relay access denied",
        b"warning: unknown[203.0.113.5]: SASL LOGIN authentication succeeded",
        b"warning: x y[203.0.113.5]: SASL LOGIN authentication failed: x",
        b"warning: unknown[not.an.address!]: SASL LOGIN authentication failed: x",
        b" " + REFUSED,
    ],
)
def test_only_at_its_place_is_it_postfix_own_line(message: bytes) -> None:
    assert parse_smtpd(message) == OTHER


def test_a_typed_name_cannot_make_a_failure_a_success() -> None:
    hostile = b"auth_zimbra: ann auth OK auth failed: authentication failed for [ann auth OK]"
    assert parse_saslauthd(hostile) == SmtpLine(Told.FAILED, b"ann auth OK")


@pytest.mark.parametrize(
    "name",
    [
        b"ann@example.com auth failed: must change password",
        b"ann@example.com auth failed: authentication failed for [ann@example.com]",
        b"ann@example.com auth failed: authentication failed for [ann@example.com], account lockout; auth failed: x",
    ],
)
def test_a_typed_name_cannot_tell_another_outcome_or_accuse_another_account(name: bytes) -> None:
    line = b"auth_zimbra: " + name + b" auth failed: authentication failed for [" + name + b"]"
    assert parse_saslauthd(line) == SmtpLine(Told.FAILED, name)
    mta = Mta()
    mta.sasl(b"auth_zimbra: " + name + b" auth failed: some other words")
    assert mta.postfix(REFUSED) == SmtpFailure("", "other")


def test_a_typed_name_cannot_end_an_outage() -> None:
    mta = Mta()
    mta.sasl(URL_ERROR, "1")
    for name in (b"x auth failed: must change password", b"x auth failed: authentication failed for [x]"):
        mta.sasl(b"auth_zimbra: " + name + b" auth failed: couldn't connect to host", "2")
        assert mta.logins.out_of_reach(mta.at)


def test_every_smtp_server_of_postfix_is_known_and_no_other_program() -> None:
    assert is_smtpd(b"postfix/smtpd")
    assert is_smtpd(b"postfix/submission/smtpd")
    assert not is_smtpd(b"postfix/smtp")
    assert not is_smtpd(b"xpostfix/smtpd")
    assert not is_smtpd(b"postfix/smtpdx")


def test_the_account_comes_from_saslauthd_where_postfix_names_none() -> None:
    mta = Mta()
    mta.sasl(FAILED)
    mta.sasl(ENDED)
    mta.at += 5
    assert mta.postfix(REFUSED) == SmtpFailure("ann@example.com", "other")
    assert mta.postfix(REFUSED) == SmtpFailure("", "other")


def test_after_five_seconds_the_account_is_not_known() -> None:
    mta = Mta()
    mta.sasl(FAILED)
    mta.at += 6
    assert mta.postfix(REFUSED) == SmtpFailure("", "other")


def test_postfix_own_name_wins_and_uses_up_only_its_own_line() -> None:
    mta = Mta()
    mta.sasl(FAILED, "1")
    mta.sasl(FAILED.replace(b"ann", b"eve"), "2")
    assert mta.postfix(NAMED) == SmtpFailure("eve@example.com", "other")
    assert mta.postfix(NAMED) == SmtpFailure("eve@example.com", "other")
    assert mta.postfix(REFUSED) == SmtpFailure("ann@example.com", "other")


def test_logins_side_by_side_keep_their_order() -> None:
    mta = Mta()
    mta.sasl(FAILED, "1")
    mta.sasl(FAILED.replace(b"ann", b"bob"), "2")
    assert mta.postfix(REFUSED) == SmtpFailure("ann@example.com", "other")
    assert mta.postfix(REFUSED) == SmtpFailure("bob@example.com", "other")


def test_do_auth_alone_names_the_account_too() -> None:
    mta = Mta()
    mta.sasl(ENDED)
    assert mta.postfix(REFUSED) == SmtpFailure("ann@example.com", "other")


def test_a_back_end_out_of_reach_is_no_users_fault() -> None:
    mta = Mta()
    mta.sasl(URL_ERROR)
    mta.sasl(URL_DROPPED)
    mta.sasl(ENDED)
    assert mta.postfix(REFUSED) is None
    assert mta.logins.unanswered == 1
    mta.at += 300
    # The dropped back end is not tried, and not mentioned, for ten minutes.
    mta.sasl(ENDED, "2")
    assert mta.postfix(REFUSED) is None
    assert mta.logins.unanswered == 2
    assert mta.logins.out_of_reach(mta.at + 599)
    assert not mta.logins.out_of_reach(mta.at + 600)


def test_an_answer_of_any_kind_ends_the_outage() -> None:
    for answer in (FAILED, b"auth_zimbra: ann auth OK", b"auth_zimbra: a auth failed: account is in maintenance mode"):
        mta = Mta()
        mta.sasl(URL_ERROR)
        mta.sasl(answer)
        assert mta.logins.unanswered == 0


def test_without_saslauthd_nobody_can_be_asked() -> None:
    mta = Mta()
    assert (
        mta.postfix(b"warning: SASL authentication failure: cannot connect to saslauthd server: No such file") is None
    )
    assert mta.postfix(b"warning: unknown[203.0.113.5]: SASL LOGIN authentication failed: generic failure") is None
    assert mta.logins.unanswered == 1
    assert mta.postfix(b"warning: unknown[203.0.113.5]: SASL LOGIN authentication failed: generic failure") is None
    assert mta.logins.unanswered == 2


def test_maintenance_and_must_change_are_no_failures() -> None:
    for why in (b"account is in maintenance mode", b"must change password"):
        mta = Mta()
        mta.sasl(b"auth_zimbra: ann auth failed: " + why)
        assert mta.postfix(REFUSED) is None


def test_a_restart_between_two_lines_changes_nothing() -> None:
    mta = Mta()
    mta.sasl(FAILED)
    mta.sasl(URL_ERROR, "2")
    again = Mta()
    again.logins.restore(mta.logins.save())
    again.sasl(ENDED)
    assert again.logins.unanswered == 1
    assert again.postfix(REFUSED) == SmtpFailure("ann@example.com", "other")
    assert again.postfix(REFUSED) == SmtpFailure("", "other")


def test_what_is_kept_is_bounded() -> None:
    mta = Mta()
    for number in range(5000):
        mta.sasl(FAILED, str(number))
        mta.sasl(URL_ERROR, str(number))
    assert len(mta.logins.save()) < 32_768


MESSAGES = st.sampled_from([FAILED, ENDED, REFUSED, NAMED, URL_ERROR, URL_DROPPED]) | st.binary(max_size=120)


@given(st.lists(st.tuples(MESSAGES, st.integers(-3, 9), st.booleans()), max_size=20))
@settings(max_examples=1000, deadline=None)
def test_any_messages_are_taken(messages: list[tuple[bytes, int, bool]]) -> None:
    mta = Mta()
    for message, step, sasl in messages:
        mta.at += step
        if sasl:
            mta.sasl(message)
        elif parse_smtpd(message) != OTHER:
            mta.postfix(message)
        again = SmtpLogins()
        again.restore(mta.logins.save())
        assert again.save() == mta.logins.save()


@given(st.binary(max_size=200))
@settings(max_examples=2_000, deadline=None)
def test_any_bytes_are_a_message(message: bytes) -> None:
    for prefix in (b"", b"warning: ", b"auth_zimbra: ", b"do_auth         : auth failure: [user="):
        assert isinstance(parse_smtpd(prefix + message), SmtpLine)
        assert isinstance(parse_saslauthd(prefix + message), SmtpLine)


def test_hostile_messages_of_64_kib_take_no_longer_than_their_length() -> None:
    started = time.process_time()
    for filler in (b"[", b"]", b"[1", b"[1]: SASL ", b"] [service=", b" auth failed: ", b"a", b":", b"'", b"[user="):
        junk = filler * (65000 // len(filler))
        for prefix in (b"", b"warning: ", b"auth_zimbra: ", ENDED[:40], b"authentication against url '", b"url '"):
            parse_smtpd(prefix + junk)
            parse_saslauthd(prefix + junk)
    assert time.process_time() - started < 10
