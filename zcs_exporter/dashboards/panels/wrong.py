"""What is wrong, since when, what changed just before, and what cannot be seen."""

from zcs_exporter.alerting.model import Catalogue
from zcs_exporter.dashboards.kinds import Column, Listing, Tiles
from zcs_exporter.dashboards.terms import Color, Look, Query, Unit, named, series, told

_OK, _GONE = "none: all is well", "no answer: nothing is known"
_NOTHING_UNSEEN = "nothing: all is seen"

_SEVERITY = Look(
    text={
        "critical": ("critical", Color.CRITICAL),
        "warning": ("warning", Color.WARNING),
        "ok": ("ok", Color.GOOD),
        "unknown": ("unknown", Color.UNKNOWN),
    }
)
_ANSWERS = f"{series('up')} == 1"
_MUTE = f"{series('up')} == 0"
_QUIET = "15m"  # after which what happens again is something new
_LAST_ANSWER = f"time() - max_over_time((timestamp({_ANSWERS}))[$__range:$__interval])"


def alarm_counts() -> Tiles:
    """Return how many alarms stand."""

    def count(severity: str, legend: str) -> Query:
        alarms = series("zcs_alert_active", f'severity="{severity}"')
        return Query(expr=f"count({alarms}) or 0 * max({_ANSWERS})", legend=legend, now=True)

    return Tiles(
        title="Alarms",
        description="Alarms that stand now. No data means that the daemon does not answer, not that all is well.",
        width=3,
        queries=(count("critical", "critical"), count("warning", "warning")),
        empty="unknown",
        looks={
            "critical": Look(steps=((None, Color.GOOD), (1, Color.CRITICAL))),
            "warning": Look(steps=((None, Color.GOOD), (1, Color.WARNING))),
        },
    )


def alarms(catalogue: Catalogue) -> Listing:
    """Return the alarms that stand, and since when."""
    labels = sorted({label for rule in catalogue.alerts for example in rule.examples for label in example.labels})
    since = f"time() - {series('zcs_alert_since_timestamp_seconds')}"
    what = ",".join(f'"{label}"' for label in labels)
    # Labels that an alarm does not have leave blanks.
    named_what = f'label_replace(label_join({since}, "what", " ", {what}), "what", "the host", "what", " *")'
    standing = f"max by (severity, alert, what) ({named_what})"
    nothing = told(f"{_ANSWERS} unless on (job, instance) {series('zcs_alert_active')}", severity="ok", alert=_OK)
    silent = told(f"{_LAST_ANSWER} and on (job, instance) {_MUTE}", severity="unknown", alert=_GONE)
    return Listing(
        title="What is wrong now, and since when",
        description=(
            "Alarms of the host's own daemon, critical ones first, then the newest, by thresholds and holds in force "
            "there. What to do, and who is behind an alarm, is on the daemon's page."
        ),
        width=11,
        queries=(
            Query(expr=f"sort({standing})"),
            Query(expr=f"max by (severity, alert, what) ({nothing})"),
            Query(expr=f"max by (severity, alert, what) ({silent})"),
        ),
        columns=(
            Column(of="severity", title="Severity", width=90, look=_SEVERITY, filled=True),
            Column(of="alert", title="Alarm", width=265, runbook=True),
            Column(of="what", title="On what"),
            Column(of=0, title="For", width=120, unit=Unit.SPAN, empty=""),
            Column(of=2, title="Silent for", width=120, unit=Unit.SPAN, empty=""),
        ),
        sorted_by="Severity",  # which happens to put critical before warning
    )


