"""What several tests of the product in the lab share: settings, log lines, an SNMP user."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from e2e.lab import V3User, run

MIB = Path(__file__).parents[2] / "packaging" / "mib"
COLLECTORS = ("filesystem", "postfix", "mailflow", "mysqld", "jvm", "mailboxd", "auth", "services", "zimbra", "logs")
QUICK = {"for": "1s", "keep": "1s"}


def settings(
    *alerts: str, thresholds: Mapping[str, Mapping[str, float]] | None = None, **more: object
) -> dict[str, object]:
    """Return a configuration with short intervals, and short holds for these alerts.

    Args:
        alerts: Names.
        thresholds: By the name of an alert and by severity, where the real one is too far.
        more: Other sections.
    """
    return {
        "collectors": {name: {"interval": "1s"} for name in COLLECTORS}
        | {"jvm": {"interval": "1s", "gc_window": "5s"}},
        "alerts": {"overrides": {alert: {**QUICK, **(thresholds or {}).get(alert, {})} for alert in alerts}},
        **more,
    }


@cache
def stamp(second: int, layout: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a time as the programs of this host write it, whatever the zone of the tests is."""
    return run("date", "-d", f"@{second}", f"+{layout}").strip()


def audit(second: int, address: str, message: str, url: str = "443/service/soap") -> str:
    """Return an audit.log line of ZCS 10."""
    return (
        f"{stamp(second)},118 WARN  [qtp1068934215-512:https://mail.example.com:{url}/AuthRequest] "
        f"[oip={address};ua=zclient/10.0.8_GA_4518;soapId=4e5e1bb3;] security - {message}"
    )


def failure(second: int, address: str, account: str, url: str = "443/service/soap") -> str:
    """Return the line about a wrong password; the URL tells the administration's (`7071/service/admin/soap`)."""
    error = f"error=authentication failed for [{account}], invalid password;"
    return audit(second, address, f"cmd=Auth; account={account}; protocol=soap; {error}", url)


def now() -> int:
    return int(run("date", "+%s"))


USER = V3User(
    name="nagios",
    auth="SHA-256",
    priv="AES",
    auth_password="a long auth password",
    priv_password="a long priv password",
)
"""The SNMPv3 user of informs, as snmptrapd knows it."""

USER_SECRET = {
    "user": USER.name,
    "auth": {"protocol": "SHA-256", "password": USER.auth_password},
    "priv": {"protocol": "AES-128", "password": USER.priv_password},
}
"""The same user as our secrets file has it."""
