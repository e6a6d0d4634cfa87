"""Who may see which names in evidence."""

from zcs_exporter.config import PrivacyConfig
from zcs_exporter.contract import EvidenceKind


def visible_kinds(privacy: PrivacyConfig, *, encrypted: bool) -> frozenset[EvidenceKind]:
    """Return the kinds of evidence that may leave by a way; a logged-in peer on this host counts as encrypted.

    A domain counts as an account.
    """
    allowed = ("always", "encrypted") if encrypted else ("always",)
    kinds = {EvidenceKind.TEXT}
    if privacy.accounts in allowed:
        kinds |= {EvidenceKind.ACCOUNT, EvidenceKind.DOMAIN}
    if privacy.addresses in allowed:
        kinds.add(EvidenceKind.ADDRESS)
    return frozenset(kinds)
