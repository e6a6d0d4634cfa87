"""The host's logs, in the words of the programs that write them."""

import time
from collections.abc import Mapping

from zcs_exporter.contract import Clock
from zcs_exporter.demo.files import Tree

AUDIT = "/opt/zimbra/log/audit.log"
MAILBOX = "/opt/zimbra/log/mailbox.log"
PROXY = "/opt/zimbra/log/nginx.log"
SYSLOG, STATS = "/var/log/zimbra.log", "/var/log/zimbra-stats.log"

_THREADS = {"imap": "ImapSSLServer", "pop3": "Pop3SSLServer"}


class Logs:
    """Writes lines with the time of now."""

    def __init__(self, tree: Tree, clock: Clock, host: str, address: str) -> None:
        """Begin with empty logs of ``host``, which has ``address``."""
        self._tree = tree
        self._clock = clock
        self._host = host
        self._address = address
        self._count = 400
        for path in (AUDIT, PROXY, SYSLOG, STATS, MAILBOX):
            tree.write(path, "", 0o640)

    def login(self, protocol: str, account: str, client: str, failure: str = "") -> None:
        """Write what a store writes about a login through the proxy; ``failure`` is why it was refused."""
        self._count += 1
        if protocol in _THREADS:
            thread = f"{_THREADS[protocol]}-{self._count}"
            context = f"ip={self._address};oip={client};via={self._address}(nginx/1.20.0);"
        else:
            thread = f"qtp1068934215-{self._count}:https://{self._host}:443/service/soap/AuthRequest"
            context = f"oip={client};oport={40_000 + self._count % 20_000};ua=zclient/10.0.8_GA_4518;"
        message = f"cmd=Auth; account={account}; protocol={protocol};"
        if failure:
            message += f" error=authentication failed for [{account}], {failure};"
        else:
            context = f"name={account};{context}"
        self._audit("WARN " if failure else "INFO ", thread, context, message)
        if not failure and protocol in _THREADS:
            self._proxy_login(account, client)

    def lockout(self, account: str, client: str) -> None:
        """Write that an account was locked after too many failures."""
        context = f"ip={self._address};oip={client};"
        message = f"cmd=Auth; account={account}; error=account lockout due to too many failed logins;"
        self._audit("INFO ", f"ImapSSLServer-{self._count}", context, message)

    def smtp_login(self, account: str, client: str, *, accepted: bool, queue_id: str = "") -> None:
        """Write what an MTA writes about a login with SMTP."""
        if accepted:
            self.syslog("saslauthd", 29157, f"auth_zimbra: {account} auth OK")
            text = f"{queue_id}: client=unknown[{client}], sasl_method=PLAIN, sasl_username={account}"
        else:
            self.syslog(
                "saslauthd", 29157, f"auth_zimbra: {account} auth failed: authentication failed for [{account}]"
            )
            text = (
                f"warning: unknown[{client}]: SASL LOGIN authentication failed: authentication failure, "
                f"sasl_username={account}"
            )
        self.syslog("postfix/submission/smtpd", 4712, text)

    def heartbeats(self, queued: int, services: Mapping[str, bool]) -> None:
        """Write what zmconfigd and the programs of cron and zmstat say of an idle host, too."""
        now = time.localtime(self._clock.wall())
        stamp, day = time.strftime("%Y-%m-%d %H:%M:%S", now), time.strftime("%m/%d/%Y %H:%M:%S", now)
        self.syslog("zmconfigd", 2203, "All configs fetched in 0.11 seconds")
        self.syslog("zmmailboxdmgr", 2955, "status OK")
        self.syslog("zimbramon", 9031, f"9031:info: {stamp}, QUEUE: {14 * queued} {queued}")
        for table, columns, values in (
            ("cpu", "cpu:user, cpu:nice, cpu:sys, cpu:idle, cpu:iowait, cpu:irq, cpu:softirq", "8.6, 0.0, 1.9, 89.5"),
            ("vm", "r, b, swpd, free, buff, cache, si", "1, 0, 0, 812344, 201244, 4102344"),
        ):
            text = f"17392:info: zmstat {table}.csv: timestamp, {columns}:: {day}, {values}, 0.0, 0.0, 0.0"
            self.syslog("zimbramon", 17392, text, STATS)
        for service, up in services.items():
            text = f"9034:info: {stamp}, STATUS: {self._host}: {service}: {'Running' if up else 'Stopped'}"
            self.syslog("zimbramon", 9034, text, STATS)

    def syslog(self, program: str, pid: int, text: str, log: str = SYSLOG) -> None:
        """Write a line as rsyslog does in its traditional form."""
        local = time.localtime(self._clock.wall())
        stamp = f"{time.strftime('%b', local)} {local.tm_mday:2d} {time.strftime('%H:%M:%S', local)}"
        self._tree.append(log, f"{stamp} {self._host.partition('.')[0]} {program}[{pid}]: {text}")

    def java(self, log: str, level: str, thread: str, context: str, component: str, message: str, *rest: str) -> None:
        """Write an entry as log4j does; ``rest`` are the lines that follow its first."""
        now = self._clock.wall()
        stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))},{int(now % 1 * 1000):03d}"
        first = f"{stamp} {level} [{thread}] [{context}] {component} - {message}"
        self._tree.append(log, "\n".join((first, *rest)))

    def _audit(self, level: str, thread: str, context: str, message: str) -> None:
        self.java(AUDIT, level, thread, context, "security", message)

    def _proxy_login(self, account: str, client: str) -> None:
        stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(self._clock.wall()))
        self._tree.append(
            PROXY,
            f"{stamp} [info] 2101#0: *{8000 + self._count} client logged in, client: {client}:51022, "
            f'server: 0.0.0.0:993, login: "{account}", upstream: {self._address}:7993',
        )
