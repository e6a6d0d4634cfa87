"""What both of our templates for Zabbix have in common."""

from typing import Any

from zcs_exporter.managers.yaml_file import stable_id

GROUP = "Templates/ZCS"
PRIORITIES = {1: "WARNING", 2: "HIGH", 3: "AVERAGE"}
"""What Zabbix calls our severities."""


def template(name: str, description: str, **more: Any) -> dict[str, Any]:
    """Return a template of that name; ``more`` is what it holds."""
    return {
        "uuid": stable_id(name),
        "template": name,
        "name": name,
        "description": description,
        "groups": [{"name": GROUP}],
        **more,
    }


def component(name: str) -> dict[str, str]:
    """Return the tag by which items are told apart."""
    return {"tag": "component", "value": name}
