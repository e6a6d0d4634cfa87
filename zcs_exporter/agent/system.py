"""The system group of SNMPv2-MIB, which managers ask for first; served on our own port only, else it is snmpd's."""

from collections.abc import Callable

from zcs_exporter import __version__
from zcs_exporter.agent.view import MibView
from zcs_exporter.snmp.smi import Oid, Syntax, VarBind, wire_text

SYSTEM: Oid = (1, 3, 6, 1, 2, 1, 1)

PRODUCT = 3
"""Sub-identifier of the root that ``sysObjectID`` names: what this is."""

_UP_TIME: Oid = (*SYSTEM, 3, 0)

_SERVICES = 72
"""Layers 4 and 7: a host that offers applications (RFC 3418)."""


class OwnPort:
    """One moment as seen on our own port: the system group, and behind it the objects of a view."""

    def __init__(
        self, view: MibView, root: Oid, up_time: Callable[[], int], host: str, contact: str, location: str
    ) -> None:
        """Put the system group before ``view``; ``up_time`` is asked each time, in hundredths of a second."""
        self._view = view
        self._up_time = up_time

        def text(number: int, words: str) -> VarBind:
            return VarBind((*SYSTEM, number, 0), Syntax.TEXT, wire_text(words, 255).encode("ascii"))

        self._system = (
            text(1, f"zcs-exporter {__version__} on {host}"),
            VarBind((*SYSTEM, 2, 0), Syntax.IDENTIFIER, (*root, PRODUCT)),
            VarBind(_UP_TIME, Syntax.TICKS, 0),
            text(4, contact),
            text(5, host),
            text(6, location),
            VarBind((*SYSTEM, 7, 0), Syntax.INTEGER, _SERVICES),
        )

    def get(self, oid: Oid) -> VarBind | None:
        """Return one instance; None where there is none."""
        if oid[: len(SYSTEM)] == SYSTEM:
            return next((self._current(each) for each in self._system if each.oid == oid), None)
        return self._view.get(oid)

    def after(self, oid: Oid) -> VarBind | None:
        """Return the first instance after an identifier; None behind the last."""
        if oid < self._system[-1].oid:
            return next(self._current(each) for each in self._system if each.oid > oid)
        return self._view.after(oid)

    def has_object(self, oid: Oid) -> bool:
        """Whether an identifier is that of an object or below it, so that only the instance is missing."""
        if oid[: len(SYSTEM)] == SYSTEM:
            return any(oid[: len(each.oid) - 1] == each.oid[:-1] for each in self._system)
        return self._view.has_object(oid)

    def _current(self, variable: VarBind) -> VarBind:
        return VarBind(_UP_TIME, Syntax.TICKS, self._up_time()) if variable.oid == _UP_TIME else variable
