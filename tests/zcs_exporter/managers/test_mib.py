import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zcs_exporter.agent.objects.groups import GROUPS
from zcs_exporter.managers.mib import FILE_NAME, REVISIONS, render_mib
from zcs_exporter.snmp.notification import NOTIFICATION_TYPES, VARIABLES, notification_oid
from zcs_exporter.snmp.smi import DEFAULT_ROOT, Oid, format_oid

COMMITTED = Path(__file__).parents[3] / "packaging" / "mib" / FILE_NAME
NUMBERS = Path(__file__).parents[2] / "fixtures" / "mib" / "numbers.txt"
OTHER_ROOT: Oid = (1, 3, 6, 1, 4, 1, 99999)
READABLE = {
    **{scalar.name: (group.number, scalar.number) for group in GROUPS for scalar in group.scalars},
    **{
        column.name: (group.number, 1, 1, column.number)
        for group in GROUPS
        if group.table is not None
        for column in group.table.columns
    },
}


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """The directory that has the MIB in a file."""
    directory = tmp_path / "mib"
    directory.mkdir()
    (directory / FILE_NAME).write_text(render_mib())
    return directory


def oids(text: str) -> dict[str, str]:
    """Return the identifier of everything that a MIB defines below the enterprises, relative to its root."""
    above: dict[str, tuple[str, str]] = {}
    name = ""
    for found in re.finditer(r"^([a-z]\w+) (?:OBJECT IDENTIFIER|[A-Z]+-[A-Z]+)|::= \{ (\w+) (\d+) \}", text, re.M):
        if found[1]:
            name = found[1]
        else:
            above[name] = (found[2], found[3])

    def below_root(name: str) -> str | None:
        if name == "zcsExporterMIB":
            return ""
        parent, number = above.get(name, ("", ""))
        place = below_root(parent) if parent else None
        return None if place is None else f"{place}.{number}".removeprefix(".")

    return {name: place for name in above if (place := below_root(name))}


def test_the_committed_mib_is_the_rendered_one() -> None:
    assert COMMITTED.read_text() == render_mib()


def test_no_number_was_moved_or_given_to_something_else() -> None:
    """What is listed in that file was given away for ever; what is new has to be added at its end, by hand."""
    listed = [
        (line.split()[0], line.split()[1]) for line in NUMBERS.read_text().splitlines() if not line.startswith("#")
    ]
    found = oids(render_mib())

    assert len({number for _, number in listed}) == len(listed)
    assert len({name for name, _ in listed}) == len(listed)
    assert dict(listed) == found


def test_identifiers_in_the_text_are_those_on_the_wire() -> None:
    found = oids(render_mib())

    assert {name: found[name] for name in READABLE} == {
        name: format_oid((1, *numbers)) for name, numbers in READABLE.items()
    }
    for kind in NOTIFICATION_TYPES:
        assert found[kind.name] == format_oid(notification_oid(kind.name)[len(DEFAULT_ROOT) :])


def test_every_change_has_a_revision_newest_first() -> None:
    moments = [revision.at for revision in REVISIONS]

    assert moments == sorted(moments, reverse=True)
    assert f'LAST-UPDATED "{moments[0]}"' in render_mib()


def test_rendering_twice_gives_the_same_text() -> None:
    assert render_mib() == render_mib()


def test_another_root_changes_only_where_the_tree_hangs() -> None:
    moved = render_mib(OTHER_ROOT)

    assert "::= { enterprises 99999 }" in moved
    assert moved.split("zcsNotifications OBJECT")[1] == render_mib().split("zcsNotifications OBJECT")[1]


def test_every_notification_lists_the_twelve_variables_in_order() -> None:
    listed = ",\n".join(f"        {variable.name}" for variable in VARIABLES)

    assert render_mib().count(listed) == len(NOTIFICATION_TYPES) + 1


def test_every_object_that_can_be_read_is_in_the_group_of_what_can_be_read() -> None:
    group = re.search(r"zcsObjectGroup OBJECT-GROUP\s+OBJECTS \{(.*?)\}", render_mib(), re.DOTALL)
    assert group is not None

    assert sorted(re.findall(r"\w+", group[1])) == sorted(READABLE)


