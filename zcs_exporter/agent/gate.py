"""Who gets an answer from the agent, decided before a message is decoded.

A stranger's message costs ten microseconds and no memory: it has to come from an allowed network, be short, carry
a community or be encrypted for our engine, and stay within the share of its sender and that of all senders
together. Shares are counted in octets, each of which costs about ten microseconds, and in messages that prove nothing,
each of which costs a millisecond. Who has the secrets can still cost time, but not more than that.
"""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hmac import compare_digest

from zcs_exporter.contract import Clock, Kind, Metric, Sample
from zcs_exporter.snmp.envelope import VERSION_2C, VERSION_3, Envelope, EnvelopeError, read_envelope
from zcs_exporter.snmp.gate import MAX_DATAGRAM, Bucket, Doubt

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may come, a second and at once: octets, both ways added, and messages that prove nothing."""

    octets: float
    octets_burst: float
    unproven: float
    unproven_burst: float


EACH_SOURCE = Allowance(octets=50_000, octets_burst=400_000, unproven=30, unproven_burst=30)
"""Of one address. A walk by GETNEXT takes 110 octets a row in version 2c and 330 in version 3."""

ALL_SOURCES = Allowance(octets=50_000, octets_burst=800_000, unproven=200, unproven_burst=200)
"""Of all addresses together, so that forged ones add up to no more."""

MOST_SOURCES = 256
"""Addresses whose share is remembered; one that is forgotten begins afresh."""

LONGEST_DISCOVERY = 256
"""Octets of a message that is not encrypted: it can only ask who we are."""

_AUTHENTIC, _AUTHENTIC_AND_PRIVATE, _REPORTABLE = 1, 3, 4
_ANSWERED = (0xA0, 0xA1, 0xA3, 0xA5)
"""Tags of GET, GETNEXT, SET, which is refused, and GETBULK."""


class Outcome(StrEnum):
    """What became of a datagram; the ``outcome`` label."""

    ANSWERED = "answered"
    """A request of somebody who may ask."""

    UNPROVEN = "unproven"
    """Who are you, as managers begin, which is answered by a report; or nonsense within."""

    USER = "user"
    """A user of version 3 whom nobody configured, or whose file is for another one; answered by a report."""

    KEY = "key"
    """A wrong pass phrase or protocol of a user whom we know; answered by a report."""

    TIME = "time"
    """The right keys, not our time: some managers ask for it so, or it is an old message; answered by a report."""

    NETWORK = "network"
    """From outside the allowed networks."""

    SIZE = "size"
    """Longer than any request needs to be."""

    RATE = "rate"
    """Its sender, or all senders together, asked too much."""

    MALFORMED = "malformed"
    """No SNMP message."""

    VERSION = "version"
    """Version 1, or one that nobody is configured for."""

    COMMUNITY = "community"
    """A wrong community."""

    ENGINE = "engine"
    """For another engine id, such as the one we had before the state directory was lost; answered by a report."""

    SECURITY = "security"
    """Not both authenticated and encrypted."""

    OPERATION = "operation"
    """Something else than to read; who may ask is told so where that is SET."""


REQUESTS = Metric(
    "zcs_exporter_snmp_requests_total",
    Kind.COUNTER,
    "Datagrams that came to the SNMP agent's own port since start, by what became of them.",
    labels=("outcome",),
)


class _Share:
    """What one address, or all of them, have left of their allowance."""

    def __init__(self, clock: Clock, allowance: Allowance) -> None:
        self.octets = Bucket(clock, allowance.octets, allowance.octets_burst)
        self.unproven = Bucket(clock, allowance.unproven, allowance.unproven_burst)

    def used_up(self) -> bool:
        return self.octets.left() <= 0 or self.unproven.left() < 1

    def take(self, octets: float, unproven: float = 0) -> None:
        self.octets.take(octets)
        self.unproven.take(unproven)


class AgentGate:
    """Decides about datagrams, and counts them.

    Attributes:
        outcomes: What became of those since start.
    """

    def __init__(
        self, clock: Clock, networks: Sequence[Network], communities: Collection[str], engine_id: bytes | None
    ) -> None:
        """Let in who may ask.

        Args:
            clock: Times the exchange.
            networks: They may ask; without one everybody who can reach us.
            communities: Of version 2c.
            engine_id: Ours, where there are users of version 3.
        """
        self._clock = clock
        self._networks = networks
        self._communities = [each.encode() for each in communities]
        self._engine_id = engine_id
        self._sources: OrderedDict[str, _Share] = OrderedDict()
        self._all = _Share(clock, ALL_SOURCES)
        self.outcomes: Counter[Outcome] = Counter()

    def admits(self, datagram: bytes, source: str) -> bool:
        """Return whether a datagram that has just come may be decoded."""
        outcome = self._judge(datagram, source)
        self.outcomes[outcome] += 1
        return outcome is Outcome.UNPROVEN

    def answered(self, source: str) -> None:
        """Count a datagram that was admitted as a good one."""
        self._recount(Outcome.ANSWERED)
        for share in (self._share(source), self._all):
            share.take(0, -1)

    def refused(self, source: str) -> None:
        """Count a datagram that was admitted as one of somebody who may only read."""
        self._recount(Outcome.OPERATION)

    def doubted(self, doubt: Doubt) -> None:
        """Count a datagram that was admitted by what keeps it from proving who sent it."""
        self._recount(Outcome(doubt))

    def failed(self, source: str) -> None:
        """Count what the decoder failed on as malformed after all."""
        self._recount(Outcome.MALFORMED)

    def crowded_out(self, source: str) -> None:
        """Count what had to be dropped because its sender does not wait for answers."""
        self._recount(Outcome.RATE)

    def sent(self, octets: int, source: str) -> None:
        """Charge an answer to who asked."""
        for share in (self._share(source), self._all):
            share.take(octets)

    def samples(self) -> Iterator[Sample]:
        """Yield how many there were of each outcome."""
        for outcome in Outcome:
            yield REQUESTS.sample(self.outcomes[outcome], outcome=outcome)

    def _judge(self, datagram: bytes, source: str) -> Outcome:
        if self._networks and not self._is_allowed(source):
            return Outcome.NETWORK
        if len(datagram) > MAX_DATAGRAM:
            return Outcome.SIZE
        try:
            envelope = read_envelope(datagram)
        except EnvelopeError:
            return Outcome.MALFORMED
        refused = self._refused(envelope, len(datagram))
        if refused is not None:
            return refused
        shares = (self._share(source), self._all)
        if any(share.used_up() for share in shares):
            return Outcome.RATE
        for share in shares:
            share.take(len(datagram), 1)
        return Outcome.UNPROVEN

    def _refused(self, envelope: Envelope, length: int) -> Outcome | None:
        """Return what is wrong with the outside of a message."""
        if envelope.version == VERSION_2C and self._communities:
            # All of them, so that time tells nothing.
            right = [compare_digest(envelope.community, each) for each in self._communities]
            if not any(right):
                return Outcome.COMMUNITY
            return None if envelope.pdu in _ANSWERED else Outcome.OPERATION
        if envelope.version != VERSION_3 or self._engine_id is None:
            return Outcome.VERSION
        level = envelope.flags & _AUTHENTIC_AND_PRIVATE
        private = envelope.encrypted and level == _AUTHENTIC_AND_PRIVATE
        question = not envelope.encrypted and level != _AUTHENTIC_AND_PRIVATE and length <= LONGEST_DISCOVERY
        if not private and not question:
            return Outcome.SECURITY
        if envelope.engine_id not in (b"", self._engine_id):
            # Who asks for a report is told who we are instead.
            return None if envelope.flags & _REPORTABLE else Outcome.ENGINE
        # Who are you? And, by some managers, in a second step: what time is it there?
        known = envelope.engine_id == self._engine_id
        return None if known == (private or level == _AUTHENTIC) else Outcome.SECURITY

    def _recount(self, outcome: Outcome) -> None:
        self.outcomes[Outcome.UNPROVEN] -= 1
        self.outcomes[outcome] += 1

    def _is_allowed(self, source: str) -> bool:
        address = ipaddress.ip_address(source.partition("%")[0])
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in self._networks)

    def _share(self, source: str) -> _Share:
        share = self._sources.get(source)
        if share is None:
            share = self._sources[source] = _Share(self._clock, EACH_SOURCE)
            if len(self._sources) > MOST_SOURCES:
                self._sources.popitem(last=False)
        self._sources.move_to_end(source)
        return share
