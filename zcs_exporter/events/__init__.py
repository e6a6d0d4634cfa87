"""Structured events: what happened, one JSON object each, to a file, the journal and streams over HTTP."""
