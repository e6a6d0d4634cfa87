from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zcs_exporter.contract import CollectError, Reason
from zcs_exporter.localconfig import Localconfig, parse_localconfig


def test_values_keep_their_blanks_and_entities_are_resolved() -> None:
    settings_ = parse_localconfig(
        b'<?xml version="1.0" encoding="UTF-8"?>\n<localconfig>\n'
        b'  <key name="zimbra_mysql_password">\n    <value>a&amp;b &lt;c&gt;</value>\n  </key>\n'
        b'  <key name="zmstat_df_excludes"><value></value></key>\n'
        b'  <key name="without_value"></key>\n</localconfig>\n'
    )

    assert settings_.get("zimbra_mysql_password") == "a&b <c>"
    assert settings_.get("zmstat_df_excludes") == ""
    assert settings_.get("without_value") is None


def test_a_key_that_was_not_set_has_zcs_own_default_and_is_not_explicit() -> None:
    empty = Localconfig({})

    assert empty.get("zmdisklog_warn_threshold") == "85"
    assert empty.get_explicit("zmdisklog_warn_threshold") is None
    assert empty.number("zmdisklog_warn_threshold") is None
    assert empty.get("zimbra_mysql_password") == "secret"


def test_keys_without_a_compiled_in_default_exist_only_in_the_file() -> None:
    assert Localconfig({}).get("snmp_notify") is None


@pytest.mark.parametrize(
    ("keys", "on"),
    [({}, False), ({"a": ""}, False), ({"a": "0"}, False), ({"a": "no"}, True), ({"a": "00"}, True)],
)
def test_truth_is_perls(keys: dict[str, str], *, on: bool) -> None:
    assert Localconfig(keys).is_on("a") is on


def test_references_are_expanded_at_any_depth_by_the_same_rule() -> None:
    site = Localconfig({"zimbra_home": "/srv/zimbra", "zimbra_db_directory": "${zimbra_home}/database"})

    assert site.get("mysql_data_directory") == "/srv/zimbra/database/data"
    assert site.get("zimbra_log_directory") == "/srv/zimbra/log"


def test_unknown_and_circular_references_stay_as_they_stand() -> None:
    site = Localconfig({"a": "${b}", "b": "x${a}", "c": "${c}", "d": "${nowhere}/y", "e": "${not closed"})

    assert site.get("a") == "x${a}"
    assert site.get("c") == "${c}"
    assert site.get("d") == "${nowhere}/y"
    assert site.get("e") == "${not closed"


def test_a_file_made_to_explode_does_not() -> None:
    bomb = Localconfig({f"k{n}": f"${{k{n + 1}}}" * 10 for n in range(20)} | {"k20": "boom"})

    assert len(bomb.get("k0") or "") < 100_000


def test_a_chain_of_any_length_does_not_exhaust_the_stack() -> None:
    assert Localconfig({f"k{n}": f"${{k{n + 1}}}" for n in range(900)}).get("k0") is not None


@pytest.mark.parametrize(("text", "number"), [("80", 80.0), (" 80 ", 80.0), ("8x", None), ("nan", None), ("inf", None)])
def test_only_a_finite_number_is_a_number(text: str, number: float | None) -> None:
    assert Localconfig({"zmdisklog_warn_threshold": text}).number("zmdisklog_warn_threshold") == number


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"<localconfig>",
        b"<other/>",
        b"\x00",
        b'<?xml version="1.0" encoding="klingon"?><localconfig/>',
    ],
)
def test_what_is_no_localconfig_is_an_error(data: bytes) -> None:
    with pytest.raises(CollectError, match=r"localconfig\.xml") as caught:
        parse_localconfig(data)
    assert caught.value.reason is Reason.PARSE


@settings(max_examples=2_000, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: f"<localconfig>{text}</localconfig>".encode()))
def test_any_bytes_are_settings_or_an_error(data: bytes) -> None:
    with suppress(CollectError):
        parse_localconfig(data).get("zimbra_home")


@settings(max_examples=2_000, deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.sampled_from(["${a}", "${b}", "${c}", "x"])).map("".join)))
def test_any_web_of_references_ends(explicit: dict[str, str]) -> None:
    for key in explicit:
        assert Localconfig(explicit).get(key) is not None
