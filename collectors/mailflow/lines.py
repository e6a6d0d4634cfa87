"""The lines of Postfix, amavis, opendkim and cbpolicyd that tell of mail, taken apart and classified.

Names, addresses and answers of other servers are text that strangers chose. Fields that Postfix writes
itself are looked for where such text cannot stand: before it, or anchored at the end of the line. A quoted
local part is passed over as a whole, so that what it imitates is not believed. Only Postfix before 3.5,
which logs addresses unquoted, leaves one doubt: who mails to ``x@y>, relay=...`` can misstate that delivery.
"""

import re
from typing import NamedTuple, cast

_SHORTEST, _LONGEST = 6, 20
_ID = rb"[0-9A-Za-z]{6,20}"
# ann@example.com, "a>, b"@example.com
_QUOTED = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_ADDRESS = rb"(?:" + _QUOTED + rb"[^>]*+|(?!" + _QUOTED + rb")[^>]*+)"

# 3F2A81C0E5D: client=host.example.net[198.51.100.7]
# 3F2A81C0E5D: client=unknown[198.51.100.7]:51022, sasl_method=PLAIN, sasl_username=ann@example.com
# 7B1C21C0E60: client=localhost[127.0.0.1], orig_queue_id=3F2A81C0E5D, orig_client=host.example.net[198.51.100.7]
_ARRIVAL = re.compile(
    rb"(" + _ID + rb"): client=([^][ ]*+\[([^][ ]++)\])(?::\d{1,5}+)?(?:, (?:sasl_method=(.*)|(.*)))?", re.DOTALL
)
_USERNAME = b", sasl_username="
_AFTER_USERNAME = (b", sasl_sender=", b", orig_queue_id=", b", orig_client=")
_REINJECTED = b"orig_queue_id="
_FORMER_CLIENT = b"orig_client="
_MAX_NAME = 256

# 3F2A81C0E5D: uid=1000 from=<ann>
# 7B1C21C0E60: uid=998 from=<ann@example.com> orig_id=3F2A81C0E5D
_PICKED_UP = re.compile(rb"(" + _ID + rb"): (?:uid|sender)=(?:.*> orig_id=(" + _ID + rb")$)?", re.DOTALL)

# 3F2A81C0E5D: from=<x@example.net>, size=17168, nrcpt=1 (queue active)
_QUEUED = re.compile(
    rb"(" + _ID + rb"): from=<([^>]*+|.*)>, size=(\d{1,18}+), nrcpt=(\d{1,18}+) \(queue active\)", re.DOTALL
)
# 3F2A81C0E5D: from=<x@example.net>, status=expired, returned to sender
_EXPIRED = re.compile(
    rb"(" + _ID + rb"): from=<(.*)>, status=(?:force-)?expired, (?:returned to sender|discarded)", re.DOTALL
)

# 7B1C21C0E60: to=<ann@example.com>, relay=mail.example.com[10.0.0.10]:7025, delay=0.21, delays=0.01/0/0.05/0.15,
#   dsn=2.1.5, status=sent (250 2.1.5 Delivery OK)
_DELIVERY = re.compile(
    rb"(" + _ID + rb"): to=<(" + _ADDRESS + rb")>, (?:orig_to=<" + _ADDRESS + rb">, )?relay=([^,]{1,300}), "
    rb"(?:conn_use=\d{1,9}, )?delay=([\d.]{1,20}), (?:delays=([\d.]{1,20}/[\d.]{1,20}/[\d.]{1,20}/[\d.]{1,20}), )?"
    rb"(?:dsn=([\d.]{1,20}), )?status=([A-Za-z-]{1,20}) \((.*)",
    re.DOTALL,
)
# 250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 7B1C21C0E60
_QUEUED_AS = b"queued as "

# NOQUEUE: reject: RCPT from unknown[203.0.113.5]: 554 5.7.1 <z@x>: Relay access denied; from=<y@example.org> to=<z@x>
# 3F2A81C0E5D: milter-reject: END-OF-MESSAGE from unknown[203.0.113.5]: 5.7.1 No; from=<y@example.org> to=<z@x>
# NOQUEUE: reject: CONNECT from [203.0.113.5]:51022: too many connections
# 3F2A81C0E5D: hold: header Subject: x from unknown[203.0.113.5]; from=<y@example.org> to=<z@x> proto=ESMTP helo=<h>
_ACTION = re.compile(rb"(NOQUEUE|" + _ID + rb"): (milter-|proxy-)?(reject|hold|discard): ")
_CONTENT = (b"header ", b"body ", b"mime-header ", b"nested-header ")
_FROM = re.compile(rb"[A-Z-]{1,20} from ([^\s\[\]]{0,255}\[[^\]\s]{1,64}\])(?::\d{1,5})?: ")
# 554 5.7.1 <z@x>: Relay access denied; from=<y@example.org>
_REPLY = re.compile(rb"(?:\d{3} )?(?:\d\.\d{1,3}\.\d{1,3} )?(?:<" + _ADDRESS + rb">: )?")

