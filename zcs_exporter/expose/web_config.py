"""The web configuration file: TLS, client certificates and users, as Prometheus' exporter toolkit has them.

Format: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. What this server
does not do (settings of a rate limit, of curves and cipher suites, keys written into the file, client
certificates that nobody verifies) is refused rather than ignored.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from zcs_exporter.config import ConfigError
from zcs_exporter.schema import After, Limits, Section, check
from zcs_exporter.strict_yaml import YamlError, load_yaml

_MAX_FILE = 1 << 20
_MAX_COST = 16

# $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the file comes to.

    Attributes:
        tls: None for plain HTTP.
        users: bcrypt hashes by user name.
        headers: Sent with every response, instead of our own where the name is the same.
    """

    tls: ssl.SSLContext | None = None
    users: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def load_web_settings(file: str | None) -> WebSettings:
    """Read the web configuration file and the certificates that it names.

    Args:
        file: None for no file: plain HTTP without users.

    Raises:
        ConfigError: All faults, each with its place.
    """
    if file is None:
        return WebSettings()
    try:
        data, lines = load_yaml(_read(file))
    except YamlError as exc:
        raise ConfigError([f"{file}, {exc}" if str(exc).startswith("line") else f"{file}: {exc}"]) from exc
    if data is not None and not isinstance(data, dict):
        raise ConfigError([f"{file}: holds no keys; write it like 'tls_server_config: {{cert_file: server.crt}}'"])
    content, faults = check(_File, data, lines, file)
    if content is None:
        raise ConfigError(faults)
    tls = None
    if content.tls_server_config is not None:
        line = lines.get(("tls_server_config",))  # none where it was merged in
        place = f"{file}: tls_server_config" if line is None else f"{file}, line {line}: tls_server_config"
        tls = _tls_context(content.tls_server_config, os.path.dirname(file), place)
    headers = {} if content.http_server_config is None else content.http_server_config.headers
    return WebSettings(tls, dict(content.basic_auth_users), {name: text for name, text in headers.items() if text})


def _bcrypt_hash(text: str) -> str:
    match = _BCRYPT.fullmatch(text)
    if match is None:
        raise ValueError("is not a bcrypt hash; make one with: htpasswd -nBC 10 USER")
    if not 4 <= int(match[1]) <= _MAX_COST:
        raise ValueError(f"cost {int(match[1])} takes too long; make a hash of cost 4 to {_MAX_COST}")
    return text


def _user(name: str) -> str:
    if not name or ":" in name or not name.isprintable():
        raise ValueError("a user name must not be empty and must not contain a colon or control characters")
    return name


def _header(text: str) -> str:
    if not (text.isascii() and (text.isprintable() or not text)):
        raise ValueError("a header's value must be one line of ASCII characters")
    return text


_HeaderName = Literal[
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
]


_Name = Annotated[str, Limits(min_length=1)]


class _Tls(Section):
    cert_file: _Name
    key_file: _Name
    client_auth_type: Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] = "NoClientCert"
    client_ca_file: _Name | None = None
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS12", "TLS13"] = "TLS13"
    prefer_server_cipher_suites: bool = True

    def _consistent(self) -> None:
        verifies = self.client_auth_type != "NoClientCert"
        if verifies and self.client_ca_file is None:
            raise ValueError(f"client_auth_type {self.client_auth_type} needs client_ca_file; add it")
        if self.client_ca_file is not None and not verifies:
            raise ValueError("client_ca_file does nothing without client_auth_type: RequireAndVerifyClientCert; add it")
        if self.min_version > self.max_version:
            raise ValueError("min_version is above max_version; swap them")


class _Server(Section):
    # HTTP/2 is never spoken; the key is known so that a file shared with other exporters can be used as it is.
    http2: bool = True
    headers: Mapping[_HeaderName, Annotated[str, After(_header)]] = {}


class _File(Section):
    tls_server_config: _Tls | None = None
    http_server_config: _Server | None = None
    basic_auth_users: Mapping[Annotated[str, After(_user)], Annotated[str, After(_bcrypt_hash)]] = {}


def _read(file: str) -> str:
    try:
        if not os.path.isfile(file) or os.path.getsize(file) > _MAX_FILE:
            os.stat(file)
            raise ConfigError([f"{file}: is not a regular file of at most 1 MiB; correct web.config_file"])
        with open(file, encoding="utf-8") as stream:
            return stream.read()
    except OSError as exc:
        fault = f"{file}: {exc.strerror}; check web.config_file and that the daemon's user may read it"
        raise ConfigError([fault]) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([f"{file}: is not UTF-8 text"]) from exc


def _tls_context(config: _Tls, directory: str, place: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[config.min_version]
    context.maximum_version = _VERSIONS[config.max_version]
    context.verify_mode = _CLIENT_AUTH[config.client_auth_type]
    if not config.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    certificate, key = os.path.join(directory, config.cert_file), os.path.join(directory, config.key_file)
    faults = [f"{place}: {fault}" for path in (certificate, key) if (fault := _unreadable(path))]
    if not faults:
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(certificate, key, password=_no_password)
        except (ssl.SSLError, ValueError) as exc:
            reason = exc.reason if isinstance(exc, ssl.SSLError) and exc.reason else str(exc)
            faults.append(
                f"{place}: {certificate} and {key} cannot be used ({reason}); "
                "give a PEM certificate with its chain and its own key without a password"
            )
    if config.client_ca_file is not None:
        authority = os.path.join(directory, config.client_ca_file)
        if fault := _unreadable(authority):
            faults.append(f"{place}: {fault}")
        else:
            try:
                context.load_verify_locations(authority)
            except ssl.SSLError as exc:
                faults.append(f"{place}: {authority} cannot be used ({exc.reason}); give certificates in PEM form")
    if faults:
        raise ConfigError(faults)
    return context


def _unreadable(path: str) -> str | None:
    try:
        if not os.path.isfile(path):
            os.stat(path)
            return f"{path}: is not a regular file"
        with open(path, "rb"):
            return None
    except OSError as exc:
        return f"{path}: {exc.strerror}; check the path and that the daemon's user may read it"
    except ValueError:
        return f"{path!r}: no file can have this name"


def _no_password() -> str:
    raise ValueError("the key is protected by a password")