def changes() -> Listing:
    """Return what changed, newest first."""

    def last(condition: str) -> str:
        return f"time() - max_over_time((timestamp({condition}))[$__range:$__interval])"

    def rose(name: str) -> str:
        """When a counter began to rise after a quiet time, the last time that it did, else when the time shown begins.

        Causes come first: of an attack that goes on the beginning counts, not the last login.
        """
        rise = f"increase({series(name)}[$__rate_interval]) > 0"
        before = f"increase({series(name)}[{_QUIET}] offset $__rate_interval) > 0"
        long_since = f"0 * (increase({series(name)}[$__range]) > 0) + $__range_s"
        return f"{last(f'{rise} unless {before}')} or {long_since}"

    up = series("zcs_service_up")
    found = (
        named("$1 started", "name", f"time() - ({series('zcs_service_start_time_seconds')} > time() - $__range_s)"),
        named(
            "$1 stopped",
            "name",
            f"{last(f'{up} == 1')} and on (job, instance, name) {up} == 0",
        ),
        named(
            "over: $1",
            "alert",
            f"{last(series('zcs_alert_active'))} unless on (job, instance, alert) {series('zcs_alert_active')}",
        ),
        named("maintenance: $1", "cause", last(f"{series('zcs_maintenance')} == 1")),
        named("log: $1", "signal", rose("zcs_log_signals_total")),
        named("administrator: $1", "command", rose("zcs_auth_admin_operations_total")),
        named("an account was locked out", "", rose("zcs_auth_lockouts_total")),
        named("the daemon did not answer", "", last(_MUTE)),
        named("(the time shown begins)", "", f"0 * ({_ANSWERS}) + $__range_s"),
    )
    return Listing(
        title="What changed just before",
        description=(
            "Within the time shown, newest first: services, alarms that are over, maintenance, faults that logs tell "
            "of, what administrators did. Of what is repeated within a quarter of an hour the first time is listed."
        ),
        width=10,
        queries=(Query(expr=f"sort(bottomk(20, min by (what) ({' or '.join(found)})))"),),
        columns=(
            Column(of=0, title="Ago", width=130, unit=Unit.SPAN),
            Column(of="what", title="What"),
        ),
        empty="nothing is known",
    )


def services() -> Tiles:
    """Return which services run, and for how long."""
    up, start = series("zcs_service_up"), series("zcs_service_start_time_seconds")
    mysql, same = series("mysql_up"), "on (job, instance, name)"
    return Tiles(
        title="Services, and for how long they have been running",
        description="Red is down, orange started within the last 15 minutes. A missing tile could not be looked at.",
        width=24,
        queries=(
            Query(expr=f"(time() - {start}) and {same} {up} == 1", legend="{{name}}", now=True),
            Query(expr=f"{up} unless {same} ({start} and {same} {up} == 1)", legend="{{name}}", now=True),
            Query(expr=f"{series('mysql_global_status_uptime')} and {mysql} == 1", legend="mysqld", now=True),
            Query(expr=f"{mysql} == 0", legend="mysqld", now=True),
        ),
        unit=Unit.SPAN,
        look=Look(
            text={"0": ("down", Color.CRITICAL), "1": ("up", Color.GOOD)},
            steps=((None, Color.WARNING), (900, Color.GOOD)),
        ),
        sizes=(13, 16),
    )


def unseen() -> Listing:
    """Return what cannot be seen."""
    last = series("zcs_exporter_collector_last_success_timestamp_seconds")
    failing = f"{series('zcs_exporter_collector_success')} == 0"
    blind = (
        named("$1: old figures", "collector", f"(time() - {last}) and on (job, instance, collector) {failing}"),
        named("$1: nothing yet", "collector", f"{failing} unless on (job, instance, collector) {last}"),
        named("$1: cannot be read", "log", f"{series('zcs_exporter_log_readable')} == 0"),
        named("state: cannot be written", "", f"{series('zcs_exporter_state_writable')} == 0"),
    )
    seen = " or ".join(blind)
    return Listing(
        title="What cannot be seen",
        description=(
            "Collectors that fail and logs that cannot be read. Their panels show nothing or the last good figures, "
            "for four intervals at most. zcs-exporter doctor says what to do."
        ),
        width=5,
        queries=(
            Query(expr=f"max by (what) ({seen})"),
            Query(
                expr=f"max by (what) ({told(f'{_ANSWERS} unless on (job, instance) ({seen})', what=_NOTHING_UNSEEN)})"
            ),
            Query(expr=f"max by (what) ({told(_MUTE, what=_GONE)})"),
        ),
        columns=(
            Column(
                of="what",
                title="What",
                look=Look(
                    text={
                        _NOTHING_UNSEEN: (_NOTHING_UNSEEN, Color.GOOD),
                        _GONE: (_GONE, Color.UNKNOWN),
                    },
                    steps=((None, Color.WARNING),),
                ),
                filled=True,
            ),
            Column(of=0, title="For", width=110, unit=Unit.SPAN, empty=""),
        ),
        runbooks=("ZcsCollectorFailing",),
    )
