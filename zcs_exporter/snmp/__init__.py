"""SNMP: our notifications, the MIB that names them, and the sender and listener that put them on the wire.

``engine`` is the only module that imports pysnmp, and the others import ``engine`` only when they
first need it: a daemon without an SNMP target does not pay for it.
"""
