"""Notifications by hand: a test, a repetition of what was sent, and a listener that prints what arrives."""

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import socket
import sqlite3
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict

from zcs_exporter.config import Config, SnmpTargetConfig
from zcs_exporter.contract import Clock
from zcs_exporter.notify.message import Message, MessageKind
from zcs_exporter.notify.snmp_targets import load_targets
from zcs_exporter.notify.target import SendError, Setback
from zcs_exporter.snmp.identity import EngineIdentity, ForwardClock, new_engine_id, next_boots
from zcs_exporter.snmp.listener import Received, Sender, TrapListener
from zcs_exporter.snmp.secrets import Community, Secrets, SecretsError, load_secrets
from zcs_exporter.state_reader import Damaged, read_sent
from zcs_exporter.text import one_line

_LAST_PORT = 65535
_MOST_REFUSALS = 100


async def test_targets(config: Config, names: Collection[str], clock: Clock) -> int:
    """Send a test to the targets of these names, or to all, and return the exit status."""
    identity = known_identity(config.state.directory, clock)
    targets, faults = load_targets(config, identity, clock, names)
    told = {each.name: _told(each, identity) for each in config.notify.snmp}
    for fault in faults:
        print(fault, file=sys.stderr)
    failed = bool(faults)
    for target in targets:
        host = socket.gethostname()
        text = f"Test notification from zcs-exporter on {host}"
        message = Message(MessageKind.TEST, f"test-{secrets.token_hex(4)}", host, "", clock.wall(), text)
        try:
            await target.send(message, 0)
        except SendError as exc:
            failed = True
            print(f"{target.name}: not delivered: {exc}", file=sys.stderr)
        else:
            print(f"{target.name}: {told[target.name]}, event id {message.event_id}")
        finally:
            target.close()
    return 1 if failed else 0


async def replay(config: Config, wanted: SnmpTargetConfig, first: int, last: int | None, clock: Clock) -> int:
    """Send again what a target was sent under these sequence numbers; return 0 if there was any and all got through.

    Each keeps its number, event id and time, so a receiver that has it already knows it again. Without an end it
    goes on until nothing newer was sent meanwhile: the last thing that is told of an alarm is its state.
    """
    identity = known_identity(config.state.directory, clock)
    targets, faults = load_targets(config, identity, clock, (wanted.name,))
    if not targets:
        print("\n".join(faults), file=sys.stderr)
        return 1
    [target] = targets
    sent = passed_over = 0
    following = first
    try:
        while again := read_sent(config.state.directory, wanted.name, following, last):
            for each in again:
                number = each.sequence or 0
                following = number + 1
                if isinstance(each, Damaged):
                    passed_over += 1
                    print(f"#{number}: passed over, it is damaged: {each.why}", file=sys.stderr)
                    continue
                if sent >= wanted.burst:
                    await asyncio.sleep(1 / wanted.pace)
                try:
                    await target.send(each.told, number)
                except SendError as exc:
                    if exc.setback is not Setback.SET_ASIDE:
                        print(f"{wanted.name}: not delivered: {exc}; go on with --from {number}", file=sys.stderr)
                        return 1
                    passed_over += 1
                    print(f"#{number}: passed over: {exc}", file=sys.stderr)
                    continue
                sent += 1
                print(f"#{number}: {_told(wanted, identity)}, event id {each.message.event_id}: {each.told.text}")
    finally:
        target.close()
    if not sent and not passed_over:
        print(
            f"nothing is kept that {wanted.name} was sent under these numbers: heartbeats are not, "
            "and others for 30 days and 10,000 messages",
            file=sys.stderr,
        )
    return 0 if sent and not passed_over else 1


def _told(target: SnmpTargetConfig, identity: EngineIdentity) -> str:
    """Return what is known once a test has left without an error."""
    if target.kind == "inform":
        return "acknowledged"
    needs = f"; the receiver needs our engine id 0x{identity.engine_id.hex()}" if target.version == 3 else ""
    return f"sent, and nobody tells whether a trap arrived{needs}"


