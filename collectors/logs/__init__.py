"""Faults that logs tell of: ZCS's own, the kernel's and those of the daemons beside it."""
