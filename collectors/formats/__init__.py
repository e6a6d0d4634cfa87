"""Formats of files on the host, each parsed without knowing who asks."""
