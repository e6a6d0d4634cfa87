"""The sign of life, and what it says about which alarms stand: by it a receiver finds what it has missed."""

import random
from collections.abc import Callable, Mapping, Sequence

from zcs_exporter.alerting.alarm import Alarm
from zcs_exporter.contract import EvidenceItem, EvidenceKind
from zcs_exporter.notify.message import Message, MessageKind

LAST = 0xFFFFFFFF
"""Above every alarm's id, as 0 is below."""

MOST_OCTETS = 128
"""Room for the numbers of alarms: what an object's name may take."""

MOST_TEXTS = 10


def heartbeat(at: float, event_id: str, host: str, alarms: Sequence[tuple[Alarm, str]], hidden: int | None) -> Message:
    """Return the heartbeat of a time.

    Args:
        at: That time, in seconds since the epoch.
        event_id: Its id.
        host: The host's name in messages.
        alarms: Those that stand, each with its text.
        hidden: What was true at the very first start and may yet become alarms that are not told one by one; None
            while nobody knows what stands.
    """
    first = [text for alarm, text in alarms if alarm.baseline]
    text = f"zcs-exporter runs, {len(alarms)} alarm{'' if len(alarms) == 1 else 's'} active"
    if first:
        text += f", {len(first)} of them since before its first start"
    return Message(
        MessageKind.HEARTBEAT,
        event_id,
        host,
        "",
        at,
        text,
        object="" if hidden is None else standing({alarm.alarm_id: not alarm.baseline for alarm, _ in alarms}),
        count=len(alarms) + (hidden or 0),
        # No raise has told of these, and there may be none for a day.
        evidence=tuple(EvidenceItem(EvidenceKind.TEXT, each) for each in first[:MOST_TEXTS]),
    )


def standing(raised: Mapping[int, bool], choose: Callable[[int], int] = random.randrange) -> str:
    """Return numbers between the first and last of which no alarm stands but those that are named.

    The ends are 0 and ``LAST``. Where not all fit, it is a part that ``choose`` chooses, so that in time all are told.

    Args:
        raised: The alarms that stand by number, each with whether its raise was told; such a one has a plus.
        choose: Returns a number below its argument.
    """
    words = ["0", *(f"+{number}" if raised[number] else str(number) for number in sorted(raised)), str(LAST)]
    text = " ".join(words)
    if len(text) <= MOST_OCTETS:
        return text
    begin = choose(len(words) - 1)
    text = words[begin]
    for word in words[begin + 1 :]:
        if len(text) + 1 + len(word) > MOST_OCTETS:
            break
        text += f" {word}"
    return text
