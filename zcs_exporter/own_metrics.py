"""Every metric that the daemon publishes about itself."""

from zcs_exporter.agent.agentx import AGENTX_UP
from zcs_exporter.agent.gate import REQUESTS
from zcs_exporter.alerting.policy import THRESHOLD
from zcs_exporter.events.event_log import EVENT_METRICS
from zcs_exporter.follow import FOLLOW_METRICS
from zcs_exporter.notify.target_queue import DISPATCH_METRICS
from zcs_exporter.selfmetrics import OWN_METRICS as _ENGINE_METRICS

OWN_METRICS = (*_ENGINE_METRICS, *FOLLOW_METRICS, *DISPATCH_METRICS, *EVENT_METRICS, REQUESTS, AGENTX_UP, THRESHOLD)
