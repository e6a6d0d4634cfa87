"""What logs complain of, and how the daemon itself fares."""

from zcs_exporter.dashboards.kinds import Graph
from zcs_exporter.dashboards.panels.common import rates
from zcs_exporter.dashboards.terms import Query, Unit, series


def complaints() -> Graph:
    """Return what the logs complain of."""
    rate = f"sum by (log, level) (rate({series('zcs_log_events_total')}[$__rate_interval]))"
    return Graph(
        title="What logs complain of",
        description="Lines at level warn, error or fatal.",
        width=8,
        queries=(Query(expr=rate, legend="{{log}}: {{level}}"),),
        unit=Unit.PER_SECOND,
    )


def rounds() -> Graph:
    """Return how long collectors' rounds take."""
    return Graph(
        title="What a round takes",
        description="Time of each collector's last round.",
        width=8,
        queries=(Query(expr=series("zcs_exporter_collector_duration_seconds"), legend="{{collector}}"),),
        unit=Unit.SECONDS,
        log=True,
        fill=0,
    )


def lines() -> Graph:
    """Return how much is read of each log."""
    return rates("Lines read", "Lines read from each log.", "zcs_exporter_log_lines_total", "log", 8, every=True)


def waiting() -> Graph:
    """Return notifications that no target has yet."""
    return Graph(
        title="Notifications that wait",
        description="Notifications that a target has not got yet; nothing is shown where no target is configured.",
        width=8,
        queries=(Query(expr=series("zcs_exporter_outbox_messages"), legend="{{target}}"),),
        runbooks=("ZcsNotificationsStuck",),
    )
