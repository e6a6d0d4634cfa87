"""Mail queues."""

from zcs_exporter.agent.objects.model import Column, Group, Index, Table
from zcs_exporter.agent.objects.readers import KIBI, of_metric, scaled, severity_column, severity_of
from zcs_exporter.alerting.model import Family
from zcs_exporter.snmp.smi import Syntax

_QUEUE_NUMBERS = {"incoming": 1, "active": 2, "deferred": 3, "hold": 4, "corrupt": 5, "maildrop": 6}
_QUEUE_OF_METRIC = {
    "zcs_postfix_held_messages": "hold",
    "zcs_postfix_corrupt_messages": "corrupt",
    "zcs_postfix_deferred_messages": "deferred",
    "zcs_postfix_deferred_new_messages": "deferred",
    "zcs_postfix_deferred_expiry_seconds": "deferred",
}

_QUEUES: Table[str] = Table(
    "zcsQueue",
    "The mail queues of Postfix.",
    "One queue.",
    lambda f: [name for name in f.names("zcs_postfix_queue_messages", "queue") if name in _QUEUE_NUMBERS],
    Index("zcsQueueNumber", Syntax.QUEUE, "Which queue.", _QUEUE_NUMBERS.__getitem__),
    (
        Column(
            "zcsQueueMessages",
            2,
            Syntax.GAUGE,
            "Messages in it.",
            of_metric("zcs_postfix_queue_messages", "queue"),
            "messages",
        ),
        Column(
            "zcsQueueOldest",
            3,
            Syntax.GAUGE,
            "Age of the message that arrived first; an empty queue has none.",
            of_metric("zcs_postfix_queue_oldest_age_seconds", "queue"),
            "seconds",
        ),
        Column(
            "zcsQueueSize",
            4,
            Syntax.GAUGE,
            "Sum of the sizes of the messages.",
            scaled(of_metric("zcs_postfix_queue_bytes", "queue"), 1 / KIBI),
            "kibibytes",
        ),
        severity_column("zcsQueueSeverity", 5, severity_of(Family.QUEUE, "queue", _QUEUE_OF_METRIC)),
    ),
)

QUEUES = Group("zcsQueues", 4, table=_QUEUES)
