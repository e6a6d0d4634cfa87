"""The counters of mail on real Postfix and amavis equal what was done, and pflogsumm where it counts the same.

Where pflogsumm counts something else:

- received: it counts an arrival (``client=``), be the message never ended, held or discarded at the door. We count
  when the queue manager takes a message on, so what is on hold is not received yet, and what is discarded never.
- delivered: it counts each hop to the content filter, what amavis then discarded, and what Postfix's discard service
  throws away.
- received and bytes received of what postsuper requeues: it counts it again.
- received and bytes received where later passes have the plain syslog name: it counts each pass.
"""

import contextlib
import re
import smtplib
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest
from e2e.lab import (
    HOME,
    HOST,
    SYSLOG,
    Exporter,
    Postfix,
    Zcs,
    append,
    as_user,
    environment,
    listens,
    make_directories,
    need,
    run,
    scratch,
    spawn,
    wait_for,
    write,
)

MAIN = """
smtpd_delay_reject = yes
relay_domains = example.com sink.example.net refuse.example.net later.example.net
relay_recipient_maps = inline:{{ann@example.com=x}, {bob@example.com=x}, {full@example.com=x}, {hold@example.com=x},
    {discard@example.com=x}, {grey@example.com=x}, {policy@example.com=x}, {@sink.example.net=x},
    {@refuse.example.net=x}, {@later.example.net=x}}
transport_maps = inline:{{full@example.com=lmtp:inet:[127.0.0.1]:2605}, {example.com=lmtp:inet:[127.0.0.1]:2604},
    {sink.example.net=smtp:[127.0.0.1]:2601}, {refuse.example.net=smtp:[127.0.0.1]:2602},
    {later.example.net=smtp:[127.0.0.1]:2603}}
message_size_limit = 50000
outside_restrictions = reject_non_fqdn_helo_hostname, permit_sasl_authenticated,
    check_recipient_access inline:{{hold@example.com=HOLD by a rule}, {discard@example.com=DISCARD by a rule},
    {grey@example.com=450 4.7.1 Greylisting in effect, please come back later},
    {policy@example.com=554 5.7.1 Policy rejection; Message count quota exceeded}}, reject_unauth_destination
"""

OUTSIDE = """\
127.0.0.1:%s inet n - n - - smtpd
    -o smtpd_authorized_xclient_hosts=127.0.0.0/8
    -o mynetworks=192.0.2.255/32
    -o smtpd_recipient_restrictions=$outside_restrictions
    -o smtpd_relay_restrictions=
    -o smtpd_sasl_auth_enable=yes
    -o syslog_name=%s
    -o content_filter=%s
"""
INSIDE = """\
127.0.0.1:%s inet n - n - - smtpd
    -o content_filter=
    -o smtpd_recipient_restrictions=permit_mynetworks,reject
    -o smtpd_delay_reject=no
    -o syslog_name=%s
    -o receive_override_options=no_header_body_checks,no_unknown_recipient_checks,no_address_mappings
"""
SERVICES = """\
pickup unix n - n 1 1 pickup
lmtp unix - - n - - lmtp
smtp-amavis unix - - n - 4 smtp
    -o smtp_send_xforward_command=yes
"""

AMAVIS_CONF = f"""\
use strict;
$max_servers = 2; $daemon_user = 'zimbra'; $daemon_group = 'zimbra';
$mydomain = 'example.com'; $myhostname = '{HOST}';
$MYHOME = '{HOME}/data/amavisd'; $TEMPBASE = "$MYHOME/tmp"; $QUARANTINEDIR = "$MYHOME/quarantine";
$helpers_home = "$MYHOME/var"; $lock_file = "$MYHOME/var/amavisd.lock"; $pid_file = "$MYHOME/var/amavisd.pid";
$log_level = 0; $do_syslog = 0; $LOGFILE = "$MYHOME/amavis.log"; $log_recip_templ = undef;
$enable_db = 0; $enable_zmq = 0; $inet_socket_bind = '127.0.0.1'; $inet_socket_port = [10024]; $unix_socketname = undef;
@inet_acl = qw(127.0.0.1); @local_domains_maps = (["."]); @mynetworks = qw(192.0.2.255/32);
$forward_method = 'smtp:[127.0.0.1]:%s'; $notify_method = $forward_method;
@bypass_spam_checks_maps = (1); @bypass_virus_checks_maps = (1); @decoders = (['mail', \\&do_mime_decode]);
$final_banned_destiny = D_DISCARD; $final_bad_header_destiny = D_PASS;
$virus_admin = undef; $banned_admin = undef; $warnbannedsender = 0;
$banned_filename_re = new_RE(qr'\\.exe$'i);
1;
"""


