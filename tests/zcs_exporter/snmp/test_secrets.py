import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zcs_exporter.snmp.secrets import Community, SecretsError, UsmUser, load_secrets

USER = """\
user: traps
auth: {protocol: SHA-256, password: "correct horse battery"}
priv: {protocol: AES-128, password: "staple of the other"}
"""
HIDDEN = "correct horse"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nms.secret"
    path.write_text(USER)
    path.chmod(0o600)
    return path


def refusal(path: Path, version: str = "3", **who: int) -> str:
    with pytest.raises(SecretsError) as caught:
        load_secrets(str(path), version, **who)
    message = str(caught.value)
    assert str(path) in message
    assert HIDDEN not in message
    assert HIDDEN.replace(" ", "") not in message
    assert HIDDEN not in repr(caught.value.__cause__)
    return message


def test_a_user_is_read_with_both_keys(file: Path) -> None:
    assert load_secrets(str(file), "3") == UsmUser(
        "traps", "SHA-256", "correct horse battery", "AES-128", "staple of the other"
    )


def test_a_community_is_read(file: Path) -> None:
    file.write_text("community: s3cret-community\n")
    assert load_secrets(str(file), "2c") == Community("s3cret-community")


def test_secrets_do_not_show_when_printed(file: Path) -> None:
    assert HIDDEN not in repr(load_secrets(str(file), "3"))
    assert "x" * 9 not in repr(Community("x" * 9))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o620, 0o700, 0o601])
def test_a_file_that_others_can_use_is_refused_with_the_mode_to_set(file: Path, mode: int) -> None:
    file.chmod(mode)
    message = refusal(file, uid=file.stat().st_uid, gid=file.stat().st_gid)
    assert f"{mode:04o}" in message
    assert "chmod 0600" in message


def test_the_daemons_own_group_may_read(file: Path) -> None:
    file.chmod(0o640)
    assert load_secrets(str(file), "3", gid=file.stat().st_gid)


def test_another_group_may_not_read(file: Path) -> None:
    file.chmod(0o640)
    assert "daemon's group" in refusal(file, gid=file.stat().st_gid + 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_a_stranger_is_refused_and_one_of_root_or_ours_is_not(file: Path) -> None:
    os.chown(file, 4711, -1)
    assert "chown" in refusal(file, uid=4712)
    assert load_secrets(str(file), "3", uid=4711)
    os.chown(file, 0, -1)
    assert load_secrets(str(file), "3", uid=4712)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none")


def test_a_directory_a_fifo_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    assert "regular" in refusal(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "regular" in refusal(tmp_path / "fifo")
    huge = tmp_path / "huge"
    huge.touch(0o600)
    os.truncate(huge, 10_000_000_000)
    assert "right file" in refusal(huge)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no keys"),
        ("just words", "no keys"),
        ("- a\n- b", "no keys"),
        ("user: traps\nauth: [", "line 3"),
        ("user: 'correct horse\n", "correct the YAML"),
        ("user: a\nuser: b\n", "line 2, column 1: duplicate key;"),
        ("user: !!python/object:os.system {}", "correct the YAML"),
        ("user: !correcthorse", "line 1"),
        ("user: *correcthorse", "line 1"),
        ("user: &correcthorse a\nauth: &correcthorse b", "line 2"),
        ("user: traps\ncommunty: correct horse", "unknown key; known are community, user, auth"),
        ("correct horse battery: ~", "unknown key"),
        ("user: 12345", "'user' is no text; put the value in quotes"),
        ("auth: 12345", "'auth' has the wrong type; write below it 'protocol:' and 'password:'"),
        (USER.replace("auth: {", "auth: {correct horse: 1, "), "unknown key under 'auth'"),
        (USER.replace("auth:", "#"), "'auth' is missing"),
        (USER.replace("priv:", "#"), "'priv' is missing"),
        (USER.replace("user:", "#"), "'user' is missing"),
        (USER.replace("traps", "x" * 33), "over 32"),
        (USER.replace("protocol: SHA-256, ", ""), "'auth.protocol' is missing"),
        (USER.replace("SHA-256", "MD5"), "weak; use SHA-224 or better, or add 'allow_weak: true'"),
        (USER.replace("SHA-256", "SHA-1"), "weak"),
        (USER.replace("AES-128", "DES"), "weak"),
        (USER.replace("AES-128", "3DES"), "weak"),
        (USER.replace("SHA-256", "SHA"), "not known; use one of SHA-224, SHA-256"),
        (USER.replace("AES-128", "correct horse"), "not known; use one of AES-128"),
        (USER.replace("correct horse battery", "correct hor"), "'auth.password' is too short; use 12"),
        (USER.replace("staple of the other", "short"), "'priv.password' is too short"),
        (USER.replace('"correct horse battery"', "123456789012"), "'auth.password' is no text; put"),
    ],
)
def test_each_fault_has_one_line_with_place_and_remedy_and_without_the_secret(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    message = refusal(file)
    assert says in message
    assert "\n" not in message


def test_a_file_for_the_other_version_says_what_is_missing(file: Path) -> None:
    assert "'community' is missing" in refusal(file, "2c")
    file.write_text("community: 'correct horse'")
    assert "'user' is missing" in refusal(file)


@pytest.mark.parametrize("escape", [r"\0", r"\n", r"\x7f"])
def test_a_community_that_no_manager_can_send_is_refused(file: Path, escape: str) -> None:
    file.write_text(f'community: "correct{escape}horse"')
    assert "holds a character that cannot be typed" in refusal(file, "2c")


def test_an_empty_community_is_refused(file: Path) -> None:
    file.write_text("community: ''")
    assert "0 octets" in refusal(file, "2c")


def test_weak_protocols_are_taken_where_they_are_asked_for(file: Path) -> None:
    file.write_text(USER.replace("SHA-256", "MD5").replace("AES-128", "DES") + "allow_weak: true\n")
    assert load_secrets(str(file), "3").auth_protocol == "MD5"


def test_octets_that_are_no_text_are_refused(file: Path) -> None:
    file.write_bytes(b"community: \xff\xfe")
    assert "UTF-8" in refusal(file, "2c")


@settings(max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8")) | st.text("abc:{}[],'\"&*!|>- \n#?@%\t"))
def test_any_text_is_secrets_or_one_clear_line(file: Path, text: str) -> None:
    file.write_text(text)
    message = ""
    try:
        load_secrets(str(file), "2c")
    except SecretsError as exc:
        message = str(exc)
    assert "\n" not in message
