"""The only package that imports pysnmp, and the ways round its pitfalls.

Each destination has an engine of its own, since an engine with several targets sends to all of
them. An engine's identity is ours, since pysnmp would keep its boots in a predictable folder of the
temporary directory. A datagram is looked at before it is decoded, since decoding a hostile one can
hold the loop for half a second, and what decoding raises is counted and goes no further. Requests
are answered by an application of our own: pysnmp's would serve the engine's own users and
communities, and knows no limit of octets.

Imported only where SNMP is configured, since pysnmp takes 17 MB, with cryptography, that other daemons keep.
"""

from zcs_exporter.without import without

# It compiles MIBs, which nobody here asks for, and would take 10 MB more where somebody installed it.
with without("pysmi"):
    import pysnmp.smi.compiler  # type: ignore[import-untyped]  # noqa: F401 - the one place that looks for it
