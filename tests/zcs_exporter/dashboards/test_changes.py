"""What changed just before, as Prometheus computes it: the beginning of what is repeated, not its end."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from zcs_exporter.dashboards.panels.wrong import changes

TARGET = '{job="zcs",cluster="",instance="mail.example.com"'
FILLED = {
    "$__rate_interval": "60s",
    "$__range_s": "3600",
    "$__range": "3600s",
    "$__interval": "15s",
    "$job": "zcs",
    "$cluster": ".*",
    "$host": "mail.example.com",
}


def ago(tmp_path: Path, values: str) -> dict[str, float]:
    """Minutes ago at which each change is listed after two hours of a fault's counter, an hour being shown."""
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("ZCS_E2E") == "required":
            pytest.fail("promtool is missing; install the package prometheus")
        pytest.skip("promtool is missing; install the package prometheus")
    (query,) = changes().queries
    expression = query.expr
    for name, value in FILLED.items():
        expression = expression.replace(name, value)
    series = [
        {"series": f'zcs_log_signals_total{TARGET},signal="oom_kill"}}', "values": values},
        {"series": f"up{TARGET}}}", "values": "1+0x480"},
    ]
    nothing = {"expr": expression, "eval_time": "120m", "exp_samples": []}
    test = {"interval": "15s", "input_series": series, "promql_expr_test": [nothing]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    found = re.findall(r'\{what=\\?"([^"\\]+)\\?"\} ([\d.E+-]+)', done.stdout + done.stderr)
    assert found, done.stdout + done.stderr
    return {what: float(value) / 60 for what, value in found}


@pytest.mark.parametrize(
    ("values", "minutes"),
    [
        ("0+0x320 1+0x160", 39.75),  # once
        ("0+0x320 1+1x119 120+0x40", 39.75),  # again and again for half an hour
        ("0+0x280 1+0x100 2+0x100", 24.5),  # twice, and long enough between them
        ("0+0x100 1+1x380", 60),  # it began before the time shown
    ],
)
def test_a_burst_is_listed_at_its_beginning(values: str, minutes: float, tmp_path: Path) -> None:
    found = ago(tmp_path, values)

    assert minutes - 1 <= found["log: oom_kill"] <= minutes
    assert found["(the time shown begins)"] == 60


def test_what_did_not_happen_is_not_listed(tmp_path: Path) -> None:
    assert "log: oom_kill" not in ago(tmp_path, "3+0x480")
