"""The services of ZCS."""

from zcs_exporter.agent.objects.model import Column, Group, Index, Table
from zcs_exporter.agent.objects.readers import of_metric, severity_column, severity_of
from zcs_exporter.alerting.model import Family
from zcs_exporter.snmp.smi import Syntax

_SERVICES: Table[str] = Table(
    "zcsService",
    "The services of ZCS that are enabled on this host.",
    "One service.",
    lambda f: f.names("zcs_service_up", "name"),
    Index("zcsServiceName", Syntax.TEXT, "Its name, as zmcontrol has it.", str),
    (
        Column(
            "zcsServiceState",
            2,
            Syntax.RUN_STATE,
            "Whether every process that it consists of runs.",
            of_metric("zcs_service_up", "name"),
        ),
        severity_column("zcsServiceSeverity", 3, severity_of(Family.SERVICE, "name")),
        Column(
            "zcsServiceStarted",
            4,
            Syntax.TIME,
            "When its main process was started.",
            of_metric("zcs_service_start_time_seconds", "name"),
        ),
        Column(
            "zcsServiceRestarts",
            5,
            Syntax.COUNTER,
            "Times that its main process was seen to have been started anew.",
            of_metric("zcs_service_restarts_total", "name"),
            "restarts",
        ),
        Column(
            "zcsServiceRestartsLastDay",
            6,
            Syntax.GAUGE,
            "Those of the last 24 hours that belong to no maintenance and no reboot.",
            of_metric("zcs_service_restarts_last_day", "name"),
            "restarts",
        ),
    ),
)

SERVICES = Group("zcsServices", 2, table=_SERVICES)