def known_identity(directory: str, clock: Clock) -> EngineIdentity:
    """Return the daemon's SNMP identity, so that receivers of SNMPv3 traps accept us; a new one where it is unknown.

    A receiver drops what is older than the last message it saw, so engine time goes on from the daemon's start.
    """
    path = os.path.join(directory, "state.sqlite3")
    with contextlib.suppress(sqlite3.Error, KeyError, ValueError):
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1.0)
        try:
            meta = dict(database.execute("SELECT key, value FROM meta WHERE key LIKE 'snmp_%'"))
        finally:
            database.close()
        started = float(meta["snmp_started"])
        return EngineIdentity(bytes.fromhex(meta["snmp_engine_id"]), int(meta["snmp_boots"]), _since(started, clock))
    return EngineIdentity(new_engine_id(), next_boots(0, clock.wall()), ForwardClock(clock))


def _since(started: float, clock: Clock) -> Callable[[], float]:
    return lambda: max(0.0, clock.wall() - started)


async def listen(arguments: argparse.Namespace, clock: Clock) -> None:
    """Print what arrives until interrupted.

    Raises:
        OSError: The address cannot be bound.
        SecretsError: A secrets file cannot be used.
        ValueError: The port or the engine id cannot be one.
    """
    if not 0 <= arguments.port <= _LAST_PORT:
        raise ValueError(f"a port is a number from 0 to {_LAST_PORT}")
    engine_id = _parse_engine_id(arguments.engine_id) if arguments.engine_id else None
    senders = [Sender(_secret(path), engine_id) for path in arguments.secrets or ()]
    senders = senders or [Sender(Community("public"))]
    listener = TrapListener(arguments.address, arguments.port, senders, clock, refused=Refusals())
    async with listener:
        print(f"listening on {arguments.address} port {listener.port}", file=sys.stderr)
        async for received in listener:
            line = json.dumps(asdict(received)) if arguments.format == "json" else describe(received)
            print(line, flush=True)


class Refusals:
    """Says on standard error what is not accepted: one line for each source and cause, and not without end."""

    def __init__(self) -> None:
        """Nothing was refused yet."""
        self._said: set[tuple[str, str]] = set()

    def __call__(self, source: str, cause: str) -> None:
        """Say it, unless it was said."""
        if (source, cause) in self._said or len(self._said) > _MOST_REFUSALS:
            return
        self._said.add((source, cause))
        # Whoever forges addresses could fill a screen.
        last = len(self._said) > _MOST_REFUSALS
        said = "refused more, from others or for other causes" if last else f"refused from {source}: {cause}"
        print(said, file=sys.stderr, flush=True)


def describe(received: Received) -> str:
    """Return one line, or a few for what is not ours, about a notification."""
    if received.notification is None:
        variables = "".join(f"\n    {name} = {value}" for name, value in received.variables)
        return f"{received.address} {received.trap}{variables}"
    told = received.notification
    severity = (
        ("ok", "WARNING", "CRITICAL", "unknown")[told.severity] if 0 <= told.severity <= 3 else str(told.severity)
    )
    rule = f" {told.rule}" if told.rule else ""
    return f"#{received.sequence:<5}{severity:9}{received.trap:26}{rule} {told.text}"


def _parse_engine_id(text: str) -> bytes:
    """Return an engine id, written as ``trap test`` and snmptrapd.conf write it."""
    try:
        octets = bytes.fromhex(text.lower().removeprefix("0x"))
    except ValueError:
        octets = b""
    if not 5 <= len(octets) <= 32:
        raise ValueError(f"{one_line(text)} is no engine id; write its 5 to 32 octets in hexadecimal, like 0x8000...")
    return octets


def _secret(path: str) -> Secrets:
    """Return the user in a secrets file, or else its community."""
    try:
        return load_secrets(path, "3", reader="whoever runs this")
    except SecretsError as no_user:
        try:
            return load_secrets(path, "2c", reader="whoever runs this")
        except SecretsError:
            raise no_user from None
