"""Logins that failed and succeeded, and who is behind the failures."""
