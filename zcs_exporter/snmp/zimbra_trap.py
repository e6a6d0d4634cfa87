"""The one trap that ZCS itself sends, ``zmServiceStatusTrap``, exactly as it comes from there.

ZCS runs ``snmptrap ... ZIMBRA-TRAP-MIB::zmServiceStatusTrap ZIMBRA-MIB::zmServiceName s mta
ZIMBRA-MIB::zmServiceStatus i 0``: two objects below enterprise 666, both without an instance part.
"""

from zcs_exporter.snmp.smi import ENTERPRISES, Oid, Syntax, VarBind, wire_text

SERVICE_STATUS_TRAP: Oid = (*ENTERPRISES, 666, 0, 0)
_SERVICE_NAME: Oid = (*ENTERPRISES, 666, 1, 0)
_SERVICE_STATUS: Oid = (*ENTERPRISES, 666, 1, 1)
_LONGEST_NAME = 32


def service_status(name: str, *, running: bool) -> tuple[VarBind, VarBind]:
    """Return the variables of the trap that tells of a service that was started or stopped."""
    return (
        VarBind(_SERVICE_NAME, Syntax.TEXT, wire_text(name, _LONGEST_NAME).encode("ascii")),
        VarBind(_SERVICE_STATUS, Syntax.RUN_STATE, int(running)),
    )
