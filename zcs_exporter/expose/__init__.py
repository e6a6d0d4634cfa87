"""Outputs that others ask for: they render the latest snapshot and start nothing."""
