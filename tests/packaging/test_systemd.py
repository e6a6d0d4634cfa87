"""The unit and what belongs to it: accepted by systemd, confined, and true to the code; the example configuration."""

import itertools
import os
import re
import runpy
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from zcs_exporter.alerting.model import load_catalogue
from zcs_exporter.assets import asset
from zcs_exporter.config import SnmpTargetConfig, config_model, load_config
from zcs_exporter.contract import MAINTENANCE_FILE
from zcs_exporter.daemon import STOP_WITHIN, STUCK_AFTER
from zcs_exporter.schema import Section

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging/systemd/zcs-exporter.service"
EXAMPLE = ROOT / "packaging/config.yaml"
TARGET = ("name", "host", "secrets")
"""What has no default."""


def directives() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.M):
        found.setdefault(name, []).append(value)
    return found


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here; install the package systemd")
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_systemd_accepts_the_unit_without_a_word(tmp_path: Path) -> None:
    # The program need not be installed where the tests run.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/bin/zcs-exporter", "/bin/true"))

    done = analyze("verify", unit)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_its_exposure_is_two_or_less() -> None:
    done = analyze("security", "--offline=true", "--threshold=20", UNIT)

    assert done.returncode == 0, done.stdout


def test_the_daemon_has_one_capability_and_is_looked_after() -> None:
    unit = directives()

    assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == ["CAP_DAC_READ_SEARCH"]
    assert unit["Type"] == ["notify"]
    # The watchdog may end a daemon that has taken no turn for longer than this.
    assert int(unit["WatchdogSec"][0]) > STUCK_AFTER
    assert (unit["Restart"], unit["StartLimitIntervalSec"]) == (["on-failure"], ["0"])
    assert int(unit["TimeoutStopSec"][0]) > STOP_WITHIN
    assert unit["RuntimeDirectoryPreserve"] == ["yes"]


def test_a_reload_looks_at_the_configuration_first() -> None:
    assert directives()["ExecReload"] == ["/usr/bin/zcs-exporter check-config", "/bin/kill -HUP $MAINPID"]


def test_nothing_is_hidden_that_would_keep_a_file_system_of_zimbra_mounted() -> None:
    hidden = " ".join(directives()["InaccessiblePaths"]).split()

    assert "-/etc/krb5.keytab" in hidden
    assert not [path for path in hidden if path.startswith("-/opt")]


def test_its_directories_are_those_of_the_code() -> None:
    unit = directives()

    assert f"/var/lib/{unit['StateDirectory'][0]}" == config_model()().state.directory
    [runtime] = unit["RuntimeDirectory"]
    assert MAINTENANCE_FILE.startswith(f"/run/{runtime}/")
    assert f"d /run/{runtime} " in (ROOT / "packaging/systemd/tmpfiles.conf").read_text()


@pytest.fixture
def example(tmp_path: Path) -> dict[str, Any]:
    """The example with every option in force."""
    text = "\n".join(line.removeprefix("#") for line in EXAMPLE.read_text().splitlines() if not re.match(r"# \S", line))
    file = tmp_path / "config.yaml"
    file.write_text(text)
    load_config(str(file), load_catalogue(asset("alerts")))
    return dict(yaml.safe_load(text))


def differences(model: Section, given: dict[str, Any]) -> Iterator[str]:
    """The options that are missing, or have another value than they have without a configuration."""
    taken = type(model).of(given)
    for name in model.options:
        value, default = getattr(taken, name), getattr(model, name)
        if name not in given:
            yield f"{name} is missing"
        elif isinstance(default, Section):
            yield from (f"{name}.{each}" for each in differences(default, given[name]))
        elif value != default:
            yield f"{name} is {value!r}, not {default!r}"


def test_nothing_is_in_force_in_the_example_as_it_is_shipped() -> None:
    assert yaml.safe_load(EXAMPLE.read_text()) is None


def test_the_example_has_every_option_with_its_default(example: dict[str, Any]) -> None:
    model = config_model()
    example["alerts"]["overrides"] = {}
    example["notify"] |= {"snmp": [], "mail": [], "webhook": []}
    collectors = example.pop("collectors")

    assert [each for each in differences(model(), example | {"collectors": {}}) if "collectors." not in each] == []
    for name, options in collectors.items():
        of_it = getattr(model().collectors, name)
        assert list(differences(of_it, {**options, "enabled": "auto", "interval": None})) == [], name


def test_the_example_of_a_target_has_every_option_with_its_default(example: dict[str, Any]) -> None:
    [target] = example["notify"]["snmp"]
    bare = SnmpTargetConfig(**{name: target[name] for name in TARGET})

    assert list(differences(bare, target)) == []


def test_what_the_package_carries_is_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {each.partition(">=")[0].lower() for each in project["dependencies"]}
    carried = re.findall(r"^([\w-]+)==", (ROOT / "packaging/deb/requirements.txt").read_text(), re.M)

    assert wanted <= set(carried)


def test_packages_of_newer_commits_have_higher_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    of = runpy.run_path(str(ROOT / "packaging/deb/build"))["version_and_epoch"]

    def git(*arguments: str, at: int = 0) -> None:
        who = {"GIT_COMMITTER_DATE": f"{at} +0200", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(tmp_path)}
        name = ("-c", "user.name=n", "-c", "user.email=n@example.com", "-c", "init.defaultBranch=main")
        subprocess.run(["git", *name, *arguments], cwd=tmp_path, env={**os.environ, **who}, check=True)

    def commit(at: int) -> str:
        git("commit", "--quiet", "--allow-empty", "--message=m", at=at)
        version, epoch = of("0.1.0", tmp_path)
        assert epoch == at
        return str(version)

    git("init", "--quiet")
    versions = [commit(1_795_345_825), commit(1_795_350_000)]
    assert re.fullmatch(r"0\.1\.0~git20261122\.111025\.[0-9a-f]{7}", versions[0])
    git("tag", "v0.1.0")
    versions.append(of("0.1.0", tmp_path)[0])
    assert versions[2] == "0.1.0"
    versions += [commit(1_795_360_000), "0.1.1~git20261123.000000"]
    for older, newer in itertools.pairwise(versions):
        subprocess.run(["dpkg", "--compare-versions", f"{older}-1", "lt", f"{newer}-1"], check=True)


def test_without_git_the_time_is_that_of_the_files_unless_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    of = runpy.run_path(str(ROOT / "packaging/deb/build"))["version_and_epoch"]
    (tmp_path / "pyproject.toml").touch()
    os.utime(tmp_path / "pyproject.toml", (1_795_345_825, 1_795_345_825))

    assert of("0.1.0", tmp_path) == ("0.1.0~git20261122.111025", 1_795_345_825)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert of("0.1.0", tmp_path) == ("0.1.0~git19700101.000000", 0)
