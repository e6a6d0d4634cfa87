import os
import subprocess
from pathlib import Path

import pytest

from zcs_exporter.snmp.mib import FILE_NAME, render_mib
from zcs_exporter.snmp.notification import NOTIFICATION_TYPES, VARIABLES, notification_oid

COMMITTED = Path(__file__).parents[3] / "packaging" / "mib" / FILE_NAME


def test_the_committed_mib_is_the_rendered_one() -> None:
    assert COMMITTED.read_text() == render_mib()


def test_rendering_twice_gives_the_same_text() -> None:
    assert render_mib() == render_mib()


def test_another_root_changes_only_where_the_tree_hangs() -> None:
    moved = render_mib((1, 3, 6, 1, 4, 1, 99999))
    assert "::= { enterprises 99999 }" in moved
    assert moved.split("zcsNotifications OBJECT")[1] == render_mib().split("zcsNotifications OBJECT")[1]


def test_every_notification_lists_the_twelve_variables_in_order() -> None:
    listed = ",\n".join(f"        {variable.name}" for variable in VARIABLES)
    assert render_mib().count(listed) == len(NOTIFICATION_TYPES) + 1


def test_a_mib_is_ascii_with_lines_of_a_width_that_old_tools_take() -> None:
    text = render_mib()
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.e2e
@pytest.mark.parametrize("root", ["default", "short"])
def test_smilint_has_nothing_to_say(root: str, smilint: str, base_mibs: Path, tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.write_text(render_mib() if root == "default" else render_mib((1, 3, 6, 1, 4, 1, 99999)))
    # It exits with 0 whatever it finds.
    result = subprocess.run(
        [smilint, "-l", "6", "-s", str(file)],
        env={**os.environ, "SMIPATH": str(base_mibs)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout + result.stderr == ""


@pytest.mark.e2e
def test_smilint_would_find_a_fault(smilint: str, base_mibs: Path, tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.write_text(render_mib().replace("zcsNotificationVariables 12", "zcsNotificationVariables 11"))
    result = subprocess.run(
        [smilint, "-l", "6", "-s", str(file)],
        env={**os.environ, "SMIPATH": str(base_mibs)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "zcsNotifyCount" in result.stdout + result.stderr


@pytest.mark.e2e
def test_net_snmp_translates_every_notification(snmptranslate: str, base_mibs: Path) -> None:
    names = [kind.name for kind in NOTIFICATION_TYPES]
    result = subprocess.run(
        [snmptranslate, "-On", *(f"ZCS-EXPORTER-MIB::{name}" for name in names)],
        env={**os.environ, "MIBDIRS": f"{base_mibs}:{COMMITTED.parent}", "MIBS": "ZCS-EXPORTER-MIB"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["." + ".".join(map(str, notification_oid(name))) for name in names]
