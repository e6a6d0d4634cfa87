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


def plain_release(version: str, patch: str) -> str:
    """Return a release of ZCS as people call it, such as ``9.0.0 P39``; from 10 on the patch is part of its number.

    Args:
        version: Such as ``9.0.0``; empty where it is unknown.
        patch: As ZCS names it, such as ``9.0.0_P39``, ``10.0.0_P8`` or ``10.1.4``; empty where there is none.
    """
    core, _, number = patch.rpartition("_P")
    if core == version and number:
        return f"{version} P{number}"
    return version if not patch or core or patch.count(".") == 2 else f"{version} {patch}".strip()
