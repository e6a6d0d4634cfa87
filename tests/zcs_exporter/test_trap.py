"""Notifications by hand, as a person at a terminal sees them."""

import argparse
import asyncio
from pathlib import Path

import pytest

from zcs_exporter import trap
from zcs_exporter.config import config_model
from zcs_exporter.contract import Clock
from zcs_exporter.snmp.listener import Sender, TrapListener
from zcs_exporter.snmp.secrets import Community, UsmUser

USER = UsmUser("zcs", "SHA-256", "secret-of-the-auth", "AES-128", "secret-of-the-priv")
SECRETS = {
    3: "user: zcs\nauth: {protocol: SHA-256, password: secret-of-the-auth}\n"
    "priv: {protocol: AES-128, password: secret-of-the-priv}\n",
    "2c": "community: secret-of-the-community\n",
}


def send(tmp_path: Path, version: str | int, kind: str) -> tuple[int, list[str]]:
    """Send a test to a listener; return the exit status and the notifications that arrived."""
    secrets = tmp_path / "nms.secret"
    secrets.write_text(SECRETS[version], encoding="ascii")
    secrets.chmod(0o600)

    async def run() -> tuple[int, list[str]]:
        senders = [Sender(USER), Sender(Community("secret-of-the-community"))]
        async with TrapListener("127.0.0.1", 0, senders, Clock()) as listener:
            target = {"name": "nms", "host": "127.0.0.1", "port": listener.port, "version": version, "kind": kind}
            config = config_model().model_validate(
                {
                    "state": {"directory": str(tmp_path / "state")},
                    "notify": {"snmp": [target | {"secrets": str(secrets)}]},
                }
            )
            status = await trap.test_targets(config, (), Clock())
            if version == 3 and kind == "trap":
                return status, []  # only a receiver that knows our engine id takes it
            return status, [(await anext(listener)).trap]

    return asyncio.run(run())


def test_an_inform_that_was_sent_was_acknowledged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert send(tmp_path, 3, "inform") == (0, ["zcsTest"])
    assert capsys.readouterr().out.startswith("nms: acknowledged, event id test-")


def test_nobody_claims_that_a_trap_arrived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert send(tmp_path, "2c", "trap") == (0, ["zcsTest"])
    assert capsys.readouterr().out.startswith("nms: sent, and nobody tells whether a trap arrived, event id test-")


def test_the_engine_id_that_a_receiver_of_version_3_traps_needs_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert send(tmp_path, 3, "trap") == (0, [])
    assert "the receiver needs our engine id 0x80001f8805" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("port", "engine_id", "message"),
    [
        (99_999, None, "a port is a number from 0 to 65535"),
        (-1, None, "a port is a number from 0 to 65535"),
        (0, "zz", "zz is no engine id"),
        (0, "0x00", "0x00 is no engine id"),
        (0, "80" * 33, "is no engine id"),
    ],
)
def test_what_cannot_be_listened_to_is_refused_in_one_line(port: int, engine_id: str | None, message: str) -> None:
    wish = argparse.Namespace(address="127.0.0.1", port=port, engine_id=engine_id, secrets=None, format="text")
    with pytest.raises(ValueError, match=message) as refusal:
        asyncio.run(trap.listen(wish, Clock()))
    assert "\n" not in str(refusal.value)
