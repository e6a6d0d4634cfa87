"""The plugin for Nagios and its kin: what the daemon knows, as one line, an exit status and performance data."""
