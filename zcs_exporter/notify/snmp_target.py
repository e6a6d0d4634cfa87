"""A target that is reached over SNMP."""

from collections.abc import Callable, Mapping

from zcs_exporter.alerting.alarm import Change
from zcs_exporter.alerting.model import Family
from zcs_exporter.contract import Evidence, EvidenceKind
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.notify.target import SendError, Setback
from zcs_exporter.snmp.destination import DeliveryError, Fault
from zcs_exporter.snmp.notification import (
    EVENT,
    HEARTBEAT,
    STARTED,
    STOPPING,
    SUPPRESSED,
    TEST,
    Notification,
    text_with_evidence,
)
from zcs_exporter.snmp.sender import SnmpSender
from zcs_exporter.snmp.zimbra_trap import SERVICE_STATUS_TRAP, service_status

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
    MessageKind.SUPPRESSED: SUPPRESSED,
    MessageKind.TEST: TEST,
}


_SERVICE_CHANGES: Mapping[str, bool] = {"ZcsServiceStarted": True, "ZcsServiceStopped": False}
"""The events that ZCS sends a trap for, each with whether the service runs now."""


class SnmpTarget:
    """One SNMP manager."""

    def __init__(
        self,
        name: str,
        sender: SnmpSender,
        visible: frozenset[EvidenceKind],
        host_up_time: Callable[[], float] | None = None,
    ) -> None:
        """Name the target.

        Args:
            name: As in the configuration file.
            sender: Reaches it.
            visible: The evidence that may leave by this way.
            host_up_time: Seconds since the host was started, for a target that also wants ZCS's own trap; else None.
        """
        self.name = name
        self._sender = sender
        self._visible = visible
        self._host_up_time = host_up_time

    async def send(self, message: Message, sequence: int) -> None:
        """Send it as a notification of our MIB, and then maybe as the trap of ZCS's own.

        Raises:
            SendError: It was not sent, or an inform not acknowledged.
        """
        evidence = tuple(item for item in message.evidence if item.kind in self._visible)
        try:
            await self._sender.send(notification(message, evidence), sequence)
            if self._host_up_time is not None and message.name in _SERVICE_CHANGES:
                variables = service_status(message.object, running=_SERVICE_CHANGES[message.name])
                await self._sender.send_foreign(SERVICE_STATUS_TRAP, variables, int(self._host_up_time() * 100))
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
