"""What happened to mail, as the MTA's syslog tells it: counts, delays, verdicts, and who sends too much.

Each message counts once, although the content filter, DKIM signing and archiving pass it through Postfix up
to three times. It is received when the queue manager first takes it on, and not at the arrivals whose syslog
name says that they are a later pass (``postfix/amavisd``, ``dkimmilter``, ``archive``); ``postfix/reinject``
is where journaling hands a message to Postfix for the first time. Where master.cf does not give later passes a
name (8.0 to 8.6), an arrival from this host or from a filter elsewhere waits until a queue id tells, as
``messages`` has it. A delivery to the filter's ports (``filter_ports``) is no delivery; what amavis
discarded there is discarded.

Not the same as in pflogsumm, which counts a message as received when its client begins to hand it over, be
it never finished; each hop to the content filter as a delivery; and what the ``discard`` service throws away
as delivered. The rest agrees.

Lost: of a message that arrived before the daemon first saw the log, everything but its deliveries (their
bytes from its next attempt on). Of a queue beyond 20,000 messages the report may take a deferral for a message's
first one again. amavis' copies for archiving and its own notices come without an id that tells: under the plain
name they count as received, until the process that takes them is known by another message. Evidence begins anew
at a start, and names the last one to two hours, since midnight at most. Nothing is lost across rotation or restart.

Flood: an authenticated sender is excessive when its recipients of ten minutes or an hour are ten times what
it, or the middle sender of this host, usually has on its busiest moment of a day, and not under 250 in ten
minutes or 1,000 in an hour (``flood``). The alarm is urgent once recipients of it defer or bounce. Webmail and
mobile devices do not log in to the MTA, the mailbox server hands their mail over: if it is on this host, the
sender of the envelope counts; if it is on another, theirs is not seen.

Source: /var/log/zimbra.log and ZCS's own master.cf.
Privileges: CAP_DAC_READ_SEARCH where syslog owns the log; nothing else.
Cost: 5 us of CPU for a line that tells of mail, 0.3 us for another, reading included; 2 MB, 10 MB with 20,000
messages under way.
"""

import contextlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, ClassVar

from collectors.mailflow import metrics as mailflow_metrics
from collectors.mailflow.count import LATER_PASSES, SYSLOG, MailCount
from zcs_exporter.blocking import BlockingCall
from zcs_exporter.contract import (
    Clock,
    CollectorConfig,
    Finding,
    Metric,
    NotOnThisHost,
    SyslogBlock,
    SyslogSubscription,
    os_error,
)
from zcs_exporter.hostio import Host
from zcs_exporter.schema import Limits

FLOOD_ALERT = "ZcsAuthOutboundFlood"

_ID = rb"[0-9A-Za-z]{6,20}+: "
_TROUBLE = rb"(?:warning|fatal|panic|error): "
_SET_ASIDE = rb"(?:milter-|proxy-)?(?:reject|hold|discard): "
WISHES = {
    # One expression for all of Postfix, so that each line is tried once. Where later passes have names of their own,
    # their arrivals are none.
    rb"postfix/(?!(?:" + b"|".join(LATER_PASSES) + rb")/smtpd)(?:[\w.-]{1,64}+/)?[a-z-]{1,20}+": (
        _ID + rb"(?:client=|from=<|to=<|removed|uid=|sender=|" + _SET_ASIDE + rb")|" + _TROUBLE
    ),
    rb"amavis(?:d)?": rb"\([^)\s]{1,40}\) (?:Passed|Blocked) ",
    rb"opendkim": _ID + rb"(?:DKIM|s=|bad sig|no sig|key ret)",
    rb"cbpolicyd": rb"module=",
}


Port = Annotated[int, Limits(least=1, most=65535)]


class MailflowConfig(CollectorConfig):
    """Section ``mailflow`` of the configuration.

    Attributes:
        filter_ports: Ports of relays that hand a message back to Postfix: ZCS's content filter and DKIM milter.
    """

    filter_ports: Annotated[tuple[Port, ...], Limits(max_length=32)] = (10024, 10025, 10026, 10030, 10032)