def test_every_notification_says_how_managers_that_know_no_better_may_show_it() -> None:
    text = render_mib()

    for kind in NOTIFICATION_TYPES:
        assert kind.grade in ("NORMAL", "WARNING", "MINOR", "MAJOR", "CRITICAL")
        assert f'    --#TYPE "{kind.title}"\n    --#SUMMARY "%s: %s"\n    --#ARGUMENTS {{2,6}}\n' in text
    assert text.count("--#SEVERITY NORMAL") == sum(kind.grade == "NORMAL" for kind in NOTIFICATION_TYPES)
    # Two hyphens would end the comment.
    assert not re.search("--#.*--", text)


def test_a_mib_is_ascii_with_lines_of_a_width_that_old_tools_take() -> None:
    text = render_mib()

    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80


def complaints(smilint: str, base_mibs: Path, text: str, tmp_path: Path) -> str:
    """Ask smilint, which exits with 0 whatever it finds."""
    file = tmp_path / FILE_NAME
    file.write_text(text)
    result = subprocess.run(
        [smilint, "-l", "6", "-s", str(file)],
        env={**os.environ, "SMIPATH": str(base_mibs)},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout + result.stderr


@pytest.mark.e2e
@pytest.mark.parametrize("root", [DEFAULT_ROOT, OTHER_ROOT], ids=format_oid)
def test_smilint_has_nothing_to_say(root: Oid, smilint: str, base_mibs: Path, tmp_path: Path) -> None:
    assert complaints(smilint, base_mibs, render_mib(root), tmp_path) == ""


@pytest.mark.e2e
def test_smilint_would_find_a_fault(smilint: str, base_mibs: Path, tmp_path: Path) -> None:
    text = render_mib().replace("zcsNotificationVariables 12", "zcsNotificationVariables 11")

    assert "zcsNotifyCount" in complaints(smilint, base_mibs, text, tmp_path)


@pytest.mark.e2e
def test_net_snmp_translates_every_name(snmptranslate: str, base_mibs: Path, rendered: Path) -> None:
    names = [kind.name for kind in NOTIFICATION_TYPES] + list(READABLE)
    result = subprocess.run(
        [snmptranslate, "-On", *(f"ZCS-EXPORTER-MIB::{name}" for name in names)],
        env={**os.environ, "MIBDIRS": f"{base_mibs}:{rendered}", "MIBS": "ZCS-EXPORTER-MIB"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [format_oid(notification_oid(kind.name)) for kind in NOTIFICATION_TYPES]
    expected += [format_oid((*DEFAULT_ROOT, 1, *numbers)) for numbers in READABLE.values()]

    assert result.stdout.split() == [f".{oid}" for oid in expected]
    assert result.stderr == ""


@pytest.mark.e2e
def test_snmpttconvertmib_takes_every_notification_as_it_is_annotated(
    snmpttconvertmib: str, snmptranslate: str, base_mibs: Path, rendered: Path, tmp_path: Path
) -> None:
    converted = tmp_path / "snmptt.conf"
    result = subprocess.run(
        [snmpttconvertmib, f"--in={rendered / FILE_NAME}", f"--out={converted}"],
        env={**os.environ, "MIBDIRS": f"{base_mibs}:{rendered}", "MIBS": "ZCS-EXPORTER-MIB"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert re.search(rf"Successful translations: +{len(NOTIFICATION_TYPES)}\n", result.stdout)
    assert re.search(r"Failed translations: +0\n", result.stdout)
    text = converted.read_text()
    for kind in NOTIFICATION_TYPES:
        oid = format_oid(notification_oid(kind.name))
        assert f'EVENT {kind.name} .{oid} "Status Events" {kind.grade}\nFORMAT {kind.title}: $3: $7\n' in text


@pytest.mark.e2e
def test_pysmi_compiles_it(base_mibs: Path, rendered: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for file in (*base_mibs.iterdir(), rendered / FILE_NAME):
        (source / file.stem).write_bytes(file.read_bytes())
    compiler = Path(sys.executable).with_name("mibdump")
    result = subprocess.run(
        [
            *(compiler, f"--mib-source=file://{source}", "--destination-format=json"),
            *(f"--destination-directory={tmp_path}/json", "--mib-borrower=", "ZCS-EXPORTER-MIB"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    told = dict(line.split(": ", 1) for line in (result.stdout + result.stderr).splitlines() if ": " in line)

    assert result.returncode == 0, result.stderr
    assert told["Created/updated MIBs"] == "ZCS-EXPORTER-MIB"
    assert [told[f"{kind} MIBs"] for kind in ("Missing source", "Ignored", "Failed")] == ["", "", ""]
