"""pysnmp's engine, made under our own identity."""

from functools import cache
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import Any

from pysnmp.entity import config  # type: ignore[import-untyped]
from pysnmp.entity.engine import SnmpEngine  # type: ignore[import-untyped]
from pysnmp.proto.api import v2c  # type: ignore[import-untyped]
from pysnmp.proto.rfc1902 import Integer32  # type: ignore[import-untyped]
from pysnmp.smi import builder  # type: ignore[import-untyped]

from zcs_exporter.snmp.identity import EngineIdentity
from zcs_exporter.snmp.secrets import SecretsError, UsmUser
from zcs_exporter.snmp.smi import Syntax, VarBind
from zcs_exporter.snmp.stack.security import CarefulSecurity

USM = CarefulSecurity.SECURITY_MODEL_ID
"""Number of the user-based security model."""

MESSAGE_MODEL = {"1": 0, "2c": 1, "3": 3}
"""Numbers of versions on the wire."""

_AUTH = {
    "MD5": config.USM_AUTH_HMAC96_MD5,
    "SHA-1": config.USM_AUTH_HMAC96_SHA,
    "SHA-224": config.USM_AUTH_HMAC128_SHA224,
    "SHA-256": config.USM_AUTH_HMAC192_SHA256,
    "SHA-384": config.USM_AUTH_HMAC256_SHA384,
    "SHA-512": config.USM_AUTH_HMAC384_SHA512,
}
_PRIV = {
    "DES": config.USM_PRIV_CBC56_DES,
    "3DES": config.USM_PRIV_CBC168_3DES,
    "AES-128": config.USM_PRIV_CFB128_AES,
    # The way of lengthening keys that Net-SNMP uses too.
    "AES-192": config.USM_PRIV_CFB192_AES_BLUMENTHAL,
    "AES-256": config.USM_PRIV_CFB256_AES_BLUMENTHAL,
}
_TYPES = {
    Syntax.UNSIGNED: v2c.Unsigned32,
    Syntax.GAUGE: v2c.Gauge32,
    Syntax.COUNTER: v2c.Counter64,
    Syntax.TICKS: v2c.TimeTicks,
    Syntax.TEXT: v2c.OctetString,
    Syntax.TIME: v2c.OctetString,
    Syntax.IDENTIFIER: v2c.ObjectIdentifier,
    **dict.fromkeys(
        (Syntax.INTEGER, Syntax.TRUTH, Syntax.SEVERITY, Syntax.RUN_STATE, Syntax.QUEUE, Syntax.PROTOCOL), v2c.Integer32
    ),
}


class _Compiled:
    """In place of ``runpy``, by which pysnmp compiles a dozen MIBs anew for each engine: 0.1 s and 0.3 MB each time."""

    @staticmethod
    def run_path(path: str, names: dict[str, Any]) -> None:
        """Run a module of pysnmp's, as it was compiled when it was installed."""
        exec(_compiled(path), names)  # noqa: S102 - a file of the library, which would run it likewise


@cache
def _compiled(path: str) -> CodeType:
    code = SourceFileLoader(path, path).get_code(path)
    assert code is not None  # noqa: S101 - a source always has one
    return code


builder.runpy = _Compiled


def typed(variable: VarBind) -> Any:
    """Return a variable's value as pysnmp encodes it."""
    return _TYPES[variable.syntax](variable.value)


def new_engine(identity: EngineIdentity) -> Any:
    """Return an engine that is who we are."""
    engine = SnmpEngine()
    engine_id, boots, engine_time = engine.get_mib_builder().import_symbols(
        "__SNMP-FRAMEWORK-MIB", "snmpEngineID", "snmpEngineBoots", "snmpEngineTime"
    )
    engine_id.syntax = engine_id.syntax.clone(identity.engine_id)
    engine.snmpEngineID = engine_id.syntax
    boots.syntax = boots.syntax.clone(identity.boots)
    engine_time.syntax = _EngineTime(identity)
    engine.security_models[USM] = CarefulSecurity()
    return engine


class _EngineTime(Integer32):  # type: ignore[misc]  # pysnmp has no types
    """Reads engine time anew whenever pysnmp clones it, which it does for each message."""

    def __init__(self, identity: EngineIdentity) -> None:
        super().__init__(identity.engine_time)
        self._identity = identity

    def clone(self, *_args: Any, **_kwargs: Any) -> Any:
        return Integer32(self._identity.engine_time)


def close_engine(engine: Any) -> None:
    """Close an engine's sockets."""
    if engine.transport_dispatcher is not None:
        engine.close_dispatcher()


def add_user(engine: Any, user: UsmUser, engine_id: bytes | None = None) -> None:
    """Make a user known, of our own engine or of the one that has ``engine_id``.

    The pass phrases are octets here, as every other program makes them of a text: pysnmp knows only Latin-1.
    """
    config.add_v3_user(
        engine,
        user.user,
        _AUTH[user.auth_protocol],
        user.auth_password.encode(),
        _PRIV[user.priv_protocol],
        user.priv_password.encode(),
        securityEngineId=None if engine_id is None else v2c.OctetString(engine_id),
    )


def add_tried_user(engine: Any, user: UsmUser) -> None:
    """Make a user of our own engine known, and encrypt something as for him.

    Raises:
        SecretsError: The protocols do not work, as on hosts whose OpenSSL knows strong ciphers only; the message names
            the user and the remedy.
    """
    try:
        add_user(engine, user)
        service = CarefulSecurity.PRIV_SERVICES[_PRIV[user.priv_protocol]]
        service.encrypt_data(v2c.OctetString(bytes(64)), (1, 1, None), bytes(64))
    except Exception as exc:
        raise SecretsError(
            f"user {user.user}: {user.auth_protocol} with {user.priv_protocol} does not work on this host "
            f"({type(exc).__name__}: {exc}); use SHA-256 with AES-128"
        ) from exc


def add_community(engine: Any, name: str, community: str) -> None:
    """Make a community known under a name."""
    config.add_v1_system(engine, name, community.encode())
