"""What is in the package."""

import re
import subprocess
from pathlib import Path

import pytest
from e2e.lab import run

from zcs_exporter import __version__

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def listing(package: Path) -> dict[str, str]:
    """Mode and owner of every file, by its path."""
    lines = (line.split(maxsplit=5) for line in run("dpkg-deb", "--contents", package).splitlines())
    return {line[5].removeprefix("."): f"{line[0]} {line[1]}" for line in lines}


def test_everything_has_its_place(listing: dict[str, str]) -> None:
    share, doc = "/usr/share/zcs-exporter", "/usr/share/doc/zcs-exporter"
    places = {
        *("/usr/bin/zcs-exporter", "/usr/lib/systemd/system/zcs-exporter.service", "/etc/zcs-exporter/conf.d/"),
        *("/usr/lib/sysusers.d/zcs-exporter.conf", "/usr/lib/tmpfiles.d/zcs-exporter.conf"),
        *("/usr/share/man/man8/zcs-exporter.8.gz", "/usr/share/bash-completion/completions/zcs-exporter"),
        *("/usr/share/snmp/mibs/ZCS-EXPORTER-MIB.txt", f"{share}/prometheus/zcs-exporter.rules.yaml"),
        *(f"{doc}/{name}" for name in ("README.md", "copyright", "changelog.gz", "changelog.Debian.gz")),
        *(f"{doc}/docs/install.md", f"{doc}/docs/configuration.md", f"{doc}/examples/config.yaml"),
    }
    managers = ROOT / "packaging/managers"
    places |= {f"{share}/managers/{each.relative_to(managers)}" for each in managers.rglob("*") if each.is_file()}

    assert places - set(listing) == set()


def test_nothing_is_where_it_does_not_belong(listing: dict[str, str]) -> None:
    homes = (
        *("/etc/zcs-exporter/", "/usr/lib/zcs-exporter/", "/usr/share/doc/zcs-exporter/", "/usr/share/zcs-exporter/"),
        *("/usr/bin/", "/usr/lib/systemd/system/", "/usr/lib/sysusers.d/", "/usr/lib/tmpfiles.d/"),
        *("/usr/share/lintian/overrides/", "/usr/share/python3/runtime.d/", "/usr/share/snmp/mibs/"),
        *("/usr/share/man/man8/", "/usr/share/bash-completion/completions/"),
    )
    files = [path for path in listing if not path.endswith("/")]

    assert [path for path in files if not path.startswith(homes)] == []
    assert [path for path in files if re.search(r"\.(pyc|pth)$|/(tests|__pycache__)/", path)] == []


def test_all_belongs_to_root_and_only_programs_are_executable(listing: dict[str, str]) -> None:
    assert {rights.split()[1] for rights in listing.values()} == {"root/root"}
    assert {rights.split()[0] for path, rights in listing.items() if path.endswith("/")} == {"drwxr-xr-x"}
    executable = {path.rpartition("/")[2] for path, rights in listing.items() if rights.startswith("-rwxr-xr-x")}
    assert executable == {"zcs-exporter", "zcs-exporter.rtupdate", "zcs-submit"}
    assert {rights.split()[0] for rights in listing.values()} == {"drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--"}


def test_it_says_what_it_is_and_what_it_needs(package: Path) -> None:
    control = dict(re.findall(r"^([\w-]+): (.*)$", run("dpkg-deb", "--field", package), re.M))

    assert re.fullmatch(rf"{re.escape(__version__)}([~+]git[0-9a-f.]+)?-1", control["Version"])
    for need in ("python3 (>= 3.11)", "python3 (<< 3.14~)", "systemd"):
        assert need in control["Depends"].split(", ")


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_the_scripts_of_the_package_are_sound(script: str) -> None:
    subprocess.run(["sh", "-n", ROOT / "packaging/deb" / script], check=True)
