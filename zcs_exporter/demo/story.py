"""The script: what goes wrong on the made-up host, and how it is put right once people were told."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

from zcs_exporter.demo.inbox import Inbox
from zcs_exporter.demo.screen import Screen
from zcs_exporter.demo.world import USERS, World

_PATIENCE = 15.0
"""Seconds after which the script goes on even if nobody was told."""

_LOCKED_AFTER = 10
"""Failed logins after which ZCS locks an account, unless configured otherwise."""

Remedy = Callable[[], None]
"""Puts right what went wrong."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the script is.

    Attributes:
        look: Seconds for which an incident stands after people were told of it.
        pause: Seconds between two incidents.
        rest: Seconds between two rounds.
    """

    look: float = 2.5
    pause: float = 1.0
    rest: float = 90.0


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that goes wrong.

    Attributes:
        alert: What people are told of.
        begins: What is done to the host, in words.
        ends: How it is put right, in words.
        begin: Does the one, and returns what does the other.
    """

    alert: str
    begins: str
    ends: str
    begin: Callable[[World], Awaitable[Remedy]]


class Story:
    """Plays the incidents one after the other, again and again."""

    def __init__(self, world: World, inbox: Inbox, screen: Screen, pace: Pace) -> None:
        self._world = world
        self._inbox = inbox
        self._screen = screen
        self._pace = pace

    async def play(self) -> None:
        """Play for ever."""
        for number in count(1):
            for incident in INCIDENTS:
                await self._happen(incident)
            await self._all_clear()
            # In quicker succession the same alarms would be flapping.
            rest = f"The next one begins in {self._pace.rest:.0f} s"
            self._screen.heading(f"--- That was round {number}, and all is well again. {rest}, until Ctrl-C. ---")
            await asyncio.sleep(self._pace.rest)

    async def _happen(self, incident: Incident) -> None:
        self._screen.scene(incident.begins)
        remedy = await incident.begin(self._world)
        await self._inbox.told(incident.alert, _PATIENCE, raised=True)
        await asyncio.sleep(self._pace.look)
        self._screen.scene(incident.ends)
        remedy()
        await asyncio.sleep(self._pace.pause)

    async def _all_clear(self) -> None:
        for incident in INCIDENTS:
            await self._inbox.told(incident.alert, _PATIENCE, raised=False)


async def _fill_store(world: World) -> Remedy:
    volume = world.volumes["/opt/zimbra/store"]
    before = volume.used

    def empty() -> None:
        volume.used = before

    for share in (0.79, 0.92, 0.97):
        volume.used = share
        await asyncio.sleep(0.4)
    return empty


async def _use_up_inodes(world: World) -> Remedy:
    volume = world.volumes["/opt/zimbra"]
    before = volume.inodes_used

    def clean_up() -> None:
        volume.inodes_used = before

    volume.inodes_used = 0.976
    return clean_up


async def _guess_password(world: World) -> Remedy:
    account, client = USERS[4], "203.0.113.66"
    for number in range(_LOCKED_AFTER + 3):
        reason = "invalid password" if number < _LOCKED_AFTER else "account lockout"
        world.attempts.append(partial(world.logs.login, "imap", account, client, reason))
        if number == _LOCKED_AFTER - 1:
            world.attempts.append(partial(world.logs.lockout, account, client))
    return world.attempts.clear


async def _flood_queue(world: World) -> Remedy:
    mails = await world.flood(USERS[3], 1200)
    return partial(world.delete, mails)


async def _crash_mysqld(world: World) -> Remedy:
    world.crash_mysqld()
    return world.restart_mysqld


async def _fill_heap(world: World) -> Remedy:
    world.mailboxd.thrashing = True
    return world.end_import


async def _start_second_mysqld(world: World) -> Remedy:
    return partial(world.processes.kill, world.start_second_mysqld())


async def _spray_passwords(world: World) -> Remedy:
    for number in range(24):
        account = f"{'info' if number % 2 else 'user'}{number}@example.com"
        world.attempts.append(partial(world.logs.smtp_login, account, "198.51.100.77", accepted=False))
    return world.attempts.clear


INCIDENTS = (
    Incident(
        "ZcsFilesystemFull",
        "somebody leaves a copy of the mailboxes on /opt/zimbra/store: it fills to 97 %",
        "the copy is removed",
        _fill_store,
    ),
    Incident(
        "ZcsAuthIpAccountFailures",
        f"203.0.113.66 guesses the password of {USERS[4]} over IMAP, until ZCS locks the account",
        "the firewall blocks the address; the failures leave their window in ten seconds",
        _guess_password,
    ),
    Incident(
        "ZcsQueueSenderFlood",
        f"the stolen login of {USERS[3]} sends 1200 messages that nobody takes",
        "the account is locked and its messages are deleted from the queue",
        _flood_queue,
    ),
    Incident(
        "ZcsFilesystemInodesFull",
        "millions of small files use up 98 % of the inodes of /opt/zimbra",
        "the files are removed",
        _use_up_inodes,
    ),
    Incident(
        "ZcsMysqldDown",
        "mysqld crashes, and its pid file stays",
        "mysqld is started again",
        _crash_mysqld,
    ),
    Incident(
        "ZcsJvmGcTime",
        "an import fills the heap of mailboxd, which now does little but collect garbage",
        "the import fails for want of memory, and the heap is free again",
        _fill_heap,
    ),
    Incident(
        "ZcsAuthSpraying",
        "198.51.100.77 tries one password on 24 accounts over SMTP",
        "it gives up",
        _spray_passwords,
    ),
    Incident(
        "ZcsMysqldDuplicate",
        "a second mysqld is started by hand on the data of the first",
        "the second mysqld is stopped",
        _start_second_mysqld,
    ),
)
