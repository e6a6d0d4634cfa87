"""Counts equal those of a slow reference that reads line by line, over hostile text and wherever blocks end."""

import re
from collections import Counter
from pathlib import Path

from fakes import FakeHost, ManualClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mail_world import START, MailDaemon, stamped

STORE = "mail.example.com[10.0.0.10]:7025"
FILTER = "127.0.0.1[127.0.0.1]:10024"

TO = re.compile(
    r'([0-9A-Z]+): to=<(?:"(?:[^"\\]|\\.)*"[^>]*|[^">][^>]*|)>, relay=([^,]+), '
    r"delay=[\d.]+, delays=[\d./]+, dsn=[\d.]+, "
    r"status=([a-z]+) \((.*)",
    re.DOTALL,
)


def reference(lines: list[bytes]) -> tuple[Counter[str], Counter[str], int]:
    """Count line by line, with no memory but the sizes of messages: events, verdicts, bytes delivered."""
    events: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    begun: set[str] = set()
    size: dict[str, int] = {}
    null: dict[str, bool] = {}
    delivered = 0
    for line in lines:
        found = re.fullmatch(
            r"\w{3} [ \d]\d \d\d:\d\d:\d\d mail ([^\s\[]+)\[\d+\]: (.*)", line.decode("latin-1"), re.DOTALL
        )
        if found is None:
            continue
        program, text = found.groups()
        last = program.split("/")[-1]
        if program == "postfix/submission/smtpd" and (
            arrival := re.match(r"([0-9A-Z]+): client=\S+\[[^\]]+\](,|$)", text)
        ):
            begun.add(arrival[1])
            size.pop(arrival[1], None)
            null.pop(arrival[1], None)
        elif last in ("smtpd", "cleanup") and (
            action := re.match(r"(?:NOQUEUE|[0-9A-Z]{6,}): (?:milter-)?(\w+): ", text)
        ):
            name = {"reject": "rejected", "hold": "held", "discard": "discarded"}.get(action[1])
            events[name or "none"] += name is not None
        elif last == "qmgr":
            queued = re.fullmatch(r"([0-9A-Z]+): from=<(.*)>, size=(\d+), nrcpt=\d+ \(queue active\)", text, re.DOTALL)
            if queued is not None:
                events["received"] += queued[1] in begun
                begun.discard(queued[1])
                size[queued[1]] = int(queued[3])
                null[queued[1]] = not queued[2]
            elif re.fullmatch(r"[0-9A-Z]+: from=<.*>, status=expired, returned to sender", text, re.DOTALL):
                events["expired"] += 1
                events["double_bounce"] += ": from=<>, " in text
            elif text.endswith(": removed"):
                for table in (size, null):
                    table.pop(text[:-9], None)
                begun.discard(text[:-9])
        elif last in ("smtp", "lmtp") and (outcome := TO.match(text)):
            queue_id, relay, status, answer = outcome.groups()
            hop = relay.endswith(":10024")
            if status == "sent":
                name = (
                    "delivered" if not hop else "discarded" if answer.startswith("250 2.7.0 Ok, discarded") else "none"
                )
            else:
                name = {"deferred": "deferred", "bounced": "bounced"}.get(status, "none")
            events[name] += 1
            delivered += size.get(queue_id, 0) if name == "delivered" else 0
            events["double_bounce"] += name == "bounced" and null.get(queue_id, False)
        elif program == "amavis" and (
            verdict := re.match(r"\(\S+\) (?:Passed|Blocked) (CLEAN|SPAM|INFECTED)[ ,]", text)
        ):
            verdicts[verdict[1].lower()] += 1
    del events["none"]
    return +events, +verdicts, delivered


IDS = st.sampled_from(["AAAAAAAAAA1", "AAAAAAAAAA2", "B0B0B0B0B01"])
HOSTILE = st.sampled_from(
    [
        *("x@example.net", "", '"a>, relay=127.0.0.1[127.0.0.1]:10024, delay=0"@example.net', '"q\\"q"@example.net'),
        *(
            "\x1b[31mred\x1b[0m@example.net",
            "nul\x00@example.net",
            "\xff\xfe@example.net",
            "a" * 70_000 + "@example.net",
        ),
        *("$(reboot)@example.net", "a@example.net, size=5, nrcpt=7", "NOQUEUE: reject: RCPT", "‮@example.net"),
    ]
)
ANSWERS = st.sampled_from(
    [
        *(
            "250 2.0.0 Ok: queued as ABCDEF",
            "connect to mx[203.0.113.1]:25: Connection refused",
            "250 2.7.0 Ok, discarded",
        ),
        *("host mx[203.0.113.1] said: 550 no (in reply)", "x, status=sent (250", "forwarded", "\x00" * 9, ")" * 70_000),
    ]
)


