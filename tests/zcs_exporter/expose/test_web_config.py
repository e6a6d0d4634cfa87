import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from web_parts import Certificates

from zcs_exporter.config import ConfigError
from zcs_exporter.expose.web_config import load_web_settings

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
PAIR = "tls_server_config: {cert_file: server.crt, key_file: server.key"


def faults(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_web_settings(str(file))
    return caught.value.faults


def test_without_a_file_there_is_neither_tls_nor_a_user() -> None:
    found = load_web_settings(None)

    assert (found.tls, found.users, found.headers) == (None, {}, {})


def test_an_empty_file_is_as_none(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text("")

    assert load_web_settings(str(file)) == load_web_settings(None)


def test_a_file_as_other_exporters_have_it_is_understood(certificates: Certificates) -> None:
    file = certificates.directory / "full.yaml"
    file.write_text(
        f"""
tls_server_config:
  cert_file: server.crt
  key_file: {certificates.server[1]}
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  min_version: TLS13
http_server_config:
  http2: true
  headers:
    Strict-Transport-Security: max-age=63072000
    X-Frame-Options: ""
basic_auth_users:
  alice: {HASH}
"""
    )

    found = load_web_settings(str(file))

    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_REQUIRED
    assert found.tls.minimum_version is ssl.TLSVersion.TLSv1_3
    assert found.users == {"alice": HASH}
    assert found.headers == {"Strict-Transport-Security": "max-age=63072000"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("basic_auth_user: {}", "line 1: basic_auth_user: unknown key; did you mean basic_auth_users?"),
        ("basic_auth_users:\n  alice: secret", "line 2: basic_auth_users.alice: is not a bcrypt hash; make one with"),
        ("basic_auth_users:\n  alice: $2y$20$" + "a" * 53, "line 2: basic_auth_users.alice: cost 20 takes too long"),
        ("basic_auth_users:\n  alice: $2y$٠٩$" + "a" * 53, "line 2: basic_auth_users.alice: is not a bcrypt hash"),
        ('tls_server_config: {cert_file: "a\\0b", key_file: server.key}', "a\\x00b': no file can have this name"),
        ("<<: {tls_server_config: {cert_file: no.crt, key_file: server.key}}", "no.crt: No such file or directory"),
        ("basic_auth_users:\n  a: 1\n  a: 2", "line 3, column 3: duplicate key 'a'"),
        ("rate_limit: {burst: 1}", "line 1: rate_limit: unknown key; known here: basic_auth_users, http_server_config"),
        ("tls_server_config: {cert_file: a.crt}", "line 1: tls_server_config.key_file: is missing"),
        (PAIR + ", cert: x}", "line 1: tls_server_config.cert: unknown key; did you mean cert_file?"),
        (
            PAIR + ", client_auth_type: RequireAnyClientCert}",
            "line 1: tls_server_config.client_auth_type: must be",
        ),
        (PAIR + ", client_auth_type: VerifyClientCertIfGiven}", "needs client_ca_file; add it"),
        (PAIR + ", client_ca_file: ca.crt}", "client_ca_file does nothing without client_auth_type"),
        (PAIR + ", min_version: TLS10}", "line 1: tls_server_config.min_version: must be 'TLS12' or 'TLS13'"),
        (PAIR + ", min_version: TLS13, max_version: TLS12}", "min_version is above max_version; swap them"),
        ("tls_server_config: {cert_file: no.crt, key_file: server.key}", "no.crt: No such file or directory; check"),
        ("tls_server_config: {cert_file: client.crt, key_file: server.key}", "cannot be used (KEY_VALUES_MISMATCH)"),
        ("tls_server_config: {cert_file: server.crt, key_file: locked.key}", "the key is protected by a password"),
        ("tls_server_config: {cert_file: ., key_file: server.key}", "is not a regular file"),
        (
            PAIR + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: server.key}",
            "server.key cannot be used",
        ),
        ('http_server_config: {headers: {X-Frame-Options: "deny\\r\\nSet-Cookie: a"}}', "must be one line of ASCII"),
        ("http_server_config: {headers: {Set-Cookie: a}}", "Set-Cookie"),
        ("- a", "holds no keys; write it like"),
        ("a: [", "line 2, column 1: did not find"),
    ],
)
def test_each_mistake_is_named_with_its_place(certificates: Certificates, text: str, fault: str) -> None:
    key = serialization.load_pem_private_key(certificates.server[1].read_bytes(), None)
    (certificates.directory / "locked.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    file = certificates.directory / "broken.yaml"
    file.write_text(text)

    (found,) = faults(file)

    assert found.startswith(str(file))
    assert fault in found
    assert "secret" not in found.removeprefix(str(file)), "what may be a password is not repeated"


def test_all_mistakes_are_told_at_once(certificates: Certificates) -> None:
    file = certificates.directory / "broken.yaml"
    file.write_text("tls_server_config: {cert_file: no.crt, key_file: no.key}\n")
    assert len(faults(file)) == 2
    file.write_text("basic_auth_users: {a: x, b: y}\nnonsense: 1\n")
    assert len(faults(file)) == 3


@pytest.mark.parametrize("kind", ["missing", "directory", "latin1"])
def test_a_file_that_is_none_is_a_fault_and_no_wait(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "web.yaml"
    if kind == "directory":
        file.mkdir()
    elif kind == "latin1":
        file.write_bytes(b"basic_auth_users: {\xe4: x}")

    (found,) = faults(file)

    assert found.startswith(f"{file}: ")


@given(text=st.text())
@settings(max_examples=500, deadline=None)
def test_any_text_is_settings_or_faults(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")

    found: list[str] | None = None
    try:
        load_web_settings(str(file))
    except ConfigError as exc:
        found = exc.faults
    assert found is None or (found and all(fault.startswith(str(file)) for fault in found))
