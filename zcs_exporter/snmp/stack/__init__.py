"""The only package that imports pysnmp, and the ways round its pitfalls.

Each destination has an engine of its own, since an engine with several targets sends to all of
them. An engine's identity is ours, since pysnmp would keep its boots in a predictable folder of the
temporary directory. A datagram is looked at before it is decoded, since decoding a hostile one can
hold the loop for half a second, and what decoding raises is counted and goes no further. Requests
are answered by an application of our own: pysnmp's would serve the engine's own users and
communities, and knows no limit of octets.

Imported only where SNMP is configured, since pysnmp takes 30 MB that other daemons keep.
"""
