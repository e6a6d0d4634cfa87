"""Who may import whom, what is shipped, and that what is rendered is what is committed."""

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors import LOG_FED
from zcs_exporter import generate
from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.contract import Clock, LogFed
from zcs_exporter.oldlogs.commands import JUDGED
from zcs_exporter.oldlogs.scan import GivenLogs
from zcs_exporter.own_metrics import OWN_METRICS
from zcs_exporter.registry import collector_classes, collector_names, log_fed_names

ROOT = Path(__file__).parents[2]
FOR_COLLECTORS = {"zcs_exporter", "zcs_exporter.blocking", "zcs_exporter.contract", "zcs_exporter.hostio"}
FOR_COLLECTORS |= {
    "zcs_exporter.heavy_hitters",
    "zcs_exporter.inotify",
    "zcs_exporter.installation",
    "zcs_exporter.localconfig",
    "zcs_exporter.log_time",
    "zcs_exporter.mailreport.day",
    "zcs_exporter.mysql_client",
    "zcs_exporter.record_queue",
    "zcs_exporter.schema",
    "zcs_exporter.text",
    "zcs_exporter.durations",
}
STARTERS = {"subprocess", "pty", "multiprocessing", "ctypes.util", "pexpect"}
STARTING_CALLS = {"system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "processor"}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("file", sources("collectors"), ids=lambda file: file.stem)
def test_a_collector_imports_the_contract_and_the_host_and_nothing_else_of_ours(file: Path) -> None:
    ours = {name for name in imports(file) if name.split(".")[0] == "zcs_exporter"}

    assert ours <= FOR_COLLECTORS


@pytest.mark.parametrize("file", sources("zcs_exporter"), ids=lambda file: str(file.relative_to(ROOT)))
def test_only_the_registry_imports_collectors(file: Path) -> None:
    found = {name for name in imports(file) if name.split(".")[0] == "collectors"}

    assert not found or file.name == "registry.py"


@pytest.mark.parametrize(
    "file", [*sources("collectors"), *sources("zcs_exporter")], ids=lambda file: str(file.relative_to(ROOT))
)
def test_no_expression_repeats_a_group_possessively(file: Path) -> None:
    # Python 3.11.2, which Debian 12 has, goes on at the wrong place after a group that was tried in vain.
    assert not re.search(r"\)(?:[?*+]|\{\d*,?\d*\})\+(?![ =])", file.read_text())


@pytest.mark.parametrize(
    "file", [*sources("collectors"), *sources("zcs_exporter")], ids=lambda file: str(file.relative_to(ROOT))
)
def test_nothing_can_start_a_program(file: Path) -> None:
    assert not STARTERS & set(imports(file))
    calls = {
        node.func.attr
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not calls & STARTING_CALLS
    assert not any(
        call.startswith(("exec", "spawn")) and call not in ("execute", "executemany", "executescript") for call in calls
    )


@pytest.mark.parametrize("file", sources("zcs_exporter"), ids=lambda file: str(file.relative_to(ROOT)))
def test_only_one_package_imports_pysnmp(file: Path) -> None:
    found = any(name.split(".")[0] in ("pysnmp", "pyasn1") for name in imports(file))

    assert not found or file.parent == ROOT / "zcs_exporter" / "snmp" / "stack"


def test_every_collector_stands_under_its_own_name() -> None:
    assert [cls.name for cls in collector_classes()] == list(collector_names())
    assert [cls.name for cls in collector_classes() if hasattr(cls, "counted")] == list(log_fed_names())
    assert [cls.name for cls in collector_classes(("auth", "zimbra"))] == ["zimbra", "auth"]


def test_which_collector_reads_which_log_is_known_before_any_is_loaded(tmp_path: Path) -> None:
    for cls in collector_classes(log_fed_names()):
        names = set()
        # The kernel's log has another name with each distribution.
        for given in ([], ["messages"], ["syslog"]):
            host = GivenLogs(str(tmp_path), "/opt/zimbra", given)
            built = cls(cls.config_class(), host, Clock())  # type: ignore[call-arg]
            assert isinstance(built, LogFed)
            names |= {wish.path.rpartition("/")[2] for wish in built.subscriptions()}
        assert names == set(LOG_FED[cls.name])
    assert log_fed_names(["audit.log"]) == ["auth"]
    assert log_fed_names(["audit.log", "unheard.of"]) == log_fed_names()


def test_alerts_by_which_collectors_judge_are_of_the_families_that_a_scan_reads() -> None:
    judged = {metric.name for cls in collector_classes() if hasattr(cls, "take_thresholds") for metric in cls.metrics}
    rules = load_catalogue(asset("alerts")).alerts

    assert {rule.family for rule in rules if judged.intersection(rule.metrics)} <= set(JUDGED)
    assert load_catalogue(asset("alerts"), JUDGED).alerts == tuple(rule for rule in rules if rule.family in JUDGED)


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--version"], {"asyncio", "yaml", "zcs_exporter.contract"}),
        (["scan", "audit.log"], {"pymysql", "cryptography", "httptools", "pysnmp", "sqlite3", "collectors.mysqld"}),
        (["trace", "3F2A81C0E5D", "audit.log"], {"pymysql", "httptools", "pysnmp", "sqlite3", "collectors.auth"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_loads_only_what_it_needs(arguments: list[str], unwanted: set[str], tmp_path: Path) -> None:
    (tmp_path / "audit.log").touch()
    code = (
        "import sys\nfrom zcs_exporter.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert not unwanted & set(done.stderr.splitlines()[-1].split())


def test_the_daemon_loads_rooms_that_few_hosts_use_only_where_they_are_used() -> None:
    code = (
        "import sys\nimport zcs_exporter.daemon\nfrom zcs_exporter.registry import collector_classes\n"
        "collector_classes()\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms = {"agent.agents", "notify.snmp_targets", "snmp.stack", "expose.status_page", "oldlogs", "demo", "dashboards"}
    unwanted = {f"zcs_exporter.{room}" for room in rooms} | {"cryptography", "pysnmp", "statistics", "tempfile"}

    assert not unwanted & set(done.stdout.split())


def test_no_family_has_two_owners() -> None:
    """The page would show one family in two places."""
    families = [metric.name for collector in collector_classes() for metric in collector.metrics]
    families += [metric.name for metric in OWN_METRICS]

    assert sorted(families) == sorted(set(families))


def test_what_is_rendered_is_what_is_committed(tmp_path: Path) -> None:
    generate.main(tmp_path)

    for file in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        name = file.relative_to(tmp_path)
        assert file.read_text() == (ROOT / name).read_text(), f"{name} is out of date; run make generate"


def test_the_wheel_has_two_packages_and_every_asset(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"zcs_exporter", "collectors"}
    assert {"zcs_exporter/py.typed", "collectors/py.typed", "zcs_exporter/expose/page.css"} <= names
    for file in (ROOT / "alerts").glob("*.yaml"):
        assert f"zcs_exporter/_assets/alerts/{file.name}" in names
    assert "zcs_exporter/_assets/mib/ZCS-EXPORTER-MIB.txt" in names
