from pathlib import Path

import pytest
from fakes import FakeHost
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.installation import (
    Installation,
    parse_install_history,
    parse_service_cache,
    parse_stats_conf,
    version_key,
)

HOME = "/opt/zimbra"


def test_a_host_without_localconfig_has_no_zimbra(tmp_path: Path) -> None:
    assert not FakeHost(tmp_path).zcs.present()


def test_home_is_where_it_is_configured(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    zcs = Installation(host, "/srv/zimbra/")

    assert zcs.path("conf/my.cnf") == "/srv/zimbra/conf/my.cnf"


def test_enabled_services_come_from_stats_conf_without_aliases_and_with_zmconfigd(host: FakeHost) -> None:
    host.services("mailbox", "mta", "service", "zimbra", "zimbraAdmin", "zimlet")

    assert host.zcs.enabled_services() == {"mailbox", "mta", "zmconfigd"}


def test_the_cache_of_zmcontrol_serves_where_stats_conf_is_missing_or_empty(host: FakeHost) -> None:
    host.write(f"{HOME}/log/.zmcontrol.cache", "mailbox\nimapproxy\nzmconfigd\n")
    assert host.zcs.enabled_services() == {"mailbox", "imapproxy", "zmconfigd"}

    host.write(f"{HOME}/conf/stats.conf", "")
    assert host.zcs.enabled_services() == {"mailbox", "imapproxy", "zmconfigd"}


def test_unknown_services_are_none_and_not_an_empty_set(host: FakeHost) -> None:
    assert host.zcs.enabled_services() is None


def test_a_replaced_file_is_read_again(host: FakeHost) -> None:
    host.services("mailbox")
    before = host.zcs.enabled_services()
    host.services("ldap")

    assert before == {"mailbox", "zmconfigd"}
    assert host.zcs.enabled_services() == {"ldap", "zmconfigd"}


def test_an_unchanged_file_is_not_read_again(host: FakeHost) -> None:
    reads: list[str] = []

    class Counting(FakeHost):
        def read(self, path: str, limit: int = 1 << 20) -> bytes:
            reads.append(path)
            return super().read(path, limit)

    counting = Counting(host.base)
    counting.services("mailbox")
    for _ in range(3):
        counting.zcs.enabled_services()

    assert len(reads) == 1


def test_the_host_name_is_none_where_localconfig_is_missing_or_broken(host: FakeHost, tmp_path: Path) -> None:
    assert host.zcs.hostname() == "mail.example.com"
    host.write(f"{HOME}/conf/localconfig.xml", "<localconfig>")

    assert host.zcs.hostname() is None
    assert FakeHost(tmp_path / "nothing").zcs.hostname() is None


RPM = "1396966823: INSTALLED zimbra-core-8.0.7_GA_6021.RHEL6_64-20140408123911.x86_64.rpm\n"
DEB = "1470000000: UPGRADED zimbra-core_8.7.0.GA.1659.UBUNTU14.64_amd64.deb\n"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (RPM, "8.0.7"),
        (RPM + DEB, "8.7.0"),
        ("1400000000: UPGRADED zimbra-core-8.0.7_6022\n", "8.0.7"),
        ("1400000000: INSTALLED zimbra-ldap-8.0.7_GA_6021.RHEL6_64-20140408123911.x86_64.rpm\n", None),
        ("1400000000: INSTALLED zimbra-core-components_4.0.1-1_amd64.deb\n", None),
        ("", None),
    ],
)
def test_the_release_is_that_of_the_core_package_installed_last(text: str, version: str | None) -> None:
    assert parse_install_history(text.encode()).core_version == version


def test_the_patch_is_the_highest_configured_since_the_last_installation() -> None:
    history = (
        "1: INSTALL SESSION START\n2: CONFIGURED patch 8.8.15_P99\n"
        "3: INSTALL SESSION START\n4: INSTALL SESSION COMPLETE\n"
        "5: CONFIGURED patch 8.8.15_P9\n6: CONFIGURED proxy-patch 8.8.15_P10\n7: CONFIGURED BEGIN\n"
    )

    assert parse_install_history(history.encode()).patch == "8.8.15_P10"
    assert parse_install_history(b"1: CONFIGURED patch8.0.7\n").patch == "8.0.7"
    assert parse_install_history(b"1: CONFIGURED patches 8.0.7\n").patch is None


@pytest.mark.parametrize(
    ("lines", "open_since"),
    [
        (["10: INSTALL SESSION START"], 10.0),
        (["10: INSTALL SESSION START", "20: INSTALL SESSION COMPLETE"], None),
        (["10: INSTALL SESSION START", "20: INSTALL SESSION COMPLETE", "30: CONFIG SESSION START"], 30.0),
        (["10: CONFIG SESSION START", "20: CONFIG SESSION COMPLETE"], None),
        (["x: INSTALL SESSION START"], None),
    ],
)
def test_a_session_is_open_from_its_start_to_its_completion(lines: list[str], open_since: float | None) -> None:
    assert parse_install_history("\n".join(lines).encode()).open_since == open_since


def test_versions_compare_by_number() -> None:
    assert version_key("8.8.15_P9") < version_key("8.8.15_P10") < version_key("10.0.0")


@settings(max_examples=2_000, deadline=None)
@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from(["1: ", "CONFIGURED ", "patch ", "INSTALLED ", "zimbra-core-", "8.", "9", "\n"])).map(
        lambda parts: "".join(parts).encode()
    )
)
def test_any_text_is_understood_as_far_as_it_can_be(data: bytes) -> None:
    parse_install_history(data)
    assert all(" " not in name for name in parse_stats_conf(data) | parse_service_cache(data))