def arrival(queue_id: str, rest: str) -> tuple[str, str]:
    return "submission/smtpd", f"{queue_id}: client=mx[198.51.100.1]{rest}"


def queued(queue_id: str, sender: str, size: int) -> tuple[str, str]:
    return "qmgr", f"{queue_id}: from=<{sender}>, size={size}, nrcpt=1 (queue active)"


def expired(queue_id: str, sender: str) -> tuple[str, str]:
    return "qmgr", f"{queue_id}: from=<{sender}>, status=expired, returned to sender"


def attempt(queue_id: str, to: str, relay: str, status: str, answer: str, agent: str) -> tuple[str, str]:
    fields = "delay=1.5, delays=1/0/0.2/0.3, dsn=2.0.0"
    return agent, f"{queue_id}: to=<{to}>, relay={relay}, {fields}, status={status} ({answer})"


def refusal(kind: str, helo: str, to: str, program: str) -> tuple[str, str]:
    envelope = f"from=<{helo}> to=<{to}> helo=<{helo}>"
    return program, f"NOQUEUE: {kind}: RCPT from mx[198.51.100.1]: 554 5.7.1 <{to}>: No; {envelope}"


def verdict(word: str, sender: str) -> tuple[str, str]:
    return "amavis", f"(1-2) Passed {word} {{X}}, <{sender}> -> <{sender}>, mail_id: x, size: 5, 9 ms"


STATUS = st.sampled_from(["sent", "deferred", "bounced", "deliverable"])
RESTS = st.sampled_from(["", ", sasl_method=PLAIN, sasl_username=ann@example.com", "]", ", x"])
KINDS = st.sampled_from(["reject", "hold", "discard", "milter-reject", "reject_warning"])
LINES = st.one_of(
    st.builds(arrival, IDS, RESTS),
    st.builds(queued, IDS, HOSTILE, st.integers(0, 9999)),
    st.builds(expired, IDS, HOSTILE),
    st.builds(lambda queue_id: ("qmgr", f"{queue_id}: removed"), IDS),
    st.builds(
        attempt,
        IDS,
        HOSTILE,
        st.sampled_from([FILTER, STORE, "none"]),
        STATUS,
        ANSWERS,
        st.sampled_from(["smtp", "lmtp"]),
    ),
    st.builds(refusal, KINDS, HOSTILE, HOSTILE, st.sampled_from(["smtpd", "cleanup"])),
    st.builds(verdict, st.sampled_from(["CLEAN", "SPAM", "INFECTED"]), HOSTILE),
    st.tuples(st.sampled_from(["smtpd", "qmgr", "smtp", "evil"]), HOSTILE),
)


@given(
    drawn=st.lists(LINES, max_size=30),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    restarts=st.lists(st.integers(0, 40), max_size=3),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_equal_a_slow_reference_over_hostile_lines(
    drawn: list[tuple[str, str]], cuts: list[int], restarts: list[int], tmp_path: Path
) -> None:
    lines = []
    for program, text in drawn:
        message = text.encode("utf-8", "surrogateescape").replace(b"\n", b"?")[:65_500]
        lines.append(stamped(START, program if program in ("amavis", "evil") else f"postfix/{program}", message))
    daemon = MailDaemon(FakeHost(tmp_path), ManualClock(START + 1000))
    daemon.feed_cut(lines, cuts, restarts)
    events, verdicts, delivered = reference(lines)

    assert daemon.events() == events
    assert daemon.labelled("zcs_mail_content_verdicts_total") == verdicts
    assert daemon.value("zcs_mail_bytes_total", "out") == delivered
    for sample in daemon.samples():
        assert all(item.value.isprintable() and len(item.value) <= 128 for item in sample.evidence)
    daemon.commit()
    assert all(len(row) < 3000 for key, row in daemon.rows.items() if not key.startswith("day:"))