# (15345-18) Passed CLEAN {RelayedInbound}, [198.51.100.7]:51022 [198.51.100.7] <x@example.net> -> <ann@...>, ...
# (15346-02) Blocked INFECTED (Eicar-Test-Signature) {DiscardedInbound,Quarantined}, [203.0.113.5]:40022 ...
_VERDICT = re.compile(rb"\([^)\s]{1,40}+\) (Passed|Blocked) ([A-Z]++(?:-[A-Z]++)*)(?=[ ,(-])")
# ... Queue-ID: 3F2A81C0E5D, Message-ID: <a1@example.net>, mail_id: T9J, Hits: -1.909, size: 17168,
#   queued_as: 7B1C21C0E60, dkim_sd=s1:example.com, 938 ms
_QUEUE_ID = b", Queue-ID: "
_AMAVIS_TAIL = re.compile(
    rb", size: \d++(?:, pt: \d++)?(?:, queued_as: ([0-9A-Za-z/]{6,200}+))?(, dkim_sd=[^, ]++(?:,[^, ]++)*)?"
    rb"(?:, dkim_new=[^, ]++(?:,[^, ]++)*)?, \d++ ms$"
)
# {DiscardedInbound,Quarantined}, or before 2.8: quarantine: q/virus-q1,
_QUARANTINED = re.compile(rb" \{[A-Za-z,]*Quarantined[A-Za-z,]*\}, |, quarantine: [^ ,]+, ")
_VERDICTS = {
    b"CLEAN": "clean",
    b"SPAM": "spam",
    b"SPAMMY": "spammy",
    b"INFECTED": "infected",
    b"BANNED": "banned",
    b"UNCHECKED": "unchecked",
    b"UNCHECKED-ENCRYPTED": "unchecked",
    b"BAD-HEADER": "bad_header",
    b"MTA-BLOCKED": "mta_blocked",
    b"OVERSIZED": "oversized",
    b"TEMPFAIL": "tempfail",
}

# 7B1C21C0E60: DKIM-Signature field added (s=s1, d=example.com)
_DKIM = re.compile(
    _ID + rb": (?:(DKIM-Signature field added )|(DKIM verification successful)|(?:s=\S* d=\S* )?(?:(bad signature data)"
    rb"|(no signature data)|(key retrieval failed)))"
)
_DKIM_RESULTS = ("signed", "verified", "failed", "unsigned", "key_error")

# module=Quotas, mode=update, host=198.51.100.7, helo=h, from=x@example.net, to=ann@example.com, reason=quota_update
_POLICY = re.compile(rb"module=\w{1,40}, (?:action|mode)=(\w{1,20})(?:,|$)")
_POLICY_ACTIONS = {
    **{word.encode(): word for word in ("pass", "none", "defer", "reject", "hold", "discard", "redirect", "filter")},
    **dict.fromkeys((b"update", b"create"), "track"),
}

_BEGINS = re.compile(_ID + rb": (?:client=|to=<|from=<.*, nrcpt=)", re.DOTALL)

_new = tuple.__new__  # makes a named tuple at half the cost

TROUBLE = (b"warning: ", b"fatal: ", b"panic: ", b"error: ")
"""How complaints of a Postfix program begin."""
# warning: Connection rate limit exceeded: 31 from unknown[203.0.113.5] for service smtp
_LIMIT = re.compile(rb"warning: [A-Z][A-Za-z ]{3,50} limit exceeded: \d+ from ")


# Plain tuples, since there are more of these lines than of any others.

Arrival = tuple[bytes, bytes, bytes, bytes, bool]
"""A message that a client begins to hand over: queue id, host, address, account, reinjected.

The host is the client's name and address as Postfix shows them, and where that is a filter, those of the filter's
client; the address is that of the client that speaks to Postfix; the account is the login, empty without one;
reinjected means that Postfix says that it had this message before.
"""

Queued = tuple[bytes, bytes, int, int]
"""A message that enters the active queue, for the first time or again: queue id, sender, size, recipients."""

