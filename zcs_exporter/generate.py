"""Writes all that is rendered in the repository: rules and their tests, MIB, dashboards, files for managers, pages.

Run by ``make generate``; continuous integration fails when the result differs from what is committed.
"""

import sys
from pathlib import Path

from zcs_exporter.alerting.model import PARSED_FILE, load_catalogue, render_parsed
from zcs_exporter.alerting.prometheus_rules import RULES_FILE, render_rules, render_tests
from zcs_exporter.assets import asset
from zcs_exporter.command_line import make_parser
from zcs_exporter.config import config_model
from zcs_exporter.dashboards.files import dashboard_files
from zcs_exporter.managers.files import write_manager_files
from zcs_exporter.managers.mib import render_mib
from zcs_exporter.managers.page import render_snmp_page
from zcs_exporter.manual import render_completion, render_manual
from zcs_exporter.reference import (
    render_alerts_page,
    render_configuration_page,
    render_events_page,
    render_metrics_page,
)
from zcs_exporter.registry import collector_classes


def main(root: Path) -> int:
    """Write every rendered file below ``root``; exit status 0."""
    catalogue = load_catalogue(asset("alerts"))
    files = {
        f"alerts/{PARSED_FILE}": render_parsed(asset("alerts")),
        f"alerts/prometheus/{RULES_FILE}": render_rules(catalogue.alerts),
        **{f"alerts/prometheus/{name}": text for name, text in render_tests(catalogue.alerts).items()},
        "docs/alerts.md": render_alerts_page(catalogue),
        "docs/configuration.md": render_configuration_page(config_model()),
        "docs/events.md": render_events_page(),
        "docs/metrics.md": render_metrics_page(collector_classes()),
        "docs/snmp.md": render_snmp_page(),
        **{f"grafana/{name}": text for name, text in dashboard_files(catalogue).items()},
        "packaging/bash-completion/zcs-exporter": render_completion(make_parser()),
        "packaging/man/zcs-exporter.8": render_manual(make_parser()),
        "packaging/mib/ZCS-EXPORTER-MIB.txt": render_mib(),
    }
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    write_manager_files(root / "packaging" / "managers")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
