"""Renders a rule pack for the event console of Checkmk."""

import pprint
from typing import Any

from zcs_exporter.managers.terms import CLASSES, KIND, LIFE_SIGNS, PLACE
from zcs_exporter.snmp.notification import EVENT, SUPPRESSED, TEST, NotificationType, notification_oid
from zcs_exporter.snmp.smi import Oid, format_oid

_HEAD = """\
# A rule pack for the event console of Checkmk 2.2 and later. Checked against the types that Checkmk declares for rule
# packs, with messages built as its event console builds them, and not run in Checkmk.
#
# As the site's user:  cat zcs-exporter.mk >> ~/etc/check_mk/mkeventd.d/wato/rules.mk
# then change any rule in Setup, Event Console rule packs, and activate. Leave the translation of SNMP traps off, and
# give the console the user (SNMPv3) or community of the secrets file of the ZCS hosts.
#
# Each alarm is one event; its end cancels it. Heartbeats are dropped; to be told of a host that is silent, copy that
# rule for the host, replace "drop" by "Expect regular messages" every 3 minutes, and match the host's address.

"""


def render_checkmk(root: Oid) -> str:
    """Return Python code that adds a rule pack to those that are there."""
    pack = {
        "id": "zcs_exporter",
        "title": "ZCS servers with zcs-exporter",
        "disabled": False,
        "rules": [
            *(_alarm_rule(each.family, each.raised, each.cleared, root) for each in CLASSES),
            _event_rule(root),
            {
                "id": "zcs_life",
                "description": "Signs of life and tests",
                "match_application": _any_of((*LIFE_SIGNS, KIND[TEST]), root),
                "drop": True,
                **_ALWAYS,
            },
        ],
    }
    return f"{_HEAD}rule_packs += \\\n{pprint.pformat([pack], width=120, sort_dicts=False)}\n"


_ALWAYS: dict[str, Any] = {
    "disabled": False,
    "invert_matching": False,
    "comment": "",
    "docu_url": "",
    "sl": {"value": 0, "precedence": "message"},
    "actions": [],
    "cancel_actions": [],
    "cancel_action_phases": "always",
    "autodelete": False,
}


def _alarm_rule(family: str, raised: NotificationType, cleared: NotificationType, root: Oid) -> dict[str, Any]:
    # Groups of a match and of what cancels it are compared in order, so what ties the two together comes first.
    tied = f"(?=.*{_line('zcsNotifyAlarmIndex', root)}([0-9]+))(?=.*{_line('zcsNotifyHost', root)}([^,]*))"
    return {
        "id": f"zcs_{family}",
        "description": raised.title,
        "match_application": _any_of((raised,), root),
        "cancel_application": _any_of((cleared,), root),
        "match": f"{tied}.*{_text(root)}",
        "match_ok": tied,
        "state": _state(root),
        "set_host": "\\2",
        "set_text": "\\3",
        **_ALWAYS,
    }


def _event_rule(root: Oid) -> dict[str, Any]:
    return {
        "id": "zcs_event",
        "description": "Something happened once",
        "match_application": _any_of((KIND[EVENT], KIND[SUPPRESSED]), root),
        "match": f"(?=.*{_line('zcsNotifyHost', root)}([^,]*)).*{_text(root)}",
        "state": _state(root),
        "set_host": "\\1",
        "set_text": "\\2",
        "livetime": (86400, ["open"]),
        **_ALWAYS,
    }


def _any_of(kinds: tuple[NotificationType, ...], root: Oid) -> str:
    """Match the identifier of a notification, which the console has as the application.

    There is no group in it, since those would be compared too when an event is to be cancelled.
    """
    numbers = "|".join(str(notification_oid(kind.name, root)[-1]) for kind in kinds)
    return f"{_literal(format_oid((*root, 0)))}\\.(?:{numbers})$"


def _line(name: str, root: Oid) -> str:
    """Match a variable up to its value; the console joins them with commas."""
    return f"{_literal(format_oid((*root, 1, 11, PLACE[name], 0)))}: "


def _text(root: Oid) -> str:
    return f"{_line('zcsNotifyText', root)}(.*?), {_line('zcsNotifyValue', root)}"


def _state(root: Oid) -> tuple[str, dict[str, str]]:
    return "text_pattern", {str(state): f"{_line('zcsNotifySeverity', root)}{state}" for state in (2, 1, 0)}


def _literal(oid: str) -> str:
    return oid.replace(".", "\\.")
