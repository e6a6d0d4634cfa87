"""Values in the configuration file that are more than a text or a number."""

import os
from typing import Annotated

from zcs_exporter.schema import After, Before

_MAX_SOCKET = 107
"""Octets in the path of a socket: unix(7)."""


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"{path!r} must be an absolute path")
    return os.path.normpath(path)


def _secrets_file(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        # Not what was written: it may be the secret itself.
        raise ValueError(
            "is no absolute path; name a file, such as /etc/zcs-exporter/agent.community, with the line "
            "'community: ...', or with 'user:', 'auth:' and 'priv:'"
        )
    return os.path.normpath(path)


def _address(text: str, port_of_ours: int = 10741) -> str:
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    import ipaddress

    try:
        ipaddress.ip_address(host)
        good = bool(separator) and port.isascii() and port.isdecimal() and 0 < int(port) < 65536
    except ValueError:
        good = False
    if not good:
        like = f"127.0.0.1:{port_of_ours} or [::1]:{port_of_ours}"
        raise ValueError(f"{text!r} is not an address and port; write it like {like}")
    return text


def host_and_port(address: str) -> tuple[str, int]:
    """Return the two parts of an ``Address``."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _network(text: str) -> str:
    import ipaddress

    try:
        ipaddress.ip_network(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not a network: {exc}; write it like 192.0.2.0/24") from exc
    return text


def _agentx_place(text: str) -> str:
    if text.startswith("/"):
        if len(os.fsencode(text)) > _MAX_SOCKET:
            raise ValueError(f"{text!r} is too long for a socket; the kernel takes {_MAX_SOCKET} octets")
        return _absolute(text)
    import ipaddress

    try:
        local = ipaddress.ip_address(host_and_port(_address(text))[0]).is_loopback
    except ValueError:
        local = False
    if not local:
        example = "/var/agentx/master or 127.0.0.1:705"
        raise ValueError(f"{text!r} is no socket of an snmpd on this host; write it like {example}")
    return text


def _events_file(name: str) -> str:
    if "/" in name:
        return _absolute(name)
    if name in ("", ".", "..", "token", "lock") or name.startswith("state.sqlite3") or not name.isprintable():
        raise ValueError(f"{name!r} is no name for it; write it like events.jsonl or /var/log/zcs-events.jsonl")
    return name


def _agent_address(text: str) -> str:
    return _address(text, 1161)


def _root_oid(value: object) -> object:
    from zcs_exporter.snmp.smi import parse_root

    parse_root(str(value))  # two numbers with a point between them are one number in YAML, and no root
    return value


AbsolutePath = Annotated[str, After(_absolute)]
SecretsFile = Annotated[str, After(_secrets_file)]
EventsFile = Annotated[str, After(_events_file)]
Address = Annotated[str, After(_address)]
AgentAddress = Annotated[str, After(_agent_address)]
Network = Annotated[str, After(_network)]
AgentxPlace = Annotated[str, After(_agentx_place)]
RootOid = Annotated[str, Before(_root_oid)]
