"""Values as JSON can hold them, for every output that is JSON."""

import math
from collections.abc import Set as AbstractSet
from typing import Any

from zcs_exporter.contract import Evidence, EvidenceKind


def plain_number(value: float | None) -> float | str | None:
    """Return a number that JSON has; ``+Inf`` or ``-Inf`` in words, None for what is unknown."""
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return value


def plain_evidence(evidence: Evidence, visible: AbstractSet[EvidenceKind]) -> dict[str, Any]:
    """Return ``evidence``, the names that may be seen, and ``evidence_hidden``, how many may not."""
    shown = [item for item in evidence if item.kind in visible]
    return {
        "evidence": [{"kind": item.kind, "value": item.value, "count": plain_number(item.count)} for item in shown],
        "evidence_hidden": len(evidence) - len(shown),
    }
