"""What managers are given to understand us: the MIB and their own configuration, all from one description."""
