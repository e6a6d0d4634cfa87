"""What holds for the files of all managers."""

import os
import re
from pathlib import Path

import pytest

from zcs_exporter.cli import main
from zcs_exporter.managers.files import SUBMIT, manager_files, write_manager_files
from zcs_exporter.managers.mib import FILE_NAME, render_mib
from zcs_exporter.managers.page import render_snmp_page
from zcs_exporter.managers.terms import CLASSES, EVENT_LABEL, KIND, LIFE_LABEL, LIFE_SIGNS, SINGLES, trap_oid
from zcs_exporter.snmp.notification import NOTIFICATION_TYPES, NotificationType
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Oid, format_oid

OTHER_ROOT: Oid = (1, 3, 6, 1, 4, 1, 99999)
SHIPPED = manager_files()
MOVED = manager_files(OTHER_ROOT)


def test_every_notification_has_its_place() -> None:
    sorted_in = [kind for each in CLASSES for kind in (each.raised, each.cleared)]

    assert {*sorted_in, *LIFE_SIGNS, *SINGLES} == set(NOTIFICATION_TYPES)
    assert set(KIND.values()) == set(NOTIFICATION_TYPES)
    labels = [each.label for each in CLASSES] + [LIFE_LABEL, EVENT_LABEL]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_file_is_ascii_without_blanks_at_the_end_of_a_line(name: str) -> None:
    text = SHIPPED[name]

    assert text.isascii()
    assert text.endswith("\n")
    assert not re.search(r"[ \t]\n", text)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_root_of_the_site_is_everywhere(name: str) -> None:
    moved = MOVED[name]

    for root in (format_oid(DEFAULT_ROOT), "8072"):
        assert root not in moved.replace("\\", "").replace("[.]", ".")
    assert ("99999" in moved) == (format_oid(DEFAULT_ROOT) in re.sub(r"\\|\[|\]", "", SHIPPED[name]))


def test_rendering_twice_gives_the_same() -> None:
    assert manager_files() == SHIPPED


@pytest.mark.parametrize("kind", NOTIFICATION_TYPES, ids=lambda kind: kind.name)
def test_snmptt_knows_each_notification_by_its_number(kind: object) -> None:
    text = SHIPPED["snmptt/snmptt.conf"]

    assert f"EVENT {kind.name} {trap_oid(kind, DEFAULT_ROOT)} " in text  # type: ignore[attr-defined]


def submissions() -> dict[str, str]:
    """Return the arguments of zcs-submit by notification."""
    text = SHIPPED["snmptt/snmptt.conf"]
    return dict(re.findall(r"^EVENT (\S+) .*\n(?:.*\n)+?EXEC \S+/zcs-submit (.*)$", text, re.MULTILINE))


def test_snmptt_hands_on_host_severity_text_and_what_ties_raise_and_clear_together() -> None:
    calls = submissions()

    # Of what comes from outside, everything stands in quotes of its own.
    assert all('"' not in re.sub(r'"[^"]*"', "", call) for call in calls.values())
    assert all(call.replace("$r", "").count("$") in (3, 5, 6) or "zimbra-" in call for call in calls.values()), calls
    for name in ("zcsAlarmRaised", "zcsAlarmCleared"):
        assert calls[name].startswith(f'--sequence "$1" --heard "{LIFE_LABEL}" "ZCS alarms" "$3" "$6" "$7" "$11"')
    assert calls["zcsHeartbeat"].startswith(
        f'--sequence "$1" --standing "$12 $5" "{LIFE_LABEL}" "$3" "$6" "$7" "0" "ZCS alarms"'
    )
    assert calls["zcsEvent"].startswith(f'--heard "{LIFE_LABEL}" "{EVENT_LABEL}" "$3" "$6" "$7" "0" ')


@pytest.mark.parametrize("kind", NOTIFICATION_TYPES, ids=lambda kind: kind.name)
def test_every_service_is_as_fresh_as_the_last_word_of_the_daemon(kind: NotificationType) -> None:
    told = set(re.findall(r'"(ZCS [^"]*)"', submissions()[kind.name]))

    every = {LIFE_LABEL, *(each.label for each in CLASSES), EVENT_LABEL}
    # Who stops answers for nothing, and a test comes by hand.
    assert told == {"zcsStopping": {LIFE_LABEL}, "zcsTest": {EVENT_LABEL}}.get(kind.name, every)


def test_only_the_program_may_be_run(tmp_path: Path) -> None:
    written = write_manager_files(tmp_path)

    assert {file.relative_to(tmp_path).as_posix() for file in written} == set(SHIPPED)
    assert [file for file in written if os.access(file, os.X_OK)] == [tmp_path / SUBMIT]


def test_a_site_gets_all_files_and_the_mib_below_its_own_root(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("snmp: {root_oid: 1.3.6.1.4.1.99999}\n")
    directory = tmp_path / "files"

    assert main(["managers", "--config", str(config), str(directory)]) == 0

    listed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert set(listed) == {path for path in directory.rglob("*") if path.is_file()}
    assert (directory / FILE_NAME).read_text() == render_mib(OTHER_ROOT)
    for name, content in MOVED.items():
        assert (directory / name).read_text() == content


def test_the_page_names_every_notification_every_object_and_every_file() -> None:
    page = render_snmp_page()

    for name in re.findall(r"^(zcs\w+) (?:OBJECT-TYPE\n    SYNTAX (?!SEQ|Zcs)|NOTIFICATION-TYPE)", render_mib(), re.M):
        assert f"| {name} |" in page or f"`{name}`" in page, name
    for name in SHIPPED:
        assert name.split("/")[0] in page, name
    assert not [line for line in page.splitlines() if len(line) > 120 and not line.startswith(("|", "`"))]
