"""Texts of mail programs: what is the same for one reason stays, what differs from client to client goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcs_exporter.mailreport.reason import MAX_REASON, mask_client_text, mask_rejection, mask_server_text

MASKS = (mask_server_text, mask_client_text, mask_rejection)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (
            b"host mx1.example.net[192.0.2.1] said: 450 4.2.0 <ann@example.net>: Greylisted (in reply to RCPT TO)",
            b"host mx?.example.net[?] said: 450 4.2.0 <?>: Greylisted (in reply to RCPT TO)",
        ),
        (b"host mx.example.net[2001:db8::7] said: 550-5.7.1 No", b"host mx.example.net[?] said: 550-5.7.1 No"),
        (b"connect to 127.0.0.1[127.0.0.1]:10024: Connection refused", b"connect to ?[?]:?: Connection refused"),
        (
            b"Host or domain name not found. Name service error for name=exmaple.net type=MX: Host not found",
            b"Host or domain name not found. Name service error for name=? type=MX: Host not found",
        ),
        (b"(queued as 3F2A81C0E5D by ann@example.com)", b"(queued as ? by ?)"),
    ],
)
def test_of_a_server_its_name_and_codes_stay(text: bytes, masked: bytes) -> None:
    assert mask_server_text(text) == masked


@pytest.mark.parametrize(
    ("texts", "masked"),
    [
        (
            [
                b"NOQUEUE: reject: RCPT from unknown[203.0.113.5]: 554 5.7.1 <z@x>: Relay access denied; from=<> to",
                b"RCPT from h-5.example.net[203.0.113.5]:51022: 554 5.7.1 <a@b>: Relay access denied; from=<> to=<x>",
                b"554 5.7.1 <a@b>: Relay access denied",
            ],
            b"554 5.7.1 <?>: Relay access denied",
        ),
        (
            [
                b"header Subject: cheap pill from unknown[203.0.113.5]; from=<y> to=<x> proto=ESMTP helo=<h>: 5.7.1 No",
                b"header Subject: <b>: more from h[203.0.113.9]; from=<y@z> to=<x> proto=ESMTP helo=<g>: 5.7.1 No",
            ],
            b"header Subject: ? 5.7.1 No",
        ),
        (
            [
                b"RCPT from h[203.0.113.5]: 554 5.7.1 Client host [203.0.113.5] blocked using zen.example; from=<a@b>",
                b"RCPT from g[203.0.113.77]: 554 5.7.1 Client host [203.0.113.77] blocked using zen.example; from=<>",
            ],
            b"554 5.7.1 Client host [?] blocked using zen.example",
        ),
    ],
)
def test_a_rejection_is_the_same_whoever_it_was_told(texts: list[bytes], masked: bytes) -> None:
    assert {mask_rejection(text) for text in texts} == {masked}


@pytest.mark.parametrize(
    ("texts", "masked"),
    [
        (
            [
                b"warning: hostname dyn-5.example.net does not resolve to address 203.0.113.5",
                b"warning: hostname mail.example.org does not resolve to address 192.0.2.77",
            ],
            b"warning: hostname ? does not resolve to address ?",
        ),
        (
            [
                b"unknown[203.0.113.5]: SASL LOGIN authentication failed: UGFzc3dvcmQ6",
                b"dyn-7.example.net[203.0.113.7]: SASL LOGIN authentication failed: VXNlcm5hbWU6",
            ],
            b"?[?]: SASL LOGIN authentication failed: ?",
        ),
    ],
)
def test_a_warning_does_not_name_the_client(texts: list[bytes], masked: bytes) -> None:
    assert {mask_client_text(text) for text in texts} == {masked}


@given(st.binary(max_size=512))
def test_whatever_a_text_holds_its_mask_is_one_short_line(text: bytes) -> None:
    for mask in MASKS:
        masked = mask(text)
        assert len(masked) <= MAX_REASON
        assert b"\n" not in masked
        assert b"\r" not in masked


@given(
    st.lists(
        st.sampled_from([b"<", b">", b"[", b"]", b'"', b"@", b"=", b".", b"a", b"7", b" ", b"-", b": ", b"4.7."]),
        max_size=200,
    )
)
def test_no_address_gets_through(parts: list[bytes]) -> None:
    text = b"".join(parts)[:300] + b" ann@example.com <bob@example.com> 203.0.113.5"
    for mask in MASKS:
        assert b"ann" not in mask(text)
        assert b"203.0" not in mask(text)
