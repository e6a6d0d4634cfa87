"""Renders what snmptt does with each notification: one log line, and one call of zcs-submit."""

from collections.abc import Iterator

from zcs_exporter.managers.terms import (
    CLASSES,
    EVENT_LABEL,
    LIFE_LABEL,
    LIFE_SIGNS,
    PLACE,
    SINGLES,
    trap_oid,
)
from zcs_exporter.snmp.notification import HEARTBEAT, STOPPING, TEST, VARIABLES, NotificationType
from zcs_exporter.snmp.smi import Oid, format_oid
from zcs_exporter.snmp.zimbra_trap import SERVICE_STATUS_TRAP

SUBMIT = "/usr/local/lib/zcs-exporter/zcs-submit"

_NO_LIFE = (STOPPING, TEST)
"""Who is about to stop answers for nothing from then on, and a test is sent by hand, whether the daemon runs or not."""

_OF_ALARMS = tuple(kind for each in CLASSES for kind in (each.raised, each.cleared))

_HEAD = f"""\
# snmptt.conf: the notifications of zcs-exporter, by their numbers; no MIB is needed.
#
# In snmptt.ini: mode = daemon, sleep = 1 (a notification waits that long), net_snmp_perl_enable = 0, and this file
# among snmptt_conf_files. While ipv6_enable = 1, which is the default, snmptt needs Net::IP (libnet-ip-perl) and
# without it drops every notification in silence.
#
# Each one is logged and handed to {SUBMIT}, which tells Nagios or
# Icinga 2. snmptt drops what a shell could take for a command, and zcs-exporter sends no such characters.
"""

_EVENT = """
EVENT {name} {oid} "ZCS" {grade}
FORMAT {format}
EXEC {submit} {arguments}
SDESC
{description}
Variables:
{variables}
EDESC
"""

_ZIMBRA = """
# What ZCS itself sends through swatch, and zcs-exporter with `compat: zimbra`: a service and 1 for up or 0 for down.
# The host is the one that the trap comes from.
EVENT zmServiceStatusDown {oid} "ZCS" MAJOR
FORMAT {format} is down
MATCH $2: 0
EXEC {submit} "{label}" "$r" 2 "Service $1 is down" "zimbra-$1"

EVENT zmServiceStatusUp {oid} "ZCS" NORMAL
FORMAT {format} is up
MATCH $2: 1
EXEC {submit} "{label}" "$r" 0 "Service $1 is up" "zimbra-$1"
"""


def render_snmptt(root: Oid) -> str:
    """Return a configuration file of snmptt."""
    parts = [_HEAD]
    for each in CLASSES:
        parts += [_event(kind, root, each.label, alarm="zcsNotifyAlarmIndex") for kind in (each.raised, each.cleared)]
    parts += [_event(kind, root, LIFE_LABEL) for kind in LIFE_SIGNS]
    parts += [_event(kind, root, EVENT_LABEL) for kind in SINGLES]
    label = next(each.label for each in CLASSES if each.family == "service")
    parts.append(
        _ZIMBRA.format(oid=f".{format_oid(SERVICE_STATUS_TRAP)}", submit=SUBMIT, label=label, format="$r: Service $1")
    )
    return "".join(parts)


def _event(kind: NotificationType, root: Oid, label: str, alarm: str | None = None) -> str:
    tied = f"${PLACE[alarm]}" if alarm else "0"
    told = (label, *(f"${PLACE[f'zcsNotify{word}']}" for word in ("Host", "Severity", "Text")), tied)
    words = (*told, *_refreshed(kind, label))
    return _EVENT.format(
        name=kind.name,
        oid=trap_oid(kind, root),
        grade=kind.grade,
        format=f"{kind.title}: ${PLACE['zcsNotifyHost']}: ${PLACE['zcsNotifyText']}",
        submit=SUBMIT,
        arguments=" ".join([*_options(kind, label), *(f'"{word}"' for word in words)]),
        description=kind.description,
        variables="\n".join(_variables()),
    )


def _options(kind: NotificationType, label: str) -> Iterator[str]:
    if kind.name == HEARTBEAT or kind in _OF_ALARMS:
        yield f'--sequence "${PLACE["zcsNotifySequence"]}"'
    if kind.name == HEARTBEAT:
        yield f'--standing "${PLACE["zcsNotifyCount"]} ${PLACE["zcsNotifyObject"]}"'
    elif label != LIFE_LABEL and kind.name not in _NO_LIFE:
        yield f'--heard "{LIFE_LABEL}"'


def _refreshed(kind: NotificationType, label: str) -> tuple[str, ...]:
    """Return the other services that a notification confirms: all, since its host is heard."""
    others = (*(each.label for each in CLASSES), EVENT_LABEL)
    return () if kind.name in _NO_LIFE else tuple(each for each in others if each != label)


def _variables() -> Iterator[str]:
    for variable in VARIABLES:
        yield f"  {variable.number}: {variable.name}"