Delivery = tuple[bytes, bytes, bytes, bytes, bytes | None, bytes | None, bytes, bytes]
"""What came of one attempt for one recipient: queue id, recipient, relay, delay, delays, dsn, status, text.

``delays`` is four numbers with slashes between, and None before Postfix 2.3, as is ``dsn``; the text is what
stands in parentheses, the last included.
"""


class Action(NamedTuple):
    """A command or message that Postfix rejected, held or discarded.

    Attributes:
        kind: ``reject``, ``hold`` or ``discard``.
        cause: One of ``metrics.CAUSES``.
        host: The client; empty where the line does not say.
        text: From the command on.
    """

    queue_id: bytes
    kind: bytes
    cause: str
    host: bytes
    text: bytes


class Verdict(NamedTuple):
    """What amavis made of a message.

    Attributes:
        verdict: One of ``metrics.VERDICTS``.
        queue_id: Of the message it got; empty where it does not say.
        queued_as: Of the messages it handed back.
    """

    verdict: str
    blocked: bool
    quarantined: bool
    queue_id: bytes
    queued_as: tuple[bytes, ...]
    dkim_valid: bool


def parse_arrival(message: bytes) -> Arrival | None:
    """Return what smtpd says of a client's message."""
    match = _ARRIVAL.fullmatch(message)
    if match is None:
        return None
    queue_id, host, address, login, rest = match.groups()
    if login is not None:
        account = login.partition(_USERNAME)[2]
        for end in _AFTER_USERNAME:
            account = account.partition(end)[0]
        return queue_id, host, address, account[:_MAX_NAME], False
    if rest is None:
        return queue_id, host, address, b"", False
    former = rest.partition(_FORMER_CLIENT)[2]
    return queue_id, former if former.endswith(b"]") else host, address, b"", rest.startswith(_REINJECTED)


def parse_pickup(message: bytes) -> tuple[bytes, bytes] | None:
    """Return the queue id of a message that a local program handed over, and the one it had before it was requeued."""
    match = _PICKED_UP.match(message)
    return None if match is None else (match[1], match[2] or b"")


def parse_queued(message: bytes) -> Queued | None:
    """Return what qmgr says of a message that it takes on."""
    match = _QUEUED.fullmatch(message)
    if match is None:
        return None
    queue_id, sender, size, recipients = match.groups()
    return queue_id, sender, int(size), int(recipients)


def parse_expired(message: bytes) -> bytes | None:
    """Return the sender of a message that qmgr gave up."""
    match = _EXPIRED.fullmatch(message)
    return None if match is None else match[2]


def parse_delivery(message: bytes) -> Delivery | None:
    """Return what a delivery agent says of a recipient."""
    match = _DELIVERY.match(message)
    return None if match is None else cast("Delivery", match.groups())


def parse_queued_as(text: bytes) -> bytes | None:
    """Return the queue id under which the text of a delivery says that a message came back."""
    _, found, queue_id = text.rpartition(_QUEUED_AS)
    queue_id = queue_id.rstrip(b")")
    return queue_id if found and queue_id.isalnum() and _SHORTEST <= len(queue_id) <= _LONGEST else None


def parse_action(message: bytes, *, postscreen: bool = False) -> Action | None:
    """Return what smtpd, cleanup or postscreen refused or set aside."""
    match = _ACTION.match(message)
    if match is None:
        return None
    queue_id, origin, kind = match.groups()
    text = message[match.end() :]
    client = _FROM.match(text)
    if client is None:
        return Action(queue_id, kind, "content" if text.startswith(_CONTENT) else "other", b"", text)
    if origin == b"milter-":
        cause = "milter"
    else:
        reply = text[client.end() :]
        cause = postscreen_cause(reply) if postscreen else reject_cause(reply)
    return Action(queue_id, kind, cause, client[1], text)


def parse_verdict(message: bytes) -> Verdict | None:
    """Return what amavis says of a message."""
    match = _VERDICT.match(message)
    if match is None:
        return None
    action, word = match.groups()
    queue_id = message[match.end() :].partition(_QUEUE_ID)[2].partition(b", ")[0]
    if not queue_id.isalnum() or not _SHORTEST <= len(queue_id) <= _LONGEST:
        queue_id = b""
    # The tail follows all that strangers wrote.
    place = message.rfind(b", size: ")
    tail = _AMAVIS_TAIL.match(message, place) if place >= 0 else None
    queued_as, dkim = (None, None) if tail is None else tail.groups()
    quarantined = b"uarantine" in message and _QUARANTINED.search(message, match.end()) is not None
    passed_on = () if queued_as is None else tuple(queued_as.split(b"/"))
    blocked = action == b"Blocked"
    return _new(Verdict, (_VERDICTS.get(word, "other"), blocked, quarantined, queue_id, passed_on, dkim is not None))


