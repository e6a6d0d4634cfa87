import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from fakes import FakeHost, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.zimbra import (
    DPKG_STATUS,
    INFO,
    ROLE,
    SNMP_NOTIFY,
    SNMP_VULNERABLE,
    ZimbraCollector,
    ZimbraConfig,
    parse_dpkg_status,
    release,
)
from zcs_exporter.contract import CollectError, Finding, NotOnThisHost, Reason, Sample, Shortfall

HOME = "/opt/zimbra"
HISTORY_8_8_15 = """\
1588000000: INSTALL SESSION START
1588000001: INSTALLED zimbra-core-8.8.15.GA.3869.UBUNTU18.64-20190917004220.x86_64.rpm
1588000002: INSTALL SESSION COMPLETE
1588000003: CONFIG SESSION START
1588000004: CONFIGURED BEGIN
1588000005: CONFIGURED END
1588000006: CONFIG SESSION COMPLETE
"""
DPKG = """\
Package: adduser
Status: install ok installed
Version: 3.118

Package: zimbra-core
Status: {status}
Priority: optional
Architecture: amd64
Version: {version}
Description: Best email money can buy

Package: zimbra-core-components
Status: install ok installed
Version: 4.0.1-1zimbra10.0b1.20.04
"""


def look(host: FakeHost, manual: ManualClock) -> list[Finding]:
    return list(asyncio.run(_collect(ZimbraCollector(ZimbraConfig(), host, manual.clock))))


async def _collect(collector: ZimbraCollector) -> list[Finding]:
    return list(await collector.collect())


def info(findings: list[Finding]) -> dict[str, str]:
    (sample,) = (f for f in findings if isinstance(f, Sample) and f.metric is INFO)
    return sample.label_map()


def vulnerable(findings: list[Finding]) -> float | None:
    values = [f.value for f in findings if isinstance(f, Sample) and f.metric is SNMP_VULNERABLE]
    return values[0] if values else None


def roles(findings: list[Finding]) -> list[str]:
    return [f.labels[0] for f in findings if isinstance(f, Sample) and f.metric is ROLE]


def test_release_patch_edition_host_name_and_roles_of_an_rpm_host(host: FakeHost, manual: ManualClock) -> None:
    patches = "1590000000: CONFIGURED patch 8.8.15_P9\n1600000000: CONFIGURED mta-patch 8.8.15_P10\n"
    host.write(f"{HOME}/.install_history", HISTORY_8_8_15 + patches)
    host.write(f"{HOME}/bin/zmbackupquery", "")
    host.services("mailbox", "mta", "ldap", "proxy", "stats", "spell", "service", "zimbra")
    findings = look(host, manual)

    assert info(findings) == {
        "version": "8.8.15",
        "patch": "8.8.15_P10",
        "edition": "network",
        "hostname": "mail.example.com",
    }
    assert roles(findings) == ["ldap", "mailbox", "mta", "proxy"]
    assert not any(isinstance(finding, Shortfall) for finding in findings)


def test_dpkg_knows_better_than_the_history_what_is_installed(host: FakeHost, manual: ManualClock) -> None:
    host.write(f"{HOME}/.install_history", HISTORY_8_8_15)
    host.write(DPKG_STATUS, DPKG.format(status="install ok installed", version="10.0.0.GA.4518.UBUNTU20.64"))

    assert info(look(host, manual))["version"] == "10.0.0"


def test_a_replaced_dpkg_status_is_read_again(host: FakeHost, manual: ManualClock) -> None:
    collector = ZimbraCollector(ZimbraConfig(), host, manual.clock)
    host.write(DPKG_STATUS, DPKG.format(status="install ok installed", version="10.0.0.GA.4518.UBUNTU20.64"))
    first = info(asyncio.run(_collect(collector)))["version"]
    host.write(DPKG_STATUS, DPKG.format(status="install ok installed", version="10.1.0.GA.4633.UBUNTU20.64"))

    assert (first, info(asyncio.run(_collect(collector)))["version"]) == ("10.0.0", "10.1.0")


def test_a_package_that_was_removed_is_not_installed() -> None:
    assert parse_dpkg_status(DPKG.format(status="deinstall ok config-files", version="8.8.15.GA.1").encode()) is None


def test_a_package_whose_name_only_begins_alike_is_another() -> None:
    assert parse_dpkg_status(b"Package: zimbra-core-jar\nStatus: install ok installed\nVersion: 8.8.15.1\n") is None