class Sinks:
    """Servers that take mail, refuse it, put it off, or are a store; with the real smtp-sink."""

    def __init__(self) -> None:
        log = scratch("sinks", "postfix") / "log"
        self._processes = [
            spawn([*as_user("postfix"), "smtp-sink", *options, f"127.0.0.1:{port}", "100"], log)
            for port, options in (
                (2601, ()),
                (2602, ("-f", "RCPT")),
                (2603, ("-r", "RCPT")),
                (2604, ("-L",)),
                (2605, ("-L", "-B", "552 5.2.2 Over quota", "-f", "DATA")),
            )
        ]
        for port in range(2601, 2606):
            wait_for(lambda port=port: listens(port), 10, f"smtp-sink on port {port}")

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


class Amavis:
    """The real amavisd; its log is copied to zimbra.log as syslog would write it."""

    def __init__(self, back: int) -> None:
        make_directories(*(f"data/amavisd{part}" for part in ("", "/tmp", "/var", "/quarantine")))
        self._log = HOME / "data/amavisd/amavis.log"
        self._log.unlink(missing_ok=True)
        conf = write(scratch("amavis") / "amavisd.conf", AMAVIS_CONF % back, user="root")
        command = [*as_user("zimbra"), "amavisd", "-c", str(conf), "foreground"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, env=environment()
        )
        self._over = threading.Event()
        wait_for(lambda: listens(10024), 30, lambda: f"amavisd; {self._read()[-2000:].decode(errors='replace')}")
        self._copier = threading.Thread(target=self._copy)
        self._copier.start()

    def _read(self) -> bytes:
        return self._log.read_bytes() if self._log.exists() else b""

    def _copy(self) -> None:
        # Nov 22 03:58:01 mail.example.com /usr/sbin/amavisd[77]: (00077-01) Passed CLEAN ...
        line = re.compile(rb"(?m)^(\w{3} [ \d]\d \d\d:\d\d:\d\d)(?:\.\d+)? \S+ \S*amavisd?\S*\[(\d+)\]: (.*)\n")
        done = 0
        while not self._over.wait(0.02):
            text = self._read()
            for found in line.finditer(text, done):
                append(SYSLOG, b"%s mail amavis[%s]: %s\n" % found.groups())
                done = found.end()

    def close(self) -> None:
        self._over.set()
        self._copier.join()
        self._process.terminate()
        self._process.wait(20)


@pytest.fixture
def site(postfix: Postfix) -> Iterator[Callable[..., None]]:
    """Configure Postfix with other services, and as before at the end: `site(master=...)`."""
    need("postfix", "smtp-sink", "smtp-source")
    main, master = ((postfix.config / name).read_text() for name in ("main.cf", "master.cf"))
    postfix.clear()

    def configure(services: str) -> None:
        write(postfix.config / "main.cf", main + MAIN, user="root")
        write(postfix.config / "master.cf", master + services + SERVICES, user="root")
        run("postfix", "reload")
        wait_for(lambda: listens(2600), 20, "Postfix on port 2600")

    sinks = Sinks()
    try:
        yield configure
    finally:
        sinks.close()
        postfix.clear()
        write(postfix.config / "main.cf", main, user="root")
        write(postfix.config / "master.cf", master, user="root")
        run("postfix", "stop")
        run("postfix", "start")
        wait_for(lambda: listens(25), 20, "Postfix on port 25")


class Client:
    """A client that Postfix takes for one from outside, with or without a login."""

    def __init__(self, login: str = "", address: str = "198.51.100.7", helo: str = "mx.example.net") -> None:
        self._smtp = smtplib.SMTP("127.0.0.1", 2600, local_hostname=helo, timeout=60)
        self._smtp.ehlo()
        override = f"NAME=mx.example.net ADDR={address}" + (f" LOGIN={login}" if login else "")
        code, answer = self._smtp.docmd("XCLIENT", override)
        assert code == 220, answer
        self._smtp.ehlo()

    def send(self, *recipients: str, sender: str = "x@sink.example.net", body: str = "hello\r\n" * 20) -> int:
        """Send a message; return how many recipients were refused, -1 if the message was."""
        text = f"Subject: test\r\nMessage-ID: <{time.monotonic_ns()}@example.net>\r\n\r\n{body}"
        try:
            return len(self._smtp.sendmail(sender, list(recipients), text))
        except smtplib.SMTPResponseException:
            return -1
        except smtplib.SMTPRecipientsRefused as exc:
            self.refused = exc.recipients
            return len(exc.recipients)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(smtplib.SMTPException, OSError):
            self._smtp.quit()


