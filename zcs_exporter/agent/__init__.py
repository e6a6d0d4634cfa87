"""What an SNMP manager can ask: the objects of the MIB, read from the latest snapshot."""
