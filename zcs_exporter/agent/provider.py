"""The latest snapshot as the objects of the MIB: made when somebody asks, once for all who do."""

from collections.abc import Callable
from dataclasses import replace

from zcs_exporter.agent.facts import Facts
from zcs_exporter.agent.numbers import Numbers
from zcs_exporter.agent.view import MibView, number_rows
from zcs_exporter.contract import Sample
from zcs_exporter.snapshot import Snapshot
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Oid


class ViewProvider:
    """Keeps the view of the latest snapshot for the agent's own port and for AgentX."""

    def __init__(self, latest: Callable[[], Snapshot], facts: Callable[[Snapshot], Facts], numbers: Numbers) -> None:
        """Take ways to look at what is known; nothing is made yet.

        Args:
            latest: Returns the latest snapshot.
            facts: Adds to a snapshot what else the objects are read from.
            numbers: Of the rows.
        """
        self._root = DEFAULT_ROOT
        self._latest = latest
        self._facts = facts
        self._numbers = numbers
        self._made: tuple[Oid, Snapshot, MibView] | None = None
        self._numbered: dict[str, tuple[Sample, ...]] = {}

    def use(self, root: Oid) -> None:
        """Hang the objects below this root from now on."""
        self._root = root

    def foresee(self, snapshot: Snapshot) -> None:
        """Number the rows that a snapshot will have, before it is saved and published."""
        samples = {name: reading.samples for name, reading in snapshot.readings.items()}
        news = {
            name: reading
            for name, reading in snapshot.readings.items()
            if self._numbered.get(name) is not samples[name]
        }
        number_rows(self._facts(replace(snapshot, readings=news, own=())), self._numbers)
        self._numbered = samples

    def view(self) -> MibView:
        """Return the view of the latest snapshot."""
        snapshot = self._latest()
        if self._made is None or self._made[0] != self._root or self._made[1] is not snapshot:
            self._made = (self._root, snapshot, MibView(self._root, self._facts(snapshot), self._numbers))
        return self._made[2]