def pflogsumm(place: Path) -> dict[str, int]:
    """The grand totals that pflogsumm prints; bytes to its own precision."""
    text = run("pflogsumm", "--detail", "0", place)
    found: dict[str, int] = {}
    for count, unit, name in re.findall(r"(?m)^ +(\d+)([kmg]?) +([a-z]+(?: [a-z]+)?)", text.partition("Per-")[0]):
        found.setdefault(name, int(count) * {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}[unit])
    return found


class Totals:
    """What the daemon says, as a difference to the moment this is made."""

    def __init__(self, daemon: Exporter, log: Path) -> None:
        self._daemon, self._log = daemon, log
        self._before = self._read()
        self._start = SYSLOG.stat().st_size

    def _read(self) -> Counter[tuple[str, str]]:
        return Counter(
            {
                (name, value): int(number)
                for (name, labels), number in self._daemon.metrics().items()
                for _, value in labels
                if name.startswith("zcs_mail_") and name.endswith("_total") and len(labels) == 1
            }
        )

    def now(self, name: str) -> dict[str, int]:
        return {value: count for (found, value), count in (self._read() - self._before).items() if found == name}

    def wait(self, **events: int) -> None:
        wait_for(
            lambda: self.now("zcs_mail_messages_total") == events,
            40,
            lambda: f"{events}; there is {self.now('zcs_mail_messages_total')}; {self.log()[-6000:]}",
        )

    def log(self) -> str:
        with SYSLOG.open("rb") as log:
            log.seek(self._start)
            return log.read().decode(errors="replace")

    def pflogsumm(self) -> dict[str, int]:
        self._log.write_text(self.log())
        return pflogsumm(self._log)


@pytest.fixture
def daemon(zcs: Zcs, exporter: Callable[..., Exporter]) -> Exporter:
    zcs.set_services("mta")
    made = exporter({"collectors": {"mailflow": {"interval": "1s"}}})
    made.start()
    return made


def test_without_a_filter_all_totals_equal_what_was_done_and_pflogsumm(
    site: Callable[..., None], daemon: Exporter, postfix: Postfix, tmp_path: Path
) -> None:
    need("pflogsumm", "pflogsumm")
    site(OUTSIDE % (2600, "postfix", ""))
    totals = Totals(daemon, tmp_path / "log")

    with Client() as outside, Client("ann@example.com") as login, Client(helo="nonsense") as rude:
        assert outside.send("ann@example.com", "bob@example.com") == 0, outside.refused
        assert outside.send("one@sink.example.net") == 0
        assert outside.send("one@refuse.example.net", "two@refuse.example.net") == 0
        assert outside.send("one@later.example.net") == 0
        assert outside.send("full@example.com") == 0
        assert outside.send("hold@example.com") == 0
        assert outside.send("discard@example.com") == 0
        assert outside.send("no@example.com") == 1
        assert outside.send("a@elsewhere.test") == 1
        assert outside.send("grey@example.com") == 1
        assert outside.send("policy@example.com") == 1
        assert outside.send("ann@example.com", body="x" * 70 + "\r\n" + "y" * 60_000) == -1
        assert rude.send("ann@example.com") == 1
        assert login.send("a@sink.example.net", "b@sink.example.net", "c@sink.example.net") == 0
        assert outside.send("one@refuse.example.net", sender="") == 0
    run("sendmail", "-f", "root@sink.example.net", "ann@example.com", text="Subject: local\n\nhello\n")
    run("smtp-source", "-s", "4", "-m", "50", "-l", "2000", "-f", "s@sink.example.net", "-t", "t@sink.example.net",
        "127.0.0.1:25")  # fmt: skip
    # The notices about the three that were refused go to a server that takes them.
    expected = {
        "received": 8 + 50,
        "delivered": 2 + 1 + 3 + 1 + 50 + 2,
        "deferred": 1,
        "bounced": 2 + 1 + 1,
        "double_bounce": 1,
        "rejected": 6,
        "held": 1,
        "discarded": 1,
    }
    totals.wait(**expected)

    assert totals.now("zcs_mail_rejects_total") == {
        "unknown_user": 1,
        "relay": 1,
        "greylist": 1,
        "policyd": 1,
        "size": 1,
        "helo": 1,
    }
    assert totals.now("zcs_mail_deferrals_total") == {"remote": 1}
    assert totals.now("zcs_mail_lmtp_results_total") == {"delivered": 3, "over_quota": 1}
    theirs = totals.pflogsumm()
    same = ("delivered", "deferred", "bounced", "rejected", "held", "discarded")
    assert {name: theirs.get(name, 0) for name in same} == {name: expected[name] for name in same}
    assert theirs["received"] == expected["received"] + expected["held"] + expected["discarded"]
    # Under 512,000 it prints them to the byte.
    assert totals.now("zcs_mail_bytes_total") == {"in": theirs["bytes received"], "out": theirs["bytes delivered"]}
    # The client on this host, as the mailbox server is one; the login wrote to 3.
    assert daemon.value("zcs_mail_flood_recipients_max") == 50

    # What waits is queued anew, which makes it no other message; the local one is there to wake pickup(8) up.
    run("postsuper", "-r", "ALL", "deferred")
    run("sendmail", "-f", "root@sink.example.net", "ann@example.com", text="Subject: local\n\nhello\n")
    again = {"received": 1, "delivered": 1, "deferred": 1}
    totals.wait(**{name: count + again.get(name, 0) for name, count in expected.items()})
    assert totals.pflogsumm()["received"] == theirs["received"] + 2
    assert daemon.value("zcs_mail_unparsed_lines_total") == 0


