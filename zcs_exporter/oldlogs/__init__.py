"""Logs of the past: the commands that read old files once, plain or compressed, and keep nothing."""
