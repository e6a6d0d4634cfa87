"""Writes a day of a busy ZCS host's logs: audit.log, mailbox.log with stack traces, and zimbra.log.

The lines have the forms and the mix that a single-server host shows: each message passes Postfix twice,
one login in ten fails, one mailbox.log line in two hundred is an error with its stack trace.
"""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

DAY = 86_400
_ERRORS = (
    ("WARN ", "soap", "com.zimbra.cs.service.FileUploadServlet", "IOException: Broken pipe"),
    ("WARN ", "imap", "com.zimbra.cs.imap.ImapHandler", "SocketTimeoutException: Read timed out"),
    ("ERROR", "index", "com.zimbra.cs.index.LuceneIndex", "IOException: read past EOF"),
    ("WARN ", "lmtp", "com.zimbra.cs.lmtpserver.LmtpHandler", "MailServiceException: mailbox in maintenance"),
)


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def audit_lines(count: int, failing: float, seed: int = 1) -> Iterator[str]:
    """Yield logins of a day, the share ``failing`` of them refused."""
    pick = random.Random(seed)
    for number in range(count):
        stamp = f"2026-03-02 {_clock(number * DAY // count)},{pick.randrange(1000):03d}"
        account = f"user{pick.randrange(5000)}@example.com"
        client = f"198.51.{pick.randrange(100, 104)}.{pick.randrange(256)}"
        kind = pick.random()
        if kind < 0.6:
            protocol, thread = "imap", f"ImapSSLServer-{pick.randrange(400)}"
            context = f"ip=10.0.0.5;oip={client};via=10.0.0.5(nginx/1.20.0);ua=Thunderbird/115.8;"
        elif kind < 0.7:
            protocol, thread, context = "pop3", f"Pop3SSLServer-{pick.randrange(90)}", f"ip=10.0.0.5;oip={client};"
        else:
            protocol = "soap"
            thread = f"qtp1068934215-{pick.randrange(900)}:https://mail.example.com:443/service/soap/AuthRequest"
            context = f"oip={client};ua=zclient/10.0.8_GA_4518;soapId={pick.getrandbits(32):08x};"
        if pick.random() < failing:
            yield (
                f"{stamp} WARN  [{thread}] [{context}] security - cmd=Auth; account={account}; protocol={protocol}; "
                f"error=authentication failed for [{account}], invalid password;\n"
            )
        else:
            yield (
                f"{stamp} INFO  [{thread}] [name={account};{context}] security - cmd=Auth; account={account}; "
                f"protocol={protocol};\n"
            )


def mailbox_lines(count: int, failing: float, seed: int = 2) -> Iterator[str]:
    """Yield what mailboxd tells of a day, the share ``failing`` of it errors with a stack trace."""
    pick = random.Random(seed)
    number = 0
    while number < count:
        stamp = f"2026-03-02 {_clock(number * DAY // count)},{pick.randrange(1000):03d}"
        user = pick.randrange(5000)
        context = f"name=user{user}@example.com;mid={user};oip=203.0.113.{pick.randrange(256)};"
        agent = "ua=ZimbraWebClient - FF122 (Linux)/10.0.8_GA_4518;"
        request = pick.choice(("SearchRequest", "GetMsgRequest", "NoOpRequest", "SendMsgRequest", "SearchConvRequest"))
        thread = f"qtp1068934215-{pick.randrange(900)}:https://mail.example.com:443/service/soap/{request}"
        if pick.random() < failing:
            level, component, source, reason = pick.choice(_ERRORS)
            yield f"{stamp} {level} [{thread}] [{context}{agent}] {component} - unexpected error, mailbox {user}\n"
            yield f"com.zimbra.common.service.ServiceException: system failure: {reason}\n"
            yield f"ExceptionId:{thread}:{pick.getrandbits(40)}:{pick.getrandbits(60):x}\nCode:service.FAILURE\n"
            for line in range(24):
                yield f"\tat {source}.step{line}({source.rpartition('.')[2]}.java:{100 + line})\n"
            yield f"Caused by: java.io.{reason}\n\t... 24 more\n"
            number += 30
            continue
        draw = pick.random()
        if draw < 0.7:
            yield f"{stamp} INFO  [{thread}] [{context}{agent}soapId={pick.getrandbits(32):08x};] soap - {request} elapsed={pick.randrange(90)}\n"  # noqa: E501
        elif draw < 0.9:
            yield f"{stamp} INFO  [ImapSSLServer-{pick.randrange(400)}] [{context}via=10.0.0.5(nginx/1.20.0);ua=Thunderbird/115.8;] imap - FETCH elapsed={pick.randrange(40)}\n"  # noqa: E501
        else:
            yield f"{stamp} INFO  [LmtpServer-{pick.randrange(30)}] [name=user{user}@example.com;mid={user};ip=10.0.0.5;] lmtp - Delivering message: size={pick.randrange(1000, 90000)} bytes, nrcpts=1, sender=a{user}@example.net, msgid=<{pick.getrandbits(60):x}@example.net>\n"  # noqa: E501
        number += 1


