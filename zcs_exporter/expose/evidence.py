"""The names behind a number, as text on the page."""

from collections.abc import Set as AbstractSet

from zcs_exporter.contract import Evidence, EvidenceKind
from zcs_exporter.expose.markup import Markup, element, join


def evidence_line(evidence: Evidence, visible: AbstractSet[EvidenceKind], nothing: str = "") -> Markup:
    """Return evidence on one line; of what may not be seen only how much it is."""
    shown = [item for item in evidence if item.kind in visible]
    parts = [item.value if item.count is None else f"{item.value} ({item.count:g})" for item in shown]
    hidden = len(evidence) - len(shown)
    if hidden:
        parts.append(f"{hidden} hidden by the privacy settings")
    return element("span", ", ".join(parts), class_="evidence") if parts else join(nothing)
