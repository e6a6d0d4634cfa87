"""The database server."""
