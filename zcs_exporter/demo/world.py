"""The made-up host, put together and kept alive: users log in, mail flows, memory is collected."""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import cycle

from zcs_exporter.contract import Clock
from zcs_exporter.demo import services
from zcs_exporter.demo.database import Database
from zcs_exporter.demo.files import Tree
from zcs_exporter.demo.host import Volume
from zcs_exporter.demo.jvm import Jvm
from zcs_exporter.demo.logs import Logs
from zcs_exporter.demo.mail import Mail, Spool
from zcs_exporter.demo.proc import ProcessTable, write_mounts, write_network

TICK = 0.25
"""Seconds between two moments of the host's life."""

_GIB = 1 << 30

USERS = tuple(f"{name}@example.com" for name in ("ann", "bob", "carla", "dmitri", "emma", "farid", "grace", "hugo"))
_STRANGERS = ("orders@example.net", "news@example.org", "eve@example.net", "support@example.org")
_LOGINS = ("imap", "soap", "imap", "zsync", "pop3", "imap", "smtp", "soap")
_CLIENTS = ("198.51.100.17", "198.51.100.42", "203.0.113.9", "2001:db8::7", "198.51.100.99")

_DELIVERED_AFTER = 1.2
_RETRIED_AFTER = 40.0
_DEFERRED_SHARE = 16  # one message of so many is deferred at first
_WAITING_FOR = (420.0, 1500.0, 1700.0, 4200.0, 9000.0, 30_000.0)
_ATTEMPTS_A_TICK = 2


class World:
    """Everything that the script can meddle with.

    Attributes:
        volumes: By mount point.
        attempts: Logins that an attacker is about to try; each function writes what the host logs of one.
    """

    def __init__(self, base: str, clock: Clock) -> None:
        """Build a healthy host below the directory ``base``."""
        self._clock = clock
        tree = Tree(base)
        self.volumes = {
            "/": Volume("/dev/mapper/vg0-root", 40 * _GIB, 0.34, 2_621_440, 0.08),
            "/opt/zimbra": Volume("/dev/mapper/vg0-zimbra", 200 * _GIB, 0.47, 13_107_200, 0.21),
            "/opt/zimbra/store": Volume("/dev/mapper/vg0-store", 900 * _GIB, 0.61, 58_982_400, 0.44),
            "/opt/zimbra/backup": Volume("/dev/mapper/vg1-backup", 2048 * _GIB, 0.72, 134_217_728, 0.12),
        }
        self.processes = ProcessTable(tree, clock)
        write_mounts(tree, self.volumes)
        write_network(tree, services.HOSTNAME, services.ADDRESS)
        services.install(tree, clock)
        services.start_daemons(self.processes)
        self.database = Database(clock, services.AGE)
        self.mysqld = self._start_mysqld(services.AGE)
        log = f"{services.HOME}/log"
        pid, started = self.processes.start(
            "java", *services.MAILBOXD, pid_file=f"{log}/zmmailboxd_java.pid", age=services.AGE
        )
        self.mailboxd = Jvm(tree, pid, started, 4 * _GIB, live=0.38, rate=0.30, threads=212, classes=24_816)
        pid, started = self.processes.start(
            "java", *services.ZMCONFIGD, pid_file=f"{log}/zmconfigd.pid", age=services.AGE
        )
        self._jvms = (
            self.mailboxd,
            Jvm(tree, pid, started, _GIB // 4, live=0.25, rate=0.05, threads=28, classes=4_102),
        )
        self.logs = Logs(tree, clock, services.HOSTNAME, services.ADDRESS)
        self.spool = Spool(tree, clock)
        self.attempts: deque[Callable[[], None]] = deque()
        self._mails: list[Mail] = []
        for age in _WAITING_FOR:
            self.spool.defer(self.spool.accept("news@example.com", "reader@example.org", 14_200, age=age))
        self._users, self._strangers = cycle(USERS), cycle(_STRANGERS)
        self._logins, self._clients = cycle(_LOGINS), cycle(_CLIENTS)
        self._ticks = 0
        self._lived = clock.monotonic()

    async def live(self) -> None:
        """Go on for ever."""
        while True:
            self.live_on()
            await asyncio.sleep(TICK)

    def live_on(self) -> None:
        """Do what is due."""
        now = self._clock.monotonic()
        passed, self._lived = min(1.0, now - self._lived), now
        self._ticks += 1
        for jvm in self._jvms:
            jvm.live_on(self._clock.wall(), passed)
        if self._ticks % 4 == 0:
            self.processes.keep_time()
            self._log_in()
        if self._ticks % 2 == 0:
            self._receive()
        self._deliver(now)
        for _ in range(min(_ATTEMPTS_A_TICK, len(self.attempts))):
            self.attempts.popleft()()

    def crash_mysqld(self) -> None:
        """Have the database server die; its pid file stays."""
        self.database.stop()
        self.processes.kill(self.mysqld)

    def restart_mysqld(self) -> None:
        """Start the database server again."""
        self.mysqld = self._start_mysqld()
        self.database.start()

    def start_second_mysqld(self) -> int:
        """Start a server by hand on the data of the first, and return its number."""
        pid, _ = self.processes.start("mysqld", *services.MYSQLD)
        return pid

    async def flood(self, login: str, count: int) -> list[Mail]:
        """Have one login send mail that no destination takes."""
        mails = []
        for number in range(count):
            mail = self.spool.accept(login, f"user{number}@slow{number % 7}.example.org", 2_400, login)
            self.spool.activate(mail)
            self.spool.defer(mail)
            mails.append(mail)
            if number % 25 == 0:
                self.logs.deferred(mail.queue_id, mail.recipient)
                await asyncio.sleep(0)
        return mails

    def delete(self, mails: list[Mail]) -> None:
        """Delete messages, as postsuper -d does."""
        for mail in mails:
            self.spool.remove(mail)

    def _start_mysqld(self, age: float = 0.0) -> int:
        pid, _ = self.processes.start("mysqld", *services.MYSQLD, pid_file=services.MYSQL_PID_FILE, age=age)
        return pid

    def _log_in(self) -> None:
        protocol, account, client = next(self._logins), next(self._users), next(self._clients)
        if self._ticks % 52 == 0:
            self.logs.login("soap", account, client, "invalid password")
        if protocol != "smtp":
            self.logs.login(protocol, account, client)

    def _receive(self) -> None:
        sender, recipient, client = next(self._strangers), next(self._users), next(self._clients)
        size = 3_000 + 811 * (self._ticks % 37)
        if self._ticks % 10 == 0:
            login, recipient = recipient, "partner@example.org"
            mail = self.spool.accept(login, recipient, size, login)
            self.logs.smtp_login(login, client, accepted=True, queue_id=mail.queue_id)
            self.logs.received(mail.queue_id, login, size, "")
        else:
            mail = self.spool.accept(sender, recipient, size)
            self.logs.received(mail.queue_id, sender, size, client)
        self._mails.append(mail)

    def _deliver(self, now: float) -> None:
        kept = []
        for mail in self._mails:
            age = now - mail.accepted
            if mail.queue == "incoming" and age > TICK:
                self.spool.activate(mail)
            due = age > (_RETRIED_AFTER if mail.queue == "deferred" else _DELIVERED_AFTER)
            if not due:
                kept.append(mail)
            elif mail.queue == "active" and mail.number % _DEFERRED_SHARE == 0:
                self.spool.defer(mail)
                self.logs.deferred(mail.queue_id, mail.recipient)
                kept.append(mail)
            else:
                self.logs.delivered(mail.queue_id, mail.recipient)
                self.spool.remove(mail)
        self._mails = kept
