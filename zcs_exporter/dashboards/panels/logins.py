"""Who tries to get in."""

from zcs_exporter.dashboards.kinds import Graph
from zcs_exporter.dashboards.panels.common import rates
from zcs_exporter.dashboards.terms import Limit, Query, Unit, series


def logins() -> Graph:
    """Return the windows of ZCS's four checks, or the like, with their thresholds."""
    checks = (
        ("ip_account_failures", "one address and account", "ZcsAuthIpAccountFailures"),
        ("account_failures", "one account", "ZcsAuthAccountFailures"),
        ("ip_failures", "one address", "ZcsAuthIpFailures"),
        ("accounts_per_ip", "accounts tried by one address", "ZcsAuthSpraying"),
    )
    return Graph(
        title="Attacks: failed logins in the window",
        description=(
            "The worst of each kind within the window of ZCS's checks, a minute by default, each with its threshold. "
            "Who it is is on the daemon's page."
        ),
        width=5,
        queries=tuple(Query(expr=series(f"zcs_auth_window_{check}_max"), legend=legend) for check, legend, _ in checks),
        limits=tuple(Limit(alert=alert, of=legend) for _, legend, alert in checks),
        fill=0,
        runbooks=tuple(alert for _, _, alert in checks),
    )


def failures() -> Graph:
    """Return failed logins by protocol and reason."""
    rate = f"sum by (protocol, reason) (rate({series('zcs_auth_failures_total')}[$__rate_interval])) > 0"
    return Graph(
        title="Failed logins",
        description="Logins refused, by protocol and reason; empty while there are none.",
        width=8,
        queries=(Query(expr=rate, legend="{{protocol}}: {{reason}}"),),
        unit=Unit.PER_SECOND,
    )


def successes() -> Graph:
    """Return logins by protocol."""
    return rates("Logins", "Logins that succeeded, by protocol.", "zcs_auth_successes_total", "protocol", 8, every=True)
