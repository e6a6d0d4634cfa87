"""Alerts: their one description, the daemon's evaluation, and what is rendered from them."""
