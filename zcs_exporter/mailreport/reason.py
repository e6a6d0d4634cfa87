"""Reasons and warnings of mail programs with everything cut out that differs from one message to the next.

What is left is the same for the same reason, so that it can be counted. What a client or another server
wrote may stand in it: it is data, shown only after ``one_line``.
"""

import re
from functools import lru_cache

MAX_REASON = 160
"""Longest masked text, in bytes."""

MAX_RAW = 512
"""Bytes of a text that are looked at; callers cut the rest off."""

_REMEMBERED = 512

# <ann@example.com>, "a word", [192.0.2.1]
_ENCLOSED = re.compile(rb'<[^<>]*>|"[^"]*"|\[[^][]*\]')
_EMPTIED = {ord("<"): b"<?>", ord('"'): b'"?"', ord("["): b"[?]"}
_TELLING = b"0123456789@?="
# 550, 550-5.7.1, 5.7.1: what an administrator looks for stays
_CODE = re.compile(rb"(?:[245]\d\d-?)?(?:[245]\.\d{1,3}\.\d{1,3})?[:;,.]?")
# ann@example.com, 3F2A81C0E5D, 10.0.0.1, 25
_VARYING = re.compile(
    rb"(?<![^<>()=,;:])[^<>()=,;:]+@[^<>()=,;:]+|\b(?=[A-Za-z]{0,99}\d)[0-9A-Za-z]{8,}\b|\d+(?:\.\d+)*"
)
# host-203-0-113-5.example.net[?]
_CLIENT_NAME = re.compile(rb"(?<![^<>()[\]=,;:])[^<>()[\]=,;:]+(?=\[\?\])")
# hostname host-5.example.net does not resolve to address 203.0.113.5
_HOSTNAME = re.compile(rb"(?<=hostname )\S+")
# NOQUEUE: reject: RCPT from unknown[203.0.113.5]: 554 5.7.1 <z@x>: Relay access denied; from=<y@example.org> to=<z@x>
_REJECT_HEAD = re.compile(rb"^(?:[0-9A-Za-z]+: )?(?:(?:milter-)?reject: )?[A-Z-]+ from \S{1,300}?\[[^][]*\](?::\d+)?: ")
# header Subject: cheap pills from unknown[203.0.113.5]; from=<y@example.org> to=<z@x> proto=ESMTP helo=<h>: 5.7.1 No
_CONTENT = re.compile(rb"(?:mime-|nested-)?header [!-9;-~]{1,60}:|body|END-OF-MESSAGE")


def mask_server_text(text: bytes) -> bytes:
    """Return why a server we sent to deferred or refused, with its name and codes but no recipient, id or number."""
    return _mask(text, client=False)


def mask_client_text(text: bytes) -> bytes:
    """Return a warning without the names, addresses and numbers of the clients it is about.

    The name that a client has or gives itself is as good as random.
    """
    return _mask(_HOSTNAME.sub(b"?", text) if b"hostname " in text else text, client=True)


def mask_rejection(text: bytes) -> bytes:
    """Return why a client was rejected: the reply without who it was for, whether the line was given or the reply."""
    content = _CONTENT.match(text)
    if content is not None:
        # What the message said is nobody's business; what it was told stands at the end.
        return _mask(content[0] + b" ? " + text.rpartition(b">: ")[2], client=True)
    text = _REJECT_HEAD.sub(b"", text, count=1)
    return mask_client_text(text.partition(b"; from=<")[0])


def _mask(text: bytes, *, client: bool) -> bytes:
    # Most texts are the same from here on.
    return _mask_words(_ENCLOSED.sub(lambda found: _EMPTIED[found[0][0]], text), client)


@lru_cache(_REMEMBERED)
def _mask_words(text: bytes, client: bool) -> bytes:
    words = text.split()
    for place, word in enumerate(words):
        # Most words are plain, and a regular expression over them all is ten times as dear.
        if len(word.translate(None, _TELLING)) == len(word) or _CODE.fullmatch(word):
            continue
        if word.startswith(b"name="):  # the domain that was looked up
            words[place] = b"name=?"
            continue
        if client:
            word = _CLIENT_NAME.sub(b"?", word)
        words[place] = _VARYING.sub(b"?", word)
    return b" ".join(words)[:MAX_REASON]