def parse_dkim(message: bytes) -> str | None:
    """Return which of ``metrics.DKIM_RESULTS`` a line of opendkim tells."""
    match = _DKIM.match(message)
    return None if match is None or match.lastindex is None else _DKIM_RESULTS[match.lastindex - 1]


def parse_policy(message: bytes) -> str | None:
    """Return which of ``metrics.POLICY_ACTIONS`` a line of cbpolicyd tells."""
    match = _POLICY.match(message)
    return None if match is None else _POLICY_ACTIONS.get(match[1], "other")


def is_malformed(message: bytes) -> bool:
    """Whether a line begins as one that tells of a message, and yet none of the others understands it."""
    return _BEGINS.match(message) is not None


def is_limit_exceeded(message: bytes) -> bool:
    """Whether a warning says that a client was refused for making too many connections or requests."""
    return _LIMIT.match(message) is not None


_CAUSES = {
    b"Relay access denied": "relay",
    b"Helo command rejected: ": "helo",
    b"Client host rejected: ": "client",
    b"Message size exceeds ": "size",
    b"Insufficient system storage": "resources",
    b"Server configuration ": "resources",
    b"Data command rejected: ": "protocol",
    b"Improper use of SMTP command pipelining": "protocol",
    b"Protocol error": "protocol",
    b"Must issue a STARTTLS command first": "tls",
    b"Session encryption is required": "tls",
    b"Authentication required": "sasl",
    b"Error: authentication": "sasl",
    b"Error: too m": "rate",
    b"too many ": "rate",
    b"Client certificate ": "tls",
}
_STARTS = re.compile(b"|".join(map(re.escape, _CAUSES)))
_SENDER = b"Sender address rejected: "
# 550 5.1.1 <no@example.com>: Recipient address rejected: example.com
# ZCS's own look-ups name the domain alone; what no user means the code tells.
_NO_SUCH_USER = re.compile(rb"\d{3} [45]\.1\.1 ")
_RECIPIENT = b"Recipient address rejected: "
_END_OF_DATA = b"End-of-data rejected: "
_LOGIN = (b"not logged in", b"not owned by user ")
_UNKNOWN = (b"User unknown", b"undeliverable address", b"unverified address", b"Domain not found", b"Malformed DNS")
_GREY = re.compile(rb"gr[ae]y-?list|please come back later|try again later, mail is deferred", re.IGNORECASE)
_POLICYD = re.compile(rb"polic(?:y|ies)|quota|throttl|rate limit", re.IGNORECASE)


def reject_cause(reply: bytes) -> str:
    """Return which of ``metrics.CAUSES`` a reply of smtpd tells, its code in front."""
    text = _reply_text(reply)
    if text.startswith(b"Service unavailable; "):
        return "rbl" if b" blocked using " in text else "other"
    start = _STARTS.match(text)
    if start is not None:
        return _CAUSES[start[0]]
    if text.startswith(_SENDER):
        return _address_cause(text[len(_SENDER) :], "sender_unknown")
    if text.startswith(_RECIPIENT):
        if _NO_SUCH_USER.match(reply):
            return "unknown_user"
        return _address_cause(text[len(_RECIPIENT) :], "unknown_user")
    if text.startswith(_END_OF_DATA):
        return _address_cause(text[len(_END_OF_DATA) :], "access")
    return "other"


def _reply_text(reply: bytes) -> bytes:
    """Return a reply without its codes and without what it is about, which the client chose."""
    match = _REPLY.match(reply)
    return reply if match is None else reply[match.end() :]


def _address_cause(why: bytes, unknown: str) -> str:
    if why.startswith(_UNKNOWN):
        return unknown
    if why.startswith(_LOGIN):
        return "sasl"
    if why.startswith(b"need fully-qualified address"):
        return "protocol" if unknown == "unknown_user" else unknown
    if why.startswith(b"Server configuration "):
        return "resources"
    # What a rule or a policy service says in its own words, up to the envelope.
    words = why.partition(b"; from=<")[0][:300]
    if _GREY.search(words):
        return "greylist"
    return "policyd" if _POLICYD.search(words) else "access"


