"""The manual page and the completion have what may be typed, as their readers take it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from zcs_exporter.cli import COMMANDS
from zcs_exporter.command_line import make_parser
from zcs_exporter.manual import render_completion, render_manual


def test_the_manual_has_a_section_for_every_command_and_none_else() -> None:
    sections = re.findall(r"^\.SS (.*)$", render_manual(make_parser()), re.MULTILINE)
    names = [re.sub(r" [A-Z ]+$", "", section.replace("\\", "")) for section in sections]

    assert sorted(names) == sorted(COMMANDS)


def test_the_manual_is_read_without_a_warning(tmp_path: Path) -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is missing; install it")
    page = tmp_path / "zcs-exporter.8"
    page.write_text(render_manual(make_parser()))

    done = subprocess.run([groff, "-man", "-Tutf8", "-ww", page], capture_output=True, text=True, check=True)

    assert done.stderr == ""
    assert "--family NAME" in re.sub(r".\x08|\x1b\[\d+m", "", done.stdout)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("zcs-exporter che", "check-config check"),
        ("zcs-exporter trap ", "test replay listen --help"),
        ("zcs-exporter trap --help rep", "replay"),
        ("zcs-exporter check --fam", "--family"),
        ("zcs-exporter check --family queue --al", "--alert"),
        ("zcs-exporter scan /var/l", ""),
    ],
)
def test_bash_completes_commands_and_options(typed: str, found: str, tmp_path: Path) -> None:
    file = tmp_path / "completion"
    file.write_text(render_completion(make_parser()))
    script = 'source "$1"; read -ra COMP_WORDS <<<"$2"; [[ $2 == *" " ]] && COMP_WORDS+=(""); '
    script += 'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _zcs_exporter; echo "${COMPREPLY[*]}"'

    done = subprocess.run(["bash", "-uc", script, "bash", file, typed], capture_output=True, text=True, check=True)

    assert (done.stdout.strip(), done.stderr) == (found, "")
