"""The structured events about logins: one by one while they are few, counted when they are many."""

from collections import Counter
from collections.abc import Mapping

from collectors.auth.client import Client
from zcs_exporter.contract import Grade, Record

_MOST = {"login_failed": 40}
_MOST_OTHERS = 12
_LONGEST = 256  # characters of a value; it is cut further when it is told
_CONTEXT = (b"cid", b"soapId")


class AuthRecords:
    """What waits to be told."""

    def __init__(self) -> None:
        self._waiting: list[Record] = []
        self._kinds: Counter[str] = Counter()
        self._left_out: dict[str, Record] = {}

    def room(self, kind: str) -> bool:
        """Whether one more of a kind is told by itself."""
        return self._kinds[kind] < _MOST.get(kind, _MOST_OTHERS)

    def add(self, record: Record) -> None:
        """Tell ``record``, or only count it when there are too many of its kind."""
        if self.room(record.kind):
            self._waiting.append(record)
        self._kinds[record.kind] += 1
        self._left_out[record.kind] = record

    def count(self, kind: str, times: int) -> None:
        """Count records that were not made since there is no room for them; one of them was added."""
        self._kinds[kind] += times

    def take(self) -> list[Record]:
        """Return what waits, and one record for all others of a kind."""
        found, self._waiting = self._waiting, []
        for kind, last in self._left_out.items():
            more = self._kinds[kind] - _MOST.get(kind, _MOST_OTHERS)
            if more > 0:
                fields = {"count": str(more), "text": "more of them than are told one by one"}
                found.append(Record(kind, last.at, last.grade, fields, last.log))
        self._kinds.clear()
        self._left_out.clear()
        return found


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
