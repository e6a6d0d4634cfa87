"""All files for Grafana."""

import json
from collections.abc import Mapping

from zcs_exporter.alerting.model import Catalogue
from zcs_exporter.dashboards.host import host_dashboard

_PROVISIONING = """\
# Rendered by 'make generate'. Copy it to /etc/grafana/provisioning/dashboards/, and the dashboards beside it to the
# path below; Grafana reads both when it starts, and changed dashboards every 30 seconds.
apiVersion: 1
providers:
  - name: zcs-exporter
    folder: Zimbra
    type: file
    disableDeletion: true
    allowUiUpdates: false
    updateIntervalSeconds: 30
    options:
      path: /var/lib/grafana/dashboards/zcs-exporter
"""


def dashboard_files(catalogue: Catalogue) -> Mapping[str, str]:
    """Return the content of every file by its path below ``grafana/``."""
    return {"host.json": render_dashboard(catalogue), "provisioning.yaml": _PROVISIONING}


def render_dashboard(catalogue: Catalogue, runbooks: str | None = None) -> str:
    """Return the dashboard of one host, which links to the page ``runbooks`` if its address is known."""
    return json.dumps(host_dashboard(catalogue).json(runbooks), indent=2) + "\n"