# [127.0.0.1]:10025 inet n  -       n       -       -  smtpd
_SMTPD_SERVICE = re.compile(r"(?:\S*:)?(\d{1,5})\s+inet\s+(?:\S+\s+){5}smtpd(?:\s|$)")
#     -o syslog_name=postfix/amavisd
_SYSLOG_NAME = re.compile(r"-o\s*\{?\s*syslog_name\s*=\s*(?:postfix|\$\S+)/([\w.-]+)")


def returns_plainly(master_cf: str, ports: Collection[int]) -> bool:
    """Return whether an SMTP server on one of these ports logs under a name that clients' mail is logged under too."""
    services: list[str] = []
    for line in master_cf.split("\n"):
        if line[:1].isspace() and services:
            services[-1] += line
        elif line.strip() and not line.startswith("#"):
            services.append(line)
    later = {name.decode() for name in LATER_PASSES}
    for service in services:
        found = _SMTPD_SERVICE.match(service)
        if found is not None and int(found[1]) in ports:
            name = _SYSLOG_NAME.search(service)
            if name is None or name[1] not in later:
                return True
    return False


class MailflowCollector:
    """Counts mail by the lines of Postfix, amavis, opendkim and cbpolicyd."""

    name: ClassVar[str] = "mailflow"
    metrics: ClassVar[tuple[Metric, ...]] = mailflow_metrics.ALL
    interval: ClassVar[float] = 15.0
    config_class: ClassVar[type[CollectorConfig]] = MailflowConfig
    record_kinds: ClassVar[Sequence[str]] = ("outbound_flood",)

    def __init__(self, config: MailflowConfig, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._call = BlockingCall("looking for the mail log")
        self._filter_ports = config.filter_ports
        self._count = MailCount(config.filter_ports)

    def subscriptions(self) -> Sequence[SyslogSubscription]:
        """Return the one log there is for mail."""
        return (SyslogSubscription(SYSLOG, WISHES, self._feed),)

    def take_thresholds(self, thresholds: Mapping[str, Mapping[str, float]]) -> None:
        """Take what a flood is, for the records."""
        self._count.threshold = thresholds.get(FLOOD_ALERT, {}).get("warning")

    async def collect(self) -> Sequence[Finding]:
        """Return what the lines came to.

        Raises:
            CollectError: The log cannot be read.
            NotOnThisHost: This host is no MTA.
        """
        plainly, name = await self._call(self._look)
        self._count.set_plain_returns(plainly)
        self._count.set_own_name(name)
        self._count.settle(int(self._clock.wall()))
        return self.counted()

    def counted(self) -> Sequence[Finding]:
        """Return counters, gauges by the wall clock, and the records since the last call."""
        return self._count.findings(self._clock.wall())

    def restore(self, saved: Mapping[str, str]) -> None:
        """Take over what an earlier process saved."""
        self._count.restore(saved)

    def changes(self) -> Mapping[str, str | None]:
        """Return the rows that changed: counters, messages under way, senders, and the day's book."""
        return self._count.changes()

    def _feed(self, block: SyslogBlock) -> None:
        self._count.feed(block, int(self._clock.wall()))

    def _look(self) -> tuple[bool, str]:
        """Return whether what comes back may look like a client's, and the name of this host.

        Raises:
            CollectError: There is no log of the MTA's.
            NotOnThisHost: There is no MTA.
        """
        zcs = self._host.zcs
        services = zcs.enabled_services()
        places = ("common/conf/main.cf", "postfix/conf/main.cf", "data/postfix/spool")
        is_mta = any(self._host.exists(zcs.path(place)) for place in places)
        if not is_mta or (services is not None and "mta" not in services):
            raise NotOnThisHost("no Postfix of ZCS's is enabled on this host")
        try:
            os.close(self._host.open(SYSLOG))
        except OSError as exc:
            raise os_error(exc, f"opening {SYSLOG}") from exc
        name = zcs.hostname() or ""
        for place in ("common/conf/master.cf", "postfix/conf/master.cf"):
            with contextlib.suppress(OSError):  # one of them is not there; without any, lines must tell
                return returns_plainly(self._host.read_text(zcs.path(place)), self._filter_ports), name
        return True, name
