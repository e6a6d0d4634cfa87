"""What a host's own settings and the site's configuration make of the alerts' defaults."""

import logging
import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from zcs_exporter.alerting.model import AlertRule, Policy, Severity, Unit
from zcs_exporter.contract import Duration, Kind, Metric, Sample
from zcs_exporter.localconfig import Localconfig
from zcs_exporter.schema import After, Key, Section

log = logging.getLogger(__name__)

THRESHOLD = Metric(
    "zcs_alert_threshold",
    Kind.GAUGE,
    "Effective threshold of an alert; none for an alert that is switched off.",
    labels=("alert", "severity"),
    max_series=500,
)
STRICT_SHARE = 0.75
"""The most that any resource may be used in normal operation, under profile ``strict-75``."""


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a number")
    return value


Threshold = Annotated[float, After(_finite)]


class Override(Section):
    """What a site changes about one alert.

    Attributes:
        warning: Threshold that replaces the alert's, in the metric's unit.
        critical: The same.
        hold: Hold time. Rendered rules carry it: print them again after a change.
        keep: How long it stays after the condition ended.
        off: Never raise it.
    """

    warning: Threshold | None = None
    critical: Threshold | None = None
    hold: Annotated[Duration | None, Key("for")] = None
    keep: Duration | None = None
    off: bool = False


def _page(address: str) -> str:
    if re.fullmatch(r"https?://[^\s{}#\"'<>]+", address) is None:
        raise ValueError(f"{address!r} is no address of a page; write it like https://wiki.example.com/zcs/alerts.md")
    return address


class AlertsConfig(Section):
    """Which alerts a site wants and how.

    Attributes:
        profile: ``strict-75`` warns of any resource used over 75 %; ``zimbra-only`` leaves CPU, memory and
            disk to rules that already run elsewhere.
        overrides: By alert name.
        runbooks: Where whoever is on call reads ``docs/alerts.md``, such as ``https://wiki.example.com/zcs/alerts.md``;
            rendered rules and the dashboard then link to it.
    """

    profile: Literal["default", "strict-75", "zimbra-only"] = "default"
    overrides: Mapping[str, Override] = {}
    runbooks: Annotated[str, After(_page)] | None = None


def effective_policies(
    rules: Iterable[AlertRule], config: AlertsConfig, localconfig: Localconfig | None
) -> dict[str, Policy]:
    """Return the policy of every rule: its defaults, then the profile, ZCS's keys, the site's overrides."""
    return {rule.name: _policy(rule, config, localconfig) for rule in rules}


def threshold_samples(policies: Mapping[str, Policy]) -> list[Sample]:
    """Return the effective thresholds, with which rendered Prometheus rules compare."""
    return [
        THRESHOLD.sample(value, alert=name, severity=severity.name.lower())
        for name, policy in policies.items()
        for severity, value in sorted(policy.thresholds.items())
    ]


def plain_thresholds(policies: Mapping[str, Policy]) -> dict[str, dict[str, float]]:
    """Return the effective thresholds by alert name and severity, as collectors take them."""
    return {
        name: {severity.name.lower(): value for severity, value in policy.thresholds.items()}
        for name, policy in policies.items()
    }


def _policy(rule: AlertRule, config: AlertsConfig, localconfig: Localconfig | None) -> Policy:
    override = config.overrides.get(rule.name, Override())
    left_out = config.profile == "zimbra-only" and rule.resource in ("disk", "cpu", "memory")
    if override.off or left_out:
        return Policy({})
    thresholds = dict(rule.defaults)
    if config.profile == "strict-75" and rule.resource and rule.unit is Unit.RATIO and Severity.WARNING in thresholds:
        thresholds[Severity.WARNING] = min(STRICT_SHARE, thresholds[Severity.WARNING])
    if rule.localconfig is not None and localconfig is not None:
        keys = {Severity.WARNING: rule.localconfig.warning, Severity.CRITICAL: rule.localconfig.critical}
        for severity, key in keys.items():
            own = localconfig.number(key) if key else None
            if own is not None:
                thresholds[severity] = own * rule.localconfig.scale
    for severity, own in ((Severity.WARNING, override.warning), (Severity.CRITICAL, override.critical)):
        if own is not None:
            thresholds[severity] = own
    return Policy(thresholds, override.hold, override.keep)
