"""What the daemon says of its own alarms."""

from zcs_exporter.alerting.alarm import Alarm
from zcs_exporter.alerting.model import Severity
from zcs_exporter.selfmetrics import alarm_samples


def test_an_alarm_that_stands_is_shown_with_the_time_of_its_raise() -> None:
    alarm = Alarm("ZcsFilesystemFull", (("mountpoint", "/opt/zimbra"),), severity=Severity.WARNING, since=1709413199.0)

    shown = {
        sample.metric.name: (dict(zip(sample.metric.labels, sample.labels, strict=True)), sample.value)
        for sample in alarm_samples([alarm])
    }

    labels = {"mountpoint": "/opt/zimbra", "alert": "ZcsFilesystemFull", "severity": "warning"}
    assert shown == {
        "zcs_alert_active": (labels, 1.0),
        "zcs_alert_since_timestamp_seconds": (labels, 1709413199.0),
    }
