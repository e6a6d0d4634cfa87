"""Certificates."""

from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.objects.model import Column, Group, Index, Read, Table
from zcs_exporter.agent.objects.readers import severity_column
from zcs_exporter.alerting.model import Family
from zcs_exporter.snmp.smi import Syntax

Certificate = tuple[str, str]
"""Name and path."""


def _certificates(facts: Facts) -> list[Certificate]:
    series = facts.series("zcs_certificate_not_after_timestamp_seconds")
    return [(labels["name"], labels["path"]) for labels, _ in series]


def _not_after(facts: Facts, key: Certificate) -> float | None:
    return facts.value("zcs_certificate_not_after_timestamp_seconds", name=key[0], path=key[1])


def _days_left(facts: Facts, key: Certificate) -> Read:
    end = _not_after(facts, key)
    return None if end is None else (end - facts.snapshot.at) // 86400


def _certificate_severity(facts: Facts, key: Certificate) -> Read:
    return facts.severity(
        lambda rule, labels: rule.family is Family.CERTIFICATE and labels.get("path", labels.get("name")) in key
    )


_CERTIFICATES: Table[Certificate] = Table(
    "zcsCertificate",
    "The certificates of this host; empty while nothing watches them.",
    "One certificate.",
    _certificates,
    Index(
        "zcsCertificateIndex",
        Syntax.UNSIGNED,
        "Its number, which it keeps for ever.",
        lambda key: " ".join(key),
        numbered=True,
    ),
    (
        Column("zcsCertificateName", 2, Syntax.TEXT, "What it is used for.", lambda _, key: key[0]),
        Column("zcsCertificatePath", 3, Syntax.TEXT, "The file that it is in.", lambda _, key: key[1]),
        Column("zcsCertificateNotAfter", 4, Syntax.TIME, "When it expires.", _not_after),
        Column(
            "zcsCertificateDaysLeft",
            5,
            Syntax.INTEGER,
            "Whole days until it expires; below 0 once it has.",
            _days_left,
            "days",
        ),
        severity_column("zcsCertificateSeverity", 6, _certificate_severity),
    ),
)

CERTIFICATES = Group("zcsCertificates", 8, table=_CERTIFICATES)