def postscreen_cause(reply: bytes) -> str:
    """Return the same for a reply of postscreen."""
    text = _reply_text(reply)
    if text.startswith(b"Service unavailable; ") and b" blocked using " in text:
        return "rbl"
    if text.startswith((b"too many connections", b"all screening ports busy", b"all server ports busy")):
        return "rate"
    return "postscreen"


_SUSPENDED = b"delivery temporarily suspended: "
# connect to 127.0.0.1[127.0.0.1]:10024: Connection refused
_CONNECT = re.compile(rb"connect to [^\s\[\]]{0,255}\[[^\]\s]{1,128}\](?::(\d{1,5}))?: ([^()]{1,60})")
# lost connection with 127.0.0.1[127.0.0.1] while receiving the initial server greeting
# conversation with 127.0.0.1[127.0.0.1] timed out while sending message body
_NO_WORD = re.compile(rb"(?:lost connection|conversation) with [^\s\[\]]{0,255}\[(?:127\.0\.0\.1|::1)\] ")
_FILTER_PORT = b"10024"
# host mx.example.net[198.51.100.25] said: 450 4.2.0 <z@example.net>: Recipient address rejected: Greylisted ...
_SAID = re.compile(rb"host [^\s\[\]]{0,255}\[[^\]\s]{1,64}\](?::\d{1,5})? (?:said|refused to talk to me): ")
_FULL = re.compile(
    rb"over ?-?quota|quota ?exceeded|mailbox (?:is )?full|exceeded (?:storage|mailbox)|out of storage", re.I
)
_RATE = re.compile(rb"rate[ -]?limit|too many|throttl|too fast|exceeded the (?:maximum|limit)|unusual rate", re.I)
_NO_USER = re.compile(rb"no such user|user unknown|unknown user|no such account|does not exist", re.I)
_FULL_DSN = (b"4.2.2", b"5.2.2")
_NO_USER_DSN = (b"5.1.1", b"4.1.1", b"5.1.10")


def unreached_port(text: bytes) -> bytes:
    """Return the port that a delivery did not reach; empty where its text does not tell.

    Once Postfix gives up on a destination it says what happened without the port; on this host only the
    content filter is spoken to over loopback.
    """
    text = text.removeprefix(_SUSPENDED)
    match = _CONNECT.match(text)
    if match is not None:
        return match[1] or b""
    return _FILTER_PORT if _NO_WORD.match(text) else b""


def is_answer(text: bytes) -> bool:
    """Whether a server told why it does not take a message, rather than that it was not reached."""
    return _SAID.match(text.removeprefix(_SUSPENDED)) is not None


def deferral_reason(text: bytes, dsn: bytes) -> str:
    """Return which of ``metrics.DEFERRALS`` the text of a deferral tells, the content filter left aside."""
    text = text[:600].removeprefix(_SUSPENDED)
    connect = _CONNECT.match(text)
    if connect is not None:
        why = connect[2]
        if why.startswith(b"Connection refused"):
            return "connection_refused"
        return "connection_timeout" if b"timed out" in why else "network"
    if (said := _SAID.match(text)) is not None:
        words = text[said.end() :]
        if _GREY.search(words):
            return "greylisted"
        if dsn in _FULL_DSN or _FULL.search(words):
            return "mailbox_full"
        return "rate_limited" if _RATE.search(words) else "remote"
    if text.startswith(b"conversation with "):
        return "connection_timeout"
    if text.startswith(b"lost connection with "):
        return "connection_lost"
    if text.startswith((b"Host or domain name not found", b"Host found but no data record", b"unable to look up host")):
        return "dns"
    if text.startswith((b"TLS is required", b"Cannot start TLS", b"Server certificate ", b"TLSA ", b"non DNSSEC ")):
        return "tls"
    if text.startswith((b"mail transport unavailable", b"unknown mail transport error", b"temporary failure")):
        return "local"
    if text.startswith((b"Insufficient disk space", b"queue file write error", b"lookup error", b"address resolver")):
        return "local"
    return "other"


def lmtp_result(status: bytes, dsn: bytes, text: bytes) -> str:
    """Return which of ``metrics.LMTP_RESULTS`` an attempt over LMTP came to."""
    if status == b"sent":
        return "delivered"
    words = text[:600]
    if dsn in _FULL_DSN or _FULL.search(words):
        return "over_quota"
    if dsn in _NO_USER_DSN or _NO_USER.search(words):
        return "unknown_user"
    return "temporary" if status == b"deferred" else "other"
