"""zcs-exporter: monitoring for one Zimbra Collaboration Server host."""

__version__ = "0.1.0"