@pytest.mark.parametrize(
    ("core", "patch", "shown"),
    [
        ("8.8.15", None, ("8.8.15", "")),
        ("9.0.0", "9.0.0_P39", ("9.0.0", "9.0.0_P39")),
        ("10.0.0", "10.0.8", ("10.0.8", "10.0.8")),
        ("10.0.0", "10.0.0_P8", ("10.0.8", "10.0.0_P8")),
        ("10.1.4", "10.1.2", ("10.1.4", "10.1.2")),
        ("10.1.0", "x", ("10.1.0", "x")),
    ],
)
def test_from_10_the_patch_takes_the_place_of_the_micro_number(
    core: str, patch: str | None, shown: tuple[str, str]
) -> None:
    assert release(core, patch) == shown


def test_a_release_that_nothing_names_is_unknown_and_said(host: FakeHost, manual: ManualClock) -> None:
    findings = look(host, manual)

    assert info(findings)["version"] == ""
    assert info(findings)["edition"] == "foss"
    messages = [finding.message for finding in findings if isinstance(finding, Shortfall)]
    assert any("rpm database is not read" in message for message in messages)


def test_an_unreadable_history_is_said_with_its_reason(host: FakeHost, manual: ManualClock) -> None:
    class NoHistory(FakeHost):
        def read(self, path: str, limit: int = 1 << 20) -> bytes:
            if path.endswith(".install_history"):
                raise PermissionError(13, "Permission denied", path)
            return super().read(path, limit)

    host.write(f"{HOME}/.install_history", HISTORY_8_8_15)
    findings = look(NoHistory(host.base), manual)

    assert any(isinstance(f, Shortfall) and f.reason is Reason.PERMISSION and f.remedy for f in findings)


def test_without_a_list_of_services_there_is_no_role_rather_than_none_present(
    host: FakeHost, manual: ManualClock
) -> None:
    findings = look(host, manual)

    assert roles(findings) == []
    assert any(isinstance(finding, Shortfall) and "roles" in finding.message for finding in findings)


@pytest.mark.parametrize(
    ("version", "services", "notify", "verdict"),
    [
        ("10.1.19", ("snmp",), "yes", 1),
        ("10.1.19", ("snmp",), "no", 1),
        ("10.1.19", ("snmp",), "0", 0),
        ("10.1.19", ("snmp",), "", 0),
        ("10.1.19", ("mta",), "yes", 0),
        ("10.1.20", ("snmp",), "yes", 0),
        ("10.2.0", ("snmp",), "yes", 0),
        ("8.8.15", ("snmp",), "1", 1),
        ("10.1.19", (), "yes", None),
        ("", ("snmp",), "yes", None),
        ("", (), "0", 0),
    ],
)
def test_the_hole_is_open_where_swatch_notifies_in_a_release_before_the_fix(
    host: FakeHost, manual: ManualClock, version: str, services: tuple[str, ...], notify: str, verdict: float | None
) -> None:
    host.localconfig(zimbra_server_hostname="mail.example.com", snmp_notify=notify)
    if services:
        host.services(*services)
    if version:
        host.write(DPKG_STATUS, DPKG.format(status="install ok installed", version=f"{version}.GA.1.UBUNTU20.64"))

    assert vulnerable(look(host, manual)) == verdict


def test_snmp_notify_that_was_never_set_is_off(host: FakeHost, manual: ManualClock) -> None:
    host.services("snmp")

    assert vulnerable(look(host, manual)) == 0


@pytest.mark.parametrize(
    ("keys", "services", "enabled"),
    [
        ({}, "snmp", 0),
        ({"snmp_notify": "1"}, "mta", 0),
        ({"snmp_notify": "no"}, "snmp", 1),
        ({"snmp_notify": "1"}, "", None),
    ],
)
def test_that_zcs_notifies_itself_is_told(
    host: FakeHost, manual: ManualClock, keys: dict[str, str], services: str, enabled: float | None
) -> None:
    host.localconfig(**keys)
    if services:
        host.services(services)

    found = [each.value for each in look(host, manual) if isinstance(each, Sample) and each.metric is SNMP_NOTIFY]
    assert found == ([] if enabled is None else [enabled])


def test_a_host_without_zimbra_has_no_version(tmp_path: Path, manual: ManualClock) -> None:
    with pytest.raises(NotOnThisHost):
        look(FakeHost(tmp_path), manual)


def test_a_broken_localconfig_is_an_error(host: FakeHost, manual: ManualClock) -> None:
    host.write(f"{HOME}/conf/localconfig.xml", "<localconfig>")

    with pytest.raises(CollectError, match=r"localconfig\.xml") as caught:
        look(host, manual)
    assert caught.value.reason is Reason.PARSE


@settings(max_examples=2_000, deadline=None)
@given(st.binary(max_size=200), st.text(max_size=20))
def test_any_dpkg_status_has_a_version_or_none(data: bytes, version: str) -> None:
    around = DPKG.format(status="install ok installed", version=version).encode()
    with suppress(CollectError):
        for content in (data, around, data + b"\n" + around):
            found = parse_dpkg_status(content)
            assert found is None or len(found.split(".")) == 3
