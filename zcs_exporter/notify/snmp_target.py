"""A target that is reached over SNMP."""

from collections.abc import Mapping

from zcs_exporter.alerting.alarm import Change
from zcs_exporter.alerting.model import Family
from zcs_exporter.contract import Evidence, EvidenceKind
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.notify.target import SendError, Setback
from zcs_exporter.snmp.destination import DeliveryError, Fault
from zcs_exporter.snmp.notification import EVENT, HEARTBEAT, STARTED, STOPPING, TEST, Notification, text_with_evidence
from zcs_exporter.snmp.sender import SnmpSender

_SETBACKS: Mapping[Fault, Setback] = {
    Fault.TIMEOUT: Setback.RETRY,
    Fault.UNREACHABLE: Setback.RETRY,
    Fault.REFUSED: Setback.REFUSED,
    Fault.UNSENDABLE: Setback.SET_ASIDE,
}
_SINGLES: Mapping[MessageKind, str] = {
    MessageKind.EVENT: EVENT,
    MessageKind.HEARTBEAT: HEARTBEAT,
    MessageKind.STARTED: STARTED,
    MessageKind.STOPPING: STOPPING,
    MessageKind.TEST: TEST,
}


class SnmpTarget:
    """One SNMP manager."""

    def __init__(self, name: str, sender: SnmpSender, visible: frozenset[EvidenceKind]) -> None:
        """Name the target; ``visible`` is the evidence that may leave by this way."""
        self.name = name
        self._sender = sender
        self._visible = visible

    async def send(self, message: Message, sequence: int) -> None:
        """Send it as a notification of our MIB.

        Raises:
            SendError: It was not sent, or an inform not acknowledged.
        """
        evidence = tuple(item for item in message.evidence if item.kind in self._visible)
        try:
            await self._sender.send(notification(message, evidence), sequence)
        except DeliveryError as exc:
            raise SendError(_SETBACKS[exc.fault], str(exc)) from exc

    def close(self) -> None:
        """Close the socket."""
        self._sender.close()


def notification(message: Message, evidence: Evidence) -> Notification:
    """Return a message in the terms of our MIB, with the evidence that its receiver may see."""
    return Notification(
        type_name=notification_type(message),
        event_id=message.event_id,
        host=message.host,
        rule=message.name,
        rule_id=message.number,
        object=message.object,
        severity=int(message.severity),
        text=text_with_evidence(message.text, evidence),
        value=message.value,
        threshold=message.threshold,
        time=message.at,
        alarm_id=message.alarm_id,
        count=message.count,
    )


def notification_type(message: Message) -> str:
    """Return the name of a message's notification: its family's pair, or a single."""
    if message.kind is not MessageKind.ALARM:
        return _SINGLES[message.kind]
    family = "Alarm" if message.family is Family.GENERAL else message.family.value.capitalize()
    return f"zcs{family}{'Cleared' if message.change is Change.CLEARED else 'Raised'}"
