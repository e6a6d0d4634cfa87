"""What users feel."""

from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.objects.model import Column, Group, Index, Read, Table
from zcs_exporter.agent.objects.readers import of_metric, severity_column
from zcs_exporter.snmp.smi import Syntax


def _probe_time(facts: Facts, probe: str) -> Read:
    total = facts.total("zcs_probe_duration_seconds", probe=probe)
    return None if total is None else 1000 * total


_PROBES: Table[str] = Table(
    "zcsProbe",
    "What users feel: logins, deliveries and pages that are tried from time to time; empty while none is.",
    "One probe.",
    lambda f: f.names("zcs_probe_success", "probe"),
    Index("zcsProbeName", Syntax.TEXT, "What is tried.", str),
    (
        Column(
            "zcsProbeSuccess",
            2,
            Syntax.TRUTH,
            "Whether the last try went well.",
            of_metric("zcs_probe_success", "probe"),
        ),
        Column("zcsProbeDuration", 3, Syntax.GAUGE, "Time that the last try took.", _probe_time, "milliseconds"),
        Column(
            "zcsProbeCertificateNotAfter",
            4,
            Syntax.TIME,
            "When the certificate that was served expires.",
            of_metric("zcs_probe_certificate_not_after_timestamp_seconds", "probe"),
        ),
        severity_column(
            "zcsProbeSeverity",
            5,
            lambda f, probe: f.severity(lambda _, labels: labels.get("probe") == probe),
        ),
    ),
)

PROBES = Group("zcsProbes", 12, table=_PROBES)
