"""Grafana dashboards: ``model`` is what they are made of, and each has a module that is named for its question."""
