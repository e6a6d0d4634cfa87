"""The host's logs, in the words of the programs that write them."""

import time

from zcs_exporter.contract import Clock
from zcs_exporter.demo.files import Tree

AUDIT = "/opt/zimbra/log/audit.log"
PROXY = "/opt/zimbra/log/nginx.log"
SYSLOG = "/var/log/zimbra.log"

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
        for path in (AUDIT, PROXY, SYSLOG):
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

    def received(self, queue_id: str, sender: str, size: int, client: str) -> None:
        """Write what Postfix writes about a message that came in."""
        self._count += 1
        if client:
            self.syslog("postfix/smtpd", 4711, f"{queue_id}: client=mx.example.net[{client}]")
        self.syslog("postfix/cleanup", 4714, f"{queue_id}: message-id=<{self._count}.{queue_id}@example.net>")
        self.syslog("postfix/qmgr", 4001, f"{queue_id}: from=<{sender}>, size={size}, nrcpt=1 (queue active)")

    def delivered(self, queue_id: str, recipient: str) -> None:
        """Write what Postfix writes about a message that reached its mailbox."""
        relay = f"relay={self._host}[{self._address}]:7025, delay=0.61, delays=0.02/0/0.05/0.54, dsn=2.1.5"
        self.syslog("postfix/lmtp", 4720, f"{queue_id}: to=<{recipient}>, {relay}, status=sent (250 2.1.5 Delivery OK)")
        self.syslog("postfix/qmgr", 4001, f"{queue_id}: removed")

    def deferred(self, queue_id: str, recipient: str) -> None:
        """Write what Postfix writes about a message whose destination does not answer."""
        domain = recipient.rpartition("@")[2]
        why = f"connect to mx.{domain}[192.0.2.25]:25: Connection timed out"
        text = f"to=<{recipient}>, relay=none, delay=30, delays=0.1/0/30/0, dsn=4.4.1, status=deferred ({why})"
        self.syslog("postfix/smtp", 4716, f"{queue_id}: {text}")

    def syslog(self, program: str, pid: int, text: str) -> None:
        """Write a line as rsyslog does in its traditional form."""
        local = time.localtime(self._clock.wall())
        stamp = f"{time.strftime('%b', local)} {local.tm_mday:2d} {time.strftime('%H:%M:%S', local)}"
        self._tree.append(SYSLOG, f"{stamp} {self._host.partition('.')[0]} {program}[{pid}]: {text}")

    def _audit(self, level: str, thread: str, context: str, message: str) -> None:
        now = self._clock.wall()
        stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))},{int(now % 1 * 1000):03d}"
        self._tree.append(AUDIT, f"{stamp} {level} [{thread}] [{context}] security - {message}")

    def _proxy_login(self, account: str, client: str) -> None:
        stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(self._clock.wall()))
        self._tree.append(
            PROXY,
            f"{stamp} [info] 2101#0: *{8000 + self._count} client logged in, client: {client}:51022, "
            f'server: 0.0.0.0:993, login: "{account}", upstream: {self._address}:7993',
        )
