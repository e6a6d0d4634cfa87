"""What several tests of the product in the lab share: settings, log lines, an SNMP user."""

from pathlib import Path

from e2e.lab import V3User, run

MIB = Path(__file__).parents[2] / "packaging" / "mib"
COLLECTORS = ("filesystem", "postfix", "mysqld", "jvm", "auth", "services", "zimbra")
QUICK = {"for": "1s", "keep": "1s"}


def settings(*alerts: str, **more: object) -> dict[str, object]:
    """Return a configuration with short intervals, and short holds for these alerts."""
    return {
        "collectors": {name: {"interval": "1s"} for name in COLLECTORS}
        | {"jvm": {"interval": "1s", "gc_window": "5s"}},
        "alerts": {"overrides": dict.fromkeys(alerts, QUICK)},
        **more,
    }


def failure(second: int, address: str, account: str) -> str:
    """An audit.log line of ZCS 10 about a wrong password, at a second of the current minute's clock."""
    stamp = run("date", "-d", f"@{second}", "+%Y-%m-%d %H:%M:%S,118").strip()
    return (
        f"{stamp} WARN  [qtp1068934215-512:https://mail.example.com:443/service/soap/AuthRequest] "
        f"[oip={address};ua=zclient/10.0.8_GA_4518;soapId=4e5e1bb3;] security - cmd=Auth; account={account}; "
        f"protocol=soap; error=authentication failed for [{account}], invalid password;"
    )


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
