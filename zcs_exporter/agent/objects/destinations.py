"""Receivers of notifications."""

from zcs_exporter.agent.objects.model import Column, Group, Index, Table
from zcs_exporter.notify.target import TargetStatus
from zcs_exporter.snmp.smi import Syntax

_DESTINATIONS: Table[TargetStatus] = Table(
    "zcsDestination",
    "The receivers of notifications.",
    "One receiver.",
    lambda f: f.targets,
    Index(
        "zcsDestinationIndex",
        Syntax.UNSIGNED,
        "Its number, which its name keeps for ever.",
        lambda key: key.name,
        numbered=True,
    ),
    (
        Column(
            "zcsDestinationName", 2, Syntax.TEXT, "Its name in the configuration.", lambda _, key: key.name, limit=32
        ),
        Column(
            "zcsDestinationUp",
            3,
            Syntax.TRUTH,
            "Whether the last attempt got through. One that sends traps cannot know more than that it left.",
            lambda _, key: key.up,
        ),
        Column(
            "zcsDestinationQueued",
            4,
            Syntax.GAUGE,
            "Notifications that it has not got yet.",
            lambda _, key: key.waiting,
            "notifications",
        ),
        Column(
            "zcsDestinationOldest",
            5,
            Syntax.GAUGE,
            "Age of the oldest of them; 0 when none waits.",
            lambda _, key: key.oldest,
            "seconds",
        ),
        Column(
            "zcsDestinationSequence",
            6,
            Syntax.UNSIGNED,
            "zcsNotifySequence of the last notification sent to it; who knows a smaller one has missed some.",
            lambda _, key: key.sequence,
        ),
        Column(
            "zcsDestinationDelivered",
            7,
            Syntax.COUNTER,
            "Notifications acknowledged since start, or sent, for traps.",
            lambda _, key: key.delivered,
            "notifications",
        ),
        Column(
            "zcsDestinationRetries",
            8,
            Syntax.COUNTER,
            "Attempts since start that got no answer.",
            lambda _, key: key.retried,
            "attempts",
        ),
        Column(
            "zcsDestinationRefused",
            9,
            Syntax.COUNTER,
            "Attempts since start that were refused, as for a wrong user or key.",
            lambda _, key: key.refused,
            "attempts",
        ),
        Column(
            "zcsDestinationDropped",
            10,
            Syntax.COUNTER,
            "Notifications given up since start.",
            lambda _, key: key.dropped,
            "notifications",
        ),
        Column(
            "zcsDestinationSuppressed",
            11,
            Syntax.COUNTER,
            "Notifications folded into others since start.",
            lambda _, key: key.suppressed,
            "notifications",
        ),
    ),
)

DESTINATIONS = Group("zcsDestinations", 10, table=_DESTINATIONS)
