"""All groups."""

from zcs_exporter.agent.objects.agent import AGENT
from zcs_exporter.agent.objects.alarms import ALARMS
from zcs_exporter.agent.objects.certificates import CERTIFICATES
from zcs_exporter.agent.objects.databases import DATABASES
from zcs_exporter.agent.objects.destinations import DESTINATIONS
from zcs_exporter.agent.objects.filesystems import FILESYSTEMS
from zcs_exporter.agent.objects.jvms import JVMS
from zcs_exporter.agent.objects.logins import LOGINS
from zcs_exporter.agent.objects.model import Group
from zcs_exporter.agent.objects.probes import PROBES
from zcs_exporter.agent.objects.queues import QUEUES
from zcs_exporter.agent.objects.services import SERVICES

GROUPS: tuple[Group, ...] = (
    AGENT,
    SERVICES,
    FILESYSTEMS,
    QUEUES,
    DATABASES,
    JVMS,
    LOGINS,
    CERTIFICATES,
    ALARMS,
    DESTINATIONS,
    PROBES,
)
"""Below ``root.1``, by their numbers; number 11 has the variables of notifications."""
