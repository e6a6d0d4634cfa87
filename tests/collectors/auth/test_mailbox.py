import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.auth.mailbox import parse_mailbox_login

HEAD = b"2024-03-02 10:20:33,901 INFO  "
SOAP = (
    HEAD + b"[qtp1:https://mail.example.com:443/service/soap/AuthRequest] [oip=203.0.113.9;ua=zclient/10.0.8;] "
    b"SoapEngine - handler exception: authentication failed for [nobody@example.com], account not found"
)
IMAP = HEAD + b"[ImapSSLServer-7] [ip=10.0.0.5;] account - authentication failed for nobody (no such account)"
KEPT_OUT = HEAD + b"[qtp1-5] [] misc - Access from IP 2001:db8::7 suspended, for repeated failed login."


def test_names_that_no_account_has_are_told_by_two_components() -> None:
    soap, imap = parse_mailbox_login(SOAP), parse_mailbox_login(IMAP)
    assert soap is not None
    assert imap is not None
    assert (soap.name, soap.protocol, soap.port) == ("nobody@example.com", "soap", 0)
    assert (imap.name, imap.protocol, imap.context) == ("nobody", "imap", b"ip=10.0.0.5;")
    asked = parse_mailbox_login(SOAP.replace(b":443/service/soap/AuthRequest", b":7073/service/admin/soap/"))
    assert asked is not None
    assert (asked.protocol, asked.port) == ("admin", 7073)


def test_an_address_that_is_kept_out_is_told() -> None:
    told = parse_mailbox_login(KEPT_OUT)
    assert told is not None
    assert (told.name, told.address) == (None, "2001:db8::7")


@pytest.mark.parametrize(
    "line",
    [
        SOAP.replace(b"SoapEngine -", b"soap -"),
        SOAP.replace(b"handler exception", b"x handler exception"),
        SOAP.replace(b"; ua", b"").replace(b"] SoapEngine", b"x] SoapEngine").replace(b";x]", b";;]"),
        IMAP.replace(b"ImapSSLServer-7", b"qtp1-5:https://mail.example.com/service/soap/"),
        KEPT_OUT.replace(b"misc", b"soap"),
        KEPT_OUT + b" x",
        # A name that imitates the end, and what came of it in truth.
        SOAP.replace(b"], account not found", b"], account not found], invalid password"),
        b"3" + SOAP[1:],
        b" " + SOAP,
    ],
)
def test_other_lines_tell_nothing(line: bytes) -> None:
    assert parse_mailbox_login(line) is None


@given(
    st.lists(st.sampled_from([SOAP, IMAP, KEPT_OUT, b";", b"] ", b"[", b" - "]) | st.binary(max_size=9)).map(b"".join)
)
@settings(max_examples=3000, deadline=None)
def test_any_bytes_tell_something_or_nothing(line: bytes) -> None:
    parse_mailbox_login(line.replace(b"\n", b" "))
