"""The structured events about logins."""

from collections.abc import Mapping

from collectors.auth.client import Client
from zcs_exporter.contract import Grade

MOST = {"login_failed": 40}
"""Records that are told one by one in a round, by kind."""

MOST_OTHERS = 12
"""The same for all other kinds."""

_LONGEST = 256  # characters of a value; it is cut further when it is told
_CONTEXT = (b"cid", b"soapId")


def context_fields(context: Mapping[bytes, bytes], client: Client | None = None) -> dict[str, str]:
    """Return the fields of a record that a line's context gives."""
    fields = {key.decode(): _text(context[key]) for key in _CONTEXT if key in context}
    if b"oip" in context:
        fields["oip"] = _text(context[b"oip"])
    if client is not None:
        fields["address"] = client.address
        fields["claimed"] = ", ".join(client.claimed)
    return fields


def _text(value: bytes) -> str:
    return value[:_LONGEST].decode("utf-8", "replace")


GRADES = {
    "login_failed": Grade.INFO,
    "account_locked": Grade.WARNING,
    "address_suspended": Grade.WARNING,
    "admin_login": Grade.INFO,
    "account_changed": Grade.INFO,
    "config_changed": Grade.WARNING,
    "recovery_code": Grade.WARNING,
}
"""Every kind of record that a single line causes, and how much it matters."""

KINDS = (*GRADES, "attack", "login_after_attack")
"""Every kind of record."""