@pytest.mark.parametrize(("name", "xforward"), [("postfix/amavisd", False), ("postfix", False), ("postfix", True)])
def test_through_amavis_each_message_counts_once(
    name: str, xforward: bool, site: Callable[..., None], daemon: Exporter, tmp_path: Path
) -> None:
    need("amavisd-new", "amavisd")
    need("pflogsumm", "pflogsumm")
    inside = INSIDE % (10025, name)
    if xforward:
        inside += "    -o smtpd_authorized_xforward_hosts=127.0.0.0/8\n"
    site(OUTSIDE % (2600, "postfix", "smtp-amavis:[127.0.0.1]:10024") + inside)
    totals = Totals(daemon, tmp_path / "log")

    # Nobody answers on the filter's port yet.
    with Client() as outside:
        assert outside.send("ann@example.com") == 0
    totals.wait(received=1, deferred=1)
    assert totals.now("zcs_mail_deferrals_total") == {"content_filter_unreachable": 1}
    assert daemon.value("zcs_mail_content_filter_unreached_deliveries") == 1

    amavis = Amavis(10025)
    try:
        run("postqueue", "-f")
        totals.wait(received=1, deferred=1, delivered=1)
        assert daemon.value("zcs_mail_content_filter_unreached_deliveries") == 0
        banned = (
            'MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name="a.exe"\r\n'
            'Content-Disposition: attachment; filename="a.exe"\r\n\r\nMZ\r\n'
        )
        with Client() as outside, Client("ann@example.com") as login:
            for number in range(10):
                assert outside.send("ann@example.com", "bob@example.com") == 0
                assert login.send(f"r{number}@sink.example.net") == 0
            assert outside.send("one@refuse.example.net") == 0
            text = f"Subject: x\r\nMessage-ID: <banned@example.net>\r\n{banned}"
            outside._smtp.sendmail("x@sink.example.net", ["ann@example.com"], text)
            assert outside.send("no@example.com") == 1
        # One notice, about the recipient that was refused.
        expected = {
            "received": 1 + 20 + 2,
            "deferred": 1,
            "delivered": 1 + 30 + 1,
            "bounced": 1,
            "discarded": 1,
            "rejected": 1,
        }
        totals.wait(**expected)
        wait_for(
            lambda: totals.now("zcs_mail_content_verdicts_total") == {"clean": 22, "banned": 1},
            10,
            lambda: f"the verdicts; {totals.now('zcs_mail_content_verdicts_total')}; {totals.log()[-3000:]}",
        )
    finally:
        amavis.close()
    hops = totals.log().count("]:10024, ")
    passes = totals.log().count(": client=unknown[127.0.0.1]") if name == "postfix" else 0
    theirs = totals.pflogsumm()
    same = ("deferred", "bounced", "rejected")
    assert {key: theirs.get(key, 0) for key in same} == {key: expected[key] for key in same}
    assert theirs["delivered"] == expected["delivered"] + hops
    assert theirs["received"] == expected["received"] + passes
    assert daemon.value("zcs_mail_unparsed_lines_total") == 0
