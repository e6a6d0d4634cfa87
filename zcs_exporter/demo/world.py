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
from zcs_exporter.demo.mail_log import MailLog
from zcs_exporter.demo.proc import ProcessTable, write_mounts, write_network
from zcs_exporter.demo.store_log import StoreLog
from zcs_exporter.demo.zmstat import Zmstat

TICK = 0.25
"""Seconds between two moments of the host's life."""

_GIB = 1 << 30

USERS = tuple(f"{name}@example.com" for name in ("ann", "bob", "carla", "dmitri", "emma", "farid", "grace", "hugo"))
_STRANGERS = ("orders@example.net", "news@example.org", "eve@example.net", "support@example.org")
_LOGINS = ("imap", "soap", "imap", "zsync", "pop3", "imap", "smtp", "soap")
_CLIENTS = ("198.51.100.17", "198.51.100.42", "203.0.113.9", "2001:db8::7", "198.51.100.99")

_FILTERED_AFTER = 0.5
_DELIVERED_AFTER = 0.7
_RETRIED_AFTER = 40.0
# One message of so many is deferred at first, is spam, holds a virus, or is for somebody who has gone.
_DEFERRED_SHARE, _SPAM_SHARE, _VIRUS_SHARE, _GONE_SHARE = 16, 7, 61, 20
_HEARTBEAT = 10.0
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
        self.mailboxd.log_to(f"{log}/gc.log")
        pid, started = self.processes.start(
            "java", *services.ZMCONFIGD, pid_file=f"{log}/zmconfigd.pid", age=services.AGE
        )
        zmconfigd = Jvm(tree, pid, started, _GIB // 4, live=0.25, rate=0.05, threads=28, classes=4_102)
        self._jvms = (self.mailboxd, zmconfigd)
        self.logs = Logs(tree, clock, services.HOSTNAME, services.ADDRESS)
        self.mail_log = MailLog(self.logs, services.HOSTNAME, services.ADDRESS)
        self.store_log = StoreLog(self.logs, services.HOSTNAME, services.ADDRESS)
        self.zmstat = Zmstat(tree, clock)
        self.spool = Spool(tree, clock)
        self.attempts: deque[Callable[[], None]] = deque()
        self._mails: list[Mail] = []
        for age in _WAITING_FOR:
            self.spool.defer(self.spool.accept("news@example.com", "reader@example.org", 14_200, age=age))
        self._users, self._writers, self._strangers = cycle(USERS), cycle(USERS), cycle(_STRANGERS)
        self._logins, self._clients = cycle(_LOGINS), cycle(_CLIENTS)
        self._ticks = 0
        self._lived = clock.monotonic()
        self._next_heartbeat = self._lived

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
        self.zmstat.slow = self.mailboxd.thrashing
        self.zmstat.live_on()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + _HEARTBEAT
            states = dict.fromkeys(services.REPORTED, True) | {"mailbox": self.database.running}
            self.logs.heartbeats(len(self._mails) + len(_WAITING_FOR), states)
        if self._ticks % 4 == 0:
            self.processes.keep_time()
            self._log_in()
            self._work()
        if self._ticks % 2 == 0:
            self._receive()
        self._handle_mail(now)
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

    def end_import(self) -> None:
        """Have an import that fills the heap of mailboxd fail, and its memory be free again."""
        self.store_log.out_of_memory(USERS[6])
        self.mailboxd.thrashing = False

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
                self.mail_log.deferred(mail)
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

    def _work(self) -> None:
        account, client = next(self._users), next(self._clients)
        pace = 400 if self.mailboxd.thrashing else 1
        self.store_log.soap(account, client, (7 + self._ticks % 23) * pace)
        self.store_log.imap(account, client, (1 + self._ticks % 5) * pace)
        if self._ticks % 36 == 0:
            self.store_log.complaint(account)
        if self.mailboxd.thrashing:
            self.store_log.slow(account, client)

    def _receive(self) -> None:
        sender, recipient, client = next(self._strangers), next(self._users), next(self._clients)
        size = 3_000 + 811 * (self._ticks % 37)
        if self._ticks % 14 == 0:
            self.mail_log.refused()
        if self._ticks % 10 == 0:
            login = next(self._writers)
            number = self._ticks // 10
            recipient = "gone@example.net" if number % _GONE_SHARE == 2 else "partner@example.org"
            mail = self.spool.accept(login, recipient, size, login)
            self.logs.smtp_login(login, client, accepted=True, queue_id=mail.queue_id)
            self.mail_log.received(mail, "")
        else:
            mail = self.spool.accept(sender, recipient, size)
            self.mail_log.received(mail, client)
        self._mails.append(mail)

    def _handle_mail(self, now: float) -> None:
        kept = []
        for mail in self._mails:
            age = now - mail.accepted
            if mail.queue == "incoming" and age > TICK:
                self.spool.activate(mail)
            if age <= (
                _RETRIED_AFTER if mail.queue == "deferred" else _DELIVERED_AFTER if mail.first else _FILTERED_AFTER
            ):
                kept.append(mail)
            else:
                kept += self._filter(mail) if not mail.first else self._deliver(mail)
        self._mails = kept

    def _filter(self, mail: Mail) -> list[Mail]:
        """Have the content filter judge a message; return what is left of it."""
        client = next(self._clients)
        virus = mail.number % _VIRUS_SHARE == 0
        if not mail.login and (virus or mail.number % _SPAM_SHARE == 0):
            self.mail_log.blocked(mail, client, virus=virus)
            self.spool.remove(mail)
            return []
        passed = self.spool.pass_on(mail)
        self.mail_log.filtered(mail, passed, client)
        return [passed]

    def _deliver(self, mail: Mail) -> list[Mail]:
        """Deliver a message; return what is left to do."""
        if mail.queue == "active" and mail.number % _DEFERRED_SHARE == 0 and not mail.recipient.startswith("gone@"):
            self.spool.defer(mail)
            self.mail_log.deferred(mail)
            return [mail]
        left = []
        if mail.recipient.startswith("gone@"):
            notice = self.spool.accept("", mail.sender, 3_400)
            notice.first = mail.queue_id
            self.spool.activate(notice)
            self.mail_log.bounced(mail, notice)
            left.append(notice)
        elif mail.login:
            self.mail_log.relayed(mail)
        else:
            self.mail_log.delivered(mail)
            self.store_log.delivery(mail.sender, mail.recipient, mail.size)
            self.zmstat.delivered[0] += 1
            self.zmstat.delivered[1] += mail.size
        self.spool.remove(mail)
        return left
