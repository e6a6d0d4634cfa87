"""SNMP: our notifications, the types they are made of, and the parts that put messages on the wire.

``stack`` is the only package that imports pysnmp, and the others import ``stack`` only when they
first need it: a daemon without SNMP does not pay for it.
"""
