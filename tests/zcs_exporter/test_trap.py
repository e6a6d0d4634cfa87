"""Notifications by hand, as a person at a terminal sees them."""

import argparse
import asyncio
import re
import sqlite3
from collections.abc import Collection
from functools import partial
from pathlib import Path

import pytest

from zcs_exporter import trap
from zcs_exporter.config import config_model
from zcs_exporter.contract import Clock
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.snmp.listener import Sender, TrapListener
from zcs_exporter.snmp.secrets import Community, UsmUser
from zcs_exporter.state import Commit, Delivery, StateStore

USER = UsmUser("zcs", "SHA-256", "secret-of-the-auth", "AES-128", "secret-of-the-priv")
SECRETS = {
    3: "user: zcs\nauth: {protocol: SHA-256, password: secret-of-the-auth}\n"
    "priv: {protocol: AES-128, password: secret-of-the-priv}\n",
    "2c": "community: secret-of-the-community\n",
}


def send(
    tmp_path: Path, version: str | int, kind: str, *others: str, names: Collection[str] = ()
) -> tuple[int, list[str]]:
    """Send a test to a listener; return the exit status and the notifications that arrived.

    Targets besides have secrets that are nowhere.
    """
    secrets = tmp_path / "nms.secret"
    secrets.write_text(SECRETS[version], encoding="ascii")
    secrets.chmod(0o600)

    async def run() -> tuple[int, list[str]]:
        senders = [Sender(USER), Sender(Community("secret-of-the-community"))]
        async with TrapListener("127.0.0.1", 0, senders, Clock()) as listener:
            target = {"name": "nms", "host": "127.0.0.1", "port": listener.port, "version": version, "kind": kind}
            config = config_model().of(
                {
                    "state": {"directory": str(tmp_path / "state")},
                    "notify": {
                        "snmp": [
                            target | {"secrets": str(secrets)},
                            *(target | {"name": name, "secrets": str(tmp_path / name)} for name in others),
                        ]
                    },
                }
            )
            status = await trap.test_targets(config, names, Clock())
            if version == 3 and kind == "trap":
                return status, []  # only a receiver that knows our engine id takes it
            return status, [(await anext(listener)).trap]

    return asyncio.run(run())


def test_an_inform_that_was_sent_was_acknowledged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert send(tmp_path, 3, "inform") == (0, ["zcsTest"])
    assert capsys.readouterr().out.startswith("nms: acknowledged, event id test-")


def test_only_the_target_that_is_named_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert send(tmp_path, 3, "inform", "broken", names=["nms"]) == (0, ["zcsTest"])
    assert capsys.readouterr().err == ""
    assert send(tmp_path, 3, "inform", "broken") == (1, ["zcsTest"])
    assert "notify.snmp: broken: " in capsys.readouterr().err


def replayed(tmp_path: Path, *damaged: int) -> tuple[int, list[int | None]]:
    """Replay four messages of which some are damaged on disk; return the exit status and the numbers that arrived."""
    secrets = tmp_path / "nms.secret"
    secrets.write_text(SECRETS[3], encoding="ascii")
    secrets.chmod(0o600)

    async def run() -> tuple[int, list[int | None]]:
        store = StateStore(str(tmp_path / "state"), "machine:mail")
        told = {
            n: Message(
                MessageKind.TEST, f"event-{n}", "mail.example.com", "", 1e30 if -n in damaged else 1e9, f"text {n}"
            )
            for n in range(1, 5)
        }
        await store.commit(Commit(messages={number: (message, ("nms",)) for number, message in told.items()}))
        await store.settle([Delivery(number, "nms", message, number) for number, message in told.items()])
        for number in damaged:
            await store.run(partial(_damage, number=number))
        async with TrapListener("127.0.0.1", 0, [Sender(USER)], Clock()) as listener:
            target = {"name": "nms", "host": "127.0.0.1", "port": listener.port, "secrets": str(secrets)}
            broken = target | {"name": "broken", "secrets": str(tmp_path / "nowhere")}
            config = config_model().of({"state": {"directory": store.directory}, "notify": {"snmp": [broken, target]}})
            status = await trap.replay(config, config.notify.snmp[1], 1, None, Clock())
            left = sum(number not in damaged and -number not in damaged for number in told)
            arrived = [(await anext(listener)).sequence for _ in range(left)]
        store.close()
        return status, arrived

    return asyncio.run(run())


def _damage(database: sqlite3.Connection, number: int) -> None:
    database.execute("UPDATE message SET message = '{' WHERE number = ?", (number,))


@pytest.mark.parametrize("damaged", [(1,), (2,), (-2,), (1, -2, 4)])
def test_a_replay_passes_over_what_is_damaged_and_says_so(
    damaged: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {abs(number) for number in damaged}

    assert replayed(tmp_path, *damaged) == (1, [number for number in range(1, 5) if number not in gone])
    said = capsys.readouterr()
    assert re.findall(r"^#(\d+): passed over", said.err, re.MULTILINE) == [str(number) for number in sorted(gone)]
    assert "nothing is kept" not in said.err
    assert "broken" not in said.err


def test_a_replay_of_which_everything_got_through_is_a_success(tmp_path: Path) -> None:
    assert replayed(tmp_path) == (0, [1, 2, 3, 4])


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


def test_a_refusal_is_said_once_for_each_source_and_cause_and_not_without_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = trap.Refusals()
    for _ in range(3):
        refused("192.0.2.1", "its community is not known here")
    assert capsys.readouterr().err == "refused from 192.0.2.1: its community is not known here\n"
    for number in range(1000):
        refused(f"2001:db8::{number}", "it cannot be decoded")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 100
    assert lines[-1] == "refused more, from others or for other causes"
