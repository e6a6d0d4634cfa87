"""Every metric that the daemon publishes about itself."""

from zcs_exporter.alerting.policy import THRESHOLD
from zcs_exporter.events.event_log import EVENT_METRICS
from zcs_exporter.follow import FOLLOW_METRICS
from zcs_exporter.notify.dispatcher import DISPATCH_METRICS
from zcs_exporter.selfmetrics import OWN_METRICS as _ENGINE_METRICS

OWN_METRICS = (*_ENGINE_METRICS, *FOLLOW_METRICS, *DISPATCH_METRICS, *EVENT_METRICS, THRESHOLD)
