"""Secrets files: YAML of mode 0600 with the community or the SNMPv3 user of one destination.

Nothing here ever puts a secret into a message: not what was written, nor the line it stood on.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from zcs_exporter.schema import FaultKind, Path, SchemaError, Secret, Section
from zcs_exporter.strict_yaml import YamlError, load_yaml

Version = Literal["1", "2c", "3"]

AUTH_PROTOCOLS = ("SHA-224", "SHA-256", "SHA-384", "SHA-512")
PRIV_PROTOCOLS = ("AES-128", "AES-192", "AES-256")
WEAK_AUTH_PROTOCOLS = ("MD5", "SHA-1")
WEAK_PRIV_PROTOCOLS = ("DES", "3DES")

MIN_PASSPHRASE = 12
_MAX_FILE = 65536
_MAX_USER = 32


class SecretsError(Exception):
    """A secrets file cannot be used; the message names file, key and remedy."""


@dataclass(frozen=True, slots=True)
class Community:
    """What SNMPv1 and v2c call a community: a password in clear."""

    community: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UsmUser:
    """A user of SNMPv3 with authentication and privacy, the only level we speak."""

    user: str
    auth_protocol: str
    auth_password: str = field(repr=False)
    priv_protocol: str
    priv_password: str = field(repr=False)


Secrets = Community | UsmUser


class _Key(Section):
    protocol: str
    password: Secret


class _File(Section):
    community: Secret | None = None
    user: str | None = None
    auth: _Key | None = None
    priv: _Key | None = None
    allow_weak: bool = False


def load_secrets(
    path: str, version: Version, *, uid: int | None = None, gid: int | None = None, reader: str = "the daemon"
) -> Secrets:
    """Return the secrets for SNMP ``version`` in the file at ``path``.

    Args:
        path: A regular file of mode 0600, or 0640 with the daemon's group, of root or the daemon's user.
        version: Decides which keys the file needs.
        uid: The daemon's user; the user of this process unless given.
        gid: The daemon's group; the group of this process unless given.
        reader: Who reads it, in words.

    Raises:
        SecretsError: The file, its owner, its mode or a key is not as it should be.
    """
    text = read_private_file(path, os.geteuid() if uid is None else uid, os.getegid() if gid is None else gid, reader)
    content = _parsed(path, text)
    if version == "3":
        return _usm_user(path, content)
    return _community(path, content)


def read_private_file(path: str, uid: int, gid: int, reader: str = "the daemon") -> str:
    """Return the text of a file that nobody but root, ``uid`` and ``gid`` can read or change.

    Args:
        path: Where it is.
        uid: Who may own it besides root.
        gid: The group that may read it.
        reader: Who that is, in words.

    Raises:
        SecretsError: It cannot be read, or somebody else could.
    """
    try:
        # Not blocking, so that a FIFO in its place is refused and not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise SecretsError(f"{path}: {exc.strerror}; name a file of mode 0600 that {reader} can read") from exc
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise SecretsError(f"{path}: is not a regular file; name a secrets file")
    with open(descriptor, "rb") as file:
        if status.st_uid not in (0, uid):
            raise SecretsError(f"{path}: belongs to uid {status.st_uid}; chown it to root or to the daemon's user")
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o137 or (mode & 0o040 and status.st_gid != gid):
            raise SecretsError(f"{path}: mode {mode:04o} lets others in; chmod 0600, or 0640 with the daemon's group")
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise SecretsError(f"{path}: is over {_MAX_FILE} bytes, which no secrets file is; name the right file")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SecretsError(f"{path}: is not UTF-8 text; write it as YAML, like 'community: ...'") from None


def _parsed(path: str, text: str) -> _File:
    try:
        content, _ = load_yaml(text)
    except YamlError as exc:
        raise SecretsError(f"{path}: {_without_quotes(str(exc))}; correct the YAML") from None
    if not isinstance(content, Mapping):
        raise SecretsError(f"{path}: holds no keys; write it like 'community: ...' or 'user: ...'")
    try:
        return _File.of(content)
    except SchemaError as exc:
        raise SecretsError(f"{path}: {_explained(exc.faults[0].kind, exc.faults[0].path)}") from None


def _without_quotes(problem: str) -> str:
    """Return what is wrong up to the first quotation, which could be of a secret."""
    return problem.split("'")[0].split('"')[0].strip()


def _explained(kind: FaultKind, place: Path) -> str:
    if kind is FaultKind.UNKNOWN:
        # Not the key itself: a password on a line without its key would be one.
        inside = f" under '{place[0]}'" if len(place) > 1 else ""
        known = ("protocol", "password") if len(place) > 1 else tuple(_File.options)
        return f"has an unknown key{inside}; known are {', '.join(known)}"
    key = ".".join(map(str, place))
    if kind is FaultKind.MISSING:
        return f"'{key}' is missing; add it"
    if kind is FaultKind.NO_TEXT:
        return f"'{key}' is no text; put the value in quotes"
    return f"'{key}' has the wrong type; write below it 'protocol:' and 'password:'"


def _community(path: str, content: _File) -> Community:
    if content.community is None:
        raise SecretsError(f"{path}: 'community' is missing, which versions 1 and 2c need; add 'community: ...'")
    community = content.community.reveal()
    if not 1 <= len(community.encode()) <= 255:
        raise SecretsError(f"{path}: 'community' has {len(community.encode())} octets; use 1 to 255")
    if any(ord(char) < 32 or ord(char) == 127 for char in community):
        raise SecretsError(f"{path}: 'community' holds a character that cannot be typed; write one without")
    return Community(community)


def _usm_user(path: str, content: _File) -> UsmUser:
    if not content.user or len(content.user.encode()) > _MAX_USER:
        raise SecretsError(f"{path}: 'user' is missing or over {_MAX_USER} octets; version 3 needs 'user: ...'")
    auth = _key(path, "auth", content.auth, AUTH_PROTOCOLS, WEAK_AUTH_PROTOCOLS, content.allow_weak)
    priv = _key(path, "priv", content.priv, PRIV_PROTOCOLS, WEAK_PRIV_PROTOCOLS, content.allow_weak)
    return UsmUser(content.user, *auth, *priv)


def _key(
    path: str, name: str, key: _Key | None, strong: tuple[str, ...], weak: tuple[str, ...], allow_weak: bool
) -> tuple[str, str]:
    if key is None:
        example = f"{name}: {{protocol: {strong[1] if name == 'auth' else strong[0]}, password: ...}}"
        raise SecretsError(f"{path}: '{name}' is missing; version 3 is used with both keys only: add '{example}'")
    if key.protocol in weak and not allow_weak:
        raise SecretsError(
            f"{path}: '{name}.protocol' {key.protocol} is weak; use {strong[0]} or better, or add 'allow_weak: true'"
        )
    if key.protocol not in (*strong, *weak):
        raise SecretsError(f"{path}: '{name}.protocol' is not known; use one of {', '.join(strong)}")
    password = key.password.reveal()
    if len(password.encode()) < MIN_PASSPHRASE:
        raise SecretsError(f"{path}: '{name}.password' is too short; use {MIN_PASSPHRASE} characters or more")
    return key.protocol, password
