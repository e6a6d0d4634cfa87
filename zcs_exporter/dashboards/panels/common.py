"""A panel that several others resemble."""

from zcs_exporter.dashboards.kinds import Graph
from zcs_exporter.dashboards.terms import Query, Unit, series


def rates(title: str, description: str, name: str, label: str, width: int, *, every: bool = False) -> Graph:
    """Return how often something happens, by one label; what never happened is left out unless ``every``."""
    rate = f"sum by ({label}) (rate({series(name)}[$__rate_interval]))"
    return Graph(
        title=title,
        description=description,
        width=width,
        queries=(Query(expr=rate if every else f"{rate} > 0", legend=f"{{{{{label}}}}}"),),
        unit=Unit.PER_SECOND,
    )