def syslog_lines(count: int, seed: int = 3) -> Iterator[str]:
    """Yield what an MTA with amavis tells of a day: every message passes Postfix twice."""
    pick = random.Random(seed)
    number = 0
    while number < count:
        head = f"Mar  2 {_clock(number * DAY // count)} mail "
        first, second = f"{pick.getrandbits(44):011X}", f"{pick.getrandbits(44):011X}"
        ip = f"198.51.100.{pick.randrange(256)}"
        host = f"mx{pick.randrange(300)}.example.net[{ip}]"
        sender, rcpt = f"a{pick.randrange(9000)}@example.net", f"user{pick.randrange(5000)}@example.com"
        size, message = pick.randrange(900, 90_000), f"{pick.getrandbits(60):x}@example.net"
        draw = pick.random()
        if draw < 0.15:
            lines = [
                f"postfix/smtpd[4711]: connect from unknown[{ip}]",
                f"postfix/smtpd[4711]: NOQUEUE: reject: RCPT from unknown[{ip}]: 554 5.7.1 Service unavailable; Client host [{ip}] blocked using zen.example.org; from=<{sender}> to=<{rcpt}> proto=ESMTP helo=<x.example.net>",  # noqa: E501
                f"postfix/smtpd[4711]: disconnect from unknown[{ip}] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4",
            ]
        elif draw < 0.2:
            lines = [
                f"saslauthd[2915]: auth_zimbra: {rcpt} auth failed: authentication failed for [{rcpt}]",
                f"saslauthd[2915]: do_auth         : auth failure: [user={rcpt}] [service=smtp] [realm=] [mech=zimbra] [reason=Unknown]",  # noqa: E501
                f"postfix/submission/smtpd[4712]: warning: {host}: SASL PLAIN authentication failed: (reason unavailable), sasl_username={rcpt}",  # noqa: E501
            ]
        else:
            verdict = "Passed CLEAN {RelayedInbound}" if draw < 0.95 else "Blocked SPAM {DiscardedInbound}"
            queued = f", queued_as: {second}" if draw < 0.95 else ""
            lines = [
                f"postfix/smtpd[4711]: connect from {host}",
                f"postfix/smtpd[4711]: {first}: client={host}",
                f"postfix/cleanup[4714]: {first}: message-id=<{message}>",
                f"postfix/qmgr[4001]: {first}: from=<{sender}>, size={size}, nrcpt=1 (queue active)",
                f"postfix/smtpd[4711]: disconnect from {host} ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
                f"amavis[15345]: (15345-{pick.randrange(99)}) {verdict}, [{ip}]:51022 [{ip}] <{sender}> -> <{rcpt}>, Queue-ID: {first}, Message-ID: <{message}>, mail_id: T9JbVa1hw9P9, Hits: -1.909, size: {size}{queued}, 938 ms",  # noqa: E501
            ]
            if queued:
                lines += [
                    "postfix/amavisd/smtpd[4730]: connect from localhost[127.0.0.1]",
                    f"postfix/amavisd/smtpd[4730]: {second}: client=localhost[127.0.0.1]",
                    f"postfix/cleanup[4714]: {second}: message-id=<{message}>",
                    f"postfix/qmgr[4001]: {second}: from=<{sender}>, size={size + 512}, nrcpt=1 (queue active)",
                    "postfix/amavisd/smtpd[4730]: disconnect from localhost[127.0.0.1] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",  # noqa: E501
                    f"postfix/smtp[4716]: {first}: to=<{rcpt}>, relay=127.0.0.1[127.0.0.1]:10024, delay=0.95, delays=0.1/0/0/0.85, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as {second})",  # noqa: E501
                    f"postfix/qmgr[4001]: {first}: removed",
                    f"postfix/lmtp[4720]: {second}: to=<{rcpt}>, relay=mail.example.com[10.0.0.10]:7025, delay=0.21, delays=0.01/0/0.05/0.15, dsn=2.1.5, status=sent (250 2.1.5 Delivery OK)",  # noqa: E501
                    f"postfix/qmgr[4001]: {second}: removed",
                ]
            else:
                lines += [
                    f"postfix/smtp[4716]: {first}: to=<{rcpt}>, relay=127.0.0.1[127.0.0.1]:10024, delay=0.9, delays=0.1/0/0/0.8, dsn=2.7.0, status=sent (250 2.7.0 Ok, discarded, id=15345-18 - spam)",  # noqa: E501
                    f"postfix/qmgr[4001]: {first}: removed",
                ]
        lines += [
            "clamd[3100]: SelfCheck: Database status OK.",
            f'slapd[3001]: conn={pick.randrange(9000)} op=1 SRCH base="" scope=0 deref=0 filter="(objectClass=*)"',
        ]
        for line in lines:
            yield f"{head}{line}\n"
        number += len(lines)


def main(argv: list[str]) -> None:
    """Write the three logs into a directory."""
    parser = argparse.ArgumentParser(description="Write audit.log, mailbox.log and zimbra.log of one day.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--lines", type=int, default=1_000_000, help="in all three together")
    parser.add_argument("--failing", type=float, default=0.1, help="share of logins that are refused")
    parser.add_argument("--only", choices=("audit",), help="write audit.log alone, with all the lines")
    options = parser.parse_args(argv)
    options.directory.mkdir(parents=True, exist_ok=True)
    parts = {"audit.log": audit_lines(options.lines if options.only else options.lines // 10, options.failing)}
    if not options.only:
        parts["mailbox.log"] = mailbox_lines(options.lines * 45 // 100, 0.005)
        parts["zimbra.log"] = syslog_lines(options.lines * 45 // 100)
    for name, lines in parts.items():
        with open(options.directory / name, "w", encoding="utf-8") as file:
            file.writelines(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
